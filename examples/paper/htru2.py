"""Reproduce table 3: the paper's seven networks on HTRU2 (pulsar or noise), by nested cross-validation.

    SKSNN_DATA=... python examples/paper/htru2.py htru2.csv

There are ten stratified folds. For each test fold, the fold before it is the validation fold, as in the paper
(section A4.4). Each network is trained with each of SETTINGS, with early stopping by the loss on the
validation fold. The test AUC is that of the settings with the best validation AUC. The paper's own folds are
not published, and its grid had 180 settings.

Each result is appended to the file at once, so a stopped run can be continued. The table is printed with
the published one and written to htru2_table.csv.
"""

import argparse
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from records import NETWORKS, Records, paired_p, run_missing, versions
from sklearn.metrics import roc_auc_score

from sksnn import SNNClassifier
from sksnn.datasets import load_htru2

N_FOLDS = 10
# The part of the paper's grid (256 to 1024 units, 2 to 32 layers, dropout 0 and 0.05) that takes an hour.
SETTINGS = {
    f"{depth}x256 {dropout:g}": {"n_layers": depth, "n_units": 256, "dropout": dropout}
    for depth in (2, 4, 8)
    for dropout in (0.0, 0.05)
}
# The paper's results: AUC, its standard deviation over folds, one-sided p against SNN.
PUBLISHED = {
    "SNN": (0.9803, 0.010, np.nan),
    "MSRAinit": (0.9791, 0.010, 0.35),
    "WeightNorm": (0.9786, 0.010, 2.4e-2),
    "Highway": (0.9766, 0.009, 9.8e-3),
    "LayerNorm": (0.9762, 0.011, 1.4e-2),
    "BatchNorm": (0.9760, 0.013, 6.5e-2),
    "ResNet": (0.9753, 0.010, 6.8e-3),
}


def run_one(fold, network, settings, epochs):
    """Train with some settings; return validation AUC, test AUC, best epoch and seconds."""
    torch.set_num_threads(1)
    data = load_htru2()
    X, y = data.X, data.y
    (train, valid), (_, test) = data.validation_folds[fold], data.folds[fold]
    start = time.perf_counter()
    parameters = {
        **SETTINGS[settings],
        "architecture": NETWORKS[network],
        "max_epochs": epochs,
        "n_estimators": 1,
        "weight_decay": 0.3,  # the default before there were members
    }
    net = SNNClassifier(random_state=fold, **parameters)
    net.fit(X[train], y[train], X_val=X[valid], y_val=y[valid])
    seconds = time.perf_counter() - start
    aucs = [roc_auc_score(y[rows], net.predict_proba(X[rows])[:, 1]) for rows in (valid, test)]
    return *aucs, net.best_epoch_, seconds


def choose(results):
    """Return test AUCs, folds by networks, of the settings with the best validation AUC."""
    best = results.groupby(["fold", "network"])["validation"].idxmax()
    return results.loc[best].pivot(index="fold", columns="network", values="test")


def summarise(results):
    """Return the table of our results and the published ones."""
    test = choose(results).dropna(axis=1)
    difference = -test.sub(test["SNN"], axis=0)
    table = pd.DataFrame(
        {
            "AUC": test.mean(),
            "sd": test.std(),
            "p one-sided": difference.apply(paired_p, alternative="greater"),
            "p two-sided": difference.apply(paired_p),
            "seconds a fit": results.groupby("network")["seconds"].median(),
        }
    )
    published = pd.DataFrame.from_dict(
        PUBLISHED, orient="index", columns=["AUC (paper)", "sd (paper)", "p one-sided (paper)"]
    )
    return table.join(published).sort_values("AUC", ascending=False)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=N_FOLDS, help="number of folds to run, of ten")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--epochs", type=int, default=60, help="largest number of epochs")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(versions())
    records = Records(
        arguments.out, ("fold", "network", "settings"), ("validation", "test", "epoch", "seconds")
    )
    keys = product(range(arguments.folds), arguments.networks, arguments.settings)
    run_missing(records, keys, partial(run_one, epochs=arguments.epochs), arguments.jobs)
    table = summarise(records.frame())
    print(f"\n{records.frame().fold.nunique()} folds\n{table.round(4).to_string()}")
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


if __name__ == "__main__":
    main()
