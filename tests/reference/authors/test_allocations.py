"""Counts and masks against those of the authors' own code on the same weights; README.md names the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import floor, prod

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

from bench.masks.allocation import global_, uniform
from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.emp import emp
from bench.masks.erk import densities, erk
from bench.masks.lamp import lamp
from bench.masks.n_m import n_m
from bench.masks.order import keep_order
from bench.masks.uniform_plus import uniform_plus
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import Calibration, ModelView
from bench.scorers.magnitude import l2, magnitude
from tests.reference.authors.inputs import draw, network, stored, view_of
from tests.reference.authors.inputs import uniform as uniform_values

VALUES = stored("allocations")

Scorer = Callable[[ModelView, Calibration, None], ScoreMap]
Allocation = Callable[[UnitSpace, ScoreMap, float | None, ModelView], Budget]


def _flags(mask: Tensor) -> str:
    return "".join("01"[int(keep)] for keep in mask.flatten())


def _masks(units: UnitSpace, scores: Mapping[str, Tensor], budget: Budget) -> MaskSet:
    return build_masks(units, keep_order(units, ScoreMap(scores), scores), budget)


def _assert_masks(allocation: Allocation, sparsity: float, kept: Mapping[str, str]) -> None:
    """Compare masks by magnitude."""
    view = view_of(network())
    scores = view.magnitudes()
    masks = _masks(view.units, scores, allocation(view.units, ScoreMap(scores), sparsity, view))
    for name, flags in kept.items():
        assert _flags(masks[name]) == flags, name


def _space(*shapes: tuple[int, ...]) -> UnitSpace:
    return UnitSpace("weight", tuple(PrunableLayer(str(i), shape, shape) for i, shape in enumerate(shapes)))


@pytest.mark.parametrize(("scorer", "norm"), [(magnitude, 1), (l2, 2)])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75])
def test_filters_are_those_of_pytorchs_ln_structured(scorer: Scorer, norm: int, sparsity: float) -> None:
    view = view_of(network(), "channel")
    scores = scorer(view, draw(), None)
    masks = _masks(view.units, scores, uniform(view.units, scores, sparsity, view))
    for name in ("0", "3"):
        layer = prune.ln_structured(network()[int(name)], "weight", amount=sparsity, n=norm, dim=0)
        assert torch.equal(masks[name], layer.weight_mask.flatten(1).any(dim=1))


def test_global_magnitude_is_that_of_the_synflow_repository() -> None:
    _assert_masks(global_, 0.75, VALUES["magnitude"]["kept"])


@pytest.mark.parametrize(("allocation", "name"), [(uniform, "uniform"), (lamp, "lamp_allocation")])
@pytest.mark.parametrize("sparsity", ["0.5", "0.75", "0.9"])
def test_masks_are_those_of_the_lamp_repository(allocation: Allocation, name: str, sparsity: str) -> None:
    _assert_masks(allocation, float(sparsity), VALUES[name]["kept"][sparsity])


@pytest.mark.parametrize("sparsity", ["0.5", "0.6"])
def test_uniform_plus_is_that_of_the_lamp_repository_up_to_the_rounding_of_a_layer(sparsity: str) -> None:
    """Theirs rounds each layer by itself and so keeps one more of 204 weights than requested at 0.5."""
    view = view_of(network())
    ours = uniform_plus(view.units, ScoreMap(view.magnitudes()), float(sparsity), view).keep.tolist()
    theirs = [flags.count("1") for flags in VALUES["uniform_plus"]["kept"][sparsity].values()]
    assert all(abs(a - b) <= 1 for a, b in zip(ours, theirs, strict=True))
    assert ours[0] == theirs[0] == 54


@pytest.mark.parametrize("case", VALUES["erk"]["by_case"])
def test_erk_has_the_densities_of_rigl_and_its_counts_up_to_two(case: str) -> None:
    """RigL rounds the zeros of each layer down, for the total and again at the end: it keeps more than requested."""
    network_name, sparsity = case.split()
    shapes = [tuple(shape) for shape in VALUES["erk"]["shapes"][network_name]]
    theirs = VALUES["erk"]["by_case"][case]
    units = _space(*shapes)
    sizes = [prod(shape) for shape in shapes]
    # RigL's total: the ones of uniform pruning, layer by layer
    total = sum(size - floor(float(sparsity) * size) for size in sizes)
    ours = densities([Fraction(sum(shape), prod(shape)) for shape in shapes], sizes, total)
    for density, other in zip(ours, theirs["sparsity"], strict=True):
        assert float(density) == pytest.approx(1 - other, abs=1e-11)
    kept = erk(units, ScoreMap({}), float(sparsity), view_of(network())).keep.tolist()
    assert all(0 <= b - a <= 2 for a, b in zip(kept, theirs["kept"], strict=True))
    assert sum(theirs["kept"]) > sum(kept)


@pytest.mark.parametrize("sparsity", ["0.5", "0.75", "0.9"])
def test_erk_has_the_counts_of_the_lamp_repository(sparsity: str) -> None:
    """Theirs rounds each layer by itself; here the sums agree."""
    _assert_masks(erk, float(sparsity), VALUES["erk_lamp"]["kept"][sparsity])


@pytest.mark.parametrize(("name", "seed", "shape"), [
    ("linear 2:4", 41, (6, 16)), ("linear 1:4", 41, (6, 16)), ("linear 4:8", 41, (6, 16)),
    ("conv2d 2:4", 42, (4, 8, 3, 2)), ("conv1d 2:4", 43, (4, 8, 3)),
])  # fmt: skip
def test_n_of_m_masks_are_nvidias(name: str, seed: int, shape: tuple[int, ...]) -> None:
    """Before their permutation of the input channels, and without their rule on multiples of 8 and 16."""
    n, m = map(int, name.split()[1].split(":"))
    units = _space(shape)
    scores = {"0": uniform_values(seed, *shape).abs()}
    masks = _masks(units, scores, n_m(units, ScoreMap(scores), None, view_of(network()), n=n, m=m))
    assert _flags(masks["0"]) == VALUES["n_m"]["kept"][name]


@pytest.mark.parametrize("beta", ["0.5", "1.0", "1.25"])
def test_emp_keeps_one_weight_less_than_the_authors_over_the_whole_model(beta: str) -> None:
    """Their threshold is the score at place K, counted from 0, and what equals it is kept: K + 1 weights."""
    view = view_of(network())
    scores = view.magnitudes()
    masks = _masks(view.units, scores, emp(view.units, ScoreMap(scores), None, view, scope="global", beta=float(beta)))
    theirs = torch.tensor([flag == "1" for flags in VALUES["emp_global"]["kept"][beta].values() for flag in flags])
    ours, size = view.units.flatten(masks), view.units.flatten(scores)
    (more,) = (theirs != ours).nonzero().flatten().tolist()
    assert theirs[more]
    assert size[more] == size[~ours].max()


@pytest.mark.parametrize("case", VALUES["emp_layer"]["kept"])
def test_emp_of_a_layer_is_the_authors(case: str) -> None:
    seed, size = map(int, case.split())
    units = _space((size, 1))
    scores = {"0": uniform_values(seed, size, 1).abs()}
    masks = _masks(units, scores, emp(units, ScoreMap(scores), None, view_of(network()), scope="layer"))
    assert _flags(masks["0"]) == VALUES["emp_layer"]["kept"][case]


@pytest.mark.parametrize("case", VALUES["emp_output"]["kept"])
def test_emp_of_output_rows_is_the_authors(case: str) -> None:
    """By magnitude, and by magnitude times the norm of the inputs (Wanda)."""
    scorer, beta = case.split()
    weight = uniform_values(31, 6, 8).abs()
    scores = {"0": weight * uniform_values(33, 8).abs() if scorer == "wanda" else weight}
    units = _space((6, 8))
    budget = emp(units, ScoreMap(scores), None, view_of(network()), scope="output", beta=float(beta))
    assert _flags(_masks(units, scores, budget)["0"]) == VALUES["emp_output"]["kept"][case]


@pytest.mark.parametrize("function", ["loss_change", "saliency"])
def test_the_authors_gradient_code_keeps_as_many_weights_as_emp_removes(function: str) -> None:
    """It prunes up to the quantile K / N of the scores, in place of 1 - K / N."""
    values = VALUES["emp_gradient"][function]
    assert values["kept"] == view_of(network()).units.total - floor(values["n_eff"])


def test_the_effective_number_of_the_gradient_code_is_ours() -> None:
    """`EMP_loss_change` scores abs(g w) in train mode, on one batch."""
    net = network().train()
    calibration = draw()
    torch.nn.functional.cross_entropy(net(calibration.images), calibration.labels).backward()
    view = view_of(network())
    scores = {name: (net[int(name)].weight.grad * view.weight(name)).abs() for name in view.units.names}
    budget = emp(view.units, ScoreMap(scores), None, view, scope="global")
    assert budget.notes["emp"]["all"]["n_eff"] == pytest.approx(VALUES["emp_gradient"]["loss_change"]["n_eff"])
