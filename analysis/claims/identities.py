"""Decide identities: what must be equal, counted cell by cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.records import Record, Verdict
from analysis.claims.schema import EmpBeta, EmpBound, IdentityPart, MaskIdentity, Reevaluation, RepairIdentity
from analysis.claims.select import describe, labels, select
from analysis.evidence import frames
from analysis.evidence.emp import emp_rows
from analysis.stats.degenerate import RESOLUTION
from bench.store.reader import StudyData

#: A record is made for each of these.
_PER = ("dataset", "model", "granularity")


def identity_records(part: IdentityPart, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Decide an identity in every data set, model and granularity."""
    if isinstance(part, MaskIdentity):
        return mask_identity(part, data, base)
    if isinstance(part, Reevaluation):
        return reevaluation(part, data, base)
    if isinstance(part, RepairIdentity):
        return repair_identity(part, data, base)
    return emp_beta(part, data, base) if isinstance(part, EmpBeta) else emp_bound(part, data, base)


def emp_bound(part: EmpBound, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Count the scopes (layers, or the whole network) in which EMP kept less of the score mass than its bound."""
    kept = emp_rows(select(data.rows, part))
    records = []
    for setting, cells in _groups(kept[kept["bounded"].gt(0)]):
        wrong = int(cells["violations"].sum())
        slack = float(cells["slack"].min())
        counts = {"scopes compared": int(cells["bounded"].sum())}
        more = {"test": "kept score mass >= its bound", "details": {"least mass above the bound": slack}}
        records.append(
            _identity(base, part, setting, "score mass that EMP keeps, above its bound", cells, wrong, counts, more)
        )
    return records


def emp_beta(part: EmpBeta, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Count pairs of neighbouring betas, for the same scores, of which the larger keeps fewer units."""
    kept = emp_rows(select(data.rows, part))
    kept = kept.assign(beta=[_beta(label) for label in kept["allocation"]], kind=kept["allocation"].map(_without_beta))
    keys = [*(key for key in frames.BLOCK if key != "allocation"), *frames.METHOD, "kind"]
    kept = kept.sort_values("beta", kind="stable")
    before = kept.groupby(keys, sort=False, dropna=False)[["beta", "k"]].shift()
    compared = kept[before["beta"].notna()]
    wrong = compared["k"].lt(before["k"].reindex(compared.index))
    records = []
    for setting, cells in _groups(compared):
        more = {"test": "units kept do not fall as beta rises"}
        mismatches = int(wrong.reindex(cells.index).sum())
        records.append(_identity(base, part, setting, "units that EMP keeps, over beta", cells, mismatches, {}, more))
    return records


def _beta(label: str) -> float:
    """Read beta from an allocation's label; 1 by default.

    Examples
    --------
    >>> _beta("emp(beta=0.5, scope=global)"), _beta("emp")
    (0.5, 1.0)
    """
    found = re.search(r"beta=([0-9.e+-]+)", label)
    return float(found[1]) if found else 1.0


def _without_beta(label: str) -> str:
    """Return the other options of an allocation's label.

    Examples
    --------
    >>> _without_beta("emp(beta=0.5, scope=global)"), _without_beta("emp(beta=2)"), _without_beta("emp")
    ('emp(scope=global)', 'emp', 'emp')
    """
    return re.sub(r"\(\)", "", re.sub(r"beta=[0-9.e+-]+(, )?", "", label)).replace(", )", ")")


def mask_identity(part: MaskIdentity, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Compare the mask hash of each scorer with the reference's in the same block.

    Equal scores are ordered by magnitude, so units that tie after a transform keep their order: they are counted,
    and a mask that differs is a mismatch with or without them.
    """
    rows = select(data.rows, part, {"scorer": (*part.scorers, part.reference)})
    records = []
    for setting, cells in _groups(rows):
        asked = cells[cells["scorer"].isin(labels(cells["scorer"], part.scorers))]
        if asked.empty:
            continue
        paired = frames.contrast(cells, "scorer", part.reference).drop_duplicates(list(frames.MASK))
        known = paired[paired["mask"].notna() & paired["reference_mask"].notna()]
        differs = known["mask"].ne(known["reference_mask"])
        tied = known["tied_units"].fillna(0).gt(0)
        units = int(known["tied_units"].fillna(0).sum())
        of_mask = asked["state"].eq("done").groupby([asked[key] for key in frames.MASK], dropna=False)
        evaluated = of_mask.transform("any")
        counts = _fates(asked[~evaluated].drop_duplicates(list(frames.MASK))) | {
            "without a partner": len(asked[evaluated].drop_duplicates(list(frames.MASK))) - len(known),
            "cells with tied units": int(tied.sum()),
            "tied units, left to the tie rule": units,
        }
        records.append(
            _identity(
                base, part, setting, f"mask of {', '.join(part.scorers)} = mask of {part.reference}",
                known, int(differs.sum()), counts, {"test": "equality of mask hashes"},
            )
        )  # fmt: skip
    return records


def reevaluation(part: Reevaluation, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Count the shared evaluations that changed an image when they were done again.

    Cells whose batch was halved for memory are exempt, and counted.
    """
    checks = data.checks[data.checks["kind"].eq("shared")][["cell", "mismatches"]]
    rows = select(data.rows, part, {}).merge(checks, on="cell", how="inner")
    records = []
    for setting, cells in _groups(rows):
        halved = cells["batch_halved"].fillna(0).gt(0)
        compared = cells[~halved]
        counts = {
            "batch halved for memory, exempt": int(halved.sum()),
            "images that changed": int(compared["mismatches"].sum()),
        }
        wrong = int(compared["mismatches"].gt(0).sum())
        records.append(
            _identity(
                base, part, setting, "correctness of every test image, evaluated twice", compared, wrong,
                counts, {"test": "equality image by image"},
            )
        )  # fmt: skip
    return records


def repair_identity(part: RepairIdentity, data: StudyData, base: dict[str, Any]) -> list[Record]:
    """Compare the float32 accuracy of each correction with the reference correction's in the same block."""
    wanted = part.corrections or tuple(frames.ordered(data.rows["correction"]))
    rows = select(data.rows, part, {"correction": (*wanted, part.reference)})
    checks = data.checks[data.checks["kind"].eq("float32")].drop_duplicates("cell").set_index("cell")["accuracy"]
    layers = _uncovered(data.dense)
    records = []
    for setting, cells in _groups(rows):
        asked = cells[cells["correction"].ne(part.reference)]
        if asked.empty:
            continue
        paired = frames.contrast(cells, "correction", part.reference)
        inside = paired["identity_covered"].fillna(False).astype(bool) & paired["identity_ratio"].le(part.largest_ratio)
        exact = paired["precision"].eq("float32")
        first = paired["accuracy"].where(exact, paired["cell"].map(checks))
        second = paired["reference_value"].where(exact, paired["reference_cell"].map(checks))
        judged = inside & first.notna() & second.notna()
        gap = (first - second).abs()[judged]
        tolerance = np.maximum(part.tolerance, part.tolerance_images / paired["n_test"][judged].astype(float))
        counts = _fates(asked) | {
            "without a partner": int(frames.done(asked).shape[0] - len(paired)),
            "outside the identity": int((~inside).sum()),
            "evaluated in another precision, without a float32 check": int((inside & ~judged).sum()),
            "exactly equal": int(gap.le(RESOLUTION).sum()),
        }
        records.append(
            _identity(
                base, part, setting, f"accuracy of every correction = accuracy of {part.reference}",
                paired[judged], int(gap.gt(tolerance + RESOLUTION).sum()), counts,
                {
                    "test": "accuracy difference within the tolerance",
                    "tolerance": float(tolerance.max()) if len(tolerance) else part.tolerance,
                    "effect": float(gap.max()) if len(gap) else None,
                    "names": layers.get((setting["dataset"], setting["model"]), ()) if len(paired) else (),
                },
            )
        )  # fmt: skip
    return records


def _identity(
    base: dict[str, Any],
    part: IdentityPart,
    setting: dict[str, str | float],
    estimand: str,
    compared: pd.DataFrame,
    mismatches: int,
    counts: dict[str, int],
    more: dict[str, Any],
) -> Record:
    verdict: Verdict = "refuted" if mismatches else "supported"
    reason = ""
    if compared.empty:
        left = [f"{count} {name}" for name, count in counts.items() if count]
        verdict, reason = "not testable", "no cell to compare" + (f" ({', '.join(left)})" if left else "")
    return Record(
        **base,
        part=part.id,
        kind="identity",
        estimand=estimand,
        setting={**setting, **_fixed(part)},
        n=int(compared["checkpoint"].nunique()),
        comparisons=len(compared),
        mismatches=mismatches,
        counts={name: count for name, count in counts.items() if count},
        verdict=verdict,
        reason=reason,
        **more,
    )


def _groups(rows: pd.DataFrame) -> Iterator[tuple[dict[str, str | float], pd.DataFrame]]:
    for key, cells in rows.groupby(list(_PER), sort=False, dropna=False, observed=True):
        yield describe(dict(zip(_PER, key, strict=True))), cells


def _fixed(part: IdentityPart) -> dict[str, str | float]:
    """Columns that the part's filters fix to one label."""
    return describe({column: labels[0] for column, labels in part.where.items() if len(labels) == 1})


def _fates(asked: pd.DataFrame) -> dict[str, int]:
    """Count cells that were not evaluated, by what became of them and why."""
    states = asked["state"].fillna("to do").replace("running", "to do")
    reasons = asked["reason"].where(asked["reason"].isna(), ": " + asked["reason"].fillna(""))
    fates = (states + reasons.fillna(""))[states.ne("done")]
    return {str(name): int(number) for name, number in fates.value_counts(sort=False).items()}


def _uncovered(dense: pd.DataFrame) -> dict[tuple[Any, Any], tuple[str, ...]]:
    """Layers outside the cancellation identity, per data set and model, in the order of the net."""
    layers: dict[tuple[Any, Any], tuple[str, ...]] = {}
    for dataset, model, text in zip(dense["dataset"], dense["model"], dense["uncovered_layers"], strict=True):
        found = json.loads(text) if isinstance(text, str) else []
        layers[dataset, model] = tuple(dict.fromkeys([*layers.get((dataset, model), ()), *found]))
    return layers
