"""Headlines count claims by basis; sentences report both directions, the reported p and all readings."""

import pytest

from analysis.claims.records import ClaimResult, PartResult, Reading, Record, Robustness
from analysis.verdict_sentences import (
    MOST_RECORDS,
    claim_lines,
    described_sentence,
    differences_above_zero,
    headline,
    part_sentences,
    registration_sentences,
    robustness_sentence,
)
from bench.core.identity import canonical_json
from bench.store.registration import Amendment, Design, Package, Registration
from bench.store.registration import Record as StoredRegistration
from bench.store.registration_level import SELF_ATTESTED, TIME_STAMPED, Level

MINUS = "\N{MINUS SIGN}"


def claim(verdict="supported", basis="measured", scope="transfer: digits", **changes):
    return ClaimResult(id="P1", text="It holds.", source="me", verdict=verdict, basis=basis, scope=scope,
                       **({"parts": ()} | changes))  # fmt: skip


def record(effect=1.0, verdict="supported", **changes):
    given = {"part": "a", "kind": "superiority", "estimand": "x", "n": 10, "test": "paired t",
             "setting": {"dataset": "digits", "model": "cnn"}}  # fmt: skip
    return Record(**(given | {"effect": effect, "verdict": verdict} | changes))


def part(records, verdict="supported", **changes):
    given = {"id": "a", "text": "", "kind": "superiority", "role": "primary", "over": "every"}
    return PartResult(**(given | {"verdict": verdict, "records": tuple(records)} | changes))


def test_the_headline_counts_claims_by_basis_and_verdict():
    results = [
        claim(basis="by construction"), claim(basis="by construction"), claim(), claim("contradicted"),
        claim("inconclusive"), claim("inconclusive"), claim("not testable"),
    ]  # fmt: skip
    assert headline(results) == (
        "Of 7 claims, 2 hold by construction; of 4 measured here (transfer), 1 supported, 1 contradicted, "
        "2 inconclusive; 1 is not testable in this study."
    )


def test_scopes_that_differ_are_counted():
    results = [claim(), claim(scope="in the paper's setting"), claim(scope="")]
    assert "(1 transfer, 1 in the paper's setting, 1 without a setting of a source)" in headline(results)
    assert headline([claim(scope="")]) == "Of 1 claim, of 1 measured here, 1 supported."


def test_a_definition_that_the_data_contradict_does_not_hold():
    results = [claim(basis="by construction"), claim("contradicted", "by construction")]
    assert headline(results) == "Of 2 claims, 2 follow from definitions (1 supported, 1 contradicted)."


def test_every_record_of_a_small_part_is_written_out():
    records = [record(1.0), record(2.0)]
    text = part_sentences(part(records))
    assert text[0] == "2 settings: 2 supported; mean difference above 0 in 2 of 2 settings."
    assert len(text) == 1 + len(records)


def test_of_many_records_both_extremes_are_shown_whatever_their_verdict():
    records = [record(float(effect), "contradicted" if effect < 0 else "supported") for effect in range(-7, 9)]
    assert len(records) > MOST_RECORDS
    text = part_sentences(part(records, "inconclusive"))
    assert "mean difference above 0 in 8 of 16 settings" in text[0]
    assert "supported, mean difference +8.00 points" in text[2]
    assert f"contradicted, mean difference {MINUS}7.00 points" in text[3]


def test_effects_that_cannot_be_tested_are_counted_in_their_direction():
    single = [record(float(effect), "not testable", n=1, category="one model") for effect in range(1, 21)]
    assert differences_above_zero(single) == "20 of 20"
    averaged = record(-1.0, settings=14, details={"settings with a positive mean": "3 of 14"})
    assert differences_above_zero([averaged, record(1.0)]) == "4 of 15"
    assert differences_above_zero([record(None)]) == ""


def test_differences_that_cannot_be_tested_are_named_in_the_section():
    single = part([record(4.44, "not testable", settings=20, details={"settings with a positive mean": "20 of 20"})],
                  "not testable")  # fmt: skip
    below = part([record(-1.0, "not testable"), record(2.0, "not testable")], "not testable", id="b")
    tested = part([record()], id="c")
    results = [claim("not testable", parts=(single, below, tested))]
    assert described_sentence(results) == (
        "Not testable, but described: the mean difference is above 0 in P1 a, 20 of 20 settings (mean +4.44 points); "
        "P1 b, 1 of 2 settings."
    )
    assert described_sentence([claim(parts=(tested,))]) == ""


def test_settings_by_construction_have_no_direction():
    assert differences_above_zero([record(0.0, "not testable", by_construction="equal masks")]) == ""


def test_the_p_of_the_reported_direction_is_raw_and_adjusted():
    against = record(-1.0, "contradicted", p=0.99, p_adjusted=0.99, p_contradiction=0.01, p_contradiction_adjusted=0.02)
    assert "paired t: p = 0.0100 for contradiction, 0.0200 adjusted" in part_sentences(part([against]))[1]
    support = record(1.0, p=1e-5, p_adjusted=4e-5, p_contradiction=0.9)
    assert "p < 0.001 for support, < 0.001 adjusted" in part_sentences(part([support]))[1]


def test_the_papers_value_is_compared_with_the_printed_interval():
    text = part_sentences(part([record(2.0, low=1.0, high=3.0, paper_value=6.6, size="smaller")]))[1]
    assert "mean difference +2.00 points (95 % CI +1.00 to +3.00)" in text
    assert "the paper's value, +6.60, is above the 95 % CI" in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"gate": "informative"}, "gate: informative"),
        ({"disagree": True}, "the tests disagree"),
        ({"descriptive": True}, "(descriptive only)."),
        ({"power": 0.83, "planned_effect": 2.0}, "power 83 % for a difference of 2.00 points"),
        ({"power": 0.83, "planned_d": 0.5}, "power 83 % for a difference of 0.50 sd"),
        ({"margin": 0.5}, "margin 0.50 points"),
        ({"same_as": "P4 chaos"}, "the same test as P4 chaos"),
        (
            {"low": 0.0, "high": 1.5, "low_repeated": -1.0, "high_repeated": 2.0},
            f"repeated interval {MINUS}1.00 to +2.00",
        ),
        ({"details": {"mean at 0.5": 1.0, "rho": -0.25, "p of some": 1e-9}}, "mean at 0.5 +1.00"),
    ],
)
def test_a_record_names_what_applies_to_it(changes, shown):
    assert shown in part_sentences(part([record(**changes)]))[1]
    assert shown not in part_sentences(part([record()]))[1]


def test_of_a_study_with_two_looks_the_repeated_interval_alone_is_shown():
    repeated = record(low=0.0, high=1.5, low_repeated=-1.0, high_repeated=2.0)
    assert "95 % CI" in part_sentences(part([record(low=0.0, high=1.5)]))[1]
    assert "95 % CI" not in part_sentences(part([repeated]))[1]
    assert f"(repeated interval {MINUS}1.00 to +2.00)" in part_sentences(part([repeated]))[1]


def reading(verdict="supported", primary=False, by_construction="", **levels):
    return Reading(levels=levels, primary=primary, verdict=verdict, by_construction=by_construction)


def test_readings_are_counted_planned_present_and_by_construction():
    readings = (reading(mode="ema"), reading("contradicted", mode="none"), reading(by_construction="equal", mode="x"))
    found = Robustness(planned=9, readings=readings, robust=False, depends_on={"mode": 0.0004})
    assert robustness_sentence(found) == (
        "Readings: 9 planned, 3 in this study; 1 by construction are not counted. Of the 2 measured: "
        "1 supported, 1 contradicted; not robust. The difference depends on mode (adjusted p < 0.001)."
    )
    assert part_sentences(part([record()], robustness=found))[-1] == robustness_sentence(found)


def test_identities_are_cells_and_mismatches():
    same = record(0.5, kind="identity", comparisons=1200, mismatches=0, tolerance=0.05, counts={"skipped": 3})
    (text,) = part_sentences(part([same], kind="identity"))
    assert text == (
        "cnn on digits: supported, 1,200 cells compared over 10 models, 0 mismatches; largest difference 0.50 points, "
        "tolerance 0.05; 3 skipped."
    )


def test_lines_of_the_command_name_every_part_its_role_and_caveats():
    result = claim(parts=(part([record()]), part([], "not testable", id="b", role="scan", reason="no cell")),
                   models=10, robustness="robust: of 2 readings 2 supported", notes=("descriptive only",))  # fmt: skip
    assert claim_lines(result) == [
        "P1  supported  (transfer: digits; measured; 10 models)",
        "It holds. (me)",
        "a: primary part, every setting: supported. "
        "1 setting: 1 supported; mean difference above 0 in 1 of 1 settings.",
        "b: scan (exploratory), every setting: not testable. No cell.",
        "readings: robust: of 2 readings 2 supported",
        "caveats: descriptive only",
    ]


def test_only_a_time_stamp_is_before_the_data():
    attested = " ".join(registration_sentences(Level(SELF_ATTESTED, "why", missing=3, given=("net",)), "0" * 64))
    assert "Registered before data: not proved" in attested
    assert "Registrations that are not listed cannot be excluded" in attested
    assert "3 have no result and 0 failed" in attested
    assert "given as checkpoints (net) have no seeds" in attested
    stamped = " ".join(registration_sentences(Level(TIME_STAMPED, "why"), "0" * 64))
    assert "Registered before data: yes" in stamped
    assert "Registrations that are not listed cannot be excluded" in stamped


def test_an_amendment_that_was_recorded_when_data_existed_is_marked():
    design = Design(study={}, plan="0" * 64, cells=1, data=(), checkpoints=(), code={}, settings={})
    package = Package(version="1", files={}, libraries={})
    registration = Registration(
        name="s", profile=None, claims="0" * 64, design=design, package=package, gates={}, pilots=(), seen="", number=1,
        previous=None, time="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    early, late = (
        Amendment(reason=f"reason {rows}", time="t", rows=rows, changes=("c",), claims="0" * 64, design=design,
                  previous="0" * 64)
        for rows in (0, 3)
    )  # fmt: skip
    record = StoredRegistration(
        text=canonical_json(registration.model_dump(mode="json")), amendments=(early, late), at_start=2
    )
    text = registration_sentences(Level(SELF_ATTESTED, "why", record), "0" * 64)
    assert text[-2:] == [
        "Amendment 1, reason 0: c.", "Amendment 2, recorded when data existed, reason 3: c."
    ]  # fmt: skip
