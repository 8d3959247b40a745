"""Devices, precision, memory, threads, the random generators of a fit, and tensors as numpy arrays."""

import ctypes
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from ._warnings import warn_user

# Least number of multiply-adds per thread in the forward pass of a training step. With less work, two threads
# were 0 to 15 % faster than one on an idle machine. On a busy machine they were six times slower, since each
# product waits for both threads (examples/benchmarks/threads.py).
WORK_PER_THREAD = 2**23


def resolve_device(device):
    """Turn the `device` parameter into a torch.device that is available.

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
    """Resolve the device of an estimator fitted elsewhere; warn and return the CPU if it is not available."""
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
        If the device does not support the precision.
    """
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' is not available on device='mps'; use 'float32' or device='cpu'."
        )
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def matmul_precision(precision, device):
    """Allow or forbid TF32 inside the block, then restore torch's setting."""
    if device.type != "cuda":
        yield
        return
    switches = _tf32_switches()
    before = [getattr(backend, name) for backend, name, _ in switches]
    try:
        for backend, name, values in switches:
            setattr(backend, name, values[precision in ("auto", "tf32")])
        yield
    finally:
        for (backend, name, _), value in zip(switches, before, strict=True):
            setattr(backend, name, value)


def _tf32_switches():
    """Return what allows TF32 in products and convolutions: object, attribute, its values for no and yes."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        return [(part, "fp32_precision", ("ieee", "tf32")) for part in (matmul, cudnn.conv)]  # type: ignore[attr-defined]
    except AttributeError:  # before torch 2.9
        return [(part, "allow_tf32", (False, True)) for part in (matmul, cudnn)]


@contextmanager
def memory_explained(device):
    """Turn torch's out-of-memory errors into a MemoryError that says what to change."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"out of memory on device {str(device)!r}. Use a smaller batch_size, narrower layers, or "
            "fewer parallel fits (n_jobs), which share the device."
        ) from error


def is_out_of_memory(error):
    """Say whether an error of torch is about memory; on a CPU it is a RuntimeError like others."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def without_waiting(tensor, device):
    """Copy a tensor from the host to a device, asynchronously if it is a CUDA device.

    A plain copy would make the host wait for all previous work of the device, in each epoch.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@cache
def _openmp_libraries():
    return ThreadpoolController().select(user_api="openmp").lib_controllers


@cache
def torch_mkl():
    """Return the library of torch that contains MKL, or None.

    MKL is a part of torch's library, so threadpoolctl does not find it. After a call of
    `torch.set_num_threads`, MKL keeps its own number of threads for each calling thread.
    """
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists() and hasattr(library := ctypes.CDLL(str(path)), "MKL_Set_Num_Threads_Local"):
            return library
    return None


@contextmanager
def _threads(n_threads):
    """Set the number of threads that torch uses for calls from this thread, inside the block."""
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


_caller = threading.local()  # n_threads: the caller's limit, while as_imported holds torch to one thread


@contextmanager
def _one_thread():
    """Hold torch to one thread inside the block, except inside a block of `threads_for`."""
    if hasattr(_caller, "n_threads"):
        yield
        return
    _caller.n_threads = torch.get_num_threads()  # in a new thread this call also sets the number
    try:
        with _threads(1):  # even if the limit is one: MKL can have another
            yield
    finally:
        del _caller.n_threads


@contextmanager
def threads_for(work):
    """Let torch use one thread per `WORK_PER_THREAD` of work, for calls from this thread, inside the block.

    Parameters
    ----------
    work : int
        Number of multiply-adds in the forward pass of a training step.

    Notes
    -----
    There are never more threads than torch would use otherwise: `torch.set_num_threads`, OMP_NUM_THREADS
    and `threadpoolctl.threadpool_limits` are upper bounds. OpenMP stores the number for each calling thread,
    so other threads of the process keep theirs. `torch.set_num_threads` would also change threads that
    start inside the block.
    """
    with _one_thread():
        n_threads = min(_caller.n_threads, int(work // WORK_PER_THREAD))
        with _threads(n_threads) if n_threads > 1 else nullcontext():
            yield


class _Float32ByDefault:
    """Set torch's default dtype to float32; the last of the nested or parallel users restores it.

    The default dtype is global to the process, so fits in several threads have to share the change.
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
    """Run the block with the settings torch has when imported, so that only the estimator's parameters count.

    The settings are the default dtype and device, inference mode, autocast, and numpy's handling of
    floating-point errors; afterwards the caller's are restored. On a CPU one thread is used outside the
    blocks of `threads_for`: a process that has used more threads cannot be forked safely.
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
    """The random generators of a fit, all derived from one seed; none of them is global.

    Parameters
    ----------
    seed : int
    device : torch.device
        Device on which dropout masks are drawn.
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
        """Seed torch's global generators from this object inside the block, then restore them.

        Modules that draw only from the global generators need this. It is not thread-safe, since these
        generators are global to the process.
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
                self.read_global()

    def read_global(self):
        """Note the states of torch's global generators, which are this object's inside of `as_global`."""
        cuda = [self.device] if self.device.type == "cuda" else []
        self.builtin_states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in cuda)]

    def state(self):
        """Return the seeds and states as plain numbers and numpy arrays."""
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
        """Rebuild the generators on a device; those of another kind of device are seeded again."""
        generators = cls(0, device)
        generators.restore(state)
        return generators

    def restore(self, state):
        """Go on from a state; generators of another kind of device are seeded again."""
        self.split, self.init, self.builtin = state["seeds"]
        shuffle, dropout = from_numpy_state(state["streams"])
        self.shuffle.set_state(shuffle)
        if state["device"] == self.device.type:
            self.dropout.set_state(dropout)
            self.builtin_states = from_numpy_state(state["builtin"])
        else:
            self.dropout.manual_seed(self.init)


def _set_states(states, cuda):
    torch.set_rng_state(states[0])
    for device, state in zip(cuda, states[1:], strict=True):
        torch.cuda.set_rng_state(state, device)
