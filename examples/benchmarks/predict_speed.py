"""Time of predict_proba: SNNClassifier, and MLPClassifier with and without a StandardScaler.

    python examples/benchmarks/predict_speed.py --threads 2

The rows are float64, as users usually pass them. SNNClassifier standardises rows itself and computes
in float64 for float64 rows, as MLPClassifier does; float32 rows are computed in float32. The methods
are run in alternation. The table has medians, divided by SNNClassifier's: above 1 the method is slower.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sksnn import SNNClassifier

# (features, width, depth)
NETWORKS = [(20, 64, 4), (50, 256, 4), (200, 1024, 4)]
CALLS = {1: 300, 1_000: 20, 100_000: 1}  # rows: calls per measurement


def measure(n_features, width, depth, n_rows, repeats):
    """Return the median seconds of a call for each method."""
    X, y = make_classification(1000, n_features, n_informative=n_features // 2, random_state=0)
    snn = SNNClassifier(
        n_estimators=1,
        hidden_layer_sizes=(width,) * depth,
        encoding=None,
        scale_inputs=False,
        max_epochs=2,
        random_state=0,
    )
    snn.fit(X, y)
    scaled = make_pipeline(StandardScaler(), MLPClassifier((width,) * depth, max_iter=2)).fit(X, y)
    rows = np.random.default_rng(0).normal(size=(n_rows, n_features))
    single = rows.astype(np.float32)
    calls = {
        "SNN": lambda: snn.predict_proba(rows),
        "SNN, float32 rows": lambda: snn.predict_proba(single),
        "StandardScaler, MLP": lambda: scaled.predict_proba(rows),
        "MLP alone": lambda: scaled[-1].predict_proba(rows),
    }
    times = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS[n_rows]):
                call()
            times[name].append((time.perf_counter() - start) / CALLS[n_rows])
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, median of {arguments.repeats}\n")
    with threadpool_limits(arguments.threads):
        for n_features, width, depth in NETWORKS:
            for n_rows in CALLS if width < 1024 else (1, 1000):
                medians = measure(n_features, width, depth, n_rows, arguments.repeats)
                ours = medians.pop("SNN")
                ratios = " | ".join(f"{name} {value / ours:.2f}" for name, value in medians.items())
                print(f"| {depth} x {width}, {n_rows} rows | {ours * 1e3:.2f} ms | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
