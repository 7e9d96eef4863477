"""From a study's entry to a divided data set."""

import os
from itertools import combinations
from pathlib import Path

import pytest
import torch

from bench.data.dataset import ImageSet
from bench.data.load import data_facts, dataset_hash, load_dataset, measure_normalisation
from bench.errors import UserError
from bench.study import DataSpec


def indices_in(part, whole):
    """Rows of `whole` that `part` holds; all images of the sets here differ."""
    rows = {tuple(image.flatten().tolist()): i for i, image in enumerate(whole)}
    return {rows[tuple(image.flatten().tolist())] for image in part}


def test_splits_are_disjoint_and_complete(parquet_folder):
    spec = DataSpec(name=f"parquet:{parquet_folder}", calibration=9, search=6)
    found = load_dataset(spec, Path())
    parts = (found.fit, found.calibration, found.search, found.test)
    everything = torch.cat([part.images for part in parts])
    sets = [indices_in(part.images, everything) for part in parts]
    assert [len(s) for s in sets] == [5, 9, 6, 10]
    assert all(not a & b for a, b in combinations(sets, 2))


def test_digits_are_stratified():
    digits = load_dataset(DataSpec(name="digits"), Path())
    for part in (digits.fit, digits.calibration, digits.search, digits.test):
        counts = torch.bincount(part.labels, minlength=10)
        assert int(counts.max() - counts.min()) <= 0.03 * len(part) + 4


def test_hash_is_the_plans_and_follows_the_division():
    plain, other = DataSpec(name="digits"), DataSpec(name="digits", calibration=200)
    assert load_dataset(plain, Path()).hash == dataset_hash(plain, Path())
    assert dataset_hash(plain, Path()) != dataset_hash(other, Path())
    assert len(load_dataset(other, Path()).calibration) == 200


def test_division_is_the_same_at_every_load():
    first, again = (load_dataset(DataSpec(name="digits"), Path()) for _ in range(2))
    assert torch.equal(first.fit.images, again.fit.images)
    assert torch.equal(first.search.labels, again.search.labels)


def test_relative_paths_start_at_the_study(parquet_folder):
    spec = DataSpec(name=f"parquet:{parquet_folder.name}", calibration=9, search=6)
    assert load_dataset(spec, parquet_folder.parent).num_classes == 3


def test_local_copy_of_cifar_has_published_normalisation(parquet_folder):
    spec = DataSpec(name="cifar10", path=str(parquet_folder), calibration=9, search=6)
    assert load_dataset(spec, Path()).normalisation.mean == (0.4914, 0.4822, 0.4465)
    measured = DataSpec(name=f"parquet:{parquet_folder}", calibration=9, search=6)
    assert dataset_hash(spec, Path()) != dataset_hash(measured, Path())


def test_draw_defaults_fit_the_split(image_folder):
    found = load_dataset(DataSpec(name=f"folder:{image_folder}", calibration=8, search=4), Path())
    assert (found.calibration_images, found.calibration_batch) == (8, 128)


def test_measured_normalisation_is_the_pixels():
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = measure_normalisation(ImageSet(images, torch.zeros(7, dtype=torch.int64)))
    pixels = images.double() / 255
    assert found.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert found.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_constant_channel_can_be_divided_by():
    flat = ImageSet(torch.full((2, 1, 2, 2), 9, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    assert measure_normalisation(flat).std == (pytest.approx(1 / 255),)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec(name="digit"), "no data set named 'digit': did you mean 'digits'"),
        (DataSpec(name="parquet:"), "no data set named 'parquet:'"),
        (DataSpec(name="digits:x"), "no data set named 'digits:x'"),
        (DataSpec(name="parquet:nowhere"), "nowhere: there is no such folder"),
        (DataSpec(name="folder:nowhere"), "nowhere/train: there is no such folder"),
        (DataSpec(name="digits", path="here"), "'path' belongs to cifar10"),
        (DataSpec(name="parquet:${PRUNEBENCH_UNSET}/x"), "PRUNEBENCH_UNSET is not set"),
    ],
)
def test_bad_entries(spec, message, tmp_path):
    with pytest.raises(UserError, match=message.replace("$", r"\$")):
        dataset_hash(spec, tmp_path)


def test_nothing_left_to_fit(parquet_folder):
    with pytest.raises(UserError, match="of 20 training images none is left to fit"):
        load_dataset(DataSpec(name=f"parquet:{parquet_folder}"), Path())


SMALL = {"calibration": 8, "search": 4}


@pytest.mark.parametrize(
    ("fixture", "entry"),
    [
        (None, lambda _: DataSpec(name="digits")),
        ("parquet_folder", lambda folder: DataSpec(name=f"parquet:{folder}", **SMALL)),
        ("parquet_folder", lambda folder: DataSpec(name="cifar10", path=str(folder), **SMALL)),
        ("image_folder", lambda folder: DataSpec(name=f"folder:{folder}", **SMALL)),
    ],
)
def test_facts_are_those_of_the_loaded_set(fixture, entry, request):
    spec = entry(request.getfixturevalue(fixture) if fixture else None)
    facts, found = data_facts(spec, Path()), load_dataset(spec, Path())
    for name in ("hash", "image_size", "in_chans", "num_classes", "calibration_images", "calibration_batch"):
        assert getattr(facts, name) == getattr(found, name)
    assert (facts.fit, facts.test) == (len(found.fit), len(found.test))


@pytest.mark.slow
def test_cifar10_is_the_published_one():
    """Sizes of METHODS section 6; mean and deviation of the training images as published."""
    if "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set: no CIFAR-10")
    found = load_dataset(DataSpec(name="cifar10", path="${PRUNEBENCH_DATA}/cifar10"), Path())
    parts = (found.fit, found.calibration, found.search)
    assert [len(part) for part in (*parts, found.test)] == [43_000, 5_000, 2_000, 10_000]
    for part in (*parts, found.test):
        assert torch.bincount(part.labels).unique().tolist() == [len(part) // 10]
    train = ImageSet(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))
    measured = measure_normalisation(train)
    assert measured.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-7)
    assert measured.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-7)
