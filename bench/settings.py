"""Execution settings: chosen once, at a study's first run, and reused by every resume (rule 4)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch

from bench.errors import UserError
from bench.provenance import device_class
from bench.study import Execution
from bench.types import Settings

#: Inputs of at least this size gain from bfloat16 and channels-last; the 8x8 digits do not.
LARGE_INPUT = 32


def choose_settings(execution: Execution, device: str, image_size: int) -> Settings:
    """Decide what the study leaves to ``auto``.

    Parameters
    ----------
    execution : Execution
        The study's wishes.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    image_size : int
        Side of the largest input in pixels: small inputs run in float32, contiguous, on one thread (their
        operations are too short to be divided: a digits study takes 1.8 times as long on two).

    Raises
    ------
    UserError
        If CUDA is asked for and absent.
    """
    chosen = choose_device(device)
    large = image_size >= LARGE_INPUT
    precision, memory_format, batch, threads = (
        execution.precision, execution.memory_format, execution.batch, execution.threads,
    )  # fmt: skip
    if precision == "auto":
        precision = "bfloat16" if large and has_fast_bfloat16(chosen) else "float32"
    if memory_format == "auto":
        memory_format = "channels_last" if large else "contiguous"
    if batch == "auto":
        batch = 1024 if chosen == "cuda" else (128 if large else 512)
    return Settings(
        precision=precision,
        memory_format=memory_format,
        batch=batch,
        device=chosen,
        device_class=device_class(chosen),
        threads=(torch.get_num_threads() if large else 1) if threads == "auto" else threads,
    )


def apply_settings(settings: Settings) -> None:
    """Set torch's threads, and make float32 mean float32 and convolutions deterministic on a GPU."""
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def choose_device(device: str) -> str:
    """Resolve ``auto`` and refuse a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"device {device!r}: valid: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for, but this machine has no usable GPU; use --device cpu or auto")
    return device


def has_fast_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 natively (AMX or AVX-512 BF16, or a GPU that does)."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent before torch 2.11
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def keep_settings(stored: str | None, execution: Execution, device: str, image_size: int) -> Settings:
    """Return the settings of the store, or choose them where it has none yet.

    Raises
    ------
    UserError
        If the study now asks for other settings than those it was begun with.
    """
    if stored is None:
        return choose_settings(execution, device, image_size)
    settings = Settings(**json.loads(stored))
    asked = {**execution.model_dump(), "device": device}
    for name, kept in asdict(settings).items():
        if asked.get(name, "auto") not in ("auto", kept):
            raise UserError(
                f"this study was begun with {name} {kept!r} and now asks for {asked[name]!r}; settings are fixed "
                f"at the first run: set it back, or make a new study folder"
            )
    choose_device(settings.device)
    if device_class(settings.device) != settings.device_class:
        raise UserError(
            f"this study was begun on {settings.device_class!r}, this machine has {device_class(settings.device)!r}: "
            f"their rows are not comparable; go on there, or make a new study folder"
        )
    return settings
