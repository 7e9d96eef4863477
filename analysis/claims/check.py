"""Find mistakes in claims.yaml by comparing its claims with the cells of the study, before anything is registered.

A label that neither the study nor the catalogue knows is a mistake. A label that only the catalogue knows makes a part
not testable, which is no mistake: the claims of an included paper are about methods that a study need not have.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias, get_args

from analysis.claims.cells import arm_cells, chosen_rows, lacking, part_cells
from analysis.claims.parts import TERM_COLUMNS, Part, Range, Term, TermsPart
from analysis.claims.planning import PartPlan
from analysis.claims.read import Claims
from analysis.claims.readings import primary_reading, read_as
from analysis.claims.schema import Claim
from analysis.evidence.evidence import SAME_SPARSITY, Evidence
from analysis.evidence.methods import plain_name
from analysis.stats.limits import MOST_MODELS
from analysis.stats.power import POWER
from bench.core.types import AXES, Granularity

#: A smaller margin or planned effect, in points, is probably meant as a fraction.
LEAST_POINTS = 0.05
#: Names of the study that a message lists.
MOST_NAMES = 12

#: Column -> names of the catalogue and of the user's plug-ins.
Catalogue: TypeAlias = Mapping[str, Sequence[str]]

_INTEGERS = {axis.name for axis in AXES if axis.kind == "integer"}
_FIXED: dict[str, tuple[str, ...]] = {"granularity": get_args(Granularity), "precision": ("float32", "bfloat16")}
#: Beginnings of the names of data sets that are read from files.
_FILES = ("parquet:", "folder:")


@dataclass(frozen=True)
class Findings:
    """What is wrong with the claims of a study, one line each: file, line, column and what to write.

    Attributes
    ----------
    mistakes : tuple of str
        Refused by ``plan``, ``register`` and ``run``.
    warnings : tuple of str
        Printed by them.
    """

    mistakes: tuple[str, ...]
    warnings: tuple[str, ...]


def check_claims(evidence: Evidence, claims: Claims, catalogue: Catalogue, *, whole: bool = True) -> Findings:
    """Compare every part of every claim with the study.

    Parameters
    ----------
    evidence : Evidence
        The planned rows, run or not.
    claims : Claims
    catalogue : mapping of str to sequence of str
        Column -> names that a study can have.
    whole : bool, default True
        Whether these are all cells of the study. A profile has fewer: a part without a cell is then no mistake.

    Examples
    --------
    >>> from pathlib import Path
    >>> from analysis.claims.schema import ClaimsFile
    >>> from analysis.evidence.load import load
    >>> part = {"estimand": "contrast", "kind": "superiority", "of": ["taylro"], "against": "magnitude"}
    >>> claim = {"id": "M1", "text": "Taylor beats magnitude.", "source": "ours", "parts": [part]}
    >>> claims = Claims(ClaimsFile.model_validate({"version": 2, "claims": [claim]}).claims, hash="")
    >>> check_claims(load(Path("reports/digits")), claims, {"scorer": ["taylor", "magnitude"]}).mistakes
    ("claim 'M1': no scorer is named 'taylro'; did you mean 'taylor'?",)
    """
    checks = [_Check(evidence, claims, catalogue, whole, claim) for claim in claims.claims]
    mistakes = [line for check in checks for line in check.mistakes()]
    warnings = [
        *(_missing_looks(evidence, claims) if whole else ()),
        *(line for check in checks for line in check.warnings()),
    ]
    return Findings(tuple(dict.fromkeys(mistakes)), tuple(dict.fromkeys(warnings)))


def _missing_looks(evidence: Evidence, claims: Claims) -> Iterator[str]:
    """Describe looks that the planned models do not reach, or that they exceed."""
    planned = evidence.models_per_architecture
    if claims.looks is None or claims.own is None or planned == claims.looks[1]:
        return
    last = claims.looks[1]
    which = "never takes place" if planned < last else "leaves the further ones out"
    yield (
        f"{claims.own.place('looks')}: looks: the last look has {last} models and the study {planned}, so that it "
        f"{which}; set `train_seeds: {last}` in study.yaml"
    )


def named_labels(claims: Claims, column: str) -> set[str]:
    """Return the names of a column that any claim mentions, in its parts, gates and readings."""
    return {
        str(name) for claim in claims.claims for part in claim.parts for _, _, found, names in _mentions(part)
        for name in names if found == column
    }  # fmt: skip


@dataclass(frozen=True)
class _Check:
    """The checks of one claim."""

    evidence: Evidence
    claims: Claims
    catalogue: Catalogue
    whole: bool
    claim: Claim

    def mistakes(self) -> Iterator[str]:
        for part in self.claim.parts:
            yield from self._unknown_labels(part)
            yield from self._unknown_replaced(part)
            if not self.claims.is_included(self.claim.id) and self.whole:
                yield from self._empty(part)
            yield from self._several_searches(part)

    def warnings(self) -> Iterator[str]:
        own = not self.claims.is_included(self.claim.id)
        for part in self.claim.parts:
            yield from self._fractions(part)
            if own:
                lacks = lacking(primary_reading(part), self.evidence)
                if lacks:
                    yield f"{self._place(part)}: part {part.id!r} of {self.claim.id!r} is not testable: {lacks}"
                else:
                    yield from self._absent(part)
                if not self.whole:
                    yield from self._empty(part)
            yield from self._gate(part)

    def _absent(self, part: Part) -> Iterator[str]:
        """Find labels of the arms that the study does not have where it has others."""
        for term in primary_reading(part).arms():
            for column, names in term.of.items():
                for name in names:
                    if not self.evidence.labels(column, (name,)):
                        yield (
                            f"{self._place(part, column, name)}: the study has no cell with {_spoken(column)} {name}; "
                            f"part {part.id!r} of {self.claim.id!r} is decided without it"
                        )

    def _place(self, part: Part, key: str = "", value: object = None) -> str:
        return self.claims.place(self.claim.id, part.id, key, value)

    def _unknown_labels(self, part: Part) -> Iterator[str]:
        for key, value, column, names in _mentions(part):
            for name in names:
                if not self._known(column, name):
                    place = self._place(part, key or column, value if value is not None else name)
                    yield f"{place}: no {_spoken(column)} is named {name!r}; {self._hint(column, name)}"

    def _known(self, column: str, name: str | int) -> bool:
        if self.evidence.labels(column, (name,)):
            return True
        if column in _INTEGERS:
            return isinstance(name, int)
        known = (*self.catalogue.get(column, ()), *_FIXED.get(column, ()))
        text = str(name)
        if "*" in text:
            return column == "model" or any(fnmatchcase(one, text) for one in known)  # timm has a model for most
        return plain_name(text) in known or (column == "dataset" and text.startswith(_FILES))

    def _hint(self, column: str, name: str | int) -> str:
        """Return the nearest name of the study, else of the catalogue, else all names of the study."""
        present = [str(label) for label in self.evidence.planned_labels[column]]
        for names, more in ((present, ""), (self.catalogue.get(column, ()), ", which this study does not have")):
            near = difflib.get_close_matches(str(name), list(names), n=1)
            if near:
                return f"did you mean {near[0]!r}{more}?"
        shown = ", ".join(map(repr, present[:MOST_NAMES])) + (" ..." if len(present) > MOST_NAMES else "")
        return f"this study has {shown}"

    def _unknown_replaced(self, part: Part) -> Iterator[str]:
        """Find labels that a reading replaces, that no part of the claim names, and that nobody knows.

        Claims of a file may share a reading, of which each names some labels.
        """
        names = {str(name) for one in self.claim.parts for _, found in one.named() for name in found}
        for choice, levels in part.readings.items():
            for level, replaced in levels.items() if isinstance(levels, dict) else ():
                for old in replaced:
                    if old not in names and not any(self._known(column, old) for column in TERM_COLUMNS):
                        near = difflib.get_close_matches(old, names, n=1)
                        hint = f"did you mean {near[0]!r}?" if near else f"they name {', '.join(sorted(names))}"
                        yield (
                            f"{self._place(part, level, old)}: the reading {choice!r} replaces {old!r}, which no part "
                            f"of the claim names; {hint}"
                        )

    def _empty(self, part: Part) -> Iterator[str]:
        """Find sparsities that the study does not have, and parts whose labels it does not have together."""
        primary = primary_reading(part)
        present = sorted(float(value) for value in self.evidence.pruned["sparsity"].dropna().unique())
        missing = list(_missing_sparsities(primary, present))
        shown = ", ".join(f"{value:g}" for value in present)
        for sparsity in missing:
            nearest = min(present, key=lambda value: abs(value - sparsity), default=math.nan)
            yield (
                f"{self._place(part, 'sparsities', sparsity)}: the study has no cell at sparsity {sparsity:g}; the "
                f"nearest is {nearest:g}; write one of {shown}, or add {sparsity:g} to study.yaml"
            )
        if not missing and isinstance(primary.sparsities, Range):
            least, most = primary.sparsities.least, primary.sparsities.most
            if not any(least - SAME_SPARSITY <= value <= most + SAME_SPARSITY for value in present):
                yield (
                    f"{self._place(part, 'sparsities')}: the study has no sparsity from {least:g} to {most:g}; it has "
                    f"{shown}"
                )
                return
        if not missing and not lacking(primary, self.evidence) and self._without_cell(primary):
            yield (
                f"{self._place(part)}: part {part.id!r} of {self.claim.id!r}: the study has no cell that meets all its "
                f"conditions; remove one from `where` or `sparsities`, or change `exclude` in study.yaml"
            )

    def _without_cell(self, part: Part) -> bool:
        """Whether the study has no cell for one of the arms."""
        rows = chosen_rows(self.evidence, part)
        return rows.empty or any(arm_cells(rows, term).empty for term in part.arms())

    def _several_searches(self, part: Part) -> Iterator[str]:
        primary = primary_reading(part)
        terms: tuple[Term, ...] = primary.arms() if isinstance(primary, TermsPart) else ()
        for term in terms:
            if "scorer" not in term.of or "search" in {**primary.where, **term.of}:
                continue
            rows = chosen_rows(self.evidence, primary)
            found = arm_cells(rows, term)["search"].unique()
            if len(found) > 1:
                yield (
                    f"{self._place(part, 'scorer', term.of['scorer'][0])}: the study has {term.of['scorer'][0]} with "
                    f"several searches; add `search: {found[-1]}` to this term (valid: {', '.join(found)})"
                )

    def _fractions(self, part: Part) -> Iterator[str]:
        """Find margins and effects that are probably fractions."""
        given = [(key, getattr(part, key, None)) for key in ("margin", "planned_effect")]
        levels = part.readings.get("margin", ())
        given += [("margin", level) for level in (levels if isinstance(levels, tuple) else ())]
        for key, value in given:
            if isinstance(value, int | float) and 0 < value < LEAST_POINTS:
                yield (
                    f"{self._place(part, key)}: {key}: {value:g} points is less than {LEAST_POINTS:g}; the unit is "
                    f"percentage points: write {100 * value:g} if {100 * value:g} points are meant"
                )

    def _gate(self, part: Part) -> Iterator[str]:
        """Find gates whose arm the study does not have where it has the cells of the part."""
        primary = primary_reading(part)
        arm = primary.gate_arm
        if arm is None or lacking(primary, self.evidence) or part_cells(primary, self.evidence).empty:
            return
        free = {column: names for column, names in primary.where.items() if column not in arm}
        if self.evidence.select({**free, **arm}, *primary.limits).empty:
            named = " and ".join(f"{_spoken(column)} {', '.join(map(str, names))}" for column, names in arm.items())
            yield (
                f"{self._place(part, 'gate')}: the study has no cell with {named} for part {part.id!r} of "
                f"{self.claim.id!r}, so its gate cannot be judged"
            )


def _mentions(part: Part) -> Iterator[tuple[str, object, str, tuple[str | int, ...]]]:
    """Yield key, value there, column and names: of the part, of its gate, and of every level of its readings.

    The key is empty for labels that stand below their column or as they are.
    """
    own = part.named()
    for column, names in own:
        yield "", None, column, names
    for column, names in (part.gate if isinstance(part.gate, dict) else {}).items():
        yield "gate", None, column, names
    for choice, levels in part.readings.items():
        for level in levels:
            for column, names in read_as(part, {choice: level}).named():
                if (column, names) not in own:
                    yield choice, level if isinstance(levels, tuple) else None, column, names


def _missing_sparsities(part: Part, present: Sequence[float]) -> Iterator[float]:
    for sparsity in part.sparsities if isinstance(part.sparsities, tuple) else ():
        if not any(abs(sparsity - value) <= SAME_SPARSITY for value in present):
            yield sparsity


def _spoken(column: str) -> str:
    return "data set" if column == "dataset" else column.replace("_", " ")


def shortfalls(plans: Sequence[PartPlan], claims: Claims, power: float = POWER) -> list[str]:
    """Describe the primary parts that the planned models cannot decide, next to what they can decide."""
    primary = [plan for plan in plans if plan.role == "primary"]
    deciding = [plan for plan in primary if plan.questions and plan.kind != "identity"]
    alone = [plan for plan in deciding if plan.planned.models < 2]
    found = [line for plan in deciding if plan.planned.models >= 2 for line in _shortfall(plan, claims, power)]
    found += [
        f"{claims.place(plan.claim, plan.part)}: part {plan.part!r} of {plan.claim!r} is not testable: {plan.reason}"
        for plan in primary if plan.cells and not plan.testable
    ]  # fmt: skip
    if alone:
        names = ", ".join(dict.fromkeys(plan.claim for plan in alone))
        found.append(
            f"{claims.place(alone[0].claim, alone[0].part)}: with one model per setting nothing is decided by a test: "
            f"{names}; set `train_seeds` to at least 6 in study.yaml"
        )
    return found


def _shortfall(plan: PartPlan, claims: Claims, power: float) -> Iterator[str]:
    least, models = plan.planned.least, plan.planned.models
    name = f"part {plan.part!r} of {plan.claim!r}"
    if not plan.planned.attainable:
        yield (
            f"{claims.place(plan.claim, plan.part)}: {name}: no data of {models} models decide it by {plan.test}; set "
            f"`train_seeds` to more in study.yaml"
        )
    if least is None:
        return
    needed = f"{plan.needed} models are needed" if plan.needed else f"more than {MOST_MODELS} models are needed"
    if plan.kind in ("noninferiority", "equivalence"):
        if plan.unit == "points" and plan.margin is not None and plan.margin < least:
            yield (
                f"{claims.place(plan.claim, plan.part, 'margin')}: {name}: {models} models decide a margin of at least "
                f"{least:.1f} points with {100 * power:.0f} % power; the margin is {plan.margin:g} points ({needed})"
            )
    elif plan.planned.power is not None and plan.effect is not None and plan.effect < (plan.margin or 0.0) + least:
        key = "planned_effect" if plan.unit == "points" else "planned_d"
        yield (
            f"{claims.place(plan.claim, plan.part, key)}: {name}: {models} models detect an effect of at least "
            f"{(plan.margin or 0.0) + least:.2g} {plan.unit} with {100 * power:.0f} % power; the planned effect is "
            f"{plan.effect:.2g} {plan.unit} (power {100 * plan.planned.power:.0f} %, {needed})"
        )
