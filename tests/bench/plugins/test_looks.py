"""The colours of methods, and the fields that a look consists of."""

from __future__ import annotations

from bench.core.registry import Plugin
from bench.plugins import looks

COLOURS = [looks.BLACK, looks.GREY, looks.ORANGE, looks.SKY, looks.GREEN, looks.BLUE, looks.RED, looks.PURPLE]


def test_every_colour_differs_from_the_others():
    assert len(set(COLOURS)) == len(COLOURS)


def test_a_look_is_the_fields_of_a_method():
    plugin = Plugin("search", "mine", lambda: None, **looks.look(looks.BLUE, "s", "dotted"))
    assert (plugin.colour, plugin.marker, plugin.line) == (looks.BLUE, "s", "dotted")
