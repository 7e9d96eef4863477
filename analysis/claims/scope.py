"""The scope of a verdict: whether the study has the setting of the source, and where it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from analysis.claims.records import Record


def differs_from(source: Mapping[str, tuple[str, ...]], setting: Mapping[str, str | float]) -> dict[str, str | float]:
    """Return the columns in which a setting is not one of the source's, for the columns that both name.

    Examples
    --------
    >>> differs_from({"dataset": ("cifar10*",), "model": ("vit_small*",)}, {"dataset": "digits", "sparsity": 0.5})
    {'dataset': 'digits'}
    """
    return {
        column: setting[column] for column, patterns in source.items()
        if column in setting and not any(fnmatchcase(str(setting[column]), pattern) for pattern in patterns)
    }  # fmt: skip


def scope_in_words(source: Mapping[str, tuple[str, ...]], records: Sequence[Record]) -> str:
    """Return ``in the paper's setting``, or ``transfer`` with the labels that differ; empty if unknown."""
    if not source or not records:
        return ""
    different: dict[str, list[str]] = {}
    for record in records:
        for label in record.differs.values():
            different.setdefault(str(label), [])
    if not different:
        return "in the paper's setting"
    names = list(different)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"transfer: {shown}"
