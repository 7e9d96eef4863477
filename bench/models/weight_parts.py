"""Which parameters the weight of a product consists of, and where its channels stand in them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.product import Product
from bench.models.products import Products
from bench.models.unit_space import Layout


@dataclass(frozen=True)
class WeightPart:
    """The part of a product's weight that one parameter is.

    Attributes
    ----------
    parameter : str
        Its path.
    layout : Layout or None
        Where its channels stand; None if it is no run of whole output channels.
    columns : slice
        Output channels of the product that it makes.
    channels : slice
        The same channels, counted in the parameter.
    share : float
        Its share of the product's weights.
    """

    parameter: str
    layout: Layout | None
    columns: slice
    channels: slice
    share: float = 1.0


def weight_parts(products: Products, product: Product) -> list[WeightPart]:
    """Divide the weight of a product among the parameters that it consists of: one, unless they were concatenated."""
    plain = _plain_part(products, product)
    if plain is not None:
        return [plain]
    weight = product.weight.tensor
    key = (
        product.kind,
        product.groups,
        weight.shape,
        weight.stride(),
        weight.storage_offset(),
        product.weight.parameters,
    )
    if product.weight.moved is not None or key not in products.found:
        products.found[key] = _divide(products, product)
    parts: list[WeightPart] = products.found[key]
    return parts


def _plain_part(products: Products, product: Product) -> WeightPart | None:
    """Return the part where the weight is a whole filter bank, or whole rows of a matrix, as they are stored."""
    if product.weight.moved is not None:
        return None
    (name,) = product.weight.parameters
    parameter, weight = products.parameters[name], product.weight.tensor
    everything = slice(0, product.channels)
    if product.kind == "convolution" and (weight.shape, weight.stride()) == (parameter.shape, parameter.stride()):
        return WeightPart(name, Layout.plain(tuple(parameter.shape), product.groups), everything, everything)
    if product.kind == "matrix product" and parameter.dim() == weight.dim() == 2:
        rows, step = weight.mT, parameter.stride(0)
        start, rest = divmod(int(weight.storage_offset() - parameter.storage_offset()), step or 1)
        if (rows.shape[1], rows.stride(), rest) == (parameter.shape[1], parameter.stride(), 0):
            return WeightPart(
                name, Layout.plain(tuple(parameter.shape)), everything, slice(start, start + product.channels)
            )
    return None


def _divide(products: Products, product: Product) -> list[WeightPart]:
    found = []
    for name, places in products.places(product.weight).items():
        rows = product.rows(places)
        ours = rows >= 0
        share = float(ours.float().mean())
        at = ours[:, 0].nonzero().flatten()
        is_run = len(at) > 0 and bool(ours[at].all()) and int(at[-1] - at[0]) + 1 == len(at)
        is_run = is_run and int(ours.sum()) == len(at) * rows.shape[1]
        located = _locate(rows[at], tuple(products.parameters[name].shape), product) if is_run else None
        if located is None:
            found.append(WeightPart(name, None, slice(0, product.channels), slice(0, product.channels), share))
        else:
            layout, start = located
            columns = slice(int(at[0]), int(at[-1]) + 1)
            found.append(WeightPart(name, layout, columns, slice(start, start + len(at)), share))
    return found


def _locate(rows: Tensor, shape: tuple[int, ...], product: Product) -> tuple[Layout, int] | None:
    """Find the layout under which these rows of flat indices stand in a parameter, and the first row's number."""
    k = rows.shape[1]
    flat = torch.arange(torch.Size(shape).numel(), device=rows.device)
    if len(flat) % k:
        return None
    cut = [shape]
    if product.kind == "transposed convolution" and product.groups > 1:
        cut = [(product.groups, shape[0] // product.groups, *shape[1:])]
    for axes in cut:
        for order in itertools.permutations(range(len(axes))):
            candidate = flat.view(axes).permute(order).reshape(-1, k)
            first = (candidate[:, 0] == rows[0, 0]).nonzero().flatten()
            if len(first) and torch.equal(candidate[int(first[0]) : int(first[0]) + len(rows)], rows):
                groups = product.row_groups if len(rows) == len(candidate) else 1
                return Layout(axes, order, len(candidate), groups, product.inputs), int(first[0])
    return None
