"""Names and callables become networks; the rivals against torch's own layers and formulas by hand."""

import copy
import math
import pickle
import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, raises
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from sksnn import SNNClassifier, SNNRegressor
from sksnn.architectures import (
    ARCHITECTURES,
    BatchNorm,
    Dropout,
    WeightNormLinear,
    build_network,
    multiply_adds,
)
from sksnn.networks import SNN, AlphaDropout, draw_keep, lecun_normal_

RIVALS = [name for name in ARCHITECTURES if name != "snn"]
NORMALIZED_BY_BATCH = ["batchnorm", "resnet"]
SIZES = {"none": (), "one": (5,), "equal": (6, 6), "conic": (9, 6, 4), "even": (6, 6, 5, 3)}
RATE, INPUT_RATE = 0.25, 0.5

every = pytest.mark.parametrize("name", ARCHITECTURES)
every_rival = pytest.mark.parametrize("name", RIVALS)
all_sizes = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def make(name, sizes=SIZES["conic"], dropout=RATE, input_dropout=INPUT_RATE, seed=0, masks=None):
    """A network of 4 inputs and 3 outputs in float64, no parameter of which is still what init made it."""
    net = build_network(name, 4, 3, sizes, dropout, input_dropout, seeded(seed), masks).double()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter += 0.3 * normal(*parameter.shape, seed=100 * seed + i)
    return net


def make_masks(sizes, n=7, seed=0):
    return [draw_keep((n, width), 0.4, seeded(10 * seed + i)).double() for i, width in enumerate((4, *sizes))]


def scaled(masks):
    """What ordinary dropout multiplies with."""
    return [masks[0] / (1 - INPUT_RATE), *(mask / (1 - RATE) for mask in masks[1:])]


# ---------------------------------------------------------------- names and callables


def test_the_name_snn_is_the_class():
    built = build_network("snn", 5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    direct = SNN(5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    assert repr(built) == repr(direct)
    assert [m.rate for m in built.modules() if isinstance(m, AlphaDropout)] == [0.2, 0.1]
    for ours, expected in zip(built.parameters(), direct.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_all_six_rivals_of_the_paper_have_a_name():
    assert RIVALS == ["msra", "batchnorm", "layernorm", "weightnorm", "highway", "resnet"]


@every
@all_sizes
def test_every_name_maps_inputs_to_outputs(name, sizes):
    masks = seeded()
    net = build_network(name, 5, 3, sizes, 0.1, 0.1, generator=seeded(), dropout_generator=masks)
    before = masks.get_state()
    assert net(torch.zeros(7, 5)).shape == (7, 3)
    assert not torch.equal(before, masks.get_state()), "masks come from another generator"


@every
def test_global_generators_stay_untouched(name):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    net = build_network(name, 5, 3, (6, 6, 4), 0.1, 0.1, seeded(), seeded())
    net(torch.ones(7, 5)).sum().backward()
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


@every
def test_the_seed_decides_weights_and_masks(name):
    def outputs(seed, masks):
        net = build_network(name, 5, 3, (8, 6, 4), 0.3, 0.3, seeded(seed), seeded(masks))
        return net(normal(9, 5).float())

    assert torch.equal(outputs(0, 0), outputs(0, 0))
    assert not torch.equal(outputs(0, 0), outputs(0, 1))
    assert not torch.equal(outputs(0, 0), outputs(1, 0))


def test_a_callable_gets_the_two_widths_and_decides_the_rest():
    calls = []

    def architecture(*args, **kwargs):
        calls.append((args, kwargs))
        return nn.Sequential(nn.Linear(args[0], 7), nn.Tanh(), nn.Linear(7, args[1]))

    net = build_network(architecture, 5, 3, (8, 4), 0.1, 0.2, generator=seeded())
    assert calls == [((5, 3), {})]
    assert net[0].out_features == 7


@pytest.mark.parametrize(
    "wrong", [None, nn.Linear, nn.ReLU(), lambda x: x], ids=["None", "a class", "no parameters", "a function"]
)
def test_a_wrong_return_is_named(wrong):
    message = (
        "architecture must return a torch.nn.Module with parameters when called with (n_inputs, n_outputs); "
        f"got {wrong!r}."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        build_network(lambda i, o: wrong, 5, 3, (), 0, 0)


def test_a_module_is_refused_as_an_architecture(iris):
    """It was called with the widths: "takes 2 positional arguments but 3 were given"."""
    with raises("got a module, Linear. Give its class, functools.partial(its class, ...), or", TypeError):
        SNNClassifier(architecture=nn.Linear(4, 3)).fit(*iris)


# ---------------------------------------------------------------- initialisation


def test_weights_have_the_variance_of_he():
    """N(0, 2 / fan_in) in every layer, and not 2 / fan_out or 4 / n (port errors 1 and 8)."""
    net = ARCHITECTURES["msra"](300, 60, (400, 100), generator=seeded())
    weights = [p.detach().double() for p in net.parameters() if p.ndim == 2]
    assert [tuple(w.shape) for w in weights] == [(400, 300), (100, 400), (60, 100)]
    for w in weights:
        assert w.var().item() * w.shape[1] == pytest.approx(2, rel=5 * math.sqrt(2 / w.numel()))
        assert stats.kstest(w.flatten() * math.sqrt(w.shape[1] / 2), "norm").pvalue > 1e-3


@pytest.mark.parametrize("sizes", [(1024,) * 4, (1024, 256, 1024)], ids=["rectangular", "hourglass"])
def test_relus_of_msra_keep_their_second_moment(sizes):
    """What the initialisation is for, arXiv:1502.01852, equation 10."""
    net, x = ARCHITECTURES["msra"](256, 2, sizes, generator=seeded()), normal(2000, 256).float()
    with torch.no_grad():
        for block in net.blocks:
            x = block(x, net.dropout, iter([None]))
    assert x.square().mean().item() == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("name", ["batchnorm", "layernorm", "highway", "resnet"])
def test_square_layers_of_the_others_begin_like_msras(name):
    """Gates and the layers that are gated; a projection keeps the variance instead: 1 / fan_in."""
    net = build_network(name, 300, 300, (300, 300, 200, 200), 0, 0, seeded())
    for key, w in net.named_parameters():
        if w.ndim == 2:
            gain = 1 if "carry" in key or "shortcut" in key else 2
            assert w.var().item() * w.shape[1] == pytest.approx(gain, rel=5 * math.sqrt(2 / w.numel())), key


@every_rival
def test_vectors_begin_as_biases_gates_or_gains(name):
    """Weight decay spares vectors, so that each must be one of these."""
    net = build_network(name, 10, 3, (8, 8, 6, 4), 0, 0, seeded())
    for module in net.modules():
        for key, p in module.named_parameters(recurse=False):
            assert p.ndim == (2 if key in ("weight", "direction") and not is_norm(module) else 1)
            if p.ndim == 1 and key != "gain":
                is_gate = any(module is getattr(block, "gate", None) for block in net.blocks)
                first = 1.0 if key == "weight" else -2.0 if is_gate else 0.0
                assert (p == first).all()


def is_norm(module):
    return isinstance(module, nn.BatchNorm1d | nn.LayerNorm)


def test_weight_norm_begins_as_the_network_without():
    kwargs = {"dropout": 0, "input_dropout": 0}
    nets = [ARCHITECTURES[name](4, 3, (9, 6), **kwargs, generator=seeded()) for name in RIVALS]
    plain, normed = nets[0].double(), nets[RIVALS.index("weightnorm")].double()
    assert_close(normed(normal(7, 4)), plain(normal(7, 4)), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- dropout


def test_dropout_is_torchs_for_the_same_mask():
    x, dropout = normal(1000).abs() + 1, Dropout(0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = nn.Dropout(0.3)(x)
    keep = expected != 0
    assert 200 < (~keep).sum() < 400
    assert_close(dropout(x, keep), expected, rtol=1e-12, atol=0)
    assert_close(dropout(x, keep.double()), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    n = 200_000
    y = Dropout(rate, seeded())(torch.ones(n))
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1.0) / (1 - rate))}
    sigma = math.sqrt(rate * (1 - rate) / n)
    assert (y == 0).double().mean().item() == pytest.approx(rate, abs=4.5 * sigma)
    assert y.mean().item() == pytest.approx(1, abs=4.5 * sigma / (1 - rate))


def test_dropout_that_does_nothing_returns_the_same_object():
    x = normal(5)
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5).eval()(x) is x


@pytest.mark.parametrize("rate", [1.0, -0.1, math.nan])
def test_dropout_refuses(rate):
    with raises(f"rate must be in [0, 1); got {rate}. Use 0 to drop nothing."):
        Dropout(rate)


@every_rival
def test_fresh_masks_are_drawn_at_the_rates_of_each_layer(name):
    """The inputs first, then each hidden layer: what comes of handing the same masks in."""
    sizes, x = (6, 6, 5, 3), normal(7, 4)
    masks, source = make_masks(sizes), seeded(5)
    masks = [draw_keep(m.shape, INPUT_RATE if i == 0 else RATE, source) for i, m in enumerate(masks)]
    fresh, given = make(name, sizes, masks=seeded(5)), make(name, sizes)
    assert_close(fresh(x), given(x, masks), rtol=1e-12, atol=1e-12)
    assert_close(given(x, masks), given(x, tuple(mask.bool() for mask in masks)))
    given.eval()
    assert torch.equal(given(x), given(x, masks)), "nothing is dropped in evaluation"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_mask_may_lack(name):
    """The SNN and its rivals share the check."""
    message = "masks must hold 4, one for the inputs and one a hidden layer; got 3. Leave them out"
    with raises(message):
        make(name)(normal(7, 4), make_masks(SIZES["conic"])[:3])


# ---------------------------------------------------------------- against torch's layers and by hand


def torchs(net, hidden, output=nn.Linear):
    """Compose torch's modules, with dropout's factors between them, into (module, x, factors) -> logits."""
    widths = (4, *net.hidden_layer_sizes)
    layers = nn.ModuleList(nn.Sequential(*hidden(i, o)) for i, o in pairwise(widths))
    return nn.ModuleDict({"hidden": layers, "output": output(widths[-1], 3)}).double()


def run(reference, x, factors):
    x = x * factors[0]
    for layer, factor in zip(reference["hidden"], factors[1:], strict=True):
        x = torch.relu(layer(x)) * factor
    return reference["output"](x)


REFERENCES = {
    "msra": (lambda i, o: [nn.Linear(i, o)], nn.Linear),
    "batchnorm": (lambda i, o: [nn.Linear(i, o, bias=False), nn.BatchNorm1d(o)], nn.Linear),
    "layernorm": (lambda i, o: [nn.Linear(i, o, bias=False), nn.LayerNorm(o)], nn.Linear),
    "weightnorm": (lambda i, o: [weight_norm(nn.Linear(i, o))], lambda i, o: weight_norm(nn.Linear(i, o))),
}


def torchs_parameters(reference):
    """Parameters in the order of ours: a layer's direction, bias, gain; torch has bias, gain, direction."""
    for module in reference.modules():
        if hasattr(module, "parametrizations"):
            g, v = module.parametrizations.weight.parameters()
            yield from (v, module.bias, g)
        elif not isinstance(module, nn.utils.parametrize.ParametrizationList):
            yield from module.parameters(recurse=False)


def parameters_in_step(net, reference):
    """Pair our parameters with torch's, whose gains have another shape."""
    ours = []
    for module in net.modules():
        own = dict(module.named_parameters(recurse=False))
        ours += [own[key] for key in sorted(own, key=["weight", "direction", "bias", "gain"].index)]
    return list(zip(ours, torchs_parameters(reference), strict=True))


@pytest.mark.parametrize("name", REFERENCES)
@all_sizes
def test_rivals_are_compositions_of_torchs_layers(name, sizes):
    """Outputs, gradients, and what batch norm remembers of three batches."""
    net = make(name, sizes)
    with torch.random.fork_rng():
        reference = torchs(net, *REFERENCES[name])
    pairs = parameters_in_step(net, reference)
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.copy_(ours.view(theirs.shape))
    for seed in range(3):
        x, masks = normal(7, 4, seed=seed), make_masks(sizes, seed=seed)
        ours, theirs = net(x, masks), run(reference, x, scaled(masks))
        assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        own = torch.autograd.grad(ours.square().sum(), [p for p, _ in pairs])
        expected = torch.autograd.grad(theirs.square().sum(), [p for _, p in pairs])
        assert_close(own, tuple(g.view(o.shape) for g, o in zip(expected, own, strict=True)))
    assert_close([b for _, b in net.named_buffers()], [b for _, b in reference.named_buffers()])
    net, reference = net.eval(), reference.eval()
    assert_close(net(x), run(reference, x, [torch.tensor(1.0)] * len(masks)), rtol=1e-9, atol=1e-9)


def affine(layer, x):
    return x @ layer.weight.T + layer.bias


def standardized(layer, x):
    """A linear layer and batch norm in training, arXiv:1502.03167, algorithm 1."""
    linear, norm = layer
    z = x @ linear.weight.T
    z = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    return z * norm.weight + norm.bias


@all_sizes
def test_highway_by_hand(sizes):
    """arXiv:1505.00387, equation 3, behind a plain layer; widths may differ."""
    net, x, masks = make("highway", sizes), normal(7, 4), make_masks(sizes)
    first, *factors = scaled(masks)
    h = x * first
    for i, (block, factor) in enumerate(zip(net.blocks, factors, strict=True)):
        transformed = affine(block.layer, h).clamp(min=0) * factor
        if i > 0:
            t = 1 / (1 + torch.exp(-affine(block.gate, h)))
            carried = h if h.shape == transformed.shape else affine(block.carry, h)
            transformed = transformed * t + carried * (1 - t)
        h = transformed
    assert_close(net(x, masks), affine(net.output, h), rtol=1e-9, atol=1e-9)


@all_sizes
def test_resnet_by_hand(sizes):
    """arXiv:1512.03385, figure 2, with the normalization of section 3.4 and equation 2's projection."""
    net, x, masks = make("resnet", sizes), normal(7, 4), make_masks(sizes)
    factors, blocks = iter(scaled(masks)), list(net.blocks)
    h = x * next(factors)
    if len(sizes) % 2:
        h = standardized(blocks.pop(0).layer, h).clamp(min=0) * next(factors)
    assert len(blocks) == len(sizes) // 2
    for block in blocks:
        residual = standardized(block.first, h).clamp(min=0) * next(factors)
        residual = standardized(block.second, residual) * next(factors)
        shortcut = h if h.shape == residual.shape else affine(block.shortcut, h)
        h = (shortcut + residual).clamp(min=0)
    assert next(factors, None) is None
    assert_close(net(x, masks), affine(net.output, h), rtol=1e-9, atol=1e-9)


def test_only_unequal_widths_are_projected():
    highway, resnet = make("highway", (6, 6, 4)), make("resnet", (6, 5, 6, 4, 3))
    assert [type(block.carry) for block in highway.blocks[1:]] == [nn.Identity, nn.Linear]
    assert [type(block.shortcut) for block in resnet.blocks[1:]] == [nn.Identity, nn.Linear]


def test_closed_gates_and_dropped_layers_carry_everything_on():
    """A new highway network of 32 layers with dropout passes its inputs on."""
    net = make("highway", (6,) * 33, dropout=0.5, input_dropout=0)
    for block in net.blocks[1:]:
        nn.init.constant_(block.gate.bias, -1e3)
    arrived = []
    net.output.register_forward_pre_hook(lambda module, args: arrived.append(args[0]))
    x, masks = normal(7, 4), make_masks((6,) * 33)
    net(x, masks)
    assert_close(arrived[0], net.blocks[0](x, net.dropout, iter(masks[1:])))


def test_weight_norms_gain_alone_decides_the_length():
    layer, x = WeightNormLinear(4, 3, seeded()).double(), normal(7, 4)
    before = layer(x)
    with torch.no_grad():
        layer.direction *= torch.tensor([[0.1], [3.0], [700.0]])
    assert_close(layer(x), before)
    rows = layer(torch.eye(4, dtype=torch.float64)) - layer.bias
    assert_close(rows.norm(dim=0), layer.gain)


# ---------------------------------------------------------------- k at once


@every
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("sizes", [SIZES["conic"], (6, 6, 6, 6)], ids=["conic", "rectangular"])
def test_k_at_once_is_each_by_itself(name, training, sizes):
    """Outputs, gradients and running moments, of steps taken under torch.func.vmap."""
    nets = [make(name, sizes, seed=seed).train(training) for seed in range(3)]
    parameters, buffers = stack_module_state(nets)
    body = copy.deepcopy(nets[0]).to("meta")

    def loss(parameters, buffers, x, masks):
        logits = functional_call(body, (parameters, buffers), (x, masks))
        return logits.square().sum(), logits

    for step in range(2):
        x = normal(3, 7, 4, seed=step)
        each = [make_masks(sizes, seed=10 * step + k) for k in range(3)]
        masks = [torch.stack(of_layer) for of_layer in zip(*each, strict=True)]
        many, logits = vmap(grad(loss, has_aux=True))(parameters, buffers, x, masks)
        for k, net in enumerate(nets):
            alone = net(x[k], each[k])
            expected = torch.autograd.grad(alone.square().sum(), tuple(net.parameters()))
            assert_close(logits[k], alone, rtol=1e-9, atol=1e-9)
            assert_close(tuple(g[k] for g in many.values()), expected, rtol=1e-9, atol=1e-9)
            assert_close({key: b[k] for key, b in buffers.items()}, dict(net.named_buffers()))


@every
def test_k_at_once_with_one_batch_and_autograd_outside(name):
    """All see the same rows, the graph is recorded around vmap, and evaluation needs no mask."""
    nets, x = [make(name, seed=seed) for seed in range(3)], normal(7, 4)
    parameters, buffers = stack_module_state(nets)
    body = copy.deepcopy(nets[0]).to("meta")
    masks = make_masks(SIZES["conic"])

    def call(parameters, buffers, masks):
        return functional_call(body, (parameters, buffers), (x, masks))

    many = vmap(call, in_dims=(0, 0, None))(parameters, buffers, masks)
    gradients = torch.autograd.grad(many.square().sum(), list(parameters.values()))
    alone = torch.stack([net(x, masks) for net in nets])
    assert_close(many, alone, rtol=1e-9, atol=1e-9)
    for k, net in enumerate(nets):
        expected = torch.autograd.grad(alone[k].square().sum(), tuple(net.parameters()), retain_graph=True)
        assert_close(tuple(g[k] for g in gradients), expected, rtol=1e-9, atol=1e-9)
    body.eval()
    many = vmap(call, in_dims=(0, 0, None))(parameters, buffers, None)
    assert_close(many, torch.stack([net.eval()(x) for net in nets]), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- batches of one row


@every
def test_one_row_is_enough_except_for_batch_norm(name):
    net = make(name)
    assert net.eval()(normal(1, 4)).shape == (1, 3)
    net.train()
    if name not in NORMALIZED_BY_BATCH:
        assert net(normal(1, 4)).shape == (1, 3)
        return
    rule = "batch norm (architecture='batchnorm' and 'resnet') must have at least 2 rows a batch to train on"
    with raises(rule + "; got 1. Give more rows, a batch_size above 1, or use 'layernorm' instead."):
        net(normal(1, 4))


def test_batch_norm_is_torchs_otherwise():
    ours, theirs = BatchNorm(4).double(), nn.BatchNorm1d(4).double()
    assert torch.equal(ours(normal(2, 4)), theirs(normal(2, 4)))
    assert torch.equal(ours.eval()(normal(1, 4)), theirs.eval()(normal(1, 4)))


# ---------------------------------------------------------------- convolutions of one's own


def test_lecun_normal_counts_the_inputs_of_a_convolutions_unit():
    """A unit of Conv2d(16, 64, 3) has 16 * 9 inputs; of a grouped one, those of its group."""
    for conv, fan_in in [
        (nn.utils.skip_init(nn.Conv2d, 16, 64, 3), 144),
        (nn.utils.skip_init(nn.Conv2d, 16, 64, 3, groups=4), 36),
        (nn.utils.skip_init(nn.Conv1d, 40, 200, 5), 200),
    ]:
        w = lecun_normal_(conv.weight, seeded()).detach().double()
        assert w is not conv.weight and w.shape == conv.weight.shape
        assert w.var().item() * fan_in == pytest.approx(1, rel=5 * math.sqrt(2 / w.numel()))


def test_convolutions_normalize_themselves():
    """Over eight layers LeCun weights, SELU and alpha dropout keep mean 0 and variance 1; torch's lose it."""

    def moments(initialise):
        x = torch.randn(8, 16, 24, 24, generator=seeded(1))
        dropout = AlphaDropout(0.05, generator=seeded(2))
        for i in range(8):
            conv = nn.utils.skip_init(nn.Conv2d, 16, 16, 3, padding=1, padding_mode="circular", bias=False)
            initialise(conv.weight, generator=seeded(i))
            x = dropout(F.selu(conv(x)))
        return x.mean().item(), x.var().item()

    with torch.no_grad():
        mean, variance = moments(lecun_normal_)
        assert abs(mean) < 0.15 and 0.75 < variance < 1.5
        _, variance = moments(lambda w, generator: nn.init.kaiming_uniform_(w, a=5**0.5, generator=generator))
        assert variance < 0.4  # nn.Conv2d's own start is a third of the variance


def test_alpha_dropout_takes_feature_maps_and_masks_of_whole_channels():
    """A mask that spares or drops whole channels, the reference's noise_shape, comes from outside."""
    x, dropout = normal(6, 3, 5, 5), AlphaDropout(0.25, generator=seeded())
    channels = torch.tensor([[1.0, 0.0, 1.0]]).expand(6, 3)[:, :, None, None].expand(x.shape)
    y = dropout(x, channels)
    dropped = y[:, 1].unique()
    assert len(dropped) == 1
    assert_close(y[:, 1::2], dropped.expand(6, 1, 5, 5))
    slope = (y[0, 0, 0, 0] - y[0, 0, 0, 1]) / (x[0, 0, 0, 0] - x[0, 0, 0, 1])
    assert_close(y[:, ::2], slope * (x[:, ::2] - x[0, 0, 0, 0]) + y[0, 0, 0, 0])
    fresh = (dropout(torch.zeros(20, 30, 5, 5)) < 0).double()
    assert fresh.mean().item() == pytest.approx(0.25, abs=0.02)
    assert 0 < fresh.mean(dim=(2, 3)).var() < 0.02, "units, not channels"


class ConvNet(nn.Module):
    """A user's own convolutional SNN over rows that are 8 x 8 images."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(1, 8, 3, stride=2, padding=1), AlphaDropout(0.05)
        self.output = nn.Linear(8 * 16, n_outputs)
        for layer in (self.conv, self.output):
            lecun_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        h = self.dropout(F.selu(self.conv(x.view(-1, 1, 8, 8))))
        return self.output(h.flatten(1))


def test_a_convolutional_snn_learns_digits():
    X, y = load_digits(n_class=4, return_X_y=True)
    clf = SNNClassifier(architecture=ConvNet, lr=5e-3, max_epochs=10, random_state=0).fit(X[::2], y[::2])
    assert clf.score(X[1::2], y[1::2]) > 0.95


# ---------------------------------------------------------------- in the estimators


def quick(name, **settings):
    return SNNClassifier(**{**SMALL, "max_epochs": 25, "architecture": name, **settings})


@every
def test_every_name_classifies_iris(name, iris):
    X, y = iris
    clf = quick(name).fit(X[:100], y[:100])
    assert type(clf.net_.module_.network) is ARCHITECTURES[name]
    assert clf.score(X[100:], y[100:]) > 0.85


@every
@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_every_name_trains_in_other_precisions(name, precision, iris):
    settings = {"hidden_layer_sizes": (16, 16, 8), "dropout": 0.1, "max_epochs": 15}
    clf = quick(name, precision=precision, **settings).fit(*iris)
    assert clf.score(*iris) > 0.75


@every
def test_every_name_takes_part_in_regression_early_stopping_and_chunks(name, diabetes):
    X, y = diabetes
    settings = {**SMALL, "architecture": name, "early_stopping": True, "max_epochs": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reg = SNNRegressor(**settings).fit(X, y)
    assert np.isfinite(reg.predict(X)).all()
    reg.set_params(early_stopping=False).partial_fit(X[:50], y[:50])
    assert np.isfinite(reg.predict(X)).all()


@every
def test_one_seed_one_fit(name, iris):
    X, y = iris
    fits = [
        quick(name, dropout=0.2, max_epochs=3, random_state=seed).fit(X, y).predict_proba(X)
        for seed in (0, 0, 1)
    ]
    assert (fits[0] == fits[1]).all()
    assert not (fits[0] == fits[2]).all()


@every
def test_a_pickle_keeps_predictions_and_buffers(name, iris):
    X, y = iris
    clf = quick(name, max_epochs=3, warm_start=True).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert (again.predict_proba(X) == clf.predict_proba(X)).all()
    networks = [c.net_.module_.network for c in (clf, again)]
    assert_close(*(dict(net.named_buffers()) for net in networks), rtol=0, atol=0)
    assert (name in NORMALIZED_BY_BATCH) == bool(list(networks[0].buffers()))
    assert (again.fit(X, y).predict_proba(X) == clf.fit(X, y).predict_proba(X)).all()


def test_architectures_are_a_parameter_to_search(iris):
    grid = {"architecture": list(ARCHITECTURES), "dropout": [0.0, 0.1]}
    search = GridSearchCV(quick("snn", max_epochs=4), grid, cv=2).fit(*iris)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 14 and np.isfinite(scores).all()
    assert len(set(scores.round(6))) > 3, "names change the network"
    assert search.best_score_ > 0.85
    assert search.best_estimator_.architecture in ARCHITECTURES


@pytest.mark.parametrize("name", NORMALIZED_BY_BATCH)
def test_batches_of_one_row_are_explained_in_fit(name, iris):
    X, y = iris
    with raises("must have at least 2 rows a batch to train on; got 1. Give more rows, a batch_size above 1"):
        quick(name, batch_size=1).fit(X, y)
    assert quick(name, batch_size=50).fit(X[:101], y[:101]).n_iter_ == 25  # no row is left alone


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_named_network_has_a_multiply_add_for_each_weight(name):
    """Which is known without passing rows through it, as is done to one's own: both ways must agree."""
    network = build_network(name, 5, 3, (8, 8, 8, 8), 0.0, 0.0).eval()
    assert multiply_adds(network, 5) == multiply_adds(nn.Sequential(network).eval(), 5) >= 5 * 8 + 3 * 64 + 24
