"""What tests of several files build: modules, gaps, chunks, and tensors from another device."""

import numpy as np
import sklearn
import torch
from scipy import sparse
from sklearn.utils.fixes import parse_version
from skorch.callbacks import Callback
from torch import nn

from sksnn import _divergence, _forward, _rows, encodings
from sksnn.encodings import chunk_slices

SKLEARN = parse_version(parse_version(sklearn.__version__).base_version)
TORCH = parse_version(parse_version(torch.__version__).base_version)

# scikit-learn's type_of_target casts NaN to integers before it refuses them.
NAN_IN_TYPE_OF_TARGET = "ignore:invalid value encountered in cast:RuntimeWarning"


# ---------------------------------------------------------------- estimators and modules


def droppy_net(n_inputs, n_outputs):
    """A module that draws from torch's global generator, both when built and when trained."""
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, n_outputs))


def small_module(n_inputs, n_outputs):
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.SELU(), nn.Linear(8, n_outputs))


class Breaking(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("boom")


class SeesBatches(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


def parameters(estimator):
    """All weights of a fitted estimator, in one vector."""
    return np.concatenate(
        [p.detach().numpy().ravel().astype(np.float64) for p in estimator.net_.module_.parameters()]
    )


N_COLUMNS = 8


def outputs(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


# ---------------------------------------------------------------- data


def missing_at_random(Y, share=0.3, label=np.nan):
    return np.where(np.random.RandomState(0).rand(*Y.shape) < share, label, Y)


def targets_of(X):
    """What each kind of estimator learns from rows of the cancer data; labels and values are missing."""
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    gaps = np.arange(3 * len(x)).reshape(-1, 3) % 7 == 0
    return {
        "classifier": (x[:, 0] > 0).astype(float),
        "tasks": np.where(gaps, np.nan, x[:, :3] > 0),
        "regressor": np.rint(4 * x[:, 0] + x[:, 1]),
        "outputs": np.where(gaps, np.nan, np.rint(3 * x[:, :3])),
    }


def sparse_rows(X):
    return sparse.csr_matrix(np.where(X > np.median(X, axis=0), X, 0))


def gaussian(n_rows, n_columns, seed=0):
    return torch.randn(n_rows, n_columns, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- chunks


def forward_in_chunks_of(monkeypatch, n_rows):
    """Make a forward pass take so many rows at most, whatever the width."""
    monkeypatch.setattr(_forward, "CPU_FORWARD_ELEMENTS", 1)
    monkeypatch.setattr(_forward, "LEAST_FORWARD_ROWS", n_rows)


def encode_in_chunks_of(monkeypatch, elements):
    """Cut rows for statistics and encoding into slices of so many numbers."""
    for module in (_divergence, _rows, encodings):
        monkeypatch.setattr(
            module, "chunk_slices", lambda n, c, elements=elements: chunk_slices(n, c, elements)
        )


# ---------------------------------------------------------------- tensors from another device


class Elsewhere(torch.Tensor):
    """A tensor that refuses numpy, as those of a GPU do, until somebody brings it to the host.

    What follows from it by arithmetic refuses, too. That operands lie on the same device is what
    it cannot check: the test on a GPU does.
    """

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def cpu(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)

    def to(self, *args, **kwargs):
        moves = "device" in kwargs or any(isinstance(a, str | torch.device) for a in args)
        result = super().to(*args, **kwargs)
        return result.as_subclass(torch.Tensor) if moves else result


def elsewhere(values):
    return torch.as_tensor(values).clone().as_subclass(Elsewhere)
