"""Measure and plot how the time of a fit grows with rows, width, depth and batch size.

    python examples/benchmarks/scaling.py --threads 2 --out docs/images/scaling.png

One of the four is varied at a time; the others are those of 4 layers of 256 units, 4 000 rows of 50
columns and batches of 128. SNNClassifier with dropout 0.05, a hand-written torch loop with
nn.AlphaDropout, and MLPClassifier are fitted as in fit_speed.py. The figure shows the time per epoch:
that of a fit of some epochs, divided by their number.
"""

import argparse
import statistics
import time
import warnings

import matplotlib.pyplot as plt
import torch
from fit_speed import fit_mlp, fit_snn, fit_torch
from sklearn.datasets import make_classification
from threadpoolctl import threadpool_limits

BASE = {"rows": 4000, "width": 256, "depth": 4, "batch": 128}
AXES = {
    "rows": [500, 1000, 2000, 4000, 8000, 16_000],
    "width": [32, 64, 128, 256, 512, 1024],
    "depth": [1, 2, 4, 8, 16, 32],
    "batch": [16, 32, 64, 128, 256, 512],
}
METHODS = {"SNNClassifier": fit_snn, "torch loop": fit_torch, "MLPClassifier": fit_mlp}
N_FEATURES = 50


def seconds_per_epoch(setting, repeats, epochs=2):
    """Return each method's median over fits in alternation."""
    X, y = make_classification(setting["rows"], N_FEATURES, n_informative=25, random_state=0)
    times = {name: [] for name in METHODS}
    for _ in range(repeats):
        for name, fit in METHODS.items():
            start = time.perf_counter()
            fit(X, y, setting["width"], setting["depth"], setting["batch"], epochs)
            times[name].append((time.perf_counter() - start) / epochs)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="scaling.png")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), sharey=True, layout="constrained")
    with threadpool_limits(arguments.threads):
        seconds_per_epoch(BASE, 1)  # to warm up
        for ax, (axis, values) in zip(axes, AXES.items(), strict=True):
            results = [seconds_per_epoch({**BASE, axis: value}, arguments.repeats) for value in values]
            for name in METHODS:
                ax.loglog(values, [result[name] for result in results], "o-", label=name)
                print(axis, name, *(f"{result[name]:.3f}" for result in results), flush=True)
            ax.set(xlabel=axis)
            ax.set_xticks(values, labels=values)
            ax.minorticks_off()
            ax.grid(alpha=0.3, which="both")
    axes[0].set(ylabel="seconds per epoch")
    axes[0].legend(frameon=False)
    figure.suptitle(
        ", ".join(f"{name} {value}" for name, value in BASE.items()) + f"; {arguments.threads} threads"
    )
    figure.savefig(arguments.out, dpi=130)


if __name__ == "__main__":
    main()
