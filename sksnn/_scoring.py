"""The score that early stopping watches in place of the validation loss: the estimator's `scoring`."""

import inspect
import math
import numbers
from contextlib import suppress

from sklearn.metrics import check_scoring

from ._rows import Table
from ._validation import check_inputs

WAY_OUT = (
    "A score may be undefined on few rows, without a class, or where labels are missing (sksnn.metrics skips "
    "those): give X_val and y_val, use fewer n_estimators, or scoring='loss'."
)


def score_members(members, estimator, model, table, valid, shares):
    """Let the estimator's `scoring` decide which epoch of each member is best; "loss" leaves it to the loss.

    Parameters
    ----------
    members : list of Member
    estimator : SNNClassifier or SNNRegressor
    model : Model
    table, valid : Table
        The rows that shares are of; validation rows that all members watch, or None.
    shares : list of Share
    """
    if estimator.scoring == "loss" or members[0].valid is None:
        return
    for j, (member, share) in enumerate(zip(members, shares, strict=True)):
        own = valid
        if share.valid is not None:
            counts = table.weight is not None and share.counts_weights
            weight = table.weight[share.valid] if counts else None
            own = Table(table.X[share.valid], table.y[share.valid], weight)
        member.scorer = ValidationScore(estimator, model.only(j), own)


class ValidationScore:
    """Scores a network in training by its outputs for the validation rows.

    The scorer gets a view of the estimator, fitted with the present network alone. Outputs for the validation
    rows are known from the validation loss; for other rows the view computes them.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        With `scoring`.
    model : Model
        Of one network.
    table : Table
        Its validation rows.
    """

    def __init__(self, estimator, model, table):
        self.X, self.outputs = table.X[:], None
        self.y = model.target.decode(table.y, estimator.missing_label)
        self.scoring, self.view = estimator.scoring, _view(estimator, model)
        vars(self.view)["_member_outputs"] = self._member_outputs
        self.scorer = check_scoring(self.view, self.scoring)
        takes_weights = table.weight is not None and _takes_weights(self.scorer)
        self.weights = {"sample_weight": table.weight} if takes_weights else {}

    def __call__(self, outputs):
        """Return the score, of which more is better.

        Parameters
        ----------
        outputs : Tensor of shape (n_rows, n_outputs)
            Of the network for the validation rows.
        """
        self.outputs = outputs.cpu().double()[None]
        try:
            score = self.scorer(self.view, self.X, self.y, **self.weights)
        except Exception as error:
            error.add_note(f"This is scoring={self.scoring!r} of {len(self.y)} validation rows. {WAY_OUT}")
            raise
        with suppress(AttributeError, ValueError):  # a scalar of numpy or torch
            score = score.item()
        if not isinstance(score, numbers.Real) or math.isnan(score):
            raise ValueError(
                f"scoring={self.scoring!r} must return a number for the {len(self.y)} validation rows; got "
                f"{score!r}. {WAY_OUT}"
            )
        return float(score)

    def _member_outputs(self, X):
        """Return the known outputs for the validation rows, and compute those for others.

        A scorer has rows in which categories are numbers already.
        """
        if X is self.X:
            return self.outputs
        return self.view._model.member_outputs(check_inputs(self.view, X, reset=False))


def _view(estimator, model):
    """Make an estimator that looks fitted and predicts by a model."""
    view = object.__new__(type(estimator))
    vars(view).update(vars(estimator), _model=model, **model.attributes())
    vars(view).pop("feature_names_in_", None)  # scorers get the rows as arrays
    return view


def _takes_weights(scorer):
    """Say whether a scorer has a parameter for the weights of rows."""
    parameters = inspect.signature(scorer).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)
