"""What holds for every search of the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.errors import UserError
from bench.core.registry import Plugin
from bench.plugins.catalogue import SEARCHES
from bench.scorers.search.fusion import Found

Array = NDArray[np.float64]
ALL = [plugin for plugin in SEARCHES if plugin.name != "none"]
BUDGETED = [plugin for plugin in ALL if plugin.name != "equal"]
BUDGETS = (1, 7, 29, 30, 31, 60, 599, 600)

every_search = pytest.mark.parametrize("plugin", ALL, ids=lambda plugin: plugin.name)
every_budgeted = pytest.mark.parametrize("plugin", BUDGETED, ids=lambda plugin: plugin.name)


class Watched:
    """An objective that keeps every batch that it was given."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function
        self.batches: list[Array] = []

    def __call__(self, W: Array) -> Array:
        self.batches.append(W.copy())
        return self._function(W)


def _peak(W: Array) -> Array:
    """An accuracy in steps of 1/150, as on 150 images: highest around (0.3, 0.3, ...), flat far from it."""
    return np.floor(150 * np.exp(-((W - 0.3) ** 2).sum(axis=1))) / 150


def _run(plugin: Plugin, objective: Callable[[Array], Array], dimensions: int = 4, seed: int = 0, **options) -> Found:
    found = plugin.function(objective, dimensions, np.random.default_rng(seed), **options)
    assert isinstance(found, Found)
    return found


@every_search
@pytest.mark.parametrize("dimensions", [1, 2, 10])
def test_reports_what_it_evaluated(plugin: Plugin, dimensions: int) -> None:
    watched = Watched(_peak)
    found = _run(plugin, watched, dimensions)
    candidates = np.concatenate(watched.batches)
    values = _peak(candidates)
    assert candidates.shape == (found.evaluations, dimensions)
    assert np.abs(candidates).max() <= 1
    assert found.value == values.max()
    assert found.weights == tuple(candidates[values.argmax()])
    sizes = np.cumsum([len(batch) for batch in watched.batches])
    assert found.history == tuple((int(n), float(values[:n].max())) for n in sizes)


@every_budgeted
@pytest.mark.parametrize("evaluations", BUDGETS)
def test_spends_its_budget_exactly(plugin: Plugin, evaluations: int) -> None:
    watched = Watched(_peak)
    found = _run(plugin, watched, evaluations=evaluations)
    assert found.evaluations == sum(len(batch) for batch in watched.batches) == evaluations
    assert all(len(batch) > 0 for batch in watched.batches)


@every_search
def test_depends_on_the_generator_alone(plugin: Plugin) -> None:
    np.random.seed(1)
    found = _run(plugin, _peak)
    np.random.seed(2)
    before = np.random.get_state()
    assert _run(plugin, _peak) == found
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@every_budgeted
def test_another_seed_tries_other_candidates(plugin: Plugin) -> None:
    first, second = Watched(_peak), Watched(_peak)
    _run(plugin, first, seed=1)
    _run(plugin, second, seed=2)
    assert not np.isin(np.concatenate(first.batches), np.concatenate(second.batches)).all(axis=1).any()


@every_search
def test_a_constant_added_to_the_objective_changes_nothing(plugin: Plugin) -> None:
    """Whole numbers, so that the sum is exact."""
    plain, raised = Watched(lambda W: 150 * _peak(W) // 1), Watched(lambda W: 150 * _peak(W) // 1 + 1024)
    found, higher = _run(plugin, plain), _run(plugin, raised)
    np.testing.assert_array_equal(np.concatenate(plain.batches), np.concatenate(raised.batches))
    assert higher.weights == found.weights
    assert higher.value == found.value + 1024


@every_search
def test_where_all_are_equal_the_first_candidate_wins(plugin: Plugin) -> None:
    watched = Watched(lambda W: np.full(len(W), 0.1))
    found = _run(plugin, watched)
    assert found.weights == tuple(watched.batches[0][0])
    assert found.evaluations == (1 if plugin.name == "equal" else 600)
    assert {best for _, best in found.history} == {0.1}


@pytest.mark.parametrize("name", ["dbo", "cma"])
def test_climbs_steps(name: str) -> None:
    """Accuracies come in steps; a search must neither stop on one nor do worse there than random points."""
    searches = {plugin.name: plugin for plugin in ALL}
    found = [_run(searches[name], _peak, 10, seed).value for seed in range(10)]
    random = [_run(searches["random_search"], _peak, 10, seed).value for seed in range(10)]
    assert (np.array(found) > np.array(random)).sum() >= 9
    assert np.median(found) >= 0.9


@every_search
def test_options_are_those_a_study_may_set(plugin: Plugin) -> None:
    choice = plugin.resolve({"correction": "asr", "recalibration": "cumulative"})
    assert choice.options["correction"] == "asr"
    assert choice.options.get("evaluations") == (None if plugin.name == "equal" else 600)
    assert _run(plugin, _peak, **choice.options) == _run(plugin, _peak)
    with pytest.raises(UserError, match="evaluations"):
        plugin.resolve({"evaluations": 0})
