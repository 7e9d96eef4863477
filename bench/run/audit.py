"""Audit of finished rows: compare all with the plan, and compute a few again.

evidence = read_database(folder)
opened = open_as_run(folder, evidence.meta)
problems = check_rows(evidence.rows, opened.plan)
for audited in recompute(opened, evidence.rows, choose_cells(evidence.rows, 5)):
    print(audited.cell, audited.problems)
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from bench.core.errors import UserError
from bench.core.provenance import provenance
from bench.core.types import AXES, NONE, Cell, Group, Outcome, Settings
from bench.models.dense import dense_file
from bench.run.group import (
    CellFinished,
    DenseModelModified,
    DenseModelReady,
    GroupFailed,
    GroupTask,
    Stage,
    Workbench,
    compute_group,
)
from bench.run.open_study import OpenStudy, changes_since, open_study
from bench.run.row_checks import percent
from bench.run.settings import choose_device, device_class
from bench.store.correctness import unpack
from bench.store.files import Artifacts
from bench.store.reader import StudyData
from bench.store.schema import SCHEMA_VERSION
from bench.study.plan import axis_values

#: Cells that are computed again unless the user names a number: this share of the done rows, and at least so many.
AUDITED_SHARE = 0.01
LEAST_AUDITED = 5
#: Facts of a machine that may change a result.
_MACHINE = {"python": "Python", "system": "system", "processor": "processor", "device": "device"}


@dataclass(frozen=True)
class AuditedCell:
    """A stored row, compared with its recomputation.

    Attributes
    ----------
    cell : str
        Id of the cell.
    title : str
        Its place in the grid, for people.
    accuracy : float
        Stored accuracy, a fraction.
    problems : tuple of str
        What differs, in words; empty if mask, accuracy and correctness bits are equal.
    """

    cell: str
    title: str
    accuracy: float
    problems: tuple[str, ...]


# ---------------------------------------------------------------- choice


def default_count(rows: pd.DataFrame) -> int:
    """Return how many cells are computed again unless the user names a number.

    Examples
    --------
    >>> default_count(pd.DataFrame({"state": ["done"] * 2000})), default_count(pd.DataFrame({"state": ["done"] * 3}))
    (20, 3)
    """
    done = int(rows["state"].eq("done").sum())
    return min(done, max(LEAST_AUDITED, math.ceil(AUDITED_SHARE * done)))


def choose_cells(rows: pd.DataFrame, count: int, salt: str = "") -> list[str]:
    """Choose done rows by the hash of all of them, so that a changed row changes the choice.

    Parameters
    ----------
    rows : DataFrame
        Columns ``cell``, ``state``, ``accuracy`` and ``mask``.
    count : int
        Number of cells; all, if there are fewer.
    salt : str
        A text of the auditor, which the author of the rows cannot know.

    Returns
    -------
    list of str
        Ids of cells.

    Examples
    --------
    >>> rows = pd.DataFrame({"cell": ["a", "b", "c"], "state": "done", "accuracy": [0.5, 0.6, 0.7], "mask": "m"})
    >>> choose_cells(rows, 1) == choose_cells(rows.iloc[::-1], 1), len(choose_cells(rows, 9))
    (True, 3)
    """
    done = rows[rows["state"].eq("done")]
    lines = zip(done["cell"], done["accuracy"], done["mask"], strict=True)
    evidence = hashlib.sha256(salt.encode(errors="surrogateescape"))
    for line in sorted(f"{cell}|{float(accuracy).hex()}|{_text(mask)}" for cell, accuracy, mask in lines):
        evidence.update(f"\n{line}".encode())
    key = evidence.hexdigest()
    return sorted(done["cell"], key=lambda cell: hashlib.sha256(f"{key}{cell}".encode()).hexdigest())[:count]


def _text(mask: Any) -> str:
    return mask if isinstance(mask, str) else ""


# ---------------------------------------------------------------- the study as it was run


def open_as_run(folder: Path, meta: Mapping[str, Any]) -> OpenStudy:
    """Open a study with the profile and the execution settings of its evidence.

    Parameters
    ----------
    folder : Path
        Study folder with its study.yaml; nothing is written there.
    meta : mapping
        `StudyData.meta` of the evidence.

    Raises
    ------
    UserError
        If the study cannot be used here, an earlier version of prunebench wrote the rows in another schema, or the
        stored settings are damaged.
    """
    if meta["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"{folder}: the rows have schema {meta['schema']}, in which a cell has another id than in schema "
            f"{SCHEMA_VERSION} of this version; audit with the one that ran the study: {_commit(meta['provenance'])}"
        )
    try:
        stored = TypeAdapter(Settings).validate_python(meta["settings"])
    except (KeyError, ValidationError) as error:
        raise UserError(
            f"{folder}: the execution settings of the evidence are damaged; restore a copy of it"
        ) from error
    if stored.batch < 1 or stored.threads < 1:
        raise UserError(f"{folder}: the evidence has a batch or number of threads below 1; restore a copy of it")
    return open_study(folder, meta.get("profile"), settings=_available(stored))


def _commit(provenance: Mapping[str, Any]) -> str:
    """Return the source revision of prunebench that computed, in words."""
    revision = provenance.get("git")
    if not isinstance(revision, Mapping):
        return f"version {dict(provenance.get('packages', {})).get('prunebench', 'unknown')}"
    changed = " with uncommitted changes" if revision.get("uncommitted_changes") else ""
    return f"commit {str(revision.get('commit'))[:12]}{changed}"


def _available(stored: Settings) -> Settings:
    """Return the stored settings on this machine's device of the same kind, or on the CPU where it has none."""
    try:
        device = choose_device(stored.device)
    except UserError:
        device = "cpu"
    passes = "single" if device == "cpu" and stored.passes == "graph" else stored.passes
    return replace(stored, device=device, device_class=device_class(device), passes=passes)


def differences(opened: OpenStudy, evidence: StudyData) -> list[str]:
    """Return what differs from the run and may change results, one line each: study, methods, device, libraries.

    Parameters
    ----------
    opened : OpenStudy
        From `open_as_run`.
    evidence : StudyData
        Of the study.
    """
    meta = evidence.meta
    dense = [{str(name): value for name, value in row.items()} for row in evidence.dense.to_dict("records")]
    lines = list(dict.fromkeys(changes_since([meta["study"]], dense, opened)))
    if meta.get("study_hash") != opened.study.digest():
        lines.append("study.yaml is not the one that was run")
    then, now = meta.get("provenance", {}), provenance(opened.settings.device_class)
    if then.get("later_runs"):
        lines.append("later runs continued it with other versions or hardware than the first, which is compared here")
    for key, name in _MACHINE.items():
        if key in then and then[key] != now[key]:
            lines.append(f"{name}: {then[key]} when it was run, {now[key]} here")
    if _commit(then) != _commit(now):
        lines.append(f"prunebench: {_commit(then)} when it was run, {_commit(now)} here")
    for package, version in sorted(dict(then.get("packages", {})).items()):
        if package in now["packages"] and now["packages"][package] != version:
            lines.append(f"{package}: {version} when it was run, {now['packages'][package]} here")
    return lines


# ---------------------------------------------------------------- some rows, computed again


def recompute(
    opened: OpenStudy,
    rows: pd.DataFrame,
    cells: Sequence[str],
    models: Sequence[Artifacts] = (),
    show: Callable[[str], object] = lambda _line: None,
) -> Iterator[AuditedCell]:
    """Compute cells again, without any result of the run, and compare them with their rows.

    Parameters
    ----------
    opened : OpenStudy
        From `open_as_run`.
    rows : DataFrame
        The columns of `schema.ROWS`.
    cells : sequence of str
        Ids of done cells that are in the plan.
    models : sequence of Artifacts
        Places of dense models that may be used; where none has a model, it is trained in a temporary folder.
    show : callable
        Called with lines for people: which group is computed, and where its dense model comes from.

    Yields
    ------
    AuditedCell
        One per cell, group by group in the order of the plan.
    """
    stored = {row["cell"]: row for row in rows[rows["cell"].isin(cells)].to_dict("records")}
    workbench = Workbench(opened.registry, show)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Artifacts.at(temporary)
        for group in opened.plan.groups:
            todo = frozenset(cells) & {cell.id for cell in group.cells}
            if todo:
                task = _task(opened, group, todo, models, scratch)
                yield from _compare_group(task, workbench, stored, show)


def _task(
    opened: OpenStudy,
    group: Group,
    todo: frozenset[str],
    models: Sequence[Artifacts],
    scratch: Artifacts,
) -> GroupTask:
    """Return the computation of some cells of a group, with its dense model from the first place that has it."""
    file = opened.study.file
    model = next(spec for spec in file.models if spec.title == group.model)
    place, source = scratch, "given checkpoint"
    if model.checkpoint is None and group.train_seed is not None:
        name = dense_file(
            model, opened.facts[group.dataset].hash, group.train_seed, opened.registry, opened.settings.memory_format
        )
        place = next((place for place in models if place.exists(name)), scratch)
        source = "dense model trained again" if place is scratch else f"dense model taken from {place.where(name)}"
    seed = "" if group.train_seed is None else f", seed {group.train_seed}"
    return GroupTask(
        title=f"{group.dataset}, {group.model}{seed}: {source}", group=group, groups=len(opened.plan.groups),
        data=next(spec for spec in file.data if spec.title == group.dataset), model=model, settings=opened.settings,
        folder=opened.study.folder, artifacts=place, cache=None, cell_timeout=None, todo=todo, done=(),
        completes=False, checked=frozenset(),
    )  # fmt: skip


def _compare_group(
    task: GroupTask, workbench: Workbench, stored: Mapping[Any, Mapping[Hashable, Any]], show: Callable[[str], object]
) -> Iterator[AuditedCell]:
    """Compute the cells of a task, and compare them with their rows."""
    for event in compute_group(task, workbench):
        match event:
            case Stage(text):
                show(text)
            case DenseModelReady(values):
                ours, theirs = values["checkpoint"], str(stored[next(iter(task.todo))]["checkpoint"])
                if ours != theirs:
                    show(f"other dense model, so that every row may differ: hash {theirs[:12]}, here {ours[:12]}")
            case CellFinished(outcome, _):
                yield _compare(stored[outcome.cell.id], outcome)
            case GroupFailed(reason, _):
                for cell in task.group.cells:
                    if cell.id in task.todo:
                        yield _compare(stored[cell.id], Outcome(cell, "failed", reason=reason))
            case DenseModelModified(reason):
                raise UserError(f"{task.title}: {reason}")


def _compare(row: Mapping[Hashable, Any], outcome: Outcome) -> AuditedCell:
    """Compare mask hash, accuracy and correctness bits of a row with a recomputed outcome."""
    cell, again, problems = outcome.cell, outcome.values, []
    if outcome.state != "done":
        problems.append(f"recomputed, the cell is {outcome.state}: {outcome.reason}")
    else:
        if _text(row["mask"]) != _text(again["mask"]):
            problems.append("other mask")
        if row["accuracy"] != again["accuracy"]:
            problems.append(f"accuracy {percent(row['accuracy'])}, recomputed {percent(again['accuracy'])}")
        if row["correct"] != again["correct"]:
            problems.append(_unequal_images(row["correct"], again["correct"], again["n_test"]))
    return AuditedCell(cell.id, _title(cell), float(row["accuracy"]), tuple(problems))


def _title(cell: Cell) -> str:
    """Return the draw and the methods of a cell, without those that are not used."""
    values = axis_values(cell)
    names = [axis.name for axis in AXES if axis.stage in ("mask", "evaluation")]
    used = [f"{name} {values[name]}" for name in names if values[name] not in (None, NONE.label)]
    return ", ".join([f"draw {cell.calibration.draw}", *used])


def _unequal_images(stored: Any, again: bytes, images: int) -> str:
    if not isinstance(stored, bytes) or len(stored) != len(again):
        return "no correctness bits of these test images"
    return f"{int((unpack(stored, images) != unpack(again, images)).sum())} of {images} test images differ"
