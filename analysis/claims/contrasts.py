"""Estimate contrasts: the mean paired difference over models in every setting of a part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.power import TTestPower

from analysis import frames
from analysis.claims.schema import Claim, Contrast
from analysis.claims.select import describe, select
from analysis.records import CONFIRMATORY_MODELS, Record, number
from analysis.stats.degenerate import at_chance
from analysis.stats.equivalence import tost
from analysis.stats.intervals import t_interval
from analysis.stats.paired import compare, paired_t, sign_flip
from bench.store.reader import StudyData

#: Seed of random sign patterns, used beyond 20 models.
SEED = 0

#: Margin of an equivalence where none is given: half a point, but never under three test images.
DEFAULT_MARGIN, DEFAULT_IMAGES = 0.005, 3


@dataclass(frozen=True)
class Estimate:
    """A record whose verdict is still open, with the paired differences that it was made from (fractions)."""

    record: Record
    differences: NDArray[np.float64]


def contrast(part: Contrast, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    """Estimate the part in every setting.

    Returns
    -------
    list of Estimate
        With raw p-values; `analysis.claims.settle.settle` decides them family by family.
    """
    rows = select(data.rows, part, {part.axis: (*part.of, part.against)})
    keys = [*frames.SETTING, *frames.METHOD]
    planned = frames.count_states(rows[rows[part.axis].isin(part.of)])
    paired = frames.contrast(rows, part.axis, part.against)
    sizes = paired.groupby(keys, sort=False, dropna=False, observed=True)["n_test"].min().rename("n_test")
    partners = paired.groupby(keys, sort=False, dropna=False, observed=True).size().rename("paired")
    # the better of the two arms, to tell where both only guess
    arms = paired.groupby(keys, sort=False, dropna=False, observed=True)[["accuracy", "reference_value"]].mean()
    for found in (sizes, partners, arms.max(axis=1).rename("best")):
        planned = planned.merge(found, on=keys, how="left")
    classes = {name: known["num_classes"] for name, known in data.meta["provenance"].get("datasets", {}).items()}
    models = frames.per_model_difference(paired)
    samples = {_key(k): g for k, g in models.groupby(keys, sort=False, dropna=False, observed=True)["difference"]}
    estimates = []
    for row in planned.to_dict("records"):
        sample = samples.get(_key(tuple(row[key] for key in keys)))
        values = np.empty(0) if sample is None else sample.to_numpy(dtype=np.float64)
        record = _estimate(part, claim, base, row, values)
        if len(values) and row["dataset"] in classes and at_chance(row["best"], classes[row["dataset"]], row["n_test"]):
            record = record.model_copy(update={"category": "chance level", "p": None, "p_against": None})
        estimates.append(Estimate(record, values))
    return estimates


def _key(values: Any) -> tuple[Any, ...]:
    """Make a group's key comparable: a null equals a null."""
    return tuple(None if pd.isna(value) else value for value in values)


def _estimate(
    part: Contrast, claim: Claim, base: dict[str, Any], row: dict[Any, Any], sample: NDArray[np.float64]
) -> Record:
    images = 400.0 if pd.isna(row["n_test"]) else float(row["n_test"])
    margin, reason = _margin(part, images)
    level = 1 - 2 * part.level
    both = compare(sample, seed=SEED)
    interval = t_interval(sample, level)
    if part.kind == "equivalence":
        result = tost(sample, margin, part.level)
        test, statistic, df = "two one-sided t tests", math.nan, result.df
        p, against, repetitions = result.p, result.p_outside, None
    else:
        null = margin if part.kind == "superiority" else -margin
        decide = paired_t if part.test == "t" else sign_flip
        above, below = decide(sample, null, "greater"), decide(sample, null, "less")
        test, statistic, df, repetitions = above.name, above.statistic, above.df, above.repetitions
        p, against = above.p, below.p
    counts = {"failed": row["failed"], "skipped": row["skipped"], "to do": row["to_do"]}
    counts["without a partner"] = row["done"] - (0 if pd.isna(row["paired"]) else int(row["paired"]))
    named = ("scorer",) if row["search"] == "none" else ("scorer", "method")
    setting = describe({key: row[key] for key in (*frames.SETTING, *named) if key != "precision"})
    of = row["method" if part.axis == "scorer" else part.axis]
    return Record(
        **base,
        part=part.id,
        kind=part.kind,
        estimand=f"mean accuracy of {of} minus {part.against}, paired by model",
        setting=setting,
        n=len(sample),
        counts={name: int(count) for name, count in counts.items() if count},
        test=test,
        statistic=number(statistic),
        df=number(df),
        p=number(p),
        p_against=number(against),
        family=part.family or claim.id,
        alpha=part.level,
        level=level,
        effect=number(interval.mean),
        low=number(interval.low),
        high=number(interval.high),
        margin=margin,
        margin_reason=reason,
        d_z=number(both.d_z),
        p_superior=number(both.p_superior),
        planned_effect=part.planned_effect,
        power=_power(part, len(sample)),
        two_sided={t.name: number(t.p) for t in (both.t, both.sign_flip, both.wilcoxon)},
        disagree=both.disagree(),
        repetitions=repetitions,
        seed=SEED if repetitions else None,
        category=interval.category,
        descriptive=len(sample) < CONFIRMATORY_MODELS,
        reason=_odd_test(part, both.skewness),
    )


def _margin(part: Contrast, images: float) -> tuple[float, str]:
    if part.margin is not None:
        return part.margin, part.margin_reason
    if part.kind != "equivalence":
        return 0.0, ""
    return max(DEFAULT_MARGIN, DEFAULT_IMAGES / images), "default: the larger of 0.5 points and 3 test images"


def _power(part: Contrast, n: int) -> float | None:
    if part.planned_effect is None or part.kind == "equivalence" or n < 2:
        return None
    return float(TTestPower().power(part.planned_effect, n, part.level, alternative="larger"))


def _odd_test(part: Contrast, skewness: float) -> str:
    if part.test == "t" and part.kind != "equivalence" and abs(skewness) > 1:
        return f"the differences are skewed ({skewness:.1f}): the sign-flip test should have been named"
    return ""
