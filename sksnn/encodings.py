"""How columns enter the network: statistics learned in fit, buffers of the network after it."""

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis
from torch import nn

__all__ = ["Standardizer", "as_float64", "chunk_slices", "column_moments"]

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
    """Compute mean and variance of each column in float64, passing over X twice, chunk by chunk.

    Parameters
    ----------
    X : ndarray, Tensor or scipy CSR of shape (n_rows, n_columns)
        Finite numbers of any real dtype.
    weight : ndarray of shape (n_rows,), default=None
        Non-negative row weights, not all zero; None weighs rows equally.

    Returns
    -------
    mean, variance : ndarray of shape (n_columns,), float64
        The variance is the biased one (divided by the sum of weights); exactly 0 for a
        constant column.

    Examples
    --------
    >>> column_moments(np.array([[1.0, 5], [3, 5]]))
    (array([2., 5.]), array([1., 0.]))
    """
    weight = np.ones(X.shape[0]) if weight is None else np.array(weight, np.float64)  # for torch: writable
    if sparse.issparse(X):
        return mean_variance_axis(X.astype(np.float64, copy=False), axis=0, weights=weight)
    total = weight.sum()
    # Distances from a row of the data, not from 0: exact for constant columns, and time stamps
    # seconds apart keep their digits.
    origin = as_float64(X[int(np.argmax(weight > 0))])
    if torch.is_tensor(origin):
        weight = torch.from_numpy(weight).to(origin.device)
    slices = chunk_slices(*X.shape)
    shift = sum(weight[s] @ (as_float64(X[s]) - origin) for s in slices) / total
    variance = sum(weight[s] @ (as_float64(X[s]) - origin - shift) ** 2 for s in slices) / total
    mean = origin + shift
    return (mean.cpu().numpy(), variance.cpu().numpy()) if torch.is_tensor(mean) else (mean, variance)


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
        If a mean or a scale is not finite, which happens when squares of a column overflow.

    Notes
    -----
    Shape: (n, n_features) of any real dtype to (n, n_features) float64.

    Examples
    --------
    >>> Standardizer([2.0], [0.5])(torch.tensor([[3.0]]))
    tensor([[2.]], dtype=torch.float64)
    """

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
            Dense columns are scaled each by its own deviation; sparse ones all by the root of
            the mean variance, since a rare bit scaled to unit variance overfits.
        weight : ndarray of shape (n_rows,), default=None
            Row weights.

        Returns
        -------
        standardizer : Standardizer
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the constructor says it better
            mean, variance = column_moments(X, weight)
        if sparse.issparse(X) and np.isfinite(variance).all():
            variance = np.full_like(variance, variance.mean())
        return cls(mean, np.sqrt(variance))

    @classmethod
    def identity(cls, n_features):
        """Build one that only changes the dtype, for ``standardize=False``."""
        return cls(np.zeros(n_features), np.ones(n_features))

    def forward(self, X):
        """Return (X - mean) / scale in float64, on the device of X."""
        mean, scale = self.mean.to(X.device), self.scale.to(X.device)
        return X.to(torch.float64).sub(mean).div_(scale)

    def _apply(self, fn, recurse=True):
        # The statistics stay float64 on the host whatever is done to the network around them:
        # `.float()` would round them, and some devices have no float64.
        return self
