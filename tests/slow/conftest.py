"""A PostgreSQL server of the tests' own, that they may restart."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa


@dataclass
class Server:
    """A server on a socket in a folder of its own; anyone on this machine is let in, but `locked` by password."""

    binaries: Path
    folder: Path
    user: str | None
    numbers: count[int] = field(default_factory=count)

    def call(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, as another user where we are root: a server refuses that."""
        subprocess.run(
            [self.binaries / program, *arguments], check=True, cwd=self.folder, user=self.user,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def control(self, *arguments: str) -> None:
        self.call("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", *arguments)

    def start(self) -> None:
        self.control("start")

    def stop(self) -> None:
        self.control("stop", "-m", "immediate")

    def restart(self) -> None:
        """Restart it without a word to anyone, as after a crash."""
        self.control("restart", "-m", "immediate")

    def sql(self, text: str, database: str = "postgres") -> None:
        engine = sa.create_engine(self.url(database), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(text)

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"study{next(self.numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def running_server() -> Iterator[Server]:
    """Make a server in a temporary folder, run it, and remove it in the end; skip the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    initdb = shutil.which("initdb") or (found[-1] if found else None)
    if initdb is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt install postgresql)")
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path is short, and pytest's folders are closed to others
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    server = Server(Path(initdb).resolve().parent, folder, user)
    try:
        server.call("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--no-sync")
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
        with (folder / "data" / "postgresql.conf").open("a") as stream:
            stream.write(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n")
        server.start()
        server.sql("CREATE ROLE locked LOGIN PASSWORD 'right'")
        server.sql("CREATE ROLE guest LOGIN")
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql():
    """A running PostgreSQL server."""
    pytest.importorskip("psycopg")
    with running_server() as server:
        yield server
