"""Arrays, tensors and sparse matrices of every layout and dtype hold the same rows."""

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import SMALL, X, Y, unfinished
from helpers import missing_at_random
from scipy import sparse
from sklearn.base import clone

from sksnn import SNNClassifier, SNNRegressor


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
    def test_dense_rows_of_every_layout_give_one_fit(self, layout, cancer, tmp_path):
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
    def test_every_numeric_dtype_gives_the_fit_of_float64(self, dtype, estimator, iris):
        X, y = iris
        X = X > np.median(X, axis=0) if dtype == "bool" else (10 * X).round()
        expected = clone(estimator).fit(X.astype(np.float64), y).predict(X.astype(np.float64))
        fitted = clone(estimator).fit(X.astype(dtype), y)
        np.testing.assert_allclose(fitted.predict(X.astype(dtype)), expected, rtol=1e-3, atol=1e-5)
        # Rows of one type at fit may come as another later.
        np.testing.assert_allclose(fitted.predict(X.astype(np.float64)), expected, rtol=1e-9)

    @pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float16"])
    def test_tensors_of_every_dtype_give_the_fit_of_float64(self, dtype, iris):
        X, y = iris
        X = X > 3 if dtype == "bool" else (10 * X).round()
        tensor = torch.tensor(X).to(getattr(torch, dtype))
        expected = SNNClassifier(**SMALL).fit(X.astype(float), y).predict_proba(X.astype(float))
        fitted = SNNClassifier(**SMALL).fit(tensor, torch.tensor(y))
        np.testing.assert_allclose(fitted.predict_proba(tensor), expected, rtol=1e-9)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8", "bool", "longdouble"])
    @pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"])
    def test_every_sparse_form_and_dtype_gives_one_fit(self, form, dtype, cancer):
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

    @unfinished
    def test_unsorted_and_repeated_indices_change_nothing(self, iris):
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


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_byte_order_of_numbers_changes_nothing(dtype):
    native, foreign = X.astype("=" + dtype), X.astype(">" + dtype).copy()
    models = [SNNClassifier(**SMALL).fit(rows, Y) for rows in (native, foreign)]
    probabilities = [model.predict_proba(rows) for model in models for rows in (native, foreign)]
    for other in probabilities[1:]:
        np.testing.assert_array_equal(other, probabilities[0])
