"""Whether a plug-in left a model as it was."""

from __future__ import annotations

import copy

from torch import nn

from bench.models.checkpoints import state_digest


def left_behind(model: nn.Module) -> str | None:
    """Say what was left on a model beside other values: gradients, training mode or a hook; None if nothing was.

    Examples
    --------
    >>> left_behind(nn.Linear(1, 1)), left_behind(nn.Linear(1, 1).eval())
    ('leaves the model in training mode', None)
    """
    if any(p.grad is not None for p in model.parameters()):
        return "leaves gradients on the model"
    for name, module in model.named_modules():
        if module.training:
            return f"leaves {name or 'the model'} in training mode"
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        if any(hooks):
            return f"leaves a hook on {name or 'the model'}"
    return None


class Pristine:
    """A copy of a model, with which it is compared and from which it is made again.

    Parameters
    ----------
    model : nn.Module
        In eval mode, without hooks and gradients.

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

    def change(self, model: nn.Module) -> str | None:
        """Say what was done to a model that should be equal to the copy; None if nothing was."""
        if state_digest(model.state_dict()) != self._digest:
            return "changes its weights or buffers"
        return left_behind(model)

    def copy(self) -> nn.Module:
        """Return another copy."""
        return copy.deepcopy(self._model)
