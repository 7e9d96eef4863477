"""A Kolmogorov-Arnold network (Liu et al. 2024): every connection has a function of its own, a B-spline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The grid covers [-2, 2], all pixels after normalisation; the splines fall to 0 within three intervals beyond it.
REACH = 2.0
#: Intervals of the grid, and degree of the splines.
GRID, ORDER = 5, 3


class SplineLayer(nn.Module):
    """The layer y_o = sum_i [w_oi silu(x_i) + sum_b c_oib B_b(x_i)].

    The grid is uniform on [-2, 2], with 5 intervals and cubic B-splines, and does not move: 8 basis functions. The
    factor w_s of the paper's spline branch is contained in the coefficients.

    Parameters
    ----------
    inputs, outputs : int
        Features on either side.

    Attributes
    ----------
    base : Parameter
        w, shape ``(outputs, inputs)``.
    spline : Parameter
        c, shape ``(outputs, inputs, 8)``.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.empty(outputs, inputs))
        self.spline = nn.Parameter(torch.empty(outputs, inputs, GRID + ORDER))
        nn.init.xavier_uniform_(self.base)
        nn.init.normal_(self.spline, std=0.1 / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs)`` to ``(n, outputs)``."""
        base = functional.linear(functional.silu(x), self.base)
        # no buffer: `synflow` takes the absolute values of buffers
        knots = torch.arange(-ORDER, GRID + ORDER + 1, device=x.device, dtype=x.dtype) * (2 * REACH / GRID) - REACH
        return base + torch.einsum("nib,oib->no", b_splines(x, knots, ORDER), self.spline)


def b_splines(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """Evaluate all B-splines of a degree on some knots, by the recursion of Cox and de Boor.

    Parameters
    ----------
    x : Tensor
        Any shape.
    knots : Tensor
        Ascending and distinct, shape ``(m,)``.
    degree : int
        Of the piecewise polynomials.

    Returns
    -------
    Tensor
        Shape ``(*x.shape, m - 1 - degree)``. They sum to 1 between the knots ``degree`` and ``m - 1 - degree``.

    Examples
    --------
    The hat functions of degree 1:

    >>> b_splines(torch.tensor([0.5, 1.25]), torch.arange(4.0), degree=1)
    tensor([[0.5000, 0.0000],
            [0.7500, 0.2500]])
    """
    x = x.unsqueeze(-1)
    bases = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
    for k in range(1, degree + 1):
        rising = (x - knots[: -k - 1]) / (knots[k:-1] - knots[: -k - 1])
        falling = (knots[k + 1 :] - x) / (knots[k + 1 :] - knots[1:-k])
        bases = rising * bases[..., :-1] + falling * bases[..., 1:]
    return bases


class KAN(nn.Module):
    """Spline layers on the pixels, one after the other.

    Parameters
    ----------
    widths : sequence of int
        Numbers of inputs, of hidden values of each layer, and of classes.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(SplineLayer(n, m) for n, m in pairwise(widths)))

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as models of timm do: both of its weights are excluded as `head`."""
        return self.layers[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, channels, height, width)`` to logits ``(n, classes)``."""
        logits: Tensor = self.layers(x.flatten(1))
        return logits


def digits_kan(num_classes: int = 10, in_chans: int = 1, img_size: int = 8) -> KAN:
    """Kolmogorov-Arnold network of two spline layers with 32 hidden values, 18,432 prunable weights."""
    return KAN((in_chans * img_size**2, 32, num_classes))
