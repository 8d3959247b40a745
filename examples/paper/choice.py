"""Choose what several members are by default, by evidence over sets.

    SKSNN_DATA=... python examples/paper/choice.py classification choice.csv --jobs 2
    SKSNN_DATA=... python examples/paper/choice.py regression choice_regression.csv --jobs 2
    SKSNN_DATA=... python examples/paper/choice.py edges choice_edges.csv --rows 2000
    SKSNN_DATA=... python examples/paper/choice.py large choice_large.csv --min-rows 501 --rows 8000
    SKSNN_DATA=... python examples/paper/choice.py noisy choice_noisy.csv --min-rows 5001 --rows 8000

A candidate is the estimator with its defaults but for a few parameters; START is what it was before. All
candidates are run on all UCI sets of at most --rows training rows. For regression they are run on
the regression sets, cut to so many rows, and on the UCI sets, of which the column with the most values is
predicted from the others and the classes: most are noisy. "edges" are classes whose edges are parallel to the
axes: rows of regression sets, labelled by a random tree. "large" adds to the UCI sets the large sets of
`defaults.py` and regression sets cut into classes, and cuts sets to --rows training rows in place of leaving
them out. "noisy" are those of "large", with one label in five taken from another row.

The tables compare each candidate with the --reference (by default with START): mean scores, wins and losses,
the share of 2 000 bootstrap resamples of the *sets* in which it is better, and for sets of a few, some and
many rows the mean difference over its standard error. A candidate is adopted if it is better in 95 % of the
resamples by one score, not worse in 95 % by the other, and loses on no group more than its standard error.

At the end the choice is cross-fitted over sets: on four fifths of the sets the candidate with the best mean
log-loss (or absolute error) is chosen, and scored on the fifth, in turn. The mean of these scores is what to
expect of the choice on other sets. Beside it stands what the rule of `defaults.py`, on the first half of the
sets, would say.
"""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
from defaults import is_first_half, judge, large_names, load_cut, load_large, score_cut
from records import (
    ONE_NETWORK,
    Records,
    complete,
    mean_ranks,
    run_missing,
    score_classifier,
    score_regressor,
    versions,
)
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils import Bunch

from sksnn import SNNClassifier, SNNRegressor, _calibration, encodings
from sksnn.datasets import load_regression, load_uci, regression_names, uci_names

RESAMPLES = 2000
GROUPS = (0, 200, 1000, np.inf)  # training rows

# The regression sets that "large" adds to those of `defaults.py`, to be classified by quantiles.
MORE_CUT = dict.fromkeys(
    ("elevators", "keggdirected", "kin40k", "parkinsons", "pumadyn32nm", "tamielectric"), 3
)

# What is no parameter of the estimators, but a constant or a function of one of these modules.
PATCHED = encodings, _calibration
NINE_BINS = {"MOST_BINS": 9}
EQUAL_WEIGHTS = {"FACTOR_DEVIATION": 1e-3}
VARIANCE_1 = {"_dense_variance": lambda values, weight: 1.0}

UNSCALED = {"scale_inputs": False}
CODES = ("onehot", "piecewise")
CONIC, EQUAL = {"layer_form": "conic"}, {"layer_form": "rectangular"}
MIXED = {"n_estimators": 8, "encoding": CODES, **CONIC}
NUMBERS = {"n_estimators": 8, "encoding": ("piecewise", None), "early_stopping": True}
START = {
    "classification": ONE_NETWORK,
    "regression": {"n_estimators": 1, **UNSCALED},
    "edges": {"n_estimators": 1, **UNSCALED},
    "large": {**CONIC, **UNSCALED},
    "noisy": {**CONIC, **UNSCALED},
}
CANDIDATES = {
    "classification": {
        "choice": {},
        "no input scales": UNSCALED,
        "conic": CONIC,
        "equal weights": EQUAL_WEIGHTS,
        "nine bins": NINE_BINS,
        "variance 1": VARIANCE_1,
        "nine bins, variance 1": NINE_BINS | VARIANCE_1,
        "not calibrated": {"calibrate": False},
        "dropout 0.02": {"dropout": 0.02},
        "dropout 0": {"dropout": 0.0},
        "smoothing 0.05": {"label_smoothing": 0.05},
        "no smoothing": {"label_smoothing": 0.0},
        "decay by epochs": {"n_estimators": 1},
        "8 one-hot": {**MIXED, "encoding": "onehot"},
        "8 piecewise": {**MIXED, "encoding": "piecewise"},
        "8 mixed": MIXED,
        "4 mixed": {**MIXED, "n_estimators": 4},
        "8 of three codes": {**MIXED, "encoding": (*CODES, None)},
        "8 mixed, decay 0.3": {**MIXED, "weight_decay": 0.3},
        "8 mixed, 4 x 128": {**MIXED, "layer_form": "rectangular", "n_units": 128},
        "8 mixed, bootstrap": {**MIXED, "bootstrap": True},
        "8 mixed, early stopping": {**MIXED, "early_stopping": True},
        "8 mixed, input dropout 0.1": {**MIXED, "input_dropout": 0.1},
        "16 mixed": {**MIXED, "n_estimators": 16},
        "piecewise": {"encoding": "piecewise"},
    },
    "regression": {
        "choice": {},
        "no input scales": UNSCALED,
        "nine bins": NINE_BINS,
        "variance 1": VARIANCE_1,
        "8 alike, all rows": {**NUMBERS, "encoding": "piecewise", "early_stopping": False},
        "8 mixed, all rows": {**NUMBERS, "early_stopping": False},
        "8 alike, early stopping": {**NUMBERS, "encoding": "piecewise"},
        "8 mixed, early stopping": NUMBERS,
        "4 mixed, early stopping": {**NUMBERS, "n_estimators": 4},
        "8 mixed, early stopping, second moment 0.95": {
            **NUMBERS,
            "optimizer_params": {"betas": (0.9, 0.95)},
        },
    },
    "large": {
        "choice": {},
        "no input scales": UNSCALED,
        "equal weights": EQUAL_WEIGHTS,
        "equal layers of 512 units": {"n_units": 512},
        "8 members": {"n_estimators": 8},
        "not calibrated": {**CONIC, "calibrate": False},
        "8 conic": {**CONIC, "n_estimators": 8},
        "24 bins": {**CONIC, "MOST_BINS": 24, "MOST_CODES": 256},
        "dropout 0": {**CONIC, "dropout": 0.0},
        "dropout 0.02": {**CONIC, "dropout": 0.02},
        "dropout 0.05": {**CONIC, "dropout": 0.05},
        "rectangular, 128 units": {**EQUAL, "n_units": 128},
        "rectangular, 256 units": {**EQUAL, "n_units": 256},
        "two of 512 units": {**EQUAL, "n_units": 512, "n_estimators": 2},
        "no early stopping": {**CONIC, "early_stopping": False, "calibrate": True},
        "rate 0.002": {**CONIC, "lr": 2e-3},
        "100 epochs": {**CONIC, "max_epochs": 100},
        "smoothing 0.05": {**CONIC, "label_smoothing": 0.05},
        "piecewise": {**CONIC, "encoding": "piecewise"},
        "2 layers": {**CONIC, "n_layers": 2},
        "second moment 0.95": {**CONIC, "optimizer_params": {"betas": (0.9, 0.95)}},
    },
    "edges": {
        "choice": {},
        "no input scales": UNSCALED,
        "nine bins": NINE_BINS,
        "piecewise": {"encoding": "piecewise"},
        "RandomForest": RandomForestClassifier(500),
    },
}
CANDIDATES["noisy"] = CANDIDATES["large"]


def load_column(name):
    """Predict the column of a UCI set with the most values from the others and the classes."""
    data = load_uci(name)
    counts = [len(np.unique(column)) for column in data.X.T]
    j, n = int(np.argmax(counts)), len(data.X)
    folds = []
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(n)
        folds.append((order[n // 4 :], order[: n // 4]))
    X = np.column_stack([np.delete(data.X, j, axis=1), data.y])
    return Bunch(X=X, y=data.X[:, j], folds=folds, n_values=counts[j])


def load_edges(name, n_rows=4000, depth=6):
    """Label rows of a regression set with four classes, by a tree of random columns and quantiles."""
    rng = np.random.default_rng(0)
    data = load_regression(name)
    X = data.X[rng.permutation(len(data.X))[:n_rows]]
    y = np.zeros(len(X), dtype=int)

    def grow(rows, level):
        column = X[rows, rng.integers(X.shape[1])]
        below = column <= np.quantile(column, rng.uniform(0.2, 0.8))
        if level == 0 or len(rows) < 20 or below.all():
            y[rows] = rng.integers(4)
            return
        grow(rows[below], level - 1)
        grow(rows[~below], level - 1)

    grow(np.arange(len(X)), depth)
    half = np.array_split(np.arange(len(X)), 2)
    return Bunch(X=X, y=y, folds=[half, half[::-1]])


def regression_and_columns():
    """List the regression sets, and UCI sets whose column of most values has at least 20, and 100 rows."""
    columns = {name: load_column(name) for name in uci_names()}
    usable = [name for name, data in columns.items() if data.n_values >= 20 and len(data.y) >= 100]
    return [*regression_names(), *(f"{name} (column)" for name in usable)]


def load_regression_or_column(name):
    """Load one of these."""
    return load_column(name.removesuffix(" (column)")) if name.endswith(")") else load_regression(name)


def edges_names():
    """List the regression sets of enough rows to be labelled by a tree."""
    return [name for name in regression_names() if len(load_regression(name).y) >= 3000]


def many_names():
    """List the large sets of `defaults.py`, and six regression sets more."""
    return [*large_names(), *MORE_CUT]


def load_many(name):
    """Load one of these."""
    return load_cut(name, MORE_CUT[name]) if name in MORE_CUT else load_large(name)


def load_noisy(name):
    """Load one of these; one label in five is that of another row, for training and testing."""
    data, rng = load_many(name), np.random.default_rng(0)
    y = np.where(rng.random(len(data.y)) < 0.2, rng.permutation(data.y), data.y)
    return Bunch(X=data.X, y=y, folds=data.folds)


class Task(NamedTuple):
    """An estimator, and the sets on which candidates are compared."""

    Estimator: type
    names: Callable
    load: Callable
    score: Callable = score_classifier
    scores: tuple = ("accuracy", "log_loss", "auc", "seconds")
    cuts: bool = False  # sets of more rows than are asked for, rather than leaving them out


TASKS = {
    "classification": Task(SNNClassifier, uci_names, load_uci),
    "regression": Task(
        SNNRegressor,
        regression_and_columns,
        load_regression_or_column,
        score_regressor,
        ("r2", "error", "seconds"),
        cuts=True,
    ),
    "edges": Task(SNNClassifier, edges_names, load_edges),
    "large": Task(SNNClassifier, many_names, load_many, cuts=True),
    "noisy": Task(SNNClassifier, many_names, load_noisy, cuts=True),
}


def run_one(task, name, fold, candidate, n_rows):
    """Fit one candidate on one fold, cut to `n_rows` training rows, on one thread."""
    chosen = TASKS[task]
    changed = candidate if isinstance(candidate, dict) else {}
    estimator = chosen.Estimator() if isinstance(candidate, dict) else clone(candidate)
    parameters = dict(changed)
    with ExitStack() as stack:
        for module in PATCHED:
            for key in parameters.keys() & vars(module).keys():
                stack.enter_context(patch.object(module, key, parameters.pop(key)))
        estimator.set_params(random_state=fold, **parameters)
        return score_cut(estimator, chosen.load(name), fold, n_rows, chosen.score)


def keys_of(task, n_folds, least, most):
    """List set and fold of each run, and the training rows of each set; sets of many rows have one fold."""
    chosen, keys, rows = TASKS[task], [], {}
    for name in chosen.names():
        folds = chosen.load(name).folds
        rows[name] = len(folds[0][0])
        if rows[name] >= least and (rows[name] <= most or chosen.cuts):
            some = n_folds if rows[name] <= 2000 else 1
            keys += [(name, fold) for fold in range(min(some, len(folds)))]
    return keys, rows


# ---------------------------------------------------------------- evidence


def gains_of(results, first, second):
    """Return the tables of sets by candidates of both scores, so that more is better; R² at least -1."""
    return {first: complete(results, first).clip(lower=-1), second: -complete(results, second)}


def better_in_resamples(difference):
    """Return for each column the share of resamples of the sets in which its mean is above 0."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, len(difference), (RESAMPLES, len(difference)))
    means = difference.to_numpy()[index].mean(axis=1)
    shares = (means > 0).mean(axis=0) + 0.5 * (means == 0).mean(axis=0)
    return pd.Series(shares, difference.columns)


def by_groups(difference, rows):
    """Return the mean difference of each group of sizes, over its standard error."""
    n = pd.Series(rows).reindex(difference.index)
    found = {}
    for low, high in zip(GROUPS[:-1], GROUPS[1:], strict=True):
        group = difference[(n > low) & (n <= high)]
        error = group.std() / np.sqrt(max(len(group), 1))
        found[f"to {high:.0f}" if np.isfinite(high) else "above"] = group.mean() / error.where(error > 0)
    return pd.DataFrame(found)


def compare(results, reference, rows, first, second):
    """Compare each candidate with the reference over sets."""
    gains, columns = gains_of(results, first, second), {}
    for name, table in gains.items():
        difference = table.sub(table[reference], axis=0)
        columns[f"mean {name}"] = table.mean().abs() if name == second else table.mean()
        columns[f"{name} rank"] = mean_ranks(table)
        columns[f"{name} +"] = (difference > 1e-9).sum()
        columns[f"{name} -"] = (difference < -1e-9).sum()
        columns[f"{name} better in"] = better_in_resamples(difference)
        groups = by_groups(difference, rows)
        columns[f"{name} worst group"] = groups.min(axis=1)
    table = pd.DataFrame(columns)
    shares = table[[f"{name} better in" for name in gains]]
    groups = table[[f"{name} worst group" for name in gains]]
    table["adopted"] = (shares.max(axis=1) >= 0.95) & (shares.min(axis=1) > 0.05) & (groups.min(axis=1) > -1)
    seconds = complete(results, "seconds")
    table["time"] = seconds.sum() / seconds[reference].sum()
    return table.sort_values(f"mean {first}", ascending=False)


def choose(gains, sets):
    """Return the candidate with the best mean of the second score, the less noisy one, over some sets."""
    *_, second = gains.values()
    return second.loc[sets].mean().idxmax()


def cross_fit(results, first, second, n_parts=5):
    """Choose on four fifths of the sets and score on the fifth, in turn.

    Returns
    -------
    scores : DataFrame
        For each set the candidate chosen without it, and its scores.
    """
    gains = gains_of(results, first, second)
    sets = gains[first].index.to_numpy()
    parts = np.array_split(np.random.default_rng(0).permutation(sets), n_parts)
    rows = []
    for part in parts:
        chosen = choose(gains, np.setdiff1d(sets, part))
        rows += [
            (name, chosen, gains[first].at[name, chosen], -gains[second].at[name, chosen]) for name in part
        ]
    return pd.DataFrame(rows, columns=["set", "chosen", first, second]).set_index("set")


def report(results, reference, rows, first, second):
    """Print the comparison, the cross-fitted scores, and what the former rule says."""
    table = compare(results, reference, rows, first, second)
    n_sets = len(complete(results, first))
    print(f"\n{n_sets} sets, compared with {reference!r}\n{table.round(4).to_string()}")
    fitted = cross_fit(results, first, second)
    error = fitted[first].std() / np.sqrt(len(fitted))
    means = f"{first} {fitted[first].mean():.4f} (standard error {error:.4f})"
    print(f"\ncross-fitted: {means}, {second} {fitted[second].mean():.4f}")
    print(fitted.chosen.value_counts().to_string())
    former = judge(results[results.set.map(is_first_half)], first, second)
    print(f"\nformer rule, first half: {', '.join(former.index[former.passes]) or 'nothing'} passes")
    return table


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--candidates", nargs="+", metavar="NAME", help="run only these, and START")
    parser.add_argument("--reference", default="start")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--min-rows", type=int, default=0, help="least number of training rows of a set")
    parser.add_argument("--rows", type=int, default=5000, help="largest number of training rows")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    task = arguments.task
    scores = TASKS[task].scores
    candidates = {name: CANDIDATES[task][name] for name in arguments.candidates or CANDIDATES[task]}
    candidates = {"start": START[task], **candidates}
    print(versions(), f"\nseed = fold; start: {START[task]}")
    records = Records(arguments.out, ("set", "fold", "method"), scores)
    pairs, rows = keys_of(task, arguments.folds, arguments.min_rows, arguments.rows)
    if not pairs:
        parser.error(f"no set of {task!r} has from {arguments.min_rows} to {arguments.rows} training rows")

    def run_candidate(name, fold, candidate):
        return run_one(task, name, fold, candidates[candidate], arguments.rows)

    keys = [(*pair, candidate) for candidate in candidates for pair in pairs]
    run_missing(records, keys, run_candidate, arguments.jobs)
    table = report(records.frame(), arguments.reference, rows, *scores[:2])
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


if __name__ == "__main__":
    main()
