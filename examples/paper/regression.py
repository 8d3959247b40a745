"""Compare SNNRegressor with other regressors, all untuned, on the regression sets.

    SKSNN_DATA=... python examples/paper/regression.py regression.csv
    SKSNN_DATA=... python examples/paper/regression.py peers.csv --methods SNNRegressor CatBoost LightGBM ...

The splits are the first --folds published ones, or if a set has none, ten of
ShuffleSplit(test_size=0.1, random_state=0). Each result is appended to the file at once, so a stopped run can
be continued. The table is printed and written to regression_table.csv.
"""

import argparse
from pathlib import Path

import torch
from peers import PEERS, make_peer
from records import Records, complete, mean_ranks, run_missing, score_regressor, versions
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from sksnn import SNNRegressor
from sksnn.datasets import load_regression, regression_names


def scaled(regressor):
    """Standardise rows and target, as SNNRegressor does itself."""
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressor), transformer=StandardScaler()
    )


METHODS = {
    "SNNRegressor": lambda seed: SNNRegressor(random_state=seed),
    "SNNRegressor, one network": lambda seed: SNNRegressor(n_estimators=1, random_state=seed),
    "MLPRegressor": lambda seed: scaled(MLPRegressor(random_state=seed)),
    "SVR": lambda seed: scaled(SVR()),
    "Ridge": lambda seed: make_pipeline(StandardScaler(), Ridge()),
    "RandomForest": lambda seed: RandomForestRegressor(random_state=seed),
    "HistGradientBoosting": lambda seed: HistGradientBoostingRegressor(random_state=seed),
}


def run_one(name, fold, method):
    """Fit one method on one fold of one set, on one thread."""
    torch.set_num_threads(1)
    data = load_regression(name)
    train, test = data.folds[fold]
    model = METHODS[method](fold) if method in METHODS else make_peer(method, "Regressor", fold)
    return score_regressor(model, data.X[train], data.y[train], data.X[test], data.y[test])


def report(records):
    """Print R² by set and method, means, ranks and seconds, and write them next to the results."""
    results = records.frame()
    scores = complete(results, "r2").T
    table = scores.assign(
        mean=scores.mean(axis=1),
        rank=mean_ranks(scores.T),
        **{"rank of the error": mean_ranks(-complete(results, "error"))},
        seconds=complete(results, "seconds").sum(),
    ).sort_values("rank")
    folds = results.groupby("set").fold.nunique().to_dict()
    print(f"\nR², means over folds: {folds}\n{table.round(4).to_string()}")
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, *PEERS])
    parser.add_argument("--sets", nargs="+", metavar="NAME")
    parser.add_argument("--folds", type=int, default=10, help="largest number of folds per set")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(
        versions(),
        "\nseed = fold; rows standardised for MLPRegressor, SVR and Ridge; target for the first two",
    )
    records = Records(arguments.out, ("set", "fold", "method"), ("r2", "error", "seconds"))
    n_folds = {name: len(load_regression(name).folds) for name in arguments.sets or regression_names()}
    keys = [
        (name, fold, method)
        for fold in range(arguments.folds)
        for name in n_folds
        for method in arguments.methods
        if fold < n_folds[name]
    ]
    run_missing(records, keys, run_one, arguments.jobs)
    report(records)


if __name__ == "__main__":
    main()
