"""``new`` and ``plan``, and mistakes in study.yaml."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from bench.store.database import open_store


def test_new_makes_a_study_that_plan_accepts(tmp_path, command):
    assert command("new", tmp_path / "s", "--from", "digits").code == 0
    planned = command("plan", tmp_path / "s", "--profile", "quick", "--json")
    assert planned.code == 0
    summary = json.loads(planned.out)
    assert summary["todo"] == summary["cells"] > 1000
    assert summary["seconds"] > 0
    assert summary["memory"] > 0
    assert summary["decidable"]["least_effect_sd"] == pytest.approx(3.26, abs=0.01)
    assert not (tmp_path / "s" / "results.db").exists()


def test_new_puts_other_models_in_place(tmp_path, command):
    assert command("new", tmp_path / "s", "--model", "resnet10t", "--model", "digits_cnn").code == 0
    text = (tmp_path / "s" / "study.yaml").read_text()
    assert "# A study is a folder" in text
    summary = json.loads(command("plan", tmp_path / "s", "--profile", "quick", "--json").out)
    assert [model["name"] for model in summary["study"]["models"]] == ["resnet10t", "digits_cnn"]


def test_plan_reads_for_people(tiny, command):
    result = command("plan", tiny)
    assert result.code == 0
    for words in (
        "to do",
        "excluded",
        "time, about",
        "memory, about",
        "an equivalence margin of",
        "fewer than 6 models",
    ):
        assert words in result.out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("taylor]", "tailor]", "no scorer named 'tailor': did you mean 'taylor'?"),
        ("digits_cnn", "digits_cn", "did you mean 'digits_cnn'"),
        ("[digits]", "[digit]", "did you mean 'digits'"),
        ("[digits]", "['parquet:/nowhere']", "/nowhere: there is no such folder"),
        ("epochs: 3", "epoch: 3", "did you mean 'epochs'"),
        ("0.8]", "1.5]", "less than 1"),
        ("0.8]", "0.5]", "duplicate cells"),
        ("name: tiny", "nam: tiny", "unknown key 'nam'"),
        ("name: tiny", "name: [", "not valid YAML"),
        (
            "{name: digits_cnn, recipe: {epochs: 3}}",
            "{name: digits_cnn, checkpoint: absent.pt}",
            "absent.pt: there is no such file",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_mistake_in_the_study_is_one_line_and_exit_code_2(tiny, command, verb, old, new, message, edit_study):
    edit_study(tiny, old, new)
    result = command(verb, tiny)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert result.err.startswith("error: ")
    assert message in result.err
    assert not (tiny / "results.db").exists()


def test_a_long_name_does_not_hide_where_the_error_is_and_how_to_correct_it(tiny, command, edit_study):
    edit_study(tiny, "scorers: [random", f"scorers: [{'k' * 9000}")
    result = command("plan", tiny)
    assert result.code == 2
    assert len(result.err) < 1600
    assert result.err.startswith(f"error: {tiny / 'study.yaml'}")
    assert "valid: a5, a5_log6" in result.err[-200:]


def test_an_unknown_recipe_key_names_the_list(tiny, command, edit_study):
    edit_study(tiny, "recipe: {epochs: 3}", "recipe: {momentun: 0.5}")
    result = command("plan", tiny)
    assert result.code == 2
    assert "did you mean 'momentum'?; `prunebench list recipes` lists them" in result.err


def change_settings(folder: Path, **changed: str) -> None:
    with closing(open_store(folder)) as store:
        store.set_meta("settings", json.dumps({**json.loads(store.meta("settings") or ""), **changed}))


def test_the_default_precision_changed_and_a_store_in_bfloat16_is_not_mixed(finished, command):
    change_settings(finished, precision="bfloat16")
    with closing(open_store(finished)) as store:
        before = store.study_hashes()
    for verb in ("plan", "run"):
        result = command(verb, finished)
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert f"{finished / 'study.yaml'}: this study was begun in bfloat16" in result.err
        assert "Write `execution: {precision: auto}` to continue it" in result.err
    text = (finished / "study.yaml").read_text()
    (finished / "study.yaml").write_text(text + "execution: {precision: auto}\n")
    summary = json.loads(command("plan", finished, "--json").out)
    assert {summary["study_hash"]} == before


def test_models_of_a_store_that_were_trained_in_another_memory_format_are_named(finished, command):
    assert "changed since" not in command("plan", finished).out
    change_settings(finished, memory_format="channels_last")  # as version 0.1 measured it, and trained contiguous
    result = command("plan", finished)
    assert "digits_cnn: the memory format of its training changed since an earlier run: its cells are new" in result.out


CLAIMS = """\
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
        where: {allocation: global, correction: none}
        sparsities: [0.8]
        margin: 2
        planned_effect: 6
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[taylor]", "[taylro]", "line 10, column 14: no scorer is named 'taylro'; did you mean 'taylor'?"),
        ("allocation: global", "allocation: globl", "line 12, column 17: no allocation is named 'globl'; did you mean"),
        ("[0.8]", "[0.85]", "line 13, column 22: the study has no cell at sparsity 0.85; the nearest is 0.8"),
        ("[0.8]", "[80]", "line 13, column 9: sparsities: sparsity 80 is not a fraction between 0 and 1; write 0.8"),
        ("margin: 2", "margin: 200", "line 14, column 9: margin: 200 points is larger than 20; the unit is percentage"),
        ("against: magnitude", "against: magnitude\n        value: accurcy", "line 12, column 9: value"),
        (
            "correction: none",
            "correction: none, scorer: l2",
            "line 7, column 9: part 'a' of 'M1': the study has no cell",
        ),
        ("version: 2\n", "", "line 1, column 1: this file has the old form, in which margins are fractions; write"),
    ],
)
def test_a_mistake_in_the_claims_is_one_line_and_exit_code_2(tiny, finished, command, old, new, message):
    for folder in (tiny, finished):
        (folder / "claims.yaml").write_text(CLAIMS.replace(old, new))
    for verb, folder in (("plan", tiny), ("run", tiny), ("power", tiny), ("claims", finished)):
        result = command(verb, folder)
        assert result.code == 2, verb
        (line,) = result.err.splitlines()
        assert line.startswith(f"error: {folder / 'claims.yaml'}: ")
        assert message in line
    assert not (tiny / "results.db").exists()


def test_all_mistakes_of_the_claims_are_listed(tiny, command):
    text = CLAIMS.replace("taylor", "taylro").replace("global", "globl").replace("0.8", "0.85")
    (tiny / "claims.yaml").write_text(text)
    assert [line.partition(": ")[0] for line in command("plan", tiny).err.splitlines()] == ["error"] * 3
    (tiny / "claims.yaml").write_text(CLAIMS.replace("0.8", "80").replace("margin: 2", "margin: 200"))
    assert len(command("plan", tiny).err.splitlines()) == 2


def test_plan_shows_what_every_part_of_the_claims_can_decide(tiny, finished, command):
    (tiny / "claims.yaml").write_text(CLAIMS)
    shown = command("plan", tiny, "--sd", "3")
    assert shown.code == 0
    for words in ("What the claims can decide", "taylor minus magnitude", "paired t", "Models needed", "6 points"):
        assert words in shown.out
    assert "note: " + str(tiny / "claims.yaml") + ": line 15, column 9: part 'a' of 'M1': 2 models detect" in shown.out
    (part,) = json.loads(command("plan", tiny, "--sd", "3", "--json").out)["claims"]
    assert (part["cells"], part["questions"], part["margin"], part["planned"]["models"]) == (16, 4, 2, 2)
    assert 5 < part["needed"] < 30
    assert part["sd"] == 3
    (piloted,) = json.loads(command("plan", tiny, "--pilot", finished, "--json").out)["claims"]
    assert piloted["unit"] == "points"
    assert piloted["sd"] > 0


def test_a_profile_and_an_included_paper_may_lack_what_the_claims_name(tiny, command):
    (tiny / "claims.yaml").write_text(CLAIMS.replace("version: 2", "version: 2\ninclude: [sics]"))
    result = command("plan", tiny, "--profile", "one")
    assert result.code == 0
    assert "part 'a' of 'M1' is not testable: the study has no cell with scorer taylor" in result.out
    assert "not testable: " in result.out
    assert "P9 low" in result.out


def test_register_warns_of_what_the_planned_models_cannot_decide_and_refuses_mistakes(tiny, finished, command):
    (tiny / "claims.yaml").write_text(CLAIMS.replace("[taylor]", "[taylro]"))
    refused = command("register", tiny)
    assert refused.code == 2
    assert "no scorer is named 'taylro'" in refused.err
    assert not (tiny / "registration.json").exists()
    (tiny / "claims.yaml").write_text(CLAIMS)
    registered = command("register", tiny, "--pilot", finished)
    assert registered.code == 0
    warning = f"warning: {tiny / 'claims.yaml'}: line "
    assert warning in registered.err
    (piloted,) = json.loads(command("plan", tiny, "--pilot", finished, "--json").out)["claims"]
    (plain,) = json.loads(command("plan", tiny, "--json").out)["claims"]
    assert plain["questions"] == piloted["questions"]  # the settings that the registration fixed
    (tiny / "claims.yaml").write_text(CLAIMS.replace("[taylor]", "[taylro]"))
    amended = command("amend", tiny, "--reason", "a better scorer")
    assert amended.code == 2
    assert "no scorer is named 'taylro'" in amended.err
