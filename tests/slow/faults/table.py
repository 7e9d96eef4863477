"""Write the table of docs/FAULTS.md from the results of a run of the slow tests.

``pytest -m slow -o junit_family=xunit1 --junit-xml=slow.xml; python tests/slow/faults/table.py slow.xml FAULTS.md``

A test of a fault says what it found by `record_property`: "fault", "times" and "outcome".
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

BEGIN, END = "<!-- written by tests/slow/faults/table.py -->\n", "<!-- end -->\n"
#: Tests of faults that stand beside their engine or store: fault and what the test asserts.
BESIDE = {
    "test_a_run_goes_on_through_restarts_of_the_server": ("PostgreSQL restarted in mid-run", "waited; rows equal"),
    "test_a_server_that_stays_away_is_one_line": ("PostgreSQL away for good", "one line, exit code 2"),
    "test_a_killed_run_is_resumed": ("SIGKILL, PostgreSQL", "resumed, rows equal"),
    "test_a_killed_worker_is_replaced": ("a Ray worker killed", "replaced, rows equal"),
    "test_a_node_that_is_removed_leaves_its_group_to_the_other": ("a Ray node removed", "rows equal"),
    "test_a_driver_that_is_stopped_and_started_again_goes_on": ("the driver of a Ray run stopped", "rows equal"),
    "test_ctrl_c_keeps_what_is_finished_and_stops_the_workers": ("SIGINT with worker processes", "no process left"),
    "test_workers_end_with_their_driver": ("SIGKILL of the driver of worker processes", "no process left"),
}


def main(results: Path, page: Path) -> None:
    rows = [row for case in ElementTree.parse(results).iter("testcase") if (row := row_of(case)) is not None]
    lines = ["| fault | times | outcome | test |", "|---|---:|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN + lines[0], *lines[1:], END + after]), encoding="utf-8")


def row_of(case: ElementTree.Element) -> list[str] | None:
    """Return a test's line of the table, or None where it is not about a fault."""
    name, module = case.get("name", ""), case.get("classname", "").split(".")
    noted = {one.get("name"): one.get("value", "") for one in case.iter("property")}
    fault, outcome = BESIDE.get(name.partition("[")[0], (noted.get("fault"), noted.get("outcome", "")))
    if fault is None and "faults" not in module:
        return None
    times = noted.get("times", "1")
    for kind in ("skipped", "failure", "error"):
        if (found := case.find(kind)) is not None:
            times, outcome = "0", f"**{kind}**: {found.get('message', '').splitlines()[0]}"
    return [fault or name.replace("_", " "), times, outcome, f"`{'/'.join(module[1:])}.py::{name}`"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
