"""
Choosing an architecture by grid search
=======================================

``architecture`` is a parameter like any other. This example searches over the SNN, the six kinds of network
that the paper compares it with, and two depths, on scikit-learn's breast cancer data.
"""

# sphinx_gallery_start_ignore
import os
import sys
import warnings

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

from sksnn import SNNClassifier
from sksnn.architectures import ARCHITECTURES

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
EPOCHS, N_FOLDS = 20, 4
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS, N_FOLDS = 2, 2
    warnings.simplefilter("ignore")
# sphinx_gallery_end_ignore

X, benign = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, benign, test_size=0.3, random_state=0, stratify=benign)

# %%
# The search
# ----------
# Seven architectures, two depths and four folds make 56 fits. ``refit`` then fits the best setting once more.

search = GridSearchCV(
    SNNClassifier(
        n_estimators=1,
        scale_inputs=False,  # which is for SNNs only
        n_units=32,
        layer_form="rectangular",
        max_epochs=EPOCHS,
        random_state=0,
    ),
    {"architecture": list(ARCHITECTURES), "n_layers": [2, 8]},
    scoring="neg_log_loss",
    cv=StratifiedKFold(N_FOLDS, shuffle=True, random_state=0),
)
search.estimator.fit(X_train, y_train)  # the first fit loads libraries, which should not be timed
start = time.perf_counter()
search.fit(X_train, y_train)
seconds = time.perf_counter() - start
results = search.cv_results_
n_folds = search.n_splits_
folds = -np.array([results[f"split{i}_test_score"] for i in range(n_folds)]).T
print(f"{folds.size} fits in {seconds:.0f} s\n\narchitecture  layers   log-loss   seconds a fit")
order = np.argsort(folds.mean(axis=1))
for i in order:
    parameters = results["params"][i]
    print(f"{parameters['architecture']:12s} {parameters['n_layers']:7d} {folds[i].mean():7.3f} +- ", end="")
    print(f"{folds[i].std(ddof=1) / np.sqrt(n_folds):.3f} {results['mean_fit_time'][i]:10.2f}")

# %%
# Which differences are larger than chance? All settings have the same folds, so their scores can be compared
# fold by fold.

differences = folds - folds[search.best_index_]
standard_error = differences.std(axis=1, ddof=1) / np.sqrt(n_folds)
close = differences.mean(axis=1) <= 2 * standard_error
test_loss = log_loss(y_test, search.predict_proba(X_test))
accuracy = (search.predict(X_test) == y_test).mean()
print(f"\nbest: {search.best_params_}; within two standard errors of it: {close.sum() - 1} others")
print(f"on {len(y_test)} test rows: log-loss {test_loss:.3f}, accuracy {accuracy:.3f}")

# %%
# The picture
# -----------
# Each dot is a fold, each bar the mean over the folds. The cross is the chosen network on rows that the
# search has not seen. The score by which a network was chosen is too optimistic as an estimate for new rows.

figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5), layout="constrained", width_ratios=[3, 2])
names = list(ARCHITECTURES)
for axis in (left, right):
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
for offset, n_layers, color in [(-0.2, 2, "C0"), (0.2, 8, "C1")]:
    chosen = [i for i, p in enumerate(results["params"]) if p["n_layers"] == n_layers]
    place = np.arange(len(names)) + offset
    left.barh(place, folds[chosen].mean(axis=1), 0.38, color=color, alpha=0.5, label=f"{n_layers} layers")
    left.plot(folds[chosen], place, "o", color=color, ms=4, mec="black", mew=0.4)
    right.barh(place, results["mean_fit_time"][chosen], 0.38, color=color, alpha=0.5)
best = search.best_params_
place = names.index(best["architecture"]) + (-0.2 if best["n_layers"] == 2 else 0.2)
left.plot(folds[search.best_index_].mean(), place, "*", color="black", ms=15, label="chosen")
left.plot(test_loss, place, "X", color="C2", ms=10, label=f"chosen, on {len(y_test)} test rows")
left.set(title="Breast cancer: log-loss on the rows held out", xlabel="log-loss (lower is better)")
left.legend()
right.set(title="What a fit costs", xlabel="seconds")

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
