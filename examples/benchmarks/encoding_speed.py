"""Cost of codes: time of fit and predict with each `encoding`, divided by the time without codes.

    python examples/benchmarks/encoding_speed.py --threads 2 --repeats 7

The times are medians of fits in alternation. Half of the columns have five values, half are continuous.
"""

import argparse
import platform
import time
import warnings

import numpy as np
import sklearn
import torch

from sksnn import SNNClassifier
from sksnn.encodings import ENCODINGS


def make_rows(n_rows, n_columns, rng):
    X = rng.standard_normal((n_rows, n_columns))
    X[:, ::2] = np.floor(X[:, ::2]).clip(-2, 2)
    return X, (X @ rng.standard_normal(n_columns) > 0).astype(int)


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    print(
        f"torch {torch.__version__}, sklearn {sklearn.__version__}, {platform.machine()}, "
        f"{arguments.threads} threads, seed 0, medians of {arguments.repeats}"
    )
    print(
        f"{'rows x columns':>16s} {'encoding':>12s} {'inputs':>7s} {'fit':>9s} {'ratio':>6s} {'predict':>9s} "
        "ratio"
    )
    for n_rows, n_columns in ((1000, 20), (10_000, 20), (1000, 100)):
        X, y = make_rows(n_rows, n_columns, np.random.default_rng(0))
        models = {
            e: SNNClassifier(n_estimators=1, n_units=256, encoding=e, early_stopping=False, random_state=0)
            for e in (None, *ENCODINGS)
        }
        times = {encoding: [] for encoding in models}
        for _ in range(arguments.repeats):
            for encoding, model in models.items():
                times[encoding].append((seconds(model.fit, X, y), seconds(model.predict, X)))
        medians = {encoding: np.median(pairs, axis=0) for encoding, pairs in times.items()}
        for encoding, (fit, predict) in medians.items():
            ratios = medians[encoding] / medians[None]
            n_inputs = models[encoding].net_.module_.encoder.n_inputs
            print(
                f"{n_rows:>8d} x {n_columns:<5d} {encoding!s:>12s} {n_inputs:7d} "
                f"{fit:8.3f}s {ratios[0]:6.2f} {1e3 * predict:7.2f}ms {ratios[1]:5.2f}"
            )


if __name__ == "__main__":
    main()
