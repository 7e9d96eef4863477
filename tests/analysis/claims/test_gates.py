"""Gates: the limit by hand, settings judged on the study's own models and in a pilot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.claims.gates import gated_settings, informative_settings, rows_in

from .conftest import CONTRAST, grid, records

GATED = {key: value for key, value in CONTRAST.items() if key != "gate"}
CLEAR = [1.0, 1.2, 0.9, 1.1]
#: Ten classes of which the largest has 30 % of the test images.
UNEQUAL = {"num_classes": 10, "chance": 0.3}


def at_chance(paired, sparsities=(0.5, 0.8), values=(CLEAR, CLEAR), level=10.0, **more):
    return paired(grid(["cnn"], sparsities, values), level=level, **more)


def test_the_limit_by_hand(paired, part):
    # magnitude: 60, 60.1, 60.2, 60.3 %; dense 90 %; a largest class of 30 %
    (found,) = gated_settings(part(**GATED), paired({("cnn", 0.5): CLEAR}, facts=UNEQUAL))
    kept = np.array([60.0, 60.1, 60.2, 60.3]) - 30 - 0.1 * (90 - 30)
    half = stats.t.ppf(0.975, 3) * kept.std(ddof=1) / 2
    assert found.low == pytest.approx(kept.mean() - half)
    assert (found.gate, found.models) == ("informative", 4)
    assert "scorer" not in found.setting


@pytest.mark.parametrize(
    ("chance", "gate"), [(0.1, "informative"), (0.17, "not informative"), (0.2, "not informative")]
)
def test_the_share_of_the_largest_class_matters(paired, part, chance, gate):
    # 20 - 100 c - 0.1 (90 - 100 c) is 2 points at c = 0.1 and below 0 from c = 0.123 on
    data = paired({("cnn", 0.5): CLEAR}, level=20.0, facts={"num_classes": 10, "chance": chance})
    assert [one.gate for one in gated_settings(part(**GATED), data)] == [gate]


def test_the_dense_models_matter(paired, part, changed):
    data = paired({("cnn", 0.5): CLEAR}, level=18.5)
    assert [one.gate for one in gated_settings(part(**GATED), data)] == ["informative"]
    better = changed(data, data.rows["scorer"].ne("none"), dense_accuracy=0.99)  # requires 18.9 %
    assert [one.gate for one in gated_settings(part(**GATED), better)] == ["not informative"]


def test_without_a_pilot_an_uninformative_setting_stays_in_the_family_undecided(paired, judge):
    good, low = paired({("cnn", 0.5): CLEAR}), at_chance(paired, (0.8,), (CLEAR,))
    both = paired({("cnn", 0.5): CLEAR, ("cnn", 0.8): CLEAR}).rows
    both.loc[both["sparsity"].eq(0.8), "accuracy"] = low.rows.loc[low.rows["sparsity"].eq(0.8), "accuracy"].to_numpy()
    data = good.with_rows(both)
    result = judge(data, GATED)
    assert result.verdict == "inconclusive"
    informative, near = records(result)
    assert (informative.gate, informative.verdict, informative.questions) == ("informative", "supported", 2)
    assert (near.gate, near.verdict) == ("not informative", "inconclusive")
    assert "near chance" in near.reason
    assert near.p == pytest.approx(stats.ttest_1samp(CLEAR, 0, alternative="greater").pvalue)
    assert result.parts[0].reason == "1 of 2 settings are not informative"
    for over in ("some", "mean"):
        assert judge(data, GATED | {"over": over}).verdict == "supported"


def test_an_uninformative_setting_contradicts_nothing(paired, judge):
    worse = [-value for value in CLEAR]
    assert judge(at_chance(paired, values=(worse, worse)), GATED).verdict == "inconclusive"
    assert judge(at_chance(paired, values=(worse, worse)), CONTRAST).verdict == "contradicted"


def test_two_scorers_that_guess_are_not_equivalent(paired, judge):
    equivalence = GATED | {"kind": "equivalence", "margin": 2.0}
    values = ([0.1, -0.2, 0.05, 0.3, -0.1],)
    assert judge(at_chance(paired, (0.5,), values), equivalence).verdict == "inconclusive"
    assert judge(at_chance(paired, (0.5,), values, level=60.0), equivalence).verdict == "supported"


def test_a_pilot_leaves_settings_out(paired, part, judge):
    pilot = paired({("cnn", 0.5): CLEAR, ("cnn", 0.8): CLEAR})
    low = pilot.rows["sparsity"].eq(0.8) & pilot.rows["scorer"].eq("magnitude")
    pilot = pilot.with_rows(pilot.rows.assign(accuracy=pilot.rows["accuracy"].mask(low, 0.1)))
    (kept,) = informative_settings(part(**GATED), [pilot])
    assert (kept["model"], kept["sparsity"]) == ("cnn", 0.5)
    # the study itself is near chance at 50 % and would pass at 80 %: the pilot decides nevertheless
    worse = [-value for value in CLEAR]
    study = paired(grid(["cnn"], [0.5, 0.8], [CLEAR, worse]))
    result = judge(study, GATED, informative={("M1", "part 0"): [kept]})
    (record,) = records(result)
    assert (result.verdict, record.setting["sparsity"], record.questions, record.gate) == (
        "supported",
        0.5,
        1,
        "informative",
    )
    assert judge(study, GATED).verdict == "contradicted"


def test_a_pilot_without_an_informative_setting_leaves_nothing_to_test(paired, judge):
    result = judge(paired({("cnn", 0.5): CLEAR}), GATED, informative={("M1", "part 0"): []})
    assert result.verdict == "not testable"
    assert "no setting of this part is informative in the pilot" in result.notes[0]


def test_the_first_pilot_that_has_a_setting_decides(paired, part):
    low, high = at_chance(paired, (0.5,), (CLEAR,)), paired(grid(["cnn"], [0.5, 0.8], [CLEAR, CLEAR]))
    assert [one["sparsity"] for one in informative_settings(part(**GATED), [low, high])] == [0.8]
    assert [one["sparsity"] for one in informative_settings(part(**GATED), [high, low])] == [0.5, 0.8]


def test_repairs_are_judged_on_the_positive_control(paired, judge):
    # the unrepaired network has collapsed; reconstruct works at 50 %
    where = {"scorer": "magnitude"}
    repairs = [{"scorer": "magnitude", "correction": name} for name in ("layerwise", "reconstruct")]
    data = paired({("cnn", 0.5): CLEAR}, level=10.0, more=repairs)
    rows = data.rows
    level = {"none": 0.1, "layerwise": 0.102, "reconstruct": 0.5}
    noise = 0.001 * rows["train_seed"].astype(float) ** 2
    own = rows["scorer"].eq("magnitude")
    accuracy = rows["correction"].map(level) + noise * rows["correction"].eq("layerwise")
    data = data.with_rows(rows.assign(accuracy=rows["accuracy"].mask(own, accuracy)))
    part = {"estimand": "contrast", "kind": "superiority", "axis": "correction", "of": ["layerwise"],
            "against": "none", "where": where}  # fmt: skip
    (by_reference,) = records(judge(data, part))
    (by_control,) = records(judge(data, part | {"gate": {"correction": "reconstruct"}}))
    assert (by_reference.gate, by_control.gate) == ("not informative", "informative")


@pytest.mark.parametrize("facts", [{}, {"num_classes": None}])
def test_a_gate_that_cannot_be_judged_is_named_and_does_not_decide(paired, judge, facts):
    result = judge(paired({("cnn", 0.5): CLEAR}, facts=facts), GATED)
    assert (result.verdict, records(result)[0].gate) == ("supported", "not judged")
    assert "the gate could not be judged in every setting" in result.notes


def test_a_study_without_the_arm_of_a_gate_cannot_judge_it(paired, judge):
    result = judge(paired({("cnn", 0.5): CLEAR}), GATED | {"gate": {"correction": "reconstruct"}})
    assert records(result)[0].gate == "not judged"
    assert "the gate could not be judged in every setting" in result.notes


def test_no_gate_where_there_is_none(paired, part):
    data = paired({("cnn", 0.5): CLEAR})
    assert gated_settings(part(**CONTRAST), data) == []
    assert gated_settings(part(**GATED | {"value": "overfit"}), data) == []
    assert part(estimand="mask_identity", scorers=["taylor"], gate={"scorer": "magnitude"}).gate_arm is None


def test_rows_of_settings_keep_the_dense_models(paired):
    data = paired(grid(["cnn", "vit"], [0.5, 0.8], [CLEAR] * 4))
    rows = rows_in(data, [{"model": "cnn", "sparsity": 0.5}, {"model": "vit"}]).rows
    assert len(rows[rows["scorer"].eq("dense")]) == 8
    kept = rows[rows["scorer"].ne("dense")].groupby("model")["sparsity"].unique()
    assert {name: sorted(found) for name, found in kept.items()} == {"cnn": [0.5], "vit": [0.5, 0.8]}
