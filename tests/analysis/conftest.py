"""Synthetic studies with a known truth, in the columns of the schema."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.store import schema
from bench.store.reader import StudyData, derive

DTYPES = {"text": "object", "integer": "Int64", "real": "float64", "boolean": "boolean", "bytes": "object"}
MONOTONE = ("magnitude", "log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank")
#: True mean accuracy above magnitude, in fractions.
REPAIR = {"none": 0.0, "layerwise": 0.01, "channelwise": -0.02, "asr": 0.03}
EFFECT = {"random": -0.3, "gradient": -0.1, "taylor": 0.05, "wanda": 0.02, "l2": 0.004}


def digest(*parts: Any) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def typed(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    return frame.reindex(columns=[c.name for c in columns]).astype({c.name: DTYPES[c.kind] for c in columns})


def synthetic(
    *,
    dataset: str = "digits",
    models: tuple[str, ...] = ("cnn", "vit"),
    seeds: int = 10,
    draws: int = 1,
    scorers: tuple[str, ...] = (*MONOTONE, *EFFECT),
    sparsities: tuple[float, ...] = (0.5, 0.8),
    granularities: tuple[str, ...] = ("weight", "channel"),
    allocations: tuple[str, ...] = ("uniform", "global"),
    recalibrations: tuple[str, ...] = ("none", "cumulative"),
    repairs: bool = True,
    precision: str = "float32",
    n_test: int = 400,
    noise: float = 0.01,
) -> StudyData:
    """A study whose scorers have the mean effects of EFFECT; model 'vit' has no BatchNorm."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for model, seed in itertools.product(models, range(seeds)):
        base = {
            "dataset": dataset, "model": model, "train_seed": seed, "group": digest("g", model, seed),
            "checkpoint": digest("c", model, seed), "precision": precision, "n_test": n_test, "state": "done",
            "device_class": "cpu", "search": "none", "calibration_images": 128, "calibration_batch": 32,
            "batch": 400, "batch_halved": 0, "train_overlap": "no", "seconds": 0.1, "seeds": "{}",
            "notes": "{}",
        }  # fmt: skip
        level = 0.95 + rng.normal(0, noise)
        for recalibration in recalibrations:
            rows.append(base | {"calibration_draw": 0, "scorer": "dense", "correction": "none",
                                "recalibration": recalibration, "accuracy": level, "loss": 0.2})  # fmt: skip
        grid = itertools.product(granularities, allocations, sparsities, range(draws))
        for granularity, allocation, sparsity, draw in grid:
            plateau = level - 0.4 * sparsity**2 + rng.normal(0, noise)
            for scorer in scorers:
                if scorer == "l2" and granularity == "weight":
                    continue
                same = scorer in MONOTONE and not (scorer == "rank" and allocation == "global")
                shift = 0.0 if same else EFFECT.get(scorer, 0.0) + rng.normal(0, noise / 2)
                mask_of = "magnitude" if same else scorer
                mask = digest("m", model, seed, draw, granularity, allocation, sparsity, mask_of)
                corrections = ("none",)
                if repairs and scorer == "magnitude" and allocation == "global":
                    corrections = ("none", "layerwise", "channelwise", "asr")
                for correction, recalibration in itertools.product(corrections, recalibrations):
                    accuracy = plateau + shift
                    if recalibration == "none":
                        accuracy += REPAIR[correction]
                    cell = base | {
                        "calibration_draw": draw, "scorer": scorer, "granularity": granularity,
                        "allocation": allocation, "sparsity": sparsity, "correction": correction,
                        "recalibration": recalibration, "mask": mask, "accuracy": accuracy,
                        "loss": 1 - accuracy,
                        "sparsity_achieved": sparsity, "sparsity_parameters": sparsity * 0.9,
                        "speedup": 1 / (1 - sparsity), "emptied_layers": 0, "exact_removal": True,
                        "tied_units": 0, "magnitude_overlap": 1.0 if same else 0.4,
                        "correct": bytes(n_test // 8),
                        "evaluation": digest("e", mask, correction, recalibration),
                        "identity_covered": None if correction == "none" else True,
                        "identity_ratio": None if correction == "none" else 1.001,
                    }  # fmt: skip
                    if model == "vit" and recalibration != "none":
                        kept = ("calibration_draw", "scorer", "granularity", "allocation", "sparsity",
                                "correction", "recalibration")  # fmt: skip
                        cell = base | {k: cell[k] for k in kept} | {
                            "state": "skipped", "reason": "the model has no BatchNorm", "checkpoint": None,
                            "device_class": None, "n_test": None,
                        }  # fmt: skip
                    rows.append(cell)
    for position, row in enumerate(rows):
        row["position"] = position
        row["cell"] = digest("cell", position)
    frame = derive(typed(pd.DataFrame(rows), schema.ROWS))
    shared = frame[frame["shared_with"].notna()].iloc[::50]
    checks = shared[["cell", "accuracy"]].assign(kind="shared", mismatches=0)
    return StudyData(frame, typed(checks, schema.CHECKS).reset_index(drop=True), dense(frame), meta())


def dense(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows[rows["scorer"].eq("dense")].drop_duplicates("group")
    frame = groups[["group", "dataset", "model", "train_seed", "checkpoint", "train_overlap"]].assign(
        dataset_hash=digest("data"), recipe='{"optimizer": "adamw"}', history="[2.3, 0.4]", parameters=50_000,
        prunable=48_000, uncovered_layers=json.dumps(["fc"]), seconds=3.0,
    )  # fmt: skip
    return typed(frame, schema.DENSE).reset_index(drop=True)


def meta(**changes: Any) -> dict[str, Any]:
    return {
        "name": "synthetic", "description": "a study with a known truth", "profile": None,
        "study_hash": digest("s"),
        "claims_hash": None, "registered": "2026-01-01T00:00:00+00:00",
        "study": {"name": "synthetic", "calibration": {"draws": 1}},
        "settings": {"precision": "float32", "device": "cpu", "threads": 1, "batch": 400,
        "memory_format": "contiguous"},
        "provenance": {"versions": {"torch": "2.x", "python": "3.11"}, "hardware": {"cpu": "x86"},
        "git": "abc"},
        "counters": {"cells": 10, "unique_masks": 5, "evaluations": 5, "seconds": 1.5}, **changes,
    }  # fmt: skip


@pytest.fixture(scope="session")
def study() -> Callable[..., StudyData]:
    return synthetic
