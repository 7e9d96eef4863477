"""How scores align with the ranks of magnitude: per layer, at the threshold, and over sampled units (METHODS section 8).

A layer is one value, whatever its size: the millions of weights in it are not independent. Two intervals stand
beside each other: over models (Student's t, as for accuracies) and over layers (blocks; percentile bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis import frames
from analysis.stats.intervals import t_interval
from bench.store.reader import StudyData

FloatArray: TypeAlias = NDArray[np.float64]

#: With fewer units a rank correlation says nothing: that of two is -1 or 1.
LEAST_UNITS = 3
#: Over all units of a layer; over those near the threshold; over the sampled units of all layers together; Jaccard
#: overlap of the mask with magnitude's.
MEASURES = ("layer", "window", "pooled", "overlap")
#: Of the bootstrap over layers.
RESAMPLES = 1000

_KEYS = [*frames.SETTING, *frames.METHOD]
#: What cells share with the alignment and with the sampled units, beside what these may not depend on.
_OF_LAYERS = [
    "group", "calibration_draw", "calibration_images", "calibration_batch", "scorer", "search", "granularity", "sparsity",
]  # fmt: skip
_OF_UNITS = ["group", "calibration_draw", "calibration_images", "calibration_batch", "scorer", "granularity"]


def layer_correlations(data: StudyData) -> pd.DataFrame:
    """Lay the alignment of every layer beside the setting and the method that it belongs to.

    Scores do not depend on the repair, so correction and recalibration are none; those of a scorer without a search
    do not depend on the allocation either, and stand in every one.

    Returns
    -------
    DataFrame
        The setting and method, ``checkpoint``, ``calibration_draw``, ``layer``; ``units``, ``rho``, ``category``, and
        the same of the window: ``window_units``, ``window_rho``, ``window_category``. A category is ``regular``,
        ``few units`` (under `LEAST_UNITS`) or ``constant scores``, and only regular correlations are numbers.
    """
    return _layers(_cells(data.rows), data.alignment)[[*_KEYS, "checkpoint", "calibration_draw", *_LAYER]]


_LAYER = ["layer", "units", "rho", "category", "window_units", "window_rho", "window_category"]


def alignments(data: StudyData, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Summarise how every method aligns with magnitude in every setting.

    A measure is averaged over a model's calibration draws and layers, then over models. Each bootstrap replicate draws
    layers, the same ones for all models of a setting: these models have the same layers, so drawing for each by
    itself would shrink the interval with every model trained, as if it brought new layers (ours).

    Parameters
    ----------
    data : StudyData
        The evidence.
    level : float
        Of both intervals.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per setting, method and measure of `MEASURES`: ``n`` (models with a value), ``mean``, ``low``, ``high``
        (t interval over models), ``category`` (see `analysis.stats.degenerate.classify`), ``layers`` (with a value in
        some model), ``block_low``, ``block_high`` (over layers; NaN for a single one and for the overlap),
        ``few`` and ``constant`` (correlations that are missing: layers of single models and draws, in the pooled
        measure models and draws). Correlations and overlaps are plain numbers. Scorers with a search have no sample
        of units, so no pooled correlation.
    """
    cells = _cells(data.rows)
    layers = _layers(cells, data.alignment)
    pooled, replicates = _pooled(data.units, resamples, seed)
    pooled = _matched(cells, pooled, _OF_UNITS, "sparsity")
    by_setting = [dict(iter(frame.groupby("setting", sort=False))) for frame in (layers, pooled)]
    found = []
    for setting, own in cells.groupby("setting", sort=True):
        where: dict[str, Any] = own[_KEYS].iloc[0].to_dict()
        there, sampled = (part.get(setting) for part in by_setting)
        measured = {
            "layer": _of_layers(there, "", level, resamples, seed),
            "window": _of_layers(there, "window_", level, resamples, seed),
            "pooled": _of_units(sampled, replicates, level),
            "overlap": _over_models(own.groupby("checkpoint", sort=False)["magnitude_overlap"].mean(), level)
            | _NO_BLOCKS,
        }
        found += [where | {"measure": name} | values for name, values in measured.items()]
    columns = [
        *_KEYS, "measure", "n", "mean", "low", "high", "category", "layers", "block_low", "block_high", "few", "constant",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns).astype({column: data.rows[column].dtype for column in _KEYS})


_NO_BLOCKS = {"layers": 0, "block_low": math.nan, "block_high": math.nan, "few": 0, "constant": 0}


def _cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per mask set that was evaluated, with the number of its setting and method."""
    own = frames.done(frames.pruned(rows)).assign(correction="none", recalibration="none")
    keys = [*_KEYS, "group", "checkpoint", "calibration_draw"]
    cells = own.drop_duplicates(keys)[[*keys, "magnitude_overlap"]]
    return cells.assign(setting=cells.groupby(_KEYS, sort=False, dropna=False, observed=True).ngroup())


def _layers(cells: pd.DataFrame, alignment: pd.DataFrame) -> pd.DataFrame:
    found = _matched(cells, alignment, _OF_LAYERS, "allocation")
    for prefix in ("", "window_"):
        units, rho = found[f"{prefix}units"], found[f"{prefix}rho"]
        few = units.lt(LEAST_UNITS).to_numpy(dtype=bool)
        found[f"{prefix}category"] = np.select([few, rho.isna()], ["few units", "constant scores"], "regular")
        found[f"{prefix}rho"] = rho.where(~few)
    return found


def _matched(cells: pd.DataFrame, table: pd.DataFrame, keys: Sequence[str], optional: str) -> pd.DataFrame:
    """Join `table` to its cells: by `keys`, and by the column `optional` where that is not null."""
    free = table[optional].isna()
    parts = [
        cells.merge(table[free].drop(columns=optional), on=[*keys]), cells.merge(table[~free], on=[*keys, optional]),
    ]  # fmt: skip
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _of_layers(own: pd.DataFrame | None, prefix: str, level: float, resamples: int, seed: int) -> dict[str, Any]:
    """Summarise the correlations of the layers of one setting and method."""
    if own is None:
        return _over_models([], level) | _NO_BLOCKS
    table = _models_by_layers(own, f"{prefix}rho")
    table = table[np.isfinite(table).any(axis=1)][:, np.isfinite(table).any(axis=0)]
    low, high = block_interval(table, level, resamples, seed)
    category = own[f"{prefix}category"]
    return _over_models(np.nanmean(table, axis=1) if table.size else [], level) | {
        "layers": table.shape[1], "block_low": low, "block_high": high,
        "few": int(category.eq("few units").sum()), "constant": int(category.eq("constant scores").sum()),
    }  # fmt: skip


def _models_by_layers(own: pd.DataFrame, value: str) -> FloatArray:
    """Average over draws: shape ``(models, layers)``, NaN where no draw has a number."""
    known = own[own[value].notna()]
    models, layers = (pd.Index(own[name].unique()) for name in ("checkpoint", "layer"))
    place = models.get_indexer(known["checkpoint"]) * len(layers) + layers.get_indexer(known["layer"])
    size = len(models) * len(layers)
    total, count = np.bincount(place, known[value], size), np.bincount(place, minlength=size)
    means = np.divide(total, count, out=np.full(size, math.nan), where=count > 0)
    return means.reshape(len(models), len(layers))


def block_interval(
    table: FloatArray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap over layers of the mean over models of the mean over a model's layers.

    Parameters
    ----------
    table : array, shape (models, layers)
        NaN where a model has no value; a replicate that draws only such layers of a model leaves that model out.
    level : float
        Confidence level.
    resamples, seed : int
        Replicates, and the seed of their draw.

    Returns
    -------
    low, high : float
        NaN with fewer than two layers.

    Examples
    --------
    >>> low, high = block_interval(np.array([[0.2, 0.4, 0.9], [0.3, 0.4, 0.8]]))
    >>> 0.2 < low < 0.5 < high < 0.9
    True
    """
    if table.shape[1] < 2:
        return math.nan, math.nan
    drawn = layer_draws(table.shape[1], resamples, seed)
    known = np.isfinite(table)
    total, count = drawn @ np.where(known, table, 0.0).T, drawn @ known.T
    means = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    models = (count > 0).sum(axis=1)
    return _percentiles(means.sum(axis=1)[models > 0] / models[models > 0], level)


def layer_draws(layers: int, resamples: int, seed: int) -> FloatArray:
    """Draw as many layers as there are, with replacement: how often each, shape ``(resamples, layers)``."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(layers, np.full(layers, 1 / layers), resamples).astype(np.float64)


def _percentiles(replicates: FloatArray, level: float) -> tuple[float, float]:
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pooled(units: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, FloatArray]:
    """Correlate scores and ranks over the sampled units of each score set.

    Returns
    -------
    sets : DataFrame
        `_OF_UNITS`, ``sparsity``, ``layers``, ``sampled`` (units) and ``place``, the row in `replicates`.
    replicates : array
        Shape ``(sets, 1 + resamples)``: the correlation itself, then those of the bootstrap.
    """
    keys = [*_OF_UNITS, "sparsity"]
    sets, rows = [], []
    # u of the sample is that of its group and granularity, whoever scores it
    for _, sample in units.groupby(["group", "granularity"], sort=False):
        weigh = None
        for key, own in sample.groupby(keys, sort=False, dropna=False):
            if weigh is None:
                codes, names = pd.factorize(own["layer"])
                counts = np.vstack([np.ones(len(names)), layer_draws(len(names), resamples, seed)])
                weigh = PooledCorrelation(own["u"].to_numpy(), codes, counts)
            sets.append([*key, len(names), len(own)])
            rows.append(weigh(own["score"].to_numpy()))
    frame = pd.DataFrame(sets, columns=[*keys, "layers", "sampled"]).astype({key: units[key].dtype for key in keys})
    return frame.assign(place=range(len(frame))), np.array(rows).reshape(len(rows), 1 + resamples)


class PooledCorrelation:
    """Spearman's correlation with u over units of several layers, each layer taken so many times.

    With weights w a unit's average rank is, but for a constant, the sum over units j of w_j ([s_j < s] + [s_j = s] / 2):
    linear in the multiplicities of the layers, so that all replicates are one matrix product.

    Parameters
    ----------
    u : array, shape (n,)
        Normalised rank of every unit.
    layers : array, shape (n,)
        Number of its layer, from 0.
    counts : array, shape (replicates, layers)
        How often a replicate has each layer.

    Examples
    --------
    >>> pooled = PooledCorrelation([0.1, 1.0, 0.1, 1.0], [0, 0, 1, 1], [[1, 1], [2, 0], [0, 2]])
    >>> pooled([1.0, 2.0, 4.0, 3.0]).round(3).tolist()
    [0.0, 1.0, -1.0]
    """

    def __init__(self, u: ArrayLike, layers: ArrayLike, counts: ArrayLike) -> None:
        times = np.asarray(counts, dtype=np.float64)
        self._member = np.eye(times.shape[1])[np.asarray(layers)]
        self._times, self._weights = times.T, self._member @ times.T
        self._u = self._ranks(u)
        self._spread_u = np.einsum("ur,ur,ur->r", self._weights, self._u, self._u)

    def _ranks(self, values: ArrayLike) -> FloatArray:
        """Return centred average ranks, shape ``(units, replicates)``."""
        v = np.asarray(values, dtype=np.float64)
        below = (v < v[:, None]) + 0.5 * (v == v[:, None])
        ranks: FloatArray = (below @ self._member) @ self._times
        return ranks - self._weights.sum(axis=0) / 2

    def __call__(self, scores: ArrayLike) -> FloatArray:
        """Return the correlation in each replicate; NaN where scores or u are constant, or units under 3."""
        ranks = self._ranks(scores)
        product = np.einsum("ur,ur,ur->r", self._weights, ranks, self._u)
        squared = np.einsum("ur,ur,ur->r", self._weights, ranks, ranks) * self._spread_u
        regular = (squared > 0) & ((self._weights > 0).sum(axis=0) >= LEAST_UNITS)
        return np.divide(product, np.sqrt(squared), out=np.full(len(product), math.nan), where=regular)


def _of_units(own: pd.DataFrame | None, replicates: FloatArray, level: float) -> dict[str, Any]:
    """Summarise the pooled correlations of one setting and method."""
    if own is None:
        return _over_models([], level) | _NO_BLOCKS
    values = replicates[own["place"]]
    known = np.isfinite(values[:, 0])
    few = own["sampled"].lt(LEAST_UNITS).to_numpy(dtype=bool)
    summary: dict[str, Any] = {
        **_NO_BLOCKS, "few": int(few.sum()), "constant": int((~known & ~few).sum()),
    }  # fmt: skip
    if not known.any():
        return _over_models([], level) | summary
    by_model = pd.DataFrame(values[known]).groupby(own["checkpoint"].to_numpy()[known], sort=False).mean().to_numpy()
    layers = int(own["layers"].max())
    low, high = _percentiles(by_model[:, 1:].mean(axis=0), level) if layers > 1 else (math.nan, math.nan)
    return _over_models(by_model[:, 0], level) | summary | {"layers": layers, "block_low": low, "block_high": high}


def _over_models(values: ArrayLike, level: float) -> dict[str, Any]:
    known = np.asarray(values, dtype=np.float64)
    interval = t_interval(known[np.isfinite(known)], level)
    return {
        "n": interval.n, "mean": interval.mean, "low": interval.low, "high": interval.high,
        "category": interval.category,
    }  # fmt: skip
