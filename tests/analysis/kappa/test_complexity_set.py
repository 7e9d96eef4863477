"""The set of kappa: cases by hand, the t tests behind it, invariances, degenerate data, and its coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.kappa.complexity_set import KappaSet, kappa_set
from tests.kappa_truth import covered, true_kappa

NOISE = np.array([-0.4, 0.3, 0.1, -0.2, 0.2, 0.0, -0.1, 0.1])
OTHER = NOISE[::-1]


@pytest.mark.parametrize(
    ("theta1", "theta2", "values"),
    [
        (0.0, 0.0, (0,)),
        (3.0, 0.0, (1,)),
        (3.0, 3.0, (1,)),
        (0.0, 3.0, (2,)),
        (3.0, 6.0, (2,)),
        (1.0, 0.0, (0, 1)),  # class 1 on the margin
        (0.0, 1.0, (0, 1, 2)),  # class 2 on the margin: nothing rules out the values between
        (3.0, 4.0, (1, 2)),  # class 2 leads by the margin
        (1.0, 1.0, (0, 1)),
    ],
)
def test_clear_escapes_leave_one_value_and_those_on_a_border_several(theta1, theta2, values):
    assert kappa_set(theta1 + NOISE, theta2 + OTHER, 1.0).values == values


def test_the_p_values_are_those_of_three_t_tests():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 1, 9), rng.normal(1.5, 1, 9)

    def p(values, alternative):
        return stats.ttest_1samp(values, 1.0, alternative=alternative).pvalue

    neither = max(p(first, "less"), p(second, "less"))
    leads = max(p(second, "greater"), p(second - first, "greater"))
    expected = (
        2 * min(p(first, "greater"), p(second, "greater")),
        2 * min(neither, leads),
        2 * min(p(second, "less"), p(second - first, "less")),
    )
    assert kappa_set(first, second, 1.0).p == pytest.approx([min(1, value) for value in expected])


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=2, max_size=8), st.floats(0, 3), st.randoms())
@settings(max_examples=30)
def test_a_set_is_never_empty_and_grows_with_the_confidence(pairs, margin, random):
    theta1, theta2 = map(list, zip(*pairs, strict=True))
    found = kappa_set(theta1, theta2, margin)
    assert found.values
    assert set(found.values) <= set(kappa_set(theta1, theta2, margin, alpha=0.01).values)
    shuffled = random.sample(pairs, len(pairs))
    again = kappa_set(*map(list, zip(*shuffled, strict=True)), margin)
    assert again.p == pytest.approx(found.p, abs=1e-6)


def test_the_unit_does_not_matter():
    points = kappa_set(1.2 + NOISE, 0.5 + OTHER, 1.0)
    fractions = kappa_set((1.2 + NOISE) / 100, (0.5 + OTHER) / 100, 0.01)
    assert fractions.p == pytest.approx(points.p)


@pytest.mark.parametrize("values", [[], [3.0], [0.0] * 8, [3.0] * 8, [3.0, np.nan, 2.0]])
def test_data_without_a_test_rule_out_nothing(values):
    found = kappa_set(values, values, 1.0)
    assert found.values == (0, 1, 2)
    assert found.kappa is None
    assert found.n == len(values)


def test_constant_escapes_are_decided_with_the_least_sd_and_zeros_are_not():
    assert kappa_set([3.0] * 8, 0.1 * NOISE, 1.0, least_sd=0.1).values == (1,)
    assert kappa_set([0.0] * 8, [0.0] * 8, 1.0, least_sd=0.1).values == (0, 1, 2)
    assert kappa_set(1.2 + NOISE / 100, NOISE, 1.0, least_sd=1.0).values == (0, 1)


def test_what_cannot_be_meant_is_an_error():
    with pytest.raises(ValueError, match="margin"):
        kappa_set([1.0, 2.0], [1.0, 2.0], -1.0)
    with pytest.raises(ValueError, match="models"):
        kappa_set([1.0, 2.0], [1.0], 1.0)


def test_a_set_reads_as_a_value_or_as_undecided():
    p = (0.5, 0.5, 0.5)
    texts = [str(KappaSet(values, p, 1.0, 0.05, 8)) for values in ((2,), (1, 2), (0, 1, 2))]
    assert texts == ["2", "undecided (1 or 2)", "undecided (0, 1 or 2)"]


def test_the_true_kappa_follows_its_definition():
    for theta1, theta2 in itertools.product(np.linspace(-2, 4, 13), repeat=2):
        theta = (0.0, theta1, theta2)
        assert true_kappa(theta1, theta2, 1.0) == min(k for k in range(3) if theta[k] >= max(theta) - 1.0)


@pytest.mark.parametrize(("theta1", "theta2"), [(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)])
def test_the_true_kappa_is_covered(theta1, theta2):
    assert covered(theta1, theta2, 10, 0.5, 200) >= stats.binom.ppf(0.005, 200, 0.95)
