"""The networks that are compared, and a study of the whole catalogue on each."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.core.registry import Plugin, Registry
from bench.core.types import Cell, Settings
from bench.data.dataset import Dataset, ImageSet, calibration_draw
from bench.data.load import load_dataset
from bench.measure.pipeline import Pipeline
from bench.models.dense import DenseModel, obtain_dense
from bench.models.tensors import ScoreMap
from bench.models.units import find_units
from bench.models.view import MEMORY_FORMATS, Calibration, ModelView, normalise, set_memory_format
from bench.plugins.catalogue import make_registry
from bench.plugins.conformance.cases import Bench, takes_budget
from bench.run.open_study import OpenStudy, open_study
from bench.run.settings import apply_settings, device_class
from bench.store.files import Artifacts

CIFAR10 = "CIFAR-10"
#: Network -> its entry in study.yaml. They are trained for seconds, on the CPU: what they learn does not matter.
NETWORKS: dict[str, dict[str, Any]] = {
    "digits_cnn": {"name": "digits_cnn", "recipe": {"epochs": 2}},
    "digits_vit": {"name": "digits_vit", "recipe": {"epochs": 2}},
    "cifar_resnet20": {"name": "cifar_resnet20", "recipe": {"epochs": 1, "batch": 32, "augmentation": "none"}},
    CIFAR10: {
        "name": "cifar_resnet20",
        "checkpoint": "${PRUNEBENCH_DATA}/weights/resnet20-cifar10-akamaster.safetensors",
        "normalisation": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    },
}
#: Threads of the CPU: more do not help small networks, and several processes may run tests at a time.
THREADS = 2
#: Largest number of test images, which the CPU evaluates too: on a GPU so many that one is 0.1 points.
TEST_IMAGES = {"cuda": 1000, "cpu": 100}
#: Images and batch of the draw on which single methods are compared.
IMAGES, BATCH = 32, 16
SPARSITY = 0.8
#: Candidates that a search evaluates, more than it takes in one batch; the scorer whose weights it looks for.
CANDIDATES, FUSED = 40, "nl_sin"


@dataclass(frozen=True)
class Prepared:
    """A network on the CPU with its data, and the plan of a study of the catalogue."""

    session: OpenStudy
    dataset: Dataset
    dense: DenseModel

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the study, all on one dense model."""
        return self.session.plan.groups[0].cells

    def dense_on(self, device: str) -> DenseModel:
        """Return a copy of the dense model on a device."""
        return replace(self.dense, model=copy.deepcopy(self.dense.model).to(device))

    def pipeline(self, settings: Settings, counters: Counter[str] | None = None, **changed: Any) -> Pipeline:
        """Return a pipeline on a copy of the dense model; `dataset`, `dense` and `group` may be replaced."""
        apply_settings(settings)
        arguments = {
            "group": self.session.plan.groups[0], "dense": self.dense_on(settings.device), "dataset": self.dataset,
        } | changed  # fmt: skip
        spec = self.session.study.file.models[0]
        return Pipeline(
            arguments["group"], arguments["dense"], arguments["dataset"], spec.exclude, self.session.registry, settings,
            Counter() if counters is None else counters,
        )  # fmt: skip

    def bench(self, settings: Settings, granularity: str) -> Bench:
        """Return what one method is tried on, as the conformance suite has it, on the device of the settings."""
        device = torch.device(settings.device)
        dense = self.dense_on(settings.device)
        set_memory_format(dense.model, settings.memory_format)
        draw = calibration_draw(self.dataset, 0, IMAGES)
        images = normalise(draw.images, dense.normalisation, device)
        images = images.contiguous(memory_format=MEMORY_FORMATS[settings.memory_format])
        exclude = self.session.study.file.models[0].exclude
        view = ModelView(dense.model, find_units(dense.model, granularity, exclude, images[:2]))  # type: ignore[arg-type]
        return Bench(view, ScoreMap(view.magnitudes()), Calibration(images, draw.labels.to(device), BATCH), SPARSITY)


def many(images: ImageSet, count: int) -> ImageSet:
    """Repeat images until there are `count`."""
    return images.subset(torch.arange(count) % len(images))


def settings_of(
    device: str, memory_format: str = "contiguous", precision: str = "float32", batch: int = 512
) -> Settings:
    """Return execution settings; channels-last on a CPU changes the order of sums, as a GPU does."""
    return Settings(
        precision, memory_format, batch, device, min(THREADS, torch.get_num_threads()), device_class(device)
    )


def prepare(network: str, folder: Path, device: str) -> Prepared:
    """Write a study of the catalogue on a network into `folder`, open it and make its dense model on the CPU."""
    registry = make_registry()
    (folder / "study.yaml").write_text(json.dumps(catalogue_study(network, registry)), encoding="utf-8")
    session = open_study(folder, device="cpu")
    dataset = load_dataset(session.study.file.data[0], folder)
    kept = torch.arange(len(dataset.test))[: TEST_IMAGES[device]]
    group = session.plan.groups[0]
    dense = obtain_dense(
        session.study.file.models[0], dataset, group.train_seed, session.registry, folder=folder,
        artifacts=Artifacts.at(folder / "artifacts"), device=torch.device("cpu"),
    )  # fmt: skip
    return Prepared(session, replace(dataset, test=dataset.test.subset(kept)), dense)


def catalogue_study(network: str, registry: Registry) -> dict[str, Any]:
    """Return a study with every method of the catalogue, each kind varied alone."""
    data: dict[str, Any] = {"name": "digits"}
    if network == CIFAR10:
        data = {"name": "cifar10", "path": "${PRUNEBENCH_DATA}/cifar10", "limit": {"train": 8000}, "search": 200}
    entries = {
        kind: [_entry(plugin) for plugin in registry.of_kind(kind) if (kind, plugin.name) != ("search", "none")]
        for kind in ("scorer", "search", "allocation", "correction", "recalibration")
    }
    labels = {
        kind: [registry.get(kind, entry["name"]).resolve(_options(entry)).label for entry in found]
        for kind, found in entries.items()
    }
    others = {kind: [label for label in found if label not in _PLAIN[kind]] for kind, found in labels.items()}
    return {
        "name": "catalogue", "data": [data], "models": [NETWORKS[network]], "train_seeds": 1,
        "granularities": ["weight", "channel"], "sparsities": [SPARSITY],
        "calibration": {"images": 2 * IMAGES, "batch": BATCH},
        "scorers": entries["scorer"], "searches": entries["search"], "allocations": entries["allocation"],
        "corrections": entries["correction"], "recalibrations": entries["recalibration"],
        "exclude": [
            {"name": "one scorer is searched for", "where": {"search": others["search"], "scorer": {"not": FUSED}}},
            {"name": "allocations of two scorers",
             "where": {"allocation": others["allocation"], "scorer": {"not": ["magnitude", "taylor"]}}},
            *({"name": f"{kind} of {value}", "where": {kind: others[kind], axis: {"not": value}}}
              for kind in ("correction", "recalibration")
              for axis, value in (("scorer", "magnitude"), ("allocation", "global"))),
        ],
    }  # fmt: skip


#: Methods that are combined with all of the other kinds.
_PLAIN = {
    "scorer": (), "search": ("equal",), "allocation": ("global",), "correction": ("none",), "recalibration": ("none",),
}  # fmt: skip


def _entry(plugin: Plugin) -> dict[str, Any]:
    budget = {"evaluations": CANDIDATES} if plugin.kind == "search" and takes_budget(plugin) else {}
    return {"name": plugin.name, **plugin.example, **budget}


def _options(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "name"}
