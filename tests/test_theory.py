"""The theory against the paper's literals, torch's SELU, quadrature and moments counted by hand."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from sksnn.theory import ALPHA_01, LAMBDA_01, SATURATION_01, alpha_dropout_affine

# bioinf-jku/SNNs, TF_1_x/selu.py; confirmed by mpmath with 40 digits.
PAPER_ALPHA = 1.6732632423543772848170429916717
PAPER_LAMBDA = 1.0507009873554804934193349852946
PAPER_SATURATION = -1.758099340847376859940217520812279577323

LAWS = settings(max_examples=30, deadline=None, derandomize=True)


def test_constants_are_the_papers():
    assert_allclose(
        [ALPHA_01, LAMBDA_01, SATURATION_01], [PAPER_ALPHA, PAPER_LAMBDA, PAPER_SATURATION], rtol=1e-12
    )


def test_constants_are_torchs():
    z = torch.tensor([1.0, -1e3], dtype=torch.float64)
    assert_allclose([LAMBDA_01, SATURATION_01], F.selu(z), rtol=1e-12)


@pytest.mark.parametrize(("power", "moment"), [(1, 0.0), (2, 1.0)], ids=["mean", "variance"])
def test_constants_make_0_1_a_fixed_point(power, moment):
    """Equation (3) of the paper: SELU of N(0, 1) has mean 0 and variance 1, here by quadrature."""

    def integrand(z):
        return (LAMBDA_01 * (z if z > 0 else ALPHA_01 * np.expm1(z))) ** power * stats.norm.pdf(z)

    halves = [integrate.quad(integrand, *ends, epsabs=1e-12)[0] for ends in [(-np.inf, 0), (0, np.inf)]]
    assert sum(halves) == pytest.approx(moment, abs=1e-10)


@pytest.mark.parametrize(
    ("rate", "slope", "intercept"),
    [(0.0, 1.0, 0.0), (0.05, 0.9548444760, 0.0839355722), (0.1, 0.9212845161, 0.1619709701)],
)
def test_affine_at_printed_values(rate, slope, intercept):
    assert_allclose(alpha_dropout_affine(rate), (slope, intercept), rtol=0, atol=5e-11)


@LAWS
@given(rate=st.floats(0, 0.99))
def test_affine_at_0_1_is_the_papers_short_formula(rate):
    q = 1 - rate
    a = (q + PAPER_SATURATION**2 * q * (1 - q)) ** -0.5
    assert_allclose(alpha_dropout_affine(rate), (a, -a * (1 - q) * PAPER_SATURATION), rtol=1e-12, atol=1e-14)


@LAWS
@given(
    rate=st.floats(0, 0.99),
    mean=st.floats(-2, 2),
    variance=st.floats(0.01, 10),
    saturation=st.floats(-5, 0),
)
def test_affine_keeps_the_moments(rate, mean, variance, saturation):
    """Only two moments matter, so two equally likely values stand for the kept units."""
    a, b = alpha_dropout_affine(rate, mean, variance, saturation)
    kept = mean + np.sqrt(variance) * np.array([-1, 1])
    values = a * np.append(kept, saturation) + b
    chance = [(1 - rate) / 2, (1 - rate) / 2, rate]
    after = np.average(values, weights=chance)
    assert after == pytest.approx(mean, abs=1e-9)
    assert np.average((values - after) ** 2, weights=chance) == pytest.approx(variance, rel=1e-9)


def test_affine_broadcasts():
    rates = np.array([0.0, 0.05, 0.1])
    a, b = alpha_dropout_affine(rates[:, None], mean=[0.0, 0.1])
    assert a.shape == b.shape == (3, 2)
    assert_allclose((a[1, 1], b[1, 1]), alpha_dropout_affine(0.05, 0.1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "rate must be in [0, 1); got 1.0. Dropping every unit leaves nothing."),
        ((-0.1,), "rate must be in [0, 1); got -0.1."),
        ((np.nan,), "rate must be in [0, 1); got nan."),
        ((0.1, 0, 0), "variance must be positive; got 0.0."),
        ((0.1, 0, -1), "variance must be positive; got -1.0."),
    ],
)
def test_affine_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        alpha_dropout_affine(*arguments)
