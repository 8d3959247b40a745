"""Early stopping: the rows it watches, when it stops, and the epoch it keeps."""

import warnings

import numpy as np
import pytest
from conftest import LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import droppy_net, parameters
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from skorch.callbacks import Callback
from torch import nn

from sksnn import SNNClassifier, SNNRegressor, _shares
from sksnn._members import BestEpoch

# ---------------------------------------------------------------- when it stops, and what it keeps


def test_early_stopping_keeps_the_best_epoch(whole_cancer):
    X, y = whole_cancer
    X_val, y_val = X[::5], y[::5]
    train = np.arange(len(X)) % 5 > 0
    clf = SNNClassifier(
        **{**LEARNING, "max_epochs": 200}, n_iter_no_change=5, label_smoothing=0.1, class_weight="balanced"
    )
    clf.fit(X[train], y[train], X_val=X_val, y_val=y_val)
    curve = clf.validation_loss_curve_
    assert len(curve) == len(clf.loss_curve_) == clf.n_iter_ < 200
    assert clf.best_epoch_ == int(np.argmin(curve)) + 1
    # Neither label smoothing nor class weights are in the watched loss.
    assert log_loss(y_val, clf.predict_proba(X_val)) == pytest.approx(min(curve), rel=1e-5)


def test_training_stops_after_n_iter_no_change_epochs_without_a_gain_of_tol(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(
        **{**LEARNING, "max_epochs": 50}, early_stopping=True, tol=1e3, n_iter_no_change=4
    ).fit(X, y)
    assert clf.n_iter_ == 5  # the first epoch beats nothing; no later one gains 1000
    free = SNNClassifier(**{**LEARNING, "max_epochs": 12}, tol=1e3, n_iter_no_change=1).fit(X, y)
    assert free.n_iter_ == free.best_epoch_ == 12 and free.validation_loss_curve_ is None


@pytest.mark.parametrize(
    ("losses", "n_epochs", "best"),
    [
        ([1.0, 0.5, 0.5, 0.5, 0.0], 4, 2),  # a gain of tol itself is none
        ([1.0, 0.875, 0.75, 0.375, 0.25, 0.125, 0.0], 7, 7),  # small gains add up
        ([1.0, 1.0, 1.0, 1.0, 1.0], 4, 1),  # of equal epochs the first
        ([1.0, 2.0, 0.75, 3.0, 0.0], 4, 3),  # the best is kept though it gained too little
    ],
)
def test_progress_is_a_gain_of_more_than_tol_over_the_last_progress(losses, n_epochs, best):
    stopper = BestEpoch([nn.Linear(1, 1)], tol=0.5, patience=3)
    for epoch, loss in enumerate(losses, start=1):
        stopper.end_epoch(loss, epoch)
        if stopper.is_done:
            break
    assert (epoch, stopper.best_epoch) == (n_epochs, best)


class FasterFrom(Callback):
    def __init__(self, epoch, lr):
        self.epoch, self.lr = epoch, lr

    def on_epoch_begin(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] = self.lr if len(net.history) >= self.epoch else group["lr"]


def test_what_was_learned_is_judged_by_the_epoch_kept():
    params = {**SMALL, "early_stopping": True, "lr_schedule": "constant"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SNNClassifier(**params, callbacks=[FasterFrom(4, 5.0)]).fit(X, Y)
    assert model.best_epoch_ < 4
    assert model.loss_curve_[model.best_epoch_ - 1] < np.log(2) < model.loss_curve_[-1]


class StopAfter(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.stop_ = len(net.history) >= 2


def test_another_callback_may_stop_a_fit_that_still_improves():
    model = SNNClassifier(**SMALL, early_stopping=True, callbacks=[StopAfter()]).fit(X, Y)
    assert model.n_iter_ == 2


def test_numpy_booleans_switch_early_stopping_like_pythons(whole_cancer):
    """Grids hold numpy's booleans; np.True_ was taken for neither True nor "auto"."""
    X, y = whole_cancer
    assert SNNClassifier(**LEARNING, early_stopping=np.True_).fit(X, y).validation_loss_curve_
    watched = SNNClassifier(**LEARNING, early_stopping=np.False_, n_iter_no_change=1, tol=1e3)
    assert watched.fit(X, y, X_val=X, y_val=y).n_iter_ == LEARNING["max_epochs"]


# ---------------------------------------------------------------- the rows it watches


def test_auto_stops_early_above_ten_thousand_rows():
    X = np.random.RandomState(0).randn(10_001, 2)
    y = (X[:, 0] > 0).astype(int)
    settings = {**LEARNING, "max_epochs": 1, "batch_size": 1000, "encoding": None}
    assert SNNClassifier(**settings).fit(X[1:], y[1:]).validation_loss_curve_ is None
    assert len(SNNClassifier(**settings).fit(X, y).validation_loss_curve_) == 1
    assert SNNClassifier(**settings, early_stopping=False).fit(X, y).validation_loss_curve_ is None


def test_the_split_is_stratified_and_seeded(whole_cancer, monkeypatch):
    X, y = whole_cancer
    rows = []
    original = _shares.train_test_split

    def spy(*arrays, **options):
        rows.append(original(*arrays, **options))
        return rows[-1]

    monkeypatch.setattr(_shares, "train_test_split", spy)
    for seed in (0, 0, 1):
        SNNClassifier(**{**LEARNING, "random_state": seed, "max_epochs": 1}, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    assert not np.array_equal(rows[0][1], rows[2][1])
    assert len(rows[0][1]) == np.ceil(0.1 * len(X))
    assert y[rows[0][1]].mean() == pytest.approx(y.mean(), abs=0.01)


def test_a_class_of_one_row_is_split_with_a_warning(whole_iris):
    X, y = whole_iris
    y = np.where(np.arange(len(y)) == 7, 9, y)
    with pytest.warns(UserWarning, match="drawn without stratification"):
        SNNClassifier(**LEARNING, early_stopping=True).fit(X, y)


def test_validation_weights_and_masks_count(gappy_tasks):
    X, Y = gappy_tasks
    weight = np.random.RandomState(0).rand(100)
    reg = SNNRegressor(**LEARNING)
    reg.fit(X[100:], Y[100:], X_val=X[:100], y_val=Y[:100], sample_weight_val=weight)
    z, y = reg._model.target.scale(reg.predict(X[:100])), reg._model.target.scale(Y[:100])
    # A mean over the labels present, of weights w: sum(w * loss) / sum(w).
    expected = np.nansum(weight[:, None] * (z - y) ** 2 / 2) / np.sum(weight[:, None] * ~np.isnan(y))
    assert min(reg.validation_loss_curve_) == pytest.approx(expected, rel=1e-5)


def test_the_watched_loss_of_a_single_label_is_its_log_loss():
    model = SNNClassifier(**SMALL, n_iter_no_change=99).fit(X, Y, X_val=X[:1], y_val=Y[:1])
    expected = log_loss(Y[:1], model.predict_proba(X[:1]), labels=[0, 1])
    assert min(model.validation_loss_curve_) == pytest.approx(expected, rel=1e-5)


CONFLICTS = {
    "X_val alone": ({}, {"X_val": "X"}, "X_val and y_val go together; got X_val without y_val"),
    "y_val alone": ({}, {"y_val": "y"}, "X_val and y_val go together; got y_val without X_val"),
    "weights alone": ({}, {"sample_weight_val": "y"}, "sample_weight_val needs X_val and y_val"),
    "nothing to train on": (
        {"early_stopping": True, "validation_fraction": 0.999},
        {},
        "leaves no row to train on",
    ),
}


@pytest.mark.parametrize(("settings", "arguments", "message"), CONFLICTS.values(), ids=CONFLICTS)
def test_arguments_that_contradict_each_other_are_refused(whole_iris, settings, arguments, message):
    data = dict(zip("Xy", whole_iris, strict=True))
    with raises(message):
        SNNClassifier(**LEARNING, **settings).fit(*whole_iris, **{k: data[v] for k, v in arguments.items()})


def test_validation_rows_without_labels_are_refused(gappy_tasks):
    X, Y = gappy_tasks
    with raises("there is no loss to watch"):
        SNNClassifier(**LEARNING).fit(X, Y, X_val=X[:9], y_val=np.full((9, 3), np.nan))
    with raises("y_val holds the label 7, which is not among the classes [0, 1]"):
        SNNClassifier(**LEARNING).fit(X, (Y[:, 0] == 1).astype(int), X_val=X[:9], y_val=np.full(9, 7))
    with raises("y_val has shape (9, 2), but the estimator was fitted with (n_rows, 3)"):
        SNNClassifier(**LEARNING).fit(X, Y, X_val=X[:9], y_val=Y[:9, :2])


# ---------------------------------------------------------------- rows that are only watched


WATCHED = {
    "one network": (SNNClassifier(**SMALL), Y),
    "members": (SNNClassifier(**SMALL | {"n_estimators": 3}), Y),
    "tasks": (SNNClassifier(**SMALL, class_weight="balanced"), TASKS),
    "members of a regressor": (SNNRegressor(**SMALL | {"n_estimators": 2}), T),
    "bags": (SNNRegressor(**SMALL | {"n_estimators": 2}, bootstrap=True), T),
    "a module that draws": (SNNClassifier(**SMALL, architecture=droppy_net), Y),
}


@unfinished
@pytest.mark.parametrize(("model", "y"), WATCHED.values(), ids=WATCHED)
@pytest.mark.parametrize("scoring", ["loss", None])
def test_watching_rows_leaves_the_fit_as_it_is(model, y, scoring):
    """Bit by bit, label smoothing included; also where labels are missing in the watched rows alone."""
    alone = clone(model).set_params(early_stopping=False).fit(X[20:], y[20:])
    y_val = y[:20].astype(float)
    y_val[:3, ...] = np.nan if y.ndim == 2 else y_val[:3]
    watched = clone(model).set_params(early_stopping=False, scoring=scoring, n_iter_no_change=1, tol=1e3)
    watched.fit(X[20:], y[20:], X_val=X[:20], y_val=y_val)
    np.testing.assert_array_equal(parameters(watched), parameters(alone))
    assert watched.loss_curve_ == alone.loss_curve_ and watched.best_epoch_ == watched.n_iter_ == 5
    assert len(watched.validation_loss_curve_) == 5 and alone.validation_loss_curve_ is None
    assert (watched.validation_scores_ is None) == (scoring == "loss")


def test_the_loss_of_watched_rows_is_that_of_early_stopping():
    """The curves agree as long as both train, without label smoothing, which early stopping switches off."""
    curves = []
    for early_stopping in (True, False):
        model = SNNClassifier(**SMALL, early_stopping=early_stopping, label_smoothing=0, n_iter_no_change=99)
        curves.append(model.fit(X, Y, X_val=X[:30], y_val=Y[:30]).validation_loss_curve_)
    assert curves[0] == curves[1]


def test_rows_that_are_only_watched_cannot_fail_a_fit():
    """An overflow there says nothing about the network; with early stopping it is an error."""
    far = np.full((4, 5), 1e30)
    model = SNNRegressor(**SMALL | {"encoding": None}, early_stopping=False)
    model.fit(X, T, X_val=far, y_val=np.full(4, 1e30))
    assert not np.isfinite(model.validation_loss_curve_).any()
    np.testing.assert_array_equal(parameters(model), parameters(clone(model).fit(X, T)))
    with raises("the validation loss is not finite in epoch 1"):
        model.set_params(early_stopping=True).fit(X, T, X_val=far, y_val=np.full(4, 1e30))


# ---------------------------------------------------------------- warm starts


@pytest.mark.parametrize("watched", [(False, True), (True, False, True)])
def test_validation_rows_may_come_and_go_between_warm_starts(whole_cancer, watched):
    """A row of the history without a validation loss made the next watched fit a KeyError."""
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING, warm_start=True, n_iter_no_change=100)
    for watch in watched:
        clf.fit(X, y, **({"X_val": X[:50], "y_val": y[:50]} if watch else {}))
    assert len(clf.loss_curve_) == 15 * len(watched)
    assert len(clf.validation_loss_curve_) == 15 * sum(watched)


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

    @unfinished
    def test_a_better_epoch_replaces_them(self):
        model = SNNClassifier(
            **SMALL | {"early_stopping": True, "warm_start": True, "max_epochs": 2, "lr": 1e-3}
        )
        model.fit(X, Y).set_params(lr=0.01, max_epochs=5).fit(X, Y)
        assert model.best_epoch_ > 2 and model.best_epoch_ == np.argmin(model.validation_loss_curve_) + 1

    def test_they_are_a_candidate_also_if_no_epoch_was_watched_before(self):
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


def test_patience_counts_from_the_weights_a_second_fit_begins_with():
    """They are what the first epoch has to beat; any first epoch used to count as progress."""
    params = {**SMALL, "early_stopping": True, "warm_start": True, "n_iter_no_change": 2}
    model = SNNClassifier(**params).fit(X, Y)
    n_before = model.n_iter_
    model.set_params(tol=1e3, max_epochs=9).fit(X, Y)
    assert model.n_iter_ == n_before + 2
