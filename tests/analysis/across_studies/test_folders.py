"""The study folders below a folder."""

from __future__ import annotations

import pytest

from analysis.across_studies.folders import study_folders
from analysis.errors import AnalysisError


def write(folder, *, evidence=True):
    (folder / "report").mkdir(parents=True)
    (folder / "study.yaml").write_text("")
    if evidence:
        (folder / "report" / "data.parquet").write_text("")


def test_studies_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path):
    write(tmp_path / "b")
    write(tmp_path / "a" / "deep")
    write(tmp_path / "c", evidence=False)
    assert study_folders(tmp_path) == [tmp_path / "a" / "deep", tmp_path / "b"]
    assert study_folders(tmp_path / "b") == [tmp_path / "b"]


def test_a_folder_without_studies_is_refused(tmp_path):
    with pytest.raises(AnalysisError, match="is not a folder"):
        study_folders(tmp_path / "absent")
    write(tmp_path / "c", evidence=False)
    with pytest.raises(AnalysisError, match=r"no study with evidence is below it \(1 study.yaml found\)"):
        study_folders(tmp_path)
