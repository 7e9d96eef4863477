"""The outcome of one part: its questions, their p-values combined by the quantifier, and the verdicts they lead to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.claims.cells import chosen_rows, lacking
from analysis.claims.gates import GatedSetting, Setting, gate_of, gated_settings, rows_in
from analysis.claims.parts import Part, TestedPart
from analysis.claims.questions import Question
from analysis.claims.readings import primary_reading
from analysis.claims.records import PartResult, Record, Verdict, one_if_missing
from analysis.claims.values import LACKING
from analysis.evidence.evidence import Evidence
from analysis.stats.correction import adjust
from analysis.stats.families import part_p_values
from analysis.stats.power import Test, attainable_p

#: Category of degenerate data -> why it decides nothing.
_UNDECIDABLE = {
    "one model": "one model: a difference over models has no interval",
    "too few points": "too few sparsities (or other levels) for this test",
    "one model per architecture": "one model per architecture: no spread over models",
    "not finite": "an accuracy is not finite",
}


@dataclass(frozen=True)
class Outcome:
    """The questions of a part with its combined p-values.

    Attributes
    ----------
    part : Part
    questions : tuple of Question
        Those that arise; settings that hold by construction or were skipped are not among them.
    constructed : tuple of Question
        Settings that hold by construction.
    p, p_contradiction : float
        One-sided, of the part; 1 where nothing can be decided.
    lacks : str
        What the study lacks to test the part; empty if nothing.
    left_out : int
        Settings that are not informative in the pilot.
    """

    part: Part
    questions: tuple[Question, ...]
    constructed: tuple[Question, ...]
    p: float
    p_contradiction: float
    lacks: str = ""
    left_out: int = 0

    @property
    def by_construction(self) -> str:
        """Why the answer follows from definitions in every setting; empty where one is measured."""
        reasons = {question.record.by_construction for question in self.constructed}
        return "; ".join(sorted(reasons)) if self.constructed and not self.questions else ""

    def decided(self, alpha: float, against: float, factor: int = 1) -> PartResult:
        """Return the part with its verdict and records.

        Parameters
        ----------
        alpha : float
            One-sided level.
        against : float
            The part's contradiction p-value, adjusted for the primary parts of the claim.
        factor : int
            Factor of this part's contradiction p-values in Holm's adjustment.
        """
        verdict, reason = self._verdict(alpha, against)
        return PartResult(
            id=self.part.id, text=self.part.text, kind=self.part.kind, role=self.part.role,
            over=self.part.over, verdict=verdict, reason=reason, p=self.p, p_contradiction=self.p_contradiction,
            p_contradiction_adjusted=against, left_out=self.left_out,
            records=(*self._records(alpha, factor), *(_by_construction(question) for question in self.constructed)),
        )  # fmt: skip

    def _verdict(self, alpha: float, against: float) -> tuple[Verdict, str]:
        if not self.questions:
            return "not testable", self.by_construction or self.lacks
        if all(_untestable(question.record) for question in self.questions):
            return "not testable", _why_untestable(self.part, [question.record for question in self.questions])
        if against < alpha:
            return "contradicted", ""
        if self.p < alpha:
            return "supported", ""
        lost = sum(_untestable(q.record) for q in self.questions)
        near = sum(q.record.gate == "not informative" and not _untestable(q.record) for q in self.questions)
        number = len(self.questions)
        return "inconclusive", "; ".join([
            *([f"{lost} of {number} settings failed, were not run or cannot be tested"] if lost else []),
            *([f"{near} of {number} settings are not informative"] if near else []),
        ])  # fmt: skip

    def _records(self, alpha: float, factor: int) -> list[Record]:
        number = len(self.questions)
        support, against = ([_p(q)[side] for q in self.questions] for side in (0, 1))
        if self.part.role == "scan":
            adjusted = adjust(support, "bh").tolist(), adjust(against, "bh").tolist()
        else:
            more, less = (1, number * factor) if self.part.over == "every" else (number, factor)
            adjusted = [min(1.0, more * p) for p in support], [min(1.0, less * p) for p in against]
        return [
            _decide(question.record, p, q, number, alpha / question.scale)
            for question, p, q in zip(self.questions, *adjusted, strict=True)
        ]

    def with_earlier_decisions(self, earlier: Outcome, decided: PartResult, scale: float) -> Outcome:
        """Return the outcome in which the questions that were decided at an earlier look keep that decision.

        Parameters
        ----------
        earlier : Outcome
            Of the same part at the earlier look.
        decided : PartResult
            What `earlier.decided` returned.
        scale : float
            Level of this look / level of the earlier one.
        """
        if self.part.role == "scan":
            return self
        standing = {
            question.key: dataclasses.replace(question, scale=scale)
            for question, record in zip(earlier.questions, decided.records, strict=False)
            if record.kind != "identity" and record.verdict in ("supported", "contradicted")
        }
        questions = [standing.get(question.key, question) for question in self.questions]
        return dataclasses.replace(
            _combined(self.part, questions, self.constructed, self.lacks), left_out=self.left_out
        )


def part_outcome(
    part: Part, evidence: Evidence, informative: Sequence[Setting] | None = None, *, gated: bool = True
) -> Outcome:
    """Test the questions of a part and combine their p-values.

    Parameters
    ----------
    part : Part
    evidence : Evidence
    informative : sequence of mapping, optional
        Settings that a pilot found informative: the others are left out. Without a pilot, settings are judged on the
        study's own models; one that is not informative stays in the family, and its verdict is "inconclusive".
    gated : bool
        Whether to judge settings on the study's own models: needed for verdicts, not for the number of questions.
    """
    primary = primary_reading(part)
    missing = lacking(primary, evidence)
    if missing:
        return Outcome(part, (), (), 1.0, 1.0, missing)
    has_gate = primary.gate_arm is not None
    used = rows_in(evidence, informative) if informative is not None and has_gate else evidence
    gates = gated_settings(primary, evidence) if gated and has_gate and informative is None else None
    found = [
        _gated(question, gates, from_pilot=has_gate and informative is not None) for question in primary.questions(used)
    ]
    left_out = 0
    if used is not evidence:
        left_out = _settings(primary.questions(evidence)) - _settings(found)
    arising = [question for question in found if not question.void]
    questions = [question for question in arising if not question.record.by_construction]
    constructed = tuple(question for question in arising if question.record.by_construction)
    lacks = "" if questions else why_no_question(primary, evidence, used, [question.record for question in found])
    return dataclasses.replace(_combined(part, questions, constructed, lacks), left_out=left_out)


def _settings(questions: Sequence[Question]) -> int:
    """Return the number of settings that arise."""
    return sum(question.record.settings for question in questions if not question.void)


def _combined(part: Part, questions: Sequence[Question], constructed: tuple[Question, ...], lacks: str) -> Outcome:
    """Return the outcome with the p-values of its questions combined."""
    scaled = [tuple(min(1.0, question.scale * p) for p in _p(question)) for question in questions]
    p = part_p_values(part.over, *zip(*scaled, strict=True)) if scaled else (1.0, 1.0)
    return Outcome(part, tuple(questions), constructed, p[0], p[1], lacks)


def why_no_question(part: Part, evidence: Evidence, used: Evidence, found: Sequence[Record]) -> str:
    """Return why a part has no question: its records cannot be tested, or the study has no cell for it.

    `used` is the evidence of the settings that a pilot found informative; `evidence` itself without a pilot.
    """
    if found:
        return _why_untestable(part, found)
    if used is not evidence and len(chosen_rows(evidence, part)):
        arm = ", ".join(f"{column} {' or '.join(map(str, names))}" for column, names in (part.gate_arm or {}).items())
        return (
            f"no setting of this part is informative in the pilot: the gate's arm ({arm}) is not clearly above chance "
            f"there; another arm can be named by `gate`, and `gate: none` omits the gate"
        )
    if part.sparsities is not None and chosen_rows(evidence, part).empty:
        return f"the study has no cell at {_sparsities(part)} that meets the other conditions of this part"
    return "the study has no cell that meets all conditions of this part"


def _sparsities(part: Part) -> str:
    values, between = part.limits
    shown = [f"{100 * value:g} %" for value in values or ()]
    return f"a sparsity from {shown[0]} to {shown[1]}" if between else f"sparsity {' or '.join(shown)}"


def _gated(question: Question, gates: Sequence[GatedSetting] | None, *, from_pilot: bool) -> Question:
    """Return the question with its gate; without a pilot, a mean over several settings keeps all of them: no gate."""
    record = question.record
    if not from_pilot and (gates is None or record.settings > 1):
        return question
    gate = "informative" if from_pilot else gate_of(record.setting, gates or ())
    return dataclasses.replace(question, record=record.model_copy(update={"gate": gate}))


def _p(question: Question) -> tuple[float, float]:
    """Return the p-values of support and contradiction that enter the family; 1 where nothing can be decided."""
    record = question.record
    if record.kind == "identity":
        if not record.comparisons:
            return 1.0, 1.0
        return (1.0, 0.0) if record.mismatches else (0.0, 1.0)
    if record.gate == "not informative" or _untestable(record):
        return 1.0, 1.0
    return one_if_missing(record.p), one_if_missing(record.p_contradiction)


def _untestable(record: Record) -> bool:
    if record.kind == "identity":
        return not record.comparisons
    return record.category == "no data" or record.category in _UNDECIDABLE


def _decide(record: Record, p: float, against: float, questions: int, alpha: float) -> Record:
    """Return the record with its adjusted p-values, verdict and reason."""
    if record.kind == "identity":
        if not record.comparisons:
            return _with(record, "not testable", "no cell to compare" + _counted(record))
        return _with(record, "contradicted" if record.mismatches else "supported", "")
    changes: dict[str, Any] = {"questions": questions, "alpha": alpha}
    if record.p is not None:
        changes["p_adjusted"] = p
    if record.p_contradiction is not None:
        changes["p_contradiction_adjusted"] = against
    record = record.model_copy(update=changes)
    if record.category == "no data":
        return _with(record, "not testable", "no row to compare" + _counted(record))
    if record.category in _UNDECIDABLE:
        return _with(record, "not testable", _UNDECIDABLE[record.category])
    if record.gate == "not informative":
        return _with(record, "inconclusive", "not informative: the gate's arm is near chance level in these models")
    if against < alpha:
        return _with(record, "contradicted", "")
    if p < alpha:
        return _with(record, "supported", "")
    if record.category == "identical":
        return _with(record, "inconclusive", "")
    least = attainable_p(_ATTAINABLE.get(record.test, "t"), record.n)
    if record.repetitions is None and least * max(1, round(p / one_if_missing(record.p))) >= alpha:
        return _with(record, "inconclusive", f"no p-value under {alpha:g} is attainable with {record.n} models")
    for word, raw in (("supported", record.p), ("contradicted", record.p_contradiction)):
        if one_if_missing(raw) < alpha:
            return _with(record, "inconclusive", f"{word} before, not after, correction over {questions} questions")
    return _with(record, "inconclusive", "")


#: Name of a record's test -> that of its least attainable p.
_ATTAINABLE: dict[str, Test] = {
    "sign-flip": "sign-flip",
    "sign-flip max-T": "max-t",
    "sign-flip max-T, both signs": "max-t",
}


def _by_construction(question: Question) -> Record:
    return _with(question.record, "not testable", f"by construction: {question.record.by_construction}")


def _why_untestable(part: Part, records: Sequence[Record]) -> str:
    """Return why no record of a part can be tested: what its value lacks where that is all, else the first reason."""
    value = part.value if isinstance(part, TestedPart) else "accuracy"
    if value != "accuracy" and all(r.n == 0 and not (set(r.counts) & {"failed", "to do"}) for r in records):
        return LACKING[value]
    reasons = Counter(_decide(record, 1.0, 1.0, 1, 0.025).reason for record in records)
    return reasons.most_common(1)[0][0]


def _counted(record: Record) -> str:
    counted = [f"{count} {name}" for name, count in record.counts.items()]
    return f" ({', '.join(counted)})" if counted else ""


def _with(record: Record, verdict: Verdict, reason: str) -> Record:
    both = "; ".join(text for text in (reason, record.reason) if text)
    return record.model_copy(update={"verdict": verdict, "reason": both})
