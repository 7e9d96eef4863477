"""The averaged data of a mixed model: fixed columns, random terms and what was left out."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: From so many architectures on they are a random term; with fewer, a fixed effect.
RANDOM_ARCHITECTURES = 6

Values: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.integer[Any]]
Cell: TypeAlias = tuple[Hashable, ...]


@dataclass(frozen=True)
class Design:
    """The averaged data and the matrices of the model.

    `x` (N, p) holds the fixed part, `terms` its columns by term, where the empty term is the intercept; `grouping` the
    level of every row in each random term; `block` the coarsest of these, within which all correlation lies; `cell_x`
    (cells, p) a row for the mean of each cell.
    """

    y: Values
    architecture_term: Literal["fixed", "random", "factor", "none"]
    x: Values
    terms: dict[tuple[str, ...], slice]
    cells: tuple[Cell, ...]
    cell_x: Values
    block: Codes
    grouping: dict[str, Codes]
    dropped: dict[str, str]


def make_design(
    table: pd.DataFrame, fixed: tuple[str, ...], within: tuple[str, ...], value: str, architecture: str, model: str
) -> Design:
    """Average the data over the settings of a cell and model, and lay out fixed columns and random terms."""
    codes = {name: pd.factorize(table[name], sort=True) for name in dict.fromkeys([architecture, *fixed])}
    arch = codes[architecture][0]
    unit = table.groupby([architecture, model], sort=True, observed=True).ngroup().to_numpy()
    count = len(codes[architecture][1])
    term: Literal["fixed", "random", "factor", "none"] = "none"
    if architecture in fixed:
        term = "factor"
    elif count > 1:
        term = "fixed" if count < RANDOM_ARCHITECTURES else "random"

    levels = {name: list(codes[name][1]) for name in fixed}
    cells = tuple(itertools.product(*levels.values()))
    indices = np.array(list(np.ndindex(*map(len, levels.values()))), dtype=np.int64).reshape(len(cells), len(fixed))
    of_rows = {name: _sum_coding(codes[name][0], len(codes[name][1])) for name in codes}
    of_cells = {name: _sum_coding(indices[:, place], len(levels[name])) for place, name in enumerate(fixed)}
    parts, cell_parts, terms, start = [], [], {}, 0
    for subset in _subsets(fixed):
        parts.append(_product([of_rows[name] for name in subset], len(table)))
        cell_parts.append(_product([of_cells[name] for name in subset], len(cells)))
        terms[subset] = slice(start, start := start + parts[-1].shape[1])
    if term == "fixed":
        parts.append(of_rows[architecture])
        cell_parts.append(np.zeros((len(cells), count - 1)))  # the mean over architectures

    grouping, dropped = _random_terms(table, unit, within)
    if term == "random":
        grouping = {"architecture": arch} | grouping
    return Design(
        y=table[value].to_numpy(dtype=np.float64),
        architecture_term=term,
        x=np.concatenate(parts, axis=1),
        terms=terms,
        cells=cells,
        cell_x=np.concatenate(cell_parts, axis=1),
        block=arch if term == "random" else unit,
        grouping=grouping,
        dropped=dropped,
    )


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets, the empty one first."""
    return [subset for size in range(len(names) + 1) for subset in itertools.combinations(names, size)]


def _sum_coding(codes: Codes, levels: int) -> Values:
    """Columns of a factor that sum to zero over its levels, shape (rows, levels - 1)."""
    return np.concatenate([np.eye(levels)[:, :-1][:-1], -np.ones((1, levels - 1))])[codes]


def _product(columns: list[Values], rows: int) -> Values:
    """Columns of an interaction: all products of one column of each factor."""
    result = np.ones((rows, 1))
    for part in columns:
        result = (result[:, :, None] * part[:, None, :]).reshape(rows, -1)
    return result


def _random_terms(table: pd.DataFrame, unit: Codes, within: tuple[str, ...]) -> tuple[dict[str, Codes], dict[str, str]]:
    """Levels of every random term, numbered by first appearance, and why the other terms are left out."""
    kept: dict[str, Codes] = {}
    dropped: dict[str, str] = {}
    for subset in _subsets(within):
        name = ":".join(["model", *subset])
        groups = table.assign(_unit=unit).groupby(["_unit", *subset], observed=True).ngroup()
        codes = pd.factorize(groups)[0]
        same = [term for term, other in kept.items() if np.array_equal(codes, other)]
        if codes.max() + 1 == len(table):
            dropped[name] = "confounded with the residual"
        elif same:
            dropped[name] = f"the same groups as {same[0]}"
        else:
            kept[name] = codes
    return kept, dropped


def degrees_of_freedom(design: Design) -> int:
    """Independent blocks, less the columns that are constant within every one of them."""
    first = np.unique(design.block, return_index=True)[1]
    between = (design.x == design.x[first][design.block]).all(axis=0)
    return len(first) - int(between.sum())
