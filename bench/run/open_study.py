"""A study folder, opened: its resolved study, plug-ins, settings and plan, as every command needs them.

opened = open_study(folder)
cells = list(opened.plan.cells())
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from bench.core.errors import UserError
from bench.core.identity import digest
from bench.core.registry import Registry
from bench.core.types import PLUGIN_AXES, Cell, DataFacts, Settings
from bench.data.load import data_facts
from bench.models.build import build_model, check_model_name, version_of
from bench.models.check import check_network
from bench.models.dense import model_identity
from bench.models.given import resolve_models
from bench.plugins.catalogue import make_registry
from bench.run.settings import keep_settings
from bench.store.cell import pick_cell
from bench.store.database import Store, fix_places, open_store
from bench.store.files import resolve_artifacts
from bench.store.network import Network
from bench.store.places import Places, refuse_links
from bench.store.registration import Design, Record, portable
from bench.store.schema import SCHEMA_VERSION
from bench.store.tables import NothingRun
from bench.study.load import load_study
from bench.study.plan import Plan, make_plan
from bench.study.registration import read_record
from bench.study.spec import STUDY_FILE, ModelSpec, Study

#: Cache of the facts about networks, below the home folder of the user.
NETWORKS = Path(".cache", "prunebench", "networks")


@dataclass(frozen=True)
class OpenStudy:
    """A study with everything resolved, before anything is computed.

    Attributes
    ----------
    study : Study
        Content of study.yaml, with the chosen profile.
    registry : Registry
        Plug-ins of prunebench and of the study folder.
    settings : Settings
        Execution settings: those of the first run, or those that it would store.
    plan : Plan
        Cells of the study.
    facts : mapping of str to DataFacts
        Label of a data set -> its sizes and content hash.
    networks : mapping of (str, str) to Network
        (label of a data set, label of a model) -> layers, parameters and operations of the network, which has passed
        `check_network`.
    notes : tuple of str
        Remarks for the user on data sets, networks and given checkpoints, one line each.
    record : Record or None
        The registration that the seeds follow from; None if the study is not registered, or with another profile.
    given : tuple of str
        Content hashes of the given checkpoints.
    replan : callable
        Lays out the plan of a study with other seeds.
    """

    study: Study
    registry: Registry
    settings: Settings
    plan: Plan
    facts: Mapping[str, DataFacts]
    networks: Mapping[tuple[str, str], Network]
    notes: tuple[str, ...] = ()
    record: Record | None = None
    given: tuple[str, ...] = ()
    replan: Callable[[Study], Plan] | None = None

    @cached_property
    def design(self) -> Design:
        """What a registration of the study freezes; its plan is the one with the seeds of study.yaml."""
        study = self.study
        plan = self.plan
        if study.seed_source is not None and self.replan is not None:
            plan = self.replan(replace(study, seed_source=None))
        ids = [cell.id for cell in plan.cells()]
        versions = {spec.name: version_of(spec, self.registry) for spec in study.file.models}
        return Design(
            study=portable(study.resolved()), plan=digest(ids), cells=len(ids),
            data=tuple(self.facts[spec.title].hash for spec in study.file.data), checkpoints=self.given,
            code={portable(name): found for name, found in versions.items() if isinstance(found, str)},
            settings={name: getattr(self.settings, name) for name in ("precision", "memory_format", "device")},
        )  # fmt: skip

    def find_cell(self, name: str) -> Cell:
        """Return the cell with a position in the plan, or whose id begins with `name`."""
        cells = list(self.plan.cells())
        return cells[pick_cell(name, [cell.id for cell in cells])]


def open_study(
    folder: Path,
    profile: str | None = None,
    device: str = "auto",
    places: Places | None = None,
    settings: Settings | None = None,
) -> OpenStudy:
    """Read a study and lay out its plan.

    Parameters
    ----------
    folder : Path
        Study folder.
    profile : str, optional
        One of its profiles.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    places : Places, optional
        Where a first run stores rows and artifacts; written to the folder.
    settings : Settings, optional
        Execution settings to use; default those of the first run, or those that it would choose on `device`.

    Raises
    ------
    UserError
        If anything in the study, its data or its checkpoints cannot be used.
    """
    registry = make_registry(folder)
    study = load_study(folder, registry, profile)
    record = read_record(folder)
    if record is not None and record.registration.profile == profile:
        study = replace(study, seed_source=record.seed_source)
    else:
        record = None
    for model in study.file.models:
        check_model_name(model.name, registry)
    facts = {spec.title: data_facts(spec, folder) for spec in study.file.data}
    networks = {
        (data.title, model.title): check_network(
            model, registry, facts[data.title], Path.home() / NETWORKS, study.values["granularity"]
        )
        for data in study.file.data
        for model in study.file.models
    }
    _refuse_nothing_to_prune(study, networks)
    given = resolve_models(study, registry, facts)
    study = given.study
    if places is not None:
        refuse_links(folder)
        if places.artifacts is not None:
            places = replace(places, artifacts=resolve_artifacts(folder, places.artifacts))
        fix_places(folder, places, study.file.name, study.digest())
    widest = widest_data(facts)

    def largest() -> tuple[nn.Module, int]:
        return largest_model(study, registry, widest), widest.in_chans

    used = settings or keep_settings(
        _stored_settings(folder), study.file.execution, device, max(widest.image_size), largest,
        str(folder / STUDY_FILE),
    )  # fmt: skip

    def identity(spec: ModelSpec, seed: int | None, data: DataFacts) -> Mapping[str, Any]:
        return model_identity(spec, seed, data.hash, registry, folder, given.digests.__getitem__, used.memory_format)

    def lay_out(study: Study) -> Plan:
        return make_plan(study, registry, used.precision, facts, identity)

    plan = lay_out(study)
    notes = (
        *(f"{title}: {note}" for title, known in facts.items() for note in known.notes),
        *(
            f"{title}: {warning}"
            for (_, title), network in networks.items()
            for warning in network.warnings(study.values["granularity"])
        ),
        *given.notes,
    )
    given_hashes = tuple(given.digests.values())
    return OpenStudy(study, registry, used, plan, facts, networks, notes, record, given_hashes, lay_out)


def _refuse_nothing_to_prune(study: Study, networks: Mapping[tuple[str, str], Network]) -> None:
    for (_, title), network in networks.items():
        granularities = study.values["granularity"]
        if not any(network.has_units(granularity) for granularity in granularities):
            raise UserError(
                f"model {title!r}: has nothing to prune at granularity {' or '.join(granularities)}: "
                f"{network.summary(granularities[0])}; choose another model or granularity"
            )


def widest_data(facts: Mapping[str, DataFacts]) -> DataFacts:
    """Return the data set with the largest images."""
    return max(facts.values(), key=lambda known: max(known.image_size))


def largest_model(study: Study, registry: Registry, data: DataFacts) -> nn.Module:
    """Build all models of a study for a data set and return the one with the most parameters."""
    models = [build_model(spec, registry, data, seed=0) for spec in study.file.models]
    return max(models, key=lambda model: sum(p.numel() for p in model.parameters()))


def _stored_settings(folder: Path) -> str | None:
    try:
        with closing(open_store(folder)) as store:
            return store.meta("settings")
    except NothingRun:
        return None


def changed_inputs(store: Store, opened: OpenStudy) -> list[str]:
    """Return which inputs of a study differ from those of the earlier runs in its store; their cells are new.

    Parameters
    ----------
    store : Store
        Of the study.
    opened : OpenStudy
        The study as it is now.

    Returns
    -------
    list of str
        One line per plug-in with another version, and per model whose dense model would differ. For a store of an older
        schema, the reason why the study cannot be run there.
    """
    if store.schema != SCHEMA_VERSION:
        return [store.outdated(store.schema)]
    return changes_since(store.studies(), store.dense_models(), opened)


def changes_since(
    studies: Sequence[Mapping[str, Any]], dense: Sequence[Mapping[str, Any]], opened: OpenStudy
) -> list[str]:
    """Return which plug-ins and dense models of a study differ from those of earlier runs, one line each.

    Parameters
    ----------
    studies : sequence of mapping
        Resolved studies of the runs (`Study.resolved`).
    dense : sequence of mapping
        Their dense models: the columns of `schema.DENSE`.
    opened : OpenStudy
        The study as it is now.
    """
    return [*_changed_plugins(studies, opened.study), *_changed_models(dense, opened)]


def _changed_plugins(stored: Sequence[Mapping[str, Any]], study: Study) -> list[str]:
    before = {
        (axis.name, choice["name"], str(choice["version"]))
        for old in stored
        for axis in PLUGIN_AXES
        for choice in old.get(axis.key, ())
    }
    names = {(axis, name) for axis, name, _ in before}
    return [
        f"{choice.name} has changed since an earlier run: its cells are new"
        for axis in PLUGIN_AXES
        for choice in study.values[axis.name]
        if (axis.name, choice.name) in names and (axis.name, choice.name, str(choice.version)) not in before
    ]


def _changed_models(stored: Sequence[Mapping[str, Any]], opened: OpenStudy) -> list[str]:
    plan = {(g.dataset, g.model, g.train_seed): g.id for g in opened.plan.groups}
    kept = {row["group"] for row in stored}
    lines = {}
    for row in stored:
        dataset, model = row["dataset"], row["model"]
        if plan.get((dataset, model, row["train_seed"]), row["group"]) in kept:
            continue  # removed from the study, or unchanged
        changed = _changed_input(row, opened)
        lines[dataset, model] = f"{dataset}, {model}: {changed} changed since an earlier run: its cells are new"
    return list(lines.values())


def _changed_input(row: Mapping[str, Any], opened: OpenStudy) -> str:
    """Return which input of a stored dense model differs from the study; version 0.1 trained in contiguous format."""
    if row["dataset_hash"] != opened.facts[row["dataset"]].hash:
        return "its images"
    recipe = json.loads(row["recipe"])
    if "checkpoint" not in recipe and recipe.get("memory_format", "contiguous") != opened.settings.memory_format:
        return "the memory format of its training"
    return "its recipe, code or checkpoint"
