"""scikit-learn's searches over parameters, with candidates that are trained together.

A search trains many small networks. Here those of equal layers and equally many rows take their steps in
one stack of batched products, whatever their learning rates, decays, seeds and folds. All else is
scikit-learn's own: splits, scores, results, refit.
"""

from contextlib import contextmanager
from inspect import getclosurevars
from math import floor, log
from os import PathLike
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import BaseSuccessiveHalving

from ._search import Run, last_step, path_to_last

__all__ = [
    "SNNGridSearchCV",
    "SNNHalvingGridSearchCV",
    "SNNHalvingRandomSearchCV",
    "SNNRandomizedSearchCV",
    "search_spaces",
]

#: Name -> parameters and the values to try. "small" (24 candidates) is the one to begin with; the others are
#: those of arXiv:1706.02515: "uci" (216, table A4), "tox21" (504, table A14) and "htru2" (180, section A4.4),
#: for plain gradient descent. For a pipeline the names need the step's prefix.
#:
#: >>> {f"snn__{name}": values for name, values in search_spaces["small"].items()}["snn__n_layers"]
#: [2, 4, 8]
search_spaces = {
    "small": {
        "n_layers": [2, 4, 8],
        "n_units": [128, 512],
        "dropout": [0.0, 0.05],
        "lr": [0.001, 0.0003],
    },
    "uci": {
        "optimizer": ["sgd"],
        "weight_decay": [0.0],
        "n_layers": [2, 3, 4, 8, 16, 32],
        "n_units": [256, 512, 1024],
        "layer_form": ["conic", "rectangular"],
        "dropout": [0.0, 0.05],
        "lr": [0.01, 0.1, 1.0],
    },
    "tox21": {
        "optimizer": ["sgd"],
        "weight_decay": [0.001, 0.0001, 0.00001],
        "n_layers": [2, 3, 4, 6, 8, 16, 32],
        "n_units": [1024, 2048],
        "layer_form": ["conic", "rectangular"],
        "dropout": [0.05, 0.1],
        "lr": [0.01, 0.05, 0.1],
    },
    "htru2": {
        "optimizer": ["sgd"],
        "weight_decay": [0.0],
        "n_layers": [2, 4, 8, 16, 32],
        "n_units": [256, 512, 1024],
        "layer_form": ["conic", "rectangular"],
        "dropout": [0.0, 0.05],
        "lr": [0.01, 0.1, 1.0],
    },
}

# The first round's share of the epochs: what the loss says sooner has little to do with the last. On three
# sets the rank correlation of epoch 7 of 60 with the last was .73 to .95.
FIRST_ROUND = 0.1

CHECKPOINTS = {"checkpoint_dir": [str, PathLike, None]}


class _TrainedTogether(BaseSearchCV):
    """What these searches change in scikit-learn's: who trains."""

    estimator: Any
    _run: Run | None = None  # while fit runs

    def fit(self, X, y=None, **params):
        """Fit the estimator with all candidates, and with the best of them to all rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            The rows, as the estimator takes them.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs), default=None
            The target; None for an estimator without one.
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
            if hasattr(self, "best_estimator_"):
                self.best_estimator_.__dict__.pop("__sklearn_clone__", None)
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
            with workers_released(evaluate_candidates) as parallel:
                run.train(self, candidates, splits)
                if run.is_interrupted:  # which has ended the workers: score in this process
                    parallel.n_jobs = 1
            try:
                run.results = evaluate_candidates(candidates, check_cv(splits), more_results, **context)
            except ValueError:  # all fits have failed
                if not run.is_interrupted:
                    raise
            if run.is_interrupted:
                if run.results is not None:
                    self.cv_results_ = run.results
                raise KeyboardInterrupt
            return run.results

        return super()._run_search(train_first, **context)

    def _format_results(self, candidate_params, n_splits, out, more_results=None):
        if self._run is not None:
            pairs = zip(out, self._run.seconds, strict=True)
            out = [{**each, "fit_time": seconds} for each, seconds in pairs]
        return super()._format_results(candidate_params, n_splits, out, more_results)

    def __getstate__(self):
        state = dict(super().__getstate__())
        if self._run is not None:  # scikit-learn sends the search to its workers
            del state["_run"]
            state["estimator"] = self._run.estimator
        return state


@contextmanager
def workers_released(evaluate_candidates):
    """Release scikit-learn's workers while the block runs: under `parallel_config` they would be ours."""
    parallel = getclosurevars(evaluate_candidates).nonlocals["parallel"]
    parallel.__exit__(None, None, None)
    try:
        yield parallel
    finally:
        parallel.__enter__()


class _EpochsHalved(_TrainedTogether, BaseSuccessiveHalving):
    """What halving over epochs adds: all rounds are parts of one training."""

    resource: str
    max_resources: int | str

    def fit(self, X, y=None, **params):
        """Fit candidates for few epochs, and the best of them for more.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_rows, n_features)
            The rows, as the estimator takes them.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs), default=None
            The target; None for an estimator without one.
        **params : dict
            For the estimator's `fit`, the scorer and the splitter, as in scikit-learn's search.

        Returns
        -------
        self : object
            The search, with scikit-learn's attributes.
        """
        snn, given = last_step(self.estimator), (self.resource, self.max_resources)
        if snn is not None and self.resource == "max_epochs":
            self.resource = path_to_last(self.estimator) + "max_epochs"
            if self.max_resources == "auto":
                self.max_resources = snn.max_epochs
        try:
            return super().fit(X, y, **params)
        finally:
            self.resource, self.max_resources = given

    def _check_input_parameters(self, **data):
        super()._check_input_parameters(**data)
        if self._run is not None and self.resource == path_to_last(self.estimator) + "max_epochs":
            self._run.resource = self.resource
            if isinstance(self.min_resources, str):
                self.min_resources_ = first_round(self.max_resources_, self.factor)

    def _last_round(self, n_candidates):
        """Return the resource of the last of the rounds that begin with so many candidates."""
        n_required = 1 + floor(log(n_candidates, self.factor))
        n_possible = 1 + floor(log(self.max_resources_ // self.min_resources_, self.factor))
        n_rounds = n_possible if self.aggressive_elimination else min(n_possible, n_required)
        return min(int(self.factor ** (n_rounds - 1) * self.min_resources_), self.max_resources_)


def first_round(n_epochs, factor):
    """Return the epochs of a first round: at least a share of the last, which has nearly `n_epochs`."""
    n_rounds = 1
    while n_epochs // factor**n_rounds >= max(1, n_epochs * FIRST_ROUND):
        n_rounds += 1
    return max(1, int(n_epochs // factor ** (n_rounds - 1)))


class SNNGridSearchCV(_TrainedTogether, GridSearchCV):
    """Search a grid as scikit-learn's GridSearchCV does, with candidates that are trained together.

    Networks of equal layers and equally many training rows are trained in one stack, whatever their
    learning rate, weight decay, seed and fold; the others take turns. Results are those of scikit-learn's
    search, to rounding.

    Parameters
    ----------
    estimator : estimator
        An SNNClassifier, an SNNRegressor, or a Pipeline that ends in one. Anything else is searched as
        scikit-learn does.
    param_grid : dict or list of dict
        Values to try for each parameter, also those of a pipeline's steps.
    scoring : str, callable, list, tuple or dict, default=None
        What candidates are scored by; None is the estimator's own score.
    n_jobs : int, default=None
        Number of workers, which are given stacks of networks to train.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted to all rows. With several scores: the name of the one that
        counts, or a function of `cv_results_` that returns an index.
    cv : int, splitter or iterable, default=None
        The folds, as in scikit-learn.
    verbose : int, default=0
        1 shows a bar of the fits that are left, more prints each score.
    pre_dispatch : int or str, default="2*n_jobs"
        How many tasks are sent to workers ahead of time.
    error_score : "raise" or number, default=np.nan
        The score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Whether training rows are scored, too.
    checkpoint_dir : str or path, default=None
        A folder for finished fits. A search that was interrupted, or killed, goes on from there when it is
        called again: fits of the same parameters, data and versions are read, not trained; those that
        failed are tried again. Other searches may share it; delete it when it is not needed any more.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_
        As scikit-learn's. ``mean_fit_time`` is the time of a stack, divided by its networks.

    Raises
    ------
    ValueError
        As scikit-learn's; if ``checkpoint_dir`` is given and something cannot be pickled, or is no folder.
    KeyboardInterrupt
        Ctrl-C while candidates are trained: those that are not done get `error_score`, `cv_results_` is
        set if any is done, and the interrupt goes on.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> snn = SNNClassifier(n_estimators=1, max_epochs=20, random_state=0)
    >>> search = SNNGridSearchCV(snn, {"lr": [0.001, 0.01], "dropout": [0.0, 0.05]}, cv=3)
    >>> search.fit(*load_iris(return_X_y=True)).predict([[5.0, 3.4, 1.5, 0.2]])
    array([0])
    """

    _parameter_constraints = {**GridSearchCV._parameter_constraints, **CHECKPOINTS}

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        return_train_score=False,
        checkpoint_dir=None,
    ):
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint_dir = checkpoint_dir


class SNNRandomizedSearchCV(_TrainedTogether, RandomizedSearchCV):
    """Search at random as scikit-learn's RandomizedSearchCV does, with candidates trained together.

    Networks of equal layers and equally many training rows are trained in one stack, whatever their
    learning rate, weight decay, seed and fold; the others take turns. Results are those of scikit-learn's
    search, to rounding.

    Parameters
    ----------
    estimator : estimator
        An SNNClassifier, an SNNRegressor, or a Pipeline that ends in one. Anything else is searched as
        scikit-learn does.
    param_distributions : dict or list of dict
        Values to draw from for each parameter: lists, or distributions with ``rvs``.
    n_iter : int, default=10
        Number of candidates.
    scoring : str, callable, list, tuple or dict, default=None
        What candidates are scored by; None is the estimator's own score.
    n_jobs : int, default=None
        Number of workers, which are given stacks of networks to train.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted to all rows. With several scores: the name of the one that
        counts, or a function of `cv_results_` that returns an index.
    cv : int, splitter or iterable, default=None
        The folds, as in scikit-learn.
    verbose : int, default=0
        1 shows a bar of the fits that are left, more prints each score.
    pre_dispatch : int or str, default="2*n_jobs"
        How many tasks are sent to workers ahead of time.
    random_state : int, RandomState instance or None, default=None
        Seed of the candidates.
    error_score : "raise" or number, default=np.nan
        The score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Whether training rows are scored, too.
    checkpoint_dir : str or path, default=None
        A folder for finished fits. A search that was interrupted, or killed, goes on from there when it is
        called again: fits of the same parameters, data and versions are read, not trained; those that
        failed are tried again. Other searches may share it; delete it when it is not needed any more.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_
        As scikit-learn's. ``mean_fit_time`` is the time of a stack, divided by its networks.

    Raises
    ------
    ValueError
        As scikit-learn's; if ``checkpoint_dir`` is given and something cannot be pickled, or is no folder.
    KeyboardInterrupt
        Ctrl-C while candidates are trained: those that are not done get `error_score`, `cv_results_` is
        set if any is done, and the interrupt goes on.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> snn = SNNClassifier(n_estimators=1, max_epochs=20, random_state=0)
    >>> search = SNNRandomizedSearchCV(snn, {"lr": [0.001, 0.003, 0.01]}, n_iter=2, cv=3, random_state=0)
    >>> search.fit(*load_iris(return_X_y=True)).predict([[5.0, 3.4, 1.5, 0.2]])
    array([0])
    """

    _parameter_constraints = {**RandomizedSearchCV._parameter_constraints, **CHECKPOINTS}

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        random_state=None,
        error_score=np.nan,
        return_train_score=False,
        checkpoint_dir=None,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint_dir = checkpoint_dir


class SNNHalvingGridSearchCV(_EpochsHalved, HalvingGridSearchCV):
    """Halve a grid as scikit-learn's HalvingGridSearchCV does, with candidates trained together.

    scikit-learn calls its searches by halving experimental: their interface may change.

    Networks of equal layers and equally many training rows are trained in one stack, whatever their
    learning rate, weight decay, seed and fold; the others take turns. Results are those of scikit-learn's
    search, to rounding.

    Parameters
    ----------
    estimator : estimator
        An SNNClassifier, an SNNRegressor, or a Pipeline that ends in one. Anything else is searched as
        scikit-learn does.
    param_grid : dict or list of dict
        Values to try for each parameter, also those of a pipeline's steps.
    factor : float, default=3
        A round goes on with one of so many candidates, for so many times the epochs.
    resource : str, default="max_epochs"
        What each round has more of than the one before. With the epochs of the network (also in a pipeline,
        whose prefix is added) all rounds are parts of one training: their learning rates follow one schedule
        over the epochs of the last round, and survivors go on where they were. So the last round has the
        scores of :class:`SNNGridSearchCV`. With any other resource, and with early stopping, each round
        trains anew.
    max_resources : int or "auto", default="auto"
        The resource of the last round; "auto" are the estimator's `max_epochs`, or all rows.
    min_resources : int, "exhaust" or "smallest", default="exhaust"
        The resource of the first round: a number, the least, or ("exhaust") so much that the last round has
        nearly `max_resources`. The least is a tenth of the epochs.
    aggressive_elimination : bool, default=False
        Whether rounds of the least resource are added where candidates are too many for it.
    cv : int, splitter or iterable, default=5
        The folds, as in scikit-learn.
    scoring : str, callable, list, tuple or dict, default=None
        What candidates are scored by; None is the estimator's own score.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted to all rows. With several scores: the name of the one that
        counts, or a function of `cv_results_` that returns an index.
    error_score : "raise" or number, default=np.nan
        The score of a candidate whose fit fails.
    return_train_score : bool, default=True
        Whether training rows are scored, too.
    random_state : int, RandomState instance or None, default=None
        Seed of the candidates.
    n_jobs : int, default=None
        Number of workers, which are given stacks of networks to train.
    verbose : int, default=0
        1 shows a bar of the fits that are left, more prints each score.
    checkpoint_dir : str or path, default=None
        A folder for finished fits. A search that was interrupted, or killed, goes on from there when it is
        called again: fits of the same parameters, data and versions are read, not trained; those that
        failed are tried again. Other searches may share it; delete it when it is not needed any more.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_
        As scikit-learn's. ``mean_fit_time`` is the time of a stack, divided by its networks.

    Raises
    ------
    ValueError
        As scikit-learn's; if ``checkpoint_dir`` is given and something cannot be pickled, or is no folder.
    KeyboardInterrupt
        Ctrl-C while candidates are trained: those that are not done get `error_score`, `cv_results_` is
        set if any is done, and the interrupt goes on.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> snn = SNNClassifier(n_estimators=1, max_epochs=20, random_state=0)
    >>> search = SNNHalvingGridSearchCV(snn, {"lr": [0.001, 0.003, 0.01], "dropout": [0.0, 0.05]}, cv=3)
    >>> search.fit(*load_iris(return_X_y=True)).predict([[5.0, 3.4, 1.5, 0.2]])
    array([0])
    """

    _parameter_constraints = {**HalvingGridSearchCV._parameter_constraints, **CHECKPOINTS}

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        factor=3,
        resource="max_epochs",
        max_resources="auto",
        min_resources="exhaust",
        aggressive_elimination=False,
        cv=5,
        scoring=None,
        refit=True,
        error_score=np.nan,
        return_train_score=True,
        random_state=None,
        n_jobs=None,
        verbose=0,
        checkpoint_dir=None,
    ):
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.checkpoint_dir = checkpoint_dir


class SNNHalvingRandomSearchCV(_EpochsHalved, HalvingRandomSearchCV):
    """Halve random candidates as scikit-learn's HalvingRandomSearchCV does, trained together.

    scikit-learn calls its searches by halving experimental: their interface may change.

    Networks of equal layers and equally many training rows are trained in one stack, whatever their
    learning rate, weight decay, seed and fold; the others take turns. Results are those of scikit-learn's
    search, to rounding.

    Parameters
    ----------
    estimator : estimator
        An SNNClassifier, an SNNRegressor, or a Pipeline that ends in one. Anything else is searched as
        scikit-learn does.
    param_distributions : dict or list of dict
        Values to draw from for each parameter: lists, or distributions with ``rvs``.
    n_candidates : int or "exhaust", default="exhaust"
        Number of candidates; "exhaust" are as many as use all resources.
    factor : float, default=3
        A round goes on with one of so many candidates, for so many times the epochs.
    resource : str, default="max_epochs"
        What each round has more of than the one before. With the epochs of the network (also in a pipeline,
        whose prefix is added) all rounds are parts of one training: their learning rates follow one schedule
        over the epochs of the last round, and survivors go on where they were. So the last round has the
        scores of :class:`SNNGridSearchCV`. With any other resource, and with early stopping, each round
        trains anew.
    max_resources : int or "auto", default="auto"
        The resource of the last round; "auto" are the estimator's `max_epochs`, or all rows.
    min_resources : int, "exhaust" or "smallest", default="smallest"
        The resource of the first round: a number, the least, or ("exhaust") so much that the last round has
        nearly `max_resources`. The least is a tenth of the epochs.
    aggressive_elimination : bool, default=False
        Whether rounds of the least resource are added where candidates are too many for it.
    cv : int, splitter or iterable, default=5
        The folds, as in scikit-learn.
    scoring : str, callable, list, tuple or dict, default=None
        What candidates are scored by; None is the estimator's own score.
    refit : bool, str or callable, default=True
        Whether the best candidate is fitted to all rows. With several scores: the name of the one that
        counts, or a function of `cv_results_` that returns an index.
    error_score : "raise" or number, default=np.nan
        The score of a candidate whose fit fails.
    return_train_score : bool, default=True
        Whether training rows are scored, too.
    random_state : int, RandomState instance or None, default=None
        Seed of the candidates.
    n_jobs : int, default=None
        Number of workers, which are given stacks of networks to train.
    verbose : int, default=0
        1 shows a bar of the fits that are left, more prints each score.
    checkpoint_dir : str or path, default=None
        A folder for finished fits. A search that was interrupted, or killed, goes on from there when it is
        called again: fits of the same parameters, data and versions are read, not trained; those that
        failed are tried again. Other searches may share it; delete it when it is not needed any more.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_
        As scikit-learn's. ``mean_fit_time`` is the time of a stack, divided by its networks.

    Raises
    ------
    ValueError
        As scikit-learn's; if ``checkpoint_dir`` is given and something cannot be pickled, or is no folder.
    KeyboardInterrupt
        Ctrl-C while candidates are trained: those that are not done get `error_score`, `cv_results_` is
        set if any is done, and the interrupt goes on.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> snn = SNNClassifier(n_estimators=1, max_epochs=20, random_state=0)
    >>> values = {"lr": [0.001, 0.003, 0.01]}
    >>> search = SNNHalvingRandomSearchCV(snn, values, n_candidates=3, cv=3, random_state=0)
    >>> search.fit(*load_iris(return_X_y=True)).predict([[5.0, 3.4, 1.5, 0.2]])
    array([0])
    """

    _parameter_constraints = {**HalvingRandomSearchCV._parameter_constraints, **CHECKPOINTS}

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_candidates="exhaust",
        factor=3,
        resource="max_epochs",
        max_resources="auto",
        min_resources="smallest",
        aggressive_elimination=False,
        cv=5,
        scoring=None,
        refit=True,
        error_score=np.nan,
        return_train_score=True,
        random_state=None,
        n_jobs=None,
        verbose=0,
        checkpoint_dir=None,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.checkpoint_dir = checkpoint_dir
