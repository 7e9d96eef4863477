"""Global magnitude masks against `torch.nn.utils.prune`, where no tie is cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

from bench.masks.allocation import global_
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.cifar import cifar_resnet20
from bench.models.unit_space import UnitSpace
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.magnitude import magnitude

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)


def _assert_masks_agree(model: nn.Module, units: UnitSpace, sparsity: float) -> None:
    view = ModelView(model, units)
    scores = magnitude(view, None, None)
    order = keep_order(units, scores, scores)
    masks = build_masks(units, order, global_(units, scores, sparsity, view))
    ranked = units.flatten(scores)[order]
    assert ranked[masks.kept - 1] > ranked[masks.kept], "a tie is cut: torch's choice is arbitrary"
    layers = [(model.get_submodule(name), "weight") for name in units.names]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=units.total - masks.kept)
    for (module, _), name in zip(layers, units.names, strict=True):
        assert torch.equal(masks[name], module.weight_mask.bool()), name
        prune.remove(module, "weight")


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_small_net(sparsity: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 4))
    units = find_units(net, "weight", (), torch.zeros(1, 3, 5, 5))
    _assert_masks_agree(net, units, sparsity)


@pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_published_resnet20(sparsity: float) -> None:
    net = cifar_resnet20()
    file = Path(os.environ["PRUNEBENCH_DATA"], "weights", "resnet20-cifar10-akamaster.safetensors")
    net.load_state_dict(load_file(file))
    units = find_units(net, "weight", ("head",), torch.zeros(1, 3, 32, 32))
    assert units.total == 267_696
    _assert_masks_agree(net, units, sparsity)
