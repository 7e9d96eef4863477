"""What a Git repository knows of a file: the commit that holds it, and the order of two commits."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> bytes | None:
    """Return what Git prints, or None if Git is not installed or refuses.

    Parameters
    ----------
    folder : Path
        Where the command runs; paths in `arguments` are relative to it.
    *arguments : str
        Of the command line.

    Examples
    --------
    >>> git(Path("/"), "rev-parse", "--verify", "no-such-commit") is None
    True
    """
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def committed_content(folder: Path, name: str, commit: str) -> bytes | None:
    """Return the content of a file of a folder in a commit; None if the commit does not hold it."""
    return git(folder, "cat-file", "blob", f"{commit}:./{name}")


def commit_with(file: Path) -> str | None:
    """Return the commit of HEAD if it holds a file exactly as it is now, otherwise None."""
    head = git(file.parent, "rev-parse", "HEAD")
    if head is None:
        return None
    commit = head.decode().strip()
    return commit if committed_content(file.parent, file.name, commit) == file.read_bytes() else None


def first_commit(folder: Path, name: str) -> str | None:
    """Return the oldest commit that added a file of a folder; None if it is not committed."""
    found = git(folder, "log", "--diff-filter=A", "--format=%H", "--", name)
    return found.decode().split()[-1] if found else None


def is_ancestor(folder: Path, earlier: str, later: str) -> bool:
    """Whether a commit is an ancestor of another one; a commit is none of its own."""
    return earlier != later and git(folder, "merge-base", "--is-ancestor", earlier, later) is not None
