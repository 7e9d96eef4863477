"""Size of the mixed model's tests: false rejections where there is no effect, in 99 % binomial bounds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.mixed import contrast, mixed

DATA_SETS, REPETITIONS, ALPHA = 300, 99, 0.05


def no_effect(seed, models=10, sparsities=4, classes=3):
    """Data whose models differ, and differ in how they meet each sparsity and each class; no effect is common."""
    rng = np.random.default_rng([20260509, seed])
    shapes = ((models, 1, 1), (models, sparsities, 1), (models, 1, classes), (models, sparsities, classes))
    values = sum(sd * rng.normal(size=shape) for sd, shape in zip((1.0, 1.5, 1.5, 1.0), shapes, strict=True))
    model, sparsity, kind = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {"model": "cnn", "checkpoint": model, "sparsity": sparsity, "class": kind, "difference": values.ravel()}
    )


def bounds(alpha=ALPHA, n=DATA_SETS):
    return stats.binom.ppf([0.005, 0.995], n, alpha)


@pytest.fixture(scope="module")
def rejections():
    found = []
    for seed in range(DATA_SETS):
        data = no_effect(seed)
        own = mixed(data, ["sparsity", "class"], repetitions=REPETITIONS, seed=seed)
        bare = mixed(data, ["sparsity", "class"], within=(), repetitions=0)
        classes = {cell: {0: 0.25, 1: -0.25, 2: 0.0}[cell[1]] for cell in own.cells}
        found.append(
            {f"bootstrap {test.term}": test.p_bootstrap <= ALPHA for test in own.tests}
            | {f"chi-square {test.term}": test.p_chi_square <= ALPHA for test in own.tests}
            | {f"bare {test.term}": test.p_chi_square <= ALPHA for test in bare.tests}
            | {"t overall": contrast(own).p <= ALPHA, "t class": contrast(own, classes).p <= ALPHA}
        )
    counts = pd.DataFrame(found).sum()
    print(counts)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("term", ["overall", "sparsity", "class", "sparsity:class"])
def test_the_bootstrap_rejects_a_true_hypothesis_as_often_as_it_says(rejections, term):
    low, high = bounds()
    assert low <= rejections[f"bootstrap {term}"] <= high


@pytest.mark.slow
@pytest.mark.parametrize("contrasted", ["overall", "class"])
def test_t_intervals_reject_no_more_often_than_they_say(rejections, contrasted):
    assert rejections[f"t {contrasted}"] <= bounds()[1]


@pytest.mark.slow
@pytest.mark.parametrize("term", ["sparsity", "class"])
def test_without_the_terms_of_its_settings_one_model_counts_as_many(rejections, term):
    assert rejections[f"bare {term}"] > bounds()[1]
    assert rejections[f"chi-square {term}"] < rejections[f"bare {term}"] / 2
