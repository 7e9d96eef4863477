"""Study -> the ordered groups and cells, with what is skipped or excluded and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.errors import UserError, suggest
from bench.identity import digest
from bench.registry import Registry
from bench.store.schema import SCHEMA_VERSION
from bench.study import Exclusion, ModelSpec, Study
from bench.types import CalibrationSpec, Cell, Choice, DataFacts, Group

DENSE = Choice("dense", label="dense")
NONE = Choice("none", label="none")
#: A scorer without features has this search; it is no point of the study's search axis.
NO_SEARCH = "none"
DENSE_AXES = frozenset({"dataset", "model", "train_seed", "calibration_draw", "recalibration"})


@dataclass(frozen=True)
class Plan:
    """All cells of a study, grouped by dense model, in the order in which they run.

    Attributes
    ----------
    groups : tuple of Group
        Every planned cell, also those that are skipped (their `skip` says why).
    excluded : mapping
        Name of each exclusion -> number of cells that it leaves out.
    """

    study: Study
    groups: tuple[Group, ...]
    excluded: Mapping[str, int]

    def cells(self) -> Iterator[Cell]:
        """Iterate over all cells in plan order."""
        return itertools.chain.from_iterable(group.cells for group in self.groups)


def make_plan(
    study: Study,
    registry: Registry,
    precision: str,
    data_facts: Mapping[str, DataFacts],
    model_identity: Callable[[ModelSpec, int | None, DataFacts], Mapping[str, Any]],
) -> Plan:
    """Lay out the grid of a study.

    Parameters
    ----------
    study : Study
        The resolved study.
    registry : Registry
        Knows where each plug-in is defined.
    precision : str
        Precision of the evaluation; part of each cell's identity.
    data_facts : mapping
        Data set label -> what is known of it.
    model_identity : callable
        ``(model, train seed, data facts)`` -> content identity of the dense model.

    Raises
    ------
    UserError
        If an exclusion names a value that no axis has, or nothing is left to run.
    """
    _check_exclusions(study, registry)
    excluded = {exclusion.name: 0 for exclusion in study.file.exclude}
    groups: list[Group] = []
    position = 0
    seen: dict[str, Cell] = {}
    for data in study.file.data:
        facts = data_facts[data.title]
        draws = study.calibration_specs(facts.calibration_images, facts.calibration_batch)
        for model in study.file.models:
            for seed in study.file.train_seeds if model.seeded else (None,):
                identity = {
                    "dataset": facts.hash,
                    "model": model_identity(model, seed, facts),
                    "train_seed": seed,
                }
                group_id = digest(identity)
                cells = []
                for values in _grid(study, registry, draws):
                    cell = Cell(
                        id="", group=group_id, position=0, dataset=data.title, model=model.title,
                        train_seed=seed, precision=precision, **values,
                    )  # fmt: skip
                    exclusion = _excluded_by(study.file.exclude, cell)
                    if exclusion is not None:
                        excluded[exclusion] += 1
                        continue
                    cell = replace(cell, id=_cell_id(group_id, cell), position=position)
                    if cell.id in seen:
                        raise UserError(
                            f"{study.folder}: duplicate cells: {_describe(seen[cell.id])} and {_describe(cell)} are "
                            f"the same computation under two names; remove one"
                        )
                    seen[cell.id] = cell
                    cells.append(cell)
                    position += 1
                groups.append(Group(group_id, data.title, model.title, seed, tuple(cells)))
    if position == 0:
        raise UserError(f"{study.folder}: every cell is excluded; nothing is left to run")
    return Plan(study, tuple(groups), excluded)


def _grid(study: Study, registry: Registry, draws: tuple[CalibrationSpec, ...]) -> Iterator[dict[str, Any]]:
    """Yield the axis values inside one group: dense rows first, then scorer by scorer."""
    for draw in draws:
        for recalibration in study.recalibrations:
            yield {
                "calibration": draw, "scorer": DENSE, "search": NONE, "granularity": None, "allocation": None,
                "sparsity": 0.0, "correction": NONE, "recalibration": recalibration, "skip": None,
            }  # fmt: skip
        for granularity, (scorer, search), allocation in itertools.product(
            study.file.granularities, _searched_scorers(study, registry), study.allocations
        ):
            sets_sparsity = registry.get("allocation", allocation.name).sets_sparsity
            skip = _skip(registry, granularity, scorer, allocation)
            for sparsity, correction, recalibration in itertools.product(
                (None,) if sets_sparsity else study.file.sparsities, study.corrections, study.recalibrations
            ):
                yield {
                    "calibration": draw, "scorer": scorer, "search": search, "granularity": granularity,
                    "allocation": allocation, "sparsity": sparsity, "correction": correction,
                    "recalibration": recalibration, "skip": skip,
                }  # fmt: skip


def _searched_scorers(study: Study, registry: Registry) -> Iterator[tuple[Choice, Choice]]:
    """Pair a scorer of several features with every search of the study, any other with none."""
    searches = [search for search in study.searches if search.name != NO_SEARCH]
    for scorer in study.scorers:
        if not registry.get("scorer", scorer.name).fuses_features:
            yield scorer, NONE
        elif searches:
            yield from ((scorer, search) for search in searches)
        else:
            names = ", ".join(name for name in registry.names("search") if name != NO_SEARCH)
            raise UserError(
                f"{study.folder}: scorer {scorer.name!r} fuses several features and needs a search for their weights: "
                f"add `searches: [equal]`; valid: {names}"
            )


def _skip(registry: Registry, granularity: str, scorer: Choice, allocation: Choice) -> str | None:
    takes, sets = registry.get("scorer", scorer.name), registry.get("allocation", allocation.name)
    if takes.takes_sparsity and sets.sets_sparsity:
        return f"scorer {scorer.name} needs a target sparsity, which allocation {allocation.name} sets by itself"
    for kind, choice in (("scorer", scorer), ("allocation", allocation)):
        defined = registry.get(kind, choice.name).granularities
        if granularity not in defined:
            return f"{kind} {choice.name} is defined for granularity {' and '.join(defined)} only"
    return None


def _cell_id(group: str, cell: Cell) -> str:
    return digest({
        "schema": SCHEMA_VERSION,
        "group": group,
        "calibration": asdict(cell.calibration),
        "scorer": cell.scorer.identity(),
        "search": cell.search.identity(),
        "granularity": cell.granularity,
        "allocation": cell.allocation.identity() if cell.allocation else None,
        "sparsity": cell.sparsity,
        "correction": cell.correction.identity(),
        "recalibration": cell.recalibration.identity(),
        "precision": cell.precision,
    })  # fmt: skip


def axis_values(cell: Cell) -> dict[str, Any]:
    """Return the cell's axes as the columns of `schema.AXES`, without position."""
    return {
        "cell": cell.id, "group": cell.group, "dataset": cell.dataset, "model": cell.model,
        "train_seed": cell.train_seed, "calibration_draw": cell.calibration.draw,
        "calibration_images": cell.calibration.images, "calibration_batch": cell.calibration.batch,
        "scorer": cell.scorer.label, "search": cell.search.label, "granularity": cell.granularity,
        "allocation": cell.allocation.label if cell.allocation else None, "sparsity": cell.sparsity,
        "correction": cell.correction.label, "recalibration": cell.recalibration.label, "precision": cell.precision,
    }  # fmt: skip


def _describe(cell: Cell) -> str:
    draw = f"{cell.calibration.images} images, draw {cell.calibration.draw}"
    return f"{cell.dataset} / {cell.model} / {cell.scorer.label} ({draw})"


def _names(cell: Cell, axis: str) -> tuple[Any, ...]:
    drawn = axis.startswith("calibration_")
    value = getattr(cell.calibration, axis.removeprefix("calibration_")) if drawn else getattr(cell, axis)
    return (value.name, value.label) if isinstance(value, Choice) else (value,)


def _excluded_by(exclusions: tuple[Exclusion, ...], cell: Cell) -> str | None:
    """Name of the first exclusion that matches; a dense row has only the axes of `DENSE_AXES`."""
    for exclusion in exclusions:
        if cell.is_dense and not set(exclusion.where) <= DENSE_AXES:
            continue
        if all(_matches(_names(cell, axis), wanted) for axis, wanted in exclusion.where.items()):
            return exclusion.name
    return None


def _matches(names: tuple[Any, ...], wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return not _matches(names, wanted["not"])
    return any(name in (wanted if isinstance(wanted, (list, tuple)) else (wanted,)) for name in names)


def _check_exclusions(study: Study, registry: Registry) -> None:
    """Refuse an exclusion that can never match: a mistyped name would silently run what was to be left out."""
    file = study.file
    known: dict[str, set[Any]] = {
        "dataset": {d.title for d in file.data}, "model": {m.title for m in file.models},
        "granularity": {"weight", "channel"},
    }  # fmt: skip
    for axis in ("scorer", "search", "allocation", "correction", "recalibration"):
        choices = getattr(study, f"{axis}es" if axis == "search" else f"{axis}s")
        known[axis] = {*registry.names(axis), *(c.name for c in choices), *(c.label for c in choices)}
    for exclusion in file.exclude:
        for axis, wanted in exclusion.where.items():
            if isinstance(wanted, Mapping) and set(wanted) != {"not"}:
                raise UserError(f"exclusion {exclusion.name!r}: {axis}: only 'not' is known, not {sorted(wanted)}")
            values = wanted["not"] if isinstance(wanted, Mapping) else wanted
            for value in values if isinstance(values, (list, tuple)) else (values,):
                if axis in known and value not in known[axis]:
                    raise UserError(f"exclusion {exclusion.name!r}: no {axis} {value!r}: {suggest(value, known[axis])}")
