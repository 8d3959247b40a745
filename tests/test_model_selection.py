"""Searches whose candidates are trained together give what scikit-learn's own searches give."""

import hashlib
import inspect
import multiprocessing
import os
import pickle
import re
import signal
import threading
import time

import joblib
import numpy as np
import pytest
import sklearn
from conftest import T, X, Y, raises, unfinished
from helpers import droppy_net, missing_at_random
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    ParameterGrid,
    RandomizedSearchCV,
    ShuffleSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from sksnn import SNNClassifier, SNNRegressor, _search, _together
from sksnn.metrics import masked_roc_auc_scorer
from sksnn.model_selection import (
    SNNGridSearchCV,
    SNNHalvingGridSearchCV,
    SNNHalvingRandomSearchCV,
    SNNRandomizedSearchCV,
    search_spaces,
)

pytestmark = unfinished
PAIRS = {
    SNNGridSearchCV: GridSearchCV,
    SNNRandomizedSearchCV: RandomizedSearchCV,
    SNNHalvingGridSearchCV: HalvingGridSearchCV,
    SNNHalvingRandomSearchCV: HalvingRandomSearchCV,
}
EXACT = {
    "n_estimators": 1,
    "n_layers": 2,
    "n_units": 12,
    "max_epochs": 4,
    "lr": 0.01,
    "batch_size": 16,
    "random_state": 0,
    "precision": "float64",
}
CLASSIFIER, REGRESSOR = SNNClassifier(**EXACT), SNNRegressor(**EXACT)
RATES = {"lr": [0.003, 0.01], "weight_decay": [0.0, 0.1]}
#: 115 rows: four folds of unequal size.
X, Y, T = X[:115], Y[:115], T[:115]
WEIGHT = np.linspace(0.5, 2, 115)


def assert_equal_results(one, other):
    """All that a search has found, to rounding; times are those of another way."""
    assert one.cv_results_.keys() == other.cv_results_.keys()
    assert one.cv_results_["params"] == other.cv_results_["params"]
    for name, values in other.cv_results_.items():
        if name.startswith(("mean_t", "std_t", "split")):  # ranks of ties depend on the last bit
            np.testing.assert_allclose(one.cv_results_[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    if other.refit:
        assert one.best_params_ == other.best_params_


def both(estimator, space, *data, cls=SNNGridSearchCV, cv=4, fit_params=None, **parameters):
    """Search in both ways; return both searches."""
    found = [kind(estimator, space, cv=cv, **parameters) for kind in (cls, PAIRS[cls])]
    for search in found:
        search.fit(*data, **(fit_params or {}))
    return found


@pytest.fixture
def loops(monkeypatch):
    """The number of fits in each loop."""
    seen = []
    original = _together.run_epochs

    def run_epochs(trainings, *arguments):
        seen.append(len(trainings))
        return original(trainings, *arguments)

    monkeypatch.setattr(_together, "run_epochs", run_epochs)
    return seen


# ---------------------------------------------------------------- equality


GRIDS = {
    "rates": RATES,
    "layers": {"n_layers": [1, 2], "layer_form": ["conic", "rectangular"]},
    "widths": {"hidden_layer_sizes": [(8,), (8, 4), [8, 8, 8]]},
    "dropout": {"dropout": [0.0, 0.3], "input_dropout": [0.0, 0.2]},
    "smoothing": {"label_smoothing": [0.0, 0.2], "class_weight": [None, "balanced"]},
    "codes": {"encoding": [None, "onehot", "piecewise"], "standardize": [True, False]},
    "optimizers": {"optimizer": ["adam", "sgd", "rmsprop"], "optimizer_params": [None, {"foreach": True}]},
    "closure": {"optimizer": ["lbfgs"], "weight_decay": [0.0]},
    "batches": {"batch_size": [8, 200], "max_epochs": [2, 3]},
    "stopping": {"early_stopping": [True], "n_iter_no_change": [1, 5], "tol": [0.0, 0.5], "max_epochs": [8]},
    "members": {"n_estimators": [1, 3], "bootstrap": [False, True]},
    "members of two forms": {
        "n_estimators": [3],
        "layer_form": [("conic", "rectangular")],
        "n_units": [8, (16, 8)],
        "dropout": [0.1, (0.1, 0.0)],
    },
    "members that hold back folds": {"n_estimators": [2], "early_stopping": [True], "lr": [0.003, 0.03]},
    "networks": {"architecture": ["snn", "resnet", droppy_net]},
    "clipping": {"max_grad_norm": [None, 0.01], "lr_schedule": ["constant", "cosine"]},
    "seeds": {"random_state": [0, 1, 2]},
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_search_finds_what_scikit_learns_finds(name):
    estimator = CLASSIFIER.set_params() if name != "closure" else clone(CLASSIFIER).set_params(batch_size=200)
    pair = both(estimator, GRIDS[name], X, Y, scoring="neg_log_loss", return_train_score=True)
    assert_equal_results(*pair)
    np.testing.assert_allclose(*(search.predict_proba(X) for search in pair), atol=1e-7)


def test_regressors_outputs_and_tasks_with_gaps_are_searched_alike():
    assert_equal_results(*both(SNNRegressor(max_epochs=5, precision="float64", random_state=0), RATES, X, T))
    outputs = np.column_stack([T, X[:, 1]])
    assert_equal_results(*both(REGRESSOR, {"loss": ["huber", "squared_error"]}, X, outputs))
    tasks = missing_at_random((X[:, :3] > 0).astype(float))
    assert_equal_results(*both(CLASSIFIER, RATES, X, tasks, cv=KFold(3), scoring=masked_roc_auc_scorer))


def test_a_pipeline_is_searched_over_all_of_its_steps():
    pipe = Pipeline([("pca", PCA()), ("inner", make_pipeline(StandardScaler(), CLASSIFIER))])
    grid = {"pca__n_components": [2, 4], "inner__snnclassifier__lr": [0.003, 0.01]}
    pair = both(pipe, grid, X, Y, scoring="neg_log_loss")
    assert_equal_results(*pair)
    np.testing.assert_allclose(*(search.predict_proba(X) for search in pair), atol=1e-7)


def test_steps_and_networks_may_be_exchanged_in_a_grid():
    pipe = Pipeline([("scale", StandardScaler()), ("model", CLASSIFIER)])
    grid = [
        {"scale": ["passthrough", StandardScaler()], "model__lr": [0.01]},
        {"model": [LogisticRegression(), clone(CLASSIFIER).set_params(lr=0.02)]},
    ]
    assert_equal_results(*both(pipe, grid, X, Y, scoring="neg_log_loss"))
    assert_equal_results(*both(LogisticRegression(), {"C": [0.1, 1.0]}, X, Y))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    cv=st.one_of(st.integers(2, 4), st.builds(ShuffleSplit, st.integers(1, 3), random_state=st.just(0))),
    names=st.lists(st.sampled_from(["rates", "layers", "dropout", "codes"]), min_size=1, max_size=2),
    names_of_classes=st.booleans(),
)  # fmt: skip
def test_any_grids_and_folds(cv, names, names_of_classes):
    y, grid = np.where(Y, "yes", "no") if names_of_classes else Y, [GRIDS[name] for name in names]
    assert_equal_results(*both(CLASSIFIER, grid, X, y, cv=cv, scoring="neg_log_loss", refit=False))


def test_randomized_searches_draw_the_same_candidates():
    space = {"lr": [0.001, 0.003, 0.01], "dropout": [0.0, 0.1, 0.3]}
    pair = both(CLASSIFIER, space, X, Y, cls=SNNRandomizedSearchCV, n_iter=4, random_state=3)
    assert_equal_results(*pair)


def test_processes_change_nothing():
    alone = SNNGridSearchCV(CLASSIFIER, RATES, cv=4, scoring="neg_log_loss").fit(X, Y)
    workers = SNNGridSearchCV(CLASSIFIER, RATES, cv=4, scoring="neg_log_loss", n_jobs=2).fit(X, Y)
    assert_equal_results(workers, alone)


class AllAtOnce(type(get_active_backend()[0])):
    """A backend that cannot return tasks as they end, as Ray's and joblib's "multiprocessing"."""

    supports_return_generator = False


@pytest.mark.parametrize("backend", ["loky", "threading", "all at once"])
def test_backends_of_joblib_that_its_settings_name(backend, monkeypatch):
    monkeypatch.setitem(joblib.parallel.BACKENDS, "all at once", AllAtOnce)
    alone = SNNGridSearchCV(CLASSIFIER, RATES, cv=4, scoring="neg_log_loss").fit(X, Y)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        workers = clone(alone).fit(X, Y)
    assert_equal_results(workers, alone)


def test_float32_agrees_within_the_error_of_the_search():
    estimator = clone(CLASSIFIER).set_params(precision="float32")
    together, alone = both(estimator, RATES, X, Y, scoring="neg_log_loss")
    one, other = (search.cv_results_["mean_test_score"] for search in (together, alone))
    error = alone.cv_results_["std_test_score"] / 2  # of a mean of four folds
    assert (np.abs(one - other) < error).all()


# ---------------------------------------------------------------- what goes with it


def test_weights_groups_and_several_scores():
    groups = np.arange(len(X)) % 7
    pair = both(
        CLASSIFIER, RATES, X, Y, cv=GroupKFold(3), scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss",
        fit_params={"sample_weight": WEIGHT, "groups": groups},
    )  # fmt: skip
    assert_equal_results(*pair)
    # A pipeline hands on what is meant for its last step.
    pipe = make_pipeline(StandardScaler(), CLASSIFIER)
    grid = {"snnclassifier__lr": [0.003, 0.01]}
    assert_equal_results(*both(pipe, grid, X, Y, fit_params={"snnclassifier__sample_weight": WEIGHT}))


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = (
            clone(CLASSIFIER).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        pair = both(estimator, RATES, X, Y, fit_params={"sample_weight": WEIGHT})
    assert_equal_results(*pair)


def test_validation_rows_for_all():
    stopping = clone(CLASSIFIER).set_params(early_stopping=True, max_epochs=20, n_iter_no_change=2)
    pair = both(stopping, RATES, X, Y, fit_params={"X_val": X[:31], "y_val": Y[:31]}, scoring="neg_log_loss")
    assert_equal_results(*pair)


def test_a_callable_may_choose_the_best():
    pair = both(CLASSIFIER, RATES, X, Y, refit=lambda results: int(results["rank_test_score"].argmax()))
    assert pair[0].best_index_ == pair[1].best_index_
    assert_equal_results(*pair)


def test_frames_and_sparse_rows():
    pd = pytest.importorskip("pandas")
    from scipy import sparse

    frame = pd.DataFrame(X, columns=list("abcde"))
    together, alone = both(CLASSIFIER, RATES, frame, pd.Series(Y))
    assert_equal_results(together, alone)
    assert (
        list(together.feature_names_in_) == list("abcde") == list(together.best_estimator_.feature_names_in_)
    )
    rows = sparse.random(len(X), 20, 0.2, format="csr", random_state=0)
    assert_equal_results(*both(CLASSIFIER, RATES, rows, Y))


def test_signatures_are_scikit_learns():
    """Changing the import is the whole migration, but for the resource of halving: epochs, not rows."""
    for ours, theirs in PAIRS.items():
        own, other = (dict(inspect.signature(kind).parameters) for kind in (ours, theirs))
        assert own.pop("checkpoint_dir").default is None
        for parameters in (own, other):
            parameters.pop("resource", None)
        assert {n: (p.kind, p.default) for n, p in own.items()} == {
            n: (p.kind, p.default) for n, p in other.items()
        }
        documented = re.findall(r"^    (\w+) :", inspect.getdoc(ours).split("Attributes")[0], re.M)
        assert set(documented) <= {*own, "checkpoint_dir", "resource", "estimator"}


def test_a_search_is_an_estimator():
    search = SNNGridSearchCV(CLASSIFIER, RATES, cv=3, checkpoint_dir=None)
    assert clone(search).get_params()["estimator__n_units"] == 12
    loaded = pickle.loads(pickle.dumps(search.fit(X, Y)))
    np.testing.assert_array_equal(loaded.predict(X), search.predict(X))
    assert search.estimator is CLASSIFIER and not hasattr(CLASSIFIER, "classes_")
    assert "_run" not in vars(search)
    # Its best estimator is one like any other.
    assert "__sklearn_clone__" not in vars(search.best_estimator_) and "fit" not in vars(
        search.best_estimator_
    )
    assert not hasattr(clone(search.best_estimator_), "classes_")


# ---------------------------------------------------------------- together


def test_candidates_of_all_folds_are_trained_in_one_loop(loops):
    """Four candidates and four folds, one of which has a row more."""
    SNNGridSearchCV(CLASSIFIER, RATES, cv=4, refit=False).fit(X, Y)
    assert sorted(loops) == [4, 12]
    loops.clear()
    SNNGridSearchCV(CLASSIFIER, {"architecture": ["snn", "resnet"]}, cv=5, refit=False).fit(X, Y)
    assert loops == [5]  # rivals take turns


def test_loops_are_cut_where_memory_ends(loops, monkeypatch):
    monkeypatch.setattr(_together, "LOOP_BYTES", 3 * 4 * 8 * (12 * 5 + 12 + 5 + 12 * 12 + 12 + 12 * 2 + 2))
    estimator = clone(CLASSIFIER).set_params(encoding=None, layer_form="rectangular")
    SNNGridSearchCV(
        estimator, {"random_state": range(7)}, cv=[(np.arange(90), np.arange(90, 115))], refit=False
    ).fit(X, Y)
    assert loops == [3, 3, 1]


class Counting(TransformerMixin, BaseEstimator):
    """Counts its fits."""

    n_fits = 0

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        type(self).n_fits += 1
        self.fitted_ = True
        return self

    def transform(self, X):
        return X * self.scale


def test_steps_before_the_network_are_fitted_once_a_fold_and_setting():
    Counting.n_fits = 0
    pipe = Pipeline([("count", Counting()), ("snn", CLASSIFIER)])
    grid = {"count__scale": [1.0, 2.0], "snn__lr": [0.001, 0.003, 0.01]}
    SNNGridSearchCV(pipe, grid, cv=5, refit=False).fit(X, Y)
    assert Counting.n_fits == 2 * 5


def test_a_candidate_that_diverges_disturbs_no_neighbour():
    sgd = clone(CLASSIFIER).set_params(optimizer="sgd", encoding=None)
    grid = {"lr": [0.01, 1e9, 0.1]}
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="Diverged"):
        with pytest.warns(UserWarning, match="test scores are non-finite"):
            pair = both(sgd, grid, X, Y, scoring="neg_log_loss")
    assert np.isnan(pair[0].cv_results_["mean_test_score"]).tolist() == [False, True, False]
    assert_equal_results(*pair)
    with raises("training loss is not finite in epoch"):
        SNNGridSearchCV(sgd, grid, cv=3, error_score="raise").fit(X, Y)


def test_impossible_values_are_refused_as_in_a_fit():
    grid = {"dropout": [0.1, 1.0]}
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="'dropout' parameter"):
        with pytest.warns(UserWarning, match="test scores are non-finite"):
            assert_equal_results(*both(CLASSIFIER, grid, X, Y))
    with raises("Invalid parameter 'depth' for estimator"):
        SNNGridSearchCV(CLASSIFIER, {"depth": [1]}).fit(X, Y)
    with raises("got an unexpected keyword argument 'weights'", TypeError):
        SNNGridSearchCV(CLASSIFIER, RATES, error_score="raise").fit(X, Y, weights=Y)


def test_the_time_of_a_fit_is_its_share_of_the_stack():
    start = time.perf_counter()
    search = SNNGridSearchCV(CLASSIFIER, RATES, cv=4, refit=False).fit(X, Y)
    spent = time.perf_counter() - start
    total = search.cv_results_["mean_fit_time"].sum() * 4
    assert 0 < total < spent
    assert (search.cv_results_["mean_fit_time"] > 0).all()


def test_a_bar_shows_what_is_left(capfd):
    SNNGridSearchCV(CLASSIFIER, RATES, cv=4, refit=False, verbose=1).fit(X, Y)
    out, err = capfd.readouterr()
    assert "Fitting 4 folds for each of 4 candidates, totalling 16 fits" in out
    assert "16/16 fits" in err


# ---------------------------------------------------------------- halving


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"early_stopping": True},
        {"n_estimators": 2},
        {"lr_schedule": "constant"},
        {"architecture": "resnet"},
    ],
    ids=str,
)
def test_the_last_round_of_halving_has_the_scores_of_a_whole_search(changes):
    estimator = clone(CLASSIFIER).set_params(**{"max_epochs": 9, **changes})
    grid = {"lr": [0.001, 0.003, 0.01], "dropout": [0.0, 0.1, 0.3]}
    halving = SNNHalvingGridSearchCV(estimator, grid, cv=3, scoring="neg_log_loss").fit(X, Y)
    whole = SNNGridSearchCV(estimator, grid, cv=3, scoring="neg_log_loss").fit(X, Y).cv_results_
    results = halving.cv_results_
    assert (halving.n_resources_, halving.n_candidates_) == ([1, 3, 9], [9, 3, 1])
    for i in np.flatnonzero(results["iter"] == 2):
        place = whole["params"].index({k: v for k, v in results["params"][i].items() if k != "max_epochs"})
        for j in range(3):
            score = whole[f"split{j}_test_score"][place]
            assert results[f"split{j}_test_score"][i] == pytest.approx(score, rel=1e-9)
    assert halving.best_estimator_.n_iter_ == 9 or changes.get("early_stopping")


def test_survivors_of_a_round_go_on(loops, monkeypatch):
    epochs = []
    original = _together.run_epochs

    def run_epochs(trainings, each, *arguments):
        epochs.append((len(trainings), each.start, each.stop - 1))
        return original(trainings, each, *arguments)

    monkeypatch.setattr(_together, "run_epochs", run_epochs)
    estimator = make_pipeline(StandardScaler(), clone(CLASSIFIER).set_params(max_epochs=9))
    grid = {"snnclassifier__lr": [0.001, 0.003, 0.01]}
    folds = [(np.arange(80), np.arange(80, 115)), (np.arange(35, 115), np.arange(35))]
    search = SNNHalvingGridSearchCV(estimator, grid, cv=folds, refit=False, n_jobs=1)
    search.fit(X, Y)
    assert epochs == [(6, 1, 3), (2, 4, 9)]
    assert (search.resource, search.max_resources) == ("max_epochs", "auto")
    workers = SNNHalvingGridSearchCV(estimator, grid, cv=folds, refit=False, n_jobs=2).fit(X, Y)
    assert_equal_results(workers, search)


@pytest.mark.parametrize(
    ("n_epochs", "n_candidates", "rounds"),
    [(60, 96, [6, 18, 54]), (100, 96, [11, 33, 99]), (60, 2, [60]), (9, 9, [1, 3, 9]), (2, 9, [2])],
)
def test_the_first_round_has_a_tenth_of_the_epochs_and_the_last_nearly_all(n_epochs, n_candidates, rounds):
    estimator = clone(CLASSIFIER).set_params(max_epochs=n_epochs, n_layers=1, n_units=2, batch_size=200)
    search = SNNHalvingGridSearchCV(estimator, {"random_state": range(n_candidates)}, cv=2, refit=False)
    search.fit(X[:40], Y[:40])
    assert search.n_resources_ == rounds
    assert search._last_round(n_candidates) == rounds[-1]


def test_halving_over_rows_is_scikit_learns():
    space = {"lr": [0.001, 0.003, 0.01, 0.03]}
    pair = both(
        CLASSIFIER, space, X, Y, cls=SNNHalvingRandomSearchCV, resource="n_samples", random_state=0, cv=2,
        n_candidates=4, min_resources=40,
    )  # fmt: skip
    assert_equal_results(*pair)


# ---------------------------------------------------------------- spaces


def test_the_papers_grids_have_as_many_settings_as_its_tables():
    sizes = {name: len(ParameterGrid(space)) for name, space in search_spaces.items()}
    assert sizes == {"small": 24, "uci": 216, "tox21": 504, "htru2": 180}


@pytest.mark.parametrize("name", search_spaces)
def test_every_space_can_be_searched(name):
    space = {k: values[:2] for k, values in search_spaces[name].items() if k not in ("n_units", "lr")}
    search = SNNGridSearchCV(clone(CLASSIFIER).set_params(max_epochs=1), space, cv=2, refit=False)
    assert np.isfinite(search.fit(X, Y).cv_results_["mean_test_score"]).all()


# ---------------------------------------------------------------- interrupts and checkpoints


def test_ctrl_c_fills_the_rest_and_goes_on(monkeypatch):
    original = _together.train_in_one_loop
    seen = []

    def train_in_one_loop(*arguments):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        original(*arguments)

    monkeypatch.setattr(_together, "train_in_one_loop", train_in_one_loop)
    search = SNNGridSearchCV(CLASSIFIER, {"n_layers": [1, 2, 3]}, cv=3, scoring="neg_log_loss")
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="the search was interrupted before"):
        with pytest.warns(UserWarning, match="test scores are non-finite"), pytest.raises(KeyboardInterrupt):
            search.fit(X[:114], Y[:114])
    assert np.isnan(search.cv_results_["mean_test_score"]).sum() == 2
    assert search.estimator is CLASSIFIER and not hasattr(search, "best_estimator_")
    seen[:] = [1]
    with pytest.raises(KeyboardInterrupt):
        search.set_params(error_score="raise").fit(X, Y)


@pytest.mark.filterwarnings("ignore:[0-9]+ tasks:UserWarning")  # joblib's
def test_ctrl_c_while_workers_train(monkeypatch):
    class Interrupting(_search.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(_search, "tqdm", Interrupting)
    search = SNNGridSearchCV(CLASSIFIER, {"n_layers": [1, 2, 3, 4]}, cv=3, n_jobs=2)
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="the search was interrupted before"):
        with pytest.warns(UserWarning, match="test scores are non-finite"), pytest.raises(KeyboardInterrupt):
            search.fit(X[:114], Y[:114])
    assert np.isnan(search.cv_results_["mean_test_score"]).sum() == 3


def test_ctrl_c_keeps_the_rounds_of_halving_that_are_done(monkeypatch):
    original = _together.run_epochs

    def run_epochs(trainings, epochs, *arguments):
        if epochs.start > 1:
            raise KeyboardInterrupt
        return original(trainings, epochs, *arguments)

    monkeypatch.setattr(_together, "run_epochs", run_epochs)
    estimator = clone(CLASSIFIER).set_params(max_epochs=9)
    search = SNNHalvingGridSearchCV(estimator, {"lr": [0.001, 0.01, 0.1]}, cv=3)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True] * 3


class Odd(Exception):
    """It can be pickled, but not loaded."""

    def __init__(self, one, other):
        super().__init__(one)


class Oddly(TransformerMixin, BaseEstimator):
    """Fails with an error of its own, or keeps a function that pickle refuses."""

    def __init__(self, fails=False):
        self.fails = fails

    def fit(self, X, y=None):
        if self.fails:
            raise Odd("one", "other")
        self.scale_ = lambda X: 2 * X
        return self

    def transform(self, X):
        return self.scale_(X)


def test_steps_that_pickle_refuses_travel_and_are_kept(tmp_path, monkeypatch, loops):
    """Also in a relative folder: workers have been started in another one."""
    pipe = Pipeline([("odd", Oddly()), ("snn", CLASSIFIER)])
    search = SNNGridSearchCV(pipe, {"odd__fails": [False, True]}, cv=3, checkpoint_dir="here", n_jobs=2)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # what failed is tried again
        with pytest.warns(sklearn.exceptions.FitFailedWarning, match="Odd: one"):
            with pytest.warns(UserWarning, match="test scores are non-finite"):
                scores = search.fit(X, Y).cv_results_["mean_test_score"]
        assert np.isfinite(scores).tolist() == [True, False]
        assert len(list((tmp_path / "here").iterdir())) == 3
        search.set_params(n_jobs=1)
    assert loops == []
    with pytest.raises(Odd):
        search.set_params(error_score="raise").fit(X, Y)


def test_a_finished_fit_is_read_not_trained(tmp_path, loops, monkeypatch):
    folder = tmp_path / "search"
    first = SNNGridSearchCV(CLASSIFIER, RATES, cv=4, scoring="neg_log_loss", checkpoint_dir=folder).fit(X, Y)
    assert sum(loops) == 16 and len(list(folder.iterdir())) == 16
    loops.clear()
    again = clone(first).fit(X, Y)
    assert_equal_results(again, first)
    assert loops == []
    more = (
        clone(first).set_params(param_grid={"lr": [0.003, 0.02], "weight_decay": [0.1]}, n_jobs=2).fit(X, Y)
    )
    assert len(list(folder.iterdir())) == 20 and more.cv_results_["mean_test_score"].shape == (2,)
    # Other rows, other settings of the estimator, other versions are other fits.
    for search, data in (
        (first, (X + 1, Y)),
        (clone(first).set_params(estimator__max_epochs=5), (X, Y)),
    ):
        loops.clear()
        clone(search).fit(*data)
        assert sum(loops) == 16
    loops.clear()
    monkeypatch.setattr("sksnn._checkpoints.version", lambda name: "0")
    clone(first).fit(X, Y)
    assert sum(loops) == 16


def test_a_damaged_file_is_left_out(tmp_path, loops):
    """Fits with whole files have the same scores bit for bit; the three others may round in another way.

    All were once compared bit for bit, though it depends on a hash which files come first, and so in which
    stacks the three are trained again.
    """

    def scores(search):
        results = search.fit(X, Y).cv_results_
        return np.array([results[f"split{i}_test_score"] for i in range(3)])

    search = SNNGridSearchCV(CLASSIFIER, RATES, cv=3, scoring="neg_log_loss", checkpoint_dir=tmp_path)
    first = scores(search)
    files = sorted(tmp_path.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:-7])
    files[1].write_bytes(b"")
    moved = b"cnowhere\nClass\n."  # what a class is, that has been renamed since
    files[2].write_bytes(hashlib.sha256(moved).digest() + moved)
    (tmp_path / "notes.txt").write_text("mine")
    loops.clear()
    with pytest.warns(UserWarning, match="checkpoint_dir holds a damaged file, which is not used"):
        again = scores(clone(search))
    assert (again == first).sum() >= first.size - 3
    np.testing.assert_allclose(again, first, rtol=1e-10)
    assert sum(loops) == 3
    with raises("checkpoint_dir needs an estimator, parameters and data that can be pickled"):
        SNNGridSearchCV(CLASSIFIER, {"architecture": [lambda i, o: None]}, checkpoint_dir=tmp_path).fit(X, Y)
    with raises("checkpoint_dir must be a folder, or a path where one can be made; got"):
        SNNGridSearchCV(CLASSIFIER, RATES, checkpoint_dir=tmp_path / "notes.txt").fit(X, Y)


def test_halving_goes_on_from_its_files(tmp_path, loops):
    estimator = clone(CLASSIFIER).set_params(max_epochs=9)
    search = SNNHalvingGridSearchCV(
        estimator, {"lr": [0.001, 0.003, 0.01]}, cv=3, scoring="neg_log_loss", checkpoint_dir=tmp_path
    ).fit(X, Y)
    assert sum(loops) == 3 * 3 + 3
    for path in sorted(tmp_path.iterdir(), key=os.path.getmtime)[-3:]:
        path.unlink()  # the last round
    loops.clear()
    assert_equal_results(clone(search).fit(X, Y), search)
    assert sum(loops) == 3


def search_in(folder):
    grid = {"lr": [0.003, 0.01], "n_layers": [1, 2, 3, 4, 5, 6]}
    estimator = clone(CLASSIFIER).set_params(max_epochs=20)
    return SNNGridSearchCV(
        estimator, grid, cv=3, scoring="neg_log_loss", checkpoint_dir=folder, refit=False
    ).fit(X, Y)


def search_in_a_copy(folder):
    """A copy that was killed kept tqdm's lock, which copies share: this process waited for it for good."""
    tqdm.set_lock(threading.RLock())
    search_in(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
def test_a_search_that_is_killed_loses_no_finished_fit(tmp_path):
    """Killed twenty times at random moments; what was finished is never trained again."""
    rng, start = np.random.default_rng(0), time.perf_counter()
    whole = search_in(tmp_path / "whole")
    spent = time.perf_counter() - start
    folder, kept = tmp_path / "killed", {}
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=search_in_a_copy, args=(folder,))
        process.start()
        process.join(rng.uniform(0, spent / 4))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        now = {path: path.stat().st_mtime_ns for path in folder.glob("*.checkpoint")}
        assert kept.items() <= now.items()
        kept = now
    assert kept
    assert_equal_results(search_in(folder), whole)
