"""Minibatches: their sizes, their order, and the targets and weights beside their rows."""

from unittest import mock

import numpy as np
import pytest
import torch
from conftest import LEARNING, unfinished
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from sksnn import SNNClassifier, SNNRegressor, _rows
from sksnn._rows import LazyInputs, Rows
from sksnn.encodings import Standardizer

LAWS = settings(max_examples=60, deadline=None, derandomize=True)


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


def orders(rows, size, generator):
    """Return which rows are in each batch of an epoch."""
    return [batch.y.tolist() for batch in rows.shuffled_batches(size, generator)]


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
    """Each row once per epoch, its target and weight beside it, in batches of the sizes documented."""
    X, make = table_of(n, n_columns, kind)
    rows, generator = make[beside](), seeded()
    with mock.patch.object(_rows, "GATHERED_ELEMENTS", gathered):
        epochs = [list(rows.shuffled_batches(size, generator)) for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == expected_sizes(n, size)
        inputs = torch.cat([batch.inputs for batch in epoch]).numpy()
        number = inputs[:, 0].astype(int) - 1
        assert sorted(number) == list(range(n))
        np.testing.assert_array_equal(inputs, X[number])
        for batch in epoch:
            row = batch.inputs[:, 0].long() - 1
            y, weight = batch.y, batch.weight
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
        with mock.patch.object(_rows, "GATHERED_ELEMENTS", elements):
            rows = table_of(n, n_columns, kind)[1]["y"]()
            runs.append([orders(rows, size, generator) for _ in range(2)])
        states.append(generator.get_state())
    assert all(run == runs[0] for run in runs)
    assert all(torch.equal(state, states[0]) for state in states)
    dense, generator = table_of(n, n_columns, "dense")[1]["y"](), seeded()
    assert [orders(dense, size, generator) for _ in range(2)] == runs[0], "nor on the kind of rows"


def test_epochs_have_orders_of_their_own():
    rows, generator = table_of(60, 2, "dense")[1]["y"](), seeded()
    first, second = (sum(orders(rows, 8, generator), []) for _ in range(2))
    assert first != second != sorted(second) and first != sorted(first)


def test_few_rows_are_gathered_at_once(monkeypatch):
    """As many whole batches as make up the bound, at least one: sparse rows are dense no longer than that."""
    gathered, gather = [], LazyInputs.__getitem__
    monkeypatch.setattr(LazyInputs, "__getitem__", lambda self, i: gathered.append(len(i)) or gather(self, i))
    rows = table_of(50, 4, "sparse")[1]["y"]()
    for elements, most in [(1, 8), (32, 8), (95, 16), (96, 24), (10**6, 50)]:
        monkeypatch.setattr(_rows, "GATHERED_ELEMENTS", elements)
        gathered.clear()
        list(rows.shuffled_batches(8, seeded()))
        assert max(gathered) == most and sum(gathered) == 50


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_batches_without_a_generator_are_in_order(kind):
    """Without a generator rows stay in order, and a last one may be alone: nothing is trained."""
    X, make = table_of(9, 3, kind)
    batches = list(make["weighted"]().batches(4))
    assert [batch.y.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    np.testing.assert_array_equal(torch.cat([batch.inputs for batch in batches]).numpy(), X)
    np.testing.assert_array_equal(torch.cat([batch.weight for batch in batches]), 2 * np.arange(9))


def test_no_training_batch_is_a_single_row():
    rows = Rows(torch.arange(9.0)[:, None])
    assert [len(batch) for batch in rows.shuffled_batches(4, seeded())] == [4, 5]
    assert [len(batch) for batch in rows.batches(4)] == [4, 4, 1]
    assert [len(batch) for batch in rows.shuffled_batches(1, seeded())] == [1] * 9


@unfinished
@pytest.mark.parametrize("n_rows", [40, 90, 1400, 1500, 4000, 12_000, 50_000])
def test_automatic_batches_are_a_32nd_of_the_rows_within_bounds(n_rows):
    """As documented: the nearest power of two (in ratio), from 32 to 256, or to 64 in regression."""
    powers = 2.0 ** np.arange(5, 9)
    expected = powers[np.argmin(abs(np.log(powers * 32 / n_rows)))]
    rows = np.random.default_rng(0).normal(size=(n_rows, 1))
    params = {"hidden_layer_sizes": 1, "max_epochs": 1, "encoding": None, "early_stopping": False}
    model = SNNClassifier(**params, random_state=0).fit(rows, rows[:, 0] > 0)
    assert model.net_.batch_size == expected
    model = SNNRegressor(**params, random_state=0).fit(rows, rows[:, 0])
    assert model.net_.batch_size == min(expected, 64)


def test_a_batch_larger_than_the_rows_is_clipped(whole_iris):
    X, y = whole_iris
    huge, full = (SNNClassifier(**LEARNING, batch_size=size).fit(X, y) for size in (10**9, len(X)))
    np.testing.assert_array_equal(huge.predict_proba(X), full.predict_proba(X))
