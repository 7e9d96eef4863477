"""Tests of `bench.run.group`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.types import Check
from bench.plugins.catalogue import make_registry
from bench.run.group import (
    AlignmentTables,
    CellFinished,
    DenseModelReady,
    GroupEnded,
    GroupFailed,
    GroupTask,
    Stage,
    Workbench,
    compute_group,
)
from bench.run.open_study import open_study
from bench.store.files import Artifacts


def task_of(folder: Path) -> GroupTask:
    """The first group of a study, with all of its cells to compute."""
    opened = open_study(folder)
    group = opened.plan.groups[0]
    return GroupTask(
        title="group 1/2", group=group, groups=2, data=opened.study.file.data[0], model=opened.study.file.models[0],
        settings=opened.settings, folder=folder, artifacts=Artifacts.of(folder), cache=None, cell_timeout=None,
        todo=frozenset(cell.id for cell in group.cells), done=(), completes=True, checked=frozenset(),
    )  # fmt: skip


@pytest.fixture
def task(tmp_path, write_small) -> GroupTask:
    return task_of(write_small(tmp_path / "small"))


def workbench(task: GroupTask) -> Workbench:
    return Workbench(make_registry(task.folder))


def test_the_events_of_a_group_are_in_order(task):
    events = list(compute_group(task, workbench(task)))
    kinds = [type(event) for event in events if not isinstance(event, Check)]
    assert kinds == [
        Stage, DenseModelReady, *[CellFinished] * len(task.todo), Stage, AlignmentTables, GroupEnded,
    ]  # fmt: skip
    assert {event.outcome.cell.id for event in events if isinstance(event, CellFinished)} == task.todo


def test_a_group_that_is_not_complete_gets_no_checks(task):
    events = list(
        compute_group(replace(task, todo=frozenset([task.group.cells[0].id]), completes=False), workbench(task))
    )
    assert [type(event) for event in events] == [Stage, DenseModelReady, CellFinished, GroupEnded]


#: A network that trains on the two images of the check of a user's network, and no more.
UNTRAINABLE = """\
from bench.models.digits import DigitsCNN

class Untrainable(DigitsCNN):
    def forward(self, x):
        if self.training and len(x) > 2:
            raise RuntimeError("no\\ngradient")
        return super().forward(x)

def untrainable(num_classes, in_chans):
    return Untrainable(num_classes, in_chans)
"""


def test_a_dense_model_that_cannot_be_trained_fails_the_group(tmp_path, write_small):
    folder = write_small(tmp_path / "small")
    (folder / "net.py").write_text(UNTRAINABLE)
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("name: digits_cnn", "name: './net.py:untrainable'"))
    task = task_of(folder)
    stage, failed, ended = compute_group(task, workbench(task))
    assert isinstance(stage, Stage)
    assert isinstance(failed, GroupFailed)
    assert failed.reason == "dense model: RuntimeError: no gradient"
    assert "in forward" in failed.traceback
    assert isinstance(ended, GroupEnded)


def test_an_edited_plugin_is_refused(task):
    plugin = task.folder / "mine.py"
    plugin.write_text(plugin.read_text().replace("* 2", "* 3"))
    with pytest.raises(UserError, match=r"scorer './mine.py:deadly': has another version than when the run began"):
        list(compute_group(task, workbench(task)))


def test_another_recipe_than_planned_is_refused(task):
    other = replace(task, model=task.model.model_copy(update={"recipe": {"epochs": 2}}))
    with pytest.raises(UserError, match="the model's code or its checkpoint is not what it was when the run began"):
        list(compute_group(other, workbench(task)))


def test_rows_of_another_dense_model_are_not_continued(task):
    other = replace(task, done=({"cell": task.group.cells[0].id, "checkpoint": "0123456789abcdef"},))
    with pytest.raises(UserError, match="the rows already there were computed with 0123456789ab: restore that"):
        list(compute_group(other, workbench(task)))


def test_the_latest_data_set_is_loaded_once(task):
    one = workbench(task)
    first = one.dataset(task.data, task.folder)
    assert one.dataset(task.data, task.folder) is first


def test_training_is_shown_at_its_first_and_last_epoch(task):
    lines: list[str] = []
    recipe = task.model.model_copy(update={"recipe": {"epochs": 3}})
    shown = Workbench(make_registry(task.folder), lines.append)
    shown.dense(replace(task, model=recipe), shown.dataset(task.data, task.folder))
    assert [line.partition(", loss")[0] for line in lines] == [
        f"training digits_cnn, seed 0: epoch {epoch}/3" for epoch in (1, 3)
    ]
