"""How columns enter the network: statistics learned in fit, buffers of the network after it."""

from itertools import islice

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

# A column of at most so many distinct values gets an indicator of each; others are cut into bins.
FEW_VALUES = 10

# The more rows, the finer the bins: what a code means is learned from ROWS_PER_BIN rows, or from more where
# there are so many columns that all codes would be more than MOST_CODES, by which the first layer is then at
# most as large as one between two layers of the classifier's widest (docs/paper_appendix.md).
LEAST_BINS, MOST_BINS, ROWS_PER_BIN, MOST_CODES = 9, 48, 64, 512

# Indicators of a column of categories, as many as HistGradientBoosting tells apart; the last one is then for
# all that are rarer than the others. With 30 too much is lost (docs/tables.md).
MOST_CATEGORIES = 255

# The deviation of all codes of a column together, in that of the column. At 1 they overfit: what a rare
# value or a short ramp means is learned from few rows (docs/paper_appendix.md).
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
        Finite numbers of any real dtype, and in a dense X NaN where values are missing, which count nowhere.
    weight : ndarray of shape (n_rows,), default=None
        Non-negative row weights, not all zero; None weighs rows equally. Rows of weight 0 are as if absent.

    Returns
    -------
    mean, deviation : ndarray of shape (n_columns,), float64
        The deviation is the biased one (squares are divided by the sum of weights); exactly 0 for a
        constant column, and not finite where the variance overflows float64. Of a column without any value
        the mean is NaN, the deviation 0.

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
    """Compute mean and deviation of one column with gaps, a constant, or one whose squares leave float64."""
    counts = (weight > 0) & ~np.isnan(values)
    values, weight = values[counts], weight[counts]
    if not counts.any():
        return np.nan, 0.0
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


def _dense_variance(values, weight):
    """Return the variance that a column is to have: less than 1 if most of its rows hold one value."""
    mass = _distinct(values, weight)[1]
    p = 1 - mass.max() / mass.sum() if len(mass) else 0.0
    return 4 * p * (1 - p) if 0 < p < 0.5 else 1.0


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
    """Centre and scale columns in float64; where a value is missing (NaN), it is as if it were the mean.

    Parameters
    ----------
    mean : array-like of shape (n_features,)
        What is subtracted. A column whose mean is NaN, since it has no value in `fit`, becomes 0.
    scale : array-like of shape (n_features,)
        What the difference is divided by; 0 counts as 1, for columns without spread.
    column : array-like of int of shape (n_features,), default=None
        Which columns of the rows are meant; None are all.

    Attributes
    ----------
    variance : ndarray of shape (n_features,)
        The variance that `fit` meant each column to have, but for a constant; else 1.

    Raises
    ------
    ValueError
        If a mean or a scale is not finite: the variance of a column overflows.

    Notes
    -----
    Shape: (n, n_features) of any real dtype to (n, n_features) float64.

    Examples
    --------
    >>> Standardizer([2.0], [0.5])(torch.tensor([[3.0], [torch.nan]]))
    tensor([[2.],
            [0.]], dtype=torch.float64)
    """

    mean: torch.Tensor
    scale: torch.Tensor
    column: torch.Tensor | None

    def __init__(self, mean, scale, column=None):
        super().__init__()
        mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
        self.variance = np.ones(len(mean))
        bad = np.flatnonzero(np.isinf(mean) | ~np.isfinite(scale))
        if len(bad):
            raise ValueError(
                f"column {bad[0]} of X is too large to standardise: its variance overflows float64. "
                "Rescale it (for example by its largest absolute value) or take its logarithm."
            )
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("scale", torch.from_numpy(np.where(scale > 0, scale, 1.0)))
        column = None if column is None else torch.from_numpy(np.array(column, np.int64))
        self.register_buffer("column", column)

    @classmethod
    def fit(cls, X, weight=None):
        """Learn the statistics of X.

        Parameters
        ----------
        X : ndarray, Tensor or scipy CSR of shape (n_rows, n_features)
            Columns are scaled by their own deviation, unless most rows hold one value (in a sparse X: no
            entry). What the few other rows hold would then be larger than anything else, and a network
            overfits it; so these columns are left a smaller variance than others (see Notes).
        weight : ndarray of shape (n_rows,), default=None
            Row weights.

        Returns
        -------
        standardizer : Standardizer

        Notes
        -----
        A dense column is scaled to variance 1, or to

            4 p (1 - p)

        if only a share p < 1/2 of its rows differs from the most frequent value: a column of two values is
        divided by the largest deviation that such a column can have, not by its own. All variances are
        multiplied by a constant, so that their mean is 1.

        A sparse column of which a share p of the rows has an entry, with variance v among these entries
        and mean m of them, has variance p (v + (1 - p) m^2). It is scaled to the variance

            p (v + (1 - p)^2 m^2) / (v + (1 - p) m^2)

        times a constant for all columns, so that their mean variance is 1: p times the share of its
        variance that rows with an entry account for. Without zeros (p = 1) that is 1, as if the column
        were dense; for a bit p (1 - p), the bit as it is; for numbers with many zeros about p.
        """
        if sparse.issparse(X):
            weight = np.ones(X.shape[0]) if weight is None else weight
            mean, deviation, variance = _sparse_moments(X, weight)
        else:
            mean, deviation = column_moments(X, weight)
            variance = np.array([_dense_variance(X[:, j], weight) for j in range(X.shape[1])])
        gain = np.sqrt(variance / max(variance.mean(), np.finfo(float).tiny))
        standardizer = cls(mean, deviation / np.where(gain > 0, gain, 1.0))
        standardizer.variance = variance
        return standardizer

    @classmethod
    def identity(cls, n_features):
        """Build one that only changes the dtype, for ``standardize=False``."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @property
    def n_inputs(self):
        """Columns of what comes out: inputs of the network behind."""
        return len(self.mean)

    def forward(self, X):
        """Return (X - mean) / scale in float64, 0 where a value is missing, on the device of X."""
        mean, scale = self.mean.to(X.device), self.scale.to(X.device)
        X = X if self.column is None else X[:, self.column.to(X.device)]
        return X.to(torch.float64).sub(mean).div_(scale).nan_to_num_(0.0, torch.inf, -torch.inf)

    def _apply(self, fn, recurse=True):
        # The statistics stay float64 on the host whatever is done to the network around them:
        # `.float()` would round them, and some devices have no float64.
        return self


class _Part(nn.Module):
    """Inputs that stand beside the columns themselves, centred and scaled.

    Parameters
    ----------
    column : array-like of int of shape (n_inputs,)
        The column that each input is computed from.
    mean, scale : array-like of shape (n_inputs,)
        What is subtracted from an input, and what the difference is divided by.
    """

    column: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, column, mean, scale):
        super().__init__()
        self.register_buffer("column", torch.from_numpy(np.array(column, np.int64)))
        self.register_buffer("mean", torch.from_numpy(np.array(mean, np.float64)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float64)))

    @property
    def n_inputs(self):
        """Number of inputs."""
        return len(self.column)

    def at(self, device):
        """Return the buffers by name, on a device."""
        return {name: buffer.to(device) for name, buffer in self.named_buffers()}

    def _apply(self, fn, recurse=True):
        return self  # as in Standardizer


class _Codes(_Part):
    """Codes of some columns: each a function of one column between two ends, `low` and `high`."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, column, low, high, mean, scale):
        super().__init__(column, mean, scale)
        self.register_buffer("low", torch.from_numpy(np.array(low, np.float64)))
        self.register_buffer("high", torch.from_numpy(np.array(high, np.float64)))

    @staticmethod
    def ends(values, mass, encoding, n_bins):
        """Choose where the codes of a column begin and end, from its distinct values and their weights."""
        raise NotImplementedError

    @staticmethod
    def between(x, low, high):
        """Compute codes, of an array or a tensor."""
        raise NotImplementedError

    @classmethod
    def fit(cls, columns, encoding, n_bins):
        """Learn codes of this kind from the distinct values of each column, and the weights of these."""
        codes = [[np.empty(0)] * 5]
        for column, (values, mass) in columns.items():
            low, high = cls.ends(values, mass, encoding, n_bins)
            if len(low):
                coded = (1.0 * cls.between(values, *ends) for ends in zip(low, high, strict=True))
                mean, variance = np.array([_weighted_moments(code, mass) for code in coded]).T
                scale = np.full(len(low), np.sqrt(variance.sum()) / CODE_DEVIATION)
                codes.append([np.full(len(low), column), low, high, mean, scale])
        return cls(*map(np.concatenate, zip(*codes, strict=True)))

    def forward(self, X):
        """Return the codes in float64, 0 where a value is missing, on the device of X."""
        own = self.at(X.device)
        x = X[:, own["column"]].to(torch.float64)
        codes = self.between(x, own["low"], own["high"]).to(torch.float64)
        return codes.sub_(own["mean"]).div_(own["scale"]).masked_fill_(x.isnan(), 0.0)


class _Indicators(_Codes):
    """1 where ``low < x <= high``, else 0: for each value of a column of few, or above cuts of others."""

    @staticmethod
    def ends(values, mass, encoding, n_bins):
        between = _between(values)
        if 3 <= len(values) <= FEW_VALUES:
            return np.append(-np.inf, between), np.append(between, np.inf)
        if encoding == "thermometer" and len(values) > FEW_VALUES:
            cuts = between[_cuts(mass, n_bins)]
            return cuts, np.full(len(cuts), np.inf)
        return np.empty(0), np.empty(0)

    @staticmethod
    def between(x, low, high):
        return (x > low) & (x <= high)


class _Ramps(_Codes):
    """Rise from 0 at `low` to 1 at `high`, through each part of a column of many values."""

    @staticmethod
    def ends(values, mass, encoding, n_bins):
        if encoding != "piecewise" or len(values) <= FEW_VALUES:
            return np.empty(0), np.empty(0)
        edges = np.unique(values[[0, *_cuts(mass, n_bins), -1]])
        return edges[:-1], edges[1:]

    @staticmethod
    def between(x, low, high):
        return ((x - low) / (high - low)).clip(0, 1)


class _Gaps(_Part):
    """1 where a value is missing, else 0: for columns of numbers that had some missing in `fit`."""

    @classmethod
    def fit(cls, column, present):
        """Learn the indicators from the share of each column that is present."""
        some = (present > 0) & (present < 1)
        # As they are: their variance is a quarter at most, as that of codes, and small where gaps are rare.
        return cls(column[some], 1 - present[some], np.ones(some.sum()))

    def forward(self, X):
        """Return the indicators in float64, on the device of X."""
        own = self.at(X.device)
        return X[:, own["column"]].isnan().to(torch.float64).sub_(own["mean"]).div_(own["scale"])


class _Categories(_Part):
    """1 for the category of a row, else 0: one indicator for all that are rare, and one for missing ones.

    Parameters
    ----------
    column, mean, scale : array-like of shape (n_inputs,)
        As in `_Part`.
    categorical : array-like of int of shape (n_columns,)
        The columns, ascending.
    place : array-like of int of shape (n_columns, n_categories + 1)
        The input of each category of each column, last that of missing ones, which also stands for categories
        that `fit` has not seen; n_inputs where there is none: all indicators of the column are 0 then.
    """

    categorical: torch.Tensor
    place: torch.Tensor
    block: torch.Tensor

    def __init__(self, column, mean, scale, categorical, place):
        super().__init__(column, mean, scale)
        self.register_buffer("categorical", torch.from_numpy(np.array(categorical, np.int64)))
        self.register_buffer("place", torch.from_numpy(np.array(place, np.int64)))
        self.register_buffer("block", torch.searchsorted(self.categorical, self.column), persistent=False)

    @classmethod
    def fit(cls, X, weight, n_categories):
        """Learn the indicators from X and the number of categories of each column that has some."""
        place = np.full((len(n_categories), max(n_categories.values(), default=0) + 1), -1)
        found, n_inputs = [[np.empty(0)] * 3], 0
        for own, (column, n) in zip(place, n_categories.items(), strict=True):
            mass = _category_mass(X[:, column], weight, n)
            groups = _grouped(mass[:-1]) + [[-1]] * bool(mass[-1])
            for group in groups:
                own[group] = n_inputs
                n_inputs += 1
            own[own < 0] = own[-1]  # what rows with weight do not have is as if missing
            share = np.array([mass[group].sum() for group in groups]) / mass.sum()
            scale = np.sqrt((share * (1 - share)).sum()) / CODE_DEVIATION
            found.append([np.full(len(share), column), share, np.full(len(share), scale or 1.0)])
        column, mean, scale = map(np.concatenate, zip(*found, strict=True))
        return cls(column, mean, scale, list(n_categories), np.where(place < 0, n_inputs, place))

    def forward(self, X):
        """Return the indicators in float64, on the device of X."""
        own = self.at(X.device)
        missing = own["place"].shape[1] - 1
        code = X[:, own["categorical"]].to(torch.float64).nan_to_num(missing).long()
        place = own["place"][torch.arange(code.shape[1], device=X.device), code][:, own["block"]]
        inputs = (place == torch.arange(self.n_inputs, device=X.device)).to(torch.float64)
        return inputs.sub_(own["mean"]).div_(own["scale"]).masked_fill_(place == self.n_inputs, 0.0)


# What stands beside the columns themselves, in this order: first the codes of numbers.
CODES = {"indicators": _Indicators, "ramps": _Ramps}
PARTS = {"columns": Standardizer, **CODES, "gaps": _Gaps, "categories": _Categories}


class ColumnEncoder(nn.Module):
    """Standardise columns and set a code of each beside them.

    A network of few units bends a function of one column at few places; codes give it the places
    at which to bend. A code is an indicator of an interval, 1 where ``low < x <= high``, or a ramp that
    rises from 0 at `low` to 1 at `high`. The codes of a column have together a quarter of its variance, so
    a column of many codes does not outweigh the others.

    A column of categories has no input but an indicator of each, which have together a quarter of the
    variance of a column of numbers, too. Where a number is missing, all its inputs are 0, the mean of any
    input, but for an indicator that it is missing.

    Parameters
    ----------
    **parts : nn.Module
        What computes the inputs, in this order: ``columns``, a `Standardizer`, and where there are such
        inputs ``indicators`` and ``ramps``, which are the codes of numbers, ``gaps`` and ``categories``.
        `fit` learns them.

    Attributes
    ----------
    column : Tensor of shape (n_inputs - n_numbers,)
        The column of each input behind those of the columns of numbers themselves.
    low, high : Tensor of shape (n_codes,)
        Where each code of a number begins and ends.
    mean, scale : Tensor of shape (n_inputs,)
        What is subtracted from columns, codes and indicators, and what the difference is divided by.

    See Also
    --------
    sksnn.SNNClassifier : Has it as its parameter ``encoding``.

    Notes
    -----
    Shape: (n, n_features) of any real dtype to (n, n_inputs) float64. Categories are numbers from 0 on, and
    NaN where they are missing.

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
    def fit(cls, X, weight=None, encoding="onehot", standardizer=None, n_categories=None):
        """Learn statistics, codes and indicators of X.

        Parameters
        ----------
        X : ndarray or Tensor of shape (n_rows, n_features)
            NaN where a value is missing.
        weight : ndarray of shape (n_rows,), default=None
            Row weights, which count in the quantiles too; rows of weight 0 are as if absent.
        encoding : {"onehot", "thermometer", "piecewise"} or None, default="onehot"
            All give columns of three to ten distinct values an indicator of each. Longer columns have no
            code ("onehot"), or are cut at quantiles into bins: "thermometer" has an indicator of being above
            each cut, "piecewise" a ramp through each bin. There is a bin for every 64 rows, from 9 to 48 of
            them, but at most about 512 for all columns together. Columns of one or two values have no
            code, since it would say nothing new. None: no codes.
        standardizer : Standardizer, default=None
            What is done to the columns themselves; None learns it.
        n_categories : dict of int to int, default=None
            The columns that hold categories, ascending, and the number of these. The most frequent categories
            of a column have an indicator each, at most MOST_CATEGORIES; all others have one together.

        Returns
        -------
        encoder : ColumnEncoder

        Raises
        ------
        ValueError
            If there is no such encoding.
        """
        if encoding not in (None, *ENCODINGS):
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, or None; got {encoding!r}.")
        n_categories, plain = n_categories or {}, standardizer or Standardizer.fit(X, weight)
        numeric = np.array([j for j in range(X.shape[1]) if j not in n_categories], np.int64)
        present = _share_present(X, weight)
        distinct = {j: _distinct(X[:, j], weight) for j in numeric} if encoding else {}
        n_bins = choose_n_bins(X.shape[0] if weight is None else np.count_nonzero(weight), distinct)
        parts = {name: kind.fit(distinct, encoding, n_bins) for name, kind in CODES.items()}
        parts["gaps"] = _Gaps.fit(numeric, present[numeric])
        parts["categories"] = _Categories.fit(X, weight, n_categories)
        chosen = numeric if n_categories else None
        scale = plain.scale * np.sqrt(1 / plain.variance.mean()) if X.shape[1] else plain.scale
        columns = Standardizer(plain.mean[numeric], scale[numeric], chosen)
        encoder = cls(columns=columns, **{name: part for name, part in parts.items() if part.n_inputs})
        coded = {int(column) for name in CODES for column in parts[name].column}
        for name in CODES:
            parts[name].scale.div_(torch.from_numpy(np.sqrt(plain.variance))[parts[name].column])
        # The gain brings the mean variance of all inputs back to 1, which LeCun's initialisation asks for. A
        # missing number is 0, and takes its share from the variance of its inputs.
        missing = parts["gaps"].mean.numpy()
        variance = (plain.variance * present)[numeric].sum() + (missing * (1 - missing)).sum()
        variance += CODE_DEVIATION**2 * ((plain.variance * present)[[*coded]].sum() + len(n_categories))
        gain = np.sqrt(encoder.n_inputs / (variance or 1.0))  # 0: all values are missing
        for part in encoder.parts.values():
            part.get_buffer("scale").div_(gain)
        return encoder

    def forward(self, X):
        """Return columns and codes, centred and scaled, in float64, on the device of X."""
        return torch.cat([part(X) for part in self.parts.values()], dim=1)

    @property
    def mean(self):
        """What is subtracted from columns and codes."""
        return self._join("mean", PARTS)

    @property
    def scale(self):
        """What columns and codes are divided by."""
        return self._join("scale", PARTS)

    @property
    def column(self):
        """The column of each input behind those of the columns themselves."""
        return self._join("column", PARTS.keys() - {"columns"})

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


def choose_n_bins(n_rows, distinct):
    """Return the number of bins of a column of many values.

    Parameters
    ----------
    n_rows : int
        Rows with weight.
    distinct : dict
        The distinct values of each column of numbers, and their weights.

    Returns
    -------
    n_bins : int

    Examples
    --------
    >>> few, many = (np.arange(4), None), (np.arange(900), None)
    >>> [choose_n_bins(1000, {0: few, 1: many}), choose_n_bins(9000, dict.fromkeys(range(40), many))]
    [15, 12]
    """
    n_binned = sum(len(values) > FEW_VALUES for values, _ in distinct.values())
    n_bins = min(n_rows // ROWS_PER_BIN, MOST_CODES // max(n_binned, 1))
    return int(np.clip(n_bins, LEAST_BINS, MOST_BINS))


def learn_encoder(X, weight, standardize, encoding, n_categories):
    """Learn how columns enter the network; sparse ones have no codes, which are dense."""
    plain = Standardizer.fit(X, weight) if standardize else Standardizer.identity(X.shape[1])
    if sparse.issparse(X):
        return plain
    if encoding is None and not n_categories and (_share_present(X, weight) == 1).all():
        return plain
    return ColumnEncoder.fit(X, weight, encoding, plain, n_categories)


def encoder_from(state):
    """Build the encoder that a state, arrays by name, was taken from."""
    if "mean" in state:
        return Standardizer(**state)
    parts: dict[str, dict] = {}
    for key, values in state.items():
        _, name, buffer = key.split(".")
        parts.setdefault(name, {})[buffer] = values
    return ColumnEncoder(**{name: PARTS[name](**buffers) for name, buffers in parts.items()})


def has_many_columns(X, most):
    """Say whether more than `most` columns have more than two values, so that codes say something new."""

    def may_have_codes(j):
        x = _as_array(X[:, j])
        return ((x > np.fmin.reduce(x)) & (x < np.fmax.reduce(x))).any()

    if X.shape[1] <= most or sparse.issparse(X):
        return X.shape[1] > most
    return len(list(islice(filter(may_have_codes, range(X.shape[1])), most + 1))) > most


def _share_present(X, weight):
    """Return the share of each column, by weight, that is not missing: exactly 1 where all is there."""
    weight = np.ones(X.shape[0]) if weight is None else np.array(weight, np.float64)
    slices, first = chunk_slices(*X.shape), X[:1]
    if torch.is_tensor(first):
        w = torch.from_numpy(weight).to(as_float64(first).device)
        missing = sum(w[s] @ as_float64(X[s]).isnan().double() for s in slices)
    else:
        missing = sum(weight[s] @ np.isnan(X[s]) for s in slices)
    return 1 - _as_array(missing) / weight.sum()


def _category_mass(codes, weight, n_categories):
    """Return the weight of each category, and last that of the rows where it is missing."""
    codes = np.nan_to_num(_as_array(codes), nan=n_categories).astype(np.int64)
    return np.bincount(codes, weight, minlength=n_categories + 1)


def _grouped(mass):
    """Cut categories of these weights into lists: one for each frequent category, one for all others."""
    order = np.argsort(-mass, kind="stable")[: np.count_nonzero(mass)].tolist()
    n_alone = len(order) if len(order) <= MOST_CATEGORIES else MOST_CATEGORIES - 1
    return [[code] for code in order[:n_alone]] + [order[n_alone:]] * (n_alone < len(order))


def _distinct(values, weight):
    """Return the distinct values of a column that are not missing, ascending, and the weight of each."""
    values = _as_array(values)
    if weight is None:
        values, mass = np.unique(values, return_counts=True)
    else:
        values, index = np.unique(values[weight > 0], return_inverse=True)
        mass = np.bincount(index, weight[weight > 0])
    present = ~np.isnan(values)
    return values[present].astype(np.float64), mass[present]


def _between(values):
    """Return cuts between neighbours, so that a value met again with another rounding has the same code."""
    between = values[:-1] / 2 + values[1:] / 2
    return np.where((between >= values[:-1]) & (between < values[1:]), between, values[:-1])


def _cuts(mass, n_bins):
    """Return the positions behind which quantiles cut a column of many values."""
    cumulated = np.cumsum(mass)
    cuts = np.unique(np.searchsorted(cumulated, np.arange(1, n_bins) / n_bins * cumulated[-1]))
    return cuts[cuts < len(mass) - 1]


def _weighted_moments(values, weight):
    mean = np.average(values, weights=weight)
    return mean, np.average((values - mean) ** 2, weights=weight)
