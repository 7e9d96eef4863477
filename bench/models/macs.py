"""Multiply-accumulate operations (MACs) of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.units import evaluating


def count_macs(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Count how often each weight of a layer is multiplied for one image.

    A convolution applies a weight once per output position (padding counts, as is usual), a linear layer
    once per token, so the layer's MACs are this number times its weights, and those of a pruned layer
    this number times its non-zero weights. Biases and the products inside attention are left out.

    Parameters
    ----------
    model : nn.Module
        Run once in eval mode.
    example : Tensor
        Images of shape ``(n, channels, height, width)``, on the model's device.

    Returns
    -------
    dict of str to int
        MACs per weight and image of every `Conv2d` and `Linear`, in forward order.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16, 10))
    >>> count_macs(net, torch.zeros(1, 3, 4, 4))
    {'0': 16, '2': 1}
    """
    uses: Counter[str] = Counter()

    def count(name: str, channels: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
            uses[name] += output.numel() // (len(example) * channels)

        return hook

    handles = [
        module.register_forward_hook(count(name, module.weight.shape[0]))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return dict(uses)
