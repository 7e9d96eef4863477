"""What a network's forward returns, when it is not the logits alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Keys under which dicts of outputs hold the logits.
LOGITS = ("logits", "out", "output")


def main_output(output: Any) -> Tensor | None:
    """Return the logits among a network's outputs: the tensor itself, the first of several, or a dict's ``logits``.

    GoogLeNet and Inception return auxiliary logits, too, in training mode. None if there is no such tensor.

    Examples
    --------
    >>> import torch
    >>> main_output((torch.zeros(2, 10), torch.zeros(2, 10, 3))).shape
    torch.Size([2, 10])
    >>> main_output({"loss": 3.0}) is None
    True
    """
    if isinstance(output, Mapping):
        output = next((output[key] for key in LOGITS if key in output), None)
    elif isinstance(output, tuple | list):
        output = output[0] if output else None
    return output if isinstance(output, Tensor) else None


def describe_output(output: Any) -> str:
    """Describe what a forward returned, for a message.

    Examples
    --------
    >>> import torch
    >>> describe_output((torch.zeros(2, 10), None)), describe_output({"logits": torch.zeros(1)})
    ('a tuple of 2', "a dict with the keys 'logits'")
    """
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a dict with the keys {', '.join(repr(key) for key in list(output)[:5])}"
    if isinstance(output, tuple | list):
        return f"a {'list' if isinstance(output, list) else 'tuple'} of {len(output)}"
    return f"{type(output).__name__}, no tensor"
