"""
Many tasks, many labels missing
===============================

The Tox21 challenge measured chemical compounds in twelve toxicity assays, and most compounds in some of them
only. One network learns all assays at once: labels that are missing are left out of the loss and of the
scores. It is compared with one model for each assay.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sksnn import SNNClassifier
from sksnn.metrics import masked_roc_auc_score

# %%
# The data
# --------
#
# 2500 compounds, drawn at random, are in ``data/tox21_excerpt.npz`` beside this example. Each has 166 columns
# of 0 and 1, its MACCS keys: does the molecule have a ring of six atoms, a nitrogen, ...? ``Y`` has a column
# for each assay: 1 if the compound is active in it, 0 if it is not, and NaN if that is not known.

path = Path("data/tox21_excerpt.npz")
# sphinx_gallery_start_ignore
if "__file__" in globals():  # a script, which may be run from any folder
    path = Path(__file__).parent / path
# sphinx_gallery_end_ignore
data = np.load(path)
assays = data["assays"].tolist()
X = np.unpackbits(data["keys"], axis=1, count=166).astype(float)
Y = np.where(data["labels"] < 0, np.nan, data["labels"])

X_train, X_test, Y_train, Y_test = train_test_split(X, Y, test_size=0.4, random_state=0)
print(f"{len(X_train)} training compounds, {X.shape[1]} columns, {len(assays)} assays")
print(
    f"{np.isnan(Y_train).mean():.0%} of the labels are missing, {np.nanmean(Y_train):.0%} of the others are 1"
)

# %%
# One network for all assays
# --------------------------
#
# ``fit`` takes ``Y`` as it is. The learning rate and the number of epochs were chosen by cross-validation on
# the training rows.

snn = SNNClassifier(n_estimators=2, lr=3e-4, max_epochs=40, random_state=0)
# sphinx_gallery_start_ignore
if FAST:
    snn.set_params(n_estimators=1, max_epochs=2)
# sphinx_gallery_end_ignore
start = time.perf_counter()
snn.fit(X_train, Y_train)
probabilities = {"one SNN for all assays": snn.predict_proba(X_test)}
print(f"one SNN for all assays: {time.perf_counter() - start:.1f} s")

# %%
# One model for each assay
# ------------------------
#
# The alternative is a model for each assay, trained on the rows that have its label.


def fit_each(model):
    """Fit a clone of a model for each assay; return P(y = 1) of the test rows, a column for each assay."""
    columns = []
    for labels in Y_train.T:
        known = ~np.isnan(labels)
        columns.append(clone(model).fit(X_train[known], labels[known]).predict_proba(X_test)[:, 1])
    return np.column_stack(columns)


each = {
    "an SNN for each": snn,
    "a random forest for each": RandomForestClassifier(100, min_samples_leaf=2, random_state=0),
    "a logistic regression for each": LogisticRegression(C=0.05),
}
for name, model in each.items():
    start = time.perf_counter()
    probabilities[name] = fit_each(model)
    print(f"{name}: {time.perf_counter() - start:.1f} s")

# %%
# Scores
# ------
#
# The area under the ROC curve of each assay, over the test rows that have its label.

scores = {
    name: masked_roc_auc_score(Y_test, columns, average=None) for name, columns in probabilities.items()
}
for name, score in scores.items():
    print(f"{name:32s} mean ROC AUC {score.mean():.3f}")

# %%
# The picture
# -----------
#
# On the left the labels of the training rows: a line is a compound, and compounds with the same gaps are next
# to each other. On the right the scores; the assay with most active compounds is on top. One network for all
# assays scores higher than a network for each, and close to a forest for each. Most assays have few active
# compounds among the test rows: differences of a hundredth may be chance.

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained", width_ratios=[1, 1.5])
order = np.argsort(-np.nansum(Y_train, axis=0))
known = ~np.isnan(Y_train[:, order])
rows = np.lexsort([*known.T[::-1], -known.sum(axis=1)])
shown = np.where(known, np.nan_to_num(Y_train[:, order]) + 1, 0)[rows]  # 0: missing, 1: inactive, 2: active
left.imshow(shown, aspect="auto", interpolation="none", cmap=ListedColormap(["white", "#bcd4e6", "#b3001b"]))
left.set_xticks(range(len(assays)), np.array(assays)[order], rotation=60, ha="right", rotation_mode="anchor")
left.set_ylabel("training compounds")
left.legend(
    handles=[
        Patch(facecolor=color, edgecolor="gray", label=label)
        for label, color in [("active", "#b3001b"), ("inactive", "#bcd4e6"), ("missing", "white")]
    ],
    loc="lower center",
    bbox_to_anchor=(0.5, 1),
    ncols=3,
)

n_active = np.nansum(Y_train, axis=0)[order].astype(int)
right.hlines(
    range(len(assays)), *np.sort([score[order] for score in scores.values()], axis=0)[[0, -1]], color="0.8"
)
for (name, score), marker in zip(scores.items(), "osD^", strict=True):
    right.plot(score[order], range(len(assays)), marker, label=f"{name}: mean {score.mean():.3f}")
right.set_yticks(range(len(assays)), [f"{assays[i]} ({n})" for i, n in zip(order, n_active, strict=True)])
right.invert_yaxis()
right.grid(axis="x", alpha=0.3)
right.set(xlabel="ROC AUC on the test rows", ylabel="assay (active training compounds)")
right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
