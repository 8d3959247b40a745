"""The mathematics of self-normalization, as functions of numbers and arrays.

Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", 2017,
arXiv:1706.02515. Symbols follow the paper.
"""

import numpy as np
from scipy.special import erfc

__all__ = ["ALPHA_01", "LAMBDA_01", "SATURATION_01", "alpha_dropout_affine"]


def _selu_parameters_01():
    """Solve eq. (3) for the fixed point (0, 1) in closed form: eq. (14) of the paper."""
    c, e = erfc(np.sqrt(0.5)), np.e
    alpha = -np.sqrt(2 / np.pi) / (c * np.sqrt(e) - 1)
    variance = 2 * erfc(np.sqrt(2)) * e**2 + np.pi * c**2 * e - 2 * (2 + np.pi) * c * np.sqrt(e) + np.pi + 2
    return float(alpha), float((1 - c * np.sqrt(e)) * np.sqrt(2 * np.pi / variance))


#: SELU's alpha and lambda for the fixed point mean 0, variance 1 (1.6732632..., 1.0507009...).
ALPHA_01, LAMBDA_01 = _selu_parameters_01()

#: What SELU tends to for very negative inputs, -lambda * alpha; the value alpha dropout sets.
SATURATION_01 = -LAMBDA_01 * ALPHA_01


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
        If the rate lies outside [0, 1) or the variance is not positive.

    Examples
    --------
    >>> a, b = alpha_dropout_affine(0.05)
    >>> round(float(a), 10), round(float(b), 10)
    (0.954844476, 0.0839355722)
    """
    rate, mean, variance = np.asarray(rate, float), np.asarray(mean, float), np.asarray(variance, float)
    if not np.all((rate >= 0) & (rate < 1)):
        raise ValueError(f"rate must be in [0, 1); got {rate}. Dropping every unit leaves nothing.")
    if not np.all(variance > 0):
        raise ValueError(f"variance must be positive; got {variance}.")
    q = 1 - rate
    a = np.sqrt(variance / (q * ((1 - q) * (saturation - mean) ** 2 + variance)))
    b = mean - a * (q * mean + (1 - q) * saturation)
    return a[()], b[()]
