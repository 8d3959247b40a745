"""What the caller told torch and numpy: it decides nothing in a fit, and comes back."""

import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from abuse import CALLERS, default_dtype
from conftest import SIX_EPOCHS, SMALL, T, X, Y, raises, unfinished
from helpers import SKLEARN, Breaking, small_module
from sklearn.utils.fixes import parse_version

from sksnn import SNNClassifier, SNNRegressor
from sksnn.diagnostics import layer_moments
from sksnn.networks import SNN

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


@unfinished
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("kind", "way"), [*(("classes", way) for way in WAYS), ("tasks", "defaults"), ("regression", "defaults")]
)
def test_only_the_estimators_own_parameters_decide(caller, kind, way):
    """Another default dtype gave other models; fits failed in inference mode and under autocast."""
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


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_a_fit_under_no_grad_learns(whole_cancer, n_estimators):
    """Calibration of members failed, since it uses gradients, too."""
    with torch.no_grad():
        clf = SNNClassifier(**{**SIX_EPOCHS, "n_estimators": n_estimators}).fit(*whole_cancer)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0] and (clf.temperature_ == 1) == (n_estimators == 1)


def test_a_network_built_by_hand_has_the_default_dtype():
    """What estimators do about the default dtype is theirs alone."""
    with default_dtype(torch.float64), warnings.catch_warnings():
        assert SNN(3, 2, (4,))(torch.zeros(1, 3)).dtype == torch.float64


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


@pytest.mark.skipif(SKLEARN < parse_version("1.7"), reason="finds cpu and cpu to be different devices")
def test_torch_rows_are_taken_under_array_api_dispatch():
    """'torch.dtype' object has no attribute 'kind', it said. scipy reads its switch when it is imported."""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAY_API], env=environment, check=True, capture_output=True
    )


def test_import_leaves_warnings_alone():
    filters = list(warnings.filters)
    import sksnn  # noqa: F401

    assert warnings.filters == filters
