"""Tensors from another device: the same numbers as arrays, which they never become."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ESTIMATORS, SMALL, raises, unfinished
from helpers import (
    N_COLUMNS,
    Elsewhere,
    elsewhere,
    encode_in_chunks_of,
    forward_in_chunks_of,
    outputs,
    targets_of,
)
from sklearn.base import clone

from sksnn import SNNClassifier, SNNRegressor


def as_dtype(X, kind, dtype):
    """Make X, y and weights as tensors of a dtype, gaps marked by -1 where there is no NaN, and as arrays."""
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), targets_of(X)[kind]
    weight = np.arange(len(X)) % 3
    if dtype == "bool":
        tensors = [X > 0, np.nan_to_num(y) > 0, weight > 0]
    elif dtype == "int64":
        tensors = [np.rint(5 * X), np.where(np.isnan(y), -99 if kind == "outputs" else -1, y), weight]
    else:
        tensors = [X, y, weight]
    tensors = [torch.as_tensor(values).to(getattr(torch, dtype)) for values in tensors]
    return tensors, [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "bool"]


def for_dtype(kind, dtype, **params):
    params = {"precision": "float64", "dropout": 0.0, **params}
    if dtype == "int64" and kind in ("tasks", "outputs"):
        params["missing_label"] = -99 if kind == "outputs" else -1
    return clone(ESTIMATORS[kind]).set_params(**params)


def assert_alike(one, other, X_one, X_other, rtol=1e-9):
    """Compare two fits, and their predictions from the same numbers."""
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=rtol)
    assert (one.validation_loss_curve_ is None) == (other.validation_loss_curve_ is None)
    if one.validation_loss_curve_ is not None:
        np.testing.assert_allclose(one.validation_loss_curve_, other.validation_loss_curve_, rtol=rtol)
    got, expected = outputs(one, X_one), outputs(other, X_other)
    assert got.dtype == expected.dtype
    rtol = max(rtol, 1e-6) if got.dtype == np.float32 else rtol
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-3 * rtol)


@unfinished
@pytest.mark.parametrize("early_stopping", [False, True], ids=["all rows", "early stopping"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_from_elsewhere_are_the_same_numbers(cancer, read_shapes, kind, dtype, early_stopping):
    """Tensors on a GPU and arrays go through two implementations of one fit.

    In the former, X must never become an array. bfloat16 targets and weights are small: they may, but
    numpy has no such dtype.
    """
    tensors, arrays = as_dtype(cancer[0], kind, dtype)
    X, y, weight = (elsewhere(t) for t in tensors)
    make = for_dtype(kind, dtype, early_stopping=early_stopping)
    expected = clone(make).fit(*arrays)
    read_shapes.clear()
    fitted = clone(make).fit(X, y, weight)
    outputs(fitted, X)
    assert not [shape for shape in read_shapes if N_COLUMNS in shape[1:]], read_shapes
    assert fitted.n_features_in_ == N_COLUMNS and not hasattr(fitted, "feature_names_in_")
    assert_alike(fitted, expected, X, arrays[0])


@pytest.mark.parametrize("kind", ["classifier", "tasks", "regressor", "outputs"])
@pytest.mark.parametrize("what", ["y", "weight"])
def test_scores_of_tensors_from_elsewhere_are_those_of_arrays(cancer, read_shapes, kind, what):
    """What fit takes, score takes."""
    (X, y, weight), arrays = as_dtype(cancer[0], kind, "float32")
    fitted = for_dtype(kind, "float32").fit(*arrays)
    y, weight = (elsewhere(y), arrays[2]) if what == "y" else (arrays[1], elsewhere(weight))
    assert fitted.score(elsewhere(X), y, weight) == pytest.approx(fitted.score(*arrays), rel=1e-6)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_tensors_from_elsewhere_agree_in_lesser_precision(cancer, read_shapes, precision):
    """Rows are encoded in float64 and rounded once, wherever they come from."""
    X, y = cancer
    one, other = (SNNClassifier(**SMALL, precision=precision).fit(rows, y) for rows in (elsewhere(X), X))
    np.testing.assert_allclose(outputs(one, elsewhere(X)), outputs(other, X), atol=1e-4)


def test_tensors_from_elsewhere_in_chunks_give_one_fit(cancer, read_shapes, monkeypatch):
    """Statistics, encoding, subsets and prediction of several chunks each."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", early_stopping=True)
    expected = clone(make).fit(X, y, y + 1.0)
    encode_in_chunks_of(monkeypatch, 3 * N_COLUMNS)
    forward_in_chunks_of(monkeypatch, 5)
    assert_alike(clone(make).fit(elsewhere(X), y, y + 1.0), expected, elsewhere(X), X)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("where", ["both", "X", "X_val"])
def test_validation_rows_may_lie_elsewhere(cancer, read_shapes, where, standardize):
    """X and X_val may lie in different places."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", standardize=standardize, lr_schedule="constant")
    train, valid = (X[:80] / 100, y[:80]), (X[80:] / 100, y[80:])
    expected = clone(make).fit(*train, X_val=valid[0], y_val=valid[1], sample_weight_val=valid[1] + 1)
    if where != "X_val":
        train = [elsewhere(values) for values in train]
    if where != "X":
        valid = [elsewhere(values) for values in valid]
    fitted = clone(make).fit(*train, X_val=valid[0], y_val=valid[1], sample_weight_val=valid[1] + 1)
    assert_alike(fitted, expected, elsewhere(X / 100), X / 100)


def test_training_goes_on_with_tensors_from_elsewhere(cancer, read_shapes):
    X, y = cancer
    warm, passes = (
        SNNClassifier(**SMALL, precision="float64", warm_start=True).fit(rows, y).fit(rows, y)
        for rows in (elsewhere(X), X)
    )
    assert_alike(warm, passes, elsewhere(X), X)
    one, other = (
        SNNRegressor(**SMALL, precision="float64")
        .partial_fit(rows[:60], y[:60])
        .partial_fit(rows[60:], y[60:])
        for rows in (elsewhere(X), X)
    )
    assert_alike(one, other, elsewhere(X), X)


@pytest.mark.parametrize("form", ["reversed", "read-only", "strided", "series"])
def test_weights_of_any_layout_go_beside_a_tensor_from_elsewhere(cancer, read_shapes, form):
    """torch takes no array of negative strides, and warns of a read-only one."""
    X, y = cancer
    weight = np.linspace(0.5, 2, len(y))
    expected = SNNClassifier(**SMALL, precision="float64").fit(X, y, weight)
    other = {
        "reversed": weight[::-1].copy()[::-1],
        "read-only": weight.copy(),
        "strided": np.repeat(weight, 2)[::2],
        "series": pd.Series(weight),
    }[form]
    if form == "read-only":
        other.setflags(write=False)
    fitted = SNNClassifier(**SMALL, precision="float64").fit(elsewhere(X), y, other)
    assert_alike(fitted, expected, elsewhere(X), X)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_tensor_from_elsewhere_stays_as_it_is(cancer, read_shapes, standardize):
    """It may ask for a gradient; fit neither writes to it nor gives it one."""
    X, y = cancer
    X = X / 100
    rows = torch.tensor(X).as_subclass(Elsewhere).requires_grad_()
    fitted = SNNClassifier(**SMALL, standardize=standardize).fit(rows, y)
    fitted.predict(rows)
    assert rows.grad is None and rows.requires_grad
    assert torch.equal(rows.detach().cpu(), torch.tensor(X))
    assert not any(p.requires_grad for p in fitted.net_.module_.encoder.buffers())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@unfinished
@pytest.mark.parametrize(("device", "early_stopping"), [("cuda", True), ("cuda", False), ("cpu", True)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_on_cuda_are_the_same_numbers(cancer, kind, dtype, device, early_stopping):
    """The real thing, where operands on two devices and arrays of X are errors, whoever trains."""
    tensors, arrays = as_dtype(cancer[0], kind, dtype)
    X, y, weight = (t.cuda() for t in tensors)
    make = for_dtype(kind, dtype, early_stopping=early_stopping)
    expected = clone(make).set_params(device="cpu").fit(*arrays)
    fitted = clone(make).set_params(device=device).fit(X, y, weight)
    assert_alike(fitted, expected, X, arrays[0], rtol=1e-6)
    assert fitted.score(X, *arrays[1:]) == pytest.approx(expected.score(*arrays), rel=1e-6)
    with raises(f"X has 7 features, but {type(fitted).__name__} is expecting 8"):
        fitted.predict(X[:, 1:])
    if X.is_floating_point():
        X[3, 5] = torch.nan
        with raises("Input X contains NaN or infinity: nan in row 3, column 5"):
            fitted.predict(X)


# ---------------------------------------------------------------- tensors that are refused


def assert_refused(read_shapes, cancer, X, message):
    """Refuse rows in fit, which leaves nothing behind, and in predict, which leaves all as it was."""
    good, y = elsewhere(cancer[0]), cancer[1]
    clf = SNNClassifier(**SMALL)
    with raises(message):
        clf.fit(X, y[: len(X)] if X.ndim else y)
    assert not clf.__sklearn_is_fitted__() and not hasattr(clf, "n_features_in_")
    before = clf.fit(good, y).predict_proba(good)
    with raises(message):
        clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(good), before)


BAD_SHAPES = {
    "no dimension": lambda X: X[0, 0],
    "one dimension": lambda X: X[:, 0],
    "three dimensions": lambda X: X[:, :, None],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "complex": lambda X: X + 1j,
}


@pytest.mark.parametrize("change", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_tensors_from_elsewhere_of_a_wrong_form_are_refused(cancer, read_shapes, change):
    bad = change(elsewhere(cancer[0]))
    assert isinstance(bad, Elsewhere)
    message = (
        f"X must be a real tensor of shape (n_rows, n_features), both at least 1; got {bad.dtype} of shape "
        f"{tuple(bad.shape)}. Use X.reshape(1, -1) for a single row."
    )
    assert_refused(read_shapes, cancer, bad, message)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_first_number_that_is_infinite_is_named(cancer, read_shapes, dtype, value):
    """The first in reading order, of several."""
    X = torch.tensor(cancer[0]).to(getattr(torch, dtype))
    X[[3, 3, 7], [5, 6, 0]] = value
    message = f"Input X contains infinity: {value} in row 3, column 5. Make it NaN, which counts as missing"
    assert_refused(read_shapes, cancer, elsewhere(X), message)


@pytest.mark.parametrize("columns", [slice(0, 7), [*range(8), 0]], ids=["7", "9"])
def test_another_number_of_features_is_refused(cancer, read_shapes, columns):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(elsewhere(X), y)
    n = X[:, columns].shape[1]
    for call in (clf.predict, clf.predict_proba, lambda rows: clf.partial_fit(rows, y)):
        with raises(f"X has {n} features, but SNNClassifier is expecting 8 features as input"):
            call(elsewhere(X[:, columns]))
    with raises(f"X has {n} features, but SNNClassifier is expecting 8 features as input"):
        clf.fit(elsewhere(X), y, X_val=elsewhere(X[:, columns]), y_val=y)


def test_numbers_of_rows_must_agree(cancer, read_shapes):
    X, y = cancer
    with raises("Found input variables with inconsistent numbers of samples: [120, 119]"):
        SNNClassifier(**SMALL).fit(elsewhere(X), elsewhere(y[1:]))
    with raises("sample_weight.shape == (119,), expected (120,)"):
        SNNClassifier(**SMALL).fit(elsewhere(X), y, elsewhere(np.ones(119)))


def test_names_learned_from_a_frame_are_missed(cancer, read_shapes):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(pd.DataFrame(X, columns=list("abcdefgh")), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        proba = clf.predict_proba(elsewhere(X))
    np.testing.assert_allclose(
        proba, clf.predict_proba(pd.DataFrame(X, columns=list("abcdefgh"))), rtol=1e-12
    )
