"""Wrong verdicts of claims with a known truth stay under 2.6 % in either direction (STATISTICS, "Error control").

Up to 10 settings, 5 to 20 models, correlations of the settings to 0.9, one to three primary parts.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.stats.families import part_p_values
from tests.verdict_errors import ALPHA, CASES, SEED, wrong

TRIALS = 100_000
#: The bound that is promised; t tests of normal differences have exactly 0.025.
BOUND = 0.026

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES, ids=str)
def test_wrong_verdicts_stay_under_the_promised_share(case):
    found = wrong(case, TRIALS)
    assert found <= stats.binom.ppf(0.99, TRIALS, BOUND)
    if case.exact:  # and the level is used up: a procedure that never decides would pass the bound above
        assert found >= stats.binom.ppf(0.001, TRIALS, ALPHA)


def test_without_the_family_a_true_claim_on_ten_settings_would_be_contradicted_far_too_often():
    t = stats.ttest_1samp(np.random.default_rng(SEED).standard_normal((5000, 10, 10)), 0, axis=2, alternative="less")
    least = t.pvalue.min(axis=1)
    corrected = np.array([part_p_values("every", 1 - p, p).contradiction for p in t.pvalue])
    assert np.mean(least <= ALPHA) > 0.15
    assert np.sum(corrected <= ALPHA) <= stats.binom.ppf(0.99, 5000, BOUND)
