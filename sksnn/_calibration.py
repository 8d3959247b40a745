"""What is learned from rows that members have not seen: how sure they may be, and what each weighs."""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import brentq, minimize

from ._shares import out_of_bag
from ._target import Classes

# The logarithm of the temperature is taken to have this deviation about 0 before any row is seen: few rows
# hardly move the temperature from 1, and no number of rows that are all right makes probabilities 0 or 1.
DEVIATION = 0.5

# The same for the logarithms of the factors of weights.
FACTOR_DEVIATION = 1.0

# Logits are made at most ten times larger, or smaller.
LARGEST = 10.0

# More rows tell no more about a few numbers; of a large bootstrap, nearly all rows could be used. Of many
# classes fewer rows are used, so that there are never more logits than this.
MOST_ROWS, MOST_LOGITS = 10_000, 4_000_000


def calibrate(model, table, shares):
    """Let the rows that members have not seen tell by which temperature logits are divided, and the weights.

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
    found, weight = (1.0, None), target.label_weight(table.y, table.weight)
    unseen = out_of_bag(shares, len(table.y)) & (True if weight is None else weight > 0)
    rows = np.flatnonzero(unseen.any(axis=0))
    most = max(1, min(MOST_ROWS, MOST_LOGITS // (len(shares) * target.n_outputs)))
    rows = rows[:: len(rows) // most + 1]
    if model.plan.calibrates and len(rows):
        with model.computing():
            # A copy: autograd takes no tensor that was made in inference mode.
            outputs = model.member_outputs(table.X[rows]).double().clone()
        weight = None if weight is None else weight[rows]
        found = find_calibration(target, outputs, table.y[rows], unseen[:, rows], weight, model.plan.traits)
    model.calibrate(*found)


def find_calibration(target, outputs, y, present, weight=None, traits=None):
    """Find the temperature, and the weights of members, at which mean probabilities have the least log-loss.

    Dividing logits by one number leaves the order of the classes as it is (temperature scaling; Guo et al.,
    2017, arXiv:1706.04599). If members are of several forms, the weight of a member is a product of factors,
    one for its code and one for its form, divided by the sum over all members. The sum of the log-losses is
    minimised together with half the squares of log(temperature) / DEVIATION and of log(factor) /
    FACTOR_DEVIATION: what is found is most probable, if these logarithms were normally distributed before
    rows were seen.

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
    traits : list of tuple, default=None
        Code and form of each member; None if they are alike.

    Returns
    -------
    temperature : float
        From 1 / LARGEST to LARGEST.
    member_weights : tuple of float or None
        Of each member; None for one form.
    """
    factors = factors_of(traits or [(None, None)] * len(outputs))
    rows, y, here = torch.arange(len(y)), torch.from_numpy(y), torch.from_numpy(present)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    weight = torch.from_numpy(weight / weight.mean())
    deviation = torch.tensor([DEVIATION] + [FACTOR_DEVIATION] * factors.shape[1], dtype=torch.double)

    def member_weights(found):
        return (factors @ found[1:]).softmax(0) if factors.shape[1] else None

    def log_proba(found, present):
        tried = replace(target, temperature=found[0].exp(), member_weights=member_weights(found))
        return tried.average(outputs, present)

    def loss(values):
        with torch.enable_grad():  # whatever the caller told torch
            values = torch.tensor(values, requires_grad=True)
            total = -weight @ log_proba(values * deviation, here)[rows, y] + values.square().sum() / 2
            return total.item(), torch.autograd.grad(total, values)[0].numpy()

    end = np.log(LARGEST)
    bounds = [(-end / DEVIATION, end / DEVIATION)] + [(None, None)] * factors.shape[1]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    best = torch.from_numpy(found) * deviation

    def entropy(log_temperature, present):
        each = log_proba(torch.cat([torch.tensor([log_temperature], dtype=torch.double), best[1:]]), present)
        return -float(weight @ (each.exp() * each).sum(1)) / len(y)

    # Each member in the place of each other, also of those that have seen a row.
    level = np.mean([entropy(best[0], here.roll(j, 0)) for j in range(len(here))])

    def excess(log_temperature):
        return entropy(log_temperature, torch.ones_like(here)) - level

    lowest = float(best[0])
    if excess(lowest) > 0:
        lowest = -end if excess(-end) >= 0 else brentq(excess, -end, lowest, rtol=1e-4)
    weights = member_weights(best)
    return float(np.exp(lowest)), None if weights is None else tuple(weights.tolist())


def factors_of(traits):
    """Say which factors each member's weight has: 0 or 1 for each code and each form, (k, n_factors).

    There are none for members of one form: what codes are to weigh was measured to be too uncertain there.
    """
    codes, forms = zip(*traits, strict=True)
    if len(set(forms)) == 1:
        return torch.zeros(len(traits), 0, dtype=torch.double)
    has = [[each == value for each in own] for own in (codes, forms) for value in dict.fromkeys(own)]
    return torch.tensor(has, dtype=torch.double).T
