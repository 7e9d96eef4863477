"""Likelihood of a mixed model against the normal density of the whole covariance matrix, and simulated data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.mixed_design import make_design
from analysis.stats.mixed_fit import fit_variances, keep_columns, likelihood_ratio, make_layouts, simulate_data

START = np.array([1.0])


@pytest.fixture
def design():
    """8 models that differ, each measured four times in two classes; one measurement is missing."""
    rng = np.random.default_rng(4)
    model, kind, _ = np.indices((8, 2, 2)).reshape(3, -1)
    values = rng.normal(size=8)[model] + 0.5 * kind + rng.normal(0, 0.7, 32)
    frame = pd.DataFrame({"architecture": "net", "model": model, "class": kind, "difference": values}).drop(index=5)
    return make_design(frame.reset_index(drop=True), ("class",), (), "difference", "architecture", "model")


def covariance(design, ratios, residual):
    """The covariance of all rows at once."""
    matrix = np.eye(len(design.y))
    for ratio, codes in zip(ratios, design.grouping.values(), strict=True):
        matrix += ratio * (codes[:, None] == codes[None, :])
    return residual * matrix


def test_blocks_that_meet_the_same_settings_share_a_layout(design):
    layouts = make_layouts(design)
    assert sorted(layout.rows.shape for layout in layouts) == [(3, 1), (4, 7)]
    assert sorted(row for layout in layouts for row in layout.rows.ravel()) == list(range(31))
    for layout in layouts:
        assert np.array_equal(layout.x, design.x[layout.rows])


def test_the_deviance_is_that_of_the_whole_normal_density_and_the_least_nearby(design):
    found = fit_variances(make_layouts(design), design.y, START)
    assert found.converged
    assert found.ratios[0] > 0.1

    def deviance(ratio, beta=found.beta):
        density = stats.multivariate_normal(design.x @ beta, covariance(design, [ratio], found.residual))
        return -2 * density.logpdf(design.y)

    assert found.deviance == pytest.approx(deviance(found.ratios[0]))
    nearby = [deviance(found.ratios[0] * factor) for factor in (0.8, 1.25)]
    nearby += [deviance(found.ratios[0], found.beta + step) for step in 0.1 * np.eye(2)]
    assert min(nearby) > found.deviance


def test_the_fixed_part_is_generalised_least_squares(design):
    found = fit_variances(make_layouts(design), design.y, START, restricted=True)
    inverse = np.linalg.inv(covariance(design, found.ratios, found.residual))
    information = design.x.T @ inverse @ design.x
    assert found.beta == pytest.approx(np.linalg.solve(information, design.x.T @ inverse @ design.y))
    assert found.covariance == pytest.approx(np.linalg.inv(information))


def test_without_a_random_term_it_is_ordinary_least_squares(design):
    plain = make_layouts(dataclasses.replace(design, grouping={}))
    found = fit_variances(plain, design.y, np.zeros(0), restricted=True)
    beta, (square,), *_ = np.linalg.lstsq(design.x, design.y)
    assert found.beta == pytest.approx(beta)
    assert found.residual == pytest.approx(square / (31 - 2))


def test_a_column_that_explains_nothing_has_a_likelihood_ratio_near_zero(design):
    full = make_layouts(design)
    reduced = keep_columns(full, np.array([True, False]))
    assert [layout.x.shape[2] for layout in reduced] == [1] * len(full)
    assert likelihood_ratio(full, full, design.y, START) == pytest.approx(0, abs=1e-6)
    assert likelihood_ratio(reduced, full, design.y, START) > 1
    without = design.y - design.x[:, 1] * fit_variances(full, design.y, START).beta[1]
    assert likelihood_ratio(reduced, full, without, START) == pytest.approx(0, abs=1e-3)


def test_simulated_data_have_the_moments_of_the_fit(design):
    layouts = make_layouts(design)
    found = fit_variances(layouts, design.y, START)
    samples = simulate_data(layouts, found, 31, 20_000, np.random.default_rng(0))
    assert samples.shape == (20_000, 31)
    assert samples.mean(axis=0) == pytest.approx(design.x @ found.beta, abs=0.05)
    assert np.cov(samples.T) == pytest.approx(covariance(design, found.ratios, found.residual), abs=0.08)
