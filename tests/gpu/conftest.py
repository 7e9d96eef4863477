"""The device that is compared with the CPU, and the networks, each prepared once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.plugins.conformance.cases import Bench
from bench.run.settings import apply_settings
from tests.gpu.networks import CIFAR10, NETWORKS, Prepared, prepare, settings_of

VARIABLE = "PRUNEBENCH_TEST_DEVICE"
REASON = f"no CUDA device; set {VARIABLE}=cpu to compare the CPU with itself"
HERE = Path(__file__).parent
#: The networks that are compared on a CPU by `pytest -m slow` alone.
SLOW = list(NETWORKS)[1:]


def chosen_device() -> str | None:
    """Return the device that the variable names, or else a GPU; None if there is neither."""
    return os.environ.get(VARIABLE) or ("cuda" if torch.cuda.is_available() else None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that compute. On a CPU most networks are slow; warnings are shown, but are no errors."""
    for item in items:
        if HERE in item.path.parents and "device" in getattr(item, "fixturenames", ()):
            item.add_marker("trains")
            item.add_marker(pytest.mark.filterwarnings("default"))  # a GPU machine has packages of its own
            parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
            if config.pluginmanager.hasplugin("xdist"):  # one process computes the fixtures of a network
                item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {parameters.get('network')}"))
            if chosen_device() == "cpu" and parameters.get("network") in SLOW:
                item.add_marker("slow")


@pytest.fixture(scope="session")
def device() -> str:
    """``cuda``, or ``cpu`` to prove the tests themselves."""
    found = chosen_device()
    if found is None:
        pytest.skip(REASON)
    assert found in ("cpu", "cuda"), f"{VARIABLE}={found}: expected cpu or cuda"
    apply_settings(settings_of(found))
    return found


@pytest.fixture(scope="session")
def memory_format(device) -> str:
    """Layout of the device's images and weights: on a CPU channels-last, which has other rounding errors."""
    return "contiguous" if device == "cuda" else "channels_last"


@pytest.fixture(scope="session", params=list(NETWORKS))
def network(request, device) -> str:
    """Name of a network."""
    if request.param == CIFAR10 and "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set")
    return str(request.param)


@pytest.fixture(scope="session")
def prepared(network, device, tmp_path_factory) -> Prepared:
    """A network on the CPU with its data, and the plan of a study of the catalogue."""
    return prepare(network, tmp_path_factory.mktemp("network"), device)


@pytest.fixture(scope="session")
def benches(prepared, device, memory_format) -> Callable[[str], tuple[Bench, Bench]]:
    """Return what a method is tried on at a granularity, on the CPU and on the device."""
    made = {
        granularity: (
            prepared.bench(settings_of("cpu"), granularity),
            prepared.bench(settings_of(device, memory_format), granularity),
        )
        for granularity in ("weight", "channel")
    }
    return made.__getitem__
