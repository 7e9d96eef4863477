"""The mean of one part of a claim over the studies that may be combined; it never decides a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.across_studies.findings import Finding
from analysis.stats.pooling import LEAST_STUDIES, Pooled, RandomEffects, equal_weight_mean, random_effects
from analysis.stats.stratified import stratified_mean

#: Two-sided level of all intervals.
LEVEL = 0.95


@dataclass(frozen=True)
class Source:
    """What enters a mean of studies as one study: one study, or several that share checkpoints.

    Attributes
    ----------
    studies : tuple of str
    effect, se, df : float
        In percentage points.
    models : int
    """

    studies: tuple[str, ...]
    effect: float
    se: float
    df: float
    models: int


@dataclass(frozen=True)
class Combined:
    """The mean of several studies, each with equal weight.

    Attributes
    ----------
    sources : tuple of Source
    pooled : Pooled
    random : RandomEffects or None
        From five sources on.
    """

    sources: tuple[Source, ...]
    pooled: Pooled
    random: RandomEffects | None


def combine(findings: Sequence[Finding], joined: Mapping[str, int]) -> tuple[list[Combined], list[str]]:
    """Combine the findings of one part.

    Parameters
    ----------
    findings : sequence of Finding
        Of different studies, about the same part.
    joined : mapping of str to int
        Study -> number of its group of studies that share checkpoints.

    Returns
    -------
    list of Combined
        One for each set of comparable studies with at least two sources.
    list of str
        What is not combined, and why.
    """
    if len(findings) < 2:
        return [], []
    notes, usable = [], []
    for finding in findings:
        reason = _unusable(finding)
        if reason:
            notes.append(f"{finding.study} is not combined: {reason}")
        elif finding.estimate is not None:
            usable.append(finding)
    sets, apart = comparable_sets(usable)
    found = [combined for one in sets if (combined := _mean_of(one, joined)) is not None]
    return found, notes + apart


def _unusable(finding: Finding) -> str:
    """Return why a finding with an estimate enters no mean; empty if it does, or has no estimate."""
    if finding.estimate is None:
        return ""
    if finding.basis == "by construction":
        return "it holds by construction"
    if finding.looks:
        return "it was decided at two looks, and a mean after a stop is biased"
    if finding.estimate.se is None or not finding.estimate.se > 0:
        return finding.reason or "its models allow no interval"
    return ""


def comparable_sets(findings: Sequence[Finding]) -> tuple[list[list[Finding]], list[str]]:
    """Divide findings into sets that estimate the same with the same versions of the methods.

    Returns
    -------
    list of list of Finding
        A finding joins the first set that it is comparable with.
    list of str
        Why the sets are not combined.
    """
    sets: list[list[Finding]] = []
    notes = []
    for finding in findings:
        reasons = []
        for members in sets:
            different = next((text for other in members if (text := _difference(finding, other))), "")
            if not different:
                members.append(finding)
                break
            reasons.append(different)
        else:
            sets.append([finding])
            notes += reasons
    return sets, notes


def _difference(finding: Finding, other: Finding) -> str:
    """Return why two findings are not comparable; empty if they are."""
    pair = f"{finding.study} and {other.study} are not combined"
    if finding.definition != other.definition:
        return f"{pair}: their claims files define the part differently"
    changed = [
        f"{kind} {name} has version {_short(finding.methods[kind, name])} in {finding.study} and "
        f"{_short(other.methods[kind, name])} in {other.study}"
        for kind, name in finding.methods
        if (kind, name) in other.methods and finding.methods[kind, name] != other.methods[kind, name]
    ]
    return f"{pair}: {'; '.join(changed)}" if changed else ""


def _short(version: int | str) -> str:
    """Show a version; that of a user's plug-in is a hash."""
    return str(version)[:12]


def _mean_of(findings: Sequence[Finding], joined: Mapping[str, int]) -> Combined | None:
    groups: dict[int, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(joined[finding.study], []).append(finding)
    sources = [source for members in groups.values() if (source := joined_source(members)) is not None]
    if len(sources) < 2:
        return None
    means, errors = [one.effect for one in sources], [one.se for one in sources]
    pooled = equal_weight_mean(means, errors, [one.df for one in sources], LEVEL)
    random = random_effects(means, np.square(errors), LEVEL) if len(sources) >= LEAST_STUDIES else None
    return Combined(tuple(sources), pooled, random)


def joined_source(findings: Sequence[Finding]) -> Source | None:
    """Return one study, or several that share checkpoints as one.

    A model of several studies counts once, with the mean of its values; architectures have equal weight, as in every
    study. None if the models allow no interval.
    """
    names = tuple(finding.study for finding in findings)
    [first, *others] = findings
    if not others:
        estimate = first.estimate
        if estimate is None or estimate.se is None or estimate.df is None:
            return None
        return Source(names, estimate.effect, estimate.se, estimate.df, estimate.models)
    values = pd.concat([finding.values for finding in findings], axis=1).mean(axis=1)
    architectures = pd.concat([finding.architectures for finding in findings])
    architectures = architectures[~architectures.index.duplicated()].reindex(values.index)
    found = stratified_mean(values, architectures.tolist(), LEVEL, max(finding.least_sd for finding in findings))
    return Source(names, found.mean, found.se, found.df, found.n) if found.se > 0 else None
