"""What stands in a report, section by section, in the order in which it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import frames, narrate, tables
from analysis.checklist import checklist
from analysis.comparisons import escapes, repair_gains
from analysis.formats import NONE
from analysis.records import ClaimResult
from analysis.report import plots
from analysis.report.plots import Plot
from analysis.report.words import GLOSSARY, METHODS
from bench.store.reader import StudyData


@dataclass(frozen=True)
class Table:
    """A table of text; `folded` ones are opened by a click and left out of report.md."""

    name: str
    title: str
    frame: pd.DataFrame
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A section: sentences, then figures, then tables. `exploratory`: nothing in it was registered."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    exploratory: bool = False


def sections(data: StudyData, results: Sequence[ClaimResult]) -> tuple[Section, ...]:
    """Make all sections of the report.

    Parameters
    ----------
    data : StudyData
        The evidence.
    results : sequence of ClaimResult
        The decided claims.
    """
    rows = data.rows
    compared, gains = escapes(rows), repair_gains(rows)
    settings = tables.settings_table(rows)
    return (
        _verdicts(data, results),
        Section(
            "accuracy", "Accuracy against sparsity",
            ("Every mean is over independently trained models; draws of one model are averaged first.",),
            tuple(plots.accuracy(rows)),
            (Table("settings", "Every setting, repaired or not", settings, True),),
            exploratory=True,
        ),
        Section(
            "escape", "Escape over the plateau",
            (
                "The plateau is magnitude's accuracy. Escape is a scorer's accuracy minus magnitude's, on "
                "the same dense model, calibration draw and setting.",
                narrate.escape(compared),
            ),
            tuple(plots.escape(compared)),
            (Table("escape", "Paired tests against magnitude", tables.comparison_table(compared), True),),
            exploratory=True,
        ),
        Section(
            "repairs", "Repairs compared", (narrate.repairs(gains),), tuple(plots.repairs(rows)),
            (Table("repairs", "Paired tests of each correction against none under the same recalibration",
                   tables.comparison_table(gains), True),) if len(gains) else (),
            exploratory=True,
        ),
        Section(
            "overlap", "Overlap with the magnitude mask", (), tuple(plots.overlap(rows)),
            (Table("overlap", "Mask overlap", tables.overlap_table(rows), True),), exploratory=True,
        ),
        Section("dense", "Dense models", (), (), (Table("dense", "Dense models", tables.dense_table(data)),)),
        _checks(data),
        _fates(rows),
        Section(
            "checklist", "Checklist of Blalock et al. (2020)",
            ("What \"What is the state of neural network pruning?\" asks of a comparison.",), (),
            (Table("checklist", "Checklist", checklist(data)),),
        ),
        Section(
            "methods", "Methods and words", METHODS, (),
            (Table("words", "Words", pd.DataFrame(GLOSSARY, columns=["Word", "Meaning here"])),),
        ),
        _provenance(data),
    )  # fmt: skip


def _verdicts(data: StudyData, results: Sequence[ClaimResult]) -> Section:
    text = [narrate.verdicts(results), narrate.registration(results, data.meta.get("registered"))]
    found = [Table("verdicts", "Verdicts", tables.verdict_table(results))]
    for name, title, frame in (
        ("identities", "Decision records: identities", tables.identity_table(results)),
        ("contrasts", "Decision records: statistical parts", tables.contrast_table(results)),
    ):
        if not frame.empty:
            found.append(Table(name, title, frame, folded=True))
    text.append(narrate.progress(data.rows))
    return Section("verdicts", "Verdicts", tuple(t for t in text if t), (), tuple(found) if results else ())


def _checks(data: StudyData) -> Section:
    frame = tables.checks_table(data)
    if frame.empty:
        return Section("checks", "Checks", ("No cell was evaluated a second time.",))
    text = (
        "A seeded sample of the cells that share one evaluation was evaluated again; where the study was "
        "evaluated in bfloat16, a sample was evaluated again in float32."
    )
    return Section("checks", "Checks", (text,), (), (Table("checks", "Checks", frame),))


def _fates(rows: pd.DataFrame) -> Section:
    frame = tables.fates_table(rows)
    progress = narrate.progress(rows)
    if frame.empty:
        return Section("fates", "Failures and skips", (progress,))
    more = "Failed and skipped cells stay in the denominators; `prunebench show STUDY CELL` tells more of one."
    return Section("fates", "Failures and skips", (progress, more), (), (Table("fates", "Not evaluated", frame),))


def _provenance(data: StudyData) -> Section:
    meta = data.meta
    names = ("name", "description", "profile", "study_hash", "claims_hash", "registered")
    found = _flat({name: meta.get(name) for name in names})
    for part in ("settings", "counters", "provenance"):
        found += _flat(meta.get(part) or {}, part)
    devices = frames.ordered(frames.done(data.rows)["device_class"])
    found.append(("device classes of the rows", ", ".join(devices) or NONE))
    for dataset, own in data.dense.groupby("dataset", sort=False):
        found.append((f"data hash, {dataset}", ", ".join(frames.ordered(own["dataset_hash"]))))
    study = _flat(meta.get("study") or {})
    columns = ["What", "Value"]
    return Section(
        "provenance", "Provenance", (), (),
        (
            Table("provenance", "Versions, hardware, settings, counters",
                  pd.DataFrame(found, columns=columns)),
            Table("study", "The study as resolved", pd.DataFrame(study, columns=columns), folded=True),
        ),
    )  # fmt: skip


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Lay out nested values as (path, text)."""
    return list(_walk(values, prefix))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _walk(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, str):
        yield path, value
    elif isinstance(value, (list, tuple)) and not any(isinstance(item, (Mapping, list, tuple)) for item in value):
        yield path, ", ".join(map(str, value)) or NONE
    else:
        yield path, NONE if value is None else json.dumps(value, sort_keys=True)
