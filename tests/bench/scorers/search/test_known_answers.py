"""Functions with a known optimum, 10 weights, 600 evaluations, seeds 0 to 9 (fixed before any result was seen)."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.scorers.search.baselines import random_search
from bench.scorers.search.cma_es import cma_es
from bench.scorers.search.dbo import dbo

SEARCHES = {
    "dbo": dbo,
    "published": functools.partial(dbo, published_bounds=True),
    "cma": cma_es,
    "random": random_search,
}
K = 10
SEEDS = range(10)


def _sphere(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x**2).sum(axis=1)


def _rastrigin(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum(axis=1)


def _ackley(x: NDArray[np.float64]) -> NDArray[np.float64]:
    slope = 20 * np.exp(-0.2 * np.sqrt((x**2).mean(axis=1)))
    return 20 + np.e - slope - np.exp(np.cos(2 * np.pi * x).mean(axis=1))


#: The function, at its lowest with value 0 in the origin, and half the width of its usual box.
FUNCTIONS = {"sphere": (_sphere, 5.12), "rastrigin": (_rastrigin, 5.12), "ackley": (_ackley, 32.0)}


@functools.cache
def gaps(search: str, name: str, *, shifted: bool = True) -> NDArray[np.float64]:
    """How far from the optimum the search ends, for each seed."""
    function, half_width = FUNCTIONS[name]
    found = []
    for seed in SEEDS:
        centre = np.random.default_rng((seed, 1)).uniform(-0.5, 0.5, K) if shifted else np.zeros(K)

        def objective(W: NDArray[np.float64], centre: NDArray[np.float64] = centre) -> NDArray[np.float64]:
            return -function(half_width * (W - centre))

        found.append(-SEARCHES[search](objective, K, np.random.default_rng(seed)).value)
    return np.array(found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_at_their_lowest_in_the_origin(name: str) -> None:
    function, half_width = FUNCTIONS[name]
    points = np.random.default_rng(0).uniform(-half_width, half_width, (1000, K))
    assert function(np.zeros((1, K)))[0] == pytest.approx(0, abs=1e-12)
    assert function(points).min() > 1


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("search", ["dbo", "cma"])
def test_beats_random_search(search: str, name: str) -> None:
    assert (gaps(search, name) < gaps("random", name)).sum() >= 9


def test_cma_beats_both_on_the_sphere() -> None:
    assert (gaps("cma", "sphere") < gaps("random", "sphere")).sum() >= 9
    assert (gaps("cma", "sphere") < gaps("dbo", "sphere")).sum() >= 9


@pytest.mark.parametrize(("name", "wins"), [("sphere", 10), ("rastrigin", 7), ("ackley", 10)])
def test_dbo_is_drawn_to_the_origin(name: str, wins: int) -> None:
    """Its gap is smaller with the optimum there, the others' are not; so only shifted functions are a fair test."""
    shifted, at_zero = gaps("dbo", name), gaps("dbo", name, shifted=False)
    assert (at_zero < shifted).sum() >= wins
    assert np.median(at_zero) < np.median(shifted) / 3
    for control in ("cma", "random"):
        assert np.median(gaps(control, name, shifted=False)) > np.median(gaps(control, name)) / 3


@pytest.mark.parametrize("name", ["sphere", "ackley"])
def test_bounds_as_printed_pull_more_strongly(name: str) -> None:
    assert np.median(gaps("published", name)) > 1.15 * np.median(gaps("dbo", name))
    assert np.median(gaps("published", name, shifted=False)) < np.median(gaps("dbo", name, shifted=False)) / 5


@pytest.mark.parametrize(
    ("search", "shifted", "medians"),
    [
        ("dbo", True, (1.55, 45.7, 9.40)),
        ("dbo", False, (0.0148, 10.8, 2.68)),
        ("random", True, (20.1, 100, 18.5)),
        ("random", False, (22.7, 88.3, 18.5)),
    ],
)
def test_table_of_the_docs(search: str, shifted: bool, medians: tuple[float, ...]) -> None:
    """Without `cma`, whose path depends on the machine: eigenvectors come with either sign."""
    measured = [np.median(gaps(search, name, shifted=shifted)) for name in FUNCTIONS]
    np.testing.assert_allclose(measured, medians, rtol=0.01)
