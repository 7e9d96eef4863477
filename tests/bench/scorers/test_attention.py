"""Attention scores against probabilities that are written out."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from bench.core.errors import NotApplicable
from bench.models.digits import digits_vit
from bench.models.unchanged import left_behind, marks
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.attention import attention_score


def draw(shape: tuple[int, ...], batch: int = 4) -> Calibration:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), batch)


def view_of(net: nn.Module, calibration: Calibration) -> ModelView:
    return ModelView(net.eval(), find_units(net, "head", ("head",), calibration.images[:1]))


def sharpened(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        if "qkv.weight" in name:
            parameter.data.normal_(std=0.5)
    return net.eval()


@torch.no_grad()
def inputs_of(net: nn.Module, name: str, x: Tensor) -> Tensor:
    found = []
    hook = net.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0]))
    net(x)
    hook.remove()
    return found[0]


@torch.no_grad()
def test_is_the_mean_over_images_and_queries_of_the_largest_probability():
    net, calibration = sharpened(digits_vit()), draw((6, 1, 8, 8))
    scores = attention_score(view_of(net, calibration), calibration, torch.Generator())
    for block in range(3):
        attn = net.blocks[block].attn
        tokens = inputs_of(net, f"blocks.{block}.attn", calibration.images)
        q, k, _ = attn.qkv(tokens).view(6, 16, 3, 4, 16).permute(2, 0, 3, 1, 4).double()
        probabilities = (q @ k.mT / 4).softmax(dim=-1)
        expected = probabilities.amax(dim=-1).mean(dim=(0, 2))
        torch.testing.assert_close(scores[f"blocks.{block}.attn"], expected, rtol=1e-5, atol=0)
        assert float(expected.max() - expected.min()) > 1e-3


def test_windows_with_position_biases_and_both_ways_to_compute_attention():
    calibration = draw((4, 3, 16, 16))
    torch.manual_seed(0)
    net = sharpened(
        SwinTransformer(
            img_size=16, patch_size=2, num_classes=5, embed_dim=8, depths=(2,), num_heads=(2,), window_size=4
        )
    )
    view = view_of(net, calibration)
    fused = attention_score(view, calibration, torch.Generator())
    for block in net.layers[0].blocks:
        block.attn.fused_attn = False
    apart = attention_score(view, calibration, torch.Generator())
    for name in fused:
        torch.testing.assert_close(fused[name], apart[name], rtol=1e-5, atol=0)
        assert bool((fused[name] > 1 / 16).all())


def test_multihead_attention_of_torch_and_any_batch():
    layer = nn.TransformerEncoderLayer(8, 2, 4, batch_first=True)
    net = nn.Sequential(nn.Flatten(2), layer, nn.Flatten(), nn.Linear(24, 3))
    layer.self_attn.in_proj_weight.data.mul_(5)
    calibration = draw((8, 3, 2, 4))
    view = view_of(net, calibration)
    scores = attention_score(view, calibration, torch.Generator())["1.self_attn"]
    _, probabilities = layer.self_attn(*[calibration.images.flatten(2)] * 3, average_attn_weights=False)
    torch.testing.assert_close(scores, probabilities.amax(dim=-1).mean(dim=(0, 2)).double(), rtol=1e-5, atol=0)
    again = attention_score(view, draw((8, 3, 2, 4), batch=3), torch.Generator())["1.self_attn"]
    torch.testing.assert_close(scores, again, rtol=1e-6, atol=0)


def test_the_network_is_left_as_it_is():
    net, calibration = digits_vit().eval(), draw((4, 1, 8, 8))
    before, state = marks(net), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attention_score(view_of(net, calibration), calibration, torch.Generator())
    assert left_behind(net, before) is None
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_only_heads_have_attention():
    net, calibration = digits_vit().eval(), draw((4, 1, 8, 8))
    view = ModelView(net, find_units(net, "channel", ("head",), calibration.images[:1]))
    with pytest.raises(NotApplicable, match="attention_score scores heads"):
        attention_score(view, calibration, torch.Generator())


class Linear(nn.Module):
    """Attention without a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = 2, nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(1).view(len(x), -1, 8)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return self.proj((q @ (k.mT @ v)).transpose(1, 2).flatten(2)).mean(dim=1)


def test_attention_without_a_softmax_is_named():
    net, calibration = nn.Sequential(Linear(), nn.Linear(8, 3)), draw((4, 1, 8, 8))
    with pytest.raises(NotApplicable, match="0: it has no softmax"):
        attention_score(view_of(net, calibration), calibration, torch.Generator())
