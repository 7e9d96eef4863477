"""Exceptions of the project: errors that a user can correct, and reasons for which a cell is skipped or fails."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A request of the user cannot be fulfilled; the message states what is wrong, where, and how to correct it.

    The command line prints the message as one line and exits with code 2.
    """


class NotApplicable(Exception):  # noqa: N818 - no error: the cell is skipped
    """A method does not apply to this model or granularity; the cell is skipped with this reason."""


class CellError(Exception):
    """A cell cannot be computed (NaN scores, wrong shape); the cell fails and the run continues."""


class Deadline(CellError):  # noqa: N818 - its base class is named an error
    """A cell exceeded ``--cell-timeout``."""


class Held(Exception):  # noqa: N818 - the store converts it to a UserError that names the holder
    """Another run has locked the study."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return a hint with the valid name nearest to a mistyped one, or with all valid names if none is near.

    Parameters
    ----------
    name : str
        The mistyped name.
    valid : iterable of str
        Valid names; at most 12 of them are listed.

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
