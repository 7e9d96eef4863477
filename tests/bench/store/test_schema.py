"""The columns of the store: their axes are those of the grid, and their types follow from one table."""

from __future__ import annotations

from typing import get_args

import pandas as pd
import pyarrow as pa
import pytest

from bench.core.types import AXES, ColumnKind
from bench.store import schema

TABLES = {
    "rows": schema.ROWS, "curves": schema.CURVES, "alignment": schema.ALIGNMENT, "units": schema.UNITS,
    "checks": schema.CHECKS, "dense": schema.DENSE, "derived": schema.DERIVED,
}  # fmt: skip


def test_the_axes_of_a_row_are_those_of_the_grid():
    names = [column.name for column in schema.AXES]
    assert names == ["cell", "group", "position", *(axis.name for axis in AXES), "precision"]


def test_every_kind_has_a_type_in_the_database_arrow_and_pandas():
    assert set(schema.TYPES) == set(get_args(ColumnKind))
    for kind in schema.TYPES.values():
        column = pd.Series([None, None], dtype=kind.pandas)
        assert pa.array(column, pa.type_for_alias(kind.arrow), from_pandas=True).null_count == 2


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_columns_are_unique_and_described(columns):
    assert len({column.name for column in columns}) == len(columns)
    assert all(column.unit and column.meaning and column.type for column in columns)


def test_an_older_version_lacks_the_columns_that_were_added_since():
    assert {column.name for column in schema.known(schema.DENSE, 1)} == {c.name for c in schema.DENSE} - {"network"}
    assert schema.known(schema.DENSE, schema.SCHEMA_VERSION) == schema.DENSE
