"""LEARNED.md: what was learned, written by hand; every sentence names the records that it rests on.

A reference has the form ``[STUDY: CLAIM PART = VERDICT]``; without a part it is about the whole claim. A reading that
differs from the primary one is named in brackets. The effect in points and the settings by sign may follow::

    [digits: P4 = inconclusive]
    [digits: P4 smooth = supported, +6.91]
    [digits: A6 overall (lambda empirical Bayes) = supported, 8 of 14 above 0]
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.across_studies.findings import Estimate, Finding, ReadingFound
from analysis.across_studies.overview import Overview
from analysis.errors import AnalysisError, nearest
from analysis.formats import signed

#: Name of the hand-written file next to the overview.
FILE = "LEARNED.md"

_BRACKETS = re.compile(r"\[([^\[\]]*)\](?!\()")
_REFERENCE = re.compile(
    r"(?P<study>[^:]+): (?P<claim>[^ ]+)(?: (?P<part>[^ (]+))?(?: \((?P<levels>.+)\))? = (?P<verdict>[a-z ]+)"
    r"(?:, (?P<effect>[+-]?\d+\.\d\d))?(?:, (?P<signs>\d+ of \d+ (?:above|at|below) 0))?"
)


def check_learned(folder: Path, found: Overview) -> list[str]:
    """Return the mistakes in ``folder/LEARNED.md``; none if there is no such file.

    Raises
    ------
    AnalysisError
        If it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return [f"{path}, line {line}: {mistake}" for line, mistake in mistakes_in(text, found)]


def mistakes_in(text: str, found: Overview) -> list[tuple[int, str]]:
    """Return line and description of every list item without a reference, and of every reference that is not true.

    Parameters
    ----------
    text : str
        Markdown. Its sentences on findings are list items that begin with ``- ``.
    found : Overview
    """
    mistakes = []
    items = re.split(r"^(?=- )|\n\s*\n", text, flags=re.MULTILINE)
    for item in items:
        if item.startswith("- ") and not _BRACKETS.search(item):
            line = text[: text.index(item)].count("\n") + 1
            mistakes.append((line, "this item names no record: add one, such as [digits: P4 smooth = supported]"))
    for match in _BRACKETS.finditer(text):
        mistake = _mistake(match[1], found)
        if mistake:
            mistakes.append((text[: match.start()].count("\n") + 1, f"[{match[1]}]: {mistake}"))
    return sorted(mistakes)


def _mistake(reference: str, found: Overview) -> str:
    """Return what is wrong with a reference; empty if it is true."""
    parsed = _REFERENCE.fullmatch(" ".join(reference.split()))
    if parsed is None:
        return "is no reference to a record: write [STUDY: CLAIM PART = VERDICT]"
    studies = {study.name: study for study in found.studies}
    if parsed["study"] not in studies:
        return f"there is no study {parsed['study']!r}: {nearest(parsed['study'], studies)}"
    claims = {result.id: result for result in studies[parsed["study"]].results}
    if parsed["claim"] not in claims:
        return f"the study has no claim {parsed['claim']!r}: {nearest(parsed['claim'], claims)}"
    if parsed["part"] is None:
        if parsed["levels"] or parsed["effect"] or parsed["signs"]:
            return "a whole claim has no reading, effect or settings: name the part"
        return _compared("verdict", parsed["verdict"], claims[parsed["claim"]].verdict)
    parts = {
        finding.part: finding for part in found.parts for finding in part.findings
        if (finding.study, finding.claim) == (parsed["study"], parsed["claim"])
    }  # fmt: skip
    if parsed["part"] not in parts:
        return f"the study has no data for a part {parsed['part']!r}: {nearest(parsed['part'], parts)}"
    finding = parts[parsed["part"]]
    record = finding if parsed["levels"] is None else _reading(finding, parsed["levels"])
    if record is None:
        return f"the study has no reading {parsed['levels']!r}; every other choice must be at its primary level"
    return (
        _compared("verdict", parsed["verdict"], record.verdict)
        or _compared("effect", parsed["effect"], _effect(record.estimate))
        or _compared("settings", parsed["signs"], _signs(record.estimate, parsed["signs"]))
    )


def _compared(what: str, stated: str | None, actual: str) -> str:
    return "" if stated is None or stated == actual else f"the record has the {what} {actual or 'unknown'}"


def _effect(estimate: Estimate | None) -> str:
    return "" if estimate is None else signed(estimate.effect).replace("\N{MINUS SIGN}", "-")


def _signs(estimate: Estimate | None, stated: str | None) -> str:
    """Count the settings of the sign that is stated."""
    if estimate is None or stated is None:
        return ""
    signs, word = estimate.signs, stated.split()[-2]
    number = {"above": signs.above, "at": signs.equal, "below": signs.below}[word]
    return f"{number} of {signs.total} {word} 0"


def _reading(finding: Finding, text: str) -> ReadingFound | None:
    """Return the reading with the levels that are named, and the primary level of every other choice."""
    named = text.split(", ")
    primary = next((one.levels for one in finding.readings if one.primary), {})
    for reading in finding.readings:
        shown = {name: f"{name} {level if isinstance(level, str) else format(level, 'g')}"
                 for name, level in reading.levels.items()}  # fmt: skip
        others = [name for name, label in shown.items() if label not in named]
        if set(named) <= set(shown.values()) and all(reading.levels[o] == primary.get(o) for o in others):
            return reading
    return None
