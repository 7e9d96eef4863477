"""MACs against published counts."""

import pytest
import timm
import torch

from bench.models.cifar import cifar_resnet20
from bench.models.macs import count_macs


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
    net = model()
    uses = count_macs(net, torch.zeros(1, 3, size, size))
    total = sum(net.get_submodule(name).weight.numel() * count for name, count in uses.items())
    assert total / 1e6 == pytest.approx(published, rel=0.01)


def test_independent_of_the_number_of_images():
    net = cifar_resnet20()
    assert count_macs(net, torch.zeros(1, 3, 32, 32)) == count_macs(net, torch.zeros(2, 3, 32, 32))


def test_tokens_count_for_linear_layers():
    net = torch.nn.Sequential(torch.nn.Linear(4, 6))
    assert count_macs(net, torch.zeros(2, 17, 4)) == {"0": 17}
