"""A question: one part of a claim in one setting, tested but not yet decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.claims.arms import Sample
from analysis.claims.parts import Part
from analysis.claims.records import CONFIRMATORY_MODELS, Record

#: Seed of random sign patterns and bootstrap draws.
SEED = 0


def _no_values() -> pd.Series:
    return pd.Series(dtype="float64")


@dataclass(frozen=True, eq=False)
class Question:
    """A record whose verdict is still open.

    Attributes
    ----------
    record : Record
        With raw p-values, effect and interval.
    values : Series
        One number per model in percentage points, indexed by checkpoint; empty where the estimand has none.
    sample : Sample or None
        The numbers that it was made from.
    scale : float
        Factor of the p-values in the family: level of the last look / level of the look that decided the question.
    """

    record: Record
    values: pd.Series = field(default_factory=_no_values)
    sample: Sample | None = None
    scale: float = 1.0

    @property
    def key(self) -> tuple[str, str]:
        """Setting and estimand: what the question has in common with that of another look."""
        return repr(sorted(self.record.setting.items())), self.record.estimand

    @property
    def void(self) -> bool:
        """Whether the question does not arise: no data or too few points, and no cell that failed or has not run."""
        return self.record.category in ("no data", "too few points") and not unfinished(self.record.counts)

    @property
    def stratum(self) -> str:
        """Data set and architecture of the setting."""
        return f"{self.record.setting.get('dataset')}: {self.record.setting.get('model')}"


def open_record(part: Part, sample: Sample, models: int) -> dict[str, Any]:
    """Return the fields that every statistical record has.

    Parameters
    ----------
    part : Part
    sample : Sample
        Its setting, words and counts are used.
    models : int
        Models with a value.
    """
    return {
        "part": part.id, "role": part.role, "over": part.over, "kind": part.kind,
        "estimand": sample.words, "setting": sample.setting, "n": models, "counts": sample.counts,
        "by_construction": sample.by_construction, "descriptive": 0 < models < CONFIRMATORY_MODELS,
        "planned_effect": getattr(part, "planned_effect", None), "planned_d": getattr(part, "planned_d", None),
    }  # fmt: skip


def unfinished(counts: Mapping[str, int]) -> int:
    """Return how many cells failed or have not run; cells that were skipped do not count.

    Examples
    --------
    >>> unfinished({"failed: NaN scores": 2, "to do": 1, "skipped: the model has no BatchNorm": 5})
    3
    """
    return sum(number for name, number in counts.items() if name.partition(":")[0] in ("failed", "to do"))


def left_out(sample: Sample, complete: int) -> dict[str, int]:
    """Return the counts of a sample, with the models that lack a point."""
    models = sample.values.index.get_level_values("checkpoint").nunique() if len(sample.values) else 0
    missing = models - complete
    return sample.counts | ({"models without every point": missing} if missing else {})


def summed_counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Add up the counts of several samples."""
    counts: dict[str, int] = {}
    for sample in samples:
        for name, count in sample.counts.items():
            counts[name] = counts.get(name, 0) + count
    return counts
