"""Which labels of a column a name stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any


def matching_labels(present: Iterable[Any], requested: Sequence[str | int]) -> list[Any]:
    """Return the labels that a list of names stands for, in the order of the names.

    Parameters
    ----------
    present : iterable
        Labels of a column.
    requested : sequence of str or int
        A name stands for the label that equals it. Without such a label, it stands for all labels of this name with
        any options. A name with ``*`` is a pattern.

    Examples
    --------
    >>> matching_labels(["dbo(evaluations=60)", "cma"], ["dbo", "cma"])
    ['dbo(evaluations=60)', 'cma']
    >>> matching_labels(["asr", "asr(order=sequential)"], ["asr"]), matching_labels(["vgg16", "vit"], ["vgg*"])
    (['asr'], ['vgg16'])
    """
    labels = list(present)
    found: list[Any] = []
    for name in requested:
        if name in labels:
            found.append(name)
        elif isinstance(name, str):
            found += [
                label for label in labels
                if isinstance(label, str)
                and (fnmatchcase(label, name) if "*" in name else label.startswith(f"{name}("))
            ]  # fmt: skip
    return list(dict.fromkeys(found))
