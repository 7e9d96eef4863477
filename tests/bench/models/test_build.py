"""Building networks by name, and resolving recipes."""

import pytest
import timm
import torch

from bench.core.errors import UserError
from bench.core.registry import Registry
from bench.models.build import build_model, check_model_name, resolve_recipe, seeded
from bench.models.checkpoints import state_digest
from bench.study.spec import ModelSpec, Recipe


def test_seed_decides_and_global_state_stays(digits, registry):
    before = torch.get_rng_state()
    first, again, other = (build_model(ModelSpec(name="digits_cnn"), registry, digits, s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert state_digest(first.state_dict()) == state_digest(again.state_dict())
    assert state_digest(first.state_dict()) != state_digest(other.state_dict())
    assert not first.training


def test_timm_name_gets_the_data_sets_sizes(digits, registry):
    model = build_model(ModelSpec(name="resnet10t"), registry, digits, 0)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    reference = timm.create_model("resnet10t", pretrained=False, in_chans=1, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())


def test_timm_net_of_fixed_input_size(digits, registry):
    spec = ModelSpec(name="vit_tiny_patch16_224", args={"patch_size": 4, "depth": 1})
    model = build_model(spec, registry, digits, 0)
    assert model.patch_embed.num_patches == 4
    assert len(model.blocks) == 1


def test_users_function_beside_the_study(digits, registry, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, width=3):\n"
        "    layers = nn.Conv2d(1, width, 8), nn.Flatten(), nn.Linear(width, num_classes)\n"
        "    return nn.Sequential(*layers).double()\n"
    )
    model = build_model(ModelSpec(name="./net.py:net", args={"width": 5}), registry, digits, 0)
    assert model[0].weight.shape[0] == 5
    assert model[0].weight.dtype == torch.float32


def test_function_that_returns_no_module(digits, registry, tmp_path):
    (tmp_path / "net.py").write_text("def net():\n    return 3\n")
    with pytest.raises(UserError, match="its function gives int, not an"):
        build_model(ModelSpec(name="./net.py:net"), registry, digits, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="digits_cn"), "no model named 'digits_cn': did you mean 'digits_cnn'"),
        (ModelSpec(name="resnet5O"), "did you mean 'resnet50'"),
        (ModelSpec(name="digits_cnn", args={"depth": 3}), "cannot be built with .*depth=3"),
        (ModelSpec(name="resnet10t", args={"depth": 3}), "cannot be built with .*depth=3"),
    ],
)
def test_bad_entries(digits, registry, spec, message):
    with pytest.raises(UserError, match=message):
        build_model(spec, registry, digits, 0)


def test_known_names(registry):
    check_model_name("digits_vit", registry)
    check_model_name("resnet50.a1_in1k", registry)
    with pytest.raises(UserError, match="no model named 'lenet'"):
        check_model_name("lenet", Registry([]))


def test_recipe_layers(registry):
    own = resolve_recipe(ModelSpec(name="digits_cnn"), registry)
    assert (own.augmentation, own.label_smoothing) == ("shift", Recipe().label_smoothing)
    changed = resolve_recipe(ModelSpec(name="digits_cnn", recipe={"augmentation": "none"}), registry)
    assert changed == own.model_copy(update={"augmentation": "none"})
    assert resolve_recipe(ModelSpec(name="resnet50"), registry) == Recipe()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"epoch": 3}, "no recipe key 'epoch': did you mean 'epochs'"),
        ({"epochs": 0}, r"recipe epochs: .*greater than or equal to 1 \(got 0\)"),
        ({"optimizer": "adam"}, r"recipe optimizer: .*\(got 'adam'\)"),
    ],
)
def test_bad_recipes(registry, recipe, message):
    with pytest.raises(UserError, match=message):
        resolve_recipe(ModelSpec(name="digits_cnn", recipe=recipe), registry)


def test_seeded_restores_after_an_error():
    before = torch.get_rng_state()

    def fail():
        with seeded(3):
            torch.rand(5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
