"""Controls of SICS: functions of u without the structure of the chaotic map (METHODS sections 3 and 9).

They show whether a gain of the logistic indicators is due to the map, or whether other functions with as many features
reach it too. Phases, pairs (a, b), the distribution of the knots' values and the four increasing functions are ours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebvander

from bench.models.tensors import FeatureMap
from bench.models.view import Calibration, ModelView
from bench.scorers.features import logistic
from bench.scorers.features.grid import GRID_POINTS, FloatArray, Function, feature_map, grid, known_sparsity
from bench.scorers.rank import LOWEST

#: Phase of sine k = 1..4, radians.
PHASES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
#: Amplitude ratio and frequency ratio; a b > 1, so that the infinite sums have no derivative anywhere (Hardy 1916).
PAIRS = ((0.5, 3), (0.5, 5), (0.7, 3), (0.7, 5))
TERMS = 12
SPLINES, KNOTS = 4, 8
#: Standard deviation of the bump in u.
WIDTH = 0.08
#: The indicators of `bench.scorers.features.classes.a5`, in its order.
A5 = ("peak", "variance", "range", "mean")
DEGREE = 4


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


def a5_shuffled(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Score by the four values of `a5` on the grid, permuted: the same values without their order.

    One permutation serves the four features, so that the values of a grid point stay together. The catalogue seeds the
    generator by the dense model alone: all its layers and draws have the same permutation.
    """
    return feature_map(view, A5, shuffled(generator), include_rank=include_rank)


def poly4(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Chebyshev polynomials T1 to T4 on the range of u."""
    names = tuple(f"chebyshev_{degree}" for degree in range(1, DEGREE + 1))
    return feature_map(view, names, chebyshev, include_rank=include_rank)


def monotone4(
    view: ModelView, calibration: Calibration, generator: torch.Generator, *, include_rank: bool = False
) -> FeatureMap:
    """Four increasing functions of u; with weights of both signs their sum need not be monotone."""
    return feature_map(view, ("identity", "square", "root", "logarithm"), increasing, include_rank=include_rank)


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


def shuffled(generator: torch.Generator) -> Function:
    """Return the four values of `a5` at the nearest grid point of u, after one random permutation of the points."""
    values = logistic.indicators(grid(), A5)[:, torch.randperm(GRID_POINTS, generator=generator).numpy()]
    step = (1 - LOWEST) / (GRID_POINTS - 1)
    return lambda u: values[:, np.rint((u - LOWEST) / step).astype(np.intp)]


def chebyshev(u: FloatArray) -> FloatArray:
    """Return T_1(t) to T_4(t) for t = (2 u - 1.1) / 0.9, shape ``(4, n)``.

    On [-1, 1], to which t maps the range of u, T_k swings k times between -1 and 1. At u itself T_1 and T_2 would both
    increase over [0.1, 1] and be almost equal after scaling.

    Examples
    --------
    >>> chebyshev(np.array([0.1, 0.55, 1.0])).round(9) + 0.0
    array([[-1.,  0.,  1.],
           [ 1., -1.,  1.],
           [-1.,  0.,  1.],
           [ 1.,  1.,  1.]])
    """
    centred = (2 * u - (1 + LOWEST)) / (1 - LOWEST)
    return np.ascontiguousarray(chebvander(centred, DEGREE).T[1:])


def increasing(u: FloatArray) -> FloatArray:
    """Return u, u^2, sqrt u and log u, shape ``(4, n)``.

    Examples
    --------
    >>> increasing(np.array([0.25, 1.0])).round(4)
    array([[ 0.25  ,  1.    ],
           [ 0.0625,  1.    ],
           [ 0.5   ,  1.    ],
           [-1.3863,  0.    ]])
    """
    return np.stack([u, u**2, np.sqrt(u), np.log(u)])
