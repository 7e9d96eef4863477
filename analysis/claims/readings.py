"""Readings: the choices that a source leaves open. The first level of every choice is the primary reading."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from analysis.claims.parts import FILTERS, Part

#: Choice -> level.
Levels: TypeAlias = dict[str, str | int | float]


def read_as(part: Part, levels: Mapping[str, str | int | float]) -> Part:
    """Return the part of one reading, without open choices.

    Examples
    --------
    >>> from analysis.claims.estimands.contrast import Contrast
    >>> part = Contrast(estimand="contrast", kind="superiority", axis="correction", of=["asr"], against="layerwise",
    ...                 readings={"recalibration": ["ema", "exact"], "lambda": {"median": {}, "eb": {"asr": "asr_eb"}}})
    >>> read_as(part, {"recalibration": "exact", "lambda": "eb"}).of, list(all_levels(part))[1]
    (('asr_eb',), {'recalibration': 'ema', 'lambda': 'eb'})
    """
    where, changes = dict(part.where), dict[str, Any]()
    for name, level in levels.items():
        choices = part.readings[name]
        if isinstance(choices, dict):
            part = part.replaced(choices[str(level)])
        elif name == "margin":
            changes |= {"margin": float(level)} if "margin" in type(part).model_fields else {}
        elif name in FILTERS:
            where[name] = (level,)  # type: ignore[assignment]
    return part.model_copy(update={"where": where, "readings": {}, **changes})


def all_levels(part: Part) -> Iterator[Levels]:
    """Iterate over the combinations of the choices of a part, the primary reading first."""
    for levels in itertools.product(*part.readings.values()):
        yield dict(zip(part.readings, levels, strict=True))


def primary_reading(part: Part) -> Part:
    """Return the part under its primary reading."""
    return read_as(part, {name: next(iter(levels)) for name, levels in part.readings.items()})
