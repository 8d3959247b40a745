"""Masked scores against scikit-learn's, task by task on the labels present."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as sklearn_metrics
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier

from sksnn import metrics

rng = np.random.default_rng(0)
N, TASKS = 60, 4
X = rng.normal(size=(N, 5))
LABELS = (X[:, :TASKS] + rng.normal(size=(N, TASKS)) > 0).astype(float)
PROBABILITIES = 1 / (1 + np.exp(-X[:, :TASKS]))
VALUES = X[:, :TASKS] + rng.normal(size=(N, TASKS))
MISSING = rng.uniform(size=(N, TASKS)) < 0.3
WEIGHT = rng.uniform(size=N) * (rng.uniform(size=N) < 0.8)


def sklearn_log_loss(*args, **kwargs):
    return sklearn_metrics.log_loss(*args, **kwargs, labels=[0, 1])


# ours, scikit-learn's, truth, prediction
SCORES = {
    "roc_auc": (metrics.masked_roc_auc_score, sklearn_metrics.roc_auc_score, LABELS, PROBABILITIES),
    "average_precision": (
        metrics.masked_average_precision_score,
        sklearn_metrics.average_precision_score,
        LABELS,
        PROBABILITIES,
    ),
    "accuracy": (metrics.masked_accuracy_score, sklearn_metrics.accuracy_score, LABELS, PROBABILITIES > 0.5),
    "log_loss": (metrics.masked_log_loss, sklearn_log_loss, LABELS, PROBABILITIES),
    "r2": (metrics.masked_r2_score, sklearn_metrics.r2_score, VALUES, X[:, :TASKS]),
}
CLASSIFICATION = [name for name in SCORES if name != "r2"]
every_score = pytest.mark.parametrize(("ours", "theirs", "truth", "prediction"), SCORES.values(), ids=SCORES)


@every_score
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_each_task_on_the_labels_present(ours, theirs, truth, prediction, weight):
    y = np.where(MISSING, np.nan, truth)
    kept = np.ones(N) if weight is None else weight
    expected = [
        theirs(truth[~m, t], prediction[~m, t], sample_weight=kept[~m]) for t, m in enumerate(MISSING.T)
    ]
    assert_allclose(ours(y, prediction, sample_weight=weight, average=None), expected, rtol=1e-12)
    assert ours(y, prediction, sample_weight=weight) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_minus_1_is_missing_like_nan(name):
    ours, _, truth, prediction = SCORES[name]
    expected = ours(np.where(MISSING, np.nan, truth), prediction)
    mixed = np.where(MISSING, np.where(np.arange(N)[:, None] % 2, -1, np.nan), truth)
    assert ours(mixed, prediction) == expected
    integers = np.where(MISSING, -1, truth).astype(int)
    assert ours(integers, prediction) == ours(integers, prediction, missing_label=-1) == expected
    with pytest.raises(ValueError, match="y_true must hold 0, 1 and missing_label; got -1"):
        ours(mixed, prediction, missing_label=np.nan)


def test_minus_1_is_a_value_of_regression():
    assert metrics.masked_r2_score([-1.0, 0, 1], [-1.0, 0, 1]) == 1.0
    assert metrics.masked_r2_score([-1.0, 0, 1], [9.0, 0, 1], missing_label=-1) == 1.0


# A first task that cannot be scored beside a second that can: label columns, then how each score sees it.
@pytest.mark.parametrize(
    ("column", "skipped"),
    [
        ([np.nan] * 4, ["roc_auc", "average_precision", "accuracy", "log_loss", "r2"]),
        ([1, 1, np.nan, 1], ["roc_auc", "average_precision"]),
        ([0, 0, 0, 0], ["roc_auc", "average_precision"]),
        ([1, np.nan, np.nan, np.nan], ["roc_auc", "average_precision", "r2"]),
    ],
    ids=["no label", "only 1", "only 0", "one label"],
)
def test_tasks_that_cannot_be_scored_are_skipped(column, skipped):
    y = np.column_stack([column, [0, 1, 0, 1]])
    prediction = np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
    for name, (ours, theirs, *_) in SCORES.items():
        each = ours(y, prediction, average=None)
        assert np.isnan(each[0]) == (name in skipped), name
        assert each[1] == pytest.approx(theirs(y[:, 1], prediction[:, 1]))
        assert ours(y, prediction) == pytest.approx(np.nanmean(each))


@every_score
def test_no_task_left_is_nan(ours, theirs, truth, prediction):
    nothing = np.full((N, TASKS), np.nan)
    assert np.isnan(ours(nothing, prediction))
    assert np.isnan(ours(truth, prediction, sample_weight=np.zeros(N)))


@every_score
def test_rows_of_weight_0_count_as_missing(ours, theirs, truth, prediction):
    weight = np.r_[np.zeros(N // 2), np.ones(N - N // 2)]
    expected = ours(truth[N // 2 :], prediction[N // 2 :])
    assert ours(truth, prediction, sample_weight=weight) == pytest.approx(expected)


@every_score
def test_one_task_may_have_any_shape(ours, theirs, truth, prediction):
    expected = theirs(truth[:, 0], prediction[:, 0])
    for y in (truth[:, 0], truth[:, :1], truth[:, 0].tolist()):
        for p in (prediction[:, 0], prediction[:, :1]):
            assert ours(y, p) == pytest.approx(expected)
    assert ours(truth[:, 0], prediction[:, 0], average=None).shape == (1,)


def test_predict_proba_of_a_binary_classifier_fits_a_1_d_target():
    p = PROBABILITIES[:, 0]
    expected = sklearn_metrics.roc_auc_score(LABELS[:, 0], p)
    assert metrics.masked_roc_auc_score(LABELS[:, 0], np.column_stack([1 - p, p])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (([0, 1], [0, 1]), {"average": "micro"}, "average must be 'macro' or None; got 'micro'."),
        (([0, 2], [0, 1]), {}, "y_true must hold 0, 1 and missing_label; got 2. Encode each task"),
        (([[0, 1]], [[0, 1, 1]]), {}, "must have the same shape, one column a task; got (1, 2) and (1, 3)."),
        (([0, 1], [0, 1, 1]), {}, "got (2, 1) and (3, 1)."),
        (([0, 1], [0, 1]), {"sample_weight": [1.0]}, "inconsistent numbers of samples: [2, 1]"),
        (([0, np.inf], [0, 1]), {}, "Input y_true contains infinity"),
        (([0, 1], [0, np.nan]), {}, "contains NaN"),
    ],
)
def test_errors_name_the_rule(arguments, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics.masked_roc_auc_score(*arguments, **settings)


# ---------------------------------------------------------------- scorers

SCORERS = {
    "roc_auc": metrics.masked_roc_auc_scorer,
    "average_precision": metrics.masked_average_precision_scorer,
    "accuracy": metrics.masked_accuracy_scorer,
    "neg_log_loss": metrics.masked_neg_log_loss_scorer,
}


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    "model", [LogisticRegression(), RandomForestClassifier(10, random_state=0)], ids=repr
)
def test_scorers_are_scikit_learns_on_one_complete_task(name, model):
    y = LABELS[:, 0]
    model.fit(X[:40], y[:40])
    for weight in (None, WEIGHT[40:]):
        expected = sklearn_metrics.get_scorer(name)(model, X[40:], y[40:], sample_weight=weight)
        assert SCORERS[name](model, X[40:], y[40:], sample_weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    "model",
    [
        MultiOutputClassifier(LogisticRegression()),
        RandomForestClassifier(25, max_depth=3, random_state=0),
    ],
    ids=["logistic", "forest"],
)
def test_scorers_take_one_array_of_probabilities_per_task(name, model):
    model.fit(X[:40], LABELS[:40])
    y = np.where(MISSING, np.nan, LABELS)[40:]
    p = np.column_stack([q[:, 1] for q in model.predict_proba(X[40:])])
    ours, theirs, *_ = SCORES[name.removeprefix("neg_")]
    prediction = p > 0.5 if name == "accuracy" else p
    expected = [theirs(y[~m, t], prediction[~m, t]) for t, m in enumerate(np.isnan(y).T)]
    sign = -1 if name.startswith("neg") else 1
    assert SCORERS[name](model, X[40:], y) == pytest.approx(sign * np.mean(expected))


def test_probabilities_are_of_class_1_whatever_classes_fit_saw():
    """A fold with one class, or -1 as a third, moves P(y=1) out of column 1."""
    y = np.column_stack([LABELS[:, 0], np.ones(N), np.zeros(N), np.where(MISSING[:, 0], -1, LABELS[:, 0])])
    model = RandomForestClassifier(25, random_state=0).fit(X, y)
    assert_allclose(metrics._probabilities(model, X)[:, 1:3], np.tile([1.0, 0.0], (N, 1)))
    assert metrics.masked_roc_auc_scorer(model, X, y) > 0.9


def test_r2_scorer_is_scikit_learns_on_complete_targets():
    model = LinearRegression().fit(X, VALUES)
    expected = sklearn_metrics.r2_score(VALUES, model.predict(X))
    assert metrics.masked_r2_scorer(model, X, VALUES) == pytest.approx(expected)


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_scorers_work_in_cross_validation_and_searches(n_tasks):
    """Labels are -1 where missing, since scikit-learn's splitters refuse NaN; forests learn it as a class."""
    forest = RandomForestClassifier(20, max_depth=3, random_state=0)
    y = LABELS[:, 0] if n_tasks == 1 else np.where(MISSING, -1, LABELS)[:, :n_tasks]
    scores = cross_val_score(forest, X, y, cv=3, scoring=metrics.masked_roc_auc_scorer, error_score="raise")
    assert 0.55 < scores.mean() <= 1
    if n_tasks == 1:
        assert_allclose(scores, cross_val_score(forest, X, y, cv=3, scoring="roc_auc"))
    search = GridSearchCV(
        forest, {"max_depth": [1, 3]}, cv=3, scoring=metrics.masked_neg_log_loss_scorer, error_score="raise"
    ).fit(X, y)
    assert -1 < search.best_score_ < 0


def test_r2_scorer_works_in_a_search():
    grid = {"alpha": [1e-3, 1e6]}
    search = GridSearchCV(Ridge(), grid, cv=3, scoring=metrics.masked_r2_scorer, error_score="raise")
    assert search.fit(X, VALUES).best_params_ == {"alpha": 1e-3}


def test_negative_weights_are_refused():
    """A negative weight used to count as a missing label."""
    with pytest.raises(ValueError, match=re.escape("sample_weight must be non-negative numbers; got -1")):
        metrics.masked_accuracy_score([0, 1], [0, 1], sample_weight=[1, -1])


@pytest.mark.parametrize(
    ("score", "y", "prediction"),
    [
        (metrics.masked_roc_auc_score, [0, 1, 1], [0.1, 0.2, 0.3]),
        (metrics.masked_average_precision_score, [0, 1, 1], [0.1, 0.2, 0.3]),
        (metrics.masked_r2_score, [5.0, 1.0], [5.0, 2.0]),
    ],
)
def test_rows_of_weight_0_make_no_task_computable(score, y, prediction):
    """What is left has one class, or one value: no score, as if those rows were not there."""
    weight = np.ones(len(y))
    weight[0] = 0
    assert np.isnan(score(y, prediction, sample_weight=weight))
    assert np.isnan(score(y[1:], prediction[1:]))
