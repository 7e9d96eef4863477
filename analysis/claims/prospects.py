"""What a study's claims can find with so many models, before any run: least effects and margins, attainable p."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.claims.contrasts import default_margin
from analysis.claims.read import Claims
from analysis.claims.samples import Sample, samples
from analysis.claims.schema import AnyOf, Combination, Contrast, Overall, Part, SignChange, Trend
from analysis.claims.select import lacking, missing
from analysis.stats.power import Test, attainable_p, least_effect_one_sided, least_margin, models_for_power

#: Numbers of models that are looked at unless others are asked for.
MODELS = (3, 5, 10, 20)
#: Chance to find what is there.
POWER = 0.8


@dataclass(frozen=True)
class Prospect:
    """What one part of a claim can decide.

    Attributes
    ----------
    claim, part, kind, test : str
        Which question, and the test that decides it.
    questions : int
        Settings that the study asks it in.
    family : int
        Questions that are corrected together.
    alpha : float
        One-sided level of the first step of Holm's correction: the strictest that may be needed.
    sd : float or None
        Standard deviation over models of the paired difference, a fraction; None where neither stated nor in a pilot.
    margin : float or None
        The part's margin, a fraction.
    least : dict
        Models -> least effect over the margin (superiority), or least margin at a true difference of 0
        (non-inferiority, equivalence), that is found with the power asked for; a fraction, or in sd where `sd` is None;
        None where that number of models cannot find any.
    needed : int or None
        Models needed for the part's planned effect.
    reason : str
        Why the study cannot test it at all, or what limits it.
    """

    claim: str
    part: str
    kind: str
    test: str
    questions: int
    family: int
    alpha: float
    sd: float | None
    margin: float | None
    least: Mapping[int, float | None]
    needed: int | None
    reason: str = ""


def prospects(
    rows: pd.DataFrame, claims: Claims, *, pilot: pd.DataFrame | None = None, sd: float | None = None,
    models: Sequence[int] = MODELS, power: float = POWER,
) -> list[Prospect]:  # fmt: skip
    """Say what each statistical part of a study's claims can find.

    Parameters
    ----------
    rows : DataFrame
        The planned rows, run or not.
    claims : Claims
        What is claimed.
    pilot : DataFrame, optional
        Rows to estimate the standard deviation from: for each part the pooled one over its settings.
    sd : float, optional
        A stated standard deviation of the paired differences, a fraction; goes before the pilot.
    models : sequence of int
        Numbers of independently trained models.
    power : float
        Chance to find what is there.
    """
    asked = [
        (claim.id, part, [] if lacking(rows, part) else _questions(rows, part))
        for claim in claims.claims for part in claim.parts if part.kind != "identity"
    ]  # fmt: skip
    sizes: dict[tuple[str, bool], int] = {}
    for name, part, found in asked:
        if not part.scan:
            sizes[_family(name, part)] = sizes.get(_family(name, part), 0) + len(found)
    made = []
    for name, part, found in asked:
        if part.scan:
            continue
        family = max(1, sizes[_family(name, part)])
        spread = sd if sd is not None else _pilot_sd(pilot, part)
        lacks = "" if found else missing(rows, part)
        made.append(_prospect(name, part, found, family, spread, models, power, lacks))
    return made


def _family(claim: str, part: Part) -> tuple[str, bool]:
    return getattr(part, "family", None) or claim, part.kind == "equivalence"


def _questions(rows: pd.DataFrame, part: Part) -> list[Sample]:
    """Return the settings in which a part is asked; those that were skipped ask nothing."""
    if isinstance(part, Contrast | Combination):
        found = samples(rows, part)
    elif isinstance(part, Trend):
        found = samples(rows, part, part.over)
    elif isinstance(part, AnyOf | Overall):
        found = samples(rows, part)[:1]
    else:
        found = samples(rows, part, "sparsity") if hasattr(part, "terms") else []
    return [sample for sample in found if len(sample.values) or set(sample.counts) - {"skipped"}]


def _pilot_sd(pilot: pd.DataFrame | None, part: Part) -> float | None:
    """Pool the standard deviations of a pilot's settings; None where no setting has two models that differ."""
    if pilot is None or not isinstance(part, Contrast | Combination):
        return None
    found = [(float(s.values.var(ddof=1)), len(s.values) - 1) for s in samples(pilot, part) if len(s.values) > 1]
    found = [(variance, df) for variance, df in found if math.isfinite(variance)]
    if not found or not any(variance for variance, _ in found):
        return None
    return float(np.sqrt(np.average([v for v, _ in found], weights=[df for _, df in found])))


def _prospect(
    claim: str, part: Part, found: Sequence[Sample], family: int, sd: float | None, models: Sequence[int],
    power: float, lacks: str,
) -> Prospect:  # fmt: skip
    union = part.kind == "equivalence"
    alpha = part.level if union else part.level / family  # type: ignore[union-attr]
    test = _test(part)
    mean = isinstance(part, Contrast | Combination)
    least: dict[int, float | None] = {}
    for n in models:
        if attainable_p(test, n) >= alpha or not mean:
            least[n] = None
            continue
        units = least_margin(n, alpha, power) if union else least_effect_one_sided(n, alpha, power)
        least[n] = None if units is None else units if sd is None else units * sd
    planned = part.planned_effect if mean else None  # type: ignore[union-attr]
    margin = _margin(part, found) if mean else None
    reason = lacks
    if found and not mean:
        reason = "decided by its p-value: power depends on more than one standard deviation"
        if all(attainable_p(test, n) >= alpha for n in models):
            reason = "no p-value under the corrected alpha is attainable"
    return Prospect(
        claim, part.id, part.kind, _NAMES[test], len(found), family, alpha, sd if mean else None, margin, least,
        models_for_power(planned, alpha, power) if planned and not union else None, reason,
    )  # fmt: skip


def _test(part: Part) -> Test:
    if isinstance(part, AnyOf | SignChange):
        return "max-t"
    return "sign-flip" if getattr(part, "test", "t") == "sign-flip" else "t"


_NAMES: dict[Test, str] = {"t": "paired t", "sign-flip": "sign-flip", "max-t": "sign-flip max-T"}


def _margin(part: Part, found: Sequence[Sample]) -> float | None:
    assert isinstance(part, Contrast | Combination)
    if part.margin is not None or part.kind == "superiority":
        return part.margin or 0.0
    known = [sample.images for sample in found if not math.isnan(sample.images)]
    return default_margin(min(known)) if known else None
