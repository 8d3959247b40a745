"""Tables as people have them: strings, categories and missing values go into the estimators as they are."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import BOTH, EXACT, SMALL, raises, unfinished
from helpers import SKLEARN, elsewhere, outputs, parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.fixes import parse_version

from sksnn import SNNClassifier, SNNRegressor
from sksnn.diagnostics import layer_moments
from sksnn.encodings import ColumnEncoder, Standardizer, column_moments, encoder_from
from sksnn.model_selection import SNNGridSearchCV

pytestmark = unfinished
LAWS = settings(max_examples=30, deadline=None, derandomize=True)
FRAMES = pytest.mark.parametrize(
    "make",
    [
        pytest.param(pd.DataFrame, id="pandas"),
        pytest.param(
            pl.DataFrame,
            id="polars",
            marks=pytest.mark.skipif(parse_version("1.9") > SKLEARN, reason="reads no polars names"),
        ),
    ],
)

N = 120
rng = np.random.default_rng(0)
SIZE = rng.normal(size=N)
TOWN = rng.choice(["Bonn", "Linz", "Rom", "Wien"], N)
Y = np.where((SIZE > 0) ^ (TOWN == "Wien"), "buys", "waits")
T = 10 + SIZE + 3 * (TOWN == "Wien")


def table(make=pd.DataFrame, rows=slice(None)):
    """Sizes and towns with gaps, a flag, a count."""
    size, town = SIZE.copy(), TOWN.astype(object)
    size[::7], town[::5] = np.nan, None
    flag, count = np.arange(N) % 3 == 0, np.arange(N) % 12
    return make({"size": size[rows], "town": town[rows].tolist(), "flag": flag[rows], "count": count[rows]})


def inputs(model, X):
    """What the first network sees of a frame or array."""
    return model._model.encode(model._model.columns.read(model, X, reset=False)).numpy()


# ---------------------------------------------------------------- categories


@FRAMES
@BOTH
def test_a_table_is_learned_as_it_is(Estimator, make):
    X, y = table(make), Y if Estimator is SNNClassifier else T
    model = Estimator(n_estimators=1, max_epochs=40, lr=0.01, random_state=0).fit(X, y)
    assert model.feature_names_in_.tolist() == ["size", "town", "flag", "count"] and model.n_features_in_ == 4
    assert model.score(X, y) > 0.85


def test_pandas_and_polars_give_one_model():
    frames = [table(), table(pl.DataFrame)]
    models = [SNNClassifier(**SMALL).fit(frame, Y) for frame in frames]
    assert_array_equal(parameters(models[0]), parameters(models[1]))
    assert_array_equal(models[0].predict_proba(frames[0]), models[1].predict_proba(frames[1]))


@pytest.mark.parametrize(
    "convert",
    [
        lambda town: town.astype("category"),
        lambda town: town.astype(object),
        lambda town: town.astype("str"),
        lambda town: town.astype("string"),
        lambda town: pd.Categorical(town, categories=["Wien", "never", "Bonn", "Linz", "Rom"], ordered=True),
        lambda town: town.astype(object).where(town.notna(), pd.NA),
        lambda town: town.astype(object).where(town.notna(), np.nan),
        lambda town: pl.Series(town.tolist(), dtype=pl.Categorical),
        lambda town: pl.Series(town.tolist(), dtype=pl.Enum(["Wien", "Rom", "Linz", "Bonn"])),
        lambda town: pl.Series(town.tolist(), dtype=pl.String),
    ],
)
def test_every_dtype_of_categories_gives_the_same_model(convert):
    expected = SNNClassifier(**SMALL).fit(table(), Y)
    town = convert(table().town.astype(object).where(table().town.notna(), None))
    X = (
        table(pl.DataFrame).with_columns(town=town)
        if isinstance(town, pl.Series)
        else table().assign(town=town)
    )
    model = SNNClassifier(**SMALL).fit(X, Y)
    assert_array_equal(parameters(model), parameters(expected))
    assert_array_equal(model.predict_proba(X), expected.predict_proba(table()))


def test_categories_enter_as_by_one_hot_encoder_and_missing_is_one_of_them():
    X = table()[["town"]]
    model = SNNClassifier(**SMALL).fit(X, Y)
    seen = inputs(model, X)
    missing = X.town.isna().to_numpy()
    expected = OneHotEncoder(sparse_output=False).fit_transform(X.fillna("missing"))
    expected = (expected - expected.mean(axis=0)) / np.sqrt(expected.var(axis=0).mean())
    for column in expected.T:  # the order is that of frequency
        assert np.isclose(seen.T, column, rtol=1e-5).all(axis=1).sum() == 1
    assert seen.shape == (N, 5) and len(np.unique(seen[missing], axis=0)) == 1


def test_a_category_unknown_in_fit_counts_as_missing():
    model = SNNClassifier(**SMALL).fit(table(), Y)
    there, unknown, missing = (table().assign(town=[town] * N) for town in ("Wien", "Graz", None))
    assert_array_equal(model.predict_proba(unknown), model.predict_proba(missing))
    assert (model.predict_proba(there) != model.predict_proba(missing)).any()


def test_without_missing_ones_in_fit_they_are_the_mean_of_all_inputs():
    model = SNNClassifier(**SMALL).fit(table()[["town"]].dropna(), Y[table().town.notna()])
    assert (inputs(model, pd.DataFrame({"town": ["Graz", None]})) == 0).all()
    assert inputs(model, pd.DataFrame({"town": ["Wien"]})).any()


@pytest.mark.parametrize("named", [["town", "count"], [1, 3], [False, True, False, True], np.array([3, 1])])
def test_columns_of_categories_may_be_named(named):
    model = SNNClassifier(**SMALL, categorical_features=named).fit(table(), Y)
    assert model._model.columns.categorical == (1, 3)
    again = pickle.loads(pickle.dumps(clone(model).fit(table(), Y)))
    assert_array_equal(again.predict_proba(table()), model.predict_proba(table()))


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        lambda X: X.astype(np.float32),
        torch.tensor,
        lambda X: pd.DataFrame(X),
        lambda X: X.tolist(),
    ],
    ids=["float64", "float32", "torch", "frame", "list"],
)
def test_numbers_may_be_categories(wrap):
    codes = rng.integers(0, 4, N)
    X = np.column_stack([SIZE.astype(np.float32), codes])
    X[::9, 1] = np.nan
    words = pd.DataFrame({0: X[:, 0], 1: pd.Series(X[:, 1]).map("{:g}".format).where(~np.isnan(X[:, 1]))})
    expected = (
        SNNClassifier(**EXACT).fit(words.rename(columns=str), Y).predict_proba(words.rename(columns=str))
    )
    model = SNNClassifier(**EXACT, categorical_features=[1]).fit(wrap(X), Y)
    assert_allclose(model.predict_proba(wrap(X)), expected, atol=1e-5)


def test_an_array_of_objects_may_hold_categories():
    X = table()[["size", "town"]]
    for rows in (X.to_numpy(object), X.to_numpy(object).tolist()):
        model = SNNClassifier(**SMALL, categorical_features=[1]).fit(rows, Y)
        assert_allclose(
            model.predict_proba(rows), SNNClassifier(**SMALL).fit(X, Y).predict_proba(X), rtol=1e-9
        )


def test_intervals_and_columns_of_pyarrow_are_categories():
    X = table().assign(size=pd.cut(table()["size"], [-9, -1, 0, 1, 9]))
    words = X.assign(size=X["size"].astype(object).map(str, na_action="ignore"))
    expected = SNNClassifier(**SMALL).fit(words, Y)
    model = SNNClassifier(**SMALL).fit(X, Y)
    assert model._model.columns.categorical == (0, 1)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(words))
    pytest.importorskip("pyarrow")
    arrow = words.convert_dtypes(dtype_backend="pyarrow")
    assert_array_equal(SNNClassifier(**SMALL).fit(arrow, Y).predict_proba(arrow), model.predict_proba(X))


def test_objects_that_are_all_numbers_are_numbers_and_booleans_too():
    X = table()[["size", "flag", "count"]]
    objects = X.astype(object).where(X.notna(), pd.NA)
    model = SNNClassifier(**SMALL).fit(objects, Y)
    assert model._model.columns.categorical == ()
    assert_allclose(
        model.predict_proba(objects), SNNClassifier(**SMALL).fit(X, Y).predict_proba(X), rtol=1e-9
    )
    assert_array_equal(model.predict_proba(objects), model.predict_proba(X))


@LAWS
@given(
    codes=st.lists(st.sampled_from([*range(6), np.nan]), min_size=12, max_size=12),
    counts=st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any),
)
def test_weights_of_categories_and_gaps_count_as_repetition(codes, counts):
    X = np.column_stack([codes, np.roll(codes, 1)])
    for n_categories in ({}, {0: 6}):
        weighted = ColumnEncoder.fit(X, np.array(counts, float), "piecewise", n_categories=n_categories)
        repeated = ColumnEncoder.fit(
            np.repeat(X, counts, axis=0), None, "piecewise", n_categories=n_categories
        )
        assert weighted.state_dict().keys() == repeated.state_dict().keys()
        for name, value in weighted.state_dict().items():
            assert_allclose(value, repeated.state_dict()[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_rare_categories_share_an_indicator(monkeypatch):
    monkeypatch.setattr("sksnn.encodings.MOST_CATEGORIES", 4)
    names = [f"n{i}" for i in range(20)]
    X = pd.DataFrame({"name": names[:3] * 10 + names})
    model = SNNRegressor(**SMALL).fit(X, np.arange(50.0))
    seen = inputs(model, pd.DataFrame({"name": names}))
    assert seen.shape == (20, 4) and len(np.unique(seen, axis=0)) == 4
    assert len(np.unique(seen[3:], axis=0)) == 1


@LAWS
@given(
    gaps=st.floats(0, 0.9), seed=st.integers(0, 99), encoding=st.sampled_from([None, "onehot", "piecewise"])
)
def test_inputs_have_mean_0_and_variance_1_whatever_is_missing(gaps, seed, encoding):
    draw = np.random.default_rng(seed)
    X = np.column_stack([draw.normal(5, 3, (80, 2)), draw.integers(0, 5, 80), draw.integers(0, 30, 80)])
    X[draw.random(X.shape) < gaps] = np.nan
    X[:5] = np.arange(20.0).reshape(5, 4)
    encoder = ColumnEncoder.fit(X, None, encoding, n_categories={3: 30})
    seen = encoder(torch.from_numpy(X)).numpy()
    assert_allclose(seen.mean(axis=0), 0, atol=1e-12)
    assert_allclose(seen.var(axis=0).mean(), 1)
    block = seen[:, -(encoder.column == 3).sum() :]
    assert_allclose(
        block.var(axis=0).sum(), encoder.n_inputs and (seen[:, 0].var() / 4) / np.mean(~np.isnan(X[:, 0]))
    )
    again = encoder_from({name: value.numpy() for name, value in encoder.state_dict().items()})
    assert_array_equal(again(torch.from_numpy(X)).numpy(), seen)


# ---------------------------------------------------------------- missing numbers


def test_statistics_are_those_of_the_values_that_are_there():
    X = rng.normal(5, 2, (50, 3))
    X[rng.random(X.shape) < 0.3] = np.nan
    weight = rng.uniform(size=50)
    mean, deviation = column_moments(X, weight)
    expected = StandardScaler().fit(X, sample_weight=weight)  # which leaves NaN out, too
    assert_allclose(mean, expected.mean_, rtol=1e-12)
    assert_allclose(deviation, expected.scale_, rtol=1e-12)
    assert_allclose(column_moments(torch.from_numpy(X), weight), (mean, deviation))


@pytest.mark.parametrize("encoding", ["onehot", "piecewise", "thermometer"])
@pytest.mark.parametrize("few", [True, False])
def test_all_inputs_of_a_missing_number_are_0_but_for_an_indicator(encoding, few):
    x = (rng.integers(0, 5, 60) if few else rng.normal(size=60)).astype(float)
    x[:6] = np.nan
    encoder = ColumnEncoder.fit(x[:, None], encoding=encoding)
    seen = encoder(torch.from_numpy(x[:, None])).numpy()
    assert (seen[:6, :-1] == 0).all() and (seen[6:, 0] != 0).all()
    assert_allclose(seen[:, -1] * encoder.scale[-1].item(), np.isnan(x) - 0.1)
    there = ColumnEncoder.fit(
        x[6:, None], encoding=encoding
    )  # the codes are those of the values that are there
    assert_allclose(there.low, encoder.low)
    assert_allclose(encoder.mean[:-1], there.mean)


def test_a_first_gap_at_prediction_is_the_mean():
    X = rng.normal(size=(N, 2)) + [5, 0]
    X -= X.mean(axis=0) - [5, 0]
    for encoding in ("onehot", None):
        model = SNNRegressor(**EXACT, encoding=encoding).fit(X, T)
        with_gap, mean = model.predict([[np.nan, 1.0], [5.0, 1.0]])
        assert_allclose(with_gap, mean, rtol=1e-6)
    model = SNNRegressor(**SMALL, encoding="piecewise").fit(X, T)
    assert (inputs(model, [[np.nan, np.nan]]) == 0).all()


def test_a_column_without_any_value_in_fit_never_counts():
    X = np.column_stack([SIZE, np.full(N, np.nan)])
    model = SNNClassifier(**SMALL).fit(X, Y)
    later = np.column_stack([SIZE, 1e9 * SIZE])
    assert_array_equal(model.predict_proba(later), model.predict_proba(X))
    frame = pd.DataFrame({"size": SIZE, "nothing": [None] * N})
    model = SNNClassifier(**SMALL).fit(frame, Y)
    assert_array_equal(model.predict_proba(frame.assign(nothing="x")), model.predict_proba(frame))


@pytest.mark.parametrize("encoding", ["auto", None])
def test_where_nothing_is_known_all_predictions_are_the_same(encoding):
    model = SNNClassifier(**SMALL, encoding=encoding).fit(np.full((N, 2), np.nan), Y)
    assert len(np.unique(model.predict_proba(np.column_stack([SIZE, SIZE])), axis=0)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_gaps_of_arrays_tensors_and_lists_are_the_same(dtype):
    X = np.column_stack([SIZE, np.roll(SIZE, 1)]).astype(np.float32)
    X[::4, 0] = np.nan
    expected = SNNClassifier(**SMALL).fit(X.astype(float), Y).predict_proba(X.astype(float))
    wrapped = [X.astype(dtype), X.tolist()] + ([] if dtype is object else [torch.tensor(X.astype(dtype))])
    for rows in wrapped:
        assert_allclose(SNNClassifier(**SMALL).fit(rows, Y).predict_proba(rows), expected, rtol=1e-4)


@pytest.mark.parametrize("named", ["from_dtype", [1]])
def test_gaps_and_categories_of_tensors_from_elsewhere(named, read_shapes):
    X = np.column_stack([SIZE, np.arange(N) % 4])
    X[::9, 0] = X[::7, 1] = np.nan
    settings = {**EXACT, "categorical_features": named}
    expected = SNNClassifier(**settings).fit(X, Y).predict_proba(X)
    far = elsewhere(torch.tensor(X))
    assert_allclose(SNNClassifier(**settings).fit(far, Y).predict_proba(far), expected, rtol=1e-6)
    X[3, 0] = np.inf
    with raises("Input X contains infinity"):
        SNNClassifier(**settings).fit(elsewhere(torch.tensor(X)), Y)


def test_none_and_pandas_na_in_objects_are_gaps():
    X = np.column_stack([SIZE, np.roll(SIZE, 1)])
    X[::4, 0] = np.nan
    expected = SNNClassifier(**SMALL).fit(X, Y).predict_proba(X)
    for gap in (None, pd.NA):
        rows = np.where(np.isnan(X), gap, X.astype(object))
        assert_array_equal(SNNClassifier(**SMALL).fit(rows, Y).predict_proba(rows), expected)


def test_gaps_say_something_where_their_indicator_does():
    """What is missing at random in X[:, 0] is known from the gap alone."""
    X = rng.normal(size=(200, 2))
    y = rng.integers(0, 2, 200)
    X[y == 1, 0] = np.where(rng.random(y.sum()) < 0.9, np.nan, X[y == 1, 0])
    assert SNNClassifier(n_estimators=1, lr=0.01, random_state=0).fit(X, y).score(X, y) > 0.9


# ---------------------------------------------------------------- with everything else


@pytest.mark.parametrize(
    "more",
    [
        {"n_estimators": 3},
        {"n_estimators": 9, "bootstrap": True, "oob_score": True, "early_stopping": True},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"standardize": False},
        {"encoding": None},
        {"encoding": ("onehot", None), "n_estimators": 2},
        {"architecture": "batchnorm"},
        {"architecture": torch.nn.Linear},
        {"precision": "float64"},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["classes", "tasks", "number"])
def test_tables_go_with_everything_else(more, target):
    more = {k: v for k, v in more.items() if not (k == "oob_score" and target == "tasks")}
    y = {"classes": Y, "number": T}.get(target, np.column_stack([SIZE > 0, TOWN == "Rom"]).astype(float))
    if target == "tasks":
        y[::4, 1] = np.nan
    estimator = (SNNRegressor if target == "number" else SNNClassifier)(**{**SMALL, **more})
    weight = np.arange(N) % 3
    model = estimator.fit(table(), y, sample_weight=weight)
    found = outputs(model, table())
    assert np.isfinite(found).all()
    assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), table()), found)
    assert_allclose(outputs(model, table(rows=slice(9, 20))), found[9:20], rtol=1e-6)
    assert_array_equal(outputs(clone(model).fit(table(), y, sample_weight=weight), table()), found)


def cubes(output, y):
    """A loss of one's own."""
    return (output - y).abs() ** 3


@pytest.mark.parametrize(
    "loss",
    [{"loss": "poisson"}, {"loss": "gamma"}, {"loss": cubes}, {"loss": "quantile", "quantile": [0.9, 0.1]}],
    ids=["poisson", "gamma", "own", "quantiles"],
)
@pytest.mark.parametrize("more", [{}, {"n_estimators": 3}, {"n_estimators": 4, "bootstrap": True}], ids=str)
def test_tables_go_with_losses_and_scores(loss, more):
    model = SNNRegressor(**{**SMALL, **loss, **more}, early_stopping=True, scoring=None, warm_start=True)
    y = np.exp(T / 5)
    model.fit(table(), y).fit(table().assign(town="Oslo"), y)  # a town that the first fit has not seen
    assert len(model.validation_scores_) == model.n_iter_
    found = outputs(model, table())
    assert np.isfinite(found).all()
    assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), table()), found)
    assert np.isfinite(permutation_importance(model, table(), y, n_repeats=2).importances).all()
    chunked = SNNRegressor(**{**SMALL, **loss}).partial_fit(table(rows=slice(0, 20)), y[:20])
    assert np.isfinite(outputs(chunked.partial_fit(table(), y), table())).all()


def test_ensembles_that_give_arrays_need_positions():
    bags = BaggingClassifier(SNNClassifier(**SMALL, categorical_features=[1]), n_estimators=2)
    assert np.isfinite(bags.fit(table(), Y).predict_proba(table())).all()
    with raises("or the positions of such columns as categorical_features."):
        bags.set_params(estimator__categorical_features="from_dtype").fit(table(), Y)


def test_validation_rows_are_read_with_the_categories_of_the_training_rows():
    model = SNNClassifier(**SMALL)
    model.fit(
        table(rows=slice(80)), Y[:80], X_val=table(rows=slice(80, None)).assign(town="Graz"), y_val=Y[80:]
    )
    assert len(model.validation_loss_curve_) == model.n_iter_
    with raises("feature names should match"):
        model.fit(table(), Y, X_val=table()[["town", "size", "flag", "count"]], y_val=Y)


def test_partial_fit_keeps_the_categories_of_the_first_chunk():
    first, later = table(rows=slice(60)), table(rows=slice(60, None)).assign(town="Graz")
    model = SNNClassifier(**SMALL).partial_fit(first, Y[:60], classes=np.unique(Y))
    encoder = model._model.encoders[0]
    model = pickle.loads(pickle.dumps(model)).partial_fit(later, Y[60:])
    assert model._model.encoders[0].state_dict().keys() == encoder.state_dict().keys()
    assert_array_equal(model.predict(later), model.predict(later.assign(town=None)))
    with raises("categorical_features cannot change while training goes on"):
        model.set_params(categorical_features=["town"]).partial_fit(first, Y[:60])


def test_rows_of_weight_0_leave_no_trace():
    weight = np.ones(N)
    weight[60:] = 0
    X = table()
    X.loc[60:, "town"] = "Graz"
    X.loc[60:, "flag"] = True
    X["late gap"] = np.where(np.arange(N) < 60, SIZE, np.nan)
    both = SNNClassifier(**EXACT).fit(X, Y, sample_weight=weight)
    half = SNNClassifier(**EXACT).fit(X[:60], Y[:60])
    assert both._model.encoders[0].n_inputs == half._model.encoders[0].n_inputs
    assert_array_equal(both.predict_proba(X)[60:], both.predict_proba(X.assign(town=None))[60:])


def test_searches_diagnostics_and_importances_take_tables():
    searches = [
        Search(SNNClassifier(**SMALL), {"dropout": [0.0, 0.1]}, cv=2, error_score="raise").fit(table(), Y)
        for Search in (GridSearchCV, SNNGridSearchCV)
    ]
    assert_array_equal(*(search.cv_results_["mean_test_score"] for search in searches))
    model = searches[1].best_estimator_
    assert layer_moments(model, table()).variance.shape == (3,)
    importances = permutation_importance(model, table(), Y, n_repeats=1, random_state=0).importances_mean
    assert importances.shape == (4,)


def test_encoding_auto_counts_columns_that_may_have_codes():
    """After one-hot encoding a frame of ten columns had over a hundred, and silently no codes."""
    wide = np.hstack([rng.integers(0, 2, (N, 120)).astype(float), SIZE[:, None]])
    wide[::3, :50] = np.nan
    model = SNNClassifier(**{**SMALL, "n_estimators": 2}).fit(wide, Y)
    assert [len(encoder.low) for encoder in model._model.encoders] == [0, 9]
    assert model._model.plan.encoding == ("onehot", "piecewise")
    wide = np.tile(SIZE[:, None], 101)
    assert SNNClassifier(**SMALL).fit(wide, Y)._model.plan.encoding is None
    assert SNNClassifier(**SMALL).fit(wide[:, :100], Y)._model.plan.encoding == "onehot"
    chunks = SNNClassifier(**SMALL).partial_fit(wide, Y, classes=np.unique(Y))
    assert chunks.partial_fit(np.zeros_like(wide), Y).n_iter_ == 2  # the first chunk has decided


def test_what_the_tags_say():
    tags = get_tags(SNNClassifier()).input_tags
    assert tags.allow_nan and tags.sparse and not tags.string


# ---------------------------------------------------------------- what cannot be


class Thing:
    pass


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            ["a", 1] * 60,
            "column 'town' of X holds numbers and strings. Make them all strings, or all numbers",
        ),
        ([Thing()] * N, "column 'town' of X must hold numbers or strings; got objects of type Thing"),
        (pd.date_range("2026-01-01", periods=N), "TableVectorizer"),
    ],
)
def test_columns_of_other_things_are_named(column, message):
    with raises(message):
        SNNClassifier(**SMALL).fit(table().assign(town=column), Y)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["nowhere"], "got 'nowhere', which is no column of X"),
        ([4], "positions from 0 to 3, or a mask of 4 booleans; got 4, which is no column of X"),
        ([-1], "got -1, which is no column of X"),
        ([True, False], "got True in a mask of 2"),
        ([0.5], "got 0.5, which is no column of X"),
    ],
)
def test_columns_that_are_not_there_are_named(named, message):
    with raises(message):
        SNNClassifier(**SMALL, categorical_features=named).fit(table(), Y)


def test_strings_must_be_said_to_be_categories():
    with raises("column 'town' of X holds strings, but counts as numbers. Name it in categorical_features"):
        SNNClassifier(**SMALL, categorical_features=None).fit(table(), Y)
    model = SNNClassifier(**SMALL).fit(table().assign(town=1.0), Y)
    with raises("column 'town' of X holds strings, but counts as numbers"):
        model.predict(table())
    with raises("categorical_features"):
        SNNClassifier(**SMALL).fit(table().to_numpy(object), Y)
    with raises("column 'town' of X held strings in fit, now numbers: no category would be known"):
        SNNClassifier(**SMALL).fit(table(), Y).predict(table().assign(town=3))


def test_order_and_names_of_columns_are_checked():
    model = SNNClassifier(**SMALL).fit(table(), Y)
    for X in (table()[["town", "size", "flag", "count"]], table().rename(columns={"flag": "flags"})):
        with raises("feature names should match"):
            model.predict(X)
    with raises("feature names should match"):
        model.predict(table()[["size", "town", "flag"]])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_stays_an_error(value):
    """scikit-learn's own check is skipped for estimators that take NaN."""
    X = np.column_stack([SIZE, SIZE])
    model = SNNClassifier(**SMALL).fit(X, Y)
    X[3, 1] = value
    frame = table()
    frame.loc[3, "size"] = value
    for rows in (X, X.astype(np.float32), torch.tensor(X), X.tolist(), sparse.csr_matrix(X), frame):
        with raises("contains infinity"):
            clone(model).fit(rows, Y)
    for call in (model.predict, model.predict_proba):
        with raises("contains infinity"):
            call(X)
    with raises("contains infinity"):
        clone(model).partial_fit(X, Y, classes=np.unique(Y))


def test_sparse_rows_have_neither_gaps_nor_categories():
    X = sparse.csr_matrix(np.column_stack([SIZE, SIZE]))
    with raises("categorical_features needs a frame or dense rows; got a sparse X"):
        SNNClassifier(**SMALL, categorical_features=[0]).fit(X, Y)
    X.data[3] = np.nan
    with raises("Input X contains NaN, which a sparse X must not hold"):
        SNNClassifier(**SMALL).fit(X, Y)


def test_the_standardizer_takes_some_columns():
    X = torch.tensor([[1.0, 5.0, torch.nan]])
    assert_array_equal(Standardizer([5.0, 2.0], [1.0, 1.0], [1, 2])(X), [[0.0, 0.0]])


# ---------------------------------------------------------------- pipelines that people use


@FRAMES
def test_column_transformers_before_an_snn(make):
    columns = make_column_transformer(
        (SimpleImputer(add_indicator=True), ["size", "count"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["town"]),
        remainder="passthrough",
    )
    pipe = make_pipeline(columns, SNNClassifier(**SMALL))
    assert np.isfinite(cross_val_score(pipe, table(make), Y, cv=2, error_score="raise")).all()
    through = make_column_transformer(
        (StandardScaler(), ["size"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas" if make is pd.DataFrame else "polars")
    pipe = make_pipeline(through, SNNClassifier(**SMALL)).fit(table(make), Y)
    assert pipe[-1]._model.columns.categorical == (1,)


def test_skrub_before_an_snn():
    skrub = pytest.importorskip("skrub")
    X = table().assign(when=pd.date_range("2026-01-01", periods=N))
    for columns in (table(), X):
        pipe = skrub.tabular_pipeline(SNNClassifier(**SMALL))
        assert np.isfinite(cross_val_score(pipe, columns, Y, cv=2, error_score="raise")).all()
    pipe = make_pipeline(skrub.TableVectorizer(high_cardinality="passthrough"), SNNClassifier(**SMALL))
    assert pipe.fit(X, Y).predict(X).shape == (N,)


def test_imbalanced_learn_before_an_snn():
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    pipeline = pytest.importorskip("imblearn.pipeline")
    X, y = table(), np.where(np.arange(N) % 6 == 0, "rare", "often")
    pipe = pipeline.make_pipeline(
        over_sampling.RandomOverSampler(random_state=0), SNNClassifier(**SMALL)
    ).fit(X, y)
    assert np.isfinite(pipe.predict_proba(X)).all()
    assert pipe[-1].feature_names_in_.tolist() == X.columns.tolist()
