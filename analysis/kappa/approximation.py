"""How many basis functions come within eps of a curve in the sup norm (METHODS section 7).

A curve is its values on an equally spaced grid of u. The best approximation in that norm is a linear programme:
minimise t subject to abs(phi - sum_k c_k b_k) <= t at every point, solved by HiGHS through `scipy.optimize.linprog`.

Bases, all nested, so that the error cannot grow with the degree and bisection finds the least one:

polynomial
    Degree n: Chebyshev polynomials T_0..T_n on the interval, which keep the programme well conditioned.
cosine
    Degree n: cos(k pi t), k = 0..n, t = 0..1 over the interval: the Fourier basis of the evenly continued curve.
wavelet
    Degree 2^j: the scaling functions (Daubechies 2, by PyWavelets) of which 2^j stand side by side on the interval;
    with those that overlap its ends 2^j + 2. All detail coefficients of finer scales are 0. They hold the straight
    lines exactly, at the ends too (the choice of wavelet is ours). A grid whose length is no power of two lies at
    the start of the next longer one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pywt
from numpy.polynomial import chebyshev
from scipy.optimize import linprog

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Basis: TypeAlias = Literal["polynomial", "cosine", "wavelet"]
BASES: tuple[Basis, ...] = get_args(Basis)

#: Default tolerance, of a curve scaled to [0, 1]; the paper gives no principled choice.
EPS = 0.05
#: Largest degree of a best approximation that is searched.
LARGEST = 64
#: Degrees of interpolation that are tried: all to 64, then four an octave to 1024.
INTERPOLATED = (*range(LARGEST + 1), *(round(LARGEST * 2 ** (k / 4)) for k in range(1, 17)))
#: To within this HiGHS keeps its constraints, so errors are known no better.
TOLERANCE = 1e-7
WAVELET = "db2"


@dataclass(frozen=True)
class Approximation:
    """A best approximation in the sup norm.

    Attributes
    ----------
    basis : str
        One of `BASES`.
    degree : int
        See the module.
    error : float
        Largest distance from the curve on the grid, unit of the curve.
    values : array, shape (n,)
        The approximation on the grid.
    """

    basis: Basis
    degree: int
    error: float
    values: FloatArray


def scaled(curves: npt.ArrayLike) -> FloatArray:
    """Map each curve (the last axis) onto [0, 1]; a constant one to 0.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> scaled([[2.0, 4.0, 3.0], [5.0, 5.0, 5.0]])
    array([[0. , 1. , 0.5],
           [0. , 0. , 0. ]])
    """
    values = np.asarray(curves, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a curve has a value that is not finite")
    low, spread = values.min(axis=-1, keepdims=True), np.ptp(values, axis=-1, keepdims=True)
    return np.asarray(np.divide(values - low, spread, out=np.zeros_like(values), where=spread > 0))


def basis_functions(points: int, degree: int, basis: Basis = "polynomial") -> FloatArray:
    """Return the basis of a degree on a grid of so many points, one function a column, none above 1.

    For wavelets a degree that is no power of two counts as the next one below.

    Examples
    --------
    >>> basis_functions(3, 2)
    array([[ 1., -1.,  1.],
           [ 1.,  0., -1.],
           [ 1.,  1.,  1.]])
    >>> [basis_functions(2048, 16, basis).shape[1] for basis in BASES]
    [17, 17, 18]
    """
    if basis == "wavelet":
        scale, finest = max(degree, 1).bit_length() - 1, (points - 1).bit_length()
        functions = np.eye(2**scale + 2)
        for _ in range(finest - scale):
            functions = pywt.idwt(functions, None, WAVELET, axis=0)
        functions = functions[1 : points + 1]
        highest = np.abs(functions).max(axis=0)
        return np.asarray(functions[:, highest > 0] / highest[highest > 0])
    t = np.linspace(0, 1, points)
    x = np.cos(np.pi * t) if basis == "cosine" else 2 * t - 1
    return np.asarray(chebyshev.chebvander(x, degree))


def best_approximation(phi: npt.ArrayLike, degree: int, basis: Basis = "polynomial") -> Approximation:
    """Return the best approximation of a curve at one degree.

    Parameters
    ----------
    phi : array_like, shape (n,)
        Values on the grid.
    degree : int
        See the module.
    basis : str
        One of `BASES`.

    Examples
    --------
    The best line through u^2 on [-1, 1] is 1/2, at distance 1/2 (T_2 / 2 alternates).

    >>> line = best_approximation(np.linspace(-1, 1, 201) ** 2, 1)
    >>> round(line.error, 6), line.values[[0, 100]].round(6).tolist()
    (0.5, [0.5, 0.5])
    """
    curve = np.asarray(phi, dtype=np.float64)
    *_, (_, residual) = _exchange(curve, basis_functions(len(curve), degree, basis))
    return Approximation(basis, degree, float(np.abs(residual).max()), curve - residual)


def least_degree(
    phi: npt.ArrayLike, eps: float = EPS, largest: int = LARGEST, basis: Basis = "polynomial"
) -> int | None:
    """Find D_eps, the least degree whose best approximation is within eps, by bisection.

    Parameters
    ----------
    phi : array_like, shape (n,)
        Values on the grid.
    eps : float
        In the unit of the curve.
    largest : int
        Where the search ends.
    basis : str
        One of `BASES`; degrees of wavelets are powers of two.

    Returns
    -------
    int or None
        None if no degree up to `largest` is enough.

    Examples
    --------
    >>> [least_degree(np.cos(np.pi * np.linspace(0, 5, 2048)), basis=basis) for basis in BASES]
    [9, 5, 32]
    """
    curve = np.asarray(phi, dtype=np.float64)
    degrees = _degrees(largest, basis)

    def enough(degree: int) -> bool:
        return bool(within(curve[None], basis_functions(len(curve), degree, basis), eps)[0])

    # The largest first: where even that is not enough, the rest of the search would be the slowest of all.
    return degrees[bisect_left(degrees, True, key=enough)] if enough(degrees[-1]) else None


def _degrees(largest: int, basis: Basis) -> list[int]:
    return [2**j for j in range(largest.bit_length())] if basis == "wavelet" else list(range(largest + 1))


def within(curves: FloatArray, functions: FloatArray, eps: float) -> BoolArray:
    """Whether the best approximation of each of many curves is within eps.

    Most are decided without a linear programme, from the residual r of least squares: its largest value is an
    upper bound of the best error, and sum r^2 / sum abs(r) a lower one, because r is orthogonal to the
    functions, so that sum r^2 = sum r (phi - p) <= max abs(phi - p) sum abs(r) for every p in their span.

    Parameters
    ----------
    curves : array, shape (k, n)
        Values on the grid.
    functions : array, shape (n, m)
        What `basis_functions` returned.
    eps : float
        In the unit of the curves.
    """
    limit = eps + TOLERANCE
    orthonormal = np.linalg.qr(functions)[0]
    size = np.abs(curves - (curves @ orthonormal) @ orthonormal.T)
    near: BoolArray = np.asarray(size.max(axis=1) <= limit)
    unsure = ~near & ((size**2).sum(axis=1) <= limit * size.sum(axis=1))
    near[unsure] = [_is_within(curve, functions, limit) for curve in curves[unsure]]
    return near


def _is_within(phi: FloatArray, functions: FloatArray, limit: float) -> bool:
    """Follow the exchange only until one of its two bounds decides."""
    reached = np.inf
    for least, residual in _exchange(phi, functions):
        reached = np.abs(residual).max()
        if least > limit or reached <= limit:
            break
    return bool(reached <= limit)


def _exchange(phi: FloatArray, functions: FloatArray) -> Iterator[tuple[float, FloatArray]]:
    """Solve the linear programme on few points, then with those added where its answer is worst, till none is left.

    Fewer points are a relaxation, so every answer's error there is a lower bound of the best error, and its
    largest residual on the whole grid an upper one; at the end they agree to `TOLERANCE`. Ten times as fast
    as one programme over 2048 points at degree 64, with the same answer.

    Yields
    ------
    least : float
        Error on the points chosen so far.
    residual : array, shape (n,)
        Curve less approximation on the whole grid.
    """
    chosen = np.zeros(len(phi), dtype=bool)
    fresh = chosen.copy()
    fresh[np.linspace(0, len(phi) - 1, min(len(phi), 2 * functions.shape[1])).astype(int)] = True
    while fresh.any():
        chosen |= fresh
        least, coefficients = _minimise(phi[chosen], functions[chosen])
        residual = phi - functions @ coefficients
        yield least, residual
        size = np.abs(residual)
        before, after = np.r_[-np.inf, size[:-1]], np.r_[size[1:], -np.inf]
        fresh = (size > least + TOLERANCE) & (size >= before) & (size >= after) & ~chosen


def _minimise(phi: FloatArray, functions: FloatArray) -> tuple[float, FloatArray]:
    """Minimise t over (c, t) subject to -t <= phi - functions @ c <= t."""
    points, m = functions.shape
    t = np.ones((points, 1))
    solved = linprog(
        np.r_[np.zeros(m), 1.0],
        A_ub=np.block([[functions, -t], [-functions, -t]]), b_ub=np.r_[phi, -phi],
        bounds=[(None, None)] * m + [(0, None)], method="highs",
    )  # fmt: skip
    if not solved.success:
        raise RuntimeError(f"linear programme of {points} points and {m} functions: {solved.message}")
    return float(solved.x[-1]), np.asarray(solved.x[:-1])


def interpolation_degrees(
    function: Callable[[FloatArray], FloatArray], u: FloatArray, eps: float = EPS,
    degrees: Sequence[int] = INTERPOLATED,
) -> tuple[int | None, ...]:  # fmt: skip
    """Find for each of K functions the least degree whose interpolant at Chebyshev nodes is within eps on the grid.

    An upper bound of `least_degree` if `function` gives the curve's own values on the grid: an
    interpolant is one of the polynomials. Its error is not monotone in the degree, so degrees are tried upwards,
    and beyond 64 not every one; the bound stays a bound.

    Parameters
    ----------
    function : callable
        From u, shape (n,), to the K functions' values, shape (K, n); evaluated exactly at the nodes.
    u : array, shape (n,)
        The grid, ascending; its ends are those of the interval.
    eps : float
        In the unit of the functions.
    degrees : sequence of int
        Tried in this order.

    Returns
    -------
    tuple of int or None
        One per function; None where no degree tried is enough.

    Examples
    --------
    >>> interpolation_degrees(lambda u: np.stack([np.abs(u), u]), np.linspace(-1, 1, 2048))
    (12, 1)
    """
    middle, half = (u[-1] + u[0]) / 2, (u[-1] - u[0]) / 2
    x, truth = (u - middle) / half, function(u)
    found: list[int | None] = [None] * len(truth)
    for degree in degrees:
        # Its one matrix product serves K functions at once, which its type does not say.
        coefficients = chebyshev.chebinterpolate(lambda x: function(middle + half * x).T, degree)  # type: ignore[type-var]
        error = np.abs(chebyshev.chebval(x, coefficients) - truth).max(axis=1)
        for k in np.flatnonzero(error <= eps):
            found[k] = degree if found[k] is None else found[k]
        if None not in found:
            break
    return tuple(found)
