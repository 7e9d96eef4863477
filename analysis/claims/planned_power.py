"""Power of a decided question at its planned effect."""

from __future__ import annotations

from analysis.claims.estimands.best_of import AnyOf
from analysis.claims.estimands.trend import Association
from analysis.claims.parts import MeanPart, Part
from analysis.claims.records import Record
from analysis.stats.models_needed import part_power


def planned_power(part: Part, record: Record) -> float | None:
    """Return the power of a record's deciding test at the planned standardised effect.

    Parameters
    ----------
    part : Part
    record : Record
        Its models, questions and level are used: a question of a part over ``some`` settings is tested at alpha over
        their number, one of a part over ``every`` setting at alpha.

    Returns
    -------
    float or None
        None without a `planned_d`, for a margin in points (whose size in standard deviations is not known), and for
        tests other than t, sign-flip and max-T. The spread of the study's own data is never used.
    """
    d = getattr(part, "planned_d", None)
    margin = getattr(part, "margin", None) or 0.0
    if d is None or record.kind != "superiority" or margin or record.n < 2:
        return None
    level = record.alpha / (record.questions if part.over == "some" else 1)
    if isinstance(part, AnyOf):
        return part_power("superiority", "max-t", d, 0.0, 1.0, record.n, alpha=level, over="mean", arms=len(part.of))
    if isinstance(part, MeanPart):
        return part_power("superiority", part.test, d, 0.0, 1.0, record.n, alpha=level, over="mean")
    if isinstance(part, Association):
        return part_power("superiority", "t", d, 0.0, 1.0, record.n, alpha=level, over="mean")
    return None
