"""How columns enter the network: statistics learned in fit, buffers of the network after it."""

import numpy as np
import torch
from scipy import sparse
from torch import nn

__all__ = ["ENCODINGS", "ColumnEncoder", "Standardizer"]

#: Names of the codes that may be set beside a column.
#:
#: >>> ENCODINGS
#: ('onehot', 'thermometer', 'piecewise')
ENCODINGS = ("onehot", "thermometer", "piecewise")

# A column of at most so many distinct values gets an indicator of each; others are cut into N_BINS.
FEW_VALUES = 10
N_BINS = 9

# The deviation of all codes of a column together, in that of the column. At 1 they overfit: what a rare
# value or a short ramp means is learned from few rows (docs/paper.md).
CODE_DEVIATION = 0.5

# A smaller variance is not exact in float64, since squares of distances underflow; that of a larger deviation
# overflows.
LEAST_EXACT_VARIANCE, LARGEST_DEVIATION = 1e-290, np.sqrt(np.finfo(float).max)

# Elements of X handled at once: 2**20 float64 numbers are 8 MiB, small beside X and in cache.
CHUNK_ELEMENTS = 2**20


def chunk_slices(n_rows, n_columns, elements=CHUNK_ELEMENTS):
    """Cut rows into slices of at most `elements` numbers (at least one row each).

    Parameters
    ----------
    n_rows, n_columns : int
        Shape of the array to cut.
    elements : int, default=CHUNK_ELEMENTS
        Most numbers of a slice.

    Returns
    -------
    slices : list of slice

    Examples
    --------
    >>> chunk_slices(5, 2, elements=4)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, elements // max(1, n_columns))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]


def column_moments(X, weight=None):
    """Compute mean and standard deviation of each column in float64, chunk by chunk.

    Parameters
    ----------
    X : ndarray, Tensor or scipy CSR of shape (n_rows, n_columns)
        Finite numbers of any real dtype.
    weight : ndarray of shape (n_rows,), default=None
        Non-negative row weights, not all zero; None weighs rows equally. Rows of weight 0 are as if absent.

    Returns
    -------
    mean, deviation : ndarray of shape (n_columns,), float64
        The deviation is the biased one (squares are divided by the sum of weights); exactly 0 for a
        constant column, and not finite where the variance overflows float64.

    Examples
    --------
    >>> column_moments(np.array([[1.0, 5], [3, 5]]))
    (array([2., 5.]), array([1., 0.]))
    """
    weight = np.ones(X.shape[0]) if weight is None else np.array(weight, np.float64)  # for torch: writable
    if sparse.issparse(X):
        return _sparse_moments(X, weight)[:2]
    # Distances from a row of the data, not from 0: exact for constant columns, and time stamps
    # seconds apart keep their digits.
    origin = as_float64(X[int(np.argmax(weight > 0))])
    w = torch.from_numpy(weight).to(origin.device) if torch.is_tensor(origin) else weight
    slices = chunk_slices(*X.shape)
    with np.errstate(all="ignore"):  # of columns that follow
        shift = sum(w[s] @ (as_float64(X[s]) - origin) for s in slices) / w.sum()
        variance = sum(w[s] @ (as_float64(X[s]) - origin - shift) ** 2 for s in slices) / w.sum()
        mean, deviation = _as_array(origin + shift), np.sqrt(_as_array(variance))
        for j in np.flatnonzero(~((deviation > LEAST_EXACT_VARIANCE**0.5) & (deviation < np.inf))):
            mean[j], deviation[j] = _scaled_moments(_as_array(as_float64(X[:, j])), weight)
    return mean, np.where(deviation < LARGEST_DEVIATION, deviation, np.inf)


def _as_array(values):
    return values.cpu().numpy() if torch.is_tensor(values) else values


@np.errstate(over="ignore")
def _unit(largest):
    """Return the power of 2 above a magnitude: in such units squares are at most 1, and nothing is rounded.

    Infinite from 2**1023 on, where differences overflow.
    """
    return np.exp2(np.frexp(largest)[1])


def _scaled_moments(values, weight):
    """Compute mean and deviation of one column that is constant, or whose squares leave float64."""
    values, weight = values[weight > 0], weight[weight > 0]
    if (values == values[0]).all():
        return values[0], 0.0
    unit = _unit(abs(values).max())
    distance = (values - values[0]) / unit
    shift = np.average(distance, weights=weight)
    variance = np.average((distance - shift) ** 2, weights=weight)
    return values[0] + shift * unit, np.sqrt(variance) * unit


def _sparse_moments(X, weight):
    """Compute mean and deviation of sparse columns, and the variance that each is to have.

    That variance is the share of the rows (by weight) that have an entry, times the share of the column's
    variance that those rows account for: 1 for a column without zeros, p (1 - p) for a bit that is set
    in a share p of the rows.
    """
    n_entries = np.diff(X.indptr)
    counts = (np.repeat(weight, n_entries) > 0) & (X.data != 0)
    column, value = X.indices[counts], X.data[counts].astype(np.float64)
    entry_weight = np.repeat(weight, n_entries)[counts]

    def total(values):
        return np.bincount(column, entry_weight * values, minlength=X.shape[1])

    largest = np.zeros(X.shape[1])
    np.maximum.at(largest, column, abs(value))
    unit = _unit(largest)
    value = value / unit[column]
    origin = np.zeros(X.shape[1])
    origin[column] = value
    value -= origin[column]
    with np.errstate(invalid="ignore"):  # 0 / 0 without entries or spread, 0 * inf
        present = total(1.0)
        shift = np.nan_to_num(total(value) / present)
        within = np.nan_to_num(total((value - shift[column]) ** 2) / present)  # variance among the entries
        full = np.bincount(column, minlength=X.shape[1]) == (weight > 0).sum()
        p = np.where(full, 1.0, present / weight.sum())
        level = origin + shift
        spread = within + (1 - p) * level**2
        wanted = np.nan_to_num(p * (within + (1 - p) ** 2 * level**2) / spread)
        deviation = np.sqrt(p * spread) * unit
        return p * level * unit, np.where(deviation < LARGEST_DEVIATION, deviation, np.inf), wanted


def as_float64(rows):
    """Return rows in float64, on their device if it has such numbers.

    Parameters
    ----------
    rows : ndarray or Tensor

    Returns
    -------
    rows : ndarray or Tensor of float64

    Examples
    --------
    >>> as_float64(torch.tensor([1, 2]))
    tensor([1., 2.], dtype=torch.float64)
    """
    if torch.is_tensor(rows):
        return (rows.cpu() if rows.device.type == "mps" else rows).double()
    return rows.astype(np.float64)


class Standardizer(nn.Module):
    """Centre and scale columns in float64.

    Parameters
    ----------
    mean : array-like of shape (n_features,)
        What is subtracted.
    scale : array-like of shape (n_features,)
        What the difference is divided by; 0 counts as 1, for columns without spread.

    Raises
    ------
    ValueError
        If a mean or a scale is not finite: the variance of a column overflows.

    Notes
    -----
    Shape: (n, n_features) of any real dtype to (n, n_features) float64.

    Examples
    --------
    >>> Standardizer([2.0], [0.5])(torch.tensor([[3.0]]))
    tensor([[2.]], dtype=torch.float64)
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean, scale):
        super().__init__()
        mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
        bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(scale)))
        if len(bad):
            raise ValueError(
                f"column {bad[0]} of X is too large to standardise: its variance overflows float64. "
                "Rescale it (for example by its largest absolute value) or take its logarithm."
            )
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("scale", torch.from_numpy(np.where(scale > 0, scale, 1.0)))

    @classmethod
    def fit(cls, X, weight=None):
        """Learn the statistics of X.

        Parameters
        ----------
        X : ndarray, Tensor or scipy CSR of shape (n_rows, n_features)
            Dense columns are scaled each by its own deviation. Of a sparse column this would make a rare
            bit larger than anything else, which overfits; so its variance stays below that of the
            others, as far as it is due to rows without an entry (see Notes).
        weight : ndarray of shape (n_rows,), default=None
            Row weights.

        Returns
        -------
        standardizer : Standardizer

        Notes
        -----
        A sparse column of which a share p of the rows has an entry, with variance v among these entries
        and mean m of them, has variance p (v + (1 - p) m^2). It is scaled to the variance

            p (v + (1 - p)^2 m^2) / (v + (1 - p) m^2)

        times a constant for all columns, so that their mean variance is 1: p times the share of its
        variance that rows with an entry account for. Without zeros (p = 1) that is 1, as if the column
        were dense; for a bit p (1 - p), the bit as it is; for numbers with many zeros about p.
        """
        if not sparse.issparse(X):
            return cls(*column_moments(X, weight))
        weight = np.ones(X.shape[0]) if weight is None else weight
        mean, deviation, variance = _sparse_moments(X, weight)
        gain = np.sqrt(variance / max(variance.mean(), np.finfo(float).tiny))
        return cls(mean, deviation / np.where(gain > 0, gain, 1.0))

    @classmethod
    def identity(cls, n_features):
        """Build one that only changes the dtype, for ``standardize=False``."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @property
    def n_inputs(self):
        """Columns of what comes out: inputs of the network behind."""
        return len(self.mean)

    def forward(self, X):
        """Return (X - mean) / scale in float64, on the device of X."""
        mean, scale = self.mean.to(X.device), self.scale.to(X.device)
        return X.to(torch.float64).sub(mean).div_(scale)

    def _apply(self, fn, recurse=True):
        # The statistics stay float64 on the host whatever is done to the network around them:
        # `.float()` would round them, and some devices have no float64.
        return self


class _Codes(nn.Module):
    """Codes of some columns: each a function of one column between two ends, centred and scaled.

    Parameters
    ----------
    column : array-like of int of shape (n_codes,)
        The column of each code.
    low, high : array-like of shape (n_codes,)
        Where each code begins and ends.
    mean, scale : array-like of shape (n_codes,)
        What is subtracted from a code, and what the difference is divided by.
    """

    column: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, column, low, high, mean, scale):
        super().__init__()
        self.register_buffer("column", torch.from_numpy(np.array(column, np.int64)))
        for name, values in {"low": low, "high": high, "mean": mean, "scale": scale}.items():
            self.register_buffer(name, torch.from_numpy(np.array(values, np.float64)))

    @staticmethod
    def ends(values, mass, encoding):
        """Choose where the codes of a column begin and end, from its distinct values and their weights."""
        raise NotImplementedError

    @staticmethod
    def between(x, low, high):
        """Compute codes, of an array or a tensor."""
        raise NotImplementedError

    @classmethod
    def fit(cls, columns, encoding):
        """Learn codes of this kind from the distinct values of each column and their weights."""
        codes = [[np.empty(0)] * 5]
        for column, (values, mass) in enumerate(columns):
            low, high = cls.ends(values, mass, encoding)
            if len(low):
                coded = (1.0 * cls.between(values, *ends) for ends in zip(low, high, strict=True))
                mean, variance = np.array([_weighted_moments(code, mass) for code in coded]).T
                scale = np.full(len(low), np.sqrt(variance.sum()) / CODE_DEVIATION)
                codes.append([np.full(len(low), column), low, high, mean, scale])
        return cls(*map(np.concatenate, zip(*codes, strict=True)))

    @property
    def n_inputs(self):
        """Number of codes."""
        return len(self.column)

    def forward(self, X):
        """Return the codes in float64, on the device of X."""
        column, low, high, mean, scale = (
            values.to(X.device) for values in (self.column, self.low, self.high, self.mean, self.scale)
        )
        codes = self.between(X[:, column].to(torch.float64), low, high)
        return codes.to(torch.float64).sub_(mean).div_(scale)

    def _apply(self, fn, recurse=True):
        return self  # as in Standardizer


class _Indicators(_Codes):
    """1 where ``low < x <= high``, else 0: for each value of a column of few, or above cuts of others."""

    @staticmethod
    def ends(values, mass, encoding):
        between = _between(values)
        if 3 <= len(values) <= FEW_VALUES:
            return np.append(-np.inf, between), np.append(between, np.inf)
        if encoding == "thermometer" and len(values) > FEW_VALUES:
            cuts = between[_cuts(mass)]
            return cuts, np.full(len(cuts), np.inf)
        return np.empty(0), np.empty(0)

    @staticmethod
    def between(x, low, high):
        return (x > low) & (x <= high)


class _Ramps(_Codes):
    """Rise from 0 at `low` to 1 at `high`, through each part of a column of many values."""

    @staticmethod
    def ends(values, mass, encoding):
        if encoding != "piecewise" or len(values) <= FEW_VALUES:
            return np.empty(0), np.empty(0)
        edges = np.unique(values[[0, *_cuts(mass), -1]])
        return edges[:-1], edges[1:]

    @staticmethod
    def between(x, low, high):
        return ((x - low) / (high - low)).clip(0, 1)


# What stands beside the columns themselves, in this order.
CODES = {"indicators": _Indicators, "ramps": _Ramps}


class ColumnEncoder(nn.Module):
    """Standardise columns and set a code of each beside them.

    A network of few units bends a function of one column at few places; codes give it the places
    at which to bend. A code is an indicator of an interval, 1 where ``low < x <= high``, or a ramp that
    rises from 0 at `low` to 1 at `high`. The codes of a column have together a quarter of its variance, so
    a column of many codes does not outweigh the others.

    Parameters
    ----------
    **parts : nn.Module
        What computes the inputs, in this order: ``columns``, a `Standardizer`, and where there are such
        codes ``indicators`` and ``ramps``. `fit` learns them.

    Attributes
    ----------
    column, low, high : Tensor of shape (n_codes,)
        The column of each code, and where it begins and ends.
    mean, scale : Tensor of shape (n_features + n_codes,)
        What is subtracted from columns and codes, and what the difference is divided by.

    See Also
    --------
    sksnn.SNNClassifier : Has it as its parameter ``encoding``.

    Notes
    -----
    Shape: (n, n_features) of any real dtype to (n, n_features + n_codes) float64.

    References
    ----------
    Gorishniy, Rubachev and Babenko, On embeddings for numerical features in tabular deep learning,
    2022, arXiv:2203.05556, section 3.2, for the ramps ("piecewise linear encoding").

    Examples
    --------
    >>> encoder = ColumnEncoder.fit(np.array([[1.0], [1], [2], [3]]), encoding="onehot")
    >>> encoder.column.tolist(), encoder.low.tolist(), encoder.high.tolist()
    ([0, 0, 0], [-inf, 1.5, 2.5], [1.5, 2.5, inf])
    >>> encoder(torch.tensor([[1.0], [3.0]])).shape
    torch.Size([2, 4])
    """

    def __init__(self, **parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.n_inputs = sum(part.n_inputs for part in parts.values())

    @classmethod
    def fit(cls, X, weight=None, encoding="onehot", standardizer=None):
        """Learn statistics and codes of X.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n_rows, n_features)
        weight : ndarray of shape (n_rows,), default=None
            Row weights, which count in the quantiles too; rows of weight 0 are as if absent.
        encoding : {"onehot", "thermometer", "piecewise"}, default="onehot"
            All give columns of three to ten distinct values an indicator of each. Longer columns have no
            code ("onehot"), or are cut at the eight inner quantiles into nine parts: "thermometer" has an
            indicator of being above each cut, "piecewise" a ramp through each part. Columns of one
            or two values have no code, since it would say nothing new.
        standardizer : Standardizer, default=None
            What is done to the columns themselves; None learns it.

        Returns
        -------
        encoder : ColumnEncoder

        Raises
        ------
        ValueError
            If there is no such encoding.
        """
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}.")
        columns = [_distinct(X[:, j], weight) for j in range(X.shape[1])]
        codes = {name: kind.fit(columns, encoding) for name, kind in CODES.items()}
        codes = {name: part for name, part in codes.items() if part.n_inputs}
        plain = Standardizer.fit(X, weight) if standardizer is None else standardizer
        encoder = cls(columns=Standardizer(plain.mean, plain.scale), **codes)
        n_coded = sum(len(part.column.unique()) for part in codes.values())
        # The gain brings the mean variance of all inputs back to 1, which LeCun's initialisation asks for.
        gain = np.sqrt(encoder.n_inputs / (X.shape[1] + CODE_DEVIATION**2 * n_coded))
        for part in encoder.parts.values():
            part.get_buffer("scale").div_(gain)
        return encoder

    def forward(self, X):
        """Return columns and codes, centred and scaled, in float64, on the device of X."""
        return torch.cat([part(X) for part in self.parts.values()], dim=1)

    @property
    def mean(self):
        """What is subtracted from columns and codes."""
        return self._join("mean", self.parts)

    @property
    def scale(self):
        """What columns and codes are divided by."""
        return self._join("scale", self.parts)

    @property
    def column(self):
        """The column of each code."""
        return self._join("column", CODES)

    @property
    def low(self):
        """Where each code begins."""
        return self._join("low", CODES)

    @property
    def high(self):
        """Where each code ends."""
        return self._join("high", CODES)

    def _join(self, buffer, names):
        """Join a buffer of the parts of these names."""
        parts = [part for name, part in self.parts.items() if name in names]
        return torch.cat([getattr(part, buffer) for part in parts] or [torch.empty(0)])


def learn_encoder(X, weight, standardize, encoding):
    """Learn how columns enter the network; sparse ones have no codes, which are dense."""
    plain = Standardizer.fit(X, weight) if standardize else Standardizer.identity(X.shape[1])
    if encoding is None or sparse.issparse(X):
        return plain
    return ColumnEncoder.fit(X, weight, encoding, plain)


def encoder_from(state):
    """Build the encoder that a state, arrays by name, was taken from."""
    if "mean" in state:
        return Standardizer(**state)
    parts: dict[str, dict] = {}
    for key, values in state.items():
        _, name, buffer = key.split(".")
        parts.setdefault(name, {})[buffer] = values
    kinds = {"columns": Standardizer, **CODES}
    return ColumnEncoder(**{name: kinds[name](**buffers) for name, buffers in parts.items()})


def _distinct(values, weight):
    """Return the distinct values of a column, ascending, and the weight of each."""
    values = values.cpu().numpy() if torch.is_tensor(values) else values
    if weight is None:
        values, mass = np.unique(values, return_counts=True)
    else:
        values, index = np.unique(values[weight > 0], return_inverse=True)
        mass = np.bincount(index, weight[weight > 0])
    return values.astype(np.float64), mass


def _between(values):
    """Return cuts between neighbours, so that a value met again with another rounding has the same code."""
    between = values[:-1] / 2 + values[1:] / 2
    return np.where((between >= values[:-1]) & (between < values[1:]), between, values[:-1])


def _cuts(mass):
    """Return the positions behind which quantiles cut a column of many values."""
    cumulated = np.cumsum(mass)
    cuts = np.unique(np.searchsorted(cumulated, np.arange(1, N_BINS) / N_BINS * cumulated[-1]))
    return cuts[cuts < len(mass) - 1]


def _weighted_moments(values, weight):
    mean = np.average(values, weights=weight)
    return mean, np.average((values - mean) ** 2, weights=weight)
