"""Verdicts are grouped by paper, headed by what the registration proves, and show what each rests on."""

import pytest

from analysis.claims.records import ClaimResult
from analysis.evidence.evidence import Evidence
from analysis.report.claim_words import CLAIM_WORDS
from analysis.report.verdicts import by_paper, verdicts
from bench.store.registration_level import CLAIMED_ORDER, NOT_REGISTERED, Level

SICS, ASR = "arXiv 2605.09345, Lemma 1", "our reading of a question that arXiv 2605.21426 leaves open"
UNREGISTERED = Level(NOT_REGISTERED, "the evidence has no registration")


def claim(name, verdict="supported", source=SICS, **changes):
    return ClaimResult(
        id=name, text=f"{name} holds.", source=source, verdict=verdict, scope="transfer: digits",
        claims_hash="0" * 64, parts=(), **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(study):
    return Evidence.of(study(seeds=2, models=("cnn",), granularities=("weight",), allocations=("uniform",)))


def test_claims_stand_with_their_paper_in_the_order_of_the_file():
    others = [claim("mine", source="me"), claim("X", source="arXiv 9999.00001")]
    results = [claim("P1"), claim("A1", source=ASR), claim("P2"), *others]
    assert [(title, [one.id for one in own]) for title, own in by_paper(results)] == [
        ("Selection Plateau and SICS, arXiv 2605.09345", ["P1", "P2"]),
        ("Adaptive Signal Resuscitation, arXiv 2605.21426", ["A1"]),
        ("Claims of this study", ["mine"]),
        ("arXiv 9999.00001", ["X"]),
    ]


def test_claims_that_are_not_testable_are_folded_at_the_end(data):
    results = [claim("P3", "not testable"), claim("P1"), claim("A1", "contradicted", ASR)]
    section = verdicts(data, results, UNREGISTERED)
    tables = [
        (table.name, table.folded, list(table.frame["Claim"])) for table in section.tables if "Claim" in table.frame
    ]
    assert tables == [
        ("verdicts-2605-09345", False, ["P1"]), ("verdicts-2605-21426", False, ["A1"]),
        ("verdicts-untested", True, ["P3"]),
    ]  # fmt: skip
    assert not section.exploratory


def test_what_is_not_registered_is_headed_exploratory_in_text_title_and_column(data):
    section = verdicts(data, [claim("P1")], UNREGISTERED)
    assert section.text[1].startswith("Exploratory: this study is not registered")
    assert section.tables[0].title.startswith("Exploratory verdicts: ")
    assert list(section.tables[0].frame["Registration"]) == ["not registered (exploratory)"]


def test_a_registered_study_is_headed_by_its_level(data):
    section = verdicts(data, [claim("P1")], Level(CLAIMED_ORDER, "the registration was in commit 0123456789ab"))
    assert section.text[1].startswith(f"Registration: {CLAIMED_ORDER}; the registration was in commit 0123456789ab.")
    assert section.tables[0].title.startswith("Verdicts: ")
    assert list(section.tables[0].frame["Registration"]) == [CLAIMED_ORDER]
    assert "xploratory" not in " ".join(section.text)


def test_the_terms_of_the_section_are_explained_in_it(data):
    section = verdicts(data, [claim("P1")], UNREGISTERED)
    (terms,) = [table for table in section.tables if table.name == "verdict-terms"]
    assert set(terms.frame["Term"]) == {term for term, _ in CLAIM_WORDS}
    assert {"role", "quantifier", "gate", "reading", "robust", "scope", "basis"} <= set(terms.frame["Term"])


def test_no_claims_have_no_table(data):
    section = verdicts(data, [], UNREGISTERED)
    assert section.tables == ()
    assert section.text[0] == "The study states no claims."
    assert not any(sentence.startswith("Exploratory") for sentence in section.text)
