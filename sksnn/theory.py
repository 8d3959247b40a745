r"""The mathematics of self-normalization, as functions of numbers and arrays.

Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", 2017,
arXiv:1706.02515. Symbols and the numbers of equations and theorems are the paper's:

==============================  =========================================================
mean, variance                  :math:`\mu, \nu`, of the units of a layer
omega, tau                      :math:`\omega, \tau`, the sum of the weights of a unit and
                                of their squares; 0 and 1 for weights normalised
alpha, scale                    :math:`\alpha, \lambda` of SELU
==============================  =========================================================

A unit's net input z is Gaussian with mean :math:`m = \mu\omega` and variance
:math:`s^2 = \nu\tau`: many inputs add up in it.
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

#: Theorem 1: here all moments tend to one fixed point, since g contracts and does not lead out.
#:
#: >>> mean, variance = moment_map(mean=0.1, variance=1.5, omega=0.1, tau=1.1)
#: >>> is_in_domain(mean, variance, domain=THEOREM_1_DOMAIN)
#: np.True_
THEOREM_1_DOMAIN = {"mean": (-0.1, 0.1), "variance": (0.8, 1.5), "omega": (-0.1, 0.1), "tau": (0.95, 1.1)}

#: Theorem 1: where these fixed points lie.
#:
#: >>> is_in_domain(*fixed_point(omega=0.1, tau=1.1), domain=THEOREM_1_FIXED_POINTS)
#: np.True_
THEOREM_1_FIXED_POINTS = {"mean": (-0.03106, 0.06773), "variance": (0.80009, 1.48617)}

#: Theorem 2: here the variance falls.
#:
#: >>> largest = {name: high for name, (low, high) in THEOREM_2_DOMAIN.items()}
#: >>> mean, variance = moment_map(**largest)
#: >>> largest["variance"], round(float(variance), 2)
#: (16.0, 11.1)
THEOREM_2_DOMAIN = {"mean": (-1.0, 1.0), "variance": (3.0, 16.0), "omega": (-0.1, 0.1), "tau": (0.8, 1.25)}

#: Theorem 3: in either of the two the variance rises.
#:
#: >>> least = {name: low for name, (low, high) in THEOREM_3_DOMAINS[0].items()}
#: >>> mean, variance = moment_map(**least)
#: >>> least["variance"], round(float(variance), 4)
#: (0.02, 0.0277)
THEOREM_3_DOMAINS = (
    {"mean": (-0.1, 0.1), "variance": (0.02, 0.16), "omega": (-0.1, 0.1), "tau": (0.8, 1.25)},
    {"mean": (-0.1, 0.1), "variance": (0.02, 0.24), "omega": (-0.1, 0.1), "tau": (0.9, 1.25)},
)


# ---------------------------------------------------------------- a Gaussian on either side of 0
#
# SELU(z) = lambda (R - alpha F) with R = max(z, 0) and F = 1 - exp(min(z, 0)). One of the two is
# always 0, so Cov(R, F) = -E[R] E[F], and
#
#     mean     = lambda   (E[R] - alpha E[F])                                            (4)
#     variance = lambda^2 (Var[R] + 2 alpha E[R] E[F] + alpha^2 Var[F])                  (5)
#
# which is a sum of positive terms. The paper writes (5) as a second moment less the mean squared,
# which loses all digits of a small variance; here nothing is subtracted.


class _Halves(NamedTuple):
    """What the moments are made of; the conditional ones come without cancellation."""

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
    is Mills' ratio, so that log M generates its cumulants: these are -(log M)' and (log M)''.
    """
    x = np.minimum(x, 40.0)  # beyond, P(Z > x) is 0 in float64, and 1 / M(x) - x all rounding
    mean = 1 / (np.sqrt(np.pi / 2) * erfcx(x / np.sqrt(2))) - x
    return mean, 1 - (x + mean) * mean


def _log_mills_differences(x, s):
    """Return L(x + s) - L(x) and L(x) - 2 L(x + s) + L(x + 2 s) for L = log M.

    Where s is small the differences are integrals of L' and L'', which keep their digits: with
    singularities at a distance of 3, five nodes over 0.1 leave rounding only. Elsewhere, L(x) is the log of
    erfcx for positive arguments and of the plain erfc otherwise, where its x^2 / 2 goes by itself.
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
    step = np.minimum(s, -negative)  # the part of it in which x^2 / 2 counts
    first = step * (negative + step / 2) + middle - start
    negative = np.clip(x, -2 * s, 0)
    second = negative**2 / 2 - np.minimum(negative + s, 0) ** 2 + start - 2 * middle + end

    small = s < 0.1
    return np.where(small, first_integral, first), np.where(small, second_integral, second)


def _halves(m, s):
    """Cut a Gaussian of mean m and standard deviation s > 0 at 0.

    Given z > 0, z is s times the excess over -m / s; given z < 0, it is -s times the excess T over
    m / s, and E[exp(-k s T)] = M(m / s + k s) / M(m / s).
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
    """Return parameters as finite arrays, where variance and tau are positive or, at least, not negative."""
    arrays = {name: np.asarray(value, float) for name, value in parameters.items()}
    for name, values in arrays.items():
        valid, rule = np.isfinite(values), "finite"
        if name in ("variance", "tau"):
            valid &= values > 0 if positive else values >= 0
            rule = "finite and positive" if positive else "finite and not negative"
        _check(name, values, valid, rule)
    return arrays.values()


def _net_input(mean, variance, omega, tau, positive=False):
    """Return mean and standard deviation of the net input, arrays of one shape."""
    mean, variance, omega, tau = _checked(positive, mean=mean, variance=variance, omega=omega, tau=tau)
    return np.broadcast_arrays(mean * omega, np.sqrt(variance * tau))


# ---------------------------------------------------------------- SELU


def selu_parameters(mean=0.0, variance=1.0, omega=0.0, tau=1.0):
    r"""Return the alpha and the lambda that make a mean and a variance a fixed point.

    Solves :math:`g(\mu, \nu) = (\mu, \nu)`, equations (4) and (5), for SELU's parameters, under
    weights with the given moments.

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
        If a value is not finite, the variance or tau is not positive, the net input has all but
        one sign, or no SELU with a positive alpha and lambda has that fixed point.

    Notes
    -----
    With R = max(z, 0) and F = 1 - exp(min(z, 0)), equation (4) is linear in
    :math:`(\lambda, \lambda\alpha)` and equation (5) a quadratic form, so there is a closed form
    for every fixed point. The line and the ellipse meet once among positive parameters if
    :math:`-E[F] / \sqrt{Var[F]} < \mu / \sqrt\nu < E[R] / \sqrt{Var[R]}`, and not at all
    otherwise. For (0, 1) it is equation (14).

    The authors' notebook (bioinf-jku/SNNs, TF_1_x/getSELUparameters.ipynb) draws the net input
    itself from the fixed point's moments, which is omega = 1 and tau = 1 here: for a mean other
    than 0 its parameters are not those of a network with normalised weights.

    That a point is fixed does not make it attracting: see `contraction_factor`. The paper asks
    for a lambda above 1.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (3), (4), (5), (14).

    Examples
    --------
    >>> alpha, scale = selu_parameters(0, 2)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (1.97125575, 1.06070908)

    The notebook's answer for mean -0.1 and variance 2, and the one for normalised weights:

    >>> alpha, scale = selu_parameters(-0.1, 2, omega=1)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (1.9769022, 1.07385124)
    >>> alpha, scale = selu_parameters(-0.1, 2)
    >>> round(float(alpha), 8), round(float(scale), 8)
    (2.32699078, 0.98218043)
    """
    m, s = _net_input(mean, variance, omega, tau, positive=True)
    # Farther out z so rarely crosses the kink that rounding hides what alpha does.
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
    # alpha = (rise - mean / scale) / fall put into (5): the larger root of a quadratic in scale.
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

#: What SELU tends to for very negative inputs, -lambda * alpha; the value alpha dropout sets.
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
    r"""Return mean and variance of a unit, given those of the units below it: the map g.

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
        Moments of the units below; variance at least 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares (see `weight_moments`); tau at least 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    mean, variance : float or ndarray of float64
        Moments of the unit.

    Raises
    ------
    ValueError
        If a value is not finite, or the variance or tau is negative.

    Notes
    -----
    The variance is not computed as the difference above, which has no digits left where it is
    small beside the mean's square. It is a sum of positive terms, from the moments of z given its
    sign; these are differences of the logarithm of Mills' ratio. Against arithmetic with 1500
    digits, for variances of z from 1e-6 to 1e6 and means from -1e3 to 1e3, its relative error
    stays below 1e-12 (1e-11 where it is itself below 1e-15). Nothing overflows. The mean changes
    its sign, and near 0 it has the same absolute error as its two parts.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (4) and (5).

    Examples
    --------
    >>> mean, variance = moment_map(0.0, 1.5)
    >>> round(float(mean), 6), round(float(variance), 6)
    (0.044983, 1.371531)

    Far above its kink SELU multiplies by lambda, and the variance by its square:

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
        Moments of the units below; variance above 0.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares; tau above 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    jacobian : ndarray of float64, shape (..., 2, 2)
        A matrix for each element of the parameters, broadcast.

    Raises
    ------
    ValueError
        If a value is not finite, or the variance or tau is not positive.

    Notes
    -----
    For Gaussian z, :math:`\partial E[f(z)] / \partial m = E[f'(z)]` and
    :math:`\partial E[f(z)] / \partial s^2 = E[f''(z)] / 2`, where the kink of f = selu gives f''
    an atom :math:`\lambda (1 - \alpha) \delta(z)`. Hence
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
    """Return the spectral norm of the Jacobian: by how much g draws near points together, at most.

    Below 1 everywhere in a convex domain that g maps into itself, it makes g a contraction there
    (Banach): layer by layer, all moments tend to one fixed point. In Theorem 1's domain it is
    0.8976 at most, at mean -0.1, variance 0.8, omega -0.1, tau 1.1.

    Parameters
    ----------
    mean, variance : float or array-like, default=0.0 and 1.0
        Moments of the units below; variance above 0.
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


# In Theorem 1's domain 10 are enough. Near the limits of tau moments settle slowly: of the layers that
# are applied one by one, the first hundred leave the slow direction alone, and along that Newton's method
# leaps, at most by e^4 in variance, to a variance of 1e30 in a few dozen steps.
_PLAIN_LAYERS, _MOST_LAYERS, _LONGEST_LEAP = 100, 1000, 4.0


def _newton_step(mean, variance, image, jacobian):
    """Return Newton's step to g's fixed point in mean and log variance, and whether g attracts there.

    In the logarithm the map is almost a shift far from 1, where its slope is that of one or two lines.
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
    r"""Return the mean and variance that the layers of a network tend to.

    Applies g to mean 0 and variance 1 again and again, with Newton's method on
    :math:`g(\mu, \nu) = (\mu, \nu)` for the last steps.

    Parameters
    ----------
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of a unit's weights and of their squares, alike for all units; tau above 0.
    alpha, scale : float or array-like, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    mean, variance : float or ndarray of float64
        The attracting fixed point; its variance is positive.

    Raises
    ------
    ValueError
        If a value is not finite, tau is not positive, or the moments tend to no such point: the
        variance vanishes (for omega 0: tau below 0.4956) or explodes (tau above 2.6576), or the
        moments do not settle.

    Notes
    -----
    (0, 0) is always a fixed point, since selu(0) = 0; it repels where tau is near 1.

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
        failed = ~(attracting & (size < 1e-8))  # Newton's step squares that: rounding remains
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
        Moments of the units below.
    omega, tau : float or array-like, default=0.0 and 1.0
        Sum of the unit's weights and of their squares.
    domain : dict of (low, high), default=THEOREM_1_DOMAIN
        Closed intervals by name: any of mean, variance, omega, tau.

    Returns
    -------
    inside : bool or ndarray of bool
        Outside, the theorem does not say that its statement is false.

    Raises
    ------
    ValueError
        If the domain is no dict of intervals of these names.

    Notes
    -----
    The theorems are about alpha and lambda of the fixed point (0, 1). Computed on grids of their
    domains, with the extremes refined by optimisation, all three hold:

    Theorem 1 (`THEOREM_1_DOMAIN`, `THEOREM_1_FIXED_POINTS`)
        g has an attracting fixed point, to which all moments in the domain tend. The Jacobian's
        norm is 0.8976 at most, and g maps the domain to means in [-0.0310605, 0.0677251] and
        variances in [0.803712, 1.481575]. The printed bounds on the fixed points are bounds on
        that image, the mean's lower one rounded inwards by 5e-7; the fixed points themselves have
        means in [-0.0209, 0.0547] and variances in [0.8265, 1.4103].
    Theorem 2 (`THEOREM_2_DOMAIN`)
        :math:`\nu' < \nu`, and all fixed points have a variance below 3. The variance falls
        by 3.9% or more, and does so from 2.498 on.
    Theorem 3 (`THEOREM_3_DOMAINS`)
        :math:`\nu' > \nu`, and all fixed points have a variance above 0.16 (0.24 in the
        second domain). The variance rises by 15% (20%) or more, and does so from 7e-5 to 0.407
        (1.7e-5 to 0.665): the 0.02 of the paper's main text is right, if not the least, and the
        0.05 of its appendix A2.3 not needed. "All" leaves out the fixed point (0, 0).

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
        Weights of a linear or a convolution layer, a unit's in a row. A torch parameter enters as
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
        Moments of the network's inputs; variance at least 0.
    layers : iterable of (omega, tau)
        Weight moments, a pair of numbers or of arrays with one element per unit for each layer:
        ``[(0.0, 1.0)] * n_layers`` for normalised weights, or
        ``[weight_moments(weight) for weight in weights]`` for those of a network.
    alpha, scale : float, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.

    Returns
    -------
    means, variances : ndarray of float64, shape (n_layers + 1, ...)
        The first are those of the inputs.

    Raises
    ------
    ValueError
        If a value is not finite, a variance or tau is negative, or the layers are no pairs.

    Notes
    -----
    As in the paper, the units of a layer count as independent and alike to the units above them.
    Where units of a layer differ in omega and tau, theirs are the moments of a unit drawn at
    random: the mean of the means, and the mean of the variances plus the variance of the means.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, equations (4) and (5), figure 2.

    Examples
    --------
    >>> means, variances = moment_trajectory(0.1, 1.5, [(0.0, 1.0)] * 16)
    >>> variances[[0, 1, 2, 4, 8, 16]].round(3)
    array([1.5  , 1.372, 1.279, 1.162, 1.058, 1.008])

    Weights as torch draws them, with tau = 1/3, let the variance vanish:

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
    r"""Return the affine map that undoes what dropping to saturation does to the moments.

    A unit of the given mean and variance is kept with probability q = 1 - rate and set to
    :math:`\alpha' = -\lambda\alpha` otherwise, which gives it mean
    :math:`q\mu + (1-q)\alpha'` and variance :math:`q((1-q)(\alpha'-\mu)^2 + \nu)`. The map
    a x + b restores the mean and the variance (section "New Dropout Technique" of
    arXiv:1706.02515, where mean 0 and variance 1 give
    :math:`a = (q + \alpha'^2 q (1-q))^{-1/2}`, :math:`b = -a (1-q) \alpha'`).

    Parameters
    ----------
    rate : float or array-like
        Probability of dropping a unit, in [0, 1).
    mean, variance : float or array-like, default=0.0 and 1.0
        Moments of the units, those of SELU's fixed point by default; variance above 0.
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
