"""From result tables with a known truth to verdicts: how often these are wrong, and whether the power is as promised.

Every table is decided by `analysis.claims.decide.decide`. A verdict is wrong if it reads *supported* where the claim is
false, or *contradicted* where it is true. ``python tests/slow/test_verdicts_end_to_end.py [TABLES]`` prints the results
as the Markdown table of docs/VERDICTS.md.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.claims.decide import decide
from analysis.claims.read import Claims
from analysis.claims.schema import ClaimsFile
from analysis.evidence.evidence import Evidence
from analysis.stats.models_needed import least_decidable, part_power
from bench.store import schema
from bench.store.reader import StudyData, derive, empty

#: Fixed before the first run, and never changed since.
SEED = 20261129
TABLES = 200
#: Share of the probability that the bounds of the counts contain.
CONFIDENCE = 0.99
#: Standard deviation over models of a paired difference, in points; half of its variance is common to the sparsities.
SD = 2.0
#: So close to the border of a claim that one table cannot show on which side the truth lies; in points.
HAIR = 0.01
#: An effect that no table misses, in points.
LARGE = 20.0
ALPHA = 0.025
FOUR = (0.5, 0.6, 0.7, 0.8)
PART = {"estimand": "contrast", "kind": "superiority", "of": ["taylor"], "against": "magnitude", "gate": "none"}

Means = Mapping[tuple[str, float], float]


@dataclass(frozen=True)
class Case:
    """A claim on tables of one truth.

    Attributes
    ----------
    key, truth : str
        Short name, from which the seed is made, and what is true.
    means : mapping
        (architecture, sparsity) -> true mean of taylor - magnitude, in points.
    part : mapping
        Keys of the claim's only part, in addition to `PART`.
    wrong : tuple of str
        Verdicts that are wrong.
    models : int
        Models per architecture.
    promise : float or None
        Power that `analysis.stats.models_needed` promises for the claim.
    exact : bool
        Whether the power is exactly as promised, or at least so high.
    sd : mapping
        Architecture -> standard deviation of the differences.
    level : mapping
        Sparsity -> mean accuracy of magnitude, in points.
    independent : bool
        Both arms vary independently, so that the difference is correlated with the reference, as at chance level.
    looks, informative
        As for `decide`.
    other : float or None
        True mean of wanda - magnitude, where the study has that scorer.
    """

    key: str
    truth: str
    means: Means
    part: Mapping[str, Any] = field(default_factory=dict)
    wrong: tuple[str, ...] = ("supported",)
    models: int = 10
    promise: float | None = None
    exact: bool = False
    sd: Mapping[str, float] = field(default_factory=dict)
    level: Mapping[float, float] = field(default_factory=dict)
    independent: bool = False
    looks: tuple[int, int] | None = None
    informative: Sequence[Mapping[str, str | float]] | None = None
    other: float | None = None

    @property
    def scorers(self) -> tuple[str, ...]:
        """Arms of the study."""
        return ("magnitude", "taylor") if self.other is None else ("magnitude", "taylor", "wanda")


def template(case: Case) -> Evidence:
    """Return the study of a case without accuracies: settings, then scorers, then models."""
    common = {
        "dataset": "digits", "calibration_draw": 0, "calibration_images": 128, "calibration_batch": 32,
        "precision": "float32", "device_class": "cpu", "n_test": 10_000, "train_overlap": "no", "notes": "{}",
        "search": "none", "state": "done",
        "granularity": "channel", "allocation": "uniform", "correction": "none", "recalibration": "none",
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for model, sparsity in case.means:
        for scorer in case.scorers:
            for number in range(case.models):
                name = f"{model} {number}"
                cell = {"model": model, "train_seed": number, "checkpoint": name, "group": name, "scorer": scorer,
                        "sparsity": sparsity, "sparsity_achieved": sparsity, "mask": str(len(rows))}  # fmt: skip
                rows.append(common | cell)
    for name in dict.fromkeys(row["group"] for row in rows):
        model, number = name.split()
        rows.append(common | {"model": model, "train_seed": int(number), "checkpoint": name, "group": name,
                              "scorer": "dense", "accuracy": 0.95})  # fmt: skip
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in schema.ROWS])
    # the plan is ordered by model, as a look requires
    frame["position"] = frame["train_seed"].rank(method="first").astype(int) - 1
    frame["cell"] = frame["evaluation"] = frame.index.astype(str)
    frame = derive(frame.astype({column.name: column.type.pandas for column in schema.ROWS}))
    meta = {"provenance": {"datasets": {"digits": {"num_classes": 10, "chance": 0.1}}}, "claims_hash": None}
    return Evidence.of(StudyData(frame, empty(schema.CHECKS), empty(schema.DENSE), meta))


def accuracies(case: Case, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the accuracies of one table in the order of `template`, in points, to a hundredth of a point."""
    architectures = dict.fromkeys(model for model, _ in case.means)
    own = {model: rng.normal(size=case.models) for model in architectures}
    drawn = []
    for (model, sparsity), mean in case.means.items():
        sd, level = case.sd.get(model, SD), case.level.get(sparsity, 60.0)
        within = np.sqrt(0.5) * (own[model] + rng.normal(size=case.models))
        reference = level + sd * rng.normal(size=case.models)
        arm = level + mean + sd * within if case.independent else reference + mean + sd * within
        drawn += [reference, arm]
        if case.other is not None:
            drawn.append(reference + case.other + SD * rng.normal(size=case.models))
    return np.round(np.concatenate(drawn), 2)


def claims_of(case: Case) -> Claims:
    """Return the case's claim."""
    claim = {"id": "own", "text": "taylor is better", "source": "ours", "parts": [{**PART, **case.part}]}
    file = ClaimsFile.model_validate({"version": 2, "claims": [claim]})
    return Claims(file.claims, "", case.looks)


@dataclass(frozen=True)
class Score:
    """Verdicts of a case; see `Case.wrong`."""

    case: Case
    tables: int
    verdicts: Mapping[str, int]

    @property
    def wrong(self) -> int:
        """Largest number of wrong verdicts in either direction."""
        return max(self.verdicts.get(verdict, 0) for verdict in self.case.wrong)

    @property
    def most_wrong(self) -> int:
        """Upper bound of the number of wrong verdicts at the promised alpha."""
        return int(stats.binom.ppf(CONFIDENCE, self.tables, ALPHA))

    def supported_bounds(self) -> tuple[int, int]:
        """Least and largest number of supported verdicts at the promised power."""
        assert self.case.promise is not None
        low, high = stats.binom.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], self.tables, self.case.promise)
        return int(low), int(high) if self.case.exact else self.tables

    def faults(self) -> list[str]:
        """Return the counts that lie outside their bounds."""
        found = []
        if self.wrong > self.most_wrong:
            found.append(f"{self.case.key}: {self.wrong} wrong verdicts of {self.tables}, bound {self.most_wrong}")
        if self.case.promise is not None:
            low, high = self.supported_bounds()
            supported = self.verdicts.get("supported", 0)
            if not low <= supported <= high:
                found.append(f"{self.case.key}: supported in {supported} of {self.tables}, promised {low} to {high}")
        return found


def score(case: Case, tables: int) -> Score:
    """Decide the first tables of a case; more tables begin with the same ones."""
    study, claims = template(case), claims_of(case)
    informative = None if case.informative is None else {("own", "main"): case.informative}
    dense = study.rows["accuracy"].tail(len(study.rows) - len(accuracies(case, np.random.default_rng(0)))) * 100
    found: Counter[str] = Counter()
    for number in range(tables):
        drawn = accuracies(case, np.random.default_rng([SEED, zlib.crc32(case.key.encode()), number]))
        rows = study.rows.assign(accuracy=np.concatenate([drawn, dense]) / 100)
        found[decide(study.with_rows(rows), claims, informative)[0].verdict] += 1
    return Score(case, tables, found)


# ---- What is true ----


def everywhere(*means: float, models: Sequence[str] = ("vit",)) -> Means:
    """Means at ascending sparsities, the same in all architectures."""
    return {(model, sparsity): mean for model in models for sparsity, mean in zip(FOUR, means, strict=False)}


def promised(effect: float, kind: Any = "superiority", margin: float = 0.0, **more: Any) -> float:
    """Power of the t test at a known spread."""
    return part_power(kind, "t", effect, margin, more.pop("sd", SD), more.pop("n", 10), **more)


EQUIVALENCE = {"kind": "equivalence", "margin": 2.0}
BOTH = ("supported", "contradicted")
#: sd of a model's mean over four settings, of which half of the variance is common.
MEAN_SD = SD * (0.5 + 0.5 / 4) ** 0.5
LEAST_MARGIN = round(least_decidable("equivalence", "t", SD, 10), 2)

CASES = (
    Case("one-none", "no difference", everywhere(0.0), wrong=BOTH),
    Case("one-five", "no difference, 5 models", everywhere(0.0), wrong=BOTH, models=5),
    Case("one-power", "a difference of one sd", everywhere(SD), wrong=("contradicted",), promise=promised(SD),
         exact=True),
    Case("margin", "superiority by 1 point, the difference is 1 point", everywhere(1.0), {"margin": 1.0}, wrong=BOTH),
    Case("flip", "no difference, sign-flip", everywhere(0.0), {"test": "sign-flip"}, wrong=BOTH),
    Case("every-false", "every: one setting of four has no effect", everywhere(LARGE, LARGE, LARGE, 0.0)),
    Case("every-true", "every: a hair in four settings", everywhere(*[HAIR] * 4), wrong=("contradicted",)),
    Case("every-power", "every: 3 points in four settings", everywhere(*[3.0] * 4), wrong=("contradicted",),
         promise=promised(3.0, questions=4)),
    Case("some-false", "some: no effect in four settings", everywhere(*[0.0] * 4), {"over": "some"}),
    Case("some-true", "some: a hair in one setting of four", everywhere(HAIR, -LARGE, -LARGE, -LARGE),
         {"over": "some"}, wrong=("contradicted",)),
    Case("some-power", "some: 3 points in one setting of four", everywhere(3.0, -LARGE, -LARGE, -LARGE),
         {"over": "some"}, wrong=("contradicted",), promise=promised(3.0, over="some", questions=4), exact=True),
    Case("mean-false", "mean: opposite effects in two architectures of unequal spread",
         {("cnn", 0.5): 1.0, ("cnn", 0.8): 3.0, ("vit", 0.5): -3.0, ("vit", 0.8): -1.0}, {"over": "mean"}, wrong=BOTH,
         sd={"cnn": 1.0, "vit": 4.0}),
    Case("mean-power", "mean: 1.5 points over four settings", everywhere(3.0, 2.0, 1.0, 0.0), {"over": "mean"},
         wrong=("contradicted",), promise=promised(1.5, sd=MEAN_SD, over="mean"), exact=True),
    Case("equal-false", "equivalence within 2 points: off by 2 points", everywhere(2.0), EQUIVALENCE),
    Case("equal-true", "equivalence within 2 points: a hair inside", everywhere(2.0 - HAIR), EQUIVALENCE,
         wrong=("contradicted",)),
    Case("equal-narrow", "equivalence within a tenth of the sd: a hair inside", everywhere(0.1 * SD - HAIR),
         {"kind": "equivalence", "margin": 0.1 * SD}, wrong=("contradicted",)),
    Case("equal-power", f"equivalence within {LEAST_MARGIN:g} points, the least margin: no difference", everywhere(0.0),
         {"kind": "equivalence", "margin": LEAST_MARGIN}, wrong=("contradicted",),
         promise=promised(0.0, "equivalence", LEAST_MARGIN), exact=True),
    Case("gate-own", "no difference, reference at the limit of the gate, judged on the study's own models",
         everywhere(0.0), {"gate": {"scorer": "magnitude"}}, wrong=BOTH, level={0.5: 20.0}, independent=True),
    Case("gate-pilot", "a pilot excludes 0.6, where the effect is reversed at chance level", everywhere(SD, -LARGE),
         {"gate": {"scorer": "magnitude"}}, wrong=("contradicted",), level={0.6: 10.0}, promise=promised(SD),
         exact=True, informative=({"model": "vit", "sparsity": 0.5},)),
    Case("readings", "no difference in the primary reading, a large one in the other", everywhere(0.0),
         {"readings": {"scorer used": {"first": {}, "second": {"taylor": "wanda"}}}}, wrong=BOTH, other=LARGE),
    Case("looks-none", "no difference, looks at 10 and 20 models", everywhere(0.0), wrong=BOTH, models=20,
         looks=(10, 20)),
    Case("looks-every", "every: one setting of two has no effect, looks at 10 and 20 models", everywhere(LARGE, 0.0),
         models=20, looks=(10, 20)),
)  # fmt: skip


# ---- Tests and table ----


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_verdicts_are_wrong_no_more_often_than_alpha_and_power_is_as_promised(case):
    assert score(case, TABLES).faults() == []


@pytest.mark.long
def test_a_few_tables():
    assert score(CASES[2], 12).faults() == []


def test_keys_of_cases_are_distinct_and_their_claims_valid():
    assert len({case.key for case in CASES}) == len(CASES)
    assert [len(claims_of(case).claims) for case in CASES] == [1] * len(CASES)


COLUMNS = (
    "truth",
    "models",
    "tables",
    "supported",
    "contradicted",
    "wrong (bound)",
    "power: promised, measured (bounds)",
)


def row(found: Score) -> str:
    """Return a score as a row of the table."""
    case, tables = found.case, found.tables
    shares = [f"{found.verdicts.get(verdict, 0) / tables:.3f}" for verdict in ("supported", "contradicted")]
    power = "-"
    if case.promise is not None:
        low, high = (bound / tables for bound in found.supported_bounds())
        bounds = f"{low:.3f} to {high:.3f}" if case.exact else f"{low:.3f} or more"
        power = f"{case.promise:.3f}, {shares[0]} ({bounds})"
    architectures = len({model for model, _ in case.means})
    models = str(case.models) if architectures == 1 else f"{architectures} x {case.models}"
    return f"| {' | '.join([case.truth, models, str(tables), *shares, f'{found.wrong} ({found.most_wrong})', power])} |"


def main() -> int:
    """Print the table; exit code 1 where a count lies outside its bounds."""
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else TABLES
    print(f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), sep="\n", flush=True)
    faults: list[str] = []
    for case in CASES:
        found = score(case, tables)
        faults += found.faults()
        print(row(found), flush=True)
    print(*faults, sep="\n", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
