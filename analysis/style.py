"""One fixed colour, marker and line per name, everywhere; readable in greyscale and to colour-blind people.

The colours are those of Okabe and Ito (2008), "Color Universal Design"; markers and dashes tell apart what
grey cannot.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib as mpl
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


_BLACK, _GREY, _ORANGE, _SKY = "#000000", "#8c8c8c", "#e69f00", "#56b4e9"
_GREEN, _BLUE, _RED, _PURPLE = "#009e73", "#0072b2", "#d55e00", "#cc79a7"
_SOLID: LineStyleType = "-"
_DASHED: LineStyleType = (0, (5.0, 2.0))
_DOTTED: LineStyleType = (0, (1.0, 1.5))
_MIXED: LineStyleType = (0, (5.0, 1.5, 1.0, 1.5))

_LOOKS = (
    ("magnitude", Look(_BLACK, "o", _SOLID)),
    ("random", Look(_GREY, "x", _DOTTED)),
    ("log_magnitude", Look(_SKY, "<", _DASHED)),
    ("sqrt_magnitude", Look(_GREEN, ">", _DOTTED)),
    ("square_magnitude", Look(_RED, "p", _MIXED)),
    ("exp_magnitude", Look(_PURPLE, "h", _DASHED)),
    ("rank", Look(_PURPLE, "P", _MIXED)),
    ("log_rank", Look(_SKY, "3", _MIXED)),
    ("l2", Look(_GREEN, "D", _DASHED)),
    ("gradient", Look(_RED, "v", _DOTTED)),
    ("taylor", Look(_ORANGE, "^", _SOLID)),
    ("wanda", Look(_BLUE, "s", _MIXED)),
    ("lamp", Look(_SKY, "d", _SOLID)),
    ("snip", Look(_PURPLE, "*", _DASHED)),
    ("grasp", Look(_GREY, "X", _MIXED)),
    ("synflow", Look(_GREEN, "H", _SOLID)),
    ("synflow_oneshot", Look(_GREEN, "8", _DOTTED)),
    ("fisher", Look(_ORANGE, "+", _DASHED)),
    ("obs", Look(_BLUE, "1", _DOTTED)),
    ("activation", Look(_RED, "2", _SOLID)),
    # Feature scorers have figures of their own, so their markers are told apart among themselves.
    ("v1a_peak", Look(_SKY, "o", _DASHED)),
    ("v1b_var", Look(_BLUE, "s", _DOTTED)),
    ("v1d_range", Look(_GREEN, "^", _MIXED)),
    ("v1", Look(_ORANGE, "D", _SOLID)),
    ("a5_log6_smooth", Look(_RED, "v", _DASHED)),
    ("a5", Look(_BLUE, "X", _SOLID)),
    ("a5_log6", Look(_PURPLE, "P", _DASHED)),
    ("sics_adaptive", Look(_GREEN, "*", _MIXED)),
    ("nl_sin", Look(_SKY, "<", _SOLID)),
    ("weier4", Look(_ORANGE, ">", _DASHED)),
    ("random_spline", Look(_GREY, "h", _DOTTED)),
    ("gaussian_bump", Look(_GREEN, "p", _SOLID)),
    ("gaussian_bump_only", Look(_GREEN, "8", _DOTTED)),
    ("pure_mag4", Look(_RED, "d", _MIXED)),
    # Searches, whose lines stand beside each other for one scorer.
    ("dbo", Look(_BLUE, "s", _SOLID)),
    ("cma", Look(_ORANGE, "^", _DASHED)),
    ("random_search", Look(_GREY, "x", _DOTTED)),
    # Corrections.
    ("none", Look(_BLACK, "o", _SOLID)),
    ("layerwise", Look(_ORANGE, "^", _DASHED)),
    ("channelwise", Look(_RED, "v", _DOTTED)),
    ("asr", Look(_BLUE, "s", _MIXED)),
    ("asr_soft", Look(_SKY, "D", _DOTTED)),
    ("asr_eb", Look(_PURPLE, "*", _DASHED)),
    ("repair", Look(_GREEN, "P", _SOLID)),
    ("reconstruct", Look(_GREY, "X", _MIXED)),
)
_SPARE_COLOURS = (_ORANGE, _SKY, _GREEN, _BLUE, _RED, _PURPLE, _GREY)
_SPARE_MARKERS = ("X", "d", "*", "H", "8", "1", "2", "3", "4", "+")
_SPARE_DASHES = (_DASHED, _DOTTED, _MIXED)


def look(name: str) -> Look:
    """Return how `name` is drawn; a name that is not ours gets a look from its own hash, always the same.

    A label with options or a search keeps the colour of its scorer; a budget beside it changes nothing.

    Examples
    --------
    >>> look("magnitude").marker, look("my_scorer") == look("my_scorer")
    ('o', True)
    >>> look("a5(include_rank=True) + dbo").colour == look("a5").colour, look("dbo (60 evaluations)") == look("dbo")
    (True, True)
    """
    known = dict(_LOOKS)
    label = name.partition(" (")[0]
    if label in known:
        return known[label]
    scorer = label.partition(" + ")[0].partition("(")[0]
    return _spare(label)._replace(colour=known.get(scorer, _spare(scorer)).colour)


def _spare(name: str) -> Look:
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    number, colour = divmod(number, len(_SPARE_COLOURS))
    number, marker = divmod(number, len(_SPARE_MARKERS))
    return Look(_SPARE_COLOURS[colour], _SPARE_MARKERS[marker], _SPARE_DASHES[number % len(_SPARE_DASHES)])


def styled() -> AbstractContextManager[None]:
    """Set what all figures share, while one is made; the fixed salt makes the ids in the SVG repeatable."""
    settings: Any = {
        "font.family": ["DejaVu Sans"], "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
        "legend.fontsize": 8.5,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "lines.linewidth": 1.3, "lines.markersize": 4.5, "legend.frameon": False, "svg.fonttype": "none",
        "svg.hashsalt": "prunebench", "text.parse_math": False, "figure.facecolor": "white",
    }  # fmt: skip
    return mpl.rc_context(settings)
