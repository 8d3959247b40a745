"""The standardiser against scikit-learn's, on columns that are hard on floating point."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from sksnn.encodings import CHUNK_ELEMENTS, Standardizer, chunk_slices, column_moments

LAWS = settings(max_examples=30, deadline=None, derandomize=True)
rng = np.random.default_rng(0)
BASE = rng.normal([3, -100, 0], [2, 0.01, 30], size=(50, 3))
WEIGHT = rng.integers(0, 4, size=50)
RARE = sparse.random(200, 30, 0.05, "csr", random_state=0, data_rvs=rng.standard_normal)
RARE_WEIGHT = rng.uniform(size=200)


def standardized(X, weight=None, fit_on=None):
    fitted = Standardizer.fit(X if fit_on is None else fit_on, weight)
    return fitted(torch.as_tensor(X.toarray() if sparse.issparse(X) else X)).numpy()


# ---------------------------------------------------------------- dense


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_dense_columns_as_in_standard_scaler(dtype, weight):
    X = np.abs(BASE).astype(dtype)
    expected = StandardScaler().fit_transform(X.astype(np.float64), sample_weight=weight)
    assert_allclose(standardized(X, weight), expected, rtol=1e-9, atol=1e-9)


def test_time_stamps_seconds_apart_stay_apart():
    seconds = np.arange(10.0)
    X = 1.7e9 + seconds[:, None]
    assert_allclose(standardized(X)[:, 0], (seconds - 4.5) / seconds.std(), rtol=1e-12)


@LAWS
@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    n_rows=st.integers(1, 9),
    dtype=st.sampled_from([np.float64, np.float32]),
    weighted=st.booleans(),
)
def test_constant_columns_become_exactly_0(value, n_rows, dtype, weighted):
    value = np.clip(value, -1e38, 1e38)  # within float32
    X = np.full((n_rows, 1), value, dtype)
    assert_array_equal(standardized(X, np.arange(1, n_rows + 1) / 3 if weighted else None), 0)


def test_rows_of_weight_0_do_not_count():
    X = np.array([[1e9], [1.0], [3.0]])
    assert_allclose(standardized(X, np.array([0, 1, 1]))[1:, 0], [-1, 1])


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_a_column_too_large_is_named(container):
    X = container([[1.0, 1e300, 0.0], [2.0, -1e300, 1.0]])
    message = "column 1 of X is too large to standardise: its variance overflows float64. Rescale it"
    with pytest.raises(ValueError, match=re.escape(message)):
        Standardizer.fit(X)


def test_identity_only_changes_the_dtype():
    encoder = Standardizer.identity(2)
    assert_array_equal(encoder(torch.tensor([[7, -3]])), torch.tensor([[7.0, -3.0]], dtype=torch.float64))


# ---------------------------------------------------------------- sparse


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("weight", [None, RARE_WEIGHT], ids=["unweighted", "weighted"])
def test_sparse_columns_are_centred_each_and_scaled_alike(container, weight):
    dense = RARE.toarray()
    mean = np.average(dense, axis=0, weights=weight)
    variance = np.average((dense - mean) ** 2, axis=0, weights=weight)
    expected = (dense - mean) / np.sqrt(variance.mean())
    assert_allclose(standardized(container(RARE), weight), expected, rtol=1e-12, atol=1e-12)


def test_sparse_without_spread_becomes_0():
    assert_array_equal(standardized(sparse.csr_matrix(np.full((4, 2), 0.1))), 0)


# ---------------------------------------------------------------- a buffer that stays float64


@pytest.mark.parametrize(
    "change",
    [lambda m: m.float(), lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.to("meta")],
    ids=["float", "half", "to dtype", "to device"],
)
def test_statistics_stay_float64_on_the_host(change):
    encoder = Standardizer([1.7e9 + 1], [1e-3])
    changed = change(torch.nn.Sequential(encoder, torch.nn.Linear(1, 1)))[0]
    for name, value in [("mean", 1.7e9 + 1), ("scale", 1e-3)]:
        buffer = getattr(changed, name)
        assert (buffer.dtype, buffer.device.type, buffer.item()) == (torch.float64, "cpu", value)


def test_statistics_travel_in_state_dict_and_copies():
    encoder, other = Standardizer([1.0], [2.0]), Standardizer.identity(1)
    other.load_state_dict(encoder.state_dict())
    row = torch.tensor([[5.0]])
    assert other(row).item() == copy.deepcopy(encoder)(row).item() == 2.0


def test_forward_leaves_its_input_alone():
    row = torch.tensor([[5.0]], dtype=torch.float64)
    Standardizer([1.0], [2.0])(row)
    assert row.item() == 5.0


# ---------------------------------------------------------------- moments and chunks


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_weights_are_repeated_rows(container):
    repeated = np.repeat(BASE, WEIGHT, axis=0)
    for weight in (WEIGHT, WEIGHT.astype(float)):
        mean, variance = column_moments(container(BASE), weight)
        assert_allclose(mean, repeated.mean(axis=0), rtol=1e-12)
        assert_allclose(variance, repeated.var(axis=0), rtol=1e-9)


def test_moments_of_several_chunks():
    X = rng.normal(5, 2, size=(CHUNK_ELEMENTS // 2 + 3, 3)).astype(np.float32)
    mean, variance = column_moments(X)
    assert_allclose(mean, X.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert_allclose(variance, X.var(axis=0, dtype=np.float64), rtol=1e-10)


@LAWS
@given(n_rows=st.integers(0, 60), n_columns=st.integers(0, 12), elements=st.integers(1, 100))
def test_chunks_cut_all_rows_within_bounds(n_rows, n_columns, elements):
    pieces = [range(n_rows)[s] for s in chunk_slices(n_rows, n_columns, elements)]
    assert [row for piece in pieces for row in piece] == list(range(n_rows))
    assert all(
        len(piece) == 1 or 1 <= len(piece) * n_columns <= elements or n_columns == 0 for piece in pieces
    )
    assert len({len(piece) for piece in pieces[:-1]}) <= 1
