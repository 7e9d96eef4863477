"""Import paths of version 0.1 give the same objects, with a warning that names the new path."""

from __future__ import annotations

import importlib
import json

import pytest

MOVED = [
    ("bench.errors", "bench.core.errors", ("CellError", "NotApplicable", "UserError")),
    ("bench.masks.apply", "bench.models.masking", ("apply_masks",)),
    ("bench.registry", "bench.core.registry", ("Plugin", "Registry")),
    ("bench.tensors", "bench.models.tensors", ("FeatureMap", "MaskSet", "ScoreMap")),
    ("bench.tensors", "bench.models.unit_space", ("PrunableLayer", "UnitSpace")),
    ("bench.types", "bench.core.types", ("Cell", "Granularity")),
]
STUDY = {
    "name": "old", "data": [{"name": "digits", "limit": {"train": 800, "test": 100}}],
    "models": [{"name": "digits_cnn", "recipe": {"epochs": 1}}], "train_seeds": 1, "granularities": ["weight"],
    "scorers": ["./old.py:mine"], "sparsities": [0.5],
}  # fmt: skip
OLD_PLUGIN = """\
from bench.errors import NotApplicable
from bench.tensors import ScoreMap

def mine(view, calibration, generator):
    if not view.units.names:
        raise NotApplicable("there is no layer")
    return ScoreMap(view.magnitudes())
"""


@pytest.mark.parametrize(("old", "new", "name"), [(old, new, name) for old, new, names in MOVED for name in names])
def test_an_old_path_gives_the_same_object_with_a_warning(old, new, name):
    with pytest.warns(DeprecationWarning, match=f"{old} .*import {name} from prunebench.plugin .*{new}") as caught:
        found = getattr(importlib.import_module(old), name)
    assert found is getattr(importlib.import_module(new), name)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("old", [old for old, _, _ in MOVED])
def test_an_unknown_name_is_an_attribute_error_without_a_warning(old):
    assert not hasattr(importlib.import_module(old), "no_such_name")


def test_a_study_runs_a_plugin_with_old_imports(tmp_path, command):
    (tmp_path / "study.yaml").write_text(json.dumps(STUDY))
    (tmp_path / "old.py").write_text(OLD_PLUGIN)
    with pytest.warns(DeprecationWarning, match=r"import \w+ from prunebench.plugin") as caught:
        done = command("run", tmp_path)
    assert done.code == 0, done.err
    assert {warning.filename for warning in caught} == {str(tmp_path / "old.py")}
    assert "2 cells done, 0 failed" in done.out
