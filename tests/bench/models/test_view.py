"""What scorers see, against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.models.digits import digits_cnn, digits_vit
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView, is_out_of_memory, normalise
from bench.study.spec import Normalisation


@pytest.mark.parametrize("constructor", [digits_cnn, digits_vit])
def test_weights_are_the_models_in_float64(constructor):
    model = constructor()
    view = ModelView(model, find_units(model, "weight", ("head",), torch.zeros(1, 1, 8, 8)))
    for name in view.units.names:
        weight = view.weight(name)
        assert weight.dtype == torch.float64
        assert not weight.requires_grad
        np.testing.assert_array_equal(weight.numpy(), view.module(name).weight.detach().numpy())
        np.testing.assert_array_equal(view.magnitudes()[name].numpy(), np.abs(weight.numpy()))


def test_channel_magnitude_is_the_mean_over_the_filter():
    model = digits_cnn()
    view = ModelView(model, find_units(model, "channel", ("head",), torch.zeros(1, 1, 8, 8)))
    for name, magnitude in view.magnitudes().items():
        weight = view.module(name).weight.detach().numpy().astype(np.float64)
        np.testing.assert_allclose(magnitude.numpy(), np.abs(weight).mean(axis=(1, 2, 3)), rtol=1e-14)


def test_weight_is_a_copy():
    model = nn.Sequential(nn.Linear(1, 1)).double()
    view = ModelView(model, find_units(model, "weight", (), torch.zeros(1, 1, dtype=torch.float64)))
    view.weight("0").zero_()
    assert model[0].weight.item() != 0


def test_scores_of_another_shape_are_refused():
    model = digits_cnn()
    view = ModelView(model, find_units(model, "channel", ("head",), torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"features\.0: \(16,\) is not the shape"):
        view.reduce("features.0", torch.zeros(16))


def test_batches_cover_the_draw_in_order():
    draw = Calibration(torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10), batch=4)
    sizes = [len(y) for _, y in draw.batches()]
    assert sizes == [4, 4, 2]
    assert torch.cat([x.flatten() for x, _ in draw.batches()]).tolist() == list(range(10))
    assert torch.cat([y for _, y in draw.batches()]).tolist() == list(range(10))
    assert len(draw) == 10


def test_normalise_per_channel():
    pixels = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    found = normalise(pixels, Normalisation(mean=mean, std=std), torch.device("cpu"))
    expected = (pixels.numpy() / 255 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_counts_as_out_of_memory():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
