"""What `dsnot` and `sparse_swaps` share: the mask that they start from, and the scores of the refined mask.

Both exchange kept and removed weights inside an output row, so that every row keeps as many as the allocation
`per_output` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from bench.core.errors import NotApplicable
from bench.models.counts import keep_count
from bench.models.tensors import ScoreMap
from bench.models.unit_space import PrunableLayer
from bench.models.view import Calibration, ModelView
from bench.scorers.features.grid import known_sparsity
from bench.scorers.magnitude import magnitude
from bench.scorers.obc import obc
from bench.scorers.obs import obs
from bench.scorers.ria import ria
from bench.scorers.wanda import wanda

#: Scorer of the mask to start from, with its default options.
Start = Literal["wanda", "magnitude", "ria", "obs", "obc"]
SCORERS: Mapping[Start, Callable[..., ScoreMap]] = {
    "wanda": wanda, "magnitude": magnitude, "ria": ria, "obs": obs, "obc": obc,
}  # fmt: skip
#: Allocation whose masks are refined; a row with another allocation shows what it makes of the scores.
REFINED_FOR = "per_output"


class Refinement:
    """The masks to start from, and the scores of what is made of them.

    Parameters
    ----------
    scorer : str
        Name for error messages.
    start : str
        Scorer of the masks to start from.
    view, calibration, generator, sparsity
        As for every scorer.

    Raises
    ------
    NotApplicable
        If the allocation sets the sparsity, for channels, or as the scorer `start` raises it.
    """

    def __init__(
        self,
        scorer: str,
        start: Start,
        view: ModelView,
        calibration: Calibration,
        generator: torch.Generator,
        sparsity: float | None,
    ) -> None:
        if view.granularity != "weight":
            raise NotApplicable(f"{scorer} exchanges weights inside an output; a channel is a whole output")
        self._sparsity = known_sparsity(scorer, sparsity)
        self._start = SCORERS[start](view, calibration, generator)
        self._names = view.units.names
        self._scores: dict[str, Tensor] = {}
        self._exchanged = 0

    def kept(self, layer: PrunableLayer) -> Tensor:
        """Return the mask to start from, True for kept, shape ``(out, weights of one output)``."""
        rows = layer.rows(self._start[layer.name])
        return highest(rows, keep_count(rows.shape[1], self._sparsity))

    def refined(self, layer: PrunableLayer, kept: Tensor) -> None:
        """Score a layer by its refined mask, shape ``(out, weights of one output)``."""
        self._exchanged += int((kept & ~self.kept(layer)).sum())
        scores = mask_scores(kept, layer.rows(self._start[layer.name]))
        self._scores[layer.name] = layer.channels.weight(scores, layer.weight_shape)

    def scores(self) -> ScoreMap:
        """Return the scores of all layers, with the number of weights that were exchanged."""
        notes: dict[str, Any] = {"refined_for": REFINED_FOR, "exchanged": self._exchanged}
        return ScoreMap({name: self._scores[name] for name in self._names}, notes=notes)


def highest(scores: Tensor, keep: int) -> Tensor:
    """Return a boolean mask of the `keep` highest scores of every row; of equal scores the first.

    Examples
    --------
    >>> highest(torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]), 1)
    tensor([[False,  True, False],
            [ True, False, False]])
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order[:, :keep], True)


def mask_scores(kept: Tensor, start: Tensor) -> Tensor:
    """Return scores that rank all kept weights before all removed ones, and both by the scores of the start.

    Parameters
    ----------
    kept : Tensor
        Boolean, shape ``(out, k)``.
    start : Tensor
        Scores of the start, at least 0, of the same shape.

    Returns
    -------
    Tensor
        float64: the score of the start, divided by twice the layer's largest, plus 1 where kept.

    Examples
    --------
    >>> mask_scores(torch.tensor([[True, False]]), torch.tensor([[1.0, 4.0]]).double())
    tensor([[1.1250, 0.5000]], dtype=torch.float64)
    """
    largest = start.max()
    return kept + start / (2 * torch.where(largest > 0, largest, 1))
