"""The studies that are shipped were written with store schema 1: they load, and a rebuilt report keeps their data."""

import json
import shutil
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis.evidence.load import load, write_parquet
from analysis.report.render import render_report

pytestmark = pytest.mark.long

REPORTS = Path(__file__).parents[2] / "reports"
STUDIES = ("digits", "cifar10-resnet-published")


@pytest.mark.parametrize("name", STUDIES)
def test_data_written_again_are_the_same_bytes(name):
    file = REPORTS / name / "report" / "data.parquet"
    data = load(REPORTS / name)
    assert data.meta["schema"] == 1
    assert data.dense["network"].isna().all()
    ours, plain = BytesIO(), BytesIO()
    write_parquet(data, ours)
    pq.write_table(pq.read_table(file), plain, compression="zstd")  # as this version of Arrow writes the same table
    assert ours.getvalue() == plain.getvalue()
    if pq.ParquetFile(file).metadata.created_by == pq.ParquetFile(plain).metadata.created_by:
        assert ours.getvalue() == file.read_bytes()


def test_a_rebuilt_report_keeps_the_data_and_explains_the_speed_up(tmp_path):
    committed = REPORTS / "cifar10-resnet-published"
    (tmp_path / "report").mkdir()
    shutil.copy(committed / "claims.yaml", tmp_path)
    shutil.copy(committed / "report" / "data.parquet", tmp_path / "report")
    before = (tmp_path / "report" / "data.parquet").read_bytes()
    page = render_report(tmp_path).read_text()
    assert "Conv2d and Linear layers alone" in page[page.index("Every setting, repaired or not") :]
    assert "holds no table of the networks" in page
    assert (tmp_path / "report" / "data.parquet").read_bytes() == before
    kept = json.loads((committed / "report" / "records.json").read_text())
    found = json.loads((tmp_path / "report" / "records.json").read_text())
    assert [claim["verdict"] for claim in found] == [claim["verdict"] for claim in kept]
