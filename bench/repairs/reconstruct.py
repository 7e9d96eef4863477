"""Reconstruction: the kept weights fitted anew to what the dense layer puts out (METHODS section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from bench.core.errors import CellError
from bench.models.inputs import input_moments, refuse_uneven, runs_of_layers
from bench.models.observe import Call, observe
from bench.models.unit_space import PrunableLayer
from bench.repairs.correction import Order, RepairContext, has_shift, shift_outputs

#: Bytes of input moments that are held at once (one layer's, where those alone are more).
HELD = 2**30


def reconstruct(
    context: RepairContext,
    *,
    damping: Annotated[float, Field(ge=0)] = 1e-2,
    order: Order = "parallel",
) -> dict[str, Tensor]:
    """Refit every layer's kept weights and its bias by least squares to the layer's dense output.

    Minimises norm(W X_d - W^ X_p)^2 + d norm(W^ - W_kept)^2 over the kept weights, row by row; X_d are the
    input patches of the dense model. X_p is X_d for ``parallel``, which therefore changes nothing where
    whole rows are kept or removed; for ``sequential`` it is what the pruned model gives, its layers
    before this one already refitted.

    A constant is fitted too, which centres both X: the new bias is b + W mean(x_d) - W^ mean(x_p). Without a
    bias it goes into the running mean of the directly following BatchNorm; without that the fit has
    no constant (ours). At granularity ``weight`` a row of which nothing is kept gets the bias that
    matches its mean; a channel that was removed as a unit stays removed, bias and all.

    Parameters
    ----------
    context : RepairContext
        What to work on.
    damping : float
        d as a share of the mean of diag(X_p X_p^T). With 0, of all least-squares solutions the one nearest
        to W_kept: the limit of small d, and `numpy.linalg.lstsq`'s where the solution is unique.
    order : {"parallel", "sequential"}
        One pass over the dense model for as many layers as `HELD` allows, or two passes per layer.

    Returns
    -------
    dict of str to Tensor
        Empty: what it does is no factor per channel.

    Raises
    ------
    NotApplicable
        If a layer's output channels are not known.
    CellError
        If inputs are NaN or infinite.
    """
    if order == "parallel":
        for layers in runs_of_layers(context.units.layers, HELD):
            dense = input_moments(context.dense_model, layers, context.calibration)
            for layer in layers:
                x = dense[layer.name]
                _refit(context, layer, JointMoments(x.second, x.second, x.first, x.first, x.count), damping)
    else:
        for layer in context.units.layers:
            _refit(context, layer, joint_moments(context, layer), damping)
    return {}


@dataclass(frozen=True)
class JointMoments:
    """Sums over the input patches of a layer in the pruned model, x_p, and in the dense one, x_d.

    Attributes
    ----------
    second, cross : Tensor
        Sums of x_p x_p^T and x_d x_p^T, float64, shape ``(groups, k, k)``, k the weights of one output.
    first, dense_first : Tensor
        Sums of x_p and x_d, float64, shape ``(groups, k)``.
    count : int
        Number of patches.
    """

    second: Tensor
    cross: Tensor
    first: Tensor
    dense_first: Tensor
    count: int

    def add(self, other: JointMoments) -> JointMoments:
        """Add the sums over other patches in place, to save memory."""
        return JointMoments(
            self.second.add_(other.second), self.cross.add_(other.cross), self.first.add_(other.first),
            self.dense_first.add_(other.dense_first), self.count + other.count,
        )  # fmt: skip

    @classmethod
    def stacked(cls, parts: list[JointMoments]) -> JointMoments:
        """Join the sums of equally large parts of a weight as groups."""
        if len(parts) == 1:
            return parts[0]
        names = ("second", "cross", "first", "dense_first")
        return cls(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names}, count=parts[0].count)

    def centred(self) -> JointMoments:
        """Return the second moments about the means; the sums of x stay."""
        second = self.second - self.first.unsqueeze(2) * self.first.unsqueeze(1) / self.count
        cross = self.cross - self.dense_first.unsqueeze(2) * self.first.unsqueeze(1) / self.count
        return JointMoments(second, cross, self.first, self.dense_first, self.count)


def joint_moments(context: RepairContext, layer: PrunableLayer) -> JointMoments:
    """Measure a layer's inputs on the draw, dense and pruned model side by side on each batch."""
    sums: dict[int, JointMoments] = {}
    for images, _ in context.calibration.parts():
        calls: tuple[list[Call], list[Call]] = [], []
        for model, own in zip((context.dense_model, context.model), calls, strict=True):
            observe(model, [layer], [images], own.append)
        for dense, pruned in zip(*calls, strict=True):
            for part_d, part_p in zip(dense.parts(), pruned.parts(), strict=True):
                x_d, x_p = dense.patches(part_d), pruned.patches(part_p)
                moments = JointMoments(
                    (x_p @ x_p.mT).double(), (x_d @ x_p.mT).double(), x_p.sum(dim=2, dtype=torch.float64),
                    x_d.sum(dim=2, dtype=torch.float64), x_p.shape[2],
                )  # fmt: skip
                sums[dense.start] = sums[dense.start].add(moments) if dense.start in sums else moments
    refuse_uneven(layer, sums)
    return JointMoments.stacked([sums[start] for start in sorted(sums)])


@torch.no_grad()
def _refit(context: RepairContext, layer: PrunableLayer, x: JointMoments, damping: float) -> None:
    """Refit one layer in place."""
    weight = context.model.get_parameter(layer.parameter)
    groups, k = x.first.shape
    dense = layer.rows(context.dense_model.get_parameter(layer.parameter)).double().reshape(groups, -1, k)
    kept = layer.rows(weight).double().reshape(groups, -1, k)
    support = _support(context, layer).to(weight.device).reshape(groups, -1, k)
    has_constant = has_shift(context.model, layer)
    if has_constant:
        x = x.centred()
    if not bool(x.second.isfinite().all() and x.cross.isfinite().all()):
        raise CellError(f"the inputs of {layer.name} are NaN or infinite")

    d = damping * x.second.diagonal(dim1=1, dim2=2).mean(dim=1)
    missing = dense @ x.cross - kept @ x.second  # what the kept weights leave unexplained, times X_p^T
    # G known only to the precision in which the products were taken
    resolution = k * torch.finfo(weight.dtype).eps
    fitted = kept.clone()
    for g in range(groups):
        for columns, rows in _rows_by_support(support[g]):
            gram = x.second[g][columns][:, columns]
            change = solve(gram, missing[g][rows][:, columns], float(d[g]), resolution)
            fitted[g][rows.unsqueeze(1), columns] += change
    weight.copy_(layer.channels.weight(fitted.reshape(-1, k), layer.weight_shape))
    if has_constant:
        shift = (dense @ x.dense_first.unsqueeze(2) - fitted @ x.first.unsqueeze(2)).flatten() / x.count
        if context.units.granularity != "weight":
            shift = shift * context.masks[layer.name].to(shift.device)
        shift_outputs(context.model, layer, shift)


def _support(context: RepairContext, layer: PrunableLayer) -> Tensor:
    """Return the kept weights of a layer, boolean, shape ``(out, weights of one output)``.

    Without those that read a removed hidden channel of an MLP.
    """
    mask = context.masks[layer.name]
    if context.units.granularity == "weight":
        support = layer.rows(mask)
    else:
        support = mask.unsqueeze(1).expand(-1, layer.channels.weights_per_channel)
    for other in context.units.layers:
        if other.partner == layer.name:
            read = context.masks[other.name].repeat_interleave(support.shape[1] // len(context.masks[other.name]))
            support = support & read
    return support


def _rows_by_support(support: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over ``(columns, rows)`` of the rows that keep the same columns, at least one.

    Examples
    --------
    >>> for columns, rows in _rows_by_support(torch.tensor([[1, 0], [0, 0], [1, 0], [1, 1]]).bool()):
    ...     print(columns.tolist(), rows.tolist())
    [0] [0, 2]
    [0, 1] [3]
    """
    patterns, which = torch.unique(support, dim=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        if pattern.any():
            yield pattern.nonzero().flatten(), (which == i).nonzero().flatten()


def solve(gram: Tensor, right: Tensor, damping: float, resolution: float) -> Tensor:
    """Return right (gram + damping I)^-1, and right times the pseudo-inverse where that does not exist.

    Parameters
    ----------
    gram : Tensor
        Symmetric, positive semi-definite, float64, shape ``(k, k)``.
    right : Tensor
        Shape ``(rows, k)``.
    damping : float
        At least 0.
    resolution : float
        Eigenvalues below this share of the largest count as zero in the pseudo-inverse.

    Examples
    --------
    >>> gram = torch.tensor([[12.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    >>> right = torch.tensor([[48.0, 8.0]], dtype=torch.float64)
    >>> solve(gram, right, 4.0, 1e-15), solve(gram, right, 0.0, 1e-15)
    (tensor([[3., 2.]], dtype=torch.float64), tensor([[4., 0.]], dtype=torch.float64))
    """
    damped = gram + damping * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    if damping > 0:
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            solution: Tensor = torch.cholesky_solve(right.mT, factor).mT
            return solution
    inverse: Tensor = torch.linalg.pinv(damped, rtol=resolution, hermitian=True)
    return right @ inverse
