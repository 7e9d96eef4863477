"""EMP's notes, and rows whose sparsity is null in every frame and table."""

import math

import pandas as pd
import pytest

from analysis import narrate, tables
from analysis.checklist import checklist
from analysis.comparisons import escapes, repair_gains
from analysis.evidence import frames
from analysis.evidence.emp import emp_rows
from analysis.evidence.evidence import Evidence
from tests.rows_alone import evidence_of


@pytest.fixture(scope="module")
def data(study, own_sparsities):
    return own_sparsities(study(seeds=3, granularities=("channel",)))


def test_scopes_are_summed_up_and_the_least_mass_kept(data):
    kept = emp_rows(data.rows)
    assert set(kept["allocation"]) == {"emp"}
    assert set(kept["recalibration"]) == {"none"}
    first = kept.iloc[0]
    assert (first["n_eff"], first["k"], first["scopes"], first["violations"]) == (10.5, 10, 2, 0)
    assert first["s_eff"] == 0.5
    assert math.isnan(first["bound"])
    assert first["change"] == pytest.approx(first["accuracy"] - first["dense_accuracy"])


def test_a_kept_mass_under_its_bound_is_counted(data):
    rows = data.rows.assign(notes=data.rows["notes"].str.replace('"bound": 0.7', '"bound": 0.8'))
    kept = emp_rows(rows)
    assert set(kept["violations"]) == {1}
    assert f"The bound fails in {len(kept)} cases." in narrate.emp(kept)


def test_the_table_shows_achieved_sparsity_and_the_distance_from_dense(data):
    kept = emp_rows(data.rows)
    table = tables.emp_table(kept)
    cnn = table[table["Model"].eq("cnn") & table["Scorer"].eq("taylor")].iloc[0]
    own = kept[kept["model"].eq("cnn") & kept["scorer"].eq("taylor")]
    assert cnn["Sparsity achieved (%)"] == f"{100 * own['sparsity_achieved'].mean():.1f}"
    change = own["change"].mean()
    assert float(cnn["Against dense (points)"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(100 * change, abs=0.005)
    assert cnn["Models"] == "3"


def test_scorers_with_different_sparsities_are_not_compared(data):
    compared = escapes(evidence_of(data.rows))
    assert "emp" not in set(compared["allocation"])
    alone = compared[compared["allocation"].eq("2:4")]
    assert set(alone["scorer"]) == set(compared["scorer"])
    assert alone["sparsity"].isna().all()


def test_equal_sparsities_are_compared_even_where_they_are_not_requested(data):
    rows = data.rows.assign(sparsity_achieved=data.rows["sparsity_achieved"].where(data.rows["sparsity"].notna(), 0.4))
    assert "emp" in set(escapes(evidence_of(rows))["allocation"])


def test_every_table_bears_a_null_sparsity(data):
    rows = data.rows
    settings = tables.settings_table(rows)
    own = settings[settings["Allocation"].isin(["2:4", "emp"])]
    assert set(own["Sparsity (%)"]) == {"\N{EN DASH}"}
    assert len(settings) == frames.count_states(frames.pruned(rows)).query("skipped < planned").shape[0]
    assert "\N{EN DASH}" in set(tables.overlap_table(rows)["Sparsity (%)"])
    assert "2:4" in set(tables.comparison_table(escapes(evidence_of(rows)))["Allocation"])
    points = checklist(Evidence.of(data)).set_index("Requirement").loc["At least 5 operating points per pair", "Here"]
    assert points == "at least 2 requested sparsities; 2 allocations without a requested sparsity not counted"


def test_a_summary_keeps_the_groups_without_a_sparsity_apart(data):
    summary = frames.summarise(frames.per_model(data.rows), bca=True)
    for allocation in ("2:4", "emp"):
        own = summary[summary["allocation"].eq(allocation) & summary["recalibration"].eq("none")]
        single = data.rows[data.rows["allocation"].eq(allocation) & data.rows["recalibration"].eq("none")]
        means = single.groupby(["model", "scorer"])["accuracy"].mean()
        assert own.set_index(["model", "scorer"])["mean"].to_dict() == pytest.approx(means.to_dict())
        assert (own["bca_low"].le(own["mean"] + 1e-9) & own["bca_high"].ge(own["mean"] - 1e-9)).all()


def test_a_repair_gain_without_a_sparsity_is_stated_in_words(study, own_sparsities):
    data = study(seeds=3, models=("cnn",), granularities=("channel",))
    rows = own_sparsities(data).rows
    plain = rows[rows["allocation"].eq("2:4") & rows["scorer"].eq("magnitude")]
    repaired = plain.assign(correction="asr", accuracy=plain["accuracy"] + 0.2)
    sentence = narrate.repairs(repair_gains(evidence_of(pd.concat([plain, repaired], ignore_index=True))))
    assert "+20.00" in sentence
    assert "cnn on digits, channel, 2:4, magnitude, correction asr" in sentence
