"""Rows on their way into a network.

What a user hands in is checked (`_validation`) and becomes a `Table` on the host: X as it is, the encoded
target, weights. A share of a table is a table whose X is a `Subset`, a view. `encode` learns nothing: it
sends rows through an encoder, chunk by chunk, into a tensor on the device, or leaves them on the host
as `LazyInputs` where they are sparse or too many. `Rows` are such inputs with target and weights beside
them; a minibatch is `Rows`, too. Prediction and diagnostics use `encode` alone.
"""

from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import nn

from ._device import without_waiting
from .encodings import as_float64, chunk_slices

# Numbers gathered at once for minibatches: 2**18 float32 numbers are 1 MiB, which a core's cache holds.
GATHERED_ELEMENTS = 2**18

# The largest table in which rows of several networks are copied together, 64 MiB in float32: steps on more
# rows take longer than to pick them one network after the other.
TABLE_ELEMENTS = 2**24

# The largest number of encoded values that a host keeps, half a gigabyte in float32. Of more rows the
# codes are computed again in each epoch.
CODED_ELEMENTS = 2**27


# ---------------------------------------------------------------- rows on the host


class Table(NamedTuple):
    """Checked rows: X (ndarray, CSR, tensor or Subset), the encoded target, and weights or None."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None

    def split(self, *parts):
        """Pick rows: one table for each array of indices, without a copy of a dense X."""
        pick = self.X.__getitem__ if sparse.issparse(self.X) else partial(Subset, self.X)
        return [Table(pick(i), self.y[i], None if self.weight is None else self.weight[i]) for i in parts]


class Subset:
    """Rows of a dense X by their indices, gathered a slice or a column at a time."""

    def __init__(self, X, index):
        self.X, self.index = X, index
        self.shape = (len(index), X.shape[1])

    def __getitem__(self, key):
        rows, *column = key if isinstance(key, tuple) else (key,)
        return self.X[(self.index[rows], *column)]


# ---------------------------------------------------------------- encoding


def call(function, *arguments):
    """Call a function: the `Memo` of a fit that shares its rows with no other."""
    return function(*arguments)


class Memo:
    """Calls functions, and remembers what they made of the same arguments.

    Fits of the same rows so share their encoders and their encoded inputs. Rows are known by their content,
    since each fit has checked, and perhaps converted, the user's.
    """

    def __init__(self):
        self._made = {}

    def __call__(self, function, *arguments):
        """Call a function, or return what it has made before."""
        known = [id(a) if isinstance(a, nn.Module) else joblib.hash(a) for a in arguments]
        key = (function, *known)
        if key not in self._made:
            self._made[key] = function(*arguments), arguments  # modules live on, and so do their identities
        return self._made[key][0]


class LazyInputs:
    """Rows on the host that become dense, encoded tensors only as they are indexed."""

    def __init__(self, X, encoder, device, dtype):
        self.X, self.encoder, self.device, self.dtype = X, encoder, device, dtype
        self.shape = (X.shape[0], encoder.n_inputs)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        rows = self.X[index.cpu().numpy() if torch.is_tensor(index) else index]
        return encode_chunks(rows, self.encoder, self.device, self.dtype)


def encode(X, encoder, device, dtype):
    """Encode raw rows in float64, chunk by chunk, into one tensor on the device.

    Parameters
    ----------
    X : ndarray, scipy CSR, Subset or Tensor of shape (n_rows, n_features)
    encoder : nn.Module
    device, dtype : torch.device, torch.dtype
        Where the result is, and what it holds.

    Returns
    -------
    inputs : Tensor or LazyInputs
        Lazy where rows are sparse, or so many that their codes would fill the host's memory.
    """
    widened = X.shape[0] * encoder.n_inputs if encoder.n_inputs > X.shape[1] else 0
    on_host = str(device) == "cpu" and not torch.is_tensor(X)
    lazy = sparse.issparse(X) or (on_host and widened > CODED_ELEMENTS)
    return (LazyInputs if lazy else encode_chunks)(X, encoder, device, dtype)


def encode_chunks(X, encoder, device, dtype):
    """Encode rows into one dense tensor; everything else stays as small as a chunk."""
    slices = chunk_slices(X.shape[0], encoder.n_inputs)
    if len(slices) == 1:
        return encoder(as_tensor(X[:])).to(device, dtype)
    inputs = None
    for s in slices:
        encoded = encoder(as_tensor(X[s]))
        if inputs is None:
            inputs = torch.empty((X.shape[0], *encoded.shape[1:]), dtype=dtype, device=device)
        inputs[s] = encoded.to(dtype)
    return inputs


def as_tensor(array):
    """View rows as a tensor; sparse, read-only and unsigned ones as a copy."""
    if torch.is_tensor(array):
        return as_float64(array)
    if sparse.issparse(array):
        array = array.toarray()
    strange = any(stride < 0 or stride % array.itemsize for stride in array.strides)
    if array.dtype.kind != "f" or not array.flags.writeable or strange:
        array = np.array(array, dtype=np.float64)
    return torch.from_numpy(array)


# ---------------------------------------------------------------- rows on the device


class Rows:
    """Encoded rows with targets and weights beside them, indexed by slices and index tensors.

    Parameters
    ----------
    inputs : Tensor or LazyInputs
    y, weight : Tensor, default=None
    index : Tensor of int64, default=None
        Which of these rows are meant, and in which order; None are all. So several networks share inputs.
    """

    def __init__(self, inputs, y=None, weight=None, index=None):
        self.inputs, self.y, self.weight, self.index = inputs, y, weight, index

    def __len__(self):
        return len(self.inputs if self.index is None else self.index)

    def __getitem__(self, key):
        key = key if self.index is None else self.index[key]
        y, weight = (None if values is None else values[key] for values in (self.y, self.weight))
        return Rows(self.inputs[key], y, weight)

    def take(self, index, weight):
        """Pick rows by an array of indices, with weights (of all rows) of their own, without a copy."""
        index = torch.from_numpy(index)
        if torch.is_tensor(self.inputs):
            index = index.to(self.inputs.device)
        return Rows(self.inputs, self.y, weight, index)

    def split(self, sizes, dim=0):
        """Cut dense rows into parts of these sizes, which are views."""
        nothing = [None] * len(sizes)
        values = (self.inputs, self.y, self.weight)
        parts = [nothing if value is None else value.split(sizes, dim) for value in values]
        return [Rows(*part) for part in zip(*parts, strict=True)]

    def unflatten(self, shape):
        """View dense rows of several networks, one after the other, as (k, n, ...)."""
        values = (self.inputs, self.y, self.weight)
        return Rows(*(None if value is None else value.unflatten(0, shape) for value in values))

    def batches(self, size):
        """Cut the rows into batches, in order."""
        return (self[i : i + size] for i in range(0, len(self), size))

    def shuffled_batches(self, size, generator):
        """Cut the rows into batches, in a random order.

        Parameters
        ----------
        size : int
        generator : torch.Generator
            On the CPU, so that the order is the same on every device.

        Notes
        -----
        The rows of as many batches as stay small are gathered at once, and cut: views cost little.
        """
        n = len(self)
        if size >= n:  # the order within a full batch does not matter
            yield self[:]
            return
        order = self.shuffled(generator)
        for rows, sizes in pieces(n, size, self.inputs.shape[1]):
            yield from self[order[rows]].split(sizes)

    def shuffled(self, generator):
        """Draw an order of the rows, where their inputs are."""
        order = torch.randperm(len(self), generator=generator)
        return without_waiting(order, self.inputs.device) if torch.is_tensor(self.inputs) else order


class StackedRows:
    """Rows of several networks, cut into batches of shape (k, n, ...).

    Parameters
    ----------
    several : list of Rows
        As many rows for each; fewer inputs than others have are filled up with columns of 0.

    Notes
    -----
    Small dense rows of all networks are laid one below the other in one table, so that a batch is picked at
    once. What networks share is there once.
    """

    def __init__(self, several):
        self.several = several
        parts: list[Rows] = []
        places = [_place(rows, parts) for rows in several]
        self.n_columns = max(rows.inputs.shape[1] for rows in several)
        self.table: Rows | None = None
        if all(torch.is_tensor(part.inputs) for part in parts) and (
            len(parts) == 1 or sum(map(_n_rows, parts)) * self.n_columns <= TABLE_ELEMENTS
        ):
            starts = [0, *accumulate(map(_n_rows, parts))]
            self._starts = [starts[place] for place in places]
            self.table = parts[0] if len(parts) == 1 else _one_below_the_other(parts, self.n_columns)

    def shuffled_batches(self, size, generators):
        """Cut the rows into batches, each network's in a random order of its own.

        Parameters
        ----------
        size : int
        generators : list of torch.Generator
            One for each network; a network gets the batches that it would get alone.
        """
        n, k = len(self.several[0]), len(self.several)
        if size >= n:
            yield _stack(self.several, [slice(None)] * k)
            return
        orders = [rows.shuffled(own) for rows, own in zip(self.several, generators, strict=True)]
        if self.table is None:
            for rows, sizes in pieces(n, size, k * self.n_columns):
                yield from _stack(self.several, [order[rows] for order in orders]).split(sizes, dim=1)
            return
        index = torch.stack(
            [
                order + start if rows.index is None else rows.index[order] + start
                for rows, order, start in zip(self.several, orders, self._starts, strict=True)
            ]
        )
        for rows, sizes in pieces(n, size, k * self.n_columns):
            piece = index[:, rows]
            yield from self.table[piece.flatten()].unflatten(piece.shape).split(sizes, dim=1)


def _n_rows(rows):
    return len(rows.inputs)


def _place(rows, parts):
    """Return which of the parts holds what these rows are of; add it if none does."""
    whole = Rows(rows.inputs, rows.y, rows.weight)
    for i, part in enumerate(parts):
        beside = (part.y, whole.y), (part.weight, whole.weight)
        if part.inputs is whole.inputs and all(_same(*pair) for pair in beside):
            return i
    parts.append(whole)
    return len(parts) - 1


def _same(one, other):
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _one_below_the_other(parts, n_columns):
    """Lay rows out in one table, with columns of 0 and weights of 1 where some have none."""
    inputs = torch.cat([F.pad(part.inputs, (0, n_columns - part.inputs.shape[1])) for part in parts])
    y, weight = torch.cat([part.y for part in parts]), None
    if any(part.weight is not None for part in parts):
        like = next(part.weight for part in parts if part.weight is not None)
        ones = [like.new_ones(_n_rows(part), *like.shape[1:]) for part in parts]
        weights = [part.weight for part in parts]
        weight = torch.cat([own if own is not None else one for own, one in zip(weights, ones, strict=True)])
    return Rows(inputs, y, weight)


def _stack(several, index):
    """Stack some rows of each network, with columns of 0 where one has fewer; sparse ones in turn."""
    inputs, beside = None, []
    for j, (rows, own) in enumerate(zip(several, index, strict=True)):
        picked = rows[own]
        if inputs is None:
            shape = len(several), len(picked), max(r.inputs.shape[1] for r in several)
            inputs = picked.inputs.new_zeros(shape)
        inputs[j, :, : picked.inputs.shape[1]] = picked.inputs
        beside.append((picked.y, picked.weight))
    return Rows(inputs, *(None if v[0] is None else torch.stack(v) for v in zip(*beside, strict=True)))


def pieces(n, size, n_columns):
    """Yield slices of n rows that are small enough to gather, and the sizes of the batches in each."""
    starts = [*training_starts(n, size)]
    sizes = [j - i for i, j in pairwise([*starts, n])]
    at_once = max(1, GATHERED_ELEMENTS // (size * n_columns))
    for i in range(0, len(starts), at_once):
        some = sizes[i : i + at_once]
        yield slice(starts[i], starts[i] + sum(some)), some


def training_starts(n, size):
    """Begin a batch every `size` rows, but leave no row alone: batch norm cannot take one."""
    return range(0, n - 1 if n > size > 1 else n, size)
