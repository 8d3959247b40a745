"""How sure the members of a classifier may be: the temperature of their probabilities."""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar

from ._shares import out_of_bag
from ._target import Classes

# The logarithm of the temperature is taken to have this deviation about 0 before any row is seen: few rows
# hardly move the temperature from 1, and no number of rows that are all right makes probabilities 0 or 1.
DEVIATION = 0.5

# Logits are made at most ten times larger, or smaller.
LARGEST = 10.0

# More rows tell no more about one number; of a large bootstrap, nearly all rows could be used.
MOST_ROWS = 10_000


def calibrate(model, table, shares):
    """Let the rows that members have not seen tell by which temperature their logits are divided.

    Parameters
    ----------
    model : Model
    table : Table
        The rows of the fit.
    shares : list of Share
        Those of them that each member was trained on.
    """
    target = model.target
    if not isinstance(target, Classes) or len(shares) == 1:
        return
    temperature, weight = 1.0, target.label_weight(table.y, table.weight)
    unseen = out_of_bag(shares, len(table.y)) & (True if weight is None else weight > 0)
    rows = np.flatnonzero(unseen.any(axis=0))
    rows = rows[:: len(rows) // MOST_ROWS + 1]
    if model.plan.calibrates and len(rows):
        with model.computing():
            outputs = model.member_outputs(table.X[rows]).double()
        weight = None if weight is None else weight[rows]
        temperature = find_temperature(target, outputs, table.y[rows], unseen[:, rows], weight)
    model.calibrate(temperature)


def find_temperature(target, outputs, y, present, weight=None):
    """Find the temperature at which mean probabilities have the least log-loss.

    Dividing logits by one number leaves the order of the classes as it is (temperature scaling; Guo et al.,
    2017, arXiv:1706.04599). The sum of the log-losses is minimised together with half the square of
    log(temperature) / DEVIATION: the temperature is the most probable one, if its logarithm was normally
    distributed before rows were seen.

    Few members count for a row, and the mean of all is less sure than theirs. So the temperature is lowered
    until the mean of all has the entropy that means of so few have, on these rows.

    Parameters
    ----------
    target : Classes
        Averages the probabilities of members.
    outputs : Tensor of shape (k, n_rows, n_classes)
        The logits of each member.
    y : ndarray of int of shape (n_rows,)
        The classes of the rows.
    present : ndarray of bool of shape (k, n_rows)
        Which members count for a row: those that were not trained on it.
    weight : ndarray of shape (n_rows,), default=None
        Weights of the rows, of which the ratios count.

    Returns
    -------
    temperature : float
        From 1 / LARGEST to LARGEST.
    """
    rows = np.arange(len(y))

    def log_proba(log_temperature, present):
        tried = replace(target, temperature=float(np.exp(log_temperature)))
        return tried.average(outputs, torch.from_numpy(present)).numpy()

    def loss(log_temperature):
        mean = np.average(log_proba(log_temperature, present)[rows, y], weights=weight)
        return -len(y) * mean + (log_temperature / DEVIATION) ** 2 / 2

    def entropy(log_temperature, present):
        each = log_proba(log_temperature, present)
        return -np.average((np.exp(each) * each).sum(axis=1), weights=weight)

    end = np.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-end, end), method="bounded").x
    # Each member in the place of each other, also of those that have seen a row.
    level = np.mean([entropy(found, np.roll(present, j, axis=0)) for j in range(len(present))])

    def excess(log_temperature):
        return entropy(log_temperature, np.ones_like(present)) - level

    if excess(found) > 0:
        found = -end if excess(-end) >= 0 else brentq(excess, -end, found, rtol=1e-4)
    return float(np.exp(found))
