"""Several estimators fitted in one loop: networks of equal layers and rows take their steps as one stack."""

import inspect
import time
from contextlib import contextmanager
from typing import Any

from . import _device
from ._engine import Engine, NonFiniteLoss, not_finite, raise_if_not_finite, score
from ._optimizers import divide, unite
from ._rows import Memo
from ._step import ELEMENTWISE

# Memory for weights, gradients and moments of the networks in one loop: what a core's cache and its memory
# take turns in. Networks beyond it are trained one loop after the other, which is no slower.
LOOP_BYTES = 2**25


class Fit:
    """A fit of an estimator, which may fail.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        In the end it is what its own `fit` would have made of it. One that has been fitted goes on, up to
        `max_epochs` epochs in all.
    *data
        What `fit` is called with.
    horizon : int, default=None
        The epochs that the schedule of the rates is for; None is the estimator's `max_epochs`.
    **params
        Further arguments of `fit`.

    Attributes
    ----------
    training : Training or None
        What is to be trained.
    error : Exception or None
        Why the fit has failed.
    may_go_on : bool
        Whether a fit of more epochs, to the same horizon, would be the same as one that goes on from here.
    seconds : float
        Its time; of what was done for several fits at once, its share.
    """

    def __init__(self, estimator, *data, horizon=None, **params):
        self.estimator, self.data, self.params = estimator, data, params
        self.horizon = horizon or estimator.max_epochs
        self.training: Any = None
        self.error: Exception | None = None
        self.may_go_on, self.seconds = False, 0.0

    @property
    def n_done(self):
        """The epochs that have been trained before."""
        return len(self.training.model.history)

    @contextmanager
    def attempting(self):
        """Note the time of a block, and the error that ends it, after which the estimator is not fitted."""
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self.estimator._forget()
            if not isinstance(error, Exception):
                raise
            self.error = without_frames(error)
        self.seconds += time.perf_counter() - start

    def prepare(self, memo):
        """Settle what is to be trained."""
        with self.attempting(), _device.as_imported():
            bound = inspect.signature(self.estimator.fit).bind(*self.data, **self.params)
            self.estimator._validate_params()
            earlier = vars(self.estimator).get("_model")
            self.training = self.estimator._prepare(earlier, **bound.arguments, memo=memo)

    def train_alone(self):
        """Train what cannot be trained with others."""
        training, self.training = self.training, None
        with self.attempting(), _device.as_imported():
            self.estimator._train(training, self.estimator.max_epochs, self.horizon)
            self.estimator._look_back(training)

    def finish(self, failure):
        """Publish what has been trained, up to a loss that is not a number."""
        training, self.training = self.training, None
        with self.attempting(), _device.as_imported():
            with self.estimator._publishing(training):
                if failure is not None:
                    raise failure
            if self.horizon == self.estimator.max_epochs:
                self.estimator._look_back(training)
            else:
                self.may_go_on = training.model.resumes = training.best is None
        if not self.may_go_on:
            training.net.optimizer_.state.clear()  # twice the weights, which nobody asks for any more


def without_frames(error):
    """Return an error without what it holds alive: the frames, and with them the data, of a fit."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def fit_together(fits, advance=None, done=None):
    """Fit estimators, in as few loops as their settings and memory allow.

    Parameters
    ----------
    fits : list of Fit
        Each ends with a fitted estimator or an error.
    advance : callable, default=None
        Called with the number of fits, a float, that have been done since.
    done : callable, default=None
        Called with each fit that has ended.
    """
    advance, done = advance or (lambda n_fits: None), done or (lambda fit: None)
    memo = Memo()
    loops: dict = {}
    for fit in fits:
        fit.prepare(memo)
        if fit.error is None:
            loops.setdefault(loop_of(fit), []).append(fit)
        else:
            advance(1)
            done(fit)
    for fit in loops.pop(None, []):
        fit.train_alone()
        advance(1)
        done(fit)
    for alike in loops.values():
        for part in cut_by_memory(alike):
            train_in_one_loop(part, advance)
            for fit in part:
                done(fit)


def loop_of(fit):
    """Return what fits that are trained in one loop have in common; None if that would save nothing."""
    estimator, (model, net, members, *_) = fit.estimator, fit.training
    plan = model.plan
    is_plain = plan.architecture == "snn" and plan.precision != "bf16" and type(net.optimizer_) in ELEMENTWISE
    if not is_plain or estimator.callbacks or estimator.verbose or estimator.max_time is not None:
        return None
    shared = plan.batch_size, plan.lr_schedule, plan.max_grad_norm, plan.precision, plan.n_outputs
    watches = members[0].valid is not None
    return type(net.optimizer_), estimator.max_epochs, fit.horizon, fit.n_done, model.device, watches, *shared


def cut_by_memory(fits):
    """Cut fits into lists whose networks are trained within `LOOP_BYTES`."""
    part: list[Fit] = []
    used = 0
    for fit in fits:
        parameters = [p for network in fit.training.model.module.networks for p in network.parameters()]
        size = 4 * sum(p.numel() * p.element_size() for p in parameters)  # gradients and two moments beside
        if part and used + size > LOOP_BYTES:
            yield part
            part, used = [], 0
        part.append(fit)
        used += size
    yield part


def train_in_one_loop(fits, advance):
    """Train what is ready; finish each fit."""
    trainings, first = [fit.training for fit in fits], fits[0]
    epochs = range(first.n_done + 1, first.estimator.max_epochs + 1)
    start = time.perf_counter()
    with trainings[0].model.training():
        failures = run_epochs(trainings, epochs, first.horizon, lambda: advance(len(fits) / len(epochs)))
    seconds = (time.perf_counter() - start) / len(fits)
    for i, fit in enumerate(fits):
        fit.seconds += seconds
        fit.finish(failures.get(i))


def run_epochs(trainings, epochs, horizon, advance):
    """Train the networks of several fits for some epochs, or until each has stopped.

    Parameters
    ----------
    trainings : list of Training
    epochs : range
        Their numbers, from 1 in a fit that does not go on.
    horizon : int
        The number of epochs that the schedule of the rates is for.
    advance : callable
        Called after each epoch.

    Returns
    -------
    failures : dict of int to Exception
        For a place in `trainings`, the loss that was not a number or a scorer's error; others have gone on.
    """
    share_losses(trainings)
    optimizers = [training.net.optimizer_ for training in trainings]
    engine = Engine(
        [member for training in trainings for member in training.members],
        unite(optimizers),
        trainings[0].model.plan,
    )
    going, failures = dict(enumerate(trainings)), {}
    for training in trainings:
        training.net.begin_epochs()
    try:
        engine.begin(horizon, epochs.start - 1)
        for epoch in epochs:
            start = time.perf_counter()
            engine.begin_epoch()
            engine.run_epoch()
            seconds = (time.perf_counter() - start) / len(going)
            failures.update(drop_broken(engine, going, epoch))
            for training in going.values():
                training.net.history.new_epoch()
                training.net.history.record("epoch", epoch)
                training.net.write_epoch(training.members, engine.n_turns)
                training.net.history.record("dur", seconds)
            advance()
            if not engine.active or engine.end_epoch(epoch):
                break
            active = set(map(id, engine.active))
            going = {i: t for i, t in going.items() if any(id(member) in active for member in t.members)}
    finally:
        engine.release()
        divide(engine.optimizer, optimizers)
        for training in trainings:
            training.net.module_.eval()
            training.net.module_.zero_grad()
    for i, training in enumerate(trainings):
        member = not_finite(training.members) if i not in failures else None
        if member is not None:
            failures[i] = NonFiniteLoss(len(training.net.history), "train", member)
    return failures


def drop_broken(engine, going, epoch):
    """Train those fits no longer of which a loss is not a number or a scorer fails; return their errors."""
    broken: dict[int, Exception] = {}
    for i, training in going.items():
        try:
            raise_if_not_finite(training.members, epoch)
            score(training.members)
        except Exception as error:  # of a user's scorer, too
            broken[i] = error
    if broken:
        members = {id(member) for i in broken for member in going.pop(i).members}
        engine.go_on_with([member for member in engine.active if id(member) not in members])
    return broken


def share_losses(trainings):
    """Give networks of equal losses one object: they are trained in one stack."""
    known: dict = {}
    for training in trainings:
        loss = training.model.plan.loss
        keywords = [(name, id(value) if callable(value) else value) for name, value in loss.keywords.items()]
        key = loss.func, loss.args, *keywords
        criterion = known.setdefault(key, training.net.criterion_)
        for member in training.members:
            member.criterion = criterion
