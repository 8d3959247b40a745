"""The reader of the 121 sets: .npz files and the original archive."""

import numpy as np
import pytest
from conftest import raises
from datafolders import UCI_AT, check_pairs, put, put_npz, put_uci, put_uci_archive, uci_arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sksnn.datasets import (
    load_uci,
    uci_names,
)


@pytest.mark.parametrize("put_set", [put_uci, put_uci_archive], ids=["npz", "archive"])
def test_without_a_test_file_the_draws_are_the_folds(tmp_path, put_set):
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
def test_an_official_test_file_is_the_only_fold(tmp_path, original):
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


def test_test_rows_may_lie_anywhere(tmp_path):
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
def test_folds_and_draws_are_splits(tmp_path, n, d, k, n_test, seed):
    put_uci(tmp_path, n=n, d=d, k=k, n_test=n_test, seed=seed)
    data = load_uci("small", data_home=tmp_path)
    check_pairs(data.folds, np.arange(n))
    check_pairs([*data.draws, data.tuning], np.arange(n - n_test))
    assert data.X.shape == (n, d) and len(data.target_names) == k


def test_folds_go_into_cv(tmp_path):
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import cross_val_score

    put_uci(tmp_path)
    data = load_uci("small", data_home=tmp_path)
    assert cross_val_score(DummyClassifier(), data.X, data.y, cv=data.folds).shape == (4,)


def test_names_are_those_of_files_and_folders(tmp_path):
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


def test_a_set_that_is_not_there_is_named_with_similar_ones(tmp_path):
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
def test_arrays_that_cannot_be_are_refused(tmp_path, change, message):
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
def test_a_damaged_archive_is_refused(tmp_path, file, content, message):
    put_uci_archive(tmp_path)
    put(tmp_path / "uci" / "small" / file, content)
    with raises(f"{tmp_path / 'uci' / 'small' / file} is damaged, or is another file: {message}"):
        load_uci("small", data_home=tmp_path)


@pytest.mark.parametrize("file", ["conxuntos.dat", "conxuntos_kfold.dat", "small_R.dat"])
def test_a_file_missing_from_the_archive_is_named(tmp_path, file):
    put_uci_archive(tmp_path)
    path = tmp_path / "uci" / "small" / file
    path.unlink()
    with raises(f"{path} is missing. The set was published in {UCI_AT}", FileNotFoundError):
        load_uci("small", data_home=tmp_path)
