"""The work behind the rows of a report: its cells by state, and what the runs of the study counted."""

from __future__ import annotations

from analysis.formats import count
from bench.store.reader import StudyData

#: Counter of the runs -> its title in the report.
TITLES = {
    "evaluations": "evaluations on the test images",
    "shared": "cells that used the evaluation of another cell",
    "checks": "evaluations repeated as a check",
    "forward_passes": "images passed through a network, test and calibration",
    "score_passes": "computations of scores",
    "sorts": "sorts of the units by score",
    "search_evaluations": "evaluations on the search images",
    "dense_statistics": "computations of the statistics of a dense model",
    "seconds": "time (s)",
}


def work_done(data: StudyData) -> list[tuple[str, str]]:
    """Return the numbers of cells by state, and the counters of the runs.

    Parameters
    ----------
    data : StudyData
        The evidence; ``meta["counters"]`` has what all runs under the study's hash have computed.

    Returns
    -------
    list of (str, str)
        Title and value.

    Notes
    -----
    The counters do not include all rows. A cell that was evaluated under an earlier version of study.yaml is not
    evaluated again, and a run that is killed does not write the counters of its last group.
    """
    states = data.rows["state"].fillna("to do").replace("running", "to do").value_counts()
    done = int(states.get("done", 0))
    found = [("cells planned", count(len(data.rows))), ("cells evaluated", count(done))]
    found += [(f"cells {name}", count(states[name])) for name in ("skipped", "failed", "to do") if name in states.index]
    counters = dict(data.meta.get("counters") or {})
    if not counters:
        return found
    counted = int(counters.pop("cells", 0))
    elsewhere = ""
    if counted < done:
        rest = count(done - counted)
        elsewhere = f"; the other {rest} were evaluated under another version of study.yaml or by an interrupted run"
    found.append(("cells evaluated by the counted runs", f"{count(counted)}{elsewhere}"))
    titles = [name for name in TITLES if name in counters] + sorted(counters.keys() - TITLES.keys())
    return found + [(f"counted runs: {TITLES.get(name, name)}", f"{counters[name]:,}") for name in titles]
