"""Moments recorded while training: training stays the same, and the record is what was measured."""

import json
import pickle

import numpy as np
import pytest
import torch
from conftest import SMALL
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from skorch.callbacks import Callback

from sksnn import SNNClassifier
from sksnn._step import WrittenOut
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import (
    layer_moments,
    moment_history,
)


@pytest.mark.parametrize("architecture", ["snn", "batchnorm"])
def test_recording_leaves_training_bit_identical(architecture, cancer):
    settings = {**SMALL, "dropout": 0.1, "architecture": architecture}
    plain = SNNClassifier(**settings).fit(*cancer)
    watched = SNNClassifier(**settings, callbacks=[MomentRecorder(40)]).fit(*cancer)
    assert watched.loss_curve_ == plain.loss_curve_
    states = (model.net_.module_.state_dict() for model in (plain, watched))
    for one, other in zip(*(state.values() for state in states), strict=True):
        assert torch.equal(one, other)


def test_recording_keeps_the_fast_path(monkeypatch, cancer):
    calls = []
    forward = WrittenOut._forward
    monkeypatch.setattr(WrittenOut, "_forward", lambda *args: calls.append(1) or forward(*args))
    model = SNNClassifier(**SMALL, callbacks=[MomentRecorder()]).fit(*cancer)
    assert len(calls) == sum(row["train_batch_count"] for row in model.net_.history)
    assert len(model.net_.history[-1]["batches"]) == 1, "one entry for the epoch"


def test_the_last_record_is_what_layer_moments_measures(cancer):
    X, y = cancer
    model = SNNClassifier(**SMALL, callbacks=[MomentRecorder()]).fit(X, y)
    history, moments = moment_history(model), layer_moments(model, X)
    assert_array_equal(history.epoch, np.arange(1, 6))
    assert_array_equal(history.variance[-1], moments.variance)
    assert_array_equal(history.mean[-1], moments.mean)
    assert (history.variance[:, 0] == history.variance[0, 0]).all()  # the rows stay the same
    few = SNNClassifier(**SMALL, callbacks=[MomentRecorder(3)]).fit(X, y)
    assert_allclose(
        moment_history(few).mean[-1], layer_moments(few, X[[0, 59, 119]]).mean, rtol=1e-5, atol=1e-7
    )


def test_records_are_json_and_survive_pickles_and_warm_starts(recorded, cancer):
    model, X = recorded
    rows = json.loads(json.dumps([row["layer_means"] for row in model.net_.history]))
    assert_array_equal(rows, moment_history(model).mean)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(moment_history(again).variance, moment_history(model).variance)
    X, y = cancer
    model = SNNClassifier(**SMALL, warm_start=True).fit(sparse.csr_matrix(X), y)
    model.set_params(callbacks=[("moments", MomentRecorder())]).fit(sparse.csr_matrix(X), y)
    assert_array_equal(moment_history(model).epoch, np.arange(6, 11))


def test_the_printed_table_has_no_lists(capsys, cancer):
    SNNClassifier(**SMALL, verbose=2, callbacks=[MomentRecorder()]).fit(*cancer)
    printed = capsys.readouterr().out
    assert "train_loss" in printed and "layer_" not in printed


class Interrupting(Callback):
    def on_train_begin(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_recorder_bears_an_interruption_before_it_began(iris):
    """An AttributeError of its own took the interruption's place."""
    assert SNNClassifier(**SMALL, callbacks=[Interrupting(), MomentRecorder()]).fit(*iris).n_iter_ == 0
