"""What the estimators promise: targets, weights, early stopping, incremental fits, bad input."""

import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from conftest import raises, tasks_with_gaps
from scipy import sparse
from scipy.special import expit, log_softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.preprocessing import StandardScaler

from sksnn import SNNClassifier, SNNRegressor
from sksnn.encodings import ColumnEncoder

SMALL = {"n_layers": 2, "n_units": 16, "max_epochs": 15, "lr": 1e-2, "random_state": 0}
EXACT = {**SMALL, "dropout": 0.0, "precision": "float64", "batch_size": 10_000, "lr_schedule": "constant"}
BOTH = pytest.mark.parametrize("Estimator", [SNNClassifier, SNNRegressor])


# A few epochs, too few to learn: what is tested is another thing.
unfinished = pytest.mark.filterwarnings(
    "ignore:the final training loss:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X, y


@pytest.fixture(scope="module")
def tasks(cancer):
    return tasks_with_gaps(*cancer)


# ---------------------------------------------------------------- targets


LABELS = {
    "strings": np.array(["b", "a", "c"]),
    "objects": np.array(["b", "a", "c"], dtype=object),
    "integers apart": np.array([-5, 10, 3]),
    "floats": np.array([2.0, 1.0, 7.0]),
    "unsigned": np.array([3, 1, 200], dtype=np.uint8),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_any_labels_come_back(iris, labels):
    X, y = iris
    clf = SNNClassifier(**SMALL).fit(X, labels[y])
    assert clf.classes_.tolist() == sorted(labels.tolist())
    predicted = clf.predict(X)
    assert predicted.dtype == labels.dtype
    assert np.mean(predicted == labels[y]) > 0.9
    # The same problem under another name: the labels' order decides the columns, nothing else.
    assert clf.score(X, labels[y]) == np.mean(predicted == labels[y])


def test_booleans_and_boolean_objects(cancer):
    X, y = cancer
    for labels in (y.astype(bool), y.astype(bool).astype(object)):
        clf = SNNClassifier(**SMALL).fit(X, labels)
        assert clf.predict(X).dtype == bool
        assert clf.classes_.tolist() == [False, True]


def test_binary_has_two_outputs_and_a_difference_of_logits(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(X, y)
    assert clf.n_outputs_ == 2
    decision, proba = clf.decision_function(X), clf.predict_proba(X)
    assert decision.shape == (len(X),) and proba.shape == (len(X), 2)
    np.testing.assert_allclose(expit(decision), proba[:, 1], atol=1e-12)
    np.testing.assert_array_equal(clf.predict(X), (decision > 0).astype(int))


def test_multiclass_outputs_agree(iris):
    X, y = iris
    clf = SNNClassifier(**SMALL).fit(X, y)
    np.testing.assert_allclose(log_softmax(clf.decision_function(X), axis=1), clf.predict_log_proba(X))
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X))
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.score(X, y) == accuracy_score(y, clf.predict(X))


def test_log_probabilities_do_not_underflow(cancer):
    X, y = cancer
    clf = SNNClassifier(**{**SMALL, "standardize": False}).fit(StandardScaler().fit_transform(X), y)
    assert np.isfinite(clf.predict_log_proba(1e4 * StandardScaler().fit_transform(X))).all()


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
@pytest.mark.parametrize("missing", [np.nan, -1])
def test_multitask(tasks, n_tasks, missing):
    X, Y = tasks
    Y = np.where(np.isnan(Y), missing, Y)[:, :n_tasks]
    clf = SNNClassifier(**SMALL, missing_label=missing).fit(X, Y)
    assert clf.n_outputs_ == n_tasks and clf.classes_.tolist() == list(range(n_tasks))
    proba, logits = clf.predict_proba(X), clf.decision_function(X)
    assert proba.shape == logits.shape == (len(X), n_tasks)
    np.testing.assert_allclose(proba, expit(logits), atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba)
    assert clf.predict(X).dtype.kind == "i"
    np.testing.assert_array_equal(clf.predict(X), proba > 0.5)


def test_nan_and_minus_one_are_the_same_fit(tasks):
    X, Y = tasks
    nan = SNNClassifier(**SMALL).fit(X, Y)
    minus = SNNClassifier(**SMALL, missing_label=-1).fit(X, np.nan_to_num(Y, nan=-1).astype(int))
    np.testing.assert_array_equal(nan.predict_proba(X), minus.predict_proba(X))
    assert nan.score(X, Y) == minus.score(X, np.nan_to_num(Y, nan=-1))


@unfinished
def test_missing_labels_count_for_nothing(tasks):
    """A row without labels changes nothing but the statistics of X, here given by its twin."""
    X, Y = tasks
    bare = np.full_like(Y, np.nan)
    settings = {**EXACT, "max_epochs": 3}
    once = SNNClassifier(**settings).fit(X, Y)
    twice = SNNClassifier(**settings).fit(np.vstack([X, X]), np.vstack([Y, bare]))
    np.testing.assert_allclose(once.decision_function(X), twice.decision_function(X), atol=1e-6)


def test_multitask_score_skips_missing_labels(tasks):
    X, Y = tasks
    clf = SNNClassifier(**SMALL).fit(X, Y)
    right = (clf.predict(X) == Y) | np.isnan(Y)
    labelled = ~np.isnan(Y).all(axis=1)
    assert clf.score(X, Y) == pytest.approx(right.all(axis=1)[labelled].mean())
    weight = np.arange(1.0, len(X) + 1)
    expected = np.average(right.all(axis=1)[labelled], weights=weight[labelled])
    assert clf.score(X, Y, sample_weight=weight) == pytest.approx(expected)
    complete = ~np.isnan(Y).any(axis=1)
    assert clf.score(X[complete], Y[complete]) == accuracy_score(Y[complete], clf.predict(X[complete]))
    with raises("y has no label at all"):
        clf.score(X, np.full_like(Y, np.nan))


def test_one_column_is_ravelled_with_a_warning_unless_labels_are_missing(cancer):
    X, y = cancer
    with pytest.warns(DataConversionWarning):
        clf = SNNClassifier(**SMALL).fit(X, y[:, None])
    assert clf.predict(X).shape == (len(X),)
    np.testing.assert_array_equal(clf.predict_proba(X), SNNClassifier(**SMALL).fit(X, y).predict_proba(X))


def test_regressor_keeps_one_column(diabetes):
    X, y = diabetes
    flat, column = SNNRegressor(**SMALL).fit(X, y), SNNRegressor(**SMALL).fit(X, y[:, None])
    assert flat.predict(X).shape == (len(X),) and column.predict(X).shape == (len(X), 1)
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_regression_with_missing_targets(diabetes):
    X, y = diabetes
    Y = np.column_stack([y, -3 * y + 7])
    Y[::3, 1] = np.nan
    reg = SNNRegressor(**{**SMALL, "max_epochs": 60}).fit(X, Y)
    assert reg.predict(X).shape == Y.shape
    present = ~np.isnan(Y[:, 1])
    expected = [r2_score(Y[:, 0], reg.predict(X)[:, 0]), r2_score(Y[present, 1], reg.predict(X)[present, 1])]
    assert reg.score(X, Y) == pytest.approx(np.mean(expected))
    assert min(expected) > 0.4


def test_target_units_do_not_matter(diabetes):
    X, y = diabetes
    reg = SNNRegressor(**SMALL).fit(X, y)
    scaled = SNNRegressor(**SMALL).fit(X, 1e6 * y - 5e8)
    np.testing.assert_allclose(scaled.predict(X), 1e6 * reg.predict(X) - 5e8, rtol=1e-3)
    raw = SNNRegressor(**{**SMALL, "max_epochs": 2}, standardize_target=False)
    with pytest.warns(ConvergenceWarning):  # targets near 150 are far from outputs near 0
        raw.fit(X, y)
    assert abs(raw.predict(X).mean() - y.mean()) > 10


@pytest.mark.parametrize(("quantile", "share"), [(0.1, 0.1), (0.9, 0.9)])
def test_quantile_loss_estimates_quantiles(quantile, share):
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 2)
    y = rng.randn(2000) * 3 + 10 + X[:, 0]
    settings = {"n_layers": 1, "n_units": 4, "max_epochs": 40, "lr": 1e-2, "dropout": 0.0, "random_state": 0}
    reg = SNNRegressor(loss="quantile", quantile=quantile, **settings).fit(X, y)
    assert np.mean(y < reg.predict(X)) == pytest.approx(share, abs=0.04)


def test_robust_losses_resist_outliers():
    rng = np.random.RandomState(0)
    X = rng.randn(500, 1)
    y = 2 * X[:, 0]
    spoiled = np.where(rng.rand(500) < 0.05, 100.0, y)
    settings = {**SMALL, "max_epochs": 60, "dropout": 0.0}
    error = {
        loss: np.abs(SNNRegressor(loss=loss, **settings).fit(X, spoiled).predict(X) - y).mean()
        for loss in ("squared_error", "absolute_error", "huber")
    }
    assert error["absolute_error"] < error["squared_error"] / 3
    assert error["huber"] < error["squared_error"]


# ---------------------------------------------------------------- weights


@unfinished
@BOTH
def test_weights_are_repetitions_when_nothing_is_random(Estimator, cancer):
    X, y = cancer[0][:150], cancer[1][:150]
    weight = np.random.RandomState(0).randint(0, 3, len(X))
    settings = {**EXACT, "max_epochs": 5}
    weighted = Estimator(**settings).fit(X, y, sample_weight=weight)
    repeated = Estimator(**settings).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6, atol=1e-6)
    scaled = Estimator(**settings).fit(X, y, sample_weight=1000.0 * weight)
    np.testing.assert_allclose(weighted.predict(X), scaled.predict(X), rtol=1e-6, atol=1e-6)


def test_class_weight_is_sample_weight(cancer):
    X, y = cancer
    settings = {**EXACT, "max_epochs": 5, "standardize": False, "lr": 1e-3}
    X = StandardScaler().fit_transform(X)
    by_class = SNNClassifier(class_weight={0: 3, 1: 1}, **settings).fit(X, y)
    by_row = SNNClassifier(**settings).fit(X, y, sample_weight=np.where(y == 0, 3.0, 1.0))
    # Sample weights are brought to mean 1, class weights are not: the same direction of the loss,
    # at a scale that Adam does not see but for its epsilon.
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), atol=1e-4)


def test_class_weights_multiply_sample_weights(cancer):
    X, y = cancer
    weight = np.random.RandomState(0).rand(len(y)) + 0.5
    settings = {**EXACT, "max_epochs": 5, "standardize": False, "lr": 1e-3}
    X = StandardScaler().fit_transform(X)
    both = SNNClassifier(class_weight={0: 3, 1: 1}, **settings).fit(X, y, sample_weight=weight)
    product = SNNClassifier(**settings).fit(X, y, sample_weight=weight * np.where(y == 0, 3.0, 1.0))
    np.testing.assert_allclose(both.predict_proba(X), product.predict_proba(X), atol=1e-4)


def test_balanced_lifts_a_rare_class():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(950, 2), rng.randn(50, 2) + 1])
    y = np.repeat(["common", "rare"], [950, 50])
    plain = SNNClassifier(**SMALL).fit(X, y)
    balanced = SNNClassifier(**SMALL, class_weight="balanced").fit(X, y)
    assert np.mean(balanced.predict(X) == "rare") > np.mean(plain.predict(X) == "rare") + 0.1
    by_hand = SNNClassifier(**SMALL, class_weight={"common": 1000 / 1900, "rare": 10.0}).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), atol=1e-5)


def test_class_weight_of_tasks(tasks):
    X, Y = tasks
    one = SNNClassifier(**SMALL, class_weight={0: 1, 1: 5}).fit(X, Y)
    each = SNNClassifier(**SMALL, class_weight=[{0: 1, 1: 5}] * 3).fit(X, Y)
    np.testing.assert_array_equal(one.predict_proba(X), each.predict_proba(X))
    counts = [{k: np.sum(~np.isnan(t)) / (2 * np.sum(t == k)) for k in (0, 1)} for t in Y.T]
    np.testing.assert_allclose(
        SNNClassifier(**SMALL, class_weight="balanced").fit(X, Y).predict_proba(X),
        SNNClassifier(**SMALL, class_weight=counts).fit(X, Y).predict_proba(X),
        atol=1e-5,
    )
    with raises("class_weight is a list of 2 but y has 3 tasks"):
        SNNClassifier(**SMALL, class_weight=[{0: 1, 1: 5}] * 2).fit(X, Y)
    with raises("class_weight must be finite, not negative, and not all zero"):
        SNNClassifier(**SMALL, class_weight={0: -1, 1: 5}).fit(X, Y)


BAD_WEIGHTS = {
    "negative": (lambda n: np.full(n, -1.0), "sample_weight must not be negative"),
    "all zero": (lambda n: np.zeros(n), "sample_weight must not be all zero"),
    "nan": (lambda n: np.full(n, np.nan), "sample_weight contains NaN"),
    "inf": (lambda n: np.full(n, np.inf), "sample_weight contains infinity"),
    "two columns": (lambda n: np.ones((n, 2)), "one weight a row; got shape"),
    "too short": (lambda n: np.ones(n - 1), "one weight a row"),
}


@pytest.mark.parametrize(("weight", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_bad_weights(iris, weight, message):
    X, y = iris
    with raises(message):
        SNNClassifier(**SMALL).fit(X, y, sample_weight=weight(len(X)))


# ---------------------------------------------------------------- standardisation


@unfinished
def test_time_stamps_seconds_apart_are_told_apart():
    """Casting to float32 before centring made one value of 1.6e9 and 1.6e9 + 60."""
    seconds = 1.6e9 + np.arange(200.0)
    y = (np.arange(200) % 20 < 10).astype(int)
    shifted = SNNClassifier(**SMALL).fit((seconds - 1.6e9)[:, None], y)
    stamped = SNNClassifier(**SMALL).fit(seconds[:, None], y)
    np.testing.assert_allclose(
        stamped.predict_proba(seconds[:, None]), shifted.predict_proba((seconds - 1.6e9)[:, None]), atol=1e-5
    )


def test_constant_columns_do_no_harm(iris):
    X, y = iris
    padded = np.column_stack([X, np.full(len(X), 0.1), np.zeros(len(X))])
    clf = SNNClassifier(**SMALL).fit(padded, y)
    assert clf.score(padded, y) > 0.9
    encoder = clf.net_.module_.encoder
    assert encoder.scale[-2:].tolist() == [1, 1]


def test_module_maps_raw_rows(iris):
    X, y = iris
    clf = SNNClassifier(**SMALL, precision="float64").fit(X, y)
    with torch.no_grad():
        outputs = clf.net_.module_(torch.from_numpy(X))
    np.testing.assert_allclose(outputs.numpy(), clf.decision_function(X), rtol=1e-9)


def test_huge_columns_are_refused(iris):
    X, y = iris
    with raises("column 1 of X is too large to standardise"):
        SNNClassifier(**SMALL).fit(X * [1, 1e200, 1, 1], y)


def test_sparse_rows_stay_sparse(cancer, monkeypatch):
    X, y = cancer
    X = np.where(X > np.quantile(X, 0.9, axis=0), X, 0)
    clf = SNNClassifier(**SMALL, batch_size=64)
    monkeypatch.setattr("sksnn._training.GATHERED_ELEMENTS", 2 * 64 * X.shape[1])
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


def test_labels_are_smoothed_by_default_unless_tasks_or_a_watched_loss_speak_against_it(cancer, tasks):
    """With early stopping, the best epoch of easy classes was the first: the watched loss is not smoothed."""

    def smoothing(*data, **parameters):
        return SNNClassifier(**SMALL, **parameters).fit(*data).net_.criterion_.label_smoothing

    assert smoothing(*cancer) == 0.1
    assert smoothing(*cancer, early_stopping=True) == smoothing(*tasks) == 0
    assert smoothing(*cancer, early_stopping=True, label_smoothing=0.2) == 0.2


@pytest.mark.parametrize("rows", [50, 442])
@pytest.mark.parametrize("lr", [1e-3, 1e-2])
def test_automatic_weight_decay_takes_a_hundredth_of_the_weights_an_epoch(rows, lr, diabetes):
    X, y = diabetes
    reg = SNNRegressor(**{**SMALL, "lr": lr, "lr_schedule": "constant"}, batch_size=32).fit(
        X[:rows], y[:rows]
    )
    decay = max(group["weight_decay"] for group in reg.net_.optimizer_.param_groups)
    assert (1 - lr * decay) ** np.ceil(rows / 32) == pytest.approx(0.99, abs=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rprop"])
def test_other_optimizers_have_no_automatic_weight_decay(optimizer, diabetes):
    reg = SNNRegressor(**SMALL, optimizer=optimizer).fit(*diabetes)
    assert not any(group.get("weight_decay", 0) for group in reg.net_.optimizer_.param_groups)


# ---------------------------------------------------------------- encoding

CODED = pytest.mark.parametrize("encoding", ["onehot", "thermometer", "piecewise"])


@CODED
@BOTH
def test_codes_are_those_of_the_columns_given_by_hand(Estimator, encoding, cancer):
    X, y = cancer
    encoder = ColumnEncoder.fit(X, encoding=encoding)
    coded = encoder(torch.from_numpy(X)).numpy()
    inside = Estimator(**SMALL, encoding=encoding).fit(X, y)
    outside = Estimator(**SMALL, standardize=False, encoding=None).fit(coded, y)
    np.testing.assert_array_equal(inside.predict(X), outside.predict(coded))
    assert inside.n_features_in_ == 30 and inside.net_.module_.network.layers[0].in_features == coded.shape[1]


@CODED
def test_codes_are_learned_from_weighted_training_rows_alone(encoding, cancer):
    X, y = cancer
    weight = np.arange(len(X)) % 3
    clf = SNNClassifier(**SMALL, encoding=encoding).fit(
        X[::2], y[::2], sample_weight=weight[::2], X_val=X[1::2] + 1e3, y_val=y[1::2]
    )
    kept = weight[::2] > 0
    expected = ColumnEncoder.fit(X[::2][kept], weight[::2][kept], encoding)
    for name, value in clf.net_.module_.encoder.state_dict().items():
        np.testing.assert_allclose(value, expected.state_dict()[name], rtol=1e-9)


@CODED
def test_codes_survive_pickling_and_go_on(encoding, cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL, encoding=encoding, warm_start=True).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), clf.fit(X, y).predict_proba(X))


@CODED
@BOTH
def test_codes_too_large_to_keep_are_made_as_they_are_needed(Estimator, encoding, cancer, monkeypatch):
    X, y = cancer
    kept = Estimator(**SMALL, encoding=encoding, early_stopping=True).fit(X, y)
    monkeypatch.setattr("sksnn._training.CODED_ELEMENTS", 100)
    made = Estimator(**SMALL, encoding=encoding, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(made.predict(X), kept.predict(X))
    assert made.loss_curve_ == kept.loss_curve_


@CODED
def test_sparse_rows_have_no_codes_and_dense_ones_keep_theirs(encoding, cancer):
    X, y = cancer
    rows = sparse.csr_matrix(X)
    assert SNNClassifier(**SMALL, encoding=encoding).fit(rows, y).net_.module_.encoder.n_inputs == 30
    clf = SNNClassifier(**SMALL, encoding=encoding).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(rows), clf.predict_proba(X), atol=1e-9)


def test_partial_fit_keeps_the_codes_of_the_first_chunk(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL, encoding="thermometer").partial_fit(X[:60], y[:60], classes=[0, 1])
    low = clf.net_.module_.encoder.low.clone()
    assert torch.equal(clf.partial_fit(X[60:], y[60:]).net_.module_.encoder.low, low)
    with raises("encoding cannot change while training goes on"):
        clf.set_params(encoding=None).partial_fit(X, y)


@unfinished
@pytest.mark.parametrize(
    ("Estimator", "best"), [(SNNClassifier, "onehot"), (SNNRegressor, "piecewise")], ids=["clf", "reg"]
)
def test_auto_is_the_best_code_for_narrow_rows_and_none_for_wide_ones_and_modules(Estimator, best, cancer):
    def n_inputs(X, **parameters):
        net = Estimator(**{**SMALL, "max_epochs": 1}, **parameters).fit(X, y).net_
        return net.module_.encoder.n_inputs

    y = cancer[1]
    X = np.round(cancer[0] / cancer[0].std(axis=0))[:, :20]
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
        model = Estimator(max_epochs=1, random_state=0, **parameters).fit(X[:n_rows], y[:n_rows])
        weights = [p for p in model.net_.module_.network.parameters() if p.ndim == 2]
        return weights[0].shape[::-1]

    coded, plain = 2 + 2 * 9, 2
    assert form(SNNClassifier, 2000) == (plain, 256)
    assert form(SNNClassifier, 2001) == form(SNNClassifier, 5000) == (plain, 512)
    assert form(SNNClassifier, 5001) == (coded, 512)
    assert form(SNNClassifier, 5001, early_stopping=True) == (plain, 512)  # trains on 4 500 of them
    clf = SNNClassifier(max_epochs=1, random_state=0).fit(X, y, sample_weight=np.arange(5001) < 100)
    assert clf.net_.module_.encoder.n_inputs == plain  # rows without weight are as if absent
    assert form(SNNClassifier, 5001, n_units=300, encoding="onehot") == (plain, 300)
    assert form(SNNRegressor, 100) == form(SNNRegressor, 5001) == (coded, 128)


@unfinished
def test_training_goes_on_with_the_width_and_codes_of_the_first_rows():
    X = np.random.RandomState(0).randn(5001, 2)
    y = X[:, 0] > 0
    clf = SNNClassifier(max_epochs=1, warm_start=True, random_state=0).fit(X[:100], y[:100])
    sizes = [p.shape for p in clf.net_.module_.parameters()]
    clf = pickle.loads(pickle.dumps(clf)).fit(X, y).partial_fit(X, y)
    assert [p.shape for p in clf.net_.module_.parameters()] == sizes
    with raises("hidden_layer_sizes cannot change while training goes on"):
        clf.set_params(n_units=512).partial_fit(X, y)


def test_codes_without_standardization_leave_the_columns_in_place(iris):
    X, y = iris
    encoder = SNNClassifier(**SMALL, encoding="piecewise", standardize=False).fit(X, y).net_.module_.encoder
    gain = np.sqrt(encoder.n_inputs / 5)  # four columns, and four blocks of a quarter of them
    np.testing.assert_allclose(encoder(torch.from_numpy(X))[:, :4], gain * X)


# ---------------------------------------------------------------- early stopping


def test_early_stopping_keeps_the_best_epoch(cancer):
    X, y = cancer
    X_val, y_val = X[::5], y[::5]
    train = np.arange(len(X)) % 5 > 0
    clf = SNNClassifier(
        **{**SMALL, "max_epochs": 200}, n_iter_no_change=5, label_smoothing=0.1, class_weight="balanced"
    )
    clf.fit(X[train], y[train], X_val=X_val, y_val=y_val)
    curve = clf.validation_loss_curve_
    assert len(curve) == len(clf.loss_curve_) == clf.n_iter_ < 200
    assert clf.best_epoch_ == int(np.argmin(curve)) + 1
    # Neither label smoothing nor class weights are in the watched loss.
    assert log_loss(y_val, clf.predict_proba(X_val)) == pytest.approx(min(curve), rel=1e-5)


def test_tol_and_patience_stop(cancer):
    X, y = cancer
    clf = SNNClassifier(**{**SMALL, "max_epochs": 50}, early_stopping=True, tol=1e3, n_iter_no_change=4).fit(
        X, y
    )
    assert clf.n_iter_ == 5  # the first epoch beats nothing; no later one gains 1000
    free = SNNClassifier(**{**SMALL, "max_epochs": 12}, tol=1e3, n_iter_no_change=1).fit(X, y)
    assert free.n_iter_ == free.best_epoch_ == 12 and free.validation_loss_curve_ is None


def test_validation_weights_and_masks_count(tasks):
    X, Y = tasks
    weight = np.random.RandomState(0).rand(100)
    reg = SNNRegressor(**SMALL)
    reg.fit(X[100:], Y[100:], X_val=X[:100], y_val=Y[:100], sample_weight_val=weight)
    z = (reg.predict(X[:100]) - reg._target_mean) / reg._target_scale
    y = (Y[:100] - reg._target_mean) / reg._target_scale
    # A mean over the labels present, of weights w: sum(w * loss) / sum(w).
    expected = np.nansum(weight[:, None] * (z - y) ** 2 / 2) / np.sum(weight[:, None] * ~np.isnan(y))
    assert min(reg.validation_loss_curve_) == pytest.approx(expected, rel=1e-5)


def test_auto_stops_early_above_ten_thousand_rows():
    X = np.random.RandomState(0).randn(10_001, 2)
    y = (X[:, 0] > 0).astype(int)
    settings = {**SMALL, "max_epochs": 1, "batch_size": 1000, "encoding": None}
    assert SNNClassifier(**settings).fit(X[1:], y[1:]).validation_loss_curve_ is None
    assert len(SNNClassifier(**settings).fit(X, y).validation_loss_curve_) == 1
    assert SNNClassifier(**settings, early_stopping=False).fit(X, y).validation_loss_curve_ is None


def test_the_split_is_stratified_and_seeded(cancer, monkeypatch):
    X, y = cancer
    rows = []
    from sksnn import _base as estimators

    original = estimators.train_test_split

    def spy(*arrays, **options):
        rows.append(original(*arrays, **options))
        return rows[-1]

    monkeypatch.setattr(estimators, "train_test_split", spy)
    for seed in (0, 0, 1):
        SNNClassifier(**{**SMALL, "random_state": seed, "max_epochs": 1}, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    assert not np.array_equal(rows[0][1], rows[2][1])
    assert len(rows[0][1]) == np.ceil(0.1 * len(X))
    assert y[rows[0][1]].mean() == pytest.approx(y.mean(), abs=0.01)


def test_a_class_of_one_row_is_split_with_a_warning(iris):
    X, y = iris
    y = np.where(np.arange(len(y)) == 7, 9, y)
    with pytest.warns(UserWarning, match="drawn without stratification"):
        SNNClassifier(**SMALL, early_stopping=True).fit(X, y)


def test_statistics_come_from_the_training_rows_alone(cancer):
    X, y = cancer
    far = np.concatenate([X, X[:50] + 1e6])
    clf = SNNClassifier(**SMALL).fit(X, y, X_val=far[len(X) :], y_val=y[:50])
    np.testing.assert_allclose(clf.net_.module_.encoder.mean.numpy(), X.mean(axis=0))


CONFLICTS = {
    "X_val, no early stopping": (
        {"early_stopping": False},
        {"X_val": "X", "y_val": "y"},
        "X_val is used for early stopping only, but early_stopping=False",
    ),
    "X_val alone": ({}, {"X_val": "X"}, "X_val and y_val go together; got X_val without y_val"),
    "y_val alone": ({}, {"y_val": "y"}, "X_val and y_val go together; got y_val without X_val"),
    "weights alone": ({}, {"sample_weight_val": "y"}, "sample_weight_val needs X_val and y_val"),
    "nothing to train on": (
        {"early_stopping": True, "validation_fraction": 0.999},
        {},
        "leaves no row to train on",
    ),
}


@pytest.mark.parametrize(("settings", "arguments", "message"), CONFLICTS.values(), ids=CONFLICTS)
def test_conflicting_arguments(iris, settings, arguments, message):
    data = dict(zip("Xy", iris, strict=True))
    with raises(message):
        SNNClassifier(**SMALL, **settings).fit(*iris, **{k: data[v] for k, v in arguments.items()})


def test_validation_rows_without_labels_are_refused(tasks):
    X, Y = tasks
    with raises("there is no loss to watch"):
        SNNClassifier(**SMALL).fit(X, Y, X_val=X[:9], y_val=np.full((9, 3), np.nan))
    with raises("y_val holds the label 7, which is not among the classes [0, 1]"):
        SNNClassifier(**SMALL).fit(X, (Y[:, 0] == 1).astype(int), X_val=X[:9], y_val=np.full(9, 7))
    with raises("y_val has shape (9, 2), but the estimator was fitted with (n_rows, 3)"):
        SNNClassifier(**SMALL).fit(X, Y, X_val=X[:9], y_val=Y[:9, :2])


# ---------------------------------------------------------------- incremental fits


@unfinished
@BOTH
def test_partial_fit_is_an_epoch_of_fit(Estimator, cancer):
    """One pass over the same rows, from the same seed, is the same net."""
    X, y = cancer
    whole = Estimator(**{**SMALL, "max_epochs": 1, "lr_schedule": "constant"}).fit(X, y)
    arguments = {"classes": [0, 1]} if Estimator is SNNClassifier else {}
    chunk = Estimator(**SMALL).partial_fit(X, y, **arguments)
    np.testing.assert_array_equal(whole.predict(X), chunk.predict(X))
    twice = Estimator(**{**SMALL, "max_epochs": 2, "lr_schedule": "constant"}).fit(X, y)
    np.testing.assert_array_equal(twice.predict(X), chunk.partial_fit(X, y).predict(X))
    assert chunk.n_iter_ == 2 and chunk.loss_curve_ == twice.loss_curve_


def test_partial_fit_freezes_statistics_and_classes(iris):
    X, y = iris
    clf = SNNClassifier(**SMALL).partial_fit(X[:60], y[:60], classes=[0, 1, 2])
    assert clf.predict_proba(X).shape == (150, 3)
    mean = clf.net_.module_.encoder.mean.numpy().copy()
    np.testing.assert_allclose(mean, X[:60].mean(axis=0))
    clf.partial_fit(X[60:], y[60:])
    np.testing.assert_array_equal(clf.net_.module_.encoder.mean.numpy(), mean)
    assert clf.n_iter_ == 2 and clf.classes_.tolist() == [0, 1, 2]


def test_partial_fit_refuses(iris):
    X, y = iris
    with raises("classes must be passed on the first call to partial_fit"):
        SNNClassifier(**SMALL).partial_fit(X, y)
    clf = SNNClassifier(**SMALL).partial_fit(X[:100], y[:100], classes=[0, 1])
    with raises("y holds the label 2, which is not among the classes [0, 1]"):
        clf.partial_fit(X[100:], y[100:])
    with raises("is not the same as on the last call to partial_fit"):
        clf.partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    with raises("early_stopping=True cannot be used with partial_fit"):
        SNNClassifier(**SMALL, early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    with raises("class_weight='balanced' cannot be used with partial_fit"):
        SNNClassifier(**SMALL, class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    assert not hasattr(SNNClassifier(early_stopping=True), "partial_fit")
    assert clf.n_iter_ == 1, "a refused call must leave the model as it was"


def test_partial_fit_takes_chunks_without_labels_of_a_task(tasks):
    X, Y = tasks
    Y = Y.copy()
    Y[:200, 2] = np.nan
    clf = SNNClassifier(**SMALL).partial_fit(X[:200], Y[:200]).partial_fit(X[200:], Y[200:])
    assert np.isfinite(clf.predict_proba(X)).all()


@BOTH
def test_warm_start_goes_on(Estimator, cancer):
    X, y = cancer
    settings = {**SMALL, "max_epochs": 4, "lr_schedule": "constant"}
    once = Estimator(**{**settings, "max_epochs": 8}).fit(X, y)
    warm = Estimator(**settings, warm_start=True).fit(X, y)
    middle = warm.predict(X)
    warm.fit(X, y)
    assert warm.n_iter_ == 8 and len(warm.loss_curve_) == 8
    assert warm.loss_curve_ == once.loss_curve_, "generators and optimizer go on where they were"
    np.testing.assert_array_equal(warm.predict(X), once.predict(X))
    assert not np.array_equal(middle, warm.predict(X))
    with raises("features"):
        warm.fit(X[:, :5], y)
    with raises("hidden_layer_sizes cannot change while training goes on"):
        clone_of = warm.set_params(n_layers=3)
        clone_of.fit(X, y)


def test_warm_start_takes_a_new_learning_rate(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL, warm_start=True).fit(X, y)
    clf.set_params(lr=1e-4, lr_schedule="constant").fit(X, y)
    assert clf.net_.optimizer_.param_groups[0]["lr"] == 1e-4


def test_fit_without_warm_start_begins_anew(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL)
    first = clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, clf.fit(X, y).predict_proba(X))
    assert clf.n_iter_ == SMALL["max_epochs"]


# ---------------------------------------------------------------- randomness


def test_a_row_does_not_depend_on_the_rows_beside_it(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(X, y)
    alone = np.concatenate([clf.predict_proba(X[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(alone, clf.predict_proba(X)[:50], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_have_the_precision_of_X_and_targets_their_own(cancer, dtype):
    X, y = cancer
    clf = SNNClassifier(**SMALL).fit(X, y)
    assert clf.predict_proba(X.astype(dtype)).dtype == dtype
    assert SNNRegressor(**SMALL).fit(X, y).predict(X.astype(dtype)).dtype == np.float64
    np.testing.assert_allclose(clf.predict_proba(X.astype(dtype)), clf.predict_proba(X), atol=1e-4)


def test_fit_does_not_change_parameters(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL)
    before = clf.get_params()
    clf.fit(X, y)
    assert clone(clf).get_params() == before


# ---------------------------------------------------------------- bad input


def _with(X, value):
    X = X.copy()
    X[3, 1] = value
    return X


BAD_X = {
    "nan": (lambda X: _with(X, np.nan), "SimpleImputer(add_indicator=True)"),
    "inf": (lambda X: _with(X, np.inf), "contains infinity"),
    "strings": (lambda X: np.where(X > 3, "high", "low").astype(object), "OneHotEncoder"),
    "string dtype": (lambda X: np.where(X > 3, "high", "low"), "OneHotEncoder"),
    "dates": (lambda X: X.astype("datetime64[s]"), "X must hold numbers; got datetime64[s]"),
    "one dimension": (lambda X: X[:, 0], "Expected 2D array"),
    "three dimensions": (lambda X: X[:, :, None], "Found array with dim 3"),
    "complex": (lambda X: X + 1j, "Complex data not supported"),
    "no rows": (lambda X: X[:0], "0 sample"),
    "no columns": (lambda X: X[:, :0], "0 feature"),
    "rows of another number": (lambda X: X[:-1], "inconsistent numbers of samples"),
    "nan in sparse": (lambda X: sparse.csr_matrix(_with(X, np.nan)), "SimpleImputer(add_indicator=True)"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_X.values(), ids=BAD_X)
def test_bad_X(iris, spoil, message):
    X, y = iris
    clf = SNNClassifier(**SMALL)
    with raises(message):
        clf.fit(spoil(X), y)
    assert not hasattr(clf, "net_")


def test_bad_X_in_predict(iris):
    X, y = iris
    clf = SNNClassifier(**SMALL).fit(X, y)
    with raises("SimpleImputer(add_indicator=True)"):
        clf.predict(_with(X, np.nan))
    with raises("X has 3 features, but SNNClassifier is expecting 4 features"):
        clf.predict(X[:, :3])


BAD_LABELS = {
    "one class": (np.zeros(150), "y has 1 class"),
    "continuous": (np.linspace(0, 1, 150), "Unknown label type: continuous"),
    "nan": (np.r_[np.nan, np.ones(149)], "Drop these rows, or give one column a task"),
    "none": (np.array([None, *["a"] * 149], dtype=object), "Drop these rows, or give one column a task"),
    "inf": (np.r_[np.inf, np.ones(149)], "contains infinity"),
    "mixed": (np.array([1, *["a"] * 149], dtype=object), "y mixes strings and other objects"),
    "objects": (np.array([{}] * 150, dtype=object), "Unknown label type: y holds objects of type 'dict'"),
    "tasks of 2": (np.full((150, 2), 2), "got 2. cross_val_predict re-encodes"),
    "tasks of -1": (np.full((150, 2), -1), "Set missing_label=-1 if -1 marks a missing label"),
    "tasks of strings": (np.full((150, 2), "a"), "a 2-D y must hold the labels 0, 1 and missing_label=nan"),
    "a task without labels": (
        np.c_[np.arange(150) % 2, np.full(150, np.nan)],
        "task 1 of y (column 1) has no label",
    ),
    "none at all": (None, "requires y to be passed, but the target y is None"),
}


@pytest.mark.parametrize(("y", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels(iris, y, message):
    with raises(message):
        SNNClassifier(**SMALL).fit(iris[0], y)


def test_nan_beside_another_missing_label(tasks):
    X, Y = tasks
    with raises("NaN marks a missing label only with missing_label=nan"):
        SNNClassifier(**SMALL, missing_label=-1).fit(X, Y)


def test_a_task_of_one_class_warns(tasks):
    X, Y = tasks
    Y = np.where(np.isnan(Y), Y, [[np.nan, 1, np.nan]]) + np.zeros_like(Y)
    Y[:, [0, 2]] = tasks[1][:, [0, 2]]
    with pytest.warns(UserWarning, match=re.escape("task 1 of y (column 1) has labels of one class only")):
        clf = SNNClassifier(**SMALL).fit(X, Y)
    assert clf.predict(X)[:, 1].all()


BAD_TARGETS = {
    "nan": (np.r_[np.nan, np.ones(441)], "Drop these rows, or give one column an output"),
    "inf": (np.r_[np.inf, np.ones(441)], "contains infinity"),
    "strings": (np.full(442, "a"), "could not convert string to float"),
    "an output without values": (
        np.c_[np.arange(442.0), np.full(442, np.nan)],
        "task 1 of y (column 1) has no",
    ),
    "three dimensions": (np.ones((442, 1, 1)), "dim 3"),
}


@pytest.mark.parametrize(("y", "message"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_bad_targets(diabetes, y, message):
    with raises(message):
        SNNRegressor(**SMALL).fit(diabetes[0], y)


BAD_PARAMETERS = {
    "n_layers": 0,
    "n_units": -1,
    "layer_form": "round",
    "architecture": "rnn",
    "dropout": 1.0,
    "input_dropout": -0.1,
    "standardize": "yes",
    "optimizer": "lbgfs",
    "lr": 0.0,
    "lr_schedule": "step",
    "weight_decay": -1,
    "max_grad_norm": 0,
    "batch_size": 0,
    "max_epochs": 0,
    "early_stopping": "never",
    "validation_fraction": 1.0,
    "n_iter_no_change": 0,
    "tol": -1,
    "class_weight": "equal",
    "label_smoothing": 1.0,
    "missing_label": "none",
    "precision": "float16",
    "random_state": "seed",
    "callbacks": "all",
}


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS.items(), ids=BAD_PARAMETERS)
def test_impossible_parameters_are_named(iris, name, value):
    with raises(f"The '{name}' parameter of SNNClassifier must be"):
        SNNClassifier(**{name: value}).fit(*iris)


OTHER_PARAMETERS = {
    "sizes": ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be positive integers"),
    "class": ({"optimizer": dict}, "optimizer must be a name or a subclass of torch.optim.Optimizer"),
    "argument": ({"optimizer_params": {"speed": 1}}, "refuses optimizer_params={'speed': 1}"),
    "decay": ({"optimizer": "lbfgs", "weight_decay": 0.1}, "optimizer LBFGS has no weight_decay; got 0.1"),
    "no such device": (
        {"device": "gpu"},
        "device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; got 'gpu'",
    ),
}


@pytest.mark.parametrize(("settings", "message"), OTHER_PARAMETERS.values(), ids=OTHER_PARAMETERS)
def test_own_errors_of_parameters(iris, settings, message):
    with raises(message):
        SNNClassifier(**{**SMALL, **settings}).fit(*iris)


def test_a_batch_larger_than_the_rows_is_clipped(iris):
    X, y = iris
    huge, full = (SNNClassifier(**SMALL, batch_size=size).fit(X, y) for size in (10**9, len(X)))
    np.testing.assert_array_equal(huge.predict_proba(X), full.predict_proba(X))


def test_divergence_is_loud(diabetes):
    X, y = diabetes
    reg = SNNRegressor(**{**SMALL, "lr": 1e30, "optimizer": "sgd"})
    with raises(
        "the training loss is not finite in epoch 1: training diverged. Use a smaller lr (now 1e+30)"
    ):
        reg.fit(X, y)
    assert not [name for name in vars(reg) if name.endswith("_")]
    warm = SNNRegressor(**SMALL, warm_start=True).fit(X, y)
    with raises("training diverged"):
        warm.set_params(lr=1e30, optimizer="sgd").fit(X, y)
    assert not hasattr(warm, "net_")


@unfinished
def test_divergence_with_early_stopping_keeps_the_best_epoch(diabetes):
    X, y = diabetes

    from skorch.callbacks import Callback

    class Spoil(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                for group in net.optimizer_.param_groups:
                    group["lr"] = 1e30

    settings = {**SMALL, "optimizer": "sgd", "lr": 1e-2, "lr_schedule": "constant", "callbacks": [Spoil()]}
    reg = SNNRegressor(**settings, early_stopping=True)
    with pytest.warns(
        ConvergenceWarning, match=r"not finite in epoch 4.*The weights of epoch [123], the best"
    ):
        reg.fit(X, y)
    assert reg.n_iter_ == 3 and np.isfinite(reg.predict(X)).all()


def test_learning_nothing_is_said():
    rng = np.random.RandomState(0)
    X, y = rng.randn(300, 5), rng.randint(0, 2, 300)
    with pytest.warns(ConvergenceWarning, match="the network has learned nothing"):
        SNNClassifier(**{**SMALL, "dropout": 0.9, "max_epochs": 2}).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SNNClassifier(**SMALL).fit(X, (X[:, 0] > 0).astype(int))


# ---------------------------------------------------------------- found by review


@pytest.mark.parametrize("watched", [(False, True), (True, False, True)])
def test_validation_rows_may_come_and_go_between_warm_starts(cancer, watched):
    """A row of the history without a validation loss made the next watched fit a KeyError."""
    X, y = cancer
    clf = SNNClassifier(**SMALL, warm_start=True, n_iter_no_change=100)
    for watch in watched:
        clf.fit(X, y, **({"X_val": X[:50], "y_val": y[:50]} if watch else {}))
    assert len(clf.loss_curve_) == 15 * len(watched)
    assert len(clf.validation_loss_curve_) == 15 * sum(watched)


def test_numpy_booleans_are_booleans(cancer):
    """Grids hold numpy's booleans; np.True_ was taken for neither True nor "auto"."""
    X, y = cancer
    assert SNNClassifier(**SMALL, early_stopping=np.True_).fit(X, y).validation_loss_curve_
    with raises("X_val is used for early stopping only"):
        SNNClassifier(**SMALL, early_stopping=np.False_).fit(X, y, X_val=X, y_val=y)


CHANGES = {
    "dropout": ("dropout", 0.3),
    "precision": ("precision", "float64"),
    "standardize": ("standardize", False),
    "standardize_target": ("standardize_target", False),
    "hidden_layer_sizes": ("n_units", 8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_cannot_change_in_a_warm_start_says_so(diabetes, name):
    """Changed parameters were ignored."""
    reg = SNNRegressor(**SMALL, warm_start=True).fit(*diabetes)
    parameter, value = CHANGES[name]
    with raises(f"{name} cannot change while training goes on (warm_start or partial_fit)"):
        reg.set_params(**{parameter: value}).fit(*diabetes)
    assert reg.n_iter_ == 15, "a refused call must leave the model as it was"


def test_what_can_change_in_a_warm_start_counts(cancer):
    X, y = cancer
    clf = SNNClassifier(**SMALL, warm_start=True).fit(X, y)
    before = clf.predict_proba(X)[:, 1].mean()
    clf.set_params(class_weight={0: 1, 1: 50}, optimizer_params={"amsgrad": True}, weight_decay=0.0).fit(X, y)
    assert clf.predict_proba(X)[:, 1].mean() > before


def test_score_checks_shapes_and_weights(tasks):
    """A y of one column was broadcast over three tasks; weights went unchecked."""
    X, Y = tasks
    clf = SNNClassifier(**SMALL).fit(X, Y)
    for y in (Y[:, :1], Y[:, :2]):
        with raises("but the estimator was fitted with (n_rows, 3)"):
            clf.score(X, y)
    with raises("inconsistent numbers of samples"):
        clf.score(X, Y[:1])
    with raises("one weight a row"):
        clf.score(X, Y, sample_weight=np.ones(3))
    with raises("sample_weight must not be negative"):
        clf.score(X, Y, sample_weight=-np.ones(len(X)))
    reg = SNNRegressor(**SMALL).fit(X, Y)
    with raises("nothing to score"):
        reg.score(X, np.full_like(Y, np.nan))


def test_one_task_stays_one_task_where_labels_are_complete(tasks):
    """A complete y_val or chunk of one column was ravelled and then refused."""
    X, Y = tasks
    complete = np.nan_to_num(Y[:50, :1])
    clf = SNNClassifier(**SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)
        clf.fit(X[50:], Y[50:, :1], X_val=X[:50], y_val=complete).partial_fit(X[:50], complete)
        assert 0.5 < clf.score(X[:50], complete) <= 1
    assert clf.predict_proba(X).shape == (len(X), 1)


@pytest.mark.parametrize("missing_label", [0, 1, np.inf])
def test_missing_label_is_no_label(tasks, missing_label):
    X, Y = tasks
    with raises("missing_label must differ from the labels 0 and 1"):
        SNNClassifier(**SMALL, missing_label=missing_label).fit(X, np.nan_to_num(Y))


CLASS_WEIGHTS = {
    "strings": (["even", "even", "even"], "class_weight must hold dicts, 'balanced' or None; got 'even'"),
    "numbers": ([1, 2, 3], "class_weight must hold dicts, 'balanced' or None; got 1"),
    "nothing": ({0: 0, 1: 0}, "class_weight must be finite, not negative, and not all zero"),
}


@pytest.mark.parametrize(("class_weight", "message"), CLASS_WEIGHTS.values(), ids=CLASS_WEIGHTS)
def test_bad_class_weights(tasks, class_weight, message):
    with raises(message):
        SNNClassifier(**SMALL, class_weight=class_weight).fit(*tasks)


def test_balanced_in_a_list_is_no_chunks_business(tasks):
    with raises("class_weight='balanced' cannot be used with partial_fit"):
        SNNClassifier(**SMALL, class_weight=["balanced", None, None]).partial_fit(*tasks)


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_optimizer_params_hold_no_parameter_of_ours(iris, name):
    with raises(f"optimizer_params must not hold '{name}'; got 0.5. Set {name} itself"):
        SNNClassifier(**SMALL, optimizer_params={name: 0.5}).fit(*iris)


def test_weights_that_a_split_leaves_out(diabetes):
    X, y = diabetes
    alone = np.zeros(len(y))
    settings = {**SMALL, "early_stopping": True, "validation_fraction": 0.6}
    held, kept = [], []
    for row in range(12):
        alone[:] = np.arange(len(y)) == row
        with pytest.raises(ValueError, match="weight 0|no label of positive weight") as error:
            SNNRegressor(**settings).fit(X, y, sample_weight=alone)
        (held if "training rows all have weight 0" in str(error.value) else kept).append(row)
    assert held and kept
    with raises("sample_weight is too large: its sum overflows"):
        SNNRegressor(**SMALL).fit(X, y, sample_weight=np.full(len(y), 1e308))


def test_labels_on_rows_without_weight_are_not_watched(tasks):
    """Their loss is 0 from the first epoch on, which was then the best."""
    X, Y = tasks
    weight = np.isnan(Y[:100]).all(axis=1).astype(float)
    weight[0], Y = 1.0, Y.copy()
    Y[0] = np.nan
    with raises("no label of positive weight"):
        SNNClassifier(**SMALL).fit(X[100:], Y[100:], X_val=X[:100], y_val=Y[:100], sample_weight_val=weight)


def test_targets_too_large_to_standardise(diabetes):
    with raises("output 0 of y is too large to standardise"):
        SNNRegressor(**SMALL).fit(diabetes[0], diabetes[1] * 1e160)


def test_weights_that_overflow_in_the_last_step(diabetes):
    """The losses of an epoch are taken before its last step, and did not see it."""
    X, y = diabetes
    settings = {**SMALL, "max_epochs": 1, "lr": 1e38, "batch_size": 1000}
    with raises("training diverged"):
        SNNRegressor(**settings).fit(X, y)
    with raises("training diverged"):
        SNNRegressor(**settings).partial_fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_too_far_away_to_predict_are_named(iris, dtype):
    """They overflowed in the network and came back as NaN."""
    X, y = iris
    clf = SNNClassifier(**SMALL).fit(X, y)
    far = X.astype(dtype)
    far[7] = 0.9 * np.finfo(dtype).max * np.array([1, -1, 1, -1])
    with raises("the outputs of row 7 of X are not finite"):
        clf.predict(far)


def test_sizes_may_be_one_number(iris):
    assert len(SNNClassifier(**SMALL, hidden_layer_sizes=8).fit(*iris).net_.module_.network.layers) == 2
