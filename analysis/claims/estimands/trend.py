"""Questions along an axis: a trend, a change of sign, a difference of any kind, an association with another number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from analysis.claims.arms import Arm, Comparison, Sample, samples, sum_of_terms
from analysis.claims.cells import chosen_rows
from analysis.claims.means import default_margin, run_mean_test
from analysis.claims.parts import LARGEST_POINTS, PowerTest, Term, TermsPart, TestedPart, Value, Values
from analysis.claims.questions import SEED, Question, left_out, open_record
from analysis.claims.records import Record, number, one_if_missing
from analysis.claims.values import WORDS
from analysis.evidence.evidence import Evidence
from analysis.evidence.labels import matching_labels
from analysis.stats.degenerate import classify
from analysis.stats.effects import correlation_interval, correlation_test
from analysis.stats.equivalence import tost
from analysis.stats.max_t import max_t
from analysis.stats.paired import one_sided_p, paired_t
from analysis.stats.ranks import friedman, rank_rows
from analysis.stats.trend import page

#: A trend or a correlation over fewer points cannot be tested.
LEAST_POINTS = 3

Table = NDArray[np.float64]


class Trend(TermsPart):
    """The sum of arms grows (or falls) along an axis: Page's test with models as blocks."""

    estimand: Literal["trend"]
    kind: Literal["trend"] = "trend"
    axis: Literal["sparsity", "calibration_images", "calibration_batch"] = "sparsity"
    direction: Literal["increasing", "decreasing"] = "increasing"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting of the other columns."""
        return [
            _question(self, sample, sample.table(), self._test) for sample in _samples_along(self, evidence, self.axis)
        ]

    def _test(self, _: Sample, table: pd.DataFrame) -> dict[str, Any]:
        fields: dict[str, Any] = {"test": "Page's trend", "details": _means(table)}
        if table.shape[1] < LEAST_POINTS:
            return fields | {"category": "too few points" if len(table) else "no data"}
        found = page(table.to_numpy(), self.direction)
        return fields | {
            "statistic": number(found.statistic), "p": number(found.p), "p_contradiction": number(found.p_against),
            "category": found.category,
        }  # fmt: skip


class SignChange(TermsPart):
    """The sum of arms is positive at one sparsity and negative at another.

    Both signs are tested by max-T over the sparsities; the larger p-value is that of support. It is contradicted where
    one sign, or no difference, holds at every sparsity: over the sparsities, the largest p-value for a positive mean,
    for a negative one (paired t) and for equivalence within the margin; the smallest of these three, times 3.
    """

    estimand: Literal["sign_change"]
    kind: Literal["sign change"] = "sign change"
    margin: float | None = Field(
        None, gt=0, le=LARGEST_POINTS, description="percentage points; a smaller difference counts as none"
    )

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting of the columns other than the sparsity."""
        return [
            _question(self, sample, sample.table(), self._test) for sample in _samples_along(self, evidence, "sparsity")
        ]

    def _test(self, sample: Sample, table: pd.DataFrame) -> dict[str, Any]:
        fields: dict[str, Any] = {"test": "sign-flip max-T, both signs", "seed": SEED, "details": _means(table)}
        unusable = _unusable(table, 2)
        if unusable:
            return fields | {"category": unusable}
        values = table.to_numpy()
        up, down = max_t(values, "greater", seed=SEED), max_t(values, "less", seed=SEED)
        margin = self.margin if self.margin is not None else default_margin(sample.images)
        against = 3 * min(
            max(one_sided_p(column, "greater") for column in values.T),
            max(one_sided_p(column, "less") for column in values.T),
            _largest(_equal(column, margin) for column in values.T),
        )
        return fields | {
            "p": number(max(up.p, down.p)), "p_contradiction": min(1.0, against), "margin": margin,
            "repetitions": up.repetitions, "category": "regular",
            "details": _means(table) | {"p of some positive": number(up.p), "p of some negative": number(down.p)},
        }  # fmt: skip


class Association(TermsPart):
    """The sum of arms is associated with another number of the same cells.

    The rank correlation over the sparsities is computed within each model; its mean over models is tested against 0 on
    Fisher's scale (`analysis.stats.effects.correlation_test`). The other number is that of the first arm. Values that
    are equal to 12 decimals tie.
    """

    estimand: Literal["association"]
    kind: Literal["superiority"] = "superiority"
    along_value: Value = Field("variance_loss", description="the other number")

    @property
    def power_test(self) -> PowerTest:
        """The t test of the mean correlation."""
        return "t"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting of the columns other than the sparsity."""
        plain = [Term(of=self.terms[0].of)]
        other = samples(evidence, self, sum_of_terms(evidence, self, plain), self.along_value, "sparsity")
        tables = {repr(sorted(sample.setting.items())): sample.table() for sample in other}
        return [
            self._question(sample, tables.get(repr(sorted(sample.setting.items()))))
            for sample in _samples_along(self, evidence, "sparsity")
        ]

    def _question(self, sample: Sample, other: pd.DataFrame | None) -> Question:
        table = sample.table()
        words = (
            f"mean over models of the rank correlation over sparsities between {sample.words} and "
            f"{WORDS[self.along_value]}"
        )
        if other is None or other.empty:
            table, other = table.iloc[:0], table.iloc[:0]
        else:
            table, other = table.align(other, join="inner")
        both = table.notna().all(axis=1) & other.notna().all(axis=1)
        table, other = table[both], other[both]
        sample = Sample(sample.setting, sample.values, words, sample.counts, sample.images, sample.by_construction)
        rho = pd.Series(
            [_spearman(x, y) for x, y in zip(table.to_numpy(), other.to_numpy(), strict=True)], index=table.index,
            dtype="float64",
        )  # fmt: skip
        fields = open_record(self, sample, len(rho)) | {"counts": left_out(sample, len(rho)), "test": "paired t"}
        if table.shape[1] < LEAST_POINTS:
            return Question(Record(**fields, category="too few points" if len(rho) else "no data"), sample=sample)
        tested = run_mean_test(rho, ["all"] * len(rho), "superiority", 0.0, "t")
        p, against = tested.p, tested.p_contradiction
        fields["test"] = tested.test
        if tested.category == "regular":
            p, against = correlation_test(rho.to_numpy())
            fields["test"] = "t test on Fisher's scale"
        interval = correlation_interval(rho.to_numpy())
        details = {
            "mean rho": number(tested.effect), "rho, low": number(interval.low), "rho, high": number(interval.high),
        }  # fmt: skip
        record = Record(
            **fields, p=number(p), p_contradiction=number(against), category=tested.category, margin=0.0,
            reason=tested.reason, details=details,
        )  # fmt: skip
        return Question(record, rho, sample)


class Differs(TestedPart):
    """The labels of an axis do not all have the same accuracy: Friedman's test, or a paired t test of two.

    The p-values are those of Iman and Davenport's F, or two-sided. It is contradicted where every pair is equivalent
    within the margin: the p-value is the largest over the pairs. Labels that differ, but by less than the margin, can
    have both p-values under the level: contradicted, since so small a difference counts as none.
    """

    estimand: Literal["differs"]
    kind: Literal["difference"] = "difference"
    axis: Literal["scorer", "search", "correction", "recalibration", "allocation", "calibration_images",
                  "calibration_batch"]  # fmt: skip
    of: tuple[str | int, ...] | None = Field(None, description="default: all labels of the study")
    margin: float | None = Field(
        None, gt=0, le=LARGEST_POINTS, description="percentage points; a smaller difference counts as none"
    )

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters and the labels compared."""
        return [*super().needs(), *([(self.axis, self.of)] if self.of else [])]

    def arms(self) -> tuple[Term, ...]:
        """Return the labels compared, if the part names them."""
        return (Term(of={self.axis: self.of}),) if self.of is not None else ()

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per setting of the other columns."""
        rows = chosen_rows(evidence, self)
        labels = list(rows[self.axis].dropna().unique())
        if self.of is not None:
            labels = matching_labels(labels, self.of)
        if not labels:
            return []
        words = f"{self.axis.replace('_', ' ')} {', '.join(map(str, labels))}"
        part = self.model_copy(update={"where": {**self.where, self.axis: tuple(labels)}})
        found = samples(evidence, part, [Comparison((Arm(1.0, {}),), {}, words)], self.value, self.axis)
        return [_question(self, sample, sample.table(), self._test) for sample in found]

    def _test(self, sample: Sample, table: pd.DataFrame) -> dict[str, Any]:
        fields: dict[str, Any] = {"test": "Friedman (Iman-Davenport)", "details": _means(table)}
        unusable = _unusable(table, 2)
        if unusable:
            return fields | {"category": unusable}
        values = table.to_numpy()
        margin = self.margin if self.margin is not None else default_margin(sample.images)
        pairs = [values[:, i] - values[:, j] for i in range(values.shape[1]) for j in range(i)]
        against = _largest(_equal(pair, margin) for pair in pairs)
        fields |= {"p_contradiction": against, "margin": margin, "category": "regular"}
        if values.shape[1] > 2:
            found = friedman(values)
            p = found.p_f if found.category == "regular" else 1.0
            return fields | {"statistic": number(found.f), "df": number(found.df1), "p": number(p)}
        pair = paired_t(pairs[0])
        if pair.category == "regular":
            return fields | {
                "test": "paired t",
                "statistic": number(pair.statistic),
                "df": number(pair.df),
                "p": pair.p,
            }
        p = 1.0 if pair.category == "identical" else 2.0 ** (1 - len(values))  # constant: every sign agrees
        return fields | {"test": "sign-flip", "p": p}


def _samples_along(part: TermsPart, evidence: Evidence, axis: str) -> list[Sample]:
    """Return the samples of a part with one number per model and point of an axis."""
    return samples(evidence, part, sum_of_terms(evidence, part, part.terms), part.value, axis)


def _question(part: TestedPart, sample: Sample, table: pd.DataFrame, test: Any) -> Question:
    fields = open_record(part, sample, len(table)) | {"counts": left_out(sample, len(table))}
    return Question(Record(**(fields | test(sample, table))), sample=sample)


def _unusable(table: pd.DataFrame, least: int) -> str:
    """Return the category of a table that no test can use; empty for one that can be tested."""
    if table.shape[1] < least:
        return "too few points" if len(table) else "no data"
    if len(table) < 2:
        return "one model"
    return "" if np.isfinite(table.to_numpy()).all() else "not finite"


def _equal(values: Table, margin: float) -> float:
    """p-value for equivalence; differences without variance are equivalent if they lie within the margin."""
    if classify(values) in ("constant", "identical"):
        return 0.0 if abs(float(values.mean())) < margin else 1.0
    return tost(values, margin, 0.025).p


def _largest(p_values: Iterable[float]) -> float:
    return max(map(one_if_missing, p_values), default=1.0)


def _means(table: pd.DataFrame) -> dict[str, float | None]:
    return {f"mean at {point}": number(value) for point, value in table.mean().items()}


def _spearman(first: Table, second: Table) -> float:
    """Spearman's rho; 0 where one of both does not vary: no association."""
    ranks = rank_rows(np.stack([first, second]))
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(stats.pearsonr(*ranks).statistic)
