from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units


def _fill(model: nn.Module) -> nn.Module:
    """Random parameters and BatchNorm statistics, none of them zero or one."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return model.eval()


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.fc2(self.act(self.fc1(x))))
        return out


def test_weights_become_zeros_and_nothing_else_changes() -> None:
    net = _fill(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)))
    dense = copy.deepcopy(net.state_dict())
    units = find_units(net, "weight", ("head",), torch.zeros(1, 1, 3, 3))
    mask = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    apply_masks(net, units, MaskSet(units, {"0": mask}))
    after = net.state_dict()
    assert torch.equal(after["0.weight"], dense["0.weight"] * mask)
    assert all(torch.equal(after[name], dense[name]) for name in dense if name != "0.weight")


def test_a_channel_with_batchnorm_leaves_nothing_behind() -> None:
    net = _fill(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1, bias=False)))
    units = find_units(net, "channel", ("3",), torch.zeros(1, 1, 3, 3))
    smaller = copy.deepcopy(net)  # the same net with channel 1 really taken out
    for name in ("weight", "bias", "running_mean", "running_var"):
        setattr(smaller[1], name, nn.Parameter(getattr(net[1], name)[[0, 2]], requires_grad=False))
    smaller[0].weight = nn.Parameter(net[0].weight[[0, 2]])
    smaller[0].bias = nn.Parameter(net[0].bias[[0, 2]])
    smaller[3].weight = nn.Parameter(net[3].weight[:, [0, 2]])
    apply_masks(net, units, MaskSet(units, {"0": torch.tensor([True, False, True])}))
    x = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(net(x), smaller(x))
    removed = (net[0].weight[1], net[0].bias[1], net[1].weight[1], net[1].bias[1])
    assert not any(bool(tensor.any()) for tensor in removed)


def test_a_hidden_channel_loses_row_bias_and_column() -> None:
    net = _fill(_Mlp())
    dense = copy.deepcopy(net.state_dict())
    units = find_units(net, "channel", ("head",), torch.zeros(1, 3))
    mask = torch.tensor([True, False, True, False])
    apply_masks(net, units, MaskSet(units, {"fc1": mask}))
    after = net.state_dict()
    assert torch.equal(after["fc1.weight"], dense["fc1.weight"] * mask[:, None])
    assert torch.equal(after["fc1.bias"], dense["fc1.bias"] * mask)
    assert torch.equal(after["fc2.weight"], dense["fc2.weight"] * mask)
    assert torch.equal(after["fc2.bias"], dense["fc2.bias"])


def test_nan_weights_are_removed_too() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    net[0].weight.data.fill_(float("nan"))
    units = find_units(net, "weight", ("head",), torch.zeros(1, 2))
    apply_masks(net, units, MaskSet(units, {"0": torch.tensor([[False, False]])}))
    assert net[0].weight.tolist() == [[0.0, 0.0]]
