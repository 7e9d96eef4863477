"""What every fusion search shares: the objective, its budget, and what was found (METHODS section 3).

Signature of a search: ``(objective, dimensions, generator, *, options) -> Found``. It looks for weights W in the box
[-1, 1]^K that maximise `objective`, the accuracy on the search split, within a budget of evaluations.

Every search has the options ``correction`` and ``recalibration``, the repair under which candidates are compared. The
pipeline reads them when it makes the objective; the search itself has no use for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.core.errors import CellError

#: Weights of shape (n, K) -> their n values, higher is better; a whole batch in one call.
Objective = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: How many candidates a search may evaluate.
Evaluations = Annotated[int, Field(ge=1)]

#: The default budget: 20 batches of 30.
BUDGET = 600
#: Candidates in a batch: the population of `dbo`.
BATCH = 30

#: Each weight is in [LOWEST, HIGHEST].
LOWEST, HIGHEST = -1.0, 1.0


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes
    ----------
    weights : tuple of float
        The best candidate W, of length K; the first evaluated where several are equally good.
    value : float
        Its value.
    evaluations : int
        How many candidates were evaluated.
    history : tuple of (int, float)
        After every batch: evaluations so far, best value so far.
    """

    weights: tuple[float, ...]
    value: float
    evaluations: int
    history: tuple[tuple[int, float], ...]


class Recorder:
    """Evaluates candidates within a budget and keeps the best.

    Parameters
    ----------
    objective : callable
        See `Objective`.
    evaluations : int
        The budget, at least 1.

    Examples
    --------
    >>> record = Recorder(lambda W: W.sum(axis=1), evaluations=3)
    >>> record.evaluate(np.array([[0.0, 0.5], [1.0, 0.0]]))
    array([0.5, 1. ])
    >>> record.evaluate(np.array([[0.5, 0.5], [1.0, 1.0]]))
    array([  1., -inf])
    >>> record.found()
    Found(weights=(1.0, 0.0), value=1.0, evaluations=3, history=((2, 1.0), (3, 1.0)))
    """

    def __init__(self, objective: Objective, evaluations: int) -> None:
        self._objective = objective
        self._budget = evaluations
        self._spent = 0
        self._value = -math.inf
        self._history: list[tuple[int, float]] = []
        #: The best candidate so far, shape (K,); replaced only by a strictly better one.
        self.best: NDArray[np.float64] = np.empty(0)

    @property
    def left(self) -> int:
        """Evaluations left."""
        return self._budget - self._spent

    def evaluate(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate a batch in one call of the objective.

        A batch larger than what is left is cut: its last candidates are not evaluated and are worth -inf, so that
        they win nothing. With nothing left the objective is not called.

        Parameters
        ----------
        candidates : array
            Shape ``(n, K)``, inside the box.

        Returns
        -------
        array
            Shape ``(n,)``.

        Raises
        ------
        CellError
            If a candidate is outside the box (it is never clipped here), or a value is missing, NaN or infinite.
        """
        if not ((candidates >= LOWEST) & (candidates <= HIGHEST)).all():
            raise CellError(f"the search left the box [{LOWEST:g}, {HIGHEST:g}]")
        batch = candidates[: self.left].copy()  # the search may go on to move its candidates
        cut = len(candidates) - len(batch)
        if len(batch) == 0:
            return np.full(cut, -np.inf)
        values = np.asarray(self._objective(batch), dtype=np.float64)
        if values.shape != (len(batch),):
            raise CellError(f"the objective of a search gave shape {values.shape} for {len(batch)} candidates")
        if not np.isfinite(values).all():
            raise CellError("the objective of a search gave NaN or infinity")
        self._spent += len(batch)
        first_best = int(values.argmax())
        if values[first_best] > self._value:
            self._value = float(values[first_best])
            self.best = batch[first_best]
        self._history.append((self._spent, self._value))
        return np.concatenate([values, np.full(cut, -np.inf)])

    def found(self) -> Found:
        """Return the best so far."""
        return Found(tuple(self.best.tolist()), self._value, self._spent, tuple(self._history))
