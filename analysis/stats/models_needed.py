"""Power of a claim's part in a fresh study: models needed, power with n models, least decidable effect or margin.

Everything is computed for the part's own deciding test, its family and its *planned* effect. The spread is that of a
pilot, at the upper limit that `sd_upper_limit` gives. An effect that was observed is no input: plugging it in would
give a power near one half for every result at the border.

Differences, margins and standard deviations share one unit, normally percentage points.
"""

from __future__ import annotations

import functools
import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

from analysis.stats.limits import CLAIM_ALPHA, MOST_MODELS, Over, PowerTest
from analysis.stats.power import POWER, attainable_p, superiority_power, tost_power

Kind: TypeAlias = Literal["superiority", "noninferiority", "equivalence"]
Values: TypeAlias = NDArray[np.float64]

#: `t and bootstrap-t` is planned as t with so many models fewer.
BOOTSTRAP_LOSS = 2
#: Up to here the sign-flip tests are simulated, each with all 2^n patterns; their few levels matter.
SIMULATED_MODELS = 12
#: Simulated samples: a power near 0.8 has a standard error of 0.009.
SAMPLES = 2000
SEED = 20261129
#: Correlation of the differences of two arms that share their reference and have equal spread.
ARM_CORRELATION = 0.5


def sd_upper_limit(sd: float, df: float, level: float = 0.8) -> float:
    """Return the upper confidence limit of a standard deviation that a pilot estimated.

    Parameters
    ----------
    sd : float
        Estimate, with `df` degrees of freedom.
    df : float
        Models of the pilot less one, summed over its settings where the estimate is pooled.
    level : float, default 0.8
        One-sided confidence level.

    Notes
    -----
    ``sd sqrt(df / chi2)``, with chi2 the 1 - level quantile of the chi-square distribution; for normal differences.

    Examples
    --------
    >>> [round(sd_upper_limit(1.0, models - 1), 2) for models in (5, 10, 20)]
    [1.56, 1.29, 1.18]
    """
    return sd * math.sqrt(df / (2 * float(gammaincinv(0.5 * df, 1 - level))))


def part_power(
    kind: Kind, test: PowerTest, effect: float, margin: float, sd: float, n: int, *,
    alpha: float = CLAIM_ALPHA, over: Over = "every", questions: int = 1, arms: int = 1,
) -> float:  # fmt: skip
    """Return the chance that a part is supported in a fresh study of `n` models.

    Parameters
    ----------
    kind : str
        ``superiority`` (the difference exceeds `margin`), ``noninferiority`` (it exceeds ``-margin``) or
        ``equivalence`` (it lies inside ``(-margin, margin)``, by TOST).
    test : str
        Deciding test.
    effect : float
        Planned true difference; usually 0 for non-inferiority and equivalence.
    margin : float
        Not negative, and positive for equivalence.
    sd : float
        Standard deviation over models of the paired difference; positive. With `over` ``mean``, that of a model's
        mean over the settings.
    n : int
        Independently trained models.
    alpha : float, default 0.025
        One-sided level of the claim.
    over : str
        Quantifier of the part over its settings.
    questions : int
        Settings, the K of Notes; without effect for ``mean``, which is one question.
    arms : int
        Arms of the max-T test, of which one has the effect and the others have none.

    Returns
    -------
    float
        For ``every`` a lower bound, which holds for any dependence of the settings; for ``some`` the chance that one
        setting with the effect suffices.

    Raises
    ------
    ValueError
        For an equivalence by max-T, which does not exist.

    Notes
    -----
    ``every``: each question is tested at alpha, and the power is ``1 - K (1 - power per question)``. ``some``: each is
    tested at ``alpha / K``. Per question:

    - ``t``: noncentral t; TOST averaged over the estimate of the sd.
    - ``t and bootstrap-t``: t with two models fewer. In simulations of normal differences (B = 1999) the joint decision
      has the power of t with one or two models fewer: 0.59, 0.70, 0.78, 0.78 with 5, 10, 15, 20 models where t alone
      has 0.80. For skewed differences no power is promised.
    - ``sign-flip`` and ``max-t``: simulated with all sign patterns to 12 models. Beyond, t at the largest level that
      so many patterns attain, for max-T per arm (Dunnett's constant for correlation 0.5); within 0.02 of simulations.

    Examples
    --------
    >>> round(part_power("superiority", "t", 2.0, 0.0, 2.0, 10), 2)
    0.8
    >>> round(part_power("equivalence", "t", 0.0, 2.0, 2.0, 13), 2)
    0.82
    >>> part_power("superiority", "sign-flip", 5.0, 0.0, 2.0, 5)
    0.0
    """
    level = alpha / questions if over == "some" else alpha
    power = _question_power(kind, test, effect, margin, sd, n, level, arms)
    if over == "every":
        return max(0.0, 1 - questions * (1 - power))
    return power


def models_needed(
    kind: Kind, test: PowerTest, effect: float, margin: float, sd: float, *,
    alpha: float = CLAIM_ALPHA, power: float = POWER, over: Over = "every", questions: int = 1, arms: int = 1,
    most: int = MOST_MODELS,
) -> int | None:  # fmt: skip
    """Return the least number of models with which a fresh study supports a part with the requested power.

    Parameters
    ----------
    kind, test, effect, margin, sd, alpha, over, questions, arms
        As for `part_power`.
    power : float, default 0.8
        Requested power of the part; with `over` ``every`` each question needs ``1 - (1 - power) / questions``.
    most : int
        Largest number to consider.

    Returns
    -------
    int or None
        None if `most` models are not enough: the planned effect does not lie on the claimed side of the margin, or
        lies too close to it.

    Examples
    --------
    >>> models_needed("superiority", "t", 2.0, 0.0, 2.0), models_needed("equivalence", "t", 0.0, 2.0, 2.0)
    (10, 13)
    >>> models_needed("superiority", "t", 2.0, 0.0, 2.0, over="every", questions=4)
    16
    >>> models_needed("superiority", "t", 1.0, 1.0, 2.0) is None
    True
    """

    def enough(n: int) -> bool:
        found = part_power(kind, test, effect, margin, sd, n, alpha=alpha, over=over, questions=questions, arms=arms)
        return found >= power

    below, above = 1, 2
    while not enough(above):
        if above >= most:
            return None
        below, above = above, min(2 * above, most)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above


def least_decidable(
    kind: Kind, test: PowerTest, sd: float, n: int, *,
    alpha: float = CLAIM_ALPHA, over: Over = "every", questions: int = 1, power: float = POWER, arms: int = 1,
) -> float:  # fmt: skip
    """Return the least effect or margin that a fresh study of `n` models decides with the requested power.

    Parameters
    ----------
    kind, test, sd, n, alpha, over, questions, arms
        As for `part_power`.
    power : float, default 0.8
        Requested power of the part.

    Returns
    -------
    float
        In the unit of `sd`. Superiority: least true difference over the margin. Non-inferiority and equivalence: least
        margin at a true difference of 0. Infinite where `n` models cannot decide whatever the effect.

    Examples
    --------
    >>> round(least_decidable("superiority", "t", 2.0, 10), 1), round(least_decidable("equivalence", "t", 2.0, 10), 1)
    (2.0, 2.3)
    >>> least_decidable("superiority", "sign-flip", 2.0, 5)
    inf
    """
    level = alpha / questions if over == "some" else alpha
    if not _attainable(test, n, level):
        return math.inf

    def lacking(size: float) -> float:
        effect, margin = (size, 0.0) if kind == "superiority" else (0.0, size)
        found = part_power(kind, test, effect, margin, 1.0, n, alpha=alpha, over=over, questions=questions, arms=arms)
        return found - power

    upper = 2 / math.sqrt(n)
    while lacking(upper) < 0:
        upper *= 1.5
    return sd * float(brentq(lacking, 0.0, upper, xtol=1e-4))


def _question_power(
    kind: Kind, test: PowerTest, effect: float, margin: float, sd: float, n: int, level: float, arms: int
) -> float:
    """Return the power of one question at its one-sided level."""
    if not _attainable(test, n, level):
        return 0.0
    if kind == "equivalence" and test == "max-t":
        raise ValueError("an equivalence is decided by t, t and bootstrap-t or sign-flip, not by max-t")
    permuted = test in ("sign-flip", "max-t")
    if kind == "equivalence":
        if permuted and n <= SIMULATED_MODELS:
            return _simulated_power(((margin - effect) / sd, (margin + effect) / sd), n, level, 1)
        size = _size(test, n)
        critical = float(stdtrit(size - 1, 1 - _t_level(test, n, level, 1)))
        return tost_power(margin / sd, size, critical, effect / sd)
    d = (effect + (margin if kind == "noninferiority" else -margin)) / sd
    if permuted and n <= SIMULATED_MODELS:
        return _simulated_power((d,), n, level, arms)
    return superiority_power(d, _size(test, n), _t_level(test, n, level, arms))


def _attainable(test: PowerTest, n: int, level: float) -> bool:
    """Return whether any data of n models give a p-value of at most the level."""
    if test in ("sign-flip", "max-t"):
        return attainable_p("sign-flip" if test == "sign-flip" else "max-t", n) <= level
    return _size(test, n) >= 2


def _size(test: PowerTest, n: int) -> int:
    return n - BOOTSTRAP_LOSS if test == "t and bootstrap-t" else n


def _t_level(test: PowerTest, n: int, level: float, arms: int) -> float:
    """Return the one-sided level at which a t test stands for the deciding test."""
    if test not in ("sign-flip", "max-t"):
        return level
    attained = level if n > 50 else math.floor(level * 2**n) / 2**n
    return _arm_level(attained, arms)


@functools.lru_cache(maxsize=256)
def _arm_level(level: float, arms: int) -> float:
    """Return the level of each arm for which any of them is rejected with chance `level`, if none has an effect.

    With correlation 1/2, each arm's statistic is (own + common) / sqrt(2): the arms are independent given the common
    part, over which the chance is averaged.
    """
    if arms == 1:
        return level
    common = ndtri((np.arange(4000) + 0.5) / 4000)
    critical = brentq(lambda c: 1 - level - float(np.mean(ndtr(2**0.5 * c - common) ** arms)), 0.0, 10.0)
    return float(ndtr(-critical))


@functools.lru_cache(maxsize=64)
def _noise(n: int, arms: int) -> Values:
    """Draw normal differences of sd 1, shape (arms, n, samples), correlated between arms."""
    rng = np.random.default_rng([SEED, n, arms])
    own, common = rng.standard_normal((arms, n, SAMPLES)), rng.standard_normal((n, SAMPLES))
    mixed: Values = np.sqrt(1 - ARM_CORRELATION) * own + np.sqrt(ARM_CORRELATION) * common
    return mixed


def _simulated_power(shifts: tuple[float, ...], n: int, level: float, arms: int) -> float:
    """Return the share of samples in which the sign-flip max-T test rejects, with one shift or with the two of TOST."""
    signs = np.where(np.arange(2**n)[:, None] >> np.arange(n) & 1, np.float32(1), np.float32(-1))
    rejected = np.ones(SAMPLES, dtype=np.bool_)
    for sign, shift in zip((-1.0, 1.0) if len(shifts) == 2 else (1.0,), shifts, strict=True):
        maxima = np.full((2**n, SAMPLES), -np.inf, dtype=np.float32)
        for arm, noise in enumerate(_noise(n, arms)):
            values = (sign * noise + (shift if arm == 0 else 0.0)).astype(np.float32)
            np.maximum(maxima, signs @ (values / np.sqrt((values**2).sum(axis=0))), out=maxima)
        rejected &= (maxima >= maxima[-1] - 1e-5).mean(axis=0) <= level
    return float(rejected.mean())
