"""docs/DATA.md names what the code reads."""

from pathlib import Path

import pytest

from bench.data.folder import SUFFIXES
from bench.data.parquet import LABELS
from bench.study.spec import DataSpec

PAGE = (Path(__file__).parents[3] / "docs" / "DATA.md").read_text()


@pytest.mark.parametrize("names", [DataSpec.model_fields, LABELS, SUFFIXES])
def test_the_reference_names_every_key_column_and_suffix(names):
    assert [name for name in names if f"`{name}`" not in PAGE] == []
