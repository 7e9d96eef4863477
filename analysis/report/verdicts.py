"""The verdicts of a study, by paper, with what cannot be tested at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from analysis import narrate
from analysis.claims.records import ClaimResult
from analysis.evidence.evidence import Evidence
from analysis.report.claim_words import CLAIM_WORDS
from analysis.report.layout import Section, Table, known
from analysis.report.words import PAPERS
from analysis.verdict_sentences import described_sentence, headline, registration_sentences
from analysis.verdict_tables import contrast_table, identity_table, part_table, verdict_table
from bench.store.registration_level import NOT_REGISTERED, Level

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_OWN = "Claims of this study"

_CAPTION = (
    "Scope: whether this study has the setting of the source, or what differs from it (transfer). Basis: measured, or "
    "by construction where the verdict follows from definitions. Models: independently trained models of the smallest "
    "deciding record. Differences above 0: settings of the primary parts whose mean difference is above 0, whatever "
    "the verdict. Robustness: verdicts under the other readings of the source."
)
_RECORDS = (
    "p: of the direction that the data point to, support or contradiction of the claim; adjusted for the quantifier "
    "over settings and for the primary parts of the claim. The deciding test has a one-sided level of 0.025, so the 95 "
    "% CI that is printed is the one that decides a single question. Margins, differences and planned effects are in "
    "percentage points."
)


def by_paper(results: Iterable[ClaimResult]) -> list[tuple[str, list[ClaimResult]]]:
    """Group claims by the paper that their source names, each group with its title."""
    groups: dict[str, list[ClaimResult]] = {}
    for result in results:
        groups.setdefault(_number(result), []).append(result)
    return [(_title(number), own) for number, own in groups.items()]


def verdicts(data: Evidence, results: Sequence[ClaimResult], level: Level) -> Section:
    """Return the section: verdicts by paper, and the parts and records behind them.

    Parameters
    ----------
    data : Evidence
    results : sequence of ClaimResult
    level : Level
        What the study's registration proves, from `bench.store.registration_level.registration_level`.
    """
    tested = [result for result in results if result.verdict != "not testable"]
    left = [result for result in results if result.verdict == "not testable"]
    registration = registration_sentences(level, results[0].claims_hash) if results else []
    text = (
        headline(results),
        *registration,
        described_sentence(results),
        narrate.progress(data.rows),
        *narrate.dense_warnings(data),
    )
    word = f"{level.word} (exploratory)" if level.word == NOT_REGISTERED else level.word
    head = "Exploratory verdicts" if level.word == NOT_REGISTERED else "Verdicts"
    found = [
        Table(f"verdicts-{_file_part(own[0])}", f"{head}: {title}", verdict_table(own, word), caption=_CAPTION)
        for title, own in by_paper(tested)
    ]
    terms = pd.DataFrame(CLAIM_WORDS if results else (), columns=["Term", "Meaning"])
    return Section("verdicts", "Verdicts", tuple(sentence for sentence in text if sentence), (), known(
        *found,
        Table("verdicts-untested", "Not testable in this study", verdict_table(left, word), folded=True),
        Table("verdict-terms", "Terms of this section", terms, folded=True),
        Table("parts", "Parts of the claims", part_table(results), folded=True),
        Table("identities", "Decision records: identities", identity_table(results), folded=True),
        Table("contrasts", "Decision records: statistical parts", contrast_table(results), folded=True,
              caption=_RECORDS),
    ))  # fmt: skip


def _number(result: ClaimResult) -> str:
    found = _ARXIV.search(result.source)
    return found[1] if found else ""


def _title(number: str) -> str:
    if not number:
        return _OWN
    return f"{PAPERS[number]}, arXiv {number}" if number in PAPERS else f"arXiv {number}"


def _file_part(result: ClaimResult) -> str:
    return _number(result).replace(".", "-") or "own"
