"""The section on robustness: primary parts decided under every reading that the study has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from analysis.claims.records import ClaimResult, PartResult, Reading
from analysis.formats import NONE, count, p_value, signed, signed_span
from analysis.report.drawing import Plot, finish
from analysis.report.layout import Section, Table
from analysis.specification_figures import BY_CONSTRUCTION, choices, kind_of, levels_of, specification_curve
from analysis.verdict_sentences import robustness_sentence

_TEXT = (
    "A reading is one combination of the choices that the source of a claim leaves open. The first level of every "
    "choice gives the primary reading, which alone decides the claim; the other readings are decided by the same test. "
    "A part is robust if no reading contradicts it after Holm's correction over the readings and at least half of them "
    "support it. Readings that hold by construction are drawn, but not counted.",
    "A difference depends on a choice if the paired difference between two of its levels is not 0 (paired t test, "
    "Holm's correction over the choices, two-sided 5 %).",
)


def robustness(results: Sequence[ClaimResult]) -> Section | None:
    """Return the section; None if no part of a claim has readings."""
    parts = list(_parts(results))
    if not parts:
        return None
    table = Table("readings", "Every reading of every primary part", readings_table(results), folded=True)
    return Section("robustness", "Robustness under other readings", _TEXT, specification_curves(results), (table,))


def _parts(results: Sequence[ClaimResult]) -> Iterator[tuple[ClaimResult, PartResult]]:
    for result in results:
        for part in result.parts:
            if part.role == "primary" and part.robustness is not None and part.robustness.readings:
                yield result, part


def specification_curves(results: Sequence[ClaimResult]) -> tuple[Plot, ...]:
    """Return a specification curve for every primary part of which two readings or more have an estimate."""
    plots = []
    for result, part in _parts(results):
        readings = [one for one in _readings(part) if one.effect is not None]
        if len(readings) < 2 or not choices(readings):
            continue
        margin = next((record.margin for record in part.records if record.margin is not None), None)
        figure = specification_curve(readings, part.kind, margin)
        plots.append(finish(f"readings-{result.id}-{part.id}", figure, _caption(result, part, readings), ()))
    return tuple(plots)


def _readings(part: PartResult) -> tuple[Reading, ...]:
    return () if part.robustness is None else part.robustness.readings


def _caption(result: ClaimResult, part: PartResult, shown: Sequence[Reading]) -> str:
    several = choices(shown)
    fixed = {
        name.replace("_", " "): level for name, level in shown[0].levels.items() if name not in several
    }  # fmt: skip
    text = f"Specification curve of claim {result.id}, part {part.id} ({part.text or result.text})"
    text = (
        f"{text.rstrip('.)')}). Mean difference over the settings of each reading, within each model, with its 95 % CI."
    )
    if part.robustness is not None:
        text += f" {robustness_sentence(part.robustness)}"
    constructed = [one for one in shown if one.by_construction]
    if constructed:
        reasons = dict.fromkeys(one.by_construction for one in constructed)
        text += f" Grey squares hold by construction ({'; '.join(reasons)}): {_named(constructed, several)}."
    if fixed:
        text += f" The same in all readings: {', '.join(f'{name} {level}' for name, level in fixed.items())}."
    missing = len(_readings(part)) - len(shown)
    return text + (f" {count(missing)} readings without an estimate are in the table alone." if missing else "")


def _named(readings: Sequence[Reading], several: Mapping[str, Sequence[str]]) -> str:
    """Name readings by their levels; those that are all combinations of some levels, by these levels.

    Examples
    --------
    >>> base = {"primary": False, "verdict": "supported", "by_construction": "equal"}
    >>> _named([Reading(levels={"mode": "exact", "order": order}, **base) for order in "ab"],
    ...        {"mode": ["ema", "exact"], "order": ["a", "b"]})
    'mode exact'
    """
    own = levels_of(readings)
    limited = {name: own[name] for name in several if len(own[name]) < len(several[name])}
    if math.prod(len(own[name]) for name in several) == len(readings) and limited:
        return ", ".join(f"{name.replace('_', ' ')} {' or '.join(levels)}" for name, levels in limited.items())
    return "; ".join(", ".join(f"{name} {one.levels[name]}" for name in several) for one in readings)


def readings_table(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """Return one row per reading of every primary part, sorted by effect within the part."""
    return pd.DataFrame([
        {
            "Claim": result.id, "Part": part.id,
            "Reading": ", ".join(f"{name.replace('_', ' ')} {level}" for name, level in one.levels.items()),
            "Primary": "yes" if one.primary else "no",
            "Verdict": one.verdict if kind_of(one) != BY_CONSTRUCTION else BY_CONSTRUCTION,
            "Mean difference (points)": signed(one.effect), "95 % CI (points)": signed_span(one.low, one.high),
            "Models": count(one.n), "Settings": count(one.settings), "p, support": p_value(one.p),
            "p, contradiction": p_value(one.p_contradiction), "By construction": one.by_construction or NONE,
        }
        for result, part in _parts(results) for one in _readings(part)
    ])  # fmt: skip
