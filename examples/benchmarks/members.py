"""Time of estimators with several members, divided by the time of one network.

    python examples/benchmarks/members.py --threads 1 2 --repeats 7

Fits: the classifier's layers with 1 and 8 members, of one-hot codes (none, since all columns are
continuous), of piecewise codes, and of both in turn; a conic classifier from 64 units with 1 and 16; the
regressor's layers with 1 and 8 alike; both with their defaults. All on 1000 x 20, with default epochs and
batches. The sides are run in alternation, so that a slow phase of the machine affects all. Predictions:
`predict_proba` of 1, 100, 1 000 and 10 000 float64 rows, of such classifiers. The tables have medians, and
the ratio of each to the first of its group. k separate fits would have the ratio k.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from functools import partial

import numpy as np
import sklearn
import skorch
import torch
from sklearn.datasets import make_classification, make_regression
from threadpoolctl import threadpool_limits

from sksnn import SNNClassifier, SNNRegressor

SEED, N_ROWS, N_COLUMNS = 0, 1_000, 20
DEFAULT = "classifier, default (conic, 256)"

# Group -> estimator, and for each side its parameters; the first side is the one network.
FITS = {
    DEFAULT: (
        SNNClassifier,
        {
            "1": {"n_estimators": 1},
            "1, piecewise": {"n_estimators": 1, "encoding": "piecewise"},
            "8": {"n_estimators": 8, "encoding": "onehot"},
            "8, mixed codes": {"n_estimators": 8},
            "default": {},
        },
    ),
    "classifier, conic, 64": (
        SNNClassifier,
        {
            "1": {"n_units": 64, "n_estimators": 1},
            "16": {"n_units": 64, "n_estimators": 16, "encoding": "onehot"},
        },
    ),
    "regressor, default (4 x 128)": (
        SNNRegressor,
        {
            "1": {"n_estimators": 1},
            "8": {"n_estimators": 8, "encoding": "piecewise", "early_stopping": False},
            "default": {},
        },
    ),
}
CALLS = {1: 100, 100: 50, 1_000: 10, 10_000: 2}  # rows of a prediction: calls per measurement


def rows_and_target(estimator):
    """Make the training rows of an estimator."""
    settings = {"n_features": N_COLUMNS, "n_informative": N_COLUMNS // 2, "random_state": SEED}
    if estimator is SNNClassifier:
        return make_classification(N_ROWS, **settings)
    return make_regression(N_ROWS, noise=10.0, **settings)


def alternate(calls, repeats, per_measurement=1):
    """Return the seconds of a call for each side, one per repeat, after a warm-up."""
    seconds = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(per_measurement):
                call()
            seconds[name].append((time.perf_counter() - start) / per_measurement)
    return {name: times[1:] for name, times in seconds.items()}


def report(group, threads, seconds, unit=1.0):
    """Print a row of a table for each side."""
    first = statistics.median(next(iter(seconds.values())))
    for name, times in seconds.items():
        median, spread = statistics.median(times), max(times) / min(times)
        cells = [group, name, threads, f"{median / unit:.2f}", f"{median / first:.2f}", f"{spread:.2f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def fits(estimator, sides, epochs):
    """Return a call without arguments for each side: its fit."""
    X, y = rows_and_target(estimator)
    models = {
        name: estimator(**settings, max_epochs=epochs, random_state=SEED) for name, settings in sides.items()
    }
    return {name: partial(model.fit, X, y) for name, model in models.items()}


def fit_times(threads, repeats, epochs):
    """Print the time of the fits."""
    print("\n| fit | members | threads | s | ratio | slowest / fastest |\n|---|---|---|---|---|---|")
    for group, (estimator, sides) in FITS.items():
        calls = fits(estimator, sides, epochs)
        for n in threads:
            torch.set_num_threads(n)
            with threadpool_limits(n):
                report(group, n, alternate(calls, repeats))


def prediction_times(threads, repeats):
    """Print the time of the predictions."""
    print("\n| prediction | members | threads | ms | ratio | slowest / fastest |\n|---|---|---|---|---|---|")
    fitted = {name: fit() for name, fit in fits(*FITS[DEFAULT], epochs=2).items()}
    for n_rows, n_calls in CALLS.items():
        rows = np.random.default_rng(SEED).normal(size=(n_rows, N_COLUMNS))
        calls = {name: partial(clf.predict_proba, rows) for name, clf in fitted.items()}
        for n in threads:
            torch.set_num_threads(n)
            with threadpool_limits(n):
                report(f"{n_rows} rows", n, alternate(calls, repeats, n_calls), unit=1e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of torch and of BLAS")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, skorch {skorch.__version__}"
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}; "
        f"seed {SEED}; {N_ROWS} x {N_COLUMNS}, {arguments.epochs} epochs; medians of {arguments.repeats}"
    )
    fit_times(arguments.threads, arguments.repeats, arguments.epochs)
    prediction_times(arguments.threads, arguments.repeats)


if __name__ == "__main__":
    main()
