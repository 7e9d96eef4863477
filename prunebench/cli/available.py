"""Describe what a study may name, for ``prunebench list``: methods, models, recipes, data sets, templates."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, suggest
from bench.core.registry import Registry
from bench.plugins.catalogue import make_registry
from bench.study.spec import Recipe
from bench.study.templates import describe_template, template_names

KINDS = {
    "scorers": ("scorer",), "repairs": ("correction", "recalibration"), "allocations": ("allocation",),
    "searches": ("search",), "models": ("model",), "datasets": ("dataset",),
}  # fmt: skip


def describe_available(kind: str) -> list[dict[str, Any]]:
    """Describe everything of one kind, one entry each.

    Parameters
    ----------
    kind : str
        ``scorers``, ``repairs``, ``allocations``, ``searches``, ``models``, ``recipes``, ``datasets`` or ``templates``.

    Returns
    -------
    list of dict
        Entries with the same keys: the name first, then for plug-ins formula, cost and reference.

    Raises
    ------
    UserError
        If the kind is unknown; the message suggests the nearest one.
    """
    if kind == "templates":
        return [{"name": name, "description": describe_template(name)} for name in template_names()]
    if kind not in KINDS and kind != "recipes":
        raise UserError(f"cannot list {kind!r}: {suggest(kind, [*KINDS, 'recipes', 'templates'])}")
    registry = make_registry(Path.cwd())
    if kind == "recipes":
        return _recipes(registry)
    entries: list[dict[str, Any]] = []
    for one in KINDS[kind]:
        for plugin in registry.of_kind(one):
            entry: dict[str, Any] = {"name": plugin.name}
            if kind == "repairs":
                entry["half"] = one
            entry |= {"formula": plugin.formula, "cost": plugin.cost, "reference": plugin.reference}
            if kind in ("scorers", "allocations", "repairs"):
                entry["granularities"] = list(plugin.granularities)
            entries.append(entry)
    if kind == "models":
        entries.append({
            "name": "any timm name", "formula": f"timm.create_model of timm {version('timm')}; "
            "timm.list_models() lists the names", "cost": "-", "reference": "Wightman, PyTorch Image Models",
        })  # fmt: skip
    return entries


def _recipes(registry: Registry) -> list[dict[str, Any]]:
    """Describe the keys of a training recipe, then the recipe of every built-in model."""
    entries = [
        {"name": key, "default": _plain(schema["default"]), "values": _range(schema), "meaning": schema["description"]}
        for key, schema in Recipe.model_json_schema()["properties"].items()
    ]
    for plugin in registry.of_kind("model"):
        own = ", ".join(f"{key} {_plain(value)}" for key, value in plugin.recipe.items())
        entries.append({"name": plugin.name, "default": "-", "values": "-", "meaning": f"recipe of this model: {own}"})
    entries.append({"name": "any other model", "default": "-", "values": "-", "meaning": "the defaults above"})
    return entries


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _range(schema: dict[str, Any]) -> str:
    """Describe the values that a JSON schema allows.

    Examples
    --------
    >>> _range({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'number from 0, below 1'
    """
    if "enum" in schema:
        return ", ".join(schema["enum"])
    forms = {
        "minimum": "from {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "to {:g}",
        "exclusiveMaximum": "below {:g}",
    }
    limits = [form.format(schema[key]) for key, form in forms.items() if key in schema]
    kind = {"integer": "whole number"}.get(schema["type"], schema["type"])
    return f"{kind} {', '.join(limits)}"
