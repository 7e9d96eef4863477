"""torchvision's CIFAR classes, on a tiny archive in their own format."""

import hashlib
import pickle
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from bench.core.errors import UserError
from bench.data.cifar import SUPERCLASSES, TorchvisionSource
from bench.data.load import load_dataset
from bench.study.spec import DataSpec


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Point torchvision's CIFAR10 at one train and one test batch of four images."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    batches = {
        "data_batch_1": {"data": pixels[:4], "labels": [0, 1, 1, 0]},
        "test_batch": {"data": pixels[4:], "labels": [1, 0, 1, 0]},
        "batches.meta": {"label_names": ["plane", "car"]},
    }
    md5 = {}
    for name, content in batches.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5["batches.meta"]})
    return tmp_path, pixels


def test_arrays_come_back(tiny_cifar):
    root, pixels = tiny_cifar
    raw = TorchvisionSource("cifar10", root).read()
    np.testing.assert_array_equal(raw.train.images.numpy().reshape(4, -1), pixels[:4])
    np.testing.assert_array_equal(raw.test.images.numpy().reshape(4, -1), pixels[4:])
    assert raw.test.labels.tolist() == [1, 0, 1, 0]
    assert raw.classes == ("plane", "car")


def test_hash_needs_no_download_and_differs(tmp_path):
    hashes = {TorchvisionSource(name, tmp_path).content_hash() for name in ("cifar10", "cifar100")}
    assert len(hashes) == 2
    assert not list(tmp_path.iterdir())


def test_no_network(tmp_path, monkeypatch):
    def unreachable(self):
        raise URLError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", unreachable)
    with pytest.raises(UserError, match=r"cannot be downloaded.*no route to host.*'path'"):
        TorchvisionSource("cifar100", tmp_path).read()


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_facts_are_the_published_ones(name, classes, tmp_path):
    facts = TorchvisionSource(name, tmp_path).facts()
    assert (facts.image_size, facts.in_chans, facts.num_classes) == ((32, 32), 3, classes)
    assert (facts.train, facts.test) == (50_000, 10_000)


#: Superclass of each class of CIFAR-100 by number, as used in many published experiments.
COARSE = [
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10,
    12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16,
    12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14,
    13,
]  # fmt: skip


def test_superclasses_by_number():
    """The classes of CIFAR-100 are numbered by the alphabet, and so are the superclasses."""
    names = sorted(name for names in SUPERCLASSES.values() for name in names)
    of = {name: number for number, names in enumerate(SUPERCLASSES.values()) for name in names}
    assert [of[name] for name in names] == COARSE
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)


@pytest.fixture
def tiny_cifar100(tmp_path, monkeypatch):
    """An archive of four train and two test images with both kinds of labels, as the published one."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    names = sorted(name for names in SUPERCLASSES.values() for name in names)
    folder = tmp_path / datasets.CIFAR100.base_folder
    folder.mkdir()
    fine = [99, 0, 1, 91, 2, 50]
    batches = {
        "train": {"data": pixels[:4], "fine_labels": fine[:4], "coarse_labels": [COARSE[label] for label in fine[:4]]},
        "test": {"data": pixels[4:], "fine_labels": fine[4:], "coarse_labels": [COARSE[label] for label in fine[4:]]},
        "meta": {"fine_label_names": names, "coarse_label_names": list(SUPERCLASSES)},
    }
    for name, content in batches.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
        if name == "meta":
            monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": md5})
        else:
            monkeypatch.setattr(datasets.CIFAR100, f"{name}_list", [[name, md5]])
    return tmp_path, batches


def test_coarse_labels_are_those_of_the_archive(tiny_cifar100):
    root, batches = tiny_cifar100
    raw = TorchvisionSource("cifar100", root, "coarse_label").read()
    assert raw.train.labels.tolist() == batches["train"]["coarse_labels"]
    assert raw.test.labels.tolist() == batches["test"]["coarse_labels"]
    assert raw.classes == tuple(batches["meta"]["coarse_label_names"])
    fine = TorchvisionSource("cifar100", root).read()
    assert fine.train.labels.tolist() == batches["train"]["fine_labels"]
    assert (fine.facts.variant, raw.facts.variant) == ({}, {"labels": "coarse_label"})


def test_facts_of_the_coarse_labels(tmp_path):
    facts = TorchvisionSource("cifar100", tmp_path, "coarse_label").facts()
    assert (facts.num_classes, facts.train, facts.test) == (20, 50_000, 10_000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("cifar100", "coarse", "has no labels 'coarse': did you mean 'coarse_label'"),
        ("cifar10", "coarse_label", "has no labels 'coarse_label'"),
    ],
)
def test_labels_that_are_not_there(name, labels, message, tmp_path):
    for act in (TorchvisionSource(name, tmp_path, labels).facts, TorchvisionSource(name, tmp_path, labels).read):
        with pytest.raises(UserError, match=message):
            act()


@pytest.fixture
def whole_cifar100(tmp_path, monkeypatch):
    """Three train images and one test image of each class, in torchvision's files below the home folder."""
    pixels = np.random.default_rng(1).integers(0, 256, (400, 3072), dtype=np.uint8)
    fine = np.arange(400) % 100
    folder = tmp_path / ".cache" / "prunebench" / datasets.CIFAR100.base_folder
    folder.mkdir(parents=True)
    names = sorted(name for names in SUPERCLASSES.values() for name in names)
    contents = {"meta": {"fine_label_names": names, "coarse_label_names": list(SUPERCLASSES)}}
    for name, part in (("train", slice(300)), ("test", slice(300, 400))):
        coarse = [COARSE[label] for label in fine[part]]
        contents[name] = {"data": pixels[part], "fine_labels": fine[part].tolist(), "coarse_labels": coarse}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
        if name == "meta":
            monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": md5})
        else:
            monkeypatch.setattr(datasets.CIFAR100, f"{name}_list", [[name, md5]])
    monkeypatch.setenv("HOME", str(tmp_path))
    return pixels.reshape(400, 3, 32, 32), fine, names


@pytest.mark.parametrize("labels", ["fine_label", "coarse_label"])
def test_both_routes_to_cifar100_give_the_same_images_and_classes(
    whole_cifar100, tmp_path, encode, write_parquet, labels
):
    pixels, fine, names = whole_cifar100
    contents, copy = [encode(image.transpose(1, 2, 0)) for image in pixels], tmp_path / "copy"
    copy.mkdir()
    coarse = np.array(COARSE)[fine]
    chosen, classes = (fine, names) if labels == "fine_label" else (coarse, list(SUPERCLASSES))
    other = {"coarse_label": coarse} if labels == "fine_label" else {"fine_label": fine}
    for name, part in (("train", slice(300)), ("test", slice(300, 400))):
        more = {key: values[part] for key, values in other.items()}
        write_parquet(copy / f"{name}-0.parquet", contents[part], chosen[part], classes, labels, more)
    spec = DataSpec(name="cifar100", labels=labels, calibration=50, search=50)
    download, local = (load_dataset(spec.model_copy(update={"path": path}), tmp_path) for path in (None, str(copy)))
    assert download.classes == local.classes == tuple(classes)
    assert download.normalisation == local.normalisation
    assert download.test.labels.tolist() == local.test.labels.tolist() == chosen[300:].tolist()
    np.testing.assert_array_equal(download.test.images, pixels[300:])
    np.testing.assert_array_equal(local.test.images, pixels[300:])
    for dataset in (download, local):
        assert [len(part) for part in (dataset.fit, dataset.calibration, dataset.search)] == [200, 50, 50]
