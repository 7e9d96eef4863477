"""The schema of study.yaml and what a study computes from it: hash, calibration draws, paths."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.plugins.catalogue import make_registry
from bench.study.load import load_study
from bench.study.spec import Calibration, Recipe, expand_path, expand_place

GOOD = """\
name: s
data: [digits]
models: [digits_cnn]
scorers: [magnitude]
sparsities: [0.5]
"""


def load(tmp_path, text, profile=None):
    (tmp_path / "study.yaml").write_text(text)
    return load_study(tmp_path, make_registry(tmp_path), profile)


def test_the_same_study_written_otherwise_has_the_same_hash(tmp_path):
    first = load(tmp_path, GOOD).digest()
    reordered = "sparsities: 0.5\nscorers: magnitude\nmodels:\n  - name: digits_cnn\ndata: digits\nname: s\n"
    assert load(tmp_path, reordered).digest() == first
    assert load(tmp_path, GOOD.replace("0.5", "0.6")).digest() != first


def test_a_study_without_a_precision_keeps_the_hash_that_it_had_when_the_default_was_auto(tmp_path):
    first = load(tmp_path, GOOD).digest()
    assert load(tmp_path, GOOD + "execution: {precision: auto}\n").digest() == first
    assert load(tmp_path, GOOD + "execution: {precision: bfloat16}\n").digest() != first
    batch = load(tmp_path, GOOD + "execution: {batch: 7}\n").digest()
    assert load(tmp_path, GOOD + "execution: {batch: 7, precision: auto}\n").digest() == batch != first


def test_an_expected_accuracy_is_kept_in_points_and_changes_no_hash(tmp_path):
    first = load(tmp_path, GOOD)
    study = load(tmp_path, GOOD.replace("[digits_cnn]", "[{name: digits_cnn, expected_accuracy: 92.6}]"))
    assert study.resolved()["models"][0]["expected_accuracy"] == 92.6
    assert "expected_accuracy" not in first.resolved()["models"][0]
    assert study.digest() == first.digest()


def test_every_recipe_key_is_described():
    assert all(field.description for field in Recipe.model_fields.values())


def test_paths_expand_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/x")
    assert str(expand_path("${SOMEWHERE}/y", tmp_path)) == "/x/y"
    assert expand_path("y", tmp_path) == tmp_path / "y"
    monkeypatch.delenv("SOMEWHERE")
    with pytest.raises(UserError, match="SOMEWHERE is not set"):
        expand_path("${SOMEWHERE}/y", tmp_path)


def test_calibration_sizes_are_axes(tmp_path):
    study = load(tmp_path, GOOD + "calibration: {draws: 2, images: [64, 128], batch: 32}\n")
    assert study.file.calibration == Calibration(draws=2, images=(64, 128), batch=(32,))
    specs = study.calibration_specs(1024, 128)
    assert [(s.draw, s.images, s.batch) for s in specs] == [
        (0, 64, 32),
        (1, 64, 32),
        (0, 128, 32),
        (1, 128, 32),
    ]


def test_a_place_may_be_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("BUCKET", "lab")
    assert expand_place("s3://${BUCKET}/x", tmp_path) == "s3://lab/x"
    assert expand_place("x/${BUCKET}", tmp_path) == str(tmp_path / "x" / "lab")


def test_one_value_stands_for_a_list_of_one_on_every_axis(tmp_path):
    study = load(tmp_path, GOOD.replace("[0.5]", "0.5") + "granularities: channel\nallocations: global\n")
    assert study.values["sparsity"] == (0.5,)
    assert study.values["granularity"] == ("channel",)
    assert [choice.label for choice in study.values["allocation"]] == ["global"]
