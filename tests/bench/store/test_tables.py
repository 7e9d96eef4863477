"""Functions of a connection: which study is meant, and what a later run adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.core.errors import UserError
from bench.store.tables import (
    META,
    METADATA,
    PLAN,
    ROWS,
    STUDIES,
    NothingRun,
    after_all_rows,
    is_registered_first,
    join_provenance,
    now,
    pick_study,
    read_states,
    replace_plan,
    replace_row,
)  # fmt: skip

FOLDER = Path("study")
FUTURE = "2999-01-01T00:00:00.000+00:00"


@pytest.fixture
def connection():
    engine = sa.create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_a_row_replaces_the_one_with_its_key(connection):
    for value in ("1", "2"):
        replace_row(connection, META, {"key": "schema", "value": value}, ("key",))
    assert connection.execute(sa.select(META.c.value)).scalars().all() == ["2"]


def test_the_study_that_was_run_last_is_picked(connection):
    with pytest.raises(NothingRun):
        pick_study(connection, FOLDER, None)
    for name, profile, time in (("a", "quick", "2"), ("b", None, "3"), ("c", "quick", "1")):
        connection.execute(sa.insert(STUDIES).values(study_hash=name, name=name, profile=profile, last_run=time))
    assert pick_study(connection, FOLDER, None)["name"] == "b"
    assert pick_study(connection, FOLDER, "quick")["name"] == "a"
    with pytest.raises(UserError, match="'quikc' was never run: did you mean 'quick'"):
        pick_study(connection, FOLDER, "quikc")


def test_a_new_plan_replaces_that_of_its_study_only(connection):
    replace_plan(connection, "other", [("c9", 0, "{}")])
    replace_plan(connection, "mine", [("c1", 0, "{}"), ("c2", 1, "{}")])
    replace_plan(connection, "mine", [("c2", 0, "{}")])
    assert connection.execute(sa.select(PLAN.c.cell, PLAN.c.position).order_by(PLAN.c.cell)).all() == [
        ("c2", 0), ("c9", 0),
    ]  # fmt: skip


def test_claims_are_registered_first_if_no_cell_is_older(connection):
    replace_plan(connection, "mine", [("c1", 0, "{}")])
    assert is_registered_first(connection, "mine", "claims")
    connection.execute(sa.insert(ROWS).values(cell="c1", state="done", written="2026-01-02"))
    assert not is_registered_first(connection, "mine", "claims")
    connection.execute(sa.insert(STUDIES).values(study_hash="s", claims_hash="claims", registered="2026-01-01"))
    assert is_registered_first(connection, "mine", "claims")


def test_a_registration_is_later_than_every_row(connection):
    assert after_all_rows(connection) <= now()
    connection.execute(sa.insert(ROWS).values(cell="c1", state="done", written=FUTURE))
    assert after_all_rows(connection) > FUTURE
    assert read_states(connection) == {"c1": "done"}


def test_the_provenance_of_a_later_run_is_added_once():
    first, later = json.dumps({"cores": 1}), json.dumps({"cores": 2})
    joined = join_provenance(first, later)
    assert json.loads(joined) == {"cores": 1, "later_runs": [{"cores": 2}]}
    assert join_provenance(joined, later) == joined
    assert join_provenance(first, first) == first
    assert join_provenance(None, later) == later
