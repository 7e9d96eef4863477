"""Robustness: a part decided under every reading that the study has, and how far its verdict depends on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.claims.cells import lacking
from analysis.claims.gates import Setting
from analysis.claims.means import digest_of, mean_over_settings
from analysis.claims.outcomes import Outcome, part_outcome
from analysis.claims.parts import MeanPart, Part
from analysis.claims.readings import Levels, all_levels, read_as
from analysis.claims.records import Reading, Robustness, Verdict, number, one_if_missing
from analysis.evidence.evidence import Evidence
from analysis.stats.correction import adjust
from analysis.stats.paired import paired_t

#: Two-sided level at which the verdict is reported to depend on a choice.
DEPENDS = 0.05


def robustness_of(
    part: Part, evidence: Evidence, alpha: float, informative: Sequence[Setting] | None = None
) -> Robustness | None:
    """Decide a part under every reading that the study has.

    Parameters
    ----------
    part : Part
    evidence : Evidence
    alpha : float
        One-sided level.
    informative : sequence of mapping, optional
        Settings that a pilot found informative; see `analysis.claims.outcomes.part_outcome`.

    Returns
    -------
    Robustness or None
        None for a part whose source leaves no choice open.
    """
    if not part.readings:
        return None
    planned = list(all_levels(part))
    found: list[tuple[Levels, Outcome, pd.Series, Reading]] = []
    seen: list[Part] = []
    tested: dict[tuple[str, float | None], dict[str, str | float]] = {}
    for place, levels in enumerate(planned):
        read = read_as(part, levels)
        if read in seen or lacking(read, evidence):
            continue
        seen.append(read)
        outcome = part_outcome(read, evidence, informative)
        if outcome.questions or outcome.constructed:
            reading, values = _reading(levels, outcome, primary=place == 0, alpha=alpha)
            key = (digest_of(values), getattr(read, "margin", None))
            if key[0] and not reading.by_construction:
                first = tested.setdefault(key, reading.levels)
                reading = reading.model_copy(update={"same_as": first if first != reading.levels else {}})
            found.append((levels, outcome, values, reading))
    readings = [reading for *_, reading in found]
    measured = [reading for reading in readings if reading.counts]
    against = [one_if_missing(reading.p_contradiction) for reading in measured]
    against = adjust(against, "holm").tolist() if against else []
    supported = sum(reading.verdict == "supported" for reading in measured)
    robust = bool(measured) and not any(p < alpha for p in against) and 2 * supported >= len(measured)
    return Robustness(
        planned=len(planned), readings=tuple(sorted(readings, key=_by_effect)), robust=robust,
        depends_on=_dependence(part, [(levels, values) for levels, _, values, reading in found if reading.counts]),
    )  # fmt: skip


def _reading(levels: Levels, outcome: Outcome, *, primary: bool, alpha: float) -> tuple[Reading, pd.Series]:
    result = outcome.decided(alpha, outcome.p_contradiction)
    verdict: Verdict = result.verdict
    values, effect, low, high, settings = pd.Series(dtype="float64"), None, None, None, len(outcome.questions)
    samples = [q.sample for q in (*outcome.questions, *outcome.constructed) if q.sample is not None]
    if isinstance(outcome.part, MeanPart) and samples:
        means = outcome.questions if outcome.part.over == "mean" else mean_over_settings(outcome.part, samples)
        mean = next(iter((*means, *outcome.constructed)))
        values, settings = mean.values, mean.record.settings
        effect, low, high = mean.record.effect, mean.record.low, mean.record.high
    return Reading(
        levels={name: level if isinstance(level, str) else float(level) for name, level in levels.items()},
        primary=primary, verdict=verdict, by_construction=outcome.by_construction, n=len(values), settings=settings,
        effect=effect, low=low, high=high, p=number(outcome.p), p_contradiction=number(outcome.p_contradiction),
    ), values  # fmt: skip


def _dependence(part: Part, found: list[tuple[Levels, pd.Series]]) -> dict[str, float]:
    """Return choice -> Holm-adjusted p-value of the contrast between its levels, where it is below `DEPENDS`.

    Each level is compared with the first of its choice within each model, the other choices at their primary level;
    with several levels the smallest p-value counts, multiplied by their number.
    """
    first = {name: next(iter(levels)) for name, levels in part.readings.items()}
    p_values: dict[str, float] = {}
    for name in part.readings:
        own = [
            values for levels, values in found if len(values) and all(levels[o] == first[o] for o in first if o != name)
        ]
        if name == "margin" or len(own) < 2:
            continue
        tested = [_differs(own[0], other) for other in own[1:]]
        p_values[name] = min(1.0, len(tested) * min(tested))
    adjusted = adjust(list(p_values.values()), "holm").tolist() if p_values else []
    return {name: float(p) for name, p in zip(p_values, adjusted, strict=True) if p < DEPENDS}


def _differs(first: pd.Series, second: pd.Series) -> float:
    one, other = first.align(second, join="inner")
    return one_if_missing(paired_t(np.asarray(one - other, dtype=np.float64)).p)


def _by_effect(reading: Reading) -> tuple[bool, float]:
    return reading.effect is None, reading.effect or 0.0
