"""Steps, validation and stopping of k >= 1 networks.

The engine trains `Member`s: in each step every member that is not done takes a batch of its own rows, one of
the two ways of `_step` computes all gradients, and one optimizer moves all parameters. Losses stay on the
device until the end of an epoch, when the host looks at them once. skorch's net says when an epoch begins
and ends, and hands on what its callbacks want to see (`Observer`).
"""

import inspect
import math
from itertools import zip_longest

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from ._device import without_waiting
from ._forward import Forward
from ._step import Autograd, WrittenOut, ways_of


class NonFiniteLoss(Exception):
    """The loss of an epoch is not a number; carries the epoch, counted from 1, and the phase."""

    def __init__(self, epoch, phase):
        super().__init__(epoch, phase)
        self.epoch, self.phase = epoch, phase


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

    def see_gradient(self, batch):
        """See the gradient of a batch."""


class Engine:
    """Trains networks together.

    Parameters
    ----------
    members : list of Member
    criterion : MaskedLoss
    optimizer : torch.optim.Optimizer
        Has the parameters of all members.
    plan : Plan
    observer : Observer, default=None
    """

    def __init__(self, members, criterion, optimizer, plan, observer=None):
        self.members, self.criterion, self.optimizer, self.plan = members, criterion, optimizer, plan
        self.observer = Observer() if observer is None else observer
        self.forward = Forward(plan.n_outputs, plan.own, plan.precision == "bf16")
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        self.needs_closure = closure is not None and closure.default is inspect.Parameter.empty
        self.schedule = None
        self.active = list(members)  # those that are not done
        self.n_turns: dict[str, int] = {}  # of each phase of the present epoch
        self.ways: list[Autograd | WrittenOut] = []
        self.choose_ways()

    # ------------------------------------------------------------ ways to a gradient

    def choose_ways(self):
        """Train together what can be, with the gradient written out; each of the others by autograd."""
        may_stack = self.plan.precision != "bf16"
        self.ways = ways_of(self.active, self.optimizer, self.forward, may_stack)
        self.active = [member for way in self.ways for member in way.members]

    def release(self):
        """Give networks and optimizer back as they are outside of training; return whether they differed."""
        return any([way.release() for way in self.ways])

    def _notice_touches(self):
        """Go on with autograd once something has been frozen, replaced or hooked."""
        if self.observer.may_touch and not all(way.is_intact() for way in self.ways):
            self.release()

    # ------------------------------------------------------------ epochs

    def begin(self, n_epochs):
        """Begin to train for so many epochs, from the optimizer's present rates."""
        if self.plan.lr_schedule == "cosine":
            self.schedule = CosineAnnealingLR(self.optimizer, n_epochs)

    def begin_epoch(self):
        """Begin an epoch; in the first of a fit that goes on, look at the weights that it begins with."""
        self._notice_touches()
        if any(member.best is not None and member.best.is_due for member in self.active):
            for member, (total, n) in zip(self.active, self.run(training=False).tolist(), strict=True):
                member.best.begin_with(total / max(n, 1))

    def run_epoch(self, epoch):
        """Train and validate; each member gets its losses.

        Returns
        -------
        losses : dict of str to float
            The mean over the members for "train" and, with validation rows, "valid"; those that are done
            count with the losses of their best epoch.

        Raises
        ------
        NonFiniteLoss
            If a loss is not a number.
        """
        sums = {"train": self.run(training=True)}
        if self.active[0].valid is not None:
            sums["valid"] = self.run(training=False)
        on_host = torch.stack(list(sums.values())).tolist()  # the one look at the device
        losses = {
            phase: [total / max(n, 1) for total, n in each] for phase, each in zip(sums, on_host, strict=True)
        }
        for phase, each in losses.items():
            if not all(map(math.isfinite, each)):
                raise NonFiniteLoss(epoch, phase)
        for phase, each in losses.items():
            for member, loss in zip(self.active, each, strict=True):
                member.losses[phase] = loss
        return {
            phase: sum(member.losses[phase] for member in self.members) / len(self.members)
            for phase in losses
        }

    def run(self, training):
        """Make one pass over the training or the validation rows.

        Returns
        -------
        sums : Tensor of shape (n_active, 2), on the device
            Of each member, the sum of its losses over labels, and the number of labels.
        """
        for member in self.active:
            member.module.train(training)
        self.criterion.train(training)
        return self._train() if training else self._validate()

    def _train(self):
        """Take a step with each batch of the training rows."""
        found: list[tuple[list, list]] = [([], []) for _ in self.ways]
        n_turns = 0
        for batches in zip_longest(*[way.batches(self.plan.batch_size) for way in self.ways]):
            if self.observer.batches:
                self._begin_turn(batches)
            results = self.train_step(batches)
            for (losses, n_labels), way, batch, result in zip(
                found, self.ways, batches, results, strict=True
            ):
                if batch is not None:
                    losses.append(result[0])
                    n_labels.append(way.n_labels(batch, self.criterion))
            if self.observer.batches:
                self._end_turn(batches, results)
            n_turns += 1
        self.n_turns["train"] = n_turns
        sums = [weighted_sum(*each) for each in found]
        return sums[0] if len(sums) == 1 else torch.cat(sums)

    @torch.no_grad()
    def _validate(self):
        """Compute the losses of the validation rows, without a gradient."""
        sums, observer = [], self.observer
        for member in self.active:
            losses, n_labels = [], []
            for batch in member.validation_batches(self.plan.batch_size):
                if observer.batches:
                    observer.begin_batch(batch, False)
                with member.sources():
                    output = self.forward(member.network, batch.inputs)
                losses.append(self.criterion(output, batch.y, batch.weight))
                n_labels.append(self.criterion.n_labels(batch.y))
                if observer.batches:
                    observer.end_batch(batch, False, losses[-1], output)
            sums.append(weighted_sum(losses, n_labels))
            self.n_turns["valid"] = len(losses)
        return sums[0] if len(sums) == 1 else torch.cat(sums)

    def end_epoch(self, epoch):
        """Lower the rates, keep what is best, stop members without progress; return whether all are done."""
        if self.schedule is not None:
            self.schedule.step()
        goes_on = []
        for member in self.active:
            goes_on += [] if member.end_epoch(epoch) else [member]
        if 0 < len(goes_on) < len(self.active):
            self.release()
            for member in self.active:
                member.network.zero_grad()  # the optimizer leaves alone what has no gradient: those done
            self.active = goes_on
            self.choose_ways()
        return not goes_on

    # ------------------------------------------------------------ steps

    def train_step(self, batches):
        """Take one optimization step.

        Parameters
        ----------
        batches : list of Rows or None
            The batch of each way, if it has one left.

        Returns
        -------
        results : list of (Tensor, Tensor) or None
            Losses and outputs of each way from before the step: of shapes () and (n, n_outputs) for one
            network, (k,) and (k, n, n_outputs) for several.
        """
        if self.observer.batches:
            self._notice_touches()
        if self.needs_closure:
            return self._step_with_closure(batches)
        results = self._gradients(batches)
        self.optimizer.step()
        return results

    def _step_with_closure(self, batches):
        """Let an optimizer that asks for it compute the gradient as often as it wants."""
        steps = []

        def closure():
            steps.append(self._gradients(batches))
            return sum(result[0].sum() for result in steps[-1] if result is not None)

        self.optimizer.step(closure)
        return steps[0]

    def _gradients(self, batches):
        """Leave the gradient of its batch in each network's parameters; return losses and outputs."""
        results = []
        for way, batch in zip(self.ways, batches, strict=True):
            results.append(way.rest() if batch is None else way.gradient(batch, self.criterion))
        if self.observer.gradients:
            for way, batch in zip(self.ways, batches, strict=True):
                for part in [] if batch is None else way.parts(batch):
                    self.observer.see_gradient(part)
            self._notice_touches()
        if self.plan.max_grad_norm is not None:
            for way, batch in zip(self.ways, batches, strict=True):
                for member in [] if batch is None else way.members:
                    clip_grad_norm_(member.network.parameters(), self.plan.max_grad_norm)
        return results

    def _begin_turn(self, batches):
        for way, batch in zip(self.ways, batches, strict=True):
            for part in [] if batch is None else way.parts(batch):
                self.observer.begin_batch(part, True)

    def _end_turn(self, batches, results):
        for way, batch, result in zip(self.ways, batches, results, strict=True):
            if batch is not None:
                losses, outputs = result if len(way.members) > 1 else ([result[0]], [result[1]])
                for part, loss, output in zip(way.parts(batch), losses, outputs, strict=True):
                    self.observer.end_batch(part, True, loss, output)


def weighted_sum(losses, n_labels):
    """Return the sums of the batches' losses times their labels, and of the labels, on the device: (k, 2)."""
    losses = torch.stack(losses)
    # An epoch's sum in float32 would round; mps has no float64.
    dtype = torch.float32 if losses.device.type == "mps" else torch.float64
    if torch.is_tensor(n_labels[0]):
        n_labels = torch.stack(n_labels).to(dtype)
    else:
        n_labels = without_waiting(torch.tensor(n_labels, dtype=dtype), losses.device)
    if losses.ndim == 1:
        return torch.stack([losses.to(dtype) @ n_labels, n_labels.sum()])[None]
    n_labels = n_labels.view(len(losses), -1).expand_as(losses)
    return torch.stack([(losses * n_labels).sum(0), n_labels.sum(0)], dim=1)


def all_finite(members):
    """Say whether all parameters are numbers; an epoch's losses are computed before its last step."""
    parameters = [p for member in members for p in member.network.parameters()]
    return bool(torch.stack([p.isfinite().all() for p in parameters]).all())
