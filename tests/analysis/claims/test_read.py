"""claims.yaml: what is accepted, what is refused and how, and what its hash depends on."""

import sys

import pytest

from analysis.claims.estimands.contrast import Contrast
from analysis.claims.estimands.repairs import RepairIdentity
from analysis.claims.read import claims_hash, read_claims
from analysis.errors import AnalysisError

VERSION = "version: 2\n"
OWN = """\
version: 2
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
    claims = read_claims(write(VERSION + "include: [sics, asr, emp]")).claims
    letters = "".join(dict.fromkeys(claim.id[0] for claim in claims))
    assert letters == "PACE" or set(letters) == set("PACE")
    assert all(claim.primary for claim in claims)


def test_a_claim_of_one_contrast_needs_no_more_keys(write):
    claim = read_claims(write(OWN)).claims[0]
    (part,) = claim.parts
    assert isinstance(part, Contrast)
    assert (part.role, part.over, part.test, part.margin, part.where) == (
        "primary", "every", "t", None, {"granularity": ("weight",)},
    )  # fmt: skip
    assert (part.id, part.text, part.gate_arm) == ("a", "taylor beats magnitude at 80 %", {"scorer": ("magnitude",)})


def test_a_margin_that_the_claim_states_is_kept(write):
    stated = OWN + "        margin: 3\n"
    adjust = "adjust: {M1: {margin: 2, reason: x}}\n"
    for text, margin in ((OWN, None), (stated, 3), (OWN.replace("superiority", "equivalence"), 2)):
        assert read_claims(write(text + adjust)).claims[0].parts[0].margin == margin


def test_a_study_adjusts_what_the_paper_leaves_open(write):
    text = VERSION + "include: [asr]\nadjust:\n  C1: {tolerance: 0.3, reason: bfloat16}\n"
    claims = {claim.id: claim for claim in read_claims(write(text)).claims}
    repairs = [part for part in claims["C1"].parts if isinstance(part, RepairIdentity)]
    assert {part.tolerance for part in repairs} == {0.3}


@pytest.mark.parametrize(
    "text", ["include: [sics]\n", OWN.removeprefix(VERSION), OWN.replace("version: 2", "version: 1")]
)
def test_a_file_of_the_old_form_is_refused_with_the_line_to_write(write, text):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(text))
    assert "write `version: 2` as its first line" in str(caught.value)
    assert "percentage points" in str(caught.value)


def test_the_old_form_is_named_before_the_keys_of_that_form(write):
    old = OWN.removeprefix(VERSION).replace("        estimand", "        required: false\n        estimand")
    with pytest.raises(AnalysisError, match="write `version: 2`"):
        read_claims(write(old))


@pytest.mark.parametrize(
    ("key", "place", "hint"),
    [("per: {recalibration: [ema]}", "    ", "under `readings`"), ("correction: holm", "    ", "valid: "),
     ("alpha: 0.05", " " * 8, "omit it"), ("required: false", " " * 8, "write `role: supporting`"),
     ("family: a", " " * 8, "omit it"), ("scan: true", " " * 8, "write `role: scan`"),
     ("level: 0.05", " " * 8, "valid: ")],
)  # fmt: skip
def test_keys_of_the_old_form_are_unknown_with_what_to_write(write, key, place, hint):
    before = "    parts:" if place == "    " else "        estimand:"
    with pytest.raises(AnalysisError, match=f"unknown key '{key.partition(':')[0]}': .*{hint}"):
        read_claims(write(OWN.replace(before, f"{place}{key}\n{before}")))


def test_looks_are_read(write):
    assert read_claims(write(OWN + "looks: [10, 20]\n")).looks == (10, 20)
    assert read_claims(write(OWN)).looks is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: the file is empty; begin it with the lines `version: 2`"),
        ("- 1", "line 1, column 1: expected keys and values at the top, found a list"),
        (OWN.replace("[0.8]", "0.8"), "line 14, column 9: sparsities: a list is expected; write `sparsities: [0.8]`"),
        (
            OWN + "        gate: off the grid\n",
            "line 15, column 9: gate: 'off the grid' is no gate; write `none`, or the",
        ),
        ("version: 2\ninclude: [asrr]", "line 2, column 11: no claims are named 'asrr': did you mean 'asr'"),
        ("version: 2\nincludes: [asr]", "line 2, column 1: unknown key 'includes': did you mean 'include'"),
        (
            OWN + "adjust:\n  M2: {tolerance: 0.1, reason: x}\n",
            "line 16, column 3: no claim 'M2' to adjust: valid: M1",
        ),
        (
            "version: 2\ninclude: [asr]\nadjust:\n  C1: {tolerance: 0.1}",
            "line 4, column 3: the key 'reason' is missing",
        ),
        (
            OWN.replace("estimand: contrast", "estimand: contrasts"),
            "no estimand 'contrasts': did you mean 'contrast'",
        ),
        (OWN.replace("against:", "versus:"), "unknown key 'versus'"),
        (OWN.replace("{granularity:", "{granularty:"), "no column 'granularty' to filter by: did you mean"),
        (OWN.replace("superiority", "equivalence") + "        test: sign-flip\n", "two one-sided t tests"),
        (OWN + "        margin: -0.1\n", "line 15, column 9"),
        (OWN + "        margin: 200\n", "line 15, column 9"),
        (OWN.replace("[0.8]", "[80]"), "sparsity 80 is not a fraction between 0 and 1; write 0.8"),
        (OWN + "        role: main\n", "line 15, column 9"),
        (OWN + "        over: all\n", "line 15, column 9"),
        (OWN + "        role: scan\n", "has no part with 'role: primary', so nothing decides it"),
        (OWN + "looks: [5, 10]\n", "the first at least 6; write [10, 20]"),
        (OWN + "looks: [20, 10]\n", "two increasing numbers of models"),
        (OWN.replace("    source: ours\n", ""), "line 3, column 5: the key 'source' is missing"),
        ("version: 2\ninclude: [asr\n", "not valid YAML"),
        ("version: 2\ninclude: [asr]\ninclude: [sics]\n", "line 3, column 1: not valid YAML"),
        ("- a\n- b\n", "expected keys and values"),
        ("version: 2\ninclude: [asr, asr]", "two claims have the id 'C1'"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(write, text, message):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(text))
    assert message in str(caught.value)


def test_a_missing_file_says_how_to_start(tmp_path):
    with pytest.raises(AnalysisError, match="no such file"):
        read_claims(tmp_path / "claims.yaml")


def test_an_empty_file_claims_nothing(write):
    assert read_claims(write(VERSION)).claims == ()


def test_hash_is_of_the_content(write):
    first = claims_hash(write(OWN))
    assert claims_hash(write("# a comment\n" + OWN.replace("[taylor]", "[ taylor ]"))) == first
    for change in (("0.8", "0.7"), ("taylor beats magnitude\n", "taylor is better\n"), ("weight", "channel")):
        assert claims_hash(write(OWN.replace(*change))) != first


@pytest.mark.parametrize("entry", ["./more.yaml", "more.yaml", "{module}:claims", "{module}:as_text"])
def test_more_claims_come_from_a_file_or_a_function(write, own_claims, entry):
    read = read_claims(write(OWN + f"include: ['{entry.format(module=own_claims)}']\n"))
    assert [claim.id for claim in read.claims] == ["M2", "M1"]


def test_more_claims_come_from_an_installed_package(write, offered, tmp_path):
    path = write(VERSION + "include: asr\n")
    sys.path.append(str(tmp_path))  # where the package of the entry point is installed
    ours = [claim.id for claim in read_claims(path).claims]
    path = write(VERSION + "include: [theirs, asr]\nadjust: {C1: {tolerance: 0.1, reason: coarse}}")
    assert [claim.id for claim in read_claims(path).claims] == ["M2", *ours]


@pytest.mark.parametrize("entry", ["./more.yaml", "{module}:claims"])
def test_hash_covers_what_is_included(write, own_claims, tmp_path, entry):
    path = write(VERSION + f"include: ['{entry.format(module=own_claims)}']")
    before = claims_hash(path)
    more = tmp_path / "more.yaml"
    more.write_text("# a comment\n" + more.read_text())
    assert claims_hash(path) == before
    more.write_text(more.read_text().replace("masks agree", "masks agree exactly"))
    assert claims_hash(path) != before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("./absent.yaml", "claims.yaml: line 2, column 11: './absent.yaml': there is no file"),
        (
            "broken:claims",
            "line 2, column 11: cannot import 'broken': ZeroDivisionError: division by zero",
        ),
        ("{module}:absent", "column 11: '{module}:absent': there is no file /nowhere/claims.yaml"),
    ],
)
def test_an_include_that_fails_is_reported_with_its_place(write, own_claims, entry, message):
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(VERSION + f"include: ['{entry.format(module=own_claims)}']"))
    assert message.format(module=own_claims) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("claims:", "include: [sics]\nclaims:", "more.yaml: line 2, column 1: 'include' belongs into"),
        ("claims:", "adjust: {M2: {tolerance: 0.1, reason: x}}\nclaims:", "line 2, column 1: 'adjust' belongs into"),
        ("scorers", "scorer", "more.yaml: line 7, column 65: unknown key 'scorer': did you mean 'scorers'"),
        ("M2", "M1", "claims.yaml: line 3, column 5: two claims have the id 'M1'; the other is at"),
        ("claims:", "claims: [", "more.yaml: line 3, column 3: not valid YAML"),
        ("version: 2\nclaims:", "-", "more.yaml: line 1, column 1: expected keys and values at the top"),
    ],
)
def test_a_mistake_in_an_included_file_is_reported_with_its_place(write, own_claims, tmp_path, old, new, message):
    more = tmp_path / "more.yaml"
    more.write_text(more.read_text().replace(old, new))
    with pytest.raises(AnalysisError) as caught:
        read_claims(write(OWN + "include: [./more.yaml]\n"))
    assert message in str(caught.value)


def test_hash_covers_the_papers_that_are_included(write):
    hashes = {claims_hash(write(VERSION + f"include: {names}")) for names in ("[]", "[sics]", "[asr]", "[sics, asr]")}
    assert len(hashes) == 4
