"""Validate the values of a study's rows, so that a damaged or foreign data file is refused before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.types import AXES
from bench.store.compact import CompactNetwork

STATES = ("done", "failed", "skipped", "running")
_NAMED = (
    "cell", "group", "position",
    *(axis.name for axis in AXES if axis.kind == "text" and (axis.varies_on_dense or axis.on_dense is not None)),
)  # fmt: skip
_FRACTIONS = ("sparsity", "accuracy", "sparsity_achieved", "sparsity_parameters", "magnitude_overlap")
_OF_DONE = ("accuracy", "loss", "n_test", "checkpoint", "evaluation")
_JSON = ("notes", "seeds")


class Meta(BaseModel):
    """The types of `StudyData.meta`."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    study_hash: str
    profile: str | None = None
    claims_hash: str | None = None
    registered: str | None = None
    study: dict[str, Any]
    settings: dict[str, Any]
    provenance: dict[str, Any]
    counters: dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False)]]
    schema_version: int | None = Field(None, alias="schema")
    compact: tuple[CompactNetwork, ...] = ()


class _Sized(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    parameters: int = Field(ge=0, lt=2**63)
    macs: int = Field(ge=0, lt=2**63)


class _Layer(_Sized):
    """The types of one of `bench.store.network.Network.layers`."""

    layer: str
    kind: str
    shape: list[int]
    calls: int
    units: dict[str, int]
    dense: dict[str, str | None]


class _Network(_Sized):
    """The types of `bench.store.network.Network`."""

    layers: list[_Layer]
    vectors: int = Field(ge=0, lt=2**63)
    without_weight: int = Field(ge=0, lt=2**63)
    unregistered: int = Field(ge=0, lt=2**63)
    notes: list[str]


def network_fault(rows: pd.DataFrame, dense: pd.DataFrame) -> str | None:
    """Return the first inconsistency found in the networks of the dense models, or None.

    Parameters
    ----------
    rows, dense : DataFrame
        The columns of `bench.store.schema.ROWS` and `bench.store.schema.DENSE`, typed.
    """
    columns = ["dataset", "model", "network"]
    for dataset, model, text in dense.loc[dense["network"].notna(), columns].itertuples(index=False, name=None):
        place = f"the network of {model} on {dataset}"
        try:
            network = _Network.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            return f"{place}: {f'{where}: ' if where else ''}{first['msg']}"
        used = rows.loc[rows["dataset"].eq(dataset) & rows["model"].eq(model), "granularity"].dropna().unique()
        for layer in network.layers:
            for granularity in used:
                if layer.dense.get(granularity, "") is None and granularity not in layer.units:
                    return f"{place}: layer {layer.layer} has neither units nor a reason at granularity {granularity}"
                if granularity not in layer.dense:
                    return f"{place}: layer {layer.layer} has no entry for granularity {granularity}"
    return None


def fault(rows: pd.DataFrame) -> str | None:
    """Say what no run would have written, or None where every row may be one's.

    Parameters
    ----------
    rows : DataFrame
        The columns of `bench.store.schema.ROWS`, typed.

    Examples
    --------
    >>> from bench.store.reader import planned_rows
    >>> fault(planned_rows([{"cell": "c"}]))
    "column 'group' has a null"
    """
    for name in _NAMED:
        if rows[name].isna().any():
            return f"column {name!r} has a null"
    for name in ("cell", "position"):
        if rows[name].duplicated().any():
            return f"column {name!r} has a value twice"
    if not rows["state"].dropna().isin(STATES).all():
        return "column 'state' has an unknown state"
    for name in _FRACTIONS:
        if not rows[name].dropna().between(0, 1).all():
            return f"column {name!r} is not between 0 and 1"
    done = rows[rows["state"].eq("done")]
    for name in _OF_DONE:
        if done[name].isna().any():
            return f"column {name!r} has a null in a done row"
    if (done["n_test"] < 1).any():
        return "column 'n_test' has a number under 1"
    size = -(-done["n_test"].astype("int64") // 8)
    bits = done["correct"].dropna().map(len)
    if not bits.eq(size[bits.index]).all():
        return "column 'correct' has not one bit per test image"
    for name in _JSON:
        if not rows[name].dropna().drop_duplicates().map(_is_object).all():
            return f"column {name!r} is not JSON"
    reals = rows.select_dtypes("float").drop(columns=["loss", "seconds"])
    return "a number is infinite" if np.isinf(reals.to_numpy()).any() else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), Mapping)
    except (ValueError, RecursionError):
        return False
