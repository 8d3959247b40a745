"""One property over the product of what a user can hand in: a finite model, or a documented error."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sksnn import SNNClassifier, SNNRegressor

N_ROWS, N_COLUMNS = 40, 4


def _read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def _columns(X):
    """Columns of numbers with gaps, of words, of words that are nearly all different, and of numbers."""
    few = np.where(X[:, 1] > 0, "high", "low").astype(object)
    few[X[:, 1] > 1] = None
    many = [f"{x:.1f}" for x in 20 * X[:, 2]]
    return {"a": np.where(X[:, 0] > 1, np.nan, X[:, 0]), "b": few.tolist(), "c": many, "d": X[:, 3]}


LAYOUTS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: np.rint(10 * X).astype(np.int64),
    "int8": lambda X: np.rint(10 * X).astype(np.int8),
    "uint8": lambda X: np.rint(10 * X + 100).astype(np.uint8),
    "bool": lambda X: X > 0,
    "fortran": np.asfortranarray,
    "read_only": _read_only,
    "reversed": lambda X: X[::-1, ::-1],
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=list("abcd")),
    "gaps": lambda X: np.where(X > 1, np.nan, X),
    "float32 gaps": lambda X: np.where(X > 1, np.nan, X).astype(np.float32),
    "torch gaps": lambda X: torch.tensor(np.where(X > 1, np.nan, X)),
    "table": lambda X: pd.DataFrame(_columns(X)),
    "polars table": lambda X: pl.DataFrame(_columns(X)),
    "csr": lambda X: sparse.csr_matrix(np.where(X > 0, X, 0)),
    "csr_float32": lambda X: sparse.csr_matrix(np.where(X > 0, X, 0).astype(np.float32)),
    "csc_array": lambda X: sparse.csc_array(np.where(X > 0, X, 0)),
    "torch": torch.tensor,
    "torch_float32": lambda X: torch.tensor(X, dtype=torch.float32, requires_grad=True),
}

# Kind of target -> how it follows from the informative columns.
TARGETS = {
    "binary strings": lambda Z: np.where(Z[:, 0] > 0, "yes", "no"),
    "multiclass": lambda Z: np.digitize(Z[:, 0], [-0.5, 0.5]) * 5 - 3,  # -3, 2, 7
    "bool": lambda Z: Z[:, 0] > 0,
    "1 task": lambda Z: (Z[:, :1] > 0).astype(float),
    "2 tasks": lambda Z: (Z[:, :2] > 0).astype(float),
    "3 tasks": lambda Z: (Z[:, :3] > 0).astype(float),
    "regression": lambda Z: 100 + 10 * Z[:, 0],
    "1 output": lambda Z: Z[:, :1] * 3,
    "2 outputs": lambda Z: Z[:, :2] * [1, -50],
}

MISSING_1D = "NaN or missing_label in a 1-D target"
DOCUMENTED = {  # pattern -> when it may appear
    MISSING_1D: lambda case: case["missing"] != "none" and not _is_2d(case["target"]),
    r"class_weight is a list of \d but y has \d tasks": lambda case: case["class_weight"] == "list",
    r"The classes, \[.*\], are not in class_weight|class_weight": lambda case: (
        case["class_weight"] in ("dict", "list") and not _has_tasks(case)
    ),
    r"The 'class_weight' parameter": lambda case: case["class_weight"] == "list",
    r"has no label among the \d+ training rows": lambda case: case["missing"] == "a whole column",
    r"sample_weight must not be all zero": lambda case: case["weight"] == "zeros",
    r"sample_weight must not be negative": lambda case: case["weight"] == "negative",
    r"loss='(poisson|gamma)' needs a y": lambda case: (
        case["loss"] in ("poisson", "gamma") and case["target"] in ("1 output", "2 outputs")
    ),
}


def _mean_output(estimator, X, y):
    """A score: higher where the classifier is sure, or predictions are high."""
    assert X.shape[0] == len(y)
    return float(
        np.mean(estimator.predict_proba(X).max(axis=1) if _classifies(estimator) else estimator.predict(X))
    )


def _classifies(estimator):
    return hasattr(estimator, "predict_proba")


def _fourth_power(output, y):
    return (output - y) ** 4


def _is_2d(target):
    return target[0].isdigit()


def _is_regression(target):
    return "output" in target or target == "regression"


def _has_tasks(case):
    """Whether y stays 2-D: one complete column is ravelled."""
    return "task" in case["target"] and (case["target"] != "1 task" or case["missing"] != "none")


def _hide(y, how):
    """Mark labels as missing."""
    if how == "none":
        return y
    hidden = np.zeros(y.shape, bool)
    if how == "some":
        hidden[::3] = True
    elif how == "whole rows":
        hidden[:5] = True
    else:
        hidden[..., -1] = True
    if y.dtype.kind in "Ub":
        return np.where(hidden, None, y.astype(object))
    return np.where(hidden, np.nan, y)


def _make(case):
    rng = np.random.RandomState(0)
    Z = rng.normal(size=(N_ROWS, N_COLUMNS))
    y = _hide(TARGETS[case["target"]](Z), case["missing"])
    if case["constant"]:
        Z[:, 1] = 3.0
    weight = {
        "none": None,
        "uniform": np.full(N_ROWS, 7.0),
        "some zero": np.arange(N_ROWS) % 4 * 1.0,
        "zeros": np.zeros(N_ROWS),
        "negative": np.linspace(-1, 1, N_ROWS),
    }[case["weight"]]
    params = {
        "hidden_layer_sizes": (8,),
        "max_epochs": 2,
        "lr": 0.01,
        "random_state": 0,
        "early_stopping": case["early_stopping"],
        "validation_fraction": 0.2,
        "batch_size": case["batch_size"],
        "precision": case["precision"],
        "n_estimators": case["n_estimators"],
        "bootstrap": case["bootstrap"],
    }
    params["scoring"] = {"loss": "loss", "score": _mean_output}[case["scoring"]]
    if _is_regression(case["target"]):
        loss = _fourth_power if case["loss"] == "own" else case["loss"]
        return SNNRegressor(**params, loss=loss), LAYOUTS[case["layout"]](Z), y, weight
    classes = [0, 1] if "task" in case["target"] else np.unique(TARGETS[case["target"]](Z)).tolist()
    one = {label: 1.0 + i for i, label in enumerate(classes)}
    class_weight = {"none": None, "balanced": "balanced", "dict": one, "list": [one, one]}[
        case["class_weight"]
    ]
    estimator = SNNClassifier(**params, class_weight=class_weight, label_smoothing=case["label_smoothing"])
    return estimator, LAYOUTS[case["layout"]](Z), y, weight


def _outputs(estimator, X):
    names = ("predict", "predict_proba", "decision_function", "predict_log_proba")
    return {name: getattr(estimator, name)(X) for name in names if hasattr(estimator, name)}


def _shapes(case):
    if _is_regression(case["target"]):
        return {"predict": (N_ROWS, int(case["target"][0])) if _is_2d(case["target"]) else (N_ROWS,)}
    if _has_tasks(case):
        shape = (N_ROWS, int(case["target"][0]))
        return dict.fromkeys(("predict", "predict_proba", "decision_function", "predict_log_proba"), shape)
    n_classes = 3 if case["target"] == "multiclass" else 2
    return {
        "predict": (N_ROWS,),
        "predict_proba": (N_ROWS, n_classes),
        "decision_function": (N_ROWS, 3) if n_classes == 3 else (N_ROWS,),
        "predict_log_proba": (N_ROWS, n_classes),
    }


def _check_model(case, estimator, X, y):
    assert np.isfinite(estimator.loss_curve_).all() and estimator.n_features_in_ == N_COLUMNS
    divides = isinstance(estimator, SNNRegressor) and case["n_estimators"] > 1 and not case["bootstrap"]
    if case["early_stopping"] != "auto" or not divides:  # it depends on the rows that have weight and a label
        assert (estimator.validation_loss_curve_ is not None) == (case["early_stopping"] is True)
    outputs = _outputs(estimator, X)
    assert {name: values.shape for name, values in outputs.items()} == _shapes(case)
    assert all(np.isfinite(v).all() for v in outputs.values() if v.dtype.kind == "f")
    assert all(p.isfinite().all() for p in estimator.net_.module_.parameters())
    if "predict_proba" in outputs:
        proba = outputs["predict_proba"]
        assert (0 <= proba).all() and (proba <= 1).all()
        if not _has_tasks(case):
            np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
            np.testing.assert_array_equal(estimator.classes_[proba.argmax(axis=1)], outputs["predict"])
            assert estimator.classes_.tolist() == np.unique(y[:N_ROWS]).tolist()
    assert np.isfinite(estimator.score(X, y))
    for name, values in _outputs(pickle.loads(pickle.dumps(estimator)), X).items():
        np.testing.assert_array_equal(values, outputs[name])


CASES = st.fixed_dictionaries(
    {
        "layout": st.sampled_from(sorted(LAYOUTS)),
        "target": st.sampled_from(sorted(TARGETS)),
        "missing": st.sampled_from(["none", "none", "none", "some", "some", "whole rows", "a whole column"]),
        "weight": st.sampled_from(
            ["none", "none", "uniform", "uniform", "some zero", "some zero", "zeros", "negative"]
        ),
        "class_weight": st.sampled_from(["none", "none", "balanced", "dict", "dict", "list"]),
        "early_stopping": st.sampled_from([True, False, "auto"]),
        "batch_size": st.sampled_from(["auto", 1, 7, N_ROWS, 1000]),
        "precision": st.sampled_from(["auto", "float64", "bf16"]),
        "loss": st.sampled_from(
            ["squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "own"]
        ),
        "scoring": st.sampled_from(["loss", "score"]),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "constant": st.booleans(),
        "n_estimators": st.sampled_from([1, 1, 3]),
        "bootstrap": st.sampled_from([False, False, True]),
    }
)
PLAIN = {
    "layout": "float64",
    "target": "2 tasks",
    "missing": "none",
    "weight": "none",
    "class_weight": "none",
    "early_stopping": False,
    "batch_size": "auto",
    "precision": "auto",
    "loss": "squared_error",
    "scoring": "loss",
    "label_smoothing": 0.0,
    "constant": False,
    "n_estimators": 1,
    "bootstrap": False,
}


@example(PLAIN)
@example({**PLAIN, "target": "1 task", "missing": "some", "class_weight": "balanced", "layout": "csr"})
@example({**PLAIN, "layout": "polars table", "missing": "some", "weight": "some zero", "n_estimators": 3})
@example({**PLAIN, "layout": "table", "target": "regression", "bootstrap": True, "early_stopping": True})
@example({**PLAIN, "class_weight": "list", "missing": "whole rows", "weight": "some zero"})
@example({**PLAIN, "missing": "a whole column"})
@example({**PLAIN, "target": "multiclass", "missing": "some"})
@example({**PLAIN, "n_estimators": 3, "early_stopping": True, "missing": "some", "weight": "some zero"})
@example({**PLAIN, "n_estimators": 3, "bootstrap": True, "early_stopping": True, "target": "multiclass"})
@example({**PLAIN, "bootstrap": True, "target": "1 output", "missing": "a whole column"})
@example(
    {**PLAIN, "n_estimators": 3, "early_stopping": True, "target": "1 output", "missing": "a whole column"}
)
@given(CASES)
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_finite_model_or_a_documented_error(case):
    estimator, X, y, weight = _make(case)
    with warnings.catch_warnings():
        # Two epochs teach little; one complete column is ravelled with scikit-learn's own warning.
        warnings.filterwarnings("ignore", "the final training loss", ConvergenceWarning)
        warnings.filterwarnings("ignore", "A column-vector y was passed")
        try:
            estimator.fit(X, y, sample_weight=weight)
        except ValueError as error:
            patterns = [p for p in DOCUMENTED if re.search(p, str(error))]
            assert any(DOCUMENTED[p](case) for p in patterns), str(error)
            assert not hasattr(estimator, "net_") and not hasattr(estimator, "classes_")
            event(patterns[0])
            return
        for pattern, due in DOCUMENTED.items():
            if pattern in (
                MISSING_1D,
                "sample_weight must not be all zero",
                "sample_weight must not be negative",
            ):
                assert not due(case), f"no error: {pattern}"
        event("a model")
        _check_model(case, estimator, X, y)


def test_the_product_reaches_both_outcomes():
    """The property is not vacuous: every layout and every kind of target is accepted as it is."""
    for layout in LAYOUTS:
        estimator, X, y, _ = _make({**PLAIN, "layout": layout})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the final training loss", ConvergenceWarning)
            assert estimator.fit(X, y).predict(X).shape == y.shape
    with pytest.raises(ValueError, match=MISSING_1D):
        estimator, X, y, _ = _make({**PLAIN, "target": "regression", "missing": "some"})
        estimator.fit(X, y)
