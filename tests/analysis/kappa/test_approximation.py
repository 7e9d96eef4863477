"""Best approximations of curves: known answers, second implementations and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.polynomial import chebyshev
from scipy.optimize import linprog

from analysis.kappa.approximation import (
    BASES,
    TOLERANCE,
    basis_functions,
    best_approximation,
    interpolation_degrees,
    least_degree,
    scaled,
    within,
)

X = np.linspace(-1, 1, 2048)
RNG = np.random.default_rng(20260509)
#: A rough curve, a jump, a kink, a smooth one.
SHAPES = {
    "noise": RNG.random(257),
    "jump": (np.linspace(-1, 1, 257) > 0.3).astype(float),
    "kink": np.abs(np.linspace(-1, 1, 257)),
    "wave": scaled(np.sin(7 * np.linspace(-1, 1, 257) + 0.4)),
}
CURVE = arrays(np.float64, 40, elements=st.floats(-10, 10, width=32)).filter(lambda c: np.ptp(c) > 0.1)


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


def test_a_cosine_is_one_function_of_the_cosine_basis_and_a_line_one_of_the_wavelets():
    t = np.linspace(0, 1, 2048)
    for k in (1, 7, 20):
        assert least_degree(scaled(np.cos(k * np.pi * t)), basis="cosine") == k
    assert best_approximation(3 * t - 1, 1, "wavelet").error < 1e-6


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


def test_a_degree_that_is_not_found_is_none_with_the_error_left():
    step = (X > 0).astype(float)
    assert least_degree(step, 0.05, largest=64) is None
    assert best_approximation(step, 64).error > 0.05
    assert interpolation_degrees(lambda x: (x > 0)[None].astype(float), X) == (None,)


def test_few_points_and_constants_are_no_trouble():
    for basis in BASES:
        assert best_approximation(np.zeros(20), least_degree(np.zeros(20), basis=basis), basis).error == 0
        assert least_degree(RNG.random(20), basis=basis) <= 32


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


@settings(max_examples=15, deadline=None)
@given(CURVE, st.integers(0, 12))
def test_interpolation_is_an_upper_bound(curve, degree):
    u, phi = np.linspace(0.1, 1, 40), scaled(curve)
    (bound,) = interpolation_degrees(lambda at: np.interp(at, u, phi)[None], u, 0.2, degrees=range(degree, 40))
    if bound is not None:
        assert best_approximation(phi, bound).error <= 0.2 + TOLERANCE
