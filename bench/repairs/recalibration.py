"""Recalibration: new BatchNorm statistics from the calibration draw (METHODS section 5).

Signature of a recalibration: ``(model, calibration, *, options) -> None``, changing ``model`` in place.
Only BatchNorm layers run in train mode: dropout and stochastic depth would add noise that
the evaluated model does not have. Statistics are moved by full batches alone, since a smaller last one
would weigh as much as the others; a draw of less than a batch counts as one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.errors import CellError, NotApplicable
from bench.models.view import Calibration

_BatchNorm = nn.modules.batchnorm._BatchNorm


def none(model: nn.Module, calibration: Calibration) -> None:
    """Keep the dense statistics."""


def ema(
    model: nn.Module,
    calibration: Calibration,
    *,
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    batches: Annotated[int, Field(ge=1)] = 8,
) -> None:
    """Move the dense statistics by an exponential average over batches.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    calibration : Calibration
        Read from its start again when it holds fewer batches.
    momentum : float
        Weight of each new batch.
    batches : int
        How many; after them the dense statistics keep the weight ``(1 - momentum) ** batches``.

    Raises
    ------
    NotApplicable
        If the model has no BatchNorm.
    """
    layers = batchnorm_layers(model)
    _run(model, layers, itertools.islice(itertools.cycle(_full_batches(calibration)), batches), momentum)


def cumulative(model: nn.Module, calibration: Calibration) -> None:
    """Replace the statistics by the mean of the batch statistics over one pass (Saikumar and Varghese 2025).

    As PyTorch does it with ``momentum=None``: variances are unbiased within each batch.

    Raises
    ------
    NotApplicable
        If the model has no BatchNorm.
    """
    layers = batchnorm_layers(model)
    for layer in layers:
        layer.reset_running_stats()
    _run(model, layers, _full_batches(calibration), None)


def batchnorm_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers that keep running statistics.

    Raises
    ------
    NotApplicable
        If there is none.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        raise NotApplicable(f"{type(model).__name__} has no BatchNorm statistics to recalibrate")
    return layers


def _full_batches(calibration: Calibration) -> list[Tensor]:
    batches = [x for x, _ in calibration.batches()]
    return [x for x in batches if len(x) == len(batches[0])]


@torch.no_grad()
def _run(model: nn.Module, layers: list[_BatchNorm], batches: Iterable[Tensor], momentum: float | None) -> None:
    before = [(layer, layer.training, layer.momentum) for layer in layers]
    try:
        for layer in layers:
            layer.training = True
            layer.momentum = momentum
        for x in batches:
            model(x)
    finally:
        for layer, training, old_momentum in before:
            layer.training = training
            layer.momentum = old_momentum
    for layer in layers:
        if not bool(layer.get_buffer("running_var").isfinite().all()):
            raise CellError("recalibration gave BatchNorm statistics that are NaN or infinite")
