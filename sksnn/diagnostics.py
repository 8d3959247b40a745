"""What happens to mean and variance inside a network: measured, judged and drawn.

Layer 0 are the inputs of the network, encoded; layer l are the activations behind its l-th hidden
nonlinearity, as the next linear or convolutional layer reads them.
"""

from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.overrides import TorchFunctionMode

from ._validation import check_inputs
from .encodings import chunk_slices
from .networks import SNN, AlphaDropout
from .theory import (
    ALPHA_01,
    LAMBDA_01,
    THEOREM_1_DOMAIN,
    THEOREM_2_DOMAIN,
    THEOREM_3_DOMAINS,
    alpha_dropout_affine,
    fixed_point,
    is_in_domain,
    moment_map,
    weight_moments,
)

__all__ = [
    "Finding",
    "LayerMoments",
    "LayerMomentsDisplay",
    "MomentHistory",
    "MomentHistoryDisplay",
    "MomentMapDisplay",
    "NetworkMoments",
    "TrainingCurveDisplay",
    "Verdict",
    "check_self_normalization",
    "layer_moments",
    "moment_history",
    "network_moments",
]

# ---------------------------------------------------------------- moments


class LayerMoments(NamedTuple):
    """Moments of the units of a layer over rows, and of the weights that lead to them.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_units,)
        Of each unit's activation over the rows; of each channel's, over positions too.
    omega, tau : ndarray of shape (n_units,)
        Sum of each unit's weights and of their squares. Empty for the inputs; behind a pooling or
        flattening layer as many as that layer's channels.
    share_outside : float
        Share of the units for which Theorem 1 says nothing: their omega or tau, or mean or variance of
        the layer below, lie outside its domain. NaN for the inputs.

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
        Of what the network sees.
    layers : tuple of LayerMoments
        One a hidden layer.

    Examples
    --------
    >>> moments = layer_moments(nn.Sequential(nn.Linear(1, 4), nn.SELU(), nn.Linear(4, 1)), [[-1.0], [1.0]])
    >>> moments.mean.shape, float(moments.variance[0])
    ((2,), 1.0)
    """

    inputs: LayerMoments
    layers: tuple

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
    """See what every linear and convolutional layer reads, without touching the network.

    Tensors that several layers read (gates, shortcuts) count once. Weights are those that the layer
    multiplies by, also where they are computed from other parameters.
    """

    def __init__(self):
        super().__init__()
        self.sums, self.weights = [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in LINEAR or func in CONVOLUTIONS:
            named = dict(zip(("input", "weight"), args, strict=False)) | kwargs
            self._see(named["input"].detach(), named["weight"].detach(), func in CONVOLUTIONS)
        return func(*args, **kwargs)

    @contextmanager
    def one_pass(self):
        """Watch one forward pass over one chunk of rows."""
        self.seen, self.kept = [], []
        with self:
            yield

    def _see(self, x, weight, convolution):
        key = (x.data_ptr(), x.shape, x.stride(), x._version)
        if key not in self.seen:
            self.seen.append(key)
            self.kept.append(x)  # so that its memory is not given to another one
            if len(self.seen) > len(self.sums):
                self.sums.append(_Sums())
                self.weights.append([])
            x = x.cpu() if x.device.type == "mps" else x  # which has no float64
            x = x.movedim(-weight.ndim + 1, -1) if convolution else x
            self.sums[len(self.seen) - 1].add(x.reshape(-1, x.shape[-1]).double())
        layer = self.weights[self.seen.index(key)]
        if not any(weight.data_ptr() == other.data_ptr() for other in layer):
            layer.append(weight)

    def moments(self):
        """Return a `LayerMoments` for the inputs and for each hidden layer."""
        below, found = None, []
        for i, sums in enumerate(self.sums):
            mean, variance = sums.mean.cpu().numpy(), (sums.squares / sums.n).cpu().numpy()
            omega, tau, outside = np.empty(0), np.empty(0), np.nan
            if below is not None:
                # Of the layers that read the same, gates come behind the one that they gate.
                weights = self.weights[i - 1]
                weight = next((w for w in weights if len(w) == len(mean)), weights[0])
                omega, tau = weight_moments(weight.cpu().double().numpy())
                inside = is_in_domain(below.pooled_mean, below.pooled_variance, omega, tau)
                outside = float(1 - inside.mean())
            below = LayerMoments(mean, variance, omega, tau, outside)
            found.append(below)
        return NetworkMoments(found[0], tuple(found[1:]))


@contextmanager
def _evaluating(module, device):
    """Put a module into evaluation mode, without gradients; leave modes and random states as they were."""
    modes = [(part, part.training) for part in module.modules()]
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            module.eval()
            yield
    finally:
        for part, training in modes:
            part.training = training


# Numbers of the inputs in a chunk: activations of a layer ten times as wide stay within 100 MB.
CHUNK_ELEMENTS = 2**20


def network_moments(network, inputs):
    """Measure the moments of the layers of a module.

    Parameters
    ----------
    network : nn.Module
        Anything made of linear and convolutional layers.
    inputs : Tensor, or what slices like one
        On the module's device and, but for integers, in its dtype.

    Returns
    -------
    moments : NetworkMoments

    Raises
    ------
    ValueError
        If there is no row, or no hidden layer.

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
            rows = inputs[s]
            with watch.one_pass():
                network(rows)
    if len(watch.sums) < 2:
        raise ValueError(
            f"the network must have a hidden layer; got {type(network).__name__}, in which no linear "
            "or convolutional layer reads what another one made. Only layers that call "
            "torch.nn.functional.linear or conv1d, conv2d, conv3d are seen."
        )
    return watch.moments()


def layer_moments(estimator, X):
    """Measure mean and variance of each unit, and omega and tau of its weights, layer by layer.

    Parameters
    ----------
    estimator : SNNClassifier, SNNRegressor or nn.Module
        A fitted estimator, of any architecture, or a module.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows, which an estimator encodes; a module gets them as they are.

    Returns
    -------
    moments : NetworkMoments
        ``moments.layers[i].variance`` is an array of the units of a hidden layer,
        ``moments.variance`` one number a layer, the inputs first.

    Raises
    ------
    TypeError
        If it is neither of the two.
    ValueError
        If there is no hidden layer, or X cannot be used.
    NotFittedError
        If the estimator is not fitted.

    Notes
    -----
    In evaluation mode, without dropout, in the precision of the weights, with sums in float64. The
    estimator stays as it is: mode, random states and all.

    A layer is seen where the next linear or convolutional layer reads it; so the activations of a
    residual or highway block are those behind its sum.

    Weights drawn independently have an omega of deviation 1, so that most units lie outside
    Theorem 1's domain, which wants it below 0.1. That is no alarm: with a mean near 0 omega
    matters little (`sksnn.theory.moment_map`), and the theorem does not say what happens outside.

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
        return network_moments(estimator, _module_inputs(estimator, X))
    _check_estimator(estimator)
    inputs = estimator.net_.get_dataset(check_inputs(estimator, X, reset=False)).inputs
    return network_moments(estimator.net_.module_.network, inputs)


def _check_estimator(estimator):
    """Refuse what is no fitted estimator of ours."""
    if not hasattr(estimator, "_make_blueprint"):
        raise TypeError(
            "estimator must be an SNNClassifier, an SNNRegressor or, where a network is enough, a "
            f"torch.nn.Module; got {type(estimator).__name__}. Of a pipeline or a search, give the step "
            "or best_estimator_."
        )
    check_is_fitted(estimator)


def _module_inputs(module, X):
    """Put X where a module wants it; integers, which may be indices, and float64 for an encoder stay."""
    X = X if torch.is_tensor(X) else torch.as_tensor(np.asarray(X))
    weight = next(module.parameters(), None)
    if weight is None:
        return X
    return X.to(weight.device, weight.dtype) if X.is_floating_point() else X.to(weight.device)


# ---------------------------------------------------------------- verdict

# A layer whose variance over rows is a smaller share of its second moment tells rows apart no more.
LEAST_ROW_SHARE = 0.05
# Of the inputs' second moment, the largest share that may be due to columns' means (0 if standardised).
LARGEST_MEAN_SHARE = 0.25
# From Theorems 2 and 3, for tau up to 1.25 and from 0.8 on: no fixed point has a variance outside.
LEAST_VARIANCE, LARGEST_VARIANCE = THEOREM_3_DOMAINS[0]["variance"][1], THEOREM_2_DOMAIN["variance"][0]
LEAST_TAU, LARGEST_TAU = THEOREM_2_DOMAIN["tau"]
# Theorem 2 speaks of net inputs whose variance, nu tau, is at most 16 * 1.25 = 20. Weights of the least
# tau, 0.8, make that of a nu of 25; of a larger one no theorem says that it falls. Trained layers align
# with correlated columns: those of default networks have variances up to 20, with a tau near 1.
LARGEST_COVERED_VARIANCE = THEOREM_2_DOMAIN["variance"][1] * LARGEST_TAU / LEAST_TAU
# With an omega of 0, moments tend to a fixed point where the map's slope is above 1 for small variances
# and below 1 for large ones: for tau from 0.4956 to 2.6576.
LEAST_SETTLING_TAU, LARGEST_SETTLING_TAU = (
    float(variance / moment_map(0.0, variance)[1]) for variance in (1e-30, 1e30)
)
# Twice the largest rate that the paper found useful.
LARGEST_RATE = 0.2


class Finding(NamedTuple):
    """Something wrong, where, and what to do.

    Parameters
    ----------
    kind : {"not finite", "inputs", "exploding", "vanishing", "collapsed", "weights", "dropout"}
        What is wrong.
    layer : int or None
        First layer that shows it, 0 for the inputs; None if it is no single one.
    problem, remedy : str
        A sentence each.

    Examples
    --------
    >>> print(Finding("inputs", 0, "The inputs have mean 5.", "Standardise them."))
    The inputs have mean 5. Standardise them.
    """

    kind: str
    layer: int | None
    problem: str
    remedy: str

    def __str__(self):
        return f"{self.problem} {self.remedy}"


class Verdict(NamedTuple):
    """What `check_self_normalization` found; printed, a few plain sentences.

    Parameters
    ----------
    findings : tuple of Finding
        The likeliest cause first; empty if all is well.
    moments : NetworkMoments
        What the findings rest on.

    Examples
    --------
    >>> inputs = LayerMoments(np.zeros(3), np.ones(3), np.empty(0), np.empty(0), np.nan)
    >>> Verdict((), NetworkMoments(inputs, (inputs,))).healthy
    True
    """

    findings: tuple
    moments: NetworkMoments

    @property
    def healthy(self):
        """Whether nothing is wrong."""
        return not self.findings

    def __str__(self):
        if self.findings:
            return "\n".join(["Not self-normalizing.", *(f"- {finding}" for finding in self.findings)])
        mean, variance = self.moments.mean[1:], self.moments.variance[1:]
        text = (
            f"Healthy: {len(mean)} hidden layers with means from {mean.min():.2g} to {mean.max():.2g} and "
            f"variances from {variance.min():.2g} to {variance.max():.2g}."
        )
        if not np.all(is_in_domain(mean, variance)):
            text += (
                " They have left Theorem 1's domain, as trained layers do, but neither explode nor vanish."
            )
        return text


def check_self_normalization(estimator, X):
    """Judge whether activations keep their mean and variance through the layers, and say what to do if not.

    Parameters
    ----------
    estimator : SNNClassifier, SNNRegressor or nn.Module
        A fitted estimator, of any architecture, or a module.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows, a few hundred of those trained on, say; a module gets them as they are.

    Returns
    -------
    verdict : Verdict
        Print it. ``verdict.healthy`` is a bool, ``verdict.findings`` holds what is wrong.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As in `layer_moments`.

    Notes
    -----
    The fixed point has variance 1, and Theorem 1 holds for variances from 0.8 to 1.5. Training moves a
    network off both: weights align with correlated columns, and the last layers separate classes.
    Layers of default networks that predict well have variances from 0.8 to 20, and a tau from 0.6 to
    1.2. So to have left Theorem 1's domain is no finding; a finding needs more:

    ==============  =====================================================================
    "not finite"    an activation is NaN or infinite
    "inputs"        second moment of the inputs below 0.16 or above 3, or more than a quarter
                    of it from their means
    "exploding"     variance above 3 where tau is above 1.25 on average: beyond all fixed
                    points of Theorem 2; or above 25, whatever the weights: with the least tau
                    of Theorem 2, 0.8, net inputs then have a variance above 20 = 16 * 1.25,
                    the largest of which it says that the variance falls
    "vanishing"     second moment below 0.16, below all fixed points of Theorem 3
    "collapsed"     less than 1/20 of the second moment is variance over rows: all rows
                    look alike
    "weights"       SELUs whose weights have a tau below 0.4956 or above 2.6576 on average: for
                    an omega of 0, moments tend to a fixed point only in between, see
                    `sksnn.theory.fixed_point`; outside, such layers have the variance vanish
                    or explode, if the columns' correlations do not stand against it
    "dropout"       rates above 0.2, of which the paper found 0.05 and 0.1 useful; or ordinary
                    dropout in a network of SELUs
    ==============  =====================================================================

    The bounds on variances and on tau come from the theory, which counts units as independent: for a
    trained network they are where to draw a line, no proof. The others are rules of thumb. tau says
    nothing where a normalization follows, so that only networks of SELUs are asked about it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> check_self_normalization(model, X).healthy
    True
    >>> model.set_params(standardize=False).fit(X, y)
    SNNClassifier(max_epochs=5, random_state=0, standardize=False)
    >>> check_self_normalization(model, X).findings[0].remedy
    'Set standardize=True.'
    """
    moments = layer_moments(estimator, X)
    in_layers = list(_find_in_layers(estimator, moments)) or list(_find_in_weights(estimator, moments))
    found = [*_find_in_inputs(estimator, moments), *in_layers, *_find_in_dropout(_network_of(estimator))]
    return Verdict(tuple(found), moments)


def _network_of(estimator):
    return estimator if isinstance(estimator, nn.Module) else estimator.net_.module_.network


def _of_rows(layer):
    """Return the second moment of a layer, and the share of it that is variance over the rows."""
    second = np.mean(layer.variance + layer.mean**2)
    return second, np.mean(layer.variance) / second if second > 0 else 0.0


def _find_in_inputs(estimator, moments):
    """Yield what is wrong with the inputs."""
    second, share = _of_rows(moments.inputs)
    # As wide a net input as one of variance `second`, of which only this share tells rows apart.
    if LEAST_VARIANCE <= second <= LARGEST_VARIANCE and share >= 1 - LARGEST_MEAN_SHARE:
        return
    columns = moments.inputs
    problem = (
        f"The inputs are not standardised: their columns have means from {columns.mean.min():.3g} to "
        f"{columns.mean.max():.3g} and variances from {columns.variance.min():.3g} to "
        f"{columns.variance.max():.3g}; 0 and 1 are expected."
    )
    if isinstance(estimator, nn.Module):
        remedy = "Subtract the columns' means and divide by their standard deviations."
    elif estimator.standardize:
        remedy = "These rows differ from those fitted on: give rows like the training rows, or fit anew."
    else:
        remedy = "Set standardize=True."
    yield Finding("inputs", 0, problem, remedy)


def _find_in_layers(estimator, moments):
    """Yield the first layer's ailment that there is."""
    depth = len(moments.layers)
    for i, layer in enumerate(moments.layers, start=1):
        variance, tau = layer.pooled_variance, float(layer.tau.mean())
        if not np.isfinite(variance):
            problem = f"Activations of hidden layer {i} of {depth} are not finite."
            yield Finding("not finite", i, problem, _remedy(estimator, tau))
            return
        second, share = _of_rows(layer)
        seen = f"hidden layer {i} of {depth} has mean {layer.pooled_mean:.2g}, variance {variance:.2g}"
        weights = f"weights with a tau of {tau:.2g}" + ("" if LEAST_TAU <= tau <= LARGEST_TAU else ", not 1")
        if variance > LARGEST_COVERED_VARIANCE or (variance > LARGEST_VARIANCE and tau > LARGEST_TAU):
            problem = f"Activations explode: {seen}, and {weights}."
            yield Finding("exploding", i, problem, _remedy(estimator, tau))
            return
        if second < LEAST_VARIANCE:
            problem = f"Activations vanish: {seen}, and {weights}."
            yield Finding("vanishing", i, problem, _remedy(estimator, tau))
            return
        if share < LEAST_ROW_SHARE:
            problem = (
                f"Rows look alike: {seen}, of which {share * second:.2g} is between rows, and {weights}."
            )
            yield Finding("collapsed", i, problem, _remedy(estimator, tau))
            return


def _find_in_weights(estimator, moments):
    """Yield the layer of SELUs whose weights are farthest from leading moments to a fixed point."""
    if not any(isinstance(part, SNN | nn.SELU) for part in _network_of(estimator).modules()):
        return
    taus = [float(layer.tau.mean()) for layer in moments.layers]
    worst = int(np.argmax(np.abs(np.log(np.maximum(taus, 1e-300)))))
    if LEAST_SETTLING_TAU <= taus[worst] <= LARGEST_SETTLING_TAU:
        return
    problem = (
        f"Weights are no longer normalised: those of hidden layer {worst + 1} of {len(taus)} have a tau of "
        f"{taus[worst]:.2g}, and moments tend to a fixed point only for a tau between "
        f"{LEAST_SETTLING_TAU:.2f} and {LARGEST_SETTLING_TAU:.2f}; variances of the layers run from "
        f"{moments.variance[1:].min():.2g} to {moments.variance[1:].max():.2g}."
    )
    yield Finding("weights", worst + 1, problem, _remedy(estimator, taus[worst]))


def _remedy(estimator, tau):
    """Say what to do about weights of such a tau."""
    lecun = "Initialise with sksnn.networks.lecun_normal_ (tau = 1) and use SELU"
    if isinstance(estimator, nn.Module):
        return f"{lecun}; with training behind it, use a smaller lr; or use fewer layers."
    smaller = f"a smaller lr (now {estimator.lr:g})"
    if tau < LEAST_TAU and estimator.weight_decay:
        smaller = f"less weight_decay (now {estimator.weight_decay:g}), {smaller}"
    if estimator.architecture == "snn":  # which begins with a tau of 1: training has led away from it
        return f"Use {smaller}, max_grad_norm=1, or fewer layers."
    if isinstance(estimator.architecture, str):
        return f"Use architecture='snn', fewer layers, or {smaller}."
    return f"{lecun}, or use architecture='snn', fewer layers, or {smaller}."


def _find_in_dropout(network):
    """Yield what is wrong with dropout, whose rates evaluation does not show."""
    parts = list(network.modules())
    alpha = [m.rate for m in parts if isinstance(m, AlphaDropout)]
    alpha += [m.p for m in parts if isinstance(m, nn.AlphaDropout)]
    rate = min(max(alpha, default=0.0), 1 - 1e-9)
    if rate > LARGEST_RATE:
        kept = float((alpha_dropout_affine(rate)[0] * (1 - rate)) ** 2)
        problem = f"A dropout of {rate:.2g} leaves {kept:.0%} of a unit's variance, and the rest is noise"
        yield Finding("dropout", None, f"{problem}, at each layer anew.", "Use 0.05 or 0.1.")
    ordinary = max((m.p for m in parts if isinstance(m, nn.Dropout)), default=0.0)
    if ordinary and any(isinstance(m, nn.SELU) for m in parts):
        problem = f"Ordinary dropout of {ordinary:.2g} behind SELUs multiplies variances in training"
        factor = 1 / max(1 - ordinary, 1e-9)
        remedy = "Use sksnn.networks.AlphaDropout, with a rate of 0.05 or 0.1."
        yield Finding("dropout", None, f"{problem} by {factor:.3g}.", remedy)


# ---------------------------------------------------------------- recorded while training


class MomentHistory(NamedTuple):
    """Pooled moments of each layer after each epoch.

    Parameters
    ----------
    epoch : ndarray of shape (n_epochs,)
        Epochs, counted from 1, that were recorded.
    mean, variance : ndarray of shape (n_epochs, n_layers + 1)
        Over rows and units; the inputs first.

    Examples
    --------
    >>> MomentHistory(np.array([1]), np.zeros((1, 3)), np.ones((1, 3))).variance.shape
    (1, 3)
    """

    epoch: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


#: Keys of the history's rows that `sksnn.callbacks.MomentRecorder` writes.
MEAN_KEY, VARIANCE_KEY = "layer_means", "layer_variances"


def moment_history(estimator):
    """Read what a `sksnn.callbacks.MomentRecorder` recorded.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        Fitted with ``callbacks=[MomentRecorder()]``; pickled and loaded since, perhaps.

    Returns
    -------
    history : MomentHistory

    Raises
    ------
    TypeError
        If it is no estimator of this package.
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
    _check_estimator(estimator)
    rows = [(i, row) for i, row in enumerate(estimator.net_.history, start=1) if MEAN_KEY in row]
    if not rows:
        raise ValueError(
            "the estimator has recorded no moments. Fit it with callbacks=[sksnn.callbacks.MomentRecorder()]."
        )
    epoch = np.array([i for i, _ in rows])
    mean, variance = (np.array([row[key] for _, row in rows]) for key in (MEAN_KEY, VARIANCE_KEY))
    return MomentHistory(epoch, mean, variance)


# ---------------------------------------------------------------- displays


def _axes(ax, n=1, **subplots):
    """Return a figure and n axes: new ones, or those given."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plotting needs matplotlib, which is not installed. Install it with pip install 'sksnn[plot]'."
        ) from error
    if ax is None:
        figure, axes = plt.subplots(n, 1, sharex=True, layout="constrained", **subplots)
        return figure, np.ravel(axes)
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise ValueError(
            f"ax must be {n} axes, one above the other; got {len(axes)}. Make them with subplots({n})."
        )
    return axes[0].figure, axes


DOMAIN_STYLE: dict[str, Any] = {"color": "tab:green", "alpha": 0.15, "linewidth": 0}
POINT_STYLE: dict[str, Any] = {"color": "tab:green", "linestyle": "--", "linewidth": 1}


def _mark_fixed_point(axes):
    """Draw Theorem 1's domain and the fixed point (0, 1) behind means and variances."""
    for axis, name, value in zip(axes, ("mean", "variance"), (0.0, 1.0), strict=True):
        axis.axhspan(*THEOREM_1_DOMAIN[name], label="domain of Theorem 1", **DOMAIN_STYLE)
        axis.axhline(value, label=f"fixed point: {value:g}", **POINT_STYLE)
    axes[1].set_yscale("log")


def _count(axis):
    """Put ticks at whole numbers, unless their places are chosen already."""
    from matplotlib.ticker import MaxNLocator

    locator = axis.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def _legend_above(axis):
    handles, labels = axis.get_legend_handles_labels()
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False, "fontsize": "small"}
    axis.legend(handles, labels, ncols=4, **place)


class LayerMomentsDisplay:
    """Mean and variance of the units, layer by layer, against the fixed point (0, 1).

    A band holds the units between two quantiles, a line with dots the layer as a whole.

    Parameters
    ----------
    moments : NetworkMoments
        What `layer_moments` returns.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of 2 matplotlib Axes
        Means above, variances below, on a logarithmic scale.
    lines_ : list of 2 matplotlib Line2D
        The layers' moments.
    bands_ : list of 2 matplotlib PolyCollection
        Units from the 5th to the 95th percentile.

    Examples
    --------
    >>> from sksnn.networks import SNN
    >>> X = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    >>> display = LayerMomentsDisplay.from_estimator(SNN(20, 2, (64,) * 8), X)
    >>> display.lines_[1].get_ydata().shape
    (9,)
    """

    def __init__(self, moments):
        self.moments = moments

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None, **kwargs):
        """Measure and draw.

        Parameters
        ----------
        estimator : SNNClassifier, SNNRegressor or nn.Module
        X : array-like or sparse matrix of shape (n_rows, n_features)
            As in `layer_moments`.
        ax : sequence of 2 matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : LayerMomentsDisplay
        """
        return cls(layer_moments(estimator, X)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : sequence of 2 matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : LayerMomentsDisplay
        """
        self.figure_, self.axes_ = _axes(ax, 2, figsize=(7, 5))
        _mark_fixed_point(self.axes_)
        layers = (self.moments.inputs, *self.moments.layers)
        style = {"color": "tab:blue", "marker": "o", "markersize": 4, "label": "layer"} | kwargs
        self.lines_, self.bands_ = [], []
        pooled = (self.moments.mean, self.moments.variance)
        for axis, name, values in zip(self.axes_, ("mean", "variance"), pooled, strict=True):
            low, high = np.transpose([np.quantile(getattr(layer, name), [0.05, 0.95]) for layer in layers])
            band = {"alpha": 0.25, "color": style["color"], "linewidth": 0, "label": "90% of its units"}
            self.bands_.append(axis.fill_between(range(len(layers)), low, high, **band))
            self.lines_ += axis.plot(range(len(layers)), values, **style)
            axis.set_ylabel(name)
        self.axes_[1].set_xlabel("layer (0: inputs)")
        _count(self.axes_[1])
        _legend_above(self.axes_[0])
        return self


class MomentHistoryDisplay:
    """Mean and variance of each layer during training, from inputs (dark) to the last layer (light).

    Parameters
    ----------
    history : MomentHistory
        What `moment_history` returns.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of 2 matplotlib Axes
        Means above, variances below, on a logarithmic scale.
    lines_ : list of lists of matplotlib Line2D
        For means and variances, one line a layer.

    Examples
    --------
    >>> history = MomentHistory(np.arange(1, 6), np.zeros((5, 3)), np.ones((5, 3)))
    >>> len(MomentHistoryDisplay(history).plot().lines_[0])
    3
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Read what a `sksnn.callbacks.MomentRecorder` recorded, and draw it.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
            Fitted with that callback.
        ax : sequence of 2 matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : MomentHistoryDisplay
        """
        return cls(moment_history(estimator)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : sequence of 2 matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : MomentHistoryDisplay
        """
        self.figure_, self.axes_ = _axes(ax, 2, figsize=(7, 5))
        from matplotlib import colormaps

        _mark_fixed_point(self.axes_)
        n_layers = self.history.mean.shape[1]
        colors = colormaps["viridis"](np.linspace(0, 0.95, n_layers))
        self.lines_ = []
        for axis, name in zip(self.axes_, ("mean", "variance"), strict=True):
            lines = []
            for layer, values in enumerate(getattr(self.history, name).T):
                label = "inputs" if layer == 0 else f"layer {layer}" if layer == n_layers - 1 else None
                lines += axis.plot(
                    self.history.epoch, values, **{"color": colors[layer], "label": label} | kwargs
                )
            self.lines_.append(lines)
            axis.set_ylabel(name)
        self.axes_[1].set_xlabel("epoch")
        _legend_above(self.axes_[0])
        return self


class MomentMapDisplay:
    r"""The flow of mean and variance under g, from layer to layer: figure 2 of the paper.

    Parameters
    ----------
    omega, tau : float, default=0.0 and 1.0
        Sum of a unit's weights and of their squares.
    alpha, scale : float, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.
    path : array-like of shape (n_layers + 1, 2), default=None
        Means and variances of the layers of a network, to be drawn over the flow.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    quiver_ : matplotlib Quiver
        Arrows from :math:`(\mu, \nu)` towards :math:`g(\mu, \nu)`, of a length that shows the direction
        only; the color is the length of the step.
    domain_ : matplotlib Rectangle
        Theorem 1's domain.
    point_ : matplotlib Line2D or None
        The fixed point, if moments tend to one.
    path_ : matplotlib Line2D or None
        The network's layers.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, figure 2.

    Examples
    --------
    >>> display = MomentMapDisplay().plot()
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('mean', 'variance')
    """

    def __init__(self, omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01, path=None):
        self.omega = omega
        self.tau = tau
        self.alpha = alpha
        self.scale = scale
        self.path = path

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None, **kwargs):
        """Draw the way of a network's layers over the flow of weights with omega 0 and tau 1.

        Parameters
        ----------
        estimator : SNNClassifier, SNNRegressor or nn.Module
        X : array-like or sparse matrix of shape (n_rows, n_features)
            As in `layer_moments`.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the arrows.

        Returns
        -------
        display : MomentMapDisplay
        """
        moments = layer_moments(estimator, X)
        return cls(path=np.column_stack([moments.mean, moments.variance])).plot(ax, **kwargs)

    def _grid(self):
        """Span the means and variances to draw: Theorem 1's domain with room, and the path."""
        mean, variance = np.array([-0.15, 0.15]), np.array([0.5, 1.8])
        if self.path is not None:
            path = np.asarray(self.path, float)
            path = path[np.isfinite(path).all(axis=1)]
            margin = 0.05 * np.ptp(path, axis=0) if len(path) else np.zeros(2)
            for span, values, room in zip((mean, variance), path.T, margin, strict=True):
                span[:] = min([span[0], *(values - room)]), max([span[1], *(values + room)])
        variance[0] = max(variance[0], min(0.05, variance[1] / 50))  # of 0 comes 0
        return np.meshgrid(np.linspace(mean[0], mean[1], 21), np.linspace(variance[0], variance[1], 19))

    def plot(self, ax=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs : dict
            For the arrows.

        Returns
        -------
        display : MomentMapDisplay
        """
        self.figure_, (self.ax_,) = _axes(ax, figsize=(6.5, 5))
        from matplotlib.patches import Rectangle

        constants = {"omega": self.omega, "tau": self.tau, "alpha": self.alpha, "scale": self.scale}
        mean, variance = self._grid()
        new_mean, new_variance = moment_map(mean, variance, **constants)
        # Directions as they look: in units of the axes' spans.
        u, v = (new_mean - mean) / np.ptp(mean), (new_variance - variance) / np.ptp(variance)
        length = np.maximum(np.hypot(u, v), 1e-12)
        step = np.hypot(new_mean - mean, new_variance - variance)
        style = {"angles": "uv", "pivot": "mid", "cmap": "viridis", "scale": 28, "width": 0.0035} | kwargs
        self.quiver_ = self.ax_.quiver(mean, variance, u / length, v / length, step, **style)
        self.figure_.colorbar(self.quiver_, ax=self.ax_, label="length of the step to the next layer")
        (left, right), (low, high) = THEOREM_1_DOMAIN["mean"], THEOREM_1_DOMAIN["variance"]
        domain = Rectangle((left, low), right - left, high - low, label="domain of Theorem 1", **DOMAIN_STYLE)
        self.domain_ = self.ax_.add_patch(domain)
        self.point_ = self.path_ = None
        try:
            point = fixed_point(**constants)
        except ValueError:  # moments tend to none: they vanish or explode
            pass
        else:
            style = {"marker": "*", "markersize": 14, "linestyle": "", "color": "tab:red", "zorder": 4}
            (self.point_,) = self.ax_.plot(*np.reshape(point, (2, 1)), label="fixed point", **style)
        if self.path is not None:
            style = {"marker": "o", "markersize": 4, "color": "black", "label": "layers (square: inputs)"}
            (self.path_,) = self.ax_.plot(*np.transpose(self.path), **style)
            self.ax_.plot(*np.transpose(self.path[:1]), marker="s", color="black")
        self.ax_.set(xlabel="mean", ylabel="variance")
        _legend_above(self.ax_)
        return self


class TrainingCurveDisplay:
    """Loss on training and validation rows, epoch by epoch, and the epoch whose weights are kept.

    Parameters
    ----------
    train_loss : array-like of shape (n_epochs,)
        Dropout and all.
    validation_loss : array-like of shape (n_epochs,), default=None
        None if no rows were held back.
    best_epoch : int, default=None
        Counted from 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib Line2D
        Training and, if there is one, validation loss.
    best_ : matplotlib Line2D or None
        The best epoch, if there is a validation loss.

    Examples
    --------
    >>> display = TrainingCurveDisplay([0.9, 0.5, 0.3], [0.9, 0.6, 0.7], best_epoch=2).plot()
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(self, train_loss, validation_loss=None, best_epoch=None):
        self.train_loss = train_loss
        self.validation_loss = validation_loss
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, log_scale=True, **kwargs):
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
        ax : matplotlib Axes, default=None
            None makes a figure.
        log_scale : bool, default=True
            Whether losses have a logarithmic scale, if all are positive.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        _check_estimator(estimator)
        display = cls(estimator.loss_curve_, estimator.validation_loss_curve_, estimator.best_epoch_)
        return display.plot(ax, log_scale=log_scale, **kwargs)

    def plot(self, ax=None, *, log_scale=True, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        log_scale : bool, default=True
            Whether losses have a logarithmic scale, if all are positive.
        **kwargs : dict
            For the lines.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        self.figure_, (self.ax_,) = _axes(ax, figsize=(6.5, 4))
        curves = {"training": self.train_loss, "validation": self.validation_loss}
        curves = {name: np.asarray(values) for name, values in curves.items() if values is not None}
        n_epochs = len(curves["training"])
        self.lines_, self.best_ = [], None
        for name, values in curves.items():
            # Rows may be held back from some epoch on only (warm_start): curves end together.
            epochs = np.arange(n_epochs - len(values), n_epochs) + 1
            style = {"marker": "." if n_epochs < 30 else "", "label": name} | kwargs
            self.lines_ += self.ax_.plot(epochs, values, **style)
        if self.best_epoch is not None and "validation" in curves:
            style = {"color": "gray", "linestyle": ":", "label": f"best epoch: {self.best_epoch}"}
            self.best_ = self.ax_.axvline(self.best_epoch, **style)
        if log_scale and all((values > 0).all() for values in curves.values()):
            self.ax_.set_yscale("log")
        _count(self.ax_)
        self.ax_.set(xlabel="epoch", ylabel="loss")
        self.ax_.legend(fontsize="small")
        return self
