"""Repaired networks against those of the authors' own code on the same pruned weights; README.md names the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.view import Calibration
from bench.repairs.correction import Order, RepairContext, repair
from bench.repairs.recalibration import cumulative, reset_ema
from bench.repairs.reconstruct import reconstruct
from bench.repairs.statistics import channel_moments
from tests.reference.authors.inputs import draw, halved, network, plain_network, stored

VALUES = stored("repairs")
#: Where the copies of the draw, which make up their one batch, leave a difference; see README.md.
PRECISION = 5e-6


def _tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _context() -> RepairContext:
    """A repair of the three convolutions, half of whose weights are zero."""
    dense, model = plain_network().requires_grad_(False), halved(plain_network()).requires_grad_(False)
    units = find_units(dense, "weight", ("7",), draw().images[:1])
    masks = MaskSet(units, {name: model.get_parameter(f"{name}.weight") != 0 for name in units.names})
    return RepairContext(model, channel_moments(dense, units.layers, draw()), units, masks, draw(), dense)


def _affine(context: RepairContext, name: str) -> tuple[Tensor, Tensor]:
    """Factor and shift of each channel of a layer, from its weights before and after; 1 for a filter of zeros."""
    before, after = halved(plain_network()).get_submodule(name), context.model.get_submodule(name)
    largest = before.weight.abs().flatten(1).argmax(dim=1, keepdim=True)
    ratio = after.weight.flatten(1).gather(1, largest) / before.weight.detach().flatten(1).gather(1, largest)
    factor = ratio.squeeze(1).nan_to_num(1.0)
    return factor, after.bias - factor * before.bias.detach()


def test_sequential_repair_is_the_authors() -> None:
    """The outputs agree, and in every channel that is not dead the affine map."""
    context, values = _context(), VALUES["repair"]["one_batch"]
    repair(context, order="sequential")
    for name, factors in values["factors"].items():
        factor, shift = _affine(context, name)
        theirs = _tensor(factors)
        live = theirs < 1000  # theirs divides by the eps of BatchNorm where the variance is 0
        assert int((~live).sum()) == (1 if name == "2" else 0)
        torch.testing.assert_close(factor[live], theirs[live], rtol=PRECISION, atol=0)
        torch.testing.assert_close(shift[live], _tensor(values["shifts"][name])[live], rtol=0, atol=PRECISION)
    outputs = _tensor(values["outputs"]).view(-1, 3)
    torch.testing.assert_close(context.model(draw().images), outputs, rtol=0, atol=2 * PRECISION)


@pytest.mark.parametrize(("order", "difference"), [("sequential", 0.08), ("parallel", 0.25)])
def test_repair_differs_from_the_authors_over_small_batches(order: Order, difference: float) -> None:
    """Theirs normalises each batch of 8 by its own statistics, in the layers before too, and averages over batches."""
    context = _context()
    repair(context, order=order)
    theirs = {name: _tensor(factors) for name, factors in VALUES["repair"]["batches"]["factors"].items()}
    differences = [(_affine(context, name)[0] / factors - 1).abs()[factors < 100] for name, factors in theirs.items()]
    largest = float(torch.cat(differences).max())
    assert 0.9 * difference < largest < difference


def _assert_statistics(
    recalibrate: Callable[[nn.Module, Calibration], None], values: Mapping[str, Mapping[str, list[float]]]
) -> None:
    net = halved(network())
    recalibrate(net, draw())
    for kind in ("running_mean", "running_var"):
        for name, theirs in values[kind].items():
            torch.testing.assert_close(net.get_buffer(f"{name}.{kind}"), _tensor(theirs), rtol=1e-10, atol=1e-12)


def test_cumulative_is_repairs_reset_of_batchnorm() -> None:
    _assert_statistics(cumulative, VALUES["cumulative"])


def test_cumulative_is_pytorchs_update_bn() -> None:
    ours, theirs = halved(network()), halved(network())
    cumulative(ours, draw())
    torch.optim.swa_utils.update_bn((images for images, _ in draw().batches()), theirs)
    for name, statistics in theirs.named_buffers():
        assert torch.equal(ours.get_buffer(name), statistics)


def test_reset_ema_is_obcs_batchnorm_tuning() -> None:
    _assert_statistics(reset_ema, VALUES["reset_ema"])


def test_reconstruct_is_a_least_squares_fit_with_a_constant() -> None:
    """No code by authors: each row by `numpy.linalg.lstsq` on the first layer's patches, as damping goes to 0."""
    context = _context()
    reconstruct(context, damping=0.0)
    patches = torch.nn.functional.unfold(draw().images, 3, padding=1).movedim(1, 2).flatten(0, 1).numpy()
    dense, fitted = plain_network()[0], context.model.get_submodule("0")
    outputs = patches @ dense.weight.detach().flatten(1).numpy().T + dense.bias.detach().numpy()
    for row, mask in enumerate(context.masks["0"].flatten(1).numpy()):
        design = np.column_stack([patches[:, mask], np.ones(len(patches))])
        solution = np.linalg.lstsq(design, outputs[:, row], rcond=None)[0]
        ours = fitted.weight[row].flatten().numpy()[mask]
        np.testing.assert_allclose([*ours, float(fitted.bias[row])], solution, rtol=1e-9, atol=1e-12)
