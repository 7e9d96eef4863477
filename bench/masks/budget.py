"""How many units to keep, and among which others each unit competes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from bench.core.errors import CellError
from bench.models.counts import keep_count

__all__ = ["Budget", "keep_count"]  # an allocation of a plug-in may import both names from here


@dataclass(frozen=True)
class Budget:
    """The outcome of an allocation: segments of units, and how many to keep of each.

    Attributes
    ----------
    segment : Tensor
        For each unit, in the flat order of `UnitSpace.flatten`, the number of its segment; int64, shape
        ``(total,)``.
    keep : Tensor
        Units to keep of each segment, int64, shape ``(segments,)``.
    notes : mapping
        Values that are stored in the notes of the row.
    """

    segment: Tensor
    keep: Tensor
    notes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keep, sizes = self.keep.tolist(), self.sizes
        if len(sizes) != len(keep) or any(not 0 <= k <= size for k, size in zip(keep, sizes, strict=True)):
            raise CellError(f"budget keeps {keep[:8]}... of segments of {sizes[:8]}...")

    def refuse_other(self, units: int) -> None:
        """Raise `CellError` unless the segments are of so many units."""
        if len(self.segment) != units:
            raise CellError(f"the budget has segments of {len(self.segment)} units, the model has {units}")

    @cached_property
    def sizes(self) -> list[int]:
        """Number of units of each segment."""
        # a count of equal numbers is slow; one number that is repeated without memory is read once
        if len(self.keep) == 1 and not bool((self.segment[:1] if self.segment.stride(0) == 0 else self.segment).any()):
            return [len(self.segment)]
        sizes: list[int] = self.segment.bincount(minlength=len(self.keep)).tolist()
        return sizes
