"""Parts of a report."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from analysis.report.layout import Section, Table, known


def test_tables_without_a_row_are_left_out_in_order():
    full = [Table(name, name, pd.DataFrame({"n": ["1"]})) for name in ("b", "a")]
    empty = Table("c", "c", pd.DataFrame({"n": []}))
    assert known(full[0], empty, full[1]) == tuple(full)
    assert known(empty) == ()


def test_a_section_cannot_be_changed():
    section = Section("searches", "Searches", ("One sentence.",))
    assert (section.figures, section.tables, section.exploratory) == ((), (), False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        section.title = "other"
