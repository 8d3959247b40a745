"""Columns of X as the network sees them: standardisation, sparse rows and codes."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import BOTH, LEARNING, SMALL, X, Y, raises, unfinished
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sksnn import SNNClassifier, SNNRegressor
from sksnn.encodings import ColumnEncoder

# ---------------------------------------------------------------- standardisation


@unfinished
def test_time_stamps_seconds_apart_are_told_apart():
    """Casting to float32 before centring made one value of 1.6e9 and 1.6e9 + 60."""
    seconds = 1.6e9 + np.arange(200.0)
    y = (np.arange(200) % 20 < 10).astype(int)
    shifted = SNNClassifier(**LEARNING).fit((seconds - 1.6e9)[:, None], y)
    stamped = SNNClassifier(**LEARNING).fit(seconds[:, None], y)
    np.testing.assert_allclose(
        stamped.predict_proba(seconds[:, None]), shifted.predict_proba((seconds - 1.6e9)[:, None]), atol=1e-5
    )


def test_constant_columns_do_no_harm(whole_iris):
    X, y = whole_iris
    padded = np.column_stack([X, np.full(len(X), 0.1), np.zeros(len(X))])
    clf = SNNClassifier(**LEARNING).fit(padded, y)
    assert clf.score(padded, y) > 0.9
    encoder = clf.net_.module_.encoder
    assert encoder.scale[-2:].tolist() == [1, 1]


@pytest.mark.parametrize("scale", [1e-170, 1e-300, 1e150])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_columns_of_any_magnitude_count(scale, container):
    """Below 1e-160 the variance underflowed: the column counted as constant, and was ignored."""
    plain = SNNClassifier(**SMALL).fit(container(X), Y)
    tiny = SNNClassifier(**SMALL).fit(container(X * scale), Y)
    np.testing.assert_allclose(
        tiny.predict_proba(container(X * scale)), plain.predict_proba(container(X)), rtol=1e-4
    )


def test_the_module_maps_raw_rows(whole_iris):
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING, precision="float64").fit(X, y)
    with torch.no_grad():
        outputs = clf.net_.module_(torch.from_numpy(X))
    np.testing.assert_allclose(outputs.numpy(), clf.decision_function(X), rtol=1e-9)


def test_huge_columns_are_refused(whole_iris):
    X, y = whole_iris
    with raises("column 1 of X is too large to standardise"):
        SNNClassifier(**LEARNING).fit(X * [1, 1e200, 1, 1], y)


def test_statistics_come_from_the_training_rows_alone(whole_cancer):
    X, y = whole_cancer
    far = np.concatenate([X, X[:50] + 1e6])
    clf = SNNClassifier(**LEARNING).fit(X, y, X_val=far[len(X) :], y_val=y[:50])
    np.testing.assert_allclose(clf.net_.module_.encoder.mean.numpy(), X.mean(axis=0))


def test_a_row_does_not_depend_on_the_rows_beside_it(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING).fit(X, y)
    alone = np.concatenate([clf.predict_proba(X[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(alone, clf.predict_proba(X)[:50], atol=1e-12)


# ---------------------------------------------------------------- sparse rows


def test_sparse_rows_stay_sparse(whole_cancer, monkeypatch):
    X, y = whole_cancer
    X = np.where(X > np.quantile(X, 0.9, axis=0), X, 0)
    clf = SNNClassifier(**LEARNING, batch_size=64)
    monkeypatch.setattr("sksnn._rows.GATHERED_ELEMENTS", 2 * 64 * X.shape[1])
    sizes = []
    for method in (toarray := {cls: cls.toarray for cls in (sparse.csr_matrix, sparse.csr_array)}):
        original = toarray[method]
        monkeypatch.setattr(
            method,
            "toarray",
            lambda self, *a, o=original, **k: sizes.append(self.shape[0]) or o(self, *a, **k),
        )
    clf.fit(sparse.csr_matrix(X), y)
    assert max(sizes) == 2 * 64
    np.testing.assert_allclose(clf.predict_proba(sparse.csc_array(X)), clf.predict_proba(X), atol=1e-9)
    encoder = clf.net_.module_.encoder
    np.testing.assert_allclose(encoder.mean.numpy(), X.mean(axis=0))
    standardized = (X - X.mean(axis=0)) / encoder.scale.numpy()
    np.testing.assert_allclose(standardized.var(axis=0).mean(), 1)


def test_repeated_entries_of_the_users_matrix_stay():
    repeated = sparse.csr_matrix(
        (np.ones(240), np.repeat(np.arange(120) % 5, 2), np.arange(0, 241, 2)), shape=(120, 5)
    )
    labels = np.arange(120) % 5 > 2
    model = SNNClassifier(**SMALL).fit(repeated, labels)
    assert repeated.nnz == 240
    np.testing.assert_allclose(model.predict_proba(repeated), model.predict_proba(repeated.toarray()))


def newcomers_frame(n=1000):
    """Age, income, 4 towns and 25 jobs; who buys depends on most of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, n),
            "income": rng.lognormal(10.5, 0.6, n),
            "town": rng.choice(list("nesw"), n),
            "job": rng.integers(0, 25, n).astype(str),
        }
    )
    of_job = rng.normal(size=25)[frame["job"].astype(int)]
    z = (frame["age"] - 40) / 12 + 1.2 * (np.log(frame["income"]) - 10.5) / 0.6 + of_job
    buys = (z + rng.normal(size=n) > 0).astype(int)
    frame.loc[::10, "age"] = np.nan
    return frame, buys


class TestSparseRowsLearnWhatDenseOnesDo:
    """On one common scale the largest column swamped all others: accuracy 0.549 instead of 0.872."""

    @pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_digits])
    def test_numeric_columns_are_learned_as_well(self, load):
        rows, y = load(return_X_y=True)
        step = 1 + len(y) // 500  # of fewer rows, three more that are wrong would be 0.03
        rows, y = rows[::step], y[::step]
        folds = KFold(3, shuffle=True, random_state=0)
        model = SNNClassifier(max_epochs=30, random_state=0)
        dense = cross_val_score(model, rows, y, cv=folds).mean()
        assert cross_val_score(model, sparse.csr_matrix(rows), y, cv=folds).mean() > dense - 0.03 > 0.9

    def test_a_one_hot_encoded_table_is_learned_as_well(self):
        frame, buys = newcomers_frame()
        scores = []
        for threshold in (0.0, 1.0):
            columns = make_column_transformer(
                (SimpleImputer(add_indicator=True), ["age", "income"]),
                (OneHotEncoder(handle_unknown="ignore"), ["town", "job"]),
                sparse_threshold=threshold,
            )
            model = make_pipeline(columns, SNNClassifier(max_epochs=30, random_state=0))
            assert sparse.issparse(columns.fit_transform(frame)) == bool(threshold)
            scores.append(cross_val_score(model, frame, buys, cv=3).mean())
        assert min(scores) > 0.75 and scores[1] > scores[0] - 0.03


# ---------------------------------------------------------------- codes


CODED = pytest.mark.parametrize("encoding", ["onehot", "thermometer", "piecewise"])


@CODED
@BOTH
def test_codes_are_those_of_the_columns_given_by_hand(Estimator, encoding, whole_cancer):
    X, y = whole_cancer
    encoder = ColumnEncoder.fit(X, encoding=encoding)
    coded = encoder(torch.from_numpy(X)).numpy()
    inside = Estimator(**LEARNING, encoding=encoding).fit(X, y)
    outside = Estimator(**LEARNING, standardize=False, encoding=None).fit(coded, y)
    np.testing.assert_array_equal(inside.predict(X), outside.predict(coded))
    assert inside.n_features_in_ == 30 and inside.net_.module_.network.layers[0].in_features == coded.shape[1]


@CODED
def test_codes_are_learned_from_weighted_training_rows_alone(encoding, whole_cancer):
    X, y = whole_cancer
    weight = np.arange(len(X)) % 3
    clf = SNNClassifier(**LEARNING, encoding=encoding).fit(
        X[::2], y[::2], sample_weight=weight[::2], X_val=X[1::2] + 1e3, y_val=y[1::2]
    )
    kept = weight[::2] > 0
    expected = ColumnEncoder.fit(X[::2][kept], weight[::2][kept], encoding)
    for name, value in clf.net_.module_.encoder.state_dict().items():
        np.testing.assert_allclose(value, expected.state_dict()[name], rtol=1e-9)


@CODED
def test_codes_survive_pickling_and_go_on(encoding, whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING, encoding=encoding, warm_start=True).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), clf.fit(X, y).predict_proba(X))


@CODED
@BOTH
def test_codes_too_large_to_keep_are_made_as_they_are_needed(Estimator, encoding, whole_cancer, monkeypatch):
    X, y = whole_cancer
    kept = Estimator(**LEARNING, encoding=encoding, early_stopping=True).fit(X, y)
    monkeypatch.setattr("sksnn._rows.CODED_ELEMENTS", 100)
    made = Estimator(**LEARNING, encoding=encoding, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(made.predict(X), kept.predict(X))
    assert made.loss_curve_ == kept.loss_curve_


@CODED
def test_sparse_rows_have_no_codes_and_dense_ones_keep_theirs(encoding, whole_cancer):
    X, y = whole_cancer
    rows = sparse.csr_matrix(X)
    assert SNNClassifier(**LEARNING, encoding=encoding).fit(rows, y).net_.module_.encoder.n_inputs == 30
    clf = SNNClassifier(**LEARNING, encoding=encoding).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(rows), clf.predict_proba(X), atol=1e-9)


def test_partial_fit_keeps_the_codes_of_the_first_chunk(whole_cancer):
    X, y = whole_cancer
    clf = SNNClassifier(**LEARNING, encoding="thermometer").partial_fit(X[:60], y[:60], classes=[0, 1])
    low = clf.net_.module_.encoder.low.clone()
    assert torch.equal(clf.partial_fit(X[60:], y[60:]).net_.module_.encoder.low, low)
    with raises("encoding cannot change while training goes on"):
        clf.set_params(encoding=None).partial_fit(X, y)


def test_codes_without_standardization_leave_the_columns_in_place(whole_iris):
    X, y = whole_iris
    encoder = (
        SNNClassifier(**LEARNING, encoding="piecewise", standardize=False).fit(X, y).net_.module_.encoder
    )
    gain = np.sqrt(encoder.n_inputs / 5)  # four columns, and four blocks of a quarter of them
    np.testing.assert_allclose(encoder(torch.from_numpy(X))[:, :4], gain * X)


# ---------------------------------------------------------------- the automatic choice of width and codes


@unfinished
@pytest.mark.parametrize(
    ("Estimator", "best"), [(SNNClassifier, "onehot"), (SNNRegressor, "piecewise")], ids=["clf", "reg"]
)
def test_auto_is_the_best_code_for_narrow_rows_and_none_for_wide_ones_and_modules(
    Estimator, best, whole_cancer
):
    def n_inputs(X, **parameters):
        net = Estimator(**{**LEARNING, "max_epochs": 1}, **parameters).fit(X, y).net_
        return net.module_.encoder.n_inputs

    y = whole_cancer[1]
    X = np.round(whole_cancer[0] / whole_cancer[0].std(axis=0))[:, :20]
    assert n_inputs(X) == n_inputs(X, encoding=best) > 20 == n_inputs(X, encoding=None)
    assert n_inputs(X, architecture=torch.nn.Linear) == 20
    wide = np.tile(X, 5)
    assert n_inputs(wide) == 5 * n_inputs(X)
    assert n_inputs(np.hstack([wide, X[:, :1]])) == 101


@unfinished
def test_auto_follows_the_rows_the_classifier_trains_on():
    """Beyond 2 000 rows twice as wide, beyond 5 000 piecewise codes; the regressor has one form for all."""
    X = np.random.RandomState(0).randn(5001, 2)
    y = X[:, 0] > 0

    def form(Estimator, n_rows, **parameters):
        model = Estimator(n_estimators=1, max_epochs=1, random_state=0, **parameters).fit(
            X[:n_rows], y[:n_rows]
        )
        weights = [p for p in model.net_.module_.network.parameters() if p.ndim == 2]
        return weights[0].shape[::-1]

    plain, coded, finely_coded = 2, 2 + 2 * 9, 2 + 2 * 48
    assert form(SNNClassifier, 2000) == (plain, 256)
    assert form(SNNClassifier, 2001) == form(SNNClassifier, 5000) == (plain, 512)
    assert form(SNNClassifier, 5001) == (finely_coded, 512)
    assert form(SNNClassifier, 5001, early_stopping=True) == (plain, 512)  # trains on 4 500 of them
    one = SNNClassifier(n_estimators=1, max_epochs=1, random_state=0)
    clf = one.fit(X, y, sample_weight=np.arange(5001) < 100)
    assert clf.net_.module_.encoder.n_inputs == plain  # rows without weight are as if absent
    assert form(SNNClassifier, 5001, n_units=300, encoding="onehot") == (plain, 300)
    assert form(SNNRegressor, 100) == (coded, 128)
    assert form(SNNRegressor, 5001) == (finely_coded, 128)


@unfinished
def test_auto_has_members_of_two_forms_for_many_rows_of_one_column_of_labels():
    X = np.random.RandomState(0).randn(5001, 2)
    y = X[:, 0] > 0

    def forms(model, n_rows, y=y, **fit_params):
        fit_params = {name: values[:n_rows] for name, values in fit_params.items()}
        model.set_params(max_epochs=1, random_state=0).fit(X[:n_rows], y[:n_rows], **fit_params)
        return {(n.hidden_layer_sizes, n.dropout.rate) for n in model.net_.module_.networks}

    def small(**parameters):
        return SNNClassifier(n_layers=2, n_units=8, **parameters)

    conic, equal = (8, 4), (8, 8)
    assert forms(SNNClassifier(n_layers=2), 1000) == {((256, 23), 0.05)}
    assert forms(SNNClassifier(n_layers=2), 1001) == {((256, 23), 0.05), ((256, 256), 0.0)}
    assert forms(SNNClassifier(n_layers=2), 2001) == {((512, 32), 0.05), ((256, 256), 0.0)}
    assert forms(SNNClassifier(n_layers=2, n_estimators=1), 1001) == {((256, 23), 0.05)}
    assert forms(small(), 1001) == forms(small(), 5000) == {(conic, 0.05), (equal, 0.0)}
    assert forms(small(), 5001) == {(conic, 0.02), (equal, 0.0)}
    # Without weights that rows held back decide, two forms are no safe default.
    assert forms(small(calibrate=False), 5001) == {(conic, 0.02)}
    assert forms(small(early_stopping=False), 5001) == {(conic, 0.02)}
    chunked = small(random_state=0).partial_fit(X, y, classes=[False, True])
    assert {network.hidden_layer_sizes for network in chunked.net_.module_.networks} == {conic}
    fitted = small(max_epochs=1, random_state=0).fit(X, y)
    networks = fitted.partial_fit(X, y).net_.module_.networks
    assert {network.hidden_layer_sizes for network in networks} == {conic, equal}
    assert forms(small(layer_form="conic"), 5001) == {(conic, 0.02)}
    assert forms(small(layer_form="rectangular"), 5001) == {(equal, 0.02)}
    assert forms(small(hidden_layer_sizes=(8, 4)), 5001) == {(conic, 0.02)}
    assert forms(small(dropout=0.05), 5001) == {(conic, 0.05), (equal, 0.05)}
    assert forms(small(early_stopping=True, n_estimators=1), 5001) == {(conic, 0.05)}  # on 4 500
    assert forms(small(), 5001, sample_weight=np.arange(5001) < 100) == {(conic, 0.05)}
    assert forms(small(), 5001, np.column_stack([y, ~y]).astype(float)) == {(conic, 0.05)}
    reg = SNNRegressor(n_layers=2, n_units=8)
    assert forms(reg, 100) == forms(reg, 5001) == {(equal, 0.0)}
    rival = small(architecture="highway", n_estimators=2).set_params(max_epochs=1).fit(X, y)
    assert {network.dropout.rate for network in rival.net_.module_.networks} == {0.02}


@unfinished
def test_training_goes_on_with_the_width_and_codes_of_the_first_rows():
    X = np.random.RandomState(0).randn(5001, 2)
    y = X[:, 0] > 0
    clf = SNNClassifier(max_epochs=1, warm_start=True, random_state=0).fit(X[:100], y[:100])
    sizes = [p.shape for p in clf.net_.module_.parameters()]
    clf = pickle.loads(pickle.dumps(clf)).fit(X, y).partial_fit(X, y)
    assert [p.shape for p in clf.net_.module_.parameters()] == sizes
    assert clf.net_.module_.networks[0].dropout.rate == 0.05
    with raises("hidden_layer_sizes cannot change while training goes on"):
        clf.set_params(n_units=512).partial_fit(X, y)
