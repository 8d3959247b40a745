"""Memory: what a fit and a prediction add to that of their rows."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from helpers import encode_in_chunks_of

from sksnn._rows import Table
from sksnn._together import LOOP_BYTES
from sksnn.encodings import column_moments

# Each script runs in a process of its own. The peak is VmHWM where there is one: ru_maxrss of a child
# begins, on Linux, with the peak of the process that started it, which would hide what is measured. glibc
# gives every block back at once: what it keeps for later use varies from run to run by a third of X.
STATUS = """
import gc, json, resource, sys, warnings

def status(key):
    try:
        with open("/proc/self/status") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))
    except FileNotFoundError:  # macOS: bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""

MEASURE = """
import numpy as np
from scipy import sparse
from sksnn import SNNClassifier

def added(call):
    gc.collect()
    before = status("VmRSS")
    call()
    return status("VmHWM") - before

def make(**params):
    params = {"hidden_layer_sizes": (8,), "max_epochs": 1, "lr": 0.02, "encoding": None, **params}
    return SNNClassifier(n_estimators=1, random_state=0, **params)

warnings.simplefilter("ignore")
rng, results = np.random.default_rng(0), {}
tiny = rng.standard_normal((200, 100))
for rows in (tiny, sparse.csr_matrix(tiny)):
    for stops in (False, True):
        make(early_stopping=stops).fit(rows, tiny[:, 0] > 0).predict_proba(rows)

# A peak only rises: what takes least comes first.
n_rows, n_columns, n_filled = 10_000, 20_000, 100
shifts = 7 * np.arange(n_rows)[:, None]
indices = np.sort((rng.choice(n_columns, n_filled, replace=False) + shifts) % n_columns, axis=1)
X = sparse.csr_matrix(
    (
        rng.standard_normal(indices.size),
        indices.astype(np.int32).ravel(),
        np.arange(0, indices.size + 1, n_filled, dtype=np.int32),
    ),
    shape=(n_rows, n_columns),
)
results["size, sparse"] = 4 * n_rows * n_columns
results["fit, sparse"] = added(lambda: make().fit(X, X[:, 0].toarray().ravel() > 0))

X = np.empty((187_500, 100))
for i in range(0, len(X), 2500):
    X[i : i + 2500] = rng.standard_normal((2500, 100))
y = X[:, 0] > 0
results["size"] = X.nbytes
fitted = make(batch_size=128).fit(X[:2000], y[:2000])
results["predict"] = added(lambda: fitted.predict(X))
results["fit"] = added(lambda: make(batch_size=4096, early_stopping=False).fit(X, y))
results["fit, early stopping"] = added(lambda: make(batch_size=4096, early_stopping=True).fit(X, y))
print(json.dumps(results))
"""

# A search of 16 candidates on 4 folds.
SEARCH = """
from sklearn.datasets import load_breast_cancer
from sksnn import SNNClassifier
from sksnn.model_selection import SNNGridSearchCV

warnings.simplefilter("ignore")
X, y = load_breast_cancer(return_X_y=True)
snn = SNNClassifier(n_estimators=1, hidden_layer_sizes=(256,) * 4, max_epochs=1, random_state=0)
def search(n):
    grid = {"random_state": list(range(n))}
    SNNGridSearchCV(snn, grid, cv=4, scoring="neg_log_loss", refit=False).fit(X, y)

search(1)
weights = 4 * sum(p.numel() for p in snn.fit(X, y).net_.module_.parameters())
del snn.net_, snn._model
gc.collect()
before = status("VmRSS")
search(16)
print(json.dumps({"weights": weights, "added": status("VmHWM") - before}))
"""


def measure(script):
    done = subprocess.run(
        [sys.executable, "-c", STATUS + script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bytes_added():
    if sys.platform == "win32":
        pytest.skip("no resource module")
    return measure(MEASURE)


@pytest.mark.parametrize("what", ["fit", "fit, early stopping"])
def test_a_fit_adds_little_more_than_its_float32_rows(bytes_added, what):
    """Half of a float64 X; neither the split nor checks, statistics or encoding copy it whole."""
    share = bytes_added[what] / bytes_added["size"]
    assert share <= 0.75
    assert share >= 0.4, "nothing was measured"


def test_predictions_come_in_bounded_memory(bytes_added):
    """Chunk by chunk: 150 MB of rows become neither a tensor nor a layer as a whole."""
    assert bytes_added["predict"] < 60e6


def test_sparse_rows_never_become_dense_as_a_whole(bytes_added):
    """10 000 x 20 000, which float32 would hold in 800 MB: only batches are dense."""
    assert bytes_added["fit, sparse"] < 0.2 * bytes_added["size, sparse"]


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_search_takes_the_memory_that_its_page_says():
    """The weights of each fit and 0.1 MB beside them, and what one loop of training may take."""
    measured, n_fits = measure(SEARCH), 64
    planned = n_fits * (measured["weights"] + 1e5) + LOOP_BYTES
    assert measured["added"] < 1.5 * planned
    assert measured["added"] > 0.5 * n_fits * measured["weights"], "nothing was measured"


def test_split_allocates_next_to_nothing(monkeypatch):
    """An X of 16 MB: its parts take the memory of their targets, and statistics that of some chunks."""
    X, y = np.ones((20_000, 100)), np.ones(20_000)
    halves = np.split(np.arange(20_000), 2)
    encode_in_chunks_of(monkeypatch, 50_000)  # 0.4 MB
    tracemalloc.start()
    try:
        train, _ = Table(X, y, None).split(*halves)
        after_split = tracemalloc.get_traced_memory()[1]
        column_moments(train.X)
        after_moments = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.nbytes <= after_split < 0.02 * X.nbytes
    assert 0.4e6 < after_moments < 0.2 * X.nbytes
