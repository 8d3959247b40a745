"""Choose the defaults of one network: vary each setting alone, on one half of the sets.

    SKSNN_DATA=... python examples/paper/defaults.py classification classification.csv --jobs 2
    SKSNN_DATA=... python examples/paper/defaults.py classification confirmed.csv --confirm --jobs 2
    python examples/paper/defaults.py classification --auto     # what every "auto" stands for

`choice.py` chooses what several members are.

The sets are divided into two halves by a hash of their names. Candidates are compared on the first half, and
the choice is confirmed on the second (--confirm); docs/paper_appendix.md says which results on the second
half were known before. There are few UCI sets with many rows, and most of those in the first half are
synthetic. So the task "large" adds others to it: the regression sets, to be classified by quantiles of the
target, HTRU2, and MNIST in 7 x 7 pixels.

A candidate is START, the former defaults, with a few parameters changed. It passes if, compared with START,
on the sets of the first half,

* its mean rank by the first score (accuracy; R²) is better,
* its mean rank by the second score (log-loss; mean absolute error) is not worse,
* its fits take at most MOST_TIME times as long in the median.

Sets are cut to --rows training rows and --folds folds, so a candidate takes a minute. Each result is appended
to the file at once.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from records import Records, complete, mean_ranks, run_missing, score_classifier, score_regressor, versions
from sklearn.utils import Bunch

from sksnn import SNNClassifier, SNNRegressor
from sksnn._plan import choose_folds, choose_n_estimators, make_plan
from sksnn._rows import Table
from sksnn._shares import split
from sksnn.datasets import (
    load_htru2,
    load_mnist,
    load_regression,
    load_uci,
    regression_names,
    uci_names,
)

MOST_TIME = 2.5  # layers of twice the width take about twice the time
TEST_ROWS = 4000

COMMON = {
    "n_estimators": 1,
    "scale_inputs": False,
    "n_layers": 4,
    "n_units": 256,
    "layer_form": "conic",
    "lr": 1e-3,
    "lr_schedule": "cosine",
    "max_epochs": 60,
    "batch_size": "auto",
    "encoding": None,
}
START = {
    "classification": {**COMMON, "dropout": 0.05, "weight_decay": 0.3, "label_smoothing": 0.1},
    "regression": {**COMMON, "dropout": 0.0, "weight_decay": 0.0, "loss": "squared_error"},
}
CODES = {
    "one-hot": {"encoding": "onehot"},
    "thermometer": {"encoding": "thermometer"},
    "piecewise": {"encoding": "piecewise"},
}
PIECEWISE = CODES["piecewise"]
EQUAL = {"layer_form": "rectangular"}
BY_EPOCHS = {"weight_decay": "auto"}
LEVERS = {
    "classification": {
        **CODES,
        "batches of 64": {"batch_size": 64},
        "128 units": {"n_units": 128},
        "512 units": {"n_units": 512},
        "2 layers": {"n_layers": 2},
        "8 layers": {"n_layers": 8},
        "rectangular": EQUAL,
        "dropout 0": {"dropout": 0.0},
        "dropout 0.1": {"dropout": 0.1},
        "input dropout 0.1": {"input_dropout": 0.1},
        "no label smoothing": {"label_smoothing": 0.0},
        "weight decay 0": {"weight_decay": 0.0},
        "weight decay 1": {"weight_decay": 1.0},
        "rate 0.0005": {"lr": 5e-4},
        "rate 0.002": {"lr": 2e-3},
        "30 epochs": {"max_epochs": 30},
        "100 epochs": {"max_epochs": 100},
        "early stopping": {"early_stopping": True, "max_epochs": 200, "label_smoothing": 0.0},
        "SGD": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-3, "optimizer_params": {"momentum": 0.9}},
    },
    "large": {
        **CODES,
        "128 units": {"n_units": 128},
        "512 units": {"n_units": 512},
        "batches of 64": {"batch_size": 64},
        "rectangular": EQUAL,
        "dropout 0.02": {"dropout": 0.02},
        "rate 0.003": {"lr": 3e-3},
        "piecewise, 512 units": {**PIECEWISE, "n_units": 512},
        "piecewise, dropout 0.02": {**PIECEWISE, "dropout": 0.02},
        "piecewise, dropout 0": {**PIECEWISE, "dropout": 0.0},
        "piecewise, weight decay 1": {**PIECEWISE, "weight_decay": 1.0},
        "piecewise, 30 epochs": {**PIECEWISE, "max_epochs": 30},
        "piecewise, rectangular": {**PIECEWISE, **EQUAL},
        "piecewise, rectangular, 128 units": {**PIECEWISE, **EQUAL, "n_units": 128},
    },
    "regression": {
        **CODES,
        "piecewise, decay by epochs": {**PIECEWISE, **BY_EPOCHS},
        "piecewise, decay 0.1": {**PIECEWISE, "weight_decay": 0.1},
        "piecewise, decay 0.3": {**PIECEWISE, "weight_decay": 0.3},
        "piecewise, dropout 0.02": {**PIECEWISE, "dropout": 0.02},
        "piecewise, batches of 64": {**PIECEWISE, "batch_size": 64},
        "piecewise, batches of 256": {**PIECEWISE, "batch_size": 256},
        "piecewise, rectangular": {**PIECEWISE, **EQUAL},
        "piecewise, decay by epochs, rectangular": {**PIECEWISE, **BY_EPOCHS, **EQUAL},
        "piecewise, decay by epochs, rectangular, 128 units": {
            **PIECEWISE,
            **BY_EPOCHS,
            **EQUAL,
            "n_units": 128,
        },
        "piecewise, 2 layers": {**PIECEWISE, "n_layers": 2},
        "piecewise, 8 layers": {**PIECEWISE, "n_layers": 8},
        "piecewise, rate 0.002": {**PIECEWISE, "lr": 2e-3},
        "piecewise, Huber's loss": {**PIECEWISE, "loss": "huber"},
        "piecewise, 100 epochs": {**PIECEWISE, "max_epochs": 100},
        "200 epochs": {"max_epochs": 200},
        "raw target": {"standardize_target": False},
    },
}
CHOICE = {
    "classification": {"encoding": "auto", "n_units": "auto"},
    "regression": LEVERS["regression"]["piecewise, decay by epochs, rectangular, 128 units"],
}
START["large"], CHOICE["large"] = START["classification"], CHOICE["classification"]

# What "large" adds: regression sets with the number of classes they are cut into, and other sets.
CUT = {"california_housing": 2, "kin8nm": 2, "power-plant": 4, "protein-tertiary-structure": 3}
OTHERS = ("htru2", "mnist")


def large_names():
    """List the UCI sets and the sets that "large" adds to them."""
    return [*uci_names(), *CUT, *OTHERS]


def load_cut(name, n_classes):
    """Load a regression set, its target cut at quantiles into classes."""
    data = load_regression(name)
    cuts = np.quantile(data.y, np.arange(1, n_classes) / n_classes)
    return Bunch(X=data.X, y=np.searchsorted(cuts, data.y), folds=data.folds)


def load_large(name):
    """Load one of these sets as a Bunch of X, y and folds."""
    if name in CUT:
        return load_cut(name, CUT[name])
    if name == "mnist":
        data = load_mnist()
        pixels = data.X.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4), dtype=np.float32)
        return Bunch(X=pixels.reshape(-1, 49), y=data.y, folds=data.folds)
    return load_htru2() if name == "htru2" else load_uci(name)


# Estimator, names of the sets, loader, scorer, names of the scores. A higher first score is better, and a
# lower second one.
TASKS = {
    "classification": (
        SNNClassifier,
        uci_names,
        load_uci,
        score_classifier,
        ("accuracy", "log_loss", "auc", "seconds"),
    ),
    "regression": (
        SNNRegressor,
        regression_names,
        load_regression,
        score_regressor,
        ("r2", "error", "seconds"),
    ),
}
TASKS["large"] = (SNNClassifier, large_names, load_large, *TASKS["classification"][3:])


def is_first_half(name):
    """Return whether a set is in the first half."""
    return zlib.crc32(name.encode()) % 2 == 1


def half_of(task, confirm):
    """List the sets on which defaults are chosen, or those on which the choice is confirmed."""
    added = {*CUT, *OTHERS} if task == "large" else ()
    return [name for name in TASKS[task][1]() if (is_first_half(name) or name in added) != confirm]


def run_one(task, name, fold, parameters, n_rows):
    """Fit one candidate on one fold, cut to `n_rows` training rows, on one thread."""
    Estimator, _, load, score, _ = TASKS[task]
    return score_cut(Estimator(random_state=fold, **parameters), load(name), fold, n_rows, score)


def score_cut(model, data, fold, n_rows, score):
    """Fit a model on a fold, cut to `n_rows` training rows, on one thread; return its scores."""
    torch.set_num_threads(1)
    train, test = data.folds[fold]
    if len(train) > n_rows:
        train = np.random.default_rng(fold).permutation(train)[:n_rows]
    test = test[:TEST_ROWS]
    return score(model, data.X[train], data.y[train], data.X[test], data.y[test])


def auto_values(task, n_columns=20):
    """Tabulate what every "auto" of the default estimator stands for, by the number of training rows."""
    estimator, rows = TASKS[task][0](), {}
    for n_rows in (100, 500, 1_000, 1_001, 2_001, 5_001, 20_000):
        y = np.arange(n_rows) % 2
        target = estimator._target_type.learn(y, estimator)
        table = Table(np.empty((n_rows, n_columns)), target.encode(y), None)
        k = choose_n_estimators(estimator, table)
        folds = choose_folds(estimator, target, table, k)
        table, valid, shares = split(estimator, table, target, None, folds, seed=0)
        plan = make_plan(estimator, target, table, valid, shares)
        forms = list(dict.fromkeys(form for _, form in plan.traits))
        smoothing = plan.loss.keywords.get("label_smoothing")
        trained = shares[0].train if valid is None else table.y
        rows[n_rows] = {
            "members": k,
            "held back": 0 if trained is None else n_rows - len(trained),
            "layers": [sizes for sizes, _ in forms],
            "encoding": plan.encoding,
            "batch": plan.batch_size,
            "weight decay": round(plan.weight_decay, 4),
            "dropout": [rate for _, rate in forms],
            **({} if smoothing is None else {"label smoothing": smoothing}),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rows")


def auc_ranks(results):
    """Return the column of mean ranks by AUC (1 is the best), or no column for regression."""
    return {"AUC rank": mean_ranks(complete(results, "auc").dropna())} if "auc" in results else {}


def judge(results, first, second):
    """Compare each candidate with START: mean scores, wins and losses, and whether it passes.

    The AUC is only shown, where there is one; no decision depends on it.
    """
    scores = {name: complete(results, name) for name in (first, second, "seconds")}
    start = {name: table["start"].to_numpy()[:, None] for name, table in scores.items()}
    up = np.sign((scores[first] - start[first]).round(9))
    down = np.sign((start[second] - scores[second]).round(9))
    time_ratio = (scores["seconds"] / start["seconds"]).median()
    table = pd.DataFrame(
        {
            f"mean {first}": scores[first].mean(),
            f"mean {second}": scores[second].mean(),
            f"{first} +": (up > 0).sum(),
            f"{first} -": (up < 0).sum(),
            f"{second} +": (down > 0).sum(),
            f"{second} -": (down < 0).sum(),
            **auc_ranks(results),
            "time": time_ratio,
            "passes": (up.sum() > 0) & (down.sum() >= 0) & (time_ratio <= MOST_TIME),
        }
    )
    return table.sort_values(f"mean {first}", ascending=False)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("out", type=Path, nargs="?", default=Path("defaults.csv"))
    parser.add_argument("--auto", action="store_true", help='print what every "auto" stands for, and end')
    parser.add_argument("--confirm", action="store_true", help="run START and CHOICE on the second half")
    parser.add_argument("--levers", nargs="+", metavar="NAME", help="run only these candidates")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1000, help="largest number of training rows")
    parser.add_argument("--min-rows", type=int, default=0, help="least number of training rows of a fold")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    task = arguments.task
    if arguments.auto:
        print(f"{TASKS[task][0].__name__}(), 20 columns, two classes or one output")
        print(auto_values(task).to_string())
        return
    _, _, load, _, scores = TASKS[task]
    levers = {name: LEVERS[task][name] for name in arguments.levers or LEVERS[task]}
    levers = {"start": {}, "choice": CHOICE[task], **({} if arguments.confirm else levers)}
    print(versions(), f"\nseed = fold; start: {START[task]}")
    records = Records(arguments.out, ("set", "fold", "method"), scores)
    half = half_of(task, arguments.confirm)
    folds = {name: load(name).folds[: arguments.folds] for name in half}
    keys = [
        (name, fold, lever)
        for lever in levers
        for name in half
        for fold in range(len(folds[name]))
        if len(folds[name][fold][0]) >= arguments.min_rows
    ]

    def run_lever(name, fold, lever):
        return run_one(task, name, fold, {**START[task], **levers[lever]}, arguments.rows)

    run_missing(records, keys, run_lever, arguments.jobs)
    table = judge(records.frame(), *scores[:2])
    which = "second" if arguments.confirm else "first"
    print(f"\n{which} half, {records.frame().set.nunique()} sets\n{table.round(4).to_string()}")
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


if __name__ == "__main__":
    main()
