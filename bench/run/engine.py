"""What the driver needs of an engine; `bench.run.local` and `bench.run.ray` have the implementations."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from bench.run.group import Event, GroupTask


class Engine(Protocol):
    """Computes groups, in this process or in others."""

    def events(self, next_task: Callable[[], GroupTask | None]) -> Generator[tuple[str, Event], None, None]:
        """Compute every task that `next_task` returns, until it returns None and no task is in progress.

        Closing the generator stops all work at once.

        Parameters
        ----------
        next_task : callable
            Returns a task, or None if there is none at the moment; a lost group may be returned again later.

        Yields
        ------
        str, Event
            Id of the group, and its next event. The events of one group are in order.
        """
        ...
