"""What reviews of the estimators found, a test each: every one failed before it was mended."""

import copy
import io
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from abuse import CALLERS, default_dtype
from conftest import SMALL, raises
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skorch.callbacks import (
    Callback,
    Freezer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    TrainEndCheckpoint,
)
from skorch.history import History
from threadpoolctl import threadpool_limits
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sksnn import SNNClassifier, SNNRegressor, _device
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import check_self_normalization, layer_moments
from sksnn.encodings import ColumnEncoder
from sksnn.metrics import masked_roc_auc_score, masked_roc_auc_scorer
from sksnn.networks import SNN, layer_sizes
from sksnn.theory import is_in_domain, moment_trajectory

X = np.random.default_rng(0).normal(size=(120, 5))
Y = (X[:, 0] > 0).astype(int)
T = 3 * X[:, 0] + 10
TASKS = (X[:, :3] > 0).astype(float)
FULL_BATCH = {  # nothing but the gradient: no noise, no rounding worth mentioning
    **SMALL,
    "batch_size": 1000,
    "dropout": 0.0,
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "encoding": None,
    "precision": "float64",
}

pytestmark = pytest.mark.filterwarnings("ignore:the final training loss")


def lazy(n_inputs, n_outputs):
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(n_outputs))


def small_module(n_inputs, n_outputs):
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.SELU(), nn.Linear(8, n_outputs))


# ---------------------------------------------------------------- sparse columns


def newcomers_frame(n=1000):
    """Age, income, 4 towns and 25 jobs; who buys depends on most of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, n),
            "income": rng.lognormal(10.5, 0.6, n),
            "town": rng.choice(list("nesw"), n),
            "job": rng.integers(0, 25, n).astype(str),
        }
    )
    of_job = rng.normal(size=25)[frame["job"].astype(int)]
    z = (frame["age"] - 40) / 12 + 1.2 * (np.log(frame["income"]) - 10.5) / 0.6 + of_job
    buys = (z + rng.normal(size=n) > 0).astype(int)
    frame.loc[::10, "age"] = np.nan
    return frame, buys


class TestSparseRowsLearnWhatDenseOnesDo:
    """On one common scale the largest column swamped all others: accuracy .549 for .872."""

    @pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_digits])
    def test_numbers(self, load):
        rows, y = load(return_X_y=True)
        rows, y = rows[::2], y[::2]
        folds = KFold(3, shuffle=True, random_state=0)
        model = SNNClassifier(max_epochs=30, random_state=0)
        dense = cross_val_score(model, rows, y, cv=folds).mean()
        assert cross_val_score(model, sparse.csr_matrix(rows), y, cv=folds).mean() > dense - 0.03 > 0.9

    def test_the_commonest_pipeline(self):
        frame, buys = newcomers_frame()
        scores = []
        for threshold in (0.0, 1.0):
            columns = make_column_transformer(
                (SimpleImputer(add_indicator=True), ["age", "income"]),
                (OneHotEncoder(handle_unknown="ignore"), ["town", "job"]),
                sparse_threshold=threshold,
            )
            model = make_pipeline(columns, SNNClassifier(max_epochs=30, random_state=0))
            assert sparse.issparse(columns.fit_transform(frame)) == bool(threshold)
            scores.append(cross_val_score(model, frame, buys, cv=3).mean())
        assert min(scores) > 0.75 and scores[1] > scores[0] - 0.03


# ---------------------------------------------------------------- threads


class ThreadsSeen(Callback):
    """Remember how many threads torch has while it trains, here and in a thread that begins meanwhile."""

    def on_epoch_end(self, net, **kwargs):
        self.here_, elsewhere = torch.get_num_threads(), []
        other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        other.start()
        other.join()
        self.elsewhere_ = elsewhere[0]


class TestThreads:
    """The threads of small products waited for each other: 15 to 20 s for 0.2 s on a busy machine."""

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

    def test_large_ones_train_on_as_many_as_the_work_is_worth(self, monkeypatch):
        work = 16 * (5 * 16 + 16 * 2 + 16 * 16)
        sizes = {"hidden_layer_sizes": (16, 16), "batch_size": 16}
        for per_thread, expected in ((work // 2, 2), (work // 2 + 1, 1), (1, 2)):
            monkeypatch.setattr(_device, "WORK_PER_THREAD", per_thread)
            assert dict(self.fitted(**sizes).net_.callbacks_)["ThreadsSeen"].here_ == expected

    @pytest.mark.skipif(_device.torch_mkl() is None, reason="this torch has no MKL")
    def test_products_in_torchs_own_library_heed_it_too(self):
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

    def test_predictions_have_the_same_rule(self, monkeypatch):
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
        assert model._work == 3 * 3 * 4 + 12 * 2


class Breaking(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("boom")


# ---------------------------------------------------------------- own modules


class TestLazyLayers:
    def test_their_weights_decay_and_their_biases_do_not(self):
        """Parameters were grouped by their dimensions before they had any: none decayed."""
        model = SNNClassifier(**SMALL, architecture=lazy, weight_decay=0.1).fit(X, Y)
        groups = {
            g["weight_decay"]: [p.ndim for p in g["params"]] for g in model.net_.optimizer_.param_groups
        }
        assert groups == {0.1: [2, 2], 0.0: [1, 1]}

    def test_they_can_go_on_in_every_way(self):
        """partial_fit twice, warm_start, and both after pickling ended in a state dict of other groups."""
        cloudpickle = pytest.importorskip("cloudpickle")
        model = SNNClassifier(**SMALL, architecture=lazy, warm_start=True).fit(X, Y)
        loaded = pickle.loads(cloudpickle.dumps(model))
        for going_on in (model, loaded):
            going_on.fit(X, Y).partial_fit(X, Y).partial_fit(X, Y)
        assert model.n_iter_ == loaded.n_iter_ == 2 * SMALL["max_epochs"] + 2
        np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))


class InPlace(nn.Module):
    """Changes its input; only the first layer does anything."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_inputs, 8), nn.SELU(inplace=True), nn.Linear(8, n_outputs))

    def forward(self, x):
        x /= 2
        return self.layers(x)


class OutOfPlace(InPlace):
    def forward(self, x):
        return self.layers(x / 2)


class TestModulesThatChangeTheirInput:
    """Rows as stored were halved epoch after epoch: batches are views of them."""

    @pytest.mark.parametrize("batch_size", [16, 1000])
    def test_training_is_as_if_they_did_not(self, batch_size):
        params = {**SMALL, "batch_size": batch_size, "early_stopping": True, "callbacks": [MomentRecorder()]}
        one, other = (SNNClassifier(**params, architecture=a).fit(X, Y) for a in (InPlace, OutOfPlace))
        assert one.loss_curve_ == other.loss_curve_
        assert one.validation_loss_curve_ == other.validation_loss_curve_
        moments = [[row["layer_variances"] for row in model.net_.history] for model in (one, other)]
        assert moments[0] == moments[1]

    def test_diagnostics_leave_the_users_rows_alone(self):
        rows = torch.tensor(X, dtype=torch.float32)
        layer_moments(InPlace(5, 2), rows)
        assert torch.equal(rows, torch.tensor(X, dtype=torch.float32))


# ---------------------------------------------------------------- weights


class TestWeights:
    @pytest.mark.parametrize("estimator", [SNNClassifier(**SMALL), SNNRegressor(**SMALL)])
    def test_labels_on_rows_of_weight_0_alone_are_none(self, estimator):
        """A task whose labels all had weight 0 was fitted without a word."""
        tasks, weight = TASKS.copy(), np.ones(len(X))
        weight[:10] = 0
        tasks[10:, 1] = np.nan
        message = (
            "task 1 of y (column 1) has no label among the 120 training rows: all are missing, or of weight 0"
        )
        with raises(message):
            estimator.fit(X, tasks, sample_weight=weight)

    @pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
    @pytest.mark.parametrize("missing", [0.0, 0.4])
    @given(seed=st.integers(0, 1000))
    @settings(max_examples=4, deadline=None, derandomize=True)
    def test_weights_are_copies(self, estimator, missing, seed):
        """With missing labels the loss was divided by labels of any weight: 0.003 of probability apart."""
        rng = np.random.default_rng(seed)
        tasks = np.where(rng.random(TASKS.shape) < missing, np.nan, TASKS)
        weight = rng.integers(0, 4, len(X))
        models = [
            estimator(**FULL_BATCH).fit(X, tasks, sample_weight=weight * 0.7),
            estimator(**FULL_BATCH).fit(np.repeat(X, weight, axis=0), np.repeat(tasks, weight, axis=0)),
            estimator(**FULL_BATCH).fit(X[weight > 0], tasks[weight > 0], sample_weight=weight[weight > 0]),
        ]
        method = "predict_proba" if estimator is SNNClassifier else "predict"
        first, *others = (getattr(model, method)(X) for model in models)
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-9, atol=1e-9)
        for model in models[1:]:
            np.testing.assert_allclose(model.loss_curve_, models[0].loss_curve_, rtol=1e-9)

    @pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
    @pytest.mark.parametrize("labels", ["none", "of no weight"])
    def test_a_first_chunk_without_weighted_labels_leaves_the_scale_to_the_next(self, estimator, labels):
        """Its weights have no mean: a division by zero."""
        tasks, weight = np.full((len(X), 3), np.nan), np.ones(len(X))
        if labels == "of no weight":
            tasks[:60], weight[:60] = TASKS[:60], 0
        models = [estimator(**FULL_BATCH).partial_fit(X, tasks, sample_weight=weight) for _ in range(2)]
        for model, unit in zip(models, (1, 5), strict=True):  # only ratios of weights matter
            model.partial_fit(X, TASKS, sample_weight=unit * (1 + weight))
            assert model.loss_curve_[0] == 0 < model.loss_curve_[1] < np.inf
        np.testing.assert_allclose(*(model.predict(X) for model in models), rtol=1e-12)

    def test_a_class_on_rows_of_weight_0_alone_is_none(self):
        tasks, weight = np.zeros((len(X), 2)), np.ones(len(X))
        tasks[::2, 0] = tasks[:10, 1] = 1
        weight[:10] = 0
        with pytest.warns(UserWarning, match=r"task 1 of y \(column 1\) has labels of one class only"):
            SNNClassifier(**SMALL).fit(X, tasks, sample_weight=weight)

    def test_validation_weights_are_copies(self):
        rng = np.random.default_rng(0)
        tasks = np.where(rng.random(TASKS.shape) < 0.4, np.nan, TASKS)
        weight = rng.integers(0, 4, len(X))
        curves = [
            SNNClassifier(**FULL_BATCH).fit(X, tasks, X_val=rows, y_val=y, sample_weight_val=w)
            for rows, y, w in [
                (X, tasks, weight),
                (np.repeat(X, weight, axis=0), np.repeat(tasks, weight, axis=0), None),
            ]
        ]
        np.testing.assert_allclose(*(model.validation_loss_curve_ for model in curves), rtol=1e-9)


# ---------------------------------------------------------------- warm starts


class TestWarmStartWithEarlyStopping:
    def test_the_weights_it_begins_with_are_a_candidate(self):
        """After a best loss of 0.156 a second fit at a ruinous rate kept weights of 1.52."""
        model = SNNClassifier(**SMALL | {"early_stopping": True, "warm_start": True, "max_epochs": 20}).fit(
            X, Y
        )
        best, proba, curve = model.best_epoch_, model.predict_proba(X), model.validation_loss_curve_
        model.set_params(lr=0.9, lr_schedule="constant", max_epochs=3).fit(X, Y)
        assert min(model.validation_loss_curve_[len(curve) :]) > min(curve)  # nothing better came
        assert model.best_epoch_ == best == np.argmin(model.validation_loss_curve_) + 1
        np.testing.assert_array_equal(model.predict_proba(X), proba)

    def test_a_better_epoch_replaces_them(self):
        model = SNNClassifier(
            **SMALL | {"early_stopping": True, "warm_start": True, "max_epochs": 2, "lr": 1e-3}
        )
        model.fit(X, Y).set_params(lr=0.01, max_epochs=5).fit(X, Y)
        assert model.best_epoch_ > 2 and model.best_epoch_ == np.argmin(model.validation_loss_curve_) + 1

    def test_they_are_also_where_nobody_watched_before(self):
        model = SNNClassifier(**SMALL | {"warm_start": True, "max_epochs": 3}).fit(X, Y)
        proba = model.predict_proba(X)
        model.set_params(early_stopping=True, optimizer="sgd", lr=1e4, lr_schedule="constant")
        with pytest.warns(ConvergenceWarning, match="The weights of epoch 3, the best, are kept"):
            model.fit(X, Y)
        assert model.best_epoch_ == 3
        np.testing.assert_array_equal(model.predict_proba(X), proba)

    def test_diverging_at_once_keeps_them(self):
        model = SNNClassifier(**SMALL | {"early_stopping": True, "warm_start": True}).fit(X, Y)
        best, proba = model.best_epoch_, model.predict_proba(X)
        with pytest.warns(ConvergenceWarning, match=f"The weights of epoch {best}, the best, are kept"):
            model.set_params(optimizer="sgd", lr=1e30).fit(X, Y)
        np.testing.assert_array_equal(model.predict_proba(X), proba)


class TestSchedulersGoOn:
    @pytest.mark.parametrize("how", ["warm start", "partial_fit", "another optimizer", "pickled"])
    def test_a_second_fit_has_a_scheduler(self, how):
        """KeyError: param 'initial_lr' is not specified."""
        params = {**SMALL, "warm_start": True, "lr_schedule": "constant"}
        model = SNNClassifier(**params, callbacks=[LRScheduler(StepLR, step_size=2)]).fit(X, Y)
        if how == "pickled":
            model = pickle.loads(pickle.dumps(model))
        if how == "another optimizer":
            model.set_params(optimizer="sgd")
        model.partial_fit(X, Y) if how == "partial_fit" else model.fit(X, Y)
        assert model.n_iter_ > SMALL["max_epochs"]

    def test_the_rate_goes_on_where_it_was(self):
        """As in skorch: two fits of three epochs have the rates of one of six."""

        class Rates(Callback):
            def __init__(self, seen):
                self.seen = seen

            def on_epoch_begin(self, net, **kwargs):
                self.seen.append(net.optimizer_.param_groups[0]["lr"])

        once, twice = [], []
        for seen, n_fits in ((once, 1), (twice, 2)):
            model = SNNClassifier(
                **SMALL
                | {"max_epochs": 6 // n_fits, "lr": 0.01, "lr_schedule": "constant", "warm_start": True},
                callbacks=[LRScheduler(StepLR, step_size=4, gamma=0.5), Rates(seen)],
            )
            for _ in range(n_fits):
                model.fit(X, Y)
        np.testing.assert_allclose(twice, once)
        model.set_params(lr=0.02).fit(X, Y)  # a new rate is where it begins from
        assert twice[6] == 0.02

    def test_a_cosine_begins_anew(self):
        model = SNNClassifier(**SMALL | {"warm_start": True, "max_epochs": 3}).fit(X, Y)
        before = model.loss_curve_[-1]
        model.fit(X, Y)
        assert model.net_.optimizer_.param_groups[0]["lr"] < 1e-6 and model.loss_curve_[-1] < before


class TestFrozenParameters:
    @pytest.mark.parametrize("architecture", ["snn", "msra"])
    def test_a_second_fit_with_a_freezer(self, architecture):
        """The optimizer's groups no longer matched: frozen parameters were left out of them."""
        name = "*layers.0*" if architecture == "snn" else "*blocks.0*"
        model = SNNClassifier(
            **SMALL, architecture=architecture, warm_start=True, callbacks=[Freezer(name)]
        ).fit(X, Y)
        frozen = [p for p in model.net_.module_.network.parameters() if not p.requires_grad]
        before = [p.clone() for p in frozen]
        model.fit(X, Y).partial_fit(X, Y)
        assert frozen and all(torch.equal(p, q) for p, q in zip(frozen, before, strict=True))

    def test_what_was_thawed_stays_thawed_in_copies(self):
        """A module that is built frozen in part, and thawed for fine-tuning, was frozen again."""

        def half_frozen(n_inputs, n_outputs):
            network = small_module(n_inputs, n_outputs)
            network[0].requires_grad_(False)
            return network

        model = SNNClassifier(**SMALL, architecture=half_frozen, warm_start=True).fit(X, Y)
        model.net_.module_.network[0].requires_grad_(True)
        other = copy.deepcopy(model)
        assert all(p.requires_grad for p in other.net_.module_.network.parameters())
        np.testing.assert_array_equal(model.fit(X, Y).predict_proba(X), other.fit(X, Y).predict_proba(X))

    @pytest.mark.parametrize("pickled", [False, True])
    def test_frozen_by_hand(self, pickled):
        model = SNNClassifier(**SMALL, warm_start=True).fit(X, Y)
        model.net_.module_.network.layers[0].requires_grad_(False)
        model = pickle.loads(pickle.dumps(model)) if pickled else model
        before = copy.deepcopy(model.net_.module_.network.state_dict())
        after = model.fit(X, Y).net_.module_.network.state_dict()
        same = [torch.equal(before[name], after[name]) for name in before]
        assert same == [True, True] + [False] * (len(same) - 2)

    def test_moments_of_a_second_fit_are_those_of_the_first(self):
        """A fit goes on from the optimizer's state if, and only if, it is of the same kind."""
        steps = {}
        for optimizer in ("adamw", "adam"):
            model = SNNClassifier(**SMALL | {"warm_start": True, "weight_decay": 0.0}).fit(X, Y)
            first = next(iter(model.net_.optimizer_.state.values()))["step"].item()
            model.set_params(optimizer=optimizer).fit(X, Y)
            steps[optimizer] = next(iter(model.net_.optimizer_.state.values()))["step"].item() / first
        assert steps == {"adamw": 2, "adam": 1}


# ---------------------------------------------------------------- what the caller told torch


WAYS = {
    "defaults": {},
    "early stopping, codes": {"early_stopping": True, "encoding": "piecewise"},
    "own module": {"architecture": small_module},
    "weightnorm": {"architecture": "weightnorm"},
    "resnet": {"architecture": "resnet"},
    "lbfgs": {"optimizer": "lbfgs", "weight_decay": 0.0, "max_epochs": 2},
    "bf16": {"precision": "bf16"},
    "float64": {"precision": "float64"},
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("kind", "way"), [*(("classes", way) for way in WAYS), ("tasks", "defaults"), ("regression", "defaults")]
)
def test_only_the_estimators_own_parameters_decide(caller, kind, way):
    """Found by review: other models in another default dtype, failures in inference mode, under autocast."""
    estimator, y = {
        "classes": (SNNClassifier, Y),
        "tasks": (SNNClassifier, np.where(X[:, 3:] > 1, np.nan, X[:, :2] > 0)),
        "regression": (SNNRegressor, T),
    }[kind]
    params = {**SMALL, **WAYS[way]}
    expected = estimator(**params).fit(X, y)
    with CALLERS[caller]():
        fitted = estimator(**params).fit(X, y)
        inside = fitted.predict(X)
        loaded = (
            pickle.loads(pickle.dumps(fitted)) if params.get("architecture") is not small_module else fitted
        )
    assert fitted.loss_curve_ == expected.loss_curve_
    for prediction in (inside, fitted.predict(X), loaded.predict(X)):
        np.testing.assert_array_equal(prediction, expected.predict(X))
    with CALLERS[caller]():
        moments = layer_moments(fitted, X).variance
    np.testing.assert_array_equal(moments, layer_moments(expected, X).variance)
    if kind != "regression" and way != "early stopping, codes":
        fitted.partial_fit(X, y)
        loaded.partial_fit(X, y)


def test_the_callers_settings_come_back():
    for enter in (lambda: default_dtype(torch.float64), lambda: torch.device("meta"), torch.inference_mode):
        with enter():
            before = (
                torch.get_default_dtype(),
                torch.get_default_device(),
                torch.is_inference_mode_enabled(),
            )
            SNNClassifier(**SMALL).fit(X, Y).predict(X)
            with raises("boom", RuntimeError):
                SNNClassifier(**SMALL, callbacks=[Breaking()]).fit(X, Y)
            after = (torch.get_default_dtype(), torch.get_default_device(), torch.is_inference_mode_enabled())
            assert before == after


def test_fits_in_threads_share_one_change_of_the_default_dtype():
    expected = SNNClassifier(**SMALL).fit(X, Y).predict_proba(X)
    found = []
    with default_dtype(torch.float64):
        fits = [
            threading.Thread(target=lambda: found.append(SNNClassifier(**SMALL).fit(X, Y).predict_proba(X)))
            for _ in range(4)
        ]
        for fit in fits:
            fit.start()
        for fit in fits:
            fit.join()
        assert torch.get_default_dtype() == torch.float64
    assert len(found) == 4
    for proba in found:
        np.testing.assert_array_equal(proba, expected)


ARRAY_API = """
import numpy as np, sklearn, torch
from sksnn import SNNClassifier, SNNRegressor
X = np.random.default_rng(0).normal(size=(60, 3))
y = (X[:, 0] > 0).astype(int)
for estimator in (SNNClassifier, SNNRegressor):
    model = estimator(max_epochs=2, random_state=0)
    expected = model.fit(X, y).predict(X), model.score(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        rows, target = torch.tensor(X), torch.tensor(y)
        assert (model.fit(rows, target).predict(rows) == expected[0]).all()
        assert model.score(rows, target, sample_weight=torch.ones(60)) == expected[1]
        model.partial_fit(rows, target)
"""


def test_torch_rows_under_array_api_dispatch():
    """'torch.dtype' object has no attribute 'kind'. scipy reads its switch when it is imported."""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAY_API], env=environment, check=True, capture_output=True
    )


# ---------------------------------------------------------------- numbers


class TestNumbers:
    @pytest.mark.parametrize("scale", [1e39, 1e-200, 1e150])
    def test_float32_rows_only_choose_the_precision_of_the_forward_pass(self, scale):
        """Predictions of a target beyond float32 were infinite, and 21 off at 1e10 +- 3."""
        model = SNNRegressor(**SMALL).fit(X, T * scale)
        assert model.predict(X.astype("f4")).dtype == np.float64
        np.testing.assert_allclose(model.predict(X.astype("f4")), model.predict(X), rtol=1e-5)

    def test_a_target_far_from_0_keeps_its_digits(self):
        model = SNNRegressor(**SMALL | {"max_epochs": 30}).fit(X.astype("f4"), 1e10 + T)
        assert abs(model.predict(X.astype("f4")) - model.predict(X.astype("f4").astype("f8"))).max() < 1e-3

    @pytest.mark.parametrize("scale", [1e-170, 1e-300, 1e150])
    @pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
    def test_columns_of_any_magnitude_count(self, scale, container):
        """Below 1e-160 the variance underflowed: the column counted as constant, and was ignored."""
        plain = SNNClassifier(**SMALL).fit(container(X), Y)
        tiny = SNNClassifier(**SMALL).fit(container(X * scale), Y)
        np.testing.assert_allclose(
            tiny.predict_proba(container(X * scale)), plain.predict_proba(container(X)), rtol=1e-4
        )

    def test_targets_of_any_magnitude_count(self):
        plain = SNNRegressor(**SMALL).fit(X, T).predict(X)
        for scale in (1e-170, 1e-300, 1e150):
            np.testing.assert_allclose(
                SNNRegressor(**SMALL).fit(X, T * scale).predict(X) / scale, plain, rtol=1e-4
            )

    def test_predictions_that_leave_float64_are_an_error(self):
        model = SNNRegressor(**SMALL, encoding=None).fit(X, T * 1e150)
        with raises("the outputs of row 1 of X are not finite"):
            model.predict(X[:3] * [[1], [1e170], [1]])


# ---------------------------------------------------------------- causes


class TestCausesOfDivergence:
    """'Use a smaller lr' was said where lr is innocent."""

    def test_outliers_in_validation_rows(self):
        rows = X.copy()
        rows[3, 2] = 1e40
        with raises("X_val, standardised by the training rows, holds values of"):
            SNNClassifier(**SMALL).fit(X, Y, X_val=rows, y_val=Y)

    @pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
    def test_columns_that_are_not_standardised(self, container):
        with raises("X, not standardised, holds values of") as caught:
            SNNClassifier(**SMALL, standardize=False).fit(container(X * 1e40), Y)
        assert "Set standardize=True" in str(caught.value) and "lr" not in str(caught.value)

    def test_a_target_that_is_not_standardised(self):
        with raises("y, not standardised, holds values of") as caught:
            SNNRegressor(**SMALL, standardize_target=False).fit(X, T * 1e30)
        assert "Set standardize_target=True" in str(caught.value)

    def test_validation_targets(self):
        with raises("y_val, standardised by the training rows, holds values of"):
            SNNRegressor(**SMALL).fit(X, T, X_val=X, y_val=T * 1e30)

    def test_one_weight_beside_which_others_are_nothing(self):
        weight = np.ones(len(X))
        weight[0] = 1e300
        with raises(
            "one label has a weight of 120, 100% of all weight. Bring sample_weight and class_weight"
        ):
            SNNClassifier(**SMALL).fit(X, Y, sample_weight=weight)

    def test_weight_decay(self):
        with raises(
            "weight_decay times lr at 2e+28. Use a smaller weight_decay (now 1e+30) or lr (now 0.02)"
        ):
            SNNClassifier(**SMALL, weight_decay=1e30).fit(X, Y)

    def test_a_rate_at_which_the_default_decay_is_too_much(self):
        """The decay was blamed, at its default."""
        with raises("Use a smaller lr (now 1e+30) or weight_decay (now 0.3)"):
            SNNClassifier(**SMALL | {"lr": 1e30}).fit(X, Y)

    def test_a_class_weight_beyond_float32(self):
        with raises("one label has a weight of inf. Bring sample_weight and class_weight to one magnitude"):
            SNNClassifier(**SMALL, class_weight={0: 1e300, 1: 1}).fit(X, Y)

    def test_the_learning_rate_itself(self):
        with raises("training diverged. Use a smaller lr (now 1e+20)"):
            SNNClassifier(**SMALL | {"optimizer": "sgd", "lr": 1e20, "weight_decay": 0.0}).fit(X, Y)


# ---------------------------------------------------------------- words in place of raw errors


DAYS = pd.date_range("2026-01-01", periods=120)


@pytest.mark.parametrize(
    "column",
    [
        DAYS,
        DAYS - DAYS[0],
        DAYS.tz_localize("UTC"),
        DAYS.to_period("M"),
        pl.Series("when", DAYS.to_numpy()),
        pl.Series("when", DAYS.to_numpy()).cast(pl.Date),
        pl.Series("when", (DAYS - DAYS[0]).to_numpy()),
    ],
    ids=lambda column: str(column.dtype),
)
@pytest.mark.parametrize("among_numbers", [True, False])
def test_a_column_of_times_is_named(column, among_numbers):
    """numpy's promotion error came through; the hint reached arrays of times only."""
    numbers = {"a": X[:, 0], "b": X[:, 1]} if among_numbers else {}
    frame = (pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame)({**numbers, "when": column})
    with raises("column 'when' of X must hold numbers; got"):
        SNNClassifier(**SMALL).fit(frame, Y)


def test_objects_that_are_times_get_the_hint():
    frame = pd.DataFrame({"a": X[:, 0], "when": pd.Series(list(DAYS), dtype=object)})
    with pytest.raises((ValueError, TypeError), match="Turn dates into numbers first"):
        SNNClassifier(**SMALL).fit(frame, Y)


@pytest.mark.parametrize("y", [DAYS.to_numpy(), pd.Series(DAYS), DAYS.to_numpy() - DAYS.to_numpy()[0]])
def test_a_regressor_refuses_times(y):
    """They were cast to nanoseconds."""
    with raises("y must hold numbers; got"):
        SNNRegressor(**SMALL).fit(X, y)


def test_categories_may_have_any_name():
    """A category named "bedtime" was taken for a time."""
    when = pl.Series("when", ["day", "bedtime"] * 60, dtype=pl.Enum(["day", "bedtime"]))
    with raises("Encode categorical columns first"):
        SNNClassifier(**SMALL).fit(pl.DataFrame({"a": X[:, 0], "when": when}), Y)


def test_times_of_y_are_called_y():
    with raises("column 'q' of y must hold numbers; got"):
        SNNRegressor(**SMALL).fit(X, pd.DataFrame({"q": DAYS}))
    for y in (np.asarray(DAYS.tz_localize("UTC"), dtype=object), list(DAYS), [DAYS[0].date()] * 120):
        with raises("y must hold numbers: float() argument must be", TypeError) as caught:
            SNNRegressor(**SMALL).fit(X, y)
        assert "Turn dates into numbers first" in str(caught.value)


@pytest.mark.parametrize("argument", ["y", "sample_weight"])
def test_meta_tensors_beside_X_have_no_numbers(argument):
    data = {"y": Y, argument: torch.empty(120, device="meta")}
    with raises("targets and weights must hold numbers; got a tensor on device 'meta'"):
        SNNClassifier(**SMALL).fit(X, **data)


def test_a_meta_tensor_has_no_numbers():
    with raises("X must hold numbers; got a tensor on device 'meta', which has a shape only."):
        SNNClassifier(**SMALL).fit(torch.empty(120, 5, device="meta"), Y)


@pytest.mark.parametrize(
    ("params", "message", "error"),
    [
        ({"callbacks": [InputShapeSetter()]}, "callbacks must not hold skorch's InputShapeSetter", TypeError),
        ({"callbacks": [("shape", InputShapeSetter)]}, "must not hold skorch's InputShapeSetter", TypeError),
        ({"optimizer_params": {"differentiable": True}}, "must not hold 'differentiable': True", ValueError),
        (
            {"optimizer": torch.optim.SparseAdam},
            "optimizer SparseAdam takes sparse gradients only",
            ValueError,
        ),
        ({"optimizer": torch.optim.Muon}, "optimizer Muon refuses optimizer_params=None or the", ValueError),
    ],
)
def test_what_cannot_work_is_said_in_words(params, message, error):
    with raises(message, error):
        SNNClassifier(**SMALL, **params).fit(X, Y)


def test_functions_refuse_what_they_do_not_know():
    with raises("layers must be pairs of omega and tau, one a layer; got 3. For n layers"):
        moment_trajectory(0, 1, 3)
    with raises("layers must be pairs"):
        moment_trajectory(0, 1, [1.0, 2.0])
    with raises("domain must be a dict of (low, high) by name"):
        is_in_domain(0, 1, domain=None)
    for domain in ({"nu": (0, 1)}, {"mean": 3}):
        with raises("domain must be a dict"):
            is_in_domain(0, 1, domain=domain)
    with raises("layer_form must be 'conic' or 'rectangular'; got 'x'."):
        layer_sizes(2, 8, "x", 2)
    with raises("encoding must be one of onehot, thermometer, piecewise; got 'zzz'."):
        ColumnEncoder.fit(X, encoding="zzz")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_net_inside_says_who_trains_it(method):
    """A bare AttributeError."""
    net = SNNClassifier(**SMALL).fit(X, Y).net_
    with raises("net_ is trained by its estimator: call fit of the estimator", RuntimeError):
        getattr(net, method)(X, Y)


def test_one_hidden_layer_is_singular():
    model = SNNClassifier(**SMALL | {"n_layers": 1}).fit(X, Y)
    assert str(check_self_normalization(model, X)).startswith("Healthy: 1 hidden layer with means from ")


def test_a_remedy_for_weights_decayed_by_default():
    """A format code for numbers met weight_decay='auto'."""
    model = SNNRegressor(**SMALL).fit(X, T)
    with torch.no_grad():
        for layer in model.net_.module_.network.layers:
            layer.weight.mul_(0.01)
    assert "less weight_decay (now auto)" in check_self_normalization(model, X).findings[0].remedy


# ---------------------------------------------------------------- tasks


class TestTasks:
    @pytest.mark.parametrize("n_tasks", [2, 3, 4])
    def test_cross_val_predict_takes_complete_tasks(self, n_tasks):
        """scikit-learn sorts columns by classes_, which had two: an IndexError from three tasks on."""
        tasks = (X[:, :n_tasks] > 0).astype(int)
        folds = KFold(3)
        model = SNNClassifier(**SMALL)
        for method in ("predict_proba", "decision_function", "predict_log_proba"):
            got = cross_val_predict(model, X, tasks, cv=folds, method=method)
            expected = np.empty(tasks.shape)
            for train, test in folds.split(X):
                expected[test] = getattr(clone(model).fit(X[train], tasks[train]), method)(X[test])
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one")
    @pytest.mark.parametrize("n_tasks", [2, 3, 4])
    @pytest.mark.parametrize(
        "scoring", ["roc_auc", "average_precision", "neg_log_loss", "roc_auc_ovr", "f1_macro"]
    )
    def test_scorers_of_scikit_learn_see_tasks(self, n_tasks, scoring):
        tasks = (X[:, :n_tasks] > 0).astype(int)
        model = SNNClassifier(**SMALL).fit(X, tasks)
        got = sklearn.metrics.get_scorer(scoring)(model, X, tasks)
        direct = {
            "roc_auc": lambda: roc_auc_score(tasks, model.decision_function(X)),
            "average_precision": lambda: sklearn.metrics.average_precision_score(
                tasks, model.predict_proba(X)
            ),
            "neg_log_loss": lambda: -sklearn.metrics.log_loss(tasks, model.predict_proba(X)),
            "roc_auc_ovr": lambda: roc_auc_score(tasks, model.predict_proba(X), multi_class="ovr"),
            "f1_macro": lambda: sklearn.metrics.f1_score(tasks, model.predict(X), average="macro"),
        }[scoring]()
        assert got == pytest.approx(direct, rel=1e-6)

    def test_a_scorer_of_ones_own_sees_tasks(self):
        model = SNNClassifier(**SMALL).fit(X, TASKS)
        scorer = make_scorer(roc_auc_score, response_method="predict_proba")
        assert scorer(model, X, TASKS) == roc_auc_score(TASKS, model.predict_proba(X))

    @pytest.mark.parametrize("classes", [[0, 1], [1, 0], [0.0, 1.0, np.nan], [1], [[0, 1], [0, 1], [1]]])
    def test_classes_of_tasks_may_be_named(self, classes):
        model = SNNClassifier(**SMALL)
        for _ in range(2):
            model.partial_fit(X, TASKS, classes=classes)
        assert model.n_iter_ == 2

    def test_other_classes_of_tasks_are_refused_each_time(self):
        """The first call took anything, the second refused the same."""
        model = SNNClassifier(**SMALL)
        for _ in range(2):
            with raises("classes of a 2-D y must be 0 and 1, and perhaps missing_label=nan; got 7."):
                model.partial_fit(X, TASKS, classes=[0, 7])
            with raises("got 'a'."):
                model.partial_fit(X, TASKS, classes=["a", "b"])
            model.partial_fit(X, TASKS)

    @pytest.mark.parametrize("missing_label", [np.nan, -1])
    def test_learning_curves_in_chunks(self, missing_label):
        tasks = np.where(X[:, :3] > 1, missing_label, X[:, :3] > 0)
        sizes, train, test = learning_curve(
            SNNClassifier(**SMALL, missing_label=missing_label),
            X,
            tasks,
            cv=KFold(2),
            train_sizes=[0.5, 1.0],
            exploit_incremental_learning=True,
            scoring=masked_roc_auc_scorer,
            error_score="raise",
        )
        assert len(sizes) == 2 and np.isfinite(train).all() and np.isfinite(test).all()

    def test_labels_of_minus_1_and_1_are_not_missing_ones(self):
        """All of one class were taken for missing, and the score was NaN without a word."""
        with raises("y_true holds -1 and 1, and -1 marks a missing label"):
            masked_roc_auc_score([-1, 1, 1, -1], [0.1, 0.9, 0.8, 0.3])
        binary = SNNClassifier(**SMALL).fit(X, 2 * Y - 1)
        with raises("y_true holds -1 and 1"):
            masked_roc_auc_scorer(binary, X, 2 * Y - 1)
        assert np.isnan(masked_roc_auc_score([[-1], [1], [1]], [[0.1], [0.9], [0.8]]))  # a fold of a task


# ---------------------------------------------------------------- callbacks and state


def test_callbacks_that_hold_each_other_still_do(tmp_path):
    """Each was copied alone, so that LoadInitState held the original checkpoint."""
    checkpoint = TrainEndCheckpoint(dirname=tmp_path)
    params = {**SMALL, "max_epochs": 2, "callbacks": [checkpoint, ("load", LoadInitState(checkpoint))]}
    first = SNNClassifier(**params).fit(X, Y)
    second = SNNClassifier(**params).fit(X, Y)
    copies = dict(second.net_.callbacks_)
    assert copies["load"].checkpoint is copies["TrainEndCheckpoint"] is not checkpoint
    assert second.loss_curve_[:2] == first.loss_curve_  # the checkpoint's history,
    assert second.loss_curve_[2] < first.loss_curve_[0]  # and weights


class Holding(Callback):
    def __init__(self, others):
        self.others = others


def test_callbacks_are_found_in_containers_and_what_is_no_callback_is_shared():
    one, trial = Holding(None), object()
    other = Holding({"list": [one, (one, trial)]})
    model = SNNClassifier(**SMALL, callbacks=[("one", one), ("other", other)]).fit(X, Y)
    copies = dict(model.net_.callbacks_)
    inside = copies["other"].others["list"]
    assert inside[0] is inside[1][0] is copies["one"] is not one
    assert inside[1][1] is trial and other.others["list"][0] is one


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "lbfgs"},
        {"lr": -1},
        {"optimizer_params": {"nonsense": 1}},
        {"optimizer": "no such optimizer", "weight_decay": "much"},
        {"batch_size": "many", "verbose": "no"},
        {"label_smoothing": "?"},
    ],
    ids=str,
)
def test_a_pickle_holds_the_net_as_it_was_trained(params):
    """Loading built a training net of parameters set since, and failed; deepcopy did, too."""
    model = SNNClassifier(**SMALL).fit(X, Y)
    expected = model.predict_proba(X)
    model.set_params(**params)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), expected)
        assert {name: other.get_params()[name] for name in params} == params


def test_another_loss_set_since_does_not_change_a_pickle():
    model = SNNRegressor(**SMALL).fit(X, T).set_params(loss="quantile", quantile=7, weight_decay="?")
    loaded = pickle.loads(pickle.dumps(model))
    assert type(loaded.net_.criterion_) is type(model.net_.criterion_)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_pickle_keeps_the_size_of_batches():
    """It was 1."""
    model = SNNClassifier(**SMALL).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.net_.batch_size == model.net_.batch_size == 16
    assert loaded.net_.optimizer_.param_groups[0]["weight_decay"] == 0.3


class Untouchable(dict):
    """A row of the history that nobody may read while training goes on."""

    armed = True

    def _refuse(self, *args):
        assert not Untouchable.armed, "an earlier epoch was read"

    def __getitem__(self, key):
        self._refuse()
        return super().__getitem__(key)

    def __contains__(self, key):
        self._refuse()
        return super().__contains__(key)

    def get(self, *args):
        self._refuse()
        return super().get(*args)


class Sealing(Callback):
    def on_train_begin(self, net, **kwargs):
        Untouchable.armed = True

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > 1:
            list.__setitem__(net.history, -2, Untouchable(list.__getitem__(net.history, -2)))

    def on_train_end(self, net, **kwargs):
        Untouchable.armed = False


def test_an_epoch_does_not_read_those_before_it():
    """The history was scanned for the best loss: 0.8 ms an epoch became 1.8 after 6 000."""
    model = SNNClassifier(**SMALL | {"early_stopping": True}, callbacks=[Sealing()]).fit(X, Y)
    for key in ("train_loss", "valid_loss"):
        losses = [row[key] for row in model.net_.history]
        best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
        assert [row[key + "_best"] for row in model.net_.history] == best


def test_a_row_of_the_history_is_found_without_a_copy_of_all(monkeypatch):
    """skorch copies its list of rows for each number that it writes into the last."""
    copies = []
    to_list = History.to_list
    monkeypatch.setattr(History, "to_list", lambda self: copies.append(len(self)) or to_list(self))
    net = SNNClassifier(**SMALL | {"early_stopping": True}).fit(X, Y).net_
    assert copies == []
    assert net.history[-1] is net.history.to_list()[-1] and len(net.history[:, "train_loss"]) == len(
        net.history
    )
    assert net.history[-1, "train_loss"] == net.history[:, "train_loss"][-1]


def test_the_best_loss_is_remembered_over_fits():
    model = SNNClassifier(**SMALL | {"warm_start": True, "lr": 0.05, "lr_schedule": "constant"}).fit(X, Y)
    model.fit(X, Y)
    losses = model.loss_curve_
    best = [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert [row["train_loss_best"] for row in model.net_.history] == best


def test_pickles_hold_no_torch_object():
    """Also with what is needed to build the net as it was trained."""

    class Finder(pickle.Unpickler):
        seen = set()

        def find_class(self, module, name):
            self.seen.add(module.split(".")[0])
            return super().find_class(module, name)

    Finder(io.BytesIO(pickle.dumps(SNNClassifier(**SMALL).fit(X, Y)))).load()
    assert not Finder.seen & {"torch", "skorch"}


def test_a_network_of_ones_own_has_the_default_dtype():
    """What estimators do about the default dtype is theirs alone."""
    with default_dtype(torch.float64), warnings.catch_warnings():
        assert SNN(3, 2, (4,))(torch.zeros(1, 3)).dtype == torch.float64
