"""The step written out against autograd, and the ways back to autograd when somebody touches the network."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes
from skorch.callbacks import Callback, Checkpoint, Freezer, GradientNormClipping, LoadInitState
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn._rows import Rows
from sksnn._step import ELEMENTWISE, WrittenOut
from sksnn.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from sksnn.networks import SNN

LAWS = settings(max_examples=60, deadline=None, derandomize=True)
SMALL = {
    "n_estimators": 1,
    "hidden_layer_sizes": (16, 9),
    "max_epochs": 4,
    "batch_size": 50,
    "random_state": 0,
}
EXACT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_net(sizes, dropout=0.3, input_dropout=0.0, n_outputs=3, dtype=torch.float64, scale_inputs=False):
    rates = {"dropout": dropout, "input_dropout": input_dropout}
    generators = {"generator": seeded(1), "dropout_generator": seeded(2)}
    net = SNN(4, n_outputs, sizes, **rates, **generators, scale_inputs=scale_inputs)
    if scale_inputs:
        net.layers[0].raw_scale.data = torch.tensor([0.5, -1.0, 0.0, 2.0])
    return net.to(dtype).train()


def adam(net):
    return torch.optim.Adam([*net.parameters()], lr=0.01)


def written_out(net, optimizer):
    """Train one network with the step written out."""
    member = SimpleNamespace(network=net, module=SimpleNamespace(network=net), sources=None, criterion=None)
    return WrittenOut([member], optimizer, forward=None)


def step(flat, x, criterion, y, weight=None):
    """Compute the loss and the outputs of one network, and leave its gradient."""
    flat.criterion = criterion
    return flat.gradient(Rows(x, y, weight))


def weights_first(net):
    """The order in which the loop gives parameters to an optimizer."""
    return sorted(net.parameters(), key=lambda p: p.ndim == 1)


def both_ways(monkeypatch, make):
    """Fit with the step written out, then with autograd."""
    written_out = make()
    with monkeypatch.context() as patch:
        patch.setattr(WrittenOut, "fits", staticmethod(lambda network, optimizer: False))
        return written_out, make()


# ---------------------------------------------------------------- one step


@LAWS
@given(
    sizes=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    dropout=st.sampled_from([0.0, 0.05, 0.5]),
    input_dropout=st.sampled_from([0.0, 0.2]),
    scale_inputs=st.booleans(),
    n=st.integers(1, 12),
    weighted=st.booleans(),
)
def test_loss_and_gradient_are_autograds(sizes, dropout, input_dropout, scale_inputs, n, weighted):
    """The same generator, so the same masks: loss, output and every gradient to the last digits."""
    x, y = torch.randn(n, 4, generator=seeded(), dtype=torch.float64), torch.arange(n) % 3
    weight = torch.linspace(0.5, 2, n, dtype=torch.float64) if weighted else None
    criterion = CrossEntropy(label_smoothing=0.1).train()
    plain, net = (make_net(sizes, dropout, input_dropout, scale_inputs=scale_inputs) for _ in range(2))
    flat = written_out(net, adam(net))
    for _ in range(3):  # buffers are used again, gradients written over
        expected_output = plain(x)
        expected = criterion(expected_output, y, weight)
        plain.zero_grad()
        expected.backward()
        loss, output = step(flat, x, criterion, y, weight)
        torch.testing.assert_close(loss, expected.detach(), **EXACT)
        torch.testing.assert_close(output, expected_output.detach(), **EXACT)
        for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, **EXACT)


@pytest.mark.parametrize(
    ("criterion", "y"),
    [
        (BinaryCrossEntropy(masked=True), torch.tensor([[0.0, 1, np.nan], [np.nan, 1, 0], [1, 0, 1]])),
        (SquaredError(), torch.tensor([[0.5, -1, 2], [0, 1, 0], [3, 0, 1]])),
    ],
    ids=["tasks", "regression"],
)
def test_float32_gradients_agree_to_1e_6(criterion, y):
    x = torch.randn(3, 4, generator=seeded())
    plain, net = (make_net((64, 64, 64), dtype=torch.float32) for _ in range(2))
    criterion(plain(x), y).backward()
    step(written_out(net, adam(net)), x, criterion, y)
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_dropped_units_get_no_gradient_at_all():
    """One row: the bias of a unit is moved by nothing but its own derivative, which is exactly 0 there."""
    net = make_net((400,), dropout=0.5, dtype=torch.float32)
    step(written_out(net, adam(net)), torch.ones(1, 4), CrossEntropy(), torch.tensor([0]))
    share = (net.layers[0].bias.grad == 0).double().mean().item()
    assert share == pytest.approx(0.5, abs=4.5 * 0.5 / 20)


def test_batches_of_different_sizes_share_nothing():
    net, criterion = make_net((5, 4), dropout=0.0), SquaredError()
    flat = written_out(net, adam(net))
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    first = step(flat, x, criterion, y)[0]
    gradient = net.layers[0].weight.grad.clone()
    step(flat, x[:4], criterion, y[:4])
    assert step(flat, x, criterion, y)[0] == first
    assert torch.equal(net.layers[0].weight.grad, gradient)


def test_divergence_is_not_hidden():
    """Dropped units are set through -inf; a NaN among the inputs must come out all the same."""
    net = make_net((5, 4), dropout=0.5)
    x = torch.full((2, 4), torch.nan, dtype=torch.float64)
    loss, _ = step(written_out(net, adam(net)), x, CrossEntropy(), torch.tensor([0, 1]))
    assert loss.isnan()


# ---------------------------------------------------------------- parameters and moments


def test_the_network_sees_what_is_trained():
    net = make_net((5, 4))
    before, optimizer = copy.deepcopy(net.state_dict()), adam(net)
    flat = written_out(net, optimizer)
    assert flat.is_intact() and [p.ndim for p in optimizer.param_groups[0]["params"]] == [1, 1]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    step(flat, torch.ones(3, 4, dtype=torch.float64), CrossEntropy(), torch.tensor([0, 1, 2]))
    optimizer.step()
    assert not any(torch.equal(before[name], value) for name, value in net.state_dict().items())
    net.load_state_dict(before)
    assert flat.is_intact()
    assert torch.equal(optimizer.param_groups[0]["params"][0][:20].view(5, 4), before["layers.0.weight"])


@pytest.mark.parametrize("optimizer_class", ELEMENTWISE, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_optimizer_goes_in_and_out_with_its_moments(optimizer_class, groups):
    """Three steps flat and three not, in any order, are six steps."""
    x, y = torch.randn(8, 4, generator=seeded(), dtype=torch.float64), torch.arange(8) % 3

    def train(pattern):
        net = make_net((5, 4), dropout=0.0)
        parameters = weights_first(net)
        parameters = parameters if groups == 1 else [{"params": parameters[:3]}, {"params": parameters[3:]}]
        optimizer = (
            optimizer_class(parameters, lr=1e-2, weight_decay=0.0)
            if (optimizer_class is not torch.optim.Rprop)
            else optimizer_class(parameters, lr=1e-2)
        )
        for flattened in pattern:
            flat = written_out(net, optimizer) if flattened else None
            for _ in range(3):
                if flattened:
                    step(flat, x, CrossEntropy(), y)
                else:
                    optimizer.zero_grad()
                    CrossEntropy()(net(x), y).backward()
                optimizer.step()
            if flattened:
                flat.release()
        return net.state_dict(), optimizer.state_dict()

    weights, state = train([False, False])
    for pattern in ([True, True], [True, False], [False, True]):
        others, other = train(pattern)
        torch.testing.assert_close(others, weights, **EXACT)
        assert other["param_groups"] == state["param_groups"]
        torch.testing.assert_close(other["state"], state["state"], **EXACT)


def test_the_fast_path_takes_what_it_computes_alike_and_leaves_the_rest():
    net = make_net((5,))
    assert WrittenOut.fits(net, adam(net))
    assert not WrittenOut.fits(nn.Linear(3, 2), adam(net))
    assert not WrittenOut.fits(net, torch.optim.LBFGS(net.parameters()))

    class Own(torch.optim.Adam):
        """May do anything."""

    assert not WrittenOut.fits(net, Own(net.parameters()))
    other = SNN(4, 3, (5,), fixed_point=(0.1, 1.5))
    assert not WrittenOut.fits(other, adam(other))
    hook = net.layers[0].register_forward_hook(lambda *args: None)
    assert not WrittenOut.fits(net, adam(net))
    hook.remove()
    net.layers[1].bias.requires_grad_(False)
    assert not WrittenOut.fits(net, adam(net))
    parametrized = make_net((5,))
    nn.utils.parametrizations.weight_norm(parametrized.layers[0])
    assert not WrittenOut.fits(parametrized, adam(parametrized))


# ---------------------------------------------------------------- whole fits


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_is_the_same_both_ways(cancer, monkeypatch, dropout, early_stopping):
    X, y = cancer
    settings = {**SMALL, "dropout": dropout, "input_dropout": dropout, "early_stopping": early_stopping}
    one, other = both_ways(
        monkeypatch, lambda: SNNClassifier(**settings, max_grad_norm=0.5, precision="float64").fit(X, y)
    )
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-9)


def test_a_regression_is_the_same_both_ways(monkeypatch):
    X, y = load_diabetes(return_X_y=True)
    settings = {**SMALL, "precision": "float64", "loss": "huber", "dropout": 0.1, "lr": 1e-2}
    one, other = both_ways(
        monkeypatch, lambda: SNNRegressor(**settings).fit(X, y, np.linspace(0.1, 2, len(y)))
    )
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-8)


@pytest.mark.parametrize("change", ["warm_start", "partial_fit", "pickle"])
def test_going_on_is_the_same_both_ways(cancer, monkeypatch, change):
    X, y = cancer

    def make():
        clf = SNNClassifier(**SMALL, precision="float64", warm_start=True).fit(X, y)
        if change == "pickle":
            clf = pickle.loads(pickle.dumps(clf))
        return clf.partial_fit(X, y).partial_fit(X, y) if change == "partial_fit" else clf.fit(X, y)

    one, other = both_ways(monkeypatch, make)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-9)


def test_gradients_are_not_kept(cancer):
    clf = SNNClassifier(**SMALL).fit(*cancer)
    assert clf.net_.engine_ is None
    assert all(p.grad is None for p in clf.net_.module_.parameters())
    stepped = [p for group in clf.net_.optimizer_.param_groups for p in group["params"]]
    assert {id(p) for p in stepped} == {id(p) for p in clf.net_.module_.parameters()}


def test_predictions_during_training_are_of_the_present_weights(cancer):
    """torch's fused optimizers count no new version of a weight, so its float64 copy looked fresh."""
    X, y = cancer
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.module_.eval()
            seen.append(clf.predict_proba(X[:5]))

    clf = SNNClassifier(**SMALL, warm_start=True).fit(X, y)
    clf.set_params(callbacks=[Watch()]).fit(X, y)
    assert len({proba.tobytes() for proba in seen}) == 4
    np.testing.assert_array_equal(seen[-1], clf.predict_proba(X[:5]))


# ---------------------------------------------------------------- callbacks that touch the network


def test_frozen_layers_stay_as_they_are(cancer):
    """A callback freezes layers after the vectors were made."""
    X, y = cancer
    clf = SNNClassifier(**SMALL, weight_decay=0.3, callbacks=[Freezer("network.layers.0.*")])
    reference = SNNClassifier(**{**SMALL, "max_epochs": 1}, lr=1e-30, weight_decay=0.0, optimizer="sgd")
    initial = reference.fit(X, y).net_.module_.network.layers[0].weight
    layers = clf.fit(X, y).net_.module_.network.layers
    assert torch.equal(layers[0].weight, initial)
    assert not torch.equal(layers[1].bias, torch.zeros(9))


def test_thawed_layers_go_on_with_their_own_moments(cancer):
    """Half of the optimizer's states were missing when the vectors were to be made again."""
    X, y = cancer
    clf = SNNClassifier(**SMALL, callbacks=[Freezer("network.layers.0.*")], warm_start=True).fit(X, y)
    for p in clf.net_.module_.network.parameters():
        p.requires_grad_(True)
    before = clf.net_.module_.network.layers[0].weight.detach().clone()
    clf.set_params(callbacks=None).fit(X, y)
    assert not torch.equal(before, clf.net_.module_.network.layers[0].weight)
    clf.fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_dropout_switched_off_within_an_epoch_stays_off(cancer, monkeypatch):
    class Off(Callback):
        def on_batch_begin(self, net, **kwargs):
            net.module_.network.dropout.eval()

    settings = {**SMALL, "precision": "float64", "dropout": 0.3, "callbacks": [Off()]}
    one, other = both_ways(monkeypatch, lambda: SNNClassifier(**settings).fit(*cancer))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    without = SNNClassifier(**{**settings, "dropout": 0.0, "callbacks": None}).fit(*cancer)
    np.testing.assert_allclose(one.loss_curve_, without.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("name", ["", "dropout", "layers.1"])
def test_a_hook_anywhere_in_the_network_is_called(cancer, name):
    seen = []

    class Hook(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_.network.get_submodule(name).register_forward_hook(lambda *args: seen.append(1))

    SNNClassifier(**SMALL, callbacks=[Hook()]).fit(*cancer)
    assert len(seen) >= 4 * 12


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_begin", "on_batch_begin"])
def test_hooks_see_the_batches_from_then_on(cancer, when):
    seen = []

    def register(self, net, *args, **kwargs):
        if not seen:
            seen.append(0)
            net.module_.network.layers[0].register_forward_hook(lambda *args: seen.append(len(args[2])))

    watch = type("Watch", (Callback,), {when: register})()
    clf = SNNClassifier(**SMALL, callbacks=[watch]).fit(*cancer)
    assert sum(seen) == 4 * 569
    assert np.isfinite(clf.predict_proba(cancer[0])).all()


def test_gradients_may_be_changed_in_place_or_replaced(cancer):
    """Halving them in place and putting other tensors in their place are the same training."""

    class Halve(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, p in named_parameters:
                p.grad.mul_(0.5)

    class Replace(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, p in named_parameters:
                p.grad = p.grad * 0.5

    settings = {**SMALL, "optimizer": "sgd", "weight_decay": 0.0, "precision": "float64", "lr": 0.1}
    X, y = cancer
    halved, replaced = (SNNClassifier(**settings, callbacks=[c()]).fit(X, y) for c in (Halve, Replace))
    plain = SNNClassifier(**settings).fit(X, y)
    np.testing.assert_allclose(halved.predict_proba(X), replaced.predict_proba(X), atol=1e-9)
    assert not np.allclose(halved.predict_proba(X), plain.predict_proba(X), atol=1e-6)


def test_weights_may_be_replaced(cancer):
    class Zero(Callback):
        def on_epoch_begin(self, net, **kwargs):
            layer = net.module_.network.layers[0]
            layer.weight.data = torch.zeros_like(layer.weight)

    clf = SNNClassifier(**{**SMALL, "max_epochs": 1}, lr=1e-9, callbacks=[Zero()])
    with pytest.warns(UserWarning, match="learned nothing"):
        clf.fit(*cancer)
    assert clf.net_.module_.network.layers[0].weight.abs().max() < 1e-6


def test_clipping_sees_the_gradients(cancer, monkeypatch):
    def make():
        callbacks = [GradientNormClipping(0.01)]
        return SNNClassifier(**SMALL, precision="float64", callbacks=callbacks).fit(*cancer)

    one, other = both_ways(monkeypatch, make)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)


# ---------------------------------------------------------------- callbacks that change the network


class Do(Callback):
    """Call a function with the network, the net and a count at some point of training."""

    def __init__(self, when, what):
        self.count = 0

        def hook(net, *args, **kwargs):
            self.count += 1
            what(net.module_.network, net, self.count)

        setattr(self, when, hook)


def replace_weight(network, net, count):
    if count == 2:
        network.layers[0].weight = nn.Parameter(network.layers[0].weight.detach() / 2)
        net.optimizer_.add_param_group({"params": [network.layers[0].weight]})


def mask_gradient(network, net, count):
    if count == 1:
        network.layers[0].weight.register_hook(lambda gradient: gradient * 0)


def replace_one_gradient(network, net, count):
    network.layers[0].weight.grad = network.layers[0].weight.grad * 0.5


def more_dropout(network, net, count):
    generator = network.dropout.generator
    network.dropout = type(network.dropout)(0.1 * count, generator=generator).train()


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ("on_epoch_begin", lambda network, net, count: net.optimizer_.zero_grad()),
        ("on_batch_begin", lambda network, net, count: net.optimizer_.zero_grad()),
        ("on_grad_computed", replace_one_gradient),
        ("on_train_begin", mask_gradient),
        ("on_epoch_begin", replace_weight),
        ("on_epoch_begin", more_dropout),
    ],
    ids=["zero_grad", "zero_grad in a batch", "one gradient", "tensor hook", "new parameter", "dropout"],
)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_whatever_a_callback_does_is_done_both_ways(cancer, monkeypatch, when, what, dropout):
    """Each of these was ignored, or stopped training, without a word."""
    settings = {**SMALL, "precision": "float64", "optimizer": "sgd", "weight_decay": 0.0, "lr": 0.1}
    settings["dropout"] = dropout
    one, other = both_ways(
        monkeypatch, lambda: SNNClassifier(**settings, callbacks=[Do(when, what)]).fit(*cancer)
    )
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(one.predict_proba(cancer[0]), other.predict_proba(cancer[0]), atol=1e-9)


def changed_nets():
    tied = make_net((5, 5, 5))
    tied.layers[2] = tied.layers[1]
    no_bias = make_net((5,))
    no_bias.layers[1] = nn.Linear(5, 3, bias=False)
    wider = make_net((5,))
    wider.layers[0], wider.layers[1] = nn.Linear(4, 7), nn.Linear(7, 3)
    tanh = make_net((5,))
    tanh.activate = torch.tanh
    return {"tied": tied, "no bias": no_bias, "wider": wider, "tanh": tanh}


@pytest.mark.parametrize("name", changed_nets())
def test_a_changed_snn_is_left_to_autograd(name):
    net = changed_nets()[name]
    assert not WrittenOut.fits(net, adam(net))


def test_parameters_own_their_memory_after_a_fit(cancer):
    """Views of one vector made a pickled module grow with the square of its depth."""
    clf = SNNClassifier(**{**SMALL, "hidden_layer_sizes": (32,) * 8}).fit(*cancer)
    moments = [v for state in clf.net_.optimizer_.state.values() for v in state.values() if v.ndim]
    assert len(moments) == 2 * (2 * 9 + 1)
    for tensor in [*clf.net_.module_.network.parameters(), *moments]:
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_checkpoints_hold_one_state_per_parameter(cancer, tmp_path):
    """While training they held the state of two vectors, which nothing outside of it could load."""
    callbacks = [Checkpoint(dirname=tmp_path, monitor=None, f_pickle="net.pkl")]
    clf = SNNClassifier(**SMALL, callbacks=callbacks).fit(*cancer)
    clf.net_.load_params(f_params=tmp_path / "params.pt", f_optimizer=tmp_path / "optimizer.pt")
    again = SNNClassifier(**SMALL, callbacks=[Freezer("network.layers.0.*"), LoadInitState(callbacks[0])])
    assert np.isfinite(again.fit(*cancer).predict_proba(cancer[0])).all()
    net = pickle.loads((tmp_path / "net.pkl").read_bytes())
    assert net.engine_ is None


def test_a_fit_with_checkpoints_is_the_same(cancer, tmp_path):
    X, y = cancer
    callbacks = [Checkpoint(dirname=tmp_path, monitor=None)]
    saved = SNNClassifier(**SMALL, callbacks=callbacks, precision="float64").fit(X, y)
    plain = SNNClassifier(**SMALL, precision="float64").fit(X, y)
    np.testing.assert_allclose(saved.predict_proba(X), plain.predict_proba(X), atol=1e-12)


def test_a_second_fit_does_not_move_the_first_ones_moments(cancer):
    """The vectors' count of steps was the earlier optimizer's own tensor."""
    clf = SNNClassifier(**SMALL, warm_start=True).fit(*cancer)
    first = clf.net_.optimizer_
    before = copy.deepcopy(first.state_dict()["state"])
    clf.fit(*cancer)
    torch.testing.assert_close(first.state_dict()["state"], before, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["assign", "attribute", "layer"])
def test_float64_predictions_follow_replaced_weights(cancer, change):
    """A list of parameters made once went on describing the old ones."""
    X = cancer[0]
    clf = SNNClassifier(**SMALL).fit(*cancer)
    clf.predict_proba(X)
    network = clf.net_.module_.network
    zeros = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    if change == "assign":
        network.load_state_dict(zeros, assign=True)
    elif change == "attribute":
        network.layers[-1].weight = nn.Parameter(zeros["layers.2.weight"])
        network.layers[-1].bias = nn.Parameter(zeros["layers.2.bias"])
    else:
        network.layers[-1] = nn.Linear(9, 2)
        nn.init.zeros_(network.layers[-1].weight), nn.init.zeros_(network.layers[-1].bias)
    np.testing.assert_array_equal(clf.predict_proba(X), 0.5)
