"""CMA-ES by the library `cma` (Hansen, Akimoto and Baudis 2019), with restarts (METHODS section 3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.scorers.search.fusion import BUDGET, HIGHEST, LOWEST, Evaluations, Found, Objective, Recorder

#: First step size (ours): a quarter of the box's width, as the library advises.
SIGMA_0 = 0.5


def cma_es(
    objective: Objective,
    dimensions: int,
    generator: np.random.Generator,
    *,
    evaluations: Evaluations = BUDGET,
    correction: str = "none",
    recalibration: str = "none",
) -> Found:
    """Adapt a normal distribution over the box: covariance matrix adaptation.

    The library's default population, 4 + floor(3 ln K), and its default boundary handling (a smooth transformation
    into the box). The rest is ours: the first mean is uniform in the box, since at W = 0 all scores tie and nothing is
    learned; the first step is `SIGMA_0`. A run that one of the library's own criteria stops, as on a plateau where
    all candidates are equally accurate, is followed by a new one from a new uniform mean with the same population,
    until the budget is spent. The last population is cut; what is left of it counts but changes no distribution.
    The library fails on one weight, so one weight is searched beside a second one that the objective does not see.

    Parameters
    ----------
    objective, dimensions, generator : Objective, int, np.random.Generator
        See `bench.scorers.search.fusion`. All random numbers come from the generator, none from NumPy's global state.
    evaluations : int
        Budget over all runs.
    correction, recalibration : str
        The repair under which candidates are compared; read by the pipeline.

    Examples
    --------
    >>> found = cma_es(lambda W: -((W - 0.3) ** 2).sum(axis=1), 2, np.random.default_rng(0), evaluations=200)
    >>> [round(weight, 3) for weight in found.weights]
    [0.3, 0.3]
    """
    record = Recorder(objective, evaluations)
    while record.left:
        _run(record, dimensions, generator)
    return record.found()


def _run(record: Recorder, dimensions: int, generator: np.random.Generator) -> None:
    """Run CMA-ES once, until it stops or the budget is spent."""
    import cma  # noqa: PLC0415 - it imports matplotlib, a second that no other search needs

    options = {
        "bounds": [LOWEST, HIGHEST],
        "randn": lambda *shape: generator.standard_normal(shape),
        "seed": np.nan,  # leave NumPy's global state alone
        "verbose": -10,  # print nothing, write no logs, and read no file of signals in the working folder
    }
    mean = generator.uniform(LOWEST, HIGHEST, max(dimensions, 2))
    strategy = _silently(cma.CMAEvolutionStrategy, mean, SIGMA_0, options)
    while record.left and not _silently(strategy.stop):
        candidates = _silently(strategy.ask)
        values = record.evaluate(np.array(candidates)[:, :dimensions])
        if record.left:
            _silently(strategy.tell, candidates, -values)  # the library minimises


def _silently(function: Callable[..., Any], *arguments: object) -> Any:
    """Call the library without its warnings, which speak to those who tune it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
