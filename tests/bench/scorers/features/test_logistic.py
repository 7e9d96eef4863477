from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from bench.scorers.features import logistic
from bench.scorers.features.grid import grid
from bench.scorers.features.logistic import indicators, orbit, smooth

SIX = ("peak", "variance", "range", "mean", "lyapunov", "entropy")
#: Decay to 0, slow decay (r = 1), fixed points, the onset of period 2, periods 2, 4, 8, 5 and 3, chaos, the end.
VARIED = (0.1, 0.2, 0.25, 0.26, 0.4, 0.5, 0.6, 0.74, 0.75, 0.77, 0.8, 0.87, 0.8875, 0.9, 0.935, 0.958, 0.98, 0.99, 1.0)


def plain_orbit(u: float) -> list[float]:
    """The kept states by a loop over Python floats."""
    r, x, states = 4 * u, 0.3, []
    for step in range(2000):
        x = r * x * (1 - x)
        if step >= 1000:
            states.append(x)
    return states


def plain_indicators(u: float) -> dict[str, float]:
    """The definitions, read literally, from the kept states."""
    states, r = plain_orbit(u), 4 * u
    mean = math.fsum(states) / 1000
    slopes = [abs(r * (1 - 2 * x)) for x in states]
    shares = np.histogram(states, bins=64, range=(0, 1))[0] / 1000
    return {
        "peak": max(states),
        "variance": math.fsum((x - mean) ** 2 for x in states) / 1000,
        "range": max(states) - min(states),
        "mean": mean,
        "lyapunov": -10.0 if 0.0 in slopes else max(-10.0, math.fsum(map(math.log, slopes)) / 1000),
        "entropy": -math.fsum(p * math.log(p) for p in shares if p > 0),
    }


def by_name(u: list[float], names: tuple[str, ...] = SIX) -> dict[str, list[float]]:
    return dict(zip(names, indicators(np.array(u), names).tolist(), strict=True))


def test_known_orbits() -> None:
    found = by_name([0.5, 0.8])  # r = 2: fixed point 1/2, superstable; r = 3.2: a cycle of two
    # the cycle of two solves r^2 x^2 - r (r + 1) x + (r + 1) = 0
    low, high = sorted(np.roots([3.2**2, -3.2 * 4.2, 4.2]))
    assert (low, high) == pytest.approx((0.5130, 0.7995), abs=1e-4)
    assert found["peak"] == pytest.approx([0.5, high], abs=1e-12)
    assert found["range"] == pytest.approx([0, high - low], abs=1e-12)
    assert found["mean"] == pytest.approx([0.5, (low + high) / 2], abs=1e-12)
    assert found["variance"] == pytest.approx([0, ((high - low) / 2) ** 2], abs=1e-12)
    slope = abs(3.2**2 * (1 - 2 * low) * (1 - 2 * high))
    assert found["lyapunov"] == pytest.approx([-10, math.log(slope) / 2], abs=1e-12)
    assert found["entropy"] == pytest.approx([0, math.log(2)], abs=1e-12)


def test_fixed_points_below_three_quarters() -> None:
    u = np.linspace(0.3, 0.7, 50)
    peak, variance, spread, mean, lyapunov, entropy = indicators(u, SIX)
    np.testing.assert_allclose(peak, 1 - 1 / (4 * u), rtol=1e-12)
    np.testing.assert_allclose(mean, 1 - 1 / (4 * u), rtol=1e-12)
    assert max(variance.max(), spread.max() ** 2) < 1e-30
    np.testing.assert_allclose(lyapunov, np.maximum(np.log(np.abs(2 - 4 * u)), -10), atol=1e-12)
    assert np.median(entropy) == 0  # a rare fixed point on the edge of two bins may flicker between them


def test_full_chaos_is_the_arcsine_law_and_does_not_collapse() -> None:
    states = plain_orbit(1.0)
    assert len(set(states)) == 1000
    assert min(states) > 0
    found = by_name([1.0])
    assert found["lyapunov"][0] == pytest.approx(math.log(2), rel=0.05)
    assert found["variance"][0] == pytest.approx(1 / 8, rel=0.05)
    assert found["mean"][0] == pytest.approx(0.5, abs=0.02)
    angle = np.arcsin(np.sqrt(np.arange(65) / 64)) * 2 / np.pi  # distribution function at the edges of the bins
    shares = np.diff(angle)
    assert found["entropy"][0] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.05)


@pytest.mark.parametrize("together", [True, False], ids=["mixed", "one by one"])
def test_is_the_plain_loop(together: bool) -> None:
    """One by one, settled orbits are cut short; beside chaotic ones they are followed to the end."""
    plain = [plain_indicators(u) for u in VARIED]
    parts = [by_name(list(VARIED))] if together else [by_name([u]) for u in VARIED]
    for name in SIX:
        found = [value for part in parts for value in part[name]]
        np.testing.assert_allclose(found, [p[name] for p in plain], rtol=1e-11, atol=1e-12, err_msg=name)


def test_states_are_the_plain_loops_bit_for_bit() -> None:
    states = np.array([x.copy() for x in orbit(4 * np.array([0.9, 0.975, 1.0]))])
    np.testing.assert_array_equal(states, np.array([plain_orbit(u) for u in (0.9, 0.975, 1.0)]).T)


def test_only_orbits_that_all_repeat_are_cut_short() -> None:
    assert sum(1 for _ in orbit(4 * np.array([0.5, 0.8, 0.87]))) == logistic.CYCLE
    assert sum(1 for _ in orbit(4 * np.array([0.5, 0.8, 0.975]))) == logistic.KEPT
    assert logistic.KEPT % logistic.CYCLE == logistic.BURN_IN % logistic.CYCLE == 0


def test_variance_keeps_its_digits_where_the_spread_is_small() -> None:
    # at r = 1 the orbit creeps to 0 like 1/n: sum(x^2) - mean^2 would lose most of the digits
    states = np.array(plain_orbit(0.25), dtype=np.longdouble)
    assert by_name([0.25])["variance"][0] == pytest.approx(float(states.var()), rel=1e-12)


def test_more_values_than_are_computed_at_once_are_computed_in_chunks() -> None:
    u = np.linspace(0.1, 1, logistic.CHUNK + 10)
    tail = slice(-30, None)  # 20 of the first chunk, 10 of the second
    np.testing.assert_allclose(indicators(u, SIX)[:, tail], indicators(u[tail], SIX), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(indicators(u[::-1], SIX), indicators(u, SIX)[:, ::-1], rtol=1e-10, atol=1e-12)


def test_only_the_requested_indicators_in_the_requested_order() -> None:
    u = np.array([0.3, 0.8, 0.97])
    every = dict(zip(SIX, indicators(u, SIX), strict=True))
    some = indicators(u, ("entropy", "mean", "peak"))
    np.testing.assert_array_equal(some, [every["entropy"], every["mean"], every["peak"]])


def test_smooth_is_scipys_filter_and_numpys_interpolation() -> None:
    points = 0.1 + 0.9 * (np.arange(2048) / 2047)
    np.testing.assert_array_equal(grid(), points)  # to the last bit: chaotic orbits would magnify it
    u = np.array([0.1, 0.123, 0.7, 0.751, 0.9, 0.98765, 1.0])
    found = smooth(SIX)(u)
    for row, curve in zip(found, indicators(points, SIX), strict=True):
        filtered = savgol_filter(curve, window_length=205, polyorder=3, mode="interp")
        np.testing.assert_allclose(row, np.interp(u, points, filtered), rtol=1e-12, atol=1e-14)


def test_smoothing_returns_cubics_unchanged() -> None:
    points = grid()
    cubic = 1 - 2 * points + 3 * points**3
    np.testing.assert_allclose(savgol_filter(cubic, logistic.WINDOW, logistic.DEGREE, mode="interp"), cubic, rtol=1e-9)


@given(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=5))
def test_bounds(u: list[float]) -> None:
    found = indicators(np.array(u), SIX)
    assert found.shape == (6, len(u))
    assert found.dtype == np.float64
    peak, variance, spread, mean, lyapunov, entropy = found
    least = peak - spread
    assert ((least >= -1e-15) & (least <= mean + 1e-15) & (mean <= peak + 1e-15) & (peak <= np.array(u) + 1e-15)).all()
    # Bhatia and Davis: variance <= (max - mean)(mean - min)
    assert ((variance >= 0) & (variance <= (peak - mean) * (mean - least) + 1e-12)).all()
    assert ((lyapunov >= -10) & (lyapunov <= math.log(4))).all()
    assert ((entropy >= 0) & (entropy <= math.log(64) + 1e-12)).all()
