"""What a method left on a model that it must not change."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

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
