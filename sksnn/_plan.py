"""What is settled before training: every "auto" becomes a value here."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ._target import Classes, Labels, Tasks
from .encodings import has_many_columns
from .networks import layer_sizes

# early_stopping="auto" stops early above this number of rows, as HistGradientBoosting does: on fewer rows,
# holding some back costs more accuracy than it saves.
EARLY_STOPPING_ROWS = 10_000

# Fewer rows are not divided into folds of members by themselves.
FEWEST_IN_FOLDS = 20

# encoding="auto" leaves wider rows alone: with nine codes for each column, or more, most weights of the
# network would be in its first layer. Columns of two values, which have no code, are not counted.
MOST_ENCODED_COLUMNS = 100

# The classifier's encoding="auto" of one network: up to this number of training rows one-hot codes
# (examples/paper/defaults.py).
ONE_HOT_ROWS = 5_000

# The classifier's layer_form, n_units and dropout "auto": the width up to NARROW_ROWS and on more, the
# dropout up to MANY_ROWS and on more. Few rows are soon learned by heart.
FORM = "conic"
NARROW_ROWS, WIDTHS = 2_000, (256, 512)
MANY_ROWS, DROPOUT = 5_000, (0.05, 0.02)

# What several members take in turn with that on more than MIXED_ROWS: equal layers without dropout learn them
# better where labels are right, and overfit where they are noisy. Together, and weighed by the rows that they
# hold back, they are good at either (examples/paper/choice.py).
MIXED_ROWS, EQUAL = 1_000, ("rectangular", 256, 0.0)

# n_estimators="auto": members on few rows, and on more.
FEW_ROWS, MEMBERS = 500, (8, 4)

# encoding="auto": the codes that several members take in turn.
CLASSIFIER_CODES, REGRESSOR_CODES = ("onehot", "piecewise"), ("piecewise", None)

# batch_size="auto" is the power of two nearest to n_rows / 32, within bounds: enough steps in an epoch on
# small data, full vectors on large. Of 256 rows, batches of a regressor make too few steps.
STEPS_PER_EPOCH = 32
CLASSIFIER_BATCH, REGRESSOR_BATCH = (32, 256), (32, 64)

# scale_inputs="auto" scales with these optimizers.
ADAMS = ("adam", "adamw", torch.optim.Adam, torch.optim.AdamW)

# weight_decay="auto": the share of its weights that an epoch takes away at the full rate.
AUTO_EPOCH_DECAY = 0.01


# The fields of a plan that the first fit settles for those that go on (`warm_start`, `partial_fit`).
FIXED = (
    "n_estimators",
    "architecture",
    "n_outputs",
    "hidden_layer_sizes",
    "dropout",
    "input_dropout",
    "scale_inputs",
    "categorical_features",
    "standardize",
    "encoding",
    "precision",
    "standardize_target",
)


@dataclass(frozen=True)
class Plan:
    """What is settled before training.

    Parameters
    ----------
    n_outputs : int
        Width of the output layer.
    hidden_layer_sizes : tuple of int, or of tuples
        From the parameters of that name, `n_layers`, `n_units` and `layer_form`; one tuple for each member,
        if they differ.
    dropout : float, or tuple of float
        The rate; one for each member, if they differ.
    standardize_target : bool
        The regressor's parameter; False for a classifier.
    n_rows : int
        Training rows with weight of the first fit, on which width and encoding depend.
    early_stopping : bool
        Whether validation rows decide which epoch is best.
    calibrates : bool
        Whether rows that members have not seen decide how sure these are.
    has_many_columns : bool
        Whether the first fit had more columns than ``encoding="auto"`` encodes.
    loss : callable
        Makes the loss of a fit.
    ...
        All others are the estimator's parameters, with a value for "auto"; but `device` is as it was given,
        so that a pickle loads where there is another.
    """

    n_estimators: int
    architecture: str | Callable
    hidden_layer_sizes: tuple
    n_outputs: int
    dropout: float | tuple[float, ...]
    input_dropout: float
    categorical_features: str | tuple | None
    standardize: bool
    encoding: str | tuple | None
    precision: str
    standardize_target: bool

    # Settled anew in each fit, but for n_rows, has_many_columns and device.
    n_rows: int
    has_many_columns: bool
    device: str
    batch_size: int
    optimizer: str | type
    optimizer_params: dict | None
    lr: float
    lr_schedule: str
    weight_decay: float
    max_grad_norm: float | None
    max_time: float | None
    early_stopping: bool
    tol: float
    n_iter_no_change: int
    loss: Callable
    calibrates: bool = False  # not in the plans of estimators that 0.1.0 saved, and so
    scale_inputs: bool = False

    @property
    def is_named(self):
        """Whether the architecture is one of this package: it runs in float64 and leaves its input alone."""
        return isinstance(self.architecture, str)

    @property
    def traits(self):
        """The code of each member, and its form: its hidden layer sizes and its dropout."""
        return traits_of(self.n_estimators, self.encoding, self.hidden_layer_sizes, self.dropout)

    @property
    def moments(self):
        """What tells optimizers apart whose moments cannot be carried over."""
        return repr((self.optimizer, self.optimizer_params, self.weight_decay > 0))

    @property
    def rates(self):
        """What tells optimizers apart whose learning rates cannot be carried over."""
        return repr(self.lr) if self.lr_schedule == "constant" else None

    def continues(self, earlier):
        """Refuse to go on from an earlier plan for another network."""
        for name in FIXED:
            before, now = getattr(earlier, name), getattr(self, name)
            if before != now:
                raise ValueError(
                    f"{name} cannot change while training goes on (warm_start or partial_fit): it was "
                    f"{before!r}, now {now!r}. Set it back, or fit with warm_start=False."
                )


def make_plan(parameters, target, table, valid, shares, earlier=None, lr_schedule=None):
    """Settle everything that training needs to know.

    Parameters
    ----------
    parameters : SNNClassifier or SNNRegressor
    target : Target
    table, valid : Table
        Training rows; validation rows or None.
    shares : list of Share
        The rows of each member, of which all have about as many.
    earlier : Plan, default=None
        The plan of the fit that this one goes on from.
    lr_schedule : str, default=None
        In place of the parameter.

    Returns
    -------
    plan : Plan

    Raises
    ------
    ValueError
        If the hidden layer sizes are not positive integers.
    """
    trained = [len(share.train) for share in shares if share.train is not None]
    n_trained = min(trained, default=len(table.y))
    batch_size = min(choose_batch_size(parameters, target, n_trained), n_trained)
    watched = valid is not None or any(share.valid is not None for share in shares)
    early_stopping = watched and bool(parameters.early_stopping)
    is_calibrated = calibrates(parameters, target, count_rows(table), len(shares))
    is_divided = shares[0].train is not None  # not a chunk, whose rows all members see
    masked = any(t is not None and t.y.ndim == 2 and np.isnan(t.y).any() for t in (table, valid))
    return Plan(
        **choose_networks(parameters, target, table, len(shares), earlier, is_divided),
        n_estimators=len(shares),
        architecture=parameters.architecture,
        n_outputs=target.n_outputs,
        input_dropout=parameters.input_dropout,
        scale_inputs=choose_scale_inputs(parameters, target, earlier),
        categorical_features=freeze(parameters.categorical_features),
        standardize=bool(parameters.standardize),
        precision=parameters.precision,
        standardize_target=bool(getattr(parameters, "standardize_target", False)),
        device=str(parameters.device),
        batch_size=batch_size,
        optimizer=parameters.optimizer,
        optimizer_params=parameters.optimizer_params and dict(parameters.optimizer_params),
        lr=parameters.lr,
        lr_schedule=lr_schedule or parameters.lr_schedule,
        weight_decay=choose_weight_decay(parameters, -(-n_trained // batch_size)),
        max_grad_norm=parameters.max_grad_norm,
        max_time=parameters.max_time,
        early_stopping=early_stopping,
        calibrates=is_calibrated,
        tol=parameters.tol,
        n_iter_no_change=parameters.n_iter_no_change,
        loss=target.loss(parameters, masked, early_stopping),
    )


def freeze(chosen):
    """Return names, positions or a mask as a tuple, which can be compared."""
    return chosen if chosen is None or isinstance(chosen, str) else tuple(np.ravel(chosen).tolist())


def count_rows(table):
    """Count the rows with weight, by which "auto" chooses."""
    return len(table.y) if table.weight is None else int((table.weight > 0).sum())


def choose_n_estimators(parameters, table, earlier=None):
    """Return the number of members; "auto" goes on with those of an earlier plan."""
    if parameters.n_estimators != "auto":
        return int(parameters.n_estimators)
    if earlier is not None:
        return earlier.n_estimators
    if parameters.architecture != "snn":
        return 1
    return MEMBERS[count_rows(table) > FEW_ROWS]


def stops_early(parameters, target, n_rows, k):
    """Say whether rows are held back.

    "auto": if there are many; and folds of few rows by the members of a regressor, whose best epoch tells
    signal from noise. The parameter may be a boolean of numpy, as in a grid of a search.
    """
    if not isinstance(parameters.early_stopping, str):
        return bool(parameters.early_stopping)
    holds_folds = k > 1 and not parameters.bootstrap and not isinstance(target, Labels)
    return n_rows > EARLY_STOPPING_ROWS or (holds_folds and n_rows >= FEWEST_IN_FOLDS)


def calibrates(parameters, target, n_rows, k):
    """Say whether members have rows that they are not trained on, which tell how sure they may be.

    "auto": if there are several members of a classifier and rows enough to be divided into folds, unless
    ``early_stopping=False`` says that none are to be held back.
    """
    chosen, is_possible = getattr(parameters, "calibrate", False), isinstance(target, Classes) and k > 1
    if isinstance(chosen, str):
        may_hold_back = bool(parameters.early_stopping) or parameters.bootstrap
        return is_possible and may_hold_back and n_rows >= FEWEST_IN_FOLDS and not callable(parameters.loss)
    if chosen and not is_possible:
        got = f"n_estimators={k}" if isinstance(target, Classes) else "a y of shape (n_rows, n_tasks)"
        raise ValueError(
            f"calibrate=True needs a y of shape (n_rows,) and several members; got {got}. Use "
            "calibrate='auto', or sklearn.calibration.CalibratedClassifierCV."
        )
    return bool(chosen)


def choose_networks(parameters, target, table, k, earlier=None, is_divided=True):
    """Return the fields of a plan that say what the networks of k members are.

    Several forms are no good default unless members are weighed, for which rows must be divided among them.
    """
    if earlier is None:
        n_rows, is_wide = count_rows(table), has_many_columns(table.X, MOST_ENCODED_COLUMNS)
        may_weigh = is_divided and calibrates(parameters, target, n_rows, k)
    else:
        n_rows, is_wide = earlier.n_rows, earlier.has_many_columns
        may_weigh = len({form for _, form in earlier.traits}) > 1
    encoding = choose_encoding(parameters, target, n_rows, is_wide, k)
    sizes, dropout = choose_forms(parameters, target, n_rows, k, encoding, may_weigh)
    return {
        "n_rows": n_rows,
        "has_many_columns": is_wide,
        "encoding": encoding,
        "hidden_layer_sizes": sizes,
        "dropout": dropout,
    }


def choose_folds(parameters, target, table, k, earlier=None):
    """Number the folds that k members hold back.

    Each holds back another one; but a classifier's members of several forms share folds, one of each form,
    since rows that neither has seen tell what each form is to weigh in the mean (`_calibration`). They have
    different codes as well, as on the diagonals of a table of codes and forms: such rows tell about both.
    """
    if k == 1 or not isinstance(target, Classes):
        return list(range(k))
    chosen = choose_networks(parameters, target, table, k, earlier)
    traits = traits_of(k, chosen["encoding"], chosen["hidden_layer_sizes"], chosen["dropout"])
    codes, forms = (list(dict.fromkeys(column)) for column in zip(*traits, strict=True))
    if len(forms) == 1:
        return list(range(k))
    n_before, folds = Counter[tuple](), []
    for code, form in traits:
        diagonal = (codes.index(code) + forms.index(form)) % len(codes)
        folds.append((diagonal, n_before[code, form]))
        n_before[code, form] += 1
    distinct = list(dict.fromkeys(folds))
    return [distinct.index(fold) for fold in folds]


def codes_of(encoding):
    """Return the codes that members take in turn."""
    return encoding if isinstance(encoding, tuple) else (encoding,)


def traits_of(k, encoding, sizes, dropout):
    """Return the code of each of k members, and its form: its hidden layer sizes and its dropout."""
    codes = codes_of(encoding)
    sizes = sizes if sizes and isinstance(sizes[0], tuple) else (sizes,) * k
    rates = dropout if isinstance(dropout, tuple) else (dropout,) * k
    return [(codes[j % len(codes)], (sizes[j], rates[j])) for j in range(k)]


def choose_forms(parameters, target, n_rows, k, encoding, may_weigh):
    """Return hidden layer sizes and dropout: those of all members, or tuples with those of each."""
    sizes, is_classes = parameters.hidden_layer_sizes, isinstance(target, Classes)
    best: tuple = FORM, WIDTHS[n_rows > NARROW_ROWS], DROPOUT[is_classes and n_rows > MANY_ROWS]
    is_open = sizes is None and parameters.layer_form == "auto" and parameters.architecture == "snn"
    if may_weigh and is_classes and n_rows > MIXED_ROWS and is_open:
        best = tuple(zip(best, EQUAL, strict=True))
    given = parameters.layer_form, parameters.n_units, parameters.dropout
    chosen = [auto if value == "auto" else value for value, auto in zip(given, best, strict=True)]
    forms, widths, rates = (deal_out(value, k, encoding) for value in chosen)
    if sizes is None:
        each = zip(forms, widths, strict=True)
        own = [layer_sizes(parameters.n_layers, int(width), form, target.n_outputs) for form, width in each]
    else:
        own = [check_sizes(sizes)]
    if callable(parameters.architecture):  # which knows of neither
        own, rates = own[:1], rates[:1]
    return tuple(tuple(values) if len(set(values)) > 1 else values[0] for values in (own, rates))


def deal_out(values, k, encoding):
    """Deal out a tuple of values to k members in turn: the next one to each round of codes."""
    if not isinstance(values, list | tuple):
        return [values] * k
    return [values[j // len(codes_of(encoding)) % len(values)] for j in range(k)]


def check_sizes(hidden_layer_sizes):
    """Return the parameter as a tuple of int."""
    sizes = tuple(np.atleast_1d(hidden_layer_sizes).tolist())
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            f"hidden_layer_sizes must be positive integers, one per layer; got "
            f"{hidden_layer_sizes!r}. Set n_layers and n_units instead, or give (256, 64), say."
        )
    return sizes


def choose_encoding(parameters, target, n_rows, is_wide, n_estimators):
    """Return the code, or the codes that members take in turn."""
    best = best_encoding(parameters, target, n_rows, is_wide)
    if parameters.encoding == "auto" and best is not None and n_estimators > 1:
        return CLASSIFIER_CODES if isinstance(target, Labels) else REGRESSOR_CODES
    if isinstance(parameters.encoding, list | tuple):
        codes = tuple(best if code == "auto" else code for code in parameters.encoding)
        return codes if len(set(codes)) > 1 else codes[0]
    return best if parameters.encoding == "auto" else parameters.encoding


def best_encoding(parameters, target, n_rows, is_wide):
    """Return the code measured to be best, or None for a user's own module, which may want pixels."""
    if not isinstance(parameters.architecture, str) or is_wide:
        return None
    return "onehot" if isinstance(target, Labels) and n_rows <= ONE_HOT_ROWS else "piecewise"


def choose_scale_inputs(parameters, target, earlier=None):
    """Say whether networks learn a factor for each input.

    "auto": those that are trained by Adam, whose steps are of the size of the rate; but not on tasks, where
    it was not measured. Networks that go on keep what they have.
    """
    is_snn = parameters.architecture == "snn"
    if parameters.scale_inputs == "auto":
        if earlier is not None:
            return earlier.scale_inputs
        return is_snn and not isinstance(target, Tasks) and parameters.optimizer in ADAMS
    if parameters.scale_inputs and not is_snn:
        raise ValueError(
            f"scale_inputs=True is for architecture='snn'; got {parameters.architecture!r}. Use "
            "scale_inputs='auto' or False."
        )
    return bool(parameters.scale_inputs)


def choose_batch_size(parameters, target, n_rows):
    """Return the rows of a batch."""
    if parameters.batch_size != "auto":
        return parameters.batch_size
    bounds = CLASSIFIER_BATCH if isinstance(target, Labels) else REGRESSOR_BATCH
    return int(np.clip(2 ** round(np.log2(n_rows / STEPS_PER_EPOCH)), *bounds))


def choose_weight_decay(parameters, n_batches):
    """Return the decay; "auto" takes the same share of the weights in an epoch of any number of steps."""
    if parameters.weight_decay != "auto":
        return parameters.weight_decay
    decoupled = parameters.optimizer in ("adamw", torch.optim.AdamW)
    return AUTO_EPOCH_DECAY / (parameters.lr * n_batches) if decoupled else 0.0
