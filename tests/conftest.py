"""Small settings, real data and helpers that the tests share."""

import os
import re

import numpy as np
import pytest
import torch
from helpers import Elsewhere
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from sksnn import SNNClassifier, SNNRegressor, _validation
from sksnn.callbacks import MomentRecorder

#: One net that learns something on 120 rows within a tenth of a second.
SMALL = {
    "n_estimators": 1,
    "n_layers": 2,
    "n_units": 16,
    "max_epochs": 5,
    "lr": 0.02,
    "batch_size": 16,
    "random_state": 0,
}
#: One net that learns all of the small data sets, in batches of automatic size.
LEARNING = {"n_estimators": 1, "n_layers": 2, "n_units": 16, "max_epochs": 15, "lr": 1e-2, "random_state": 0}
#: The same without noise, and with hardly any rounding: two ways to one fit agree.
EXACT = {**LEARNING, "dropout": 0.0, "precision": "float64", "batch_size": 10_000, "lr_schedule": "constant"}
#: Six epochs of nine batches each, on all of the breast cancer data.
SIX_EPOCHS = {
    "n_estimators": 1,
    "n_layers": 2,
    "n_units": 16,
    "max_epochs": 6,
    "lr": 1e-2,
    "batch_size": 64,
    "random_state": 0,
}

#: 120 rows of 5 columns, and what can be learned from them: two classes, a target, three tasks.
X = np.random.default_rng(0).normal(size=(120, 5))
Y = (X[:, 0] > 0).astype(int)
T = 3 * X[:, 0] + 10
TASKS = (X[:, :3] > 0).astype(float)

#: An estimator for each kind of target.
ESTIMATORS = {
    "classifier": SNNClassifier(**SMALL),
    "tasks": SNNClassifier(**SMALL),
    "regressor": SNNRegressor(**SMALL),
    "outputs": SNNRegressor(**SMALL),
}
BOTH = pytest.mark.parametrize("Estimator", [SNNClassifier, SNNRegressor])
#: A few epochs, too few to learn: what is tested is another thing.
unfinished = pytest.mark.filterwarnings(
    "ignore:the final training loss:sklearn.exceptions.ConvergenceWarning"
)


def pytest_collection_modifyitems(items):
    """Skip the docstrings of sksnn.datasets where there are no data to read."""
    if not os.environ.get("SKSNN_DATA"):
        for item in items:
            if isinstance(item, pytest.DoctestItem) and item.name.startswith("sksnn.datasets"):
                item.add_marker(pytest.mark.skip(reason="needs data: SKSNN_DATA is not set"))


@pytest.fixture
def small():
    return dict(SMALL)


@pytest.fixture(scope="session")
def iris():
    """Three classes, 150 shuffled rows, 4 columns."""
    X, y = load_iris(return_X_y=True)
    rows = np.random.RandomState(0).permutation(len(y))
    return X[rows], y[rows]


@pytest.fixture(scope="session")
def cancer():
    """Two classes, 120 rows, 8 columns."""
    X, y = load_breast_cancer(return_X_y=True)
    return np.ascontiguousarray(X[:120, :8]), y[:120]


@pytest.fixture(scope="session")
def diabetes():
    """One target, 120 rows, 10 columns."""
    X, y = load_diabetes(return_X_y=True)
    return X[:120], y[:120]


@pytest.fixture(scope="session")
def tasks(cancer):
    """Three complete, related tasks on the rows of `cancer`, float64."""
    X, y = cancer
    return X, np.column_stack([y, X[:, 0] > np.median(X[:, 0]), X[:, 1] > np.median(X[:, 1])]).astype(float)


@pytest.fixture(scope="session")
def whole_iris():
    """Three classes, all 150 rows in order, 4 columns."""
    return load_iris(return_X_y=True)


@pytest.fixture(scope="session")
def whole_cancer():
    """Two classes, all 569 rows, 30 columns."""
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="session")
def whole_diabetes():
    """One target, all 442 rows, 10 columns."""
    return load_diabetes(return_X_y=True)


@pytest.fixture(scope="session")
def gappy_tasks(whole_cancer):
    """Three related tasks on the rows of `whole_cancer`; a fifth of the labels missing."""
    X, y = whole_cancer
    Y = np.column_stack([y, X[:, 0] > 14, X[:, 1] > 19]).astype(float)
    Y[np.random.RandomState(0).rand(*Y.shape) < 0.2] = np.nan
    return X, Y


@pytest.fixture(scope="session")
def recorded():
    """A fitted classifier with recorded moments and validation losses, and its raw rows."""
    X, y = np.random.RandomState(0).randn(200, 6) * 3 + 7, np.arange(200) % 2
    X[:, 0] += 4 * y
    model = SNNClassifier(**SMALL, scale_inputs=False, callbacks=[MomentRecorder(50)], early_stopping=True)
    return model.fit(X, y), X


@pytest.fixture
def read_shapes(monkeypatch):
    """Let tensors from elsewhere count as another device's; list the shapes that numpy reads."""
    shapes = []
    for name in ("numpy", "__array__"):
        original = getattr(torch.Tensor, name)

        def spy(self, *args, original=original, **kwargs):
            shapes.append(tuple(self.shape))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, spy)
    monkeypatch.setattr(_validation, "_is_on_host", lambda tensor: not isinstance(tensor, Elsewhere))
    return shapes


@pytest.fixture
def plt():
    """matplotlib.pyplot, which shows nothing and closes its figures after the test."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    yield pyplot
    pyplot.close("all")


def raises(message, error=ValueError):
    """Expect an error whose text holds the message, letter by letter."""
    return pytest.raises(error, match=re.escape(message))
