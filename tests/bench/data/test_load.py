"""From a study's entry to a divided data set."""

import hashlib
import io
import json
import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import UserError
from bench.data.dataset import ImageSet
from bench.data.load import data_facts, dataset_hash, load_dataset, measure_normalisation
from bench.study.spec import DataSpec, Limit


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
        (DataSpec(name="digits", labels="label"), "'labels' belongs to cifar100 and to Parquet folders"),
        (DataSpec(name="folder:x", labels="label"), "'labels' belongs to cifar100 and to Parquet folders"),
        (DataSpec(name="cifar100", label="coarse_label"), "does not choose the labels; write `labels: coarse_label`"),
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


def sha(value):
    """SHA-256 of JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def first_identity(content, **more):
    """Identity of a data set as the first version computed it, for the splits of `SMALL`."""
    return sha({"content": content, "calibration": 8, "search": 4, "normalisation": "measured"} | more)


def test_identities_are_those_of_the_first_version(image_folder, tmp_path_factory, photos, encode, write_parquet):
    files = [sorted((image_folder / part).glob("*/*")) for part in ("train", "test")]
    content = sha([[[file.parent.name, file_sha(file)] for file in part] for part in files])
    assert dataset_hash(DataSpec(name=f"folder:{image_folder}", **SMALL), Path()) == first_identity(content)

    folder = tmp_path_factory.mktemp("parquet")
    for part, k in (("train", 20), ("test", 10)):
        write_parquet(folder / f"{part}-0.parquet", [encode(photo) for photo in photos[:k]], [i % 3 for i in range(k)])
    content = sha([[file_sha(folder / "train-0.parquet")], [file_sha(folder / "test-0.parquet")]])
    assert dataset_hash(DataSpec(name=f"parquet:{folder}", **SMALL), Path()) == first_identity(content)

    digits = "7542a20a89487bf2b9b49a3cffb37b8a8a7665f17419a56a846797b31b704d0f"
    assert dataset_hash(DataSpec(name="digits"), Path()) == digits


@pytest.mark.parametrize(
    ("entry", "identity"),
    [
        (
            {"name": "cifar10", "path": "${PRUNEBENCH_DATA}/cifar10"},
            "d9ec7805df29879d6b35b44caf594ddcb3e4c38c11c8496c8625eea208c5ad36",
        ),
        (
            {"name": "parquet:${PRUNEBENCH_DATA}/imagenette64", "calibration": 1000, "search": 500},
            "021359012215fe5c54f28b301786e607b4cb007f2e67ce338d6df4418025ede5",
        ),
    ],
)
def test_real_data_keep_their_identities(entry, identity):
    if "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set: no real data")
    assert data_facts(DataSpec(**entry), Path()).hash == identity


def test_an_orientation_that_is_applied_changes_the_identity(image_folder, photos):
    spec = DataSpec(name=f"folder:{image_folder}", **SMALL)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[274] = 3
    Image.fromarray(np.ascontiguousarray(photos[1][::-1, ::-1])).save(stream, "png", exif=exif)
    (image_folder / "train/cat/01.png").write_bytes(stream.getvalue())
    files = [sorted((image_folder / part).glob("*/*")) for part in ("train", "test")]
    content = sha([[[file.parent.name, file_sha(file)] for file in part] for part in files])
    facts, found = data_facts(spec, Path()), load_dataset(spec, Path())
    assert facts.hash == found.hash == first_identity(content, variant={"orientation": "exif"})
    assert facts.notes == ("1 of 30 images are rotated or mirrored as their EXIF orientation requires",)
    everything = torch.cat([found.fit.images, found.calibration.images, found.search.images, found.test.images])
    assert len(indices_in(torch.from_numpy(photos.transpose(0, 3, 1, 2)), everything)) == 30


def write_classes(folder, counts, encode, **files):
    """Write ``train/CLASS`` and ``test/CLASS`` with so many random images."""
    generator = np.random.default_rng(0)
    for part, of_class in counts.items():
        for name, count in of_class.items():
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                image = generator.integers(0, 256, (4, 4), dtype=np.uint8)
                (folder / part / name / f"{i:03}.png").write_bytes(encode(image))
    return DataSpec(name=f"folder:{folder}", calibration=6, search=4, **files)


def test_one_class(tmp_path, encode):
    spec = write_classes(tmp_path, {"train": {"cat": 20}, "test": {"cat": 5}}, encode)
    for act in (data_facts, load_dataset):
        with pytest.raises(UserError, match="has one class, cat; expected images of at least two classes"):
            act(spec, Path())


def test_a_class_without_training_images(parquet_folder, photos, encode, write_parquet):
    for shard in (0, 1):
        contents = [encode(photo) for photo in photos[:10]]
        write_parquet(parquet_folder / f"train-0000{shard}-of-00002.parquet", contents, [0, 1] * 5)
    spec = DataSpec(name=f"parquet:{parquet_folder}", label="pets", **SMALL)
    for act in (data_facts, load_dataset):
        with pytest.raises(UserError, match="data 'pets': the training images lack class 'owl'; add images of them"):
            act(spec, Path())


def test_a_class_without_test_images_is_noted(tmp_path, encode):
    spec = write_classes(tmp_path, {"train": {"cat": 20, "dog": 20, "owl": 20}, "test": {"dog": 6}}, encode)
    expected = "the test images lack classes 'cat', 'owl'; the accuracy is that of the other classes"
    assert data_facts(spec, Path()).notes == (expected,)
    assert load_dataset(spec, Path()).num_classes == 3


def test_a_class_that_would_not_be_trained_on(tmp_path, encode):
    """Its only image is drawn for calibration or search, or left to fit, as the seed decides."""
    spec = write_classes(tmp_path, {"train": {"cat": 11, "dog": 1}, "test": {"cat": 2, "dog": 2}}, encode)
    with pytest.raises(UserError, match="the 2 training images that are left to fit lack class 'dog'; set the entry's"):
        data_facts(spec, Path())


@pytest.mark.parametrize("limit", [{"train": 30}, {"test": 12}, {"train": 30, "test": 12}])
def test_limit_takes_a_stratified_subset(tmp_path, encode, limit):
    """Two thirds of the images are cats: so are two thirds of the subset."""
    counts = {"train": {"cat": 40, "dog": 20}, "test": {"cat": 16, "dog": 8}}
    plain = write_classes(tmp_path, counts, encode)
    spec = plain.model_copy(update={"limit": Limit(**limit)})
    facts, found, everything = data_facts(spec, Path()), load_dataset(spec, Path()), load_dataset(plain, Path())
    train, test = limit.get("train", 60), limit.get("test", 24)
    assert (facts.fit, facts.calibration, facts.search, facts.test) == (train - 10, 6, 4, test)
    assert [len(part) for part in (found.fit, found.calibration, found.search, found.test)] == [train - 10, 6, 4, test]
    labels = torch.cat([found.fit.labels, found.calibration.labels, found.search.labels]).tolist()
    assert Counter(labels) == {0: train * 2 // 3, 1: train // 3}
    assert Counter(found.test.labels.tolist()) == {0: test * 2 // 3, 1: test // 3}
    of_all = torch.cat([everything.fit.images, everything.calibration.images, everything.search.images])
    parts = [indices_in(part.images, of_all) for part in (found.fit, found.calibration, found.search)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == train
    assert len(indices_in(found.test.images, everything.test.images)) == test
    assert facts.hash == found.hash != everything.hash
    again = load_dataset(spec, Path())
    assert torch.equal(again.fit.images, found.fit.images)
    assert torch.equal(again.test.images, found.test.images)


def test_identity_of_a_limit(tmp_path, encode):
    counts = {"train": {"cat": 40, "dog": 20}, "test": {"cat": 16, "dog": 8}}
    plain = write_classes(tmp_path, counts, encode)
    limits = [None, {"train": 30}, {"train": 31}, {"test": 12}, {"train": 30, "test": 12}]
    specs = [plain.model_copy(update={"limit": limit and Limit(**limit)}) for limit in limits]
    assert len({dataset_hash(spec, Path()) for spec in specs}) == len(specs)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"train": 2}, "limit.train 2 is less than the 3 classes; write 3 to 60"),
        ({"train": 61}, "limit.train 61 is more than the 60 train images; write 3 to 60"),
        ({"test": 2}, "limit.test 2 is less than the 3 classes; write 3 to 9"),
        ({"test": 10}, "limit.test 10 is more than the 9 test images; write 3 to 9"),
        ({"train": 10}, "of 10 training images none is left to fit after 6 for calibration and 4 for search"),
        ({"train": 4}, "limit.train 4 leaves no image of class 'owl'; write at least 5"),
    ],
)
def test_limits_that_cannot_be_met(tmp_path, encode, limit, message):
    counts = {"train": {"cat": 30, "dog": 23, "owl": 7}, "test": {"cat": 3, "dog": 3, "owl": 3}}
    spec = write_classes(tmp_path, counts, encode, limit=Limit(**limit))
    for act in (data_facts, load_dataset):
        with pytest.raises(UserError, match=message):
            act(spec, Path())


def test_limit_of_cifar10():
    if "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set: no CIFAR-10")
    limit = Limit(train=8000, test=1000)
    facts = data_facts(DataSpec(name="cifar10", path="${PRUNEBENCH_DATA}/cifar10", limit=limit), Path())
    assert (facts.fit, facts.calibration, facts.search, facts.test) == (1000, 5000, 2000, 1000)


def test_limit_of_digits_is_stratified():
    found = load_dataset(DataSpec(name="digits", limit=Limit(train=900, test=100)), Path())
    assert (len(found.fit), len(found.test)) == (500, 100)
    # 40 of each digit among the 400 test images, but for one or two
    assert all(abs(count - 10) <= 1 for count in torch.bincount(found.test.labels).tolist())


def test_grey_images_are_no_cifar(tmp_path, photos, encode, write_parquet):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", [encode(photo[..., 0]) for photo in photos], [0, 1, 2] * 10)
    with pytest.raises(UserError, match=r"have 1 channel, those of cifar10 have 3; use `name: \"parquet:"):
        data_facts(DataSpec(name="cifar10", path=str(tmp_path), **SMALL), Path())


def test_chance_is_the_share_of_the_largest_test_class():
    assert (
        data_facts(DataSpec(name="digits"), Path()).chance
        == max(torch.bincount(load_dataset(DataSpec(name="digits"), Path()).test.labels)) / 400
    )
