"""P-values of parts and claims: cases by hand, statsmodels, invariances, and a short simulation of verdicts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.stats.families import ClaimP, PartP, claim_p_values, part_p_values
from tests.verdict_errors import CASES, wrong

P = st.floats(0, 1)
QUICK = [
    case for case in CASES if case.models == 10 and case.correlation == 0 and (case.questions == 10 or case.parts > 1)
]


@pytest.mark.parametrize(
    ("over", "support", "contradiction", "expected"),
    [
        ("every", [0.01, 0.02, 0.03], [0.99, 0.98, 0.97], (0.03, 1.0)),
        ("every", [0.01, 0.99, 0.5], [0.99, 0.01, 0.5], (0.99, 0.03)),
        ("some", [0.01, 0.02, 0.03], [0.99, 0.98, 0.97], (0.03, 0.99)),
        ("some", [0.99, 0.98], [0.01, 0.02], (1.0, 0.02)),
        ("mean", [0.01], [0.99], (0.01, 0.99)),
        ("every", [0.01, math.nan], [0.004, math.nan], (1.0, 0.008)),
        ("some", [0.01, math.nan], [0.004, math.nan], (0.02, 1.0)),
        ("mean", [math.nan], [math.nan], (1.0, 1.0)),
        ("every", [], [], (1.0, 1.0)),
    ],
)
def test_parts_by_hand(over, support, contradiction, expected):
    assert part_p_values(over, support, contradiction) == pytest.approx(expected)


def test_one_question_is_the_same_for_every_quantifier():
    assert {part_p_values(over, [0.02], [0.98]) for over in ("every", "some", "mean")} == {PartP(0.02, 0.98)}


@given(st.lists(st.tuples(P, P), min_size=1, max_size=6), st.randoms())
def test_the_order_of_the_settings_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for over in ("every", "some"):
        assert part_p_values(over, *zip(*pairs, strict=True)) == part_p_values(over, *zip(*shuffled, strict=True))


@given(st.lists(st.tuples(P, P), min_size=1, max_size=6))
def test_some_is_every_of_the_opposite(pairs):
    support, contradiction = zip(*pairs, strict=True)
    every, some = part_p_values("every", support, contradiction), part_p_values("some", contradiction, support)
    assert (every.support, every.contradiction) == (some.contradiction, some.support)


def test_the_mean_is_one_question():
    with pytest.raises(ValueError, match="mean"):
        part_p_values("mean", [0.1, 0.2], [0.9, 0.8])
    with pytest.raises(ValueError, match="as many"):
        part_p_values("every", [0.1, 0.2], [0.9])


def test_a_claim_by_hand():
    found = claim_p_values([PartP(0.01, 0.9), PartP(0.2, 0.02), PartP(0.03, 0.01)])
    assert found.support == 0.2
    assert found.contradiction == pytest.approx((0.9, 0.04, 0.03))
    assert claim_p_values([]) == ClaimP(1.0, ())
    assert claim_p_values([PartP(0.01, 0.99)]) == ClaimP(0.01, (0.99,))


@pytest.mark.parametrize("p_values", [[0.02, 0.3, 0.004, 0.004], [0.9, 0.5, 0.2]])
def test_the_contradictions_are_those_of_statsmodels(p_values):
    found = claim_p_values([PartP(0.5, p) for p in p_values])
    assert found.contradiction == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_a_part_that_cannot_be_tested_keeps_its_place_in_the_family():
    assert claim_p_values([PartP(0.01, 0.01), PartP(math.nan, math.nan)]) == ClaimP(1.0, (0.02, 1.0))


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_few_simulated_verdicts_are_wrong(case):
    assert wrong(case, 1000) <= stats.binom.ppf(0.999, 1000, 0.026)
