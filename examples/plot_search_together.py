"""
A grid search that trains its candidates together
=================================================

:class:`~sksnn.model_selection.SNNGridSearchCV` is scikit-learn's ``GridSearchCV`` with another trainer:
networks of equal layers take their steps together, whatever their learning rate, weight decay and fold. This
example searches 96 candidates on four folds of the breast cancer data, draws their log-loss, and compares the
time of a fit with that of scikit-learn's search.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sksnn import SNNClassifier
from sksnn.model_selection import SNNGridSearchCV, SNNHalvingGridSearchCV

X, y = load_breast_cancer(return_X_y=True)
snn = SNNClassifier(n_estimators=1, n_units=32, layer_form="rectangular", max_epochs=60, random_state=0)
GRID = {
    "n_layers": [2, 4, 8, 16],
    "lr": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
    "weight_decay": [0.0, 0.1, 0.3, 1.0],
}
# sphinx_gallery_start_ignore
if FAST:
    snn.set_params(max_epochs=9)
    GRID = {"n_layers": [2, 4], "lr": [0.001, 0.003], "weight_decay": [0.0, 0.3]}
# sphinx_gallery_end_ignore
warnings.simplefilter("ignore", ConvergenceWarning)  # some candidates are meant to be bad
settings = {"cv": 4, "scoring": "neg_log_loss", "refit": False}

# %%
# All candidates
# --------------
#
# The 96 networks of a depth and a fold have the same layers and rows: they are trained in stacks.

start = time.perf_counter()
search = SNNGridSearchCV(snn, GRID, **settings).fit(X, y)
together = time.perf_counter() - start
n_fits = 4 * len(search.cv_results_["params"])
print(f"{n_fits} fits in {together:.1f} s")
best = search.cv_results_["params"][search.cv_results_["rank_test_score"].argmin()]
print(f"best: {best}, log-loss {-search.cv_results_['mean_test_score'].max():.3f}")

# %%
# scikit-learn's search finds the same scores. Here it has four of the candidates, one of each depth.

few = {**GRID, "lr": [0.003], "weight_decay": [0.0]}
start = time.perf_counter()
alone = GridSearchCV(snn, few, **settings).fit(X, y)
one_by_one = (time.perf_counter() - start) / (4 * len(alone.cv_results_["params"]))
print(f"a fit takes {1000 * together / n_fits:.0f} ms together, {1000 * one_by_one:.0f} ms alone")

# %%
# Halving
# -------
#
# Most candidates can be told apart after a few epochs. The search by halving trains all 96 for a few epochs,
# and goes on with the best third of each round.

start = time.perf_counter()
halving = SNNHalvingGridSearchCV(snn, GRID, **settings).fit(X, y)
halved = time.perf_counter() - start
results = halving.cv_results_
last = results["iter"] == results["iter"].max()
print(f"rounds of {halving.n_resources_} epochs for {halving.n_candidates_} candidates: {halved:.1f} s")
print(f"best log-loss {-results['mean_test_score'][last].max():.3f}")

# %%
# The picture
# -----------
#
# Log-loss on held-out rows, and where the search by halving ended. The deeper a network is, the smaller is
# the largest learning rate that it can take.

score = -search.cv_results_["mean_test_score"].reshape([len(GRID[name]) for name in sorted(GRID)])
score = np.moveaxis(score, [sorted(GRID).index(name) for name in GRID], [0, 1, 2])
figure, axes = plt.subplots(
    1, len(GRID["n_layers"]), figsize=(3.2 * len(GRID["n_layers"]), 3.6), layout="constrained"
)
for ax, depth, losses in zip(axes, GRID["n_layers"], score, strict=True):
    image = ax.imshow(losses.T, vmin=score.min(), vmax=4 * score.min(), cmap="viridis_r", origin="lower")
    for (i, j), loss in np.ndenumerate(losses):
        color = "white" if loss > 2.2 * score.min() else "black"
        ax.text(i, j, f"{loss:.2f}", ha="center", va="center", fontsize=7, color=color)
    ax.set(title=f"{depth} layers", xlabel="lr")
    ax.set_xticks(range(len(GRID["lr"])), GRID["lr"], rotation=60)
    ax.set_yticks(range(len(GRID["weight_decay"])), GRID["weight_decay"])
axes[0].set_ylabel("weight_decay")
for params in np.array(results["params"])[last]:
    place = GRID["lr"].index(params["lr"]), GRID["weight_decay"].index(params["weight_decay"])
    axes[GRID["n_layers"].index(params["n_layers"])].plot(*place, "s", ms=24, mfc="none", mec="red", mew=2)
figure.colorbar(image, ax=axes, label="log-loss on held-out rows", extend="max")
figure.suptitle(
    f"{n_fits} fits in {together:.0f} s, {1000 * together / n_fits:.0f} ms each "
    f"(alone {1000 * one_by_one:.0f} ms); red: left after halving, {halved:.0f} s"
)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
