"""The list of axes exists once, and everything that is derived from an axis follows from it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.core.types import AXES, DENSE, GRID, NONE, PLUGIN_AXES, Axis, CalibrationSpec, Cell, Choice

ROOT = Path(__file__).parents[3]
#: File (or folder) -> number of literal lists that it may have, and why.
ALLOWED = {
    "bench/core/types.py": (2, "the list itself, and a cell's methods"),
    "bench/core/registry.py": (1, "kinds of plug-ins, among them models and data sets"),
    "bench/plugins/conformance": (3, "the call and the rules of each kind of plug-in"),
    "bench/speed/measure.py": (1, "a study.yaml"),
    "analysis/claims/estimands/trend.py": (1, "a type of Literal, which mypy reads from the source"),
    "analysis/claims/parts.py": (1, "a type of Literal"),
    "analysis/report/words.py": (2, "a text per axis"),
    "prunebench/cli/available.py": (1, "arguments of `prunebench list`, among them models and data sets"),
}


def first_text(node: ast.expr | None) -> str | None:
    """Return the text that an element of a list is or begins with."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Tuple | ast.List) and node.elts:
        return first_text(node.elts[0])
    if isinstance(node, ast.Call) and node.args:
        return first_text(node.args[0])
    return None


def elements(node: ast.AST) -> list[ast.expr | None]:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return list(node.elts)
    if isinstance(node, ast.Dict):
        return list(node.keys)
    return list(node.args) if isinstance(node, ast.Call) else []


def literal_lists(source: str) -> Iterator[int]:
    """Yield the line of each list, tuple, set, mapping or call with the names or keys of four or more axes."""
    known = ({axis.name for axis in AXES}, {axis.key for axis in AXES})
    for node in ast.walk(ast.parse(source)):
        found = {first_text(element) for element in elements(node)}
        if any(len(found & names) >= 4 for names in known):
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("\n('scorer', 'search', 'sparsity', 'model')", [2]),
        ("{'scorer': 1, 'search': 2, 'sparsity': 3, 'model': 4}", [1]),
        ("[('scorer', 1), ('search', 2), ('sparsity', 3), ('model', 4)]", [1]),
        ("f('scorers', 'searches', 'sparsities', 'models')", [1]),
        ("('scorer', 'search', 'sparsity', 'layer')", []),
        ("('scorer', 'search', 'sparsities', 'models')", []),
    ],
)
def test_literal_lists_of_axes_are_found(source, lines):
    assert list(literal_lists(source)) == lines


def test_no_other_file_lists_the_axes():
    found: Counter[str] = Counter()
    for folder in ("analysis", "bench", "prunebench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            place = next((known for known in ALLOWED if name.startswith(known)), name)
            found[place] += len(list(literal_lists(path.read_text(encoding="utf-8"))))
    extra = {place: count for place, count in found.items() if count > ALLOWED.get(place, (0, ""))[0]}
    assert not extra, "derive these from bench.core.types.AXES"


def test_every_axis_is_a_field_of_a_cell():
    cell_fields = {field.name for field in fields(Cell)}
    assert {axis.field for axis in AXES} <= cell_fields
    draw_fields = {field.name for field in fields(CalibrationSpec)}
    assert {axis.attribute for axis in AXES if axis.field == "calibration"} == draw_fields


def test_names_and_keys_are_unique():
    assert len({axis.name for axis in AXES}) == len({axis.key for axis in AXES}) == len(AXES)


def test_plug_ins_are_shown_by_their_label():
    assert {axis.attribute for axis in PLUGIN_AXES} == {"label"}
    assert {axis.attribute for axis in GRID if not axis.plugin} == {None}


def test_a_heading_is_the_name_in_words():
    assert [axis.heading for axis in AXES[:4]] == ["Data set", "Model", "Train seed", "Calibration draw"]


def test_hashes_leave_out_the_default_of_a_newer_axis_only():
    axis = Axis("noise", "noises", "evaluation", "-", "standard deviation", "real", default=(0.0,), newer=True)
    assert axis.is_omitted(0.0)
    assert not axis.is_omitted(0.1)
    assert not replace(axis, newer=False).is_omitted(0.0)
    plugin = replace(axis, plugin=True, default=("none",))
    assert plugin.is_omitted(NONE)
    assert not plugin.is_omitted(Choice("none", {"strength": 2}, "none(strength=2)"))


def test_a_dense_cell_is_known_by_its_scorer():
    draw = CalibrationSpec(0, 128, 64)
    cell = Cell("c", "g", 0, "digits", "vgg", 0, draw, DENSE, NONE, None, None, 0.0, NONE, NONE, "float32")
    assert cell.is_dense
    assert not replace(cell, scorer=Choice("magnitude", label="magnitude")).is_dense


def test_the_identity_of_a_choice_is_its_name_options_and_version():
    choice = Choice("ema", {"batches": 4}, "ema(batches=4)", 2)
    assert choice.identity() == {"name": "ema", "options": {"batches": 4}, "version": 2}
