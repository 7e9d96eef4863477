"""Score maps, feature maps and mask sets: what scorers return and masks consist of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import CellError
from bench.models.unit_space import UnitSpace


@dataclass(frozen=True)
class ScoreMap(Mapping[str, Tensor]):
    """Layer name -> float64 tensor of unit scores; higher means keep.

    Parameters
    ----------
    scores : mapping of str to Tensor
        One tensor of `unit_shape` per prunable layer.
    secondary : mapping of str to Tensor, optional
        Orders units whose scores are equal (larger kept first); magnitude where None.
    notes : mapping, optional
        Values that are stored in the notes of the row, such as counts of units left out.
    joined : Tensor, optional
        The tensors of all layers in one, of which they are parts: saves joining them again.
    """

    scores: Mapping[str, Tensor]
    secondary: Mapping[str, Tensor] | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    joined: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def flat(self, units: UnitSpace) -> Tensor:
        """Return the scores one layer after the other, in the order of `units`, shape ``(total,)``."""
        if self.joined is not None and tuple(self.scores) == units.names:
            return self.joined
        return units.flatten(self.scores)

    def ranked(self, units: UnitSpace) -> ScoreMap:
        """Return the scores of the units that are ranked: of coupled channels the mean over each unit's members.

        Scores that are of these units already stay as they are.

        Raises
        ------
        CellError
            As `validate`.
        """
        coupling = units.coupling
        if coupling is None or set(self) == set(coupling.units.names):
            self.validate(units.ranked)
            return self
        self.validate(units)
        secondary = None if self.secondary is None else coupling.means(units.flatten(self.secondary))
        return ScoreMap(coupling.means(self.flat(units)), secondary, self.notes)

    def validate(self, units: UnitSpace) -> None:
        """Check names, shapes, dtype and finiteness against `units`.

        Raises
        ------
        CellError
            Naming the first layer that is wrong, and how.
        """
        _validate("scores", self.scores, units, ())


#: Fused scores closer than this share of their layer's range count as equal; the tie rule then decides.
RESOLUTION = 1e-9
#: Of float64: the distance from 1 to the next number, and the smallest normal number.
EPSILON, SMALLEST = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class FeatureMap:
    """What a feature scorer returns: several features per unit, to be fused into one score.

    Attributes
    ----------
    names : tuple of str
        The K features.
    features : mapping of str to Tensor
        Layer name -> float64, shape ``(K, *unit_shape)``.
    notes : mapping
        Values that are stored in the notes of the row.
    function : callable, optional
        The features as functions of the normalised rank u, shape ``(n,)`` to ``(K, n)``, where they are that.

    Examples
    --------
    >>> features = FeatureMap(("a", "b"), {"conv": torch.tensor([[0.0, 1.0], [1.0, 0.5]]).double()})
    >>> features.fuse((1.0, -1.0))["conv"]
    tensor([-1.0000,  0.5000], dtype=torch.float64)
    """

    names: tuple[str, ...]
    features: Mapping[str, Tensor]
    notes: Mapping[str, object] = field(default_factory=dict)
    function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None

    def fuse(self, weights: Sequence[float]) -> ScoreMap:
        """Return s = sum_k W_k phi_k, rounded to `RESOLUTION` of each layer's range (METHODS section 3).

        Raises
        ------
        CellError
            If there is not one weight per feature.
        """
        if len(weights) != len(self.names):
            raise CellError(f"{len(weights)} fusion weights for the {len(self.names)} features {self.names}")
        flat, sizes = self._joined
        fused = torch.tensordot(torch.tensor(weights, dtype=torch.float64, device=flat.device), flat, dims=1)
        scores = {}
        for (name, stack), part in zip(self.features.items(), torch.split(fused, sizes), strict=True):
            least, most = part.aminmax()
            unchanged = (most.abs() * EPSILON).clamp(min=SMALLEST)  # a step that equal scores are a multiple of
            step = torch.where(most > least, (most - least) * RESOLUTION, unchanged)
            scores[name] = part.div_(step).round_().mul_(step).view(stack.shape[1:])
        return ScoreMap(scores, notes=self.notes, joined=fused)

    @cached_property
    def _joined(self) -> tuple[Tensor, list[int]]:
        """The features of all layers, shape ``(K, total)``, and the units of each layer."""
        stacks = [stack.reshape(len(self.names), -1) for stack in self.features.values()]
        return torch.cat(stacks, dim=1), [stack.shape[1] for stack in stacks]

    def ranked(self, units: UnitSpace) -> FeatureMap:
        """Return the features of the units that are ranked; see `ScoreMap.ranked`."""
        coupling = units.coupling
        if coupling is None or set(self.features) == set(coupling.units.names):
            self.validate(units.ranked)
            return self
        self.validate(units)
        joined = torch.cat([self.features[name].reshape(len(self.names), -1) for name in units.names], dim=1)
        return FeatureMap(self.names, coupling.means(joined), self.notes)

    def validate(self, units: UnitSpace) -> None:
        """Check names, shapes, dtype and finiteness against `units`.

        Raises
        ------
        CellError
            Naming the first layer that is wrong, and how.
        """
        _validate("features", self.features, units, (len(self.names),))


def _validate(what: str, found: Mapping[str, Tensor], units: UnitSpace, leading: tuple[int, ...]) -> None:
    if set(found) != set(units.names):
        odd = sorted(set(found) ^ set(units.names))
        raise CellError(f"the {what} have other layers than the model: {', '.join(odd[:5])}")
    for layer in units.layers:
        values, expected = found[layer.name], (*leading, *layer.unit_shape)
        if tuple(values.shape) != expected:
            raise CellError(f"{what} of {layer.name} have shape {tuple(values.shape)}, expected {expected}")
        if values.dtype != torch.float64:
            raise CellError(f"{what} of {layer.name} are {values.dtype}, expected torch.float64")
    sums = torch.stack([found[name].sum() for name in units.names]).tolist()
    for name, total in zip(units.names, sums, strict=True):
        if not math.isfinite(total):  # it may be too large a sum of finite values
            bad = int((~found[name].isfinite()).sum())
            if bad:
                raise CellError(f"{bad} of {found[name].numel()} {what} of {name} are NaN or infinite")


@dataclass(frozen=True)
class MaskSet(Mapping[str, Tensor]):
    """Layer name -> boolean tensor of `unit_shape`; True means kept.

    What is counted or hashed is computed once: masks are not changed.

    Attributes
    ----------
    units : UnitSpace
        The prunable units.
    masks : mapping of str to Tensor
        One boolean tensor per layer.
    ranked : MaskSet or None
        Where channels are coupled, the masks of the units that they belong to.
    """

    units: UnitSpace
    masks: Mapping[str, Tensor]
    ranked: MaskSet | None = None

    def __post_init__(self) -> None:
        for layer in self.units.layers:
            mask = self.masks[layer.name]
            if mask.dtype != torch.bool or tuple(mask.shape) != layer.unit_shape:
                raise CellError(f"mask of {layer.name} is {mask.dtype} {tuple(mask.shape)}")

    @classmethod
    def from_flat(cls, units: UnitSpace, flat: Tensor) -> MaskSet:
        """Return the mask set whose units, one layer after the other, are those of `flat`, shape ``(total,)``."""
        masks = cls(units, units.split(flat))
        masks.__dict__["flat"] = flat
        return masks

    def members(self, units: UnitSpace) -> MaskSet:
        """Return the masks of the channels that these units consist of; these masks where `units` are not coupled.

        Parameters
        ----------
        units : UnitSpace
            Whose ranked units the masks are of.
        """
        if units.coupling is None:
            return self
        flat = units.coupling.channels(self.flat, units.total)
        return MaskSet(units, units.split(flat), self)

    @property
    def counted(self) -> MaskSet:
        """The masks of the units that are counted: `ranked`, else these."""
        return self if self.ranked is None else self.ranked

    def __getitem__(self, name: str) -> Tensor:
        return self.masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def flat(self) -> Tensor:
        """The masks of all layers, one after the other, shape ``(total,)``."""
        return self.units.flatten(self.masks)

    @cached_property
    def kept(self) -> int:
        """Number of units kept."""
        return int(self.flat.count_nonzero())

    def digest(self) -> str:
        """SHA-256 over the layers' names and bits: equal exactly for equal masks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        sha = hashlib.sha256(self.units.granularity.encode())
        flat, start = self.flat.cpu().numpy(), 0
        for layer in self.units.layers:
            sha.update(layer.name.encode())
            sha.update(flat[start : start + layer.size].data)
            start += layer.size
        return sha.hexdigest()

    def overlap(self, kept: Tensor) -> float:
        """Jaccard overlap with the units of other masks: shared / either, in [0, 1].

        Parameters
        ----------
        kept : Tensor
            Flat indices, each once, of the units that the others keep.
        """
        shared = int(self.flat.index_select(0, kept.to(self.flat.device)).count_nonzero())
        either = self.kept + len(kept) - shared
        return shared / either if either else 1.0
