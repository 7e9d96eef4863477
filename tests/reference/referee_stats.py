"""The referee's own statistics: what `recompute.py` tests with, in NumPy and SciPy alone; percentage points."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
from scipy import stats

NAN = float("nan")


def mean_test(values, strata, kind, margin, floor, bootstrap=False):
    """Effect, 95 % interval, p of support and of contradiction; architectures (strata) have equal weight."""
    by_stratum = [values[strata == one] for one in np.unique(strata)]
    mean = float(np.mean([part.mean() for part in by_stratum]))
    if min(len(part) for part in by_stratum) < 2:
        return mean, NAN, NAN, NAN, NAN
    if np.all(np.abs(values) < 1e-9):
        return mean, mean, mean, NAN, NAN
    shares = np.array([max(part.std(ddof=1), floor) ** 2 / len(part) for part in by_stratum])
    null = margin if kind == "superiority" else -margin
    if shares.sum() == 0:  # nothing varies, and no resolution is known
        return mean, NAN, NAN, *((NAN, NAN) if kind == "equivalence" else sign_flip(values - null))
    se = math.sqrt(shares.sum()) / len(shares)
    df = shares.sum() ** 2 / sum(share**2 / (len(part) - 1) for share, part in zip(shares, by_stratum, strict=True))
    half = stats.t.ppf(0.975, df) * se
    if kind == "equivalence":
        p, against = equivalence(mean, se, df, margin)
        if np.sum(np.abs(values) >= 1e-9) < 3:
            p = NAN
    elif np.ptp(values) < 1e-12:
        p, against = sign_flip(values - null)
    else:
        p, against = stats.t.sf((mean - null) / se, df), stats.t.cdf((mean - null) / se, df)
        if bootstrap and len(by_stratum) == 1:
            p_bootstrap, against_bootstrap = bootstrap_t(values, null, floor)
            p, against = max(p, p_bootstrap), max(against, against_bootstrap)
    return mean, mean - half, mean + half, float(p), float(against)


def equivalence(mean, se, df, margin):
    """Two one-sided tests, and the p-value of a mean outside the margin."""
    inner, outer = (abs(mean) - margin) / se, (abs(mean) + margin) / se
    return stats.t.cdf(inner, df), stats.t.sf(inner, df) + stats.t.sf(outer, df)


def all_signs(n):
    """All patterns of signs of n models; the first has no change."""
    if n > 14:
        raise NotImplementedError("all signs are enumerated to 14 models")
    return np.array(list(itertools.product((1, -1), repeat=n)))


def sign_flip(values):
    """Share of sign patterns whose sum is at least, and at most, as large as the observed one."""
    sums = all_signs(len(values)) @ values
    slack = 1e-9 * np.abs(values).sum()
    return float(np.mean(sums >= sums[0] - slack)), float(np.mean(sums <= sums[0] + slack))


def correlation_test(rho):
    """Mean correlation, 95 % interval and p-values: t on Fisher's scale, standard error by the delta method."""
    if len(rho) < 2 or rho.std() < 1e-12:
        return (rho.mean() if len(rho) else NAN), NAN, NAN, NAN, NAN
    mean, df = rho.mean(), len(rho) - 1
    se = rho.std(ddof=1) / math.sqrt(len(rho)) / (1 - mean**2)
    z, half = math.atanh(mean), stats.t.ppf(0.975, df) * se
    return mean, math.tanh(z - half), math.tanh(z + half), stats.t.sf(z / se, df), stats.t.cdf(z / se, df)


def bootstrap_t(values, null, floor, draws=9999, seed=0):
    """One-sided p-values for a mean above and below `null` from studentised resamples."""
    values = np.sort(values)
    n = len(values)
    resamples = values[np.random.default_rng(seed).integers(0, n, size=(draws, n))]
    se = np.maximum(resamples.std(axis=1, ddof=1), floor) / math.sqrt(n)
    t = np.round((resamples.mean(axis=1) - values.mean()) / se, 9)
    observed = round(float((values.mean() - null) / (max(values.std(ddof=1), floor) / math.sqrt(n))), 9)
    return (np.sum(t >= observed) + 1) / (draws + 1), (np.sum(t <= observed) + 1) / (draws + 1)


def ranks(table):
    return stats.rankdata(np.round(table, 12), axis=1)


def page(table):
    """One-sided p-values of Page's L for an increase and for a decrease, all orders of each block's ranks counted."""
    place = np.arange(1, table.shape[1] + 1)
    doubled = np.round(2 * ranks(table)).astype(int)  # mid-ranks are halves
    observed = int((doubled @ place).sum())
    total = Counter({0: 1.0})
    for block in doubled:
        sums = Counter(int(np.dot(order, place)) for order in itertools.permutations(block))
        chance = {key: count / sums.total() for key, count in sums.items()}
        step: Counter = Counter()
        for (a, p), (b, q) in itertools.product(total.items(), chance.items()):
            step[a + b] += p * q
        total = step
    return (
        sum(share for key, share in total.items() if key >= observed),
        sum(share for key, share in total.items() if key <= observed),
    )


def friedman(table):
    """p-value of Iman and Davenport's F; where all blocks agree wholly, the chance that they would."""
    n, k = table.shape
    ranked = ranks(table)
    if np.all(ranked == ranked[:, :1]):
        return 1.0
    if np.all(ranked == ranked[0]):
        orders = len(set(itertools.permutations(ranked[0])))
        return orders ** (1.0 - n)
    chi2 = stats.friedmanchisquare(*np.round(table, 12).T).statistic
    f = (n - 1) * chi2 / (n * (k - 1) - chi2)
    return float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))


def max_t(table):
    """Chance that the largest t of all columns is as large, over all signs of the models (to 14 models)."""
    n = len(table)
    table = table[:, table.std(axis=0) > 1e-9]
    means = all_signs(n) @ table / n
    t = means / np.sqrt(((table**2).sum(axis=0) / n - means**2) / (n - 1))  # the squares do not change with the signs
    largest = t.max(axis=1)
    return float(np.mean(largest >= largest[0] - 1e-9))


def simple_p(values):
    """One-sided p-value of a mean above 0; without variance by sign-flip."""
    if values.std() < 1e-9:
        return 0.5 ** len(values) if values[0] > 1e-9 else 1.0
    return float(stats.ttest_1samp(values, 0, alternative="greater").pvalue)


def within(values, margin):
    """p-value of equivalence; without variance a matter of fact."""
    if values.std() < 1e-9:
        return 0.0 if abs(values[0]) < margin else 1.0
    se = values.std(ddof=1) / math.sqrt(len(values))
    return float(equivalence(values.mean(), se, len(values) - 1, margin)[0])
