"""Forecast of time and memory: models are built and timed on noise, and their cells are counted."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from bench.core.errors import CellError, UserError
from bench.core.types import Cell, DataFacts, Group, Settings
from bench.data.dataset import ImageSet
from bench.measure.evaluator import Evaluator
from bench.models.build import build_model, resolve_recipe
from bench.models.train import train
from bench.models.units import find_units
from bench.models.view import ModelView, is_out_of_memory
from bench.run.memory import measure_sizes, memory_stages
from bench.run.open_study import OpenStudy
from bench.study.plan import NO_SEARCH
from bench.study.spec import ModelSpec, Normalisation, Recipe

#: A training step costs about three forward passes: forward, gradient of inputs, gradient of weights.
STEP_COST = 3
#: Training steps are timed on more and more images, until a step takes so many seconds or the batch is reached.
STEP_SECONDS = 0.5
#: At least two sizes are timed, since a step has a fixed cost, unless the first step takes so many seconds.
SINGLE_STEP_SECONDS = 2.0
#: A layer with a larger share of all prunable weights gets a notice.
DOMINANT_SHARE = 0.5


@dataclass(frozen=True)
class TrainingForecast:
    """Forecast of the training of one model.

    Attributes
    ----------
    epochs : int
        Epochs of its recipe.
    epoch_seconds : float
        Time of one epoch, from steps timed on noise.
    memory : int
        Peak in bytes, in addition to the libraries.
    """

    epochs: int
    epoch_seconds: float
    memory: int

    @property
    def seconds(self) -> float:
        """Time of all epochs."""
        return self.epochs * self.epoch_seconds


@dataclass(frozen=True)
class ModelForecast:
    """Forecast of the work on one model.

    Attributes
    ----------
    images_per_second : float
        Inference, timed on one batch.
    memory : mapping
        Stage of the work -> part -> bytes.
    dominant : str or None
        Name of a layer that holds most of the prunable weights.
    training : TrainingForecast or None
        None if the model is given or already trained.
    """

    images_per_second: float
    memory: Mapping[str, Mapping[str, int]]
    dominant: str | None
    training: TrainingForecast | None

    @property
    def largest(self) -> tuple[str, int]:
        """Stage that needs the most memory, and its bytes."""
        return max(((stage, sum(parts.values())) for stage, parts in self.memory.items()), key=lambda found: found[1])


def forecast_model(
    spec: ModelSpec, opened: OpenStudy, facts: DataFacts, cells: Iterable[Cell], *, trained: bool = True
) -> ModelForecast:
    """Build a model, time a batch of inference and a training step on noise, and measure its sizes.

    Parameters
    ----------
    spec : ModelSpec
        Entry of study.yaml.
    opened : OpenStudy
        The study.
    facts : DataFacts
        Sizes of the data set.
    cells : iterable of Cell
        Cells of the model.
    trained : bool
        Whether the next run of the study trains the model; a training step is timed only then.

    Raises
    ------
    UserError
        If a training step fails.
    """
    settings = opened.settings
    model = build_model(spec, opened.registry, facts, seed=0)
    image = (facts.in_chans, *facts.image_size)
    units = find_units(model, "weight", spec.exclude, torch.zeros(1, *image))
    recipe = resolve_recipe(spec, opened.registry) if spec.checkpoint is None else None
    seconds = None
    if recipe is not None and trained:
        time_step = partial(_step_seconds, model, recipe, facts, settings)
        seconds = forecast_epoch(spec.title, time_step, min(recipe.batch, facts.fit), facts.fit)
    sizes = measure_sizes(ModelView(model, units), image, settings, trained=recipe is not None)
    memory = memory_stages(sizes, facts, settings, cells, opened.registry, recipe)
    largest = max(units.layers, key=lambda layer: layer.size)
    dominant = largest.name if largest.size > DOMINANT_SHARE * units.total and len(units.layers) > 1 else None
    training = None
    if recipe is not None and seconds is not None:
        training = TrainingForecast(recipe.epochs, seconds, sum(memory["training"].values()))
    return ModelForecast(_images_per_second(model, facts, settings), memory, dominant, training)


def forecast_epoch(title: str, time_step: Callable[[int], float], batch: int, images: int) -> float:
    """Time training steps on more and more images, and extrapolate to the seconds of an epoch.

    Parameters
    ----------
    title : str
        Name of the model, for messages.
    time_step : callable
        Number of images -> seconds of a training step on them.
    batch : int
        Images in a batch.
    images : int
        Images of an epoch; a last, incomplete batch is dropped.

    Raises
    ------
    UserError
        If a step fails. Memory that runs out after a smaller step has succeeded is no failure.

    Examples
    --------
    Steps of 0.1 s and 0.01 s per image: 9 steps on 100 images each.

    >>> round(forecast_epoch("net", lambda count: 0.1 + 0.01 * count, 100, 950), 6)
    9.9
    """
    count = min(2, batch)
    timed: list[tuple[int, float]] = []
    try:
        while True:
            seconds = time_step(count)
            timed.append((count, seconds))
            if count == batch or seconds >= (STEP_SECONDS if len(timed) > 1 else SINGLE_STEP_SECONDS):
                break
            count = min(batch, 4 * count)
    except CellError as error:
        raise UserError(f"model {title!r}: its training loss on {count} images of noise is NaN or infinite") from error
    except Exception as error:  # a user's network may raise anything
        if not timed or not is_out_of_memory(error):
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            raise UserError(f"model {title!r}: a training step on {count} images fails: {reason}") from error
    return extrapolate(timed, batch) * (images // batch)


def extrapolate(timed: Sequence[tuple[int, float]], images: int) -> float:
    """Return the seconds of a training step, on the line through the last two timed steps.

    Parameters
    ----------
    timed : sequence of (int, float)
        Number of images and seconds of each timed step; the numbers increase. A single step is scaled in proportion.
    images : int
        Images of the step.

    Examples
    --------
    >>> extrapolate([(2, 1.0), (10, 2.0)], 18)
    3.0
    >>> extrapolate([(2, 3.0)], 128)
    192.0
    """
    count, seconds = timed[-1]
    if len(timed) == 1:
        return seconds / count * images
    smaller_count, smaller_seconds = timed[-2]
    return seconds + max(0.0, seconds - smaller_seconds) / (count - smaller_count) * (images - count)


def _step_seconds(model: nn.Module, recipe: Recipe, facts: DataFacts, settings: Settings, count: int) -> float:
    """Return the time of a training step on `count` images of noise: the faster of two, after a warm-up."""
    noise = torch.Generator().manual_seed(0)
    images = ImageSet(
        torch.randint(256, (count, facts.in_chans, *facts.image_size), generator=noise, dtype=torch.uint8),
        torch.randint(facts.num_classes, (count,), generator=noise),
    )
    scale = Normalisation(mean=(0.5,) * facts.in_chans, std=(0.25,) * facts.in_chans)
    steps = recipe.model_copy(update={"epochs": 3, "batch": count, "lr": 1e-9})  # no step can diverge
    ends: list[float] = []
    train(
        copy.deepcopy(model), images, scale, steps, 0, torch.device(settings.device),
        lambda *_: ends.append(time.perf_counter()), settings.memory_format,
    )  # fmt: skip
    return min(ends[1] - ends[0], ends[2] - ends[1])


def _images_per_second(model: nn.Module, facts: DataFacts, settings: Settings) -> float:
    """Return the rate of inference on one batch of noise, after a warm-up."""
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


def group_work(opened: OpenStudy, todo: set[str]) -> dict[str, float]:
    """Return the relative cost of each group, by which the driver orders them; it does not depend on timings.

    Parameters
    ----------
    opened : OpenStudy
        The study.
    todo : set of str
        Ids of the cells to compute.

    Returns
    -------
    dict of str to float
        Group id -> multiply-accumulate operations of its forward passes.
    """
    work = {}
    for group in opened.plan.groups:
        images = _evaluated_images(opened, group, todo)
        if is_trained(opened, group, todo):
            recipe = resolve_recipe(_model(opened, group), opened.registry)
            images += STEP_COST * opened.facts[group.dataset].fit * recipe.epochs
        work[group.id] = float(images * opened.networks[group.dataset, group.model].macs)
    return work


def group_seconds(opened: OpenStudy, group: Group, todo: set[str], forecast: ModelForecast) -> float:
    """Return the forecast time of a group: its training, if any, and its forward passes."""
    training = forecast.training.seconds if forecast.training and is_trained(opened, group, todo) else 0.0
    return training + _evaluated_images(opened, group, todo) / forecast.images_per_second


def _evaluated_images(opened: OpenStudy, group: Group, todo: set[str]) -> int:
    """Return the largest number of images that pass through a group's network after its training."""
    cells = [cell for cell in group.cells if cell.id in todo and not cell.skip]
    facts = opened.facts[group.dataset]
    images = sum(facts.test + cell.calibration.images * _passes(cell) for cell in cells)
    return images + facts.search * sum(search_budgets(cells).values())


def is_trained(opened: OpenStudy, group: Group, todo: set[str]) -> bool:
    """Return whether a run of `todo` trains the group's dense model: it is not given, and no earlier run used it."""
    if _model(opened, group).checkpoint is not None or any(cell.id not in todo for cell in group.cells):
        return False
    return any(not cell.skip for cell in group.cells)


def _model(opened: OpenStudy, group: Group) -> ModelSpec:
    return next(model for model in opened.study.file.models if model.title == group.model)


def search_budgets(cells: list[Cell]) -> dict[Any, int]:
    """Return the budget of every search, in evaluations; the cells of one block share a search."""
    return {
        (c.group, c.calibration, c.granularity, c.scorer.label, c.search.label,
         c.allocation.label if c.allocation else None, c.sparsity):
            c.search.options.get("evaluations", 1)
        for c in cells
        if c.search.name != NO_SEARCH
    }  # fmt: skip


def _passes(cell: Cell) -> int:
    """Return how often a repair passes its calibration images through the network."""
    return int(cell.correction.name != "none") + int(cell.recalibration.name != "none")
