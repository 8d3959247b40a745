"""The target: what y may hold, how it is encoded and weighed, its loss, and what outputs mean.

`Classes` and `Tasks` are the targets of the classifier, `Values` that of the regressor. A target is learned
from y before rows are split (`learn`), and from the training rows after it (`learned_from`); it never
changes in place, so that a fit that fails leaves an earlier one as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, log_expit, log_softmax
from sklearn.metrics import d2_pinball_score
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import unique_labels

from . import losses
from ._validation import (
    check_labels,
    check_outputs,
    check_quantiles,
    check_targets,
    check_task_classes,
    check_task_labels,
    encode_labels,
)
from ._warnings import warn_user
from .encodings import column_moments
from .metrics import masked_r2_score


@dataclass(frozen=True, eq=False, kw_only=True)
class Target:
    """What has been learned about y.

    Parameters
    ----------
    n_outputs : int
        Width of the output layer.
    has_columns : bool
        Whether y is 2-D.
    weight_mean : float, default=1.0
        Mean of the row weights over the labels present in the training rows, by which weights are divided;
        0 if no label has a weight.

    Notes
    -----
    Methods take the estimator as `parameters` where its parameters count.
    """

    n_outputs: int
    has_columns: bool
    weight_mean: float = 1.0

    # Whether an SNN begins with outputs of 0, as the mean of a standardised target: where there is much
    # noise, random outputs would be most of what it has to unlearn.
    starts_at_0: ClassVar[bool] = False

    # What outputs of members are divided by before they are averaged; a field where it is learned.
    temperature: ClassVar[float] = 1.0

    @staticmethod
    def check(y, parameters, target=None, warn=True):
        """Check a y as it is handed in; return an array. `target` is what earlier rows have said, if any."""
        raise NotImplementedError

    @staticmethod
    def learn(y, parameters, classes=None, is_chunk=False):
        """Learn from a checked y which target it is."""
        raise NotImplementedError

    def check_form(self, y, name):
        """Refuse a target of another shape than the one learned from."""
        if (y.ndim == 2) != self.has_columns or (y.ndim == 2 and y.shape[1] != self.n_outputs):
            expected = f"(n_rows, {self.n_outputs})" if self.has_columns else "(n_rows,)"
            raise ValueError(f"{name} has shape {y.shape}, but the estimator was fitted with {expected}.")

    def encode(self, y, name="y"):
        """Turn a checked y into numbers: class indices, or floats with NaN where a label is missing."""
        self.check_form(y, name)
        return y

    def decode(self, y, missing_label):
        """Turn an encoded y into what the estimator's `score` takes."""
        return np.where(np.isnan(y), missing_label, y)

    def strata(self, y, n_valid):
        """Return what a split of the rows is stratified by, or None."""
        return None

    def check_rows(self, table, valid):
        """Refuse training rows or validation rows that no loss can be computed on."""
        y, weight = table.y, table.weight
        if weight is not None and not weight.any():
            raise ValueError(
                f"the {len(y)} training rows all have weight 0: those with weight were held back to "
                "watch. Set early_stopping=False, or give X_val and y_val."
            )
        counts = slice(None) if weight is None else weight > 0
        empty = np.flatnonzero(np.isnan(y[counts]).all(axis=0)) if y.ndim == 2 else np.empty(0)
        if len(empty):
            raise ValueError(
                f"task {empty[0]} of y (column {empty[0]}) has no label among the {len(y)} training rows: "
                "all are missing, or of weight 0. Leave this column out, or give rows that have it."
            )
        if valid is None:
            return
        labelled = ~np.isnan(valid.y.reshape(len(valid.y), -1)).all(axis=1)
        if not (labelled if valid.weight is None else labelled & (valid.weight > 0)).any():
            raise ValueError(
                f"the {len(valid.y)} validation rows hold no label of positive weight: there is no loss to "
                "watch. Give an X_val with labels, or set early_stopping=False."
            )

    def learned_from(self, table, parameters, first, is_chunk=False):
        """Return this target with what the training rows tell: the mean weight, and weights or a scale.

        `first` is False where training goes on. Chunks keep the mean weight of the first that has one.
        """
        if is_chunk and not first and self.weight_mean:
            return self
        return replace(self, weight_mean=mean_weight(table))

    def attributes(self, n_members):
        """Return the fitted attributes of the estimator that say what y was, and what is made of outputs."""
        return {"n_outputs_": self.n_outputs}

    def scale(self, y):
        """Bring an encoded y to the scale that is trained on."""
        return y

    def label_weight(self, y, weight):
        """Multiply the weights of rows (or None) with those of their labels, in training."""
        return weight

    def tensors(self, table, device, dtype, training=False):
        """Make tensors of a table's target and of its weights; class weights count in training only."""
        weight = table.weight
        if weight is not None:
            weight = weight / ((self.weight_mean if training else mean_weight(table)) or 1.0)
        weight = self.label_weight(table.y, weight) if training else weight
        if weight is not None and table.y.ndim == 2 and weight.ndim == 1:
            weight = weight[:, None]
        place = partial(torch.as_tensor, device=device)
        y = self.scale(table.y)
        y = place(y, dtype=dtype if y.dtype.kind == "f" else torch.int64)
        return y, None if weight is None else place(weight, dtype=dtype)

    def loss(self, parameters, masked, stops_early):
        """Return what makes the loss: a class with its arguments."""
        raise NotImplementedError

    def net_parameters(self):
        """Return what skorch's nets need to predict."""
        raise NotImplementedError

    def score(self, y, outputs, weight):
        """Score the outputs of rows by an encoded y, as the estimator's `score` does."""
        raise NotImplementedError

    def average(self, outputs, present=None):
        """Average the predictions of k networks; return the outputs of which they are predictions.

        Parameters
        ----------
        outputs : Tensor of shape (k, n, n_outputs)
        present : Tensor of bool of shape (k, n), default=None
            Which networks count for a row; None are all.

        Returns
        -------
        outputs : Tensor of shape (n, n_outputs)
        """
        raise NotImplementedError


def mean_weight(table):
    """Average the weights over the labels present, so that weights count as copies; 0 if none is present."""
    if table.weight is None:
        return 1.0
    if table.y.ndim == 1:
        return table.weight.mean()
    n_labels = (~np.isnan(table.y)).sum(axis=1)
    return np.average(table.weight, weights=n_labels) if n_labels.any() else 0.0


# ---------------------------------------------------------------- labels

# label_smoothing="auto" of a 1-D y without early stopping.
AUTO_LABEL_SMOOTHING = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Labels(Target):
    """The target of a classifier.

    Parameters
    ----------
    n_outputs, has_columns, weight_mean
        As in `Target`.
    labels : ndarray
        The attribute ``classes_`` of the estimator.
    class_weight : ndarray of shape (1, n_classes) or (n_tasks, 2), default=None
    temperature : float, default=1.0
        What the logits of members are divided by before they are averaged; 1 for tasks.
    member_weights : tuple of float, default=None
        What members weigh in the average; None if they are equal, as for tasks.
    """

    labels: np.ndarray
    class_weight: np.ndarray | None = None
    temperature: float = 1.0  # type: ignore[misc]
    member_weights: tuple[float, ...] | None = None

    _cross_entropy: ClassVar[Callable[..., losses.MaskedLoss]]

    @staticmethod
    def check(y, parameters, target=None, warn=True):
        """Check labels; a 1-D y of an estimator with one task is that task, without a missing label."""
        missing_label = parameters.missing_label
        if missing_label in (0, 1) or np.isinf(missing_label):
            raise ValueError(
                f"missing_label must differ from the labels 0 and 1, and be finite or nan; got "
                f"{missing_label}. Use nan or -1."
            )
        y = check_labels(y, missing_label, parameters, warn)
        if y.ndim == 1 and target is not None and target.has_columns and target.n_outputs == 1:
            return check_task_labels(np.reshape(y, (-1, 1)), missing_label)
        return y

    @staticmethod
    def learn(y, parameters, classes=None, is_chunk=False):
        """Learn whether there are tasks or classes, and which."""
        if y.ndim == 2:
            check_task_classes(classes, parameters.missing_label)
            # One for each column of predict_proba, as cross_val_predict expects. At dtype object
            # scikit-learn's scorers do not mistake two tasks for the two classes of a binary problem.
            labels = np.arange(y.shape[1]).astype(object)
            return Tasks(n_outputs=y.shape[1], has_columns=True, labels=labels)
        if is_chunk and classes is None:
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels there will be."
            )
        labels = np.unique(y) if classes is None else unique_labels(classes)
        if len(labels) < 2:
            raise ValueError(
                f"{type(parameters).__name__} needs at least two classes; y has 1 class: "
                f"{labels.tolist()[0]!r}. Give rows of another class."
            )
        return Classes(n_outputs=len(labels), has_columns=False, labels=labels)

    def attributes(self, n_members):
        """Return also the classes, the temperature and the weights of the members."""
        weights = self.member_weights or np.full(n_members, 1 / n_members)
        own = {"temperature_": self.temperature, "member_weights_": np.array(weights)}
        return {"classes_": self.labels, **own, **super().attributes(n_members)}

    def loss(self, parameters, masked, stops_early):
        """Return the user's loss, or the cross-entropy with the smoothing of that name."""
        smoothing = parameters.label_smoothing
        if not callable(parameters.loss):
            smoothing = self._auto_smoothing(stops_early) if smoothing == "auto" else smoothing
            return partial(self._cross_entropy, masked, label_smoothing=smoothing)
        if smoothing not in ("auto", 0):
            raise ValueError(
                f"label_smoothing={smoothing} is for loss='log_loss': a callable gets y as it is. Smooth it "
                "there, and leave label_smoothing='auto'."
            )
        return partial(losses.OwnLoss, masked, loss=parameters.loss)

    @staticmethod
    def _auto_smoothing(stops_early):
        """Return what label_smoothing="auto" stands for."""
        raise NotImplementedError

    def probabilities(self, outputs):
        """Return the probabilities that outputs stand for."""
        raise NotImplementedError

    def each(self, outputs):
        """Return the probabilities of k networks, with a leading dimension."""
        return np.stack([self.probabilities(member / self.temperature) for member in outputs])

    def learned_from(self, table, parameters, first, is_chunk=False):
        """Learn the class weights, anew in each fit."""
        target = super().learned_from(table, parameters, first, is_chunk)
        return replace(target, class_weight=self._learn_class_weight(table, parameters.class_weight))

    def _learn_class_weight(self, table, class_weight):
        """Return one weight for each class, (1, n_classes), or for 0 and 1 of each task, (n_tasks, 2)."""
        columns = table.y.T if self.has_columns else [table.y]
        specs = class_weight if isinstance(class_weight, list) else [class_weight] * len(columns)
        if len(specs) != len(columns):
            raise ValueError(
                f"class_weight is a list of {len(specs)} but y has {len(columns)} tasks. Give one dict "
                "a task, or one for all."
            )
        if class_weight is None:
            return None
        classes = np.arange(2) if self.has_columns else self.labels
        return np.array(
            [weigh_classes(spec, classes, y, table.weight) for spec, y in zip(specs, columns, strict=True)]
        )


def weigh_classes(spec, classes, y, weight):
    """Compute one weight for each class from a dict or "balanced", over the labels present in y."""
    if not (spec is None or isinstance(spec, dict) or spec == "balanced"):
        raise ValueError(f"class_weight must hold dicts, 'balanced' or None; got {spec!r} in its list.")
    if isinstance(spec, str):
        present = ~np.isnan(y)
        counts = np.bincount(
            y[present].astype(int), None if weight is None else weight[present], minlength=len(classes)
        )
        return counts.sum() / (len(classes) * np.where(counts > 0, counts, np.inf))
    weights = compute_class_weight(spec, classes=classes, y=classes)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            f"class_weight must be finite, not negative, and not all zero; got {spec!r}. Use 0 to ignore "
            "a class."
        )
    return weights


class Classes(Labels):
    """A 1-D y of two or more classes: one output for each, softmax."""

    _cross_entropy = losses.CrossEntropy

    def encode(self, y, name="y"):
        """Turn labels into their positions among the classes."""
        return encode_labels(super().encode(y, name), self.labels, name)

    def decode(self, y, missing_label):
        """Turn positions among the classes into labels."""
        return self.labels[y]

    def strata(self, y, n_valid):
        """Stratify by class where each has a row for both sides."""
        counts = np.bincount(y)
        if min(counts[counts > 0]) >= 2 and min(n_valid, len(y) - n_valid) >= self.n_outputs:
            return y
        warn_user(
            "the validation rows are drawn without stratification: a class has a single row, or there are "
            f"fewer validation rows ({n_valid}) than classes ({self.n_outputs}). Give X_val and y_val to "
            "choose them."
        )
        return None

    def label_weight(self, y, weight):
        """Multiply the weights of rows with those of their classes."""
        if self.class_weight is None:
            return weight
        factor = self.class_weight[0][y]
        return factor if weight is None else weight * factor

    @staticmethod
    def _auto_smoothing(stops_early):
        return 0.0 if stops_early else AUTO_LABEL_SMOOTHING

    def net_parameters(self):
        """Return class indices, and what turns logits into probabilities."""
        return {"classes": np.arange(self.n_outputs), "predict_nonlinearity": softmax}

    def average(self, outputs, present=None):
        """Return the logarithms of the mean probabilities, finite where these round to 0."""
        logs = torch.log_softmax(outputs / self.temperature, -1)
        return losses.log_mean_exp(logs, present, self.member_weights)

    def score(self, y, outputs, weight):
        """Return the share of rows whose class has the largest output."""
        return float(np.average(outputs.numpy().argmax(axis=1) == y, weights=weight))

    def decisions(self, outputs):
        """Return the logits; of two classes the difference."""
        z = outputs.numpy()
        return z if self.n_outputs > 2 else z[:, 1] - z[:, 0]

    def log_probabilities(self, outputs):
        """Return the logarithm of the softmax."""
        return log_softmax(outputs.numpy(), axis=1)

    def probabilities(self, outputs):
        """Return the softmax."""
        return softmax(outputs).numpy()

    def predictions(self, outputs):
        """Return the label of the largest output."""
        return self.labels[outputs.numpy().argmax(axis=1)]


class Tasks(Labels):
    """A 2-D y of 0, 1 and missing labels: one output for each task, sigmoid."""

    _cross_entropy = losses.BinaryCrossEntropy

    def check_rows(self, table, valid):
        """Warn also of tasks with labels of one class only."""
        super().check_rows(table, valid)
        y = table.y if table.weight is None else table.y[table.weight > 0]
        lone = np.flatnonzero(np.nanmin(y, axis=0) == np.nanmax(y, axis=0))
        if len(lone):
            warn_user(
                f"task {lone[0]} of y (column {lone[0]}) has labels of one class only among the training "
                f"rows ({len(lone)} such tasks): its predictions will be constant at best."
            )

    def label_weight(self, y, weight):
        """Multiply the weights of rows with those of 0 or 1 in each task."""
        if self.class_weight is None:
            return weight
        factor = self.class_weight[np.arange(y.shape[1]), np.nan_to_num(y).astype(int)]
        return factor if weight is None else weight[:, None] * factor

    @staticmethod
    def _auto_smoothing(stops_early):
        return 0.0  # it drowns rare positives

    def net_parameters(self):
        """Return the tasks, and what turns logits into probabilities."""
        return {"classes": self.labels, "predict_nonlinearity": torch.sigmoid}

    @staticmethod
    def average(outputs, present=None):
        """Return the logits of the mean probabilities, finite where these round to 0 or 1."""
        on, off = (losses.log_mean_exp(F.logsigmoid(z), present) for z in (outputs, -outputs))
        return on - off

    def score(self, y, outputs, weight):
        """Return the share of rows whose present labels are all right; NaN without any label."""
        present = ~np.isnan(y)
        labelled = present.any(axis=1) & (True if weight is None else weight > 0)
        if not labelled.any():
            return np.nan
        right = ((self.predictions(outputs) == y) | ~present).all(axis=1)
        weight = None if weight is None else weight[labelled]
        return float(np.average(right[labelled], weights=weight))

    def decisions(self, outputs):
        """Return the logits."""
        return outputs.numpy()

    def log_probabilities(self, outputs):
        """Return the logarithm of the sigmoid."""
        return log_expit(outputs.numpy())

    def probabilities(self, outputs):
        """Return the sigmoid."""
        return expit(outputs.numpy())

    def predictions(self, outputs):
        """Return 1 where the probability is above one half, else 0."""
        return (outputs.numpy() > 0).astype(int)


def softmax(outputs):
    """Turn logits into the probabilities of classes; a named function, so that nets pickle."""
    return torch.softmax(outputs, dim=-1)


# ---------------------------------------------------------------- values


@dataclass(frozen=True, eq=False, kw_only=True)
class Values(Target):
    """The target of a regressor.

    Parameters
    ----------
    n_outputs, has_columns, weight_mean
        As in `Target`.
    mean, deviation : ndarray of shape (n_columns,)
        What is subtracted from y, and what the difference is divided by: 0 and 1 without a scale.
    link : type
        What outputs stand for.
    quantiles : tuple of float, default=None
        The quantiles of a 1-D y that the outputs are, if there are several.
    """

    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    link: type[losses.IdentityLink] | type[losses.LogLink] = losses.IdentityLink
    quantiles: tuple[float, ...] | None = None

    starts_at_0: ClassVar[bool] = True

    @property
    def n_columns(self):
        """Number of columns of y."""
        return self.n_outputs if self.has_columns else 1

    @staticmethod
    def check(y, parameters, target=None, warn=True):
        """Check values."""
        y = check_targets(y, parameters.missing_label, parameters)
        if loss_class(parameters).domain is not None:
            words, allows = loss_class(parameters).domain
            strange = y[~np.isnan(y) & ~allows(y, 0)]
            if len(strange):
                raise ValueError(
                    f"loss={parameters.loss!r} needs a y {words}; got {strange[0]:g}. Drop these rows, or "
                    "use loss='squared_error'."
                )
        return y

    @staticmethod
    def learn(y, parameters, classes=None, is_chunk=False):
        """Learn how many outputs there are."""
        quantiles = check_quantiles(parameters)
        if quantiles is None:
            return Values(n_outputs=1 if y.ndim == 1 else y.shape[1], has_columns=y.ndim == 2)
        if y.ndim == 2:
            raise ValueError(
                f"a list of quantiles needs a y of shape (n_rows,); got {y.shape} and quantile="
                f"{parameters.quantile!r}. Fit an estimator for each column, or give one quantile."
            )
        return Values(n_outputs=len(quantiles), has_columns=False, quantiles=quantiles)

    def learned_from(self, table, parameters, first, is_chunk=False):
        """Learn mean and deviation of each column over the values present, once."""
        target = super().learned_from(table, parameters, first, is_chunk)
        link = loss_class(parameters).link
        if not first:
            return replace(target, quantiles=self._same_kind(parameters))
        mean, deviation = np.zeros(self.n_columns), np.ones(self.n_columns)
        columns = table.y.reshape(-1, self.n_columns).T if parameters.standardize_target else []
        for task, y in enumerate(columns):
            present = ~np.isnan(y)
            weight = None if table.weight is None else table.weight[present]
            if present.any() and (weight is None or weight.any()):
                moments = column_moments(y[present, None], weight)
                if not np.isfinite(moments).all():
                    raise ValueError(
                        f"output {task} of y is too large to standardise: its variance overflows float64. "
                        "Rescale it, or take its logarithm."
                    )
                if link.centres:
                    mean[task], deviation[task] = moments[0][0], moments[1][0] or 1.0
                else:
                    deviation[task] = moments[0][0] or 1.0
        return replace(target, mean=mean, deviation=deviation, link=link)

    def _same_kind(self, parameters):
        """Return the quantiles of training that goes on; refuse outputs that stand for something else."""
        quantiles = check_quantiles(parameters)
        if loss_class(parameters).link is not self.link:
            raise ValueError(
                f"loss={parameters.loss!r} has another link function than the loss before, and cannot go "
                "on from its network. Set it back, or fit with warm_start=False."
            )
        if len(quantiles or ()) != len(self.quantiles or ()):
            raise ValueError(
                f"the number of quantiles cannot change while training goes on: it was {self.quantiles}, now "
                f"{quantiles}. Set it back, or fit with warm_start=False."
            )
        return quantiles

    def scale(self, y):
        """Centre and scale each column."""
        return ((y.reshape(-1, self.n_columns) - self.mean) / self.deviation).reshape(y.shape)

    def loss(self, parameters, masked, stops_early):
        """Return the loss of that name, or the user's."""
        loss = loss_class(parameters)
        arguments = {name: getattr(parameters, name) for name in loss.arguments}
        if self.quantiles is not None:
            arguments["quantile"] = self.quantiles
        return partial(loss, masked, **arguments)

    def net_parameters(self):
        """Return what turns the one column of a 1-D target into none."""
        return {} if self.has_columns or self.quantiles else {"predict_nonlinearity": squeeze}

    def score(self, y, outputs, weight):
        """Return R squared, or D squared of quantiles: the mean over outputs, over the values present."""
        if self.quantiles is not None:
            pairs = zip(self.predictions(outputs).T, self.quantiles, strict=True)
            return float(np.mean([d2_pinball_score(y, p, sample_weight=weight, alpha=q) for p, q in pairs]))
        columns = y.reshape(len(y), -1), self.predictions(outputs).reshape(len(y), -1)
        return masked_r2_score(*columns, sample_weight=weight)

    def average(self, outputs, present=None):
        """Return what stands for the mean predictions."""
        return self.link.average(self.in_order(outputs), present)

    def in_order(self, outputs):
        """Sort the outputs of each row where they are quantiles, so that a higher one is not below a lower.

        That never makes the pinball loss worse (Chernozhukov, Fernandez-Val and Galichon, 2010).
        """
        if self.quantiles is None:
            return outputs
        return outputs.sort(-1).values[..., np.argsort(np.argsort(self.quantiles))]

    @np.errstate(over="ignore")
    def predictions(self, outputs):
        """Return float64 values in the units of y."""
        outputs = self.in_order(outputs).numpy().astype(np.float64, copy=False)
        y = self.link.inverse(outputs) * self.deviation + self.mean
        check_outputs(y)
        return y if self.has_columns or self.quantiles else y[:, 0]

    def each(self, outputs):
        """Return the predictions of k networks, with a leading dimension."""
        return np.stack([self.predictions(member) for member in outputs])

    def mean_and_std(self, outputs):
        """Return the predictions of k networks together, and the deviation of those of each."""
        return self.predictions(self.average(outputs)), self.each(outputs).std(axis=0)


def squeeze(outputs):
    """Turn one column into none, the shape of a 1-D target."""
    return outputs[:, 0]


def loss_class(parameters):
    """Return the class of a regressor's loss."""
    return losses.OwnLoss if callable(parameters.loss) else losses.REGRESSION_LOSSES[parameters.loss]
