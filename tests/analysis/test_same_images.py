"""Masks compared image by image: bits that are made here, intervals and tests against those of one setting alone."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from analysis import comparisons, same_images
from analysis.evidence import frames
from analysis.overview_tables import crossed_sentence, crossed_table, mcnemar_sentence, mcnemar_table, side_by_side
from analysis.same_images import RESAMPLES, paired_masks
from analysis.stats.images import crossed_intervals, unpack
from tests.rows_alone import evidence_of

SPACE = {"granularities": ("channel",), "allocations": ("uniform",), "recalibrations": ("none",), "repairs": False}
KEYS = [*frames.SETTING, *frames.METHOD]


def with_bits(data, seed=0):
    """Give every mask correctness bits, and rows the accuracy that they say."""
    rng = np.random.default_rng(seed)
    bits = {mask: np.packbits(rng.random(400) < rng.uniform(0.5, 0.9)).tobytes() for mask in data.rows["mask"].dropna()}
    correct = data.rows["mask"].map(bits)
    accuracy = [np.nan if own is None or own != own else unpack([own], 400).mean() for own in correct]
    known = correct.notna()
    rows = data.rows.assign(
        correct=correct.where(known, data.rows["correct"]),
        accuracy=np.where(known, accuracy, data.rows["accuracy"]),
    )
    return dataclasses.replace(data, rows=rows)


def crossed(rows, **options):
    return same_images.crossed(paired_masks(evidence_of(rows).unrepaired), **options)


def one_checkpoint(rows):
    return same_images.one_checkpoint(paired_masks(evidence_of(rows).unrepaired))


def escapes(rows):
    return comparisons.escapes(evidence_of(rows))


@pytest.fixture(scope="module")
def rows(study):
    return with_bits(study(**SPACE, seeds=4)).rows


def test_an_interval_is_the_one_of_its_setting_alone(rows):
    found = crossed(rows)
    own = found[found["model"].eq("vit") & found["scorer"].eq("taylor") & found["sparsity"].eq(0.8)].iloc[0]
    cells = rows[rows["model"].eq("vit") & rows["sparsity"].eq(0.8)].sort_values("checkpoint")
    first, second = (
        unpack(list(cells.loc[cells["scorer"].eq(name), "correct"]), 400) for name in ("taylor", "magnitude")
    )
    (expected,) = crossed_intervals([first], [second], resamples=RESAMPLES)
    assert (own["n"], own["images"]) == (4, 400)
    assert (own["mean"], own["low"], own["high"]) == (expected.mean, expected.low, expected.high)


def test_means_are_the_differences_of_the_accuracies(rows):
    joined = crossed(rows).merge(escapes(rows), on=KEYS)
    assert len(joined) == 2 * 2 * 5
    assert joined["mean"].to_numpy() == pytest.approx(joined["difference"].to_numpy())


def test_settings_with_magnitudes_masks_are_left_out(rows):
    assert set(crossed(rows)["scorer"]) == {"random", "gradient", "taylor", "wanda", "l2"}


def test_parts_of_any_size_give_the_same(rows):
    assert crossed(rows, chunk=1).equals(crossed(rows))


def test_the_order_of_rows_and_the_second_draw_do_not_matter(study, rows):
    two = with_bits(study(**SPACE, models=("cnn",), seeds=4, draws=2))
    first = two.rows[two.rows["calibration_draw"].eq(0)]
    assert crossed(two.rows)[["low", "high"]].equals(crossed(first)[["low", "high"]])
    shuffled = crossed(rows.sample(frac=1, random_state=1)).merge(crossed(rows), on=KEYS)
    assert shuffled["low_x"].equals(shuffled["low_y"])
    assert shuffled["high_x"].equals(shuffled["high_y"])


def test_one_model_has_no_interval_and_several_no_mcnemar(study, rows):
    single = with_bits(study(**SPACE, seeds=1)).rows
    assert crossed(single).empty
    assert one_checkpoint(rows).empty
    assert len(one_checkpoint(single)) == 2 * 2 * 5


def test_mcnemar_counts_the_images_of_one_checkpoint(study):
    single = with_bits(study(**SPACE, seeds=1)).rows
    found = one_checkpoint(single)
    own = found[found["model"].eq("cnn") & found["scorer"].eq("wanda") & found["sparsity"].eq(0.5)].iloc[0]
    cells = single[single["model"].eq("cnn") & single["sparsity"].eq(0.5)].set_index("scorer")["correct"]
    first, second = (unpack([cells[name]], 400)[0] for name in ("wanda", "magnitude"))
    apart = (int((first & ~second).sum()), int((~first & second).sum()))
    assert (own["only_first"], own["only_second"]) == apart
    assert own["p"] == pytest.approx(stats.binomtest(apart[0], sum(apart), 0.5).pvalue)
    order = np.sort(found["p"].to_numpy())
    holm = np.minimum(1, np.maximum.accumulate(order * np.arange(len(order), 0, -1)))
    assert np.sort(found["p_holm"].to_numpy()) == pytest.approx(holm)


def test_tables_and_sentences_say_which_interval_leaves_zero_out(rows):
    joined = side_by_side(crossed(rows), escapes(rows))
    counts = crossed_table(joined)["Excludes zero"].value_counts()
    sentence = crossed_sentence(joined)
    assert f"both intervals leave zero out in {counts.get('both', 0)}" in sentence
    assert f"only the t interval in {counts.get('t only', 0)}" in sentence
    for row in joined.to_dict("records"):
        assert row["t_excludes"] == (row["low"] > 0 or row["high"] < 0)
        assert row["crossed_excludes"] == (row["crossed_low"] > 0 or row["crossed_high"] < 0)


def test_mcnemar_is_said_to_be_of_this_checkpoint_only(study):
    found = one_checkpoint(with_bits(study(**SPACE, seeds=1)).rows)
    assert set(mcnemar_table(found)["Remark"]) == {"this checkpoint only"}
    clear = found[found["p_holm"].le(0.05)]
    above = int(clear["difference"].gt(0).sum())
    assert f"{above} are above magnitude, {len(clear) - above} below" in mcnemar_sentence(found)


def test_rows_without_bits_are_no_comparison(study):
    data = study(**SPACE, seeds=2)
    rows = data.rows.assign(correct=None)
    assert crossed(rows).empty
    assert one_checkpoint(rows).empty
