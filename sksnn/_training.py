"""The training loop: rows on the device, minibatches, the skorch net, its callbacks and its state.

Of the modules here, only this one and ``callbacks`` know skorch.
"""

import copy
import inspect
import math
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EpochTimer, GradientNormClipping, PrintLog, ProgressBar
from skorch.callbacks.training import InputShapeSetter
from skorch.dataset import Dataset
from skorch.history import History

from ._device import from_numpy_state, threads_for, to_numpy_state, without_waiting
from ._flat import FlatSNN
from .encodings import as_float64, chunk_slices

# Rows of a validation or prediction batch, times the widest layer: on a CPU what its cache holds
# (2**18 float64 are 2 MiB), elsewhere what keeps the device busy in bounded memory.
CPU_FORWARD_ELEMENTS, FORWARD_ELEMENTS = 2**18, 2**22
LEAST_FORWARD_ROWS = 256  # below, weights are read more often than rows

# Numbers gathered at once for minibatches: 2**18 float32 are 1 MiB, which a core's cache holds.
GATHERED_ELEMENTS = 2**18

# Numbers of rows with codes that a host keeps encoded, half a gigabyte in float32; of more rows the codes,
# nine times X at most, are made again in each epoch.
CODED_ELEMENTS = 2**27


# ---------------------------------------------------------------- rows and batches


class Batch(tuple):
    """(X, y), as skorch's callbacks expect a batch, with the weight of its rows beside it."""

    def __new__(cls, X, y, weight=None):
        """Make the pair and hang the weight on it."""
        batch = super().__new__(cls, (X, y))
        batch.weight = weight
        return batch

    def split(self, sizes):
        """Cut into batches of these sizes, views of this one."""
        nothing = [None] * len(sizes)
        parts = [nothing if values is None else values.split(sizes) for values in (*self, self.weight)]
        return [Batch(*part) for part in zip(*parts, strict=True)]


class LazyInputs:
    """Rows on the host that become dense, encoded tensors only as they are indexed."""

    def __init__(self, X, encoder, device, dtype):
        self.X, self.encoder, self.device, self.dtype = X, encoder, device, dtype
        self.shape = (X.shape[0], encoder.n_inputs)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        rows = self.X[index.cpu().numpy() if torch.is_tensor(index) else index]
        return encode_chunks(rows, self.encoder, self.device, self.dtype)


def encode(X, encoder, device, dtype):
    """Encode raw rows in float64, chunk by chunk, into one tensor on the device.

    Parameters
    ----------
    X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)
    encoder : nn.Module
    device, dtype : torch.device, torch.dtype
        Of the result.

    Returns
    -------
    inputs : Tensor or LazyInputs
        Lazy where rows are sparse, or so many that their codes would fill the host's memory.
    """
    widened = X.shape[0] * encoder.n_inputs if encoder.n_inputs > X.shape[1] else 0
    on_host = str(device) == "cpu" and not torch.is_tensor(X)
    lazy = sparse.issparse(X) or (on_host and widened > CODED_ELEMENTS)
    return (LazyInputs if lazy else encode_chunks)(X, encoder, device, dtype)


def encode_chunks(X, encoder, device, dtype):
    """Encode rows that are to be dense as a whole; all but the result stays small, and in cache."""
    slices = chunk_slices(X.shape[0], encoder.n_inputs)
    if len(slices) == 1:
        return encoder(as_tensor(X[:])).to(device, dtype)
    inputs = None
    for s in slices:
        encoded = encoder(as_tensor(X[s]))
        if inputs is None:
            inputs = torch.empty((X.shape[0], *encoded.shape[1:]), dtype=dtype, device=device)
        inputs[s] = encoded.to(dtype)
    return inputs


def as_tensor(array):
    """View rows as a tensor; sparse, read-only and unsigned ones as a copy."""
    if torch.is_tensor(array):
        return as_float64(array)
    if sparse.issparse(array):
        array = array.toarray()
    strange = any(stride < 0 or stride % array.itemsize for stride in array.strides)
    if array.dtype.kind != "f" or not array.flags.writeable or strange:
        array = np.array(array, dtype=np.float64)
    return torch.from_numpy(array)


class Rows(Dataset):
    """Encoded rows with targets and weights beside them, indexed by slices and index tensors.

    Parameters
    ----------
    inputs : Tensor or LazyInputs
    y, weight : Tensor, default=None
    """

    def __init__(self, inputs, y=None, weight=None):
        self.inputs, self.y, self.weight = inputs, y, weight

    @property
    def X(self):
        """The rows without their targets; what skorch predicts from when it does not cache."""
        return Rows(self.inputs)

    @property
    def n_columns(self):
        """Numbers in a row."""
        return self.inputs.shape[1]

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        y, weight = (None if values is None else values[index] for values in (self.y, self.weight))
        return Batch(self.inputs[index], y, weight)


class Minibatches:
    """Cut rows into batches: in order, or shuffled anew at each pass.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    generator : torch.Generator, default=None
        On the CPU, so that the order is the same on every device. None keeps the order.
    """

    def __init__(self, rows, batch_size, generator=None):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator

    def __len__(self):
        if self.generator is None:
            return math.ceil(len(self.rows) / self.batch_size)
        return len(self._starts())

    def __iter__(self):
        n, size = len(self.rows), self.batch_size
        if self.generator is None or size >= n:  # the order within a full batch is nothing
            return (self.rows[i : i + size] for i in range(0, n, size))
        return self._shuffled()

    def _shuffled(self):
        """Gather the rows of as many batches at once as stay small, and cut them: views cost little."""
        n, starts = len(self.rows), list(self._starts())
        order = torch.randperm(n, generator=self.generator)
        if torch.is_tensor(self.rows.inputs):
            order = without_waiting(order, self.rows.inputs.device)
        sizes = [j - i for i, j in zip(starts, [*starts[1:], n], strict=True)]
        at_once = max(1, GATHERED_ELEMENTS // (self.batch_size * self.rows.n_columns))
        for i in range(0, len(starts), at_once):
            some = sizes[i : i + at_once]
            yield from self.rows[order[starts[i] : starts[i] + sum(some)]].split(some)

    def _starts(self):
        """Begin a batch every batch_size rows, but leave no row alone: batch norm cannot take one."""
        n, size = len(self.rows), self.batch_size
        return range(0, n - 1 if n > size > 1 else n, size)


# ---------------------------------------------------------------- optimizer and callbacks

#: Name -> class of torch's optimizers that can train any parameter of a network.
OPTIMIZERS = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and name not in ("Optimizer", "SparseAdam", "Muon")
}


def make_optimizer(optimizer, parameters, lr, weight_decay, optimizer_params):
    """Build a torch optimizer; weight decay acts on weights, not on biases.

    Parameters
    ----------
    optimizer : str or type
        A key of `OPTIMIZERS` or a class.
    parameters : iterable of nn.Parameter
        Vectors and scalars among them (biases, gains) are not decayed.
    lr, weight_decay : float
    optimizer_params : dict or None
        Further arguments of the class.

    Returns
    -------
    optimizer : torch.optim.Optimizer

    Raises
    ------
    ValueError
        If the optimizer has no weight decay, refuses an argument, or cannot train a network.
    """
    cls = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    if not issubclass(cls, torch.optim.Optimizer):
        raise ValueError(f"optimizer must be a name or a subclass of torch.optim.Optimizer; got {cls!r}.")
    if issubclass(cls, torch.optim.SparseAdam):
        raise ValueError(
            "optimizer SparseAdam takes sparse gradients only, which no network here has. Use Adam."
        )
    accepted = inspect.signature(cls).parameters
    # Frozen ones among them, as in skorch: they have no gradient, and states are matched by position.
    parameters = list(parameters)
    if not any(p.requires_grad for p in parameters):
        raise ValueError("architecture has no parameter that requires a gradient: there is nothing to train.")
    extra = dict(optimizer_params or {})
    if extra.get("differentiable"):
        raise ValueError(
            "optimizer_params must not hold 'differentiable': True, which is for gradients of training "
            "itself. Leave it out."
        )
    for name in {"lr", "weight_decay", "params"} & extra.keys():
        raise ValueError(f"optimizer_params must not hold {name!r}; got {extra[name]!r}. Set {name} itself.")
    if weight_decay and "weight_decay" not in accepted:
        raise ValueError(
            f"optimizer {cls.__name__} has no weight_decay; got {weight_decay} (0.3 is the "
            "classifier's default). Use 0, or 'adamw'."
        )
    if "fused" in accepted and not {"foreach", "differentiable"} & extra.keys() and _can_fuse(parameters):
        extra.setdefault("fused", True)
    decayed, kept = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = decayed + kept  # in this order with and without decay: states are matched by position
    if "weight_decay" in accepted and not weight_decay:  # torch's defaults differ between classes
        extra["weight_decay"] = 0.0
    elif "weight_decay" in accepted:
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    try:
        return cls(groups, lr=lr, **extra)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"optimizer {cls.__name__} refuses optimizer_params={optimizer_params!r} or the network: {error}."
        ) from error


def _can_fuse(parameters):
    # One kernel for all parameters: fewer launches, which is what small nets wait for.
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def carry_over(optimizer, state, moments, rates):
    """Go on from the state of an earlier optimizer: from its moments, from its rates, or from both.

    Decays stay the new one's. Rates are where the user's scheduler had brought them; a new rate
    is where it begins from, which schedulers that go on look for in "initial_lr".
    """
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    if moments:
        optimizer.load_state_dict(state)
    earlier = state["param_groups"][0]  # rates are the same for weights and biases
    kept = {key: earlier[key] for key in ("lr", "initial_lr") if rates and key in earlier}
    for group, new in zip(optimizer.param_groups, settings, strict=True):
        group.pop("initial_lr", None)
        group.update({**new, **kept})
        group.setdefault("initial_lr", group["lr"])


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


class CosineDecay(Callback):
    """Lower each group's learning rate along half a cosine, once an epoch, towards 0."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_train_begin(self, net, **kwargs):
        """Start from the optimizer's present rates."""
        self.schedule_ = torch.optim.lr_scheduler.CosineAnnealingLR(net.optimizer_, self.n_epochs)

    def on_epoch_end(self, net, **kwargs):
        """Go down one step."""
        self.schedule_.step()


class EpochProgressBar(ProgressBar):
    """skorch's progress bar with the number of batches that our loop makes."""

    def _get_batches_per_epoch_phase(self, net, dataset, training):
        return 0 if dataset is None else len(net.get_iterator(dataset, training))


class BestEpoch(Callback):
    """Keep the weights of the epoch of least validation loss; stop when none comes any more.

    Parameters
    ----------
    tol : float
        An epoch counts as progress when it is better by more than this.
    patience : int
        Epochs without progress that end training.
    start : int, default=None
        The epoch whose weights training goes on from: they are the first candidate. None if there are none.
    """

    best_epoch_ = weights_ = None

    def __init__(self, tol, patience, start=None):
        self.tol, self.patience, self.start = tol, patience, start

    def on_train_begin(self, net, **kwargs):
        """Forget what earlier calls saw."""
        self.best_loss_ = self.target_ = math.inf
        self.best_epoch_ = self.weights_ = None
        self.waited_ = 0

    def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
        """Look at the weights that training goes on from."""
        if self.start is not None and self.best_epoch_ is None:
            self._consider(net, net.mean_loss(dataset_valid), self.start)
            self.target_ = self.best_loss_

    def on_epoch_end(self, net, **kwargs):
        """Look at the epoch's validation loss."""
        loss = net.history[-1]["valid_loss"]
        self._consider(net, loss, len(net.history))
        self.waited_ = 0 if loss < self.target_ - self.tol else self.waited_ + 1
        self.target_ = min(self.target_, loss) if self.waited_ == 0 else self.target_
        net.stop_ = net.stop_ or self.waited_ >= self.patience

    def _consider(self, net, loss, epoch):
        """Keep the present weights if their loss is the least so far."""
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, epoch
            network = net.module_.network
            self.weights_ = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def restore(self, net):
        """Put the best weights back, if there are any."""
        if self.weights_ is not None:
            net.module_.network.load_state_dict(self.weights_)
            self.weights_ = None


def make_callbacks(users, max_grad_norm, cosine_epochs, progress_bar, stopper):
    """List copies of the user's callbacks and our own, the stopper last."""
    callbacks = copy_callbacks(users or [])
    if max_grad_norm is not None:
        callbacks.append(GradientNormClipping(max_grad_norm))
    if cosine_epochs is not None:
        callbacks.append(CosineDecay(cosine_epochs))
    if progress_bar:
        callbacks.append(EpochProgressBar())
    return callbacks if stopper is None else [*callbacks, stopper]


class LongHistory(History):
    """skorch's history, which copies all of its rows to find one, without the copy."""

    def __getitem__(self, i):
        """Return a row, or what skorch's keys of several levels name."""
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


class StopTraining(Exception):
    """Ends training normally, at once."""


class NonFiniteLoss(Exception):
    """The loss of an epoch is not a number; carries the epoch, counted from 1."""

    def __init__(self, epoch, phase):
        super().__init__(epoch, phase)
        self.epoch, self.phase = epoch, phase


# Callbacks that raise no KeyboardInterrupt of their own.
NEVER_STOPPING = (BestEpoch, CosineDecay, EpochTimer, GradientNormClipping, PrintLog, ProgressBar)
BATCH_HOOKS = ("on_batch_begin", "on_batch_end")
KEYS = ("train_loss", "valid_loss")  # of an epoch's row in the history


def _overrides(callback, hook):
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)


# ---------------------------------------------------------------- the net


class _FastLoop:
    """What both nets change in skorch: where the rows live, and what happens to a batch.

    The loop keeps skorch's hooks. The row of an epoch holds one batch entry a phase and is
    written with one host synchronisation; a callback that overrides a batch hook turns on
    per-batch entries and a synchronisation a batch. Rows that reach `infer` are encoded.
    """

    trains_, flat_ = False, None

    def __init__(
        self,
        *args,
        n_outputs,
        precision="auto",
        shuffle=None,
        own=True,
        work=0,
        moments=None,
        rates=None,
        **kwargs,
    ):
        super().__init__(*args, train_split=None, history=LongHistory(), **kwargs)
        self.n_outputs = n_outputs
        self.precision = precision
        self.shuffle = shuffle
        self.own = own  # the architecture is ours: it runs in float64, and leaves its input alone
        self.work = work  # multiply-adds of a row
        self.moments = moments  # tells optimizers apart whose state cannot be carried over
        self.rates = rates  # and those whose rates cannot

    # what skorch asks for

    def get_default_callbacks(self):
        """Time each epoch; print a table from verbose=2."""
        callbacks = [("epoch_timer", EpochTimer())]
        return callbacks + ([("print_log", PrintLog())] if self.verbose > 1 else [])

    def initialize_optimizer(self):
        """Build the optimizer of the estimator's parameters."""
        self.optimizer_ = self.optimizer(self.module_.network.parameters())
        return self

    def fit(self, X, y=None, **fit_params):
        """Refuse: what surrounds a fit (checks, statistics, generators) is the estimator's."""
        raise RuntimeError(
            "net_ is trained by its estimator: call fit of the estimator, with warm_start=True to go on, or "
            "its partial_fit. A skorch net of your own can train net_.module_."
        )

    partial_fit = fit

    def check_data(self, X, y=None):
        """Do nothing: the estimator has checked the data."""

    def get_dataset(self, X, y=None):
        """Encode raw rows unless they are encoded already."""
        if isinstance(X, Rows):
            return X
        X = X if sparse.issparse(X) or torch.is_tensor(X) else np.asarray(X)
        return Rows(
            encode(X, self.module_.encoder, self.device, next(self.module_.network.parameters()).dtype), y
        )

    def get_iterator(self, dataset, training=False):
        """Return shuffled minibatches for training, large ones in order otherwise."""
        if training:
            return Minibatches(dataset, self.batch_size, self.shuffle)
        return Minibatches(dataset, max(self.batch_size, self.forward_elements_ // self.width_))

    def infer(self, x, **fit_params):
        """Compute the outputs of encoded rows."""
        with self._autocast():
            # A module that changes its input in place must not change the rows, of which batches are views.
            outputs = self.module_.network(x if self.own else x.clone())
        if getattr(outputs, "shape", None) != (len(x), self.n_outputs):
            got = tuple(outputs.shape) if torch.is_tensor(outputs) else type(outputs).__name__
            raise ValueError(
                f"architecture must map (n, {x.shape[1]}) to (n, {self.n_outputs}); for {len(x)} rows it "
                f"returned {got}. Give its last layer n_outputs units, and return its output alone."
            )
        return outputs.float() if self.precision == "bf16" else outputs

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

    # prediction and state

    @cached_property
    def width_(self):
        """Width of the widest layer, inputs included."""
        return max((n for p in self.module_.network.parameters() for n in p.shape), default=1)

    @property
    def forward_elements_(self):
        """Numbers of a layer that a batch of a forward pass may have."""
        on_cpu = self.device.startswith("cpu")
        return max(CPU_FORWARD_ELEMENTS if on_cpu else FORWARD_ELEMENTS, LEAST_FORWARD_ROWS * self.width_)

    def forward_rows(self, X):
        """Compute the outputs of raw rows, as many at a time as fit in bounded memory.

        Parameters
        ----------
        X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)

        Returns
        -------
        outputs : Tensor of shape (n_rows, n_outputs), on the CPU
        """
        slices = chunk_slices(X.shape[0], self.width_, self.forward_elements_)
        with torch.inference_mode():
            network, dtype = self._network_for(X.dtype)
            n_rows = min(slices[0].stop, X.shape[0])
            with threads_for(n_rows * self.work // 3):  # a training step goes back, too: thrice the work
                outputs = [self._forward_chunk(X[s], network, dtype) for s in slices]
            return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _forward_chunk(self, X, network, dtype):
        inputs = encode(X, self.module_.encoder, self.device, dtype)[:]
        with nullcontext() if self.device.startswith("cpu") else self._autocast():
            return network(inputs).to("cpu", dtype)

    def _autocast(self):
        if self.precision != "bf16":
            return nullcontext()
        # Inside of the caller's autocast a cache would keep weights that steps have changed since.
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, cache_enabled=False)

    def _network_for(self, dtype):
        """Return the network, or on a CPU its float64 copy for rows that are not float32.

        scikit-learn expects a row's prediction not to depend on the rows beside it beyond 1e-7,
        which float32 products do not keep.
        """
        network = self.module_.network
        weights = list(network.parameters())
        if (
            not self.own
            or weights[0].dtype == torch.float64
            or dtype in (np.float32, torch.float32)
            or not self.device.startswith("cpu")
        ):
            return network, weights[0].dtype
        if self.trains_:  # fused optimizers change weights without counting a new version
            return copy.deepcopy(network).double(), torch.float64
        versions = [(id(w), w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        if getattr(self, "double_", (None,))[0] != versions:  # one assignment: safe among threads
            self.double_ = (versions, (copy.deepcopy(network).double(),))
        return self.double_[1][0], torch.float64

    def packed(self, with_optimizer):
        """Return what prediction and further training need, as plain numbers and numpy arrays."""
        return {
            "encoder": to_numpy_state(dict(self.module_.encoder.state_dict())),
            "network": to_numpy_state(dict(self.module_.network.state_dict())),
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in self.history],
            "frozen": [name for name, p in self.module_.network.named_parameters() if not p.requires_grad],
            "optimizer": to_numpy_state(self.optimizer_.state_dict()) if with_optimizer else None,
        }

    def unpack(self, packed):
        """Take over what `packed` returned."""
        self.module_.network.load_state_dict(from_numpy_state(packed["network"]))
        for name, p in self.module_.network.named_parameters():
            p.requires_grad_(name not in packed["frozen"] and p.is_floating_point())
        self.history.extend({**row, "batches": []} for row in packed["history"])
        if packed["optimizer"] is not None:
            carry_over(self.optimizer_, from_numpy_state(packed["optimizer"]), moments=True, rates=True)
        return self

    # the loop

    def continue_from(self, earlier):
        """Take over the history of an earlier net and what fits of its optimizer's state."""
        self.history.extend(earlier.history)
        carry_over(
            self.optimizer_,
            earlier.optimizer_.state_dict(),
            moments=earlier.moments == self.moments,
            rates=self.rates is not None and earlier.rates == self.rates,
        )

    def train(self, rows, valid=None, n_epochs=1):
        """Run epochs over encoded rows.

        Parameters
        ----------
        rows, valid : Rows
        n_epochs : int

        Raises
        ------
        NonFiniteLoss
            At the end of the epoch in which a loss stops being a number.
        """
        callbacks = [callback for _, callback in self.callbacks_]
        self.wants_batches_ = any(_overrides(c, h) for c in callbacks for h in BATCH_HOOKS)
        self.wants_gradients_ = any(_overrides(c, "on_grad_computed") for c in callbacks)
        closure = inspect.signature(self.optimizer_.step).parameters.get("closure")
        self.needs_closure_ = closure is not None and closure.default is inspect.Parameter.empty
        self.stop_, self.trains_ = False, True
        with self._flattened():
            try:
                with torch.enable_grad(), suppress(StopTraining):
                    self.notify("on_train_begin", X=rows, y=rows.y)
                    self.least_ = {k: min([math.inf, *(r[k] for r in self.history if k in r)]) for k in KEYS}
                    self.fit_loop(rows, valid, n_epochs)
            finally:
                self._drop_unfinished_epoch()
                self.module_.eval()
            # An epoch's losses are taken before its last step.
            if not torch.stack([p.isfinite().all() for p in self.module_.network.parameters()]).all():
                raise NonFiniteLoss(len(self.history), "train")
            with suppress(StopTraining):
                self.notify("on_train_end", X=rows, y=rows.y)

    def fit_loop(self, rows, valid=None, epochs=1, **fit_params):
        """Loop over epochs until they are done or a callback sets `stop_`."""
        batches = self.get_iterator(rows, training=True)
        valid_batches = None if valid is None else self.get_iterator(valid)
        for _ in range(epochs):
            self.notify("on_epoch_begin", dataset_train=rows, dataset_valid=valid)
            self._unflatten_if_touched()
            self.run_single_epoch(batches, True, "train", self.train_step)
            self.run_single_epoch(valid_batches, False, "valid", self.validation_step)
            self.notify("on_epoch_end", dataset_train=rows, dataset_valid=valid)
            if self.stop_:
                break

    @contextmanager
    def _flattened(self):
        """Train flat, while the block runs, what can be trained flat."""
        flat = self.precision != "bf16" and FlatSNN.fits(self.module_.network, self.optimizer_)
        self.flat_ = FlatSNN(self.module_.network, self.optimizer_) if flat else None
        try:
            yield
        finally:
            self._unflatten()
            self.module_.zero_grad()
            self.trains_ = False

    def _unflatten(self):
        if self.flat_ is not None:
            self.flat_.release()
            self.flat_ = None

    @contextmanager
    def _one_state_a_parameter(self):
        """Let checkpoints, while the block runs, see the optimizer as it is outside of training."""
        was_flat = self.flat_ is not None
        self._unflatten()
        yield
        if was_flat and FlatSNN.fits(self.module_.network, self.optimizer_):
            self.flat_ = FlatSNN(self.module_.network, self.optimizer_)

    def save_params(self, *args, **kwargs):
        """Save parameters, optimizer, history as skorch does."""
        with self._one_state_a_parameter():
            super().save_params(*args, **kwargs)

    def load_params(self, *args, **kwargs):
        """Load what `save_params` saved."""
        with self._one_state_a_parameter():
            super().load_params(*args, **kwargs)

    def __getstate__(self):
        passing = ("flat_", "trains_", "double_")
        return {key: value for key, value in super().__getstate__().items() if key not in passing}

    def _unflatten_if_touched(self):
        """Go on with autograd once a callback has frozen, replaced or hooked something."""
        if self.flat_ is not None and not self.flat_.is_intact():
            self._unflatten()

    def _drop_unfinished_epoch(self):
        if self.history and "train_loss" not in self.history[-1]:
            del self.history[-1]

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Open the epoch's row."""
        super().on_epoch_begin(net, dataset_train, dataset_valid, **kwargs)
        self.sums_ = {}

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run one phase of an epoch, leaving the sums of its loss on the device."""
        if iterator is None:
            return
        self._set_training(training)
        losses, n_labels = [], []
        if not self.wants_batches_:
            self.history.new_batch()
            self.history.record_batch(prefix + "_batch_size", len(iterator.rows))
        for batch in iterator:
            if self.wants_batches_:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"])
            n_labels.append(self.criterion_.n_labels(batch[1]))
            if self.wants_batches_:
                self.history.record_batch(prefix + "_loss", step["loss"].item())
                self.history.record_batch(prefix + "_batch_size", len(batch[1]))
                self.notify("on_batch_end", batch=batch, training=training, **step)
        self.sums_[prefix] = _weighted_sum(losses, n_labels)
        self.history.record(prefix + "_batch_count", len(iterator))

    def train_step(self, batch, **fit_params):
        """Take one optimization step."""
        if not self.needs_closure_:
            step = self._gradient(batch)
            self.optimizer_.step()
            return step
        steps = []

        def closure():
            steps.append(self._gradient(batch))
            return steps[-1]["loss"]

        self.optimizer_.step(closure)
        return steps[0]

    def _gradient(self, batch):
        X, y = batch
        if self.wants_batches_:
            self._unflatten_if_touched()
        if self.flat_ is not None:
            loss, y_pred = self.flat_.gradient(X, self.criterion_, y, batch.weight)
        else:
            self.optimizer_.zero_grad()
            y_pred = self.infer(X)
            loss = self.get_loss(y_pred, y, weight=batch.weight)
            loss.backward()
        if self.wants_gradients_:
            parameters = list(self.get_all_learnable_params())
            self.notify("on_grad_computed", named_parameters=parameters, batch=batch, training=True)
            self._unflatten_if_touched()
        return {"loss": loss.detach(), "y_pred": y_pred.detach()}

    def validation_step(self, batch, **fit_params):
        """Compute the outputs and the loss of a batch without a gradient."""
        with torch.no_grad():
            y_pred = self.infer(batch[0])
            return {"loss": self.get_loss(y_pred, batch[1], weight=batch.weight), "y_pred": y_pred}

    def mean_loss(self, rows):
        """Return the loss of rows, without a gradient, as the epochs' validation loss is."""
        self._set_training(False)
        losses, n_labels = [], []
        for batch in self.get_iterator(rows):
            losses.append(self.validation_step(batch)["loss"])
            n_labels.append(self.criterion_.n_labels(batch[1]))
        total, n = _weighted_sum(losses, n_labels).tolist()
        return total / max(n, 1)

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Write the losses of the epoch into its row: the one look at the device."""
        sums = torch.stack(list(self.sums_.values())).tolist()
        losses = [total / max(n_labels, 1) for total, n_labels in sums]
        for prefix, loss in zip(self.sums_, losses, strict=True):
            if not math.isfinite(loss):
                raise NonFiniteLoss(len(self.history), prefix)
        for i, (prefix, loss) in enumerate(zip(self.sums_, losses, strict=True)):
            key = prefix + "_loss"
            if not self.wants_batches_:
                self.history[-1]["batches"][i][key] = loss
            self.history.record(key, loss)
            self.history.record(key + "_best", loss < self.least_[key])
            self.least_[key] = min(loss, self.least_[key])


def _weighted_sum(losses, n_labels):
    """Return the sum of the batches' losses times their labels, and of the labels, on the device."""
    losses = torch.stack(losses)
    # An epoch's sum in float32 would round; mps has no float64.
    dtype = torch.float32 if losses.device.type == "mps" else torch.float64
    if torch.is_tensor(n_labels[0]):
        n_labels = torch.stack(n_labels).to(dtype)
    else:
        n_labels = without_waiting(torch.tensor(n_labels, dtype=dtype), losses.device)
    return torch.stack([losses.to(dtype) @ n_labels, n_labels.sum()])


def softmax(outputs):
    """Turn logits into the probabilities of classes; a named function, so that nets pickle."""
    return torch.softmax(outputs, dim=-1)


def squeeze(outputs):
    """Turn one column into none, the shape of a 1-D target."""
    return outputs[:, 0]


class ClassifierNet(_FastLoop, NeuralNetClassifier):
    """The skorch net inside a classifier; labels are 0..n_classes-1, or tasks of 0, 1 and NaN."""

    def predict(self, X):
        """Return class indices, or 0 and 1 for each task."""
        proba = self.predict_proba(X)
        return (proba > 0.5).astype(int) if self.classes_.dtype == object else proba.argmax(axis=1)


class RegressorNet(_FastLoop, NeuralNetRegressor):
    """The skorch net inside a regressor; targets are standardised if the estimator does so."""
