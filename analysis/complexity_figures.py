"""Draw kappa(S) and the wiggle premium on axes; nothing is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.complexity import PAPER
from analysis.complexity_study import RAW, SMOOTH
from analysis.evidence.methods import Methods
from analysis.formats import percent

_GREY = "#555555"
#: kappa -> the scorer whose look it has.
_LOOKS = {1: SMOOTH, 2: RAW}


def probabilities(frame: pd.DataFrame, axes: Axes, methods: Methods) -> None:
    """Draw P(kappa >= 1) and P(kappa >= 2) over sparsity, with the paper's thresholds as upright lines.

    The lines are labelled for a legend.

    Parameters
    ----------
    frame : DataFrame
        As `complexity.curve` gives it; sparsities at which kappa is not decidable draw no point.
    axes : Axes
        Where to draw.
    methods : Methods
        How the scorers are drawn.
    """
    axes.axhline(0.5, color=_GREY, linewidth=0.9, dashes=(2, 2))
    for kappa, threshold in PAPER.items():
        style = methods.look(_LOOKS[kappa])
        axes.axvline(100 * threshold, color=style.colour, linewidth=0.9, linestyle=(0, (1, 1.5)))
        axes.annotate(
            f"paper: {_at_least(kappa)}", (100 * threshold, 1), xycoords=("data", "axes fraction"), va="bottom",
            xytext=(2, -9 * kappa), textcoords="offset points", fontsize=7.5, color=style.colour,
        )  # fmt: skip
        axes.plot(
            100 * frame["sparsity"], frame[f"at_least_{kappa}"], color=style.colour, marker=style.marker,
            markerfacecolor="white" if kappa == 1 else style.colour, linestyle=("--", "-")[kappa - 1],
            label=f"P({_at_least(kappa)})",
        )  # fmt: skip
    axes.set_ylim(-0.03, 1.28)
    axes.set_yticks(np.linspace(0, 1, 5))
    _sparsities(frame, axes)


def premium(frame: pd.DataFrame, axes: Axes, methods: Methods) -> None:
    """Draw the wiggle premium over sparsity, with intervals; filled where max-T (2.5 % each way) tells it from zero.

    Parameters
    ----------
    frame : DataFrame
        As `complexity.premium` gives it; NaN bounds draw no bar.
    axes : Axes
        Where to draw.
    methods : Methods
        How the scorers are drawn.
    """
    axes.axhline(0, color=_GREY, linewidth=0.9, dashes=(2, 2))
    colour = methods.look(RAW).colour
    x, mean = 100 * frame["sparsity"].to_numpy(), 100 * frame["mean"].to_numpy()
    bars = np.nan_to_num(np.abs(100 * np.stack([frame["low"], frame["high"]]) - mean))
    axes.errorbar(x, mean, yerr=bars, color=colour, linestyle="-", elinewidth=0.8, capsize=1.5, capthick=0.8)
    clear = (frame[["p_above", "p_below"]].min(axis=1) <= 0.025).to_numpy()
    for filled, face in ((clear, colour), (~clear, "white")):
        axes.plot(x[filled], mean[filled], color=colour, marker="o", markerfacecolor=face, linestyle="none", zorder=4)
    _sparsities(frame, axes)


def _at_least(kappa: int) -> str:
    return f"\N{GREEK SMALL LETTER KAPPA} \N{GREATER-THAN OR EQUAL TO} {kappa}"


def _sparsities(frame: pd.DataFrame, axes: Axes) -> None:
    steps = frame["sparsity"].to_numpy()
    axes.set_xticks(100 * steps, [percent(step, 0 if step * 100 % 1 < 1e-9 else 1) for step in steps])
