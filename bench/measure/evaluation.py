"""The evaluations of a group: cells with equal masks and equal repair share one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from bench.core.freed_memory import FreedMemoryTimer
from bench.core.identity import digest
from bench.core.types import Cell
from bench.measure.evaluator import STACKED_MODELS, Evaluation, Evaluator, is_small
from bench.measure.repair import Repair, Repaired
from bench.measure.shared import SharedValues
from bench.models.tensors import MaskSet

#: Columns that one evaluation gives to every cell that shares it; next to them, in the notes, `CHANNELS`.
EVALUATED = (
    "accuracy", "loss", "n_test", "correct", "identity_covered", "identity_ratio", "batch", "batch_halved",
)  # fmt: skip
CHANNELS = "channels"
_LOG = logging.getLogger(__name__)


def is_repaired(cell: Cell) -> bool:
    """Whether a cell has a correction or a recalibration."""
    return cell.correction.name != "none" or cell.recalibration.name != "none"


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
    return digest([
        cell.group, mask, cell.correction.identity(), cell.recalibration.identity(), cell.precision,
        [cell.calibration.draw, cell.calibration.images, cell.calibration.batch] if is_repaired(cell) else None,
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
        self._unused: set[str] = set()  # evaluations made in a stack whose first cell is still to come
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
            counters["shared"] += evaluation not in self._unused
            self._unused.discard(evaluation)
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
        evaluator = self._evaluator("test", precision)
        if is_repaired(cell):
            result = evaluator.evaluate(repaired.model, self.deadline)
        else:  # as in a sweep, with the arithmetic of a stack
            result = evaluator.evaluate_all([repaired.model], self.deadline)[0].refuse_not_finite()
        return _columns(result, repaired)

    @property
    def stack(self) -> int:
        """Models that are evaluated at once."""
        settings = self._shared.settings
        evaluator = self._evaluators.get(("test", settings.precision))
        if evaluator is not None:
            return evaluator.stack
        return STACKED_MODELS if settings.passes == "stacked" and is_small(self._shared.dense.model) else 1

    def can_stack(self, request: Request) -> bool:
        """Whether an evaluation is still to be made and may share a stack: a repair needs passes of its own."""
        return not is_repaired(request.cell) and request.evaluation not in self._known

    def evaluate_stacked(self, requests: Iterable[Request]) -> set[str]:
        """Make together those evaluations that can be stacked; the others are left to `of`.

        Returns
        -------
        set of str
            Ids of the evaluations that were made.
        """
        missing = {request.evaluation: request for request in requests if self.can_stack(request)}
        self._freed_memory.return_if_due()
        try:
            evaluator = self._evaluator("test", self._shared.settings.precision)
            models = (self._repair.apply(request.cell, request.masks).model for request in missing.values())
            found = evaluator.evaluate_all(models, self.deadline)
        except (Exception, SystemExit) as error:  # every cell makes its evaluation alone, and fails alone
            _LOG.debug("evaluated one by one: %s", error)
            return set()
        made = {evaluation: r for evaluation, r in zip(missing, found, strict=True) if math.isfinite(r.loss)}
        for evaluation, result in made.items():
            self._known[evaluation] = _columns(result)
            self._shared.counters["evaluations"] += 1
            self._shared.counters["forward_passes"] += result.images
        self._unused |= made.keys()
        return set(made)

    def search_accuracies(self, cell: Cell, candidates: Iterable[MaskSet]) -> list[float]:
        """Return accuracies on the search split, each mask set under the repair of `cell`."""
        self._freed_memory.return_if_due()

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
