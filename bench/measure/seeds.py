"""The named seeds of a cell's random streams: its calibration draw, its scorer and its search."""

from __future__ import annotations

from typing import Any

from bench.core.identity import named_seed
from bench.core.registry import Plugin
from bench.core.types import CalibrationSpec, Cell, Choice


def calibration_seed(group: str, draw: CalibrationSpec) -> int:
    """Return the seed of a calibration draw: the same for every size of the draw."""
    return named_seed("calibration", group, draw.draw)


def features_seed(scorer: Choice, draw: int) -> int:
    """Return the seed of a feature scorer's random curves; all models see the same curve."""
    return named_seed("features", scorer.identity(), draw)


def curve_seed(plugin: Plugin, scorer: Choice, group: str, draw: int) -> int:
    """Return the seed of a function of the rank: that of `features_seed`, or the group's own for a `per_model` scorer.

    The latter depends on data, model and train seed alone: neither on the draw nor on the scorer's options.
    """
    return named_seed("shuffle", group) if plugin.per_model else features_seed(scorer, draw)


def scorer_seed(cell: Cell, scorer: Plugin) -> int:
    """Return the seed of a cell's scorer.

    A feature scorer is a function of the normalised rank, the same for all models: its seed does not depend on the
    group, unless the scorer is `per_model`.
    """
    if scorer.fuses_features:
        return curve_seed(scorer, cell.scorer, cell.group, cell.calibration.draw)
    return named_seed("scorer", cell.group, cell.scorer.identity(), cell.calibration.draw)


def search_problem(cell: Cell) -> list[Any]:
    """Return what a search for fusion weights maximises: everything but the algorithm and the precision."""
    assert cell.allocation is not None
    draw = cell.calibration
    return [
        cell.group, draw.draw, draw.images, draw.batch, cell.scorer.identity(), cell.granularity,
        cell.allocation.identity(), cell.sparsity,
    ]  # fmt: skip


def search_seed(cell: Cell) -> int:
    """Return the seed of a cell's search: equal for all algorithms that search the same problem."""
    return named_seed("search", *search_problem(cell))


def cell_seeds(cell: Cell, scorer: Plugin | None) -> dict[str, int]:
    """Return the seeds of all random streams of a cell, as its row stores them; a dense row has no `scorer`."""
    seeds = {"calibration": calibration_seed(cell.group, cell.calibration)}
    if scorer is not None:
        seeds["scorer"] = scorer_seed(cell, scorer)
        if cell.search.name != "none":
            seeds["search"] = search_seed(cell)
    return seeds
