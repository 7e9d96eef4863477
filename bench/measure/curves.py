"""The curve of a scorer over the normalised rank, as the scorer itself computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from bench.core.errors import UserError
from bench.core.registry import Plugin, Registry
from bench.measure.seeds import curve_seed
from bench.models.tensors import FeatureMap
from bench.models.unit_space import PrunableLayer, UnitSpace
from bench.models.view import Calibration, ModelView
from bench.scorers.features.grid import GRID_POINTS, FloatArray, Function, grid, scale
from bench.study.spec import Study


@dataclass(frozen=True)
class Curve:
    """A scorer's features over the rank.

    Attributes
    ----------
    u : array
        The 2048 points of the grid on [0.1, 1], ascending, float64.
    names : tuple of str
        The K features; of a plain scorer its own name.
    values : array
        float64, shape ``(K, 2048)``, each row scaled to [0, 1] (a constant one to 0).
    function : callable
        The same features at any u of [0.1, 1], shape ``(n,)`` to ``(K, n)``: evaluated there where the scorer
        has given its function, else linear between the grid's points.
    """

    u: FloatArray
    names: tuple[str, ...]
    values: FloatArray
    function: Function


def score_curve(plugin: Plugin, options: Mapping[str, Any], seed: int, sparsity: float | None) -> Curve:
    """Run a scorer on one layer whose 2048 units have the ranks of the grid.

    Parameters
    ----------
    plugin : Plugin
        A scorer that is a function of u alone, given its generator and the target sparsity.
    options : mapping
        Resolved options.
    seed : int
        Of the scorer's generator: the curve is that of the cells whose scorer had this seed.
    sparsity : float or None
        Target, for a scorer that depends on it.

    Raises
    ------
    UserError
        If the scorer reads more than ranks.
    NotApplicable
        If the scorer needs a sparsity and there is none.

    Examples
    --------
    >>> from bench.scorers.rank import rank
    >>> curve = score_curve(Plugin("scorer", "rank", rank, curve=True), {}, 0, None)
    >>> curve.names, curve.u[[0, -1]].tolist(), curve.values[:, [0, -1]].tolist()
    (('rank',), [0.1, 1.0], [[0.0, 1.0]])
    """
    if not plugin.curve:
        raise UserError(f"scorer {plugin.name!r} has no curve: it is no function of the rank alone")
    view, calibration = _ladder_view()
    arguments = [view, calibration, torch.Generator().manual_seed(seed)]
    if plugin.takes_sparsity:
        arguments.append(sparsity)
    scores = plugin.function(*arguments, **options)
    layer = view.units.names[0]
    if isinstance(scores, FeatureMap):
        names, values, function = scores.names, scores.features[layer].numpy(), scores.function
    else:
        only = scores[layer][None]
        names, values, function = (plugin.name,), scale(only, *only.aminmax(dim=1, keepdim=True)).numpy(), None
    return Curve(grid(), names, values, function or _linear(values))


def _linear(values: FloatArray) -> Function:
    return lambda u: np.stack([np.interp(u, grid(), curve) for curve in values])


def default_curve(plugin: Plugin, sparsity: float, draw: int = 0) -> Curve:
    """Return the curve of a scorer with its default options; `sparsity` is for one that depends on it.

    That of a `per_model` scorer is an example: it belongs to no dense model, and `draw` does not change it.

    Raises
    ------
    UserError
        If the scorer reads more than ranks.
    """
    choice = plugin.resolve({})
    return score_curve(plugin, choice.options, curve_seed(plugin, choice, "", draw), sparsity)


def curve_table(study: Study, registry: Registry, group: str) -> pd.DataFrame:
    """Return the curves of all the study's scorers that are functions of u.

    Parameters
    ----------
    study : Study
        Names scorers, sparsities and draws.
    registry : Registry
        Plug-ins of this process.
    group : str
        Dense model whose curve is that of a `per_model` scorer; the curves of the other models are left out.

    Returns
    -------
    DataFrame
        Long: ``scorer`` (label), ``sparsity`` (null where the curve does not depend on it), ``draw``, ``feature``,
        ``u``, ``value``. A draw whose curve is that of the smallest draw number is left out.
    """
    parts = []
    for scorer in study.values["scorer"]:
        plugin = registry.get("scorer", scorer.name)
        if not plugin.curve:
            continue
        for sparsity in study.values["sparsity"] if plugin.takes_sparsity else (None,):
            draws = sorted(draw for _, draw in study.draws())
            first = score_curve(plugin, scorer.options, curve_seed(plugin, scorer, group, draws[0]), sparsity)
            for draw in draws:
                curve = score_curve(plugin, scorer.options, curve_seed(plugin, scorer, group, draw), sparsity)
                if draw == draws[0] or not np.array_equal(curve.values, first.values):
                    parts.append(_long(curve).assign(scorer=scorer.label, sparsity=sparsity, draw=draw))
    columns = ["scorer", "sparsity", "draw", "feature", "u", "value"]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return table[columns].astype({"sparsity": "float64"}).reset_index(drop=True)


def _long(curve: Curve) -> pd.DataFrame:
    points = len(curve.u)
    return pd.DataFrame({
        "feature": np.repeat(curve.names, points), "u": np.tile(curve.u, len(curve.names)),
        "value": curve.values.ravel(),
    })  # fmt: skip


def _ladder_view() -> tuple[ModelView, Calibration]:
    """Return a layer of 2048 units of ascending magnitude, and an empty draw."""
    layer = nn.Linear(1, GRID_POINTS, bias=False)
    weights = torch.arange(1, GRID_POINTS + 1, dtype=torch.float32)
    layer.weight = nn.Parameter(weights.unsqueeze(1))
    prunable = PrunableLayer("0", (GRID_POINTS, 1), (GRID_POINTS,))
    view = ModelView(nn.Sequential(layer).eval(), UnitSpace("channel", (prunable,)))
    return view, Calibration(torch.empty(0, 1), torch.empty(0, dtype=torch.int64), batch=1)
