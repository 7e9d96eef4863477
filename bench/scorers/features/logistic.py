"""Indicators of the logistic map's orbit as functions of the normalised rank u (METHODS section 3).

The map is x <- r x (1 - x) with r = 4 u, started at x = 0.3; 1000 steps are dropped and 1000 kept (ours,
as are the start and the parameter: the paper names the indicators and no formula). A chaotic orbit
magnifies rounding, so the order of the operations is part of the definition: ``(r * x) * (1 - x)`` in
float64, as a plain loop over Python floats computes it, gives the same orbit bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
from scipy.special import entr

from bench.scorers.features.grid import FloatArray, Function, grid

START, BURN_IN, KEPT = 0.3, 1000, 1000
#: Lowest Lyapunov exponent that is told apart; the mean, not each term, is limited.
LYAPUNOV_FLOOR = -10.0
BINS = 64
WINDOW, DEGREE = 205, 3

#: An orbit that returns to itself after so many steps is not followed further; a divisor of BURN_IN and of KEPT.
CYCLE = 40
#: ... to within this distance, a few units in the last place of x <= 1.
SETTLED = 1e-15
#: Units whose orbits are computed together: their state stays in the processor's cache.
CHUNK = 4096
#: Factors multiplied before one logarithm is taken, a divisor of CYCLE; each is 0 or in [1e-16, 1]: none underflows.
FACTORS = 10


def raw(names: Sequence[str]) -> Function:
    """Return the function of u that computes the named indicators at each u itself."""
    return partial(indicators, names=tuple(names))


def smooth(names: Sequence[str]) -> Function:
    """Return the function of u that reads the named indicators from their smoothed curves.

    A cubic Savitzky-Golay filter over 205 of the 2048 grid points (a tenth of the range of u), its ends
    from the polynomial of the first and last window; between grid points linear.
    """
    from scipy.signal import savgol_filter  # noqa: PLC0415 - slow to import, and `plan` calls no scorer

    points = grid()
    curves = savgol_filter(indicators(points, names), WINDOW, DEGREE, axis=1, mode="interp")

    def interpolate(u: FloatArray) -> FloatArray:
        return np.stack([np.interp(u, points, curve) for curve in curves])

    return interpolate


def indicators(u: FloatArray, names: Sequence[str]) -> FloatArray:
    """Compute indicators of the kept orbit at every u.

    Parameters
    ----------
    u : array
        In (0, 1], shape ``(n,)``; neighbours of like value are the fastest.
    names : sequence of str
        Of ``peak`` (largest x), ``range`` (largest less smallest), ``mean``, ``variance`` (divided by the
        number of steps), ``lyapunov`` (mean of log abs(r (1 - 2 x)), at least -10) and ``entropy`` (of the
        histogram over 64 equal bins on [0, 1], natural logarithm). Only these are computed.

    Returns
    -------
    array
        float64, shape ``(len(names), n)``.

    Examples
    --------
    At r = 2 the orbit rests at 1/2, at r = 3.2 it alternates between two values.

    >>> indicators(np.array([0.5, 0.8]), ("peak", "range", "entropy")).round(4)
    array([[0.5   , 0.7995],
           [0.    , 0.2864],
           [0.    , 0.6931]])
    """
    out = np.empty((len(names), len(u)))
    for start in range(0, len(u), CHUNK):
        part = slice(start, start + CHUNK)
        r = 4 * u[part]
        trackers = [tracker(r) for tracker in {TRACKERS[name] for name in names}]
        steps = 0
        for x in orbit(r):
            steps += 1
            for tracker in trackers:
                tracker.add(x)
        found = {name: values for tracker in trackers for name, values in tracker.results(steps).items()}
        out[:, part] = [found[name] for name in names]
    return out


def orbit(r: FloatArray) -> Iterator[FloatArray]:
    """Iterate over the kept states, shape ``(n,)`` each; the array is overwritten by the next step.

    Where all n orbits have come to repeat themselves with a period that divides 40 (a fixed point, a
    cycle of 2, 4, 8, 5...), only 40 states follow: 1000 is a multiple, so that means, extremes and shares
    are the same up to rounding. Three quarters of the units settle so: the rest is chaotic, or slow.
    """
    x, rest = np.full_like(r, START), np.empty_like(r)

    def step() -> None:
        np.subtract(1.0, x, out=rest)
        np.multiply(r, x, out=x)
        np.multiply(x, rest, out=x)

    kept = KEPT
    for _ in range(BURN_IN // CYCLE):
        before = x.copy()
        for _ in range(CYCLE):
            step()
        if np.abs(x - before).max() <= SETTLED:
            kept = CYCLE
            break
    for _ in range(kept):
        step()
        yield x


class _Tracker(Protocol):
    """Gathers what some indicators need, state by state."""

    def __init__(self, r: FloatArray) -> None: ...

    def add(self, x: FloatArray) -> None: ...

    def results(self, steps: int, /) -> dict[str, FloatArray]: ...


class _Extremes:
    def __init__(self, r: FloatArray) -> None:
        self._high, self._low = np.zeros_like(r), np.ones_like(r)

    def add(self, x: FloatArray) -> None:
        np.maximum(self._high, x, out=self._high)
        np.minimum(self._low, x, out=self._low)

    def results(self, _steps: int, /) -> dict[str, FloatArray]:
        return {"peak": self._high, "range": self._high - self._low}


class _Moments:
    """Sums of the distances from the first state, so that an orbit at rest has variance 0 exactly."""

    def __init__(self, r: FloatArray) -> None:
        self._origin: FloatArray | None = None
        self._distance, self._sum, self._squares = np.empty_like(r), np.zeros_like(r), np.zeros_like(r)

    def add(self, x: FloatArray) -> None:
        if self._origin is None:
            self._origin = x.copy()
        np.subtract(x, self._origin, out=self._distance)
        self._sum += self._distance
        np.multiply(self._distance, self._distance, out=self._distance)
        self._squares += self._distance

    def results(self, steps: int, /) -> dict[str, FloatArray]:
        assert self._origin is not None
        shift = self._sum / steps
        return {"mean": self._origin + shift, "variance": np.maximum(self._squares / steps - shift**2, 0)}


class _Slopes:
    """Sum of log abs(1 - 2 x), one logarithm for several factors."""

    def __init__(self, r: FloatArray) -> None:
        self._r, self._factor = r, np.empty_like(r)
        self._product, self._logs, self._pending = np.ones_like(r), np.zeros_like(r), 0

    def add(self, x: FloatArray) -> None:
        np.multiply(x, -2.0, out=self._factor)
        self._factor += 1.0
        self._product *= self._factor
        self._pending += 1
        if self._pending == FACTORS:
            np.abs(self._product, out=self._product)
            with np.errstate(divide="ignore"):  # x = 1/2 exactly: minus infinity, which the floor then meets
                np.log(self._product, out=self._product)
            self._logs += self._product
            self._product.fill(1.0)
            self._pending = 0

    def results(self, steps: int, /) -> dict[str, FloatArray]:
        return {"lyapunov": np.maximum(np.log(self._r) + self._logs / steps, LYAPUNOV_FLOOR)}


class _Histogram:
    def __init__(self, r: FloatArray) -> None:
        self._counts = np.zeros(BINS * len(r), dtype=np.uint16)
        self._row, self._scaled = BINS * np.arange(len(r)), np.empty_like(r)

    def add(self, x: FloatArray) -> None:
        np.multiply(x, BINS, out=self._scaled)
        place = self._scaled.astype(np.intp)
        np.minimum(place, BINS - 1, out=place)  # x = 1 belongs to the last bin
        place += self._row
        self._counts[place] += 1  # the places of one state are all different

    def results(self, steps: int, /) -> dict[str, FloatArray]:
        return {"entropy": entr(self._counts.reshape(-1, BINS) / steps).sum(axis=1)}


TRACKERS: dict[str, type[_Tracker]] = {
    "peak": _Extremes, "range": _Extremes, "mean": _Moments, "variance": _Moments,
    "lyapunov": _Slopes, "entropy": _Histogram,
}  # fmt: skip
