"""The temperature and the weights of the members of a classifier."""

import pickle
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import unfinished
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, logit, softmax
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split

from sksnn import SNNClassifier, SNNRegressor
from sksnn._calibration import DEVIATION, FACTOR_DEVIATION, LARGEST, find_calibration
from sksnn._plan import choose_folds
from sksnn._rows import Table
from sksnn._shares import draw_folds, out_of_bag
from sksnn._target import Classes, Values
from sksnn.inspection import as_sequential, network_inputs
from sksnn.model_selection import SNNGridSearchCV

X, Y = load_iris(return_X_y=True)
QUICK = {"n_units": 32, "max_epochs": 20, "lr": 3e-3, "random_state": 0}


def classes(n):
    return Classes(n_outputs=n, has_columns=False, labels=np.arange(n))


def temperature_of(logits, y, weight=None, present=None):
    """Find the temperature of networks whose logits have shape (k, n_rows, n_classes)."""
    present = np.ones(logits.shape[:2], dtype=bool) if present is None else present
    return find_calibration(classes(logits.shape[2]), torch.from_numpy(logits), y, present, weight)[0]


def score(temperature, logits, y):
    """Compute by scipy what the temperature has the least of."""
    proba = softmax(logits / temperature, axis=2).mean(axis=0)
    return -np.log(proba[np.arange(len(y)), y]).sum() + (np.log(temperature) / DEVIATION) ** 2 / 2


# ---------------------------------------------------------------- the temperature


@pytest.mark.parametrize(("margin", "share"), [(2.0, 0.9), (1.0, 0.99), (6.0, 0.8), (3.0, 0.6)])
def test_with_many_rows_it_is_the_maximum_likelihood(margin, share):
    """Two classes with one margin: sigmoid(margin / T) is the share of the rows that are right."""
    n = 1_000_000
    logits = np.broadcast_to([margin, 0.0], (1, n, 2)).copy()
    y = (np.arange(n) >= share * n).astype(int)
    assert temperature_of(logits, y) == pytest.approx(margin / logit(share), rel=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 5), st.integers(1, 60))
def test_no_other_temperature_is_better(seed, k, n_classes, n_rows):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((k, n_rows, n_classes))
    y = rng.integers(n_classes, size=n_rows)
    found = temperature_of(logits, y)
    grid = np.geomspace(1 / LARGEST, LARGEST, 400)
    assert score(found, logits, y) <= min(score(t, logits, y) for t in grid) + 1e-6


def test_few_rows_hardly_move_it():
    """Probabilities of rows that are all right grow as their number does, and never reach 1."""
    found = [temperature_of(np.tile([2.0, 0.0], (1, n, 1)), np.zeros(n, int)) for n in (1, 10, 100, 10_000)]
    assert found == sorted(found, reverse=True) and found[0] > 0.9 and found[-1] > 1 / LARGEST
    wrong = [1 / (1 + np.exp(2 / temperature)) for temperature in found[2:]]
    assert 1e-4 < wrong[0] < 0.05 and 1e-7 < wrong[1] < 1e-3


def test_weights_are_copies_and_their_scale_does_not_count():
    rng = np.random.default_rng(0)
    logits, copies = rng.standard_normal((2, 900, 3)), rng.integers(0, 4, 900)
    y = (logits[0] + rng.standard_normal((900, 3))).argmax(axis=1)
    copied = temperature_of(np.repeat(logits, copies, axis=1), np.repeat(y, copies))
    kept = copies > 0
    alone = temperature_of(logits[:, kept], y[kept], copies[kept])
    assert alone == pytest.approx(temperature_of(logits[:, kept], y[kept], 7 * copies[kept]), rel=1e-5)
    assert abs(np.log(alone / copied)) < 0.1  # but for the number of rows, which the prior is weighed against


def entropy(proba):
    return -(proba * np.log(proba)).sum(axis=-1).mean()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 5), st.integers(5, 60))
def test_members_that_have_not_seen_a_row_decide_and_all_together_are_as_sure(seed, k, n_classes, n_rows):
    """The mean of all has the entropy that members have at the temperature of those that decide."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((1, n_rows, n_classes)) + rng.standard_normal((k, n_rows, n_classes))
    y = rng.integers(n_classes, size=n_rows)
    own = rng.integers(k, size=n_rows)
    alone = temperature_of(logits[own, np.arange(n_rows)][None], y)
    found = temperature_of(logits, y, present=np.arange(k)[:, None] == own)
    assert found <= alone * (1 + 1e-4)
    level = np.mean([entropy(softmax(member / alone, axis=1)) for member in logits])
    assert entropy(softmax(logits / found, axis=2).mean(axis=0)) == pytest.approx(level, abs=1e-3) or (
        found == pytest.approx(1 / LARGEST, rel=1e-3)
    )


# ---------------------------------------------------------------- weights

CROSSED = [("onehot", "conic"), ("piecewise", "conic"), ("onehot", "equal"), ("piecewise", "equal")]


def penalised(values, logits, y, present):
    """Compute what is minimised: log-loss and prior, by the logarithms of temperature and factors."""
    log_temperature, onehot, piecewise, conic, equal = values
    weights = (
        np.exp([onehot + conic, piecewise + conic, onehot + equal, piecewise + equal])[:, None] * present
    )
    proba = softmax(logits / np.exp(log_temperature), axis=2)
    mean = (weights[..., None] * proba).sum(axis=0) / weights.sum(axis=0)[:, None]
    prior = (log_temperature / DEVIATION) ** 2 + (np.array(values[1:]) ** 2).sum() / FACTOR_DEVIATION**2
    return -np.log(mean[np.arange(len(y)), y]).sum() + prior / 2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(8, 60))
def test_weights_have_the_least_loss_on_rows_not_seen(seed, n_classes, n_rows):
    """They agree with another optimiser's, of the same function written with probabilities."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    logits = rng.standard_normal((4, n_rows, n_classes)) * rng.uniform(0.5, 3, (4, 1, 1))
    logits[:, np.arange(n_rows), y] += rng.uniform(0, 3, (4, 1))
    present = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=bool)[np.arange(n_rows) % 2].T
    found = find_calibration(classes(n_classes), torch.from_numpy(logits), y, present, None, CROSSED)[1]
    best = minimize(penalised, np.zeros(5), (logits, y, present), method="BFGS").x
    expected = softmax([best[1] + best[3], best[2] + best[3], best[1] + best[4], best[2] + best[4]])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert sum(found) == pytest.approx(1) and min(found) > 0


def test_the_better_form_and_the_better_code_weigh_more():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    present = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=bool)[np.arange(300) % 2].T

    def weights(*strengths):
        logits = 2 * np.eye(3)[y] * np.reshape(strengths, (4, 1, 1)) + rng.standard_normal((4, 300, 3))
        return find_calibration(classes(3), torch.from_numpy(logits), y, present, None, CROSSED)[1]

    conic, equal = np.reshape(weights(2, 2, 0, 0), (2, 2)).sum(axis=1)
    assert conic > 3 * equal
    onehot, piecewise = np.reshape(weights(0, 2, 0, 2), (2, 2)).sum(axis=0)
    assert piecewise > 3 * onehot
    np.testing.assert_allclose(weights(1, 1, 1, 1), 0.25, atol=0.08)
    few = find_calibration(classes(3), torch.zeros(4, 1, 3).double(), y[:1], present[:, :1], None, CROSSED)
    np.testing.assert_allclose(few[1], 0.25, atol=1e-6)


@unfinished
def test_members_of_two_forms_are_weighed():
    two = {**QUICK, "n_estimators": 4, "layer_form": ("conic", "rectangular"), "n_layers": 2}
    model = SNNClassifier(**two).fit(X, Y)
    weights = model.member_weights_
    assert weights.shape == (4,) and weights.sum() == pytest.approx(1) and np.ptp(weights) > 0.01
    # A product of one factor for the code and one for the form.
    assert weights[0] * weights[3] == pytest.approx(weights[1] * weights[2])
    mean = np.average(model.predict_proba_members(X), axis=0, weights=weights)
    np.testing.assert_allclose(mean, model.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(model.net_.predict_proba(X.astype(np.float32)), mean, atol=1e-5)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.member_weights_, weights)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    for changed, y in (({"layer_form": "conic"}, Y), ({"calibrate": False}, Y), ({}, np.eye(3)[Y])):
        alike = SNNClassifier(**{**two, **changed}).fit(X, y)
        np.testing.assert_array_equal(alike.member_weights_, np.full(4, 1 / 4))
    bags = SNNClassifier(**two, bootstrap=True).fit(X, Y)
    assert np.ptp(bags.member_weights_) > 0.01


def test_members_of_several_forms_share_folds_with_those_of_other_codes():
    table = Table(X, Y, None)

    def folds(k, encoding, n_forms):
        model = SNNClassifier(n_units=(8, 16, 24)[:n_forms], encoding=encoding)
        return choose_folds(model, classes(3), table, k)

    assert folds(4, ("onehot", "piecewise"), 2) == [0, 1, 1, 0]
    assert folds(8, ("onehot", "piecewise"), 2) == [0, 1, 1, 0, 2, 3, 3, 2]
    assert folds(3, ("onehot", "piecewise"), 2) == [0, 1, 1]
    assert folds(4, "onehot", 2) == [0, 0, 1, 1]
    assert folds(6, ("onehot", "piecewise", None), 2) == [0, 1, 2, 1, 2, 0]
    assert folds(6, ("onehot", "piecewise"), 3) == [0, 1, 1, 0, 0, 1]
    assert folds(4, ("onehot", "piecewise"), 1) == [0, 1, 2, 3]
    values = Values(n_outputs=1, has_columns=False)
    assert choose_folds(SNNRegressor(n_units=(8, 16)), values, table, 3) == [0, 1, 2]


# ---------------------------------------------------------------- the rows held back


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 400), st.integers(2, 9), st.sampled_from([0.1, 0.2, 0.5]))
def test_each_member_holds_back_other_rows_of_all_classes(n_rows, k, fraction):
    y = np.arange(n_rows) % 3
    shares = draw_folds(
        Table(np.zeros((n_rows, 1)), y, None), classes(3), range(k), fraction, 0, most_rows=16
    )
    held = out_of_bag(shares, n_rows)
    assert held.sum(axis=0).max() == 1 and held.any(axis=0).mean() <= 0.5 + k / n_rows
    most = min(n_rows * fraction / 2, n_rows / (n_rows // 16))
    assert 1 <= held.sum(axis=1).min() and held.sum(axis=1).max() <= most + 1
    per_class = np.array([np.bincount(y[own], minlength=3) for own in held])
    assert np.ptp(per_class, axis=1).max() <= 1


@pytest.mark.parametrize("changed", [{}, {"bootstrap": True}, {"early_stopping": True}])
def test_the_temperature_is_that_of_rows_not_trained_on(monkeypatch, changed):
    seen = {}

    def find(target, outputs, y, present, *others):
        seen.update(outputs=outputs.numpy(), y=y, present=present)
        return find_calibration(target, outputs, y, present, *others)

    monkeypatch.setattr("sksnn._calibration.find_calibration", find)
    model = SNNClassifier(n_estimators=4, **changed, **QUICK).fit(X, Y)
    n_unseen = seen["present"].sum(axis=1)
    assert (n_unseen > 0).all() and (n_unseen < len(X) / 2).all()
    log_proba = log_softmax(seen["outputs"] / model.temperature_, axis=2)
    members = np.log(model.predict_proba_members(X))
    for j, present in enumerate(seen["present"]):  # they are the members' own, of these rows
        rows = [np.flatnonzero(np.isclose(members[j], row, atol=1e-5).all(axis=1)) for row in log_proba[j]]
        assert all(len(found) for found in rows) and present.any()
    assert model.temperature_ == pytest.approx(
        temperature_of(seen["outputs"], seen["y"], None, seen["present"])
    )


def test_a_member_is_the_network_of_its_rows_alone():
    """To 1e-6 in float64: the first one, whose seed is that of the estimator with one network."""
    plain = {**QUICK, "standardize": False, "encoding": None, "precision": "float64", "batch_size": 32}
    model = SNNClassifier(n_estimators=4, **plain).fit(X, Y)
    seed = model._model.generators[0].split
    held = draw_folds(Table(X, Y, None), classes(3), range(4), 0.1, seed, most_rows=64)[0].valid
    rows = np.setdiff1d(np.arange(150), held)
    alone = SNNClassifier(n_estimators=1, **plain).fit(X[rows], Y[rows]).predict_proba(X)
    expected = softmax(np.log(alone) / model.temperature_, axis=1)
    np.testing.assert_allclose(model.predict_proba_members(X)[0], expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.* training rows were drawn for every member and")
def test_predictions_out_of_the_bag_are_calibrated_too():
    """A bootstrap holds nothing back: there are rows for it also with ``early_stopping=False``."""
    bags = SNNClassifier(n_estimators=4, bootstrap=True, early_stopping=False, oob_score=True, **QUICK)
    bags.fit(X, Y)
    members, found = bags.predict_proba_members(X), bags.oob_decision_function_
    seen = ~np.isnan(found[:, 0])
    means = [members[list(those)].mean(0) for n in (1, 2, 3, 4) for those in combinations(range(4), n)]
    assert (abs(found[seen] - np.array(means)[:, seen]).max(axis=2).min(axis=0) < 1e-5).all()
    assert bags.temperature_ != 1.0


def test_it_can_be_left_out():
    """Then all rows are everybody's, and the members are those that each would be alone."""
    model = SNNClassifier(n_estimators=2, calibrate=False, **QUICK).fit(X, Y)
    alone = SNNClassifier(n_estimators=1, encoding="onehot", **QUICK).fit(X, Y)
    assert model.temperature_ == alone.temperature_ == 1.0
    np.testing.assert_allclose(model.predict_proba_members(X)[0], alone.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"n_estimators": 1},
        {"early_stopping": False},
        {"early_stopping": np.False_},
        {"loss": torch.nn.CrossEntropyLoss(reduction="none")},
    ],
)
def test_auto_leaves_it_out(changed):
    assert SNNClassifier(**{"n_estimators": 4, **changed}, **QUICK).fit(X, Y).temperature_ == 1.0


def test_auto_leaves_it_out_for_few_rows_and_for_tasks():
    few = np.r_[0:6, 50:56, 100:106]
    assert SNNClassifier(n_estimators=2, **QUICK).fit(X[few], Y[few]).temperature_ == 1.0
    assert SNNClassifier(n_estimators=2, **QUICK).fit(X, np.c_[Y == 0, Y == 1]).temperature_ == 1.0
    assert not hasattr(SNNRegressor(n_estimators=2, **QUICK).fit(X, Y), "temperature_")


def test_rows_without_weight_have_no_say():
    """Also those to whose class `class_weight` gives none."""
    rng = np.random.default_rng(0)
    noise = np.r_[X, rng.standard_normal((50, 4))], np.r_[Y, rng.integers(3, size=50)]
    weight = np.r_[np.ones(150), np.zeros(50)]
    with_noise = SNNClassifier(n_estimators=4, **QUICK).fit(*noise, sample_weight=weight)
    assert with_noise.temperature_ < 1.2
    without = SNNClassifier(n_estimators=2, class_weight={0: 1.0, 1: 1.0, 2: 0.0}, **QUICK).fit(X, Y)
    assert 0.1 < without.temperature_ < 1.5


# ---------------------------------------------------------------- what comes of it


def test_easy_classes_get_surer_and_noise_less_sure():
    digits, labels = load_digits(return_X_y=True)
    A, B, a, b = train_test_split(digits, labels, train_size=600, random_state=0)
    losses = {}
    for calibrate in (False, True):
        model = SNNClassifier(calibrate=calibrate, max_epochs=30, random_state=0).fit(A, a)
        losses[calibrate] = log_loss(b, model.predict_proba(B))
    assert losses[True] < 0.9 * losses[False] and model.temperature_ < 0.9
    rng = np.random.default_rng(0)
    noise = SNNClassifier(random_state=0).fit(rng.standard_normal((200, 10)), rng.integers(2, size=200))
    assert noise.temperature_ > 1.3


def test_nothing_but_probabilities_depends_on_it():
    """One temperature for all members and classes: the largest logit of a member stays the largest."""
    model = SNNClassifier(n_estimators=4, **QUICK).fit(X, Y)
    before = model.predict_proba_members(X)
    model._model.calibrate(3 * model.temperature_)
    after = model.predict_proba_members(X)
    assert (before.argmax(axis=2) == after.argmax(axis=2)).all() and not np.allclose(before, after)
    np.testing.assert_allclose(after.mean(axis=0), model.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(softmax(np.log(before) / 3, axis=2), after, atol=1e-5)
    np.testing.assert_allclose(model.net_.predict_proba(X.astype(np.float32)), after.mean(axis=0), atol=1e-5)


def test_a_member_as_plain_layers_has_it():
    """For explaining packages: the softmax of the layers' outputs are the member's probabilities."""
    model = SNNClassifier(n_estimators=2, **QUICK).fit(X, Y)
    for member, proba in enumerate(model.predict_proba_members(X)):
        logits = as_sequential(model, member)(network_inputs(model, X, member)).detach().numpy()
        np.testing.assert_allclose(softmax(logits, axis=1), proba, atol=1e-6)


def test_of_many_rows_some_are_enough(monkeypatch):
    """Of a large bootstrap, nearly all rows are unseen by some member: gigabytes for one number."""
    n_rows = []

    def count(target, outputs, y, *args):
        n_rows.append(len(y))
        return 1.5, None

    monkeypatch.setattr("sksnn._calibration.find_calibration", count)
    for most in (10_000, 40, 7):
        monkeypatch.setattr("sksnn._calibration.MOST_ROWS", most)
        assert SNNClassifier(n_estimators=4, bootstrap=True, **QUICK).fit(X, Y).temperature_ == 1.5
    assert n_rows[0] > 100 and 30 <= n_rows[1] <= 40 and 6 <= n_rows[2] <= 7


def test_it_is_in_pickles():
    model = SNNClassifier(n_estimators=2, **QUICK).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.temperature_ == loaded._model.target.temperature == model.temperature_ != 1.0
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()


def test_fits_that_go_on_have_their_own():
    model = SNNClassifier(n_estimators=2, warm_start=True, **QUICK).fit(X, Y)
    first = model.temperature_
    assert model.fit(X, Y).temperature_ != first
    second, proba = model.temperature_, model.predict_proba(X)
    assert model.partial_fit(X[:10], Y[:10]).temperature_ == second
    assert not np.allclose(model.predict_proba(X), proba)
    assert model.set_params(calibrate=False).fit(X, Y).temperature_ == 1.0
    outputs = model.predict_proba_members(X).mean(axis=0)
    np.testing.assert_allclose(model.net_.predict_proba(X.astype(np.float32)), outputs, atol=1e-5)


def test_a_search_finds_the_same():
    snn = SNNClassifier(n_estimators=2, precision="float64", **QUICK)
    cv = StratifiedKFold(2)
    search = SNNGridSearchCV(snn, {"lr": [3e-3, 1e-2]}, cv=cv, scoring="neg_log_loss", refit=False).fit(X, Y)
    train, test = next(cv.split(X, Y))
    alone = SNNClassifier(n_estimators=2, precision="float64", **QUICK).fit(X[train], Y[train])
    assert alone.temperature_ != 1.0
    expected = -log_loss(Y[test], alone.predict_proba(X[test]))
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(ValueError, match=r"calibrate=True needs .* several members; got n_estimators=1. Use"):
        SNNClassifier(n_estimators=1, calibrate=True, **QUICK).fit(X, Y)
    with pytest.raises(ValueError, match=r"calibrate=True needs .*; got a y of shape \(n_rows, n_tasks\)"):
        SNNClassifier(calibrate=True, **QUICK).fit(X, np.c_[Y == 0, Y == 1])
    with pytest.raises(
        ValueError, match=r"n_estimators=2 with early_stopping or calibrate needs at least 2 r"
    ):
        weight = np.r_[1.0, np.zeros(149)]
        SNNClassifier(n_estimators=2, calibrate=True, **QUICK).fit(X, Y, sample_weight=weight)
    with pytest.raises(ValueError, match=r"The 'calibrate' parameter of SNNClassifier must be"):
        SNNClassifier(calibrate="yes").fit(X, Y)
