"""Readings: columns, margins, labels and arms that a reading replaces."""

from __future__ import annotations

from analysis.claims.readings import all_levels, primary_reading, read_as

from .conftest import CONTRAST

TERMS = [{"of": {"scorer": ["v1", "a5"], "search": "dbo"}}, {"weight": -1, "of": {"scorer": "magnitude"}}]


def test_a_column_filters_the_rows(part):
    own = part(**CONTRAST, where={"model": "cnn"}, readings={"recalibration": ["ema", "exact"]})
    read = read_as(own, {"recalibration": "exact"})
    assert read.where == {"model": ("cnn",), "recalibration": ("exact",)}
    assert read.readings == {}
    assert primary_reading(own).where["recalibration"] == ("ema",)


def test_a_margin_is_in_points(part):
    own = part(**CONTRAST, margin=2, readings={"margin": [2, 1]})
    assert [read_as(own, levels).margin for levels in all_levels(own)] == [2, 1]


def test_a_part_without_margin_has_no_reading_of_it(part):
    own = part(estimand="trend", terms=TERMS, readings={"margin": [2, 1]})
    first, second = (read_as(own, levels) for levels in all_levels(own))
    assert first == second


def test_labels_are_replaced_in_both_arms(part):
    readings = {"lambda": {"median": {}, "eb": {"asr": "asr_eb"}}, "reference": {"repair": {}, "none": {"lw": "none"}}}
    own = part(estimand="contrast", kind="superiority", axis="correction", of=["asr"], against="lw", readings=readings)
    found = [(read.of, read.against) for read in (read_as(own, levels) for levels in all_levels(own))]
    assert found == [(("asr",), "lw"), (("asr",), "none"), (("asr_eb",), "lw"), (("asr_eb",), "none")]


def test_the_columns_of_an_arm_are_replaced(part):
    bump = {"magnitude": {"scorer": "gaussian_bump", "search": "dbo"}}
    own = part(
        estimand="combination", kind="superiority", terms=TERMS, readings={"reference": {"plain": {}, "b": bump}}
    )
    plain, replaced = (read_as(own, {"reference": level}) for level in ("plain", "b"))
    assert [term.of for term in plain.terms] == [term.of for term in own.terms]
    assert replaced.terms[0].of == own.terms[0].of
    assert replaced.terms[1].of == {"scorer": ("gaussian_bump",), "search": ("dbo",)}
    assert replaced.terms[1].weight == -1


def test_labels_of_other_estimands_are_replaced(part):
    readings = {"scorer": {"a": {}, "b": {"rank": "exp_magnitude", "taylor": "wanda"}}}
    identity = part(estimand="mask_identity", scorers=["rank"], readings=readings)
    assert read_as(identity, {"scorer": "b"}).scorers == ("exp_magnitude",)
    best = part(estimand="any_of", of=["taylor"], against="magnitude", readings=readings)
    assert read_as(best, {"scorer": "b"}).of == ("wanda",)


def test_all_combinations_start_with_the_primary_reading(part):
    own = part(**CONTRAST, readings={"granularity": ["channel", "weight"], "margin": [0, 1]})
    assert list(all_levels(own)) == [
        {"granularity": "channel", "margin": 0}, {"granularity": "channel", "margin": 1},
        {"granularity": "weight", "margin": 0}, {"granularity": "weight", "margin": 1},
    ]  # fmt: skip
