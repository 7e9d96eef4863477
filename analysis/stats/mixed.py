"""Mixed model over settings: random terms keep the settings of one model from counting as models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from analysis.stats.degenerate import RESOLUTION, Category, classify

#: From so many architectures on they are a random term; with fewer, a fixed effect.
RANDOM_ARCHITECTURES = 6
#: From so many models on the chi-square p-value decides; with fewer, the parametric bootstrap.
CHI_SQUARE_MODELS = 30
#: A variance under this share of the residual variance is on the boundary: zero.
BOUNDARY = 1e-6
#: Slope of the deviance in the logarithm of a variance that counts as level at the optimum.
SLOPE = 1e-2

MixedCategory: TypeAlias = (
    Category
    | Literal[
        "one model per architecture", "too few models", "too few levels", "empty cells", "no residual variance",
        "not converged",
    ]
)  # fmt: skip
Values: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.integer[Any]]
Cell: TypeAlias = tuple[Hashable, ...]


@dataclass(frozen=True)
class Effect:
    """A linear combination of the fixed effects, in the unit of the values.

    Attributes
    ----------
    estimate, se : float
        REML estimate and its standard error.
    df : int
        Degrees of freedom.
    low, high : float
        t interval.
    level : float
        Its confidence level.
    p : float
        Two-sided, of the t test that it is zero.
    """

    estimate: float
    se: float
    df: int
    low: float
    high: float
    level: float
    p: float


@dataclass(frozen=True)
class TermTest:
    """Likelihood-ratio test of one fixed term.

    Attributes
    ----------
    term : str
        ``overall`` (the mean over all cells is zero), a factor, or ``a:b`` for an interaction.
    chi_square, df : float, int
        Twice the difference of the maximum log-likelihoods with and without the term, and its columns.
    p_chi_square : float
        From the chi-square distribution, which is too small with few models.
    p_bootstrap : float
        From the parametric bootstrap, (b + 1) / (B + 1); NaN where none was run.
    p : float
        The one that decides: the bootstrap's where there is one.
    """

    term: str
    chi_square: float
    df: int
    p_chi_square: float
    p_bootstrap: float
    p: float


@dataclass(frozen=True)
class Mixed:
    """A fitted mixed model; where `category` is not ``regular`` it holds no number.

    Attributes
    ----------
    category : str
        ``regular``, a category of `analysis.stats.degenerate.classify`, or why there is no fit.
    models, architectures, rows : int
        Independently trained models, architectures, and rows after averaging.
    messages : tuple of str
        What a reader must know beside it.
    architecture_term : str
        ``fixed``, ``random``, ``factor`` (one of the fixed factors) or ``none`` (a single architecture).
    variances : dict
        Random term -> variance (REML, unit of the values squared); ``residual`` is the last.
    boundary : tuple of str
        Terms whose variance is estimated as zero (a singular fit).
    dropped : dict
        Random term -> why it is not in the model.
    tests : tuple of TermTest
        ``overall``, then every term of the crossed fixed factors.
    repetitions : int or None
        Bootstrap samples; None where none was run.
    log_likelihood, log_likelihood_ml : float
        Restricted, and of the maximum-likelihood refit; constants as in lme4.
    df : int
        Degrees of freedom of the t intervals.
    cells : tuple of tuple
        Combinations of the levels of the fixed factors.
    means, covariance : ndarray, shape (cells,) and (cells, cells)
        Mean of each cell over architectures of equal weight, and the covariance of the estimates.
    """

    category: MixedCategory
    models: int
    architectures: int
    rows: int
    messages: tuple[str, ...] = ()
    architecture_term: Literal["fixed", "random", "factor", "none"] = "none"
    variances: dict[str, float] = field(default_factory=dict)
    boundary: tuple[str, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    tests: tuple[TermTest, ...] = ()
    repetitions: int | None = None
    log_likelihood: float = math.nan
    log_likelihood_ml: float = math.nan
    df: int = 0
    cells: tuple[Cell, ...] = ()
    means: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    covariance: Values = field(default_factory=lambda: np.empty((0, 0)), repr=False, compare=False)


@dataclass(frozen=True)
class _Design:
    """The averaged data and the matrices of the model.

    `x` (N, p) holds the fixed part, `terms` its columns by term, where the empty term is the intercept; `grouping` the
    level of every row in each random term; `block` the coarsest of these, within which all correlation lies; `cell_x`
    (cells, p) a row for the mean of each cell.
    """

    y: Values
    architecture_term: Literal["fixed", "random", "factor", "none"]
    x: Values
    terms: dict[tuple[str, ...], slice]
    cells: tuple[Cell, ...]
    cell_x: Values
    block: Codes
    grouping: dict[str, Codes]
    dropped: dict[str, str]


@dataclass(frozen=True)
class _Layout:
    """The m blocks of t rows that meet the same settings, and so share their covariance matrix.

    `kernels` (q, t, t) is one where two rows of a block share a level of the random term, else zero; `x` has shape
    (t, m, p), `rows` (t, m).
    """

    kernels: Values
    x: Values
    rows: Codes


@dataclass(frozen=True)
class _Fit:
    """The best `ratios` (variance of each random term / residual variance) and what follows from them."""

    ratios: Values
    beta: Values
    covariance: Values
    residual: float
    deviance: float
    converged: bool


def mixed(
    frame: pd.DataFrame,
    fixed: Sequence[str] = (),
    *,
    within: Sequence[str] | None = None,
    value: str = "difference",
    architecture: str = "model",
    model: str = "checkpoint",
    repetitions: int = 999,
    seed: int = 0,
) -> Mixed:
    """Fit ``value ~ architecture + fixed factors, all crossed`` with random terms for the models.

    The random terms are (1 | model), (1 | model:f) for each factor f of `within`, and (1 | model:f:g) and so on for
    each set of them. Without these terms the settings of one model would count as models. A term that the data cannot
    tell from another one or from the residual (the whole set, as rule) is dropped and named. Fixed factors are
    categories with sum-to-zero coding: the intercept is the mean over all cells. Architectures are a fixed effect
    without interactions, from six levels on a random term.

    Estimates are REML. A term is tested against the model without it, both without the interactions that contain it
    (type II), by the likelihood ratio of maximum-likelihood refits. Under 30 models p comes from a parametric
    bootstrap of the model without the term (Halekoh and Hojsgaard 2014, J. Stat. Softw. 59(9), section 4).

    Own code, equal to `statsmodels` MixedLM and lme4 in the tests: MixedLM takes 0.1 s for 20 models x 18 settings,
    minutes for a bootstrap. The deviance is profiled over the fixed effects and the residual variance (Bates et al.
    2015, J. Stat. Softw. 67(1), section 3) and evaluated once for all models that meet the same settings.

    Parameters
    ----------
    frame : DataFrame
        A row per model and setting, or several, which are averaged: calibration draws are no settings.
    fixed : sequence of str
        Columns of the fixed factors; none for the overall mean alone.
    within : sequence of str, optional
        Columns whose levels one model meets repeatedly; the default is `fixed`.
    value, architecture, model : str
        Columns of the values, of the architecture, and of the trained model (its checkpoint).
    repetitions, seed : int
        Bootstrap samples, and the seed of their draw.

    Returns
    -------
    Mixed
        With a category and no numbers where there is one model, one model per architecture, a fixed factor of
        one level, an empty cell, no variance, or no convergence.

    Raises
    ------
    ValueError
        If a factor has a missing value.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> grid = itertools.product(range(8), (0.5, 0.7, 0.8))
    >>> rows = [("cnn", m, s, 0.1 * s + 0.01 * rng.normal()) for m, s in grid]
    >>> frame = pd.DataFrame(rows, columns=["model", "checkpoint", "sparsity", "difference"])
    >>> fit = mixed(frame, ["sparsity"], repetitions=99)
    >>> [(test.term, test.p) for test in fit.tests]
    [('overall', 0.01), ('sparsity', 0.01)]
    >>> fit.dropped
    {'model:sparsity': 'confounded with the residual'}
    >>> mixed(frame.assign(model=frame["checkpoint"]), ["sparsity"]).category
    'one model per architecture'
    """
    repeated = tuple(fixed if within is None else within)
    keys = list(dict.fromkeys([architecture, model, *fixed, *repeated]))
    if frame[keys].isna().to_numpy().any():
        raise ValueError(f"a factor of the mixed model has missing values; the factors are {', '.join(keys)}")
    category: MixedCategory = classify(frame[value].to_numpy(dtype=np.float64))
    # In the order of their factors, the rows of two models with the same settings look the same.
    table = frame.groupby(keys, sort=True, observed=True)[value].mean().reset_index()
    sizes = table.groupby(architecture, observed=True)[model].nunique().to_numpy()
    counts = (int(sizes.sum()), len(sizes), len(table))
    if category not in ("regular", "one model"):
        return Mixed(category, *counts)
    design = _design(table, tuple(fixed), repeated, value, architecture, model)
    category = _category(design, sizes)
    if category != "regular":
        return Mixed(category, *counts)
    alone = int((sizes < 2).sum())
    messages = (f"{alone} of {len(sizes)} architectures have a single model",) if alone else ()
    layouts = _layouts(design)
    samples = repetitions if counts[0] < CHI_SQUARE_MODELS else 0
    # Matrices this small gain nothing from a second thread, and waiting for it costs twenty times the work.
    with threadpool_limits(1, "blas"):
        rough = _fit(layouts, design.y, np.ones(len(design.grouping)), restricted=True)
        reml = _fit(layouts, design.y, rough.ratios, restricted=True)  # the steps are scaled where a fit starts
        ml = _fit(layouts, design.y, reml.ratios)
        if not (reml.converged and ml.converged):
            return Mixed("not converged", *counts, (*messages, "no maximum of the likelihood was found"))
        tests = _tests(design, layouts, ml.ratios, samples, seed)
    variances = [*(reml.residual * reml.ratios).tolist(), reml.residual]
    return Mixed(
        category,
        *counts,
        messages,
        architecture_term=design.architecture_term,
        variances=dict(zip([*design.grouping, "residual"], variances, strict=True)),
        boundary=tuple(name for name, ratio in zip(design.grouping, reml.ratios, strict=True) if ratio < BOUNDARY),
        dropped=design.dropped,
        tests=tests,
        repetitions=samples or None,
        log_likelihood=-reml.deviance / 2,
        log_likelihood_ml=-ml.deviance / 2,
        df=_degrees_of_freedom(design),
        cells=design.cells,
        means=design.cell_x @ reml.beta,
        covariance=design.cell_x @ reml.covariance @ design.cell_x.T,
    )


def contrast(fit: Mixed, weights: Mapping[Cell, float] | None = None, level: float = 0.95) -> Effect:
    """Estimate a linear combination of the cell means of a mixed model.

    The t interval has as many degrees of freedom as there are models (random architectures: architectures), less
    the fixed effects that differ only between models. That is exact for the overall mean of balanced data and
    conservative for a contrast within models, to which each model gives several rows (ours).

    Parameters
    ----------
    fit : Mixed
        Regular.
    weights : mapping, optional
        Cell (a tuple with one level per fixed factor) -> weight; cells left out weigh 0. The default is the mean
        over all cells.
    level : float
        Confidence level.

    Raises
    ------
    ValueError
        If the model was not fitted, or has no such cell.

    Examples
    --------
    >>> rows = [("cnn", m, s, y) for m, pair in enumerate([(1, 4), (2, 3), (3, 8)]) for s, y in enumerate(pair)]
    >>> frame = pd.DataFrame(rows, columns=["model", "checkpoint", "sparsity", "difference"])
    >>> fit = mixed(frame, ["sparsity"], repetitions=9)
    >>> effect = contrast(fit, {(1,): 1, (0,): -1})
    >>> round(effect.estimate, 6), round(effect.se, 4), effect.df
    (3.0, 1.1547, 2)
    """
    if fit.category != "regular":
        raise ValueError(f"the mixed model was not fitted: {fit.category}")
    asked = dict.fromkeys(fit.cells, 1 / len(fit.cells)) if weights is None else dict(weights)
    unknown = [cell for cell in asked if cell not in fit.cells]
    if unknown:
        raise ValueError(f"the mixed model has no cell {unknown[0]}; its cells are {', '.join(map(str, fit.cells))}")
    row = np.array([asked.get(cell, 0.0) for cell in fit.cells])
    estimate, se = float(row @ fit.means), float((row @ fit.covariance @ row) ** 0.5)
    half = float(stats.t.ppf((1 + level) / 2, fit.df)) * se
    p = float(2 * stats.t.sf(abs(estimate) / se, fit.df)) if se > 0 else math.nan
    return Effect(estimate, se, fit.df, estimate - half, estimate + half, level, p)


def _design(
    table: pd.DataFrame, fixed: tuple[str, ...], within: tuple[str, ...], value: str, architecture: str, model: str
) -> _Design:
    codes = {name: pd.factorize(table[name], sort=True) for name in dict.fromkeys([architecture, *fixed])}
    arch = codes[architecture][0]
    unit = table.groupby([architecture, model], sort=True, observed=True).ngroup().to_numpy()
    count = len(codes[architecture][1])
    term: Literal["fixed", "random", "factor", "none"] = "none"
    if architecture in fixed:
        term = "factor"
    elif count > 1:
        term = "fixed" if count < RANDOM_ARCHITECTURES else "random"

    levels = {name: list(codes[name][1]) for name in fixed}
    cells = tuple(itertools.product(*levels.values()))
    indices = np.array(list(np.ndindex(*map(len, levels.values()))), dtype=np.int64).reshape(len(cells), len(fixed))
    of_rows = {name: _sum_coding(codes[name][0], len(codes[name][1])) for name in codes}
    of_cells = {name: _sum_coding(indices[:, place], len(levels[name])) for place, name in enumerate(fixed)}
    parts, cell_parts, terms, start = [], [], {}, 0
    for subset in _subsets(fixed):
        parts.append(_product([of_rows[name] for name in subset], len(table)))
        cell_parts.append(_product([of_cells[name] for name in subset], len(cells)))
        terms[subset] = slice(start, start := start + parts[-1].shape[1])
    if term == "fixed":
        parts.append(of_rows[architecture])
        cell_parts.append(np.zeros((len(cells), count - 1)))  # the mean over architectures

    grouping, dropped = _random_terms(table, unit, within)
    if term == "random":
        grouping = {"architecture": arch} | grouping
    return _Design(
        y=table[value].to_numpy(dtype=np.float64),
        architecture_term=term,
        x=np.concatenate(parts, axis=1),
        terms=terms,
        cells=cells,
        cell_x=np.concatenate(cell_parts, axis=1),
        block=arch if term == "random" else unit,
        grouping=grouping,
        dropped=dropped,
    )


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets, the empty one first."""
    return [subset for size in range(len(names) + 1) for subset in itertools.combinations(names, size)]


def _sum_coding(codes: Codes, levels: int) -> Values:
    """Columns of a factor that sum to zero over its levels, shape (rows, levels - 1)."""
    return np.concatenate([np.eye(levels)[:, :-1][:-1], -np.ones((1, levels - 1))])[codes]


def _product(columns: list[Values], rows: int) -> Values:
    """Columns of an interaction: all products of one column of each factor."""
    result = np.ones((rows, 1))
    for part in columns:
        result = (result[:, :, None] * part[:, None, :]).reshape(rows, -1)
    return result


def _random_terms(table: pd.DataFrame, unit: Codes, within: tuple[str, ...]) -> tuple[dict[str, Codes], dict[str, str]]:
    """Levels of every random term, numbered by first appearance, and why the other terms are left out."""
    kept: dict[str, Codes] = {}
    dropped: dict[str, str] = {}
    for subset in _subsets(within):
        name = ":".join(["model", *subset])
        groups = table.assign(_unit=unit).groupby(["_unit", *subset], observed=True).ngroup()
        codes = pd.factorize(groups)[0]
        same = [term for term, other in kept.items() if np.array_equal(codes, other)]
        if codes.max() + 1 == len(table):
            dropped[name] = "confounded with the residual"
        elif same:
            dropped[name] = f"the same groups as {same[0]}"
        else:
            kept[name] = codes
    return kept, dropped


def _category(design: _Design, sizes: Codes) -> MixedCategory:
    """Whether the model can be fitted, or why not."""
    if sizes.sum() < 2:
        return "one model"
    if sizes.max() < 2:
        return "one model per architecture"
    if any(part.start == part.stop for part in design.terms.values()):
        return "too few levels"
    if np.linalg.matrix_rank(design.x) < design.x.shape[1]:
        return "empty cells"
    if _degrees_of_freedom(design) < 1:
        return "too few models"
    beta = np.linalg.lstsq(design.x, design.y, rcond=None)[0]
    spread = np.abs(design.y - design.x @ beta).max()
    return "regular" if spread > RESOLUTION else "no residual variance"


def _degrees_of_freedom(design: _Design) -> int:
    """Independent blocks, less the columns that are constant within every one of them."""
    first = np.unique(design.block, return_index=True)[1]
    between = (design.x == design.x[first][design.block]).all(axis=0)
    return len(first) - int(between.sum())


def _layouts(design: _Design) -> list[_Layout]:
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
        layouts.append(_Layout(kernels, design.x[rows], rows))
    return layouts


def _fit(layouts: list[_Layout], y: Values, start: Values, *, restricted: bool = False) -> _Fit:
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


def _information(layouts: list[_Layout], ratios: Values) -> Values:
    """Fisher information of each ratio: its inverse root is the step that the optimiser should take for one."""
    information = np.zeros(len(ratios))
    for layout in layouts:
        solved = np.linalg.solve(_covariance(layout, ratios), layout.kernels)
        information += layout.rows.shape[1] * np.einsum("kij,kji->k", solved, solved)
    return information


def _covariance(layout: _Layout, ratios: Values) -> Values:
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


def _evaluate(layouts: list[_Layout], parts: list[Values], ratios: Values, restricted: bool) -> tuple[_Fit, Values]:
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
    return _Fit(ratios, beta, residual * covariance, residual, deviance, converged), gradient


def _tests(design: _Design, layouts: list[_Layout], start: Values, repetitions: int, seed: int) -> tuple[TermTest, ...]:
    return tuple(
        _test(design, layouts, start, term, repetitions, np.random.default_rng([seed, number]))
        for number, term in enumerate(design.terms)
    )


def _test(
    design: _Design,
    layouts: list[_Layout],
    start: Values,
    term: tuple[str, ...],
    repetitions: int,
    rng: np.random.Generator,
) -> TermTest:
    """Compare the model without `term` with the model with it, both without what contains it."""
    own = design.terms[term]
    above = [design.terms[other] for other in design.terms if term and set(term) < set(other)]
    kept = np.ones(design.x.shape[1], dtype=bool)
    for part in above:
        kept[part] = False
    full = _keep(layouts, kept)
    kept[own] = False
    reduced = _keep(layouts, kept)
    null = _fit(reduced, design.y, start)
    statistic = _ratio(reduced, full, design.y, null.ratios)
    df = own.stop - own.start
    p = float(stats.chi2.sf(statistic, df))
    p_bootstrap = math.nan
    if repetitions:
        samples = _simulate(reduced, null, len(design.y), repetitions, rng)
        drawn = np.array([_ratio(reduced, full, sample, null.ratios) for sample in samples])
        p_bootstrap = (int((drawn >= statistic).sum()) + 1) / (repetitions + 1)
    return TermTest(":".join(term) or "overall", statistic, df, p, p_bootstrap, p_bootstrap if repetitions else p)


def _keep(layouts: list[_Layout], columns: NDArray[np.bool_]) -> list[_Layout]:
    return [_Layout(one.kernels, np.ascontiguousarray(one.x[:, :, columns]), one.rows) for one in layouts]


def _ratio(reduced: list[_Layout], full: list[_Layout], y: Values, start: Values) -> float:
    """Likelihood-ratio statistic; the full model is never worse, whatever the optimiser left."""
    return max(0.0, _fit(reduced, y, start).deviance - _fit(full, y, start).deviance)


def _simulate(layouts: list[_Layout], fit: _Fit, rows: int, repetitions: int, rng: np.random.Generator) -> Values:
    """Draw data from a fitted model, shape (repetitions, rows)."""
    samples = np.empty((repetitions, rows))
    for layout in layouts:
        root = np.linalg.cholesky(fit.residual * _covariance(layout, fit.ratios))
        noise = root @ rng.standard_normal((repetitions, *layout.rows.shape))
        samples[:, layout.rows] = layout.x @ fit.beta + noise
    return samples
