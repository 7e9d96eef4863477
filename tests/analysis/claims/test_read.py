"""claims.yaml: what is accepted, what is refused and how, and what its hash depends on."""

import sys

import pytest

from analysis.claims.read import claims_hash, read_claims
from analysis.claims.schema import Contrast, RepairIdentity
from analysis.errors import AnalysisError

OWN = """\
claims:
  - id: M1
    text: taylor beats magnitude
    source: ours
    parts:
      - id: a
        text: taylor beats magnitude at 80 %
        estimand: contrast
        kind: superiority
        of: [taylor]
        against: magnitude
        where: {granularity: weight}
        sparsities: [0.8]
"""


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "claims.yaml"
        path.write_text(text)
        return path

    return _write


def test_every_shipped_paper_is_valid(write):
    ids = [claim.id for claim in read_claims(write("include: [sics, asr, emp]")).claims]
    modes = ("ema", "cumulative", "exact")
    per_mode = [f"A{number} ({mode})" for number in range(1, 7) for mode in modes]
    assert ids == [*(f"P{number}" for number in range(1, 12)), "C1", *per_mode, "A7", "A8", "E1", "E2", "E3"]


def test_a_claim_per_label_is_one_claim_for_each(write):
    text = OWN.replace("    parts:", "    per: {recalibration: [ema, none]}\n    parts:")
    first, second = read_claims(write(text + "adjust: {M1: {margin: 0.01, reason: small}}")).claims
    assert (first.id, second.id) == ("M1 (ema)", "M1 (none)")
    assert [claim.parts[0].where["recalibration"] for claim in (first, second)] == [("ema",), ("none",)]
    assert first.text.endswith("[recalibration: ema]")


def test_a_margin_that_the_claim_states_is_kept(write):
    claims = {c.id: c for c in read_claims(write("include: sics\nadjust: {P7: {margin: 0.02, reason: x}}")).claims}
    assert [part.margin for part in claims["P7"].parts] == [None, 0.003, None]


def test_defaults_of_an_own_claim_are_resolved(write):
    part = read_claims(write(OWN)).claims[0].parts[0]
    assert isinstance(part, Contrast)
    assert (part.level, part.test, part.margin, part.where) == (
        0.025,
        "t",
        None,
        {"granularity": ("weight",)},
    )


def test_a_study_adjusts_what_the_paper_leaves_open(write):
    text = "include: [sics, asr]\nadjust:\n  P2: {margin: 0.02, reason: small test set}\n"
    text += "  C1: {tolerance: 0.003, reason: bfloat16}\n"
    claims = {claim.id: claim for claim in read_claims(write(text)).claims}
    contrasts = [part for part in claims["P2"].parts if isinstance(part, Contrast)]
    assert {(part.margin, part.margin_reason) for part in contrasts} == {(0.02, "small test set")}
    repair = claims["C1"].parts[0]
    assert isinstance(repair, RepairIdentity)
    assert repair.tolerance == 0.003


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: [asrr]", "line 1, column 11: no claims are named 'asrr': did you mean 'asr'"),
        ("includes: [asr]", "line 1, column 1: unknown key 'includes': did you mean 'include'"),
        (
            "include: [asr]\nadjust:\n  C2: {tolerance: 0.1, reason: x}",
            "line 3, column 3: no claim 'C2' to adjust",
        ),
        ("include: [asr]\nadjust:\n  C1: {tolerance: 0.1}", "line 3, column 3: the key 'reason' is missing"),
        (
            OWN.replace("estimand: contrast", "estimand: contrasts"),
            "no estimand 'contrasts': did you mean 'contrast'",
        ),
        (OWN.replace("against:", "versus:"), "unknown key 'versus'"),
        (OWN.replace("{granularity:", "{granularty:"), "no column 'granularty' to filter by: did you mean"),
        (OWN.replace("superiority", "equivalence") + "        test: sign-flip\n", "two one-sided t tests"),
        (OWN + "        margin: -0.1\n", "line 14, column 9"),
        (OWN.replace("    source: ours\n", ""), "line 2, column 5: the key 'source' is missing"),
        ("include: [asr\n", "not valid YAML"),
        ("include: [asr]\ninclude: [sics]\n", "line 2, column 1: not valid YAML"),
        ("- a\n- b\n", "expected keys and values"),
        ("include: [asr, asr]", "two claims have the id 'C1'"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(write, text, message):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_start(tmp_path):
    with pytest.raises(AnalysisError, match="no such file"):
        read_claims(tmp_path / "claims.yaml")


def test_an_empty_file_claims_nothing(write):
    assert read_claims(write("")).claims == ()


def test_hash_is_of_the_content(write):
    first = claims_hash(write(OWN))
    assert claims_hash(write("# a comment\n" + OWN.replace("[taylor]", "[ taylor ]"))) == first
    for change in (("0.8", "0.7"), ("taylor beats magnitude\n", "taylor is better\n"), ("weight", "channel")):
        assert claims_hash(write(OWN.replace(*change))) != first


@pytest.mark.parametrize("entry", ["./more.yaml", "more.yaml", "{module}:claims", "{module}:as_text"])
def test_more_claims_come_from_a_file_or_a_function(write, own_claims, entry):
    read = read_claims(write(f"include: ['{entry.format(module=own_claims)}']\n" + OWN))
    assert [claim.id for claim in read.claims] == ["M2", "M1"]


def test_more_claims_come_from_an_installed_package(write, offered, tmp_path):
    path = write("include: asr\n")
    sys.path.append(str(tmp_path))  # where the package of the entry point is installed
    ours = [claim.id for claim in read_claims(path).claims]
    path = write("include: [theirs, asr]\nadjust: {C1: {tolerance: 0.1, reason: coarse}}")
    assert [claim.id for claim in read_claims(path).claims] == ["M2", *ours]


@pytest.mark.parametrize("entry", ["./more.yaml", "{module}:claims"])
def test_hash_covers_what_is_included(write, own_claims, tmp_path, entry):
    path = write(f"include: ['{entry.format(module=own_claims)}']")
    before = claims_hash(path)
    more = tmp_path / "more.yaml"
    more.write_text("# a comment\n" + more.read_text())
    assert claims_hash(path) == before
    more.write_text(more.read_text().replace("masks agree", "masks agree exactly"))
    assert claims_hash(path) != before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("./absent.yaml", "claims.yaml: line 1, column 11: './absent.yaml': there is no file"),
        (
            "broken:claims",
            "line 1, column 11: cannot import 'broken': ZeroDivisionError: division by zero",
        ),
        ("{module}:absent", "column 11: '{module}:absent': there is no file /nowhere/claims.yaml"),
    ],
)
def test_an_include_that_fails_is_reported_with_its_place(write, own_claims, entry, message):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(f"include: ['{entry.format(module=own_claims)}']"))
    assert message.format(module=own_claims) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("claims:", "include: [sics]\nclaims:", "more.yaml: line 1, column 1: 'include' belongs into"),
        ("claims:", "adjust: {M2: {tolerance: 0.1, reason: x}}\nclaims:", "line 1, column 1: 'adjust' belongs into"),
        ("scorers", "scorer", "more.yaml: line 6, column 65: unknown key 'scorer': did you mean 'scorers'"),
        ("M2", "M1", "claims.yaml: line 3, column 5: two claims have the id 'M1'; the other is at"),
        ("claims:", "claims: [", "more.yaml: line 2, column 3: not valid YAML"),
        ("claims:", "-", "more.yaml: expected keys and values at the top"),
    ],
)
def test_a_mistake_in_an_included_file_is_reported_with_its_place(write, own_claims, tmp_path, old, new, message):
    more = tmp_path / "more.yaml"
    more.write_text(more.read_text().replace(old, new))
    with pytest.raises(AnalysisError) as caught:
        read_claims(write("include: [./more.yaml]\n" + OWN))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hash_covers_the_papers_that_are_included(write):
    hashes = {claims_hash(write(f"include: {names}")) for names in ("[]", "[sics]", "[asr]", "[sics, asr]")}
    assert len(hashes) == 4
