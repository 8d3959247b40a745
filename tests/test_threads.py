"""Threads and processes: how many train, and many that fit or predict at once."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from conftest import SMALL, X, Y, raises
from helpers import Breaking, droppy_net, forward_in_chunks_of, parameters, small_module
from scipy import sparse
from skorch.callbacks import (
    Callback,
)
from threadpoolctl import threadpool_limits
from torch import nn

from sksnn import SNNClassifier, SNNRegressor, _device
from sksnn.networks import SNN

# ---------------------------------------------------------------- the threads of a fit


class ThreadsSeen(Callback):
    """Remember how many threads torch has while it trains, here and in a thread that begins meanwhile."""

    def on_epoch_end(self, net, **kwargs):
        self.here_, elsewhere = torch.get_num_threads(), []
        other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        other.start()
        other.join()
        self.elsewhere_ = elsewhere[0]


class TestThreads:
    """The threads of small products waited for each other: 15 to 20 s instead of 0.2 s on a busy machine."""

    @staticmethod
    def fitted(**params):
        return SNNClassifier(**SMALL | params, callbacks=[ThreadsSeen()]).fit(X, Y)

    @pytest.fixture(autouse=True)
    def two_threads(self):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(before)

    def test_small_networks_train_on_one_and_all_is_put_back(self):
        seen = dict(self.fitted().net_.callbacks_)["ThreadsSeen"]
        assert (seen.here_, seen.elsewhere_, torch.get_num_threads()) == (1, 2, 2)
        with raises("boom", RuntimeError):
            SNNClassifier(**SMALL, callbacks=[Breaking()]).fit(X, Y)
        assert torch.get_num_threads() == 2

    def test_large_networks_train_on_as_many_as_the_work_is_worth(self, monkeypatch):
        work = 16 * (5 * 16 + 16 * 2 + 16 * 16)
        sizes = {"hidden_layer_sizes": (16, 16), "batch_size": 16}
        for per_thread, expected in ((work // 2, 2), (work // 2 + 1, 1), (1, 2)):
            monkeypatch.setattr(_device, "WORK_PER_THREAD", per_thread)
            assert dict(self.fitted(**sizes).net_.callbacks_)["ThreadsSeen"].here_ == expected

    @pytest.mark.skipif(_device.torch_mkl() is None, reason="this torch has no MKL")
    def test_products_in_torchs_own_library_are_limited_too(self):
        """Once torch.set_num_threads was called, products went on with as many threads as it had said."""
        mkl, seen = _device.torch_mkl(), []

        class Watching(Callback):
            def on_epoch_end(self, net, **kwargs):
                seen.append(mkl.MKL_Get_Max_Threads())

        assert mkl.MKL_Get_Max_Threads() == 2
        SNNClassifier(**SMALL, callbacks=[Watching()]).fit(X, Y)
        assert set(seen) == {1} and mkl.MKL_Get_Max_Threads() == 2

    def test_the_callers_limit_is_an_upper_bound(self, monkeypatch):
        monkeypatch.setattr(_device, "WORK_PER_THREAD", 1)
        with threadpool_limits(1):
            assert dict(self.fitted().net_.callbacks_)["ThreadsSeen"].here_ == 1

    @pytest.mark.skipif(_device.torch_mkl() is None, reason="this torch has no MKL")
    def test_a_limit_that_torchs_own_library_does_not_see_holds_there_too(self):
        """After torch.set_num_threads(2), threadpool_limits(1) left its products at two threads."""
        mkl = _device.torch_mkl()
        with threadpool_limits(1), _device.as_imported(), _device.threads_for(10**12):
            assert torch.get_num_threads() == mkl.MKL_Get_Max_Threads() == 1
        assert mkl.MKL_Get_Max_Threads() == 2

    def test_predictions_have_the_threads_that_their_rows_are_worth(self, monkeypatch):
        seen = []

        class Watching(nn.Module):
            def __init__(self, n_inputs, n_outputs):
                super().__init__()
                self.inner = small_module(n_inputs, n_outputs)

            def forward(self, x):
                seen.append(torch.get_num_threads())
                return self.inner(x)

        model = self.fitted(architecture=Watching, encoding=None)
        model.predict(X)
        monkeypatch.setattr(_device, "WORK_PER_THREAD", len(X) * (5 * 8 + 8 * 2) // 6)
        model.predict(X)
        model.predict(X[:-1])
        assert seen[-3:] == [1, 2, 1]

    def test_convolutions_count_with_their_positions(self):
        def convolution(n_inputs, n_outputs):
            return nn.Sequential(
                nn.Unflatten(1, (1, n_inputs)), nn.Conv1d(1, 4, 3), nn.Flatten(), nn.LazyLinear(n_outputs)
            )

        model = SNNClassifier(**SMALL, architecture=convolution).fit(X, Y)
        assert model._model.work == 3 * 3 * 4 + 12 * 2


@pytest.fixture
def n_threads():
    """Let torch have another number of threads than the machine has cores, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_torch_keeps_its_number_of_threads(iris, n_threads):
    """Whatever torch was given, also after a fit that failed."""
    clf = SNNClassifier(**SMALL, early_stopping=True).fit(*iris)
    assert torch.get_num_threads() == n_threads
    clf.predict(iris[0]), pickle.loads(pickle.dumps(clf)).predict(iris[0])
    SNNRegressor(**SMALL, early_stopping=True).fit(*iris).score(*iris)
    with raises("has 1 class"):
        SNNClassifier(**SMALL).fit(iris[0], np.zeros(150))
    assert torch.get_num_threads() == n_threads


def test_torch_keeps_its_number_of_threads_within_threads(iris, n_threads):
    def work(_):
        before = torch.get_num_threads()
        fitted = SNNClassifier(**SMALL).fit(*iris)
        fitted.predict(iris[0])
        return before, torch.get_num_threads()

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(work, range(8)))
    assert all(before == after for before, after in counts), counts
    assert torch.get_num_threads() == n_threads


def test_workers_keep_the_threads_that_joblib_gives(iris, monkeypatch):
    """cpu_count // n_jobs each, where nobody says otherwise: more would fight over the cores."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    estimator = SNNClassifier(**SMALL)

    def work(X, y):  # local, so that workers need not import this file
        import torch

        counts = [torch.get_num_threads()]
        estimator.fit(X, y).predict(X)
        counts.append(torch.get_num_threads())
        torch.set_num_threads(7)
        estimator.fit(X, y).predict(X)
        counts.append(torch.get_num_threads())
        torch.set_num_threads(counts[0])  # joblib uses its workers again
        return counts

    here = torch.get_num_threads()
    counts = joblib.Parallel(2, backend="loky")(joblib.delayed(work)(*iris) for _ in range(2))
    expected = max(joblib.cpu_count() // 2, 1)
    assert counts == [[expected, expected, 7]] * 2
    assert torch.get_num_threads() == here


# ---------------------------------------------------------------- fits and predictions side by side


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _fitted_parameters(seed, X, y):
    torch.set_num_threads(1)
    return parameters(SNNClassifier(**{**SMALL, "random_state": seed, "dropout": 0.1}).fit(X, y))


class TestParallel:
    @pytest.mark.parametrize("kind", ["float64", "float32", "sparse", "callable"])
    def test_eight_threads_predict_alike(self, kind, cancer):
        X, y = cancer
        fitted = SNNClassifier(**SMALL, architecture=droppy_net if kind == "callable" else "snn").fit(X, y)
        rows = {"float32": X.astype(np.float32), "sparse": sparse.csr_matrix(X)}.get(kind, X)
        expected = pickle.loads(pickle.dumps(fitted)).predict_proba(rows)
        start = threading.Barrier(8)

        def predict(_):
            start.wait()  # all meet before the cached float64 weights exist
            return [fitted.predict_proba(rows) for _ in range(10)]

        with ThreadPoolExecutor(8) as pool:
            for results in pool.map(predict, range(8)):
                for result in results:
                    np.testing.assert_array_equal(result, expected)

    @pytest.mark.parametrize("backend", ["loky", "threading"])
    def test_fits_in_parallel_are_those_in_series(self, backend, iris, one_thread):
        expected = [_fitted_parameters(seed, *iris) for seed in range(4)]
        jobs = (joblib.delayed(_fitted_parameters)(seed, *iris) for seed in range(4))
        for got, want in zip(joblib.Parallel(2, backend=backend)(jobs), expected, strict=True):
            np.testing.assert_array_equal(got, want)

    def test_fitted_estimators_travel_between_processes(self, iris):
        X, y = iris
        fitted = SNNClassifier(**SMALL, architecture=lambda i, o: nn.Linear(i, o)).fit(X, y)
        results = joblib.Parallel(2)(joblib.delayed(fitted.predict_proba)(X) for _ in range(2))
        for result in results:
            np.testing.assert_allclose(result, fitted.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("stored", [False, True], ids=["as fitted", "unpickled"])
@pytest.mark.parametrize("rows", ["float64", "float32", "sparse", "tensor"])
def test_threads_predict_their_slices_of_rows(cancer, monkeypatch, rows, stored):
    """One estimator, eight threads, several chunks each: nobody sees another's rows or half a float64 copy.

    The copy is made in the first prediction; here it takes long enough for all to come in between.
    """
    X, y = cancer
    forward_in_chunks_of(monkeypatch, 4)
    X = {"float32": X.astype(np.float32), "sparse": sparse.csr_matrix(X), "tensor": torch.tensor(X)}.get(
        rows, X
    )
    fitted = SNNClassifier(**SMALL).fit(*cancer)
    stored_fit = pickle.dumps(fitted)
    slices = [slice(i * (i + 1), 120 - i) for i in range(8)]
    serial = pickle.loads(stored_fit)
    expected = [serial.predict_proba(X[s]) for s in slices]
    fitted = pickle.loads(stored_fit) if stored else fitted
    assert fitted._model._doubles[0].made is None

    convert = SNN.double
    monkeypatch.setattr(SNN, "double", lambda self: time.sleep(0.02) or convert(self))
    together = threading.Barrier(8)

    def predict(i):
        together.wait()
        return [(j % 8, fitted.predict_proba(X[slices[j % 8]])) for j in range(i, i + 8)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(predict, range(8)):
            for j, proba in results:
                np.testing.assert_array_equal(proba, expected[j])
    assert (fitted._model._doubles[0].made is None) == (rows == "float32")
