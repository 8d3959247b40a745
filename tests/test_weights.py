"""Weights of rows and of classes: what they mean, and which are refused."""

import numpy as np
import pytest
from conftest import BOTH, EXACT, LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_class_weight

from sksnn import SNNClassifier, SNNRegressor

# ---------------------------------------------------------------- weights of rows


FULL_BATCH = {  # nothing but the gradient: no noise, no rounding worth mentioning
    **SMALL,
    "batch_size": 1000,
    "dropout": 0.0,
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "encoding": None,
    "precision": "float64",
}


@unfinished
@BOTH
def test_weights_are_repetitions_when_nothing_is_random(Estimator, whole_cancer):
    X, y = whole_cancer[0][:150], whole_cancer[1][:150]
    weight = np.random.RandomState(0).randint(0, 3, len(X))
    settings = {**EXACT, "max_epochs": 5}
    weighted = Estimator(**settings).fit(X, y, sample_weight=weight)
    repeated = Estimator(**settings).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6, atol=1e-6)
    scaled = Estimator(**settings).fit(X, y, sample_weight=1000.0 * weight)
    np.testing.assert_allclose(weighted.predict(X), scaled.predict(X), rtol=1e-6, atol=1e-6)


@unfinished
@pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@given(seed=st.integers(0, 1000))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_a_weight_counts_as_copies_of_the_row(estimator, missing, seed):
    """With missing labels the loss was divided by labels of any weight: 0.003 of probability apart."""
    rng = np.random.default_rng(seed)
    tasks = np.where(rng.random(TASKS.shape) < missing, np.nan, TASKS)
    weight = rng.integers(0, 4, len(X))
    models = [
        estimator(**FULL_BATCH).fit(X, tasks, sample_weight=weight * 0.7),
        estimator(**FULL_BATCH).fit(np.repeat(X, weight, axis=0), np.repeat(tasks, weight, axis=0)),
        estimator(**FULL_BATCH).fit(X[weight > 0], tasks[weight > 0], sample_weight=weight[weight > 0]),
    ]
    method = "predict_proba" if estimator is SNNClassifier else "predict"
    first, *others = (getattr(model, method)(X) for model in models)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-9, atol=1e-9)
    for model in models[1:]:
        np.testing.assert_allclose(model.loss_curve_, models[0].loss_curve_, rtol=1e-9)


@unfinished
def test_a_validation_weight_counts_as_copies_of_the_row():
    rng = np.random.default_rng(0)
    tasks = np.where(rng.random(TASKS.shape) < 0.4, np.nan, TASKS)
    weight = rng.integers(0, 4, len(X))
    curves = [
        SNNClassifier(**FULL_BATCH).fit(X, tasks, X_val=rows, y_val=y, sample_weight_val=w)
        for rows, y, w in [
            (X, tasks, weight),
            (np.repeat(X, weight, axis=0), np.repeat(tasks, weight, axis=0), None),
        ]
    ]
    np.testing.assert_allclose(*(model.validation_loss_curve_ for model in curves), rtol=1e-9)


@pytest.mark.parametrize("estimator", [SNNClassifier(**SMALL), SNNRegressor(**SMALL)])
def test_labels_on_rows_of_weight_0_alone_are_refused(estimator):
    """A task whose labels all had weight 0 was fitted without a word."""
    tasks, weight = TASKS.copy(), np.ones(len(X))
    weight[:10] = 0
    tasks[10:, 1] = np.nan
    message = (
        "task 1 of y (column 1) has no label among the 120 training rows: all are missing, or of weight 0"
    )
    with raises(message):
        estimator.fit(X, tasks, sample_weight=weight)


@unfinished
def test_a_class_on_rows_of_weight_0_alone_is_warned_of():
    tasks, weight = np.zeros((len(X), 2)), np.ones(len(X))
    tasks[::2, 0] = tasks[:10, 1] = 1
    weight[:10] = 0
    with pytest.warns(UserWarning, match=r"task 1 of y \(column 1\) has labels of one class only"):
        SNNClassifier(**SMALL).fit(X, tasks, sample_weight=weight)


@pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
@pytest.mark.parametrize("labels", ["none", "of no weight"])
def test_a_first_chunk_without_weighted_labels_leaves_the_scale_to_the_next(estimator, labels):
    """Its weights have no mean: a division by zero."""
    tasks, weight = np.full((len(X), 3), np.nan), np.ones(len(X))
    if labels == "of no weight":
        tasks[:60], weight[:60] = TASKS[:60], 0
    models = [estimator(**FULL_BATCH).partial_fit(X, tasks, sample_weight=weight) for _ in range(2)]
    for model, unit in zip(models, (1, 5), strict=True):  # only ratios of weights matter
        model.partial_fit(X, TASKS, sample_weight=unit * (1 + weight))
        assert model.loss_curve_[0] == 0 < model.loss_curve_[1] < np.inf
    np.testing.assert_allclose(*(model.predict(X) for model in models), rtol=1e-12)


def test_weights_count_in_the_score_of_several_outputs():
    targets, weight = np.column_stack([T, X[:, 1]]), np.arange(120.0)
    model = SNNRegressor(**SMALL).fit(X, targets)
    expected = r2_score(targets, model.predict(X), sample_weight=weight)
    assert model.score(X, targets, weight) == pytest.approx(expected)


# ---------------------------------------------------------------- weights of classes


def test_class_weight_is_sample_weight(whole_cancer):
    X, y = whole_cancer
    settings = {**EXACT, "max_epochs": 5, "standardize": False, "lr": 1e-3}
    X = StandardScaler().fit_transform(X)
    by_class = SNNClassifier(class_weight={0: 3, 1: 1}, **settings).fit(X, y)
    by_row = SNNClassifier(**settings).fit(X, y, sample_weight=np.where(y == 0, 3.0, 1.0))
    # Sample weights are brought to mean 1, class weights are not: the same direction of the loss,
    # at a scale that Adam does not see but for its epsilon.
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), atol=1e-4)


def test_class_weights_multiply_sample_weights(whole_cancer):
    X, y = whole_cancer
    weight = np.random.RandomState(0).rand(len(y)) + 0.5
    settings = {**EXACT, "max_epochs": 5, "standardize": False, "lr": 1e-3}
    X = StandardScaler().fit_transform(X)
    both = SNNClassifier(class_weight={0: 3, 1: 1}, **settings).fit(X, y, sample_weight=weight)
    product = SNNClassifier(**settings).fit(X, y, sample_weight=weight * np.where(y == 0, 3.0, 1.0))
    np.testing.assert_allclose(both.predict_proba(X), product.predict_proba(X), atol=1e-4)


def test_balanced_lifts_a_rare_class():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(950, 2), rng.randn(50, 2) + 1])
    y = np.repeat(["common", "rare"], [950, 50])
    plain = SNNClassifier(**LEARNING).fit(X, y)
    balanced = SNNClassifier(**LEARNING, class_weight="balanced").fit(X, y)
    assert np.mean(balanced.predict(X) == "rare") > np.mean(plain.predict(X) == "rare") + 0.1
    by_hand = SNNClassifier(**LEARNING, class_weight={"common": 1000 / 1900, "rare": 10.0}).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), atol=1e-5)


@unfinished
def test_classes_are_balanced_by_the_weight_of_their_rows():
    params = {**SMALL, "batch_size": 1000, "optimizer": "sgd", "weight_decay": 0.0, "dropout": 0.0}
    params |= {"class_weight": "balanced", "encoding": None, "precision": "float64"}
    weight = np.where(Y, 3, 1)
    first = SNNClassifier(**params).fit(X, Y, sample_weight=weight)
    second = SNNClassifier(**params).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), rtol=1e-9)
    assert first._model.target.class_weight[0] == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=np.repeat(Y, weight))
    )


def test_class_weights_hold_for_all_tasks_or_are_a_list(gappy_tasks):
    X, Y = gappy_tasks
    one = SNNClassifier(**LEARNING, class_weight={0: 1, 1: 5}).fit(X, Y)
    each = SNNClassifier(**LEARNING, class_weight=[{0: 1, 1: 5}] * 3).fit(X, Y)
    np.testing.assert_array_equal(one.predict_proba(X), each.predict_proba(X))
    counts = [{k: np.sum(~np.isnan(t)) / (2 * np.sum(t == k)) for k in (0, 1)} for t in Y.T]
    np.testing.assert_allclose(
        SNNClassifier(**LEARNING, class_weight="balanced").fit(X, Y).predict_proba(X),
        SNNClassifier(**LEARNING, class_weight=counts).fit(X, Y).predict_proba(X),
        atol=1e-5,
    )
    with raises("class_weight is a list of 2 but y has 3 tasks"):
        SNNClassifier(**LEARNING, class_weight=[{0: 1, 1: 5}] * 2).fit(X, Y)
    with raises("class_weight must be finite, not negative, and not all zero"):
        SNNClassifier(**LEARNING, class_weight={0: -1, 1: 5}).fit(X, Y)


@pytest.mark.filterwarnings("ignore:task 2 of y .column 2. has labels of one class only")
def test_balanced_weights_bear_a_task_of_one_class():
    tasks = np.column_stack([TASKS[:, :2], np.zeros(120)])
    model = SNNClassifier(**SMALL, class_weight="balanced").fit(X, tasks)
    alone = SNNClassifier(**SMALL, class_weight="balanced").fit(X, TASKS[:, :2])
    np.testing.assert_allclose(model._model.target.class_weight[:2], alone._model.target.class_weight)
    assert np.isfinite(model.predict_proba(X)).all()


# ---------------------------------------------------------------- weights that are refused


BAD_WEIGHTS = {
    "negative": (lambda n: np.full(n, -1.0), "sample_weight must not be negative"),
    "all zero": (lambda n: np.zeros(n), "sample_weight must not be all zero"),
    "nan": (lambda n: np.full(n, np.nan), "sample_weight contains NaN"),
    "inf": (lambda n: np.full(n, np.inf), "sample_weight contains infinity"),
    "two columns": (lambda n: np.ones((n, 2)), "one weight a row; got shape"),
    "too short": (lambda n: np.ones(n - 1), "one weight a row"),
}


@pytest.mark.parametrize(("weight", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_sample_weights_that_cannot_be_are_refused(whole_iris, weight, message):
    X, y = whole_iris
    with raises(message):
        SNNClassifier(**LEARNING).fit(X, y, sample_weight=weight(len(X)))


CLASS_WEIGHTS = {
    "strings": (["even", "even", "even"], "class_weight must hold dicts, 'balanced' or None; got 'even'"),
    "numbers": ([1, 2, 3], "class_weight must hold dicts, 'balanced' or None; got 1"),
    "nothing": ({0: 0, 1: 0}, "class_weight must be finite, not negative, and not all zero"),
}


@pytest.mark.parametrize(("class_weight", "message"), CLASS_WEIGHTS.values(), ids=CLASS_WEIGHTS)
def test_class_weights_that_cannot_be_are_refused(gappy_tasks, class_weight, message):
    with raises(message):
        SNNClassifier(**LEARNING, class_weight=class_weight).fit(*gappy_tasks)


def test_a_split_that_leaves_out_all_weight_is_an_error(whole_diabetes):
    X, y = whole_diabetes
    alone = np.zeros(len(y))
    settings = {**LEARNING, "early_stopping": True, "validation_fraction": 0.6}
    held, kept = [], []
    for row in range(12):
        alone[:] = np.arange(len(y)) == row
        with pytest.raises(ValueError, match="weight 0|no label of positive weight") as error:
            SNNRegressor(**settings).fit(X, y, sample_weight=alone)
        (held if "training rows all have weight 0" in str(error.value) else kept).append(row)
    assert held and kept
    with raises("sample_weight is too large: its sum overflows"):
        SNNRegressor(**LEARNING).fit(X, y, sample_weight=np.full(len(y), 1e308))


def test_labels_on_rows_without_weight_are_not_watched(gappy_tasks):
    """Their loss is 0 from the first epoch on, which was then the best."""
    X, Y = gappy_tasks
    weight = np.isnan(Y[:100]).all(axis=1).astype(float)
    weight[0], Y = 1.0, Y.copy()
    Y[0] = np.nan
    with raises("no label of positive weight"):
        SNNClassifier(**LEARNING).fit(
            X[100:], Y[100:], X_val=X[:100], y_val=Y[:100], sample_weight_val=weight
        )
