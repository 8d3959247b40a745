"""A short randomised stress test; `make soak` runs it for as long as one likes."""

import sys

import numpy as np
import pytest
from abuse import Life, after_a_fork, fit_and_predict, in_processes, in_threads, n_objects_left_by
from hypothesis import HealthCheck, settings

pytestmark = pytest.mark.filterwarnings(
    "ignore:the final training loss", "ignore:the validation rows are drawn without stratification"
)

TestLife = pytest.mark.filterwarnings("ignore:the final training loss")(Life.TestCase)
TestLife.settings = settings(
    max_examples=25,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("at_once", [in_threads, in_processes])
def test_fits_side_by_side_are_those_of_one_after_the_other(at_once):
    for i, found in enumerate(at_once(4)):
        np.testing.assert_array_equal(found, fit_and_predict(i))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_fork_of_a_process_that_has_fitted_fits_the_same():
    """Threads of OpenMP do not survive a fork: a fit on more than one would wait for ever."""
    assert after_a_fork() == (0, "")


def test_fits_leave_nothing_behind():
    assert n_objects_left_by(5) <= 0
