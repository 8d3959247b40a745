"""scikit-learn's searches over parameters, with candidates that are trained together.

A search trains many small networks. Here those of equal layers and equally many rows take their steps in
one stack of batched products, whatever their learning rates, decays, seeds and folds. All else is
scikit-learn's own: splits, scores, results, refit.
"""

import pickle
import time
from collections import deque
from itertools import pairwise
from typing import Any, NamedTuple

import joblib
import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params
from tqdm import tqdm

from ._fit import BaseSNN
from ._together import Fit, fit_together

__all__ = ["SNNGridSearchCV", "SNNRandomizedSearchCV"]

# Fits that are handed to a worker at once, which also finish at once.
MOST_TOGETHER = 64

# Parameters that do not keep networks out of a stack.
FREE = ("lr", "weight_decay", "random_state")


# ---------------------------------------------------------------- one candidate on one fold


class Job(NamedTuple):
    """A candidate to be fitted to a fold."""

    place: int
    estimator: Any
    train: np.ndarray


class Outcome(NamedTuple):
    """What has become of a job: a fitted estimator, perhaps pickled, or an error; and its time in seconds."""

    fitted: Any
    error: Exception | None
    seconds: float


class PickUp:
    """Stands for `fit` of an estimator that has been fitted already."""

    def __init__(self, estimator, outcome):
        self.estimator, self.outcome = estimator, outcome

    def __call__(self, X, y=None, **params):
        """Make the estimator what it has been fitted to, or fail as that has."""
        if self.outcome.error is not None:
            raise self.outcome.error
        fitted = self.outcome.fitted
        if isinstance(fitted, bytes):
            fitted = pickle.loads(fitted)
        del self.estimator.fit  # what stands for it: this object
        vars(self.estimator).update(vars(fitted))
        return self.estimator


def last_step(estimator):
    """Return the SNN that an estimator is, or that its pipeline ends in; None if there is none."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    is_ours = isinstance(estimator, BaseSNN) and type(estimator).fit is BaseSNN.fit
    return estimator if is_ours else None


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


def fit_jobs(X, y, params, jobs, packs, advance=None):
    """Fit the estimators of several jobs together.

    Parameters
    ----------
    X, y : array-like
    params : dict
        Further arguments of `fit`, of all rows.
    jobs : list of Job
    packs : bool
        Whether estimators are returned as bytes, which travel from process to process.
    advance : callable, default=None
        Called with the number of fits that have been done since.

    Returns
    -------
    outcomes : dict of int to Outcome
        One for the place of each job.
    """
    start, fits, errors = time.perf_counter(), {}, {}
    folds = _Folds(X, y, params)
    for job in jobs:
        try:
            fits[job.place] = folds.fit_until_last(job)
        except Exception as error:
            errors[job.place] = error
    fit_together([*fits.values()], advance)
    errors.update({place: fit.error for place, fit in fits.items()})
    seconds = (time.perf_counter() - start) / len(jobs)
    return {
        job.place: Outcome(
            _packed(job.estimator) if packs and errors[job.place] is None else job.estimator,
            errors[job.place],
            seconds,
        )
        for job in jobs
    }


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
        """Fit the steps before the network."""
        rows, estimator = self.rows(job.train), job.estimator
        if not isinstance(estimator, Pipeline):
            X, y, params = rows
            return Fit(estimator, X, y, **params)
        key = job.train.tobytes(), steps_key(estimator)
        if key in self.stepped and key[1] is not None:
            fitted, seen = self.stepped[key]
            adopt_steps(estimator, fitted)
        else:
            seen = fit_until_last(estimator, *rows)
            self.stepped[key] = estimator, seen
        X, y, params = seen
        return Fit(last_step(estimator), X, y, **params)


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
    """Pickle an estimator, once for all processes; one with a lambda is left to joblib."""
    try:
        return pickle.dumps(estimator)
    except (pickle.PicklingError, AttributeError, TypeError):
        return estimator


# ---------------------------------------------------------------- all of them


def cut_into_parts(jobs, n_workers):
    """Cut jobs into parts whose networks may be stacked: of equal settings and numbers of rows."""
    kinds: dict = {}
    for job in jobs:
        snn = last_step(job.estimator)
        settings = {name: value for name, value in snn.get_params(deep=False).items() if name not in FREE}
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
        self.ready: deque[Outcome] = deque()
        self.seconds: list[float] = []
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
        jobs = []
        for parameters in candidates:
            for train, _ in splits:
                estimator = clone(self.estimator).set_params(**clone(parameters, safe=False))
                jobs.append(Job(len(jobs), estimator, np.asarray(train)))
        outcomes: dict[int, Outcome] = {}
        try:
            for done in self._run(search, jobs):
                outcomes.update(done)
        except KeyboardInterrupt:
            if search.error_score == "raise":
                raise
            self.is_interrupted = True
        missing = Outcome(None, RuntimeError("the search was interrupted before this fit was done"), 0.0)
        found = [outcomes.get(job.place, missing) for job in jobs]
        self.ready.extend(found)
        self.seconds += [outcome.seconds for outcome in found]

    def _run(self, search, jobs):
        """Yield the outcomes of some jobs after the other."""
        n_workers = effective_n_jobs(search.n_jobs)
        parts, fit_params = cut_into_parts(jobs, n_workers), self.routed.estimator.fit
        with tqdm(total=len(jobs), unit="fit", disable=not search.verbose) as bar:
            if n_workers == 1:
                for part in parts:
                    yield fit_jobs(self.X, self.y, fit_params, part, False, bar.update)
                return
            tasks = (delayed(fit_jobs)(self.X, self.y, fit_params, part, True) for part in parts)
            options = {"n_jobs": search.n_jobs, "pre_dispatch": getattr(search, "pre_dispatch", "2*n_jobs")}
            for done in Parallel(**options, return_as="generator_unordered")(tasks):
                bar.update(len(done))
                yield done


# ---------------------------------------------------------------- the searches


class _TrainedTogether:
    """What these searches change in scikit-learn's: who trains."""

    _run: Run | None = None  # while fit runs

    def fit(self, X, y=None, **params):
        """Fit the estimator with all candidates, and with the best of them to all rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        **params : dict
            For the estimator's `fit`, the scorer and the splitter, as in scikit-learn's search: arrays with
            a value for each row are split like X.

        Returns
        -------
        self : object
            The search, with scikit-learn's attributes.
        """
        if last_step(self.estimator) is None:
            return super().fit(X, y, **params)
        given, self._run = self.estimator, Run(self.estimator, X, y)
        self.estimator = self._run.clone()
        try:
            super().fit(X, y, **params)
        finally:
            self.estimator = given
            del self._run
        if self.refit:
            vars(self.best_estimator_).pop("__sklearn_clone__", None)
        return self

    def _get_routed_params_for_fit(self, params):
        routed = super()._get_routed_params_for_fit(params)
        if self._run is not None:
            self._run.routed = routed
        return routed

    def _run_search(self, evaluate_candidates, *, callback_ctx=None):
        """Let scikit-learn's search evaluate candidates that have been trained before."""
        run, context = self._run, {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        if run is None:
            return super()._run_search(evaluate_candidates, **context)

        def train_first(candidates, cv=None, more_results=None, **context):
            candidates = list(candidates)
            cv = cv or self._checked_cv_orig
            splits = list(cv.split(run.X, run.y, **run.routed.splitter.split))
            run.train(self, candidates, splits)
            try:
                results = evaluate_candidates(candidates, check_cv(splits), more_results, **context)
            except ValueError:  # all fits have failed
                if run.is_interrupted:
                    raise KeyboardInterrupt from None
                raise
            if run.is_interrupted:
                self.cv_results_ = results
                raise KeyboardInterrupt
            return results

        return super()._run_search(train_first, **context)

    def _format_results(self, candidate_params, n_splits, out, more_results=None):
        if self._run is not None:
            pairs = zip(out, self._run.seconds, strict=True)
            out = [{**each, "fit_time": seconds} for each, seconds in pairs]
        return super()._format_results(candidate_params, n_splits, out, more_results)

    def __getstate__(self):
        state = dict(super().__getstate__())
        run = state.pop("_run", None)
        if run is not None:  # scikit-learn sends the search to its workers
            state["estimator"] = run.estimator
        return state


class SNNGridSearchCV(_TrainedTogether, GridSearchCV):
    """scikit-learn's GridSearchCV, with candidates that are trained together."""


class SNNRandomizedSearchCV(_TrainedTogether, RandomizedSearchCV):
    """scikit-learn's RandomizedSearchCV, with candidates that are trained together."""
