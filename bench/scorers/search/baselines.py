"""What a search must beat: no search at all, and random points (METHODS section 3)."""

from __future__ import annotations

import numpy as np

from bench.scorers.search.fusion import BATCH, BUDGET, HIGHEST, LOWEST, Evaluations, Found, Objective, Recorder


def equal(
    objective: Objective,
    dimensions: int,
    generator: np.random.Generator,
    *,
    correction: str = "none",
    recalibration: str = "none",
) -> Found:
    """Take W = 1; it is evaluated once, so there is no budget to set.

    Parameters
    ----------
    objective, dimensions, generator : Objective, int, np.random.Generator
        See `bench.scorers.search.fusion`; the generator is not used.
    correction, recalibration : str
        The repair under which it is evaluated; read by the pipeline.

    Examples
    --------
    >>> equal(lambda W: W.sum(axis=1), 2, np.random.default_rng(0))
    Found(weights=(1.0, 1.0), value=2.0, evaluations=1, history=((1, 2.0),))
    """
    record = Recorder(objective, 1)
    record.evaluate(np.ones((1, dimensions)))
    return record.found()


def random_search(
    objective: Objective,
    dimensions: int,
    generator: np.random.Generator,
    *,
    evaluations: Evaluations = BUDGET,
    correction: str = "none",
    recalibration: str = "none",
) -> Found:
    """Draw candidates uniformly from the box, in batches of 30 (Bergstra and Bengio 2012).

    A smaller budget evaluates the first candidates of a larger one.

    Parameters
    ----------
    objective, dimensions, generator : Objective, int, np.random.Generator
        See `bench.scorers.search.fusion`.
    evaluations : int
        How many; the last batch is cut.
    correction, recalibration : str
        The repair under which candidates are compared; read by the pipeline.

    Examples
    --------
    >>> found = random_search(lambda W: -(W**2).sum(axis=1), 2, np.random.default_rng(0), evaluations=100)
    >>> found.evaluations, found.value > -0.1
    (100, True)
    """
    record = Recorder(objective, evaluations)
    while record.left:
        record.evaluate(generator.uniform(LOWEST, HIGHEST, (BATCH, dimensions)))
    return record.found()
