"""Names and numbers of classes: which labels are usable, and messages that list names."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import UserError

MOST_SHOWN = 12


def listed(names: Iterable[object]) -> str:
    """Join names with commas; after the first twelve, only count them.

    Examples
    --------
    >>> listed(["cat", "dog"])
    'cat, dog'
    >>> listed(range(14))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (14 in all)'
    """
    every = [str(name) for name in names]
    more = f", ... ({len(every)} in all)" if len(every) > MOST_SHOWN else ""
    return ", ".join(every[:MOST_SHOWN]) + more


def refuse_other_names(place: object, names: tuple[str, ...], other: object, others: tuple[str, ...]) -> None:
    """Refuse class names that differ between two files: equal numbers would then mean different classes.

    Parameters
    ----------
    place, other : object
        The two files, as messages name them.
    names, others : tuple of str
        Their class names by number; empty if a file has none.

    Raises
    ------
    UserError
        Naming both files and the first class that differs.
    """
    if names == others:
        return
    remedy = "write all files with the same list of names"
    if not names or not others:
        without, having = (place, other) if not names else (other, place)
        raise UserError(f"{having}: has names of the classes, {without} has none; {remedy}")
    number = next((n for n, (a, b) in enumerate(zip(names, others, strict=False)) if a != b), None)
    if number is None:
        raise UserError(f"{other}: has {len(others)} names of classes, {place} has {len(names)}; {remedy}")
    raise UserError(
        f"{other}: class {number} is {others[number]!r}, in {place} it is {names[number]!r}; {remedy} in the same order"
    )


def number_labels(
    place: object, train: Tensor, test: Tensor, names: tuple[str, ...]
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return labels that start at 0, and the names of their classes.

    Labels with names are used as they are. Without names, consecutive labels that start at another number than 0
    are shifted to start at 0, and each class is named by its label.

    Parameters
    ----------
    place : object
        The data set, as messages name it.
    train, test : Tensor
        Labels as stored, at least 0, int64, shape ``(n,)``.
    names : tuple of str
        Class names by label; empty if there are none.

    Returns
    -------
    train, test : Tensor
        Labels from 0, int64, shape ``(n,)``.
    classes : tuple of str
        Their names.

    Raises
    ------
    UserError
        If a label has no name or, without names, no training image.

    Examples
    --------
    >>> number_labels("data", torch.tensor([1, 2, 2]), torch.tensor([2]), ())
    (tensor([0, 1, 1]), tensor([1]), ('1', '2'))
    """
    if names:
        both = torch.cat([train, test])
        least, most = int(both.min()), int(both.max())
        if most >= len(names):
            raise UserError(
                f"{place}: has labels from {least} to {most} for {len(names)} classes; expected 0 to {len(names) - 1}"
            )
        return train, test, names
    found = np.unique(train.numpy()).tolist()
    first, last = found[0], found[-1]
    if unknown := np.setdiff1d(test.numpy(), found).tolist():
        raise UserError(f"{place}: test images have labels that no training image has: {listed(unknown)}")
    if last - first + 1 != len(found):
        gap = next(label + 1 for label, after in pairwise(found) if after != label + 1)
        raise UserError(
            f"{place}: has labels from {first} to {last} without names, but no training image of label {gap}; number "
            f"the classes consecutively, or store their names in the 'huggingface' metadata"
        )
    return train - first, test - first, tuple(str(label) for label in found)
