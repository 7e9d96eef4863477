"""Errors that a user can mend, and reasons for which a cell is skipped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user asked for cannot be done; the message says what, where and how to mend it.

    The command line prints the message as one line and exits with code 2.
    """


class NotApplicable(Exception):  # noqa: N818 - no error: the cell is skipped
    """A method does not apply to this model or granularity; the cell is skipped with this reason."""


class CellError(Exception):
    """A cell cannot be computed (NaN scores, wrong shape); it fails, the run goes on."""


class Deadline(CellError):  # noqa: N818 - the base class says that it is one
    """A cell ran longer than ``--cell-timeout``."""


class Held(Exception):  # noqa: N818 - the store turns it into a UserError that says by whom
    """Another run holds the study."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a hint naming the nearest valid name, or all of them when none is near.

    Examples
    --------
    >>> suggest("magnitud", ["magnitude", "taylor"])
    "did you mean 'magnitude'?"
    >>> suggest("zzz", ["b", "a"])
    'valid: a, b'
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(names[:12])
    return f"valid: {shown}" + (", ..." if len(names) > 12 else "")
