"""Saved estimators: plain values, versions, files of earlier releases, and skops."""

import functools
import io
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from conftest import SMALL, TASKS, T, X, Y, raises, unfinished
from golden.pickles import FOLDER, predictions
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sksnn
from sksnn import SNNClassifier, SNNRegressor
from sksnn.networks import SNN

pytestmark = unfinished
MEMBERS = {**SMALL, "n_estimators": 2, "max_epochs": 2}

# ---------------------------------------------------------------- earlier releases

RELEASES = {path.stem: pickle.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.pkl"))}
SAVED = {f"{release}, {name}": case for release, cases in RELEASES.items() for name, case in cases.items()}


def test_this_release_is_recorded():
    assert sksnn.__version__ in RELEASES


@pytest.mark.parametrize("case", SAVED.values(), ids=SAVED)
def test_estimators_of_every_release_load_and_go_on(case):
    model = pickle.loads(case["pickle"])
    np.testing.assert_allclose(predictions(model, case["X"]), case["predictions"], rtol=1e-5, atol=1e-6)
    assert model.get_params().keys() == type(model)().get_params().keys()
    if is_classifier(model):  # an attribute that not every release had
        assert model.member_weights_.sum() == pytest.approx(1)
    loaded = len(model.loss_curve_)
    y = model.predict(case["X"])  # something of the right kind to learn
    if model.warm_start:
        assert len(model.fit(case["X"], y).loss_curve_) == loaded + model.max_epochs
    assert len(model.partial_fit(case["X"], y).loss_curve_) > loaded


# ---------------------------------------------------------------- versions


def state_of(estimator, **changes):
    state = estimator.__getstate__()
    return {**state, **changes, "_versions": {**state["_versions"], **changes.get("_versions", {})}}


def test_a_pickle_carries_versions():
    for estimator in (SNNClassifier(), SNNRegressor(**SMALL).fit(X, T)):
        found = estimator.__getstate__()["_versions"]
        assert found["sksnn"] == sksnn.__version__
        assert (found["numpy"], found["torch"]) == (np.__version__, str(torch.__version__))
        assert found["scikit-learn"] == sklearn.__version__ and set(found) >= {"python", "scipy"}
        assert "_versions" not in vars(pickle.loads(pickle.dumps(estimator)))


def test_a_newer_release_is_a_warning():
    clf = SNNClassifier(**SMALL).fit(X, Y)
    state = state_of(clf, a_new_parameter=3, _versions={"sksnn": "99.0.0"})
    with pytest.warns(UserWarning, match=r"saved by sksnn 99\.0\.0, which is newer than the installed"):
        again = SNNClassifier.__new__(SNNClassifier)
        again.__setstate__(state)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.get_params().keys() == clf.get_params().keys()


@pytest.mark.parametrize("version", ["0.0.1", "99.0.0"])
@pytest.mark.filterwarnings("ignore:.*which is newer than the installed")
def test_a_state_that_does_not_fit_is_an_error_with_the_versions(version):
    state = state_of(SNNClassifier(**SMALL).fit(X, Y), _versions={"sksnn": version})
    del state["_model"]["networks"]
    message = f"this SNNClassifier was saved by sksnn {version}, python "
    with raises(message) as caught:
        SNNClassifier.__new__(SNNClassifier).__setstate__(state)
    assert "Load it with the version that saved it, or fit it again." in str(caught.value)
    state["_versions"] = {}
    with raises("was saved by an unknown version, and cannot be loaded by sksnn"):
        SNNClassifier.__new__(SNNClassifier).__setstate__(state)


def test_a_state_without_versions_that_fits_loads():
    reg = SNNRegressor(**SMALL).fit(X, T)
    state = reg.__getstate__()
    del state["_versions"]
    again = SNNRegressor.__new__(SNNRegressor)
    again.__setstate__(state)
    np.testing.assert_array_equal(again.predict(X), reg.predict(X))


def test_parameters_that_came_later_have_their_defaults():
    state = state_of(SNNClassifier(n_layers=3), _versions={"sksnn": "0.0.1"})
    del state["max_grad_norm"], state["lr"]
    again = SNNClassifier.__new__(SNNClassifier)
    again.__setstate__(state)
    assert again.get_params() == SNNClassifier(n_layers=3).get_params()


# ---------------------------------------------------------------- what a state holds


class Spy(pickle.Unpickler):
    """Lists the modules that a pickle imports from."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.modules = set()

    def find_class(self, module, name):
        self.modules.add(module)
        return super().find_class(module, name)


FRAME = pd.DataFrame({"a": np.where(X[:, 1] > 1, np.nan, X[:, 0]), "town": np.where(X[:, 2] > 0, "n", "s")})
FITTED = {
    "classes": lambda: SNNClassifier(**MEMBERS).fit(X, Y),
    "names": lambda: SNNClassifier(**SMALL).fit(X, np.array(["no", "yes"])[Y]),
    "tasks": lambda: SNNClassifier(**SMALL, class_weight={0: 1, 1: 3}).fit(X, TASKS),
    "values": lambda: SNNRegressor(**MEMBERS).fit(X, T),
    "quantile": lambda: SNNRegressor(**SMALL, loss="quantile", quantile=0.9).fit(X, TASKS),
    "batch norm": lambda: SNNClassifier(**SMALL, architecture="batchnorm").fit(X, Y),
    "early stopping": lambda: SNNClassifier(**SMALL, early_stopping=True).fit(X, Y),
    "bags": lambda: SNNRegressor(**MEMBERS, bootstrap=True).fit(X, T),
    "warm": lambda: SNNClassifier(**SMALL, warm_start=True).fit(X, Y),
    "chunks": lambda: SNNRegressor(**SMALL).partial_fit(X, T),
    "categories": lambda: SNNClassifier(**SMALL).fit(FRAME, Y),
    "not fitted": lambda: SNNClassifier(**SMALL),
}


@pytest.mark.parametrize("name", ["classes", "tasks", "values", "quantile", "warm"])
def test_a_pickle_names_no_code_of_ours_but_the_estimator(name):
    spy = Spy(pickle.dumps(FITTED[name]()))
    spy.load()
    assert {name for name in spy.modules if name.split(".")[0] != "numpy"} == {"sksnn.estimators"}


def test_a_state_cannot_name_the_code_of_others():
    state = state_of(SNNRegressor(**SMALL).fit(X, T))
    state["_model"]["target"]["content"]["link"] = {"name": "os:system"}
    with raises("a saved estimator names os:system, which is not of sksnn."):
        SNNRegressor.__new__(SNNRegressor).__setstate__(state)


def test_a_partial_architecture_goes_on_behind_a_pickle():
    """The plan's architecture stays the parameter itself: a partial equals nothing but itself."""
    own = functools.partial(SNN, hidden_layer_sizes=(8, 8), fixed_point=(0.1, 1.5))
    settings = {**SMALL, "architecture": own, "warm_start": True, "lr_schedule": "constant"}
    whole = SNNClassifier(**settings).fit(X, Y).fit(X, Y)
    parts = pickle.loads(pickle.dumps(SNNClassifier(**settings).fit(X, Y))).fit(X, Y)
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


# ---------------------------------------------------------------- skops

TRUSTED = ["sksnn.estimators.SNNClassifier", "sksnn.estimators.SNNRegressor"]


def through_skops(model, trusted=TRUSTED):
    sio = pytest.importorskip("skops.io")
    data = sio.dumps(model)
    assert set(sio.get_untrusted_types(data=data)) <= set(trusted)
    return sio.loads(data, trusted=trusted)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_skops_trusts_all_but_the_estimator(make):
    model = make()
    again = through_skops(model)
    assert repr(again) == repr(model)
    if make is FITTED["categories"]:
        np.testing.assert_array_equal(predictions(again, FRAME), predictions(model, FRAME))
    elif model.__sklearn_is_fitted__():
        np.testing.assert_array_equal(predictions(again, X), predictions(model, X))
        np.testing.assert_array_equal(
            predictions(again, X.astype(np.float32)), predictions(model, X.astype(np.float32))
        )
        assert again.loss_curve_ == model.loss_curve_


@pytest.mark.parametrize("name", ["warm", "chunks"])
def test_training_goes_on_behind_skops(name):
    model = FITTED[name]()
    y = model.predict(X)
    again = through_skops(model).partial_fit(X, y)
    np.testing.assert_array_equal(predictions(again, X), predictions(model.partial_fit(X, y), X))


def test_skops_and_what_holds_an_estimator():
    pipe = make_pipeline(StandardScaler(), SNNClassifier(**MEMBERS)).fit(X, Y)
    np.testing.assert_array_equal(through_skops(pipe).predict_proba(X), pipe.predict_proba(X))
    search = GridSearchCV(SNNClassifier(**SMALL), {"n_layers": [1, 2]}, cv=2).fit(X, Y)
    own = ["sklearn.metrics._scorer._PassthroughScorer", "sklearn.model_selection._split.StratifiedKFold"]
    again = through_skops(search, [*TRUSTED, *own])
    np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))


def own_module(n_inputs, n_outputs):
    return nn.Linear(n_inputs, n_outputs)


def test_skops_asks_for_what_users_brought():
    sio = pytest.importorskip("skops.io")
    clf = SNNClassifier(**SMALL, architecture=own_module).fit(X, Y)
    data = sio.dumps(clf)
    asked = sio.get_untrusted_types(data=data)
    assert set(asked) - set(TRUSTED) == {f"{__name__}.own_module"}
    np.testing.assert_array_equal(sio.loads(data, trusted=asked).predict_proba(X), clf.predict_proba(X))
