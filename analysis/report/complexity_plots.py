"""The figures of complexity: curves with their best polynomial, maps of kappa, kappa(S) and the wiggle premium."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import complexity_figures
from analysis.complexity import curve
from analysis.complexity_study import RAW, SMOOTH, Setting
from analysis.evidence.methods import Methods
from analysis.figure_style import styled
from analysis.figures import facets
from analysis.kappa.approximation import EPS
from analysis.kappa.curves import SMOOTH_DEGREE, Curves, ScorerComplexity, kappa_map
from analysis.kappa_figures import approximations, kappa_maps
from analysis.report.drawing import Facet, Plot, finish

#: Families whose scorers have a map of their own if their kappa by design is above 0. A rough curve takes 0.5 s.
_MAPPED = ("smooth indicators", "raw indicators")


def best_polynomials(results: Sequence[ScorerComplexity]) -> Plot:
    """Draw every distinct feature with its best polynomial; one that depends on the sparsity, at the middle one."""
    grids: dict[str, list[float]] = {}
    for one in results:
        if one.sparsity is not None:
            grids.setdefault(one.scorer, []).append(one.sparsity)
    middle = {scorer: sorted(grid)[len(grid) // 2] for scorer, grid in grids.items()}
    shown = [one for one in results if one.sparsity is None or one.sparsity == middle[one.scorer]]
    caption = (
        "Every feature (black), scaled to run from 0 to 1, with its best polynomial (blue) and the band within "
        f"{EPS:g} of that. D is the least degree whose polynomial has the whole feature in its band; where 64 is not "
        "enough, the polynomial of degree 64 is drawn and the feature leaves the band. In each facet: the scorers that "
        "use the feature."
    )
    if middle:
        named = ", ".join(f"{scorer} at {100 * sparsity:g} %" for scorer, sparsity in middle.items())
        caption += f" Features that depend on the target sparsity are drawn at one: {named}."
    return finish("complexity-curves", approximations(shown, EPS), caption, ())


def maps(curves: Sequence[Curves], methods: Methods) -> list[Plot]:
    """Draw kappa of the paper's classes over the two numbers that it depends on."""
    mapped = {
        record.name for record in methods.of_kind("scorer") if record.family in _MAPPED and record.complexity in (1, 2)
    }
    chosen = {one.scorer: kappa_map(one.values) for one in curves if one.scorer in mapped and one.sparsity is None}
    if not chosen:
        return []
    caption = (
        "kappa of the paper's feature classes (the largest of their features'), for every tolerance eps and every "
        f"degree up to which a polynomial counts as smooth. Framed: the defaults, {EPS:g} and {SMOOTH_DEGREE} (ours)."
    )
    return [finish("complexity-map", kappa_maps(chosen, chosen=(EPS, SMOOTH_DEGREE)), caption, ())]


def probabilities(settings: Sequence[Setting], methods: Methods) -> Plot:
    """Draw how often resampled models decide for each kappa, over sparsity."""
    frames = [curve(one.found) for one in settings]
    figure = _facets(
        settings, lambda number, axes: complexity_figures.probabilities(frames[number], axes, methods), "Probability"
    )
    with styled():
        handles, _ = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        "Descriptive: the share of resamples of the models in which kappa is at least 1, and at least 2. The share "
        "crosses one half (dashed, horizontal) where kappa changes. Dotted, vertical: the sparsities at which kappa "
        "changes in the paper. The 95 % sets are in the table."
    )
    return finish("kappa-sparsity", figure, caption, _places(settings))


def premiums(settings: Sequence[Setting], methods: Methods) -> list[Plot]:
    """Draw the wiggle premium over sparsity."""
    have = [one for one in settings if len(one.premium)]
    if not have:
        return []
    figure = _facets(
        have,
        lambda number, axes: complexity_figures.premium(have[number].premium, axes, methods),
        f"{RAW} less {SMOOTH} (points)",
    )
    with styled():
        handles = [
            Line2D([], [], color="#0072b2", marker="o", markerfacecolor=face, linestyle="none", label=label)
            for face, label in (("#0072b2", "told from zero"), ("white", "not told from zero"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"Wiggle premium: accuracy of the raw features ({RAW}) less that of the smooth ones ({SMOOTH}), mean over "
        "models with 95 % t interval. Filled: told from zero by the max-T test over all sparsities of the search "
        "(2.5 % each way)."
    )
    return [finish("kappa-premium", figure, caption, _places(have))]


def _facets(settings: Sequence[Setting], draw: Callable[[int, Axes], None], y: str) -> Figure:
    """Lay out one facet per setting, the searches of a model side by side where all models have the same."""
    searches = list(dict.fromkeys(one.search for one in settings))
    whole = len(settings) == len(searches) * len(_places(settings))
    titles = [f"{Facet(one.dataset, one.model).title}: {one.search}" for one in settings]
    with styled():
        return facets(
            titles, draw, x="Sparsity (%)", y=y, columns=min(4, len(searches)) if whole else 4, width=2.9, height=2.4
        )


def _places(settings: Sequence[Setting]) -> list[Facet]:
    return list(dict.fromkeys(Facet(one.dataset, one.model) for one in settings))
