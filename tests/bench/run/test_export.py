"""Tests of `bench.run.export`: exported networks are usable without prunebench, and equal to their rows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench.data.load import load_dataset
from bench.models.checkpoints import save_checkpoint
from bench.run.export import split_hash
from bench.run.open_study import open_study
from bench.store.reader import read_database
from bench.study.load import load_study
from bench.study.spec import DataSpec, Normalisation

KEYS = {
    "mean", "std", "dataset", "dataset_hash", "split_hash", "classes", "cell", "axes", "sparsity", "accuracy", "n_test",
    "precision", "memory_format", "versions", "accuracy_float32", "architecture", "example",
}  # fmt: skip
#: Follows the example in a file as a user would, in a process that must not know prunebench.
FOLLOW = """\
import json, sys
import numpy as np, torch
from safetensors import safe_open
torch.set_num_threads(1)
with safe_open("model.safetensors", "pt") as file:
    example = json.loads(file.metadata()["example"])
known = {name: torch.from_numpy(np.load(f"{name}.npy")) for name in ("images", "labels")}
exec(example, known)
assert not {name.split(".")[0] for name in sys.modules} & {"bench", "analysis"}
print(len(example.splitlines()), repr(known["accuracy"]))
"""


def about(path):
    with safe_open(path, "pt") as file:
        return {key: json.loads(text) for key, text in file.metadata().items() if key != "prunebench"}


def follow(path, test):
    """Accuracy that the example in a file gives, and its number of lines."""
    for name in ("images", "labels"):
        np.save(path.parent / f"{name}.npy", getattr(test, name).numpy())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FOLLOW], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines, accuracy = done.stdout.split()
    return float(accuracy), int(lines)


@pytest.fixture(scope="module")
def exported(finished_tiny, tmp_path_factory, run_command):
    """A file of a pruned and repaired cell, the row, and the data."""
    rows = read_database(finished_tiny).rows
    row = rows[rows["correction"].eq("asr") & rows["recalibration"].eq("cumulative") & rows["sparsity"].eq(0.8)].iloc[0]
    path = tmp_path_factory.mktemp("exported") / "model.safetensors"
    done = run_command("prune", finished_tiny, row["cell"], "-o", path)
    assert done.returncode == 0, done.stdout
    return path, row, load_dataset(DataSpec(name="digits"), finished_tiny)


def test_metadata(exported):
    path, row, digits = exported
    found = about(path)
    assert set(found) == KEYS
    assert Normalisation(mean=found["mean"], std=found["std"]) == digits.normalisation
    assert (found["dataset"], found["dataset_hash"]) == ("digits", digits.hash)
    assert found["split_hash"] == split_hash(digits.test)
    assert found["classes"] == [str(n) for n in range(10)]
    assert (found["cell"], found["accuracy"], found["n_test"]) == (row["cell"], row["accuracy"], 400)
    assert found["axes"]["scorer"] == row["scorer"]
    assert found["architecture"]["name"] == "digits_cnn"
    weights = [t for n, t in load_file(path).items() if "running" not in n and "num_batches" not in n]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert found["sparsity"] == {
        "requested": 0.8, "achieved": row["sparsity_achieved"], "parameters": pytest.approx(zeros),
        "speedup": row["speedup"],
    }  # fmt: skip


def test_the_example_gives_the_accuracy_of_the_row(exported):
    path, row, digits = exported
    accuracy, lines = follow(path, digits.test)
    assert accuracy == row["accuracy"] == about(path)["accuracy_float32"]
    assert lines <= 12  # with the comment on its inputs


def test_a_file_is_verified(exported, finished_tiny, command):
    path, row, _ = exported
    result = command("prune", finished_tiny, "--verify", path)
    assert result.code == 0, result.err
    assert result.out.count(f"{100 * row['accuracy']:.2f} %") == 3  # the file's, the row's, in float32
    assert command("prune", finished_tiny, row["cell"], "--verify", path).code == 0


def unchanged(_state, _texts):
    pass


def resaved(path, target, change=unchanged):
    """Write a file again with another program, its state and metadata changed."""
    state = load_file(path)
    with safe_open(path, "pt") as file:
        texts = dict(file.metadata())
    texts["prunebench"] = "{}"  # without the seal
    change(state, texts)
    save_file(state, target, texts)
    return target


def test_a_file_that_another_program_wrote_again_is_verified_too(exported, finished_tiny, tmp_path, command):
    assert command("prune", finished_tiny, "--verify", resaved(exported[0], tmp_path / "x")).code == 0


def other_weights(state, texts):
    state["linear.weight"] = state["linear.weight"].roll(1, dims=0).contiguous()


def other_mean(state, texts):
    texts["mean"] = "[0.9]"


@pytest.mark.parametrize("change", [other_weights, other_mean])
def test_a_changed_file_is_exit_code_2_and_one_line(exported, finished_tiny, tmp_path, command, change):
    path, row, _ = exported
    result = command("prune", finished_tiny, "--verify", resaved(path, tmp_path / "x", change))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert f"the row has {100 * row['accuracy']:.2f} %; " in result.err
    assert "of 400 test images differ: the file does not hold its network" in result.err


def no_cell(state, texts):
    del texts["cell"]


def other_cell(state, texts):
    texts["cell"] = json.dumps("0" * 64)


def channels(state, texts):
    texts |= {"mean": "[0.5, 0.5, 0.5]", "std": "[1, 1, 1]"}


def not_json(state, texts):
    texts["mean"] = "0.5]"


def not_a_number(state, texts):
    state["linear.weight"][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_cell, "`prunebench prune` did not write this file"),
        (other_cell, "its cell is not in the plan of"),
        (channels, "its mean and std are not of the 1 channels of digits"),
        (not_json, "cannot be read"),
        (not_a_number, "1 tensor holds NaN or infinite values"),
    ],
)
def test_files_that_cannot_be_verified(exported, finished_tiny, tmp_path, command, change, message):
    result = command("prune", finished_tiny, "--verify", resaved(exported[0], tmp_path / "x", change))
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert message in result.err


def test_a_skipped_cell_has_no_network(finished_tiny, tmp_path, command):
    rows = read_database(finished_tiny).rows
    skipped = rows[rows["state"].eq("skipped")].iloc[0]
    result = command("prune", finished_tiny, skipped["cell"], "-o", tmp_path / "x.safetensors")
    assert result.code == 2
    assert f"is skipped: {skipped['reason']}; choose another cell" in result.err


def test_altered_and_foreign_files_and_wrong_arguments(exported, finished_tiny, tmp_path, command):
    path, row, _ = exported
    altered = bytearray(path.read_bytes())
    altered[-3] ^= 1
    (tmp_path / "altered").write_bytes(altered)
    save_checkpoint(load_file(path), tmp_path / "dense", {"mean": [0.5], "std": [0.5]})
    for arguments, message in (
        (["--verify", tmp_path / "altered"], "it was altered after it was written"),
        (["--verify", tmp_path / "dense"], "did not write this file"),
        (["--verify", tmp_path / "absent"], "there is no such file"),
        (["0", "--verify", path], f"holds cell {row['cell'][:12]}, not "),
        (["0"], "give CELL and -o FILE to write a file, or --verify FILE"),
        (["-o", tmp_path / "x.safetensors"], "give CELL and -o FILE"),
        (["0", "-o", tmp_path / "x.safetensors", "--verify", path], "give CELL and -o FILE"),
        (["0", "-o", tmp_path / "x.pt"], "name a .safetensors file"),
    ):
        result = command("prune", finished_tiny, *arguments)
        assert result.code == 2, arguments
        assert result.err.count("\n") == 1
        assert message in result.err


def test_an_exported_file_is_a_checkpoint_of_another_study(exported, tmp_path, command):
    path, row, _ = exported
    (tmp_path / "study.yaml").write_text(
        f"name: again\ndata: [digits]\nmodels: [{{name: digits_cnn, checkpoint: {path}}}]\n"
        "scorers: [magnitude]\nsparsities: [0.9]\n"
    )
    assert command("run", tmp_path).code == 0
    rows = read_database(tmp_path).rows
    assert rows.loc[rows["scorer"].eq("dense"), "accuracy"].tolist() == [row["accuracy"]]


# ---------------------------------------------------------------- other networks, precisions, data


@pytest.fixture
def colour_study(tmp_path):
    """A study of 32 x 32 colour images, and of networks that are built in each way."""
    generator = np.random.default_rng(0)
    for part, images in (("train", 60), ("test", 40)):
        for label, kind in enumerate("ab"):
            folder = tmp_path / "images" / part / kind
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = generator.integers(0, 200, (32, 32, 3)) + np.array([40 * label, 0, 10])
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\ndef small(num_classes: int, in_chans: int, *, width: int = 8) -> nn.Module:\n"
        "    return nn.Sequential(nn.Conv2d(in_chans, width, 3), nn.BatchNorm2d(width), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))\n"
    )
    (tmp_path / "packaged_net.py").write_text((tmp_path / "mine.py").read_text())

    def write(models, execution):
        (tmp_path / "study.yaml").write_text(
            "name: s\ndata: [{name: 'folder:images', calibration: 20, search: 20}]\n"
            f"models: [{models}]\ntrain_seeds: 1\nscorers: [magnitude]\nsparsities: [0.5]\n"
            f"recalibrations: [none, cumulative]\ncalibration: {{images: 16, batch: 8}}\nexecution: {{{execution}}}\n"
        )
        return tmp_path

    return write


RECIPE = "recipe: {epochs: 1, batch: 16}"
FLOAT32 = "precision: float32, memory_format: contiguous, batch: 16, threads: 1"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (f"{{name: test_resnet, {RECIPE}}}", "timm"),
        (f"{{name: test_vit, {RECIPE}, args: {{img_size: 32}}}}", "timm"),
        (f"{{name: cifar_resnet20, {RECIPE}}}", "source"),
        (f"{{name: './mine.py:small', args: {{width: 12}}, {RECIPE}}}", "source"),
        (f"{{name: 'packaged_net:small', {RECIPE}}}", "module"),
    ],
)
def test_every_way_of_building_a_network_can_be_followed(colour_study, command, model, kind):
    folder = colour_study(model, FLOAT32)
    result = command("run", folder)
    assert result.code == 0, result.err
    rows = read_database(folder).rows
    row = rows[rows["scorer"].ne("dense") & rows["state"].eq("done")].iloc[-1]
    path = folder / "model.safetensors"
    result = command("prune", folder, row["cell"], "-o", path)
    assert result.code == 0, result.err
    assert about(path)["architecture"]["kind"] == kind
    test = load_dataset(load_study(folder, open_study(folder).registry).file.data[0], folder).test
    assert follow(path, test)[0] == row["accuracy"]


def test_a_row_in_another_precision_is_verified_in_it_and_shown_in_float32(colour_study, command):
    folder = colour_study(
        f"{{name: test_resnet, {RECIPE}}}", "precision: bfloat16, memory_format: channels_last, batch: 16, threads: 1"
    )
    assert command("run", folder).code == 0
    row = read_database(folder).rows.iloc[-1]
    path = folder / "model.safetensors"
    assert command("prune", folder, row["cell"], "-o", path).code == 0
    found = about(path)
    assert (found["precision"], found["memory_format"]) == ("bfloat16", "channels_last")
    assert found["accuracy"] == row["accuracy"]
    test = load_dataset(load_study(folder, open_study(folder).registry).file.data[0], folder).test
    assert follow(path, test)[0] == found["accuracy_float32"]
    result = command("prune", folder, "--verify", path)
    assert result.code == 0
    shown = f"{100 * row['accuracy']:.2f} %"
    assert f"bfloat16, channels_last: accuracy {shown}, the row has {shown}; " in result.out
    assert f"gives {100 * found['accuracy_float32']:.2f} %" in result.out
