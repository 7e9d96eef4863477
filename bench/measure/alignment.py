"""How a scorer's unit scores align with the ranks of magnitude (METHODS section 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.identity import named_seed
from bench.core.types import Cell, Granularity, Group
from bench.masks.erk import round_to_total
from bench.measure.rank_correlation import Ties, rank_correlations
from bench.measure.scoring import Ordered
from bench.measure.shared import GRANULARITIES, Once, SharedValues, computing_order
from bench.models.sorting import grouped, indices
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.scorers.features.controls import cut
from bench.scorers.rank import ladder
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
    granularity: Granularity
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


class _Correlated(NamedTuple):
    """Correlations, and all that they depend on."""

    order: Tensor
    sparsities: Sequence[float | None]
    ties: Ties
    rows: list[LayerAlignment]


class MagnitudeRanks:
    """The ranks of a model's units by magnitude, with which scores are compared, and a sample of these units.

    Parameters
    ----------
    units : UnitSpace
        The prunable units.
    magnitudes : mapping of str to Tensor
        One tensor of `unit_shape` per layer.
    order : Tensor
        Flat indices of the units by magnitude, the largest first (`bench.masks.order.keep_order`).
    seed : int
        Of the sample: the same units for every scorer.

    Examples
    --------
    >>> from bench.models.unit_space import PrunableLayer
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (4, 1, 1, 1), (4,)),))
    >>> magnitudes = {"conv": torch.tensor([3.0, 1.0, 4.0, 2.0])}
    >>> ranks = MagnitudeRanks(units, magnitudes, torch.tensor([2, 0, 3, 1]), seed=0)
    >>> scores = ScoreMap({"conv": torch.tensor([9.0, 2.0, 7.0, 1.0]).double()})
    >>> ranks.correlations(scores, torch.tensor([0, 2, 1, 3]), [0.5])
    [LayerAlignment(sparsity=0.5, layer='conv', units=4, rho=0.6, window_units=2, window_rho=1.0)]
    >>> ranks.sample(scores)[0]
    SampledUnit(layer='conv', unit=0, magnitude=3.0, u=0.7, score=9.0)
    """

    def __init__(self, units: UnitSpace, magnitudes: Mapping[str, Tensor], order: Tensor, seed: int) -> None:
        self._units, self._sizes = units, [layer.size for layer in units.layers]
        self._windows: dict[float | None, list[int]] = {}
        self._latest: _Correlated | None = None
        self._layer = units.layer_index().to(order.device)
        ascending = self._by_layer(order)
        place = torch.cat([torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in self._sizes])
        u = torch.cat([ladder(n) for n in self._sizes])
        self._u, self._centred = (torch.empty_like(each).to(order.device) for each in (u, place))
        self._u[ascending], self._centred[ascending] = u.to(order.device), place.to(order.device)
        chosen = sample_units(units, seed)
        starts = np.cumsum([0, *self._sizes[:-1]])
        sampled = np.concatenate([chosen[name] + start for name, start in zip(units.names, starts, strict=True)])
        self._sampled = torch.from_numpy(sampled).to(order.device)
        named = [(name, unit) for name in units.names for unit in chosen[name].tolist()]
        magnitude = units.flatten(magnitudes).to(order.device)
        self._known = list(zip(named, magnitude[self._sampled].tolist(), self._u[self._sampled].tolist(), strict=True))

    def _by_layer(self, order: Tensor) -> Tensor:
        """Return all units one layer after the other, in each the worst first, from an order with the best first."""
        ascending = order.flip(0)
        return ascending.index_select(0, grouped(self._layer.index_select(0, ascending), len(self._sizes)))

    def correlations(self, scores: ScoreMap, order: Tensor, sparsities: Sequence[float | None]) -> list[LayerAlignment]:
        """Correlate scores with the ranks in every layer, and in the window that belongs to each sparsity.

        Parameters
        ----------
        scores : ScoreMap
            Higher means keep.
        order : Tensor
            Flat indices of the units, the best first (`bench.masks.order.keep_order`), int64, shape ``(total,)``.
        sparsities : sequence of float or None
            Targets; for None, where the allocation sets the sparsity, no unit is in the window.
        """
        ascending = self._by_layer(order)
        values, u, places = (
            each.index_select(0, ascending) for each in (scores.flat(self._units), self._u, self._centred)
        )
        ties = Ties.find(values, self._layer)
        latest = self._latest
        if latest is not None and latest.order is order and latest.sparsities == sparsities and latest.ties.equal(ties):
            return latest.rows  # scores that increase with magnitude share its order
        whole = rank_correlations(places, self._sizes, ties)
        windows = []
        for sparsity in sparsities:
            low, high = window_bounds(sparsity)
            flags = (u >= low).logical_and_(u < high)
            inside, sizes = indices(flags), self._window_sizes(sparsity)
            found = rank_correlations(places.index_select(0, inside), sizes, ties.among(inside, flags))
            windows.append(list(zip(sizes, found, strict=True)))
        rows = [
            LayerAlignment(sparsity, layer.name, layer.size, whole[number], *window[number])
            for number, layer in enumerate(self._units.layers)
            for sparsity, window in zip(sparsities, windows, strict=True)
        ]
        self._latest = _Correlated(order, sparsities, ties, rows)
        return rows

    def _window_sizes(self, sparsity: float | None) -> list[int]:
        """Return how many units of each layer are in the window of a sparsity."""
        if sparsity not in self._windows:
            bounds = torch.tensor(window_bounds(sparsity), dtype=torch.float64)
            ends = [torch.searchsorted(ladder(n), bounds).tolist() for n in self._sizes]
            self._windows[sparsity] = [high - low for low, high in ends]
        return self._windows[sparsity]

    def sample(self, scores: ScoreMap) -> list[SampledUnit]:
        """Return the scores of the sampled units."""
        values = scores.flat(self._units)[self._sampled].tolist()
        return [
            SampledUnit(*named, magnitude, u, value)
            for (named, magnitude, u), value in zip(self._known, values, strict=True)
        ]


def window_bounds(sparsity: float | None) -> tuple[float, float]:
    """Return the least u of a unit with abs(u - u_S) <= 0.15, and what its u is below; for None no unit has it.

    Examples
    --------
    >>> low, high = window_bounds(0.5)
    >>> ((ladder(101) >= low) & (ladder(101) < high)).nonzero().flatten()[[0, -1]]
    tensor([34, 66])
    """
    if sparsity is None:
        return 0.0, 0.0
    centre, rounding = cut(sparsity), 1e-12
    return centre - WINDOW - rounding, centre + WINDOW + rounding


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

    def measure(self, cell: Cell, ordered: Callable[[], Ordered]) -> None:
        """Measure the scores of a cell, unless a cell with the same scores was measured before.

        Fused scores are functions of the rank, which the curves show: no units are sampled of them.
        """
        key = self._score_set(cell)
        if key in self._aligned:
            return
        ranks = self._ranks.get(key.granularity, lambda: self._magnitude_ranks(key.granularity))
        found = ordered()
        sampled = ranks.sample(found.scores) if key.search == "none" else []
        layers = ranks.correlations(found.scores, found.order, list(self._sparsities[key]))
        self._aligned[key] = Aligned(layers, sampled)

    def tables(self, cells: Iterable[Cell]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the measurements of `cells` as the columns of `schema.ALIGNMENT` and of `schema.UNITS`."""
        keys = dict.fromkeys(self._score_set(cell) for cell in cells)
        return alignment_tables(self._group.id, {key: self._aligned[key] for key in keys})

    def _score_set(self, cell: Cell) -> ScoreSet:
        return score_set(cell, self._shared.plugin("scorer", cell.scorer.name).takes_sparsity)

    def _magnitude_ranks(self, granularity: Granularity) -> MagnitudeRanks:
        seed = named_seed("alignment", self._group.id, granularity)
        magnitudes = self._shared.magnitudes(granularity)
        return MagnitudeRanks(self._shared.units(granularity).ranked, magnitudes.scores, magnitudes.order, seed)
