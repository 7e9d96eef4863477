"""Weights that are left dense, each with the reason, and products without a weight."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from hand_counted import (
    HEADS,
    D,
    Net,
    T,
    attention,
    check_halved,
    found,
    images,
    prunable,
    reason,
    tokens,
    weight,
)
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from bench.core.errors import UserError
from bench.models.inventory import take_inventory
from bench.models.macs import count_macs


def linear_of(function, **parts):
    """A linear layer whose weight `function` computes."""
    return Net(lambda net, x: F.linear(x.flatten(1)[:, :8], function(net)), **parts)


def test_standardised_weights():
    net = nn.Sequential(timm.layers.ScaledStdConv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert reason(net, "0") == "computed weight"
    assert found(net)["0"].macs == 64 * 270


@pytest.mark.parametrize(
    ("register", "original", "macs"),
    [
        (parametrizations.weight_norm, "original1", 1920),
        (parametrizations.spectral_norm, "original", 2 * 1920),  # the norm multiplies the weight with a vector, once
        (lambda layer: parametrize.register_parametrization(layer, "weight", Masked()), "original", 1920),
    ],
    ids=["weight_norm", "spectral_norm", "mask"],
)
def test_parametrised_weights(register, original, macs):
    net = nn.Sequential(nn.Flatten(), register(nn.Linear(192, 10)))
    (layer,) = found(net).values()
    assert layer.parameter == f"1.parametrizations.weight.{original}"
    assert (layer.reason or "").startswith("computed weight")
    assert layer.macs == macs


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(10, 192))

    def forward(self, full):
        return full * self.mask


def test_a_low_rank_update():
    net = linear_of(lambda net: net.w + net.b @ net.a, w=weight(10, 8), b=weight(10, 2), a=weight(2, 8))
    weights = found(net)
    assert {name: (one.reason or "").partition(":")[0] for name, one in weights.items()} == dict.fromkeys(
        "wba", "computed weight"
    )
    inventory = take_inventory(net, images())
    assert inventory.macs == 80 + 10 * 2 * 8  # the update is multiplied once, for all images
    assert sum(one.macs for one in weights.values()) + inventory.without_weight == inventory.macs


def test_weights_that_are_no_parameters():
    constant = torch.rand(8, 10)
    net = Net(lambda net, x: net.head(x.flatten(1)[:, :8] @ net.constant), constant=constant, head=nn.Linear(10, 10))
    inventory = take_inventory(net, images())
    assert [one.name for one in inventory.weights] == ["head"]
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (180, 80, 80)
    blur = Net(lambda net, x: F.conv2d(x, net.kernel, groups=3).mean((2, 3)), kernel=torch.rand(3, 1, 3, 3))
    inventory = take_inventory(blur, images())
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (36 * 27, 36 * 27, 36 * 27)


def test_buffers_as_weights():
    net = Net(lambda net, x: F.conv2d(x, net.kernel, groups=3).mean((2, 3)))
    net.register_buffer("kernel", torch.rand(3, 1, 3, 3))
    inventory = take_inventory(net, images())
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (36 * 27, 36 * 27, 36 * 27)


def test_products_of_activations_are_no_unregistered_weights():
    net = Net(lambda _, x: attention(tokens(x), tokens(x), tokens(x)).mean(1))
    inventory = take_inventory(net, images())
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (2 * T * T * D, 2 * T * T * D, 0)


def test_embeddings():
    def forward(net, x):
        return net.head(net.table((x.flatten(1)[:, :4] * 5).long()).mean(1))

    net = Net(forward, table=nn.Embedding(6, D), head=nn.Linear(D, 10))
    assert reason(net, "table") == "embedding"
    assert prunable(net) == {"head": 80}


def test_an_embedding_tied_with_a_linear_layer():
    def forward(net, x):
        return net.head(net.table((x.flatten(1)[:, :4] * 5).long()).mean(1))

    net = Net(forward, table=nn.Embedding(10, D), head=nn.Linear(D, 10))
    net.head.weight = net.table.weight
    (layer,) = found(net).values()
    assert (layer.aliases, (layer.reason or "").partition(":")[0]) == (("head.weight",), "embedding")
    assert layer.macs == 80


def test_layers_that_are_not_used():
    net = Net(lambda net, x: net.head(x.flatten(1)), head=nn.Linear(192, 10), spare=nn.Linear(5, 5))
    assert reason(net, "spare") == "unused"
    assert found(net)["spare"].macs == 0


def test_products_that_are_computed_once_for_all_images():
    """A small network of fixed coordinates gives a bias; one of fixed queries is computed again for each image."""
    coordinates = torch.rand(4, 6)

    def forward(net, x):
        again = net.each(net.coordinates.expand(len(x), -1, -1)).mean((1, 2)) if net.expand else 0
        return net.head(x.flatten(1)) + net.once(net.coordinates).mean() + (again[:, None] if net.expand else 0)

    for expand in (False, True):
        net = Net(forward, head=nn.Linear(192, 10), once=nn.Linear(6, 5), each=nn.Linear(6, 5))
        net.register_buffer("coordinates", coordinates)
        net.expand = expand
        total = 1920 + 4 * 30 + (4 * 30 if expand else 0)
        assert sum(prunable(net).values()) == take_inventory(net, images()).macs == total
        assert [count_macs(net, images(n)).total for n in (1, 2, 5)] == [total] * 3


@pytest.mark.parametrize("fused", [True, False])
def test_learned_queries_of_attention(fused):
    """They are data of the products: read, though no weight; what projects them is one."""

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v) if fused else attention(q, k, v)

    def forward(net, x):
        y = tokens(x)
        return net.head(attend(net.project(net.queries).expand(len(x), -1, -1), y, y).mean(1))

    net = Net(forward, queries=weight(3, D), head=nn.Linear(D, 10), project=nn.Linear(D, D))
    assert reason(net, "queries") == "not multiplied as a weight"
    assert prunable(net) == {"project": 3 * D * D, "head": D * 10}
    check_halved(net, half=3 * D * D + D * 10, dense=2 * 3 * T * D)


@pytest.mark.parametrize("need_weights", [True, False])
def test_learned_queries_of_multihead_attention(need_weights):
    def forward(net, x):
        y = tokens(x)
        queries = net.queries.expand(len(x), -1, -1)
        return net.head(net.attn(queries, y, y, need_weights=need_weights)[0].mean(1))

    net = Net(forward, queries=weight(3, D), attn=nn.MultiheadAttention(D, HEADS, batch_first=True),
              head=nn.Linear(D, 10))  # fmt: skip
    assert reason(net, "queries") == "not multiplied as a weight"
    assert set(prunable(net)) == {"attn.in_proj_weight", "attn.out_proj", "head"}


def test_learned_queries_that_attend_to_each_other():
    """As in the first layer of a DETR decoder, where nothing depends on the images yet."""

    def forward(net, x):
        queries = net.queries.expand(len(x), -1, -1)
        return net.head(net.decoder(queries, tokens(x)).mean(1))

    decoder = nn.TransformerDecoderLayer(D, HEADS, 16, batch_first=True)
    net = Net(forward, queries=weight(3, D), decoder=decoder, head=nn.Linear(D, 10))
    assert [name for name, one in found(net).items() if one.reason is not None] == ["queries"]


def test_learned_keys_and_values():
    def forward(net, x):
        return net.head(F.scaled_dot_product_attention(tokens(x), net.keys, net.values).mean(1))

    net = Net(forward, keys=weight(1, 3, D), values=weight(1, 3, D), head=nn.Linear(D, 10))
    assert {name: (one.reason or "").partition(":")[0] for name, one in found(net).items()} == {
        "head": "", "keys": "not multiplied as a weight", "values": "not multiplied as a weight",
    }  # fmt: skip


def test_a_classifier_of_computed_prototypes():
    def forward(net, x):
        return torch.softmax(x.flatten(1)[:, :8] @ net.prototypes.tanh().T, dim=1)

    net = Net(forward, prototypes=weight(10, 8))
    assert reason(net, "prototypes") == "computed weight"
    assert found(net)["prototypes"].macs == 80


def test_a_weight_computed_from_vectors():
    net = linear_of(lambda net: net.a[:, None] * net.b, a=weight(10), b=weight(8))
    inventory = take_inventory(net, images())
    assert sum(one.macs for one in inventory.weights) + inventory.without_weight == inventory.macs == 80


def test_parameters_that_share_memory_are_refused():
    net = Net(lambda net, x: net.b(net.a(x.flatten(1)[:, :10])), a=nn.Linear(10, 10), b=nn.Linear(10, 10))
    net.b.weight = nn.Parameter(net.a.weight.data)
    with pytest.raises(UserError, match=r"a\.weight and b\.weight share memory but are two parameters"):
        take_inventory(net, images())


def test_complex_weights():
    """A Fourier layer: complex numbers are no weights that a magnitude prunes one by one."""

    def forward(net, x):
        spectrum = torch.einsum("bixy,ioxy->boxy", torch.fft.rfft2(x), net.filters)
        return torch.fft.irfft2(spectrum).mean((2, 3))

    net = Net(forward, filters=nn.Parameter(torch.rand(3, 10, 8, 5, dtype=torch.cfloat)))
    assert reason(net, "filters") == "complex weight"


def test_a_parameter_read_as_complex():
    def forward(net, x):
        spectrum = torch.einsum("bixy,ioxy->boxy", torch.fft.rfft2(x), torch.view_as_complex(net.filters))
        return torch.fft.irfft2(spectrum).mean((2, 3))

    net = Net(forward, filters=weight(3, 10, 8, 5, 2))
    assert found(net)["filters"].reason is not None
