"""All claims over some studies: what is shared, what lacks, and the checklist over all of them."""

from __future__ import annotations

import pytest

from analysis.across_studies.overview import overview_of


def test_shared_checkpoints_and_shared_images_are_named(study_of):
    a, b = study_of("a", [1, 2, 3], prefix="one"), study_of("b", [2, 3, 5], prefix="one")
    c, d = study_of("c", [1, 4, 5], images="same"), study_of("d", [2, 2, 3], images="same")
    found = overview_of([a, b, c, d])
    assert found.shared == (
        "a and b share checkpoints: they count as one study",
        "c and d share the test images of digits",
    )
    [part] = found.parts
    assert part.notes == (
        "c and d share the test images of digits: the interval does not include the choice of images",
    )


def test_images_of_the_same_checkpoints_are_no_further_flag(study_of):
    a, b = (study_of(name, [1, 2, 3], prefix="one", images="same") for name in "ab")
    assert overview_of([a, b]).shared == ("a and b share checkpoints: they count as one study",)


def test_studies_without_data_for_a_part_are_named_with_the_reason(study_of):
    a = study_of("a", [1, 2, 3], {}, {"id": "over-l2", "against": "random"}, more={"random": 0.5})
    b = study_of("b", [1, 2, 3], {}, {"id": "over-l2", "against": "random"})
    c = study_of("c", [1, 2, 3])
    found = {part.part: part for part in overview_of([a, b, c]).parts}
    assert list(found) == ["gain", "over-l2"]
    assert found["gain"].without == {}
    assert found["over-l2"].without == {
        "b": "the study has no cell with scorer random",
        "c": "its claims file does not have this part",
    }


def test_the_checklist_is_of_all_studies_together(study_of):
    a = study_of("a", {("cnn", 0.5): [1, 2]}, more={"random": 0.0})
    b = study_of("b", {("vit", 0.5): [1, 2], ("mlp", 0.5): [1, 2]})
    alone, together = overview_of([a]), overview_of([a, b])
    pairs = "At least 3 pairs of data set and architecture"
    assert pairs in alone.not_met
    assert pairs not in together.not_met
    assert "At least 5 operating points per pair" in together.not_met
    single = overview_of([a, b, study_of("c", {("kan", 0.5): [1]})])
    assert set(single.not_met) - set(together.not_met) == {"Error bars over independently trained models"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_mean_does_not_depend_on_the_order_of_the_studies(study_of, order):
    studies = [study_of("a", [1, 2, 3]), study_of("b", [4, 6, 8])]
    [part] = overview_of([studies[place] for place in order]).parts
    assert part.combined[0].pooled.mean == pytest.approx(4)
