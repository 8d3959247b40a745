"""Large inputs: rows on another device, bounded memory, threads, and results that no chunk size changes."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, raises
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from sksnn import SNNClassifier, SNNRegressor, _training, _validation, encodings
from sksnn._training import LazyInputs, Minibatches, Rows, encode
from sksnn._validation import Subset, Table
from sksnn.encodings import Standardizer, chunk_slices, column_moments
from sksnn.networks import SNN

LAWS = settings(max_examples=60, deadline=None, derandomize=True)
ESTIMATORS = {
    "classifier": SNNClassifier(**SMALL),
    "tasks": SNNClassifier(**SMALL),
    "regressor": SNNRegressor(**SMALL),
    "outputs": SNNRegressor(**SMALL),
}
N_COLUMNS = 8
LEARNS_LITTLE = "ignore:the final training loss:sklearn.exceptions.ConvergenceWarning"


def targets(X):
    """What each kind of estimator learns from rows of the cancer data; labels and values are missing."""
    x = (X - X.mean(axis=0)) / X.std(axis=0)
    gaps = np.arange(3 * len(x)).reshape(-1, 3) % 7 == 0
    return {
        "classifier": (x[:, 0] > 0).astype(float),
        "tasks": np.where(gaps, np.nan, x[:, :3] > 0),
        "regressor": np.rint(4 * x[:, 0] + x[:, 1]),
        "outputs": np.where(gaps, np.nan, np.rint(3 * x[:, :3])),
    }


def forward_in_chunks_of(monkeypatch, n_rows):
    """Make a forward pass take so many rows at most, whatever the width."""
    monkeypatch.setattr(_training, "CPU_FORWARD_ELEMENTS", 1)
    monkeypatch.setattr(_training, "LEAST_FORWARD_ROWS", n_rows)


def encode_in_chunks_of(monkeypatch, elements):
    """Cut rows for statistics and encoding into slices of so many numbers."""
    for module in (_training, encodings):
        monkeypatch.setattr(
            module, "chunk_slices", lambda n, c, elements=elements: chunk_slices(n, c, elements)
        )


def sparse_rows(X):
    return sparse.csr_matrix(np.where(X > np.median(X, axis=0), X, 0))


# ---------------------------------------------------------------- tensors from another device


class Elsewhere(torch.Tensor):
    """A tensor that refuses numpy, as those of a GPU do, until somebody brings it to the host.

    What follows from it by arithmetic refuses, too. That operands lie on the same device is what
    it cannot check: the test on a GPU does.
    """

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")

    def cpu(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)

    def to(self, *args, **kwargs):
        moves = "device" in kwargs or any(isinstance(a, str | torch.device) for a in args)
        result = super().to(*args, **kwargs)
        return result.as_subclass(torch.Tensor) if moves else result


def elsewhere(values):
    return torch.as_tensor(values).clone().as_subclass(Elsewhere)


@pytest.fixture
def read_shapes(monkeypatch):
    """Let tensors of the class above count as another device's; list the shapes that numpy reads."""
    shapes = []
    for name in ("numpy", "__array__"):
        original = getattr(torch.Tensor, name)

        def spy(self, *args, original=original, **kwargs):
            shapes.append(tuple(self.shape))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, spy)
    monkeypatch.setattr(_validation, "_is_on_host", lambda tensor: not isinstance(tensor, Elsewhere))
    return shapes


def as_dtype(X, kind, dtype):
    """Make X, y and weights as tensors of a dtype, gaps marked by -1 where there is no NaN, and as arrays."""
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), targets(X)[kind]
    weight = np.arange(len(X)) % 3
    if dtype == "bool":
        tensors = [X > 0, np.nan_to_num(y) > 0, weight > 0]
    elif dtype == "int64":
        tensors = [np.rint(5 * X), np.where(np.isnan(y), -99 if kind == "outputs" else -1, y), weight]
    else:
        tensors = [X, y, weight]
    tensors = [torch.as_tensor(values).to(getattr(torch, dtype)) for values in tensors]
    return tensors, [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "bool"]


def for_dtype(kind, dtype, **params):
    params = {"precision": "float64", "dropout": 0.0, **params}
    if dtype == "int64" and kind in ("tasks", "outputs"):
        params["missing_label"] = -99 if kind == "outputs" else -1
    return clone(ESTIMATORS[kind]).set_params(**params)


def outputs(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def assert_alike(one, other, X_one, X_other, rtol=1e-9):
    """Compare two fits, and their predictions from the same numbers."""
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=rtol)
    assert (one.validation_loss_curve_ is None) == (other.validation_loss_curve_ is None)
    if one.validation_loss_curve_ is not None:
        np.testing.assert_allclose(one.validation_loss_curve_, other.validation_loss_curve_, rtol=rtol)
    got, expected = outputs(one, X_one), outputs(other, X_other)
    assert got.dtype == expected.dtype
    rtol = max(rtol, 1e-6) if got.dtype == np.float32 else rtol
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-3 * rtol)


@pytest.mark.filterwarnings(LEARNS_LITTLE)
@pytest.mark.parametrize("early_stopping", [False, True], ids=["all rows", "early stopping"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_from_elsewhere_are_the_same_numbers(cancer, read_shapes, kind, dtype, early_stopping):
    """The road of tensors on a GPU and the road of arrays are two implementations of one fit.

    On the former, X must never become an array. bfloat16 targets and weights are small: they may, but
    numpy has no such dtype.
    """
    tensors, arrays = as_dtype(cancer[0], kind, dtype)
    X, y, weight = (elsewhere(t) for t in tensors)
    make = for_dtype(kind, dtype, early_stopping=early_stopping)
    expected = clone(make).fit(*arrays)
    read_shapes.clear()
    fitted = clone(make).fit(X, y, weight)
    outputs(fitted, X)
    assert not [shape for shape in read_shapes if N_COLUMNS in shape[1:]], read_shapes
    assert fitted.n_features_in_ == N_COLUMNS and not hasattr(fitted, "feature_names_in_")
    assert_alike(fitted, expected, X, arrays[0])


@pytest.mark.parametrize("kind", ["classifier", "tasks", "regressor", "outputs"])
@pytest.mark.parametrize("what", ["y", "weight"])
def test_scores_of_tensors_from_elsewhere(cancer, read_shapes, kind, what):
    """What fit takes, score takes."""
    (X, y, weight), arrays = as_dtype(cancer[0], kind, "float32")
    fitted = for_dtype(kind, "float32").fit(*arrays)
    y, weight = (elsewhere(y), arrays[2]) if what == "y" else (arrays[1], elsewhere(weight))
    assert fitted.score(elsewhere(X), y, weight) == pytest.approx(fitted.score(*arrays), rel=1e-6)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_tensors_from_elsewhere_in_lesser_precision(cancer, read_shapes, precision):
    """Rows are encoded in float64 and rounded once, whichever road they come."""
    X, y = cancer
    one, other = (SNNClassifier(**SMALL, precision=precision).fit(rows, y) for rows in (elsewhere(X), X))
    np.testing.assert_allclose(outputs(one, elsewhere(X)), outputs(other, X), atol=1e-4)


def test_tensors_from_elsewhere_in_chunks(cancer, read_shapes, monkeypatch):
    """Statistics, encoding, subsets and prediction of several chunks each."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", early_stopping=True)
    expected = clone(make).fit(X, y, y + 1.0)
    encode_in_chunks_of(monkeypatch, 3 * N_COLUMNS)
    forward_in_chunks_of(monkeypatch, 5)
    assert_alike(clone(make).fit(elsewhere(X), y, y + 1.0), expected, elsewhere(X), X)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("where", ["both", "X", "X_val"])
def test_validation_rows_from_elsewhere(cancer, read_shapes, where, standardize):
    """X and X_val may lie in different places."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", standardize=standardize, lr_schedule="constant")
    train, valid = (X[:80] / 100, y[:80]), (X[80:] / 100, y[80:])
    expected = clone(make).fit(*train, X_val=valid[0], y_val=valid[1], sample_weight_val=valid[1] + 1)
    if where != "X_val":
        train = [elsewhere(values) for values in train]
    if where != "X":
        valid = [elsewhere(values) for values in valid]
    fitted = clone(make).fit(*train, X_val=valid[0], y_val=valid[1], sample_weight_val=valid[1] + 1)
    assert_alike(fitted, expected, elsewhere(X / 100), X / 100)


def test_training_goes_on_with_tensors_from_elsewhere(cancer, read_shapes):
    X, y = cancer
    warm, passes = (
        SNNClassifier(**SMALL, precision="float64", warm_start=True).fit(rows, y).fit(rows, y)
        for rows in (elsewhere(X), X)
    )
    assert_alike(warm, passes, elsewhere(X), X)
    one, other = (
        SNNRegressor(**SMALL, precision="float64")
        .partial_fit(rows[:60], y[:60])
        .partial_fit(rows[60:], y[60:])
        for rows in (elsewhere(X), X)
    )
    assert_alike(one, other, elsewhere(X), X)


@pytest.mark.parametrize("form", ["reversed", "read-only", "strided", "series"])
def test_weights_of_any_layout_beside_a_tensor_from_elsewhere(cancer, read_shapes, form):
    """torch takes no array of negative strides, and warns of a read-only one."""
    X, y = cancer
    weight = np.linspace(0.5, 2, len(y))
    expected = SNNClassifier(**SMALL, precision="float64").fit(X, y, weight)
    other = {
        "reversed": weight[::-1].copy()[::-1],
        "read-only": weight.copy(),
        "strided": np.repeat(weight, 2)[::2],
        "series": pd.Series(weight),
    }[form]
    if form == "read-only":
        other.setflags(write=False)
    fitted = SNNClassifier(**SMALL, precision="float64").fit(elsewhere(X), y, other)
    assert_alike(fitted, expected, elsewhere(X), X)


@pytest.mark.parametrize("standardize", [True, False])
def test_a_tensor_from_elsewhere_stays_as_it_is(cancer, read_shapes, standardize):
    """It may ask for a gradient; fit neither writes to it nor gives it one."""
    X, y = cancer
    X = X / 100
    rows = torch.tensor(X).as_subclass(Elsewhere).requires_grad_()
    fitted = SNNClassifier(**SMALL, standardize=standardize).fit(rows, y)
    fitted.predict(rows)
    assert rows.grad is None and rows.requires_grad
    assert torch.equal(rows.detach().cpu(), torch.tensor(X))
    assert not any(p.requires_grad for p in fitted.net_.module_.encoder.buffers())


def assert_refused(read_shapes, cancer, X, message):
    """Refuse rows in fit, which leaves nothing behind, and in predict, which leaves all as it was."""
    good, y = elsewhere(cancer[0]), cancer[1]
    clf = SNNClassifier(**SMALL)
    with raises(message):
        clf.fit(X, y[: len(X)] if X.ndim else y)
    assert not clf.__sklearn_is_fitted__() and not hasattr(clf, "n_features_in_")
    before = clf.fit(good, y).predict_proba(good)
    with raises(message):
        clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(good), before)


BAD_SHAPES = {
    "no dimension": lambda X: X[0, 0],
    "one dimension": lambda X: X[:, 0],
    "three dimensions": lambda X: X[:, :, None],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "complex": lambda X: X + 1j,
}


@pytest.mark.parametrize("change", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_tensors_from_elsewhere_of_a_wrong_form_are_refused(cancer, read_shapes, change):
    bad = change(elsewhere(cancer[0]))
    assert isinstance(bad, Elsewhere)
    message = (
        f"X must be a real tensor of shape (n_rows, n_features), both at least 1; got {bad.dtype} of shape "
        f"{tuple(bad.shape)}. Use X.reshape(1, -1) for a single row."
    )
    assert_refused(read_shapes, cancer, bad, message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_first_number_that_is_none_is_named(cancer, read_shapes, dtype, value):
    """The first in reading order, of several."""
    X = torch.tensor(cancer[0]).to(getattr(torch, dtype))
    X[[3, 3, 7], [5, 6, 0]] = value
    message = f"Input X contains NaN or infinity: {value} in row 3, column 5. Fill or drop it first"
    assert_refused(read_shapes, cancer, elsewhere(X), message)


@pytest.mark.parametrize("columns", [slice(0, 7), [*range(8), 0]], ids=["7", "9"])
def test_another_number_of_features_is_refused(cancer, read_shapes, columns):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(elsewhere(X), y)
    n = X[:, columns].shape[1]
    for call in (clf.predict, clf.predict_proba, lambda rows: clf.partial_fit(rows, y)):
        with raises(f"X has {n} features, but SNNClassifier is expecting 8 features as input"):
            call(elsewhere(X[:, columns]))
    with raises(f"X has {n} features, but SNNClassifier is expecting 8 features as input"):
        clf.fit(elsewhere(X), y, X_val=elsewhere(X[:, columns]), y_val=y)


def test_numbers_of_rows_must_agree(cancer, read_shapes):
    X, y = cancer
    with raises("Found input variables with inconsistent numbers of samples: [120, 119]"):
        SNNClassifier(**SMALL).fit(elsewhere(X), elsewhere(y[1:]))
    with raises("sample_weight.shape == (119,), expected (120,)"):
        SNNClassifier(**SMALL).fit(elsewhere(X), y, elsewhere(np.ones(119)))


def test_names_learned_from_a_frame_are_missed(cancer, read_shapes):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(pd.DataFrame(X, columns=list("abcdefgh")), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        proba = clf.predict_proba(elsewhere(X))
    np.testing.assert_allclose(
        proba, clf.predict_proba(pd.DataFrame(X, columns=list("abcdefgh"))), rtol=1e-12
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings(LEARNS_LITTLE)
@pytest.mark.parametrize(("device", "early_stopping"), [("cuda", True), ("cuda", False), ("cpu", True)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_on_cuda(cancer, kind, dtype, device, early_stopping):
    """The real thing, where operands on two devices and arrays of X are errors, whoever trains."""
    tensors, arrays = as_dtype(cancer[0], kind, dtype)
    X, y, weight = (t.cuda() for t in tensors)
    make = for_dtype(kind, dtype, early_stopping=early_stopping)
    expected = clone(make).set_params(device="cpu").fit(*arrays)
    fitted = clone(make).set_params(device=device).fit(X, y, weight)
    assert_alike(fitted, expected, X, arrays[0], rtol=1e-6)
    assert fitted.score(X, *arrays[1:]) == pytest.approx(expected.score(*arrays), rel=1e-6)
    with raises(f"X has 7 features, but {type(fitted).__name__} is expecting 8"):
        fitted.predict(X[:, 1:])
    if X.is_floating_point():
        X[3, 5] = torch.nan
        with raises("Input X contains NaN or infinity: nan in row 3, column 5"):
            fitted.predict(X)


# ---------------------------------------------------------------- memory

# In a process of its own. The peak is VmHWM where there is one: ru_maxrss of a child begins, on Linux,
# with the peak of the process that started it, which would hide what is measured. glibc gives every
# block back at once: what it keeps for later use varies from run to run by a third of X.
MEASURE = """
import gc, json, resource, sys, warnings
import numpy as np
from scipy import sparse
from sksnn import SNNClassifier

def status(key):
    try:
        with open("/proc/self/status") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))
    except FileNotFoundError:  # macOS: bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def added(call):
    gc.collect()
    before = status("VmRSS")
    call()
    return status("VmHWM") - before

def make(**params):
    params = {"hidden_layer_sizes": (8,), "max_epochs": 1, "lr": 0.02, "encoding": None, **params}
    return SNNClassifier(random_state=0, **params)

warnings.simplefilter("ignore")
rng, results = np.random.default_rng(0), {}
tiny = rng.standard_normal((200, 100))
for rows in (tiny, sparse.csr_matrix(tiny)):
    for stops in (False, True):
        make(early_stopping=stops).fit(rows, tiny[:, 0] > 0).predict_proba(rows)

# A peak only rises: what takes least comes first.
n_rows, n_columns, n_filled = 10_000, 20_000, 100
shifts = 7 * np.arange(n_rows)[:, None]
indices = np.sort((rng.choice(n_columns, n_filled, replace=False) + shifts) % n_columns, axis=1)
X = sparse.csr_matrix(
    (
        rng.standard_normal(indices.size),
        indices.astype(np.int32).ravel(),
        np.arange(0, indices.size + 1, n_filled, dtype=np.int32),
    ),
    shape=(n_rows, n_columns),
)
results["size, sparse"] = 4 * n_rows * n_columns
results["fit, sparse"] = added(lambda: make().fit(X, X[:, 0].toarray().ravel() > 0))

X = np.empty((187_500, 100))
for i in range(0, len(X), 2500):
    X[i : i + 2500] = rng.standard_normal((2500, 100))
y = X[:, 0] > 0
results["size"] = X.nbytes
fitted = make(batch_size=128).fit(X[:2000], y[:2000])
results["predict"] = added(lambda: fitted.predict(X))
results["fit"] = added(lambda: make(batch_size=4096, early_stopping=False).fit(X, y))
results["fit, early stopping"] = added(lambda: make(batch_size=4096, early_stopping=True).fit(X, y))
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def bytes_added():
    if sys.platform == "win32":
        pytest.skip("no resource module")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ["fit", "fit, early stopping"])
def test_a_fit_adds_little_more_than_its_float32_rows(bytes_added, what):
    """Half of a float64 X; neither the split nor checks, statistics or encoding copy it whole."""
    share = bytes_added[what] / bytes_added["size"]
    assert share <= 0.75
    assert share >= 0.4, "nothing was measured"


def test_predictions_come_in_bounded_memory(bytes_added):
    """Chunk by chunk: 150 MB of rows become neither a tensor nor a layer as a whole."""
    assert bytes_added["predict"] < 60e6


def test_sparse_rows_never_become_dense_as_a_whole(bytes_added):
    """10 000 x 20 000, which float32 would hold in 800 MB: only batches are dense."""
    assert bytes_added["fit, sparse"] < 0.2 * bytes_added["size, sparse"]


# ---------------------------------------------------------------- threads and processes


@pytest.fixture
def n_threads():
    """Let torch have another number of threads than the machine has cores, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


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
    assert not hasattr(fitted.net_, "double_")

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
    assert hasattr(fitted.net_, "double_") == (rows != "float32")


def test_threads_of_torch_stay_as_many(iris, n_threads):
    """Whatever torch was given, also after a fit that failed."""
    clf = SNNClassifier(**SMALL, early_stopping=True).fit(*iris)
    assert torch.get_num_threads() == n_threads
    clf.predict(iris[0]), pickle.loads(pickle.dumps(clf)).predict(iris[0])
    SNNRegressor(**SMALL, early_stopping=True).fit(*iris).score(*iris)
    with raises("has 1 class"):
        SNNClassifier(**SMALL).fit(iris[0], np.zeros(150))
    assert torch.get_num_threads() == n_threads


def test_threads_of_torch_stay_as_many_in_threads(iris, n_threads):
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


# ---------------------------------------------------------------- inference in chunks


ROWS = {"dense": np.asarray, "sparse": sparse_rows, "tensor": torch.tensor}


@pytest.mark.parametrize("chunk", [1, 7, 119])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_predictions_do_not_depend_on_chunks(cancer, monkeypatch, kind, rows, chunk):
    """In float64 to 1e-12, on all roads: rows neither get lost at the seams nor change places."""
    X = rows(cancer[0])
    fitted = clone(ESTIMATORS[kind]).fit(X, targets(cancer[0])[kind])
    expected = outputs(fitted, X)
    encode_in_chunks_of(monkeypatch, 3 * N_COLUMNS)
    forward_in_chunks_of(monkeypatch, chunk)
    got = outputs(fitted, X)
    assert got.shape == expected.shape and got.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_encoded_rows_do_not_depend_on_chunks(cancer, monkeypatch, rows):
    X = rows(cancer[0])
    encoder = Standardizer.fit(X)
    whole = encode(X, encoder, "cpu", torch.float32)[:]
    for elements in (1, N_COLUMNS, 5 * N_COLUMNS + 3):
        encode_in_chunks_of(monkeypatch, elements)
        assert torch.equal(encode(X, encoder, "cpu", torch.float32)[:], whole)


@pytest.mark.parametrize(("elements", "least"), [(1, 1), (1, 10), (16 * 9, 1), (16 * 9 + 15, 3), (10**9, 1)])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_forward_pass_takes_a_bounded_number_of_rows(cancer, monkeypatch, rows, elements, least):
    """So many numbers of the widest layer, at least so many rows, and no smaller chunks than needed."""
    X, y = cancer
    fitted = SNNClassifier(**SMALL).fit(rows(X), y)
    fitted.predict(rows(X))
    monkeypatch.setattr(_training, "CPU_FORWARD_ELEMENTS", elements)
    monkeypatch.setattr(_training, "LEAST_FORWARD_ROWS", least)
    seen, forward = [], SNN.forward

    def spy(self, x, *args):
        seen.append(len(x))
        return forward(self, x, *args)

    monkeypatch.setattr(SNN, "forward", spy)
    fitted.predict_proba(rows(X))
    at_once = min(max(elements // 16, least), 120)  # 16 is the widest layer
    assert max(seen) == at_once and sum(seen) == 120 and len(seen) == -(-120 // at_once)


def test_validation_batches_are_bounded_too(cancer, monkeypatch):
    """Within training, rows to watch go through the network as many at a time as in prediction."""
    X, y = cancer
    make = SNNClassifier(**SMALL, precision="float64", dropout=0.0)
    expected = clone(make).fit(X, y, X_val=X, y_val=y)
    forward_in_chunks_of(monkeypatch, 20)
    seen, infer = [], _training.ClassifierNet.infer

    def spy(self, x, **kwargs):
        seen.append(len(x))
        return infer(self, x, **kwargs)

    monkeypatch.setattr(_training.ClassifierNet, "infer", spy)
    fitted = clone(make).fit(X, y, X_val=X, y_val=y)
    assert seen == [20] * 6 * SMALL["max_epochs"]
    np.testing.assert_allclose(fitted.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("make_empty", [lambda X: X[:0], lambda X: sparse.csr_matrix(X)[:0]])
def test_no_rows_at_all_are_refused_as_scikit_learn_does(cancer, make_empty):
    X, y = cancer
    clf, reg = SNNClassifier(**SMALL).fit(X, y), SNNRegressor(**SMALL).fit(X, y)
    for call in (clf.predict, clf.predict_proba, clf.decision_function, reg.predict):
        with raises("Found array with 0 sample(s) (shape=(0, 8)) while a minimum of 1 is required"):
            call(make_empty(X))


# ---------------------------------------------------------------- minibatches


def seeded():
    return torch.Generator().manual_seed(5)


def expected_sizes(n, size):
    """batch_size rows each, the rest in the last, which takes a single row left over as well."""
    sizes = [size] * (n // size) + [n % size] * (n % size > 0)
    if n > size > 1 and n % size == 1:
        sizes[-2:] = [size + 1]
    return sizes


def table_of(n, n_columns, kind):
    """Make rows whose target and weight tell which row they are, and whose numbers do, too."""
    X = 1.0 + np.arange(n)[:, None] + np.linspace(0, 0.5, n_columns)
    if kind == "sparse":
        inputs = LazyInputs(
            sparse.csr_matrix(X), Standardizer.identity(n_columns), torch.device("cpu"), torch.float64
        )
    else:
        inputs = torch.from_numpy(X)
    number = torch.arange(n)
    return X, {
        "bare": lambda: Rows(inputs),
        "y": lambda: Rows(inputs, number),
        "weighted": lambda: Rows(inputs, number, number * 2.0),
        "tasks": lambda: Rows(inputs, torch.stack([number, -number], 1), number[:, None] * 2.0),
    }


@LAWS
@given(
    n=st.integers(1, 60),
    size=st.integers(1, 70),
    n_columns=st.integers(1, 5),
    gathered=st.sampled_from([1, 7, 40, 200, 2**18]),
    kind=st.sampled_from(["dense", "sparse"]),
    beside=st.sampled_from(["bare", "y", "weighted", "tasks"]),
)
@example(n=9, size=4, n_columns=2, gathered=20, kind="dense", beside="weighted")  # the last one has 5
@example(n=3, size=2, n_columns=1, gathered=1, kind="sparse", beside="tasks")  # one batch of 3
@example(n=1, size=1, n_columns=1, gathered=1, kind="dense", beside="y")
def test_shuffled_batches_are_a_permutation(n, size, n_columns, gathered, kind, beside):
    """Each row once an epoch, its target and weight beside it, in batches of the sizes documented."""
    X, make = table_of(n, n_columns, kind)
    batches = Minibatches(make[beside](), size, seeded())
    with mock.patch.object(_training, "GATHERED_ELEMENTS", gathered):
        epochs = [list(batches) for _ in range(2)]
    for epoch in epochs:
        assert [len(batch[0]) for batch in epoch] == expected_sizes(n, size)
        assert len(epoch) == len(batches)
        inputs = torch.cat([batch[0] for batch in epoch]).numpy()
        number = inputs[:, 0].astype(int) - 1
        assert sorted(number) == list(range(n))
        np.testing.assert_array_equal(inputs, X[number])
        for batch in epoch:
            row = batch[0][:, 0].long() - 1
            y, weight = batch[1], batch.weight
            assert (y is None) == (beside == "bare") and (weight is None) == (beside in ("bare", "y"))
            if beside == "tasks":
                assert torch.equal(y, torch.stack([row, -row], 1)) and torch.equal(weight, row[:, None] * 2.0)
            elif y is not None:
                assert torch.equal(y, row) and (weight is None or torch.equal(weight, row * 2.0))


@LAWS
@given(
    n=st.integers(2, 60),
    size=st.integers(1, 20),
    n_columns=st.integers(1, 5),
    gathered=st.lists(st.integers(1, 400), min_size=2, max_size=4),
    kind=st.sampled_from(["dense", "sparse"]),
)
def test_the_order_of_rows_does_not_depend_on_how_many_are_gathered(n, size, n_columns, gathered, kind):
    """Two epochs of one generator: batches are the same, and the generator is used as much."""
    runs, states = [], []
    for elements in gathered:
        generator = seeded()
        with mock.patch.object(_training, "GATHERED_ELEMENTS", elements):
            batches = Minibatches(table_of(n, n_columns, kind)[1]["y"](), size, generator)
            runs.append([[batch[1].tolist() for batch in batches] for _ in range(2)])
        states.append(generator.get_state())
    assert all(run == runs[0] for run in runs)
    assert all(torch.equal(state, states[0]) for state in states)
    dense = Minibatches(table_of(n, n_columns, "dense")[1]["y"](), size, seeded())
    assert [[batch[1].tolist() for batch in dense] for _ in range(2)] == runs[0], "nor on the kind of rows"


def test_epochs_have_orders_of_their_own():
    batches = Minibatches(table_of(60, 2, "dense")[1]["y"](), 8, seeded())
    first, second = (torch.cat([batch[1] for batch in batches]).tolist() for _ in range(2))
    assert first != second != sorted(second) and first != sorted(first)


def test_few_rows_are_gathered_at_once(monkeypatch):
    """As many whole batches as make up the bound, at least one: sparse rows are dense no longer than that."""
    gathered, gather = [], LazyInputs.__getitem__
    monkeypatch.setattr(LazyInputs, "__getitem__", lambda self, i: gathered.append(len(i)) or gather(self, i))
    rows = table_of(50, 4, "sparse")[1]["y"]()
    for elements, most in [(1, 8), (32, 8), (95, 16), (96, 24), (10**6, 50)]:
        monkeypatch.setattr(_training, "GATHERED_ELEMENTS", elements)
        gathered.clear()
        list(Minibatches(rows, 8, seeded()))
        assert max(gathered) == most and sum(gathered) == 50


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_batches_in_order(kind):
    """Without a generator rows stay in order, and a last one may be alone: nothing is trained."""
    X, make = table_of(9, 3, kind)
    batches = Minibatches(make["weighted"](), 4)
    assert [batch[1].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert len(batches) == 3
    np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches]).numpy(), X)
    np.testing.assert_array_equal(torch.cat([batch.weight for batch in batches]), 2 * np.arange(9))


# ---------------------------------------------------------------- subsets of rows

INDEX = np.random.default_rng(3).permutation(120)[:90]


@pytest.mark.parametrize("weighted", [False, True])
def test_split_leaves_dense_rows_where_they_are(cancer, weighted):
    X, y = cancer
    weight = np.linspace(0, 1, 120) if weighted else None
    for part, index in zip(Table(X, y, weight).split(INDEX, INDEX[:5]), (INDEX, INDEX[:5]), strict=True):
        assert isinstance(part.X, Subset) and part.X.X is X
        assert part.X.shape == (len(index), 8)
        np.testing.assert_array_equal(part.X[:], X[index])
        np.testing.assert_array_equal(part.X[2:4], X[index][2:4])
        np.testing.assert_array_equal(part.X[-1], X[index][-1])
        np.testing.assert_array_equal(part.y, y[index])
        np.testing.assert_array_equal(part.weight, weight[index] if weighted else None)


def test_split_allocates_next_to_nothing(monkeypatch):
    """An X of 16 MB: its parts take the memory of their targets, and statistics that of some chunks."""
    X, y = np.ones((20_000, 100)), np.ones(20_000)
    halves = np.split(np.arange(20_000), 2)
    encode_in_chunks_of(monkeypatch, 50_000)  # 0.4 MB
    tracemalloc.start()
    try:
        train, _ = Table(X, y, None).split(*halves)
        after_split = tracemalloc.get_traced_memory()[1]
        column_moments(train.X)
        after_moments = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert y.nbytes <= after_split < 0.02 * X.nbytes
    assert 0.4e6 < after_moments < 0.2 * X.nbytes


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_split_slices_sparse_rows(cancer, container):
    X, y = container(sparse_rows(cancer[0])), cancer[1]
    train, valid = Table(X, y, y + 1.0).split(INDEX, INDEX[:5])
    for part, index in ((train, INDEX), (valid, INDEX[:5])):
        assert sparse.issparse(part.X) and part.X.format == "csr" and part.X.nnz == X[index].nnz
        np.testing.assert_array_equal(part.X.toarray(), X.toarray()[index])
        np.testing.assert_array_equal(part.weight, y[index] + 1.0)


@pytest.mark.parametrize("elements", [N_COLUMNS, 7 * N_COLUMNS, 2**20])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_the_rows_however_they_are_held(
    cancer, monkeypatch, read_shapes, dtype, elements, weighted
):
    """Array, tensor on either device, and subsets of all three; in one chunk and in several."""
    X = (cancer[0] > 14) if dtype == "bool" else (np.rint(cancer[0]) % 200).astype(dtype)
    weight = (np.arange(120) % 4 / 3.0)[INDEX] if weighted else None
    rows = X[INDEX].astype(np.float64)
    mean = np.average(rows, axis=0, weights=weight)
    deviation = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
    encode_in_chunks_of(monkeypatch, elements)
    for held in (X, torch.tensor(X), elsewhere(X)):
        for form in (held[INDEX], Subset(held, INDEX)):
            got = column_moments(form, weight)
            assert all(isinstance(moment, np.ndarray) and moment.dtype == np.float64 for moment in got)
            np.testing.assert_allclose(got[0], mean, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(got[1], deviation, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["array", "tensor", "elsewhere"])
def test_a_subset_is_encoded_as_its_rows(cancer, monkeypatch, read_shapes, kind):
    X = {"array": np.asarray, "tensor": torch.tensor, "elsewhere": elsewhere}[kind](cancer[0])
    encoder = Standardizer.fit(Subset(X, INDEX))
    expected = encode(cancer[0][INDEX], encoder, "cpu", torch.float32)
    for elements in (2**20, 7 * N_COLUMNS):
        encode_in_chunks_of(monkeypatch, elements)
        encoded = encode(Subset(X, INDEX), encoder, "cpu", torch.float32)
        assert torch.equal(encoded, expected) and type(encoded) is torch.Tensor


def test_an_estimator_loaded_in_inference_mode_predicts(cancer):
    """Tensors made there count no versions, which the float64 copy of the network asked for."""
    X, y = cancer
    fitted = SNNClassifier(**SMALL).fit(X, y)
    with torch.inference_mode():
        loaded = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
