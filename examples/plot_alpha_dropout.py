"""
What ordinary dropout does to SELU's moments
============================================

Dropout sets units to 0 and scales the others up. This keeps the mean but increases the variance. Over the
layers of a SELU network, mean and variance then converge to values other than 0 and 1. Alpha dropout sets
units to SELU's lowest value instead, and then restores mean and variance by an affine map.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: narrower layers
# sphinx_gallery_end_ignore
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from sksnn import theory
from sksnn.networks import AlphaDropout, lecun_normal_

RATES = (0.05, 0.1, 0.2, 0.3)
LAYERS, WIDTH = 16, 512
# sphinx_gallery_start_ignore
if FAST:
    WIDTH = 64
# sphinx_gallery_end_ignore

# %%
# One layer
# ---------
# The SELU units have mean 0 and variance 1, the fixed point. The coefficients a and b of alpha dropout are
# determined by its rate.

generator = torch.Generator().manual_seed(0)
units = F.selu(torch.randn(1_000_000, generator=generator))


def ordinary(x, rate):
    keep = torch.rand(x.shape, generator=generator) >= rate
    return x * keep / (1 - rate)


def alpha(x, rate):
    return AlphaDropout(rate, generator=generator)(x)


print("        ordinary dropout     alpha dropout        its a x + b")
print("rate     mean   variance     mean   variance        a       b")
for rate in RATES:
    moments = [
        moment
        for dropped in (ordinary(units, rate), alpha(units, rate))
        for moment in (dropped.mean().item(), dropped.var().item())
    ]
    print(
        "{:4.2f} {:8.3f} {:10.3f} {:8.3f} {:10.3f} {:8.4f} {:7.4f}".format(
            rate, *moments, *theory.alpha_dropout_affine(rate)
        )
    )

# %%
# Many layers
# -----------
# The handwritten digits pass through an untrained network of 16 layers with LeCun-normal weights. Mean and
# variance are taken over all units of a layer, after its dropout.

digits = torch.tensor(StandardScaler().fit_transform(load_digits().data), dtype=torch.float32)


def measure(dropout, rate):
    """Return mean and variance of the inputs and after each layer."""
    weights = torch.Generator().manual_seed(1)
    x, moments = digits, []
    for _ in range(LAYERS):
        moments.append((x.mean().item(), x.var().item()))
        weight = lecun_normal_(torch.empty(WIDTH, x.shape[1]), weights)
        x = dropout(F.selu(x @ weight.T), rate)
    return np.array([*moments, (x.mean().item(), x.var().item())])


# %%
# The map of the moments predicts mean and variance with ordinary dropout in each layer. Dropout keeps the
# mean of a layer and changes its variance to (variance + rate * mean^2) / (1 - rate). The weights of the next
# layer have random sums, so the squared mean of a layer adds to the variance of the next net inputs.


def predict(rate):
    """Return mean and variance by theory: those of the inputs, (0, 1), and those after each layer."""
    moments = [(0.0, 1.0)]
    for _ in range(LAYERS):
        mean, variance = moments[-1]
        mean, variance = theory.moment_map(0.0, variance + mean**2)
        moments.append((mean, (variance + rate * mean**2) / (1 - rate)))
    return np.array(moments)


measured = {(dropout, rate): measure(dropout, rate) for dropout in (ordinary, alpha) for rate in RATES}
predicted = {rate: predict(rate) for rate in RATES}
print(f"\nbehind layer {LAYERS}:")
print("        ordinary dropout       ... by theory     alpha dropout")
print("rate     mean   variance     mean   variance     mean   variance")
for rate in RATES:
    last = (*measured[ordinary, rate][-1], *predicted[rate][-1], *measured[alpha, rate][-1])
    print("{:4.2f} {:8.3f} {:10.3f} {:8.3f} {:10.3f} {:8.3f} {:10.3f}".format(rate, *last))

# %%
# The picture
# -----------

figure, axes = plt.subplots(2, 3, figsize=(15, 7.4), layout="constrained", width_ratios=[1.1, 1, 1])
bins = np.linspace(-2.4, 5, 150)
for axis, dropout, target in [(axes[0, 0], ordinary, "0"), (axes[1, 0], alpha, r"$-\lambda\alpha a + b$")]:
    dropped = dropout(units, 0.2)
    axis.hist(units, bins, density=True, color="lightgray", label="without dropout")
    axis.hist(
        dropped,
        bins,
        density=True,
        histtype="step",
        color="tab:red",
        lw=1.3,
        label=f"mean {round(dropped.mean().item(), 2) + 0:.2f}, variance {dropped.var():.2f}",
    )
    axis.set(title=f"One layer, rate 0.2: {dropout.__name__} dropout", ylabel="density", ylim=(0, 1.6))
    axis.legend(title=f"dropped units go to {target}", alignment="left")
axes[1, 0].set_xlabel("activation")

colors = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(RATES)))
for row, dropout in zip(axes, (ordinary, alpha), strict=True):
    for i, (axis, moment) in enumerate(zip(row[1:], ("mean", "variance"), strict=True)):
        for rate, color in zip(RATES, colors, strict=True):
            axis.plot(measured[dropout, rate][:, i], "o", color=color, ms=5, label=f"rate {rate}")
            line = predicted[rate][:, i] if dropout is ordinary else np.full(LAYERS + 1, float(i))
            axis.plot(line, "-", color=color if dropout is ordinary else "gray", lw=1.2)
        axis.set(title=f"Digits, {dropout.__name__} dropout: {moment}")
        axis.grid(alpha=0.3)
    row[1].set_ylim(-0.1, 0.55)
    row[2].set_ylim(0, 7)
for axis in axes[1, 1:]:
    axis.set_xlabel("layer (0: the inputs)")
axes[0, 1].legend(title="dots measured, lines theory", loc="upper left", ncols=2, fontsize=9)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
