"""Memory of a device: what a piece of work takes, and too little of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@contextmanager
def short_of_memory(device: str, share: float, needed: int, images: int) -> Iterator[None]:
    """Leave a share of the memory that a piece of work needs inside a ``with`` block.

    Parameters
    ----------
    device : str
        ``cuda``: this process may allocate no more; ``cpu``: convolutions raise `torch.OutOfMemoryError`.
    share : float
        What is left of `needed` on a GPU.
    needed : int
        Bytes that the work needs beyond what is allocated now (`Peak`).
    images : int
        Largest batch that a convolution takes on a CPU.
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
    """Largest number of bytes that tensors took inside a ``with`` block, less those before it.

    On a GPU the allocator counts them; on a CPU every operation is watched, which finds the tensors that it returns.
    """

    def __init__(self, device: str) -> None:
        self.bytes = 0
        self._watch = None if device == "cuda" else _Watch()

    def __enter__(self) -> Peak:
        if self._watch is not None:
            self._watch.__enter__()
        else:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._watch is not None:
            self._watch.__exit__(*error)
            self.bytes = self._watch.most
        else:
            self.bytes = torch.cuda.max_memory_allocated() - self._before


class _Watch(TorchDispatchMode):
    """Counts the bytes of the tensors that operations return, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())
                self._alive[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        self._alive = {key: pair for key, pair in self._alive.items() if not pair[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return result
