"""Recompute the primary verdicts of a study from its committed data, as a referee would: with pandas and SciPy alone.

``python tests/reference/recompute.py STUDY [CLAIM ...]`` reads ``STUDY/report/data.parquet`` and the claims, and prints
the numbers of every primary part under its primary reading; with ``--json``, as JSON. It imports no module of
prunebench: it was written from the statistical plan, the form of the claims file and the documentation of columns and
tests, not from the code that it checks. Numbers are percentage points.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from referee_rows import (
    AXES,
    LARGEST_RATIO,
    PAIR,
    Sample,
    Study,
    chosen,
    gates,
    informative,
    matching,
    read_claims,
    samples_of,
    terms_of,
)
from referee_stats import (
    NAN,
    correlation_test,
    friedman,
    max_t,
    mean_test,
    page,
    ranks,
    simple_p,
    within,
)

ALPHA = 0.025


@dataclass
class Answer:
    """The answer of one part in one setting (or in the mean over settings)."""

    setting: dict
    n: int = 0
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    against: float = NAN
    comparisons: int | None = None
    mismatches: int | None = None
    settings: int = 1
    informative: bool = True
    untestable: bool = False


@dataclass
class Decision:
    """A primary part with its answers, combined p-values and verdict."""

    claim: str
    part: str
    over: str
    answers: list[Answer] = field(default_factory=list)
    p: float = 1.0
    against: float = 1.0
    adjusted: float = 1.0
    verdict: str = "not testable"


# --- Estimands --------------------------------------------------------------------------------------------------------


def means(study: Study, part: dict) -> list[Answer] | None:
    """Contrasts and combinations: per setting, or the mean of the settings within each model."""
    samples = samples_of(study, part, terms_of(part))
    if samples is None:
        return None
    settings = 1
    if part.get("over") == "mean" and samples:
        settings, samples = len(samples), [averaged(samples)]
    answers = []
    for sample in samples:
        strata = sample.values.index.get_level_values("stratum") if "stratum" in sample.values.index.names else None
        strata = np.array(strata if strata is not None else ["one"] * len(sample.values))
        bootstrap = part.get("test") == "t and bootstrap-t"
        tested = mean_test(
            sample.values.to_numpy(),
            strata,
            part.get("kind", "superiority"),
            part.get("margin", 0),
            sample.floor,
            bootstrap,
        )
        answer = Answer(
            sample.setting, len(sample.values), *tested, settings=settings, untestable=math.isnan(tested[1])
        )
        answers.append(answer)
    return answers


def averaged(samples: list[Sample]) -> Sample:
    """One number per model: the mean over the settings of its architecture; models that lack one are left out."""
    parts = []
    for stratum in sorted({(sample.setting["dataset"], sample.setting["model"]) for sample in samples}):
        own = [sample.values for sample in samples if (sample.setting["dataset"], sample.setting["model"]) == stratum]
        parts.append(pd.concat(own, axis=1, join="inner").mean(axis=1))
    values = pd.concat(parts, keys=range(len(parts)), names=["stratum", "checkpoint"])
    first = samples[0].setting
    shared = {key: value for key, value in first.items() if all(sample.setting[key] == value for sample in samples)}
    return Sample(shared, values, max(sample.floor for sample in samples))


def trend(study: Study, part: dict) -> list[Answer] | None:
    """Page's test along the sparsity, models as blocks."""
    samples = samples_of(study, part, part["terms"], "sparsity")
    answers = []
    for sample in samples or []:
        if sample.values.shape[1] < 3:
            continue
        answer = Answer(sample.setting, len(sample.values), untestable=len(sample.values) < 2)
        if not answer.untestable:
            answer.p, answer.against = page(sample.values.to_numpy())
            if part.get("direction") == "decreasing":
                answer.p, answer.against = answer.against, answer.p
        answers.append(answer)
    return answers if samples is not None else None


def association(study: Study, part: dict) -> list[Answer] | None:
    """Mean over models of Spearman's correlation with another number of the same cells, over the sparsities."""
    samples = samples_of(study, part, part["terms"], "sparsity")
    others = samples_of(study, part | {"value": part["along_value"]}, [part["terms"][0] | {"weight": 1}], "sparsity")
    answers = []
    for sample in samples or []:
        other = next((other.values for other in others or [] if other.setting == sample.setting), None)
        if other is None or sample.values.shape[1] < 3:
            continue
        both = sample.values.index.intersection(other.index)
        pairs = zip(sample.values.loc[both].to_numpy(), other.loc[both].to_numpy(), strict=True)
        rho = np.array([spearman(first, second) for first, second in pairs])
        tested = correlation_test(rho)
        answers.append(Answer(sample.setting, len(rho), *tested, untestable=math.isnan(tested[-1])))
    return answers if samples is not None else None


def spearman(first, second) -> float:
    """Rank correlation; 0 where one of both does not vary."""
    first, second = ranks(np.array([first, second]))
    return 0.0 if first.std() == 0 or second.std() == 0 else float(np.corrcoef(first, second)[0, 1])


def sign_change(study: Study, part: dict) -> list[Answer] | None:
    """Positive at one sparsity and negative at another, each by max-T; or one sign, or equivalence, at all."""
    samples = samples_of(study, part, part["terms"], "sparsity")
    answers = []
    for sample in samples or []:
        table = sample.values.to_numpy()
        p = max(max_t(table), max_t(-table))
        routes = (
            max(map(simple_p, table.T)), max(map(simple_p, -table.T)),
            max(within(column, part["margin"]) for column in table.T),
        )  # fmt: skip
        answers.append(Answer(sample.setting, len(table), p=p, against=min(1.0, 3 * min(routes))))
    return answers if samples is not None else None


def differs(study: Study, part: dict) -> list[Answer] | None:
    """Friedman's test of several labels (paired t of two); contradicted where every pair is equivalent."""
    samples = samples_of(study, part, [{"of": {}}], part["axis"])
    answers = []
    for sample in samples or []:
        table = sample.values.to_numpy()
        if table.shape[1] < 2:
            continue
        pairs = [first - second for first, second in itertools.combinations(table.T, 2)]
        against = max(within(pair, part["margin"]) for pair in pairs)
        p = friedman(table) if table.shape[1] > 2 else min(1.0, 2 * min(simple_p(pairs[0]), simple_p(-pairs[0])))
        answers.append(Answer(sample.setting, len(table), p=p, against=against))
    return answers if samples is not None else None


def identity(study: Study, part: dict) -> list[Answer] | None:
    """Identities: count the cells that differ, per data set, model and granularity."""
    rows = chosen(study.rows, part["where"], part.get("sparsities"))
    for column, number in part.get("distinct", {}).items():
        if rows[column].nunique() < number:
            return None
    compare = {"mask_identity": masks, "repair_identity": repairs, "emp_bound": bound, "emp_beta": beta}
    answers = []
    for key, group in rows[rows["state"] == "done"].groupby(["dataset", "model", "granularity"], sort=False):
        differs, effect = compare[part["estimand"]](study, part, group)
        if not len(differs):
            continue
        wrong = int(differs.sum())
        models = group["checkpoint"].nunique()
        setting = dict(zip(["dataset", "model", "granularity"], key, strict=True))
        p, against = (0.0, 1.0) if not wrong else (1.0, 0.0)
        answers.append(
            Answer(setting, models, effect, p=p, against=against, comparisons=len(differs), mismatches=wrong)
        )
    return answers


def counterparts(rows: pd.DataFrame, column: str, names: list, reference: str) -> pd.DataFrame:
    """Cells of some labels with the cell of the reference that agrees in everything else."""
    keys = [axis for axis in AXES if axis != column] + PAIR
    ours = rows[rows[column].isin(matching(list(rows[column].unique()), names))]
    return ours.merge(rows[rows[column] == reference], on=keys, suffixes=("", "_reference"))


def masks(_study: Study, part: dict, rows: pd.DataFrame):
    """Masks of scorers against magnitude's."""
    rows = rows[(rows["correction"] == "none") & (rows["recalibration"] == "none")]
    pairs = counterparts(rows, "scorer", part["scorers"], part.get("reference", "magnitude"))
    return pairs["mask"] != pairs["mask_reference"], NAN


def repairs(study: Study, part: dict, rows: pd.DataFrame):
    """Float32 accuracies of corrected cells against uncorrected ones, where the cancellation identity applies."""
    in_float32 = rows["accuracy"].where(rows["precision"] == "float32", rows["cell"].map(study.float32))
    reference = part.get("reference", "none")
    pairs = counterparts(rows.assign(exact=in_float32), "correction", part["corrections"], reference)
    applies = pairs["identity_covered"].astype(bool) & ~(pairs["identity_ratio"] > LARGEST_RATIO)
    pairs = pairs[applies & pairs["exact"].notna() & pairs["exact_reference"].notna()]
    difference = 100 * (pairs["exact"] - pairs["exact_reference"]).abs()
    tolerance = np.maximum(part.get("tolerance", 0.05), 100 * part.get("tolerance_images", 1) / pairs["n_test"])
    return difference > tolerance + 1e-9, difference.max()


def scopes_of(rows: pd.DataFrame) -> list[list[dict]]:
    """What the effective number kept in each scope of each cell."""
    return [list(notes["emp"].values()) for notes in rows["notes"]]


def bound(_study: Study, _part: dict, rows: pd.DataFrame):
    """Kept score mass against its lower bound, which holds for beta = 1."""
    rows = unrepaired(rows)
    cells = [[scope for scope in cell if scope.get("bound") is not None] for cell in scopes_of(rows)]
    return pd.Series(
        [any(scope["s_eff"] < scope["bound"] - 1e-9 for scope in cell) for cell in cells if cell], dtype=bool
    ), NAN


def unrepaired(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells without repair whose notes have an effective number."""
    rows = rows[(rows["correction"] == "none") & (rows["recalibration"] == "none")]
    return rows[[isinstance(notes, dict) and "emp" in notes for notes in rows["notes"]]]


def beta(_study: Study, _part: dict, rows: pd.DataFrame):
    """Kept units along beta, for the same scores and scope."""
    rows = unrepaired(rows)
    label = rows["allocation"].astype(str)
    value = label.str.extract(r"beta=([0-9.]+)")[0].astype(float).fillna(1.0)
    rest = label.str.replace(r"beta=[0-9.]+,? ?", "", regex=True).str.replace("()", "", regex=False)
    kept = pd.Series([sum(scope["k"] for scope in cell) for cell in scopes_of(rows)], rows.index, dtype=float)
    keys = [axis for axis in AXES if axis not in ("allocation", "sparsity")] + PAIR
    falls = []
    for _, group in rows.assign(beta=value, rest=rest, kept=kept).groupby([*keys, "rest"], sort=False):
        falls += list(np.diff(group.sort_values("beta")["kept"]) < 0)
    return pd.Series(falls, dtype=bool), NAN


ESTIMANDS = {
    "contrast": means, "combination": means, "ratio": means, "trend": trend, "association": association,
    "sign_change": sign_change, "differs": differs, "mask_identity": identity, "repair_identity": identity,
    "emp_bound": identity, "emp_beta": identity,
}  # fmt: skip


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def decide_part(study: Study, claim: str, part: dict) -> Decision:
    """Answers of a part and its p-values over settings."""
    over = part.get("over", "every")
    decision = Decision(claim, part.get("id", "main"), over)
    lacks = any(not matching(list(study.rows[column].unique()), names) for column, names in part["where"].items())
    decision.answers = [] if lacks else ESTIMANDS[part["estimand"]](study, part) or []
    if not decision.answers:
        return decision
    if ESTIMANDS[part["estimand"]] is not identity:
        judged = gates(study, part)
        for answer in decision.answers:
            answer.informative = answer.settings > 1 or informative(answer.setting, judged)
    p = [1.0 if math.isnan(one.p) or not one.informative else one.p for one in decision.answers]
    against = [1.0 if math.isnan(one.against) or not one.informative else one.against for one in decision.answers]
    decision.p = min(1.0, len(p) * min(p)) if over == "some" else max(p)
    decision.against = min(1.0, len(p) * min(against)) if over == "every" else max(against)
    return decision


def decide_claim(study: Study, claim: dict) -> tuple[str, list[Decision]]:
    """The verdict of a claim: support needs every primary part, contradiction any of them (Holm)."""
    parts = [decide_part(study, claim["id"], part) for part in claim["parts"]]
    step = 0.0
    for place, part in enumerate(sorted(parts, key=lambda part: part.against)):
        step = max(step, min(1.0, (len(parts) - place) * part.against))
        part.adjusted = step
        testable = any(not answer.untestable for answer in part.answers)
        part.verdict = "inconclusive" if testable else "not testable"
        if part.adjusted < ALPHA:
            part.verdict = "contradicted"
        elif part.p < ALPHA:
            part.verdict = "supported"
    verdicts = [part.verdict for part in parts]
    for verdict in ("contradicted", "not testable", "inconclusive"):
        if verdict in verdicts:
            return verdict, parts
    return "supported", parts


def main() -> None:
    """Print the verdicts of a study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("claims", nargs="*", help="ids; default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    study = Study.read(options.study)
    claims = [
        claim for claim in read_claims(options.study / "claims.yaml")
        if not options.claims or claim["id"] in options.claims
    ]  # fmt: skip
    decided = [(claim["id"], *decide_claim(study, claim)) for claim in claims]
    if options.json:
        records = [
            {"claim": claim, "verdict": verdict, "parts": [asdict(part) for part in parts]}
            for claim, verdict, parts in decided
        ]
        print(json.dumps(records, default=lambda number: number.item()))
        return
    for claim, verdict, parts in decided:
        print(f"{claim}: {verdict}")
        for part in parts:
            words = f"p {part.p:.2g}, against {part.against:.2g} (Holm {part.adjusted:.2g})"
            print(f"  {part.part} ({part.over}): {part.verdict}; {words}")
            for one in part.answers:
                print("    " + line(one))


def line(answer: Answer) -> str:
    """One line of the table."""
    place = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in answer.setting.values())
    if answer.comparisons is not None:
        return f"{place}: {answer.mismatches} of {answer.comparisons} cells differ"
    numbers = f"n {answer.n}, {answer.effect:.2f} [{answer.low:.2f}, {answer.high:.2f}]"
    gate = "" if answer.informative else ", not informative"
    return f"{place}: {numbers}, p {answer.p:.2g}, against {answer.against:.2g}{gate}"


if __name__ == "__main__":
    main()
