"""Kappa of curves: known answers, a second implementation, invariances, and a study with known weights."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from numpy.polynomial import chebyshev
from scipy.optimize import linprog

from analysis.formats import NONE
from analysis.kappa import approximation as approx
from analysis.kappa.approximation import (
    BASES,
    basis_functions,
    best_approximation,
    interpolation_degrees,
    least_degree,
    scaled,
    within,
)
from analysis.kappa.curves import (
    Curves,
    drawdown,
    kappa,
    kappa_map,
    measure,
    over_draws,
    random_features,
)
from analysis.kappa.study import fused, fused_summary, study_curves
from analysis.kappa_figures import approximation, approximations, kappa_maps
from analysis.kappa_figures import kappa_map as draw_map
from analysis.kappa_tables import draws_table, fused_table, kappa_table, plain

X = np.linspace(-1, 1, 2048)
U = np.linspace(0.1, 1, 2048)
RNG = np.random.default_rng(20260509)
#: A rough curve, a jump, a kink, a smooth one.
SHAPES = {
    "noise": RNG.random(257),
    "jump": (np.linspace(-1, 1, 257) > 0.3).astype(float),
    "kink": np.abs(np.linspace(-1, 1, 257)),
    "wave": scaled(np.sin(7 * np.linspace(-1, 1, 257) + 0.4)),
}


# ---------------------------------------------------------------- known answers


@pytest.mark.parametrize("m", [0, 1, 2, 5, 16, 33, 64])
def test_a_chebyshev_polynomial_has_exactly_its_degree(m):
    curve = chebyshev.chebval(X, np.eye(m + 1)[m])
    assert least_degree(curve, eps=0.05) == m
    assert best_approximation(curve, m).error < 1e-6
    if m:  # no polynomial of lower degree comes nearer than 0 does: T_m alternates m + 1 times
        assert best_approximation(curve, m - 1).error == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("n", [8, 16, 32])
def test_the_error_of_abs_x_follows_bernsteins_constant(n):
    assert n * best_approximation(np.abs(np.linspace(-1, 1, 2049)), n).error == pytest.approx(0.2802, rel=0.01)


def test_the_kink_of_abs_x_costs_interpolation_twice_the_degree():
    assert least_degree(np.abs(X)) == 6
    assert interpolation_degrees(lambda x: np.abs(x)[None], X) == (12,)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_exp_converges_at_the_known_rate(n):
    bernstein = 1 / (2**n * math.factorial(n + 1))
    assert best_approximation(np.exp(X), n).error == pytest.approx(bernstein, rel=0.15)


@pytest.mark.parametrize("function", [np.exp, lambda x: np.sin(5 * x)], ids=["exp", "sin"])
@pytest.mark.parametrize("eps", [0.05, 0.01, 0.001])
def test_interpolation_of_analytic_functions_needs_at_most_one_degree_more(function, eps):
    (bound,) = interpolation_degrees(lambda x: function(x)[None], X, eps)
    assert bound is not None
    assert 0 <= bound - least_degree(function(X), eps) <= 1


@pytest.mark.parametrize(("eps", "degrees"), [(0.1, (8, 12)), (0.05, (12, 14)), (0.02, (18, 20)), (0.01, (20, 24))])
def test_interpolation_of_runges_function_needs_an_even_degree_or_two_more(eps, degrees):
    def runge(x):
        return 1 / (1 + 25 * x**2)  # analytic, but with poles close by; even, so that odd degrees gain nothing

    (bound,) = interpolation_degrees(lambda x: runge(x)[None], X, eps)
    assert (least_degree(runge(X), eps), bound) == degrees


def test_classes_of_known_curves():
    ramp = np.minimum(U, 0.7)
    assert kappa([U, ramp, -ramp, U**2, -U, np.sin(40 * np.pi * U), np.full(2048, 3.0)]).tolist() == [
        0,
        0,
        1,
        0,
        1,
        2,
        0,
    ]


def test_a_small_fall_is_still_class_0_and_a_larger_one_is_not():
    falls = [np.where(U > 0.9, (0.9 - 0.1) / 0.9 - fall, (U - 0.1) / 0.9) for fall in (0.008, 0.02)]
    stretched = [np.r_[curve, 1.0] for curve in falls]  # the last point fixes the scale
    assert drawdown(scaled(stretched)).round(3).tolist() == pytest.approx([0.008, 0.02], abs=1e-3)
    assert kappa(stretched, eps=0.15).tolist() == [0, 1]


def test_a_cosine_is_one_function_of_the_cosine_basis_and_a_line_one_of_the_wavelets():
    t = np.linspace(0, 1, 2048)
    for k in (1, 7, 20):
        assert least_degree(scaled(np.cos(k * np.pi * t)), basis="cosine") == k
    assert best_approximation(3 * t - 1, 1, "wavelet").error < 1e-6


# ---------------------------------------------------------------- second implementations


def whole_programme(phi, functions):
    """The same programme over all points at once, in its dual: maximise y.phi over the y that annihilate the basis."""
    m = functions.shape[1]
    equal = np.vstack([np.hstack([functions.T, -functions.T]), np.ones((1, 2 * len(phi)))])
    solved = linprog(-np.r_[phi, -phi], A_eq=equal, b_eq=np.r_[np.zeros(m), 1.0], method="highs-ipm")
    return -solved.fun


def remez(phi, degree, rounds=100):
    """Single exchange (Stiefel 1959) on the grid: solve for equal and alternating errors, replace one point."""
    n = len(phi)
    functions = chebyshev.chebvander(np.linspace(-1, 1, n), degree)
    points = ((1 - np.cos(np.pi * np.arange(degree + 2) / (degree + 1))) / 2 * (n - 1)).round().astype(int)
    for _ in range(rounds):
        signs = (-1.0) ** np.arange(degree + 2)
        solution = np.linalg.solve(np.column_stack([functions[points], signs]), phi[points])
        residual = phi - functions @ solution[:-1]
        worst = int(np.abs(residual).argmax())
        if abs(residual[worst]) <= abs(solution[-1]) + 1e-10:
            return abs(residual[worst])
        place = int(np.searchsorted(points, worst))
        alike = np.sign(residual[points]) == np.sign(residual[worst])
        if place < len(points) and alike[place]:
            points[place] = worst
        elif place > 0 and alike[place - 1]:
            points[place - 1] = worst
        else:  # beyond an end, with the other sign: the far end leaves
            points = np.r_[worst, points[:-1]] if place == 0 else np.r_[points[1:], worst]
    raise AssertionError("no convergence")


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("degree", [2, 8, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_exchange_gives_the_answer_of_the_whole_programme(shape, degree, basis):
    phi, functions = SHAPES[shape], basis_functions(257, degree, basis)
    found = best_approximation(phi, degree, basis)
    assert found.error == pytest.approx(whole_programme(phi, functions), abs=1e-6)
    assert np.abs(phi - found.values).max() == pytest.approx(found.error, abs=1e-12)
    coefficients, *_ = np.linalg.lstsq(functions, found.values)
    assert functions @ coefficients == pytest.approx(found.values, abs=1e-7)  # it lies in their span


@pytest.mark.parametrize("degree", [1, 6, 15])
@pytest.mark.parametrize("shape", SHAPES)
def test_remez_agrees(shape, degree):
    assert best_approximation(SHAPES[shape], degree).error == pytest.approx(remez(SHAPES[shape], degree), abs=1e-6)


@pytest.mark.parametrize("basis", BASES)
def test_many_curves_at_once_are_decided_as_one_by_one(basis):
    curves = scaled(RNG.normal(size=(12, 6)) @ chebyshev.chebvander(np.linspace(-1, 1, 200), 40).T[3:40:7])
    functions = basis_functions(200, 16, basis)
    one_by_one = np.array([best_approximation(curve, 16, basis).error for curve in curves])
    for eps in (0.02, 0.1, *np.quantile(one_by_one, [0.3, 0.7])):
        clear = np.abs(one_by_one - eps) > 1e-6
        assert (within(curves, functions, eps) == (one_by_one <= eps))[clear].all()


@pytest.mark.parametrize("basis", BASES)
def test_spaces_are_nested_so_that_bisection_finds_the_least_degree(basis):
    phi = scaled(np.sin(7 * np.linspace(-1, 1, 256)))
    degrees = [1, 2, 4, 8, 16, 32] if basis == "wavelet" else list(range(25))
    errors = [best_approximation(phi, degree, basis).error for degree in degrees]
    assert (np.diff(errors) <= 1e-6).all()
    assert least_degree(phi, 0.05, 64, basis) == next(d for d, e in zip(degrees, errors, strict=True) if e <= 0.05)


def test_wavelets_are_those_of_pywavelets():
    functions = basis_functions(2048, 8, "wavelet")
    assert functions.shape == (2048, 10)
    assert np.linalg.matrix_rank(functions) == 10
    inner = functions[:, 5]  # in the middle: a shifted copy of its neighbour, and zero outside three cells of eight
    assert inner[256:] == pytest.approx(functions[:-256, 4], abs=1e-12)
    assert np.count_nonzero(np.abs(inner) > 1e-12) <= 3 * 256 + 4


def test_interpolation_is_numpys_function_by_function():
    functions = [np.exp, lambda x: 1 / (1 + 25 * x**2), np.abs]
    together = interpolation_degrees(lambda x: np.stack([f(x) for f in functions]), X, 0.02)
    for f, found in zip(functions, together, strict=True):
        errors = [np.abs(chebyshev.Chebyshev.interpolate(f, n)(X) - f(X)).max() for n in range(found + 1)]
        assert [n for n, error in enumerate(errors) if error <= 0.02] == [found]


# ---------------------------------------------------------------- above the largest degree, degenerate curves


def test_a_degree_that_is_not_found_is_none_with_the_error_left():
    step = (X > 0).astype(float)
    assert least_degree(step, 0.05, largest=64) is None
    assert best_approximation(step, 64).error > 0.05
    assert interpolation_degrees(lambda x: (x > 0)[None].astype(float), X) == (None,)


def test_few_points_and_constants_are_no_trouble():
    for basis in BASES:
        assert best_approximation(np.zeros(20), least_degree(np.zeros(20), basis=basis), basis).error == 0
        assert least_degree(RNG.random(20), basis=basis) <= 32
    assert kappa(np.zeros((1, 2048))).tolist() == [0]


def test_what_is_not_finite_or_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        kappa([[0.0, math.nan, 1.0]])
    with pytest.raises(ValueError, match="searched to 64"):
        measure([], smooth_degree=65)
    with pytest.raises(ValueError, match="two of them"):
        over_draws([7])


# ---------------------------------------------------------------- invariances

CURVE = arrays(np.float64, 40, elements=st.floats(-10, 10, width=32)).filter(lambda c: np.ptp(c) > 0.1)


@settings(max_examples=25, deadline=None)
@given(CURVE, st.floats(0.01, 100), st.floats(-100, 100))
def test_scale_and_shift_change_nothing(curve, factor, shift):
    moved = scaled(factor * curve + shift)
    assert moved == pytest.approx(scaled(curve), abs=1e-9)
    assert best_approximation(moved, 7).error == pytest.approx(best_approximation(scaled(curve), 7).error, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(CURVE, st.sampled_from(["polynomial", "cosine"]))
def test_reflection_keeps_the_error_of_every_degree(curve, basis):
    phi = scaled(curve)
    expected = best_approximation(phi, 6, basis).error
    assert best_approximation(phi[::-1], 6, basis).error == pytest.approx(expected, abs=1e-6)
    assert best_approximation(1 - phi, 6, basis).error == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(CURVE)
def test_only_non_decreasing_curves_are_class_0_and_their_mirror_images_are_not(curve):
    rising = np.sort(curve)
    assert kappa([rising]).tolist() == [0]
    assert kappa([rising[::-1]])[0] > 0
    assert kappa([-rising])[0] > 0


@settings(max_examples=15, deadline=None)
@given(CURVE, st.integers(0, 12))
def test_interpolation_is_an_upper_bound(curve, degree):
    u, phi = np.linspace(0.1, 1, 40), scaled(curve)
    (bound,) = interpolation_degrees(lambda at: np.interp(at, u, phi)[None], u, 0.2, degrees=range(degree, 40))
    if bound is not None:
        assert best_approximation(phi, bound).error <= 0.2 + approx.TOLERANCE


# ---------------------------------------------------------------- maps and draws


def test_the_map_agrees_with_the_classes_and_is_monotone():
    curves = [np.sin(3 * np.pi * U), U, np.abs(U - 0.5)]
    eps, degrees = (0.02, 0.05, 0.2), (2, 6, 16)
    found = kappa_map(curves, eps, degrees)
    assert found.tolist() == [[int(kappa(curves, e, d).max()) for d in degrees] for e in eps]
    assert (np.diff(found, axis=0) <= 0).all()
    assert (np.diff(found, axis=1) <= 0).all()
    assert kappa_map([U], eps, degrees).max() == 0


def test_the_interval_over_draws_is_of_the_median():
    found = over_draws([9] * 30 + [11] * 69 + [None])
    assert (found.median, found.low, found.high, found.least, found.most) == (11, 11, 11, 9, 1025)
    assert over_draws([8, 8]).high == 8
    assert draws_table({"s": found})["Range"].tolist() == ["9 to > 1,024"]


def test_the_bootstrap_interval_of_a_median_is_that_of_a_plain_loop():
    degrees = RNG.integers(5, 30, size=25)
    found = over_draws(degrees.tolist(), resamples=4000, seed=3)
    rng = np.random.default_rng(11)
    medians = np.median(rng.choice(degrees, size=(4000, 25)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1)


# ---------------------------------------------------------------- measured scorers


def made(scorer="v1", draw=0, **features):
    values = scaled(np.stack(list(features.values())))
    return Curves(scorer, None, draw, tuple(features), U, values, by_design={"v1": 1, "a5": 2}.get(scorer))


def test_a_scorer_has_the_largest_kappa_of_its_features():
    first, second = measure(
        [made(u=U, wave=np.sin(6 * U)), made("a5", same=np.sin(6 * U), fast=np.sin(40 * np.pi * U))]
    )
    assert [one.kappa for one in first.features] == [0, 1]
    assert (first.kappa, first.by_design, second.kappa, second.by_design) == (1, 1, 2, 2)
    assert (second.features[0].feature, second.features[0].degrees) == ("same", first.features[1].degrees)
    assert first.features[1].degrees["polynomial"] <= first.features[1].interpolation
    (by_cosine,) = measure([made(c=np.cos(20 * np.pi * (U - 0.1) / 0.9))], smooth_degree=20, basis="cosine")
    assert by_cosine.kappa == 1


def test_the_table_says_the_largest_first_and_what_was_not_found():
    table = kappa_table(measure([made("a5", u=U, fast=np.sin(200 * np.pi * U)), made("mine", u=U)]))
    assert table["Feature"].tolist() == ["largest of 2", "u", "fast", "u"]
    assert table["D"].tolist() == ["> 64", "1", "> 64", "1"]
    assert table["kappa"].tolist() == ["2", "0", "2", "0"]
    assert table["By design"].tolist() == ["2", "", "", NONE]
    assert table["Interpolation"].tolist()[1] == "1"


def test_plain_values_can_be_written_as_json():
    (result,) = measure([made("v1", u=U, wave=np.sin(6 * U))])
    written = json.loads(json.dumps(plain(result)))
    assert written["kappa"] == 1
    assert written["features"][0]["degrees"]["polynomial"] == 1


def test_random_features_are_summarised_over_the_draws_that_were_measured():
    results = measure([made("random_spline", draw, wave=np.sin((5 + draw) * U)) for draw in range(3)] + [made(u=U)])
    found = random_features(results)
    assert list(found) == ["random_spline"]
    assert found["random_spline"].draws == 3


# ---------------------------------------------------------------- studies


@pytest.fixture
def fused_study(fused):
    """Searches with the features a and b and the weights 1 and -1."""
    return fused(models=("cnn",), sparsities=(0.5, 0.8))


def with_curves(data, **curves):
    """Give the study's scorers v1 and a5 these two features, on a real grid."""
    u = np.linspace(0.1, 1, 512)
    parts = [
        pd.DataFrame({"scorer": s, "sparsity": np.nan, "draw": 0, "feature": f, "u": u, "value": scaled(function(u))})
        for s in ("v1", "a5") for f, function in curves.items()
    ]  # fmt: skip
    return dataclasses.replace(data, curves=pd.concat(parts, ignore_index=True))


def test_fused_curves_are_measured_at_each_searchs_own_weights(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: u + np.sin(60 * u))
    rows = data.rows.copy()
    notes = [json.loads(text) if isinstance(text, str) else {} for text in rows["notes"]]
    for note, search in zip(notes, rows["search"], strict=True):
        if "search" in note:
            note["search"]["weights"] = [1.0, 0.0] if search == "equal" else [0.5, -1.0]
    rows["notes"] = [json.dumps(note) for note in notes]
    found = fused(dataclasses.replace(data, rows=rows))
    u = np.linspace(0.1, 1, 512)
    other = 0.5 * scaled(u) - scaled(u + np.sin(60 * u))
    expected = {"equal": (0, 0.0), "dbo": (kappa([other])[0], float(drawdown(scaled(other))))}
    assert expected["dbo"][0] == 2
    assert len(found) == 2 * 2 * 2 * 4  # scorers, searches, sparsities, models
    for search, (class_, fall) in expected.items():
        own = found[found["search"].eq(search)]
        assert set(own["kappa"]) == {class_}
        assert own["drawdown"].to_numpy() == pytest.approx(np.full(len(own), fall))


def test_weights_belong_to_their_features_whatever_the_order(fused_study):
    first = fused(with_curves(fused_study, b=lambda u: u, a=lambda u: u**2))  # the notes name a, then b: 1, -1
    second = fused(with_curves(fused_study, a=lambda u: u**2, b=lambda u: u))
    u = np.linspace(0.1, 1, 512)
    fall = float(drawdown(scaled(scaled(u**2) - scaled(u))))
    for found in (first, second):
        assert found["drawdown"].to_numpy() == pytest.approx(np.full(len(found), fall))


def test_a_scorer_without_a_curve_is_not_measured_and_its_models_are_left_out(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: -u)
    data = dataclasses.replace(data, curves=data.curves[data.curves["scorer"].eq("v1")])
    found = fused(data)
    assert found.loc[found["scorer"].eq("a5"), "kappa"].isna().all()
    assert found.loc[found["scorer"].eq("v1"), "kappa"].eq(0).all()
    summary = fused_summary(found)
    assert set(summary["scorer"]) == {"v1"}
    assert summary["by_design"].tolist() == [1] * len(summary)
    assert summary[["n", "median", "least", "most"]].drop_duplicates().to_numpy().tolist() == [[4, 0, 0, 0]]


def test_the_table_of_fused_curves_shows_a_range_where_models_differ(fused_study):
    summary = fused_summary(fused(with_curves(fused_study, a=lambda u: u, b=lambda u: -u)))
    summary.loc[summary["sparsity"].eq(0.8), "most"] = 2.0
    table = fused_table(summary)
    assert set(table["50 %"]) == {"0"}
    assert set(table["80 %"]) == {"0 (0 to 2)"}
    assert set(table["Search"]) == {"equal", "dbo"}


def test_a_study_without_feature_scorers_has_nothing_to_measure(study):
    data = study(seeds=2)
    assert list(study_curves(data)) == []
    assert fused_summary(fused(data)).empty


def test_draws_of_random_features_are_kept_apart(fused_study):
    data = with_curves(fused_study, a=lambda u: u, b=lambda u: -u)
    other = data.curves[data.curves["scorer"].eq("v1")].assign(draw=1, value=lambda f: 1 - f["value"])
    curves = pd.concat([data.curves, other], ignore_index=True)
    found = list(study_curves(dataclasses.replace(data, curves=curves)))
    assert [(one.scorer, one.draw) for one in found] == [("v1", 0), ("a5", 0), ("v1", 1)]
    rows = data.rows.assign(calibration_draw=data.rows["calibration_draw"].where(data.rows["train_seed"].ne(0), 1))
    measured = fused(dataclasses.replace(data, rows=rows, curves=curves))
    own = measured[measured["scorer"].eq("v1")]
    assert own.groupby("train_seed")["kappa"].unique().map(list).to_dict() == {0: [1.0], 1: [0.0], 2: [0.0], 3: [0.0]}
    assert measured.loc[measured["scorer"].eq("a5"), "kappa"].eq(0).all()  # draw 1 has the curve of draw 0


# ---------------------------------------------------------------- figures


def test_a_figure_shows_the_curve_its_approximation_and_the_band():
    (result,) = measure([made(u=U, wave=np.sin(6 * U))])
    axes = Figure().subplots()
    approximation(result.features[1], 0.05, axes)
    curve, best = (line.get_ydata() for line in axes.lines)
    assert curve == pytest.approx(result.features[1].curve)
    assert np.abs(curve - best).max() <= 0.05 + 1e-6
    (band,) = axes.collections
    assert np.ptp(band.get_paths()[0].vertices[:, 1]) == pytest.approx(np.ptp(best) + 0.1, abs=1e-4)


def test_one_curve_of_two_scorers_has_one_facet():
    results = measure([made("v1", u=U, wave=np.sin(6 * U)), made("a5", wave=np.sin(6 * U) * (1 + 1e-15))])
    figure = approximations(results, 0.05)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title().split(":")[0] for axes in shown] == ["u", "wave"]
    assert shown[1].texts[0].get_text() == "v1, a5"


def test_a_map_shows_every_class_and_frames_the_choice():
    axes = Figure().subplots()
    draw_map(np.array([[2, 1], [1, 0]]), (0.01, 0.05), (8, 16), axes, (0.05, 16))
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1", "0"]
    (frame,) = axes.patches
    assert (frame.get_x(), frame.get_y()) == (0.5, 0.5)
    figure = kappa_maps({"v1": kappa_map([U]), "a5": kappa_map([-U])}, chosen=(0.04, 16))
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["v1", "a5"]
    assert not any(axes.patches for axes in figure.axes)
