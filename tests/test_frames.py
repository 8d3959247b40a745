"""Frames and series of pandas and polars: their names, their columns and their labels."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import SMALL
from helpers import SKLEARN, missing_at_random, parameters
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from sksnn import SNNClassifier, SNNRegressor

# scikit-learn 1.6.1 reads no names from the frames of polars 2; 1.9.1 does.
polars_names = pytest.mark.skipif(
    parse_version("1.9") > SKLEARN, reason="this scikit-learn reads no polars names"
)


class TestFrames:
    @pytest.mark.parametrize("kind", ["pandas", pytest.param("polars", marks=polars_names)])
    def test_frames_from_an_upstream_step_give_the_fit_of_arrays(self, kind, iris):
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
    def test_integer_labels_of_every_kind_give_one_fit(self, wrap, iris):
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
    def test_string_labels_of_every_kind_give_one_fit(self, wrap, iris):
        X, y = iris
        names = np.array(["setosa", "versicolor", "virginica"])
        expected = SNNClassifier(**SMALL).fit(X, y)
        fitted = SNNClassifier(**SMALL).fit(X, wrap(names[y]))
        assert fitted.classes_.tolist() == names.tolist()
        np.testing.assert_array_equal(fitted.predict(X), names[expected.predict(X)])
        assert fitted.score(X, wrap(names[y])) == expected.score(X, y)

    @pytest.mark.parametrize("wrap", [pd.Series, lambda y: pd.Series(y, dtype="boolean"), pl.Series])
    def test_boolean_labels_of_every_kind_give_one_fit(self, wrap, cancer):
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
    def test_tasks_of_every_kind_give_one_fit(self, wrap, tasks):
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
    def test_one_nullable_column_of_labels_is_a_task(self, wrap, tasks):
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
    def test_several_targets_of_every_kind_give_one_fit(self, wrap, diabetes):
        X, Y = diabetes[0], missing_at_random(np.column_stack([diabetes[1], -diabetes[1]]))
        expected = SNNRegressor(**SMALL).fit(X, Y)
        fitted = SNNRegressor(**SMALL).fit(X, wrap(Y))
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))
        assert fitted.score(X, wrap(Y)) == expected.score(X, Y)

    @pytest.mark.parametrize("wrap", [pd.Series, pl.Series, torch.tensor, list])
    def test_one_target_of_every_kind_gives_one_fit(self, wrap, diabetes):
        X, y = diabetes
        expected = SNNRegressor(**SMALL).fit(X, y).predict(X)
        np.testing.assert_array_equal(SNNRegressor(**SMALL).fit(X, wrap(y)).predict(X), expected)

    def test_nullable_columns_of_x_are_numbers(self, cancer):
        X, y = cancer
        plain = pd.DataFrame({"a": X[:, 0].round(), "b": X[:, 1], "c": X[:, 2] > 80})
        nullable = plain.astype({"a": "Int64", "b": "Float64", "c": "boolean"})
        expected = SNNClassifier(**SMALL).fit(plain, y).predict_proba(plain)
        np.testing.assert_array_equal(
            SNNClassifier(**SMALL).fit(nullable, y).predict_proba(nullable), expected
        )
        plain.loc[3, "b"], nullable.loc[3, "b"] = np.nan, pd.NA
        expected = SNNClassifier(**SMALL).fit(plain, y).predict_proba(plain)
        np.testing.assert_array_equal(
            SNNClassifier(**SMALL).fit(nullable, y).predict_proba(nullable), expected
        )

    @pytest.mark.parametrize("bad", [np.inf, -np.inf])
    def test_columns_that_arrive_as_objects_are_checked_for_infinity(self, bad, cancer):
        X, y = cancer
        frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1] > 18})
        expected = SNNClassifier(**SMALL).fit(frame, y).predict_proba(frame)
        objects = frame.astype(object)
        np.testing.assert_allclose(
            SNNClassifier(**SMALL).fit(objects, y).predict_proba(objects), expected, rtol=1e-9
        )
        frame.loc[3, "a"] = bad
        for spoiled in (frame, frame.astype(object), frame.to_numpy(object)):
            with pytest.raises(ValueError, match="infinity"):
                SNNClassifier(**SMALL).fit(spoiled, y)

    def test_sparse_columns_of_pandas_are_sparse_rows(self, cancer):
        X, y = cancer
        X = np.where(X > np.median(X, axis=0), X, 0)
        frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X))
        expected = SNNClassifier(**SMALL).fit(sparse.csr_matrix(X), y).predict_proba(sparse.csr_matrix(X))
        np.testing.assert_allclose(
            SNNClassifier(**SMALL).fit(frame, y).predict_proba(frame), expected, rtol=1e-6
        )

    @pytest.mark.parametrize("wrap", [pd.Series, pl.Series, torch.tensor, list])
    def test_sample_weights_of_every_kind_give_one_fit(self, wrap, cancer, tasks):
        X, y = cancer
        weight = np.linspace(0, 2, len(y))
        expected = SNNClassifier(**SMALL).fit(X, y, weight)
        fitted = SNNClassifier(**SMALL).fit(X, y, sample_weight=wrap(weight))
        np.testing.assert_array_equal(parameters(fitted), parameters(expected))
        multitask = SNNClassifier(**SMALL).fit(*tasks, wrap(weight))
        score = multitask.score(*tasks, sample_weight=wrap(weight))
        assert score == multitask.score(*tasks, sample_weight=weight)
