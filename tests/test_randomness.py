"""Random states: one seed is one fit, and global generators neither matter nor change."""

import pickle

import numpy as np
import pytest
import torch
from conftest import SMALL
from helpers import droppy_net, parameters
from sklearn.base import clone

from sksnn import SNNClassifier


def _global_states():
    numpy_state = np.random.get_state()
    return [torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2]]


@pytest.mark.parametrize("architecture", ["snn", droppy_net], ids=["named", "callable"])
class TestRandomness:
    def make(self, architecture, **params):
        return SNNClassifier(**{**SMALL, "architecture": architecture, "dropout": 0.1, **params})

    @pytest.mark.parametrize("seed", [0, None])
    def test_global_generators_stay_as_they_are(self, architecture, seed, iris):
        X, y = iris
        before = _global_states()
        fitted = self.make(architecture, random_state=seed, early_stopping=True).fit(X, y)
        assert _global_states() == before
        fitted.predict_proba(X), fitted.predict(X.astype(np.float32)), fitted.score(X, y)
        assert _global_states() == before
        pickle.loads(pickle.dumps(fitted)).predict(X)
        assert _global_states() == before
        self.make(architecture, random_state=seed).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
        assert _global_states() == before
        warm = self.make(architecture, random_state=seed, warm_start=True).fit(X, y).fit(X, y)
        assert _global_states() == before
        clone(warm), repr(warm)
        assert _global_states() == before

    def test_global_generators_stay_as_they_are_after_an_error(self, architecture, iris):
        X, y = iris
        before = _global_states()
        with pytest.raises(ValueError, match="not finite"):
            self.make(architecture, lr=1e38, optimizer="sgd", lr_schedule="constant").fit(1e3 * X**9, y)
        assert _global_states() == before

    def test_global_generators_do_not_matter(self, architecture, iris):
        X, y = iris
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
        try:
            fits = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                np.random.seed(seed)
                fits.append(parameters(self.make(architecture).fit(X, y)))
        finally:
            torch.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
        np.testing.assert_array_equal(*fits)

    def test_one_seed_gives_one_fit(self, architecture, iris):
        X, y = iris
        for params in ({}, {"early_stopping": True}, {"random_state": 7}):
            first = self.make(architecture, **params).fit(X, y)
            second = self.make(architecture, **params).fit(X, y)
            np.testing.assert_array_equal(parameters(first), parameters(second))
            assert first.loss_curve_ == second.loss_curve_
            np.testing.assert_array_equal(parameters(first.fit(X, y)), parameters(second))  # a refit
        other = self.make(architecture, random_state=1).fit(X, y)
        assert not np.array_equal(parameters(first), parameters(other))

    def test_a_random_state_instance_moves_on(self, architecture, iris):
        X, y = iris
        state = np.random.RandomState(3)
        fits = [self.make(architecture, random_state=state).fit(X, y) for _ in range(2)]
        assert not np.array_equal(parameters(fits[0]), parameters(fits[1]))  # it moves on
        again = self.make(architecture, random_state=np.random.RandomState(3)).fit(X, y)
        np.testing.assert_array_equal(parameters(fits[0]), parameters(again))

    def test_without_a_random_state_fits_differ(self, architecture, iris):
        X, y = iris
        first, second = (self.make(architecture, random_state=None).fit(X, y) for _ in range(2))
        assert not np.array_equal(parameters(first), parameters(second))

    def test_generators_go_on_after_a_pickle(self, architecture, iris):
        X, y = iris
        stays = self.make(architecture, warm_start=True).fit(X, y)
        travels = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(stays))))
        np.testing.assert_array_equal(parameters(stays.fit(X, y)), parameters(travels.fit(X, y)))
        stays = self.make(architecture).partial_fit(X, y, classes=[0, 1, 2])
        travels = pickle.loads(pickle.dumps(stays))
        np.testing.assert_array_equal(
            parameters(stays.partial_fit(X, y)), parameters(travels.partial_fit(X, y))
        )
