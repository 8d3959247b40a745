"""What the classifier and the regressor share: fitting, incremental fits, state."""

import copy
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from . import _device, _training
from ._validation import Table, check_inputs, check_outputs, check_same_length, check_weights
from .architectures import ARCHITECTURES, build_network, multiply_adds
from .encodings import ENCODINGS, ColumnEncoder, Standardizer, chunk_slices, encoder_from
from .networks import EncodedNetwork, layer_sizes

# "auto" stops early from here on, as in HistGradientBoosting: below, holding rows back costs more
# accuracy than it saves.
EARLY_STOPPING_ROWS = 10_000

# encoding="auto" leaves wider rows alone: nine codes a column would make the network mostly first layer.
MOST_ENCODED_COLUMNS = 100

# batch_size="auto" is the power of two nearest to n_rows / 32, within bounds: enough steps an epoch on
# small data, full vectors on large.
STEPS_PER_EPOCH = 32

# What a network sees has mean 0 and variance 1; beyond this it has an outlier, or was not standardised.
FAR = 1e3

# What fit learns beside the attributes that end in an underscore.
PRIVATE_STATE = (
    "_begun_with",
    "_blueprint",
    "_class_weight",
    "_generators",
    "_n_rows",
    "_two_dimensional",
    "_precision",
    "_resumes",
    "_target_mean",
    "_target_scale",
    "_trained_with",
    "_weight_mean",
    "_work",
)


class _NotIncremental(AttributeError, ValueError):
    """There is no partial_fit with these parameters: an AttributeError, so that hasattr says no."""


class incremental:
    """A method that is there only where the parameters allow single passes."""

    def __init__(self, method):
        self.method = method

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self.method
        if estimator._early_stopping() is True:
            raise _NotIncremental(
                "early_stopping=True cannot be used with partial_fit, which makes one pass over each chunk. "
                "Use early_stopping='auto' or False."
            )
        class_weight = getattr(estimator, "class_weight", None)
        if any(
            isinstance(spec, str)
            for spec in (class_weight if isinstance(class_weight, list) else [class_weight])
        ):
            raise _NotIncremental(
                "class_weight='balanced' cannot be used with partial_fit, which never sees all rows. Give a "
                "dict, for example from sklearn.utils.compute_class_weight."
            )
        return self.method.__get__(estimator, owner)


class BaseSNN(BaseEstimator):
    """What the classifier and the regressor share."""

    _parameter_constraints: dict = {
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "layer_form": [StrOptions({"conic", "rectangular"})],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left"), None],
        "architecture": [StrOptions(set(ARCHITECTURES)), callable],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "encoding": [StrOptions({"auto", *ENCODINGS}), None],
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
        "callbacks": [list, tuple, None],
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
            Finite numbers: numpy, pandas, polars, scipy CSR or CSC, torch tensors. A tensor on a GPU
            stays there.
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
        with _device.as_imported(), self._forgetting_on_failure(first):
            self._check_combinations(X_val, y_val, sample_weight_val)
            table = self._check_table(X, y, sample_weight, first)
            valid = (
                None if X_val is None else self._check_table(X_val, y_val, sample_weight_val, suffix="_val")
            )
            generators = self._make_generators() if first else self._generators
            if valid is None and self._holds_rows_back(len(table.y)):
                table, valid = table.split(*self._split(table.y, generators.split))
            self._check_trainable(table.y, table.weight)
            self._check_watchable(valid)
            self._weight_mean = _mean_weight(table)
            self._learn_scale(table, first)
            model = self._start(table, generators) if first else self._resume()
            self._train(model, table, valid, self.max_epochs, self.lr_schedule)
            self._warn_if_useless(table)
        return self

    def _fit_chunk(self, X, y, sample_weight, classes=None):
        """Make one pass over a chunk of rows."""
        first = not self.__sklearn_is_fitted__()
        with _device.as_imported(), self._forgetting_on_failure(first):
            table = self._check_table(X, y, sample_weight, first, classes=classes, chunk=True)
            if first or not self._weight_mean:  # 0 as long as no label had weight
                self._weight_mean = _mean_weight(table)
            self._learn_scale(table, first)
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
        if X_val is not None and self._early_stopping() is False:
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

    def _check_form(self, y, name):
        """Refuse a target of another shape than the one learned from."""
        if (y.ndim == 2) != self._two_dimensional or (y.ndim == 2 and y.shape[1] != self.n_outputs_):
            expected = f"(n_rows, {self.n_outputs_})" if self._two_dimensional else "(n_rows,)"
            raise ValueError(f"{name} has shape {y.shape}, but the estimator was fitted with {expected}.")

    def _make_generators(self):
        """Derive all random sources from random_state; None takes fresh entropy, not numpy's global."""
        seed = np.random.SeedSequence().entropy
        if self.random_state is not None:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
        return _device.Generators(seed, _device.resolve_device(self.device))

    def _holds_rows_back(self, n_rows):
        stops = self._early_stopping()
        return n_rows > EARLY_STOPPING_ROWS if stops == "auto" else stops

    def _early_stopping(self):
        """Return "auto", True or False, also for numpy's booleans, as grids hold them."""
        return self.early_stopping if isinstance(self.early_stopping, str) else bool(self.early_stopping)

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

    def _check_trainable(self, y, weight):
        """Refuse training rows without weight, and outputs without any label among them."""
        if weight is not None and not weight.any():
            raise ValueError(
                f"the {len(y)} training rows all have weight 0: those with weight were held back to "
                "watch. Set early_stopping=False, or give X_val and y_val."
            )
        counts = slice(None) if weight is None else weight > 0
        empty = np.flatnonzero(np.isnan(y[counts]).all(axis=0)) if y.ndim == 2 else []
        if len(empty):
            raise ValueError(
                f"task {empty[0]} of y (column {empty[0]}) has no label among the {len(y)} training rows: "
                "all are missing, or of weight 0. Leave this column out, or give rows that have it."
            )

    def _check_watchable(self, valid):
        """Refuse validation rows that no loss can be computed on."""
        if valid is None:
            return
        labelled = ~np.isnan(valid.y.reshape(len(valid.y), -1)).all(axis=1)
        if not (labelled if valid.weight is None else labelled & (valid.weight > 0)).any():
            raise ValueError(
                f"the {len(valid.y)} validation rows hold no label of positive weight: there is no loss to "
                "watch. Give an X_val with labels, or set early_stopping=False."
            )

    def _start(self, table, generators):
        """Learn the statistics of the training rows and build the network."""
        self._n_rows = len(table.y) if table.weight is None else int((table.weight > 0).sum())
        encoder = self._learn_encoder(table)
        self._generators, self._precision, self._resumes = generators, self.precision, False
        self._blueprint, self._begun_with = self._make_blueprint(encoder), self._settings()
        return self._make_model(encoder)

    def _learn_encoder(self, table):
        """Learn how columns enter the network; sparse ones have no codes, which are dense."""
        if self.standardize:
            standardizer = Standardizer.fit(table.X, table.weight)
        else:
            standardizer = Standardizer.identity(table.X.shape[1])
        encoding = self._auto_encoding(table.X.shape[1]) if self.encoding == "auto" else self.encoding
        if encoding is None or sparse.issparse(table.X):
            return standardizer
        return ColumnEncoder.fit(table.X, table.weight, encoding, standardizer)

    def _auto_encoding(self, n_columns):
        """Return the code measured to be best, or None for a user's own module, which may want pixels."""
        encodes = isinstance(self.architecture, str) and n_columns <= MOST_ENCODED_COLUMNS
        return self._best_encoding() if encodes else None

    def _resume(self):
        """Return the present model, if the parameters still describe it."""
        if self.device != "auto":
            device = _device.resolve_device(self.device)
            if device.type != self._generators.device.type:
                raise ValueError(
                    "device cannot change while training goes on: the network is on "
                    f"{self._generators.device}, device={self.device!r}. Set it back, or "
                    "fit with warm_start=False."
                )
        before = {**self._blueprint, **self._begun_with}
        now = {**self._make_blueprint(self.net_.module_.encoder), **self._settings()}
        changed = [name for name in now if now[name] != before[name]]
        if changed:
            raise ValueError(
                f"{changed[0]} cannot change while training goes on (warm_start or partial_fit): it was "
                f"{before[changed[0]]!r}, now {now[changed[0]]!r}. Set it back, or fit with warm_start=False."
            )
        return self.net_.module_

    def _make_blueprint(self, encoder):
        """Collect what determines the network."""
        return {
            "architecture": self.architecture,
            "n_inputs": encoder.n_inputs,
            "n_outputs": self.n_outputs_,
            "hidden_layer_sizes": self._hidden_layer_sizes(),
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
        }

    def _settings(self):
        """Collect what else must not change while training goes on."""
        names = ("standardize", "encoding", "precision", *self._frozen_settings)
        return {name: getattr(self, name) for name in names}

    def _hidden_layer_sizes(self):
        if self.hidden_layer_sizes is None:
            return layer_sizes(self.n_layers, self._width(), self.layer_form, self.n_outputs_)
        sizes = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be positive integers, one a layer; got "
                f"{self.hidden_layer_sizes!r}. Set n_layers and n_units instead, or give (256, 64), say."
            )
        return sizes

    def _width(self):
        return self.n_units

    def _make_model(self, encoder):
        """Build the network of the blueprint behind its encoder, on its device."""
        generators = self._generators
        init = torch.Generator().manual_seed(generators.init)
        with self._random_sources(), _device.memory_explained(generators.device):
            network = build_network(**self._blueprint, generator=init, dropout_generator=generators.dropout)
            model = EncodedNetwork(encoder, network.to(generators.device, self._dtype())).eval()
            self._work = multiply_adds(network, encoder.n_inputs)
        return model

    def _dtype(self):
        """Return the dtype of weights, inputs and targets."""
        return _device.parameter_dtype(self._precision, self._generators.device)

    def _random_sources(self):
        """Give a user's own module, which can draw from torch's global generator only, one of ours."""
        callable_architecture = not isinstance(self._blueprint["architecture"], str)
        return self._generators.as_global() if callable_architecture else nullcontext()

    def _make_net(self, model, callbacks, lr_schedule, masked, watched, batch_size, n_rows):
        """Wrap a model in a skorch net with this estimator's loss, optimizer and callbacks."""
        weight_decay = self._weight_decay(-(-n_rows // batch_size))
        return self._net_class(
            model,
            criterion=self._make_criterion(masked, watched),
            optimizer=partial(
                _training.make_optimizer,
                self.optimizer,
                lr=self.lr,
                weight_decay=weight_decay,
                optimizer_params=self.optimizer_params,
            ),
            lr=self.lr,
            batch_size=batch_size,
            callbacks=list(callbacks),
            n_outputs=self.n_outputs_,
            own=isinstance(self._blueprint["architecture"], str),
            work=self._work,
            moments=repr((self.optimizer, self.optimizer_params, weight_decay > 0)),
            rates=repr(self.lr) if lr_schedule == "constant" else None,
            shuffle=self._generators.shuffle,
            precision=self._precision,
            device=str(self._generators.device),
            verbose=int(self.verbose),
            **self._net_params(),
        ).initialize()

    def _weight_decay(self, n_batches):
        return self.weight_decay

    def _train(self, model, table, valid, n_epochs, lr_schedule):
        """Train a model for some epochs, going on from the present net's history and optimizer."""
        batch_size = min(self._batch_size(len(table.y)), len(table.y))
        start = getattr(self, "best_epoch_", None)
        stopper = None if valid is None else _training.BestEpoch(self.tol, self.n_iter_no_change, start)
        callbacks = _training.make_callbacks(
            self.callbacks,
            max_grad_norm=self.max_grad_norm,
            cosine_epochs=n_epochs if lr_schedule == "cosine" else None,
            progress_bar=self.verbose == 1,
            stopper=stopper,
        )
        masked = any(t is not None and t.y.ndim == 2 and np.isnan(t.y).any() for t in (table, valid))
        about = {
            "lr_schedule": lr_schedule,
            "masked": masked,
            "watched": valid is not None,
            "batch_size": batch_size,
            "n_rows": len(table.y),
        }
        net = self._make_net(model, callbacks, **about)
        if "net_" in vars(self):
            net.continue_from(self.net_)
        self._trained_with = self._net_parameters(), about
        rows = valid_rows = None
        try:
            threads = _device.threads_for(batch_size * self._work)
            with self._device_context(), self._random_sources(), threads:
                rows = self._to_device(model, table, training=True)
                valid_rows = None if valid is None else self._to_device(model, valid)
                net.train(rows, valid_rows, n_epochs)
        except _training.NonFiniteLoss as error:
            self._explain_divergence(error, stopper, rows, valid_rows, net.optimizer_)
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

    def _net_parameters(self):
        """Collect the parameters that a net is made of; of the others some do not pickle."""
        parameters = self.get_params(deep=False)
        for name in ("callbacks", "random_state", "architecture"):
            del parameters[name]
        return {**parameters, "optimizer_params": copy.copy(self.optimizer_params)}

    def _explain_divergence(self, error, stopper, rows, valid_rows, optimizer):
        what = {"train": "training", "valid": "validation"}[error.phase]
        cause, remedy = self._find_cause(rows, valid_rows, optimizer)
        message = f"the {what} loss is not finite in epoch {error.epoch}: {cause}. "
        if stopper is None or stopper.best_epoch_ is None:
            raise _Diverged(message + remedy) from error
        warnings.warn(
            message + f"The weights of epoch {stopper.best_epoch_}, the best, are kept. " + remedy,
            ConvergenceWarning,
            stacklevel=5,
        )

    def _find_cause(self, rows, valid_rows, optimizer):
        """Say what is likely to have made a loss overflow, and what to do; the learning rate comes last."""
        weight = rows.weight
        if weight is not None and len(weight) > 1:
            share = (weight.max() / weight.sum()).item()
            if _largest(weight) > FAR or share > 0.99:
                of_all = f", {share:.0%} of all weight" if np.isfinite(share) else ""
                return (
                    f"one label has a weight of {_largest(weight):.3g}{of_all}",
                    "Bring sample_weight and class_weight to one magnitude, or clip them.",
                )
        scales_y = getattr(self, "standardize_target", True)
        suspects = [("X", rows.inputs, self.standardize, "standardize")]
        suspects += [("y", rows.y, scales_y, "standardize_target")]
        if valid_rows is not None:
            suspects += [("X_val", valid_rows.inputs, self.standardize, "standardize")]
            suspects += [("y_val", valid_rows.y, scales_y, "standardize_target")]
        for name, values, scaled, parameter in suspects:
            if _largest(values) > FAR:
                how = "standardised by the training rows" if scaled else "not standardised"
                way_out = "Clip outliers" if scaled else f"Set {parameter}=True, clip outliers"
                return (
                    f"{name}, {how}, holds values of {_largest(values):.3g}, too far from 0 for a network",
                    f"{way_out}, or take logarithms.",
                )
        decay = max(group.get("weight_decay", 0) for group in optimizer.param_groups)
        if self.lr * decay >= 1:
            smaller = [f"lr (now {self.lr})", f"weight_decay (now {self.weight_decay})"]
            smaller = smaller if self.lr > decay else smaller[::-1]
            return (
                f"training diverged, with weight_decay times lr at {self.lr * decay:.3g}",
                f"Use a smaller {' or '.join(smaller)}: their product is what a step takes from the weights.",
            )
        return (
            "training diverged",
            f"Use a smaller lr (now {self.lr}), max_grad_norm=1, or standardize=True.",
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
        return int(np.clip(2 ** round(np.log2(n_rows / STEPS_PER_EPOCH)), *self._auto_batch))

    @contextmanager
    def _device_context(self):
        """Compute on the device as the estimator's parameters say, whatever the caller told torch."""
        device, precision = self._generators.device, self._precision
        with (
            _device.as_imported(),
            _device.memory_explained(device),
            _device.matmul_precision(precision, device),
        ):
            yield

    def _to_tensors(self, table, training=False):
        """Make tensors of the target and of its weights; class weights count in training only."""
        weight = table.weight
        if weight is not None:
            weight = weight / ((self._weight_mean if training else _mean_weight(table)) or 1.0)
        weight = self._label_weight(table.y, weight) if training else weight
        if weight is not None and table.y.ndim == 2 and weight.ndim == 1:
            weight = weight[:, None]
        dtype = self._dtype()
        y = self._scale_target(table.y)
        place = partial(torch.as_tensor, device=self._generators.device)
        y = place(y, dtype=dtype if y.dtype.kind == "f" else torch.int64)
        return y, None if weight is None else place(weight, dtype=dtype)

    def _label_weight(self, y, weight):
        return weight

    def _to_device(self, model, table, training=False):
        """Encode a table and put it on the device, once."""
        inputs = _training.encode(table.X, model.encoder, self._generators.device, self._dtype())
        return _training.Rows(inputs, *self._to_tensors(table, training))

    # ------------------------------------------------------------ prediction

    def _outputs(self, X, nonlinearity=None):
        """Compute the outputs of the network, (n_rows, n_outputs), float32 for float32 X, else float64."""
        check_is_fitted(self)
        with self._device_context():
            X = check_inputs(self, X, reset=False)
            single = X.dtype in (np.float32, torch.float32)
            outputs = self.net_.forward_rows(X).to(torch.float32 if single else torch.float64)
            check_outputs(outputs.numpy())
            return (outputs if nonlinearity is None else nonlinearity(outputs)).numpy()

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
            with _device.as_imported():
                device = _device.device_or_cpu(self.device)
                self._generators = _device.Generators.from_state(state["_generators"], device)
                states = self._generators.builtin_states  # building a callable architecture draws from them
                model = self._make_model(encoder_from(state["net_"]["encoder"]))
                self._generators.builtin_states = states
                self.net_ = self._make_net_as_trained(model).unpack(state["net_"])

    def _make_net_as_trained(self, model):
        """Wrap a model in the net of the last fit, whatever parameters were set since."""
        parameters, about = self._trained_with
        then = object.__new__(type(self))
        vars(then).update(vars(self), **parameters)
        return then._make_net(model, (), **about)


def _mean_weight(table):
    """Average the weights over the labels present, so that weights count as copies; 0 if none is."""
    if table.weight is None:
        return 1.0
    if table.y.ndim == 1:
        return table.weight.mean()
    n_labels = (~np.isnan(table.y)).sum(axis=1)
    return np.average(table.weight, weights=n_labels) if n_labels.any() else 0.0


def _largest(values):
    """Return the largest magnitude in a tensor or in lazy rows; 0 for labels, missing ones too."""
    if torch.is_tensor(values) and not values.is_floating_point():
        return 0.0
    slices = chunk_slices(len(values), values[:1].numel())
    return max(values[s].abs().nan_to_num(nan=0.0, posinf=np.inf).max().item() for s in slices)


class _Diverged(ValueError):
    """The loss of a fit stopped being a number."""
