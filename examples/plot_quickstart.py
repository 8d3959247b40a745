"""
A first look: fit, stop early, search, save, and learn several tasks at once
============================================================================

Self-normalizing networks are ordinary scikit-learn estimators in this package. This example uses the
handwritten digits and the breast cancer data that come with scikit-learn, and takes about 15 seconds.
"""

# %%
# A fit with early stopping, in a Pipeline
# ----------------------------------------
# Some pixels of the digits are always blank; the first step drops them. The network standardises the
# other columns, uses a tenth of the rows for validation, and keeps the weights of its best epoch.

import pickle

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_selection import VarianceThreshold
from sklearn.metrics import roc_curve
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from sksnn import SNNClassifier
from sksnn.metrics import masked_roc_auc_score

MAX_EPOCHS = 40
# sphinx_gallery_start_ignore
import os
import warnings

if os.environ.get("SKSNN_EXAMPLES_FAST"):  # for tests: faster, with worse results
    MAX_EPOCHS = 4
    warnings.simplefilter("ignore")
# sphinx_gallery_end_ignore

X, digit = load_digits(return_X_y=True)
X_train, X_test, digit_train, digit_test = train_test_split(X, digit, random_state=0, stratify=digit)

clf = make_pipeline(
    VarianceThreshold(), SNNClassifier(early_stopping=True, max_epochs=MAX_EPOCHS, random_state=0)
)
clf.fit(X_train, digit_train)
snn = clf[-1]
print(f"digits: accuracy {clf.score(X_test, digit_test):.3f} on {len(X_test)} test rows")
print(f"        best epoch {snn.best_epoch_} of {snn.n_iter_}")

# %%
# A small grid search
# -------------------
# Which depth and how much dropout? Every parameter can be searched, as in any other estimator.

X_cancer, benign = load_breast_cancer(return_X_y=True)
search = GridSearchCV(
    SNNClassifier(n_estimators=1, n_units=64, batch_size=64, max_epochs=MAX_EPOCHS, random_state=0),
    {"n_layers": [2, 4, 8], "dropout": [0.0, 0.05]},
    scoring="neg_log_loss",
    cv=3,
)
search.fit(X_cancer, benign)
losses = -search.cv_results_["mean_test_score"].reshape(2, 3)  # dropout, n_layers
print(f"grid search on breast cancer: best {search.best_params_}")
print(f"        log-loss {-search.best_score_:.3f}, mean of {search.cv} folds")

# %%
# A pickle round trip
# -------------------
# A fitted model is pickled as numpy arrays, and the loaded model makes exactly the same predictions.

saved = pickle.dumps(clf)
loaded = pickle.loads(saved)
assert np.array_equal(loaded.predict_proba(X_test), clf.predict_proba(X_test))
print(f"pickle: {len(saved) / 1e3:.0f} kB, predictions equal after loading")

# %%
# Several tasks, labels missing
# -----------------------------
# Three yes-or-no questions are asked about each digit, and for each question two thirds of the answers
# are unknown. One network learns all three from the labels that are present.

TASKS = {
    "even": digit % 2 == 0,
    "five or more": digit >= 5,
    "has a closed loop": np.isin(digit, [0, 6, 8, 9]),
}
Y = np.column_stack(list(TASKS.values())).astype(float)
Y_train, Y_test = train_test_split(Y, random_state=0, stratify=digit)
Y_train[np.random.default_rng(0).random(Y_train.shape) < 2 / 3] = np.nan

multitask = SNNClassifier(max_epochs=MAX_EPOCHS, random_state=0).fit(X_train, Y_train)
proba = multitask.predict_proba(X_test)
aucs = masked_roc_auc_score(Y_test, proba, average=None)
print(f"multitask, {np.isnan(Y_train).mean():.0%} of the labels missing:")
for task, auc in zip(TASKS, aucs, strict=True):
    print(f"        ROC AUC {auc:.3f}: {task}")

# %%
# The picture
# -----------
# The small axes on the right show the upper left corner of the ROC curves, enlarged.

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")

epochs = np.arange(1, snn.n_iter_ + 1)
left.semilogy(epochs, snn.loss_curve_, label="training: dropout, smoothed labels")
left.semilogy(epochs, snn.validation_loss_curve_, label="rows held back")
left.axvline(snn.best_epoch_, color="gray", ls="--", lw=1, label=f"best epoch: {snn.best_epoch_}")
left.set(title="Digits: early stopping", xlabel="epoch", ylabel="cross-entropy")
left.legend()

for i, (dropout, row) in enumerate(zip(search.param_grid["dropout"], losses, strict=True)):
    bars = middle.bar(np.arange(len(row)) + 0.4 * (i - 0.5), row, 0.38, label=f"dropout {dropout}")
    middle.bar_label(bars, fmt="%.3f", fontsize=9)
middle.set_xticks(range(3), search.param_grid["n_layers"])
middle.set(
    title="Breast cancer: grid search", xlabel="hidden layers", ylabel="log-loss, 3 folds (lower is better)"
)
middle.margins(y=0.35)
middle.legend(loc="upper left")

corner = right.inset_axes((0.3, 0.36, 0.67, 0.5), xlim=(-0.004, 0.2), ylim=(0.8, 1.005))
for task, auc, y_true, y_score in zip(TASKS, aucs, Y_test.T, proba.T, strict=True):
    for ax in (right, corner):
        ax.plot(*roc_curve(y_true, y_score)[:2], label=f"{task}: AUC {auc:.3f}")
right.indicate_inset_zoom(corner, edgecolor="black")
right.set(title="Digits: three tasks, 67 % of labels missing", aspect="equal")
right.set(xlabel="false positive rate", ylabel="true positive rate")
right.legend(loc="lower right")

# sphinx_gallery_start_ignore
import sys
from pathlib import Path

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
    print(f"figure saved to {Path(sys.argv[1]).resolve()}")
else:
    plt.show()
# sphinx_gallery_end_ignore
