"""References of a hand-written summary to records."""

from __future__ import annotations

import pytest

from analysis.across_studies.learned import check_learned, mistakes_in
from analysis.across_studies.overview import overview_of
from analysis.errors import AnalysisError

READINGS = {"readings": {"baseline": {"magnitude": {}, "random": {"magnitude": "random"}}}}


@pytest.fixture(scope="module")
def found(study_of):
    return overview_of([study_of("mine", [4, 6, 8], READINGS, more={"random": 9.0})])


@pytest.mark.parametrize(
    "reference",
    [
        "[mine: G = supported]",
        "[mine: G gain = supported]",
        "[mine: G gain = supported, +6.00]",
        "[mine: G gain = supported, 1 of 1 above 0]",
        "[mine: G gain (baseline random) = inconclusive, -3.00, 1 of 1 below 0]",
        "[mine: G gain\n  (baseline magnitude) = supported]",
    ],
)
def test_true_references_are_no_mistakes(found, reference):
    assert mistakes_in(f"- It is so {reference}.\n", found) == []


@pytest.mark.parametrize(
    ("reference", "mistake"),
    [
        ("[mine: G = contradicted]", "the record has the verdict supported"),
        ("[mine: G gain = inconclusive]", "the record has the verdict supported"),
        ("[mine: G gain = supported, +6.01]", "the record has the effect +6.00"),
        ("[mine: G gain = supported, 0 of 1 below 0]", ""),
        ("[mine: G gain = supported, 1 of 2 above 0]", "the record has the settings 1 of 1 above 0"),
        ("[mine: G gain (baseline random) = supported]", "the record has the verdict inconclusive"),
        ("[mine: G gain (baseline l2) = supported]", "the study has no reading 'baseline l2'"),
        ("[mine: G lose = supported]", "the study has no data for a part 'lose'"),
        ("[mine: H = supported]", "the study has no claim 'H'"),
        ("[mime: G = supported]", "there is no study 'mime': did you mean 'mine'?"),
        ("[mine: G = supported, +6.00]", "name the part"),
        ("[mine, G: supported]", "is no reference to a record"),
    ],
)
def test_references_that_are_not_true_are_named_with_their_line(found, reference, mistake):
    mistakes = mistakes_in(f"# Learned\n\n- It is so\n  {reference}.\n", found)
    assert [line for line, _ in mistakes] == ([4] if mistake else [])
    assert all(mistake in text for _, text in mistakes)


def test_every_item_names_a_record(found):
    text = "# Learned\n\nAn introduction.\n\n- First [mine: G = supported].\n- Second, without.\n\n- Third [a](b).\n"
    assert [line for line, _ in mistakes_in(text, found)] == [6, 8]


def test_the_file_next_to_the_overview_is_checked(found, tmp_path):
    assert check_learned(tmp_path, found) == []
    path = tmp_path / "LEARNED.md"
    path.write_text("- It is so [mine: G = contradicted].\n")
    assert check_learned(tmp_path, found) == [
        f"{path}, line 1: [mine: G = contradicted]: the record has the verdict supported"
    ]
    path.write_bytes(b"\xff")
    with pytest.raises(AnalysisError, match="cannot be read as UTF-8"):
        check_learned(tmp_path, found)
