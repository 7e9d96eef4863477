"""What the suite reports of broken searches."""

from __future__ import annotations

import numpy as np
import pytest

from bench.scorers.search.baselines import random_search
from bench.scorers.search.fusion import Found


def good_search(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(objective, dimensions, generator, evaluations=evaluations)


def good_single_search(objective, dimensions, generator):
    return random_search(objective, dimensions, generator, evaluations=1)


def over_budget(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(objective, dimensions, generator, evaluations=max(30, evaluations))


def budget_unknown(objective, dimensions, generator):
    return random_search(objective, dimensions, generator)


def miscounts(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value, 0, found.history)


def outside_the_box(objective, dimensions, generator, *, evaluations: int = 600):
    candidates = generator.normal(size=(evaluations, dimensions)) * 3
    values = objective(candidates)
    best = int(values.argmax())
    return Found(tuple(candidates[best].tolist()), float(values[best]), evaluations, ())


def flatters_itself(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value + 0.01, found.evaluations, found.history)


def moves_on(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found((0.3,) * dimensions, 1.0, found.evaluations, found.history)


def too_few_weights(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights[1:], found.value, found.evaluations, found.history)


def unstorable(objective, dimensions, generator, *, evaluations: int = 600):
    found = random_search(objective, dimensions, generator, evaluations=evaluations)
    return Found(found.weights, found.value, np.int64(found.evaluations), found.history)


def one_by_one(objective, dimensions, generator, *, evaluations: int = 600):
    return random_search(lambda W: np.array([objective(w) for w in W]), dimensions, generator, evaluations=evaluations)


def globally_random(objective, dimensions, generator, *, evaluations: int = 600):
    generator = np.random.default_rng(np.random.randint(2**31))
    return random_search(objective, dimensions, generator, evaluations=evaluations)


def returns_weights(objective, dimensions, generator):
    return np.ones(dimensions)


BUDGET, BOX, VALUE = "no more candidates than the budget", "inside the box", "one weight per feature"
BROKEN = [
    (over_budget, BUDGET, "2 weights, 1 evaluations: evaluates 30 candidates with a budget of 1"),
    (budget_unknown, BUDGET, "evaluates 600 candidates with a budget of 1"),
    (miscounts, BUDGET, "reports that it evaluated 0 candidates; they were 1"),
    (outside_the_box, BOX, "leaves the box: weights from"),
    (flatters_itself, VALUE, "returns the value"),
    (moves_on, VALUE, "returns weights that it never evaluated"),
    (too_few_weights, VALUE, "returns weights of shape (1,), expected (2,)"),
    (unstorable, VALUE, "its 'evaluations' cannot be stored: int64 has no canonical JSON form"),
    (one_by_one, BUDGET, "asks for an array of shape (2,), expected (n, 2)"),
    (globally_random, "same weights for the same seed", "two calls with one seed differ"),
    (returns_weights, BUDGET, "returns ndarray, not a Found"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "check", "problem"), BROKEN)
def test_a_broken_search_is_named_with_what_it_broke(problems_of, function, check, problem):
    [how] = [how for what, how in problems_of("search", function).items() if check in what]
    assert problem in how


def test_a_broken_search_breaks_no_other_rule(problems_of):
    [problem] = problems_of("search", outside_the_box).values()
    assert "leaves the box" in problem


@pytest.mark.parametrize("function", [good_search, good_single_search])
def test_a_good_search_of_a_user_passes(problems_of, function):
    assert problems_of("search", function) == {}
