"""
Which networks still train with 32 layers
=========================================

SELU with LeCun-normal weights keeps the activations near mean 0 and variance 1 through any number of layers.
This example trains four kinds of network with 8, 16 and 32 layers on scikit-learn's handwritten digits. All
are trained in the same way: plain gradient descent, one learning rate, no dropout, no weight decay. Another
rate might suit another network better: the example shows which networks train without tuning.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import time
import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from torch import nn

from sksnn import SNNClassifier

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
DEPTHS, WIDTH, EPOCHS = (8, 16, 32), 64, 20
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS = 1
# sphinx_gallery_end_ignore
warnings.simplefilter("ignore", ConvergenceWarning)  # here it is a result that a network learns nothing

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# %%
# Four networks
# -------------
# Three of them are built-in architectures. The fourth is the SNN with torch's initial weights and biases: the
# weights that torch draws for a linear layer have a third of the variance that SELU needs, and the biases are
# random.


def selu_with_torch_weights(depth):
    """Return an architecture, ``(n_inputs, n_outputs) -> Module``."""

    def build(n_inputs, n_outputs):
        layers = []
        for n_below, n_units in pairwise((n_inputs, *(WIDTH,) * depth)):
            layers += [nn.Linear(n_below, n_units), nn.SELU()]
        return nn.Sequential(*layers, nn.Linear(WIDTH, n_outputs))

    return build


NETWORKS = {
    "SNN": lambda depth: "snn",
    "ReLU, He's weights": lambda depth: "msra",
    "ReLU, batch norm": lambda depth: "batchnorm",
    "SELU, torch's weights": selu_with_torch_weights,
}

# %%
# Training
# --------

results = {}
for name, architecture in NETWORKS.items():
    start = time.perf_counter()
    for depth in DEPTHS:
        clf = SNNClassifier(
            n_layers=depth,
            n_units=WIDTH,
            layer_form="rectangular",
            architecture=architecture(depth),
            dropout=0.0,
            optimizer="sgd",
            lr=0.01,
            lr_schedule="constant",
            weight_decay=0.0,
            label_smoothing=0.0,
            batch_size=32,
            max_epochs=EPOCHS,
            random_state=0,
        ).fit(X_train, y_train)
        results[name, depth] = clf.loss_curve_, clf.score(X_test, y_test)
        print(f"{name:22s} {depth:2d} layers: training loss {clf.loss_curve_[-1]:.4f}", end=", ")
        print(f"test accuracy {results[name, depth][1]:.3f}")
    print(f"{'':22s} {time.perf_counter() - start:.1f} s")

# %%
# The picture
# -----------

figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained", width_ratios=[1, 1, 1, 1.15])
lowest = min(min(curve) for curve, _ in results.values())
for axis, depth in zip(axes, DEPTHS, strict=False):
    for name in NETWORKS:
        axis.semilogy(np.arange(1, EPOCHS + 1), results[name, depth][0], lw=2, label=name)
    axis.axhline(np.log(10), color="gray", ls=":", lw=1)
    axis.set(title=f"{depth} layers", xlabel="epoch", ylim=(0.7 * lowest, 6))
    axis.grid(alpha=0.3)
axes[0].set_ylabel("training loss (dotted: guessing)")

for i, name in enumerate(NETWORKS):
    scores = [results[name, depth][1] for depth in DEPTHS]
    bars = axes[3].bar(np.arange(len(DEPTHS)) + 0.21 * (i - 1.5), scores, 0.2, label=name)
    axes[3].bar_label(bars, [f"{score:.2f}" for score in scores], fontsize=7)
axes[3].set_xticks(range(len(DEPTHS)), DEPTHS)
axes[3].set(title="after training", xlabel="layers", ylabel="accuracy on the test rows", ylim=(0, 1.35))
axes[3].set_yticks(np.linspace(0, 1, 6))
axes[3].legend(loc="upper center", ncols=2, fontsize=8)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
