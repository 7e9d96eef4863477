"""Products of a forward pass, with their MACs, against PyTorch's own counter and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.models.products import Products, once_for_all, plain_tensors, traceable


def products_of(net: nn.Module, x: torch.Tensor):
    found = []
    with traceable(net), Products(net, found.append):
        net(x)
    return found


NETS = {
    "grouped convolution": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 5, 5)),
    "transposed convolution": (nn.ConvTranspose2d(3, 5, 2, stride=2), (2, 3, 4, 4)),
    "1-D convolution": (nn.Conv1d(2, 3, 3), (2, 2, 9)),
    "linear": (nn.Linear(7, 3), (2, 5, 7)),
    "attention": (nn.MultiheadAttention(8, 2, batch_first=True), None),
}


@pytest.mark.parametrize("name", NETS)
def test_macs_are_half_of_the_operations_that_pytorch_counts(name):
    net, shape = NETS[name]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            return self.inner(x, x, x)[0] if name == "attention" else self.inner(x)

    x = torch.randn(shape or (2, 4, 8))
    with traceable(Net()), FlopCounterMode(display=False) as counter:
        Net()(x)
    assert 2 * sum(product.macs for product in products_of(Net(), x)) == counter.get_total_flops()


class Standardised(nn.Module):
    """A weight that is computed, a buffer, and a product of activations."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.register_buffer("blur", torch.ones(3, 3))
        self.scratch = torch.ones(2)

    def forward(self, x):
        y = x @ (self.weight - self.weight.mean()).mT
        return (y @ self.blur) @ y.mT


def test_the_source_of_every_operand_is_known():
    net = Standardised()
    sources = [(product.data.source, product.weight.source) for product in products_of(net, torch.randn(5, 4))]
    assert sources == [("input", "computed"), ("input", "constant"), ("input", "input")]
    assert [product.is_attention for product in products_of(net, torch.randn(5, 4))] == [False, False, True]


def test_a_weight_is_the_second_operand_whichever_side_it_stands_on():
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))

        def forward(self, x):
            return self.weight @ x.mT

    (product,) = products_of(Left(), torch.randn(5, 4))
    assert product.weight.source == "parameter"
    assert product.channels == 6
    torch.testing.assert_close(product.output, product.data.tensor @ product.weight.tensor)


def test_dead_inputs_and_weights_per_input_by_hand():
    net = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]).reshape(2, 3, 1, 1))
    x = torch.ones(1, 3, 2, 2)
    x[:, 0] = 0
    (product,) = products_of(net, x)
    assert product.dead_inputs().tolist() == [True, False, False]
    assert product.weights_per_input(net.weight != 0).tolist() == [1, 0, 2]


def test_products_of_learned_constants_are_computed_once_for_all_images():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.embed = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 4)

        def forward(self, x):
            return x @ self.embed(self.table).mT

    assert once_for_all(Positions(), torch.randn(5, 4)) == [True, False]


def test_tensors_that_are_neither_parameter_nor_buffer_are_listed():
    assert list(plain_tensors(Standardised())) == ["scratch"]


def test_a_traced_network_is_in_eval_mode_and_restored():
    net = nn.Sequential(nn.Dropout(), nn.Linear(1, 1)).train()
    net[1].eval()
    with traceable(net):
        assert not any(module.training for module in net.modules())
        assert not net[1](torch.ones(1, 1)).requires_grad
    assert [module.training for module in net.modules()] == [True, True, False]
