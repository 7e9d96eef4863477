"""Compare the numbers of a committed report with those that the present code renders from the same data.

``python tests/slow/compare_reports.py STUDY ...`` (for instance ``reports/digits``) renders each study again in a
temporary folder and compares the data byte for byte, the records of the claims, and every number of report.md in order.
The words of a claim may change, and with them its hash, which is left out. It exits with code 1 if anything else
differs.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from difflib import unified_diff
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from analysis.report.render import render_report

NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")
#: Fields of a record that are sentences: only their numbers are compared.
WORDS = ("source", "reason", "notes")


def _records(report: Path) -> Any:
    def numbers_of_words(found: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in found.items() if key != "claims_hash"}
        return {key: NUMBER.findall(str(value)) if key in WORDS else value for key, value in kept.items()}

    return json.loads((report / "records.json").read_text(), object_hook=numbers_of_words)


def _numbers(report: Path) -> list[str]:
    lines = [
        line for line in (report / "report.md").read_text().splitlines() if "The claims file's hash is" not in line
    ]
    return [" ".join(NUMBER.findall(line)) for line in lines]


def main(study: Path) -> list[str]:
    kept = study / "report"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report").mkdir()
        shutil.copy(study / "claims.yaml", folder)
        for table in kept.glob("*.parquet"):
            shutil.copy(table, folder / "report")
        render_report(folder)
        made = folder / "report"
        differences = []
        if (kept / "data.parquet").read_bytes() != (made / "data.parquet").read_bytes():
            differences.append("data.parquet differs")
        if _records(kept) != _records(made):
            differences.append("records.json differs")
        names = ("report.md, committed", "report.md, rendered")
        differences += unified_diff(_numbers(kept), _numbers(made), *names, n=0, lineterm="")
    return differences


if __name__ == "__main__":
    failed = False
    for argument in sys.argv[1:]:
        found = main(Path(argument))
        print(argument, *(found or ["the same numbers"]), sep="\n")
        failed = failed or bool(found)
    sys.exit(failed)
