from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.models.unit_space import PrunableLayer, UnitSpace


@pytest.fixture
def space() -> Callable[..., UnitSpace]:
    """Make a unit space of weights from the layers' shapes."""

    def make(*shapes: tuple[int, ...]) -> UnitSpace:
        layers = tuple(PrunableLayer(f"layer{i}", shape, shape) for i, shape in enumerate(shapes))
        return UnitSpace("weight", layers)

    return make
