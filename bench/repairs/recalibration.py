"""Recalibration: new BatchNorm statistics from the calibration draw (METHODS section 5).

Signature of a recalibration: ``(model, calibration, *, options) -> None``, changing ``model`` in place.
Only BatchNorm layers run in train mode: dropout and stochastic depth would add noise that
the evaluated model does not have. Running averages are moved by full batches alone, since a smaller last
one would weigh as much as the others; a draw of less than a batch counts as one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import reduce
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.core.errors import CellError, NotApplicable
from bench.models.view import Calibration, is_out_of_memory
from bench.repairs.statistics import Moments

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


def reset_ema(
    model: nn.Module,
    calibration: Calibration,
    *,
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    batches: Annotated[int, Field(ge=1)] = 100,
) -> None:
    """Reset the statistics and move them by an exponential average over many batches.

    The batch-norm tuning of Optimal Brain Compression (Frantar and Alistarh 2022).

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    calibration : Calibration
        Read from its start again, as often as the batches require.
    momentum : float
        Weight of each new batch.
    batches : int
        How many. After them the reset statistics (mean 0, variance 1) keep the weight `kept_of_reset`, 3e-5 by default.

    Raises
    ------
    NotApplicable
        If the model has no BatchNorm.
    """
    for layer in batchnorm_layers(model):
        layer.reset_running_stats()
    ema(model, calibration, momentum=momentum, batches=batches)


def kept_of_reset(momentum: float, batches: int) -> float:
    """Return the weight that the reset statistics keep after `reset_ema`.

    A factor on a channel scales all the rest, so this weight acts in the cancellation identity as an additional eps.

    Examples
    --------
    >>> round(kept_of_reset(0.1, 100), 7), kept_of_reset(0.5, 1)
    (2.66e-05, 0.5)
    """
    return (1 - momentum) ** batches


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


class _ReachedError(Exception):
    """Ends a forward pass at the layer whose input was wanted."""


@torch.no_grad()
def exact(model: nn.Module, calibration: Calibration) -> None:
    """Replace the statistics by mean and population variance of each BatchNorm's input over the whole draw.

    Layer by layer in the order of their first call: a layer's input is measured when those before it
    have their new statistics, so that nothing depends on how the draw is cut into batches. All images count,
    those of a smaller last batch too. A pass for a layer ends at that layer: half of one pass per layer on
    the average. Layers that the forward pass never calls keep what they have.

    Raises
    ------
    NotApplicable
        If the model has no BatchNorm, or calls one of them several times: its statistics would change
        the inputs that they are taken from.
    """
    for layer in _in_order_of_call(model, batchnorm_layers(model), calibration.images[:1]):
        moments = reduce(Moments.pool, (Moments.in_parts(_input(model, layer, x)) for x, _ in calibration.parts()))
        layer.get_buffer("running_mean").copy_(moments.mean)
        layer.get_buffer("running_var").copy_(moments.variance)
        _check_finite([layer])


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


def _in_order_of_call(model: nn.Module, layers: list[_BatchNorm], example: Tensor) -> list[_BatchNorm]:
    called: list[_BatchNorm] = []
    handles = [layer.register_forward_pre_hook(lambda module, _: called.append(module)) for layer in layers]
    try:
        model(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in model.named_modules():
        if called.count(module) > 1:
            raise NotApplicable(f"the BatchNorm {name!r} is called several times: it has no one input")
    return called


def _input(model: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """Return the input of a layer that the forward pass calls once; the pass ends there."""
    seen: list[Tensor] = []

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["input"])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        model(x)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return seen[0]


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
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise CellError(
            f"out of memory with a calibration batch of {len(x)} images, which has statistics that its parts do not "
            f"have: set a smaller `calibration: {{batch: ...}}` (other cells), or recalibrate by `exact`, which takes "
            f"images in any parts; `prunebench plan` forecasts the memory"
        ) from error
    finally:
        for layer, training, old_momentum in before:
            layer.training = training
            layer.momentum = old_momentum
    _check_finite(layers)


def _check_finite(layers: list[_BatchNorm]) -> None:
    for layer in layers:
        if not bool(layer.get_buffer("running_var").isfinite().all()):
            raise CellError("recalibration gave BatchNorm statistics that are NaN or infinite")
