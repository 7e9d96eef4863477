"""Parquet folders in the Hugging Face layout."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.parquet import ParquetSource
from bench.errors import UserError


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
        ([b"x"], [-1], "has labels from -1 to 2 for 3 classes"),
        ([], [], "has no rows"),
    ],
)
def test_bad_rows(parquet_folder, write_parquet, contents, labels, message):
    write_parquet(parquet_folder / "train-00001-of-00002.parquet", contents, labels)
    with pytest.raises(UserError, match=message):
        ParquetSource(parquet_folder).read()


@pytest.mark.parametrize(
    ("column", "message"),
    [("image", "no struct column with a field 'bytes'"), ("label", "no integer column 'label'")],
)
def test_missing_column(parquet_folder, column, message):
    file = parquet_folder / "train-00001-of-00002.parquet"
    table = pq.read_table(file)
    kept = [name for name in table.schema.names if name != column]
    pq.write_table(pa.table({name: table.column(name) for name in kept}), file)
    with pytest.raises(UserError, match=message):
        ParquetSource(parquet_folder).read()
