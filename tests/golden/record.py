"""Record what fits of many kinds come to: losses and predictions, to compare after a change.

    python tests/golden/record.py --write           # record them, in tests/golden/golden.json
    python tests/golden/record.py                   # compare with the record, bit by bit
    python tests/golden/record.py --write other.json

A change that leaves the arithmetic alone leaves every bit, on the machine and with the versions that
the record names. Elsewhere sums are rounded otherwise: `tests/test_golden.py` allows for that.
"""

import argparse
import hashlib
import json
import pickle
import platform
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import sklearn
import skorch
import torch
from scipy import sparse
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch import nn

from sksnn import SNNClassifier, SNNRegressor

RECORD = Path(__file__).with_name("golden.json")
N_SHOWN = 8  # predictions that are recorded as numbers; of all of them there is a digest


def make_rows(n_classes=3, n_rows=150, n_columns=5):
    """Make rows with a column of few values, labels, and two outputs, of which some are missing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_columns))
    X[:, 1] = rng.integers(0, 4, n_rows)
    signal = X[:, 0] + np.sin(2 * X[:, 2]) + 0.3 * X[:, 1]
    y = np.digitize(signal, np.quantile(signal, np.arange(1, n_classes) / n_classes))
    values = np.column_stack([signal + 0.1 * rng.normal(size=n_rows), X[:, 3] * X[:, 4]])
    missing = rng.random(values.shape) < 0.2
    tasks = np.where(missing, np.nan, (values > 0).astype(float))
    weight = rng.exponential(size=n_rows)
    return X, y, np.where(missing, np.nan, values), tasks, weight


X, Y, VALUES, TASKS, WEIGHT = make_rows()
TARGET = VALUES[:, 0].copy()
TARGET[np.isnan(TARGET)] = 0.0
SPARSE = sparse.csr_matrix(np.where(np.abs(X) > 0.8, X, 0.0))
Classifier = partial(SNNClassifier, n_estimators=1, weight_decay=0.3, max_epochs=4, random_state=0)
Regressor = partial(SNNRegressor, n_estimators=1, max_epochs=4, random_state=0)


class SeesGradients(Callback):
    """Watches gradients and changes nothing."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.norm_ = sum(float(p.grad.norm()) for _, p in named_parameters if p.grad is not None)


def own_module(n_inputs, n_outputs):
    """Make a module that draws from torch's global generator."""
    return nn.Sequential(nn.Linear(n_inputs, 16), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(16, n_outputs))


def in_chunks(model, y, **first):
    for rows in (slice(0, 60), slice(60, 110), slice(110, None)):
        model.partial_fit(X[rows], y[rows], **first)
    return model


def going_on(model, y, pickled=False, **settings):
    model.set_params(warm_start=True).fit(X, y)
    model = pickle.loads(pickle.dumps(model)) if pickled else model
    return model.set_params(**settings).fit(X, y)


#: Name -> function that returns a fitted estimator and rows to predict.
CONFIGURATIONS = {
    "classes": lambda: (Classifier().fit(X, Y), X),
    "two classes, float32 rows": lambda: (Classifier().fit(X.astype("f4"), Y > 0), X.astype("f4")),
    "float64": lambda: (Classifier(precision="float64").fit(X, Y), X),
    "bf16": lambda: (Classifier(precision="bf16").fit(X, Y), X),
    "tasks": lambda: (Classifier().fit(X, TASKS), X),
    "weights": lambda: (Classifier(class_weight={0: 2, 1: 1, 2: 0.5}).fit(X, Y, WEIGHT), X),
    "balanced tasks": lambda: (Classifier(class_weight="balanced").fit(X, TASKS, WEIGHT), X),
    "early stopping": lambda: (Classifier(early_stopping=True, max_epochs=12).fit(X, Y), X),
    "validation rows": lambda: (
        Classifier(max_epochs=8).fit(X[30:], TASKS[30:], X_val=X[:30], y_val=TASKS[:30]),
        X,
    ),
    "sparse": lambda: (Classifier().fit(SPARSE, Y), SPARSE),
    "sparse, early stopping": lambda: (Classifier(early_stopping=True).fit(SPARSE, Y), SPARSE),
    "piecewise, not standardised": lambda: (
        Classifier(encoding="piecewise", standardize=False, n_units=32).fit(X, Y),
        X,
    ),
    "thermometer": lambda: (Classifier(encoding="thermometer", input_dropout=0.1).fit(X, Y, WEIGHT), X),
    "SGD, constant": lambda: (
        Classifier(
            optimizer="sgd", optimizer_params={"momentum": 0.9}, lr=0.05, weight_decay=0.01,
            lr_schedule="constant", encoding=None,
        ).fit(X, Y),
        X,
    ),
    "a scheduler of skorch": lambda: (
        Classifier(lr_schedule="constant", callbacks=[LRScheduler("StepLR", step_size=2)]).fit(X, Y),
        X,
    ),
    "scores of epochs": lambda: (Classifier(callbacks=[EpochScoring("accuracy")]).fit(X, Y), X),
    "clipped and watched": lambda: (
        Classifier(max_grad_norm=0.1, callbacks=[SeesGradients()], batch_size=20).fit(X, Y),
        X,
    ),
    # On all rows at once: on minibatches its steps overshoot, and roundings of processors grow.
    "LBFGS": lambda: (
        Classifier(
            optimizer="lbfgs", lr=0.1, weight_decay=0.0, n_units=16, dropout=0.0, batch_size=150
        ).fit(X, Y),
        X,
    ),
    "batch norm": lambda: (Classifier(architecture="batchnorm", n_units=32).fit(X, Y), X),
    "highway": lambda: (Classifier(architecture="highway", n_units=32, dropout=0.2).fit(X, Y), X),
    "own module": lambda: (Classifier(architecture=own_module).fit(X, Y), X),
    "chunks": lambda: (in_chunks(Classifier(), Y, classes=[0, 1, 2]), X),
    "going on": lambda: (going_on(Classifier(), Y), X),
    "going on, early stopping": lambda: (going_on(Classifier(), Y, early_stopping=True), X),
    "going on behind a pickle": lambda: (going_on(Classifier(lr_schedule="constant"), Y, pickled=True), X),
    "values": lambda: (Regressor().fit(X, TARGET), X),
    "values, weights": lambda: (Regressor(dropout=0.1).fit(X, TARGET, WEIGHT), X),
    "several values": lambda: (Regressor(early_stopping=True).fit(X, VALUES), X),
    "quantile": lambda: (
        Regressor(loss="quantile", quantile=0.9, standardize_target=False).fit(X, TARGET),
        X,
    ),
    "Huber": lambda: (Regressor(loss="huber", optimizer="adam").fit(X, VALUES, WEIGHT), X),
    "values in chunks": lambda: (in_chunks(Regressor(loss="absolute_error"), TARGET), X),
    "members": lambda: (SNNClassifier(max_epochs=4, random_state=0).fit(X, Y, WEIGHT), X),
    "members of tasks": lambda: (SNNClassifier(max_epochs=4, random_state=0).fit(X, TASKS), X),
    "bags": lambda: (SNNClassifier(max_epochs=4, bootstrap=True, random_state=0).fit(X, Y), X),
    "members of values": lambda: (SNNRegressor(max_epochs=6, random_state=0).fit(X, VALUES), X),
    "values, own module": lambda: (Regressor(architecture=own_module).fit(X, TARGET), X),
}  # fmt: skip


def outcome(name):
    """Fit a configuration; return its losses and predictions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits as short as these have learned little
        model, rows = CONFIGURATIONS[name]()
    predict = model.predict if isinstance(model, SNNRegressor) else model.predict_proba
    predictions = np.asarray(predict(rows))
    losses = np.array([*model.loss_curve_, *(model.validation_loss_curve_ or [])])
    digest = hashlib.sha256(losses.tobytes() + predictions.astype(np.float64).tobytes()).hexdigest()
    return {
        "losses": losses.tolist(),
        "best_epoch": model.best_epoch_,
        "predictions": predictions[:N_SHOWN].tolist(),
        "digest": digest[:16],
    }


def versions():
    """Name what the bits depend on."""
    return {
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads",
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "skorch": skorch.__version__,
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("record", type=Path, nargs="?", default=RECORD)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    now = {"versions": versions(), "fits": {name: outcome(name) for name in CONFIGURATIONS}}
    if arguments.write:
        arguments.record.write_text(json.dumps(now, indent=1) + "\n")
        return
    before = json.loads(arguments.record.read_text())
    if now["versions"] != before["versions"]:
        print(f"recorded with {before['versions']}, compared with {now['versions']}")
    changed = [name for name, fit in now["fits"].items() if fit != before["fits"].get(name)]
    print(f"{len(now['fits']) - len(changed)} of {len(now['fits'])} fits are the same, bit by bit")
    for name in changed:
        print(f"changed: {name}")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
