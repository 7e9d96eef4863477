"""Prunable units: counts of METHODS section 1, and small networks whose answer is plain."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from hand_counted import HEADS, D, Net, images, tokens
from torch import nn

from bench.core.errors import UserError
from bench.models.digits import digits_vit
from bench.models.inventory import take_inventory
from bench.models.unchanged import left_behind, marks
from bench.models.units import examine, find_units


@pytest.mark.parametrize(
    ("name", "followed", "convolutions"),
    [("resnet50", 53, 53), ("mobilenetv3_small_100", 34, 53), ("densenet121", 59, 120)],
)
def test_directly_following_batchnorms_of_timm(name, followed, convolutions):
    model = timm.create_model(name, pretrained=False)
    units = find_units(model, "channel", ("head",), torch.zeros(1, 3, 64, 64))
    convs = [layer for layer in units.layers if isinstance(model.get_submodule(layer.name), nn.Conv2d)]
    assert len(convs) == convolutions
    assert sum(layer.batchnorm is not None for layer in convs) == followed
    assert all(layer.exact_removal == (layer.batchnorm is not None) for layer in convs)


class Routed(nn.Module):
    """One convolution whose output goes to a BatchNorm in the way that `forward` says."""

    def __init__(self, route):
        super().__init__()
        self.route = route
        self.conv = nn.Conv2d(1, 3, 1)
        self.bn = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.route(self, x).mean(dim=(2, 3)))


def skip(net, x):
    y = net.conv(x)
    return net.bn(y) + y


@pytest.mark.parametrize(
    ("route", "follows"),
    [
        (lambda net, x: net.bn(net.conv(x)), True),
        (lambda net, x: F.relu(net.bn(net.conv(x))), True),
        (lambda net, x: net.bn(F.relu(net.conv(x))), False),  # something between
        (lambda net, x: net.bn(net.conv(x) * 1), False),  # another tensor
        (skip, False),  # a second consumer
        (lambda net, x: net.bn(net.conv(x)) + net.bn(net.conv(x)), False),  # both called twice
        (lambda net, x: net.bn(net.conv(x)) + net.conv(x), False),  # the convolution called twice
        (
            lambda net, x: net.bn(net.conv(x)) + net.bn(x.expand(-1, 3, -1, -1)),
            False,
        ),  # BatchNorm called twice
    ],
)
def test_what_directly_following_means(route, follows):
    conv, head = take_inventory(Routed(route), torch.rand(2, 1, 4, 4)).weights
    assert (conv.name, conv.batchnorm) == ("conv", "bn" if follows else None)
    assert (head.name, head.batchnorm) == ("head", None)


def test_reading_the_shape_is_no_consumer():
    def route(net, x):
        y = net.conv(x)
        assert y.shape[1] == y.size(1) == 3
        assert y.dim() == 4
        return net.bn(y)

    assert take_inventory(Routed(route), torch.rand(1, 1, 2, 2)).weights[0].batchnorm == "bn"


def test_order_is_that_of_the_forward_pass():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(2, 2)
            self.unused = nn.Linear(2, 2)
            self.first = nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    units = find_units(Backwards(), "weight", (), torch.zeros(1, 2, 1, 1))
    assert units.names == ("first", "last")


def test_model_is_left_as_it_was():
    model = Routed(lambda net, x: net.bn(net.conv(x))).train()
    model.bn.eval()
    own_marks = marks(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_units(model, "weight", ("head",), torch.rand(2, 1, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert left_behind(model, own_marks) is None


def test_vit_units():
    model, example = digits_vit(), torch.zeros(1, 1, 8, 8)
    weight = find_units(model, "weight", ("head",), example)
    assert len(weight.layers) == 1 + 3 * 4  # patch embedding; qkv, proj, fc1, fc2 of each block
    assert weight.total == 4 * 64 + 3 * (64 * 192 + 64 * 64 + 2 * 64 * 128)
    channel = find_units(model, "channel", ("head", "stem"), example)
    assert channel.names == tuple(f"blocks.{i}.mlp.fc1" for i in range(3))
    assert [layer.partner for layer in channel.layers] == [f"blocks.{i}.mlp.fc2" for i in range(3)]
    assert all(layer.unit_shape == (128,) and layer.exact_removal for layer in channel.layers)


def test_mlp_without_its_reader_is_no_unit():
    units = find_units(digits_vit(), "channel", ("head", "*.1.mlp.fc2"), torch.zeros(1, 1, 8, 8))
    assert "blocks.1.mlp.fc1" not in units.names
    assert "blocks.0.mlp.fc1" in units.names


@pytest.mark.parametrize("name", ["convnext_atto", "convnext_tiny"])  # MLPs of convolutions, of linear layers
def test_convnext_hidden_channels(name):
    model = timm.create_model(name, pretrained=False)
    units = find_units(model, "channel", ("head",), torch.zeros(1, 3, 32, 32))
    hidden = {layer.name: layer for layer in units.layers if layer.name.endswith("mlp.fc1")}
    assert len(hidden) == sum(n.endswith("mlp.fc1") for n, _ in model.named_modules())
    assert all(layer.partner == name.replace("fc1", "fc2") for name, layer in hidden.items())
    assert all(layer.exact_removal for layer in hidden.values())


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        ((), {"0", "1", "3"}),
        (("head",), {"0", "1"}),
        (("stem",), {"1", "3"}),
        (("head", "stem"), {"1"}),
        (("[01]",), {"3"}),
    ],
)
def test_exclusion(exclude, kept):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(2, 2))
    assert set(find_units(model, "weight", exclude, torch.zeros(1, 1, 1, 1)).names) == kept


def test_timm_head_is_the_classifier_both_of_them():
    model = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False, img_size=32)
    names = find_units(model, "weight", ("head",), torch.zeros(1, 3, 32, 32)).names
    assert not {"head", "head_dist"} & set(names)
    assert "blocks.11.mlp.fc2" in names


def test_pattern_that_matches_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 1))
    with pytest.raises(UserError, match="'haed' matches no layer of Sequential: did you mean 'head'"):
        find_units(model, "weight", ("haed",), torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_nothing_to_prune(granularity):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(UserError, match=f"nothing to prune at granularity '{granularity}'"):
        find_units(model, granularity, ("head",), torch.zeros(1, 1, 1, 1))


def channels(net, x=None):
    """Name -> reader of the layers with channel units."""
    x = images() if x is None else x
    return {layer.name: layer.partner for layer in find_units(net.eval(), "channel", (), x).layers}


def test_a_gated_mlp_has_no_hidden_channels():
    class Glu(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.fc1, self.fc2 = nn.Linear(8, 12), nn.Linear(6, 10)

        def forward(self, x):
            value, gate = self.fc1(self.stem(x).mean((2, 3))).chunk(2, dim=-1)
            return self.fc2(value * gate.sigmoid())

    assert channels(Glu()) == {"stem": None}


def test_two_gates_have_no_hidden_channels():
    def forward(net, x):
        y = net.stem(x).mean((2, 3))
        return net.fc2(F.silu(net.fc1_g(y)) * net.fc1_x(y))

    net = Net(forward, stem=nn.Conv2d(3, 8, 1), fc1_g=nn.Linear(8, 6), fc1_x=nn.Linear(8, 6), fc2=nn.Linear(6, 10))
    assert channels(net) == {"stem": None}


def test_hidden_channels_of_an_mlp_of_torchvision():
    net = Net(lambda net, x: net.mlp(tokens(x)).mean(1), mlp=torchvision.ops.MLP(D, [12, 10], activation_layer=nn.GELU))
    assert channels(net) == {"mlp.0": "mlp.3"}


def test_hidden_channels_of_an_encoder_layer_of_torch():
    layer = nn.TransformerEncoderLayer(D, HEADS, 20, batch_first=True)
    net = Net(lambda net, x: net.head(net.layer(tokens(x)).mean(1)), layer=layer, head=nn.Linear(D, 10))
    assert channels(net) == {"layer.linear1": "layer.linear2"}


@pytest.mark.parametrize(
    ("name", "args", "stem"),
    [
        ("test_vit", {"img_size": 32}, "patch_embed.proj"),
        ("swin_tiny_patch4_window7_224", {"img_size": 32, "window_size": 4, "depths": (2,), "embed_dim": 16,
                                          "num_heads": (2,)}, "patch_embed.proj"),
    ],
)  # fmt: skip
def test_a_patch_embedding_has_no_channel_units(name, args, stem):
    net = timm.create_model(name, num_classes=10, **args).eval()
    x = images(side=32)
    assert stem not in channels(net, x)
    reasons = examine(net, "channel", (), take_inventory(net, x)).reasons
    assert (reasons[stem] or "").startswith("residual stream")


@pytest.mark.parametrize(("name", "stem"), [("test_convnext", "stem.0"), ("test_resnet", "conv1.0")])
def test_a_stem_of_a_convolutional_network_has_channel_units(name, stem):
    assert stem in channels(timm.create_model(name, num_classes=10).eval(), images(side=32))
