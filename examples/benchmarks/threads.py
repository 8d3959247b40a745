"""Time fits with the default number of threads and with all threads, on an idle and on a busy machine.

    python examples/benchmarks/threads.py --busy 3 --repeats 5

Both fit the same network on the same rows, in alternation. "by work" is the default, which limits the threads
by the work of a step; "all" switches the limit off. --busy is the number of processes that compute in the
background for the second half of the table.
"""

import argparse
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from statistics import median

import numpy as np
import sklearn
import torch

from sksnn import SNNClassifier, _device

# rows, columns, layers, units, form, batch, epochs
SIZES = [
    (1797, 64, 4, 256, "conic", 64, 8),
    (1000, 20, 4, 64, "rectangular", 32, 10),
    (2000, 50, 4, 256, "rectangular", 128, 5),
    (2000, 50, 4, 512, "rectangular", 128, 3),
    (2000, 200, 4, 1024, "rectangular", 256, 1),
]


@contextmanager
def busy(n):
    """Run n processes that compute, inside the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()


def seconds(X, y, size, per_thread):
    """Time one fit of a size, with at least `per_thread` multiply-adds per thread."""
    _, _, depth, units, form, batch, epochs = size
    model = SNNClassifier(
        n_estimators=1,
        n_layers=depth,
        n_units=units,
        layer_form=form,
        batch_size=batch,
        max_epochs=epochs,
        encoding=None,
        scale_inputs=False,
        random_state=0,
    )
    before, _device.WORK_PER_THREAD = _device.WORK_PER_THREAD, per_thread
    try:
        start = time.perf_counter()
        model.fit(X, y)
        return time.perf_counter() - start
    finally:
        _device.WORK_PER_THREAD = before


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--busy", type=int, default=3, help="number of background processes")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"python {sys.version.split()[0]}, numpy {np.__version__}, scikit-learn {sklearn.__version__}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads, seed 0, medians of {arguments.repeats}"
    )
    print("| rows x columns, layers x units, form, batch | busy | by work, s | all, s | all / by work |")
    print("|---|---|---|---|---|")
    for n_busy in (0, arguments.busy):
        with busy(n_busy):
            for size in SIZES:
                n, d, depth, units, form, batch, _ = size
                X = np.random.default_rng(0).normal(size=(n, d))
                y = (X[:, 0] > 0).astype(int)
                times = [
                    (seconds(X, y, size, _device.WORK_PER_THREAD), seconds(X, y, size, 1))
                    for _ in range(arguments.repeats)
                ]
                by_work, everything = (median(column) for column in zip(*times, strict=True))
                print(
                    f"| {n} x {d}, {depth} x {units}, {form}, {batch} | {n_busy} | {by_work:.2f} | "
                    f"{everything:.2f} | {everything / by_work:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
