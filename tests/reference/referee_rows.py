"""The referee's own reading of a study: rows, claims, arms paired within each model, gates. Pandas and YAML alone.

Numbers are percentage points.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from scipy import stats

PAPERS = Path(__file__).parents[2] / "analysis" / "claims" / "papers"
#: What distinguishes two settings, but for the columns that the arms of a comparison name.
AXES = [
    "dataset", "model", "calibration_images", "calibration_batch", "scorer", "search", "granularity", "allocation",
    "sparsity", "correction", "recalibration", "precision", "device_class",
]  # fmt: skip
#: Two cells are paired only if they share the model, the draw and the setting.
PAIR = ["checkpoint", "calibration_draw"]
#: Factors per channel, which complete recalibration cancels; and what counts as complete.
SCALINGS = {"none", "layerwise", "channelwise", "asr", "asr_soft", "asr_eb"}
COMPLETE = {"cumulative", "exact"}
LARGEST_RATIO = 1.05
#: What else is read of a row.
USED = [
    "cell", "state", "mask", "accuracy", "dense_accuracy", "n_test", "sparsity_achieved", "train_overlap",
    "identity_covered", "identity_ratio", "notes",
]  # fmt: skip
NO_SPARSITY = -1.0  # of a cell whose allocation sets the sparsity
NAN = float("nan")


# --- The data and the claims ------------------------------------------------------------------------------------------


class Study:
    """Rows of pruned models, accuracies in float32 of some of them, and the accuracy of guessing."""

    def __init__(self, rows: pd.DataFrame, checks: pd.DataFrame, meta: dict) -> None:
        rows = rows.loc[rows["scorer"] != "dense", AXES + PAIR + USED].copy()
        rows["sparsity"] = rows["sparsity"].fillna(NO_SPARSITY)
        rows[AXES] = rows[AXES].astype(object).where(rows[AXES].notna(), "-")
        notes = rows["notes"].fillna("{}")
        rows["notes"] = notes.map({text: json.loads(text) for text in notes.unique()})
        self.rows = rows
        self.float32 = checks[checks["kind"] == "float32"].set_index("cell")["accuracy"]
        facts = meta["provenance"].get("datasets") or {}
        self.chance = {name: fact.get("chance") or 1 / fact["num_classes"] for name, fact in facts.items()}

    @classmethod
    def read(cls, folder: Path) -> Study:
        table = pq.read_table(folder / "report" / "data.parquet")
        stored = {key: json.loads(text) for key, text in table.schema.metadata.items() if key in (b"checks", b"meta")}
        return cls(table.to_pandas(), pd.DataFrame(stored[b"checks"]), stored[b"meta"])


def read_claims(path: Path) -> list[dict]:
    """Claims of a file and of the papers that it includes; claim-level defaults are given to their parts."""
    content = YAML(typ="safe").load(path)
    if content.get("adjust"):
        raise NotImplementedError("adjust")
    claims = [claim for name in content.get("include", ()) for claim in read_claims(PAPERS / f"{name}.yaml")]
    for claim in content.get("claims", ()):
        defaults = {key: claim[key] for key in ("where", "gate", "readings") if key in claim}
        parts = [
            primary_reading(defaults | part) for part in claim["parts"] if part.get("role", "primary") == "primary"
        ]
        claims.append({"id": claim["id"], "parts": parts})
    return claims


def primary_reading(part: dict) -> dict:
    """The part with the first level of each open choice."""
    part = dict(part)
    part["where"] = {column: listed(names) for column, names in part.get("where", {}).items()}
    for choice, levels in part.get("readings", {}).items():
        if choice == "margin":
            part["margin"] = levels[0]
        elif isinstance(levels, list):
            part["where"][choice] = levels[:1]
        elif next(iter(levels.values())):
            raise NotImplementedError("a first level that replaces labels")
    return part


def listed(names):
    return names if isinstance(names, list) else [names]


def matching(present, names) -> list:
    """Labels that the names stand for: the label itself, else the name with any options; ``*`` is a pattern."""
    found: list = []
    for name in names:
        if "*" in str(name):
            labels = [label for label in present if fnmatchcase(str(label), name)]
        elif name in present:
            labels = [name]
        else:
            labels = [label for label in present if str(label).startswith(f"{name}(")]
        found += [label for label in labels if label not in found]
    return found


def chosen(rows: pd.DataFrame, where: dict, sparsities=None) -> pd.DataFrame:
    """Rows with these labels and sparsities; a name that stands for nothing leaves nothing."""
    for column, names in where.items():
        rows = rows[rows[column].isin(matching(list(rows[column].unique()), listed(names)))]
    sparsity = rows["sparsity"].astype(float)
    if isinstance(sparsities, dict):
        least, most = sparsities.get("least", 0), sparsities.get("most", 1)
        return rows[sparsity.between(least - 1e-9, most + 1e-9)]
    if sparsities:
        return rows[np.isclose(sparsity.to_numpy()[:, None], sparsities).any(axis=1)]
    return rows


# --- From rows to one number per model --------------------------------------------------------------------------------


def with_value(rows: pd.DataFrame, name: str) -> pd.Series:
    """The number that a part is about, per row; NaN where a row has none."""
    if name == "accuracy":
        return 100 * rows["accuracy"]
    if name == "change":
        return 100 * (rows["accuracy"] - rows["dense_accuracy"])
    return pd.Series([100 * from_notes(name, row) for row in rows.itertuples()], rows.index, dtype=float)


def from_notes(name: str, row) -> float:
    """Over-fit of a search, or what happened to the channels, as a fraction."""
    if name == "overfit":
        found = row.notes.get("search")
        if not found or row.train_overlap != "no" or row.search.startswith("equal"):
            return NAN
        on_search = found["search_accuracy"] - found["search_accuracy_equal"]
        return on_search - (found["test_accuracy"] - found["test_accuracy_equal"])
    channels = row.notes.get("channels")
    if not channels:
        return NAN
    if name == "variance_loss":
        return channels["loss"]
    if name == "coexisting":
        return channels["mixed_layers"] / channels["layers"]
    return channels["above_after"] / channels["channels"]


def terms_of(part: dict) -> list[dict]:
    """The arms of a part: weight and columns."""
    if part["estimand"] == "contrast":
        axis = part.get("axis", "scorer")
        return [{"weight": 1, "of": {axis: part["of"]}}, {"weight": -1, "of": {axis: [part["against"]]}}]
    if part["estimand"] == "ratio":
        share = part.get("least", 0.5)
        return part["of"] + [term | {"weight": -share * term.get("weight", 1)} for term in part["to"]]
    return part["terms"]


def sums_of_arms(rows: pd.DataFrame, terms: list[dict], values: pd.Series) -> tuple[pd.DataFrame, list[str]] | None:
    """The weighted sum of arms in every pair (model, draw, setting), and the columns of its setting."""
    named = {column for term in terms for column in term["of"]} | {"search"}
    setting = [column for column in AXES if column not in named]
    keys = setting + PAIR
    rows = rows.assign(value=values, scaling=rows["correction"].isin(SCALINGS))
    rows = rows[rows["state"] == "done"]
    total = None
    for term in terms:
        arm = rows
        labels = 1
        for column, names in term["of"].items():
            present = matching(list(arm[column].unique()), listed(names))
            labels *= len(present)
            arm = arm[arm[column].isin(present)]
        if not labels:
            return None
        cells = arm.groupby(keys, sort=False).agg(
            value=("value", "mean"), cells=("value", "size"), numbers=("value", "count"),
            mask=("mask", "min"), last_mask=("mask", "max"),
            achieved=("sparsity_achieved", "min"), last_achieved=("sparsity_achieved", "max"),
            scaling=("scaling", "all"), covered=("identity_covered", "all"), ratio=("identity_ratio", "max"),
        )  # fmt: skip
        cells = cells[cells["cells"] == labels]
        cells["value"] = term.get("weight", 1) * cells["value"].where(cells["numbers"] == labels)
        if total is None:
            total = cells
            continue
        total, cells = total.align(cells, join="inner", axis=0)
        total["value"] += cells["value"]
        for column, pick in {
            "mask": np.minimum, "last_mask": np.maximum, "achieved": np.minimum, "last_achieved": np.maximum,
            "scaling": np.logical_and, "covered": np.logical_and, "ratio": np.fmax,
        }.items():  # fmt: skip
            total[column] = pick(total[column], cells[column])
    total = total.reset_index()
    if len(terms) > 1:  # where the allocation sets the sparsity, cells of different sparsities are no pair
        total = total[(total["sparsity"] != NO_SPARSITY) | (total["achieved"] == total["last_achieved"])]
    zero_sum = abs(sum(term.get("weight", 1) for term in terms)) < 1e-9
    masks_alone = named <= {"scorer", "search", "allocation"}
    total["same"] = zero_sum & masks_alone & (total["mask"] == total["last_mask"])
    if named == {"correction", "search"} and zero_sum:
        complete = total["recalibration"].isin(COMPLETE)
        total["same"] |= complete & total["scaling"] & total["covered"] & (total["ratio"] <= LARGEST_RATIO)
    return total, setting


@dataclass
class Sample:
    """One number per model (or, along the sparsity, one row of numbers) in a setting; draws are averaged."""

    setting: dict
    values: pd.Series | pd.DataFrame
    floor: float


def samples_of(study: Study, part: dict, terms: list[dict], along: str = "") -> list[Sample] | None:
    """Samples of every setting that does not hold by construction; None where the study lacks an arm."""
    rows = chosen(study.rows, part["where"], part.get("sparsities"))
    for column, number in part.get("distinct", {}).items():
        if rows[column].nunique() < number:
            return None
    found = sums_of_arms(rows, terms, with_value(rows, part.get("value", "accuracy")))
    if found is None:
        return None
    sums, columns = found
    columns = [column for column in columns if column != along]
    samples = []
    for key, group in sums.groupby(columns, sort=False):
        if group["same"].all():
            continue
        images = rows.loc[rows["dataset"] == group["dataset"].iloc[0], "n_test"].min()
        models = group.groupby(["checkpoint", along] if along else ["checkpoint"], sort=False)["value"].mean(
            skipna=False
        )
        values = (models.unstack(along).sort_index(axis=1) if along else models).dropna()
        if len(values):
            floor = 100 / images / math.sqrt(12) if part.get("value", "accuracy") in ("accuracy", "change") else 0.0
            samples.append(Sample(dict(zip(columns, key, strict=True)), values, floor))
    return samples


# --- Gates ------------------------------------------------------------------------------------------------------------


def gates(study: Study, part: dict) -> list[tuple[dict, bool]]:
    """Settings with whether the arm of the gate is clearly above chance there, judged on the study's own models."""
    arm = part.get("gate")
    if arm is None and part["estimand"] == "contrast" and part.get("value", "accuracy") == "accuracy":
        arm = {part.get("axis", "scorer"): part["against"]}
    if arm in (None, "none"):
        return []
    where = {column: names for column, names in part["where"].items() if column not in arm}
    rows = chosen(study.rows, where | arm, part.get("sparsities"))
    rows = rows[rows["state"] == "done"]
    chance = rows["dataset"].map(study.chance).astype(float)
    margin = 100 * ((rows["accuracy"] - chance) - 0.1 * (rows["dense_accuracy"] - chance))
    columns = [column for column in AXES if column not in arm and column != "search"]
    judged = []
    for key, group in rows.assign(margin=margin).groupby(columns, sort=False):
        values = group.groupby("checkpoint")["margin"].mean()
        if len(values) > 1:
            low = values.mean() - stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
            judged.append((dict(zip(columns, key, strict=True)), bool(low > 0)))
    return judged


def informative(setting: dict, judged: list[tuple[dict, bool]]) -> bool:
    """Whether no gate that agrees with the setting in all shared columns is closed."""
    return all(
        open_
        for gate, open_ in judged
        if all(gate[column] == setting[column] for column in gate.keys() & setting.keys())
    )
