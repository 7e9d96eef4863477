"""The verdicts of a study, by paper, with what cannot be tested at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from analysis import narrate, verdict_tables
from analysis.claims.records import ClaimResult
from analysis.formats import NONE
from analysis.report.layout import Section, Table, known
from analysis.report.words import PAPERS
from bench.store.reader import StudyData

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_PART = re.compile(r"part (\S+): (.*)", re.DOTALL)
_OWN = "Claims of this study"


def by_paper(results: Iterable[ClaimResult]) -> list[tuple[str, list[ClaimResult]]]:
    """Group claims by the paper that their source names, each group with its title."""
    groups: dict[str, list[ClaimResult]] = {}
    for result in results:
        groups.setdefault(_number(result), []).append(result)
    return [(_title(number), own) for number, own in groups.items()]


def verdicts(data: StudyData, results: Sequence[ClaimResult]) -> Section:
    """Make the section: verdicts by paper, claims that are not testable, and the records behind them."""
    tested = [result for result in results if result.verdict != "not testable"]
    left = [result for result in results if result.verdict == "not testable"]
    text = (
        narrate.verdicts(results), narrate.registration(results, data.meta.get("registered")),
        narrate.progress(data.rows), *narrate.dense_warnings(data),
    )  # fmt: skip
    found = [
        Table(f"verdicts-{_file_part(own[0])}", f"Verdicts: {title}", verdict_rows(own))
        for title, own in by_paper(tested)
    ]
    return Section("verdicts", "Verdicts", tuple(t for t in text if t), (), known(
        *found,
        Table("verdicts-untested", "Not testable in this study", verdict_rows(left), folded=True),
        Table("identities", "Decision records: identities", verdict_tables.identity_table(results), folded=True),
        Table("contrasts", "Decision records: statistical parts", verdict_tables.contrast_table(results), folded=True),
    ))  # fmt: skip


def verdict_rows(results: Iterable[ClaimResult]) -> pd.DataFrame:
    """One row per claim; what a claim is asked of several times (`per`) with the same outcome stands in one row.

    Whether the claims were registered, and their hash, is the same for all and stands above the table.
    """
    groups: dict[tuple[str, ...], list[ClaimResult]] = {}
    for result in results:
        name, text = result.id.partition(" (")[0], result.text.partition(" [")[0]
        groups.setdefault((name, text, result.verdict, _beside(result.notes), result.setting), []).append(result)
    return pd.DataFrame([
        {
            "Claim": _name([result.id for result in own]), "What it says": text if len(own) > 1 else own[0].text,
            "Verdict": verdict, "Beside it": beside, "Setting": setting or NONE, "Source": own[0].source,
        }
        for (_, text, verdict, beside, setting), own in groups.items()
    ])  # fmt: skip


def _name(ids: Sequence[str]) -> str:
    """Join the names of one claim that was asked several times.

    Examples
    --------
    >>> _name(["A1 (ema)", "A1 (exact)"]), _name(["P1"])
    ('A1 (ema, exact)', 'P1')
    """
    if len(ids) == 1:
        return ids[0]
    return f"{ids[0].partition(' (')[0]} ({', '.join(name.partition(' (')[2].removesuffix(')') for name in ids)})"


def _beside(notes: Sequence[str]) -> str:
    """Say one reason once for all parts that share it.

    Examples
    --------
    >>> _beside(["part a: no cell", "descriptive only", "part b: no cell"])
    'a, b: no cell; descriptive only'
    """
    parts: dict[str, list[str]] = {}
    for note in notes:
        found = _PART.fullmatch(note)
        parts.setdefault(found[2] if found else note, []).extend([found[1]] if found else [])
    return "; ".join(f"{', '.join(names)}: {reason}" if names else reason for reason, names in parts.items()) or NONE


def _number(result: ClaimResult) -> str:
    found = _ARXIV.search(result.source)
    return found[1] if found else ""


def _title(number: str) -> str:
    if not number:
        return _OWN
    return f"{PAPERS[number]}, arXiv {number}" if number in PAPERS else f"arXiv {number}"


def _file_part(result: ClaimResult) -> str:
    return _number(result).replace(".", "-") or "own"
