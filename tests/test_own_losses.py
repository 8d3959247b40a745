"""Losses that the user chooses: callables, log links, several quantiles; seen from the estimators."""

import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import EXACT, LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import d2_pinball_score, d2_tweedie_score, log_loss, mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from torch import nn

from sksnn import SNNClassifier, SNNRegressor

LAWS = settings(max_examples=15, deadline=None, derandomize=True)

# ---------------------------------------------------------------- callables


def focal_loss(output, y, gamma=2.0):
    """Cross-entropy, less of it where the class is predicted well (Lin et al. 2017)."""
    loss = F.cross_entropy(output, y, reduction="none")
    return (1 - (-loss).exp()) ** gamma * loss


def cross_entropy(output, y):
    assert y.dtype == torch.int64 and output.shape == (len(y), 3)
    return focal_loss(output, y, gamma=0.0)


def binary_cross_entropy(output, y):
    assert output.shape == y.shape and set(y.unique().tolist()) <= {0, 1}
    return F.binary_cross_entropy_with_logits(output, y, reduction="none")


def half_squared_error(output, y):
    assert output.shape == y.shape
    return (output - y) ** 2 / 2


THREE = np.digitize(X[:, 0], [-0.4, 0.4])
GAPS = np.where(np.arange(360).reshape(120, 3) % 4 == 0, np.nan, 1.0)
WEIGHT = np.random.default_rng(0).exponential(size=120)
PLAIN = SNNClassifier(**EXACT, label_smoothing=0)
SAME = {
    "classes": (PLAIN, THREE, cross_entropy),
    "class weights": (clone(PLAIN).set_params(class_weight="balanced"), THREE, cross_entropy),
    "tasks": (SNNClassifier(**EXACT), TASKS, binary_cross_entropy),
    "missing labels": (SNNClassifier(**EXACT), TASKS * GAPS, binary_cross_entropy),
    "values": (SNNRegressor(**EXACT), T, half_squared_error),
    "missing values": (SNNRegressor(**EXACT), X[:, :3] * GAPS, half_squared_error),
    "members": (SNNRegressor(**EXACT | {"n_estimators": 3}), T, half_squared_error),
    "a torch module": (SNNRegressor(**EXACT), T, nn.HuberLoss(reduction="none", delta=1.345)),
}


@pytest.mark.parametrize(("model", "y", "loss"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callable_that_is_a_named_loss_gives_its_fit(model, y, loss, weight, early_stopping):
    model = clone(model).set_params(early_stopping=early_stopping)
    named = clone(model).set_params(**({"loss": "huber"} if isinstance(loss, nn.Module) else {}))
    fits = [m.fit(X, y, sample_weight=weight) for m in (named, clone(model).set_params(loss=loss))]
    np.testing.assert_allclose(*(parameters(fit) for fit in fits), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(*(fit.loss_curve_ for fit in fits), rtol=1e-9)
    if early_stopping:
        np.testing.assert_allclose(*(fit.validation_loss_curve_ for fit in fits), rtol=1e-9)
    predict = "predict_proba" if isinstance(model, SNNClassifier) else "predict"
    np.testing.assert_allclose(*(getattr(fit, predict)(X) for fit in fits), rtol=1e-6)


def test_focal_loss_is_less_sure_than_cross_entropy(whole_cancer):
    X, y = whole_cancer
    fits = [
        SNNClassifier(**LEARNING, loss=loss, label_smoothing="auto" if callable(loss) else 0).fit(X, y)
        for loss in ("log_loss", focal_loss)
    ]
    sure = [np.abs(fit.predict_proba(X)[:, 1] - 0.5).mean() for fit in fits]
    assert sure[1] < sure[0] - 0.05 and min(fit.score(X, y) for fit in fits) > 0.95
    assert fits[1].loss_curve_[-1] < 0.1


def test_a_callable_survives_a_pickle_and_trains_in_parts():
    model = SNNClassifier(**SMALL, loss=focal_loss, warm_start=True).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.fit(X, Y).predict_proba(X), model.fit(X, Y).predict_proba(X))
    parts = SNNClassifier(**SMALL, loss=focal_loss).partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y)
    assert parts.loss_curve_[1] < parts.loss_curve_[0]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(SNNClassifier(loss=lambda output, y: focal_loss(output, y)))


@pytest.mark.parametrize("Estimator", [SNNClassifier, SNNRegressor])
def test_nobody_knows_the_best_constant_of_a_callable(Estimator):
    """So there is no warning that nothing was learned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Estimator(**SMALL, loss=lambda output, y: output.reshape(len(y), -1).square().sum(1)).fit(X, Y)


WRONG = {
    "a mean": (lambda output, y: (output - y).square().mean(), "a tensor of shape (16,); got shape ()"),
    "a column": (lambda output, y: (output - y)[:, None], "got shape (16, 1)"),
    "no tensor": (lambda output, y: 0.0, "got float"),
    "a class": (
        nn.MSELoss,
        "loss must be a function or an instance; got the class MSELoss. Give",
    ),
    "no gradient": (lambda output, y: output.detach() - y, "operations of torch that have a gradient"),
}


@pytest.mark.parametrize(("loss", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("architecture", ["snn", "msra"])
def test_what_a_callable_must_return(loss, message, architecture):
    model = SNNRegressor(**SMALL, loss=loss, architecture=architecture, early_stopping=False)
    with raises(message):
        model.fit(X[:112], T[:112])
    assert not hasattr(model, "net_")


def test_label_smoothing_is_for_the_named_loss():
    with raises("label_smoothing=0.1 is for loss='log_loss'"):
        SNNClassifier(**SMALL, loss=focal_loss, label_smoothing=0.1).fit(X, Y)
    SNNClassifier(**SMALL, loss=focal_loss, label_smoothing=0.0).fit(X, Y)
    for Estimator in (SNNClassifier, SNNRegressor):
        with raises(f"The 'loss' parameter of {Estimator.__name__} must be"):
            Estimator(loss="hinge").fit(X, Y)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_a_callable_may_change_its_arguments(n_estimators):
    """They are copies: the labels of later epochs, and of validation rows, stay as they are."""

    def in_place(output, y):
        return y.sub_(output).square_().div_(2)

    settings = SMALL | {"n_estimators": n_estimators, "batch_size": 120}
    fits = [
        SNNRegressor(**settings, loss=loss).fit(X, T, X_val=X, y_val=T)
        for loss in (in_place, half_squared_error)
    ]
    np.testing.assert_allclose(*(fit.validation_loss_curve_ for fit in fits), rtol=1e-5)


def test_errors_of_a_callable_are_the_users():
    def broken(output, y):
        raise ZeroDivisionError("mine")

    with raises("mine", ZeroDivisionError):
        SNNRegressor(**SMALL, loss=broken).fit(X, T)


# ---------------------------------------------------------------- log links

COUNTS = np.random.default_rng(0).poisson(np.exp(1 + X[:, 0])).astype(float)
SIZES = np.random.default_rng(0).gamma(2.0, np.exp(1 + X[:, 0]))
LOGS = pytest.mark.parametrize(
    ("loss", "y", "power"), [("poisson", COUNTS, 1), ("gamma", SIZES, 2)], ids=["poisson", "gamma"]
)


@LOGS
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_means_over_orders_of_magnitude_are_learned(loss, y, power, n_estimators):
    rows = np.random.default_rng(0).uniform(-1, 1, size=(600, 2))
    mean, rng = np.exp(3 + 3 * rows[:, 0]), np.random.default_rng(1)
    y = rng.poisson(mean) if power == 1 else rng.gamma(2.0, mean / 2)
    model = SNNRegressor(loss=loss, n_estimators=n_estimators, max_epochs=30, random_state=0).fit(rows, y)
    prediction = pickle.loads(pickle.dumps(model)).predict(rows)
    assert (prediction > 0).all() and d2_tweedie_score(mean, prediction, power=power) > 0.9
    np.testing.assert_array_equal(prediction, model.predict(rows))
    np.testing.assert_allclose(model.predict_members(rows).mean(axis=0), prediction, rtol=1e-12)


@LOGS
@LAWS
@given(exponent=st.integers(-40, 40), standardize=st.just(True))
def test_predictions_scale_with_the_target(loss, y, power, exponent, standardize):
    """In steps of two, without any rounding: y is divided by its mean, and not centred."""
    fits = [SNNRegressor(**SMALL, loss=loss).fit(X, y * factor) for factor in (1.0, 2.0**exponent)]
    np.testing.assert_array_equal(fits[1].predict(X), fits[0].predict(X) * 2.0**exponent)
    assert fits[0].score(X, y) == pytest.approx(fits[1].score(X, y * 2.0**exponent))


@LOGS
def test_an_untrained_network_predicts_the_mean(loss, y, power):
    model = SNNRegressor(**SMALL | {"lr": 1e-30, "max_epochs": 1, "weight_decay": 0.0}, loss=loss)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the final training loss")
        model.fit(X, y, sample_weight=WEIGHT)
    np.testing.assert_allclose(model.predict(X), np.average(y, weights=WEIGHT), rtol=1e-6)


@LOGS
def test_several_outputs_with_missing_values_have_log_links_too(loss, y, power):
    both = np.column_stack([y, 100 * y[::-1] + 1])
    both[::3, 0] = np.nan
    model = SNNRegressor(**SMALL, loss=loss, early_stopping=True).fit(X, both)
    assert model.predict(X).shape == (120, 2) and (model.predict(X) > 0).all()


@LOGS
def test_averages_out_of_the_bag_are_those_of_means(loss, y, power):
    model = SNNRegressor(**SMALL | {"n_estimators": 12}, loss=loss, bootstrap=True, oob_score=True).fit(X, y)
    each = model.predict_members(X)
    low, high = each.min(axis=0), each.max(axis=0)
    assert ((low <= model.oob_prediction_) & (model.oob_prediction_ <= high)).all()


def test_targets_out_of_range_are_named():
    below, zero = COUNTS - 1, COUNTS
    with raises("loss='poisson' needs a y at least 0; got -1. Drop these rows, or use"):
        SNNRegressor(loss="poisson").fit(X, below)
    with raises("loss='gamma' needs a y above 0; got 0."):
        SNNRegressor(loss="gamma").fit(X, zero)
    with raises("loss='poisson' needs a y at least 0; got -1."):
        SNNRegressor(**SMALL, loss="poisson").fit(X, zero, X_val=X, y_val=below)
    with raises("loss='gamma' needs a y above 0; got 0."):
        SNNRegressor(**SMALL, loss="gamma").partial_fit(X, SIZES).partial_fit(X, zero)


def test_a_count_that_is_always_0_can_be_learned():
    with pytest.warns(match="the network has learned nothing"):
        model = SNNRegressor(**SMALL, loss="poisson", n_iter_no_change=1).fit(X, np.zeros(120))
    assert (model.predict(X) >= 0).all() and (model.predict(X) < 2).all()


def test_another_link_cannot_go_on():
    model = SNNRegressor(**SMALL, loss="poisson", warm_start=True).fit(X, COUNTS)
    prediction = model.predict(X)
    with raises("loss='huber' has another link function than the loss before"):
        model.set_params(loss="huber").fit(X, COUNTS)
    np.testing.assert_array_equal(prediction, model.predict(X))
    model.set_params(loss="gamma").fit(X, SIZES)


# ---------------------------------------------------------------- several quantiles

LEVELS = [0.9, 0.1, 0.5]
QUANTILES = SNNRegressor(**SMALL, loss="quantile", quantile=LEVELS)


def noisy(n, seed):
    """Make a target whose noise grows with the first column, and its true quantiles."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, size=(n, 2))
    y = rows[:, 1] + rows[:, 0] * rng.normal(size=n)
    z = np.array([1.2815515655446004, -1.2815515655446004, 0.0])
    return rows, y, rows[:, 1:] + rows[:, :1] * z


def test_one_network_learns_several_quantiles():
    rows, y, _ = noisy(2000, 0)
    model = SNNRegressor(loss="quantile", quantile=LEVELS, n_estimators=2, max_epochs=30, random_state=0)
    new, _, expected = noisy(500, 1)
    assert np.abs(model.fit(rows, y).predict(new) - expected).mean() < 0.1


@unfinished
@LAWS
@given(
    levels=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5),
    k=st.sampled_from([1, 3]),
    seed=st.integers(0, 9),
)
def test_quantiles_never_cross_and_keep_the_given_order(levels, k, seed):
    """After one epoch at a high rate the outputs do cross."""
    settings = {"n_estimators": k, "max_epochs": 1, "random_state": seed, "early_stopping": False}
    model = clone(QUANTILES).set_params(quantile=levels, **settings).fit(X, T)
    order = np.argsort(levels)
    assert model.predict(X).shape == (120, len(levels)) and model.n_outputs_ == len(levels)
    assert (np.diff(model.predict(X)[:, order], axis=1) >= 0).all()
    assert (np.diff(model.predict_members(X)[..., order], axis=2) >= 0).all()
    np.testing.assert_allclose(model.predict_members(X).mean(axis=0), model.predict(X), rtol=1e-9)


def test_sorting_never_costs_pinball_loss():
    model = clone(QUANTILES).set_params(max_epochs=1, early_stopping=False).fit(X, T)
    outputs = model._model.outputs(X)
    raw = outputs.numpy() * model._model.target.deviation + model._model.target.mean
    assert (np.diff(raw[:, [1, 2, 0]], axis=1) < 0).any()  # they cross

    def loss(p):
        return sum(mean_pinball_loss(T, p[:, j], alpha=q) for j, q in enumerate(LEVELS))

    assert loss(model.predict(X)) < loss(raw)


def test_the_score_of_quantiles_is_scikit_learns():
    model = clone(QUANTILES).fit(X, T)
    pairs = zip(model.predict(X).T, LEVELS, strict=True)
    expected = np.mean([d2_pinball_score(T, p, alpha=q, sample_weight=WEIGHT) for p, q in pairs])
    assert model.score(X, T, WEIGHT) == pytest.approx(expected, rel=1e-12)
    with raises("inconsistent numbers of samples"):
        model.score(X, T[:-1])


def test_a_list_of_one_quantile_is_that_quantile():
    one = SNNRegressor(**SMALL, loss="quantile", quantile=0.25).fit(X, T)
    for levels in ([0.25], np.array([0.25]), (0.25,)):
        model = clone(one).set_params(quantile=levels).fit(X, T)
        np.testing.assert_array_equal(model.predict(X), one.predict(X)[:, None])


def test_quantiles_in_all_that_an_estimator_does():
    model = SNNRegressor(**SMALL | {"n_estimators": 12}, loss="quantile", quantile=LEVELS)
    model.set_params(bootstrap=True, oob_score=True, warm_start=True).fit(X, T, sample_weight=WEIGHT + 0.1)
    assert model.oob_prediction_.shape == (120, 3) and model.oob_score_ > 0.3
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (120, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert model.set_params(quantile=(0.2, 0.3, 0.4)).fit(X, T).predict(X).shape == (120, 3)
    assert (np.diff(model.predict(X), axis=1) >= 0).all()
    parts = clone(QUANTILES).partial_fit(X[:60], T[:60]).partial_fit(X[60:], T[60:])
    assert parts.predict(X).shape == parts.net_.predict(X).shape == (120, 3)
    search = GridSearchCV(QUANTILES, {"quantile": [[0.1, 0.9], [0.5]]}, cv=2, error_score="raise").fit(X, T)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


BAD_QUANTILES = {
    "2-D y": (
        {},
        X[:, :2],
        "a list of quantiles needs a y of shape (n_rows,); got (120, 2) and quantile=[0.9",
    ),
    "a column": ({}, T[:, None], "a list of quantiles needs a y of shape (n_rows,); got (120, 1)"),
    "another loss": (
        {"loss": "huber"},
        T,
        "quantile=[0.9, 0.1, 0.5] is a list, but loss='huber' estimates no",
    ),
    "own loss": ({"loss": half_squared_error}, T, "estimates no quantiles. Set loss='quantile'."),
    "out of range": ({"quantile": [0.1, 1.0]}, T, "quantile must be a number in (0, 1), or a list of such"),
    "empty": ({"quantile": []}, T, "or a list of such numbers; got []. Use [0.05, 0.5, 0.95]"),
    "nested": ({"quantile": [[0.1, 0.9]]}, T, "or a list of such numbers; got [[0.1, 0.9]]"),
    "strings": ({"quantile": ["0.1"]}, T, "or a list of such numbers; got ['0.1']"),
    "nan": ({"quantile": [0.1, np.nan]}, T, "or a list of such numbers"),
    "no list": ({"quantile": 1.5}, T, "The 'quantile' parameter of SNNRegressor must be"),
}


@pytest.mark.parametrize(("settings", "y", "message"), BAD_QUANTILES.values(), ids=BAD_QUANTILES)
def test_quantiles_that_cannot_be_used_are_named(settings, y, message):
    with raises(message):
        clone(QUANTILES).set_params(**settings).fit(X, y)


@pytest.mark.parametrize("quantile", [0.5, [0.1, 0.9]], ids=repr)
def test_the_number_of_quantiles_cannot_change_while_training_goes_on(quantile):
    model = clone(QUANTILES).set_params(warm_start=True).fit(X, T)
    with raises("the number of quantiles cannot change while training goes on: it was (0.9, 0.1, 0.5), now"):
        model.set_params(quantile=quantile).fit(X, T)
    assert model.predict(X).shape == (120, 3)


def test_log_loss_of_a_callable_is_watched():
    """The validation loss is that of the callable."""
    model = SNNClassifier(**SMALL, loss=focal_loss).fit(X[30:], Y[30:], X_val=X[:30], y_val=Y[:30])
    p = model.predict_proba(X[:30])[np.arange(30), Y[:30]]
    assert min(model.validation_loss_curve_) == pytest.approx(np.mean((1 - p) ** 2 * -np.log(p)), rel=1e-4)
    assert log_loss(Y[:30], model.predict_proba(X[:30])) < np.log(2)
