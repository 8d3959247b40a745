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
from ._members import Member
from ._step import Autograd, WrittenOut


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
        self.sees_gradients = self.observer.gradients or plan.max_grad_norm is not None
        self.needs_closure = closure is not None and closure.default is inspect.Parameter.empty
        self.schedule = None
        self.active = list(members)  # those that are not done
        self.n_turns: dict[str, int] = {}  # of each phase of the present epoch
        self.way: Autograd | WrittenOut
        self.choose_way()

    # ------------------------------------------------------------ ways to a gradient

    def choose_way(self):
        """Write the gradient out where networks and optimizer allow it, else use autograd."""
        networks = [member.network for member in self.active]
        alike = len({len(member.rows) for member in self.active}) == 1
        if alike and self.plan.precision != "bf16" and WrittenOut.fits(networks, self.optimizer):
            self.way = WrittenOut(networks, self.optimizer)
        else:
            self.way = Autograd(self.optimizer, self.forward)

    def release(self):
        """Give networks and optimizer back as they are outside of training; return whether they differed."""
        differed = isinstance(self.way, WrittenOut)
        self.way.release()
        self.way = Autograd(self.optimizer, self.forward)
        return differed

    def _notice_touches(self):
        """Go on with autograd once something has been frozen, replaced or hooked."""
        if self.observer.may_touch and not self.way.is_intact():
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
        """Train and validate; add the losses to the members' curves.

        Returns
        -------
        losses : dict of str to float
            The mean over the members for "train" and, with validation rows, "valid".

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
                member.curves[phase].append(loss)
        return {phase: sum(each) / len(each) for phase, each in losses.items()}

    def run(self, training):
        """Make one pass over the training or the validation rows.

        Returns
        -------
        sums : Tensor of shape (n_active, 2), on the device
            Of each member, the sum of its losses over labels, and the number of labels.
        """
        members, observer, n_turns = self.active, self.observer, 0
        for member in members:
            member.module.train(training)
        self.criterion.train(training)
        found: dict[Member, tuple[list, list]] = {member: ([], []) for member in members}
        step = self.train_step if training else self.validation_step
        for batches in zip_longest(*[member.batches(self.plan.batch_size, training) for member in members]):
            turn = [pair for pair in zip(members, batches, strict=True) if pair[1] is not None]
            if observer.batches:
                for _, batch in turn:
                    observer.begin_batch(batch, training)
            losses, outputs = step(turn)
            for (member, batch), loss in zip(turn, losses, strict=True):
                found[member][0].append(loss)
                found[member][1].append(self.criterion.n_labels(batch.y))
            if observer.batches:
                for (_, batch), loss, output in zip(turn, losses, outputs, strict=True):
                    observer.end_batch(batch, training, loss, output)
            n_turns += 1
        self.n_turns["train" if training else "valid"] = n_turns
        return torch.stack([weighted_sum(*each) for each in found.values()])

    def end_epoch(self, epoch):
        """Lower the rates, keep what is best, stop members without progress; return whether all are done."""
        if self.schedule is not None:
            self.schedule.step()
        goes_on = []
        for member in self.active:
            done = member.best is not None and member.best.end_epoch(member.curves["valid"][-1], epoch)
            goes_on += [] if done else [member]
        if 0 < len(goes_on) < len(self.active):
            self.way.release()
            for member in self.active:
                member.network.zero_grad()  # the optimizer leaves alone what has no gradient: those done
            self.active = goes_on
            self.choose_way()
        return not goes_on

    # ------------------------------------------------------------ steps

    def train_step(self, turn):
        """Take one optimization step.

        Parameters
        ----------
        turn : list of (Member, Rows)
            The batch of each member that has one.

        Returns
        -------
        losses : list of Tensor of shape ()
        outputs : list of Tensor of shape (n, n_outputs)
            Both from before the step.
        """
        if self.observer.batches:
            self._notice_touches()
        if self.needs_closure:
            return self._step_with_closure(turn)
        found = self.way.gradient(turn, self.criterion)
        if self.sees_gradients:
            self._see_gradients(turn)
        self.optimizer.step()
        return found

    def _step_with_closure(self, turn):
        """Let an optimizer that asks for it compute the gradient as often as it wants."""
        steps = []

        def closure():
            steps.append(self.way.gradient(turn, self.criterion))
            self._see_gradients(turn)
            return sum(steps[-1][0])

        self.optimizer.step(closure)
        return steps[0]

    def _see_gradients(self, turn):
        """Show the gradients, then scale down those that are too long."""
        if self.observer.gradients:
            for _, batch in turn:
                self.observer.see_gradient(batch)
            self._notice_touches()
        if self.plan.max_grad_norm is not None:
            for member, _ in turn:
                clip_grad_norm_(member.network.parameters(), self.plan.max_grad_norm)

    @torch.no_grad()
    def validation_step(self, turn):
        """Compute losses and outputs of a batch of each member, without a gradient."""
        outputs = [self.forward(member.network, batch.inputs) for member, batch in turn]
        losses = [
            self.criterion(output, batch.y, batch.weight)
            for output, (_, batch) in zip(outputs, turn, strict=True)
        ]
        return losses, outputs


def weighted_sum(losses, n_labels):
    """Return the sum of the batches' losses times their labels, and of the labels, on the device."""
    losses = torch.stack(losses)
    # An epoch's sum in float32 would round; mps has no float64.
    dtype = torch.float32 if losses.device.type == "mps" else torch.float64
    if torch.is_tensor(n_labels[0]):
        n_labels = torch.stack(n_labels).to(dtype)
    else:
        n_labels = without_waiting(torch.tensor(n_labels, dtype=dtype), losses.device)
    return torch.stack([losses.to(dtype) @ n_labels, n_labels.sum()])


def all_finite(members):
    """Say whether all parameters are numbers; an epoch's losses are computed before its last step."""
    parameters = [p for member in members for p in member.network.parameters()]
    return bool(torch.stack([p.isfinite().all() for p in parameters]).all())
