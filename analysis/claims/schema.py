"""The format of claims.yaml: what is claimed, by whom, and how it will be decided.

A study's file may include the claims of a paper by its short name, set what the paper leaves open
(``adjust``), and define claims of its own. It is hashed into the store before the first cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from analysis.errors import nearest

#: Columns that a claim's `where` may name.
FILTERS: tuple[str, ...] = (
    "dataset", "model", "scorer", "search", "granularity", "allocation", "correction", "recalibration",
    "precision", "calibration_images", "calibration_batch",
)  # fmt: skip

Values: TypeAlias = tuple[str | int, ...]


class Strict(BaseModel):
    """Base of all records of the file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Part(Strict):
    """What all parts share."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1, description="what this part claims, one sentence")
    where: dict[str, Values] = Field(default_factory=dict, description="column: label, or list of labels")
    sparsities: tuple[float, ...] | None = Field(None, description="default: all of the study")
    required: bool = Field(True, description="false: the claim is decided without it where it is not testable")
    without: str = Field("", description="said beside the verdict where this part is not testable")

    @field_validator("where", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: v if isinstance(v, (list, tuple)) else (v,) for key, v in value.items()}

    @field_validator("where")
    @classmethod
    def _known(cls, value: dict[str, Values]) -> dict[str, Values]:
        for key in value:
            if key not in FILTERS:
                raise ValueError(f"no column {key!r} to filter by: {nearest(key, FILTERS)}")
        return value


class MaskIdentity(_Part):
    """The masks of `scorers` equal the mask of `reference` in the same block."""

    estimand: Literal["mask_identity"]
    kind: Literal["identity"] = "identity"
    scorers: tuple[str, ...] = Field(min_length=1)
    reference: str = "magnitude"


class Reevaluation(_Part):
    """Evaluations that cells share, done again: no image may change."""

    estimand: Literal["reevaluation"]
    kind: Literal["identity"] = "identity"


class RepairIdentity(_Part):
    """Corrections agree with `reference` in the same block, within a tolerance.

    The tolerance is the larger of `tolerance` (accuracy, a fraction) and `tolerance_images` images:
    where the best two logits tie, rounding alone may move an image, and a fraction of an image
    is no tolerance at all on a small test set. Cells outside the scope of the cancellation identity
    (a layer not covered, or an eps ratio over `largest_ratio`) are counted and left out.
    """

    estimand: Literal["repair_identity"]
    kind: Literal["identity"] = "identity"
    corrections: tuple[str, ...] | None = Field(None, description="default: all of the study")
    reference: str = "none"
    tolerance: float = Field(0.0005, ge=0)
    tolerance_images: int = Field(1, ge=0)
    largest_ratio: float = Field(1.05, ge=1)


class Contrast(_Part):
    """The mean paired difference ``of - against`` over models, per data set, model and sparsity."""

    estimand: Literal["contrast"]
    kind: Literal["superiority", "noninferiority", "equivalence"]
    axis: Literal["scorer", "correction", "recalibration", "allocation"] = "scorer"
    of: tuple[str, ...] = Field(min_length=1)
    against: str
    margin: float | None = Field(None, ge=0, description="fraction; default 0, or max(0.005, 3 images)")
    margin_reason: str = ""
    test: Literal["t", "sign-flip"] = Field("t", description="the deciding test")
    alpha: float | None = Field(None, gt=0, lt=0.5, description="one-sided; default 0.025, equivalence 0.05")
    family: str | None = Field(None, description="corrected together; default: the claim")
    planned_effect: float | None = Field(None, gt=0, description="sd units; its power is printed")

    @model_validator(mode="after")
    def _sound(self) -> Contrast:
        if self.kind == "equivalence" and self.test != "t":
            raise ValueError("an equivalence is decided by two one-sided t tests: leave 'test' out")
        if self.kind == "equivalence" and self.margin == 0:
            raise ValueError("an equivalence needs a margin over 0")
        return self

    @property
    def level(self) -> float:
        """One-sided alpha, resolved."""
        return self.alpha if self.alpha is not None else (0.05 if self.kind == "equivalence" else 0.025)


Part: TypeAlias = Annotated[MaskIdentity | Reevaluation | RepairIdentity | Contrast, Field(discriminator="estimand")]


class Claim(Strict):
    """One claim: supported if every required part is, refuted if any part is.

    `setting` names the paper's own setting as column: patterns (``*`` allowed); records on other rows are a
    transfer.
    """

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    setting: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    parts: tuple[Part, ...] = Field(min_length=1)

    @field_validator("setting")
    @classmethod
    def _known(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for key in value:
            if key not in FILTERS:
                raise ValueError(f"no column {key!r} to filter by: {nearest(key, FILTERS)}")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Claim:
        names = [part.id for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"claim {self.id!r} has two parts {name!r}")
        return self


class Adjustment(Strict):
    """What a study sets for an included claim, with the reason; given keys replace those of its parts."""

    reason: str = Field(min_length=1)
    margin: float | None = Field(None, gt=0)
    tolerance: float | None = Field(None, ge=0)
    tolerance_images: int | None = Field(None, ge=0)
    alpha: float | None = Field(None, gt=0, lt=0.5)


class ClaimsFile(Strict):
    """The schema of claims.yaml."""

    include: tuple[str, ...] = Field((), description="papers by short name, ./file.yaml, package.module:function")
    adjust: dict[str, Adjustment] = Field(default_factory=dict, description="claim id: what to set, and why")
    claims: tuple[Claim, ...] = ()

    @field_validator("include", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def claims_schema() -> dict[str, Any]:
    """JSON schema of claims.yaml, for editors."""
    return ClaimsFile.model_json_schema()


def adjusted(claim: Claim, adjustment: Adjustment) -> Claim:
    """Return the claim with the study's choices in every part that has such a key."""
    chosen = adjustment.model_dump(exclude_none=True, exclude={"reason"})
    parts = []
    for part in claim.parts:
        changes = {key: value for key, value in chosen.items() if key in type(part).model_fields}
        if isinstance(part, Contrast) and "margin" in changes:
            changes["margin_reason"] = adjustment.reason
        parts.append(part.model_copy(update=changes))
    return claim.model_copy(update={"parts": tuple(parts)})


#: Name of the file in a study folder.
CLAIMS_FILE = "claims.yaml"


def claims_path(folder: Path) -> Path:
    """Where a study keeps its claims."""
    return folder / CLAIMS_FILE
