from __future__ import annotations

import numpy as np
import torch

from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.scorers.search.objective import CandidateAccuracy

UNITS = UnitSpace("channel", (PrunableLayer("conv", (3, 1, 1, 1), (3,)),))


def test_equal_masks_are_evaluated_once_within_and_between_batches():
    seen: list[list[bool]] = []

    def masks_of(weights):
        return MaskSet(UNITS, {"conv": torch.tensor(weights) > 0})

    def evaluate(masks):
        found = []
        for mask in masks:
            seen.append(mask["conv"].tolist())
            found.append(mask.kept / 3)
        return found

    objective = CandidateAccuracy(masks_of, evaluate, {})
    first = objective(np.array([[1.0, -1, -1], [0.2, -0.3, -0.1], [1.0, 1, 1]]))
    second = objective(np.array([[0.5, 0.5, 0.5], [-1.0, -1, -1]]))
    np.testing.assert_allclose(first, [1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(second, [1, 0])
    assert seen == [[True, False, False], [True, True, True], [False, False, False]]
    assert objective.masks == 3


def test_masks_are_made_one_at_a_time():
    """A large network's candidates are never all in memory."""
    events: list[str] = []

    def masks_of(weights):
        events.append("made")
        return MaskSet(UNITS, {"conv": torch.tensor(weights) > 0})

    def evaluate(masks):
        return [events.append("read") or 0.5 for _ in masks]

    CandidateAccuracy(masks_of, evaluate, {})(np.array([[1.0, 1, 1], [-1.0, 1, 1]]))
    assert events == ["made", "read", "made", "read"]


def test_what_another_search_evaluated_is_known():
    units = {"conv": torch.tensor([True, True, True])}
    known = {MaskSet(UNITS, units).digest(): 0.25}
    objective = CandidateAccuracy(lambda _: MaskSet(UNITS, units), lambda masks: [1 / 0 for _ in masks], known)
    assert objective(np.array([[1.0, 1, 1]])).tolist() == [0.25]
    assert objective.masks == 1
