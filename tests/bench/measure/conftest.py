"""A small study of the real digits whose stages are run one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.core.types import Settings
from bench.data.dataset import Dataset
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.measure.shared import SharedValues
from bench.models.dense import DenseModel, obtain_dense
from bench.run.open_study import open_study
from bench.store.files import Artifacts

SETTINGS = Settings(precision="float32", memory_format="contiguous", batch=512, device="cpu", threads=1)


@pytest.fixture(scope="package")
def settings() -> Settings:
    return SETTINGS


@pytest.fixture(scope="package")
def session(tmp_path_factory, write_tiny):
    return open_study(write_tiny(tmp_path_factory.mktemp("measure") / "tiny"))


@pytest.fixture(scope="package")
def dataset(session) -> Dataset:
    return load_dataset(session.study.file.data[0], session.study.folder)


@pytest.fixture(scope="package")
def dense(session, dataset) -> DenseModel:
    folder = session.study.folder
    return obtain_dense(
        session.study.file.models[0], dataset, 0, session.registry, folder, Artifacts.at(folder / "artifacts"),
        torch.device("cpu"),
    )  # fmt: skip


@pytest.fixture(scope="package")
def cells(session):
    """The cells of one group."""
    return session.plan.groups[0].cells


@pytest.fixture(scope="package")
def make_pipeline(session, dataset, dense) -> Callable[..., tuple[Pipeline, Counter[str]]]:
    """Return a pipeline on the first group and its counters; `dataset`, `group` and `settings` may be replaced."""

    def make(dataset=dataset, group=session.plan.groups[0], settings=SETTINGS, cell_timeout=None):
        counters: Counter[str] = Counter()
        pipeline = Pipeline(group, dense, dataset, ("head",), session.registry, settings, counters, cell_timeout)
        return pipeline, counters

    return make


@pytest.fixture
def shared(session, dataset, dense, cells) -> SharedValues:
    """The shared values of the group, nothing computed yet."""
    return SharedValues(
        cells[0].group, dense, dataset, ("head",), session.registry, SETTINGS, Counter(), cells[0].calibration
    )


@pytest.fixture
def coupled(session, dataset, dense, cells) -> Callable[[nn.Module], SharedValues]:
    """Return the shared values of an untrained network, at granularities ``head`` and ``group``, too."""

    def make(model: nn.Module) -> SharedValues:
        return SharedValues(
            cells[0].group, replace(dense, model=model.eval()), dataset, ("head",), session.registry, SETTINGS,
            Counter(), cells[0].calibration, ("head", "group"),
        )  # fmt: skip

    return make
