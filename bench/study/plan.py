"""Study -> the ordered groups and cells, with what is skipped or excluded and why."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, get_args

from bench.core.errors import UserError, suggest
from bench.core.identity import canonical_json, digest
from bench.core.registry import Registry
from bench.core.types import AXES, DENSE_AXES, GRID, NONE, PLUGIN_AXES, CalibrationSpec, Cell, Choice, DataFacts, Group
from bench.store.schema import SCHEMA_VERSION
from bench.study.spec import Exclusion, ModelSpec, Study

#: The largest study that is planned in about a minute: its cells, and what the axes inside a group span.
MOST_CELLS, MOST_POINTS = 2_000_000, 20_000_000
#: A scorer without features has this search; it is no point of the study's search axis.
NO_SEARCH = "none"
MASK, EVALUATION = ([axis for axis in GRID if axis.stage == stage] for stage in ("mask", "evaluation"))
#: Column -> field of `Cell`, and the attribute of that field.
_COLUMNS = [(axis.name, axis.field, axis.attribute) for axis in AXES]


@dataclass(frozen=True)
class Plan:
    """All cells of a study, grouped by dense model, in the order in which they run.

    Attributes
    ----------
    groups : tuple of Group
        Every planned cell, also those that are skipped (`skip` is the reason).
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
    _check_size(study)
    _check_exclusions(study, registry)
    excluded = {exclusion.name: 0 for exclusion in study.file.exclude}
    groups: list[Group] = []
    position = 0
    seen: dict[str, Cell] = {}

    @cache
    def inside(draws: tuple[CalibrationSpec, ...], bits: int) -> _Inside:
        return _lay_out(study, registry, precision, draws, bits)

    for data in study.file.data:
        facts = data_facts[data.title]
        draws = study.calibration_specs(facts.calibration_images, facts.calibration_batch)
        if (most := max(draw.images for draw in draws)) > facts.calibration:
            raise UserError(
                f"{study.folder}: calibration.images asks for {most} images of the {facts.calibration} of the "
                f"calibration split of {data.title}; lower it, or raise the data set's 'calibration'"
            )
        for model in study.file.models:
            source = study.seed_source if model.checkpoint is not None else None
            for written, seed in study.train_seeds(model):
                group = group_id(facts.hash, model_identity(model, seed, facts), seed, source)
                bits = _matching(study.file.exclude, dataset=data.title, model=model.title, train_seed=written)
                laid_out = inside(draws, bits)
                if position + len(laid_out.points) > MOST_CELLS:
                    raise UserError(
                        f"{study.folder}: has more than {MOST_CELLS:,} cells; divide it into several studies"
                    )
                for name, count in laid_out.excluded.items():
                    excluded[name] += count
                cells = []
                for values, (before, after) in zip(laid_out.points, laid_out.identities, strict=True):
                    cell_id = hashlib.sha256(f'{before},"group":"{group}",{after}'.encode()).hexdigest()
                    cell = Cell(
                        id=cell_id, group=group, position=position, dataset=data.title, model=model.title,
                        train_seed=seed, precision=precision, **values,
                    )  # fmt: skip
                    if cell_id in seen:
                        raise UserError(
                            f"{study.folder}: duplicate cells: {_describe(seen[cell_id])} and {_describe(cell)} are "
                            f"the same computation under two names; remove one"
                        )
                    seen[cell_id] = cell
                    cells.append(cell)
                    position += 1
                groups.append(Group(group, data.title, model.title, seed, tuple(cells), source))
    if position == 0:
        raise UserError(f"{study.folder}: every cell is excluded; nothing is left to run")
    return Plan(study, tuple(groups), excluded)


def group_id(dataset_hash: str, model: Mapping[str, Any], train_seed: int | None, source: str | None = None) -> str:
    """Identity of the cells that share a dense model: data set, model (`model_identity`), train seed, `Group.source`.

    Examples
    --------
    >>> group_id("data", {}, 0) == group_id("data", {}, 0, None) != group_id("data", {}, 0, "registration")
    True
    """
    identity = {"dataset": dataset_hash, "model": model, "train_seed": train_seed}
    return digest(identity if source is None else {**identity, "source": source})


@dataclass(frozen=True)
class _Inside:
    """What all groups have in common that the same exclusions meet.

    Attributes
    ----------
    points : list of dict
        The axis values of each cell.
    precision : str
        Of the evaluation.
    excluded : mapping
        Name of each exclusion -> number of cells that it leaves out.
    """

    points: list[dict[str, Any]]
    precision: str
    excluded: Mapping[str, int]

    @cached_property
    def identities(self) -> list[tuple[str, str]]:
        """Canonical JSON of each cell's identity, whose keys are sorted, before and after its group."""
        shared = {"precision": self.precision, "schema": SCHEMA_VERSION}
        names = sorted({"calibration", *shared, *(axis.name for axis in GRID)})
        known: dict[tuple[str, int], str] = {}  # cells share the objects that are their values

        def parts(values: Mapping[str, Any], names: list[str]) -> str:
            found = []
            for name in names:
                value = values[name] if name in values else shared[name]
                key = name, id(value)
                if key not in known:
                    known[key] = _identity_part(name, value)
                found.append(known[key])
            return ",".join(filter(None, found))

        before, after = ([n for n in names if n < "group"], [n for n in names if n > "group"])
        return [(f"{{{parts(values, before)}", f"{parts(values, after)}}}") for values in self.points]


def _identity_part(name: str, value: Any) -> str:
    """Return one key of a cell's identity and its value as canonical JSON; empty where it is omitted."""
    if any(axis.name == name and axis.is_omitted(value) for axis in GRID):
        return ""
    if isinstance(value, Choice):
        value = value.identity()
    return canonical_json({name: vars(value) if isinstance(value, CalibrationSpec) else value})[1:-1]


def _lay_out(
    study: Study, registry: Registry, precision: str, draws: tuple[CalibrationSpec, ...], bits: int
) -> _Inside:
    """Lay out the axes inside one group: dense rows first, then scorer by scorer.

    A grid may be a hundred times as large as what its exclusions leave of it. So exclusions are compared with
    the values of each axis, and a point of the grid costs the intersection of their bits.
    """
    exclude = study.file.exclude
    dense = {axis.name: axis.on_dense for axis in GRID}
    of_dense = sum(1 << i for i, exclusion in enumerate(exclude) if set(exclusion.where) <= DENSE_AXES)
    varying = _combinations(
        exclude, {axis.name: study.values[axis.name] for axis in EVALUATION if axis.varies_on_dense}
    )
    repairs = _combinations(exclude, {axis.name: study.values[axis.name] for axis in EVALUATION})
    sparsities = _combinations(exclude, {"sparsity": study.values["sparsity"]})
    unset = _combinations(exclude, {"sparsity": (None,)})
    points: list[dict[str, Any]] = []
    lowest: Counter[int] = Counter()
    written = {drawn: number for number, drawn in study.draws()}
    for draw in draws:
        sizes = {"calibration_images": draw.images, "calibration_batch": draw.batch}
        drawn = bits & _matching(exclude, calibration_draw=written[draw.draw], **sizes)
        for values, matched in varying:
            if matching := drawn & of_dense & matched:
                lowest[matching & -matching] += 1
            else:
                points.append({"calibration": draw, "skip": None, **dense, **values})
        for mask in _masks(study, registry):
            outer = drawn & _matching(exclude, **mask)
            sets_sparsity = registry.get("allocation", mask["allocation"].name).sets_sparsity
            common = {"calibration": draw, "skip": _skip(registry, mask), **mask}
            for sparsity, s in unset if sets_sparsity else sparsities:
                for repair, r in repairs:
                    if matching := outer & s & r:
                        lowest[matching & -matching] += 1
                    else:
                        points.append({**common, **sparsity, **repair})
    excluded = {exclusion.name: lowest[1 << i] for i, exclusion in enumerate(exclude)}
    return _Inside(points, precision, excluded)


def _combinations(
    exclude: tuple[Exclusion, ...], axes: Mapping[str, Iterable[Any]]
) -> list[tuple[dict[str, Any], int]]:
    """Combine the values of some axes, the last one fastest, each with the exclusions that match it (`_matching`)."""
    combined = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    return [(values, _matching(exclude, **values)) for values in combined]


def _masks(study: Study, registry: Registry) -> Iterator[dict[str, Any]]:
    """Combine the values of the axes that change a mask, without the sparsity."""
    pairs = [{"scorer": scorer, "search": search} for scorer, search in _searched_scorers(study, registry)]
    others = {
        axis.name: [{axis.name: value} for value in study.values[axis.name]]
        for axis in MASK
        if axis.name not in ("scorer", "search", "sparsity")
    }
    for parts in itertools.product(others.pop("granularity"), pairs, *others.values()):
        yield {name: value for part in parts for name, value in part.items()}


def _searched_scorers(study: Study, registry: Registry) -> Iterator[tuple[Choice, Choice]]:
    """Pair a scorer of several features with every search of the study, any other with none."""
    searches = [search for search in study.values["search"] if search.name != NO_SEARCH]
    for scorer in study.values["scorer"]:
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


def _skip(registry: Registry, mask: Mapping[str, Any]) -> str | None:
    granularity, scorer, allocation = mask["granularity"], mask["scorer"], mask["allocation"]
    takes, sets = registry.get("scorer", scorer.name), registry.get("allocation", allocation.name)
    if takes.takes_sparsity and sets.sets_sparsity:
        return f"scorer {scorer.name} needs a target sparsity, which allocation {allocation.name} sets by itself"
    for kind, choice in (("scorer", scorer), ("allocation", allocation)):
        defined = registry.get(kind, choice.name).granularities
        if granularity not in defined:
            return f"{kind} {choice.name} is defined for granularity {' and '.join(defined)} only"
    return None


def axis_values(cell: Cell) -> dict[str, Any]:
    """Return the cell's axes as the columns of `schema.AXES`, without position."""
    known = vars(cell)
    columns = {"cell": cell.id, "group": cell.group, "precision": cell.precision}
    for name, field, attribute in _COLUMNS:
        value = known[field]
        columns[name] = value if attribute is None or value is None else getattr(value, attribute)
    return columns


def cells_asked_for(plan: Plan, only: Mapping[str, str]) -> frozenset[str]:
    """Ids of the cells that have all the axis values of `only`; numbers are compared as numbers.

    Parameters
    ----------
    plan : Plan
        The cells.
    only : mapping
        Column of `schema.AXES` -> value as it is typed: ``{"sparsity": "0.50"}``.

    Raises
    ------
    UserError
        If no cell has one of the values (the nearest is named), or all of them together.
    """
    axes = [axis_values(cell) for cell in plan.cells()]
    for key, requested in only.items():
        known = {values[key] for values in axes} - {None}
        if not any(_is_meant(value, requested) for value in known):
            hint = "" if key in ("cell", "group") else f": {_nearest(requested, known)}"
            raise UserError(f"--only {key}={requested}: no cell of the plan has that{hint}")
    found = frozenset(v["cell"] for v in axes if all(_is_meant(v[key], requested) for key, requested in only.items()))
    if not found:
        requested = " ".join(f"{key}={value}" for key, value in only.items())
        raise UserError(f"--only {requested}: no cell of the plan has all of these")
    return found


def _is_meant(value: Any, requested: str) -> bool:
    return str(value) == requested or (isinstance(value, int | float) and _number(requested) == value)


def _nearest(requested: str, known: set[Any]) -> str:
    number = _number(requested)
    if number is None or not all(isinstance(value, int | float) for value in known):
        return suggest(requested, map(str, known))
    return f"the nearest is {min(known, key=lambda value: abs(value - number))}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _describe(cell: Cell) -> str:
    draw = f"{cell.calibration.images} images, draw {cell.calibration.draw}"
    return f"{cell.dataset} / {cell.model} / {cell.scorer.label} ({draw})"


def _matching(exclusions: tuple[Exclusion, ...], **axes: Any) -> int:
    """Return the exclusions, one bit each, that match these axis values or do not name these axes."""
    bits = 0
    for i, exclusion in enumerate(exclusions):
        named = axes.keys() & exclusion.where.keys()
        if all(_matches(_names(axes[axis]), exclusion.where[axis]) for axis in named):
            bits |= 1 << i
    return bits


def _names(value: Any) -> tuple[Any, ...]:
    return (value.name, value.label) if isinstance(value, Choice) else (value,)


def _matches(names: tuple[Any, ...], wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return not _matches(names, wanted["not"])
    return any(name in (wanted if isinstance(wanted, (list, tuple)) else (wanted,)) for name in names)


def _check_size(study: Study) -> None:
    """Refuse what would be laid out for hours: the product of the axes inside a group, before exclusions."""
    draws = study.file.calibration
    lengths = {axis.name: len(study.values[axis.name]) for axis in GRID}
    of_dense = math.prod(length for name, length in lengths.items() if name in DENSE_AXES)
    points = draws.draws * len(draws.images or (0,)) * len(draws.batch or (0,)) * of_dense
    points *= 1 + math.prod(length for name, length in lengths.items() if name not in DENSE_AXES)
    if points > MOST_POINTS:
        raise UserError(
            f"{study.folder}: its axes span {points:,} points for one dense model, {MOST_POINTS:,} at most; "
            f"divide it into several studies"
        )


def _check_exclusions(study: Study, registry: Registry) -> None:
    """Refuse an exclusion that can never match: a mistyped name would silently run what was to be left out."""
    file = study.file
    known: dict[str, set[Any]] = {"dataset": {d.title for d in file.data}, "model": {m.title for m in file.models}}
    known |= {axis.name: set(get_args(axis.type)) for axis in GRID if get_args(axis.type)}
    for axis in PLUGIN_AXES:
        choices = study.values[axis.name]
        names = registry.names(axis.name)
        known[axis.name] = {*names, *(choice.name for choice in choices), *(choice.label for choice in choices)}
    for exclusion in file.exclude:
        for name, wanted in exclusion.where.items():
            if isinstance(wanted, Mapping) and set(wanted) != {"not"}:
                raise UserError(f"exclusion {exclusion.name!r}: {name}: only 'not' is known, not {list(wanted)}")
            values = wanted["not"] if isinstance(wanted, Mapping) else wanted
            for value in values if isinstance(values, (list, tuple)) else (values,):
                if isinstance(value, (Mapping, list, tuple)):
                    form = "expected a name, a number, a list of these, or {not: ...}"
                    raise UserError(f"exclusion {exclusion.name!r}: {name}: {value!r}: {form}")
                if name in known and value not in known[name]:
                    raise UserError(f"exclusion {exclusion.name!r}: no {name} {value!r}: {suggest(value, known[name])}")
