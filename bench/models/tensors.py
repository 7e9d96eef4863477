"""Unit spaces, score maps and mask sets: the tensors that every method speaks in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.core.errors import CellError, NotApplicable
from bench.core.types import Granularity


def ascending(values: Tensor) -> Tensor:
    """Return the indices that sort a flat tensor, equal values in any order: int64, on its device.

    On a CPU NumPy sorts: a quarter of torch's time for 27,000 values, the same for 11 million (one core, AVX-512).

    Examples
    --------
    >>> ascending(torch.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    return torch.from_numpy(values.detach().numpy().argsort()) if values.device.type == "cpu" else values.argsort()


def indices(flags: Tensor) -> Tensor:
    """Return where a flat boolean tensor is True, int64; on a CPU NumPy's, five times as fast as torch's.

    Examples
    --------
    >>> indices(torch.tensor([True, False, True]))
    tensor([0, 2])
    """
    if flags.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(flags.numpy()))
    return flags.nonzero().squeeze(1)


def kth_largest(values: Tensor, k: int) -> float:
    """Return the `k`-th largest of some flat values, by selection; on a CPU NumPy's, six times as fast as torch's.

    Examples
    --------
    >>> kth_largest(torch.tensor([3.0, 1.0, 2.0]), 2)
    2.0
    """
    place = len(values) - k
    if values.device.type == "cpu":
        return float(np.partition(values.detach().numpy(), place)[place])
    return float(values.kthvalue(place + 1).values)


@dataclass(frozen=True)
class Layout:
    """Where the output and input channels of a weight stand in it.

    Attributes
    ----------
    shape : tuple of int
        Of the weight; the first axis may be cut in two where groups make it necessary.
    order : tuple of int
        The axes of `shape`: those of the output channels first.
    channels : int
        Output channels.
    groups : int
        Groups of output channels, one after the other, that read different input channels.
    inputs : int
        Input channels of a group; the kernel's positions are the rest of `weights_per_channel`.

    Examples
    --------
    The weight of a transposed convolution, ``(in, out, kernel)``:

    >>> layout = Layout((2, 3, 1), (1, 0, 2), channels=3)
    >>> layout.rows(torch.arange(6).view(2, 3, 1))
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    channels: int
    groups: int = 1
    inputs: int = 1

    @classmethod
    def plain(cls, shape: tuple[int, ...], groups: int = 1) -> Layout:
        """Return the layout of a convolution or linear layer: ``(out, in / groups, ...)``."""
        return cls(shape, tuple(range(len(shape))), shape[0], groups, *shape[1:2])

    @property
    def weights_per_channel(self) -> int:
        """Weights of one output channel."""
        return int(torch.Size(self.shape).numel()) // self.channels

    @property
    def moment_bytes(self) -> int:
        """Bytes of the second moments, float64, of what the weights of an output channel multiply."""
        return 8 * self.groups * self.weights_per_channel**2

    def rows(self, weight: Tensor) -> Tensor:
        """Lay out a tensor of the weight's shape as ``(channels, weights of one output)``, a view where that can be."""
        return weight.reshape(self.shape).permute(self.order).reshape(self.channels, -1)

    def weight(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undo `rows`: from ``(channels, weights of one output)`` to a tensor of the weight's `shape`."""
        back = [self.order.index(axis) for axis in range(len(self.order))]
        return rows.reshape([self.shape[axis] for axis in self.order]).permute(back).reshape(shape)


@dataclass(frozen=True)
class BiasPart:
    """Consecutive elements of a parameter that are added to consecutive output channels.

    Attributes
    ----------
    parameter : str
        Its path.
    start, stop : int
        The output channels ``start`` to ``stop - 1``.
    first : int
        Place in the parameter of what is added to the first of them.
    """

    parameter: str
    start: int
    stop: int
    first: int = 0


@dataclass(frozen=True)
class PrunableLayer:
    """A layer whose units can be pruned: one weight, wherever the network holds it.

    Attributes
    ----------
    name : str
        Path of the module whose ``weight`` it is, or of the parameter itself (``attn.in_proj_weight``).
    weight_shape : tuple of int
        ``(out, in / groups, kh, kw)`` or ``(out, in)`` where `layout` is plain.
    unit_shape : tuple of int
        `weight_shape` for granularity ``weight``, ``(out,)`` for ``channel``.
    batchnorm : str or None
        The directly following BatchNorm (its input is this layer's output, with no other consumer).
    reader : PrunableLayer or None
        For the hidden channels of an MLP, the layer that reads them (``fc2``), with its weights as units.
    exact_removal : bool
        Whether zeroing the unit removes everything that it contributes.
    parameter : str
        Path of the weight; default ``NAME.weight``.
    layout : Layout or None
        Where its channels stand; default that of a convolution or linear layer.
    bias : tuple of BiasPart or None
        What is added to its outputs; default none. None if that is no parameter of known place.
    bias_apart : bool
        Whether an operation of its own adds the bias.
    regular : bool
        Whether all its uses agree on `layout`; where they do not, it has none.
    """

    name: str
    weight_shape: tuple[int, ...]
    unit_shape: tuple[int, ...]
    batchnorm: str | None = None
    reader: PrunableLayer | None = None
    exact_removal: bool = True
    parameter: str = ""
    layout: Layout | None = None
    bias: tuple[BiasPart, ...] | None = ()
    bias_apart: bool = False
    regular: bool = True

    def __post_init__(self) -> None:
        if not self.parameter:
            object.__setattr__(self, "parameter", f"{self.name}.weight")
        if self.layout is None and self.regular:
            object.__setattr__(self, "layout", Layout.plain(self.weight_shape))

    @property
    def size(self) -> int:
        """Number of units."""
        return int(torch.Size(self.unit_shape).numel())

    @property
    def partner(self) -> str | None:
        """Name of `reader`."""
        return None if self.reader is None else self.reader.name

    @property
    def channels(self) -> Layout:
        """Where its channels stand.

        Raises
        ------
        NotApplicable
            If the network uses the weight in ways that do not agree on it.
        """
        if self.layout is None:
            raise NotApplicable(f"{self.name}: its uses do not agree on which of its axes are output channels")
        return self.layout

    def rows(self, weight: Tensor) -> Tensor:
        """Lay out a tensor of the weight's shape as ``(channels, weights of one output)``; see `Layout.rows`."""
        return self.channels.rows(weight)


@dataclass(frozen=True)
class UnitSpace:
    """All prunable units of a model at one granularity, in layer order.

    Attributes
    ----------
    granularity : str
        Of the units.
    layers : tuple of PrunableLayer
        In forward order.
    stem : str or None
        Name of the first layer of the network, also where it has no units.
    """

    granularity: Granularity
    layers: tuple[PrunableLayer, ...]
    stem: str | None = None

    @property
    def total(self) -> int:
        """Number of units in all."""
        return sum(layer.size for layer in self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Layer names in order."""
        return tuple(layer.name for layer in self.layers)

    def flatten(self, per_layer: Mapping[str, Tensor]) -> Tensor:
        """Concatenate one tensor per layer, in layer order, to shape ``(total,)``."""
        return torch.cat([per_layer[layer.name].reshape(-1) for layer in self.layers])

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Undo `flatten`: shape ``(total,)`` to one tensor of `unit_shape` per layer."""
        parts = torch.split(flat, [layer.size for layer in self.layers])
        return {layer.name: part.reshape(layer.unit_shape) for layer, part in zip(self.layers, parts, strict=True)}

    def layer_index(self) -> Tensor:
        """For each unit the number of its layer, int64, shape ``(total,)``."""
        sizes = torch.tensor([layer.size for layer in self.layers])
        return torch.repeat_interleave(torch.arange(len(self.layers)), sizes)


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
        What the scorer wants in the row, such as counts of units left out.
    """

    scores: Mapping[str, Tensor]
    secondary: Mapping[str, Tensor] | None = None
    notes: Mapping[str, object] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

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
        What the scorer wants in the row.
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
        scores = {}
        factors = torch.tensor(weights, dtype=torch.float64, device=next(iter(self.features.values())).device)
        for name, stack in self.features.items():
            fused = torch.tensordot(factors, stack, dims=1)
            least, most = fused.aminmax()
            step = (most - least) * RESOLUTION
            scores[name] = (fused / step).round() * step if step > 0 else fused
        return ScoreMap(scores, notes=self.notes)

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
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            raise CellError(f"{bad} of {values.numel()} {what} of {layer.name} are NaN or infinite")


@dataclass(frozen=True)
class MaskSet(Mapping[str, Tensor]):
    """Layer name -> boolean tensor of `unit_shape`; True means kept."""

    units: UnitSpace
    masks: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for layer in self.units.layers:
            mask = self.masks[layer.name]
            if mask.dtype != torch.bool or tuple(mask.shape) != layer.unit_shape:
                raise CellError(f"mask of {layer.name} is {mask.dtype} {tuple(mask.shape)}")

    def __getitem__(self, name: str) -> Tensor:
        return self.masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def kept(self) -> int:
        """Number of units kept."""
        return sum(int(mask.count_nonzero()) for mask in self.masks.values())

    def digest(self) -> str:
        """SHA-256 over the layers' names and bits: equal exactly for equal masks."""
        sha = hashlib.sha256(self.units.granularity.encode())
        for layer in self.units.layers:
            sha.update(layer.name.encode())
            sha.update(self.masks[layer.name].cpu().numpy().tobytes())
        return sha.hexdigest()

    def overlap(self, kept: Tensor) -> float:
        """Jaccard overlap with the units of other masks: shared / either, in [0, 1].

        Parameters
        ----------
        kept : Tensor
            Flat indices, each once, of the units that the others keep.
        """
        flat = self.units.flatten(self.masks)
        shared = int(flat[kept.to(flat.device)].count_nonzero())
        either = self.kept + len(kept) - shared
        return shared / either if either else 1.0
