"""Kappa of curves: 0 non-decreasing, 1 close to a polynomial of low degree, 2 neither (METHODS section 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.kappa.approximation import (
    BASES,
    EPS,
    INTERPOLATED,
    LARGEST,
    Approximation,
    Basis,
    FloatArray,
    basis_functions,
    best_approximation,
    interpolation_degrees,
    least_degree,
    scaled,
    within,
)  # fmt: skip

IntArray: TypeAlias = npt.NDArray[np.int64]
#: K functions of u at once: shape ``(n,)`` to ``(K, n)``.
Function: TypeAlias = Callable[[FloatArray], FloatArray]

#: Largest degree that counts as smooth; like eps without a principled choice, so that both are swept.
SMOOTH_DEGREE = 16
#: Largest fall of a curve, scaled to [0, 1], that still counts as non-decreasing.
DRAWDOWN = 0.01
#: Draws over which random features are summarised.
DRAWS = 100
#: What a map of kappa sweeps.
EPS_SWEPT = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15)
DEGREES_SWEPT = (2, 4, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of one scorer.

    Attributes
    ----------
    scorer : str
        Its label.
    sparsity : float or None
        Target that the curves depend on.
    draw : int
        Number of the draw of random features.
    features : tuple of str
        Their K names.
    u : array, shape (n,)
        The grid, equally spaced, ascending.
    values : array, shape (K, n)
        The features on the grid, each scaled to [0, 1].
    function : callable or None
        The same features at any u. None: only the grid's values are known, and between them the curve is linear.
    by_design : int, "fake" or None
        Kappa that the scorer was designed to have: that of arXiv 2605.09345 for its classes, ours for the controls, of
        which it names no degree. None where no design names one.
    """

    scorer: str
    sparsity: float | None
    draw: int
    features: tuple[str, ...]
    u: FloatArray
    values: FloatArray
    function: Function | None = None
    by_design: int | str | None = None


@dataclass(frozen=True)
class Complexity:
    """What is measured of one feature.

    Attributes
    ----------
    feature : str
        Its name.
    kappa : int
        0, 1 or 2, in the basis that was asked for.
    drawdown : float
        See `drawdown`.
    degrees : mapping
        Basis -> least degree within eps, None above `LARGEST`.
    interpolation : int or None
        The upper bound of the polynomial degree by Chebyshev interpolation; None above the largest one tried.
    u, curve : array, shape (n,)
        The curve, scaled to [0, 1].
    best : Approximation
        Its best polynomial: of the least degree within eps, or of degree `LARGEST`.
    """

    feature: str
    kappa: int
    drawdown: float
    degrees: Mapping[Basis, int | None]
    interpolation: int | None
    u: FloatArray
    curve: FloatArray
    best: Approximation


@dataclass(frozen=True)
class ScorerComplexity:
    """What is measured of one scorer: its features one by one.

    Attributes
    ----------
    scorer, sparsity, draw
        As in `Curves`.
    by_design : int, "fake" or None
        As in `Curves`.
    features : tuple of Complexity
        In the scorer's order.
    """

    scorer: str
    sparsity: float | None
    draw: int
    by_design: int | str | None
    features: tuple[Complexity, ...]

    @property
    def kappa(self) -> int:
        """The largest of the features'."""
        return max(feature.kappa for feature in self.features)


@dataclass(frozen=True)
class DrawsInterval:
    """The interpolation degree of random features over draws: median with its bootstrap interval, and range.

    Attributes
    ----------
    median, low, high : float
        Median over draws and the bounds of its percentile bootstrap interval.
    least, most : int
        Range over draws; one above the largest degree tried stands for every larger one.
    draws : int
        Their number.
    level : float
        Confidence level.
    """

    median: float
    low: float
    high: float
    least: int
    most: int
    draws: int
    level: float


def drawdown(curves: npt.ArrayLike) -> FloatArray:
    """Return the largest fall of each curve (the last axis) from what it reached before.

    Examples
    --------
    >>> drawdown([[0.0, 0.5, 0.2, 1.0], [0.0, 0.1, 0.1, 1.0]]).tolist()
    [0.3, 0.0]
    """
    values = np.asarray(curves, dtype=np.float64)
    return np.asarray((np.maximum.accumulate(values, axis=-1) - values).max(axis=-1))


def kappa(
    curves: npt.ArrayLike, eps: float = EPS, smooth_degree: int = SMOOTH_DEGREE, basis: Basis = "polynomial"
) -> IntArray:
    """Return the class of each curve: 0, 1 or 2.

    0 where the scaled curve's `drawdown` is at most 0.01 (a decreasing curve is not of class 0: it keeps other
    units), else 1 where a function of degree `smooth_degree` comes within eps, else 2. Only that one degree is
    tried, so that thousands of curves are classed in seconds.

    Parameters
    ----------
    curves : array_like, shape (k, n)
        Values on the grid, scaled here.
    eps : float
        Tolerance.
    smooth_degree : int
        Largest degree that counts as smooth.
    basis : str
        See `analysis.kappa.approximation`.

    Examples
    --------
    >>> u = np.linspace(0.1, 1, 2048)
    >>> kappa([u, -u, np.sin(40 * np.pi * u)]).tolist()
    [0, 1, 2]
    """
    values = scaled(curves)
    classes = (drawdown(values) > DRAWDOWN).astype(np.int64)
    moving = classes > 0
    functions = basis_functions(values.shape[1], smooth_degree, basis)
    classes[moving] += ~within(values[moving], functions, eps)
    return classes


def kappa_map(
    curves: npt.ArrayLike, eps: Sequence[float] = EPS_SWEPT, degrees: Sequence[int] = DEGREES_SWEPT,
    basis: Basis = "polynomial",
) -> IntArray:  # fmt: skip
    """Return the largest class of some curves for every eps and every degree that could count as smooth.

    Returns
    -------
    array of int, shape (len(eps), len(degrees))

    Examples
    --------
    The errors of a cosine's best polynomials of degree 2 and 4 are about 0.5 and 0.33.

    >>> kappa_map([np.cos(3 * np.pi * np.linspace(0, 1, 201))], eps=(0.1, 0.4), degrees=(2, 4, 8)).tolist()
    [[2, 2, 1], [2, 1, 1]]
    """
    values = scaled(curves)
    moving = values[drawdown(values) > DRAWDOWN]
    classes: IntArray = np.full((len(eps), len(degrees)), 2 if len(moving) else 0, dtype=np.int64)
    loosest = sorted(range(len(eps)), key=lambda place: -eps[place])
    reached = 0
    # What is within eps at a degree is so at every higher one: each step goes to a smaller eps or a higher degree.
    for place in sorted(range(len(degrees)), key=lambda place: degrees[place]) if len(moving) else ():
        functions = basis_functions(values.shape[1], degrees[place], basis)
        while reached < len(eps) and within(moving, functions, eps[loosest[reached]]).all():
            reached += 1
        classes[loosest[:reached], place] = 1
    return classes


def measure(
    scorers: Iterable[Curves], eps: float = EPS, smooth_degree: int = SMOOTH_DEGREE, basis: Basis = "polynomial"
) -> list[ScorerComplexity]:
    """Measure every feature of some scorers: degrees in all bases, the interpolation bound, and kappa in `basis`.

    A curve that several scorers share is measured once. A smooth one of 2048 points takes 0.1 s, a rough one 1 s.

    Raises
    ------
    ValueError
        If `smooth_degree` is above `LARGEST`, to which degrees are searched.

    Examples
    --------
    >>> u = np.linspace(0.1, 1, 201)
    >>> (line,) = measure([Curves("rank", None, 0, ("rank",), u, u[None], by_design=0)])
    >>> line.kappa, line.by_design, line.features[0].degrees["polynomial"], line.features[0].interpolation
    (0, 0, 1, 1)
    """
    if smooth_degree > LARGEST:
        raise ValueError(f"smooth_degree is {smooth_degree}; degrees are searched to {LARGEST}")
    known: dict[bytes, Complexity] = {}
    results = []
    for curves in scorers:
        keys = [fingerprint(curve) for curve in curves.values]
        fresh = [k for k, key in enumerate(keys) if key not in known]
        function = curves.function or linear(curves.u, curves.values)
        bounds = interpolation_degrees(_only(function, fresh), curves.u, eps)
        for k, bound in zip(fresh, bounds, strict=True):
            known[keys[k]] = _complexity(curves, k, bound, eps, smooth_degree, basis)
        features = [replace(known[key], feature=name) for key, name in zip(keys, curves.features, strict=True)]
        results.append(ScorerComplexity(curves.scorer, curves.sparsity, curves.draw, curves.by_design, tuple(features)))
    return results


def _complexity(
    curves: Curves, k: int, interpolation: int | None, eps: float, smooth_degree: int, basis: Basis
) -> Complexity:
    curve = curves.values[k]
    degrees = {each: least_degree(curve, eps, basis=each) for each in BASES}
    fall, degree, polynomial = float(drawdown(curve)), degrees[basis], degrees["polynomial"]
    smooth = degree is not None and degree <= smooth_degree
    return Complexity(
        feature=curves.features[k], kappa=0 if fall <= DRAWDOWN else 1 if smooth else 2, drawdown=fall, degrees=degrees,
        interpolation=interpolation, u=curves.u, curve=curve,
        best=best_approximation(curve, LARGEST if polynomial is None else polynomial),
    )  # fmt: skip


def _only(function: Function, wanted: list[int]) -> Function:
    return lambda u: function(u)[wanted]


def fingerprint(curve: FloatArray) -> bytes:
    """Return what is equal for curves that agree to 9 digits: far finer than any degree can tell.

    One indicator, smoothed alone or with others, differs in the last bit.
    """
    return (curve.round(9) + 0.0).tobytes()


def linear(u: FloatArray, values: FloatArray) -> Function:
    """Return the function that is linear between the grid's points."""
    return lambda at: np.stack([np.interp(at, u, curve) for curve in values])


def worst(degrees: Sequence[int | None]) -> int | None:
    """Return the largest degree; None, which is above every one tried, is larger than any."""
    return None if None in degrees else max(degree for degree in degrees if degree is not None)


def over_draws(
    degrees: Sequence[int | None], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> DrawsInterval:
    """Summarise the interpolation degrees of random features over independent draws.

    The interval is of the median, by the percentile bootstrap over draws (`scipy.stats.bootstrap`); it is a point
    where all draws agree.

    Parameters
    ----------
    degrees : sequence of int or None
        One per draw, what `interpolation_degrees` found; None (above every degree tried) ranks above all.
    level : float
        Confidence level.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If there are fewer than two draws.

    Examples
    --------
    >>> over_draws([8, 9, 9, 10, 12], seed=1)
    DrawsInterval(median=9.0, low=8.0, high=12.0, least=8, most=12, draws=5, level=0.95)
    """
    if len(degrees) < 2:
        raise ValueError(f"an interval over draws needs two of them, not {len(degrees)}")
    sample = np.array([max(INTERPOLATED) + 1 if degree is None else degree for degree in degrees])
    median, least, most = float(np.median(sample)), int(sample.min()), int(sample.max())
    if least == most:
        return DrawsInterval(median, median, median, least, most, len(sample), level)
    low, high = stats.bootstrap(
        (sample,), np.median, axis=-1, vectorized=True, n_resamples=resamples, confidence_level=level,
        method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return DrawsInterval(median, float(low), float(high), least, most, len(sample), level)


def random_features(results: Iterable[ScorerComplexity]) -> dict[str, DrawsInterval]:
    """Summarise the scorers that were measured on several draws, as `over_draws` does the largest of their features."""
    degrees: dict[str, list[int | None]] = {}
    for result in results:
        at = "" if result.sparsity is None else f" at {100 * result.sparsity:g} %"
        degrees.setdefault(result.scorer + at, []).append(worst([one.interpolation for one in result.features]))
    return {name: over_draws(found) for name, found in degrees.items() if len(found) > 1}
