"""What attention multiplies with which parameter: each number counted by hand."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hand_counted import (
    HEADS,
    D,
    Net,
    T,
    attention,
    check_halved,
    found,
    halve,
    images,
    prunable,
    tokens,
)
from torch import nn


def test_a_fused_qkv_parameter():
    def forward(net, x):
        q, k, v = F.linear(tokens(x), net.qkv.weight).chunk(3, dim=-1)
        return net.head(attention(q, k, v).mean(1))

    def net():
        return Net(forward, qkv=nn.Linear(D, 3 * D, bias=False), head=nn.Linear(D, 10))

    assert prunable(net()) == {"qkv": T * D * 3 * D, "head": D * 10}
    check_halved(net(), half=T * D * 3 * D + D * 10, dense=2 * T * T * D)


def test_multihead_attention_to_itself():
    def forward(net, x):
        y = tokens(x)
        return net.head(net.attn(y, y, y)[0].mean(1))

    def net():
        return Net(forward, attn=nn.MultiheadAttention(D, HEADS, batch_first=True), head=nn.Linear(D, 10))

    macs = {"attn.in_proj_weight": T * D * 3 * D, "attn.out_proj": T * D * D, "head": D * 10}
    assert prunable(net()) == macs
    check_halved(net(), half=sum(macs.values()), dense=2 * T * T * D)


@pytest.mark.parametrize("other", [D, 6])  # with one projection, and with three of their own
def test_multihead_attention_to_something_else(other):
    more = 3  # tokens attended to

    def forward(net, x):
        y, z = tokens(x), x.flatten(1)[:, -more * other :].unflatten(1, (more, other))
        return net.head(net.attn(y, z, z, need_weights=False)[0].mean(1))

    def net():
        attn = nn.MultiheadAttention(D, HEADS, kdim=other, vdim=other, batch_first=True)
        return Net(forward, attn=attn, head=nn.Linear(D, 10))

    query, key = T * D * D, more * other * D
    names = (
        {"attn.in_proj_weight": query + 2 * key}
        if other == D
        else {"attn.q_proj_weight": query, "attn.k_proj_weight": key, "attn.v_proj_weight": key}
    )
    macs = {**names, "attn.out_proj": T * D * D, "head": D * 10}
    assert prunable(net()) == macs
    x = images()
    if other != D:
        return check_halved(net(), half=sum(macs.values()), dense=2 * T * more * D)
    pruned = net()  # the rows of query, key and value lose different numbers of weights
    macs_found = halve(pruned, x)
    q, k, v = ((part != 0).sum() for part in pruned.attn.in_proj_weight.chunk(3))
    by_hand = T * q + more * (k + v) + (T * D * D + D * 10) // 2 + 2 * T * more * D
    assert macs_found.remaining == by_hand
    assert macs_found.total == sum(macs.values()) + 2 * T * more * D
    return None


def test_a_transformer_encoder_layer_of_torch():
    hidden = 20

    def forward(net, x):
        return net.head(net.layer(tokens(x)).mean(1))

    def net():
        return Net(forward, layer=nn.TransformerEncoderLayer(D, HEADS, hidden, batch_first=True), head=nn.Linear(D, 10))

    macs = {
        "layer.self_attn.in_proj_weight": T * D * 3 * D, "layer.self_attn.out_proj": T * D * D,
        "layer.linear1": T * D * hidden, "layer.linear2": T * D * hidden, "head": D * 10,
    }  # fmt: skip
    assert prunable(net()) == macs
    check_halved(net(), half=sum(macs.values()), dense=2 * T * T * D)


def test_torchvisions_vision_transformer():
    side, patch, hidden = 16, 8, 24
    n = (side // patch) ** 2 + 1

    def net():
        torch.manual_seed(0)
        return torchvision.models.VisionTransformer(side, patch, 2, HEADS, D, hidden, num_classes=10)

    embedding = (n - 1) * 3 * patch * patch * D
    block = n * (D * 3 * D + D * D + 2 * D * hidden)
    check_halved(
        net(), half=embedding + 2 * block, dense=2 * 2 * n * n * D + D * 10, x=images(side=side), exclude=("head",)
    )


def test_beit_of_timm():
    d, n = 12, 17

    def net():
        return timm.create_model("beit_base_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=d, num_heads=2,
                                 num_classes=10)  # fmt: skip

    half = 16 * 3 * 64 * d + 2 * n * (d * 3 * d + d * d + 2 * d * 4 * d)
    check_halved(net(), half, dense=2 * 2 * n * n * d + d * 10, x=images(side=32), exclude=("head",))
    tables = {name for name, one in found(net(), images(side=32)).items() if one.kind == "index"}
    assert tables == {f"blocks.{number}.attn.relative_position_bias_table" for number in range(2)}


def test_eva_of_timm():
    d, n, hidden = 24, 17, 64  # hidden: 24 * 4 * 2 / 3

    def net():
        return timm.create_model("eva02_tiny_patch14_224", img_size=32, patch_size=8, depth=2, embed_dim=d, num_heads=2,
                                 num_classes=10)  # fmt: skip

    half = 16 * 3 * 64 * d + 2 * n * (d * 3 * d + d * d + 3 * d * hidden)
    check_halved(net(), half, dense=2 * 2 * n * n * d + d * 10, x=images(side=32), exclude=("head",))


def test_swin_v2_of_timm():
    d, window, positions = 16, 4, 64

    def net():
        return timm.create_model("swinv2_tiny_window8_256", img_size=32, window_size=window, depths=(1,), embed_dim=d,
                                 num_heads=(2,), num_classes=10)  # fmt: skip

    coordinates = (2 * window - 1) ** 2
    bias = coordinates * (2 * 512 + 512 * 2)  # an MLP of the relative coordinates, once for all images
    half = positions * 3 * 16 * d + positions * (d * 3 * d + d * d + 2 * d * 4 * d) + bias
    check_halved(
        net(), half, dense=2 * positions * window * window * d + d * 10, x=images(1, side=32), exclude=("head",)
    )
