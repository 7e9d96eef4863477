"""A study of the whole catalogue on a device and on the CPU: equal rows but for rounding, and twice the same bits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from bench.core.types import PLUGIN_AXES, Outcome, Settings
from bench.plugins.catalogue import make_registry
from tests.gpu.agreement import accuracies_agree
from tests.gpu.networks import Prepared, settings_of

Outcomes = dict[str, Outcome]
#: Facts that do not depend on scores, or by whole numbers alone.
EQUAL = ("n_test", "exact_removal", "identity_covered", "batch", "batch_halved", "seeds", "checkpoint")
#: Largest accepted difference of a sparsity: an allocation that counts by the scores may keep one channel more.
SPARSITIES = 2e-3
#: Largest accepted share by which losses differ.
LOSSES = 1e-2


@dataclass(frozen=True)
class Computed:
    """The outcome of every cell, by its id, and the alignment of the scores with magnitude."""

    outcomes: Outcomes
    alignment: tuple[pd.DataFrame, pd.DataFrame]

    @classmethod
    def of(cls, prepared: Prepared, settings: Settings) -> Computed:
        pipeline = prepared.pipeline(settings)
        outcomes = {found.cell.id: found for found in pipeline.run({cell.id for cell in prepared.cells})}
        return cls(outcomes, pipeline.alignment({key for key, found in outcomes.items() if found.state == "done"}))


@pytest.fixture(scope="module")
def here(prepared) -> Outcomes:
    return Computed.of(prepared, settings_of("cpu")).outcomes


@pytest.fixture(scope="module")
def on_device(prepared, device, memory_format) -> Computed:
    return Computed.of(prepared, settings_of(device, memory_format))


@pytest.fixture(scope="module")
def there(on_device) -> Outcomes:
    return on_device.outcomes


def searched(outcomes: Outcomes) -> list[Outcome]:
    """Return the cells whose weights were searched for, by an algorithm that looks at the values."""
    plain = ("none", "equal")
    return [found for found in outcomes.values() if found.state == "done" and found.cell.search.name not in plain]


def search_of(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.values["notes"])["search"]
    return found


def name_of(outcome: Outcome) -> str:
    cell = outcome.cell
    axes = (cell.scorer, cell.search, cell.allocation, cell.correction, cell.recalibration)
    return ", ".join([*(axis.label for axis in axes if axis is not None), str(cell.granularity)])


def test_the_rows_agree(here, there):
    assert here.keys() == there.keys()
    different = {outcome.cell.id for outcome in searched(here)}
    found = []
    for key, ours in here.items():
        theirs = there[key]
        assert (ours.state, ours.reason) == (theirs.state, theirs.reason), name_of(ours)
        if ours.state != "done" or key in different:
            continue
        a, b = ours.values, theirs.values
        same = (
            all(a[name] == b[name] for name in EQUAL)
            and accuracies_agree(a["accuracy"], b["accuracy"], a["n_test"])
            and b["loss"] == pytest.approx(a["loss"], rel=LOSSES)
            and b["sparsity_achieved"] == pytest.approx(a["sparsity_achieved"], abs=SPARSITIES)
        )
        if not same:
            found.append((name_of(ours), {name: (a[name], b[name]) for name in a if a[name] != b[name]}))
    assert found == []


def test_every_method_of_the_catalogue_has_a_row(prepared, here):
    if prepared.dense.model.__class__.__name__ != "DigitsCNN":
        pytest.skip("some methods are not applicable to this network")
    done = [outcome.cell for outcome in here.values() if outcome.state == "done"]
    registry, granularities = make_registry(), {cell.granularity for cell in done}
    for axis in PLUGIN_AXES:
        computed = {getattr(cell, axis.name).name for cell in done if not cell.is_dense}
        names = registry.names(axis.name)
        defined = {name for name in names if granularities & set(registry.get(axis.name, name).granularities)}
        assert computed == defined, axis.name


def test_searches_find_the_same_accuracies_as_long_as_their_candidates_are_the_same(prepared, here, there):
    """The candidates of the first batch do not depend on the values, later ones may."""
    images = len(prepared.dataset.search)
    assert searched(here)
    for ours in searched(here):
        a, b = search_of(ours), search_of(there[ours.cell.id])
        assert a["evaluations"] == b["evaluations"]
        (count, first), (other_count, other) = a["history"][0], b["history"][0]
        assert count == other_count
        assert accuracies_agree(first, other, images), name_of(ours)
        assert accuracies_agree(a["search_accuracy_equal"], b["search_accuracy_equal"], images), name_of(ours)


def test_the_weights_that_a_search_found_have_their_accuracy_on_the_cpu(prepared, there):
    found = searched(there)
    pipeline = prepared.pipeline(settings_of("cpu"))
    pipeline.remember({**outcome.values, "evaluation": ""} for outcome in found)  # the search alone is known
    for ours in pipeline.run({outcome.cell.id for outcome in found}):
        theirs = there[ours.cell.id]
        assert search_of(ours) == search_of(theirs)
        images = theirs.values["n_test"]
        assert accuracies_agree(ours.values["accuracy"], theirs.values["accuracy"], images), name_of(ours)


def test_a_repetition_is_equal_bit_for_bit(prepared, on_device, device, memory_format):
    again = Computed.of(prepared, settings_of(device, memory_format))
    for key, ours in on_device.outcomes.items():
        a, b = ({**outcome.values, "seconds": None} for outcome in (ours, again.outcomes[key]))
        assert a == b, name_of(ours)
    for first, second in zip(on_device.alignment, again.alignment, strict=True):
        assert len(first) > 0
        assert_frame_equal(first, second, check_exact=True)
