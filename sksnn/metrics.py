"""Scores that skip missing labels, per task or averaged, and scorers made from them.

A task is a column of `y_true`. By default labels that are NaN or -1 are missing; for regression, where -1 is
a value, only NaN. A task is skipped if its score cannot be computed, because it has no label or has one class
only where two are needed. Its score is then NaN, and it is left out of the average. The average is NaN if no
task is left. Scorers are callables ``(estimator, X, y)`` for `GridSearchCV`, `cross_val_score` and the like.
"""

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, r2_score, roc_auc_score
from sklearn.utils import check_array, check_consistent_length, column_or_1d

__all__ = [
    "masked_accuracy_score",
    "masked_accuracy_scorer",
    "masked_average_precision_score",
    "masked_average_precision_scorer",
    "masked_log_loss",
    "masked_neg_log_loss_scorer",
    "masked_r2_score",
    "masked_r2_scorer",
    "masked_roc_auc_score",
    "masked_roc_auc_scorer",
]

LABELS_MISSING = (np.nan, -1)


def is_missing(y, missing_label):
    """Mark the missing entries of an array.

    Parameters
    ----------
    y : ndarray of float
    missing_label : float or tuple of float
        One or more values; NaN matches NaN.

    Returns
    -------
    missing : ndarray of bool
        Array of the shape of y.

    Examples
    --------
    >>> is_missing(np.array([0.0, -1.0, np.nan]), (np.nan, -1))
    array([False,  True,  True])
    """
    missing = np.zeros(y.shape, bool)
    for label in np.atleast_1d(np.asarray(missing_label, float)):
        missing |= np.isnan(y) if np.isnan(label) else y == label
    return missing


def _columns(values, name):
    """Turn an array, frame or list into a float64 array with one column per task."""
    values = check_array(
        values, dtype=np.float64, ensure_all_finite="allow-nan", ensure_2d=False, input_name=name
    )
    return values[:, None] if values.ndim == 1 else values


def _check_binary(y_true, missing):
    strange = np.setdiff1d(y_true[~missing], (0, 1))
    if len(strange):
        raise ValueError(
            f"y_true must hold 0, 1 and missing_label; got {strange[0]:g}. Encode each task as 0 and 1."
        )


def _has_both_classes(truth):
    return len(np.unique(truth)) == 2


def _score_tasks(score, y_true, y_pred, sample_weight, average, missing_label, computable, binary=True):
    """Compute the score of each task from its labels that are present, where that is possible."""
    if average not in ("macro", None):
        raise ValueError(f"average must be 'macro' or None; got {average!r}.")
    one_task = np.ndim(y_true) == 1
    y_true, y_pred = _columns(y_true, "y_true"), _columns(y_pred, "y_pred")
    if y_true.shape[1] == 1 and y_pred.shape[1] == 2:
        y_pred = y_pred[:, 1:]  # predict_proba of a 1-D binary classifier: one column per class
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"y_true and the predictions must have the same shape, one column a task; "
            f"got {y_true.shape} and {y_pred.shape}."
        )
    missing = is_missing(y_true, missing_label)
    if one_task and set(np.unique(y_true)) == {-1.0, 1.0} and missing.any():
        raise ValueError(
            "y_true holds -1 and 1, and -1 marks a missing label. Encode the classes as 0 and 1, or give "
            "several tasks as a 2-D y_true."
        )
    if binary:
        _check_binary(y_true, missing)
    weight = np.ones(len(y_true)) if sample_weight is None else column_or_1d(sample_weight)
    check_consistent_length(y_true, weight)
    if not np.all(weight >= 0):
        raise ValueError(f"sample_weight must be non-negative numbers; got {weight[~(weight >= 0)][0]}.")
    scores = np.full(y_true.shape[1], np.nan)
    for task, present in enumerate((~missing & (weight > 0)[:, None]).T):
        if computable(y_true[present, task]):
            scores[task] = score(y_true[present, task], y_pred[present, task], sample_weight=weight[present])
    if average is None:
        return scores
    return float(np.mean(scores[~np.isnan(scores)])) if not np.isnan(scores).all() else float("nan")


def _binary_log_loss(y_true, y_prob, sample_weight):
    return log_loss(y_true, y_prob, sample_weight=sample_weight, labels=[0, 1])


def _has_two_values(truth):
    return len(truth) > 1


def masked_roc_auc_score(
    y_true, y_score, *, sample_weight=None, average="macro", missing_label=LABELS_MISSING
):
    """Compute the area under the ROC curve from the labels present.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels 0 and 1, or missing.
    y_score : array-like of the same shape
        Scores, higher for 1: probabilities or logits.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; rows of weight 0 count as missing.
    average : "macro" or None, default="macro"
        "macro": the mean over the tasks; None: one score per task.
    missing_label : float or tuple of float, default=(nan, -1)
        Value or values that mark a missing label.

    Returns
    -------
    score : float, or ndarray of shape (n_tasks,)
        NaN for a task without both classes.

    Examples
    --------
    >>> y = [[0, 1], [1, np.nan], [1, 0]]
    >>> masked_roc_auc_score(y, [[0.1, 0.8], [0.7, 0.5], [0.9, 0.4]])
    1.0
    """
    return _score_tasks(
        roc_auc_score, y_true, y_score, sample_weight, average, missing_label, _has_both_classes
    )


def masked_average_precision_score(
    y_true, y_score, *, sample_weight=None, average="macro", missing_label=LABELS_MISSING
):
    """Compute the average precision from the labels present.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels 0 and 1, or missing.
    y_score : array-like of the same shape
        Scores, higher for 1: probabilities or logits.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; rows of weight 0 count as missing.
    average : "macro" or None, default="macro"
        "macro": the mean over the tasks; None: one score per task.
    missing_label : float or tuple of float, default=(nan, -1)
        Value or values that mark a missing label.

    Returns
    -------
    score : float, or ndarray of shape (n_tasks,)
        NaN for a task without both classes.

    Examples
    --------
    >>> y = [[0, 1], [1, np.nan], [1, 0]]
    >>> masked_average_precision_score(y, [[0.1, 0.8], [0.7, 0.5], [0.9, 0.4]])
    1.0
    """
    return _score_tasks(
        average_precision_score, y_true, y_score, sample_weight, average, missing_label, _has_both_classes
    )


def masked_accuracy_score(
    y_true, y_pred, *, sample_weight=None, average="macro", missing_label=LABELS_MISSING
):
    """Compute the share of the labels present that are predicted correctly.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels 0 and 1, or missing.
    y_pred : array-like of the same shape
        Predicted labels 0 and 1.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; rows of weight 0 count as missing.
    average : "macro" or None, default="macro"
        "macro": the mean over the tasks; None: one score per task.
    missing_label : float or tuple of float, default=(nan, -1)
        Value or values that mark a missing label.

    Returns
    -------
    score : float, or ndarray of shape (n_tasks,)
        NaN for a task without any label.

    Examples
    --------
    >>> y = [[0, 1], [1, np.nan], [1, 0]]
    >>> masked_accuracy_score(y, [[0, 1], [0, 1], [1, 0]])
    0.8333333333333333
    """
    return _score_tasks(accuracy_score, y_true, y_pred, sample_weight, average, missing_label, len)


def masked_log_loss(y_true, y_prob, *, sample_weight=None, average="macro", missing_label=LABELS_MISSING):
    """Compute the mean negative log-likelihood of the labels present.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels 0 and 1, or missing.
    y_prob : array-like of the same shape
        Probabilities of 1.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; rows of weight 0 count as missing.
    average : "macro" or None, default="macro"
        "macro": the mean over the tasks; None: one score per task.
    missing_label : float or tuple of float, default=(nan, -1)
        Value or values that mark a missing label.

    Returns
    -------
    score : float, or ndarray of shape (n_tasks,)
        NaN for a task without any label.

    Examples
    --------
    >>> y = [[0, 1], [1, np.nan], [1, 0]]
    >>> masked_log_loss(y, [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    0.6931471805599453
    """
    return _score_tasks(_binary_log_loss, y_true, y_prob, sample_weight, average, missing_label, len)


def masked_r2_score(y_true, y_pred, *, sample_weight=None, average="macro", missing_label=np.nan):
    """Compute the coefficient of determination from the values present.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Values, or missing.
    y_pred : array-like of the same shape
        Predicted values.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; rows of weight 0 count as missing.
    average : "macro" or None, default="macro"
        "macro": the mean over the tasks; None: one score per task.
    missing_label : float or tuple of float, default=nan: -1 is a value
        Value or values that mark a missing label.

    Returns
    -------
    score : float, or ndarray of shape (n_tasks,)
        NaN for a task with fewer than two values.

    Examples
    --------
    >>> y = [[0.0, 1], [1, np.nan], [2, 3]]
    >>> masked_r2_score(y, [[0, 1], [1, 2], [2, 3]])
    1.0
    """
    return _score_tasks(
        r2_score, y_true, y_pred, sample_weight, average, missing_label, _has_two_values, binary=False
    )


def _probabilities(estimator, X):
    """Return P(y=1) of each task, also for estimators that return one (n, 2) array per task."""
    proba = estimator.predict_proba(X)
    if isinstance(proba, list):
        # Column 1 is not P(y=1) if fit saw one class only, or -1 as a third class.
        pairs = zip(proba, estimator.classes_, strict=True)
        proba = np.column_stack([p[:, classes == 1].sum(axis=1) for p, classes in pairs])
    return proba


def _decision(estimator, X):
    return (
        estimator.decision_function(X)
        if hasattr(estimator, "decision_function")
        else _probabilities(estimator, X)
    )


def masked_roc_auc_scorer(estimator, X, y, sample_weight=None):
    """Score an estimator by `masked_roc_auc_score`: higher is better.

    Parameters
    ----------
    estimator : object
        Fitted estimator with decision_function or predict_proba.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels; NaN and -1 mark missing ones.
    sample_weight : array-like of shape (n_rows,), default=None

    Returns
    -------
    score : float
        Mean over the tasks that have a score.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]
    >>> masked_roc_auc_scorer(LogisticRegression().fit(X, y), X, y)
    1.0
    """
    return masked_roc_auc_score(y, _decision(estimator, X), sample_weight=sample_weight)


def masked_average_precision_scorer(estimator, X, y, sample_weight=None):
    """Score an estimator by `masked_average_precision_score`: higher is better.

    Parameters
    ----------
    estimator : object
        Fitted estimator with decision_function or predict_proba.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels; NaN and -1 mark missing ones.
    sample_weight : array-like of shape (n_rows,), default=None

    Returns
    -------
    score : float
        Mean over the tasks that have a score.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]
    >>> masked_average_precision_scorer(LogisticRegression().fit(X, y), X, y)
    1.0
    """
    return masked_average_precision_score(y, _decision(estimator, X), sample_weight=sample_weight)


def masked_accuracy_scorer(estimator, X, y, sample_weight=None):
    """Score an estimator by `masked_accuracy_score`: higher is better.

    Parameters
    ----------
    estimator : object
        Fitted estimator with predict.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels; NaN and -1 mark missing ones.
    sample_weight : array-like of shape (n_rows,), default=None

    Returns
    -------
    score : float
        Mean over the tasks that have a score.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]
    >>> masked_accuracy_scorer(LogisticRegression().fit(X, y), X, y)
    1.0
    """
    return masked_accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)


def masked_neg_log_loss_scorer(estimator, X, y, sample_weight=None):
    """Score an estimator by minus `masked_log_loss`: higher is better.

    Parameters
    ----------
    estimator : object
        Fitted estimator with predict_proba.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Labels; NaN and -1 mark missing ones.
    sample_weight : array-like of shape (n_rows,), default=None

    Returns
    -------
    score : float
        Mean over the tasks that have a score.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]
    >>> masked_neg_log_loss_scorer(LogisticRegression().fit(X, y), X, y)
    -0.227...
    """
    return -masked_log_loss(y, _probabilities(estimator, X), sample_weight=sample_weight)


def masked_r2_scorer(estimator, X, y, sample_weight=None):
    """Score an estimator by `masked_r2_score`: higher is better.

    Parameters
    ----------
    estimator : object
        Fitted estimator with predict.
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,) or (n_rows, n_tasks)
        Values; NaN marks missing ones.
    sample_weight : array-like of shape (n_rows,), default=None

    Returns
    -------
    score : float
        Mean over the tasks that have a score.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> X, y = np.arange(6.0)[:, None], np.arange(6.0)
    >>> masked_r2_scorer(LinearRegression().fit(X, y), X, y)
    1.0
    """
    return masked_r2_score(y, estimator.predict(X), sample_weight=sample_weight)
