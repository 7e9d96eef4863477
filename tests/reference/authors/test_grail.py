"""GRAIL against its authors' code: a convolution and a linear layer that read removed channels.

The values are those of `ResNet18_PruneCompensation.apply`, with the Gram matrices of
`ResNet18_WandaPruning.run_calibration`, both from grail-vision/ of github.com/TWWinde/GRAIL_Compensation at commit
ba5e48b78c6e682b387b343efb9c0300cf969ccd, for the network, images and kept channels below (float32, ridge_lambda 1e-3,
two batches of 4 images).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from bench.models.masking import apply_masks
from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.correction import RepairContext
from bench.repairs.grail import grail

#: Kept output channels of the two convolutions.
KEPT = {"0": [0, 2, 4], "2": [0, 1, 3]}
#: The authors' compensated weights on them: outputs, inputs and kernel positions of the second convolution ...
CONVOLUTION = [
    [[-6.982551, -0.431977, 0.242775, -0.670715], [-0.182344, 1.138562, 0.336143, 1.371778],
     [-0.282097, -0.923184, -0.702370, 0.240354]],
    [[5.566136, 4.233296, -0.783371, -1.221629], [1.629475, 2.017567, -1.196912, 1.300978],
     [0.920439, 1.608743, 1.815471, 1.454751]],
    [[3.412084, -7.805351, -6.503546, 4.774480], [0.103139, 1.135297, -0.686723, -0.105294],
     [0.403791, 1.928867, -0.164595, 1.290844]],
]  # fmt: skip
#: ... and outputs and inputs of the linear layer.
LINEAR = [
    [0.252562, 1.434369, -0.695117], [0.038961, 1.068094, -0.558432], [-1.458226, -1.266133, 0.957983],
]  # fmt: skip


def test_weights_are_those_of_the_authors() -> None:
    """Up to float32: theirs sum and solve in it, ours sums and solves in float64."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> Tensor:
        return torch.tensor(generator.standard_normal(shape), dtype=torch.float32)

    net = nn.Sequential(
        nn.Conv2d(2, 5, 1, bias=False), nn.ReLU(), nn.Conv2d(5, 4, 2, bias=False), nn.ReLU(), nn.AvgPool2d(3),
        nn.Flatten(), nn.Linear(4, 3),
    ).eval().requires_grad_(False)  # fmt: skip
    for parameter in net.parameters():
        parameter.copy_(normal(*parameter.shape))
    images = normal(8, 2, 4, 4)

    units = find_units(net, "channel", ("head",), images[:1])
    kept = {name: torch.isin(torch.arange(len(net[int(name)].weight)), torch.tensor(KEPT[name])) for name in KEPT}
    masks, model = MaskSet(units, kept), copy.deepcopy(net)
    apply_masks(model, units, masks)
    draw = Calibration(images, torch.zeros(8, dtype=torch.int64), 4)
    grail(RepairContext(model, {}, units, masks, draw, net), order="parallel")

    convolution = model[2].weight[KEPT["2"]][:, KEPT["0"]].flatten(2)
    torch.testing.assert_close(convolution, torch.tensor(CONVOLUTION), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[6].weight[:, KEPT["2"]], torch.tensor(LINEAR), rtol=1e-4, atol=1e-5)
