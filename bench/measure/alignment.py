"""How a scorer's unit scores align with the ranks of magnitude (METHODS section 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.identity import named_seed
from bench.core.types import Cell, Group
from bench.masks.erk import round_to_total
from bench.measure.shared import GRANULARITIES, Once, SharedValues, computing_order
from bench.models.sorting import ascending, indices
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.scorers.features.controls import cut
from bench.scorers.rank import ladder, positions
from bench.store import schema

#: Half the width, in u, of the window about the rank at the target sparsity.
WINDOW = 0.15
#: Units of a model and granularity that are sampled at most (ours).
SAMPLED = 512


class ScoreSet(NamedTuple):
    """What unit scores depend on in a group: the columns that rows of both tables begin with.

    `allocation` and `sparsity` are None where the scores do not depend on them.
    """

    calibration_draw: int
    calibration_images: int
    calibration_batch: int
    scorer: str
    search: str
    granularity: str
    allocation: str | None
    sparsity: float | None


def score_set(cell: Cell, takes_sparsity: bool) -> ScoreSet:
    """Return what the scores of a cell depend on; searched weights belong to one allocation and sparsity."""
    assert cell.granularity is not None
    assert cell.allocation is not None
    draw, searched = cell.calibration, cell.search.name != "none"
    return ScoreSet(
        draw.draw, draw.images, draw.batch, cell.scorer.label, cell.search.label, cell.granularity,
        cell.allocation.label if searched else None, cell.sparsity if searched or takes_sparsity else None,
    )  # fmt: skip


class LayerAlignment(NamedTuple):
    """Rank correlation of a layer's scores with magnitude, over all its units and in the window of one sparsity."""

    sparsity: float | None
    layer: str
    units: int
    rho: float
    window_units: int
    window_rho: float


class SampledUnit(NamedTuple):
    """A unit of the sample: flat index in its layer, magnitude, normalised rank and score."""

    layer: str
    unit: int
    magnitude: float
    u: float
    score: float


class Aligned(NamedTuple):
    """The alignment of one score set: every layer at every sparsity, and the sampled units."""

    layers: list[LayerAlignment]
    units: list[SampledUnit]


class MagnitudeRanks:
    """The ranks of a model's units by magnitude, with which scores are compared, and a sample of these units.

    Parameters
    ----------
    units : UnitSpace
        The prunable units.
    magnitudes : mapping of str to Tensor
        One tensor of `unit_shape` per layer.
    seed : int
        Of the sample: the same units for every scorer.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> ranks = MagnitudeRanks(units, {"conv": torch.tensor([3.0, 1.0, 4.0, 2.0])}, seed=0)
    >>> scores = ScoreMap({"conv": torch.tensor([9.0, 2.0, 7.0, 1.0]).double()})
    >>> ranks.correlations(scores, [0.5])
    [LayerAlignment(sparsity=0.5, layer='conv', units=4, rho=0.6, window_units=2, window_rho=1.0)]
    >>> ranks.sample(scores)[0]
    SampledUnit(layer='conv', unit=0, magnitude=3.0, u=0.7, score=9.0)
    """

    def __init__(self, units: UnitSpace, magnitudes: Mapping[str, Tensor], seed: int) -> None:
        self._by_magnitude, self._chosen, self._known = {}, sample_units(units, seed), {}
        self._windows: dict[tuple[int, float | None], slice] = {}
        for name, chosen in self._chosen.items():
            magnitude = magnitudes[name].reshape(-1)
            place = positions(magnitude)
            self._by_magnitude[name] = place.argsort()
            self._known[name] = _at(magnitude, chosen), _at(ladder(len(place)).to(place.device)[place], chosen)

    def correlations(self, scores: ScoreMap, sparsities: Sequence[float | None]) -> list[LayerAlignment]:
        """Correlate scores with the ranks in every layer, and in the window that belongs to each sparsity.

        Parameters
        ----------
        scores : ScoreMap
            Higher means keep.
        sparsities : sequence of float or None
            Targets; for None, where the allocation sets the sparsity, no unit is in the window.
        """
        found = []
        for name, by_magnitude in self._by_magnitude.items():
            ordered = scores[name].reshape(-1).to(by_magnitude.device)[by_magnitude]
            places = ascending(ordered)
            values = ordered[places]
            n, ranks = len(values), _run_ranks(values)
            rho = _correlation(ranks, places)
            for sparsity in sparsities:
                near = self._window(n, sparsity)
                inside = indices((places >= near.start) & (places < near.stop))
                near_places = places[inside] - near.start
                near_ranks = None if ranks is None else _run_ranks(values[inside])
                found.append(
                    LayerAlignment(
                        sparsity, name, n, rho, near.stop - near.start, _correlation(near_ranks, near_places)
                    )
                )
        return found

    def _window(self, n: int, sparsity: float | None) -> slice:
        if (n, sparsity) not in self._windows:
            self._windows[n, sparsity] = slice(0, 0) if sparsity is None else window(n, sparsity)
        return self._windows[n, sparsity]

    def sample(self, scores: ScoreMap) -> list[SampledUnit]:
        """Return the scores of the sampled units."""
        return [
            SampledUnit(name, *values)
            for name, chosen in self._chosen.items()
            for values in zip(chosen.tolist(), *self._known[name], _at(scores[name], chosen), strict=True)
        ]


def _at(values: Tensor, chosen: NDArray[np.int64]) -> list[float]:
    found: list[float] = values.reshape(-1)[torch.from_numpy(chosen).to(values.device)].tolist()
    return found


def _run_ranks(values: Tensor) -> Tensor | None:
    """Rank of each of n values in ascending order, centred, equal ones averaged; None where no two are equal."""
    _, run, sizes = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
    n, sizes = len(values), sizes.double()
    if len(sizes) == n:
        return None
    ranks: Tensor = (sizes.cumsum(0) - (sizes - 1) / 2 - (n + 1) / 2)[run]
    return ranks


def _correlation(ranks: Tensor | None, places: Tensor) -> float:
    """Pearson's correlation of `_run_ranks` with the places, 0 to n - 1, where their values stood."""
    n = len(places)
    most = n * (n * n - 1) / 12  # sum of squares of centred ranks without ties
    centred = places.double() - (n - 1) / 2
    if ranks is None:
        ranks = torch.arange(n, dtype=torch.float64, device=places.device) - (n - 1) / 2
        spread = most
    else:
        spread = float(ranks.square().sum())
    if spread == 0:
        return math.nan
    return min(1.0, max(-1.0, float(torch.dot(ranks, centred)) / math.sqrt(most * spread)))


def window(n: int, sparsity: float) -> slice:
    """Return the places, in a layer of n units, of those with abs(u - u_S) <= 0.15.

    Examples
    --------
    >>> window(101, 0.5)
    slice(34, 67, None)
    """
    centre, rounding = cut(sparsity), 1e-12
    bounds = torch.tensor([centre - WINDOW - rounding, centre + WINDOW + rounding], dtype=torch.float64)
    start, stop = torch.searchsorted(ladder(n), bounds).tolist()
    return slice(start, stop)


def sample_units(units: UnitSpace, seed: int, most: int = SAMPLED) -> dict[str, NDArray[np.int64]]:
    """Draw units of every layer, at least one, the others in proportion to its size.

    Parameters
    ----------
    units : UnitSpace
        The prunable units.
    seed : int
        Of the draw.
    most : int
        How many in all, if there are not more layers; all units where there are no more.

    Returns
    -------
    dict of str to array
        Flat indices in ascending order, int64.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> layers = tuple(PrunableLayer(name, (n, 1), (n,)) for name, n in (("a", 1), ("b", 20), ("c", 80)))
    >>> [len(chosen) for chosen in sample_units(UnitSpace("channel", layers), 0, 12).values()]
    [1, 3, 8]
    """
    generator = np.random.default_rng(seed)
    rest = units.total - len(units.layers)
    share = Fraction(max(0, min(most, units.total) - len(units.layers)), max(1, rest))
    counts = round_to_total([share * (layer.size - 1) for layer in units.layers])
    return {
        layer.name: np.sort(generator.choice(layer.size, 1 + count, replace=False))
        for layer, count in zip(units.layers, counts, strict=True)
    }


def alignment_tables(group: str, aligned: Mapping[ScoreSet, Aligned]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lay out a group's score sets, in their order, as the columns of `schema.ALIGNMENT` and of `schema.UNITS`."""
    layers = [(group, *key[:-1], *row) for key, found in aligned.items() for row in found.layers]
    units = [
        (group, *key[:4], key.granularity, key.sparsity, *row) for key, found in aligned.items() for row in found.units
    ]
    return (
        pd.DataFrame(layers, columns=[column.name for column in schema.ALIGNMENT]),
        pd.DataFrame(units, columns=[column.name for column in schema.UNITS]),
    )


class Alignment:
    """Measures how the scores of a group's cells align with magnitude, each score set once.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    group : Group
        Cells with the same scores share one measurement, at the sparsities of all of them.
    """

    def __init__(self, shared: SharedValues, group: Group) -> None:
        self._shared, self._group = shared, group
        self._aligned: dict[ScoreSet, Aligned] = {}
        self._ranks: Once[MagnitudeRanks] = Once(GRANULARITIES)
        self._sparsities: dict[ScoreSet, dict[float | None, None]] = {}
        for cell in computing_order(group.cells):
            if not cell.is_dense:
                self._sparsities.setdefault(self._score_set(cell), {})[cell.sparsity] = None

    def measure(self, cell: Cell, scores: Callable[[], ScoreMap]) -> None:
        """Measure the scores of a cell, unless a cell with the same scores was measured before.

        Fused scores are functions of the rank, which the curves show: no units are sampled of them.
        """
        key = self._score_set(cell)
        if key in self._aligned:
            return
        ranks = self._ranks.get(key.granularity, lambda: self._magnitude_ranks(key.granularity))
        found = scores()
        sampled = ranks.sample(found) if key.search == "none" else []
        self._aligned[key] = Aligned(ranks.correlations(found, list(self._sparsities[key])), sampled)

    def tables(self, cells: Iterable[Cell]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the measurements of `cells` as the columns of `schema.ALIGNMENT` and of `schema.UNITS`."""
        keys = dict.fromkeys(self._score_set(cell) for cell in cells)
        return alignment_tables(self._group.id, {key: self._aligned[key] for key in keys})

    def _score_set(self, cell: Cell) -> ScoreSet:
        return score_set(cell, self._shared.plugin("scorer", cell.scorer.name).takes_sparsity)

    def _magnitude_ranks(self, granularity: str) -> MagnitudeRanks:
        seed = named_seed("alignment", self._group.id, granularity)
        return MagnitudeRanks(self._shared.units(granularity), self._shared.magnitudes(granularity).scores, seed)
