"""Time of one GridSearchCV with one worker, and with one worker per core.

    python examples/benchmarks/search_speed.py

The search has 48 fits. It runs twice with each number of workers, and the second time counts: then
the workers have started and imported torch. joblib limits the threads of several workers through
OMP_NUM_THREADS; a single worker can use all threads.
"""

import os
import time
import warnings

from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV

from sksnn import SNNClassifier

GRID = {"n_layers": [2, 4, 8], "dropout": [0.0, 0.05], "lr": [3e-4, 1e-3]}


def seconds(n_jobs, X, y):
    """Return the time of a search."""
    search = GridSearchCV(
        SNNClassifier(n_estimators=1, random_state=0, max_epochs=60), GRID, cv=4, n_jobs=n_jobs
    )
    start = time.perf_counter()
    search.fit(X, y)
    return time.perf_counter() - start


def main():
    warnings.simplefilter("ignore")
    X, y = make_classification(2000, 30, n_informative=15, random_state=0)
    for n_jobs in (1, os.cpu_count()):
        seconds(n_jobs, X[:200], y[:200])
        print(f"n_jobs={n_jobs}: {seconds(n_jobs, X, y):.1f} s", flush=True)


if __name__ == "__main__":
    main()
