"""What `verbose` shows of a fit: a progress bar, or a table."""

import signal
import sys

import pytest
import tqdm
from conftest import BOTH, SIX_EPOCHS, raises, unfinished
from skorch.callbacks import Callback, EarlyStopping

from sksnn import SNNClassifier, SNNRegressor
from sksnn.model_selection import SNNGridSearchCV

pytestmark = unfinished


@pytest.fixture
def bars(capsys):
    """Return what is left to read of each bar, once it is closed: a line on stderr that ends."""

    def read():
        out, err = capsys.readouterr()
        assert out == "" and (err == "" or err.endswith("\n")), "a bar was left open"
        assert not tqdm.tqdm._instances, "tqdm holds a bar that nobody closed"
        return [line.split("\r")[-1].rstrip() for line in err.split("\n")[:-1]]

    return read


def losses(estimator):
    """Format the losses of the last epoch as a bar does."""
    shown = f"loss {estimator.loss_curve_[-1]:.4g}"
    if estimator.validation_loss_curve_:
        shown += f", valid loss {estimator.validation_loss_curve_[-1]:.4g}"
    if estimator.validation_scores_:
        shown += f", score {estimator.validation_scores_[-1]:.4g}"
    return shown


@BOTH
@pytest.mark.parametrize("verbose", [0, False])
def test_nothing_is_shown_by_default(Estimator, verbose, whole_cancer, bars, monkeypatch):
    """No bar is made that hides itself: tqdm starts a thread for it."""
    monkeypatch.setattr("sksnn._skorch.tqdm", None)
    Estimator(**SIX_EPOCHS, verbose=verbose).fit(*whole_cancer).partial_fit(*whole_cancer)
    assert bars() == []


@BOTH
@pytest.mark.parametrize("verbose", [1, True])
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_one_bar_for_the_whole_fit(Estimator, verbose, n_estimators, whole_cancer, bars):
    """There was a bar for each epoch, and the host waited for the device after each batch."""
    settings = {**SIX_EPOCHS, "n_estimators": n_estimators, "early_stopping": False}
    shown = Estimator(**settings, verbose=verbose).fit(*whole_cancer)
    (line,) = bars()
    assert line.startswith("100%|") and "| 6/6 epochs [00:0" in line
    assert line.endswith(f", {losses(shown)}]")
    silent = Estimator(**settings).fit(*whole_cancer)
    assert silent.loss_curve_ == shown.loss_curve_
    assert [len(row["batches"]) for row in shown.net_.history] == [1] * 6


def test_the_bar_shows_what_is_left(whole_cancer, capsys, monkeypatch):
    class Eager(tqdm.tqdm):
        def __init__(self, **keywords):
            super().__init__(**keywords, mininterval=0)

    monkeypatch.setattr("sksnn._skorch.tqdm", Eager)
    SNNClassifier(**{**SIX_EPOCHS, "max_epochs": 50}, verbose=1).fit(*whole_cancer)
    shown = [part for part in capsys.readouterr().err.split("\r") if "25/50 epochs [00:0" in part]
    assert shown and all("<00:0" in part for part in shown)


def test_with_a_limit_of_time_the_bar_shows_that(whole_cancer, bars):
    """The time left was that of all epochs, of which most are never trained."""
    settings = {**SIX_EPOCHS, "max_epochs": 10**6, "max_time": 0.2}
    clf = SNNClassifier(**settings, verbose=1).fit(*whole_cancer)
    (line,) = bars()
    assert f"| {clf.n_iter_}/1000000 epochs [00:0" in line and " of at most 00:00, loss" in line


@pytest.mark.parametrize("scoring", ["loss", "accuracy"])
def test_early_stopping_closes_the_bar_at_its_epoch(scoring, whole_cancer, bars):
    settings = {**SIX_EPOCHS, "max_epochs": 500, "early_stopping": True, "scoring": scoring}
    clf = SNNClassifier(**settings, verbose=1, n_iter_no_change=3).fit(*whole_cancer)
    assert clf.n_iter_ < 500
    (line,) = bars()
    assert f"| {clf.n_iter_}/500 epochs [" in line and line.endswith(losses(clf) + "]")
    assert ("score" in line) == (scoring != "loss")


def test_callbacks_that_stop_or_fail_close_the_bar(whole_cancer, bars):
    """The epoch in which a callback stops is shown; skorch's stops with a KeyboardInterrupt."""

    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise RuntimeError("boom")

    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=10, threshold_mode="abs", sink=len)
    clf = SNNClassifier(**SIX_EPOCHS, callbacks=[stop], verbose=1).fit(*whole_cancer)
    (line,) = bars()
    assert clf.n_iter_ < 6 and f"| {clf.n_iter_}/6 epochs [" in line and line.endswith(losses(clf) + "]")
    with raises("boom", RuntimeError):
        SNNClassifier(**SIX_EPOCHS, callbacks=[Failing()], verbose=1).fit(*whole_cancer)
    assert "| 2/6 epochs [" in bars()[0]


def test_ctrl_c_and_divergence_close_the_bar(whole_cancer, bars, monkeypatch):
    """Also if Ctrl-C comes while the bar is drawn."""
    update = tqdm.tqdm.update

    def pressed(self, n=1):
        update(self, n)
        if self.n == 2:
            signal.default_int_handler(signal.SIGINT, None)

    monkeypatch.setattr(tqdm.tqdm, "update", pressed)
    clf = SNNClassifier(**SIX_EPOCHS, verbose=1)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*whole_cancer)
    (line,) = bars()
    assert "| 2/6 epochs [" in line and line.endswith(losses(clf) + "]") and clf.n_iter_ == 2
    with raises("diverged"):
        SNNRegressor(**{**SIX_EPOCHS, "lr": 1e30}, verbose=1).fit(*whole_cancer)
    assert "| 0/6 epochs [" in bars()[0]


def test_fits_that_go_on_have_bars_of_their_own(whole_cancer, bars):
    clf = SNNClassifier(**SIX_EPOCHS, warm_start=True, verbose=1).fit(*whole_cancer)
    clf.set_params(max_epochs=2).fit(*whole_cancer)
    clf.partial_fit(*whole_cancer)
    lines = bars()
    assert ["6/6" in lines[0], "2/2" in lines[1], "1/1" in lines[2], len(lines)] == [True, True, True, 3]
    assert clf.n_iter_ == 9


def test_a_fit_that_was_killed_goes_on_with_its_bar(whole_cancer, bars, tmp_path):
    class Killed(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise SystemExit

    settings = {**SIX_EPOCHS, "verbose": 1, "checkpoint_dir": tmp_path}
    with pytest.raises(SystemExit):
        SNNClassifier(**settings, callbacks=[Killed()]).fit(*whole_cancer)
    clf = SNNClassifier(**settings).fit(*whole_cancer)
    first, second = bars()
    assert "| 3/6 epochs [" in first and "| 6/6 epochs [" in second and second.endswith(losses(clf) + "]")


def test_a_search_shows_the_bars_of_its_fits_below_its_own(whole_cancer, capsys):
    settings = {**SIX_EPOCHS, "max_epochs": 2}
    search = SNNGridSearchCV(
        SNNClassifier(**settings, verbose=1), {"lr": [0.1, 0.01]}, cv=2, refit=False, verbose=1
    ).fit(*whole_cancer)
    out, err = capsys.readouterr()
    assert "totalling 4 fits" in out and "4/4 fits" in err
    assert sum("2/2 epochs" in line.split("\r")[-1] for line in err.split("\n")) == 4
    silent = SNNGridSearchCV(SNNClassifier(**settings), {"lr": [0.1, 0.01]}, cv=2, refit=False)
    silent.fit(*whole_cancer)
    assert capsys.readouterr() == ("", "")
    means = "mean_test_score"
    assert silent.cv_results_[means].tolist() == pytest.approx(search.cv_results_[means].tolist(), abs=0.02)


def test_a_table_from_two_on(whole_cancer, capsys):
    for verbose in (2, 3):
        SNNClassifier(**SIX_EPOCHS, verbose=verbose, early_stopping=True).fit(*whole_cancer)
        out, err = capsys.readouterr()
        assert "train_loss" in out and "valid_loss" in out and len(out.splitlines()) == 2 + 6
        assert err == ""


def test_without_a_console_nothing_is_shown(whole_cancer, monkeypatch):
    """Where there is no stderr, as in an application of windows only, the bar would raise AttributeError."""
    monkeypatch.setattr(sys, "stderr", None)
    assert SNNClassifier(**SIX_EPOCHS, verbose=1).fit(*whole_cancer).n_iter_ == 6
