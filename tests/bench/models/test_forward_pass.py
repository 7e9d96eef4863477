"""One traced pass of small networks whose uses of parameters are known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from bench.models.forward_pass import ForwardPass


class Tied(nn.Module):
    """One matrix used twice, an embedding, and two matrices joined to one."""

    def __init__(self):
        super().__init__()
        self.tied, self.table = nn.Linear(4, 4), nn.Embedding(3, 4)
        self.first, self.second = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        x = self.tied(torch.relu(self.tied(x))) + self.table(torch.zeros(1, dtype=torch.int64))
        return F.linear(x, torch.cat([self.first, self.second]))


def test_every_use_of_a_parameter_is_found_in_order():
    found = ForwardPass(Tied(), torch.randn(2, 4))
    assert {name: len(uses) for name, uses in found.uses.items()} == {"tied.weight": 2, "first": 1, "second": 1}
    assert [use.is_all for use in found.uses["tied.weight"]] == [True, True]
    assert [found.uses[name][0].is_all for name in ("first", "second")] == [False, False]
    assert (found.uses["first"][0].part.columns, found.uses["second"][0].part.columns) == (slice(0, 2), slice(2, 5))
    assert "embedding" in found.operands["table.weight"]


def test_the_source_of_a_tensor_is_the_one_product_it_comes_from():
    found = ForwardPass(Tied(), torch.randn(2, 4))
    first, second = (use.number for use in found.uses["tied.weight"])
    data = found.graph.operand(second, found.products[second].data)
    assert found.source(data) == first
    assert found.source(found.output(found.uses["first"][0])) == found.uses["first"][0].number
