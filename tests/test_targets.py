"""What the target decides: classes, tasks and values, missing labels, scores and losses."""

import re
import warnings

import numpy as np
import pytest
import torch
from conftest import EXACT, LEARNING, SMALL, T, X, Y, raises, unfinished
from scipy.special import expit, log_softmax
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksnn import SNNClassifier, SNNRegressor

# ---------------------------------------------------------------- classes


LABELS = {
    "strings": np.array(["b", "a", "c"]),
    "objects": np.array(["b", "a", "c"], dtype=object),
    "integers apart": np.array([-5, 10, 3]),
    "floats": np.array([2.0, 1.0, 7.0]),
    "unsigned": np.array([3, 1, 200], dtype=np.uint8),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_any_labels_come_back(whole_iris, labels):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING).fit(X, labels[y])
    assert clf.classes_.tolist() == sorted(labels.tolist())
    predicted = clf.predict(X)
    assert predicted.dtype == labels.dtype
    assert np.mean(predicted == labels[y]) > 0.9
    # The same problem under another name: the labels' order decides the columns, nothing else.
    assert clf.score(X, labels[y]) == np.mean(predicted == labels[y])


def test_booleans_come_back_also_as_objects(whole_cancer):
    X, y = whole_cancer
    for labels in (y.astype(bool), y.astype(bool).astype(object)):
        clf = SNNClassifier(**LEARNING).fit(X, labels)
        assert clf.predict(X).dtype == bool
        assert clf.classes_.tolist() == [False, True]


def test_binary_has_two_outputs_and_a_difference_of_logits(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING).fit(X, y)
    assert clf.n_outputs_ == 2
    decision, proba = clf.decision_function(X), clf.predict_proba(X)
    assert decision.shape == (len(X),) and proba.shape == (len(X), 2)
    np.testing.assert_allclose(expit(decision), proba[:, 1], atol=1e-12)
    np.testing.assert_array_equal(clf.predict(X), (decision > 0).astype(int))


def test_multiclass_outputs_agree(whole_iris):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING).fit(X, y)
    np.testing.assert_allclose(log_softmax(clf.decision_function(X), axis=1), clf.predict_log_proba(X))
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X))
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.score(X, y) == accuracy_score(y, clf.predict(X))


def test_log_probabilities_do_not_underflow(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**{**LEARNING, "standardize": False}).fit(StandardScaler().fit_transform(X), y)
    assert np.isfinite(clf.predict_log_proba(1e4 * StandardScaler().fit_transform(X))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_have_the_precision_of_X_and_targets_their_own(whole_cancer, dtype):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING).fit(X, y)
    assert clf.predict_proba(X.astype(dtype)).dtype == dtype
    assert SNNRegressor(**LEARNING).fit(X, y).predict(X.astype(dtype)).dtype == np.float64
    np.testing.assert_allclose(clf.predict_proba(X.astype(dtype)), clf.predict_proba(X), atol=1e-4)


def test_labels_are_smoothed_by_default_unless_tasks_or_a_watched_loss_speak_against_it(
    whole_cancer, gappy_tasks
):
    """With early stopping, the best epoch of easy classes was the first: the watched loss is not smoothed."""

    def smoothing(*data, **parameters):
        return SNNClassifier(**LEARNING, **parameters).fit(*data).net_.criterion_.label_smoothing

    assert smoothing(*whole_cancer) == 0.1
    assert smoothing(*whole_cancer, early_stopping=True) == smoothing(*gappy_tasks) == 0
    assert smoothing(*whole_cancer, early_stopping=True, label_smoothing=0.2) == 0.2


def test_the_criterion_that_fit_leaves_does_not_smooth_labels():
    clf = SNNClassifier(**SMALL, label_smoothing=0.5).fit(X, Y)
    logits = clf._model.outputs(X)
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(Y))
    assert clf.net_.criterion_(logits, torch.from_numpy(Y)).item() == pytest.approx(expected.item())


# ---------------------------------------------------------------- tasks, and labels that are missing


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
@pytest.mark.parametrize("missing", [np.nan, -1])
def test_tasks_have_one_probability_each(gappy_tasks, n_tasks, missing):
    X, Y = gappy_tasks
    Y = np.where(np.isnan(Y), missing, Y)[:, :n_tasks]
    clf = SNNClassifier(**LEARNING, missing_label=missing).fit(X, Y)
    assert clf.n_outputs_ == n_tasks and clf.classes_.tolist() == list(range(n_tasks))
    proba, logits = clf.predict_proba(X), clf.decision_function(X)
    assert proba.shape == logits.shape == (len(X), n_tasks)
    np.testing.assert_allclose(proba, expit(logits), atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba)
    assert clf.predict(X).dtype.kind == "i"
    np.testing.assert_array_equal(clf.predict(X), proba > 0.5)


def test_nan_and_minus_one_are_the_same_fit(gappy_tasks):
    X, Y = gappy_tasks
    nan = SNNClassifier(**LEARNING).fit(X, Y)
    minus = SNNClassifier(**LEARNING, missing_label=-1).fit(X, np.nan_to_num(Y, nan=-1).astype(int))
    np.testing.assert_array_equal(nan.predict_proba(X), minus.predict_proba(X))
    assert nan.score(X, Y) == minus.score(X, np.nan_to_num(Y, nan=-1))


@unfinished
def test_missing_labels_count_for_nothing(gappy_tasks):
    """A row without labels changes nothing but the statistics of X, here given by its twin."""
    X, Y = gappy_tasks
    bare = np.full_like(Y, np.nan)
    settings = {**EXACT, "max_epochs": 3}
    once = SNNClassifier(**settings).fit(X, Y)
    twice = SNNClassifier(**settings).fit(np.vstack([X, X]), np.vstack([Y, bare]))
    np.testing.assert_allclose(once.decision_function(X), twice.decision_function(X), atol=1e-6)


def test_multitask_score_skips_missing_labels(gappy_tasks):
    X, Y = gappy_tasks
    clf = SNNClassifier(**LEARNING).fit(X, Y)
    right = (clf.predict(X) == Y) | np.isnan(Y)
    labelled = ~np.isnan(Y).all(axis=1)
    assert clf.score(X, Y) == pytest.approx(right.all(axis=1)[labelled].mean())
    weight = np.arange(1.0, len(X) + 1)
    expected = np.average(right.all(axis=1)[labelled], weights=weight[labelled])
    assert clf.score(X, Y, sample_weight=weight) == pytest.approx(expected)
    complete = ~np.isnan(Y).any(axis=1)
    assert clf.score(X[complete], Y[complete]) == accuracy_score(Y[complete], clf.predict(X[complete]))
    with raises("y has no label at all"):
        clf.score(X, np.full_like(Y, np.nan))


def test_score_checks_shapes_and_weights(gappy_tasks):
    """A y of one column was broadcast over three tasks; weights went unchecked."""
    X, Y = gappy_tasks
    clf = SNNClassifier(**LEARNING).fit(X, Y)
    for y in (Y[:, :1], Y[:, :2]):
        with raises("but the estimator was fitted with (n_rows, 3)"):
            clf.score(X, y)
    with raises("inconsistent numbers of samples"):
        clf.score(X, Y[:1])
    with raises("one weight a row"):
        clf.score(X, Y, sample_weight=np.ones(3))
    with raises("sample_weight must not be negative"):
        clf.score(X, Y, sample_weight=-np.ones(len(X)))
    reg = SNNRegressor(**LEARNING).fit(X, Y)
    with raises("nothing to score"):
        reg.score(X, np.full_like(Y, np.nan))


def test_one_column_is_ravelled_with_a_warning_unless_labels_are_missing(whole_cancer):
    X, y = whole_cancer
    with pytest.warns(DataConversionWarning):
        clf = SNNClassifier(**LEARNING).fit(X, y[:, None])
    assert clf.predict(X).shape == (len(X),)
    np.testing.assert_array_equal(clf.predict_proba(X), SNNClassifier(**LEARNING).fit(X, y).predict_proba(X))


def test_one_task_stays_one_task_where_labels_are_complete(gappy_tasks):
    """A complete y_val or chunk of one column was ravelled and then refused."""
    X, Y = gappy_tasks
    complete = np.nan_to_num(Y[:50, :1])
    clf = SNNClassifier(**LEARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)
        clf.fit(X[50:], Y[50:, :1], X_val=X[:50], y_val=complete).partial_fit(X[:50], complete)
        assert 0.5 < clf.score(X[:50], complete) <= 1
    assert clf.predict_proba(X).shape == (len(X), 1)


def test_a_task_of_one_class_warns(gappy_tasks):
    X, Y = gappy_tasks
    Y = np.where(np.isnan(Y), Y, [[np.nan, 1, np.nan]]) + np.zeros_like(Y)
    Y[:, [0, 2]] = gappy_tasks[1][:, [0, 2]]
    with pytest.warns(UserWarning, match=re.escape("task 1 of y (column 1) has labels of one class only")):
        clf = SNNClassifier(**LEARNING).fit(X, Y)
    assert clf.predict(X)[:, 1].all()


# ---------------------------------------------------------------- values


def test_regressor_keeps_one_column(whole_diabetes):
    X, y = whole_diabetes
    flat, column = SNNRegressor(**LEARNING).fit(X, y), SNNRegressor(**LEARNING).fit(X, y[:, None])
    assert flat.predict(X).shape == (len(X),) and column.predict(X).shape == (len(X), 1)
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_missing_targets_are_left_out_of_fit_and_score(whole_diabetes):
    X, y = whole_diabetes
    Y = np.column_stack([y, -3 * y + 7])
    Y[::3, 1] = np.nan
    reg = SNNRegressor(**{**LEARNING, "max_epochs": 60}).fit(X, Y)
    assert reg.predict(X).shape == Y.shape
    present = ~np.isnan(Y[:, 1])
    expected = [r2_score(Y[:, 0], reg.predict(X)[:, 0]), r2_score(Y[present, 1], reg.predict(X)[present, 1])]
    assert reg.score(X, Y) == pytest.approx(np.mean(expected))
    assert min(expected) > 0.4


def test_target_units_do_not_matter(whole_diabetes):
    X, y = whole_diabetes
    reg = SNNRegressor(**LEARNING).fit(X, y)
    scaled = SNNRegressor(**LEARNING).fit(X, 1e6 * y - 5e8)
    np.testing.assert_allclose(scaled.predict(X), 1e6 * reg.predict(X) - 5e8, rtol=1e-3)
    raw = SNNRegressor(**{**LEARNING, "max_epochs": 2}, standardize_target=False)
    with pytest.warns(ConvergenceWarning):  # targets near 150 are far from outputs near 0
        raw.fit(X, y)
    assert abs(raw.predict(X).mean() - y.mean()) > 10


@unfinished
def test_a_constant_target_is_centred_only():
    first, second = (SNNRegressor(**SMALL).fit(X, np.full(120, c)).predict(X) for c in (0.0, 7.0))
    np.testing.assert_allclose(second - 7, first, rtol=1e-6, atol=1e-9)


def test_targets_of_any_magnitude_count():
    plain = SNNRegressor(**SMALL).fit(X, T).predict(X)
    for scale in (1e-170, 1e-300, 1e150):
        np.testing.assert_allclose(
            SNNRegressor(**SMALL).fit(X, T * scale).predict(X) / scale, plain, rtol=1e-4
        )


def test_a_target_far_from_0_keeps_its_digits():
    model = SNNRegressor(**SMALL | {"max_epochs": 30}).fit(X.astype("f4"), 1e10 + T)
    assert abs(model.predict(X.astype("f4")) - model.predict(X.astype("f4").astype("f8"))).max() < 1e-3


@pytest.mark.parametrize("scale", [1e39, 1e-200, 1e150])
def test_float32_rows_only_choose_the_precision_of_the_forward_pass(scale):
    """Predictions of a target beyond float32 were infinite, and 21 off at 1e10 +- 3."""
    model = SNNRegressor(**SMALL).fit(X, T * scale)
    assert model.predict(X.astype("f4")).dtype == np.float64
    np.testing.assert_allclose(model.predict(X.astype("f4")), model.predict(X), rtol=1e-5)


@pytest.mark.parametrize(("quantile", "share"), [(0.1, 0.1), (0.9, 0.9)])
def test_quantile_loss_estimates_quantiles(quantile, share):
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 2)
    y = rng.randn(2000) * 3 + 10 + X[:, 0]
    settings = {"n_layers": 1, "n_units": 4, "max_epochs": 40, "lr": 1e-2, "dropout": 0.0, "random_state": 0}
    reg = SNNRegressor(loss="quantile", quantile=quantile, **settings).fit(X, y)
    assert np.mean(y < reg.predict(X)) == pytest.approx(share, abs=0.04)


def test_robust_losses_resist_outliers():
    rng = np.random.RandomState(0)
    X = rng.randn(500, 1)
    y = 2 * X[:, 0]
    spoiled = np.where(rng.rand(500) < 0.05, 100.0, y)
    settings = {**LEARNING, "max_epochs": 60, "dropout": 0.0}
    error = {
        loss: np.abs(SNNRegressor(loss=loss, **settings).fit(X, spoiled).predict(X) - y).mean()
        for loss in ("squared_error", "absolute_error", "huber")
    }
    assert error["absolute_error"] < error["squared_error"] / 3
    assert error["huber"] < error["squared_error"]
