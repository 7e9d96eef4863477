"""The shipped nets for digits reach what the project promises of them."""

import pytest
import torch

from bench.models.dense import obtain_dense
from bench.models.view import normalise
from bench.store.files import Artifacts
from bench.study.spec import ModelSpec

CPU = torch.device("cpu")


@pytest.mark.long
@pytest.mark.parametrize("name_floor", [("digits_cnn", 0.96), ("digits_vit", 0.88)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_accuracy_of_every_shipped_seed(name_floor, seed, digits, registry, tmp_path):
    name, floor = name_floor
    found = obtain_dense(ModelSpec(name=name), digits, seed, registry, tmp_path, Artifacts.at(tmp_path), CPU)
    with torch.inference_mode():
        logits = found.model(normalise(digits.test.images, found.normalisation, CPU))
    accuracy = (logits.argmax(1) == digits.test.labels).double().mean().item()
    assert accuracy > floor
