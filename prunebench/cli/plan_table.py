"""Tables of what the parts of claims can decide, for ``plan`` and ``power``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from prunebench.cli.output import TABLE_WIDTH

if TYPE_CHECKING:
    from analysis.claims.planning import PartPlan, PowerAt

NONE = "-"


def print_part_plans(plans: Sequence[PartPlan], power: float, out: Console) -> None:
    """Print cells, arms, margin, test, power and models needed of every part, then the parts that are not testable."""
    looks = any(plan.expected is not None for plan in plans)
    rows = [
        [
            plan.claim, plan.part, plan.role, str(plan.cells), _questions(plan), plan.arms or NONE,
            _number(plan.margin), plan.test, _effect(plan), str(plan.planned.models), _power(plan.planned),
            _needed(plan), _least(plan.planned, plan.unit), *([_expected(plan)] if looks else []),
        ]
        for plan in plans if plan.testable
    ]  # fmt: skip
    _print(
        ("Claim", "Part", "Role", "Cells", "Settings", "Arms", "Margin (points)", "Test", "Planned effect", "Models",
         "Power", "Models needed", "Least decidable", *(["Expected models, two looks"] if looks else [])),
        rows, "What the claims can decide", out,
    )  # fmt: skip
    _print_notes(plans, power, out)


def print_power(plans: Sequence[PartPlan], power: float, out: Console) -> None:
    """Print power and the least decidable effect or margin of every part for several numbers of models."""
    counts = [at.models for at in plans[0].others] if plans else []
    rows = [
        (
            plan.claim, plan.part, _questions(plan), _number(plan.margin), plan.test, _effect(plan),
            *(_both(at, plan.unit) for at in plan.others), _needed(plan),
        )
        for plan in plans if plan.testable and plan.kind != "identity"
    ]  # fmt: skip
    heads = [f"{n} models" for n in counts]
    _print(
        ("Claim", "Part", "Settings", "Margin (points)", "Test", "Planned effect", *heads, "Models needed"), rows,
        "Power at the planned effect; least decidable effect or margin", out,
    )  # fmt: skip
    _print_notes(plans, power, out)


def _print(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str, out: Console) -> None:
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    if table.row_count:
        wide = Console(highlight=False, markup=False, emoji=False, width=max(out.width, TABLE_WIDTH))
        wide.print(table)


def _print_notes(plans: Sequence[PartPlan], power: float, out: Console) -> None:
    """Print why power or test is missing, once for all parts with the same reason, and how to read the columns."""
    reasons: dict[tuple[bool, str], list[str]] = {}
    for plan in plans:
        if plan.reason:
            reasons.setdefault((plan.testable, plan.reason), []).append(f"{plan.claim} {plan.part}")
    for (testable, reason), names in reasons.items():
        out.print(f"{'no power' if testable else 'not testable'}: {', '.join(names)}: {reason}", style="dim")
    if plans:
        out.print(
            f"Models needed: per architecture, for {100 * power:.0f} % power at the planned effect. Least decidable: "
            f"with that power, the least effect over the margin (superiority), or the least margin (other kinds).",
            style="dim",
        )  # fmt: skip
    decidable = [plan for plan in plans if plan.testable and plan.planned.least is not None]
    if decidable and all(plan.unit == "sd" for plan in decidable):
        out.print(
            "The spread over models is not known, so effects are in standard deviations (sd) of the differences; "
            "--pilot FOLDER or --sd POINTS gives them in points.", style="dim",
        )  # fmt: skip


def _questions(plan: PartPlan) -> str:
    return NONE if plan.questions is None else str(plan.questions)


def _expected(plan: PartPlan) -> str:
    return NONE if plan.expected is None else f"{plan.expected:.1f}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:g}"


def _effect(plan: PartPlan) -> str:
    return NONE if plan.effect is None else f"{plan.effect:.3g} {plan.unit}"


def _power(at: PowerAt) -> str:
    if not at.attainable:
        return "no p small enough"
    return NONE if at.power is None else f"{100 * at.power:.0f} %"


def _needed(plan: PartPlan) -> str:
    if plan.effect is None or plan.needed is not None:
        return NONE if plan.needed is None else str(plan.needed)
    return NONE if plan.planned.power is None else "too many"


def _least(at: PowerAt, unit: str) -> str:
    return NONE if at.least is None else f"{at.least:.2f} {unit}"


def _both(at: PowerAt, unit: str) -> str:
    if not at.attainable:
        return _power(at)
    return _least(at, unit) if at.power is None else f"{_power(at)}; {_least(at, unit)}"
