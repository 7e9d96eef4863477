"""MACs against published counts, and what remains of pruned networks against counts by hand."""

import math

import pytest
import timm
import torch
from torch import nn

from bench.models.cifar import cifar_resnet20
from bench.models.macs import count_macs, count_products, keeps_inputs, positive_state
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.vgg import vgg16_bn_cifar


@pytest.mark.parametrize(
    ("model", "size", "published"),  # in millions
    [
        (lambda: timm.create_model("resnet50", pretrained=False), 224, 4089),  # torchvision: 4.09 G
        (
            lambda: timm.create_model("mobilenetv3_small_100", pretrained=False),
            224,
            56,
        ),  # Howard 2019, table 3
        (cifar_resnet20, 32, 40.6),  # He 2016's family; commonly quoted as 40.6 to 41
    ],
)
def test_published_totals(model, size, published):
    assert count_macs(model(), torch.ones(1, 3, size, size)).total / 1e6 == pytest.approx(published, rel=0.01)


def test_independent_of_the_number_of_images():
    net = cifar_resnet20()
    assert count_macs(net, torch.rand(1, 3, 32, 32)) == count_macs(net, torch.rand(3, 3, 32, 32))


def test_tokens_count_for_linear_layers():
    assert count_macs(nn.Sequential(nn.Linear(4, 6)), torch.ones(2, 17, 4)).total == 17 * 4 * 6


def test_attention_counts_and_stays():
    net = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=8, depth=1, embed_dim=8,
                            num_heads=2, num_classes=4)  # fmt: skip
    tokens = 17
    weights = 16 * 3 * 64 * 8 + tokens * (8 * 24 + 8 * 8 + 2 * 8 * 32) + 8 * 4
    attention = 2 * tokens * tokens * 8  # scores and their use
    assert count_macs(net, torch.rand(2, 3, 32, 32)).total == weights + attention
    for name, parameter in net.named_parameters():
        if parameter.dim() > 1 and "embed" not in name and "token" not in name:
            nn.init.zeros_(parameter)
    found = count_macs(net, torch.rand(2, 3, 32, 32))
    assert found.remaining == 16 * 3 * 64 * 8 + attention


def channel_masks(units, keep):
    """Keep the first channels of every layer, `keep` of them."""
    return MaskSet(units, {layer.name: torch.arange(layer.size) < keep(layer.size) for layer in units.layers})


def test_a_removed_channel_saves_the_weights_that_read_it():
    """VGG-16: every layer but the first keeps a fifth of its weights' fifth."""
    torch.manual_seed(0)  # with another seed a random weight may be exactly 0, which is not counted
    net = vgg16_bn_cifar(num_classes=10, in_chans=3).eval()
    x = torch.rand(2, 3, 32, 32)
    units = find_units(net, "channel", ("head",), x)
    kept = {layer.name: round(0.2 * layer.size) for layer in units.layers}
    apply_masks(net, units, channel_masks(units, lambda size: round(0.2 * size)))
    by_hand, before = 0, 3
    side = {64: 32, 128: 16, 256: 8}
    positions = []
    for number, layer in enumerate(units.layers):
        size = side.get(layer.size, 4 if number < 10 else 2)
        positions.append(size * size)
        by_hand += size * size * 9 * before * kept[layer.name]
        before = kept[layer.name]
    by_hand += before * 10
    dense = sum(p * layer.weight_shape[0] * math.prod(layer.weight_shape[1:])
                for p, layer in zip(positions, units.layers, strict=True)) + 512 * 10  # fmt: skip
    found = count_macs(net, x)
    assert (found.total, found.remaining) == (dense, by_hand)
    assert found.speedup == pytest.approx(24.3, abs=0.2)


def test_a_channel_coupled_to_one_that_stays_saves_nothing():
    """In a residual stage the shortcut keeps what a convolution's removed channel was added to."""
    net = timm.create_model("resnet18", pretrained=False, num_classes=10).eval()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.1, 1.0)  # a random weight may be zero by chance
    x = torch.rand(2, 3, 32, 32)
    units = find_units(net, "channel", ("head",), x)
    masks = channel_masks(units, lambda size: size)
    pruned = {**masks.masks, "layer1.0.conv2": torch.arange(64) < 32, "layer1.0.conv1": torch.arange(64) < 32}
    total = count_macs(net, x).total
    apply_masks(net, units, MaskSet(units, pruned))
    conv = 8 * 8 * 9 * 64 * 64
    # conv1 loses half; conv2 half of its inputs and half of its outputs; what reads the sum loses nothing
    assert count_macs(net, x).remaining == total - 2 * conv + conv // 2 + conv // 4


class Twice(nn.Module):
    """One module under two names, and one parameter in two modules."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(16, 16, bias=False)
        self.third = nn.Linear(16, 16)
        self.third.weight = self.first.weight

    def forward(self, x):
        return self.third(self.second(self.first(x.flatten(1))))


def test_a_module_with_two_names_stays_as_it_is():
    net = Twice()
    net.first.weight.data[:4] = 0
    assert count_macs(net, torch.rand(1, 1, 4, 4)).remaining == 12 * 16 + 2 * 12 * 12
    assert isinstance(net.first.weight, nn.Parameter)
    assert net.third.weight is net.first.weight


def test_positive_numbers_stand_in_for_what_is_not_zero():
    net = Twice()
    net.first.weight.data[:4] = 0
    state = positive_state(net, {"third.bias"})
    assert state["first.weight"] is state["third.weight"]
    assert torch.equal(state["first.weight"] > 0, net.first.weight != 0)
    assert not state["third.bias"].any()
    assert positive_state(net)["third.bias"].min() > 0


def test_biases_and_batchnorm_keep_inputs_without_weights_from_being_zero():
    x, weights = torch.rand(1, 1, 4, 4), {"0.weight", "2.weight"}
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1))
    assert not keeps_inputs(net, weights, x)  # the mean is zero, too
    net[1].running_mean[0] = 1.0
    assert not keeps_inputs(net, weights, x)
    net[1].running_mean[1] = -1.0
    assert keeps_inputs(net, weights, x)


def test_products_are_counted_one_by_one():
    net, x, traced = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
        torch.rand(2, 1, 4, 4),
        [],
    )
    net[3].weight.data[0, :5] = 0
    with torch.no_grad():
        conv, linear = count_products(net, x, net, traced)
    assert (conv.macs, conv.positions, linear.macs, linear.positions) == (72, 4, 24, 1)
    assert (conv.per_input.tolist(), linear.per_input.tolist()) == ([18], [2] * 5 + [3] * 3)
    assert not conv.dead.any()
    assert [(one.operation, one.plain, one.watched) for one in traced] == [
        (torch.ops.aten.convolution, True, True), (torch.ops.aten.addmm, True, True)
    ]  # fmt: skip


@pytest.mark.parametrize("requires_grad", [True, False])
def test_padding_of_windows_is_no_removed_channel(requires_grad):
    """Without a gradient torch multiplies each row of the windows with the weight, and some rows are padding."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 4)

        def forward(self, x):
            padded = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 2, 0, 2))
            windows = padded.reshape(len(x), 2, 3, 2, 3, 2).transpose(2, 3)
            return self.linear(windows).mean(dim=(1, 2, 3, 4))

    found = count_macs(Windows().requires_grad_(requires_grad), torch.rand(1, 2, 4, 4))
    assert (found.total, found.remaining) == (36 * 2 * 4, 36 * 2 * 4)


def test_a_silent_relu_is_no_removed_channel():
    """A channel that happens to be zero on the probe's images may answer to others."""
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with torch.no_grad():
        net[0].bias.fill_(-10.0)
    assert count_macs(net, torch.rand(2, 1, 4, 4)).speedup == 1.0


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardswish()])
def test_a_relu_that_a_layer_norm_silences_is_no_removed_channel(activation):
    """Layer normalisation subtracts a mean, so that some channels are negative even if nothing else cancels."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.LayerNorm(32), activation, nn.Linear(32, 4)).eval()
    with torch.no_grad():
        net[2].weight.mul_(5)
    assert [count_macs(net, torch.rand(1, 1, 4, 4)).speedup for _ in range(5)] == [1.0] * 5


def test_a_channel_whose_negative_is_taken_is_no_removed_one():
    class Concatenated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(16, 8), nn.Linear(16, 4)

        def forward(self, x):
            y = self.first(x.flatten(1))
            return self.last(torch.cat([y.relu(), (-y).relu()], dim=1))

    assert count_macs(Concatenated(), torch.rand(1, 1, 4, 4)).speedup == 1.0


def test_no_speedup_where_nothing_remains():
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
    net[1].bias.data.fill_(1.0)  # a filter without weights still passes a constant on
    net[0].weight.data[:4] = 0
    x = torch.rand(2, 2, 4, 4)
    assert count_macs(net, x).speedup == (144 * 16 + 512) / (72 * 16 + 512)
    net[0].weight.data.zero_()
    net[3].weight.data.zero_()
    assert count_macs(net, x).speedup is None


def test_zeros_of_a_standardised_weight_come_back():
    net = nn.Sequential(timm.layers.ScaledStdConv2d(3, 4, 3)).eval()
    with torch.no_grad():
        net[0].weight[:, :, 0] = 0
    assert count_macs(net, torch.rand(1, 3, 8, 8)).speedup == 1.0


def test_a_dense_row_of_a_sparse_checkpoint_is_counted_like_any_other():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[1].weight[:, :8] = 0
    assert count_macs(net, torch.rand(2, 1, 4, 4)).speedup == (128 + 16) / (64 + 16)
