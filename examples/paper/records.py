"""Shared by the scripts of this folder: a file of results, ranks, statistical tests, diagrams."""

import csv
import platform
import time
import warnings

import numpy as np
import pandas as pd
import scipy
import sklearn
import skorch
import torch
from joblib import Parallel, delayed
from scipy.stats import studentized_range, wilcoxon
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import ParameterGrid

import sksnn
from sksnn.model_selection import SNNGridSearchCV, search_spaces


def versions():
    """Return the versions of all packages, the machine and the number of threads."""
    packages = ", ".join(f"{p.__name__} {p.__version__}" for p in (sksnn, sklearn, torch, skorch, scipy, np))
    return f"{packages}; {platform.machine()}, {torch.get_num_threads()} threads"


class Records:
    """A CSV file to which each result is appended at once, so that a stopped run can be continued.

    Parameters
    ----------
    path : pathlib.Path
    keys : tuple of str
        Columns that identify a result.
    values : tuple of str
        Columns of the numbers of a result.
    """

    def __init__(self, path, keys, values):
        self.path, self.keys, self.values = path, keys, values
        self._rows = {}
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self._rows[tuple(row[key] for key in keys)] = [float(row[value]) for value in values]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append([*keys, *values])

    def _append(self, row):
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(row)

    def __contains__(self, key):
        return tuple(map(str, key)) in self._rows

    def add(self, key, numbers):
        """Append one result."""
        written = [f"{number:.7g}" for number in numbers]
        self._rows[tuple(map(str, key))] = list(map(float, written))  # ties as when the file is read again
        self._append([*key, *written])

    def describe(self, numbers):
        """Return the numbers of a result in words."""
        return ", ".join(f"{value} {number:.4g}" for value, number in zip(self.values, numbers, strict=True))

    def frame(self):
        """Return all results as a table with one row per result."""
        rows = [[*key, *numbers] for key, numbers in self._rows.items()]
        return pd.DataFrame(rows, columns=[*self.keys, *self.values])


# The paper's names of its seven networks, and the names in this package.
NETWORKS = {
    "SNN": "snn",
    "MSRAinit": "msra",
    "BatchNorm": "batchnorm",
    "LayerNorm": "layernorm",
    "WeightNorm": "weightnorm",
    "Highway": "highway",
    "ResNet": "resnet",
}

# The classifier's default before there were members.
ONE_NETWORK = {"n_estimators": 1, "scale_inputs": False, "weight_decay": 0.3, "dropout": 0.05}


def draw_settings(space, n_settings=None, *, n_units=np.inf, n_layers=np.inf):
    """Return settings of a search space in an order that is drawn once: the first `n_settings`, or all.

    Parameters
    ----------
    space : str
        A key of `sksnn.model_selection.search_spaces`.
    n_settings : int, default=None
    n_units, n_layers : int, default=inf
        Leave out larger networks.

    Returns
    -------
    settings : list of dict
    """
    settings = [*ParameterGrid(search_spaces[space])]
    drawn = [settings[i] for i in np.random.default_rng(0).permutation(len(settings))]
    return [s for s in drawn if s["n_units"] <= n_units and s["n_layers"] <= n_layers][:n_settings]


def add_limits(parser):
    """Add the options that leave out large networks of a search space: those take a CPU minutes to hours."""
    parser.add_argument("--units", type=int, default=np.inf, help="widest layers among the settings")
    parser.add_argument("--layers", type=int, default=np.inf, help="deepest networks among the settings")


def search(estimator, settings, X, y, cv, scoring, n_jobs=None, **fit_params):
    """Search settings without a refit; a setting whose training fails has scores of NaN.

    Returns
    -------
    results : dict
        `cv_results_`.

    Raises
    ------
    ValueError
        If all trainings have failed.
    """
    grid = [{name: [value] for name, value in each.items()} for each in settings]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.simplefilter("ignore", UserWarning)  # not converged, few rows of a class, scores of NaN
        found = SNNGridSearchCV(estimator, grid, cv=cv, scoring=scoring, n_jobs=n_jobs, refit=False)
        return found.fit(X, y, **fit_params).cv_results_


def run_missing(records, keys, run_one, jobs):
    """Compute the results that are not in the records, `jobs` at a time; save and print each at once.

    Parameters
    ----------
    records : Records
    keys : iterable of tuple
    run_one : callable
        Called with the items of a key; returns the values of its record.
    jobs : int
    """
    todo = [key for key in keys if key not in records]
    results = Parallel(n_jobs=jobs, return_as="generator")(delayed(run_one)(*key) for key in todo)
    for i, (key, numbers) in enumerate(zip(todo, results, strict=True), 1):
        records.add(key, numbers)
        print(f"{i}/{len(todo)} {' '.join(map(str, key))}: {records.describe(numbers)}", flush=True)


def timed_fit(model, X, y):
    """Fit without warnings, which fits on few rows often give; return the model and the seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not converged, few rows of a class
        model = model.fit(X, y)
    return model, time.perf_counter() - start


def score_classifier(model, X, y, X_test, y_test):
    """Fit once; return accuracy, log-loss, AUC (NaN without probabilities) and the seconds of the fit.

    For several classes, the AUC is that of each class against the rest, averaged over the classes in the test
    rows.
    """
    model, seconds = timed_fit(model, X, y)
    return *score_fitted(model, X_test, y_test), seconds


def score_fitted(model, X_test, y_test):
    """Return accuracy, log-loss and AUC of a fitted classifier, as `score_classifier` does."""
    accuracy = np.mean(np.ravel(model.predict(X_test)) == y_test)  # CatBoost's classes are a column
    if not hasattr(model, "predict_proba"):
        return accuracy, np.nan, np.nan
    proba = np.zeros((len(y_test), 1 + max(model.classes_.max(), y_test.max())))
    proba[:, model.classes_] = model.predict_proba(X_test)
    log_loss = -np.log(proba[np.arange(len(y_test)), y_test].clip(1e-6)).mean()
    present = [k for k in range(proba.shape[1]) if 0 < np.sum(y_test == k) < len(y_test)]
    aucs = [roc_auc_score(y_test == k, proba[:, k]) for k in present]
    return accuracy, log_loss, np.mean(aucs) if aucs else np.nan


def score_regressor(model, X, y, X_test, y_test):
    """Fit once; return R², mean absolute error divided by the test target's deviation, seconds of the fit."""
    model, seconds = timed_fit(model, X, y)
    predicted = model.predict(X_test)
    return r2_score(y_test, predicted), mean_absolute_error(y_test, predicted) / np.std(y_test), seconds


def mean_ranks(scores):
    """Return the mean rank of each column over the rows; rank 1 is the highest, ties get the mean rank."""
    return scores.round(9).rank(axis=1, ascending=False).mean()


def summarise(results, reference, score="accuracy"):
    """Compare methods over sets.

    Parameters
    ----------
    results : DataFrame
        Columns set, fold, method, accuracy, log_loss, auc, seconds.
    reference : str
        The method against which the others are tested.
    score : str, default="accuracy"
        The score to rank by.

    Returns
    -------
    table : DataFrame
        One row per method, the best mean rank first. Columns: mean score, its standard error over folds, mean
        rank, ranks of log-loss and AUC among the methods that have probabilities, number of sets on which the
        method is best (alone or tied), numbers of sets on which the reference is better and worse, Wilcoxon's
        p, two-sided and one-sided for "the reference is better", total seconds of all fits.
    """
    by_set = {name: complete(results, name) for name in (score, "log_loss", "auc", "seconds")}
    scores = by_set[score]
    difference = scores[[reference]].to_numpy() - scores
    best = scores.round(9).eq(scores.round(9).max(axis=1), axis=0)
    table = pd.DataFrame(
        {
            f"mean {score}": scores.mean(),
            "standard error": standard_error(results[results.set.isin(scores.index)], score),
            "mean rank": mean_ranks(scores),
            "log-loss rank": mean_ranks(-by_set["log_loss"].dropna(axis=1)),
            "AUC rank": mean_ranks(by_set["auc"].dropna(axis=1, how="all").dropna()),
            "best": best.sum(),
            f"{reference} better": (difference > 1e-9).sum(),
            f"{reference} worse": (difference < -1e-9).sum(),
            "p two-sided": difference.apply(paired_p),
            "p one-sided": difference.apply(paired_p, alternative="greater"),
            "seconds": by_set["seconds"].sum(),
        }
    )
    return table.sort_values("mean rank")


def standard_error(results, score):
    """Return for each method the standard error of its mean score, due to the choice of folds.

    Sets with one fold do not contribute; the result is NaN if each set has one fold. The published draws
    overlap, so the result is too small rather than too large.
    """
    folds = results.groupby(["method", "set"])[score].agg(["var", "count"])
    variance = (folds["var"] / folds["count"]).groupby("method")
    return np.sqrt(variance.sum(min_count=1)) / variance.size()


def complete(results, score):
    """Return a table of sets by methods, averaged over folds, for the sets that all methods have finished."""
    counts = results.pivot_table(index="set", columns="method", values="seconds", aggfunc="count")
    sets = counts.index[counts.notna().all(axis=1) & counts.eq(counts.max(axis=1), axis=0).all(axis=1)]
    return results.pivot_table(index="set", columns="method", values=score, dropna=False).loc[sets]


def paired_p(difference, alternative="two-sided"):
    """Return the p-value of Wilcoxon's signed-rank test of paired differences; 1 if all are 0."""
    difference = difference[~np.isnan(difference)].round(9)
    return wilcoxon(difference, alternative=alternative).pvalue if difference.any() else 1.0


def critical_difference(n_methods, n_sets, alpha=0.05):
    """Return the least difference of mean ranks that Nemenyi's test calls significant (Demšar, 2006)."""
    q = studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
    return q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_sets))


def draw_critical_differences(ax, ranks, n_sets):
    """Draw mean ranks on a line, the best on the left; bars join those that do not differ significantly."""
    ranks = ranks.sort_values()
    k, width = len(ranks), critical_difference(len(ranks), n_sets)
    low, high = np.floor(ranks.min()), np.ceil(ranks.max())
    middle = (k + 1) // 2
    ax.hlines(0, low, high, color="black")
    for tick in np.arange(low, high + 0.5):
        ax.vlines(tick, 0, 0.15, color="black")
        ax.text(tick, 0.3, f"{tick:.0f}", ha="center")
    for i, (name, rank) in enumerate(ranks.items()):
        left = i < middle
        depth = -0.6 * (i + 1 if left else k - i) - 0.4
        edge = low if left else high
        ax.plot([rank, rank, edge], [0, depth, depth], color="0.4", lw=1)
        side = {"ha": "right", "x": edge - 0.05} if left else {"ha": "left", "x": edge + 0.05}
        ax.text(y=depth, s=f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}", va="center", **side)
    values, end, level = ranks.to_numpy(), -1, -0.18
    for i, rank in enumerate(values):
        last = np.flatnonzero(values <= rank + width)[-1]
        if last > max(i, end):
            ax.hlines(level, rank - 0.03, values[last] + 0.03, color="black", lw=4)
            level, end = level - 0.16, last
    ax.set_title(f"mean rank over {n_sets} sets; critical difference {width:.2f} (Nemenyi, 5 %)", pad=16)
    ax.set_xlim(low - 1, high + 1)
    ax.axis("off")
