"""scikit-learn's own checks, on several configurations of both estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sksnn import SNNClassifier, SNNRegressor

WEIGHTS_REASON = (
    "a weight of 2 is not the same minibatches as two copies of a row; float32 sums differ in the last bits"
)
EXACT = {"dropout": 0.0, "precision": "float64", "batch_size": 10_000, "lr_schedule": "constant"}
SMALL = {"n_estimators": 1, "n_layers": 2, "n_units": 16, "max_epochs": 25, "lr": 1e-2}

CONFIGURATIONS = {
    "default": {},
    "exact": {**SMALL, **EXACT},
    "early_stopping": {
        **SMALL,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "batch_size": 1,
        "lr": 0.01,
    },
    "deep": {**SMALL, "n_layers": 8, "layer_form": "rectangular", "dropout": 0.0},
    "bf16": {**SMALL, "precision": "bf16", "optimizer": "adamw", "weight_decay": 0.1},
    "members": {**SMALL, "n_estimators": 3},
    "bags": {**SMALL, "n_estimators": 3, "bootstrap": True, "encoding": ("onehot", None)},
}


def _instances():
    for settings in CONFIGURATIONS.values():
        yield SNNClassifier(**settings)
        yield SNNRegressor(**settings)


def bits_may_differ(estimator, check):
    """Say whether a check of weights compares float32 fits, which may or may not round alike."""
    return estimator.precision != "float64" and "check_sample_weight_equivalence" in check.func.__name__


@pytest.mark.filterwarnings("default", "ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(list(_instances()))
def test_scikit_learn_checks(estimator, check):
    try:
        check(estimator)
    except AssertionError:
        if not bits_may_differ(estimator, check):
            raise
        pytest.xfail(WEIGHTS_REASON)
