"""One group of cells, read top to bottom: dense model -> scores -> masks -> repair -> evaluation -> row.

No file is read or written here. The stages are objects with their own state; what they share has explicit keys
(`bench.measure.shared`).
"""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pandas as pd
from torch import nn

from bench.core.errors import Deadline, NotApplicable
from bench.core.identity import canonical_json
from bench.core.registry import Registry
from bench.core.types import Cell, Check, Group, Outcome, Settings
from bench.data.dataset import Dataset
from bench.measure.alignment import Alignment
from bench.measure.evaluation import CHANNELS, EVALUATED, Evaluations, Request, evaluation_id, is_repaired
from bench.measure.mask_facts import MaskFacts
from bench.measure.out_of_memory import in_smaller_parts
from bench.measure.recheck import cells_to_check, recheck
from bench.measure.repair import Repair
from bench.measure.scoring import Ordered, Scoring, Weights
from bench.measure.search import Search
from bench.measure.seeds import cell_seeds
from bench.measure.shared import SharedValues, computing_order
from bench.measure.working_model import WorkingModel
from bench.models.checkpoints import state_digest
from bench.models.dense import DenseModel
from bench.models.tensors import MaskSet
from bench.models.unchanged import left_behind, marks
from bench.models.view import set_memory_format
from bench.store.tables import now
from bench.study.plan import axis_values

#: Cells that wait for a stack to fill, as a multiple of its models: cells that share an evaluation do not fill it.
MOST_PENDING = 4
#: Seconds of work that may wait for a stack to fill; a kill loses them.
PENDING_SECONDS = 10.0
T = TypeVar("T")


@dataclass(frozen=True)
class _Prepared:
    """A cell before its evaluation, with the columns and notes that are known, and the seconds that they took."""

    request: Request
    facts: Mapping[str, Any]
    notes: Mapping[str, Any]
    seconds: float


class Pipeline:
    """Computes the rows of one group.

    Parameters
    ----------
    group : Group
        Cells in any order; those that share work are computed one after the other.
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

    Attributes
    ----------
    shared : SharedValues
        Draws, units and facts of the dense model.
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
        set_memory_format(dense.model, settings.memory_format)  # calibration passes gain as evaluation does
        first = min(group.cells, key=lambda cell: cell.position)
        self.group = group
        granularities = [cell.granularity for cell in group.cells if cell.granularity is not None]
        self.shared = SharedValues(
            group.id, dense, dataset, exclude, registry, settings, counters, first.calibration, granularities
        )
        self._working = WorkingModel(dense.model)
        self._facts = MaskFacts(self.shared, self._working)
        self._repair = Repair(self.shared, self._working)
        self._evaluations = Evaluations(self.shared, self._repair)
        self._scoring = Scoring(self.shared)
        self._search = Search(self.shared, self._scoring, self._evaluations)
        self._alignment = Alignment(self.shared, group)
        self._timeout = cell_timeout
        self._largest_batch = max(cell.calibration.batch for cell in group.cells)
        self._dense_before = state_digest(dense.model.state_dict()), marks(dense.model)

    # ---------------------------------------------------------------- rows

    def remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep the evaluations and searches of the group's done rows, so that none is repeated."""
        for row in rows:
            notes = json.loads(row["notes"] or "{}")
            self._evaluations.remember(row, notes)
            self._search.remember(notes)

    def run(self, todo: Collection[str]) -> Iterator[Outcome]:
        """Compute the cells whose ids are in `todo`.

        Yields
        ------
        Outcome
            Done, failed (with its traceback) or skipped (with a reason), one per cell, in `computing_order`. Where
            models are evaluated in stacks, many come at a time.
        """
        pending: list[_Prepared | Outcome] = []
        for cell in computing_order(self.group.cells):
            if cell.id in todo:
                pending.append(self._prepare(cell))
                if self._is_enough(pending):
                    yield from self._finish(pending)
                    pending = []
        yield from self._finish(pending)

    def _prepare(self, cell: Cell) -> _Prepared | Outcome:
        """Compute all of a cell that comes before its evaluation; an outcome if there is nothing to evaluate."""
        if cell.skip is not None:
            return Outcome(cell, "skipped", reason=cell.skip)
        return self._isolated(cell, self._timeout, partial(self._compute_masks, cell))

    def _is_enough(self, pending: Sequence[_Prepared | Outcome]) -> bool:
        """Whether the prepared cells fill a stack of models, or are enough to keep in memory."""
        stack = self._evaluations.stack
        if stack == 1:
            return True
        prepared = [found for found in pending if isinstance(found, _Prepared)]
        stacked = {found.request.evaluation for found in prepared if self._evaluations.can_stack(found.request)}
        seconds = sum(found.seconds for found in prepared)
        return len(stacked) >= stack or len(pending) >= MOST_PENDING * stack or seconds >= PENDING_SECONDS

    def _finish(self, pending: Sequence[_Prepared | Outcome]) -> Iterator[Outcome]:
        """Evaluate prepared cells."""
        seconds: dict[str, float] = {}
        if self._evaluations.stack > 1:
            requests = [found.request for found in pending if isinstance(found, _Prepared)]
            stacked = {request.evaluation for request in requests if self._evaluations.can_stack(request)}
            start = time.perf_counter()
            limit = None if self._timeout is None else len(stacked) * self._timeout
            self._evaluations.deadline = None if limit is None else time.monotonic() + limit
            made = self._evaluations.evaluate_stacked(requests)
            seconds = dict.fromkeys(made, (time.perf_counter() - start) / max(1, len(made)))
        for found in pending:
            if isinstance(found, _Prepared):  # the first cell of an evaluation bears its time
                share = seconds.pop(found.request.evaluation, 0.0)
                yield self._outcome(replace(found, seconds=found.seconds + share))
            else:
                yield found

    def _outcome(self, prepared: _Prepared) -> Outcome:
        left = None if self._timeout is None else self._timeout - prepared.seconds
        outcome = self._isolated(prepared.request.cell, left, partial(self._evaluate, prepared))
        if outcome.state == "done":
            self.shared.counters["cells"] += 1
        return outcome

    def _isolated(self, cell: Cell, limit: float | None, work: Callable[[], T]) -> T | Outcome:
        """Return what `work` returns; where it fails, the outcome of its cell, so that the others continue.

        Parameters
        ----------
        limit : float, optional
            Seconds until the cell's deadline.
        """
        self._evaluations.deadline = None if limit is None else time.monotonic() + limit
        try:
            found = in_smaller_parts(work, self.shared, self._largest_batch)
            self._check_deadline()
        except NotApplicable as reason:
            return Outcome(cell, "skipped", reason=str(reason))
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Outcome(cell, "failed", reason=text[:500], traceback=traceback.format_exc())
        return found

    def _check_deadline(self) -> None:
        if self._evaluations.deadline is not None and time.monotonic() > self._evaluations.deadline:
            raise Deadline(f"the cell took longer than {self._timeout} s (its deadline)")

    def _compute_masks(self, cell: Cell) -> _Prepared:
        """Compute scores, masks and the columns that depend on them alone."""
        start = time.perf_counter()
        masks: MaskSet | None = None
        notes: dict[str, Any] = {}
        if cell.is_dense:
            facts = self._facts.dense()
        else:
            search = self._search.found(cell)
            weights = fusion_weights(search)
            self._alignment.measure(cell, partial(self._scoring.ordered, cell, weights))
            masked = self._scoring.masked(cell, weights)
            masks = masked.masks
            facts = {**self._facts.of(masks), "tied_units": masked.tied, "magnitude_overlap": masked.overlap}
            notes = {**masked.notes, **({} if search is None else {"search": search})}
        request = Request(cell, masks, evaluation_id(cell, facts["mask"]))
        if self.shared.part is not None:
            notes["calibration_part"] = min(self.shared.part, cell.calibration.batch)
        return _Prepared(request, facts, notes, time.perf_counter() - start)

    def _evaluate(self, prepared: _Prepared) -> Outcome:
        """Evaluate a prepared cell, unless that is done, and compute the values of its row."""
        start = time.perf_counter()
        cell, notes = prepared.request.cell, dict(prepared.notes)
        evaluated = self._evaluations.of(*prepared.request)
        if evaluated[CHANNELS] is not None:
            notes[CHANNELS] = evaluated[CHANNELS]
        if self.shared.part is not None and is_repaired(cell):
            notes["calibration_part"] = min(self.shared.part, cell.calibration.batch)
        scorer = None if cell.is_dense else self.shared.plugin("scorer", cell.scorer.name)
        values = {
            "checkpoint": self.shared.dense.checkpoint, "train_overlap": self.shared.dense.train_overlap,
            "device_class": self.shared.settings.device_class, "seeds": canonical_json(cell_seeds(cell, scorer)),
            **prepared.facts, "evaluation": prepared.request.evaluation,
            **{name: evaluated[name] for name in EVALUATED}, "notes": canonical_json(notes),
            "seconds": prepared.seconds + time.perf_counter() - start,
        }  # fmt: skip
        return Outcome(cell, "done", values)

    def repaired_model(self, cell: Cell) -> nn.Module:
        """Return the masked, repaired model of a cell, float32; valid until the next cell."""
        self._repair.apply(cell, self._masks(cell))
        return self._working.hand_out()

    def _masks(self, cell: Cell) -> MaskSet | None:
        return None if cell.is_dense else self._scoring.masked(cell, fusion_weights(self._search.found(cell))).masks

    # ---------------------------------------------------------------- after the last row

    def checks(
        self, rows: Mapping[str, Mapping[str, Any]], groups: int, finished: Collection[tuple[str, str]]
    ) -> Iterator[Check]:
        """Evaluate a seeded sample of cells again, with masks and model made anew.

        Parameters
        ----------
        rows : mapping
            Cell id -> done row.
        groups : int
            Number of groups of the study; the least number of checks is spread over them.
        finished : collection of (cell, kind)
            Checks of an earlier run.
        """
        self._evaluations.deadline = None  # a cell's timeout is the cell's own
        names = {cell.recalibration.name for cell in self.group.cells}
        complete = {name for name in names if self.shared.plugin("recalibration", name).complete}
        chosen = cells_to_check(self.group.cells, rows, groups, self.shared.settings.precision, complete)
        for check in recheck(chosen, rows, finished, self._evaluate_again):
            self.shared.counters["checks"] += 1
            yield check

    def _evaluate_again(self, cell: Cell, precision: str) -> Mapping[str, Any]:
        def evaluate() -> Mapping[str, Any]:
            return self._evaluations.evaluate(cell, self._masks(cell), precision)

        self._scoring.forget_masks()
        self._working.discard()
        return in_smaller_parts(evaluate, self.shared, self._largest_batch)

    def alignment(self, done: Collection[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return how the scores of the done cells (ids) align with magnitude; scores of earlier runs are recomputed.

        Returns
        -------
        layers, units : DataFrame
            The columns of `schema.ALIGNMENT` and `schema.UNITS`.
        """
        self._evaluations.deadline = None
        cells = [cell for cell in computing_order(self.group.cells) if cell.id in done and not cell.is_dense]
        for cell in cells:
            in_smaller_parts(partial(self._align, cell), self.shared, self._largest_batch)
        return self._alignment.tables(cells)

    def _align(self, cell: Cell) -> None:
        def ordered() -> Ordered:
            return self._scoring.ordered(cell, fusion_weights(self._search.found(cell)))

        self._alignment.measure(cell, ordered)

    def dense_model_change(self) -> str | None:
        """Return what a method changed on the dense model, which must stay as it was; None if nothing.

        The rows that were computed since are not to be trusted: their methods may have read another model.
        """
        model = self.shared.dense.model
        digest, before = self._dense_before
        if state_digest(model.state_dict()) != digest:
            return "changes its weights or buffers"
        return left_behind(model, before)


def fusion_weights(search: Mapping[str, Any] | None) -> Weights:
    """Return the fusion weights that a search found; None where nothing was searched for."""
    return None if search is None else tuple(search["weights"])


def row_values(outcome: Outcome) -> dict[str, Any]:
    """Return the values of a stored row."""
    return {
        **axis_values(outcome.cell), **outcome.values, "state": outcome.state, "reason": outcome.reason,
        "traceback": outcome.traceback, "written": now(),
    }  # fmt: skip
