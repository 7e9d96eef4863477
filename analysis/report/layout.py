"""What a report is made of: sections of sentences, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.report.drawing import Plot


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    name, title : str
        File name without ending; what stands above it.
    frame : DataFrame
        The cells as text.
    folded : bool
        Whether it is opened by a click, and left out of report.md.
    caption : str
        Explains the columns.
    notes : tuple of str
        Lines below the table.
    warnings : tuple of str
        Lines that are shown even while the table is folded.
    """

    name: str
    title: str
    frame: pd.DataFrame
    folded: bool = False
    caption: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section: sentences, then figures, then tables. `exploratory`: nothing in it was registered."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    exploratory: bool = False


def known(*tables: Table) -> tuple[Table, ...]:
    """Leave out the tables without a row."""
    return tuple(table for table in tables if len(table.frame))
