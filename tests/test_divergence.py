"""Training that diverges or learns nothing: it is said, and its cause is named."""

import warnings

import numpy as np
import pytest
from conftest import LEARNING, SMALL, TASKS, T, X, Y, raises, unfinished
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sksnn import SNNClassifier, SNNRegressor


def test_divergence_is_an_error_that_leaves_nothing_fitted(whole_diabetes):
    X, y = whole_diabetes
    reg = SNNRegressor(**{**LEARNING, "lr": 1e30, "optimizer": "sgd"})
    with raises(
        "the training loss is not finite in epoch 1: training diverged. Use a smaller lr (now 1e+30)"
    ):
        reg.fit(X, y)
    assert not [name for name in vars(reg) if name.endswith("_")]
    warm = SNNRegressor(**LEARNING, warm_start=True).fit(X, y)
    with raises("training diverged"):
        warm.set_params(lr=1e30, optimizer="sgd").fit(X, y)
    assert not hasattr(warm, "net_")


@unfinished
def test_divergence_with_early_stopping_keeps_the_best_epoch(whole_diabetes):
    X, y = whole_diabetes

    class Spoil(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                for group in net.optimizer_.param_groups:
                    group["lr"] = 1e30

    settings = {**LEARNING, "optimizer": "sgd", "lr": 1e-2, "lr_schedule": "constant", "callbacks": [Spoil()]}
    reg = SNNRegressor(**settings, early_stopping=True)
    with pytest.warns(
        ConvergenceWarning, match=r"not finite in epoch 4.*The weights of epoch [123], the best"
    ):
        reg.fit(X, y)
    assert reg.n_iter_ == 3 and np.isfinite(reg.predict(X)).all()


def test_weights_that_overflow_in_the_last_step_are_an_error(whole_diabetes):
    """The losses of an epoch are taken before its last step, and did not see it."""
    X, y = whole_diabetes
    settings = {**LEARNING, "max_epochs": 1, "lr": 1e38, "batch_size": 1000}
    with raises("training diverged"):
        SNNRegressor(**settings).fit(X, y)
    with raises("training diverged"):
        SNNRegressor(**settings).partial_fit(X, y)


def test_a_net_that_learns_nothing_warns():
    rng = np.random.RandomState(0)
    X, y = rng.randn(300, 5), rng.randint(0, 2, 300)
    with pytest.warns(ConvergenceWarning, match="the network has learned nothing"):
        SNNClassifier(**{**LEARNING, "dropout": 0.9, "max_epochs": 2}).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SNNClassifier(**LEARNING).fit(X, (X[:, 0] > 0).astype(int))


# ---------------------------------------------------------------- causes


class TestCausesOfDivergence:
    """A smaller lr was advised where another thing is to blame."""

    def test_outliers_in_validation_rows_are_named(self):
        rows = X.copy()
        rows[3, 2] = 1e40
        with raises("X_val, standardised by the training rows, holds values of"):
            SNNClassifier(**SMALL).fit(X, Y, X_val=rows, y_val=Y)

    @pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
    def test_columns_that_are_not_standardised_are_named(self, container):
        with raises("X, not standardised, holds values of") as caught:
            SNNClassifier(**SMALL, standardize=False).fit(container(X * 1e40), Y)
        assert "Set standardize=True" in str(caught.value) and "lr" not in str(caught.value)

    def test_a_target_that_is_not_standardised_is_named(self):
        with raises("y, not standardised, holds values of") as caught:
            SNNRegressor(**SMALL, standardize_target=False).fit(X, T * 1e30)
        assert "Set standardize_target=True" in str(caught.value)

    def test_outliers_in_validation_targets_are_named(self):
        with raises("y_val, standardised by the training rows, holds values of"):
            SNNRegressor(**SMALL).fit(X, T, X_val=X, y_val=T * 1e30)

    def test_one_weight_beside_which_others_vanish_is_named(self):
        weight = np.ones(len(X))
        weight[0] = 1e300
        with raises(
            "one label has a weight of 120, 100% of all weight. Bring sample_weight and class_weight"
        ):
            SNNClassifier(**SMALL).fit(X, Y, sample_weight=weight)

    def test_a_weight_decay_that_is_too_large_is_named(self):
        with raises(
            "weight_decay times lr at 2e+28. Use a smaller weight_decay (now 1e+30) or lr (now 0.02)"
        ):
            SNNClassifier(**SMALL, weight_decay=1e30).fit(X, Y)

    def test_a_rate_at_which_the_default_decay_is_too_much_is_named(self):
        """Only the decay was blamed, at the default of that time."""
        with raises("Use a smaller lr (now 1e+30) or weight_decay (now 0.3)"):
            SNNClassifier(**SMALL | {"lr": 1e30, "weight_decay": 0.3}).fit(X, Y)

    def test_a_class_weight_beyond_float32_is_named(self):
        with raises("one label has a weight of inf. Bring sample_weight and class_weight to one magnitude"):
            SNNClassifier(**SMALL, class_weight={0: 1e300, 1: 1}).fit(X, Y)

    def test_a_learning_rate_that_is_too_large_is_named(self):
        with raises("training diverged. Use a smaller lr (now 1e+20)"):
            SNNClassifier(**SMALL | {"optimizer": "sgd", "lr": 1e20, "weight_decay": 0.0}).fit(X, Y)


def test_a_decay_that_turns_weights_around_and_makes_them_grow_is_named():
    """Each step multiplies weights by 1 - 2.5."""
    params = {**SMALL, "weight_decay": 2.5 / SMALL["lr"], "lr_schedule": "constant", "max_epochs": 60}
    with raises("weight_decay times lr at 2.5"):
        SNNClassifier(**params).fit(X, Y)


@pytest.mark.parametrize("estimator", [SNNClassifier, SNNRegressor])
def test_missing_labels_are_not_blamed_for_divergence(estimator):
    """'y, standardised by the training rows, holds values of inf' was said of labels that are missing."""
    tasks = TASKS.copy()
    tasks[::7, 1] = np.nan
    with raises("training diverged. Use a smaller lr (now 1e+20)"):
        estimator(**SMALL | {"optimizer": "sgd", "lr": 1e20, "weight_decay": 0.0}).fit(X, tasks)


# ---------------------------------------------------------------- predictions that are not finite


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_too_far_away_to_predict_are_named(whole_iris, dtype):
    """They overflowed in the network and came back as NaN."""
    X, y = whole_iris
    clf = SNNClassifier(**LEARNING).fit(X, y)
    far = X.astype(dtype)
    far[7] = 0.9 * np.finfo(dtype).max * np.array([1, -1, 1, -1])
    with raises("the outputs of row 7 of X are not finite"):
        clf.predict(far)


def test_predictions_that_leave_float64_are_an_error():
    model = SNNRegressor(**SMALL, encoding=None).fit(X, T * 1e150)
    with raises("the outputs of row 1 of X are not finite"):
        model.predict(X[:3] * [[1], [1e170], [1]])
