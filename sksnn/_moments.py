"""Measure mean and variance inside a network: of a fitted network, or after each epoch of training.

Layer 0 is the encoded inputs of the network. Layer l is the activations after the l-th hidden nonlinearity,
as the next linear or convolutional layer reads them.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.overrides import TorchFunctionMode

from .encodings import chunk_slices
from .networks import SNN, EncodedNetwork
from .theory import ALPHA_01, LAMBDA_01, is_in_domain, moment_map, weight_moments


class FixedPoint(NamedTuple):
    """The fixed point to which the activations of a network of SELUs converge, and the SELU's parameters.

    Parameters
    ----------
    mean, variance : float, default=0.0 and 1.0
        Mean and variance of the fixed point.
    alpha, scale : float, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Examples
    --------
    >>> FixedPoint().variance
    1.0
    """

    mean: float = 0.0
    variance: float = 1.0
    alpha: float = ALPHA_01
    scale: float = LAMBDA_01

    @classmethod
    def of(cls, network):
        """Return the fixed point of the SNN in a network, or the paper's (0, 1) if there is no SNN."""
        for part in network.modules():
            if isinstance(part, SNN):
                mean, variance = part.fixed_point
                return cls(mean, variance, part.alpha, part.scale)
        return cls()

    @property
    def tau_limits(self):
        """Least and largest tau for which, with an omega of 0, moments converge to a fixed point.

        Between them the slope of the map of the variance is above 1 for small variances, below 1 for large.
        """
        ends = np.array([1e-30, 1e30])
        least, largest = ends / moment_map(0.0, ends, alpha=self.alpha, scale=self.scale)[1]
        return float(least), float(largest)


class LayerMoments(NamedTuple):
    """Moments of the units of a layer over rows, and of the weights that lead to them.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_units,)
        Mean and variance of each unit's activation over the rows; of each channel's over positions too.
    omega, tau : ndarray of shape (n_units,)
        Sum of each unit's weights and of their squares. Empty for the inputs. After a pooling or
        flattening layer there is one for each channel of the layer before it.
    share_outside : float
        Share of the units to which Theorem 1 does not apply, since their omega or tau, or the mean or
        variance of the layer below, lies outside its domain. NaN for the inputs. NaN also if the weights are
        not followed by a SELU with the parameters of the fixed point (0, 1), which the theorem assumes.

    Examples
    --------
    >>> layer = LayerMoments(np.array([-1.0, 1.0]), np.array([1.0, 3.0]), np.zeros(2), np.ones(2), 0.0)
    >>> layer.pooled_mean, layer.pooled_variance
    (0.0, 3.0)
    """

    mean: np.ndarray
    variance: np.ndarray
    omega: np.ndarray
    tau: np.ndarray
    share_outside: float

    @property
    def pooled_mean(self):
        """Mean over all rows and units: a unit drawn at random, as in `sksnn.theory.moment_trajectory`."""
        return float(self.mean.mean())

    @property
    def pooled_variance(self):
        """Variance over all rows and units: the mean of the variances plus the variance of the means."""
        return float(self.variance.mean() + self.mean.var())


class NetworkMoments(NamedTuple):
    """Moments of the inputs and of all hidden layers of a network.

    Parameters
    ----------
    inputs : LayerMoments
        Moments of the encoded inputs.
    layers : tuple of LayerMoments
        Moments of each hidden layer.
    fixed_point : FixedPoint or None, default=None
        The fixed point to which the layers should converge; None if there are no SELUs.

    Examples
    --------
    >>> moments = layer_moments(nn.Sequential(nn.Linear(1, 4), nn.SELU(), nn.Linear(4, 1)), [[-1.0], [1.0]])
    >>> moments.mean.shape, float(moments.variance[0])
    ((2,), 1.0)
    """

    inputs: LayerMoments
    layers: tuple
    fixed_point: FixedPoint | None = None

    @property
    def mean(self):
        """Pooled mean of each layer, shape (n_layers + 1,), the inputs first."""
        return np.array([layer.pooled_mean for layer in (self.inputs, *self.layers)])

    @property
    def variance(self):
        """Pooled variance of each layer, shape (n_layers + 1,), the inputs first."""
        return np.array([layer.pooled_variance for layer in (self.inputs, *self.layers)])


LINEAR = (F.linear,)
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
SELUS = (F.selu, F.selu_, torch.selu, torch.selu_)


class _Sums:
    """Count, mean and sum of squared deviations of columns in float64, chunk by chunk (Chan et al.)."""

    def __init__(self):
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, x):
        n, mean = len(x), x.mean(dim=0)
        squares = (x - mean).square().sum(dim=0)
        step, total = mean - self.mean, self.n + n
        self.squares = self.squares + squares + step**2 * (self.n * n / total)
        self.mean, self.n = self.mean + step * (n / total), total


class _LayerWatch(TorchFunctionMode):
    """Record the inputs of every linear and convolutional layer, without changing the network.

    A tensor that several layers read (gates, shortcuts) counts once. Weights are those that the layer
    multiplies by, also if they are computed from other parameters; those of the first pass are kept.
    """

    def __init__(self):
        super().__init__()
        self.sums, self.weights, self.selus, self.passes = [], [], set(), 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in LINEAR or func in CONVOLUTIONS:
            named = dict(zip(("input", "weight"), args, strict=False)) | kwargs
            self._see(named["input"].detach(), named["weight"].detach(), func in CONVOLUTIONS)
        elif func in SELUS:
            self.selus.add(len(self.seen))  # index of the layer that is read next
        return func(*args, **kwargs)

    @contextmanager
    def one_pass(self):
        """Watch one forward pass over one chunk of rows."""
        self.seen, self.kept = [], []
        self.passes += 1
        with self:
            yield

    def _see(self, x, weight, convolution):
        key = (x.data_ptr(), x.shape, x.stride(), x._version)
        if key not in self.seen:
            self.seen.append(key)
            self.kept.append(x)  # so that no other tensor gets its memory
            if len(self.seen) > len(self.sums):
                self.sums.append(_Sums())
                self.weights.append([])
            x = x.cpu() if x.device.type == "mps" else x  # which has no float64
            x = x.movedim(-weight.ndim + 1, -1) if convolution else x
            self.sums[len(self.seen) - 1].add(x.reshape(-1, x.shape[-1]).double())
        if self.passes == 1:
            self.weights[self.seen.index(key)].append(weight)

    def moments(self, fixed_point):
        """Return a `LayerMoments` for the inputs and for each hidden layer."""
        below, found = None, []
        for i, sums in enumerate(self.sums):
            mean, variance = sums.mean.cpu().numpy(), (sums.squares / sums.n).cpu().numpy()
            omega, tau, outside = np.empty(0), np.empty(0), np.nan
            if below is not None:
                # Of the layers that read the same tensor, gates come after the layer that they gate.
                weights = self.weights[i - 1]
                weight = next((w for w in weights if len(w) == len(mean)), weights[0])
                omega, tau = weight_moments(weight.cpu().double().numpy())
                if i in self.selus:
                    inside = is_in_domain(below.pooled_mean, below.pooled_variance, omega, tau)
                    outside = float(1 - inside.mean())
            below = LayerMoments(mean, variance, omega, tau, outside)
            found.append(below)
        has_selu = bool(self.selus) or fixed_point != FixedPoint()
        return NetworkMoments(found[0], tuple(found[1:]), fixed_point if has_selu else None)


@contextmanager
def _evaluating(module, device):
    """Run the block in evaluation mode without gradients; restore modes and random states afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            module.eval()
            yield
    finally:
        for part, training in modes:
            part.training = training


# Input elements per chunk: the activations of a layer ten times as wide then take less than 100 MB.
CHUNK_ELEMENTS = 2**20


def network_moments(network, inputs):
    """Measure the moments of the layers of a module.

    Parameters
    ----------
    network : nn.Module
        A module with linear or convolutional layers.
    inputs : Tensor, or an object that is sliced like one
        On the module's device and in its dtype; integers keep theirs.

    Returns
    -------
    moments : NetworkMoments

    Raises
    ------
    ValueError
        If there are no rows or no hidden layers.

    Examples
    --------
    >>> from sksnn.networks import SNN
    >>> inputs = torch.randn(1000, 50, generator=torch.Generator().manual_seed(0))
    >>> network = SNN(50, 2, (500, 500), generator=torch.Generator().manual_seed(1))
    >>> bool(abs(network_moments(network, inputs).variance - 1).max() < 0.1)
    True
    """
    n_rows = inputs.shape[0]
    if n_rows == 0:
        raise ValueError("X must have at least one row; got 0. Moments are taken over rows.")
    watch = _LayerWatch()
    weight = next(network.parameters(), None)
    with _evaluating(network, torch.device("cpu") if weight is None else weight.device):
        for s in chunk_slices(n_rows, int(np.prod(inputs.shape[1:])), CHUNK_ELEMENTS):
            rows = inputs[s].clone()  # a module may change its input in place
            with watch.one_pass():
                network(rows)
    if len(watch.sums) < 2:
        raise ValueError(
            f"the network must have a hidden layer; got {type(network).__name__}, in which no linear "
            "or convolutional layer reads what another one made. Only layers that call "
            "torch.nn.functional.linear or conv1d, conv2d, conv3d are seen."
        )
    return watch.moments(FixedPoint.of(network))


def layer_moments(estimator, X):
    """Measure mean and variance of each unit, and omega and tau of its weights, for each layer.

    Parameters
    ----------
    estimator : SNNClassifier, SNNRegressor or nn.Module
        A fitted estimator, of any architecture, or a module.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows, which an estimator encodes. A module gets them unchanged, in its dtype; if it has an
        embedding, integers stay integers.

    Returns
    -------
    moments : NetworkMoments
        ``moments.layers[i].variance`` holds the variances of the units of a hidden layer,
        ``moments.variance`` one number per layer, the inputs first.

    Raises
    ------
    TypeError
        If `estimator` is neither an estimator of this package nor a module.
    ValueError
        If there is no hidden layer, or X cannot be used.
    NotFittedError
        If the estimator is not fitted.

    Notes
    -----
    The network runs in evaluation mode, so without dropout, in the precision of its weights; sums are
    float64. The estimator is not changed, nor are its mode and random states.

    Activations are measured where the next linear or convolutional layer reads them. So those of a
    residual or highway block are the values after its sum.

    The omega of weights drawn independently has standard deviation 1. Theorem 1 requires it to be below 0.1,
    so most units lie outside its domain. That is not a problem: with a mean near 0 omega has little effect
    (`sksnn.theory.moment_map`), and the theorem does not say what happens outside its domain.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> moments = layer_moments(SNNClassifier(max_epochs=3, random_state=0).fit(X, y), X)
    >>> [len(layer.mean) for layer in moments.layers]
    [256, 84, 28, 9]
    >>> moments.variance[:2].round(1)
    array([1., 1.])
    """
    if isinstance(estimator, nn.Module):
        rows = _ModuleRows(estimator, X)
        try:
            return network_moments(estimator, rows)
        except RuntimeError as error:
            error.add_note(
                f"X must be rows that the module takes; got shape {tuple(rows.shape)}. Do columns and the "
                "width of its first layer agree?"
            )
            raise
    check_estimator(estimator)
    model = estimator._model
    with model.computing():
        inputs = model.encode(model.columns.read(estimator, X, reset=False))
        return network_moments(model.module.network, inputs)


def check_estimator(estimator):
    """Refuse anything but a fitted estimator of this package."""
    if not hasattr(estimator, "_target_type"):
        raise TypeError(
            "estimator must be an SNNClassifier, an SNNRegressor or, where a network is enough, a "
            f"torch.nn.Module; got {type(estimator).__name__}. Of a pipeline or a search, give the step "
            "or best_estimator_."
        )
    check_is_fitted(estimator)


class _ModuleRows:
    """Rows for a module; a slice of them is a dense tensor of the dtype that the module takes."""

    def __init__(self, module, X):
        parts, weight = list(module.modules()), next(module.parameters(), None)
        self.takes_indices = any(isinstance(part, nn.Embedding | nn.EmbeddingBag) for part in parts)
        casts = any(isinstance(part, EncodedNetwork) for part in parts)  # it casts after encoding
        self.device = None if weight is None else weight.device
        self.dtype = None if weight is None or casts else weight.dtype
        X = X.tocsr() if sparse.issparse(X) else X if torch.is_tensor(X) else np.asarray(X)
        if not torch.is_tensor(X) and X.dtype.kind not in "biuf":
            raise ValueError(
                f"X must hold numbers, since a module gets it as it is; got dtype {X.dtype}. Encode "
                "categories first, or give a fitted estimator."
            )
        if X.ndim < 2 and not self.takes_indices:
            raise ValueError(
                f"X must have 2 dimensions or more, rows first; got shape {tuple(X.shape)}. Use "
                "X.reshape(1, -1) for a single row."
            )
        self.X, self.shape = X, X.shape

    def __getitem__(self, rows):
        X = self.X[rows]
        if not torch.is_tensor(X):  # a copy: writable, with positive strides, in native byte order
            dense = X.toarray() if sparse.issparse(X) else X
            X = torch.as_tensor(dense.astype(X.dtype.newbyteorder("="), order="C"))
        X = X.to(self.device)
        return X if self.takes_indices and not X.is_floating_point() else X.to(self.dtype or X.dtype)


# ---------------------------------------------------------------- recorded while training


class MomentHistory(NamedTuple):
    """Pooled moments of each layer after each epoch.

    Parameters
    ----------
    epoch : ndarray of shape (n_epochs,)
        The recorded epochs, counted from 1.
    mean, variance : ndarray of shape (n_epochs, n_layers + 1)
        Mean and variance over rows and units; the inputs first.
    fixed_point : FixedPoint, default=FixedPoint()
        The fixed point to which the layers should converge.

    Examples
    --------
    >>> MomentHistory(np.array([1]), np.zeros((1, 3)), np.ones((1, 3))).variance.shape
    (1, 3)
    """

    epoch: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    fixed_point: FixedPoint = FixedPoint()


#: Keys of the history's rows that `sksnn.callbacks.MomentRecorder` writes.
MEAN_KEY, VARIANCE_KEY = "layer_means", "layer_variances"


def moment_history(estimator):
    """Read what a `sksnn.callbacks.MomentRecorder` recorded.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        Estimator fitted with ``callbacks=[MomentRecorder()]``; it may have been pickled and loaded.

    Returns
    -------
    history : MomentHistory

    Raises
    ------
    TypeError
        If it is not an estimator of this package.
    ValueError
        If nothing was recorded.
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> from sksnn.callbacks import MomentRecorder
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SNNClassifier(callbacks=[MomentRecorder()], max_epochs=3, random_state=0).fit(X, y)
    >>> moment_history(model).variance.shape
    (3, 5)
    """
    check_estimator(estimator)
    rows = [(i, row) for i, row in enumerate(estimator._model.history, start=1) if MEAN_KEY in row]
    if not rows:
        raise ValueError(
            "the estimator has recorded no moments. Fit it with callbacks=[sksnn.callbacks.MomentRecorder()]."
        )
    epoch = np.array([i for i, _ in rows])
    mean, variance = (np.array([row[key] for _, row in rows]) for key in (MEAN_KEY, VARIANCE_KEY))
    return MomentHistory(epoch, mean, variance, FixedPoint.of(estimator._model.module.network))
