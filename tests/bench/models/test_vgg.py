"""The CIFAR VGG against timm's, whose features it has."""

import timm
import torch

from bench.models.units import find_units
from bench.models.vgg import vgg16_bn_cifar


def test_features_are_those_of_timm() -> None:
    with torch.device("meta"):  # 138 M parameters, none of them made
        theirs = timm.create_model("vgg16_bn")
    ours = vgg16_bn_cifar()
    assert str(ours.features) == str(theirs.features)
    shapes = {name: tensor.shape for name, tensor in theirs.features.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.features.state_dict().items()} == shapes


def test_no_layer_dominates_as_in_timms_at_32_pixels() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vgg16_bn")
    head = theirs.get_classifier().weight
    sizes = [p.numel() for p in theirs.parameters() if p.dim() > 1 and p is not head]
    units = find_units(vgg16_bn_cifar(), "weight", ("head",), torch.zeros(1, 3, 32, 32))
    shares = [max(sizes) / sum(sizes), max(layer.size for layer in units.layers) / units.total]
    assert [round(share, 2) for share in shares] == [0.77, 0.16]


def test_sizes_of_images_and_outputs() -> None:
    net = vgg16_bn_cifar(num_classes=7, in_chans=1).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
        assert net(torch.zeros(1, 1, 64, 48)).shape == (1, 7)


def test_every_convolution_is_followed_by_its_batchnorm() -> None:
    units = find_units(vgg16_bn_cifar(), "channel", ("head",), torch.zeros(1, 3, 32, 32))
    assert len(units.layers) == 13
    assert units.total == 4224
    assert all(layer.exact_removal for layer in units.layers)
