"""A fit that is interrupted or killed goes on from its last whole epoch, and ends as it would have ended."""

import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from conftest import SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import droppy_net, missing_at_random
from joblib import parallel_config
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sksnn import SNNClassifier, SNNRegressor, _resume

pytestmark = unfinished
CLASSIFIER, REGRESSOR = SNNClassifier(**SMALL), SNNRegressor(**SMALL)
SIX = {"max_epochs": 6}
WEIGHT = np.linspace(0.5, 2, len(X))


@pytest.fixture
def breaking(monkeypatch):
    """Fit, interrupted each time that some epochs have been kept, until the fit ends."""

    def fit(estimator, *data, after=2, **params):
        seen, write = [], _resume.write

        def write_and_break(path, state):
            write(path, state)
            seen.append(state["n_done"])
            if len(seen) % after == 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(_resume, "write", write_and_break)
        n_breaks = 0
        while True:
            try:
                estimator.fit(*data, **params)
                break
            except KeyboardInterrupt:
                estimator, n_breaks = clone(estimator), n_breaks + 1
        monkeypatch.setattr(_resume, "write", write)
        assert seen == sorted(set(seen)), "an epoch was trained twice"
        return estimator, n_breaks

    return fit


def assert_same_fit(one, other):
    assert [row.keys() for row in one.net_.history] == [row.keys() for row in other.net_.history]
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_loss_curve_ == other.validation_loss_curve_
    assert one.validation_scores_ == other.validation_scores_
    assert (one.n_iter_, one.best_epoch_) == (other.n_iter_, other.best_epoch_)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    for p, q in zip(one.net_.module_.parameters(), other.net_.module_.parameters(), strict=True):
        assert torch.equal(p, q)


KINDS = {
    "one network": (CLASSIFIER, Y, {}),
    "members": (CLASSIFIER, Y, {"n_estimators": 3, "encoding": ("onehot", None)}),
    "members of two forms": (CLASSIFIER, Y, {"n_estimators": 3, "n_units": (16, 8), "dropout": (0.1, 0.0)}),
    "members with folds": (REGRESSOR, T, {"n_estimators": 3, "early_stopping": True, "n_iter_no_change": 2}),
    "bags": (REGRESSOR, T, {"n_estimators": 3, "bootstrap": True, "oob_score": False}),
    "early stopping": (CLASSIFIER, Y, {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12}),
    "a score": (CLASSIFIER, Y, {"early_stopping": True, "scoring": "roc_auc"}),
    "gaps": (CLASSIFIER, missing_at_random(TASKS), {"dropout": 0.3, "input_dropout": 0.1}),
    "momentum": (CLASSIFIER, Y, {"optimizer": "sgd", "optimizer_params": {"momentum": 0.9}}),
    "constant": (REGRESSOR, T, {"lr_schedule": "constant", "optimizer": "nadam"}),
    "own module": (CLASSIFIER, Y, {"architecture": droppy_net}),
    "own modules": (CLASSIFIER, Y, {"architecture": droppy_net, "n_estimators": 2}),
    "rival": (CLASSIFIER, Y, {"architecture": "batchnorm"}),
    "double": (REGRESSOR, np.column_stack([T, X[:, 1]]), {"precision": "float64"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [1, 3])
def test_a_broken_fit_ends_bit_for_bit_as_a_whole_one(kind, after, breaking, tmp_path):
    estimator, y, changes = KINDS[kind]
    estimator = clone(estimator).set_params(**{**SIX, **changes})
    whole = clone(estimator).fit(X, y, sample_weight=WEIGHT)
    broken, n_breaks = breaking(
        clone(estimator).set_params(checkpoint_dir=tmp_path), X, y, after=after, sample_weight=WEIGHT
    )
    assert n_breaks == (whole.n_iter_ - 1) // after
    assert_same_fit(broken, whole)
    assert not list(tmp_path.iterdir())


def test_a_fit_that_goes_on_is_resumed(breaking, tmp_path):
    def two_fits(fit, **changes):
        fitted = clone(REGRESSOR).set_params(warm_start=True, **SIX).fit(X, T)
        fitted.set_params(**changes)
        return fit(fitted)

    def interrupted(fitted):
        fitted.set_params(checkpoint_dir=tmp_path)
        write, seen = _resume.write, []

        def write_and_break(path, state):
            write(path, state)
            seen.append(1)
            if len(seen) == 3:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(_resume, "write", write_and_break)
            fitted.fit(X, T)
        return two_fits(lambda again: again.set_params(checkpoint_dir=tmp_path).fit(X, T))

    assert_same_fit(two_fits(interrupted), two_fits(lambda fitted: fitted.fit(X, T)))


def test_without_a_seed_a_fit_goes_on_with_the_one_that_it_had(breaking, tmp_path):
    """The rows that it holds back are the same ones."""
    estimator = clone(CLASSIFIER).set_params(random_state=None, early_stopping=True, checkpoint_dir=tmp_path)
    fitted, n_breaks = breaking(estimator.set_params(**SIX), X, Y)
    assert n_breaks == 2 and len(fitted.loss_curve_) == 6


def test_other_data_parameters_and_clones_have_folders_of_their_own(tmp_path, monkeypatch):
    write, n_files = _resume.write, []

    def write_and_stop(path, state):
        write(path, state)
        n_files.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(_resume, "write", write_and_stop)
    estimator = clone(CLASSIFIER).set_params(checkpoint_dir=tmp_path)
    others = [
        (estimator, (X, Y)),
        (clone(estimator).set_params(lr=0.01), (X, Y)),
        (estimator, (X[::-1], Y)),
        (estimator, (X, 1 - Y)),
        (estimator, (X, Y, WEIGHT)),
    ]
    for each, data in others:
        with pytest.raises(KeyboardInterrupt):
            clone(each).fit(*data)
    assert len({path.parent for path in n_files}) == len(others) == len(list(tmp_path.iterdir()))
    with pytest.raises(KeyboardInterrupt):  # what is printed changes nothing
        clone(estimator).set_params(verbose=0, checkpoint_dir=str(tmp_path)).fit(X, Y)
    assert len(list(tmp_path.iterdir())) == len(others) and n_files[-1].name == "epoch-000002"


def test_a_damaged_or_foreign_file_is_passed_over(breaking, tmp_path, monkeypatch):
    estimator = clone(CLASSIFIER).set_params(**SIX, checkpoint_dir=tmp_path)
    write, seen = _resume.write, []

    def write_and_break(path, state):
        write(path, state)
        seen.append(path)
        if len(seen) == 3:
            path.write_bytes(path.read_bytes()[:-9])
            raise KeyboardInterrupt

    monkeypatch.setattr(_resume, "write", write_and_break)
    with pytest.raises(KeyboardInterrupt):
        clone(estimator).fit(X, Y)
    assert sorted(path.name for path in seen[0].parent.iterdir())[-2:] == ["epoch-000002", "epoch-000003"]
    (seen[0].parent / "epoch-999999").write_text("mine")
    with pytest.warns(UserWarning, match="checkpoint_dir holds a damaged file, which is not used"):
        fitted = clone(estimator).fit(X, Y)
    assert seen[3].name == "epoch-000003"
    assert_same_fit(fitted, clone(estimator).set_params(checkpoint_dir=None).fit(X, Y))


def test_a_fit_that_fails_leaves_nothing_behind(tmp_path):
    diverging = clone(CLASSIFIER).set_params(optimizer="sgd", lr=1e9, encoding=None, checkpoint_dir=tmp_path)
    with raises("training loss is not finite"):
        diverging.fit(X, Y)
    assert not list(tmp_path.iterdir())
    with raises("checkpoint_dir needs an estimator, parameters and data that can be pickled"):
        clone(CLASSIFIER).set_params(architecture=lambda i, o: None, checkpoint_dir=tmp_path).fit(X, Y)


def test_equal_fits_at_the_same_time(tmp_path):
    """The first to end removed the files of the others, which ended with a FileNotFoundError."""
    clf = clone(CLASSIFIER).set_params(max_epochs=12, checkpoint_dir=tmp_path)
    voting = VotingClassifier([(str(i), clf) for i in range(4)], n_jobs=4)
    with parallel_config(backend="threading"):
        voting.fit(X, Y)
    alone = clone(clf).set_params(checkpoint_dir=None).fit(X, Y)
    for fitted in voting.estimators_:
        assert_same_fit(fitted, alone)
    assert not list(tmp_path.iterdir())


def test_the_folder_may_go_away_while_a_fit_writes(tmp_path):
    """As it does when an equal fit ends; and files that are not ours stay."""
    folder = tmp_path / "epochs"

    class Meddling(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                shutil.rmtree(folder)
            if len(net.history) == 5:
                (next(folder.iterdir()) / "notes").mkdir()

    clf = clone(CLASSIFIER).set_params(max_epochs=6, checkpoint_dir=folder, callbacks=[Meddling()])
    assert_same_fit(clf.fit(X, Y), clone(clf).set_params(checkpoint_dir=None, callbacks=None).fit(X, Y))
    assert [path.name for path in folder.glob("*/*")] == ["notes"]


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    """A folder with the name "~" was made where one happened to be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(tmp_path / "home"))
    clone(CLASSIFIER).set_params(checkpoint_dir="~/epochs").fit(X, Y)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_clones_of_a_search_share_a_folder(tmp_path):
    grid = {"lr": [0.01, 0.02]}
    scores = [
        GridSearchCV(clone(CLASSIFIER).set_params(checkpoint_dir=folder), grid, cv=2, n_jobs=n_jobs).fit(X, Y)
        for folder, n_jobs in ((None, None), (tmp_path, None))
    ]
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_score"] for search in scores))
    assert not list(tmp_path.iterdir())


def long_fit(folder):
    return SNNRegressor(n_estimators=2, max_epochs=40, random_state=0, checkpoint_dir=folder).fit(X, T)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
def test_a_fit_that_is_killed_goes_on(tmp_path):
    """Killed twenty times at random moments; the epochs that are kept only become more."""
    start = time.perf_counter()
    whole = long_fit(tmp_path / "whole")
    rng, spent, done = np.random.default_rng(0), time.perf_counter() - start, 0
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=long_fit, args=(tmp_path / "killed",))
        process.start()
        process.join(rng.uniform(0, spent / 8))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        files = sorted((tmp_path / "killed").glob("*/epoch-*"))
        now = int(files[-1].name[-6:]) if files else done
        assert now >= done
        done = now
    assert_same_fit(long_fit(tmp_path / "killed"), whole)
    assert not list((tmp_path / "killed").glob("*/epoch-*"))
