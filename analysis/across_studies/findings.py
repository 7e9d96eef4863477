"""What one study found about one part of a claim: verdict, mean over settings, and settings by sign."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from analysis.across_studies.studies import Study
from analysis.claims.arms import Sample
from analysis.claims.cells import lacking
from analysis.claims.estimands.combination import Combination
from analysis.claims.estimands.ratio import RatioOfMeans
from analysis.claims.gates import Setting, registered_gates
from analysis.claims.means import mean_over_settings, resolution
from analysis.claims.outcomes import part_outcome
from analysis.claims.parts import MeanPart, Part, Role
from analysis.claims.readings import all_levels, primary_reading, read_as
from analysis.claims.records import Basis, PartResult, Record, Verdict
from analysis.claims.schema import Claim
from analysis.claims.scope import scope_in_words
from analysis.evidence.evidence import Evidence
from bench.core.types import PLUGIN_AXES

#: Columns whose labels name a method with a version.
METHOD_KINDS = tuple(axis.name for axis in PLUGIN_AXES)
#: Keys of a part that do not change what is estimated.
_NOT_ESTIMATED = {
    "text", "role", "over", "kind", "margin", "margin_reason", "test", "planned_effect", "planned_d", "paper_value",
    "gate", "readings",
}  # fmt: skip


@dataclass(frozen=True)
class Signs:
    """Numbers of settings whose mean over models is above zero, zero, and below zero."""

    above: int = 0
    equal: int = 0
    below: int = 0

    @property
    def total(self) -> int:
        """Number of settings."""
        return self.above + self.equal + self.below


@dataclass(frozen=True)
class Estimate:
    """The mean of a part over the settings within each model, in percentage points.

    Attributes
    ----------
    effect : float
    low, high : float or None
        95 % interval; None where the models allow none, as with one model per architecture.
    se, df : float or None
        Standard error and degrees of freedom of the interval.
    models : int
    signs : Signs
        Of the settings.
    """

    effect: float
    low: float | None
    high: float | None
    se: float | None
    df: float | None
    models: int
    signs: Signs


@dataclass(frozen=True)
class ReadingFound:
    """A reading of a part in one study: choice -> level, its verdict and its estimate."""

    levels: dict[str, str | float]
    primary: bool
    verdict: Verdict
    by_construction: str
    estimate: Estimate | None


@dataclass(frozen=True)
class Finding:
    """One part of a claim in one study.

    Attributes
    ----------
    study, claim, part, text : str
    role, verdict, reason, scope, basis, registration : str
    models : int
        Models that the smallest record of the part rests on.
    records : dict
        Verdict -> number of records of the part.
    estimate : Estimate or None
        Of the primary reading; None for a part that is not about a mean, or without data.
    readings : tuple of ReadingFound
    values : Series
        Mean of each model over its settings, indexed by checkpoint.
    architectures : Series
        Data set and architecture of each model, same index.
    least_sd : float
        Lower bound of the standard deviation of `values`: the rounding of accuracies to whole images.
    methods : dict
        Kind and name of every method that the part uses -> its version.
    definition : str
        What is estimated, as JSON: studies whose definitions differ are not combined.
    looks : bool
        Whether the claims are decided at two looks. The interval is then the repeated one.
    """

    study: str
    claim: str
    part: str
    text: str
    role: Role
    verdict: Verdict
    reason: str
    scope: str
    basis: Basis
    registration: str
    models: int
    records: dict[str, int]
    estimate: Estimate | None
    readings: tuple[ReadingFound, ...]
    values: pd.Series = field(repr=False, compare=False)
    architectures: pd.Series = field(repr=False, compare=False)
    least_sd: float
    methods: dict[tuple[str, str], int | str]
    definition: str
    looks: bool = False


def findings_of(study: Study) -> list[Finding]:
    """Return what a study found about every part of its claims that it has data for."""
    if study.claims is None:
        return []
    return [
        _finding(study, claim, part, result)
        for claim, decided in zip(study.claims.claims, study.results, strict=True)
        for part, result in zip(claim.parts, decided.parts, strict=True)
        if has_data(result)
    ]


def has_data(result: PartResult) -> bool:
    """Whether a part has a record with data, be it enough for a test or not."""
    return any(record.n > 0 or record.comparisons for record in result.records)


def _finding(study: Study, claim: Claim, part: Part, result: PartResult) -> Finding:
    looks = study.claims.looks if study.claims is not None else None
    evidence = study.evidence if looks is None else study.evidence.first_models(looks[1])
    informative = registered_gates(study.evidence).get((claim.id, part.id))
    primary = primary_reading(part)
    used = [record for record in result.records if record.n > 0 or record.comparisons]
    samples = _samples(primary, evidence, informative)
    estimate, values = _estimate(primary, samples)
    if estimate is not None and looks is not None:
        estimate = _repeated(estimate, used)
    names = evidence.dense.drop_duplicates("checkpoint").set_index("checkpoint")
    architectures = (names["dataset"] + ": " + names["model"]).reindex(values.index)
    by_definition = all(record.kind == "identity" or record.by_construction for record in used)
    images = min((sample.images for sample in samples), default=float("nan"))
    return Finding(
        study=study.name, claim=claim.id, part=result.id, text=result.text, role=result.role, verdict=result.verdict,
        reason=result.reason, scope=scope_in_words(claim.setting, used),
        basis="by construction" if by_definition else "measured", registration=study.registration,
        models=min(record.n for record in used),
        records=dict(Counter(record.verdict for record in used)), estimate=estimate,
        readings=_readings(part, result, evidence, informative),
        values=values, architectures=architectures,
        least_sd=resolution(_about_mean(primary), images) if samples else 0.0,
        methods=_methods(primary, evidence), definition=_definition(primary), looks=looks is not None,
    )  # fmt: skip


def _repeated(estimate: Estimate, used: Sequence[Record]) -> Estimate:
    """Return the estimate of a study with two looks: with the repeated interval, for after a stop others are wrong."""
    low, high = None, None
    if len(used) == 1 and used[0].effect is not None:
        low, high = used[0].low_repeated, used[0].high_repeated
        estimate = dataclasses.replace(estimate, effect=used[0].effect, models=used[0].n)
    return dataclasses.replace(estimate, low=low, high=high, se=None, df=None)


def _samples(part: Part, evidence: Evidence, informative: Sequence[Setting] | None) -> list[Sample]:
    """Return the numbers of every setting, also for a part about the mean over settings."""
    if not isinstance(part, MeanPart | RatioOfMeans):
        return []
    outcome = part_outcome(part.model_copy(update={"over": "every"}), evidence, informative, gated=False)
    questions = outcome.questions or outcome.constructed
    return [question.sample for question in questions if question.sample is not None and len(question.sample.values)]


def _estimate(part: Part, samples: Sequence[Sample]) -> tuple[Estimate | None, pd.Series]:
    if not samples:
        return None, pd.Series(dtype="float64")
    question = mean_over_settings(_about_mean(part), samples)[0]  # several where all differences are zero by definition
    record = question.record
    if record.effect is None:
        return None, question.values
    se = None
    if record.low is not None and record.high is not None and record.df is not None:
        se = (record.high - record.low) / 2 / float(stats.t.ppf(0.975, record.df))
    signs = np.sign([round(float(sample.values.mean()), 9) for sample in samples])
    counted = Signs(*(int((signs == sign).sum()) for sign in (1, 0, -1)))
    estimate = Estimate(record.effect, record.low, record.high, se, record.df, record.n, counted)
    return estimate, question.values


def _about_mean(part: Part) -> MeanPart:
    """Return the part as one about the mean over settings; a ratio is estimated by the sum of arms that it tests."""
    if isinstance(part, RatioOfMeans):
        return Combination(
            id=part.id, estimand="combination", kind="superiority", over="mean", gate="none", terms=part.arms(),
            value=part.value,
        )  # fmt: skip
    assert isinstance(part, MeanPart)
    return part.model_copy(update={"over": "mean"})


def _readings(
    part: Part, result: PartResult, evidence: Evidence, informative: Sequence[Setting] | None
) -> tuple[ReadingFound, ...]:
    """Return the readings that were decided, each with its estimate."""
    if result.robustness is None:
        return ()
    estimates = {}
    for levels in all_levels(part):
        read = read_as(part, levels)
        if not lacking(read, evidence):
            estimates[_key(levels)] = _estimate(read, _samples(read, evidence, informative))[0]
    return tuple(
        ReadingFound(one.levels, one.primary, one.verdict, one.by_construction, estimates.get(_key(one.levels)))
        for one in result.robustness.readings
    )


def _key(levels: Mapping[str, str | float]) -> str:
    """Return a key of a reading's levels in which 1 equals 1.0."""
    return json.dumps({name: level if isinstance(level, str) else float(level) for name, level in levels.items()})


def _methods(part: Part, evidence: Evidence) -> dict[tuple[str, str], int | str]:
    """Return the methods of the rows that a part uses, with their versions."""
    rows = evidence.select(part.where, *part.limits)
    named: dict[str, list[str | int]] = {}
    for column, names in part.needs():
        named.setdefault(column, []).extend(names)
    for column, requested in named.items():
        rows = rows[rows[column].isin(evidence.labels(column, requested))]
    found = {}
    for kind in METHOD_KINDS:
        for label in rows[kind].dropna().unique():
            record = evidence.known_methods.find(kind, str(label))
            if record is not None:
                found[kind, record.name] = record.version
    return found


def _definition(part: Part) -> str:
    return json.dumps(part.model_dump(mode="json", exclude=_NOT_ESTIMATED), sort_keys=True)
