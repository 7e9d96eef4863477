"""Work that is repeated in smaller parts where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from bench.core.errors import CellError
from bench.core.freed_memory import return_freed_memory
from bench.measure.shared import SharedValues
from bench.models.view import is_out_of_memory

T = TypeVar("T")


def in_smaller_parts(work: Callable[[], T], shared: SharedValues, largest_batch: int) -> T:
    """Return what `work` returns; where memory runs out, repeat it, at last with fewer calibration images at a time.

    The first repetition changes nothing, because another process may have held the memory. Each further one halves
    `SharedValues.part`.

    Parameters
    ----------
    work : callable
        Reads its calibration draw from `shared`.
    shared : SharedValues
        Its `part` is lowered, and stays so for the cells that follow.
    largest_batch : int
        Images of the largest calibration batch in the group.

    Raises
    ------
    CellError
        If memory runs out with one image at a time, too.
    """
    repeated = False
    while True:
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if shared.part == 1 and repeated:
                reason = "out of memory, with one calibration image at a time too; `prunebench plan` forecasts it"
                raise CellError(reason) from error
        # outside the handler: its traceback would keep the tensors alive
        if repeated:
            shared.part = (shared.part or largest_batch) // 2 or 1
        repeated = True
        return_freed_memory()
        if shared.settings.device == "cuda":
            torch.cuda.empty_cache()
