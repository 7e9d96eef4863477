"""Each move by hand, and the whole search against a second implementation, beetle by beetle."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.scorers.search import dbo as moves
from bench.scorers.search.dbo import dbo

Array = NDArray[np.float64]

X, X_BEFORE = np.array([[0.5, -0.2]]), np.array([[0.4, -0.6]])
X_W = np.array([-0.1, 0.3])
CENTRE = np.array([0.5, -0.4])  # at R = 0.5 its bounds are [0.25, 0.75] and [-0.6, -0.2]


class Draws:
    """A generator whose draws are written down."""

    def __init__(self, *draws: object) -> None:
        self._draws = [np.array(draw) for draw in draws]

    def random(self, shape: tuple[int, ...]) -> Array:
        draw = self._draws.pop(0)
        assert draw.shape == shape
        return draw

    standard_normal = random

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> Array:
        assert (low, high) == (0, np.pi)
        return self.random(shape)


def _sphere(W: Array) -> Array:
    return -((W - 0.3) ** 2).sum(axis=1)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (0.89, [0.5 + 0.1 * 0.4 + 0.3 * 0.6, -0.2 - 0.1 * 0.6 + 0.3 * 0.5]),  # a = +1: (0.72, -0.11)
        (0.91, [0.5 - 0.1 * 0.4 + 0.3 * 0.6, -0.2 + 0.1 * 0.6 + 0.3 * 0.5]),  # a = -1: (0.64, 0.01)
    ],
)
def test_ball_rolling(draw: float, expected: list[float]) -> None:
    np.testing.assert_allclose(moves.roll(X, X_BEFORE, X_W, Draws([[draw]])), [expected])


def test_each_beetle_has_its_own_a_and_stays_in_the_box() -> None:
    x = np.array([[0.5], [0.5], [0.95]])
    moved = moves.roll(x, x, np.array([-0.5]), Draws([[0.0], [0.99], [0.0]]))
    np.testing.assert_allclose(moved, [[0.5 + 0.05 + 0.3], [0.5 - 0.05 + 0.3], [1.0]])


@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        (np.pi / 4, [0.6, 0.2]),
        (3 * np.pi / 4, [0.4, -0.6]),
        (0.0, [0.5, -0.2]),
        (np.pi / 2, [0.5, -0.2]),
        (np.pi, [0.5, -0.2]),
        (math.atan(10), [1.0, 1.0]),  # 0.5 + 10 * 0.1 and -0.2 + 10 * 0.4, clipped
    ],
)
def test_obstacle(theta: float, expected: list[float]) -> None:
    np.testing.assert_allclose(moves.avoid(X, X_BEFORE, Draws([[theta]])), [expected])


def test_brood() -> None:
    x = np.array([[0.3, -0.5], [1.0, 1.0]])
    b1, b2 = [[0.5, 0.5], [1.0, 1.0]], [[0.2, 0.5], [1.0, 1.0]]
    expected = [
        [0.5 + 0.5 * 0.05 - 0.2 * 0.45, -0.4 + 0.5 * 0.1 - 0.5 * 0.3],  # (0.435, -0.5)
        [0.75, -0.2],  # 1.5 and 2.4, clipped to the upper bounds
    ]
    np.testing.assert_allclose(moves.breed(x, CENTRE, 0.5, Draws([b1, b2])), expected)


def test_small() -> None:
    x = np.array([[0.3, -0.5], [0.9, -0.5]])
    C1, C2 = [[2.0], [-1.0]], [[0.2, 0.5], [1.0, 0.0]]
    expected = [
        [0.3 + 2 * 0.05 - 0.2 * 0.45, -0.5 + 2 * 0.1 - 0.5 * 0.3],  # (0.31, -0.45)
        [0.9 - 0.65 + 0.15, -0.5 - 0.1],
    ]
    np.testing.assert_allclose(moves.forage(x, CENTRE, 0.5, Draws(C1, C2)), expected)


def test_thief() -> None:
    X_b = np.array([0.2, 0.1])
    x = np.array([[0.3, -0.5], [0.3, -0.5]])
    g = [[1.0, -2.0], [0.0, -9.0]]
    expected = [[0.2 + 0.5 * 0.3, 0.1 - 0.5 * 2 * 0.7], [0.2, -1.0]]  # abs(x - X*) = (.2, .1), abs(x - X^b) = (.1, .6)
    np.testing.assert_allclose(moves.steal(x, CENTRE, X_b, Draws(g)), expected)


@pytest.mark.parametrize(
    ("R", "lower", "upper"),
    [(1.0, [0.0, -0.8, -1.0], [1.0, 0.0, 0.0]), (0.25, [0.6, -0.5, -1.0], [1.0, -0.3, -0.675]), (0.0, None, None)],
)
def test_bounds_are_in_order_and_in_the_box(R: float, lower: list[float] | None, upper: list[float] | None) -> None:
    centre = np.array([0.8, -0.4, -0.9])
    Lb, Ub = moves.bounds(centre, R)
    np.testing.assert_allclose(Lb, centre if lower is None else lower)
    np.testing.assert_allclose(Ub, centre if upper is None else upper)


def test_published_bounds_are_not_sorted() -> None:
    """Of a negative coordinate the lower bound is above the upper one, and clipping gives the upper one."""
    Lb, Ub = moves.bounds(CENTRE, 0.5, published=True)
    np.testing.assert_allclose([Lb, Ub], [[0.25, -0.2], [0.75, -0.6]])
    x, half = np.array([[0.3, -0.5], [1.0, 1.0]]), [[0.5, 0.5], [0.5, 0.5]]
    brood = moves.breed(x, CENTRE, 0.5, Draws([half, half]), published=True)
    np.testing.assert_allclose(brood, [[0.5 + 0.5 * 0.05 - 0.5 * 0.45, -0.6], [0.75, -0.6]])
    small = moves.forage(x, CENTRE, 0.5, Draws([[1.0], [0.0]], half), published=True)
    np.testing.assert_allclose(small, [[0.3 + 0.05 - 0.5 * 0.45, -0.5 - 0.3 + 0.5 * 0.1], [1.0, 1.0]])


points = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(np.array)


@given(x=points, before=points, star=points, best=points, R=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_every_move_stays_in_the_box(x: Array, before: Array, star: Array, best: Array, R: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    one = x[None]
    brood = moves.breed(one, star, R, generator)
    moved = [
        moves.roll(one, before[None], star, generator),
        moves.avoid(one, before[None], generator),
        brood,
        moves.forage(one, best, R, generator),
        moves.steal(one, star, best, generator),
    ]
    assert np.abs(np.concatenate(moved)).max() <= 1
    Lb, Ub = moves.bounds(star, R)
    assert ((Lb <= brood) & (brood <= Ub)).all()


def _watch(function: Callable[[Array], Array], **options: int) -> list[Array]:
    batches: list[Array] = []

    def objective(W: Array) -> Array:
        batches.append(W.copy())
        return function(W)

    dbo(objective, 4, np.random.default_rng(3), **options)
    return batches


@pytest.mark.parametrize(
    ("evaluations", "sizes"),
    [(1, [1]), (29, [29]), (30, [30]), (31, [30, 1]), (36, [30, 6]), (40, [30, 6, 4]), (600, [30, *[6, 24] * 19])],
)
def test_two_batches_a_generation(evaluations: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in _watch(_sphere, evaluations=evaluations)] == sizes


def test_a_personal_best_is_replaced_only_when_better() -> None:
    """All values are equal: x(t) and x(t-1) stay the first places, X^w, X* and X^b the first beetle's."""
    first, *rest = _watch(lambda W: np.zeros(len(W)))
    x = first[:6]
    place = first[0]  # of the first beetle, the lowest of equal values: it moves though its best does not
    kinds = set()
    for rolled, others in zip(rest[::2], rest[1::2], strict=True):
        if np.array_equal(rolled, x):
            kinds.add("obstacle")  # x(t) = x(t-1), so no step
        else:
            kinds.add("rolling")
            moved = [np.clip(x + a * 0.1 * x + 0.3 * np.abs(x - place), -1, 1) for a in (1, -1)]
            fits = [np.isclose(rolled, m).all(axis=1) for m in moved]
            assert (fits[0] | fits[1]).all()
        place = rolled[0]
        lower, upper = np.minimum(0, 2 * place), np.maximum(0, 2 * place)  # bounds at R = 1, the widest
        assert ((lower <= others[:6]) & (others[:6] <= upper)).all()
    assert kinds == {"rolling", "obstacle"}


def _reference(
    cost: Callable[[list[float]], float], K: int, seed: int, T: int, *, published: bool = False
) -> list[list[float]]:
    """All candidates in order, after the published description: minimising, one beetle and coordinate at a time."""
    generator = np.random.default_rng(seed)

    def clip(v: float, low: float = -1.0, high: float = 1.0) -> float:
        return min(max(v, low), high)

    def interval(v: float, R: float) -> tuple[float, float]:
        ends = clip(v * (1 - R)), clip(v * (1 + R))
        return ends if published else (min(ends), max(ends))

    now = generator.uniform(-1, 1, (30, K)).tolist()
    f_now = [cost(beetle) for beetle in now]
    best, f_best, previous = list(now), list(f_now), list(now)
    top = best[f_best.index(min(f_best))]
    f_top = min(f_best)
    tried = list(now)
    for t in range(1, T):
        R = 1 - t / T
        worst = now[f_now.index(max(f_now))]
        if generator.random() < 0.9:
            draws = generator.random((6, 1)).ravel().tolist()
            steps = [0.1 if draw < 0.9 else -0.1 for draw in draws]
            rolled = [
                [clip(best[i][k] + steps[i] * previous[i][k] + 0.3 * abs(best[i][k] - worst[k])) for k in range(K)]
                for i in range(6)
            ]
        else:
            angles = generator.uniform(0, math.pi, (6, 1)).ravel().tolist()
            rolled = [
                [clip(best[i][k] + math.tan(angles[i]) * abs(best[i][k] - previous[i][k])) for k in range(K)]
                for i in range(6)
            ]
        now = rolled + now[6:]
        f_now = [cost(beetle) for beetle in rolled] + f_now[6:]
        star = now[f_now.index(min(f_now))]
        b1, b2 = generator.random((2, 6, K)).tolist()
        C1, C2 = generator.standard_normal((7, 1)).tolist(), generator.random((7, K)).tolist()
        g = generator.standard_normal((11, K)).tolist()
        for i in range(6, 30):
            beetle = []
            for k in range(K):
                x = best[i][k]
                if i < 12:
                    low, high = interval(star[k], R)
                    v = clip(star[k] + b1[i - 6][k] * (x - low) + b2[i - 6][k] * (x - high), low, high)
                elif i < 19:
                    low, high = interval(top[k], R)
                    v = clip(x + C1[i - 12][0] * (x - low) + C2[i - 12][k] * (x - high))
                else:
                    v = clip(top[k] + g[i - 19][k] * (abs(x - star[k]) + abs(x - top[k])) / 2)
                beetle.append(v)
            now[i], f_now[i] = beetle, cost(beetle)
        tried += now
        previous = list(best)
        for i in range(30):
            if f_now[i] < f_best[i]:
                best[i], f_best[i] = now[i], f_now[i]
            if f_best[i] < f_top:
                top, f_top = best[i], f_best[i]
    return tried


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("centre", [0.3, 0.9])
@pytest.mark.parametrize(("step", "published"), [(0.0, False), (0.25, False), (0.0, True)])
def test_equals_a_second_implementation(seed: int, centre: float, step: float, published: bool) -> None:
    """On a smooth function and on one with plateaus, where the first of equals must be taken.

    Rolling moves upwards, so that with the optimum near a corner it finds new best places too.
    """

    def cost(W: list[float]) -> float:
        value = sum((w - centre) ** 2 * (1 + k) for k, w in enumerate(W))
        return value // step if step else value

    batches: list[Array] = []

    def objective(W: Array) -> Array:
        batches.append(W.copy())
        return np.array([-cost(row.tolist()) for row in W])

    found = dbo(objective, 3, np.random.default_rng(seed), published_bounds=published)
    tried = _reference(cost, 3, seed, 20, published=published)
    np.testing.assert_allclose(np.concatenate(batches), tried, rtol=1e-9, atol=1e-9)
    assert found.value == pytest.approx(-min(cost(W) for W in tried), rel=1e-9)
