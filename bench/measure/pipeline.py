"""One group: dense model -> scores -> masks -> repair -> rows. No file is read or written here."""

from __future__ import annotations

import copy
import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.core.errors import CellError, Deadline, NotApplicable
from bench.core.freed_memory import HeapKeeper, return_freed_memory
from bench.core.identity import canonical_json, digest, named_seed
from bench.core.registry import Plugin, Registry
from bench.core.types import PLUGIN_AXES, CalibrationSpec, Cell, Check, CheckKind, Choice, Group, Outcome, Settings
from bench.data.dataset import Dataset, calibration_draw
from bench.masks.budget import Budget
from bench.masks.build import build_masks, kept_units
from bench.masks.order import keep_order, tied_units
from bench.masks.select import select_masks
from bench.measure.alignment import Aligned, MagnitudeRanks, ScoreSet, alignment_tables, score_set
from bench.measure.evaluation import MEMORY_FORMATS, Evaluation, Evaluator, emptied_layers, zero_share
from bench.measure.recheck import cells_to_check
from bench.models.check import describe
from bench.models.dense import DenseModel
from bench.models.inventory import Inventory, take_inventory
from bench.models.macs import MaskedMacs
from bench.models.masking import apply_masks
from bench.models.tensors import FeatureMap, MaskSet, ScoreMap, UnitSpace
from bench.models.unchanged import Pristine
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, is_out_of_memory, normalise, set_memory_format
from bench.repairs.cancellation import largest_eps_ratio, uncovered_layers
from bench.repairs.channels import channel_changes
from bench.repairs.correction import RepairContext
from bench.repairs.statistics import Moments, batch_moments, channel_moments, pooled
from bench.scorers.search.baselines import equal
from bench.scorers.search.fusion import Found
from bench.scorers.search.objective import CandidateAccuracy
from bench.store.network import Network
from bench.store.tables import now
from bench.study.plan import axis_values

T = TypeVar("T")

#: Values that one evaluation gives to every cell that shares it; beside them, in the notes, `channels`.
EVALUATED = (
    "accuracy", "loss", "n_test", "correct", "identity_covered", "identity_ratio", "batch", "batch_halved",
)  # fmt: skip
CHANNELS = "channels"


@dataclass(frozen=True)
class _Scored:
    """A scorer's map with its one sort: everything that all sparsities share."""

    scores: ScoreMap
    order: Tensor
    tied: int


def features_seed(scorer: Choice, draw: int) -> int:
    """Seed of a feature scorer's random curves: no part of it is the model, so all models see the same curve."""
    return named_seed("features", scorer.identity(), draw)


class Pipeline:
    """Computes the rows of one group.

    Parameters
    ----------
    group : Group
        Cells in plan order.
    dense : DenseModel
        The model that all of them share.
    dataset : Dataset
        Its test split is used for evaluation alone.
    exclude : tuple of str
        Layers that stay dense.
    registry : Registry
        Finds the methods that the cells name.
    settings : Settings
        Precision, memory format, batch, device.
    counters : Counter
        Counts evaluations, forward passes (of one image), score passes, sorts, passes for dense statistics.
    cell_timeout : float, optional
        Seconds after which a cell fails.
    """

    def __init__(
        self,
        group: Group,
        dense: DenseModel,
        dataset: Dataset,
        exclude: tuple[str, ...],
        registry: Registry,
        settings: Settings,
        counters: Counter[str],
        cell_timeout: float | None = None,
    ) -> None:
        self.group, self.dense, self.dataset, self.settings = group, dense, dataset, settings
        self._exclude, self._registry, self._counters = exclude, registry, counters
        self._timeout = cell_timeout
        self._deadline: float | None = None
        self._part: int | None = None  # calibration images at once, where memory did not take a whole batch
        self._device = torch.device(settings.device)
        self._format = MEMORY_FORMATS[settings.memory_format]
        set_memory_format(dense.model, settings.memory_format)  # calibration passes gain as evaluation does
        self._dense_state = dense.model.state_dict()  # shares the model's storage
        # a user's plug-in may do to a model what the conformance suite forbids
        self._pristine = Pristine(dense.model) if any(_is_users(p) for p in self._plugins()) else None
        self._work = copy.deepcopy(dense.model)
        self._work_spoiled = False  # whether its layers, modes or hooks may be others than the dense model's
        # what the working model is masked with, if nothing else was done to it
        self._work_masks: MaskSet | None = None
        self._mask_facts: dict[str, Mapping[str, Any]] = {}
        self._evaluators: dict[tuple[str, str], Evaluator] = {}
        self._heap = HeapKeeper()
        self._known: dict[str, Mapping[str, Any]] = {}
        self._searches: dict[str, Mapping[str, Any]] = {}
        self._candidates: dict[str, dict[str, float]] = {}
        self._latest: dict[str, tuple[Any, Any, tuple[Exception, TracebackType | None] | None]] = {}
        self._aligned: dict[ScoreSet, Aligned] = {}
        self._example = normalise(dataset.calibration.images[:2], dense.normalisation, self._device)

    # ---------------------------------------------------------------- rows

    def remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take over what the group's done rows hold, so that no evaluation and no search is repeated."""
        for row in rows:
            notes = json.loads(row["notes"] or "{}")
            if row["evaluation"]:
                self._known[row["evaluation"]] = {**row, CHANNELS: notes.get(CHANNELS)}
            if "search" in notes:
                self._searches[notes["search"]["id"]] = notes["search"]

    def run(self, todo: set[str]) -> Iterator[Outcome]:
        """Compute the cells of `todo` (ids) in plan order.

        Yields
        ------
        Outcome
            Done, failed (with its traceback) or skipped (with a reason), one per cell.
        """
        for cell in self.group.cells:
            if cell.id in todo:
                yield self._outcome(cell)

    def _outcome(self, cell: Cell) -> Outcome:
        if cell.skip is not None:
            return Outcome(cell, "skipped", reason=cell.skip)
        start = time.perf_counter()
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout
        try:
            values = self._fitting(lambda: self._values(cell))
            self._check_deadline()
        except NotApplicable as reason:
            return Outcome(cell, "skipped", reason=str(reason))
        except (Exception, SystemExit) as error:  # isolation: one cell's failure never stops the others
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Outcome(cell, "failed", reason=text[:500], traceback=traceback.format_exc())
        values["seconds"] = time.perf_counter() - start
        self._counters["cells"] += 1
        return Outcome(cell, "done", values)

    def _fitting(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, tried again where memory does not suffice; then with half the calibration images.

        Raises
        ------
        CellError
            If it does not suffice with one image either.
        """
        again = False
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self._part == 1 and again:
                    reason = "out of memory, with one calibration image at a time too; `prunebench plan` forecasts it"
                    raise CellError(reason) from error
            # outside the handler: its traceback would keep the tensors alive
            if again:  # the first time another process may have held it
                self._part = (self._part or max(cell.calibration.batch for cell in self.group.cells)) // 2 or 1
            again = True
            return_freed_memory()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Deadline(f"the cell took longer than {self._timeout} s (its deadline)")

    def _values(self, cell: Cell) -> dict[str, Any]:
        values: dict[str, Any] = {
            "checkpoint": self.dense.checkpoint,
            "train_overlap": self.dense.train_overlap,
            "device_class": self.settings.device_class,
            "seeds": canonical_json(self._seeds(cell)),
        }
        masks: MaskSet | None = None
        notes: dict[str, Any] = {}
        if not cell.is_dense:
            masks, facts, notes = self._masked(cell)
            values |= facts
        else:
            values |= self._dense_facts()
        values["evaluation"] = self._evaluation_id(cell, values["mask"])
        evaluated = self._shared_evaluation(cell, masks, values["evaluation"])
        values |= {name: evaluated[name] for name in EVALUATED}
        if evaluated[CHANNELS] is not None:
            notes = {**notes, CHANNELS: evaluated[CHANNELS]}
        if self._part is not None:
            notes = {**notes, "calibration_part": min(self._part, cell.calibration.batch)}
        values["notes"] = canonical_json(notes)
        return values

    def _shared_evaluation(self, cell: Cell, masks: MaskSet | None, evaluation: str) -> Mapping[str, Any]:
        """Evaluate on the test split, unless that was done before."""
        if evaluation in self._known:
            self._counters["shared"] += 1
        else:
            self._known[evaluation] = self._evaluate(cell, masks, cell.precision, note_channels=True)
            self._counters["evaluations"] += 1
        return self._known[evaluation]

    def _evaluation_id(self, cell: Cell, mask: str) -> str:
        """Hash of all that the evaluation depends on: what is not used (a draw, say) stays out of it."""
        repaired = cell.correction.name != "none" or cell.recalibration.name != "none"
        return digest([
            self.group.id, mask, cell.correction.identity(), cell.recalibration.identity(), cell.precision,
            [cell.calibration.draw, cell.calibration.images, cell.calibration.batch] if repaired else None,
        ])  # fmt: skip

    def _seeds(self, cell: Cell) -> dict[str, int]:
        seeds = {"calibration": self._calibration_seed(cell.calibration)}
        if not cell.is_dense:
            seeds["scorer"] = self._scorer_seed(cell)
            if cell.search.name != "none":
                seeds["search"] = self._search_seed(cell)
        return seeds

    def _calibration_seed(self, spec: CalibrationSpec) -> int:
        return named_seed("calibration", self.group.id, spec.draw)

    def _scorer_seed(self, cell: Cell) -> int:
        if self._plugin("scorer", cell.scorer).fuses_features:  # a feature is a function of u, the same for all models
            return features_seed(cell.scorer, cell.calibration.draw)
        return named_seed("scorer", self.group.id, cell.scorer.identity(), cell.calibration.draw)

    def _search_seed(self, cell: Cell) -> int:
        """Seed of the search: equal for all algorithms that search the same problem."""
        return named_seed("search", *self._search_problem(cell))

    def _search_problem(self, cell: Cell) -> list[Any]:
        assert cell.allocation is not None
        draw = cell.calibration
        return [
            self.group.id, draw.draw, draw.images, draw.batch, cell.scorer.identity(), cell.granularity,
            cell.allocation.identity(), cell.sparsity,
        ]  # fmt: skip

    # ---------------------------------------------------------------- stages, each computed once

    def _once(self, stage: str, key: Any, compute: Callable[[], Any]) -> Any:
        """Return the stage's value for `key`, computing it when the key changes.

        Plan order is nested, so only the latest value of each stage is held. A stage that raised
        raises again for every cell that needs it, without being computed again.
        """
        if stage not in self._latest or self._latest[stage][0] != key:
            try:
                self._latest[stage] = (key, compute(), None)
            except Exception as error:
                if is_out_of_memory(error):
                    raise  # it may fit in smaller parts
                self._latest[stage] = (key, None, (error, error.__traceback__))
        _, value, failure = self._latest[stage]
        if failure is not None:
            raise failure[0].with_traceback(failure[1])
        return value

    def _calibration(self, spec: CalibrationSpec) -> Calibration:
        def compute() -> Calibration:
            draw = calibration_draw(self.dataset, self._calibration_seed(spec), spec.images)
            images = normalise(draw.images, self.dense.normalisation, self._device)
            images = images.contiguous(memory_format=self._format)
            return Calibration(images, draw.labels.to(self._device), spec.batch, self._part)

        calibration: Calibration = self._once("calibration", (spec, self._part), compute)
        return calibration

    def inventory(self) -> Inventory:
        """Return what the dense model computes with which parameter."""
        found: Inventory = self._once("inventory", None, lambda: take_inventory(self.dense.model, self._example))
        return found

    def _macs(self) -> MaskedMacs:
        found: MaskedMacs = self._once(
            "macs", None, lambda: MaskedMacs(self.dense.model, self.inventory(), self._example)
        )
        return found

    def network(self) -> Network:
        """Return the layers of the dense model, what is pruned of them, and why the rest is left dense."""
        found: Network = self._once(
            "network", None, lambda: describe(self.dense.model, self.inventory(), self._exclude)
        )
        return found

    def units(self, granularity: str) -> UnitSpace:
        """Return the prunable units at one granularity."""

        def compute() -> UnitSpace:
            if not self.network().has_units(granularity):
                raise NotApplicable(f"the network has nothing to prune at granularity {granularity}")
            return find_units(self.dense.model, granularity, self._exclude, self.inventory())  # type: ignore[arg-type]

        units: UnitSpace = self._once(f"units {granularity}", granularity, compute)
        return units

    def _view(self, granularity: str) -> ModelView:
        return ModelView(self.dense.model, self.units(granularity))

    def _magnitudes(self, granularity: str) -> _Scored:
        """Magnitude's own map and order, the reference that every mask set is compared with."""

        def compute() -> _Scored:
            magnitudes = self._view(granularity).magnitudes()
            order = keep_order(self.units(granularity), ScoreMap(magnitudes), magnitudes)
            self._counters["sorts"] += 1
            return _Scored(ScoreMap(magnitudes), order, 0)

        scored: _Scored = self._once("magnitudes", granularity, compute)
        return scored

    def _plugin(self, kind: str, choice: Choice) -> Plugin:
        return self._registry.get(kind, choice.name)

    def _plugins(self) -> Iterator[Plugin]:
        """All plug-ins that are given the dense model."""
        kinds = [axis.name for axis in PLUGIN_AXES if axis.name != "search"]
        cells = [cell for cell in self.group.cells if not cell.is_dense]
        names = {(kind, getattr(cell, kind).name) for kind in kinds for cell in cells}
        yield from (self._registry.get(kind, name) for kind, name in names)

    def _call(self, kind: str, choice: Choice, *arguments: Any) -> Any:
        """Call a plug-in with its options.

        Raises
        ------
        CellError
            If it is a user's and changed the dense model, which is put back.
        """
        plugin = self._plugin(kind, choice)
        if self._pristine is None or not _is_users(plugin):
            return plugin.function(*arguments, **choice.options)
        try:
            return plugin.function(*arguments, **choice.options)
        finally:
            change = self._pristine.change(self.dense.model)
            if change is not None:
                self.dense = replace(self.dense, model=self._pristine.copy())
                self._dense_state = self.dense.model.state_dict()
                raise CellError(
                    f"the {kind} {choice.label} spoilt the dense model, which was put back: it {change}; "
                    f"`prunebench check {plugin.name}` shows it"
                )

    def _change(self, kind: str, choice: Choice, *arguments: Any) -> Any:
        """Call a plug-in that changes the working model; after a failure, or a user's, that is made anew."""
        spoiled = self._work_spoiled or _is_users(self._plugin(kind, choice))
        self._work_masks, self._work_spoiled = None, True
        result = self._call(kind, choice, *arguments)
        self._work_spoiled = spoiled
        return result

    def _raw_scores(self, cell: Cell) -> ScoreMap | FeatureMap:
        """Call the scorer, once for all sparsities unless its scores depend on the sparsity."""
        assert cell.granularity is not None
        granularity = cell.granularity
        plugin = self._plugin("scorer", cell.scorer)
        target = (cell.sparsity,) if plugin.takes_sparsity else ()

        def compute() -> ScoreMap | FeatureMap:
            generator = torch.Generator(device="cpu").manual_seed(self._scorer_seed(cell))
            scores: ScoreMap | FeatureMap = self._call(
                "scorer", cell.scorer, self._view(granularity), self._calibration(cell.calibration), generator, *target
            )
            self._counters["score_passes"] += 1
            scores.validate(self.units(granularity))
            return scores

        raw: ScoreMap | FeatureMap = self._once(
            "raw scores", (granularity, cell.calibration, cell.scorer, *target), compute
        )
        return raw

    def _scores(self, cell: Cell) -> tuple[Any, ScoreMap]:
        """Return the scores of a cell, fused where they are features, and a key that tells them from others."""
        raw = self._raw_scores(cell)
        weights = tuple(self._searched(cell)["weights"]) if isinstance(raw, FeatureMap) else None
        target = cell.sparsity if self._plugin("scorer", cell.scorer).takes_sparsity else None
        key = (cell.granularity, cell.calibration, cell.scorer, target, weights)
        if not isinstance(raw, FeatureMap):
            return key, raw
        assert weights is not None
        scores: ScoreMap = self._once("fused scores", key, lambda: raw.fuse(weights))
        return key, scores

    def _scored(self, cell: Cell) -> _Scored:
        assert cell.granularity is not None
        granularity = cell.granularity
        key, scores = self._scores(cell)

        def compute() -> _Scored:
            magnitudes = self._magnitudes(granularity).scores
            order = keep_order(self.units(granularity), scores, magnitudes)
            self._counters["sorts"] += 1
            return _Scored(scores, order, tied_units(self.units(granularity), scores, magnitudes, order))

        scored: _Scored = self._once("scored", key, compute)
        return scored

    def _budget(self, cell: Cell, scores: ScoreMap) -> Budget:
        assert cell.granularity is not None
        assert cell.allocation is not None
        units, view = self.units(cell.granularity), self._view(cell.granularity)
        budget: Budget = self._call("allocation", cell.allocation, units, scores, cell.sparsity, view)
        return budget

    def _masked(self, cell: Cell) -> tuple[MaskSet, dict[str, Any], dict[str, Any]]:
        """Mask set of a cell, the columns that depend on it alone, and what its methods noted."""
        assert cell.granularity is not None
        granularity = cell.granularity

        def compute() -> tuple[MaskSet, dict[str, Any], dict[str, Any]]:
            units, scored = self.units(granularity), self._scored(cell)
            self._align(cell)
            budget = self._budget(cell, scored.scores)
            masks = build_masks(units, scored.order, budget)
            facts = {
                **self._facts_of(masks),
                "tied_units": scored.tied,
                "magnitude_overlap": masks.overlap(kept_units(self._magnitudes(granularity).order, budget)),
            }
            notes = {**scored.scores.notes, **budget.notes}
            if cell.search.name != "none":
                notes["search"] = self._searched(cell)
            return masks, facts, notes

        key = (granularity, cell.calibration, cell.scorer, cell.search, cell.allocation, cell.sparsity)
        masked: tuple[MaskSet, dict[str, Any], dict[str, Any]] = self._once("masks", key, compute)
        return masked

    def _facts_of(self, masks: MaskSet) -> Mapping[str, Any]:
        """Return the columns that depend on the masks alone; equal mask sets are counted once."""
        units, mask = masks.units, masks.digest()
        if mask not in self._mask_facts:
            self._mask(masks)
            self._mask_facts[mask] = {
                "mask": mask, "sparsity_achieved": 1 - masks.kept / units.total,
                "sparsity_parameters": zero_share(self._work),
                "speedup": self._macs().count(self._work).speedup,
                "emptied_layers": len(emptied_layers(masks)),
                "exact_removal": all(layer.exact_removal for layer in units.layers),
            }  # fmt: skip
        return self._mask_facts[mask]

    # ---------------------------------------------------------------- alignment with magnitude

    def alignment(self, done: Collection[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return how the scores of the done cells (ids) align with magnitude: what this run has not met is scored anew.

        Returns
        -------
        layers, units : DataFrame
            The columns of `schema.ALIGNMENT` and `schema.UNITS`, in plan order.
        """
        self._deadline = None
        cells = [cell for cell in self.group.cells if cell.id in done and not cell.is_dense]
        sets = dict.fromkeys(self._fitting(partial(self._align, cell)) for cell in cells)
        return alignment_tables(self.group.id, {key: self._aligned[key] for key in sets})

    def _align(self, cell: Cell) -> ScoreSet:
        """Measure a cell's scores against magnitude, unless a cell with the same scores has done so.

        Fused scores are functions of u, which the curves show: no units are sampled of them.
        """
        key = self._score_set(cell)
        if key not in self._aligned:
            ranks: MagnitudeRanks = self._once("ranks", key.granularity, lambda: self._magnitude_ranks(key.granularity))
            scores, sparsities = self._scores(cell)[1], self._sparsities()[key]
            sampled = ranks.sample(scores) if key.search == "none" else []
            self._aligned[key] = Aligned(ranks.correlations(scores, sparsities), sampled)
        return key

    def _score_set(self, cell: Cell) -> ScoreSet:
        return score_set(cell, self._plugin("scorer", cell.scorer).takes_sparsity)

    def _sparsities(self) -> Mapping[ScoreSet, list[float | None]]:
        """Return the sparsities of the cells that share their scores, in plan order."""

        def compute() -> Mapping[ScoreSet, list[float | None]]:
            found: dict[ScoreSet, dict[float | None, None]] = {}
            for cell in self.group.cells:
                if not cell.is_dense:
                    found.setdefault(self._score_set(cell), {})[cell.sparsity] = None
            return {key: list(sparsities) for key, sparsities in found.items()}

        sparsities: Mapping[ScoreSet, list[float | None]] = self._once("sparsities", None, compute)
        return sparsities

    def _magnitude_ranks(self, granularity: str) -> MagnitudeRanks:
        seed = named_seed("alignment", self.group.id, granularity)
        return MagnitudeRanks(self.units(granularity), self._magnitudes(granularity).scores, seed)

    # ---------------------------------------------------------------- the search for fusion weights

    def _searched(self, cell: Cell) -> Mapping[str, Any]:
        """Return what the cell's search found, as it stands in the row's notes; every search runs once."""
        key = digest([*self._search_problem(cell), cell.search.identity(), cell.precision])
        if key not in self._searches:
            self._searches[key] = {"id": key, **self._once("search", key, lambda: self._search(cell))}
        return self._searches[key]

    def _search(self, cell: Cell) -> dict[str, Any]:
        """Search the fusion weights on the search split; only then look at the test split."""
        assert cell.granularity is not None
        features = self._raw_scores(cell)
        assert isinstance(features, FeatureMap)
        units, magnitudes = self.units(cell.granularity), self._magnitudes(cell.granularity).scores
        options = cell.search.options
        plain = self._with_repair(cell, "none", "none")
        under = self._with_repair(cell, options.get("correction", "none"), options.get("recalibration", "none"))

        def masks_of(weights: Sequence[float]) -> MaskSet:
            scores = features.fuse(weights)
            return select_masks(units, scores, magnitudes, self._budget(cell, scores))

        def test_accuracy(weights: Sequence[float]) -> float:
            masks = masks_of(weights)
            evaluation = self._evaluation_id(plain, masks.digest())
            return float(self._shared_evaluation(plain, masks, evaluation)["accuracy"])

        # other searches of the group may have met the same masks
        known = self._candidates.setdefault(self._evaluation_id(under, ""), {})
        objective = CandidateAccuracy(masks_of, lambda masks: self._search_accuracies(under, masks), known)
        dimensions = len(features.names)
        generator = np.random.default_rng(self._search_seed(cell))
        ones = (1.0,) * dimensions
        # one weight is a sign: nothing to search
        search = self._plugin("search", cell.search).function if dimensions > 1 else equal
        found: Found = search(objective, dimensions, generator, **(options if dimensions > 1 else {}))
        return {
            "features": list(features.names), "weights": list(found.weights),
            "budget": options.get("evaluations", 1), "evaluations": found.evaluations, "masks": objective.masks,
            "search_accuracy": found.value, "search_accuracy_equal": float(objective(np.array([ones]))[0]),
            "test_accuracy": test_accuracy(found.weights), "test_accuracy_equal": test_accuracy(ones),
            "history": [list(point) for point in found.history],
        }  # fmt: skip

    def _with_repair(self, cell: Cell, correction: str, recalibration: str) -> Cell:
        return replace(
            cell,
            correction=self._registry.get("correction", correction).resolve({}),
            recalibration=self._registry.get("recalibration", recalibration).resolve({}),
        )

    def _search_accuracies(self, cell: Cell, candidates: Iterable[MaskSet]) -> list[float]:
        """Accuracies on the search split, each mask set under the cell's repair."""

        def models() -> Iterator[nn.Module]:
            for masks in candidates:
                self._repair(cell, masks)
                self._counters["search_evaluations"] += 1
                yield self._work

        return self._evaluator("search", cell.precision).accuracies(models(), self._deadline)

    def _dense_facts(self) -> dict[str, Any]:
        def compute() -> dict[str, Any]:
            return {
                "mask": "dense", "sparsity_achieved": 0.0,
                "sparsity_parameters": zero_share(self.dense.model),
                "speedup": self._macs().dense.speedup,
                "emptied_layers": 0, "exact_removal": True, "tied_units": 0, "magnitude_overlap": 1.0,
            }  # fmt: skip

        facts: dict[str, Any] = self._once("dense facts", None, compute)
        return facts

    def _dense_moments(self, cell: Cell) -> Mapping[str, Moments]:
        """Channel moments of the dense model on the draw, once per (draw, granularity)."""
        assert cell.granularity is not None
        layers = self.units(cell.granularity).layers
        calibration = self._calibration(cell.calibration)

        def compute() -> Mapping[str, Moments]:
            self._counters["dense_statistics"] += 1
            self._counters["forward_passes"] += len(calibration)
            return channel_moments(self.dense.model, layers, calibration)

        moments: Mapping[str, Moments] = self._once("moments", (layers, cell.calibration), compute)
        return moments

    def uncovered(self) -> tuple[str, ...]:
        """Layers outside the cancellation identity, by perturbation on the group's first draw."""
        cell = self.group.cells[0]
        layers: tuple[str, ...] = self._once(
            "uncovered", None,
            lambda: uncovered_layers(self.dense.model, self.units("weight"), self._calibration(cell.calibration)),
        )  # fmt: skip
        return layers

    # ---------------------------------------------------------------- repair and evaluation

    def _mask(self, masks: MaskSet | None) -> None:
        """Give the working model the dense weights and statistics, masked; nothing is done where it is that already."""
        if masks is not None and masks is self._work_masks:
            return
        self._work_masks = None  # until it is whole
        if self._work_spoiled:
            self._work, self._work_spoiled = copy.deepcopy(self.dense.model), False
        with torch.no_grad():
            for name, tensor in self._work.state_dict().items():
                tensor.copy_(self._dense_state[name])
        if masks is not None:
            apply_masks(self._work, masks.units, masks)
        self._work_masks = masks

    def repaired_model(self, cell: Cell) -> nn.Module:
        """Return the masked, repaired model of a cell, float32; valid until the next cell."""
        self._repair(cell, None if cell.is_dense else self._masked(cell)[0])
        self._work_masks, self._work_spoiled = None, True  # the caller may change it
        return self._work

    def _repair(self, cell: Cell, masks: MaskSet | None) -> tuple[bool | None, float | None]:
        """Turn the working model into the cell's; return the cancellation identity's two columns."""
        return self._recalibrate(cell, masks, self._correct(cell, masks))

    def _evaluate(
        self, cell: Cell, masks: MaskSet | None, precision: str, *, note_channels: bool = False
    ) -> dict[str, Any]:
        factors = self._correct(cell, masks)
        channels = None
        if note_channels and masks is not None and cell.correction.name != "none":
            channels = self._channels(cell, masks)
        covered, ratio = self._recalibrate(cell, masks, factors)
        result = self._evaluated(precision)
        return {
            "accuracy": result.accuracy, "loss": result.loss, "n_test": len(result.correct),
            "correct": np.packbits(result.correct).tobytes(), "identity_covered": covered, "identity_ratio": ratio,
            "batch": result.batch, "batch_halved": result.batch_halved, CHANNELS: channels,
        }  # fmt: skip

    def _correct(self, cell: Cell, masks: MaskSet | None) -> Mapping[str, Tensor]:
        """Mask and correct the working model; return the factors of its layers."""
        self._mask(masks)
        if masks is None or cell.correction.name == "none":
            return {}
        context = RepairContext(
            model=self._work, dense=self._dense_moments(cell), units=masks.units, masks=masks,
            calibration=self._calibration(cell.calibration), dense_model=self.dense.model,
            pruned=self._pruned_moments(cell, masks),
        )  # fmt: skip
        factors: Mapping[str, Tensor] = self._change("correction", cell.correction, context)
        return factors

    def _channels(self, cell: Cell, masks: MaskSet) -> Mapping[str, Any]:
        """Compare the channels of the corrected working model with those before: one pass per correction of a mask."""
        changes: Mapping[str, Any] = self._once(
            "channels", (masks.digest(), cell.calibration, cell.correction),
            lambda: channel_changes(
                self._dense_moments(cell), pooled(self._pruned_moments(cell, masks)), pooled(self._moments(cell, masks))
            ),
        )  # fmt: skip
        return changes

    def _pruned_moments(self, cell: Cell, masks: MaskSet) -> Mapping[str, list[Moments]]:
        """Moments of the masked model, measured once for all corrections, when the working model is masked alone."""
        moments: Mapping[str, list[Moments]] = self._once(
            "pruned moments", (masks.digest(), cell.calibration), lambda: self._moments(cell, masks)
        )
        return moments

    def _moments(self, cell: Cell, masks: MaskSet) -> Mapping[str, list[Moments]]:
        """Channel moments of the working model as it is, on the cell's draw."""
        calibration = self._calibration(cell.calibration)
        self._counters["forward_passes"] += len(calibration)
        return batch_moments(self._work, masks.units.layers, calibration)

    def _recalibrate(
        self, cell: Cell, masks: MaskSet | None, factors: Mapping[str, Tensor]
    ) -> tuple[bool | None, float | None]:
        """Recalibrate the working model; return the cancellation identity's two columns."""
        if cell.recalibration.name != "none":
            calibration = self._calibration(cell.calibration)
            self._change("recalibration", cell.recalibration, self._work, calibration)
            self._counters["forward_passes"] += len(calibration)
        if masks is None or not factors:
            return None, None
        changed = {name for name, factor in factors.items() if bool((factor != 1).any())}
        covered = not changed.intersection(self.uncovered())
        return covered, largest_eps_ratio(self._work, masks.units, factors)

    def _evaluated(self, precision: str) -> Evaluation:
        self._counters["forward_passes"] += len(self.dataset.test)
        self._heap.tend()
        return self._evaluator("test", precision).evaluate(self._work, deadline=self._deadline)

    def _evaluator(self, split: str, precision: str) -> Evaluator:
        if (split, precision) not in self._evaluators:
            settings = replace(self.settings, precision=precision)
            images = {"test": self.dataset.test, "search": self.dataset.search}[split]
            self._evaluators[split, precision] = Evaluator(self.dense.model, images, self.dense.normalisation, settings)
        return self._evaluators[split, precision]

    # ---------------------------------------------------------------- checks

    def checks(
        self, rows: Mapping[str, Mapping[str, Any]], groups: int, finished: set[tuple[str, str]]
    ) -> Iterator[Check]:
        """Really evaluate a seeded sample of cells again (`cells_to_check`), their own masks and model made anew.

        Parameters
        ----------
        rows : mapping
            Cell id -> done row.
        groups : int
            Number of groups of the study; the least number of checks is spread over them.
        finished : set of (cell, kind)
            Checks that an earlier run has made.
        """
        self._deadline = None  # a cell's timeout is the cell's own
        for kind, cell in cells_to_check(self.group.cells, rows, groups, self.settings.precision):
            if (cell.id, kind) not in finished:
                yield self._check(cell, kind, rows[cell.id])

    def _check(self, cell: Cell, kind: CheckKind, row: Mapping[str, Any]) -> Check:
        precision = "float32" if kind == "float32" else cell.precision
        self._latest.pop("masks", None)
        self._work_masks, self._work_spoiled = None, True
        again = self._fitting(lambda: self._evaluate(cell, None if cell.is_dense else self._masked(cell)[0], precision))
        self._counters["checks"] += 1
        first, second = (
            np.unpackbits(np.frombuffer(bits, np.uint8), count=row["n_test"])
            for bits in (row["correct"], again["correct"])
        )
        return Check(cell, kind, again["accuracy"], int((first != second).sum()))


def _is_users(plugin: Plugin) -> bool:
    """Whether a plug-in is not one of ours, which the conformance suite is run on."""
    return isinstance(plugin.version, str)


def row_values(outcome: Outcome) -> dict[str, Any]:
    """Turn an outcome into the values of a stored row."""
    return {
        **axis_values(outcome.cell), **outcome.values, "state": outcome.state, "reason": outcome.reason,
        "traceback": outcome.traceback, "written": now(),
    }  # fmt: skip
