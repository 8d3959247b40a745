"""Accuracy of untuned classifiers on the UCI sets in a folder: mean, mean rank, seconds.

    SKSNN_DATA=... python examples/benchmarks/uci_accuracy.py --out results.csv

One split a set: the official test file where there is one, else the first published 75/25 draw.
Results are appended to --out as they come; a stopped run goes on where it was. Candidates for the
defaults are given as --candidate NAME 'dict(...)'; the table is printed for all sets and for the
two halves that a hash of the name makes, so that a choice made on one is confirmed on the other.
"""

import argparse
import csv
import os
import pathlib
import platform
import time
import warnings
import zlib

import numpy as np
import scipy
import sklearn
import torch
from scipy.stats import rankdata, wilcoxon
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sksnn import SNNClassifier

BASELINES = {
    "MLPClassifier": lambda: make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
    "RandomForest(500)": lambda: RandomForestClassifier(500, random_state=0),
    "SVC": lambda: make_pipeline(StandardScaler(), SVC(random_state=0)),
}


def load(path):
    """Read one set and its split."""
    data = np.load(path)
    X, y, part = data["X"].astype(float), data["y"].astype(int), data["part"]
    if part.any():
        return X[part == 0], y[part == 0], X[part == 1], y[part == 1]
    test = data["kfold_test"][0].astype(bool)
    return X[~test], y[~test], X[test], y[test]


def evaluate(make, X, y, X_test, y_test):
    """Fit once; return accuracy, log-loss (NaN without probabilities) and seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make().fit(X, y)
    seconds = time.perf_counter() - start
    loss = np.nan
    if hasattr(model, "predict_proba"):
        proba = np.zeros((len(X_test), max(y.max(), y_test.max()) + 1))
        proba[:, model.classes_] = model.predict_proba(X_test)
        loss = -np.log(proba[np.arange(len(y_test)), y_test].clip(1e-6)).mean()
    return np.mean(model.predict(X_test) == y_test), loss, seconds


def read(out):
    if not out.exists():
        return {}
    with out.open() as file:
        return {
            (r["set"], r["method"]): tuple(map(float, (r["accuracy"], r["log_loss"], r["seconds"])))
            for r in csv.DictReader(file)
        }


def table(results, sets, methods, title):
    sets = [s for s in sets if all((s, m) in results for m in methods)]
    if not sets:
        return
    accuracy = np.array([[results[s, m][0] for m in methods] for s in sets])
    loss = np.array([[results[s, m][1] for m in methods] for s in sets])
    seconds = np.array([[results[s, m][2] for m in methods] for s in sets])
    ranks = rankdata(-accuracy, axis=1)
    print(f"\n{title}: {len(sets)} sets")
    print(
        f"{'method':28s} mean acc  mean rank  log-loss rank  seconds  wins/losses and p against MLPClassifier"
    )
    scored = ~np.isnan(loss).any(axis=0)
    loss_ranks = np.full(len(methods), np.nan)
    loss_ranks[scored] = rankdata(loss[:, scored], axis=1).mean(axis=0)
    reference = accuracy[:, methods.index("MLPClassifier")]
    for i in np.argsort(ranks.mean(axis=0)):
        difference = accuracy[:, i] - reference
        p = wilcoxon(difference, zero_method="zsplit").pvalue if difference.any() else 1.0
        print(
            f"{methods[i]:28s} {accuracy[:, i].mean():8.4f} {ranks[:, i].mean():10.2f} {loss_ranks[i]:14.2f} "
            f"{seconds[:, i].sum():8.1f}  {np.sum(difference > 0)}/{np.sum(difference < 0)}  p={p:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default="uci_accuracy.csv")
    parser.add_argument("--min-rows", type=int, default=0)
    parser.add_argument("--max-rows", type=int, default=10**9)
    parser.add_argument("--candidate", nargs=2, action="append", default=[], metavar=("NAME", "DICT"))
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    folder = pathlib.Path(os.environ["SKSNN_DATA"]) / "uci"
    methods = dict(BASELINES)
    for name, settings in arguments.candidate or [("SNNClassifier", "dict()")]:
        settings = eval(settings)  # typed by whoever runs this script
        methods[name] = lambda settings=settings: SNNClassifier(random_state=0, **settings)
    print(
        f"sklearn {sklearn.__version__}, torch {torch.__version__}, scipy {scipy.__version__}, "
        f"{platform.machine()}, {torch.get_num_threads()} threads, seed 0"
    )
    results = read(arguments.out)
    sets = []
    for path in sorted(folder.glob("*.npz")):
        split = load(path)
        if not arguments.min_rows <= len(split[0]) <= arguments.max_rows:
            continue
        sets.append(path.stem)
        for name, make in methods.items():
            if (path.stem, name) in results:
                continue
            results[path.stem, name] = evaluate(make, *split)
            new = not arguments.out.exists()
            with arguments.out.open("a") as file:
                if new:
                    file.write("set,method,accuracy,log_loss,seconds\n")
                file.write(f"{path.stem},{name},{','.join(f'{v:.6g}' for v in results[path.stem, name])}\n")
    names = list(methods)
    halves = (
        [s for s in sets if zlib.crc32(s.encode()) % 2],
        [s for s in sets if not zlib.crc32(s.encode()) % 2],
    )
    table(results, sets, names, "all")
    table(results, halves[0], names, "half A (choose here)")
    table(results, halves[1], names, "half B (confirm here)")


if __name__ == "__main__":
    main()
