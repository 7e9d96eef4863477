"""The format of claims.yaml: what is claimed, by whom, and how it will be decided.

A study's file may include the claims of a paper by its short name, set what the paper leaves open
(``adjust``), and define claims of its own. It is hashed into the store before the first cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from analysis.errors import nearest
from bench.core.types import AXIS_NAMES, GRID

#: Columns that a claim's `where` may name.
FILTERS: tuple[str, ...] = (
    *(name for name in AXIS_NAMES if name not in ("train_seed", "calibration_draw", "sparsity")), "precision",
)  # fmt: skip

#: Columns that a term may name: what two arms of a comparison may differ in.
TERM_COLUMNS: tuple[str, ...] = tuple(axis.name for axis in GRID if axis.name != "sparsity")

#: What may be compared: the accuracy, or a number made from the row (see `analysis.claims.values`).
Value: TypeAlias = Literal["accuracy", "change", "overfit", "above_dense", "coexisting", "variance_loss"]

Values: TypeAlias = tuple[str | int, ...]


class Strict(BaseModel):
    """Base of all records of the file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    """Let one label stand for a list of one."""
    if not isinstance(value, dict):
        return value
    return {key: v if isinstance(v, (list, tuple)) else (v,) for key, v in value.items()}


def _known(value: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    for key in value:
        if key not in columns:
            raise ValueError(f"no column {key!r} to filter by: {nearest(key, columns)}")
    return value


class Range(Strict):
    """Sparsities from `least` to `most`, both included."""

    least: float = Field(0, ge=0, le=1)
    most: float = Field(1, ge=0, le=1)


class _Part(Strict):
    """What all parts share.

    A label in `where` (or in a term) means the method of exactly this label; where the study has none, the
    methods of this name with any options; one with ``*`` is a pattern.
    """

    id: str = Field(min_length=1)
    text: str = Field(min_length=1, description="what this part claims, one sentence")
    where: dict[str, Values] = Field(default_factory=dict, description="column: label, or list of labels")
    sparsities: tuple[float, ...] | Range | None = Field(None, description="default: all of the study")
    distinct: dict[str, int] = Field(
        default_factory=dict, description="column: how many different labels the study must have to test this"
    )
    required: bool = Field(True, description="false: the claim is decided without it where it is not testable")
    without: str = Field("", description="said beside the verdict where this part is not testable")
    scan: bool = Field(False, description="printed with Benjamini-Hochberg's correction; decides nothing")

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return _listed(value)

    @field_validator("where")
    @classmethod
    def _filters(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _known(value, FILTERS)

    @field_validator("distinct")
    @classmethod
    def _axes(cls, value: dict[str, int]) -> dict[str, int]:
        return _known(value, (*FILTERS, "sparsity"))


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


class EmpBound(_Part):
    """The score mass that EMP keeps is never under its lower bound, in any layer (beta = 1)."""

    estimand: Literal["emp_bound"]
    kind: Literal["identity"] = "identity"


class EmpBeta(_Part):
    """A larger beta of EMP never keeps fewer units of the same scores."""

    estimand: Literal["emp_beta"]
    kind: Literal["identity"] = "identity"


class _Tested(_Part):
    """What the statistical parts share."""

    alpha: float | None = Field(None, gt=0, lt=0.5, description="one-sided; default 0.025, equivalence 0.05")
    family: str | None = Field(None, description="corrected together; default: the claim")
    planned_effect: float | None = Field(None, gt=0, description="sd units; its power is printed")

    @property
    def level(self) -> float:
        """One-sided alpha, resolved."""
        default = 0.05 if getattr(self, "kind", "") == "equivalence" else 0.025
        return self.alpha if self.alpha is not None else default


class _Mean(_Tested):
    """A mean over models, held against a margin."""

    kind: Literal["superiority", "noninferiority", "equivalence"]
    margin: float | None = Field(None, ge=0, description="fraction; default 0, or max(0.005, 3 images)")
    margin_reason: str = ""
    test: Literal["t", "sign-flip"] = Field("t", description="the deciding test")
    paper_value: float | None = Field(None, description="the paper's number, a fraction: is it in our interval?")

    @model_validator(mode="after")
    def _sound(self) -> _Mean:
        if self.kind == "equivalence" and self.test != "t":
            raise ValueError("an equivalence is decided by two one-sided t tests: leave 'test' out")
        if self.kind == "equivalence" and self.margin == 0:
            raise ValueError("an equivalence needs a margin over 0")
        return self


class Contrast(_Mean):
    """The mean paired difference ``of - against`` over models, per setting; one record for each label of `of`."""

    estimand: Literal["contrast"]
    axis: Literal["scorer", "search", "correction", "recalibration", "allocation"] = "scorer"
    of: tuple[str, ...] = Field(min_length=1)
    against: str
    value: Value = "accuracy"


class Term(Strict):
    """One arm of a combination: `weight` times the mean over the labels that `of` names."""

    weight: float = 1
    of: dict[str, Values] = Field(min_length=1, description="column: label, or list of labels")

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return _listed(value)

    @field_validator("of")
    @classmethod
    def _columns(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _known(value, TERM_COLUMNS)


class Terms(_Tested):
    """A weighted sum of arms, paired within each model: ``sum of weight * mean(of)``."""

    terms: tuple[Term, ...] = Field(min_length=1)
    value: Value = "accuracy"

    @model_validator(mode="after")
    def _same_columns(self) -> Terms:
        named = [set(term.of) - {"search"} for term in self.terms]
        if any(columns != named[0] for columns in named):
            raise ValueError("all terms must name the same columns (search apart): else the arms are not paired")
        return self


class Combination(Terms, _Mean):
    """The mean of a weighted sum of arms over models, per setting."""

    estimand: Literal["combination"]


class AnyOf(_Tested):
    """At least one of several differences to `against` is positive, by the sign-flip max-T test.

    Choosing the best costs what it should: the maximum is compared with the maxima under random signs.
    """

    estimand: Literal["any_of"]
    kind: Literal["superiority"] = "superiority"
    axis: Literal["scorer", "correction"] = "scorer"
    of: tuple[str, ...] = Field(min_length=1)
    against: str
    value: Value = "accuracy"


class Trend(Terms):
    """The sum of arms grows (or falls) along `over`: Page's test with models as blocks."""

    estimand: Literal["trend"]
    kind: Literal["trend"] = "trend"
    over: Literal["sparsity", "calibration_images", "calibration_batch"] = "sparsity"
    direction: Literal["increasing", "decreasing"] = "increasing"


class Association(Terms):
    """The sum of arms goes along with another number of the same cells: mean rank correlation within models over 0."""

    estimand: Literal["association"]
    kind: Literal["superiority"] = "superiority"
    along: Value = "variance_loss"


class SignChange(Terms):
    """The sum of arms is positive at one sparsity and negative at another."""

    estimand: Literal["sign_change"]
    kind: Literal["sign change"] = "sign change"
    margin: float | None = Field(None, gt=0, description="fraction; what counts as none, for the refutation")


class Differs(_Tested):
    """The labels of an axis do not all have the same accuracy: Friedman's test with models as blocks."""

    estimand: Literal["differs"]
    kind: Literal["difference"] = "difference"
    axis: Literal["scorer", "search", "correction", "recalibration", "allocation", "calibration_images",
                  "calibration_batch"]  # fmt: skip
    of: tuple[str | int, ...] | None = Field(None, description="default: all labels of the study")
    margin: float | None = Field(None, gt=0, description="fraction; what counts as none, for the refutation")
    value: Value = "accuracy"


class Overall(Terms):
    """The mean of the sum of arms over all settings at once, by a mixed model."""

    estimand: Literal["overall"]
    kind: Literal["superiority", "noninferiority"] = "superiority"
    margin: float | None = Field(None, ge=0, description="fraction; default 0")


IdentityPart: TypeAlias = MaskIdentity | Reevaluation | RepairIdentity | EmpBound | EmpBeta
MeanPart: TypeAlias = Contrast | Combination
AcrossPart: TypeAlias = AnyOf | Trend | Association | SignChange | Differs | Overall
Part: TypeAlias = Annotated[IdentityPart | MeanPart | AcrossPart, Field(discriminator="estimand")]

#: Estimand -> schema of its part.
PARTS: dict[str, type[_Part]] = {
    "mask_identity": MaskIdentity, "reevaluation": Reevaluation, "repair_identity": RepairIdentity,
    "emp_bound": EmpBound, "emp_beta": EmpBeta, "contrast": Contrast, "combination": Combination, "any_of": AnyOf,
    "trend": Trend, "association": Association, "sign_change": SignChange, "differs": Differs, "overall": Overall,
}  # fmt: skip


class Claim(Strict):
    """One claim: supported if every required part is, refuted if any part is.

    `setting` names the paper's own setting as column: patterns (``*`` allowed); records on other rows are a
    transfer. `per` makes a claim of its own for every label that it lists, in all parts: ``{recalibration: [ema,
    exact]}`` makes ``A1 (ema)`` and ``A1 (exact)``.
    """

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    source: str = Field(min_length=1)
    setting: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    per: dict[str, tuple[str, ...]] = Field(default_factory=dict, max_length=1)
    parts: tuple[Part, ...] = Field(min_length=1)

    @field_validator("setting", "per")
    @classmethod
    def _filters(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _known(value, FILTERS)

    @model_validator(mode="after")
    def _distinct(self) -> Claim:
        names = [part.id for part in self.parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"claim {self.id!r} has two parts {name!r}")
        if all(part.scan for part in self.parts):
            raise ValueError(f"claim {self.id!r} has only parts that decide nothing (scan: true)")
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


def expanded(claim: Claim) -> list[Claim]:
    """Return the claims that `per` makes of one; itself where it has none."""
    if not claim.per:
        return [claim]
    ((column, labels),) = claim.per.items()
    return [
        claim.model_copy(update={
            "id": f"{claim.id} ({label})",
            "text": f"{claim.text} [{column}: {label}]",
            "parts": tuple(p.model_copy(update={"where": {**p.where, column: (label,)}}) for p in claim.parts),
            "per": {},
        })
        for label in labels
    ]  # fmt: skip


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
            if part.kind == "superiority" or part.margin is not None:  # type: ignore[union-attr]
                del changes["margin"]
            elif isinstance(part, Contrast | Combination):
                changes["margin_reason"] = adjustment.reason
        parts.append(part.model_copy(update=changes))
    return claim.model_copy(update={"parts": tuple(parts)})


#: Name of the file in a study folder.
CLAIMS_FILE = "claims.yaml"


def claims_path(folder: Path) -> Path:
    """Where a study keeps its claims."""
    return folder / CLAIMS_FILE
