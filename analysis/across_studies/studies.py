"""The studies below a folder: their evidence, their verdicts, and what identifies their models and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.claims.decide import decide
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ClaimResult
from analysis.claims.schema import claims_path
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import load
from bench.store.registration_level import Verify, registration_level


@dataclass(frozen=True, eq=False)
class Study:
    """One study, decided.

    Attributes
    ----------
    name : str
        Path of its folder below the folder of the overview.
    evidence : Evidence
    claims : Claims or None
        None for a study without claims.yaml.
    results : tuple of ClaimResult
    registration : str
        Level of its registration.
    """

    name: str
    evidence: Evidence
    claims: Claims | None
    results: tuple[ClaimResult, ...]
    registration: str

    @property
    def checkpoints(self) -> frozenset[str]:
        """Hashes of its dense models."""
        return frozenset(self.evidence.dense["checkpoint"].dropna())

    @property
    def data_sets(self) -> dict[str, str]:
        """Content hash of a data set -> its name."""
        pairs = self.evidence.dense[["dataset_hash", "dataset"]].dropna()
        return dict(pairs.itertuples(index=False, name=None))


def read_study(folder: Path, root: Path, verify: Verify | None = None) -> Study:
    """Read and decide one study; `verify` verifies a time-stamp.

    Raises
    ------
    AnalysisError
        If its evidence is damaged, or claims.yaml has a mistake.
    """
    evidence, path = load(folder), claims_path(folder)
    claims = read_claims(path) if path.exists() else None
    results = tuple(decide(evidence, claims)) if claims is not None else ()
    level = registration_level(evidence.meta, evidence.rows, None if claims is None else claims.hash, verify)
    name = folder.resolve().name if folder == root else folder.relative_to(root).as_posix()
    return Study(name, evidence, claims, results, level.word)


def joined(studies: Sequence[Study]) -> list[tuple[Study, ...]]:
    """Return the studies grouped by shared checkpoints: studies that share one, directly or not, are one group.

    The groups, and the studies within them, keep the order of `studies`.
    """
    groups: list[list[Study]] = []
    for study in studies:
        linked = [group for group in groups if any(study.checkpoints & other.checkpoints for other in group)]
        groups = [group for group in groups if group not in linked]
        groups.append([*(other for group in linked for other in group), study])
    order = {study.name: place for place, study in enumerate(studies)}
    ordered = [tuple(sorted(group, key=lambda study: order[study.name])) for group in groups]
    return sorted(ordered, key=lambda group: order[group[0].name])
