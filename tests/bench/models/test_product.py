"""Shapes of one product."""

from __future__ import annotations

import pytest
import torch

from bench.models.product import Operand, Product


def matrix_product(data: torch.Tensor, weight: torch.Tensor) -> Product:
    output = data @ weight
    macs = output.numel() * data.shape[-1]
    return Product("matrix product", macs, output, Operand(data, "input"), Operand(weight, "parameter"))


def test_a_matrix_for_each_group_has_channels_of_all_groups():
    product = matrix_product(torch.randn(3, 5, 4), torch.randn(3, 4, 2))
    assert (product.channels, product.row_groups, product.inputs, product.positions) == (6, 3, 4, 5)
    rows = product.rows(product.weight.tensor)
    assert torch.equal(rows[2], product.weight.tensor[1, :, 0])


def test_one_matrix_for_every_image_is_taken_once():
    product = matrix_product(torch.randn(3, 5, 4), torch.randn(4, 2).expand(3, 4, 2))
    assert product.is_expanded
    assert (product.channels, product.row_groups) == (2, 1)
    assert torch.equal(product.rows(product.weight.tensor), product.weight.tensor[0].mT)


def test_an_input_of_one_matrix_is_dead_if_it_is_zero_in_the_whole_batch():
    data = torch.ones(3, 5, 4)
    data[:2] = 0
    data[2, :, 1] = 0
    weight = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    product = matrix_product(data, weight.expand(3, 4, 2))
    assert product.dead_inputs().tolist() == [False, True, False, False]
    assert product.weights_per_input(product.weight.tensor != 0).tolist() == [3, 6, 0, 6]
    of_each = matrix_product(data, weight.expand(3, 4, 2).clone())
    assert of_each.dead_inputs().tolist() == [[True] * 4, [True] * 4, [False, True, False, False]]
    assert of_each.weights_per_input(of_each.weight.tensor != 0).tolist() == [[1, 2, 0, 2]] * 3


@pytest.mark.parametrize("sources", [("input", "input"), ("input", "parameter"), ("constant", "parameter")])
def test_what_depends_on_the_images(sources):
    data, weight = (Operand(torch.ones(1, 1), source) for source in sources)
    product = Product("matrix product", 1, torch.ones(1, 1), data, weight)
    assert product.is_fixed == ("input" not in sources)
    assert product.is_attention == (sources == ("input", "input"))


def test_transposing_an_operand_moves_its_places_along():
    operand = Operand(torch.randn(2, 3), "parameter", frozenset({"w"}), torch.arange(6).reshape(2, 3))
    assert operand.transposed().tensor.shape == operand.transposed().moved.shape == (3, 2)
