"""Sentences, made from records and counts alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from analysis.claims.prospects import Prospect
from analysis.claims.records import ClaimResult, PartResult, Record
from analysis.evidence import frames
from analysis.evidence.fusion import is_equal, small_budgets
from analysis.formats import NONE, count, decimal, p_phrase, p_value, percent, points, span, where
from bench.store import dense_accuracy
from bench.store.cell import FULL_BUDGET
from bench.store.reader import StudyData


def number_word(number: int) -> str:
    """Write a small number in letters.

    Examples
    --------
    >>> number_word(4), number_word(12)
    ('four', '12')
    """
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[number] if number < len(words) else str(number)


def verdicts(results: Sequence[ClaimResult]) -> str:
    """Say how the claims of a study came out.

    Examples
    --------
    >>> verdicts([])
    'No claim was to be decided.'
    """
    if not results:
        return "No claim was to be decided."
    tally = Counter(result.verdict for result in results)
    parts = [f"{count(n)} {verdict}" for verdict, n in tally.items()]
    return f"Of {count(len(results))} claims: {', '.join(parts)}."


def registration(results: Sequence[ClaimResult], registered: str | None) -> str:
    """Say whether the claims stood before the data."""
    if not results:
        return ""
    if results[0].registered:
        return (
            f"Registered before data: yes. The claims file's hash, {results[0].claims_hash[:12]}, was in "
            f"the store before the first cell was run ({registered or 'time not recorded'})."
        )
    return (
        f"Registered before data: no. The claims file's hash is {results[0].claims_hash[:12]}, not the one "
        "that was stored before the first cell was run; read every verdict as exploratory."
    )


def dense_warnings(data: StudyData) -> list[str]:
    """Return a sentence per data set and model whose dense accuracy is at chance level or lower than expected."""
    dense = frames.done(data.rows[data.rows["scorer"].eq("dense") & data.rows["recalibration"].eq("none")])
    rows = dense[["dataset", "model", "train_seed", "accuracy", "n_test"]].astype("object")
    records = rows.where(rows.notna(), None).to_dict("records")
    found = dense_accuracy.dense_warnings(records, data.meta["study"], data.meta["provenance"])
    return [f"Warning: {line}." for line in found]


def found_normalisations(data: StudyData) -> list[str]:
    """Return a sentence per given checkpoint whose normalisation the study does not give itself."""
    lines = {}
    for model, text in zip(data.dense["model"], data.dense["recipe"], strict=True):
        found = json.loads(text).get("normalisation") if isinstance(text, str) else None
        if isinstance(found, dict) and found.get("source") not in ("study.yaml", "the data set"):
            mean, std = (", ".join(f"{value:.4g}" for value in found[key]) for key in ("mean", "std"))
            lines[str(model)] = (
                f"The inputs of {model} are normalised with mean {mean} and standard deviation {std}, from "
                f"{found['source']}."
            )
    return list(lines.values())


def progress(rows: pd.DataFrame) -> str:
    """Say what became of the planned cells."""
    states = rows["state"].fillna("to do").replace("running", "to do").value_counts()
    left = [f"{count(states[name])} {name}" for name in ("failed", "skipped", "to do") if name in states.index]
    total = f"{count(states.get('done', 0))} of {count(len(rows))} planned cells were evaluated"
    return total + (f" ({', '.join(left)})." if left else ".")


def part(result: PartResult) -> list[str]:
    """Sentences on one part of a claim: identities one per record, contrasts summed up, then the odd ones."""
    if not result.records:
        return [f"Not testable: {result.reason}."]
    if result.kind == "identity":
        return [_identity(record) for record in result.records]
    tally = Counter(record.verdict for record in result.records)
    said = ", ".join(f"{count(n)} {verdict}" for verdict, n in tally.items())
    scan = " (a scan: it decides nothing)" if result.scan else ""
    sentences = [f"Of {count(len(result.records))} settings: {said}{scan}."]
    shown = [record for record in result.records if record.verdict != "supported"] or [_extreme(result.records)]
    return sentences + [_contrast(record) for record in shown]


def _extreme(records: Sequence[Record]) -> Record:
    return max(records, key=lambda record: abs(record.effect or 0.0))


def power_lines(found: Sequence[Prospect]) -> list[str]:
    """Say what each statistical part of the claims can find, two lines a part; those without a setting in one."""
    lines = []
    for one in found:
        name = f"{one.claim} {one.part}"
        if not one.questions:
            lines.append(f"{name}: not testable: {one.reason}")
            continue
        spread = "" if one.sd is None else f", sd {decimal(100 * one.sd)} points"
        margin = f", margin {decimal(100 * one.margin)} points" if one.margin else ""
        family = f"a family of {count(one.family)} (alpha {one.alpha:.2g} first)"
        lines.append(
            f"{name}: {one.kind}{margin}, {one.test}; {count(one.questions)} settings in {family}{spread}"
        )  # fmt: skip
        if one.reason:
            lines.append(f"    {one.reason}")
            continue
        least = "   ".join(f"n = {n}: {_least(value, one.sd)}" for n, value in one.least.items())
        needed = "" if one.needed is None else f"   planned effect: {count(one.needed)} models"
        lines.append(f"    {least}{needed}")
    return lines


def _least(value: float | None, sd: float | None) -> str:
    if value is None:
        return "no p small enough"
    return f"{decimal(value)} sd" if sd is None else f"{decimal(100 * value)} points"


def _identity(record: Record) -> str:
    if record.comparisons is None or record.mismatches is None or record.verdict == "not testable":
        return f"{where(record.setting)}: not testable, {record.reason}."
    models = "1 model" if record.n == 1 else f"{count(record.n)} models"
    text = (
        f"{where(record.setting)}: {count(record.comparisons)} cells compared over {models}, "
        f"{count(record.mismatches)} mismatches"
    )
    if record.tolerance is not None and record.effect is not None:
        text += f"; largest difference {decimal(100 * record.effect)} points"
        text += f", tolerance {decimal(100 * record.tolerance)}"
    if record.counts:
        text += "; " + ", ".join(f"{count(number)} {name}" for name, number in record.counts.items())
    if record.names:
        text += f"; layers outside the scope: {', '.join(record.names)}"
    return text + "."


def _contrast(record: Record) -> str:
    text = f"{where(record.setting, compared=True)}: {record.verdict}"
    if record.effect is not None:
        text += f", mean {points(record.effect)} points"
    if record.low is not None and record.level is not None:
        level = percent(record.level, 0 if record.level * 100 % 1 < 1e-9 else 1)
        text += f" ({level} % interval {span(record.low, record.high, signed=True)})"
    text += f" over {'1 model' if record.n == 1 else f'{count(record.n)} models'}"
    if record.margin:
        text += f", margin {decimal(100 * record.margin)} points"
    if record.p is not None:
        text += f", {record.test}: {p_phrase(record.p)}"
    if record.paper_value is not None:
        text += f"; {size(record)}"
    if record.details:
        text += f"; {details(record)}"
    if record.reason:
        text += f"; {record.reason}"
    if record.disagree:
        text += "; the tests disagree"
    return text + (" (descriptive only)." if record.descriptive else ".")


def size(record: Record) -> str:
    """Say where the paper's number lies against our uncorrected 95 % interval.

    Examples
    --------
    >>> base = {"claim": "P4", "part": "a", "kind": "superiority", "estimand": "", "setting": {}, "data_hash": ""}
    >>> size(Record(**base, in_paper_setting=False, n=10, paper_value=0.066, size="smaller"))
    'the paper has +6.60: ours is smaller'
    """
    said = {
        "agrees": "inside our interval", "smaller": "ours is smaller", "larger": "ours is larger",
        "cannot tell": "our interval cannot tell",
    }[record.size or "cannot tell"]  # fmt: skip
    return f"the paper has {points(record.paper_value)}: {said}"


def details(record: Record) -> str:
    """List what else a test found; accuracies are in points where their name begins with "mean at" or "mean of"."""
    return ", ".join(f"{name} {_detail(name, value)}" for name, value in record.details.items())


def _detail(name: str, value: float | int | str | None) -> str:
    if value is None or isinstance(value, str):
        return NONE if value is None else value
    if isinstance(value, int):
        return count(value)
    if name.startswith("mean at "):
        return points(value)
    return p_value(value) if name.startswith("p ") or name.startswith("p,") else decimal(value)


def escape(compared: pd.DataFrame, level: str = "the plateau", pronoun: str = "it") -> str:
    """Say which methods lie above and below `level` after Holm's correction."""
    tested = compared[compared["p_t"].notna()]
    if tested.empty:
        return "No paired test is possible: one model per architecture is descriptive only."
    clear = tested[tested["p_holm"].lt(0.05)]
    above = clear[clear["difference"].gt(0)]
    below = clear[clear["difference"].lt(0)]
    text = (
        f"{count(len(tested))} settings were tested as one family (paired t, Holm's correction at 5 %): "
        f"{count(len(above))} lie above {level}{_named(above)}, {count(len(below))} below "
        f"{pronoun}{_named(below)}, {count(len(tested) - len(clear))} are undecided, which is not equality."
    )
    disagree = int(tested["disagree"].sum())
    return text + (f" In {count(disagree)} the three tests disagree before correction." if disagree else "")


def _named(frame: pd.DataFrame) -> str:
    tally = Counter(frame["method"])
    return f" ({', '.join(f'{name} {count(n)}' for name, n in tally.most_common())})" if tally else ""


def budgets(found: pd.DataFrame) -> str:
    """Say which searches had fewer evaluations than they should; empty where none had."""
    small = small_budgets(found)
    if not small:
        return ""
    return (
        f"Small search budget: {', '.join(small)}, where {count(FULL_BUDGET)} evaluations are the rule. It stands "
        "beside every score that such a search found, which may be lower than the full budget's."
    )


def overfit(found: pd.DataFrame) -> str:
    """Say how far the searches over-fit their images, or why that cannot be told."""
    others = found[~is_equal(found["search"])]
    if others.empty:
        return "The study has equal weights only: nothing was searched."
    others = others[others["sparsity"].notna()]  # elsewhere a search changes the sparsity too
    text = (
        "Over-fit is what a search gains over equal weights on its search images, less what it gains on the test "
        "images, paired by model. "
    )
    known = others["overfit"].notna()
    if not known.any():
        return text + (
            "It cannot be told here: the models may have seen the search images, candidates were compared under a "
            "repair, or the allocation sets the sparsity."
        )
    text += f"Its mean over all settings is {points(others['overfit'].mean())} points"
    return text + (f"; {count((~known).sum())} searches cannot tell it." if not known.all() else ".")


def emp(kept: pd.DataFrame) -> str:
    """Say how far effective model pruning went, and how often its bound failed."""
    settings = frames.summarise(frames.per_model(kept, "change"), "change")
    reached = kept["sparsity_achieved"]
    near = int(settings["mean"].ge(-0.01).sum())
    text = (
        f"It reached {percent(reached.min(), 1)} to {percent(reached.max(), 1)} % sparsity. In {count(near)} of "
        f"{count(len(settings))} settings the mean accuracy is within 1 point of the dense model's, or above."
    )
    failed = int(kept["violations"].sum())
    return text + (f" The bound fails in {count(failed)} cases." if failed else " The bound holds wherever it applies.")


def repairs(compared: pd.DataFrame) -> str:
    """Say how the corrections differ from none, per recalibration."""
    if compared.empty:
        return "The study compares no corrections."
    sentences = []
    for recalibration in frames.ordered(compared["recalibration"]):
        own = compared[compared["recalibration"].eq(recalibration)]
        largest = own.iloc[int(own["difference"].abs().to_numpy().argmax())]
        mean = own.groupby("correction", sort=False)["difference"].mean()
        shown = ", ".join(f"{name} {points(value)}" for name, value in mean.items())
        sentences.append(
            f"Recalibration {recalibration}: mean difference from no correction over all settings, in "
            f"points: {shown}; the largest is {points(largest['difference'])} ({largest['correction']}, "
            f"{where({str(key): value for key, value in largest.items()})})."
        )
    return " ".join(sentences)
