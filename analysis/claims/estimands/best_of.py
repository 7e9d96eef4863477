"""Best of several: at least one difference to a reference is positive."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from analysis.claims.arms import Sample, pairs_with, samples
from analysis.claims.parts import ReferencePart
from analysis.claims.questions import SEED, Question, left_out, open_record, summed_counts, unfinished
from analysis.claims.records import Record, number
from analysis.claims.values import WORDS
from analysis.evidence.evidence import Evidence
from analysis.stats.degenerate import classify
from analysis.stats.limits import PowerTest
from analysis.stats.max_t import max_t
from analysis.stats.paired import one_sided_p


class AnyOf(ReferencePart):
    """At least one of several differences to `against` is positive, by the sign-flip max-T test.

    The maximum is compared with the maxima under random signs, so choosing the best is paid for. It is contradicted
    where every difference is negative.
    """

    estimand: Literal["any_of"]
    kind: Literal["superiority"] = "superiority"
    axis: Literal["scorer", "correction"] = "scorer"

    @property
    def power_test(self) -> PowerTest:
        """The sign-flip max-T test."""
        return "max-t"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting of the columns other than the compared one."""
        grouped: dict[str, list[Sample]] = {}
        pairs = pairs_with(evidence, self, self.axis, self.of, self.against)
        for sample in samples(evidence, self, pairs, self.value):
            grouped.setdefault(repr(sorted(self._place(sample).items())), []).append(sample)
        return [self._question(members) for members in grouped.values()]

    def _place(self, sample: Sample) -> dict[str, str | float]:
        compared = {"scorer", "method", self.axis}
        return {key: value for key, value in sample.setting.items() if key not in compared}

    def _question(self, members: list[Sample]) -> Question:
        arising = [member for member in members if len(member.values) or unfinished(member.counts)] or members
        measured = [member for member in arising if not member.by_construction] or arising
        names = [member.words.partition(" of ")[2].partition(" minus ")[0] for member in measured]
        table = pd.concat([member.values for member in measured], axis=1, keys=names).dropna()
        words = f"largest mean {WORDS[self.value]} of {', '.join(names)}, each minus {self.against}"
        reason = measured[0].by_construction
        sample = Sample(
            self._place(members[0]), pd.Series(dtype="float64"), words, summed_counts(measured),
            min(member.images for member in measured), reason,
        )  # fmt: skip
        fields = open_record(self, sample, len(table)) | {"counts": left_out(sample, len(table))}
        tested: dict[str, Any] = {
            "test": "sign-flip max-T", "seed": SEED, "details": _means(table), "margin": 0.0,
            "effect": number(float(table.mean().max())) if len(table) else None,
        }  # fmt: skip
        if len(table) < 2:
            tested["category"] = classify(table.iloc[:, 0]) if len(table.columns) else "no data"
        else:
            values = table.to_numpy()
            found = max_t(values, "greater", seed=SEED)
            adjusted = {f"p of {name}": number(p) for name, p in zip(names, found.p_adjusted, strict=True)}
            tested |= {
                "p": number(found.p), "p_contradiction": max(one_sided_p(column, "less") for column in values.T),
                "repetitions": found.repetitions, "category": found.category, "details": _means(table) | adjusted,
            }  # fmt: skip
        return Question(Record(**(fields | tested)), sample=sample)


def _means(table: pd.DataFrame) -> dict[str, float | None]:
    return {f"mean of {name}": number(value) for name, value in table.mean().items()}
