"""Errors that a user can correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnalysisError(Exception):
    """Something cannot be read or decided; the message is one line: where, what is wrong and what to write."""


class MistakesError(AnalysisError):
    r"""Several mistakes of a file.

    Parameters
    ----------
    lines : iterable of str
        One message per mistake, as for `AnalysisError`.

    Examples
    --------
    >>> MistakesError(["line 1: no scorer is named 'l3'", "line 2: two lines\nin one"]).lines
    ("line 1: no scorer is named 'l3'", 'line 2: two lines in one')
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(" ".join(line.splitlines()) for line in lines)
        super().__init__("\n".join(self.lines))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint naming the nearest valid name, or all of them when none is near.

    Examples
    --------
    >>> nearest("asrr", ["sics", "asr"])
    "did you mean 'asr'?"
    >>> nearest("zzz", ["sics", "asr"])
    'valid: asr, sics'
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else "valid: " + ", ".join(names)
