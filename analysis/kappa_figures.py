"""Draw curves with their best approximation, and maps of kappa; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from analysis.figure_style import styled
from analysis.figures import facets
from analysis.kappa.curves import DEGREES_SWEPT, EPS_SWEPT, Complexity, IntArray, ScorerComplexity, fingerprint
from analysis.kappa_tables import degree

_CURVE, _BEST = "#1a1a1a", "#56b4e9"
#: Kappa 0, 1, 2: light to dark, so that they stay apart in grey.
_CLASSES = ("#f2f2f2", "#8fc1e3", "#0b3c5d")
_INK = ("black", "black", "white")


def approximation(feature: Complexity, eps: float, axes: Axes) -> None:
    """Draw a curve, its best polynomial, and the band of half-width eps around that.

    The curve stays in the band where the degree is one that was found.

    Parameters
    ----------
    feature : Complexity
        What `analysis.kappa.curves.measure` found.
    eps : float
        The tolerance that it was measured with.
    axes : Axes
        Where to draw.
    """
    best = feature.best.values
    some = np.linspace(0, len(best) - 1, 512).astype(int)  # enough for a polynomial; matplotlib simplifies no band
    axes.fill_between(feature.u[some], best[some] - eps, best[some] + eps, color=_BEST, alpha=0.3, linewidth=0)
    axes.plot(feature.u, feature.curve, color=_CURVE, linewidth=0.7, zorder=3)
    axes.plot(feature.u, best, color=_BEST, linewidth=1.3)
    axes.set_xlim(feature.u[0], feature.u[-1])
    axes.set_xticks([0.1, 0.25, 0.5, 0.75, 1], ["0.1", "0.25", "0.5", "0.75", "1"])
    axes.set_ylim(-0.15, 1.28)


def approximations(results: Sequence[ScorerComplexity], eps: float) -> Figure:
    """Lay out one facet per distinct curve of some scorers, each with its best polynomial.

    Parameters
    ----------
    results : sequence of ScorerComplexity
        What `analysis.kappa.curves.measure` returned.
    eps : float
        The tolerance that they were measured with.
    """
    distinct: dict[bytes, tuple[Complexity, list[str]]] = {}
    for result in results:
        for feature in result.features:
            _, scorers = distinct.setdefault(fingerprint(feature.curve), (feature, []))
            if result.scorer not in scorers:
                scorers.append(result.scorer)
    shown = list(distinct.values())

    def draw(number: int, axes: Axes) -> None:
        feature, scorers = shown[number]
        approximation(feature, eps, axes)
        named = ", ".join(scorers[:2]) + (f" and {len(scorers) - 2} more" if len(scorers) > 2 else "")
        axes.text(0.02, 0.98, named, transform=axes.transAxes, ha="left", va="top", fontsize=7.5)

    with styled():
        figure = facets(
            [_title(feature) for feature, _ in shown], draw, x="u (rank by magnitude)", y="Feature", columns=4,
            width=2.7, height=2.1,
        )  # fmt: skip
        handles: list[Any] = [
            Line2D([], [], color=_CURVE, linewidth=0.7, label="feature, scaled to [0, 1]"),
            Line2D([], [], color=_BEST, label="best polynomial of degree D, or 64"),
            Patch(color=_BEST, alpha=0.3, linewidth=0, label=f"within {eps:g} of it"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _title(feature: Complexity) -> str:
    found = degree(feature.degrees["polynomial"])
    return f"{feature.feature}: D {'' if found.startswith('>') else '= '}{found}, kappa {feature.kappa}"


def kappa_map(
    classes: IntArray, eps: Sequence[float], degrees: Sequence[int], axes: Axes,
    chosen: tuple[float, int] | None = None,
) -> None:  # fmt: skip
    """Draw kappa as a table of shades: eps up, the largest degree that counts as smooth across.

    Parameters
    ----------
    classes : array of int, shape (len(eps), len(degrees))
        What `analysis.kappa.curves.kappa_map` returned.
    eps, degrees : sequence
        What was swept.
    axes : Axes
        Where to draw.
    chosen : tuple of float and int, optional
        The eps and degree in use, framed where they are among those swept.
    """
    axes.imshow(classes, cmap=ListedColormap(_CLASSES), vmin=0, vmax=2, aspect="auto", origin="lower")
    for i, row in enumerate(classes.tolist()):
        for j, value in enumerate(row):
            axes.text(j, i, str(value), ha="center", va="center", fontsize=7.5, color=_INK[value])
    if chosen is not None and chosen[0] in eps and chosen[1] in degrees:
        corner = (list(degrees).index(chosen[1]) - 0.5, list(eps).index(chosen[0]) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d55e00", linewidth=1.8))
    axes.set_xticks(range(len(degrees)), [str(degree) for degree in degrees])
    axes.set_yticks(range(len(eps)), [f"{value:g}" for value in eps])
    axes.grid(visible=False)
    axes.tick_params(length=0)


def kappa_maps(
    maps: Mapping[str, IntArray], eps: Sequence[float] = EPS_SWEPT, degrees: Sequence[int] = DEGREES_SWEPT,
    chosen: tuple[float, int] | None = None,
) -> Figure:  # fmt: skip
    """Lay out one map of kappa per scorer.

    Parameters
    ----------
    maps : mapping
        Title -> map.
    eps, degrees, chosen
        As in `kappa_map`.
    """
    arrays = list(maps.values())

    def draw(number: int, axes: Axes) -> None:
        kappa_map(arrays[number], eps, degrees, axes, chosen)

    with styled():
        return facets(
            list(maps), draw, x="Largest degree that counts as smooth", y="Tolerance eps", columns=4, width=2.7,
            height=2.2,
        )  # fmt: skip
