"""Reading of study.yaml: values are resolved, and a mistake is reported with its place."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.plugins.catalogue import make_registry
from bench.study.load import load_study, place_of_model

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


def test_defaults_are_resolved(tmp_path):
    study = load(tmp_path, GOOD)
    assert study.file.train_seeds == tuple(range(10))
    assert [c.label for c in study.values["correction"]] == ["none"]
    assert study.resolved()["execution"]["precision"] == "float32"
    assert "profiles" not in study.resolved()


def test_options_are_resolved_and_labelled(tmp_path):
    study = load(tmp_path, GOOD + "recalibrations: [ema, {name: ema, batches: 4}]\n")
    assert [c.label for c in study.values["recalibration"]] == ["ema", "ema(batches=4)"]
    assert study.values["recalibration"][0].options == {"momentum": 0.1, "batches": 8}


def test_yaml_is_1_2(tmp_path):
    study = load(tmp_path, GOOD.replace("name: s", "name: no"))
    assert study.file.name == "no"


def test_a_profile_replaces_keys(tmp_path):
    text = GOOD + "profiles:\n  quick: {train_seeds: 3}\n"
    assert load(tmp_path, text, "quick").file.train_seeds == (0, 1, 2)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        load(tmp_path, text, "quik")


def test_a_mistake_in_a_profile_is_found_there(tmp_path):
    text = GOOD + "profiles:\n  quick:\n    sparsities: [2.0]\n"
    with pytest.raises(UserError, match="line 8, column 18"):
        load(tmp_path, text, "quick")
    for wrong in ("profiles: [quick]\n", "profiles:\n  quick:\n"):
        with pytest.raises(UserError, match="every profile needs keys and values"):
            load(tmp_path, GOOD + wrong, "quick")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GOOD.replace("[0.5]", "[1.0]"), ["line 5, column 14", "less than 1", "1.0"]),
        (GOOD.replace("[0.5]", "[-0.1]"), ["line 5", "greater than or equal to 0"]),
        (GOOD.replace("[0.5]", "[0.5, 0.5]"), ["line 5, column 19", "duplicate cells", "0.5"]),
        (GOOD.replace("[magnitude]", "[magnitude, magntude]"), ["line 4, column 22", "did you mean 'magnitude'"]),
        (GOOD.replace("[magnitude]", "[{nam: magnitude}]"), ["line 4", "needs a 'name'"]),
        (GOOD.replace("scorers", "scorrers"), ["line 4, column 1", "unknown key 'scorrers'", "'scorers'"]),
        (GOOD.replace("name: s\n", ""), ["the key 'name' is missing"]),
        (
            GOOD.replace("[digits_cnn]", "[{name: digits_cnn, normalisation: imagenet}]"),
            ["line 3, column 29", "write `dataset`, for the data set's own values, or {mean: [...], std: [...]}"],
        ),
        (
            GOOD.replace("[digits_cnn]", "[{name: digits_cnn, normalisation: {mean: [125.3], std: [63]}}]"),
            ["line 3", "125.3 is no mean of inputs scaled to [0, 1]", "divided by 255: write 0.4914"],
        ),
        (
            GOOD.replace("[digits_cnn]", "[{name: digits_cnn, normalisation: {mean: [0.5], sd: [1]}}]"),
            ["line 3", "unknown key 'sd': did you mean 'std'?"],
        ),
        (
            GOOD.replace("[digits_cnn]", "[{name: digits_cnn, normalisation: {mean: [0.5], std: [0]}}]"),
            ["line 3", "models.0.normalisation.std.0: Input should be greater than 0 (got 0)"],
        ),
        (GOOD + "execution: {threads: 0}\n", ["line 6", "threads"]),
        (GOOD + "name: t\n", ["line 6", "duplicate key"]),
        (GOOD + "recalibrations: [{name: ema, batchs: 3}]\n", ["line 6", "no option 'batchs'", "'batches'"]),
        (GOOD + "recalibrations: [{name: ema, batches: few}]\n", ["line 6", "batches", "integer"]),
        (GOOD + "exclude: [{name: x, where: {scorrer: random}}]\n", ["line 6", "no axis 'scorrer'", "'scorer'"]),
        (GOOD + "a: [1\n", ["not valid YAML", "line "]),
        ("- 1\n", ["expected keys and values"]),
        (GOOD.replace("[digits_cnn]", "[{name: digits_cnn, recipee: {}}]"), ["line 3", "'recipee'", "'recipe'"]),
    ],
)  # fmt: skip
def test_a_mistake_gets_file_place_and_remedy(tmp_path, text, parts):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "study.yaml" in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        load_study(tmp_path / "absent", make_registry())


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_study(tmp_path, make_registry())


def test_the_place_of_a_model_is_that_of_the_profile_that_was_applied(tmp_path):
    study = load(tmp_path, GOOD)
    assert place_of_model(study, 0) == f"{tmp_path / 'study.yaml'}: line 3, column 10"
    study = load(tmp_path, GOOD + "profiles: {quick: {models: [digits_vit]}}\n", "quick")
    assert place_of_model(study, 0).endswith("line 6, column 29")
