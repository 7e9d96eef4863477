"""Sentences of the exploratory sections, made from frames and counts alone."""

from __future__ import annotations

import json
from collections import Counter

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.fusion import is_equal, small_budgets
from analysis.formats import count, percent, points, where
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


def dense_warnings(data: Evidence) -> list[str]:
    """Return a sentence per data set and model whose dense accuracy is at chance level or lower than expected."""
    dense = data.dense_evaluated
    rows = dense.loc[
        dense["recalibration"].eq("none"), ["dataset", "model", "train_seed", "accuracy", "n_test"]
    ].astype("object")
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
    """Count the planned cells by state."""
    states = rows["state"].fillna("to do").replace("running", "to do").value_counts()
    left = [f"{count(states[name])} {name}" for name in ("failed", "skipped", "to do") if name in states.index]
    total = f"{count(states.get('done', 0))} of {count(len(rows))} planned cells were evaluated"
    return total + (f" ({', '.join(left)})." if left else ".")


def escape(compared: pd.DataFrame, level: str = "the plateau", pronoun: str = "it") -> str:
    """Count the methods above and below `level` after Holm's correction."""
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
    """Return which searches had a small budget; empty if none."""
    small = small_budgets(found)
    if not small:
        return ""
    return (
        f"Small search budget: {', '.join(small)}, where {count(FULL_BUDGET)} evaluations are the rule. It stands "
        "next to every score that such a search found, which may be lower than the full budget's."
    )


def overfit(found: pd.DataFrame) -> str:
    """Return by how much the searches over-fit their images, or why that is not known."""
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
            "It is not known here: the models may have seen the search images, candidates were compared under a "
            "repair, or the allocation sets the sparsity."
        )
    text += f"Its mean over all settings is {points(others['overfit'].mean())} points"
    return text + (f"; {count((~known).sum())} searches do not give it." if not known.all() else ".")


def emp(kept: pd.DataFrame) -> str:
    """Return the sparsity that effective model pruning reached, and how often its bound failed."""
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
    """Return by how much the corrections differ from none, per recalibration."""
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
