"""Scorers of scikit-learn and of this package, on one target and on tasks."""

import numpy as np
import pytest
import sklearn
from conftest import SMALL, TASKS, X, Y, raises, unfinished
from helpers import NAN_IN_TYPE_OF_TARGET, missing_at_random
from sklearn.base import clone
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    get_scorer,
    get_scorer_names,
    log_loss,
    make_scorer,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_validate,
)

from sksnn import SNNClassifier
from sksnn.metrics import (
    masked_average_precision_score,
    masked_average_precision_scorer,
    masked_neg_log_loss_scorer,
    masked_roc_auc_score,
    masked_roc_auc_scorer,
)


def _by_task(metric):
    return lambda Y, fitted, X: np.mean(
        [metric(y, p) for y, p in zip(Y.T, fitted.predict_proba(X).T, strict=True)]
    )


def _of_labels(metric, **kwargs):
    return lambda Y, fitted, X: metric(Y, fitted.predict(X), **kwargs)


# What each scorer should give, computed without scikit-learn's scorers.
DIRECT = {
    "accuracy": lambda Y, fitted, X: (fitted.predict(X) == Y).all(axis=1).mean(),
    "roc_auc": _by_task(roc_auc_score),
    "roc_auc_ovr": _by_task(roc_auc_score),
    "roc_auc_ovo": _by_task(roc_auc_score),
    "average_precision": _by_task(average_precision_score),
    "f1_macro": _of_labels(f1_score, average="macro"),
    "f1_micro": _of_labels(f1_score, average="micro"),
    "f1_weighted": _of_labels(f1_score, average="weighted"),
    "f1": _of_labels(f1_score),
    "neg_hamming_loss": lambda Y, fitted, X: -(fitted.predict(X) != Y).mean(),
}


@unfinished
class TestScorers:
    """Labels of the scored rows are complete; for one task they are missing in the training rows."""

    @pytest.fixture(params=[1, 2, 3])
    def fitted(self, request, tasks):
        X, Y = tasks[0], tasks[1][:, : request.param]
        train = missing_at_random(Y) if request.param == 1 else Y
        # Few epochs, so that the scores are neither 0 nor 1.
        return SNNClassifier(**{**SMALL, "max_epochs": 2, "lr": 0.005}).fit(X, train), X, Y

    @pytest.mark.parametrize("name", [name for name in DIRECT if name in get_scorer_names()])
    def test_named_scorers_give_what_is_computed_directly_or_raise(self, name, fitted):
        estimator, X, Y = fitted
        expected = None
        try:
            value = get_scorer(name)(estimator, X, Y)
        except ValueError:
            assert name in ("f1", "roc_auc_ovo", "roc_auc_ovr", "neg_hamming_loss"), "this one could be right"
            return
        expected = DIRECT[name](Y, estimator, X)
        assert value == pytest.approx(expected, rel=1e-9)

    def test_log_loss_is_that_of_each_label_or_raises(self, fitted):
        estimator, X, Y = fitted
        proba = np.clip(estimator.predict_proba(X), 1e-15, 1 - 1e-15)
        expected = np.mean(Y * np.log(proba) + (1 - Y) * np.log(1 - proba))
        try:
            value = get_scorer("neg_log_loss")(estimator, X, Y)
        except (ValueError, UserWarning):  # scikit-learn's log_loss knows no tasks
            assert Y.shape[1] > 1
        else:
            assert value == pytest.approx(expected, rel=1e-6)
        assert masked_neg_log_loss_scorer(estimator, X, Y) == pytest.approx(expected, rel=1e-6)

    def test_masked_scorers_agree_with_scikit_learn(self, fitted):
        estimator, X, Y = fitted
        for masked, name in (
            (masked_roc_auc_scorer, "roc_auc"),
            (masked_average_precision_scorer, "average_precision"),
        ):
            assert masked(estimator, X, Y) == pytest.approx(get_scorer(name)(estimator, X, Y), rel=1e-9)

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")  # some metric's own
    def test_every_scorer_is_its_metric_or_raises(self, fitted):
        estimator, X, Y = fitted
        agreed = []
        for name in get_scorer_names():
            scorer = get_scorer(name)
            try:
                value = scorer(estimator, X, Y)
            except (ValueError, TypeError, AttributeError, UserWarning):
                continue
            assert np.isfinite(value), name
            methods = scorer._response_method
            method = "predict" if methods == "default" else methods
            method = method if isinstance(method, str) else method[0]
            values = getattr(estimator, method)(X)
            direct = scorer._sign * scorer._score_func(Y, values, **scorer._kwargs)
            assert value == pytest.approx(direct, rel=1e-9), name
            agreed.append(name)
        assert {"accuracy", "roc_auc", "average_precision", "f1_macro"} <= set(agreed)

    @pytest.mark.parametrize("name", ["accuracy", "roc_auc", "average_precision", "f1_macro", "neg_log_loss"])
    @pytest.mark.filterwarnings(NAN_IN_TYPE_OF_TARGET)
    def test_missing_labels_make_scikit_learn_raise(self, name, fitted):
        estimator, X, Y = fitted
        with pytest.raises(ValueError, match="NaN"):
            get_scorer(name)(estimator, X, missing_at_random(Y))

    def test_scorers_work_within_cross_validation_and_search(self, fitted):
        estimator, X, Y = fitted
        if Y.shape[1] == 1:
            pytest.skip("complete labels in one column are a 1-D target")
        names, folds = ["accuracy", "roc_auc", "average_precision", "f1_macro"], KFold(2)
        results = cross_validate(estimator, X, Y, cv=folds, scoring=names, error_score="raise")
        fits = [clone(estimator).fit(X[train], Y[train]) for train, _ in folds.split(X)]
        search = GridSearchCV(estimator, {"lr": [0.005]}, cv=folds, scoring=names, refit="roc_auc")
        search.fit(X, Y)
        for name in names:
            expected = [
                DIRECT[name](Y[test], fit, X[test])
                for fit, (_, test) in zip(fits, folds.split(X), strict=True)
            ]
            np.testing.assert_allclose(results["test_" + name], expected, rtol=1e-9)
            assert search.cv_results_["mean_test_" + name][0] == pytest.approx(np.mean(expected), rel=1e-9)

    def test_masked_scores_of_one_task_are_those_of_its_labels(self, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])[:, :1]
        fitted = SNNClassifier(**SMALL).fit(X, Y)
        present = ~np.isnan(Y[:, 0])
        proba = fitted.predict_proba(X)[:, 0]
        assert masked_roc_auc_score(Y, fitted.predict_proba(X)) == roc_auc_score(
            Y[present, 0], proba[present]
        )
        assert masked_average_precision_score(Y[:, 0], proba) == average_precision_score(
            Y[present, 0], proba[present]
        )
        assert fitted.score(X, Y) == accuracy_score(Y[present, 0], fitted.predict(X)[present, 0])

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_scorers_of_one_target_are_their_metrics(self, n_classes, iris):
        X, y = iris[0][iris[1] < n_classes], iris[1][iris[1] < n_classes]
        X = X + np.random.RandomState(0).normal(0, 1, X.shape)
        fitted = SNNClassifier(**SMALL).fit(X, y)
        proba = fitted.predict_proba(X)
        expected = {
            "accuracy": accuracy_score(y, proba.argmax(1)),
            "neg_log_loss": -log_loss(y, proba),
            "roc_auc_ovr": roc_auc_score(y, proba[:, 1] if n_classes == 2 else proba, multi_class="ovr"),
        }
        if n_classes == 2:
            expected |= {
                "roc_auc": roc_auc_score(y, proba[:, 1]),
                "average_precision": average_precision_score(y, proba[:, 1]),
                "f1": f1_score(y, proba[:, 1] > 0.5),
            }
        for name, value in expected.items():
            assert get_scorer(name)(fitted, X, y) == pytest.approx(value, rel=1e-6), name


@pytest.mark.filterwarnings("ignore:The y_pr[a-z]* values do not sum to one")
@pytest.mark.parametrize("n_tasks", [2, 3, 4])
@pytest.mark.parametrize(
    "scoring", ["roc_auc", "average_precision", "neg_log_loss", "roc_auc_ovr", "f1_macro"]
)
def test_scorers_of_scikit_learn_see_tasks(n_tasks, scoring):
    tasks = (X[:, :n_tasks] > 0).astype(int)
    model = SNNClassifier(**SMALL).fit(X, tasks)
    got = sklearn.metrics.get_scorer(scoring)(model, X, tasks)
    direct = {
        "roc_auc": lambda: roc_auc_score(tasks, model.decision_function(X)),
        "average_precision": lambda: sklearn.metrics.average_precision_score(tasks, model.predict_proba(X)),
        "neg_log_loss": lambda: -sklearn.metrics.log_loss(tasks, model.predict_proba(X)),
        "roc_auc_ovr": lambda: roc_auc_score(tasks, model.predict_proba(X), multi_class="ovr"),
        "f1_macro": lambda: sklearn.metrics.f1_score(tasks, model.predict(X), average="macro"),
    }[scoring]()
    assert got == pytest.approx(direct, rel=1e-6)


def test_a_scorer_of_ones_own_sees_tasks():
    model = SNNClassifier(**SMALL).fit(X, TASKS)
    scorer = make_scorer(roc_auc_score, response_method="predict_proba")
    assert scorer(model, X, TASKS) == roc_auc_score(TASKS, model.predict_proba(X))


def test_labels_of_minus_1_and_1_are_not_missing_ones():
    """All of one class were taken for missing, and the score was NaN without a word."""
    with raises("y_true holds -1 and 1, and -1 marks a missing label"):
        masked_roc_auc_score([-1, 1, 1, -1], [0.1, 0.9, 0.8, 0.3])
    binary = SNNClassifier(**SMALL).fit(X, 2 * Y - 1)
    with raises("y_true holds -1 and 1"):
        masked_roc_auc_scorer(binary, X, 2 * Y - 1)
    assert np.isnan(masked_roc_auc_score([[-1], [1], [1]], [[0.1], [0.9], [0.8]]))  # a fold of a task
