"""kappa(S) from data: the least feature complexity that escapes the plateau at each sparsity, and where it changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.kappa.complexity_set import KappaSet, kappa_set
from analysis.stats.degenerate import Category
from analysis.stats.intervals import Interval, t_interval
from analysis.stats.max_t import MaxT, max_t
from analysis.stats.trend import Trend, isotonic, page

#: Sparsity from which the paper says that complexity 1, and 2, is needed.
PAPER: dict[int, float] = {1: 0.65, 2: 0.75}
#: Random sign patterns inside a resample, where only a decision at alpha is asked (beyond 10 models).
PATTERNS = 2000
#: A resampled probability under it is "no" and over its complement "yes": between two such neighbours in the grid
#: the place of a change is not estimable (ours).
SURE = 0.05

KappaCategory: TypeAlias = Category | Literal["too few models"]
Outcome: TypeAlias = Literal[
    "estimated", "not estimable between grid points", "never", "always", "not monotone", "not decidable"
]
Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """Complexity at one sparsity.

    Attributes
    ----------
    sparsity : float
        A fraction.
    escapes : tuple of Interval
        e_1 and e_2: mean escape of the class over the plateau (fraction), t interval.
    p : tuple of float
        Max-T adjusted, one-sided, of each; NaN where a class has no variance, and its value decides.
    kappa_set : KappaSet
        95 % set of kappa, by t tests with the margin (fractions).
    kappa : int or None
        0, 1 or 2 by the max-T test, which `at_least` repeats in resamples; None where so few models decide nothing.
    at_least : tuple of float
        P(kappa >= 1) and P(kappa >= 2) over resampled models; NaN where `kappa` is None.
    category : str
        ``regular``, a category of the max-T test, or ``too few models``: no p-value under alpha is attainable.
    """

    sparsity: float
    escapes: tuple[Interval, Interval]
    p: tuple[float, float]
    kappa_set: KappaSet
    kappa: int | None
    at_least: tuple[float, float]
    category: KappaCategory


@dataclass(frozen=True)
class Change:
    """Sparsity from which the complexity is at least `kappa`: where P(kappa(S) >= kappa) crosses 1/2.

    Attributes
    ----------
    kappa : int
        1 or 2.
    outcome : str
        ``estimated`` (by linear interpolation); ``not estimable between grid points`` (no at one grid point and yes
        at the next: it lies somewhere between); ``never`` and ``always`` within the grid; ``not monotone`` (it
        crosses more than once, or downwards); ``not decidable`` (too few models).
    sparsity : float
        NaN unless estimated.
    below, above : float
        The grid points between which it crosses; NaN where it does not cross once.
    low, high : float
        Grid points that bracket the change in 95 % of the resamples, each of which takes the single step with the
        fewest contradictions; infinite beyond the grid, NaN where not decidable.
    paper : float
        What the paper says.
    """

    kappa: int
    outcome: Outcome
    sparsity: float
    below: float
    above: float
    low: float
    high: float
    paper: float


@dataclass(frozen=True)
class Complexity:
    """kappa(S) of one setting.

    Attributes
    ----------
    points : tuple of Point
        By sparsity.
    changes : tuple of Change
        For kappa 1 and 2.
    trend : Trend or None
        Page's test that e_2 - e_1 increases with S, blocks = models; None under three sparsities.
    difference, isotonic : tuple of float
        Mean e_2 - e_1 at each sparsity, and its non-decreasing fit (a picture, no test).
    models, excluded : int
        Models with every scorer at every sparsity, and those that lack one.
    alpha : float
        One-sided level of the max-T test.
    resamples, seed : int
        Of the models.
    """

    points: tuple[Point, ...]
    changes: tuple[Change, ...]
    trend: Trend | None
    difference: tuple[float, ...]
    isotonic: tuple[float, ...]
    models: int
    excluded: int
    alpha: float
    resamples: int
    seed: int


def complexity(
    escapes: pd.DataFrame,
    classes: Mapping[int, Sequence[str]],
    *,
    by: str = "scorer",
    margin: float = 0.005,
    least_sd: float = 0.0,
    alpha: float = 0.05,
    resamples: int = 500,
    seed: int = 0,
) -> Complexity:
    """Compute kappa(S) by its definition: 0 if neither e_1 nor e_2 exceeds 0, else the least k whose e_k does.

    Per model and sparsity, e_k is the accuracy of class k minus the plateau, averaged over the scorers that were
    named for the class before the data. What the data allow to conclude is the 95 % set of kappa (`kappa_set`). For
    the descriptive distribution of kappa(S), "exceeds" is decided by the sign-flip max-T test over both classes, in the
    data and anew in every resample of the models, which is the same for all sparsities.

    Parameters
    ----------
    escapes : DataFrame
        One setting, as `frames.escape` gives it: ``checkpoint``, ``sparsity``, ``difference`` (scorer minus plateau, a
        fraction) and the column `by`.
    classes : mapping
        1 and 2 -> labels of the column `by`.
    by : str
        ``scorer``, or ``method`` where searches stand beside each other.
    margin, least_sd : float
        Of the set, fractions; see `kappa_set`.
    alpha : float
        One-sided level of the max-T test.
    resamples, seed : int
        Of the models.

    Raises
    ------
    ValueError
        If the classes are not 1 and 2, a class has no scorer, or a model has two rows for a scorer and sparsity.

    Examples
    --------
    >>> grid = [(m, s, k) for m in range(8) for s in (0.5, 0.7, 0.9) for k in ("v1", "a5")]
    >>> gain = {(0.7, "v1"): 0.05, (0.7, "a5"): 0.05, (0.9, "a5"): 0.05}
    >>> rows = [(m, s, k, gain.get((s, k), -0.05) + (m - 3.5) / 1000) for m, s, k in grid]
    >>> table = pd.DataFrame(rows, columns=["checkpoint", "sparsity", "scorer", "difference"])
    >>> found = complexity(table, {1: ["v1"], 2: ["a5"]}, resamples=50)
    >>> [point.kappa for point in found.points]
    [0, 1, 2]
    >>> [(change.outcome, change.below, change.above) for change in found.changes]
    [('not estimable between grid points', 0.5, 0.7), ('not estimable between grid points', 0.7, 0.9)]
    """
    if set(classes) != {1, 2} or not all(classes.values()):
        raise ValueError(f"kappa needs the scorers of the classes 1 and 2, got {dict(classes)}")
    table, grid, excluded = _complete(escapes, [*classes[1], *classes[2]], by)
    first = len(classes[1])
    values = np.stack([table[:, :, :first].mean(axis=2), table[:, :, first:].mean(axis=2)], axis=2)
    tests = [max_t(values[:, place]) for place in range(len(grid))]
    categories = [_category(test, alpha) for test in tests]
    decided = np.array([category not in _UNDECIDED for category in categories], dtype=bool)
    drawn = _resampled(values[:, decided], alpha, resamples, seed)
    shares = np.full((len(grid), 2), math.nan)
    shares[decided] = np.stack([(drawn >= least).mean(axis=0) for least in (1, 2)], axis=1)
    difference = values[:, :, 1] - values[:, :, 0]
    known = difference.size > 0
    mean = difference.mean(axis=0) if known else np.full(len(grid), math.nan)
    points = tuple(
        Point(
            sparsity=float(grid[place]),
            escapes=(t_interval(values[:, place, 0]), t_interval(values[:, place, 1])),
            p=(test.p_adjusted[0], test.p_adjusted[1]),
            kappa_set=kappa_set(values[:, place, 0], values[:, place, 1], margin, least_sd=least_sd),
            kappa=_kappa(values[:, place], test, alpha) if decided[place] else None,
            at_least=(float(shares[place, 0]), float(shares[place, 1])),
            category=categories[place],
        )
        for place, test in enumerate(tests)
    )
    return Complexity(
        points=points,
        changes=tuple(
            locate_change(least, grid[decided], shares[decided, least - 1], drawn >= least) for least in (1, 2)
        ),
        trend=page(difference) if known and len(grid) >= 3 else None,
        difference=tuple(mean.tolist()),
        isotonic=tuple(isotonic(grid, mean).tolist()) if known else tuple(mean.tolist()),
        models=len(values),
        excluded=excluded,
        alpha=alpha,
        resamples=resamples,
        seed=seed,
    )


def curve(found: Complexity) -> pd.DataFrame:
    """Return kappa(S) as a frame for tables and figures.

    Returns
    -------
    DataFrame
        ``sparsity``, ``kappa`` (Int64), ``category``; for k = 1, 2: ``escape_k``, ``low_k``, ``high_k`` (fractions, t
        interval), ``p_k``, ``at_least_k``; ``difference`` and ``isotonic`` (fractions).
    """
    rows: list[dict[str, Any]] = []
    for point, difference, fitted in zip(found.points, found.difference, found.isotonic, strict=True):
        row: dict[str, Any] = {"sparsity": point.sparsity, "kappa": point.kappa, "category": point.category}
        for place, k in enumerate((1, 2)):
            own = point.escapes[place]
            row |= {f"escape_{k}": own.mean, f"low_{k}": own.low, f"high_{k}": own.high}
            row |= {f"p_{k}": point.p[place], f"at_least_{k}": point.at_least[place]}
        rows.append(row | {"difference": difference, "isotonic": fitted})
    frame = pd.DataFrame(rows, columns=_CURVE)
    return frame.astype({"kappa": "Int64"})


def premium(escapes: pd.DataFrame, raw: str = "a5", smooth: str = "v1", *, by: str = "scorer") -> pd.DataFrame:
    """Wiggle premium: accuracy of the raw minus the smooth features at each sparsity.

    Parameters
    ----------
    escapes : DataFrame
        As for `complexity`: the plateau cancels.
    raw, smooth : str
        Labels of the column `by`.
    by : str
        ``scorer`` or ``method``.

    Returns
    -------
    DataFrame
        ``sparsity``, ``n`` (models with both at every sparsity), ``mean``, ``low``, ``high`` (fractions, t interval),
        ``p_above``, ``p_below`` (one-sided max-T over all sparsities: is the premium over 0, is it under 0),
        ``category``.

    Raises
    ------
    ValueError
        If a model has two rows for a scorer and sparsity.

    Examples
    --------
    >>> gain = {0.5: -0.02, 0.8: 0.03}
    >>> rows = [(m, s, "a5", gain[s] + m / 1000) for m in range(6) for s in gain]
    >>> rows += [(m, s, "v1", 0.0) for m in range(6) for s in gain]
    >>> found = premium(pd.DataFrame(rows, columns=["checkpoint", "sparsity", "scorer", "difference"]))
    >>> found[["mean", "p_above", "p_below"]].round(4).to_numpy().tolist()
    [[-0.0175, 1.0, 0.0312], [0.0325, 0.0156, 1.0]]
    """
    table, grid, _ = _complete(escapes, [raw, smooth], by)
    difference = table[:, :, 0] - table[:, :, 1]
    above, below = max_t(difference), max_t(-difference)
    rows: list[dict[str, Any]] = []
    for place, sparsity in enumerate(grid):
        own = t_interval(difference[:, place])
        row = {"sparsity": float(sparsity), "n": own.n, "mean": own.mean, "low": own.low, "high": own.high}
        p = {"p_above": above.p_adjusted[place], "p_below": below.p_adjusted[place]}
        rows.append(row | p | {"category": own.category})
    return pd.DataFrame(rows, columns=["sparsity", "n", "mean", "low", "high", "p_above", "p_below", "category"])


_CURVE = [
    "sparsity", "kappa", "category",
    *(f"{name}_{k}" for k in (1, 2) for name in ("escape", "low", "high", "p", "at_least")), "difference", "isotonic",
]  # fmt: skip

_UNDECIDED: tuple[KappaCategory, ...] = ("no data", "not finite", "one model", "too few models")


def _complete(escapes: pd.DataFrame, labels: Sequence[str], by: str) -> tuple[Values, Values, int]:
    """Values (models, sparsities, labels) of the models that have them all, the grid, and how many models do not.

    A sparsity at which no model has every label is no point of the grid.
    """
    kept = escapes[escapes[by].isin(list(labels)) & escapes["sparsity"].notna()]
    keys = ["checkpoint", "sparsity", by]
    if kept.duplicated(keys).any():
        raise ValueError(f"a model has several rows for one {by} and sparsity: give the rows of one setting")
    wide = kept.pivot(index=["checkpoint", "sparsity"], columns=by, values="difference").reindex(columns=list(labels))
    whole = wide.notna().all(axis=1).unstack("sparsity", fill_value=False)
    whole = whole.loc[:, whole.any()]
    models = whole.index[whole.all(axis=1) & (whole.shape[1] > 0)]
    grid = np.sort(whole.columns.to_numpy(dtype=np.float64))
    places = pd.MultiIndex.from_product([models, grid], names=["checkpoint", "sparsity"])
    values = wide.reindex(places).to_numpy(dtype=np.float64).reshape(len(models), len(grid), len(labels))
    return values, grid, int(kept["checkpoint"].nunique() - len(models))


def _category(test: MaxT, alpha: float) -> KappaCategory:
    if test.category in _UNDECIDED:
        return test.category
    return "too few models" if test.least_p > alpha else test.category


def _kappa(values: Values, test: MaxT, alpha: float) -> int:
    """Least k whose escapes, a column of `values`, exceed 0; a class without variance is decided by its value."""
    for place, p in enumerate(test.p_adjusted):
        exceeds = bool(values[:, place].mean() > 0) if test.categories[place] == "constant" else p <= alpha
        if exceeds:
            return place + 1
    return 0


def _resampled(values: Values, alpha: float, resamples: int, seed: int) -> NDArray[np.int64]:
    """Draw models with replacement and decide anew, shape (resamples, sparsities)."""
    models, sparsities, _ = values.shape
    drawn = np.zeros((resamples, sparsities), dtype=np.int64)
    if not drawn.size:
        return drawn
    rng = np.random.default_rng(seed)
    for number in range(resamples):
        sample = values[rng.integers(models, size=models)]
        for place in range(sparsities):
            own = sample[:, place]
            drawn[number, place] = _kappa(own, max_t(own, repetitions=PATTERNS), alpha)
    return drawn


def locate_change(kappa: int, grid: Values, share: Values, reached: NDArray[np.bool_]) -> Change:
    """Find the sparsity where the share of resamples that reach `kappa` crosses 1/2.

    Parameters
    ----------
    kappa : int
        1 or 2.
    grid : array, shape (sparsities,)
        Ascending sparsities; empty where nothing is decidable.
    share : array, shape (sparsities,)
        Share of the resamples that reach `kappa`.
    reached : array of bool, shape (resamples, sparsities)
        The resamples themselves.

    Examples
    --------
    >>> reached = np.array([[False, False, True], [False, True, True], [False, False, True]])
    >>> round(locate_change(1, np.array([0.5, 0.7, 0.9]), reached.mean(axis=0), reached).sparsity, 2)
    0.75
    """
    nan = math.nan
    if not len(grid):
        return Change(kappa, "not decidable", nan, nan, nan, nan, nan, PAPER[kappa])
    low, high = _bracket(grid, reached)
    more = share >= 0.5
    if not more.any() or more.all():
        return Change(kappa, "always" if more.any() else "never", nan, nan, nan, low, high, PAPER[kappa])
    place = int(np.argmax(more))
    if place == 0 or not more[place:].all():
        return Change(kappa, "not monotone", nan, nan, nan, low, high, PAPER[kappa])
    below, above = float(grid[place - 1]), float(grid[place])
    start, stop = float(share[place - 1]), float(share[place])
    if start <= SURE and stop >= 1 - SURE:
        return Change(kappa, "not estimable between grid points", nan, below, above, low, high, PAPER[kappa])
    sparsity = below + (above - below) * (0.5 - start) / (stop - start)
    return Change(kappa, "estimated", sparsity, below, above, low, high, PAPER[kappa])


def _bracket(grid: Values, reached: NDArray[np.bool_]) -> tuple[float, float]:
    """Grid points around 95 % of the resamples' steps, `reached` being (resamples, sparsities)."""
    # A step before grid point c is contradicted by what is reached before it and by what is not reached after it.
    before = np.cumsum(reached, axis=1)
    after = np.cumsum(~reached[:, ::-1], axis=1)[:, ::-1]
    none = np.zeros((len(reached), 1), dtype=np.int64)
    against = np.concatenate([none, before], axis=1) + np.concatenate([after, none], axis=1)
    first = np.argmin(against, axis=1)
    last = len(grid) - np.argmin(against[:, ::-1], axis=1)
    edges = np.concatenate([[-math.inf], grid, [math.inf]])
    low = int(np.quantile(first, 0.025, method="inverted_cdf"))
    high = int(np.quantile(last, 0.975, method="inverted_cdf"))
    return float(edges[low]), float(edges[high + 1])
