"""SynFlow: the synaptic flow through each weight, pruned in many rounds without data (Tanaka et al. 2020)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.core.errors import CellError, NotApplicable
from bench.models.counts import keep_count
from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.view import Calibration, ModelView

#: Operations through which the flow is none: they divide by what flows, or subtract it.
FORBIDDEN = frozenset(
    {
        "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize", "softmax",
        "log_softmax", "scaled_dot_product_attention", "multi_head_attention_forward",
    }
)  # fmt: skip


def synflow(
    view: ModelView,
    calibration: Calibration,
    generator: torch.Generator,
    sparsity: float | None,
    *,
    rounds: Annotated[int, Field(ge=1)] = 100,
) -> ScoreMap:
    """Score by the round of removal, and the survivors by their synaptic flow in the last round.

    Round k of n scores abs(w dR/dw) on the network with what was removed before set to zero, and removes
    the lowest scores of the whole model until (1 - S)^(k/n) of it is left; R is the sum of the outputs for
    an input of ones, with the absolute values of all parameters and buffers, in float64.

    `global` allocation keeps just the survivors. Others keep units that were removed, too: those of later
    rounds first, within a round those of larger flow (ours). So a unit removed in round k scores k - n - 1
    plus half its flow over the largest flow removed in that round: below zero, where no survivor is.

    Parameters
    ----------
    view, calibration, generator
        As for every scorer; of the draw only the image's shape is used.
    sparsity : float or None
        Share of the units to remove.
    rounds : int
        n. For channels a round removes channels with all that `bench.models.masking` zeroes.

    Raises
    ------
    NotApplicable
        If the allocation sets the sparsity, or the network normalises by its activations or has attention.
    CellError
        If the flow overflows float64.
    """
    if sparsity is None:
        raise NotApplicable("synflow prunes towards a sparsity, but this allocation sets it from the scores")
    units, flow, magnitudes = view.units, _Flow(view, calibration), view.units.flatten(view.magnitudes())
    scores = torch.zeros_like(magnitudes)
    kept = torch.ones_like(magnitudes, dtype=torch.bool)
    for k in range(1, rounds + 1):
        flows = flow()
        scores = torch.where(kept, flows, scores)
        left = math.ceil(units.total * (1 - sparsity) ** (k / rounds))
        remove = int(kept.sum()) - (left if k < rounds else keep_count(units.total, sparsity))
        if remove > 0:
            lost, largest = _lowest(flows.where(kept, torch.inf), remove, magnitudes)
            scores = torch.where(lost, k - rounds - 1 + flows / (2 * largest), scores)
            kept &= ~lost
            flow.mask(units.split(kept))
    return ScoreMap(units.split(scores))


def synflow_oneshot(view: ModelView, calibration: Calibration, generator: torch.Generator) -> ScoreMap:
    """Score abs(w dR/dw) of the dense network: the first round of `synflow`, for every sparsity.

    Raises
    ------
    NotApplicable, CellError
        As `synflow`.
    """
    return ScoreMap(view.units.split(_Flow(view, calibration)()))


class _Flow:
    """A copy of the network with absolute values, in float64, and its synaptic flow.

    Parameters
    ----------
    view : ModelView
        Its model is copied.
    calibration : Calibration
        Gives the image's shape and device.
    """

    def __init__(self, view: ModelView, calibration: Calibration) -> None:
        self._view = view
        # two equal images: `bench.scorers.gradient.summed_loss` says why not one
        self._ones = torch.ones(2, *calibration.images.shape[1:], dtype=torch.float64, device=calibration.images.device)
        self._network = copy.deepcopy(view.model).double().requires_grad_(False)
        for tensor in itertools.chain(self._network.parameters(), self._network.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
        _check_operations(self._network, self._ones)
        self._weights = [self._network.get_parameter(layer.parameter) for layer in view.units.layers]
        for weight in self._weights:
            weight.requires_grad_()

    def mask(self, masks: Mapping[str, Tensor]) -> None:
        """Zero what the masks leave out, for good."""
        apply_masks(self._network, self._view.units, MaskSet(self._view.units, masks))

    def __call__(self) -> Tensor:
        """Return abs(w dR/dw) of every unit, flat; for a channel the mean over its filter."""
        gradients = torch.autograd.grad(self._network(self._ones).mean(dim=0).sum(), self._weights)
        scores = {
            name: self._view.reduce(name, (weight.detach() * g).abs())
            for name, weight, g in zip(self._view.units.names, self._weights, gradients, strict=True)
        }
        for name, score in scores.items():
            if not bool(score.isfinite().all()):
                raise CellError(f"the synaptic flow through {name} overflows float64")
        return self._view.units.flatten(scores)


def _lowest(flows: Tensor, count: int, magnitudes: Tensor) -> tuple[Tensor, Tensor]:
    """Mark the `count` lowest flows, of equal ones those of lower magnitude, then of higher index.

    Also return the largest flow marked, or the least positive number where that is zero.
    """
    threshold = flows.kthvalue(count).values
    lowest = flows < threshold
    equal = (flows == threshold).nonzero().squeeze(1)
    equal = equal[magnitudes[equal].argsort(descending=True, stable=True)]
    lowest[equal[len(equal) - (count - int(lowest.sum())) :]] = True
    return lowest, threshold.clamp_min(torch.finfo(threshold.dtype).tiny)


class _Operations(TorchFunctionMode):
    """Notes the names of all torch functions called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _check_operations(network: nn.Module, example: Tensor) -> None:
    with _Operations() as operations:
        network(example)
    found = sorted(operations.names & FORBIDDEN)
    if found:
        raise NotApplicable(f"synflow needs a network without {' and '.join(found)}: the flow does not pass through it")
