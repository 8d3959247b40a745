"""Plots of what `_moments` measures and `theory` computes, with the interface of scikit-learn's displays."""

from typing import Any

import numpy as np

from ._moments import FixedPoint, check_estimator, layer_moments, moment_history
from .theory import ALPHA_01, LAMBDA_01, THEOREM_1_DOMAIN, fixed_point, moment_map


def axes_for(ax, n=1, **subplots):
    """Return a figure and n axes: those passed in, or new ones."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plotting needs matplotlib, which is not installed. Install it with pip install matplotlib."
        ) from error
    if ax is None:
        figure, axes = plt.subplots(n, 1, sharex=True, layout="constrained", **subplots)
        return figure, np.ravel(axes)
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise ValueError(
            f"ax must be {n} axes, one above the other; got {len(axes)}. Make them with subplots({n})."
        )
    return axes[0].figure, axes


DOMAIN_STYLE: dict[str, Any] = {"color": "tab:green", "alpha": 0.15, "linewidth": 0}
POINT_STYLE: dict[str, Any] = {"color": "tab:green", "linestyle": "--", "linewidth": 1}


def _mark_fixed_point(axes, point):
    """Draw the fixed point into the axes of means and variances; for (0, 1) also Theorem 1's domain."""
    for axis, name, value in zip(axes, ("mean", "variance"), point[:2], strict=True):
        if point == FixedPoint():
            axis.axhspan(*THEOREM_1_DOMAIN[name], label="domain of Theorem 1", **DOMAIN_STYLE)
        axis.axhline(value, label=f"fixed point: {value:g}", **POINT_STYLE)
    axes[1].set_yscale("log")


def _line_style(defaults, kwargs):
    """Return arguments for plot: the defaults, overridden by the user's, which may be aliases such as c."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(kwargs, Line2D)


def _count(axis):
    """Put ticks at whole numbers, unless the axis has a locator of its own."""
    from matplotlib.ticker import MaxNLocator

    locator = axis.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def _legend_above(axis):
    handles, labels = axis.get_legend_handles_labels()
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False, "fontsize": "small"}
    axis.legend(handles, labels, ncols=4, **place)


class LayerMomentsDisplay:
    """Plot of mean and variance by layer, with the network's fixed point, or (0, 1) if it has none.

    A line with dots shows the whole layer, a band the range of most of its units.

    Parameters
    ----------
    moments : NetworkMoments
        Result of `layer_moments`.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of 2 matplotlib Axes
        The upper axes show means, the lower ones variances on a logarithmic scale.
    lines_ : list of 2 matplotlib Line2D
        Mean and variance of the layers.
    bands_ : list of 2 matplotlib PolyCollection
        Range of the units from the 5th to the 95th percentile.

    Examples
    --------
    >>> import torch
    >>> from sksnn.networks import SNN
    >>> X = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    >>> display = LayerMomentsDisplay.from_estimator(SNN(20, 2, (64,) * 8), X)
    >>> display.lines_[1].get_ydata().shape
    (9,)
    """

    def __init__(self, moments):
        self.moments = moments

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None, **kwargs):
        """Measure the moments and plot them.

        Parameters
        ----------
        estimator : SNNClassifier, SNNRegressor or nn.Module
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Rows, as for `layer_moments`.
        ax : sequence of 2 matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : LayerMomentsDisplay
        """
        return cls(layer_moments(estimator, X)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Plot.

        Parameters
        ----------
        ax : sequence of 2 matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : LayerMomentsDisplay
        """
        self.figure_, self.axes_ = axes_for(ax, 2, figsize=(7, 5))
        _mark_fixed_point(self.axes_, self.moments.fixed_point or FixedPoint())
        layers = (self.moments.inputs, *self.moments.layers)
        style = {"color": "tab:blue", "marker": "o", "markersize": 4, "label": "layer"}
        style = _line_style(style, kwargs)
        self.lines_, self.bands_ = [], []
        pooled = (self.moments.mean, self.moments.variance)
        for axis, name, values in zip(self.axes_, ("mean", "variance"), pooled, strict=True):
            low, high = np.transpose([np.quantile(getattr(layer, name), [0.05, 0.95]) for layer in layers])
            band = {"alpha": 0.25, "color": style["color"], "linewidth": 0, "label": "90% of its units"}
            self.bands_.append(axis.fill_between(range(len(layers)), low, high, **band))
            self.lines_ += axis.plot(range(len(layers)), values, **style)
            axis.set_ylabel(name)
        self.axes_[1].set_xlabel("layer (0: inputs)")
        _count(self.axes_[1])
        _legend_above(self.axes_[0])
        return self


class MomentHistoryDisplay:
    """Plot of the mean and variance of each layer by epoch, from inputs (dark) to the last layer (light).

    Parameters
    ----------
    history : MomentHistory
        Result of `moment_history`.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of 2 matplotlib Axes
        The upper axes show means, the lower ones variances on a logarithmic scale.
    lines_ : list of lists of matplotlib Line2D
        For means and for variances, one line per layer.

    Examples
    --------
    >>> from sksnn.diagnostics import MomentHistory
    >>> history = MomentHistory(np.arange(1, 6), np.zeros((5, 3)), np.ones((5, 3)))
    >>> len(MomentHistoryDisplay(history).plot().lines_[0])
    3
    """

    def __init__(self, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Read what a `sksnn.callbacks.MomentRecorder` recorded, and draw it.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
            Estimator fitted with that callback.
        ax : sequence of 2 matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : MomentHistoryDisplay
        """
        return cls(moment_history(estimator)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Plot.

        Parameters
        ----------
        ax : sequence of 2 matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : MomentHistoryDisplay
        """
        self.figure_, self.axes_ = axes_for(ax, 2, figsize=(7, 5))
        from matplotlib import colormaps

        _mark_fixed_point(self.axes_, self.history.fixed_point)
        n_layers = self.history.mean.shape[1]
        colors = colormaps["viridis"](np.linspace(0, 0.95, n_layers))
        self.lines_ = []
        for axis, name in zip(self.axes_, ("mean", "variance"), strict=True):
            lines = []
            for layer, values in enumerate(getattr(self.history, name).T):
                label = "inputs" if layer == 0 else f"layer {layer}" if layer == n_layers - 1 else None
                style = _line_style({"color": colors[layer], "label": label}, kwargs)
                lines += axis.plot(self.history.epoch, values, **style)
            self.lines_.append(lines)
            axis.set_ylabel(name)
        self.axes_[1].set_xlabel("epoch")
        _legend_above(self.axes_[0])
        return self


class MomentMapDisplay:
    r"""Plot of how g changes mean and variance from one layer to the next: figure 2 of the paper.

    Parameters
    ----------
    omega, tau : float, default=0.0 and 1.0
        Sum of a unit's weights and of their squares.
    alpha, scale : float, default=ALPHA_01 and LAMBDA_01
        Alpha and lambda of SELU.
    path : array-like of shape (n_layers + 1, 2), default=None
        Means and variances of the layers of a network, to be drawn over the arrows.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    quiver_ : matplotlib Quiver
        Arrows from :math:`(\mu, \nu)` in the direction of :math:`g(\mu, \nu)`, all of the same length;
        their color shows the length of the step.
    domain_ : matplotlib Rectangle or None
        Theorem 1's domain; None for a SELU with other parameters than the theorem's.
    point_ : matplotlib Line2D or None
        The fixed point; None if moments do not converge to one.
    path_ : matplotlib Line2D or None
        Mean and variance of the network's layers.

    References
    ----------
    Klambauer et al. (2017), arXiv:1706.02515, figure 2.

    Examples
    --------
    >>> display = MomentMapDisplay().plot()
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('mean', 'variance')
    """

    def __init__(self, omega=0.0, tau=1.0, alpha=ALPHA_01, scale=LAMBDA_01, path=None):
        self.omega = omega
        self.tau = tau
        self.alpha = alpha
        self.scale = scale
        self.path = path

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None, **kwargs):
        """Plot the layers of a network over the arrows of its SELU, for weights of omega 0 and tau 1.

        Parameters
        ----------
        estimator : SNNClassifier, SNNRegressor or nn.Module
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Rows, as for `layer_moments`.
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the arrows.

        Returns
        -------
        display : MomentMapDisplay
        """
        moments = layer_moments(estimator, X)
        point = moments.fixed_point or FixedPoint()
        path = np.column_stack([moments.mean, moments.variance])
        return cls(alpha=point.alpha, scale=point.scale, path=path).plot(ax, **kwargs)

    def _fixed_point(self):
        """Return the fixed point, or None if moments do not converge to one: they vanish or explode."""
        try:
            return fixed_point(self.omega, self.tau, self.alpha, self.scale)
        except ValueError:
            return None

    def _is_of_theorem_1(self):
        return (self.alpha, self.scale) == (ALPHA_01, LAMBDA_01)

    def _grid(self, path, point):
        """Return a grid of means and variances that covers the path and a range around the fixed point."""
        center, around = (0.0, 1.0) if self._is_of_theorem_1() or point is None else point
        mean = center + np.sqrt(around) * np.array([-0.15, 0.15])
        variance = around * np.array([0.5, 1.8])
        if path is not None:
            path = path[np.isfinite(path).all(axis=1)]
            margin = 0.05 * np.ptp(path, axis=0) if len(path) else np.zeros(2)
            for span, values, room in zip((mean, variance), path.T, margin, strict=True):
                span[:] = min([span[0], *(values - room)]), max([span[1], *(values + room)])
        variance[0] = max(variance[0], min(0.05 * around, variance[1] / 50))  # g maps 0 to 0
        return np.meshgrid(np.linspace(mean[0], mean[1], 21), np.linspace(variance[0], variance[1], 19))

    def plot(self, ax=None, **kwargs):
        """Plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for the arrows.

        Returns
        -------
        display : MomentMapDisplay
        """
        path = None if self.path is None else np.asarray(self.path, float)
        if path is not None and (path.ndim != 2 or path.shape[1] != 2 or not len(path)):
            raise ValueError(
                "path must hold a mean and a variance for each layer, shape (n_layers + 1, 2); got shape "
                f"{path.shape}. None draws the flow alone."
            )
        self.figure_, (self.ax_,) = axes_for(ax, figsize=(6.5, 5))
        point = self._fixed_point()
        mean, variance = self._grid(path, point)
        self._draw_flow(mean, variance, kwargs)
        self._draw_points(path, point)
        self.ax_.set(xlabel="mean", ylabel="variance")
        _legend_above(self.ax_)
        return self

    def _draw_flow(self, mean, variance, kwargs):
        """Draw the arrows."""
        weights = self.omega, self.tau, self.alpha, self.scale
        new_mean, new_variance = moment_map(mean, variance, *weights)
        # The visible directions: steps in units of the ranges of the axes.
        u, v = (new_mean - mean) / np.ptp(mean), (new_variance - variance) / np.ptp(variance)
        length = np.maximum(np.hypot(u, v), 1e-12)
        step = np.hypot(new_mean - mean, new_variance - variance)
        style = {"angles": "uv", "pivot": "mid", "cmap": "viridis", "scale": 28, "width": 0.0035} | kwargs
        self.quiver_ = self.ax_.quiver(mean, variance, u / length, v / length, step, **style)
        self.figure_.colorbar(self.quiver_, ax=self.ax_, label="length of the step to the next layer")

    def _draw_points(self, path, point):
        """Draw Theorem 1's domain, the fixed point and the path."""
        from matplotlib.patches import Rectangle

        self.domain_ = self.point_ = self.path_ = None
        if self._is_of_theorem_1():
            (left, right), (low, high) = THEOREM_1_DOMAIN["mean"], THEOREM_1_DOMAIN["variance"]
            corner, label = (left, low), "domain of Theorem 1"
            domain = Rectangle(corner, right - left, high - low, label=label, **DOMAIN_STYLE)
            self.domain_ = self.ax_.add_patch(domain)
        if point is not None:
            style = {"marker": "*", "markersize": 14, "linestyle": "", "color": "tab:red", "zorder": 4}
            (self.point_,) = self.ax_.plot(*np.reshape(point, (2, 1)), label="fixed point", **style)
        if path is not None:
            style = {"marker": "o", "markersize": 4, "color": "black", "label": "layers (square: inputs)"}
            (self.path_,) = self.ax_.plot(*path.T, **style)
            self.ax_.plot(*path[:1].T, marker="s", color="black")


class TrainingCurveDisplay:
    """Plot of the training and validation loss by epoch, with the epoch whose weights are kept.

    Parameters
    ----------
    train_loss : array-like of shape (n_epochs,)
        Training loss of each epoch, with dropout.
    validation_loss : array-like of shape (n_epochs,), default=None
        Validation loss of each epoch; None if there were no validation rows.
    best_epoch : int, default=None
        The epoch whose weights are kept, counted from 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib Line2D
        The training loss and, if there is one, the validation loss.
    best_ : matplotlib Line2D or None
        The best epoch, if there is a validation loss.

    Examples
    --------
    >>> display = TrainingCurveDisplay([0.9, 0.5, 0.3], [0.9, 0.6, 0.7], best_epoch=2).plot()
    >>> display.ax_.get_yscale()
    'log'
    """

    def __init__(self, train_loss, validation_loss=None, best_epoch=None):
        self.train_loss = train_loss
        self.validation_loss = validation_loss
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, log_scale=True, **kwargs):
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        log_scale : bool, default=True
            Whether to use a logarithmic scale for the losses, if all are positive.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_estimator(estimator)
        display = cls(estimator.loss_curve_, estimator.validation_loss_curve_, estimator.best_epoch_)
        return display.plot(ax, log_scale=log_scale, **kwargs)

    def plot(self, ax=None, *, log_scale=True, **kwargs):
        """Plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        log_scale : bool, default=True
            Whether to use a logarithmic scale for the losses, if all are positive.
        **kwargs : dict
            Arguments for the lines.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        self.figure_, (self.ax_,) = axes_for(ax, figsize=(6.5, 4))
        curves = {"training": self.train_loss, "validation": self.validation_loss}
        curves = {name: np.asarray(values) for name, values in curves.items() if values is not None}
        n_epochs = len(curves["training"])
        self.lines_, self.best_ = [], None
        for name, values in curves.items():
            # With warm_start, early stopping may begin at a later epoch; both curves end at the same one.
            epochs = np.arange(n_epochs - len(values), n_epochs) + 1
            style = _line_style({"marker": "." if n_epochs < 30 else "", "label": name}, kwargs)
            self.lines_ += self.ax_.plot(epochs, values, **style)
        if self.best_epoch is not None and "validation" in curves:
            label = f"best epoch: {self.best_epoch}"
            self.best_ = self.ax_.axvline(self.best_epoch, color="gray", linestyle=":", label=label)
        if log_scale and all((values > 0).all() for values in curves.values()):
            self.ax_.set_yscale("log")
        _count(self.ax_)
        self.ax_.set(xlabel="epoch", ylabel="loss")
        self.ax_.legend(fontsize="small")
        return self
