"""Moves of the Dung Beetle Optimizer against those of the authors' code, given the same random draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.scorers.search.dbo import avoid, breed, forage, roll, steal
from tests.reference.authors.inputs import stored

VALUES = stored("searches")["dbo"]
DIMENSIONS = 4
#: Generation t of T, as the stored moves have them.
R = 1 - 7 / 20

Array = NDArray[np.float64]


class Draws:
    """Returns given arrays in place of random ones, in turn.

    Parameters
    ----------
    arrays : array
        What the calls return, reshaped to what they request.
    """

    def __init__(self, *arrays: Any) -> None:
        self._arrays = [np.asarray(array, dtype=np.float64) for array in arrays]

    def random(self, shape: Any) -> Array:
        return self._arrays.pop(0).reshape(shape)

    def standard_normal(self, shape: Any) -> Array:
        return self.random(shape)

    def uniform(self, *arguments: Any) -> Array:
        return self.random(arguments[-1])


@pytest.fixture
def beetles() -> dict[str, Array]:
    """Personal bests now and a generation before, the worst place, and the best one so far."""
    generator = np.random.default_rng(71)
    x, before, _ = generator.uniform(-1, 1, (3, 30, DIMENSIONS))
    worst, best = generator.uniform(-1, 1, (2, DIMENSIONS))
    return {"x": x, "before": before, "worst": worst, "best": best, "current": np.array([0.7, 0.2, 0.5, 0.9])}


def _places(case: str, kind: str) -> Array:
    return np.array(VALUES[case]["places"][kind]).reshape(-1, DIMENSIONS)


def _draws(case: str, kind: str) -> list[list[float]]:
    draws: list[list[float]] = VALUES[case]["draws"][kind]
    return draws


def test_ball_rolling(beetles: dict[str, Array]) -> None:
    """Their a is +1 where a uniform draw exceeds 0.1; the draw before it is not used."""
    a = 1 - np.array(_draws("rolling", "rand")[1:12:2])
    moved = roll(beetles["x"][:6], beetles["before"][:6], beetles["worst"], Draws(a))
    np.testing.assert_allclose(moved, _places("rolling", "rolling"), rtol=1e-10)


def test_obstacle(beetles: dict[str, Array]) -> None:
    """Their theta is a whole number of degrees."""
    theta = np.radians(_draws("obstacle", "randint"))
    moved = avoid(beetles["x"][:6], beetles["before"][:6], Draws(theta))
    np.testing.assert_allclose(moved, _places("obstacle", "rolling"), rtol=1e-10)


def test_brood(beetles: dict[str, Array]) -> None:
    """Beetles 8 to 12: the Python port leaves out the first of each kind."""
    b1, b2 = np.array(_draws("rolling", "rand")[12:22]).reshape(5, 2, DIMENSIONS).swapaxes(0, 1)
    moved = breed(beetles["x"][7:12], beetles["current"], R, Draws([b1, b2]))
    np.testing.assert_allclose(moved, _places("rolling", "brood"), rtol=1e-10)


@pytest.mark.parametrize("case", ["rolling", "negative"])
def test_small_beetles(case: str, beetles: dict[str, Array]) -> None:
    """The second case has negative coordinates, whose bounds stay as they are printed."""
    best = beetles["best"] if case == "negative" else np.abs(beetles["best"])
    draws = Draws(_draws(case, "randn")[:6], _draws(case, "rand")[22:28])
    moved = forage(beetles["x"][13:19], best, R, draws, published=case == "negative")
    np.testing.assert_allclose(moved, _places(case, "small"), rtol=1e-10)


def test_sorted_bounds_differ_where_a_coordinate_is_negative(beetles: dict[str, Array]) -> None:
    draws = Draws(_draws("negative", "randn")[:6], _draws("negative", "rand")[22:28])
    moved = forage(beetles["x"][13:19], beetles["best"], R, draws)
    same = np.isclose(moved, _places("negative", "small"), rtol=1e-10)
    unclipped = np.abs(_places("negative", "small")) < 1
    np.testing.assert_array_equal(same[unclipped], np.broadcast_to(beetles["best"] > 0, same.shape)[unclipped])


@pytest.mark.parametrize("case", ["rolling", "obstacle"])
def test_thieves(case: str, beetles: dict[str, Array]) -> None:
    draws = Draws(_draws(case, "randn")[6:])
    moved = steal(beetles["x"][20:], beetles["current"], np.abs(beetles["best"]), draws)
    np.testing.assert_allclose(moved, _places(case, "thieves"), rtol=1e-10)
