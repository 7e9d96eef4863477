"""The numbers of cells and the counters of the runs in the section on provenance."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analysis.evidence.load import load
from analysis.report.work import work_done

REPORTS = Path(__file__).parents[3] / "reports"


@pytest.mark.long
def test_the_counters_of_the_committed_study_are_not_taken_for_all_of_its_cells():
    found = dict(work_done(load(REPORTS / "digits")))
    assert found["cells planned"] == "46,840"
    assert found["cells evaluated"] == "31,740"
    assert found["cells skipped"] == "15,100"
    assert found["cells evaluated by the counted runs"].startswith("7,450; the other 24,290 were evaluated under ")
    assert found["counted runs: evaluations on the test images"] == "7,058"


def test_all_cells_of_one_run_need_no_explanation(study):
    data = study(models=("cnn",), seeds=2)
    done = int(data.rows["state"].eq("done").sum())
    counted = dataclasses.replace(data, meta={**data.meta, "counters": {"cells": done, "unknown": 3, "seconds": 1.5}})
    found = work_done(counted)
    assert found[-3:] == [
        ("cells evaluated by the counted runs", f"{done:,}"),
        ("counted runs: time (s)", "1.5"),
        ("counted runs: unknown", "3"),
    ]


def test_every_state_is_counted(study):
    data = study(models=("cnn",), seeds=2)
    rows = data.rows.copy()
    rows.loc[rows.index[:4], "state"] = ["failed", "skipped", "running", None]
    found = dict(work_done(dataclasses.replace(data, rows=rows, meta={**data.meta, "counters": {}})))
    names = ("cells failed", "cells skipped", "cells to do")
    assert [found.pop(name) for name in names] == ["1", "1", "2"]
    assert found == {"cells planned": f"{len(rows):,}", "cells evaluated": f"{len(rows) - 4:,}"}
