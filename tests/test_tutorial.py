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
    said = {}
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
            said[words[0]] = result.out
    assert list(said) == ["plan", "power", "run", "claims", "report"]
    assert "n = 6:" in said["power"]
    assert "n = 10:" in said["power"]
    assert re.match(r"D1  (supported|refuted|inconclusive)", said["claims"])
    assert "registered before data: yes" in said["claims"]
    records = json.loads((tmp_path / "depthwise" / "report" / "records.json").read_text())
    (claim,) = records
    assert [part["id"] for part in claim["parts"]] == ["high", "low", "curve"]
    assert all(record["n"] == 6 for part in claim["parts"] for record in part["records"])
