"""Test a mean over models against a margin: one setting, or the mean of the settings within each model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.claims.arms import Sample
from analysis.claims.parts import MeanPart
from analysis.claims.questions import SEED, Question, open_record, summed_counts, unfinished
from analysis.claims.records import Record, Size, number
from analysis.stats.bootstrap_t import bootstrap_t
from analysis.stats.degenerate import classify, sd_floor, share_that_may_differ
from analysis.stats.effects import dz_interval
from analysis.stats.equivalence import equivalence_p
from analysis.stats.paired import compare, sign_flip
from analysis.stats.stratified import one_sided_p_values, stratified_mean

#: Margin of an equivalence where none is given: half a point, but never under three test images.
DEFAULT_MARGIN, DEFAULT_IMAGES = 0.5, 3
#: Test images assumed where nothing was evaluated yet.
DEFAULT_TEST = 400
#: An equivalence with fewer differences that are not zero is not decided.
LEAST_NONZERO = 3

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """Outcome of the deciding test of a mean.

    Attributes
    ----------
    test : str
    effect : float
        Mean; with several architectures, the mean of their means.
    p, p_contradiction : float
        One-sided; NaN for data that allow no test.
    statistic, df : float
    low, high : float
        95 % interval.
    category : str
        See `analysis.stats.degenerate.classify`.
    repetitions : int or None
    reason : str
        Explanation of degenerate data.
    """

    test: str
    effect: float = math.nan
    p: float = math.nan
    p_contradiction: float = math.nan
    statistic: float = math.nan
    df: float = math.nan
    low: float = math.nan
    high: float = math.nan
    category: str = "regular"
    repetitions: int | None = None
    reason: str = ""


def null_value(kind: str, margin: float) -> float:
    """Return the mean under the null hypothesis: the margin of superiority, or its negative for non-inferiority."""
    return margin if kind == "superiority" else -margin


def run_mean_test(
    values: ArrayLike, strata: Sequence[str], kind: str, margin: float, test: str, least_sd: float = 0.0
) -> Tested:
    """Test a mean over models by the part's own test.

    Parameters
    ----------
    values : array_like, shape (n,)
        One number per model.
    strata : sequence of str, length n
        Architecture of each model; strata have equal weight.
    kind : str
        superiority, noninferiority or equivalence.
    margin : float
        Not negative; same unit.
    test : str
        ``t``, ``t and bootstrap-t`` or ``sign-flip``.
    least_sd : float
        Lower bound of the standard deviation of each architecture.

    Notes
    -----
    The mean, its standard error and their degrees of freedom are those of `analysis.stats.stratified.stratified_mean`.
    Superiority by m is supported if the lower limit is above m and contradicted if the upper limit is below m.
    Non-inferiority replaces m by -m. The p-value for the contradiction of an equivalence is
    ``P(T > (|mean| - m)/se) + P(T > (|mean| + m)/se)``. With ``t and bootstrap-t``, the larger p-value decides, in
    both directions; with several architectures t decides alone. Differences that are all zero have no p-value; other
    constant differences have those of the sign-flip test, with the interval of t. An equivalence with fewer than
    `LEAST_NONZERO` differences that are not zero has no p-value for support.

    Examples
    --------
    >>> found = run_mean_test([1.0, 2.0, 3.0, 2.0], ["a"] * 4, "superiority", 0.0, "t")
    >>> round(found.p, 4), found.p_contradiction > 0.97, found.low > 0
    (0.0081, True, True)
    """
    sample = np.asarray(values, dtype=np.float64)
    category = classify(sample)
    name = {"t": "paired t", "t and bootstrap-t": "paired t and bootstrap-t", "sign-flip": "sign-flip"}[test]
    if kind == "equivalence":
        name = name.replace("paired t", "two one-sided t tests")
    if category in ("no data", "not finite", "one model"):
        effect = float(sample.mean()) if category == "one model" else math.nan
        return Tested(name, effect, category=category)
    if category == "identical":
        share = 100 * share_that_may_differ(len(sample))
        reason = f"identical in {len(sample)} of {len(sample)} models; up to {share:.0f} % of models may differ"
        return Tested(name, 0.0, low=0.0, high=0.0, category=category, reason=reason)
    several = len(set(strata)) > 1
    mean = stratified_mean(sample, list(strata), least_sd=least_sd)
    if not math.isfinite(mean.se):
        return Tested(name, mean.mean, category="one model per architecture")
    reason = ""
    if several:
        if test == "t and bootstrap-t":
            name, reason = name.replace(" and bootstrap-t", ""), "no bootstrap-t with several architectures: t decides"
        name = f"{name}, architectures as strata"
    if not mean.se > 0:
        return _without_spread(sample, mean.mean, kind, margin, name)
    low, high = mean.low, mean.high
    if kind == "equivalence":
        p, against = equivalence_p(mean.mean, mean.se, mean.df, margin)
        if np.count_nonzero(np.abs(sample) > 1e-9) < LEAST_NONZERO:
            p, reason = math.nan, f"fewer than {LEAST_NONZERO} models differ: too few to measure a spread"
            return Tested(name, mean.mean, p, against, math.nan, mean.df, low, high, category, reason=reason)
    else:
        p, against = one_sided_p_values(mean, null_value(kind, margin))
    statistic = math.nan if kind == "equivalence" else (mean.mean - null_value(kind, margin)) / mean.se
    repetitions = None
    if test == "sign-flip" or (category == "constant" and kind != "equivalence"):
        above = sign_flip(sample, null_value(kind, margin), "greater", seed=SEED)
        below = sign_flip(sample, null_value(kind, margin), "less", seed=SEED)
        p, against, repetitions = above.p, below.p, above.repetitions
        name, statistic = "sign-flip", math.nan
    elif test == "t and bootstrap-t" and not several and category == "regular":
        q, opposite, repetitions = _bootstrap(sample, kind, margin, least_sd)
        p, against = max(p, q), max(against, opposite)
    return Tested(name, mean.mean, p, against, statistic, mean.df, low, high, category, repetitions, reason)


def _without_spread(sample: Values, mean: float, kind: str, margin: float, name: str) -> Tested:
    """Test values without variance and without a floor of their spread: by sign-flip, an equivalence not at all."""
    if kind == "equivalence":
        return Tested(name, mean, category="constant", reason="no spread over models")
    null = null_value(kind, margin)
    above, below = (sign_flip(sample, null, side, seed=SEED) for side in ("greater", "less"))
    return Tested("sign-flip", mean, above.p, below.p, category="constant", repetitions=above.repetitions)


def _bootstrap(sample: Values, kind: str, margin: float, least_sd: float) -> tuple[float, float, int]:
    draws = {null: bootstrap_t(sample, null, seed=SEED, least_sd=least_sd) for null in {-margin, margin}}
    if kind == "equivalence":
        below, above = draws[margin], draws[-margin]
        return max(above.p_greater, below.p_less), min(1.0, above.p_less + below.p_greater), below.t.size
    found = draws[null_value(kind, margin)]
    return found.p_greater, found.p_less, found.t.size


def mean_questions(part: MeanPart, samples: Sequence[Sample]) -> list[Question]:
    """Test every setting of a part; their mean within each model where the part is about the mean."""
    if part.over == "mean":
        return mean_over_settings(part, samples)
    return [mean_question(part, sample) for sample in samples]


def mean_question(part: MeanPart, sample: Sample) -> Question:
    """Test one setting."""
    values = sample.values.to_numpy(dtype=np.float64)
    margin, reason = resolved_margin(part, sample.images)
    floor = resolution(part, sample.images)
    tested = run_mean_test(values, ["all"] * len(values), part.kind, margin, part.test, floor)
    return Question(_record(part, sample, values, tested, margin, reason), sample.values, sample)


def mean_over_settings(part: MeanPart, samples: Sequence[Sample]) -> list[Question]:
    """Test the mean over settings: averaged within each model, then over architectures with equal weight.

    Settings that hold by construction, and settings that were skipped, are left out. A model that lacks a setting of
    its architecture is left out and counted, so that every mean of an architecture is over the same settings. A setting
    that failed or has not run in any model leaves the mean over the planned settings undecided.
    """
    measured = [
        sample for sample in samples
        if not sample.by_construction and (len(sample.values) or unfinished(sample.counts))
    ]  # fmt: skip
    used = [sample for sample in measured if len(sample.values)]
    if not measured:
        return [mean_question(part, sample) for sample in samples]
    strata = pd.Series({
        checkpoint: f"{sample.setting.get('dataset')}: {sample.setting.get('model')}"
        for sample in used for checkpoint in sample.values.index
    }, dtype="object")  # fmt: skip
    table = pd.concat([sample.values for sample in used], axis=1) if used else pd.DataFrame()
    required = table.notna().groupby(strata.reindex(table.index)).transform("any") if used else table
    whole = (table.notna() | ~required).all(axis=1) if used else pd.Series(dtype=bool)
    means = table[whole].mean(axis=1) if used else pd.Series(dtype="float64")
    everywhere = {
        key: value for key, value in measured[0].setting.items()
        if all(sample.setting.get(key) == value for sample in measured)
    }  # fmt: skip
    counts = summed_counts(measured)
    counts |= {"models without every setting": int((~whole).sum())} if used and not whole.all() else {}
    constructed = sum(bool(sample.by_construction) for sample in samples)
    counts |= {"settings by construction": constructed} if constructed else {}
    images = min((sample.images for sample in used), default=math.nan)
    words = f"{measured[0].words}, mean of {len(measured)} settings"
    sample = Sample(everywhere, means, words, counts, images)
    values = means.to_numpy(dtype=np.float64)
    margin, reason = resolved_margin(part, images)
    tested = run_mean_test(
        values, strata.reindex(means.index).tolist(), part.kind, margin, part.test, resolution(part, images)
    )
    record = _record(part, sample, values, tested, margin, reason)
    positive = sum(float(one.values.mean()) > 0 for one in used)
    changes: dict[str, Any] = {
        "settings": len(measured), "averaged": tuple(one.setting for one in measured),
        "details": {"settings with a positive mean": f"{positive} of {len(used)}"},
    }  # fmt: skip
    if used and len(used) < len(measured):
        changes |= {"p": None, "p_contradiction": None, "reason": (
            f"{len(measured) - len(used)} of {len(measured)} settings failed or have not run: the mean is unknown"
        )}  # fmt: skip
    return [Question(record.model_copy(update=changes), means, sample)]


def _record(
    part: MeanPart, sample: Sample, values: Values, tested: Tested, margin: float, margin_reason: str
) -> Record:
    both = compare(values, seed=SEED)
    effect_size = dz_interval(values)
    record = Record(
        **open_record(part, sample, len(values)),
        sample=digest_of(sample.values),
        test=tested.test,
        statistic=number(tested.statistic),
        df=number(tested.df),
        p=number(tested.p),
        p_contradiction=number(tested.p_contradiction),
        effect=number(tested.effect),
        low=number(tested.low),
        high=number(tested.high),
        margin=margin,
        margin_reason=margin_reason,
        d_z=number(effect_size.estimate),
        d_z_low=number(effect_size.low),
        d_z_high=number(effect_size.high),
        p_superior=number(both.p_superior),
        two_sided={test.name: number(test.p) for test in (both.t, both.sign_flip, both.wilcoxon)},
        disagree=both.disagree(),
        skewness=number(both.skewness),
        repetitions=tested.repetitions,
        seed=SEED if tested.repetitions else None,
        category=tested.category,
        reason="; ".join(text for text in (tested.reason, _skewed(part, both.skewness)) if text),
    )
    if part.paper_value is None:
        return record
    return record.model_copy(update={"paper_value": part.paper_value, "size": _size(part.paper_value, record)})


def digest_of(values: pd.Series) -> str:
    """Return a digest of the numbers of the models, equal for equal numbers whatever their order.

    Examples
    --------
    >>> digest_of(pd.Series([1.0, 2.0], ["a", "b"])) == digest_of(pd.Series([2.0, 1.0], ["b", "a"]))
    True
    """
    lines = sorted(f"{checkpoint} {value:.6f}" for checkpoint, value in values.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""


def _skewed(part: MeanPart, skewness: float) -> str:
    """Return the flag of a t test on skewed differences (STATISTICS: simulated at a skewness of about 1.1)."""
    if part.test == "t" and abs(skewness) > 1:
        return f"the differences are skewed ({skewness:.1f}): nominal 0.025, about 0.05 to 0.10"
    return ""


def _size(paper: float, record: Record) -> Size:
    """Return the position of the paper's value; an interval that also holds 0 cannot tell."""
    if record.low is None or record.high is None or record.effect is None:
        return "cannot tell"
    if record.low <= paper <= record.high:
        return "cannot tell" if record.low <= 0 <= record.high and paper != 0 else "agrees"
    return "smaller" if record.effect < paper else "larger"


def resolved_margin(part: MeanPart, images: float) -> tuple[float, str]:
    """Return the margin of a part in points, and its reason; a default one depends on the number of test images."""
    if part.margin is not None:
        return part.margin, part.margin_reason
    if part.kind != "equivalence":
        return 0.0, ""
    return default_margin(images), "default: the larger of 0.5 points and 3 test images"


def default_margin(images: float) -> float:
    """Return the margin where none is given: half a point or three test images, whichever is larger.

    Examples
    --------
    >>> default_margin(400), default_margin(10_000)
    (0.75, 0.5)
    """
    return max(DEFAULT_MARGIN, 100 * DEFAULT_IMAGES / (DEFAULT_TEST if math.isnan(images) else images))


def resolution(part: MeanPart, images: float) -> float:
    """Return the least standard deviation of a part's differences, in points: that of rounding to whole images.

    0 for a value that is no accuracy.
    """
    if part.value not in ("accuracy", "change") or math.isnan(images):
        return 0.0
    return sd_floor(int(images))
