"""Colours, markers and lines of figures, readable in greyscale and to colour-blind people.

The record of a method has its look (`analysis.evidence.methods.Methods.look`); here are those of names without one. The
colours are those of Okabe and Ito (2008), "Color Universal Design".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType


class Look(NamedTuple):
    """How one scorer or correction is drawn."""

    colour: str
    marker: str
    dashes: LineStyleType

    @property
    def face(self) -> str:
        """Fill of the marker: hollow where the line is broken."""
        return self.colour if self.dashes == "-" else "white"


#: Kinds of line of `bench.core.method.Method`.
LINES: Mapping[str, LineStyleType] = MappingProxyType({
    "solid": "-", "dashed": (0, (5.0, 2.0)), "dotted": (0, (1.0, 1.5)), "mixed": (0, (5.0, 1.5, 1.0, 1.5)),
})  # fmt: skip

_SPARE_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#8c8c8c")
_SPARE_MARKERS = ("X", "d", "*", "H", "8", "1", "2", "3", "4", "+")
_SPARE_LINES = ("dashed", "dotted", "mixed")


def derived_look(name: str) -> Look:
    """Return the look of a name that has none of its own: from its hash, always the same.

    Examples
    --------
    >>> derived_look("my_scorer") == derived_look("my_scorer")
    True
    """
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    number, colour = divmod(number, len(_SPARE_COLOURS))
    number, marker = divmod(number, len(_SPARE_MARKERS))
    return Look(_SPARE_COLOURS[colour], _SPARE_MARKERS[marker], LINES[_SPARE_LINES[number % len(_SPARE_LINES)]])
