"""The common base of all parts of claims: the rows that they use, how they decide, and the readings left open."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from analysis.errors import nearest
from analysis.stats.limits import Over, PowerTest
from bench.core.types import AXIS_NAMES, GRID

if TYPE_CHECKING:  # only annotations need them: a question holds the part that it is about
    from analysis.claims.questions import Question
    from analysis.evidence.evidence import Evidence

#: Columns that `where` and `gate` may name.
FILTERS: tuple[str, ...] = (
    *(name for name in AXIS_NAMES if name not in ("train_seed", "calibration_draw", "sparsity")), "precision",
)  # fmt: skip

#: Columns that a term may name: what two arms of a comparison may differ in.
TERM_COLUMNS: tuple[str, ...] = tuple(axis.name for axis in GRID if axis.name != "sparsity")

#: Largest margin or planned effect, in points: a larger one is almost always a wrong unit.
LARGEST_POINTS = 20.0

#: Numbers that a part can be about (see `analysis.claims.values`).
Value: TypeAlias = Literal["accuracy", "change", "overfit", "above_dense", "coexisting", "variance_loss"]

Kind: TypeAlias = Literal[
    "identity", "superiority", "noninferiority", "equivalence", "trend", "sign change", "difference"
]
Role: TypeAlias = Literal["primary", "supporting", "scan"]
DecidingTest: TypeAlias = Literal["t", "t and bootstrap-t", "sign-flip"]

Values: TypeAlias = tuple[str | int, ...]
#: Columns -> names of labels; a single name may be written without a list.
Labels: TypeAlias = dict[str, Values]


class Strict(BaseModel):
    """Base of all records of the file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def only_keys(names: Iterable[str]) -> dict[str, Any]:
    """Return the JSON schema of a mapping whose keys are among these names, for the published schema."""
    return {"propertyNames": {"enum": list(names)}}


def as_lists(value: Any) -> Any:
    """Let one label stand for a list of one."""
    if not isinstance(value, dict):
        return value
    return {key: label if isinstance(label, (list, tuple)) else (label,) for key, label in value.items()}


def known_columns(value: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return `value`, or raise ValueError for a key that is no column."""
    for key in value:
        if key not in columns:
            raise ValueError(f"no column {key!r} to filter by: {nearest(key, columns)}")
    return value


class Range(Strict):
    """Sparsities from `least` to `most`, both included; fractions."""

    least: float = Field(0, ge=0, le=1)
    most: float = Field(1, ge=0, le=1)


#: What a reading replaces: label -> another label, or the columns that name the other arm.
Replacement: TypeAlias = dict[str, str | Labels]
#: Name of a choice -> its levels. A column lists labels, `margin` lists points, any other name maps each level to
#: what it replaces. The first level of every choice is the primary reading.
Readings: TypeAlias = dict[str, tuple[str | int | float, ...] | dict[str, Replacement]]
#: The same as it may be written: one label without a list, and no value for a level that replaces nothing.
_Written: TypeAlias = dict[str, str | dict[str, str | int | Values]]
WrittenReadings: TypeAlias = dict[str, tuple[str | int | float, ...] | dict[str, _Written | None]]


class Part(Strict, ABC):
    """Base of all parts of claims.

    Labels follow `analysis.evidence.labels.matching_labels`: a name stands for its label, or for all labels of this
    name with options; one with ``*`` is a pattern.
    """

    #: Whether the settings of a model can be averaged (`over: mean`).
    averaged: ClassVar[bool] = False

    id: str = Field("main", min_length=1)
    kind: Kind
    text: str = Field("", description="what this part claims, one sentence; default: the text of the claim")
    role: Role = Field("primary", description="primary parts decide; supporting ones are shown; scans are exploratory")
    over: Over = Field("every", description="quantifier over settings: every, some, or their mean within each model")
    where: Labels = Field(
        default_factory=dict, description="column: label, or list of labels", json_schema_extra=only_keys(FILTERS)
    )
    sparsities: tuple[float, ...] | Range | None = Field(None, description="fractions; default: all of the study")
    distinct: dict[str, int] = Field(
        default_factory=dict, description="column: how many different labels the study must have to test this",
        json_schema_extra=only_keys((*FILTERS, "sparsity")),
    )  # fmt: skip
    gate: Labels | Literal["none"] | None = Field(
        None,
        description="columns of the arm on which a setting must be above chance to be informative; "
        "default: the reference arm of a contrast",
        json_schema_extra=only_keys(FILTERS),
    )
    readings: Readings = Field(default_factory=dict, description="choices that the source leaves open; first: primary")

    @field_validator("where", "gate", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return as_lists(value)

    @field_validator("gate", mode="before")
    @classmethod
    def _none_or_arm(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "none":
            raise ValueError(f"{value!r} is no gate; write `none`, or the columns of an arm: `{{scorer: magnitude}}`")
        return value

    @field_validator("sparsities", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str | int | float):
            raise ValueError(f"a list is expected; write `sparsities: [{value}]`")  # noqa: TRY004 - pydantic reports ValueError alone
        return value

    @field_validator("where", "gate")
    @classmethod
    def _filters(cls, value: Any) -> Any:
        return known_columns(value, FILTERS) if isinstance(value, dict) else value

    @field_validator("distinct")
    @classmethod
    def _axes(cls, value: dict[str, int]) -> dict[str, int]:
        return known_columns(value, (*FILTERS, "sparsity"))

    @field_validator("sparsities")
    @classmethod
    def _fractions(cls, value: Any) -> Any:
        for sparsity in value if isinstance(value, tuple) else ():
            if not 0 <= sparsity <= 1:
                raise ValueError(f"sparsity {sparsity:g} is not a fraction between 0 and 1; write {sparsity / 100:g}")
        return value

    @field_validator("readings", mode="before", json_schema_input_type=WrittenReadings)
    @classmethod
    def _replacements(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _level_lists(levels) for name, levels in value.items()}

    @field_validator("readings")
    @classmethod
    def _levels(cls, value: Readings) -> Readings:
        for name, levels in value.items():
            if not levels:
                raise ValueError(f"the reading {name!r} has no level")
            if name == "margin" and not all(isinstance(x, (int, float)) and 0 <= x <= LARGEST_POINTS for x in levels):
                raise ValueError(f"the reading 'margin' lists points between 0 and {LARGEST_POINTS:g}, such as [2, 1]")
            if isinstance(levels, tuple) and name not in (*FILTERS, "margin"):
                raise ValueError(
                    f"the reading {name!r} is no column, so each of its levels must map the labels that it replaces: "
                    f"{nearest(name, (*FILTERS, 'margin'))}"
                )
        return value

    @model_validator(mode="after")
    def _mean_is_possible(self) -> Part:
        if self.over == "mean" and not self.averaged:
            raise ValueError("this estimand has no mean over settings: write 'over: every' or 'over: some'")
        return self

    @property
    def gate_arm(self) -> Labels | None:
        """Columns of the arm that decides whether a setting is informative; None without a gate, as for an identity."""
        return self.gate if isinstance(self.gate, dict) and self.kind != "identity" else None

    @property
    def limits(self) -> tuple[tuple[float, ...] | None, bool]:
        """Sparsities of the part, and whether they are a pair of limits: arguments of `Evidence.select`."""
        if isinstance(self.sparsities, Range):
            return (self.sparsities.least, self.sparsities.most), True
        return self.sparsities, False

    def needs(self) -> list[tuple[str, Values]]:
        """Return the columns and names of which the study must have at least one label each."""
        return list(self.where.items())

    def named(self) -> list[tuple[str, Values]]:
        """Return the columns and names that the part mentions, whether the study must have them or not."""
        return self.needs()

    def arms(self) -> tuple[Term, ...]:
        """Return the arms whose cells the part uses; none where it uses all cells that its filters choose."""
        return ()

    def replaced(self, replacement: Replacement) -> Part:  # noqa: ARG002
        """Return the part of a reading, with the replaced labels; one that names none of them is unchanged."""
        return self

    @abstractmethod
    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one undecided question per setting."""


def _level_lists(levels: Any) -> Any:
    """Let one label stand for a list of one in what a level replaces."""
    if not isinstance(levels, dict):
        return levels
    return {
        level: {old: as_lists(new) for old, new in (replaced or {}).items()}
        if isinstance(replaced, dict) or replaced is None else replaced
        for level, replaced in levels.items()
    }  # fmt: skip


class TestedPart(Part):
    """Base of parts that are decided by a test over models."""

    __test__: ClassVar[bool] = False  # no test class of pytest

    value: Value = Field("accuracy", description="the number that is compared")
    planned_effect: float | None = Field(
        None, gt=0, le=LARGEST_POINTS, description="percentage points; power and models needed are computed for it"
    )
    planned_d: float | None = Field(None, gt=0, description="planned effect in standard deviations of the differences")

    @model_validator(mode="after")
    def _one_planned_effect(self) -> TestedPart:
        if self.planned_effect is not None and self.planned_d is not None:
            raise ValueError("the planned effect is given twice: write either 'planned_effect' or 'planned_d'")
        return self

    @property
    def power_test(self) -> PowerTest | None:
        """The deciding test, if its power follows from one standard deviation; else None."""
        return None


class MeanPart(TestedPart):
    """Base of parts about a mean over models, compared with a margin."""

    averaged: ClassVar[bool] = True

    kind: Literal["superiority", "noninferiority", "equivalence"]
    margin: float | None = Field(
        None, ge=0, le=LARGEST_POINTS, description="percentage points; default: 0, or max(0.5, 3 images)"
    )
    margin_reason: str = ""
    test: DecidingTest = Field("t", description="the deciding test")
    paper_value: float | None = Field(None, description="value of the source in percentage points; never a verdict")

    @property
    def power_test(self) -> PowerTest:
        """The deciding test."""
        return self.test

    @model_validator(mode="after")
    def _consistent(self) -> MeanPart:
        if self.kind == "equivalence" and self.test == "sign-flip":
            raise ValueError("an equivalence is decided by two one-sided t tests: omit 'test: sign-flip'")
        if self.kind == "equivalence" and self.margin == 0:
            raise ValueError("an equivalence needs a margin over 0")
        if self.over == "mean" and self.test == "sign-flip":
            raise ValueError("a mean over settings is decided by a t test: omit 'test: sign-flip'")
        return self


class Term(Strict):
    """One arm of a combination: `weight` times the mean over the labels that `of` names."""

    weight: float = 1
    of: Labels = Field(
        min_length=1, description="column: label, or list of labels", json_schema_extra=only_keys(TERM_COLUMNS)
    )

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return as_lists(value)

    @field_validator("of")
    @classmethod
    def _columns(cls, value: dict[str, Any]) -> dict[str, Any]:
        return known_columns(value, TERM_COLUMNS)

    def replaced(self, replacement: Replacement) -> Term:
        """Return the term with the replaced labels."""
        of = {column: replace_labels(names, replacement) for column, names in self.of.items()}
        for names in self.of.values():
            for name in names:
                new = replacement.get(str(name))
                if isinstance(new, dict):
                    of |= new
        return self.model_copy(update={"of": of})


def replace_labels(names: Values, replacement: Replacement) -> Values:
    """Return the names with those replaced that a reading replaces by other names.

    Examples
    --------
    >>> replace_labels(("asr", "none"), {"asr": "asr_eb"})
    ('asr_eb', 'none')
    """
    new = (replacement.get(str(name), name) for name in names)
    return tuple(name if isinstance(other, dict) else other for name, other in zip(names, new, strict=True))


class TermsPart(TestedPart):
    """Base of parts about a weighted sum of arms, paired within each model: ``sum of weight * mean(of)``."""

    terms: tuple[Term, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_columns(self) -> TermsPart:
        named = [set(term.of) - {"search"} for term in self.terms]
        if any(columns != named[0] for columns in named):
            raise ValueError("all terms must name the same columns (search apart): else the arms are not paired")
        return self

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters and the labels of all terms."""
        return [*super().needs(), *((column, names) for term in self.terms for column, names in term.of.items())]

    def arms(self) -> tuple[Term, ...]:
        """Return the terms."""
        return self.terms

    def replaced(self, replacement: Replacement) -> TermsPart:
        """Return the part with replaced labels in its terms."""
        return self.model_copy(update={"terms": tuple(term.replaced(replacement) for term in self.terms)})


class ReferencePart(TestedPart):
    """Base of parts that compare each label of an axis in `of` with the label `against`."""

    axis: Literal["scorer", "search", "correction", "recalibration", "allocation"] = "scorer"
    of: tuple[str, ...] = Field(min_length=1)
    against: str

    @model_validator(mode="after")
    def _two_arms(self) -> ReferencePart:
        if set(self.of) == {self.against}:
            raise ValueError(f"both arms are {self.against!r}: 'of' and 'against' must differ")
        return self

    @property
    def gate_arm(self) -> Labels | None:
        """The reference arm, unless another one is given; only accuracies can be at chance level."""
        if self.gate is None and self.value == "accuracy":
            return {self.axis: (self.against,)}
        return super().gate_arm

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters, the labels compared and the reference."""
        return [*super().needs(), (self.axis, self.of), (self.axis, (self.against,))]

    def arms(self) -> tuple[Term, ...]:
        """Return the labels compared and the reference."""
        return Term(of={self.axis: self.of}), Term(weight=-1, of={self.axis: (self.against,)})

    def replaced(self, replacement: Replacement) -> ReferencePart:
        """Return the part with replaced labels of `of` and `against`."""
        (against,) = replace_labels((self.against,), replacement)
        return self.model_copy(update={"of": replace_labels(self.of, replacement), "against": against})
