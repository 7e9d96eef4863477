"""Data sets at the command line: `plan` and `run` agree, a bad one is one line and leaves no store."""

import io
import json
import sqlite3

import numpy as np
import pytest
from PIL import Image

from bench.store.reader import read_database

STUDY = """\
name: theirs
data: [{{name: "{name}", calibration: 12, search: 9{keys}}}]
models: [{{name: digits_cnn, recipe: {{epochs: 8, batch: 8}}}}]
train_seeds: 1
scorers: [magnitude]
sparsities: [0.5]
"""
CLASSES = ("cat", "dog", "owl")


def shade(label, number, colour=True):
    """A noisy 8x8 image whose brightness is that of its class."""
    generator = np.random.default_rng([label, number])
    image = (generator.integers(0, 40, (8, 8, 3)) + (20, 100, 190)[label]).astype(np.uint8)
    return image if colour else image[..., 0]


def png(image, orientation=None):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    Image.fromarray(image).save(stream, "png", **({"exif": exif} if orientation else {}))
    return stream.getvalue()


@pytest.fixture
def images(tmp_path):
    """Image files of three classes, 24 of each to train and 12 to test; the first is grey."""
    for part, count in (("train", 24), ("test", 12)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i:02}.png").write_bytes(png(shade(label, i, colour=label > 0 or i > 0)))
    return tmp_path / "images"


@pytest.fixture
def parquet(tmp_path, write_parquet):
    """Write the same images as Parquet, with labels, names and columns as given for each part."""

    def write(train=None, test=None, **both):
        (tmp_path / "images").mkdir()
        for part, count, own in (("train", 24, train or {}), ("test", 12, test or {})):
            of_class = [(label, i) for i in range(count) for label in range(3)]
            keys = {"names": CLASSES, "labels": [label for label, _ in of_class], **both, **own}
            contents = [png(shade(*which)) for which in of_class]
            write_parquet(tmp_path / "images" / f"{part}-0.parquet", contents, keys.pop("labels"), **keys)

    return write


@pytest.fixture
def study(tmp_path):
    def write(kind, keys=""):
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        (folder / "study.yaml").write_text(STUDY.format(name=f"{kind}:../images", keys=keys))
        return folder

    return write


def refusal(command, folder) -> str:
    """Return the one line with which plan and run refuse a study; neither leaves a store."""
    messages = set()
    for name in ("plan", "run"):
        done = command(name, folder)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done
        assert not (folder / "results.db").exists()
        messages.add(done.err)
    assert len(messages) == 1
    return messages.pop()


def rows(folder):
    return read_database(folder).rows


def dense_accuracy(folder):
    return float(rows(folder).dense_accuracy.max())


def planned(command, folder):
    return json.loads(command("plan", folder, "--json").out)


def test_a_grey_first_image_plans_and_runs(command, images, study):
    folder = study("folder")
    plan = planned(command, folder)
    assert plan["lines"]["data"] == (
        "folder:../images: 3 classes, 8x8 pixels, RGB; 51 images to fit, 12 for calibration, 9 for search, 36 to test"
    )
    note = "folder:../images: 2 of 108 images are grey; they are read as colour images with three equal channels"
    assert note in plan["warnings"]
    done = command("run", folder)
    assert done.code == 0
    assert f"note: {note}" in done.out
    assert dense_accuracy(folder) > 0.9


def test_a_limit_is_planned_and_run(command, images, study):
    folder = study("folder", ", limit: {train: 36, test: 12}")
    plan = planned(command, folder)
    assert plan["lines"]["data"].endswith("15 images to fit, 12 for calibration, 9 for search, 12 to test")
    assert plan["study"]["data"][0]["limit"] == {"train": 36, "test": 12}
    assert command("run", folder).code == 0
    with sqlite3.connect(folder / "results.db") as store:
        (provenance,) = store.execute("SELECT provenance FROM studies").fetchone()
    known = json.loads(provenance)["datasets"]["folder:../images"]
    assert (known["fit"], known["test"]) == (15, 12)
    assert set(rows(folder).n_test) == {12}


def test_names_that_differ_are_refused(command, parquet, study):
    """The labels mean other classes in the test: a right model would have an accuracy of a third."""
    parquet(test={"names": ("owl", "dog", "cat")})
    error = refusal(command, study("parquet"))
    assert "test-0.parquet: class 0 is 'owl', in " in error
    assert "train-0.parquet it is 'cat'" in error


def test_labels_from_one_are_learnt(command, parquet, study):
    parquet(train={"labels": [1, 2, 3] * 24}, test={"labels": [1, 2, 3] * 12}, names=())
    folder = study("parquet")
    assert any(
        "the classes are named by them, and class 0 is '1'" in note for note in planned(command, folder)["warnings"]
    )
    assert command("run", folder).code == 0
    assert dense_accuracy(folder) > 0.9


def test_coarse_labels_are_chosen(command, parquet, study):
    both = {"label": "fine_label", "names": ()}
    parquet(train={"more": {"coarse_label": [0, 1, 1] * 24}}, test={"more": {"coarse_label": [0, 1, 1] * 12}}, **both)
    fine, coarse = (planned(command, study("parquet", keys)) for keys in ("", ", labels: coarse_label"))
    assert fine["lines"]["data"].startswith("parquet:../images: 3 classes")
    assert coarse["lines"]["data"].startswith("parquet:../images: 2 classes")


def test_an_unlabelled_test_split_is_refused(command, parquet, study):
    parquet(test={"labels": [-1] * 36})
    error = refusal(command, study("parquet"))
    assert "test-0.parquet: row 0: has the label -1" in error
    assert "another labelled split" in error


def test_a_rotated_photo_of_another_size_is_refused(command, images, study):
    (images / "train/dog/05.png").write_bytes(png(shade(1, 5)[:6], orientation=6))
    assert "train/dog/05.png: is 6x8 pixels, the images before it 8x8" in refusal(command, study("folder"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (", limit: {train: 2}", "limit.train 2 is less than the 3 classes; write 3 to 72"),
        (", limit: {test: 100}", "limit.test 100 is more than the 36 test images; write 3 to 36"),
        (", limit: {}", "expected 'train', 'test' or both; write limit: {train: 5000, test: 1000}"),
        (", limit: 7", "expected 'train', 'test' or both; write limit: {train: 5000, test: 1000}"),
        (", limit: {trian: 20}", "unknown key 'trian': did you mean 'train'?"),
        (", limit: {train: 1}", "greater than or equal to 2"),
        (", labels: label", "'labels' belongs to cifar100 and to Parquet folders; remove it"),
        (", labels: ''", "at least 1 character"),
    ],
)
def test_keys_that_cannot_be_used(command, images, study, keys, message):
    assert message in refusal(command, study("folder", keys))
