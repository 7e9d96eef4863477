"""Execution settings: chosen once, at a study's first run, and reused by every later run of it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.freed_memory import return_freed_memory
from bench.core.types import Settings
from bench.measure.evaluation import PRECISIONS, prepare_network
from bench.models.view import MEMORY_FORMATS, is_out_of_memory
from bench.study.spec import STUDY_FILE, Execution

#: Inputs of at least this size may gain from bfloat16 and channels-last; the 8x8 digits do not.
LARGE_INPUT = 32
#: Precisions and memory formats tried, the usual one first: convolutions gain from channels-last, attention loses
#: nothing by it.
TRIED = {"precision": ("float32", "bfloat16"), "memory_format": ("channels_last", "contiguous")}
#: What is not the usual is taken only if it is so many times as fast: noise cannot turn that.
CLEARLY = 1.3
#: Batches tried, the usual one first.
BATCHES = {"cpu": (128, 32, 512), "cuda": (1024, 256, 4096)}
#: Threads per processor at most.
MOST_THREADS = 4
SMALL_INPUT_BATCH = {"cpu": 512, "cuda": 1024}
#: Timed passes of a candidate, of which the fastest counts, and about how long each may take, in seconds.
ROUNDS = 3
PASS_SECONDS = 0.1


def choose_settings(
    execution: Execution, device: str, image_size: int, largest: Callable[[], tuple[nn.Module, int]]
) -> Settings:
    """Decide what the study leaves to ``auto``.

    Small inputs run in float32, contiguous, on one thread (their operations are too short to be divided: a
    digits study takes 1.8 times as long on two). For others forward passes on noise are timed: `CLEARLY`
    is the speed-up for which float32, channels-last and the usual batch are left.

    Parameters
    ----------
    execution : Execution
        The study's requests.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    image_size : int
        Side of the largest input in pixels.
    largest : callable
        Builds the study's largest model and returns it with its input channels; called only if something is timed.

    Raises
    ------
    UserError
        If CUDA is requested and not available, or threads for many more processors than there are.
    """
    chosen = choose_device(device)
    large = image_size >= LARGE_INPUT
    threads = execution.threads
    settings = Settings(
        precision="float32" if execution.precision == "auto" else execution.precision,
        memory_format=("channels_last" if large else "contiguous")
        if execution.memory_format == "auto" else execution.memory_format,
        batch=(BATCHES[chosen][0] if large else SMALL_INPUT_BATCH[chosen])
        if execution.batch == "auto" else execution.batch,
        device=chosen,
        device_class=device_class(chosen),
        threads=(torch.get_num_threads() if large else 1) if threads == "auto" else threads,
    )  # fmt: skip
    _refuse_many_threads(settings.threads)
    if not large or "auto" not in (execution.precision, execution.memory_format, execution.batch):
        return settings
    apply_settings(settings)
    model, channels = largest()
    settings = _fastest(settings, execution, model, (channels, image_size, image_size))
    return_freed_memory()
    if settings.device == "cuda":
        torch.cuda.empty_cache()  # workers on the same GPU need it
    return settings


def _refuse_many_threads(threads: int) -> None:
    processors = os.cpu_count() or 1
    if threads > MOST_THREADS * processors:
        raise UserError(
            f"execution: threads: {threads} on {processors} processors would only wait for each other: set at most "
            f"{MOST_THREADS * processors}, or auto"
        )


def _fastest(settings: Settings, execution: Execution, model: nn.Module, shape: tuple[int, int, int]) -> Settings:
    """Time the candidates for what is ``auto``; those of one comparison in turn, so that all meet the same load."""
    free = execution.precision == "auto" and has_fast_bfloat16(settings.device)
    kinds = [
        (precision, memory_format)
        for precision in (TRIED["precision"] if free else (settings.precision,))
        for memory_format in (
            TRIED["memory_format"] if execution.memory_format == "auto" else (settings.memory_format,)
        )
    ]
    few = _images_of_a_pass(model, settings, shape)
    speeds = _speeds([replace(settings, precision=p, memory_format=f, batch=few) for p, f in kinds], model, shape)
    by_precision = {p: max(v for (q, _), v in zip(kinds, speeds, strict=True) if q == p) for p, _ in kinds}
    precision = _clearly_fastest(by_precision)
    memory_format = _clearly_fastest({f: v for (p, f), v in zip(kinds, speeds, strict=True) if p == precision})
    settings = replace(settings, precision=precision, memory_format=memory_format)
    measured = {f"{p}, {f}, batch {few}": v for (p, f), v in zip(kinds, speeds, strict=True)}
    if execution.batch == "auto" and few == settings.batch:  # a slower model gains nothing from larger batches
        batches = BATCHES[settings.device]
        speeds = _speeds([replace(settings, batch=batch) for batch in batches], model, shape)
        settings = replace(settings, batch=_clearly_fastest(dict(zip(batches, speeds, strict=True))))
        measured |= {
            f"{precision}, {memory_format}, batch {batch}": v for batch, v in zip(batches, speeds, strict=True)
        }
    return replace(settings, measured={name: round(speed, 1) for name, speed in measured.items()})


def bfloat16_gain(settings: Settings, model: nn.Module, shape: tuple[int, int, int]) -> float | None:
    """Return how many times as fast forward passes of a model are in bfloat16 as in float32.

    Parameters
    ----------
    settings : Settings
        Device, memory format, and the largest batch that is timed.
    model : nn.Module
        The study's largest.
    shape : tuple of int
        Channels, height and width of its inputs.

    Returns
    -------
    float or None
        None where bfloat16 is no choice: the study runs in it, the hardware emulates it, inputs are below
        `LARGE_INPUT` pixels, or memory does not suffice.
    """
    if settings.precision != "float32" or max(shape[1:]) < LARGE_INPUT or not has_fast_bfloat16(settings.device):
        return None
    few = replace(settings, batch=_images_of_a_pass(model, settings, shape))
    usual, other = _speeds([few, replace(few, precision="bfloat16")], model, shape)
    return other / usual if usual and other else None


def _clearly_fastest(speeds: Mapping[Any, float]) -> Any:
    """Return the first key, or the fastest if it is `CLEARLY` faster.

    Examples
    --------
    >>> _clearly_fastest({"float32": 100.0, "bfloat16": 129.0}), _clearly_fastest({"float32": 100.0, "bfloat16": 131.0})
    ('float32', 'bfloat16')
    """
    first, best = next(iter(speeds)), max(speeds, key=lambda key: speeds[key])
    return best if speeds[best] >= CLEARLY * speeds[first] else first


def _images_of_a_pass(model: nn.Module, settings: Settings, shape: tuple[int, int, int]) -> int:
    """Return how many images take about `PASS_SECONDS`; the batch of the settings at most."""
    images = 1
    while images < settings.batch:
        (speed,) = _speeds([replace(settings, batch=images)], model, shape)
        if not speed:
            return max(1, images // 4)
        if images / speed >= PASS_SECONDS:
            break
        images = min(settings.batch, 4 * images)
    return images


@torch.inference_mode()
def _speeds(candidates: Sequence[Settings], model: nn.Module, shape: tuple[int, int, int]) -> list[float]:
    """Images per second of a batch of noise, per candidate; 0 where memory does not suffice.

    On a CPU these are seconds of work of all threads, which other processes hardly change.
    """
    clock = time.process_time if candidates[0].device == "cpu" else time.perf_counter
    best = [math.inf] * len(candidates)
    prepared: dict[int, tuple[nn.Module, Tensor]] = {}
    too_large = set()
    for turn in range(1 + ROUNDS):  # the first is to warm up
        for number, each in enumerate(candidates):
            if number in too_large:
                continue
            try:
                if not turn:
                    prepared[number] = prepare_network(model, each), _noise(each, shape)
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
            if turn:
                best[number] = min(best[number], seconds)
    return [each.batch / seconds for each, seconds in zip(candidates, best, strict=True)]


def _noise(settings: Settings, shape: tuple[int, int, int]) -> Tensor:
    images = torch.randn(settings.batch, *shape, generator=torch.Generator().manual_seed(0))
    return images.to(
        settings.device, PRECISIONS[settings.precision], memory_format=MEMORY_FORMATS[settings.memory_format]
    )


def synchronise(device: torch.device) -> None:
    """Wait for a GPU to finish, as the clock must; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def apply_settings(settings: Settings) -> None:
    """Set torch's threads, and make float32 mean float32 and convolutions deterministic on a GPU."""
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def device_class(device: str) -> str:
    """Return ``cpu``, or the name of the GPU: rows of different device classes are never compared."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def choose_device(device: str) -> str:
    """Resolve ``auto`` and refuse a device that is not available."""
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
    """Return the settings of the store, or choose them where it has none yet (`choose_settings`).

    Parameters
    ----------
    stored : str or None
        JSON of the settings that the first run kept.
    execution, device, image_size, largest
        As `choose_settings` takes them.
    file : str
        The study's file, for messages.

    Raises
    ------
    UserError
        If the study now requests other settings than those it was begun with.
    """
    if stored is None:
        return choose_settings(execution, device, image_size, largest)
    try:
        settings = Settings(**json.loads(stored))
    except TypeError as error:
        raise UserError(
            "the settings in the store are damaged: put a copy of the store in its place, or start anew"
        ) from error
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
            back = f"use --device {kept}" if name == "device" else f"write `{name}: {kept}` in {file}, execution"
            raise UserError(
                f"this study was begun with {name} {kept!r} and now requests {requested[name]!r}; settings are fixed "
                f"at the first run: {back}, or make a new study folder"
            )
    refuse_other_device(settings)
    return settings


def refuse_other_device(settings: Settings) -> None:
    """Raise `UserError` where this machine has not the device class that the study was begun on."""
    choose_device(settings.device)
    if device_class(settings.device) != settings.device_class:
        raise UserError(
            f"this study was begun on {settings.device_class!r}, this machine has {device_class(settings.device)!r}: "
            f"their rows are not comparable; go on there, or make a new study folder"
        )
