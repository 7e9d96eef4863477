"""Run the command line and kill this process, for good, at the n-th entry into a chosen stage.

``python kill_driver.py LOG STAGE N -- ARGUMENTS of prunebench``

Every entry into a stage is noted in LOG (a few bytes, overwritten), so that whoever kills this process
from outside knows where the kill landed. Stage ``-`` never kills from inside.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import torch

import bench.evaluate
import bench.pipeline
from bench.cli import main
from bench.store.database import Store

STAGES = ("training", "scoring", "evaluation", "between write and rename", "within a commit")


def drive(log_path: str, stage_to_kill: str, count: int, arguments: list[str]) -> None:
    log = os.open(log_path, os.O_RDWR | os.O_CREAT)
    entries = dict.fromkeys(STAGES, 0)

    def enter(stage: str) -> None:
        entries[stage] += 1
        os.pwrite(log, f"{stage} {entries[stage]}".ljust(60).encode(), 0)
        if stage == stage_to_kill and entries[stage] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def entering(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            enter(stage)
            return function(*args, **kwargs)

        return wrapper

    def open_watched(self: Store, *args: Any, **kwargs: Any) -> None:
        opened(self, *args, **kwargs)
        # the statements of the transaction have run, its commit has not
        sa.event.listen(self.engine, "commit", lambda _connection: enter("within a commit"))

    torch.optim.AdamW.step = entering("training", torch.optim.AdamW.step)
    bench.pipeline.keep_order = entering("scoring", bench.pipeline.keep_order)
    bench.evaluate.Evaluator._forward = entering("evaluation", bench.evaluate.Evaluator._forward)
    os.replace = entering("between write and rename", os.replace)
    opened, Store.__init__ = Store.__init__, open_watched
    sys.argv = ["prunebench", *arguments]
    main()


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[5:])
