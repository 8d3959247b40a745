"""What tests/test_abuse.py tries for seconds, and `make soak` for as long as one likes."""

import copy
import gc
import os
import pickle
import random
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import nn

from sksnn import SNNClassifier, SNNRegressor

N_ROWS, N_COLUMNS = 48, 4


class InPlaceModule(nn.Module):
    """A user's module with much that has gone wrong: lazy, drawing from the global generator, in place."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first, self.last = nn.LazyLinear(6), nn.Linear(6, n_outputs)

    def forward(self, x):
        x /= 2
        return self.last(
            nn.functional.dropout(nn.functional.selu(self.first(x), inplace=True), 0.1, self.training)
        )


def fourth_power(output, y):
    """A user's loss."""
    return (output - y) ** 4


def mean_output(estimator, X, y):
    """A user's score."""
    return float(np.mean(list(outputs(estimator, X).values())[-1]))


# ---------------------------------------------------------------- what the caller told torch and numpy


class default_dtype:
    """Another default dtype while the block runs."""

    def __init__(self, dtype):
        self.dtype = dtype

    def __enter__(self):
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *exception):
        torch.set_default_dtype(self.before)


@contextmanager
def deterministic_algorithms():
    """Ask torch for deterministic algorithms while the block runs."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


CALLERS = {
    "nothing": nullcontext,
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype float16": lambda: default_dtype(torch.float16),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device meta": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "numpy raises": lambda: np.errstate(all="raise"),
    "deterministic algorithms": deterministic_algorithms,
    "one thread": lambda: threadpool_limits(1),
}


def global_state():
    """Everything of the process that a call must leave as it was."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        np.geterr(),
    )


# ---------------------------------------------------------------- estimators and rows


TARGETS = {
    "two classes": (SNNClassifier, lambda Z: np.where(Z[:, 0] > 0, "yes", "no")),
    "three classes": (SNNClassifier, lambda Z: np.digitize(Z[:, 0], [-0.5, 0.5])),
    "tasks": (SNNClassifier, lambda Z: np.where(Z[:, 2:] > 1, np.nan, Z[:, :2] > 0)),
    "a number": (SNNRegressor, lambda Z: 1e3 + 5 * Z[:, 0]),
    "numbers": (SNNRegressor, lambda Z: np.where(Z[:, 2:] > 1, np.nan, 5 * Z[:, :2])),
    "counts": (partial(SNNRegressor, loss="poisson"), lambda Z: np.rint(np.exp(Z[:, 0]))),
    "quantiles": (partial(SNNRegressor, loss="quantile", quantile=[0.9, 0.1]), lambda Z: 5 * Z[:, 0]),
    "own loss": (partial(SNNRegressor, loss=fourth_power), lambda Z: Z[:, :2]),
}


LAYOUTS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "sparse": lambda X: sparse.csr_matrix(np.where(X > 0, X, 0)),
    "torch": torch.tensor,
    "gaps": lambda X: np.where(X > 1, np.nan, X),
}
PARAMETERS = st.fixed_dictionaries(
    {
        "n_estimators": st.sampled_from([1, 1, 3]),
        "bootstrap": st.sampled_from([False, False, True]),
        "architecture": st.sampled_from(["snn", "snn", "batchnorm", "weightnorm", InPlaceModule]),
        "hidden_layer_sizes": st.sampled_from([(6,), (8, 5)]),
        "optimizer": st.sampled_from(["adamw", "adam", "sgd", "rmsprop"]),
        "lr": st.sampled_from([1e-3, 1e-2]),
        "lr_schedule": st.sampled_from(["constant", "cosine"]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "max_grad_norm": st.sampled_from([None, 1.0]),
        "batch_size": st.sampled_from(["auto", 7, 1000]),
        "dropout": st.sampled_from([0.0, 0.05]),
        "standardize": st.booleans(),
        "encoding": st.sampled_from(["auto", None, "piecewise", ("onehot", None)]),
        "early_stopping": st.sampled_from([False, "auto", True]),
        "scoring": st.sampled_from(["loss", "loss", mean_output]),
        "precision": st.sampled_from(["auto", "float64", "bf16"]),
        "max_epochs": st.integers(1, 3),
        "random_state": st.integers(0, 9),
    }
)
# What may change between two fits of one network.
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "optimizer": st.sampled_from(["adamw", "adam", "sgd"]),
        "lr": st.sampled_from([1e-4, 1e-2]),
        "weight_decay": st.sampled_from([0.0, 0.2]),
        "batch_size": st.sampled_from([5, 64]),
        "early_stopping": st.sampled_from([False, True]),
        "lr_schedule": st.sampled_from(["constant", "cosine"]),
    },
)
# Rows or parameters -> what a call with them must not do: pass, or change the model.
SPOILED = {
    "infinity": lambda X, y: (np.full((N_ROWS, N_COLUMNS), np.inf), y),
    "a column less": lambda X, y: (np.zeros((N_ROWS, N_COLUMNS - 1)), y),
    "rows without targets": lambda X, y: (X[:-1], y),
    "objects": lambda X, y: (np.full((N_ROWS, N_COLUMNS), {}, dtype=object), y),
    "no y": lambda X, y: (X, None),
    "another form of y": lambda X, y: (X, np.zeros((N_ROWS, 5))),
}
SPOILED_LATER = {"a column less", "another form of y"}  # a first fit takes them for what they are


def rows(seed):
    """Draw rows of four columns; they and what follows from them are the same for a seed."""
    return np.random.default_rng(seed).normal(size=(N_ROWS, N_COLUMNS))


def outputs(estimator, X):
    """Everything an estimator predicts."""
    names = ("predict", "predict_proba", "decision_function", "predict_log_proba")
    return {name: getattr(estimator, name)(X) for name in names if hasattr(estimator, name)}


def assert_same(some, others):
    """Compare what `outputs` returned, bit for bit."""
    assert some.keys() == others.keys()
    for name, values in some.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)


class Life(RuleBasedStateMachine):
    """An estimator lives through whatever a user does; a twin only fits, with nothing around it.

    They must stay the same, bit for bit: whatever the caller told torch, however often the one is
    pickled, copied, asked to predict, or handed what it must refuse, and parameters that are set between fits
    count from the next fit on.
    """

    n_cases = 0

    @initialize(
        kind=st.sampled_from(sorted(TARGETS)),
        layout=st.sampled_from(sorted(LAYOUTS)),
        parameters=PARAMETERS,
    )
    def begin(self, kind, layout, parameters):
        """Make both."""
        Life.n_cases += 1
        estimator, self.make_y = TARGETS[kind]
        self.layout = LAYOUTS[layout]
        self.one, self.twin = (estimator(**parameters, warm_start=True) for _ in range(2))
        self.fitted, self.expected = False, None

    def _data(self, seed):
        Z = rows(seed)
        return self.layout(Z), self.make_y(Z)

    def _both(self, do, caller):
        with CALLERS[caller]():
            before = global_state()
            do(self.one)
            assert global_state() == before
        do(self.twin)
        self.fitted, self.expected = True, outputs(self.twin, self._data(99)[0])

    @rule(seed=st.integers(0, 3), weighted=st.booleans(), caller=st.sampled_from(sorted(CALLERS)))
    def fit(self, seed, weighted, caller):
        """Fit, the first time or warm."""
        X, y = self._data(seed)
        weight = 1.0 + np.arange(N_ROWS) % 3 if weighted else None
        self._both(lambda model: model.fit(X, y, sample_weight=weight), caller)

    @precondition(lambda self: self.one.early_stopping is not True)
    @rule(seed=st.integers(0, 3), caller=st.sampled_from(sorted(CALLERS)))
    def partial_fit(self, seed, caller):
        """Make one pass over a chunk."""
        X, y = self._data(seed)
        one_label_a_row = isinstance(self.one, SNNClassifier) and y.ndim == 1
        classes = {"classes": np.unique(y)} if one_label_a_row else {}
        self._both(lambda model: model.partial_fit(X, y, **classes), caller)

    @rule(changes=CHANGES)
    def set_params(self, changes):
        """Change what may change."""
        self.one.set_params(**changes)
        self.twin.set_params(**changes)

    @rule(how=st.sampled_from(["pickle", "deepcopy"]), caller=st.sampled_from(sorted(CALLERS)))
    def copy(self, how, caller):
        """Go on as a copy."""
        with CALLERS[caller]():
            before = global_state()
            self.one = copy.deepcopy(self.one) if how == "deepcopy" else pickle.loads(pickle.dumps(self.one))
            assert global_state() == before

    @rule(spoiled=st.sampled_from(sorted(SPOILED)))
    def refuse(self, spoiled):
        """Be handed what cannot be learned from; on a model that is fitted, it leaves no trace."""
        if not self.fitted and spoiled in SPOILED_LATER:
            return
        X, y = SPOILED[spoiled](rows(0), self.make_y(rows(0)))
        model = self.one if self.fitted else clone(self.one)
        try:
            model.fit(X, y)
        except (ValueError, TypeError) as error:
            assert len(str(error)) > 20, error
        else:
            raise AssertionError(f"{spoiled} was fitted")
        assert self.fitted == hasattr(model, "net_")

    @precondition(lambda self: self.fitted)
    @rule(seed=st.integers(0, 3), caller=st.sampled_from(sorted(CALLERS)))
    def predict(self, seed, caller):
        """Predict, under whatever the caller said, as the twin does."""
        X = self._data(seed)[0]
        with CALLERS[caller]():
            before = global_state()
            found = outputs(self.one, X)
            assert global_state() == before
        assert_same(found, outputs(self.twin, X))

    @invariant()
    def agree(self):
        """The one predicts what the twin does, finitely, and has the same past."""
        if getattr(self, "fitted", False):
            found = outputs(self.one, self._data(99)[0])
            assert_same(found, self.expected)
            assert all(np.isfinite(v).all() for v in found.values() if v.dtype.kind == "f")
            for name in ("n_iter_", "best_epoch_", "loss_curve_", "validation_loss_curve_"):
                np.testing.assert_array_equal(getattr(self.one, name), getattr(self.twin, name), err_msg=name)


# ---------------------------------------------------------------- threads, processes, forks, memory


def fit_and_predict(seed):
    """Fit a small model of one's own and predict."""
    X, y = rows(seed), TARGETS["two classes"][1](rows(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SNNClassifier(n_units=8, max_epochs=3, random_state=seed).fit(X, y).predict_proba(X)


def in_threads(n):
    """Fit n models at once in threads; return what each predicts."""
    found = [None] * n

    def work(i):
        found[i] = fit_and_predict(i)

    # Warnings filters belong to the process: the threads must not restore each other's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def in_processes(n):
    """Fit n models in two worker processes; return what each predicts."""
    return Parallel(n_jobs=2)(delayed(fit_and_predict)(i) for i in range(n))


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from abuse import fit_and_predict
expected = fit_and_predict(0)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(fit_and_predict(0), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def after_a_fork():
    """Fit in a process, and again in a fork of it; return its exit status, 0 if both predict the same."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, "-c", FORK], cwd=here, timeout=120, capture_output=True, text=True)
    return done.returncode, done.stderr


def n_objects_left_by(n_fits):
    """Count the tensors that are left by so many fits, of which nothing is kept."""

    def count():
        gc.collect()
        # Asking some objects for their class imports things or warns; their type is safe to ask for.
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    fit_and_predict(0)
    before = count()
    for seed in range(n_fits):
        fit_and_predict(seed)
    return count() - before


def resident_megabytes():
    """Memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
