"""Moments against numpy by hand and against the theory; verdicts on nets that really are ill."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, T, X, Y, raises
from helpers import gaussian
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from torch import nn

from sksnn import SNNClassifier, SNNRegressor, _moments, diagnostics
from sksnn.architectures import ARCHITECTURES
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import (
    Finding,
    FixedPoint,
    LayerMomentsDisplay,
    TrainingCurveDisplay,
    check_self_normalization,
    layer_moments,
    moment_history,
    network_moments,
)
from sksnn.networks import SNN, AlphaDropout, Dropout, lecun_normal_
from sksnn.theory import ALPHA_01, LAMBDA_01, fixed_point, moment_trajectory


def numbers(moments):
    return [array for layer in (moments.inputs, *moments.layers) for array in layer]


def deep(depth, gain, activation=nn.SELU, width=64):
    """A callable architecture whose weights have the variance gain / fan_in."""

    def make(n_inputs, n_outputs):
        layers = []
        for i in range(depth):
            layer = nn.Linear(n_inputs if i == 0 else width, width)
            lecun_normal_(layer.weight)
            layer.weight.data *= gain**0.5
            nn.init.zeros_(layer.bias)
            layers += [layer, activation()]
        return nn.Sequential(*layers, nn.Linear(width, n_outputs))

    return make


# ---------------------------------------------------------------- moments


def numpy_selu(z):
    return LAMBDA_01 * np.where(z > 0, z, ALPHA_01 * (np.exp(np.minimum(z, 0)) - 1))


def test_moments_are_those_of_a_forward_pass_in_numpy(recorded):
    model, X = recorded
    encoder, network = model.net_.module_.encoder, model.net_.module_.network
    h = encoder(torch.as_tensor(X)).numpy()
    moments = layer_moments(model, X)
    assert_allclose(moments.inputs.mean, h.mean(axis=0), atol=1e-6)
    assert_allclose(moments.inputs.variance, h.var(axis=0), rtol=1e-5)
    assert moments.inputs.omega.size == 0 and np.isnan(moments.inputs.share_outside)
    below = h
    for linear, layer in zip(network.layers[:-1], moments.layers, strict=True):
        weight = linear.weight.detach().double().numpy()
        h = numpy_selu(below @ weight.T + linear.bias.detach().double().numpy())
        assert_allclose(layer.mean, h.mean(axis=0), atol=1e-5)
        assert_allclose(layer.variance, h.var(axis=0), rtol=1e-4)
        assert_allclose(layer.omega, weight.sum(axis=1), rtol=1e-12)
        assert_allclose(layer.tau, (weight**2).sum(axis=1), rtol=1e-12)
        assert_allclose((layer.pooled_mean, layer.pooled_variance), (h.mean(), h.var()), atol=1e-5, rtol=1e-4)
        omega, tau = weight.sum(axis=1), (weight**2).sum(axis=1)
        inside = (np.abs(omega) <= 0.1) & (tau >= 0.95) & (tau <= 1.1)
        inside &= abs(below.mean()) <= 0.1 and 0.8 <= below.var() <= 1.5
        assert layer.share_outside == pytest.approx(1 - inside.mean())
        below = h
    assert_allclose(moments.variance[-1], h.var(), rtol=1e-4)


def test_moments_follow_the_theory_in_a_wide_random_net():
    network = SNN(400, 2, (1000,) * 6, dropout=0.2, generator=torch.Generator().manual_seed(0))
    moments = network_moments(network, gaussian(400, 400, seed=1) * 1.3)
    layers = [(layer.omega, layer.tau) for layer in moments.layers]
    mean, variance = moment_trajectory(moments.mean[0], moments.variance[0], layers)
    assert_allclose(moments.mean, mean, atol=0.03)
    assert_allclose(moments.variance, variance, atol=0.06)
    assert moments.variance[0] > 1.6 and abs(moments.variance[-1] - 1) < 0.2  # and so the damping shows


def test_weights_with_normalised_moments_lie_inside_the_domain():
    network = SNN(50, 1, (40, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in network.layers:
            layer.weight -= layer.weight.mean(dim=1, keepdim=True)
            layer.weight /= layer.weight.norm(dim=1, keepdim=True)
    assert [layer.share_outside for layer in network_moments(network, gaussian(2000, 50)).layers] == [0, 0]
    assert network_moments(network, gaussian(2000, 50) + 1).layers[0].share_outside == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_shows_each_hidden_layer_once(architecture, cancer):
    X, y = cancer
    sizes = (12, 12, 9, 7)
    model = SNNClassifier(hidden_layer_sizes=sizes, architecture=architecture, max_epochs=1, random_state=0)
    moments = layer_moments(model.fit(X, y), X)
    assert tuple(len(layer.mean) for layer in moments.layers) == sizes
    assert tuple(len(layer.tau) for layer in moments.layers) == sizes
    # What the output layer reads is what hooks see there.
    network, seen = model.net_.module_.network, []
    output = network.layers[-1] if architecture == "snn" else network.output
    handle = output.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().numpy()))
    model._model.outputs(X.astype(np.float32))
    handle.remove()
    assert_allclose(moments.layers[-1].mean, seen[0].mean(axis=0), atol=1e-5)


def test_weights_are_those_that_multiply():
    model = ARCHITECTURES["weightnorm"](5, 2, (7, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.blocks[1].layer.gain.fill_(3.0)
    assert_allclose(network_moments(model, gaussian(20, 5)).layers[1].tau, 9, rtol=1e-5)


def test_convolutions_count_channels_over_rows_and_positions():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.SELU(), nn.Conv2d(3, 4, 3), nn.SELU(), nn.Flatten(), nn.Linear(64, 1)
    )
    x = gaussian(10, 128).reshape(10, 2, 8, 8)
    moments = layer_moments(network, x)
    first = network[1](network[0](x)).detach().double().numpy()
    assert_allclose(moments.layers[0].variance, first.var(axis=(0, 2, 3)), rtol=1e-5)
    assert_allclose(moments.layers[0].tau, (network[0].weight ** 2).sum(dim=(1, 2, 3)).detach(), rtol=1e-5)
    assert len(moments.layers[1].mean) == 64 and len(moments.layers[1].omega) == 4


def test_chunks_agree_with_one_pass(monkeypatch, recorded):
    model, X = recorded
    whole = numbers(layer_moments(model, X))
    monkeypatch.setattr("sksnn._moments.CHUNK_ELEMENTS", 7 * X.shape[1])
    for one, other in zip(numbers(layer_moments(model, X)), whole, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_sums_keep_the_digits_of_a_small_variance():
    network = nn.Sequential(nn.Linear(1, 3), nn.SELU(), nn.Linear(3, 1)).double()
    x = 1e6 + gaussian(5000, 1).double() * 1e-3
    assert_allclose(layer_moments(network, x).inputs.variance, x.numpy().var(axis=0), rtol=1e-6)


def test_sparse_rows_float32_rows_and_an_exported_model_agree(recorded):
    model, X = recorded
    dense = numbers(layer_moments(model, X))
    for other in (sparse.csr_matrix(X), X.astype(np.float32)):
        for one, two in zip(numbers(layer_moments(model, other)), dense, strict=True):
            assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    for one, two in zip(numbers(layer_moments(model.net_.module_, X)), dense, strict=True):
        assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def functional_selu(x):
    return F.selu(x)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken")


class Drawing(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def test_nothing_about_a_module_or_the_random_state_changes():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), Drawing(), AlphaDropout(0.5), nn.Linear(4, 2))
    network[1].eval()
    modes = [part.training for part in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    for broken in (False, True):
        network.append(Failing()) if broken else None
        with raises("broken", RuntimeError) if broken else torch.enable_grad():
            layer_moments(network, np.ones((5, 3)))
        assert [part.training for part in network.modules()][: len(modes)] == modes
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_estimator_stays_as_it_is(recorded):
    model, X = recorded
    before, predictions = pickle.dumps(model), model.predict_proba(X)
    layer_moments(model, X)
    check_self_normalization(model, X)
    assert pickle.dumps(model) == before
    assert_array_equal(model.predict_proba(X), predictions)
    assert not model.net_.module_.training


def test_errors_name_what_is_wrong_and_what_to_do(recorded, diabetes, plt):
    model, X = recorded
    with pytest.raises(NotFittedError):
        layer_moments(SNNClassifier(), X)
    for function in (layer_moments, check_self_normalization):
        with raises("must be an SNNClassifier, an SNNRegressor or", TypeError):
            function(LogisticRegression(), X)
    with raises("got LogisticRegression. Of a pipeline or a search", TypeError):
        TrainingCurveDisplay.from_estimator(LogisticRegression())
    with raises("X has 5 features, but SNNClassifier is expecting 6"):
        layer_moments(model, X[:, :5])
    linear = SNNRegressor(**SMALL | {"hidden_layer_sizes": (), "n_layers": 1}).fit(*diabetes)
    for network, rows in [(linear, diabetes[0]), (nn.ReLU(), X)]:
        with raises("the network must have a hidden layer; got"):
            layer_moments(network, rows)
    with raises("X must have at least one row; got 0"):
        layer_moments(nn.Linear(2, 1), np.empty((0, 2)))
    with raises("the estimator has recorded no moments. Fit it with callbacks="):
        moment_history(linear)
    for wrong in (0, 2.5, None, "all"):  # the last three were a bare TypeError
        with raises(f"n_rows must be a whole number of at least 1; got {wrong!r}. Try 256."):
            SNNRegressor(**SMALL, callbacks=[MomentRecorder(wrong)]).fit(*diabetes)
    with raises("X must have at least 2 rows to compare; got 1. Give a few hundred."):
        check_self_normalization(model, X[:1])  # it said that "rows look alike"
    with raises("ax must be 2 axes, one above the other; got 1"):
        LayerMomentsDisplay(layer_moments(model, X)).plot(plt.subplots()[1])


def test_rows_of_any_numeric_kind_agree_for_a_module(plt):
    """Sparse rows, whole numbers and truth values failed inside torch."""
    network = SNN(4, 2, (6, 5), generator=torch.Generator().manual_seed(0))
    X = np.random.default_rng(0).integers(0, 2, (50, 4))
    dense = numbers(layer_moments(network, X.astype(float)))
    kinds = [
        X,
        X.astype(bool),
        X.tolist(),
        pd.DataFrame(X),
        sparse.csr_matrix(X),
        sparse.coo_array(X),
        X[::-1],
    ]
    for rows in [*kinds, torch.as_tensor(X), sparse.csr_matrix(X.astype(float))]:
        for one, other in zip(numbers(layer_moments(network, rows)), dense, strict=True):
            assert_allclose(one, other, rtol=1e-6)
    assert LayerMomentsDisplay.from_estimator(network, sparse.csr_matrix(X)).lines_


def test_sparse_rows_become_dense_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr("sksnn._moments.CHUNK_ELEMENTS", 30)
    network, seen = SNN(3, 2, (6,)), []
    network.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    layer_moments(network, sparse.random(35, 3, random_state=0))
    assert seen == [10, 10, 10, 5]


def test_indices_for_an_embedding_stay_whole():
    network = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.SELU(), nn.Linear(3, 1))
    assert len(layer_moments(network, np.arange(5)).layers) == 1


def test_an_exported_model_subtracts_in_float64():
    """Its raw rows were cast to float32 before its encoder."""
    X = 1.7e9 + np.arange(100.0)[:, None]
    model = SNNRegressor(**SMALL, encoding=None).fit(X, np.arange(100.0))
    assert_allclose(layer_moments(model.net_.module_, X).inputs.variance, 1, rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "message", "error"),
    [
        (np.array([["a"] * 4] * 3), "X must hold numbers, since a module gets it as it is; got", ValueError),
        (np.ones(4), "first; got shape (4,). Use X.reshape(1, -1) for a single row.", ValueError),
        (np.ones((3, 5)), "X must be rows that the module takes; got shape (3, 5).", RuntimeError),
    ],
)
def test_rows_that_a_module_cannot_take_are_refused(rows, message, error):
    """torch's errors came bare, and a 1-D X was one row without a word."""
    with raises(message, error):
        layer_moments(SNN(4, 2, (6,)), rows)


class Forked(nn.Module):
    """Readings that are easily confused: a tensor changed in place, and a gate before its layer."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.layer = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 7)
        self.output = nn.Linear(7, 2)

    def forward(self, x):
        h = self.first(x)
        self.gate(h)
        h.mul_(3)
        self.gate(h)
        return self.output(self.layer(h))


def test_tensors_changed_in_place_and_gates_are_told_apart():
    moments = network_moments(Forked(), gaussian(50, 3))
    assert [len(layer.mean) for layer in moments.layers] == [4, 4, 7]
    assert_allclose(moments.layers[1].variance, 9 * moments.layers[0].variance, rtol=1e-5)
    assert len(moments.layers[2].tau) == 7  # not the gate's


def test_computed_weights_are_kept_once(monkeypatch):
    """Those of weight norm were kept anew for each chunk."""
    seen = []
    keep = _moments._LayerWatch.moments
    monkeypatch.setattr(_moments._LayerWatch, "moments", lambda self, p: seen.append(self) or keep(self, p))
    monkeypatch.setattr(_moments, "CHUNK_ELEMENTS", 50)
    network_moments(ARCHITECTURES["weightnorm"](5, 2, (7, 6)), gaussian(40, 5))
    assert seen[0].passes == 4 and [len(weights) for weights in seen[0].weights] == [1, 1, 1]


def test_theorem_1_speaks_of_selus_only():
    """A ReLU network with normalised weights had a share_outside of 0."""
    for activation, share in [(nn.SELU, 0.0), (nn.ReLU, np.nan)]:
        network = nn.Sequential(nn.Linear(50, 40), activation(), nn.Linear(40, 1))
        with torch.no_grad():
            network[0].weight -= network[0].weight.mean(dim=1, keepdim=True)
            network[0].weight /= network[0].weight.norm(dim=1, keepdim=True)
        moments = network_moments(network, gaussian(2000, 50))
        assert_array_equal(moments.layers[0].share_outside, share)
        assert (moments.fixed_point is None) == (activation is nn.ReLU)
    other = network_moments(SNN(9, 2, (8, 8), fixed_point=(0.1, 1.5)), gaussian(50, 9))
    assert all(np.isnan(layer.share_outside) for layer in other.layers)
    assert other.fixed_point[:2] == (0.1, 1.5)


# ---------------------------------------------------------------- verdicts


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
class TestVerdicts:
    """Each illness on a net that really has it."""

    @staticmethod
    def judge(model, X, kind):
        verdict = check_self_normalization(model, X)
        assert not verdict.healthy and verdict.findings[0].kind == kind, str(verdict)
        assert str(verdict).startswith("Not self-normalizing.\n- ")
        assert str(verdict.findings[0]) in str(verdict)
        return verdict.findings[0]

    def test_a_healthy_net_has_no_findings(self, recorded, iris):
        for model, rows in (recorded, (SNNClassifier(max_epochs=10, random_state=0).fit(*iris), iris[0])):
            verdict = check_self_normalization(model, rows)
            assert verdict.healthy and verdict.findings == ()
            assert str(verdict).startswith(f"Healthy: {len(verdict.moments.layers)} hidden layers with means")

    @pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits, load_diabetes])
    def test_default_nets_are_healthy(self, load):
        """They leave Theorem 1's domain, which is not an illness."""
        X, y = load(return_X_y=True)
        estimator = SNNRegressor if load is load_diabetes else SNNClassifier
        verdict = check_self_normalization(estimator(random_state=0).fit(X, y), X)
        assert verdict.healthy, str(verdict)
        assert "have left Theorem 1's domain" in str(verdict)
        # The numbers of the docstring, of five seeds.
        variance, tau = verdict.moments.variance[1:], [layer.tau.mean() for layer in verdict.moments.layers]
        assert 0.5 < variance.min() < variance.max() < 15 and 0.49 < min(tau) < max(tau) < 1.35
        assert min(tau) < 0.95 if load is load_diabetes else variance.max() > 1.5

    def test_weights_that_decayed_away_are_found(self, iris):
        """Variances from 0.3 to 32, in a net that still predicts: nothing holds them any more."""
        X, y = iris
        for seed in range(3):
            model = SNNClassifier(n_estimators=1, weight_decay=0.3, lr=0.03, random_state=seed).fit(X, y)
            verdict = check_self_normalization(model, X)
            assert not verdict.healthy
        finding = self.judge(model, X, "weights")  # no variance above 25 with this seed
        assert finding.layer == 1 and "a fixed point only for a tau between 0.50 and 2.66" in finding.problem
        assert finding.remedy.startswith("Use less weight_decay (now 0.3), a smaller lr (now 0.03)")

    def test_tau_of_rivals_says_nothing(self, cancer):
        X, y = cancer
        model = SNNClassifier(**SMALL, architecture="batchnorm").fit(X, y)
        with torch.no_grad():
            for block in model.net_.module_.network.blocks:
                block.layer[0].weight *= 0.1
        assert layer_moments(model, X).layers[0].tau.mean() < 0.1
        assert "weights" not in [finding.kind for finding in check_self_normalization(model, X).findings]

    def test_bounds_are_what_the_docstring_says(self):
        text = " ".join(check_self_normalization.__doc__.split())
        low, high = FixedPoint().tau_limits
        assert f"a tau below {low:.4f} or above {high:.4f} on average" in text
        assert f"or above {diagnostics.LARGEST_COVERED_VARIANCE:g}, whatever the weights" in text
        assert np.all(fixed_point(0, [low * 1.01, high * 0.99])[1] > 0)
        for tau in (low * 0.99, high * 1.01):
            with raises("must lead to an attracting fixed point"):
                fixed_point(0, tau)

    def test_a_fresh_deep_snn_is_near_the_fixed_point(self):
        network = SNN(100, 2, (200,) * 32, generator=torch.Generator().manual_seed(0))
        verdict = check_self_normalization(network, gaussian(500, 100))
        assert verdict.healthy and "have left" not in str(verdict)

    def test_inputs_that_are_not_standardised_are_found(self, cancer):
        X, y = cancer
        X = (X - X.mean(axis=0)) / X.std(axis=0) + 5
        model = SNNClassifier(**SMALL, standardize=False).fit(X, y)
        finding = self.judge(model, X, "inputs")
        assert finding.layer == 0 and finding.remedy == "Set standardize=True."
        assert "means from 5 to 5 and variances from 1 to 1" in finding.problem
        assert model.set_params(standardize=True).fit(X, y) is model
        assert check_self_normalization(model, X).healthy
        assert "differ from those fitted on" in self.judge(model, X + 20, "inputs").remedy
        assert (
            "Subtract the columns' means" in self.judge(SNN(3, 1, (9,)), gaussian(50, 3) * 9, "inputs").remedy
        )

    def test_a_rate_that_is_too_high_is_found(self, iris):
        X, y = iris
        settings = {"scale_inputs": False, "max_epochs": 20, "random_state": 0}
        model = SNNClassifier(lr=0.1, weight_decay=0.0, **settings).fit(X, y)
        assert "Use a smaller lr (now 0.1), max_grad_norm=1" in self.judge(model, X, "exploding").remedy
        model = SNNClassifier(lr=0.3, weight_decay=0.3, **settings).fit(X, y)
        finding = self.judge(model, X, "collapsed")
        assert "Use less weight_decay (now 0.3), a smaller lr (now 0.3)" in finding.remedy

    def test_he_initialisation_explodes_at_depth_32(self, iris):
        X, y = iris
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        torch.manual_seed(0)
        finding = self.judge(deep(32, gain=2)(4, 3), X, "exploding")
        assert "sksnn.networks.lecun_normal_ (tau = 1) and use SELU" in finding.remedy
        assert finding.layer > 1 and "a tau of 2, not 1" in finding.problem
        model = SNNClassifier(architecture=deep(32, gain=2), max_epochs=1, lr=1e-5, random_state=0)
        assert "or use architecture='snn', fewer layers" in self.judge(model.fit(X, y), X, "exploding").remedy
        assert check_self_normalization(deep(32, gain=1)(4, 3), X).healthy

    def test_torchs_default_initialisation_vanishes_at_depth_8(self):
        layers = [part for _ in range(8) for part in (nn.Linear(64, 64), nn.SELU())]
        finding = self.judge(nn.Sequential(*layers, nn.Linear(64, 1)), gaussian(500, 64), "vanishing")
        assert "a tau of 0.33, not 1" in finding.problem

    def test_activations_fade_behind_32_layers_of_relu(self, cancer):
        # the rival as built: nothing draws what chance does to a layer's second moment back to 1
        X, y = cancer
        model = SNNClassifier(
            architecture="msra", n_layers=32, n_units=64, layer_form="rectangular", max_epochs=1, lr=1e-5,
            random_state=0,
        )  # fmt: skip
        assert "Use architecture='snn'" in self.judge(model.fit(X, y), X, "vanishing").remedy

    def test_too_much_dropout_is_found(self, cancer):
        X, y = cancer
        model = SNNClassifier(**SMALL, scale_inputs=False, weight_decay=0.3, dropout=0.5).fit(X, y)
        finding = self.judge(model, X, "dropout")
        assert finding.remedy == "Use 0.05 or 0.1." and "A dropout of 0.5 leaves 20% of" in finding.problem
        x = gaussian(100_000, 1)[:, 0]
        dropped = AlphaDropout(0.5, generator=torch.Generator().manual_seed(1))(x)
        assert torch.corrcoef(torch.stack([x, dropped]))[0, 1] ** 2 == pytest.approx(0.197, abs=0.01)
        layers = [nn.Linear(64, 64), nn.SELU(), nn.Dropout(0.2), nn.Linear(64, 1)]
        for layer in layers[::3]:
            lecun_normal_(layer.weight)
        finding = self.judge(nn.Sequential(*layers), gaussian(500, 64), "dropout")
        assert (
            "multiplies variances in training by 1.25" in finding.problem and "AlphaDropout" in finding.remedy
        )

    @pytest.mark.parametrize(
        "dropout",
        [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.FeatureAlphaDropout(0.9), nn.AlphaDropout(0.5), Dropout(0.5)],
    )
    @pytest.mark.parametrize("activation", [nn.SELU(), functional_selu], ids=["module", "function"])
    def test_dropout_of_every_kind_is_found_behind_selus(self, dropout, activation):
        """Only nn.Dropout beside an nn.SELU, and our AlphaDropout, were seen."""
        network = nn.Sequential(nn.Linear(64, 64), Function(activation), dropout, nn.Linear(64, 1))
        lecun_normal_(network[0].weight)
        problem = self.judge(network, gaussian(500, 64), "dropout").problem
        alpha = isinstance(dropout, nn.AlphaDropout | nn.FeatureAlphaDropout)
        assert problem.startswith("A dropout of 0." if alpha else "Ordinary dropout of 0.5 behind SELUs")
        network[1] = nn.ReLU()
        if not alpha:
            verdict = check_self_normalization(network, gaussian(500, 64))
            assert "dropout" not in [finding.kind for finding in verdict.findings]

    @pytest.mark.parametrize(
        "point", [(0.0, 0.1), (0.0, 2.0), (0.1, 1.5), (0.0, 200.0), (-0.5, 1.0)], ids=str
    )
    def test_networks_for_other_fixed_points_are_healthy(self, point):
        """A variance of 0.1 or 200 was called vanishing or exploding, whatever the fixed point."""
        network = SNN(64, 2, (256,) * 16, generator=torch.Generator().manual_seed(0), fixed_point=point)
        verdict = check_self_normalization(network, gaussian(500, 64))
        assert verdict.healthy and "Theorem 1" not in str(verdict), str(verdict)
        with torch.no_grad():
            for layer in network.layers[:-1]:
                layer.weight *= 3
        self.judge(network, gaussian(500, 64), "exploding")
        with torch.no_grad():
            for layer in network.layers[:-1]:
                layer.weight /= 30
        self.judge(network, gaussian(500, 64), "vanishing")

    def test_tau_limits_are_those_of_the_networks_selu(self):
        point = FixedPoint.of(SNN(3, 1, (4,), fixed_point=(0.0, 0.1)))
        least, largest = point.tau_limits
        assert 0.5 < least < 1 < 2.7 < largest
        assert fixed_point(0, least * 1.01, *point[2:])[1] > 0
        with raises("must lead to an attracting fixed point"):
            fixed_point(0, least * 0.99, *point[2:])

    def test_alpha_dropout_of_another_fixed_point_is_judged_by_its_own_constants(self):
        network = SNN(64, 2, (64,), dropout=0.5, fixed_point=(0.0, 200.0))
        slope = network.dropout.slope
        problem = self.judge(network, gaussian(500, 64), "dropout").problem
        assert f"leaves {(slope / 2) ** 2:.0%} of a unit's variance" in problem and (slope / 2) ** 2 > 0.22

    def test_aligned_weights_explode_with_a_tau_of_1(self):
        network = SNN(64, 1, (8,), generator=torch.Generator().manual_seed(0))
        nn.init.constant_(network.layers[0].weight, 1 / 8)
        problem = self.judge(network, gaussian(500, 1).expand(500, 64), "exploding").problem
        assert "weights with a tau of 1." in problem

    def test_inputs_that_are_too_small_are_found(self):
        network = SNN(64, 1, (8,), generator=torch.Generator().manual_seed(0))
        self.judge(network, 0.3 * gaussian(500, 64), "inputs")

    def test_less_weight_decay_is_not_advised_for_large_weights(self, iris):
        model = SNNClassifier(max_epochs=2, random_state=0).fit(*iris)
        with torch.no_grad():
            for layer in model.net_.module_.network.layers:
                layer.weight *= 3
        remedy = self.judge(model, iris[0], "exploding").remedy
        assert remedy.startswith("Use a smaller lr") and "weight_decay" not in remedy

    def test_weights_that_are_not_finite_are_found(self):
        network = SNN(3, 1, (8, 8), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            network.layers[1].weight[2] = np.inf
        assert self.judge(network, gaussian(9, 3), "not finite").layer == 2

    def test_finding_reads_as_a_sentence(self):
        assert str(Finding("inputs", 0, "It is hot.", "Cool it.")) == "It is hot. Cool it."


def test_a_verdict_on_one_hidden_layer_is_in_the_singular():
    model = SNNClassifier(**SMALL | {"n_layers": 1}).fit(X, Y)
    assert str(check_self_normalization(model, X)).startswith("Healthy: 1 hidden layer with means from ")


def test_the_remedy_names_an_automatic_weight_decay():
    """A format code for numbers met weight_decay='auto'."""
    model = SNNRegressor(**SMALL).fit(X, T)
    with torch.no_grad():
        for layer in model.net_.module_.network.layers:
            layer.weight.mul_(0.01)
    assert "less weight_decay (now auto)" in check_self_normalization(model, X).findings[0].remedy
