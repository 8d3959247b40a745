"""Estimators with members: what they share, what is their own, and what their predictions are."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from conftest import SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import TORCH
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.fixes import parse_version
from skorch.callbacks import Callback, EpochScoring, GradientNormClipping
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import TrainingCurveDisplay, layer_moments

pytestmark = [
    pytest.mark.filterwarnings("ignore:the final training loss"),
    pytest.mark.filterwarnings("ignore:.* training rows were drawn for every member and"),
]
GAPS = np.where(np.random.default_rng(3).random(TASKS.shape) < 0.3, np.nan, TASKS)
EXACT = {**SMALL, "precision": "float64", "dropout": 0.1}
#: Members that are all alike.
ALIKE = {**EXACT, "encoding": "piecewise", "early_stopping": False}
#: Its members are trained on all rows.
Uncalibrated = partial(SNNClassifier, calibrate=False)
# Kind of target -> estimator, y, method that returns what members average.
KINDS = {
    "classes": (Uncalibrated, Y, "predict_proba", "predict_proba_members"),
    "tasks": (SNNClassifier, GAPS, "predict_proba", "predict_proba_members"),
    "a number": (SNNRegressor, T, "predict", "predict_members"),
    "numbers": (SNNRegressor, np.column_stack([T, -T, T**2]), "predict", "predict_members"),
}


def own_module(n_inputs, n_outputs):
    """Make a module that draws its weights and its dropout from torch's global generator."""
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.SELU(), nn.Dropout(0.2), nn.Linear(8, n_outputs))


# ---------------------------------------------------------------- a member is the network it would be alone


WAYS = {
    "defaults": {},
    "early stopping on own rows": {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 8},
    "bags": {"bootstrap": True},
    "bags, early stopping": {"bootstrap": True, "early_stopping": True},
    "clipped": {"max_grad_norm": 0.1},
    "momentum": {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}, "weight_decay": 0.01},
    "a rival": {"architecture": "batchnorm"},
    "own module": {"architecture": own_module},
    "dropped inputs": {"input_dropout": 0.1},
    "forms in turn": {
        "layer_form": ["conic", "rectangular"],
        "n_units": (16, 8),
        "dropout": (0.1, 0.0),
        "encoding": ("onehot", "piecewise"),
    },
}


# With early stopping members have their best epoch together.
ALONE = [way for way, settings in WAYS.items() if "early_stopping" not in settings]


@pytest.mark.parametrize("way", ALONE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_member_is_the_network_of_the_estimator_with_one(kind, way):
    """The same seed, so the same weights, order of rows and dropped units; to 1e-6 in float64."""
    estimator, y, _, members = KINDS[kind]
    one = estimator(**{**ALIKE, **WAYS[way]}).fit(X, y)
    several = estimator(**{**ALIKE, **WAYS[way], "n_estimators": 3}).fit(X, y)
    first = getattr(several, members)(X)[0]
    np.testing.assert_allclose(first, getattr(one, members)(X)[0], atol=1e-6 * np.abs(first).max())
    assert not np.allclose(first, getattr(several, members)(X)[1], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ALONE)
def test_more_members_leave_the_first_ones_alone(kind, way):
    """Two among five are those among three."""
    estimator, y, _, members = KINDS[kind]
    models = [estimator(**{**ALIKE, **WAYS[way], "n_estimators": k}).fit(X, y) for k in (3, 5)]
    few, many = (getattr(model, members)(X)[:2] for model in models)
    np.testing.assert_allclose(few, many, atol=1e-6 * np.abs(few).max())


def test_members_may_take_forms_in_turn():
    """Each code meets each form, and a member is trained as if all were of its form."""
    turns = {"layer_form": ("conic", "rectangular"), "n_units": [16, 8], "dropout": (0.1, 0.0)}
    settings = {**EXACT, "n_estimators": 6, "encoding": ("onehot", "piecewise")}
    mixed = Uncalibrated(**{**settings, **turns}).fit(X, Y)
    networks = mixed.net_.module_.networks
    conic, equal = ((16, 6), 0.1), ((8, 8), 0.0)
    own = [(network.hidden_layer_sizes, network.dropout.rate) for network in networks]
    assert own == [conic, conic, equal, equal, conic, conic]
    assert len({network.layers[0].in_features for network in networks[2:4]}) == 2
    for i, members in enumerate(([0, 1, 4, 5], [2, 3])):
        alike = Uncalibrated(**{**settings, **{name: turn[i] for name, turn in turns.items()}}).fit(X, Y)
        each = (model.predict_proba_members(X)[members] for model in (mixed, alike))
        np.testing.assert_allclose(*each, atol=1e-6)
    widths = [
        network.hidden_layer_sizes
        for network in Uncalibrated(**{**settings, "n_units": (16, 8), "encoding": None})
        .fit(X, Y)
        .net_.module_.networks
    ]
    assert widths == [(16, 6), (8, 4)] * 3


def test_a_network_of_ones_own_has_no_forms():
    """Parameters for layers and dropout do not apply to it, so its members weigh the same."""
    settings = {**SMALL, "n_estimators": 4, "architecture": own_module}
    several = SNNClassifier(**{**settings, "n_units": (8, 16)}, dropout=(0.0, 0.1)).fit(X, Y)
    np.testing.assert_array_equal(several.member_weights_, np.full(4, 1 / 4))
    one = SNNClassifier(**settings).fit(X, Y)
    np.testing.assert_array_equal(several.predict_proba(X), one.predict_proba(X))


def test_no_hidden_layers_is_a_linear_model():
    """Several members failed, which looked for a form in an empty tuple."""
    model = SNNClassifier(**{**SMALL, "n_estimators": 2}, hidden_layer_sizes=()).fit(X, Y)
    assert {network.hidden_layer_sizes for network in model.net_.module_.networks} == {()}


@pytest.mark.skipif(TORCH < parse_version("2.11"), reason="LBFGS of torch 2.6 diverges on minibatches")
def test_a_closure_is_called_for_all_members_at_once():
    """LBFGS looks for one step for all parameters, so that its members are not those it would train alone."""
    settings = {**SMALL, "optimizer": "lbfgs", "lr": 0.1, "weight_decay": 0.0, "batch_size": len(X)}
    model = SNNClassifier(**{**settings, "n_estimators": 3}).fit(X, Y)
    assert model.score(X, Y) > 0.8


def test_members_may_take_codes_in_turn():
    """Those of a code are trained as if the others had it, too, though inputs are filled up with zeros."""
    codes = ("onehot", "piecewise", None)
    mixed = Uncalibrated(**{**EXACT, "n_estimators": 6}, encoding=codes).fit(X, Y)
    for j, code in enumerate(codes):
        alike = Uncalibrated(**{**EXACT, "n_estimators": 6}, encoding=code).fit(X, Y)
        np.testing.assert_allclose(
            mixed.predict_proba_members(X)[j::3], alike.predict_proba_members(X)[j::3], atol=1e-6
        )
    assert len({id(member.encoder) for member in mixed.net_.module_.members}) == 3


# ---------------------------------------------------------------- what is chosen


@unfinished
def test_auto_takes_more_members_on_few_rows_and_codes_in_turn():
    """Eight members up to 500 rows with weight, else four; half of them with other codes."""
    rows = np.random.default_rng(0).normal(size=(501, 3))
    y, quick = (rows[:, 0] > 0).astype(int), {"max_epochs": 1, "n_units": 8, "random_state": 0}

    def widths(model):
        return [member.encoder.n_inputs for member in model.net_.module_.members]

    coded = 3 + 3 * 9
    assert widths(SNNClassifier(**quick).fit(rows[:500], y[:500])) == [3, coded] * 4
    assert widths(SNNClassifier(**quick).fit(rows, y)) == [3, coded] * 2
    assert widths(SNNClassifier(**quick).fit(rows, y, sample_weight=np.arange(501) > 0)) == [3, coded] * 4
    assert widths(SNNRegressor(**quick).fit(rows, y)) == [coded, 3] * 2
    assert widths(SNNClassifier(**quick, encoding="piecewise").fit(rows, y)) == [coded] * 4
    assert widths(SNNClassifier(**quick).fit(np.tile(rows, 34), y)) == [102] * 4, "too wide for codes"
    assert widths(SNNClassifier(**quick).fit(rows, np.column_stack([y, 1 - y]))) == [3, coded] * 2


@pytest.mark.parametrize("architecture", ["batchnorm", own_module])
def test_auto_is_one_network_of_another_architecture(architecture):
    model = SNNClassifier(architecture=architecture, max_epochs=2, random_state=0).fit(X, Y)
    assert len(model.net_.module_.networks) == 1


@unfinished
def test_auto_goes_on_with_the_members_of_the_first_rows():
    model = SNNClassifier(max_epochs=1, n_units=8, warm_start=True, random_state=0).fit(X, Y)
    rows = np.tile(X, (5, 1))
    model = pickle.loads(pickle.dumps(model)).fit(rows, np.tile(Y, 5)).partial_fit(rows, np.tile(Y, 5))
    assert len(model.net_.module_.members) == 8 and model.n_iter_ == 3


@unfinished
@pytest.mark.parametrize(
    ("settings", "n_rows", "stops"),
    [
        ({}, 120, True),
        ({}, 20, True),
        ({}, 19, False),
        ({"n_estimators": 2}, 120, True),
        ({"n_estimators": 1}, 120, False),
        ({"bootstrap": True}, 120, False),
        ({"early_stopping": False}, 120, False),
        ({"architecture": "batchnorm"}, 120, False),
    ],
)
def test_members_of_a_regressor_hold_back_folds_by_themselves(settings, n_rows, stops):
    model = SNNRegressor(max_epochs=2, random_state=0, **settings).fit(X[:n_rows], T[:n_rows])
    assert (model.validation_loss_curve_ is not None) == stops
    clf = SNNClassifier(max_epochs=2, random_state=0, **settings).fit(X[:n_rows], Y[:n_rows])
    assert clf.validation_loss_curve_ is None


def test_members_learn_less_of_noise():
    """A target without any signal: one network learns the noise, members stop where it begins."""
    rng = np.random.default_rng(0)
    rows, noise, new = rng.normal(size=(200, 10)), rng.normal(size=200), rng.normal(size=(500, 10))
    one, several = (
        np.var(SNNRegressor(n_estimators=k, random_state=0).fit(rows, noise).predict(new))
        for k in (1, "auto")
    )
    assert several < 0.1 and several < one / 5


# ---------------------------------------------------------------- averages


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_the_means_of_the_members(kind):
    estimator, y, averaged, members = KINDS[kind]
    model = estimator(**{**SMALL, "n_estimators": 4}).fit(X, y)
    each = getattr(model, members)(X)
    assert each.shape[0] == 4
    np.testing.assert_allclose(each.mean(axis=0), getattr(model, averaged)(X), rtol=1e-6)
    alone = estimator(**SMALL).fit(X, y)
    np.testing.assert_allclose(getattr(alone, members)(X)[0], getattr(alone, averaged)(X), rtol=1e-12)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "tasks"])
def test_decisions_and_logarithms_agree_with_the_mean_probability(kind):
    y = {"two classes": Y, "three classes": np.digitize(X[:, 0], np.quantile(X[:, 0], [0.3, 0.6]))}.get(
        kind, GAPS
    )
    model = SNNClassifier(**{**SMALL, "n_estimators": 3}).fit(X, y)
    proba, z = model.predict_proba(X), model.decision_function(X)
    if kind == "three classes":
        np.testing.assert_allclose(softmax(z, axis=1), proba, rtol=1e-6)
        np.testing.assert_array_equal(model.predict(X), z.argmax(axis=1))
    else:
        np.testing.assert_allclose(expit(z), proba[:, 1] if kind == "two classes" else proba, rtol=1e-6)
    if kind != "tasks":
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), proba, rtol=1e-6)


@pytest.mark.parametrize("target", ["classes", "tasks"])
def test_decisions_are_finite_where_probabilities_round_to_0_or_1(target):
    model = SNNClassifier(**{**SMALL, "n_estimators": 3}).fit(X, Y if target == "classes" else TASKS)
    with torch.no_grad():
        for network in model.net_.module_.networks:
            network.layers[-1].bias.mul_(0).add_(torch.linspace(-3e4, 3e4, network.layers[-1].out_features))
    z = model.decision_function(X.astype("f4"))
    assert np.isfinite(z).all() and abs(z).max() > 1e4
    assert np.isin(model.predict_proba(X), [0, 1]).any()


def test_the_spread_is_that_of_the_members():
    y = np.column_stack([T, T**2])
    model = SNNRegressor(**{**SMALL, "n_estimators": 4}).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X))
    np.testing.assert_array_equal(std, model.predict_members(X).std(axis=0))
    with raises("return_std=True needs members to compare, but there is one. Fit with n_estimators=8"):
        SNNRegressor(**SMALL).fit(X, y).predict(X, return_std=True)


def test_members_agree_less_far_from_the_training_rows():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 1))
    model = SNNRegressor(n_estimators=6, random_state=0).fit(
        x, np.sin(3 * x[:, 0]) + 0.1 * rng.normal(size=200)
    )
    _, near = model.predict(np.linspace(-0.9, 0.9, 50)[:, None], return_std=True)
    _, far = model.predict(np.linspace(3, 4, 50)[:, None], return_std=True)
    assert np.median(far) > 3 * np.median(near)


# ---------------------------------------------------------------- rows of their own


def test_each_member_holds_back_its_own_fold():
    """So that all rows are learned from; half of validation_fraction, or as little as gives all a fold."""
    seen = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.extend((m.rows.index.numpy(), m.valid.index.numpy()) for m in net.engine_.members)

    settings = {**SMALL, "max_epochs": 1, "early_stopping": True, "callbacks": [Watch()]}
    for k, fraction, n_held in [(3, 0.2, 12), (2, 0.5, 30), (15, 0.25, 4)]:
        seen.clear()
        SNNClassifier(**{**settings, "n_estimators": k}, validation_fraction=fraction).fit(X, Y)
        held = [valid for _, valid in seen]
        assert {len(valid) for valid in held} == {n_held}
        assert len(np.unique(np.concatenate(held))) == k * n_held, "folds do not overlap"
        for train, valid in seen:
            assert sorted([*train, *valid]) == list(range(120))
            assert abs(Y[valid].sum() - len(valid) * Y.mean()) < 1, "stratified"


def test_with_validation_rows_all_watch_those():
    model = SNNClassifier(**{**SMALL, "n_estimators": 3}).fit(X[30:], Y[30:], X_val=X[:30], y_val=Y[:30])
    alone = SNNClassifier(**SMALL).fit(X[30:], Y[30:], X_val=X[:30], y_val=Y[:30])
    assert model.validation_loss_curve_[0] != alone.validation_loss_curve_[0]
    assert len(model.validation_loss_curve_) == model.n_iter_


def test_curves_are_means_and_all_members_have_their_best_epoch_at_the_least():
    settings = {
        **EXACT,
        "early_stopping": True,
        "n_iter_no_change": 2,
        "max_epochs": 30,
        "tol": 0.0,
        "lr": 0.03,
    }
    model = SNNClassifier(**{**settings, "n_estimators": 3}).fit(X, Y)
    curve = model.validation_loss_curve_
    assert model.best_epoch_ == np.argmin(curve) + 1 > 1
    assert model.n_iter_ == len(model.loss_curve_) == len(curve) == model.best_epoch_ + 2


@unfinished
def test_bags_are_drawn_in_proportion_to_weights():
    weight = np.where(np.arange(120) < 40, 4.0, 1.0)
    weight[-20:] = 0
    drawn = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            drawn.extend(m.rows.index.numpy() for m in net.engine_.members)
            assert all(m.rows.weight is None for m in net.engine_.members)

    settings = {**SMALL, "max_epochs": 1, "callbacks": [Watch()]}
    SNNClassifier(**{**settings, "n_estimators": 40}, bootstrap=True).fit(X, Y, sample_weight=weight)
    counts = np.bincount(np.concatenate(drawn), minlength=120)
    assert all(len(bag) == 100 for bag in drawn) and counts[-20:].sum() == 0
    assert counts[:40].mean() / counts[40:100].mean() == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_out_of_the_bag_are_predicted_by_the_others(kind):
    estimator, y, averaged, members = KINDS[kind]
    bags = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            bags.extend(m.rows.index.numpy() for m in net.engine_.members)

    model = estimator(
        **{**SMALL, "n_estimators": 4}, bootstrap=True, oob_score=True, callbacks=[Watch()]
    ).fit(X, y)
    out = np.array([~np.isin(np.arange(120), bag) for bag in bags])
    each = getattr(model, members)(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows in all bags: the mean of nothing
        expected = np.nanmean(np.where(out.reshape(4, 120, *[1] * (each.ndim - 2)), each, np.nan), axis=0)
    found = getattr(model, model._oob_attribute)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    seen = out.any(axis=0)
    assert np.isnan(found[~seen]).all() and 0 < (~seen).sum() < 60
    if kind == "classes":
        assert model.oob_score_ == pytest.approx(accuracy_score(y[seen], found[seen].argmax(axis=1)))
        assert found.shape == RandomForestClassifier(oob_score=True).fit(X, y).oob_decision_function_.shape
    if kind == "a number":
        assert model.oob_score_ == pytest.approx(r2_score(y[seen], found[seen]))


# ---------------------------------------------------------------- going on, pickles, callbacks


@pytest.mark.parametrize("way", ["defaults", "early stopping on own rows", "own module", "a rival"])
@pytest.mark.parametrize("kind", KINDS)
def test_pickles_and_copies_predict_and_go_on_alike(kind, way):
    estimator, y, averaged, _ = KINDS[kind]
    model = estimator(**{**SMALL, **WAYS[way], "n_estimators": 3}, warm_start=True).fit(X, y)
    copies = [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for again in copies:
        np.testing.assert_array_equal(getattr(again, averaged)(X), getattr(model, averaged)(X))
    expected = getattr(model.fit(X, y), averaged)(X)
    for again in copies:
        np.testing.assert_array_equal(getattr(again.fit(X, y), averaged)(X), expected)
    assert model.n_iter_ == len(model.loss_curve_) > SMALL["max_epochs"] / 2


def test_a_loaded_model_has_one_encoder_for_each_code():
    """Each mention of a code came back as an encoder of its own, by which rows were encoded again."""
    model = SNNClassifier(**{**SMALL, "n_estimators": 4}, encoding=("onehot", "onehot", "piecewise")).fit(
        X, Y
    )
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        encoders = [member.encoder for member in each.net_.module_.members]
        assert [encoders.index(encoder) for encoder in encoders] == [0, 0, 2, 0]
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("Estimator", [SNNClassifier, SNNRegressor])
def test_chunks_are_seen_by_every_member(Estimator):
    y = Y if Estimator is SNNClassifier else T
    first = {"classes": [0, 1]} if Estimator is SNNClassifier else {}
    model, alone = (Estimator(**{**ALIKE, "n_estimators": k}, bootstrap=k > 1) for k in (3, 1))
    for rows in (slice(0, 60), slice(60, None)):
        model.partial_fit(X[rows], y[rows], **first)
        alone.partial_fit(X[rows], y[rows], **first)
    members = "predict_proba_members" if first else "predict_members"
    one, several = getattr(alone, members)(X)[0], getattr(model, members)(X)
    np.testing.assert_allclose(several[0], one, atol=1e-6 * np.abs(one).max())
    assert model.n_iter_ == 2 and model.best_epoch_ == 2


def test_the_number_of_members_cannot_change_while_training_goes_on():
    model = SNNClassifier(**{**SMALL, "n_estimators": 3}, warm_start=True).fit(X, Y)
    with raises(
        "n_estimators cannot change while training goes on (warm_start or partial_fit): it was 3, now 4"
    ):
        model.set_params(n_estimators=4).fit(X, Y)
    assert model.predict_proba_members(X).shape[0] == 3


@pytest.mark.parametrize("encoding", ["onehot", ("onehot", "piecewise")])
def test_callbacks_of_skorch_see_the_ensemble(encoding):
    seen = []

    class Watch(Callback):
        def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
            seen.append((training, len(batch[1]), y_pred.shape))

    callbacks = [
        EpochScoring("accuracy", name="score", use_caching=False, on_train=True),
        MomentRecorder(),
        Watch(),
    ]
    model = Uncalibrated(**{**SMALL, "n_estimators": 3}, encoding=encoding, callbacks=callbacks).fit(X, Y)
    assert model.net_.history[-1, "score"] == pytest.approx(model.score(X, Y), abs=0.01)
    assert len(seen) == 3 * 8 * SMALL["max_epochs"] and {shape for *_, shape in seen} >= {(16, 2)}
    assert len(model.net_.history) == model.n_iter_ and len(model.net_.history[-1, "layer_means"]) == 3
    np.testing.assert_allclose(model.net_.predict_proba(X), model.predict_proba(X), atol=1e-5)
    raw = model.net_.module_(torch.from_numpy(X)).softmax(1).detach().numpy()
    np.testing.assert_allclose(raw, model.predict_proba(X), atol=1e-5)
    assert len(layer_moments(model, X).layers) == 2, "of the first member"


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_are_learned_from_as_dense_ones(early_stopping):
    settings = {**EXACT, "n_estimators": 3, "standardize": False, "encoding": None}
    fits = [
        SNNClassifier(**settings, early_stopping=early_stopping).fit(rows, Y).predict_proba(X)
        for rows in (X / 10, sparse.csr_matrix(X / 10))
    ]
    np.testing.assert_allclose(*fits, atol=1e-9)


def test_a_grid_searches_over_members():
    search = GridSearchCV(SNNClassifier(**SMALL), {"n_estimators": [1, 3]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.8


def test_what_does_not_go_together_is_said():
    with raises(
        "oob_score=True needs rows that members have not seen, but bootstrap=False. Set bootstrap=True"
    ):
        SNNClassifier(**SMALL, oob_score=True).fit(X, Y)
    with raises(
        "encoding must be or hold None, 'auto' or one of onehot, thermometer, piecewise; got ('zzz',)"
    ):
        SNNClassifier(**SMALL, encoding=("zzz",)).fit(X, Y)
    with raises("encoding must be or hold None, 'auto' or one of"):
        SNNClassifier(**SMALL, encoding=()).fit(X, Y)
    with raises("n_units must be or hold positive integers; got (8, 0)."):
        SNNClassifier(**{**SMALL, "n_units": (8, 0)}).fit(X, Y)
    with raises("dropout must be or hold numbers in [0, 1); got [0.1, 1.0]."):
        SNNClassifier(**SMALL, dropout=[0.1, 1.0]).fit(X, Y)
    for form in ((), ("auto",), ("conic", 1)):
        with raises("layer_form must be or hold 'conic' or 'rectangular'; got"):
            SNNRegressor(**SMALL, layer_form=form).fit(X, T)
    weight = np.eye(120)[7]
    with raises(
        "n_estimators=3 with early_stopping or calibrate needs at least 2 rows with weight and a label"
    ):
        SNNRegressor(**{**SMALL, "n_estimators": 3}, early_stopping=True).fit(X, T, sample_weight=weight)
    with raises("bootstrap=True has drawn, for a member, all of the n_samples=120 that have weight"):
        SNNRegressor(**SMALL, bootstrap=True, early_stopping=True).fit(X, T, sample_weight=weight)
    with raises("oob_score=True, but each of n_estimators=1 members has drawn all of the n_samples=120"):
        SNNRegressor(**SMALL, bootstrap=True, oob_score=True).fit(X, T, sample_weight=weight)
    for codes in ((), [["onehot"]], ("onehot", "zzz")):
        with raises("encoding must be or hold None, 'auto' or one of"):
            SNNRegressor(**SMALL, encoding=codes).partial_fit(X, T)
    with pytest.raises(ValueError, match="'n_estimators' parameter of SNNClassifier must be an int"):
        SNNClassifier(**{**SMALL, "n_estimators": 0}).fit(X, Y)


# ---------------------------------------------------------------- what went wrong


@pytest.mark.parametrize("encoding", ["onehot", ("onehot", "piecewise")])
@pytest.mark.parametrize("way", ["warm fit", "pickle", "partial_fit"])
def test_each_member_goes_on_with_its_own_moments(encoding, way):
    """Stacks change the order of members in the optimizer: a warm fit mixed moments up, or crashed."""
    settings = {**EXACT, "lr": 0.1, "max_epochs": 4}
    fits = []
    for k in (5, 7):
        model = Uncalibrated(**{**settings, "n_estimators": k}, warm_start=True, encoding=encoding)
        model.fit(X[:97], Y[:97])
        if way == "pickle":
            model = pickle.loads(pickle.dumps(model))
        if way == "partial_fit":
            model.partial_fit(X[:97], Y[:97])
        else:
            model.fit(X[:97], Y[:97])
        fits.append(model.predict_proba_members(X)[:5])
    np.testing.assert_allclose(*fits, atol=1e-6)


def test_folds_and_bags_are_of_rows_that_have_weight_and_a_label():
    """A fold without any had a loss of 0, and the first epoch was taken for the best."""
    weight, y = np.zeros(120), np.full((120, 2), np.nan)
    weight[::10], y[:15] = 1.0, TASKS[:15, :2]
    seen = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.extend(net.engine_.members)

    settings = {**SMALL, "n_estimators": 10, "early_stopping": True, "callbacks": [Watch()], "max_epochs": 1}
    for bootstrap in (False, True):
        SNNClassifier(**settings, bootstrap=bootstrap).fit(X, Y, sample_weight=weight)
        assert all(weight[m.valid.index].any() for m in seen) and (weight[seen[0].rows.index] > 0).any()
        seen.clear()
        SNNClassifier(**settings, bootstrap=bootstrap).fit(X, y)
        assert all((~np.isnan(y[m.valid.index])).any() and (~np.isnan(y[m.rows.index])).any() for m in seen)
        seen.clear()


def test_rare_classes_are_dealt_out_evenly():
    """They were not, once there were fewer of their rows than folds; members watch half of the folds."""
    y = (np.arange(120) < 8).astype(int)
    seen = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.extend(y[m.valid.index].sum() for m in net.engine_.members)

    settings = {**SMALL, "early_stopping": True, "max_epochs": 1}
    SNNClassifier(**{**settings, "n_estimators": 10}, callbacks=[Watch()]).fit(X, y)
    assert sorted(seen) == [*[0] * 6, *[1] * 4]


@pytest.mark.parametrize("k", [2, 3, 20])
def test_few_rows_have_fewer_folds_than_members(k):
    """Nine rows were refused, with a remedy that made it worse."""
    model = SNNRegressor(**{**SMALL, "n_estimators": k}, early_stopping=True).fit(X[:9], T[:9])
    assert np.isfinite(model.predict(X)).all()


def test_rows_in_every_bag_are_told():
    """Most rows had no prediction, and nothing said so."""
    with pytest.warns(UserWarning, match=r"of the 120 training rows .* Use more n_estimators \(now 2\)"):
        SNNRegressor(**{**SMALL, "n_estimators": 2}, bootstrap=True, oob_score=True).fit(X, T)


def test_scores_out_of_the_bag_are_those_of_the_latest_fit():
    """They survived fits on other rows."""
    settings = {**SMALL, "n_estimators": 4, "bootstrap": True, "warm_start": True}
    model = SNNClassifier(**settings, oob_score=True).fit(X, Y)
    assert model.oob_decision_function_.shape == (120, 2)
    model.set_params(oob_score=False).fit(X[:50], Y[:50])
    assert not hasattr(model, "oob_score_") and not hasattr(model, "oob_decision_function_")


def test_gradients_are_clipped_for_each_member_alone():
    """skorch's callback got the parameters of all, once for each."""
    clip = {**ALIKE, "callbacks": [GradientNormClipping(0.05)]}
    one, three = (SNNRegressor(**{**clip, "n_estimators": k}).fit(X, T).predict_members(X)[0] for k in (1, 3))
    np.testing.assert_allclose(one, three, rtol=1e-6)


def test_curves_show_the_best_epoch_of_the_members():
    pytest.importorskip("matplotlib")
    settings = {**EXACT, "early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30, "lr": 0.1}
    model = SNNClassifier(**{**settings, "n_estimators": 3}).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(model)
    drawn = {line.get_xdata()[0] for line in display.ax_.get_lines() if len(set(line.get_xdata())) == 1}
    assert drawn == {model.best_epoch_}


def test_callbacks_that_draw_leave_the_global_generator_alone():
    class Draw(Callback):
        def on_epoch_end(self, net, **kwargs):
            torch.rand(3)

    before = torch.get_rng_state()
    SNNClassifier(**{**SMALL, "n_estimators": 2}, architecture=own_module, callbacks=[Draw()]).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
