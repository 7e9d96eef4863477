"""Studies read from their folders, and those that share checkpoints."""

from __future__ import annotations

import pytest

from analysis.across_studies.studies import joined, read_study
from analysis.errors import AnalysisError
from analysis.evidence.load import write_parquet

CLAIMS = """\
version: 2
claims:
  - id: G
    text: taylor is better
    source: ours
    parts:
      - {id: gain, text: taylor exceeds magnitude, estimand: contrast, kind: superiority, of: [taylor],
         against: magnitude, gate: none, where: {correction: none, recalibration: none}}
"""


def names(groups):
    return [[one.name for one in group] for group in groups]


def test_studies_that_share_a_checkpoint_are_one_group_also_through_a_third(study_of):
    one, two = {("cnn", 0.5): [1, 2]}, {("vit", 0.5): [1, 2]}
    a, b = study_of("a", one, prefix="p"), study_of("b", [3, 4])
    c, d = study_of("c", one | two, prefix="p"), study_of("d", two, prefix="p")
    assert names(joined([a, b, d])) == [["a"], ["b"], ["d"]]
    assert names(joined([a, b, d, c])) == [["a", "d", "c"], ["b"]]


def test_a_study_is_read_from_the_data_of_its_report(tmp_path, study):
    folder = tmp_path / "deep" / "mine"
    (folder / "report").mkdir(parents=True)
    data = study(models=("cnn",), seeds=2, granularities=("channel",), allocations=("uniform",), repairs=False)
    write_parquet(data, folder / "report" / "data.parquet")
    without = read_study(folder, tmp_path)
    assert (without.name, without.claims, without.results) == ("deep/mine", None, ())
    assert without.registration == "not registered"
    (folder / "claims.yaml").write_text(CLAIMS)
    decided = read_study(folder, folder)
    assert decided.name == "mine"
    assert [result.id for result in decided.results] == ["G"]
    assert len(decided.checkpoints) == 2
    assert list(decided.data_sets.values()) == ["digits"]
    (folder / "claims.yaml").write_text(CLAIMS.replace("version: 2", ""))
    with pytest.raises(AnalysisError, match="version: 2"):
        read_study(folder, tmp_path)
