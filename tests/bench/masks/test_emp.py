"""EMP: the effective number, what it keeps, and the least mass that this can hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from bench.core.errors import NotApplicable, UserError
from bench.core.registry import Plugin
from bench.masks.build import build_masks
from bench.masks.emp import describe, effective_number, emp, keep_of, kept_mass, lower_bound
from bench.masks.order import keep_order
from bench.models.tensors import ScoreMap
from bench.models.unit_space import UnitSpace
from bench.plugins.catalogue import make_registry

Space = Callable[..., UnitSpace]


def _tensor(values: object) -> torch.Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def _random_vectors(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """Ten kinds of non-negative scores, from harmless to adversarial."""
    high = int(rng.integers(1, n))
    low = int(rng.integers(high, n))
    yield rng.lognormal(0, rng.uniform(0.1, 5), n)
    yield rng.uniform(0, 1, n)
    yield rng.exponential(1, n)
    yield np.abs(rng.standard_normal(n))
    yield np.where(rng.uniform(size=n) < rng.uniform(0.01, 0.5), rng.exponential(1, n), 0) + (np.arange(n) == 0) * 1e-3
    yield np.concatenate([np.full(high, rng.uniform(1, 1e3)), np.full(n - high, rng.uniform(0, 1))])
    yield np.concatenate([np.full(high, rng.uniform(1, 10)), np.ones(low - high), np.zeros(n - low)])
    yield np.concatenate([[rng.uniform(1, 10 * n)], np.ones(n - 1)])
    yield np.concatenate([[1, rng.uniform(0.01, 1)], np.zeros(n - 2)])
    yield np.arange(1, n + 1.0) ** -rng.uniform(0, 3)


def test_no_scores_hold_less_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    sizes = [2, 3, 4, 5, 7, 12, 33, 100, 500, 4000]
    vectors = [v for n in sizes for _ in range(120) for v in _random_vectors(rng, n)]
    assert len(vectors) >= 10_000
    for vector in vectors:
        part = describe(_tensor(vector), 1.0)
        assert part["s_eff"] >= part["bound"] - 1e-12, (vector, part)


@given(scores=arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e300)))
def test_no_scores_that_hypothesis_finds_hold_less_than_the_bound(scores: np.ndarray) -> None:
    part = describe(_tensor(scores), 1.0)
    if scores.any():
        assert 1 <= part["n_eff"] <= len(scores)
        assert part["s_eff"] >= part["bound"] - 1e-12
    else:
        assert part["k"] == len(scores)


def _least_mass(n: int, nu: float) -> float:
    """Least mass of the K = floor(nu) largest of n scores, exactly, by enumeration.

    Scores in descending order with their K largest holding at most c are a polytope. Its vertices lie on the
    edges of the ordered simplex, between e_i and e_j, e_i being 1/i in the first i places; a convex function,
    such as the sum of squares, is largest at one of them. On an edge the sum of squares is
    t^2 (1/i - 1/j) + 1/j at the point t e_i + (1 - t) e_j.
    """
    k = math.floor(nu)
    found = []
    for i in range(1, k + 1):
        for j in range(math.ceil(nu), n + 1):
            t = 1.0 if i == j else math.sqrt((1 / nu - 1 / j) / (1 / i - 1 / j))
            found.append(t * min(1, k / i) + (1 - t) * min(1, k / j))
    return min(found)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 12, 30, 61])
def test_the_bound_is_the_least_mass_by_enumeration(n: int) -> None:
    for nu in np.linspace(1, n, 50):
        assert lower_bound(n, float(nu)) == pytest.approx(_least_mass(n, float(nu)), abs=1e-12)


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("nu", [1.3, 1.8, 2.2, 2.9, 3.5, 4.5])
def test_the_bound_is_the_minimum_that_optimisation_finds(n: int, nu: float) -> None:
    """Minimise the mass of the K largest over descending scores of sum 1 and sum of squares 1/nu."""
    k = math.floor(nu)
    descending = np.eye(n) - np.eye(n, k=1)  # the last row says that the last score is not below zero
    constraints = [
        {"type": "eq", "fun": lambda x: x.sum() - 1},
        {"type": "eq", "fun": lambda x: x @ x - 1 / nu},
        {"type": "ineq", "fun": lambda x: descending @ x},
    ]
    rng = np.random.default_rng(1)
    found = []
    for _ in range(30):
        start = np.sort(rng.dirichlet(np.full(n, rng.choice([0.1, 0.3, 1.0]))))[::-1]
        options = {"maxiter": 300, "ftol": 1e-12}
        result = minimize(lambda x: x[:k].sum(), start, method="SLSQP", constraints=constraints, options=options)
        if result.success:
            found.append(result.fun)
    assert len(found) >= 10
    assert min(found) == pytest.approx(lower_bound(n, nu), abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 12, 100, 3000])
def test_one_large_and_equal_small_scores_hold_just_the_bound(n: int) -> None:
    for nu in np.linspace(2, n, 23):
        # omega = t e_1 + (1 - t) e_n has the effective number nu
        t = math.sqrt((1 / nu - 1 / n) / (1 - 1 / n))
        part = describe(_tensor([t + (1 - t) / n, *[(1 - t) / n] * (n - 1)]), 1.0)
        assert part["n_eff"] == pytest.approx(nu, rel=1e-12)
        if abs(nu - round(nu)) > 1e-9:  # a whole nu may come out on either side
            assert part["k"] == math.floor(nu)
        mass = kept_mass(_tensor([t + (1 - t) / n, *[(1 - t) / n] * (n - 1)]), math.floor(nu + 1e-9))
        assert mass == pytest.approx(lower_bound(n, nu + 1e-12 if nu < n else n), abs=1e-9)


@pytest.mark.parametrize("second", [1e-6, 0.01, 0.3, 0.9, 0.999])
def test_two_scores_hold_just_the_bound(second: float) -> None:
    part = describe(_tensor([1.0, second, 0, 0, 0]), 1.0)
    assert part["k"] == 1
    assert part["n_eff"] < 2
    assert part["s_eff"] == pytest.approx(1 / (1 + second), rel=1e-12)
    assert part["s_eff"] == pytest.approx(part["bound"], rel=1e-9)


def test_the_papers_bound_follows_but_for_one_kept_score() -> None:
    """The bound of the paper's Theorem 4.2, as its repository states it, in terms of K and n alone."""

    def stated(n: int, k: int) -> float:
        return k / n + (n - k) / n * math.sqrt((n - k - 1) / ((k + 1) * (n - 1)))

    for n in (3, 5, 12, 100):
        for k in range(2, n):
            for nu in np.linspace(k, k + 1, 20, endpoint=False):
                assert lower_bound(n, nu) >= stated(n, k)
            assert lower_bound(n, k + 1 - 1e-12) == pytest.approx(stated(n, k), abs=1e-6)
    part = describe(_tensor([0.51, 0.49, 0]), 1.0)
    assert part["k"] == 1
    assert part["bound"] <= part["s_eff"] == pytest.approx(0.51)
    assert stated(3, 1) > 0.66


def test_k_equal_scores_among_zeros_are_kept() -> None:
    scores = torch.zeros(3001, dtype=torch.float64)
    for k in range(1, 3001):
        scores[k - 1] = 0.1
        effective = effective_number(scores)
        assert keep_of(effective, 3001) == k
        # rounding errors of another way to count them are corrected too
        assert keep_of(1 / float(np.square(np.full(k, 1 / k)).sum()), 3001) == k


def test_a_plain_floor_would_miss_many() -> None:
    missed = sum(math.floor(1 / float(np.square(np.full(k, 1 / k)).sum())) < k for k in range(1, 3001))
    assert missed > 500


@given(
    scores=arrays(np.float64, st.integers(1, 40), elements=st.floats(0.001, 1000)),
    exponent=st.integers(-300, 300),
)
def test_scale_does_not_matter(scores: np.ndarray, exponent: int) -> None:
    first, second = (describe(_tensor(s), 1.0) for s in (scores, scores * 10.0**exponent))
    assert second["n_eff"] == pytest.approx(first["n_eff"], rel=1e-12)
    whole = first["n_eff"] * (1 + 1e-9)
    if abs(whole - round(whole)) > 1e-10:  # else rounding decides which side of a whole number it is
        assert second["k"] == first["k"]
        assert second["s_eff"] == pytest.approx(first["s_eff"], rel=1e-12)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1.0, 1e200, 1.7e308])
def test_no_scale_over_or_underflows(scale: float) -> None:
    assert describe(_tensor([scale, scale, scale, 0.0]), 1.0)["n_eff"] == 3.0
    assert describe(_tensor([-scale, scale]), 1.0)["n_eff"] == 2.0


@pytest.mark.parametrize(
    ("draw", "share"),
    [
        ("standard_normal", 2 / math.pi),
        ("random", 3 / 4),
        ("standard_exponential", 1 / 2),
    ],
)
def test_known_distributions_have_their_known_share(draw: str, share: float) -> None:
    """N_eff / n tends to E[abs(s)]^2 / E[s^2]: of normal weights EMP keeps 64 %."""
    scores = _tensor(getattr(np.random.default_rng(2), draw)(1_000_000))
    assert effective_number(scores) / 1e6 == pytest.approx(share, rel=0.005)


@given(
    scores=arrays(np.float64, st.integers(1, 40), elements=st.floats(-100, 100).filter(lambda s: abs(s) > 1e-3)),
    beta=st.floats(0.01, 100),
)
def test_counts_and_mass_are_those_of_numpy(scores: np.ndarray, beta: float) -> None:
    part = describe(_tensor(scores), beta)
    omega = np.abs(scores) / np.abs(scores).sum()
    effective = 1 / (omega**2).sum()
    assert part["n_eff"] == pytest.approx(effective, rel=1e-12)
    assert part["k"] == min(len(scores), max(1, math.floor(beta * part["n_eff"] * (1 + 1e-9))))
    assert part["s_eff"] == pytest.approx(omega[np.argsort(-scores)[: part["k"]]].sum(), rel=1e-12)
    assert part["bound"] is None or (beta == 1 and (scores > 0).all())


def _scores(units: UnitSpace, *values: list[float]) -> ScoreMap:
    return ScoreMap({x.name: _tensor(v).reshape(x.unit_shape) for x, v in zip(units.layers, values, strict=True)})


def test_scopes_by_hand(space: Space) -> None:
    units = space((1, 4), (2, 2))
    scores = _scores(units, [3, 3, 0, 0], [1, 1, 1, 1])
    by_layer = emp(units, scores, None, None, scope="layer")
    assert by_layer.keep.tolist() == [2, 4]
    assert by_layer.segment.tolist() == [0] * 4 + [1] * 4
    assert by_layer.notes["emp"]["layer1"] == {"n_eff": 4.0, "k": 4, "s_eff": 1.0, "bound": 1.0}
    everywhere = emp(units, scores, None, None)
    # (6 + 4)^2 / (18 + 4) = 4.55: the two of 3 and two of 1, 8 of 10
    assert everywhere.keep.tolist() == [4]
    assert everywhere.notes["emp"]["all"]["s_eff"] == pytest.approx(0.8)
    masks = build_masks(units, keep_order(units, scores, scores), everywhere)
    assert [masks[name].flatten().tolist() for name in units.names] == [[1, 1, 0, 0], [1, 1, 0, 0]]


def test_output_rows_by_hand(space: Space) -> None:
    """Each row alone: 2 of (3, 2, 1), as 36 / 14 = 2.57; all of four equal ones; all of a row of zeros."""
    units = space((3, 4), (1, 3))
    scores = _scores(units, [[4, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], [3, 2, 1])
    budget = emp(units, scores, None, None, scope="output")
    assert budget.keep.tolist() == [1, 4, 4, 2]
    assert budget.segment.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 3
    assert budget.notes["emp"]["layer0"] == {"n_eff": 5.0, "k": 9, "s_eff": 1.0, "bound": 1.0, "rows": 3}
    assert budget.notes["emp"]["layer1"]["s_eff"] == pytest.approx(5 / 6)
    assert budget.notes["zero_layers"] == []
    masks = build_masks(units, keep_order(units, scores, scores), budget)
    assert masks["layer0"].sum(dim=1).tolist() == [1, 4, 4]
    assert masks["layer1"].tolist() == [[True, True, False]]


def test_output_rows_are_those_of_the_authors_code_for_language_models(space: Space) -> None:
    """noMushroomw/Effective-model-pruning, commit 9956077: ``magnitude_neff`` keeps floor(beta N_eff) of each row."""
    weights = np.random.default_rng(5).standard_normal((7, 11))
    shares = np.abs(weights) / np.abs(weights).sum(axis=1, keepdims=True)
    for beta in (1.0, 0.5):
        expected = np.clip(np.floor(beta / (shares**2).sum(axis=1)), 1, 11)
        units = space((7, 11))
        budget = emp(units, _scores(units, np.abs(weights)), None, None, scope="output", beta=beta)
        assert budget.keep.tolist() == expected.tolist()


@pytest.mark.parametrize("scope", ["global", "layer", "output"])
def test_a_uniform_spread_keeps_exactly_as_many_the_same_share_of_every_layer(space: Space, scope: str) -> None:
    rng = np.random.default_rng(6)
    units = space((5, 7), (3, 11), (2, 2), (9, 13))
    for _ in range(50):
        scores = _scores(units, *(rng.lognormal(place, 2, layer.size) for place, layer in enumerate(units.layers)))
        own, uniform = (emp(units, scores, None, None, scope=scope, spread=how) for how in ("scores", "uniform"))
        assert int(uniform.keep.sum()) == int(own.keep.sum())
        share = int(own.keep.sum()) / units.total
        assert all(
            abs(k - share * layer.size) < 1 for k, layer in zip(uniform.keep.tolist(), units.layers, strict=True)
        )
        assert torch.equal(uniform.segment, units.layer_index())


def test_a_uniform_spread_by_hand(space: Space) -> None:
    """(6 + 4)^2 / (18 + 4) = 4.55: four of eight, so two of each layer: both of 3 and two of 1."""
    units = space((1, 4), (2, 2))
    budget = emp(units, _scores(units, [3, 3, 0, 0], [1, 1, 1, 1]), None, None, spread="uniform")
    assert budget.keep.tolist() == [2, 2]
    [(name, part)] = budget.notes["emp"].items()
    assert (name, part["k"], part["bound"], part["no_bound"]) == ("all", 4, None, "spread over the layers")
    assert part["n_eff"] == pytest.approx(100 / 22)
    assert part["s_eff"] == pytest.approx(8 / 10)
    # one of five units: the first of the layers with the largest remainder keeps it
    one = emp(units, _scores(units, [9, 0, 0, 0], [0, 0, 0, 0]), None, None, spread="uniform")
    assert one.keep.tolist() == [1, 0]
    silent = emp(units, _scores(units, [0, 0, 0, 0], [0, 0, 0, 0]), None, None, spread="uniform")
    assert silent.keep.tolist() == [4, 4]
    assert silent.notes["emp"]["all"]["s_eff"] is None
    assert silent.notes["zero_layers"] == ["layer0", "layer1"]


def test_the_spread_by_scores_is_no_part_of_a_cell() -> None:
    """Rows of earlier versions stay valid: neither label nor identity change."""
    plugin = make_registry().get("allocation", "emp")
    assert plugin.resolve({"spread": "scores"}) == plugin.resolve({})
    assert plugin.resolve({}).options == {"scope": "global", "beta": 1.0}
    assert plugin.resolve({"scope": "layer", "spread": "uniform"}).label == "emp(scope=layer, spread=uniform)"


def test_the_row_nearest_its_bound_is_noted(space: Space) -> None:
    """Five equal scores and one larger reach the bound; the row before them lies far above its own."""
    units = space((2, 6))
    rows = [[6, 5, 4, 3, 2, 1], [4, 1, 1, 1, 1, 1]]
    part = emp(units, _scores(units, rows), None, None, scope="output").notes["emp"]["layer0"]
    alone = [describe(_tensor(row), 1.0) for row in rows]
    assert alone[0]["s_eff"] - alone[0]["bound"] > 0.05
    assert (part["s_eff"], part["bound"]) == (alone[1]["s_eff"], alone[1]["bound"])
    assert part["k"] == alone[0]["k"] + alone[1]["k"]
    halved = emp(units, _scores(units, rows), None, None, scope="output", beta=0.5).notes["emp"]["layer0"]
    assert halved["no_bound"] == "beta is not 1"


def test_channels_have_no_output_rows(space: Space) -> None:
    units = UnitSpace("channel", space((4,)).layers)
    with pytest.raises(NotApplicable, match="a channel is a whole output"):
        emp(units, _scores(units, [1, 2, 3, 4]), None, None, scope="output")


def test_zeros_are_kept_and_noted(space: Space) -> None:
    units = space((1, 3), (1, 3))
    budget = emp(units, _scores(units, [0, -0.0, 0], [5, 0, 0]), None, None, scope="layer")
    assert budget.keep.tolist() == [3, 1]
    assert budget.notes["zero_layers"] == ["layer0"]
    nothing = {"n_eff": None, "k": 3, "s_eff": None, "bound": None, "no_bound": "all scores are zero"}
    assert budget.notes["emp"]["layer0"] == nothing
    silent = emp(units, _scores(units, [0, 0, 0], [0, 0, 0]), None, None)
    assert silent.keep.tolist() == [6]
    assert silent.notes["zero_layers"] == ["layer0", "layer1"]


def test_the_bound_is_withheld_where_it_does_not_hold(space: Space) -> None:
    units = space((1, 4))
    signed = emp(units, _scores(units, [2, 1, -3, -3]), None, None, scope="layer")
    assert signed.keep.tolist() == [3]  # 81 / 23 = 3.52
    part = signed.notes["emp"]["layer0"]
    assert part["s_eff"] == pytest.approx(6 / 9)  # 2, 1 and one of the -3
    assert part["bound"] is None
    assert part["no_bound"] == "some scores are below zero"
    double = emp(units, _scores(units, [2, 1, 3, 3]), None, None, scope="layer", beta=0.5)
    assert double.keep.tolist() == [1]
    assert double.notes["emp"]["layer0"]["no_bound"] == "beta is not 1"


@pytest.mark.parametrize("beta", [0, -1.0, float("inf"), float("nan")])
def test_beta_must_be_a_positive_number(beta: float) -> None:
    with pytest.raises(UserError, match="option 'beta' of allocation 'emp'"):
        Plugin("allocation", "emp", emp).resolve({"beta": beta})
