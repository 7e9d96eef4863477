"""Whether a plug-in left a model as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from bench.models.checkpoints import state_digest

#: Path of a module -> whether it is in training mode, and the ids of its hooks.
Marks = Mapping[str, tuple[bool, frozenset[int]]]


def marks(model: nn.Module) -> Marks:
    """Return the modes and hooks of a model's modules."""
    return {
        name: (
            module.training,
            frozenset(
                (
                    *module._forward_hooks,
                    *module._forward_pre_hooks,
                    *module._backward_hooks,
                    *module._backward_pre_hooks,
                )
            ),
        )
        for name, module in model.named_modules()
    }


def left_behind(model: nn.Module, before: Marks) -> str | None:
    """Describe what was left on a model: gradients, training mode or a hook that was not there before; None if nothing.

    Parameters
    ----------
    model : nn.Module
        As it is now.
    before : mapping
        Its `marks` before.

    Examples
    --------
    >>> model = nn.Linear(1, 1).eval()
    >>> before = marks(model)
    >>> left_behind(model, before), left_behind(model.train(), before)
    (None, 'leaves the model in training mode')
    """
    if any(p.grad is not None for p in model.parameters()):
        return "leaves gradients on the model"
    for name, (training, hooks) in marks(model).items():
        was_training, had = before.get(name, (False, frozenset[int]()))
        if training != was_training:
            return f"leaves {name or 'the model'} in {'training' if training else 'eval'} mode"
        if hooks - had:
            return f"leaves a hook on {name or 'the model'}"
    return None


class Pristine:
    """A copy of a model, with which it is compared and from which it is made again.

    Parameters
    ----------
    model : nn.Module
        In eval mode, without gradients.

    Examples
    --------
    >>> model = nn.Linear(1, 1).eval()
    >>> pristine = Pristine(model)
    >>> before = pristine.change(model)
    >>> _ = model.weight.data.add_(1)
    >>> before, pristine.change(model), pristine.change(pristine.copy())
    (None, 'changes its weights or buffers', None)
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model)
        self._digest = state_digest(model.state_dict())
        self._marks = marks(model)

    def change(self, model: nn.Module) -> str | None:
        """Say what was done to a model that should be equal to the copy; None if nothing was."""
        if state_digest(model.state_dict()) != self._digest:
            return "changes its weights or buffers"
        return left_behind(model, self._marks)

    def copy(self) -> nn.Module:
        """Return another copy."""
        return copy.deepcopy(self._model)
