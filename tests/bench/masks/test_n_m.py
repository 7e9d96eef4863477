"""N:M: exactly N of every M input channels, and they are the best ones."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from bench.core.errors import NotApplicable, UserError
from bench.masks.build import build_masks
from bench.masks.n_m import fixed_n_m, input_groups, n_m
from bench.masks.order import keep_order
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.units import find_units
from bench.models.view import ModelView
from bench.plugins.catalogue import make_registry
from bench.study.load import load_study
from bench.study.spec import Study


def _view(net: nn.Module, example: Tensor, granularity: str = "weight", exclude: tuple[str, ...] = ()) -> ModelView:
    net.eval()
    return ModelView(net, find_units(net, granularity, exclude, example))


def _masks(view: ModelView, n: int, m: int) -> tuple[MaskSet, dict[str, Tensor], list[str]]:
    """Masks by magnitude, the magnitudes, and the layers left dense."""
    magnitudes = view.magnitudes()
    scores = ScoreMap(magnitudes)
    budget = n_m(view.units, scores, None, view, n=n, m=m)
    return (
        build_masks(view.units, keep_order(view.units, scores, magnitudes), budget),
        magnitudes,
        budget.notes["dense_layers"],
    )


def _assert_groups_hold_their_best(mask: Tensor, scores: Tensor, n: int, m: int) -> None:
    """Look at each group by itself: a loop over output channel, kernel position and group."""
    mask, scores = (t.flatten(2) if t.dim() == 4 else t.unsqueeze(2) for t in (mask, scores))
    outputs, inputs, places = mask.shape
    for o in range(outputs):
        for place in range(places):
            for start in range(0, inputs, m):
                kept = mask[o, start : start + m, place]
                group = scores[o, start : start + m, place]
                assert sorted(group[kept].tolist()) == sorted(group.tolist())[-n:]


def _net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1),  # the first layer, though 4 divides by 4
            nn.Conv2d(8, 6, (3, 2), padding=1),
            nn.Conv2d(6, 16, 1),  # 6 does not divide by 4
            nn.Conv2d(16, 8, 3, groups=2),  # 8 input channels per group
            nn.Conv2d(8, 8, 3, groups=8),  # depthwise
            nn.Flatten(),
            nn.Linear(48, 5),
        )


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (4, 8), (1, 2)])
def test_every_group_keeps_its_best(n: int, m: int) -> None:
    view = _view(_net(), torch.zeros(1, 4, 6, 6))
    masks, magnitudes, dense = _masks(view, n, m)
    assert dense == (["0", "4"] if m == 2 else ["0", "2", "4"])
    for name in view.units.names:
        if name in dense:
            assert bool(masks[name].all())
        else:
            _assert_groups_hold_their_best(masks[name], magnitudes[name], n, m)
            assert int(masks[name].sum()) * m == masks[name].numel() * n


def test_group_numbers_are_those_of_a_loop() -> None:
    out, inputs, kh, kw, m = 3, 6, 2, 2, 3
    numbers = input_groups((out, inputs, kh, kw), m).view(out, inputs, kh, kw)
    seen: dict[int, set[tuple[int, int, int, int]]] = {}
    for o in range(out):
        for i in range(inputs):
            for h in range(kh):
                for w in range(kw):
                    seen.setdefault(int(numbers[o, i, h, w]), set()).add((o, i // m, h, w))
    assert sorted(seen) == list(range(out * inputs // m * kh * kw))
    assert all(len(places) == 1 for places in seen.values())


def test_the_first_layer_is_the_networks_also_where_it_is_excluded() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    for exclude, dense in (((), ["0"]), (("stem",), [])):
        view = _view(net, torch.zeros(1, 4), exclude=exclude)
        assert n_m(view.units, None, None, view, n=2, m=4).notes == {"dense_layers": dense}


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit", "cifar_resnet20"])
def test_our_networks_register_their_first_layer_first(name: str) -> None:
    net = make_registry().get("model", name).function(num_classes=10)
    channels = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels
    size = 8 if channels == 1 else 32
    view = _view(net, torch.zeros(1, channels, size, size))
    assert n_m(view.units, None, None, view, n=1, m=2).notes["dense_layers"][0] == view.units.names[0]


@pytest.mark.parametrize(
    ("name", "arguments", "dense"),
    [
        ("mobilenetv3_small_100", {}, {"conv_stem", "blocks.0.0.conv_dw", "blocks.4.1.conv_dw"}),
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2}, {"patch_embed.proj"}),
    ],
)
def test_networks_of_timm(name: str, arguments: dict[str, int], dense: set[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model(name, pretrained=False, **arguments)
    view = _view(net, torch.zeros(1, 3, 32, 32), exclude=("head",))
    masks, magnitudes, left = _masks(view, 2, 4)
    assert dense <= set(left)
    for layer in view.units.layers:
        mask, magnitude = masks[layer.name], magnitudes[layer.name]
        if layer.name in left:
            assert layer.name == view.units.names[0] or layer.weight_shape[1] % 4
            assert bool(mask.all())
            continue
        kept, size = (
            t.flatten(2).unflatten(1, (-1, 4)) if t.dim() == 4 else t.unflatten(1, (-1, 4)) for t in (mask, magnitude)
        )
        assert bool((kept.sum(2) == 2).all())
        least_kept, most_pruned = size.masked_fill(~kept, torch.inf).amin(2), size.masked_fill(kept, 0).amax(2)
        assert bool((least_kept >= most_pruned).all())


def test_a_network_without_a_layer_that_qualifies_is_skipped() -> None:
    view = _view(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3)), torch.zeros(1, 8))
    with pytest.raises(NotApplicable, match="divide by 4"):
        fixed_n_m(2, 4)(view.units, None, None, view)


def test_channels_are_skipped() -> None:
    view = _view(_net(), torch.zeros(1, 4, 6, 6), "channel")
    with pytest.raises(NotApplicable, match="channel"):
        fixed_n_m(2, 4)(view.units, None, None, view)


@pytest.mark.slow
def test_25_million_weights_take_seconds() -> None:
    view = _view(timm.create_model("resnet50", pretrained=False), torch.zeros(1, 3, 32, 32))
    start = time.process_time()
    budget = fixed_n_m(2, 4)(view.units, None, None, view)
    assert time.process_time() - start < 10
    assert len(budget.segment) == view.units.total > 25_000_000


def _study(tmp_path: Path, allocations: str) -> Study:
    text = "name: s\ndata: [digits]\nmodels: [digits_cnn]\nscorers: [magnitude]\nsparsities: [0.5]\n"
    (tmp_path / "study.yaml").write_text(f"{text}allocations: {allocations}\n")
    return load_study(tmp_path, make_registry(tmp_path))


def test_a_study_names_patterns(tmp_path: Path) -> None:
    study = _study(tmp_path, "[2:4, '1:4', {name: n:m, n: 3, m: 5}]")
    assert [choice.label for choice in study.values["allocation"]] == ["2:4", "1:4", "n:m(n=3, m=5)"]
    assert study.values["allocation"][2].options == {"n": 3, "m": 5}
    plugins = [make_registry().get("allocation", choice.name) for choice in study.values["allocation"]]
    assert all(plugin.sets_sparsity and plugin.granularities == ("weight",) for plugin in plugins)


@pytest.mark.parametrize(
    ("allocations", "message"),
    [
        ("[3:5]", r"line 6, column 15: no allocation is named '3:5': write \{name: n:m, n: 3, m: 5\}"),
        ("['n:m']", "option 'n' of allocation 'n:m': Field required"),
        ("[{name: n:m, n: 4, m: 4}]", "option 'm' of allocation 'n:m': must be greater than n"),
        ("[{name: n:m, n: 0, m: 4}]", "option 'n' of allocation 'n:m'.*greater than or equal to 1"),
        ("[{name: 2:4, n: 2}]", "allocation '2:4' has no option 'n': it takes no options"),
    ],
)
def test_a_wrong_pattern_is_named(tmp_path: Path, allocations: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _study(tmp_path, allocations)
