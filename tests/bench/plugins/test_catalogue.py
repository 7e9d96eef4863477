"""The catalogue is complete: every method has every fact that its kind needs, and looks of its own."""

from __future__ import annotations

import inspect
from itertools import combinations

import pytest

from bench.plugins.catalogue import ALLOCATIONS, CORRECTIONS, MODELS, RECALIBRATIONS, SCORERS, SEARCHES
from bench.repairs import grail, reconstruct
from bench.scorers import dsnot, obc, obs, sparse_swaps

METHODS = (*SCORERS, *SEARCHES, *ALLOCATIONS, *CORRECTIONS, *RECALIBRATIONS)
FEATURES = [plugin for plugin in SCORERS if plugin.fuses_features]
PLAIN = [plugin for plugin in SCORERS if not plugin.fuses_features]
DRAWN_SEARCHES = [plugin for plugin in SEARCHES if plugin.name not in ("none", "equal")]  # equal weights: a plain line


@pytest.mark.parametrize("plugin", METHODS, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_method_has_what_its_kind_needs(plugin):
    assert plugin.formula
    assert plugin.cost
    assert plugin.reference
    assert plugin.glossary
    assert not plugin.glossary.endswith(".")  # a phrase in brackets
    assert plugin.granularities
    if plugin.kind == "allocation":
        assert plugin.sets_sparsity is not None


def _symbol(plugin):
    """Return the marker, and whether it is filled; some have no area to fill."""
    return plugin.marker, plugin.line == "solid" or plugin.marker in "x+1234"


@pytest.mark.parametrize("drawn", [PLAIN, FEATURES, DRAWN_SEARCHES, CORRECTIONS], ids=lambda drawn: drawn[0].name)
def test_methods_of_one_figure_differ_by_marker_or_its_fill_and_are_readable_in_grey(drawn):
    assert all(plugin.colour and plugin.marker for plugin in drawn)
    for first, second in combinations(drawn, 2):
        assert _symbol(first) != _symbol(second), (first.name, second.name)
    for plugin in drawn:
        red, green, blue = (int(plugin.colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75  # readable on white


def test_only_recalibrations_that_start_anew_are_complete():
    assert [plugin.name for plugin in METHODS if plugin.complete] == ["reset_ema", "cumulative", "exact"]


def test_only_methods_that_solve_with_second_moments_need_memory_for_them():
    memory = {plugin.name: plugin.moments for plugin in METHODS if plugin.moments}
    assert memory == {
        "obs": obs.PART, "obc": obc.PART, "sparse_swaps": sparse_swaps.PART, "dsnot": dsnot.PART,
        "reconstruct": reconstruct.HELD, "grail": grail.HELD,
    }  # fmt: skip


@pytest.mark.parametrize("plugin", [*METHODS, *MODELS], ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_entry_names_a_function(plugin):
    assert inspect.isfunction(plugin.function)
