"""Rows in chunks and in subsets: neither changes a result."""

import numpy as np
import pytest
import torch
from conftest import ESTIMATORS, SMALL, raises
from helpers import (
    N_COLUMNS,
    elsewhere,
    encode_in_chunks_of,
    forward_in_chunks_of,
    outputs,
    sparse_rows,
    targets_of,
)
from scipy import sparse
from sklearn.base import clone

from sksnn import SNNClassifier, SNNRegressor, _forward
from sksnn._forward import Forward
from sksnn._rows import Subset, Table, encode
from sksnn.encodings import Standardizer, column_moments
from sksnn.networks import SNN

# ---------------------------------------------------------------- chunks


ROWS = {"dense": np.asarray, "sparse": sparse_rows, "tensor": torch.tensor}


@pytest.mark.parametrize("chunk", [1, 7, 119])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_predictions_do_not_depend_on_chunks(cancer, monkeypatch, kind, rows, chunk):
    """In float64 to 1e-12, in every form: rows neither get lost at the seams nor change places."""
    X = rows(cancer[0])
    fitted = clone(ESTIMATORS[kind]).fit(X, targets_of(cancer[0])[kind])
    expected = outputs(fitted, X)
    encode_in_chunks_of(monkeypatch, 3 * N_COLUMNS)
    forward_in_chunks_of(monkeypatch, chunk)
    got = outputs(fitted, X)
    assert got.shape == expected.shape and got.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_encoded_rows_do_not_depend_on_chunks(cancer, monkeypatch, rows):
    X = rows(cancer[0])
    encoder = Standardizer.fit(X)
    whole = encode(X, encoder, "cpu", torch.float32)[:]
    for elements in (1, N_COLUMNS, 5 * N_COLUMNS + 3):
        encode_in_chunks_of(monkeypatch, elements)
        assert torch.equal(encode(X, encoder, "cpu", torch.float32)[:], whole)


@pytest.mark.parametrize(("elements", "least"), [(1, 1), (1, 10), (16 * 9, 1), (16 * 9 + 15, 3), (10**9, 1)])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_forward_pass_takes_a_bounded_number_of_rows(cancer, monkeypatch, rows, elements, least):
    """So many numbers of the widest layer, at least so many rows, and no smaller chunks than needed."""
    X, y = cancer
    fitted = SNNClassifier(**SMALL).fit(rows(X), y)
    fitted.predict(rows(X))
    monkeypatch.setattr(_forward, "CPU_FORWARD_ELEMENTS", elements)
    monkeypatch.setattr(_forward, "LEAST_FORWARD_ROWS", least)
    seen, forward = [], SNN.forward

    def spy(self, x, *args):
        seen.append(len(x))
        return forward(self, x, *args)

    monkeypatch.setattr(SNN, "forward", spy)
    fitted.predict_proba(rows(X))
    at_once = min(max(elements // 16, least), 120)  # 16 is the widest layer
    assert max(seen) == at_once and sum(seen) == 120 and len(seen) == -(-120 // at_once)


def test_validation_batches_are_bounded_too(cancer, monkeypatch):
    """Within training, rows to watch go through the network as many at a time as in prediction."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", dropout=0.0)
    expected = clone(make).fit(X, y, X_val=X, y_val=y)
    forward_in_chunks_of(monkeypatch, 20)
    seen, forward = [], Forward.__call__

    def spy(self, network, x):
        seen.append(len(x))
        return forward(self, network, x)

    monkeypatch.setattr(Forward, "__call__", spy)
    fitted = clone(make).fit(X, y, X_val=X, y_val=y)
    assert seen == [20] * 6 * SMALL["max_epochs"]
    np.testing.assert_allclose(fitted.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("make_empty", [lambda X: X[:0], lambda X: sparse.csr_matrix(X)[:0]])
def test_no_rows_at_all_are_refused_as_scikit_learn_does(cancer, make_empty):
    X, y = cancer
    clf, reg = SNNClassifier(**SMALL).fit(X, y), SNNRegressor(**SMALL).fit(X, y)
    for call in (clf.predict, clf.predict_proba, clf.decision_function, reg.predict):
        with raises("Found array with 0 sample(s) (shape=(0, 8)) while a minimum of 1 is required"):
            call(make_empty(X))


# ---------------------------------------------------------------- subsets


INDEX = np.random.default_rng(3).permutation(120)[:90]


@pytest.mark.parametrize("weighted", [False, True])
def test_split_leaves_dense_rows_where_they_are(cancer, weighted):
    X, y = cancer
    weight = np.linspace(0, 1, 120) if weighted else None
    for part, index in zip(Table(X, y, weight).split(INDEX, INDEX[:5]), (INDEX, INDEX[:5]), strict=True):
        assert isinstance(part.X, Subset) and part.X.X is X
        assert part.X.shape == (len(index), 8)
        np.testing.assert_array_equal(part.X[:], X[index])
        np.testing.assert_array_equal(part.X[2:4], X[index][2:4])
        np.testing.assert_array_equal(part.X[-1], X[index][-1])
        np.testing.assert_array_equal(part.y, y[index])
        np.testing.assert_array_equal(part.weight, weight[index] if weighted else None)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_split_slices_sparse_rows(cancer, container):
    X, y = container(sparse_rows(cancer[0])), cancer[1]
    train, valid = Table(X, y, y + 1.0).split(INDEX, INDEX[:5])
    for part, index in ((train, INDEX), (valid, INDEX[:5])):
        assert sparse.issparse(part.X) and part.X.format == "csr" and part.X.nnz == X[index].nnz
        np.testing.assert_array_equal(part.X.toarray(), X.toarray()[index])
        np.testing.assert_array_equal(part.weight, y[index] + 1.0)


@pytest.mark.parametrize("elements", [N_COLUMNS, 7 * N_COLUMNS, 2**20])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_the_rows_however_they_are_held(
    cancer, monkeypatch, read_shapes, dtype, elements, weighted
):
    """Array, tensor on either device, and subsets of all three; in one chunk and in several."""
    X = (cancer[0] > 14) if dtype == "bool" else (np.rint(cancer[0]) % 200).astype(dtype)
    weight = (np.arange(120) % 4 / 3.0)[INDEX] if weighted else None
    rows = X[INDEX].astype(np.float64)
    mean = np.average(rows, axis=0, weights=weight)
    deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
    encode_in_chunks_of(monkeypatch, elements)
    for held in (X, torch.tensor(X), elsewhere(X)):
        for form in (held[INDEX], Subset(held, INDEX)):
            got = column_moments(form, weight)
            assert all(isinstance(moment, np.ndarray) and moment.dtype == np.float64 for moment in got)
            np.testing.assert_allclose(got[0], mean, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(got[1], deviation, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["array", "tensor", "elsewhere"])
def test_a_subset_is_encoded_as_its_rows(cancer, monkeypatch, read_shapes, kind):
    X = {"array": np.asarray, "tensor": torch.tensor, "elsewhere": elsewhere}[kind](cancer[0])
    encoder = Standardizer.fit(Subset(X, INDEX))
    expected = encode(cancer[0][INDEX], encoder, "cpu", torch.float32)
    for elements in (2**20, 7 * N_COLUMNS):
        encode_in_chunks_of(monkeypatch, elements)
        encoded = encode(Subset(X, INDEX), encoder, "cpu", torch.float32)
        assert torch.equal(encoded, expected) and type(encoded) is torch.Tensor
