"""Gates: which settings can answer a question, because the reference arm is clearly above chance there.

A setting is informative where the lower 97.5 % limit of ``(accuracy - c) - 0.1 (dense accuracy - c)`` is above 0; c is
the share of the largest test class. Informative settings are fixed at registration from a pilot. Judged on the study's
own models, the gate would bias the test, so there it can only turn the verdict of a setting into "inconclusive"; a mean
over several settings keeps all of them and has no gate. Calibration draws are averaged within each model, and the limit
is that of the t interval over models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import pandas as pd
from pydantic import ValidationError

from analysis.claims.arms import samples, sum_of_terms
from analysis.claims.parts import Labels, Part, Term
from analysis.claims.readings import all_levels, read_as
from analysis.claims.records import Gate
from analysis.claims.schema import Claim
from analysis.claims.values import KEPT
from analysis.evidence.evidence import Evidence
from analysis.stats.intervals import t_interval
from bench.store.registration import REGISTRATION
from bench.store.registration import Record as StoredRegistration

_WORST_FIRST: tuple[Gate, ...] = ("not informative", "not judged", "informative")

Setting: TypeAlias = Mapping[str, str | float]
#: (claim, part) -> settings that a pilot found informative.
Informative: TypeAlias = Mapping[tuple[str, str], Sequence[Setting]]
#: Columns that name a method: the gate's arm has its own.
_ARM_COLUMNS = {"scorer", "search", "method"}


@dataclass(frozen=True)
class GatedSetting:
    """A setting of a part, and whether it is informative.

    Attributes
    ----------
    setting : mapping
        Column -> label, without the columns of the gate's arm.
    gate : str
        ``informative``, ``not informative``, or ``not judged`` with fewer than two models.
    models : int
        Models that it was judged on.
    low : float
        Lower limit in percentage points; NaN if not judged.
    """

    setting: Setting
    gate: Literal["informative", "not informative", "not judged"]
    models: int
    low: float


def gated_settings(part: Part, evidence: Evidence) -> list[GatedSetting]:
    """Judge every setting of a part on the models of this evidence; none for a part without a gate.

    Examples
    --------
    >>> from analysis.claims.estimands.contrast import Contrast
    >>> from analysis.evidence.load import load
    >>> from pathlib import Path
    >>> part = Contrast(estimand="contrast", kind="superiority", of=["taylor"], against="magnitude",
    ...                 where={"granularity": "weight", "allocation": "global", "model": "digits_vit",
    ...                        "correction": "none", "recalibration": "none"}, sparsities=[0.5])
    >>> [(one.gate, one.models) for one in gated_settings(part, load(Path("reports/digits")))]
    [('informative', 10)]
    """
    arm = part.gate_arm
    if arm is None:
        return []
    free = {column: names for column, names in part.where.items() if column not in arm}
    key = ("gates", tuple(sorted(free.items())), part.limits, tuple(sorted(arm.items())))
    return evidence.remember(key, partial(_judged, part.model_copy(update={"where": free}), arm, evidence))


def _judged(reference: Part, arm: Labels, evidence: Evidence) -> list[GatedSetting]:
    terms = [Term(of=dict(arm))]
    comparisons = sum_of_terms(evidence, reference, terms)
    found = []
    for sample in samples(evidence, reference, comparisons, "above_kept"):
        chance = 100 * evidence.chance(str(sample.setting.get("dataset")))
        interval = t_interval(sample.values - (1 - KEPT) * chance, 0.95)
        setting = {name: value for name, value in sample.setting.items() if name not in {*arm, *_ARM_COLUMNS}}
        gate: Literal["informative", "not informative", "not judged"] = "not judged"
        if not math.isnan(interval.low):
            gate = "informative" if interval.low > 0 else "not informative"
        found.append(GatedSetting(setting, gate, interval.n, interval.low))
    return found


def gate_of(setting: Setting, gates: Sequence[GatedSetting]) -> Gate:
    """Return whether a setting is informative: the worst gate of those that agree with it in all shared columns.

    A question along an axis, such as a trend over sparsities, has a gate at each of its points; one that is not
    informative makes the question so. ``not judged`` without any gate, as in a study that lacks the arm.

    Examples
    --------
    >>> gates = [GatedSetting({"model": "cnn", "sparsity": 0.5}, "informative", 10, 30.0),
    ...          GatedSetting({"model": "cnn", "sparsity": 0.9}, "not informative", 10, -0.2)]
    >>> gate_of({"model": "cnn", "sparsity": 0.5}, gates), gate_of({"model": "cnn"}, gates)
    ('informative', 'not informative')
    >>> gate_of({"model": "vit", "sparsity": 0.5}, gates)
    'not judged'
    """
    found = {
        one.gate for one in gates
        if all(one.setting[column] == setting[column] for column in set(one.setting) & set(setting))
    }  # fmt: skip
    return next((gate for gate in _WORST_FIRST if gate in found), "not judged")


def informative_settings(part: Part, pilots: Sequence[Evidence]) -> list[dict[str, str | float]] | None:
    """Return the settings of a part that are informative in a pilot, under any of its readings.

    Parameters
    ----------
    part : Part
    pilots : sequence of Evidence
        A setting that several pilots have must be informative in the first of them.

    Returns
    -------
    list of dict or None
        None where no pilot can judge the part: it has no gate, or no pilot has the arm with two models.
    """
    judged: dict[tuple[tuple[str, str | float], ...], GatedSetting] = {}
    for levels in all_levels(part):
        for pilot in pilots:
            for one in gated_settings(read_as(part, levels), pilot):
                if one.gate != "not judged":
                    judged.setdefault(_key(one.setting), one)
    if not judged:
        return None
    return [dict(one.setting) for one in judged.values() if one.gate == "informative"]


def gates_to_register(claims: Sequence[Claim], pilots: Sequence[Evidence]) -> dict[str, dict[str, Any]]:
    """Return claim -> part -> informative settings, as plain JSON values for a registration.

    Parts that no pilot can judge have no entry: they are judged on the study's own models.
    """
    found: dict[str, dict[str, Any]] = {}
    for claim in claims if pilots else ():
        for part in claim.parts:
            settings = informative_settings(part, pilots)
            if settings is not None:
                found.setdefault(claim.id, {})[part.id] = settings
    return found


def registered_gates(evidence: Evidence) -> Informative:
    """Return the informative settings that the registration of a study fixed; none for a study without one."""
    stored = evidence.meta.get(REGISTRATION)
    if stored is None:
        return {}
    try:
        gates = StoredRegistration.model_validate(stored).registration.gates
    except ValidationError:  # a damaged registration is reported as "not registered"
        return {}
    return {(claim, part): settings for claim, parts in gates.items() for part, settings in parts.items()}


def rows_in(evidence: Evidence, settings: Sequence[Setting]) -> Evidence:
    """Return the evidence of these settings alone; dense rows are kept."""
    key = ("rows in", tuple(sorted(_key(setting) for setting in settings)))
    return evidence.remember(key, partial(_rows_in, evidence, settings))


def _rows_in(evidence: Evidence, settings: Sequence[Setting]) -> Evidence:
    rows = evidence.rows
    keep = rows["scorer"].eq("dense")
    for setting in settings:
        matches = pd.Series(True, index=rows.index)
        for column, value in setting.items():
            matches &= rows[column].eq(value).fillna(False).astype(bool)
        keep |= matches
    return evidence.with_rows(rows[keep])


def _key(setting: Setting) -> tuple[tuple[str, str | float], ...]:
    return tuple(sorted(setting.items()))
