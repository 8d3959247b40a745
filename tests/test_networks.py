"""Building blocks against torch's own layers, hand-written formulas, and the errors of earlier ports."""

import math
import pickle
import re
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from torch import nn

from sksnn import SNNClassifier
from sksnn.encodings import Standardizer
from sksnn.networks import (
    SNN,
    AlphaDropout,
    EncodedNetwork,
    draw_dropped,
    draw_keep,
    layer_sizes,
    lecun_normal_,
)

ALPHA, LAMBDA = 1.6732632423543772, 1.0507009873554805
LAWS = settings(max_examples=50, deadline=None, derandomize=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


# ---------------------------------------------------------------- widths


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ((3, 64, "rectangular", 2), (64, 64, 64)),
        ((3, 64, "conic", 2), (64, 20, 6)),
        ((1, 64, "conic", 2), (64,)),
        ((4, 256, "conic", 1), (256, 64, 16, 4)),
        ((8, 256, "conic", 1), (256, 128, 64, 32, 16, 8, 4, 4)),  # never below 4
        ((3, 1000, "conic", 1), (1000, 100, 10)),
        ((3, 16, "conic", 100), (100, 100, 100)),  # nor below the outputs
        ((2, 1, "rectangular", 9), (1, 1)),
    ],
)
def test_layer_sizes_at_known_values(arguments, sizes):
    assert layer_sizes(*arguments) == sizes


@LAWS
@given(n_layers=st.integers(1, 40), n_units=st.integers(1, 2048), n_outputs=st.integers(1, 300))
def test_conic_layers_fall_geometrically_to_a_floor(n_layers, n_units, n_outputs):
    sizes = layer_sizes(n_layers, n_units, "conic", n_outputs)
    floor = max(n_outputs, 4)
    assert len(sizes) == n_layers
    assert sizes[0] == max(n_units, floor)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert min(sizes) >= floor
    exact = np.geomspace(n_units, n_outputs, n_layers + 1)[:-1]
    assert all(size == floor or abs(size - e) <= 0.5 + 1e-6 for size, e in zip(sizes, exact, strict=True))


# ---------------------------------------------------------------- initialisation


@pytest.mark.parametrize(
    ("shape", "fan_in"),
    [((1000, 300), 300), ((10, 20_000), 20_000), ((20_000, 10), 10), ((200, 30, 5, 5), 750)],
    ids=["linear", "narrowing", "widening", "convolution"],
)
def test_weights_are_normal_with_variance_1_over_fan_in(shape, fan_in):
    """Port errors 1 (fan out for fan in), 8 (4/n), 10 (a fixed 0.02) and 11 ("n neurons in the layer").

    The bound also excludes torch's gain for SELU, whose variance is (3/4)**2 / n.
    """
    w = lecun_normal_(torch.empty(shape), seeded()).double().flatten()
    assert w.var().item() * fan_in == pytest.approx(1, abs=5 * math.sqrt(2 / len(w)))
    assert stats.kstest(w[:50_000] * math.sqrt(fan_in), "norm").pvalue > 1e-3


@pytest.mark.parametrize("sizes", [(784, 10), (784, 64, 10), (64, 784, 10), (10, 256, 10)], ids=str)
def test_every_layer_of_any_shape_keeps_variance_1(sizes):
    """Port error 1: with fan out, logits of 784 -> 10 have 78 times the variance."""
    net = SNN(sizes[0], sizes[-1], sizes[1:-1], generator=seeded())
    for layer in net.layers:
        z = layer(normal(4000, layer.in_features, dtype=torch.float32))
        # 10 units only: the variance of their sums of squared weights decides the bound.
        bound = 5 * math.sqrt(2 / layer.weight.numel() + 2 / z.numel()) + 0.01
        assert z.square().mean().item() == pytest.approx(1, abs=bound)


def test_biases_are_0_in_every_layer():
    """Port error 6: a comment says zero, the code 0.1."""
    net = SNN(10, 3, (8, 4), generator=seeded())
    biases = [layer.bias for layer in net.layers]
    assert [len(b) for b in biases] == [8, 4, 3]
    assert not any(b.any() for b in biases)


def test_the_seed_decides_the_weights():
    first, again, other = (SNN(5, 2, (6,), generator=seeded(s)).layers[0].weight for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_generators_stay_untouched():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    net = SNN(10, 3, (8, 4), 0.1, 0.1, generator=seeded(), dropout_generator=seeded())
    net(torch.ones(5, 10)).sum().backward()
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_without_generators_the_global_one_decides():
    with torch.random.fork_rng():
        outputs = []
        for _ in range(2):
            torch.manual_seed(3)
            outputs.append(SNN(4, 2, (6,), 0.5)(torch.ones(9, 4)))
    assert torch.equal(*outputs)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.1, 0.5, 0.9])
def test_masks_keep_1_minus_rate(rate):
    n = 400_000
    kept = int(draw_keep((n,), rate, seeded()).sum())
    assert abs(kept - n * (1 - rate)) < 4.5 * math.sqrt(n * rate * (1 - rate))


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75, 0.95])
def test_neighbours_are_dropped_independently(rate):
    """All 16 patterns of four neighbours occur as often as independent draws make them."""
    n = 100_000
    lanes = draw_keep((n, 4), rate, seeded()).long()
    patterns = torch.bincount(lanes @ torch.tensor([1, 2, 4, 8]), minlength=16).numpy()
    kept = np.array([pattern.bit_count() for pattern in range(16)])
    assert stats.chisquare(patterns, n * (1 - rate) ** kept * rate ** (4 - kept)).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_every_place_is_dropped_as_often(rate):
    """The gaps start at the first unit and reach the last; draws after each other are independent."""
    generator, n_draws = seeded(), 20_000
    keep = torch.stack([draw_keep((40,), rate, generator) for _ in range(n_draws)])
    dropped = n_draws - keep.sum(0)
    spread = n_draws * rate * (1 - rate)
    assert stats.chi2.sf(((dropped - n_draws * rate) ** 2 / spread).sum(), 40) > 1e-3
    both = ((1 - keep[:-1]) * (1 - keep[1:])).sum().item()
    assert both == pytest.approx(40 * n_draws * rate**2, abs=4.5 * math.sqrt(40 * n_draws) * rate)


@LAWS
@given(n=st.integers(0, 300), rate=st.floats(0, 1, exclude_max=True))
def test_dropped_units_are_ascending_and_inside(n, rate):
    dropped = draw_dropped(n, rate, seeded())
    inside = dropped[dropped < n]
    assert (inside.diff() > 0).all() and (dropped.diff() >= 0).all()
    assert len(inside) == 0 or 0 <= inside[0]
    assert (dropped <= n).all()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (7,), (3, 5), (2, 3, 5)], ids=str)
def test_masks_of_any_shape(shape):
    keep, again = (draw_keep(shape, 0.5, seeded()) for _ in range(2))
    assert keep.shape == shape
    assert keep.dtype == torch.float32 and set(keep.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(keep, again)


def test_masks_at_the_ends_of_the_rates():
    assert draw_keep((10_000,), 0.0, seeded()).all()
    assert draw_keep((10_000,), 1e-9, seeded()).all()
    assert draw_keep((10_000,), 1e-300, seeded()).all()
    assert not draw_keep((10_000,), 1 - 1e-9, seeded()).any()


# ---------------------------------------------------------------- alpha dropout


@pytest.mark.parametrize("rate", [0.0625, 0.25, 0.5, 0.9])
def test_dropout_is_torchs_for_the_same_mask(rate):
    x = normal(1000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = nn.AlphaDropout(rate)(x)
    keep = expected != expected.mode().values
    assert 0 < keep.sum() < 1000
    assert_allclose(AlphaDropout(rate)(x, keep), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_selu_and_dropout_keep_moments_as_torchs_do(rate):
    z = normal(400_000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = nn.AlphaDropout(rate)(nn.SELU()(z))
    ours = AlphaDropout(rate, generator=seeded())(F.selu(z))
    for y in (ours, theirs):
        assert y.mean().item() == pytest.approx(0, abs=0.01)
        assert y.var().item() == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.05, 1.3), (-0.1, 2.0), (1.0, 0.2)])
def test_dropout_keeps_any_moments_exactly(mean, variance):
    """Two values with these moments, a quarter of each dropped: no chance involved."""
    x = torch.tensor([mean - math.sqrt(variance), mean + math.sqrt(variance)], dtype=torch.float64)
    keep = torch.tensor([[True, True], [True, True], [True, True], [False, False]])
    y = AlphaDropout(0.25, mean, variance)(x.expand(4, 2), keep)
    assert y.mean().item() == pytest.approx(mean, abs=1e-12)
    assert y.var(correction=0).item() == pytest.approx(variance, rel=1e-12)


def test_dropped_units_saturate_and_are_not_0():
    """Port error 5: plain dropout in a SELU network sets 0, the most common value there is."""
    y = AlphaDropout(0.05)(torch.zeros(2), torch.tensor([True, False]))
    assert_allclose(y, [0.0839355722, 0.9548444760 * -ALPHA * LAMBDA + 0.0839355722], rtol=1e-6)


def test_dropout_that_does_nothing_returns_the_same_object():
    x = normal(5)
    assert AlphaDropout(0.0)(x) is x
    assert AlphaDropout(0.5).eval()(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0,), "rate must be in [0, 1), where 0 drops nothing; got 1.0."),
        ((0.1, 0.0, 0.0), "variance must be finite and positive; got 0.0."),
        ((0.1, np.nan), "mean must be finite; got nan."),
    ],
)
def test_dropout_refuses(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AlphaDropout(*arguments)


def test_dropout_at_nearly_rate_1_is_finite():
    assert AlphaDropout(1 - 1e-12, generator=seeded())(normal(100)).isfinite().all()


# ---------------------------------------------------------------- the network


def small_net(**settings):
    return SNN(4, 2, (5, 3), dropout=0.25, input_dropout=0.5, generator=seeded(), **settings).double()


def small_masks(n=6):
    return [draw_keep((n, width), 0.4, seeded(width)) for width in (4, 5, 3)]


def by_hand(net, x, masks, rates):
    """Formulas (2) and section "New Dropout Technique" of the paper, written out."""
    parameters = [(layer.weight, layer.bias) for layer in net.layers]
    for i, (keep, rate) in enumerate(zip(masks, rates, strict=True)):
        if i > 0:
            w, b = parameters[i - 1]
            z = x @ w.T + b
            x = LAMBDA * torch.where(z > 0, z, ALPHA * torch.expm1(z.clamp(max=0)))
        saturation, q = -LAMBDA * ALPHA, 1 - rate
        a = (q + saturation**2 * q * (1 - q)) ** -0.5
        d = keep.double()
        x = a * (x * d + saturation * (1 - d)) - a * (1 - q) * saturation
    w, b = parameters[-1]
    return x @ w.T + b


def test_forward_is_the_papers_formulas():
    net, x, masks = small_net(), normal(6, 4), small_masks()
    assert net.input_scale is None
    expected = by_hand(net, x, masks, rates=(0.5, 0.25, 0.25))
    assert_allclose(net(x, masks).detach(), expected.detach(), rtol=1e-10)
    assert_allclose(net(x, tuple(masks)).detach(), expected.detach(), rtol=1e-10)
    everything = [torch.ones_like(mask) for mask in masks]
    undropped = by_hand(net, x, everything, rates=(0, 0, 0))
    assert_allclose(net.eval()(x).detach(), undropped.detach(), rtol=1e-10)


def test_scaled_inputs_are_a_first_layer_of_scaled_weights():
    net, plain, x, masks = small_net(scale_inputs=True), small_net(), normal(6, 4), small_masks()
    # In float32 the factors begin at exactly 1.
    outputs = [each.float()(x.float(), [mask.float() for mask in masks]) for each in (net, plain)]
    assert torch.equal(*outputs)
    net, plain = net.double(), plain.double()
    with torch.no_grad():
        net.layers[0].raw_scale.copy_(torch.tensor([0.5, -2.0, 0.0, 3.0]))
        plain.layers[0].weight.mul_(net.input_scale)
    assert_allclose(net(x, masks).detach(), plain(x, masks).detach(), rtol=1e-12)


@pytest.mark.parametrize("scale_inputs", [False, True])
def test_gradients_by_finite_differences(scale_inputs):
    net, x = small_net(scale_inputs=scale_inputs), normal(6, 4).requires_grad_()
    masks = small_masks()
    names, parameters = zip(*net.named_parameters(), strict=True)

    def forward(x, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x, masks))

    assert torch.autograd.gradcheck(forward, (x, *parameters))


def test_fresh_masks_come_from_the_dropout_generator():
    x = normal(6, 4)
    outputs = [small_net(dropout_generator=seeded(s))(x) for s in (0, 0, 1)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("n_masks", [1, 2, 4])
def test_each_layer_needs_its_mask(n_masks):
    message = f"masks must hold 3, one for the inputs and one a hidden layer; got {n_masks}. Leave them out"
    with raises(message):
        small_net()(normal(6, 4), (2 * small_masks())[:n_masks])


@pytest.mark.parametrize("sizes", [(), (7,), (7, 5), (3, 9, 4)], ids=str)
def test_widths_chain(sizes):
    """Port error 3: one width for inputs and hidden layers, so only square networks ran."""
    net = SNN(10, 3, sizes)
    assert [tuple(layer.weight.shape) for layer in net.layers] == list(
        zip((*sizes, 3), (10, *sizes), strict=True)
    )
    assert net(torch.zeros(2, 10)).shape == (2, 3)


def test_evaluation_does_not_drop():
    """Port error 3: never calling eval() leaves dropout on in predictions."""
    net, x = small_net(dropout_generator=seeded()), normal(6, 4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_leaves_the_inputs_alone():
    """Port error 5: any dropout implied a rate of 0.2 on the inputs."""
    net, x = SNN(4, 2, (5,), dropout=0.5), normal(6, 4)
    assert net.input_dropout(x) is x


def test_selu_gradient_at_0_and_far_out():
    """Port error 2: exp of large inputs gave 0 * inf = NaN, and max/min the mean of both slopes at 0."""
    net = SNN(1, 1, (1,)).eval()
    for parameter in net.parameters():
        nn.init.ones_(parameter) if parameter.ndim == 2 else nn.init.zeros_(parameter)
    x = torch.tensor([[-1e30], [-50.0], [-1.0], [0.0], [1e-8], [89.0], [1e30]], requires_grad=True)
    net(x).sum().backward()
    left = [LAMBDA * ALPHA * math.exp(z) for z in (-1e30, -50.0, -1.0, 0.0)]
    assert_allclose(x.grad[:, 0], left + [LAMBDA] * 3, rtol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_moments_stay_near_0_1_through_32_layers(dropout):
    """Within the domain of theorem 1: |mean| <= 0.1 and 0.8 <= variance <= 1.5."""
    net = SNN(256, 1, (256,) * 32, dropout, generator=seeded(), dropout_generator=seeded())
    x, moments = normal(512, 256, dtype=torch.float32), []
    with torch.no_grad():
        for layer in net.layers[:-1]:
            x = net.dropout(F.selu(layer(x)))
            moments.append((x.mean().item(), x.var().item()))
    mean, variance = np.transpose(moments)
    assert abs(mean).max() < 0.1
    assert 0.8 < variance.min() <= variance.max() < 1.5


# ---------------------------------------------------------------- raw rows in


def test_encoded_network_standardises_raw_rows():
    """Port error 7: pixels in [0, 1] or [0, 255] violate the theory's first assumption."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(500, 40)).astype(np.uint8)
    encoder, net = Standardizer.fit(pixels), SNN(40, 3, (200,), generator=seeded()).eval()
    model = EncodedNetwork(encoder, net)
    expected = net(torch.from_numpy((pixels - pixels.mean(0)) / pixels.std(0)).float())
    assert_allclose(model(torch.from_numpy(pixels)).detach(), expected.detach(), rtol=1e-4, atol=1e-5)
    hidden = net.layers[0](encoder(torch.from_numpy(pixels)).float())
    assert hidden.mean().item() == pytest.approx(0, abs=0.05)
    assert hidden.var().item() == pytest.approx(1, abs=0.1)


def test_encoded_network_does_not_learn_from_new_rows():
    """Port error 8: statistics over training and test rows."""
    model = EncodedNetwork(Standardizer.fit(np.arange(8.0).reshape(4, 2)), SNN(2, 1, (4,)))
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    model(normal(9, 2) * 1e6)
    assert all(torch.equal(before[name], value) for name, value in model.encoder.state_dict().items())


def test_encoded_network_subtracts_in_float64_and_answers_in_its_own_dtype():
    model = EncodedNetwork(Standardizer([1.7e9], [1.0]), SNN(1, 2, ())).eval()
    rows = torch.tensor([[1.7e9], [1.7e9 + 1]], dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        outputs = model.to(dtype)(rows)
        assert outputs.dtype == dtype
        assert torch.equal(outputs[1], model.network.layers[0].weight[:, 0])


def test_masks_drawn_at_once_are_the_masks_handed_in():
    """Two ways to the same loss and gradients: one draw for all layers, or a mask for each."""
    x = torch.randn(7, 6, dtype=torch.float64, generator=seeded(1))
    net = SNN(6, 2, (9, 5), 0.3, generator=seeded(2), dropout_generator=seeded(3)).double().train()
    drawn = draw_keep((7 * 9 + 7 * 5,), 0.3, seeded(3)).bool()
    masks = [None, drawn[: 7 * 9].view(7, 9), drawn[7 * 9 :].view(7, 5)]
    at_once, one_by_one = net(x), net(x, masks)
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-12)
    gradients = [
        torch.autograd.grad(out.square().sum(), tuple(net.parameters())) for out in (at_once, one_by_one)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- other fixed points


@pytest.mark.parametrize("point", [(0.0, 1.0), (0.0, 2.0), (0.1, 1.5), (-0.2, 0.8), (0.3, 1.0)], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_settle_at_the_fixed_point(point, dropout):
    """From inputs of mean 0 and variance 1, whatever the point: it attracts."""
    net = SNN(
        400, 1, (400,) * 24, dropout, generator=seeded(), dropout_generator=seeded(1), fixed_point=point
    )
    x = normal(1000, 400, dtype=torch.float32)
    with torch.no_grad():
        for layer in net.layers[:-1]:
            x = net.dropout(net.activate(layer(x)))
    assert x.mean().item() == pytest.approx(point[0], abs=0.06)
    assert x.var().item() == pytest.approx(point[1], rel=0.2)


def test_another_fixed_point_starts_with_centred_weights_behind_the_first_layer():
    first, second, output = SNN(300, 2, (500, 4), generator=seeded(), fixed_point=(0.1, 1.5)).layers
    usual = SNN(300, 2, (500, 4), generator=seeded(), fixed_point=(0.0, 1.5)).layers
    assert torch.equal(first.weight, usual[0].weight)
    assert torch.equal(usual[1].weight, SNN(300, 2, (500, 4), generator=seeded()).layers[1].weight)
    for layer in (second, output):
        assert_allclose(layer.weight.detach().sum(1), np.zeros(layer.out_features), atol=1e-5)


@pytest.mark.parametrize("width", [2, 4, 30])
def test_centred_weights_keep_their_sum_of_squares(width):
    """On average over units; centring alone would take 1 / width of it."""
    layer = SNN(3, 40_000, (width,), generator=seeded(), fixed_point=(0.1, 1.5)).layers[1]
    assert layer.weight.square().sum(1).mean().item() == pytest.approx(1, abs=0.03)


def test_columns_that_share_a_factor_keep_their_variance():
    """The first layer was centred, too, which removes what all columns share."""
    x = normal(2000, 1, seed=2) + 0.3 * normal(2000, 20)
    x = ((x - x.mean(0)) / x.std(0)).float()
    net = SNN(20, 2, (256,) * 6, generator=seeded(), fixed_point=(0.1, 1.5)).eval()
    with torch.no_grad():
        variance = net.activate(net.layers[0](x)).var().item()
    assert 0.7 < variance < 1.5  # was 0.13
    two = SNN(2, 1, (8,), generator=seeded(), fixed_point=(0.1, 1.5)).eval()
    assert not torch.allclose(*two(torch.tensor([[1.0, 1.0], [-3.0, -3.0]])))


def test_slowly_attracting_fixed_points_are_taken():
    """Those with a spectral radius near 1 were refused with a message about omega."""
    assert SNN(3, 2, (4,), fixed_point=(0.9624, 2.0)).fixed_point == (0.9624, 2.0)


def test_another_fixed_point_inside_an_estimator_pickles(iris):
    """The recipe in the docstring was a lambda, which does not."""
    net = partial(SNN, hidden_layer_sizes=(64,) * 8, fixed_point=(0.1, 1.5))
    model = SNNClassifier(architecture=net, max_epochs=2, random_state=0).fit(*iris)
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_proba(iris[0]), model.predict_proba(iris[0]))
    assert again.net_.module_.network.fixed_point == (0.1, 1.5)


def test_another_fixed_point_is_another_selu():
    net = SNN(3, 2, (4,), fixed_point=(0.0, 2.0)).eval()
    assert (net.alpha, net.scale) == pytest.approx((1.97126, 1.06071), abs=1e-5)  # the paper's appendix
    x = torch.linspace(-3, 3, 7)
    assert_allclose(net.activate(x), 1.06071 * torch.where(x > 0, x, 1.97126 * torch.expm1(x)), rtol=1e-4)
    assert net.dropout.saturation == -net.scale * net.alpha
    assert (net.dropout.mean, net.dropout.variance) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((5.0, 1.0), "mean must lie between -0.803261 and 0.683332"),
        ((0.0, -1.0), "variance must be finite and positive; got -1.0."),
        (1.0, "fixed_point must be a pair of numbers, (mean, variance); got 1.0. The paper's is (0, 1)."),
        ((0, 1, 2), "fixed_point must be a pair of numbers, (mean, variance); got (0, 1, 2)."),
        (("a", 1), "fixed_point must be a pair of numbers, (mean, variance); got ('a', 1)."),
    ],
)
def test_impossible_fixed_points_are_refused(point, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SNN(3, 2, (4,), fixed_point=point)
