"""PostgreSQL: the store of a team, or of machines that share no disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import sqlalchemy as sa

from bench.core.errors import Held, UserError

DRIVER = "postgresql+psycopg"
FORM = f"{DRIVER}://user@host:port/database"

#: Options of libpq unless the URL has others: a lost server is noticed within about half a minute.
CONNECTION = {"connect_timeout": "10", "keepalives_idle": "15", "keepalives_interval": "5", "keepalives_count": "3"}

# The number of the table `meta` is the study's own in this database.
_TAKE_LOCK = "SELECT pg_try_advisory_lock('meta'::regclass::oid::bigint)"
_IS_LOCKED = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objsubid = 1 "
    "AND objid = 'meta'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
_HOLDER = "SELECT value FROM meta WHERE key = 'holder'"
# A machine that loses its power holds a study for about a minute; the server's default is two hours.
_NOTICE_LOSS = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"

#: What a server raises that goes away, comes up or is not there; other errors are among them.
_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError)

#: Pattern in the server's message -> how to fix it.
_REMEDIES = {
    "password|authentication failed": "put the right password into ~/.pgpass or PGPASSWORD",
    'role ".*" does not exist': f"name a user of the server in the URL, as in {FORM}",
    'database ".*" does not exist': f"make it with createdb, or name another in the URL, as in {FORM}",
    "connection option|zero-length": "correct what follows the ? in the URL",
    "permission denied": "ask its owner for GRANT CREATE ON DATABASE, or for rights in the study's schema",
    "read-only": "name the primary server in the URL, not a copy of it",
    "No space left": "free some space on the server and run again; all finished cells are kept",
    "(relation|column) .* does not exist": "it is not a prunebench store; name another database in the URL",
    "NUL": "a text of the study holds a character 0, which PostgreSQL cannot keep; remove it",
}


def parse_url(text: str) -> sa.URL:
    """Return the URL of a PostgreSQL store.

    Raises
    ------
    UserError
        If it is none, or holds a password: URLs are kept and shown.

    Examples
    --------
    >>> parse_url("postgresql+psycopg://me@db.lab:5432/pruning").database
    'pruning'
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UserError(f"--store: not a URL; valid: {FORM}") from error
    shown = url.set(query={})._replace(password=None)
    if url.drivername == "sqlite" or url.drivername.startswith("sqlite+"):
        raise UserError(f"--store {shown}: SQLite lies in the study folder; leave --store out, or name {FORM}")
    if url.drivername != DRIVER:
        near = shown.set(drivername=DRIVER) if url.drivername.startswith("postgres") else FORM
        raise UserError(f"--store {shown}: not of the form {FORM}; did you mean {near}?")
    if url.password is not None or "password" in url.query:
        raise UserError(
            f"--store {shown}: the URL is kept in the study folder, so it must not hold a password; "
            f"put that into ~/.pgpass or PGPASSWORD"
        )
    return url


def study_url(text: str, study: str) -> str:
    """Return the URL of a study's own schema in a database.

    Parameters
    ----------
    text : str
        What the user gave; a search path in its ``options`` stays.
    study : str
        The study's name.

    Raises
    ------
    UserError
        If the URL is not valid.

    Examples
    --------
    >>> study_url("postgresql+psycopg://me@db.lab/pruning", "digits")
    'postgresql+psycopg://me@db.lab/pruning?options=-csearch_path%3Dprunebench_digits'
    """
    url = parse_url(text)
    options = str(url.query.get("options", ""))
    if "search_path" not in options:
        url = url.update_query_dict({"options": f"{options} -csearch_path={schema_name(study)}".strip()})
    return url.render_as_string(hide_password=False)


def schema_name(study: str) -> str:
    """Return the name of a study's schema: lower case, as PostgreSQL reads it without quotes, up to 63 bytes.

    Examples
    --------
    >>> schema_name("digits")
    'prunebench_digits'
    >>> schema_name("My digits")
    'prunebench_my_digits_52097291'
    """
    plain = re.sub(r"[^a-z0-9_]", "_", study.lower())[:40]
    if plain == study:
        return f"prunebench_{plain}"
    return f"prunebench_{plain}_{hashlib.sha256(study.encode()).hexdigest()[:8]}"


class PostgreSQL:
    """One schema of one database, the first of the connection's search path.

    Parameters
    ----------
    text : str
        Its URL.

    Attributes
    ----------
    place : str
        What messages call it.
    engine : sqlalchemy.Engine
        Connects to it, once at a time: a run's lock belongs to the connection that writes.

    Raises
    ------
    UserError
        If the URL is not valid or psycopg is not installed.
    """

    def __init__(self, text: str) -> None:
        url = parse_url(text)
        self.place = str(url.set(query={}))
        try:
            self.engine = sa.create_engine(
                url, pool_size=1, max_overflow=0,
                connect_args={name: value for name, value in CONNECTION.items() if name not in url.query},
            )  # fmt: skip
        except ImportError as error:
            raise UserError(f"{self.place}: psycopg is missing: pip install 'psycopg[binary]'") from error
        self._holder: str | None = None
        sa.event.listen(self.engine, "connect", self._take_lock_again)

    def exists(self) -> bool:
        """Whether a run has made the store's tables."""
        with self.engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT to_regclass('meta') IS NOT NULL").scalar())

    def prepare(self) -> None:
        """Do nothing: any server will do."""

    def begin_creation(self, connection: sa.Connection) -> None:
        """Make the schema if it is missing; whoever comes at the same time waits."""
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('prunebench'))")
        if connection.exec_driver_sql("SELECT current_schema()").scalar() is None:
            path = str(connection.exec_driver_sql("SHOW search_path").scalar())
            connection.execute(sa.schema.CreateSchema(path.split(",")[0].strip(' "'), if_not_exists=True))

    @contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Hold the study, from whatever machine, as long as this connection or one in its place lives."""
        with self.engine.begin() as connection:  # the one connection: it stays in the pool
            if not connection.exec_driver_sql(_TAKE_LOCK).scalar():
                raise Held
            connection.exec_driver_sql(_NOTICE_LOSS)
        self._holder = holder
        try:
            yield
        finally:
            self._holder = None
            self.engine.dispose()

    def _take_lock_again(self, connection: Any, _record: Any) -> None:
        """Let no connection of a run write unless it holds the lock and nobody else held it since."""
        if self._holder is None:
            return
        taken = connection.execute(_TAKE_LOCK).fetchone()[0]
        mine = connection.execute(_HOLDER).fetchone() == (self._holder,)
        if taken and mine:
            connection.execute(_NOTICE_LOSS)
            connection.commit()
            return
        connection.close()
        if not mine:
            raise Held
        unnoticed = ConnectionError("the server has not yet noticed that this run's connection was lost")
        raise sa.exc.OperationalError(_TAKE_LOCK, None, unnoticed)

    def is_running(self, _run: Mapping[str, Any]) -> bool:
        """Whether any run holds the study."""
        with self.engine.connect() as connection:
            return bool(connection.exec_driver_sql(_IS_LOCKED).scalar())

    def fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """Return a query's rows; in PostgreSQL's binary format they come twice as fast."""
        compiled, driver = query.compile(connection), cast(Any, connection.connection.driver_connection)
        with driver.cursor(binary=True) as cursor:
            rows: list[tuple[Any, ...]] = cursor.execute(str(compiled), compiled.params).fetchall()
        return rows

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """Whether a run's connection was lost, so that another may be made and the transaction done again."""
        if self._holder is None or not isinstance(error, _GONE):
            return False
        state = getattr(error.orig, "sqlstate", None)  # None where no server answered
        return state is None or state.startswith(("08", "57P"))

    def remedy(self, error: sa.exc.DBAPIError) -> str | None:
        """Return how to fix an error; None if a user cannot."""
        reason = str(error.orig)
        for pattern, remedy in _REMEDIES.items():
            if re.search(pattern, reason):
                return remedy
        if isinstance(error, _GONE):
            return "see that the server runs and lets you in, and that the URL is right; all finished cells are kept"
        return None
