"""
Self-normalization, layer by layer
==================================

How mean and variance change over 16 layers, in the SNN and in the six kinds of network that the paper
compares it with, before and after training on scikit-learn's handwritten digits. ``sksnn.diagnostics``
measures and draws them.
"""

# sphinx_gallery_start_ignore
import os
import sys
import warnings

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import copy
import time

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier
from sksnn.architectures import ARCHITECTURES
from sksnn.diagnostics import LayerMomentsDisplay, check_self_normalization, layer_moments

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
LAYERS, WIDTH, EPOCHS = 16, 64, 12
X, digit = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, digit, random_state=0, stratify=digit)
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS = 1
    X_train, y_train = X_train[::4], y_train[::4]
    warnings.simplefilter("ignore")
# sphinx_gallery_end_ignore

# %%
# Measuring
# ---------
# ``layer_moments`` measures the inputs of each linear layer in all seven networks: the values after the SELU
# or ReLU, and after what shortcuts or gates add to them. It measures in evaluation mode, in which batch norm
# uses the averages kept in training. Before training there are none, so here they are first set to the
# moments of the rows.


def moments(network, X):
    """Return the moments of all layers, with batch norm's averages set to the moments of the rows."""
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.from_numpy(X))
    return layer_moments(network, X)


class BeforeTraining(Callback):
    """Store the moments of the network before training."""

    def __init__(self):
        self.kept = []

    def on_train_begin(self, net, **kwargs):
        self.kept.append(moments(net.module_, X_test))


# %%
# Training
# --------
# All seven have the same setting, which was not tuned for any: width 64, no dropout, otherwise the defaults.

results = {}
print("accuracy on the test rows; mean and variance of layer 16, over rows and units\n")
print(f"{'':26s}before training     after training")
print("             accuracy     mean  variance     mean  variance")
for architecture in ARCHITECTURES:
    start, before = time.perf_counter(), BeforeTraining()
    clf = SNNClassifier(
        n_estimators=1,
        architecture=architecture,
        scale_inputs=False,
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
    last = [values[-1] for stage in results[architecture][1:] for values in (stage.mean, stage.variance)]
    print("{:12s} {:8.3f} {:8.2f} {:9.2g} {:8.2f} {:9.2g}".format(architecture, accuracy, *last), end="")
    print(f"    {time.perf_counter() - start:.1f} s")
    if architecture == "snn":
        verdict = check_self_normalization(clf, X_train)
print(f"\nthe SNN. {verdict}")

# %%
# The picture
# -----------
# Dots: moments of a whole layer, over rows and units. Shading: the range of nine tenths of its units. If the
# shading leaves the plot at the bottom, some units hardly vary between rows. Only the SNN stays near mean 0
# and variance 1 before and after training, and none of its units has a vanishing variance. The residual
# network alternates between layers inside its blocks and the sums after them. The shading at layer 0 is due
# to pixels that never change.

figure, axes = plt.subplots(
    2, len(results), figsize=(17, 6.4), layout="constrained", sharex=True, sharey="row"
)
for column, (architecture, (accuracy, *stages)) in zip(axes.T, results.items(), strict=True):
    for label, color, stage in zip(("before training", "after"), ("C0", "C1"), stages, strict=True):
        display = LayerMomentsDisplay(stage).plot(column, color=color, label=label, markersize=3)
        display.axes_[0].get_legend().remove()
    column[0].set(title=f"{architecture}\naccuracy {accuracy:.3f}", ylim=(-0.5, 2.6))
    column[1].set(xlabel="layer (0: inputs)", ylim=(1e-3, 20), xticks=range(0, LAYERS + 1, 4))
for axis in axes[:, 1:].flat:
    axis.set_ylabel("")
handles, labels = axes[1, 0].get_legend_handles_labels()
kept = {name: handle for handle, name in zip(handles, labels, strict=True) if "90%" not in name}
kept["fixed point (0, 1)"] = kept.pop("fixed point: 1")
kept["90% of the units"] = axes[1, 0].collections[-1]
figure.legend(kept.values(), kept, loc="outside lower center", ncols=5)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
