"""The fits of a search over parameters: trained together, then handed out to scikit-learn in its order."""

import pickle
import time
from collections import deque
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params
from tqdm import tqdm

from ._checkpoints import Checkpoints, dumps, read, write
from ._fit import BaseSNN
from ._together import Fit, fit_together

# Fits that are handed to a worker at once.
MOST_TOGETHER = 64

# The bar of a search, which moves by parts of fits.
BAR = "{l_bar}{bar}| {n:.0f}/{total} fits [{elapsed}<{remaining}]"

# Parameters that do not keep networks out of a stack.
FREE = ("lr", "weight_decay", "random_state")


# ---------------------------------------------------------------- one candidate on one fold


class Job(NamedTuple):
    """A candidate to be fitted to a fold.

    Parameters
    ----------
    place : int
        Among all jobs.
    estimator : estimator
        It has been fitted if it is to go on.
    train : ndarray
        The training rows.
    horizon : int or None
        The epochs that the schedule of the learning rate is for; None is the estimator's `max_epochs`.
    file : Path or None
        Where the outcome is kept.
    """

    place: int
    estimator: Any
    train: np.ndarray
    horizon: int | None
    file: Path | None


class Outcome(NamedTuple):
    """What has become of a job: a fitted estimator, perhaps pickled, or an error; its time in seconds."""

    fitted: Any
    error: Exception | None
    seconds: float
    may_go_on: bool = False

    def estimator(self):
        """Return the fitted estimator."""
        return pickle.loads(self.fitted) if isinstance(self.fitted, bytes) else self.fitted

    def __reduce__(self):
        return Outcome, (self.fitted, portable(self.error), self.seconds, self.may_go_on)


def portable(error):
    """Return an error that other processes can load: itself, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class PickUp:
    """Stands for `fit` of an estimator that has been fitted already."""

    def __init__(self, estimator, outcome):
        self.estimator, self.outcome = estimator, outcome

    def __call__(self, X, y=None, **params):
        """Make the estimator what it has been fitted to, or fail as that has."""
        if self.outcome.error is not None:
            raise self.outcome.error
        del self.estimator.fit  # what stands for it: this object
        vars(self.estimator).update(vars(self.outcome.estimator()))
        return self.estimator


def last_step(estimator):
    """Return the SNN that an estimator is, or that its pipeline ends in; None if there is none."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    is_ours = isinstance(estimator, BaseSNN) and type(estimator).fit is BaseSNN.fit
    return estimator if is_ours else None


def path_to_last(estimator):
    """Return what stands before the names of the SNN's parameters in a pipeline."""
    path = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        path += name + "__"
    return path


def fit_until_last(estimator, X, y, params):
    """Fit the steps before the SNN; return what its own `fit` is then called with."""
    snn, seen = last_step(estimator), []

    def fit(X, y=None, **params):
        seen.append((X, y, params))
        return snn

    snn.fit = fit
    try:
        estimator.fit(X, y, **params)
    finally:
        del snn.fit
    return seen[0]


def adopt_steps(estimator, fitted):
    """Take the fitted steps of another pipeline."""
    while isinstance(estimator, Pipeline):
        estimator.steps = [*fitted.steps[:-1], estimator.steps[-1]]
        estimator, fitted = estimator.steps[-1][1], fitted.steps[-1][1]


def fit_jobs(X, y, params, jobs, packs=True, advance=None, outcomes=None):
    """Fit the estimators of several jobs together.

    Parameters
    ----------
    X, y : array-like
    params : dict
        Further arguments of `fit`, of all rows.
    jobs : list of Job
    packs : bool, default=True
        Whether estimators are returned as bytes, which travel from process to process.
    advance : callable, default=None
        Called with the number of fits that have been done since.
    outcomes : dict, default=None
        Where outcomes are put as they come.

    Returns
    -------
    outcomes : dict of int to Outcome
        One for the place of each job.
    """
    folds, fits, outcomes = _Folds(X, y, params), {}, {} if outcomes is None else outcomes

    def keep(job, error, seconds, may_go_on=False):
        fitted = _packed(job.estimator) if error is None and (packs or job.file) else job.estimator
        outcomes[job.place] = Outcome(fitted, error, seconds, may_go_on)
        if job.file is not None and error is None:
            write(job.file, outcomes[job.place])

    for job in jobs:
        start = time.perf_counter()
        try:
            fit = folds.fit_until_last(job)
        except Exception as error:
            keep(job, error, time.perf_counter() - start)
            continue
        seconds = time.perf_counter() - start
        if fit is None:
            keep(job, None, seconds)
        else:
            fits[fit], fit.seconds = job, seconds
    fit_together([*fits], advance, lambda fit: keep(fits[fit], fit.error, fit.seconds, fit.may_go_on))
    return outcomes


class _Folds:
    """The rows of folds, and what the steps before the network make of them, each computed once."""

    def __init__(self, *data):
        self.data, self.cut, self.stepped = data, {}, {}

    def rows(self, train):
        """Return X, y and the other arguments of `fit` for the rows of a fold."""
        key = train.tobytes()
        if key not in self.cut:
            X, y, params = self.data
            own = _check_method_params(X, params=params, indices=train)
            self.cut[key] = _safe_indexing(X, train), None if y is None else _safe_indexing(y, train), own
        return self.cut[key]

    def fit_until_last(self, job):
        """Fit the steps before the network; all of an estimator that ends in none of ours."""
        rows, estimator = self.rows(job.train), job.estimator
        if last_step(estimator) is None:
            X, y, params = rows
            estimator.fit(X, y, **params)
            return None
        if not isinstance(estimator, Pipeline):
            X, y, params = rows
            return Fit(estimator, X, y, horizon=job.horizon, **params)
        key = job.train.tobytes(), steps_key(estimator)
        if key in self.stepped and key[1] is not None:
            fitted, seen = self.stepped[key]
            adopt_steps(estimator, fitted)
        else:
            seen = fit_until_last(estimator, *rows)
            self.stepped[key] = estimator, seen
        X, y, params = seen
        return Fit(last_step(estimator), X, y, horizon=job.horizon, **params)


def steps_key(estimator):
    """Return what tells the steps before the network apart; None if they cannot be compared."""
    steps = []
    while isinstance(estimator, Pipeline):
        steps += estimator.steps[:-1]
        estimator = estimator.steps[-1][1]
    try:
        return joblib.hash(steps)
    except Exception:  # what pickle cannot take: a lambda
        return None


def _packed(estimator):
    """Pickle an estimator, once for all processes; one that cannot be pickled stays in this one."""
    try:
        return dumps(estimator)
    except Exception:
        return estimator


# ---------------------------------------------------------------- all of them


def cut_into_parts(jobs, n_workers):
    """Cut jobs into parts whose networks may be stacked: of equal settings and numbers of rows."""
    kinds: dict = {}
    for job in jobs:
        estimator = last_step(job.estimator) or job.estimator
        settings = {
            name: value for name, value in estimator.get_params(deep=False).items() if name not in FREE
        }
        kinds.setdefault((len(job.train), repr(settings)), []).append(job)
    parts = []
    for alike in kinds.values():
        n_parts = max(-(-len(alike) // MOST_TOGETHER), min(len(alike), -(-n_workers // len(kinds))))
        bounds = np.linspace(0, len(alike), n_parts + 1).astype(int)
        parts += [alike[i:j] for i, j in pairwise(bounds)]
    return parts


class Run:
    """The fits of a search, which trains them and hands them out to scikit-learn.

    scikit-learn clones the search's estimator once for each candidate and each fold, in this order, and
    fits the clone. The clones that it gets from here have been fitted before.

    Parameters
    ----------
    estimator : estimator
        The search's.
    X, y : array-like
    """

    def __init__(self, estimator, X, y):
        self.estimator = estimator
        self.X, self.y = indexable(X, y)
        self.routed: Any = None  # arguments of fit, split and score
        self.resource: str | None = None  # the parameter that rounds of halving raise
        self.horizon: int | None = None  # its value in the last round
        self.ready: deque[Outcome] = deque()
        self.seconds: list[float] = []
        self.going: dict[tuple, Outcome] = {}  # fits of the round before that may go on
        self.results: dict | None = None  # cv_results_ up to now
        self.is_interrupted = False

    def clone(self):
        """Clone the estimator: one that has been fitted, if any is ready."""
        estimator = clone(self.estimator)
        if self.ready:
            estimator.fit = PickUp(estimator, self.ready.popleft())
        else:
            estimator.__sklearn_clone__ = self.clone
        return estimator

    def train(self, search, candidates, splits):
        """Fit each candidate to the training rows of each split, and have them ready."""
        jobs: list[Job] = []
        if self.resource is not None and self.horizon is None:
            self.horizon = search._last_round(len(candidates))
        kept = self._checkpoints(search.checkpoint_dir)
        pairs = [*product(candidates, range(len(splits)))]
        for parameters, i in pairs:
            begun, (train, _) = self.going.get(self._key(parameters, i)), splits[i]
            estimator = clone(self.estimator) if begun is None else begun.estimator()
            estimator.set_params(**clone(parameters, safe=False))
            file = None if kept is None else kept.path(parameters, train, self.horizon)
            jobs.append(Job(len(jobs), estimator, np.asarray(train), self.horizon, file))
        found = {job.place: read(job.file) for job in jobs if job.file is not None}
        outcomes: dict[int, Outcome] = {place: outcome for place, outcome in found.items() if outcome}
        try:
            self._fit(search, [job for job in jobs if job.place not in outcomes], outcomes)
        except KeyboardInterrupt:
            if search.error_score == "raise":
                raise
            self.is_interrupted = True
        missing = Outcome(None, RuntimeError("the search was interrupted before this fit was done"), 0.0)
        ordered = [outcomes.get(job.place, missing) for job in jobs]
        self.going = {
            self._key(*pair): outcome
            for pair, outcome in zip(pairs, ordered, strict=True)
            if outcome.may_go_on
        }
        self.ready.extend(ordered)
        self.seconds += [outcome.seconds for outcome in ordered]

    def _checkpoints(self, folder):
        """Open the folder of finished fits, if there is one."""
        if folder is None:
            return None
        return Checkpoints(folder, self.estimator, self.X, self.y, self.routed.estimator.fit)

    def _key(self, parameters, split):
        """Name a candidate on a split; a search hands on the values of a candidate as they are."""
        values = sorted((name, id(value)) for name, value in parameters.items() if name != self.resource)
        return *values, split

    def _fit(self, search, jobs, outcomes):
        """Fit jobs, in this process or by workers; put their outcomes beside the others."""
        n_workers = joblib.effective_n_jobs(search.n_jobs)
        parts, fit_params = cut_into_parts(jobs, n_workers), self.routed.estimator.fit
        with tqdm(total=len(jobs), bar_format=BAR, disable=not search.verbose) as bar:
            if n_workers == 1:
                for part in parts:
                    fit_jobs(self.X, self.y, fit_params, part, False, bar.update, outcomes)
                return
            tasks = (delayed(fit_jobs)(self.X, self.y, fit_params, part) for part in parts)
            options = {"n_jobs": search.n_jobs, "pre_dispatch": getattr(search, "pre_dispatch", "2*n_jobs")}
            backend, _ = joblib.parallel.get_active_backend()  # Ray's returns all at once
            return_as = "generator_unordered" if backend.supports_return_generator else "list"
            for done in Parallel(**options, return_as=return_as)(tasks):
                outcomes.update(done)
                bar.update(len(done))
