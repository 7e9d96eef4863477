"""Checks of a study folder that take a fraction of a second: commands make them before they import torch or pandas."""

from __future__ import annotations

from pathlib import Path

from analysis.evidence.files import CLAIMS_FILE, refuse_without_evidence
from bench.plugins.catalogue import make_registry
from bench.study.load import check_study


def check_study_folder(folder: Path, profile: str | None = None) -> None:
    """Check study.yaml, and claims.yaml if there is one, as far as neither data nor networks are needed.

    Parameters
    ----------
    folder : Path
        Study folder.
    profile : str, optional
        A profile of study.yaml.

    Raises
    ------
    UserError
        If study.yaml is missing or has a mistake.
    AnalysisError
        If claims.yaml has one.
    """
    check_study(folder, make_registry(folder), profile)
    check_claims(folder)


def check_claims(folder: Path) -> None:
    """Raise AnalysisError if the study folder has a claims.yaml with a mistake."""
    claims = folder / CLAIMS_FILE
    if claims.exists():
        # the parts of claims compute with pandas and scipy: a mistake in study.yaml is reported without these
        from analysis.claims.read import claims_hash

        claims_hash(claims)


def check_evidence(folder: Path) -> None:
    """Check that a study folder holds evidence, and its claims.yaml if there is one.

    Raises
    ------
    AnalysisError
        If there is no evidence, or claims.yaml has a mistake.
    """
    refuse_without_evidence(folder)
    check_claims(folder)
