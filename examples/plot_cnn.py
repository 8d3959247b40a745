"""
A self-normalizing convolutional network
========================================

Any torch module can be the network of ``SNNClassifier``. Here it is a convolutional network with SELU,
LeCun-normal weights and alpha dropout, as in the tutorials of the paper's authors. It learns scikit-learn's
handwritten digits, images of 8 x 8 pixels, and is compared with the same network with ReLU and with an SNN of
linear layers.
"""

# sphinx_gallery_start_ignore
import os
import sys
import warnings

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import time
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sksnn import SNNClassifier
from sksnn.diagnostics import layer_moments
from sksnn.networks import AlphaDropout, lecun_normal_

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
EPOCHS, N_SEEDS = 20, 3
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS, N_SEEDS = 2, 1
    warnings.simplefilter("ignore")
# sphinx_gallery_end_ignore

X, digit = load_digits(return_X_y=True)
X = (X - X.mean()) / X.std()  # one scale for all pixels, so that rarely used ones stay small
X_train, X_test, y_train, y_test = train_test_split(X, digit, test_size=0.5, random_state=0, stratify=digit)

# %%
# The network
# -----------
# ``lecun_normal_`` works for convolutions as for linear layers: the variance depends on the number of inputs
# to a unit, channels times kernel size. Max pooling would not keep mean 0 and variance 1, so a stride of 2
# halves the images instead.


class ConvNet(nn.Module):
    """Three convolutions and a hidden linear layer, from rows of pixels to logits."""

    def __init__(self, n_inputs, n_outputs, selu=True, rate=0.05):
        super().__init__()
        self.side = round(n_inputs**0.5)
        activation, dropout = (nn.SELU, AlphaDropout) if selu else (nn.ReLU, nn.Dropout)
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            activation(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            activation(),
            nn.Conv2d(32, 32, 3, padding=1),
            activation(),
            nn.Flatten(),
            dropout(rate),
            nn.Linear(32 * (self.side // 2) ** 2, 64),
            activation(),
            dropout(rate),
        )
        self.output = nn.Linear(64, n_outputs)
        for layer in [*self.features, self.output]:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                if selu:
                    lecun_normal_(layer.weight)
                else:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.output(self.features(x.view(-1, 1, self.side, self.side)))


# %%
# Training
# --------
# The callable ``(n_inputs, n_outputs) -> Module`` determines layers and dropout. The optimizer, the schedule
# and the rest come from the estimator. Each network learns from 60 to 480 digits, with three seeds.

networks = {
    "SELU, convolutional": dict(architecture=ConvNet, standardize=False),
    "ReLU, convolutional": dict(architecture=partial(ConvNet, selu=False), standardize=False),
    "SNN, 4 linear layers": dict(architecture="snn"),
}
N_ROWS = (60, 120, 240, 480)
models, accuracy = {}, {}
print("rows to learn from       " + "".join(f"{n:7d}" for n in N_ROWS) + "\ntest accuracy, mean of the seeds")
for name, parameters in networks.items():
    start = time.perf_counter()
    scores = np.empty((N_SEEDS, len(N_ROWS)))
    for seed in range(N_SEEDS):
        for i, n in enumerate(N_ROWS):
            clf = SNNClassifier(**parameters, max_epochs=EPOCHS, random_state=seed)
            models[name] = clf.fit(X_train[:n], y_train[:n])
            scores[seed, i] = clf.score(X_test, y_test)
    accuracy[name] = scores
    print(f"{name:25s}" + "".join(f"{score:7.3f}" for score in scores.mean(axis=0)), end="")
    print(f"  {time.perf_counter() - start:.1f} s")

# %%
# A look inside
# -------------
# ``net_.module_.network`` is the trained module. ``layer_moments`` measures the activations of its layers.

best = models["SELU, convolutional"]
features = best.net_.module_.network.features
moments = layer_moments(best, X_test)
print("\nSELU, convolutional, after training: mean and variance of the activations")
for i, (mean, variance) in enumerate(zip(moments.mean[1:], moments.variance[1:], strict=True), 1):
    print(f"layer {i} {mean:6.2f} {variance:6.2f}")

# %%
# The picture
# -----------

figure = plt.figure(figsize=(15, 5.2), layout="constrained")
left, middle, right = figure.subfigures(1, 3, width_ratios=[1.1, 1, 1])

axis = left.subplots()
for name, scores in accuracy.items():
    (line,) = axis.plot(N_ROWS, scores.mean(axis=0), "o-", label=name)
    axis.fill_between(N_ROWS, scores.min(axis=0), scores.max(axis=0), color=line.get_color(), alpha=0.15)
axis.set(xscale="log", xlabel="digits to learn from", ylabel=f"accuracy on {len(X_test)} other digits")
axis.set_xticks(N_ROWS, N_ROWS)
axis.minorticks_off()
axis.grid(alpha=0.3)
axis.legend(loc="lower right")
left.suptitle(f"Mean and range of {N_SEEDS} seeds")

middle.suptitle("SELU network: a digit in its first layer")
shown = int(np.flatnonzero(y_test == 3)[0])
pixels = torch.from_numpy(X_test[shown]).float().view(1, 1, 8, 8)
maps = [X_test[shown].reshape(8, 8), *features[:2](pixels)[0].detach().numpy()]
cells = middle.subplots(4, 5)
for axis in cells.flat:
    axis.axis("off")
cells[0, 0].imshow(maps[0], cmap="gray_r")
cells[0, 0].set_title("pixels", fontsize=9)
limit = max(np.abs(values).max() for values in maps[1:])
for axis, values in zip(cells[:, 1:].flat, maps[1:], strict=True):
    axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)

predicted = best.predict(X_test)
wrong = np.flatnonzero(predicted != y_test)
right.suptitle(f"SELU network: {len(wrong)} errors in {len(X_test)} digits, 20 of them")
cells = right.subplots(4, 5)
for axis in cells.flat:
    axis.axis("off")
for axis, i in zip(cells.flat, wrong, strict=False):
    axis.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
    axis.set_title(f"{y_test[i]}, taken for {predicted[i]}", fontsize=8)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
