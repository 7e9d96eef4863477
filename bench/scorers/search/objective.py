"""What a search maximises: the accuracy, on the search split, of the masks that fusion weights give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.models.tensors import MaskSet


class CandidateAccuracy:
    """The objective of a search; candidates that prune the same units are evaluated once.

    Parameters
    ----------
    masks_of : callable
        Fusion weights -> mask set.
    evaluate : callable
        Mask sets -> accuracies on the search split; reads each mask set before asking for the next.
    known : dict
        Hash of a mask set -> its accuracy, for what was evaluated before; grows.

    Examples
    --------
    >>> import torch
    >>> from bench.models.unit_space import PrunableLayer, UnitSpace
    >>> units = UnitSpace("channel", (PrunableLayer("conv", (2, 1, 1, 1), (2,)),))
    >>> def masks_of(weights):
    ...     return MaskSet(units, {"conv": torch.tensor(weights) > 0})
    >>> objective = CandidateAccuracy(masks_of, lambda masks: [mask.kept / 2 for mask in masks], {})
    >>> objective(np.array([[1.0, -1.0], [0.5, -0.5], [1.0, 1.0]])), objective.masks
    (array([0.5, 0.5, 1. ]), 2)
    """

    def __init__(
        self,
        masks_of: Callable[[Sequence[float]], MaskSet],
        evaluate: Callable[[Iterable[MaskSet]], Sequence[float]],
        known: dict[str, float],
    ) -> None:
        self._masks_of, self._evaluate, self._known = masks_of, evaluate, known
        self._seen: set[str] = set()

    @property
    def masks(self) -> int:
        """Different mask sets among the candidates so far."""
        return len(self._seen)

    def __call__(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the accuracies of candidates: shape ``(n, K)`` to ``(n,)``."""
        digests: list[str] = []
        new: list[str] = []

        def unknown() -> Iterator[MaskSet]:
            for weights in candidates.tolist():
                masks = self._masks_of(weights)
                digests.append(masks.digest())
                if digests[-1] not in self._known and digests[-1] not in new:
                    new.append(digests[-1])
                    yield masks

        accuracies = self._evaluate(unknown())
        self._known.update(zip(new, accuracies, strict=True))
        self._seen.update(digests)
        return np.array([self._known[digest] for digest in digests])
