"""From result tables with a known truth to verdicts: how often these are wrong, and how often what is true is found.

``python tests/slow/test_verdicts_end_to_end.py [TABLES]`` prints the results as the Markdown table of docs/VERDICTS.md.
A verdict is wrong if it reads *supported* where the claim is false or *refuted* where it is true.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.claims import decide as deciding
from analysis.claims.across import across_estimates
from analysis.claims.contrasts import Estimate, mean_estimates
from analysis.claims.prospects import prospects
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ClaimResult, Record
from analysis.claims.schema import Combination, Contrast
from analysis.stats.effects import dz_interval
from analysis.stats.mixed import mixed
from analysis.stats.paired import compare
from analysis.stats.power import superiority_power, tost_power
from bench.store import schema
from bench.store.reader import StudyData, derive, empty

#: Fixed before the first run, and never changed since.
SEED = 20260521
TABLES = 2000
#: Of the mixed model, whose bootstrap is slow; so it draws 99 samples instead of 999.
MIXED_TABLES, MIXED_SAMPLES = 300, 99
#: Tables that are estimated together.
PACK = 250
N_TEST = 400
#: Paired differences of two arms: sd over models, and over the calibration draws of one model.
SD, DRAW_SD = 0.02, 0.008
#: So far inside or outside a margin that one table cannot tell: the hardest truth that is still true.
HAIR = 1e-4
MARGIN = 0.02
#: An effect that no table misses.
LARGE = 0.2

Cell = tuple[str, float | None]


@dataclass(frozen=True)
class World:
    """What is true of a table: mean accuracies, and how far models and draws lie from them.

    Attributes
    ----------
    arms : tuple of (dict, tuple)
        Columns of an arm, and its mean accuracy above that of the setting at each sparsity.
    sparsities : tuple of float
    overfit : bool
        The means are those of the over-fit of the search, as stored in the notes, instead of the accuracy.
    sd : float
        Of the difference between two arms, over models.
    draws : int
        Calibration draws of each model.
    architectures : tuple of str
        Each with its own models.
    """

    arms: tuple[tuple[dict[str, str], tuple[float, ...]], ...]
    sparsities: tuple[float, ...]
    overfit: bool = False
    sd: float = SD
    draws: int = 1
    architectures: tuple[str, ...] = ("vit",)

    @property
    def spread(self) -> float:
        """Sd over models of the paired difference of two arms, mean of the draws, as an accuracy of whole images."""
        rounded = 2 * (1 / N_TEST) ** 2 / 12
        return math.sqrt(self.sd**2 + (DRAW_SD**2 + rounded) / self.draws)


@dataclass(frozen=True)
class Case:
    """A claim on tables of one truth.

    Attributes
    ----------
    key : str
        Short name, from which the seed is made.
    claim, text : str
        Id, and the claims file that has it.
    truth : str
        What is true, in words.
    world : World
    models : int
        Models per architecture.
    false : frozenset of (str, float or None)
        Questions (part, sparsity) whose right answer is no; all others are true.
    parts : tuple of str
        Parts that are decided; all that are no scan where empty.
    promise : (part, sparsity), float, bool
        Question, the power that `prunebench power` promises for it, and whether exactly that much (a single question)
        or at least (Holm's first step).
    alpha : float
        What the claim promises: the largest chance of a wrong verdict.
    tables : int
        Tables at full size.
    """

    key: str
    claim: str
    text: str
    truth: str
    world: World
    models: int
    false: frozenset[Cell] = frozenset()
    parts: tuple[str, ...] = ()
    promise: tuple[Cell, float, bool] | None = None
    alpha: float = 0.025
    tables: int = TABLES

    @property
    def name(self) -> str:
        return f"{self.key}-{self.models}"


# ---- Tables ----


def study(world: World, models: int, tables: Sequence[int], rng: np.random.Generator, drawn: int = 1) -> StudyData:
    """Draw `drawn` tables and lay the first into one study, each as a data set of its own."""
    shape = (len(tables), len(world.architectures), models, len(world.sparsities), len(world.arms), world.draws)
    table, architecture, model, place, arm, draw = (index.ravel() for index in np.indices(shape))
    values = _accuracies(world, (max(drawn, len(tables)), *shape[1:]), rng)[: len(tables)]
    checkpoint = np.char.add(np.char.add(table.astype(str), "-"), (architecture * models + model).astype(str))
    columns: dict[str, Any] = {
        "dataset": np.array([f"table {number}" for number in tables], dtype=object)[table],
        "model": np.array(world.architectures, dtype=object)[architecture],
        "train_seed": model, "calibration_draw": draw, "sparsity": np.array(world.sparsities)[place],
        "checkpoint": checkpoint.astype(object), "group": checkpoint.astype(object),
        "position": np.arange(len(table)), "cell": np.arange(len(table)).astype(str).astype(object),
    }  # fmt: skip
    common = {
        "calibration_images": 128, "calibration_batch": 32, "precision": "float32", "state": "done",
        "device_class": "cpu", "n_test": N_TEST, "train_overlap": "no",
    }  # fmt: skip
    plain = {"scorer": "magnitude", "search": "none", "granularity": "channel", "allocation": "uniform",
             "correction": "none", "recalibration": "none"}  # fmt: skip
    for name, usual in plain.items():
        columns[name] = np.array([own.get(name, usual) for own, _ in world.arms], dtype=object)[arm]
    if world.overfit:
        columns |= {"accuracy": 0.6, "notes": [_search(excess) for excess in values.ravel().tolist()]}
    else:
        columns |= {"accuracy": np.round(N_TEST * (0.55 + values.ravel())) / N_TEST, "notes": "{}"}
    rows = pd.DataFrame(columns | common).reindex(columns=[column.name for column in schema.ROWS])
    rows = derive(rows.astype({column.name: column.type.pandas for column in schema.ROWS}))
    meta = {"provenance": {}, "claims_hash": None}
    return StudyData(rows, empty(schema.CHECKS), empty(schema.DENSE), meta)


def _accuracies(world: World, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Models differ in level and in how they meet a sparsity, alike for all arms; and, by `sd`, in each arm."""
    tables, architectures, models, sparsities, arms, draws = shape
    each = world.sd / 2  # of four parts: two arms, each alike at all sparsities, and at one of them
    return (
        np.array([means for _, means in world.arms]).T[:, :, None]
        + (0 if world.overfit else rng.normal(0, 0.02, (tables, architectures, models, 1, 1, 1)))
        + (0 if world.overfit else rng.normal(0, 0.02, (tables, architectures, models, sparsities, 1, draws)))
        + rng.normal(0, each, (tables, architectures, models, 1, arms, 1))
        + rng.normal(0, each, (tables, architectures, models, sparsities, arms, 1))
        + rng.normal(0, DRAW_SD / 2**0.5, shape)
    )


def _search(excess: float) -> str:
    """Notes of a search that gains two points on test images, and `excess` more on its own."""
    equal = 0.55
    found = {
        "test_accuracy_equal": equal, "test_accuracy": equal + 0.02, "search_accuracy_equal": equal,
        "search_accuracy": round(N_TEST * (equal + 0.02 + excess)) / N_TEST, "evaluations": 600, "budget": 600,
    }  # fmt: skip
    return json.dumps({"search": found})


# ---- Verdicts ----


def claims_of(case: Case) -> Claims:
    """Read the case's claims file and keep its claim, without the parts that are left out."""
    claims = _read(case.text)
    (claim,) = (claim for claim in claims.claims if claim.id == case.claim)
    kept = tuple(part for part in claim.parts if (part.id in case.parts if case.parts else not part.scan))
    return dataclasses.replace(claims, claims=(claim.model_copy(update={"parts": kept}),))


@functools.cache
def _read(text: str) -> Claims:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claims.yaml"
        path.write_text(text)
        return read_claims(path)


def decide_each(data: StudyData, claims: Claims) -> list[ClaimResult]:
    """Decide every table of a study alone, with the estimates of all made together.

    Grouping rows costs as much for one table as for hundreds. What is done with the estimates (families, verdicts,
    composition) is done table by table, by `decide` itself.
    """
    found: dict[tuple[str, str], list[Estimate]] = {}
    with _verdict_alone():
        for claim in claims.claims:
            for part in claim.parts:
                base = {"claim": claim.id, "in_paper_setting": False, "data_hash": "", "versions": {}}
                make: Callable[..., list[Estimate]] = (
                    mean_estimates if isinstance(part, Contrast | Combination) else across_estimates
                )
                for estimate in make(part, claim, data, base):
                    place = str(estimate.record.setting["dataset"])
                    found.setdefault((part.id, place), []).append(estimate)

        def look_up(part: Any, claim: Any, own: StudyData, base: Any) -> list[Estimate]:
            return found.get((part.id, str(own.rows["dataset"].iloc[0])), [])

        tables = [own for _, own in data.rows.groupby("dataset", sort=False)]
        with (
            mock.patch.object(deciding, "mean_estimates", look_up),
            mock.patch.object(deciding, "across_estimates", look_up),
            mock.patch.object(deciding, "versions", dict),
        ):
            return [deciding.decide(dataclasses.replace(data, rows=own), claims)[0] for own in tables]


@contextlib.contextmanager
def _verdict_alone() -> Iterator[None]:
    """Leave out what is printed beside a verdict and decides nothing; it takes half the time."""
    with (
        mock.patch("analysis.claims.contrasts.compare", return_value=compare([0.1, 0.2, 0.4])),
        mock.patch("analysis.claims.contrasts.dz_interval", return_value=dz_interval([0.1, 0.2, 0.4])),
        mock.patch("analysis.claims.settle.models_to_decide", return_value=None),
        mock.patch("analysis.claims.across.mixed", functools.partial(mixed, repetitions=MIXED_SAMPLES)),
    ):
        yield


def verdicts(case: Case, tables: int) -> list[ClaimResult]:
    """Decide the first tables of a case; more tables begin with the same ones."""
    claims = claims_of(case)
    key = [SEED, zlib.crc32(case.name.encode())]
    results: list[ClaimResult] = []
    for start in range(0, tables, PACK):
        numbers = range(start, min(start + PACK, tables))
        if len(case.world.architectures) > 1:  # the mixed model would take the tables for architectures
            for number in numbers:
                own = study(case.world, case.models, [number], np.random.default_rng([*key, number]))
                with _verdict_alone():
                    results += deciding.decide(own, claims)
            continue
        packed = study(case.world, case.models, numbers, np.random.default_rng([*key, start]), drawn=PACK)
        results += decide_each(packed, claims)
    return results


@dataclass(frozen=True)
class Score:
    """What became of the tables of a case; see `score`."""

    case: Case
    tables: int
    supported: int
    refuted: int
    wrong: int
    wrong_families: int
    family_alpha: float
    found: int | None

    def error_bound(self, confidence: float = 0.99) -> int:
        """Most wrong verdicts at the promised alpha."""
        return int(stats.binom.ppf(confidence, self.tables, self.case.alpha))

    def family_bound(self, confidence: float = 0.99) -> int:
        """Most tables with any wrong answer at the promised alpha."""
        return int(stats.binom.ppf(confidence, self.tables, self.family_alpha))

    def power_bounds(self, confidence: float = 0.99) -> tuple[int, int]:
        """Least and most tables in which the promised question is found."""
        assert self.case.promise is not None
        _, power, exact = self.case.promise
        low, high = stats.binom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], self.tables, power)
        return int(low), int(high) if exact else self.tables


def score(case: Case, tables: int) -> Score:
    """Count the verdicts of a case.

    ``wrong`` counts the verdicts of the claim; ``wrong_families`` the tables in which any question of the claim has
    a wrong answer. The chance of the first is at most alpha, since a claim is wrong in one direction only. So is
    that of the second where all questions have one truth; where some are true and others false, there are two
    directions, and it is at most twice alpha.
    """
    results = verdicts(case, tables)
    answers = [[record for part in result.parts for record in part.records] for result in results]
    questions = {question(record) for records in answers for record in records}
    assert case.false <= questions, f"{case.name}: the claim has no question {case.false - questions}"
    true = not case.false
    wrong = sum(result.verdict == ("refuted" if true else "supported") for result in results)
    families = sum(
        any(record.verdict == ("supported" if question(record) in case.false else "refuted") for record in records)
        for records in answers
    )
    found = None
    if case.promise is not None:
        found = sum(
            any(question(r) == case.promise[0] and r.verdict == "supported" for r in records) for records in answers
        )
    directions = 2 if case.false and questions - case.false else 1
    count = pd.Series([result.verdict for result in results]).value_counts()
    return Score(
        case, len(results), int(count.get("supported", 0)), int(count.get("refuted", 0)), wrong, families,
        directions * case.alpha, found,
    )  # fmt: skip


def question(record: Record) -> Cell:
    """Which question a record answers."""
    sparsity = record.setting.get("sparsity")
    return record.part, None if sparsity is None else float(sparsity)


# ---- What is true ----

PAPERS = f"include: [sics, asr]\nadjust:\n  P2: &m {{margin: {MARGIN}, reason: 8 of 400 images}}\n  P3: *m\n  P11: *m\n"
DEFAULTS = "include: [sics]\n"
OWN = """\
claims:
  - id: own
    text: a scorer against magnitude
    source: ours
    parts: [{{id: a, text: it does, estimand: contrast, of: [taylor], against: magnitude, {settings}}}]
"""
MAGNITUDE, TAYLOR, L2 = {}, {"scorer": "taylor"}, {"scorer": "l2"}
ONE, TWO = {"scorer": "v1", "search": "dbo"}, {"scorer": "a5", "search": "dbo"}
SIX, SMALL = {"scorer": "a5_log6", "search": "dbo"}, {"scorer": "v1b_var", "search": "dbo"}


@functools.cache
def cases() -> dict[str, Case]:
    """All cases by name: the hardest at 5, 10 and 20 models, the others at one number of models."""
    made = [case for family in FAMILIES for n in (5, 10, 20) for case in family(n)]
    return {case.name: case for case in made if case.models in ONLY.get(case.key, (5, 10, 20))}


def own(n: int) -> list[Case]:
    """One question in one setting, at the least effect or margin that `prunebench power` says is found."""
    least_effect = _least("kind: superiority", (0.8,), n)
    reach = _least("kind: noninferiority", (0.8,), n)
    width = _least("kind: equivalence", (0.8,), n)
    four = (0.5, 0.6, 0.7, 0.8)
    shared = _least("kind: superiority", four, n)
    at = ("a", 0.8)
    superior, equal = OWN.format(settings="kind: superiority"), _against((0.0,))
    drawn = dataclasses.replace(_against((least_effect,)), draws=3)
    return [
        Case("sup-none", "own", superior, "superiority: no difference", equal, n, frozenset({at})),
        Case("sup-hair", "own", superior, "superiority: a hair above 0", _against((HAIR,)), n),
        Case("sup-least", "own", superior, f"superiority: the least effect promised, {_points(least_effect)}",
             _against((least_effect,)), n, promise=(at, 0.8, True)),
        Case("sup-draws", "own", superior, "superiority: the same effect, three draws per model",
             drawn, n, promise=(at, superiority_power(least_effect / drawn.spread, n, 0.025), True)),
        Case("sup-margin", "own", OWN.format(settings="kind: superiority, margin: 0.01"),
             "superiority by 1 point: exactly 1 point", _against((0.01,)), n, frozenset({at})),
        Case("flip-none", "own", OWN.format(settings="kind: superiority, test: sign-flip"),
             "superiority by sign-flip: no difference", equal, n, frozenset({at})),
        Case("noninf-margin", "own", OWN.format(settings=f"kind: noninferiority, margin: {MARGIN}"),
             "non-inferiority: worse by the margin", _against((-MARGIN,)), n, frozenset({at})),
        Case("noninf-least", "own", OWN.format(settings=f"kind: noninferiority, margin: {reach}"),
             f"non-inferiority: no difference, least margin promised, {_points(reach)}", equal, n,
             promise=(at, 0.8, True)),
        Case("equiv-least", "own", OWN.format(settings=f"kind: equivalence, margin: {width}"),
             f"equivalence: no difference, least margin promised, {_points(width)}", equal, n,
             promise=(at, 0.8, True), alpha=0.05),
        Case("holm-least", "own", superior,
             f"superiority at four sparsities: the least effect promised, {_points(shared)}",
             _against((shared,) * 4, four), n, promise=(at, 0.8, False)),
    ]  # fmt: skip


def _against(difference: tuple[float, ...], sparsities: tuple[float, ...] = (0.8,)) -> World:
    return World(((MAGNITUDE, (0.0,) * len(sparsities)), (TAYLOR, difference)), sparsities)


def _least(settings: str, sparsities: tuple[float, ...], n: int) -> float:
    """Least effect or margin that `prunebench power` promises to find with a chance of 80 %."""
    world = _against((0.0,) * len(sparsities), sparsities)
    case = Case("", "own", OWN.format(settings=settings), "", world, n)
    rows = study(world, n, [0], np.random.default_rng(0)).rows
    (prospect,) = prospects(rows, claims_of(case), sd=world.spread, models=[n])
    least = prospect.least[n]
    assert least is not None
    return least


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def plateau(n: int) -> list[Case]:
    """P2: l2 against magnitude, equivalence within 2 points."""

    def case(key: str, truth: str, means: tuple[float, ...], text: str = PAPERS, **more: Any) -> Case:
        sparsities = (0.8,) if len(means) == 1 else (0.5, 0.8)
        world = World(((MAGNITUDE, (0.0,) * len(means)), (L2, means)), sparsities, sd=more.pop("sd", SD))
        return Case(key, "P2", text, truth, world, n, parts=("l2",), **({"alpha": 0.05} | more))

    spread = _against((0.0,)).spread
    power = tost_power(MARGIN / spread, n, float(stats.t.ppf(0.95, n - 1)))
    off = frozenset({("l2", 0.8)})
    return [
        case("P2-flat", "plateau: l2 equals magnitude", (0.0,), promise=(("l2", 0.8), power, True)),
        case("P2-inside", "plateau: l2 a hair inside the margin, two sparsities", (MARGIN - HAIR, HAIR - MARGIN)),
        case("P2-off", "no plateau: l2 off by the margin at 0.8, equal at 0.5", (0.0, MARGIN), false=off),
        case("P2-narrow", "plateau: l2 a hair inside the default margin of 0.75 points, sd 3 points",
             (0.0075 - HAIR,), DEFAULTS, sd=0.03),
        # A mean may be outside on either side: two chances of alpha, which count both where the margin is narrow.
        case("P2-tiny", "plateau: l2 a hair inside a margin of a tenth of the sd", (0.1 * SD - HAIR,),
             f"include: [sics]\nadjust:\n  P2: {{margin: {0.1 * SD}, reason: too narrow}}\n", alpha=0.1),
    ]  # fmt: skip


def kappa(n: int) -> list[Case]:
    """P3: the class that escapes at 0.6 (none), 0.7 (1) and 0.8 (2)."""

    def case(key: str, truth: str, one: tuple[float, ...], two: tuple[float, ...], **more: Any) -> Case:
        arms = ((MAGNITUDE, (0.0, 0.0, 0.0)), (ONE, one), (TWO, two))
        return Case(key, "P3", PAPERS, truth, World(arms, (0.6, 0.7, 0.8)), n, **more)

    spread, in_place = _against((0.0,)).spread, ((0.0, 0.04, 0.0), (0.0, 0.0, 0.04))
    power = superiority_power(0.04 / spread, n, 0.025 / 6)
    least = (MARGIN - HAIR, HAIR, HAIR), (MARGIN - HAIR, HAIR / 2, 2 * HAIR)
    return [
        case("P3-placed", "thresholds as claimed: 4 points at 0.7 (class 1) and 0.8 (class 2)", *in_place,
             promise=(("middle-1", 0.7), power, False)),
        case("P3-hair", "thresholds as claimed, each by a hair", *least),
        case("P3-high", "class 2 does not escape at 0.8", (-LARGE, LARGE, -LARGE), (-LARGE, 0.0, 0.0),
             false=frozenset({("high-2", 0.8)})),
        case("P3-low", "class 1 escapes by the margin at 0.6", (MARGIN, LARGE, 0.0), (-LARGE, 0.0, LARGE),
             false=frozenset({("low-1", 0.6)})),
    ]  # fmt: skip


def gain(n: int) -> list[Case]:
    """A1: asr over layerwise, layerwise over none."""

    def case(key: str, truth: str, over_layerwise: float, over_none: float, **more: Any) -> Case:
        place = {"recalibration": "ema", "granularity": "weight", "allocation": "global"}
        means = {"none": 0.0, "layerwise": over_none, "asr": over_none + over_layerwise}
        arms = tuple((place | {"correction": name}, (mean,)) for name, mean in means.items())
        return Case(key, "A1 (ema)", PAPERS, truth, World(arms, (0.9,)), n, **more)

    power = superiority_power(0.03 / _against((0.0,)).spread, n, 0.0125)
    at = ("over-layerwise", 0.9)
    return [
        case("A1-gain", "ASR gains 3 points", 0.03, 0.03, promise=(at, power, False)),
        case("A1-hair", "ASR gains a hair", HAIR, HAIR),
        case("A1-none", "ASR gains nothing", 0.0, LARGE, false=frozenset({at})),
    ]


def overfitting(n: int) -> list[Case]:
    """P9: over-fit of the search over six indicators at low sparsity, more than that of two, falling."""

    def case(key: str, truth: str, six: tuple[float, ...], two: tuple[float, ...], **more: Any) -> Case:
        world = World(((SIX, six), (SMALL, two)), (0.5, 0.6, 0.8), overfit=True)
        return Case(key, "P9", PAPERS, truth, world, n, **more)

    every = frozenset({*itertools.product(("low", "dimension"), (0.5, 0.6)), ("falls", None)})
    power = superiority_power(0.04 / (_against((0.0,)).spread / 2**0.5), n, 0.025 / 5)
    return [
        case("P9-present", "over-fit of 5 and 4 points, none at 0.8", (0.05, 0.04, 0.0), (0.0, 0.0, 0.0),
             promise=(("low", 0.6), power, False)),
        case("P9-hair", "over-fit by a hair", (3 * HAIR, 2 * HAIR, HAIR), (0.0, 0.0, 0.0)),
        case("P9-absent", "no over-fit", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), false=every),
        case("P9-low", "no over-fit at 0.5", (0.0, LARGE, -LARGE), (-LARGE, 0.0, 0.0),
             false=frozenset({("low", 0.5)})),
    ]  # fmt: skip


def premium(n: int) -> list[Case]:
    """P11: a5 minus v1 changes its sign."""

    def case(key: str, truth: str, means: tuple[float, ...], true: bool) -> Case:
        world = World(((ONE, (0.0,) * 4), (TWO, means)), (0.5, 0.6, 0.7, 0.8))
        false = frozenset() if true else frozenset({("sign", None)})
        return Case(key, "P11", PAPERS, truth, world, n, false)

    return [
        case("P11-change", "the premium goes from +4 to -4 points", (0.04, 0.01, -0.01, -0.04), True),
        case("P11-hair", "positive but for a hair at 0.8", (LARGE, LARGE, LARGE, -HAIR), True),
        case("P11-edge", "the margin at 0.5, a hair below 0 elsewhere", (MARGIN, -HAIR, -HAIR, -HAIR), True),
        case("P11-one", "positive at 0.5, nothing elsewhere", (LARGE, 0.0, 0.0, 0.0), False),
        case("P11-none", "no premium", (0.0, 0.0, 0.0, 0.0), False),
    ]


def overall(n: int) -> list[Case]:
    """A6: asr over layerwise, over two architectures and three sparsities, by the mixed model."""

    def case(key: str, truth: str, over_layerwise: float, false: frozenset[Cell] = frozenset()) -> Case:
        place = {"recalibration": "ema", "granularity": "weight", "allocation": "global"}
        arms = tuple(
            (place | {"correction": name}, (mean,) * 3) for name, mean in (("layerwise", 0.0), ("asr", over_layerwise))
        )
        world = World(arms, (0.7, 0.8, 0.9), architectures=("resnet", "vgg"))
        return Case(key, "A6 (ema)", PAPERS, truth, world, n, false, tables=MIXED_TABLES)

    none = frozenset({("overall", None)})
    return [
        case("A6-gain", "ASR gains 3 points everywhere", 0.03),
        case("A6-none", "ASR gains nothing", 0.0, none),
    ]


FAMILIES: tuple[Callable[[int], list[Case]], ...] = (own, plateau, kappa, gain, overall, overfitting, premium)
#: Cases that are not simulated at every number of models, for time. Five models have no sign-flip p under 0.025.
ONLY = {
    "sup-hair": (10,), "sup-draws": (10,), "sup-margin": (10,), "flip-none": (10, 20), "noninf-margin": (10,),
    "P2-inside": (10,), "P2-narrow": (5, 20), "P3-placed": (10,), "P3-hair": (5, 20), "P3-high": (10,),
    "P3-low": (5, 20), "A1-hair": (10,), "A6-gain": (5,), "A6-none": (5,), "P9-present": (10,), "P9-hair": (10,),
    "P9-absent": (5, 20), "P9-low": (10,), "P11-change": (10,), "P11-hair": (10,), "P11-edge": (10,),
    "P11-one": (10, 20), "P11-none": (10,),
}  # fmt: skip


# ---- Tests and table ----

#: A case of every family, for every change.
QUICK = (
    "sup-none-10", "equiv-least-10", "P2-off-10", "P3-high-10", "A1-gain-5", "P9-absent-5", "P11-one-10",
)  # fmt: skip


def faults(found: Score, confidence: float = 0.99) -> list[str]:
    """Say in what a score lies outside its bounds."""
    case, said = found.case, []
    if found.wrong > (bound := found.error_bound(confidence)):
        said.append(f"{case.name}: {found.wrong} wrong verdicts of {found.tables}, bound {bound}")
    if found.wrong_families > (bound := found.family_bound(confidence)):
        said.append(f"{case.name}: {found.wrong_families} families with a wrong answer, bound {bound}")
    if found.found is not None:
        low, high = found.power_bounds(confidence)
        if not low <= found.found <= high:
            said.append(f"{case.name}: found in {found.found} of {found.tables}, promised {low} to {high}")
    return said


@pytest.mark.slow
@pytest.mark.parametrize("models", [5, 10, 20])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_verdicts_are_wrong_no_more_often_than_alpha_and_find_what_power_promised(family, models):
    known = [cases()[case.name] for case in family(models) if case.name in cases()]
    assert [fault for case in known for fault in faults(score(case, case.tables))] == []


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_a_few_tables_of_every_family(name):
    assert faults(score(cases()[name], 50), confidence=0.999) == []


@pytest.mark.parametrize("name", ["A1-gain-5", "P9-low-10", "P11-one-10"])
def test_tables_estimated_together_are_decided_as_alone(name):
    case = cases()[name]
    data, claims = study(case.world, case.models, range(3), np.random.default_rng(SEED)), claims_of(case)
    together = decide_each(data, claims)[1]
    (alone,) = deciding.decide(dataclasses.replace(data, rows=data.rows[data.rows["dataset"].eq("table 1")]), claims)
    assert alone.verdict == together.verdict
    fields = {
        "setting",
        "n",
        "verdict",
        "p",
        "p_adjusted",
        "p_against_adjusted",
        "effect",
        "low",
        "high",
        "family_size",
    }
    for part, other in zip(alone.parts, together.parts, strict=True):
        assert part.verdict == other.verdict
        for record, twin in zip(part.records, other.records, strict=True):
            assert record.setting == twin.setting
            assert record.verdict == twin.verdict
            assert record.model_dump(include=fields - {"setting"}) == pytest.approx(
                twin.model_dump(include=fields - {"setting"}), abs=1e-12
            )


COLUMNS = (
    "claim", "models", "truth", "tables", "supported", "refuted", "wrong verdicts (bound)", "wrong families (bound)",
    "found: promised, measured (bounds)",
)  # fmt: skip


def row(found: Score) -> str:
    """Return a score as a row of the table."""
    case = found.case
    claim = "one question" if case.claim == "own" else case.claim
    shares = [f"{count / found.tables:.3f}" for count in (found.supported, found.refuted)]
    wrong = [f"{found.wrong} ({found.error_bound()})", f"{found.wrong_families} ({found.family_bound()})"]
    power = "-"
    if case.promise is not None and found.found is not None:
        low, high = found.power_bounds()
        (part, sparsity), promised, exact = case.promise
        where = "" if case.claim == "own" else f"{part}{'' if sparsity is None else f' at {sparsity:g}'}: "
        bounds = (
            f"{low / found.tables:.3f} to {high / found.tables:.3f}" if exact else f"{low / found.tables:.3f} or more"
        )
        power = f"{where}{promised:.3f}, {found.found / found.tables:.3f} ({bounds})"
    models = f"2 x {case.models}" if len(case.world.architectures) > 1 else str(case.models)
    return f"| {' | '.join([claim, models, case.truth, str(found.tables), *shares, *wrong, power])} |"


def main() -> int:
    """Print the table; exit code 1 where a count lies outside its bounds."""
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else TABLES
    print(f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), sep="\n", flush=True)
    wrong = []
    for case in cases().values():
        found = score(case, min(tables, case.tables))
        wrong += faults(found)
        print(row(found), flush=True)
    print(*wrong, sep="\n", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
