"""The loop, skorch's callbacks in it, devices and precision, and what a pickle holds."""

import copy
import gc
import io
import pickle
import re
import signal
import warnings
import weakref

import joblib
import numpy as np
import pytest
import torch
from conftest import raises, tasks_with_gaps
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from torch import nn

from sksnn import SNNClassifier, SNNRegressor, _device, _training
from sksnn.metrics import masked_roc_auc_scorer

SMALL = {"n_layers": 2, "n_units": 16, "max_epochs": 6, "lr": 1e-2, "batch_size": 64, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def tasks(data):
    return tasks_with_gaps(*data)


def plain_dropout_net(n_inputs, n_outputs):
    """Draw from torch's global generator, as a user's own architecture does."""
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, n_outputs))


# ---------------------------------------------------------------- the loop against plain torch


def test_the_loop_is_the_textbook_loop(data):
    """Same initial weights, permutations and optimizer: the same weights, in plain torch."""
    X, y = data
    settings = {**SMALL, "dropout": 0.0, "weight_decay": 0.0, "optimizer": "adam", "label_smoothing": 0.0}
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
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    losses = []
    for _ in range(6):
        total = 0.0
        for batch in torch.randperm(len(y), generator=generators.shuffle).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        losses.append(total / len(y))
    np.testing.assert_allclose(clf.loss_curve_, losses, rtol=1e-4)
    np.testing.assert_allclose(
        clf.decision_function(X.astype(np.float32)),
        (lambda z: z[:, 1] - z[:, 0])(net(inputs).detach().numpy()),
        atol=2e-3,
    )


def test_weight_decay_spares_biases():
    layer = nn.Linear(3, 2)
    optimizer = _training.make_optimizer("sgd", layer.parameters(), 0.1, 0.5, {"momentum": 0.9})
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(layer.weight): 0.5, id(layer.bias): 0.0}
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


@pytest.mark.parametrize("name", sorted(_training.OPTIMIZERS))
def test_every_named_optimizer_lowers_the_loss(data, name):
    X, y = data
    lr = {"adadelta": 1.0, "lbfgs": 0.1}.get(name, 1e-2)
    batch_size = 1000 if name in ("lbfgs", "rprop") else 64  # these two want the whole gradient
    settings = {**SMALL, "lr": lr, "batch_size": batch_size, "dropout": 0.0, "weight_decay": 0.0}
    clf = SNNClassifier(**settings, optimizer=name).fit(X, y)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]


def test_an_optimizer_class_and_its_parameters(data):
    X, y = data
    settings = {**SMALL, "optimizer_params": {"betas": (0.8, 0.9)}, "weight_decay": 0.0}
    by_name = SNNClassifier(**settings, optimizer="nadam").fit(X, y)
    by_class = SNNClassifier(**settings, optimizer=torch.optim.NAdam).fit(X, y)
    np.testing.assert_array_equal(by_name.predict_proba(X), by_class.predict_proba(X))
    assert by_name.net_.optimizer_.param_groups[0]["betas"] == (0.8, 0.9)


def test_schedules(data):
    X, y = data
    seen = []

    class Rates(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    SNNClassifier(**SMALL, lr_schedule="cosine", callbacks=[Rates()]).fit(X, y)
    np.testing.assert_allclose(seen, 1e-2 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2)
    seen.clear()
    SNNClassifier(**SMALL, lr_schedule="constant", callbacks=[Rates()]).fit(X, y)
    assert seen == [1e-2] * 6


def test_one_entry_a_phase_unless_a_callback_asks_for_batches(data):
    X, y = data
    plain = SNNClassifier(**SMALL, early_stopping=True).fit(X, y)
    assert [len(row["batches"]) for row in plain.net_.history] == [2] * 6
    asked = SNNClassifier(**SMALL, early_stopping=True, callbacks=[ProgressBarStub()]).fit(X, y)
    assert [len(row["batches"]) for row in asked.net_.history] == [9] * 6
    np.testing.assert_allclose(plain.loss_curve_, asked.loss_curve_, rtol=1e-12)
    np.testing.assert_array_equal(plain.predict_proba(X), asked.predict_proba(X))


class ProgressBarStub(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


def test_one_synchronisation_an_epoch(data, monkeypatch):
    X, y = data
    looks = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, o=original, n=name: looks.append(n) or o(self))
    SNNClassifier(**SMALL, early_stopping=True, optimizer="sgd").fit(X, y)
    assert looks.count("tolist") == 6
    assert len(looks) <= 6 + 3, f"six epochs; finite weights and the constant's loss after them: {looks}"


def test_the_data_are_released(data, monkeypatch):
    X, y = data
    tables = []
    original = _training.Rows.__init__
    monkeypatch.setattr(
        _training.Rows, "__init__", lambda self, *a: tables.append(weakref.ref(self)) or original(self, *a)
    )
    clf = SNNClassifier(**SMALL, early_stopping=True).fit(X, y)
    gc.collect()
    assert len(tables) == 2 and not any(table() for table in tables)
    assert clf.n_iter_ == 6


# ---------------------------------------------------------------- callbacks


def test_epoch_scoring_gives_the_score(data):
    X, y = data
    train, valid = slice(100, None), slice(0, 100)
    callbacks = [
        EpochScoring("roc_auc", name="auc", lower_is_better=False),
        EpochScoring("accuracy", name="slow", use_caching=False, lower_is_better=False),
        EpochScoring("accuracy", name="train", on_train=True, lower_is_better=False),
    ]
    clf = SNNClassifier(**SMALL, callbacks=callbacks, n_iter_no_change=100)
    clf.fit(X[train], y[train], X_val=X[valid], y_val=y[valid])
    best = clf.net_.history[clf.best_epoch_ - 1]
    assert best["auc"] == pytest.approx(roc_auc_score(y[valid], clf.predict_proba(X[valid])[:, 1]), abs=1e-6)
    assert best["slow"] == accuracy_score(y[valid], clf.predict(X[valid]))
    assert 0.5 < best["train"] <= 1
    assert not hasattr(callbacks[0], "best_score_"), "the user's own object was run"


def test_epoch_scoring_in_regression(data):
    X, y = data
    reg = SNNRegressor(**SMALL, callbacks=[EpochScoring("r2", name="r2", lower_is_better=False)])
    reg.fit(X, y, X_val=X, y_val=y)
    assert reg.net_.history[reg.best_epoch_ - 1, "r2"] == pytest.approx(reg.score(X, y), abs=1e-4)


def test_callbacks_in_a_multitask_fit_with_missing_labels(tasks):
    X, Y = tasks
    callbacks = [
        EpochScoring(masked_roc_auc_scorer, name="auc", lower_is_better=False),
        BatchScoring(masked_roc_auc_scorer, name="batch_auc", lower_is_better=False),
        LRScheduler("CosineAnnealingLR", T_max=6),
        GradientNormClipping(1.0),
    ]
    settings = {**SMALL, "lr_schedule": "constant", "callbacks": callbacks, "n_iter_no_change": 100}
    clf = SNNClassifier(**settings).fit(X, Y, X_val=X, y_val=Y)
    best = clf.net_.history[clf.best_epoch_ - 1]
    assert best["auc"] == pytest.approx(masked_roc_auc_scorer(clf, X, Y), abs=1e-6)
    assert best["batch_auc"] == pytest.approx(best["auc"], abs=1e-6), "one batch holds all validation rows"


def test_batch_scoring_averages_batches(data):
    X, y = data
    scoring = BatchScoring("accuracy", name="acc", on_train=True, lower_is_better=False)
    clf = SNNClassifier(**SMALL, callbacks=[scoring]).fit(X, y)
    rows = clf.net_.history[-1]["batches"]
    sizes = [row["train_batch_size"] for row in rows]
    assert sum(sizes) == len(X)
    expected = np.average([row["acc"] for row in rows], weights=sizes)
    assert clf.net_.history[-1, "acc"] == pytest.approx(expected)


@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_lr_scheduler(data, every):
    X, y = data
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.9, step_every=every)
    clf = SNNClassifier(**SMALL, lr_schedule="constant", callbacks=[scheduler]).fit(X, y)
    steps = 6 if every == "epoch" else 6 * 9
    assert clf.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.9**steps)


def test_skorch_early_stopping_ends_training_normally(data):
    X, y = data
    stopping = EarlyStopping(patience=2, threshold=1e3, threshold_mode="abs", load_best=True)
    clf = SNNClassifier(**SMALL, early_stopping=True, callbacks=[stopping]).fit(X, y)
    assert clf.n_iter_ == 3 and np.isfinite(clf.predict_proba(X)).all()


def test_gradient_clipping_by_parameter_and_by_callback_are_the_same(data):
    X, y = data
    by_parameter = SNNClassifier(**SMALL, max_grad_norm=0.1).fit(X, y)
    by_callback = SNNClassifier(**SMALL, callbacks=[GradientNormClipping(0.1)]).fit(X, y)
    np.testing.assert_array_equal(by_parameter.predict_proba(X), by_callback.predict_proba(X))
    assert not np.array_equal(
        by_parameter.predict_proba(X), SNNClassifier(**SMALL).fit(X, y).predict_proba(X)
    )


def test_gradients_are_seen_between_backward_and_step(data):
    X, y = data
    norms = []

    class Look(Callback):
        def on_grad_computed(self, net, named_parameters, batch, training, **kwargs):
            norms.append(sum(p.grad.norm().item() for _, p in named_parameters))
            assert training and batch[1].ndim == 1

    SNNClassifier(**SMALL, callbacks=[Look()]).fit(X, y)
    assert len(norms) == 6 * 9 and min(norms) > 0


def test_checkpoint_restores_its_best(data, tmp_path):
    X, y = data
    checkpoint = Checkpoint(dirname=str(tmp_path), load_best=True, f_pickle=None)
    clf = SNNClassifier(**SMALL, early_stopping=True, n_iter_no_change=100, callbacks=[checkpoint]).fit(X, y)
    assert (tmp_path / "params.pt").exists()
    assert clf.n_iter_ == clf.best_epoch_, "skorch puts the history of the best epoch back, too"
    assert clf.score(X, y) > 0.8


def test_progress_bar_and_table(data, capsys):
    X, y = data
    SNNClassifier(**SMALL).fit(X, y)
    assert capsys.readouterr() == ("", "")
    SNNClassifier(**SMALL, verbose=1, early_stopping=True).fit(X, y)
    out, err = capsys.readouterr()
    assert out == "" and "0/9" in err, "eight batches to train on and one to watch"
    SNNClassifier(**SMALL, verbose=2, early_stopping=True).fit(X, y)
    out, err = capsys.readouterr()
    assert "train_loss" in out and "valid_loss" in out and len(out.splitlines()) == 2 + 6
    SNNClassifier(**SMALL, callbacks=[ProgressBar()]).fit(X, y)
    assert "/9" in capsys.readouterr().err


def test_callbacks_are_named_and_checked(data):
    X, y = data
    clf = SNNClassifier(**SMALL, callbacks=[("mine", ProgressBarStub)]).fit(X, y)
    assert isinstance(dict(clf.net_.callbacks_)["mine"], ProgressBarStub)
    with raises("callbacks must be skorch callbacks, or pairs of a name and a callback; got 3", TypeError):
        SNNClassifier(**SMALL, callbacks=[3]).fit(X, y)
    assert clone(SNNClassifier(callbacks=[GradientNormClipping(2.0)])).callbacks[0].gradient_clip_value == 2.0


def test_an_exception_of_a_callback_leaves_nothing_fitted(data):
    X, y = data

    class Pruned(Exception):
        pass

    class Prune(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise Pruned

    clf = SNNClassifier(**SMALL, callbacks=[Prune()])
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


@pytest.mark.parametrize("where", ["end", "middle", "first"])
def test_ctrl_c_keeps_the_epochs_done_and_is_raised_again(data, monkeypatch, ctrl_c, where):
    """A Ctrl-C used to end one fit silently, and a grid search went on with half a model."""
    X, y = data
    name = "on_epoch_end" if where == "end" else "train_step"
    original = getattr(_training.ClassifierNet, name)

    def pressed(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if len(self.history) == (1 if where == "first" else 3):
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(_training.ClassifierNet, name, pressed)
    clf = SNNClassifier(**SMALL)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    monkeypatch.undo()
    if where == "first":
        assert not clf.__sklearn_is_fitted__()
        return
    assert clf.n_iter_ == len(clf.loss_curve_) == (3 if where == "end" else 2)
    assert clf.score(X, y) > 0.5
    pickle.loads(pickle.dumps(clf)).predict(X)


def test_a_keyboard_interrupt_of_a_callback_ends_training_normally(data):
    X, y = data
    clf = SNNClassifier(**SMALL, callbacks=[Interrupt("callback")]).fit(X, y)
    assert clf.n_iter_ == 3


# ---------------------------------------------------------------- devices, precision, memory


def test_devices_that_are_not_there(data):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with raises("device='cuda' is not available on this machine (0 CUDA devices)"):
        SNNClassifier(**SMALL, device="cuda").fit(*data)
    with raises("device='mps' is not available"):
        SNNClassifier(**SMALL, device="mps").fit(*data)
    with raises("device='meta' is not available"):
        SNNClassifier(**SMALL, device="meta").fit(*data)


def test_auto_takes_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _device.resolve_device("auto") == torch.device("cuda")
    assert _device.resolve_device("cuda:1") == torch.device("cuda:1")
    with raises("device='cuda:2' is not available on this machine (2 CUDA devices)"):
        _device.resolve_device("cuda:2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert _device.resolve_device(torch.device("mps")) == torch.device("mps")
    with raises("precision='float64' is not available on device='mps'"):
        _device.parameter_dtype("float64", torch.device("mps"))


@pytest.mark.parametrize(("precision", "inside"), [("auto", "tf32"), ("tf32", "tf32"), ("float32", "ieee")])
def test_tf32_is_a_setting_of_the_call(precision, inside):
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    with pytest.raises(KeyError), _device.matmul_precision(precision, torch.device("cuda")):
        assert matmul.fp32_precision == inside
        raise KeyError
    assert matmul.fp32_precision == before
    with _device.matmul_precision(precision, torch.device("cpu")):
        assert matmul.fp32_precision == before


def test_precisions_agree_as_far_as_they_go(data):
    X, y = data
    settings = {**SMALL, "dropout": 0.0}
    proba = {
        p: SNNClassifier(**settings, precision=p).fit(X, y).predict_proba(X)
        for p in ("auto", "float32", "tf32", "bf16", "float64")
    }
    np.testing.assert_array_equal(proba["auto"], proba["float32"])
    np.testing.assert_array_equal(proba["auto"], proba["tf32"])  # the CPU has no TF32
    np.testing.assert_allclose(proba["auto"], proba["float64"], atol=5e-3)
    np.testing.assert_allclose(proba["auto"], proba["bf16"], atol=0.3)
    assert not np.array_equal(proba["auto"], proba["bf16"])


def test_the_float64_copy_follows_the_weights(data):
    X, y = data
    clf = SNNClassifier(**SMALL).fit(X, y)
    before = clf.predict_proba(X)
    assert clf.net_.double_[0] and not [k for k in clf.__getstate__()["net_"] if "double" in k]
    with torch.no_grad():
        clf.net_.module_.network.layers[-1].bias.add_(torch.tensor([5.0, 0.0]))
    assert (clf.predict_proba(X)[:, 0] > before[:, 0]).all()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_exhausted_memory_is_explained(data, monkeypatch, error):
    def exhausted(*args, **kwargs):
        raise error

    clf = SNNClassifier(**SMALL)
    monkeypatch.setattr(_training, "encode", exhausted)
    with raises("Use a smaller batch_size, narrower layers, or fewer parallel fits (n_jobs)", MemoryError):
        clf.fit(*data)
    assert not clf.__sklearn_is_fitted__()
    with pytest.raises(RuntimeError, match="another"), _device.memory_explained("cpu"):
        raise RuntimeError("another")


def test_memory_that_a_network_lacks_is_explained(data, monkeypatch):
    """Only training was watched: a network too large for the device ended in torch's own error."""

    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    clf = SNNClassifier(**SMALL)
    monkeypatch.setattr("sksnn._base.build_network", exhausted)
    with raises("out of memory on device 'cpu'. Use a smaller batch_size, narrower layers", MemoryError):
        clf.fit(*data)
    monkeypatch.undo()
    assert clf.fit(*data).__sklearn_is_fitted__()


def test_a_module_of_the_wrong_width_is_refused(data):
    X, y = data
    with raises("architecture must map (n, 30) to (n, 2)"):
        SNNClassifier(**SMALL, architecture=lambda i, o: nn.Linear(i, o + 1)).fit(X, y)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32", "tf32", "bf16", "float64"])
def test_cuda_agrees_with_the_cpu(data, precision):
    X, y = data
    settings = {**SMALL, "dropout": 0.0}
    cpu = SNNClassifier(**settings, device="cpu").fit(X, y)
    cuda = SNNClassifier(**settings, device="cuda", precision=precision).fit(X, y)
    atol = 0.3 if precision == "bf16" else 0.02
    np.testing.assert_allclose(cuda.predict_proba(X), cpu.predict_proba(X), atol=atol)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_pickle_from_cuda_loads_without_it(data, monkeypatch):
    X, y = data
    clf = SNNClassifier(**SMALL, device="cuda", warm_start=True).fit(X, y)
    stored = pickle.dumps(clf)
    np.testing.assert_array_equal(pickle.loads(stored).predict_proba(X), clf.predict_proba(X))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="not available here"):
        np.testing.assert_allclose(pickle.loads(stored).predict_proba(X), clf.predict_proba(X), atol=1e-2)


# ---------------------------------------------------------------- state


ROUND_TRIPS = {
    "pickle": lambda est: pickle.loads(pickle.dumps(est)),
    "cloudpickle": lambda est: pickle.loads(pytest.importorskip("cloudpickle").dumps(est)),
    "deepcopy": copy.deepcopy,
    "joblib": lambda est: _through_joblib(est),
}


def _through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@pytest.mark.parametrize("architecture", ["snn", plain_dropout_net], ids=["snn", "callable"])
def test_round_trips_keep_predictions(data, trip, architecture):
    X, y = data
    clf = make_pipeline(StandardScaler(), SNNClassifier(**SMALL, architecture=architecture)).fit(X, y)
    again = trip(clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(
        again.predict_proba(X.astype(np.float32)), clf.predict_proba(X.astype(np.float32))
    )
    assert again[-1].loss_curve_ == clf[-1].loss_curve_ and again[-1].best_epoch_ == clf[-1].best_epoch_
    trip(SNNRegressor(callbacks=[EpochScoring("r2")])).set_params(n_layers=1)


def test_a_lambda_goes_through_cloudpickle(data):
    X, y = data
    clf = SNNClassifier(**SMALL, architecture=lambda i, o: nn.Linear(i, o)).fit(X, y)
    again = pickle.loads(pytest.importorskip("cloudpickle").dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_parameters_changed_after_fit_do_not_spoil_a_pickle(data):
    X, y = data
    clf = SNNClassifier(**SMALL).fit(X, y)
    proba = clf.predict_proba(X)
    clf.set_params(n_layers=7, n_units=3, precision="float64")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), proba)


@pytest.mark.parametrize("architecture", ["snn", plain_dropout_net], ids=["snn", "callable"])
@pytest.mark.parametrize("how", ["warm_start", "partial_fit"])
def test_training_goes_on_after_a_round_trip(data, how, architecture):
    """Optimizer, generators and history survive: the interrupted fit equals the whole one."""
    X, y = data
    settings = {
        **SMALL,
        "lr_schedule": "constant",
        "architecture": architecture,
        "warm_start": how == "warm_start",
    }
    go_on = (lambda c: c.fit(X, y)) if how == "warm_start" else lambda c: c.partial_fit(X, y, classes=[0, 1])
    whole, parts = go_on(go_on(SNNClassifier(**settings))), go_on(SNNClassifier(**settings))
    again = go_on(pickle.loads(pickle.dumps(parts)))
    assert again.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(again.predict_proba(X), whole.predict_proba(X))


def test_a_pickle_is_little_more_than_its_parameters(data):
    X, y = data
    settings = {
        "n_layers": 8,
        "n_units": 256,
        "layer_form": "rectangular",
        "max_epochs": 1,
        "random_state": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SNNClassifier(**settings).fit(X, y)
        clf.predict(X)
        warm = SNNClassifier(**settings, warm_start=True).fit(X, y)
    size = sum(p.numel() * p.element_size() for p in clf.net_.module_.network.parameters())
    assert size < len(pickle.dumps(clf)) < 1.1 * size
    assert len(pickle.dumps(warm)) > 2.9 * size, "Adam's two moments go along for a warm start"


def test_a_pickle_holds_no_torch_and_no_skorch(data):
    X, y = data
    clf = SNNClassifier(**SMALL, warm_start=True).fit(X, y)

    class Spy(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(module.split(".")[0])
            return super().find_class(module, name)

    found = set()
    Spy(io.BytesIO(pickle.dumps(clf))).load()
    assert not found & {"torch", "skorch"}, found


def test_a_model_fitted_on_a_missing_device_loads_on_the_cpu(data, monkeypatch):
    X, y = data
    clf = SNNClassifier(**SMALL, warm_start=True).fit(X, y)
    state = clf.__getstate__()
    state["device"], state["_generators"]["device"] = "cuda:7", "cuda"
    state["_generators"]["streams"][1] = np.zeros(16, np.uint8)  # a CUDA generator's state is 16 bytes
    loaded = SNNClassifier.__new__(SNNClassifier)
    with pytest.warns(
        UserWarning, match=re.escape("fitted with device='cuda:7', which is not available here")
    ):
        loaded.__setstate__(state)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.set_params(device="cpu").fit(X, y)
    assert loaded.n_iter_ == 12


# ---------------------------------------------------------------- found by review


class Casting(nn.Module):
    """Casts by hand, as users' modules do, and has a scalar parameter."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer, self.gain = nn.Linear(n_inputs, n_outputs), nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.gain * self.layer(x.float())


ZOO = {
    "casting": Casting,
    "batch norm": lambda i, o: nn.Sequential(nn.Linear(i, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, o)),
    "weight norm": lambda i, o: nn.utils.parametrizations.weight_norm(nn.Linear(i, o)),
    "convolution": lambda i, o: nn.Sequential(
        nn.Unflatten(1, (1, i)),
        nn.Conv1d(1, 4, 3),
        nn.SELU(),
        nn.Flatten(),
        nn.Linear(4 * (i - 2), o, bias=False),
    ),
}


@pytest.mark.parametrize("architecture", ZOO.values(), ids=ZOO)
def test_architectures_of_users(data, architecture):
    """Their float64 copies failed in predict, and a last batch of one row in batch norm."""
    X, y = data[0][:129], data[1][:129]  # 129 = 2 * 64 + 1
    clf = SNNClassifier(**{**SMALL, "max_epochs": 30}, architecture=architecture).fit(X, y)
    assert clf.score(X, y) > 0.8
    assert clf.predict_proba(X).dtype == np.float64
    again = pickle.loads(pytest.importorskip("cloudpickle").dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_no_training_batch_is_a_single_row():
    rows = _training.Rows(torch.arange(9.0)[:, None])
    sizes = [len(batch[0]) for batch in _training.Minibatches(rows, 4, torch.Generator())]
    assert sizes == [4, 5] and len(_training.Minibatches(rows, 4, torch.Generator())) == 2
    assert [len(batch[0]) for batch in _training.Minibatches(rows, 4)] == [4, 4, 1]
    assert [len(batch[0]) for batch in _training.Minibatches(rows, 1, torch.Generator())] == [1] * 9


def test_modules_that_return_more_than_logits_or_learn_nothing(data):
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with raises("for 64 rows it returned tuple"):
        SNNClassifier(**SMALL, architecture=Two).fit(*data)
    with raises("architecture has no parameter that requires a gradient"):
        SNNClassifier(**SMALL, architecture=lambda i, o: nn.Linear(i, o).requires_grad_(False)).fit(*data)


@pytest.mark.parametrize("settings", [{"verbose": 1}, {"max_grad_norm": 1.0}], ids=["bar", "clipping"])
def test_ctrl_c_inside_our_own_callbacks_is_raised_again(data, monkeypatch, ctrl_c, settings):
    """It was taken for a callback's wish to stop, and fit returned as if all were well."""
    target, hook = (
        (_training.EpochProgressBar, "on_batch_end")
        if "verbose" in settings
        else (GradientNormClipping, "on_grad_computed")
    )
    monkeypatch.setattr(target, hook, lambda self, net, **kwargs: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        SNNClassifier(**SMALL, **settings).fit(*data)


def test_a_callback_may_stop_at_the_very_end(data):
    class Stop(Callback):
        def on_train_end(self, net, **kwargs):
            raise KeyboardInterrupt

    assert SNNClassifier(**SMALL, callbacks=[Stop()]).fit(*data).n_iter_ == 6


def test_fit_under_no_grad(data):
    with torch.no_grad():
        clf = SNNClassifier(**SMALL).fit(*data)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]


def test_a_device_cannot_change_while_training_goes_on(data, monkeypatch):
    clf = SNNClassifier(**SMALL, device="cpu", warm_start=True).fit(*data)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with raises("device cannot change while training goes on: the network is on cpu, device='cuda'"):
        clf.set_params(device="cuda").fit(*data)


def test_what_is_sent_to_cuda_is_pinned_and_not_waited_for(monkeypatch):
    """A plain copy lets the host wait for all work before it: at each epoch's row order, for one."""
    calls, tensor = [], torch.arange(3)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: calls.append((*a, k)) or self)
    assert _device.without_waiting(tensor, torch.device("cuda")) is tensor
    assert calls == ["pinned", (torch.device("cuda"), {"non_blocking": True})]
    calls.clear()
    assert _device.without_waiting(tensor, torch.device("cpu")) is tensor
    assert calls == [(torch.device("cpu"), {})]
