"""The Kolmogorov-Arnold network against SciPy's splines, and what of it can be pruned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.special import expit

from bench.core.errors import UserError
from bench.masks.allocation import global_, uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.counts import keep_count
from bench.models.kan import KAN, SplineLayer, b_splines, digits_kan
from bench.models.masking import apply_masks
from bench.models.tensors import ScoreMap
from bench.models.units import examine, find_units, take_inventory
from bench.models.view import ModelView

EXAMPLE = torch.zeros(1, 1, 8, 8)
#: 5 intervals of 0.8 on [-2, 2], and three more on either side.
KNOTS = np.linspace(-4.4, 4.4, 12)


@pytest.fixture
def network() -> KAN:
    torch.manual_seed(0)
    return digits_kan().eval()


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_basis_is_scipys(degree: int) -> None:
    knots = np.array([-2.0, -1.5, -0.3, 0.0, 0.7, 1.0, 2.5, 3.0])
    x = np.linspace(-2.4, 3.4, 291)
    found = b_splines(torch.from_numpy(x), torch.from_numpy(knots), degree)
    for place in range(8 - 1 - degree):
        element = BSpline.basis_element(knots[place : place + degree + 2], extrapolate=False)
        np.testing.assert_allclose(found[:, place], np.nan_to_num(element(x)), atol=1e-12)


def test_the_basis_sums_to_one_on_the_grid_and_vanishes_beyond_the_last_knots() -> None:
    knots = torch.from_numpy(KNOTS)
    inside = torch.linspace(-2, 1.999, 50, dtype=torch.float64)
    torch.testing.assert_close(b_splines(inside, knots, 3).sum(dim=-1), torch.ones(50, dtype=torch.float64))
    outside = torch.tensor([-9.0, -4.41, 4.41, 9.0], dtype=torch.float64)
    assert b_splines(outside, knots, 3).count_nonzero() == 0


def test_a_layer_is_the_sum_of_one_function_per_connection() -> None:
    torch.manual_seed(1)
    layer = SplineLayer(3, 2).double()
    x = torch.randn(7, 3, dtype=torch.float64)
    expected = np.zeros((7, 2))
    for o in range(2):
        for i in range(3):
            at = x[:, i].numpy()
            spline = BSpline(KNOTS, layer.spline[o, i].detach().numpy(), 3, extrapolate=False)
            expected[:, o] += layer.base[o, i].item() * at * expit(at) + np.nan_to_num(spline(at))
    np.testing.assert_allclose(layer(x).detach(), expected, atol=1e-12)


def test_its_pixels_lie_on_the_grid(digits) -> None:
    (mean,), (std,) = digits.normalisation.mean, digits.normalisation.std
    assert -2 < (0 - mean) / std < (1 - mean) / std < 2


def test_all_its_weights_are_found_with_their_shapes_and_products(network: KAN) -> None:
    weights = take_inventory(network, EXAMPLE).weights
    assert {weight.name: (weight.shape, weight.macs) for weight in weights} == {
        "layers.0.base": ((32, 64), 2048), "layers.0.spline": ((32, 64, 8), 16384),
        "layers.1.base": ((10, 32), 320), "layers.1.spline": ((10, 32, 8), 2560),
    }  # fmt: skip
    assert {weight.reason for weight in weights} == {None}
    units = find_units(network, "weight", ("head",), EXAMPLE)
    assert units.names == ("layers.0.base", "layers.0.spline")
    assert units.classifier == ("layers.1.base", "layers.1.spline")
    assert find_units(network, "weight", (), EXAMPLE).total == sum(p.numel() for p in network.parameters())


def test_it_has_no_channels_and_says_why(network: KAN) -> None:
    reasons = examine(network, "channel", ("head",), take_inventory(network, EXAMPLE)).reasons
    for name in ("layers.0.base", "layers.0.spline"):
        assert "no channel units: these are channels of convolutions" in (reasons[name] or "")
    with pytest.raises(UserError, match="KAN has nothing to prune at granularity 'channel'"):
        find_units(network, "channel", ("head",), EXAMPLE)


@pytest.mark.parametrize("allocation", [uniform, global_])
def test_magnitude_masks_keep_exactly_the_budget(network: KAN, allocation) -> None:
    units = find_units(network, "weight", ("head",), EXAMPLE)
    view = ModelView(network, units)
    scores = ScoreMap(view.magnitudes())
    budget = allocation(units, scores, 0.8, view)
    masks = build_masks(units, keep_order(units, scores, scores), budget)
    apply_masks(network, units, masks)
    kept = [int(network.get_parameter(name).count_nonzero()) for name in units.names]
    assert sum(kept) == int(budget.keep.sum())
    if allocation is uniform:
        assert kept == [keep_count(2048, 0.8), keep_count(16384, 0.8)]
    else:
        assert sum(kept) == keep_count(18432, 0.8)
