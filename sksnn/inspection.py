"""Say how much each column of X contributes to what a fitted estimator predicts."""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from . import _device
from ._displays import axes_for
from ._forward import Forward, forward_rows
from ._moments import check_estimator
from ._rows import encode_chunks
from ._target import Classes, Values
from .encodings import ColumnEncoder, chunk_slices
from .losses import LogLink
from .networks import SNN, double_copy

__all__ = [
    "Attributions",
    "AttributionsDisplay",
    "as_sequential",
    "attributions",
    "network_inputs",
    "sum_by_column",
]


class Attributions(NamedTuple):
    """Result of `attributions`.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features) or (n_rows, n_features, n_outputs)
        Contribution of each column to each row's output.
    base_values : float or ndarray of shape (n_outputs,)
        Output of the baseline: what the contributions of a row are added to.
    feature_names : ndarray of shape (n_features,)
        Names of the columns: those of X in `fit`, or "x0", "x1", ...

    Examples
    --------
    >>> Attributions(np.array([[1.0, -2.0]]), 3.0, np.array(["x0", "x1"])).outputs
    array([2.])
    """

    values: np.ndarray
    base_values: np.ndarray | float
    feature_names: np.ndarray

    @property
    def outputs(self):
        """The outputs that are explained: base values and contributions of all columns added up."""
        return self.base_values + self.values.sum(axis=1)


def attributions(estimator, X, target=None, baseline=None, n_steps=128):
    """Split the difference between the output of a row and that of a baseline among the columns.

    Integrated gradients (Sundararajan et al., 2017): the gradient by each input of the network, averaged
    along the straight line from the baseline to the row, times the way along that input. The line is
    drawn in the inputs of the networks, and the inputs made of one column, codes included, are added
    up. A gradient by the column itself would miss its indicators, which are steps.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        A fitted estimator, of any architecture that torch can differentiate.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows.
    target : label or int, default=None
        Which output to explain: a class, or the number of a task, of a column of y, or of a quantile. None:
        all of them; of two classes the second.
    baseline : array-like or sparse matrix of shape (n_baselines, n_features), default=None
        Raw rows to compare with; attributions are averaged over them, and the time is in proportion to their
        number. None: all inputs of the networks are 0, which is their mean over the training rows (with
        ``standardize=False`` columns are 0 and codes have their mean).
    n_steps : int, default=128
        Number of points on the line (Gauss-Legendre quadrature). More are more exact: the slope of SELU
        jumps at 0, so the error falls only in proportion to `n_steps`.

    Returns
    -------
    attributions : Attributions
        The contributions of a row and the base value add up to `decision_function` of a classifier, and to
        `predict` of a regressor, or its logarithm with "poisson" and "gamma", but for the error of the
        quadrature. With several members the mean prediction is explained, not that of a single one.

    Raises
    ------
    TypeError, NotFittedError
        If there is no such estimator, or it is not fitted.
    ValueError
        If X or the baseline cannot be used, or there is no such target.

    See Also
    --------
    as_sequential : One member's network for SHAP and captum.

    Notes
    -----
    This is about the predictions of single rows. How much a column matters for the score is what
    ``sklearn.inspection.permutation_importance`` measures.

    References
    ----------
    Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, 2017, arXiv:1703.01365.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SNNClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> found = attributions(clf, X, target=2)
    >>> found.values.shape
    (150, 4)
    >>> bool(np.allclose(found.outputs, clf.decision_function(X)[:, 2], atol=0.1))
    True
    """
    check_estimator(estimator)
    _check_count(n_steps, "n_steps", "Use 128, or more to be more exact.")
    model = estimator._model
    matrix, shift = _choose(estimator, target)
    with model.computing(), torch.enable_grad():
        X = model.columns.read(estimator, X, reset=False)
        ends = _Ends(model)
        if baseline is None:
            starts = [ends.zeros()]
        else:
            rows = model.columns.read(estimator, baseline, reset=False)
            starts = [ends(rows[i : i + 1]) for i in range(rows.shape[0])]
        path = _Path(model, estimator.n_features_in_, torch.from_numpy(matrix), n_steps)
        slices = chunk_slices(X.shape[0], 1, forward_rows(model.width, model.device))
        with _device.threads_for(slices[0].stop * model.work):
            parts = [np.mean([path(start, ends(X[s])) for start in starts], axis=0) for s in slices]
            base = np.mean([path.outputs(start).detach().cpu()[0] for start in starts], axis=0) + shift
    values, base = np.concatenate(parts).astype(np.float64), base.astype(np.float64)
    alone = target is not None or not model.target.has_columns and matrix.shape[1] == 1
    names = getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(estimator.n_features_in_)])
    if alone:
        return Attributions(values[..., 0], float(base[0]), np.asarray(names))
    return Attributions(values, base, np.asarray(names))


def _decision(target):
    """Return the matrix and the shift that make decision_function, or predict, of the outputs."""
    if isinstance(target, Values):
        mean, deviation = (np.full(target.n_outputs, v) for v in (target.mean, target.deviation))
        if target.link is LogLink:
            return np.eye(target.n_outputs), np.log(deviation)
        return np.diag(deviation), mean
    if isinstance(target, Classes) and target.n_outputs == 2:
        return np.array([[-1.0], [1.0]]), np.zeros(1)
    return np.eye(target.n_outputs), np.zeros(target.n_outputs)


def _choose(estimator, target):
    """Return matrix and shift of `_decision` for one target, or for all."""
    matrix, shift = _decision(estimator._model.target)
    if target is None:
        return matrix, shift
    known = getattr(estimator, "classes_", np.arange(estimator.n_outputs_))
    found = [] if np.ndim(target) else [i for i, label in enumerate(known) if label == target]
    if not found:
        raise ValueError(
            f"target must be one of {known.tolist()}; got {target!r}. Leave it out to explain all outputs."
        )
    if matrix.shape[1] < len(known):  # of two classes, the first is against the second
        return matrix * (2 * found[0] - 1), shift
    return matrix[:, found], shift[found]


def _columns(encoder):
    """Return the column of X that each input of the network is made of."""
    parts: Any = encoder.parts.values() if isinstance(encoder, ColumnEncoder) else [encoder]
    return torch.cat([torch.arange(p.n_inputs) if p.column is None else p.column for p in parts])


def _add_up(values, columns, n_features):
    """Add up what belongs to inputs, (n_rows, n_inputs, ...), by column."""
    total = values.new_zeros(len(values), n_features, *values.shape[2:])
    return total.index_add_(1, columns.to(values.device), values)


class _Ends:
    """Raw rows as inputs of each different encoder, in the dtype in which networks predict."""

    def __init__(self, model):
        self.encoders, self.device = list(dict.fromkeys(model.encoders)), model.device
        self.dtype = model.networks_for(np.float64)[0][1]

    def __call__(self, X):
        return [encode_chunks(X, encoder, self.device, self.dtype) for encoder in self.encoders]

    def zeros(self):
        place = {"device": self.device, "dtype": self.dtype}
        return [torch.zeros(1, encoder.n_inputs, **place) for encoder in self.encoders]


class _Path:
    """Integrate gradients along straight lines in the inputs of all networks."""

    def __init__(self, model, n_features, matrix, n_steps):
        self.model, self.encoders = model, list(dict.fromkeys(model.encoders))
        self.n_features = n_features
        self.networks = [network for network, _ in model.networks_for(np.float64)]
        self.forward = Forward(model.plan.n_outputs, copies_input=True, autocast=False)
        self.matrix = matrix
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        self.points = [(float(t + 1) / 2, float(w) / 2) for t, w in zip(nodes, weights, strict=True)]

    def outputs(self, inputs):
        """Compute what is explained, (n_rows, n_targets), of inputs by encoder."""
        found = []
        for member, network in zip(self.model.members, self.networks, strict=True):
            own = next(x for x, e in zip(inputs, self.encoders, strict=True) if e is member.encoder)
            found.append(self.forward(network, own))
        combined = self.model.combined(torch.stack(found))
        if isinstance(self.model.target, Values):
            combined = self.model.target.in_order(combined)
        return combined @ self.matrix.to(combined)

    def __call__(self, start, end):
        """Return the contribution of each column, (n_rows, n_features, n_targets)."""
        ways = [e - s for s, e in zip(start, end, strict=True)]
        n_targets = self.matrix.shape[1]
        total = [way.new_zeros(*way.shape, n_targets) for way in ways]
        for t, weight in self.points:
            inputs = [(s + t * way).requires_grad_() for s, way in zip(start, ways, strict=True)]
            outputs = self.outputs(inputs).sum(0)
            for k in range(n_targets):
                slopes = torch.autograd.grad(outputs[k], inputs, retain_graph=k < n_targets - 1)
                for sums, slope in zip(total, slopes, strict=True):
                    sums[..., k] += weight * slope
        by_column = (
            _add_up(way[..., None] * sums, _columns(encoder), self.n_features)
            for way, sums, encoder in zip(ways, total, self.encoders, strict=True)
        )
        return torch.stack(list(by_column)).sum(0).cpu().numpy()


# ---------------------------------------------------------------- for other packages


def as_sequential(estimator, member=0):
    """Return the network of one member as plain layers, for packages that explain networks.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        A fitted estimator with ``architecture="snn"``, or one whose callable returns a `networks.SNN`.
    member : int, default=0
        Which of its networks. `attributions` explains the prediction of all of them together.

    Returns
    -------
    network : torch.nn.Sequential
        ``Linear`` and ``ELU`` in float64 on the CPU, from the inputs that `network_inputs` returns to the
        member's `decision_function`, or to its prediction in the units of y (its logarithm with "poisson" and
        "gamma"; quantiles not sorted), of shape (n_rows, n_outputs).
        SELU is ELU times a constant, which is in the weights of the layer behind: packages such as SHAP know
        ELU only.

    Raises
    ------
    TypeError, NotFittedError
        If there is no such estimator, or it is not fitted.
    ValueError
        If there is no such member, or its network is not a `networks.SNN`.

    Notes
    -----
    The network itself, with its codes left out of the account, gives wrong attributions: explain the inputs,
    and then use `sum_by_column`. With SHAP, for rows X and some rows to compare with:
    ``shap.DeepExplainer(as_sequential(clf), network_inputs(clf, background))`` explains
    ``network_inputs(clf, X)``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sksnn import SNNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> reg = SNNRegressor(n_estimators=1, max_epochs=5, random_state=0).fit(X, y)
    >>> y_net = as_sequential(reg)(network_inputs(reg, X[:5])).detach().numpy()[:, 0]
    >>> bool(np.allclose(y_net, reg.predict(X[:5])))
    True
    """
    model = _model_with(estimator, member)
    network = model.members[member].network
    if not isinstance(network, SNN):
        raise ValueError(
            f"as_sequential knows networks of architecture='snn'; this one is a {type(network).__name__}. "
            "Use attributions, or net_.module_ itself."
        )
    matrix, shift = (torch.from_numpy(part) for part in _decision(model.target))
    matrix = matrix / model.target.temperature
    layers: list[nn.Module] = []
    gain = 1.0
    network = double_copy(network)  # of the CPU, since mps has no float64
    for layer in network.layers:
        weight, bias = layer.state_dict().values()
        weight = weight * gain
        if layer is network.layers[-1]:
            weight, bias = matrix.T @ weight, matrix.T @ bias + shift
        linear = nn.utils.skip_init(nn.Linear, *reversed(weight.shape), dtype=torch.float64)
        linear.load_state_dict({"weight": weight, "bias": bias})
        layers += [linear, nn.ELU(network.alpha)]
        gain = network.scale
    return nn.Sequential(*layers[:-1]).eval()


def network_inputs(estimator, X, member=0):
    """Return rows as the network of a member sees them: columns and codes, centred and scaled.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        A fitted estimator.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        Raw rows.
    member : int, default=0
        Which of its networks; members may have different codes.

    Returns
    -------
    inputs : Tensor of shape (n_rows, n_inputs), float64, on the CPU

    Raises
    ------
    TypeError, NotFittedError
        If there is no such estimator, or it is not fitted.
    ValueError
        If X cannot be used, or there is no such member.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SNNClassifier(encoding="piecewise", max_epochs=5, random_state=0).fit(X, y)
    >>> network_inputs(clf, X).shape
    torch.Size([150, 39])
    """
    model = _model_with(estimator, member)
    with model.computing():
        X = model.columns.read(estimator, X, reset=False)
        return encode_chunks(X, model.members[member].encoder, torch.device("cpu"), torch.float64)


def sum_by_column(estimator, values, member=0):
    """Add up attributions of the inputs of a network by the column of X that they are made of.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        The estimator that was explained.
    values : array-like or Tensor of shape (n_rows, n_inputs) or (n_rows, n_inputs, n_outputs)
        Attributions of the inputs that `network_inputs` returns.
    member : int, default=0
        Which of its networks was explained.

    Returns
    -------
    values : ndarray of shape (n_rows, n_features) or (n_rows, n_features, n_outputs)

    Raises
    ------
    TypeError, NotFittedError
        If there is no such estimator, or it is not fitted.
    ValueError
        If there is no such member, or `values` has another number of inputs than it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SNNClassifier(encoding="piecewise", max_epochs=5, random_state=0).fit(X, y)
    >>> sum_by_column(clf, np.ones((2, 39)))
    array([[10., 10., 10.,  9.],
           [10., 10., 10.,  9.]])
    """
    columns = _columns(_model_with(estimator, member).members[member].encoder)
    if not torch.is_tensor(values):  # torch takes no frames, and no arrays that are read-only or reversed
        values = torch.from_numpy(np.array(values, dtype=np.float64))
    values = values.detach().cpu()
    if values.ndim < 2 or values.shape[1] != len(columns):
        raise ValueError(
            f"values must have shape (n_rows, {len(columns)}) or (n_rows, {len(columns)}, n_outputs), as "
            f"network_inputs has for this member; got {tuple(values.shape)}. Check member={member}."
        )
    return _add_up(values, columns, estimator.n_features_in_).numpy()


def _model_with(estimator, member):
    """Return the model of a fitted estimator that has such a member."""
    check_estimator(estimator)
    n_members = len(estimator._model.members)
    if not isinstance(member, Integral) or not 0 <= int(member) < n_members:
        raise ValueError(
            f"member must be a whole number from 0 to {n_members - 1}; got {member!r}. 0 is the first."
        )
    return estimator._model


def _check_count(value, name, way_out):
    """Raise an error unless a parameter is a whole number of at least 1."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}. {way_out}")


# ---------------------------------------------------------------- the picture


class AttributionsDisplay:
    """Box plot of the contributions of each column, those with the largest mean size on top.

    Parameters
    ----------
    attributions : Attributions
        Result of `attributions` for one target.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    boxes_ : dict
        What ``Axes.boxplot`` returned.
    columns_ : ndarray of int
        The columns drawn, from top to bottom.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sksnn import SNNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SNNClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> AttributionsDisplay.from_estimator(clf, X, target=2).columns_.shape
    (4,)
    """

    def __init__(self, attributions):
        self.attributions = attributions

    @classmethod
    def from_estimator(
        cls, estimator, X, target=None, baseline=None, *, n_steps=128, max_columns=10, ax=None, **kwargs
    ):
        """Compute attributions and draw them.

        Parameters
        ----------
        estimator : SNNClassifier or SNNRegressor
        X : array-like or sparse matrix of shape (n_rows, n_features)
            Raw rows.
        target : label or int, default=None
            As in `attributions`; needed where there are several outputs.
        baseline : array-like or sparse matrix of shape (n_baselines, n_features), default=None
            As in `attributions`.
        n_steps : int, default=128
            As in `attributions`.
        max_columns : int, default=10
            Most columns to draw.
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        **kwargs : dict
            Arguments for ``Axes.boxplot``.

        Returns
        -------
        display : AttributionsDisplay
        """
        found = attributions(estimator, X, target, baseline, n_steps)
        return cls(found).plot(ax, max_columns=max_columns, **kwargs)

    def plot(self, ax=None, *, max_columns=10, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; None makes a new figure.
        max_columns : int, default=10
            Most columns to draw.
        **kwargs : dict
            Arguments for ``Axes.boxplot``.

        Returns
        -------
        display : AttributionsDisplay

        Raises
        ------
        ValueError
            If the attributions are of several outputs, or `max_columns` is less than 1.
        """
        values = self.attributions.values
        if values.ndim != 2:
            raise ValueError(
                f"a display shows one output; got attributions of {values.shape[2]}. Choose one with target=."
            )
        _check_count(max_columns, "max_columns", "Use 10.")
        self.figure_, (self.ax_,) = axes_for(ax)
        self.columns_ = np.argsort(-abs(values).mean(axis=0), kind="stable")[:max_columns]
        order = self.columns_[::-1]
        style = {"orientation": "horizontal", "flierprops": {"marker": ".", "markersize": 3}} | kwargs
        names = [str(name) for name in self.attributions.feature_names[order]]
        self.boxes_ = self.ax_.boxplot(values[:, order], tick_labels=names, **style)
        self.ax_.axvline(0, color="0.6", linewidth=1, zorder=0)
        self.ax_.set_xlabel("contribution to the output")
        return self
