"""Displays: what they draw is what was measured, in the properties asked for."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import SMALL, raises
from helpers import gaussian
from numpy.testing import assert_allclose, assert_array_equal

from sksnn import SNNClassifier, SNNRegressor
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import (
    LayerMomentsDisplay,
    MomentHistoryDisplay,
    MomentMapDisplay,
    TrainingCurveDisplay,
    layer_moments,
    moment_history,
)
from sksnn.networks import SNN
from sksnn.theory import moment_map

pytestmark = pytest.mark.usefixtures("plt")


def test_layer_moments_display_draws_the_moments(recorded, plt):
    model, X = recorded
    display = LayerMomentsDisplay.from_estimator(model, X, color="tab:red")
    moments = layer_moments(model, X)
    for i, name in enumerate(("mean", "variance")):
        line = display.lines_[i]
        assert_array_equal(line.get_xdata(), [0, 1, 2])
        assert_array_equal(line.get_ydata(), getattr(moments, name))
        assert line.get_color() == "tab:red" and line.axes is display.axes_[i]
        vertices = display.bands_[i].get_paths()[0].vertices
        values = getattr(moments.layers[-1], name)
        ends = np.quantile(values, [0.05, 0.95])
        assert_allclose(np.sort(np.unique(vertices[vertices[:, 0] == 2, 1])), ends)
    assert [axis.get_ylabel() for axis in display.axes_] == ["mean", "variance"]
    axes = plt.subplots(2)[1]
    axes[1].set_xticks([0, 2])
    assert LayerMomentsDisplay(moments).plot(axes).axes_[1] is axes[1]
    assert_array_equal(axes[1].get_xticks(), [0, 2])  # a user's own ticks stay


def test_moment_history_display_draws_the_history(recorded):
    model, _ = recorded
    display = MomentHistoryDisplay.from_estimator(model, linewidth=3)
    history = moment_history(model)
    for lines, values in zip(display.lines_, (history.mean, history.variance), strict=True):
        assert_array_equal(np.transpose([line.get_ydata() for line in lines]), values)
        assert {line.get_linewidth() for line in lines} == {3}
        assert_array_equal(lines[0].get_xdata(), history.epoch)


def test_moment_map_display_draws_the_flow():
    display = MomentMapDisplay().plot(scale=20)
    quiver = display.quiver_
    mean, variance = quiver.X, quiver.Y
    image = moment_map(mean, variance)
    step = np.hypot(image[0] - mean, image[1] - variance)
    assert_allclose(quiver.get_array(), step)
    assert_array_equal(np.sign(quiver.U), np.sign(image[0] - mean))
    assert_array_equal(np.sign(quiver.V), np.sign(image[1] - variance))
    assert_allclose(np.hypot(quiver.U, quiver.V)[step > 1e-9], 1)
    assert quiver.scale == 20
    assert_allclose(np.ravel(display.point_.get_data()), (0, 1), atol=1e-9)
    assert display.domain_.get_bbox().extents == pytest.approx([-0.1, 0.8, 0.1, 1.5])
    assert display.path_ is None
    assert MomentMapDisplay(tau=0.3).plot().point_ is None  # everything vanishes


def test_moment_map_display_draws_the_way_of_a_network(recorded, plt):
    model, X = recorded
    axis = plt.subplots()[1]
    display = MomentMapDisplay.from_estimator(model, X, ax=axis)
    moments = layer_moments(model, X)
    assert_array_equal(display.path_.get_xdata(), moments.mean)
    assert_array_equal(display.path_.get_ydata(), moments.variance)
    assert display.ax_ is axis and display.figure_ is axis.figure


def test_displays_of_another_fixed_point_mark_it():
    """They marked (0, 1), and Theorem 1's domain, which is about that one only."""
    network = SNN(20, 2, (64,) * 4, generator=torch.Generator().manual_seed(0), fixed_point=(0.1, 2.0))
    axes = LayerMomentsDisplay.from_estimator(network, gaussian(200, 20)).axes_
    labels = [axis.get_legend_handles_labels()[1] for axis in axes]
    assert "fixed point: 0.1" in labels[0] and "fixed point: 2" in labels[1]
    assert "domain of Theorem 1" not in labels[0]
    display = MomentMapDisplay.from_estimator(network, gaussian(200, 20))
    assert (display.alpha, display.scale) == (network.alpha, network.scale)
    assert_allclose(np.ravel(display.point_.get_data()), (0.1, 2), atol=1e-9)
    assert display.domain_ is None
    image = moment_map(display.quiver_.X, display.quiver_.Y, 0, 1, network.alpha, network.scale)
    step = np.hypot(image[0] - display.quiver_.X, image[1] - display.quiver_.Y)
    assert_allclose(display.quiver_.get_array(), step)
    low, high = display.quiver_.Y.min(), display.quiver_.Y.max()
    assert low < 2 < high


def test_a_history_knows_the_fixed_point(cancer):
    net = partial(SNN, hidden_layer_sizes=(9, 9), fixed_point=(0.0, 2.0))
    model = SNNClassifier(**SMALL, architecture=net, callbacks=[MomentRecorder()]).fit(*cancer)
    display = MomentHistoryDisplay.from_estimator(model, c="r", lw=3)
    assert "fixed point: 2" in display.axes_[1].get_legend_handles_labels()[1]
    assert display.lines_[0][0].get_color() == "r" and display.lines_[0][0].get_linewidth() == 3


@pytest.mark.parametrize("path", [[[0.0, 0.0], [0.1, 1.2]], [[0.0, 1.0], [np.inf, 2.0], [0.1, np.nan]]])
def test_a_path_of_any_numbers_is_drawn(path):
    """From a variance of 0 on, from which there are no arrows; what is not finite is left out."""
    display = MomentMapDisplay(path=path).plot()
    assert np.isfinite(display.quiver_.X).all() and np.isfinite(display.quiver_.Y).all()
    assert 0 < display.quiver_.Y.min() < 0.6
    assert np.isfinite(display.quiver_.U).all() and len(display.path_.get_xdata()) == len(path)


@pytest.mark.parametrize("path", [[], [1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_a_path_of_another_shape_is_refused(path):
    with raises(f"shape (n_layers + 1, 2); got shape {np.shape(path)}. None draws the flow alone."):
        MomentMapDisplay(path=path).plot()


def test_short_names_of_line_properties_are_taken(recorded):
    """c and ms raised "Got both 'color' and 'c'"."""
    display = LayerMomentsDisplay.from_estimator(*recorded, c="r", ms=3)
    assert display.lines_[0].get_color() == "r" and display.lines_[0].get_markersize() == 3
    assert_array_equal(display.bands_[0].get_facecolor()[0][:3], (1, 0, 0))
    assert TrainingCurveDisplay([1.0, 2.0]).plot(lw=4, ls=":").lines_[0].get_linewidth() == 4


def test_training_curve_display_draws_the_curves(recorded, diabetes):
    model, _ = recorded
    display = TrainingCurveDisplay.from_estimator(model, linestyle="--")
    for line, key in zip(display.lines_, ("train_loss", "valid_loss"), strict=True):
        assert_array_equal(line.get_ydata(), [row[key] for row in model.net_.history])
        assert_array_equal(line.get_xdata(), np.arange(1, model.n_iter_ + 1))
        assert line.get_linestyle() == "--"
    assert_array_equal(display.best_.get_xdata(), [model.best_epoch_] * 2)
    assert display.ax_.get_yscale() == "log"
    assert TrainingCurveDisplay.from_estimator(model, log_scale=False).ax_.get_yscale() == "linear"
    alone = TrainingCurveDisplay.from_estimator(SNNRegressor(**SMALL).fit(*diabetes))
    assert len(alone.lines_) == 1 and alone.best_ is None
    assert TrainingCurveDisplay([1.0, 0.0]).plot().ax_.get_yscale() == "linear"
    later = TrainingCurveDisplay([3.0, 2.0, 1.0], [2.0, 1.0], best_epoch=3).plot()
    assert_array_equal(later.lines_[1].get_xdata(), [2, 3])


@pytest.mark.parametrize("display", [MomentMapDisplay(), TrainingCurveDisplay([1.0])])
def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with raises("Install it with pip install matplotlib.", ImportError):
        display.plot()
