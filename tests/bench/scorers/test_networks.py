"""Every scorer of the catalogue on every family of networks: scores, masks, and the pruned network.

Small members of the families here, the published sizes in the slow test.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench.core.errors import NotApplicable
from bench.core.registry import Plugin
from bench.core.types import DataFacts, Granularity
from bench.masks.allocation import global_, uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.build import build_model
from bench.models.counts import keep_count
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.plugins.catalogue import make_registry
from bench.study.spec import ModelSpec

pytestmark = pytest.mark.long

REGISTRY = make_registry()
CIFAR = DataFacts("none", (32, 32), 3, 10, 0, 0, 0, 0, 0, 0)
SPARSITIES = (0.5, 0.9)
#: Through normalisation by the activations, and attention, there is no synaptic flow.
NO_FLOW = {"synflow", "synflow_oneshot"}
#: Fewer rounds than the default, which take their time and are no others.
OPTIONS = {"synflow": {"rounds": 10}}
VIT = {"img_size": 32, "patch_size": 4}
SMALL = [
    ("resnet18", {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}, set()),
    ("densenet121", {"block_config": (2, 2), "growth_rate": 4}, set()),
    ("lcnet_035", {}, set()),  # depthwise, squeeze-excite, hardswish: a smaller MobileNetV3
    ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)}, NO_FLOW),
    ("vit_small_patch16_224", {**VIT, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}, NO_FLOW),
]
CASES = [(*network, granularity) for network in SMALL for granularity in ("weight", "channel")]
CASES.remove((*SMALL[2], "weight"))  # 0.4 M weights; grouped convolutions are in ConvNeXt, too
PUBLISHED = [
    ("cifar_resnet20", {}, set()),
    ("cifar_resnet56", {}, set()),
    ("vgg16_bn_cifar", {}, set()),
    ("resnet18", {}, set()),
    ("resnet50", {}, set()),
    ("densenet121", {}, set()),
    ("mobilenetv3_small_100", {}, set()),
    ("convnext_atto", {}, NO_FLOW),
    ("vit_small_patch16_224", VIT, NO_FLOW),
    ("deit_tiny_patch16_224", VIT, NO_FLOW),
]


def _view(name: str, args: dict[str, Any], granularity: Granularity) -> ModelView:
    model = build_model(ModelSpec(name=name, args=args), REGISTRY, CIFAR, seed=0)
    return ModelView(model, find_units(model, granularity, ("head",), torch.zeros(2, 3, 32, 32)))


def _draw() -> Calibration:
    """Six images in batches of four."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 32, 32, generator=generator)
    return Calibration(images, torch.randint(10, (6,), generator=generator), 4)


def _scores(plugin: Plugin, view: ModelView, draw: Calibration) -> Iterator[tuple[tuple[float, ...], ScoreMap]]:
    """Scores with the sparsities that they serve: all, or each its own; features are fused by ones."""
    options = plugin.resolve(OPTIONS.get(plugin.name, {})).options
    for target in [(sparsity,) for sparsity in SPARSITIES] if plugin.takes_sparsity else [()]:
        scores = plugin.function(view, draw, torch.Generator().manual_seed(0), *target, **options)
        yield target or SPARSITIES, scores.fuse((1.0,) * len(scores.names)) if plugin.fuses_features else scores


@torch.no_grad()
def _check_forward(view: ModelView, masks: MaskSet, draw: Calibration) -> None:
    pruned = copy.deepcopy(view.model)
    apply_masks(pruned, view.units, masks)
    assert bool(pruned(draw.images).isfinite().all())


def check_scorers(name: str, args: dict[str, Any], granularity: Granularity) -> dict[str, str]:
    """Check every scorer on one network; return those that were skipped, with their reasons."""
    view, draw = _view(name, args, granularity), _draw()
    magnitudes, seen, skipped = view.magnitudes(), set(), {}
    for plugin in REGISTRY.of_kind("scorer"):
        if granularity not in plugin.granularities:
            continue
        try:
            for sparsities, scores in _scores(plugin, view, draw):
                scores.validate(view.units)
                order = keep_order(view.units, scores, magnitudes)
                for sparsity, allocation in itertools.product(sparsities, (global_, uniform)):
                    masks = build_masks(view.units, order, allocation(view.units, scores, sparsity, view))
                    sizes = [view.units.total] if allocation is global_ else [u.size for u in view.units.layers]
                    assert masks.kept == sum(keep_count(size, sparsity) for size in sizes), plugin.name
                    if masks.digest() not in seen:  # equal masks give equal networks
                        seen.add(masks.digest())
                        _check_forward(view, masks, draw)
        except NotApplicable as reason:
            skipped[plugin.name] = str(reason)
    return skipped


@pytest.mark.parametrize(("name", "args", "expected", "granularity"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_scorers_on_small_networks(
    name: str, args: dict[str, Any], expected: set[str], granularity: Granularity
) -> None:
    skipped = check_scorers(name, args, granularity)
    assert set(skipped) == expected
    assert all(skipped.values())


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize(("name", "args", "expected"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_scorers_on_published_networks(
    name: str, args: dict[str, Any], expected: set[str], granularity: Granularity
) -> None:
    skipped = check_scorers(name, args, granularity)
    assert set(skipped) == expected
    assert all(skipped.values())
