"""Edges that no other test stood on: ties, single labels, bounds, constant columns, what is shared."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL, raises
from scipy import sparse
from sklearn.metrics import log_loss, r2_score
from sklearn.utils import compute_class_weight
from skorch.callbacks import Callback, LRScheduler
from skorch.history import History
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sksnn import SNNClassifier, SNNRegressor, metrics
from sksnn._training import BestEpoch
from sksnn.encodings import ColumnEncoder, Standardizer, column_moments

X = np.random.default_rng(0).normal(size=(120, 5))
Y = (X[:, 0] > 0).astype(int)
T = 3 * X[:, 0] + 10
TASKS = (X[:, :3] > 0).astype(float)

pytestmark = pytest.mark.filterwarnings("ignore:the final training loss")


# ---------------------------------------------------------------- fits that go on


def test_a_pickle_goes_on_at_the_rate_where_a_scheduler_left_it():
    params = {**SMALL, "warm_start": True, "lr_schedule": "constant"}
    model = SNNClassifier(**params, callbacks=[LRScheduler(StepLR, step_size=2)]).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model)).fit(X, Y)
    assert loaded.loss_curve_ == model.fit(X, Y).loss_curve_


def test_an_epoch_is_best_if_it_beats_all_before_it_in_every_fit():
    """Losses that only fall, as those of the other tests do, would not tell."""
    model = SNNClassifier(**SMALL | {"warm_start": True, "lr_schedule": "constant", "max_epochs": 9})
    model.fit(X, Y).set_params(lr=0.5).fit(X, Y).fit(X, Y)
    losses = model.loss_curve_
    assert losses[9] > min(losses[:9]) and any(np.diff(losses[10:18]) > 0)
    best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert [row["train_loss_best"] for row in model.net_.history] == best


# ---------------------------------------------------------------- losses


def test_the_loss_of_a_single_validation_label():
    model = SNNClassifier(**SMALL, n_iter_no_change=99).fit(X, Y, X_val=X[:1], y_val=Y[:1])
    expected = log_loss(Y[:1], model.predict_proba(X[:1]), labels=[0, 1])
    assert min(model.validation_loss_curve_) == pytest.approx(expected, rel=1e-5)


class Nothing(nn.Module):
    """Outputs 0, whatever it is trained on."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x):
        return 0 * self.scale.expand(len(x), -1)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("n_rows", [40, 90, 1400, 1500, 4000, 12_000, 50_000])
def test_automatic_batches_are_a_32nd_of_the_rows_within_bounds(n_rows):
    """As documented: the nearest power of two (in ratio), from 32 to 256, or to 64 in regression."""
    powers = 2.0 ** np.arange(5, 9)
    expected = powers[np.argmin(abs(np.log(powers * 32 / n_rows)))]
    rows = np.random.default_rng(0).normal(size=(n_rows, 1))
    params = {"hidden_layer_sizes": 1, "max_epochs": 1, "encoding": None, "early_stopping": False}
    model = SNNClassifier(**params, random_state=0).fit(rows, rows[:, 0] > 0)
    assert model.net_.batch_size == expected
    model = SNNRegressor(**params, random_state=0).fit(rows, rows[:, 0])
    assert model.net_.batch_size == min(expected, 64)


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize(
    ("score", "y", "prediction"),
    [
        (metrics.masked_roc_auc_score, [0, 1, 1], [0.1, 0.2, 0.3]),
        (metrics.masked_average_precision_score, [0, 1, 1], [0.1, 0.2, 0.3]),
        (metrics.masked_r2_score, [5.0, 1.0], [5.0, 2.0]),
    ],
)
def test_rows_of_weight_0_make_no_task_computable(score, y, prediction):
    """What is left has one class, or one value: no score, as if those rows were not there."""
    weight = np.ones(len(y))
    weight[0] = 0
    assert np.isnan(score(y, prediction, sample_weight=weight))
    assert np.isnan(score(y[1:], prediction[1:]))


# ---------------------------------------------------------------- data


def test_codes_of_columns_whose_sums_overflow():
    """Cuts lie half-way between values, also where two values have no sum."""
    column = np.array([[1.0], [1.25], [1.75]]) * 1e308
    encoder = ColumnEncoder.fit(column, encoding="onehot", standardizer=Standardizer.identity(1))
    np.testing.assert_allclose(encoder.low.numpy(), [-np.inf, 1.125e308, 1.5e308])


@pytest.mark.parametrize("n_present", [0, 10])
def test_an_output_that_a_first_chunk_lacks_is_not_scaled(n_present):
    """Of no values at all, or of values on rows without weight, nothing can be learned."""
    targets, weight = np.column_stack([T, T]), np.r_[np.zeros(10), np.ones(110)]
    targets[n_present:, 1] = np.nan
    model = SNNRegressor(**SMALL).partial_fit(X, targets, sample_weight=weight if n_present else None)
    bias = list(model.net_.module_.network.parameters())[-1]
    assert np.isfinite(model.predict(X)).all() and bias[1] == 0 != bias[0]


@pytest.mark.parametrize("y", [Y - 1.0, (Y - 1.0)[:, None].tolist()])
def test_a_float_that_marks_missing_labels_is_no_class(y):
    with raises("missing"):
        SNNClassifier(**SMALL, missing_label=-1).fit(X, np.ravel(y))


def test_moments_are_taken_from_a_row_that_counts():
    """Distances from a far row without weight would leave no digits to those that have some."""
    rows = np.array([[1e15], [1.01], [2.03]])
    mean, deviation = column_moments(rows, np.array([0, 1, 1]))
    np.testing.assert_allclose((mean[0], deviation[0]), (1.52, 0.51), rtol=1e-12)


def test_repeated_entries_of_the_users_matrix_stay():
    repeated = sparse.csr_matrix(
        (np.ones(240), np.repeat(np.arange(120) % 5, 2), np.arange(0, 241, 2)), shape=(120, 5)
    )
    labels = np.arange(120) % 5 > 2
    model = SNNClassifier(**SMALL).fit(repeated, labels)
    assert repeated.nnz == 240
    np.testing.assert_allclose(model.predict_proba(repeated), model.predict_proba(repeated.toarray()))


def test_patience_counts_from_the_weights_a_second_fit_begins_with():
    """They are what the first epoch has to beat; before, any first epoch was progress."""
    params = {**SMALL, "early_stopping": True, "warm_start": True, "n_iter_no_change": 2}
    model = SNNClassifier(**params).fit(X, Y)
    n_before = model.n_iter_
    model.set_params(tol=1e3, max_epochs=9).fit(X, Y)
    assert model.n_iter_ == n_before + 2


def test_a_constant_target_is_centred_only():
    first, second = (SNNRegressor(**SMALL).fit(X, np.full(120, c)).predict(X) for c in (0.0, 7.0))
    np.testing.assert_allclose(second - 7, first, rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------- early stopping


@pytest.mark.parametrize(
    ("losses", "n_epochs", "best"),
    [
        ([1.0, 0.5, 0.5, 0.5, 0.0], 4, 2),  # a gain of tol itself is none
        ([1.0, 0.875, 0.75, 0.375, 0.25, 0.125, 0.0], 7, 7),  # small gains add up
        ([1.0, 1.0, 1.0, 1.0, 1.0], 4, 1),  # of equal epochs the first
        ([1.0, 2.0, 0.75, 3.0, 0.0], 4, 3),  # the best is kept though it gained too little
    ],
)
def test_progress_is_a_gain_of_more_than_tol_over_the_last_progress(losses, n_epochs, best):
    net = SimpleNamespace(history=History(), stop_=False, module_=SimpleNamespace(network=nn.Linear(1, 1)))
    stopper = BestEpoch(tol=0.5, patience=3)
    stopper.on_train_begin(net)
    for loss in losses:
        net.history.new_epoch()
        net.history.record("valid_loss", loss)
        stopper.on_epoch_begin(net)
        stopper.on_epoch_end(net)
        if net.stop_:
            break
    assert (len(net.history), stopper.best_epoch_) == (n_epochs, best)


class FasterFrom(Callback):
    def __init__(self, epoch, lr):
        self.epoch, self.lr = epoch, lr

    def on_epoch_begin(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] = self.lr if len(net.history) >= self.epoch else group["lr"]


def test_what_was_learned_is_judged_by_the_epoch_kept():
    params = {**SMALL, "early_stopping": True, "lr_schedule": "constant"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SNNClassifier(**params, callbacks=[FasterFrom(4, 5.0)]).fit(X, Y)
    assert model.best_epoch_ < 4
    assert model.loss_curve_[model.best_epoch_ - 1] < np.log(2) < model.loss_curve_[-1]


class StopAfter(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.stop_ = len(net.history) >= 2


def test_another_callback_may_stop_a_fit_that_still_improves():
    model = SNNClassifier(**SMALL, early_stopping=True, callbacks=[StopAfter()]).fit(X, Y)
    assert model.n_iter_ == 2


def test_classes_are_balanced_by_the_weight_of_their_rows():
    params = {**SMALL, "batch_size": 1000, "optimizer": "sgd", "weight_decay": 0.0, "dropout": 0.0}
    params |= {"class_weight": "balanced", "encoding": None, "precision": "float64"}
    weight = np.where(Y, 3, 1)
    first = SNNClassifier(**params).fit(X, Y, sample_weight=weight)
    second = SNNClassifier(**params).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), rtol=1e-9)
    assert first._class_weight[0] == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=np.repeat(Y, weight))
    )


def test_weights_count_in_the_score_of_several_outputs():
    targets, weight = np.column_stack([T, X[:, 1]]), np.arange(120.0)
    model = SNNRegressor(**SMALL).fit(X, targets)
    expected = r2_score(targets, model.predict(X), sample_weight=weight)
    assert model.score(X, targets, weight) == pytest.approx(expected)


def test_a_decay_that_turns_weights_around_and_makes_them_grow_is_named():
    """Each step multiplies weights by 1 - 2.5."""
    params = {**SMALL, "weight_decay": 2.5 / SMALL["lr"], "lr_schedule": "constant", "max_epochs": 60}
    with raises("weight_decay times lr at 2.5"):
        SNNClassifier(**params).fit(X, Y)


@pytest.mark.parametrize("encoding", ["onehot", "thermometer"])
def test_a_value_on_a_cut_belongs_below_it(encoding):
    """As in np.digitize(right=True): an interval holds its upper end, and a cut is above itself never."""
    n_values = 3 if encoding == "onehot" else 90
    encoder = ColumnEncoder.fit(np.arange(float(n_values))[:, None], encoding=encoding)
    ends = encoder.low.numpy()
    cuts = ends[np.isfinite(ends)]
    below, at, above = (
        encoder(torch.from_numpy(x)[:, None])[:, 1:] for x in (cuts - 0.25, cuts, cuts + 0.25)
    )
    assert len(cuts) == (2 if encoding == "onehot" else 8)
    assert torch.equal(at, below) and not (at == above).all(dim=1).any()


@pytest.mark.parametrize("value", [1.7e308, -1.7e308])
def test_a_constant_column_of_the_largest_numbers_is_constant(value):
    mean, deviation = column_moments(np.full((3, 1), value))
    assert (mean[0], deviation[0]) == (value, 0)


def test_a_dict_of_the_optimizer_changed_after_fit_does_not_spoil_a_pickle():
    params = {"momentum": 0.5}
    model = SNNClassifier(**SMALL, optimizer="sgd", optimizer_params=params).fit(X, Y)
    params["nonsense"] = 1
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.net_.optimizer_.param_groups[0]["momentum"] == 0.5
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_the_criterion_that_fit_leaves_does_not_smooth_labels():
    net = SNNClassifier(**SMALL, label_smoothing=0.5).fit(X, Y).net_
    logits = net.forward_rows(X)
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(Y))
    assert net.criterion_(logits, torch.from_numpy(Y)).item() == pytest.approx(expected.item())


def test_the_loss_before_an_epoch_has_no_dropout_and_no_smoothing():
    net = SNNClassifier(**SMALL, dropout=0.5, label_smoothing=0.5).fit(X, Y).net_
    expected = log_loss(Y, torch.softmax(net.forward_rows(X), 1).numpy())
    net.module_.train()
    net.criterion_.train()
    assert net.mean_loss(net.get_dataset(X, torch.from_numpy(Y))) == pytest.approx(expected, rel=1e-5)


class Logging(Callback):
    def __init__(self, log):
        self.log = log

    def on_epoch_end(self, net, **kwargs):
        self.log["epochs"].append(len(net.history))


def test_a_dict_that_a_callback_writes_into_is_the_users():
    log = {"epochs": [], "seen": 0}
    model = SNNClassifier(**SMALL, callbacks=[Logging(log)]).fit(X, Y)
    assert dict(model.net_.callbacks_)["Logging"].log is log and log["epochs"] == [1, 2, 3, 4, 5]


def test_of_equal_epochs_the_first_is_best():
    net = SNNClassifier(**SMALL, architecture=Nothing).fit(X, np.arange(120) % 2).net_
    assert net.history[:, "train_loss_best"] == [True, False, False, False, False]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_numbers_of_the_other_byte_order(dtype):
    native, foreign = X.astype("=" + dtype), X.astype(">" + dtype).copy()
    models = [SNNClassifier(**SMALL).fit(rows, Y) for rows in (native, foreign)]
    probabilities = [model.predict_proba(rows) for model in models for rows in (native, foreign)]
    for other in probabilities[1:]:
        np.testing.assert_array_equal(other, probabilities[0])


@pytest.mark.filterwarnings("ignore:task 2 of y .column 2. has labels of one class only")
def test_balanced_tasks_of_which_one_has_a_single_class():
    tasks = np.column_stack([TASKS[:, :2], np.zeros(120)])
    model = SNNClassifier(**SMALL, class_weight="balanced").fit(X, tasks)
    alone = SNNClassifier(**SMALL, class_weight="balanced").fit(X, TASKS[:, :2])
    np.testing.assert_allclose(model._class_weight[:2], alone._class_weight)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("seed", [4, 5])  # the rounded share is below 1, and above
def test_a_constant_sparse_column_of_rows_with_weight_is_exactly_constant(seed):
    """Sums of weights round; the share of rows that have an entry must not be 1 less an epsilon."""
    weight = np.random.default_rng(seed).uniform(size=1000)
    weight[:10] = 0
    rows = sparse.csr_matrix(np.column_stack([np.full(1000, 3.7), np.arange(1000.0) % 7]))
    scaled = Standardizer.fit(rows, weight)(torch.from_numpy(rows.toarray()))
    assert (scaled[:, 0] == 0).all() and (scaled[:, 1] != 0).all()


@pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
def test_missing_labels_are_no_cause_of_divergence(estimator):
    """'y, standardised by the training rows, holds values of inf' was said of labels that are missing."""
    tasks = TASKS.copy()
    tasks[::7, 1] = np.nan
    with raises("training diverged. Use a smaller lr (now 1e+20)"):
        estimator(**SMALL | {"optimizer": "sgd", "lr": 1e20, "weight_decay": 0.0}).fit(X, tasks)
