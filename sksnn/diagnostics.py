"""Measure, judge and plot mean and variance inside a network."""

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

# If the variance over rows is a smaller share of a layer's second moment, the layer hardly separates rows.
LEAST_ROW_SHARE = 0.05
# Largest share of the inputs' second moment that may come from the columns' means (0 if standardised).
LARGEST_MEAN_SHARE = 0.25
# From Theorems 2 and 3: for tau from 0.8 to 1.25 no fixed point has a variance outside these bounds.
LEAST_VARIANCE, LARGEST_VARIANCE = THEOREM_3_DOMAINS[0]["variance"][1], THEOREM_2_DOMAIN["variance"][0]
LEAST_TAU, LARGEST_TAU = THEOREM_2_DOMAIN["tau"]
# Theorem 2 covers net inputs whose variance, nu tau, is at most 16 * 1.25 = 20. With the least tau, 0.8, this
# is reached at nu = 25; for a larger nu no theorem says that the variance falls. The weights of trained
# layers align with correlated columns: `check_self_normalization` gives the variances of default networks.
LARGEST_COVERED_VARIANCE = THEOREM_2_DOMAIN["variance"][1] * LARGEST_TAU / LEAST_TAU
# Twice the largest rate that the paper found useful.
LARGEST_RATE = 0.2


class Finding(NamedTuple):
    """A problem, the layer that has it, and what to do.

    Parameters
    ----------
    kind : {"not finite", "inputs", "exploding", "vanishing", "collapsed", "weights", "dropout"}
        Kind of problem.
    layer : int or None
        First layer that has the problem, 0 for the inputs; None if it does not concern a single layer.
    problem, remedy : str
        One sentence each.

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
    """Result of `check_self_normalization`; print it for a few sentences of text.

    Parameters
    ----------
    findings : tuple of Finding
        The findings, the likeliest cause first; empty if there is no problem.
    moments : NetworkMoments
        The measurements from which the findings were derived.

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
        """Whether there are no findings."""
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
    """Check whether activations keep their mean and variance through the layers, and say what to do if not.

    Parameters
    ----------
    estimator : SNNClassifier, SNNRegressor or nn.Module
        A fitted estimator, of any architecture, or a module.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows, for example a few hundred of the training rows; a module gets them unchanged.

    Returns
    -------
    verdict : Verdict
        Can be printed. ``verdict.healthy`` is a bool, ``verdict.findings`` lists the problems.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        For the reasons that `layer_moments` names, and if X has a single row, since rows are compared.

    Notes
    -----
    The fixed point has variance 1, and Theorem 1 holds for variances from 0.8 to 1.5. Training moves a
    network away from both: weights align with correlated columns, and the last layers separate classes.
    Layers of default networks on scikit-learn's five small data sets, with five seeds, have variances
    from 0.64 to 14.4, and a tau from 0.50 to 1.34. So a layer outside Theorem 1's domain is not yet a
    finding. The findings are:

    ==============  =====================================================================
    "not finite"    an activation is NaN or infinite
    "inputs"        the second moment of the inputs is below 0.16 or above 3, or more than a
                    quarter of it comes from their means
    "exploding"     the variance is above 3 and tau above 1.25 on average, which is beyond all
                    fixed points of Theorem 2; or above 25, whatever the weights. At a variance
                    of 25 and the least tau of Theorem 2, 0.8, net inputs have the variance
                    20 = 16 * 1.25, the largest for which it says that the variance falls
    "vanishing"     the second moment is below 0.16, below all fixed points of Theorem 3
    "collapsed"     less than 1/20 of the second moment is variance over rows: all rows
                    have nearly the same activations
    "weights"       weights of SELUs have a tau below 0.4956 or above 2.6576 on average. For an
                    omega of 0, moments converge to a fixed point only between these limits, see
                    `sksnn.theory.fixed_point`. Outside, such layers make the variance vanish or
                    explode, unless correlations of the columns counteract it
    "dropout"       a rate is above 0.2, while the paper found 0.05 and 0.1 useful; or there is
                    ordinary dropout in a network of SELUs
    ==============  =====================================================================

    The bounds on variances and on tau come from the theory, which treats units as independent. For a
    trained network they are thresholds, not proofs. The other bounds are rules of thumb. If a
    normalization follows the weights, tau has no meaning, so it is checked in networks of SELUs only. For
    an SNN with another fixed point, the upper bounds are multiplied by its variance if that is above 1,
    and the lower bound by its second moment if that is below 1. The limits of tau are those of its SELU.

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
    """Return the second moment of a layer, and the share of it that is variance over rows."""
    second = np.mean(layer.variance + layer.mean**2)
    return second, np.mean(layer.variance) / second if second > 0 else 0.0


def _find_in_inputs(estimator, moments):
    """Yield a finding if the inputs are not standardised."""
    second, share = _of_rows(moments.inputs)
    # Net inputs have the same size as for centred inputs of variance `second`, but only this share of it
    # distinguishes rows.
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
        remedy = "These rows differ from those fitted on: give rows like the training rows, or fit again."
    else:
        remedy = "Set standardize=True."
    yield Finding("inputs", 0, problem, remedy)


def _find_in_layers(estimator, moments):
    """Yield a finding for the first layer that has one."""
    depth, point = len(moments.layers), moments.fixed_point or FixedPoint()
    # The variance goes from 1, that of the inputs, to that of the fixed point: values between are normal.
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
    """Yield a finding for the layer of SELUs with the most extreme tau, if it is outside the limits."""
    if moments.fixed_point is None:
        return
    least, largest = moments.fixed_point.tau_limits
    taus = [float(layer.tau.mean()) for layer in moments.layers]
    worst = int(np.argmax(np.abs(np.log(np.maximum(taus, 1e-300)))))
    if least <= taus[worst] <= largest:
        return
    problem = (
        f"Weights are no longer normalised: those of hidden layer {worst + 1} of {len(taus)} have a tau of "
        f"{taus[worst]:.2g}, and moments converge to a fixed point only for a tau between "
        f"{least:.2f} and {largest:.2f}; variances of the layers run from "
        f"{moments.variance[1:].min():.2g} to {moments.variance[1:].max():.2g}."
    )
    yield Finding("weights", worst + 1, problem, _remedy(estimator, taus[worst]))


def _remedy(estimator, tau):
    """Say what to do about a layer whose weights have this tau."""
    lecun = "Initialise with sksnn.networks.lecun_normal_ (tau = 1) and use SELU"
    if isinstance(estimator, nn.Module):
        return f"{lecun}; if it was trained, use a smaller lr; or use fewer layers."
    smaller = f"a smaller lr (now {estimator.lr:g})"
    if tau < LEAST_TAU and estimator.weight_decay:
        smaller = f"less weight_decay (now {estimator.weight_decay}), {smaller}"
    if estimator.architecture == "snn":  # tau was 1 at first: training changed it
        return f"Use {smaller}, max_grad_norm=1, or fewer layers."
    if isinstance(estimator.architecture, str):
        return f"Use architecture='snn', fewer layers, or {smaller}."
    return f"{lecun}, or use architecture='snn', fewer layers, or {smaller}."


def _alpha_dropouts(parts):
    """Yield the rate of each alpha dropout, and mean, variance and saturation of those of this package."""
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
    """Yield findings about dropout, which has no effect on activations in evaluation mode."""
    parts = list(network.modules())
    rate, constants = max(_alpha_dropouts(parts), default=(0.0, ()))
    rate = min(rate, 1 - 1e-9)
    if rate > LARGEST_RATE:
        kept = float((alpha_dropout_affine(rate, *constants)[0] * (1 - rate)) ** 2)
        problem = f"A dropout of {rate:.2g} leaves {kept:.0%} of a unit's variance, and the rest is noise"
        yield Finding("dropout", None, f"{problem}, again at each layer.", "Use 0.05 or 0.1.")
    ordinary = max(_ordinary_dropouts(parts), default=0.0)
    if ordinary and has_selu:
        problem = f"Ordinary dropout of {ordinary:.2g} behind SELUs multiplies variances in training"
        factor = 1 / max(1 - ordinary, 1e-9)
        remedy = "Use sksnn.networks.AlphaDropout, with a rate of 0.05 or 0.1."
        yield Finding("dropout", None, f"{problem} by {factor:.3g}.", remedy)
