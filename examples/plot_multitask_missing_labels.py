"""
Many tasks, many labels missing
===============================

The Tox21 challenge has twelve toxicity assays, and for each compound only some of them were measured. One
network learns all of them. Missing labels are left out of the loss and of the scores.

The data are read from the subfolder ``tox21`` of the folder that the environment variable ``SKSNN_DATA``
names. Without it the example makes seven tasks from scikit-learn's handwritten digits, and removes most of
their labels.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler

from sksnn import SNNClassifier
from sksnn.datasets import load_tox21
from sksnn.metrics import masked_roc_auc_score

DATA = os.environ.get("SKSNN_DATA")
plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
if FAST:
    warnings.simplefilter("ignore")

# %%
# The data
# --------
# Tox21: structural keys (ECFP4 and MACCS bits that at least 5 % of the training compounds have) and 216
# descriptors, squashed by tanh as in the challenge winners' pipeline. The challenge's leaderboard compounds
# serve for early stopping. The data do not contain the challenge's test compounds, so one of the published
# folds of the training compounds is used as the test set.


def load_tox21_tasks():
    """Return the tasks, then X and Y of the training, validation and test compounds."""
    data = load_tox21()
    parsed = np.flatnonzero(data.parsed)  # a few structures could not be read
    train, watched = (np.intersect1d(rows, parsed) for rows in data.tuning)
    test = np.intersect1d(data.folds[4][1], parsed)
    train = train[~np.isin(data.smiles_std[train], data.smiles_std[test])]

    bits = data.X[:, data.is_bit]
    bits = bits[:, bits[train].mean(axis=0) >= 0.05]
    squash = make_pipeline(SimpleImputer(strategy="median"), RobustScaler(), FunctionTransformer(np.tanh))
    descriptors = data.X[:, ~data.is_bit]
    X = np.hstack([bits, squash.fit(descriptors[train]).transform(descriptors)])
    return data.target_names, *((X[rows], data.y[rows]) for rows in (train, watched, test))


# %%
# Digits: seven binary questions about the digit. Four of five answers are removed from the rows that are not
# test rows.


def load_digit_tasks():
    """Return the tasks, then X and Y of the training, validation and test digits."""
    groups = {
        "even": [0, 2, 4, 6, 8],
        "five or more": [5, 6, 7, 8, 9],
        "has a loop": [0, 6, 8, 9],
        "prime": [2, 3, 5, 7],
        "multiple of 3": [0, 3, 6, 9],
        "square": [0, 1, 4, 9],
        "Fibonacci": [0, 1, 2, 3, 5, 8],
    }
    X, digit = load_digits(return_X_y=True)
    Y = np.column_stack([np.isin(digit, group) for group in groups.values()]).astype(float)
    X, X_test, Y, Y_test = train_test_split(X, Y, test_size=0.4, stratify=digit, random_state=0)
    Y[np.random.default_rng(0).random(Y.shape) < 0.8] = np.nan
    X_train, X_watched, Y_train, Y_watched = train_test_split(X, Y, test_size=0.2, random_state=0)
    return list(groups), (X_train, Y_train), (X_watched, Y_watched), (X_test, Y_test)


load = load_digit_tasks if DATA is None else load_tox21_tasks
tasks, (X_train, Y_train), (X_watched, Y_watched), (X_test, Y_test) = load()
if FAST:
    X_train, Y_train = X_train[::2], Y_train[::2]
print(f"{len(X_train)} training rows, {X_train.shape[1]} columns, {len(tasks)} tasks; ", end="")
print(f"{np.isnan(Y_train).mean():.0%} of the labels are missing")

# %%
# One network for all tasks
# -------------------------
# ``fit`` needs no further arguments: NaN marks a missing label. Labels of tasks are not smoothed: if only a
# few percent of the answers are yes, smoothing would outweigh them.

start = time.perf_counter()
snn = SNNClassifier(
    n_estimators=1, n_units=512, lr=3e-4, weight_decay=0.3, max_epochs=2 if FAST else 60, random_state=0
)
snn.fit(X_train, Y_train, X_val=X_watched, y_val=Y_watched)
scores = {"one SNN": masked_roc_auc_score(Y_test, snn.predict_proba(X_test), average=None)}
print(f"one SNN: {time.perf_counter() - start:.0f} s, best epoch {snn.best_epoch_} of {snn.n_iter_}")

# %%
# One model per task
# ------------------
# The alternative without masks is one model per task, trained on the rows that have its label.


def fit_each_task(model):
    """Fit clones of a model to the tasks; return P(y = 1) of the test rows, one column per task."""
    columns = []
    for labels in Y_train.T:
        present = ~np.isnan(labels)
        columns.append(clone(model).fit(X_train[present], labels[present]).predict_proba(X_test)[:, 1])
    return np.column_stack(columns)


each = {
    "logistic regression each": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
    "random forest each": RandomForestClassifier(5 if FAST else 60, min_samples_leaf=2, random_state=0),
}
if DATA is None:  # on Tox21 this would take minutes
    each["SNN each"] = clone(snn).set_params(max_epochs=2 if FAST else 30)
for name, model in each.items():
    start = time.perf_counter()
    scores[name] = masked_roc_auc_score(Y_test, fit_each_task(model), average=None)
    print(f"{name}: {time.perf_counter() - start:.0f} s")

print("\nROC AUC on the test rows\n" + " " * 16 + "".join(f"{name:>26s}" for name in scores))
for row in zip(tasks, *scores.values(), strict=True):
    print(f"{row[0]:16s}" + "".join(f"{score:26.3f}" for score in row[1:]))
print(f"{'mean':16s}" + "".join(f"{np.nanmean(score):26.3f}" for score in scores.values()))

# %%
# The picture
# -----------
# The upper plot shows the labels of the training rows, the lower plot the scores.

figure, (above, below) = plt.subplots(
    2, 1, figsize=(12, 7), sharex=True, layout="constrained", height_ratios=[2, 3]
)
place = np.arange(len(tasks))

bottom = np.zeros(len(tasks))
counts = {"yes": np.nansum(Y_train, axis=0), "no": np.sum(Y_train == 0, axis=0)}
counts["missing"] = np.isnan(Y_train).sum(axis=0)
for (label, count), color in zip(counts.items(), ["C2", "C0", "gainsboro"], strict=True):
    above.bar(place, count, 0.8, bottom, label=label, color=color)
    bottom += count
above.set(ylabel="training rows", title=f"{np.isnan(Y_train).mean():.0%} of the labels are missing")
above.legend(loc="center left", bbox_to_anchor=(1, 0.5))

for i, (name, score) in enumerate(scores.items()):
    width = 0.8 / len(scores)
    below.bar(
        place - 0.4 + (i + 0.5) * width, score, 0.92 * width, label=f"{name}\nmean {np.nanmean(score):.3f}"
    )
below.set_ylim(max(0, min(map(np.nanmin, scores.values())) - 0.05), 1)
below.set_xticks(place, tasks, rotation=30, ha="right")
below.set(ylabel="ROC AUC on the test rows", title="One network for all tasks, or one model per task")
below.grid(axis="y", alpha=0.4)
below.set_axisbelow(True)
below.legend(loc="center left", bbox_to_anchor=(1, 0.5))

path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix(".png")).resolve()
figure.savefig(path, dpi=120)
print(f"\nfigure saved to {path}")
