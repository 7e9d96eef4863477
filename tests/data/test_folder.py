"""Image folders."""

import numpy as np
import pytest

from bench.data.folder import FolderSource
from bench.errors import UserError


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
