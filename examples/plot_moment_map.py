"""
Why activations normalise themselves: the map of the moments
============================================================

Each layer of a self-normalizing network maps the mean and the variance of its inputs to those of its
outputs. The paper calls this map g, and its figure 2 shows that g leads to mean 0 and variance 1. This
example draws g with ``MomentMapDisplay``, and compares it with layers of random weights.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: fewer rows through the random layers
# sphinx_gallery_end_ignore
import matplotlib.pyplot as plt
import numpy as np

from sksnn import theory
from sksnn.diagnostics import MomentMapDisplay

# %%
# One layer
# ---------
# g depends on the weights only through omega, the sum of a unit's weights, and tau, the sum of their squares.
# With LeCun's initialisation these are 0 and 1 on average. omega = 0.1, tau = 1.1 is a corner of the domain
# of Theorem 1. There g leads to a fixed point, too, but to another one.

for omega, tau in [(0.0, 1.0), (0.1, 1.1)]:
    mean, variance = theory.fixed_point(omega, tau)
    factor = theory.contraction_factor(mean, variance, omega, tau)
    print(f"omega {omega}, tau {tau}: fixed point mean {mean:.4f}, variance {variance:.4f};", end=" ")
    print(f"small distances from it shrink to {factor:.2f} or less per layer")

# %%
# Many layers
# -----------
# First the variance that g predicts for each layer, for inputs of variance 0.02 to 16.

LAYERS, N_ROWS, N_UNITS = 32, 300, 1000
# sphinx_gallery_start_ignore
if FAST:
    N_ROWS, N_UNITS = 50, 200
# sphinx_gallery_end_ignore
starts = np.array([0.02, 0.1, 0.4, 1.0, 2.5, 6.0, 16.0])
_, predicted = theory.moment_trajectory(0.0, starts, [(0.0, 1.0)] * LAYERS)
_, vanishing = theory.moment_trajectory(0.0, 1.0, [(0.0, 1 / 3)] * LAYERS)

# %%
# Then the measured variance of Gaussian rows in layers of 1000 units. The weights are drawn at random, then
# shifted and scaled so that omega = 0 and tau = 1 exactly.


def measure(start, n_rows, n_units, seed=0):
    """Return the variance of the activations, averaged over the units, before and after each layer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, np.sqrt(start), (n_rows, n_units))
    variances = [x.var(axis=0).mean()]
    for _ in range(LAYERS):
        weight = rng.normal(size=(n_units, n_units))
        weight -= weight.mean(axis=1, keepdims=True)
        weight /= np.linalg.norm(weight, axis=1, keepdims=True)
        x = theory.selu(x @ weight.T)
        variances.append(x.var())
    return np.array(variances)


measured = np.column_stack([measure(start, N_ROWS, N_UNITS) for start in starts])
print(f"\nvariance after {LAYERS} layers\nof the inputs   by theory   in 1000 units")
for row in zip(starts, predicted[-1], measured[-1], strict=True):
    print("{:13.2f}   {:9.3f}   {:13.3f}".format(*row))
print(f"with torch's own initialisation, tau = 1/3, by theory: {vanishing[-1]:.1e}")

# %%
# The picture
# -----------
# Left and middle: arrows from (mean, variance) in the direction in which g moves them, coloured by the length
# of the step. Four inputs (squares) and their path through the layers are black: after one layer the mean is
# near 0, after some more the variance is near 1.

figure, axes = plt.subplots(1, 3, figsize=(17, 5.4), layout="constrained")
starts_2d = [(mean, variance) for mean in (-0.4, 0.4) for variance in (0.1, 2.9)]
gap = np.full((1, 2), np.nan)  # ends a line

for axis, (omega, tau) in zip(axes, [(0.0, 1.0), (0.1, 1.1)], strict=False):
    ways = [np.transpose(theory.moment_trajectory(*start, [(omega, tau)] * 30)) for start in starts_2d]
    path = np.concatenate([part for way in ways for part in (way, gap)])
    MomentMapDisplay(omega, tau, path=path).plot(axis)
    axis.plot(*np.transpose(starts_2d), "s", color="black")
    mean, variance = theory.fixed_point(omega, tau)
    axis.set_title(f"$\\omega$ = {omega:g}, $\\tau$ = {tau:g}: to ({abs(mean):.2f}, {variance:.2f})", pad=28)

right = axes[2]
colors = plt.get_cmap("plasma")(np.linspace(0.05, 0.85, len(starts)))
for color, theirs, ours in zip(colors, predicted.T, measured.T, strict=True):
    right.semilogy(theirs, color=color)
    right.semilogy(ours, "o", color=color, ms=3.5)
right.plot([], [], "-", color="gray", label=r"theory, $\omega$ = 0, $\tau$ = 1")
right.plot([], [], "o", color="gray", ms=4, label="random layers of 1000 units")
right.semilogy(vanishing, "--", color="tab:blue", label=r"theory, $\tau$ = 1/3: torch's nn.Linear")
low, high = theory.THEOREM_2_DOMAIN["variance"]
right.axhspan(low, high, color="tab:green", alpha=0.12, label="Theorem 2: falls")
low, high = theory.THEOREM_3_DOMAINS[0]["variance"]
right.axhspan(low, high, color="tab:purple", alpha=0.12, label="Theorem 3: rises")
right.set_title("Layer by layer, from seven variances", pad=28)
right.set(xlabel="layer", ylabel="variance")
right.set(xlim=(-0.5, LAYERS + 0.5), ylim=(3e-3, 30))
right.legend(loc="lower right", framealpha=0.95)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
