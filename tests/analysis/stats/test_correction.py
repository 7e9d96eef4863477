"""Holm and Benjamini-Hochberg by hand, and the agreement of Holm's levels with its p-values."""

import numpy as np
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.correction import adjust

p_values = st.lists(st.floats(1e-6, 1), min_size=1, max_size=20)


def test_by_hand():
    assert adjust([0.04, 0.01, 0.03], "holm") == pytest.approx([0.06, 0.03, 0.06])
    assert adjust([0.04, 0.01, 0.03], "bh") == pytest.approx([0.04, 0.03, 0.04])


@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at every call
@given(p_values)
def test_pingouin_agrees(values):
    for ours, theirs in (("holm", "holm"), ("bh", "fdr_bh")):
        assert adjust(values, ours) == pytest.approx(pingouin.multicomp(values, method=theirs)[1])


@settings(deadline=None)
@given(p_values, st.randoms(use_true_random=False))
def test_order_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    assert adjust([values[i] for i in order]) == pytest.approx(adjust(values)[order])


def test_a_missing_p_counts_in_the_family():
    assert adjust([0.01, np.nan, np.nan]) == pytest.approx([0.03, np.nan, np.nan], nan_ok=True)
    assert len(adjust([])) == 0
