"""Parquet folders in the Hugging Face layout."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.errors import UserError
from bench.data.parquet import ParquetSource


def test_rows_come_back_in_the_order_of_the_shards(parquet_folder, photos):
    raw = ParquetSource(parquet_folder).read()
    np.testing.assert_array_equal(raw.train.images.numpy(), photos[:20].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(raw.test.images.numpy(), photos[20:].transpose(0, 3, 1, 2))
    assert raw.train.labels.tolist() == [i % 3 for i in range(20)]
    assert raw.classes == ("cat", "dog", "owl")


def test_hash_follows_the_bytes_and_not_the_place(parquet_folder, tmp_path_factory, encode, photos, write_parquet):
    before = ParquetSource(parquet_folder).content_hash()
    moved = parquet_folder.rename(tmp_path_factory.mktemp("elsewhere") / "copy")
    assert ParquetSource(moved).content_hash() == before
    write_parquet(moved / "validation-00000-of-00001.parquet", [encode(photos[0])], [0])
    assert ParquetSource(moved).content_hash() != before


def test_classes_without_metadata_are_numbered(tmp_path, photos, encode, write_parquet):
    for part in ("train", "test"):
        contents = [encode(photo) for photo in photos[:3]]
        write_parquet(tmp_path / f"{part}-0.parquet", contents, [0, 1, 2], names=(), label="fine_label")
    assert ParquetSource(tmp_path).read().classes == ("0", "1", "2")


def test_absent_and_empty_folder(tmp_path, parquet_folder):
    with pytest.raises(UserError, match="no such folder"):
        ParquetSource(tmp_path / "nowhere").content_hash()
    (parquet_folder / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"has no test-\*\.parquet"):
        ParquetSource(parquet_folder).content_hash()


def test_damaged_file_is_named(parquet_folder):
    file = parquet_folder / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet: cannot be read as Parquet"):
        ParquetSource(parquet_folder).read()


def test_damaged_row_is_named(parquet_folder, photos, encode, write_parquet):
    contents = [encode(photos[0]), b"broken", encode(photos[1])]
    write_parquet(parquet_folder / "train-00001-of-00002.parquet", contents, [0, 1, 2])
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet: row 1: cannot be read"):
        ParquetSource(parquet_folder).read()


@pytest.mark.parametrize(
    ("contents", "labels", "message"),
    [
        ([None], [0], "row 0: has no image bytes"),
        ([b"x"], [None], "row 0: has no label"),
        ([b"x"], [7], "has labels from 0 to 7 for 3 classes"),
        ([b"x"], [-1], r"train-00001-of-00002\.parquet: row 0: has the label -1, which marks an image without a label"),
        ([], [], "has no rows"),
    ],
)
def test_bad_rows(parquet_folder, write_parquet, contents, labels, message):
    write_parquet(parquet_folder / "train-00001-of-00002.parquet", contents, labels)
    with pytest.raises(UserError, match=message):
        ParquetSource(parquet_folder).read()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("image", "no struct column with a field 'bytes'"),
        ("label", "has no column 'label', which .*train-00000-of-00002"),
    ],
)
def test_missing_column(parquet_folder, column, message):
    file = parquet_folder / "train-00001-of-00002.parquet"
    table = pq.read_table(file)
    kept = [name for name in table.schema.names if name != column]
    pq.write_table(pa.table({name: table.column(name) for name in kept}), file)
    with pytest.raises(UserError, match=message):
        ParquetSource(parquet_folder).read()


@pytest.fixture
def pngs(photos, encode):
    return [encode(photo) for photo in photos]


@pytest.mark.parametrize(
    ("names", "others", "message"),
    [
        (
            ("cat", "dog", "owl"),
            ("owl", "dog", "cat"),
            r"test-0\.parquet: class 0 is 'owl', in .*train-0\.parquet it is 'cat'",
        ),
        (("cat", "dog", "owl"), ("cat", "dog"), r"test-0\.parquet: has 2 names of classes, .*train-0\.parquet has 3"),
        (("cat", "dog", "owl"), (), r"train-0\.parquet: has names of the classes, .*test-0\.parquet has none"),
        ((), ("cat", "dog", "owl"), r"test-0\.parquet: has names of the classes, .*train-0\.parquet has none"),
    ],
)
def test_names_that_differ_between_files(tmp_path, pngs, write_parquet, names, others, message):
    """Equal numbers would mean different classes: every prediction of a right model would count as wrong."""
    write_parquet(tmp_path / "train-0.parquet", pngs[:3], [0, 1, 2], names=names)
    write_parquet(tmp_path / "test-0.parquet", pngs[3:5], [0, 1], names=others)
    for act in (ParquetSource(tmp_path).facts, ParquetSource(tmp_path).read):
        with pytest.raises(UserError, match=message):
            act()


def test_names_that_differ_between_shards(parquet_folder, pngs, write_parquet):
    write_parquet(parquet_folder / "train-00001-of-00002.parquet", pngs[:3], [0, 1, 2], names=("cat", "dog", "eagle"))
    with pytest.raises(UserError, match=r"00001-of-00002\.parquet: class 2 is 'eagle', in .*00000-of.* it is 'owl'"):
        ParquetSource(parquet_folder).facts()


@pytest.mark.parametrize(
    ("columns", "image", "used"),
    [
        (("thumbnail",), "image", "image"),
        (("thumbnail", "mask"), "img", "img"),
        ((), "picture", "picture"),
        (("thumbnail",), "picture", "has several image columns: thumbnail, picture; expected one of them"),
        (("image",), "img", "has several image columns: image, img; expected one of them"),
    ],
)
def test_several_image_columns(tmp_path, pngs, photos, write_parquet, columns, image, used):
    for part in ("train", "test"):
        more = dict.fromkeys(columns, pngs[10:13])
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:3], [0, 1, 2], more=more, image=image)
    source = ParquetSource(tmp_path)
    if used == image:
        np.testing.assert_array_equal(source.read().train.images.numpy(), photos[:3].transpose(0, 3, 1, 2))
        assert source.facts().variant == ({"images": image} if columns else {})  # the first column was read before
        return
    with pytest.raises(UserError, match=used):
        source.facts()


SHARDS = "train-00000-of-00002"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([SHARDS], "1 of the 2 shards of the set of train-00000-of-00002.parquet are missing, the first is number 1"),
        (["train-00001-of-00002"], "are missing, the first is number 0"),
        ([SHARDS, "train-00001-of-00003"], "train-00001-of-00003.parquet does not belong to the set of"),
        ([SHARDS, "train-00001-of-00002", "train-0"], "train-0.parquet does not belong to the set of train-00000"),
        (
            [SHARDS, "train-00001-of-00002", "train-00001-of-00002-ab12"],
            "train-00001-of-00002.parquet are the same shard",
        ),
        ([SHARDS, "train-00002-of-00002"], "train-00002-of-00002.parquet: is number 2 of a set of 2; expected 0 to 1"),
        ([SHARDS, "train-en-00001-of-00002"], "train-en-00001-of-00002.parquet does not belong to the set of train-0"),
        ([SHARDS, "train-00001-of-00002"], None),
        (["train-00000-of-00002-0a1b", "train-00001-of-00002-c2d3"], None),
        (["train-0", "train-1", "train-more"], None),
        ([SHARDS, "train-00001-of-00002", "._train-00000-of-00001"], None),
        ([SHARDS, "train-00001-of-00002", ".train-2"], None),
    ],
)
def test_shards_are_one_complete_set(tmp_path, pngs, write_parquet, names, message):
    write_parquet(tmp_path / "test-00000-of-00001.parquet", pngs[:3], [0, 1, 2])
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", pngs[:3], [0, 1, 2])
    source = ParquetSource(tmp_path)
    if message is None:
        assert source.facts().train == 3 * sum(not name.startswith(".") for name in names)
        return
    for act in (source.facts, source.read, source.content_hash):
        with pytest.raises(UserError, match=message):
            act()


def test_test_shards_are_checked_too(parquet_folder):
    (parquet_folder / "validation-00000-of-00001.parquet").rename(parquet_folder / "validation-00000-of-00002.parquet")
    with pytest.raises(UserError, match=r"shards of the set of validation-00000-of-00002\.parquet are missing"):
        ParquetSource(parquet_folder).facts()


@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "coarse_label", "class", "target", "Label"])
def test_usual_names_of_the_label_column(tmp_path, pngs, write_parquet, label):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:3], [0, 2, 1], label=label, more={"width": [4, 4, 4]})
    facts = ParquetSource(tmp_path).facts()
    assert facts.train_labels.tolist() == [0, 2, 1]
    assert (facts.classes, facts.variant, facts.notes) == (("cat", "dog", "owl"), {}, ())


@pytest.mark.parametrize(
    ("labels", "expected", "marked"),
    [(None, [0, 2, 1], None), ("fine_label", [0, 2, 1], None), ("coarse_label", [0, 1, 1], "coarse_label")],
)
def test_fine_and_coarse_labels(tmp_path, pngs, write_parquet, labels, expected, marked):
    for part in ("train", "test"):
        more = {"coarse_label": [0, 1, 1]}
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:3], [0, 2, 1], label="fine_label", more=more)
    facts = ParquetSource(tmp_path, labels).facts()
    assert facts.test_labels.tolist() == expected
    assert facts.num_classes == max(expected) + 1
    assert facts.variant.get("labels") == marked
    assert any("`labels: coarse_label` chooses the other" in note for note in facts.notes) == (labels is None)


@pytest.mark.parametrize(
    ("label", "more", "labels", "message"),
    [
        ("digit", {}, None, "has no label column with a usual name; write `labels: NAME`, one of digit"),
        ("label", {"class": [1, 2, 3]}, None, "has several label columns: class, label; write `labels: NAME`, one of"),
        ("label", {"classes": [1, 2, 3]}, "clases", "has no column 'clases': did you mean 'classes'?"),
        ("label", {"score": [0.5, 1.0, 2.0]}, "score", "'score' is of type double; expected labels that are integers"),
    ],
)
def test_label_columns_that_cannot_be_used(tmp_path, pngs, write_parquet, label, more, labels, message):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:3], [0, 2, 1], label=label, more=more)
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        ParquetSource(tmp_path, labels).facts()


def test_labels_that_are_lists(tmp_path, pngs, write_parquet):
    """Several labels of one image are not what a classifier predicts."""
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:2], [[0], [0, 1]], kind=pa.list_(pa.int64()))
    with pytest.raises(UserError, match=r"'label' is of type list.*; expected labels that are .*; found image, label"):
        ParquetSource(tmp_path).facts()


def test_a_chosen_label_column(tmp_path, pngs, write_parquet):
    """`label` was always read first: choosing it keeps the identity."""
    for part in ("train", "test"):
        write_parquet(
            tmp_path / f"{part}-0.parquet", pngs[:3], [0, 2, 1], more={"class": [0, 0, 1], "shape": [1, 0, 1]}
        )
    for labels, expected, variant in (("label", [0, 2, 1], {}), ("shape", [1, 0, 1], {"labels": "shape"})):
        facts = ParquetSource(tmp_path, labels).facts()
        assert (facts.train_labels.tolist(), facts.variant) == (expected, variant)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_text_labels_are_numbered_by_the_alphabet(tmp_path, pngs, write_parquet, kind):
    write_parquet(tmp_path / "train-0.parquet", pngs[:3], ["owl", "cat", "owl"], names=(), kind=kind)
    write_parquet(tmp_path / "test-0.parquet", pngs[:1], ["owl"], names=(), kind=kind)
    facts = ParquetSource(tmp_path).facts()
    assert (facts.train_labels.tolist(), facts.test_labels.tolist()) == ([1, 0, 1], [1])
    assert facts.classes == ("cat", "owl")


def test_text_labels_of_the_test_images_alone(tmp_path, pngs, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", pngs[:2], ["owl", "cat"], names=(), kind=pa.string())
    write_parquet(tmp_path / "test-0.parquet", pngs[:1], ["lynx"], names=(), kind=pa.string())
    with pytest.raises(UserError, match="test images have labels that no training image has: 'lynx'"):
        ParquetSource(tmp_path).facts()


def test_texts_in_one_file_and_numbers_in_another(tmp_path, pngs, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", pngs[:2], ["owl", "cat"], names=(), kind=pa.string())
    write_parquet(tmp_path / "test-0.parquet", pngs[:1], [0], names=())
    with pytest.raises(UserError, match=r"test-0\.parquet: the column 'label' is of type int64, in .* of type string"):
        ParquetSource(tmp_path).facts()


def test_dictionary_of_numbers(tmp_path, pngs, write_parquet):
    for part in ("train", "test"):
        kind = pa.dictionary(pa.int8(), pa.int32())
        write_parquet(tmp_path / f"{part}-0.parquet", pngs[:3], [2, 0, 1], kind=kind)
    assert ParquetSource(tmp_path).facts().train_labels.tolist() == [2, 0, 1]


def test_labels_from_one_are_named_by_their_numbers(tmp_path, pngs, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", pngs[:3], [3, 1, 2], names=())
    write_parquet(tmp_path / "test-0.parquet", pngs[:2], [2, 3], names=())
    facts = ParquetSource(tmp_path).facts()
    assert (facts.train_labels.tolist(), facts.test_labels.tolist()) == ([2, 0, 1], [1, 2])
    assert (facts.classes, facts.variant) == (("1", "2", "3"), {"first_label": 1})
    assert facts.notes == ("the labels 1 to 3 have no names; the classes are named by them, and class 0 is '1'",)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 3], [0], "has labels from 0 to 3 without names, but no training image of label 2"),
        ([0, 1, 2**62], [0], "but no training image of label 2"),
        ([0, 1, 1], [0, 2], "test images have labels that no training image has: 2"),
        (
            [0, 1, 1],
            [-1, -1],
            r"test-0\.parquet: row 0: has the label -1, .*use another labelled split, such as validation",
        ),
    ],
)
def test_numbers_without_names(tmp_path, pngs, write_parquet, train, test, message):
    write_parquet(tmp_path / "train-0.parquet", pngs[: len(train)], train, names=())
    write_parquet(tmp_path / "test-0.parquet", pngs[: len(test)], test, names=())
    with pytest.raises(UserError, match=message):
        ParquetSource(tmp_path).facts()


def test_two_columns_of_one_name(tmp_path, pngs, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", pngs[:2], [0, 1])
    table = pq.read_table(tmp_path / "train-0.parquet")
    pq.write_table(table.append_column("label", table.column("label")), tmp_path / "test-0.parquet")
    with pytest.raises(UserError, match=r"test-0\.parquet: has two columns named 'label'"):
        ParquetSource(tmp_path).facts()


def test_facts_are_those_of_the_decoded_images(tmp_path, photos, encode, write_parquet):
    """The first image is grey, the others are not."""
    contents = [encode(photos[0, ..., 0]), *map(encode, photos[1:6])]
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", contents, [0, 1, 2, 0, 1, 2])
    source = ParquetSource(tmp_path)
    facts, raw = source.facts(), source.read()
    assert (facts.in_chans, *facts.image_size) == tuple(raw.train.images.shape[1:]) == (3, 5, 4)
    for channel in raw.train.images[0]:
        np.testing.assert_array_equal(channel.numpy(), photos[0, ..., 0])
    assert facts.notes == ("2 of 12 images are grey; they are read as colour images with three equal channels",)
    assert facts.variant == {}  # their pixels are what they always were
