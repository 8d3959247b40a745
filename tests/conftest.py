"""Small settings, real data and helpers that the tests share."""

import os
import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

#: A net that learns something on 120 rows within a tenth of a second.
SMALL = {
    "n_layers": 2,
    "n_units": 16,
    "max_epochs": 5,
    "lr": 0.02,
    "batch_size": 16,
    "random_state": 0,
}


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


def raises(message, error=ValueError):
    """Expect an error whose text holds the message, letter by letter."""
    return pytest.raises(error, match=re.escape(message))


def tasks_with_gaps(X, y):
    """Three tasks on the columns of all of the breast cancer data; a fifth of the labels missing."""
    Y = np.column_stack([y, X[:, 0] > 14, X[:, 1] > 19]).astype(float)
    Y[np.random.RandomState(0).rand(*Y.shape) < 0.2] = np.nan
    return X, Y
