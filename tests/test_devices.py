"""Devices and precision, and memory that runs out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SIX_EPOCHS, raises

from sksnn import SNNClassifier, _device

# ---------------------------------------------------------------- devices


def test_devices_that_are_not_there_are_refused(whole_cancer):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with raises("device='cuda' is not available on this machine (0 CUDA devices)"):
        SNNClassifier(**SIX_EPOCHS, device="cuda").fit(*whole_cancer)
    with raises("device='mps' is not available"):
        SNNClassifier(**SIX_EPOCHS, device="mps").fit(*whole_cancer)
    with raises("device='meta' is not available"):
        SNNClassifier(**SIX_EPOCHS, device="meta").fit(*whole_cancer)


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32", "tf32", "bf16", "float64"])
def test_cuda_agrees_with_the_cpu(whole_cancer, precision):
    X, y = whole_cancer
    settings = {**SIX_EPOCHS, "dropout": 0.0}
    cpu = SNNClassifier(**settings, device="cpu").fit(X, y)
    cuda = SNNClassifier(**settings, device="cuda", precision=precision).fit(X, y)
    atol = 0.3 if precision == "bf16" else 0.02
    np.testing.assert_allclose(cuda.predict_proba(X), cpu.predict_proba(X), atol=atol)


def test_a_device_cannot_change_while_training_goes_on(whole_cancer, monkeypatch):
    clf = SNNClassifier(**SIX_EPOCHS, device="cpu", warm_start=True).fit(*whole_cancer)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with raises("device cannot change while training goes on: the network is on cpu, device='cuda'"):
        clf.set_params(device="cuda").fit(*whole_cancer)


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


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize(("precision", "allowed"), [("auto", True), ("tf32", True), ("float32", False)])
def test_tf32_is_a_setting_of_the_call(precision, allowed):
    def settings():
        return [getattr(backend, name) for backend, name, _ in switches]

    switches = _device._tf32_switches()
    before = settings()
    with pytest.raises(KeyError), _device.matmul_precision(precision, torch.device("cuda")):
        assert settings() == [values[allowed] for *_, values in switches]
        raise KeyError
    assert settings() == before
    with _device.matmul_precision(precision, torch.device("cpu")):
        assert settings() == before


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_older_torch_has_another_switch(monkeypatch, precision):
    """Before torch 2.9: `torch.backends.cudnn.conv` is not there."""
    matmul, cudnn = SimpleNamespace(allow_tf32=None), SimpleNamespace(allow_tf32="as it was")
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    with _device.matmul_precision(precision, torch.device("cuda")):
        assert matmul.allow_tf32 is cudnn.allow_tf32 is (precision == "auto")
    assert matmul.allow_tf32 is None and cudnn.allow_tf32 == "as it was"


def test_precisions_agree_as_far_as_they_go(whole_cancer):
    X, y = whole_cancer
    settings = {**SIX_EPOCHS, "dropout": 0.0}
    proba = {
        p: SNNClassifier(**settings, precision=p).fit(X, y).predict_proba(X)
        for p in ("auto", "float32", "tf32", "bf16", "float64")
    }
    np.testing.assert_array_equal(proba["auto"], proba["float32"])
    np.testing.assert_array_equal(proba["auto"], proba["tf32"])  # the CPU has no TF32
    np.testing.assert_allclose(proba["auto"], proba["float64"], atol=5e-3)
    np.testing.assert_allclose(proba["auto"], proba["bf16"], atol=0.3)
    assert not np.array_equal(proba["auto"], proba["bf16"])


def test_the_float64_copy_follows_the_weights(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS).fit(X, y)
    before = clf.predict_proba(X)
    assert clf._model._doubles[0].made and not [k for k in clf.__getstate__()["_model"] if "double" in k]
    with torch.no_grad():
        clf.net_.module_.network.layers[-1].bias.add_(torch.tensor([5.0, 0.0]))
    assert (clf.predict_proba(X)[:, 0] > before[:, 0]).all()


# ---------------------------------------------------------------- memory that runs out


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_exhausted_memory_is_explained(whole_cancer, monkeypatch, error):
    def exhausted(*args, **kwargs):
        raise error

    clf = SNNClassifier(**SIX_EPOCHS)
    monkeypatch.setattr("sksnn._model.encode", exhausted)
    with raises("Use a smaller batch_size, narrower layers, or fewer parallel fits (n_jobs)", MemoryError):
        clf.fit(*whole_cancer)
    assert not clf.__sklearn_is_fitted__()
    with pytest.raises(RuntimeError, match="another"), _device.memory_explained("cpu"):
        raise RuntimeError("another")


def test_memory_that_a_network_lacks_is_explained(whole_cancer, monkeypatch):
    """Only training was watched: a network too large for the device ended in torch's own error."""

    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    clf = SNNClassifier(**SIX_EPOCHS)
    monkeypatch.setattr("sksnn._model.build_network", exhausted)
    with raises("out of memory on device 'cpu'. Use a smaller batch_size, narrower layers", MemoryError):
        clf.fit(*whole_cancer)
    monkeypatch.undo()
    assert clf.fit(*whole_cancer).__sklearn_is_fitted__()
