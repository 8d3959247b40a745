"""The estimators inside what surrounds them: scikit-learn's tools, data containers, threads, generators."""

import itertools
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from conftest import SMALL
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    get_scorer,
    get_scorer_names,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.fixes import parse_version
from skorch.callbacks import EpochScoring, LRScheduler
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn.metrics import (
    masked_accuracy_scorer,
    masked_average_precision_score,
    masked_average_precision_scorer,
    masked_neg_log_loss_scorer,
    masked_roc_auc_score,
    masked_roc_auc_scorer,
)

# Five epochs on a part of 120 rows are not always enough; these tests are not about learning.
LEARNS_LITTLE = "ignore:the final training loss:sklearn.exceptions.ConvergenceWarning"
# scikit-learn's type_of_target casts NaN to integers before it refuses them.
NAN_IN_TYPE_OF_TARGET = "ignore:invalid value encountered in cast:RuntimeWarning"

SKLEARN = parse_version(parse_version(sklearn.__version__).base_version)


def droppy_net(n_inputs, n_outputs):
    """A module that draws from torch's global generator, both when built and when trained."""
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, n_outputs))


def parameters(estimator):
    """All weights of a fitted estimator, in one vector."""
    return np.concatenate(
        [p.detach().numpy().ravel().astype(np.float64) for p in estimator.net_.module_.parameters()]
    )


def missing_at_random(Y, share=0.3, label=np.nan):
    return np.where(np.random.RandomState(0).rand(*Y.shape) < share, label, Y)


# ------------------------------------------------------------ metadata routing


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

    def test_sample_weight_through_a_pipeline(self, iris, weight):
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
    def test_sample_weight_through_cross_validation_and_search(self, iris, weight, score_weight):
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


# ------------------------------------------------------------ frames and other containers


# 1.6.1 reads no names from the frames of polars 2; 1.9.1 does.
polars_names = pytest.mark.skipif(
    parse_version("1.9") > SKLEARN, reason="this scikit-learn reads no polars names"
)


class TestFrames:
    @pytest.mark.parametrize("kind", ["pandas", pytest.param("polars", marks=polars_names)])
    def test_frames_from_an_upstream_step(self, kind, iris):
        X, y = iris
        frame = pd.DataFrame(X, columns=list("abcd"))
        frame = frame if kind == "pandas" else pl.from_pandas(frame)
        pipe = make_pipeline(StandardScaler().set_output(transform=kind), SNNClassifier(**SMALL))
        pipe.fit(frame, y)
        assert pipe[-1].feature_names_in_.tolist() == list("abcd")
        plain = make_pipeline(StandardScaler(), SNNClassifier(**SMALL)).fit(X, y)
        # Not bit for bit: a frame is in Fortran order, and sums in another order round differently.
        np.testing.assert_allclose(pipe.predict_proba(frame), plain.predict_proba(X), rtol=1e-9)

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(pd.DataFrame, id="pandas"),
            pytest.param(pl.DataFrame, id="polars", marks=polars_names),
        ],
    )
    @pytest.mark.parametrize("estimator", [SNNClassifier(**SMALL), SNNRegressor(**SMALL)], ids=repr)
    def test_names_are_checked_when_predicting(self, make, estimator, iris):
        X, y = iris
        fitted = clone(estimator).fit(make({name: X[:, i] for i, name in enumerate("abcd")}), y)
        for names, what in (("abce", "unseen at fit time:\n- e"), ("bacd", "same order")):
            wrong = make({name: X[:, i] for i, name in enumerate(names)})
            with pytest.raises(ValueError, match=f"feature names should match.*\n*.*{what}"):
                fitted.predict(wrong)
        with pytest.raises(ValueError, match="feature names should match"):
            fitted.predict(make({name: X[:, i] for i, name in enumerate("abc")}))
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            fitted.predict(X)
        with pytest.raises(ValueError, match="feature names should match"):
            fitted.partial_fit(make({name: X[:, i] for i, name in enumerate("bacd")}), y)

    def test_validation_frame_with_other_names_is_an_error(self, iris):
        X, y = iris
        frame = pd.DataFrame(X, columns=list("abcd"))
        with pytest.raises(ValueError, match="feature names should match"):
            SNNClassifier(**SMALL).fit(frame, y, X_val=frame[list("bacd")], y_val=y)

    def test_a_refit_without_names_forgets_them(self, iris):
        X, y = iris
        fitted = SNNClassifier(**SMALL).fit(pd.DataFrame(X, columns=list("abcd")), y).fit(X, y)
        assert not hasattr(fitted, "feature_names_in_")
        fitted.predict(X)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda y: pd.Series(y),
            lambda y: pd.Series(y, dtype="Int64"),
            lambda y: pl.Series(y),
            lambda y: torch.tensor(y),
            lambda y: y.tolist(),
            lambda y: y.astype(np.int8),
            lambda y: y.astype(np.float32),
            lambda y: y.astype(object),
            lambda y: y.astype(">i4"),
        ],
    )
    def test_kinds_of_integer_labels(self, wrap, iris):
        X, y = iris
        expected = SNNClassifier(**SMALL).fit(X, y)
        fitted = SNNClassifier(**SMALL).fit(X, wrap(y))
        np.testing.assert_array_equal(fitted.classes_, [0, 1, 2])
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))
        np.testing.assert_array_equal(parameters(fitted), parameters(expected))
        assert fitted.score(X, wrap(y)) == expected.score(X, y)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda y: pd.Series(y, dtype="category"),
            lambda y: pd.Categorical(y, categories=["virginica", "setosa", "versicolor", "unused"]),
            lambda y: pd.Series(y, dtype="string"),
            lambda y: pd.Series(y, dtype=object),
            lambda y: pl.Series(y.tolist()),
            lambda y: pl.Series(y.tolist(), dtype=pl.Categorical),
            lambda y: pl.Series(y.tolist(), dtype=pl.Enum(["versicolor", "setosa", "virginica"])),
            lambda y: y.astype(object),
            lambda y: y.tolist(),
        ],
    )
    def test_kinds_of_string_labels(self, wrap, iris):
        X, y = iris
        names = np.array(["setosa", "versicolor", "virginica"])
        expected = SNNClassifier(**SMALL).fit(X, y)
        fitted = SNNClassifier(**SMALL).fit(X, wrap(names[y]))
        assert fitted.classes_.tolist() == names.tolist()
        np.testing.assert_array_equal(fitted.predict(X), names[expected.predict(X)])
        assert fitted.score(X, wrap(names[y])) == expected.score(X, y)

    @pytest.mark.parametrize("wrap", [pd.Series, lambda y: pd.Series(y, dtype="boolean"), pl.Series])
    def test_kinds_of_boolean_labels(self, wrap, cancer):
        X, y = cancer[0], cancer[1] == 1
        fitted = SNNClassifier(**SMALL).fit(X, wrap(y))
        assert fitted.classes_.dtype == bool and fitted.predict(X).dtype == bool
        np.testing.assert_array_equal(fitted.predict(X), SNNClassifier(**SMALL).fit(X, y).predict(X))

    @pytest.mark.parametrize(
        "wrap",
        [
            pd.DataFrame,
            lambda Y: pd.DataFrame(Y).astype("Float64"),
            lambda Y: pd.DataFrame(Y).astype("Int64"),
            lambda Y: pd.DataFrame(Y).astype("boolean"),
            lambda Y: pl.DataFrame(Y, schema=["a", "b", "c"]).fill_nan(None),
            lambda Y: torch.tensor(Y),
            lambda Y: Y.tolist(),
            lambda Y: Y.astype(np.float16),
        ],
    )
    def test_kinds_of_tasks_with_missing_labels(self, wrap, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])
        expected = SNNClassifier(**SMALL).fit(X, Y)
        fitted = SNNClassifier(**SMALL).fit(X, wrap(Y))
        np.testing.assert_array_equal(parameters(fitted), parameters(expected))
        assert fitted.score(X, wrap(Y)) == expected.score(X, Y)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda Y: pd.DataFrame(Y).astype("Int64"),
            lambda Y: pl.DataFrame(Y, schema=["a"]).fill_nan(None),
        ],
    )
    def test_one_nullable_task(self, wrap, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])[:, :1]
        fitted = SNNClassifier(**SMALL).fit(X, wrap(Y))
        np.testing.assert_array_equal(parameters(fitted), parameters(SNNClassifier(**SMALL).fit(X, Y)))
        assert fitted.predict_proba(X).shape == (len(X), 1)

    @pytest.mark.parametrize(
        "wrap",
        [
            pd.DataFrame,
            lambda Y: pd.DataFrame(Y).astype("Float64"),
            lambda Y: pl.DataFrame(Y, schema=["a", "b"]).fill_nan(None),
            torch.tensor,
        ],
    )
    def test_kinds_of_regression_targets(self, wrap, diabetes):
        X, Y = diabetes[0], missing_at_random(np.column_stack([diabetes[1], -diabetes[1]]))
        expected = SNNRegressor(**SMALL).fit(X, Y)
        fitted = SNNRegressor(**SMALL).fit(X, wrap(Y))
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))
        assert fitted.score(X, wrap(Y)) == expected.score(X, Y)

    @pytest.mark.parametrize("wrap", [pd.Series, pl.Series, torch.tensor, list])
    def test_kinds_of_one_regression_target(self, wrap, diabetes):
        X, y = diabetes
        expected = SNNRegressor(**SMALL).fit(X, y).predict(X)
        np.testing.assert_array_equal(SNNRegressor(**SMALL).fit(X, wrap(y)).predict(X), expected)

    def test_nullable_columns_of_x(self, cancer):
        X, y = cancer
        plain = pd.DataFrame({"a": X[:, 0].round(), "b": X[:, 1], "c": X[:, 2] > 80})
        nullable = plain.astype({"a": "Int64", "b": "Float64", "c": "boolean"})
        expected = SNNClassifier(**SMALL).fit(plain, y).predict_proba(plain)
        np.testing.assert_array_equal(
            SNNClassifier(**SMALL).fit(nullable, y).predict_proba(nullable), expected
        )
        nullable.loc[3, "b"] = pd.NA
        with pytest.raises(ValueError, match=r"SimpleImputer\(add_indicator=True\)"):
            SNNClassifier(**SMALL).fit(nullable, y)

    @pytest.mark.parametrize("dtype", ["str", "category", "object", "string"])
    def test_categorical_columns_of_x_name_the_encoder(self, dtype, cancer):
        X, y = cancer
        frame = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 18, "high", "low")}).astype({"b": dtype})
        for columns in (["a", "b"], ["b"]):
            with pytest.raises(ValueError, match="OneHotEncoder"):
                SNNClassifier(**SMALL).fit(frame[columns], y)
        fitted = SNNClassifier(**SMALL).fit(frame.assign(b=X[:, 1]), y)
        with pytest.raises(ValueError, match="OneHotEncoder"):
            fitted.predict(frame)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_columns_that_arrive_as_objects_are_checked_for_finite_values(self, bad, cancer):
        X, y = cancer
        frame = pd.DataFrame({"a": X[:, 0], "b": pd.Categorical((X[:, 1] > 18).astype(int))})
        plain = frame.astype({"b": float})
        expected = SNNClassifier(**SMALL).fit(plain, y).predict_proba(plain)
        np.testing.assert_allclose(
            SNNClassifier(**SMALL).fit(frame, y).predict_proba(frame), expected, rtol=1e-9
        )
        frame.loc[3, "a"] = bad
        with pytest.raises(ValueError, match="NaN|infinity"):
            SNNClassifier(**SMALL).fit(frame, y)
        with pytest.raises(ValueError, match="NaN|infinity"):
            SNNClassifier(**SMALL).fit(frame.astype(object), y)

    def test_pandas_sparse_columns(self, cancer):
        X, y = cancer
        X = np.where(X > np.median(X, axis=0), X, 0)
        frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X))
        expected = SNNClassifier(**SMALL).fit(sparse.csr_matrix(X), y).predict_proba(sparse.csr_matrix(X))
        np.testing.assert_allclose(
            SNNClassifier(**SMALL).fit(frame, y).predict_proba(frame), expected, rtol=1e-6
        )

    @pytest.mark.parametrize("wrap", [pd.Series, pl.Series, torch.tensor, list])
    def test_kinds_of_sample_weights(self, wrap, cancer, tasks):
        X, y = cancer
        weight = np.linspace(0, 2, len(y))
        expected = SNNClassifier(**SMALL).fit(X, y, weight)
        fitted = SNNClassifier(**SMALL).fit(X, y, sample_weight=wrap(weight))
        np.testing.assert_array_equal(parameters(fitted), parameters(expected))
        multitask = SNNClassifier(**SMALL).fit(*tasks, wrap(weight))
        score = multitask.score(*tasks, sample_weight=wrap(weight))
        assert score == multitask.score(*tasks, sample_weight=weight)


def _memmap(X, tmp_path):
    joblib.dump(X, tmp_path / "X.joblib")
    return joblib.load(tmp_path / "X.joblib", mmap_mode="r")


def _read_only(X, _):
    X = X.copy()
    X.setflags(write=False)
    return X


def _strided(X, _):
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


LAYOUTS = {
    "fortran": lambda X, _: np.asfortranarray(X),
    "memmap": _memmap,
    "read_only": _read_only,
    "read_only_float32": lambda X, _: _read_only(X.astype(np.float32), _),
    "negative_strides": lambda X, _: X[::-1, ::-1].copy()[::-1, ::-1],
    "negative_strides_float32": lambda X, _: X[::-1, ::-1].astype(np.float32)[::-1, ::-1],
    "strided": _strided,
    "list": lambda X, _: X.tolist(),
    "object": lambda X, _: X.astype(object),
    "big_endian": lambda X, _: X.astype(">f8"),
    "big_endian_float32": lambda X, _: X.astype(">f4"),
    "long_double": lambda X, _: X.astype(np.longdouble),
    "torch": lambda X, _: torch.tensor(X),
    "torch_requires_grad": lambda X, _: torch.tensor(X, requires_grad=True),
    "torch_float32": lambda X, _: torch.tensor(X, dtype=torch.float32),
    "torch_transposed": lambda X, _: torch.tensor(X.T.copy()).T,
    "pandas": lambda X, _: pd.DataFrame(X),
    "pandas_float32": lambda X, _: pd.DataFrame(X).astype("float32"),
    "polars": lambda X, _: pl.DataFrame(X, schema=list("abcdefgh")),
}


class TestArrays:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts_of_dense_rows(self, layout, cancer, tmp_path):
        X, y = cancer
        expected = SNNClassifier(**SMALL).fit(X, y).predict_proba(X)
        other = LAYOUTS[layout](X, tmp_path)
        fitted = SNNClassifier(**SMALL).fit(other, y)
        np.testing.assert_allclose(fitted.predict_proba(other), expected, rtol=1e-3, atol=1e-5)
        if "32" not in layout:
            np.testing.assert_allclose(fitted.predict_proba(other), expected, rtol=1e-9)

    @pytest.mark.parametrize("layout", ["memmap", "read_only", "torch_requires_grad", "fortran"])
    @pytest.mark.parametrize("standardize", [True, False])
    def test_rows_handed_in_stay_as_they_are(self, layout, standardize, diabetes, tmp_path):
        X, y = diabetes
        before, other = X.copy(), LAYOUTS[layout](X, tmp_path)
        SNNRegressor(**SMALL, standardize=standardize).fit(other, y).predict(other)
        after = other.detach().numpy() if torch.is_tensor(other) else other
        np.testing.assert_array_equal(after, before)

    @pytest.mark.parametrize(
        "dtype",
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split(),
    )
    @pytest.mark.parametrize("estimator", [SNNClassifier(**SMALL), SNNRegressor(**SMALL)], ids=repr)
    def test_numeric_dtypes(self, dtype, estimator, iris):
        X, y = iris
        X = X > np.median(X, axis=0) if dtype == "bool" else (10 * X).round()
        expected = clone(estimator).fit(X.astype(np.float64), y).predict(X.astype(np.float64))
        fitted = clone(estimator).fit(X.astype(dtype), y)
        np.testing.assert_allclose(fitted.predict(X.astype(dtype)), expected, rtol=1e-3, atol=1e-5)
        # Rows of one type at fit may come as another later.
        np.testing.assert_allclose(fitted.predict(X.astype(np.float64)), expected, rtol=1e-9)

    @pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float16"])
    def test_torch_dtypes(self, dtype, iris):
        X, y = iris
        X = X > 3 if dtype == "bool" else (10 * X).round()
        tensor = torch.tensor(X).to(getattr(torch, dtype))
        expected = SNNClassifier(**SMALL).fit(X.astype(float), y).predict_proba(X.astype(float))
        fitted = SNNClassifier(**SMALL).fit(tensor, torch.tensor(y))
        np.testing.assert_allclose(fitted.predict_proba(tensor), expected, rtol=1e-9)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8", "bool", "longdouble"])
    @pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"])
    def test_sparse_forms(self, form, dtype, cancer):
        X, y = cancer
        X = np.where(X > np.median(X, axis=0), X.round() % 200, 0)
        X = (X > 0 if dtype == "bool" else X).astype(dtype)
        reference = sparse.csr_matrix(X.astype(np.float64))
        expected = SNNClassifier(**SMALL).fit(reference, y).predict_proba(reference)
        other = getattr(sparse, form)(X)
        fitted = SNNClassifier(**SMALL).fit(other, y)
        np.testing.assert_allclose(fitted.predict_proba(other), expected, rtol=2e-3, atol=1e-5)

    @pytest.mark.parametrize("estimator", [SNNClassifier(**SMALL), SNNRegressor(**SMALL)], ids=repr)
    def test_sparse_rows_are_the_dense_ones_without_standardisation_and_codes(self, estimator, iris):
        X, y = iris
        estimator = clone(estimator).set_params(standardize=False, encoding=None)
        dense = clone(estimator).fit(X, y)
        scarce = clone(estimator).fit(sparse.csr_matrix(X), y)
        np.testing.assert_allclose(scarce.predict(X), dense.predict(X), rtol=1e-5)
        np.testing.assert_allclose(scarce.predict(sparse.csc_matrix(X)), scarce.predict(X), rtol=1e-9)

    @pytest.mark.filterwarnings(LEARNS_LITTLE)
    def test_sparse_rows_of_unsorted_and_repeated_indices(self, iris):
        X, y = iris
        csr = sparse.csr_matrix(X)
        # Every entry twice, halved, each row from right to left.
        turned = csr[:, ::-1]
        columns = X.shape[1] - 1 - turned.indices
        messy = sparse.csr_matrix((turned.data, columns, turned.indptr), shape=X.shape)
        messy = sparse.csr_matrix(
            (np.repeat(messy.data / 2, 2), np.repeat(messy.indices, 2), 2 * messy.indptr), shape=X.shape
        )
        np.testing.assert_allclose(messy.toarray(), X)
        expected = SNNClassifier(**SMALL).fit(csr, y).predict_proba(csr)
        for form in ("csr", "csc", "coo"):
            other = messy.copy().asformat(form)
            fitted = SNNClassifier(**SMALL).fit(other, y)
            np.testing.assert_allclose(fitted.predict_proba(other), expected, rtol=1e-6)

    def test_sparse_rows_train_in_every_mode(self, tasks):
        X, Y = sparse.csr_matrix(tasks[0]), missing_at_random(tasks[1])
        SNNClassifier(**SMALL, early_stopping=True).fit(X, Y)
        fitted = SNNClassifier(**SMALL).fit(X, Y, np.linspace(0, 1, len(Y)))
        assert np.isfinite(fitted.partial_fit(X, Y).predict_proba(X)).all()
        with_rows = SNNClassifier(**SMALL).fit(X, Y, X_val=X.tocsc(), y_val=Y)
        assert len(with_rows.validation_loss_curve_) == SMALL["max_epochs"]

    def test_predictions_do_not_depend_on_the_rows_beside(self, cancer):
        X, y = cancer
        fitted = SNNClassifier(**SMALL).fit(X, y)
        for rows in (X, sparse.csr_matrix(X), torch.tensor(X)):
            whole = fitted.predict_proba(rows)
            np.testing.assert_allclose(
                np.concatenate([fitted.predict_proba(rows[i : i + 7]) for i in range(0, len(y), 7)]),
                whole,
                rtol=1e-9,
            )


# ------------------------------------------------------------ scikit-learn's tools

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


@pytest.mark.filterwarnings(LEARNS_LITTLE)
class TestSearch:
    def test_grid_search_in_two_processes(self, iris):
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

    def test_randomized_search(self, diabetes):
        space = {"n_layers": [1, 2, 3], "dropout": [0.0, 0.1], "loss": ["huber", "absolute_error"]}
        search = RandomizedSearchCV(
            SNNRegressor(**SMALL), space, n_iter=3, cv=2, random_state=0, error_score="raise"
        )
        assert np.isfinite(search.fit(*diabetes).best_score_)

    def test_successive_halving_over_epochs(self, iris):
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
    def test_missing_labels_with_kfold_or_minus_one(self, n_tasks, tasks):
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
    def test_grid_search_over_missing_labels(self, scoring, tasks):
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

    def test_searching_missing_regression_targets(self, diabetes):
        X, Y = diabetes[0], missing_at_random(np.column_stack([diabetes[1], diabetes[0][:, 2]]))
        search = GridSearchCV(SNNRegressor(**SMALL), {"lr": [0.01, 0.02]}, cv=KFold(3), error_score="raise")
        assert search.fit(X, Y).best_score_ > 0


@pytest.mark.filterwarnings(LEARNS_LITTLE)
class TestMetaEstimators:
    def test_cross_val_predict_of_one_target(self, iris, diabetes):
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
    def test_cross_val_predict_of_missing_labels_names_itself(self, method, label, tasks):
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

    def test_cross_val_predict_of_missing_labels_by_predict(self, tasks):
        X, Y = tasks[0], missing_at_random(tasks[1])
        assert cross_val_predict(SNNClassifier(**SMALL), X, Y, cv=KFold(3)).shape == Y.shape

    @pytest.mark.skipif(parse_version("1.8") > SKLEARN, reason="method='temperature' came with 1.8")
    @pytest.mark.parametrize("data", ["iris", "cancer"])
    def test_temperature_calibration(self, data, request):
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
    def test_calibration(self, method, cancer):
        X, y = cancer
        calibrated = CalibratedClassifierCV(SNNClassifier(**SMALL), method=method, cv=2).fit(X, y)
        assert calibrated.score(X, y) > 0.8

    def test_transformed_target(self, diabetes):
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
    def test_ensembles(self, outer, iris):
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

    def test_one_net_an_output(self, tasks):
        X, Y = tasks
        outer = MultiOutputClassifier(SNNClassifier(**SMALL)).fit(X, Y)
        assert outer.predict(X).shape == Y.shape and outer.score(X, Y) > 0.3
        for i, proba in enumerate(outer.predict_proba(X)):
            expected = SNNClassifier(**SMALL).fit(X, Y[:, i]).predict_proba(X)
            np.testing.assert_array_equal(proba, expected)

    def test_self_training(self, iris):
        X, y = iris
        partly = np.where(np.random.RandomState(0).rand(len(y)) < 0.5, -1, y)
        estimator = SNNClassifier(**{**SMALL, "max_epochs": 15})
        outer = SelfTrainingClassifier(estimator, threshold=0.8, max_iter=2).fit(X, partly)
        assert outer.score(X, y) > 0.7 and set(outer.classes_) == {0, 1, 2}
        assert (outer.labeled_iter_ > 0).any()

    def test_importance_and_curves(self, cancer):
        X, y = cancer
        fitted = SNNClassifier(**SMALL).fit(X, y)
        importance = permutation_importance(fitted, X, y, n_repeats=2, random_state=0)
        assert importance.importances_mean.shape == (X.shape[1],)
        assert importance.importances_mean.max() > 0
        sizes, train, test = learning_curve(
            SNNClassifier(**SMALL), X, y, train_sizes=[0.5, 1.0], cv=2, error_score="raise"
        )
        assert np.isfinite([train, test]).all()

    def test_learning_curve_by_partial_fit(self, cancer):
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

    def test_displays(self, cancer):
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


class TestParameters:
    @pytest.mark.parametrize("cls", [SNNClassifier, SNNRegressor])
    def test_get_and_set(self, cls):
        estimator = cls(**SMALL)
        params = estimator.get_params()
        assert set(SMALL) <= set(params)
        assert cls(**params).get_params().keys() == params.keys()
        assert estimator.set_params(lr=0.5, n_layers=7) is estimator
        assert estimator.get_params()["lr"] == 0.5
        with pytest.raises(ValueError, match="Invalid parameter 'width'"):
            estimator.set_params(width=3)

    def test_fit_and_failures_leave_parameters_alone(self, iris):
        X, y = iris
        estimator = SNNClassifier(**SMALL, callbacks=[EpochScoring("accuracy", on_train=True)], device="auto")
        before = {name: id(value) for name, value in estimator.get_params(deep=False).items()}
        estimator.fit(X, y).predict(X)
        assert {name: id(value) for name, value in estimator.get_params(deep=False).items()} == before

    def test_clone_with_callbacks(self, iris):
        X, y = iris
        callbacks = [
            ("accuracy", EpochScoring("accuracy", on_train=True, name="train_acc")),
            LRScheduler("StepLR", step_size=2),
        ]
        estimator = SNNClassifier(**SMALL, callbacks=callbacks, lr_schedule="constant")
        fitted = clone(estimator).fit(X, y)
        copy = clone(fitted)
        assert not hasattr(copy, "net_") and len(copy.callbacks) == 2
        np.testing.assert_array_equal(parameters(copy.fit(X, y)), parameters(fitted))
        assert len(fitted.net_.history[:, "train_acc"]) == SMALL["max_epochs"]
        scores = cross_val_score(estimator, X, y, cv=2, n_jobs=2, error_score="raise")
        assert np.isfinite(scores).all()

    def test_set_params_after_fit_does_not_disturb_prediction(self, iris):
        X, y = iris
        fitted = SNNClassifier(**SMALL).fit(X, y)
        before = fitted.predict_proba(X)
        fitted.set_params(n_layers=5, dropout=0.3, architecture=droppy_net, hidden_layer_sizes=(3,), lr=9.0)
        np.testing.assert_array_equal(fitted.predict_proba(X), before)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), before)

    def test_html_and_text(self, iris):
        estimator = SNNClassifier(**SMALL, architecture=droppy_net)
        for shown in (estimator, clone(estimator).fit(*iris), make_pipeline(StandardScaler(), estimator)):
            assert "SNNClassifier" in repr(shown)
            html = shown._repr_html_()
            assert "SNNClassifier" in html and "n_units" in html
        assert repr(SNNRegressor(lr=0.5)) == "SNNRegressor(lr=0.5)"


# ------------------------------------------------------------ scikit-learn's scorers on tasks


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


@pytest.mark.filterwarnings(LEARNS_LITTLE)
class TestScorers:
    """Labels of the scored rows are complete; for one task they are missing in the training rows."""

    @pytest.fixture(params=[1, 2, 3])
    def fitted(self, request, tasks):
        X, Y = tasks[0], tasks[1][:, : request.param]
        train = missing_at_random(Y) if request.param == 1 else Y
        # Few epochs, so that the scores are neither 0 nor 1.
        return SNNClassifier(**{**SMALL, "max_epochs": 2, "lr": 0.005}).fit(X, train), X, Y

    @pytest.mark.parametrize("name", [name for name in DIRECT if name in get_scorer_names()])
    def test_named_scorers(self, name, fitted):
        estimator, X, Y = fitted
        expected = None
        try:
            value = get_scorer(name)(estimator, X, Y)
        except ValueError:
            assert name in ("f1", "roc_auc_ovo", "roc_auc_ovr", "neg_hamming_loss"), "this one could be right"
            return
        expected = DIRECT[name](Y, estimator, X)
        assert value == pytest.approx(expected, rel=1e-9)

    def test_log_loss(self, fitted):
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

    def test_within_cross_validation_and_search(self, fitted):
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

    def test_direct_metrics_on_one_task(self, tasks):
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
    def test_scorers_of_one_target(self, n_classes, iris):
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


# ------------------------------------------------------------ threads and processes


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _fitted_parameters(seed, X, y):
    torch.set_num_threads(1)
    return parameters(SNNClassifier(**{**SMALL, "random_state": seed, "dropout": 0.1}).fit(X, y))


class TestParallel:
    @pytest.mark.parametrize("kind", ["float64", "float32", "sparse", "callable"])
    def test_eight_threads_predict_alike(self, kind, cancer):
        X, y = cancer
        fitted = SNNClassifier(**SMALL, architecture=droppy_net if kind == "callable" else "snn").fit(X, y)
        rows = {"float32": X.astype(np.float32), "sparse": sparse.csr_matrix(X)}.get(kind, X)
        expected = pickle.loads(pickle.dumps(fitted)).predict_proba(rows)
        start = threading.Barrier(8)

        def predict(_):
            start.wait()  # all meet before the cached float64 weights exist
            return [fitted.predict_proba(rows) for _ in range(10)]

        with ThreadPoolExecutor(8) as pool:
            for results in pool.map(predict, range(8)):
                for result in results:
                    np.testing.assert_array_equal(result, expected)

    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_fits_in_parallel_are_those_in_series(self, backend, iris, one_thread):
        expected = [_fitted_parameters(seed, *iris) for seed in range(4)]
        jobs = (joblib.delayed(_fitted_parameters)(seed, *iris) for seed in range(4))
        for got, want in zip(joblib.Parallel(2, backend=backend)(jobs), expected, strict=True):
            np.testing.assert_array_equal(got, want)

    def test_fitted_estimators_travel_between_processes(self, iris):
        X, y = iris
        fitted = SNNClassifier(**SMALL, architecture=lambda i, o: nn.Linear(i, o)).fit(X, y)
        results = joblib.Parallel(2)(joblib.delayed(fitted.predict_proba)(X) for _ in range(2))
        for result in results:
            np.testing.assert_allclose(result, fitted.predict_proba(X), rtol=1e-9)


# ------------------------------------------------------------ random states


def _global_states():
    numpy_state = np.random.get_state()
    return [torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2]]


@pytest.mark.parametrize("architecture", ["snn", droppy_net], ids=["named", "callable"])
class TestRandomness:
    def make(self, architecture, **params):
        return SNNClassifier(**{**SMALL, "architecture": architecture, "dropout": 0.1, **params})

    @pytest.mark.parametrize("seed", [0, None])
    def test_global_generators_stay(self, architecture, seed, iris):
        X, y = iris
        before = _global_states()
        fitted = self.make(architecture, random_state=seed, early_stopping=True).fit(X, y)
        assert _global_states() == before
        fitted.predict_proba(X), fitted.predict(X.astype(np.float32)), fitted.score(X, y)
        assert _global_states() == before
        pickle.loads(pickle.dumps(fitted)).predict(X)
        assert _global_states() == before
        self.make(architecture, random_state=seed).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
        assert _global_states() == before
        warm = self.make(architecture, random_state=seed, warm_start=True).fit(X, y).fit(X, y)
        assert _global_states() == before
        clone(warm), repr(warm)
        assert _global_states() == before

    def test_global_generators_stay_after_an_error(self, architecture, iris):
        X, y = iris
        before = _global_states()
        with pytest.raises(ValueError, match="not finite"):
            self.make(architecture, lr=1e38, optimizer="sgd", lr_schedule="constant").fit(1e3 * X**9, y)
        assert _global_states() == before

    def test_global_generators_do_not_matter(self, architecture, iris):
        X, y = iris
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
        try:
            fits = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                np.random.seed(seed)
                fits.append(parameters(self.make(architecture).fit(X, y)))
        finally:
            torch.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
        np.testing.assert_array_equal(*fits)

    def test_one_seed_one_fit(self, architecture, iris):
        X, y = iris
        for params in ({}, {"early_stopping": True}, {"random_state": 7}):
            first = self.make(architecture, **params).fit(X, y)
            second = self.make(architecture, **params).fit(X, y)
            np.testing.assert_array_equal(parameters(first), parameters(second))
            assert first.loss_curve_ == second.loss_curve_
            np.testing.assert_array_equal(parameters(first.fit(X, y)), parameters(second))  # a refit
        other = self.make(architecture, random_state=1).fit(X, y)
        assert not np.array_equal(parameters(first), parameters(other))

    def test_random_state_instance(self, architecture, iris):
        X, y = iris
        state = np.random.RandomState(3)
        fits = [self.make(architecture, random_state=state).fit(X, y) for _ in range(2)]
        assert not np.array_equal(parameters(fits[0]), parameters(fits[1]))  # it moves on
        again = self.make(architecture, random_state=np.random.RandomState(3)).fit(X, y)
        np.testing.assert_array_equal(parameters(fits[0]), parameters(again))

    def test_no_random_state(self, architecture, iris):
        X, y = iris
        first, second = (self.make(architecture, random_state=None).fit(X, y) for _ in range(2))
        assert not np.array_equal(parameters(first), parameters(second))

    def test_generators_go_on_after_a_pickle(self, architecture, iris):
        X, y = iris
        stays = self.make(architecture, warm_start=True).fit(X, y)
        travels = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(stays))))
        np.testing.assert_array_equal(parameters(stays.fit(X, y)), parameters(travels.fit(X, y)))
        stays = self.make(architecture).partial_fit(X, y, classes=[0, 1, 2])
        travels = pickle.loads(pickle.dumps(stays))
        np.testing.assert_array_equal(
            parameters(stays.partial_fit(X, y)), parameters(travels.partial_fit(X, y))
        )


def test_import_leaves_warnings_alone():
    filters = list(warnings.filters)
    import sksnn  # noqa: F401

    assert warnings.filters == filters
