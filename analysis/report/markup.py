"""Text and tables in Markdown and LaTeX, with every special character escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from analysis.formats import NONE

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{EN DASH}": "--", "\N{MINUS SIGN}": r"$-$", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "*": "{*}",  # after a row's end they would be its options
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}  # fmt: skip
_NUMBER = re.compile(
    r"^(?:[<>]\s)?[+\N{MINUS SIGN}-]?\d[\d,.]*(?: (?:to|of) [+\N{MINUS SIGN}-]?\d[\d,.]*)?(?: \([\d,]+ of [\d,]+\))?$"
    r"|^\N{EN DASH}$"
)


def latex_text(text: str) -> str:
    r"""Escape LaTeX's special characters.

    Examples
    --------
    >>> latex_text("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(_LATEX.get(character, character) for character in " ".join(text.splitlines()))


def latex_table(frame: pd.DataFrame, caption: str, notes: Sequence[str] = ()) -> str:
    """Return a ``longtable`` (package ``longtable``, rules from ``booktabs``), which may run over pages.

    Parameters
    ----------
    frame : DataFrame
        The cells as text.
    caption : str
        Title and explanation.
    notes : sequence of str
        Lines below the table.
    """
    numeric = numeric_columns(frame)
    shape = "".join("r" if column in numeric else "l" for column in frame.columns)
    lines = [rf"\begin{{longtable}}{{{shape}}}", rf"\caption{{{latex_text(caption)}}}\\", r"\toprule"]
    lines += [_latex_row([str(column) for column in frame.columns]), r"\midrule", r"\endhead", r"\bottomrule"]
    lines.append(r"\endfoot")
    lines += [_latex_row(row) for row in frame.astype(str).itertuples(index=False, name=None)]
    lines.append(r"\end{longtable}")
    lines += [rf"\par{{\footnotesize {latex_text(note)}\par}}" for note in notes]
    return "\n".join([*lines, ""])


def _latex_row(cells: list[str] | tuple[str, ...]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


def markdown_text(text: object) -> str:
    r"""Escape what Markdown, or HTML inside it, would act on.

    Examples
    --------
    >>> markdown_text("<b> a_b | c")
    '&lt;b&gt; a\\_b \\| c'
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#!~$])", r"\\\1", plain)


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a pipe table."""
    numeric = numeric_columns(frame)
    lines = ["| " + " | ".join(markdown_text(column) for column in frame.columns) + " |"]
    lines.append("|" + "|".join("---:" if column in numeric else "---" for column in frame.columns) + "|")
    for row in frame.astype(str).itertuples(index=False, name=None):
        lines.append("| " + " | ".join(markdown_text(cell) for cell in row) + " |")
    return "\n".join(lines)


def _is_numeric(cells: list[str]) -> bool:
    return any(cell != NONE for cell in cells) and all(_NUMBER.match(cell) for cell in cells)


def numeric_columns(frame: pd.DataFrame) -> frozenset[str]:
    """Headings of the columns that hold nothing but numbers, which are set flush right.

    Examples
    --------
    >>> sorted(numeric_columns(pd.DataFrame({"n": ["1", "2,000"], "name": ["a", "1"]})))
    ['n']
    """
    return frozenset(str(column) for column in frame.columns if _is_numeric([str(value) for value in frame[column]]))
