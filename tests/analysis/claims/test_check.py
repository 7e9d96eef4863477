"""Mistakes of claims that a comparison with the study's cells finds: file, line, column, and what to write."""

from __future__ import annotations

import pytest

from analysis.claims.check import check_claims, named_labels, shortfalls
from analysis.claims.planning import plan_parts
from analysis.claims.read import read_claims
from analysis.evidence.evidence import Evidence

CATALOGUE = {
    "dataset": ["digits", "cifar10"],
    "model": ["cnn", "vit", "vgg16_bn"],
    "scorer": ["magnitude", "taylor", "wanda", "gradient", "random", "obs"],
    "search": ["none", "equal", "dbo", "cma"],
    "allocation": ["uniform", "global", "lamp"],
    "correction": ["none", "layerwise", "channelwise", "asr", "asr_eb", "reconstruct"],
    "recalibration": ["none", "ema", "cumulative"],
}
GOOD = """\
version: 2
claims:
  - id: M1
    text: Taylor beats magnitude.
    source: ours
    parts:
      - id: a
        estimand: contrast
        kind: superiority
        of: [taylor]
        against: magnitude
        sparsities: [0.5, 0.8]
        where: {granularity: weight, allocation: uniform, correction: none, recalibration: none}
        gate: {scorer: magnitude}
        planned_effect: 2
        readings: {granularity: [weight, channel], scores: {plain: {}, other: {taylor: wanda}}, margin: [0, 1]}
"""
EQUIVALENCE = (
    GOOD.replace("superiority", "equivalence").replace("planned_effect: 2", "margin: 2").replace("0, 1]", "2]")
)


@pytest.fixture(scope="module")
def planned(study):
    return Evidence.of(study(seeds=3))


@pytest.fixture
def found(tmp_path, planned):
    """Write claims.yaml, included.yaml if a text is given, and check them."""

    def _found(text, included="", **keywords):
        path = tmp_path / "claims.yaml"
        path.write_text(text)
        (tmp_path / "included.yaml").write_text(included)
        return check_claims(planned, read_claims(path), CATALOGUE, **keywords)

    return _found


def test_claims_that_fit_the_study_have_no_finding(found):
    assert found(GOOD) == found(EQUIVALENCE)
    assert (found(GOOD).mistakes, found(GOOD).warnings) == ((), ())


def test_looks_must_be_those_of_the_planned_models(found):
    """The study has three models."""
    [line] = found(GOOD + "looks: [6, 8]\n").warnings
    assert "line 17, column 1: looks: the last look has 8 models and the study 3, so that it never takes place" in line
    assert line.endswith("set `train_seeds: 8` in study.yaml")
    assert found(GOOD + "looks: [6, 8]\n", whole=False).warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[taylor]", "[taylro]", "line 10, column 14: no scorer is named 'taylro'; did you mean 'taylor'?"),
        ("[taylor]", "[obss]", "line 10, column 14: no scorer is named 'obss'; did you mean 'obs', which this study"),
        ("against: magnitude", "against: magnitud", "line 11, column 9: no scorer is named 'magnitud'; did you mean"),
        ("allocation: uniform", "allocation: unifrm", "line 13, column 38: no allocation is named 'unifrm'"),
        ("granularity: weight,", "granularity: weigth,", "line 13, column 17: no granularity is named 'weigth'"),
        ("correction: none", "correction: asrr", "no correction is named 'asrr'; did you mean 'asr'?"),
        ("recalibration: none", "recalibration: em", "no recalibration is named 'em'; did you mean 'ema', which this"),
        ("recalibration: none", "model: cmn", "no model is named 'cmn'; did you mean 'cnn'?"),
        ("recalibration: none", 'search: "dbi*"', "no search is named 'dbi*'; this study has 'none'"),
        ("recalibration: none", "dataset: digts", "no data set is named 'digts'; did you mean 'digits'?"),
        ("recalibration: none", "search: db", "no search is named 'db'; did you mean 'dbo', which this study does not"),
        ("gate: {scorer: magnitude}", "gate: {correction: reconstuct}", "line 14, column 16: no correction is named"),
        ("[weight, channel]", "[weight, chanel]", "line 16, column 42: no granularity is named 'chanel'; did you mean"),
        ("{taylor: wanda}", "{taylor: wandda}", "no scorer is named 'wandda'; did you mean 'wanda'?"),
        ("{taylor: wanda}", "{tayler: wanda}", "the reading 'scores' replaces 'tayler', which no part of the claim"),
        ("[0.5, 0.8]", "[0.5, 0.85]", "line 12, column 27: the study has no cell at sparsity 0.85; the nearest is 0.8"),
        ("[0.5, 0.8]", "{least: 0.6, most: 0.7}", "line 12, column 9: the study has no sparsity from 0.6 to 0.7"),
        (
            "recalibration: none",
            "recalibration: cumulative, model: vit, scorer: l2",
            "the study has no cell that meets",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place(found, tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    (line,) = found(GOOD.replace(old, new)).mistakes
    assert line.startswith(str(tmp_path / "claims.yaml"))
    assert message in line
    assert "\n" not in line


def test_all_mistakes_are_listed_once_each(found):
    text = GOOD.replace("[taylor]", "[taylro, wandda]").replace("[0.5, 0.8]", "[0.85]")
    shared = "    gate: {scorer: magnitudo}\n    parts:"
    text = text.replace("        gate: {scorer: magnitude}\n", "").replace("    parts:", shared)
    second = (
        GOOD[GOOD.index("      - id: a") :].replace("id: a", "id: b").replace("        gate: {scorer: magnitude}\n", "")
    )
    lines = found(text + second).mistakes
    assert [line.count(name) for line in lines for name in ("taylro", "wandda", "magnitudo", "0.85;")].count(1) == 4
    assert len(lines) == 4


@pytest.mark.parametrize("name", ["obs", '"obs(damping=0.1)"'])
def test_a_scorer_that_the_catalogue_alone_knows_is_no_mistake(found, name):
    findings = found(GOOD.replace("[taylor]", f"[{name}]"))
    assert findings.mistakes == ()
    (warning,) = findings.warnings
    assert "line 7, column 9: part 'a' of 'M1' is not testable: the study has no cell with scorer obs" in warning


def test_a_label_without_a_cell_among_others_is_left_out_with_a_warning(found):
    findings = found(GOOD.replace("[taylor]", "[taylor, obs]"))
    assert findings.mistakes == ()
    assert "line 10, column 22: the study has no cell with scorer obs; part 'a' of" in findings.warnings[0]


def test_claims_of_a_paper_may_be_about_what_the_study_does_not_have(found):
    text = "version: 2\ninclude: [./included.yaml]\n"
    paper = GOOD.replace("[taylor]", "[obs]").replace("[0.5, 0.8]", "[0.99]")
    assert found(text, paper) == found(text, GOOD)
    (line,) = found(text, paper.replace("obs", "obz")).mistakes
    assert "included.yaml: line 10, column 14: no scorer is named 'obz'" in line


def test_a_profile_may_lack_cells_of_the_study(found):
    text = GOOD.replace("[0.5, 0.8]", "[0.5, 0.85]")
    assert found(text, whole=False).mistakes == ()
    assert "no cell at sparsity 0.85" in found(text, whole=False).warnings[0]
    assert found(text.replace("taylor]", "taylro]"), whole=False).mistakes[0].endswith("did you mean 'taylor'?")


def test_a_margin_that_is_probably_a_fraction_gets_a_warning(found):
    (line,) = found(EQUIVALENCE.replace("margin: 2\n", "margin: 0.02\n")).warnings
    assert "line 15, column 9: margin: 0.02 points is less than 0.05" in line
    assert "write 2 if 2 points are meant" in line
    (line,) = found(GOOD.replace("planned_effect: 2", "planned_effect: 0.01")).warnings
    assert "planned_effect: 0.01 points" in line


def test_a_margin_of_an_adjustment_is_found_where_it_stands(found, tmp_path):
    text = "version: 2\ninclude: [./included.yaml]\nadjust:\n  M1: {margin: 0.02, reason: small}\n"
    (line,) = found(text, EQUIVALENCE.replace("        margin: 2\n", "").replace(", margin: [2]", "")).warnings
    assert line.startswith(f"{tmp_path / 'claims.yaml'}: line 4, column 8: margin: 0.02 points")


def test_a_gate_whose_arm_the_study_lacks_gets_a_warning(found):
    findings = found(GOOD.replace("gate: {scorer: magnitude}", "gate: {correction: reconstruct}"))
    assert findings.mistakes == ()
    (line,) = findings.warnings
    assert "line 14, column 9: the study has no cell with correction reconstruct for part 'a' of 'M1'" in line


def test_a_term_that_matches_several_searches_must_name_one(tmp_path, fused):
    terms = "terms: [{of: {scorer: v1}}, {weight: -1, of: {scorer: magnitude}}]"
    text = (
        GOOD.replace("contrast", "combination")
        .replace("of: [taylor]", terms)
        .replace("        against: magnitude\n", "")
    )
    (tmp_path / "claims.yaml").write_text(text.replace("[weight, channel]", "[channel]"))
    claims = read_claims(tmp_path / "claims.yaml")
    evidence = Evidence.of(fused(seeds=2))
    lines = check_claims(evidence, claims, CATALOGUE | {"scorer": ["magnitude", "taylor", "wanda", "v1"]}).mistakes
    assert "the study has v1 with several searches; add `search: dbo` to this term (valid: equal, dbo)" in lines[0]


def test_names_of_parts_gates_and_readings_are_found(tmp_path):
    (tmp_path / "claims.yaml").write_text(GOOD)
    claims = read_claims(tmp_path / "claims.yaml")
    assert named_labels(claims, "scorer") == {"taylor", "magnitude", "wanda"}
    assert named_labels(claims, "granularity") == {"weight", "channel"}
    assert named_labels(claims, "model") == set()


@pytest.mark.parametrize(
    ("text", "sd", "message"),
    [
        (EQUIVALENCE, 2.0, "line 15, column 9: part 'a' of 'M1': 3 models decide a margin of at least 9.7 points with"),
        (EQUIVALENCE, 0.05, None),
        (EQUIVALENCE, None, None),  # without a spread, a margin in points is not comparable
        (GOOD, 2.0, "the planned effect is 2 points (power 0 %, 16 models are needed)"),
        (GOOD.replace("planned_effect: 2", "planned_d: 0.5"), None, "the planned effect is 0.5 sd (power 0 %,"),
        (GOOD.replace("planned_effect: 2", "test: sign-flip"), 2.0, "no data of 3 models decide it by sign-flip"),
        (GOOD.replace("planned_effect: 2", "role: supporting"), 2.0, None),
    ],
)  # fmt: skip
def test_a_part_that_the_planned_models_cannot_decide_gets_a_warning(tmp_path, planned, text, sd, message):
    if "supporting" in text:
        text += (
            text[text.index("      - id: a") :]
            .replace("id: a", "id: b")
            .replace("role: supporting", "planned_effect: 20")
        )
    (tmp_path / "claims.yaml").write_text(text)
    claims = read_claims(tmp_path / "claims.yaml")
    lines = shortfalls(plan_parts(planned, claims, sd=sd), claims)
    if message is None:
        assert lines == []
    else:
        (line,) = lines
        assert message in line


def test_studies_of_one_model_get_one_warning(tmp_path, study):
    (tmp_path / "claims.yaml").write_text(GOOD)
    claims = read_claims(tmp_path / "claims.yaml")
    (line,) = shortfalls(plan_parts(Evidence.of(study(seeds=1)), claims), claims)
    assert "with one model per setting nothing is decided by a test: M1; set `train_seeds` to at least 6" in line
