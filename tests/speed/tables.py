"""Print the result of the speed measurement as text and tables."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

#: Descriptions of what is timed, by key of `measure`'s result `seconds`.
TIMED = {
    "forward": "bare forward passes of the unique masks",
    "engine": "this engine, rows written",
    "known": "the same with every evaluation known: scores, masks, rows",
    "scores": "of which passes of the scorers",
    "loop": "the loop in one process, float32",
    "process": "a process per cell: one cell",
    "imports": "of which until its imports are done",
    "search": "one fusion search",
    "candidates": "bare forward passes of its candidates",
}


def print_result(found: dict[str, Any], console: Console) -> None:
    """Print the result of `measure`: setting, agreement of the rows, seconds and goals."""
    for line in _lines(found):
        console.print(line)
    for title, rows in (("seconds", _second_rows(found)), ("goals", _goal_rows(found))):
        table = Table(*rows[0], title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        console.print(table)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Describe network, machine, settings and number of repetitions, and compare the rows of engine and loop."""
    machine, settings, grid, memory = found["machine"], found["settings"], found["grid"], found["memory_mib"]
    yield (
        f"{found['model']} on {found['on']}: {grid['cells']} cells, {grid['unique']} unique masks, "
        f"{grid['test_images']} test images; {found['repetitions']} repetitions, everything timed in turn"
    )
    yield (
        f"machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, device "
        f"{machine['device']}, torch {machine['packages']['torch']}; load average {machine['load']} at the end"
    )
    yield (
        f"engine: {settings['precision']}, {settings['memory_format']}, batch {settings['batch']}; "
        f"{settings['threads']} threads for everything"
    )
    for name, speed in settings["measured"].items():
        yield f"  calibration, {name}: {speed:g} images/s"
    for part, counters in found["counters"].items():
        yield f"counters, {part}: " + ", ".join(f"{name} {count}" for name, count in counters.items())
    yield "peak memory: " + ", ".join(f"{name} {value:g} MiB" for name, value in memory.items())
    agreement = found["agreement"]
    yield (
        f"accuracy of the loop and the engine: equal in {agreement['equal']} of {agreement['cells']} cells, largest "
        f"difference {agreement['largest_points']:.2f} points (one image is {agreement['image_points']:g}); "
        f"a process per cell and the loop: {agreement['processes_largest_points']:.2f}"
    )
    if agreement["largest_points"]:
        yield f"  from {_difference(settings['precision'])}"
    yield (
        f"a process per cell: {grid['processes']} cells of the grid are timed in every repetition, the other "
        f"{grid['cells'] - grid['processes']} are assumed to take their median"
    )


def _difference(precision: str) -> str:
    if precision != "float32":
        return f"the engine's {precision}; every run evaluates a sample again in float32 and reports the difference"
    return "rounding: batches and memory formats differ, and torch cuts ties at the threshold arbitrarily"


def _second_rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return median and range over the repetitions of everything that was timed, in seconds."""
    return [
        {"What": TIMED[name], "Median": f"{median(values):.3g}", "Range": _range(min(values), max(values))}
        for name, values in found["seconds"].items()
    ]


def _goal_rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """Return one row per goal; the median decides whether the goal is met."""
    return [
        {
            "Goal": goal["goal"], "What": goal["what"], "Median": f"{goal['median']:.3g}",
            "Range": _range(goal["low"], goal["high"]),
            "Limit": f"at most {goal['most']:g}" if goal["most"] is not None else f"at least {goal['least']:g}",
            "Met": "met" if goal["met"] else "missed",
        }
        for goal in found["goals"]
    ]  # fmt: skip


def _range(low: float, high: float) -> str:
    """Format a range, or one number if both limits round to the same text.

    Examples
    --------
    >>> _range(0.9, 1.1234), _range(6, 6)
    ('0.9 - 1.12', '6')
    """
    ends = f"{low:.3g}", f"{high:.3g}"
    return ends[0] if ends[0] == ends[1] else " - ".join(ends)
