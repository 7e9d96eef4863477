"""Tables of verdicts show every field that the decision rests on, in percentage points."""

from analysis.claims.records import ClaimResult, PartResult, Reading, Record, Robustness
from analysis.formats import NONE
from analysis.verdict_tables import contrast_table, identity_table, part_table, verdict_table

MINUS = "\N{MINUS SIGN}"
CONTRAST = Record(
    claim="P4", part="smooth", kind="superiority", estimand="v1 minus magnitude", n=10, test="paired t",
    setting={"dataset": "digits", "model": "cnn", "sparsity": 0.7}, effect=-2.5, low=-4.0, high=-1.0, margin=0.5,
    p=0.999, p_adjusted=1.0, p_contradiction=0.0002, p_contradiction_adjusted=0.0008, questions=4,
    verdict="contradicted", planned_effect=2.0, power=0.84, gate="informative", paper_value=6.6, size="smaller",
    skewness=1.4, disagree=True,
    two_sided={"paired t": 0.0004, "sign-flip": 0.002, "Wilcoxon": 0.06}, counts={"failed": 2}, reason="skewed",
)  # fmt: skip
IDENTITY = Record(
    claim="P4", part="same", role="supporting", kind="identity", estimand="masks", n=10, comparisons=60, mismatches=0,
    setting={"dataset": "digits", "model": "cnn"}, tolerance=0.05, effect=0.0, verdict="supported",
)  # fmt: skip
ROBUST = Robustness(
    planned=4, readings=(Reading(levels={"mode": "ema"}, primary=True, verdict="supported"),), robust=True
)


def result(**changes):
    parts = (
        PartResult(id="smooth", text="", kind="superiority", role="primary", over="every", verdict="contradicted",
                   p=1.0, p_contradiction=0.0008, p_contradiction_adjusted=0.0016, records=(CONTRAST,),
                   robustness=ROBUST),
        PartResult(id="same", text="", kind="identity", role="supporting", over="every", verdict="supported",
                   p=0.0, records=(IDENTITY,)),
    )  # fmt: skip
    given = {"id": "P4", "text": "It escapes.", "source": "me", "verdict": "contradicted", "parts": parts, "models": 10}
    return ClaimResult(**(given | {"scope": "transfer: digits", "robustness": "robust"} | changes))


def test_a_claim_has_one_row_with_what_its_verdict_rests_on():
    (row,) = verdict_table([result(notes=("one", "two"))], "self-attested").to_dict("records")
    assert row == {
        "Claim": "P4", "Statement": "It escapes.", "Verdict": "contradicted", "Scope": "transfer: digits",
        "Basis": "measured", "Models": "10", "Differences above 0": "0 of 1", "Robustness": "robust",
        "Registration": "self-attested", "Caveats": "one; two",
    }  # fmt: skip
    (left,) = verdict_table([result(verdict="not testable", scope="")], "x").to_dict("records")
    assert (left["Basis"], left["Models"]) == (NONE, NONE)


def test_a_column_without_an_entry_is_left_out():
    bare = result(scope="", robustness="", parts=())
    assert list(verdict_table([bare], "x")) == [
        "Claim", "Statement", "Verdict", "Basis", "Models", "Registration",
    ]  # fmt: skip
    assert "Scope" in verdict_table([bare, result()], "x")


def test_a_part_has_role_quantifier_and_combined_p_values():
    measured, identity = part_table([result()]).to_dict("records")
    assert (measured["Role"], measured["Quantifier"], measured["Settings"]) == ("primary part", "every setting", "1")
    assert (measured["p, support"], measured["p, contradiction"]) == ("1.00", "< 0.001")
    assert measured["p, contradiction, adjusted"] == "0.0016"
    assert measured["Readings"].startswith("Readings: 4 planned, 1 in this study")
    assert (identity["Role"], identity["p, support"], identity["Readings"]) == ("supporting part", NONE, NONE)
    assert {measured["Source"], identity["Source"]} == {"me"}


def test_a_repeated_interval_is_marked():
    found = next(part for part in result().parts if part.kind != "identity")
    (one, *_) = found.records
    changed = one.model_copy(update={"low_repeated": -5.0, "high_repeated": 0.0})
    repeated = result().model_copy(update={"parts": (found.model_copy(update={"records": (changed,)}),)})
    (row,) = contrast_table([repeated]).to_dict("records")
    assert row["95 % CI (points)"] == f"{MINUS}5.00 to 0.00 (repeated)"


def test_a_record_shows_points_interval_direction_and_flags():
    (row,) = contrast_table([result()]).to_dict("records")
    shown = {
        "Mean difference (points)": f"{MINUS}2.50", "95 % CI (points)": f"{MINUS}4.00 to {MINUS}1.00",
        "Margin (points)": "0.50", "p": "< 0.001", "p, adjusted": "< 0.001", "Direction of p": "contradiction",
        "Questions": "4", "Planned effect": "a difference of 2.00 points", "Power (%)": "84", "Gate": "informative",
        "Paper's value (position to the CI)": "+6.60 (above)", "Skewness": "1.40 (over 1)",
        "Two-sided p: t, sign-flip, Wilcoxon": "< 0.001, 0.0020, 0.0600 (disagree)", "Cells not used": "2 failed",
        "Reason": "skewed", "Where": "cnn on digits, sparsity 70 %",
    }  # fmt: skip
    assert {name: row[name] for name in shown} == shown


def test_a_mean_names_its_settings_and_few_models_are_descriptive():
    averaged = CONTRAST.model_copy(update={"settings": 14, "descriptive": True, "reason": ""})
    parts = (result().parts[0].model_copy(update={"records": (averaged,)}),)
    (row,) = contrast_table([result(parts=parts)]).to_dict("records")
    assert row["Where"].startswith("mean over 14 settings, cnn on digits")
    assert row["Reason"] == "descriptive only"


def test_an_identity_shows_its_cells():
    (row,) = identity_table([result()]).to_dict("records")
    assert (row["Role"], row["Cells compared"], row["Mismatches"]) == ("supporting", "60", "0")
    assert (row["Tolerance (points)"], row["Largest difference (points)"]) == ("0.05", "0.00")
