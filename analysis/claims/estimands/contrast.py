"""Contrast: the mean paired difference of methods to a reference."""

from __future__ import annotations

from typing import Literal

from analysis.claims.arms import pairs_with, samples
from analysis.claims.means import mean_questions
from analysis.claims.parts import MeanPart, ReferencePart
from analysis.claims.questions import Question
from analysis.evidence.evidence import Evidence


class Contrast(ReferencePart, MeanPart):
    """The mean paired difference ``of - against`` over models, per setting; one question for each label of `of`."""

    estimand: Literal["contrast"]

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting and label of `of`, or one on their mean."""
        pairs = pairs_with(evidence, self, self.axis, self.of, self.against)
        return mean_questions(self, samples(evidence, self, pairs, self.value))
