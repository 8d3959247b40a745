"""Rows and targets that cannot be: errors that name what is wrong, and what to do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import LEARNING, SMALL, X, Y, raises
from scipy import sparse

from sksnn import SNNClassifier, SNNRegressor
from sksnn.encodings import ColumnEncoder
from sksnn.networks import layer_sizes
from sksnn.theory import is_in_domain, moment_trajectory

# ---------------------------------------------------------------- X


def _with(X, value):
    X = X.copy()
    X[3, 1] = value
    return X


BAD_X = {
    "inf": (lambda X: _with(X, np.inf), "contains infinity"),
    "strings": (
        lambda X: np.where(X > 3, "high", "low").astype(object),
        "such columns as categorical_features",
    ),
    "string dtype": (lambda X: np.where(X > 3, "high", "low"), "such columns as categorical_features"),
    "dates": (lambda X: X.astype("datetime64[s]"), "X must hold numbers; got datetime64[s]"),
    "one dimension": (lambda X: X[:, 0], "Expected 2D array"),
    "three dimensions": (lambda X: X[:, :, None], "Found array with dim 3"),
    "complex": (lambda X: X + 1j, "Complex data not supported"),
    "no rows": (lambda X: X[:0], "0 sample"),
    "no columns": (lambda X: X[:, :0], "0 feature"),
    "rows of another number": (lambda X: X[:-1], "inconsistent numbers of samples"),
    "nan in sparse": (lambda X: sparse.csr_matrix(_with(X, np.nan)), "SimpleImputer(add_indicator=True)"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_X.values(), ids=BAD_X)
def test_rows_that_cannot_be_are_refused_by_fit(whole_iris, spoil, message):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING)
    with raises(message):
        clf.fit(spoil(X), y)
    assert not hasattr(clf, "net_")


def test_rows_that_cannot_be_are_refused_by_predict(whole_iris):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING).fit(X, y)
    with raises("contains infinity"):
        clf.predict(_with(X, np.inf))
    with raises("X has 3 features, but SNNClassifier is expecting 4 features"):
        clf.predict(X[:, :3])


# ---------------------------------------------------------------- labels and targets


BAD_LABELS = {
    "one class": (np.zeros(150), "y has 1 class"),
    "continuous": (np.linspace(0, 1, 150), "Unknown label type: continuous"),
    "nan": (np.r_[np.nan, np.ones(149)], "Drop these rows, or give one column a task"),
    "none": (np.array([None, *["a"] * 149], dtype=object), "Drop these rows, or give one column a task"),
    "inf": (np.r_[np.inf, np.ones(149)], "contains infinity"),
    "mixed": (np.array([1, *["a"] * 149], dtype=object), "y mixes strings and other objects"),
    "objects": (np.array([{}] * 150, dtype=object), "Unknown label type: y holds objects of type 'dict'"),
    "tasks of 2": (np.full((150, 2), 2), "got 2. cross_val_predict re-encodes"),
    "tasks of -1": (np.full((150, 2), -1), "Set missing_label=-1 if -1 marks a missing label"),
    "tasks of strings": (np.full((150, 2), "a"), "a 2-D y must hold the labels 0, 1 and missing_label=nan"),
    "a task without labels": (
        np.c_[np.arange(150) % 2, np.full(150, np.nan)],
        "task 1 of y (column 1) has no label",
    ),
    "none at all": (None, "requires y to be passed, but the target y is None"),
}


@pytest.mark.parametrize(("y", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_cannot_be_are_refused(whole_iris, y, message):
    with raises(message):
        SNNClassifier(**LEARNING).fit(whole_iris[0], y)


def test_nan_beside_another_missing_label_is_refused(gappy_tasks):
    X, Y = gappy_tasks
    with raises("NaN marks a missing label only with missing_label=nan"):
        SNNClassifier(**LEARNING, missing_label=-1).fit(X, Y)


@pytest.mark.parametrize("missing_label", [0, 1, np.inf])
def test_a_missing_label_that_is_a_label_is_refused(gappy_tasks, missing_label):
    X, Y = gappy_tasks
    with raises("missing_label must differ from the labels 0 and 1"):
        SNNClassifier(**LEARNING, missing_label=missing_label).fit(X, np.nan_to_num(Y))


@pytest.mark.parametrize("y", [Y - 1.0, (Y - 1.0)[:, None].tolist()])
def test_a_float_that_marks_missing_labels_is_not_a_class(y):
    with raises("missing"):
        SNNClassifier(**SMALL, missing_label=-1).fit(X, np.ravel(y))


BAD_TARGETS = {
    "nan": (np.r_[np.nan, np.ones(441)], "Drop these rows, or give one column an output"),
    "inf": (np.r_[np.inf, np.ones(441)], "contains infinity"),
    "strings": (np.full(442, "a"), "could not convert string to float"),
    "an output without values": (
        np.c_[np.arange(442.0), np.full(442, np.nan)],
        "task 1 of y (column 1) has no",
    ),
    "three dimensions": (np.ones((442, 1, 1)), "dim 3"),
}


@pytest.mark.parametrize(("y", "message"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_targets_that_cannot_be_are_refused(whole_diabetes, y, message):
    with raises(message):
        SNNRegressor(**LEARNING).fit(whole_diabetes[0], y)


def test_targets_too_large_to_standardise_are_refused(whole_diabetes):
    with raises("output 0 of y is too large to standardise"):
        SNNRegressor(**LEARNING).fit(whole_diabetes[0], whole_diabetes[1] * 1e160)


# ---------------------------------------------------------------- times and categories


DAYS = pd.date_range("2026-01-01", periods=120)


@pytest.mark.parametrize(
    "column",
    [
        DAYS,
        DAYS - DAYS[0],
        DAYS.tz_localize("UTC"),
        DAYS.to_period("M"),
        pl.Series("when", DAYS.to_numpy()),
        pl.Series("when", DAYS.to_numpy()).cast(pl.Date),
        pl.Series("when", (DAYS - DAYS[0]).to_numpy()),
    ],
    ids=lambda column: str(column.dtype),
)
@pytest.mark.parametrize("among_numbers", [True, False])
def test_a_column_of_times_is_named(column, among_numbers):
    """numpy's promotion error came through; the hint reached arrays of times only."""
    numbers = {"a": X[:, 0], "b": X[:, 1]} if among_numbers else {}
    frame = (pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame)({**numbers, "when": column})
    with raises("column 'when' of X must hold numbers; got"):
        SNNClassifier(**SMALL).fit(frame, Y)


def test_objects_that_are_times_get_the_hint():
    frame = pd.DataFrame({"a": X[:, 0], "when": pd.Series(list(DAYS), dtype=object)})
    with pytest.raises((ValueError, TypeError), match="Turn dates into numbers first"):
        SNNClassifier(**SMALL).fit(frame, Y)


@pytest.mark.parametrize("y", [DAYS.to_numpy(), pd.Series(DAYS), DAYS.to_numpy() - DAYS.to_numpy()[0]])
def test_a_regressor_refuses_times(y):
    """Times were cast to nanoseconds."""
    with raises("y must hold numbers; got"):
        SNNRegressor(**SMALL).fit(X, y)


def test_categories_may_have_any_name():
    """A category named "bedtime" was taken for a time."""
    when = pl.Series("when", ["day", "bedtime"] * 60, dtype=pl.Enum(["day", "bedtime"]))
    model = SNNClassifier(**SMALL).fit(pl.DataFrame({"a": X[:, 0], "when": when}), Y)
    assert model._model.columns.categorical == (1,)


def test_times_of_y_are_called_y():
    with raises("column 'q' of y must hold numbers; got"):
        SNNRegressor(**SMALL).fit(X, pd.DataFrame({"q": DAYS}))
    for y in (np.asarray(DAYS.tz_localize("UTC"), dtype=object), list(DAYS), [DAYS[0].date()] * 120):
        with raises("y must hold numbers: float() argument must be", TypeError) as caught:
            SNNRegressor(**SMALL).fit(X, y)
        assert "Turn dates into numbers first" in str(caught.value)


# ---------------------------------------------------------------- tensors without numbers


@pytest.mark.parametrize("argument", ["y", "sample_weight"])
def test_meta_tensors_beside_X_are_refused(argument):
    data = {"y": Y, argument: torch.empty(120, device="meta")}
    with raises("targets and weights must hold numbers; got a tensor on device 'meta'"):
        SNNClassifier(**SMALL).fit(X, **data)


def test_a_meta_tensor_as_X_is_refused():
    with raises("X must hold numbers; got a tensor on device 'meta', which has a shape only."):
        SNNClassifier(**SMALL).fit(torch.empty(120, 5, device="meta"), Y)


# ---------------------------------------------------------------- functions


def test_functions_say_what_their_arguments_must_be():
    with raises("layers must be pairs of omega and tau, one a layer; got 3. For n layers"):
        moment_trajectory(0, 1, 3)
    with raises("layers must be pairs"):
        moment_trajectory(0, 1, [1.0, 2.0])
    with raises("domain must be a dict of (low, high) by name"):
        is_in_domain(0, 1, domain=None)
    for domain in ({"nu": (0, 1)}, {"mean": 3}):
        with raises("domain must be a dict"):
            is_in_domain(0, 1, domain=domain)
    with raises("layer_form must be 'conic' or 'rectangular'; got 'x'."):
        layer_sizes(2, 8, "x", 2)
    with raises("encoding must be one of onehot, thermometer, piecewise, or None; got 'zzz'."):
        ColumnEncoder.fit(X, encoding="zzz")
