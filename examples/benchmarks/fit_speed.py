"""Time of one fit: SNNClassifier beside MLPClassifier, plain skorch and a hand-written torch loop.

    OMP_NUM_THREADS=1 python examples/benchmarks/fit_speed.py --threads 1 --repeats 5

All train the same widths on the same float64 rows, with Adam at a constant rate of 1e-3, the same
batches and epochs, and no early stopping. What a user waits for is timed: checking, casting and
standardising the rows count. Competitors take turns, so that a slow minute of the machine hits all
of them; the table has the median of each, and its ratio to SNNClassifier's.
"""

import argparse
import os
import platform
import statistics
import time
import warnings

import numpy as np
import sklearn
import skorch
import torch
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from sksnn import SNNClassifier

LR, DROPOUT, SEED = 1e-3, 0.05, 0

# (rows, features, width, depth, batch): epochs, so that a fit takes about a second.
SIZES = {
    (1_000, 20, 64, 4, 32): 25,
    (2_000, 50, 256, 4, 128): 20,
    (2_000, 50, 256, 8, 128): 12,
    (2_000, 200, 1024, 4, 256): 3,
}
LARGE = {
    (60_000, 784, 784, 8, 128): 1,
    (12_000, 2_400, 1024, 8, 512): 1,
}


def layers(n_features, width, depth, dropout):
    """Build the network from torch's own parts, initialised as ours is."""
    sizes = [n_features, *[width] * depth, 2]
    parts = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(n_in, n_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        nn.init.zeros_(linear.bias)
        parts += [linear, nn.SELU(), *([nn.AlphaDropout(dropout)] if dropout else [])]
    return nn.Sequential(*parts[: -2 if dropout else -1])


def fit_snn(X, y, width, depth, batch, epochs, dropout=DROPOUT):
    return SNNClassifier(
        hidden_layer_sizes=(width,) * depth,
        dropout=dropout,
        label_smoothing=0.0,
        optimizer="adam",
        weight_decay=0.0,
        lr=LR,
        lr_schedule="constant",
        batch_size=batch,
        max_epochs=epochs,
        early_stopping=False,
        device="cpu",
        random_state=SEED,
    ).fit(X, y)


def fit_mlp(X, y, width, depth, batch, epochs):
    mlp = MLPClassifier(
        (width,) * depth,
        alpha=0.0,
        batch_size=batch,
        learning_rate_init=LR,
        max_iter=epochs,
        n_iter_no_change=epochs,
        tol=0.0,
        random_state=SEED,
    )
    return make_pipeline(StandardScaler(), mlp).fit(X, y)


def fit_skorch(X, y, width, depth, batch, epochs):
    torch.manual_seed(SEED)
    X = StandardScaler().fit_transform(X).astype(np.float32)
    return skorch.NeuralNetClassifier(
        layers(X.shape[1], width, depth, DROPOUT),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=batch,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).fit(X, y.astype(np.int64))


def fit_torch(X, y, width, depth, batch, epochs, dropout=DROPOUT):
    torch.manual_seed(SEED)
    X = torch.from_numpy(StandardScaler().fit_transform(X).astype(np.float32))
    y = torch.from_numpy(y.astype(np.int64))
    network = layers(X.shape[1], width, depth, dropout)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for i in range(0, len(X), batch):
            rows = order[i : i + batch]
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()
    return network


METHODS = {
    "SNNClassifier": fit_snn,
    "SNNClassifier, no dropout": lambda *args: fit_snn(*args, dropout=0.0),
    "torch loop": fit_torch,
    "torch loop, no dropout": lambda *args: fit_torch(*args, dropout=0.0),
    "skorch": fit_skorch,
    "MLPClassifier (relu)": fit_mlp,
}


def measure(size, epochs, repeats):
    """Return each method's seconds: one list a method, `repeats` long, after one fit to warm up."""
    n_rows, n_features, *network = size
    X, y = make_classification(n_rows, n_features, n_informative=n_features // 2, random_state=SEED)
    seconds = {name: [] for name in METHODS}
    for repeat in range(-1, repeats):
        for name, fit in METHODS.items():
            start = time.perf_counter()
            fit(X, y, *network, epochs if repeat >= 0 else 1)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(size, epochs, seconds):
    n_rows, n_features, width, depth, batch = size
    print(f"\n{n_rows} rows x {n_features}, {depth} x {width}, batch {batch}, {epochs} epochs")
    print(f"  {'':26s}{'median s':>10s}{'fastest s':>11s}{'of SNNClassifier':>18s}")
    ours = statistics.median(seconds["SNNClassifier"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"  {name:26s}{median:10.3f}{min(times):11.3f}{median / ours:18.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", metavar="ROWS,FEATURES,WIDTH,DEPTH,BATCH[,EPOCHS]")
    parser.add_argument("--large", action="store_true", help="also the sizes that take minutes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of torch and of BLAS")
    arguments = parser.parse_args()
    sizes = SIZES | LARGE if arguments.large else SIZES
    if arguments.sizes:
        numbers = [tuple(map(int, text.split(","))) for text in arguments.sizes]
        sizes = {size[:5]: size[5] if len(size) == 6 else SIZES.get(size[:5], 3) for size in numbers}

    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, skorch {skorch.__version__}"
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}; "
        f"{arguments.threads} threads; seed {SEED}; median of {arguments.repeats} fits on the CPU"
    )
    with threadpool_limits(arguments.threads):
        for size, epochs in sizes.items():
            report(size, epochs, measure(size, epochs, arguments.repeats))


if __name__ == "__main__":
    main()
