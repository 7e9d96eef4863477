"""This package's statistics against the values that R printed, which are stored here beside the scripts."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.correction import adjust
from analysis.stats.effects import dz_interval
from analysis.stats.equivalence import tost
from analysis.stats.images import crossed_intervals, mcnemar
from analysis.stats.intervals import bca_bounds, t_interval
from analysis.stats.limits import EXACT_MODELS, WILCOXON_MODELS
from analysis.stats.max_t import max_t
from analysis.stats.mixed import contrast, mixed
from analysis.stats.models_needed import least_decidable
from analysis.stats.paired import hedges_dz, paired_t, sign_flip, wilcoxon
from analysis.stats.power import (
    attainable_p,
    least_effect,
    least_margin,
    paired_t_power,
    superiority_power,
    tost_power,
)
from analysis.stats.profiles import iqm, iqm_interval, performance_profile
from analysis.stats.ranks import friedman, pairwise_wilcoxon
from analysis.stats.trend import isotonic, page

FOLDER = Path(__file__).parent
#: What the same formula in double precision may lose on another path.
CLOSE = 1e-9
SIDES = {"two.sided": "two-sided", "greater": "greater", "less": "less"}


def stored(topic: str) -> Any:
    return json.loads((FOLDER / f"{topic}.json").read_text())["values"]


DATA = json.loads((FOLDER / "data.json").read_text())
TABLES = DATA["tables"]
INTERVALS, PAIRED, CORRECTION, RANKS, IMAGES, TREND, MIXED, POWER, EFFECTS = map(
    stored, ("intervals", "paired", "correction", "ranks", "images", "trend", "mixed", "power", "effects")
)


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=CLOSE, abs=1e-12)


def within_chance(r: Any) -> list[Any]:
    """Bounds of a bootstrap, both sides random: four standard errors of one of ours less R's mean over its repeats."""
    wide = 4 * math.sqrt(1 + 1 / r["repeats"])
    return [pytest.approx(r[bound], abs=wide * r[f"{bound}_sd"]) for bound in ("low", "high")]


@pytest.mark.parametrize("name", INTERVALS["t"])
def test_t_interval(name):
    values, r = DATA["differences"][name], INTERVALS["t"][name]
    for level, bounds in ((0.95, r["level95"]), (0.99, r["level99"])):
        found = t_interval(values, level)
        assert [found.mean, found.sd, found.low, found.high] == close([r["mean"], r["sd"], *bounds])


@pytest.mark.parametrize("name", INTERVALS["bca"])
def test_bca_bounds(name):
    r = INTERVALS["bca"][name]
    low, high = bca_bounds([DATA["bootstrap"][name]], resamples=r["resamples"])
    assert [low[0], high[0]] == within_chance(r)


@pytest.mark.parametrize(("kind", "null"), [("t", 0.0), ("t_shifted", DATA["null"])])
@pytest.mark.parametrize("name", PAIRED["t"])
def test_paired_t(name, kind, null):
    r = PAIRED[kind][name]
    for side, alternative in SIDES.items():
        found = paired_t(DATA["differences"][name], null, alternative)
        assert [found.statistic, found.df, found.p] == close([r["statistic"], r["df"], r["p"][side]])


@pytest.mark.parametrize("name", PAIRED["tost"])
def test_tost(name):
    r = PAIRED["tost"][name]
    found = tost(DATA["differences"][name], DATA["margin"], alpha=0.05)
    assert [found.p_lower, found.p_upper, found.p] == close([r["lower"], r["upper"], r["p"]])
    assert [found.interval.low, found.interval.high] == close(r["interval"])


@pytest.mark.parametrize("kind", ["flip", "flip_coin"])
@pytest.mark.parametrize("side", SIDES)
def test_sign_flip(kind, side):
    """R's enumeration for every sample up to 20 models, coin's exact distribution for those in whole images."""
    r = {name: p[side] for name, p in PAIRED[kind].items() if len(DATA["differences"][name]) <= EXACT_MODELS}
    assert {name: sign_flip(DATA["differences"][name], alternative=SIDES[side]).p for name in r} == close(r)


@pytest.mark.parametrize("side", SIDES)
def test_drawn_sign_flips(side):
    """Beyond 20 models ours draws patterns: four standard errors from coin's exact p-value."""
    exact = PAIRED["flip_coin"]["ties25"][side]
    found = sign_flip(DATA["differences"]["ties25"], alternative=SIDES[side])
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / found.repetitions))


@pytest.mark.parametrize("kind", ["wilcoxon_coin", "wilcoxon_psignrank", "wilcoxon_normal"])
@pytest.mark.parametrize("side", SIDES)
def test_wilcoxon(kind, side):
    """With ties and zeros by coin, without by psignrank, tied beyond 20 models by R's normal approximation."""
    r = {name: p for name, p in PAIRED[kind].items() if len(DATA["differences"][name]) >= WILCOXON_MODELS}
    found = {name: wilcoxon(DATA["differences"][name], SIDES[side]).p for name in r}
    assert found == close({name: p[side] for name, p in r.items()})


@pytest.mark.parametrize(("name", "key"), [("plain", "p_values"), ("tied", "p_values_tied")])
@pytest.mark.parametrize("method", ["holm", "bh"])
def test_corrections(name, key, method):
    assert adjust(DATA[key], method) == close(CORRECTION[name][method])


@pytest.mark.parametrize(("side", "alternative"), [("greater", "greater"), ("two.sided", "two-sided")])
def test_max_t(side, alternative):
    found = max_t(TABLES["hypotheses"], alternative)
    assert found.statistics == close(tuple(CORRECTION["max_t"]["statistics"]))
    assert found.p_adjusted == close(tuple(CORRECTION["max_t"][side]))


@pytest.mark.parametrize("name", RANKS["friedman"])
def test_friedman(name):
    r, found = RANKS["friedman"][name], friedman(TABLES[name])
    assert [found.chi_square, found.df, found.p] == close([r["chi_square"], r["df"], r["p"]])
    assert [found.chi_square, found.p] == close([r["coin_chi_square"], r["coin_p"]])
    assert [found.f, found.df1, found.df2, found.p_f] == close([r["f"], r["df1"], r["df2"], r["p_f"]])
    assert found.mean_ranks == close(tuple(r["mean_ranks"]))


@pytest.mark.parametrize("name", RANKS["pairwise"])
def test_pairwise_wilcoxon(name):
    r = RANKS["pairwise"][name]
    found = pairwise_wilcoxon(TABLES[name], [str(column) for column in range(len(TABLES[name][0]))])
    assert found[["first", "second"]].astype(int).to_numpy().T.tolist() == [r["first"], r["second"]]
    for column in ("difference", "p", "p_holm"):
        assert found[column].tolist() == close(r[column])
    if name == "plain":
        assert found["p"].tolist() == close(RANKS["pairwise_stats"]["p"])
        assert found["p_holm"].tolist() == close(RANKS["pairwise_stats"]["p_holm"])


@pytest.mark.parametrize("name", IMAGES["mcnemar"])
def test_mcnemar(name):
    r, found = IMAGES["mcnemar"][name], mcnemar(DATA["images"][name]["first"], DATA["images"][name]["second"])
    assert [found.only_first, found.only_second, found.p] == close([r["only_first"], r["only_second"], r["p"]])


def test_crossed_interval():
    r, bits = IMAGES["crossed"], DATA["images"]["models"]
    (found,) = crossed_intervals([bits["first"]], [bits["second"]], resamples=r["resamples"])
    assert found.mean == close(r["mean"])
    assert [found.low, found.high] == within_chance(r)


@pytest.mark.parametrize("name", TREND["exact"])
def test_page_counts_every_order(name):
    """Of each block's own ranks, where they tie as where they do not."""
    r, found = TREND["exact"][name], page(TABLES[name])
    assert found.exact
    assert [found.statistic, found.p, found.p_against] == close([r["statistic"], r["greater"], r["less"]])
    falling = page(TABLES[name], "decreasing")
    assert [falling.p, falling.p_against] == close([r["less"], r["greater"]])


def test_page_beyond_the_exact_sizes():
    r, found = TREND["normal"], page(TABLES["ordered_wide"])
    assert not found.exact
    assert [found.statistic, found.p, found.p_against] == close([r["statistic"], r["greater"], r["less"]])


def test_isotonic_fit():
    assert isotonic(DATA["curves"]["x"], DATA["curves"]["y"]).tolist() == close(TREND["isotonic"])


@pytest.mark.parametrize("name", EFFECTS["dz"])
def test_dz_interval(name):
    values, r = DATA["differences"][name], EFFECTS["dz"][name]
    assert hedges_dz(values) == close(r["d_z"])
    assert list(dz_interval(values))[1:] == close([r["low"], r["high"]])


def test_interquartile_mean_and_profile():
    assert {name: iqm(TABLES[name]) for name in EFFECTS["iqm"]} == close(EFFECTS["iqm"])
    r = EFFECTS["iqm_interval"]
    found = iqm_interval(TABLES["settings"], strata=[0] * 5 + [1] * 5, resamples=r["resamples"])
    assert [found.low, found.high] == within_chance(r)
    profile = EFFECTS["profile"]
    found = performance_profile(TABLES["settings"], profile["thresholds"], resamples=10)
    assert found["share"].tolist() == close(profile["share"])


#: Both optimisers stop near the maximum: the log-likelihood, flat there, agrees best, the variances least.
LIKELIHOOD, ESTIMATE, VARIANCE = 1e-6, 5e-5, 3e-4


@pytest.mark.parametrize("name", MIXED)
def test_mixed_model(name):
    r, frame = MIXED[name], pd.DataFrame(DATA["mixed"])
    if name == "none":
        frame = frame[frame["architecture"] == "cnn"]
    found = mixed(
        frame, fixed=["sparsity", "class"], value="boundary" if name == "boundary" else "difference",
        architecture="family" if name == "random" else "architecture", model="model", repetitions=0,
    )  # fmt: skip
    assert found.category == "regular"
    assert found.log_likelihood == pytest.approx(r["reml"], abs=LIKELIHOOD)
    assert found.log_likelihood_ml == pytest.approx(r["ml"], abs=LIKELIHOOD)
    overall = contrast(found)
    assert [overall.estimate, *found.means] == pytest.approx([r["overall"]["estimate"], *r["means"]], rel=ESTIMATE)
    assert [overall.se, *np.sqrt(np.diag(found.covariance))] == pytest.approx(
        [r["overall"]["se"], *r["se"]], rel=ESTIMATE
    )
    renamed = {"family": "architecture", "Residual": "residual"}
    variances = {renamed.get(term, term): variance for term, variance in r["variances"].items()}
    assert found.variances == pytest.approx(variances, rel=VARIANCE, abs=1e-9)
    assert found.boundary == (("model:class",) if name == "boundary" else ())
    assert {test.term for test in found.tests} == set(r["tests"])
    for test in found.tests:
        theirs = r["tests"][test.term]
        assert (test.chi_square, test.df) == pytest.approx((theirs["chi_square"], theirs["df"]), abs=4 * LIKELIHOOD)
        assert test.p_chi_square == pytest.approx(theirs["p"], rel=ESTIMATE)


#: Our power averages over 20,000 quantiles of the sd estimate, which leaves an error under 1e-6.
POWER_ERROR = 2e-6


def test_paired_t_power():
    grid = POWER["grid"]
    cases = list(zip(grid["d"], grid["n"], grid["alpha"], strict=True))
    assert [paired_t_power(*case) for case in cases] == pytest.approx(POWER["two.sided"], abs=POWER_ERROR)
    one_sided = [superiority_power(*case) for case in cases]
    assert one_sided == pytest.approx(POWER["one.sided"], abs=POWER_ERROR)
    assert one_sided == pytest.approx(POWER["superiority"], abs=POWER_ERROR)


def test_tost_power():
    grid = POWER["tost_grid"]
    found = [
        tost_power(margin, n, float(stats.t.ppf(0.95, n - 1)), truth)
        for n, margin, truth in zip(grid["n"], grid["margin"], grid["truth"], strict=True)
    ]
    assert found == pytest.approx(POWER["tost"], abs=POWER_ERROR)


def test_least_effects_and_margins():
    sizes, r = POWER["sizes"], POWER["least_effect"]
    assert [least_effect(n) for n in sizes] == pytest.approx(r["two.sided"], abs=POWER_ERROR)
    one_sided = [least_decidable("superiority", "t", 1.0, n, alpha=0.05) for n in sizes]
    assert one_sided == pytest.approx(r["one.sided"], abs=1e-4)
    assert [least_margin(n) for n in sizes] == pytest.approx(POWER["least_margin"], abs=POWER_ERROR)


def test_least_attainable_p():
    """R's is two-sided, ours one-sided, and 1 where there are too few models for Wilcoxon's test to be run."""
    for n, least in zip(POWER["sizes"], POWER["least_p"]["wilcoxon"], strict=True):
        assert 2 * attainable_p("wilcoxon", n) == close(least if n >= WILCOXON_MODELS else 2.0)


def test_regenerating_without_r_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, FOLDER / "regenerate.py"], env={**os.environ, "PATH": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "missing Rscript, the R package boot" in done.stdout
