"""The digits, and the registry that a study of them would have."""

from pathlib import Path

import pytest

from bench.core.registry import Plugin, Registry
from bench.data.load import load_dataset
from bench.models.digits import digits_cnn, digits_mlp, digits_vit
from bench.models.kan import digits_kan
from bench.plugins.catalogue import CNN_RECIPE, KAN_RECIPE, MLP_RECIPE, VIT_RECIPE
from bench.study.spec import DataSpec


@pytest.fixture(scope="session")
def digits():
    return load_dataset(DataSpec(name="digits"), Path())


@pytest.fixture
def registry(tmp_path):
    plugins = [
        Plugin("model", "digits_cnn", digits_cnn, recipe=CNN_RECIPE),
        Plugin("model", "digits_vit", digits_vit, recipe=VIT_RECIPE),
        Plugin("model", "digits_mlp", digits_mlp, recipe=MLP_RECIPE),
        Plugin("model", "digits_kan", digits_kan, recipe=KAN_RECIPE),
    ]
    return Registry(plugins, folder=tmp_path)
