"""Which columns of X hold categories, and which categories these are: frames become arrays of numbers.

Behind `Columns.read` a category is a number, its position among the sorted categories of its column, and
NaN where it is missing or was unknown in fit.
"""

from dataclasses import dataclass
from numbers import Number

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from ._validation import as_rows, check_inputs, check_numbers, is_missing_object, refuse_times

# What a column of objects may hold.
KINDS = "strings", "numbers", "nothing"

# Names of polars' dtypes whose values are objects; those of pandas have the kind "O", with pyarrow "U".
OBJECTS = {"Categorical", "Enum", "String", "Object", "Null"}


@dataclass(frozen=True)
class Columns:
    """What a fit has learned about the columns of X.

    Parameters
    ----------
    categorical : tuple of int, default=()
        The columns that hold categories.
    kinds : tuple of str, default=()
        Whether those are "strings" or "numbers"; "nothing" if all are missing.
    encoder : OrdinalEncoder, default=None
        Their categories, if there are such columns.
    """

    categorical: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    encoder: OrdinalEncoder | None = None

    @property
    def n_categories(self):
        """The number of categories of each column that has some."""
        found = self.encoder.categories_ if self.encoder else []
        present = (sum(not is_missing_object(value) for value in values) for values in found)
        return dict(zip(self.categorical, present, strict=True))

    @classmethod
    def learn(cls, estimator, X):
        """Find the columns that hold categories, and learn these.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
            Its parameter `categorical_features` counts.
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)

        Returns
        -------
        columns : Columns

        Raises
        ------
        ValueError
            If X has no columns as the parameter names, or they hold anything but strings or numbers.
        """
        chosen, X = estimator.categorical_features, as_rows(X)
        if chosen is None or (isinstance(chosen, str) and not _is_frame(X)):
            return cls()
        rows = _as_table(X)
        refuse_times(rows)
        categorical = _found(rows) if isinstance(chosen, str) else _named(rows, chosen)
        if not categorical:
            return cls()
        values, kinds = zip(*(_read_objects(rows, j) for j in categorical), strict=True)
        encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
        )
        return cls(categorical, kinds, encoder.fit(np.column_stack(values)))

    def read(self, estimator, X, reset):
        """Validate X, and return it as an array of numbers.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
        reset : bool
            Whether names and number of the columns are learned, or checked.

        Returns
        -------
        X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)
            As `check_inputs` returns it, with the positions of categories in place of these.

        Raises
        ------
        ValueError
            If X cannot be used, or differs from that of fit.
        """
        X = as_rows(X)
        objects = {*self.categorical, *_object_columns(X)}
        if not objects:
            return check_inputs(estimator, X, reset)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        rows = _as_table(X)
        refuse_times(rows)
        numeric = [j for j in range(estimator.n_features_in_) if j not in objects]
        numbers = check_numbers(_take(rows, numeric)) if numeric else np.empty((len(rows), 0))
        single = numbers.dtype == np.float32 and len(objects) == len(self.categorical)
        shape = len(rows), estimator.n_features_in_
        values = np.empty(shape, np.float32 if single else np.float64)
        values[:, numeric] = numbers
        for j in objects - {*self.categorical}:
            values[:, j] = _read_numbers(rows, j)
        if self.encoder is not None:
            values[:, self.categorical] = self.encoder.transform(self._objects(rows))
        return values

    def _objects(self, rows):
        """Return the columns of categories, which must be of the kind that they were in fit."""
        read = []
        for j, expected in zip(self.categorical, self.kinds, strict=True):
            values, kind = _read_objects(rows, j)
            if "nothing" not in (kind, expected) and kind != expected:
                raise ValueError(
                    f"{_name(rows, j)} held {expected} in fit, now {kind}: no category would be known. "
                    "Convert it to what it was."
                )
            read.append(values)
        return np.column_stack(read)


def _is_frame(X):
    return hasattr(X, "dtypes") and hasattr(X, "columns")


def _as_table(X):
    """Return a frame as it is, anything else as an array of two dimensions."""
    if _is_frame(X):
        return X
    if sparse.issparse(X):
        raise ValueError(
            "categorical_features needs a frame or dense rows; got a sparse X. Use OneHotEncoder for its "
            "categories, and set categorical_features=None."
        )
    X = X.cpu().numpy() if hasattr(X, "detach") else X
    dtype = None if hasattr(X, "dtype") else object  # numpy would turn numbers beside strings into strings
    return check_array(X, dtype=dtype, ensure_all_finite=False, input_name="X")


def _take(X, columns):
    """Take one column, or a list of columns, of a frame or an array."""
    return (X.iloc if hasattr(X, "iloc") else X)[:, columns]


def _name(X, j):
    return f"column {list(X.columns)[j]!r} of X" if _is_frame(X) else f"column {j} of X"


# ---------------------------------------------------------------- which columns


def _dtypes(X):
    """Return the name and numpy's kind of each dtype of a frame; an array has none that matter."""
    dtypes = X.dtypes if _is_frame(X) else []
    return [(str(dtype).split("(")[0], getattr(dtype, "kind", None)) for dtype in dtypes]


def _object_columns(X):
    """Find the columns of a frame whose values are objects."""
    return [j for j, (name, kind) in enumerate(_dtypes(X)) if name in OBJECTS or kind in ("O", "U")]


def _is_category(X, j):
    """Say whether the dtype of a column is one of categories."""
    return _is_frame(X) and _dtypes(X)[j][0] in ("category", "Categorical", "Enum")


def _found(X):
    """Find the columns of a frame that hold categories; objects that are all numbers are numbers."""
    return tuple(j for j in _object_columns(X) if _is_category(X, j) or _read_objects(X, j)[1] != "numbers")


def _named(X, chosen):
    """Find the columns that are given by names, positions or a mask."""
    chosen, n = np.ravel(np.asarray(chosen)), X.shape[1]
    if chosen.dtype.kind == "b" and len(chosen) == n:
        return tuple(np.flatnonzero(chosen).tolist())
    names = {name: j for j, name in enumerate(X.columns)} if _is_frame(X) else {}
    if chosen.dtype.kind in "OUT":
        found = [names.get(name) for name in chosen.tolist()]
    else:
        found = [j if chosen.dtype.kind in "iu" and 0 <= j < n else None for j in chosen.tolist()]
    if None in found:
        strange = chosen.tolist()[found.index(None)]
        raise ValueError(
            f"categorical_features must be 'from_dtype', names of columns of a frame, positions from 0 to "
            f"{n - 1}, or a mask of {n} booleans; got {strange!r}"
            + (f" in a mask of {len(chosen)}." if chosen.dtype.kind == "b" else ", which is no column of X.")
        )
    return tuple(sorted({*found}))


# ---------------------------------------------------------------- columns of objects


def _read_objects(X, j):
    """Return a column as objects, NaN where they are missing, and whether they are strings or numbers."""
    values = np.asarray(_take(X, j), dtype=object)
    missing = np.array([is_missing_object(value) for value in values], bool)
    kinds = sorted({_kind(value) for value in values[~missing]}) or ["nothing"]
    if not {*kinds} <= {*KINDS} and _is_category(X, j):  # intervals, as pandas.cut makes them
        values, kinds = np.array([str(value) for value in values], object), ["strings"]
    if len(kinds) > 1:
        raise ValueError(f"{_name(X, j)} holds {' and '.join(kinds)}. Make them all strings, or all numbers.")
    if kinds[0] not in KINDS:
        raise ValueError(
            f"{_name(X, j)} must hold numbers or strings; got {kinds[0]}. Turn dates into numbers first: "
            "days since some date, weekday, month. Leave other objects out, or convert them."
        )
    return np.where(missing, np.nan, values), kinds[0]


def _kind(value):
    if isinstance(value, str):
        return "strings"
    return "numbers" if isinstance(value, Number | np.bool_) else f"objects of type {type(value).__name__}"


def _read_numbers(X, j):
    """Return a column of objects that are no categories."""
    values, kind = _read_objects(X, j)
    if kind == "strings":
        raise ValueError(
            f"{_name(X, j)} holds strings, but counts as numbers. Name it in categorical_features, or fit "
            "with rows that have strings there."
        )
    return check_numbers(values.astype(np.float64)[:, None])[:, 0]
