"""Heads by how concentrated their attention is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.core.errors import NotApplicable
from bench.models.inventory import SOFTMAX
from bench.models.product import Product
from bench.models.products import Products, traceable
from bench.models.tensors import ScoreMap
from bench.models.unit_space import Coupling, UnitSpace
from bench.models.view import Calibration, ModelView


def attention_score(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score the largest attention probability of a query, its mean over images and queries.

    It is 1 for a head of which every query attends to a single key, and 1/n for uniform attention to n keys. Windows
    count as images. The formula is ours: Wang et al. 2026 (arXiv 2509.25606) name attention scores as a criterion
    without a definition.

    Raises
    ------
    NotApplicable
        For other units than heads, and for an attention layer without a softmax over the keys of each head.

    Examples
    --------
    Keys and queries of zero attend to all tokens alike:

    >>> from bench.models.digits import digits_vit
    >>> from bench.models.units import find_units
    >>> net = digits_vit().eval()
    >>> _ = net.blocks[0].attn.qkv.weight.data[:128].zero_()
    >>> draw = Calibration(torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), batch=2)
    >>> view = ModelView(net, find_units(net, "head", (), draw.images))
    >>> attention_score(view, draw, torch.Generator())["blocks.0.attn"]
    tensor([0.0625, 0.0625, 0.0625, 0.0625], dtype=torch.float64)
    """
    coupling = view.units.coupling
    if view.granularity != "head" or coupling is None:
        raise NotApplicable("attention_score scores heads: only these have attention probabilities")
    reading = _Reading(view.units, coupling)
    with sdpa_kernel(SDPBackend.MATH), traceable(view.model), Products(view.model, reading.see, reading.follow):
        for x, _ in calibration.parts():
            view.model(x)
    return ScoreMap(reading.means())


class _Reading:
    """Sums the largest probabilities of every head, between the first and the last product of its attention layer."""

    def __init__(self, units: UnitSpace, coupling: Coupling) -> None:
        self._heads = {layer.name: layer.size for layer in coupling.units.layers}
        numbers = units.layer_index()
        self._begins, self._ends = {}, set()
        for name, places in coupling.members.items():
            for number in sorted(set(numbers[places].flatten().tolist())):
                layer = units.layers[number]
                self._begins[layer.parameter] = name
                if layer.reader is not None:
                    self._ends.add(layer.reader.parameter)
        self._current: str | None = None
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def see(self, product: Product) -> None:
        """Note where an attention layer begins and ends."""
        for parameter in product.weight.parameters if product.weight.source == "parameter" else ():
            if parameter in self._ends:
                self._current = None
            else:
                self._current = self._begins.get(parameter, self._current)

    def follow(self, operation: Any, _: list[Tensor], results: list[Tensor]) -> None:
        """Add the probabilities that a softmax returns."""
        name = self._current
        if operation not in SOFTMAX or name is None:
            return
        heads, probabilities = self._heads[name], results[0]
        if probabilities.dim() == 3 and len(probabilities) % heads == 0:
            probabilities = probabilities.view(-1, heads, *probabilities.shape[1:])
        whole = probabilities.sum(dim=-1, dtype=torch.float64)
        if probabilities.dim() != 4 or probabilities.shape[1] != heads or bool((whole - 1).abs().max() > 0.01):
            raise NotApplicable(f"{name}: its softmax is not over the keys of each of {heads} heads")
        largest = probabilities.amax(dim=-1).sum(dim=(0, 2), dtype=torch.float64)
        self._sums[name] = self._sums[name] + largest if name in self._sums else largest
        self._counts[name] = self._counts.get(name, 0) + probabilities.shape[0] * probabilities.shape[2]

    def means(self) -> dict[str, Tensor]:
        """Return the mean for every head.

        Raises
        ------
        NotApplicable
            For an attention layer without a softmax.
        """
        for name in self._heads:
            if name not in self._sums:
                raise NotApplicable(f"{name}: it has no softmax between its queries and its output projection")
        return {name: self._sums[name] / self._counts[name] for name in self._heads}
