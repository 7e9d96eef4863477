"""Labels of the channels of tensors: equal labels mark channels that can only be removed together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Label of what must stay: channels of the images, of the logits, and of operations without a rule.
STAYS = 0


class Labels:
    """A union-find structure over the labels of channels.

    Examples
    --------
    >>> labels = Labels()
    >>> first, second = labels.fresh(2), labels.fresh(2)
    >>> labels.join(first, second)
    >>> labels.keep(first[:1])
    >>> labels.roots()
    tensor([0, 0, 2, 0, 2])
    """

    def __init__(self) -> None:
        self._parents = [STAYS]

    def fresh(self, count: int) -> Tensor:
        """Return new labels, int64, shape ``(count,)``."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def join(self, one: Tensor, other: Tensor) -> None:
        """Mark channels as removable only together, element by element; the shapes are broadcast."""
        one, other = compressed(one), compressed(other)
        shape = np.broadcast_shapes(one.shape, other.shape)
        pairs = zip(one.expand(shape).flatten().tolist(), other.expand(shape).flatten().tolist(), strict=True)
        for left, right in dict.fromkeys(pairs):
            low, high = sorted((self._root(left), self._root(right)))
            self._parents[high] = low

    def keep(self, labels: Tensor) -> None:
        """Mark channels as never removable."""
        self.join(labels, torch.tensor(STAYS))

    def roots(self) -> Tensor:
        """Return the smallest joined label of every label, int64."""
        return torch.tensor([self._root(label) for label in range(len(self._parents))])

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label


@dataclass(frozen=True)
class Flow:
    """What is known of a tensor that depends on the images.

    Attributes
    ----------
    labels : Tensor
        int64, of the tensor's shape.
    known : Tensor
        The value that an element has for every image, NaN where it is not known; of the tensor's shape.
    """

    labels: Tensor
    known: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(self.labels.shape)


def compressed(tensor: Tensor) -> Tensor:
    """Return a view in which each axis along which nothing changes has size 1.

    Examples
    --------
    >>> compressed(torch.tensor([[1, 2], [1, 2]])).tolist()
    [[1, 2]]
    """
    for axis in range(tensor.dim()):
        first = tensor.narrow(axis, 0, min(1, tensor.shape[axis]))
        if tensor.shape[axis] > 1 and (tensor.stride(axis) == 0 or _equal(tensor, first)):
            tensor = first
    return tensor


def _equal(tensor: Tensor, other: Tensor) -> bool:
    return bool(((tensor == other) | (tensor.isnan() & other.isnan())).all())


def along(tensor: Tensor, axis: int) -> Tensor | None:
    """Return the values along one axis, shape ``(size,)``; None if they change along another one.

    Examples
    --------
    >>> along(torch.tensor([[1, 2], [1, 2]]), 1).tolist(), along(torch.tensor([[1, 2], [1, 2]]), 0) is None
    ([1, 2], True)
    """
    size = tensor.shape[axis]
    tensor = compressed(tensor)
    if tensor.numel() != tensor.shape[axis]:
        return None
    return tensor.reshape(-1).expand(size)


def spread(values: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    """Return a view of a vector as a tensor of a shape, the vector along one axis.

    Examples
    --------
    >>> spread(torch.tensor([1, 2]), 1, (2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    sizes = [1] * len(shape)
    sizes[axis] = len(values)
    return values.reshape(sizes).expand(shape)
