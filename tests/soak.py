"""A randomised stress test, as long as one likes, with the generators of abuse.py; print what was tried.

    python tests/soak.py --minutes 10

Each round has a seed, which a failure prints, so that it can be run again: --seed.
"""

import argparse
import time
import warnings

import numpy as np
from abuse import (
    Life,
    after_a_fork,
    fit_and_predict,
    in_processes,
    in_threads,
    n_objects_left_by,
    resident_megabytes,
)
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

MOST_GROWTH = 20  # megabytes in 200 fits; the allocator keeps some


def live(number):
    """Take estimators through a hundred random sequences of calls."""
    kept = settings(
        max_examples=100,
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(Life), settings=kept)


def side_by_side():
    """Fit at once in threads and in processes, and in a fork."""
    for found in (in_threads(16), in_processes(16)):
        for i, proba in enumerate(found):
            np.testing.assert_array_equal(proba, fit_and_predict(i))
    assert after_a_fork() == (0, "")


def memory():
    """Fit 200 times; return by how many megabytes the process grew."""
    n_objects_left_by(20)
    before = resident_megabytes()
    assert n_objects_left_by(200) <= 0
    growth = resident_megabytes() - before
    assert growth < MOST_GROWTH, f"{growth:.1f} MB more after 200 fits"
    return growth


def main():
    """Run rounds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    end, number = time.monotonic() + 60 * arguments.minutes, arguments.seed
    growth = memory()
    print(f"memory: 200 fits, {growth:.1f} MB more", flush=True)
    while True:
        print(f"round of seed {number}", flush=True)
        live(number)
        side_by_side()
        number += 1
        if time.monotonic() > end:
            break
    n_rounds = number - arguments.seed
    side = f"{n_rounds} rounds of 16 threads, 16 processes and a fork"
    print(f"{Life.n_cases} sequences of calls, {side}: nothing found")


if __name__ == "__main__":
    main()
