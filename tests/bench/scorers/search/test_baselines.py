from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from bench.scorers.search.baselines import equal, random_search


def _candidates(evaluations: int) -> list[np.ndarray]:
    batches: list[np.ndarray] = []

    def objective(W: np.ndarray) -> np.ndarray:
        batches.append(W)
        return W.sum(axis=1)

    random_search(objective, 3, np.random.default_rng(5), evaluations=evaluations)
    return batches


def test_equal_evaluates_ones_and_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    found = equal(lambda W: W.prod(axis=1) + W.sum(axis=1), 3, generator)
    assert (found.weights, found.value, found.evaluations) == ((1.0, 1.0, 1.0), 4.0, 1)
    assert generator.bit_generator.state == before


def test_random_search_is_uniform_in_batches_of_30() -> None:
    batches = _candidates(600)
    assert [len(batch) for batch in batches] == [30] * 20
    assert kstest(np.concatenate(batches).ravel(), "uniform", args=(-1, 2)).pvalue > 0.01


def test_a_smaller_budget_is_the_start_of_a_larger_one() -> None:
    few, many = np.concatenate(_candidates(47)), np.concatenate(_candidates(100))
    np.testing.assert_array_equal(few, many[:47])
