"""``timestamp``: the request that a user sends, and the answer that is stored."""

from __future__ import annotations

import shlex

import pytest
from authority import OPENSSL, Authority

REGISTRATION = '{"study": "mine"}\n'


@pytest.fixture
def registered(tmp_path):
    """A study folder with a registration; its name requires quotes in a shell."""
    folder = tmp_path / "my study"
    folder.mkdir()
    (folder / "registration.json").write_text(REGISTRATION)
    return folder


def test_the_request_is_written_and_the_line_that_sends_it_printed(registered, command):
    done = command("timestamp", registered)
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.splitlines() if line.startswith("  curl "))
    words = shlex.split(line)
    assert words[words.index("--data-binary") + 1] == f"@{registered / 'registration.tsq'}"
    assert (registered / "registration.tsq").stat().st_size > 0


@pytest.mark.skipif(OPENSSL is None, reason="openssl, which signs the test's time-stamp, is not installed")
def test_the_answer_is_verified_and_stored(registered, tmp_path, command):
    authority, answer = Authority(tmp_path / "authority"), tmp_path / "answer.tsr"
    command("timestamp", registered)
    answer.write_bytes(authority.answer((registered / "registration.tsq").read_bytes()))
    done = command("timestamp", registered, "--token", answer, "--certificates", authority.root)
    assert done.code == 0, done.err
    assert "CN=root, SHA-256 " in done.out
    assert (registered / "registration.tsr").read_bytes() == answer.read_bytes()
    assert (registered / "registration.pem").read_bytes() == authority.root.read_bytes()
    (registered / "registration.json").write_text(REGISTRATION.replace("mine", "mina"))
    done = command("timestamp", registered, "--token", answer, "--certificates", authority.root)
    assert done.code == 2
    assert "another content" in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--token", "answer.tsr"], "give both"),
        (["--certificates", "root.pem"], "give both"),
        (["--token", "absent.tsr", "--certificates", "absent.pem"], "absent"),
    ],
)
def test_a_mistake_is_one_line(options, words, registered, command):
    done = command("timestamp", registered, *options)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert words in done.err


def test_an_unregistered_study_is_refused(tmp_path, command):
    done = command("timestamp", tmp_path)
    assert done.code == 2
    assert "prunebench register" in done.err
