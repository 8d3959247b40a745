"""Steps, validation and stopping of k >= 1 networks.

The engine trains `Member`s: in each step every member that is not done takes a batch of its own rows, one of
the two ways of `_step` computes all gradients, and one optimizer moves all parameters. Losses stay on the
device until the end of an epoch, when the host looks at them once. skorch's net says when an epoch begins
and ends, and hands on what its callbacks want to see (`Observer`).
"""

import inspect
import math
import warnings
from itertools import zip_longest
from time import monotonic

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from ._device import without_waiting
from ._forward import Forward
from ._step import Autograd, WrittenOut, ways_of


class NonFiniteLoss(Exception):
    """The loss of an epoch is not a number.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    phase : {"train", "valid"}
    member : Member
        The first with such a loss.
    """

    def __init__(self, epoch, phase, member):
        super().__init__(epoch, phase)
        self.epoch, self.phase, self.member = epoch, phase, member


class Observer:
    """What somebody outside may want to see of an epoch: nothing, unless a method is overridden.

    Parameters
    ----------
    batches : bool, default=False
        Whether `begin_batch` and `end_batch` are called, which makes the host wait for each batch.
    gradients : bool, default=False
        Whether `see_gradient` is called, between the gradient and the step.
    may_touch : bool, default=False
        Whether parameters, gradients or modules may be replaced meanwhile, which training has to notice.
    """

    def __init__(self, batches=False, gradients=False, may_touch=False):
        self.batches, self.gradients, self.may_touch = batches, gradients, may_touch

    def begin_batch(self, batch, training):
        """See a batch before its step."""

    def end_batch(self, batch, training, loss, output):
        """See a batch, its loss and the outputs of its rows after the step."""

    def see_gradient(self, batch, member):
        """See the gradient of a member's batch."""


class Engine:
    """Trains networks together.

    Parameters
    ----------
    members : list of Member
        All of them with validation rows, or none.
    optimizer : torch.optim.Optimizer
        It has the parameters of all members.
    plan : Plan
    observer : Observer, default=None
    """

    def __init__(self, members, optimizer, plan, observer=None):
        self.members, self.optimizer, self.plan = members, optimizer, plan
        self.observer = Observer() if observer is None else observer
        self.sees_gradients = self.observer.gradients or plan.max_grad_norm is not None
        self.forward = Forward(plan.n_outputs, not plan.is_named, plan.precision == "bf16")
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        self.needs_closure = closure is not None and closure.default is inspect.Parameter.empty
        self.schedule: LRScheduler | None = None
        watched = {member.valid is not None for member in members}
        if len(watched) > 1 or any(m.best is not None and m.valid is None for m in members):
            raise ValueError("members must all have validation rows, or none; BestEpoch needs them.")
        self.active = list(members)  # those that are not done
        self.n_turns: dict[str, int] = {}  # of each phase of the present epoch
        self.ways: list[Autograd | WrittenOut] = []
        self._watching: list[tuple] = []  # each BestEpoch with its members that are not done
        self._order = positions(optimizer)
        self.choose_ways()

    # ------------------------------------------------------------ ways to a gradient

    def choose_ways(self):
        """Train together what can be, with the gradient written out; each of the others by autograd."""
        may_stack = self.plan.precision != "bf16"
        self.ways = ways_of(self.active, self.optimizer, self.forward, may_stack, self.plan.batch_size)
        self.active = [member for way in self.ways for member in way.members]
        bests = {id(m.best): m.best for m in self.active if m.best is not None}.values()
        self._watching = [(best, [m for m in self.active if m.best is best]) for best in bests]

    def release(self):
        """Give networks and optimizer back as they are outside of training; return whether they differed."""
        differed = any([way.release() for way in self.ways])
        for group in self.optimizer.param_groups:  # states are matched by position
            group["params"].sort(key=lambda p: self._order.get(id(p), len(self._order)))
        return differed

    def _notice_touches(self):
        """Go on with autograd once something has been frozen, replaced or hooked."""
        if not all(way.is_intact() for way in self.ways):
            self.release()

    # ------------------------------------------------------------ epochs

    def begin(self, n_epochs, n_done=0):
        """Begin to train from the optimizer's present rates.

        Parameters
        ----------
        n_epochs : int
            The epochs that the schedule of the rates is for, which may be more than are trained.
        n_done : int, default=0
            The first of them, which have been trained before.
        """
        self._began, self._n_epochs, self._n_done = monotonic(), n_epochs, n_done
        if self.plan.lr_schedule == "cosine" and self.plan.max_time is None:
            self.schedule = CosineAnnealingLR(self.optimizer, n_epochs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's: no step of the optimizer between two of the rates
                for _ in range(n_done):
                    self.schedule.step()
        elif self.plan.lr_schedule == "cosine":
            self.schedule = LambdaLR(self.optimizer, self._timed_cosine)

    def _time_used(self):
        """Return the share of the time that is over; 0 without a limit."""
        return 0.0 if self.plan.max_time is None else (monotonic() - self._began) / self.plan.max_time

    def _timed_cosine(self, _):
        """Return the factor of the rates by the share of the time or of the epochs, whichever is larger."""
        progress = min(1.0, max(self._time_used(), self._n_done / self._n_epochs))
        return (1 + math.cos(math.pi * progress)) / 2

    def begin_epoch(self):
        """Begin an epoch; in the first of a fit that goes on, look at the weights that it begins with."""
        if self.observer.may_touch:
            self._notice_touches()
        if any(best.is_due for best, _ in self._watching):
            losses = mean_losses({"valid": self.validate(Observer())})["valid"]
            for member, loss in zip(self.active, losses, strict=True):
                member.losses["valid"] = loss
                member.score()
            for best, members in self._watching:
                best.begin_with(mean_objective(members))

    def follow(self, optimizer, criterion):
        """Go on with what a callback has put in place of the optimizer, the loss, or a network."""
        networks = [member.module.network for member in self.members]
        same = all(member.network is own for member, own in zip(self.members, networks, strict=True))
        if any(member.criterion is not criterion for member in self.members):
            for member in self.members:
                member.criterion = criterion
            same = False
        if optimizer is not self.optimizer or not same:
            self.release()
            for member, network in zip(self.members, networks, strict=True):
                member.replace(network)
            self.optimizer, self._order = optimizer, positions(optimizer)
            self.choose_ways()

    def run_epoch(self):
        """Train and validate; each member gets its losses, for "train" and, with validation rows, "valid"."""
        sums = {"train": self.train()}
        if self.active[0].valid is not None:
            sums["valid"] = self.validate(self.observer)
        for phase, losses in mean_losses(sums).items():
            for member, loss in zip(self.active, losses, strict=True):
                member.losses[phase] = loss

    def train(self):
        """Take a step with each batch of the training rows.

        Returns
        -------
        sums : Tensor of shape (n_active, 2), on the device
            For each member the sum of its losses over labels, and the number of labels.
        """
        self._set_mode(training=True)
        found: list[tuple[list, list]] = [([], []) for _ in self.ways]
        self.n_turns["train"] = 0
        for batches in zip_longest(*[way.batches(self.plan.batch_size) for way in self.ways]):
            if self.observer.batches:
                self._begin_turn(batches)
            results = self.step(batches)
            for each, way, batch, result in zip(found, self.ways, batches, results, strict=True):
                if batch is not None:
                    each[0].append(result[0])
                    each[1].append(way.criterion.n_labels(batch.y, len(way.members)))
            if self.observer.batches:
                self._end_turn(batches, results)
            self.n_turns["train"] += 1
        sums = [weighted_sum(*each) for each in found]
        return sums[0] if len(sums) == 1 else torch.cat(sums)

    @torch.no_grad()
    def validate(self, observer):
        """Compute the losses of the validation rows, without a gradient; return what `train` returns."""
        self._set_mode(training=False)
        sums = []
        for member in self.active:
            losses, n_labels, outputs = [], [], []
            for batch in member.valid.batches(max(self.plan.batch_size, member.validation_size)):
                if observer.batches:
                    observer.begin_batch(batch, False)
                with member.sources():
                    output = self.forward(member.network, batch.inputs)
                losses.append(member.criterion(output, batch.y, batch.weight))
                n_labels.append(member.criterion.n_labels(batch.y))
                outputs += [] if member.scorer is None else [output]
                if observer.batches:
                    observer.end_batch(batch, False, losses[-1], output)
            sums.append(weighted_sum(losses, n_labels))
            member.outputs = torch.cat(outputs) if outputs else None
            self.n_turns["valid"] = len(losses)
        return sums[0] if len(sums) == 1 else torch.cat(sums)

    def _set_mode(self, training):
        """Put modules and losses into training mode, or into evaluation mode."""
        for member in self.active:
            # To walk through many modules takes as long as a step.
            if self.observer.may_touch or member.module.training != training:
                member.module.train(training)
            member.criterion.train(training)

    def end_epoch(self, epoch):
        """Lower the rates, keep what is best, stop members without progress; return whether training ends.

        Parameters
        ----------
        epoch : int
            Its number, counted over all fits.
        """
        self._n_done += 1
        if self.schedule is not None:
            self.schedule.step()
        for best, members in self._watching:
            best.end_epoch(mean_objective(members), epoch)
        self.go_on_with([member for member in self.active if not member.end_epoch(epoch)])
        return not self.active or self._time_used() >= 1

    def go_on_with(self, members):
        """Train no others any more."""
        if len(members) == len(self.active):
            return
        self.release()
        for member in self.active:
            member.network.zero_grad()  # the optimizer leaves alone what has no gradient
        self.active = members
        if members:
            self.choose_ways()

    # ------------------------------------------------------------ steps

    def step(self, batches, moves=True):
        """Take one optimization step.

        Parameters
        ----------
        batches : list of Rows or None
            The batch of each way, if it has one left.
        moves : bool, default=True
            False leaves the gradient of each network in its parameters, and moves nothing.

        Returns
        -------
        results : list of (Tensor, Tensor) or None
            Losses and outputs of each way from before the step: of shapes () and (n, n_outputs) for one
            network, (k,) and (k, n, n_outputs) for several.
        """
        if self.needs_closure and moves:
            return self._step_with_closure(batches)
        pairs = [*zip(self.ways, batches, strict=True)]
        results = [way.rest() if batch is None else way.gradient(batch) for way, batch in pairs]
        if self.sees_gradients:
            self._see_gradients([pair for pair in pairs if pair[1] is not None])
        if moves:
            self.optimizer.step()
        return results

    def _step_with_closure(self, batches):
        """Let an optimizer that asks for it compute the gradient as often as it wants."""
        steps = []

        def closure():
            steps.append(self.step(batches, moves=False))
            return sum(result[0].sum() for result in steps[-1] if result is not None)

        self.optimizer.step(closure)
        return steps[0]

    def _see_gradients(self, pairs):
        """Show gradients, then scale down those that are too long."""
        if self.observer.gradients:
            for way, batch in pairs:
                for member, part in zip(way.members, way.parts(batch), strict=True):
                    self.observer.see_gradient(part, member)
            if self.observer.may_touch:
                self._notice_touches()
        if self.plan.max_grad_norm is not None:
            for way, _ in pairs:
                for member in way.members:
                    clip_grad_norm_(member.network.parameters(), self.plan.max_grad_norm)

    def _begin_turn(self, batches):
        """Show the batch of the first member that has one."""
        way, batch = next(pair for pair in zip(self.ways, batches, strict=True) if pair[1] is not None)
        self.observer.begin_batch(way.parts(batch)[0], True)
        if self.observer.may_touch:
            self._notice_touches()

    def _end_turn(self, batches, results):
        """Show the batch of each member; those behind the first begin and end after the step."""
        begun = True
        for way, batch, result in zip(self.ways, batches, results, strict=True):
            if batch is not None:
                losses, outputs = result if len(way.members) > 1 else ([result[0]], [result[1]])
                for part, loss, output in zip(way.parts(batch), losses, outputs, strict=True):
                    if not begun:
                        self.observer.begin_batch(part, True)
                    self.observer.end_batch(part, True, loss, output)
                    begun = False


def positions(optimizer):
    """Return where a parameter is in its group of the optimizer, by its identity."""
    return {id(p): i for group in optimizer.param_groups for i, p in enumerate(group["params"])}


def raise_if_not_finite(members, epoch):
    """Raise NonFiniteLoss for the first member whose latest loss is not a number.

    That of validation rows which decide nothing may be.
    """
    for phase in ("train", "valid"):
        for member in members:
            decides = phase == "train" or member.best is not None
            if decides and not math.isfinite(member.losses.get(phase, 0.0)):
                raise NonFiniteLoss(epoch, phase, member)


def score(members):
    """Score the latest outputs of members for their validation rows."""
    for member in members:
        member.score()


def average_losses(members):
    """Average what members have lost, and scored, in each phase; those done count with their best epoch."""
    phases = [phase for phase in ("train", "valid", "score") if phase in members[0].losses]
    return {phase: sum(m.losses[phase] for m in members) / len(members) for phase in phases}


def mean_objective(members):
    """Average what the best epoch has least of."""
    return sum(member.objective for member in members) / len(members)


def mean_losses(sums):
    """Turn each phase's `weighted_sum` into the mean loss of each member: the one look at the device."""
    on_host = torch.stack(list(sums.values())).tolist()
    return {
        phase: [total / max(n, 1) for total, n in each] for phase, each in zip(sums, on_host, strict=True)
    }


def weighted_sum(losses, n_labels):
    """Return the sums of the batches' losses times their labels, and of the labels, on the device: (k, 2)."""
    losses = torch.stack(losses)
    # An epoch's sum in float32 would round; mps has no float64.
    dtype = torch.float32 if losses.device.type == "mps" else torch.float64
    if torch.is_tensor(n_labels[0]):
        n_labels = torch.stack(n_labels).to(dtype)
    else:
        n_labels = torch.tensor(n_labels, dtype=dtype)
        if losses.device.type != "cpu":
            n_labels = without_waiting(n_labels, losses.device)
    if losses.ndim == 1:
        return torch.stack([losses.to(dtype) @ n_labels, n_labels.sum()])[None]
    n_labels = n_labels.view(len(losses), -1).expand_as(losses)
    return torch.stack([(losses * n_labels).sum(0), n_labels.sum(0)], dim=1)


def not_finite(members):
    """Return the first member with a parameter that is not a number, or None.

    An epoch's losses are computed before its last step.
    """
    finite = [torch.stack([p.isfinite().all() for p in m.network.parameters()]).all() for m in members]
    if torch.stack(finite).all():
        return None
    return next(member for member, fine in zip(members, finite, strict=True) if not fine)
