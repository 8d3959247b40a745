"""Which rows each member is trained on, and which it watches."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from ._members import Member
from ._plan import stops_early
from ._rows import Table
from ._target import mean_weight


class Share(NamedTuple):
    """The rows of a member in the table, by their indices.

    Parameters
    ----------
    train : ndarray, default=None
        What it is trained on; None are all rows.
    valid : ndarray, default=None
        What it watches; None is nothing, or the validation rows that all watch.
    counts_weights : bool, default=True
        Whether the weights of rows count: not where they have decided which rows are drawn.
    """

    train: np.ndarray | None = None
    valid: np.ndarray | None = None
    counts_weights: bool = True


def split(parameters, table, target, valid, seed):
    """Split off validation rows, or draw each member's rows.

    Returns
    -------
    table, valid : Table
        Training rows; rows that all members watch, or None.
    shares : list of Share
        One for each member.
    """
    k, n_rows = parameters.n_estimators, len(table.y)
    holds_back = valid is None and stops_early(parameters, n_rows)
    if parameters.bootstrap:
        return table, valid, draw_bags(table, k, holds_back, seed)
    if not holds_back:
        return table, valid, [Share()] * k
    if k > 1:
        return table, None, draw_folds(table, target, k, parameters.validation_fraction, seed)
    n_valid = int(np.ceil(parameters.validation_fraction * n_rows))
    check_split(n_valid < n_rows, parameters.validation_fraction, n_rows)
    strata = target.strata(table.y, n_valid)
    parts = train_test_split(np.arange(n_rows), test_size=n_valid, stratify=strata, random_state=seed)
    return *table.split(*parts), [Share()]


def check_split(is_possible, validation_fraction, n_rows):
    """Refuse to hold back all rows."""
    if not is_possible:
        raise ValueError(
            f"validation_fraction={validation_fraction} of n_samples={n_rows} leaves no row to "
            "train on. Use early_stopping=False, a smaller fraction, or more rows."
        )


def draw_folds(table, target, k, validation_fraction, seed):
    """Let member i hold back fold i, so that all rows are learned from."""
    n_rows, n_folds = len(table.y), max(k, round(1 / validation_fraction))
    check_split(2 <= n_folds <= n_rows, validation_fraction, n_rows)
    strata = target.strata(table.y, n_rows // n_folds)
    stratified = strata is not None and np.bincount(strata)[np.unique(strata)].min() >= n_folds
    folds = (StratifiedKFold if stratified else KFold)(n_folds, shuffle=True, random_state=seed)
    parts = folds.split(np.zeros(n_rows), strata if stratified else None)
    return [Share(*part) for part, _ in zip(parts, range(k), strict=False)]


def draw_bags(table, k, holds_back, seed):
    """Draw rows with replacement, in proportion to their weights; the others may be watched."""
    rng, n_rows = np.random.default_rng(seed), len(table.y)
    share = None if table.weight is None else table.weight / table.weight.sum()
    drawn = [np.sort(rng.choice(n_rows, n_rows, p=share)) for _ in range(k)]
    counts = np.ones(n_rows, bool) if share is None else share > 0
    left = [np.flatnonzero(counts & ~np.isin(np.arange(n_rows), bag)) for bag in drawn]
    if holds_back and min(map(len, left)) == 0:
        raise ValueError(
            f"bootstrap=True has drawn all of n_samples={n_rows} for a member: none is left to watch. Use "
            "early_stopping=False, or more rows."
        )
    return [Share(bag, rest if holds_back else None, False) for bag, rest in zip(drawn, left, strict=True)]


def make_members(model, table, rows, valid_rows, shares, bests):
    """Give each network its rows, which share their inputs with those of the others.

    Parameters
    ----------
    model : Model
    table : Table
        Training rows, as `rows` before they were encoded.
    rows, valid_rows : list of Rows
        Of each network's encoder; None if there are no rows that all watch.
    shares : list of Share
    bests : list of BestEpoch or None

    Returns
    -------
    members : list of Member
    """
    members = []
    for j, (module, share, best) in enumerate(zip(model.members, shares, bests, strict=True)):
        valid = None if valid_rows is None else valid_rows[j]
        if share.valid is not None:
            valid = rows[j].take(share.valid, validation_weight(table, share, rows[j].y))
        own = rows[j] if share.train is None else rows[j].take(share.train, rows[j].weight)
        generators = model.generators[j]
        turns = len(shares) > 1 and not model.plan.is_named
        sources = generators.as_global if turns else nullcontext
        members.append(Member(module, own, valid, generators.shuffle, best, sources))
    return members


def validation_weight(table, share, like):
    """Return weights whose mean over a member's validation rows is 1: class weights do not count there."""
    if table.weight is None or not share.counts_weights:
        return None
    part = Table(table.X, table.y[share.valid], table.weight[share.valid])
    weight = torch.as_tensor(table.weight / (mean_weight(part) or 1.0), device=like.device)
    weight = weight.to(like.dtype if like.is_floating_point() else torch.float32)
    return weight if like.ndim == 1 else weight[:, None]
