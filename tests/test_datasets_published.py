"""Real data, where there are any: their counts and folds are the published ones."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from datafolders import DATA, TASKS, check_htru2_folds, check_pairs, check_tox21_folds, needs_data
from numpy.testing import assert_array_equal

from sksnn.datasets import (
    REGRESSION_ADDRESSES,
    load_htru2,
    load_mnist,
    load_regression,
    load_tox21,
    load_uci,
    regression_names,
    uci_names,
)

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
def test_the_sets_have_their_published_sizes():
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
def test_the_sets_have_the_sizes_of_table_a11():
    """Table A11, where it lies beside the data: rows, and columns with the class."""
    table = Path(DATA).parent / "paper" / "uci_paper_accuracy.csv"
    if not table.exists():
        pytest.skip("needs the paper's Table A11 beside the data")
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    published = {name: (int(n), int(m) - 1) for name, n, m, *_ in lines}
    for name in uci_names():
        assert load_uci(name).X.shape == published[name]


@needs_data
def test_iris_has_its_published_folds():
    """Against conxuntos.dat and conxuntos_kfold.dat of the original archive."""
    data = load_uci("iris")
    test = "17 38 15 42 21 47 31 24 48 14 4 44 1 87 62 95 93 70 91 67 79 64 92 63 78 142 124 123 120 125"
    assert_array_equal(data.folds[0][1], sorted(map(int, f"{test} 128 114 140 122 116 108 149".split())))
    assert_array_equal(data.tuning[0][:5], [0, 2, 8, 11, 13])
    assert_array_equal(data.X[0], np.array([5.1, 3.5, 1.4, 0.2], np.float32))
    assert np.bincount(data.y).tolist() == [50, 50, 50]


@needs_data
def test_trains_has_its_published_folds():
    data = load_uci("trains")
    assert [test.tolist() for _, test in data.folds] == [[2, 9], [4, 9], [4, 9], [4, 7]]
    assert [rows.tolist() for rows in data.tuning] == [[0, 4, 5, 6, 7], [1, 2, 3, 8, 9]]


@needs_data
def test_a_large_set_is_read_quickly():
    start = time.perf_counter()
    load_uci("statlog-shuttle")
    assert time.perf_counter() - start < 2  # 0.1 s on an idle core


@needs_data
def test_tox21_has_its_published_numbers():
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
def test_htru2_has_its_published_numbers():
    data = load_htru2()
    assert data.X.shape == (17898, 8) and np.bincount(data.y).tolist() == [16259, 1639]
    check_htru2_folds(data)
    assert_array_equal(data.X[0, :2], [140.5625, 55.68378214])


@needs_data
def test_mnist_has_its_published_numbers():
    """60 000 and 10 000 images; the mean and deviation of the training pixels that everybody quotes."""
    data = load_mnist()
    train, test = data.folds[0]
    assert (len(train), len(test)) == (60_000, 10_000)
    assert data.X[train].mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.X[train].std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert np.bincount(data.y[train]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@needs_data
def test_the_regression_sets_have_their_published_sizes():
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
