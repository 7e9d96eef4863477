"""Damaged data sets."""

from __future__ import annotations

import io
import shutil
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image

from tests.prunebench.cli.fuzzing import fuzz, shares

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def picture(size: tuple[int, int] = (8, 8), mode: str = "L", orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    Image.new(mode, size).save(stream, "png", **({} if orientation == 1 else {"exif": exif}))
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header states this size; the compressed pixels are small."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURES = (
    b"", b"no image", picture(), picture((9, 8)), picture(mode="RGB"), picture(mode="I;16"), picture()[:50],
    picture((1, 1)),
    bomb(40_000, 40_000), bomb(2**31 - 1, 2**31 - 1), bomb(12_000, 12_000), bomb(0, 0), b"%!PS-Adobe-3.0 EPSF-3.0\n",
    picture((9, 8), orientation=6), picture((8, 8), orientation=3), picture(mode="LA"), picture(mode="P"),
    b"GIF89a" + b"\xff" * 40, b"BM" + b"\xff" * 60, b"II*\x00" + b"\xff" * 60, b"P5 99999999 99999999 255\n", None,
)  # fmt: skip


LABELS = (0, 1, 2, -1, 5, 2**40, 2**63 - 1, None)


DATA_STUDY = """\
name: theirs
data: [{name: "KIND:data", calibration: 4, search: 4}]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 1
scorers: [magnitude]
sparsities: [0.5]
"""


@st.composite
def data_folders(draw) -> dict[str, bytes]:
    """Files of a Parquet data set with a few faults."""
    files = {}
    plain, shards = (
        ["train-0", "train-1", "test-0"],
        ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"],
    )
    odd = ["train-0", "train-00000-of-00001", "test-00003-of-00002", "validation-0", "._train-0"]
    more = draw(st.sampled_from(["", "", "", "labels", "fine_label", "coarse_label", "img", "thumbnail"]))
    for part in (*draw(st.sampled_from([plain, shards])), *draw(st.sampled_from([[]] * 4 + [[name] for name in odd]))):
        pictures = [picture() for _ in range(12)]
        labels: list[object] = [row % 2 for row in range(12)]
        for _ in range(draw(st.integers(0, 2))):
            pictures[draw(st.integers(0, 11))] = draw(st.sampled_from(PICTURES))
        if draw(st.integers(0, 3)) == 0:
            labels[draw(st.integers(0, 11))] = draw(st.sampled_from(LABELS))
        if draw(st.integers(0, 7)) == 0:
            labels = [draw(st.sampled_from(LABELS))] * 12
        kind = draw(st.sampled_from([pa.int64()] * 6 + [pa.uint64(), pa.string(), pa.float64(), pa.int8()]))
        binary = draw(st.sampled_from([pa.binary()] * 6 + [pa.large_binary(), pa.string(), pa.int64()]))
        images = [None if content is None else {"bytes": content} for content in pictures]
        try:
            columns = {
                "image": pa.array(images, pa.struct([("bytes", pa.binary())])).cast(pa.struct([("bytes", binary)])),
                "label": pa.array(labels, pa.int64()).cast(kind),
            }
        except pa.ArrowException:
            continue
        if more:
            columns[more] = columns["image" if more in ("img", "thumbnail") else "label"]
        if draw(st.integers(0, 9)) == 0:
            del columns[draw(st.sampled_from(list(columns)))]
        table = pa.table(columns)[: draw(st.sampled_from([12, 12, 12, 12, 1, 0]))]
        metadata = draw(st.sampled_from(["{}"] * 5 + [
            "[]", "{", "null", '{"info": null}', '{"info": {"features": []}}', "[" * 5000,
            '{"info": {"features": {"label": {"names": ["a", "b"]}}}}',
            '{"info": {"features": {"label": {"names": 3}}}}',
            '{"info": {"features": {"label": 3}}}', '{"info": {"features": {"label": {"names": [null, {}]}}}}',
        ]))  # fmt: skip
        stream = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), stream)
        content = stream.getvalue()
        place = draw(st.integers(0, len(content) - 1))
        damaged = [content] * 8 + [content[:place], content[:place] + b"\x55" + content[place + 1 :], b"text\n", b""]
        files[f"data/{part}.parquet"] = draw(st.sampled_from(damaged))
    return files


@st.composite
def image_folders(draw) -> dict[str, bytes]:
    """Files of a folder of images with a few faults."""
    names = [f"data/{part}/{kind}/{n}.png" for part in ("train", "test") for kind in ("a", "b") for n in range(6)]
    files: dict[str, bytes] = dict.fromkeys(names, picture())
    for _ in range(draw(st.integers(0, 3))):
        files[draw(st.sampled_from(names))] = draw(st.sampled_from([found for found in PICTURES if found is not None]))
    for part in draw(st.sampled_from(["", "", "", "data/train/a", "data/train", "data/test", "data"])).split():
        files = {name: content for name, content in files.items() if not name.startswith(part)}
    odd = [
        "data/test/c/0.png",
        "data/train/c/0.PNG",
        "data/train/a/note.txt",
        "data/train/0.png",
        "data/train/a/x.png/y",
        "data/train/.ipynb_checkpoints/0.png",
        "data/test/a/._0.png",
        "data/__MACOSX/train/a/0.png",
        "data/val/a/0.png",
    ]
    for name in draw(st.lists(st.sampled_from(odd), max_size=2, unique=True)):
        files[name] = picture()
    return files


@pytest.mark.parametrize(("kind", "strategy"), [("parquet", data_folders()), ("folder", image_folders())])
@shares(8, 400)
def test_data_folders(ends_well, tmp_path, kind, strategy, examples):
    study = tmp_path / "study"

    def check(files: dict[str, bytes]) -> None:
        shutil.rmtree(study, ignore_errors=True)
        study.mkdir()
        (study / "study.yaml").write_text(DATA_STUDY.replace("KIND", kind))
        for name, content in files.items():
            (study / name).parent.mkdir(parents=True, exist_ok=True)
            (study / name).write_bytes(content)
        refused = ends_well("plan", study)
        if ends_well("run", study) == 2 and (study / "results.db").exists():
            assert ends_well("status", study) == 0  # what only decoding could tell; the store is whole
        assert not (refused and (study / "results.db").exists())

    fuzz(strategy, check, examples)
