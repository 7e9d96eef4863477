"""Every engine has what the driver needs of one."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from bench.run.engine import Engine


@pytest.mark.parametrize(
    ("module", "name"),
    [("bench.run.local", "InProcessEngine"), ("bench.run.local", "MultiProcessEngine"), ("bench.run.ray", "RayEngine")],
)
def test_every_engine_has_the_methods_of_the_protocol(module, name):
    if module == "bench.run.ray":
        pytest.importorskip("ray")
    engine = getattr(import_module(module), name)
    methods = {name: function for name, function in vars(Engine).items() if inspect.isfunction(function)}
    public = {name for name in methods if not name.startswith("_")}
    assert public == {"events"}
    for name in public:
        assert inspect.signature(getattr(engine, name)) == inspect.signature(methods[name])
