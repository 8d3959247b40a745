"""Searches over parameters: grids, in processes, over epochs, and where labels are missing."""

import itertools

import numpy as np
import pytest
import torch
from conftest import SMALL, unfinished
from helpers import NAN_IN_TYPE_OF_TARGET, droppy_net, missing_at_random
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn.metrics import (
    masked_accuracy_scorer,
    masked_average_precision_scorer,
    masked_neg_log_loss_scorer,
    masked_roc_auc_scorer,
)

GRID = [
    {"snn__n_layers": [1, 3], "snn__n_units": [8, 12]},
    {"snn__layer_form": ["conic", "rectangular"]},
    {"snn__dropout": [0.0, 0.3]},
    {"snn__lr": [0.01, 0.03]},
    {"snn__optimizer": ["nadam", "sgd"]},
    {"snn__optimizer": [torch.optim.NAdam], "snn__optimizer_params": [{"betas": (0.8, 0.9)}]},
    {"snn__architecture": [droppy_net]},
    # cloudpickle's work: nothing to import in the workers
    {"snn__architecture": [lambda i, o: nn.Sequential(nn.Linear(i, 4), nn.SELU(), nn.Linear(4, o))]},
    {"snn__hidden_layer_sizes": [(8, 4), [8]], "snn__lr_schedule": ["constant"]},
]


MASKED = {
    "accuracy": masked_accuracy_scorer,
    "average_precision": masked_average_precision_scorer,
    "log_loss": masked_neg_log_loss_scorer,
    "roc_auc": masked_roc_auc_scorer,
}


@unfinished
class TestSearch:
    def test_grid_search_takes_every_kind_of_parameter_into_processes(self, iris):
        X, y = iris
        pipe = Pipeline([("scale", StandardScaler()), ("snn", SNNClassifier(**{**SMALL, "max_epochs": 2}))])
        search = GridSearchCV(pipe, GRID, cv=2, n_jobs=2, error_score="raise", scoring="neg_log_loss")
        scores = search.fit(X, y).cv_results_["mean_test_score"]
        assert len(scores) == 4 + 2 + 2 + 2 + 2 + 1 + 1 + 1 + 2
        assert np.isfinite(scores).all() and len(set(scores)) == len(scores)  # every parameter matters
        assert search.predict(X).shape == y.shape

    def test_grid_search_in_processes_gives_what_a_serial_one_gives(self, iris):
        X, y = iris
        estimator = SNNClassifier(**SMALL, architecture=droppy_net)
        grid = {"lr": [0.01, 0.02]}
        scores = [
            GridSearchCV(estimator, grid, cv=2, n_jobs=n_jobs, scoring="neg_log_loss").fit(X, y).cv_results_
            for n_jobs in (None, 2)
        ]
        np.testing.assert_allclose(scores[0]["mean_test_score"], scores[1]["mean_test_score"], rtol=1e-5)

    def test_randomized_search_takes_lists_of_values(self, diabetes):
        space = {"n_layers": [1, 2, 3], "dropout": [0.0, 0.1], "loss": ["huber", "absolute_error"]}
        search = RandomizedSearchCV(
            SNNRegressor(**SMALL), space, n_iter=3, cv=2, random_state=0, error_score="raise"
        )
        assert np.isfinite(search.fit(*diabetes).best_score_)

    def test_successive_halving_raises_the_number_of_epochs(self, iris):
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401
        from sklearn.model_selection import HalvingGridSearchCV

        search = HalvingGridSearchCV(
            SNNClassifier(**SMALL),
            {"lr": [0.005, 0.02, 0.05]},
            resource="max_epochs",
            min_resources=3,
            max_resources=9,
            cv=2,
            random_state=0,
            error_score="raise",
        )
        assert search.fit(*iris).best_estimator_.n_iter_ == 9

    def test_impossible_values_in_a_grid_are_refused(self, iris):
        search = GridSearchCV(SNNClassifier(**SMALL), {"dropout": [1.0]}, cv=2, error_score="raise")
        with pytest.raises(ValueError, match="'dropout' parameter"):
            search.fit(*iris)

    @pytest.mark.parametrize("n_tasks", [1, 2, 3])
    def test_missing_labels_are_scored_alike_as_nan_and_as_minus_1(self, n_tasks, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1][:, :n_tasks])
        minus = np.where(np.isnan(Y), -1, Y).astype(int)

        def scores(y, cv, **params):
            estimator = SNNClassifier(**SMALL, **params)
            results = cross_validate(estimator, X, y, cv=cv, scoring=MASKED, error_score="raise")
            return {name: results["test_" + name] for name in MASKED}

        by_nan, by_hand = scores(Y, KFold(3)), {name: [] for name in MASKED}
        for train, test in KFold(3).split(X):
            fitted = SNNClassifier(**SMALL).fit(X[train], Y[train])
            for name, scorer in MASKED.items():
                by_hand[name].append(scorer(fitted, X[test], Y[test]))
        # One column with -1 has three classes for check_cv, which stratifies by them.
        others = [scores(minus, KFold(3), missing_label=-1), by_hand]
        others += [scores(minus, 3, missing_label=-1)] if n_tasks > 1 else []
        for name, other in itertools.product(MASKED, others):
            np.testing.assert_array_equal(by_nan[name], other[name])
        assert by_nan["roc_auc"].mean() > 0.6 and by_nan["log_loss"].mean() > -0.7
        if n_tasks == 1:
            assert np.isfinite(list(scores(minus, 5, missing_label=-1).values())).all()

    @pytest.mark.parametrize("scoring", [None, masked_roc_auc_scorer])
    def test_grid_search_scores_missing_labels_marked_either_way_alike(self, scoring, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])
        grid = {"dropout": [0.0, 0.05]}
        search = GridSearchCV(SNNClassifier(**SMALL), grid, cv=KFold(5), scoring=scoring, error_score="raise")
        search.fit(X, Y)
        minus = GridSearchCV(
            SNNClassifier(**SMALL, missing_label=-1), grid, cv=5, scoring=scoring, error_score="raise"
        ).fit(X, np.where(np.isnan(Y), -1, Y))
        np.testing.assert_array_equal(
            search.cv_results_["mean_test_score"], minus.cv_results_["mean_test_score"]
        )
        assert search.score(X, Y) > 0.2

    @pytest.mark.filterwarnings(NAN_IN_TYPE_OF_TARGET)
    def test_nan_labels_with_an_integer_cv_are_refused_by_scikit_learn(self, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])
        with pytest.raises(ValueError, match="NaN"):
            cross_val_score(SNNClassifier(**SMALL), X, Y, cv=5)

    def test_grid_search_takes_missing_regression_targets(self, diabetes):
        X, Y = diabetes[0], missing_at_random(np.column_stack([diabetes[1], diabetes[0][:, 2]]))
        search = GridSearchCV(SNNRegressor(**SMALL), {"lr": [0.01, 0.02]}, cv=KFold(3), error_score="raise")
        assert search.fit(X, Y).best_score_ > 0
