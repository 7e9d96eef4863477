"""Scores and masks against those of the authors' own code on the same weights and inputs.

solvers.json has what their functions gave in single precision, with repository, commit and function. SparseSwaps has no
public code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.masks.budget import Budget
from bench.masks.build import build_masks
from bench.masks.order import keep_order
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.dsnot import dsnot
from bench.scorers.obc import obc
from bench.scorers.ria import ria

VALUES: dict[str, Any] = json.loads((Path(__file__).parent / "solvers.json").read_text())
OBC, DSNOT = VALUES["obc"]["cases"], VALUES["dsnot"]["cases"]


def _numbers(seed: int, *shape: int) -> Tensor:
    """Return normal numbers of NumPy's legacy stream, which no release changes."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def _view(layer: nn.Linear | nn.Conv2d, weight: Tensor, inputs: Tensor) -> tuple[ModelView, Calibration]:
    layer.weight.data = weight
    net = nn.Sequential(layer).eval()
    draw = Calibration(inputs, torch.zeros(len(inputs), dtype=torch.int64), batch=8)
    return ModelView(net, find_units(net, "weight", (), inputs[:1])), draw


def _obc_layer(name: str) -> tuple[ModelView, Calibration]:
    if name == "conv":
        return _view(nn.Conv2d(2, 4, 3, 2, 1, bias=False), _numbers(3, 4, 2, 3, 3), _numbers(4, 16, 2, 6, 6))
    inputs = _numbers(2, 32, 8)
    inputs[:, 1] = 0.9 * inputs[:, 0] + 0.1 * inputs[:, 1]
    inputs[:, 4] = 0
    return _view(nn.Linear(8, 5, bias=False), _numbers(1, 5, 8), inputs)


def _text(kept: Tensor) -> list[str]:
    return ["".join("01"[keep] for keep in row) for row in kept.flatten(1).int().tolist()]


@pytest.mark.parametrize("case", OBC, ids=lambda case: f"{case['layer']} {case['damping']}")
def test_obc_removes_what_the_authors_remove(case: dict[str, Any]) -> None:
    """Their rounding in float32 is larger where inputs are nearly equal."""
    view, draw = _obc_layer(case["layer"])
    scores = obc(view, draw, None, damping=case["damping"])
    ascending = scores["0"].flatten(1).sort(dim=1).values
    theirs = torch.tensor(case["losses"], dtype=torch.float64).sort(dim=1).values
    torch.testing.assert_close(ascending, theirs, rtol=2e-4, atol=2e-6)

    order = keep_order(view.units, scores, view.magnitudes())
    for kept in case["kept"].values():
        keep = torch.tensor([sum(row.count("1") for row in kept)])
        everything = Budget(torch.zeros(view.units.total, dtype=torch.int64), keep)
        assert _text(build_masks(view.units, order, everything)["0"]) == kept


def test_a_row_of_the_authors_losses_is_not_monotone() -> None:
    """So the cases above distinguish the merged order from the order of losses alone."""
    assert any(losses != sorted(losses) for case in OBC for losses in case["losses"])


def test_ria_scores_are_the_authors() -> None:
    """They divide the sum of squares by the 4 sequences."""
    view, draw = _view(
        nn.Linear(12, 6, bias=False), _numbers(11, 6, 12), _numbers(12, 4, 5, 12) + 0.3 * _numbers(13, 12)
    )
    theirs = torch.tensor(VALUES["ria"]["scores"], dtype=torch.float64)
    torch.testing.assert_close(ria(view, draw, None)["0"], theirs * 4**0.25, rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", DSNOT, ids=lambda case: " ".join(str(v) for k, v in case.items() if k != "kept"))
def test_dsnot_exchanges_what_the_authors_exchange(case: dict[str, Any]) -> None:
    """One sequence of 24 tokens, for which their variance is that of the draw."""
    inputs = _numbers(22, 1, 24, 128) * (0.5 + _numbers(23, 128).abs()) + 0.5 * _numbers(24, 128)
    view, draw = _view(nn.Linear(128, 4, bias=False), _numbers(21, 4, 128), inputs)
    options = {name: case[name] for name in ("start", "cycles", "threshold", "variance_power", "same_sign")}
    kept = dsnot(view, draw, None, case["sparsity"], **options)["0"] >= 1
    assert _text(kept) == case["kept"]
