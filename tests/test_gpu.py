"""The whole contract on a GPU, beside the CPU. `make gpu PIECE=tests` runs it.

SKSNN_DEVICE=cpu runs what is not about CUDA itself on the CPU, so that the tests are known to work
before a GPU sees them.
"""

import gc
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL, raises
from scipy import sparse
from sklearn.base import clone
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sksnn import SNNClassifier, SNNRegressor
from sksnn._engine import Engine
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import layer_moments

DEVICE = os.environ.get("SKSNN_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() and "SKSNN_DEVICE" not in os.environ, reason="no CUDA device"
    ),
    pytest.mark.filterwarnings("ignore:the final training loss"),
]
cuda_only = pytest.mark.skipif(DEVICE == "cpu", reason="about CUDA itself")

X = np.random.default_rng(0).normal(size=(200, 6))
TARGETS = {
    "two classes": (SNNClassifier, np.where(X[:, 0] > 0, "yes", "no")),
    "three classes": (SNNClassifier, np.digitize(X[:, 0], [-0.5, 0.5])),
    "tasks": (SNNClassifier, np.where(X[:, 3:] > 1, np.nan, X[:, :3] > 0)),
    "a number": (SNNRegressor, 10 + 3 * X[:, 0]),
    "numbers": (SNNRegressor, np.where(X[:, 4:] > 1, np.nan, X[:, :2])),
}
WEIGHT = 1.0 + np.arange(len(X)) % 3

# float64 leaves nothing but the order of sums; float32 sums of 200 rows differ by some 1e-5 in a step, TF32
# products by 1e-3, and training multiplies both.
TOLERANCES = {"float64": 1e-7, "float32": 1e-3, "auto": 2e-2, "tf32": 2e-2, "bf16": 0.3}
# Dropout draws on the device, from another stream than the CPU's.
NO_NOISE = {**SMALL, "dropout": 0.0}


def module(n_inputs, n_outputs):
    """Make a module of one's own, with a lazy layer."""
    return nn.Sequential(nn.Linear(n_inputs, 16), nn.SELU(), nn.LazyLinear(n_outputs))


def outputs(model, rows):
    """Return what is continuous in what a model predicts."""
    return model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)


def both(kind, rows=X, weight=None, tolerance=None, **params):
    """Fit on the device and on the CPU, and compare; return the one from the device."""
    estimator, y = TARGETS[kind]
    params = {**NO_NOISE, "precision": "float64", **params}
    on_device, on_cpu = (
        estimator(**params, device=device).fit(rows, y, sample_weight=weight) for device in (DEVICE, "cpu")
    )
    tolerance = TOLERANCES[params["precision"]] if tolerance is None else tolerance
    scale = np.nanstd(y) if estimator is SNNRegressor else 1.0
    np.testing.assert_allclose(outputs(on_device, rows), outputs(on_cpu, rows), atol=tolerance * scale)
    np.testing.assert_allclose(on_device.loss_curve_, on_cpu.loss_curve_, atol=tolerance)
    assert on_device.net_.module_.network is not None
    return on_device


def is_on_device(model):
    """Whether all weights of a fitted model are on the device."""
    return {p.device.type for p in model.net_.module_.network.parameters()} == {torch.device(DEVICE).type}


# ---------------------------------------------------------------- fit and predict as on the CPU


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("precision", TOLERANCES)
def test_every_target_in_every_precision(kind, precision):
    assert is_on_device(both(kind, precision=precision))


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True},
        {"encoding": "piecewise"},
        {"batch_size": 1000},
        {"lr_schedule": "constant", "optimizer": "sgd", "optimizer_params": {"momentum": 0.9}},
        {"max_grad_norm": 0.1},
        {"n_estimators": 3},
        {"n_estimators": 3, "encoding": ("onehot", "piecewise"), "early_stopping": True},
        {"n_estimators": 2, "bootstrap": True, "architecture": "batchnorm"},
        {"optimizer": "lbfgs", "weight_decay": 0.0, "max_epochs": 2, "batch_size": 1000, "tolerance": 1e-4},
    ],
    ids=lambda params: next(iter(params)),
)
def test_every_way_of_training(kind, params):
    both(kind, weight=WEIGHT, **params)


@pytest.mark.parametrize(
    "architecture", ["msra", "batchnorm", "layernorm", "weightnorm", "highway", "resnet", module]
)
def test_every_architecture(architecture):
    assert is_on_device(both("three classes", architecture=architecture, tolerance=1e-6))


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_rows(container):
    both("tasks", container(np.where(X > 0, X, 0)))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_every_loss(loss):
    both("a number", loss=loss, tolerance=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 3.0}])
def test_class_weights(class_weight):
    both("tasks", class_weight=class_weight)


def test_dropout_learns_as_well_with_another_stream():
    y = TARGETS["two classes"][1]
    scores = [
        SNNClassifier(**SMALL | {"max_epochs": 30, "dropout": 0.1}, device=device).fit(X, y).score(X, y)
        for device in (DEVICE, "cpu")
    ]
    assert min(scores) > 0.9


@pytest.mark.parametrize("kind", TARGETS)
def test_the_same_seed_gives_the_same_fit(kind):
    estimator, y = TARGETS[kind]
    one, other = (estimator(**SMALL, device=DEVICE).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(outputs(one, X), outputs(other, X))
    assert one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_tensors_on_the_device_stay_there(dtype, monkeypatch):
    estimator, y = TARGETS["tasks"]
    rows = (10 * X).round()
    expected = estimator(**NO_NOISE, precision="float64").fit(rows, y)
    tensors = torch.tensor(rows, device=DEVICE).to(dtype), torch.tensor(y, device=DEVICE)
    if DEVICE != "cpu":
        cpu = torch.Tensor.cpu
        sizes = []
        monkeypatch.setattr(torch.Tensor, "cpu", lambda t: sizes.append(t.numel()) or cpu(t))
    model = estimator(**NO_NOISE, precision="float64", device=DEVICE).fit(*tensors)
    if DEVICE != "cpu":
        assert max(sizes, default=0) < rows.size
    np.testing.assert_allclose(model.predict_proba(tensors[0]), expected.predict_proba(rows), atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(rows), expected.predict_proba(rows), atol=1e-6)


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("kind", TARGETS)
def test_going_on(kind):
    """Warm starts, chunks and pickles in between lead where they lead on the CPU."""
    estimator, y = TARGETS[kind]
    models = [
        estimator(**NO_NOISE, precision="float64", warm_start=True, device=device)
        for device in (DEVICE, "cpu")
    ]
    for i, model in enumerate(models):
        model.fit(X, y).fit(X, y).partial_fit(X, y)
        models[i] = pickle.loads(pickle.dumps(model)).partial_fit(X, y).fit(X, y)
    assert is_on_device(models[0])
    np.testing.assert_allclose(*(outputs(model, X) for model in models), atol=1e-5)


def test_early_stopping_keeps_the_best_epoch():
    y = TARGETS["two classes"][1]
    watched = {"X_val": X[150:], "y_val": y[150:]}
    model = SNNClassifier(**SMALL | {"max_epochs": 40, "lr": 0.05, "warm_start": True}, device=DEVICE)
    model.fit(X[:150], y[:150], **watched)
    best, proba = model.best_epoch_, model.predict_proba(X)
    assert best == np.argmin(model.validation_loss_curve_) + 1
    model.set_params(lr=0.9, lr_schedule="constant", max_epochs=2).fit(X[:150], y[:150], **watched)
    assert model.best_epoch_ == best  # nothing better came
    np.testing.assert_array_equal(model.predict_proba(X), proba)


def test_callbacks_and_diagnostics():
    callbacks = [
        MomentRecorder(),
        EpochScoring("accuracy", on_train=True, name="accuracy"),
        LRScheduler(StepLR, step_size=2),
    ]
    model = SNNClassifier(**SMALL, lr_schedule="constant", callbacks=callbacks, device=DEVICE)
    model.fit(X, TARGETS["two classes"][1])
    assert len(model.net_.history[:, "accuracy"]) == model.n_iter_
    assert np.isfinite(layer_moments(model, X).variance).all()
    assert np.isfinite(model.net_.history[-1, "layer_variances"]).all()


# ---------------------------------------------------------------- CUDA itself


@cuda_only
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_pickle_loads_in_a_process_without_a_gpu(warm_start, tmp_path):
    estimator, y = TARGETS["two classes"]
    model = estimator(**SMALL, device="cuda", precision="float32", warm_start=warm_start).fit(X, y)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import pickle, sys, warnings, numpy as np; warnings.simplefilter('ignore')\n"
        f"model = pickle.load(open({str(path)!r}, 'rb')); X = np.load({str(tmp_path / 'X.npy')!r})\n"
        "assert not __import__('torch').cuda.is_available()\n"
        f"np.save({str(tmp_path / 'proba.npy')!r}, model.predict_proba(X))"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "proba.npy"), model.predict_proba(X), atol=1e-4)


@cuda_only
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_a_second_device():
    model = SNNClassifier(**SMALL, device="cuda:1").fit(X, TARGETS["two classes"][1])
    assert {str(p.device) for p in model.net_.module_.parameters()} == {"cuda:1"}
    rows = torch.tensor(X, device="cuda:0")
    np.testing.assert_allclose(model.predict_proba(rows), model.predict_proba(X), atol=1e-6)


@cuda_only
def test_out_of_memory_for_real():
    estimator, y = TARGETS["two classes"]
    model = estimator(**SMALL, device="cuda").fit(X, y)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**27 / total)  # 128 MiB
    try:
        with raises("Use a smaller batch_size, narrower layers, or fewer parallel fits", MemoryError):
            clone(model).set_params(hidden_layer_sizes=(16_000, 16_000)).fit(X, y)
        with raises("out of memory on device 'cuda", MemoryError):
            rows = np.random.default_rng(0).normal(size=(2_000_000, 20))
            clone(model).fit(rows, rows[:, 0] > 0)
        assert model.fit(X, y).score(X, y) > 0.5
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@cuda_only
def test_memory_is_flat_over_200_fits():
    y = TARGETS["two classes"][1]
    model = SNNClassifier(**SMALL | {"max_epochs": 1}, device="cuda")

    def allocated():
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    model.fit(X, y)
    before = allocated()
    for _ in range(200):
        model.fit(X, y)
    assert allocated() <= before


@cuda_only
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True},
        {"architecture": "resnet"},
        {"architecture": module},
        {"max_grad_norm": 1.0},
        {"precision": "bf16"},
        {"callbacks": [Callback()]},
        {"n_estimators": 3},
    ],
    ids=lambda params: next(iter(params), "defaults"),
)
def test_the_host_does_not_wait_within_an_epoch(kind, params, monkeypatch):
    """One look at the device per epoch, at its end: everything else is sent ahead."""
    run = Engine.train

    def watched(engine, *args, **kwargs):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return run(engine, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Engine, "train", watched)
    estimator, y = TARGETS[kind]
    estimator(**SMALL, **params, device="cuda").fit(X, y, sample_weight=WEIGHT)
