"""docs/TUTORIAL.md, block by block as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "TUTORIAL.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks() -> list[tuple[str, str, str]]:
    return BLOCK.findall(TUTORIAL.read_text())


def test_the_tutorial_ends_with_a_registered_verdict(blocks, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = {}
    for language, name, text in blocks:
        if name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
            continue
        assert language == "sh"
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == "prunebench"
            result = command(*words)
            assert result.code == 0, f"{line}: {result.err}"
            printed[words[0]] = result.out
    assert list(printed) == ["plan", "power", "register", "run", "claims", "report", "verify"]
    assert "6 models" in printed["power"]
    assert "10 models" in printed["power"]
    assert re.search(r"D1 +high .* 5 points +90 %", printed["power"])
    assert re.search(r"D1 +low .* 26 *$", printed["power"], re.MULTILINE)
    assert re.search(r"^D1  (supported|contradicted|inconclusive)", printed["claims"], re.MULTILINE)
    assert "Registration: self-attested" in printed["claims"]
    assert "level: self-attested\n" in printed["verify"]
    records = json.loads((tmp_path / "depthwise" / "report" / "records.json").read_text())
    (claim,) = records
    assert [(part["id"], part["role"]) for part in claim["parts"]] == [
        ("high", "primary"), ("low", "primary"), ("curve", "scan"),
    ]  # fmt: skip
    assert all(record["n"] == 6 for part in claim["parts"] for record in part["records"])
