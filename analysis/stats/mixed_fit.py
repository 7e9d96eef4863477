"""Maximum likelihood of a mixed model whose covariance is block diagonal, and its simulated likelihood ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize
from scipy.linalg import lapack

from analysis.stats.mixed_design import Codes, Design, Values

#: A variance under this share of the residual variance is on the boundary: zero.
BOUNDARY = 1e-6
#: Slope of the deviance in the logarithm of a variance that counts as level at the optimum.
SLOPE = 1e-2


@dataclass(frozen=True)
class Layout:
    """The m blocks of t rows that meet the same settings, and so share their covariance matrix.

    `kernels` (q, t, t) is one where two rows of a block share a level of the random term, else zero; `x` has shape
    (t, m, p), `rows` (t, m).
    """

    kernels: Values
    x: Values
    rows: Codes


@dataclass(frozen=True)
class VarianceFit:
    """The best `ratios` (variance of each random term / residual variance) and what follows from them."""

    ratios: Values
    beta: Values
    covariance: Values
    residual: float
    deviance: float
    converged: bool


def make_layouts(design: Design) -> list[Layout]:
    """Group the blocks by what they share."""
    found: dict[tuple[int, bytes], list[Codes]] = {}
    grouping = np.array(list(design.grouping.values()), dtype=np.int64).reshape(-1, len(design.y))
    for block in range(design.block.max() + 1):
        rows = np.flatnonzero(design.block == block)
        pattern = np.array([pd.factorize(codes)[0] for codes in grouping[:, rows]], dtype=np.int64)
        found.setdefault((len(rows), pattern.tobytes()), []).append(rows)
    layouts = []
    for blocks in found.values():
        own = grouping[:, blocks[0]]
        kernels = (own[:, :, None] == own[:, None, :]).astype(np.float64)
        rows = np.stack(blocks, axis=1)
        layouts.append(Layout(kernels, design.x[rows], rows))
    return layouts


def fit_variances(layouts: list[Layout], y: Values, start: Values, *, restricted: bool = False) -> VarianceFit:
    """Minimise the profiled deviance over the variance ratios."""
    parts = [y[layout.rows] for layout in layouts]
    if not len(start):
        return _evaluate(layouts, parts, start, restricted)[0]
    scale = _information(layouts, start) ** -0.5

    def deviance(scaled: Values) -> tuple[float, Values]:
        fit, gradient = _evaluate(layouts, parts, scaled * scale, restricted)
        return fit.deviance, gradient * scale

    found = optimize.minimize(
        deviance, start / scale, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start),
        options={"ftol": 1e-12, "gtol": 1e-4},
    )  # fmt: skip
    return _evaluate(layouts, parts, np.asarray(found.x * scale), restricted)[0]


def _information(layouts: list[Layout], ratios: Values) -> Values:
    """Fisher information of each ratio: its inverse root is the step that the optimiser should take for one."""
    information = np.zeros(len(ratios))
    for layout in layouts:
        solved = np.linalg.solve(_covariance(layout, ratios), layout.kernels)
        information += layout.rows.shape[1] * np.einsum("kij,kji->k", solved, solved)
    return information


def _covariance(layout: Layout, ratios: Values) -> Values:
    """Covariance of the rows of a block, in residual variances."""
    t = len(layout.rows)
    matrix = (ratios @ layout.kernels.reshape(len(ratios), t * t)).reshape(t, t)
    matrix.flat[:: t + 1] += 1
    return matrix


def _inverse(matrix: Values) -> tuple[Values, float]:
    """Inverse of a positive definite matrix and the logarithm of its determinant, faster than by `numpy.linalg`."""
    if not len(matrix):
        return matrix, 0.0
    root, _ = lapack.dpotrf(matrix)
    inverse, _ = lapack.dpotrs(root, np.eye(len(matrix)))
    return inverse, 2 * float(np.log(root.diagonal()).sum())


def _evaluate(
    layouts: list[Layout], parts: list[Values], ratios: Values, restricted: bool
) -> tuple[VarianceFit, Values]:
    """Best fixed effects and residual variance at these ratios, with the deviance, and its gradient.

    With V = I + sum_k ratio_k K_k per block and r the residuals of generalised least squares, n = N (or N - p,
    restricted): deviance = n (1 + log(2 pi r'V^-1 r / n)) + log|V| (+ log|X'V^-1 X|).
    """
    p = layouts[0].x.shape[2]
    n = sum(layout.rows.size for layout in layouts) - (p if restricted else 0)
    log_det, normal, moment = 0.0, np.zeros((p, p)), np.zeros(p)
    solved = []
    for layout, y in zip(layouts, parts, strict=True):
        t, m = layout.rows.shape
        w, own = _inverse(_covariance(layout, ratios))
        log_det += m * own
        wx = (w @ layout.x.reshape(t, m * p)).reshape(t * m, p)
        normal += layout.x.reshape(t * m, p).T @ wx
        moment += wx.T @ y.reshape(t * m)
        solved.append((w, wx))
    covariance, log_normal = _inverse(normal)
    beta = covariance @ moment
    total, traces, forms = 0.0, np.zeros(len(ratios)), np.zeros(len(ratios))
    for layout, y, (w, wx) in zip(layouts, parts, solved, strict=True):
        t, m = layout.rows.shape
        kernels = layout.kernels.reshape(len(ratios), t * t)
        left = y - layout.x @ beta
        weighted = w @ left
        total += float((left * weighted).sum())
        forms += kernels @ (weighted @ weighted.T).ravel()
        traces += m * (kernels @ w.ravel())
        if restricted:
            traces -= kernels @ ((wx @ covariance).reshape(t, m * p) @ wx.reshape(t, m * p).T).ravel()
    residual = total / n
    deviance = n * (1 + math.log(2 * math.pi * residual)) + log_det
    if restricted:
        deviance += log_normal
    gradient = traces - forms / residual
    # On the boundary a slope upwards is no slope; inside, it is taken in the logarithm of the ratio.
    slope = np.where(ratios < BOUNDARY, np.minimum(gradient, 0), gradient * ratios)
    converged = bool((np.abs(slope) < SLOPE).all())
    return VarianceFit(ratios, beta, residual * covariance, residual, deviance, converged), gradient


def keep_columns(layouts: list[Layout], columns: NDArray[np.bool_]) -> list[Layout]:
    """Return the layouts with some columns of the fixed part alone; `columns` has shape (p,)."""
    return [Layout(one.kernels, np.ascontiguousarray(one.x[:, :, columns]), one.rows) for one in layouts]


def likelihood_ratio(reduced: list[Layout], full: list[Layout], y: Values, start: Values) -> float:
    """Return the likelihood-ratio statistic, at least 0: the full model cannot be worse, up to the optimiser."""
    return max(0.0, fit_variances(reduced, y, start).deviance - fit_variances(full, y, start).deviance)


def simulate_data(
    layouts: list[Layout], fit: VarianceFit, rows: int, repetitions: int, rng: np.random.Generator
) -> Values:
    """Draw data from a fitted model, shape (repetitions, rows)."""
    samples = np.empty((repetitions, rows))
    for layout in layouts:
        root = np.linalg.cholesky(fit.residual * _covariance(layout, fit.ratios))
        noise = root @ rng.standard_normal((repetitions, *layout.rows.shape))
        samples[:, layout.rows] = layout.x @ fit.beta + noise
    return samples
