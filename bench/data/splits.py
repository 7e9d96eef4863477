"""Dividing a labelled set into disjoint, stratified parts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stratified_split(labels: Tensor, sizes: tuple[int, ...], seed: int) -> list[Tensor]:
    """Divide a set into parts of exact sizes in which every class has its share.

    Every image gets a random place inside its class, scaled to (0, 1); sorted by it, any run of
    consecutive images holds every class in proportion, up to rounding. The parts are such runs.

    Parameters
    ----------
    labels : Tensor
        Classes, int64, shape ``(n,)``.
    sizes : tuple of int
        Sizes of the parts; what remains is one more part.
    seed : int
        Seed of the division.

    Returns
    -------
    list of Tensor
        ``len(sizes) + 1`` tensors of indices, int64, each ascending.

    Raises
    ------
    ValueError
        If the sizes sum to more than ``n``.

    Examples
    --------
    >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    >>> test, rest = stratified_split(labels, (4,), seed=0)
    >>> labels[test].tolist(), len(rest)
    ([0, 0, 1, 1], 4)
    """
    n = len(labels)
    if sum(sizes) > n:
        raise ValueError(f"parts of {sizes} from {n} images")
    classes = labels.numpy()
    draw = np.random.Generator(np.random.PCG64(seed)).random(n)
    place = np.empty(n)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        place[members[np.argsort(draw[members])]] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((draw, place))
    return [torch.from_numpy(np.sort(part)) for part in np.split(order, np.cumsum(sizes))]
