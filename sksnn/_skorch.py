"""The skorch net inside an estimator, which owns module, criterion, optimizer, history and callbacks.

Its hooks drive the epochs: `train` notifies the callbacks and lets an `Engine` train and validate. The row
of an epoch in the history is written with one look at the device; a callback that overrides a batch hook
turns on entries for each batch, and a look for each batch. Only this module and ``callbacks`` know skorch.
"""

import copy
import math
import sys
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import skorch.dataset
import torch
from scipy import sparse
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
)
from skorch.callbacks.training import InputShapeSetter
from skorch.history import History
from tqdm import tqdm

from ._engine import Engine, NonFiniteLoss, Observer, average_losses, not_finite, raise_if_not_finite, score
from ._forward import Forward, forward_rows, widest_layer
from ._optimizers import carry_over, make_optimizer
from ._rows import Rows, encode
from ._target import Labels
from .networks import Ensemble

# ---------------------------------------------------------------- callbacks


# Callbacks that raise no KeyboardInterrupt of their own.
NEVER_STOPPING = (EpochTimer, GradientNormClipping, PrintLog, ProgressBar)

# Callbacks that replace, freeze or hook nothing in the network; their subclasses may.
READING_ONLY = (
    *NEVER_STOPPING,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
    PassthroughScoring,
)

BATCH_HOOKS = ("on_batch_begin", "on_batch_end")
KEYS = ("train_loss", "valid_loss")  # of an epoch's row in the history


def overrides(callback, hook):
    """Say whether a callback has a hook of its own."""
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)


def reads_only(callback):
    """Say whether a callback is known to leave the network and its gradients' memory alone."""
    kind = type(callback)
    scores = callable(getattr(callback, "scoring", None))  # a function of the user
    return not scores and (kind in READING_ONLY or "reads_only" in vars(kind))


def copy_callbacks(items):
    """Copy callbacks, so that the user's own keep their state and two fits do not share one.

    The copies are shallow: what the user gave a callback (a trial, a logger) is not ours to copy. But where
    one callback holds another (skorch's LoadInitState its checkpoint), the copy holds the copy.
    """
    named = [item if isinstance(item, tuple) and len(item) == 2 else (None, item) for item in items]
    for _, callback in named:
        _check_callback(callback)
    copies = {id(callback): copy.copy(callback) for _, callback in named}
    for made in copies.values():
        if isinstance(made, Callback):
            vars(made).update({key: _replaced(value, copies) for key, value in vars(made).items()})
    return [
        copies[id(callback)] if name is None else (name, copies[id(callback)]) for name, callback in named
    ]


def _check_callback(item):
    if not (isinstance(item, Callback) or (isinstance(item, type) and issubclass(item, Callback))):
        raise TypeError(
            f"callbacks must be skorch callbacks, or pairs of a name and a callback; got {item!r}. Derive "
            "from skorch.callbacks.Callback."
        )
    if isinstance(item, InputShapeSetter) or item is InputShapeSetter:
        raise TypeError(
            "callbacks must not hold skorch's InputShapeSetter: the network is built with the columns of X "
            "as its inputs, and a callable architecture is given their number. Leave it out."
        )


def _replaced(value, copies):
    """Return what a callback holds; where that holds callbacks, copies of both."""
    if type(value) is dict:
        items = _replaced(list(value.values()), copies)
        same = all(new is old for new, old in zip(items, value.values(), strict=True))
        return value if same else dict(zip(value, items, strict=True))
    if type(value) in (list, tuple):
        items = type(value)(_replaced(item, copies) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return copies.get(id(value), value)


class StopTraining(Exception):
    """Ends training normally, at once."""


# What the progress bar of a fit shows of an epoch's row of the history.
SHOWN = {"train_loss": "loss", "valid_loss": "valid loss", "valid_score": "score"}


@contextmanager
def progress_bar(epochs, max_time):
    """Yield a function that shows an epoch's row of the history in one bar for all epochs.

    Parameters
    ----------
    epochs : range
        Their numbers, from 1 in a fit that does not go on.
    max_time : float or None
        Where seconds end a fit, the time left is not what the epochs say.
    """
    left = "<{remaining}" if max_time is None else f" of at most {tqdm.format_interval(max_time)}"
    look = "{l_bar}{bar}| {n}/{total} epochs [{elapsed}" + left + "{postfix}]"
    done, silent = epochs.start - 1, sys.stderr is None  # as in an application without a console
    with tqdm(total=epochs.stop - 1, initial=done, bar_format=look, disable=silent) as bar:

        def show(row):
            losses = (f"{name} {row[key]:.4g}" for key, name in SHOWN.items() if key in row)
            bar.set_postfix_str(", ".join(losses), refresh=False)
            bar.update()

        yield show


# ---------------------------------------------------------------- what skorch sees


class LongHistory(History):
    """skorch's history, which copies all of its rows to find one, without the copy."""

    def __getitem__(self, i):
        """Return a row, or what skorch's keys of several levels name."""
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


class NetRows(Rows, skorch.dataset.Dataset):
    """Rows that skorch's callbacks take for a dataset."""

    @property
    def X(self):
        """The rows without their targets; what skorch predicts from when it does not cache."""
        return NetRows(self.inputs)


def side_by_side(inputs):
    """Return inputs for one encoder as they are, and those for several in a container."""
    return inputs[0] if len(inputs) == 1 else _SideBySide(inputs)


class _SideBySide:
    """The same rows as several encoders encode them; an index gives a tuple of tensors."""

    def __init__(self, inputs):
        self.inputs, self.shape, self.device = inputs, inputs[0].shape, inputs[0].device

    def __len__(self):
        return len(self.inputs[0])

    def __getitem__(self, index):
        return tuple(inputs[index] for inputs in self.inputs)


def net_rows(several):
    """Make the dataset that callbacks see from the rows of each member; None of None."""
    if several is None:
        return None
    inputs = list({id(rows.inputs): rows.inputs for rows in several}.values())
    return NetRows(side_by_side(inputs), several[0].y, several[0].weight)


class Hooks(Observer):
    """Hands batches and gradients on to the callbacks of a net."""

    def __init__(self, net):
        callbacks = [callback for _, callback in net.callbacks_]
        super().__init__(
            batches=any(overrides(c, hook) for c in callbacks for hook in BATCH_HOOKS),
            gradients=any(overrides(c, "on_grad_computed") for c in callbacks),
            may_touch=not all(reads_only(c) for c in callbacks),
        )
        self.net = net

    def begin_batch(self, batch, training):
        """Open the batch's entry and call the hook."""
        self.net.notify("on_batch_begin", batch=(batch.inputs, batch.y), training=training)

    def end_batch(self, batch, training, loss, output):
        """Write the batch's loss and call the hook."""
        net, prefix = self.net, "train" if training else "valid"
        net.history.record_batch(prefix + "_loss", loss.item())
        net.history.record_batch(prefix + "_batch_size", len(batch))
        pair = (batch.inputs, batch.y)
        net.notify("on_batch_end", batch=pair, training=training, loss=loss, y_pred=output)

    def see_gradient(self, batch, member):
        """Call the hook, with the parameters of the network that the batch is of."""
        own = {id(p) for p in member.network.parameters()}
        parameters = [(name, p) for name, p in self.net.get_all_learnable_params() if id(p) in own]
        pair = (batch.inputs, batch.y)
        self.net.notify("on_grad_computed", named_parameters=parameters, batch=pair, training=True)


# ---------------------------------------------------------------- the net


def _refused(self, *args, **kwargs):
    """Refuse: what surrounds a fit (checks, statistics, generators) is the estimator's."""
    raise RuntimeError(
        "net_ is trained by its estimator: call fit of the estimator, with warm_start=True to go on, or "
        "its partial_fit. A skorch net of your own can train net_.module_."
    )


class _Net(NeuralNet):
    """What both nets change in skorch: where the rows live, and what trains them.

    Parameters
    ----------
    module : EncodedNetwork
    plan : Plan
    trains : bool
        Whether the net has an optimizer; one that was loaded has none.
    **kwargs
        Further parameters of skorch's net.
    """

    engine_: Engine | None = None  # while it trains
    stop_ = False  # a callback may set it to end training with the present epoch

    def __init__(self, module, *, plan, trains, **kwargs):
        super().__init__(module, criterion=plan.loss(), train_split=None, history=LongHistory(), **kwargs)
        self.plan, self.trains = plan, trains

    fit = partial_fit = fit_loop = run_single_epoch = train_step = train_step_single = _refused

    # what skorch asks for

    def get_default_callbacks(self):
        """Time each epoch; print a table from verbose=2."""
        callbacks = [("epoch_timer", EpochTimer())]
        return callbacks + ([("print_log", PrintLog())] if self.verbose > 1 else [])

    def initialize_optimizer(self):
        """Build the optimizer of the estimator's parameters."""
        self.optimizer_ = None
        if self.trains:
            self.optimizer_ = make_optimizer(
                self.plan.optimizer,
                [p for network in self.module_.networks for p in network.parameters()],
                lr=self.plan.lr,
                weight_decay=self.plan.weight_decay,
                optimizer_params=self.plan.optimizer_params,
            )
        return self

    def check_data(self, X, y=None):
        """Do nothing: the estimator has checked the data."""

    def get_dataset(self, X, y=None):
        """Encode raw rows unless they are encoded already."""
        if isinstance(X, NetRows):
            return X
        X = X if sparse.issparse(X) or torch.is_tensor(X) else np.asarray(X)
        dtype = next(self.module_.network.parameters()).dtype
        return NetRows(side_by_side([encode(X, e, self.device, dtype) for e in self._encoders()]), y)

    def _encoders(self):
        """List the encoders, each once."""
        members = getattr(self.module_, "members", [self.module_])
        return list(dict.fromkeys(member.encoder for member in members))

    def get_iterator(self, dataset, training=False):
        """Cut rows into pairs of inputs and targets, in order: the engine has batches of its own."""
        size = self.batch_size
        if not training:
            size = max(size, forward_rows(max(map(widest_layer, self.module_.networks)), self.device))
        return ((batch.inputs, batch.y) for batch in dataset.batches(size))

    def infer(self, x, **fit_params):
        """Compute the outputs of encoded rows; of members, their average."""
        forward = Forward(self.plan.n_outputs, not self.plan.is_named, self.plan.precision == "bf16")
        if not isinstance(self.module_, Ensemble):
            return forward(self.module_.network, x)
        inputs = dict(zip(self._encoders(), x if isinstance(x, tuple) else (x,), strict=True))
        outputs = [forward(member.network, inputs[member.encoder]) for member in self.module_.members]
        return self.module_.average(torch.stack(outputs))

    def get_loss(self, y_pred, y_true, *args, weight=None, **kwargs):
        """Average the loss of a batch."""
        return self.criterion_(y_pred, y_true, weight)

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of the net and of each callback; a KeyboardInterrupt of theirs ends training."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt as stop:  # how skorch's EarlyStopping stops
                if isinstance(callback, NEVER_STOPPING):
                    raise  # somebody pressed Ctrl-C while it ran
                raise StopTraining from stop

    # training

    def train(self, members, rows, valid, n_epochs, horizon=None, n_done=0, keep=None):
        """Train networks for some epochs.

        Parameters
        ----------
        members : list of Member
            One for each network of this net.
        rows, valid : NetRows
            The training rows and the validation rows (or None) that callbacks see.
        n_epochs : int
        horizon : int, default=None
            The epochs that the schedule of the rates is for; None are those that are trained.
        n_done : int, default=0
            The first of these epochs, which have been trained before.
        keep : callable, default=None
            Called with the number of epochs that are done, unless it was the last.

        Raises
        ------
        NonFiniteLoss
            At the end of the epoch in which a loss stops being a number.
        """
        hooks = Hooks(self)
        engine = self.engine_ = Engine(members, self.optimizer_, self.plan, hooks)
        try:
            try:
                with torch.enable_grad(), suppress(StopTraining):
                    self.notify("on_train_begin", X=rows, y=rows.y)
                    engine.begin(horizon or n_epochs, n_done)
                    self._run_epochs(engine, rows, valid, range(n_done + 1, n_epochs + 1), keep)
            finally:
                self._drop_unfinished_epoch()
                self.module_.eval()
            member = not_finite(engine.members)
            if member is not None:
                raise NonFiniteLoss(len(self.history), "train", member)
            with suppress(StopTraining):
                self.notify("on_train_end", X=rows, y=rows.y)
        finally:
            engine.release()
            self.module_.zero_grad()
            self.engine_ = None

    def _run_epochs(self, engine, rows, valid, epochs, keep):
        """Loop over epochs until they are done, or no member goes on."""
        self.begin_epochs()
        with progress_bar(epochs, self.plan.max_time) if self.verbose == 1 else nullcontext() as show:
            for epoch in epochs:
                self.notify("on_epoch_begin", dataset_train=rows, dataset_valid=valid)
                if engine.observer.may_touch:
                    engine.follow(self.optimizer_, self.criterion_)
                engine.begin_epoch()
                engine.run_epoch()
                raise_if_not_finite(engine.active, len(self.history))
                score(engine.active)
                self.write_epoch(engine.members, engine.n_turns, engine.observer.batches)
                if show is not None:
                    show(self.history[-1])
                self.notify("on_epoch_end", dataset_train=rows, dataset_valid=valid)
                self.stop_ = engine.end_epoch(len(self.history)) or self.stop_
                if self.stop_:
                    break
                if keep is not None and epoch < epochs[-1]:
                    keep(epoch)

    def begin_epochs(self):
        """Look for the least losses that the history has."""
        found = {key: [row[key] for row in self.history if key in row] for key in KEYS}
        self._least = {key: min(losses, default=math.inf) for key, losses in found.items()}

    def write_epoch(self, members, n_turns, seen=False):
        """Write an epoch's row of the history.

        Parameters
        ----------
        members : list of Member
            Those of this net.
        n_turns : dict of str to int
            The number of batches in each phase.
        seen : bool, default=False
            Whether hooks have written an entry for each batch; else there is one for each phase.
        """
        epoch, losses = self.history[-1], average_losses(members)
        for (phase, loss), rows in zip(losses.items(), (members[0].rows, members[0].valid), strict=False):
            key = phase + "_loss"
            if not seen:
                epoch["batches"].append({phase + "_batch_size": len(rows), key: loss})
            epoch[phase + "_batch_count"] = n_turns[phase]
            epoch[key], epoch[key + "_best"] = loss, loss < self._least[key]
            self._least[key] = min(loss, self._least[key])
        if "score" in losses:
            epoch["valid_score"] = losses["score"]

    def _drop_unfinished_epoch(self):
        if self.history and "train_loss" not in self.history[-1]:
            del self.history[-1]

    # state

    @contextmanager
    def as_outside_of_training(self):
        """Let checkpoints, while the block runs, see one optimizer state for each parameter."""
        engine = self.engine_
        released = engine is not None and engine.release()
        yield
        if engine is not None and released:
            engine.choose_ways()

    def save_params(self, *args, **kwargs):
        """Save parameters, optimizer, history as skorch does."""
        with self.as_outside_of_training():
            super().save_params(*args, **kwargs)

    def load_params(self, *args, **kwargs):
        """Load what `save_params` saved."""
        with self.as_outside_of_training():
            super().load_params(*args, **kwargs)

    def __getstate__(self):
        return {key: value for key, value in super().__getstate__().items() if key != "engine_"}


class ClassifierNet(_Net, NeuralNetClassifier):
    """The skorch net inside a classifier; labels are 0..n_classes-1, or tasks of 0, 1 and NaN."""

    def predict(self, X):
        """Return class indices, or 0 and 1 for each task."""
        proba = self.predict_proba(X)
        return (proba > 0.5).astype(int) if self.classes_.dtype == object else proba.argmax(axis=1)


class RegressorNet(_Net, NeuralNetRegressor):
    """The skorch net inside a regressor; targets are standardised if the estimator does so."""


def make_net(model, callbacks=None, verbose=0, earlier=None):
    """Wrap a model in a net.

    Parameters
    ----------
    model : Model
        If it has been loaded, with its history, the net has no optimizer.
    callbacks : list, default=None
        The user's, of which the net gets copies.
    verbose : int, default=0
    earlier : Model, default=None
        Goes on with the optimizer of this one, as far as the plans agree.
    """
    plan = model.plan
    net_class = ClassifierNet if isinstance(model.target, Labels) else RegressorNet
    net = net_class(
        model.module,
        plan=plan,
        trains=earlier is not None or not model.history,
        lr=plan.lr,
        batch_size=plan.batch_size,
        callbacks=copy_callbacks(callbacks or []),
        device=str(model.device),
        verbose=int(verbose),
        **model.target.net_parameters(),
    ).initialize()
    net.history.extend(model.history)
    if earlier is not None:
        for group in net.optimizer_.param_groups:  # where schedulers that go on begin
            group.setdefault("initial_lr", group["lr"])
    state = earlier and earlier.optimizer_state()
    if state is not None:
        moments = earlier.plan.moments == plan.moments
        rates = plan.rates is not None and earlier.plan.rates == plan.rates
        carry_over(net.optimizer_, state, moments, rates)
    return net
