"""What happens to mean and variance inside a network: measured, judged and drawn."""

from typing import NamedTuple

import numpy as np
from torch import nn

from ._displays import LayerMomentsDisplay, MomentHistoryDisplay, MomentMapDisplay, TrainingCurveDisplay
from ._moments import (
    FixedPoint,
    LayerMoments,
    MomentHistory,
    NetworkMoments,
    layer_moments,
    moment_history,
    network_moments,
)
from .networks import AlphaDropout, Dropout
from .theory import THEOREM_2_DOMAIN, THEOREM_3_DOMAINS, alpha_dropout_affine, is_in_domain

__all__ = [
    "Finding",
    "FixedPoint",
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

# A layer whose variance over rows is a smaller share of its second moment tells rows apart no more.
LEAST_ROW_SHARE = 0.05
# Of the inputs' second moment, the largest share that may be due to columns' means (0 if standardised).
LARGEST_MEAN_SHARE = 0.25
# From Theorems 2 and 3, for tau up to 1.25 and from 0.8 on: no fixed point has a variance outside.
LEAST_VARIANCE, LARGEST_VARIANCE = THEOREM_3_DOMAINS[0]["variance"][1], THEOREM_2_DOMAIN["variance"][0]
LEAST_TAU, LARGEST_TAU = THEOREM_2_DOMAIN["tau"]
# Theorem 2 speaks of net inputs whose variance, nu tau, is at most 16 * 1.25 = 20. Weights of the least
# tau, 0.8, make that of a nu of 25; of a larger one no theorem says that it falls. Trained layers align
# with correlated columns: `check_self_normalization` says how far those of default networks go.
LARGEST_COVERED_VARIANCE = THEOREM_2_DOMAIN["variance"][1] * LARGEST_TAU / LEAST_TAU
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
            f"Healthy: {len(mean)} hidden layer{'s' * (len(mean) != 1)} with means from {mean.min():.2g} to "
            f"{mean.max():.2g} and variances from {variance.min():.2g} to {variance.max():.2g}."
        )
        if self.moments.fixed_point == FixedPoint() and not np.all(is_in_domain(mean, variance)):
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
        As in `layer_moments`; or if X has a single row, which differs from no other.

    Notes
    -----
    The fixed point has variance 1, and Theorem 1 holds for variances from 0.8 to 1.5. Training moves a
    network off both: weights align with correlated columns, and the last layers separate classes.
    Layers of default networks on scikit-learn's five small data sets, with five seeds, have variances
    from 0.6 to 16.3, and a tau from 0.56 to 1.05. So to have left Theorem 1's domain is no finding; a
    finding needs more:

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
    nothing where a normalization follows, so that only networks of SELUs are asked about it. An SNN
    for another fixed point has bounds in proportion to its variance or second moment, where these
    lead away from the inputs' 1, and the limits of tau of its own SELU.

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
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if n_rows < 2:
        raise ValueError(f"X must have at least 2 rows to compare; got {n_rows}. Give a few hundred.")
    network = estimator if isinstance(estimator, nn.Module) else estimator._model.module.network
    in_layers = list(_find_in_layers(estimator, moments)) or list(_find_in_weights(estimator, moments))
    in_dropout = _find_in_dropout(network, moments.fixed_point is not None)
    return Verdict((*_find_in_inputs(estimator, moments), *in_layers, *in_dropout), moments)


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
    depth, point = len(moments.layers), moments.fixed_point or FixedPoint()
    # Layers lead from the inputs' variance of 1 to the fixed point's: in between all is well.
    smaller, larger = min(1.0, point.variance + point.mean**2), max(1.0, point.variance)
    for i, layer in enumerate(moments.layers, start=1):
        variance, tau = layer.pooled_variance, float(layer.tau.mean())
        if not np.isfinite(variance):
            problem = f"Activations of hidden layer {i} of {depth} are not finite."
            yield Finding("not finite", i, problem, _remedy(estimator, tau))
            return
        second, share = _of_rows(layer)
        seen = f"hidden layer {i} of {depth} has mean {layer.pooled_mean:.2g}, variance {variance:.2g}"
        weights = f"weights with a tau of {tau:.2g}" + ("" if LEAST_TAU <= tau <= LARGEST_TAU else ", not 1")
        bound = LARGEST_VARIANCE if tau > LARGEST_TAU else LARGEST_COVERED_VARIANCE
        if variance > bound * larger:
            problem = f"Activations explode: {seen}, and {weights}."
            yield Finding("exploding", i, problem, _remedy(estimator, tau))
            return
        if second < LEAST_VARIANCE * smaller:
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
    if moments.fixed_point is None:
        return
    least, largest = moments.fixed_point.tau_limits
    taus = [float(layer.tau.mean()) for layer in moments.layers]
    worst = int(np.argmax(np.abs(np.log(np.maximum(taus, 1e-300)))))
    if least <= taus[worst] <= largest:
        return
    problem = (
        f"Weights are no longer normalised: those of hidden layer {worst + 1} of {len(taus)} have a tau of "
        f"{taus[worst]:.2g}, and moments tend to a fixed point only for a tau between "
        f"{least:.2f} and {largest:.2f}; variances of the layers run from "
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
        smaller = f"less weight_decay (now {estimator.weight_decay}), {smaller}"
    if estimator.architecture == "snn":  # which begins with a tau of 1: training has led away from it
        return f"Use {smaller}, max_grad_norm=1, or fewer layers."
    if isinstance(estimator.architecture, str):
        return f"Use architecture='snn', fewer layers, or {smaller}."
    return f"{lecun}, or use architecture='snn', fewer layers, or {smaller}."


def _alpha_dropouts(parts):
    """Yield the rate of each alpha dropout, and mean, variance and saturation where they are its own."""
    for part in parts:
        if isinstance(part, AlphaDropout):
            yield part.rate, (part.mean, part.variance, part.saturation)
        elif isinstance(part, nn.AlphaDropout | nn.FeatureAlphaDropout):
            yield part.p, ()


def _ordinary_dropouts(parts):
    """Yield the rate of each dropout that sets units to 0."""
    for part in parts:
        if isinstance(part, Dropout):
            yield part.rate
        elif isinstance(part, nn.modules.dropout._DropoutNd) and not list(_alpha_dropouts([part])):
            yield part.p


def _find_in_dropout(network, has_selu):
    """Yield what is wrong with dropout, whose rates evaluation does not show."""
    parts = list(network.modules())
    rate, constants = max(_alpha_dropouts(parts), default=(0.0, ()))
    rate = min(rate, 1 - 1e-9)
    if rate > LARGEST_RATE:
        kept = float((alpha_dropout_affine(rate, *constants)[0] * (1 - rate)) ** 2)
        problem = f"A dropout of {rate:.2g} leaves {kept:.0%} of a unit's variance, and the rest is noise"
        yield Finding("dropout", None, f"{problem}, at each layer anew.", "Use 0.05 or 0.1.")
    ordinary = max(_ordinary_dropouts(parts), default=0.0)
    if ordinary and has_selu:
        problem = f"Ordinary dropout of {ordinary:.2g} behind SELUs multiplies variances in training"
        factor = 1 / max(1 - ordinary, 1e-9)
        remedy = "Use sksnn.networks.AlphaDropout, with a rate of 0.05 or 0.1."
        yield Finding("dropout", None, f"{problem} by {factor:.3g}.", remedy)
