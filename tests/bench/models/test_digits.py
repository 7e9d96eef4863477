"""The shipped nets for digits reach what the project promises of them."""

import pytest
import torch

from bench.models.dense import obtain_dense
from bench.models.digits import digits_mlp
from bench.models.units import examine, find_units, take_inventory
from bench.models.view import normalise
from bench.store.files import Artifacts
from bench.study.spec import ModelSpec

CPU = torch.device("cpu")


@pytest.mark.long
@pytest.mark.parametrize(
    "name_floor", [("digits_cnn", 0.96), ("digits_vit", 0.88), ("digits_mlp", 0.98), ("digits_kan", 0.97)]
)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_accuracy_of_every_shipped_seed(name_floor, seed, digits, registry, tmp_path):
    name, floor = name_floor
    found = obtain_dense(ModelSpec(name=name), digits, seed, registry, tmp_path, Artifacts.at(tmp_path), CPU)
    with torch.inference_mode():
        logits = found.model(normalise(digits.test.images, found.normalisation, CPU))
    accuracy = (logits.argmax(1) == digits.test.labels).double().mean().item()
    assert accuracy > floor


def test_the_units_of_the_mlp():
    network, example = digits_mlp().eval(), torch.zeros(1, 1, 8, 8)
    weights = find_units(network, "weight", ("head",), example)
    assert (weights.names, weights.total, weights.classifier) == (("1", "3", "5"), 40_960, ("7",))
    hidden = find_units(network, "channel", ("head",), example)
    assert {layer.name: (layer.unit_shape, layer.partner) for layer in hidden.layers} == {
        "1": ((128,), "3"), "3": ((128,), "5"),
    }  # fmt: skip
    reasons = examine(network, "channel", ("head",), take_inventory(network, example)).reasons
    assert (reasons["5"] or "").startswith("cut along")  # its own reader is the head
