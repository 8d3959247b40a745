"""The estimators inside scikit-learn's other tools: cross-validation, ensembles, curves."""

import numpy as np
import pytest
from conftest import SMALL, X, unfinished
from helpers import SKLEARN, missing_at_random
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    log_loss,
)
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    cross_val_predict,
    learning_curve,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.fixes import parse_version

from sksnn import SNNClassifier, SNNRegressor
from sksnn.metrics import (
    masked_roc_auc_scorer,
)


@unfinished
class TestMetaEstimators:
    def test_cross_val_predict_of_one_target_is_fold_by_fold(self, iris, diabetes):
        X, y = iris
        proba = cross_val_predict(SNNClassifier(**SMALL), X, y, cv=3, method="predict_proba")
        logits = cross_val_predict(SNNClassifier(**SMALL), X, y, cv=3, method="decision_function")
        for train, test in StratifiedKFold(3).split(X, y):
            fitted = SNNClassifier(**SMALL).fit(X[train], y[train])
            np.testing.assert_array_equal(proba[test], fitted.predict_proba(X[test]))
            np.testing.assert_array_equal(logits[test], fitted.decision_function(X[test]))
        names = np.array(["a", "b", "c"])[y]
        assert set(cross_val_predict(SNNClassifier(**SMALL), X, names, cv=3)) == {"a", "b", "c"}
        X, y = diabetes
        assert cross_val_predict(SNNRegressor(**SMALL), X, y, cv=2).shape == y.shape

    @pytest.mark.parametrize("label", [np.nan, -1])
    @pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
    def test_cross_val_predict_of_missing_labels_is_an_error_that_names_it(self, method, label, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1], label=label)
        estimator = SNNClassifier(**SMALL, missing_label=label)
        with pytest.raises(ValueError, match="cross_val_predict re-encodes"):
            cross_val_predict(estimator, X, Y, cv=KFold(3), method=method)

    @pytest.mark.filterwarnings("ignore:Number of classes in training fold:RuntimeWarning")  # scikit-learn's
    @pytest.mark.parametrize("n_tasks", [2, 3])
    @pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
    def test_cross_val_predict_of_complete_tasks_is_right_or_raises(self, method, n_tasks, tasks):
        X, Y = tasks[0], tasks[1][:, :n_tasks]
        expected = np.zeros(Y.shape)
        for train, test in KFold(3).split(X):
            expected[test] = getattr(SNNClassifier(**SMALL).fit(X[train], Y[train]), method)(X[test])
        try:
            values = cross_val_predict(SNNClassifier(**SMALL), X, Y, cv=KFold(3), method=method)
        except (ValueError, IndexError):
            assert method != "predict" and n_tasks > 2
        else:
            np.testing.assert_array_equal(values, expected)

    def test_cross_val_predict_takes_missing_labels_by_predict(self, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])
        assert cross_val_predict(SNNClassifier(**SMALL), X, Y, cv=KFold(3)).shape == Y.shape

    @pytest.mark.skipif(parse_version("1.8") > SKLEARN, reason="method='temperature' came with 1.8")
    @pytest.mark.parametrize("data", ["iris", "cancer"])
    def test_calibration_by_temperature_works_on_logits(self, data, request):
        X, y = request.getfixturevalue(data)
        estimator = SNNClassifier(**SMALL)
        calibrated = CalibratedClassifierCV(estimator, method="temperature", cv=3, ensemble=False).fit(X, y)
        logits = calibrated.calibrated_classifiers_[0].estimator.decision_function(X)
        np.testing.assert_array_equal(
            logits.argmax(1) if logits.ndim == 2 else logits > 0, calibrated.predict(X)
        )
        proba = calibrated.predict_proba(X)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
        assert log_loss(y, proba) < np.log(len(set(y)))

    @pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
    def test_calibration_by_sigmoid_and_isotonic_works(self, method, cancer):
        X, y = cancer
        calibrated = CalibratedClassifierCV(SNNClassifier(**SMALL), method=method, cv=2).fit(X, y)
        assert calibrated.score(X, y) > 0.8

    def test_a_transformed_target_is_transformed_back(self, diabetes):
        X, y = diabetes
        outer = TransformedTargetRegressor(SNNRegressor(**SMALL), func=np.log, inverse_func=np.exp).fit(X, y)
        inner = SNNRegressor(**SMALL).fit(X, np.log(y))
        np.testing.assert_allclose(outer.predict(X), np.exp(inner.predict(X)), rtol=1e-9)
        scaled = TransformedTargetRegressor(SNNRegressor(**SMALL), transformer=StandardScaler()).fit(X, y)
        assert scaled.predict(X).shape == y.shape

    @pytest.mark.parametrize(
        "outer",
        [
            BaggingClassifier(SNNClassifier(**SMALL), n_estimators=2, max_features=0.7, random_state=0),
            AdaBoostClassifier(SNNClassifier(**SMALL), n_estimators=2, random_state=0),
            StackingClassifier([("a", SNNClassifier(**SMALL)), ("b", LogisticRegression())], cv=2),
            VotingClassifier([("a", SNNClassifier(**SMALL)), ("b", LogisticRegression())], voting="soft"),
            VotingClassifier(
                [("a", SNNClassifier(**SMALL)), ("b", SNNClassifier(**SMALL, n_iter_no_change=5))]
            ),
        ],
        ids=lambda outer: type(outer).__name__,
    )
    def test_ensembles_of_nets_learn_with_and_without_weights(self, outer, iris):
        X, y = iris
        X, y = StandardScaler().fit_transform(X), np.array(["a", "b", "c"])[y]
        assert clone(outer).fit(X, y).score(X, y) > 0.6
        weight = np.where(y == "a", 3.0, 0.5)
        if not isinstance(outer, StackingClassifier):
            assert clone(outer).fit(X, y, sample_weight=weight).score(X, y) > 0.5

    def test_boosting_reweights_the_second_net(self, iris):
        X, y = iris
        boosted = AdaBoostClassifier(SNNClassifier(**SMALL), n_estimators=2, random_state=0).fit(X, y)
        seed = boosted.estimators_[0].random_state
        alone = SNNClassifier(**{**SMALL, "random_state": seed}).fit(X, y)
        np.testing.assert_allclose(boosted.estimators_[0].predict_proba(X), alone.predict_proba(X), rtol=1e-3)
        assert boosted.estimators_[1].random_state != seed

    def test_multi_output_fits_one_net_per_output(self, tasks):
        X, Y = tasks
        outer = MultiOutputClassifier(SNNClassifier(**SMALL)).fit(X, Y)
        assert outer.predict(X).shape == Y.shape and outer.score(X, Y) > 0.3
        for i, proba in enumerate(outer.predict_proba(X)):
            expected = SNNClassifier(**SMALL).fit(X, Y[:, i]).predict_proba(X)
            np.testing.assert_array_equal(proba, expected)

    def test_self_training_labels_rows(self, iris):
        X, y = iris
        partly = np.where(np.random.RandomState(0).rand(len(y)) < 0.5, -1, y)
        estimator = SNNClassifier(**{**SMALL, "max_epochs": 15})
        outer = SelfTrainingClassifier(estimator, threshold=0.8, max_iter=2).fit(X, partly)
        assert outer.score(X, y) > 0.7 and set(outer.classes_) == {0, 1, 2}
        assert (outer.labeled_iter_ > 0).any()

    def test_importance_and_learning_curves_are_finite(self, cancer):
        X, y = cancer
        fitted = SNNClassifier(**SMALL).fit(X, y)
        importance = permutation_importance(fitted, X, y, n_repeats=2, random_state=0)
        assert importance.importances_mean.shape == (X.shape[1],)
        assert importance.importances_mean.max() > 0
        sizes, train, test = learning_curve(
            SNNClassifier(**SMALL), X, y, train_sizes=[0.5, 1.0], cv=2, error_score="raise"
        )
        assert np.isfinite([train, test]).all()

    def test_learning_curves_come_by_partial_fit(self, cancer):
        X, y = cancer
        _, train, test = learning_curve(
            SNNClassifier(**SMALL),
            X,
            y,
            train_sizes=[0.5, 1.0],
            cv=2,
            exploit_incremental_learning=True,
            error_score="raise",
        )
        assert np.isfinite([train, test]).all()

    def test_displays_of_scikit_learn_take_the_estimator(self, cancer):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("agg")
        from sklearn.calibration import CalibrationDisplay
        from sklearn.inspection import DecisionBoundaryDisplay, PartialDependenceDisplay
        from sklearn.metrics import RocCurveDisplay

        X, y = cancer
        fitted = SNNClassifier(**SMALL).fit(X, y)
        assert CalibrationDisplay.from_estimator(fitted, X, y).y_prob.shape == y.shape
        assert RocCurveDisplay.from_estimator(fitted, X, y).roc_auc > 0.7
        assert PartialDependenceDisplay.from_estimator(fitted, X, [0], grid_resolution=3)
        two = SNNClassifier(**SMALL).fit(X[:, :2], y)
        assert DecisionBoundaryDisplay.from_estimator(two, X[:, :2], grid_resolution=5)
        matplotlib.pyplot.close("all")


@pytest.mark.parametrize("n_tasks", [2, 3, 4])
def test_cross_val_predict_takes_complete_tasks(n_tasks):
    """scikit-learn sorts columns by classes_, which had two: an IndexError from three tasks on."""
    tasks = (X[:, :n_tasks] > 0).astype(int)
    folds = KFold(3)
    model = SNNClassifier(**SMALL)
    for method in ("predict_proba", "decision_function", "predict_log_proba"):
        got = cross_val_predict(model, X, tasks, cv=folds, method=method)
        expected = np.empty(tasks.shape)
        for train, test in folds.split(X):
            expected[test] = getattr(clone(model).fit(X[train], tasks[train]), method)(X[test])
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("missing_label", [np.nan, -1])
def test_learning_curves_of_missing_labels_come_by_partial_fit(missing_label):
    tasks = np.where(X[:, :3] > 1, missing_label, X[:, :3] > 0)
    sizes, train, test = learning_curve(
        SNNClassifier(**SMALL, missing_label=missing_label),
        X,
        tasks,
        cv=KFold(2),
        train_sizes=[0.5, 1.0],
        exploit_incremental_learning=True,
        scoring=masked_roc_auc_scorer,
        error_score="raise",
    )
    assert len(sizes) == 2 and np.isfinite(train).all() and np.isfinite(test).all()
