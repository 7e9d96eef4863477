"""Estimate means over models: contrasts and combinations, in every setting of a part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.claims.records import CONFIRMATORY_MODELS, Record, Size, number
from analysis.claims.samples import Sample, samples
from analysis.claims.schema import AcrossPart, Claim, MeanPart
from analysis.stats.degenerate import at_chance
from analysis.stats.effects import dz_interval
from analysis.stats.equivalence import tost
from analysis.stats.intervals import t_interval
from analysis.stats.paired import compare, paired_t, sign_flip
from analysis.stats.power import superiority_power
from bench.store.reader import StudyData

#: Seed of random sign patterns, used beyond 20 models.
SEED = 0

#: Margin of an equivalence where none is given: half a point, but never under three test images.
DEFAULT_MARGIN, DEFAULT_IMAGES = 0.005, 3
#: Test images assumed where nothing was evaluated yet.
DEFAULT_TEST = 400


@dataclass(frozen=True)
class Estimate:
    """A record whose verdict is still open, with the paired differences that it was made from (fractions)."""

    record: Record
    differences: NDArray[np.float64]


def mean_estimates(part: MeanPart, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    """Estimate a contrast or combination in every setting.

    Returns
    -------
    list of Estimate
        With raw p-values; `analysis.claims.settle.settle` decides them family by family.
    """
    classes = known_classes(data)
    return [mean_estimate(part, claim, base, sample, classes) for sample in samples(data.rows, part)]


def known_classes(data: StudyData) -> dict[str, int]:
    """Return data set -> number of classes, for those that the provenance tells of."""
    return {name: known["num_classes"] for name, known in data.meta["provenance"].get("datasets", {}).items()}


def mean_estimate(
    part: MeanPart, claim: Claim, base: dict[str, Any], sample: Sample, classes: Mapping[str, int]
) -> Estimate:
    """Make the record of one setting, its verdict still open."""
    differences = sample.values.to_numpy(dtype=np.float64)
    margin, reason = _margin(part, sample.images)
    level = 1 - 2 * part.level
    both = compare(differences, seed=SEED)
    interval = t_interval(differences, level)
    if part.kind == "equivalence":
        result = tost(differences, margin, part.level)
        test, statistic, df = "two one-sided t tests", math.nan, result.df
        p, against, repetitions = result.p, result.p_outside, None
    else:
        null = margin if part.kind == "superiority" else -margin
        decide = paired_t if part.test == "t" else sign_flip
        above, below = decide(differences, null, "greater"), decide(differences, null, "less")
        test, statistic, df, repetitions = above.name, above.statistic, above.df, above.repetitions
        p, against = above.p, below.p
    effect_size = dz_interval(differences)
    record = Record(
        **open_record(part, claim, base, sample, len(differences)),
        test=test,
        statistic=number(statistic),
        df=number(df),
        p=number(p),
        p_against=number(against),
        level=level,
        effect=number(interval.mean),
        low=number(interval.low),
        high=number(interval.high),
        margin=margin,
        margin_reason=reason,
        d_z=number(both.d_z),
        d_z_low=number(effect_size.low),
        d_z_high=number(effect_size.high),
        p_superior=number(both.p_superior),
        power=_power(part, len(differences)),
        two_sided={t.name: number(t.p) for t in (both.t, both.sign_flip, both.wilcoxon)},
        disagree=both.disagree(),
        repetitions=repetitions,
        seed=SEED if repetitions else None,
        category=interval.category,
        reason=_odd_test(part, both.skewness),
    )
    if part.paper_value is not None:
        record = record.model_copy(
            update={"paper_value": part.paper_value, "size": _size(part.paper_value, differences)}
        )
    return Estimate(_unless_chance(record, part, sample, classes), differences)


def open_record(
    part: MeanPart | AcrossPart, claim: Claim, base: dict[str, Any], sample: Sample, models: int
) -> dict[str, Any]:
    """Return the fields that every statistical record has."""
    return {
        **base, "part": part.id, "kind": part.kind, "estimand": sample.words, "setting": sample.setting, "n": models,
        "counts": sample.counts, "family": part.family or claim.id, "alpha": part.level, "scan": part.scan,
        "planned_effect": part.planned_effect, "descriptive": 0 < models < CONFIRMATORY_MODELS,
    }  # fmt: skip


def _unless_chance(record: Record, part: MeanPart, sample: Sample, classes: Mapping[str, int]) -> Record:
    """Two arms that both guess are equal for want of any signal."""
    dataset = str(sample.setting.get("dataset"))
    if part.value != "accuracy" or record.n == 0 or dataset not in classes:
        return record
    if not at_chance(sample.best, classes[dataset], int(sample.images)):
        return record
    return record.model_copy(update={"category": "chance level", "p": None, "p_against": None})


def _size(paper: float, differences: NDArray[np.float64]) -> Size:
    """Say whether the paper's value lies in our 95 % interval; an interval that also holds 0 cannot tell."""
    interval = t_interval(differences)
    if math.isnan(interval.low):
        return "cannot tell"
    if interval.low <= paper <= interval.high:
        return "cannot tell" if interval.low <= 0 <= interval.high and paper != 0 else "agrees"
    return "smaller" if interval.mean < paper else "larger"


def _margin(part: MeanPart, images: float) -> tuple[float, str]:
    if part.margin is not None:
        return part.margin, part.margin_reason
    if part.kind != "equivalence":
        return 0.0, ""
    return default_margin(images), "default: the larger of 0.5 points and 3 test images"


def default_margin(images: float) -> float:
    """Return the margin where none is given: half a point or three test images, whichever is larger."""
    return max(DEFAULT_MARGIN, DEFAULT_IMAGES / (DEFAULT_TEST if math.isnan(images) else images))


def _power(part: MeanPart, n: int) -> float | None:
    if part.planned_effect is None or part.kind == "equivalence" or n < 2:
        return None
    return superiority_power(part.planned_effect, n, part.level)


def _odd_test(part: MeanPart, skewness: float) -> str:
    """Say where skewness bends the level; the sign-flip test, which takes symmetry for granted, bends as much."""
    if part.test == "t" and part.kind != "equivalence" and abs(skewness) > 1:
        return f"the differences are skewed ({skewness:.1f}), which bends the level of t and sign-flip tests alike"
    return ""
