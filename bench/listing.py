"""What ``prunebench list`` prints: every plug-in with formula, cost and reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm

from bench.catalogue import make_registry
from bench.errors import UserError, suggest
from bench.templates import describe_template, template_names

KINDS = {
    "scorers": ("scorer",), "repairs": ("correction", "recalibration"), "allocations": ("allocation",),
    "searches": ("search",), "models": ("model",), "datasets": ("dataset",),
}  # fmt: skip


def list_plugins(kind: str) -> list[dict[str, Any]]:
    """Describe everything of one kind.

    Parameters
    ----------
    kind : str
        ``scorers``, ``repairs``, ``allocations``, ``searches``, ``models``, ``datasets`` or ``templates``.

    Raises
    ------
    UserError
        For another kind; the nearest is suggested.
    """
    if kind == "templates":
        return [{"name": name, "description": describe_template(name)} for name in template_names()]
    if kind not in KINDS:
        raise UserError(f"nothing is called {kind!r}: {suggest(kind, [*KINDS, 'templates'])}")
    registry = make_registry(Path.cwd())
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
        count = len(timm.list_models())
        entries.append({
            "name": "any timm name", "formula": f"timm.create_model; {count} names in timm {timm.__version__}",
            "cost": "-", "reference": "Wightman, PyTorch Image Models",
        })  # fmt: skip
    return entries
