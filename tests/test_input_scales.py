"""Factors of the inputs (`scale_inputs`): who learns them, at which rate, and who sees them."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import SMALL, X, Y, raises
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn._optimizers import INPUT_SCALE_RATE, make_optimizer
from sksnn.diagnostics import layer_moments
from sksnn.inspection import network_inputs
from sksnn.networks import SNN


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_input_scales_have_a_higher_rate_and_no_decay(weight_decay):
    net = SNN(4, 2, (3,), scale_inputs=True)
    scales = [net.input_scale]
    optimizer = make_optimizer("adamw", net.parameters(), 0.1, weight_decay, None, scales)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert found.pop(id(net.input_scale)) == (pytest.approx(0.1 * INPUT_SCALE_RATE), 0.0)
    assert len(found) == 4
    assert set(found.values()) == {(0.1, 0.0), (0.1, weight_decay)}


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


@pytest.mark.parametrize(
    ("optimizers", "rates"),
    [(("adamw", "sgd"), 2), (("sgd", "adamw"), 1), (("adamw", "lbfgs"), 1)],
    ids=str,
)
def test_going_on_with_another_optimizer_keeps_the_networks(optimizers, rates):
    """LBFGS has one step length: it refused a second group, and there was no way out."""
    first, second = optimizers
    clf = SNNClassifier(**SMALL, warm_start=True, optimizer=first).fit(X, Y)
    networks = clf.net_.module_.networks
    clf.set_params(optimizer=second, weight_decay=0.0).fit(X, Y)
    assert len({group["lr"] / 1e-3 for group in clf.net_.optimizer_.param_groups}) <= rates
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
def test_a_network_may_be_replaced_by_one_without_factors(make):
    """The optimizer looked for factors that were not there, and overlooked those of a wrapped network."""

    class Replaces(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_.network = make(net.module_.network)
            net.initialize_optimizer()

    clf = SNNClassifier(**{**SMALL, "n_estimators": 1, "lr_schedule": "constant"}, callbacks=[Replaces()])
    groups = clf.fit(X, Y).net_.optimizer_.param_groups
    assert (groups[-1]["lr"] > groups[0]["lr"]) == (make is nn.Sequential)


def test_a_callable_architecture_may_have_factors():
    architecture = partial(SNN, hidden_layer_sizes=(4,), scale_inputs=True)
    clf = SNNClassifier(**{**SMALL, "lr_schedule": "constant"}, architecture=architecture).fit(X, Y)
    groups = clf.net_.optimizer_.param_groups
    assert [len(group["params"]) for group in groups[-1:]] == [1]
    assert groups[-1]["lr"] == pytest.approx(INPUT_SCALE_RATE * groups[0]["lr"])


def test_diagnostics_see_encoded_inputs_and_weights_times_factors():
    """They took the inputs times the factors for the inputs, and found that these are not standardised."""
    clf = SNNClassifier(**{**SMALL, "lr": 0.02, "n_estimators": 1, "dropout": 0.0}).fit(X, Y)
    network, seen = clf.net_.module_.network, layer_moments(clf, X)
    rows = network_inputs(clf, X).numpy()
    np.testing.assert_allclose(seen.inputs.variance, rows.var(axis=0), rtol=1e-3)
    weight = (network.layers[0].weight * network.input_scale).detach().double()
    assert abs(network.input_scale.detach() - 1).max() > 0.05
    np.testing.assert_allclose(seen.layers[0].omega, weight.sum(1), rtol=1e-3, atol=1e-5)


def test_predictions_in_both_precisions_have_the_factors():
    """The float64 copy has them folded into its weights."""
    clf = SNNClassifier(**{**SMALL, "lr": 0.02, "dropout": 0.0}).fit(X, Y)
    double, single = (clf.predict_proba(X.astype(dtype)) for dtype in (np.float64, np.float32))
    np.testing.assert_allclose(double, single, rtol=1e-4)
    assert all(network.input_scale is not None for network in clf.net_.module_.networks)


def test_going_on_keeps_the_ratio_of_the_rates():
    """A fit that goes on begins from the rate of the weights: it was given to the factors as well."""
    params = {**SMALL, "lr_schedule": "constant", "warm_start": True, "random_state": 0}
    reg = SNNRegressor(**params).fit(X, Y)
    for _ in range(2):
        rates = [group["lr"] for group in reg.net_.optimizer_.param_groups]
        assert rates[-1] == pytest.approx(INPUT_SCALE_RATE * rates[0]) and len(set(rates)) == 2
        reg.fit(X, Y)
