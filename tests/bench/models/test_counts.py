from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import CellError
from bench.models.counts import keep_count


@given(units=st.integers(0, 10**7), thousandths=st.integers(0, 999))
def test_count_is_exact_decimal_arithmetic(units: int, thousandths: int) -> None:
    pruned = (Decimal(thousandths) / 1000 * units).to_integral_value(ROUND_HALF_EVEN)
    assert keep_count(units, thousandths / 1000) == units - int(pruned)


@pytest.mark.parametrize(
    ("units", "sparsity", "kept"),
    [
        (5, 0.5, 3),  # 2.5 pruned -> 2
        (7, 0.5, 3),  # 3.5 pruned -> 4
        (45, 0.7, 13),  # 31.5 pruned -> 32; the float product is 31.499999999999996
        (10, 0.0, 10),
        (1, 0.9, 0),
    ],
)
def test_half_goes_to_even(units: int, sparsity: float, kept: int) -> None:
    assert keep_count(units, sparsity) == kept


@pytest.mark.parametrize("sparsity", [None, -0.1, 1.0, float("nan")])
def test_refuses_what_is_no_sparsity(sparsity: float | None) -> None:
    with pytest.raises(CellError, match="needs a sparsity"):
        keep_count(10, sparsity)
