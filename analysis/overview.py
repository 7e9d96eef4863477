"""Scorers across settings: ranks over models, interquartile means, performance profiles, a mixed model of families.

Scorers without a search, under no repair. One granularity and allocation at a time; in it, one table of what every
scorer has in common: the same trained models at the same sparsities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.evidence import frames
from analysis.evidence.methods import Methods
from analysis.stats.mixed import Effect, Mixed, contrast, mixed
from analysis.stats.power import attainable_p
from analysis.stats.profiles import InterquartileMean, iqm_interval, performance_profile
from analysis.stats.ranks import Friedman, cliques, friedman, pairwise_wilcoxon
from bench.core.method import OTHER

Values: TypeAlias = NDArray[np.float64]

ALPHA = 0.05
#: Of the bootstraps of interquartile means and profiles, which decide nothing.
RESAMPLES = 500
#: Bootstrap samples of the mixed model: 999 take 20 s for four spaces; with 99 no p is under 0.01.
REPETITIONS = 99
#: Shares of the dense accuracy at which profiles are drawn.
THRESHOLDS = np.linspace(0, 1.04, 27)


@dataclass(frozen=True, eq=False)
class Common:
    """What scorers have in common: every one of these models at every one of these sparsities.

    Attributes
    ----------
    granularity, allocation : str
        The space.
    places : tuple of (str, str)
        Data sets and models (architectures).
    place : tuple of (str, str)
        Of each trained model.
    checkpoints : tuple of str
        The trained models.
    scorers : tuple of str
        Those that lack nothing, but for `same`.
    same : tuple of str
        Scorers that have magnitude's accuracy everywhere, and so are one with it.
    left_out : tuple of str
        Scorers that lack a model or a sparsity.
    excluded : int
        Trained models with fewer cells than others of their kind.
    sparsities : tuple of float
        The grid.
    accuracy, dense : array, shape (models, scorers, sparsities) and (models,)
        Fractions; mean over a model's calibration draws.
    """

    granularity: str
    allocation: str
    places: tuple[tuple[str, str], ...]
    place: tuple[tuple[str, str], ...]
    checkpoints: tuple[str, ...]
    scorers: tuple[str, ...]
    same: tuple[str, ...]
    left_out: tuple[str, ...]
    excluded: int
    sparsities: tuple[float, ...]
    accuracy: Values
    dense: Values

    @property
    def names(self) -> tuple[str, ...]:
        """The scorers; magnitude says how many others it stands for."""
        more = f"{frames.MAGNITUDE} (+ {len(self.same)})"
        return tuple(more if self.same and name == frames.MAGNITUDE else name for name in self.scorers)

    @property
    def plateau(self) -> str | None:
        """Magnitude's name in `names`; None where it is no scorer of these."""
        return next((n for n, s in zip(self.names, self.scorers, strict=True) if s == frames.MAGNITUDE), None)

    @property
    def strata(self) -> list[str]:
        """Data set and model of each trained model in one word."""
        return [f"{model} on {dataset}" for dataset, model in self.place]

    def kept(self, scorer: int) -> Values:
        """Share of the dense accuracy that a scorer keeps, shape (models, sparsities)."""
        return np.asarray(self.accuracy[:, scorer] / self.dense[:, None])


def commons(plain: pd.DataFrame) -> list[Common]:
    """Lay out what the scorers without a search have in common, without repair.

    Parameters
    ----------
    plain : DataFrame
        `analysis.evidence.evidence.Evidence.plain`.

    Returns
    -------
    list of Common
        For every granularity and allocation one per data set and model, then, where there are several of these, one
        of all together. Left out are those with fewer than three scorers or no sparsity.
    """
    own = plain[plain["sparsity"].notna()]
    dense = own.groupby("checkpoint", sort=False)["dense_accuracy"].first()
    values = frames.per_model(own)
    found = []
    for (granularity, allocation), cells in values.groupby(["granularity", "allocation"], sort=False):
        places = list(dict.fromkeys(zip(cells["dataset"], cells["model"], strict=True)))
        scopes = [[place] for place in places] + ([places] if len(places) > 1 else [])
        for scope in scopes:
            one = _common(str(granularity), str(allocation), scope, cells, dense)
            if len(one.scorers) >= 3 and one.sparsities:
                found.append(one)
    return found


def _common(
    granularity: str, allocation: str, scope: list[tuple[str, str]], cells: pd.DataFrame, dense: pd.Series
) -> Common:
    keys = ["dataset", "model", "checkpoint"]
    own = cells[pd.MultiIndex.from_frame(cells[keys[:2]]).isin(scope)]
    wide = own.pivot(index=keys, columns=["sparsity", "scorer"], values="accuracy")
    has = wide.notna().sum(axis=1)
    whole = wide[has.eq(has.groupby(level=["dataset", "model"], sort=False).transform("max"))]
    there = whole.notna().all()
    with_any = whole.notna().T.groupby(level="sparsity").any().all(axis=1)
    grid = [float(sparsity) for sparsity in with_any.index[with_any]]
    scorers = frames.ordered(own["scorer"])
    complete = [name for name in scorers if grid and all(there.get((sparsity, name), False) for sparsity in grid)]
    flat = whole[[(sparsity, name) for name in complete for sparsity in grid]].to_numpy(dtype=np.float64)
    table = flat.reshape(len(whole), len(complete), len(grid))
    same = _same(table, complete)
    kept = [place for place, name in enumerate(complete) if name not in same]
    checkpoints = [str(checkpoint) for *_, checkpoint in whole.index]
    return Common(
        granularity=granularity,
        allocation=allocation,
        places=tuple(scope),
        place=tuple((str(dataset), str(model)) for dataset, model, _ in whole.index),
        checkpoints=tuple(checkpoints),
        scorers=tuple(complete[place] for place in kept),
        same=same,
        left_out=tuple(name for name in scorers if name not in complete),
        excluded=len(wide) - len(whole),
        sparsities=tuple(grid),
        accuracy=table[:, kept],
        dense=dense.loc[checkpoints].to_numpy(dtype=np.float64),
    )


def _same(table: Values, scorers: list[str]) -> tuple[str, ...]:
    """Scorers that have magnitude's accuracy in every run."""
    if frames.MAGNITUDE not in scorers:
        return ()
    gaps = np.abs(table - table[:, [scorers.index(frames.MAGNITUDE)]]).max(axis=(0, 2))
    return tuple(
        name for name, gap in zip(scorers, gaps.tolist(), strict=True) if gap <= 1e-12 and name != frames.MAGNITUDE
    )


def widest(found: Sequence[Common]) -> list[Common]:
    """Return the last table of each granularity and allocation: that of all models together."""
    return list({(one.granularity, one.allocation): one for one in found}.values())


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scorers ranked: blocks are trained models, values their mean accuracy over the sparsities.

    Attributes
    ----------
    common : Common
        What is ranked.
    friedman : Friedman
        The test over all scorers; its mean ranks are in the order of the scorers.
    least_p : float
        The smallest Holm-adjusted p-value that a pair could reach with so many models and pairs.
    pairs : DataFrame
        What `analysis.stats.ranks.pairwise_wilcoxon` returned; empty where `least_p` is above alpha.
    groups : tuple of tuple of str
        Scorers that the pairs do not tell apart.
    """

    common: Common
    friedman: Friedman
    least_p: float
    pairs: pd.DataFrame
    groups: tuple[tuple[str, ...], ...]

    @property
    def mean_ranks(self) -> pd.Series:
        """Name -> mean rank, 1 = best."""
        return pd.Series(self.friedman.mean_ranks, index=list(self.common.names))


def ranking(common: Common, alpha: float = ALPHA) -> Ranking:
    """Rank the scorers of a table by Friedman's test, and its pairs by Wilcoxon's with Holm's correction.

    The sparsities of one trained model are no blocks of their own: they are averaged first.
    """
    table = common.accuracy.mean(axis=2)
    names = common.names
    pairs = len(names) * (len(names) - 1) // 2
    least = min(1.0, 2 * attainable_p("wilcoxon", len(table)) * pairs)
    result = friedman(table)
    if least > alpha:
        return Ranking(common, result, least, pd.DataFrame(columns=["first", "second", "p_holm"]), ())
    compared = pairwise_wilcoxon(table, names)
    groups = cliques(pd.Series(result.mean_ranks, index=list(names)), compared, alpha)
    return Ranking(common, result, least, compared, tuple(groups))


def interquartile_means(common: Common) -> dict[str, InterquartileMean]:
    """Interquartile mean of the share of the dense accuracy that each scorer keeps; strata are data set and model."""
    return {
        name: iqm_interval(common.kept(place), common.strata, resamples=RESAMPLES)
        for place, name in enumerate(common.names)
    }


def profiles(common: Common) -> pd.DataFrame:
    """Share of runs (a model at a sparsity) in which each scorer keeps more than a share of the dense accuracy.

    Returns
    -------
    DataFrame
        ``scorer``, then as `analysis.stats.profiles.performance_profile`.
    """
    parts = [
        performance_profile(common.kept(place), THRESHOLDS, common.strata, resamples=RESAMPLES).assign(scorer=name)
        for place, name in enumerate(common.names)
    ]
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True, eq=False)
class FamilyModel:
    """The mixed model ``escape ~ sparsity * family`` of a space.

    Attributes
    ----------
    common : Common
        What it is fitted to.
    members : dict
        Family -> its scorers, whose escapes are averaged.
    fit : Mixed
        The model, or why there is none.
    means : dict
        Family -> its mean escape over sparsities and architectures; empty without a fit.
    """

    common: Common
    members: dict[str, tuple[str, ...]]
    fit: Mixed
    means: dict[str, Effect]


def family_model(common: Common, methods: Methods, repetitions: int = REPETITIONS) -> FamilyModel | None:
    """Fit the mixed model over settings, which asks how the escape depends on the scorer's family and the sparsity.

    The value of a family at a sparsity is the mean escape of its scorers. Scorers that are one with magnitude are
    left out, and so are those without a family: magnitude, and `random`, a control that would outweigh all others.

    Returns
    -------
    FamilyModel or None
        None where there are no two families or magnitude is missing.
    """
    members: dict[str, tuple[str, ...]] = {}
    for name in common.scorers:
        family = methods.family(name, OTHER)
        if family:
            members[family] = (*members.get(family, ()), name)
    if len(members) < 2 or frames.MAGNITUDE not in common.scorers:
        return None
    fixed = [*(["sparsity"] if len(common.sparsities) > 1 else []), "family"]
    fit = mixed(pd.DataFrame(_escapes(common, members)), fixed, architecture="place", repetitions=repetitions)
    means = {}
    if fit.category == "regular":
        for family in members:
            cells = [cell for cell in fit.cells if cell[-1] == family]
            means[family] = contrast(fit, dict.fromkeys(cells, 1 / len(cells)))
    return FamilyModel(common, members, fit, means)


def _escapes(common: Common, members: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, object]]:
    escape = common.accuracy - common.accuracy[:, [common.scorers.index(frames.MAGNITUDE)]]
    for family, names in members.items():
        mean = escape[:, [common.scorers.index(name) for name in names]].mean(axis=1)
        for model, (place, checkpoint) in enumerate(zip(common.strata, common.checkpoints, strict=True)):
            for at, sparsity in enumerate(common.sparsities):
                yield {
                    "place": place, "checkpoint": checkpoint, "sparsity": sparsity, "family": family,
                    "difference": mean[model, at],
                }  # fmt: skip
