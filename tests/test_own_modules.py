"""Architectures of the user's own: modules of every kind train, predict and go on."""

import pickle

import numpy as np
import pytest
import torch
from conftest import SIX_EPOCHS, SMALL, X, Y, raises, unfinished
from torch import nn

from sksnn import SNNClassifier
from sksnn.callbacks import MomentRecorder
from sksnn.diagnostics import layer_moments


class Casting(nn.Module):
    """Casts by hand, as users' modules do, and has a scalar parameter."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layer, self.gain = nn.Linear(n_inputs, n_outputs), nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.gain * self.layer(x.float())


ZOO = {
    "casting": Casting,
    "batch norm": lambda i, o: nn.Sequential(nn.Linear(i, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, o)),
    "weight norm": lambda i, o: nn.utils.parametrizations.weight_norm(nn.Linear(i, o)),
    "convolution": lambda i, o: nn.Sequential(
        nn.Unflatten(1, (1, i)),
        nn.Conv1d(1, 4, 3),
        nn.SELU(),
        nn.Flatten(),
        nn.Linear(4 * (i - 2), o, bias=False),
    ),
}


@pytest.mark.parametrize("architecture", ZOO.values(), ids=ZOO)
def test_modules_of_every_kind_train_predict_and_pickle(whole_cancer, architecture):
    """Their float64 copies failed in predict, and a last batch of one row in batch norm."""
    X, y = whole_cancer[0][:129], whole_cancer[1][:129]  # 129 = 2 * 64 + 1
    clf = SNNClassifier(**{**SIX_EPOCHS, "max_epochs": 30}, architecture=architecture).fit(X, y)
    assert clf.score(X, y) > 0.8
    assert clf.predict_proba(X).dtype == np.float64
    again = pickle.loads(pytest.importorskip("cloudpickle").dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_a_module_of_the_wrong_width_is_refused(whole_cancer):
    X, y = whole_cancer
    with raises("architecture must map (n, 30) to (n, 2)"):
        SNNClassifier(**SIX_EPOCHS, architecture=lambda i, o: nn.Linear(i, o + 1)).fit(X, y)


def test_modules_that_return_more_than_logits_or_learn_nothing_are_refused(whole_cancer):
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with raises("for 64 rows it returned tuple"):
        SNNClassifier(**SIX_EPOCHS, architecture=Two).fit(*whole_cancer)
    with raises("architecture has no parameter that requires a gradient"):
        SNNClassifier(**SIX_EPOCHS, architecture=lambda i, o: nn.Linear(i, o).requires_grad_(False)).fit(
            *whole_cancer
        )


# ---------------------------------------------------------------- lazy layers


def lazy(n_inputs, n_outputs):
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(n_outputs))


class TestLazyLayers:
    def test_weights_of_lazy_layers_decay_and_their_biases_do_not(self):
        """Parameters were grouped by their dimensions before they had any: none decayed."""
        model = SNNClassifier(**SMALL, architecture=lazy, weight_decay=0.1).fit(X, Y)
        groups = {
            g["weight_decay"]: [p.ndim for p in g["params"]] for g in model.net_.optimizer_.param_groups
        }
        assert groups == {0.1: [2, 2], 0.0: [1, 1]}

    def test_lazy_layers_can_go_on_in_every_way(self):
        """partial_fit twice, warm_start, and both after pickling, ended in a state dict of other groups."""
        cloudpickle = pytest.importorskip("cloudpickle")
        model = SNNClassifier(**SMALL, architecture=lazy, warm_start=True).fit(X, Y)
        loaded = pickle.loads(cloudpickle.dumps(model))
        for going_on in (model, loaded):
            going_on.fit(X, Y).partial_fit(X, Y).partial_fit(X, Y)
        assert model.n_iter_ == loaded.n_iter_ == 2 * SMALL["max_epochs"] + 2
        np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))


# ---------------------------------------------------------------- modules that change their input


class InPlace(nn.Module):
    """Changes its input; only the first layer does anything."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_inputs, 8), nn.SELU(inplace=True), nn.Linear(8, n_outputs))

    def forward(self, x):
        x /= 2
        return self.layers(x)


class OutOfPlace(InPlace):
    def forward(self, x):
        return self.layers(x / 2)


class TestModulesThatChangeTheirInput:
    """Rows as stored were halved epoch after epoch: batches are views of them."""

    @unfinished
    @pytest.mark.parametrize("batch_size", [16, 1000])
    def test_training_is_as_if_the_input_did_not_change(self, batch_size):
        params = {**SMALL, "batch_size": batch_size, "early_stopping": True, "callbacks": [MomentRecorder()]}
        one, other = (SNNClassifier(**params, architecture=a).fit(X, Y) for a in (InPlace, OutOfPlace))
        assert one.loss_curve_ == other.loss_curve_
        assert one.validation_loss_curve_ == other.validation_loss_curve_
        moments = [[row["layer_variances"] for row in model.net_.history] for model in (one, other)]
        assert moments[0] == moments[1]

    def test_diagnostics_leave_the_users_rows_alone(self):
        rows = torch.tensor(X, dtype=torch.float32)
        layer_moments(InPlace(5, 2), rows)
        assert torch.equal(rows, torch.tensor(X, dtype=torch.float32))
