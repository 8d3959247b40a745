"""The estimators: scikit-learn from head to foot, with a skorch net inside."""

import copy
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, GradientNormClipping

from . import _training, losses
from ._validation import (
    Table,
    check_inputs,
    check_labels,
    check_same_length,
    check_targets,
    check_task_labels,
    check_weights,
    encode_labels,
)
from .architectures import ARCHITECTURES, build_network
from .encodings import Standardizer, column_moments
from .metrics import masked_r2_score
from .networks import EncodedNetwork, layer_sizes

__all__ = ["SNNClassifier", "SNNRegressor"]

# "auto" stops early from here on, as in HistGradientBoosting: below, holding rows back costs more
# accuracy than it saves.
EARLY_STOPPING_ROWS = 10_000

# batch_size="auto" is the power of two nearest to n_rows / 32, within these bounds: enough steps an
# epoch on small data, full vectors on large.
STEPS_PER_EPOCH = 32
AUTO_BATCH = (32, 256)


# What fit learns beside the attributes that end in an underscore.
PRIVATE_STATE = (
    "_blueprint",
    "_class_weight",
    "_generators",
    "_multitask",
    "_one_dimensional",
    "_precision",
    "_resumes",
    "_target_mean",
    "_target_scale",
    "_weight_mean",
)


class _NotIncremental(AttributeError, ValueError):
    """There is no partial_fit with these parameters: an AttributeError, so that hasattr says no."""


class _incremental:
    """A method that is there only where the parameters allow single passes."""

    def __init__(self, method):
        self.method = method

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self.method
        if estimator.early_stopping is True:
            raise _NotIncremental(
                "early_stopping=True cannot be used with partial_fit, which makes one pass over each chunk. "
                "Use early_stopping='auto' or False."
            )
        if isinstance(getattr(estimator, "class_weight", None), str):
            raise _NotIncremental(
                "class_weight='balanced' cannot be used with partial_fit, which never sees all rows. Give a "
                "dict, for example from sklearn.utils.compute_class_weight."
            )
        return self.method.__get__(estimator, owner)


class _SNN(BaseEstimator):
    """What the classifier and the regressor share."""

    _parameter_constraints: dict = {
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "layer_form": [StrOptions({"conic", "rectangular"})],
        "hidden_layer_sizes": ["array-like", None],
        "architecture": [StrOptions(set(ARCHITECTURES)), callable],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "optimizer": [StrOptions(set(_training.OPTIMIZERS)), type],
        "optimizer_params": [dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"constant", "cosine"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "missing_label": [Real],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "tf32", "bf16", "float64"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # ------------------------------------------------------------ fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Finite numbers: numpy, pandas, polars, scipy CSR or CSC, torch tensors on the CPU.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            The target, as the class describes it.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights, scaled to mean 1 over the training rows.
        X_val, y_val : array-like, default=None
            Rows to watch for early stopping, in place of a share of X.
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
        first = not (self.warm_start and self.__sklearn_is_fitted__())
        with self._forgetting_on_failure(first):
            self._check_combinations(X_val, y_val, sample_weight_val)
            table = self._check_table(X, y, sample_weight, first)
            valid = (
                None if X_val is None else self._check_table(X_val, y_val, sample_weight_val, suffix="_val")
            )
            generators = self._make_generators() if first else self._generators
            if valid is None and self._holds_rows_back(len(table.y)):
                table, valid = table.split(*self._split(table.y, generators.split))
            self._check_trainable(table.y)
            self._check_watchable(valid)
            self._weight_mean = _mean(table.weight)
            model = self._start(table, generators) if first else self._resume()
            self._train(model, table, valid, self.max_epochs, self.lr_schedule)
            self._warn_if_useless(table)
        return self

    def _fit_chunk(self, X, y, sample_weight, classes=None):
        """Make one pass over a chunk of rows."""
        first = not self.__sklearn_is_fitted__()
        with self._forgetting_on_failure(first):
            table = self._check_table(X, y, sample_weight, first, classes=classes, chunk=True)
            self._weight_mean = _mean(table.weight) if first else self._weight_mean
            model = self._start(table, self._make_generators()) if first else self._resume()
            self._resumes = True
            self._train(model, table, None, 1, "constant")
        return self

    @contextmanager
    def _forgetting_on_failure(self, first):
        """Begin with nothing fitted if `first`, and leave nothing half fitted."""
        if first:
            self._forget()
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) and getattr(self, "n_iter_", 0)
            if (first and not interrupted) or isinstance(error, _Diverged):
                self._forget()
            raise

    def _forget(self):
        for name in [name for name in vars(self) if name.endswith("_") or name in PRIVATE_STATE]:
            delattr(self, name)

    def _check_combinations(self, X_val, y_val, sample_weight_val):
        """Check what concerns several parameters at once."""
        if (X_val is None) != (y_val is None):
            given, lacking = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(
                f"X_val and y_val go together; got {given} without {lacking}. Give both or none."
            )
        if sample_weight_val is not None and X_val is None:
            raise ValueError("sample_weight_val needs X_val and y_val; got it alone. Give all three.")
        if X_val is not None and self.early_stopping is False:
            raise ValueError(
                "X_val is used for early stopping only, but early_stopping=False. Set early_stopping=True or "
                "'auto', or leave X_val out."
            )

    def _check_table(self, X, y, sample_weight, first=False, suffix="", **form):
        """Validate rows and encode their target; learn its form if this is the `first` time."""
        y = self._check_target(y)
        X = check_inputs(self, X, reset=first)
        check_same_length(X, y)
        weight = check_weights(sample_weight, X.shape[0], "sample_weight" + suffix)
        if first:
            self._learn_target(y, **form)
        return Table(X, self._encode_target(y, "y" + suffix), weight)

    def _make_generators(self):
        """Derive all random sources from random_state; None takes fresh entropy, not numpy's global."""
        seed = np.random.SeedSequence().entropy
        if self.random_state is not None:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
        return _training.Generators(seed, _training.resolve_device(self.device))

    def _holds_rows_back(self, n_rows):
        return self.early_stopping is True or (self.early_stopping == "auto" and n_rows > EARLY_STOPPING_ROWS)

    def _split(self, y, seed):
        """Choose training and validation rows."""
        n_valid = int(np.ceil(self.validation_fraction * len(y)))
        if n_valid >= len(y):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of n_samples={len(y)} leaves no row to "
                "train on. Use early_stopping=False, a smaller fraction, or more rows."
            )
        strata = self._strata(y, n_valid)
        return train_test_split(np.arange(len(y)), test_size=n_valid, stratify=strata, random_state=seed)

    def _strata(self, y, n_valid):
        return None

    def _check_trainable(self, y):
        """Refuse outputs without any label among the training rows."""
        empty = np.flatnonzero(np.isnan(y).all(axis=0)) if y.ndim == 2 else []
        if len(empty):
            raise ValueError(
                f"task {empty[0]} of y (column {empty[0]}) has no label among the {len(y)} training rows: "
                "all are missing. Leave this column out, or give rows that have it."
            )

    def _check_watchable(self, valid):
        """Refuse validation rows that no loss can be computed on."""
        if valid is None:
            return
        if np.isnan(valid.y).all() or (valid.weight is not None and not valid.weight.any()):
            raise ValueError(
                f"the {len(valid.y)} validation rows hold no label of positive weight: there is no loss to "
                "watch. Give an X_val with labels, or set early_stopping=False."
            )

    def _start(self, table, generators):
        """Learn the statistics of the training rows and build the network."""
        self._learn_scale(table)
        if self.standardize:
            encoder = Standardizer.fit(table.X, table.weight)
        else:
            encoder = Standardizer.identity(table.X.shape[1])
        self._generators, self._precision, self._resumes = generators, self.precision, False
        self._blueprint = self._make_blueprint()
        return self._make_model(encoder)

    def _resume(self):
        """Return the present model, if the parameters still describe it."""
        blueprint = self._make_blueprint()
        changed = [name for name, value in blueprint.items() if value != self._blueprint[name]]
        if changed:
            raise ValueError(
                f"{changed[0]} cannot change while training goes on (warm_start or partial_fit): it was "
                f"{self._blueprint[changed[0]]!r}, now {blueprint[changed[0]]!r}. Set it back, or fit with "
                "warm_start=False."
            )
        return self.net_.module_

    def _make_blueprint(self):
        """Collect what determines the network."""
        return {
            "architecture": self.architecture,
            "n_inputs": self.n_features_in_,
            "n_outputs": self.n_outputs_,
            "hidden_layer_sizes": self._hidden_layer_sizes(),
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
        }

    def _hidden_layer_sizes(self):
        if self.hidden_layer_sizes is None:
            return layer_sizes(self.n_layers, self.n_units, self.layer_form, self.n_outputs_)
        sizes = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be positive integers, one a layer; got "
                f"{self.hidden_layer_sizes!r}. Set n_layers and n_units instead, or give (256, 64), say."
            )
        return sizes

    def _make_model(self, encoder):
        """Build the network of the blueprint behind its encoder, on its device."""
        generators = self._generators
        init = torch.Generator().manual_seed(generators.init)
        with self._random_sources():
            network = build_network(**self._blueprint, generator=init, dropout_generator=generators.dropout)
        dtype = _training.parameter_dtype(self._precision, generators.device)
        return EncodedNetwork(encoder, network.to(generators.device, dtype)).eval()

    def _random_sources(self):
        """Give a user's own module, which can draw from torch's global generator only, one of ours."""
        callable_architecture = not isinstance(self._blueprint["architecture"], str)
        return self._generators.as_global() if callable_architecture else nullcontext()

    def _make_net(self, model, callbacks=(), masked=False, batch_size=1):
        """Wrap a model in a skorch net with this estimator's loss, optimizer and callbacks."""
        return self._net_class(
            model,
            criterion=self._make_criterion(masked),
            optimizer=partial(
                _training.make_optimizer,
                self.optimizer,
                lr=self.lr,
                weight_decay=self.weight_decay,
                optimizer_params=self.optimizer_params,
            ),
            lr=self.lr,
            batch_size=batch_size,
            callbacks=list(callbacks),
            n_outputs=self.n_outputs_,
            shuffle=self._generators.shuffle,
            precision=self._precision,
            device=str(self._generators.device),
            verbose=int(self.verbose),
            **self._net_params(),
        ).initialize()

    def _train(self, model, table, valid, n_epochs, lr_schedule):
        """Train a model for some epochs, going on from the present net's history and optimizer."""
        batch_size = min(self._batch_size(len(table.y)), len(table.y))
        stopper = None if valid is None else _training.BestEpoch(self.tol, self.n_iter_no_change)
        callbacks = self._make_callbacks(n_epochs, lr_schedule, stopper)
        masked = any(t is not None and t.y.ndim == 2 and np.isnan(t.y).any() for t in (table, valid))
        net = self._make_net(model, callbacks, masked, batch_size)
        if "net_" in vars(self):
            net.continue_from(self.net_)
        try:
            with self._device_context(), self._random_sources():
                rows = self._to_device(model, table, training=True)
                valid_rows = None if valid is None else self._to_device(model, valid)
                net.train(rows, valid_rows, n_epochs)
        except _training.NonFiniteLoss as error:
            self._explain_divergence(error, stopper)
        finally:
            if stopper is not None:
                stopper.restore(net)
            self._keep(net, stopper)

    def _keep(self, net, stopper):
        """Store the net and what can be read from its history."""
        self.net_ = net
        self.n_iter_ = len(net.history)
        self.loss_curve_ = [row["train_loss"] for row in net.history]
        validation = [row["valid_loss"] for row in net.history if "valid_loss" in row]
        self.validation_loss_curve_ = validation or None
        best_epoch = (stopper and stopper.best_epoch_) or self.n_iter_
        self.best_epoch_ = min(best_epoch, self.n_iter_)  # a Checkpoint may have put an older history back

    def _explain_divergence(self, error, stopper):
        what = {"train": "training", "valid": "validation"}[error.phase]
        message = f"the {what} loss is not finite in epoch {error.epoch}: training diverged. "
        remedy = f"Use a smaller lr (now {self.lr}), max_grad_norm=1, or standardize=True."
        if stopper is None or stopper.best_epoch_ is None:
            raise _Diverged(message + remedy) from error
        warnings.warn(
            message + f"The weights of epoch {stopper.best_epoch_}, the best, are kept. " + remedy,
            ConvergenceWarning,
            stacklevel=5,
        )

    def _warn_if_useless(self, table):
        """Warn when the network ended no better than a constant."""
        criterion = self.net_.criterion_.train()
        y, weight = self._to_tensors(table, training=True)
        loss = self.loss_curve_[self.best_epoch_ - 1] if self.loss_curve_ else np.inf
        constant = criterion.constant_loss(y, weight, self.n_outputs_)
        criterion.eval()
        if loss >= constant:
            warnings.warn(
                f"the final training loss {loss:.4g} is not below that of the best constant prediction, "
                f"{constant:.4g}: the network has learned nothing. Train longer (max_epochs), change lr, or "
                "use less dropout; or the target does not depend on X.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _batch_size(self, n_rows):
        if self.batch_size != "auto":
            return self.batch_size
        return int(np.clip(2 ** round(np.log2(n_rows / STEPS_PER_EPOCH)), *AUTO_BATCH))

    def _make_callbacks(self, n_epochs, lr_schedule, stopper):
        """List copies of the user's callbacks and our own, the stopper last."""
        callbacks = [_copy_callback(item) for item in self.callbacks or []]
        if self.max_grad_norm is not None:
            callbacks.append(GradientNormClipping(self.max_grad_norm))
        if lr_schedule == "cosine":
            callbacks.append(_training.CosineDecay(n_epochs))
        if self.verbose == 1:
            callbacks.append(_training.EpochProgressBar())
        return callbacks if stopper is None else [*callbacks, stopper]

    @contextmanager
    def _device_context(self):
        device = self._generators.device
        with _training.memory_explained(device), _training.matmul_precision(self._precision, device):
            yield

    def _to_tensors(self, table, training=False):
        """Make tensors of the target and of its weights; class weights count in training only."""
        weight = table.weight
        if weight is not None:
            weight = weight / (self._weight_mean if training else weight.mean())
        weight = self._label_weight(table.y, weight) if training else weight
        if weight is not None and table.y.ndim == 2 and weight.ndim == 1:
            weight = weight[:, None]
        dtype = _training.parameter_dtype(self._precision, self._generators.device)
        y = self._scale_target(table.y)
        place = partial(torch.as_tensor, device=self._generators.device)
        y = place(y, dtype=dtype if y.dtype.kind == "f" else torch.int64)
        return y, None if weight is None else place(weight, dtype=dtype)

    def _label_weight(self, y, weight):
        return weight

    def _to_device(self, model, table, training=False):
        """Encode a table and put it on the device, once."""
        dtype = _training.parameter_dtype(self._precision, self._generators.device)
        inputs = _training.encode(table.X, model.encoder, self._generators.device, dtype)
        return _training.Rows(inputs, *self._to_tensors(table, training))

    # ------------------------------------------------------------ prediction

    def _outputs(self, X):
        """Compute the outputs of the network, (n_rows, n_outputs), float32 for float32 X, else float64."""
        check_is_fitted(self)
        X = check_inputs(self, X, reset=False)
        with self._device_context():
            outputs = self.net_.forward_rows(X)
        return outputs.numpy().astype(np.float32 if X.dtype == np.float32 else np.float64, copy=False)

    # ------------------------------------------------------------ scikit-learn

    def __sklearn_is_fitted__(self):
        return "net_" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "net_" in state:
            state["net_"] = self.net_.packed(with_optimizer=self.warm_start or self._resumes)
            state["_generators"] = self._generators.state()
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "net_" in state:
            device = _training.device_or_cpu(self.device)
            self._generators = _training.Generators.from_state(state["_generators"], device)
            states = self._generators.builtin_states  # building a callable architecture draws from them
            model = self._make_model(Standardizer(**state["net_"]["encoder"]))
            self._generators.builtin_states = states
            self.net_ = self._make_net(model).unpack(state["net_"])


def _mean(weight):
    return 1.0 if weight is None else weight.mean()


class _Diverged(ValueError):
    """The loss of a fit stopped being a number."""


def _copy_callback(item):
    """Copy a callback, so that the user's own keeps its state and two fits do not share one.

    The copy is shallow: what the user gave the callback (a trial, a logger) is not ours to copy.
    """
    if isinstance(item, tuple) and len(item) == 2:
        return item[0], _copy_callback(item[1])
    if not (isinstance(item, Callback) or (isinstance(item, type) and issubclass(item, Callback))):
        raise TypeError(
            f"callbacks must be skorch callbacks, or pairs of a name and a callback; got {item!r}. Derive "
            "from skorch.callbacks.Callback."
        )
    return copy.copy(item)


class SNNClassifier(ClassifierMixin, _SNN):
    """Self-normalizing neural network for classification.

    A deep network with SELU units, alpha dropout and LeCun-normal weights (Klambauer et al. 2017),
    trained on the softmax cross-entropy of a 1-D y, or, for a 2-D y (multitask), on the sigmoid
    cross-entropy of the labels that are present: 0, 1, or missing.

    Parameters
    ----------
    n_layers : int, default=4
        Number of hidden layers.
    n_units : int, default=256
        Width of the first hidden layer.
    layer_form : {"conic", "rectangular"}, default="conic"
        "conic": widths fall geometrically from `n_units` towards the output layer; "rectangular":
        all alike. See `sksnn.networks.layer_sizes`.
    hidden_layer_sizes : array-like of int, default=None
        Width of each hidden layer; overrides the three above.
    architecture : str or callable, default="snn"
        "snn", or ``(n_inputs, n_outputs) -> torch.nn.Module`` returning logits of shape
        (n, n_outputs), which then decides on layers and dropout itself. It is built and trained
        under a forked torch generator, which is not thread-safe.
    dropout : float, default=0.05
        Rate of alpha dropout behind each hidden layer, in [0, 1); the paper used 0.05 and 0.10.
    input_dropout : float, default=0.0
        Rate of alpha dropout on the inputs.
    standardize : bool, default=True
        Centre and scale the columns: SNNs need inputs of mean 0 and variance 1. Sparse columns are
        centred too, and all scaled by one constant.
    optimizer : str or type, default="adamw"
        Lower-case name of an optimizer in ``torch.optim`` ("adam", "adamw", "sgd", "nadam", ...), or
        a class.
    optimizer_params : dict, default=None
        Further arguments of the optimizer, for example ``{"momentum": 0.9}``.
    lr : float, default=0.001
        Learning rate.
    lr_schedule : {"constant", "cosine"}, default="cosine"
        "cosine" lowers the rate along half a cosine, to nearly 0 at `max_epochs`. For others put
        skorch's ``LRScheduler`` into `callbacks`, with "constant".
    weight_decay : float, default=0.1
        Of weights; biases are never decayed. A penalty on the squared weights with "adam" and "sgd",
        decoupled with "adamw".
    max_grad_norm : float, default=None
        Scale gradients down to this norm.
    batch_size : int or "auto", default="auto"
        Rows of a batch, clipped to the rows there are. "auto": a 32nd of the rows, as a power of
        two from 32 to 256.
    max_epochs : int, default=60
        Passes over the training rows, at most with early stopping.
    early_stopping : bool or "auto", default="auto"
        Watch the loss on rows held back, stop when it no longer falls, and keep the weights of the
        best epoch. "auto": if `X_val` is given to `fit`, or X has more than 10 000 rows.
    validation_fraction : float, default=0.1
        Share of the rows held back when no `X_val` is given, stratified by class for a 1-D y.
    n_iter_no_change : int, default=10
        Epochs without progress that end training; with early stopping only.
    tol : float, default=0.0001
        What the validation loss must fall by to count as progress; with early stopping only.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class, multiplied with `sample_weight`. For a 2-D y one dict with keys 0 and 1
        for all tasks, one dict a task, or "balanced" over the labels present.
    label_smoothing : float, default=0.1
        Share of each target spread evenly over the classes during training, in [0, 1).
    missing_label : float, default=nan
        What marks a missing label in a 2-D y. -1 is the other useful value: scikit-learn's
        splitters refuse NaN with ``cv=5``.
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights for `max_epochs` more: same statistics, curves
        and `n_iter_` accumulate, shapes may not change.
    callbacks : list, default=None
        skorch callbacks, or pairs of a name and a callback. `fit` runs shallow copies, found in
        ``net_.callbacks_``. One that overrides a batch hook costs a device synchronisation a batch.
    device : str, default="auto"
        "auto" (CUDA if there is a device, else the CPU), "cpu", "cuda", "cuda:N", or "mps", which is
        untested.
    precision : {"auto", "float32", "tf32", "bf16", "float64"}, default="auto"
        Of training. "auto": float32, and TF32 products on CUDA; "tf32" differs from "float32" on
        CUDA only; "bf16": autocast around float32 weights.
    random_state : int, RandomState instance or None, default=None
        Seeds split, initialisation, shuffling and dropout. Global generators are never touched;
        None takes fresh entropy.
    verbose : int, default=0
        0: silent; 1: a progress bar an epoch; 2: skorch's table, a line an epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of a 1-D y, sorted; for tasks 0 and 1.
    n_outputs_ : int
        Width of the output layer: classes (two for a binary y), or tasks.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had string names.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Training loss of each epoch, dropout and all.
    validation_loss_curve_ : list of float or None
        Loss on the rows held back, weighted by their weights alone; None without early stopping.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept: the last one without early stopping.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` maps raw rows to logits, ``net_.history`` has the epochs.

    See Also
    --------
    SNNRegressor : The same network for regression.

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-Normalizing Neural Networks", 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = SNNClassifier(random_state=0).fit(X_train, y_train)
    >>> clf.score(X_test, y_test) > 0.9
    True

    Three tasks with missing labels:

    >>> Y = np.column_stack([y, X[:, 0] > 14, X[:, 1] > 19]).astype(float)
    >>> Y[::2, 0] = np.nan
    >>> SNNClassifier(max_epochs=10, random_state=0).fit(X, Y).predict_proba(X[:2]).shape
    (2, 3)
    """

    _net_class = _training.ClassifierNet
    _parameter_constraints: dict = {
        **_SNN._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        n_layers=4,
        n_units=256,
        layer_form="conic",
        hidden_layer_sizes=None,
        architecture="snn",
        dropout=0.05,
        input_dropout=0.0,
        standardize=True,
        optimizer="adamw",
        optimizer_params=None,
        lr=1e-3,
        lr_schedule="cosine",
        weight_decay=0.1,
        max_grad_norm=None,
        batch_size="auto",
        max_epochs=60,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        class_weight=None,
        label_smoothing=0.1,
        missing_label=np.nan,
        warm_start=False,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_layers = n_layers
        self.n_units = n_units
        self.layer_form = layer_form
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.standardize = standardize
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.missing_label = missing_label
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------ fitting

    @_incremental
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over a chunk of rows, at a constant learning rate.

        The first call learns the statistics of the columns and the classes, and they stay: give
        it a representative chunk, or set ``standardize=False``. After `fit`, training goes on.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        classes : array-like of shape (n_classes,), default=None
            All labels there will be; needed in the first call with a 1-D y.
        sample_weight : array-like of shape (n_rows,), default=None
            Scaled by what brings the first chunk's to mean 1.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As in `fit`; also for ``early_stopping=True`` and ``class_weight="balanced"``, which need
            all rows at once, and for labels not among the classes.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = SNNClassifier(random_state=0)
        >>> for rows in (slice(0, None, 2), slice(1, None, 2)):
        ...     clf = clf.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        >>> clf.n_iter_
        2
        """
        if classes is not None and self.__sklearn_is_fitted__():
            if not np.array_equal(self.classes_, unique_labels(classes)):
                raise ValueError(
                    f"classes={classes!r} is not the same as on the last call to partial_fit, which was "
                    f"{self.classes_.tolist()}. Give the same, or none."
                )
        return self._fit_chunk(X, y, sample_weight, classes)

    def _check_target(self, y):
        return check_labels(y, self.missing_label, self)

    def _learn_target(self, y, classes=None, chunk=False):
        """Learn from y whether there are tasks or classes, and which."""
        self._multitask = y.ndim == 2
        if self._multitask:
            # scikit-learn's scorers must take predict_proba's columns as they are; at dtype object
            # they do not mistake two tasks for the two classes of a binary problem.
            self.classes_ = np.array([0, 1], dtype=object)
            self.n_outputs_ = y.shape[1]
            return
        if chunk and classes is None:
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels there will be."
            )
        self.classes_ = np.unique(y) if classes is None else unique_labels(classes)
        self.n_outputs_ = len(self.classes_)
        if self.n_outputs_ < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least two classes; y has 1 class: "
                f"{self.classes_.tolist()[0]!r}. Give rows of another class."
            )

    def _encode_target(self, y, name):
        if (y.ndim == 2) != self._multitask or (self._multitask and y.shape[1] != self.n_outputs_):
            expected = f"(n_rows, {self.n_outputs_})" if self._multitask else "(n_rows,)"
            raise ValueError(f"{name} has shape {y.shape}, but the estimator was fitted with {expected}.")
        return y if self._multitask else encode_labels(y, self.classes_, name)

    def _strata(self, y, n_valid):
        """Stratify by class where each has a row for both sides."""
        if self._multitask:
            return None
        counts = np.bincount(y)
        if min(counts[counts > 0]) >= 2 and min(n_valid, len(y) - n_valid) >= self.n_outputs_:
            return y
        warnings.warn(
            "the validation rows are drawn without stratification: a class has a single row, or there are "
            f"fewer validation rows ({n_valid}) than classes ({self.n_outputs_}). Give X_val and y_val to "
            "choose them.",
            UserWarning,
            stacklevel=5,
        )
        return None

    def _check_trainable(self, y):
        super()._check_trainable(y)
        if self._multitask:
            lone = np.flatnonzero(np.nanmin(y, axis=0) == np.nanmax(y, axis=0))
            if len(lone):
                warnings.warn(
                    f"task {lone[0]} of y (column {lone[0]}) has labels of one class only among the training "
                    f"rows ({len(lone)} such tasks): its predictions will be constant at best.",
                    UserWarning,
                    stacklevel=4,
                )

    def _learn_scale(self, table):
        """Learn the class weights; labels themselves have no scale."""
        per_task = table.y.T if self._multitask else [table.y]
        specs = (
            self.class_weight if isinstance(self.class_weight, list) else [self.class_weight] * len(per_task)
        )
        if len(specs) != len(per_task):
            raise ValueError(
                f"class_weight is a list of {len(specs)} but y has {len(per_task)} tasks. Give one dict "
                "a task, or one for all."
            )
        self._class_weight = None
        if self.class_weight is not None:
            self._class_weight = np.array(
                [self._weigh_classes(spec, y, table.weight) for spec, y in zip(specs, per_task, strict=True)]
            )

    def _weigh_classes(self, spec, y, weight):
        """Compute one weight a class from a dict or "balanced"."""
        classes = self.classes_.astype(int) if self._multitask else self.classes_
        if isinstance(spec, str):
            present = ~np.isnan(y)
            counts = np.bincount(
                y[present].astype(int), None if weight is None else weight[present], minlength=len(classes)
            )
            return counts.sum() / (len(classes) * np.where(counts > 0, counts, np.inf))
        weights = compute_class_weight(spec, classes=classes, y=classes)
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(
                f"class_weight must be finite and not negative; got {spec!r}. Use 0 to ignore a class."
            )
        return weights

    def _label_weight(self, y, weight):
        """Multiply the weights of rows by those of their labels' classes."""
        if self._class_weight is None:
            return weight
        codes = np.nan_to_num(y).astype(int)
        if not self._multitask:
            factor = self._class_weight[0][codes]
            return factor if weight is None else weight * factor
        factor = self._class_weight[np.arange(codes.shape[1]), codes]
        return factor if weight is None else weight[:, None] * factor

    def _scale_target(self, y):
        return y

    def _make_criterion(self, masked):
        if self._multitask:
            return losses.BinaryCrossEntropy(masked, self.label_smoothing)
        return losses.CrossEntropy(label_smoothing=self.label_smoothing)

    def _net_params(self):
        if self._multitask:
            return {"classes": self.classes_, "predict_nonlinearity": torch.sigmoid}
        return {"classes": np.arange(self.n_outputs_), "predict_nonlinearity": _training.softmax}

    # ------------------------------------------------------------ prediction

    def decision_function(self, X):
        """Compute the logits.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        logits : ndarray of shape (n_rows,), (n_rows, n_classes) or (n_rows, n_tasks)
            Binary: the logit of ``classes_[1]`` minus that of ``classes_[0]``. Multitask: that of 1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(max_epochs=5, random_state=0).fit(X, y).decision_function(X[:2]).shape
        (2, 3)
        """
        z = self._outputs(X)
        return z if self._multitask or self.n_outputs_ > 2 else z[:, 1] - z[:, 0]

    def predict_log_proba(self, X):
        """Compute logarithms of `predict_proba`, from the logits, without underflow.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        log_proba : ndarray of shape (n_rows, n_classes) or (n_rows, n_tasks)

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> bool((SNNClassifier(max_epochs=5, random_state=0).fit(X, y).predict_log_proba(X) < 0).all())
        True
        """
        z = self._outputs(X)
        return log_expit(z) if self._multitask else log_softmax(z, axis=1)

    def predict_proba(self, X):
        """Compute probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        proba : ndarray of shape (n_rows, n_classes) or (n_rows, n_tasks)
            Of each class in the order of ``classes_``; in multitask, P(y = 1) of each task.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(max_epochs=5, random_state=0).fit(X, y).predict_proba(X).sum(axis=1).round(6)[:3]
        array([1., 1., 1.])
        """
        z = self._outputs(X)
        return expit(z) if self._multitask else softmax(z, axis=1)

    def predict(self, X):
        """Predict labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        y : ndarray of shape (n_rows,) or (n_rows, n_tasks)
            Labels from ``classes_``; in multitask, integers 0 and 1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(random_state=0).fit(X, y).predict(X[[0, 75, 149]])
        array([0, 1, 2])
        """
        z = self._outputs(X)
        return (z > 0).astype(int) if self._multitask else self.classes_[z.argmax(axis=1)]

    def score(self, X, y, sample_weight=None):
        """Compute the share of rows whose present labels are all predicted right.

        Accuracy for a 1-D y; for a complete 2-D y scikit-learn's subset accuracy. Rows without
        any label are left out.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If no label is present.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> SNNClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
        True
        """
        if not self._is_multitask():
            return super().score(X, y, sample_weight)
        y = np.atleast_2d(check_task_labels(y, self.missing_label))
        present = ~np.isnan(y)
        labelled = present.any(axis=1)
        if not labelled.any():
            raise ValueError("y has no label at all: nothing to score. Give rows with labels.")
        right = ((self.predict(X) == y) | ~present).all(axis=1)
        weight = None if sample_weight is None else np.asarray(sample_weight)[labelled]
        return float(np.average(right[labelled], weights=weight))

    def _is_multitask(self):
        check_is_fitted(self)
        return self._multitask

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class SNNRegressor(RegressorMixin, _SNN):
    """Self-normalizing neural network for regression.

    A deep network with SELU units, alpha dropout and LeCun-normal weights (Klambauer et al. 2017)
    for a 1-D y, or for a 2-D y of several outputs, in which values may be missing.

    Parameters
    ----------
    n_layers : int, default=4
        Number of hidden layers.
    n_units : int, default=256
        Width of the first hidden layer.
    layer_form : {"conic", "rectangular"}, default="conic"
        "conic": widths fall geometrically from `n_units` towards the output layer; "rectangular":
        all alike. See `sksnn.networks.layer_sizes`.
    hidden_layer_sizes : array-like of int, default=None
        Width of each hidden layer; overrides the three above.
    architecture : str or callable, default="snn"
        "snn", or ``(n_inputs, n_outputs) -> torch.nn.Module`` returning logits of shape
        (n, n_outputs), which then decides on layers and dropout itself. It is built and trained
        under a forked torch generator, which is not thread-safe.
    dropout : float, default=0.0
        Rate of alpha dropout behind each hidden layer, in [0, 1). Where the target has little noise,
        its own noise costs accuracy: 0.05 helps on small, noisy data only.
    input_dropout : float, default=0.0
        Rate of alpha dropout on the inputs.
    standardize : bool, default=True
        Centre and scale the columns: SNNs need inputs of mean 0 and variance 1. Sparse columns are
        centred too, and all scaled by one constant.
    optimizer : str or type, default="adamw"
        Lower-case name of an optimizer in ``torch.optim`` ("adam", "adamw", "sgd", "nadam", ...), or
        a class.
    optimizer_params : dict, default=None
        Further arguments of the optimizer, for example ``{"momentum": 0.9}``.
    lr : float, default=0.001
        Learning rate.
    lr_schedule : {"constant", "cosine"}, default="cosine"
        "cosine" lowers the rate along half a cosine, to nearly 0 at `max_epochs`. For others put
        skorch's ``LRScheduler`` into `callbacks`, with "constant".
    weight_decay : float, default=0.0
        Of weights; biases are never decayed. A penalty on the squared weights with "adam" and "sgd",
        decoupled with "adamw".
    max_grad_norm : float, default=None
        Scale gradients down to this norm.
    batch_size : int or "auto", default="auto"
        Rows of a batch, clipped to the rows there are. "auto": a 32nd of the rows, as a power of
        two from 32 to 256.
    max_epochs : int, default=60
        Passes over the training rows, at most with early stopping.
    early_stopping : bool or "auto", default="auto"
        Watch the loss on rows held back, stop when it no longer falls, and keep the weights of the
        best epoch. "auto": if `X_val` is given to `fit`, or X has more than 10 000 rows.
    validation_fraction : float, default=0.1
        Share of the rows held back when no `X_val` is given, at random.
    n_iter_no_change : int, default=10
        Epochs without progress that end training; with early stopping only.
    tol : float, default=0.0001
        What the validation loss must fall by to count as progress; with early stopping only.
    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        What is minimised; "huber" is linear beyond 1.345 standardised target units.
    quantile : float, default=0.5
        Which quantile ``loss="quantile"`` estimates, in (0, 1).
    standardize_target : bool, default=True
        Centre and scale each output for training; predictions come back in the units of y.
    missing_label : float, default=nan
        What marks a missing value in a 2-D y.
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights for `max_epochs` more: same statistics, curves
        and `n_iter_` accumulate, shapes may not change.
    callbacks : list, default=None
        skorch callbacks, or pairs of a name and a callback. `fit` runs shallow copies, found in
        ``net_.callbacks_``. One that overrides a batch hook costs a device synchronisation a batch.
    device : str, default="auto"
        "auto" (CUDA if there is a device, else the CPU), "cpu", "cuda", "cuda:N", or "mps", which is
        untested.
    precision : {"auto", "float32", "tf32", "bf16", "float64"}, default="auto"
        Of training. "auto": float32, and TF32 products on CUDA; "tf32" differs from "float32" on
        CUDA only; "bf16": autocast around float32 weights.
    random_state : int, RandomState instance or None, default=None
        Seeds split, initialisation, shuffling and dropout. Global generators are never touched;
        None takes fresh entropy.
    verbose : int, default=0
        0: silent; 1: a progress bar an epoch; 2: skorch's table, a line an epoch.

    Attributes
    ----------
    n_outputs_ : int
        Width of the output layer: columns of y.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had string names.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Training loss of each epoch, in standardised units, dropout and all.
    validation_loss_curve_ : list of float or None
        Loss on the rows held back, weighted by their weights alone; None without early stopping.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept: the last one without early stopping.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` maps raw rows to logits, ``net_.history`` has the epochs.

    See Also
    --------
    SNNClassifier : The same network for classification.

    References
    ----------
    G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-Normalizing Neural Networks", 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> SNNRegressor(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.2
    True
    """

    _net_class = _training.RegressorNet
    _parameter_constraints: dict = {
        **_SNN._parameter_constraints,
        "loss": [StrOptions({"squared_error", "absolute_error", "huber", "quantile"})],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "standardize_target": ["boolean"],
    }

    def __init__(
        self,
        n_layers=4,
        n_units=256,
        layer_form="conic",
        hidden_layer_sizes=None,
        architecture="snn",
        dropout=0.0,
        input_dropout=0.0,
        standardize=True,
        optimizer="adamw",
        optimizer_params=None,
        lr=1e-3,
        lr_schedule="cosine",
        weight_decay=0.0,
        max_grad_norm=None,
        batch_size="auto",
        max_epochs=60,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        loss="squared_error",
        quantile=0.5,
        standardize_target=True,
        missing_label=np.nan,
        warm_start=False,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_layers = n_layers
        self.n_units = n_units
        self.layer_form = layer_form
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.standardize = standardize
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.loss = loss
        self.quantile = quantile
        self.standardize_target = standardize_target
        self.missing_label = missing_label
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------ fitting

    @_incremental
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over a chunk of rows, at a constant learning rate.

        The first call learns the statistics of the columns and of the target, and they stay: give
        it a representative chunk, or set ``standardize=False`` and ``standardize_target=False``.
        After `fit`, training goes on.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None
            Scaled by what brings the first chunk's to mean 1.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As in `fit`; also for ``early_stopping=True``, which needs all rows at once.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(random_state=0).partial_fit(X[:200], y[:200]).partial_fit(X[200:], y[200:]).n_iter_
        2
        """
        return self._fit_chunk(X, y, sample_weight)

    def _check_target(self, y):
        return check_targets(y, self.missing_label, self)

    def _learn_target(self, y, chunk=False, classes=None):
        """Learn from y how many outputs there are."""
        self._one_dimensional = y.ndim == 1
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]

    def _encode_target(self, y, name):
        if (y.ndim == 1) != self._one_dimensional or (y.ndim == 2 and y.shape[1] != self.n_outputs_):
            expected = "(n_rows,)" if self._one_dimensional else f"(n_rows, {self.n_outputs_})"
            raise ValueError(f"{name} has shape {y.shape}, but the estimator was fitted with {expected}.")
        return y

    def _learn_scale(self, table):
        """Learn mean and deviation of each output over the values present."""
        self._target_mean, self._target_scale = np.zeros(self.n_outputs_), np.ones(self.n_outputs_)
        if not self.standardize_target:
            return
        for task, y in enumerate(table.y.reshape(-1, self.n_outputs_).T):
            present = ~np.isnan(y)
            weight = None if table.weight is None else table.weight[present]
            if present.any() and (weight is None or weight.any()):
                mean, variance = column_moments(y[present, None], weight)
                self._target_mean[task] = mean[0]
                self._target_scale[task] = np.sqrt(variance[0]) or 1.0

    def _scale_target(self, y):
        scaled = (y.reshape(-1, self.n_outputs_) - self._target_mean) / self._target_scale
        return scaled.reshape(y.shape)

    def _make_criterion(self, masked):
        if self.loss == "quantile":
            return losses.Quantile(masked, self.quantile)
        return REGRESSION_LOSSES[self.loss](masked)

    def _net_params(self):
        return {"predict_nonlinearity": _training.squeeze} if self._one_dimensional else {}

    # ------------------------------------------------------------ prediction

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
            In the units of the y given to `fit`.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(max_epochs=10, random_state=0).fit(X, y).predict(X[:2]).shape
        (2,)
        """
        z = self._outputs(X)
        y = (z * self._target_scale + self._target_mean).astype(z.dtype, copy=False)
        return y[:, 0] if self._one_dimensional else y

    def score(self, X, y, sample_weight=None):
        """Compute R squared: the mean over outputs, over the values present.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), default=None

        Returns
        -------
        score : float

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> SNNRegressor(random_state=0).fit(X, y).score(X, y) > 0.4
        True
        """
        prediction = self.predict(X)
        if self._one_dimensional:
            return super().score(X, y, sample_weight)
        return masked_r2_score(y, prediction, sample_weight=sample_weight, missing_label=self.missing_label)


REGRESSION_LOSSES = {
    "squared_error": losses.SquaredError,
    "absolute_error": losses.AbsoluteError,
    "huber": losses.Huber,
}
