"""Claims on synthetic studies, decided; and files, modules and packages that offer claims."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from analysis.claims.decide import decide
from analysis.claims.include import GROUP
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ClaimResult, Record
from analysis.claims.schema import PARTS
from analysis.evidence.evidence import Evidence
from bench.store import schema
from bench.store.reader import StudyData, derive, empty

#: taylor against magnitude in the studies of `paired`.
CONTRAST = {"estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude", "gate": "none"}


@pytest.fixture
def written(tmp_path):
    """Read claims of one claim with these parts, as a file has them."""

    def _written(*parts: Mapping[str, Any], looks: Sequence[int] | None = None, **claim: Any) -> Claims:
        path = tmp_path / "claims.yaml"
        named = [{"id": f"part {number}", **part} for number, part in enumerate(parts)]
        text = {"version": 2, "claims": [{"id": "M1", "text": "it is so", "source": "ours", "parts": named, **claim}]}
        path.write_text(json.dumps(text | ({"looks": looks} if looks else {})))  # JSON is YAML
        return read_claims(path)

    return _written


@pytest.fixture
def judge(written):
    """Decide one claim with these parts."""

    def _judge(
        data: StudyData, *parts: Mapping[str, Any], looks: Sequence[int] | None = None, informative: Any = None,
        **claim: Any,
    ) -> ClaimResult:  # fmt: skip
        (result,) = decide(Evidence.of(data), written(*parts, looks=looks, **claim), informative)
        return result

    return _judge


@pytest.fixture
def part():
    """Return one part, validated."""

    def _part(**keys: Any) -> Any:
        return PARTS[keys["estimand"]].model_validate(keys)

    return _part


@pytest.fixture
def paired():
    """A study in which the differences of taylor and magnitude are given, in points, per architecture and sparsity.

    A text instead of a number is the state of taylor's cell. Magnitude's accuracy is `level`, the dense models' is
    90 %, of ten equal classes. The masks of the settings in `same_masks` are equal.
    """

    def _paired(
        settings: Mapping[tuple[str, float], Sequence[float | str]], *, level: float = 60.0, n_test: int = 400,
        same_masks: Sequence[tuple[str, float]] = (), facts: Mapping[str, Any] = {"num_classes": 10, "chance": 0.1},
        more: Sequence[Mapping[str, Any]] = (), **columns: Any,
    ) -> Evidence:  # fmt: skip
        common = {
            "dataset": "digits", "calibration_draw": 0, "calibration_images": 128, "calibration_batch": 32,
            "precision": "float32", "device_class": "cpu", "n_test": n_test, "train_overlap": "no", "notes": "{}",
            "search": "none", "granularity": "channel", "allocation": "uniform", "correction": "none",
            "recalibration": "none", "state": "done",
        }  # fmt: skip
        rows: list[dict[str, Any]] = []
        models = {(model, number) for (model, _), values in settings.items() for number in range(len(values))}
        for model, number in sorted(models):
            own = {
                "model": model,
                "train_seed": number,
                "checkpoint": f"{model} {number}",
                "group": f"{model} {number}",
            }
            rows.append(common | own | {"scorer": "dense", "accuracy": 0.9})
            for (architecture, sparsity), values in settings.items():
                if architecture != model or number >= len(values):
                    continue
                cell = common | own | {"sparsity": sparsity, "sparsity_achieved": sparsity, **columns}
                reference = level / 100 + 0.001 * (number % 7)
                place = f"{model} {number} {sparsity}"
                rows.append(cell | {"scorer": "magnitude", "accuracy": reference, "mask": place})
                mask = place if (architecture, sparsity) in same_masks else f"{place} taylor"
                value = values[number]
                state = {"accuracy": None, "state": None if value == "to do" else value}
                number_of = state if isinstance(value, str) else {"accuracy": reference + value / 100}
                rows.append(cell | {"scorer": "taylor", "mask": mask} | number_of)
                rows += [cell | {"accuracy": reference, "mask": f"{place} {len(rows)}"} | one for one in more]
        for position, row in enumerate(rows):
            row |= {"position": position, "cell": f"cell {position}", "evaluation": f"evaluation {position}"}
        frame = pd.DataFrame(rows).reindex(columns=[column.name for column in schema.ROWS])
        frame = derive(frame.astype({column.name: column.type.pandas for column in schema.ROWS}))
        meta = {"provenance": {"datasets": {"digits": dict(facts)}}, "claims_hash": None}
        return Evidence.of(StudyData(frame, empty(schema.CHECKS), empty(schema.DENSE), meta))

    return _paired


def grid(models: Sequence[str], sparsities: Sequence[float], values: Sequence[Any]) -> dict[tuple[str, float], Any]:
    """Settings of `paired` in order: sparsities within architectures."""
    return dict(zip(itertools.product(models, sparsities), values, strict=True))


@pytest.fixture
def changed():
    """Rows of a study with new values where a condition holds."""

    def _changed(data: StudyData, where: Any, **values: Any) -> StudyData:
        rows = data.rows.copy()
        for column, value in values.items():
            rows.loc[where, column] = value
        return Evidence.of(dataclasses.replace(data, rows=rows))

    return _changed


def records(result: ClaimResult) -> list[Record]:
    return [record for part in result.parts for record in part.records]


MORE = """\
version: 2
claims:
  - id: M2
    text: the masks agree
    source: ours
    parts:
      - {id: a, text: the masks agree, estimand: mask_identity, scorers: [rank]}
"""
MODULE = """\
from pathlib import Path

def claims():
    return Path(__file__).with_name("more.yaml")

def as_text():
    return str(claims())

def number():
    return 3

def raises():
    raise ZeroDivisionError("on purpose")

def absent():
    return Path("/nowhere/claims.yaml")
"""


@pytest.fixture
def own_claims(tmp_path, monkeypatch):
    """A YAML file and a module next to claims.yaml; the module's name is the test's own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "more.yaml").write_text(MORE)
    name = f"claims_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0")
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def offered(tmp_path, monkeypatch, own_claims):
    """Entry points of an installed package."""
    package = tmp_path / "installed" / "theirs-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    points = {"theirs": f"{own_claims}:claims", "sics": f"{own_claims}:claims", "broken": "no_such_module_here:claims"}
    lines = [f"[{GROUP}]", *(f"{name} = {function}" for name, function in points.items())]
    (package / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(package.parent)
    return own_claims
