"""The section on robustness has a curve per primary part with readings, and a table of all readings."""

from analysis.claims.records import ClaimResult, PartResult, Reading, Record, Robustness
from analysis.report.robustness import readings_table, robustness, specification_curves


def reading(effect, *, verdict="supported", primary=False, by_construction="", **levels):
    bounds = {} if effect is None else {"low": effect - 1, "high": effect + 1}
    return Reading(levels=levels, primary=primary, verdict=verdict, by_construction=by_construction, effect=effect,
                   n=10, settings=3, p=0.01, p_contradiction=0.9, **bounds)  # fmt: skip


READINGS = (
    reading(-1.0, verdict="contradicted", mode="none", order="a", scale="channel"),
    reading(0.0, by_construction="the corrections cancel", mode="exact", order="a", scale="channel"),
    reading(0.0, by_construction="the corrections cancel", mode="exact", order="b", scale="channel"),
    reading(2.0, primary=True, mode="ema", order="a", scale="channel"),
    reading(None, verdict="inconclusive", mode="ema", order="b", scale="channel"),
)


def claim(readings, role="primary", name="A1"):
    record = Record(part="main", kind="superiority", estimand="x", setting={}, n=10, margin=0.5)
    part = PartResult(id="main", text="It leads.", kind="superiority", role=role, over="mean", verdict="supported",
                      records=(record,), robustness=readings and Robustness(planned=9, readings=readings, robust=False),
                      )  # fmt: skip
    return ClaimResult(id=name, text="It leads.", source="me", verdict="supported", parts=(part,))


def test_a_study_without_readings_has_no_such_section():
    assert robustness([claim(None), claim(READINGS, role="supporting")]) is None


def test_there_is_a_curve_per_primary_part_and_every_reading_is_in_the_table():
    section = robustness([claim(READINGS), claim(READINGS, name="A2"), claim(None, name="A3")])
    assert [plot.name for plot in section.figures] == ["readings-A1-main", "readings-A2-main"]
    (table,) = section.tables
    assert list(table.frame["Claim"]) == ["A1"] * 5 + ["A2"] * 5
    assert not section.exploratory


def test_the_caption_counts_planned_and_present_readings_and_names_those_by_construction():
    (plot,) = specification_curves([claim(READINGS)])
    assert "claim A1, part main (It leads)" in plot.caption
    assert "Readings: 9 planned, 5 in this study; 2 by construction are not counted." in plot.caption
    assert "Grey squares hold by construction (the corrections cancel): mode exact." in plot.caption
    assert "The same in all readings: scale channel." in plot.caption
    assert "1 readings without an estimate are in the table alone." in plot.caption
    assert plot.svg.startswith("<?xml")


def test_one_reading_is_no_curve():
    assert specification_curves([claim(READINGS[3:])]) == ()


def test_a_row_of_the_table_names_levels_basis_and_interval():
    rows = readings_table([claim(READINGS)]).to_dict("records")
    assert [row["Verdict"] for row in rows] == ["contradicted", *["by construction"] * 2, "supported", "inconclusive"]
    assert [row["Primary"] for row in rows] == ["no", "no", "no", "yes", "no"]
    assert rows[3]["Reading"] == "mode ema, order a, scale channel"
    assert rows[3]["95 % CI (points)"] == "+1.00 to +3.00"
    assert rows[4]["Mean difference (points)"] == "\N{EN DASH}"
