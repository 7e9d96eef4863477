"""Small image sets on disk."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture
def encode():
    """An image array as the bytes of a PNG file."""

    def png(array):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, format="png")
        return stream.getvalue()

    return png


@pytest.fixture
def photos():
    """30 random 5x4 RGB images."""
    return np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def write_parquet():
    """Write a Parquet file in the Hugging Face layout."""

    def images(contents):
        return pa.array(
            [{"bytes": c, "path": None} for c in contents], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )

    def write(path, contents, labels, names=("cat", "dog", "owl"), label="label", more=None, kind=None, image="image"):
        """`more`: further columns, images as bytes and labels as numbers or texts, written before the others."""
        more = {
            name: images(values) if isinstance(values[0], bytes) else pa.array(values)
            for name, values in (more or {}).items()
        }
        table = pa.table({**more, image: images(contents), label: pa.array(labels, kind or pa.int64())})
        features = {label: {"names": list(names), "_type": "ClassLabel"}} if names else {}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), path)

    return write


@pytest.fixture
def parquet_folder(tmp_path, photos, encode, write_parquet):
    """Two train shards of 10 and a validation shard of 10, three classes."""
    contents = [encode(photo) for photo in photos]
    labels = [i % 3 for i in range(30)]
    write_parquet(tmp_path / "train-00000-of-00002.parquet", contents[:10], labels[:10])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", contents[10:20], labels[10:20])
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", contents[20:], labels[20:])
    return tmp_path


@pytest.fixture
def image_folder(tmp_path, photos, encode):
    """20 train and 10 test images in two classes."""
    for i, photo in enumerate(photos):
        folder = tmp_path / ("train" if i < 20 else "test") / ("cat" if i % 2 else "owl")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02}.png").write_bytes(encode(photo))
    return tmp_path
