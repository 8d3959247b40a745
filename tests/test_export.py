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
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
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
    "members of two forms": {**MEMBERS, "n_units": (16, 8), "layer_form": ("conic", "rectangular")},
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


# ---------------------------------------------------------------- categories that the estimator encodes

TOWNS = np.array(["north", "", "Orléans"], object)
MIXED = pd.DataFrame(
    {
        "a": np.where(np.arange(120) % 7 == 0, np.nan, X[:, 0]),
        "town": np.where(np.arange(120) % 5 == 0, None, TOWNS[THREE]),
        "size": pd.Categorical(np.where(np.arange(120) % 9 == 0, np.nan, np.array([0.1, 7, -3])[THREE])),
        "nothing": np.full(120, None),
        "part": pd.cut(X[:, 1], 3),
        "b": X[:, 2],
    }
)


def feed(session, frame):
    """Return the inputs as the guide tells users to make them."""
    return {
        entry.name: frame[[column]].to_numpy(object if entry.type == "tensor(string)" else float)
        for entry, column in zip(session.get_inputs(), frame, strict=True)
    }


def run_frame(model, frame):
    """Run a model whose inputs are the columns of a frame."""
    runtime = pytest.importorskip("onnxruntime")
    return run(model, feed(runtime.InferenceSession(model.SerializeToString()), frame))


def with_news(frame):
    """Put categories that fit has not seen into some rows."""
    news = frame.astype({"town": object, "size": float, "part": str})
    news.loc[::4, ["town", "size", "part"]] = "elsewhere", 0.2, "(5, 6]"
    return news


@pytest.mark.parametrize("name", ["members of two codes", "no codes, not standardised", "resnet"])
def test_categories(name):
    clf = SNNClassifier(**CLASSIFIERS[name]).fit(MIXED, THREE)
    model = to_onnx(clf)
    assert [entry.name for entry in model.graph.input] == [*MIXED]
    assert clf._model.columns.kinds == ("strings", "numbers", "nothing", "strings")
    as_text = MIXED.astype({"part": str})
    for rows, expected in ((as_text, MIXED), (as_text[:1], MIXED[:1]), (with_news(MIXED),) * 2):
        found = run_frame(model, rows)
        np.testing.assert_allclose(found["probabilities"], clf.predict_proba(expected), atol=1e-5)
        np.testing.assert_array_equal(found["label"], clf.predict(expected))
    assert found["probabilities"].dtype == np.float64
    assert run_frame(model, as_text[:0])["probabilities"].shape == (0, 3)


def test_categories_of_tasks_and_regressors():
    gaps = np.where(np.arange(TASKS.size).reshape(TASKS.shape) % 5 == 0, np.nan, TASKS)
    rows = with_news(MIXED)
    clf = SNNClassifier(**MEMBERS).fit(rows, gaps)
    np.testing.assert_allclose(
        run_frame(to_onnx(clf), rows)["probabilities"], clf.predict_proba(rows), atol=1e-5
    )
    reg = SNNRegressor(**MEMBERS).fit(rows, T)
    found = run_frame(to_onnx(reg), rows)["variable"][:, 0]
    np.testing.assert_allclose(found, reg.predict(rows), atol=1e-5 * T.std())


@given(
    st.lists(st.sampled_from(["", "nan", "None", "a", "A", "a ", "ß", "2", "2.0"]), min_size=2, max_size=9)
)
@settings(max_examples=5, deadline=None)
def test_any_strings_are_told_apart(towns):
    frame = pd.DataFrame({"town": np.resize(np.array(towns, object), 120), "b": X[:, 1]})
    clf = SNNClassifier(**SMALL).fit(frame, Y)
    news = frame.assign(town=np.where(frame.town == towns[0], "never seen", frame.town))
    model = to_onnx(clf)
    for rows in (frame, news):
        np.testing.assert_allclose(
            run_frame(model, rows)["probabilities"], clf.predict_proba(rows), atol=1e-5
        )


def test_more_categories_than_indicators():
    """Rare ones share an indicator."""
    ids = np.random.default_rng(0).zipf(1.3, size=2000) % 700
    frame = pd.DataFrame({"id": ids.astype(str), "number": ids})
    clf = SNNClassifier(**SMALL, categorical_features=[0, 1]).fit(frame, ids % 2)
    found = run_frame(to_onnx(clf), frame)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(frame), atol=1e-5)


def test_a_table_of_numbers_is_one_input_with_categories_too():
    rows = np.column_stack([X, np.where(Y, np.nan, THREE), Y])
    clf = SNNClassifier(**SMALL, categorical_features=[5, 6]).fit(rows, THREE)
    rows[::3, 6] = 5  # not seen in fit
    found = run(to_onnx(clf), rows)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(rows), atol=1e-5)


def test_columns_without_names_and_tables_of_strings():
    _, types = register_converters()
    rows = np.column_stack([TOWNS[THREE], TOWNS[Y]])
    clf = SNNClassifier(**SMALL, categorical_features=[0, 1]).fit(rows, Y)
    expected = clf.predict_proba(rows)
    found = run(to_onnx(clf), {"x0": rows[:, :1], "x1": rows[:, 1:]})["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = run(to_onnx(clf, initial_types=[("X", types.StringTensorType([None, 2]))]), rows)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_categories_of_whole_numbers_may_be_int64():
    _, types = register_converters()
    frame = pd.DataFrame({"size": THREE, "b": X[:, 1]})
    clf = SNNClassifier(**SMALL, categorical_features=["size"]).fit(frame, Y)
    inputs = [("size", types.Int64TensorType([None, 1])), ("b", types.DoubleTensorType([None, 1]))]
    found = run(to_onnx(clf, initial_types=inputs), frame)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(frame), atol=1e-5)
    assert found.dtype == np.float64


def test_categories_in_a_pipeline():
    """The Pipeline encodes them as numbers, or hands them on one by one."""
    frame = MIXED[["a", "town", "b"]].assign(town=TOWNS[THREE])
    _, types = register_converters()
    number, string = types.DoubleTensorType([None, 1]), types.StringTensorType([None, 1])
    inputs = [("a", number), ("town", string), ("b", number)]
    first = make_column_transformer((OrdinalEncoder(), ["town"]), (StandardScaler(), ["a", "b"]))
    for pipe in (
        make_pipeline(first, SNNClassifier(**SMALL, categorical_features=[0])),
        make_pipeline(SNNClassifier(**SMALL)),
    ):
        found = run_frame(to_onnx(pipe.fit(frame, Y), initial_types=inputs), frame)["probabilities"]
        np.testing.assert_allclose(found, pipe.predict_proba(frame), atol=1e-5)
    passing = make_column_transformer((StandardScaler(), ["a", "b"]), remainder="passthrough")
    pipe = make_pipeline(passing.set_output(transform="pandas"), SNNClassifier(**SMALL)).fit(frame, Y)
    with raises("let it encode the strings, since skl2onnx joins all that leaves it."):
        to_onnx(pipe, initial_types=inputs)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [("nn", "[] of 2"), ("sn", "[0] of 2"), ("nsn", "[1] of 3"), ("n", "[] of 1")],
)
def test_inputs_are_of_the_kind_that_columns_had(kinds, found):
    _, types = register_converters()
    frame = MIXED[["a", "town"]]
    clf = SNNClassifier(**SMALL).fit(frame, Y)
    of_kind = {"n": types.DoubleTensorType([None, 1]), "s": types.StringTensorType([None, 1])}
    inputs = [(f"x{i}", of_kind[kind]) for i, kind in enumerate(kinds)]
    with raises(
        f"where X had them in fit, in columns [1] of 2; got them in columns {found}. Give initial_types"
    ):
        to_onnx(clf, initial_types=inputs)


def test_categories_that_float64_does_not_hold():
    frame = pd.DataFrame({"a": X[:, 0], "id": 2**60 + THREE})
    clf = SNNClassifier(**SMALL, categorical_features=["id"]).fit(frame, Y)
    with raises("column 1 of X has the category 1152921504606846977, which float64 does not hold exactly"):
        to_onnx(clf)


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
        convert, types = register_converters()
        inputs = [("X", types.DoubleTensorType([None, 5]))]
        convert(clf, initial_types=inputs, options={"zipmap": False}, target_opset=12)
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


@pytest.mark.parametrize("opset", [12, 99, 20.5, "22"])
def test_sets_of_operators_are_checked_before_anything_is_exported(opset):
    """The architecture was blamed for 20.5, "22" was a TypeError, and 99 an error of skl2onnx at the end."""
    with raises("opset must be a whole number from 18 to ") as error:
        to_onnx(SNNClassifier(**SMALL).fit(X, Y), opset=opset)
    assert f"got {opset!r}. Leave it out for 22." in str(error.value)


@pytest.mark.parametrize("width", [4, 6])
def test_inputs_have_as_many_columns_as_x(width):
    """A model was written that onnxruntime refused, with one column too few or too many."""
    types = register_converters()[1]
    with raises(f"the inputs must have the 5 columns that X had in fit; got {width}. Give initial_types"):
        to_onnx(
            SNNClassifier(**SMALL).fit(X, Y), initial_types=[("X", types.DoubleTensorType([None, width]))]
        )


def test_skl2onnx_converts_with_options_of_its_own():
    """With its default, a dictionary of probabilities for each row, there was a NameError about "nocl"."""
    convert, types = register_converters()
    clf = SNNClassifier(**SMALL).fit(X, np.array(["no", "yes"])[Y])
    found = run(convert(clf, initial_types=[("X", types.FloatTensorType([None, 5]))]), X.astype(np.float32))
    assert found["output_label"].tolist() == clf.predict(X).tolist()
    by_class = pd.DataFrame(found["output_probability"])[clf.classes_]
    np.testing.assert_allclose(by_class, clf.predict_proba(X), atol=1e-5)


def test_columns_with_names_of_outputs():
    """The inputs of such columns silently got other names."""
    frame = pd.DataFrame({"label": np.where(X[:, 0] > 0, "a", "b"), "size": X[:, 1]})
    clf = SNNClassifier(**SMALL).fit(frame, Y)
    with raises("inputs must not be named as outputs of the model are; got ['label']. Give initial_types"):
        to_onnx(clf)
    types = register_converters()[1]
    named = [("kind", types.StringTensorType([None, 1])), ("size", types.DoubleTensorType([None, 1]))]
    found = run(to_onnx(clf, initial_types=named), frame.rename(columns={"label": "kind"}))
    np.testing.assert_allclose(found["probabilities"], clf.predict_proba(frame), atol=1e-5)


def test_missing_values():
    gaps = np.where(np.arange(FEW.size).reshape(FEW.shape) % 7 == 0, np.nan, FEW)
    clf = SNNClassifier(**MEMBERS).fit(gaps, Y)
    found = run(to_onnx(clf), gaps)["probabilities"]
    np.testing.assert_allclose(found, clf.predict_proba(gaps), atol=1e-5)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with raises("Install them with pip install onnx onnxscript skl2onnx.", ImportError):
        to_onnx(SNNClassifier(**SMALL).fit(X, Y))
