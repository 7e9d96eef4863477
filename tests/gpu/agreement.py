"""Whether two devices agree, but for rounding.

Float32 sums are taken in another order on every device, and convolutions by other algorithms, so that scores differ in
their last digits. Units whose scores lie closer together than these digits may then swap places, and an image whose two
largest logits are nearly equal may change its class. Nothing else may differ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: Largest accepted distance of two tensors, as a share of their norm (`distance`). Float32 has a rounding error of
#: 6e-8; two memory formats on a CPU differ by 2e-4 on the published ResNet-20, whose gradients nearly cancel.
ROUNDING = 1e-3
#: Largest accepted distance of a swapped unit from the threshold, as a share of the size of the scores. It is larger,
#: because a single score may be a small sum of large terms: in the same comparison units swapped that lay 2e-3 apart.
AT_THRESHOLD = 1e-2
#: Largest accepted difference of accuracies, as a fraction, where more than one image fits into it: 0.1 points.
ACCURACY = 0.001


def distance(first: Tensor, second: Tensor) -> float:
    """Return the norm of the difference of two tensors over the larger of their norms; 0 if both are zero.

    The norm of a whole layer is used, because single values near zero have no digits in common.
    """
    a, b = first.detach().cpu().double(), second.detach().cpu().double()
    size = max(float(a.norm()), float(b.norm()))
    return float((a - b).norm()) / size if size else 0.0


def distances(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], tolerance: float = ROUNDING
) -> dict[str, float]:
    """Return the names of the tensors that differ by more than `tolerance`, each with its `distance`."""
    assert first.keys() == second.keys()
    found = {name: distance(tensor, second[name]) for name, tensor in first.items()}
    return {name: value for name, value in found.items() if not value <= tolerance}  # a NaN is a difference, too


def different(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name, tensor in first.items() if not torch.equal(tensor.cpu(), second[name].cpu())]


def masks_agree(
    scores_a: Tensor, scores_b: Tensor, masks_a: Tensor, masks_b: Tensor,
    segment: Tensor | None = None, tolerance: float = AT_THRESHOLD,
) -> bool:  # fmt: skip
    """Return whether two mask sets differ only in units at the threshold; see `mask_disagreements`."""
    return not mask_disagreements(scores_a, scores_b, masks_a, masks_b, segment, tolerance)


def mask_disagreements(
    scores_a: Tensor, scores_b: Tensor, masks_a: Tensor, masks_b: Tensor,
    segment: Tensor | None = None, tolerance: float = AT_THRESHOLD,
) -> list[str]:  # fmt: skip
    """Describe the units that one mask set keeps and the other prunes, and that rounding does not explain.

    Parameters
    ----------
    scores_a, scores_b : Tensor
        Scores of the units on two devices, higher means keep, shape ``(total,)``.
    masks_a, masks_b : Tensor
        The masks that follow, boolean, shape ``(total,)``.
    segment : Tensor, optional
        Number of the segment of each unit (`Budget.segment`): units compete with those of their segment alone. By
        default all units are in one.
    tolerance : float
        Largest distance of a swapped unit from the threshold, as a share of the size of the scores.

    Returns
    -------
    list of str
        One line per unit; empty if the masks agree.

    Notes
    -----
    The threshold of a segment is its lowest score that is kept (the highest of all if none is). If no score differs by
    more than d between the devices, neither do the thresholds, and a unit whose mask differs is within 2 d of both. The
    size of the scores is the larger of the threshold and the median of the segment's absolute scores: signed scores
    have a threshold near zero, and no digits in common there.
    """
    segment = torch.zeros(len(scores_a), dtype=torch.int64) if segment is None else segment.cpu()
    masks_a, masks_b = masks_a.cpu(), masks_b.cpu()
    swapped = (masks_a != masks_b).nonzero().flatten()
    found = []
    for name, scores, masks in (("first", scores_a, masks_a), ("second", scores_b, masks_b)):
        scores = scores.detach().cpu().double()
        for unit in swapped.tolist():
            inside = segment == segment[unit]
            kept = scores[inside & masks]
            threshold = float(kept.min() if len(kept) else scores[inside].max())
            allowed = tolerance * max(abs(threshold), float(scores[inside].abs().median()))
            gap = abs(float(scores[unit]) - threshold)
            if not gap <= allowed:
                found.append(
                    f"unit {unit}, kept by the {'first' if masks_a[unit] else 'second'}: its score on the {name} is "
                    f"{float(scores[unit]):.9g}, the threshold {threshold:.9g}, and they may differ by {allowed:.2g}"
                )
    return found


def accuracies_agree(first: float, second: float, images: int) -> bool:
    """Return whether two accuracies (fractions) differ by at most 0.1 points, or by one image on a small split."""
    return abs(first - second) <= max(ACCURACY, 1 / images) + 1e-12
