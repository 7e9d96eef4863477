"""kappa(S) against enumeration and cases by hand, the change points, the wiggle premium, and their figures."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from analysis import complexity_figures
from analysis.complexity import PAPER, complexity, curve, locate_change, premium
from analysis.evidence.methods import Methods
from analysis.kappa.complexity_set import kappa_set
from bench.store.methods import earlier_methods

GRID = (0.5, 0.6, 0.7, 0.8, 0.9)
CLASSES = {1: ["v1", "v1b_var"], 2: ["a5"]}
#: True escapes: complexity 0 to 0.6, 1 at 0.7 and 2 from 0.8.
TRUE = {"v1": (0, 0, 0.06, -0.03, -0.03), "v1b_var": (0, -0.02, 0.06, 0, 0), "a5": (-0.04, -0.02, 0.02, 0.05, 0.06)}


def escapes(models=8, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    rows = [
        (model, sparsity, scorer, true[place] + noise * rng.normal())
        for model, (place, sparsity), (scorer, true) in itertools.product(
            range(models), enumerate(GRID), TRUE.items()
        )
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["checkpoint", "sparsity", "scorer", "difference"])


def kappa_by_hand(frame, sparsity, alpha=0.05):
    """Every sign pattern written out."""
    table = np.stack([
        frame[frame["sparsity"].eq(sparsity) & frame["scorer"].isin(names)].groupby("checkpoint")["difference"].mean()
        for names in CLASSES.values()
    ], axis=1)  # fmt: skip
    signs = np.array(list(itertools.product((1, -1), repeat=len(table))))
    flipped = stats.ttest_1samp(signs[:, :, None] * table, 0, axis=1).statistic.max(axis=1)
    observed = stats.ttest_1samp(table, 0).statistic
    p = [np.mean(flipped >= t - 1e-9) for t in observed]
    return next((k for k, own in zip((1, 2), p, strict=True) if own <= alpha), 0), p


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_kappa_is_that_of_all_sign_patterns_written_out(seed):
    frame = escapes(models=6, seed=seed, noise=0.04)
    found = complexity(frame, CLASSES, resamples=1)
    for point in found.points:
        kappa, p = kappa_by_hand(frame, point.sparsity)
        assert point.kappa == kappa
        assert point.p == pytest.approx(p)


def test_a_known_truth_is_found():
    found = complexity(escapes(), CLASSES, resamples=200)
    assert [point.kappa for point in found.points] == [0, 0, 1, 2, 2]
    assert [point.sparsity for point in found.points] == list(GRID)
    one, two = found.changes
    assert (one.below, one.above, two.below, two.above) == (0.6, 0.7, 0.7, 0.8)
    assert one.low <= 0.6 < 0.7 <= one.high
    assert {change.kappa: change.paper for change in found.changes} == PAPER == {1: 0.65, 2: 0.75}
    assert found.trend is not None
    assert found.trend.p < 0.001
    assert found.models == 8
    assert found.excluded == 0


def test_the_set_of_kappa_is_that_of_the_classes_means_over_models():
    frame = escapes()
    for point in complexity(frame, CLASSES, margin=0.02, resamples=1).points:
        own = frame[frame["sparsity"].eq(point.sparsity)]
        first, second = (
            own[own["scorer"].isin(names)].groupby("checkpoint")["difference"].mean() for names in CLASSES.values()
        )
        assert point.kappa_set.p == pytest.approx(kappa_set(first, second, 0.02).p)


def test_the_escape_of_a_class_is_the_mean_over_its_scorers_and_models():
    frame = escapes()
    point = complexity(frame, CLASSES, resamples=1).points[2]
    own = frame[frame["sparsity"].eq(0.7)]
    assert point.escapes[0].mean == pytest.approx(own[own["scorer"].ne("a5")]["difference"].mean())
    assert point.escapes[1].mean == pytest.approx(own[own["scorer"].eq("a5")]["difference"].mean())
    assert point.escapes[0].n == 8


def test_the_least_complexity_counts_where_both_escape():
    frame = escapes()
    frame["difference"] += np.where(frame["scorer"].eq("a5") & frame["sparsity"].eq(0.7), 0.5, 0.0)
    assert complexity(frame, CLASSES, resamples=1).points[2].kappa == 1


@given(st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None)
def test_order_and_names_of_models_change_no_decision(random):
    frame = escapes(seed=2)
    names = random.sample(range(100), 8)
    mixed = frame.sample(frac=1, random_state=random.randrange(1000)).assign(
        checkpoint=lambda f: [f"c{names[m]}" for m in f["checkpoint"]]
    )
    first, second = (complexity(rows, CLASSES, resamples=1) for rows in (frame, mixed))
    assert [point.kappa for point in first.points] == [point.kappa for point in second.points]
    assert [point.p for point in first.points] == [point.p for point in second.points]
    assert first.difference == pytest.approx(second.difference)
    assert first.trend == second.trend


def test_resamples_repeat_and_are_certain_where_models_agree():
    frame = escapes(noise=0.05)
    found, again, other = (complexity(frame, CLASSES, resamples=60, seed=seed) for seed in (1, 1, 2))
    assert found == again
    shares = [[point.at_least for point in result.points] for result in (found, other)]
    assert shares[0] != shares[1]
    sure = complexity(escapes(noise=1e-4), CLASSES, resamples=60)
    assert [point.at_least for point in sure.points[2:4]] == [(1, 0), (1, 1)]
    assert all(more >= most for result in shares for more, most in result)


def test_a_share_is_that_of_resamples_drawn_by_hand():
    frame = escapes(models=6, seed=3, noise=0.04)
    found = complexity(frame, CLASSES, resamples=25, seed=4)
    rng = np.random.default_rng(4)
    kappas = []
    for _ in range(25):
        parts = [frame[frame["checkpoint"].eq(m)].assign(checkpoint=n) for n, m in enumerate(rng.integers(6, size=6))]
        kappas.append([kappa_by_hand(pd.concat(parts), sparsity)[0] for sparsity in (0.7, 0.9)])
    for place, column in ((2, 0), (4, 1)):
        drawn = np.array(kappas)[:, column]
        assert found.points[place].at_least == pytest.approx(((drawn >= 1).mean(), (drawn >= 2).mean()))


def test_too_few_models_decide_nothing():
    found = complexity(escapes(models=4), CLASSES)
    assert {point.category for point in found.points} == {"too few models"}
    assert all(point.kappa is None and math.isnan(point.at_least[0]) for point in found.points)
    assert {change.outcome for change in found.changes} == {"not decidable"}
    assert curve(found)["kappa"].isna().all()
    assert complexity(escapes(models=5), CLASSES, resamples=1).points[2].kappa == 1
    assert {point.category for point in complexity(escapes(models=1), CLASSES).points} == {"one model"}


def test_masks_equal_to_the_plateaus_have_complexity_zero():
    found = complexity(escapes().assign(difference=0.0), CLASSES, resamples=5)
    assert {(point.category, point.kappa) for point in found.points} == {("identical", 0)}
    assert {change.outcome for change in found.changes} == {"never"}


def test_a_class_without_variance_is_decided_by_its_value():
    frame = escapes()
    frame.loc[frame["scorer"].eq("a5"), "difference"] = 0.02
    found = complexity(frame, CLASSES, resamples=5)
    assert found.points[0].kappa == 2
    assert math.isnan(found.points[0].p[1])


def test_incomplete_models_are_left_out_and_counted():
    frame = escapes()
    lost = frame["checkpoint"].eq(3) & frame["sparsity"].eq(0.9) & frame["scorer"].eq("a5")
    found = complexity(frame[~lost], CLASSES, resamples=1)
    assert (found.models, found.excluded) == (7, 1)
    kept = complexity(frame[frame["checkpoint"].ne(3)], CLASSES, resamples=1)
    assert found.points == kept.points
    without = complexity(frame[frame["sparsity"].ne(0.9) | frame["scorer"].ne("a5")], CLASSES, resamples=1)
    assert [point.sparsity for point in without.points] == list(GRID[:4])
    assert complexity(frame[:0], CLASSES).points == ()
    assert list(curve(complexity(frame[:0], CLASSES))) == list(curve(found))


def test_what_cannot_be_meant_is_an_error():
    with pytest.raises(ValueError, match="several rows"):
        complexity(pd.concat([escapes(), escapes()]), CLASSES)
    with pytest.raises(ValueError, match="classes 1 and 2"):
        complexity(escapes(), {1: ["v1"], 2: []})


SHARES = {
    "never": ((0.1, 0.2, 0.3), math.nan),
    "always": ((0.5, 0.9, 1.0), math.nan),
    "estimated": ((0.1, 0.3, 0.7), 0.7),
    "not estimable between grid points": ((0.0, 0.01, 0.99), math.nan),
    "not monotone": ((0.1, 0.9, 0.2), math.nan),
}


@pytest.mark.parametrize("outcome", SHARES)
def test_the_change_point_has_a_value_only_where_it_is_known(outcome):
    share, value = SHARES[outcome]
    reached = np.arange(100)[:, None] < 100 * np.array(share)
    found = locate_change(1, np.array([0.4, 0.6, 0.8]), np.array(share), reached)
    assert found.outcome == outcome
    assert found.sparsity == pytest.approx(value, nan_ok=True)
    assert (found.below, found.above) == (
        (0.6, 0.8) if outcome in list(SHARES)[2:4] else pytest.approx((math.nan,) * 2, nan_ok=True)
    )
    assert found.low <= found.high


def test_a_falling_share_is_no_change():
    share = np.array([0.9, 0.2])
    assert locate_change(1, np.array([0.5, 0.7]), share, np.array([[True, False]])).outcome == "not monotone"


def test_the_bracket_holds_the_steps_of_the_resamples():
    grid = np.array([0.5, 0.6, 0.7, 0.8])
    steps = np.array([1] * 50 + [2] * 50)  # the first grid point that is reached
    reached = np.arange(4) >= steps[:, None]
    found = locate_change(1, grid, reached.mean(axis=0), reached)
    assert (found.low, found.high) == (0.5, 0.7)
    outside = locate_change(1, grid, np.ones(4), np.ones((10, 4), dtype=bool))
    assert (outside.low, outside.high) == (-math.inf, 0.5)


def test_the_premium_is_raw_minus_smooth_with_one_error_rate_for_all_sparsities():
    frame = escapes()
    found = premium(frame)
    wide = frame.pivot(index="checkpoint", columns=["scorer", "sparsity"], values="difference")
    own = (wide["a5"] - wide["v1"])[0.5]
    assert found["sparsity"].tolist() == list(GRID)
    assert found["mean"].iloc[0] == pytest.approx(own.mean())
    interval = stats.ttest_1samp(own, 0).confidence_interval()
    assert found[["low", "high"]].iloc[0].tolist() == pytest.approx(list(interval))
    assert found["p_below"].iloc[0] < 0.05 < found["p_above"].iloc[0]
    assert found["p_above"].iloc[-1] == 1 / 256


def test_turning_the_premium_round_turns_its_p_values_round():
    found, turned = premium(escapes()), premium(escapes(), raw="v1", smooth="a5")
    assert turned["mean"].tolist() == pytest.approx((-found["mean"]).tolist())
    assert turned["p_above"].tolist() == found["p_below"].tolist()
    assert turned["p_below"].tolist() == found["p_above"].tolist()


def test_the_figure_of_kappa_shows_its_shares_and_the_papers_thresholds():
    frame = curve(complexity(escapes(), CLASSES, resamples=20))
    axes = Figure().subplots()
    complexity_figures.probabilities(frame, axes, Methods(earlier_methods()))
    drawn = {str(line.get_label()): line for line in axes.lines}
    for kappa in (1, 2):
        line = drawn[f"P(\N{GREEK SMALL LETTER KAPPA} \N{GREATER-THAN OR EQUAL TO} {kappa})"]
        assert list(line.get_xdata()) == pytest.approx([50, 60, 70, 80, 90])
        assert list(line.get_ydata()) == frame[f"at_least_{kappa}"].tolist()
    upright = {float(line.get_xdata()[0]) for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert upright == {65.0, 75.0}


def test_the_figure_of_the_premium_fills_what_is_clear():
    frame = premium(escapes(noise=0.03, seed=5))
    axes = Figure().subplots()
    complexity_figures.premium(frame, axes, Methods(earlier_methods()))
    clear = frame[["p_above", "p_below"]].min(axis=1) <= 0.025
    filled, hollow = axes.lines[-2:]
    assert list(filled.get_ydata()) == pytest.approx((100 * frame["mean"][clear]).tolist())
    assert list(hollow.get_ydata()) == pytest.approx((100 * frame["mean"][~clear]).tolist())
    assert hollow.get_markerfacecolor() == "white"
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == pytest.approx(100 * frame[["low", "high"]].to_numpy())


def test_results_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        complexity(escapes(), CLASSES, resamples=1).alpha = 0.1
