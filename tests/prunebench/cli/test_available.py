"""Entries of ``prunebench list``, and the page that repeats the recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.models.build import resolve_recipe
from bench.plugins.catalogue import make_registry
from bench.study.spec import ModelSpec, Recipe
from prunebench.cli.available import describe_available

PAGE = Path(__file__).parents[3] / "docs" / "RECIPES.md"


def test_every_key_of_a_recipe_is_listed_with_its_default():
    keys = {entry["name"]: entry for entry in describe_available("recipes") if entry["values"] != "-"}
    assert list(keys) == list(Recipe.model_fields)
    for name, default in Recipe().model_dump().items():
        assert type(default)(keys[name]["default"]) == default
        assert keys[name]["meaning"]


@pytest.mark.parametrize(
    ("key", "values", "inside", "outside"),
    [
        ("epochs", "whole number from 1", [1], [0, 1.5]),
        ("lr", "number above 0", [1e-9], [0, -1]),
        ("momentum", "number from 0, below 1", [0, 0.999], [1, -0.1]),
        ("label_smoothing", "number from 0, below 1", [0], [1]),
        ("weight_decay", "number from 0", [0, 7], [-1]),
        ("shift", "whole number from 0", [0], [-1]),
        ("augmentation", "none, shift, crop_flip", ["shift"], ["flip"]),
    ],
)
def test_the_values_listed_are_those_accepted(key, values, inside, outside):
    assert next(entry for entry in describe_available("recipes") if entry["name"] == key)["values"] == values
    for value in inside:
        assert getattr(Recipe.model_validate({key: value}), key) == value
    for value in outside:
        with pytest.raises(ValidationError):
            Recipe.model_validate({key: value})


def test_the_recipe_listed_for_a_model_is_the_one_it_is_trained_by():
    registry = make_registry()
    entries = {entry["name"]: entry["meaning"] for entry in describe_available("recipes")}
    for name in registry.names("model"):
        resolved = resolve_recipe(ModelSpec(name=name), registry).model_dump()
        shown = dict(re.findall(r"(\w+) ([\w.]+)(?:,|$)", entries[name]))
        usual = Recipe().model_dump()
        assert shown
        assert all(type(resolved[key])(value) == resolved[key] for key, value in shown.items())
        assert {key for key in resolved if resolved[key] != usual[key]} <= set(shown)


def test_the_page_of_recipes_repeats_the_list():
    rows = [line.strip("|\n ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    page = {row[0].strip("`"): row[1:] for row in rows}
    for entry in describe_available("recipes"):
        if entry["values"] == "-":
            assert page[entry["name"]] == [entry["meaning"].removeprefix("recipe of this model: ")]
        else:
            assert page[entry["name"]] == [entry["default"], entry["values"], entry["meaning"]]
