"""The one network of a group that is changed: masked, corrected, recalibrated, and made dense again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet

T = TypeVar("T")


class WorkingModel:
    """A copy of the dense model that every cell turns into its own model.

    Parameters
    ----------
    dense : nn.Module
        In eval mode; it is read again for every mask set and never changed.
    """

    def __init__(self, dense: nn.Module) -> None:
        self._dense, self._dense_state = dense, dense.state_dict()  # the state shares the model's storage
        self._model = copy.deepcopy(dense)
        self._state = self._model.state_dict()
        self._masks: MaskSet | None = None  # that were applied to the dense weights, if nothing else was done
        self._replace = False

    @property
    def model(self) -> nn.Module:
        """The network as it is now; a caller that changes it uses `change`."""
        return self._model

    @torch.no_grad()
    def mask(self, masks: MaskSet | None) -> nn.Module:
        """Restore the dense weights and statistics and apply `masks`, unless the model is in this state already.

        Parameters
        ----------
        masks : MaskSet or None
            None for the dense model.
        """
        if masks is not None and masks is self._masks:
            return self._model
        self._masks = None
        if self._replace:
            self._model, self._replace = copy.deepcopy(self._dense), False
            self._state = self._model.state_dict()
        for name, tensor in self._state.items():
            tensor.copy_(self._dense_state[name])
        if masks is not None:
            apply_masks(self._model, masks.units, masks)
        self._masks = masks
        return self._model

    def change(self, method: Callable[[], T], *, ours: bool) -> T:
        """Call a method that changes the weights and statistics of the model in place.

        The next `mask` uses a new copy of the dense model if the method failed, or is a user's: it may have changed
        modules, modes or hooks.
        """
        replace = self._replace or not ours
        self._masks, self._replace = None, True
        result = method()
        self._replace = replace
        return result

    def hand_out(self) -> nn.Module:
        """Return the network to a caller that may change it; it is valid until the next `mask`."""
        self._masks, self._replace = None, True
        return self._model

    def discard(self) -> None:
        """Make the next `mask` start from a new copy of the dense model."""
        self.hand_out()
