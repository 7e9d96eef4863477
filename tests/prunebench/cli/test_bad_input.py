"""Files and arguments from anywhere: every command ends well or with one line, soon, and leaves nothing half made.

Each test runs a share at every run of the suite and the whole under ``-m slow``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import shutil
import time
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from analysis.load import load as read_evidence
from analysis.load import write_parquet
from bench.data.load import data_facts
from bench.models.build import build_model
from bench.plugins.catalogue import make_registry
from bench.study.spec import DataSpec, ModelSpec

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
SECONDS = 10  # of processor time, for one command

STUDY = """\
# every key that a study may have
name: everything
description: >-
  Two lines
  of text
data:
  - {name: digits, label: small, calibration: 200, search: 100, limit: {train: 900, test: 300}}
models:
  - name: digits_cnn
    label: net
    args: {}
    recipe: {optimizer: adamw, epochs: 1, batch: 64, lr: 1.0e-3, augmentation: shift, shift: 1}
    normalisation: {mean: [0.3], std: [0.4]}
    exclude: [head]
train_seeds: [0, 3]
calibration: {draws: 1, images: [64, 32], batch: 16}
scorers: [random, magnitude, &one taylor, {name: v1}]
searches: [equal, {name: dbo, evaluations: 20}]
granularities: [weight]
allocations: [uniform, 2:4, {name: emp, beta: 0.5}]
sparsities: [0.5, 0.75]
corrections: [none, asr]
recalibrations: [none, {name: ema, batches: 2}]
exclude:
  - name: corrections for one alone
    where: {correction: {not: none}, scorer: {not: *one}}
execution: {precision: float32, memory_format: contiguous, batch: 128, threads: 1}
stop_after_failures: 3
profiles:
  quick: {train_seeds: 1, sparsities: [0.5]}
"""


class Raw(str):
    """YAML that is written as it is."""

    __slots__ = ()


def flow(value: object) -> str:
    """Write a value as YAML in one line."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)


def laughs(levels: int) -> str:
    lines = ["l0: &l0 [ha, ha]", *(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, levels))]
    return "\n".join(lines) + "\n"


#: What a careless or hostile author writes; MARK is made if a tag is ever obeyed.
SCALARS = (
    "", " ", "none", "null", "-", "a" * 300, "../../up", "/etc/passwd", "~nobody/x", "${NO_SUCH}", "{seed}", "a:b", ":",
    "./x.py:f", "os:getcwd", "3:5", "0:0", "parquet:.", "folder:/dev", "parquet:", "digits", "resnet18", "[/red]", "%s",
    "<script>", "\u202e", "\U0001f600", "\u0663", "\x00", "\x1b[31m", "\ud800", "line\nline", "\u2028", "e\u0301",
    "$x^$",
    0, 1, -1, 2, 3, 10**4, 10**9, 10**30, -(10**30), 0.0, -0.0, 0.5, 1.0, 1e-300, 1e300, True, False, None,
    Raw(".nan"), Raw(".inf"), Raw("-.inf"), Raw("2001-01-01"), Raw("2001-12-14t21:59:43.1-05:00"),
    Raw("0x" + "f" * 5000),
    Raw("1" * 5000), Raw("!!binary aGk="), Raw("!!set {a, b}"), Raw("!!omap [a: 1]"), Raw("!!bool x"), Raw("!x y"),
    Raw("!!python/object/apply:os.system ['touch MARK']"), Raw("!!python/object/new:os.system ['touch MARK']"),
    Raw("!!python/name:os.system"), Raw("&a [*a]"), Raw("&a {b: *a}"), Raw("*absent"), Raw("&b x"), Raw("{<<: {a: 1}}"),
    Raw("[" * 70 + "]" * 70), Raw("[" * 200 + "]" * 200), Raw("{? [1, 2] : 3}"), Raw("{null: 1, 1: 2, '1': 3}"),
)  # fmt: skip
VALUES = (
    st.sampled_from(SCALARS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
#: What a valid file may well say elsewhere, or with another number.
PLAUSIBLE = (
    "lamp", "global", "erk", "ema", "cumulative", "asr", "digits_vit", "resnet10t", "v1", "dbo", "head", "*",
    "magnitude",
    "2:4", "bfloat16", "channels_last", "auto", "no", "taylor", "channel", 0, 1, 2, 3, 7, 100, 500, 10**4, 10**6,
    10**9, -1,
    0.0, 0.5, 0.9, 0.999999, 1.0, 2.5, True, [], {}, None, "", "x", {"name": "x"}, ["digits_cnn", "digits_vit"],
)  # fmt: skip
HOSTILE = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SNIPPETS = (
    "\t", "\ufeff", "\x00", "- ", ": ", "&a ", "*a", "*one", "{", "}", "[", "]", '"', "'", "|", ">", "%YAML 1.1\n---\n",
    "...\n", "---\n", "<<: *one\n", "? ", "\u2028", "\u0660", "\r", "\n", "\n\n  ", "#",
    "!!python/object:os.system ", "!!map ",
    "a" * 5000, "[" * 200, "x: 1\n", "0x_", "1e400", "@", "`", ",", "no", "\udcff", laughs(12),
)  # fmt: skip


@st.composite
def mutated_tree(draw, tree: object) -> str:
    """A valid tree with a few values dropped, renamed, doubled or replaced, written in one line."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        node, key, parent = tree, None, None
        while isinstance(node, (dict, list)) and node and (parent is None or draw(st.integers(0, 3))):
            parent = node
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            node = node[key]
        if parent is None:
            continue
        change = draw(st.sampled_from(["replace", "replace", "drop", "rename", "double", "wrap"]))
        if change == "replace":
            parent[key] = draw(st.sampled_from(PLAUSIBLE) | HOSTILE)
        elif change == "drop":
            del parent[key]
        elif change == "wrap":
            parent[key] = draw(st.sampled_from([[node], {"name": node}, [[node]], {"not": node}]))
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(node))
        elif change == "rename":
            parent[draw(st.sampled_from([f"{key}s", str(key)[:-1], "", 3, Raw("null"), Raw("[a]")]))] = parent.pop(key)
        else:
            parent[Raw(f"{key} ")] = copy.deepcopy(node)
    return flow(tree)


@st.composite
def mutated_text(draw, text: str) -> bytes:
    """A valid file with a few pieces put in, cut out or moved, and now and then with bytes that are no text."""
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(text))), draw(st.sampled_from([0, 0, 1, 2, 5, 20, 200]))
        text = text[:start] + draw(st.sampled_from(("", *SNIPPETS))) + text[start + length :]
    content = text.encode("utf-8", "surrogatepass")
    return draw(
        st.sampled_from(
            [content] * 8 + [b"\xff" + content, content.decode().encode("utf-16") if "\udcff" not in text else content]
        )
    )


def mutated_files(text: str, tree: object) -> st.SearchStrategy[bytes]:
    odd = [
        b"",
        b"\x00",
        b"\xff\xfe\x00",
        b"- 1\n",
        b"3\n",
        laughs(30).encode(),
        b"k: " + b"a" * 300_000,
        b"[" * 100_000,
    ]
    trees = mutated_tree(tree).map(lambda made: made.encode("utf-8", "surrogatepass"))
    return st.one_of(trees, trees, trees, trees, mutated_text(text), st.sampled_from(odd))


def fuzz(strategy, check, examples: int) -> None:
    """Check so many examples, the same ones every time; the one that fails is left in the test's folder."""
    chosen = settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    chosen(given(strategy)(check))()


def shares(few: int, many: int):
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.fixture
def ends_well(command):
    """Run a command that must end soon, with exit code 0, or 2 and one line."""

    def run(*arguments: object) -> int:
        start = time.process_time()
        done = command(*arguments)
        assert time.process_time() - start < SECONDS, arguments
        assert done.code in (0, 2), (arguments, done)
        if done.code == 2:
            lines = done.err.splitlines()
            assert len(lines) == 1, (arguments, done)
            assert lines[0].startswith("error: "), (arguments, done)
            assert len(lines[0]) < 2000, (arguments, done)
        return done.code

    return run


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def tree_of(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


@shares(20, 2000)
def test_study_files(ends_well, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study"
    study.mkdir()
    before = {"study", "study/study.yaml"}

    def check(content: bytes) -> None:
        (study / "study.yaml").write_bytes(content)
        refused = ends_well("plan", study)
        ends_well("plan", study, "--profile", "quick")
        # a run that has nothing to do is refused too, so none of these may leave a store
        asked = [] if refused else ["--only", "cell=none"]
        assert ends_well("run", study, *asked) == 2
        assert files_in(tmp_path) == before

    fuzz(mutated_files(STUDY, tree_of(STUDY)), check, examples)


CLAIMS = """\
include: [sics]
adjust:
  P2: {margin: 0.02, reason: few images}
claims:
  - id: M1
    text: taylor beats magnitude
    source: ours
    setting: {dataset: ["dig*"]}
    per: {recalibration: [none, cumulative]}
    parts:
      - id: a
        text: at 80 %
        estimand: contrast
        kind: superiority
        of: [taylor]
        against: magnitude
        where: {granularity: weight}
        sparsities: [0.5, 0.8]
        alpha: 0.025
      - {id: b, text: masks agree, estimand: mask_identity, scorers: [exp_magnitude], distinct: {model: 1}}
      - {id: c, text: it grows, estimand: trend, terms: [{of: {scorer: taylor}}], required: false, without: unknown}
      - {id: d, text: they differ, estimand: differs, axis: scorer, sparsities: {least: 0.1, most: 0.9}, scan: true}
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

    def check(content: bytes) -> None:
        file.write_bytes(content)
        ends_well(reader, reported)

    fuzz(mutated_table(table), check, examples)


def picture(size: tuple[int, int] = (8, 8), mode: str = "L", orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    Image.new(mode, size).save(stream, "png", **({} if orientation == 1 else {"exif": exif}))
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is of this size; its pixels take no room."""

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
        told = draw(st.sampled_from(["{}"] * 5 + [
            "[]", "{", "null", '{"info": null}', '{"info": {"features": []}}', "[" * 5000,
            '{"info": {"features": {"label": {"names": ["a", "b"]}}}}',
            '{"info": {"features": {"label": {"names": 3}}}}',
            '{"info": {"features": {"label": 3}}}', '{"info": {"features": {"label": {"names": [null, {}]}}}}',
        ]))  # fmt: skip
        stream = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"huggingface": told}), stream)
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


def header(tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("MARK"),))


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, bytes]:
    """Name -> content of files that are no checkpoints of a digits_cnn."""
    state = build_model(
        ModelSpec(name="digits_cnn"), make_registry(), data_facts(DataSpec(name="digits"), Path()), 0
    ).state_dict()
    good = safetensors.torch.save(state)
    first = next(iter(state))
    stream = io.BytesIO()
    torch.save({"state_dict": {first: Malicious()}}, stream)
    old = io.BytesIO()
    torch.save(Malicious(), old, _use_new_zipfile_serialization=False)
    whole = io.BytesIO()
    torch.save(state, whole)
    nan = {name: torch.full_like(t, float("nan")) if t.is_floating_point() else t for name, t in state.items()}
    sparse = io.BytesIO()
    torch.save({name: t.to_sparse() if t.dim() == 4 else t for name, t in state.items()}, sparse)
    return {
        "reduce.pt": stream.getvalue(),
        "pickle.safetensors": pickle.dumps(Malicious()),
        "huge.safetensors": header({"a": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**62]}}),
        "nan.safetensors": safetensors.torch.save(nan),
        "empty.safetensors": b"",
        "length.safetensors": (2**62).to_bytes(8, "little") + good[8:],
        "short.safetensors": (7).to_bytes(8, "little") + good[8:],
        "cut.safetensors": good[:-100],
        "overlap.safetensors": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        "deep.safetensors": (20_000).to_bytes(8, "little") + b"[" * 20_000,
        "other.safetensors": safetensors.torch.save({"a": torch.zeros(2)}),
        "shapes.safetensors": safetensors.torch.save({name: tensor[None].clone() for name, tensor in state.items()}),
        "complex.safetensors": safetensors.torch.save({n: t.to(torch.complex64) for n, t in state.items()}),
        "torch.safetensors": whole.getvalue(),
        "pickle.pt": pickle.dumps(Malicious()),
        "reduce.pth": old.getvalue(),
        "cut.pt": whole.getvalue()[:-200],
        "list.pt": whole.getvalue()[:10],
        "sparse.pt": sparse.getvalue(),
        "safe.pt": good,
    }


@shares(4, 99)
def test_checkpoints(ends_well, tmp_path, monkeypatch, checkpoints, examples):
    monkeypatch.chdir(tmp_path)
    for number, (name, content) in enumerate(list(checkpoints.items())[:examples]):
        study = tmp_path / str(number)
        study.mkdir()
        (study / name).write_bytes(content)
        (study / "study.yaml").write_text(
            f"name: c\ndata: [digits]\nmodels: [{{name: digits_cnn, checkpoint: {name}, normalisation: dataset}}]\n"
            f"scorers: [magnitude]\nsparsities: [0.5]\n"
        )
        ends_well("plan", study)
        assert ends_well("run", study) == 2, name
        assert ends_well("status", study) in (0, 2)
    assert not list(tmp_path.rglob("MARK"))


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a file with bytes overwritten, cut out, put in or repeated, or with another header."""
    content = whole
    if draw(st.booleans()):
        dtypes = st.sampled_from(["F32", "F64", "BF16", "I8", "U64", "F99", "", 7])
        sizes = st.integers(-1, 2**33)
        tensor = st.fixed_dictionaries({
            "dtype": dtypes, "shape": st.lists(sizes, max_size=3), "data_offsets": st.lists(sizes, max_size=3),
        })  # fmt: skip
        names = st.sampled_from(["features.0.weight", "__metadata__", "", "a" * 300])
        content = (
            header(draw(st.dictionaries(names, tensor, max_size=3))) + whole[8 + int.from_bytes(whole[:8], "little") :]
        )
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, min(len(content), 4000)) | st.integers(0, len(content)))
        end = min(len(content), place + draw(st.integers(0, 40) | st.integers(0, len(content))))
        middle = draw(st.binary(max_size=20) | st.just(content[place:end] * 2) | st.just(b""))
        content = content[:place] + middle + content[end:]
    return content


@pytest.mark.parametrize("name", ["safe.pt", "torch.safetensors"])
@shares(8, 300)
def test_damaged_checkpoints(ends_well, tmp_path, checkpoints, name, examples):
    study = tmp_path / "study"

    def check(content: bytes) -> None:
        for suffix in (".safetensors", ".pt"):
            shutil.rmtree(study, ignore_errors=True)
            study.mkdir()
            (study / f"net{suffix}").write_bytes(content)
            (study / "study.yaml").write_text(
                f"name: c\ndata: [digits]\n"
                f"models: [{{name: digits_cnn, checkpoint: net{suffix}, normalisation: dataset}}]\n"
                f"scorers: [magnitude]\nsparsities: [0.5]\n"
            )
            ends_well("plan", study)
            ends_well("run", study, "--limit", "1")  # some weights are only others
            assert ends_well("status", study) in (0, 2)

    fuzz(damaged(checkpoints[name]), check, examples)


WORDS = st.sampled_from((
    "", "-", "--", "--json", "--profile", "quick", "--only", "scorer=magnitude", "sparsity=x", "=", "cell=",
    "--limit", "0",
    "-1", "1e9", "nan", "inf", "--cell-timeout", "--merge", "--cache", "--from", "digits", "--model", "--data", "-o",
    "x.txt", "x.safetensors", "--eps", "--basis", "wavelet", "--sd", "--models", "--pilot", "--chance", "--sparsity",
    "--smooth-degree", "--map", "--figure", "--device", "cuda", "tpu", "--engine", "ray9", "--retry-failed", "--kind",
    "scorer", "magnitude", "all!", "./no.py:f", "os:getcwd", "a" * 300, "\x00", "\udcff", "[/red]", "../..", "/",
    "~", ".",
    "--workers", "--address", "127.0.0.1:1", "--gpus-per-worker", "1.5", "--store", "sqlite://x", "postgresql://x",
    "--artifacts", "memory://x", "a://b::c://d", "~nobody-there/x",
    "/dev/null", "/proc/self/mem", "file", "folder", "study", "study/study.yaml", "absent", "--help", "--version",
))  # fmt: skip
COMMANDS = (
    "new",
    "plan",
    "run",
    "status",
    "show",
    "report",
    "claims",
    "kappa",
    "power",
    "list",
    "check",
    "prune",
    "doctor",
    "x",
    "",
)


@shares(30, 1500)
def test_arguments(ends_well, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text(DATA_STUDY.replace("KIND:data", "digits"))

    def check(words: tuple[str, list[str]]) -> None:
        first, rest = words
        if first == "run":
            rest = [*rest, "--only", "cell=none"]  # else it would run
        if first == "kappa":
            rest = ["magnitude", *rest]  # else it would measure all scorers
        ends_well(first, *rest)
        if first in ("plan", "run", "status", "show"):
            assert not list(tmp_path.rglob("results.db"))

    fuzz(st.tuples(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=5)), check, examples)
