"""ONNX models predict what the estimator predicts, as onnxruntime runs them."""

import logging
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, TASKS, T, X, Y, raises, unfinished
from helpers import sparse_rows
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from sksnn import SNNClassifier, SNNRegressor
from sksnn.export import register_converters, to_onnx

FEW = np.column_stack([X[:, :3], np.digitize(X[:, 3:], [-0.5, 0.5])])  # the last two columns get indicators
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
MEMBERS = {**SMALL, "n_estimators": 3, "max_epochs": 2}


def run(model, rows):
    """Run a model on an array, or on a frame with an input for each column."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString())
    if isinstance(rows, pd.DataFrame):
        rows = {name: rows[[name]].to_numpy() for name in rows}
    found = session.run(None, rows if isinstance(rows, dict) else {"X": rows})
    return dict(zip([output.name for output in session.get_outputs()], found, strict=True))


@pytest.fixture(autouse=True)
def packages():
    for name in ("onnx", "onnxscript", "skl2onnx", "onnxruntime"):
        pytest.importorskip(name)


pytestmark = unfinished

# ---------------------------------------------------------------- what is predicted


def small_cnn(n_inputs, n_outputs):
    convolutions = nn.Sequential(nn.Unflatten(1, (1, n_inputs)), nn.Conv1d(1, 4, 3), nn.SELU(), nn.Flatten())
    return nn.Sequential(convolutions, nn.Linear(4 * (n_inputs - 2), n_outputs))


CLASSIFIERS = {
    "members of two codes": MEMBERS,
    "one network, float64": {**SMALL, "precision": "float64", "encoding": "thermometer"},
    "no codes, not standardised": {**SMALL, "encoding": None, "standardize": False},
    **{
        name: {**SMALL, "architecture": name}
        for name in ("msra", "batchnorm", "layernorm", "weightnorm", "highway", "resnet")
    },
    "own module": {**SMALL, "architecture": small_cnn},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes(name):
    clf = SNNClassifier(**CLASSIFIERS[name]).fit(FEW, THREE)
    model = to_onnx(clf)
    for rows in (FEW, FEW[:1], FEW[:0]):
        found = run(model, rows)
        expected = clf.predict_proba(FEW)[: len(rows)]
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
        np.testing.assert_array_equal(found["label"], clf.predict(FEW)[: len(rows)])
    assert found["probabilities"].dtype == np.float64 and found["label"].dtype == np.int64


def test_tasks():
    gaps = np.where(np.arange(TASKS.size).reshape(TASKS.shape) % 5 == 0, np.nan, TASKS)
    clf = SNNClassifier(**MEMBERS).fit(X, gaps)
    found = run(to_onnx(clf), X)
    np.testing.assert_allclose(found["probabilities"], clf.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(found["label"], clf.predict(X))


@pytest.mark.parametrize("columns", [1, 2])
def test_values_in_their_units(columns):
    y = np.column_stack([1e4 * T + 1e6, X[:, 1]])[:, :columns]
    reg = SNNRegressor(**MEMBERS).fit(X, y[:, 0] if columns == 1 else y)
    found = run(to_onnx(reg), X)["variable"]
    np.testing.assert_allclose(found, reg.predict(X).reshape(len(X), -1), atol=1e-5 * y.std(axis=0).max())


@pytest.mark.parametrize(
    "settings", [{"loss": "poisson"}, {"loss": "quantile", "quantile": [0.9, 0.1, 0.5]}], ids=str
)
@pytest.mark.parametrize("k", [1, 2])
def test_links_and_quantiles(settings, k):
    reg = SNNRegressor(**{**MEMBERS, "n_estimators": k}, **settings).fit(X, np.exp(X[:, 0]))
    found = run(to_onnx(reg), X)["variable"]
    np.testing.assert_allclose(found, reg.predict(X).reshape(len(X), -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["low", "middle", "high"]),
        np.array(["low", "middle", "high"], dtype=object),
        np.array([-1, 5, 7], dtype=np.int8),
        np.array([0.0, 1.0, 5.0]),
        np.array([False, True, True]),
        np.array([1, 2, 3], dtype=np.uint16),
    ],
    ids=["str", "object", "int8", "float", "bool", "uint16"],
)
def test_labels_of_any_type(names):
    clf = SNNClassifier(**SMALL).fit(X, names[THREE])
    np.testing.assert_array_equal(run(to_onnx(clf), X)["label"], clf.predict(X))


def test_large_values_keep_their_digits_in_float64():
    """Seconds since 1970, some minutes apart: float32 has steps of 128 s there."""
    rows = np.round(1.7e9 + 300 * X)
    clf = SNNClassifier(**SMALL).fit(rows, Y)
    model = to_onnx(clf)
    np.testing.assert_allclose(run(model, rows)["probabilities"], clf.predict_proba(rows), atol=1e-5)
    _, types = register_converters()
    single = to_onnx(clf, initial_types=[("X", types.FloatTensorType([None, 5]))])
    coarse = rows.astype(np.float32)
    found = run(single, coarse)["probabilities"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, clf.predict_proba(coarse.astype(float)), atol=1e-5)
    assert abs(found - clf.predict_proba(rows)).max() > 0.01, "what float32 inputs lose"


def test_an_estimator_of_sparse_rows_takes_dense_ones():
    rows = sparse_rows(X)
    clf = SNNClassifier(**SMALL).fit(rows, Y)
    found = run(to_onnx(clf), rows.toarray())["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(rows), atol=1e-5)


# ---------------------------------------------------------------- what holds an estimator


def test_a_pipeline():
    pipe = make_pipeline(StandardScaler(), SNNRegressor(**SMALL)).fit(X, T)
    np.testing.assert_allclose(run(to_onnx(pipe), X)["variable"][:, 0], pipe.predict(X), atol=1e-5 * T.std())


def test_a_pipeline_of_columns():
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "town": np.where(X[:, 2] > 0, "north", "south")})
    columns = make_column_transformer((StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["town"]))
    pipe = make_pipeline(columns, SNNClassifier(**SMALL)).fit(frame, Y)
    _, types = register_converters()
    number, string = types.DoubleTensorType([None, 1]), types.StringTensorType([None, 1])
    model = to_onnx(pipe, initial_types=[("a", number), ("b", number), ("town", string)])
    np.testing.assert_allclose(run(model, frame)["probabilities"], pipe.predict_proba(frame), atol=1e-5)


def test_skl2onnx_converts_what_holds_one():
    stack = StackingClassifier([("snn", SNNClassifier(**SMALL)), ("linear", LogisticRegression())], cv=2)
    stack.fit(X, Y)
    convert, types = register_converters()
    inputs = [("X", types.DoubleTensorType([None, 5]))]
    model = convert(stack, initial_types=inputs, options={"zipmap": False}, target_opset=22)
    np.testing.assert_allclose(run(model, X)["probabilities"], stack.predict_proba(X), atol=1e-5)


def test_inputs_by_column_are_joined():
    clf = SNNClassifier(**SMALL).fit(X, Y)
    _, types = register_converters()
    inputs = [(name, types.FloatTensorType([None, 1])) for name in "abcde"]
    frame = pd.DataFrame(X.astype(np.float32), columns=list("abcde"))
    found = run(to_onnx(clf, initial_types=inputs), frame)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(frame.to_numpy().astype(float)), atol=1e-5)


# ---------------------------------------------------------------- the file, and errors


def test_the_file_needs_neither_torch_nor_us(tmp_path):
    clf = SNNClassifier(**SMALL).fit(X, Y)
    path = tmp_path / "model.onnx"
    model = to_onnx(clf, path, opset=20)
    assert path.read_bytes() == model.SerializeToString()
    assert {o.domain: o.version for o in model.opset_import}[""] == 20
    np.save(tmp_path / "rows.npy", X)
    code = (
        "import sys, numpy, onnxruntime; s = onnxruntime.InferenceSession('model.onnx'); "
        "numpy.save('found.npy', s.run(['probabilities'], {'X': numpy.load('rows.npy')})[0]); "
        "assert not {'torch', 'sklearn', 'sksnn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), clf.predict_proba(X), atol=1e-5)


def test_exporting_leaves_everything_as_it_was(caplog, capfd):
    clf = SNNClassifier(**SMALL).fit(X, Y)
    before, state = clf.predict_proba(X), torch.get_rng_state()
    level = logging.getLogger("torch.onnx").level
    to_onnx(clf)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert logging.getLogger("torch.onnx").level == level
    assert not [r for r in caplog.records if r.levelno > logging.INFO] and capfd.readouterr() == ("", "")


class DrawsByRows(nn.Module):
    """Loops over the rows, which no graph can do for a free number of them."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return torch.stack([self.layer(row) * float(row[0].item() > 0) for row in x])


def test_what_cannot_be_exported_is_said():
    clf = SNNClassifier(**SMALL).fit(X, Y)
    with raises("opset must be at least 18; got 12. Leave it out for 22."):
        to_onnx(clf, opset=12)
    with raises("estimator must be an SNNClassifier, an SNNRegressor or a Pipeline", TypeError):
        to_onnx(GridSearchCV(clf, {"n_layers": [1]}).fit(X, Y))
    with pytest.raises(NotFittedError):
        to_onnx(SNNClassifier())
    dates = SNNClassifier(**SMALL).fit(X, np.array(["2020-01-01", "2021-01-01"], "M8[D]")[Y])
    with raises("labels must be strings, integers, floats or booleans to be exported; got [datetime"):
        to_onnx(dates)
    own = SNNClassifier(**SMALL, architecture=DrawsByRows).fit(X, Y)
    with raises("cannot be exported: torch.onnx has no operator for"):
        to_onnx(own)


def test_missing_values():
    gaps = np.where(np.arange(FEW.size).reshape(FEW.shape) % 7 == 0, np.nan, FEW)
    clf = SNNClassifier(**MEMBERS).fit(gaps, Y)
    found = run(to_onnx(clf), gaps)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(gaps), atol=1e-5)


def test_categories_are_for_a_pipeline():
    frame = pd.DataFrame({"a": X[:, 0], "town": np.where(X[:, 2] > 0, "north", "south")})
    with raises("column 1 of X holds categories, which cannot be exported. Put a ColumnTransformer"):
        to_onnx(SNNClassifier(**SMALL).fit(frame, Y))


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with raises("Install them with pip install 'sksnn[onnx]'.", ImportError):
        to_onnx(SNNClassifier(**SMALL).fit(X, Y))
