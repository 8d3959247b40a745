"""
Which columns a prediction comes from
=====================================

``sklearn.inspection.permutation_importance`` says how much worse the score becomes when a column is
shuffled: a statement about the model and a set of rows. `sksnn.inspection.attributions` splits the prediction
of each row among its columns (integrated gradients, codes counted for their column): contributions and a base
value add up to `decision_function`. This example shows both on real data.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split

from sksnn import SNNClassifier
from sksnn.inspection import AttributionsDisplay, attributions

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
EPOCHS, N_REPEATS = 60, 20
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS, N_REPEATS = 2, 2
# sphinx_gallery_end_ignore

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
clf = SNNClassifier(max_epochs=EPOCHS, random_state=0).fit(X_train, y_train)
print(f"breast cancer: accuracy {clf.score(X_test, y_test):.3f}")

# %%
# Shuffled columns
# ----------------
#
# Thirty measurements of a tumour that say much the same, three for each of ten properties: if one is
# shuffled, the others stand in for it, and the score hardly falls.

shuffled = permutation_importance(clf, X_test, y_test, n_repeats=N_REPEATS, random_state=0)
top = np.argsort(-shuffled.importances_mean)[:10]
for j in top[:3]:
    print(f"shuffled: {X.columns[j]} {shuffled.importances_mean[j]:.3f}")

# %%
# Contributions
# -------------
#
# The contributions of a row add up to its logit less that of the baseline, for which all inputs have
# their mean over the training rows.

found = attributions(clf, X_test)
error = abs(found.outputs - clf.decision_function(X_test)).max()
size = abs(found.values).mean(axis=0)
print(f"largest difference between a logit and the sum of its contributions: {error:.3f}")
for j in np.argsort(-size)[:3]:
    print(f"contributions: {X.columns[j]} {size[j]:.3f}")

# %%
# Pixels
# ------
#
# Contributions are also there for a single row: which pixels of an image speak for the class that was
# predicted, and which against it. A black line is drawn around the dark pixels of the image.

images, digits = load_digits(return_X_y=True)
reader = SNNClassifier(max_epochs=EPOCHS, random_state=0).fit(images[100:], digits[100:])
row = int(np.flatnonzero(digits == 3)[0])
label = reader.predict(images[[row]])[0]
pixels = attributions(reader, images[[row]], target=label).values.reshape(8, 8)
print(f"a {digits[row]}, predicted to be a {label}")

# %%
# The picture
# -----------

figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained", width_ratios=(1, 1, 0.8))
order = top[::-1]
axes[0].boxplot(
    shuffled.importances[order].T,
    orientation="horizontal",
    tick_labels=X.columns[order],
    flierprops={"marker": ".", "markersize": 3},
)
axes[0].axvline(0, color="0.6", lw=1, zorder=0)
axes[0].set(title="columns shuffled", xlabel="loss of accuracy")
AttributionsDisplay(found).plot(axes[1])
axes[1].set(title="contributions to the logit, all test rows")
limit = abs(pixels).max()
shown = axes[2].imshow(pixels, cmap="RdBu_r", vmin=-limit, vmax=limit)
axes[2].contour(images[row].reshape(8, 8), levels=[8], colors="k")
axes[2].set(title=f'contributions of pixels to "{label}"', xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[2], shrink=0.8)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
