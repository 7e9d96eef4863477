"""A store under a clock that is put back, whose file is deleted, whose folder has any name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store import tables
from bench.store.database import open_store


@pytest.fixture
def set_clock(monkeypatch):
    """Return a function that puts the store's clock to so many hours after noon."""

    def put(hours: float) -> None:
        moment = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(hours=hours)
        monkeypatch.setattr(tables, "now", lambda: moment.isoformat(timespec="milliseconds"))

    return put


def register(store, study_hash: str, claims: str, *cells: str) -> str | None:
    """Register a study of these cells; return the claims hash that counts as registered before its data."""
    store.register(
        {"study_hash": study_hash, "name": "n", "claims_hash": claims, "study": "{}"},
        [(cell, number, {"cell": cell}) for number, cell in enumerate(cells)],
    )
    with store.transaction() as connection:
        query = sa.select(tables.STUDIES.c.claims_hash).where(tables.STUDIES.c.study_hash == study_hash)
        return connection.execute(query).scalar()


@pytest.mark.parametrize("back", [-1, -24 * 365, 0, 1])
def test_claims_made_after_the_data_are_not_registered_by_a_clock_put_back(tmp_path, set_clock, back):
    store = open_store(tmp_path, create=True)
    set_clock(0)
    register(store, "first", "made before", "a")
    set_clock(0.1)
    store.write_rows([{"cell": "a", "group": "g", "state": "done", "written": tables.now()}])
    set_clock(0.1 + back)
    assert register(store, "disjoint", "made after", "b") == "made after"
    assert register(store, "shares a", "made after", "a", "b") is None
    assert register(store, "shares a too", "made before", "a", "b") == "made before"
    store.close()


def test_a_run_stops_when_its_file_is_deleted_or_replaced(tmp_path):
    store = open_store(tmp_path, create=True)
    with store.lock():
        store.set_meta("key", "value")
        for path in tmp_path.glob("results.db*"):
            path.unlink()
        with pytest.raises(UserError, match=r"results\.db: was deleted or replaced while the run went on"):
            store.set_meta("key", "value")
        (tmp_path / "results.db").touch()
        with pytest.raises(UserError, match="was deleted or replaced"):
            store.set_meta("key", "value")
    store.close()


def test_a_folder_may_have_any_name(tmp_path):
    for name in ("a?b", "a#b", "100%25", "ä [b]", "file:x?mode=ro"):
        folder = tmp_path / name
        folder.mkdir()
        store = open_store(folder, create=True)
        store.set_meta("key", json.dumps(name))
        store.close()
        assert (folder / "results.db").exists()
        again = open_store(folder)
        assert again.meta("key") == json.dumps(name)
        again.close()
    assert len(list(tmp_path.iterdir())) == 5
