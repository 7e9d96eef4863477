"""Results as frozen records that carry the whole path to their decision; prose and tables show them."""

from __future__ import annotations

import math
import platform
from importlib import metadata
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from analysis.claims.parts import Kind, Over, Role

Verdict: TypeAlias = Literal["supported", "contradicted", "inconclusive", "not testable"]
#: Position of the source's value relative to the 95 % interval.
Size: TypeAlias = Literal["agrees", "smaller", "larger", "cannot tell"]
Basis: TypeAlias = Literal["measured", "by construction"]
#: Whether a setting can answer its question, and where that was judged.
Gate: TypeAlias = Literal["", "informative", "not informative", "not judged"]

#: Under this number of models a verdict reads "descriptive only".
CONFIRMATORY_MODELS = 6

#: One-sided error rate of every claim, in either direction.
ALPHA = 0.025

#: Libraries whose version a decision may depend on.
LIBRARIES = ("numpy", "pandas", "scipy", "statsmodels")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(_Frozen):
    """One decided question: one part of a claim in one setting, or in the mean over its settings.

    Accuracies, differences, margins and tolerances are in percentage points. A number that does not apply is None.

    Attributes
    ----------
    claim, part, role, over, kind : str
        The question; see `analysis.claims.parts`.
    estimand : str
        What was estimated, in words.
    setting : dict
        Column -> label; the data set and model at least, except for a mean over settings.
    settings : int
        Settings that this record rests on: 1, or the number averaged within each model.
    averaged : tuple of dict
        The settings that were averaged; empty for a single one.
    in_paper_setting : bool
        Whether all rows used lie in the setting that the source names.
    differs : dict
        Column -> label, where the setting is not the source's.
    data_hash : str
        `analysis.evidence.load.data_hash` of the evidence.
    sample : str
        Digest of the numbers of the models; empty for an estimand without one number per model.
    same_as : str
        Claim and part that test the same numbers in the same way; empty if none before this one.
    n : int
        Independently trained models.
    comparisons, mismatches : int or None
        Identities: cells compared, and how many of them differ beyond the tolerance.
    counts : dict
        Reason -> number of cells that are not used, and what else was counted.
    names : tuple of str
        Layers outside the scope of an identity.
    tolerance : float or None
        Identities: the largest accuracy difference that counts as none (the largest over the cells).
    test : str
        The deciding test.
    statistic, df : float or None
        Of the deciding test.
    p, p_adjusted : float or None
        One-sided, for support; adjusted for the quantifier of the part.
    p_contradiction, p_contradiction_adjusted : float or None
        One-sided, for contradiction; adjusted for the quantifier and for the primary parts of the claim (Holm).
    questions, primary_parts : int
        The family: questions of the part that were decided together, and primary parts of the claim.
    alpha : float
        One-sided error rate that decides.
    effect, low, high : float or None
        Mean paired difference with its 95 % interval; identities: the largest absolute difference.
    low_repeated, high_repeated : float or None
        Repeated interval of a study with two looks: at the level of the look.
    margin, margin_reason : float or None, str
        As fixed before the data.
    d_z, d_z_low, d_z_high : float or None
        Standardised effect size with its 95 % interval.
    p_superior : float or None
        Share of models with a positive difference, ties counted one half.
    paper_value, size : float, str or None
        The source's value, and its position relative to the 95 % interval; never a verdict.
    details : dict
        Further results of the test, by name.
    planned_effect, planned_d, power : float or None
        The planned effect, in points or standard deviations, and the power of the deciding test at the latter, with as
        many models and at the level that the quantifier leaves to one question.
    two_sided : dict
        Test -> two-sided p-value against no difference; printed, not deciding.
    disagree : bool
        Whether these fall on different sides of 0.05.
    skewness : float or None
        Of the differences.
    repetitions, seed : int or None
        Of a random permutation or bootstrap test.
    category : str
        ``regular``, or the kind of degenerate data.
    by_construction : str
        Why the answer follows from definitions; empty where it is measured.
    gate : str
        Whether the setting is informative.
    descriptive : bool
        A statistical verdict from fewer than `CONFIRMATORY_MODELS` models.
    verdict, reason : str
        The decision, and an explanation where it requires one.
    versions : dict
        Library -> version.
    """

    claim: str = ""
    part: str
    role: Role = "primary"
    over: Over = "every"
    kind: Kind
    estimand: str
    setting: dict[str, str | float]
    settings: int = 1
    averaged: tuple[dict[str, str | float], ...] = ()
    in_paper_setting: bool = False
    differs: dict[str, str | float] = {}
    data_hash: str = ""
    sample: str = ""
    same_as: str = ""
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
    p_contradiction: float | None = None
    p_contradiction_adjusted: float | None = None
    questions: int = 1
    primary_parts: int = 1
    alpha: float = ALPHA
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    low_repeated: float | None = None
    high_repeated: float | None = None
    margin: float | None = None
    margin_reason: str = ""
    d_z: float | None = None
    d_z_low: float | None = None
    d_z_high: float | None = None
    p_superior: float | None = None
    paper_value: float | None = None
    size: Size | None = None
    details: dict[str, float | int | str | None] = {}
    planned_effect: float | None = None
    planned_d: float | None = None
    power: float | None = None
    two_sided: dict[str, float | None] = {}
    disagree: bool = False
    skewness: float | None = None
    repetitions: int | None = None
    seed: int | None = None
    category: str = "regular"
    by_construction: str = ""
    gate: Gate = ""
    descriptive: bool = False
    verdict: Verdict = "inconclusive"
    reason: str = ""
    versions: dict[str, str] = {}

    @property
    def reported_p(self) -> tuple[float | None, float | None]:
        """Raw and adjusted p-value of the direction that the data point to: the smaller one."""
        support, against = self.p, self.p_contradiction
        if support is None or (against is not None and against < support):
            return against, self.p_contradiction_adjusted
        return support, self.p_adjusted


class Reading(_Frozen):
    """One combination of the choices that the source leaves open, and the outcome of a part under it.

    Attributes
    ----------
    levels : dict
        Choice -> level.
    primary : bool
        Whether this is the reading that decides.
    verdict : str
        Of the part under this reading.
    by_construction : str
        Why the answer follows from definitions; such a reading is not counted.
    same_as : dict
        Levels of an earlier reading that tests the same numbers; such a reading is not counted again.
    n, settings : int
        Models, and settings that the effect is the mean of.
    effect, low, high : float or None
        Mean over the settings, within each model, with its 95 % interval; percentage points.
    p, p_contradiction : float or None
        Of the part under this reading.
    """

    levels: dict[str, str | float]
    primary: bool
    verdict: Verdict
    by_construction: str = ""
    same_as: dict[str, str | float] = {}
    n: int = 0
    settings: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_contradiction: float | None = None

    @property
    def counts(self) -> bool:
        """Whether the reading is a measurement of its own."""
        return not self.by_construction and not self.same_as


class Robustness(_Frozen):
    """How the readings of a part compare.

    Attributes
    ----------
    planned : int
        Combinations of choices; those that the study has are in `readings`.
    readings : tuple of Reading
        Sorted by effect.
    robust : bool
        None contradicts after Holm's correction over readings, and at least half support.
    depends_on : dict
        Choice -> Holm-adjusted p-value of the paired contrast between its levels, where it is below 0.05.
    """

    planned: int
    readings: tuple[Reading, ...]
    robust: bool
    depends_on: dict[str, float] = {}

    def tally(self) -> dict[str, int]:
        """Return verdict -> number of readings; those by construction, or with the numbers of another, are left out."""
        measured = [reading.verdict for reading in self.readings if reading.counts]
        return {verdict: measured.count(verdict) for verdict in ("supported", "inconclusive", "contradicted")}


class PartResult(_Frozen):
    """A part of a claim with the records that decide it.

    Attributes
    ----------
    id, text, kind, role, over : str
        As in the claims file.
    verdict, reason : str
    p, p_contradiction, p_contradiction_adjusted : float or None
        One-sided, of the part; the last one after Holm's correction over the primary parts of the claim.
    left_out : int
        Settings that are not informative in the pilot of the registration, and so are not part of the question.
    records : tuple of Record
    robustness : Robustness or None
        None for a part whose source leaves no choice open.
    """

    id: str
    text: str
    kind: Kind
    role: Role
    over: Over
    verdict: Verdict
    reason: str = ""
    p: float | None = None
    p_contradiction: float | None = None
    p_contradiction_adjusted: float | None = None
    left_out: int = 0
    records: tuple[Record, ...]
    robustness: Robustness | None = None


class ClaimResult(_Frozen):
    """A claim with its verdict.

    Attributes
    ----------
    id, text, source : str
        As in the claims file.
    verdict : str
        Of the primary parts.
    scope : str
        ``in the paper's setting``, or ``transfer`` with what differs; empty where nothing was tested.
    basis : str
        ``measured``, or ``by construction`` where the verdict follows from definitions.
    models : int
        Models that the smallest deciding record rests on.
    robustness : str
        In words; empty where the source leaves no choice open.
    notes : tuple of str
        Caveats.
    claims_hash : str
        SHA-256 of the claims file now.
    parts : tuple of PartResult
    """

    id: str
    text: str
    source: str
    verdict: Verdict
    scope: str = ""
    basis: Basis = "measured"
    models: int = 0
    robustness: str = ""
    notes: tuple[str, ...] = ()
    claims_hash: str = ""
    parts: tuple[PartResult, ...]


def number(value: float) -> float | None:
    """Return a float for a record; NaN, which JSON does not have, becomes None.

    Examples
    --------
    >>> number(0.5), number(float("nan"))
    (0.5, None)
    """
    return None if math.isnan(value) else float(value)


def one_if_missing(p: float | None) -> float:
    """Return a p-value; 1 where a test gave none or NaN.

    Examples
    --------
    >>> one_if_missing(0.5), one_if_missing(None), one_if_missing(float("nan"))
    (0.5, 1.0, 1.0)
    """
    return 1.0 if p is None or math.isnan(p) else p


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decisions depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
