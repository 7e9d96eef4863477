"""Execution settings of a study: chosen and stored at its first run, and reused by every later run."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.freed_memory import keep_freed_memory, return_freed_memory
from bench.core.types import Settings
from bench.data.dataset import ImageSet
from bench.measure.evaluator import PRECISIONS, STACKED_MODELS, Evaluator, is_small, prepare_network
from bench.models.view import MEMORY_FORMATS, is_out_of_memory
from bench.study.spec import STUDY_FILE, Execution, Normalisation

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

#: Inputs with at least so many pixels a side may gain from bfloat16 and channels-last; the 8x8 digits do not.
LARGE_INPUT = 32
#: Candidates, the default first: convolutions gain from channels-last, and attention loses nothing by it.
PRECISION_CANDIDATES = ("float32", "bfloat16")
MEMORY_FORMAT_CANDIDATES = ("channels_last", "contiguous")
BATCH_CANDIDATES = {"cpu": (128, 32, 512), "cuda": (1024, 256, 4096)}
#: Batch for inputs below `LARGE_INPUT`.
SMALL_INPUT_BATCH = {"cpu": 512, "cuda": 1024}
#: The default is left only for a candidate that is so many times as fast, more than the noise of timing.
CLEAR_SPEEDUP = 1.3
#: Timed passes per candidate, of which the fastest counts.
ROUNDS = 3
#: Approximate duration of a timed pass, in seconds.
PASS_SECONDS = 0.1


def choose_settings(
    execution: Execution, device: str, image_size: int, largest: Callable[[], tuple[nn.Module, int]],
    *, fast_bfloat16: bool | None = None, clock: Callable[[], float] | None = None,
) -> Settings:  # fmt: skip
    """Choose the settings that the study leaves to ``auto``.

    Small inputs run in float32, contiguous, on one thread: their operations are too short to be divided, so that two
    threads take 1.8 times as long for a digits study. For large inputs forward passes on noise are timed; float32,
    channels-last and the default batch are left only for a speed-up of `CLEAR_SPEEDUP`. On a GPU the ways to call the
    network are timed, too, whatever the size of the inputs; on a CPU stacked weights are slower (docs/SPEED.md).

    Parameters
    ----------
    execution : Execution
        Requests of the study.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    image_size : int
        Side of the largest input in pixels.
    largest : callable
        Builds the study's largest model and returns it with its input channels; called only if something is timed.
    fast_bfloat16 : bool, optional
        Whether the hardware multiplies bfloat16 natively; found out by default (`has_fast_bfloat16`).
    clock : callable, optional
        Returns the time in seconds; by default the processor time on a CPU, the wall time on a GPU.

    Raises
    ------
    UserError
        If CUDA is requested and not available.
    """
    chosen = choose_device(device)
    large = image_size >= LARGE_INPUT
    threads = execution.threads
    settings = Settings(
        precision="float32" if execution.precision == "auto" else execution.precision,
        memory_format=("channels_last" if large else "contiguous")
        if execution.memory_format == "auto" else execution.memory_format,
        batch=(BATCH_CANDIDATES[chosen][0] if large else SMALL_INPUT_BATCH[chosen])
        if execution.batch == "auto" else execution.batch,
        device=chosen,
        device_class=device_class(chosen),
        threads=(torch.get_num_threads() if large else 1) if threads == "auto" else threads,
        passes="single" if execution.passes == "auto" else execution.passes,
    )  # fmt: skip
    if settings.passes == "graph" and chosen == "cpu":
        raise UserError(f"{STUDY_FILE}: execution.passes: graph needs a GPU; write single or auto")
    timed = large and "auto" in (execution.precision, execution.memory_format, execution.batch)
    passes_timed = chosen == "cuda" and execution.passes == "auto"
    if not timed and not passes_timed:
        return settings
    apply_settings(settings)
    model, channels = largest()
    shape = channels, image_size, image_size
    if timed:
        if fast_bfloat16 is None:
            fast_bfloat16 = has_fast_bfloat16(chosen)
        settings = _fastest(settings, execution, Stopwatch(model, shape, clock), fast_bfloat16=fast_bfloat16)
    if passes_timed:
        speeds = passes_speeds(settings, model, shape, clock)
        measured = {f"{passes} passes": round(speed, 1) for passes, speed in speeds.items()}
        settings = replace(settings, passes=clearly_fastest(speeds), measured={**settings.measured, **measured})
    return_freed_memory()
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # workers on the same GPU need it
    return settings


def _fastest(settings: Settings, execution: Execution, stopwatch: Stopwatch, *, fast_bfloat16: bool) -> Settings:
    """Choose what is ``auto`` by time. The candidates of one comparison take turns, so that all meet the same load."""
    precisions: tuple[str, ...] = (settings.precision,)
    formats: tuple[str, ...] = (settings.memory_format,)
    if execution.precision == "auto" and fast_bfloat16:
        precisions = PRECISION_CANDIDATES
    if execution.memory_format == "auto":
        formats = MEMORY_FORMAT_CANDIDATES
    pairs = list(itertools.product(precisions, formats))
    batch = stopwatch.images_of_a_pass(settings)
    speeds = stopwatch.speeds([replace(settings, precision=p, memory_format=f, batch=batch) for p, f in pairs])
    speed_of = dict(zip(pairs, speeds, strict=True))
    measured = {f"{p}, {f}, batch {batch}": speed for (p, f), speed in speed_of.items()}
    precision = clearly_fastest({p: max(speed_of[p, f] for f in formats) for p in precisions})
    memory_format = clearly_fastest({f: speed_of[precision, f] for f in formats})
    settings = replace(settings, precision=precision, memory_format=memory_format)
    if execution.batch == "auto" and batch == settings.batch:  # a slower model gains nothing from larger batches
        batches = BATCH_CANDIDATES[settings.device]
        speeds = stopwatch.speeds([replace(settings, batch=batch) for batch in batches])
        speed_of_batch = dict(zip(batches, speeds, strict=True))
        measured |= {f"{precision}, {memory_format}, batch {batch}": speed for batch, speed in speed_of_batch.items()}
        settings = replace(settings, batch=clearly_fastest(speed_of_batch))
    return replace(settings, measured={name: round(speed, 1) for name, speed in measured.items()})


def bfloat16_gain(
    settings: Settings, model: nn.Module, shape: tuple[int, int, int],
    *, fast_bfloat16: bool | None = None, clock: Callable[[], float] | None = None,
) -> float | None:  # fmt: skip
    """Return how many times as fast forward passes of a model are in bfloat16 as in float32.

    Parameters
    ----------
    settings : Settings
        Device, memory format, and the largest batch that is timed.
    model : nn.Module
        The study's largest.
    shape : tuple of int
        Channels, height and width of its inputs.
    fast_bfloat16, clock
        As for `choose_settings`.

    Returns
    -------
    float or None
        None if bfloat16 is no alternative: the study runs in it, the hardware emulates it, inputs are below
        `LARGE_INPUT` pixels, or memory does not suffice.
    """
    if settings.precision != "float32" or max(shape[1:]) < LARGE_INPUT:
        return None
    if not (has_fast_bfloat16(settings.device) if fast_bfloat16 is None else fast_bfloat16):
        return None
    stopwatch = Stopwatch(model, shape, clock)
    default = replace(settings, batch=stopwatch.images_of_a_pass(settings))
    float32, bfloat16 = stopwatch.speeds([default, replace(default, precision="bfloat16")])
    return bfloat16 / float32 if float32 and bfloat16 else None


def passes_speeds(
    settings: Settings, model: nn.Module, shape: tuple[int, int, int],
    clock: Callable[[], float] | None = None, candidates: Sequence[str] = ("single", "graph", "stacked"),
) -> dict[str, float]:  # fmt: skip
    """Return the images per second of evaluations, per way to call the network; 0 where that fails.

    Parameters
    ----------
    settings : Settings
        Device, precision, memory format and batch.
    model : nn.Module
        The study's largest; its weights are only stacked if it is small (`bench.measure.evaluator.is_small`).
    shape : tuple of int
        Channels, height and width of its inputs.
    clock : callable, optional
        As for `choose_settings`.
    candidates : sequence of str
        Values of `Settings.passes`, the default first.
    """
    clock = clock or (time.process_time if settings.device == "cpu" else time.perf_counter)
    images = torch.randint(256, (settings.batch, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = ImageSet(images, torch.zeros(len(images), dtype=torch.int64))
    scale = Normalisation(mean=(0.5,) * shape[0], std=(0.25,) * shape[0])
    speeds = {}
    for passes in candidates:
        if passes == "stacked" and not is_small(model):
            continue
        models, seconds = [model] * STACKED_MODELS, math.inf
        try:
            evaluator = Evaluator(model, split, scale, replace(settings, passes=passes))
            for round_number in range(1 + ROUNDS):  # the first is a warm-up; reading the results waits for the device
                start = clock()
                evaluator.evaluate_all(models)
                seconds = min(seconds, clock() - start) if round_number else math.inf
        except Exception as error:  # what cannot be timed is not used
            if passes == candidates[0]:
                raise
            _LOG.warning("%s passes are not used: %s", passes, error)
            seconds = math.inf
        speeds[passes] = len(models) * len(images) / seconds
    return speeds


def clearly_fastest(speeds: Mapping[T, float]) -> T:
    """Return the fastest key if it is `CLEAR_SPEEDUP` times as fast as the first, else the first.

    Examples
    --------
    >>> clearly_fastest({"float32": 100.0, "bfloat16": 129.0}), clearly_fastest({"float32": 100.0, "bfloat16": 131.0})
    ('float32', 'bfloat16')
    """
    first, fastest = next(iter(speeds)), max(speeds, key=lambda key: speeds[key])
    return fastest if speeds[fastest] >= CLEAR_SPEEDUP * speeds[first] else first


class Stopwatch:
    """Times forward passes of a model on noise.

    Parameters
    ----------
    model : nn.Module
        Copied for each candidate.
    shape : tuple of int
        Channels, height and width of its inputs.
    clock : callable, optional
        Returns the time in seconds. By default the processor time of all threads on a CPU, which other processes
        hardly change, and the wall time on a GPU.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], clock: Callable[[], float] | None = None) -> None:
        self._model, self._shape, self._clock = model, shape, clock

    def images_of_a_pass(self, settings: Settings) -> int:
        """Return how many images take about `PASS_SECONDS`, at most the batch of the settings."""
        images = 1
        while images < settings.batch:
            (speed,) = self.speeds([replace(settings, batch=images)])
            if not speed:
                return max(1, images // 4)
            if images / speed >= PASS_SECONDS:
                break
            images = min(settings.batch, 4 * images)
        return images

    @torch.inference_mode()
    def speeds(self, candidates: Sequence[Settings]) -> list[float]:
        """Return the images per second of one batch, per candidate; 0 if memory does not suffice."""
        clock = self._clock or (time.process_time if candidates[0].device == "cpu" else time.perf_counter)
        best = [math.inf] * len(candidates)
        prepared: dict[int, tuple[nn.Module, Tensor]] = {}
        too_large = set()
        for round_number in range(1 + ROUNDS):  # the first is a warm-up
            for number, candidate in enumerate(candidates):
                if number in too_large:
                    continue
                try:
                    if round_number == 0:
                        prepared[number] = prepare_network(self._model, candidate), self._noise(candidate)
                    network, images = prepared[number]
                    start = clock()
                    network(images)
                    synchronise(images.device)
                    seconds = clock() - start
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    too_large.add(number)
                    prepared.pop(number, None)
                    best[number] = math.inf
                    continue
                if round_number > 0:
                    best[number] = min(best[number], seconds)
        return [candidate.batch / seconds for candidate, seconds in zip(candidates, best, strict=True)]

    def _noise(self, settings: Settings) -> Tensor:
        images = torch.randn(settings.batch, *self._shape, generator=torch.Generator().manual_seed(0))
        return images.to(
            settings.device, PRECISIONS[settings.precision], memory_format=MEMORY_FORMATS[settings.memory_format]
        )


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def apply_settings(settings: Settings) -> None:
    """Set the number of threads and the use of memory; on a GPU, disable TF32 and make convolutions deterministic."""
    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_class(device: str) -> str:
    """Return ``cpu``, or the name of the GPU: rows of different device classes are never compared."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def choose_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``; raise `UserError` if the device is not available."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"device {device!r}: valid: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was requested, but this machine has no usable GPU; use --device cpu or auto")
    return device


def has_fast_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 natively (AMX or AVX-512 BF16, or a GPU that does)."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent before torch 2.11
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def keep_settings(
    stored: str | None, execution: Execution, device: str, image_size: int,
    largest: Callable[[], tuple[nn.Module, int]], file: str = STUDY_FILE,
) -> Settings:  # fmt: skip
    """Return the stored settings, or choose them if there are none (`choose_settings`).

    Parameters
    ----------
    stored : str or None
        JSON of the settings of the first run.
    execution, device, image_size, largest
        As for `choose_settings`.
    file : str
        Name of the study's file, for messages.

    Raises
    ------
    UserError
        If the study requests other settings than those of its first run.
    """
    if stored is None:
        return choose_settings(execution, device, image_size, largest)
    settings = Settings(**json.loads(stored))
    if settings.precision != execution.precision and "precision" not in execution.model_fields_set:
        written = {"precision": "auto", **execution.model_dump(exclude_unset=True)}
        line = f"execution: {{{', '.join(f'{key}: {value}' for key, value in written.items())}}}"
        raise UserError(
            f"{file}: this study was begun in {settings.precision}, chosen by `precision: auto`, which was the "
            f"default; now the default is float32. Write `{line}` to continue it, or make a new study folder to run "
            f"in float32"
        )
    requested = {**execution.model_dump(), "device": device}
    for name, kept in asdict(settings).items():
        if requested.get(name, "auto") not in ("auto", kept):
            advice = f"use --device {kept}" if name == "device" else f"write `{name}: {kept}` in {file}, execution"
            raise UserError(
                f"this study was begun with {name} {kept!r} and now requests {requested[name]!r}; settings are fixed "
                f"at the first run: {advice}, or make a new study folder"
            )
    refuse_other_device(settings)
    return settings


def refuse_other_device(settings: Settings) -> None:
    """Raise `UserError` unless this machine has the device class of the study's first run."""
    choose_device(settings.device)
    if device_class(settings.device) != settings.device_class:
        raise UserError(
            f"this study was begun on {settings.device_class!r}, this machine has {device_class(settings.device)!r}: "
            f"their rows are not comparable; go on there, or make a new study folder"
        )
