"""Sentences on single records: what was compared, its effect, interval, p-value and caveats."""

from __future__ import annotations

from analysis.claims.records import Record
from analysis.formats import NONE, count, decimal, p_phrase, p_value, percent, signed, signed_span, where


def identity_sentence(record: Record) -> str:
    """Describe one setting of an identity: cells compared, mismatches, cells not used."""
    if record.comparisons is None or record.mismatches is None or record.verdict == "not testable":
        return f"{where(record.setting)}: not testable, {record.reason}."
    text = (
        f"{where(record.setting)}: {record.verdict}, {count(record.comparisons)} cells compared over "
        f"{models_text(record.n)}, {count(record.mismatches)} mismatches"
    )
    if record.tolerance is not None and record.effect is not None:
        text += f"; largest difference {decimal(record.effect)} points, tolerance {decimal(record.tolerance)}"
    if record.counts:
        text += "; " + ", ".join(f"{count(number)} {name}" for name, number in record.counts.items())
    if record.names:
        text += f"; layers outside the scope: {', '.join(record.names)}"
    return text + "."


def statistical_sentence(record: Record) -> str:
    """Describe one record of a statistical part: verdict, effect, interval, p-value and caveats."""
    text = f"{where(record.setting, compared=True)}: {record.verdict}"
    if record.effect is not None:
        text += f", mean difference {signed(record.effect)} points"
    if record.low is not None:
        text += f" ({interval_text(record)})"
    text += f", {models_text(record.n)}"
    if record.margin:
        text += f", margin {decimal(record.margin)} points"
    if record.p is not None or record.p_contradiction is not None:
        text += f", {record.test}: {p_text(record)}"
    if record.power is not None:
        text += f"; power {percent(record.power, 0)} % for {planned(record)}"
    if record.paper_value is not None:
        text += f"; {paper_value(record)}"
    if record.details:
        text += f"; {details(record)}"
    if record.gate and record.gate != "not informative":  # the reason explains that one
        text += f"; gate: {record.gate}"
    if record.reason:
        text += f"; {record.reason}"
    if record.same_as:
        text += f"; the same test as {record.same_as}"
    if record.disagree:
        text += "; the tests disagree"
    return text + (" (descriptive only)." if record.descriptive else ".")


def interval_text(record: Record) -> str:
    """Return the interval of a record: with two looks the repeated one alone, since the 95 % CI covers too rarely.

    Examples
    --------
    >>> base = {"part": "a", "kind": "superiority", "estimand": "", "setting": {}, "n": 10, "low": 1.0, "high": 3.0}
    >>> interval_text(Record(**base)), interval_text(Record(**base, low_repeated=0.5, high_repeated=3.5))
    ('95 % CI +1.00 to +3.00', 'repeated interval +0.50 to +3.50')
    """
    if record.low_repeated is not None:
        return f"repeated interval {signed_span(record.low_repeated, record.high_repeated)}"
    return f"95 % CI {signed_span(record.low, record.high)}"


def models_text(number: int) -> str:
    """Return a number of models with its noun."""
    return "1 model" if number == 1 else f"{count(number)} models"


def direction(record: Record) -> str:
    """Return the direction whose p-value is reported: ``support`` or ``contradiction``."""
    if record.p is None and record.p_contradiction is None:
        return NONE
    return "support" if record.reported_p == (record.p, record.p_adjusted) else "contradiction"


def p_text(record: Record) -> str:
    """Return the p-value of the reported direction, raw and adjusted.

    Examples
    --------
    >>> p_text(Record(part="a", kind="superiority", estimand="", setting={}, n=9, p=0.99, p_contradiction=0.01,
    ...               p_contradiction_adjusted=0.04, questions=4))
    'p = 0.0100 for contradiction, 0.0400 adjusted'
    """
    raw, adjusted = record.reported_p
    text = f"{p_phrase(raw)} for {direction(record)}"
    return text if adjusted is None else f"{text}, {p_value(adjusted)} adjusted"


def planned(record: Record) -> str:
    """Return the planned effect of a record, in points or standard deviations; a dash if none was planned."""
    if record.planned_effect is not None:
        return f"a difference of {decimal(record.planned_effect)} points"
    return NONE if record.planned_d is None else f"a difference of {decimal(record.planned_d)} sd"


def paper_value(record: Record) -> str:
    """Describe where the source's value lies relative to the printed 95 % interval.

    Examples
    --------
    >>> base = {"part": "a", "kind": "superiority", "estimand": "", "setting": {}}
    >>> paper_value(Record(**base, n=10, paper_value=6.6, size="smaller"))
    "the paper's value, +6.60, is above the 95 % CI"
    """
    place = {
        "agrees": "inside the 95 % CI", "smaller": "above the 95 % CI", "larger": "below the 95 % CI",
        "cannot tell": "not distinguishable from 0 by the 95 % CI",
    }[record.size or "cannot tell"]  # fmt: skip
    return f"the paper's value, {signed(record.paper_value)}, is {place}"


def details(record: Record) -> str:
    """List further results of the test; those that begin with "mean at" are in points."""
    return ", ".join(f"{name} {_detail(name, value)}" for name, value in record.details.items())


def _detail(name: str, value: float | int | str | None) -> str:
    if value is None or isinstance(value, str):
        return NONE if value is None else value
    if isinstance(value, int):
        return count(value)
    if name.startswith("mean at "):
        return signed(value)
    return p_value(value) if name.startswith("p ") or name.startswith("p,") else decimal(value)
