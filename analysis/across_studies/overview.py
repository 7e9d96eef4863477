"""All claims over all studies below a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.across_studies.combine import Combined, combine
from analysis.across_studies.findings import Finding, findings_of
from analysis.across_studies.studies import Study, joined
from analysis.checklist import checklist


@dataclass(frozen=True)
class PartOverview:
    """One part of a claim over all studies.

    Attributes
    ----------
    claim, part, text : str
        The text is that of the first study.
    findings : tuple of Finding
        Of the studies with data for it.
    combined : tuple of Combined
    notes : tuple of str
        What is not combined, and shared test images.
    without : dict
        Study -> why it has no data for this part.
    """

    claim: str
    part: str
    text: str
    findings: tuple[Finding, ...]
    combined: tuple[Combined, ...]
    notes: tuple[str, ...]
    without: dict[str, str]


@dataclass(frozen=True)
class Overview:
    """What the studies below a folder found.

    Attributes
    ----------
    studies : tuple of Study
    parts : tuple of PartOverview
        Parts that at least one study has data for, in the order of the claims files.
    shared : tuple of str
        Studies that share checkpoints or test images.
    checklist : DataFrame
        `analysis.checklist.checklist` of all studies together.
    """

    studies: tuple[Study, ...]
    parts: tuple[PartOverview, ...]
    shared: tuple[str, ...]
    checklist: pd.DataFrame

    @property
    def not_met(self) -> list[str]:
        """Requirements of the checklist that are not met."""
        frame = self.checklist
        return list(frame.loc[frame["Met"].ne("met"), "Requirement"])


def overview_of(studies: Sequence[Study]) -> Overview:
    """Compare all claims of some studies, and combine what may be combined.

    Parameters
    ----------
    studies : sequence of Study
        At least one, each with another name.
    """
    groups = joined(studies)
    number = {study.name: place for place, group in enumerate(groups) for study in group}
    found: dict[tuple[str, str], list[Finding]] = {}
    for study in studies:
        for finding in findings_of(study):
            found.setdefault((finding.claim, finding.part), []).append(finding)
    order = list(dict.fromkeys(
        (claim.id, part.id) for study in studies for claim in study.results for part in claim.parts
    ))  # fmt: skip
    images = _shared_images(studies, number)
    parts = []
    for key in sorted(found, key=order.index):
        findings = found[key]
        combined, notes = combine(findings, number)
        named = {name for one in combined for source in one.sources for name in source.studies}
        notes += [
            f"{text}: the interval does not include the choice of images"
            for pair, text in images.items()
            if pair <= named
        ]
        parts.append(PartOverview(*key, findings[0].text, tuple(findings), tuple(combined), tuple(notes),
                                  _without(studies, key, findings)))  # fmt: skip
    shared = [
        f"{' and '.join(study.name for study in group)} share checkpoints: they count as one study"
        for group in groups if len(group) > 1
    ]  # fmt: skip
    rows = pd.concat([study.evidence.rows for study in studies], ignore_index=True)
    together = dataclasses.replace(studies[0].evidence, rows=rows)
    return Overview(tuple(studies), tuple(parts), (*shared, *images.values()), checklist(together))


def _shared_images(studies: Sequence[Study], number: dict[str, int]) -> dict[frozenset[str], str]:
    """Return pairs of studies with different checkpoints and the same test images, each with a sentence."""
    found = {}
    for place, study in enumerate(studies):
        for other in studies[place + 1 :]:
            both = sorted({study.data_sets[key] for key in study.data_sets.keys() & other.data_sets.keys()})
            if both and number[study.name] != number[other.name]:
                text = f"{study.name} and {other.name} share the test images of {', '.join(both)}"
                found[frozenset((study.name, other.name))] = text
    return found


def _without(studies: Sequence[Study], key: tuple[str, str], findings: Sequence[Finding]) -> dict[str, str]:
    """Return the studies that have no data for a part, with the reason."""
    having = {finding.study for finding in findings}
    return {
        study.name: next(
            (part.reason for claim in study.results for part in claim.parts if (claim.id, part.id) == key),
            "its claims file does not have this part",
        )
        for study in studies
        if study.name not in having
    }
