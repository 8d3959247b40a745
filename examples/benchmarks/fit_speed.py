"""Time of one fit: SNNClassifier, MLPClassifier, plain skorch and a hand-written torch loop.

    python examples/benchmarks/fit_speed.py --threads 2 --repeats 7 --large

All train the same widths on the same float64 rows, with Adam at a constant rate of 1e-3, the same
batches and epochs, and no early stopping. The time includes checking, casting and standardising the
rows. The methods are run in alternation, so that a slow phase of the machine affects all of them.
The table has the median of each divided by SNNClassifier's; above 1 the method is slower. "of GEMM"
is the time that SNNClassifier's matrix products would take at the machine's rate of float32 products
(batch x width x width, measured between the fits), as a share of the time of its fit.
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
    (1_000, 20, 64, 4, 32): 60,
    (2_000, 50, 256, 4, 128): 40,
    (2_000, 50, 256, 8, 128): 20,
    (2_000, 200, 1024, 4, 256): 5,
}
LARGE = {
    (60_000, 784, 784, 8, 128): 1,
    (12_000, 2_400, 1024, 8, 512): 1,
}


def layers(n_features, width, depth, dropout):
    """Build the same network from torch's modules, with the same initialisation."""
    sizes = [n_features, *[width] * depth, 2]
    parts = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(n_in, n_out)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        nn.init.zeros_(linear.bias)
        parts += [linear, nn.SELU(), *([nn.AlphaDropout(dropout)] if dropout else [])]
    return nn.Sequential(*parts[: -2 if dropout else -1])


def fit_snn(X, y, width, depth, batch, epochs, dropout=DROPOUT, device="cpu"):
    return SNNClassifier(
        n_estimators=1,
        hidden_layer_sizes=(width,) * depth,
        dropout=dropout,
        encoding=None,
        scale_inputs=False,
        label_smoothing=0.0,
        optimizer="adam",
        weight_decay=0.0,
        lr=LR,
        lr_schedule="constant",
        batch_size=batch,
        max_epochs=epochs,
        early_stopping=False,
        device=device,
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


def fit_skorch(X, y, width, depth, batch, epochs, device="cpu"):
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
        device=device,
        verbose=0,
    ).fit(X, y.astype(np.int64))


def fit_torch(X, y, width, depth, batch, epochs, dropout=DROPOUT, device="cpu"):
    torch.manual_seed(SEED)
    X = torch.from_numpy(StandardScaler().fit_transform(X).astype(np.float32)).to(device)
    y = torch.from_numpy(y.astype(np.int64)).to(device)
    network = layers(X.shape[1], width, depth, dropout).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(X), device=device)
        for i in range(0, len(X), batch):
            rows = order[i : i + batch]
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()
    return network


METHODS = {
    "SNN": fit_snn,
    "SNN, dropout 0": lambda *args: fit_snn(*args, dropout=0.0),
    "MLPClassifier": fit_mlp,
    "torch": fit_torch,
    "torch, dropout 0": lambda *args: fit_torch(*args, dropout=0.0),
    "skorch": fit_skorch,
}


def gemm_seconds(width, batch):
    """Return the time of one float32 product of a batch with a hidden layer's weights."""
    x, weight, out = torch.randn(batch, width), torch.randn(width, width), torch.empty(batch, width)
    torch.mm(x, weight, out=out)
    start = time.perf_counter()
    for _ in range(20):
        torch.mm(x, weight, out=out)
    return (time.perf_counter() - start) / 20


def products(n_features, width, depth):
    """Count the matrix products of a training step; a product between hidden layers counts as 1."""
    hidden = (depth - 1) * width**2 * 3 + width * 2 * 3
    return (hidden + n_features * width * 2) / width**2  # the gradient of the inputs is not needed


def measure(size, epochs, repeats):
    """Return the seconds of each method, one per repeat, and those of a matrix product."""
    n_rows, n_features, width, depth, batch = size
    X, y = make_classification(n_rows, n_features, n_informative=n_features // 2, random_state=SEED)
    seconds, gemm = {name: [] for name in METHODS}, []
    for repeat in range(-1, repeats):
        gemm.append(gemm_seconds(width, batch))
        for name, fit in METHODS.items():
            if repeat < 0:  # warm up with some rows
                fit(X[:1000], y[:1000], width, depth, batch, 1)
                continue
            start = time.perf_counter()
            fit(X, y, width, depth, batch, epochs)
            seconds[name].append(time.perf_counter() - start)
    return seconds, statistics.median(gemm)


def report(size, epochs, seconds, gemm):
    """Print a row of the table."""
    n_rows, n_features, width, depth, batch = size
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = medians["SNN"]
    ideal = gemm * products(n_features, width, depth) * epochs * n_rows / batch
    spread = max(max(times) / min(times) for times in seconds.values())
    name = f"{n_rows} x {n_features}, {depth} x {width}, {batch}"
    cells = [f"{epochs}", f"{ours:.2f}", *(f"{medians[m] / ours:.2f}" for m in list(METHODS)[1:])]
    print(f"| {name} | {' | '.join(cells)} | {ideal / ours:.0%} | {spread:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", metavar="ROWS,FEATURES,WIDTH,DEPTH,BATCH[,EPOCHS]")
    parser.add_argument("--large", action="store_true", help="also run the sizes that take minutes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of BLAS")
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
        print("\n| rows x features, depth x width, batch | epochs | SNN, s |", end=" ")
        print(" | ".join(list(METHODS)[1:]), "| of GEMM | slowest / fastest |")
        print("|---" * (5 + len(METHODS)) + "|")
        for size, epochs in sizes.items():
            report(
                size,
                epochs,
                *measure(size, epochs, min(2, arguments.repeats) if size in LARGE else arguments.repeats),
            )


if __name__ == "__main__":
    main()
