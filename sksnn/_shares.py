"""Which rows each member is trained on, and which it watches."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from ._members import Member
from ._plan import calibrates, stops_early
from ._rows import Table
from ._target import Classes, mean_weight

# What a member holds back to calibrate at most, if all hold back other rows: more than are needed for one
# number cost accuracy.
ROWS_TO_CALIBRATE = 64


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


def split(parameters, table, target, valid, folds, seed):
    """Split off validation rows, or draw the rows of each member.

    `folds` numbers the folds that members hold back, if they do: one for each member.

    Returns
    -------
    table, valid : Table
        Training rows; rows that all members watch, or None.
    shares : list of Share
        One for each member.
    """
    n_rows, k, fraction = len(table.y), len(folds), parameters.validation_fraction
    n_counted = int(counted(table).sum()) if parameters.bootstrap or k > 1 else n_rows
    if n_counted == 0:
        return table, valid, [Share()] * k  # the target refuses such rows, and says why
    holds_back = valid is None and stops_early(parameters, target, n_counted, k)
    is_calibrated = calibrates(parameters, target, n_counted, k)
    if parameters.bootstrap:
        shares = draw_bags(table, k, holds_back, seed)
        if parameters.oob_score and not (out_of_bag(shares, n_rows).any(axis=0) & counted(table)).any():
            raise ValueError(
                f"oob_score=True, but each of n_estimators={k} members has drawn all of the "
                f"n_samples={n_rows} that have weight and a label. Give more rows, or more members."
            )
        return table, valid, shares
    if is_calibrated or (holds_back and k > 1):
        most_rows = np.inf if holds_back else ROWS_TO_CALIBRATE * k / len(set(folds))
        shares = draw_folds(table, target, folds, fraction, seed, most_rows)
        return table, valid, shares if holds_back else [share._replace(valid=None) for share in shares]
    if not holds_back:
        return table, valid, [Share()] * k
    n_valid = int(np.ceil(fraction * n_rows))
    if n_valid >= n_rows:
        raise ValueError(
            f"validation_fraction={fraction} of n_samples={n_rows} leaves no row to "
            "train on. Use early_stopping=False, a smaller fraction, or more rows."
        )
    strata = target.strata(table.y, n_valid)
    parts = train_test_split(np.arange(n_rows), test_size=n_valid, stratify=strata, random_state=seed)
    return *table.split(*parts), [Share()]


def counted(table):
    """Say which rows have weight and a label: losses and draws are about those."""
    labelled = ~np.isnan(table.y.reshape(len(table.y), -1)).all(axis=1)
    return labelled if table.weight is None else labelled & (table.weight > 0)


def draw_folds(table, target, folds, validation_fraction, seed, most_rows=np.inf):
    """Let members hold back folds of the rows that count, so that all rows are learned from.

    Since all are looked at together, each holds back half of `validation_fraction`, or about `most_rows` if
    that is less, and they hold back half of the rows at most. Members with equal numbers in `folds` hold back
    the same fold, others another one. Each class is dealt out evenly; if there are fewer rows than folds,
    some hold back the same one.
    """
    k, n_held = len(folds), len(set(folds))
    rows, rng = np.flatnonzero(counted(table)), np.random.default_rng(seed)
    n_folds = min(max(2 * k, round(2 / validation_fraction), int(len(rows) / most_rows)), len(rows))
    if n_folds < 2:
        raise ValueError(
            f"n_estimators={k} with early_stopping or calibrate needs at least 2 rows with weight and a "
            f"label, of which members hold some back; got {len(rows)}. Give more, or early_stopping=False."
        )
    order = rng.permutation(rows)
    if isinstance(target, Classes):
        order = order[np.argsort(table.y[order], kind="stable")]
    fold = np.full(len(table.y), -1)
    fold[order] = np.arange(len(rows)) % n_folds
    # The rows of a rare class are in folds one after the other: members watch every second fold.
    held = np.array(folds) * (n_folds // n_held or 1) % n_folds
    return [Share(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in held]


def draw_bags(table, k, holds_back, seed):
    """Draw rows with replacement, in proportion to their weights; the others may be watched.

    As many are drawn as have weight and a label: the others are as if absent.
    """
    rng, n_rows, counts = np.random.default_rng(seed), len(table.y), counted(table)
    p = None
    if table.weight is not None or not counts.all():
        p = counts * (1.0 if table.weight is None else table.weight)
        p = p / p.sum()
    bags = [np.sort(rng.choice(n_rows, counts.sum(), p=p)) for _ in range(k)]
    shares = [Share(bag, None, counts_weights=False) for bag in bags]
    if not holds_back:
        return shares
    left = [np.flatnonzero(own & counts) for own in out_of_bag(shares, n_rows)]
    if min(map(len, left)) == 0:
        raise ValueError(
            f"bootstrap=True has drawn, for a member, all of the n_samples={n_rows} that have weight and a "
            "label: none is left to watch. Use early_stopping=False, or give more rows."
        )
    return [share._replace(valid=rest) for share, rest in zip(shares, left, strict=True)]


def out_of_bag(shares, n_rows):
    """Say which rows a member is not trained on: an array of shape (k, n_rows)."""
    seen = [np.arange(n_rows) if share.train is None else share.train for share in shares]
    return np.array([~np.isin(np.arange(n_rows), rows) for rows in seen])


def make_members(model, criterion, table, rows, valid_rows, shares, best):
    """Give each network its rows, which share their inputs with those of the others.

    Parameters
    ----------
    model : Model
    criterion : MaskedLoss
    table : Table
        Training rows, as `rows` before they were encoded.
    rows, valid_rows : list of Rows
        The rows as each network's encoder encodes them; None if there are none that all watch.
    shares : list of Share
    best : BestEpoch or None

    Returns
    -------
    members : list of Member
    """
    members = []
    for j, (module, share) in enumerate(zip(model.members, shares, strict=True)):
        valid = None if valid_rows is None else valid_rows[j]
        if share.valid is not None:
            valid = rows[j].take(share.valid, validation_weight(table, share, rows[j].y))
        own = rows[j] if share.train is None else rows[j].take(share.train, rows[j].weight)
        generators = model.generators[j]
        turns = len(shares) > 1 and not model.plan.is_named
        sources = generators.as_global if turns else nullcontext
        members.append(Member(module, criterion, own, valid, generators.shuffle, best, sources))
    return members


def validation_weight(table, share, like):
    """Return weights whose mean over a member's validation rows is 1: class weights do not count there."""
    if table.weight is None or not share.counts_weights:
        return None
    part = Table(table.X, table.y[share.valid], table.weight[share.valid])
    weight = torch.as_tensor(table.weight / (mean_weight(part) or 1.0), device=like.device)
    weight = weight.to(like.dtype if like.is_floating_point() else torch.float32)
    return weight if like.ndim == 1 else weight[:, None]
