"""claims.yaml: what is accepted, what is refused and how, and what its hash depends on."""

import pytest

from analysis.claims.read import claims_hash, papers, read_claims
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
    assert papers() == ("asr", "sics")
    ids = [claim.id for claim in read_claims(write("include: [sics, asr]")).claims]
    assert ids == ["P1", "P2", "C1"]


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
    (contrast,) = (part for part in claims["P2"].parts if isinstance(part, Contrast))
    assert (contrast.margin, contrast.margin_reason) == (0.02, "small test set")
    repair = claims["C1"].parts[0]
    assert isinstance(repair, RepairIdentity)
    assert repair.tolerance == 0.003


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("include: [asrr]", "line 1, column 11: no paper 'asrr': did you mean 'asr'"),
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
def test_what_is_wrong_is_said_with_its_place(write, text, said):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(text))
    assert said in str(caught.value)
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


def test_hash_covers_the_papers_that_are_included(write):
    hashes = {claims_hash(write(f"include: {names}")) for names in ("[]", "[sics]", "[asr]", "[sics, asr]")}
    assert len(hashes) == 4
