"""OBC against greedy removal by least squares, and against `obs` for the first removal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.core.types import Granularity
from bench.masks.allocation import uniform
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.obc import obc, removal_losses
from bench.scorers.obs import obs

ViewOf = Callable[[Granularity], ModelView]


def _draw(*shape: int) -> Calibration:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Calibration(images, torch.zeros(len(images), dtype=torch.int64), 4)


def _view(layer: nn.Module, draw: Calibration) -> ModelView:
    net = nn.Sequential(layer).double().eval()
    return ModelView(net, find_units(net, "weight", (), draw.images[:1]))


def _problem(out: int, k: int, groups: int = 1) -> tuple[Tensor, Tensor]:
    """Random rows, and the Hessian of correlated inputs."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(groups, k, 3 * k, generator=generator, dtype=torch.float64)
    x[:, 1:] += x[:, :-1].clone()
    rows = torch.randn(out, k, generator=generator, dtype=torch.float64)
    return rows, 2 * x @ x.mT / 50


def _losses_by_least_squares(row: np.ndarray, hessian: np.ndarray) -> tuple[list[float], list[int]]:
    """Remove the weight whose removal leaves the least error when the others are refitted, one after the other."""
    left, losses, order, before = list(range(len(row))), [], [], 0.0
    while left:
        errors = []
        for p in left:
            rest = [i for i in left if i != p]
            gone = [i for i in range(len(row)) if i not in rest]
            refitted = np.zeros_like(row)
            change = np.linalg.solve(hessian[np.ix_(rest, rest)], hessian[np.ix_(rest, gone)] @ row[gone])
            refitted[rest] = row[rest] + change
            errors.append((row - refitted) @ hessian @ (row - refitted) / 2)
        best = int(np.argmin(errors))
        losses.append(errors[best] - before)
        before = errors[best]
        order.append(left.pop(best))
    return losses, order


def test_the_greedy_sequence_is_that_of_refitting_the_rest() -> None:
    rows, hessian = _problem(3, 7)
    damped = hessian[0] + 0.01 * hessian[0].diagonal().mean() * torch.eye(7, dtype=torch.float64)
    losses, steps = removal_losses(rows, hessian, damping=0.01)
    for row, loss, step in zip(rows, losses, steps, strict=True):
        expected, order = _losses_by_least_squares(row.numpy(), damped.numpy())
        assert step.argsort().tolist() == order
        np.testing.assert_allclose(loss.numpy()[order], sorted(expected), rtol=1e-8)


def test_all_losses_of_a_row_add_up_to_its_energy() -> None:
    """Long enough for columns to be dropped on the way."""
    rows, hessian = _problem(4, 150)
    losses, steps = removal_losses(rows, hessian, damping=0.01)
    damped = hessian[0] + 0.01 * hessian[0].diagonal().mean() * torch.eye(150, dtype=torch.float64)
    torch.testing.assert_close(losses.sum(dim=1), ((rows @ damped) * rows).sum(dim=1) / 2)
    assert all(sorted(step) == list(range(150)) for step in steps.tolist())


def test_a_group_is_removed_as_if_it_were_alone() -> None:
    rows, hessian = _problem(6, 9, groups=3)
    losses, _ = removal_losses(rows, hessian, damping=0.01)
    for g in range(3):
        alone, _ = removal_losses(rows[2 * g : 2 * g + 2], hessian[g : g + 1], damping=0.01)
        torch.testing.assert_close(losses[2 * g : 2 * g + 2], alone)


def test_the_first_removal_is_that_of_obs(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    ours, single = obc(view, calibration, None), obs(view, calibration, None)
    for name in view.units.names:
        row = view.layer(name).rows
        assert torch.equal(row(ours[name]).argmin(dim=1), row(single[name]).argmin(dim=1))


def test_a_cut_removes_the_first_weights_of_each_row(view_of: ViewOf, calibration: Calibration) -> None:
    view = view_of("weight")
    scores = obc(view, calibration, None)
    order = keep_order(view.units, scores, view.magnitudes())
    assert scores.secondary is not None
    for sparsity in (0.3, 0.8):
        masks = build_masks(view.units, order, uniform(view.units, scores, sparsity, view))
        for name in view.units.names:
            removed, step = ~view.layer(name).rows(masks[name]), view.layer(name).rows(scores.secondary[name])
            assert torch.equal(removed, step < removed.sum(dim=1, keepdim=True))


def test_weights_of_dead_inputs_cost_nothing_and_go_first() -> None:
    """Without damping, as in the authors' code."""
    draw = _draw(40, 4, 6, 6)
    draw.images[:, 1] = 0
    view = _view(nn.Conv2d(4, 2, 1, bias=False), draw)
    scores = obc(view, draw, None, damping=0)["0"].flatten(1)
    assert bool((scores[:, 1] == 0).all())
    assert bool((scores[:, [0, 2, 3]] > 0).all())
    depthwise = obc(_view(nn.Conv2d(4, 4, 3, groups=4), draw), draw, None)["0"]
    assert bool((depthwise[1] == 0).all())


def test_longer_rows_than_the_limit_are_refused() -> None:
    draw = _draw(4, 4, 6, 6)
    view = _view(nn.Conv2d(4, 2, 3), draw)
    assert len(obc(view, draw, None, limit=36)) == 1
    with pytest.raises(NotApplicable, match="an output of 0 has 36 weights; the option limit is 35"):
        obc(view, draw, None, limit=35)


def test_channels_are_refused(view_of: ViewOf, calibration: Calibration) -> None:
    with pytest.raises(NotApplicable, match="obc scores weights"):
        obc(view_of("channel"), calibration, None)


def test_inputs_without_an_inverse_are_an_error_that_names_the_layer() -> None:
    """More weights than values to read."""
    draw = _draw(2, 1, 1, 5)
    with pytest.raises(CellError, match=r"obc of 0: .* too little damping"):
        obc(_view(nn.Linear(5, 4), draw), draw, None, damping=0)
    draw.images[0, 0, 0, 0] = torch.nan
    with pytest.raises(CellError, match=r"obc of 0: .* not finite"):
        obc(_view(nn.Linear(5, 4), draw), draw, None)
