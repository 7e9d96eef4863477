from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from bench.scorers.rank import normalised_rank

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
