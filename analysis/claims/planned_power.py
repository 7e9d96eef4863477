"""Power of a decided question at its planned effect."""

from __future__ import annotations

from analysis.claims.estimands.best_of import AnyOf
from analysis.claims.parts import Part, TestedPart
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
        tests whose power does not follow from one standard deviation. The spread of the study's own data is never used.
    """
    if not isinstance(part, TestedPart) or part.power_test is None or part.planned_d is None or record.n < 2:
        return None
    if record.kind != "superiority" or record.margin:
        return None
    level = record.alpha / (record.questions if part.over == "some" else 1)
    arms = len(part.of) if isinstance(part, AnyOf) else 1
    return part_power(
        "superiority", part.power_test, part.planned_d, 0.0, 1.0, record.n, alpha=level, over="mean", arms=arms
    )
