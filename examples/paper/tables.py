"""Compare ways to hand tables with strings and gaps to an SNN, and HistGradientBoosting, all untuned.

    SKSNN_DATA=... python examples/paper/tables.py tables.csv

Sets are "bank", customers of a bank with the strings that UCI published, "unknown" being missing; and sets
with a column of many categories, made of columns whose values together name something: "recipe" (427 mixtures
of concrete, beside their age), "place" (a cell of 0.2 degrees in California, in place of coordinates),
"square" (of the rook and the kings in an endgame of chess), "profile" (106 runs of an airfoil, beside the
frequency) and "date" (bank again, with day and month as one column). The folds are five of KFold; of sets of
more than 5 000 rows 2 000 are drawn. Results are appended to the file at once. The way through skrub is left
out where that is not installed.
"""

import argparse
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from records import Records, run_missing, score_classifier, score_regressor, versions
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, TargetEncoder

from sksnn import SNNClassifier, SNNRegressor, encodings
from sksnn.datasets import load_regression, load_uci

MOST_CATEGORIES = encodings.MOST_CATEGORIES

# Of sets of more rows than the first number, as many as the second are drawn.
MOST_ROWS, DRAWN_ROWS = 5_000, 2_000

# The columns of UCI's "Bank Marketing" and the strings in them, in the order of its codes.
BANK = {
    "age": None,
    "job": "admin. unknown unemployed management housemaid entrepreneur student blue-collar self-employed "
    "retired technician services",
    "marital": "married divorced single",
    "education": "unknown secondary primary tertiary",
    "default": "yes no",
    "balance": None,
    "housing": "yes no",
    "loan": "yes no",
    "contact": "unknown telephone cellular",
    "day": None,
    "month": "jan feb mar apr may jun jul aug sep oct nov dec",
    "duration": None,
    "campaign": None,
    "pdays": None,
    "previous": None,
    "poutcome": "unknown other failure success",
}


def bank():
    """Return customers, strings as strings, and whether they took the offer."""
    X, y = load_uci("bank", return_X_y=True)
    frame = pd.DataFrame(X, columns=list(BANK))
    for name, words in BANK.items():
        if words:
            words = words.split()
            position = np.rint((frame[name] + 1) / 2 * (len(words) - 1)).astype(int)
            frame[name] = np.array(words, dtype=object)[position]
            frame[name] = frame[name].mask(frame[name] == "unknown", None)
    frame["pdays"] = frame["pdays"].mask(frame["pdays"] < 0)  # days since the last offer, if there was one
    return frame, y


def joined(frame, columns):
    """Return the values of several columns as one string."""
    return frame[columns].astype(str).agg(" ".join, axis=1)


def dates():
    """Return the customers with a column of dates in place of day and month."""
    frame, y = bank()
    return frame.assign(date=joined(frame, ["day", "month"])).drop(columns=["day", "month"]), y


def recipes():
    """Return mixtures of concrete, each by a name, and their age."""
    X, y = load_regression("concrete", return_X_y=True, as_frame=True)
    age = X.columns[-1]
    recipe = joined(X, list(X.columns[:-1]))
    return pd.DataFrame({"recipe": recipe, "age": X[age]}), y.to_numpy()


def places():
    """Return blocks of houses in California, with the cell of the map that they are in."""
    X, y = load_regression("california_housing", return_X_y=True, as_frame=True)
    cells = (X[["longitude", "latitude"]] * 5).round()
    frame = X.drop(columns=["longitude", "latitude"])
    return frame.assign(place=joined(cells, list(cells))), y.to_numpy()


def squares():
    """Return positions of an endgame: the squares of the rook and of the kings."""
    X, y = load_uci("chess-krvk", return_X_y=True)
    pairs = {name: X[:, 2 * i : 2 * i + 2] for i, name in enumerate(["king", "rook", "black"])}
    frame = pd.DataFrame({name: joined(pd.DataFrame(pair), [0, 1]) for name, pair in pairs.items()})
    return pd.DataFrame({"rook and king": joined(frame, ["rook", "king"]), "black": frame["black"]}), y


def profiles():
    """Return measurements of the noise of airfoils: the run as a name, and the frequency."""
    X, y = load_regression("airfoil", return_X_y=True, as_frame=True)
    run = joined(X, list(X.columns[1:]))
    return pd.DataFrame({"run": run, "frequency": X.iloc[:, 0]}), y.to_numpy()


SETS = {
    "bank": bank,
    "date": dates,
    "recipe": recipes,
    "place": places,
    "square": squares,
    "profile": profiles,
}


@cache
def load(name):
    """Return a set as a frame and a target, or DRAWN_ROWS of it if it is large."""
    X, y = SETS[name]()
    rows = np.random.default_rng(0).permutation(len(X))
    rows = rows if len(rows) <= MOST_ROWS else rows[:DRAWN_ROWS]
    return X.iloc[rows].reset_index(drop=True), y[rows]


# ---------------------------------------------------------------- ways

strings, numbers = make_column_selector(dtype_exclude="number"), make_column_selector(dtype_include="number")


def snn(kind, seed, **parameters):
    """Return an SNN with its defaults."""
    return {"class": SNNClassifier, "number": SNNRegressor}[kind](random_state=seed, **parameters)


def one_hot(kind, seed):
    """Put scikit-learn's encoder and imputer before an SNN."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), strings),
        (SimpleImputer(add_indicator=True), numbers),
    )
    return make_pipeline(columns, snn(kind, seed))


def many_categories(X):
    """Choose the columns of strings that have more categories than an SNN has indicators."""
    return [name for name in strings(X) if X[name].nunique() > 30]


def target_encoded(kind, seed):
    """Put means of the target in place of columns of many categories; the others are the SNN's."""
    columns = ColumnTransformer(
        [("target", TargetEncoder(cv=KFold(5, shuffle=True, random_state=seed)), many_categories)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns.set_output(transform="pandas"), snn(kind, seed))


def skrubbed(kind, seed):
    """Let skrub decide what stands before an SNN."""
    from skrub import tabular_pipeline

    return tabular_pipeline(snn(kind, seed))


def as_categories(X):
    """Return strings as pandas' categories, as HistGradientBoosting takes them."""
    return X.astype(dict.fromkeys(strings(X), "category"))


def boosted(kind, seed):
    """Return HistGradientBoosting, which takes up to 255 categories."""
    trees = {"class": HistGradientBoostingClassifier, "number": HistGradientBoostingRegressor}
    return make_pipeline(
        FunctionTransformer(as_categories), trees[kind](categorical_features="from_dtype", random_state=seed)
    )


def boosted_after_target(kind, seed):
    """Return HistGradientBoosting behind a TargetEncoder, as for an SNN."""
    encoded = target_encoded(kind, seed)
    return make_pipeline(encoded[0], *(step for _, step in boosted(kind, seed).steps))


WAYS = {
    "SNN": snn,
    "SNN, 30 indicators": snn,
    "one-hot, SNN": one_hot,
    "target encoding, SNN": target_encoded,
    **({"skrub, SNN": skrubbed} if find_spec("skrub") else {}),
    "HistGradientBoosting": boosted,
    "target encoding, HistGradientBoosting": boosted_after_target,
}


def run_one(name, fold, way):
    """Fit one way on one fold of one set, on one thread; return its score, another, and seconds."""
    torch.set_num_threads(1)
    X, y = load(name)
    train, test = list(KFold(5, shuffle=True, random_state=0).split(X))[fold]
    kind = "class" if y.dtype.kind in "iu" else "number"
    encodings.MOST_CATEGORIES = 30 if way.endswith("30 indicators") else MOST_CATEGORIES
    parts = X.iloc[train], y[train], X.iloc[test], y[test]
    if kind == "number":
        r2, error, seconds = score_regressor(WAYS[way](kind, fold), *parts)
        return r2, error, seconds
    accuracy, _, auc, seconds = score_classifier(WAYS[way](kind, fold), *parts)
    return accuracy, auc, seconds


def report(records):
    """Print the means over the folds by set and way, and write them next to the results."""
    results = records.frame().groupby(["set", "way"], sort=False)[list(records.values)]
    table = results.mean().round(4)
    print(f"\naccuracy and AUC, or R² and error in deviations\n{table.to_string()}")
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--folds", type=int, default=5, help="number of folds to run, of five")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(versions())
    records = Records(arguments.out, ("set", "fold", "way"), ("score", "other", "seconds"))
    keys = [
        (name, fold, way)
        for fold in range(arguments.folds)
        for name in arguments.sets
        for way in arguments.ways
        if way != "HistGradientBoosting"
        or load(name)[0].select_dtypes(exclude="number").nunique().max() < 256
    ]
    run_missing(records, keys, run_one, arguments.jobs)
    report(records)


if __name__ == "__main__":
    main()
