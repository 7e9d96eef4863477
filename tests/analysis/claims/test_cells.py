"""Cells of parts: arms in words, the cells that they use, and what a study lacks."""

import pytest

from analysis.claims.cells import arms_in_words, lacking, part_cells
from analysis.evidence.evidence import Evidence

from .conftest import CONTRAST, grid

FOUR = grid(["cnn", "vit"], [0.5, 0.8], [[1.0, 1.4, 0.7, 1.2], [2.0, 1.0, 0.5, 0.1], [0.5, 0.1, 2.0, 1.4], [1.0] * 4])


@pytest.fixture
def planned(paired):
    return paired(FOUR)


def test_arms_are_named_and_their_cells_counted(planned, part):
    terms = [{"of": {"scorer": "taylor", "search": "none"}}, {"weight": -0.5, "of": {"scorer": "magnitude"}}]
    both = part(estimand="combination", kind="superiority", terms=terms, sparsities=[0.5])
    assert arms_in_words(both) == "(taylor + none) minus 0.5 x magnitude"
    assert len(part_cells(both, planned)) == 16
    identity = part(estimand="mask_identity", scorers=["taylor"], where={"model": "cnn"})
    assert arms_in_words(identity) == "taylor = magnitude"
    assert len(part_cells(identity, planned)) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": ["wandas"]}, "the study has no cell with scorer wandas"),
        ({"against": "fisher"}, "the study has no cell with scorer fisher"),
        ({"of": ["l2"], "where": {"granularity": "weight"}},
         "the study has no cell with scorer l2 that meets the other conditions of this part"),
        ({"where": {"correction": ["repair", "reconstruct"]}}, "no cell with correction repair or reconstruct"),
        ({"distinct": {"sparsity": 3}}, "the study has 2 of the 3 values of sparsity that this part needs"),
    ],
)  # fmt: skip
def test_what_a_study_lacks_is_named(study, part, judge, changes, message):
    data = Evidence.of(study(seeds=2))
    keys = CONTRAST | changes
    assert message in lacking(part(**keys), data)
    result = judge(data, keys)
    assert result.verdict == "not testable"
    assert message in result.notes[0]
