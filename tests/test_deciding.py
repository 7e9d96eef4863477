"""docs/DECIDING.md: its code runs, prints what the page shows, and has the numbers of the records."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from analysis.claims.decide import decide
from analysis.claims.gates import gated_settings
from analysis.claims.outcomes import part_outcome
from analysis.claims.read import Claims, read_claims
from analysis.claims.readings import primary_reading
from analysis.evidence.load import load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "DECIDING.md"
STUDY = ROOT / "reports" / "digits"
CODE = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page():
    """The variables of the page's code, after it has printed what the page shows."""
    code = "\n".join(CODE.findall(PAGE.read_text()))
    example = doctest.DocTestParser().get_doctest(code, {}, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        found = runner.run(example, clear_globs=False)
    assert found.attempted > 20
    assert found.failed == 0
    return example.globs


def stated():
    """The claim of the page, as its file states it."""
    [claim] = [one for one in read_claims(STUDY / "claims.yaml").claims if one.id == "A6"]
    return claim


@pytest.fixture(scope="module")
def evidence():
    return load(STUDY)


@pytest.fixture(scope="module")
def claim(evidence):
    [found] = decide(evidence, Claims((stated(),), ""))
    return found


def test_the_numbers_of_the_page_are_those_of_the_record(page, claim):
    [record] = claim.parts[0].records
    own = {
        "n": page["n"], "settings": page["paired"].shape[1], "effect": page["mean"], "low": page["interval"][0],
        "high": page["interval"][1], "p": page["support"], "p_contradiction": page["contradiction"],
        "d_z": page["d_z"](0.5), "d_z_low": page["d_z"](0.025), "d_z_high": page["d_z"](0.975),
    }  # fmt: skip
    assert {name: getattr(record, name) for name in own} == pytest.approx(own, abs=1e-9)
    assert claim.parts[0].p_contradiction_adjusted == pytest.approx(page["contradiction"], abs=1e-9)
    assert (claim.verdict, claim.basis, claim.models) == ("contradicted", "measured", 10)
    assert claim.scope.startswith("transfer")


def test_the_readings_of_the_page_are_those_of_the_record(page, claim):
    robustness = claim.parts[0].robustness
    measured = {one.levels["lambda"]: one for one in robustness.readings if not one.by_construction}
    verdicts = {name: one.verdict for name, one in measured.items()}
    assert verdicts == {"median": "contradicted", "empirical Bayes": "supported", "soft": "contradicted"}
    assert [name for name, one in measured.items() if one.same_as] == ["soft"]
    eb = measured["empirical Bayes"]
    assert (eb.effect, eb.low, eb.high) == pytest.approx((page["bayes"].mean(), *page["limits"]), abs=1e-9)
    assert {one.levels["recalibration"] for one in robustness.readings if one.by_construction} == {
        "cumulative", "exact",
    }  # fmt: skip
    assert not robustness.robust
    assert robustness.depends_on == pytest.approx({"lambda": page["difference"]}, abs=1e-9)


def test_the_gate_of_the_page_is_that_of_the_code(page, evidence):
    gates = [one for one in gated_settings(primary_reading(stated().parts[0]), evidence) if one.models]
    assert sorted(one.low for one in gates) == pytest.approx(sorted(page["low"]), abs=1e-9)
    assert sum(one.gate == "informative" for one in gates) == (page["low"] > 0).sum()


def test_every_setting_instead_of_the_mean_gives_the_number_of_the_page(page, evidence):
    part = stated().parts[0].model_copy(update={"over": "every", "gate": "none"})
    outcome = part_outcome(part, evidence)
    assert len(outcome.questions) == 14
    assert outcome.p_contradiction == pytest.approx(14 * min(page["each"]), abs=1e-9)
