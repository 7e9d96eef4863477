"""What ``prunebench plan`` prints: cells, work, and a forecast of time and memory."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from bench.core.errors import CellError, UserError
from bench.core.types import Cell, DataFacts, Group, Settings
from bench.data.dataset import ImageSet
from bench.measure.evaluation import Evaluator
from bench.models.build import build_model, resolve_recipe
from bench.models.given import describe_normalisations
from bench.models.train import train
from bench.models.units import find_units
from bench.models.view import ModelView, is_out_of_memory
from bench.run.driver import Driver, RunOptions
from bench.run.memory import measure_sizes, memory_stages
from bench.run.open_study import Session, changes, largest_model, widest_data
from bench.run.progress import duration
from bench.run.scaling import makespan
from bench.run.settings import apply_settings, bfloat16_gain
from bench.store.database import open_store
from bench.store.places import is_begun
from bench.store.tables import NothingRun
from bench.study.plan import NO_SEARCH
from bench.study.spec import ModelSpec, Normalisation, Recipe

#: A training step costs about three forward passes: forward, gradient of inputs, gradient of weights.
STEP_COST = 3
#: Training steps are timed on more and more images until one takes so long, in seconds, or the batch is reached: two
#: sizes at least, since a step has a cost of its own, unless the first takes longer than the second value.
STEP_SECONDS, SINGLE_STEP_SECONDS = 0.5, 2.0
#: A smaller gain than this is called none.
WORTHWHILE = 1.1
#: Workers for which the time is forecast.
WORKERS = (2, 4, 8, 16, 32, 64, 128)
#: A layer with more than this share of all prunable weights gets a notice.
DOMINANT_SHARE = 0.5


@dataclass(frozen=True)
class TrainingForecast:
    """What training one model takes.

    Attributes
    ----------
    epochs : int
        Of its recipe.
    epoch_seconds : float
        Time of one epoch, from a timed step on noise.
    memory : int
        Bytes at the peak, in addition to the libraries.
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
    """Measured and derived sizes of one model.

    Attributes
    ----------
    images_per_second : float
        Inference, timed on one batch.
    memory : mapping
        Stage of the work -> part -> bytes.
    dominant : str or None
        A layer that holds most of the prunable weights.
    training : TrainingForecast or None
        None where the model is given, or trained already.
    """

    images_per_second: float
    memory: Mapping[str, Mapping[str, int]]
    dominant: str | None
    training: TrainingForecast | None

    @property
    def largest(self) -> tuple[str, int]:
        """The stage that needs the most memory, and how many bytes."""
        return max(((stage, sum(parts.values())) for stage, parts in self.memory.items()), key=lambda found: found[1])


def forecast_model(
    spec: ModelSpec, session: Session, facts: DataFacts, cells: Iterable[Cell], trained: bool = True
) -> ModelForecast:
    """Build a model, time one batch of inference and a training step on noise, and measure its sizes.

    Parameters
    ----------
    spec : ModelSpec
        Entry of study.yaml.
    session : Session
        The study.
    facts : DataFacts
        The data set's.
    cells : iterable of Cell
        The model's cells.
    trained : bool
        Whether the study's next run trains it; only then is a training step timed.

    Raises
    ------
    UserError
        If a training step fails.
    """
    settings = session.settings
    model = build_model(spec, session.registry, facts, seed=0)
    image = (facts.in_chans, *facts.image_size)
    units = find_units(model, "weight", spec.exclude, torch.zeros(1, *image))
    recipe = resolve_recipe(spec, session.registry) if spec.checkpoint is None else None
    seconds = _epoch_seconds(spec.title, model, recipe, facts, settings) if recipe is not None and trained else None
    sizes = measure_sizes(ModelView(model, units), image, settings, trained=recipe is not None)
    memory = memory_stages(sizes, facts, settings, cells, session.registry, recipe)
    largest = max(units.layers, key=lambda layer: layer.size)
    dominant = largest.name if largest.size > DOMINANT_SHARE * units.total and len(units.layers) > 1 else None
    training = None
    if recipe is not None and seconds is not None:
        training = TrainingForecast(recipe.epochs, seconds, sum(memory["training"].values()))
    return ModelForecast(_images_per_second(model, facts, settings), memory, dominant, training)


def _epoch_seconds(title: str, model: nn.Module, recipe: Recipe, facts: DataFacts, settings: Settings) -> float:
    """Time a training step on noise and return the seconds of an epoch."""
    batch = min(recipe.batch, facts.fit)
    count = min(2, batch)
    timed: list[tuple[int, float]] = []
    try:
        while True:
            seconds = _step_seconds(model, recipe, facts, settings, count)
            timed.append((count, seconds))
            if count == batch or seconds >= (STEP_SECONDS if len(timed) > 1 else SINGLE_STEP_SECONDS):
                break
            count = min(batch, 4 * count)
    except CellError as error:
        raise UserError(f"model {title!r}: its training loss on {count} images of noise is NaN or infinite") from error
    except Exception as error:  # a user's network may raise anything
        if not timed or not is_out_of_memory(error):  # what was timed before is extrapolated
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            raise UserError(f"model {title!r}: a training step on {count} images fails: {reason}") from error
    return _extrapolate(timed, batch) * (facts.fit // batch)


def _extrapolate(timed: Sequence[tuple[int, float]], images: int) -> float:
    """Return the seconds of a step on so many images, by the line through the last two timed steps.

    Examples
    --------
    >>> _extrapolate([(2, 1.0), (10, 2.0)], 18)
    3.0
    >>> _extrapolate([(2, 3.0)], 128)
    192.0
    """
    count, seconds = timed[-1]
    if len(timed) == 1:
        return seconds / count * images
    before, less = timed[-2]
    return seconds + max(0.0, seconds - less) / (count - before) * (images - count)


def _step_seconds(model: nn.Module, recipe: Recipe, facts: DataFacts, settings: Settings, count: int) -> float:
    """Time training steps on `count` images of noise, after one to warm up; the faster of two counts."""
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
        ``lines`` (for people), ``cells``, ``todo``, ``seconds``, ``memory``, ``bfloat16_gain`` (numbers), ``training``
        (a mapping per model that is to be trained), ``warnings``, ``networks`` (the layers of every model), ``study``
        (resolved) and ``study_hash``.
    """
    plan, study, settings = session.plan, session.study, session.settings
    cells = list(plan.cells())
    todo, states, warnings = _todo(session)
    warnings = [*session.notes, *warnings]
    apply_settings(settings)
    of_model: dict[tuple[str, str], list[Cell]] = {}
    trainings: Counter[tuple[str, str]] = Counter()
    for group in plan.groups:
        of_model.setdefault((group.dataset, group.model), []).extend(group.cells)
        trainings[group.dataset, group.model] += _is_trained(session, group, todo)
    forecasts = {
        (data.title, model.title): forecast_model(
            model, session, session.facts[data.title], of_model[data.title, model.title],
            trained=trainings[data.title, model.title] > 0,
        )
        for data in study.file.data
        for model in study.file.models
    }  # fmt: skip
    times = sorted((_group_seconds(session, g, todo, forecasts[g.dataset, g.model]) for g in plan.groups), reverse=True)
    seconds, busy = sum(times), sum(1 for each in times if each)
    stage, memory, largest = _most_memory(forecasts)
    for (_, title), forecast in forecasts.items():
        if forecast.dominant:
            warnings.append(f"{title}: the layer {forecast.dominant} holds more than half of all prunable weights")
    if not study.file.train_seeds[5:] and any(model.seeded for model in study.file.models):
        warnings.append("fewer than 6 models per setting: every verdict will read 'descriptive only'")
    skips = Counter(cell.skip for cell in cells if cell.skip)
    searches = _searches([cell for cell in cells if not cell.skip])
    passes = {(c.group, c.calibration, c.granularity, c.scorer.label, c.search.label) for c in cells if not c.skip}
    gain = _bfloat16_gain(session)
    training = [
        {
            "dataset": dataset, "model": model, "models": trainings[dataset, model], "epochs": found.training.epochs,
            "epoch_seconds": found.training.epoch_seconds, "model_seconds": found.training.seconds,
            "memory": found.training.memory,
        }
        for (dataset, model), found in forecasts.items() if found.training is not None
    ]  # fmt: skip
    lines = {
        "data": "; ".join(_describe_data(title, facts) for title, facts in session.facts.items()),
        "cells": f"{len(cells)} in {len(plan.groups)} groups (one dense model each)",
        "already there": ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none",
        "to do": f"{len(todo)}, at most: a mask set evaluated once is shared by all cells that have it",
        "shared work": f"{len(passes)} score passes and as many sorts serve all sparsities",
        "searches": f"{len(searches)} for fusion weights, at most {sum(searches.values())} masked evaluations",
        "skipped": "; ".join(f"{count}: {reason}" for reason, count in skips.items()) or "none known beforehand",
        "excluded": "; ".join(f"{count}: {name}" for name, count in plan.excluded.items()) or "none",
        "normalisation": describe_normalisations(study),
        "settings": ", ".join(f"{name} {value}" for name, value in asdict(settings).items() if name != "measured"),
        "measured": "; ".join(f"{name}: {speed:g} images/s" for name, speed in settings.measured.items())
        or "nothing: small inputs, or fixed by the study",
        **({"precision": _gain_line(gain)} if gain is not None else {}),
        "training": "; ".join(_training_line(one) for one in training)
        or "nothing: every model is given, or trained already",
        "time, about": f"{duration(seconds)} of training and evaluation (from timed batches of each model)",
        "on more workers": ", ".join(f"{n}: {duration(makespan(times, n))}" for n in WORKERS if n <= busy)
        or "no shorter: a group is worked on as a whole",
        "memory, about": f"{_mib(memory)} in addition to the libraries, {stage}: "
        + ", ".join(f"{part} {_mib(size)}" for part, size in largest.items()),
    }
    return {
        "name": study.file.name, "study_hash": study.digest(), "lines": lines, "cells": len(cells), "todo": len(todo),
        "seconds": seconds, "memory": memory, "bfloat16_gain": gain, "training": training, "warnings": warnings,
        "networks": [
            network.describe(data, model, study.values["granularity"])
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


def _bfloat16_gain(session: Session) -> float | None:
    """Time bfloat16 against float32 as long as the study's precision is not fixed by a first run."""
    if is_begun(session.study.folder):
        return None
    data = widest_data(session.facts)
    model = largest_model(session.study, session.registry, data)
    return bfloat16_gain(session.settings, model, (data.in_chans, *data.image_size))


def _gain_line(gain: float) -> str:
    if gain < WORTHWHILE:
        return "float32; bfloat16 would not be faster"
    return f"float32; bfloat16 would evaluate {gain:.1f} times as fast: write `execution: {{precision: bfloat16}}`"


def _training_line(one: Mapping[str, Any]) -> str:
    models = f"{one['models']} models" if one["models"] > 1 else "1 model"
    return (
        f"{one['model']} on {one['dataset']}: {_short(one['epoch_seconds'])} per epoch, {one['epochs']} epochs, "
        f"{_short(one['model_seconds'])} per model, {models}, peak memory {_mib(one['memory'])}"
    )


def _short(seconds: float) -> str:
    """Write a time span, two digits of it where it is short.

    Examples
    --------
    >>> _short(0.0123), _short(9.6), _short(75)
    ('0.012 s', '9.6 s', '1 min 15 s')
    """
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _mib(size: int) -> str:
    """Write a size of memory.

    Examples
    --------
    >>> _mib(3 * 2**19), _mib(300 * 2**20), _mib(3 * 2**29)
    ('1.5 MiB', '300 MiB', '1.5 GiB')
    """
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
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
    work = {}
    for group in session.plan.groups:
        images = _evaluated_images(session, group, todo)
        if _is_trained(session, group, todo):
            recipe = resolve_recipe(_model(session, group), session.registry)
            images += STEP_COST * session.facts[group.dataset].fit * recipe.epochs
        work[group.id] = float(images * session.networks[group.dataset, group.model].macs)
    return work


def _group_seconds(session: Session, group: Group, todo: set[str], forecast: ModelForecast) -> float:
    """Forecast the time of a group: its training, if any, and its forward passes."""
    training = forecast.training.seconds if forecast.training and _is_trained(session, group, todo) else 0.0
    return training + _evaluated_images(session, group, todo) / forecast.images_per_second


def _evaluated_images(session: Session, group: Group, todo: set[str]) -> int:
    """Images that pass through a group's network once it is trained, at most."""
    cells = [cell for cell in group.cells if cell.id in todo and not cell.skip]
    facts = session.facts[group.dataset]
    images = sum(facts.test + cell.calibration.images * _passes(cell) for cell in cells)
    return images + facts.search * sum(_searches(cells).values())


def _is_trained(session: Session, group: Group, todo: set[str]) -> bool:
    """Whether a run of `todo` trains the group's dense model: it is not given, and no earlier run has used it."""
    if _model(session, group).checkpoint is not None or any(cell.id not in todo for cell in group.cells):
        return False
    return any(not cell.skip for cell in group.cells)


def _model(session: Session, group: Group) -> ModelSpec:
    return next(model for model in session.study.file.models if model.title == group.model)


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
