"""The evaluations of a group: cells with equal masks and equal repair share one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from bench.core.errors import CellError, Deadline
from bench.core.freed_memory import FreedMemoryTimer
from bench.core.identity import digest
from bench.core.types import Cell
from bench.measure.evaluator import Evaluation, Evaluator
from bench.measure.repair import Repair, Repaired
from bench.measure.shared import SharedValues
from bench.models.tensors import MaskSet

#: Columns that one evaluation gives to every cell that shares it; next to them, in the notes, `CHANNELS`.
EVALUATED = (
    "accuracy", "loss", "n_test", "correct", "identity_covered", "identity_ratio", "batch", "batch_halved",
)  # fmt: skip
CHANNELS = "channels"


def evaluation_id(cell: Cell, mask: str) -> str:
    """Return the hash of all that an evaluation depends on.

    The draw of a cell without repair has no effect on it and is left out.

    Parameters
    ----------
    cell : Cell
        Its group, repair, draw and precision are used.
    mask : str
        Hash of the mask set; ``dense`` for the dense model.
    """
    repaired = cell.correction.name != "none" or cell.recalibration.name != "none"
    return digest([
        cell.group, mask, cell.correction.identity(), cell.recalibration.identity(), cell.precision,
        [cell.calibration.draw, cell.calibration.images, cell.calibration.batch] if repaired else None,
    ])  # fmt: skip


class Request(NamedTuple):
    """An evaluation that a cell needs: its masks (None for the dense model) and its `evaluation_id`."""

    cell: Cell
    masks: MaskSet | None
    evaluation: str


class Evaluations:
    """The evaluations of a group: cells with equal masks and equal repair share one.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    repair : Repair
        Makes the model of a cell.

    Attributes
    ----------
    deadline : float or None
        Latest value of `time.monotonic` for the evaluation in progress.
    """

    def __init__(self, shared: SharedValues, repair: Repair) -> None:
        self.deadline: float | None = None
        self._shared, self._repair = shared, repair
        self._known: dict[str, Mapping[str, Any]] = {}
        self._evaluators: dict[tuple[str, str], Evaluator] = {}
        self._freed_memory = FreedMemoryTimer()

    def remember(self, row: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Keep the evaluation of a stored row, so that it is not repeated."""
        if row["evaluation"]:
            self._known[row["evaluation"]] = {name: row[name] for name in EVALUATED} | {CHANNELS: notes.get(CHANNELS)}

    def of(self, cell: Cell, masks: MaskSet | None, evaluation: str) -> Mapping[str, Any]:
        """Return the evaluation of that id, made on the test split unless it is known.

        Returns
        -------
        mapping
            The columns `EVALUATED` and, for the notes, `CHANNELS`.
        """
        counters = self._shared.counters
        if evaluation in self._known:
            counters["shared"] += 1
        else:
            self._known[evaluation] = self.evaluate(cell, masks, cell.precision, compare_channels=True)
            counters["evaluations"] += 1
        return self._known[evaluation]

    def evaluate(
        self, cell: Cell, masks: MaskSet | None, precision: str, *, compare_channels: bool = False
    ) -> Mapping[str, Any]:
        """Repair the working model and evaluate it on the test split, whether or not that is known."""
        repaired = self._repair.apply(cell, masks, compare_channels=compare_channels)
        self._shared.counters["forward_passes"] += len(self._shared.dataset.test)
        self._freed_memory.return_if_due()
        result = self._evaluator("test", precision).evaluate(repaired.model, deadline=self.deadline)
        return _columns(result, repaired)

    @property
    def stack(self) -> int:
        """Models that are evaluated at once."""
        settings = self._shared.settings
        return self._evaluator("test", settings.precision).stack if settings.passes == "stacked" else 1

    def can_stack(self, request: Request) -> bool:
        """Whether an evaluation is still to be made and may share a stack: a repair needs passes of its own."""
        repairs = request.cell.correction.name, request.cell.recalibration.name
        return repairs == ("none", "none") and request.evaluation not in self._known

    def make(self, requests: Iterable[Request]) -> None:
        """Make together those evaluations that can be stacked; the others are left to `of`."""
        missing = {request.evaluation: request for request in requests if self.can_stack(request)}
        evaluator = self._evaluator("test", self._shared.settings.precision)
        models = (self._repair.apply(request.cell, request.masks).model for request in missing.values())
        try:
            found = evaluator.evaluate_all(models, self.deadline)
        except (CellError, Deadline):
            return  # every cell makes its evaluation alone, and fails alone
        for evaluation, result in zip(missing, found, strict=True):
            if math.isfinite(result.loss):
                self._known[evaluation] = _columns(result)
                self._shared.counters["evaluations"] += 1
                self._shared.counters["forward_passes"] += result.images

    def search_accuracies(self, cell: Cell, candidates: Iterable[MaskSet]) -> list[float]:
        """Return accuracies on the search split, each mask set under the repair of `cell`."""

        def models() -> Iterator[nn.Module]:
            for masks in candidates:
                repaired = self._repair.apply(cell, masks)
                self._shared.counters["search_evaluations"] += 1
                yield repaired.model

        found = self._evaluator("search", cell.precision).evaluate_all(models(), self.deadline)
        return [result.refuse_not_finite().accuracy for result in found]

    def _evaluator(self, split: str, precision: str) -> Evaluator:
        if (split, precision) not in self._evaluators:
            shared = self._shared
            settings = replace(shared.settings, precision=precision)
            images = {"test": shared.dataset.test, "search": shared.dataset.search}[split]
            self._evaluators[split, precision] = Evaluator(
                shared.dense.model, images, shared.dense.normalisation, settings
            )
        return self._evaluators[split, precision]


def _columns(result: Evaluation, repaired: Repaired | None = None) -> dict[str, Any]:
    """Return the columns `EVALUATED` and `CHANNELS`; a model without repair has none of the latter."""
    return {
        "accuracy": result.accuracy, "loss": result.loss, "n_test": result.images, "correct": result.correct,
        "identity_covered": repaired and repaired.identity_covered,
        "identity_ratio": repaired and repaired.identity_ratio,
        "batch": result.batch, "batch_halved": result.batch_halved, CHANNELS: repaired and repaired.channels,
    }  # fmt: skip
