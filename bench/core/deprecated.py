"""Old import paths that keep working for one release."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def moved(old: str, *new: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose content is in other ones now.

    Parameters
    ----------
    old, new : str
        Full names of the modules; those of `new` are imported when a name is first looked up.

    Returns
    -------
    callable
        Returns the object of `new` that has a name, with a `DeprecationWarning` that points at the importing line.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     moved("bench.errors", "bench.core.errors")("UserError")
    <class 'bench.core.errors.UserError'>
    >>> print(caught[0].message)
    bench.errors is deprecated and will be removed: import UserError from prunebench.plugin if listed there, else from \
bench.core.errors
    """

    def find(name: str) -> Any:
        home = next((one for one in new if hasattr(importlib.import_module(one), name)), new[0])
        found = getattr(importlib.import_module(home), name)
        warnings.warn(
            f"{old} is deprecated and will be removed: import {name} from prunebench.plugin if listed there, else from "
            f"{home}",
            DeprecationWarning,
            stacklevel=2,
        )
        return found

    return find
