"""Time of searches whose candidates are trained together, and of scikit-learn's own over the same estimator.

    python examples/benchmarks/search_speed.py
    python examples/benchmarks/search_speed.py --sets iris --networks "conic 256" --halving
    SKSNN_DATA=... python examples/benchmarks/search_speed.py --sets steel-plates --networks "rectangular 32"

Sets are scikit-learn's, or those of UCI by name. A search has 96 candidates on 4 folds: four learning rates
(--lrs), three decays, two rates of dropout, four depths. Both ways have the same folds, seeds and workers
(--jobs), and are run in turn; the figures are medians over --repeats runs. Numbers of epochs and all else are
the estimator's defaults, with one network a candidate. Scores agree to rounding, which is printed beside.
--halving adds a search by halving over epochs. On a busy machine, measure with --jobs 1: then times are those
of the processor, not of the clock.
"""

import argparse
import os
import time
import warnings
from statistics import median

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import GridSearchCV

from sksnn import SNNClassifier
from sksnn.datasets import load_uci
from sksnn.model_selection import SNNGridSearchCV, SNNHalvingGridSearchCV

SETS = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer, "digits": load_digits}
NETWORKS = {
    "rectangular 32": {"n_units": 32, "layer_form": "rectangular"},
    "rectangular 64": {"n_units": 64, "layer_form": "rectangular"},
    "conic 256": {"n_units": 256, "layer_form": "conic"},
    "rectangular 128": {"n_units": 128, "layer_form": "rectangular"},
    "rectangular 256": {"n_units": 256, "layer_form": "rectangular"},
}
GRID = {
    "lr": [0.0003, 0.001, 0.003, 0.01],
    "weight_decay": [0.0, 0.1, 0.3],
    "dropout": [0.0, 0.05],
    "n_layers": [2, 3, 4, 8],
}


def load(name):
    """Return X and y of a set."""
    return SETS[name](return_X_y=True) if name in SETS else load_uci(name, return_X_y=True)


def timed(search, X, y):
    """Return the time of a search without its refit, and its scores."""
    clock = time.process_time if search.n_jobs == 1 else time.perf_counter
    start = clock()
    search.fit(X, y)
    return clock() - start, search.cv_results_


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", metavar="NAME", default=[*SETS], help="default: scikit-learn's")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--lrs", type=int, default=4, help="learning rates of the grid: 24 candidates each")
    parser.add_argument("--epochs", type=int, help="default: the estimator's")
    parser.add_argument("--halving", action="store_true", help="search by halving over epochs, too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, {os.cpu_count()} cores")
    grid = {**GRID, "lr": GRID["lr"][: arguments.lrs]}
    own = {"cv": 4, "n_jobs": arguments.jobs, "refit": False, "scoring": "neg_log_loss"}
    ways = {"together": SNNGridSearchCV, "scikit-learn": GridSearchCV}
    if arguments.halving:
        ways["halving"] = SNNHalvingGridSearchCV
    for cls in ways.values():  # workers start, and import torch
        cls(SNNClassifier(n_estimators=1, max_epochs=3), {"lr": [0.01, 0.02]}, **own).fit(
            *load_iris(return_X_y=True)
        )
    for name in arguments.sets:
        X, y = load(name)
        for network in arguments.networks:
            snn = SNNClassifier(n_estimators=1, random_state=0, **NETWORKS[network])
            snn.set_params(max_epochs=arguments.epochs or snn.max_epochs)
            seconds, results = {way: [] for way in ways}, {}
            for _ in range(arguments.repeats):
                for way, cls in ways.items():
                    spent, results[way] = timed(cls(snn, grid, **own), X, y)
                    seconds[way].append(spent)
            found = {way: median(times) for way, times in seconds.items()}
            scores = {way: r["mean_test_score"] for way, r in results.items()}
            line = f"{name:14}{X.shape[0]:6} rows  {network:16}" + "".join(
                f"  {way} {spent:6.1f} s" for way, spent in found.items()
            )
            line += f"  ratio {found['scikit-learn'] / found['together']:.1f}"
            line += f"  scores differ by {np.abs(scores['together'] - scores['scikit-learn']).max():.1e}"
            if arguments.halving:
                best = results["halving"]["mean_test_score"][results["halving"]["iter"].argmax() :].max()
                line += f"  halving: ratio {found['together'] / found['halving']:.1f}, best score"
                line += f" {best:.4f} for {scores['together'].max():.4f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
