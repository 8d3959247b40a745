"""Validation rows and weights on their way through scikit-learn's metadata routing."""

import numpy as np
import pytest
import sklearn
from conftest import SMALL
from helpers import missing_at_random, parameters
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sksnn import SNNClassifier, SNNRegressor
from sksnn.metrics import (
    masked_roc_auc_scorer,
)


class TestRouting:
    def halves(self, iris):
        X, y = iris
        return X[:100], y[:100], X[100:], y[100:]

    def requesting(self, **params):
        return SNNClassifier(**{**SMALL, **params}).set_fit_request(X_val=True, y_val=True)

    def test_pipeline_transforms_the_validation_rows(self, iris):
        X, y, X_val, y_val = self.halves(iris)
        pca = PCA(random_state=0).fit(X)
        by_hand = SNNClassifier(**SMALL).fit(pca.transform(X), y, X_val=pca.transform(X_val), y_val=y_val)
        with sklearn.config_context(enable_metadata_routing=True):
            pipe = Pipeline(
                [("pca", PCA(random_state=0)), ("snn", self.requesting())], transform_input=["X_val"]
            ).fit(X, y, X_val=X_val, y_val=y_val)
            raw = Pipeline([("pca", PCA(random_state=0)), ("snn", self.requesting())], transform_input=None)
            raw.fit(X, y, X_val=X_val, y_val=y_val)
        curve = pipe[-1].validation_loss_curve_
        assert len(curve) == SMALL["max_epochs"]
        np.testing.assert_array_equal(curve, by_hand.validation_loss_curve_)
        np.testing.assert_array_equal(parameters(pipe[-1]), parameters(by_hand))
        assert not np.allclose(curve, raw[-1].validation_loss_curve_, rtol=0.01)

    def test_without_routing_a_pipeline_hands_the_validation_rows_on_untransformed(self, iris):
        X, y, X_val, y_val = self.halves(iris)
        pca = PCA(random_state=0).fit(X)
        by_hand = SNNClassifier(**SMALL).fit(pca.transform(X), y, X_val=X_val, y_val=y_val)
        pipe = Pipeline([("pca", PCA(random_state=0)), ("snn", SNNClassifier(**SMALL))])
        pipe.fit(X, y, snn__X_val=X_val, snn__y_val=y_val)
        np.testing.assert_array_equal(pipe[-1].validation_loss_curve_, by_hand.validation_loss_curve_)

    def test_validation_rows_and_their_weights_pass_a_grid_search(self, iris):
        X, y, X_val, y_val = self.halves(iris)
        weight_val = np.linspace(0.1, 2, len(y_val))
        with sklearn.config_context(enable_metadata_routing=True):
            estimator = self.requesting().set_fit_request(sample_weight_val=True)
            pipe = Pipeline([("pca", PCA()), ("snn", estimator)], transform_input=["X_val"])
            search = GridSearchCV(pipe, {"snn__n_layers": [1, 2]}, cv=2, error_score="raise")
            search.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
        best = search.best_estimator_
        by_hand = clone(best[-1]).fit(
            best[0].transform(X),
            y,
            X_val=best[0].transform(X_val),
            y_val=y_val,
            sample_weight_val=weight_val,
        )
        np.testing.assert_array_equal(parameters(best[-1]), parameters(by_hand))
        assert best[-1].validation_loss_curve_ == by_hand.validation_loss_curve_

    def test_an_unrequested_argument_is_an_error(self, iris):
        X, y, X_val, y_val = self.halves(iris)
        with sklearn.config_context(enable_metadata_routing=True):
            pipe = make_pipeline(StandardScaler(), SNNClassifier(**SMALL))
            with pytest.raises(UnsetMetadataPassedError, match="X_val, y_val"):
                pipe.fit(X, y, X_val=X_val, y_val=y_val)

    @pytest.fixture
    def weight(self, iris):
        return np.random.RandomState(0).uniform(0.01, 3, len(iris[1]))

    def test_sample_weight_passes_a_pipeline(self, iris, weight):
        X, y = iris
        by_hand = SNNClassifier(**SMALL).fit(X, y, weight)
        with sklearn.config_context(enable_metadata_routing=True):
            pipe = make_pipeline(PCA(), SNNClassifier(**SMALL).set_fit_request(sample_weight=True))
            pipe.fit(X, y, sample_weight=weight)
        by_hand = SNNClassifier(**SMALL).fit(pipe[0].transform(X), y, weight)
        np.testing.assert_array_equal(parameters(pipe[-1]), parameters(by_hand))
        unrouted = make_pipeline(PCA(), SNNClassifier(**SMALL)).fit(X, y, snnclassifier__sample_weight=weight)
        np.testing.assert_array_equal(parameters(unrouted[-1]), parameters(by_hand))
        unweighted = SNNClassifier(**SMALL).fit(pipe[0].transform(X), y)
        assert not np.array_equal(parameters(pipe[-1]), parameters(unweighted))

    @pytest.mark.parametrize("score_weight", [True, False])
    def test_sample_weight_passes_cross_validation_and_search(self, iris, weight, score_weight):
        X, y = iris
        folds = list(StratifiedKFold(3).split(X, y))
        expected = []
        for train, test in folds:
            fitted = SNNClassifier(**SMALL).fit(X[train], y[train], weight[train])
            expected.append(fitted.score(X[test], y[test], weight[test] if score_weight else None))
        with sklearn.config_context(enable_metadata_routing=True):
            estimator = SNNClassifier(**SMALL)
            estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=score_weight)
            scores = cross_val_score(estimator, X, y, cv=3, params={"sample_weight": weight})
            search = GridSearchCV(estimator, {"lr": [SMALL["lr"]]}, cv=3)
            search.fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(scores, expected, rtol=1e-12)
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], np.mean(expected))
        by_hand = SNNClassifier(**SMALL).fit(X, y, weight)
        np.testing.assert_array_equal(parameters(search.best_estimator_), parameters(by_hand))

    def test_masked_scorers_stay_plain_callables_under_routing(self, tasks, weight):
        X, Y = tasks[0], missing_at_random(tasks[1])
        with sklearn.config_context(enable_metadata_routing=True):
            estimator = SNNClassifier(**SMALL).set_fit_request(sample_weight=True)
            search = GridSearchCV(
                estimator,
                {"lr": [0.02]},
                cv=KFold(2),
                scoring=masked_roc_auc_scorer,
                error_score="raise",
            )
            search.fit(X, Y, sample_weight=weight[: len(Y)])
        assert 0.5 < search.best_score_ <= 1

    def test_partial_fit_can_be_routed(self):
        with sklearn.config_context(enable_metadata_routing=True):
            for estimator in (SNNClassifier(), SNNRegressor()):
                request = estimator.set_partial_fit_request(sample_weight=True).get_metadata_routing()
                assert request.partial_fit.requests["sample_weight"] is True
