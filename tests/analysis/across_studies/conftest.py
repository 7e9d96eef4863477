"""Studies in which the differences of taylor and magnitude are given, one number per model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd
import pytest

from analysis.across_studies.studies import Study
from analysis.claims.decide import decide
from analysis.claims.read import read_claims
from analysis.evidence.evidence import Evidence
from bench.core.method import Method
from bench.store import schema
from bench.store.reader import StudyData, derive, empty

#: Architecture and sparsity -> differences in points, one per model.
Differences: TypeAlias = Mapping[tuple[str, float], Sequence[float]]

#: taylor exceeds magnitude, in the mean over sparsities.
MEAN = {
    "id": "gain", "text": "taylor exceeds magnitude", "estimand": "contrast", "kind": "superiority", "of": ["taylor"],
    "against": "magnitude", "gate": "none", "over": "mean",
}  # fmt: skip


def data_of(
    differences: Differences, prefix: str, images: str, version: int,
    more: Mapping[str, float],
) -> StudyData:  # fmt: skip
    """Return a study; `differences` maps architecture and sparsity to points, `more` a scorer to its difference."""
    common = {
        "dataset": "digits", "calibration_draw": 0, "calibration_images": 128, "calibration_batch": 32,
        "precision": "float32", "device_class": "cpu", "n_test": 400, "train_overlap": "no", "notes": "{}",
        "search": "none", "granularity": "channel", "allocation": "uniform", "correction": "none",
        "recalibration": "none", "state": "done",
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for (model, sparsity), values in differences.items():
        for number, value in enumerate(values):
            name = f"{prefix} {model} {number}"
            own = common | {"model": model, "train_seed": number, "checkpoint": name, "group": name}
            if not any(row["group"] == name for row in rows):
                rows.append(own | {"scorer": "dense", "accuracy": 0.9})
            cell = own | {"sparsity": sparsity, "sparsity_achieved": sparsity, "sparsity_parameters": sparsity}
            arms = {"magnitude": 0.0, "taylor": value, **more}
            rows += [
                cell | {"scorer": scorer, "accuracy": 0.6 + points / 100, "mask": f"{name} {sparsity} {scorer}"}
                for scorer, points in arms.items()
            ]
    for position, row in enumerate(rows):
        row |= {"position": position, "cell": f"{prefix} {position}", "evaluation": f"{prefix} evaluation {position}"}
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in schema.ROWS])
    frame = derive(frame.astype({column.name: column.type.pandas for column in schema.ROWS}))
    dense = frame[frame["scorer"].eq("dense")][["group", "dataset", "model", "train_seed", "checkpoint"]]
    dense = dense.assign(dataset_hash=images).reindex(columns=[column.name for column in schema.DENSE])
    methods = (Method("scorer", "taylor", version=version), Method("scorer", "magnitude"))
    meta = {"provenance": {"datasets": {"digits": {"num_classes": 10}}}, "claims_hash": None}
    return StudyData(frame, empty(schema.CHECKS), dense.reset_index(drop=True), meta, recorded=methods)


def changed(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part ``gain`` with other values; None removes a key."""
    return {key: value for key, value in (MEAN | dict(part)).items() if value is not None}


def cache_by_repr(function: Callable[..., Study]) -> Callable[..., Study]:
    """Return equal studies from one computation: each takes a quarter of a second."""
    known: dict[str, Study] = {}

    def cached(*given: Any, **named: Any) -> Study:
        key = repr((given, sorted(named.items())))
        if key not in known:
            known[key] = function(*given, **named)
        return known[key]

    return cached


@pytest.fixture(scope="session")
def study_of(tmp_path_factory):
    """Decide a study with one claim, G: the part ``gain`` with these changes, one part for each mapping."""

    @cache_by_repr
    def _study_of(
        name: str, differences: Differences | Sequence[float], *parts: Mapping[str, Any],
        prefix: str | None = None, images: str | None = None, version: int = 1, more: Mapping[str, float] = {},
        looks: Sequence[int] | None = None,
    ) -> Study:  # fmt: skip
        given = differences if isinstance(differences, Mapping) else {("cnn", 0.5): differences}
        data = data_of(given, prefix or name, images or f"images of {name}", version, more)
        claim = {
            "id": "G",
            "text": "taylor is better",
            "source": "ours",
            "parts": [changed(part) for part in parts or ({},)],
        }
        path = tmp_path_factory.mktemp(name) / "claims.yaml"
        path.write_text(json.dumps({"version": 2, "claims": [claim]} | ({"looks": looks} if looks else {})))
        claims, evidence = read_claims(path), Evidence.of(data)
        return Study(name, evidence, claims, tuple(decide(evidence, claims)), "not registered")

    return _study_of
