"""Damaged claims files and report data."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from analysis.evidence.load import load as read_evidence
from analysis.evidence.load import write_parquet
from tests.prunebench.cli.fuzzing import files_in, fuzz, mutated_files, shares, tree_of

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


CLAIMS = """\
version: 2
include: [sics]
looks: [10, 20]
adjust:
  P2: {margin: 2, reason: few images}
claims:
  - id: M1
    text: taylor beats magnitude
    source: ours
    setting: {dataset: ["dig*"]}
    readings: {recalibration: [none, cumulative], baseline: {magnitude: {}, rank: {magnitude: rank}}, margin: [1, 2]}
    parts:
      - id: a
        text: at 80 %
        estimand: contrast
        kind: superiority
        of: [taylor]
        against: magnitude
        where: {granularity: weight}
        sparsities: [0.5, 0.8]
        over: mean
        gate: {scorer: magnitude}
      - {id: b, text: masks agree, estimand: mask_identity, scorers: [exp_magnitude], distinct: {model: 1}}
      - {id: c, text: it grows, estimand: trend, terms: [{of: {scorer: taylor}}], role: supporting}
      - {id: d, text: they differ, estimand: differs, axis: scorer, sparsities: {least: 0.1, most: 0.9}, role: scan}
"""


@pytest.fixture
def reported(tmp_path, finished_tiny) -> Path:
    """A study of which there is the report's data alone."""
    folder = tmp_path / "reported"
    (folder / "report").mkdir(parents=True)
    write_parquet(read_evidence(finished_tiny), folder / "report" / "data.parquet")
    return folder


@shares(10, 500)
def test_claims_files(ends_well, reported, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    before = files_in(tmp_path) | {"reported/claims.yaml"}

    def check(content: bytes) -> None:
        (reported / "claims.yaml").write_bytes(content)
        ends_well("claims", reported)
        assert files_in(tmp_path) == before

    fuzz(mutated_files(CLAIMS, tree_of(CLAIMS)), check, examples)


CELLS = st.sampled_from((
    None, "", "x", "<b>", "{}", "[1", '{"search": 3}', '{"emp": []}', "done", 0, 1, -1, 2**40, 0.5, 1.5, float("nan"),
    float("inf"), True, b"", b"\xff" * 50, "none", "dense", "magnitude", "weight",
))  # fmt: skip


@st.composite
def mutated_table(draw, table: pa.Table) -> bytes:
    """A valid Parquet file with columns or metadata changed, or with its bytes damaged."""
    sound = table.schema.metadata or {}
    for _ in range(draw(st.integers(1, 2))):
        names = [*table.column_names, *map(bytes.decode, table.schema.metadata or {})]
        name = draw(st.sampled_from(names))
        metadata = dict(table.schema.metadata or {})
        if name.encode() in metadata:
            texts = st.sampled_from(("", "{}", "[]", "null", "3", "{", '{"name": 3}', "[" * 5000)) | st.just(None)
            text = draw(texts)
            known = json.loads(sound[name.encode()])
            if text is None and isinstance(known, dict):
                key = draw(st.sampled_from(sorted(known)))
                text = json.dumps({**known, key: draw(st.sampled_from((None, 3, "x", [], {}, [None], {"a": None})))})
            table = table.replace_schema_metadata({**metadata, name.encode(): (text or "").encode()})
            continue
        place = table.column_names.index(name)
        column = table.column(place).to_pylist()
        change = draw(st.sampled_from(["cell", "cell", "column", "drop", "cast"]))
        if change == "drop":
            table = table.remove_column(place)
        elif change == "cast":
            table = table.set_column(place, name, pa.array([str(value) for value in column]))
        else:
            value = draw(CELLS)
            rows = range(len(column)) if change == "column" else [draw(st.integers(0, len(column) - 1))]
            column = [value if row in rows else old for row, old in enumerate(column)]
            with contextlib.suppress(pa.ArrowException, OverflowError):
                kind = table.schema.field(place).type if draw(st.booleans()) else None
                table = table.set_column(place, name, pa.array(column, kind, from_pandas=False))
    stream = io.BytesIO()
    pq.write_table(table, stream)
    content = stream.getvalue()
    damage = draw(st.sampled_from(["none"] * 6 + ["cut", "flip", "text"]))
    place = draw(st.integers(0, len(content) - 1))
    if damage == "cut":
        return content[:place]
    if damage == "flip":
        return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
    return b"cell,state\n" if damage == "text" else content


@pytest.mark.parametrize(
    ("reader", "examples"),
    [
        ("claims", 4), pytest.param("claims", 300, marks=pytest.mark.slow),
        pytest.param("report", 60, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_data_of_reports(ends_well, reported, reader, examples):
    (reported / "claims.yaml").write_text(CLAIMS)
    file = reported / "report" / "data.parquet"
    table = pq.read_table(file)
    codes = []

    def check(content: bytes) -> None:
        file.write_bytes(content)
        codes.append(ends_well(reader, reported))

    fuzz(mutated_table(table), check, examples)
    assert 2 in codes  # not all damage goes unnoticed
