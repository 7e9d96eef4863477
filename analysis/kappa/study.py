"""Kappa of a study's own curves: of every feature, and of the fused score at the weights that each search found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.methods import Methods
from analysis.kappa.approximation import EPS, Basis, FloatArray, scaled
from analysis.kappa.curves import SMOOTH_DEGREE, Curves, drawdown, kappa
from bench.store.reader import StudyData


def study_curves(data: StudyData) -> Iterator[Curves]:
    """Iterate over the curves of a study, one scorer, sparsity and draw at a time.

    Parameters
    ----------
    data : StudyData
        Its curves hold the grid's values alone: between them a curve is linear, so the interpolation bound is that of
        the linear interpolant, for raw features too.
    """
    methods = Methods(data.methods)
    for _, own in data.curves.groupby(["scorer", "sparsity", "draw"], sort=False, dropna=False):
        scorer, sparsity, draw = own[["scorer", "sparsity", "draw"]].iloc[0]
        parts = {str(name): part for name, part in own.groupby("feature", sort=False)}
        yield Curves(
            str(scorer), None if pd.isna(sparsity) else float(sparsity), int(draw), tuple(parts),
            next(iter(parts.values()))["u"].to_numpy(np.float64),
            np.stack([part["value"].to_numpy(np.float64) for part in parts.values()]),
            by_design=methods.complexity(str(scorer)),
        )  # fmt: skip


def fused(
    data: StudyData, eps: float = EPS, smooth_degree: int = SMOOTH_DEGREE, basis: Basis = "polynomial"
) -> pd.DataFrame:
    """Measure the fused curve, sum_k W_k phi_k, of every search of a study at the weights that it found.

    Equal weights of one scorer are measured once; 1,300 different ones take 4 s.

    Returns
    -------
    DataFrame
        What `analysis.evidence.fusion.searches` returned, ``by_design``, ``kappa`` and ``drawdown`` (of the fused
        curve scaled to [0, 1]); both NaN for a scorer without a curve: the fake is no function of the rank.
    """
    found = Evidence.of(data).searches
    known = {(curves.scorer, curves.sparsity, curves.draw): curves for curves in study_curves(data)}
    rows = zip(found["scorer"], found["sparsity"], found["calibration_draw"], strict=True)
    first = min((draw for _, _, draw in known), default=0)
    places: dict[Curves, list[int]] = {}
    for place, (scorer, sparsity, draw) in enumerate(rows):
        # A curve without a sparsity serves all; a draw that is absent has the curve of the first one.
        keys = ((scorer, s, d) for s in (None, sparsity) for d in (draw, first))
        curves = next((known[key] for key in keys if key in known), None)
        if curves is not None and isinstance(found["weights"].iloc[place], list):
            places.setdefault(curves, []).append(place)
    measured = np.full((len(found), 2), np.nan)
    for curves, own in places.items():
        weights = np.array([_weights(found.iloc[place], curves.features) for place in own])
        distinct, which = np.unique(weights, axis=0, return_inverse=True)
        sums = distinct @ curves.values
        measured[own, 0] = kappa(sums, eps, smooth_degree, basis)[which]
        measured[own, 1] = drawdown(scaled(sums))[which]
    methods = Methods(data.methods)
    designed = pd.Series([methods.complexity(label) for label in found["scorer"]], index=found.index, dtype="object")
    return found.assign(by_design=designed, kappa=measured[:, 0], drawdown=measured[:, 1])


def _weights(row: pd.Series, features: tuple[str, ...]) -> FloatArray:
    """Return a search's weights in the order of the curve's features."""
    weight = dict(zip(row["features"], row["weights"], strict=True))
    return np.array([weight[name] for name in features])


def fused_summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Summarise what `fused` measured over models: median and range of kappa; draws of one model are averaged first.

    Returns
    -------
    DataFrame
        The setting and method; ``n`` (models), ``median``, ``least``, ``most``, ``by_design``.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    values = frames.per_model(measured[measured["kappa"].notna()], "kappa")
    grouped = values.groupby(keys, sort=False, dropna=False, observed=True)["kappa"]
    frame = grouped.agg(n="size", median="median", least="min", most="max").reset_index()
    designed = dict(zip(measured["scorer"], measured["by_design"], strict=True))
    return frame.assign(by_design=pd.Series([designed[label] for label in frame["scorer"]], dtype="object"))
