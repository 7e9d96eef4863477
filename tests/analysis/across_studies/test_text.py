"""The overview as a page, as JSON and as a table."""

from __future__ import annotations

import json

import pytest

from analysis.across_studies.overview import overview_of
from analysis.across_studies.text import (
    as_json,
    checklist_sentence,
    markdown,
    reading_table,
    study_table,
    terminal_table,
    write_markdown,
)  # fmt: skip
from analysis.errors import AnalysisError

READINGS = {"readings": {"baseline": {"magnitude": {}, "random": {"magnitude": "random"}}}}


@pytest.fixture(scope="module")
def found(study_of):
    """Two studies; in the second, whose models allow no test, every setting points the other way."""
    first = study_of("first", [4, 6, 8], READINGS, more={"random": 9.0})
    return overview_of([first, study_of("second", {("cnn", 0.5): [-1], ("vit", 0.5): [-2]}, READINGS)])


def test_the_page_shows_findings_that_point_the_other_way(found):
    page = markdown(found)
    assert "| first | +6.00 | +1.03 to +10.97 | 1 / 0 / 0 | 3 | supported | 1 / 0 / 0 |" in page
    [row] = [line for line in page.splitlines() if line.startswith("| second | \N{MINUS SIGN}1.50 |")]
    assert "| 0 / 0 / 2 | 2 | not testable: one model per architecture" in row
    assert "- second is not combined: one model per architecture" in page
    assert "Equal-weight mean" not in page
    readings = reading_table(found.parts[0])
    assert readings["Reading"].tolist() == ["baseline random", "baseline magnitude (primary)"]
    assert readings["Mean effect (points)"].tolist() == ["\N{MINUS SIGN}3.00", "+6.00"]
    assert readings["Settings above / at / below 0"].tolist() == ["0 / 0 / 1", "1 / 0 / 0"]


def test_the_mean_of_studies_is_no_verdict(study_of):
    found = overview_of([study_of("a", [1, 2, 3]), study_of("b", [4, 6, 8])])
    page = " ".join(markdown(found).split())
    assert "Equal-weight mean of these 2 studies (a, b): +4.00 points" in page
    assert "(95 % CI +1.92 to +6.08; range +2.00 to +6.00; Q = 9.60, p = " in page
    assert "It is no verdict." in page
    assert "Random effects" not in page
    table = terminal_table(found.parts)
    assert table.index.tolist() == ["G gain"] * 3
    assert table["verdict"].tolist()[-1] == "no verdict"


def test_equal_evidence_gives_equal_bytes(found, tmp_path):
    path = write_markdown(found, tmp_path)
    assert path == tmp_path / "overview.md"
    before = path.read_bytes()
    assert write_markdown(found, tmp_path).read_bytes() == before
    with pytest.raises(AnalysisError, match="cannot be written"):
        write_markdown(found, tmp_path / "absent")


def test_the_json_has_every_finding_and_no_nan(found):
    values = json.loads(json.dumps(as_json(found), allow_nan=False))
    [part] = values["parts"]
    first, second = part["studies"]
    assert first["estimate"]["effect"] == pytest.approx(6)
    assert first["versions"] == {"scorer taylor": 1, "scorer magnitude": 1}
    assert second["estimate"]["low"] is None
    assert second["estimate"]["signs"] == {"above": 0, "equal": 0, "below": 2}
    assert values["studies"][0]["claims"] == {"G": "supported"}


def test_the_checklist_is_summarised(found):
    sentence = checklist_sentence(found)
    assert sentence.startswith("The checklist is binding for the studies together: ")
    assert "Error bars over independently trained models" in sentence


def test_studies_are_listed_with_their_registration(found):
    table = study_table(found)
    assert table["Registration"].tolist() == ["not registered", "not registered"]
    assert table["Claims supported"].tolist() == ["1", "0"]
