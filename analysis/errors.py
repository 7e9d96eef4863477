"""Errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnalysisError(Exception):
    """Something cannot be read or decided; the message is one line: what, where and how to mend it."""


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
