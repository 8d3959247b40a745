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
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sksnn.encodings import (
    CHUNK_ELEMENTS,
    ENCODINGS,
    ColumnEncoder,
    Standardizer,
    chunk_slices,
    column_moments,
    encoder_from,
)

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
def test_dense_columns_as_in_standard_scaler_times_the_deviation_they_are_to_have(dtype, weight):
    X = np.abs(BASE).astype(dtype)
    expected = StandardScaler().fit_transform(X.astype(np.float64), sample_weight=weight)
    variance = wanted_variance(X, weight)
    expected *= np.sqrt(variance / variance.mean())
    assert_allclose(standardized(X, weight), expected, rtol=1e-9, atol=1e-9)


def wanted_variance(X, weight=None):
    """Return 4 p (1 - p) for columns of which a share p < 1/2 is not the most frequent value, else 1."""
    rows = X if weight is None else X.repeat(weight, axis=0)
    others = np.array([1 - np.unique(x, return_counts=True)[1].max() / len(x) for x in rows.T])
    return np.where((others > 0) & (others < 0.5), 4 * others * (1 - others), 1.0)


@LAWS
@given(ones=st.lists(st.integers(1, 49), min_size=2, max_size=5), scale=st.floats(1e-3, 1e3))
def test_a_rare_bit_makes_the_step_of_a_frequent_one(ones, scale):
    """Scaled to variance 1, what one row in a hundred holds was larger than anything else, and overfitted."""
    bits = (np.arange(100)[:, None] < ones) * scale
    steps = np.ptp(standardized(bits), axis=0)
    assert_allclose(steps, steps[0])
    assert_allclose(standardized(bits).var(axis=0).mean(), 1)


@pytest.mark.parametrize("encoding", [None, *ENCODINGS])
def test_numbers_of_which_most_are_0_have_a_smaller_variance_with_their_codes(encoding):
    counts = np.where(rng.uniform(size=200) < 0.9, 0, rng.integers(1, 40, 200))
    X = np.column_stack([rng.normal(size=200), counts])
    encoder = ColumnEncoder.fit(X, encoding=encoding)
    variance = encoder(torch.as_tensor(X)).numpy().var(axis=0)
    column = np.r_[0, 1, encoder.column.numpy()]
    shares = [variance[column == j].sum() for j in range(2)]
    codes_too = 1.25 if encoding in ("thermometer", "piecewise") else 1
    assert_allclose(shares, codes_too * variance[0] * wanted_variance(X))
    assert_allclose(variance.mean(), 1)


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
def test_sparse_bits_are_centred_each_and_scaled_alike(container, weight):
    """A rare bit scaled to unit variance would overfit: bits keep the size they have beside each other."""
    bits = abs(RARE.sign())
    dense = bits.toarray()
    mean = np.average(dense, axis=0, weights=weight)
    variance = np.average((dense - mean) ** 2, axis=0, weights=weight)
    expected = (dense - mean) / np.sqrt(variance.mean())
    assert_allclose(standardized(container(bits), weight), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [None, RARE_WEIGHT], ids=["unweighted", "weighted"])
def test_sparse_columns_have_the_variance_that_the_equation_says(weight):
    """Numbers on one common scale with bits swamped them."""
    values = RARE.toarray() * 1e4 + 3e4 * (RARE.toarray() != 0)  # income
    values[:, 1] = np.abs(RARE.toarray()[:, 1]).cumsum() + 1e6  # a full column, far from 0
    values[:, 2] = rng.poisson(0.3, len(values))  # counts
    values[:, 3] *= -1e-200
    got = standardized(sparse.csr_matrix(values), weight)
    w = np.ones(len(values)) if weight is None else weight
    variance = []
    for x in values.T:
        present = x != 0
        p, m = w[present].sum() / w.sum(), np.average(x[present], weights=w[present])
        v = np.average((x[present] - m) ** 2, weights=w[present])
        if np.abs(x).max() < 1e-100:  # v and m**2 underflow
            unit = np.abs(x).max()
            m = np.average(x[present] / unit, weights=w[present])
            v = np.average((x[present] / unit - m) ** 2, weights=w[present])
        variance.append(p * (v + (1 - p) ** 2 * m**2) / (v + (1 - p) * m**2))
    assert_allclose(variance[1], 1)
    assert_allclose(np.average(got, axis=0, weights=w), 0, atol=1e-8)
    assert_allclose(np.average(got**2, axis=0, weights=w), variance / np.mean(variance), rtol=1e-6)


@LAWS
@given(scale=st.lists(st.floats(1e-9, 1e9), min_size=4, max_size=4), seed=st.integers(0, 99))
def test_the_units_of_sparse_columns_do_not_matter(scale, seed):
    X = sparse.random(40, 4, 0.5, "csr", random_state=seed).toarray() + np.array([0, 0, 0, 2.0])
    assert_allclose(
        standardized(sparse.csr_matrix(X * scale)), standardized(sparse.csr_matrix(X)), rtol=1e-9, atol=1e-9
    )


def test_tf_idf_has_a_variance_in_proportion_to_its_entries():
    """Between that of a bit set as often, p (1 - p), and p."""
    X = TfidfTransformer().fit_transform(rng.poisson(0.2, size=(300, 20)))
    p = (X.toarray() != 0).mean(axis=0)
    variance = standardized(X).var(axis=0)
    assert_allclose(variance.mean(), 1)
    ratio = variance / p
    assert ratio.max() / ratio.min() <= 1 / (1 - p.max())


def test_full_sparse_columns_are_scaled_as_if_dense():
    X = np.column_stack([BASE, 1.7e9 + np.arange(len(BASE))])
    assert_allclose(standardized(sparse.csr_matrix(X)), standardized(X), rtol=1e-9, atol=1e-9)
    assert_allclose(standardized(sparse.csr_matrix(X), WEIGHT), standardized(X, WEIGHT), rtol=1e-9, atol=1e-9)


def test_entries_that_are_0_are_no_entries():
    X = sparse.csr_matrix(np.array([[1.0, 5], [0, 7], [1, 0]]))
    explicit = sparse.csr_matrix(np.full((3, 2), 1.0))
    explicit.data[:] = X.toarray().ravel()
    assert_array_equal(standardized(explicit), standardized(X))


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
        mean, deviation = column_moments(container(BASE), weight)
        assert_allclose(mean, repeated.mean(axis=0), rtol=1e-12)
        assert_allclose(deviation, repeated.std(axis=0), rtol=1e-9)


def test_moments_of_several_chunks():
    X = rng.normal(5, 2, size=(CHUNK_ELEMENTS // 2 + 3, 3)).astype(np.float32)
    mean, deviation = column_moments(X)
    assert_allclose(mean, X.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert_allclose(deviation, X.std(axis=0, dtype=np.float64), rtol=1e-10)


@LAWS
@given(exponent=st.integers(-1050, 500), weighted=st.booleans(), kind=st.sampled_from(["dense", "sparse"]))
def test_moments_scale_with_the_column_down_to_the_smallest_numbers(exponent, weighted, kind):
    """Below 1e-160 the variance underflowed, and columns counted as constant."""
    X = np.array([[0.0, 2, 1], [1, 0, 1], [-1, 4, 1], [0, -8, 1], [1, 2, 1]])
    weight = np.array([1.0, 2, 0, 3, 1]) if weighted else None
    X[2, 0] *= 1.0 if weight is None else 2.0  # a row without weight counts for nothing
    scaled = np.ldexp(X, exponent - 3)  # powers of two: exact, but for the subnormal
    container = np.asarray if kind == "dense" else sparse.csr_matrix
    rtol = 1e-12 if exponent > -1010 else 1e-3  # subnormal
    for got, expected in zip(
        column_moments(container(scaled), weight), column_moments(container(X), weight), strict=True
    ):
        assert_allclose(np.ldexp(got, 3 - exponent), expected, rtol=rtol)
    assert_allclose(
        column_moments(container(X), weight)[1], np.sqrt(np.cov(X.T, ddof=0, aweights=weight).diagonal())
    )


@LAWS
@given(n_rows=st.integers(0, 60), n_columns=st.integers(0, 12), elements=st.integers(1, 100))
def test_chunks_cut_all_rows_within_bounds(n_rows, n_columns, elements):
    pieces = [range(n_rows)[s] for s in chunk_slices(n_rows, n_columns, elements)]
    assert [row for piece in pieces for row in piece] == list(range(n_rows))
    assert all(
        len(piece) == 1 or 1 <= len(piece) * n_columns <= elements or n_columns == 0 for piece in pieces
    )
    assert len({len(piece) for piece in pieces[:-1]}) <= 1


# ---------------------------------------------------------------- codes

MANY = rng.lognormal(size=(200, 2))
FEW = rng.integers(0, 5, size=(200, 1)) * 1.5
MIXED = np.hstack([MANY, FEW, rng.integers(0, 2, (200, 1)), np.full((200, 1), 3.0)])


def coded(encoder, X):
    """Return the codes as they are before they are centred and scaled."""
    values = encoder(torch.as_tensor(X)) * encoder.scale + encoder.mean
    return values[:, X.shape[1] :].numpy()


def inner_quantiles(x, weight=None):
    return np.quantile(x, np.arange(1, 9) / 9, method="inverted_cdf", weights=weight)


def test_few_values_are_coded_as_by_one_hot_encoder():
    expected = OneHotEncoder(sparse_output=False).fit_transform(FEW)
    for encoding in ENCODINGS:
        assert_allclose(coded(ColumnEncoder.fit(FEW, encoding=encoding), FEW), expected, atol=1e-12)


def test_indicators_say_which_quantiles_a_value_is_above():
    encoder = ColumnEncoder.fit(MANY[:, :1], encoding="thermometer")
    expected = MANY[:, :1] > inner_quantiles(MANY[:, 0])
    assert_allclose(coded(encoder, MANY[:, :1]), expected, atol=1e-12)


def test_ramps_add_up_to_the_interpolated_place_among_the_quantiles():
    encoder = ColumnEncoder.fit(MANY[:, :1], encoding="piecewise")
    edges = np.r_[MANY[:, 0].min(), inner_quantiles(MANY[:, 0]), MANY[:, 0].max()]
    x = np.linspace(-1, 1.5 * edges[-1], 300)[:, None]
    expected = np.interp(x[:, 0], edges, np.arange(10))
    assert_allclose(coded(encoder, x).sum(axis=1), expected, atol=1e-9)
    assert coded(encoder, x).min() >= -1e-12
    assert coded(encoder, x).max() <= 1 + 1e-12


@pytest.mark.parametrize("encoding", ["thermometer", "piecewise"])
def test_inputs_keep_mean_0_and_variance_1_and_codes_have_a_quarter_of_their_column(encoding):
    X = MIXED[:, :4]
    encoder = ColumnEncoder.fit(X, encoding=encoding)
    inputs = encoder(torch.as_tensor(X)).numpy()
    variance = inputs.var(axis=0)
    assert_allclose(inputs.mean(axis=0), 0, atol=1e-12)
    assert_allclose(variance.mean(), 1)
    assert_allclose(variance[:4], variance[0] * wanted_variance(X))
    for column in range(3):
        assert_allclose(variance[4:][encoder.column == column].sum(), variance[0] / 4)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_or_two_values_have_no_code(encoding):
    encoder = ColumnEncoder.fit(MIXED[:, 3:], encoding=encoding)
    assert encoder.n_inputs == 2
    assert_allclose(encoder(torch.as_tensor(MIXED[:, 3:])), standardized(MIXED[:, 3:]), rtol=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_column_that_is_nearly_constant_is_coded_with_finite_numbers(encoding):
    x = np.zeros((100, 1))
    x[:12, 0] = np.arange(12)
    for column in (x, -x, 1e300 * x):
        inputs = ColumnEncoder.fit(column, None, encoding, Standardizer.identity(1))(torch.as_tensor(column))
        assert inputs.isfinite().all()


@LAWS
@given(
    counts=st.lists(st.integers(0, 4), min_size=30, max_size=30).filter(any),
    n_values=st.integers(1, 30),
    encoding=st.sampled_from(ENCODINGS),
)
def test_weights_count_as_repetition(counts, n_values, encoding):
    x = (np.arange(30.0) * 7 % n_values)[:, None]
    weighted = ColumnEncoder.fit(x, np.array(counts, float), encoding)
    repeated = ColumnEncoder.fit(np.repeat(x, counts, axis=0), None, encoding)
    assert weighted.state_dict().keys() == repeated.state_dict().keys()
    for name, value in weighted.state_dict().items():
        assert_allclose(value, repeated.state_dict()[name], rtol=1e-9, atol=1e-12, err_msg=name)


@LAWS
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60),
    encoding=st.sampled_from(ENCODINGS),
)
def test_any_column_gives_finite_inputs_of_variance_at_most_1(values, encoding):
    x = np.array(values)[:, None]
    encoder = ColumnEncoder.fit(x, encoding=encoding)
    inputs = encoder(torch.as_tensor(x))
    assert inputs.isfinite().all()
    assert inputs.var(dim=0, correction=0).mean() < 1 + 1e-6
    assert encoder(torch.as_tensor(x.astype(np.float32))).isfinite().all()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_codes_of_other_dtypes_are_those_of_their_values(encoding, dtype):
    X = np.abs(10 * MIXED).astype(dtype)
    encoder, expected = (
        ColumnEncoder.fit(X, encoding=encoding),
        ColumnEncoder.fit(X.astype(float), encoding=encoding),
    )
    assert_allclose(
        encoder(torch.as_tensor(X)), expected(torch.as_tensor(X.astype(float))), rtol=1e-9, atol=1e-9
    )


def test_a_value_between_two_seen_ones_counts_as_the_nearer_and_rounding_changes_nothing():
    x = np.repeat([0.1, 0.2, 0.7], 4)[:, None]
    encoder = ColumnEncoder.fit(x)
    assert_array_equal(coded(encoder, np.array([[0.12], [0.4], [9.0]])).round(9), np.eye(3))
    assert_allclose(coded(encoder, x.astype(np.float32)), coded(encoder, x), atol=1e-6)


def test_neighbouring_floats_are_told_apart():
    x = np.repeat([1.0, np.nextafter(1, 2), np.nextafter(np.nextafter(1, 2), 2)], 2)[:, None]
    assert_array_equal(
        coded(ColumnEncoder.fit(x, None, "onehot", Standardizer.identity(1)), x).argmax(axis=1),
        [0, 0, 1, 1, 2, 2],
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoder_is_rebuilt_from_its_state(encoding):
    encoder = ColumnEncoder.fit(MIXED, encoding=encoding)
    again = encoder_from({name: value.numpy() for name, value in encoder.state_dict().items()})
    assert torch.equal(again(torch.as_tensor(MIXED)), encoder(torch.as_tensor(MIXED)))
    assert type(encoder_from(Standardizer.fit(MIXED).state_dict())) is Standardizer


def test_a_tensor_has_the_codes_of_an_array():
    X = torch.as_tensor(MIXED)
    assert_allclose(ColumnEncoder.fit(X)(X), ColumnEncoder.fit(MIXED)(X), atol=1e-12)


def test_codes_of_columns_whose_sums_overflow():
    """Cuts lie half-way between values, also where two values have no sum."""
    column = np.array([[1.0], [1.25], [1.75]]) * 1e308
    encoder = ColumnEncoder.fit(column, encoding="onehot", standardizer=Standardizer.identity(1))
    np.testing.assert_allclose(encoder.low.numpy(), [-np.inf, 1.125e308, 1.5e308])


def test_moments_are_taken_from_a_row_that_counts():
    """Distances from a far row without weight would leave no digits to those that have some."""
    rows = np.array([[1e15], [1.01], [2.03]])
    mean, deviation = column_moments(rows, np.array([0, 1, 1]))
    np.testing.assert_allclose((mean[0], deviation[0]), (1.52, 0.51), rtol=1e-12)


@pytest.mark.parametrize("encoding", ["onehot", "thermometer"])
def test_a_value_on_a_cut_belongs_below_it(encoding):
    """As in np.digitize(right=True): an interval holds its upper end, and no cut is above itself."""
    n_values = 3 if encoding == "onehot" else 90
    encoder = ColumnEncoder.fit(np.arange(float(n_values))[:, None], encoding=encoding)
    ends = encoder.low.numpy()
    cuts = ends[np.isfinite(ends)]
    below, at, above = (
        encoder(torch.from_numpy(x)[:, None])[:, 1:] for x in (cuts - 0.25, cuts, cuts + 0.25)
    )
    assert len(cuts) == (2 if encoding == "onehot" else 8)
    assert torch.equal(at, below) and not (at == above).all(dim=1).any()


@pytest.mark.parametrize("value", [1.7e308, -1.7e308])
def test_a_constant_column_of_the_largest_numbers_is_constant(value):
    mean, deviation = column_moments(np.full((3, 1), value))
    assert (mean[0], deviation[0]) == (value, 0)


@pytest.mark.parametrize("seed", [4, 5])  # the rounded share is below 1, and above
def test_a_constant_sparse_column_of_rows_with_weight_is_exactly_constant(seed):
    """Sums of weights round; the share of rows that have an entry must not be 1 less an epsilon."""
    weight = np.random.default_rng(seed).uniform(size=1000)
    weight[:10] = 0
    rows = sparse.csr_matrix(np.column_stack([np.full(1000, 3.7), np.arange(1000.0) % 7]))
    scaled = Standardizer.fit(rows, weight)(torch.from_numpy(rows.toarray()))
    assert (scaled[:, 0] == 0).all() and (scaled[:, 1] != 0).all()


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "n_bins"), [(639, 2, 9), (1000, 2, 15), (9000, 2, 48), (9000, 30, 17)]
)
def test_more_rows_have_finer_bins_and_many_columns_coarser_ones(n_rows, n_columns, n_bins):
    X = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    encoder = ColumnEncoder.fit(X, encoding="piecewise")
    assert encoder.n_inputs == n_columns * (1 + n_bins)
    assert_allclose(coded(encoder, X[:1]).sum(), sum((X < X[0]).mean(axis=0)) * n_bins, atol=0.2 * n_columns)
    absent = np.vstack([X, X]), np.r_[np.ones(n_rows), np.zeros(n_rows)]
    assert ColumnEncoder.fit(*absent, encoding="piecewise").n_inputs == encoder.n_inputs
