"""What the claims can find before any run, against the power functions of statsmodels and simple counts."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from analysis.claims.prospects import prospects
from analysis.claims.read import read_claims
from analysis.narrate import power_lines

CLAIMS = """\
include: [sics, asr]
claims:
  - id: M1
    text: m
    source: ours
    parts:
      - {id: one, text: t, estimand: contrast, kind: superiority, of: [taylor], against: magnitude, planned_effect: 1.0,
         sparsities: [0.8], where: {model: cnn, granularity: weight, allocation: uniform, recalibration: none}}
  - id: M2
    text: m
    source: ours
    parts:
      - {id: best, text: t, estimand: any_of, of: [taylor, wanda], against: magnitude,
         where: {model: cnn, granularity: weight, allocation: uniform, recalibration: none}}
      - {id: flip, text: t, estimand: contrast, kind: superiority, of: [taylor], against: magnitude, test: sign-flip,
         where: {granularity: weight, allocation: uniform, correction: none, recalibration: none}}
"""


@pytest.fixture
def claims(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    read = read_claims(path)
    few = ("P1", "P2", "P3", "P4", "C1", "M1", "M2")
    return dataclasses.replace(read, claims=tuple(claim for claim in read.claims if claim.id in few))


def unrun(data):
    rows = data.rows.copy()
    for column in ("state", "mask", "checkpoint", "accuracy", "evaluation", "n_test", "device_class"):
        rows[column] = np.nan if column == "accuracy" else pd.Series(None, rows.index, rows[column].dtype)
    return rows


def by_name(found):
    return {(one.claim, one.part): one for one in found}


def test_one_question_has_the_power_of_its_t_test(study, claims):
    one = by_name(prospects(unrun(study()), claims, sd=0.01))["M1", "one"]
    assert (one.questions, one.family, one.alpha) == (1, 1, 0.025)
    for n, least in one.least.items():
        power = TTestPower().power(least / 0.01, n, 0.025, alternative="larger")
        assert power == pytest.approx(0.8, abs=1e-3)
    assert one.needed == 10  # statsmodels: 9.94 pairs for d = 1 at 2.5 % one-sided


def test_a_family_shares_its_alpha(study, claims):
    found = by_name(prospects(unrun(study()), claims, sd=0.01))
    assert found["P2", "l2"].questions == 4  # two models at two sparsities
    assert found["P2", "l2"].alpha == 0.05  # an intersection-union test
    assert found["M2", "flip"].questions == 4
    assert found["M2", "flip"].family == 5
    assert found["M2", "flip"].alpha == pytest.approx(0.005)


def test_a_p_that_cannot_be_small_enough_is_said(study, claims):
    flip = by_name(prospects(unrun(study()), claims, sd=0.01, models=(3, 5, 10)))["M2", "flip"]
    assert flip.least[3] is None  # 2^-3 and 2^-5 exceed 0.005
    assert flip.least[5] is None
    assert flip.least[10] > 0
    lines = power_lines([flip])
    assert "n = 5: no p small enough" in lines[1]


def test_without_a_spread_effects_are_in_sd(study, claims):
    one = by_name(prospects(unrun(study()), claims))["M1", "one"]
    assert one.sd is None
    assert one.least[10] == pytest.approx(0.9962, abs=0.01)
    assert "n = 10: 1.00 sd" in power_lines([one])[1]


def test_a_pilot_gives_the_spread(study, claims):
    data = study()
    rows = data.rows
    wanted = rows[rows["granularity"].eq("weight") & rows["allocation"].eq("uniform") & rows["sparsity"].eq(0.8)
                  & rows["recalibration"].eq("none") & rows["model"].eq("cnn")]  # fmt: skip
    both = wanted.pivot_table(index="checkpoint", columns="scorer", values="accuracy")
    one = by_name(prospects(unrun(data), claims, pilot=rows))["M1", "one"]
    assert one.sd == pytest.approx((both["taylor"] - both["magnitude"]).std())
    stated = by_name(prospects(unrun(data), claims, pilot=rows, sd=0.5))["M1", "one"]
    assert stated.sd == 0.5


def test_what_the_study_lacks_is_named(study, claims):
    found = by_name(prospects(unrun(study()), claims))
    assert found["P3", "middle-1"].reason == "the study has no cell with scorer v1 or v1b_var or v1d_range"
    assert power_lines([found["P3", "middle-1"]]) == [
        "P3 middle-1: not testable: the study has no cell with scorer v1 or v1b_var or v1d_range"
    ]


def test_identities_and_scans_need_no_power(study, claims):
    names = set(by_name(prospects(unrun(study()), claims)))
    assert not names & {("P1", "uniform"), ("P4", "bump"), ("C1", "cumulative")}
