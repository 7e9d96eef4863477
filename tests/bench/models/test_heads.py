"""Attention heads, against a forward pass that is written out head by head."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.models.heads import MIXED_HEADS, OTHER_FORM, find_heads, head_space
from bench.models.inventory import take_inventory
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import examine, find_units
from bench.models.view import ModelView

HEADS, WIDTH = 4, 16
IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def vit(**more: object) -> nn.Module:
    torch.manual_seed(0)
    net = VisionTransformer(
        img_size=8, patch_size=4, num_classes=5, embed_dim=WIDTH, depth=2, num_heads=HEADS, mlp_ratio=2, **more
    ).eval()
    for parameter in net.parameters():  # biases and normalisation start at zeros and ones
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return net


def removed(net: nn.Module, kept: Tensor) -> None:
    units = find_units(net, "head", ("head",), IMAGES)
    apply_masks(net, units, MaskSet.from_flat(units.ranked, kept).members(units))


def by_head(net: nn.Module, x: Tensor, kept: list[list[int]]) -> Tensor:
    """Logits of a plain Vision Transformer that has only some heads."""
    x = net.norm_pre(net._pos_embed(net.patch_embed(x)))
    width = WIDTH // HEADS
    for block, heads in zip(net.blocks, kept, strict=True):
        y, attn, out = block.norm1(x), block.attn, block.attn.proj.bias.expand_as(x)
        for head in heads:
            rows = [slice(part * WIDTH + head * width, part * WIDTH + (head + 1) * width) for part in range(3)]
            q, k, v = (F.linear(y, attn.qkv.weight[row], attn.qkv.bias[row]) for row in rows)
            probabilities = (q @ k.mT / width**0.5).softmax(dim=-1)
            out = out + F.linear(probabilities @ v, attn.proj.weight[:, head * width : (head + 1) * width])
        x = x + out
        x = x + block.mlp(block.norm2(x))
    return net.forward_head(net.norm(x))


def test_a_masked_vit_computes_what_it_would_without_the_heads():
    net = vit()
    kept = torch.tensor([True, False, True, True, False, False, True, False])
    expected = by_head(net, IMAGES, [[0, 2, 3], [2]])
    assert not torch.allclose(net(IMAGES), expected, atol=1e-4)
    removed(net, kept)
    torch.testing.assert_close(net(IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_rows_biases_and_columns_of_a_removed_head_are_zero_and_no_others():
    net = vit()
    removed(net, torch.tensor([True, False, True, True, True, True, True, True]))
    rows = torch.tensor([part * WIDTH + 4 + i for part in range(3) for i in range(4)])
    attn = net.blocks[0].attn
    gone = torch.zeros(3 * WIDTH, dtype=torch.bool).index_fill(0, rows, True)
    assert torch.equal(gone, (attn.qkv.weight == 0).all(dim=1))
    assert torch.equal(gone, attn.qkv.bias == 0)
    assert (attn.proj.weight == 0).all(dim=0).nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert bool((attn.proj.bias != 0).all())
    assert all(bool((p != 0).all()) for p in net.blocks[1].parameters())


def test_the_magnitude_of_a_head_is_the_mean_over_its_rows():
    net = vit()
    view = ModelView(net, find_units(net, "head", ("head",), IMAGES))
    found = view.units.coupling.means(view.units.flatten(view.magnitudes()))["blocks.1.attn"]
    weight = net.blocks[1].attn.qkv.weight.double().view(3, HEADS, -1)
    torch.testing.assert_close(found, weight.abs().mean(dim=(0, 2)))


@pytest.mark.parametrize("more", [{"qk_norm": True}, {"class_token": False, "global_pool": "avg"}])
def test_norms_of_queries_and_keys_change_nothing(more):
    net = vit(**more)
    units = find_units(net, "head", ("head",), IMAGES)
    assert (units.ranked.total, units.names) == (2 * HEADS, ("blocks.0.attn.qkv", "blocks.1.attn.qkv"))


def test_windows_and_their_position_biases():
    net = SwinTransformer(
        img_size=16, patch_size=2, num_classes=5, embed_dim=8, depths=(2, 1), num_heads=(2, 4), window_size=4
    ).eval()
    units = find_units(net, "head", ("head",), torch.rand(1, 3, 16, 16)).ranked
    assert [(layer.name, layer.size) for layer in units.layers] == [
        ("layers.0.blocks.0.attn", 2), ("layers.0.blocks.1.attn", 2), ("layers.1.blocks.0.attn", 4),
    ]  # fmt: skip


class Attention(nn.Module):
    """Attention over the columns of an image, whose weights can be held in several ways."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.heads, self.form = 2, form
        sizes = {"separate": (8, 8, 8), "two": (8, 16)}.get(form, (24,))
        self.projections = nn.ModuleList(nn.Linear(8, size) for size in sizes)
        self.out, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)[:, :8].transpose(1, 2)
        y = torch.cat([projection(tokens) for projection in self.projections], dim=-1)
        n, t, _ = y.shape
        if self.form == "by head":
            q, k, v = y.view(n, t, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = y.view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.form == "values first":
            v, q, k = q, k, v
        probabilities = (q @ k.mT).softmax(dim=-1)
        if self.form == "mixed":
            probabilities = probabilities + probabilities.roll(1, dims=1)
        y = (probabilities @ v).transpose(1, 2).flatten(2)
        return self.out(self.norm(y) if self.form == "normalised" else y).mean(dim=1)


class Classifier(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention, self.head = Attention(form), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x))


@pytest.mark.parametrize("form", ["fused", "by head", "values first", "separate", "two"])
def test_however_the_weights_are_held(form):
    net = Classifier(form).eval()
    units = find_units(net, "head", ("head",), IMAGES)
    assert units.ranked.total == 2
    assert units.total == 24
    assert sum(layer.reader is not None for layer in units.layers) == 1
    without = Classifier(form).eval()
    removed(without, torch.tensor([False, True]))
    assert (without.attention.out.weight == 0).all(dim=0).tolist() == [True] * 4 + [False] * 4
    net.attention.out.weight.data[:, :4] = 0  # nothing reads the first head
    torch.testing.assert_close(without(IMAGES), net(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["normalised", "mixed"])
def test_heads_that_depend_on_each_other_are_none(form):
    net = Classifier(form).eval()
    reasons = examine(net, "head", ("head",), take_inventory(net, IMAGES)).reasons
    assert reasons["attention.projections.0"] == reasons["attention.out"] == MIXED_HEADS


def test_attention_of_another_form_is_named():
    net = Classifier("fused").eval()
    net.attention.heads = 3  # eight channels do not divide by three
    inventory = take_inventory(Classifier("fused").eval(), IMAGES)
    found, reasons = find_heads(net, inventory)
    assert (found, reasons["attention.out"]) == ([], OTHER_FORM)


def test_multihead_attention_of_torch():
    layer = nn.TransformerEncoderLayer(8, 2, 4, batch_first=True)
    net = nn.Sequential(nn.Flatten(2), layer, nn.Flatten(), nn.Linear(24, 3)).eval()
    examined = examine(net, "head", ("head",), take_inventory(net, torch.rand(2, 3, 2, 4)))
    assert examined.counts() == {"1.self_attn.in_proj_weight": 2}
    assert (examined.reasons["1.self_attn.out_proj"] or "").startswith("cut along")


def test_a_network_without_attention_and_one_whose_projection_is_excluded_have_no_heads():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    examined = examine(net, "head", ("head",), take_inventory(net, IMAGES))
    assert (examined.units, examined.counts()) == (None, {})
    assert (examined.reasons["0"] or "").startswith("no heads")
    vision = vit()
    units = find_units(vision, "head", ("head", "blocks.0.attn.proj"), IMAGES)
    assert units.ranked.names == ("blocks.1.attn",)


def test_the_network_is_left_as_it_is():
    net = vit()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found, _ = find_heads(net, take_inventory(net, IMAGES))
    assert [one.name for one in found] == ["blocks.0.attn", "blocks.1.attn"]
    assert head_space(found, "patch_embed.proj").ranked.total == 2 * HEADS
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_class_attention_of_timm():
    net = timm.create_model("cait_xxs24_224", img_size=32, num_classes=3, depth=1).eval()
    units = find_units(net, "head", ("head",), torch.rand(1, 3, 32, 32)).ranked
    assert units.names == ("blocks_token_only.0.attn", "blocks_token_only.1.attn")
