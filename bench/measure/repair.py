"""Correction and recalibration of a cell's masked model, with the statistics that both need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench.core.types import Cell
from bench.measure.shared import Once, SharedValues
from bench.measure.working_model import WorkingModel
from bench.models.tensors import MaskSet
from bench.repairs.cancellation import largest_eps_ratio
from bench.repairs.channels import channel_changes
from bench.repairs.correction import RepairContext
from bench.repairs.recalibration import kept_of_reset
from bench.repairs.statistics import Moments, batch_moments, pooled


@dataclass(frozen=True)
class Repaired:
    """The repaired working model and what is known of its repair.

    Attributes
    ----------
    model : nn.Module
        Valid until the working model changes.
    identity_covered : bool or None
        Whether every corrected layer is in the scope of the cancellation identity; None without a correction.
    identity_ratio : float or None
        Largest change that BatchNorm's eps, and what `reset_ema` keeps of its reset, let a live channel keep; None
        without a correction.
    channels : mapping or None
        Comparison of the channels before and after the correction (`bench.repairs.channels`), if requested.
    """

    model: nn.Module
    identity_covered: bool | None
    identity_ratio: float | None
    channels: Mapping[str, Any] | None


class Repair:
    """Turns the working model into the model of a cell.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    working : WorkingModel
        Changed by every call.
    """

    def __init__(self, shared: SharedValues, working: WorkingModel) -> None:
        self._shared, self._working = shared, working
        self._pruned_moments: Once[Mapping[str, list[Moments]]] = Once()
        self._channels: Once[Mapping[str, Any]] = Once()

    def apply(self, cell: Cell, masks: MaskSet | None, *, compare_channels: bool = False) -> Repaired:
        """Mask, correct and recalibrate the working model as a cell demands.

        Parameters
        ----------
        cell : Cell
            Its draw, correction and recalibration are used.
        masks : MaskSet or None
            None for the dense model.
        compare_channels : bool
            Whether the channels before and after the correction are compared, which costs a pass.
        """
        model = self._working.mask(masks)
        factors: Mapping[str, Tensor] = {}
        channels = None
        if masks is not None and cell.correction.name != "none":
            pruned = self._moments_of_masked(cell, masks)
            factors = self._correct(cell, masks, pruned)
            if compare_channels:
                channels = self._compare_channels(cell, masks, pruned)
        if cell.recalibration.name != "none":
            calibration = self._shared.calibration(cell.calibration)
            self._change("recalibration", cell, model, calibration)
            self._shared.counters["forward_passes"] += len(calibration)
        if masks is None or not factors:
            return Repaired(model, None, None, channels)
        changed = {name for name, factor in factors.items() if bool((factor != 1).any())}
        covered = not changed.intersection(self._shared.uncovered())
        recalibration = cell.recalibration
        kept = kept_of_reset(**recalibration.options) if recalibration.name == "reset_ema" else 0.0
        return Repaired(model, covered, largest_eps_ratio(model, masks.units, factors, kept), channels)

    def _correct(self, cell: Cell, masks: MaskSet, pruned: Mapping[str, list[Moments]]) -> Mapping[str, Tensor]:
        context = RepairContext(
            model=self._working.model, dense=self._dense_moments(cell), units=masks.units, masks=masks,
            calibration=self._shared.calibration(cell.calibration), dense_model=self._shared.dense.model,
            pruned=pruned,
        )  # fmt: skip
        factors: Mapping[str, Tensor] = self._change("correction", cell, context)
        return factors

    def _change(self, kind: str, cell: Cell, *arguments: Any) -> Any:
        choice = getattr(cell, kind)
        ours = self._shared.is_ours(kind, choice.name)
        return self._working.change(lambda: self._shared.call(kind, choice, *arguments), ours=ours)

    def _dense_moments(self, cell: Cell) -> Mapping[str, Moments]:
        assert cell.granularity is not None
        return self._shared.dense_moments(cell.granularity, cell.calibration)

    def _moments_of_masked(self, cell: Cell, masks: MaskSet) -> Mapping[str, list[Moments]]:
        """Measure the masked model, once for all corrections of a mask set."""
        key = masks.digest(), cell.calibration
        return self._pruned_moments.get(key, lambda: self._moments(self._working.mask(masks), cell, masks))

    def _compare_channels(self, cell: Cell, masks: MaskSet, pruned: Mapping[str, list[Moments]]) -> Mapping[str, Any]:
        """Compare the channels of the corrected working model with those before, once per correction of a mask set."""

        def compute() -> Mapping[str, Any]:
            after = self._moments(self._working.model, cell, masks)
            return channel_changes(self._dense_moments(cell), pooled(pruned), pooled(after))

        return self._channels.get((masks.digest(), cell.calibration, cell.correction), compute)

    def _moments(self, model: nn.Module, cell: Cell, masks: MaskSet) -> Mapping[str, list[Moments]]:
        calibration = self._shared.calibration(cell.calibration)
        self._shared.counters["forward_passes"] += len(calibration)
        return batch_moments(model, masks.units.layers, calibration)
