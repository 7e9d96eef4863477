"""The study folders below a folder, found without reading them."""

from __future__ import annotations

from pathlib import Path

from analysis.errors import AnalysisError
from analysis.evidence.files import has_evidence


def study_folders(root: Path) -> list[Path]:
    """Return the study folders in and below a folder that hold evidence, in the order of their paths.

    Raises
    ------
    AnalysisError
        If the folder does not exist, or there is none.
    """
    if not root.is_dir():
        raise AnalysisError(f"{root}: is not a folder; give the folder that holds the studies")
    found = sorted(file.parent for file in root.rglob("study.yaml"))
    with_evidence = [folder for folder in found if has_evidence(folder)]
    if not with_evidence:
        raise AnalysisError(
            f"{root}: no study with evidence is below it ({len(found)} study.yaml found); run a study there, or give "
            f"the folder that holds the studies"
        )
    return with_evidence
