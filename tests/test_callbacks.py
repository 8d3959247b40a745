"""Callbacks of skorch and of users in the loop; and Ctrl-C."""

import copy
import pickle
import signal

import numpy as np
import pytest
import torch
from conftest import SIX_EPOCHS, SMALL, X, Y, raises, unfinished
from helpers import SeesBatches
from sklearn.base import clone
from sklearn.metrics import accuracy_score, roc_auc_score
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)

from sksnn import SNNClassifier, SNNRegressor
from sksnn._engine import Engine
from sksnn._skorch import ClassifierNet
from sksnn._step import WrittenOut
from sksnn.metrics import masked_roc_auc_scorer

# ---------------------------------------------------------------- skorch's


def test_epoch_scoring_gives_the_score(whole_cancer):
    X, y = whole_cancer
    train, valid = slice(100, None), slice(0, 100)
    callbacks = [
        EpochScoring("roc_auc", name="auc", lower_is_better=False),
        EpochScoring("accuracy", name="slow", use_caching=False, lower_is_better=False),
        EpochScoring("accuracy", name="train", on_train=True, lower_is_better=False),
    ]
    clf = SNNClassifier(**SIX_EPOCHS, callbacks=callbacks, n_iter_no_change=100)
    clf.fit(X[train], y[train], X_val=X[valid], y_val=y[valid])
    best = clf.net_.history[clf.best_epoch_ - 1]
    assert best["auc"] == pytest.approx(roc_auc_score(y[valid], clf.predict_proba(X[valid])[:, 1]), abs=1e-6)
    assert best["slow"] == accuracy_score(y[valid], clf.predict(X[valid]))
    assert 0.5 < best["train"] <= 1
    assert not hasattr(callbacks[0], "best_score_"), "the user's own object was run"


def test_epoch_scoring_gives_the_score_of_a_regressor(whole_cancer):
    X, y = whole_cancer
    reg = SNNRegressor(**SIX_EPOCHS, callbacks=[EpochScoring("r2", name="r2", lower_is_better=False)])
    reg.fit(X, y, X_val=X, y_val=y)
    assert reg.net_.history[reg.best_epoch_ - 1, "r2"] == pytest.approx(reg.score(X, y), abs=1e-4)


def test_callbacks_see_tasks_and_missing_labels(gappy_tasks):
    X, Y = gappy_tasks
    callbacks = [
        EpochScoring(masked_roc_auc_scorer, name="auc", lower_is_better=False),
        BatchScoring(masked_roc_auc_scorer, name="batch_auc", lower_is_better=False),
        LRScheduler("CosineAnnealingLR", T_max=6),
        GradientNormClipping(1.0),
    ]
    settings = {**SIX_EPOCHS, "lr_schedule": "constant", "callbacks": callbacks, "n_iter_no_change": 100}
    clf = SNNClassifier(**settings).fit(X, Y, X_val=X, y_val=Y)
    best = clf.net_.history[clf.best_epoch_ - 1]
    assert best["auc"] == pytest.approx(masked_roc_auc_scorer(clf, X, Y), abs=1e-6)
    assert best["batch_auc"] == pytest.approx(best["auc"], abs=1e-6), "one batch holds all validation rows"


def test_batch_scoring_averages_batches(whole_cancer):
    X, y = whole_cancer
    scoring = BatchScoring("accuracy", name="acc", on_train=True, lower_is_better=False)
    clf = SNNClassifier(**SIX_EPOCHS, callbacks=[scoring]).fit(X, y)
    rows = clf.net_.history[-1]["batches"]
    sizes = [row["train_batch_size"] for row in rows]
    assert sum(sizes) == len(X)
    expected = np.average([row["acc"] for row in rows], weights=sizes)
    assert clf.net_.history[-1, "acc"] == pytest.approx(expected)


@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_lr_scheduler_steps_per_epoch_or_per_batch(whole_cancer, every):
    X, y = whole_cancer
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.9, step_every=every)
    clf = SNNClassifier(**SIX_EPOCHS, lr_schedule="constant", callbacks=[scheduler]).fit(X, y)
    steps = 6 if every == "epoch" else 6 * 9
    assert clf.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9**steps)


def test_skorch_early_stopping_ends_training_normally(whole_cancer):
    X, y = whole_cancer
    stopping = EarlyStopping(patience=2, threshold=1e3, threshold_mode="abs", load_best=True)
    clf = SNNClassifier(**SIX_EPOCHS, early_stopping=True, callbacks=[stopping]).fit(X, y)
    assert clf.n_iter_ == 3 and np.isfinite(clf.predict_proba(X)).all()


def test_gradient_clipping_by_parameter_and_by_callback_are_the_same(whole_cancer):
    X, y = whole_cancer
    by_parameter = SNNClassifier(**SIX_EPOCHS, max_grad_norm=0.1).fit(X, y)
    by_callback = SNNClassifier(**SIX_EPOCHS, callbacks=[GradientNormClipping(0.1)]).fit(X, y)
    np.testing.assert_array_equal(by_parameter.predict_proba(X), by_callback.predict_proba(X))
    assert not np.array_equal(
        by_parameter.predict_proba(X), SNNClassifier(**SIX_EPOCHS).fit(X, y).predict_proba(X)
    )


def test_gradients_are_seen_between_backward_and_step(whole_cancer):
    X, y = whole_cancer
    norms = []

    class Look(Callback):
        def on_grad_computed(self, net, named_parameters, batch, training, **kwargs):
            norms.append(sum(p.grad.norm().item() for _, p in named_parameters))
            assert training and batch[1].ndim == 1

    SNNClassifier(**SIX_EPOCHS, callbacks=[Look()]).fit(X, y)
    assert len(norms) == 6 * 9 and min(norms) > 0


def test_checkpoint_restores_its_best(whole_cancer, tmp_path):
    X, y = whole_cancer
    checkpoint = Checkpoint(dirname=str(tmp_path), load_best=True, f_pickle=None)
    clf = SNNClassifier(**SIX_EPOCHS, early_stopping=True, n_iter_no_change=100, callbacks=[checkpoint]).fit(
        X, y
    )
    assert (tmp_path / "params.pt").exists()
    assert clf.n_iter_ == clf.best_epoch_, "skorch puts the history of the best epoch back, too"
    assert clf.score(X, y) > 0.8


def test_skorchs_own_progress_bar_counts_batches(whole_cancer, capsys):
    SNNClassifier(**SIX_EPOCHS, callbacks=[ProgressBar()]).fit(*whole_cancer)
    assert "/9" in capsys.readouterr().err


# ---------------------------------------------------------------- names and copies


def test_callbacks_are_named_and_checked(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, callbacks=[("mine", SeesBatches)]).fit(X, y)
    assert isinstance(dict(clf.net_.callbacks_)["mine"], SeesBatches)
    with raises("callbacks must be skorch callbacks, or pairs of a name and a callback; got 3", TypeError):
        SNNClassifier(**SIX_EPOCHS, callbacks=[3]).fit(X, y)
    assert clone(SNNClassifier(callbacks=[GradientNormClipping(2.0)])).callbacks[0].gradient_clip_value == 2.0


def test_callbacks_that_hold_each_other_still_do(tmp_path):
    """Each was copied alone, so that LoadInitState held the original checkpoint."""
    checkpoint = TrainEndCheckpoint(dirname=tmp_path)
    params = {**SMALL, "max_epochs": 2, "callbacks": [checkpoint, ("load", LoadInitState(checkpoint))]}
    first = SNNClassifier(**params).fit(X, Y)
    second = SNNClassifier(**params).fit(X, Y)
    copies = dict(second.net_.callbacks_)
    assert copies["load"].checkpoint is copies["TrainEndCheckpoint"] is not checkpoint
    assert second.loss_curve_[:2] == first.loss_curve_  # the checkpoint's history,
    assert second.loss_curve_[2] < first.loss_curve_[0]  # and weights


class Holding(Callback):
    def __init__(self, others):
        self.others = others


def test_callbacks_are_copied_in_containers_and_other_objects_are_shared():
    one, trial = Holding(None), object()
    other = Holding({"list": [one, (one, trial)]})
    model = SNNClassifier(**SMALL, callbacks=[("one", one), ("other", other)]).fit(X, Y)
    copies = dict(model.net_.callbacks_)
    inside = copies["other"].others["list"]
    assert inside[0] is inside[1][0] is copies["one"] is not one
    assert inside[1][1] is trial and other.others["list"][0] is one


class Logging(Callback):
    def __init__(self, log):
        self.log = log

    def on_epoch_end(self, net, **kwargs):
        self.log["epochs"].append(len(net.history))


def test_a_dict_that_a_callback_writes_into_stays_the_users():
    log = {"epochs": [], "seen": 0}
    model = SNNClassifier(**SMALL, callbacks=[Logging(log)]).fit(X, Y)
    assert dict(model.net_.callbacks_)["Logging"].log is log and log["epochs"] == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- interruptions


def test_an_exception_of_a_callback_leaves_nothing_fitted(whole_cancer):
    X, y = whole_cancer

    class Pruned(Exception):
        pass

    class Prune(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise Pruned

    clf = SNNClassifier(**SIX_EPOCHS, callbacks=[Prune()])
    with pytest.raises(Pruned):
        clf.fit(X, y)
    assert not clf.__sklearn_is_fitted__() and not hasattr(clf, "classes_")


@pytest.fixture
def ctrl_c():
    """Let SIGINT raise KeyboardInterrupt also where a shell started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupt(Callback):
    """Press Ctrl-C in epoch 3: at its end, or within it where the loop itself is running."""

    def __init__(self, where):
        self.where = where

    def on_epoch_end(self, net, **kwargs):
        if self.where == "callback" and len(net.history) == 3:
            raise KeyboardInterrupt


def begin_and_count(epochs):
    begin = ClassifierNet.on_epoch_begin

    def counted(self, *args, **kwargs):
        epochs.append(1)
        return begin(self, *args, **kwargs)

    return counted


@pytest.mark.parametrize("where", ["end", "middle", "first"])
def test_ctrl_c_keeps_the_epochs_done_and_is_raised_again(whole_cancer, monkeypatch, ctrl_c, where):
    """A Ctrl-C used to end one fit silently, and a grid search went on with half a model."""
    X, y = whole_cancer
    owner, name = (ClassifierNet, "on_epoch_end") if where == "end" else (Engine, "step")
    original, epochs = getattr(owner, name), []
    monkeypatch.setattr(ClassifierNet, "on_epoch_begin", begin_and_count(epochs))

    def pressed(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if len(epochs) == (1 if where == "first" else 3):
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, pressed)
    clf = SNNClassifier(**SIX_EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    monkeypatch.undo()
    if where == "first":
        assert not clf.__sklearn_is_fitted__()
        return
    assert clf.n_iter_ == len(clf.loss_curve_) == (3 if where == "end" else 2)
    assert clf.score(X, y) > 0.5
    pickle.loads(pickle.dumps(clf)).predict(X)


@pytest.mark.parametrize("target", [PrintLog, GradientNormClipping])
def test_ctrl_c_inside_our_own_callbacks_is_raised_again(whole_cancer, monkeypatch, ctrl_c, target):
    """It was taken for a callback's wish to stop, and fit returned as if all were well."""
    settings, hook = (
        ({"verbose": 2}, "on_epoch_end")
        if target is PrintLog
        else ({"callbacks": [GradientNormClipping(1.0)]}, "on_grad_computed")
    )
    monkeypatch.setattr(target, hook, lambda self, net, **kwargs: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        SNNClassifier(**SIX_EPOCHS, **settings).fit(*whole_cancer)


def test_a_keyboard_interrupt_of_a_callback_ends_training_normally(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, callbacks=[Interrupt("callback")]).fit(X, y)
    assert clf.n_iter_ == 3


def test_a_callback_may_stop_at_the_very_end(whole_cancer):
    class Stop(Callback):
        def on_train_end(self, net, **kwargs):
            raise KeyboardInterrupt

    assert SNNClassifier(**SIX_EPOCHS, callbacks=[Stop()]).fit(*whole_cancer).n_iter_ == 6


# ---------------------------------------------------------------- callbacks that replace something


class Replaces(Callback):
    """Put something else in the place of a part of the net at the beginning of the third epoch."""

    def __init__(self, what):
        self.what = what

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            if self.what == "optimizer":
                parameters = [p for network in net.module_.networks for p in network.parameters()]
                net.optimizer_ = torch.optim.SGD(parameters, lr=0.0)
            elif self.what == "loss":
                net.criterion_ = type(net.criterion_)(label_smoothing=0.9)
            else:
                net.module_.network = copy.deepcopy(net.module_.network)
                net.initialize_optimizer()


@unfinished
@pytest.mark.parametrize("architecture", ["snn", "layernorm"])
@pytest.mark.parametrize("what", ["optimizer", "loss", "network"])
def test_what_a_callback_replaces_is_used_from_then_on(what, architecture):
    """Training went on with the old one, unseen, and the estimator kept the new one, untrained."""
    settings = {**SIX_EPOCHS, "architecture": architecture}
    plain = SNNClassifier(**settings).fit(X, Y)
    model = SNNClassifier(**settings, callbacks=[Replaces(what)]).fit(X, Y)
    assert model.loss_curve_[:2] == plain.loss_curve_[:2] and model.loss_curve_[3:] != plain.loss_curve_[3:]
    if what == "optimizer":
        two = SNNClassifier(**settings, callbacks=[Replaces(what)]).set_params(max_epochs=3).fit(X, Y)
        assert type(model.net_.optimizer_) is torch.optim.SGD and two.n_iter_ == 3
        assert model.loss_curve_[2] == pytest.approx(model.loss_curve_[5], rel=0.2), "nothing moves any more"
    if what == "loss":
        assert model.loss_curve_[3] > plain.loss_curve_[3] + 0.05
    if what == "network":
        assert model.score(X, Y) > 0.85 and model.loss_curve_[-1] < model.loss_curve_[1]


class LayerwiseRates(Callback):
    """Give each layer a group, and so a rate, of its own; the first layer none."""

    def on_epoch_begin(self, net, **kwargs):
        layers = list(net.module_.network.layers)[1:]
        groups = [{"params": layer.parameters(), "lr": 0.01 / (1 + i)} for i, layer in enumerate(layers)]
        net.optimizer_ = torch.optim.Adam(groups)


def test_an_optimizer_of_ones_own_may_have_any_groups(monkeypatch):
    settings = {**SMALL, "precision": "float64", "lr_schedule": "constant", "callbacks": [LayerwiseRates()]}
    model = SNNClassifier(**settings).fit(X, Y)
    monkeypatch.setattr(WrittenOut, "fits", staticmethod(lambda network, optimizer: False))
    by_autograd = SNNClassifier(**settings).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X), by_autograd.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("rows", ["float32", "float64"])
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_a_prediction_within_a_fit_has_no_dropout_and_leaves_training_alone(rows, precision):
    """It ran in training mode, and drew from the generator of the dropout."""

    class Predict(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append([model.predict_proba(X.astype(rows)) for _ in range(2)])

    settings = {**SMALL, "dropout": 0.5, "warm_start": True, "precision": precision}
    plain, seen = SNNClassifier(**settings).fit(X, Y).fit(X, Y), []
    model = SNNClassifier(**settings).fit(X, Y)
    model.set_params(callbacks=[Predict()]).fit(X, Y)
    assert model.loss_curve_ == plain.loss_curve_
    for one, other in seen:
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(seen[-1][0], model.predict_proba(X.astype(rows)))
