"""Early stopping by a score: what scorers get, and what their scores decide."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EpochScoring

from sksnn import SNNClassifier, SNNRegressor, _engine
from sksnn.metrics import masked_roc_auc_scorer
from sksnn.model_selection import SNNGridSearchCV

LAWS = settings(max_examples=20, deadline=None, derandomize=True)
TRAIN, VALID = slice(30, None), slice(0, 30)


def focal_loss(output, y):
    loss = torch.nn.functional.cross_entropy(output, y, reduction="none")
    return (1 - (-loss).exp()) ** 2 * loss


def broken_score(estimator, rows, y):
    raise RuntimeError("my mistake")


def watched(model, y, X=X, **settings):
    """Fit on 90 rows, and watch the other 30."""
    model = clone(model).set_params(**settings)
    return model.fit(X[TRAIN], y[TRAIN], X_val=X[VALID], y_val=y[VALID])


CLASSIFIER, REGRESSOR = SNNClassifier(**SMALL), SNNRegressor(**SMALL)


# ---------------------------------------------------------------- what scores decide


@pytest.mark.parametrize("name", ["roc_auc", "accuracy", "neg_log_loss", "f1"])
def test_the_epoch_of_the_highest_score_is_kept(whole_cancer, name):
    X, y = whole_cancer
    model = SNNClassifier(**LEARNING | {"lr": 1e-3}, scoring=name, n_iter_no_change=4)
    model.fit(X[100:], y[100:], X_val=X[:100], y_val=y[:100])
    scores = model.validation_scores_
    assert len(scores) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_epoch_ == np.argmax(scores) + 1
    assert get_scorer(name)(model, X[:100], y[:100]) == pytest.approx(max(scores), abs=1e-6)


def test_scores_are_those_of_skorchs_epoch_scoring(whole_cancer):
    X, y = whole_cancer
    callback = EpochScoring("roc_auc", name="auc", lower_is_better=False)
    model = SNNClassifier(**LEARNING | {"lr": 1e-3}, scoring="roc_auc", callbacks=[callback])
    model.fit(X[100:], y[100:], X_val=X[:100], y_val=y[:100])
    np.testing.assert_allclose(model.validation_scores_, model.net_.history[:, "auc"], atol=1e-6)
    assert model.net_.history[:, "valid_score"] == model.validation_scores_


def test_a_score_has_to_rise_by_more_than_tol():
    rising = iter(np.arange(20) / 10)
    model = watched(
        CLASSIFIER, Y, scoring=lambda *_: next(rising), tol=0.25, n_iter_no_change=3, max_epochs=20
    )
    assert model.n_iter_ == model.best_epoch_ == 20  # small gains add up
    falling = iter(-np.arange(20.0))
    settings = {"n_iter_no_change": 3, "max_epochs": 20, "lr": 5e-3}
    model = watched(CLASSIFIER, Y, scoring=lambda *_: next(falling), **settings)
    assert model.n_iter_ == 4 and model.best_epoch_ == 1
    assert model.loss_curve_[0] > np.log(2)  # and yet no warning that nothing was learned


@unfinished
def test_the_weights_of_a_warm_start_are_scored_first():
    scores = iter([0.0, 1.0, 0.5, 2.0, 0.1, 0.2])  # three epochs; the weights of the second again; two more
    model = SNNClassifier(**SMALL | {"max_epochs": 3}, warm_start=True, scoring=lambda *_: next(scores))
    model.fit(X, Y, X_val=X, y_val=Y)
    assert model.best_epoch_ == 2
    proba = model.predict_proba(X)
    model.set_params(max_epochs=2).fit(X, Y, X_val=X, y_val=Y)
    assert model.best_epoch_ == 2 and model.validation_scores_ == [0.0, 1.0, 0.5, 0.1, 0.2]
    np.testing.assert_array_equal(model.predict_proba(X), proba)


def test_the_mean_of_the_members_scores_decides():
    model = watched(SNNClassifier(**SMALL | {"n_estimators": 3, "lr": 5e-3}), Y, scoring="accuracy")
    each = model.predict_proba_members(X[VALID]).argmax(axis=2)
    expected = np.mean([accuracy_score(Y[VALID], own) for own in each])
    assert model.validation_scores_[model.best_epoch_ - 1] == pytest.approx(expected, abs=1e-12)
    assert model.best_epoch_ == np.argmax(model.validation_scores_) + 1


@pytest.mark.parametrize("bootstrap", [False, True])
def test_each_member_is_scored_on_its_own_rows(bootstrap):
    """The fold that it holds back, or the rows that it has not drawn."""
    seen = []

    def score(estimator, rows, y):
        assert estimator.predict_proba_members(rows).shape == (1, len(rows), 2)
        seen.append(sorted(rows[:, 0]))
        return 0.0

    SNNClassifier(
        **SMALL | {"n_estimators": 3, "max_epochs": 1},
        early_stopping=True,
        bootstrap=bootstrap,
        scoring=score,
        validation_fraction=2 / 6,
    ).fit(X, Y)
    assert len(seen) == 3 and seen[0] != seen[1] != seen[2]
    if not bootstrap:
        assert [len(rows) for rows in seen] == [20] * 3 and len(set(sum(seen, []))) == 60


# ---------------------------------------------------------------- what scorers get


def test_scorers_get_labels_as_the_user_wrote_them():
    found = []

    def score(estimator, rows, y):
        found.append((rows, y, estimator.predict(rows), list(estimator.classes_)))
        assert is_classifier(estimator) and estimator.n_features_in_ == 5
        return estimator.score(rows, y)

    words = np.where(Y == 1, "yes", "no")
    model = watched(CLASSIFIER, words, scoring=score)
    np.testing.assert_array_equal(found[0][0], X[VALID])
    np.testing.assert_array_equal(found[0][1], words[VALID])
    np.testing.assert_array_equal(found[model.best_epoch_ - 1][2], model.predict(X[VALID]))
    assert found[0][3] == ["no", "yes"]


@pytest.mark.parametrize("missing_label", [np.nan, -1])
def test_scorers_of_tasks_get_missing_labels(missing_label):
    gaps = np.where(np.arange(360).reshape(120, 3) % 4 == 0, missing_label, TASKS)
    model = watched(CLASSIFIER, gaps, scoring=masked_roc_auc_scorer, missing_label=missing_label)
    best = model.validation_scores_[model.best_epoch_ - 1]
    assert best == pytest.approx(masked_roc_auc_scorer(model, X[VALID], gaps[VALID]), abs=1e-6)
    model = watched(CLASSIFIER, gaps, scoring=None, missing_label=missing_label)
    assert max(model.validation_scores_) == model.score(X[VALID], gaps[VALID])


@pytest.mark.parametrize("form", [pd.DataFrame, sparse.csr_array, np.asfortranarray, np.float32])
@unfinished
def test_rows_of_any_form_are_scored_without_a_warning(form):
    rows = pd.DataFrame(X, columns=list("abcde")) if form is pd.DataFrame else form(X)
    part = rows.iloc if form is pd.DataFrame else rows
    model = SNNClassifier(**SMALL, scoring="roc_auc")
    model.fit(part[TRAIN], Y[TRAIN], X_val=part[VALID], y_val=Y[VALID])
    expected = roc_auc_score(Y[VALID], model.predict_proba(part[VALID])[:, 1])
    assert max(model.validation_scores_) == pytest.approx(expected, abs=1e-6)


def test_other_rows_are_predicted_by_the_present_network():
    def score(estimator, rows, y):
        whole = estimator.predict_proba(rows)
        np.testing.assert_allclose(estimator.predict_proba(rows[5:9]), whole[5:9], atol=1e-5)
        return -log_loss(y[5:9], whole[5:9])

    assert watched(CLASSIFIER, Y, scoring=score, max_epochs=3).n_iter_ == 3


def test_weights_go_to_scorers_that_take_them():
    weight = np.random.default_rng(0).uniform(1, 2, 30)
    got = []

    def with_weights(estimator, rows, y, sample_weight=None):
        got.append(sample_weight)
        return 0.0

    def without(estimator, rows, y):
        return 0.0

    rows = {"X_val": X[VALID], "y_val": Y[VALID], "sample_weight_val": weight}
    for scoring in (with_weights, without):
        clone(CLASSIFIER).set_params(scoring=scoring, max_epochs=1).fit(X[TRAIN], Y[TRAIN], **rows)
    np.testing.assert_array_equal(got[0], weight)
    for scoring in ("accuracy", None):
        model = clone(CLASSIFIER).set_params(scoring=scoring).fit(X[TRAIN], Y[TRAIN], **rows)
        assert max(model.validation_scores_) == pytest.approx(model.score(X[VALID], Y[VALID], weight))


@LAWS
@given(
    y=st.sampled_from(["classes", "tasks", "values", "quantiles"]),
    k=st.sampled_from([1, 2]),
    early_stopping=st.booleans(),
    bootstrap=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_fit_can_be_scored_and_pickled(y, k, early_stopping, bootstrap, seed):
    settings = {"n_estimators": k, "random_state": seed, "max_epochs": 3, "early_stopping": early_stopping}
    quantiles = {"loss": "quantile", "quantile": [0.8, 0.2]}
    model, target = {
        "classes": (SNNClassifier(**SMALL), Y),
        "tasks": (SNNClassifier(**SMALL), TASKS),
        "values": (SNNRegressor(**SMALL), T),
        "quantiles": (SNNRegressor(**SMALL, **quantiles), T),
    }[y]
    model.set_params(**settings, bootstrap=bootstrap, scoring=None)
    model.set_params(lr=0.01).fit(X[TRAIN], target[TRAIN], X_val=X[VALID], y_val=target[VALID])
    scores = model.validation_scores_
    assert len(scores) == 3 and model.best_epoch_ == (np.argmax(scores) + 1 if early_stopping else 3)
    if k == 1:
        assert scores[model.best_epoch_ - 1] == pytest.approx(model.score(X[VALID], target[VALID]), abs=1e-6)
    assert pickle.loads(pickle.dumps(model)).validation_scores_ == scores


# ---------------------------------------------------------------- in a search that trains candidates together


@unfinished
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_candidates_that_are_trained_together_are_scored_each_by_its_own(n_estimators):
    grid = {"scoring": ["loss", "roc_auc", None], "loss": ["log_loss", focal_loss], "lr": [1e-3, 1e-2]}
    model = SNNClassifier(**SMALL | {"n_estimators": n_estimators}, early_stopping=True, n_iter_no_change=2)
    settings = {"cv": 2, "scoring": "neg_log_loss", "error_score": "raise"}
    together, apart = (
        search(model, grid, **settings).fit(X, Y).cv_results_ for search in (SNNGridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(together["mean_test_score"], apart["mean_test_score"], rtol=1e-5)


@unfinished
def test_lists_of_quantiles_and_time_limits_are_searched(monkeypatch):
    monkeypatch.setattr(_engine, "monotonic", iter(range(10_000)).__next__)
    model = SNNRegressor(**SMALL, loss="quantile", quantile=[0.1, 0.9])
    grid = {"quantile": [[0.1, 0.9], [0.5]], "max_time": [None, 1.0]}
    search = SNNGridSearchCV(model, grid, cv=2, error_score="raise").fit(X, T)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    n_iter = [clone(model).set_params(**params).fit(X, T).n_iter_ for params in search.cv_results_["params"]]
    assert n_iter == [5, 1, 5, 1] or n_iter == [5, 5, 1, 1]


@unfinished
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
def test_a_scorer_that_fails_costs_a_search_its_candidate_alone():
    model = SNNClassifier(**SMALL, early_stopping=True)
    with pytest.warns(FitFailedWarning, match="2 fits failed with the following error:(.|\n)*my mistake"):
        search = SNNGridSearchCV(model, {"scoring": ["accuracy", broken_score]}, cv=2).fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


# ---------------------------------------------------------------- scores that cannot be used


@pytest.mark.parametrize("value", [np.nan, None, "high", [0.5]], ids=repr)
def test_a_score_that_is_no_number_is_an_error(value):
    with raises(f"must return a number for the 30 validation rows; got {value!r}"):
        watched(CLASSIFIER, Y, scoring=lambda *_: value)


@pytest.mark.parametrize("value", [np.array(0.5), np.float32(0.5), torch.tensor(0.5)], ids=repr)
def test_scalars_of_numpy_and_torch_are_numbers(value):
    model = watched(CLASSIFIER, Y, scoring=lambda *_: value, max_epochs=2, lr=0.01)
    assert model.validation_scores_ == [0.5] * 2


def test_errors_of_a_scorer_say_where_they_come_from():
    rare = np.where(np.arange(120) < 100, Y, 2)
    with raises("different number of classes") as error:
        watched(CLASSIFIER, rare, scoring="neg_log_loss")
    assert "This is scoring='neg_log_loss' of 30 validation rows." in error.value.__notes__[0]


def test_a_score_without_a_class_is_an_error():
    one_class = np.flatnonzero(Y == 1)[:9]
    model = SNNClassifier(**SMALL, scoring="roc_auc")
    with (
        raises("scoring='roc_auc' must return a number for the 9 validation rows; got nan"),
        pytest.warns(UserWarning, match="Only one class"),
    ):
        model.fit(X, Y, X_val=X[one_class], y_val=Y[one_class])
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("scoring", ["no_such_score", ["accuracy"], 3], ids=repr)
def test_unknown_scores_are_named(scoring):
    with raises("The 'scoring' parameter of SNNClassifier must be"):
        watched(CLASSIFIER, Y, scoring=scoring)


def test_a_metric_is_not_a_scorer():
    with raises("looks like it is a metric function rather than a scorer"):
        watched(CLASSIFIER, Y, scoring=accuracy_score)
    assert watched(CLASSIFIER, Y, scoring=make_scorer(accuracy_score)).validation_scores_


def test_nothing_is_scored_where_nothing_is_watched():
    def never(*_):
        raise AssertionError

    model = SNNClassifier(**SMALL, scoring=never).fit(X, Y)
    assert model.validation_scores_ is None
    assert REGRESSOR.set_params(scoring="r2").partial_fit(X, T).validation_scores_ is None


def test_a_scorer_may_predict_a_part_of_rows_that_held_strings():
    """A scorer sees categories as numbers; to read them as strings again would be an error."""
    rng = np.random.default_rng(0)
    kind, size = rng.choice(["a", "b", "c"], 120), rng.normal(size=120)
    frame = pd.DataFrame({"kind": kind, "size": np.where(size > 1, np.nan, size)})
    seen = []

    def first_half(estimator, X, y):
        half = len(X) // 2
        seen.append(np.mean(estimator.predict(X[:half]) == y[:half]))
        return seen[-1]

    fitted = SNNClassifier(**{**SMALL, "early_stopping": True, "scoring": first_half}).fit(frame, kind == "a")
    assert fitted.validation_scores_ == seen and seen[-1] > 0.5
