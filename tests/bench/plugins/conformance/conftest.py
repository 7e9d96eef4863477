"""The catalogue, what plug-ins are tried on, and a check of any function as a plug-in."""

from __future__ import annotations

import pytest

from bench.core.registry import Plugin
from bench.plugins.catalogue import make_registry
from bench.plugins.conformance import check_plugin, make_benches


@pytest.fixture(scope="session")
def registry():
    return make_registry()


@pytest.fixture(scope="session")
def benches(registry):
    return make_benches(registry)


@pytest.fixture(scope="session")
def problems_of(benches):
    """Check a function as a plug-in of a kind: what it breaks -> how."""

    def check(kind, function):
        verdicts = check_plugin(Plugin(kind, "mine", function), benches)
        assert {v.plugin for v in verdicts} == {f"{kind} mine"}
        return {v.check: v.problem for v in verdicts if v.problem}

    return check
