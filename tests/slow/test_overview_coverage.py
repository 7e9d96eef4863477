"""Simulated size of McNemar's test and coverage of two intervals of the report, as docs/SIMULATIONS.md states them.

``python tests/slow/test_overview_coverage.py`` prints the shares.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.complexity import complexity
from analysis.stats.images import mcnemar
from analysis.stats.profiles import iqm, iqm_interval

SEED = 20260621
SIZES = (5, 10, 20)
GRID = (0.5, 0.6, 0.7, 0.8, 0.9)
MCNEMAR_TRIALS, IQM_TRIALS, BRACKET_TRIALS = 20_000, 2000, 300
#: Images on which the masks disagree -> size of the exact test at 5 %, computed: no p-value lies nearer.
DISAGREEING = {5: 0.0, 20: 0.0414, 80: 0.0329}
#: Coverage of the interval of the interquartile mean with 5, 10, 20 models of either architecture.
IQM = (0.86, 0.91, 0.93)
#: Escapes of class 1 above its threshold, in standard deviations; the bracket must cover 95 % or more.
GAINS = (1, 2)


def mcnemar_rejections(disagreeing):
    """Of masks that are equally good."""
    rng = np.random.default_rng([SEED, disagreeing])
    wins = rng.binomial(disagreeing, 0.5, MCNEMAR_TRIALS)
    p = {count: mcnemar(np.arange(disagreeing) < count, np.arange(disagreeing) >= count).p for count in set(wins)}
    return sum(p[count] <= 0.05 for count in wins)


def iqm_table(rng, models):
    """Accuracies of two architectures x `models` models x 6 settings; models differ twice as much as settings do."""
    level = np.repeat([0.5, 0.6], models)[:, None] + np.linspace(-0.1, 0.1, 6)
    return level + rng.normal(0, 0.02, (2 * models, 1)) + rng.normal(0, 0.01, (2 * models, 6))


def iqm_hits(models):
    truth = iqm(iqm_table(np.random.default_rng(SEED), 100_000))
    hits = 0
    for trial in range(IQM_TRIALS):
        table = iqm_table(np.random.default_rng([SEED, models, trial]), models)
        found = iqm_interval(table, np.repeat([0, 1], models), resamples=500, seed=trial)
        hits += found.low <= truth <= found.high
    return hits


def bracket_hits(models, gain):
    """Class 1 escapes by `gain` standard deviations from 0.7 on, class 2 never: the step lies between 0.6 and 0.7."""
    hits = 0
    for trial in range(BRACKET_TRIALS):
        rng = np.random.default_rng([SEED, models, gain, trial])
        places = pd.MultiIndex.from_product(
            [range(models), GRID, ("v1", "a5")], names=["checkpoint", "sparsity", "scorer"]
        )
        rows = places.to_frame(index=False)
        mean = np.where(rows["sparsity"].ge(0.7) & rows["scorer"].eq("v1"), gain, 0.0)
        rows["difference"] = mean + rng.normal(0, 1, len(rows))
        change = complexity(rows, {1: ["v1"], 2: ["a5"]}, resamples=100, seed=trial).changes[0]
        hits += change.low <= 0.6 and change.high >= 0.7
    return hits


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("disagreeing", DISAGREEING)
def test_mcnemar_keeps_its_level(disagreeing):
    size = DISAGREEING[disagreeing]
    low, high = stats.binom.ppf([0.005, 0.995], MCNEMAR_TRIALS, size)
    assert low <= mcnemar_rejections(disagreeing) <= high


@pytest.mark.parametrize("models", SIZES)
def test_the_interquartile_mean_is_covered_as_stated(models):
    low, high = stats.binom.ppf([0.005, 0.995], IQM_TRIALS, IQM[SIZES.index(models)])
    assert low <= iqm_hits(models) <= high


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("models", SIZES)
def test_the_bracket_of_a_change_holds_it(models, gain):
    assert bracket_hits(models, gain) >= stats.binom.ppf(0.005, BRACKET_TRIALS, 0.95)


if __name__ == "__main__":
    print("McNemar", {count: mcnemar_rejections(count) / MCNEMAR_TRIALS for count in DISAGREEING})
    print("IQM", [iqm_hits(models) / IQM_TRIALS for models in SIZES])
    for own in GAINS:
        print("bracket", own, [bracket_hits(models, own) / BRACKET_TRIALS for models in SIZES], flush=True)
