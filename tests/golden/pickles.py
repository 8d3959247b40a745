"""Save small estimators of this release, so that every later one can be tested to load them.

    python tests/golden/pickles.py       # writes tests/golden/pickles/<version>.pkl

Run once for a release, with its version in `sksnn/_version.py`; the files of earlier ones stay.
"""

import pickle
import warnings
from pathlib import Path

import numpy as np

import sksnn
from sksnn import SNNClassifier, SNNRegressor

FOLDER = Path(__file__).with_name("pickles")


def make_cases():
    """Return fitted estimators by name, each with rows to predict."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    X[:, 1] = rng.integers(0, 4, 60)
    y = (X[:, 0] + X[:, 1] > 1).astype(int)
    tasks = np.where(rng.random((60, 2)) < 0.2, np.nan, np.column_stack([y, X[:, 2] > 0]))
    values = np.column_stack([X[:, 0] * X[:, 3], X[:, 2]])
    small = {"n_estimators": 1, "n_units": 6, "n_layers": 2, "max_epochs": 3, "random_state": 0}
    names = np.array(["no", "yes"])[y]
    chunk = slice(0, 30)
    towns = np.array(["north", "south"], dtype=object)[(X[:, 2] > 0).astype(int)]
    table = np.column_stack([towns, X]).astype(object)
    table[::7, 1] = np.nan
    by_hand = SNNClassifier(**small, categorical_features=[0])
    return {
        "categories and gaps": (by_hand.fit(table, y), table),
        "members": (SNNClassifier(**small).set_params(n_estimators=2).fit(X, names), X),
        "tasks": (SNNClassifier(**small, class_weight={0: 1, 1: 3}).fit(X, tasks), X),
        "chunks": (SNNClassifier(**small).partial_fit(X[chunk], y[chunk], classes=[0, 1]), X),
        "warm": (SNNClassifier(**small, warm_start=True, architecture="batchnorm").fit(X, y), X),
        "thermometer": (SNNClassifier(**small, encoding="thermometer", precision="float64").fit(X, y), X),
        "values": (SNNRegressor(**small).fit(X, values[:, 0]), X),
        "outputs": (SNNRegressor(**small, loss="huber").set_params(n_estimators=2).fit(X, values), X),
        "quantile": (SNNRegressor(**small, loss="quantile", quantile=0.9).fit(X, values[:, 1]), X),
    }


def predictions(model, X):
    """Return what a model says of rows."""
    return model.predict(X) if isinstance(model, SNNRegressor) else model.predict_proba(X)


def main():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits as short as these have learned little
        cases = make_cases()
    saved = {
        name: {"pickle": pickle.dumps(model), "X": X, "predictions": predictions(model, X)}
        for name, (model, X) in cases.items()
    }
    content = pickle.dumps(saved)
    path = FOLDER / f"{sksnn.__version__}.pkl"
    path.write_bytes(content)
    print(f"{path}: {len(saved)} estimators, {len(content)} bytes")


if __name__ == "__main__":
    main()
