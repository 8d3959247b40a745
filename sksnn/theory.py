r"""The mathematics of self-normalization, as functions of numbers and arrays.

Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", 2017,
arXiv:1706.02515. Symbols and the numbers of equations and theorems are the paper's:

==============================  =========================================================
mean, variance                  :math:`\mu, \nu`, of the units of a layer
omega, tau                      :math:`\omega, \tau`, the sum of the weights of a unit and
                                of their squares; 0 and 1 for normalised weights
alpha, scale                    :math:`\alpha, \lambda` of SELU
==============================  =========================================================

The net input z of a unit is a sum of many inputs, and is taken to be Gaussian. Its mean is
:math:`m = \mu\omega`, its variance :math:`s^2 = \nu\tau`.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.special import erfc, erfcx, ndtr

__all__ = [
    "ALPHA_01",
    "LAMBDA_01",
    "SATURATION_01",
    "THEOREM_1_DOMAIN",
    "THEOREM_1_FIXED_POINTS",
    "THEOREM_2_DOMAIN",
    "THEOREM_3_DOMAINS",
    "alpha_dropout_affine",
    "contraction_factor",
    "fixed_point",
    "is_in_domain",
    "moment_map",
    "moment_map_jacobian",
    "moment_trajectory",
    "selu",
    "selu_parameters",
    "weight_moments",
]

#: Domain of Theorem 1. From here all moments converge to one fixed point, since g is a contraction that maps
#: the domain into itself.
#:
#: >>> mean, variance = moment_map(mean=0.1, variance=1.5, omega=0.1, tau=1.1)
#: >>> is_in_domain(mean, variance, domain=THEOREM_1_DOMAIN)
#: np.True_
THEOREM_1_DOMAIN = {"mean": (-0.1, 0.1), "variance": (0.8, 1.5), "omega": (-0.1, 0.1), "tau": (0.95, 1.1)}

#: Intervals of Theorem 1 in which the fixed points lie.
#:
#: >>> is_in_domain(*fixed_point(omega=0.1, tau=1.1), domain=THEOREM_1_FIXED_POINTS)
#: np.True_
THEOREM_1_FIXED_POINTS = {"mean": (-0.03106, 0.06773), "variance": (0.80009, 1.48617)}

#: Domain of Theorem 2, in which the variance falls from layer to layer.
#:
#: >>> largest = {name: high for name, (low, high) in THEOREM_2_DOMAIN.items()}
#: >>> mean, variance = moment_map(**largest)
#: >>> largest["variance"], round(float(variance), 2)
#: (16.0, 11.1)
THEOREM_2_DOMAIN = {"mean": (-1.0, 1.0), "variance": (3.0, 16.0), "omega": (-0.1, 0.1), "tau": (0.8, 1.25)}

#: The two domains of Theorem 3, in which the variance rises from layer to layer.
#:
#: >>> least = {name: low for name, (low, high) in THEOREM_3_DOMAINS[0].items()}
#: >>> mean, variance = moment_map(**least)
#: >>> least["variance"], round(float(variance), 4)
#: (0.02, 0.0277)
THEOREM_3_DOMAINS = (
    {"mean": (-0.1, 0.1), "variance": (0.02, 0.16), "omega": (-0.1, 0.1), "tau": (0.8, 1.25)},
    {"mean": (-0.1, 0.1), "variance": (0.02, 0.24), "omega": (-0.1, 0.1), "tau": (0.9, 1.25)},
)


# ---------------------------------------------------------------- moments of SELU of a Gaussian
#
# SELU(z) = lambda (R - alpha F) with R = max(z, 0) and F = 1 - exp(min(z, 0)). One of the two is
# always 0, so Cov(R, F) = -E[R] E[F], and
#
#     mean     = lambda   (E[R] - alpha E[F])                                            (4)
#     variance = lambda^2 (Var[R] + 2 alpha E[R] E[F] + alpha^2 Var[F])                  (5)
#
# This form of (5) is a sum of positive terms. The paper writes (5) as the second moment minus the squared
# mean; in floating point that loses all digits of a small variance.


class _Halves(NamedTuple):
    """Probabilities and conditional moments on both sides of z = 0, computed without cancellation."""

    above: np.ndarray  # P(z > 0)
    below: np.ndarray  # P(z < 0)
    rise: np.ndarray  # E[z | z > 0]
    rise_variance: np.ndarray  # Var[z | z > 0]
    fall: np.ndarray  # E[1 - e^z | z < 0]
    fall_variance: np.ndarray  # Var[e^z | z < 0]
    exp: np.ndarray  # E[e^z | z < 0]
    exp_squared: np.ndarray  # E[e^2z | z < 0]

    def moments(self):
        """Return E[R], Var[R], E[F], Var[F], by the law of total variance."""
        p, q = self.above, self.below
        return (
            p * self.rise,
            p * (self.rise_variance + q * self.rise**2),
            q * self.fall,
            q * (self.fall_variance + p * self.fall**2),
        )


# Nodes and weights for an integral over [0, 1].
_NODES, _WEIGHTS = (leggauss(5)[0] + 1) / 2, leggauss(5)[1] / 2


def _excess(x):
    """Return mean and variance of T = Z - x given Z > x, for a standard normal Z.

    T has the density exp(-x t - t^2 / 2) / M(x) for t > 0, where M(x) = sqrt(pi / 2) erfcx(x / sqrt 2)
    is Mills' ratio. The first two cumulants of T are -(log M)' and (log M)''.
    """
    x = np.minimum(x, 40.0)  # beyond, P(Z > x) is 0 in float64 and 1 / M(x) - x is rounding error
    mean = 1 / (np.sqrt(np.pi / 2) * erfcx(x / np.sqrt(2))) - x
    return mean, 1 - (x + mean) * mean


def _log_mills_differences(x, s):
    """Return L(x + s) - L(x) and L(x) - 2 L(x + s) + L(x + 2 s) for L = log M.

    For s below 0.1 the differences are computed as integrals of L' and L'', which avoids cancellation. Five
    nodes are exact there up to rounding, since the singularities of L are at a distance of 3. For larger s,
    L(x) is the log of erfcx if x is positive. Otherwise it is the log of erfc plus x^2 / 2, and the
    differences of x^2 / 2 are added in closed form.
    """
    t = s[..., None] * _NODES
    mean, left = _excess(x[..., None] + t)
    _, right = _excess((x + 2 * s)[..., None] - t)
    first_integral = -s * (mean @ _WEIGHTS)
    second_integral = s**2 * ((left + right) @ (_NODES * _WEIGHTS))

    def log_erfc(y):
        y = y / np.sqrt(2)
        return np.log(np.where(y > 0, erfcx(np.maximum(y, 0)), erfc(np.minimum(y, 0))))

    start, middle, end = log_erfc(x), log_erfc(x + s), log_erfc(x + 2 * s)
    negative = np.minimum(x, 0)
    step = np.minimum(s, -negative)  # the part of the step in which x is negative
    first = step * (negative + step / 2) + middle - start
    negative = np.clip(x, -2 * s, 0)
    second = negative**2 / 2 - np.minimum(negative + s, 0) ** 2 + start - 2 * middle + end

    small = s < 0.1
    return np.where(small, first_integral, first), np.where(small, second_integral, second)


def _halves(m, s):
    """Describe both sides of 0 of a Gaussian z with mean m and standard deviation s > 0.

    Given z > 0, z / s is the excess of a standard normal over -m / s (see `_excess`). Given z < 0, -z / s is
    the excess T over m / s, and E[exp(-k s T)] = M(m / s + k s) / M(m / s).
    """
    a = m / s
    mean, variance = _excess(-a)
    first, second = _log_mills_differences(a, s)
    exp_squared = np.exp(2 * first + second)
    return _Halves(
        above=ndtr(a),
        below=ndtr(-a),
        rise=s * mean,
        rise_variance=s**2 * variance,
        fall=-np.expm1(first),
        fall_variance=exp_squared * -np.expm1(-second),
        exp=np.exp(first),
        exp_squared=exp_squared,
    )


def _floats(*values):
    return [np.asarray(value, float) for value in values]


def _check(name, values, valid, rule):
    if not np.all(valid):
        raise ValueError(f"{name} must be {rule}; got {values[~valid][0]}.")


def _checked(positive=False, **parameters):
    """Return parameters as finite arrays; variance and tau must not be negative, nor 0 if `positive`."""
    arrays = {name: np.asarray(value, float) for name, value in parameters.items()}
    for name, values in arrays.items():
        valid, rule = np.isfinite(values), "finite"
        if name in ("variance", "tau"):
            valid &= values > 0 if positive else values >= 0
            rule = "finite and positive" if positive else "finite and not negative"
        _check(name, values, valid, rule)
    return arrays.values()


def _net_input(mean, variance, omega, tau, positive=False):
    """Return mean and standard deviation of the net input, as arrays of the same shape."""
    mean, variance, omega, tau = _checked(positive, mean=mean, variance=variance, omega=omega, tau=tau)
    return np.broadcast_arrays(mean * omega, np.sqrt(variance * tau))


# ---------------------------------------------------------------- SELU


def selu_parameters(mean=0.0, variance=1.0, omega=0.0, tau=1.0):
    r"""Return the alpha and the lambda of the SELU that has a given fixed point.

    Solves :math:`g(\mu, \nu) = (\mu, \nu)`, equations (4) and (5), for SELU's parameters. Omega and tau
    describe the weights.

    Parameters
    ----------
    mean, variance : float or array-like, default=0.0 and 1.0
        The fixed point; variance above 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of a unit's weights and of their squares; tau above 0.

    Returns
    -------
    alpha, scale : float or ndarray of float64
        Alpha and lambda.

    Raises
    ------
    ValueError
        If a value is not finite, the variance or tau is not positive, the net input
        almost always has the same sign, or no SELU with a positive alpha and lambda has that fixed point.

    Notes
    -----
    With R = max(z, 0) and F = 1 - exp(min(z, 0)), equation (4) is linear in
    :math:`(\lambda, \lambda\alpha)` and equation (5) is a quadratic form, so the solution has a closed
    form. There is one solution with positive parameters if
    :math:`-E[F] / \sqrt{Var[F]} < \mu / \sqrt\nu < E[R] / \sqrt{Var[R]}`, and none otherwise. For
    (0, 1) the solution is equation (14).

    The authors' notebook (bioinf-jku/SNNs, TF_1_x/getSELUparameters.ipynb) gives the net input
    itself the moments of the fixed point, which corresponds to omega = 1 and tau = 1. For a mean other
    than 0 its parameters are therefore not those of a network with normalised weights.

    A fixed point need not be attracting: see `contraction_factor`. The paper requires a lambda above 1.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (3), (4), (5), (14).

    Examples
    --------
    >>> alpha, scale = selu_parameters(0, 2)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (1.97125575, 1.06070908)

    The notebook's parameters for mean -0.1 and variance 2, and those for normalised weights:

    >>> alpha, scale = selu_parameters(-0.1, 2, omega=1)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (1.9769022, 1.07385124)
    >>> alpha, scale = selu_parameters(-0.1, 2)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (2.32699078, 0.98218043)
    """
    m, s = _net_input(mean, variance, omega, tau, positive=True)
    # Farther from 0, z changes its sign so rarely that the effect of alpha is lost in rounding.
    _check("omega * mean", m, np.abs(m) <= 5 * s, "within 5 standard deviations, sqrt(tau * variance), of 0")
    mean, variance = _floats(mean, variance)
    rise, rise_variance, fall, fall_variance = _halves(m, s).moments()
    low, high = -fall * np.sqrt(variance / fall_variance), rise * np.sqrt(variance / rise_variance)
    outside = (mean <= low) | (mean >= high)
    if np.any(outside):
        mean, low, high = (np.broadcast_to(value, outside.shape)[outside][0] for value in (mean, low, high))
        raise ValueError(
            f"mean must lie between {low:.6g} and {high:.6g} for this variance, omega and tau; got {mean}. "
            "No SELU has that fixed point: choose a mean nearer to 0, or a larger variance."
        )
    # With alpha = (rise - mean / scale) / fall, (5) is a quadratic equation in scale; take its larger root.
    c = fall_variance / fall**2
    k = rise_variance + (2 + c) * rise**2
    deviation = np.sqrt(variance)
    root = deviation * np.sqrt(k + (mean / deviation) ** 2 * (rise**2 - c * rise_variance))
    scale = (rise * mean * (1 + c) + root) / k
    return ((rise - mean / scale) / fall)[()], scale[()]


#: SELU's alpha and lambda for the fixed point mean 0, variance 1 (1.6732632..., 1.0507009...).
#:
#: >>> float(selu(1.0, ALPHA_01, LAMBDA_01)) == LAMBDA_01
#: True
#: >>> mean, variance = moment_map(0.0, 1.0, alpha=ALPHA_01, scale=LAMBDA_01)
#: >>> abs(round(float(mean), 12)), round(float(variance), 12)
#: (0.0, 1.0)
ALPHA_01, LAMBDA_01 = map(float, selu_parameters())

#: Limit of SELU for very negative inputs, -lambda * alpha; alpha dropout sets dropped units to it.
#:
#: >>> float(selu(-1000.0)) == SATURATION_01 == -LAMBDA_01 * ALPHA_01
#: True
SATURATION_01 = -LAMBDA_01 * ALPHA_01


def selu(x, alpha=ALPHA_01, scale=LAMBDA_01):
    r"""Return the scaled exponential linear unit of x.

    .. math:: \mathrm{selu}(x) = \lambda x \text{ if } x > 0, \quad
        \lambda\alpha (e^x - 1) \text{ otherwise.}

    Parameters
    ----------
    x : float or array-like
        Net inputs.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda.

    Returns
    -------
    y : float or ndarray of float64
        Activations.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equation (2).

    Examples
    --------
    >>> selu([-1000, 0, 1]).round(4)
    array([-1.7581,  0.    ,  1.0507])
    """
    x, alpha, scale = _floats(x, alpha, scale)
    return (scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))[()]


# ---------------------------------------------------------------- the map of the moments


def moment_map(mean, variance, omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01):
    r"""Return the mean and variance of a unit, given those of the layer below: the map g of the paper.

    With :math:`m = \mu\omega`, :math:`s^2 = \nu\tau`,
    :math:`b = \sqrt{2 / \pi} \, s \, e^{-m^2 / 2 s^2}`, and for k = 0, 1, 2

    .. math:: e_k = e^{k m + k^2 s^2 / 2} \operatorname{erfc} \frac{m + k s^2}{\sqrt 2 s},

    the new mean and variance are

    .. math:: \mu' = \frac{\lambda}{2} \big[ m (2 - e_0) + b + \alpha (e_1 - e_0) \big],

    .. math:: \nu' = \frac{\lambda^2}{2} \big[ (m^2 + s^2) (2 - e_0) + m b
        + \alpha^2 (e_2 - 2 e_1 + e_0) \big] - \mu'^2.

    Parameters
    ----------
    mean, variance : float or array-like
        Mean and variance of the units of the layer below; variance at least 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares (see `weight_moments`); tau at least 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    mean, variance : float or ndarray of float64
        Mean and variance of the unit.

    Raises
    ------
    ValueError
        If a value is not finite, or the variance or tau is negative.

    Notes
    -----
    The variance is not computed as the difference above, which has no correct digits where it is much
    smaller than the squared mean. It is computed as a sum of positive terms. They consist of the moments
    of z given its sign, which are differences of the logarithm of Mills' ratio. Compared with arithmetic
    of 1500 digits, for variances of z from 1e-6 to 1e6 and means from -1e3 to 1e3, the relative error of
    the variance is below 1e-12 (1e-11 for variances below 1e-15). Nothing overflows. The mean is a
    difference of two terms; where it is near 0, its absolute error is that of the terms.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (4) and (5).

    Examples
    --------
    >>> mean, variance = moment_map(0.0, 1.5)
    >>> round(float(mean), 6), round(float(variance), 6)
    (0.044983, 1.371531)

    SELU multiplies positive inputs by lambda, and so their variance by its square:

    >>> mean, variance = moment_map(1000.0, 1e-6, omega=1.0)
    >>> round(float(variance / LAMBDA_01**2), 18)
    1e-06
    """
    m, s = _net_input(mean, variance, omega, tau)
    alpha, scale = _checked(alpha=alpha, scale=scale)
    constant = s == 0
    rise, rise_variance, fall, fall_variance = _halves(m, np.where(constant, 1.0, s)).moments()
    mean = scale * (rise - alpha * fall)
    variance = scale**2 * (rise_variance + 2 * alpha * rise * fall + alpha**2 * fall_variance)
    return np.where(constant, selu(m, alpha, scale), mean)[()], np.where(constant, 0.0, variance)[()]


def moment_map_jacobian(mean, variance, omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01):
    r"""Return the Jacobian of the map g of the moments, in closed form.

    .. math:: \begin{pmatrix}
        \partial\mu' / \partial\mu & \partial\mu' / \partial\nu \\
        \partial\nu' / \partial\mu & \partial\nu' / \partial\nu \end{pmatrix}

    Parameters
    ----------
    mean, variance : float or array-like
        Mean and variance of the units of the layer below; variance above 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares; tau above 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    jacobian : ndarray of float64, shape (..., 2, 2)
        One matrix for each element of the broadcast parameters.

    Raises
    ------
    ValueError
        If a value is not finite, or the variance or tau is not positive.

    Notes
    -----
    For Gaussian z, :math:`\partial E[f(z)] / \partial m = E[f'(z)]` and
    :math:`\partial E[f(z)] / \partial s^2 = E[f''(z)] / 2`. Since f = selu has a kink at 0, f'' contains
    the term :math:`\lambda (1 - \alpha) \delta(z)`. Hence
    :math:`\partial\nu' / \partial m = 2 Cov(f, f')` and
    :math:`\partial\nu' / \partial s^2 = E[f'^2] + Cov(f, f'')`.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equation (6) for (0, 1).

    Examples
    --------
    >>> moment_map_jacobian(0, 1).round(6)
    array([[0.      , 0.088835],
           [0.      , 0.782648]])
    """
    m, s = _net_input(mean, variance, omega, tau, positive=True)
    omega, tau, alpha, scale = _checked(omega=omega, tau=tau, alpha=alpha, scale=scale)
    h = _halves(m, s)
    p, q = h.above, h.below
    atom = (1 - alpha) * np.exp(-((m / s) ** 2) / 2) / (np.sqrt(2 * np.pi) * s)
    between = p * q * (h.rise + alpha * h.fall)
    image = p * h.rise - alpha * q * h.fall
    mean_by_m = scale * (p + alpha * q * h.exp)
    mean_by_s2 = scale / 2 * (alpha * q * h.exp + atom)
    variance_by_m = 2 * scale**2 * (alpha**2 * q * h.fall_variance + between * (1 - alpha * h.exp))
    variance_by_s2 = scale**2 * (
        p + alpha**2 * q * (h.exp_squared + h.fall_variance) - between * alpha * h.exp - atom * image
    )
    rows = [[omega * mean_by_m, tau * mean_by_s2], [omega * variance_by_m, tau * variance_by_s2]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def contraction_factor(mean=0.0, variance=1.0, omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01):
    """Return the spectral norm of the Jacobian: the largest factor by which g scales small distances.

    If it is below 1 everywhere in a convex domain that g maps into itself, g is a contraction there. By
    Banach's theorem all moments then converge, layer by layer, to one fixed point. In Theorem 1's domain
    it is at most 0.8976, at mean -0.1, variance 0.8, omega -0.1, tau 1.1.

    Parameters
    ----------
    mean, variance : float or array-like, default=0.0 and 1.0
        Mean and variance of the units of the layer below; variance above 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares; tau above 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    factor : float or ndarray of float64
        Largest singular value of `moment_map_jacobian`.

    Raises
    ------
    ValueError
        If a value is not finite, or the variance or tau is not positive.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equation (6) and Theorem 1.

    Examples
    --------
    >>> round(float(contraction_factor()), 4)
    0.7877
    """
    jacobian = moment_map_jacobian(mean, variance, omega, tau, alpha, scale)
    return np.linalg.norm(jacobian, ord=2, axis=(-2, -1))


# In Theorem 1's domain 10 layers are enough. Near the limits of tau the moments converge slowly in one
# direction. The first hundred layers are applied one by one; after them only that direction is left. Newton's
# method then takes long steps along it, of at most a factor e^4 in variance, so that it can reach a variance
# of 1e30 in a few dozen steps.
_PLAIN_LAYERS, _MOST_LAYERS, _LONGEST_LEAP = 100, 1000, 4.0


def _newton_step(mean, variance, image, jacobian):
    """Return Newton's step to g's fixed point in mean and log variance, and whether g is attracting here.

    The step uses log variance: for a variance far from 1, SELU is close to one or two straight lines, and g
    almost only shifts the logarithm of the variance.
    """
    (a, b), (c, d) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    b, c, d = b * variance, c / image[1], d * variance / image[1]
    trace, determinant = a + d, a * d - b * c
    attracting = (np.abs(trace) < 1 + determinant) & (determinant < 1)  # both |eigenvalues| below 1
    divisor = np.where(attracting, 1 - trace + determinant, 1.0)
    residual = image[0] - mean, np.log(image[1] / variance)
    mean_step = ((1 - d) * residual[0] + b * residual[1]) / divisor
    log_step = (c * residual[0] + (1 - a) * residual[1]) / divisor
    return mean_step, log_step, attracting


def fixed_point(omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01):
    r"""Return the mean and variance to which the layers of a network converge.

    Applies g repeatedly, starting from mean 0 and variance 1. The last steps are those of Newton's method
    for :math:`g(\mu, \nu) = (\mu, \nu)`.

    Parameters
    ----------
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of a unit's weights and of their squares, the same for all units; tau above 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    mean, variance : float or ndarray of float64
        The attracting fixed point; its variance is positive.

    Raises
    ------
    ValueError
        If a value is not finite, tau is not positive, or the moments do not converge to such a point: the
        variance vanishes (for omega 0: tau below 0.4956) or explodes (tau above 2.6576), or the moments do
        not settle.

    Notes
    -----
    (0, 0) is always a fixed point, since selu(0) = 0; for tau near 1 it is repelling.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, Theorem 1.

    Examples
    --------
    >>> mean, variance = fixed_point(omega=[0.0, 0.0, 0.1], tau=[1.0, 1.1, 1.1])
    >>> abs(mean.round(4)), variance.round(4)
    (array([0.    , 0.0485, 0.0547]), array([1.    , 1.3993, 1.4103]))
    """
    values = _checked(positive=True, omega=omega, tau=tau, alpha=alpha, scale=scale)
    weights = omega, tau, alpha, scale = np.broadcast_arrays(*values)
    mean, variance = np.zeros(omega.shape), np.ones(omega.shape)
    for layer in range(_MOST_LAYERS):
        image = moment_map(mean, variance, *weights)
        jacobian = moment_map_jacobian(mean, variance, *weights)
        mean_step, log_step, attracting = _newton_step(mean, variance, image, jacobian)
        size = np.maximum(np.abs(mean_step) / np.sqrt(variance), np.abs(log_step))
        failed = ~(attracting & (size < 1e-8))  # Newton's step squares the error: only rounding is left
        if not np.any(failed):
            return (mean + mean_step)[()], (variance * np.exp(log_step))[()]
        use = attracting & ((np.abs(log_step) < 0.5) | (layer >= _PLAIN_LAYERS))
        shorter = np.minimum(1.0, _LONGEST_LEAP / np.maximum(np.abs(log_step), 1e-300))
        mean = np.where(use, mean + shorter * mean_step, image[0])
        variance = np.where(use, variance * np.exp(shorter * log_step), image[1])
        lost = (variance < 1e-30) | (variance > 1e30) | (np.abs(mean) > 1e30)
        if np.any(lost):
            failed = lost
            break
    first = tuple(np.argwhere(failed)[0])
    fate = f"the moments have not settled after {_MOST_LAYERS} layers"
    if lost[first]:
        fate = "the variance vanishes" if variance[first] < 1 else "the moments explode"
    raise ValueError(
        f"omega and tau must lead to an attracting fixed point; got omega={omega[first]}, tau={tau[first]}, "
        f"with which layers lead from (0, 1) to ({mean[first]:.3g}, {variance[first]:.3g}): {fate}. "
        "Weights drawn with variance 1 / n_inputs have omega near 0 and tau near 1."
    )


def is_in_domain(mean, variance, omega=0.0, tau=1.0, domain=THEOREM_1_DOMAIN):
    r"""Return whether the moments lie in the domain of a theorem, Theorem 1's by default.

    Parameters
    ----------
    mean, variance : float or array-like
        Mean and variance of the units of the layer below.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares.
    domain : dict of (low, high), default=THEOREM_1_DOMAIN
        Closed intervals by name: any of mean, variance, omega, tau.

    Returns
    -------
    inside : bool or ndarray of bool
        Outside the domain the statement of the theorem may be true or false.

    Raises
    ------
    ValueError
        If the domain is not a dict of intervals with these names.

    Notes
    -----
    The theorems are about the alpha and lambda of the fixed point (0, 1). All three were checked on grids
    over their domains, with the extremes refined by optimisation, and hold:

    Theorem 1 (`THEOREM_1_DOMAIN`, `THEOREM_1_FIXED_POINTS`)
        g has an attracting fixed point, to which all moments in the domain converge. The norm of the
        Jacobian is at most 0.8976, and g maps the domain to means in [-0.0310605, 0.0677251] and
        variances in [0.803712, 1.481575]. The bounds on the fixed points in the paper are bounds on that
        image, with the lower bound of the mean rounded inwards by 5e-7. The fixed points themselves have
        means in [-0.0209, 0.0547] and variances in [0.8265, 1.4103].
    Theorem 2 (`THEOREM_2_DOMAIN`)
        :math:`\nu' < \nu`, and all fixed points have a variance below 3. The variance falls
        by at least 3.9%. It falls for all variances from 2.498 on.
    Theorem 3 (`THEOREM_3_DOMAINS`)
        :math:`\nu' > \nu`, and all fixed points have a variance above 0.16 (0.24 in the
        second domain), except the fixed point (0, 0). The variance rises by at least 15% (20%). It rises
        for all variances from 7e-5 to 0.407 (1.7e-5 to 0.665). So the lower bound 0.02 in the paper's
        main text is valid, though not the least possible, and the larger one in its appendix A2.3, 0.05,
        is not needed.

    For omega from -0.1 to 0.1 and tau from 0.8 (0.9) to 1.25, fixed points have variances in
    [0.4088, 2.2327] ([0.6711, 2.2327]).

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, Theorems 1, 2, 3.

    Examples
    --------
    >>> is_in_domain(0.0, [0.5, 1.0, 4.0])
    array([False,  True, False])
    >>> is_in_domain(0.0, [0.5, 1.0, 4.0], domain=THEOREM_2_DOMAIN)
    array([False, False,  True])
    """
    values = {"mean": mean, "variance": variance, "omega": omega, "tau": tau}
    pairs = isinstance(domain, dict) and all(np.shape(ends) == (2,) for ends in domain.values())
    if not pairs or not domain.keys() <= values.keys():
        raise ValueError(
            "domain must be a dict of (low, high) by name, any of mean, variance, omega, tau; got "
            f"{domain!r}. Theorem 1's is THEOREM_1_DOMAIN."
        )
    inside = np.ones(np.broadcast_shapes(*map(np.shape, values.values())), bool)
    for name, (low, high) in domain.items():
        inside &= (np.asarray(values[name]) >= low) & (np.asarray(values[name]) <= high)
    return inside[()]


# ---------------------------------------------------------------- the layers of a network


def weight_moments(weight):
    r"""Return omega and tau of each unit of a layer.

    .. math:: \omega_i = \sum_j w_{ij}, \quad \tau_i = \sum_j w_{ij}^2

    Parameters
    ----------
    weight : array-like, shape (n_units, n_inputs) or (n_units, n_channels, ...)
        Weights of a linear or convolutional layer, one row per unit. Pass a torch parameter as
        ``layer.weight.detach().cpu()``.

    Returns
    -------
    omega, tau : ndarray of float64, shape (n_units,)
        Sums over all inputs of a unit.

    Raises
    ------
    ValueError
        If the weights have fewer than two dimensions.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, section "Normalization and SNNs".

    Examples
    --------
    >>> weight_moments([[1, -1], [0.6, 0.8]])
    (array([0. , 1.4]), array([2., 1.]))
    """
    weight = np.asarray(weight, float)
    if weight.ndim < 2:
        raise ValueError(
            f"weight must have two dimensions or more, units first; got shape {weight.shape}. "
            "Make one unit's weights a row: weight[np.newaxis]."
        )
    inputs = tuple(range(1, weight.ndim))
    return weight.sum(axis=inputs), np.square(weight).sum(axis=inputs)


def moment_trajectory(mean, variance, layers, alpha=ALPHA_01, scale=LAMBDA_01):
    r"""Return mean and variance before and after each layer of a network.

    Parameters
    ----------
    mean, variance : float or array-like, shape (...)
        Mean and variance of the network's inputs; variance at least 0.
    layers : iterable of (omega, tau)
        Weight moments of each layer, as two numbers or two arrays with one element per unit:
        ``[(0.0, 1.0)] * n_layers`` for normalised weights, or
        ``[weight_moments(weight) for weight in weights]`` for those of a network.
    alpha, scale : float, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    means, variances : ndarray of float64, shape (n_layers + 1, ...)
        Those of the inputs, then those of each layer.

    Raises
    ------
    ValueError
        If a value is not finite, a variance or tau is negative, or the layers are not pairs.

    Notes
    -----
    As in the paper, the units of a layer are treated as independent and identically distributed. Where
    they differ in omega and tau, the result has the moments of a unit drawn at random: the mean of the
    means, and the mean of the variances plus the variance of the means.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (4) and (5), figure 2.

    Examples
    --------
    >>> means, variances = moment_trajectory(0.1, 1.5, [(0.0, 1.0)] * 16)
    >>> variances[[0, 1, 2, 4, 8, 16]].round(3)
    array([1.5  , 1.372, 1.279, 1.162, 1.058, 1.008])

    With weights as torch draws them, tau = 1/3, the variance vanishes:

    >>> moment_trajectory(0, 1, [(0.0, 1 / 3)] * 16)[1][[1, 4, 16]].round(4).tolist()
    [0.4156, 0.0582, 0.0003]
    """
    mean, variance = np.broadcast_arrays(*_checked(mean=mean, variance=variance))
    means, variances = [mean], [variance]
    try:
        layers = [(omega, tau) for omega, tau in layers]
    except (TypeError, ValueError):
        raise ValueError(
            f"layers must be pairs of omega and tau, one a layer; got {layers!r}. For n layers of normalised "
            "weights give [(0.0, 1.0)] * n."
        ) from None
    for omega, tau in layers:
        units = moment_map(
            means[-1][..., None], variances[-1][..., None], np.ravel(omega), np.ravel(tau), alpha, scale
        )
        means.append(units[0].mean(axis=-1))
        variances.append(units[1].mean(axis=-1) + units[0].var(axis=-1))
    return np.stack(means), np.stack(variances)


# ---------------------------------------------------------------- dropout


def alpha_dropout_affine(rate, mean=0.0, variance=1.0, saturation=SATURATION_01):
    r"""Return the affine map that restores mean and variance after units were dropped to saturation.

    A unit of the given mean and variance is kept with probability q = 1 - rate, and otherwise set to
    :math:`\alpha' = -\lambda\alpha`. It then has mean
    :math:`q\mu + (1-q)\alpha'` and variance :math:`q((1-q)(\alpha'-\mu)^2 + \nu)`. The map
    a x + b restores the mean and the variance (section "New Dropout Technique" of
    arXiv:1706.02515, where mean 0 and variance 1 give
    :math:`a = (q + \alpha'^2 q (1-q))^{-1/2}`, :math:`b = -a (1-q) \alpha'`).

    Parameters
    ----------
    rate : float or array-like
        Probability that a unit is dropped, in [0, 1).
    mean, variance : float or array-like, default=0.0 and 1.0
        Mean and variance of the units, by default those of SELU's fixed point; variance above 0.
    saturation : float, default=SATURATION_01
        The value that dropped units take.

    Returns
    -------
    a, b : float or ndarray of float64
        Slope and intercept.

    Raises
    ------
    ValueError
        If the rate lies outside [0, 1), the variance is not positive, or a value is not finite.

    Examples
    --------
    >>> a, b = alpha_dropout_affine(0.05)
    >>> round(float(a), 10), round(float(b), 10)
    (0.954844476, 0.0839355722)
    """
    rate, mean, variance, saturation = _checked(
        positive=True, rate=rate, mean=mean, variance=variance, saturation=saturation
    )
    _check("rate", rate, (rate >= 0) & (rate < 1), "in [0, 1), where 0 drops nothing")
    q = 1 - rate
    a = np.sqrt(variance / (q * ((1 - q) * (saturation - mean) ** 2 + variance)))
    b = mean - a * (q * mean + (1 - q) * saturation)
    return a[()], b[()]
