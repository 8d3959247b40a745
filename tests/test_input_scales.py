"""Factors of the inputs (`scale_inputs`): who learns them, at which rate, and who sees them."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import SMALL, X, Y, raises
from numpy.testing import assert_allclose
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn._optimizers import make_optimizer
from sksnn.diagnostics import layer_moments
from sksnn.inspection import network_inputs
from sksnn.networks import SNN, ScaledLinear


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_moves_factors_six_times_as_fast_as_biases_and_does_not_decay_them(optimizer, weight_decay):
    net = SNN(4, 2, (3,), scale_inputs=True, generator=torch.Generator().manual_seed(0)).double().eval()
    optimizer = make_optimizer(optimizer, net.parameters(), 1e-3, weight_decay, None)
    loss = net(torch.ones(1, 4, dtype=torch.float64)).sum()
    loss.backward()
    optimizer.step()
    assert_allclose((net.input_scale - 1).abs().detach(), np.full(4, 6e-3), rtol=1e-5)
    assert_allclose(net.layers[0].bias.abs().detach(), np.full(3, 1e-3), rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, True),
        ({"optimizer": "adam"}, True),
        ({"optimizer": torch.optim.AdamW}, True),
        ({"optimizer": "sgd"}, False),
        ({"architecture": "layernorm"}, False),
        ({"scale_inputs": False}, False),
        ({"optimizer": "sgd", "scale_inputs": True}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["classes", "tasks", "numbers"])
def test_auto_scales_where_it_was_measured(params, expected, kind):
    y = np.column_stack([Y, Y]) if kind == "tasks" else Y
    estimator = (SNNRegressor if kind == "numbers" else SNNClassifier)(**SMALL, **params)
    networks = estimator.fit(X, y).net_.module_.networks
    learned = {getattr(network, "input_scale", None) is not None for network in networks}
    assert learned == {expected and (kind != "tasks" or "scale_inputs" in params)}


def test_other_architectures_have_none():
    with raises("scale_inputs=True is for architecture='snn'; got 'highway'. Use scale_inputs='auto'"):
        SNNClassifier(**SMALL, architecture="highway", scale_inputs=True).fit(X, Y)


def test_inputs_that_say_nothing_are_turned_down():
    """Two of twelve columns make y: their factors end above those of the others, which fall."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 12))
    y = X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=400)
    reg = SNNRegressor(n_estimators=1, encoding=None, max_epochs=40, random_state=0).fit(X, y)
    scale = reg.net_.module_.network.input_scale.detach().abs()
    assert scale[:2].min() > 1 > scale[2:].mean()
    assert scale[:2].min() > scale[2:].max()


@pytest.mark.parametrize("optimizers", [("adamw", "sgd"), ("sgd", "adamw"), ("adamw", "lbfgs")], ids=str)
def test_going_on_with_another_optimizer_keeps_the_networks(optimizers):
    """LBFGS has one step length: it refused a second group, and there was no way out."""
    first, second = optimizers
    clf = SNNClassifier(**SMALL, warm_start=True, optimizer=first).fit(X, Y)
    networks = clf.net_.module_.networks
    clf.set_params(optimizer=second, weight_decay=0.0).fit(X, Y)
    assert len({group["lr"] for group in clf.net_.optimizer_.param_groups}) == 1
    assert clf.net_.module_.networks == networks
    assert {n.input_scale is not None for n in networks} == {first == "adamw"}


def test_an_optimizer_of_ones_own_gets_parameters_alone():
    """Without decay or factors it got a list of groups, of which a class may know nothing."""

    class Own(torch.optim.SGD):
        def __init__(self, params, lr):
            super().__init__([p for p in params if p.requires_grad], lr)

    settings = {**SMALL, "optimizer": Own, "weight_decay": 0.0}
    assert len(SNNClassifier(**settings).fit(X, Y).net_.optimizer_.param_groups) == 1


@pytest.mark.parametrize("make", [nn.Sequential, lambda old: SNN(5, 2, (4,))], ids=["wrapped", "other"])
def test_a_network_may_be_replaced(make):
    """The optimizer looked for factors that were not there, and overlooked those of a wrapped network."""

    class Replaces(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_.network = make(net.module_.network)
            net.initialize_optimizer()

    clf = SNNClassifier(**{**SMALL, "n_estimators": 1, "lr_schedule": "constant"}, callbacks=[Replaces()])
    network = clf.fit(X, Y).net_.module_.network
    trained = {id(p) for group in clf.net_.optimizer_.param_groups for p in group["params"]}
    assert trained == {id(p) for p in network.parameters()}
    scales = [part.scale for part in network.modules() if isinstance(part, ScaledLinear)]
    assert len(scales) == (make is nn.Sequential)
    assert all(abs(scale - 1).max() > 0 for scale in scales)


def test_a_callable_architecture_may_have_factors():
    architecture = partial(SNN, hidden_layer_sizes=(4,), scale_inputs=True)
    clf = SNNClassifier(**SMALL, architecture=architecture).fit(X, Y)
    assert all(abs(network.input_scale - 1).max() > 0 for network in clf.net_.module_.networks)


def test_diagnostics_see_encoded_inputs_and_weights_times_factors():
    """They took the inputs times the factors for the inputs, and found that these are not standardised."""
    clf = SNNClassifier(**{**SMALL, "lr": 0.02, "n_estimators": 1, "dropout": 0.0}).fit(X, Y)
    network, seen = clf.net_.module_.network, layer_moments(clf, X)
    rows = network_inputs(clf, X).numpy()
    assert_allclose(seen.inputs.variance, rows.var(axis=0), rtol=1e-3)
    weight = (network.layers[0].weight * network.input_scale).detach().double()
    assert abs(network.input_scale.detach() - 1).max() > 0.05
    assert_allclose(seen.layers[0].omega, weight.sum(1), rtol=1e-3, atol=1e-5)


def test_predictions_in_both_precisions_have_the_factors():
    """The float64 copy has them folded into its weights."""
    clf = SNNClassifier(**{**SMALL, "lr": 0.02, "dropout": 0.0}).fit(X, Y)
    double, single = (clf.predict_proba(X.astype(dtype)) for dtype in (np.float64, np.float32))
    assert_allclose(double, single, rtol=1e-4)
    assert all(network.input_scale is not None for network in clf.net_.module_.networks)


def test_rates_that_a_scheduler_sets_leave_factors_as_fast():
    """Factors had a rate of their own, which schedulers that set one rate for all set as well."""

    class Sets(Callback):
        def on_batch_begin(self, net, **kwargs):
            for group in net.optimizer_.param_groups:
                group["lr"] = 0.01

    steps = []
    for callbacks, lr in ((None, 0.01), ([Sets()], 0.5)):
        params = {**SMALL, "lr_schedule": "constant", "weight_decay": 0.0, "random_state": 0, "lr": lr}
        reg = SNNRegressor(**{**params, "n_estimators": 1}, callbacks=callbacks).fit(X, Y)
        steps.append(reg.net_.module_.network.input_scale.detach())
    torch.testing.assert_close(*steps)
