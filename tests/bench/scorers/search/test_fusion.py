from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import CellError
from bench.scorers.search.fusion import Found, Recorder


def _first(W: np.ndarray) -> np.ndarray:
    return W[:, 0]


@given(st.integers(1, 40), st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_is_the_best_of_the_first_candidates_up_to_the_budget(budget: int, batches: list[int], seed: int) -> None:
    """By brute force over all candidates in order; values are coarse, so that many are equal."""
    candidates = np.random.default_rng(seed).integers(-2, 3, (sum(batches), 2)) / 2
    record = Recorder(_first, budget)
    values = [record.evaluate(batch) for batch in np.split(candidates, np.cumsum(batches)[:-1])]
    within = candidates[:budget]
    found = record.found()
    assert found.evaluations == len(within) == budget - record.left
    assert found.value == within[:, 0].max()
    first_best = next(W for W in within if W[0] == found.value)
    assert found.weights == tuple(first_best)
    np.testing.assert_array_equal(np.concatenate(values)[:budget], within[:, 0])
    assert (np.concatenate(values)[budget:] == -np.inf).all()
    assert [n for n, _ in found.history] == sorted({min(int(n), budget) for n in np.cumsum(batches)})
    assert all(best == within[:n, 0].max() for n, best in found.history)


def test_the_objective_is_not_called_beyond_the_budget() -> None:
    sizes = []

    def objective(W: np.ndarray) -> np.ndarray:
        sizes.append(len(W))
        return W[:, 0]

    record = Recorder(objective, 3)
    for _ in range(3):
        record.evaluate(np.zeros((2, 1)))
    assert sizes == [2, 1]
    assert record.left == 0


def test_the_best_survives_what_the_search_does_to_its_candidates() -> None:
    candidates = np.array([[0.5], [0.25]])
    record = Recorder(_first, 10)
    record.evaluate(candidates)
    candidates[:] = -1
    assert record.found() == Found((0.5,), 0.5, 2, ((2, 0.5),))


@pytest.mark.parametrize("W", [1.0000001, -2.0, np.nan, np.inf])
def test_a_candidate_outside_the_box_is_an_error(W: float) -> None:
    with pytest.raises(CellError, match="left the box"):
        Recorder(_first, 10).evaluate(np.array([[0.0, 0.0], [0.0, W]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(CellError, match="NaN or infinity"):
        Recorder(lambda W: W[:, 0] * 0 + [0.5, bad], 10).evaluate(np.zeros((2, 1)))


@pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
def test_values_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(CellError, match="for 2 candidates"):
        Recorder(lambda W: W.sum() + np.zeros(shape), 10).evaluate(np.zeros((2, 1)))
