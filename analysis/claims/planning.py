"""What every part of a study's claims can decide, before any run: cells, questions, power and models needed.

A part's questions come from the function that decides it (`analysis.claims.outcomes.part_outcome`), so that a plan and
a report agree. Power is computed for the part's own deciding test, quantifier and *planned* effect in a fresh study.
The spread is that of a pilot, at its upper 80 % limit, or a stated one; an observed effect is no input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claims.cells import arms_in_words, lacking, part_cells
from analysis.claims.gates import Setting, informative_settings, registered_gates
from analysis.claims.means import null_value, resolution, resolved_margin
from analysis.claims.outcomes import Outcome, part_outcome, why_no_question
from analysis.claims.parts import MeanPart, Part, TestedPart
from analysis.claims.read import Claims
from analysis.claims.readings import primary_reading
from analysis.evidence.evidence import Evidence
from analysis.evidence.stand_in import with_stand_ins
from analysis.stats.limits import CLAIM_ALPHA, Over, PowerTest
from analysis.stats.looks import expected_models, nominal_levels
from analysis.stats.models_needed import Kind, least_decidable, models_needed, part_power, sd_upper_limit
from analysis.stats.power import POWER

#: Numbers of models that ``prunebench power`` compares by default.
MODELS = (5, 10, 20, 30)


@dataclass(frozen=True)
class PowerAt:
    """Power and least decidable effect or margin of a part with a number of models.

    Attributes
    ----------
    models : int
        Independently trained models per architecture.
    power : float or None
        Power at the planned effect; None where no effect is planned or its unit cannot be converted.
    least : float or None
        Least true difference over the margin (superiority), or least margin (other kinds), that is decided with the
        requested power. In points, or in sd without a spread.
    attainable : bool
        Whether any data of so many models can decide the part.
    """

    models: int
    power: float | None
    least: float | None
    attainable: bool = True


@dataclass(frozen=True)
class PartPlan:
    """What a part can decide.

    Attributes
    ----------
    claim, part, role, kind, over, test : str
        The part and its deciding test.
    arms : str
        What is compared.
    cells : int
        Planned cells that the part uses; 0 where the study lacks an arm.
    questions : int or None
        Settings in which it is tested; None for an identity of which nothing was run.
    margin : float or None
        Percentage points; None where the kind has no margin.
    effect : float or None
        Planned effect, in the unit of `unit`.
    unit : str
        ``points``, or ``sd`` (standard deviations of the differences) where the spread is not known.
    sd : float or None
        Standard deviation over models of the paired difference, points: upper limit of the pilot's, or the stated one.
    planned : PowerAt
        With the planned models.
    needed : int or None
        Models needed for the planned effect; None where none is planned, or no number is enough.
    expected : float or None
        Expected number of models in a study with two looks, which stops when the part is decided in one setting.
    others : tuple of PowerAt
        With other numbers of models.
    reason : str
        Why the part is not testable, or why no power is computed; empty otherwise.
    """

    claim: str
    part: str
    role: str
    kind: str
    over: str
    test: str
    arms: str
    cells: int
    questions: int | None
    margin: float | None
    effect: float | None
    unit: str
    sd: float | None
    planned: PowerAt
    needed: int | None
    expected: float | None
    others: tuple[PowerAt, ...]
    reason: str

    @property
    def testable(self) -> bool:
        """Whether the study has the cells that the part needs."""
        return self.questions != 0


def plan_parts(
    evidence: Evidence, claims: Claims, *, pilots: Sequence[Evidence] = (), sd: float | None = None,
    models: Sequence[int] = (), power: float = POWER,
) -> list[PartPlan]:  # fmt: skip
    """Plan every part of a study's claims.

    Parameters
    ----------
    evidence : Evidence
        The planned rows, run or not.
    claims : Claims
    pilots : sequence of Evidence
        Studies that give spread and informative settings; without any, the settings are those of the registration.
    sd : float, optional
        Standard deviation over models of the paired differences, in percentage points; replaces that of the pilots.
    models : sequence of int
        Further numbers of models to compare.
    power : float, default 0.8
        Requested power.
    """
    alpha = CLAIM_ALPHA if claims.looks is None else nominal_levels(claims.looks, CLAIM_ALPHA)[-1]
    judged = _Judged(evidence)
    fixed = {} if pilots else registered_gates(evidence)
    return [
        _Planner(
            claim.id, part, judged, tuple(pilots), fixed.get((claim.id, part.id)), sd, alpha, power, claims.looks
        ).plan(models)
        for claim in claims.claims for part in claim.parts
    ]  # fmt: skip


@dataclass(frozen=True)
class _Judged:
    """The planned rows, and fewer of them that show the same questions."""

    evidence: Evidence

    def showing(self, part: Part) -> Evidence:
        """Return the evidence that shows the questions of a part.

        A mean or an identity has the same questions before and after a run. Along an axis, results decide how many
        points there are, so they are replaced by stand-ins where a part needs nothing but accuracies.
        """
        if not self._unrun:
            return self.evidence
        along = isinstance(part, TestedPart) and not isinstance(part, MeanPart)
        values = {getattr(part, key, "accuracy") for key in ("value", "along_value")}
        return self._with_stand_ins if along and values <= {"accuracy", "change"} else self._first

    @functools.cached_property
    def _unrun(self) -> bool:
        return bool(self.evidence.pruned["state"].isna().all())

    @functools.cached_property
    def _first(self) -> Evidence:
        return self.evidence.first_models(1)

    @functools.cached_property
    def _with_stand_ins(self) -> Evidence:
        return with_stand_ins(self.evidence.first_models(2))


@dataclass(frozen=True)
class _Planner:
    """One part and what its plan is made from."""

    claim: str
    stated: Part
    judged: _Judged
    pilots: tuple[Evidence, ...]
    registered: Sequence[Setting] | None
    given_sd: float | None
    alpha: float
    power: float
    looks: tuple[int, int] | None

    def plan(self, models: Sequence[int]) -> PartPlan:
        part, cells = self.part, self.cells
        questions, lacks, test = self._questions()
        images = float(cells["n_test"].min()) if cells["n_test"].notna().any() else math.nan
        margin = resolved_margin(part, images)[0] if isinstance(part, MeanPart) else getattr(part, "margin", None)
        sd = self._spread(images) if questions else None
        effect = self._effect(sd)
        planned = self._models()
        own = _Test.of(part, questions, self._strata(), self._compared(), self.alpha) if questions else None

        def power_at(n: int) -> PowerAt:
            if own is None or n < 2:
                return PowerAt(n, None, None)
            least = own.least(n, self.power) * (1 if sd is None else sd)
            found = None if effect is None else own.power(n, effect, margin, sd)
            return PowerAt(n, found, least if math.isfinite(least) else None, math.isfinite(least))

        needed = None if own is None or effect is None else own.needed(effect, margin, sd, self.power)
        reason = lacks
        if questions and own is None and isinstance(part, TestedPart):
            reason = "the power of this test depends on more than one standard deviation"
        return PartPlan(
            self.claim, part.id, part.role, part.kind, part.over, test, arms_in_words(part),
            len(cells), questions, margin, effect, "sd" if sd is None else "points", sd, power_at(planned), needed,
            self._expected(effect, margin, sd), tuple(power_at(n) for n in models), reason,
        )  # fmt: skip

    def _expected(self, effect: float | None, margin: float | None, sd: float | None) -> float | None:
        """Return the expected number of models at two looks; None without looks, or where it is not known."""
        one_sided = isinstance(self.part, MeanPart) and self.part.kind in ("superiority", "noninferiority")
        if self.looks is None or effect is None or not one_sided or (sd is None and margin):
            return None
        distance = effect - null_value(self.part.kind, margin or 0.0)
        return expected_models(distance, 1.0 if sd is None else sd, self.looks)

    @property
    def evidence(self) -> Evidence:
        """The planned rows."""
        return self.judged.evidence

    @functools.cached_property
    def part(self) -> Part:
        """The part under its primary reading."""
        return primary_reading(self.stated)

    @functools.cached_property
    def cells(self) -> pd.DataFrame:
        found = part_cells(self.part, self.evidence)
        return found.iloc[:0] if self.lacks else found

    @functools.cached_property
    def lacks(self) -> str:
        """What the study lacks to test the part."""
        return lacking(self.part, self.evidence)

    @functools.cached_property
    def informative(self) -> Sequence[Setting] | None:
        """Settings that the pilots found informative, as a registration stores them; None where none can judge."""
        return informative_settings(self.stated, self.pilots) if self.pilots else self.registered

    def _questions(self) -> tuple[int | None, str, str]:
        """Return the number of questions, what the study lacks, and the deciding test."""
        if self.lacks:
            return 0, self.lacks, ""
        if self.cells.empty:
            return 0, why_no_question(self.part, self.evidence, self.evidence, []), ""
        outcome = part_outcome(self.stated, self.judged.showing(self.part), self.informative, gated=False)
        if outcome.questions or outcome.constructed:
            test = (*outcome.questions, *outcome.constructed)[0].record.test.removesuffix(", architectures as strata")
            return len(outcome.questions) or None, outcome.by_construction, test
        unrun = self.cells["state"].isna().all()
        if self.part.kind == "identity" and unrun:
            return None, "", "exact comparison of the results"
        return 0, outcome.lacks, ""

    def _spread(self, images: float) -> float | None:
        """Return the standard deviation over models to plan with, not under the resolution of the test set."""
        part = self.part
        if not isinstance(part, TestedPart) or part.power_test is None or not hasattr(part, "margin"):
            return None
        sd = self.given_sd if self.given_sd is not None else self._pilot_sd()
        floor = resolution(part, images) if isinstance(part, MeanPart) else 0.0
        return None if sd is None else max(sd, floor)

    def _pilot_sd(self) -> float | None:
        """Pool the standard deviations of the pilots' settings and architectures, and return the upper limit."""
        squares, df = 0.0, 0
        for pilot in self.pilots:
            outcome: Outcome = part_outcome(self.stated, pilot, self.informative, gated=False)
            known = pilot.rows.dropna(subset="checkpoint").drop_duplicates("checkpoint").set_index("checkpoint")
            architecture = known["dataset"] + ": " + known["model"]
            for question in outcome.questions:
                for _, values in question.values.groupby(architecture.reindex(question.values.index).to_numpy()):
                    squares += float(((values - values.mean()) ** 2).sum())
                    df += len(values) - 1
        return sd_upper_limit(math.sqrt(squares / df), df) if df and squares > 0 and math.isfinite(squares) else None

    def _effect(self, sd: float | None) -> float | None:
        """Return the planned effect in points, or in sd where the spread is not known."""
        part = self.part
        if not isinstance(part, TestedPart) or part.power_test is None:
            return None
        if part.planned_d is not None:
            return part.planned_d if sd is None else part.planned_d * sd
        if sd is not None and part.kind in ("noninferiority", "equivalence"):
            return part.planned_effect or 0.0
        return None if sd is None else part.planned_effect

    def _models(self) -> int:
        """Return the least number of planned models of an architecture."""
        if self.cells.empty:
            return self.evidence.models_per_architecture
        seeds = self.cells.groupby(["dataset", "model"], observed=True)["train_seed"].nunique()
        return max(1, int(seeds.min()))

    def _strata(self) -> int:
        """Return the number of architectures that a mean over settings averages."""
        return len(self.cells[["dataset", "model"]].drop_duplicates()) if self.part.over == "mean" else 1

    def _compared(self) -> int:
        """Return the number of labels of which the best is compared."""
        arms = self.part.arms()
        return max(1, *(len(self.evidence.labels(*one)) for one in arms[0].of.items())) if arms else 1


@dataclass(frozen=True)
class _Test:
    """A deciding test whose power follows from one standard deviation."""

    kind: Kind
    test: PowerTest
    over: Over
    questions: int
    strata: int
    arms: int
    alpha: float

    @classmethod
    def of(cls, part: Part, questions: int, strata: int, arms: int, alpha: float) -> _Test | None:
        if not isinstance(part, TestedPart) or part.power_test is None:
            return None
        kind: Kind = part.kind if isinstance(part, MeanPart) else "superiority"
        compared = arms if part.power_test == "max-t" else 1
        return cls(kind, part.power_test, part.over, questions, strata, compared, alpha)

    def size(self, models: int) -> int:
        """Return the sample size that has the degrees of freedom of the mean of the strata's means."""
        return self.strata * (models - 1) + 1

    def least(self, models: int, power: float) -> float:
        """Return the least decidable effect or margin in sd."""
        return _least(
            self.kind, self.test, self.size(models), self.alpha, self.over, self.questions, power, self.arms
        )  # fmt: skip

    def power(self, models: int, effect: float, margin: float | None, sd: float | None) -> float | None:
        """Return the power for a planned effect; None if a margin in points cannot be converted to sd."""
        if sd is None and margin:
            return None
        return part_power(
            self.kind, self.test, effect, margin or 0.0, sd or 1.0, self.size(models), alpha=self.alpha,
            over=self.over, questions=self.questions, arms=self.arms,
        )  # fmt: skip

    def needed(self, effect: float, margin: float | None, sd: float | None, power: float) -> int | None:
        """Return the models needed per architecture."""
        if sd is None and margin:
            return None
        found = models_needed(
            self.kind, self.test, effect, margin or 0.0, sd or 1.0, alpha=self.alpha, power=power, over=self.over,
            questions=self.questions, arms=self.arms,
        )  # fmt: skip
        return None if found is None else math.ceil((found - 1) / self.strata) + 1


@functools.lru_cache(maxsize=4096)
def _least(
    kind: Kind, test: PowerTest, n: int, alpha: float, over: Over, questions: int, power: float, arms: int
) -> float:  # fmt: skip
    return least_decidable(kind, test, 1.0, n, alpha=alpha, over=over, questions=questions, power=power, arms=arms)
