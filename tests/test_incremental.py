"""Fits that go on: partial_fit and warm_start."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import BOTH, LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import small_module
from skorch.callbacks import (
    Callback,
    EpochScoring,
    Freezer,
    LRScheduler,
)
from torch.optim.lr_scheduler import StepLR

from sksnn import SNNClassifier, SNNRegressor
from sksnn.architectures import ARCHITECTURES

# ---------------------------------------------------------------- partial_fit


@unfinished
@BOTH
def test_partial_fit_is_an_epoch_of_fit(Estimator, whole_cancer):
    """One pass over the same rows, from the same seed, is the same net."""
    X, y = whole_cancer
    whole = Estimator(**{**LEARNING, "max_epochs": 1, "lr_schedule": "constant"}).fit(X, y)
    arguments = {"classes": [0, 1]} if Estimator is SNNClassifier else {}
    chunk = Estimator(**LEARNING).partial_fit(X, y, **arguments)
    np.testing.assert_array_equal(whole.predict(X), chunk.predict(X))
    twice = Estimator(**{**LEARNING, "max_epochs": 2, "lr_schedule": "constant"}).fit(X, y)
    np.testing.assert_array_equal(twice.predict(X), chunk.partial_fit(X, y).predict(X))
    assert chunk.n_iter_ == 2 and chunk.loss_curve_ == twice.loss_curve_


def test_partial_fit_freezes_statistics_and_classes(whole_iris):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING).partial_fit(X[:60], y[:60], classes=[0, 1, 2])
    assert clf.predict_proba(X).shape == (150, 3)
    mean = clf.net_.module_.encoder.mean.numpy().copy()
    np.testing.assert_allclose(mean, X[:60].mean(axis=0))
    clf.partial_fit(X[60:], y[60:])
    np.testing.assert_array_equal(clf.net_.module_.encoder.mean.numpy(), mean)
    assert clf.n_iter_ == 2 and clf.classes_.tolist() == [0, 1, 2]


def test_partial_fit_refuses_what_needs_all_rows_at_once(whole_iris):
    X, y = whole_iris
    with raises("classes must be passed on the first call to partial_fit"):
        SNNClassifier(**LEARNING).partial_fit(X, y)
    clf = SNNClassifier(**LEARNING).partial_fit(X[:100], y[:100], classes=[0, 1])
    with raises("y holds the label 2, which is not among the classes [0, 1]"):
        clf.partial_fit(X[100:], y[100:])
    with raises("is not the same as on the last call to partial_fit"):
        clf.partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    assert clf.n_iter_ == 1, "a refused call must leave the model as it was"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"early_stopping": True}, "early_stopping=True cannot be used with partial_fit"),
        ({"early_stopping": np.True_}, "early_stopping=True cannot be used with partial_fit"),
        ({"class_weight": "balanced"}, "class_weight='balanced' cannot be used with partial_fit"),
        ({"class_weight": ["balanced", None]}, "class_weight='balanced' cannot be used with partial_fit"),
    ],
)
def test_partial_fit_is_absent_where_parameters_need_all_rows_at_once(params, reason):
    model = SNNClassifier(**params)
    assert not hasattr(model, "partial_fit") and hasattr(SNNClassifier(), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        model.partial_fit([[0.0], [1.0]], [0, 1])
    assert reason in str(caught.value.__cause__)


def test_partial_fit_takes_chunks_without_labels_of_a_task(gappy_tasks):
    X, Y = gappy_tasks
    Y = Y.copy()
    Y[:200, 2] = np.nan
    clf = SNNClassifier(**LEARNING).partial_fit(X[:200], Y[:200]).partial_fit(X[200:], Y[200:])
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("n_present", [0, 10])
def test_an_output_that_a_first_chunk_lacks_is_not_scaled(n_present):
    """Nothing can be learned from no values at all, or from values on rows without weight."""
    targets, weight = np.column_stack([T, T]), np.r_[np.zeros(10), np.ones(110)]
    targets[n_present:, 1] = np.nan
    model = SNNRegressor(**SMALL).partial_fit(X, targets, sample_weight=weight if n_present else None)
    bias = list(model.net_.module_.network.parameters())[-1]
    assert np.isfinite(model.predict(X)).all() and bias[1] == 0 != bias[0]


@pytest.mark.parametrize("classes", [[0, 1], [1, 0], [0.0, 1.0, np.nan], [1], [[0, 1], [0, 1], [1]]])
def test_classes_of_tasks_may_be_named(classes):
    model = SNNClassifier(**SMALL)
    for _ in range(2):
        model.partial_fit(X, TASKS, classes=classes)
    assert model.n_iter_ == 2


def test_other_classes_of_tasks_are_refused_each_time():
    """The first call took anything, the second refused the same."""
    model = SNNClassifier(**SMALL)
    for _ in range(2):
        with raises("classes of a 2-D y must be 0 and 1, and perhaps missing_label=nan; got 7."):
            model.partial_fit(X, TASKS, classes=[0, 7])
        with raises("got 'a'."):
            model.partial_fit(X, TASKS, classes=["a", "b"])
        model.partial_fit(X, TASKS)


# ---------------------------------------------------------------- warm_start


@BOTH
def test_warm_start_goes_on_where_the_last_fit_ended(Estimator, whole_cancer):
    X, y = whole_cancer
    settings = {**LEARNING, "max_epochs": 4, "lr_schedule": "constant"}
    once = Estimator(**{**settings, "max_epochs": 8}).fit(X, y)
    warm = Estimator(**settings, warm_start=True).fit(X, y)
    middle = warm.predict(X)
    warm.fit(X, y)
    assert warm.n_iter_ == 8 and len(warm.loss_curve_) == 8
    assert warm.loss_curve_ == once.loss_curve_, "generators and optimizer go on where they were"
    np.testing.assert_array_equal(warm.predict(X), once.predict(X))
    assert not np.array_equal(middle, warm.predict(X))
    with raises("features"):
        warm.fit(X[:, :5], y)
    with raises("hidden_layer_sizes cannot change while training goes on"):
        clone_of = warm.set_params(n_layers=3)
        clone_of.fit(X, y)


def test_warm_start_takes_a_new_learning_rate(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING, warm_start=True).fit(X, y)
    clf.set_params(lr=1e-4, lr_schedule="constant").fit(X, y)
    assert clf.net_.optimizer_.param_groups[0]["lr"] == 1e-4


def test_fit_without_warm_start_begins_anew(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING)
    first = clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, clf.fit(X, y).predict_proba(X))
    assert clf.n_iter_ == LEARNING["max_epochs"]


CHANGES = {
    "dropout": ("dropout", 0.3),
    "precision": ("precision", "float64"),
    "standardize": ("standardize", False),
    "standardize_target": ("standardize_target", False),
    "hidden_layer_sizes": ("n_units", 8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_change_in_a_warm_start_says_so(whole_diabetes, name):
    """Changed parameters were ignored."""
    reg = SNNRegressor(**LEARNING, warm_start=True).fit(*whole_diabetes)
    parameter, value = CHANGES[name]
    with raises(f"{name} cannot change while training goes on (warm_start or partial_fit)"):
        reg.set_params(**{parameter: value}).fit(*whole_diabetes)
    assert reg.n_iter_ == 15, "a refused call must leave the model as it was"


def test_what_can_change_in_a_warm_start_counts(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING, warm_start=True).fit(X, y)
    before = clf.predict_proba(X)[:, 1].mean()
    clf.set_params(class_weight={0: 1, 1: 50}, optimizer_params={"amsgrad": True}, weight_decay=0.0).fit(X, y)
    assert clf.predict_proba(X)[:, 1].mean() > before


# ---------------------------------------------------------------- schedules and optimizers that go on


class TestSchedulersGoOn:
    @pytest.mark.parametrize("how", ["warm start", "partial_fit", "another optimizer", "pickled"])
    def test_a_second_fit_can_have_a_scheduler(self, how):
        """It ended in KeyError: param 'initial_lr' is not specified."""
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


def test_a_pickle_goes_on_at_the_rate_where_a_scheduler_left_it():
    params = {**SMALL, "warm_start": True, "lr_schedule": "constant"}
    model = SNNClassifier(**params, callbacks=[LRScheduler(StepLR, step_size=2)]).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model)).fit(X, Y)
    assert loaded.loss_curve_ == model.fit(X, Y).loss_curve_


# ---------------------------------------------------------------- parameters that are frozen


class TestFrozenParameters:
    @pytest.mark.parametrize("architecture", ["snn", "msra"])
    def test_what_a_freezer_froze_stays_as_it_is_in_later_fits(self, architecture):
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
    def test_what_is_frozen_by_hand_stays_as_it_is_in_later_fits(self, pickled):
        model = SNNClassifier(**SMALL, warm_start=True).fit(X, Y)
        model.net_.module_.network.layers[0].requires_grad_(False)
        model = pickle.loads(pickle.dumps(model)) if pickled else model
        before = copy.deepcopy(model.net_.module_.network.state_dict())
        after = model.fit(X, Y).net_.module_.network.state_dict()
        same = [torch.equal(before[name], after[name]) for name in before]
        assert same == [True] * 3 + [False] * (len(same) - 3)  # weights, biases, factors of inputs

    def test_a_second_fit_goes_on_from_the_state_of_the_same_optimizer_only(self):
        """A fit goes on from the optimizer's state if, and only if, it is of the same kind."""
        steps = {}
        for optimizer in ("adamw", "adam"):
            model = SNNClassifier(**SMALL | {"warm_start": True, "weight_decay": 0.0}).fit(X, Y)
            first = next(iter(model.net_.optimizer_.state.values()))["step"].item()
            model.set_params(optimizer=optimizer).fit(X, Y)
            steps[optimizer] = next(iter(model.net_.optimizer_.state.values()))["step"].item() / first
        assert steps == {"adamw": 2, "adam": 1}


@unfinished
@pytest.mark.parametrize("precision", ["auto", "bf16"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_predictions_follow_the_weights_of_every_fit(architecture, precision, how):
    """A float64 copy outlived a fit that went on: fused optimizers count no new version of a weight."""
    settings = {**SMALL, "max_epochs": 1, "architecture": architecture, "precision": precision}
    model = SNNClassifier(**settings, warm_start=True).fit(X, Y)
    for _ in range(3):
        before = model.predict_proba(X)
        getattr(model, how)(X, Y)
        np.testing.assert_array_equal(
            model.predict_proba(X), pickle.loads(pickle.dumps(model)).predict_proba(X)
        )
        assert not np.array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    "policy", [{"policy": "StepLR", "step_size": 1}, {"policy": "ExponentialLR", "gamma": 0.5}]
)
def test_schedulers_run_in_a_warm_fit_of_a_loaded_model(policy):
    """Without a state of the optimizer in the pickle, they missed the rate that they began with."""
    model = SNNClassifier(**SMALL, callbacks=[LRScheduler(**policy)]).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model)).set_params(warm_start=True).fit(X, Y)
    assert loaded.n_iter_ == 2 * SMALL["max_epochs"]


def test_a_loaded_model_gives_its_saved_optimizer_up_when_it_is_fitted():
    """It stayed in memory, twice the size of the parameters."""
    model = SNNClassifier(**SMALL, warm_start=True).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded._model._loaded_state is not None and loaded.fit(X, Y)._model._loaded_state is None


def test_the_look_at_the_first_weights_of_a_warm_fit_is_nobodys_batch():
    """It called batch hooks, so that cached scores were of twice as many rows."""
    names = {"score": True, "again": False}
    callbacks = [EpochScoring("accuracy", name=name, use_caching=cached) for name, cached in names.items()]
    model = (
        SNNClassifier(**SMALL, early_stopping=True, warm_start=True, callbacks=callbacks).fit(X, Y).fit(X, Y)
    )
    for row in model.net_.history:
        assert row["score"] == pytest.approx(row["again"])
        assert sum("valid_loss" in batch for batch in row["batches"]) == 1
