"""Fashion-MNIST, on tiny copies in its own file format."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets import FashionMNIST

from bench.core.errors import UserError
from bench.data import fashion_mnist
from bench.data.fashion_mnist import FILES, DownloadedSource, IdxSource
from bench.data.load import data_facts, dataset_hash, load_dataset
from bench.study.spec import DataSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
LABELS = (np.arange(60) % 10).astype(np.uint8)
ARRAYS = dict(zip(FILES, (PIXELS[:40], LABELS[:40], PIXELS[40:], LABELS[40:]), strict=True))
SMALL = {"calibration": 10, "search": 10}


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write(folder: Path, *, compressed: bool) -> Path:
    folder.mkdir(parents=True)
    for name, array in ARRAYS.items():
        content = gzip.compress(idx(array)) if compressed else idx(array)
        (folder / f"{name}{'.gz' * compressed}").write_bytes(content)
    return folder


@pytest.fixture
def copy(tmp_path) -> Path:
    return write(tmp_path / "copy", compressed=False)


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A download folder that holds a tiny archive as torchvision would leave it, and its MD5 sums."""
    folder = write(tmp_path / "root" / "FashionMNIST" / "raw", compressed=True)
    sums = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in sorted(folder.iterdir())]
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    return tmp_path / "root"


def test_arrays_come_back(copy):
    raw = IdxSource(copy).read()
    np.testing.assert_array_equal(raw.train.images[:, 0], PIXELS[:40])
    np.testing.assert_array_equal(raw.test.images[:, 0], PIXELS[40:])
    assert raw.train.labels.tolist() == LABELS[:40].tolist()
    assert raw.test.labels.tolist() == LABELS[40:].tolist()
    assert (raw.facts.image_size, raw.facts.in_chans, raw.classes[9]) == ((28, 28), 1, "Ankle boot")


def test_torchvision_reads_the_same(published, copy):
    dataset = datasets.FashionMNIST(str(published), train=False, download=True)  # decompresses, all files are there
    raw = DownloadedSource(published).read()
    np.testing.assert_array_equal(raw.test.images[:, 0], dataset.data)
    assert raw.test.labels.tolist() == dataset.targets.tolist()
    assert raw.classes == tuple(dataset.classes)


def test_the_identity_of_a_copy_is_that_of_its_content(copy, tmp_path):
    spec = DataSpec(name="fashion_mnist", path=str(copy), **SMALL)
    write(tmp_path / "root" / "FashionMNIST" / "raw", compressed=True)
    same = spec.model_copy(update={"path": str(tmp_path / "root")})  # as torchvision stores it, compressed
    assert dataset_hash(spec, tmp_path) == dataset_hash(same, tmp_path)
    name = FILES[3]
    (copy / name).write_bytes(idx(np.roll(ARRAYS[name], 1)))
    assert dataset_hash(spec, tmp_path) != dataset_hash(same, tmp_path)


def test_a_study_divides_a_copy(copy, tmp_path):
    spec = DataSpec(name="fashion_mnist", path=str(copy), **SMALL)
    dataset, facts = load_dataset(spec, tmp_path), data_facts(spec, tmp_path)
    sizes = [len(part) for part in (dataset.fit, dataset.calibration, dataset.search, dataset.test)]
    assert sizes == [20, 10, 10, 20]
    assert (facts.fit, facts.search, facts.test, facts.hash) == (20, 10, 20, dataset.hash)
    assert (dataset.normalisation.mean, dataset.normalisation.std) == ((0.2860,), (0.3530,))
    assert sorted(dataset.calibration.labels.tolist()) == list(range(10))


def test_facts_and_identity_are_the_published_ones_without_a_download(tmp_path):
    source = DownloadedSource(tmp_path)
    facts = source.facts()
    assert (facts.image_size, facts.in_chans, facts.num_classes) == ((28, 28), 1, 10)
    assert (facts.train, facts.test) == (60_000, 10_000)
    assert len(source.content_hash()) == 64
    assert not list(tmp_path.iterdir())


def test_a_damaged_download_is_fetched_again(published, monkeypatch):
    damaged = published / "FashionMNIST" / "raw" / f"{FILES[1]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    fetched = []

    def unreachable(url, folder, name, md5):
        if hashlib.md5((Path(folder) / name).read_bytes()).hexdigest() != md5:
            fetched.append(url)
            raise URLError("no route to host")

    monkeypatch.setattr(fashion_mnist, "download_url", unreachable)
    with pytest.raises(UserError, match=r"cannot be downloaded to .*no route to host.*'path' to a local copy"):
        DownloadedSource(published).read()
    assert [url.rpartition("/")[2] for url in fetched] == [damaged.name]


def truncated(folder: Path) -> None:
    (folder / FILES[0]).write_bytes(idx(ARRAYS[FILES[0]])[:-1])


def absent(folder: Path) -> None:
    (folder / FILES[2]).unlink()


def not_gzip(folder: Path) -> None:
    (folder / f"{FILES[0]}.gz").write_bytes(b"not compressed")


def cut_gzip(folder: Path) -> None:
    (folder / f"{FILES[0]}.gz").write_bytes(gzip.compress(idx(ARRAYS[FILES[0]]))[:-20])


def floats(folder: Path) -> None:
    (folder / FILES[1]).write_bytes(bytes([0, 0, 13, 1]) + np.array([40], ">u4").tobytes() + bytes(160))


def too_few_labels(folder: Path) -> None:
    (folder / FILES[3]).write_bytes(idx(LABELS[:19]))


def other_size(folder: Path) -> None:
    (folder / FILES[2]).write_bytes(idx(PIXELS[40:, :27]))


def unknown_class(folder: Path) -> None:
    (folder / FILES[1]).write_bytes(idx(LABELS[:40] + 1))


def nothing(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "train-images-idx3-ubyte: is no complete idx file of bytes in 3 dimensions"),
        (absent, "has no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz"),
        (not_gzip, "train-images-idx3-ubyte.gz: cannot be read: Not a gzipped file"),
        (cut_gzip, "train-images-idx3-ubyte.gz: cannot be read: Compressed file ended"),
        (floats, "train-labels-idx1-ubyte: is no complete idx file of bytes in 1 dimensions"),
        (too_few_labels, "t10k-images-idx3-ubyte has 20 images of 28x28 pixels, t10k-labels-idx1-ubyte 19 labels"),
        (other_size, "t10k-images-idx3-ubyte has 20 images of 27x28 pixels"),
        (unknown_class, "train-labels-idx1-ubyte has the label 10; expected 0 to 9"),
        (nothing, r"expected train-images-idx3-ubyte, .* \(or with .gz\), or a Parquet folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_copy_that_cannot_be_used_is_refused_in_one_line(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as error:
        load_dataset(DataSpec(name="fashion_mnist", path=str(copy), **SMALL), tmp_path)
    assert "\n" not in str(error.value)


def test_labels_belong_to_a_parquet_folder(copy, tmp_path):
    for path in (str(copy), None):
        with pytest.raises(UserError, match="'labels' belongs to cifar100 and to Parquet folders"):
            data_facts(DataSpec(name="fashion_mnist", path=path, labels="label"), tmp_path)


def test_a_parquet_copy_is_read_and_must_be_grey(tmp_path, encode, write_parquet):
    folder = tmp_path / "parquet"
    folder.mkdir()
    for part, images, labels in (("train", PIXELS[:40], LABELS[:40]), ("test", PIXELS[40:], LABELS[40:])):
        write_parquet(folder / f"{part}-0.parquet", [encode(image) for image in images], labels, fashion_mnist.CLASSES)
    spec = DataSpec(name="fashion_mnist", path=str(folder), **SMALL)
    dataset = load_dataset(spec, tmp_path)
    np.testing.assert_array_equal(dataset.test.images[:, 0], PIXELS[40:])
    assert dataset.normalisation.mean == (0.2860,)
    colour = [encode(np.stack([image] * 3, axis=-1)) for image in PIXELS]
    write_parquet(folder / "train-0.parquet", colour[:40], LABELS[:40], fashion_mnist.CLASSES)
    with pytest.raises(UserError, match="have 3 channels, those of fashion_mnist have 1"):
        load_dataset(spec, tmp_path)
