"""The search for fusion weights of a feature scorer, on the search split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.core.identity import digest
from bench.core.types import Cell
from bench.masks.select import select_masks
from bench.measure.evaluation import Evaluations, evaluation_id
from bench.measure.scoring import Scoring
from bench.measure.seeds import search_problem, search_seed
from bench.measure.shared import Once, SharedValues
from bench.models.tensors import FeatureMap, MaskSet
from bench.scorers.search.baselines import equal
from bench.scorers.search.fusion import Found
from bench.scorers.search.objective import CandidateAccuracy


class Search:
    """Runs the searches of a group, each once.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    scoring : Scoring
        Computes the features and the budgets of the candidates.
    evaluations : Evaluations
        Evaluates the candidates, and at the end the weights that were found.
    """

    def __init__(self, shared: SharedValues, scoring: Scoring, evaluations: Evaluations) -> None:
        self._shared, self._scoring, self._evaluations = shared, scoring, evaluations
        self._known: dict[str, Mapping[str, Any]] = {}
        self._latest: Once[Mapping[str, Any]] = Once()
        self._candidates: dict[str, dict[str, float]] = {}

    def remember(self, notes: Mapping[str, Any]) -> None:
        """Keep the search of a stored row, given its notes, so that it is not repeated."""
        if "search" in notes:
            self._known[notes["search"]["id"]] = notes["search"]

    def found(self, cell: Cell) -> Mapping[str, Any] | None:
        """Return the outcome of the cell's search, as its row notes it; None for a scorer without features."""
        if cell.search.name == "none":
            return None
        key = digest([*search_problem(cell), cell.search.identity(), cell.precision])
        if key not in self._known:
            self._known[key] = {"id": key, **self._latest.get(key, lambda: self._run(cell))}
        return self._known[key]

    def _run(self, cell: Cell) -> dict[str, Any]:
        """Search on the search split; the test split is used only after the search has ended."""
        assert cell.granularity is not None
        features = self._scoring.raw(cell)
        assert isinstance(features, FeatureMap)
        units = self._shared.units(cell.granularity)
        magnitudes = self._shared.magnitudes(cell.granularity).scores
        options = cell.search.options
        plain = self._with_repair(cell, "none", "none")
        under = self._with_repair(cell, options.get("correction", "none"), options.get("recalibration", "none"))

        def masks_of(weights: Sequence[float]) -> MaskSet:
            scores = features.fuse(weights)
            masks = select_masks(units.ranked, scores, magnitudes, self._scoring.budget(cell, scores))
            return masks.members(units)

        def test_accuracy(weights: Sequence[float]) -> float:
            masks = masks_of(weights)
            return float(self._evaluations.of(plain, masks, evaluation_id(plain, masks.digest()))["accuracy"])

        # other searches of the group may have met the same masks
        known = self._candidates.setdefault(evaluation_id(under, ""), {})
        objective = CandidateAccuracy(masks_of, lambda masks: self._evaluations.search_accuracies(under, masks), known)
        dimensions = len(features.names)
        generator = np.random.default_rng(search_seed(cell))
        ones = (1.0,) * dimensions
        # one weight is a sign: there is nothing to search
        search = self._shared.plugin("search", cell.search.name).function if dimensions > 1 else equal
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
            correction=self._shared.resolve("correction", correction),
            recalibration=self._shared.resolve("recalibration", recalibration),
        )
