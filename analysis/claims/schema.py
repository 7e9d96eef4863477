"""The format of claims.yaml: what is claimed, by whom, and how it is decided.

A study's file may include the claims of a paper by its short name, set what the paper leaves open
(``adjust``), and define claims of its own. Its hash is stored before the first cell is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field, field_validator, model_validator

from analysis.claims.estimands import part_classes
from analysis.claims.parts import FILTERS, LARGEST_POINTS, MeanPart, Part, Strict, known_columns, only_keys
from analysis.evidence.files import CLAIMS_FILE
from analysis.stats.looks import LEAST_FIRST_LOOK

#: Estimand -> schema of its part.
PARTS: dict[str, type[Part]] = part_classes()

if TYPE_CHECKING:
    AnyPart: TypeAlias = Part
else:
    AnyPart = Annotated[Union[tuple(PARTS.values())], Field(discriminator="estimand")]  # noqa: UP007

#: Keys of a claim that are the defaults of its parts.
CLAIM_DEFAULTS = ("where", "gate", "readings")


class Claim(Strict):
    """One claim: its primary parts decide it.

    `setting` names the source's own setting as column: patterns (``*`` allowed); records on other rows are a
    transfer. `where`, `gate` and `readings` are the defaults of its parts.
    """

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    setting: dict[str, tuple[str, ...]] = Field(default_factory=dict, json_schema_extra=only_keys(FILTERS))
    where: dict[str, Any] = Field(default_factory=dict, description="default of the parts")
    gate: Any = Field(None, description="default of the parts")
    readings: dict[str, Any] = Field(default_factory=dict, description="default of the parts")
    parts: tuple[AnyPart, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_parts(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("parts"), (list, tuple)):
            return value
        defaults: dict[str, Any] = {key: value[key] for key in CLAIM_DEFAULTS if value.get(key)}
        if isinstance(value.get("text"), str):
            defaults["text"] = value["text"]
        parts = [{**defaults, **part} if isinstance(part, dict) else part for part in value["parts"]]
        return {**value, "parts": parts}

    @field_validator("setting")
    @classmethod
    def _filters(cls, value: dict[str, Any]) -> dict[str, Any]:
        return known_columns(value, FILTERS)

    @model_validator(mode="after")
    def _distinct(self) -> Claim:
        names = [part.id for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"claim {self.id!r} has two parts with the id {name!r}")
        if not self.primary:
            raise ValueError(f"claim {self.id!r} has no part with 'role: primary', so nothing decides it")
        return self

    @property
    def primary(self) -> tuple[Part, ...]:
        """The parts that decide."""
        return tuple(part for part in self.parts if part.role == "primary")


class Adjustment(Strict):
    """What a study sets for an included claim, with the reason; given keys replace those of its parts."""

    reason: str = Field(min_length=1)
    margin: float | None = Field(None, gt=0, le=LARGEST_POINTS, description="percentage points")
    tolerance: float | None = Field(None, ge=0, le=LARGEST_POINTS, description="percentage points")
    tolerance_images: int | None = Field(None, ge=0)


class ClaimsFile(Strict):
    """The schema of claims.yaml."""

    version: Literal[2] = Field(description="2: margins and effects are in percentage points")
    include: tuple[str, ...] = Field((), description="papers by short name, ./file.yaml, package.module:function")
    looks: tuple[int, int] | None = Field(
        None, description="numbers of models at which the claims are decided, such as [10, 20]"
    )
    adjust: dict[str, Adjustment] = Field(default_factory=dict, description="claim id: what to set, and why")
    claims: tuple[Claim, ...] = ()

    @field_validator("include", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("looks")
    @classmethod
    def _increasing(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not LEAST_FIRST_LOOK <= value[0] < value[1]:
            raise ValueError(f"two increasing numbers of models, the first at least {LEAST_FIRST_LOOK}; write [10, 20]")
        return value


def adjusted(claim: Claim, adjustment: Adjustment) -> Claim:
    """Return the claim with the study's choices in every part that has such a key.

    The margin replaces the default alone: superiority stays superiority over 0, and a margin that the claim itself
    states is kept.
    """
    chosen = adjustment.model_dump(exclude_none=True, exclude={"reason"})
    parts = []
    for part in claim.parts:
        changes = {key: value for key, value in chosen.items() if key in type(part).model_fields}
        if "margin" in changes:
            if part.kind == "superiority" or getattr(part, "margin", None) is not None:
                del changes["margin"]
            elif isinstance(part, MeanPart):
                changes["margin_reason"] = adjustment.reason
        parts.append(part.model_copy(update=changes))
    return claim.model_copy(update={"parts": tuple(parts)})


def claims_path(folder: Path) -> Path:
    """Return where a study keeps its claims."""
    return folder / CLAIMS_FILE
