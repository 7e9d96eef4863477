"""What the evidence says of methods: looks, families, complexity."""

import pytest

from analysis.methods import Methods
from bench.core.method import Method
from bench.store.methods import earlier_methods

METHODS = Methods(earlier_methods())


def test_a_scorer_keeps_its_colour_whatever_its_options_and_search():
    for label in ("a5(include_rank=True)", "a5 + dbo", "a5(include_rank=True) + cma (60 evaluations)"):
        assert METHODS.look(label).colour == METHODS.look("a5").colour
    assert METHODS.look("mine(k=1)").colour == METHODS.look("mine").colour
    assert METHODS.look("dbo (60 evaluations)") == METHODS.look("dbo")


def test_an_unknown_scorer_always_looks_the_same():
    assert METHODS.look("./mine.py:score") == Methods([]).look("./mine.py:score")
    assert len({METHODS.look(f"scorer {n}") for n in range(30)}) > 20


def test_a_described_scorer_has_its_own_look_and_facts():
    mine = Method("scorer", "./mine.py:score", family="inputs", colour="#0072b2", marker="*", complexity=1)
    methods = Methods([mine])
    look = methods.look("./mine.py:score")
    assert (look.colour, look.marker, look.dashes) == ("#0072b2", "*", "-")
    assert methods.family("./mine.py:score(power=2)", "other") == "inputs"
    assert methods.complexity("./mine.py:score(power=2)") == 1
    assert methods.find("search", "./mine.py:score") is None


@pytest.mark.parametrize(("scorer", "family"), [("random", ""), ("taylor", "gradients"), ("mine", "other")])
def test_a_family_is_the_records_or_the_default(scorer, family):
    assert METHODS.family(scorer, "other") == family


def test_kappa_by_design_is_the_papers():
    found = {record.name: METHODS.complexity(record.name) for record in METHODS.of_kind("scorer")}
    assert {name for name, value in found.items() if value == 2} == {"a5", "a5_log6", "weier4"}
    assert {name for name, value in found.items() if value == 0} == {"rank", "log_rank", "v1a_peak"}
    assert found["pure_mag4"] == "fake"
    assert METHODS.complexity("mine") is None
