"""Summary of a plan, as ``prunebench plan`` shows it: cells, shared work, and the forecast of time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from bench.core.types import Cell, DataFacts, Settings
from bench.models.given import describe_normalisations
from bench.run.driver import Driver, RunOptions
from bench.run.forecast import ModelForecast, forecast_model, group_seconds, is_trained, search_budgets
from bench.run.open_study import OpenStudy, changed_inputs, largest_model, widest_data
from bench.run.progress import duration
from bench.run.scaling import makespan
from bench.run.settings import apply_settings, bfloat16_gain
from bench.store.database import open_store
from bench.store.places import is_begun
from bench.store.tables import NothingRun

#: A smaller gain counts as none.
WORTHWHILE_GAIN = 1.1
#: Numbers of workers for which the time is forecast.
WORKERS = (2, 4, 8, 16, 32, 64, 128)
#: With fewer trained models per setting no verdict is drawn.
FEWEST_MODELS = 6


def summarise_plan(opened: OpenStudy) -> dict[str, Any]:
    """Return the summary of a plan.

    Parameters
    ----------
    opened : OpenStudy
        The study.

    Returns
    -------
    dict
        ``lines`` (title -> text, for people), ``name``, ``cells``, ``todo`` (numbers of cells), ``seconds``, ``memory``
        (bytes), ``bfloat16_gain`` (a factor), ``training`` (a mapping per model that the next run trains),
        ``warnings``, ``networks`` (the layers of every model), ``study`` (resolved) and ``study_hash``.
    """
    plan, study = opened.plan, opened.study
    cells = list(plan.cells())
    todo, states, warnings = _todo(opened)
    apply_settings(opened.settings)
    trainings = Counter((group.dataset, group.model) for group in plan.groups if is_trained(opened, group, todo))
    forecasts = _forecasts(opened, trainings)
    times = [group_seconds(opened, group, todo, forecasts[group.dataset, group.model]) for group in plan.groups]
    seconds = sum(sorted(times, reverse=True))
    stage, memory, parts = _most_memory(forecasts)
    gain = _bfloat16_gain(opened)
    training = [
        {
            "dataset": dataset, "model": model, "models": trainings[dataset, model], "epochs": found.training.epochs,
            "epoch_seconds": found.training.epoch_seconds, "model_seconds": found.training.seconds,
            "memory": found.training.memory,
        }
        for (dataset, model), found in forecasts.items() if found.training is not None
    ]  # fmt: skip
    lines = {
        **_describe_cells(opened, cells, todo, states),
        **_describe_registration(opened),
        "normalisation": describe_normalisations(study),
        **_describe_settings(opened.settings),
        **({"precision": describe_gain(gain)} if gain is not None else {}),
        "training": "; ".join(map(_describe_training, training)) or "nothing: every model is given, or trained already",
        "time, about": f"{duration(seconds)} of training and evaluation (from timed batches of each model)",
        "on more workers": describe_workers(times),
        "memory, about": f"{_mebibytes(memory)} in addition to the libraries, {stage}: "
        + ", ".join(f"{part} {_mebibytes(size)}" for part, size in parts.items()),
    }
    return {
        "name": study.file.name, "study_hash": study.digest(), "lines": lines, "cells": len(cells), "todo": len(todo),
        "seconds": seconds, "memory": memory, "bfloat16_gain": gain, "training": training,
        "warnings": [*opened.notes, *warnings, *_warnings(opened, forecasts)],
        "networks": [
            network.describe(data, model, study.values["granularity"])
            for (data, model), network in opened.networks.items()
        ],
        "study": study.resolved(),
    }  # fmt: skip


def _todo(opened: OpenStudy) -> tuple[set[str], Counter[str], list[str]]:
    """Return the ids of the cells to compute, the other cells by state, and the inputs changed since earlier runs."""
    try:
        store = open_store(opened.study.folder)
    except NothingRun:
        return {cell.id for cell in opened.plan.cells()}, Counter(), []
    with closing(store):
        driver = Driver(opened.plan, opened.registry, opened.settings, store, RunOptions())
        todo = {cell.id for cell in driver.todo()}
        states = store.states()
        warnings = changed_inputs(store, opened)
    known = Counter(states[cell.id] for cell in opened.plan.cells() if cell.id in states and cell.id not in todo)
    return todo, known, warnings


def _forecasts(opened: OpenStudy, trainings: Counter[tuple[str, str]]) -> dict[tuple[str, str], ModelForecast]:
    """Forecast each (data set, model) of the study."""
    cells_of: dict[tuple[str, str], list[Cell]] = {}
    for group in opened.plan.groups:
        cells_of.setdefault((group.dataset, group.model), []).extend(group.cells)
    return {
        (data.title, model.title): forecast_model(
            model, opened, opened.facts[data.title], cells_of[data.title, model.title],
            trained=trainings[data.title, model.title] > 0,
        )
        for data in opened.study.file.data
        for model in opened.study.file.models
    }  # fmt: skip


def _warnings(opened: OpenStudy, forecasts: Mapping[tuple[str, str], ModelForecast]) -> list[str]:
    warnings = [
        f"{title}: the layer {forecast.dominant} holds more than half of all prunable weights"
        for (_, title), forecast in forecasts.items()
        if forecast.dominant
    ]
    file = opened.study.file
    if len(file.train_seeds) < FEWEST_MODELS and any(model.seeded for model in file.models):
        warnings.append(f"fewer than {FEWEST_MODELS} models per setting: every verdict will read 'descriptive only'")
    return warnings


# ---------------------------------------------------------------- lines for people


def _describe_registration(opened: OpenStudy) -> dict[str, str]:
    """Return the registration of a study and the train seeds that follow from it."""
    if opened.record is None:
        return {}
    seeds = dict.fromkeys(group.train_seed for group in opened.plan.groups if group.train_seed is not None)
    found = opened.record
    text = f"{found.sha256[:12]}, number {found.registration.number} of this folder"
    return {"registration": f"{text}; train seeds {', '.join(map(str, seeds)) or 'none: every model is given'}"}


def _describe_cells(opened: OpenStudy, cells: list[Cell], todo: set[str], states: Counter[str]) -> dict[str, str]:
    applicable = [cell for cell in cells if not cell.skip]
    skips = Counter(cell.skip for cell in cells if cell.skip)
    searches = search_budgets(applicable)
    passes = {(c.group, c.calibration, c.granularity, c.scorer.label, c.search.label) for c in applicable}
    excluded = opened.plan.excluded
    return {
        "data": "; ".join(_describe_data(title, facts) for title, facts in opened.facts.items()),
        "cells": f"{len(cells)} in {len(opened.plan.groups)} groups (one dense model each)",
        "already there": ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none",
        "to do": f"{len(todo)}, at most: a mask set evaluated once is shared by all cells that have it",
        "shared work": f"{len(passes)} score passes and as many sorts serve all sparsities",
        "searches": f"{len(searches)} for fusion weights, at most {sum(searches.values())} masked evaluations",
        "skipped": "; ".join(f"{count}: {reason}" for reason, count in skips.items()) or "none known beforehand",
        "excluded": "; ".join(f"{count}: {name}" for name, count in excluded.items()) or "none",
    }


def _describe_settings(settings: Settings) -> dict[str, str]:
    chosen = {name: value for name, value in asdict(settings).items() if name != "measured"}
    return {
        "settings": ", ".join(f"{name} {value}" for name, value in chosen.items()),
        "measured": "; ".join(f"{name}: {speed:g} images/s" for name, speed in settings.measured.items())
        or "nothing: small inputs, or fixed by the study",
    }


def describe_workers(times: Sequence[float]) -> str:
    """Return the forecast time on more workers, up to one worker per group with work.

    Parameters
    ----------
    times : sequence of float
        Seconds of each group.

    Examples
    --------
    >>> describe_workers([60.0, 30.0, 30.0, 0.0])
    '2: 1 min 0 s'
    >>> describe_workers([60.0])
    'no shorter: a group is worked on as a whole'
    """
    ordered = sorted(times, reverse=True)
    busy = sum(1 for seconds in ordered if seconds)
    return (
        ", ".join(f"{n}: {duration(makespan(ordered, n))}" for n in WORKERS if n <= busy)
        or "no shorter: a group is worked on as a whole"
    )


def _describe_data(title: str, facts: DataFacts) -> str:
    height, width = facts.image_size
    return (
        f"{title}: {facts.num_classes} classes, {width}x{height} pixels, {'grey' if facts.in_chans == 1 else 'RGB'}; "
        f"{facts.fit} images to fit, {facts.calibration} for calibration, {facts.search} for search, "
        f"{facts.test} to test"
    )


def _most_memory(forecasts: Mapping[tuple[str, str], ModelForecast]) -> tuple[str, int, Mapping[str, int]]:
    """Return the stage that needs the most memory, its bytes, and the bytes of its parts."""
    (_, title), forecast = max(forecasts.items(), key=lambda item: item[1].largest[1])
    stage, memory = forecast.largest
    return f"{stage} ({title})", memory, forecast.memory[stage]


def _bfloat16_gain(opened: OpenStudy) -> float | None:
    """Return the speed-up by bfloat16; None if a first run has fixed the precision, or bfloat16 is no alternative."""
    if is_begun(opened.study.folder):
        return None
    data = widest_data(opened.facts)
    model = largest_model(opened.study, opened.registry, data)
    return bfloat16_gain(opened.settings, model, (data.in_chans, *data.image_size))


def describe_gain(gain: float) -> str:
    """Return a line on the speed-up by bfloat16.

    Examples
    --------
    >>> describe_gain(0.8)
    'float32; bfloat16 would not be faster'
    """
    if gain < WORTHWHILE_GAIN:
        return "float32; bfloat16 would not be faster"
    return f"float32; bfloat16 would evaluate {gain:.1f} times as fast: write `execution: {{precision: bfloat16}}`"


def _describe_training(training: Mapping[str, Any]) -> str:
    models = f"{training['models']} models" if training["models"] > 1 else "1 model"
    return (
        f"{training['model']} on {training['dataset']}: {_seconds(training['epoch_seconds'])} per epoch, "
        f"{training['epochs']} epochs, "
        f"{_seconds(training['model_seconds'])} per model, {models}, peak memory {_mebibytes(training['memory'])}"
    )


def _seconds(seconds: float) -> str:
    """Format a time span; below 10 s with two digits.

    Examples
    --------
    >>> _seconds(0.0123), _seconds(9.6), _seconds(75)
    ('0.012 s', '9.6 s', '1 min 15 s')
    """
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _mebibytes(size: int) -> str:
    """Format a number of bytes as MiB or GiB.

    Examples
    --------
    >>> _mebibytes(3 * 2**19), _mebibytes(300 * 2**20), _mebibytes(3 * 2**29)
    ('1.5 MiB', '300 MiB', '1.5 GiB')
    """
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.{0 if size >= 10 * 2**20 else 1}f} MiB"
