"""Claims decided from their parts: roles, family, looks, and what every record carries."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest
from scipy import stats

from analysis.claims.decide import decide_claims
from analysis.claims.records import ClaimResult
from analysis.errors import AnalysisError
from analysis.evidence.load import data_hash
from analysis.stats.intervals import t_interval
from analysis.stats.looks import nominal_levels

from .conftest import CONTRAST, grid, records

CLEAR, NONE, WORSE = [1.0, 1.2, 0.9, 1.1], [0.5, -0.6, 0.2, -0.3], [-1.0, -1.2, -0.9, -1.1]
LOST = ["failed"] * 4
LOW, HIGH = CONTRAST | {"sparsities": [0.5]}, CONTRAST | {"sparsities": [0.8]}
SPREAD = np.array([-1.0, 1.0] * 5)


def two(paired, low, high):
    return paired(grid(["cnn"], [0.5, 0.8], [low, high]))


@pytest.mark.parametrize(("primary", "others"), [(CLEAR, WORSE), (NONE, CLEAR), (WORSE, CLEAR)])
def test_parts_of_other_roles_never_change_the_verdict(paired, judge, primary, others):
    data = paired(grid(["cnn"], [0.5, 0.8, 0.9], [primary, others, LOST]))
    more = [
        HIGH | {"role": "supporting"},
        HIGH | {"role": "scan", "kind": "noninferiority"},
        HIGH | {"role": "scan", "of": ["absent"]},
    ]
    more.append(CONTRAST | {"sparsities": [0.9], "role": "supporting"})
    alone, result = judge(data, LOW), judge(data, LOW, *more)
    for name in ("verdict", "basis", "models", "notes", "scope"):
        assert getattr(result, name) == getattr(alone, name)
    assert result.parts[0] == alone.parts[0]
    assert {part.verdict for part in result.parts[1:3]} == {"contradicted" if others is WORSE else "supported"}
    assert {part.verdict for part in result.parts[3:]} == {"not testable"}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (CLEAR, CLEAR, "supported"), (CLEAR, NONE, "inconclusive"), (CLEAR, WORSE, "contradicted"),
        (CLEAR, LOST, "not testable"), (WORSE, LOST, "contradicted"), (NONE, LOST, "not testable"),
    ],
)  # fmt: skip
def test_a_claim_requires_all_of_its_primary_parts(paired, judge, low, high, verdict):
    assert judge(two(paired, low, high), LOW, HIGH).verdict == verdict


def test_what_the_study_cannot_test_is_named_and_a_contradiction_stands(paired, judge):
    data = two(paired, CLEAR, CLEAR)
    absent = HIGH | {"of": ["wanda"]}
    result = judge(data, LOW, absent)
    assert (result.verdict, result.notes[0]) == ("not testable", "part part 1: the study has no cell with scorer wanda")
    assert judge(two(paired, WORSE, CLEAR), LOW, absent).verdict == "contradicted"


def test_contradictions_are_adjusted_by_holm_over_the_primary_parts(paired, judge):
    weak = [-0.1, -1.4, -0.4, -0.5, -0.7, -0.6, 0.1]
    strong = [-1.0, -1.2, -0.9, -1.1, -1.0, -1.3, -0.8]
    p, q = (stats.ttest_1samp(values, 0, alternative="less").pvalue for values in (weak, strong))
    assert 2 * q < p
    result = judge(two(paired, weak, strong), LOW, HIGH)
    assert [part.p_contradiction_adjusted for part in result.parts] == pytest.approx([p, 2 * q])
    assert [part.records[0].p_contradiction_adjusted for part in result.parts] == pytest.approx([p, 2 * q])
    assert {part.records[0].primary_parts for part in result.parts} == {2}
    single = judge(two(paired, weak, strong), LOW, HIGH | {"role": "supporting"})
    assert single.parts[0].p_contradiction_adjusted == pytest.approx(p)


def test_support_needs_no_correction_over_parts_and_settings(paired, judge):
    weak = [0.1, 1.4, 0.4, 0.5, 0.7, 0.6, -0.1]
    (p,) = (stats.ttest_1samp(weak, 0, alternative="greater").pvalue,)
    assert 0.0125 / 2 < p < 0.025
    assert judge(two(paired, weak, weak), LOW, HIGH).verdict == "supported"
    assert judge(two(paired, weak, weak), CONTRAST).verdict == "supported"


def test_a_verdict_of_an_identity_is_by_construction(paired, judge):
    identity = {"estimand": "mask_identity", "scorers": ["taylor"]}
    equal = paired({("cnn", 0.5): CLEAR}, same_masks=[("cnn", 0.5)])
    assert [getattr(judge(equal, identity), name) for name in ("verdict", "basis")] == ["supported", "by construction"]
    assert judge(paired({("cnn", 0.5): CLEAR}), identity).verdict == "contradicted"
    both = judge(paired(grid(["cnn"], [0.5, 0.8], [CLEAR, CLEAR]), same_masks=[("cnn", 0.5)]),
                 identity | {"sparsities": [0.5]}, HIGH)  # fmt: skip
    assert (both.verdict, both.basis) == ("supported", "measured")


def test_few_models_are_descriptive_only(paired, judge):
    assert judge(paired({("cnn", 0.5): CLEAR}), CONTRAST).notes == ("descriptive only",)
    assert judge(paired({("cnn", 0.5): [*CLEAR, 1.0, 1.1]}), CONTRAST).notes == ()


def test_a_result_has_the_models_of_its_smallest_record(paired, judge):
    assert judge(paired({("cnn", 0.5): CLEAR, ("vit", 0.5): [*CLEAR, 1.0, 1.3]}), CONTRAST).models == 4


def test_records_carry_the_whole_path(paired, judge, written):
    data = paired({("cnn", 0.5): [0.2, 1.2, 0.5, 0.4, 0.9, 0.6]})
    part = CONTRAST | {"margin": 0.1, "margin_reason": "small", "planned_effect": 1.0}
    (record,) = records(judge(data, part))
    assert record.data_hash == data_hash(data)
    assert record.versions["python"] == platform.python_version()
    assert (record.claim, record.part, record.role, record.over) == ("M1", "part 0", "primary", "every")
    assert (record.n, record.test, record.df, record.alpha) == (6, "paired t", 5, 0.025)
    assert (record.margin, record.margin_reason, record.planned_effect) == (0.1, "small", 1.0)
    assert record.power is None  # without a spread, an effect in points has no power
    assert record.reported_p == (record.p, record.p_adjusted)
    assert set(record.two_sided) == {"paired t", "sign-flip", "Wilcoxon"}


# ---- Looks ----

LOOKS = [10, 20]


def at_level(p, n, sign=1):
    """Differences of n models with this one-sided p-value."""
    spread = np.resize(SPREAD, n)
    return (sign * stats.t.isf(p, n - 1) * spread.std(ddof=1) / n**0.5 + spread).tolist()


def test_the_first_look_decides_at_its_level_and_stands(paired, judge):
    first = nominal_levels(LOOKS)[0]
    decided, open_ = at_level(0.9 * first, 10), at_level(1.1 * first, 10)
    worse = [-20.0 + value for value in SPREAD]
    result = judge(paired({("cnn", 0.5): decided + worse}), CONTRAST, looks=LOOKS)
    assert (result.verdict, result.models) == ("supported", 10)
    assert "decided at the first look, with 10 models at a one-sided level of 0.0015" in result.notes
    assert judge(paired({("cnn", 0.5): open_}), CONTRAST, looks=LOOKS).verdict == "inconclusive"
    assert judge(paired({("cnn", 0.5): open_}), CONTRAST).verdict == "supported"
    against = at_level(0.9 * first, 10, -1)
    assert judge(paired({("cnn", 0.5): against}), CONTRAST, looks=LOOKS).verdict == "contradicted"


@pytest.mark.parametrize("models", [11, 19])
def test_between_the_looks_nothing_is_decided(paired, judge, models):
    better = (20 + np.resize(SPREAD, models - 10)).tolist()
    result = judge(paired({("cnn", 0.5): SPREAD.tolist() + better}), CONTRAST, looks=LOOKS)
    assert (result.verdict, result.models) == ("inconclusive", 10)
    assert "not decided at the first look, with 10 models; the last look has 20" in result.notes


def test_before_the_first_look_nothing_is_decided_but_identities(paired, judge):
    data = paired({("cnn", 0.5): [5.0, 5.1, 4.9, 5.2, 5.0, 4.8, 5.1, 4.9]}, same_masks=[("cnn", 0.5)])
    identity = {"estimand": "mask_identity", "scorers": ["taylor"]}
    clear = paired({("cnn", 0.5): [5.0, 5.1, 4.9, 5.2, 5.0, 4.8, 5.1, 4.9]})
    result = judge(clear, CONTRAST, looks=LOOKS)
    assert (result.verdict, result.parts[0].verdict, records(result)[0].verdict) == ("inconclusive",) * 3
    assert "8 of the 10 models of the first look are complete: nothing is decided yet" in result.notes
    assert judge(data, identity, looks=LOOKS).verdict == "supported"


@pytest.mark.parametrize(("factor", "verdict"), [(0.99, "supported"), (1.01, "inconclusive")])
def test_the_last_look_has_the_rest_of_the_level(paired, judge, factor, verdict):
    values = at_level(factor * nominal_levels(LOOKS)[1], 20)
    result = judge(paired({("cnn", 0.5): values}, n_test=100_000), CONTRAST, looks=LOOKS)
    assert (result.verdict, result.models) == (verdict, 20)
    assert "last look, with 20 models at a one-sided level of 0.0245" in result.notes


def test_models_after_the_last_look_do_not_count(paired, judge):
    values = [*at_level(0.5, 20), *[30.0 + value for value in SPREAD]]
    assert judge(paired({("cnn", 0.5): values}), CONTRAST, looks=LOOKS).models == 20


def test_a_question_that_the_first_look_decided_stands_at_the_last(paired, judge):
    early = at_level(0.0005, 10) + [-20.0 + value for value in SPREAD]  # over all 20 models clearly negative
    late = at_level(0.01, 20)
    data = two(paired, early, late)
    result = judge(data, CONTRAST, looks=LOOKS)
    assert result.verdict == "supported"
    first, last = records(result)
    assert [(one.n, one.verdict) for one in (first, last)] == [(10, "supported"), (20, "supported")]
    assert [one.alpha for one in (first, last)] == pytest.approx(list(nominal_levels(LOOKS)))
    assert first.p == pytest.approx(0.0005)
    assert judge(data, CONTRAST).verdict == "contradicted"


def test_a_model_counts_for_a_look_when_all_its_cells_have_run(paired, judge):
    values = at_level(0.01, 20)
    waiting = [*values[:14], "to do", *values[15:]]
    result = judge(paired({("cnn", 0.5): waiting}), CONTRAST, looks=LOOKS)
    assert result.models == 10
    assert any("the last look has 20" in note for note in result.notes)
    failed = judge(paired({("cnn", 0.5): [*values[:14], "failed", *values[15:]]}), CONTRAST, looks=LOOKS)
    assert failed.models == 19


@pytest.mark.parametrize("models", [10, 20])
def test_repeated_intervals(paired, judge, models):
    values = np.random.default_rng(3).normal(0.2, 1, models).tolist()
    (record,) = records(judge(paired({("cnn", 0.5): values}), CONTRAST, looks=LOOKS))
    level = nominal_levels(LOOKS)[LOOKS.index(models)]
    wanted = t_interval(values, 1 - 2 * level)
    assert (record.low_repeated, record.high_repeated) == pytest.approx((wanted.low, wanted.high))
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (record.low, record.high) == pytest.approx((plain.low, plain.high))
    (without,) = records(judge(paired({("cnn", 0.5): values}), CONTRAST))
    assert (without.low_repeated, without.high_repeated) == (None, None)


# ---- The whole ----


def test_order_of_rows_and_names_of_models_do_not_matter(paired, judge):
    values = np.random.default_rng(5).normal(0.3, 1, (4, 7)).tolist()
    data = paired(grid(["cnn", "vit"], [0.5, 0.8], values))
    order = np.random.default_rng(1).permutation(len(data.rows))
    rows = data.rows.iloc[order].assign(checkpoint=lambda r: "x" + r["checkpoint"].str[::-1])
    mixed = data.with_rows(rows)
    parts = [CONTRAST | {"test": "t and bootstrap-t"}, CONTRAST | {"over": "mean"}]
    for part in parts:
        plain, other = judge(data, part), judge(mixed, part)
        assert other.verdict == plain.verdict
        first, second = (
            {repr(sorted(r.setting.items())): (r.p, r.p_contradiction, r.effect, r.low) for r in records(result)}
            for result in (plain, other)
        )
        assert first.keys() == second.keys()
        for place, numbers in first.items():
            assert [x for x in second[place] if x is not None] == pytest.approx([x for x in numbers if x is not None])


def test_draws_are_averaged_never_counted(study, judge):
    where = {"granularity": "weight", "allocation": "uniform", "correction": "none", "recalibration": "none"}
    assert {r.n for r in records(judge(study(draws=3), CONTRAST | {"where": where}))} == {10}


def test_results_survive_json(paired, judge):
    readings = {"margin": [0, 0.5], "sparsity level": {"a": {}, "b": {"taylor": "taylor"}}}
    result = judge(two(paired, CLEAR, LOST), CONTRAST | {"readings": readings})
    text = json.dumps(result.model_dump(mode="json"), allow_nan=False)
    assert ClaimResult.model_validate_json(text) == result


def test_a_missing_file_is_an_error(paired, tmp_path):
    with pytest.raises(AnalysisError, match="there is no such file"):
        decide_claims(paired({("cnn", 0.5): CLEAR}), tmp_path / "claims.yaml")


def test_an_unrun_study_decides_nothing(paired, judge):
    data = paired({("cnn", 0.5): ["to do"] * 4})
    rows = data.rows.assign(state=None, accuracy=np.nan, checkpoint=None, mask=None)
    result = judge(data.with_rows(rows.astype(data.rows.dtypes.to_dict())), CONTRAST)
    assert result.verdict == "not testable"
