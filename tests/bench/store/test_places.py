"""Where rows and artifacts lie is settled by a study's first run."""

from __future__ import annotations

import json

import pytest

from bench.core.errors import UserError
from bench.store.database import open_store
from bench.store.places import PLACES_FILE, Places, is_begun, keep_places, read_places

STORE = "postgresql+psycopg://me@db/lab?options=-csearch_path%3Dprunebench_digits"


def test_a_folder_without_places_holds_everything(tmp_path):
    assert read_places(tmp_path) == Places(None, None)
    keep_places(tmp_path, Places())
    assert not is_begun(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_first_run_names_is_kept(tmp_path):
    keep_places(tmp_path, Places(store=STORE))
    assert is_begun(tmp_path)
    assert json.loads((tmp_path / PLACES_FILE).read_text()) == {"store": STORE}
    for requested in (Places(), Places(store=STORE)):
        keep_places(tmp_path, requested)
        assert read_places(tmp_path) == Places(store=STORE)


@pytest.mark.parametrize("requested", [Places(store=STORE + "2"), Places(artifacts="s3://bucket")])
def test_another_place_is_refused(tmp_path, requested):
    keep_places(tmp_path, Places(store=STORE))
    with pytest.raises(UserError, match=r"this study was begun with its (store|artifacts) in .*leave --"):
        keep_places(tmp_path, requested)
    assert read_places(tmp_path) == Places(store=STORE)


def test_a_study_begun_in_its_folder_stays_there(tmp_path):
    open_store(tmp_path, create=True).close()
    with pytest.raises(UserError, match="begun with its store in the study folder"):
        keep_places(tmp_path, Places(store=STORE))
    assert not (tmp_path / PLACES_FILE).exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"null", b'{"store": 5}', b'{"stor": "x"}', b'{"store": null}', b"[" * 10_000],
)
def test_a_spoilt_file_is_named(tmp_path, content):
    (tmp_path / PLACES_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"places\.json: is not what a run wrote there"):
        read_places(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "study").write_text("a file")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        keep_places(tmp_path / "study", Places(store=STORE))
