"""What a pickle or a copy holds, and where it loads."""

import copy
import io
import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
import torch
from conftest import SIX_EPOCHS, SMALL, T, X, Y
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    EpochScoring,
)
from torch import nn

from sksnn import SNNClassifier, SNNRegressor

# ---------------------------------------------------------------- round trips


def plain_dropout_net(n_inputs, n_outputs):
    """Draw from torch's global generator, as a user's own architecture does."""
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, n_outputs))


ROUND_TRIPS = {
    "pickle": lambda est: pickle.loads(pickle.dumps(est)),
    "cloudpickle": lambda est: pickle.loads(pytest.importorskip("cloudpickle").dumps(est)),
    "deepcopy": copy.deepcopy,
    "joblib": lambda est: _through_joblib(est),
}


def _through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@pytest.mark.parametrize("architecture", ["snn", plain_dropout_net], ids=["snn", "callable"])
def test_round_trips_keep_predictions(whole_cancer, trip, architecture):
    X, y = whole_cancer
    clf = make_pipeline(StandardScaler(), SNNClassifier(**SIX_EPOCHS, architecture=architecture)).fit(X, y)
    again = trip(clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(
        again.predict_proba(X.astype(np.float32)), clf.predict_proba(X.astype(np.float32))
    )
    assert again[-1].loss_curve_ == clf[-1].loss_curve_ and again[-1].best_epoch_ == clf[-1].best_epoch_
    trip(SNNRegressor(callbacks=[EpochScoring("r2")])).set_params(n_layers=1)


def test_a_lambda_goes_through_cloudpickle(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, architecture=lambda i, o: nn.Linear(i, o)).fit(X, y)
    again = pickle.loads(pytest.importorskip("cloudpickle").dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("architecture", ["snn", plain_dropout_net], ids=["snn", "callable"])
@pytest.mark.parametrize("how", ["warm_start", "partial_fit"])
def test_training_goes_on_after_a_round_trip(whole_cancer, how, architecture):
    """Optimizer, generators and history survive: the interrupted fit equals the whole one."""
    X, y = whole_cancer
    settings = {
        **SIX_EPOCHS,
        "lr_schedule": "constant",
        "architecture": architecture,
        "warm_start": how == "warm_start",
    }
    go_on = (lambda c: c.fit(X, y)) if how == "warm_start" else lambda c: c.partial_fit(X, y, classes=[0, 1])
    whole, parts = go_on(go_on(SNNClassifier(**settings))), go_on(SNNClassifier(**settings))
    again = go_on(pickle.loads(pickle.dumps(parts)))
    assert again.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(again.predict_proba(X), whole.predict_proba(X))


# ---------------------------------------------------------------- what a pickle holds


def test_a_pickle_is_little_more_than_its_parameters(whole_cancer):
    X, y = whole_cancer
    settings = {
        "n_estimators": 1,
        "n_layers": 8,
        "n_units": 256,
        "layer_form": "rectangular",
        "max_epochs": 1,
        "random_state": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SNNClassifier(**settings).fit(X, y)
        clf.predict(X)
        warm = SNNClassifier(**settings, warm_start=True).fit(X, y)
    size = sum(p.numel() * p.element_size() for p in clf.net_.module_.network.parameters())
    assert size < len(pickle.dumps(clf)) < 1.1 * size
    assert len(pickle.dumps(warm)) > 2.9 * size, "Adam's two moments go along for a warm start"


def test_a_pickle_for_a_warm_start_holds_no_torch_and_no_skorch(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, warm_start=True).fit(X, y)

    class Spy(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(module.split(".")[0])
            return super().find_class(module, name)

    found = set()
    Spy(io.BytesIO(pickle.dumps(clf))).load()
    assert not found & {"torch", "skorch"}, found


def test_a_pickle_without_a_warm_start_holds_no_torch_and_no_skorch():
    """Also with what is needed to build the net as it was trained."""

    class Finder(pickle.Unpickler):
        seen = set()

        def find_class(self, module, name):
            self.seen.add(module.split(".")[0])
            return super().find_class(module, name)

    Finder(io.BytesIO(pickle.dumps(SNNClassifier(**SMALL).fit(X, Y)))).load()
    assert not Finder.seen & {"torch", "skorch"}


def test_a_pickle_keeps_the_size_of_batches():
    """Its net came back with batches of one row."""
    model = SNNClassifier(**SMALL).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.net_.batch_size == model.net_.batch_size == 16
    assert loaded.net_.optimizer_ is None, "loading builds none"


# ---------------------------------------------------------------- parameters changed after fit


def test_parameters_changed_after_fit_do_not_spoil_a_pickle(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS).fit(X, y)
    proba = clf.predict_proba(X)
    clf.set_params(n_layers=7, n_units=3, precision="float64")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), proba)


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


def test_a_dict_of_the_optimizer_changed_after_fit_does_not_spoil_a_pickle():
    params = {"momentum": 0.5}
    model = SNNClassifier(**SMALL, optimizer="sgd", optimizer_params=params).fit(X, Y)
    params["nonsense"] = 1
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded._model.plan.optimizer_params == {"momentum": 0.5}
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


# ---------------------------------------------------------------- where it loads


def test_a_model_fitted_on_a_missing_device_loads_on_the_cpu(whole_cancer, monkeypatch):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, warm_start=True).fit(X, y)
    state = clf.__getstate__()
    model = state["_model"]
    (generators,) = model["generators"]
    model["plan"]["content"]["device"], generators["device"] = "cuda:7", "cuda"
    generators["streams"][1] = np.zeros(16, np.uint8)  # a CUDA generator's state is 16 bytes
    loaded = SNNClassifier.__new__(SNNClassifier)
    with pytest.warns(
        UserWarning, match=re.escape("fitted with device='cuda:7', which is not available here")
    ):
        loaded.__setstate__(state)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.set_params(device="cpu").fit(X, y)
    assert loaded.n_iter_ == 12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_pickle_from_cuda_loads_without_it(whole_cancer, monkeypatch):
    X, y = whole_cancer
    clf = SNNClassifier(**SIX_EPOCHS, device="cuda", warm_start=True).fit(X, y)
    stored = pickle.dumps(clf)
    np.testing.assert_array_equal(pickle.loads(stored).predict_proba(X), clf.predict_proba(X))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="not available here"):
        np.testing.assert_allclose(pickle.loads(stored).predict_proba(X), clf.predict_proba(X), atol=1e-2)


def test_an_estimator_loaded_in_inference_mode_predicts(cancer):
    """Tensors made there count no versions, which the float64 copy of the network asked for."""
    X, y = cancer
    fitted = SNNClassifier(**SMALL).fit(X, y)
    with torch.inference_mode():
        loaded = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
