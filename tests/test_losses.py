"""The losses against torch.nn.functional and scikit-learn, their minima against closed forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
)
from sklearn.utils import compute_class_weight

from sksnn.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    Gamma,
    Huber,
    LogLink,
    MaskedLoss,
    OwnLoss,
    Poisson,
    Quantile,
    SquaredError,
)

LAWS = settings(max_examples=25, deadline=None, derandomize=True)
rng = np.random.default_rng(0)
N = 40
OUTPUT = torch.tensor(rng.normal(size=(N, 3)))
VALUES = torch.tensor(rng.normal(size=(N, 3)) * 2)
POSITIVE = VALUES.exp()
LABELS = torch.tensor(rng.integers(0, 2, size=(N, 3)).astype(float))
CLASSES = torch.tensor(rng.integers(0, 3, size=N))
WEIGHT = torch.tensor(rng.uniform(size=N))
MISSING = torch.tensor(rng.uniform(size=(N, 3)) < 0.4)


def binary(y, z):
    return -y * special.log_expit(z) - (1 - y) * special.log_expit(-z)


def pinball(y, z):
    return np.where(y > z, 0.9 * (y - z), 0.1 * (z - y))


def fourth_power(output, y):
    assert output.shape == y.shape and not y.isnan().any()
    return (output - y) ** 4


# A loss, its labels, and what each label costs by another library's hand: (y, output) -> array.
POINTWISE = {
    "binary": (BinaryCrossEntropy, LABELS, binary),
    "squared": (SquaredError, VALUES, lambda y, z: (y - z) ** 2 / 2),
    "absolute": (AbsoluteError, VALUES, lambda y, z: np.abs(y - z)),
    "huber": (Huber, VALUES, lambda y, z: special.huber(1.345, y - z)),
    "quantile": (lambda masked: Quantile(masked, 0.9), VALUES, pinball),
    "poisson": (Poisson, POSITIVE, lambda y, z: np.exp(z) - y * z),
    "gamma": (Gamma, POSITIVE, lambda y, z: z + y / np.exp(z)),
    "own": (lambda masked: OwnLoss(masked, loss=fourth_power), VALUES, lambda y, z: (y - z) ** 4),
}
by_name = pytest.mark.parametrize(("loss", "y", "pointwise"), POINTWISE.values(), ids=POINTWISE)


def masked(y):
    return y.masked_fill(MISSING, torch.nan)


# ---------------------------------------------------------------- values


@by_name
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_sum_of_weighted_losses_over_labels_present(loss, y, pointwise, weight, missing):
    losses = pointwise(y.numpy(), OUTPUT.numpy()) * (1 if weight is None else weight.numpy()[:, None])
    present = ~MISSING.numpy() if missing else np.ones((N, 3), bool)
    criterion, target = loss(masked=missing), masked(y) if missing else y
    value = criterion(OUTPUT, target, weight if weight is None else weight[:, None])
    assert value.item() == pytest.approx(losses[present].sum() / present.sum(), rel=1e-12)
    assert int(criterion.n_labels(target)) == present.sum()


@by_name
def test_a_mask_without_missing_labels_changes_nothing(loss, y, pointwise):
    weight = torch.tensor(rng.uniform(size=(N, 3)))  # one weight a label, too
    assert_allclose(loss(masked=True)(OUTPUT, y, weight), loss(masked=False)(OUTPUT, y, weight), rtol=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(
    ("loss", "score", "factor"),
    [
        (SquaredError(), mean_squared_error, 0.5),
        (AbsoluteError(), mean_absolute_error, 1),
        (Quantile(quantile=0.2), lambda *a, **k: mean_pinball_loss(*a, **k, alpha=0.2), 1),
    ],
    ids=["squared", "absolute", "quantile"],
)
def test_regression_losses_are_scikit_learns(loss, score, factor, weight):
    y, output = VALUES[:, 0], OUTPUT[:, :1]  # a 1-D target, one output
    scale = 1 if weight is None else weight.mean().item()
    expected = score(y, output[:, 0], sample_weight=weight) * factor * scale
    assert loss(output, y, weight).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "deviance", "of_y"),
    [
        (Poisson(), mean_poisson_deviance, lambda y: special.xlogy(y, y) - y),
        (Gamma(), mean_gamma_deviance, lambda y: -np.log(y) - 1),
    ],
    ids=["poisson", "gamma"],
)
def test_log_link_losses_are_half_of_scikit_learns_deviances(loss, deviance, of_y):
    """But for a term of y alone."""
    y, output = POSITIVE[:, 0].round() + 1, OUTPUT[:, :1]
    rest = np.average(of_y(y.numpy()), weights=WEIGHT)
    expected = deviance(y, output[:, 0].exp(), sample_weight=WEIGHT) / 2 - rest
    assert loss(output, y, WEIGHT / WEIGHT.mean()).item() == pytest.approx(expected, rel=1e-12)


def test_of_several_quantiles_the_loss_is_the_mean():
    y, levels = VALUES[:, 0], [0.25, 0.9, 0.5]
    each = [mean_pinball_loss(y, OUTPUT[:, j], alpha=q) for j, q in enumerate(levels)]
    assert Quantile(quantile=levels)(OUTPUT, y).item() == pytest.approx(np.mean(each), rel=1e-6)
    one = Quantile(quantile=[0.25])(OUTPUT[:, :1], y, WEIGHT)
    assert one.item() == Quantile(quantile=0.25)(OUTPUT[:, :1], y, WEIGHT).item()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_cross_entropy_is_scikit_learns_log_loss(weight):
    scale = 1 if weight is None else weight.mean().item()
    arrays = CLASSES.numpy(), OUTPUT.softmax(1).numpy()
    expected = log_loss(*arrays, sample_weight=None if weight is None else weight.numpy()) * scale
    assert CrossEntropy()(OUTPUT, CLASSES, weight).item() == pytest.approx(expected, rel=1e-9)


def test_balanced_class_weights_are_torchs():
    """Balanced weights have mean 1 over the rows, so torch divides by the same."""
    balanced = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=CLASSES.numpy()))
    expected = F.cross_entropy(OUTPUT, CLASSES, weight=balanced)
    assert_allclose(CrossEntropy()(OUTPUT, CLASSES, balanced[CLASSES]), expected, rtol=1e-12)


@by_name
def test_repeated_rows_cost_the_same(loss, y, pointwise):
    """Port error 4: a sum over the batch needs another learning rate for every batch size."""
    once, twice = (loss(masked=True)(OUTPUT.repeat(k, 1), masked(y).repeat(k, 1)) for k in (1, 2))
    assert_allclose(once, twice, rtol=1e-12)


def test_the_base_class_leaves_the_loss_open():
    with pytest.raises(NotImplementedError):
        MaskedLoss()(OUTPUT, VALUES)
    with pytest.raises(NotImplementedError):
        MaskedLoss().slope(OUTPUT, VALUES)


# ---------------------------------------------------------------- missing labels and gradients


@by_name
@pytest.mark.parametrize("weight", [None, WEIGHT[:, None]], ids=["unweighted", "weighted"])
def test_nothing_present_costs_0(loss, y, pointwise, weight):
    output = OUTPUT.clone().requires_grad_()
    value = loss(masked=True)(output, torch.full_like(y, torch.nan), weight)
    value.backward()
    assert value.item() == 0
    assert not output.grad.any()


@by_name
def test_gradient_of_missing_labels_is_exactly_0(loss, y, pointwise):
    output = OUTPUT.clone().requires_grad_()
    loss(masked=True)(output, masked(y), WEIGHT[:, None]).backward()
    assert not output.grad[MISSING].any()
    assert output.grad[~MISSING].all()


@by_name
def test_gradients_by_finite_differences(loss, y, pointwise):
    criterion = loss(masked=True)
    output = OUTPUT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: criterion(z, masked(y), WEIGHT[:, None]), output)


def test_gradient_of_cross_entropy_by_finite_differences():
    output = OUTPUT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: CrossEntropy(label_smoothing=0.1)(z, CLASSES, WEIGHT), output)


# ---------------------------------------------------------------- label smoothing


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothing_in_training_mode_only(smoothing):
    loss = CrossEntropy(label_smoothing=smoothing)
    for mode, expected in [("train", smoothing), ("eval", 0.0)]:
        getattr(loss, mode)()
        assert_allclose(
            loss(OUTPUT, CLASSES), F.cross_entropy(OUTPUT, CLASSES, label_smoothing=expected), rtol=1e-12
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_tasks_are_smoothed_softmax_of_two_classes(smoothing):
    loss = BinaryCrossEntropy(masked=True, label_smoothing=smoothing)
    z, present = OUTPUT[:, 0], ~MISSING[:, 0]
    two = torch.stack([torch.zeros_like(z), z], dim=1)
    for mode, s in [("train", smoothing), ("eval", 0.0)]:
        getattr(loss, mode)()
        expected = F.cross_entropy(two[present], LABELS[present, 0].long(), label_smoothing=s)
        assert_allclose(loss(z[:, None], masked(LABELS)[:, :1]), expected, rtol=1e-12)


# ---------------------------------------------------------------- the best constant

CONSTANTS = {
    "softmax": (CrossEntropy(), CLASSES),
    "smoothed": (CrossEntropy(label_smoothing=0.2), CLASSES),
    "tasks": (BinaryCrossEntropy(masked=True), masked(LABELS)),
    "smoothed tasks": (BinaryCrossEntropy(masked=True, label_smoothing=0.2), masked(LABELS)),
    "squared": (SquaredError(masked=True), masked(VALUES)),
    "absolute": (AbsoluteError(masked=True), masked(VALUES)),
    "huber": (Huber(masked=True), masked(VALUES)),
    "quantile": (Quantile(masked=True, quantile=0.9), masked(VALUES)),
    "quantiles": (Quantile(quantile=[0.1, 0.5, 0.8]), VALUES[:, 0]),
    "poisson": (Poisson(masked=True), masked(POSITIVE.round())),
    "gamma": (Gamma(masked=True), masked(POSITIVE)),
    "one column": (Huber(), VALUES[:, 0]),
}


@pytest.mark.parametrize(("loss", "y"), CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_no_other_constant_is_better(loss, y, weighted):
    weight = (WEIGHT if y.ndim == 1 else WEIGHT[:, None]) if weighted else None
    n_outputs = 1 if loss.__class__ is Huber and y.ndim == 1 else 3
    best = loss.best_constant(y, weight, n_outputs)
    assert best.shape == (n_outputs,)
    least = loss(best.expand(N, -1), y, weight).item()
    assert loss.constant_loss(y, weight, n_outputs) == least
    for step in torch.tensor(rng.normal(size=(20, n_outputs))) * torch.logspace(-3, 1, 20)[:, None]:
        assert loss((best + step).expand(N, -1), y, weight).item() >= least - 1e-7


@LAWS
@given(
    y=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=15), q=st.sampled_from([0.1, 0.5, 0.8])
)
def test_best_constants_in_closed_form(y, q):
    target = torch.tensor(y, dtype=torch.float64)
    tolerance = {"abs": 1e-6}
    assert SquaredError().best_constant(target).item() == pytest.approx(np.mean(y), **tolerance)
    exact, best = np.quantile(y, q, method="inverted_cdf"), Quantile(quantile=q).best_constant(target).item()
    least = mean_pinball_loss(y, np.full(len(y), exact), alpha=q)
    assert mean_pinball_loss(y, np.full(len(y), best), alpha=q) <= least + 1e-6
    if len(y) % 2:
        assert AbsoluteError().best_constant(target).item() == pytest.approx(np.median(y), **tolerance)


def test_best_constants_of_classes_are_frequencies():
    counts = np.bincount(CLASSES, weights=WEIGHT)
    assert_allclose(
        CrossEntropy().best_constant(CLASSES, WEIGHT).softmax(0), counts / counts.sum(), rtol=1e-6
    )
    shares = np.nanmean(masked(LABELS), axis=0)
    assert_allclose(
        BinaryCrossEntropy(masked=True).best_constant(masked(LABELS)).sigmoid(), shares, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (CrossEntropy(), torch.zeros(5, dtype=torch.int64)),
        (BinaryCrossEntropy(masked=True), torch.tensor([[1.0, 0.0], [1.0, torch.nan]])),
        (Quantile(quantile=0.1), torch.full((4,), 7.0)),
        (Poisson(), torch.zeros(4)),
    ],
    ids=["class", "task", "value", "count"],
)
def test_constant_loss_of_constant_targets_is_finite_and_near_0(loss, y):
    assert loss.constant_loss(y, n_outputs=2 if y.dtype == torch.int64 else None) == pytest.approx(
        0, abs=1e-6
    )


# ---------------------------------------------------------------- the gradient written out


@by_name
@pytest.mark.parametrize("weight", [None, WEIGHT[:, None]], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_the_gradient_is_autograds(loss, y, pointwise, weight, missing):
    output = OUTPUT.clone().requires_grad_()
    criterion, target = loss(masked=missing), masked(y) if missing else y
    expected = criterion(output, target, weight)
    expected.backward()
    value, gradient = criterion.with_gradient(OUTPUT, target, weight)
    assert_allclose(value, expected.detach(), rtol=1e-12)
    assert_allclose(gradient, output.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_gradient_of_cross_entropy_is_autograds(weight, smoothing):
    output = OUTPUT.clone().requires_grad_()
    for training in (True, False):
        criterion = CrossEntropy(label_smoothing=smoothing).train(training)
        (expected,) = torch.autograd.grad(criterion(output, CLASSES, weight), output)
        assert_allclose(criterion.with_gradient(OUTPUT, CLASSES, weight)[1], expected, rtol=1e-10, atol=1e-14)


def test_the_gradient_of_smoothed_tasks_is_autograds():
    output, criterion = OUTPUT.clone().requires_grad_(), BinaryCrossEntropy(masked=True, label_smoothing=0.2)
    (expected,) = torch.autograd.grad(criterion(output, masked(LABELS)), output)
    assert_allclose(criterion.with_gradient(OUTPUT, masked(LABELS))[1], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", [SquaredError, AbsoluteError, Huber, Quantile])
def test_the_gradient_of_a_single_target_has_the_shape_of_the_output(loss):
    output = OUTPUT[:, :1].clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss()(output, VALUES[:, 0], WEIGHT), output)
    gradient = loss().with_gradient(OUTPUT[:, :1], VALUES[:, 0], WEIGHT)[1]
    assert gradient.shape == (N, 1)
    assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "loss",
    [Quantile(quantile=[0.1, 0.5, 0.8]), OwnLoss(loss=lambda z, y: F.cross_entropy(z, y, reduction="none"))],
)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_the_gradient_where_a_label_has_several_outputs_is_autograds(loss, weight):
    y = CLASSES if isinstance(loss, OwnLoss) else VALUES[:, 0]
    output = OUTPUT.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(output, y, weight), output)
    value, gradient = loss.with_gradient(OUTPUT, y, weight)
    assert_allclose(gradient, expected, rtol=1e-6, atol=1e-14)
    assert_allclose(value, loss(OUTPUT, y, weight), rtol=1e-12)


@by_name
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
def test_several_networks_at_once_are_each_as_if_alone(loss, y, pointwise, missing):
    """The own loss couples the rows of a batch here: those of other networks must stay out of it."""
    criterion, target = loss(masked=missing), masked(y) if missing else y
    if isinstance(criterion, OwnLoss):
        criterion = OwnLoss(missing, loss=lambda z, y: (z - y - (z - y).mean()) ** 2)
    outputs, targets = torch.stack([OUTPUT, OUTPUT.flip(0) + 1]), torch.stack([target, target.flip(1)])
    weights = torch.stack([WEIGHT, WEIGHT.flip(0)])[..., None]
    losses, gradients = criterion.with_gradient(outputs, targets, weights)
    for i in range(2):
        value, gradient = criterion.with_gradient(outputs[i], targets[i], weights[i])
        assert_allclose(losses[i], value, rtol=1e-12)
        assert_allclose(gradients[i], gradient, rtol=1e-10, atol=1e-14)


def test_the_gradient_of_nothing_present_is_0():
    value, gradient = SquaredError(masked=True).with_gradient(OUTPUT, torch.full_like(VALUES, torch.nan))
    assert value == 0 and not gradient.any()


# ---------------------------------------------------------------- links


@LAWS
@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6))
def test_averages_behind_a_log_link_are_those_of_predictions(logs):
    outputs, present = torch.tensor(logs).view(3, 2, 1).double(), torch.ones(3, 2, dtype=torch.bool)
    present[:2, 1] = False
    predictions = np.exp(outputs.numpy())[:, :, 0]
    found = LogLink.inverse(LogLink.average(outputs).numpy())[:, 0]
    assert_allclose(found, predictions.mean(axis=0), rtol=1e-12)
    found = LogLink.inverse(LogLink.average(outputs, present).numpy())[:, 0]
    assert_allclose(found, [predictions[:, 0].mean(), predictions[2, 1]], rtol=1e-12)


def test_averages_behind_a_log_link_do_not_overflow():
    assert LogLink.average(torch.tensor([[[800.0]], [[800.0]]])).item() == pytest.approx(800)
