"""Looks of methods, and what all figures share."""

from __future__ import annotations

import matplotlib as mpl

from analysis.figure_style import styled
from analysis.style import LINES, Look, derived_look


def test_a_broken_line_has_hollow_markers():
    assert Look("#000000", "o", LINES["solid"]).face == "#000000"
    assert {Look("#000000", "o", LINES[kind]).face for kind in ("dashed", "dotted", "mixed")} == {"white"}


def test_a_derived_look_is_that_of_the_name_and_never_the_references():
    names = [f"scorer_{number}" for number in range(100)]
    looks = [derived_look(name) for name in names]
    assert looks == [derived_look(name) for name in names]
    assert len(set(looks)) > 50
    assert not any(look.colour == "#000000" or look.dashes == "-" for look in looks)


def test_the_style_ends_with_the_figure():
    before = mpl.rcParams["svg.hashsalt"]
    with styled():
        assert mpl.rcParams["svg.hashsalt"] == "prunebench"
    assert mpl.rcParams["svg.hashsalt"] == before
