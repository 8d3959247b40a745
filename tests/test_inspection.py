"""Attributions by column: against closed forms, finite differences, and what they have to add up to."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ESTIMATORS, SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import droppy_net, sparse_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn.inspection import (
    Attributions,
    AttributionsDisplay,
    as_sequential,
    attributions,
    network_inputs,
    sum_by_column,
)

pytestmark = unfinished
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
MEMBERS = {**SMALL, "n_estimators": 2}
FEW = np.column_stack([X[:, :3], np.digitize(X[:, 3:], [-0.5, 0.5])])  # the last two columns get indicators


def linear(n_inputs, n_outputs):
    return nn.Linear(n_inputs, n_outputs)


def explained(model, rows, target=None):
    """What the estimator itself says of the rows, for one target."""
    if isinstance(model, SNNRegressor):
        found = model.predict(rows)
    else:
        found = model.decision_function(rows)
    return found if target is None else found[:, target]


# ---------------------------------------------------------------- closed forms


def test_a_linear_network_is_weights_times_distances():
    reg = SNNRegressor(**SMALL, architecture=linear).fit(X, T)
    weight = reg.net_.module_.network.weight.detach().numpy()[0].astype(float)
    per_unit = weight * T.std() / X.std(axis=0)
    found = attributions(reg, X, n_steps=1)
    np.testing.assert_allclose(found.values, per_unit * (X - X.mean(axis=0)), rtol=1e-5, atol=1e-5)
    base = reg.predict(X.mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(found.base_values, base, rtol=1e-6)
    between = attributions(reg, X, baseline=X[:3], n_steps=2)
    np.testing.assert_allclose(between.values, per_unit * (X - X[:3].mean(axis=0)), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    """Without codes the line in the inputs is the line in X: slopes of `predict` along it are enough."""
    reg = SNNRegressor(**{**SMALL, "n_estimators": 2}, encoding=None).fit(X, T)
    start, rows, h = X.mean(axis=0), X[:4], 1e-5
    t = (np.arange(2000) + 0.5) / 2000
    line = start + t[:, None, None] * (rows - start)  # (n_points, n_rows, n_features)
    for j in range(X.shape[1]):
        step = h * np.eye(X.shape[1])[j]
        up, down = (reg.predict((line + sign * step).reshape(-1, 5)).reshape(2000, 4) for sign in (1, -1))
        by_hand = (rows - start)[:, j] * ((up - down) / (2 * h)).mean(axis=0)
        found = attributions(reg, rows, n_steps=1000).values[:, j]
        np.testing.assert_allclose(found, by_hand, atol=2e-3 * np.ptp(T))


def test_codes_count_for_their_column():
    """Attributions of the inputs, by slopes of the member's plain network, added up by hand."""
    clf = SNNClassifier(**SMALL, encoding="onehot").fit(FEW, Y)
    network, inputs = as_sequential(clf), network_inputs(clf, FEW[:6])
    t = (torch.arange(4000, dtype=torch.float64)[:, None, None] + 0.5) / 4000
    line = (t * inputs).reshape(-1, inputs.shape[1]).requires_grad_()
    slope = torch.autograd.grad(network(line).sum(), line)[0].reshape(4000, *inputs.shape).mean(0)
    own = (inputs * slope).detach().numpy()
    by_hand = own[:, :5].copy()
    by_hand[:, 3] += own[:, 5:8].sum(axis=1)
    by_hand[:, 4] += own[:, 8:].sum(axis=1)
    assert own.shape[1] == 11
    np.testing.assert_allclose(sum_by_column(clf, inputs * slope), by_hand)
    np.testing.assert_allclose(attributions(clf, FEW[:6], n_steps=2000).values, by_hand, atol=2e-3)


# ---------------------------------------------------------------- laws


@settings(deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(["classes", "binary", "tasks", "values", "outputs"]),
    k=st.integers(1, 3),
    encoding=st.sampled_from(["auto", "thermometer", "piecewise", None]),
    standardize=st.booleans(),
    n_baselines=st.integers(0, 3),
    seed=st.integers(0, 2**20),
)
def test_contributions_add_up_to_the_output(kind, k, encoding, standardize, n_baselines, seed):
    estimator = SNNRegressor if kind in ("values", "outputs") else SNNClassifier
    values = np.column_stack([T, X[:, 1]])
    y = {"classes": THREE, "binary": Y, "tasks": TASKS, "values": T, "outputs": values}[kind]
    model = estimator(**{**SMALL, "n_estimators": k, "random_state": seed}, encoding=encoding)
    model.set_params(standardize=standardize, max_epochs=2).fit(FEW, y)
    baseline = FEW[-n_baselines:] if n_baselines else None
    found = attributions(model, FEW[:10], baseline=baseline)
    outputs = explained(model, FEW[:10])
    assert found.values.shape == (10, 5, *outputs.shape[1:])
    np.testing.assert_allclose(found.outputs, outputs, atol=0.02 * np.ptp(explained(model, FEW)))
    if n_baselines:
        np.testing.assert_allclose(found.base_values, explained(model, baseline).mean(axis=0), rtol=1e-6)


def test_an_unused_column_contributes_nothing():
    constant = np.column_stack([X, np.full(len(X), 3.0)])
    found = attributions(SNNClassifier(**SMALL).fit(constant, Y), constant)
    assert not found.values[:, 5].any() and found.values[:, :5].any()


def test_members_of_values_are_averaged():
    reg = SNNRegressor(**{**SMALL, "n_estimators": 2}).fit(FEW, T)
    found = attributions(reg, FEW[:5], n_steps=2000).values
    by_member = []
    for member in range(2):
        network, inputs = as_sequential(reg, member), network_inputs(reg, FEW[:5], member)
        line = (torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None, None] * inputs).requires_grad_()
        slope = torch.autograd.grad(network(line).sum(), line)[0].mean(0)
        by_member.append(sum_by_column(reg, inputs * slope, member))
    np.testing.assert_allclose(found, np.mean(by_member, axis=0), atol=0.005 * np.ptp(T))


@pytest.mark.parametrize("k", [1, 2])
def test_links_and_quantiles(k):
    y, settings = np.exp(X[:, 0]), {**SMALL, "n_estimators": k}
    counts = SNNRegressor(**settings, loss="poisson").fit(X, y)
    np.testing.assert_allclose(attributions(counts, X).outputs, np.log(counts.predict(X)), atol=0.02)
    bands = SNNRegressor(**settings, loss="quantile", quantile=[0.9, 0.1, 0.5]).fit(X, y)
    np.testing.assert_allclose(attributions(bands, X).outputs, bands.predict(X), atol=0.05)
    if k == 1:
        plain = as_sequential(counts)(network_inputs(counts, X)).detach().numpy()[:, 0]
        np.testing.assert_allclose(plain, np.log(counts.predict(X)), rtol=1e-9, atol=1e-9)


def test_categories_and_gaps():
    town = np.where(X[:, 2] > 0, "north", "south")
    frame = pd.DataFrame({"town": town, "a": np.where(X[:, 1] > 1, np.nan, X[:, 0]), "b": X[:, 1]})
    clf = SNNClassifier(**MEMBERS).fit(frame, X[:, 2] > 0)
    found = attributions(clf, frame, baseline=frame.iloc[:1])
    np.testing.assert_allclose(found.outputs, clf.decision_function(frame), atol=0.05)
    assert np.argmax(abs(found.values).mean(axis=0)) == 0, "the town decides"
    assert not found.values[town == town[0], 0].any()


def test_targets_are_labels():
    names = np.array(["low", "middle", "high"])[THREE]
    clf = SNNClassifier(**SMALL).fit(X, names)
    whole = attributions(clf, X[:4])
    for i, label in enumerate(clf.classes_):
        one = attributions(clf, X[:4], target=label)
        np.testing.assert_allclose(one.values, whole.values[..., i])
        assert one.base_values == pytest.approx(whole.base_values[i])
    binary = SNNClassifier(**SMALL).fit(X, Y)
    one, other = (attributions(binary, X[:4], target=label).values for label in (1, 0))
    np.testing.assert_array_equal(one, attributions(binary, X[:4]).values)
    np.testing.assert_array_equal(other, -one)
    reg = SNNRegressor(**SMALL).fit(X, np.column_stack([T, X[:, 1]]))
    assert attributions(reg, X[:4], target=1).values.shape == (4, 5)


def test_names_are_those_of_the_frame():
    frame = pd.DataFrame(X, columns=list("abcde"))
    clf = SNNClassifier(**SMALL).fit(frame, Y)
    assert attributions(clf, frame).feature_names.tolist() == list("abcde")
    found = attributions(SNNClassifier(**SMALL).fit(X, Y), X)
    assert found.feature_names.tolist() == ["x0", "x1", "x2", "x3", "x4"]
    np.testing.assert_allclose(attributions(clf, frame).values, found.values)


@pytest.mark.parametrize("container", [sparse.csr_matrix, torch.from_numpy, np.float32])
def test_any_rows_will_do(container):
    rows = sparse_rows(X).toarray()
    clf = SNNClassifier(**SMALL).fit(container(rows), Y)
    found = attributions(clf, container(rows), baseline=container(rows[:2]))
    np.testing.assert_allclose(found.outputs, clf.decision_function(rows), atol=0.02)


@pytest.mark.parametrize("architecture", ["msra", "highway", "batchnorm", droppy_net])
def test_other_architectures(architecture):
    clf = SNNClassifier(**SMALL, architecture=architecture).fit(X, THREE)
    found = attributions(clf, X, target=1)
    np.testing.assert_allclose(found.outputs, explained(clf, X, 1), atol=0.1)


def test_chunks_and_the_callers_settings_change_nothing(monkeypatch):
    clf = SNNClassifier(**SMALL).fit(X, Y)
    before = pickle.dumps(clf)
    whole = attributions(clf, X)
    monkeypatch.setattr("sksnn.inspection.forward_rows", lambda width, device: 7)
    with torch.inference_mode():
        again = attributions(clf, X)
    np.testing.assert_allclose(again.values, whole.values, atol=1e-12)
    assert pickle.dumps(clf) == before
    assert all(p.requires_grad and p.grad is None for p in clf.net_.module_.network.parameters())


# ---------------------------------------------------------------- for other packages


@pytest.mark.parametrize(("name", "y"), zip(ESTIMATORS, (Y, TASKS, T, np.column_stack([T, T])), strict=True))
def test_the_sequential_network_is_the_member(name, y):
    model = ESTIMATORS[name].set_params(n_estimators=1).fit(X, y)
    network = as_sequential(model)
    assert {type(layer) for layer in network} == {nn.Linear, nn.ELU}
    outputs = network(network_inputs(model, X)).detach().numpy().squeeze()
    np.testing.assert_allclose(outputs, explained(model, X).squeeze(), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        network[0].weight.zero_()  # the caller's to change
    assert model.net_.module_.network.layers[0].weight.any()


def test_what_cannot_be_explained_is_said():
    clf = SNNClassifier(**SMALL).fit(X, Y)
    with raises("target must be one of [0, 1]; got 2. Leave it out"):
        attributions(clf, X, target=2)
    with raises("n_steps must be a whole number of at least 1; got 0. Use 128"):
        attributions(clf, X, n_steps=0)
    with raises("member must be a whole number from 0 to 0; got 1. 0 is the first."):
        as_sequential(clf, member=1)
    with raises("values must have shape (n_rows, 5) or (n_rows, 5, n_outputs)"):
        sum_by_column(clf, np.ones((2, 7)))
    with raises("as_sequential knows networks of architecture='snn'; this one is a MSRANet"):
        as_sequential(SNNClassifier(**SMALL, architecture="msra").fit(X, Y))
    with raises("estimator must be an SNNClassifier", TypeError):
        attributions(make_pipeline(clf), X)
    with pytest.raises(NotFittedError):
        attributions(SNNClassifier(), X)
    with raises("X has 3 features, but SNNClassifier is expecting 5"):
        attributions(clf, X, baseline=X[:, :3])


# ---------------------------------------------------------------- the picture


def test_arguments_of_other_types_are_named():
    """They were errors of numpy or of Python that named neither the argument nor the way out."""
    clf = SNNClassifier(**SMALL).fit(X, Y)
    for n_steps in (1.5, "8", np.nan, None):
        with raises(f"n_steps must be a whole number of at least 1; got {n_steps!r}. Use 128"):
            attributions(clf, X, n_steps=n_steps)
    for member in (1.0, "0", None):
        with raises(f"member must be a whole number from 0 to 0; got {member!r}. 0 is the first."):
            as_sequential(clf, member)
    for target in (np.array([0, 1]), [0]):
        with raises(f"target must be one of [0, 1]; got {target!r}. Leave it out"):
            attributions(clf, X, target=target)


def test_values_of_other_packages_are_added_up():
    """Arrays that are read-only or reversed, and frames, were errors; lists lost digits."""
    clf = SNNClassifier(**SMALL, encoding="piecewise").fit(X, Y)
    values = np.random.default_rng(0).normal(size=(4, network_inputs(clf, X).shape[1]))
    found = sum_by_column(clf, torch.from_numpy(values.copy()))
    read_only = np.broadcast_to(values, values.shape)
    reverse = values[::-1].copy()[::-1]
    for same in (
        read_only,
        reverse,
        values.tolist(),
        list(values),
        pd.DataFrame(values),
    ):
        np.testing.assert_array_equal(sum_by_column(clf, same), found)


def test_the_display_draws_the_largest_on_top(plt):
    clf = SNNClassifier(**SMALL).fit(X, Y)
    display = AttributionsDisplay.from_estimator(clf, X, max_columns=2, widths=0.3)
    size = abs(display.attributions.values).mean(axis=0)
    assert display.columns_.tolist() == np.argsort(-size)[:2].tolist()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [
        f"x{j}" for j in display.columns_[::-1]
    ]
    medians = [line.get_xdata()[0] for line in display.boxes_["medians"]]
    np.testing.assert_allclose(
        medians, np.median(display.attributions.values[:, display.columns_[::-1]], axis=0)
    )
    _, ax = plt.subplots()
    assert display.plot(ax).ax_ is ax


def test_a_display_has_at_least_one_column(plt):
    """-1 left the last column out, 0 was an error about labels."""
    found = Attributions(np.ones((3, 2)), 0.0, np.array(["a", "b"]))
    for max_columns in (-1, 0, 1.5):
        with raises(f"max_columns must be a whole number of at least 1; got {max_columns}. Use 10."):
            AttributionsDisplay(found).plot(max_columns=max_columns)


def test_a_display_shows_one_output(plt):
    with raises("a display shows one output; got attributions of 3. Choose one with target=."):
        AttributionsDisplay(Attributions(np.ones((2, 5, 3)), np.ones(3), np.arange(5))).plot()
