"""What the classifier and the regressor share: fits, incremental fits, pickles.

A fit checks what was handed in and learns the target (`_read`), splits off validation rows, settles a
`Plan`, makes a `Model` or goes on with the one there is, trains it inside a skorch net, and publishes the
fitted attributes. The estimator keeps two things: ``_model``, everything fitted, and ``net_``, its face for
users of skorch.
"""

from collections.abc import Callable
from contextlib import contextmanager
from numbers import Integral, Real
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.metrics import get_scorer_names
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from . import _device
from ._calibration import calibrate
from ._columns import Columns
from ._divergence import Diverged, explain_divergence, warn_if_useless
from ._engine import NonFiniteLoss
from ._habits import explains_arguments, hint_at
from ._members import BestEpoch, Member
from ._model import Model
from ._optimizers import OPTIMIZERS
from ._plan import choose_folds, choose_n_estimators, make_plan
from ._resume import resumable
from ._rows import Rows, Table, call
from ._saving import bring_up_to_date, loading, versions
from ._scoring import score_members
from ._shares import Share, counted, make_members, out_of_bag, split
from ._skorch import make_net, net_rows
from ._target import Target
from ._validation import check_same_length, check_weights
from ._warnings import warn_user
from .architectures import ARCHITECTURES
from .encodings import ENCODINGS
from .networks import LAYER_FORMS

# oob_score=True warns if it is about a smaller share of the rows: with 8 members 2.5 % are in every bag.
ENOUGH_ROWS = 0.9


def check_takes_chunks(estimator):
    """Refuse parameters that need all rows at once; return True for others."""
    if estimator.early_stopping and not isinstance(estimator.early_stopping, str):
        raise ValueError(
            "early_stopping=True cannot be used with partial_fit, which makes one pass over each chunk. "
            "Use early_stopping='auto' or False."
        )
    class_weight = getattr(estimator, "class_weight", None)
    specs = class_weight if isinstance(class_weight, list) else [class_weight]
    if any(isinstance(spec, str) for spec in specs):
        raise ValueError(
            "class_weight='balanced' cannot be used with partial_fit, which never sees all rows. Give a "
            "dict, for example from sklearn.utils.compute_class_weight."
        )
    return True


class BaseSNN(BaseEstimator):
    """What the classifier and the regressor share."""

    _target_type: type[Target]
    _model: Model
    _oob_attribute: str

    @staticmethod
    def _out_of_bag(target, outputs):
        """Return what the attribute of that name holds."""
        raise NotImplementedError

    _parameter_constraints: dict = {
        "n_estimators": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "bootstrap": ["boolean"],
        "oob_score": ["boolean"],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "n_units": [Interval(Integral, 1, None, closed="left"), list, tuple],
        "layer_form": [StrOptions(set(LAYER_FORMS)), list, tuple],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left"), None],
        "architecture": [StrOptions(set(ARCHITECTURES)), callable],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "scale_inputs": ["boolean", StrOptions({"auto"})],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "standardize": ["boolean"],
        "encoding": [StrOptions({"auto", *ENCODINGS}), list, tuple, None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "optimizer_params": [dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "cosine"})],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "missing_label": [Real],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "checkpoint_dir": [str, PathLike, None],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "tf32", "bf16", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # ------------------------------------------------------------ fitting

    @explains_arguments
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            numpy, pandas, polars, scipy CSR or CSC, torch tensors, which on a GPU stay there: numbers, NaN
            where they are missing, and categories as `categorical_features` says. Infinity is an error.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            The target, as the class describes it.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights, scaled to mean 1 over the training rows.
        X_val, y_val : array-like, default=None
            Rows to watch for early stopping, in place of a share of X. With ``early_stopping=False`` their
            loss and score are recorded, and the fit is the same as without them.
        sample_weight_val : array-like of shape (n_val_rows,), default=None
            Weights of those rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If parameters exclude each other, data cannot be used, or the loss diverges.
        MemoryError
            If the device has too little memory.
        """
        data = X, y, sample_weight, X_val, y_val, sample_weight_val
        with (
            self._fitting(going_on=self.warm_start) as earlier,
            resumable(self, earlier, *data) as progress,
        ):
            training = self._prepare(earlier, *data, progress=progress)
            self._train(training, self.max_epochs, progress=progress)
            self._look_back(training)
        return self

    def _prepare(
        self,
        earlier,
        X,
        y,
        sample_weight=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        memo=call,
        progress=None,
    ):
        """Settle everything that training needs.

        `memo` may know what fits of the same rows have learned, `progress` where this fit was broken off.
        """
        check_together(self, X_val, y_val, sample_weight_val)
        columns, target, table = self._read(X, y, sample_weight, *known(earlier))
        valid = None
        if X_val is not None:
            *_, valid = self._read(X_val, y_val, sample_weight_val, columns, target, "_val")
        k = choose_n_estimators(self, table, earlier and earlier.plan)
        generators = earlier.generators if earlier else make_generators(self, k)
        if progress is not None:
            progress.restore_generators(generators)
        folds = choose_folds(self, target, table, k, earlier and earlier.plan)
        table, valid, shares = split(self, table, target, valid, folds, generators[0].split)
        target.check_rows(table, valid)
        target = target.learned_from(table, self, first=earlier is None)
        plan = make_plan(self, target, table, valid, shares, earlier and earlier.plan)
        model = make_model(plan, target, columns, generators, table, earlier, memo)
        training = self._make_ready(model, earlier, table, valid, shares, memo)
        if progress is not None:
            progress.restore(training)
        return training

    def _fit_chunk(self, X, y, sample_weight, classes=None):
        """Make one pass over a chunk of rows."""
        with self._fitting(going_on=True) as earlier:
            check_together(self)
            columns, target, table = self._read(
                X, y, sample_weight, *known(earlier), classes=classes, is_chunk=True
            )
            target = target.learned_from(table, self, first=earlier is None, is_chunk=True)
            k = choose_n_estimators(self, table, earlier and earlier.plan)
            generators = earlier.generators if earlier else make_generators(self, k)
            shares = [Share()] * k
            plan = make_plan(self, target, table, None, shares, earlier and earlier.plan, "constant")
            model = make_model(plan, target, columns, generators, table, earlier)
            model.resumes = True
            self._train(self._make_ready(model, earlier, table, None, shares), n_epochs=1)
        return self

    @contextmanager
    def _fitting(self, going_on):
        """Yield the model to go on from, or None; forget a first fit that fails, and one that diverges."""
        earlier = self._model if going_on and self.__sklearn_is_fitted__() else None
        if earlier is None:
            self._forget()
        try:
            with _device.as_imported():
                yield earlier
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) and getattr(self, "n_iter_", 0) > 0
            if (earlier is None and not interrupted) or isinstance(error, Diverged):
                self._forget()
            raise

    def _forget(self):
        for name in [name for name in vars(self) if name.endswith("_") or name == "_model"]:
            delattr(self, name)

    def _read(self, X, y, sample_weight, columns, target, suffix="", **chunk):
        """Check rows together with their y, and encode both; learn what they are if that is not known."""
        y = self._target_type.check(y, self, target)
        columns, reset = columns or Columns.learn(self, X), columns is None
        X = columns.read(self, X, reset)
        check_same_length(X, y)
        weight = check_weights(sample_weight, X.shape[0], "sample_weight" + suffix)
        if target is None:
            target = self._target_type.learn(y, self, **chunk)
        return columns, target, Table(X, target.encode(y, "y" + suffix), weight)

    def _make_ready(self, model, earlier, table, valid, shares, memo=call):
        """Encode the rows and wrap the model in a net."""
        best = None
        if model.plan.early_stopping:
            patience = model.plan.tol, model.plan.n_iter_no_change
            best = BestEpoch(model.module.networks, *patience, earlier and earlier.best_epoch)
        net = make_net(model, self.callbacks, self.verbose, earlier)
        trained = table if shares[0].counts_weights else table._replace(weight=None)
        with model.computing():
            rows = model.rows(trained, True, memo)
            valid_rows = None if valid is None else model.rows(valid, memo=memo)
            members = make_members(model, net.criterion_, table, rows, valid_rows, shares, best)
            score_members(members, self, model, table, valid, shares)
        return Training(model, net, members, rows, valid_rows, best, table, shares)

    def _train(self, training, n_epochs, horizon=None, progress=None):
        """Train for some epochs (of a longer `horizon`), and publish the model, also if interrupted."""
        rows, valid = net_rows(training.rows), net_rows(training.valid_rows)
        going_on = {} if progress is None else progress.arguments(training)
        with self._publishing(training), training.model.training():
            training.net.train(training.members, rows, valid, n_epochs, horizon, **going_on)

    @contextmanager
    def _publishing(self, training):
        """Explain why a loss overflows while the block runs; then publish what there is."""
        model, net, best = training.model, training.net, training.best
        try:
            yield
        except NonFiniteLoss as error:
            explain_divergence(error, best and best.best_epoch, model.plan, net.optimizer_)
        finally:
            if best is not None:
                best.restore()
            self._publish(model, net, best)

    def _look_back(self, training):
        """Warn if nothing has been learned; calibrate and score members on rows that they have not seen."""
        criterion, target = training.net.criterion_, training.model.target
        warn_if_useless(self._kept_loss(), criterion, training.rows[0], target.n_outputs)
        calibrate(self._model, training.table, training.shares)
        self._publish_target()
        if self.oob_score:
            self._score_out_of_bag(training.table, training.shares)

    def _publish(self, model, net, best):
        """Set the fitted attributes."""
        for name in {"oob_score_", self._oob_attribute} & vars(self).keys():  # of an earlier fit
            delattr(self, name)
        model.history, model.optimizer = net.history, net.optimizer_
        self._model, self.net_ = model, net
        self._publish_target()
        self.n_iter_ = len(net.history)
        self.loss_curve_ = [row["train_loss"] for row in net.history]
        self.validation_loss_curve_ = [r["valid_loss"] for r in net.history if "valid_loss" in r] or None
        self.validation_scores_ = [r["valid_score"] for r in net.history if "valid_score" in r] or None
        # A Checkpoint may have put an older history back.
        self.best_epoch_ = model.best_epoch = min((best and best.best_epoch) or self.n_iter_, self.n_iter_)

    def _publish_target(self):
        """Set the fitted attributes that say what is predicted."""
        for name, value in self._model.attributes().items():
            setattr(self, name, value)

    def _kept_loss(self):
        """Return the training loss of the epoch whose weights are kept; the least if a score chose it."""
        if self.scoring != "loss" and self._model.plan.early_stopping:
            return min(self.loss_curve_)
        return self.loss_curve_[self.best_epoch_ - 1] if self.loss_curve_ else np.inf

    def _score_out_of_bag(self, table, shares):
        """Predict each row by the members that have not seen it, and score that."""
        target, present = self._model.target, out_of_bag(shares, len(table.y))
        seen = present.any(axis=0)
        if seen.mean() < ENOUGH_ROWS:
            warn_user(
                f"{(~seen).sum()} of the {len(seen)} training rows were drawn for every member and have no "
                f"out-of-bag prediction: they are NaN. Use more n_estimators (now {len(shares)})."
            )
        scored = counted(table)[seen]
        with self._model.computing():
            outputs = self._model.member_outputs(table.X)[:, seen]
            outputs = target.average(outputs, torch.from_numpy(present[:, seen]))
            weight = None if table.weight is None else table.weight[seen][scored]
            self.oob_score_ = target.score(table.y[seen][scored], outputs[scored], weight)
            found = self._out_of_bag(target, outputs)
        predictions = np.full((len(table.y), *found.shape[1:]), np.nan)
        predictions[seen] = found
        setattr(self, self._oob_attribute, predictions)

    # ------------------------------------------------------------ prediction

    def _predict(self, X, read):
        """Compute the outputs for raw rows and `read` them, together with the target."""
        return self._predict_members(X, lambda target, outputs: read(target, self._model.combined(outputs)))

    def _predict_members(self, X, read):
        """Compute the outputs of each member for raw rows, (k, n, n_outputs), and `read` them."""
        check_is_fitted(self)
        with self._model.computing():
            return read(self._model.target, self._member_outputs(X))

    def _member_outputs(self, X):
        """Check raw rows and compute the outputs of each member for them."""
        return self._model.member_outputs(self._model.columns.read(self, X, reset=False))

    # ------------------------------------------------------------ scikit-learn

    def set_params(self, **params):
        """Set parameters, as scikit-learn's estimators do.

        Parameters
        ----------
        params : dict
            Values by the names of the parameters.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no such parameter; for some of other packages' the error names the one to use.
        """
        try:
            return super().set_params(**params)
        except (ValueError, AttributeError) as error:
            unknown = params.keys() - self.get_params(deep=False).keys()
            if not hint_at(unknown):
                raise
            raise ValueError(f"{str(error).rstrip('.')}. {hint_at(unknown)}") from error

    def __sklearn_is_fitted__(self):
        return "_model" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags

    def __getstate__(self):
        state = {**super().__getstate__(), "_versions": versions()}
        if "_model" in state:
            with_optimizer = self.warm_start or self._model.resumes
            state["_model"] = self._model.to_arrays(with_optimizer)
            del state["net_"]
        return state

    def __setstate__(self, state):
        state, saved = bring_up_to_date(self, state)
        super().__setstate__(state)
        if "_model" in state:
            with _device.as_imported(), loading(self, saved):
                self._model = Model.from_arrays(state["_model"])
                self.net_ = make_net(self._model)
            self._publish_target()  # attributes that came after the version that saved it


# ---------------------------------------------------------------- verbs of a fit


class Training(NamedTuple):
    """A fit of which all is settled: what it trains, and on which rows."""

    model: Model
    net: Any
    members: list[Member]
    rows: list[Rows]
    valid_rows: list[Rows] | None
    best: BestEpoch | None
    table: Table
    shares: list[Share]


def check_together(parameters, X_val=None, y_val=None, sample_weight_val=None):
    """Check what several arguments or parameters have to agree on."""
    if parameters.oob_score and not parameters.bootstrap:
        raise ValueError(
            "oob_score=True needs rows that members have not seen, but bootstrap=False. Set bootstrap=True."
        )
    check_turns(parameters)
    if (X_val is None) != (y_val is None):
        given, lacking = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
        raise ValueError(f"X_val and y_val go together; got {given} without {lacking}. Give both or none.")
    if sample_weight_val is not None and X_val is None:
        raise ValueError("sample_weight_val needs X_val and y_val; got it alone. Give all three.")


# Parameters that may be tuples, which members take in turn: what they may hold, and its description.
TURNS: dict[str, tuple[Callable, str]] = {
    "encoding": (
        lambda code: code in (None, "auto", *ENCODINGS),
        f"None, 'auto' or one of {', '.join(ENCODINGS)}",
    ),
    "layer_form": (lambda form: form in LAYER_FORMS, " or ".join(map(repr, LAYER_FORMS))),
    "n_units": (
        lambda n: isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0,
        "positive integers",
    ),
    "dropout": (lambda rate: isinstance(rate, Real) and 0 <= float(rate) < 1, "numbers in [0, 1)"),
}


def check_turns(parameters):
    """Check what members take in turn."""
    for name, (is_valid, rule) in TURNS.items():
        values = getattr(parameters, name)
        if isinstance(values, list | tuple) and not (values and all(map(is_valid, values))):
            raise ValueError(f"{name} must be or hold {rule}; got {values!r}.")


def known(earlier):
    """Return what an earlier model knows about X and y, or nothing."""
    return (earlier.columns, earlier.target) if earlier else (None, None)


def make_generators(parameters, k):
    """Derive the random sources of k members from random_state; None takes fresh entropy, not numpy's global.

    The first member has those that it would have alone.
    """
    seed: Any = np.random.SeedSequence().entropy
    if parameters.random_state is not None:
        seed = check_random_state(parameters.random_state).randint(2**31 - 1)
    others = (np.random.SeedSequence([seed, j]) for j in range(1, k))
    seeds = [seed, *(int(other.generate_state(1)[0]) for other in others)]
    device = _device.resolve_device(parameters.device)
    return [_device.Generators(each, device) for each in seeds]


def make_model(plan, target, columns, generators, table, earlier, memo=call):
    """Start a model with the statistics of the training rows, or go on with an earlier one."""
    if earlier is None:
        return Model.start(plan, target, columns, generators, table, memo)
    if plan.device != "auto":
        device = _device.resolve_device(plan.device)
        if device.type != earlier.device.type:
            raise ValueError(
                f"device cannot change while training goes on: the network is on {earlier.device}, "
                f"device={plan.device!r}. Set it back, or fit with warm_start=False."
            )
    plan.continues(earlier.plan)
    return earlier.going_on(plan, target)
