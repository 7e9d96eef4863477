"""Combination: the mean of a weighted sum of arms."""

from __future__ import annotations

from typing import Literal

from analysis.claims.arms import samples, sum_of_terms
from analysis.claims.means import mean_questions
from analysis.claims.parts import MeanPart, TermsPart
from analysis.claims.questions import Question
from analysis.evidence.evidence import Evidence


class Combination(TermsPart, MeanPart):
    """The mean over models of a weighted sum of arms, per setting."""

    estimand: Literal["combination"]

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting, or one on the mean of the settings."""
        return mean_questions(self, samples(evidence, self, sum_of_terms(evidence, self, self.terms), self.value))
