"""Columns and random terms of a mixed model, by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.stats.mixed_design import RANDOM_ARCHITECTURES, degrees_of_freedom, make_design


def table(architectures=2, models=2, sparsities=(0.5, 0.8), classes=(0, 1, 2)):
    rows = list(itertools.product(range(architectures), range(models), sparsities, classes))
    frame = pd.DataFrame(rows, columns=["architecture", "model", "sparsity", "class"])
    frame["model"] += models * frame["architecture"]
    return frame.assign(difference=np.arange(len(frame), dtype=np.float64))


def design_of(frame, fixed=("sparsity", "class"), within=("sparsity", "class")):
    return make_design(frame, fixed, within, "difference", "architecture", "model")


def test_fixed_columns_are_one_per_degree_of_freedom_and_sum_to_zero():
    found = design_of(table())
    sizes = {term: columns.stop - columns.start for term, columns in found.terms.items()}
    assert sizes == {(): 1, ("sparsity",): 1, ("class",): 2, ("sparsity", "class"): 2}
    assert found.x.shape == (24, 6 + 1)  # and one column of the two architectures
    assert (found.x[:, 0] == 1).all()
    assert found.x[:, 1:].sum(axis=0) == pytest.approx(np.zeros(6))
    assert np.linalg.matrix_rank(found.x) == 7


def test_the_row_of_a_cell_is_the_mean_over_its_architectures():
    frame = table()
    found = design_of(frame)
    assert found.cells == tuple(itertools.product((0.5, 0.8), (0, 1, 2)))
    for cell, row in zip(found.cells, found.cell_x, strict=True):
        own = (frame["sparsity"].eq(cell[0]) & frame["class"].eq(cell[1])).to_numpy()
        assert found.x[own].mean(axis=0) == pytest.approx(row)


@pytest.mark.parametrize(
    ("architectures", "fixed", "term"),
    [
        (1, ("class",), "none"),
        (2, ("class",), "fixed"),
        (RANDOM_ARCHITECTURES - 1, ("class",), "fixed"),
        (RANDOM_ARCHITECTURES, ("class",), "random"),
        (2, ("architecture", "class"), "factor"),
    ],
)
def test_architectures_are_random_only_where_they_are_many(architectures, fixed, term):
    found = design_of(table(architectures), fixed=fixed, within=())
    assert found.architecture_term == term
    assert ("architecture" in found.grouping) == (term == "random")
    blocks = architectures if term == "random" else 2 * architectures
    assert len(set(found.block)) == blocks


def test_random_terms_that_say_nothing_new_are_left_out_with_the_reason():
    found = design_of(table())
    assert set(found.grouping) == {"model", "model:sparsity", "model:class"}
    assert found.dropped == {"model:sparsity:class": "confounded with the residual"}
    single = design_of(table(sparsities=(0.5,)))
    assert single.dropped["model:sparsity"] == "the same groups as model"


def test_degrees_of_freedom_are_blocks_less_what_varies_between_them():
    assert degrees_of_freedom(design_of(table(architectures=1, models=5))) == 5 - 1
    assert degrees_of_freedom(design_of(table(architectures=2, models=5))) == 10 - 2
