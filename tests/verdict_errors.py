"""Simulated verdicts on claims whose truth is known: how often p-values of parts and claims lead to a wrong one.

The truth of every case is the hardest one: as many settings as possible lie on the border between true and false, and
the rest lie so far on the side that cannot save the claim that no sample misses it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.stats.equivalence import tost
from analysis.stats.families import claim_p_values, part_p_values
from analysis.stats.paired import paired_t

#: Fixed before the first run.
SEED, ALPHA = 20261129, 0.025
#: Far from the border, in standard deviations.
FAR = 50.0
#: Trials at a time, and those whose p-values are compared with the ones of this package.
CHUNK, CHECKED = 20_000, 4


@dataclass(frozen=True)
class Case:
    """A claim of one truth: `margin` in standard deviations, `correlation` of settings and parts."""

    kind: str
    over: str
    true: bool
    questions: int
    models: int
    correlation: float
    parts: int = 1
    margin: float = 0.0

    def __str__(self) -> str:
        what = f"{self.kind}-{self.over}-{'true' if self.true else 'false'}"
        return f"{what}-K{self.questions}-n{self.models}-r{self.correlation}-m{self.margin}-p{self.parts}"

    @property
    def exact(self) -> bool:
        """Whether the chance of a wrong verdict is alpha itself: one test on the border decides."""
        one = self.questions == 1 or self.over == ("some" if self.true else "every") or self.over == "mean"
        return one and not (self.true and self.parts > 1) and self.margin in (0.0, 4.0)

    def means(self) -> np.ndarray:
        """True means, shape (parts, settings), in standard deviations."""
        border = self.margin
        inside, outside = (FAR, -FAR) if self.kind == "superiority" else (0.0, self.margin + FAR)
        found = np.full((self.parts, self.questions), border)
        if self.over == "every" and not self.true:
            found[:, 1:] = inside  # one setting is false, which must be noticed
        if self.over == "some" and self.true:
            found[:, 1:] = outside
        if not self.true:
            found[1:] = inside  # one part is false
        return found


def cases() -> list[Case]:
    """All combinations that are simulated."""
    found = []
    for kind, over, true in itertools.product(("superiority", "equivalence"), ("every", "some", "mean"), (True, False)):
        for questions, models, correlation in itertools.product((1, 4, 10), (5, 10, 20), (0.0, 0.5, 0.9)):
            for margin in (0.0,) if kind == "superiority" else (0.5, 4.0):
                if questions > 1 or (over == "every" and correlation == 0):  # one setting is the same for all
                    found.append(Case(kind, over, true, questions, models, correlation, margin=margin))
    for over, true in itertools.product(("every", "some", "mean"), (True, False)):
        for correlation in (0.0, 0.9):
            found += [Case("superiority", over, true, 4, 10, correlation, parts=3)]
            found += [Case("equivalence", over, true, 4, 10, correlation, parts=3, margin=1.0)]
    return found


CASES = cases()


def wrong(case: Case, trials: int, seed: int = SEED) -> int:
    """Number of trials with a wrong verdict."""
    found = 0
    for start in range(0, trials, CHUNK):
        rng = np.random.default_rng([seed, start, *str(case).encode()])
        p_values = _p_values(case, _differences(case, min(CHUNK, trials - start), rng))
        outcomes = _wrong_verdicts(case, *p_values)
        own = [_wrong_verdict(case, *pair) for pair in zip(*(p[:CHECKED] for p in p_values), strict=True)]
        np.testing.assert_array_equal(outcomes[:CHECKED], own)
        found += int(outcomes.sum())
    return found


def _wrong_verdict(case: Case, support: np.ndarray, contradiction: np.ndarray) -> bool:
    """Whether one verdict is wrong, by the functions of this package."""
    parts = [part_p_values(case.over, s, c) for s, c in zip(support, contradiction, strict=True)]
    claim = claim_p_values(parts)
    return min(claim.contradiction) <= ALPHA if case.true else claim.support <= ALPHA


def _wrong_verdicts(case: Case, support: np.ndarray, contradiction: np.ndarray) -> np.ndarray:
    """The same for all trials at once; the least of Holm's adjusted p-values is Bonferroni's."""
    settings = support.shape[-1]
    if case.true:
        part = contradiction.max(axis=-1) if case.over == "some" else settings * contradiction.min(axis=-1)
        return case.parts * part.min(axis=-1) <= ALPHA
    part = support.max(axis=-1) if case.over == "every" else settings * support.min(axis=-1)
    return part.max(axis=-1) <= ALPHA


def _differences(case: Case, trials: int, rng: np.random.Generator) -> np.ndarray:
    """Paired differences, shape (trials, parts, settings, models); of `mean`, the models' means as one setting."""
    shape = (trials, case.parts, case.questions, case.models)
    common = rng.standard_normal((trials, 1, 1, case.models))
    mixed = case.correlation**0.5 * common + (1 - case.correlation) ** 0.5 * rng.standard_normal(shape)
    if case.over == "mean":
        mixed = mixed.mean(axis=2, keepdims=True)
        mixed /= ((1 + (case.questions - 1) * case.correlation) / case.questions) ** 0.5
    return mixed + case.means()[:, : mixed.shape[2], None]


def _p_values(case: Case, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p-values of the settings, for and against, shape (trials, parts, settings)."""
    n = data.shape[-1]
    mean, error = data.mean(axis=-1), data.std(axis=-1, ddof=1) / n**0.5
    if case.kind == "superiority":
        support, contradiction = (stats.t.sf(sign * mean / error, n - 1) for sign in (1, -1))
    else:
        size, margin = np.abs(mean), case.margin
        support = stats.t.sf((margin - size) / error, n - 1)
        contradiction = sum(stats.t.sf((size + sign * margin) / error, n - 1) for sign in (-1, 1))
    own = data[:CHECKED].reshape(-1, n)
    known = [paired_t(row, alternative="greater").p if case.kind == "superiority" else tost(row, case.margin).p
             for row in own]  # fmt: skip
    np.testing.assert_allclose(support[:CHECKED].ravel(), known, rtol=1e-6, atol=1e-14)
    return support, contradiction
