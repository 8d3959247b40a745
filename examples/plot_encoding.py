"""
How columns enter the network
=============================

A network of a few layers is a smooth function. If the target jumps at some value of a column, the network
needs many epochs to learn where. Codes are further inputs computed from the column, with edges at which the
network can change its slope. Here a price depends on one number, with three jumps, and is learned from few
and noisy rows.
"""

# %%
# The rows
# --------

import matplotlib.pyplot as plt
import numpy as np
import torch

from sksnn import SNNRegressor
from sksnn.encodings import ColumnEncoder

plt.style.use("petroff10")


def price(x):
    return np.select([x < 1, x < 3, x < 5], [1.0, 3.0 - 0.5 * x, 0.6], default=2.5)


rng = np.random.default_rng(0)
x = rng.gamma(2, 1.5, size=400)
y = price(x) + rng.normal(scale=0.25, size=400)
grid = np.linspace(0, 8, 500)

# %%
# Three codes, learned from the rows
# ----------------------------------
#
# "thermometer" has an indicator of being above each of eight quantiles (more from 640 rows on), "piecewise"
# a ramp across each of the nine bins between them. A column with few distinct values, here the number rounded
# to multiples of 4, gets one indicator per value in every encoding, including "onehot". Where there are many
# rows, edges are close.

columns = {"onehot": np.round(x / 4) * 4, "thermometer": x, "piecewise": x}
codes = {}
for encoding, column in columns.items():
    encoder = ColumnEncoder.fit(column[:, None], encoding=encoding)
    codes[encoding] = (encoder(torch.from_numpy(grid[:, None])) * encoder.scale + encoder.mean)[:, 1:].T
    print(f"{encoding}: {len(codes[encoding])} codes")

# %%
# Fits with and without codes
# ---------------------------
#
# Both networks have the same layers and train for the same epochs.

curves = {}
for encoding in (None, "piecewise"):
    net = SNNRegressor(n_estimators=1, encoding=encoding, random_state=0).fit(x[:, None], y)
    curve = net.predict(grid[:, None])
    error = np.sqrt(np.mean((curve - price(grid)) ** 2))
    curves[f"encoding={encoding!r}: error {error:.2f}"] = curve
    print(list(curves)[-1])

# %%
# Codes on the left, fits on the right
# ------------------------------------

figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained", width_ratios=[1, 1, 1, 1.8])
for ax, (encoding, lines) in zip(axes, codes.items(), strict=False):
    for i, line in enumerate(lines):
        ax.plot(grid, line / 2 + i, lw=1.5)
    ax.set(title=f'"{encoding}"', xlabel="the column", yticks=[])
axes[0].set_ylabel("its codes, one above the other")

ax = axes[3]
ax.plot(x, y, ".", color="0.75", ms=4, label="rows")
ax.plot(grid, price(grid), color="black", lw=1, label="truth")
for (label, curve), color in zip(curves.items(), ("C1", "C0"), strict=True):
    ax.plot(grid, curve, color=color, lw=2, label=label)
ax.set(title="SNNRegressor", xlabel="the column", ylabel="price", xlim=(-0.3, 8.3), ylim=(0, 4.4))
ax.legend(loc="upper right", fontsize=8)

# sphinx_gallery_start_ignore
import sys

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
