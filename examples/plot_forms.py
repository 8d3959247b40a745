"""
Members of two forms, and what they weigh
=========================================

With more than 1 000 training rows, half of the members of ``SNNClassifier`` are conic, with dropout, and half
have equal layers without. The latter learn more, and overfit wrong labels. Rows that members hold back
decide what each form weighs. This example gives a share of the labels to other classes, and measures each
form alone, and both together.
"""

# sphinx_gallery_start_ignore
import os
import sys

FAST = bool(os.environ.get("SKSNN_EXAMPLES_FAST"))  # for tests: faster, with worse results
# sphinx_gallery_end_ignore
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sksnn import SNNClassifier

plt.style.use("petroff10")  # colours that colour-blind readers can distinguish
EPOCHS, NOISE = 15, (0.0, 0.15, 0.3)
# sphinx_gallery_start_ignore
if FAST:
    EPOCHS, NOISE = 2, (0.0, 0.4)
# sphinx_gallery_end_ignore
FORMS = {
    "conic, dropout 0.05": {"layer_form": "conic"},
    "equal layers, no dropout": {"layer_form": "rectangular", "dropout": 0.0},
    "both, weighed (default)": {},
}
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=1200, stratify=y, random_state=0)

# %%
# Three fits for each share of wrong labels
# -----------------------------------------
#
# All have four members, of two codes in turn. A wrong label is one of the nine others, in training and in
# testing.


def with_noise(labels, share, seed):
    """Give a share of the labels to other classes."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, (labels + rng.integers(1, 10, len(labels))) % 10, labels)


losses = {form: [] for form in FORMS}
weights = []
for share in NOISE:
    wrong_train, wrong_test = with_noise(y_train, share, 1), with_noise(y_test, share, 2)
    for form, parameters in FORMS.items():
        clf = SNNClassifier(max_epochs=EPOCHS, random_state=0, **parameters).fit(X_train, wrong_train)
        proba = clf.predict_proba(X_test)
        losses[form].append(-np.log(proba[np.arange(len(y_test)), wrong_test]).mean())
        right = (clf.classes_[proba.argmax(axis=1)] == y_test).mean()
        print(f"{share:.0%} wrong, {form}: log-loss {losses[form][-1]:.3f}, right class {right:.3f}")
    weights.append(clf.member_weights_.reshape(2, 2).sum(axis=1)[1])  # members 3 and 4 have equal layers

# %%
# The picture
# -----------
#
# Left: differences of log-loss from conic members; less is better. Each form alone is better at one end, and
# both together are near the better one. Right: what the two members with equal layers weigh together. Without
# noise they get more than half, and less the more labels are wrong.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
shares = 100 * np.array(NOISE)
for (form, values), style in zip(losses.items(), ("s--", "^--", "o-"), strict=True):
    difference = np.array(values) - losses["conic, dropout 0.05"]
    left.plot(shares, difference, style, lw=2, label=form)
left.set(ylabel="log-loss, difference from conic", title="held-out digits")
left.legend()
right.plot(shares, weights, "o-", color="C2", lw=2)
right.axhline(0.5, color="0.5", lw=1, ls=":")
right.set(ylabel="weight of equal layers", ylim=(0, 1), title="member_weights_")
for ax in (left, right):
    ax.set(xlabel="wrong labels, in per cent", xticks=shares)
    ax.grid(alpha=0.3)

# sphinx_gallery_start_ignore
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
else:
    plt.show()
# sphinx_gallery_end_ignore
