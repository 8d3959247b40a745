"""Compare SNNClassifier with other classifiers, and SNNs with the paper's other networks, on the UCI sets.

    SKSNN_DATA=... python examples/paper/uci.py uci.csv --figures docs/images
    SKSNN_DATA=... python examples/paper/uci.py peers.csv --methods SNNClassifier CatBoost XGBoost LightGBM
    SKSNN_DATA=... python examples/paper/uci.py rivals.csv --methods SNN MSRAinit BatchNorm LayerNorm ...

Every set that is found is run on its published folds: the official test file if there is one, else the four
published draws (the paper used one of these, and does not say which). All methods run untuned, with seed =
fold. SNNClassifier has its defaults, SNN and the paper's other networks are one network each. With --tune
only these are run. Each chooses among the 24 settings of the search space "small", or the 216 of the paper's
(--space uci), or N of them (--tune N: drawn once, the same for all networks and sets), by accuracy on a fifth
of the training rows, and is then trained on all training rows; "SNN, members" is what SNN has chosen, with as
many members as by default. Nothing is chosen by test rows.

Each result is appended to the file at once, so a stopped run can be continued. At the end the tables are
printed and written next to it (uci_*.csv). Three figures are drawn: critical differences, mean rank against
time, and the difference of SNNClassifier from the paper's SNN on each set. `--jobs 2` runs two fits at a
time, each on one thread.
"""

import argparse
from functools import partial
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.transforms import Bbox
from peers import make_peer
from records import (
    NETWORKS,
    ONE_NETWORK,
    Records,
    add_limits,
    complete,
    draw_critical_differences,
    draw_settings,
    mean_ranks,
    run_missing,
    score_classifier,
    score_fitted,
    search,
    summarise,
    versions,
)
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sksnn import SNNClassifier
from sksnn.datasets import load_uci, uci_names

# Common classifiers of scikit-learn with their defaults; SVC and linear and neural models after a scaler.
OTHERS = {
    "RandomForest": lambda seed: RandomForestClassifier(500, random_state=seed),
    "SVC": lambda seed: make_pipeline(StandardScaler(), SVC(random_state=seed)),
    "MLPClassifier": lambda seed: make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
    "HistGradientBoosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    "LogisticRegression": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
DEFAULT, MEMBERS = "SNNClassifier", ", members"
NO_CODES = "SNN, no codes"  # sees the columns and nothing else, as the paper's
PUBLISHED = Path(__file__).parent / "published" / "uci_table_a11.csv"
PAPER_COLUMNS = {
    DEFAULT: "SNN",
    "MSRAinit": "MS",
    "BatchNorm": "BN",
    "LayerNorm": "LN",
    "WeightNorm": "WN",
    "Highway": "HW",
}


def untuned(method, seed):
    """Return the estimator of a method with its defaults."""
    if method == DEFAULT:
        return SNNClassifier(random_state=seed)
    if method == NO_CODES:
        return SNNClassifier(**ONE_NETWORK, encoding=None, random_state=seed)
    if method in NETWORKS:
        return SNNClassifier(**ONE_NETWORK, architecture=NETWORKS[method], random_state=seed)
    return OTHERS[method](seed) if method in OTHERS else make_peer(method, "Classifier", seed)


class Tuned:
    """A network whose settings are chosen on a fifth of the training rows."""

    def __init__(self, method, seed, candidates):
        self.candidates, self.seed = candidates, seed
        network, self.with_members = NETWORKS[method.removesuffix(MEMBERS)], method.endswith(MEMBERS)
        self.one = SNNClassifier(**ONE_NETWORK, architecture=network, random_state=seed)

    def fit(self, X, y):
        """Choose settings by validation accuracy, ties by log-loss; train with them on all rows."""
        counts = np.bincount(y)
        strata = y if counts[counts > 0].min() > 1 and len(y) >= 5 * len(counts) else None
        fold = train_test_split(np.arange(len(y)), test_size=0.2, stratify=strata, random_state=self.seed)
        ranked = [{}]  # the defaults, where nothing can be chosen or trained
        if len(np.unique(y[fold[0]])) > 1:
            ranked = [*best_first(self.one, self.candidates, fold, X, y), {}]
        for self.settings in ranked:
            chosen = clone(self.one).set_params(**self.settings)
            if self.with_members:
                chosen.set_params(n_estimators="auto")
            try:
                return chosen.fit(X, y)
            except ValueError as error:
                if "loss is not finite" not in str(error):
                    raise


CHOSEN = {}  # what one network has chosen is what its members have


def best_first(estimator, candidates, fold, X, y):
    """Return the candidates that could be trained, the best on the fold first."""
    key = joblib.hash((estimator, candidates, fold, X, y))
    if key not in CHOSEN:
        try:
            results = search(estimator, candidates, X, y, [fold], accuracy_and_loss)
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            return []
        order, accuracy = rank(results), results["mean_test_accuracy"]
        CHOSEN[key] = [results["params"][i] for i in order if np.isfinite(accuracy[i])]
    return CHOSEN[key]


def accuracy_and_loss(model, X, y):
    """Score a fitted classifier, also where a class is missing in y."""
    accuracy, log_loss, *_ = score_fitted(model, X, y)
    return {"accuracy": accuracy, "neg_log_loss": -log_loss}


def rank(results):
    """Return the indices of all candidates: by accuracy, ties by log-loss, the best first."""
    return np.lexsort([-results["mean_test_neg_log_loss"], -results["mean_test_accuracy"]])


def run_one(name, fold, method, candidates):
    """Fit one method on one fold of one set, on one thread."""
    torch.set_num_threads(1)
    data = load_uci(name)
    train, test = data.folds[fold]
    model = Tuned(method, fold, candidates) if candidates else untuned(method, fold)
    return score_classifier(model, data.X[train], data.y[train], data.X[test], data.y[test])


def wanted(arguments):
    """List the runs (set, fold, method), small sets first."""
    data = {name: load_uci(name) for name in arguments.sets or uci_names()}
    return [
        (name, fold, method)
        for name in sorted(data, key=lambda name: data[name].X.size)
        for fold in range(min(arguments.folds, len(data[name].folds)))
        for method in arguments.methods
        if arguments.min_rows <= len(data[name].X) <= arguments.max_rows
    ]


def compare_with_paper(results):
    """Return the accuracy of our networks and of the paper's, by set."""
    published = pd.read_csv(PUBLISHED, index_col="dataset")
    ours = complete(results[results.method.isin([DEFAULT, *NETWORKS])], "accuracy")
    columns = {method: published[PAPER_COLUMNS.get(method, method)] for method in ours}
    theirs = pd.DataFrame(columns).reindex(ours.index)
    return ours.join(theirs.add_suffix(" (paper)"))


# Where a name may stand beside its point: offset, and the corner of the text that is there.
PLACES = [
    ((6, 3), "left", "bottom"),
    ((6, -3), "left", "top"),
    ((-6, 3), "right", "bottom"),
    ((-6, -3), "right", "top"),
]


def draw_time(ax, ranks, seconds):
    """Draw mean ranks against the mean seconds of a fit."""
    ours = [name in (DEFAULT, "SNN") for name in ranks.index]
    ax.scatter(seconds[ranks.index], ranks, c=np.where(ours, "#0072b2", "#d55e00"), zorder=2)
    ax.set(xscale="log", xlabel="mean seconds of a fit, one thread", ylabel="mean rank by accuracy")
    ax.set_xlim(0.6 * seconds.min(), 5 * seconds.max())
    ax.margins(y=0.1)
    ax.invert_yaxis()  # the best on top
    ax.grid(alpha=0.3)
    points = ax.transData.transform(np.column_stack([seconds[ranks.index], ranks]))
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    for name, rank in ranks.sort_values().items():
        label = {"SNN": "SNNClassifier, one network"}.get(name, name)
        for offset, ha, va in PLACES:
            style = {"textcoords": "offset points", "fontsize": 8, "ha": ha, "va": va}
            text = ax.annotate(label, (seconds[name], rank), offset, **style)
            box = text.get_window_extent()
            if box.count_overlaps(taken) == 0 or (offset, ha, va) == PLACES[-1]:
                taken.append(box)
                break
            text.remove()


def draw(results, seconds, folder):
    """Draw critical differences, ranks against the seconds of fits, and the differences from the paper."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = complete(results, "accuracy")
    figure, ax = plt.subplots(figsize=(9, 0.4 * scores.shape[1] + 1.2))
    draw_critical_differences(ax, mean_ranks(scores), len(scores))
    figure.savefig(folder / "uci_ranks.png", dpi=150, bbox_inches="tight")
    figure, ax = plt.subplots(figsize=(6.5, 4))
    draw_time(ax, mean_ranks(scores), seconds.mean())
    figure.savefig(folder / "uci_time.png", dpi=150, bbox_inches="tight")
    beside = compare_with_paper(results)
    if DEFAULT in beside:
        difference = (beside[DEFAULT] - beside[f"{DEFAULT} (paper)"]).dropna().sort_values()
        figure, ax = plt.subplots(figsize=(7, 0.17 * len(difference) + 1))
        ax.barh(difference.index, difference, color=np.where(difference < 0, "#d55e00", "#0072b2"))
        ax.axvline(0, color="black", lw=0.8)
        ax.set(xlabel="accuracy of SNNClassifier() minus the paper's SNN", ylim=(-0.6, len(difference) - 0.4))
        ax.tick_params(axis="y", labelsize=7)
        figure.savefig(folder / "uci_against_paper.png", dpi=150, bbox_inches="tight")


def report(records, figures, times=None):
    """Print the tables, and write them next to the results; seconds are those of other records, if given."""
    results = records.frame()
    methods = results.method.unique()
    reference = next((name for name in (DEFAULT, "SNN") if name in methods), methods[0])
    table, seconds = summarise(results, reference), complete((times or records).frame(), "seconds")
    table["seconds"] = seconds.sum()
    print(f"\n{len(complete(results, 'accuracy'))} sets\n{table.round(4).to_string()}")
    beside = compare_with_paper(results)
    print(f"\nmeans beside the paper's (table A11)\n{beside.dropna().mean().round(4).to_string()}")
    stem = records.path.with_suffix("")
    table.to_csv(f"{stem}_table.csv")
    beside.to_csv(f"{stem}_against_paper.csv")
    if figures:
        draw(results, seconds, figures)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="methods to run; the file lists them at its top"
    )
    parser.add_argument("--sets", nargs="+", metavar="NAME")
    parser.add_argument("--folds", type=int, default=4, help="largest number of folds per set")
    parser.add_argument("--min-rows", type=int, default=0)
    parser.add_argument("--max-rows", type=int, default=10**9)
    parser.add_argument(
        "--tune",
        type=int,
        nargs="?",
        const=10**9,
        default=0,
        metavar="N",
        help="choose among all settings, or N",
    )
    parser.add_argument(
        "--space", default="small", choices=["small", "uci"], help="the settings for --tune; default: small"
    )
    add_limits(parser)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--times", type=Path, metavar="FILE", help="show the seconds of these results, of a machine at rest"
    )
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    arguments.methods = arguments.methods or (
        [*NETWORKS, "SNN" + MEMBERS] if arguments.tune else [DEFAULT, "SNN", *OTHERS]
    )
    print(versions(), "\nseed = fold; networks and SVC standardised, all else as its defaults are")
    records = Records(arguments.out, ("set", "fold", "method"), ("accuracy", "log_loss", "auc", "seconds"))
    candidates = draw_settings(
        arguments.space, arguments.tune, n_units=arguments.units, n_layers=arguments.layers
    )
    run_missing(records, wanted(arguments), partial(run_one, candidates=candidates), arguments.jobs)
    times = Records(arguments.times, records.keys, records.values) if arguments.times else None
    report(records, arguments.figures, times)


if __name__ == "__main__":
    main()
