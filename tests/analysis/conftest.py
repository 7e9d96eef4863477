"""Synthetic studies with a known truth, in the columns of the schema."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.store import schema
from bench.store.cell import FULL_BUDGET
from bench.store.network import Network
from bench.store.reader import StudyData, derive

MONOTONE = ("magnitude", "log_magnitude", "sqrt_magnitude", "square_magnitude", "exp_magnitude", "rank")
#: True mean accuracy above magnitude, in fractions.
REPAIR = {"none": 0.0, "layerwise": 0.01, "channelwise": -0.02, "asr": 0.03}
EFFECT = {"random": -0.3, "gradient": -0.1, "taylor": 0.05, "wanda": 0.02, "l2": 0.004}
#: Feature scorers: true escape with equal weights; what a search adds on test images, and more on its own.
ESCAPE = {"v1": 0.02, "a5": -0.01}
GAIN, OVERFIT = 0.03, 0.015


def digest(*parts: Any) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def typed(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    return frame.reindex(columns=[c.name for c in columns]).astype({c.name: c.type.pandas for c in columns})


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
                                "recalibration": recalibration, "accuracy": level, "loss": 0.2,
                                "evaluation": digest("e", "dense", model, seed, recalibration)})  # fmt: skip
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


def with_features(
    data: StudyData, searches: tuple[str, ...] = ("equal", "dbo"), budget: int = FULL_BUDGET
) -> StudyData:
    """Add feature scorers that have exactly the mean effects of ESCAPE, GAIN and OVERFIT, with their searches."""
    plain = data.rows[data.rows["scorer"].eq("magnitude") & data.rows["correction"].eq("none")]
    spread = 0.001 * (plain["train_seed"] - plain["train_seed"].mean()).astype(float)
    added = []
    for scorer, search in itertools.product(ESCAPE, searches):
        found = 0.0 if search == "equal" else GAIN + spread
        equal = plain["accuracy"] + ESCAPE[scorer] + spread
        seen = equal + 0.01 + found + (0.0 if search == "equal" else OVERFIT - spread / 2)
        spent = 1 if search == "equal" else budget
        notes = [
            {"search": {
                "id": "s", "features": ["a", "b"], "weights": [1.0, -1.0], "evaluations": spent, "budget": spent,
                "search_accuracy": best, "search_accuracy_equal": level + 0.01, "test_accuracy": accuracy,
                "test_accuracy_equal": level, "history": [[min(30, spent), level], [spent, best]],
            }}
            for best, level, accuracy in zip(seen, equal, equal + found, strict=True)
        ]  # fmt: skip
        own = plain.assign(scorer=scorer, search=search, accuracy=equal + found, magnitude_overlap=0.4)
        own["notes"] = [json.dumps(n) if s == "done" else None for n, s in zip(notes, plain["state"], strict=True)]
        added.append(own)
    u = np.linspace(0.1, 1, 20)
    curves = pd.concat([
        pd.DataFrame({"scorer": scorer, "sparsity": np.nan, "draw": 0, "feature": feature, "u": u, "value": u})
        for scorer, feature in itertools.product((*ESCAPE, "rank"), ("a", "b"))
    ], ignore_index=True)  # fmt: skip
    return dataclasses.replace(joined(data, added), curves=typed(curves, schema.CURVES))


def with_own_sparsities(data: StudyData) -> StudyData:
    """Add allocations that set the sparsity themselves: 2:4, and EMP, which sets another one for every scorer."""
    first = data.rows["allocation"].eq("uniform") & data.rows["sparsity"].eq(0.5) & data.rows["correction"].eq("none")
    plain = data.rows[first].assign(sparsity=np.nan)
    place = plain["scorer"].map({name: n for n, name in enumerate(plain["scorer"].unique())})
    units = {"conv": {"n_eff": 6.5, "k": 6, "s_eff": 0.75, "bound": 0.7}}
    units["fc"] = {"n_eff": 4.0, "k": 4, "s_eff": 0.5, "bound": None, "no_bound": "beta is not 1"}
    parsed = [json.loads(text) if isinstance(text, str) else {} for text in plain["notes"]]
    noted = [json.dumps({**notes, "emp": units, "zero_layers": []}) for notes in parsed]
    emp = plain.assign(allocation="emp", sparsity_achieved=0.3 + 0.01 * place, notes=noted)
    return joined(data, [plain.assign(allocation="2:4"), emp])


def joined(data: StudyData, added: list[pd.DataFrame]) -> StudyData:
    """Put rows at the end of a study's, with positions, cells, masks and evaluations of their own."""
    rows = pd.concat([data.rows, *added], ignore_index=True)
    new = rows.index >= len(data.rows)
    rows["position"] = pd.array(range(len(rows)), dtype="Int64")
    rows.loc[new, "cell"] = [digest("cell", n) for n in rows.index[new]]
    whose = rows[["group", "calibration_draw", "scorer", "search", "granularity", "allocation", "sparsity"]]
    masks = [digest("m", *key) for key in whose[new].itertuples(index=False)]
    rows.loc[new, "mask"] = np.where(rows.loc[new, "state"].eq("done"), masks, None)
    rows.loc[new, "evaluation"] = [digest("e", n) for n in rows.index[new]]
    return dataclasses.replace(data, rows=derive(typed(rows[[c.name for c in schema.ROWS]], schema.ROWS)))


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
        "counters": {"cells": 10, "unique_masks": 5, "evaluations": 5, "seconds": 1.5},
        "schema": schema.SCHEMA_VERSION, **changes,
    }  # fmt: skip


def network(*, head: int = 10, activations: int = 0, notes: tuple[str, ...] = (), blocks: int = 1) -> Network:
    """A network of 100 MACs with `blocks` prunable pairs of layers, fc1 and fc2, and a head that is left dense."""
    rest = 100 - head - activations
    layers: list[dict[str, Any]] = []
    for block, name in itertools.product(range(blocks), ("fc1", "fc2")):
        channel = "cut along: with the hidden channels of fc1" if name == "fc2" else None
        layers.append({
            "layer": f"{block}.{name}", "kind": "matrix product", "shape": [8, 4], "calls": 1, "parameters": 32,
            "macs": rest // (2 * blocks), "units": {"weight": 32} | ({"channel": 8} if name == "fc1" else {}),
            "dense": {"weight": None, "channel": channel},
        })  # fmt: skip
    excluded = "head: excluded by the study"
    layers.append({
        "layer": "head", "kind": "matrix product", "shape": [2, 8], "calls": 1, "parameters": 16, "macs": head,
        "units": {}, "dense": {"weight": excluded, "channel": excluded},
    })  # fmt: skip
    return Network(tuple(layers), 64 * blocks + 16 + 20, 20, 100, activations, 0, notes)


def with_networks(data: StudyData, **networks: Network) -> StudyData:
    """Add the layers of the networks, by model."""
    texts = data.dense["model"].map({model: one.to_json() for model, one in networks.items()})
    return dataclasses.replace(data, dense=data.dense.assign(network=texts.where(texts.notna(), None)))


def of_schema_1(data: StudyData) -> StudyData:
    """The same study as schema 1 knew it."""
    return dataclasses.replace(with_networks(data), meta={**data.meta, "schema": 1})


@pytest.fixture(scope="session")
def study() -> Callable[..., StudyData]:
    return synthetic


@pytest.fixture(scope="session")
def fused() -> Callable[..., StudyData]:
    """A study with feature scorers: keywords of `with_features`, then those of `synthetic`."""

    def _fused(searches: tuple[str, ...] = ("equal", "dbo"), budget: int = FULL_BUDGET, **keywords: Any) -> StudyData:
        chosen = {"granularities": ("channel",), "allocations": ("uniform",), "seeds": 4} | keywords
        return with_features(synthetic(**chosen), searches, budget)

    return _fused


@pytest.fixture(scope="session")
def own_sparsities() -> Callable[[StudyData], StudyData]:
    return with_own_sparsities


@pytest.fixture(scope="session", name="network")
def _network() -> Callable[..., Network]:
    return network


@pytest.fixture(scope="session", name="with_networks")
def _with_networks() -> Callable[..., StudyData]:
    return with_networks


@pytest.fixture(scope="session", name="of_schema_1")
def _of_schema_1() -> Callable[[StudyData], StudyData]:
    return of_schema_1


@pytest.fixture
def fused_study(fused):
    """Searches with the features a and b and the weights 1 and -1."""
    return fused(models=("cnn",), sparsities=(0.5, 0.8))
