"""Too little memory for a piece of work: really on a GPU, by convolutions that refuse large batches on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def short_of_memory(device: str, share: float, needed: int, images: int) -> Iterator[None]:
    """Leave a share of the memory that a piece of work needs inside a ``with`` block.

    Parameters
    ----------
    device : str
        ``cuda`` limits the memory that this process may allocate; ``cpu`` raises `torch.OutOfMemoryError` instead.
    share : float
        What is left of `needed` on a GPU.
    needed : int
        Bytes that the work needs beyond what is allocated now (`peak_bytes`).
    images : int
        Largest batch that a convolution or linear layer takes on the CPU.
    """
    if device == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + share * needed) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    def refuse(module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d) and len(args[0]) > images:
            raise torch.OutOfMemoryError(f"a batch of {len(args[0])} images where {images} fit")

    handle = nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


class Peak:
    """Largest number of bytes that tensors take on a GPU inside a ``with`` block, less those before it; 0 on a CPU."""

    def __init__(self, device: str) -> None:
        self.bytes = 0
        self._on_gpu = device == "cuda"

    def __enter__(self) -> Peak:
        if self._on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_gpu:
            self.bytes = torch.cuda.max_memory_allocated() - self._before
