from __future__ import annotations

import pytest
import torch

from bench.core.errors import CellError
from bench.masks.budget import Budget


@pytest.mark.parametrize("keep", [[3, 0], [-1, 1], [1]])
def test_budget_refuses_counts_that_do_not_fit(keep: list[int]) -> None:
    with pytest.raises(CellError, match="budget keeps"):
        Budget(torch.tensor([0, 0, 1]), torch.tensor(keep))
