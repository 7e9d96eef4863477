"""What all figures share: fonts, sizes and lines of Matplotlib."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl


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
