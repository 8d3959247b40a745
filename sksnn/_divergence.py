"""What went wrong with a training: why a loss overflowed, whether anything was learned."""

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from ._warnings import warn_user
from .encodings import chunk_slices

# What a network sees has mean 0 and variance 1; beyond this it has an outlier, or was not standardised.
FAR = 1e3


class Diverged(ValueError):
    """The loss of a fit stopped being a number."""


def explain_divergence(error, best_epoch, plan, optimizer):
    """Name the likely cause: in an error, or in a warning if the weights of an epoch before are kept.

    Parameters
    ----------
    error : NonFiniteLoss
    best_epoch : int or None
        The epoch whose weights are kept, if there is one.
    plan : Plan
    optimizer : torch.optim.Optimizer
    """
    what = {"train": "training", "valid": "validation"}[error.phase]
    cause, remedy = find_cause(plan, error.member.rows, error.member.valid, optimizer)
    message = f"the {what} loss is not finite in epoch {error.epoch}: {cause}. "
    if best_epoch is None:
        raise Diverged(message + remedy) from error
    kept = f"The weights of epoch {best_epoch}, the best, are kept. "
    warn_user(message + kept + remedy, ConvergenceWarning)


def find_cause(plan, rows, valid, optimizer):
    """Say what is likely to have made a loss overflow, and what to do; the learning rate comes last."""
    weight = rows.weight
    if weight is not None and len(weight) > 1:
        share = (weight.max() / weight.sum()).item()
        if largest(weight) > FAR or share > 0.99:
            of_all = f", {share:.0%} of all weight" if np.isfinite(share) else ""
            return (
                f"one label has a weight of {largest(weight):.3g}{of_all}",
                "Bring sample_weight and class_weight to one magnitude, or clip them.",
            )
    suspects = [("X", rows.inputs, "standardize"), ("y", rows.y, "standardize_target")]
    if valid is not None:
        suspects += [("X_val", valid.inputs, "standardize"), ("y_val", valid.y, "standardize_target")]
    for name, values, parameter in suspects:
        if largest(values) > FAR:
            scaled = getattr(plan, parameter)
            how = "standardised by the training rows" if scaled else "not standardised"
            way_out = "Clip outliers" if scaled else f"Set {parameter}=True, clip outliers"
            return (
                f"{name}, {how}, holds values of {largest(values):.3g}, too far from 0 for a network",
                f"{way_out}, or take logarithms.",
            )
    decay = max(group.get("weight_decay", 0) for group in optimizer.param_groups)
    if plan.lr * decay >= 1:
        smaller = [f"lr (now {plan.lr})", f"weight_decay (now {plan.weight_decay})"]
        smaller = smaller if plan.lr > decay else smaller[::-1]
        return (
            f"training diverged, with weight_decay times lr at {plan.lr * decay:.3g}",
            f"Use a smaller {' or '.join(smaller)}: their product is what a step takes from the weights.",
        )
    return (
        "training diverged",
        f"Use a smaller lr (now {plan.lr}), max_grad_norm=1, or standardize=True.",
    )


def largest(values):
    """Return the largest magnitude in a tensor or in lazy rows; 0 for labels, missing ones too."""
    if torch.is_tensor(values) and not values.is_floating_point():
        return 0.0
    slices = chunk_slices(len(values), values[:1].numel())
    return max(values[s].abs().nan_to_num(nan=0.0, posinf=np.inf).max().item() for s in slices)


def warn_if_useless(loss, criterion, rows, n_outputs):
    """Warn when the final training loss is no better than that of the best constant prediction."""
    constant = criterion.train().constant_loss(rows.y, rows.weight, n_outputs)
    criterion.eval()
    if loss >= constant:
        warn_user(
            f"the final training loss {loss:.4g} is not below that of the best constant prediction, "
            f"{constant:.4g}: the network has learned nothing. Train longer (max_epochs), change lr, or "
            "use less dropout; or the target does not depend on X.",
            ConvergenceWarning,
        )
