"""The records of a study's methods: written at registration, one row each; a snapshot for studies without them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import sqlalchemy as sa

from bench.core.method import Method, dump_methods, load_methods
from bench.store.tables import METHODS


def write_methods(connection: sa.Connection, study_hash: str, methods: Sequence[Method]) -> None:
    """Store the records of a study's methods in place of earlier ones."""
    connection.execute(sa.delete(METHODS).where(METHODS.c.study_hash == study_hash))
    rows = [
        {
            "study_hash": study_hash, "kind": method.kind, "name": method.name, "position": position,
            "record": dump_methods((method,)),
        }
        for position, method in enumerate(methods)
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(METHODS), rows)


def read_methods(connection: sa.Connection, study_hash: str) -> tuple[Method, ...]:
    """Return the records of a study's methods in catalogue order; none if the study was registered without them."""
    if not sa.inspect(connection).has_table(METHODS.name):
        return ()
    query = sa.select(METHODS.c.record).where(METHODS.c.study_hash == study_hash).order_by(METHODS.c.position)
    return tuple(method for (text,) in connection.execute(query) for method in load_methods(text))


def earlier_methods() -> tuple[Method, ...]:
    """Return the catalogue as it was before records were stored, for evidence without them.

    Examples
    --------
    >>> [method.name for method in earlier_methods() if method.kind == "recalibration" and method.complete]
    ['cumulative', 'exact']
    """
    return load_methods(files("bench.store").joinpath("methods.json").read_bytes())
