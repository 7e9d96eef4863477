"""What a network multiplies with which parameter: one small network per kind, each number counted by hand."""

from math import prod

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from bench.core.errors import UserError
from bench.models.inventory import take_inventory
from bench.models.macs import count_macs
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import dense_reasons, find_units

#: Positions, channels and heads of the small attention networks.
T, D, HEADS = 4, 8, 2


def images(n=2, channels=3, side=8):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A network given by its parts and a function of these and the images."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def weight(*shape):
    return nn.Parameter(torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1)


def tokens(x, channels=D):
    """Cut images into tokens, shape ``(n, T, channels)``."""
    return x.flatten(1)[:, : T * channels].unflatten(1, (T, channels))


def found(net, x=None):
    """The weights of a network by name."""
    return {one.name: one for one in take_inventory(net.eval(), images() if x is None else x).weights}


def prunable(net, x=None):
    """Name -> MACs for one image of each prunable weight."""
    return {name: one.macs for name, one in found(net, x).items() if one.reason is None}


def reason(net, name, x=None):
    """The first words of the reason why a weight is left dense, without which none is known."""
    return (found(net, x)[name].reason or "").partition(":")[0]


def halve(net, x=None, exclude=()):
    """Prune half of every layer by magnitude and return the MACs, dense and remaining."""
    x = images() if x is None else x
    net.eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter[parameter == 0] = 0.01
    units = find_units(net, "weight", exclude, x)
    masks = {}
    for layer in units.layers:
        magnitude = net.get_parameter(layer.parameter).detach().abs().flatten()
        kept = torch.ones(layer.size, dtype=torch.bool)
        kept[magnitude.argsort()[: layer.size // 2]] = False
        masks[layer.name] = kept.view(layer.unit_shape)
    with torch.no_grad():
        apply_masks(net, units, MaskSet(units, masks))
    return count_macs(net, x)


def check_halved(net, half, dense=0, x=None, exclude=()):
    """Compare with MACs by hand: `half` of layers whose weights are halved, `dense` of the rest."""
    macs = halve(net, x, exclude)
    assert (macs.total, macs.remaining) == (half + dense, half // 2 + dense)


# ---------------------------------------------------------------- attention


def attention(q, k, v):
    return torch.softmax(q @ k.mT, dim=-1) @ v


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


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(groups):
    def forward(net, x):
        return net.head(net.up(x).mean((2, 3)))

    def net():
        return Net(forward, up=nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), head=nn.Linear(6, 10))

    x = images(channels=4)
    up = 8 * 8 * 4 * (6 // groups) * 9  # each input position meets every weight
    assert prunable(net(), x) == {"up": up, "head": 60}
    check_halved(net(), half=up + 60, x=x)
    # its channels are on the second axis
    model = net().eval()
    layer = found(model, x)["up"].layout
    with torch.no_grad():
        layer.rows(model.up.weight)  # (6, inputs of a group * 9)
        rows = layer.rows(model.up.weight).clone()
        rows[4] = 0
        model.up.weight.copy_(layer.weight(rows, tuple(model.up.weight.shape)))
        silent = [int(c) for c in range(6) if torch.allclose(model.up(x)[:, c], model.up.bias[c])]
    assert silent == [4]


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_of_one_and_three_dimensions(dims):
    side = {1: (10,), 3: (4, 4, 4)}[dims]
    convolution = {1: nn.Conv1d, 3: nn.Conv3d}[dims]

    def forward(net, x):
        y = x.flatten(1)[:, : 2 * prod(side)].unflatten(1, (2, *side))
        return net.head(net.conv(y).flatten(2).mean(2))

    def net():
        return Net(forward, conv=convolution(2, 4, 3), head=nn.Linear(4, 10))

    positions = prod(size - 2 for size in side)
    conv = positions * 4 * 2 * 3**dims
    assert prunable(net()) == {"conv": conv, "head": 40}
    check_halved(net(), half=conv + 40)


def test_a_convolution_with_a_parameter():
    def forward(net, x):
        return F.conv2d(x, net.filters, padding=1).mean((2, 3))

    def net():
        return Net(forward, filters=weight(10, 3, 3, 3))

    assert prunable(net()) == {"filters": 64 * 270}
    check_halved(net(), half=64 * 270)


def test_grouped_and_depthwise_convolutions():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 12, 3, groups=12),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    assert prunable(net) == {"0": 64 * 24, "1": 36 * 12 * 2 * 9, "2": 16 * 12 * 9}
    check_halved(net, half=64 * 24 + 36 * 12 * 2 * 9 + 16 * 12 * 9)


def test_squeeze_and_excitation():
    def forward(net, x):
        y = net.conv(x)
        gate = net.expand(F.relu(net.reduce(y.mean((2, 3), keepdim=True))))
        return (y * gate.sigmoid()).mean((2, 3))

    net = Net(forward, conv=nn.Conv2d(3, 10, 1), reduce=nn.Conv2d(10, 4, 1), expand=nn.Conv2d(4, 10, 1))
    assert prunable(net) == {"conv": 64 * 30, "reduce": 40, "expand": 40}
    check_halved(net, half=64 * 30 + 80)


def test_filters_that_are_mixed_for_each_image():
    """timm's CondConv: four filter banks, mixed by weights that the image gives."""
    from timm.layers import CondConv2d

    def forward(net, x):
        return net.conv(x, net.routing(x.mean((2, 3))).sigmoid()).mean((2, 3))

    net = Net(forward, conv=CondConv2d(3, 10, 3, num_experts=4, bias=False), routing=nn.Linear(3, 4))
    weights = found(net)
    assert weights["routing"].reason is None
    assert reason(net, "conv") == "mixed filters"
    # the mixing, and the convolution with the mixture
    assert weights["conv"].macs == 4 * 270 + 64 * 270
    inventory = take_inventory(net, images())
    assert inventory.macs == 3 * 4 + 4 * 270 + 64 * 270
    assert inventory.without_weight == 0


# ---------------------------------------------------------------- matrix products


def test_a_matrix_whose_columns_are_the_outputs():
    def forward(net, x):
        return x.flatten(1)[:, :8] @ net.w

    net = Net(forward, w=weight(8, 10))
    (layer,) = found(net).values()
    assert (layer.name, layer.macs, layer.reason) == ("w", 80, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.T)
    check_halved(net, half=80)


def test_einsum_with_a_weight_of_three_axes():
    def forward(net, x):
        return torch.einsum("btd,dhe->bthe", tokens(x), net.w).flatten(2).mean(1)

    net = Net(forward, w=weight(D, 2, 5))
    (layer,) = found(net).values()
    assert (layer.macs, layer.reason) == (T * D * 10, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.flatten(1).T)
    check_halved(net, half=T * D * 10)


def test_einsum_with_a_matrix_for_each_head():
    def forward(net, x):
        return torch.einsum("bthd,hde->bthe", tokens(x, 8).unflatten(2, (2, 4)), net.w).flatten(2).mean(1)

    net = Net(forward, w=weight(2, 4, 5))
    (layer,) = found(net).values()
    assert (layer.macs, layer.reason) == (T * 2 * 4 * 5, None)
    assert torch.equal(layer.layout.rows(net.w), net.w.mT.reshape(10, 4))
    assert layer.layout.groups == 2
    check_halved(net, half=T * 2 * 4 * 5)


def test_two_parameters_as_one_weight():
    def forward(net, x):
        return F.linear(x.flatten(1)[:, :8], torch.cat([net.first, net.second]))

    net = Net(forward, first=weight(4, 8), second=weight(6, 8))
    assert prunable(net) == {"first": 32, "second": 48}
    check_halved(net, half=80)


def test_a_parameter_and_constants_as_one_weight():
    def forward(net, x):
        return F.linear(x.flatten(1)[:, :8], torch.cat([net.w, net.fixed]))

    net = Net(forward, w=weight(8, 8), fixed=torch.ones(2, 8))
    inventory = take_inventory(net, images())
    assert [one.macs for one in inventory.weights] == [64]
    assert (inventory.macs, inventory.without_weight, inventory.unregistered) == (80, 16, 16)
    check_halved(net, half=64, dense=16)


@pytest.mark.parametrize(
    "move",
    [
        lambda w: w.index_select(0, torch.tensor([2, 0, 1, *range(3, 10)])),
        lambda w: w.flip(0),
        lambda w: w.roll(3, 1),
        lambda w: w.T.contiguous().T,
        lambda w: w.clone(),
    ],
)
def test_values_of_a_weight_in_another_order(move):
    net = Net(lambda net, x: F.linear(x.flatten(1)[:, :8], move(net.w)), w=weight(10, 8))
    assert prunable(net) == {"w": 80}
    check_halved(net, half=80)


def test_filters_that_are_rotated():
    """As in a network that is equivariant to quarter turns: each weight is multiplied four times."""

    def forward(net, x):
        return net.head(F.conv2d(x, torch.cat([torch.rot90(net.w, turn, (2, 3)) for turn in range(4)])).mean((2, 3)))

    net = Net(forward, w=weight(2, 3, 3, 3), head=nn.Linear(8, 10))
    assert prunable(net) == {"w": 36 * 8 * 27, "head": 80}
    check_halved(net, half=36 * 8 * 27 + 80)


def test_a_bias_with_two_axes():
    def forward(net, x):
        return torch.baddbmm(net.b, tokens(x).transpose(0, 1), net.w).mean(0)

    net = Net(forward, w=weight(T, D, 10), b=weight(T, 2, 10))
    assert reason(net, "b") == "not multiplied as a weight"


def test_parts_of_one_parameter():
    def forward(net, x):
        y = tokens(x)
        hidden = F.linear(y, net.w[:4])
        return F.linear(F.relu(hidden.mean(1)), net.w[4:, :4])

    net = Net(forward, w=weight(14, 8))
    (layer,) = found(net).values()
    assert (layer.reason, layer.calls, layer.macs) == (None, 2, T * 4 * 8 + 10 * 4)
    macs = halve(net)
    by_hand = T * int((net.w[:4] != 0).sum()) + int((net.w[4:, :4] != 0).sum())
    assert (macs.total, macs.remaining) == (T * 32 + 40, by_hand)


def test_one_parameter_in_two_modules():
    def forward(net, x):
        return net.b(F.relu(net.a(x.flatten(1)[:, :10])))

    net = Net(forward, a=nn.Linear(10, 10, bias=False), b=nn.Linear(10, 10, bias=False))
    net.b.weight = net.a.weight
    (layer,) = found(net).values()
    assert (layer.name, layer.aliases, layer.calls, layer.macs) == ("a", ("b.weight",), 2, 200)
    assert take_inventory(net, images()).parameters == 100
    assert find_units(net, "weight", (), images()).total == 100
    check_halved(net, half=200)


def test_a_weight_and_its_transpose():
    def forward(net, x):
        return net.head(F.linear(F.relu(net.encoder(x.flatten(1)[:, :8])), net.encoder.weight.T))

    net = Net(forward, encoder=nn.Linear(8, 6), head=nn.Linear(8, 10))
    assert prunable(net) == {"encoder": 2 * 48, "head": 80}
    assert find_units(net, "weight", (), images()).total == 48 + 80
    inventory = take_inventory(net, images())
    assert (dense_reasons(net, inventory, "channel", ())["encoder"] or "").startswith("irregular use")
    check_halved(net, half=96 + 80)


def test_a_layer_called_at_two_sizes():
    def forward(net, x):
        return (net.conv(x).mean((2, 3)) + net.conv(F.avg_pool2d(x, 2)).mean((2, 3))) / 2

    net = Net(forward, conv=nn.Conv2d(3, 10, 3))
    (layer,) = found(net).values()
    assert (layer.calls, layer.sizes, layer.macs) == (2, ((3, 8, 8), (3, 4, 4)), (36 + 4) * 270)
    check_halved(net, half=40 * 270)


def test_a_recurrent_layer():
    hidden = 6

    def forward(net, x):
        return net.head(net.rnn(tokens(x))[0].mean(1))

    net = Net(forward, rnn=nn.LSTM(D, hidden, batch_first=True), head=nn.Linear(hidden, 10))
    macs = {"rnn.weight_ih_l0": T * D * 4 * hidden, "rnn.weight_hh_l0": T * hidden * 4 * hidden, "head": hidden * 10}
    assert prunable(net) == macs
    check_halved(net, half=sum(macs.values()))


def test_a_network_that_enters_inference_mode_itself():
    """Operations that torch defines by others, as `flatten` or `linear`, then reach the trace as they are."""

    def forward(net, x):
        with torch.inference_mode():
            return net.head(F.linear(tokens(x), net.w.mT.flatten(1)).flatten(1))

    net = Net(forward, w=weight(D, 6), head=nn.Linear(T * 6, 10))
    assert prunable(net) == {"w": T * D * 6, "head": T * 60}


def test_a_scalar_added_to_a_single_output():
    net = Net(lambda net, x: net.last(net.hidden(x.flatten(1)) + net.shift), hidden=nn.Linear(192, 1, bias=False),
              shift=nn.Parameter(torch.tensor(0.5)), last=nn.Linear(1, 10))  # fmt: skip
    assert prunable(net) == {"hidden": 192, "last": 10}


def test_a_bilinear_layer():
    def forward(net, x):
        return net.form(x.flatten(1)[:, :4], x.flatten(1)[:, 4:10])

    net = Net(forward, form=nn.Bilinear(4, 6, 10))
    weights = found(net)
    assert weights["form"].macs == 4 * 6 * 10
    assert weights["form"].reason is None
    check_halved(net, half=240)


# ---------------------------------------------------------------- what is left dense, and why


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


# ---------------------------------------------------------------- channels


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
    reasons = dense_reasons(net, take_inventory(net, x), "channel", ())
    assert (reasons[stem] or "").startswith("residual stream")


@pytest.mark.parametrize(("name", "stem"), [("test_convnext", "stem.0"), ("test_resnet", "conv1.0")])
def test_a_stem_of_a_convolutional_network_has_channel_units(name, stem):
    assert stem in channels(timm.create_model(name, num_classes=10).eval(), images(side=32))
