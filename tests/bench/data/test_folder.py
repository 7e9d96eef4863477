"""Image folders."""

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.data.folder import FolderSource


def test_images_and_classes_by_name(image_folder, photos):
    raw = FolderSource(image_folder).read()
    order = [*range(1, 20, 2), *range(0, 20, 2)]  # cat before owl, by file name inside
    np.testing.assert_array_equal(raw.train.images.numpy(), photos[order].transpose(0, 3, 1, 2))
    assert raw.train.labels.tolist() == [0] * 10 + [1] * 10
    assert raw.classes == ("cat", "owl")
    assert len(raw.test) == 10


@pytest.mark.parametrize("name", ["val", "validation"])
def test_other_names_of_the_test_folder(image_folder, name):
    before = FolderSource(image_folder).content_hash()
    (image_folder / "test").rename(image_folder / name)
    assert len(FolderSource(image_folder).read().test) == 10
    assert FolderSource(image_folder).content_hash() == before


def test_hash_follows_class_and_bytes(image_folder):
    before = FolderSource(image_folder).content_hash()
    (image_folder / "train/cat/01.png").rename(image_folder / "train/owl/01.png")
    assert FolderSource(image_folder).content_hash() != before


def test_other_files_are_left_alone(image_folder):
    before = FolderSource(image_folder).content_hash()
    (image_folder / "train/cat/notes.txt").write_text("not an image")
    assert FolderSource(image_folder).content_hash() == before
    assert len(FolderSource(image_folder).read().train) == 20


def test_absent_and_empty(tmp_path):
    with pytest.raises(UserError, match="train: there is no such folder"):
        FolderSource(tmp_path / "nowhere").content_hash()
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="train: has no images"):
        FolderSource(tmp_path).content_hash()


def test_no_test_folder(image_folder):
    (image_folder / "test").rename(image_folder / "held_out")
    with pytest.raises(UserError, match="has no test images"):
        FolderSource(image_folder).read()


def test_unknown_class_in_the_test_set(image_folder):
    (image_folder / "test/cat").rename(image_folder / "test/lynx")
    with pytest.raises(UserError, match="lynx: is no class of the training images: cat, owl"):
        FolderSource(image_folder).read()


def test_unreadable_image_is_named(image_folder):
    (image_folder / "train/owl/04.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match=r"train/owl/04\.png: cannot be read as an image"):
        FolderSource(image_folder).read()


def test_hidden_files_and_folders_are_ignored(image_folder, encode, photos):
    source = FolderSource(image_folder)
    before, facts = source.content_hash(), source.facts()
    for name in (
        "train/.ipynb_checkpoints/a.png", "train/cat/.ipynb_checkpoints/a.png", "train/cat/._01.png", "train/.a.png",
        "train/__MACOSX/a.png", "test/__MACOSX/cat/a.png", "test/.hidden/a.png", "test/owl/.a.png", "train/.DS_Store",
        "train/cat/Thumbs.db", "train/cat/desktop.ini",
    ):  # fmt: skip
        (image_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (image_folder / name).write_bytes(b"no image")
    assert source.content_hash() == before
    found = source.facts()
    assert (found.classes, found.train, found.test, found.notes) == (("cat", "owl"), facts.train, facts.test, ())


def test_what_is_not_read_is_counted(image_folder, encode, photos):
    (image_folder / "train/cat/2021").mkdir()
    (image_folder / "train/cat/2021/a.png").write_bytes(encode(photos[0]))
    (image_folder / "train/cat/01.heic").write_bytes(b"a photo")
    (image_folder / "train/a.png").write_bytes(encode(photos[0]))
    facts = FolderSource(image_folder).facts()
    assert facts.train == 20
    assert len(facts.notes) == 1
    assert facts.notes[0].startswith(f"files and folders that are not read: 3, first {image_folder}/train/a.png; ")


def test_a_training_class_without_images(image_folder):
    (image_folder / "train/lynx").mkdir()
    (image_folder / "train/lynx/a.heic").write_bytes(b"a photo")
    with pytest.raises(
        UserError, match=r"train/lynx: has no images .* directly in it; every folder in train is a class"
    ):
        FolderSource(image_folder).facts()


def test_facts_are_those_of_the_decoded_images(image_folder, encode, photos):
    """The first image is grey, the others are not."""
    (image_folder / "train/cat/00.png").write_bytes(encode(photos[0, ..., 0]))
    source = FolderSource(image_folder)
    facts, raw = source.facts(), source.read()
    assert (facts.in_chans, *facts.image_size) == tuple(raw.train.images.shape[1:]) == (3, 5, 4)
    for channel in raw.train.images[0]:
        np.testing.assert_array_equal(channel.numpy(), photos[0, ..., 0])
    assert facts.train_labels.tolist() == raw.train.labels.tolist()


def test_sizes_differ(image_folder, encode, photos):
    (image_folder / "test/owl/29.png").write_bytes(encode(photos[0, :3]))
    with pytest.raises(
        UserError, match=r"test/owl/29\.png: is 4x3 pixels, the images before it 4x5; resize all images"
    ):
        FolderSource(image_folder).facts()
