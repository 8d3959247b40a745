"""The theory against the paper's literals, torch's SELU, quadrature, high precision and sampling."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from scipy.optimize import brentq
from scipy.special import erf, erfc

from sksnn.theory import (
    ALPHA_01,
    LAMBDA_01,
    SATURATION_01,
    THEOREM_1_DOMAIN,
    THEOREM_1_FIXED_POINTS,
    THEOREM_2_DOMAIN,
    THEOREM_3_DOMAINS,
    alpha_dropout_affine,
    contraction_factor,
    fixed_point,
    is_in_domain,
    moment_map,
    moment_map_jacobian,
    moment_trajectory,
    selu,
    selu_parameters,
    weight_moments,
)

# bioinf-jku/SNNs, TF_1_x/selu.py; confirmed by mpmath with 40 digits.
PAPER_ALPHA = 1.6732632423543772848170429916717
PAPER_LAMBDA = 1.0507009873554804934193349852946
PAPER_SATURATION = -1.758099340847376859940217520812279577323

LAWS = settings(max_examples=30, deadline=None, derandomize=True)

# Where no paper's domain binds: everything the moment map was written for, and milder surroundings.
MEANS, VARIANCES = st.floats(-1e3, 1e3), st.floats(-6, 6).map(lambda power: 10**power)
MILD = {
    "mean": st.floats(-1, 1),
    "variance": st.floats(0.05, 5),
    "omega": st.floats(-2, 2),
    "tau": st.floats(0.2, 3),
}


def inside(domain):
    """Draw from the box of a theorem."""
    return {name: st.floats(*ends) for name, ends in domain.items()}


def grid(domain, n=9):
    """Return the box of a theorem as a dense grid, ends included."""
    axes = np.meshgrid(*(np.linspace(*ends, n) for ends in domain.values()), indexing="ij")
    return dict(zip(domain, axes, strict=True))


# ---------------------------------------------------------------- SELU


def test_constants_are_the_papers():
    assert_allclose(
        [ALPHA_01, LAMBDA_01, SATURATION_01], [PAPER_ALPHA, PAPER_LAMBDA, PAPER_SATURATION], rtol=1e-15
    )


def test_constants_are_torchs():
    z = torch.tensor([1.0, -1e3], dtype=torch.float64)
    assert_allclose([LAMBDA_01, SATURATION_01], F.selu(z), rtol=1e-12)


def test_parameters_of_0_1_are_equation_14():
    c, e = erfc(np.sqrt(0.5)), np.e
    alpha = -np.sqrt(2 / np.pi) / (c * np.sqrt(e) - 1)
    square = 2 * erfc(np.sqrt(2)) * e**2 + np.pi * c**2 * e - 2 * (2 + np.pi) * c * np.sqrt(e) + np.pi + 2
    scale = (1 - c * np.sqrt(e)) * np.sqrt(2 * np.pi / square)
    assert_allclose(selu_parameters(), (alpha, scale), rtol=1e-14)


@pytest.mark.parametrize(
    ("moments", "alpha", "scale", "rtol"),
    [
        ((0, 2), 1.97126, 1.06071, 1e-5),  # the paper, A5
        ((-0.1, 2, 1, 1), 1.9769021954242014, 1.073851239616046, 1e-12),  # the authors' notebook
        ((-0.1, 2), 2.32699078, 0.98218043, 1e-8),  # the same under normalised weights
    ],
)
def test_parameters_at_printed_values(moments, alpha, scale, rtol):
    assert_allclose(selu_parameters(*moments), (alpha, scale), rtol=rtol)


def test_parameters_of_the_notebook_miss_under_normalised_weights():
    """It draws the net input from the fixed point's moments; such weights give it the mean 0."""
    assert moment_map(-0.1, 2, 0, 1, 1.9769021954242014, 1.073851239616046)[0] > -0.01


@LAWS
@given(
    share=st.floats(-0.98, 0.98),
    variance=st.floats(-3, 3).map(lambda power: 10**power),
    tau=st.floats(0.2, 3),
)
def test_parameters_make_a_point_fixed(share, variance, tau):
    """The mean is a share of what half a Gaussian reaches, if SELU is 0 on the other side of 0."""
    reach = 1 / np.sqrt(np.pi - 1) if share > 0 else moment_map(0, variance * tau, 0, 1, 1e9, 1e-9)
    mean = share * np.sqrt(variance) * (reach if share > 0 else -reach[0] / np.sqrt(reach[1]))
    alpha, scale = selu_parameters(mean, variance, 0, tau)
    assert alpha > 0 and scale > 0
    after = moment_map(mean, variance, 0, tau, alpha, scale)
    assert_allclose(after, (mean, variance), rtol=1e-11, atol=1e-13 * np.sqrt(variance))


@LAWS
@given(a=st.floats(-4, 4), s=st.floats(0.1, 5), alpha=st.floats(0.3, 5), scale=st.floats(0.3, 3))
def test_parameters_invert_the_map(a, s, alpha, scale):
    """A unit stays as it is if its own moments reach the next through weights that give back m and s."""
    m = a * s
    mean, variance = moment_map(m, s**2, 1, 1, alpha, scale)
    assume(abs(mean) > 1e-3)
    assert_allclose(selu_parameters(mean, variance, m / mean, s**2 / variance), (alpha, scale), rtol=1e-8)


@pytest.mark.parametrize(("variance", "alpha"), [(1e-300, 1), (1e300, np.sqrt(2 / np.pi) * 1e150)])
def test_parameters_of_tiny_and_huge_variances(variance, alpha):
    """1e-300 gave (nan, 0), its square being 0 in float64."""
    parameters = selu_parameters(0, variance)
    assert_allclose(parameters[0], alpha, rtol=1e-9)
    assert_allclose(moment_map(0, variance, 0, 1, *parameters)[1], variance, rtol=1e-9)


def test_parameters_broadcast():
    alpha, scale = selu_parameters([0.0, 0.1], np.array([[1.0], [2.0]]))
    assert alpha.shape == scale.shape == (2, 2)
    assert_allclose((alpha[1, 1], scale[1, 1]), selu_parameters(0.1, 2))


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        (
            (0.9,),
            "mean must lie between -0.803261 and 0.683332 for this variance, omega and tau; got 0.9. "
            "No SELU has that fixed point: choose a mean nearer to 0, or a larger variance.",
        ),
        (([0, -0.9],), "mean must lie between -0.803261 and 0.683332 for this"),
        (
            (50, 1, 1),
            "omega * mean must be within 5 standard deviations, sqrt(tau * variance), of 0; got 50.0.",
        ),
        ((np.inf,), "mean must be finite; got inf."),
        ((0, 0), "variance must be finite and positive; got 0.0."),
        ((0, 1, np.nan), "omega must be finite; got nan."),
        ((0, 1, 0, [1, -2]), "tau must be finite and positive; got -2.0."),
    ],
)
def test_parameters_refuse(moments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        selu_parameters(*moments)


def test_selu_is_torchs():
    x = np.concatenate([-np.geomspace(1e-12, 1e4, 60), [0.0], np.geomspace(1e-12, 1e300, 60)])
    assert_allclose(selu(x), F.selu(torch.from_numpy(x)), rtol=1e-14, atol=1e-16)


def test_selu_takes_parameters():
    assert_allclose(selu([-1.0, 2.0], alpha=2, scale=3), [6 * np.expm1(-1), 6])


# ---------------------------------------------------------------- the map of the moments


def printed_moment_map(m, s, alpha=PAPER_ALPHA, scale=PAPER_LAMBDA):
    """Compute equations (4) and (5) as printed."""
    r = np.sqrt(2) * s
    first, second = (np.exp(k * m + (k * s) ** 2 / 2) * erfc((m + k * s**2) / r) for k in (1, 2))
    bell = np.sqrt(2 / np.pi) * s * np.exp(-((m / r) ** 2))
    mean = scale / 2 * (m * erf(m / r) + alpha * first - alpha * erfc(m / r) + bell + m)
    square = (m**2 + s**2) * (2 - erfc(m / r)) + alpha**2 * (-2 * first + second + erfc(m / r)) + m * bell
    return mean, scale**2 / 2 * square - mean**2


def expectation(function, m, s):
    """Integrate a function of the net input over either side of 0."""
    ends = [m - 12 * s, min(max(m - 12 * s, 0), m + 12 * s), m + 12 * s]
    pieces = [
        integrate.quad(lambda z: function(z) * stats.norm.pdf(z, m, s), *piece, epsabs=1e-13, limit=200)[0]
        for piece in (ends[:2], ends[1:])
    ]
    return sum(pieces)


# m, s^2, mean, variance, and their derivatives by m and by s^2: equations (4) and (5) and the
# derivatives of the integrals behind them, in mpmath with 1500 digits.
HIGH_PRECISION = [
    (0, 1e-6, -0.00028177182114261633, 2.0155840794590912e-6,
     1.4036992232323704, -140.66638178236064, -0.00078967293545517526, 2.0144773983688843),
    (-0.001, 1e-6, -0.0018153458937261395, 2.7240221277209149e-6,
     1.6439639899024908, -84.846213680067832, -0.00052636842635917057, 2.457599742635603),
    (0.002, 1e-6, 0.0020954007350624456, 1.14060388648579e-6,
     1.0667794708080745, -19.076569372656161, -8.8458308246100577e-5, 1.229043173812974),
    (-1, 1e-6, -1.1113304144281804, 4.1831025333653176e-7,
     0.64676892641919646, 0.32338446320959823, 8.3662050667306351e-7, 0.41831088080194664),
    (-100, 1e-6, -1.7580993408473769, 4.277510585902996e-93,
     6.540266391476772e-44, 3.270133195738386e-44, 8.555021171805992e-93, 4.2775170021692315e-87),
    (1000, 1e-6, 1050.7009873554805, 1.1039725648297815e-6,
     1.0507009873554805, 0, 0, 1.1039725648297816),
    (-3, 0.01, -1.6701299797482235, 7.7774308345503861e-5,
     0.087969361099153355, 0.043984680549576678, 0.00015554861669100772, 0.0078941571088842434),
    (0.1, 1.5, 0.13945843193515881, 1.413721438426641,
     0.95322124087788352, 0.08201306095193236, 0.40476692331030364, 0.73500447461475224),
    (-30, 1, -1.7580993408471056, 1.2641738054083391e-25,
     2.7124153593836064e-13, 1.3562076796918032e-13, 2.5283476108166782e-25, 3.2640673189986881e-25),
    (-50, 30, -1.7580993408473758, 6.5398669656407396e-19,
     1.1083940700319172e-15, 5.5415815427384083e-16, 1.0644002042319431e-18, 8.5705017020502507e-19),
    (0, 1e6, 418.29069962466741, 377020.71662940151,
     0.5260518731365721, 0.00020958417326878809, 440.75621982745658, 0.37665206240599154),
    (1000, 1e6, 1137.9621278497537, 829814.76065655769,
     0.88442673856412424, 0.0001269067357210336, 379.0121036929767, 0.63999177313816011),
    (-1000, 1e6, 86.06090539895898, 75769.173814138475,
     0.16712506593391749, 0.00012733214344150048, 155.18936949871749, 0.15323403455054549),
    (-1000, 4e4, -1.7580875890388742, 0.00089457873171489017,
     3.1458884275584658e-7, 4.0726192356202435e-9, 2.469036682611824e-5, 3.3047768363332503e-7),
]  # fmt: skip


def test_map_has_the_fixed_point_0_1():
    """Equation (3) of the paper."""
    assert_allclose(moment_map(0, 1), (0, 1), rtol=1e-15, atol=1e-15)


def test_map_at_high_precision():
    """Also where the printed difference of squares has no digits left: variance 1e-6, mean 1000."""
    m, variance, *expected = np.transpose(HIGH_PRECISION)[:4]
    assert_allclose(moment_map(m, variance, omega=1), expected, rtol=1e-12)


@LAWS
@given(m=st.floats(-3, 3), s=st.floats(0.3, 4))
def test_map_is_equations_4_and_5(m, s):
    assert_allclose(moment_map(m, s**2, 1), printed_moment_map(m, s), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alpha_scale", [(PAPER_ALPHA, PAPER_LAMBDA), (0.5, 2.0)], ids=["paper", "other"])
@pytest.mark.parametrize("s", [0.001, 0.05, 0.5, 1.0, 20.0])
@pytest.mark.parametrize("m", [-4.0, -0.1, 0.0, 0.02, 5.0])
def test_map_is_an_integral(m, s, alpha_scale):
    mean, variance = moment_map(m, s**2, 1, 1, *alpha_scale)
    assert mean == pytest.approx(expectation(lambda z: selu(z, *alpha_scale), m, s), rel=1e-9, abs=1e-10)
    around = expectation(lambda z: (selu(z, *alpha_scale) - mean) ** 2, m, s)
    assert variance == pytest.approx(around, rel=1e-8)


@pytest.mark.parametrize("moments", [(0.1, 1.5, 0.1, 0.9), (-2, 3, 0.5, 1.2)])
def test_map_is_what_samples_show(moments):
    """For weighted sums of inputs that are not Gaussian themselves, within five standard errors."""
    mean, variance, omega, tau = moments
    n_inputs, n_samples = 400, 20_000
    rng = np.random.default_rng(0)
    spread = np.sqrt(tau / n_inputs - (omega / n_inputs) ** 2)
    weight = omega / n_inputs + spread * rng.permutation(np.repeat([-1, 1], n_inputs // 2))
    assert_allclose(np.ravel(weight_moments(weight[None])), [omega, tau])
    width = np.sqrt(12 * variance)
    x = rng.uniform(mean - width / 2, mean + width / 2, (n_samples, n_inputs))
    y = selu(x @ weight)
    expected = moment_map(mean, variance, omega, tau)
    error = np.std(y) / np.sqrt(n_samples)
    assert y.mean() == pytest.approx(expected[0], abs=5 * error)
    error = np.std((y - y.mean()) ** 2) / np.sqrt(n_samples)
    assert y.var() == pytest.approx(expected[1], abs=5 * error)


@LAWS
@given(mean=MEANS, variance=VARIANCES, omega=st.floats(-10, 10), tau=st.floats(1e-3, 1e3))
def test_map_never_overflows(mean, variance, omega, tau):
    """SELU is between the saturation and its steepest line; every warning is an error here."""
    after = moment_map(mean, variance, omega, tau)
    assert np.all(np.isfinite(after))
    assert after[0] >= SATURATION_01 * (1 + 1e-14)
    assert 0 <= after[1] <= SATURATION_01**2 * variance * tau * (1 + 1e-12)
    assert np.all(np.isfinite(moment_map_jacobian(mean, variance, omega, tau)))


def test_map_is_between_the_bounds_of_poincare():
    """Var f lies between s^2 E[f']^2 and s^2 E[f'^2], whatever the mean and the variance."""
    m = np.concatenate([-np.geomspace(1e3, 1e-6, 60), [0], np.geomspace(1e-6, 1e3, 60)])[:, None]
    s2 = np.geomspace(1e-6, 1e6, 61)
    _, variance = moment_map(m, s2, omega=1)
    slope = moment_map_jacobian(m, s2, omega=1)[..., 0, 0]
    assert np.all(s2 * slope**2 <= variance * (1 + 1e-12))
    assert np.all(variance <= s2 * SATURATION_01**2)


def test_map_far_above_its_kink_is_a_line():
    variance = np.geomspace(1e-6, 1e4, 11)
    after = moment_map(1e3, variance, omega=1)
    assert_allclose(
        after, np.broadcast_to([[1e3 * LAMBDA_01], [0]], (2, 11)) + [[0], [LAMBDA_01**2]] * variance
    )


def test_map_is_smooth_where_its_formulas_change():
    """Small spreads take integrals of the logarithm's derivatives, large ones its differences."""
    m, s = np.linspace(-8, 8, 33)[:, None], 0.1 + np.array([-1e-13, 1e-13])
    mean, variance = moment_map(m, s**2, omega=1)
    assert_allclose(mean[:, 0], mean[:, 1], rtol=1e-11)
    assert_allclose(variance[:, 0], variance[:, 1], rtol=1e-11)


def test_map_of_a_constant():
    mean, variance = moment_map([-1.0, 0.0, 2.0], 0, omega=[1, 0, 1])
    assert_array_equal(mean, selu([-1.0, 0.0, 2.0]))
    assert_array_equal(variance, 0)
    assert_allclose(moment_map(-1, 1, 1, tau=0), (selu(-1.0), 0))


def test_map_broadcasts():
    after = moment_map([0.0, 0.1], 1, np.zeros((3, 1)), alpha=[[[1.5]], [[1.7]]], scale=[1.0, 1.1])
    assert after[0].shape == after[1].shape == (2, 3, 2)
    assert_allclose((after[0][1, 2, 1], after[1][1, 2, 1]), moment_map(0.1, 1, 0, 1, 1.7, 1.1))


@pytest.mark.parametrize("function", [moment_map, moment_map_jacobian, contraction_factor])
@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ((np.nan, 1), "mean must be finite; got nan."),
        ((0, [1, -2]), "variance must be finite and [a-z ]+; got -2.0."),
        ((0, np.inf), "variance must be finite and [a-z ]+; got inf."),
        ((0, 1, np.inf), "omega must be finite; got inf."),
        ((0, 1, 0, -1), "tau must be finite and [a-z ]+; got -1.0."),
        ((0, 1, 0, 1, [np.nan, 1]), "alpha must be finite; got nan."),
        ((0, 1, 0, 1, 1, np.inf), "scale must be finite; got inf."),
    ],
)
def test_map_refuses(function, moments, message):
    with pytest.raises(ValueError, match=message):
        function(*moments)


def test_jacobian_refuses_a_constant():
    with pytest.raises(ValueError, match=re.escape("tau must be finite and positive; got 0.0.")):
        moment_map_jacobian(0, 1, tau=0)


def test_jacobian_is_the_papers():
    """Equation (6), and more of its digits."""
    jacobian = moment_map_jacobian(0, 1)
    assert_allclose(jacobian, [[0, 0.088834], [0, 0.782648]], atol=1e-6)
    assert_allclose(jacobian, [[0, 0.08883476], [0, 0.78264788]], atol=5e-9)
    assert contraction_factor() == pytest.approx(0.7877, abs=5e-5)
    assert contraction_factor() == pytest.approx(0.78767336, abs=5e-9)


def test_jacobian_at_high_precision():
    m, variance, _, _, *expected = np.transpose(HIGH_PRECISION)
    jacobian = moment_map_jacobian(m, variance, omega=1)
    assert_allclose(jacobian.reshape(-1, 4).T, expected, rtol=1e-12, atol=1e-300)


@LAWS
@given(**MILD)
def test_jacobian_is_finite_differences(mean, variance, omega, tau):
    h = 1e-5
    columns = [
        np.subtract(
            moment_map(mean + h * dmean, variance + h * dvariance, omega, tau),
            moment_map(mean - h * dmean, variance - h * dvariance, omega, tau),
        )
        / (2 * h)
        for dmean, dvariance in [(1, 0), (0, 1)]
    ]
    jacobian = moment_map_jacobian(mean, variance, omega, tau)
    assert_allclose(jacobian, np.transpose(columns), rtol=1e-5, atol=1e-7)


def test_jacobian_broadcasts():
    jacobian = moment_map_jacobian([0.0, 0.1], 1, np.full((3, 1), 0.1), alpha=1.5)
    assert jacobian.shape == (3, 2, 2, 2)
    assert_allclose(jacobian[2, 1], moment_map_jacobian(0.1, 1, 0.1, 1, 1.5))
    assert_allclose(contraction_factor([0, 0.1])[1], contraction_factor(0.1))


# ---------------------------------------------------------------- fixed points


def test_fixed_point_of_normalised_weights_is_0_1():
    assert_allclose(fixed_point(), (0, 1), atol=1e-15)


@LAWS
@given(omega=st.floats(-0.4, 0.4), tau=st.floats(0.6, 1.9))
def test_fixed_point_is_fixed(omega, tau):
    mean, variance = fixed_point(omega, tau)
    after = moment_map(mean, variance, omega, tau)
    assert_allclose(after[0], mean, rtol=0, atol=1e-12 * np.sqrt(variance))
    assert_allclose(after[1], variance, rtol=1e-12)


@LAWS
@given(
    omega=st.floats(-0.2, 0.2),
    tau=st.floats(0.8, 1.25),
    mean=st.floats(-1, 1),
    variance=st.floats(0.02, 16),
)
def test_fixed_point_is_where_layers_lead(omega, tau, mean, variance):
    """From anywhere in theorem 2's and theorem 3's domains, and a little beyond."""
    means, variances = moment_trajectory(mean, variance, [(omega, tau)] * 300)
    assert_allclose((means[-1], variances[-1]), fixed_point(omega, tau), rtol=1e-10, atol=1e-10)


def test_fixed_point_of_other_parameters():
    alpha, scale = selu_parameters(0, 2)
    assert_allclose(fixed_point(0, 1, alpha, scale), (0, 2), atol=1e-14)


def test_fixed_point_broadcasts():
    mean, variance = fixed_point([0.0, 0.1], np.array([[0.9], [1.0], [1.1]]))
    assert mean.shape == variance.shape == (3, 2)
    assert_allclose((mean[2, 1], variance[2, 1]), fixed_point(0.1, 1.1))


def test_fixed_point_far_from_normalised_weights():
    """Slope of g: 2.018 for small variances, 0.3763 for large ones, so tau between their inverses."""
    tau = np.array([0.5, 2.6])
    mean, variance = fixed_point(0, tau)
    assert_allclose(moment_map(mean, variance, 0, tau), (mean, variance), rtol=1e-12)
    slopes = moment_map(0, [1e-30, 1e30])[1] / [1e-30, 1e30]
    assert_allclose(1 / slopes, [0.4956, 2.6576], atol=5e-5)


def test_limits_of_tau_in_closed_form():
    """Near its kink SELU is two lines through 0; from afar, a line and a constant."""
    near = ((1 + ALPHA_01**2) / 2 - (1 - ALPHA_01) ** 2 / (2 * np.pi)) * LAMBDA_01**2
    far = (1 / 2 - 1 / (2 * np.pi)) * LAMBDA_01**2
    assert_allclose((1 / near, 1 / far), (0.4955893, 2.65757), atol=1e-7)
    assert_allclose(moment_map(0, [1e-30, 1e30])[1] / [1e-30, 1e30], (near, far), rtol=1e-12)
    for tau in (0.9999 / near, 1.0001 / far):
        with pytest.raises(ValueError, match="must lead to an attracting fixed point"):
            fixed_point(0, tau)


# Roots of log of the map's variance minus u in u = log variance, with mpmath in 60 digits.
NEAR_THE_LIMITS = {
    0.4957: 8.329346389015401e-08,
    0.496: 1.1457594780860665e-06,
    2.65: 177500.67533868842,
    2.655: 1542150.2135571863,
}


def test_fixed_point_near_the_limits_of_tau():
    """1000 layers one by one did not settle, and attracting points were refused."""
    tau = np.array(list(NEAR_THE_LIMITS))
    assert_allclose(fixed_point(0, tau)[1], list(NEAR_THE_LIMITS.values()), rtol=1e-11)
    for tau in (0.4956, 0.49627, 2.6481, 2.657, 2.6575):
        root = brentq(lambda u, tau: np.log(moment_map(0, np.exp(u), 0, tau)[1]) - u, -69, 69, (tau,), 1e-13)
        assert_allclose(fixed_point(0, tau)[1], np.exp(root), rtol=1e-9)


@pytest.mark.parametrize("weights", [(-2.9, 2.7, 2.6, 1.34), (-2.7, 2.2, 0.35, 1.59)], ids=str)
def test_fixed_point_beside_a_cycle_is_no_answer(weights):
    """It attracts, but layers lead from (0, 1) into a cycle of two means."""
    means, _ = moment_trajectory(0, 1, [weights[:2]] * 301, *weights[2:])
    assert means[-1] == means[-3] and abs(means[-1] - means[-2]) > 1
    with pytest.raises(ValueError, match="got omega=-2"):
        fixed_point(*weights)


def test_every_fixed_point_of_normalised_weights_attracts():
    """So that `networks.SNN` need not ask: it refused 119 of 1500."""
    variance = np.exp(np.linspace(-8, 8, 33))
    for share in np.linspace(-3, 3, 61):
        for mean, v in zip(share * np.sqrt(variance), variance, strict=True):
            try:
                alpha, scale = selu_parameters(mean, v)
            except ValueError:
                continue
            jacobian = moment_map_jacobian(mean, v, 0, 1, alpha, scale)
            assert np.abs(np.linalg.eigvals(jacobian)).max() < 1
    # For any alpha the variance grows less than in proportion, so that it settles at one point.
    x = np.exp(np.linspace(-12, 12, 49))
    for alpha in (1e-3, 0.1, 0.9, 1.1, 3, 10, 100, 1e4):
        growth = moment_map_jacobian(0, x, 0, 1, alpha, 1)[:, 1, 1] * x / moment_map(0, x, 0, 1, alpha, 1)[1]
        assert growth.max() < 1 + 1e-9 and growth.min() > -1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            (0, [1, 1 / 3]),  # torch's own initialisation
            "omega and tau must lead to an attracting fixed point; got omega=0.0, tau=0.3333333333333333, "
            "with which layers lead from (0, 1) to (1.64e-10, 5.83e-31): the variance vanishes. "
            "Weights drawn with variance 1 / n_inputs have omega near 0 and tau near 1.",
        ),
        ((0, 3), "with which layers lead from (0, 1) to (1.44e+15, 4e+31): the moments explode."),
        ((1, 1), "to (0, 1): the moments have not settled after 1000 layers. Weights"),  # repelling
        ((2, [0.4, 0.9]), "got omega=2.0, tau=0.4"),
        ((0, -1), "tau must be finite and positive; got -1.0."),
        ((0, 0), "tau must be finite and positive; got 0.0."),
        ((np.nan, 1), "omega must be finite; got nan."),
        ((0, 1, np.nan), "alpha must be finite; got nan."),
    ],
)
def test_fixed_point_refuses(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fixed_point(*weights)


# ---------------------------------------------------------------- the theorems


@LAWS
@given(**inside(THEOREM_1_DOMAIN))
def test_theorem_1_image_stays_and_map_contracts(mean, variance, omega, tau):
    assert is_in_domain(mean, variance, omega, tau)
    assert is_in_domain(*moment_map(mean, variance, omega, tau), omega, tau)
    assert contraction_factor(mean, variance, omega, tau) < 1


@LAWS
@given(
    first=st.fixed_dictionaries(inside(THEOREM_1_DOMAIN)),
    second=st.fixed_dictionaries(inside(THEOREM_1_DOMAIN)),
)
def test_theorem_1_draws_points_together(first, second):
    second |= {"omega": first["omega"], "tau": first["tau"]}
    before = np.hypot(first["mean"] - second["mean"], first["variance"] - second["variance"])
    after = np.hypot(*np.subtract(moment_map(**first), moment_map(**second)))
    assert after <= 0.8977 * before + 1e-15


def test_theorem_1_on_a_grid():
    """The extremes lie in corners, which the grid has."""
    moments = grid(THEOREM_1_DOMAIN)
    mean, variance = moment_map(**moments)
    assert_allclose((mean.min(), mean.max()), (-0.0310605, 0.0677251), atol=5e-8)
    assert_allclose((variance.min(), variance.max()), (0.803712, 1.481575), atol=5e-7)
    assert contraction_factor(**moments).max() == pytest.approx(0.8976, abs=5e-5)


def test_theorem_1_fixed_points():
    weights = grid({name: THEOREM_1_DOMAIN[name] for name in ("omega", "tau")}, 21)
    mean, variance = fixed_point(**weights)
    assert np.all(is_in_domain(mean, variance, domain=THEOREM_1_FIXED_POINTS))
    assert_allclose((mean.min(), mean.max()), (-0.0209, 0.0547), atol=5e-5)
    assert_allclose((variance.min(), variance.max()), (0.8265, 1.4103), atol=5e-5)


def test_theorem_1_printed_bound_is_rounded_inwards():
    """g leads 5e-7 below the bound that the paper prints for the mean; no fixed point is there."""
    low = THEOREM_1_FIXED_POINTS["mean"][0]
    assert low - 1e-6 < moment_map(-0.1, 0.8, 0.1, 0.95)[0] < low


@pytest.mark.parametrize("low", [2.498, 3.0])
def test_theorem_2_on_a_grid(low):
    """The paper's 3, and the least variance from which it is true."""
    moments = grid(THEOREM_2_DOMAIN | {"variance": (low, 16)}, 13)
    share = moment_map(**moments)[1] / moments["variance"]
    assert share.max() < (0.961 if low == 3 else 1)


def test_theorem_2_is_false_below():
    assert moment_map(-1, 2.497, -0.1, 1.25)[1] > 2.497


@pytest.mark.parametrize(
    ("domain", "truth", "rise"),
    [(THEOREM_3_DOMAINS[0], (7e-5, 0.407), 0.15), (THEOREM_3_DOMAINS[1], (1.7e-5, 0.665), 0.2)],
    ids=["tau 0.8", "tau 0.9"],
)
def test_theorem_3_on_a_grid(domain, truth, rise):
    """On the paper's domain, by how much; and where else it is true."""
    moments = grid(domain, 13)
    assert np.all(moment_map(**moments)[1] > (1 + rise) * moments["variance"])
    powers = grid(domain | {"variance": tuple(np.log(truth))}, 13)
    moments = powers | {"variance": np.exp(powers["variance"])}
    assert np.all(moment_map(**moments)[1] > moments["variance"])


@pytest.mark.parametrize(
    "moments",
    [(0.1, 6.8e-5, 0.1, 0.8), (0.1, 0.408, -0.1, 0.8), (0.1, 1.6e-5, 0.1, 0.9), (0.1, 0.667, -0.1, 0.9)],
)
def test_theorem_3_is_false_beyond(moments):
    assert moment_map(*moments)[1] < moments[1]


@LAWS
@given(**inside(THEOREM_2_DOMAIN))
def test_theorem_2_variance_falls(**moments):
    assert moment_map(**moments)[1] < moments["variance"]


@LAWS
@given(moments=st.one_of(*(st.fixed_dictionaries(inside(domain)) for domain in THEOREM_3_DOMAINS)))
def test_theorem_3_variance_rises(moments):
    assert moment_map(**moments)[1] > moments["variance"]


def test_theorems_2_and_3_bound_the_fixed_points():
    omega = np.linspace(*THEOREM_2_DOMAIN["omega"], 21)[:, None]
    for domain, least in zip(THEOREM_3_DOMAINS, (0.4088, 0.6711), strict=True):
        _, variance = fixed_point(omega, np.linspace(*domain["tau"], 21))
        assert domain["variance"][1] < variance.min() < variance.max() < THEOREM_2_DOMAIN["variance"][0]
        assert_allclose((variance.min(), variance.max()), (least, 2.2327), atol=2e-4)


def test_is_in_domain_includes_the_corners():
    assert is_in_domain(0, 1)
    assert is_in_domain(0.1, 1.5, -0.1, 0.95)  # corners belong to it
    assert_array_equal(
        is_in_domain([0, 0.2, 0, 0, np.nan], [1, 1, 2, 1, 1], [0, 0, 0, 0.2, 0]), [1, 0, 0, 0, 0]
    )
    assert_array_equal(is_in_domain(0, 1, tau=[[0.9], [1.0]]), [[False], [True]])
    assert is_in_domain(0.9, 4, 0.1, 0.8, domain=THEOREM_2_DOMAIN)


# ---------------------------------------------------------------- the layers of a network


def test_weight_moments_of_layers():
    for layer in (torch.nn.Linear(5, 3), torch.nn.Conv2d(2, 3, (4, 5))):
        weight = layer.weight.detach()
        omega, tau = weight_moments(weight)
        rows = weight.reshape(3, -1).double().numpy()
        assert omega.dtype == tau.dtype == np.float64
        assert_allclose(omega, [row.sum() for row in rows], rtol=1e-12, atol=1e-15)
        assert_allclose(tau, [row @ row for row in rows], rtol=1e-12)


def test_weight_moments_refuse_a_vector():
    message = "weight must have two dimensions or more, units first; got shape (3,). "
    with pytest.raises(ValueError, match=re.escape(message)):
        weight_moments([1, 2, 3])


def test_trajectory_of_normalised_weights_is_the_map_again_and_again():
    means, variances = moment_trajectory([0.1, -0.2], 1.5, [(0.0, 1.0)] * 3)
    assert means.shape == variances.shape == (4, 2)
    moments = np.array([0.1, -0.2]), np.array([1.5, 1.5])
    for layer in range(4):
        assert_allclose((means[layer], variances[layer]), moments)
        moments = moment_map(*moments)


def test_trajectory_pools_the_units_of_a_layer():
    """Half the samples come from either unit: their moments are those of the mixture."""
    omega, tau = [0.5, -0.5], [0.8, 1.2]
    means, variances = moment_trajectory(1, 2, [(omega, tau)])
    of_units = np.array(moment_map(1, 2, omega, tau))
    mean = of_units[0].mean()
    assert means[1] == pytest.approx(mean)
    assert variances[1] == pytest.approx(np.mean(of_units[1] + of_units[0] ** 2) - mean**2)


def test_trajectory_refuses_before_any_layer():
    """Without layers a negative variance came back."""
    with pytest.raises(ValueError, match=re.escape("variance must be finite and not negative; got -1.0.")):
        moment_trajectory(0, -1, [])


def test_trajectory_without_layers():
    means, variances = moment_trajectory(0, 1, [])
    assert_array_equal([means, variances], [[0], [1]])


@pytest.mark.parametrize("gain", [1.0, 0.8], ids=["normalised", "small"])
def test_trajectory_is_what_a_network_shows(gain):
    """Moments over samples and units; with the weights' own moments, within a few percent."""
    rng = np.random.default_rng(0)
    weights = gain * rng.normal(scale=1 / 16, size=(8, 256, 256)) * rng.uniform(0.6, 1.3, (8, 256, 1))
    y = rng.normal(0.3, 1.3, (1000, 256))
    measured = [(y.mean(), y.var())]
    for weight in weights:
        y = selu(y @ weight.T)
        measured.append((y.mean(), y.var()))
    means, variances = moment_trajectory(*measured[0], map(weight_moments, weights))
    assert_allclose(means, [mean for mean, _ in measured], atol=0.05)
    assert_allclose(variances, [variance for _, variance in measured], rtol=0.06)


# ---------------------------------------------------------------- dropout


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
        ((1,), "rate must be in [0, 1), where 0 drops nothing; got 1.0."),
        (([0.5, -0.1],), "rate must be in [0, 1), where 0 drops nothing; got -0.1."),
        ((np.nan,), "rate must be finite; got nan."),
        ((0.1, 0, 0), "variance must be finite and positive; got 0.0."),
        ((0.1, 0, -1), "variance must be finite and positive; got -1.0."),
        ((0.1, 0, np.inf), "variance must be finite and positive; got inf."),
        ((0.1, np.nan), "mean must be finite; got nan."),
        ((0.1, 0, 1, np.nan), "saturation must be finite; got nan."),
    ],
)
def test_affine_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        alpha_dropout_affine(*arguments)
