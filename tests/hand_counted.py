"""Small networks whose multiplications are counted by hand, and what of their weights is pruned."""

from __future__ import annotations

import torch
from torch import nn

from bench.models.inventory import take_inventory
from bench.models.macs import count_macs
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units

#: Positions, channels and heads of the small attention networks.
T, D, HEADS = 4, 8, 2


def images(n=2, channels=3, side=8):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A network given by its parts and a function of these and the images."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def weight(*shape):
    return nn.Parameter(torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1)


def tokens(x, channels=D):
    """Cut images into tokens, shape ``(n, T, channels)``."""
    return x.flatten(1)[:, : T * channels].unflatten(1, (T, channels))


def found(net, x=None):
    """The weights of a network by name."""
    return {one.name: one for one in take_inventory(net.eval(), images() if x is None else x).weights}


def prunable(net, x=None):
    """Name -> MACs for one image of each prunable weight."""
    return {name: one.macs for name, one in found(net, x).items() if one.reason is None}


def reason(net, name, x=None):
    """The first words of the reason why a weight is left dense, without which none is known."""
    return (found(net, x)[name].reason or "").partition(":")[0]


def halve(net, x=None, exclude=()):
    """Prune half of every layer by magnitude and return the MACs, dense and remaining."""
    x = images() if x is None else x
    net.eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter[parameter == 0] = 0.01
    units = find_units(net, "weight", exclude, x)
    masks = {}
    for layer in units.layers:
        magnitude = net.get_parameter(layer.parameter).detach().abs().flatten()
        kept = torch.ones(layer.size, dtype=torch.bool)
        kept[magnitude.argsort()[: layer.size // 2]] = False
        masks[layer.name] = kept.view(layer.unit_shape)
    with torch.no_grad():
        apply_masks(net, units, MaskSet(units, masks))
    return count_macs(net, x)


def check_halved(net, half, dense=0, x=None, exclude=()):
    """Compare with MACs by hand: `half` of layers whose weights are halved, `dense` of the rest."""
    macs = halve(net, x, exclude)
    assert (macs.total, macs.remaining) == (half + dense, half // 2 + dense)


def attention(q, k, v):
    return torch.softmax(q @ k.mT, dim=-1) @ v
