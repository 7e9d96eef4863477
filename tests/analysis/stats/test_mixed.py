"""The mixed model against MixedLM, analysis of variance by hand, brute force, invariances and a small simulation."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from analysis.stats.mixed import contrast, mixed


def sample(seed=0, architectures=2, models=10, sparsities=4, classes=3, effect=0.0, missing=0.0, spread=(1, 1.5, 1.5)):
    """`models` models that differ, and differ in how they meet each sparsity and class; `effect` is that of class 2."""
    rng = np.random.default_rng(seed)
    shapes = ((models, 1, 1), (models, sparsities, 1), (models, 1, classes))
    values = sum(sd * rng.normal(size=shape) for sd, shape in zip(spread, shapes, strict=True))
    values = values + rng.normal(size=(models, sparsities, classes))
    model, sparsity, kind = np.indices(values.shape).reshape(3, -1)
    frame = pd.DataFrame(
        {
            "model": [f"net{m % architectures}" for m in model], "checkpoint": model, "sparsity": 0.5 + sparsity / 10,
            "class": kind, "difference": values.ravel() + effect * (kind == 2),
        }
    )  # fmt: skip
    return frame[rng.random(len(frame)) >= missing].reset_index(drop=True)


def by_statsmodels(frame, formula, *, reml):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it may be on the boundary, which these data are not
        model = smf.mixedlm(
            formula, frame, groups="checkpoint", re_formula="1",
            vc_formula={"sparsity": "0 + C(sparsity)", "class": "0 + C(kind)"},
        )  # fmt: skip
        return model.fit(reml=reml, method=["lbfgs", "bfgs"], gtol=1e-8)


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_the_fit_is_that_of_statsmodels(missing):
    frame = sample(3, missing=missing)
    found = mixed(frame, ["sparsity", "class"], repetitions=0)
    fixed = "difference ~ C(sparsity, Sum) * C(kind, Sum) + C(model, Sum)"
    other = by_statsmodels(frame.assign(kind=frame["class"]), fixed, reml=True)
    assert found.architecture_term == "fixed"
    assert found.log_likelihood == pytest.approx(other.llf, abs=1e-4)
    variances = {
        "model": other.cov_re.iloc[0, 0], "model:sparsity": other.vcomp[1], "model:class": other.vcomp[0],
        "residual": other.scale,
    }  # fmt: skip
    assert found.variances == pytest.approx(variances, rel=1e-2)
    overall = contrast(found)
    assert overall.estimate == pytest.approx(other.params["Intercept"], abs=1e-4)
    assert overall.se == pytest.approx(other.bse["Intercept"], rel=1e-3)
    ml = by_statsmodels(frame.assign(kind=frame["class"]), fixed, reml=False)
    assert found.log_likelihood_ml == pytest.approx(ml.llf, abs=1e-4)
    without = by_statsmodels(frame.assign(kind=frame["class"]), fixed.replace("*", "+"), reml=False)
    (interaction,) = (test for test in found.tests if test.term == "sparsity:class")
    assert interaction.chi_square == pytest.approx(2 * (ml.llf - without.llf), abs=2e-3)
    assert interaction.df == 6
    assert interaction.p_chi_square == pytest.approx(stats.chi2.sf(2 * (ml.llf - without.llf), 6), abs=1e-3)


def full_deviance(frame, columns, parameters):
    """Minus twice the log-likelihood with the whole covariance matrix written out."""
    unit, kind = frame["checkpoint"].to_numpy(), frame["class"].to_numpy()
    sparsity, y = frame["sparsity"].to_numpy(), frame["difference"].to_numpy()
    own = unit[:, None] == unit
    model, by_sparsity, by_class, residual = np.exp(parameters)
    v = own * (model + by_sparsity * (sparsity[:, None] == sparsity) + by_class * (kind[:, None] == kind))
    v = v + residual * np.eye(len(y))
    solved = np.linalg.solve(v, np.column_stack([columns, y]))
    beta = np.linalg.solve(columns.T @ solved[:, :-1], columns.T @ solved[:, -1])
    left = y - columns @ beta
    return np.linalg.slogdet(2 * np.pi * v)[1] + left @ np.linalg.solve(v, left)


def test_the_likelihood_is_that_of_the_whole_covariance_matrix():
    frame = sample(4, architectures=1, models=6, missing=0.1)
    found = mixed(frame, ["class"], within=["sparsity", "class"], repetitions=0)
    columns = np.column_stack([frame["class"] == kind for kind in range(3)]).astype(float)
    best = optimize.minimize(lambda p: full_deviance(frame, columns, p), np.zeros(4), method="L-BFGS-B")
    assert found.log_likelihood_ml == pytest.approx(-best.fun / 2, abs=1e-4)


def test_balanced_variances_are_those_of_the_analysis_of_variance():
    frame = sample(5, architectures=1, models=12, sparsities=5, classes=2)
    found = mixed(frame, ["sparsity", "class"], repetitions=0)
    y = frame["difference"].to_numpy().reshape(12, 5, 2)
    y = y - y.mean(axis=0)  # the fixed effects
    unit, by_s, by_c = y.mean(axis=(1, 2)), y.mean(axis=2), y.mean(axis=1)
    left = y - by_s[:, :, None] - by_c[:, None, :] + unit[:, None, None]
    squares = {
        "unit": 10 * (unit**2).sum() / 11, "s": 2 * ((by_s - unit[:, None]) ** 2).sum() / 44,
        "c": 5 * ((by_c - unit[:, None]) ** 2).sum() / 11, "left": (left**2).sum() / 44,
    }  # fmt: skip
    expected = {
        "model": (squares["unit"] - squares["s"] - squares["c"] + squares["left"]) / 10,
        "model:sparsity": (squares["s"] - squares["left"]) / 2, "model:class": (squares["c"] - squares["left"]) / 5,
        "residual": squares["left"],
    }  # fmt: skip
    assert all(variance > 0 for variance in expected.values())
    assert found.variances == pytest.approx(expected, rel=1e-3)
    assert contrast(found).se == pytest.approx((squares["unit"] / 120) ** 0.5, rel=1e-4)


def test_the_overall_mean_of_balanced_data_is_the_t_test_of_the_models():
    frame = sample(6, architectures=1)
    found = contrast(mixed(frame, ["sparsity", "class"], repetitions=0))
    own = frame.groupby("checkpoint")["difference"].mean()
    other = stats.ttest_1samp(own, 0)
    assert found.df == other.df
    assert found.p == pytest.approx(other.pvalue, rel=1e-4)
    assert (found.low, found.high) == pytest.approx(other.confidence_interval(), rel=1e-4)


def test_one_row_per_model_is_a_t_test_within_architectures():
    frame = sample(7, architectures=2, sparsities=1, classes=1)
    found = mixed(frame, repetitions=0)
    assert found.dropped == {"model": "confounded with the residual"}
    assert contrast(found).df == 8
    first, second = (own["difference"] for _, own in frame.groupby("model"))
    pooled = (first.var() + second.var()) / 2
    assert found.variances == pytest.approx({"residual": pooled})
    assert contrast(found).estimate == pytest.approx((first.mean() + second.mean()) / 2)
    assert contrast(found).se == pytest.approx((pooled * (1 / 5 + 1 / 5) / 4) ** 0.5)


def test_a_term_that_is_another_one_or_the_residual_is_named():
    frame = sample(8, sparsities=1)
    found = mixed(frame, ["class"], within=["sparsity", "class"], repetitions=0)
    assert found.dropped == {
        "model:sparsity": "the same groups as model", "model:class": "confounded with the residual",
        "model:sparsity:class": "confounded with the residual",
    }  # fmt: skip
    assert list(found.variances) == ["model", "residual"]


def test_draws_are_averaged_and_count_for_nothing():
    frame = sample(9)
    apart = pd.concat([frame.assign(difference=frame["difference"] + shift) for shift in (-0.3, 0.3)])
    once, twice = (mixed(rows, ["sparsity", "class"], repetitions=0) for rows in (frame, apart))
    assert once.rows == twice.rows == len(frame)
    assert twice.log_likelihood == pytest.approx(once.log_likelihood)


def test_six_architectures_are_a_random_term():
    frame = sample(10, architectures=6, models=18, sparsities=2, classes=2)
    frame["difference"] += frame["model"].map({f"net{n}": 3.0 * n for n in range(6)})
    found = mixed(frame, ["class"], within=["sparsity", "class"], repetitions=0)
    assert found.architecture_term == "random"
    assert found.variances["architecture"] > 5
    assert found.df == 5
    fewer = mixed(frame[frame["model"] != "net5"], ["class"], within=["sparsity", "class"], repetitions=0)
    assert fewer.architecture_term == "fixed"
    assert fewer.df == 15 - 5


def test_contrasts_combine_the_cell_means():
    found = mixed(sample(11, effect=2.0), ["sparsity", "class"], repetitions=0)
    assert found.cells == tuple(itertools.product((0.5, 0.6, 0.7, 0.8), range(3)))
    weights = {cell: {0: -0.25, 1: 0.0, 2: 0.25}[cell[1]] for cell in found.cells}
    effect, mirrored = contrast(found, weights), contrast(found, {cell: -w for cell, w in weights.items()})
    assert effect.estimate == pytest.approx(-mirrored.estimate)
    assert (effect.low, effect.high) == pytest.approx((-mirrored.high, -mirrored.low))
    assert contrast(found, weights, level=0.5).high < effect.high
    assert effect.p == pytest.approx(2 * stats.t.sf(abs(effect.estimate) / effect.se, 8))
    with pytest.raises(ValueError, match=r"no cell \(0\.9, 1\)"):
        contrast(found, {(0.9, 1): 1.0})


@given(st.randoms(use_true_random=False), st.floats(-5, 5))
@settings(max_examples=8, deadline=None)
def test_order_names_shift_and_orientation_change_nothing(random, shift):
    frame = sample(12, models=6, sparsities=2, missing=0.05)
    first = mixed(frame, ["sparsity", "class"], repetitions=0)
    shuffled = frame.sample(frac=1, random_state=random.randrange(1000))
    names = random.sample(range(100), 6)
    turned = shuffled.assign(
        checkpoint=[f"c{names[m]}" for m in shuffled["checkpoint"]], difference=shift - shuffled["difference"]
    )
    second = mixed(turned, ["class", "sparsity"], repetitions=0)
    tests = {frozenset(test.term.split(":")): test for test in second.tests}
    for test in first.tests[1:]:
        assert tests[frozenset(test.term.split(":"))].chi_square == pytest.approx(test.chi_square, abs=1e-3)
    assert contrast(second).estimate == pytest.approx(shift - contrast(first).estimate, abs=1e-3)
    assert contrast(second).se == pytest.approx(contrast(first).se, rel=1e-2)
    assert second.variances["residual"] == pytest.approx(first.variances["residual"], rel=1e-2)


def test_the_bootstrap_is_the_share_of_simulated_statistics_and_repeats():
    frame = sample(13, models=5, sparsities=2)
    found, again, other = (mixed(frame, ["class"], repetitions=39, seed=seed) for seed in (1, 1, 2))
    assert found == again != other
    assert found.repetitions == 39
    assert all(round(test.p * 40, 9).is_integer() and test.p == test.p_bootstrap for test in found.tests)


def test_a_clear_effect_is_found_and_the_least_p_is_that_of_the_repetitions():
    found = mixed(sample(14, effect=8.0, sparsities=2), ["sparsity", "class"], repetitions=39)
    assert {test.term: test.p for test in found.tests}["class"] == 1 / 40


def test_from_thirty_models_on_the_chi_square_decides():
    found = mixed(sample(15, models=30, sparsities=1, classes=2), ["class"])
    assert found.repetitions is None
    assert all(test.p == test.p_chi_square and np.isnan(test.p_bootstrap) for test in found.tests)


def test_a_variance_of_zero_is_reported():
    frame = sample(16, spread=(3, 0, 0))
    by_model, by_both = (frame.groupby(keys)["difference"] for keys in ("checkpoint", ["checkpoint", "sparsity"]))
    frame["difference"] += by_model.transform("mean") - by_both.transform("mean")
    found = mixed(frame, ["sparsity", "class"], repetitions=0)
    assert "model:sparsity" in found.boundary
    assert found.variances["model:sparsity"] == pytest.approx(0, abs=1e-6)


def test_degenerate_data_have_a_category_and_no_numbers():
    frame = sample(17)
    one = frame["checkpoint"].eq(0)
    cases = {
        "no data": frame[:0],
        "one model": frame[one],
        "one model per architecture": frame.assign(model=frame["checkpoint"]),
        "identical": frame.assign(difference=0.0),
        "constant": frame.assign(difference=0.1),
        "not finite": frame.assign(difference=frame["difference"].where(frame.index > 0)),
        "no residual variance": frame.assign(difference=frame["sparsity"] * frame["class"]),
        "too few levels": frame[frame["class"].eq(1)],
        "empty cells": frame[frame["sparsity"].gt(0.5) | frame["class"].ne(1)],
    }
    for category, data in cases.items():
        found = mixed(data, ["sparsity", "class"])
        assert found.category == category
        assert not found.variances
        assert not found.tests
        assert np.isnan(found.log_likelihood)
        with pytest.raises(ValueError, match=category):
            contrast(found)


def test_a_factor_that_leaves_every_level_one_model_is_refused():
    frame = sample(18, architectures=1, models=2).assign(data=lambda f: f["checkpoint"])
    assert mixed(frame, ["data"], repetitions=0).category == "too few models"


def test_an_architecture_with_a_single_model_is_named():
    frame = sample(19, models=5)
    frame.loc[frame["checkpoint"].eq(4), "model"] = "alone"
    assert mixed(frame, ["class"], repetitions=0).messages == ("1 of 3 architectures have a single model",)


def test_a_missing_factor_is_an_error():
    with pytest.raises(ValueError, match="missing values"):
        mixed(sample().assign(sparsity=np.nan), ["sparsity"])


def test_the_random_terms_keep_false_rejections_near_the_level():
    counts = {"with": 0, "without": 0, "t": 0}
    for seed in range(40):
        frame = sample(1000 + seed, architectures=1)
        own = mixed(frame, ["sparsity", "class"], repetitions=0)
        bare = mixed(frame, ["sparsity", "class"], within=[], repetitions=0)
        counts["with"] += own.tests[2].p_chi_square <= 0.05
        counts["without"] += bare.tests[2].p_chi_square <= 0.05
        counts["t"] += contrast(own, {cell: {0: -0.25, 1: 0.0, 2: 0.25}[cell[1]] for cell in own.cells}).p <= 0.05
    most = stats.binom.ppf(0.995, 40, 0.05)
    assert counts["t"] <= most
    assert counts["with"] < counts["without"]
    assert counts["without"] > most
