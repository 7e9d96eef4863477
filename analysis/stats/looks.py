"""Two looks at a growing study: the level of each look, intervals after a stop, expected number of models.

The alpha is spent by the O'Brien-Fleming-type function of Lan and DeMets (1983, Biometrika 70, 659): with the share of
models I, ``alpha(I) = 2 - 2 Phi(z / sqrt(I))``, z the 1 - alpha / 2 quantile of the normal distribution. A question is
decided at look k if its t-test's p-value is under the level of that look. Each question, and each direction of it,
spends its own alpha; a decision stands at the later look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtrit

from analysis.stats.limits import CLAIM_ALPHA
from analysis.stats.power import superiority_power

#: Models that a first look must have: with fewer, the t distribution's tail at its small level decides nothing.
LEAST_FIRST_LOOK = 6


def nominal_levels(looks: Sequence[int], alpha: float = CLAIM_ALPHA) -> tuple[float, ...]:
    """Return the one-sided level at which a p-value decides at each look.

    Parameters
    ----------
    looks : sequence of int
        Numbers of models at one or two looks, ascending.
    alpha : float
        One-sided error rate over all looks.

    Raises
    ------
    ValueError
        If there are not one or two ascending looks, or the first of two has fewer than 6 models.

    Notes
    -----
    With I the first look's share of models, the first level is ``alpha(I)`` and the second p solves ``P(Z1 < z1, Z2 >
    z2) = alpha - alpha(I)``, where z1 and z2 are the upper quantiles of the levels and Z1, Z2 are standard normal with
    correlation sqrt(I). The levels are applied to p-values of t tests (Jennison and Turnbull 2000, Group Sequential
    Methods, section 11.5).

    Simulated share of wrong decisions at either look, one-sided, of 2,000,000 normal samples each
    (tests/slow/test_looks_size.py): t test 0.0252 to 0.0258 and TOST 0.0250 to 0.0255 for looks at 6 and 12, 8 and 16,
    10 and 20, 10 and 30, and 15 and 20 models; at 10 and 20 it is 0.0253 and 0.0254. It exceeds 0.025 a little, since
    t statistics of two looks are less dependent than normal ones.

    Examples
    --------
    >>> [round(level, 5) for level in nominal_levels([10, 20])]
    [0.00153, 0.0245]
    >>> nominal_levels([10])
    (0.025,)
    """
    check_looks(looks)
    if len(looks) == 1:
        return (alpha,)
    share = looks[0] / looks[1]
    first = float(2 * ndtr(ndtri(alpha / 2) / share**0.5))
    boundary = -float(ndtri(first))

    def spent(second: float) -> float:
        """Probability that the second look decides, and the first does not."""

        def given_first(z: float) -> float:
            later = (ndtri(second) + share**0.5 * z) / (1 - share) ** 0.5
            return float(ndtr(later)) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return float(quad(given_first, -10, boundary, epsabs=1e-13)[0])

    return first, float(brentq(lambda level: spent(level) - (alpha - first), alpha / 10, 2 * alpha, xtol=1e-12))


def check_looks(looks: Sequence[int]) -> None:
    """Raise ValueError if these looks are not allowed.

    Examples
    --------
    >>> check_looks([10, 20])
    >>> check_looks([5, 10])
    Traceback (most recent call last):
    ValueError: a first look at 5 models is too early: look at 6 models or more first
    """
    if not 1 <= len(looks) <= 2:
        raise ValueError(f"expected one or two looks, such as [10, 20], got {list(looks)}")
    if len(looks) == 2 and looks[0] >= looks[1]:
        raise ValueError(f"the second look needs more models than the first, got {list(looks)}")
    if looks[0] < LEAST_FIRST_LOOK and len(looks) == 2:
        raise ValueError(
            f"a first look at {looks[0]} models is too early: look at {LEAST_FIRST_LOOK} models or more first"
        )


def repeated_limits(mean: float, low: float, df: float, level: float) -> tuple[float, float]:
    """Return the limits of a t interval at the level of a look, from its 95 % interval.

    The intervals of all looks together cover the true mean with probability 1 - 2 alpha (0.949 to 0.950 in simulation
    for alpha 0.025). So the interval is valid whether or not the study stops after it, and excludes a value exactly
    where that look's test does.

    Parameters
    ----------
    mean, low : float
        Mean of the differences and lower limit of its 95 % interval.
    df : float
        Degrees of freedom.
    level : float
        One-sided level of the look, from `nominal_levels`.

    References
    ----------
    Jennison and Turnbull (1989), J. R. Stat. Soc. B 51, 305: repeated confidence intervals.

    Examples
    --------
    >>> from analysis.stats.intervals import t_interval
    >>> naive = t_interval([0.1, 0.4, 0.2, 0.5, 0.3, 0.2])
    >>> low, high = repeated_limits(naive.mean, naive.low, 5, nominal_levels([6, 12])[0])
    >>> round(low, 3), round(naive.low, 3)
    (-0.038, 0.129)
    """
    half = (mean - low) * float(stdtrit(df, 1 - level) / stdtrit(df, 0.975))
    return mean - half, mean + half


def expected_models(effect: float, sd: float, looks: Sequence[int], alpha: float = CLAIM_ALPHA) -> float:
    """Return the expected number of models until one question is decided, or the last look is done.

    Parameters
    ----------
    effect : float
        True mean difference, less the margin for superiority by a margin.
    sd : float
        True standard deviation over models, same unit.
    looks : sequence of int
        Numbers of models at the looks.
    alpha : float
        One-sided error rate over all looks, for each direction.

    Raises
    ------
    ValueError
        If the standard deviation is not positive.

    Notes
    -----
    The probability of stopping at the first look is that of a one-sided t test of either direction, exact by the
    noncentral t distribution. A study with several questions stops only when all are decided, hence later.

    Examples
    --------
    >>> [round(expected_models(effect, 1.0, [10, 20]), 1) for effect in (0.0, 1.0, 2.0)]
    [20.0, 17.0, 10.4]
    """
    if not sd > 0:
        raise ValueError(f"a standard deviation must be positive, got {sd}")
    level = nominal_levels(looks, alpha)[0]
    if len(looks) == 1:
        return float(looks[0])
    d = effect / sd
    stops = superiority_power(d, looks[0], level) + superiority_power(-d, looks[0], level)
    return looks[0] + (1 - stops) * (looks[1] - looks[0])
