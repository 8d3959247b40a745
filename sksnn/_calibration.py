"""How sure the members of a classifier may be: the temperature of their probabilities."""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from ._shares import counted, out_of_bag
from ._target import Classes

# The logarithm of the temperature is taken to have this deviation about 0 before any row is seen: few rows
# hardly move the temperature from 1, and no number of rows that are all right makes probabilities 0 or 1.
DEVIATION = 0.5

# Logits are made at most ten times larger, or smaller.
LARGEST = 10.0


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
    unseen = out_of_bag(shares, len(table.y)) & counted(table) & (True if weight is None else weight > 0)
    rows = np.flatnonzero(unseen.any(axis=0))
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
    present, rows = torch.from_numpy(present), np.arange(len(y))

    def objective(log_temperature):
        tried = replace(target, temperature=float(np.exp(log_temperature)))
        log_proba = tried.average(outputs, present).numpy()[rows, y]
        return -len(y) * np.average(log_proba, weights=weight) + (log_temperature / DEVIATION) ** 2 / 2

    end = np.log(LARGEST)
    return float(np.exp(minimize_scalar(objective, bounds=(-end, end), method="bounded").x))
