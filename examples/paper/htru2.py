"""Reproduce table 3: the paper's seven networks on HTRU2 (pulsar or noise), by nested cross-validation.

    SKSNN_DATA=... python examples/paper/htru2.py htru2.csv                  # six settings
    SKSNN_DATA=... python examples/paper/htru2.py searched.csv --settings 8  # of the paper's 180

There are ten stratified folds. For each test fold, the fold before it is the validation fold, as in the paper
(section A4.4). Each network is trained with each of the settings in one search, with early stopping by the
loss on the validation fold. The test AUC is that of the settings with the best validation AUC. The paper's
own folds are not published.

Settings are those of FEW, or their names, or a number of those of the search space "htru2", in an order that
is drawn once: all networks and folds have the same. --units and --layers leave out larger networks of the
space, which take a CPU minutes to hours each; --settings 180 without them is the paper's grid.

The results of each search are appended to the file at once, so a stopped run can be continued. The table is
printed with the published one and written to htru2_table.csv.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from records import NETWORKS, ONE_NETWORK, Records, add_limits, draw_settings, paired_p, search, versions
from sklearn.metrics import roc_auc_score

from sksnn import SNNClassifier
from sksnn.datasets import load_htru2

N_FOLDS = 10
# Depth and dropout with the default optimizer and its rate.
FEW = {
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


def name_of(settings):
    """Return a name for settings of the search space."""
    form = "{n_layers}x{n_units} {layer_form} {dropout:g} {optimizer} {lr:g}"
    return form.format(**settings)


def choose_settings(given, units, layers):
    """Return the settings that the command line asks for, by name.

    Parameters
    ----------
    given : list of str
        Names of FEW; or one number.
    units, layers : int
        The largest networks of the space.
    """
    if len(given) == 1 and given[0].isdigit():
        drawn = draw_settings("htru2", int(given[0]), n_units=units, n_layers=layers)
        return {name_of(settings): settings for settings in drawn}
    unknown = [name for name in given if name not in FEW]
    if unknown:
        raise ValueError(f"--settings must be a number or names among {', '.join(FEW)}; got {unknown[0]}.")
    return {name: FEW[name] for name in given}


class Scores:
    """Score a network of a search: AUC on validation and test rows; its best epoch.

    The test AUC is noted, and has no part in the choice.
    """

    def __init__(self, X_test, y_test):
        self.X_test, self.y_test = X_test, y_test

    def __call__(self, net, X, y):
        rows = {"validation": (X, y), "test": (self.X_test, self.y_test)}
        aucs = {name: roc_auc_score(y, net.predict_proba(X)[:, 1]) for name, (X, y) in rows.items()}
        return {**aucs, "epoch": net.best_epoch_}


def run_search(data, fold, network, settings, epochs, n_jobs):
    """Train a network with several settings; return each one's AUCs, best epoch and seconds."""
    (train, valid), (_, test) = data.validation_folds[fold], data.folds[fold]
    parameters = {"architecture": NETWORKS[network], "max_epochs": epochs, **ONE_NETWORK}
    net = SNNClassifier(random_state=fold, **parameters)
    watched = {"X_val": data.X[valid], "y_val": data.y[valid]}
    scores = Scores(data.X[test], data.y[test])
    found = search(net, settings, data.X, data.y, [(train, valid)], scores, n_jobs, **watched)
    columns = [found[f"mean_test_{name}"] for name in ("validation", "test", "epoch")]
    return list(zip(*columns, found["mean_fit_time"], strict=True))


def run_missing_searches(records, arguments, settings):
    """Run the searches that are not in the records; save and print their results at once."""
    data, done = load_htru2(), 0
    searches = [
        (fold, network, [name for name in settings if (fold, network, name) not in records])
        for fold, network in product(range(arguments.folds), arguments.networks)
    ]
    n_fits = sum(len(names) for *_, names in searches)
    for fold, network, names in searches:
        if not names:
            continue
        asked = [settings[name] for name in names]
        found = run_search(data, fold, network, asked, arguments.epochs, arguments.jobs)
        for name, numbers in zip(names, found, strict=True):
            records.add((fold, network, name), numbers)
            done += 1
            print(f"{done}/{n_fits} {fold} {network} {name}: {records.describe(numbers)}", flush=True)


def choose(results):
    """Return test AUCs, folds by networks, of the settings with the best validation AUC."""
    trained = results.dropna(subset=["validation"])  # a setting may diverge
    best = trained.groupby(["fold", "network"])["validation"].idxmax()
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
    parser.add_argument(
        "--settings", nargs="+", default=list(FEW), metavar="N", help="a number, or names of FEW"
    )
    add_limits(parser)
    parser.add_argument("--epochs", type=int, default=60, help="largest number of epochs")
    parser.add_argument("--jobs", type=int, default=1, help="workers of a search")
    arguments = parser.parse_args()
    settings = choose_settings(arguments.settings, arguments.units, arguments.layers)
    torch.set_num_threads(1)
    print(versions())
    records = Records(
        arguments.out, ("fold", "network", "settings"), ("validation", "test", "epoch", "seconds")
    )
    run_missing_searches(records, arguments, settings)
    table = summarise(records.frame())
    print(f"\n{records.frame().fold.nunique()} folds\n{table.round(4).to_string()}")
    table.to_csv(f"{records.path.with_suffix('')}_table.csv")


if __name__ == "__main__":
    main()
