"""What ``prunebench plan`` prints: cells, work, and a forecast of time and memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from bench.data.dataset import ImageSet
from bench.engines.driver import Driver, RunOptions
from bench.engines.progress import duration
from bench.evaluate import Evaluator
from bench.memory import measure_sizes, memory_stages
from bench.models.build import build_model, resolve_recipe
from bench.models.inventory import take_inventory
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.plan import NO_SEARCH
from bench.scaling import makespan
from bench.session import Session, changes, data_notes, network_notes
from bench.settings import apply_settings
from bench.store.database import NothingRun, open_store
from bench.study import ModelSpec, Normalisation
from bench.types import Cell, DataFacts, Group, Settings

#: A training step costs about three forward passes: forward, gradient of inputs, gradient of weights.
STEP_COST = 3
#: Workers for which the time is forecast.
WORKERS = (2, 4, 8, 16, 32, 64, 128)
#: A layer with more than this share of all prunable weights gets a notice.
DOMINANT_SHARE = 0.5


@dataclass(frozen=True)
class ModelForecast:
    """Measured and derived sizes of one model.

    Attributes
    ----------
    images_per_second : float
        Inference, timed on one batch.
    memory : mapping
        Stage of the work -> part -> bytes.
    dominant : str or None
        A layer that holds most of the prunable weights.
    """

    images_per_second: float
    memory: Mapping[str, Mapping[str, int]]
    dominant: str | None

    @property
    def largest(self) -> tuple[str, int]:
        """The stage that needs the most memory, and how many bytes."""
        return max(((stage, sum(parts.values())) for stage, parts in self.memory.items()), key=lambda found: found[1])


def forecast_model(spec: ModelSpec, session: Session, facts: DataFacts, cells: Iterable[Cell]) -> ModelForecast:
    """Build a model, time one batch of inference and measure what it takes; nothing is trained or pruned."""
    settings = session.settings
    model = build_model(spec, session.registry, facts, seed=0)
    image = (facts.in_chans, *facts.image_size)
    units = find_units(model, "weight", spec.exclude, torch.zeros(1, *image))
    recipe = resolve_recipe(spec, session.registry) if spec.checkpoint is None else None
    sizes = measure_sizes(ModelView(model, units), image, settings)
    memory = memory_stages(sizes, facts, settings, cells, session.registry, recipe)
    largest = max(units.layers, key=lambda layer: layer.size)
    dominant = largest.name if largest.size > DOMINANT_SHARE * units.total and len(units.layers) > 1 else None
    return ModelForecast(_images_per_second(model, facts, settings), memory, dominant)


def _images_per_second(model: nn.Module, facts: DataFacts, settings: Settings) -> float:
    """Time one batch of noise, after one to warm up."""
    noise = torch.Generator().manual_seed(0)
    shape = (min(settings.batch, facts.test), facts.in_chans, *facts.image_size)
    images = torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)
    batch = ImageSet(images, torch.zeros(len(images), dtype=torch.int64))
    scale = Normalisation(mean=(0.5,) * facts.in_chans, std=(0.25,) * facts.in_chans)
    evaluator = Evaluator(model, batch, scale, settings)
    evaluator.evaluate(model)
    start = time.perf_counter()
    evaluator.evaluate(model)
    return len(images) / (time.perf_counter() - start)


def summarise_plan(session: Session) -> dict[str, Any]:
    """Describe a plan.

    Returns
    -------
    dict
        ``lines`` (for people), ``cells``, ``todo``, ``seconds``, ``memory`` (numbers), ``warnings``,
        ``networks`` (the layers of every model), ``study`` (resolved) and ``study_hash``.
    """
    plan, study, settings = session.plan, session.study, session.settings
    cells = list(plan.cells())
    todo, states, warnings = _todo(session)
    warnings.extend(data_notes(session))
    apply_settings(settings)
    of_model: dict[tuple[str, str], list[Cell]] = {}
    for group in plan.groups:
        of_model.setdefault((group.dataset, group.model), []).extend(group.cells)
    forecasts = {
        (data.title, model.title): forecast_model(
            model, session, session.facts[data.title], of_model[data.title, model.title]
        )
        for data in study.file.data
        for model in study.file.models
    }
    times = sorted(
        (_group_images(session, g, todo) / forecasts[g.dataset, g.model].images_per_second for g in plan.groups),
        reverse=True,
    )
    seconds, busy = sum(times), sum(1 for each in times if each)
    stage, memory, largest = _most_memory(forecasts)
    granularities = study.file.granularities
    warnings += network_notes(session)
    for (_, title), forecast in forecasts.items():
        if forecast.dominant:
            warnings.append(f"{title}: the layer {forecast.dominant} holds more than half of all prunable weights")
    if not study.file.train_seeds[5:] and any(model.seeded for model in study.file.models):
        warnings.append("fewer than 6 models per setting: every verdict will read 'descriptive only'")
    skips = Counter(cell.skip for cell in cells if cell.skip)
    searches = _searches([cell for cell in cells if not cell.skip])
    passes = {(c.group, c.calibration, c.granularity, c.scorer.label, c.search.label) for c in cells if not c.skip}
    lines = {
        "data": "; ".join(_describe_data(title, facts) for title, facts in session.facts.items()),
        "cells": f"{len(cells)} in {len(plan.groups)} groups (one dense model each)",
        "already there": ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none",
        "to do": f"{len(todo)}, at most: a mask set evaluated once is shared by all cells that have it",
        "shared work": f"{len(passes)} score passes and as many sorts serve all sparsities",
        "searches": f"{len(searches)} for fusion weights, at most {sum(searches.values())} masked evaluations",
        "skipped": "; ".join(f"{count}: {reason}" for reason, count in skips.items()) or "none known beforehand",
        "excluded": "; ".join(f"{count}: {name}" for name, count in plan.excluded.items()) or "none",
        "settings": ", ".join(f"{name} {value}" for name, value in asdict(settings).items() if name != "measured"),
        "measured": "; ".join(f"{name}: {speed:g} images/s" for name, speed in settings.measured.items())
        or "nothing: small inputs, or fixed by the study",
        "time, about": f"{duration(seconds)} of training and evaluation (from one timed batch of each model)",
        "on more workers": ", ".join(f"{n}: {duration(makespan(times, n))}" for n in WORKERS if n <= busy)
        or "no shorter: a group is worked on as a whole",
        "memory, about": f"{_mib(memory)} beside the libraries, {stage}: "
        + ", ".join(f"{part} {_mib(size)}" for part, size in largest.items()),
    }
    return {
        "name": study.file.name, "study_hash": study.digest(), "lines": lines, "cells": len(cells), "todo": len(todo),
        "seconds": seconds, "memory": memory, "warnings": warnings,
        "networks": [
            {
                "dataset": data, "model": model, "parameters": network.parameters, "macs": network.macs,
                "layers": [dict(layer) for layer in network.layers],
                "summary": {granularity: network.summary(granularity) for granularity in granularities},
                "explanations": network.explanations(granularities),
            }
            for (data, model), network in session.networks.items()
        ],
        "study": study.resolved(),
    }  # fmt: skip


def _describe_data(title: str, facts: DataFacts) -> str:
    height, width = facts.image_size
    return (
        f"{title}: {facts.num_classes} classes, {width}x{height} pixels, {'grey' if facts.in_chans == 1 else 'RGB'}; "
        f"{facts.fit} images to fit, {facts.calibration} for calibration, {facts.search} for search, "
        f"{facts.test} to test"
    )


def _most_memory(forecasts: Mapping[tuple[str, str], ModelForecast]) -> tuple[str, int, Mapping[str, int]]:
    """Return what is done when the most memory is needed, how many bytes, and their parts."""
    (_, title), forecast = max(forecasts.items(), key=lambda item: item[1].largest[1])
    stage, memory = forecast.largest
    return f"{stage} ({title})", memory, forecast.memory[stage]


def _mib(size: int) -> str:
    return f"{size / 2**20:.{0 if size >= 10 * 2**20 else 1}f} MiB"


def _todo(session: Session) -> tuple[set[str], Counter[str], list[str]]:
    """Ids of the cells to do, the states of the others, and what changed since earlier runs."""
    try:
        store = open_store(session.study.folder)
    except NothingRun:
        return {cell.id for cell in session.plan.cells()}, Counter(), []
    with closing(store):
        driver = Driver(session.plan, session.registry, session.settings, store, RunOptions())
        todo = {cell.id for cell in driver.todo()}
        states = store.states()
        warnings = changes(store, session)
    known = Counter(states[cell.id] for cell in session.plan.cells() if cell.id in states and cell.id not in todo)
    return todo, known, warnings


def group_work(session: Session, todo: set[str]) -> dict[str, float]:
    """Forecast what the groups cost beside each other, the same whenever it is asked: their MACs.

    Parameters
    ----------
    session : Session
        The study.
    todo : set of str
        Ids of the cells to compute.

    Returns
    -------
    dict of str to float
        Group id -> multiply-accumulate operations of its forward passes.
    """
    macs: dict[tuple[str, str], int] = {}
    for group in session.plan.groups:
        key = group.dataset, group.model
        if key not in macs:
            facts = session.facts[group.dataset]
            spec = next(m for m in session.study.file.models if m.title == group.model)
            model = build_model(spec, session.registry, facts, seed=0)
            macs[key] = take_inventory(model, torch.zeros(1, facts.in_chans, *facts.image_size)).macs
    return {g.id: float(_group_images(session, g, todo) * macs[g.dataset, g.model]) for g in session.plan.groups}


def _group_images(session: Session, group: Group, todo: set[str]) -> int:
    """Images that pass through a group's network, at most; a training step counts as `STEP_COST` passes."""
    cells = [cell for cell in group.cells if cell.id in todo and not cell.skip]
    if not cells:
        return 0
    facts = session.facts[group.dataset]
    images = sum(facts.test + cell.calibration.images * _passes(cell) for cell in cells)
    images += facts.search * sum(_searches(cells).values())
    model = next(m for m in session.study.file.models if m.title == group.model)
    trained = model.checkpoint is not None or any(c.id not in todo for c in group.cells)
    if not trained:
        images += STEP_COST * facts.fit * resolve_recipe(model, session.registry).epochs
    return images


def _searches(cells: list[Cell]) -> dict[Any, int]:
    """Budget of every search, in evaluations; the cells of one block share it."""
    return {
        (c.group, c.calibration, c.granularity, c.scorer.label, c.search.label,
         c.allocation.label if c.allocation else None, c.sparsity):
            c.search.options.get("evaluations", 1)
        for c in cells
        if c.search.name != NO_SEARCH
    }  # fmt: skip


def _passes(cell: Cell) -> int:
    return int(cell.correction.name != "none") + int(cell.recalibration.name != "none")
