"""Mixed model over settings: random terms keep the settings of one model from counting as models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from analysis.stats.degenerate import RESOLUTION, Category, classify
from analysis.stats.mixed_design import Cell, Codes, Design, Values, degrees_of_freedom, make_design
from analysis.stats.mixed_fit import (
    BOUNDARY,
    Layout,
    fit_variances,
    keep_columns,
    likelihood_ratio,
    make_layouts,
    simulate_data,
)

#: From so many models on the chi-square p-value decides; with fewer, the parametric bootstrap.
CHI_SQUARE_MODELS = 30

MixedCategory: TypeAlias = (
    Category
    | Literal[
        "one model per architecture", "too few models", "too few levels", "empty cells", "no residual variance",
        "not converged",
    ]
)  # fmt: skip


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
        Caveats.
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
    >>> import itertools
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
    design = make_design(table, tuple(fixed), repeated, value, architecture, model)
    category = _category(design, sizes)
    if category != "regular":
        return Mixed(category, *counts)
    alone = int((sizes < 2).sum())
    messages = (f"{alone} of {len(sizes)} architectures have a single model",) if alone else ()
    layouts = make_layouts(design)
    samples = repetitions if counts[0] < CHI_SQUARE_MODELS else 0
    # Matrices this small gain nothing from a second thread, and waiting for it costs twenty times the work.
    with threadpool_limits(1, "blas"):
        rough = fit_variances(layouts, design.y, np.ones(len(design.grouping)), restricted=True)
        # the steps are scaled where a fit starts, so the second one is more exact
        reml = fit_variances(layouts, design.y, rough.ratios, restricted=True)
        ml = fit_variances(layouts, design.y, reml.ratios)
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
        df=degrees_of_freedom(design),
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
    weight_of = dict.fromkeys(fit.cells, 1 / len(fit.cells)) if weights is None else dict(weights)
    unknown = [cell for cell in weight_of if cell not in fit.cells]
    if unknown:
        raise ValueError(f"the mixed model has no cell {unknown[0]}; its cells are {', '.join(map(str, fit.cells))}")
    row = np.array([weight_of.get(cell, 0.0) for cell in fit.cells])
    estimate, se = float(row @ fit.means), float((row @ fit.covariance @ row) ** 0.5)
    half = float(stats.t.ppf((1 + level) / 2, fit.df)) * se
    p = float(2 * stats.t.sf(abs(estimate) / se, fit.df)) if se > 0 else math.nan
    return Effect(estimate, se, fit.df, estimate - half, estimate + half, level, p)


def _category(design: Design, sizes: Codes) -> MixedCategory:
    """Whether the model can be fitted, or why not."""
    if sizes.sum() < 2:
        return "one model"
    if sizes.max() < 2:
        return "one model per architecture"
    if any(part.start == part.stop for part in design.terms.values()):
        return "too few levels"
    if np.linalg.matrix_rank(design.x) < design.x.shape[1]:
        return "empty cells"
    if degrees_of_freedom(design) < 1:
        return "too few models"
    beta = np.linalg.lstsq(design.x, design.y, rcond=None)[0]
    spread = np.abs(design.y - design.x @ beta).max()
    return "regular" if spread > RESOLUTION else "no residual variance"


def _tests(design: Design, layouts: list[Layout], start: Values, repetitions: int, seed: int) -> tuple[TermTest, ...]:
    return tuple(
        _test(design, layouts, start, term, repetitions, np.random.default_rng([seed, number]))
        for number, term in enumerate(design.terms)
    )


def _test(
    design: Design,
    layouts: list[Layout],
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
    full = keep_columns(layouts, kept)
    kept[own] = False
    reduced = keep_columns(layouts, kept)
    null = fit_variances(reduced, design.y, start)
    statistic = likelihood_ratio(reduced, full, design.y, null.ratios)
    df = own.stop - own.start
    p = float(stats.chi2.sf(statistic, df))
    p_bootstrap = math.nan
    if repetitions:
        samples = simulate_data(reduced, null, len(design.y), repetitions, rng)
        drawn = np.array([likelihood_ratio(reduced, full, sample, null.ratios) for sample in samples])
        p_bootstrap = (int((drawn >= statistic).sum()) + 1) / (repetitions + 1)
    return TermTest(":".join(term) or "overall", statistic, df, p, p_bootstrap, p_bootstrap if repetitions else p)
