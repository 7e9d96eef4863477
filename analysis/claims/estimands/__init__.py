"""The kinds of parts that claims can have, one family per file.

A part's class is its schema in claims.yaml and computes its questions. A new file in this folder is found by itself:
its subclasses of `analysis.claims.parts.Part` with an ``estimand`` are valid in claims.yaml.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

from analysis.claims.parts import Part


def part_classes() -> dict[str, type[Part]]:
    """Return estimand -> class of its part, for all files of this folder in alphabetical order.

    Examples
    --------
    >>> part_classes()["contrast"].__name__
    'Contrast'
    """
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        import_module(f"{__name__}.{module}")
    return {
        get_args(part.model_fields["estimand"].annotation)[0]: part
        for part in _subclasses(Part) if "estimand" in part.model_fields and part.__module__.startswith(__name__)
    }  # fmt: skip


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for own in base.__subclasses__():
        yield own
        yield from _subclasses(own)
