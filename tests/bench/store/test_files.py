"""Files in a folder and behind URLs: whole or not there, and damage that is noticed."""

import io
import pickle
import sys
import time
from typing import ClassVar

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.store import schema
from bench.store.files import (
    BLANK,
    Artifacts,
    digest_file,
    is_altered,
    read_file,
    remove_left_over,
    resolve_artifacts,
    sealed,
    write_file,
)
from bench.store.places import Places, keep_places


class Bucket(MemoryFileSystem):
    """An object store: a PUT is whole or not at all, there are no folders, a listing may be an old one."""

    protocol = ("bucket", "s3")
    store = {}  # noqa: RUF012  # as in the base class
    pseudo_dirs = [""]  # noqa: RUF012  # as in the base class

    def _refuse(self, *_args, **_kwargs):
        raise AssertionError("an object store needs neither")

    makedirs = cp_file = _refuse


class TokenExpiredError(Exception):
    """No OSError, as with the real packages."""


class Unreachable(MemoryFileSystem):
    protocol = "unreachable"

    def _fail(self, *_args, **_kwargs):
        raise TokenExpiredError("the token\nhas expired")

    info = find = pipe_file = cat_file = _open = _fail


fsspec.register_implementation("bucket", Bucket, clobber=True)
fsspec.register_implementation("unreachable", Unreachable, clobber=True)


@pytest.fixture(params=["folder", "file://", "memory://", "bucket://"])
def place(request, tmp_path):
    """An empty place of each kind."""
    if request.param == "folder":
        return tmp_path / "artifacts"
    return f"{request.param}{tmp_path}/artifacts"


@pytest.fixture
def artifacts(place):
    return Artifacts.at(place)


def test_what_is_written_is_read(artifacts):
    @settings(max_examples=25)
    @given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
    def check(contents):
        for content in contents:  # the later ones replace the first
            artifacts.write("curves/deep/a.bin", content)
            assert artifacts.read("curves/deep/a.bin") == content

    check()
    assert artifacts.names() == ["curves/deep/a.bin"]


def test_names_and_what_is_there(artifacts):
    assert artifacts.names() == artifacts.names("curves") == []
    assert not artifacts.exists("curves/b")
    for name in ("curves/b", "curves/a/1", "dense/c", "dense/.c.0123.tmp"):
        artifacts.write(name, b"x")
    assert artifacts.names() == ["curves/a/1", "curves/b", "dense/c"]
    assert artifacts.names("curves") == ["curves/a/1", "curves/b"]
    assert artifacts.exists("curves/b")
    assert not artifacts.exists("curves/a")  # a folder
    copy = pickle.loads(pickle.dumps(artifacts))
    assert copy == artifacts
    assert copy.read("dense/c") == b"x"


def test_an_absent_file_is_one_line(artifacts):
    with pytest.raises(UserError, match=r"a\.bin: there is no such file($|; check the address)") as caught:
        artifacts.read("a.bin")
    assert artifacts.where("a.bin") in str(caught.value)


def test_the_hash_is_that_of_the_bytes(artifacts, tmp_path):
    content = bytes(range(256)) * 40_000
    artifacts.write("large", content)
    (tmp_path / "same").write_bytes(content)
    assert digest_file(artifacts.where("large")) == digest_file(tmp_path / "same")


def test_a_folder_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts.at("here")
    artifacts.write("a", b"x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert artifacts.read("a") == b"x"


def test_artifacts_lie_in_the_study_or_where_its_first_run_put_them(tmp_path):
    assert Artifacts.of(tmp_path) == Artifacts.at(tmp_path / "artifacts")
    keep_places(tmp_path, Places(artifacts="memory://team/study"))
    assert Artifacts.of(tmp_path) == Artifacts.at("memory://team/study")


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for act in (Artifacts.at("s3://b").names, lambda: read_file("s3://b/x"), lambda: write_file("s3://b/x", b"")):
        with pytest.raises(UserError, match=r"^s3://b(/x)?: Install s3fs to access S3, on every machine"):
            act()


def test_an_unknown_protocol_is_one_line():
    with pytest.raises(UserError, match=r"^nope://b/x: Protocol not known: nope; check the address"):
        read_file("nope://b/x")


def test_a_place_that_cannot_be_reached_is_one_line(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    there = Artifacts.at("unreachable://b")
    for act in (
        there.names, lambda: there.exists("x"), lambda: there.read("x"), lambda: there.write("x", b""),
        lambda: digest_file("unreachable://b/x"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"^unreachable://b/x?: .*the token has expired; check the address"):
            act()


def test_a_failed_write_of_a_file_system_leaves_the_old_file(tmp_path, monkeypatch):
    artifacts = Artifacts.at(f"memory://{tmp_path}")
    artifacts.write("a", b"old")
    pipe_file = MemoryFileSystem.pipe_file

    def cut_short(self, path, value, **options):
        pipe_file(self, path, value[:1], **options)
        raise ConnectionResetError("gone")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", cut_short)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(UserError, match="a: cannot be written: gone; check"):
        artifacts.write("a", b"new")
    assert artifacts.read("a") == b"old"
    assert artifacts.names() == ["a"]


@given(st.binary(max_size=50), st.binary(max_size=50), st.integers(0))
def test_a_sealed_file_tells_of_every_flipped_bit(before, after, bit):
    whole = sealed(before + BLANK.encode() + after)
    assert not is_altered(whole)
    bit %= 8 * len(whole)
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    in_seal = len(before) <= bit // 8 < len(before) + len(BLANK)
    assert is_altered(bytes(flipped)) or in_seal


def curves(rows=40):
    values = np.random.default_rng(0).random(rows)
    return pd.DataFrame(
        {"scorer": "v1", "sparsity": np.nan, "draw": range(rows), "feature": "wave", "u": values / 2, "value": values}
    )


def test_equal_tables_are_equal_bytes_and_any_reader_reads_them(artifacts):
    for name in ("a.parquet", "b.parquet"):
        artifacts.write_table(name, curves(), schema.CURVES)
    assert artifacts.read("a.parquet") == artifacts.read("b.parquet")
    assert not is_altered(artifacts.read("a.parquet"))
    plain = pq.read_table(io.BytesIO(artifacts.read("a.parquet")))
    pd.testing.assert_frame_equal(plain.to_pandas(), curves(), check_dtype=False)
    assert artifacts.read_table("a.parquet").equals(plain)


def test_a_flipped_bit_of_a_table_is_noticed_or_changes_nothing():
    """Every bit of the file. Parquet's own checksums miss some in the headers of its pages and in its footer."""
    artifacts = Artifacts.at("memory://flips")
    artifacts.write_table("curves/x.parquet", curves(), schema.CURVES)
    content, table = artifacts.read("curves/x.parquet"), artifacts.read_table("curves/x.parquet")
    unnoticed = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        if is_altered(bytes(flipped)):
            continue  # `read_table` refuses it; here for speed
        artifacts.write("curves/x.parquet", bytes(flipped))
        unnoticed += 1
        try:
            assert artifacts.read_table("curves/x.parquet").equals(table)
        except UserError as error:
            assert_correctable(error)
    assert unnoticed < 8 * len(BLANK)


@pytest.mark.parametrize("cut", [lambda c: c[:-1], lambda c: c[: len(c) // 2], lambda c: c[:10], lambda _: b"",
                                 lambda c: c[1:], lambda c: b"x" + c[1:]])  # fmt: skip
def test_a_damaged_table_is_named_with_how_to_restore_it(cut):
    artifacts = Artifacts.at("memory://cut")
    artifacts.write_table("curves/x.parquet", curves(), schema.CURVES)
    artifacts.write("curves/x.parquet", cut(artifacts.read("curves/x.parquet")))
    with pytest.raises(UserError) as caught:
        artifacts.read_table("curves/x.parquet")
    assert_correctable(caught.value)


def assert_correctable(error):
    line = str(error)
    assert "curves/x.parquet: cannot be read as Parquet: " in line
    assert line.endswith("; delete it, and `prunebench run` writes it again")
    assert "\n" not in line


def test_a_path_may_hold_two_colons(tmp_path):
    (tmp_path / "run").write_text("of somebody else")
    artifacts = Artifacts.at(tmp_path / "run::2" / "artifacts")
    artifacts.refuse_unwritable()
    for name in ("dense/a", "dense/b"):
        artifacts.write(name, name.encode())
    assert [artifacts.read(name) for name in artifacts.names()] == [b"dense/a", b"dense/b"]
    assert (tmp_path / "run").read_text() == "of somebody else"


class Opened(MemoryFileSystem):
    """Keeps the paths that fsspec resolved."""

    protocol = "opened"
    paths: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path):
        Opened.paths.append(path)
        return path.removeprefix("opened://")


@pytest.mark.parametrize(
    "place",
    ["reference://m.safetensors::opened://refs.json", "reference://m", "simplecache::ftp://user:secret@host/m",
     "file:///a::opened://b", "simplecache::opened://b"],
)  # fmt: skip
@pytest.mark.parametrize("use", [read_file, digest_file, lambda place: write_file(place, b"")])
def test_a_chain_of_urls_is_refused_before_fsspec_sees_it(place, use):
    fsspec.register_implementation("opened", Opened, clobber=True)
    Opened.paths.clear()
    with pytest.raises(UserError, match="a chain of URLs or a file of references"):
        use(place)
    assert Opened.paths == []
    write_file("opened://b", b"")
    assert Opened.paths


def test_only_what_a_run_left_over_is_removed(tmp_path):
    place = tmp_path / "artifacts" / "dense"
    place.mkdir(parents=True)
    ours, theirs = place / ".a.safetensors.0123abcd.tmp", place / ".notes.tmp"
    for path in (ours, theirs):
        path.write_text("")
    remove_left_over(tmp_path)
    assert (ours.exists(), theirs.exists()) == (False, True)


@pytest.mark.parametrize("use", [read_file, digest_file, lambda place: write_file(place, b"")])
def test_a_url_with_a_password_is_refused_without_showing_it(use):
    with pytest.raises(UserError, match="must not hold a password") as refused:
        use("ftp://me:secret@host/m.safetensors")
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("ftp://...@host/m.safetensors")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("", "give a folder or a URL"),
        ("://x", "give a folder or a URL"),
        ("memory://x", "memory is gone when it ends"),
    ],
)
def test_a_place_that_cannot_keep_anything_is_refused(tmp_path, place, problem):
    with pytest.raises(UserError, match=problem):
        resolve_artifacts(tmp_path, place)
    assert not list(tmp_path.iterdir())


def test_the_home_of_nobody_is_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="there is no such file"):
        read_file("~nobody-there/x")


@pytest.mark.parametrize("read", [read_file, digest_file])
def test_a_device_is_no_file(read):
    with pytest.raises(UserError, match="/dev/zero: is not a regular file"):
        read("/dev/zero")


class Flaky(MemoryFileSystem):
    """Fails `failures` times before it works."""

    protocol = "flaky"
    failures = 0

    def pipe_file(self, _path, value, **_options):
        self._fail()
        self.store["/kept"] = bytes(value)

    def cat_file(self, _path, **_options):
        self._fail()
        return self.store["/kept"]

    def mv(self, *_args, **_options):
        pass

    def _fail(self):
        Flaky.failures -= 1
        if Flaky.failures >= 0:
            raise ConnectionResetError("reset by peer")


def test_a_connection_that_fails_is_tried_again(monkeypatch, caplog):
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    for use in (lambda: write_file("flaky://x/y", b"whole"), lambda: read_file("flaky://x/y")):
        Flaky.failures = 3
        found = use()
        assert found in (None, b"whole")
    assert pauses == [1.0, 5.0, 15.0] * 2
    assert "trying again in 1 s" in caplog.text
    Flaky.failures = 4
    with pytest.raises(UserError, match="flaky://x/y: cannot be read: "):
        read_file("flaky://x/y")
