"""
Self-normalization, layer by layer
==================================

What 16 layers make of mean and variance: the SNN and the six kinds of network that the paper compares it
with, before and after training on scikit-learn's handwritten digits. Activations are collected with
torch's forward hooks.
"""

import copy
import os
import sys
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier
from sksnn.architectures import ARCHITECTURES, WeightNormLinear

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: worse results, sooner
LAYERS, WIDTH, EPOCHS = 16, 64, 1 if FAST else 15
X, digit = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, digit, random_state=0, stratify=digit)
if FAST:
    X_train, y_train = X_train[::4], y_train[::4]
    warnings.simplefilter("ignore")

# %%
# Collecting activations
# ----------------------
# What enters a linear layer is what the layer below put out, in all seven networks: behind the SELU or
# ReLU, and what is added or mixed to that. The network is in training mode, so that batch norm takes
# the moments of the rows themselves, as it does while it learns; nothing is dropped.


def collect(network, x):
    """Return what enters each linear layer: the inputs, then the activations of each hidden layer."""
    network = copy.deepcopy(network).train()
    collected = []
    for name, module in network.named_modules():
        beside = name.endswith("gate")  # a highway's gate sees what its layer sees
        if isinstance(module, nn.Linear | WeightNormLinear) and not beside:
            module.register_forward_pre_hook(lambda module, inputs: collected.append(inputs[0]))
    with torch.no_grad():
        network(x)
    return collected


def moments(network, X):
    """Return mean and variance of each unit over the rows: two arrays (n_layers, n_units)."""
    inputs = network.encoder(torch.from_numpy(X)).float()
    units = torch.stack(collect(network.network, inputs)[1:])
    return units.mean(dim=1).numpy(), units.var(dim=1).numpy()


class BeforeTraining(Callback):
    """Keep the moments of the network that training starts from."""

    def __init__(self):
        self.kept = []

    def on_train_begin(self, net, **kwargs):
        self.kept.append(moments(net.module_, X_test))


# %%
# Training
# --------
# One setting for all seven, tuned for none: width 64, no dropout, otherwise the estimator's defaults.

results = {}
print("accuracy on the test rows; mean and variance of the units of layer 16, averaged over the units\n")
print(f"{'':26s}before training     after training")
print("             accuracy     mean  variance     mean  variance")
for architecture in ARCHITECTURES:
    start = time.perf_counter()
    before = BeforeTraining()
    clf = SNNClassifier(
        architecture=architecture,
        n_layers=LAYERS,
        n_units=WIDTH,
        layer_form="rectangular",
        dropout=0.0,
        max_epochs=EPOCHS,
        callbacks=[before],
        random_state=0,
    ).fit(X_train, y_train)
    accuracy = clf.score(X_test, y_test)
    after = moments(clf.net_.module_, X_test)
    results[architecture] = accuracy, before.kept[0], after
    last = [values[-1].mean() for values in (*before.kept[0], *after)]
    print("{:12s} {:8.3f} {:8.2f} {:9.2g} {:8.2f} {:9.2g}".format(architecture, accuracy, *last), end="")
    print(f"    {time.perf_counter() - start:.1f} s")

# %%
# The picture
# -----------
# Line: the mean over the units of a layer. Shade: from the 10th to the 90th percentile of the units; where
# it leaves the picture below, a tenth of the units or more hardly vary from row to row. Of the seven, the
# SNN alone stays around mean 0, before and after, and the shade of its variance stays between 0.3 and 3. The
# zigzag of the residual network is the inside of its blocks against what adds up behind them.

figure, axes = plt.subplots(
    2, len(results), figsize=(19, 6.2), layout="constrained", sharex=True, sharey="row"
)
layers = np.arange(1, LAYERS + 1)
for column, (architecture, (accuracy, *stages)) in zip(axes.T, results.items(), strict=True):
    for label, color, stage in zip(
        ("before training", "after"), ("tab:blue", "tab:orange"), stages, strict=True
    ):
        for axis, values, target in zip(column, stage, (0, 1), strict=True):
            low, high = np.percentile(values, [10, 90], axis=1)
            axis.fill_between(layers, low, high, color=color, alpha=0.25, lw=0)
            axis.plot(layers, values.mean(axis=1), color=color, lw=2, label=label)
            axis.axhline(target, color="black", lw=0.8, ls=":")
            axis.grid(alpha=0.25)
    column[0].set_title(f"{architecture}\naccuracy {accuracy:.3f}")
    column[1].set(xlabel="layer", yscale="log")
axes[0, 0].set_ylabel("mean of a unit's activations")
axes[1, 0].set_ylabel("variance of a unit's activations")
axes[0, 0].legend(loc="upper left")
axes[1, 0].set_ylim(1e-3, 20)
axes[1, 0].set_xticks([1, 4, 8, 12, 16])

path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix(".png")).resolve()
figure.savefig(path, dpi=120)
print(f"\nfigure saved to {path}")
