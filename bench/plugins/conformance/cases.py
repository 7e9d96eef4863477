"""What plug-ins are tried on: two small untrained networks on digits, and for searches a function with steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.core.registry import Plugin, Registry
from bench.core.types import Granularity
from bench.data.load import load_dataset
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.build import build_model
from bench.models.counts import keep_count
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, normalise
from bench.study.spec import DataSpec, ModelSpec

#: Networks, each with the granularities at which plug-ins are tried on it.
NETWORKS: tuple[tuple[str, tuple[Granularity, ...]], ...] = (
    ("digits_cnn", ("weight", "channel")), ("digits_vit", ("weight", "channel", "head")),
)  # fmt: skip
SPARSITIES = (0.5, 0.9)
#: Sparsity of the masks that repairs are tried on.
REPAIRED_SPARSITY = 0.8
IMAGES, BATCH = 64, 32
#: Fusion weights and budgets that searches are tried with.
DIMENSIONS, EVALUATIONS = (2, 6), (1, 7, 60, 600)


class BrokenRuleError(Exception):
    """A rule that does not hold; the message describes the violation."""


@dataclass(frozen=True)
class Bench:
    """What a plug-in is tried on.

    Attributes
    ----------
    view : ModelView
        A network at one granularity.
    scores : ScoreMap
        Its magnitudes.
    calibration : Calibration
        A draw.
    sparsity : float or None
        Target sparsity.
    """

    view: ModelView
    scores: ScoreMap
    calibration: Calibration
    sparsity: float | None = None

    def __str__(self) -> str:
        where = f"{type(self.view.model).__name__}, {self.view.granularity}"
        return where if self.sparsity is None else f"{where}, sparsity {self.sparsity}"

    def copy(self) -> Bench:
        """Return a copy for one call, so that no call sees what another one did."""
        return replace(
            self, view=ModelView(copy.deepcopy(self.view.model), self.view.units),
            scores=copy.deepcopy(self.scores), calibration=copy.deepcopy(self.calibration),
        )  # fmt: skip

    def masks(self, sparsity: float) -> MaskSet:
        """Global magnitude masks."""
        units = self.view.units.ranked
        keep = torch.tensor([keep_count(units.total, sparsity)])
        everything = Budget(torch.zeros(units.total, dtype=torch.int64), keep)
        return build_masks(units, keep_order(units, self.scores, self.scores), everything).members(self.view.units)

    def pruned(self) -> nn.Module:
        """Return a copy of the model with the masks of `REPAIRED_SPARSITY`."""
        model = copy.deepcopy(self.view.model)
        apply_masks(model, self.view.units, self.masks(REPAIRED_SPARSITY))
        return model


@dataclass(frozen=True)
class Hill:
    """The objective of a search; `evaluated` keeps the candidates that it was called with."""

    dimensions: int
    evaluations: int
    evaluated: list[NDArray[np.float64]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.dimensions} weights, {self.evaluations} evaluations"

    def copy(self) -> Hill:
        """Return a hill that was not climbed yet."""
        return Hill(self.dimensions, self.evaluations)

    def height(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fall off from 0.3 in every direction, in steps of 1/400: shape ``(n, K)`` to ``(n,)``."""
        if np.shape(candidates)[1:] != (self.dimensions,):
            raise BrokenRuleError(f"asks for an array of shape {np.shape(candidates)}, expected (n, {self.dimensions})")
        self.evaluated.append(np.array(candidates))
        heights: NDArray[np.float64] = np.round(400 * (1 - ((candidates - 0.3) ** 2).mean(axis=1))) / 400
        return heights


def make_benches(registry: Registry) -> list[Bench]:
    """Build the networks that plug-ins are tried on, each at several granularities."""
    benches = []
    dataset = load_dataset(DataSpec(name="digits"), Path())
    for network, granularities in NETWORKS:
        model = build_model(ModelSpec(name=network), registry, dataset, seed=0)
        images = normalise(dataset.calibration.images[:IMAGES], dataset.normalisation, torch.device("cpu"))
        calibration = Calibration(images, dataset.calibration.labels[:IMAGES], BATCH)
        for granularity in granularities:
            view = ModelView(model, find_units(model, granularity, ("head",), images[:2]))
            benches.append(Bench(view, ScoreMap(view.magnitudes()).ranked(view.units), calibration))
    return benches


def takes_budget(plugin: Plugin) -> bool:
    """Whether a search has the option `evaluations`."""
    return "evaluations" in plugin.options_model().model_fields


def make_cases(plugin: Plugin, benches: list[Bench]) -> list[Bench] | list[Hill]:
    """Return what a plug-in is tried on: benches with sparsities, or hills for a search."""
    if plugin.kind == "search":
        # without that option a search has a budget of one, and so its rows say
        budgets = EVALUATIONS if takes_budget(plugin) else (1,)
        return [Hill(dimensions, budget) for dimensions in DIMENSIONS for budget in budgets]
    sparsities: tuple[float | None, ...] = (None,)
    if plugin.kind == "allocation" and not plugin.sets_sparsity:
        sparsities = SPARSITIES
    elif plugin.kind == "scorer" and plugin.takes_sparsity:
        sparsities = (*SPARSITIES, None)  # None where the allocation sets it: an answer or an honest skip
    return [replace(bench, sparsity=sparsity) for bench in benches for sparsity in sparsities]
