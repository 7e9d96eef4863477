"""Records of methods: what a user's plug-in sets, and their JSON."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.core.method import Method, describe, described, dump_methods, load_methods
from bench.core.registry import Plugin, Registry
from bench.core.types import CalibrationSpec, Cell, Choice

FULL = Method(
    "scorer", "mine", version="ab12", formula="w x", cost="user", reference="mine.py", granularities=("channel",),
    glossary="weight times input", terms={"x": "Input."}, family="inputs", colour="#0072b2", marker="s", line="mixed",
    gradients=False, moments=8, sets_sparsity=None, curve=True, complexity="fake", complete=True,
)  # fmt: skip


def test_records_survive_json():
    methods = (FULL, Method("search", "none"))
    assert load_methods(dump_methods(methods)) == methods


@pytest.mark.parametrize(
    "text", ["", "{}", '[{"kind": "scorer"}]', '[{"kind": "scorer", "name": "a", "colour": "red"}]'], ids=repr
)
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="validation error"):
        load_methods(text)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"famly": "inputs"}, "a method has no field 'famly': did you mean 'family'"),
        ({"name": "other"}, "a method has no field 'name'"),
        ({"colour": "red"}, "field 'colour' is 'red': String should match"),
        ({"marker": "?"}, "field 'marker' is '\\?'"),
        ({"complexity": 3}, "field 'complexity' is 3"),
        ({"granularities": ["layer"]}, "field 'granularities'"),
    ],
)
def test_a_fact_that_cannot_be_is_named(facts, message):
    with pytest.raises(UserError, match=message) as caught:
        describe(**facts)
    assert "\n" not in str(caught.value)


def test_a_described_function_is_still_the_function():
    def score(view):
        return view

    assert describe(family="inputs")(score) is score
    assert described(score) == {"family": "inputs"}
    assert described(len) == {}


def test_a_users_plugin_has_the_facts_that_it_sets_and_derived_ones(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bench.core.method import describe\nfrom bench.models.tensors import FeatureMap\n"
        "@describe(family='inputs', colour='#0072b2', marker='*', gradients=False)\n"
        "def score(view, calibration, generator):\n    'Weight times input.'\n"
        "def plain(view, calibration, generator): ...\n"
        "def features(view, calibration, generator) -> FeatureMap: ...\n"
    )
    score, plain, features = (
        Registry([], tmp_path).get("scorer", f"./mine.py:{name}") for name in ("score", "plain", "features")
    )
    assert (score.family, score.colour, score.marker, score.gradients) == ("inputs", "#0072b2", "*", False)
    assert (score.glossary, score.formula) == ("Weight times input", "Weight times input.")
    assert (plain.family, plain.gradients) == ("other", True)
    assert (features.family, features.gradients) == ("other features", False)
    assert score.record.reference == "mine.py"  # the folder is nobody's business
    assert score.record.version == score.version


def test_a_wrong_fact_in_a_users_file_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bench.core.method import describe\n@describe(colour='red')\ndef score(): ...\n"
    )
    with pytest.raises(UserError, match=r"importing .*mine.py raised UserError: describe: field 'colour' is 'red'"):
        Registry([], tmp_path).get("scorer", "./mine.py:score")


def test_the_records_of_cells_are_those_of_their_methods_in_catalogue_order():
    def function(): ...

    registry = Registry([
        Plugin(kind, name, function)
        for kind, name in (("scorer", "a"), ("scorer", "b"), ("search", "none"), ("correction", "none"))
    ])  # fmt: skip
    none = Choice("none")
    common = {
        "group": "g", "dataset": "d", "model": "m", "train_seed": 0, "calibration": CalibrationSpec(0, 1, 1),
        "search": none, "granularity": None, "allocation": None, "sparsity": None, "correction": none,
        "recalibration": none, "precision": "float32",
    }  # fmt: skip
    cells = [Cell(id=name, position=0, scorer=Choice(name), **common) for name in ("b", "dense")]
    assert [(one.kind, one.name) for one in registry.records(cells)] == [
        ("scorer", "b"), ("search", "none"), ("correction", "none"),
    ]  # fmt: skip
