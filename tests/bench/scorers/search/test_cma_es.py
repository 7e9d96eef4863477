from __future__ import annotations

import math
import warnings
from pathlib import Path

import cma
import numpy as np
import pytest

from bench.scorers.search.cma_es import cma_es


def _sphere(W: np.ndarray) -> np.ndarray:
    return -((W - 0.3) ** 2).sum(axis=1)


def _batches(function, dimensions: int, evaluations: int = 600) -> list[np.ndarray]:
    batches: list[np.ndarray] = []

    def objective(W: np.ndarray) -> np.ndarray:
        batches.append(W.copy())
        return function(W)

    cma_es(objective, dimensions, np.random.default_rng(0), evaluations=evaluations)
    return batches


@pytest.mark.parametrize("dimensions", [2, 4, 10, 40])
def test_population_is_the_librarys(dimensions: int) -> None:
    population = 4 + math.floor(3 * math.log(dimensions))
    sizes = [len(batch) for batch in _batches(_sphere, dimensions)]
    whole, rest = divmod(600, population)
    assert sizes == [population] * whole + [rest] * (rest > 0)


def test_each_run_starts_at_a_uniform_mean_with_a_step_of_a_quarter_of_the_box() -> None:
    batches = np.array(_batches(lambda W: np.zeros(len(W)), 10))  # all equal, so that each run stops after one
    assert batches.shape == (60, 10, 10)
    quarters, _ = np.histogram(batches.mean(axis=1), [-1, -0.5, 0, 0.5, 1])
    assert (np.abs(quarters / 600 - 0.25) < 0.1).all()
    # the library's transformation into the box narrows steps of 0.45, 0.5 and 0.55 to medians of 0.34, 0.365 and 0.39
    assert np.median(batches.std(axis=1)) == pytest.approx(0.365, abs=0.01)


def test_one_weight_is_searched_with_a_second_one_that_the_objective_does_not_see() -> None:
    """The library fails on one weight as soon as its step grows to its limit."""
    batches = _batches(lambda W: W[:, 0], 1)
    assert {batch.shape[1] for batch in batches} == {1}
    assert np.concatenate(batches).max() > 0.999


def test_a_run_that_stops_is_followed_by_another() -> None:
    """All equal: the library stops after one population; each run starts elsewhere, with the same population."""
    batches = _batches(lambda W: np.zeros(len(W)), 10)
    assert [len(batch) for batch in batches] == [10] * 60
    centres = np.array([batch.mean(axis=0) for batch in batches])
    assert centres.std(axis=0).min() > 0.3  # 0.58 for the uniform means that they are around


def test_a_converged_run_is_followed_by_another() -> None:
    batches = _batches(_sphere, 2, evaluations=2000)
    far = [index for index, batch in enumerate(batches) if np.abs(batch - 0.3).max() > 0.1]
    near = [index for index, batch in enumerate(batches) if np.abs(batch - 0.3).max() < 1e-4]
    assert min(near) < max(far)


def test_prints_nothing_writes_nothing_and_reads_no_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = cma_es(_sphere, 4, np.random.default_rng(0))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cma_signals.in").write_text("{'timeout': 0}")
    assert cma_es(_sphere, 4, np.random.default_rng(0)) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["cma_signals.in"]
    assert capfd.readouterr() == ("", "")


def test_the_librarys_warnings_stay_inside_and_the_objectives_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Talkative(cma.CMAEvolutionStrategy):
        def tell(self, *arguments: object) -> None:
            warnings.warn("from the library", stacklevel=1)
            super().tell(*arguments)

    def objective(W: np.ndarray) -> np.ndarray:
        warnings.warn("from the objective", stacklevel=1)
        return _sphere(W)

    monkeypatch.setattr(cma, "CMAEvolutionStrategy", Talkative)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cma_es(objective, 4, np.random.default_rng(0), evaluations=24)
    assert {str(warning.message) for warning in caught} == {"from the objective"}
