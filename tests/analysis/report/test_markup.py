"""Tables and text in Markdown and LaTeX."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.formats import NONE
from analysis.report.markup import latex_table, latex_text, markdown_table, markdown_text, numeric_columns

FRAME = pd.DataFrame({"Scorer": ["a_b", "[*]"], "Points": ["+1.23", NONE], "n": ["1,200", "3"]})


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["1", "2,000", NONE], True),
        (["+1.5", "\N{MINUS SIGN}0.25"], True),
        (["< 0.001", "0.05"], True),
        (["1.00 to 2.00", "3 of 4"], True),
        (["0 (1 of 2)"], True),
        ([NONE, NONE], False),
        (["1", "one"], False),
        ([], False),
    ],
)
def test_a_column_is_numeric_if_it_has_numbers_and_nothing_else(cells, numeric):
    assert (numeric_columns(pd.DataFrame({"column": cells})) == {"column"}) == numeric


def test_markdown_is_a_pipe_table_with_numbers_flush_right():
    assert markdown_table(FRAME).splitlines() == [
        "| Scorer | Points | n |", "|---|---:|---:|", r"| a\_b | +1.23 | 1,200 |", rf"| \[\*\] | {NONE} | 3 |",
    ]  # fmt: skip


def test_latex_is_a_longtable_with_numbers_flush_right():
    lines = latex_table(FRAME, "50 % of all", ["a & b"]).splitlines()
    assert lines[0] == r"\begin{longtable}{lrr}"
    assert lines[1] == r"\caption{50 \% of all}\\"
    assert r"a\_b & +1.23 & 1,200 \\" in lines
    assert r"{[}{*}] & -- & 3 \\" in lines
    assert lines[-2:] == [r"\end{longtable}", r"\par{\footnotesize a \& b\par}"]


@pytest.mark.parametrize("escape", [latex_text, markdown_text])
def test_a_line_break_ends_no_row(escape):
    assert escape("one\ntwo") == "one two"
