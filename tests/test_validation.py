"""What users may hand in, and what each refusal says."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning

from sksnn._rows import Table
from sksnn._validation import (
    check_inputs,
    check_labels,
    check_same_length,
    check_targets,
    check_task_labels,
    check_weights,
    encode_labels,
)

NAN = np.nan
TASKS = [[0.0, 1.0], [NAN, 0.0], [1.0, NAN]]


class Estimator(BaseEstimator):
    pass


def raises(message, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


# ---------------------------------------------------------------- X

READABLE = {
    "list": ([[1, 2], [3, 4]], np.int64),
    "bool": (np.array([[1, 2], [3, 4]]) > 2, bool),
    "uint8": (np.array([[1, 2], [3, 4]], np.uint8), np.uint8),
    "float16": (np.array([[1, 2], [3, 4]], np.float16), np.float64),
    "float32": (np.array([[1, 2], [3, 4]], np.float32), np.float32),
    "longdouble": (np.array([[1, 2], [3, 4]], np.longdouble), np.float64),
    "objects": (np.array([[1, 2], [3, 4]], object), np.float64),
    "pandas": (pd.DataFrame({"a": [1, 3], "b": [2.0, 4.0]}), np.float64),
    "nullable": (pd.DataFrame({"a": [1, 3], "b": [2, 4]}, dtype="Int64"), np.float64),
    "polars": (pl.DataFrame({"a": [1, 3], "b": [2.0, 4.0]}), np.float64),
    "torch": (torch.tensor([[1.0, 2], [3, 4]], requires_grad=True), np.float32),
}


@pytest.mark.parametrize(("X", "dtype"), READABLE.values(), ids=READABLE)
def test_inputs_keep_their_numbers(X, dtype):
    estimator = Estimator()
    checked = check_inputs(estimator, X, reset=True)
    assert isinstance(checked, np.ndarray)
    assert checked.dtype == dtype
    assert estimator.n_features_in_ == 2
    expected = X.detach().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)
    assert_array_equal(checked, expected.astype(dtype))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array])
def test_sparse_inputs_become_csr(form):
    checked = check_inputs(Estimator(), form(np.eye(3)), reset=True)
    assert checked.format == "csr"
    assert_array_equal(checked.toarray(), np.eye(3))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            [["red", 1], ["blue", 2]],
            "Give a pandas or polars frame, whose columns of strings are categories, or the positions",
        ),
        (
            pd.DataFrame({"colour": ["red", "blue"]}),
            "could not convert string to float: 'red'. Give a pandas or polars frame",
        ),
        (sparse.csr_matrix([[1.0, NAN]]), "SimpleImputer(add_indicator=True)"),
        ([[1.0, np.inf]], "Input X contains infinity"),
        ([1.0, 2.0], "Expected 2D array, got 1D array instead"),
        (np.array([[1j]]), "Complex data not supported"),
        (np.empty((0, 2)), "Found array with 0 sample(s)"),
    ],
    ids=["categories", "frame of categories", "sparse NaN", "infinity", "1-D", "complex", "empty"],
)
def test_inputs_that_cannot_be_are_refused(X, message):
    with raises(message):
        check_inputs(Estimator(), X, reset=True)


def test_inputs_must_be_those_of_fit():
    estimator = Estimator()
    check_inputs(estimator, np.ones((1, 2)), reset=True)
    with raises("X has 3 features, but Estimator is expecting 2 features as input."):
        check_inputs(estimator, np.ones((1, 3)), reset=False)
    check_inputs(estimator, pd.DataFrame({"a": [1], "b": [2]}), reset=True)
    with raises("The feature names should match those that were passed during fit."):
        check_inputs(estimator, pd.DataFrame({"b": [1], "a": [2]}), reset=False)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(None, None), ([1, 0, 2], [1, 0, 2]), (2, [2, 2, 2]), (pd.Series([1.0, 0, 2]), [1, 0, 2])],
    ids=["None", "list", "number", "series"],
)
def test_weights_become_float64_arrays(weight, expected):
    checked = check_weights(weight, 3)
    assert_array_equal(checked, expected)
    assert checked is None or checked.dtype == np.float64


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((3, 2)), "w must be 1D array-like of shape (n_rows,): one weight a row; got shape (3, 2)."),
        (np.ones((3, 2)), "use class_weight or mark those to leave out as missing."),
        ([1, 2], "w.shape == (2,), expected (3,): one weight a row."),
        ([1, -1, 1], "w must not be negative; got -1.0. Drop rows with weight 0 instead."),
        ([0, 0, 0], "w must not be all zero: no row would count."),
        (0, "must not be all zero"),
        ([1, NAN, 1], "Input w contains NaN"),
        ([1, np.inf, 1], "Input w contains infinity"),
    ],
)
def test_weights_that_cannot_be_are_refused(weight, message):
    with raises(message):
        check_weights(weight, 3, "w")


# ---------------------------------------------------------------- labels of a 1-D target

LABELS = {
    "ints": ([3, 1, 3], [3, 1, 3], "i"),
    "uint8": (np.array([3, 1, 3], np.uint8), [3, 1, 3], "u"),
    "bools": ([True, False, True], [True, False, True], "b"),
    "whole floats": ([3.0, 1.0, 3.0], [3, 1, 3], "f"),
    "minus one": ([-1, 1, -1], [-1, 1, -1], "i"),
    "strings": (["b", "a", "b"], ["b", "a", "b"], "U"),
    "object strings": (np.array(["b", "a", "b"], object), ["b", "a", "b"], "O"),
    "object ints": (np.array([3, 1, 3], object), [3, 1, 3], "i"),
    "object bools": (np.array([True, False, True], object), [True, False, True], "b"),
    "string series": (pd.Series(["b", "a", "b"]), ["b", "a", "b"], "O"),
    "categorical strings": (pd.Series(["b", "a", "b"], dtype="category"), ["b", "a", "b"], "O"),
    "categorical ints": (pd.Series([3, 1, 3], dtype="category"), [3, 1, 3], "i"),
    "nullable ints": (pd.Series([3, 1, 3], dtype="Int64"), [3, 1, 3], "i"),
    "nullable bools": (pd.Series([True, False, True], dtype="boolean"), [True, False, True], "b"),
    "polars": (pl.Series([3, 1, 3]), [3, 1, 3], "i"),
    "torch": (torch.tensor([3, 1, 3]), [3, 1, 3], "i"),
}


@pytest.mark.parametrize(("y", "expected", "kind"), LABELS.values(), ids=LABELS)
def test_labels_of_any_type(y, expected, kind):
    checked = check_labels(y, NAN, Estimator())
    assert checked.tolist() == expected
    assert checked.dtype.kind == kind


def test_a_column_of_labels_is_ravelled_with_a_warning():
    for y in ([[1], [0]], pd.DataFrame({"y": [1, 0]}), np.array([["b"], ["a"]])):
        with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
            assert check_labels(y, NAN, Estimator()).shape == (2,)
    assert check_labels([[1], [0]], NAN, Estimator(), warn=False).tolist() == [1, 0]


MISSING = "Input y contains NaN or missing_label in a 1-D target. Drop these rows, or give one column a task"
MIXED = "Unknown label type: y mixes strings and other objects; make them all strings, or all numbers."


@pytest.mark.parametrize(
    ("y", "missing_label", "message"),
    [
        (None, NAN, "This Estimator estimator requires y to be passed, but the target y is None."),
        ([1.0, NAN], NAN, MISSING),
        ([1, -1], -1, MISSING),
        (["a", None], NAN, MISSING),
        (["a", NAN], NAN, MISSING),
        (pd.Series(["a", None]), NAN, MISSING),
        (pd.Series(["a", None], dtype="category"), NAN, MISSING),
        (pd.Series([1, None], dtype="Int64"), NAN, MISSING),
        (pd.Series([True, None], dtype="boolean"), NAN, MISSING),
        (["a", 1], NAN, MIXED),
        (np.array(["a", 1], object), NAN, MIXED),
        (np.array([{}, {}], object), NAN, "Unknown label type: y holds objects of type 'dict'."),
        ([1.0, np.inf], NAN, "Input y contains infinity"),
        ([0.5, 1.2], NAN, "Unknown label type: continuous."),
        (np.zeros((2, 2, 2)), NAN, "Found array with dim 3"),
    ],
)
def test_labels_that_cannot_be_are_refused(y, missing_label, message):
    with raises(message):
        check_labels(y, missing_label, Estimator())


# ---------------------------------------------------------------- labels of several tasks

COLUMNS = {"a": [0, None, 1], "b": [1, 0, None]}
FRAMES = {
    "list": (TASKS, NAN),
    "minus one": (np.nan_to_num(TASKS, nan=-1), -1),
    "small ints": (np.nan_to_num(TASKS, nan=-1).astype(np.int8), -1),
    "frame": (pd.DataFrame(TASKS), NAN),
    "nullable": (pd.DataFrame(COLUMNS, dtype="Int64"), NAN),
    "booleans": (pd.DataFrame(COLUMNS, dtype="boolean"), NAN),
    "polars": (pl.DataFrame(TASKS, orient="row"), NAN),
    "torch": (torch.tensor(TASKS), NAN),
}


@pytest.mark.parametrize(("y", "missing_label"), FRAMES.values(), ids=FRAMES)
def test_tasks_of_every_kind_become_one_array(y, missing_label):
    checked = check_labels(y, missing_label, Estimator())
    assert checked.dtype == np.float64
    assert_array_equal(checked, TASKS)


def test_sparse_tasks_become_dense():
    assert_array_equal(check_labels(sparse.csr_matrix([[0, 1], [1, 0]]), NAN, Estimator()), [[0, 1], [1, 0]])


def test_one_column_stays_a_task_only_where_labels_are_missing():
    assert_array_equal(check_labels([[0.0], [NAN]], NAN, Estimator()), [[0.0], [NAN]])
    assert check_labels([[0.0], [1.0]], NAN, Estimator(), warn=False).shape == (2,)


ONLY = "a 2-D y must hold the labels 0, 1 and missing_label="


@pytest.mark.parametrize(
    ("y", "missing_label", "messages"),
    [
        ([[0, 1], [2, 0]], NAN, ["Unknown label type: " + ONLY + "nan", "got 2.", "cross_val_predict"]),
        ([[0, 1], [-1, 0]], NAN, ["got -1.", "Set missing_label=-1 if -1 marks a missing label."]),
        ([[0, 1], [NAN, 0]], -1, ["got nan.", "NaN marks a missing label only with missing_label=nan."]),
        ([[0, 1], [0.5, 0]], NAN, ["got 0.5.", "loop over the folds instead."]),
        ([[0, 1], [np.inf, 0]], NAN, ["got inf."]),
        ([["a", 1], [0, 1]], NAN, [ONLY + "nan, one column a task: could not convert string to float: 'a'"]),
    ],
)
def test_tasks_that_cannot_be_are_refused(y, missing_label, messages):
    for message in messages:
        with raises(message):
            check_task_labels(y, missing_label)


# ---------------------------------------------------------------- targets of a regressor


@pytest.mark.parametrize(
    ("y", "missing_label", "expected"),
    [
        ([1, -1], NAN, [1.0, -1.0]),
        ([[1], [2]], NAN, [[1.0], [2.0]]),
        ([[1, NAN], [2, 3]], NAN, [[1, NAN], [2, 3]]),
        ([[1, -1], [2, 3]], -1, [[1, NAN], [2, 3]]),
        (pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [2.0, 3.0]}), NAN, [[1, 2], [NAN, 3]]),
        (torch.tensor([1.0, 2.0], requires_grad=True), NAN, [1, 2]),
    ],
    ids=["1-D", "column", "missing", "minus one", "nullable", "torch"],
)
def test_targets_of_every_kind_become_one_array(y, missing_label, expected):
    checked = check_targets(y, missing_label, Estimator())
    assert checked.dtype == np.float64
    assert_array_equal(checked, expected)


@pytest.mark.parametrize(
    ("y", "missing_label", "message"),
    [
        (None, NAN, "requires y to be passed, but the target y is None."),
        ([1.0, NAN], NAN, "Drop these rows, or give one column an output (a 2-D y) to train on"),
        ([1.0, -1], -1, "Input y contains NaN or missing_label in a 1-D target."),
        ([1.0, NAN], -1, "Input y contains NaN"),
        ([[1.0, NAN], [1, 2]], -1, "Input y contains NaN"),
        ([[1.0, np.inf], [NAN, 2]], NAN, "Input y contains infinity"),
        (["low", "high"], NAN, "could not convert string to float: 'low'"),
    ],
)
def test_targets_that_cannot_be_are_refused(y, missing_label, message):
    with raises(message):
        check_targets(y, missing_label, Estimator())


# ---------------------------------------------------------------- codes, lengths, tables


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([3, 1, 3], [1, 3]),
        (["b", "a"], ["a", "b", "c"]),
        ([True, False], [False, True]),
        ([2.0, 1.0], [1, 2]),
    ],
)
def test_codes_point_into_the_classes(y, classes):
    y, classes = np.asarray(y), np.asarray(classes)
    codes = encode_labels(y, classes)
    assert codes.dtype == np.int64
    assert_array_equal(classes[codes], y)


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        ([1, 7], [1, 2], "not among the classes [1, 2] seen before. Drop these rows, or fit again"),
        (["a", "z"], ["a", "b"], "not among the classes ['a', 'b']"),
        ([1, 2], ["1", "2"], "not among the classes ['1', '2']"),
        (["1"], [1, 2], "not among the classes [1, 2]"),
    ],
)
def test_unknown_labels_are_refused(y, classes, message):
    with raises(message):
        encode_labels(np.asarray(y), np.asarray(classes))
    with raises("y_val holds the label"):
        encode_labels(np.asarray(y), np.asarray(classes), "y_val")


def test_lengths_must_agree():
    check_same_length(np.ones((2, 3)), np.ones(2))
    with raises("Found input variables with inconsistent numbers of samples"):
        check_same_length(np.ones((2, 3)), np.ones(3))


@pytest.mark.parametrize("weight", [None, np.arange(4.0)], ids=["unweighted", "weighted"])
def test_tables_split_by_rows(weight):
    X = np.arange(8).reshape(4, 2)
    first, second = Table(sparse.csr_matrix(X), np.arange(4), weight).split([0, 2], [3])
    assert_array_equal(first.X.toarray(), X[[0, 2]])
    assert_array_equal(second.y, [3])
    assert (first.weight is None) if weight is None else first.weight.tolist() == [0, 2]
