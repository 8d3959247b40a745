"""
Factors of the inputs
=====================

Tables often have columns that say nothing about the target. An SNN learns a factor for each of its inputs
(``scale_inputs``, on by default), six times as fast as its weights: inputs that help are turned up sooner
than the weights alone could do it, others down. Here the target is made of three columns, beside
which there are more and more columns of noise.
"""

# %%
# Rows
# ----

# sphinx_gallery_start_ignore
import sys

# sphinx_gallery_end_ignore
import matplotlib.pyplot as plt
import numpy as np

from sksnn import SNNRegressor

plt.style.use("petroff10")
rng = np.random.default_rng(0)
X = rng.normal(size=(2600, 43))
y = X[:, 0] * X[:, 1] + X[:, 2] + rng.normal(scale=0.1, size=len(X))
first, rest = slice(600), slice(600, None)

# %%
# With factors and without
# ------------------------

numbers, scores = (0, 10, 20, 40), {False: [], True: []}
for n_noise in numbers:
    columns = X[:, : 3 + n_noise]
    for scale_inputs, own in scores.items():
        reg = SNNRegressor(n_estimators=1, encoding=None, scale_inputs=scale_inputs, random_state=0)
        own.append(reg.fit(columns[first], y[first]).score(columns[rest], y[rest]))
    print(
        f"{n_noise} columns of noise: R² {scores[False][-1]:.3f} without, {scores[True][-1]:.3f} with factors"
    )

# %%
# The factors that were learned beside all columns of noise:

factors = reg.net_.module_.network.input_scale.detach().numpy()
print(f"the columns of the product {factors[:2].round(2)}, the third {factors[2]:.2f}")
print(f"columns of noise: from {factors[3:].min():.2f} to {factors[3:].max():.2f}")

# %%
# The picture
# -----------
#
# The more columns of noise there are, the more the factors help. Those of the two columns of the product,
# which are the harder ones to find, have grown most.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (scale_inputs, own), marker in zip(scores.items(), "so", strict=True):
    left.plot(numbers, own, marker + "-", label=f"scale_inputs={scale_inputs}")
left.set(xlabel="columns of noise", ylabel="R² of new rows", title="How well new rows are predicted")
left.legend()
height = np.r_[factors[:3], np.sort(factors[3:])[::-1]]
right.bar(range(len(height)), height, color=["C0"] * 3 + ["0.7"] * numbers[-1], width=1, edgecolor="white")
right.axhline(1, color="black", lw=0.8, ls=":")
right.set(xlabel="input", ylabel="factor", xticks=[], title=f"Factors beside {numbers[-1]} columns of noise")
right.text(6, 1.02 * height.max(), "blue: makes the target, grey: noise", va="top")
# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
