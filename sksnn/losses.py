"""Losses that skip missing labels and weight rows.

Each of them computes ``sum(weight * loss) / number of labels present``, or 0 if no label is present. A
missing label is NaN. Weights have mean 1 over the training rows, so the scale of the loss does not depend
on them. The classification losses take logits.
"""

import math
import operator
from numbers import Real

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Gamma",
    "Huber",
    "MaskedLoss",
    "OwnLoss",
    "Poisson",
    "Quantile",
    "REGRESSION_LOSSES",
    "SquaredError",
]

# With this threshold Huber's estimator is 95 % efficient for normally distributed residuals (Huber 1964). In
# units of the standardised target.
HUBER_THRESHOLD = 1.345


# ---------------------------------------------------------------- links


class IdentityLink:
    """Outputs are predictions, of a target that has been centred and scaled."""

    centres = True

    @staticmethod
    def inverse(outputs):
        """Return the predictions, an array, that outputs stand for."""
        return outputs

    @staticmethod
    def average(outputs, present=None):
        """Average the predictions of k networks, (k, n, n_outputs); return the outputs that stand for that.

        `present`, of shape (k, n), says which networks count for a row; None are all.
        """
        if present is None:
            return outputs.mean(0)
        return (outputs * present[..., None]).sum(0) / present.sum(0)[:, None]


class LogLink:
    """Outputs are logarithms of predictions, of a positive target that has been divided by its mean."""

    centres = False

    @staticmethod
    def inverse(outputs):
        """Return the exponential."""
        return np.exp(outputs)

    @staticmethod
    def average(outputs, present=None):
        """Return the logarithms of the mean predictions."""
        return log_mean_exp(outputs, present)


def log_mean_exp(logs, present=None, weights=None):
    """Return the logarithm of the mean over the first dimension of what logs, (k, n, n_outputs), stand for.

    It is finite where the mean overflows or rounds to 0. `present`, (k, n), says what counts; `weights`, k
    positive numbers, how much.
    """
    if present is None and weights is None:
        return logs.logsumexp(0) - math.log(len(logs))
    weights = torch.ones(len(logs)) if weights is None else weights
    own = torch.as_tensor(weights, dtype=logs.dtype, device=logs.device).log()[:, None]
    if present is not None:
        own = own.masked_fill(~present, -math.inf)
    return (logs + own[..., None]).logsumexp(0) - own.logsumexp(0)[:, None]


# ---------------------------------------------------------------- losses


class MaskedLoss(nn.Module):
    """Base class of the losses: it masks, weights and averages what `pointwise` and `slope` return.

    A loss whose outputs are not predictions sets `link`.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN. With False, y is not searched for NaN, which saves time.

    Notes
    -----
    Shapes: output (n, n_outputs); y (n,) or (n, n_outputs); weight (n,) for a 1-D y, (n, 1) or
    (n, n_outputs) for a 2-D y. The result is a scalar.

    Examples
    --------
    >>> output, y = torch.tensor([[1.0, 9.0], [3.0, 5.0]]), torch.tensor([[0.0, torch.nan], [3.0, 7.0]])
    >>> SquaredError(masked=True)(output, y)  # (1 + 0 + 4) / 3 / 2
    tensor(0.8333)
    """

    #: Names of the estimator's parameters that are arguments of the loss.
    arguments: tuple[str, ...] = ()
    #: What outputs stand for, and how the target is scaled.
    link: type[IdentityLink] | type[LogLink] = IdentityLink
    #: What the target must be, in words, and the comparison with 0 that says so; None is any number.
    domain: tuple | None = None

    def __init__(self, masked=False):
        super().__init__()
        self.masked = masked

    def pointwise(self, output, y):
        """Return the loss of each label, in the shape of y."""
        raise NotImplementedError

    def slope(self, output, y):
        """Return the derivative of each label's loss with respect to the output, in the shape of output."""
        raise NotImplementedError

    def n_labels(self, y, k=1):
        """Count the labels present.

        Parameters
        ----------
        y : Tensor
        k : int, default=1
            Number of networks; if there are several, y has them as its first dimension.

        Returns
        -------
        n : int or Tensor
            The labels of each network; a tensor, of shape () or (k,), where y is masked.
        """
        if not self.masked:
            return y.numel() // k
        return (~y.isnan()).sum() if k == 1 else (~y.isnan()).flatten(1).sum(1)

    def forward(self, output, y, weight=None):
        """Average the loss over the labels present."""
        if not self.masked:
            loss = self.pointwise(output, y)
            return loss.mean() if weight is None else (loss * weight).mean()
        missing = y.isnan()
        loss = self.pointwise(output, y.nan_to_num()).masked_fill(missing, 0)
        loss = loss if weight is None else loss * weight
        return loss.sum() / (~missing).sum().clamp(min=1)

    def with_gradient(self, output, y, weight=None):
        """Compute the mean loss and its gradient, which is that of autograd, in less time.

        Parameters
        ----------
        output, y : Tensor
        weight : Tensor, default=None
            The shapes are those of the class.

        Returns
        -------
        loss : Tensor of shape ()
        gradient : Tensor of shape (n, n_outputs)
            Gradient of the loss with respect to the output.

        Notes
        -----
        For k networks at once output, y and weight have a leading dimension more: losses are then of shape
        (k,), gradients of shape (k, n, n_outputs).

        Examples
        --------
        >>> SquaredError().with_gradient(torch.tensor([[1.0], [1.0]]), torch.tensor([3.0, 1.0]))
        (tensor(1.), tensor([[-1.],
                [ 0.]]))
        """
        if output.ndim == 3:
            return self._with_gradients(output, y, weight)
        loss, n_labels = self(output, y, weight), y.numel()
        slope = self.slope(output, y.nan_to_num() if self.masked else y)
        if self.masked:
            slope = slope.masked_fill_(self._columns(y).isnan(), 0)
            n_labels = self.n_labels(y).clamp(min=1)
        if weight is not None:
            slope = slope.mul_(self._columns(weight))
        return loss, slope.div_(n_labels)

    def _with_gradients(self, output, y, weight):
        """Do what `with_gradient` does for k networks at once."""
        k = len(output)
        flat = output.flatten(0, 1), y.nan_to_num().flatten(0, 1) if self.masked else y.flatten(0, 1)
        loss, slope, n_labels = self.pointwise(*flat), self.slope(*flat), y[0].numel()
        if self.masked:
            n_labels, missing = self.n_labels(y, k).clamp(min=1), y.isnan().flatten(0, 1)
            loss, slope = loss.masked_fill(missing, 0), slope.masked_fill_(self._columns(missing), 0)
        if weight is not None:
            weight = weight.flatten(0, 1)
            loss, slope = loss * weight, slope.mul_(self._columns(weight))
        slope = slope.view_as(output)
        return loss.view(k, -1).sum(1) / n_labels, slope.div_(
            n_labels[:, None, None] if self.masked else n_labels
        )

    @torch.no_grad()
    def best_constant(self, y, weight=None, n_outputs=None):
        """Find the constant prediction with the least loss.

        Parameters
        ----------
        y : Tensor of shape (n,) or (n, n_outputs)
            Every column must have a label.
        weight : Tensor, default=None
        n_outputs : int, default=None
            Needed only where a 1-D y has several outputs: classes, of which some may be absent, or quantiles.

        Returns
        -------
        constant : Tensor of shape (n_outputs,)

        Notes
        -----
        Found by bisection on the slope, which is monotone since the loss is convex.
        """
        low, high = (self._columns(y.nan_to_num(nan=sign * torch.inf)) for sign in (1, -1))
        low, high = low.amin(0), high.amax(0)
        if y.ndim == 1:
            low, high = low.expand(n_outputs or 1), high.expand(n_outputs or 1)
        for _ in range(50):
            middle = (low + high) / 2
            falls = self.with_gradient(middle.repeat(len(y), 1), y, weight)[1].sum(0) < 0
            low, high = torch.where(falls, middle, low), torch.where(falls, high, middle)
        return (low + high) / 2

    def constant_loss(self, y, weight=None, n_outputs=None):
        """Return the loss of the best constant prediction as a float."""
        constant = self.best_constant(y, weight, n_outputs)
        return self(constant.expand(len(y), -1), y, weight).item()

    @staticmethod
    def _columns(y):
        return y if y.ndim == 2 else y[:, None]

    def _weighted_mean(self, y, weight):
        """Average each column over the labels present."""
        y = self._columns(y)
        weight = (torch.ones_like(y) if weight is None else self._columns(weight)) * ~y.isnan()
        return (weight * y.nan_to_num()).sum(0) / weight.sum(0).clamp(min=torch.finfo(y.dtype).tiny)


class _SmoothedLoss(MaskedLoss):
    """Base class of the classification losses.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.
    label_smoothing : float, default=0.0
        Share of the target that is spread evenly over the classes; used in training mode only.
    """

    def __init__(self, masked=False, label_smoothing=0.0):
        super().__init__(masked)
        self.label_smoothing = self._smoothing = label_smoothing

    def train(self, mode=True):
        """Smooth labels in training mode only."""
        self._smoothing = self.label_smoothing if mode else 0.0
        return super().train(mode)


class CrossEntropy(_SmoothedLoss):
    """Softmax cross-entropy of one label per row out of n_outputs classes; y is int64 of shape (n,).

    Parameters
    ----------
    masked : bool, default=False
        Must be False: a 1-D y has no missing labels.
    label_smoothing : float, default=0.0
        Share of the target that is spread evenly over the classes; used in training mode only.

    Examples
    --------
    >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4
    tensor(1.3863)
    """

    def forward(self, output, y, weight=None):
        """Average the loss over the rows; without weights torch does it in one call."""
        if weight is None:
            return F.cross_entropy(output, y, label_smoothing=self._smoothing)
        return super().forward(output, y, weight)

    def pointwise(self, output, y):
        """Return the cross-entropy of each row, of shape (n,)."""
        return F.cross_entropy(output, y, reduction="none", label_smoothing=self._smoothing)

    def slope(self, output, y):
        """Return the probabilities minus the smoothed one-hot labels."""
        slope, smoothing = output.softmax(1), self._smoothing
        if smoothing:
            slope -= smoothing / output.shape[1]
        return slope.scatter_(1, y[:, None], smoothing - 1, reduce="add")

    def best_constant(self, y, weight=None, n_outputs=None):
        """Return the logarithms of the smoothed, weighted class frequencies, of shape (n_classes,)."""
        counts = torch.bincount(y, weight, minlength=n_outputs or 0).to(torch.get_default_dtype())
        p = counts / counts.sum()
        p = p * (1 - self._smoothing) + self._smoothing / len(p)
        return p.clamp(min=torch.finfo(p.dtype).tiny).log()


class BinaryCrossEntropy(_SmoothedLoss):
    """Sigmoid cross-entropy of n_outputs binary tasks; y has shape (n, n_outputs) and holds 0, 1 and NaN.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.
    label_smoothing : float, default=0.0
        Share of the target that is spread evenly over 0 and 1; used in training mode only.

    Examples
    --------
    >>> BinaryCrossEntropy(masked=True)(torch.zeros(1, 2), torch.tensor([[1.0, torch.nan]]))  # log 2
    tensor(0.6931)
    """

    def pointwise(self, output, y):
        """Return the cross-entropy of each label, of shape (n, n_outputs)."""
        return F.binary_cross_entropy_with_logits(output, self._smooth(y), reduction="none")

    def slope(self, output, y):
        """Return the probabilities of 1 minus the smoothed labels."""
        return output.sigmoid() - self._smooth(y)

    def best_constant(self, y, weight=None, n_outputs=None):
        """Return the log-odds of the smoothed, weighted frequencies of 1, of shape (n_outputs,)."""
        return self._weighted_mean(self._smooth(y), weight).logit(eps=1e-7)

    def _smooth(self, y):
        return y * (1 - self._smoothing) + self._smoothing / 2


class _RegressionLoss(MaskedLoss):
    def residual(self, output, y):
        """Return y - output in the shape of y."""
        return y - output.view_as(y)


class SquaredError(_RegressionLoss):
    """Half the squared error, as in scikit-learn; its slope is output - y.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.

    Examples
    --------
    >>> SquaredError()(torch.tensor([[1.0]]), torch.tensor([3.0]))
    tensor(2.)
    """

    def pointwise(self, output, y):
        """Return half the squared error of each label."""
        return self.residual(output, y).square() / 2

    def slope(self, output, y):
        """Return output - y."""
        return output - self._columns(y)

    def best_constant(self, y, weight=None, n_outputs=None):
        """Return the weighted mean of each column, of shape (n_outputs,)."""
        return self._weighted_mean(y, weight)


class AbsoluteError(_RegressionLoss):
    """The absolute error; the constant that minimises it is the median.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.

    Examples
    --------
    >>> AbsoluteError()(torch.tensor([[1.0]]), torch.tensor([3.0]))
    tensor(2.)
    """

    def pointwise(self, output, y):
        """Return the absolute error of each label."""
        return self.residual(output, y).abs()

    def slope(self, output, y):
        """Return the sign of output - y."""
        return (output - self._columns(y)).sign()


class Huber(_RegressionLoss):
    """Huber's loss: half the squared error up to a residual of 1.345, linear beyond.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.

    Examples
    --------
    >>> Huber()(torch.tensor([[0.0]]), torch.tensor([1.0]))
    tensor(0.5000)
    """

    def pointwise(self, output, y):
        """Return Huber's loss of each label."""
        return F.huber_loss(output.view_as(y), y, reduction="none", delta=HUBER_THRESHOLD)

    def slope(self, output, y):
        """Return output - y, clipped to plus and minus the threshold."""
        return (output - self._columns(y)).clamp(-HUBER_THRESHOLD, HUBER_THRESHOLD)


class Quantile(_RegressionLoss):
    """The pinball loss; the constant that minimises it is a quantile.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.
    quantile : float or array-like of float, default=0.5
        The quantile, in (0, 1); with 0.5 the loss is half the absolute error. Of several quantiles of a 1-D
        y, one for each output, the loss of a row is the mean.

    Examples
    --------
    >>> Quantile(quantile=0.9)(torch.tensor([[0.0]]), torch.tensor([1.0]))
    tensor(0.9000)
    >>> Quantile(quantile=[0.1, 0.9])(torch.tensor([[0.0, 0.0]]), torch.tensor([1.0]))  # (0.1 + 0.9) / 2
    tensor(0.5000)
    """

    arguments = ("quantile",)
    levels: torch.Tensor | None

    def __init__(self, masked=False, quantile=0.5):
        super().__init__(masked)
        self.quantile = quantile
        several = not isinstance(quantile, Real)
        self.register_buffer("levels", torch.tensor(quantile, dtype=torch.float32) if several else None)

    def pointwise(self, output, y):
        """Return the pinball loss of each label; of several quantiles the mean."""
        level = self.quantile if self.levels is None else self.levels
        residual = self._columns(y) - output
        loss = torch.maximum(level * residual, (level - 1) * residual)
        return loss.view_as(y) if self.levels is None else loss.mean(1)

    def slope(self, output, y):
        """Return 1 - quantile where the output is above y, else -quantile; of several, over their number."""
        above = (output > self._columns(y)).to(output.dtype)
        return above - self.quantile if self.levels is None else (above - self.levels) / len(self.levels)


class Poisson(_RegressionLoss):
    """The loss of counts: half their Poisson deviance, but for what does not depend on the output.

    The output is the logarithm of the predicted mean: a log link.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.

    Examples
    --------
    >>> Poisson()(torch.tensor([[0.0]]), torch.tensor([3.0]))  # exp(0) - 3 * 0
    tensor(1.)
    """

    link, domain = LogLink, ("at least 0", operator.ge)

    def pointwise(self, output, y):
        """Return exp(output) - y * output of each label."""
        output = output.view_as(y)
        return output.exp() - y * output

    def slope(self, output, y):
        """Return exp(output) - y."""
        return output.exp() - self._columns(y)

    def best_constant(self, y, weight=None, n_outputs=None):
        """Return the logarithm of the weighted mean of each column, of shape (n_outputs,)."""
        return _log_mean(self._weighted_mean(y, weight))


class Gamma(_RegressionLoss):
    """The loss of positive values whose deviation grows with their mean: half their gamma deviance.

    What does not depend on the output is left out. The output is the logarithm of the predicted mean: a log
    link.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.

    Examples
    --------
    >>> Gamma()(torch.tensor([[0.0]]), torch.tensor([3.0]))  # 0 + 3 * exp(-0)
    tensor(3.)
    """

    link, domain = LogLink, ("above 0", operator.gt)

    def pointwise(self, output, y):
        """Return output + y * exp(-output) of each label."""
        output = output.view_as(y)
        return output + y * output.neg().exp()

    def slope(self, output, y):
        """Return 1 - y * exp(-output)."""
        return 1 - self._columns(y) * output.neg().exp()

    def best_constant(self, y, weight=None, n_outputs=None):
        """Return the logarithm of the weighted mean of each column, of shape (n_outputs,)."""
        return _log_mean(self._weighted_mean(y, weight))


def _log_mean(mean):
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log()


class OwnLoss(MaskedLoss):
    """A loss that is a function of the user; its gradient is autograd's.

    Parameters
    ----------
    masked : bool, default=False
        Whether y may hold NaN.
    loss : callable
        ``(output, y) -> loss of each label``, of the shape of y, by operations of torch. For a 1-D y of class
        indices (int64) the output is (n, n_classes), else it has the shape of y, whose missing labels are 0.

    Examples
    --------
    >>> cubes = OwnLoss(masked=True, loss=lambda output, y: (output - y).abs() ** 3)
    >>> cubes(torch.tensor([[1.0, 9.0]]), torch.tensor([[3.0, torch.nan]]))
    tensor(8.)
    """

    arguments = ("loss",)

    def __init__(self, masked=False, *, loss):
        super().__init__(masked)
        if isinstance(loss, type):
            raise ValueError(
                f"loss must be a function or an instance; got the class {loss.__name__}. Give an instance: "
                f"{loss.__name__}(reduction='none') if it is one of torch's losses."
            )
        self.loss = loss

    def pointwise(self, output, y):
        """Return what the function returns, if it is one loss for each label."""
        output = output.view_as(y) if y.is_floating_point() else output
        loss = self.loss(output, y.clone())  # a batch may be a view of the rows, which must stay as they are
        if not torch.is_tensor(loss) or loss.shape != y.shape:
            got = f"shape {tuple(loss.shape)}" if torch.is_tensor(loss) else type(loss).__name__
            raise ValueError(
                f"loss must return one loss for each label, a tensor of shape {tuple(y.shape)}; got {got}. "
                "Leave out means and sums (reduction='none' in torch): fit weighs and averages the labels."
            )
        if output.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError(
                "loss must be computed from its first argument by operations of torch that have a gradient; "
                "it returned a tensor without one. Leave out detach, numpy, comparisons and rounding."
            )
        return loss

    def with_gradient(self, output, y, weight=None):
        """Compute the mean loss and its gradient; of k networks one by one, as if each were alone."""
        if output.ndim == 3:
            weights = [None] * len(output) if weight is None else weight
            found = [self.with_gradient(*parts) for parts in zip(output, y, weights, strict=True)]
            return tuple(map(torch.stack, zip(*found, strict=True)))
        with torch.enable_grad():
            output = output.detach().requires_grad_()
            loss = self(output, y, weight)
            (gradient,) = torch.autograd.grad(loss, output)
        return loss.detach(), gradient

    def constant_loss(self, y, weight=None, n_outputs=None):
        """Return infinity: what the best constant costs is not known."""
        return math.inf


#: Name -> loss of a regressor, the values of its parameter ``loss``.
#:
#: >>> REGRESSION_LOSSES["huber"]
#: <class 'sksnn.losses.Huber'>
REGRESSION_LOSSES = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "quantile": Quantile,
    "poisson": Poisson,
    "gamma": Gamma,
}
