"""The columns of a row that depend on its mask set alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.measure.shared import Once, SharedValues
from bench.measure.working_model import WorkingModel
from bench.models.mask_counts import count_nonzero
from bench.models.tensors import MaskSet


class MaskFacts:
    """Counts what mask sets leave of the network; equal mask sets are counted once.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    working : WorkingModel
        Where the masks are applied, if they alone do not show what is left.
    """

    def __init__(self, shared: SharedValues, working: WorkingModel) -> None:
        self._shared, self._working = shared, working
        self._known: dict[str, Mapping[str, Any]] = {}
        self._dense: Once[Mapping[str, Any]] = Once()

    def of(self, masks: MaskSet) -> Mapping[str, Any]:
        """Return the columns of a mask set."""
        units, digest = masks.units, masks.digest()
        if digest not in self._known:
            counts = self._shared.mask_counts(units.granularity)
            count = counts.of(masks, lambda: self._working.mask(masks))
            counted = masks.counted
            kept = count.kept if counted is masks else tuple(int(one.count_nonzero()) for one in counted.masks.values())
            self._known[digest] = {
                "mask": digest, "sparsity_achieved": 1 - sum(kept) / counted.units.total,
                "sparsity_parameters": 1 - count.nonzero / counts.parameters,
                "speedup": count.macs.speedup,
                "emptied_layers": kept.count(0),
                "exact_removal": all(layer.exact_removal for layer in units.layers),
            }  # fmt: skip
        return self._known[digest]

    def dense(self) -> Mapping[str, Any]:
        """Return the columns of a dense row."""
        return self._dense.get(None, lambda: {
            "mask": "dense", "sparsity_achieved": 0.0,
            "sparsity_parameters": 1 - count_nonzero(self._shared.dense.model) / self._shared.inventory().parameters,
            "speedup": self._shared.macs().speedup,
            "emptied_layers": 0, "exact_removal": True, "tied_units": 0, "magnitude_overlap": 1.0,
        })  # fmt: skip
