"""Devices, precision, memory and threads, the random sources of a fit, tensors as plain arrays."""

import ctypes
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from ._warnings import warn_user

# Multiply-adds of a training step's forward pass, for each thread at least. With less, two threads were 0
# to 15 % faster than one on an idle machine, and six times slower on a busy one, where each product waits
# for both (examples/benchmarks/threads.py).
WORK_PER_THREAD = 2**23


def resolve_device(device):
    """Turn the `device` parameter into a torch.device that is there.

    Raises
    ------
    ValueError
        If torch does not know the name, or the device is not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; got {device!r}."
        ) from error
    if not _is_there(resolved):
        raise ValueError(
            f"device={device!r} is not available on this machine "
            f"({torch.cuda.device_count()} CUDA devices). Use device='auto' or 'cpu'."
        )
    return resolved


def device_or_cpu(device):
    """Resolve a device, or fall back to the CPU with a warning: for estimators fitted elsewhere."""
    try:
        return resolve_device(device)
    except ValueError:
        warn_user(
            f"this estimator was fitted with device={device!r}, which is not available here: it is loaded "
            "on the CPU."
        )
        return torch.device("cpu")


def _is_there(device):
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


def parameter_dtype(precision, device):
    """Return the dtype of the weights.

    Raises
    ------
    ValueError
        If the device has no such numbers.
    """
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' is not available on device='mps'; use 'float32' or device='cpu'."
        )
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def matmul_precision(precision, device):
    """Allow or forbid TF32 while the block runs; torch's own setting comes back after it."""
    if device.type != "cuda":
        yield
        return
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if precision in ("auto", "tf32") else "ieee"
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


@contextmanager
def memory_explained(device):
    """Turn torch's out-of-memory errors into one that says what to change."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(
            f"out of memory on device {str(device)!r}. Use a smaller batch_size, narrower layers, or "
            "fewer parallel fits (n_jobs), which share the device."
        ) from error


def without_waiting(tensor, device):
    """Move a tensor from the host to a device; a CUDA device takes it when it gets there.

    A plain copy would let the host wait until all work before it is done, in each epoch.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@cache
def _openmp_libraries():
    return ThreadpoolController().select(user_api="openmp").lib_controllers


@cache
def torch_mkl():
    """Return the library with the MKL inside torch, or None.

    Once `torch.set_num_threads` was called, its products heed a number of their own in each thread, which
    threadpoolctl does not see: MKL is a part of torch's library.
    """
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists() and hasattr(library := ctypes.CDLL(str(path)), "MKL_Set_Num_Threads_Local"):
            return library
    return None


@contextmanager
def _threads(n_threads):
    """Let torch use so many threads, in this thread, while the block runs."""
    libraries, mkl = _openmp_libraries(), torch_mkl()
    before = [library.get_num_threads() for library in libraries]
    before_in_mkl = mkl and mkl.MKL_Set_Num_Threads_Local(n_threads)
    try:
        for library in libraries:
            library.set_num_threads(n_threads)
        yield
    finally:
        for library, n in zip(libraries, before, strict=True):
            library.set_num_threads(n)
        if mkl:
            mkl.MKL_Set_Num_Threads_Local(before_in_mkl)


_caller = threading.local()  # n_threads: what torch may use, while as_imported keeps it to one


@contextmanager
def _one_thread():
    """Keep torch to one thread while the block runs, but for what `threads_for` surrounds."""
    if hasattr(_caller, "n_threads"):
        yield
        return
    _caller.n_threads = torch.get_num_threads()  # asking sets the number where a thread is new
    try:
        with _threads(1):  # even if it may use one only: MKL may have been told otherwise
            yield
    finally:
        del _caller.n_threads


@contextmanager
def threads_for(work):
    """Let torch use as many threads as the work is worth, in this thread, while the block runs.

    Parameters
    ----------
    work : int
        Multiply-adds of the forward pass of a training step.

    Notes
    -----
    Never more than it would use without: `torch.set_num_threads`, OMP_NUM_THREADS and
    `threadpoolctl.threadpool_limits` are upper bounds. OpenMP keeps the number thread by thread, so that
    other threads of the process keep theirs; `torch.set_num_threads` would change those that start
    meanwhile.
    """
    with _one_thread():
        n_threads = min(_caller.n_threads, int(work // WORK_PER_THREAD))
        with _threads(n_threads) if n_threads > 1 else nullcontext():
            yield


class _Float32ByDefault:
    """While anybody is inside, torch's default dtype is float32; the last one out puts it back.

    The default dtype belongs to the process, so fits in several threads share one change of it.
    """

    def __init__(self):
        self._lock, self._n_inside, self._before = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if self._n_inside == 0:
                self._before = torch.get_default_dtype()
                self._set(torch.float32)
            self._n_inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._set(self._before)

    @staticmethod
    def _set(dtype):
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)


_float32_by_default = _Float32ByDefault()


@contextmanager
def as_imported():
    """Set aside, while the block runs, what the caller told torch: an estimator's own parameters decide.

    That is the default dtype and device, inference mode, and autocast; numpy's treatment of
    floating-point errors too. On a CPU one thread does what `threads_for` does not surround: a process
    that has used more cannot be forked safely.
    """
    with ExitStack() as stack:
        stack.enter_context(_one_thread())
        stack.enter_context(_float32_by_default)
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


# ---------------------------------------------------------------- state


def to_numpy_state(state):
    """Turn the tensors in nested dicts and lists into numpy arrays."""
    if torch.is_tensor(state):
        state = state.detach().cpu()
        return (state.float() if state.dtype == torch.bfloat16 else state).numpy().copy()
    if isinstance(state, dict):
        return {key: to_numpy_state(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(to_numpy_state, state))
    return state


def from_numpy_state(state):
    """Turn the arrays in nested dicts and lists into CPU tensors."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    if isinstance(state, dict):
        return {key: from_numpy_state(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(from_numpy_state, state))
    return state


class Generators:
    """The random sources of a fit, all from one seed, none of them global.

    Parameters
    ----------
    seed : int
    device : torch.device
        Where dropout masks are drawn.
    """

    def __init__(self, seed, device):
        self.split, self.init, shuffle, dropout, self.builtin = (
            int(s) for s in np.random.SeedSequence(seed).generate_state(5)
        )
        self.device = device
        self.shuffle = torch.Generator().manual_seed(shuffle)
        self.dropout = torch.Generator(device=device).manual_seed(dropout)
        self.builtin_states = None

    @contextmanager
    def as_global(self):
        """Let torch's global generators stand for ours while the block runs.

        For modules that can draw from nothing else. Not thread-safe: the global generators
        belong to the process.
        """
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            if self.builtin_states is None:
                torch.default_generator.manual_seed(self.builtin)
                if cuda:
                    with torch.cuda.device(self.device):
                        torch.cuda.manual_seed(self.builtin)
            else:
                _set_states(self.builtin_states, cuda)
            try:
                yield
            finally:
                self.builtin_states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda)]

    def state(self):
        """Return seeds and states as plain numbers and arrays."""
        streams = [self.shuffle.get_state(), self.dropout.get_state()]
        return to_numpy_state(
            {
                "seeds": (self.split, self.init, self.builtin),
                "device": self.device.type,
                "streams": streams,
                "builtin": self.builtin_states,
            }
        )

    @classmethod
    def from_state(cls, state, device):
        """Rebuild on a device; streams of another kind of device start anew from their seed."""
        generators = cls(0, device)
        generators.split, generators.init, generators.builtin = state["seeds"]
        shuffle, dropout = from_numpy_state(state["streams"])
        generators.shuffle.set_state(shuffle)
        if state["device"] == device.type:
            generators.dropout.set_state(dropout)
            generators.builtin_states = from_numpy_state(state["builtin"])
        else:
            generators.dropout.manual_seed(generators.init)
        return generators


def _set_states(states, cuda):
    torch.set_rng_state(states[0])
    for device, state in zip(cuda, states[1:], strict=True):
        torch.cuda.set_rng_state(state, device)
