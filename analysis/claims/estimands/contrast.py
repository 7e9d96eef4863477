"""Contrast: the mean paired difference of methods to a reference."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analysis.claims.arms import pairs_with, samples
from analysis.claims.means import mean_questions
from analysis.claims.parts import Labels, MeanPart, Replacement, Term, Values, replace_labels
from analysis.claims.questions import Question
from analysis.evidence.evidence import Evidence


class Contrast(MeanPart):
    """The mean paired difference ``of - against`` over models, per setting; one question for each label of `of`."""

    estimand: Literal["contrast"]
    axis: Literal["scorer", "search", "correction", "recalibration", "allocation"] = "scorer"
    of: tuple[str, ...] = Field(min_length=1)
    against: str

    @property
    def gate_arm(self) -> Labels | None:
        """The reference arm, unless another one is given; only accuracies can be at chance level."""
        if self.gate is None and self.value == "accuracy":
            return {self.axis: (self.against,)}
        return super().gate_arm

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters, the labels compared and the reference."""
        return [*super().needs(), (self.axis, self.of), (self.axis, (self.against,))]

    def arms(self) -> tuple[Term, ...]:
        """Return the labels compared and the reference."""
        return Term(of={self.axis: self.of}), Term(weight=-1, of={self.axis: (self.against,)})

    def replaced(self, replacement: Replacement) -> Contrast:
        """Return the part with replaced labels of `of` and `against`."""
        (against,) = replace_labels((self.against,), replacement)
        of = replace_labels(self.of, replacement)
        return self.model_copy(update={"of": of, "against": against})

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting and label of `of`, or one on their mean."""
        pairs = pairs_with(evidence, self, self.axis, self.of, self.against)
        return mean_questions(self, samples(evidence, self, pairs, self.value))
