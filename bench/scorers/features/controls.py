"""Controls of SICS: functions of u that no chaotic map makes (METHODS section 3).

They ask whether what the logistic indicators gain is theirs, or any non-monotone function's of as many
features. Phases, pairs (a, b) and the law of the knots' values are ours.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.models.tensors import FeatureMap
from bench.models.view import Calibration, ModelView
from bench.scorers.features.grid import FloatArray, Function, feature_map, known_sparsity
from bench.scorers.rank import LOWEST

#: Phase of sine k = 1..4, radians.
PHASES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
#: Amplitude ratio and frequency ratio; a b > 1, so that the infinite sums have no derivative anywhere (Hardy 1916).
PAIRS = ((0.5, 3), (0.5, 5), (0.7, 3), (0.7, 5))
TERMS = 12
SPLINES, KNOTS = 4, 8
#: Standard deviation of the bump in u.
WIDTH = 0.08


def nl_sin(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Four sines of up to two periods."""
    names = tuple(f"sine_{k}" for k in range(1, len(PHASES) + 1))
    return feature_map(view, names, sines, include_rank=include_rank)


def weier4(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Four partial sums of Weierstrass functions: rough, but not chaotic."""
    names = tuple(f"weierstrass_{a}_{b}" for a, b in PAIRS)
    return feature_map(view, names, weierstrass, include_rank=include_rank)


def random_spline(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Four smooth curves without a meaning, drawn from the generator."""
    names = tuple(f"spline_{k}" for k in range(1, SPLINES + 1))
    return feature_map(view, names, splines(generator), include_rank=include_rank)


def gaussian_bump(
    view: ModelView, calibration: Calibration, generator: torch.Generator, sparsity: float | None
) -> FeatureMap:
    """Score by u and a bump at the rank where the target sparsity cuts, u_S = 0.1 + 0.9 S.

    Raises
    ------
    NotApplicable
        If the allocation sets the sparsity.
    """
    centre = cut(known_sparsity("gaussian_bump", sparsity))
    return feature_map(view, ("bump",), bump(centre), include_rank=True)


def gaussian_bump_only(
    view: ModelView, calibration: Calibration, generator: torch.Generator, sparsity: float | None
) -> FeatureMap:
    """Score by the bump of `gaussian_bump` alone; exploratory, the units of the highest ranks are pruned.

    Raises
    ------
    NotApplicable
        If the allocation sets the sparsity.
    """
    centre = cut(known_sparsity("gaussian_bump_only", sparsity))
    return feature_map(view, ("bump",), bump(centre), include_rank=False)


def sines(u: FloatArray) -> FloatArray:
    """Return sin(k pi u + phase_k), k = 1..4, shape ``(4, n)``."""
    return np.stack([np.sin(k * np.pi * u + phase) for k, phase in enumerate(PHASES, start=1)])


def weierstrass(u: FloatArray) -> FloatArray:
    """Return the sums over n = 0..11 of a^n cos(b^n pi u) for the four pairs, shape ``(4, len(u))``.

    Examples
    --------
    At u = 1 every cosine is -1: the sum is -(1 - a^12) / (1 - a).

    >>> weierstrass(np.array([1.0])).round(4).ravel()
    array([-1.9995, -1.9995, -3.2872, -3.2872])
    """
    sums = np.zeros((len(PAIRS), len(u)))
    for total, (a, b) in zip(sums, PAIRS, strict=True):
        for n in range(TERMS):
            total += a**n * np.cos(b**n * np.pi * u)
    return sums


def splines(generator: torch.Generator) -> Function:
    """Return four cubic splines (not-a-knot) through 8 uniform knots on [0.1, 1], values uniform in [0, 1)."""
    from scipy.interpolate import CubicSpline  # noqa: PLC0415 - slow to import, and `plan` calls no scorer

    values = torch.rand(KNOTS, SPLINES, generator=generator, dtype=torch.float64).numpy()
    curves = CubicSpline(np.linspace(LOWEST, 1, KNOTS), values)
    return lambda u: np.ascontiguousarray(curves(u).T)


def bump(centre: float) -> Function:
    """Return exp(-(u - centre)^2 / (2 0.08^2)) as a function of u."""
    return lambda u: np.exp(-((u - centre) ** 2) / (2 * WIDTH**2))[None]


def cut(sparsity: float) -> float:
    """Return u_S = 0.1 + 0.9 S, the rank at which a layer of many units is cut."""
    return LOWEST + (1 - LOWEST) * sparsity
