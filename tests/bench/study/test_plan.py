"""From a study to its cells."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.identity import digest
from bench.core.types import DataFacts
from bench.measure.seeds import cell_seeds
from bench.plugins.catalogue import make_registry
from bench.store import schema
from bench.store.registration import derived_seed
from bench.study.load import load_study
from bench.study.plan import axis_values, cells_asked_for, make_plan

FACTS = DataFacts("hash", (8, 8), 1, 10, 997, 150, 400, 128, 32, 250)
STUDY = """\
name: s
data: [digits]
models: [digits_cnn, {name: digits_vit, checkpoint: x.safetensors}]
train_seeds: 2
granularities: [weight, channel]
scorers: [magnitude, l2]
sparsities: [0.5, 0.9]
corrections: [none, asr]
recalibrations: [none, cumulative]
exclude:
  - {name: no asr for l2, where: {scorer: l2, correction: asr}}
  - {name: weight only for seeds over 0, where: {train_seed: {not: 0}, model: digits_cnn, granularity: channel}}
"""


def plan_of(tmp_path, text=STUDY, precision="float32", source=None):
    (tmp_path / "study.yaml").write_text(text)
    registry = make_registry(tmp_path)
    study = replace(load_study(tmp_path, registry), seed_source=source)
    return make_plan(study, registry, precision, {"digits": FACTS}, lambda m, seed, _: [m.name, seed])


def test_the_grid_is_counted_by_hand(tmp_path):
    plan = plan_of(tmp_path)
    assert [(g.model, g.train_seed, len(g.cells)) for g in plan.groups] == [
        # 2 dense rows; per granularity: magnitude 2 x 2 x 2, l2 2 x 1 x 2
        ("digits_cnn", 0, 2 + 2 * (8 + 4)),
        ("digits_cnn", 1, 2 + 8 + 4),
        ("digits_vit", None, 2 + 2 * (8 + 4)),
    ]
    # l2 with asr: 2 granularities x 2 sparsities x 2 recalibrations in each of 3 groups, the first exclusion counts
    assert plan.excluded == {"no asr for l2": 3 * 8, "weight only for seeds over 0": 8 + 4}
    assert [cell.position for cell in plan.cells()] == list(range(66))


def test_every_group_has_one_dense_row_per_recalibration(tmp_path):
    for group in plan_of(tmp_path).groups:
        dense = [cell for cell in group.cells if cell.is_dense]
        assert [(c.recalibration.name, c.sparsity, c.allocation) for c in dense] == [
            ("none", 0.0, None), ("cumulative", 0.0, None),
        ]  # fmt: skip


def test_a_scorer_outside_its_granularity_is_skipped_with_a_reason(tmp_path):
    skipped = [cell for cell in plan_of(tmp_path).cells() if cell.skip]
    assert {(c.scorer.name, c.granularity) for c in skipped} == {("l2", "weight")}
    assert skipped[0].skip == "scorer l2 is defined for granularity channel only"


def test_ids_are_unique_stable_and_depend_on_precision(tmp_path):
    ids = [cell.id for cell in plan_of(tmp_path).cells()]
    assert len(set(ids)) == len(ids)
    assert [cell.id for cell in plan_of(tmp_path).cells()] == ids
    assert not set(ids) & {cell.id for cell in plan_of(tmp_path, precision="bfloat16").cells()}


def test_more_sparsities_keep_the_ids_of_the_others(tmp_path):
    before = {cell.id for cell in plan_of(tmp_path).cells()}
    after = {cell.id for cell in plan_of(tmp_path, STUDY.replace("[0.5, 0.9]", "[0.5, 0.7, 0.9]")).cells()}
    assert before < after


def test_a_changed_option_changes_the_id(tmp_path):
    before = {cell.id for cell in plan_of(tmp_path).cells() if cell.correction.name == "asr"}
    text = STUDY.replace("[none, asr]", "[none, {name: asr, lam: 0.5}]")
    after = [cell for cell in plan_of(tmp_path, text).cells() if cell.correction.name == "asr"]
    assert {cell.correction.label for cell in after} == {"asr(lam=0.5)"}
    assert not before & {cell.id for cell in after}


def test_axis_values_are_the_columns_of_the_schema(tmp_path):
    cell = next(plan_of(tmp_path).cells())
    assert set(axis_values(cell)) == {c.name for c in schema.AXES} - {"position"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{scorer: magntude}", "no scorer 'magntude': did you mean 'magnitude'"),
        ("{scorer: {nott: l2}}", "only 'not' is known"),
        ("{scorer: {1: l2, not: l2}}", "only 'not' is known"),
        ("{scorer: [{not: l2}]}", "expected a name, a number"),
        ("{sparsity: {not: [[0.5]]}}", "expected a name, a number"),
        ("{dataset: digits}", "every cell is excluded"),
    ],
)
def test_an_exclusion_that_cannot_be_meant_is_refused(tmp_path, where, message):
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, STUDY + f"  - {{name: odd, where: {where}}}\n")


def test_the_same_computation_under_two_names_is_refused(tmp_path):
    text = STUDY.replace("[digits_cnn,", "[{name: digits_cnn, label: a}, {name: digits_cnn, label: b},")
    text = text.replace("model: digits_cnn", "model: a")
    with pytest.raises(UserError, match=r"digits / a / dense .* and digits / b / dense .* are the same computation"):
        plan_of(tmp_path, text)
    with pytest.raises(UserError, match="same computation"):
        plan_of(tmp_path, STUDY + "calibration: {images: [64, 64]}\n")


FEATURES = """\
name: s
data: [digits]
models: [digits_cnn]
train_seeds: 1
scorers: [magnitude, v1, synflow]
searches: [equal, dbo]
allocations: [uniform, emp, 2:4]
sparsities: [0.5, 0.9]
"""


def test_features_are_searched_and_other_scorers_are_not(tmp_path):
    cells = [cell for cell in plan_of(tmp_path, FEATURES).cells() if not cell.is_dense]
    pairs = {(c.scorer.name, c.search.name) for c in cells}
    assert pairs == {("magnitude", "none"), ("v1", "equal"), ("v1", "dbo"), ("synflow", "none")}


def test_an_allocation_that_sets_the_sparsity_has_one_cell_without_one(tmp_path):
    cells = [c for c in plan_of(tmp_path, FEATURES).cells() if c.scorer.name == "magnitude"]
    assert [(c.allocation.name, c.sparsity) for c in cells] == [
        ("uniform", 0.5), ("uniform", 0.9), ("emp", None), ("2:4", None),
    ]  # fmt: skip


def test_a_scorer_that_needs_the_sparsity_is_skipped_where_the_allocation_sets_it(tmp_path):
    cells = [c for c in plan_of(tmp_path, FEATURES).cells() if c.scorer.name == "synflow"]
    assert [c.skip for c in cells if c.allocation.name == "uniform"] == [None, None]
    assert [c.skip for c in cells if c.allocation.name == "emp"] == [
        "scorer synflow needs a target sparsity, which allocation emp sets by itself"
    ]


def test_features_without_a_search_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"'v1' fuses several features and needs a search .*`searches: \[equal\]`"):
        plan_of(tmp_path, FEATURES.replace("searches: [equal, dbo]\n", ""))


def test_only_compares_numbers_as_numbers(tmp_path):
    plan = plan_of(tmp_path)
    half = {cell.id for cell in plan.cells() if cell.sparsity == 0.5}
    for written in ("0.5", "0.50", ".5", "5e-1"):
        assert cells_asked_for(plan, {"sparsity": written}) == half
    mine = cells_asked_for(plan, {"sparsity": "0.5", "scorer": "l2", "train_seed": "1"})
    assert {(c.scorer.label, c.train_seed) for c in plan.cells() if c.id in mine} == {("l2", 1)}


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ({"sparsity": "0.55"}, "--only sparsity=0.55: no cell of the plan has that: the nearest is 0.5"),
        ({"sparsity": "nan"}, "no cell of the plan has that: the nearest is"),
        ({"sparsity": "half"}, "--only sparsity=half: no cell of the plan has that: valid: 0.0, 0.5, 0.9"),
        ({"scorer": "magnitud"}, "no cell of the plan has that: did you mean 'magnitude'"),
        ({"cell": "abc"}, "--only cell=abc: no cell of the plan has that"),
        (
            {"scorer": "l2", "correction": "asr"},
            "--only scorer=l2 correction=asr: no cell of the plan has all of these",
        ),
    ],
)
def test_only_names_what_no_cell_has(tmp_path, only, said):
    with pytest.raises(UserError) as error:
        cells_asked_for(plan_of(tmp_path), only)
    assert said in str(error.value)


def test_a_study_of_too_many_cells_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.study.plan.MOST_CELLS", 65)  # it has 66
    with pytest.raises(UserError, match="has more than 65 cells; divide it"):
        plan_of(tmp_path)


def test_the_ids_of_the_committed_digits_study_never_change():
    """Stored rows are found by them: a change makes every finished study new, as store schema 2 did.

    A raised version of a method changes those of its own cells: of 46,840, version 2 of `taylor`, `emp` and `repair`
    changed 4,360.
    """
    folder = Path(__file__).parents[3] / "reports" / "digits"
    registry = make_registry(folder)
    plan = make_plan(load_study(folder, registry), registry, "float32", {"digits": FACTS}, lambda m, *_: {"m": m.name})
    ids = "".join(cell.id for cell in plan.cells())
    assert (
        hashlib.sha256(ids.encode()).hexdigest() == "86ff931c4c8e63109b02b5beb2bedfdeb587c75ce7c177f31107f2ca2401c3ee"
    )
    cell = next(cell for cell in plan.cells() if cell.correction.name == "asr")
    values = {
        name: getattr(cell, name).identity()
        for name in ("scorer", "search", "allocation", "correction", "recalibration")
    }
    assert cell.id == digest({
        "schema": schema.SCHEMA_VERSION, "group": cell.group, "calibration": asdict(cell.calibration),
        "granularity": cell.granularity, "sparsity": cell.sparsity, "precision": cell.precision, **values,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STUDY + "calibration: {draws: 1000000}\n", "span 34,000,000 points for one dense model, 20,000,000 at most"),
        (
            STUDY + "calibration: {images: [32, 500]}\n",
            "asks for 500 images of the 250 of the calibration split of digits",
        ),
    ],
)
def test_what_cannot_be_laid_out_or_drawn_is_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        plan_of(tmp_path, text)


def test_a_registered_study_has_the_same_cells_with_seeds_of_its_registration(tmp_path):
    text = STUDY + "calibration: {draws: 2}\n"
    before, after = plan_of(tmp_path, text), plan_of(tmp_path, text, source="registration")
    columns = ("dataset", "model", "scorer", "granularity", "sparsity", "correction", "recalibration")
    known = [[{name: axis_values(cell)[name] for name in columns} for cell in one.cells()] for one in (before, after)]
    assert known[0] == known[1]  # the exclusion by train seed matches the seeds that study.yaml names
    seeds = [derived_seed("registration", "train", number) for number in range(2)]
    draws = {derived_seed("registration", "calibration", number) for number in range(2)}
    assert [group.train_seed for group in after.groups] == [*seeds, None]
    assert {cell.calibration.draw for cell in after.cells()} == draws
    assert not {cell.id for cell in before.cells()} & {cell.id for cell in after.cells()}


def test_another_registration_changes_every_random_stream(tmp_path):
    text = STUDY.replace("[magnitude, l2]", "[magnitude, random, a5_shuffled, v1]").replace("l2,", "random,")
    text = text.replace("corrections:", "searches: [random_search]\ncorrections:")
    registry = make_registry(tmp_path)
    streams = [
        [
            cell_seeds(cell, None if cell.is_dense else registry.get("scorer", cell.scorer.name))
            for cell in plan_of(tmp_path, text, source=source).cells()
        ]
        for source in (None, "one", "two")
    ]
    for one, other in itertools.combinations(streams, 2):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.keys() == theirs.keys()
            assert all(mine[name] != theirs[name] for name in mine)
    assert {"calibration", "scorer", "search"} == set().union(*(seeds.keys() for seeds in streams[0]))


def test_exclusions_name_the_draws_of_study_yaml(tmp_path):
    text = STUDY + "  - {name: one draw, where: {calibration_draw: 1}}\ncalibration: {draws: 2}\n"
    found = {cell.calibration.draw for cell in plan_of(tmp_path, text, source="registration").cells()}
    assert found == {derived_seed("registration", "calibration", 0)}
