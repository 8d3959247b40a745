"""Train the networks of the paper's figure 1, SNNs and batch-norm networks, and draw their training loss.

    SKSNN_DATA=... python examples/paper/figure1.py figure1.png --rows 4000 --width 128 --epochs 80

Without options the script runs the whole protocol (arXiv:1706.02515; figure1/run.py of bioinf-jku/SNNs): 8,
16 and 32 hidden layers as wide as the inputs, 2000 epochs of plain SGD in batches of 128, no dropout; 50 000
rows of MNIST and 40 000 of CIFAR-10, standardised. The options reduce it for a CPU.

Two details matter. The paper's rate, 1e-5, is for the loss summed over a batch. SNNClassifier takes the mean,
so its rate here is 1e-5 * 128 = 1.28e-3. (The two differ only for the last batch of an epoch, if it is
smaller; the paper's code leaves that batch out.) And in the paper's code the batch norm comes after the ReLU,
so a callable architecture is used here instead of "batchnorm".

The command above (four minutes on one core, one seed) shows the main result of the paper's figure: SNNs learn
faster. On MNIST the losses of 8, 16 and 32 layers after 80 epochs are 0.13, 0.05 and 0.01 (SNN) and 0.31,
0.68 and 1.98 (batch norm). On CIFAR-10 they are 0.68, 0.17 and 0.04 (SNN) and 0.72, 2.02 and 2.53 (batch
norm); the two networks of 8 layers end with nearly the same loss. The caption of the paper's figure mentions
a high variance of the batch-norm curves. It does not appear here: they jitter a little, and so does the SNN
of 32 layers on CIFAR-10.

Each curve is appended to --out as a JSON line as soon as it is trained, so a stopped run can be continued.
The data are read by sksnn.datasets; its documentation says where to put them. JPEG copies of CIFAR-10 differ
slightly from the originals.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier
from sksnn.datasets import load_cifar10, load_mnist
from sksnn.networks import SNN

SUMMED_LOSS_LR, BATCH_SIZE = 1e-5, 128
DEPTHS = (8, 16, 32)
PAPER = {"epochs": 2000, "rows": None, "width": None}

# ---------------------------------------------------------------- data


DATASETS = {"mnist": (load_mnist, 50_000, "MNIST"), "cifar10": (load_cifar10, 40_000, "CIFAR-10")}


def load(name, folder, n_rows, seed):
    """Return training rows drawn at random: n_rows of them, or as many as the paper had."""
    read, paper_rows, _ = DATASETS[name]
    data = read(data_home=folder)
    train, _ = data.folds[0]
    rows = np.random.default_rng(seed).permutation(train)[: n_rows or paper_rows]
    return data.X[rows].astype(np.float32), data.y[rows]


# ---------------------------------------------------------------- networks


def snn(sizes, n_inputs, n_outputs):
    """Build a network with SELU and LeCun-normal weights, without dropout."""
    network = SNN(n_inputs, n_outputs, sizes, dropout=0.0)
    nn.init.xavier_uniform_(network.layers[-1].weight)  # the output layer of the paper's code
    return network


def batch_norm_behind_relu(sizes, n_inputs, n_outputs):
    """Build a network of dense -> ReLU -> batch norm with He-normal weights, without dropout."""
    layers = []
    for n_below, n_units in zip((n_inputs, *sizes), sizes, strict=False):
        dense = nn.Linear(n_below, n_units)
        nn.init.kaiming_normal_(dense.weight, nonlinearity="relu")
        # Tensorflow's default epsilon and momentum, which the paper's code uses.
        layers += [dense, nn.ReLU(), nn.BatchNorm1d(n_units, eps=1e-3, momentum=0.01)]
    layers.append(nn.Linear(sizes[-1], n_outputs))
    nn.init.xavier_uniform_(layers[-1].weight)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


NETWORKS = {"SNN": snn, "BatchNorm": batch_norm_behind_relu}


class Progress(Callback):
    """Print the loss ten times during training."""

    def __init__(self, n_epochs):
        self.every = max(1, n_epochs // 10)

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        if epoch % self.every == 0:
            print(f"    epoch {epoch}: loss {net.history[-1, 'train_loss']:.4f}", flush=True)


def train(X, y, curve, width, device):
    """Return the training loss of each epoch."""
    sizes = (width or X.shape[1],) * curve["depth"]
    clf = SNNClassifier(
        architecture=lambda *shape: NETWORKS[curve["network"]](sizes, *shape),
        optimizer="sgd",
        lr=curve["lr"] * BATCH_SIZE,
        lr_schedule="constant",
        weight_decay=0.0,
        label_smoothing=0.0,
        batch_size=BATCH_SIZE,
        max_epochs=curve["epochs"],
        early_stopping=False,
        callbacks=[Progress(curve["epochs"])],
        device=device,
        random_state=curve["seed"],
    )
    with warnings.catch_warnings():  # here it is a result that a loss stays high
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clf.fit(X, y).loss_curve_


# ---------------------------------------------------------------- figure


def draw(curves, settings, path):
    """Draw the losses as in the paper: one panel per data set, on a logarithmic scale."""
    names = list(dict.fromkeys(curve["dataset"] for curve in curves))
    figure, axes = plt.subplots(
        1, len(names), figsize=(6 * len(names), 4.6), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        for network, colors in [("BatchNorm", "Oranges"), ("SNN", "Blues")]:
            for depth, shade in zip(DEPTHS, (0.45, 0.65, 0.95), strict=True):
                for curve in curves:
                    if (curve["dataset"], curve["network"], curve["depth"]) == (name, network, depth):
                        epochs = np.arange(1, len(curve["loss"]) + 1)
                        color = plt.get_cmap(colors)(shade)
                        axis.semilogy(epochs, curve["loss"], color=color, label=f"{network}, depth {depth}")
        axis.set(title=DATASETS[name][2], xlabel="epoch", ylabel="training loss")
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    cuts = [f"{key} {value}" for key, value in settings.items() if value != PAPER[key]]
    figure.suptitle("Figure 1" + (f", cut to {', '.join(cuts)}" if cuts else ", the paper's protocol"))
    figure.savefig(path, dpi=120)
    print(f"figure saved to {path}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figure", nargs="?", type=Path, default=Path("figure1.png"))
    parser.add_argument("--out", type=Path, default=Path("figure1.jsonl"), help="file of the curves")
    parser.add_argument("--data", type=Path, default=os.environ.get("SKSNN_DATA"), help="folder of the data")
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--epochs", type=int, default=PAPER["epochs"])
    parser.add_argument("--rows", type=int, help="default: 50 000 of MNIST, 40 000 of CIFAR-10")
    parser.add_argument("--width", type=int, help="of the hidden layers; default: number of inputs")
    parser.add_argument("--lr", type=float, default=SUMMED_LOSS_LR, help="rate for the summed loss")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give the folder of the data, as --data or in the environment variable SKSNN_DATA")

    settings = {key: getattr(args, key) for key in PAPER}
    kept = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    curves = []
    for name in args.datasets:
        rows = None
        for depth in DEPTHS:
            for network in NETWORKS:
                curve = {"dataset": name, "network": network, "depth": depth, **settings}
                curve |= {"lr": args.lr, "seed": args.seed}
                done = [other for other in kept if curve.items() <= other.items()]
                if not done:
                    rows = rows or load(name, Path(args.data), args.rows, args.seed)
                    print(f"{name}: {network}, depth {depth}, {len(rows[0])} rows", flush=True)
                    start = time.perf_counter()
                    curve["loss"] = train(*rows, curve, args.width, args.device)
                    curve["seconds"] = round(time.perf_counter() - start, 1)
                    done = [curve]
                    with args.out.open("a") as file:
                        file.write(json.dumps(curve) + "\n")
                curves.append(done[0])

    print("\ndata set  network    depth  first loss  last loss  seconds")
    for c in curves:
        print(f"{c['dataset']:9s} {c['network']:10s} {c['depth']:5d}", end="")
        print(f"{c['loss'][0]:12.4f}{c['loss'][-1]:11.4f}{c['seconds']:9.0f}")
    draw(curves, settings, args.figure.resolve())


if __name__ == "__main__":
    main()
