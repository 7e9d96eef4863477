"""What the cells of a group share: each value is computed once and found again by an explicit key.

`Once` is the cache, `SharedValues` holds what several stages need. `computing_order` puts cells that share work next
to each other, so that few values have to be kept, in whatever order a plan lists its cells.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar, get_args

import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.core.registry import Plugin, Registry
from bench.core.types import OF_ONE_LAYER, CalibrationSpec, Cell, Choice, Granularity, Settings
from bench.data.dataset import Dataset, calibration_draw
from bench.masks.order import keep_order
from bench.measure.seeds import calibration_seed
from bench.models.check import describe
from bench.models.dense import DenseModel
from bench.models.inventory import take_inventory
from bench.models.macs import Macs, count_macs
from bench.models.mask_counts import MaskCounts
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.models.units import Examined, examine
from bench.models.view import MEMORY_FORMATS, Calibration, ModelView, is_out_of_memory, normalise
from bench.models.weights import Inventory
from bench.repairs.cancellation import uncovered_layers
from bench.repairs.statistics import Moments, channel_moments
from bench.store.network import Network

T = TypeVar("T")
GRANULARITIES = len(get_args(Granularity))


@dataclass(frozen=True)
class _Kept(Generic[T]):
    """A computed value, or why it could not be computed."""

    key: object
    value: T | None
    failure: tuple[Exception, TracebackType | None] | None


class Once(Generic[T]):
    """The latest values of one kind, each computed when its key is first met.

    A computation that failed is not repeated: its exception is raised again. Running out of memory is the exception
    to this, because the same work may fit in smaller parts.

    Parameters
    ----------
    keep : int, default 1
        Number of values that are kept; the oldest is dropped.

    Examples
    --------
    >>> squares = Once()
    >>> squares.get(3, lambda: 3**2), squares.get(3, lambda: 1 / 0)
    (9, 9)
    """

    def __init__(self, keep: int = 1) -> None:
        self._kept: deque[_Kept[T]] = deque(maxlen=keep)

    def get(self, key: object, compute: Callable[[], T]) -> T:
        """Return the value of `key`, which need not be hashable; compute it unless it is kept."""
        kept = next((kept for kept in self._kept if kept.key == key), None)
        if kept is None:
            kept = self._compute(key, compute)
            self._kept.append(kept)
        if kept.failure is not None:
            error, trace = kept.failure
            raise error.with_traceback(trace)
        value: Any = kept.value
        found: T = value
        return found

    @staticmethod
    def _compute(key: object, compute: Callable[[], T]) -> _Kept[T]:
        try:
            return _Kept(key, compute(), None)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return _Kept(key, None, (error, error.__traceback__))

    def forget(self) -> None:
        """Drop all values."""
        self._kept.clear()


def computing_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells in an order in which those that share work follow each other.

    The axes are nested, the outermost first: calibration draw, dense rows, granularity, scorer, search, allocation,
    sparsity, correction, recalibration. The values of an axis come in the order in which `cells` first name them: a
    plan that is nested in this way keeps its order.
    """
    places: tuple[dict[Hashable, int], ...] = tuple({} for _ in range(9))

    def place(cell: Cell) -> tuple[int, ...]:
        values: tuple[Hashable, ...] = (
            cell.calibration, cell.is_dense, cell.granularity, cell.scorer.label, cell.search.label,
            cell.allocation and cell.allocation.label, cell.sparsity, cell.correction.label, cell.recalibration.label,
        )  # fmt: skip
        return tuple(known.setdefault(value, len(known)) for known, value in zip(places, values, strict=True))

    return sorted(cells, key=place)


@dataclass(frozen=True)
class Magnitudes:
    """The units of a model by magnitude, with which every score map and mask set is compared.

    Attributes
    ----------
    scores : ScoreMap
        Magnitude of every unit.
    order : Tensor
        Flat indices of the units, the largest first, int64, shape ``(total,)``.
    """

    scores: ScoreMap
    order: Tensor


class SharedValues:
    """What the stages of a group share: draws, units, magnitudes, dense statistics, facts of the dense model.

    Parameters
    ----------
    group : str
        Id of the group, part of the seeds.
    dense : DenseModel
        The model that all cells share.
    dataset : Dataset
        Calibration draws come from its calibration split.
    exclude : tuple of str
        Layers that stay dense.
    registry : Registry
        Finds the methods that the cells name.
    settings : Settings
        Memory format and device.
    counters : Counter
        Counts forward passes (of one image), sorts and passes for dense statistics.
    first_draw : CalibrationSpec
        The draw on which the scope of the cancellation identity is found.
    granularities : iterable of str
        Of the cells; the network is described at these and at those of `OF_ONE_LAYER`.

    Attributes
    ----------
    part : int or None
        Calibration images in memory at a time, where a whole batch does not fit; None for whole batches.
    """

    def __init__(
        self,
        group: str,
        dense: DenseModel,
        dataset: Dataset,
        exclude: tuple[str, ...],
        registry: Registry,
        settings: Settings,
        counters: Counter[str],
        first_draw: CalibrationSpec,
        granularities: Iterable[Granularity] = (),
    ) -> None:
        self.dense, self.dataset, self.settings, self.counters = dense, dataset, settings, counters
        self.part: int | None = None
        self._group, self._exclude, self._registry, self._first_draw = group, exclude, registry, first_draw
        self._device = torch.device(settings.device)
        self._example = normalise(dataset.calibration.images[:2], dense.normalisation, self._device)
        self._granularities = tuple(dict.fromkeys((*OF_ONE_LAYER, *granularities)))
        self._calibrations: Once[Calibration] = Once()
        self._inventory: Once[Inventory] = Once()
        self._macs: Once[Macs] = Once()
        self._mask_counts: Once[MaskCounts] = Once(GRANULARITIES)
        self._network: Once[Network] = Once()
        self._found: Once[Examined] = Once(GRANULARITIES)
        self._magnitudes: Once[Magnitudes] = Once(GRANULARITIES)
        self._dense_moments: Once[Mapping[str, Moments]] = Once()
        self._uncovered: Once[tuple[str, ...]] = Once()

    # ---------------------------------------------------------------- methods

    def plugin(self, kind: str, name: str) -> Plugin:
        """Return a method of the group's cells."""
        return self._registry.get(kind, name)

    def resolve(self, kind: str, name: str) -> Choice:
        """Return a method with its default options, as an axis value."""
        return self.plugin(kind, name).resolve({})

    def is_ours(self, kind: str, name: str) -> bool:
        """Whether a method is one of the catalogue, which the conformance suite is run on."""
        return not isinstance(self.plugin(kind, name).version, str)

    def call(self, kind: str, choice: Choice, *arguments: Any) -> Any:
        """Call a method with the options of its axis value."""
        return self.plugin(kind, choice.name).function(*arguments, **choice.options)

    # ---------------------------------------------------------------- images

    def calibration(self, spec: CalibrationSpec) -> Calibration:
        """Return a calibration draw, normalised and on the device."""

        def compute() -> Calibration:
            draw = calibration_draw(self.dataset, calibration_seed(self._group, spec), spec.images)
            images = normalise(draw.images, self.dense.normalisation, self._device)
            images = images.contiguous(memory_format=MEMORY_FORMATS[self.settings.memory_format])
            return Calibration(images, draw.labels.to(self._device), spec.batch, self.part)

        return self._calibrations.get((spec, self.part), compute)

    # ---------------------------------------------------------------- the dense model

    def inventory(self) -> Inventory:
        """Return what the dense model computes with which parameter."""
        return self._inventory.get(None, lambda: take_inventory(self.dense.model, self._example))

    def macs(self) -> Macs:
        """Return the multiply-accumulate operations (MACs) of the dense model."""
        return self._macs.get(None, lambda: count_macs(self.dense.model, self._example))

    def mask_counts(self, granularity: Granularity) -> MaskCounts:
        """Return what counts the parameters and MACs that are left under masks."""

        def compute() -> MaskCounts:
            return MaskCounts(self.dense.model, self.inventory(), self.units(granularity), self._example, self.macs())

        return self._mask_counts.get(granularity, compute)

    def network(self) -> Network:
        """Return the layers of the dense model, with the reason where one is left dense."""

        def compute() -> Network:
            return describe(self.inventory(), {one: self._examined(one) for one in self._granularities})

        return self._network.get(None, compute)

    def _examined(self, granularity: Granularity) -> Examined:
        return self._found.get(
            granularity, lambda: examine(self.dense.model, granularity, self._exclude, self.inventory())
        )

    def units(self, granularity: Granularity) -> UnitSpace:
        """Return the prunable units at one granularity.

        Raises
        ------
        NotApplicable
            If there are none.
        """
        units = self._examined(granularity).units
        if units is None:
            raise NotApplicable(f"the network has nothing to prune at granularity {granularity}")
        return units

    def view(self, granularity: Granularity) -> ModelView:
        """Return what a scorer sees of the dense model."""
        return ModelView(self.dense.model, self.units(granularity))

    def magnitudes(self, granularity: Granularity) -> Magnitudes:
        """Return the magnitudes of the units and their order."""

        def compute() -> Magnitudes:
            units = self.units(granularity)
            self.counters["sorts"] += 1
            scores = ScoreMap(self.view(granularity).magnitudes()).ranked(units)
            return Magnitudes(scores, keep_order(units.ranked, scores, scores))

        return self._magnitudes.get(granularity, compute)

    def dense_moments(self, granularity: Granularity, spec: CalibrationSpec) -> Mapping[str, Moments]:
        """Return the channel moments of the dense model on a draw."""
        layers, calibration = self.units(granularity).layers, self.calibration(spec)

        def compute() -> Mapping[str, Moments]:
            self.counters["dense_statistics"] += 1
            self.counters["forward_passes"] += len(calibration)
            return channel_moments(self.dense.model, layers, calibration)

        return self._dense_moments.get((layers, spec), compute)

    def uncovered(self) -> tuple[str, ...]:
        """Return the layers outside the cancellation identity, found by perturbation on the group's first draw."""

        def compute() -> tuple[str, ...]:
            return uncovered_layers(self.dense.model, self.units("weight"), self.calibration(self._first_draw))

        return self._uncovered.get(None, compute)
