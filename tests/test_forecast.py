"""What plan says of a study before it is run."""

from __future__ import annotations

import json

from bench.forecast import forecast_model, group_work, summarise_plan
from bench.session import open_session
from bench.study import ModelSpec


def test_numbers_are_those_of_the_plan(tiny):
    session = open_session(tiny)
    summary = summarise_plan(session)
    cells = list(session.plan.cells())
    assert summary["cells"] == summary["todo"] == len(cells) == 2 * 98
    assert summary["lines"]["excluded"] == "128: corrections only for magnitude"
    assert summary["lines"]["skipped"] == "16: scorer l2 is defined for granularity channel only"
    assert json.dumps(summary)


def test_a_finished_study_has_nothing_to_do(finished_tiny):
    summary = summarise_plan(open_session(finished_tiny))
    assert summary["todo"] == 0
    assert summary["seconds"] == 0
    assert summary["lines"]["already there"] == "180 done, 16 skipped"


def test_a_larger_model_needs_more(tiny):
    session = open_session(tiny)
    facts, cells = session.facts["digits"], session.plan.groups[0].cells
    small = forecast_model(ModelSpec(name="digits_cnn"), session, facts, cells)
    large = forecast_model(ModelSpec(name="resnet10t"), session, facts, cells)
    assert large.largest[1] > 5 * small.largest[1]
    assert large.images_per_second < small.images_per_second
    assert small.dominant == "features.9"


def test_more_workers_are_forecast_up_to_one_per_group(tiny):
    summary = summarise_plan(open_session(tiny))
    assert summary["lines"]["on more workers"].startswith("2: ")
    assert "4: " not in summary["lines"]["on more workers"]  # two groups
    alone = summarise_plan(open_session(tiny, "one"))
    assert alone["lines"]["on more workers"] == "no shorter: a group is worked on as a whole"


def test_the_work_of_a_group_counted_by_hand(tiny):
    (tiny / "study.yaml").write_text(
        "name: s\ndata: [digits]\nmodels: [{name: digits_cnn, recipe: {epochs: 2}}]\ntrain_seeds: 1\n"
        "granularities: [weight]\nscorers: [magnitude]\nsparsities: [0.5]\n"
        "recalibrations: [none, cumulative]\ncalibration: {images: 32}\n"
    )
    session = open_session(tiny)
    [group] = session.plan.groups
    todo = {cell.id for cell in group.cells}
    facts = session.facts["digits"]
    assert len(todo) == 4  # dense and pruned, each as it is and recalibrated
    images = 4 * facts.test + 2 * 32 + 2 * 3 * facts.fit  # two epochs, a step as dear as three forward passes
    macs = group_work(session, todo)[group.id] / images
    first = next(cell.id for cell in group.cells)
    assert group_work(session, todo - {first})[group.id] == macs * (3 * facts.test + 2 * 32)  # its model is there
    assert group_work(session, set()) == {group.id: 0}
    assert macs == 9 * (64 * 16 + 16 * 16 * 32 + 16 * 32 * 64 + 4 * 64 * 64) + 64 * 10  # positions x weights
