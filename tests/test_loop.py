"""The loop against plain torch; optimizers, schedules and weight decay; the history."""

import gc
import weakref
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import LEARNING, SIX_EPOCHS, SMALL, X, Y, unfinished
from helpers import SeesBatches
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    Callback,
)
from skorch.history import History
from torch import nn

from sksnn import SNNClassifier, SNNRegressor, _device, _engine
from sksnn._members import BestEpoch
from sksnn._optimizers import OPTIMIZERS, make_optimizer
from sksnn._rows import Rows

# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize("scale_inputs", [False, True])
def test_the_loop_is_the_textbook_loop_in_plain_torch(whole_cancer, scale_inputs):
    """Same initial weights, permutations and optimizer: the same weights, in plain torch."""
    X, y = whole_cancer
    settings = {
        **SIX_EPOCHS,
        "scale_inputs": scale_inputs,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "optimizer": "adam",
        "label_smoothing": 0.0,
    }
    clf = SNNClassifier(**settings, lr_schedule="cosine").fit(X, y)

    generators = _device.Generators(np.random.RandomState(0).randint(2**31 - 1), torch.device("cpu"))
    init = torch.Generator().manual_seed(generators.init)
    layers = [nn.Linear(i, o) for i, o in ((30, 16), (16, 6), (6, 2))]
    for layer in layers:
        with torch.no_grad():
            layer.weight.normal_(0, layer.in_features**-0.5, generator=init)
            layer.bias.zero_()
    net = nn.Sequential(layers[0], nn.SELU(), layers[1], nn.SELU(), layers[2])
    inputs = torch.from_numpy(StandardScaler().fit_transform(X)).float()
    labels = torch.from_numpy(y)
    scale = torch.ones(30, requires_grad=scale_inputs)
    groups = [{"params": [*net.parameters()]}, {"params": [scale], "lr": 6e-2}]
    optimizer = torch.optim.Adam(groups[: 1 + scale_inputs], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    losses = []
    for _ in range(6):
        total = 0.0
        for batch in torch.randperm(len(y), generator=generators.shuffle).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs[batch] * scale), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        losses.append(total / len(y))
    np.testing.assert_allclose(clf.loss_curve_, losses, rtol=1e-4)
    np.testing.assert_allclose(
        clf.decision_function(X.astype(np.float32)),
        (lambda z: z[:, 1] - z[:, 0])(net(inputs * scale).detach().numpy()),
        atol=2e-3,
    )


def test_the_host_reads_the_losses_once_per_epoch(whole_cancer, monkeypatch):
    X, y = whole_cancer
    looks = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, o=original, n=name: looks.append(n) or o(self))
    SNNClassifier(**SIX_EPOCHS, early_stopping=True, optimizer="sgd").fit(X, y)
    assert looks.count("tolist") == 6
    assert len(looks) <= 6 + 3, f"six epochs; finite weights and the constant's loss after them: {looks}"


def test_the_data_are_released_after_a_fit(whole_cancer, monkeypatch):
    X, y = whole_cancer
    tables = []
    original = Rows.__init__
    monkeypatch.setattr(
        Rows, "__init__", lambda self, *a: tables.append(weakref.ref(self)) or original(self, *a)
    )
    clf = SNNClassifier(**SIX_EPOCHS, early_stopping=True).fit(X, y)
    gc.collect()
    assert len(tables) > 2 and not any(table() for table in tables)
    assert clf.n_iter_ == 6


@unfinished
def test_the_loss_before_an_epoch_has_no_dropout_and_no_smoothing():
    clf = SNNClassifier(**SMALL, dropout=0.5, label_smoothing=0.5, warm_start=True).fit(X, Y)
    expected, losses = log_loss(Y, clf.predict_proba(X)), []
    with mock.patch.object(BestEpoch, "begin_with", lambda self, loss: losses.append(loss)):
        clf.set_params(early_stopping=True).fit(X, Y, X_val=X, y_val=Y)
    assert losses[0] == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------- optimizers, schedules and weight decay


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_named_optimizer_lowers_the_loss(whole_cancer, name):
    X, y = whole_cancer
    lr = {"adadelta": 1.0, "lbfgs": 0.1}.get(name, 1e-2)
    batch_size = 1000 if name in ("lbfgs", "rprop") else 64  # these two want the whole gradient
    settings = {**SIX_EPOCHS, "lr": lr, "batch_size": batch_size, "dropout": 0.0, "weight_decay": 0.0}
    clf = SNNClassifier(**settings, optimizer=name).fit(X, y)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]


def test_an_optimizer_class_and_its_name_give_one_fit(whole_cancer):
    X, y = whole_cancer
    settings = {**SIX_EPOCHS, "optimizer_params": {"betas": (0.8, 0.9)}, "weight_decay": 0.0}
    by_name = SNNClassifier(**settings, optimizer="nadam").fit(X, y)
    by_class = SNNClassifier(**settings, optimizer=torch.optim.NAdam).fit(X, y)
    np.testing.assert_array_equal(by_name.predict_proba(X), by_class.predict_proba(X))
    assert by_name.net_.optimizer_.param_groups[0]["betas"] == (0.8, 0.9)


def test_schedules_set_the_rate_of_each_epoch(whole_cancer):
    X, y = whole_cancer
    seen = []

    class Rates(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    SNNClassifier(**SIX_EPOCHS, lr_schedule="cosine", callbacks=[Rates()]).fit(X, y)
    np.testing.assert_allclose(seen, 1e-2 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2)
    seen.clear()
    SNNClassifier(**SIX_EPOCHS, lr_schedule="constant", callbacks=[Rates()]).fit(X, y)
    assert seen == [1e-2] * 6


class Clock(Callback):
    """An epoch takes a second by the clock that the engine reads; rates and epochs are noted."""

    def __init__(self, monkeypatch, seconds=1.0):
        self.now, self.seconds, self.rates = 0.0, seconds, []
        monkeypatch.setattr(_engine, "monotonic", lambda: self.now)

    def __copy__(self):
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.now += self.seconds


@pytest.mark.parametrize(("max_time", "n_epochs"), [(0.5, 1), (3.0, 3), (3.5, 4), (100.0, 6)])
@unfinished
def test_training_ends_with_the_epoch_in_which_the_time_is_over(max_time, n_epochs, monkeypatch):
    clock = Clock(monkeypatch)
    model = SNNClassifier(**SIX_EPOCHS, max_time=max_time, callbacks=[clock], warm_start=True).fit(X, Y)
    assert model.n_iter_ == n_epochs
    progress = np.maximum(np.arange(n_epochs) / 6, np.arange(n_epochs) / max_time)
    np.testing.assert_allclose(clock.rates, 1e-2 * (1 + np.cos(np.pi * progress)) / 2, rtol=1e-12)
    assert model.fit(X, Y).n_iter_ == 2 * n_epochs  # each fit has the time anew


@unfinished
def test_the_time_ends_a_fit_that_stops_early_with_its_best_weights(monkeypatch):
    scores = iter([0.0, 1.0, 0.5, 0.2, 0.1])
    settings = {"callbacks": [Clock(monkeypatch)], "scoring": lambda *_: next(scores), "early_stopping": True}
    model = SNNClassifier(**SIX_EPOCHS, max_time=4, lr_schedule="constant", **settings).fit(X, Y)
    assert model.n_iter_ == 4 and model.best_epoch_ == 2


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("lr_schedule", ["constant", "cosine"])
def test_time_that_does_not_run_out_changes_nothing(n_estimators, lr_schedule):
    """But for the rounding of the cosine."""
    params = SIX_EPOCHS | {"n_estimators": n_estimators, "lr_schedule": lr_schedule, "precision": "float64"}
    losses = [SNNClassifier(**params, max_time=limit).fit(X, Y).loss_curve_ for limit in (None, 1e9)]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_weight_decay_spares_biases():
    layer = nn.Linear(3, 2)
    optimizer = make_optimizer("sgd", layer.parameters(), 0.1, 0.5, {"momentum": 0.9})
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(layer.weight): 0.5, id(layer.bias): 0.0}
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


@pytest.mark.parametrize("rows", [50, 442])
@pytest.mark.parametrize("lr", [1e-3, 1e-2])
def test_automatic_weight_decay_takes_a_hundredth_of_the_weights_per_epoch(rows, lr, whole_diabetes):
    X, y = whole_diabetes
    reg = SNNRegressor(**{**LEARNING, "lr": lr, "lr_schedule": "constant"}, batch_size=32).fit(
        X[:rows], y[:rows]
    )
    decay = max(group["weight_decay"] for group in reg.net_.optimizer_.param_groups)
    assert (1 - lr * decay) ** np.ceil(rows / 32) == pytest.approx(0.99, abs=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rprop"])
def test_other_optimizers_have_no_automatic_weight_decay(optimizer, whole_diabetes):
    reg = SNNRegressor(**LEARNING, optimizer=optimizer).fit(*whole_diabetes)
    assert not any(group.get("weight_decay", 0) for group in reg.net_.optimizer_.param_groups)


# ---------------------------------------------------------------- the history


def test_the_history_has_one_entry_per_phase_unless_a_callback_asks_for_batches(whole_cancer):
    X, y = whole_cancer
    plain = SNNClassifier(**SIX_EPOCHS, early_stopping=True).fit(X, y)
    assert [len(row["batches"]) for row in plain.net_.history] == [2] * 6
    asked = SNNClassifier(**SIX_EPOCHS, early_stopping=True, callbacks=[SeesBatches()]).fit(X, y)
    assert [len(row["batches"]) for row in asked.net_.history] == [9] * 6
    np.testing.assert_allclose(plain.loss_curve_, asked.loss_curve_, rtol=1e-12)
    np.testing.assert_array_equal(plain.predict_proba(X), asked.predict_proba(X))


class Nothing(nn.Module):
    """Outputs 0, whatever it is trained on."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x):
        return 0 * self.scale.expand(len(x), -1)


@unfinished
def test_of_equal_epochs_the_first_is_best():
    net = SNNClassifier(**SMALL, architecture=Nothing).fit(X, np.arange(120) % 2).net_
    assert net.history[:, "train_loss_best"] == [True, False, False, False, False]


@unfinished
def test_an_epoch_is_best_if_it_beats_all_before_it_in_every_fit():
    """Losses that only fall, as those of the other tests do, would not tell."""
    model = SNNClassifier(**SMALL | {"warm_start": True, "lr_schedule": "constant", "max_epochs": 9})
    model.fit(X, Y).set_params(lr=0.5).fit(X, Y).fit(X, Y)
    losses = model.loss_curve_
    assert losses[9] > min(losses[:9]) and any(np.diff(losses[10:18]) > 0)
    best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert [row["train_loss_best"] for row in model.net_.history] == best


def test_the_best_loss_is_remembered_over_fits():
    model = SNNClassifier(**SMALL | {"warm_start": True, "lr": 0.05, "lr_schedule": "constant"}).fit(X, Y)
    model.fit(X, Y)
    losses = model.loss_curve_
    best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert [row["train_loss_best"] for row in model.net_.history] == best


class Untouchable(dict):
    """A row of the history that nobody may read while training goes on."""

    armed = True

    def _refuse(self, *args):
        assert not Untouchable.armed, "an earlier epoch was read"

    def __getitem__(self, key):
        self._refuse()
        return super().__getitem__(key)

    def __contains__(self, key):
        self._refuse()
        return super().__contains__(key)

    def get(self, *args):
        self._refuse()
        return super().get(*args)


class Sealing(Callback):
    def on_train_begin(self, net, **kwargs):
        Untouchable.armed = True

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > 1:
            list.__setitem__(net.history, -2, Untouchable(list.__getitem__(net.history, -2)))

    def on_train_end(self, net, **kwargs):
        Untouchable.armed = False


def test_an_epoch_does_not_read_those_before_it():
    """The history was scanned for the best loss: 0.8 ms per epoch became 1.8 after 6 000."""
    model = SNNClassifier(**SMALL | {"early_stopping": True}, callbacks=[Sealing()]).fit(X, Y)
    for key in ("train_loss", "valid_loss"):
        losses = [row[key] for row in model.net_.history]
        best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
        assert [row[key + "_best"] for row in model.net_.history] == best


def test_a_row_of_the_history_is_found_without_a_copy_of_all(monkeypatch):
    """skorch copies its list of rows for each number that it writes into the last."""
    copies = []
    to_list = History.to_list
    monkeypatch.setattr(History, "to_list", lambda self: copies.append(len(self)) or to_list(self))
    net = SNNClassifier(**SMALL | {"early_stopping": True}).fit(X, Y).net_
    assert copies == []
    assert net.history[-1] is net.history.to_list()[-1] and len(net.history[:, "train_loss"]) == len(
        net.history
    )
    assert net.history[-1, "train_loss"] == net.history[:, "train_loss"][-1]
