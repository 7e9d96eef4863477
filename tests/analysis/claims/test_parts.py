"""Parts as they are validated: units, columns, readings and quantifiers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from analysis.claims.parts import FILTERS, Range, Term, known_columns, replace_labels
from analysis.evidence.evidence import Evidence

from .conftest import CONTRAST

PAIR = [{"of": {"scorer": "v1"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]


def test_one_label_stands_for_a_list(part):
    own = part(**CONTRAST | {"where": {"model": "cnn"}, "gate": {"correction": "reconstruct"}})
    assert own.where == {"model": ("cnn",)}
    assert own.gate == {"correction": ("reconstruct",)}
    assert Term(of={"scorer": "v1"}).of == {"scorer": ("v1",)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"where": {"granularty": "weight"}}, "no column 'granularty' to filter by: did you mean 'granularity'"),
        ({"where": {"train_seed": 0}}, "no column 'train_seed'"),
        ({"gate": {"scorers": "magnitude"}}, "no column 'scorers' to filter by"),
        ({"sparsities": [80]}, "sparsity 80 is not a fraction between 0 and 1; write 0.8"),
        ({"sparsities": {"least": 50, "most": 80}}, "less than or equal to 1"),
        ({"margin": 200}, "less than or equal to 20"),
        ({"margin": -1}, "greater than or equal to 0"),
        ({"planned_effect": 0}, "greater than 0"),
        ({"planned_effect": 300}, "less than or equal to 20"),
        ({"planned_effect": 2, "planned_d": 1}, "given twice: write either 'planned_effect' or 'planned_d'"),
        ({"of": ["magnitude"]}, "both arms are 'magnitude'"),
        ({"kind": "equivalence", "margin": 0}, "an equivalence needs a margin over 0"),
        ({"kind": "equivalence", "test": "sign-flip"}, "two one-sided t tests"),
        ({"over": "mean", "test": "sign-flip"}, "a mean over settings is decided by a t test"),
        ({"role": "main"}, "'primary', 'supporting' or 'scan'"),
        ({"over": "all"}, "'every', 'some' or 'mean'"),
        ({"test": "Wilcoxon"}, "'t', 't and bootstrap-t' or 'sign-flip'"),
        ({"readings": {"lambda": ["median", "eb"]}}, "the reading 'lambda' is no column"),
        ({"readings": {"recalibration": []}}, "the reading 'recalibration' has no level"),
        ({"readings": {"margin": [200]}}, "lists points between 0 and 20"),
        ({"readings": {"margin": ["two"]}}, "lists points between 0 and 20"),
        ({"distinct": {"seed": 2}}, "no column 'seed'"),
        ({"required": True}, "Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_refused(part, changes, message):
    with pytest.raises(ValidationError, match=message):
        part(**CONTRAST | changes)


@pytest.mark.parametrize("estimand", ["trend", "sign_change", "association"])
def test_estimands_without_a_mean_over_settings_say_so(part, estimand):
    with pytest.raises(ValidationError, match="this estimand has no mean over settings: write 'over: every'"):
        part(estimand=estimand, terms=PAIR, over="mean")


def test_limits_of_sparsities(part):
    assert part(**CONTRAST, sparsities=[0.5, 0.8]).limits == ((0.5, 0.8), False)
    assert part(**CONTRAST, sparsities={"least": 0.6}).limits == ((0.6, 1), True)
    assert part(**CONTRAST).limits == (None, False)
    assert Range().model_dump() == {"least": 0, "most": 1}


def test_a_part_needs_its_filters_and_labels(part):
    needs = part(**CONTRAST, where={"model": ["cnn", "vit"]}).needs()
    assert needs == [("model", ("cnn", "vit")), ("scorer", ("taylor",)), ("scorer", ("magnitude",))]
    sums = part(estimand="combination", kind="superiority", terms=PAIR).needs()
    assert sums == [("scorer", ("v1",)), ("scorer", ("magnitude",))]


def test_labels_and_columns_are_replaced():
    new = {"asr": "asr_eb", "none": {"correction": ("layerwise",), "recalibration": ("ema",)}}
    assert replace_labels(("asr", "none", "x"), new) == ("asr_eb", "none", "x")
    assert Term(of={"correction": "none"}).replaced(new).of == {"correction": ("layerwise",), "recalibration": ("ema",)}


def test_every_filter_is_a_column_of_the_evidence(study):
    data = Evidence.of(study(seeds=1, models=("cnn",), scorers=("magnitude",), repairs=False))
    for column in FILTERS:
        assert data.labels(column, data.planned_labels[column]) == data.planned_labels[column]
    with pytest.raises(ValueError, match="no column"):
        known_columns({"checkpoint": "x"}, FILTERS)
