"""Checks of the users' input: each returns a clean array or raises an error that says what to do."""

import numbers
import re
from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, validate_data

from .metrics import is_missing


def as_rows(X):
    """Return a tensor on the CPU as an array that shares its memory, anything else as it is."""
    if not hasattr(X, "detach"):
        return X
    X = X.detach()  # it may require a gradient
    X = X.float() if str(X.dtype) == "torch.bfloat16" else X  # numpy has no bfloat16
    if X.device.type == "meta":
        raise ValueError("X must hold numbers; got a tensor on device 'meta', which has a shape only.")
    if not _is_on_host(X) or str(X.layout) != "torch.strided":
        return X
    return X.resolve_conj().resolve_neg().numpy()  # even if scikit-learn's array API dispatch is on


def check_inputs(estimator, X, reset):
    """Validate X, which must be real and 2-D, and return it as an array; numbers keep their dtype.

    Returns
    -------
    X : ndarray, scipy CSR or Tensor of shape (n_rows, n_features)
        NaN where a value is missing. A Tensor only if X is one on a device other than the CPU.

    Raises
    ------
    ValueError
        If columns are not numbers, values are infinite, NaN in a sparse X, or shape or names differ from fit.
    """
    X = as_rows(X)
    if hasattr(X, "detach") and not _is_on_host(X):
        return _check_tensor(estimator, X, reset)
    refuse_times(X)
    with _explained():
        X = validate_data(
            estimator,
            _without_na(X),
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            ensure_all_finite="allow-nan",
        )
    return _as_numbers(X)


def check_numbers(X):
    """Validate columns of a frame or array that hold numbers and no times, as `check_inputs` does."""
    with _explained():
        X = check_array(_without_na(X), dtype="numeric", ensure_all_finite="allow-nan", input_name="X")
    return _as_numbers(X)


@contextmanager
def _explained():
    """Add a way out to scikit-learn's errors about X."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if not _way_out(str(error)):
            raise
        raise type(error)(f"{str(error).rstrip('.')}.{_way_out(str(error))}") from error


def _without_na(X):
    """Put NaN in place of pandas.NA into an array of objects; float() takes None, but not that."""
    if not isinstance(X, np.ndarray) or X.dtype != object:
        return X
    missing = [is_missing_object(value) for value in X.ravel()]
    return np.where(np.reshape(missing, X.shape), np.nan, X)


def _as_numbers(X):
    """Bring checked rows into a layout and dtype that torch has."""
    if X.dtype == object:  # frames of mixed columns
        with _explained():
            X = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X")
    if sparse.issparse(X):
        if X.dtype.kind == "f" and np.isnan(X.data).any():
            raise ValueError(
                "Input X contains NaN, which a sparse X must not hold: its missing entries are zeros. Give "
                "dense rows, or fill it first with SimpleImputer(add_indicator=True)."
            )
        if not X.has_canonical_format:  # repeated entries would make the moments wrong
            X = X.copy()  # since it may be the user's matrix
            X.sum_duplicates()
    if X.dtype.kind == "f" and (X.dtype.itemsize not in (4, 8) or not X.dtype.isnative):
        X = X.astype(np.float32 if X.dtype.itemsize == 4 else np.float64)  # float16, long double, big-endian
    return X


# Parts of the names of dtypes that hold times in pandas, pyarrow and polars.
TIMES = ("date", "time", "duration", "period")


def _times_error(what, dtype):
    return ValueError(
        f"{what} must hold numbers; got {dtype}. Turn dates into numbers first: days since some date, "
        "weekday, month (skrub's TableVectorizer makes such columns)."
    )


def _is_time(dtype):
    name = re.split(r"[(\[<]", str(dtype))[0].lower()  # category or field names can follow
    return any(part in name for part in TIMES)


def refuse_times(values, what="X"):
    """Refuse dates and times in an array or frame; numpy's own error would not name the cause."""
    if hasattr(values, "dtypes") and hasattr(values, "columns"):
        for name, dtype in zip(values.columns, values.dtypes, strict=True):
            if _is_time(dtype):
                raise _times_error(f"column {name!r} of {what}", dtype)
    elif _is_time(getattr(values, "dtype", "")):
        raise _times_error(what, values.dtype)


def check_outputs(outputs):
    """Refuse outputs of shape (n_rows, n_outputs) that are not finite."""
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the outputs of row {np.argmin(finite)} of X are not finite: it holds values too far from those "
            "seen in fit. Clip or rescale them."
        )


def _is_on_host(tensor):
    return tensor.device.type == "cpu"


def _check_tensor(estimator, X, reset):
    """Validate a tensor on its device, since scikit-learn would convert it to numpy."""
    if X.ndim != 2 or 0 in X.shape or X.is_complex():
        raise ValueError(
            f"X must be a real tensor of shape (n_rows, n_features), both at least 1; got {X.dtype} of "
            f"shape {tuple(X.shape)}. Use X.reshape(1, -1) for a single row."
        )
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    infinite = X.isinf()
    if infinite.any():
        row, column = infinite.nonzero()[0].tolist()
        raise ValueError(
            f"Input X contains infinity: {X[row, column].item()} in row {row}, column {column}. Make it NaN, "
            "which counts as missing, or clip it."
        )
    return X


def to_host(values):
    """Copy a target or weights, which are small, from a device to numpy."""
    if not hasattr(values, "detach"):
        return values
    if values.device.type == "meta":
        raise ValueError(
            "targets and weights must hold numbers; got a tensor on device 'meta', which has none."
        )
    values = values.detach().cpu()
    return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()


def _way_out(message):
    if "could not convert string" in message or "dtype='numeric'" in message:
        return (
            " Give a pandas or polars frame, whose columns of strings are categories, or the positions of "
            "such columns as categorical_features."
        )
    if any(f"'{name}" in message for name in ("datetime", "Timestamp", "Timedelta", "Period", "timedelta")):
        return " Turn dates into numbers first: days since some date, weekday, month."
    return ""


def check_weights(sample_weight, n_rows, name="sample_weight"):
    """Validate row weights.

    Returns
    -------
    weight : ndarray of shape (n_rows,), float64, or None

    Raises
    ------
    ValueError
        If there is not one weight per row, or if weights are negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Number):
        return np.full(n_rows, check_weights([sample_weight], 1)[0])
    weight = to_host(sample_weight)
    weight = check_array(weight, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name=name)
    if weight.ndim != 1:
        raise ValueError(
            f"{name} must be 1D array-like of shape (n_rows,): one weight a row; got shape {weight.shape}. "
            "To weigh labels of tasks apart, use class_weight or mark those to leave out as missing."
        )
    if len(weight) != n_rows:
        raise ValueError(f"{name}.shape == {weight.shape}, expected {(n_rows,)}: one weight a row.")
    if weight.min(initial=0) < 0:
        raise ValueError(f"{name} must not be negative; got {weight.min()}. Drop rows with weight 0 instead.")
    if not weight.any():
        raise ValueError(f"{name} must not be all zero: no row would count.")
    with np.errstate(over="ignore"):
        total = weight.sum()
    if not np.isfinite(total):
        raise ValueError(
            f"{name} is too large: its sum overflows. Divide it by its maximum, {weight.max():g}."
        )
    return weight


def _require(y, estimator):
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    if sparse.issparse(y):
        return y.toarray()
    return to_host(y)


def _n_columns(y):
    """Count the columns of a 2-D y; 0 for a 1-D one."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    return shape[1] if len(shape) == 2 else 0


def check_task_labels(y, missing_label):
    """Validate a 2-D y of 0, 1 and missing labels.

    Returns
    -------
    y : ndarray of shape (n_rows, n_tasks), float64
        0, 1, and NaN where a label is missing.

    Raises
    ------
    ValueError
        If y holds anything else.
    """
    try:
        y = check_array(y, dtype=np.float64, ensure_all_finite=False, input_name="y")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"a 2-D y must hold the labels 0, 1 and missing_label={missing_label!r}, one column a "
            f"task: {error}"
        ) from error
    missing = is_missing(y, missing_label)
    strange = np.setdiff1d(y[~missing], (0, 1))
    if len(strange):
        hint = "NaN marks a missing label only with missing_label=nan. " if np.isnan(strange).any() else ""
        hint = "Set missing_label=-1 if -1 marks a missing label. " if strange[0] == -1 else hint
        raise ValueError(
            f"Unknown label type: a 2-D y must hold the labels 0, 1 and missing_label={missing_label!r}, one "
            f"column a task; got {strange[0]:g}. {hint}cross_val_predict re-encodes the columns of a 2-D y "
            "(method='predict_proba' and 'decision_function'): loop over the folds instead."
        )
    return np.where(missing, np.nan, y)


def check_task_classes(classes, missing_label):
    """Refuse classes of a 2-D y other than 0, 1 and missing; None and np.unique(y) are allowed."""
    some = [np.ravel(labels) for labels in (classes if classes is not None else [])]  # one list per task, too
    classes = np.concatenate(some) if some else np.empty(0)
    strange = classes[~np.isin(classes, (0, 1)) & ~_missing_labels(classes, missing_label)]
    if len(strange):
        raise ValueError(
            f"classes of a 2-D y must be 0 and 1, and perhaps missing_label={missing_label!r}; got "
            f"{strange.tolist()[0]!r}. Leave classes out."
        )


def check_labels(y, missing_label, estimator, warn=True):
    """Validate the target of a classifier.

    Parameters
    ----------
    y : array-like of shape (n_rows,), (n_rows, 1) or (n_rows, n_tasks)
    missing_label : float
    estimator : object
        Estimator that errors name.
    warn : bool, default=True
        Whether to warn when a y of shape (n_rows, 1) is ravelled.

    Returns
    -------
    y : ndarray
        Either 1-D labels of any type, or a float64 array of shape (n_rows, n_tasks) with 0, 1 and NaN. A
        single column is ravelled unless it has missing labels.

    Raises
    ------
    ValueError
        If the labels are continuous, mixed, not finite, or missing in a 1-D y.
    """
    y = _unmixed(_require(y, estimator))
    n_columns = _n_columns(y)
    if n_columns > 1 or (n_columns == 1 and _missing_labels(np.asarray(y).ravel(), missing_label).any()):
        return check_task_labels(y, missing_label)
    y = column_or_1d(np.asarray(y), warn=warn)
    if _missing_labels(y, missing_label).any():
        raise ValueError(
            "Input y contains NaN or missing_label in a 1-D target. Drop these rows, or give one column a "
            f"task (a 2-D y) to train on those that have labels. If {missing_label!r} is one of the labels, "
            "choose another missing_label."
        )
    if y.dtype == object:
        y = _concrete_labels(y)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return y


def _unmixed(y):
    """Keep the elements of a list that mixes strings and others; numpy would turn NaN into "nan"."""
    if not isinstance(y, list | tuple) or np.asarray(y).dtype.kind not in "US":
        return y
    objects = np.asarray(y, dtype=object)
    return y if all(isinstance(value, str) for value in objects.ravel()) else objects


def _missing_labels(y, missing_label):
    """Mark None, NaN, pandas.NA and missing_label in labels of any dtype."""
    if y.dtype.kind in "biu":
        return y == missing_label
    if y.dtype.kind == "f":
        return np.isnan(y) | (y == missing_label)
    if y.dtype.kind != "O":
        return np.zeros(len(y), bool)
    return np.array([is_missing_object(value, missing_label) for value in y], bool)


def is_missing_object(value, missing_label=np.nan):
    """Say whether an object is None, NaN, pandas.NA, a missing time, or `missing_label`."""
    # A comparison with pandas.NA is neither true nor false.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Number) and (value != value or value == missing_label)


def _concrete_labels(y):
    """Convert an object array of booleans or numbers to a dtype of these; strings stay objects."""
    strings = [isinstance(value, str) for value in y]
    if all(strings):
        return y
    if any(strings):
        raise ValueError(
            "Unknown label type: y mixes strings and other objects; make them all strings, or all numbers."
        )
    concrete = np.array(y.tolist())
    if concrete.dtype.kind not in "biuf":
        raise ValueError(f"Unknown label type: y holds objects of type {type(y[0]).__name__!r}.")
    return concrete


def check_targets(y, missing_label, estimator):
    """Validate the target of a regressor.

    Returns
    -------
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), float64
        NaN where a value of a 2-D target is missing.

    Raises
    ------
    ValueError
        If a value is not real and finite, or is missing in a 1-D target.
    """
    y = _require(y, estimator)
    refuse_times(y, "y")
    try:
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")
    except TypeError as error:  # objects that float() refuses
        raise TypeError(f"y must hold numbers: {error}.{_way_out(str(error))}") from error
    missing = is_missing(y, missing_label)
    if y.ndim == 1 and missing.any():
        raise ValueError(
            "Input y contains NaN or missing_label in a 1-D target. Drop these rows, or give one column an "
            "output (a 2-D y) to train on those that have values."
        )
    assert_all_finite(y[~missing], input_name="y")
    return np.where(missing, np.nan, y)


def check_same_length(X, y):
    """Raise scikit-learn's error if the numbers of rows differ."""
    check_consistent_length(X, y)


def encode_labels(y, classes, name="y"):
    """Turn labels into their positions in `classes`.

    Returns
    -------
    codes : ndarray of shape (n_rows,), int64

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    # Strings never equal numbers, and comparing the two would warn or cast.
    comparable = (y.dtype.kind in "OUS") == (classes.dtype.kind in "OUS")
    known = np.isin(y, classes) if comparable else np.zeros(len(y), bool)
    if not known.all():
        raise ValueError(
            f"{name} holds the label {y[~known].tolist()[0]!r}, which is not among the classes "
            f"{classes.tolist()} seen before. Drop these rows, or fit again with all classes."
        )
    return np.searchsorted(classes, y).astype(np.int64)


def check_quantiles(parameters):
    """Return a list of quantiles as a tuple; None if it is a single one."""
    quantiles = parameters.quantile
    if isinstance(quantiles, numbers.Real):
        return None
    if parameters.loss != "quantile":
        raise ValueError(
            f"quantile={quantiles!r} is a list, but loss={parameters.loss!r} estimates no quantiles. Set "
            "loss='quantile'."
        )
    levels = np.asarray(quantiles)
    usable = levels.ndim == 1 and levels.dtype.kind == "f" and len(levels) > 0
    if not (usable and levels.min() > 0 and levels.max() < 1):
        raise ValueError(
            f"quantile must be a number in (0, 1), or a list of such numbers; got {quantiles!r}. Use "
            "[0.05, 0.5, 0.95], for example."
        )
    return tuple(levels.tolist())
