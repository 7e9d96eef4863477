"""A referee's own recomputation of the committed studies agrees with the records, to 1e-9."""

from __future__ import annotations

import ast
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.claims.decide import decide, decide_claims
from analysis.claims.read import Claims, read_claims
from analysis.claims.readings import primary_reading
from analysis.evidence.load import load

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "reference" / "recompute.py"
IMPORTS = (ast.Import, ast.ImportFrom)


def recomputed(folder: Path, *claims: str) -> list[dict]:
    """What the script finds, in a process of its own."""
    command = [sys.executable, str(SCRIPT), str(folder), *claims, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def primaries(claims: Claims) -> Claims:
    """The claims with their primary parts under the primary reading alone: the same verdicts, sooner."""
    return Claims(
        tuple(
            claim.model_copy(update={"parts": tuple(primary_reading(part) for part in claim.primary), "readings": {}})
            for claim in claims.claims
        ),
        claims.hash,
    )


def close(ours: float | None, theirs: float | None) -> bool:
    """Whether two numbers agree; None and NaN are both "no number"."""
    if ours is None or theirs is None or math.isnan(theirs):
        return ours is None and (theirs is None or math.isnan(theirs))
    return abs(ours - theirs) <= 1e-9


def numbers(record) -> dict:
    """Of a record, what the referee recomputes."""
    found = {name: getattr(record, name) for name in ("n", "effect", "low", "high", "comparisons", "mismatches")}
    if "mean rho" in record.details:
        found |= {"effect": record.details["mean rho"], "low": record.details["rho, low"],
                  "high": record.details["rho, high"]}  # fmt: skip
    return found | ({} if record.kind == "identity" else {"p": record.p, "against": record.p_contradiction})


def same_setting(record, answer: dict) -> bool:
    """Whether the labels that both name agree."""
    return all(answer["setting"][key] == label for key, label in record.setting.items() if key in answer["setting"])


def compare(results, referee: list[dict]) -> int:
    """Compare every verdict and number; return how many numbers were compared."""
    assert [(one.id, one.verdict) for one in results] == [(one["claim"], one["verdict"]) for one in referee]
    compared = 0
    for result, other in zip(results, referee, strict=True):
        parts = [part for part in result.parts if part.role == "primary"]
        for part, theirs in zip(parts, other["parts"], strict=True):
            place = f"{result.id} {part.id}"
            assert (part.id, part.verdict) == (theirs["part"], theirs["verdict"]), place
            assert close(part.p, theirs["p"]), place
            assert close(part.p_contradiction, theirs["against"]), place
            assert close(part.p_contradiction_adjusted, theirs["adjusted"]), place
            records = [record for record in part.records if not record.by_construction]
            assert len(records) == len(theirs["answers"]), place
            for record in records:
                (answer,) = (one for one in theirs["answers"] if same_setting(record, one))
                assert (record.gate != "not informative") == answer["informative"], (place, record.setting)
                for name, value in numbers(record).items():
                    assert close(value, answer[name]), (place, record.setting, name, value, answer[name])
                    compared += value is not None
    return compared


def decided(folder: Path, claims: set[str]):
    """Decide some claims of a study by their primary parts, and recompute them."""
    everything = primaries(read_claims(folder / "claims.yaml"))
    chosen = tuple(claim for claim in everything.claims if claim.id in claims)
    return decide(load(folder), Claims(chosen, everything.hash)), recomputed(folder, *claims)


def test_records_of_each_estimand_are_what_a_referee_finds():
    claims = {"P2", "P11", "C1", "A2", "A5", "A7", "A8", "E1", "E2", "E3", "M3"}
    assert compare(*decided(ROOT / "reports" / "digits", claims)) > 150


def test_a_study_of_one_architecture_is_decided_by_bootstrap_t_too(tmp_path):
    (tmp_path / "report").mkdir()
    source = ROOT / "reports" / "digits"
    table = pq.read_table(source / "report" / "data.parquet")
    pq.write_table(table.filter(pc.equal(table["model"], "digits_vit")), tmp_path / "report" / "data.parquet")
    shutil.copy(source / "claims.yaml", tmp_path)
    results, referee = decided(tmp_path, {"P4"})
    assert "bootstrap-t" in results[0].parts[0].records[0].test
    assert compare(results, referee) == 12


@pytest.mark.slow
@pytest.mark.parametrize(("study", "least"), [("digits", 300), ("cifar10-resnet-published", 30)])
def test_all_primary_records_of_a_study_are_what_a_referee_finds(study, least):
    folder = ROOT / "reports" / study
    assert compare(decide_claims(load(folder), folder / "claims.yaml"), recomputed(folder)) > least


def test_the_script_prints_a_table():
    folder = ROOT / "reports" / "cifar10-resnet-published"
    command = [sys.executable, str(SCRIPT), str(folder), "C1"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "C1: contradicted" in printed
    assert any("cifar_resnet20" in line and "1 of 15 cells differ" in line for line in printed)


def test_the_referee_imports_nothing_of_prunebench():
    sources = [path.read_text() for path in (SCRIPT, *SCRIPT.parent.glob("referee_*.py"))]
    imports = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, IMPORTS)]
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    others = names - set(sys.stdlib_module_names)
    assert others == {"numpy", "pandas", "pyarrow", "referee_rows", "referee_stats", "ruamel", "scipy"}
