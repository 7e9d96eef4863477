"""A study folder opened for work: registry, settings, plan and store, as every command needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.catalogue import make_registry
from bench.data.load import data_facts
from bench.errors import UserError
from bench.identity import digest, file_digest
from bench.models.build import check_model_name, resolve_recipe
from bench.models.dense import checkpoint_path, dense_key
from bench.plan import Plan, make_plan
from bench.registry import Registry
from bench.settings import keep_settings
from bench.store.database import DATABASE_FILE, Store
from bench.store.status import pick_cell
from bench.study import ModelSpec, Study, load_study
from bench.types import Cell, DataFacts, Settings


@dataclass(frozen=True)
class Session:
    """A study folder with everything resolved; nothing has been run."""

    study: Study
    registry: Registry
    settings: Settings
    plan: Plan
    facts: Mapping[str, DataFacts]

    def find_cell(self, name: str) -> Cell:
        """Find a cell by the beginning of its id or by its position."""
        cells = list(self.plan.cells())
        return cells[pick_cell(name, [cell.id for cell in cells])]


def open_session(folder: Path, profile: str | None = None, device: str = "auto") -> Session:
    """Load a study and lay out its plan.

    Raises
    ------
    UserError
        For anything in the study, its data or its checkpoints that cannot be used.
    """
    registry = make_registry(folder)
    study = load_study(folder, registry, profile)
    for model in study.file.models:
        check_model_name(model.name, registry)
    facts = {spec.title: data_facts(spec, folder) for spec in study.file.data}
    settings = keep_settings(
        _stored_settings(folder), study.file.execution, device, max(max(f.image_size) for f in facts.values())
    )

    @cache
    def checkpoint_digest(path: Path) -> str:
        if not path.is_file():
            raise UserError(f"{path}: there is no such checkpoint")
        return file_digest(path)

    def model_identity(spec: ModelSpec, seed: int | None, data: DataFacts) -> Mapping[str, Any]:
        plugin = registry.find("model", spec.name)
        version = plugin.version if plugin else 1
        if seed is not None and spec.checkpoint is None:
            dense = dense_key(spec, data.hash, resolve_recipe(spec, registry), seed, version)
        else:
            normalisation = spec.normalisation.model_dump() if spec.normalisation else None
            # the first version of a network of ours goes without saying; a user's is the hash of its source
            name = spec.name if version == 1 else [spec.name, version]
            content = checkpoint_digest(checkpoint_path(spec, seed, folder))
            dense = digest([content, name, spec.args, normalisation])
        return {"dense": dense, "exclude": spec.exclude}

    plan = make_plan(study, registry, settings.precision, facts, model_identity)
    return Session(study, registry, settings, plan, facts)


def _stored_settings(folder: Path) -> str | None:
    if not (folder / DATABASE_FILE).exists():
        return None
    store = Store(folder / DATABASE_FILE)
    try:
        return store.meta("settings")
    finally:
        store.close()


def changed_plugins(stored: list[dict[str, Any]], study: Study) -> list[str]:
    """Say which plug-ins have another version than in an earlier run: their cells are new.

    Parameters
    ----------
    stored : list of dict
        Resolved studies of the store.
    study : Study
        The study as it is now.
    """
    axes = ("scorers", "searches", "allocations", "corrections", "recalibrations")
    before = {(axis, c["name"], str(c["version"])) for old in stored for axis in axes for c in old[axis]}
    names = {(axis, name) for axis, name, _ in before}
    return [
        f"{choice.name} has changed since an earlier run: its cells are new"
        for axis in axes
        for choice in getattr(study, axis)
        if (axis, choice.name) in names and (axis, choice.name, str(choice.version)) not in before
    ]
