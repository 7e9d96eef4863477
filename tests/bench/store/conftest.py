"""A small store that is read in several tests."""

from __future__ import annotations

import pytest

from bench.store import schema
from bench.store.database import open_store

AXES = {c.name: None for c in schema.AXES if c.name != "position"} | {"group": "g", "scorer": "l1", "search": "none"}
REASONS = ["slow", "wide", "wide", "slow", "narrow", "wide"]


def cell_id(number: int) -> str:
    return f"{number:x}" * 8


@pytest.fixture
def folder(tmp_path):
    """A study of ten cells: six failed, two done that share an evaluation, one in work, one never begun."""
    plan = [AXES | {"cell": cell_id(number)} for number in range(10)]
    plan[6] |= {"scorer": "dense", "recalibration": "none"}
    plan[7] |= {"scorer": 'l"2\n\u2028ü', "sparsity": 0.1 + 0.2, "train_seed": 2**53 + 1}
    plan[8] |= {"scorer": "v1", "search": "dbo"}
    store = open_store(tmp_path, create=True)
    study = {"study_hash": "h", "name": "n", "claims_hash": None, "study": "{}", "profile": None}
    store.register(study, [(axes["cell"], position, axes) for position, axes in enumerate(plan)])
    store.register({**study, "study_hash": "other"}, [("f" * 8, 0, AXES | {"cell": "f" * 8})])
    store.register(study, [(axes["cell"], position, axes) for position, axes in enumerate(plan)])
    for number in (5, 4, 3, 2, 1, 0):
        store.write_rows([plan[number] | {"state": "failed", "reason": REASONS[number]}])
    for number in (7, 6):
        done = {"state": "done", "evaluation": "e", "accuracy": 0.75, "correct": b"\x01", "n_test": 8}
        store.write_rows([plan[number] | done])
    store.write_rows([AXES | {"cell": "f" * 8, "state": "done"}, plan[8] | {"state": "running"}])
    store.close()
    return tmp_path
