from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from bench.models.units import find_units
from bench.models.view import ModelView
from bench.scorers.rank import ladder, log_rank, normalised_rank, positions, rank

values = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=40)


@given(values)
def test_is_scipys_ordinal_rank_with_lower_indices_ranked_higher(magnitudes: list[float]) -> None:
    n = len(magnitudes)
    # 'ordinal' gives the lower index the lower rank, so the array is read backwards
    rank = rankdata(magnitudes[::-1], method="ordinal")[::-1]
    u = normalised_rank(torch.tensor(magnitudes, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(u, 0.1 + 0.9 * (rank - 1) / (n - 1), rtol=1e-15)
    assert len(np.unique(u)) == n
    assert (u.min(), u.max()) == (0.1, 1.0)


def test_shape_is_kept_and_a_single_unit_has_rank_one() -> None:
    assert normalised_rank(torch.tensor([[0.5]])).tolist() == [[1.0]]
    assert normalised_rank(torch.zeros(3, 2, 1, 1)).shape == (3, 2, 1, 1)


def test_log_rank_is_the_logarithm_and_orders_units_as_rank_does() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 2))
    net[0].weight.data.copy_(torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    view = ModelView(net, find_units(net, "weight", (), torch.zeros(1, 3, 2, 2)))
    u, log_u = rank(view, None, None)["0"], log_rank(view, None, None)["0"]
    np.testing.assert_allclose(np.exp(log_u.numpy()), u.numpy(), rtol=1e-14)
    assert torch.equal(log_u.flatten().argsort(), u.flatten().argsort())
    assert (float(log_u.min()), float(log_u.max())) == (float(np.log(0.1)), 0.0)


@given(values)
def test_u_is_the_ladder_at_the_positions(magnitudes: list[float]) -> None:
    tensor = torch.tensor(magnitudes)
    assert torch.equal(normalised_rank(tensor), ladder(len(magnitudes))[positions(tensor)])
    assert positions(tensor).sort()[0].tolist() == list(range(len(magnitudes)))
