"""What the evidence says of methods: looks, families, complexity."""

import ast
from pathlib import Path

import pytest

import analysis
from analysis.evidence.methods import Methods
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


#: Module -> names of methods in its code, with the reason. "none", the absence of a method, is allowed anywhere.
NAMED = {
    "evidence/frames.py": {"magnitude", "random", "equal"},  # what every study is compared with
    "claims/estimands/masks.py": {"magnitude"},  # default of a key of claims.yaml
    "complexity_study.py": {"v1", "v1b_var", "v1d_range", "a5", "a5_log6", "uniform"},  # claim P3
    "complexity.py": {"v1", "a5"},  # the pair of the paper's wiggle premium
    "report/words.py": {  # names that the fixed entries of the glossary explain
        "uniform", "global", "per_output", "layerwise", "channelwise", "asr", "ema", "cumulative", "random",
        "magnitude", "log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank", "l2", "gradient",
        "taylor", "wanda",
    },
    # no methods: a key of notes, ids of sections, columns, the key of a line, a kind of term
    "evidence/emp.py": {"emp"}, "report/content.py": {"emp"}, "evidence/fusion.py": {"equal"}, "figures.py": {"equal"},
    "report/search_plots.py": {"equal"}, "complexity_tables.py": {"equal"},
    "stats/mixed.py": {"random"}, "stats/mixed_design.py": {"random"},
}  # fmt: skip


def test_analysis_names_no_method_that_a_record_could_give():
    package = Path(analysis.__file__).parent
    known = {record.name for record in earlier_methods()} - {"none"}
    found = {}
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & known
        if names:
            found[path.relative_to(package).as_posix()] = names
    assert found == NAMED
