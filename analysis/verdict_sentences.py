"""Sentences on verdicts: the headline of a study, its registration, and every part of a claim.

They are made from the records alone, in the words of STATISTICS: supported, contradicted, inconclusive, not testable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from analysis.claims.records import ClaimResult, PartResult, Record, Robustness
from analysis.formats import count, p_phrase, signed
from analysis.record_sentences import identity_sentence, interval_text, models_text, p_text, statistical_sentence
from bench.store.registration_level import NOT_REGISTERED, Level, amended_after_data

#: Order of the verdicts wherever they are counted.
VERDICTS = ("supported", "contradicted", "inconclusive", "not testable")
#: Begins a paragraph that heads verdicts which were not registered.
EXPLORATORY = "Exploratory: "
_PART_NOTE = re.compile(r"part (\S+): (.*)", re.DOTALL)
#: Up to so many records of a part are written out; of more, those with the largest and the smallest effect.
MOST_RECORDS = 12


def headline(results: Sequence[ClaimResult]) -> str:
    """Count the claims of a study by basis and verdict.

    Examples
    --------
    >>> headline([])
    'The study states no claims.'
    """
    if not results:
        return "The study states no claims."
    decided = [result for result in results if result.verdict != "not testable"]
    constructed = [result for result in decided if result.basis == "by construction"]
    measured = [result for result in decided if result.basis == "measured"]
    parts = []
    if constructed:
        held = sum(result.verdict == "supported" for result in constructed)
        text = f"{count(len(constructed))} {_verb('hold', len(constructed))} by construction"
        if held < len(constructed):
            text = f"{count(len(constructed))} follow from definitions ({_tally(r.verdict for r in constructed)})"
        parts.append(text)
    if measured:
        parts.append(
            f"of {count(len(measured))} measured here{_scopes(measured)}, {_tally(r.verdict for r in measured)}"
        )
    left = len(results) - len(decided)
    if left:
        parts.append(f"{count(left)} {_verb('are', left)} not testable in this study")
    return f"Of {count(len(results))} claim{'s' * (len(results) != 1)}, {'; '.join(parts)}."


def _verb(plural: str, number: int) -> str:
    return {"hold": "holds", "are": "is"}[plural] if number == 1 else plural


def _tally(verdicts: Iterable[str]) -> str:
    """Count verdicts, the words in a fixed order."""
    counted = Counter(verdicts)
    return ", ".join(f"{count(counted[word])} {word}" for word in VERDICTS if counted[word]) or "none"


def _scopes(results: Sequence[ClaimResult]) -> str:
    """Name the scope of the claims in brackets, with counts if they differ."""
    kinds = Counter(result.scope.partition(":")[0] or "without a setting of a source" for result in results)
    if len(kinds) == 1:
        return f" ({next(iter(kinds))})" if results[0].scope else ""
    return f" ({', '.join(f'{count(number)} {kind}' for kind, number in kinds.items())})"


def registration_sentences(level: Level, claims_hash: str) -> list[str]:
    """Describe what the registration of a study proves.

    Parameters
    ----------
    level : Level
        From `bench.store.registration_level.registration_level`.
    claims_hash : str
        SHA-256 of claims.yaml.

    Examples
    --------
    >>> registration_sentences(Level(NOT_REGISTERED, "the evidence has no registration"), "0123456789abcdef")[0]
    'Exploratory: this study is not registered: the evidence has no registration. All verdicts are exploratory.'
    """
    if level.word == NOT_REGISTERED:
        head = f"{EXPLORATORY}this study is not registered: {level.reason}. All verdicts are exploratory."
    else:
        before = "yes" if level.is_before_data else "not proved"
        head = f"Registration: {level.word}; {level.reason}. Registered before data: {before}."
        if level.number > 1:
            head += (
                f" It is registration {count(level.number)} of its folder; over all of them a p-value p becomes "
                f"1 \N{MINUS SIGN} (1 \N{MINUS SIGN} p)^{level.number}."
            )
        head += " Registrations that are not listed cannot be excluded."
    text = [head, f"SHA-256 of claims.yaml: {claims_hash[:12]}."]
    if level.word != NOT_REGISTERED and (level.missing or level.failed):
        text.append(f"Of the registered cells, {count(level.missing)} have no result and {count(level.failed)} failed.")
    if level.word != NOT_REGISTERED and level.given:
        text.append(
            f"Models given as checkpoints ({', '.join(level.given)}) have no seeds: their results may be older than "
            "the registration."
        )
    text += [f"Changed since the registration: {change}." for change in level.changes]
    late = [] if level.record is None else amended_after_data(level.record)
    return text + [
        f"Amendment {number}{', recorded when data existed' if one in late else ''}, {one.reason}: "
        f"{'; '.join(one.changes)}."
        for number, one in enumerate(level.amendments, start=1)
    ]


def claim_lines(result: ClaimResult) -> list[str]:
    """Return the lines that the command line prints for a claim: its verdict first, then what it rests on.

    Examples
    --------
    >>> claim_lines(ClaimResult(id="P1", text="Equal masks.", source="ours", verdict="supported", models=9, parts=()))
    ['P1  supported  (measured; 9 models)', 'Equal masks. (ours)']
    """
    facts = [result.scope] if result.scope else []
    if result.verdict != "not testable":
        facts += [result.basis, models_text(result.models)]
    lines = [f"{result.id}  {result.verdict}" + (f"  ({'; '.join(facts)})" if facts else "")]
    lines.append(f"{result.text} ({result.source})")
    for part in result.parts:
        settings = _settings(part.records) if part.records and part.kind != "identity" else ""
        text = " ".join(filter(None, (settings, _reason(part), _numbers(part.records), left_out(part))))
        lines.append(f"{part.id}: {part_heading(part)}. {text}".strip())
    if result.robustness:
        lines.append(f"readings: {result.robustness}")
    return [*lines, f"caveats: {caveats(result.notes)}"] if result.notes else lines


def caveats(notes: Sequence[str]) -> str:
    """Join notes; one that several parts share is written once.

    Examples
    --------
    >>> caveats(["part a: no cell", "descriptive only", "part b: no cell"])
    'parts a, b: no cell; descriptive only'
    """
    parts: dict[str, list[str]] = {}
    for note in notes:
        found = _PART_NOTE.fullmatch(note)
        parts.setdefault(found[2] if found else note, []).extend([found[1]] if found else [])
    return "; ".join(
        f"part{'s' * (len(names) > 1)} {', '.join(names)}: {note}" if names else note for note, names in parts.items()
    )


def described_sentence(results: Sequence[ClaimResult]) -> str:
    """Name the differences of primary parts that cannot be tested, in both directions; empty if there are none."""
    found = []
    for result in results:
        for part in result.parts:
            above = differences_above_zero(part.records)
            if part.role == "primary" and part.verdict == "not testable" and above:
                effect = part.records[0].effect if len(part.records) == 1 else None
                mean = "" if effect is None else f" (mean {signed(effect)} points)"
                found.append(f"{result.id} {part.id}, {above} settings{mean}")
    if not found:
        return ""
    return f"Not testable, but described: the mean difference is above 0 in {'; '.join(found)}."


def _numbers(records: Sequence[Record]) -> str:
    """Return effect, interval and p-value of a part that one record decides; empty for several or an identity."""
    if len(records) != 1 or records[0].effect is None or records[0].low is None:
        return ""
    record = records[0]
    text = f"Mean difference {signed(record.effect)} points ({interval_text(record)})"
    return f"{text}, {p_text(record)}." if record.reported_p[0] is not None else f"{text}."


def _reason(part: PartResult) -> str:
    return f"{part.reason[:1].upper()}{part.reason[1:]}." if part.reason else ""


def part_heading(part: PartResult) -> str:
    """Return role, quantifier and verdict of a part.

    Examples
    --------
    >>> part_heading(PartResult(id="a", text="", kind="superiority", role="primary", over="every",
    ...                         verdict="supported", records=()))
    'primary part, every setting: supported'
    """
    over = {"every": "every setting", "some": "at least one setting", "mean": "mean over settings"}[part.over]
    role = "scan (exploratory)" if part.role == "scan" else f"{part.role} part"
    return f"{role}, {over}: {part.verdict}"


def part_sentences(part: PartResult) -> list[str]:
    """Describe a part of a claim: its settings counted, its records in both directions, and its readings."""
    text = [_reason(part)] if part.reason else []
    if part.kind == "identity":
        return text + [identity_sentence(record) for record in part.records]
    if part.records:
        text.append(_settings(part.records))
    if part.left_out:
        text.append(left_out(part))
    shown: Sequence[Record] = part.records
    if len(shown) > MOST_RECORDS:
        ranked = sorted(part.records, key=lambda record: record.effect or 0.0)
        shown = ranked[-1], ranked[0]
        text.append("The settings with the largest and with the smallest difference follow; the table has all.")
    text += [statistical_sentence(record) for record in shown]
    if part.robustness is not None:
        text.append(robustness_sentence(part.robustness))
    return text


def left_out(part: PartResult) -> str:
    """Count the settings of a part that are left out because of the pilot; empty if there is none.

    Examples
    --------
    >>> left_out(PartResult(id="a", text="", kind="superiority", role="primary", over="every",
    ...                     verdict="supported", left_out=2, records=()))
    '2 settings are left out: they are not informative in the pilot.'
    """
    if part.left_out == 1:
        return "1 setting is left out: it is not informative in the pilot."
    return f"{count(part.left_out)} settings are left out: they are not informative in the pilot." * bool(part.left_out)


def _settings(records: Sequence[Record]) -> str:
    text = f"{count(len(records))} setting{'s' * (len(records) != 1)}: {_tally(record.verdict for record in records)}"
    if records[0].settings > 1:
        text = f"Mean over {count(records[0].settings)} settings"
    above = differences_above_zero(records)
    return f"{text}; mean difference above 0 in {above} settings." if above else f"{text}."


def differences_above_zero(records: Sequence[Record]) -> str:
    """Return "x of y": in how many settings the mean difference is above 0, whatever the verdict; empty if unknown.

    Settings that hold by construction are not counted.

    Examples
    --------
    >>> base = {"part": "a", "kind": "superiority", "estimand": "", "setting": {}, "n": 1}
    >>> differences_above_zero([Record(**base, effect=1.0), Record(**base, effect=-1.0)])
    '1 of 2'
    """
    above = total = 0
    for record in records:
        averaged = str(record.details.get("settings with a positive mean", "")).split(" of ")
        if record.settings > 1 and len(averaged) == 2:
            above, total = above + int(averaged[0]), total + int(averaged[1])
        elif record.effect is not None and record.kind != "identity" and not record.by_construction:
            above, total = above + (record.effect > 0), total + 1
    return f"{count(above)} of {count(total)}" if total else ""


def robustness_sentence(found: Robustness) -> str:
    """Describe how the readings of a part compare.

    Examples
    --------
    >>> robustness_sentence(Robustness(planned=4, readings=(), robust=False))
    'Readings: 4 planned, none in this study.'
    """
    if not found.readings:
        return f"Readings: {count(found.planned)} planned, none in this study."
    shown = ", ".join(f"{count(number)} {word}" for word, number in found.tally().items() if number)
    constructed = sum(bool(reading.by_construction) for reading in found.readings)
    total = sum(found.tally().values())
    repeated = sum(bool(reading.same_as) for reading in found.readings)
    text = f"Readings: {count(found.planned)} planned, {count(len(found.readings))} in this study"
    if constructed:
        text += f"; {count(constructed)} by construction are not counted"
    if repeated:
        text += (
            f"; {count(repeated)} with the numbers of another reading {'is' if repeated == 1 else 'are'} not counted"
        )
    if total == 1:
        text += f". One is measured: {shown.removeprefix('1 ')}"
    elif total:
        text += f". Of the {count(total)} measured: {shown}; {'robust' if found.robust else 'not robust'}"
    if found.depends_on:
        axes = ", ".join(f"{axis} (adjusted {p_phrase(p)})" for axis, p in found.depends_on.items())
        text += f". The difference depends on {axes}"
    return f"{text}."
