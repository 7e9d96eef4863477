"""What the weights of a layer read: second moments of its input patches over a calibration draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.errors import NotApplicable
from bench.models.observe import Call, observe
from bench.models.unit_space import PrunableLayer
from bench.models.view import Calibration


@dataclass(frozen=True)
class InputMoments:
    """Second moments of what a layer's weights read, x the column of `Call.patches` for one output position.

    Attributes
    ----------
    second : Tensor
        Sum of x x^T over images and positions, float64, shape ``(groups, k, k)`` with k the weights of one
        output.
    first : Tensor
        Sum of x, float64, shape ``(groups, k)``.
    count : int
        Number of columns summed.
    """

    second: Tensor
    first: Tensor
    count: int

    def add(self, other: InputMoments) -> InputMoments:
        """Add the sums over other columns in place, to save memory."""
        return InputMoments(self.second.add_(other.second), self.first.add_(other.first), self.count + other.count)


def input_moments(
    model: nn.Module, layers: Iterable[PrunableLayer], calibration: Calibration, precision: torch.dtype | None = None
) -> dict[str, InputMoments]:
    """Measure the inputs of some layers on a calibration draw, in one pass.

    Products are taken in one precision and summed in float64, part by part. A layer that is called
    several times has the sum over its calls. The groups are those of a convolution, or parts of a weight that read
    different inputs, as the rows for query and key in attention over two inputs.

    Parameters
    ----------
    model : nn.Module
        In eval mode; left as it is.
    layers : iterable of PrunableLayer
        All their sums are held at once, 8 k^2 bytes per group: give few layers at a time where k is large.
    calibration : Calibration
        The draw.
    precision : torch.dtype, optional
        Of the products; by default that of the inputs. float64 where a rounding error could decide a choice.

    Raises
    ------
    NotApplicable
        If parts of different size of a layer's weight read different inputs.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> draw = Calibration(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.zeros(2), batch=1)
    >>> moments = input_moments(net, [PrunableLayer("0", (1, 2), (1, 2))], draw)["0"]
    >>> moments.second.tolist(), moments.first.tolist(), moments.count
    ([[[10.0, 6.0], [6.0, 4.0]]], [[4.0, 2.0]], 2)
    """
    layers = list(layers)
    found: dict[str, dict[int, InputMoments]] = {layer.name: {} for layer in layers}

    def measure(call: Call) -> None:
        parts = found[call.layer.name]
        for part in call.parts():
            x = call.patches(part).to(precision or part.dtype)
            moments = InputMoments((x @ x.mT).double(), x.sum(dim=2, dtype=torch.float64), x.shape[2])
            parts[call.start] = parts[call.start].add(moments) if call.start in parts else moments

    observe(model, layers, (x for x, _ in calibration.parts()), measure)
    return {layer.name: _stacked(layer, found[layer.name]) for layer in layers}


def runs_of_layers(layers: Iterable[PrunableLayer], limit: int) -> Iterator[list[PrunableLayer]]:
    """Divide layers into runs whose input moments take at most `limit` bytes together, or that have one layer.

    Examples
    --------
    Moments of a layer with 4 inputs take 8 * 4^2 = 128 bytes:

    >>> layers = [PrunableLayer(name, (2, 4), (2, 4)) for name in "abc"]
    >>> [[layer.name for layer in run] for run in runs_of_layers(layers, 256)]
    [['a', 'b'], ['c']]
    """
    run: list[PrunableLayer] = []
    held = 0
    for layer in layers:
        size = layer.channels.moment_bytes
        if run and held + size > limit:
            yield run
            run, held = [], 0
        run.append(layer)
        held += size
    if run:
        yield run


def _stacked(layer: PrunableLayer, parts: Mapping[int, InputMoments]) -> InputMoments:
    refuse_uneven(layer, parts)
    ordered = [parts[start] for start in sorted(parts)]
    if len(ordered) == 1:
        return ordered[0]
    counts = {part.count for part in ordered}
    if len(counts) > 1:
        raise NotApplicable(f"{layer.name}: parts of its weight are used a different number of times")
    return InputMoments(torch.cat([p.second for p in ordered]), torch.cat([p.first for p in ordered]), ordered[0].count)


def refuse_uneven(layer: PrunableLayer, starts: Iterable[int]) -> None:
    """Raise `NotApplicable` unless parts that begin at these output channels are equally large."""
    starts = sorted(starts)
    sizes = {b - a for a, b in zip(starts, [*starts[1:], layer.channels.channels], strict=True)}
    if len(sizes) > 1 or (len(starts) > 1 and layer.channels.groups > 1):
        raise NotApplicable(f"{layer.name}: parts of different size of its weight read different inputs")


def squared_inputs(model: nn.Module, layers: Iterable[PrunableLayer], calibration: Calibration) -> dict[str, Tensor]:
    """Sum the squared inputs that each weight of some layers multiplies on a calibration draw, in one pass.

    Returns
    -------
    dict of str to Tensor
        Layer name -> float64, shape ``(channels, weights of one output)``: the rows of `PrunableLayer.rows`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> draw = Calibration(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.zeros(2), batch=1)
    >>> squared_inputs(net, [PrunableLayer("0", (1, 2), (1, 2))], draw)["0"]
    tensor([[10.,  4.]], dtype=torch.float64)
    """
    layers = list(layers)
    sums: dict[str, Tensor] = {}

    def accumulate(call: Call) -> None:
        squares = call.inputs().double().square().sum(dim=0, keepdim=True)  # patches are linear: images first
        energy = call.patches(squares).sum(dim=2)
        size = call.part.channels.stop - call.start
        rows = energy.repeat_interleave(size // len(energy), dim=0)
        total = sums.setdefault(call.layer.name, energy.new_zeros(call.layer.channels.channels, energy.shape[1]))
        total[call.part.channels] += rows

    observe(model, layers, (x for x, _ in calibration.parts()), accumulate)
    return {layer.name: sums[layer.name] for layer in layers}
