"""Ratio: the share of one effect that another one reaches, such as a control's share of an escape."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from analysis.claims.estimands.combination import Combination
from analysis.claims.parts import DecidingTest, Replacement, Term, TestedPart, Values
from analysis.claims.questions import Question
from analysis.claims.records import number
from analysis.evidence.evidence import Evidence
from analysis.stats.limits import PowerTest
from analysis.stats.ratio import fieller


class RatioOfMeans(TestedPart):
    """The mean of one sum of arms exceeds a share of the mean of another one.

    The test is that of the combination ``of - least * to`` against 0. The ratio is shown with Fieller's interval over
    all models; it is a share where the mean of `to` is positive.
    """

    averaged: ClassVar[bool] = True

    estimand: Literal["ratio"]
    kind: Literal["superiority"] = "superiority"
    of: tuple[Term, ...] = Field(min_length=1, description="terms of the numerator")
    to: tuple[Term, ...] = Field(min_length=1, description="terms of the denominator")
    least: float = Field(0.5, gt=0, le=2, description="share of the denominator, 0.5 for a half")
    test: DecidingTest = Field("t", description="the deciding test")

    @property
    def power_test(self) -> PowerTest:
        """The deciding test."""
        return self.test

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters and the labels of all terms."""
        return [*super().needs(), *((column, names) for term in self.arms() for column, names in term.of.items())]

    def arms(self) -> tuple[Term, ...]:
        """Return the terms of numerator and denominator."""
        return (*self.of, *self.to)

    def replaced(self, replacement: Replacement) -> RatioOfMeans:
        """Return the part with replaced labels in its terms."""
        of, to = (tuple(term.replaced(replacement) for term in terms) for terms in (self.of, self.to))
        return self.model_copy(update={"of": of, "to": to})

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting, or one on the mean of the settings."""
        less = tuple(term.model_copy(update={"weight": -self.least * term.weight}) for term in self.to)
        above, below = (
            {repr(question.record.setting): question.values for question in self._sum(terms).questions(evidence)}
            for terms in (self.of, self.to)
        )
        found = []
        for question in self._sum((*self.of, *less)).questions(evidence):
            key = repr(question.record.setting)
            ratio = fieller(*above[key].align(below[key], join="inner"))
            details = question.record.details | {
                "ratio (%)": number(100 * ratio.estimate), "ratio, low (%)": number(100 * ratio.low),
                "ratio, high (%)": number(100 * ratio.high),
            }  # fmt: skip
            record = question.record.model_copy(update={"details": details})
            found.append(Question(record, question.values, question.sample))
        return found

    def _sum(self, terms: tuple[Term, ...]) -> Combination:
        """Return a sum of terms as a part of its own."""
        shared = {name: getattr(self, name) for name in ("id", "role", "over", "where", "sparsities", "value", "test")}
        planned = {"planned_effect": self.planned_effect, "planned_d": self.planned_d}
        return Combination(estimand="combination", kind="superiority", gate="none", terms=terms, **shared, **planned)
