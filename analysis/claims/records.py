"""Results as frozen records that carry the whole path to their decision; prose and tables show them."""

from __future__ import annotations

import math
import platform
from importlib import metadata
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Verdict: TypeAlias = Literal["supported", "refuted", "inconclusive", "not testable"]
Kind: TypeAlias = Literal[
    "identity", "superiority", "noninferiority", "equivalence", "trend", "sign change", "difference"
]
#: Where the paper's number lies: in our interval, or ours is smaller or larger.
Size: TypeAlias = Literal["agrees", "smaller", "larger", "cannot tell"]

#: Under this number of models a verdict reads "descriptive only".
CONFIRMATORY_MODELS = 6

#: Libraries whose version a decision may depend on.
LIBRARIES = ("numpy", "pandas", "scipy", "statsmodels")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(_Frozen):
    """One decided question: one part of a claim in one setting.

    Accuracies, differences, margins and tolerances are fractions. A number that does not apply is None.

    Attributes
    ----------
    claim, part, kind : str
        Which question; see `analysis.claims.schema`.
    estimand : str
        What was estimated, in words.
    setting : dict
        Column -> label; the data set and model at least.
    in_paper_setting : bool
        Whether all rows used lie in the setting that the paper names.
    data_hash : str
        `analysis.evidence.load.data_hash` of the evidence.
    n : int
        Independently trained models.
    comparisons, mismatches : int or None
        Identities: cells compared, and how many of them differ beyond the tolerance.
    counts : dict
        What became of the other cells, and what else was counted; every one by its name.
    names : tuple of str
        Layers outside the scope of an identity.
    tolerance : float or None
        Identities: the largest accuracy difference that counts as none (the largest over the cells).
    test : str
        The deciding test.
    statistic, df : float or None
        Of the deciding test.
    p, p_adjusted : float or None
        One-sided, for the claim.
    p_against, p_against_adjusted : float or None
        One-sided, for its refutation.
    family, family_size : str or None, int
        What was corrected together (Holm).
    alpha, level : float or None
        One-sided alpha before correction; confidence level of `low`, `high`.
    effect, low, high : float or None
        Mean paired difference with its t interval; identities: the largest absolute difference.
    margin, margin_reason : float or None, str
        As fixed before the data.
    d_z, d_z_low, d_z_high : float or None
        Hedges-corrected effect size with its 95 % interval (noncentral t).
    p_superior : float or None
        Share of models with a positive difference, ties counted one half.
    paper_value, size : float, str or None
        The paper's number, and where it lies against our uncorrected 95 % interval; never a verdict.
    scan : bool
        Corrected by Benjamini and Hochberg; decides nothing.
    details : dict
        What else the test found, by name.
    planned_effect, power : float or None
        In sd units; power of the deciding t test at it.
    two_sided : dict
        Two-sided p-value of every test against no difference; printed, not deciding.
    disagree : bool
        Whether these fall on different sides of 0.05.
    repetitions, seed : int or None
        Of a random permutation test.
    category : str
        ``regular``, or the kind of degenerate data.
    descriptive : bool
        A statistical verdict from fewer than `CONFIRMATORY_MODELS` models.
    models_needed : int or None
        Inconclusive: models at which the interval would decide if mean and sd stayed.
    verdict, reason : str
        The decision, and why where it needs saying.
    versions : dict
        Library -> version.
    """

    claim: str
    part: str
    kind: Kind
    estimand: str
    setting: dict[str, str | float]
    in_paper_setting: bool
    data_hash: str
    n: int
    comparisons: int | None = None
    mismatches: int | None = None
    counts: dict[str, int] = {}
    names: tuple[str, ...] = ()
    tolerance: float | None = None
    test: str = "equality"
    statistic: float | None = None
    df: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    p_against: float | None = None
    p_against_adjusted: float | None = None
    family: str | None = None
    family_size: int = 1
    alpha: float | None = None
    level: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    margin_reason: str = ""
    d_z: float | None = None
    d_z_low: float | None = None
    d_z_high: float | None = None
    p_superior: float | None = None
    paper_value: float | None = None
    size: Size | None = None
    scan: bool = False
    details: dict[str, float | int | str | None] = {}
    planned_effect: float | None = None
    power: float | None = None
    two_sided: dict[str, float | None] = {}
    disagree: bool = False
    repetitions: int | None = None
    seed: int | None = None
    category: str = "regular"
    descriptive: bool = False
    models_needed: int | None = None
    verdict: Verdict = "inconclusive"
    reason: str = ""
    versions: dict[str, str] = {}


class PartResult(_Frozen):
    """A part of a claim with the records that decide it; one with `scan` is printed and decides nothing."""

    id: str
    text: str
    kind: Kind
    verdict: Verdict
    reason: str
    scan: bool = False
    records: tuple[Record, ...]


class ClaimResult(_Frozen):
    """A claim with its verdict.

    Attributes
    ----------
    id, text, source : str
        As in the claims file.
    verdict : str
        Supported if every part is, refuted if any part is.
    notes : tuple of str
        What must be read beside the verdict: ``descriptive only``, ``by identity only``, reasons.
    setting : str
        ``in the paper's setting`` or ``transfer``; empty where nothing was tested.
    registered : bool
        Whether the claims file had this hash before the first cell was run.
    claims_hash : str
        SHA-256 of the claims file now.
    parts : tuple of PartResult
    """

    id: str
    text: str
    source: str
    verdict: Verdict
    notes: tuple[str, ...]
    setting: str
    registered: bool
    claims_hash: str
    parts: tuple[PartResult, ...]


def number(value: float) -> float | None:
    """Return a float for a record: NaN, which JSON cannot say, becomes None.

    Examples
    --------
    >>> number(0.5), number(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else float(value)


def versions() -> dict[str, str]:
    """Versions of the libraries that decisions depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
