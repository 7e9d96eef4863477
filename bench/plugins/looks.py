"""How methods are drawn: the colours, and the fields of `Plugin` that a look consists of."""

from __future__ import annotations

from typing import Any

#: Okabe and Ito (2008), "Color Universal Design": distinguishable by colour-blind readers; markers and lines in grey.
BLACK, GREY, ORANGE, SKY = "#000000", "#8c8c8c", "#e69f00", "#56b4e9"
GREEN, BLUE, RED, PURPLE = "#009e73", "#0072b2", "#d55e00", "#cc79a7"


def look(colour: str, marker: str, line: str) -> dict[str, Any]:
    """Return the fields `colour`, `marker` and `line` of a method."""
    return {"colour": colour, "marker": marker, "line": line}
