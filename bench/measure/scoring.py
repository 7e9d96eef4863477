"""Scores -> order -> masks of a cell, each step shared by all cells that need the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.core.types import Cell
from bench.masks.budget import Budget
from bench.masks.build import build_masks, kept_units
from bench.masks.order import keep_order, tied_units
from bench.measure.seeds import scorer_seed
from bench.measure.shared import Once, SharedValues
from bench.models.tensors import FeatureMap, MaskSet, ScoreMap

#: Fusion weights of a feature scorer; None for a scorer that returns scores.
Weights = tuple[float, ...] | None


@dataclass(frozen=True)
class Ordered:
    """A score map with its one sort, which serves every sparsity.

    Attributes
    ----------
    scores : ScoreMap
        Higher means keep.
    order : Tensor
        Flat indices of the units, the best first, int64, shape ``(total,)``.
    tied : int
        Units of different magnitude whose scores are equal.
    """

    scores: ScoreMap
    order: Tensor
    tied: int


@dataclass(frozen=True)
class Masked:
    """The mask set of a cell.

    Attributes
    ----------
    masks : MaskSet
        True means kept.
    tied : int
        Units of different magnitude whose scores are equal.
    overlap : float
        Jaccard overlap with the magnitude mask of the same budget.
    notes : mapping
        What scorer and allocation noted.
    """

    masks: MaskSet
    tied: int
    overlap: float
    notes: Mapping[str, object]


class Scoring:
    """Calls scorers and allocations.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    """

    def __init__(self, shared: SharedValues) -> None:
        self._shared = shared
        self._raw: Once[ScoreMap | FeatureMap] = Once()
        self._fused: Once[ScoreMap] = Once()
        self._ordered: Once[Ordered] = Once()
        self._masked: Once[Masked] = Once()

    def raw(self, cell: Cell) -> ScoreMap | FeatureMap:
        """Call the scorer of a cell, once for all sparsities unless its scores depend on the sparsity."""
        granularity = cell.granularity
        assert granularity is not None
        plugin = self._shared.plugin("scorer", cell.scorer.name)
        target = (cell.sparsity,) if plugin.takes_sparsity else ()

        def compute() -> ScoreMap | FeatureMap:
            generator = torch.Generator(device="cpu").manual_seed(scorer_seed(cell, plugin))
            view, calibration = self._shared.view(granularity), self._shared.calibration(cell.calibration)
            scores: ScoreMap | FeatureMap = self._shared.call(
                "scorer", cell.scorer, view, calibration, generator, *target
            )
            self._shared.counters["score_passes"] += 1
            return _on_device(scores.ranked(view.units), torch.device(self._shared.settings.device))

        return self._raw.get((granularity, cell.calibration, cell.scorer, *target), compute)

    def scores(self, cell: Cell, weights: Weights) -> ScoreMap:
        """Return the scores of a cell; features are fused by `weights`."""
        raw = self.raw(cell)
        if not isinstance(raw, FeatureMap):
            return raw
        assert weights is not None
        return self._fused.get(self._key(cell, weights), lambda: raw.fuse(weights))

    def ordered(self, cell: Cell, weights: Weights) -> Ordered:
        """Return the scores of a cell and the order of its units."""
        assert cell.granularity is not None
        units, magnitudes = self._shared.units(cell.granularity).ranked, self._shared.magnitudes(cell.granularity)
        scores = self.scores(cell, weights)

        def compute() -> Ordered:
            order = keep_order(units, scores, magnitudes.scores, magnitudes.order)
            self._shared.counters["sorts"] += order is not magnitudes.order
            return Ordered(scores, order, tied_units(units, scores, magnitudes.scores, order))

        return self._ordered.get(self._key(cell, weights), compute)

    def _key(self, cell: Cell, weights: Weights) -> object:
        target = cell.sparsity if self._shared.plugin("scorer", cell.scorer.name).takes_sparsity else None
        return cell.granularity, cell.calibration, cell.scorer, target, weights

    def budget(self, cell: Cell, scores: ScoreMap) -> Budget:
        """Call the allocation of a cell: how many units each layer keeps."""
        assert cell.granularity is not None
        assert cell.allocation is not None
        view = self._shared.view(cell.granularity)
        units = view.units.ranked
        budget: Budget = self._shared.call("allocation", cell.allocation, units, scores, cell.sparsity, view)
        return budget

    def masked(self, cell: Cell, weights: Weights) -> Masked:
        """Return the mask set of a cell."""
        assert cell.granularity is not None
        granularity = cell.granularity

        def compute() -> Masked:
            ordered = self.ordered(cell, weights)
            budget = self.budget(cell, ordered.scores)
            units = self._shared.units(granularity)
            masks = build_masks(units.ranked, ordered.order, budget)
            overlap = masks.overlap(kept_units(self._shared.magnitudes(granularity).order, budget))
            return Masked(masks.members(units), ordered.tied, overlap, {**ordered.scores.notes, **budget.notes})

        return self._masked.get((self._key(cell, weights), cell.allocation, cell.sparsity), compute)

    def forget_masks(self) -> None:
        """Drop the latest mask set, so that it is built anew."""
        self._masked.forget()


def _on_device(scores: ScoreMap | FeatureMap, device: torch.device) -> ScoreMap | FeatureMap:
    """Return scores or features on the device of the model; a scorer may compute on the CPU."""

    def moved(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    if isinstance(scores, FeatureMap):
        elsewhere = any(tensor.device.type != device.type for tensor in scores.features.values())
        return replace(scores, features=moved(scores.features)) if elsewhere else scores
    if all(tensor.device.type == device.type for tensor in scores.values()):
        return scores
    return ScoreMap(moved(scores), scores.secondary and moved(scores.secondary), scores.notes)
