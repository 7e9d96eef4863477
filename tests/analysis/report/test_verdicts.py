"""Verdicts are grouped by paper, and nothing is lost in the grouping."""

import pytest

from analysis.claims.records import ClaimResult
from analysis.report.verdicts import by_paper, verdict_rows, verdicts

SICS, ASR = "arXiv 2605.09345, Lemma 1", "our reading of a question that arXiv 2605.21426 leaves open"


def claim(name, verdict="supported", source=SICS, notes=(), text=None, setting="transfer"):
    return ClaimResult(
        id=name, text=text or f"{name} holds.", source=source, verdict=verdict, notes=notes, setting=setting,
        registered=False, claims_hash="0" * 64, parts=(),
    )  # fmt: skip


def test_claims_stand_with_their_paper_in_the_order_of_the_file():
    others = [claim("mine", source="me"), claim("X", source="arXiv 9999.00001")]
    results = [claim("P1"), claim("A1", source=ASR), claim("P2"), *others]
    assert [(title, [one.id for one in own]) for title, own in by_paper(results)] == [
        ("Selection Plateau and SICS, arXiv 2605.09345", ["P1", "P2"]),
        ("Adaptive Signal Resuscitation, arXiv 2605.21426", ["A1"]),
        ("Claims of this study", ["mine"]),
        ("arXiv 9999.00001", ["X"]),
    ]


def test_one_claim_tested_several_times_with_one_outcome_is_one_row():
    modes = ("ema", "cumulative", "exact")
    results = [
        claim(f"A4 ({mode})", "refuted" if mode == "ema" else "supported", ASR, text=f"It can. [recalibration: {mode}]")
        for mode in modes
    ]
    table = verdict_rows(results)
    assert table[["Claim", "What it says", "Verdict"]].to_numpy().tolist() == [
        ["A4 (ema)", "It can. [recalibration: ema]", "refuted"],
        ["A4 (cumulative, exact)", "It can.", "supported"],
    ]


@pytest.mark.parametrize("changed", [{"notes": ("descriptive only",)}, {"setting": ""}, {"text": "Other."}])
def test_what_differs_in_anything_shown_stays_apart(changed):
    results = [claim("A1 (a)", text="Same. [m: a]"), claim("A1 (b)", **({"text": "Same. [m: b]"} | changed))]
    assert len(verdict_rows(results)) == 2


def test_one_reason_of_several_parts_is_said_once():
    notes = ("part a: no cell", "part b: no cell", "part c: too few", "descriptive only")
    (row,) = verdict_rows([claim("P1", "not testable", notes=notes)]).to_dict("records")
    assert row["Beside it"] == "a, b: no cell; c: too few; descriptive only"


def test_what_is_not_testable_stands_folded_at_the_end(study):
    results = [claim("P3", "not testable"), claim("P1"), claim("A1", "refuted", ASR)]
    section = verdicts(study(seeds=2), results)
    assert [(table.name, table.folded, list(table.frame["Claim"])) for table in section.tables] == [
        ("verdicts-2605-09345", False, ["P1"]), ("verdicts-2605-21426", False, ["A1"]),
        ("verdicts-untested", True, ["P3"]),
    ]  # fmt: skip
    assert section.text[0] == "Of 3 claims: 1 not testable, 1 supported, 1 refuted."
    assert "Registered before data: no" in section.text[1]
    assert not section.exploratory


def test_no_claims_have_no_table(study):
    section = verdicts(study(seeds=2), [])
    assert section.tables == ()
    assert section.text[0] == "No claim was to be decided."
