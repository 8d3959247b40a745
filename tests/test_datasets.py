"""Readers of data: their folder and its checksums, damage, frames, and what all of them return."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import raises
from datafolders import (
    UCI_AT,
    put_cifar10,
    put_htru2,
    put_jpegs,
    put_mnist,
    put_regression,
    put_sums,
    put_tox21,
    put_tox21_archive,
    put_uci,
    put_uci_archive,
)
from numpy.testing import assert_array_equal

from sksnn import datasets
from sksnn.datasets import (
    load_cifar10,
    load_htru2,
    load_mnist,
    load_regression,
    load_tox21,
    load_uci,
    regression_names,
    uci_names,
)

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


def test_data_home_comes_from_the_environment(tmp_path, monkeypatch):
    put_uci(tmp_path)
    monkeypatch.setenv("SKSNN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    for home in (None, str(tmp_path), tmp_path.name):
        assert uci_names(data_home=home) == ["small"]
        assert load_uci("small", data_home=home).X.shape == (24, 3)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_with_another_checksum_is_refused(tmp_path, ends):
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


@pytest.mark.parametrize(
    "name", ["../iris", "a/b", "/etc/passwd", "", ".", "iris.npz", "iris\n", None, 3, "a\\b"]
)
@pytest.mark.parametrize(
    ("load", "lists"), [(load_uci, "uci_names()"), (load_regression, "regression_names()")]
)
def test_a_path_is_refused_as_a_name(tmp_path, load, lists, name):
    put_uci(tmp_path / "inner", "iris")
    message = f"name must be the name of a data set: letters, digits, hyphens; got {name!r}. {lists}"
    with raises(message):
        load(name, data_home=tmp_path / "inner")


def test_a_folder_without_sets_is_an_error(tmp_path):
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


# ---------------------------------------------------------------- every layout


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
def test_without_checksums_a_flipped_bit_is_read_or_explained(tmp_path, put_set, load):
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
def test_a_missing_file_is_named(tmp_path, put_set, load):
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
def test_every_set_returns_rows_targets_names_folds_and_a_description(tmp_path, put_set, load):
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


# ---------------------------------------------------------------- frames and imports


def test_return_X_y_gives_the_arrays_alone(tmp_path):
    put_uci(tmp_path)
    data = load_uci("small", data_home=tmp_path)
    X, y = load_uci("small", data_home=tmp_path, return_X_y=True)
    assert_array_equal(X, data.X)
    assert_array_equal(y, data.y)


@pytest.mark.parametrize("name", ["uci", "regression", "htru2", "mnist", "tox21", "cifar10"])
def test_frames_hold_what_the_arrays_hold(tmp_path, name):
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


def test_the_module_imports_without_torch_and_pandas():
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
