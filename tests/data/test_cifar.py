"""torchvision's CIFAR classes, on a tiny archive in their own format."""

import hashlib
import pickle
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from bench.data.cifar import TorchvisionSource
from bench.errors import UserError


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
