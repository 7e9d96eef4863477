from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Chebyshev
from scipy.interpolate import make_interp_spline
from torch import nn

from bench.core.errors import NotApplicable
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import ModelView
from bench.scorers.features import classes, controls
from bench.scorers.features.grid import grid
from bench.scorers.rank import normalised_rank


@pytest.fixture
def view() -> ModelView:
    """Channels of magnitudes 10, 9, ..., 0: u falls from 1 to 0.1 in steps of 0.09."""
    layer = nn.Linear(1, 11)
    layer.weight.data.copy_(torch.arange(10.0, -1, -1).unsqueeze(1))
    return ModelView(nn.Sequential(layer), UnitSpace("channel", (PrunableLayer("0", (11, 1), (11,)),)))


def scaled(values: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return (values - curve.min()) / (curve.max() - curve.min())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sines_by_hand() -> None:
    at_half = controls.sines(np.array([0.5]))[:, 0]
    # sin(pi/2), sin(pi + pi/4), sin(3 pi/2 + pi/2), sin(2 pi + 3 pi/4)
    assert at_half == pytest.approx([1, -math.sqrt(0.5), 0, math.sqrt(0.5)], abs=1e-12)


def test_weierstrass_by_hand() -> None:
    found = controls.weierstrass(np.array([1 / 2, 1 / 3, 1.0]))
    for (a, b), row in zip(controls.PAIRS, found, strict=True):
        whole = (1 - a**12) / (1 - a)
        assert row[0] == pytest.approx(0, abs=1e-6)  # all cosines of odd multiples of pi/2
        assert row[2] == pytest.approx(-whole, abs=1e-6)  # of odd multiples of pi
        if b == 3:  # cos(pi/3) = 1/2, then cosines of odd multiples of pi
            assert row[1] == pytest.approx(0.5 - (whole - 1), abs=1e-6)
        else:  # 5 is -1 modulo 6, so every term is 1/2
            assert row[1] == pytest.approx(0.5 * whole, abs=1e-6)
        assert a * b > 1


def test_random_splines_pass_through_what_the_generator_drew() -> None:
    values = torch.rand(8, 4, generator=seeded(3), dtype=torch.float64).numpy()
    knots = np.linspace(0.1, 1, 8)
    function = controls.splines(seeded(3))
    np.testing.assert_allclose(function(knots), values.T, atol=1e-12)
    expected = make_interp_spline(knots, values, k=3)  # not-a-knot, by B-splines
    np.testing.assert_allclose(function(grid()), expected(grid()).T, atol=1e-12)


def test_random_spline_follows_its_seed_alone(view: ModelView) -> None:
    first, same, other = (controls.random_spline(view, None, seeded(s)).features["0"] for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.isclose(first, other).all(dim=1).any()  # none of the four curves comes back


@pytest.mark.parametrize("name", ["nl_sin", "weier4", "random_spline"])
def test_features_are_scaled_by_the_grid(name: str, view: ModelView) -> None:
    functions = {"nl_sin": controls.sines, "weier4": controls.weierstrass, "random_spline": controls.splines(seeded(5))}
    scorer, function = getattr(controls, name), functions[name]
    features = scorer(view, None, seeded(5))
    u = 1 - 0.09 * np.arange(11)
    assert len(features.names) == len(set(features.names)) == 4
    for row, at_u, curve in zip(features.features["0"], function(u), function(grid()), strict=True):
        np.testing.assert_allclose(row, scaled(at_u, curve), atol=1e-6)
        assert np.ptp(np.sign(np.diff(curve))) == 2  # it rises and falls
    assert scorer(view, None, seeded(5), include_rank=True).names == ("u", *features.names)


def test_bump_stands_at_the_rank_where_the_target_cuts(view: ModelView) -> None:
    features = controls.gaussian_bump(view, None, None, 0.6)
    assert features.names == ("u", "bump")
    u = 1 - 0.09 * np.arange(11)
    bump = np.exp(-((u - 0.64) ** 2) / (2 * 0.0064))
    curve = np.exp(-((grid() - 0.64) ** 2) / (2 * 0.0064))
    torch.testing.assert_close(features.features["0"][0], torch.from_numpy((u - 0.1) / 0.9))
    np.testing.assert_allclose(features.features["0"][1], scaled(bump, curve), atol=1e-12)
    # u_S is the rank of the first kept unit: 60 % of 10 steps below the top
    assert features.features["0"][1].argmax() == 4
    alone = controls.gaussian_bump_only(view, None, None, 0.6)
    assert alone.names == ("bump",)
    assert torch.equal(alone.features["0"][0], features.features["0"][1])


def test_bumps_centre_is_the_rank_at_the_sparsity() -> None:
    u = normalised_rank(torch.arange(1001))
    assert float(u[700]) == pytest.approx(controls.cut(0.7))


@pytest.mark.parametrize("scorer", [controls.gaussian_bump, controls.gaussian_bump_only])
def test_bump_needs_a_target(scorer, view: ModelView) -> None:
    with pytest.raises(NotApplicable, match="depends on the target sparsity"):
        scorer(view, None, None, None)


def test_chebyshev_polynomials_by_hand() -> None:
    # t = (2 u - 1.1) / 0.9: u = 0.1, 0.325, 0.55, 0.775, 1 are t = -1, -1/2, 0, 1/2, 1
    found = controls.chebyshev(np.array([0.1, 0.325, 0.55, 0.775, 1.0]))
    expected = [[-1, -0.5, 0, 0.5, 1], [1, -0.5, -1, -0.5, 1], [-1, 1, 0, -1, 1], [1, -0.5, 1, -0.5, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_poly4_is_numpys_basis_on_the_range_of_u(view: ModelView) -> None:
    features = controls.poly4(view, None, None).features["0"]
    u = 1 - 0.09 * np.arange(11)
    for degree, row in enumerate(features, start=1):
        polynomial = Chebyshev.basis(degree, domain=[0.1, 1])
        np.testing.assert_allclose(row, scaled(polynomial(u), polynomial(grid())), atol=1e-12)
    torch.testing.assert_close(features[0], torch.from_numpy((u - 0.1) / 0.9))
    with_rank = controls.poly4(view, None, None, include_rank=True)
    assert with_rank.names == ("u", "chebyshev_1", "chebyshev_2", "chebyshev_3", "chebyshev_4")


def test_every_swing_of_a_chebyshev_polynomial_is_on_the_range_of_u() -> None:
    turns = [np.abs(np.diff(np.sign(np.diff(curve)))).sum() / 2 for curve in controls.chebyshev(grid())]
    assert turns == [0, 1, 2, 3]


def test_monotone4_by_hand(view: ModelView) -> None:
    features = controls.monotone4(view, None, None)
    at_half = features.features["0"][:, 5]  # u = 0.55
    expected = [
        0.5, (0.55**2 - 0.01) / 0.99, (math.sqrt(0.55) - math.sqrt(0.1)) / (1 - math.sqrt(0.1)), 1 + math.log10(0.55),
    ]  # fmt: skip
    assert at_half.tolist() == pytest.approx(expected, abs=1e-12)
    assert controls.monotone4(view, None, None, include_rank=True).names == ("u", *features.names)


def test_increasing_functions_increase_and_their_signed_sum_need_not() -> None:
    curves = controls.increasing(grid())
    assert (np.diff(curves) > 0).all()
    falling = np.diff(np.array([-1.0, 1.0, 0.0, 0.0]) @ curves)  # u^2 - u falls up to 1/2
    assert (falling < 0).any()
    assert (falling > 0).any()


@pytest.fixture(scope="module")
def ladder() -> ModelView:
    """2048 channels with the ranks of the grid, ascending, and 5000 with ranks between its points."""
    layers = [nn.Linear(1, 2048), nn.Linear(1, 5000)]
    for layer in layers:
        layer.weight.data.copy_(torch.arange(1.0, layer.out_features + 1).unsqueeze(1))
    units = (PrunableLayer("0", (2048, 1), (2048,)), PrunableLayer("1", (5000, 1), (5000,)))
    return ModelView(nn.Sequential(*layers), UnitSpace("channel", units))


def test_shuffled_values_are_those_of_a5_and_stay_together(ladder: ModelView) -> None:
    raw, mixed = classes.a5(ladder, None, None), controls.a5_shuffled(ladder, None, seeded(3))
    assert mixed.names == raw.names
    ordered = [features.features["0"].T.tolist() for features in (raw, mixed)]
    assert ordered[0] != ordered[1]
    assert sorted(ordered[0]) == sorted(ordered[1])  # as groups of four


def test_one_permutation_serves_all_layers_of_a_model(ladder: ModelView) -> None:
    mixed = controls.a5_shuffled(ladder, None, seeded(3)).features
    # unit i of 5000 has u = 0.1 + 0.9 i / 4999, next to grid point i 2047 / 4999
    nearest = (torch.arange(5000, dtype=torch.float64) * 2047 / 4999).round().long()
    assert torch.equal(mixed["1"], mixed["0"][:, nearest])
    order = torch.randperm(2048, generator=seeded(3))
    assert torch.equal(mixed["0"], classes.a5(ladder, None, None).features["0"][:, order])


def test_shuffling_follows_its_seed_alone(ladder: ModelView) -> None:
    first, same, other = (controls.a5_shuffled(ladder, None, seeded(s)).features["0"] for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert controls.a5_shuffled(ladder, None, seeded(1), include_rank=True).names[0] == "u"
