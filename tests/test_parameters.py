"""The estimators' parameters: read, set, cloned, shown; and those that are refused."""

import pickle

import numpy as np
import pytest
import torch
from conftest import LEARNING, SMALL, X, Y, raises
from helpers import droppy_net, parameters
from sklearn.base import clone
from sklearn.model_selection import (
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    EpochScoring,
    InputShapeSetter,
    LRScheduler,
)

from sksnn import SNNClassifier, SNNRegressor


class TestParameters:
    @pytest.mark.parametrize("cls", [SNNClassifier, SNNRegressor])
    def test_parameters_are_read_and_set(self, cls):
        estimator = cls(**SMALL)
        params = estimator.get_params()
        assert set(SMALL) <= set(params)
        assert cls(**params).get_params().keys() == params.keys()
        assert estimator.set_params(lr=0.5, n_layers=7) is estimator
        assert estimator.get_params()["lr"] == 0.5
        with pytest.raises(ValueError, match="Invalid parameter 'width'"):
            estimator.set_params(width=3)

    def test_fit_leaves_the_objects_of_parameters_alone(self, iris):
        X, y = iris
        estimator = SNNClassifier(**SMALL, callbacks=[EpochScoring("accuracy", on_train=True)], device="auto")
        before = {name: id(value) for name, value in estimator.get_params(deep=False).items()}
        estimator.fit(X, y).predict(X)
        assert {name: id(value) for name, value in estimator.get_params(deep=False).items()} == before

    def test_a_clone_with_callbacks_gives_the_same_fit(self, iris):
        X, y = iris
        callbacks = [
            ("accuracy", EpochScoring("accuracy", on_train=True, name="train_acc")),
            LRScheduler("StepLR", step_size=2),
        ]
        estimator = SNNClassifier(**SMALL, callbacks=callbacks, lr_schedule="constant")
        fitted = clone(estimator).fit(X, y)
        copy = clone(fitted)
        assert not hasattr(copy, "net_") and len(copy.callbacks) == 2
        np.testing.assert_array_equal(parameters(copy.fit(X, y)), parameters(fitted))
        assert len(fitted.net_.history[:, "train_acc"]) == SMALL["max_epochs"]
        scores = cross_val_score(estimator, X, y, cv=2, n_jobs=2, error_score="raise")
        assert np.isfinite(scores).all()

    def test_set_params_after_fit_does_not_disturb_prediction(self, iris):
        X, y = iris
        fitted = SNNClassifier(**SMALL).fit(X, y)
        before = fitted.predict_proba(X)
        fitted.set_params(n_layers=5, dropout=0.3, architecture=droppy_net, hidden_layer_sizes=(3,), lr=9.0)
        np.testing.assert_array_equal(fitted.predict_proba(X), before)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), before)

    def test_parameters_are_shown_in_text_and_html(self, iris):
        estimator = SNNClassifier(**SMALL, architecture=droppy_net)
        for shown in (estimator, clone(estimator).fit(*iris), make_pipeline(StandardScaler(), estimator)):
            assert "SNNClassifier" in repr(shown)
            html = shown._repr_html_()
            assert "SNNClassifier" in html and "n_units" in html
        assert repr(SNNRegressor(lr=0.5)) == "SNNRegressor(lr=0.5)"


def test_fit_does_not_change_parameters(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING)
    before = clf.get_params()
    clf.fit(X, y)
    assert clone(clf).get_params() == before


def test_sizes_may_be_one_number(whole_iris):
    assert (
        len(SNNClassifier(**LEARNING, hidden_layer_sizes=8).fit(*whole_iris).net_.module_.network.layers) == 2
    )


# ---------------------------------------------------------------- parameters that are refused


BAD_PARAMETERS = {
    "n_layers": 0,
    "n_units": -1,
    "layer_form": "round",
    "architecture": "rnn",
    "dropout": 1.0,
    "input_dropout": -0.1,
    "categorical_features": "all",
    "standardize": "yes",
    "optimizer": "lbgfs",
    "lr": 0.0,
    "lr_schedule": "step",
    "weight_decay": -1,
    "max_grad_norm": 0,
    "batch_size": 0,
    "max_epochs": 0,
    "max_time": 0,
    "early_stopping": "never",
    "validation_fraction": 1.0,
    "n_iter_no_change": 0,
    "tol": -1,
    "scoring": "loss_curve",
    "loss": "hinge",
    "class_weight": "equal",
    "label_smoothing": 1.0,
    "missing_label": "none",
    "precision": "float16",
    "random_state": "seed",
    "callbacks": "all",
}


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS.items(), ids=BAD_PARAMETERS)
def test_impossible_parameters_are_named(whole_iris, name, value):
    with raises(f"The '{name}' parameter of SNNClassifier must be"):
        SNNClassifier(**{name: value}).fit(*whole_iris)


OTHER_PARAMETERS = {
    "sizes": ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be positive integers"),
    "class": ({"optimizer": dict}, "optimizer must be a name or a subclass of torch.optim.Optimizer"),
    "argument": ({"optimizer_params": {"speed": 1}}, "refuses optimizer_params={'speed': 1}"),
    "decay": ({"optimizer": "lbfgs", "weight_decay": 0.1}, "optimizer LBFGS has no weight_decay; got 0.1"),
    "no such device": (
        {"device": "gpu"},
        "device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; got 'gpu'",
    ),
}


@pytest.mark.parametrize(("settings", "message"), OTHER_PARAMETERS.values(), ids=OTHER_PARAMETERS)
def test_parameters_that_contradict_each_other_are_refused(whole_iris, settings, message):
    with raises(message):
        SNNClassifier(**{**LEARNING, **settings}).fit(*whole_iris)


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_optimizer_params_must_not_hold_our_own_parameters(whole_iris, name):
    with raises(f"optimizer_params must not hold '{name}'; got 0.5. Set {name} itself"):
        SNNClassifier(**LEARNING, optimizer_params={name: 0.5}).fit(*whole_iris)


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
        pytest.param(
            {"optimizer": getattr(torch.optim, "Muon", None)},
            "optimizer Muon refuses optimizer_params=None or the",
            ValueError,
            marks=pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch < 2.9"),
        ),
    ],
)
def test_callbacks_and_optimizers_that_cannot_work_are_named(params, message, error):
    with raises(message, error):
        SNNClassifier(**SMALL, **params).fit(X, Y)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_loop", "run_single_epoch", "train_step"])
def test_the_net_inside_says_who_trains_it(method):
    """It ended in a bare AttributeError."""
    net = SNNClassifier(**SMALL).fit(X, Y).net_
    with raises("net_ is trained by its estimator: call fit of the estimator", RuntimeError):
        getattr(net, method)(X, Y)
