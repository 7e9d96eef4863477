"""Weights on disk: round trips, damage, and what does not fit."""

import errno
import io
import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.errors import UserError
from bench.models.checkpoints import (
    load_checkpoint,
    load_into,
    parse_checkpoint,
    read_metadata,
    save_checkpoint,
    state_digest,
)
from bench.models.digits import digits_cnn


@pytest.fixture
def model():
    return digits_cnn()


def test_round_trip(tmp_path, model):
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(model.state_dict(), path, {"recipe": {"epochs": 3}, "loss": [0.1]})
    state = load_checkpoint(path)
    assert state_digest(state) == state_digest(model.state_dict())
    assert read_metadata(path.read_bytes(), path) == {"recipe": {"epochs": 3}, "loss": [0.1]}
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_equal_states_make_equal_files(tmp_path, model):
    for name in ("a", "b"):
        save_checkpoint(model.state_dict(), tmp_path / name, {"x": 1, "y": 2, "z": 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shared_tensors_can_be_saved(tmp_path):
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    save_checkpoint(tied.state_dict(), tmp_path / "x.safetensors", {})
    assert torch.equal(load_checkpoint(tmp_path / "x.safetensors")["1.weight"], tied[0].weight)


@given(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64]), st.integers(0, 3))
def test_digest_sees_type_name_shape_and_value(dtype, entry):
    base = {"a": torch.zeros(4, dtype=dtype)}
    changed = torch.zeros(4, dtype=dtype)
    changed[entry] = 1
    others = [{"a": changed}, {"b": base["a"]}, {"a": base["a"].view(2, 2)}, {"a": base["a"].bool()}]
    assert state_digest(base) == state_digest({"a": torch.zeros(8, dtype=dtype)[::2]})
    assert all(state_digest(base) != state_digest(other) for other in others)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, model, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_checkpoint(model.state_dict(), path, {"version": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be written: No space left"):
        save_checkpoint(model.state_dict(), path, {"version": 2})
    assert read_metadata(path.read_bytes(), path) == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("nest", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_torch_files_nested_and_data_parallel(tmp_path, model, nest):
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save(nest(state), tmp_path / "model.pth")
    assert state_digest(load_checkpoint(tmp_path / "model.pth")) == state_digest(model.state_dict())


class Payload:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


def test_pickled_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt: cannot be read"):
        load_checkpoint(Path("evil.pt"))
    assert not Path("unpickled").exists()


def test_a_pickle_named_safetensors_is_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(Payload()), torch_bytes({"weight": Payload()})):
        Path("evil.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"evil\.safetensors: cannot be read: ") as caught:
            load_checkpoint("evil.safetensors")
        assert "\n" not in str(caught.value)
    assert not Path("unpickled").exists()


def torch_bytes(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.pth?versionId=3", "model.pt"])
def test_torch_files_behind_urls(model, name):
    fsspec.filesystem("memory").pipe_file(f"/torch/{name}", torch_bytes(model.state_dict()))
    assert state_digest(load_checkpoint(f"memory://torch/{name}")) == state_digest(model.state_dict())


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path, model):
    place = tmp_path / "model.safetensors"
    metadata = {"history": {"loss": [0.5, 0.25]}, "seconds": 1.5}
    save_checkpoint(model.state_dict(), place, metadata)
    content, digest = place.read_bytes(), state_digest(model.state_dict())
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    random = np.random.default_rng(5)
    bits = [*random.integers(header, size=1000), *random.integers(header, 8 * len(content), size=1000)]
    noticed, unnoticed = set(), 0
    for bit in map(int, bits):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            state, found = parse_checkpoint(bytes(flipped), place), read_metadata(bytes(flipped), place)
        except UserError as error:
            noticed.add(str(error))
        else:
            assert state_digest(state) == digest
            assert found == metadata
            unnoticed += 1
    assert unnoticed < 200  # those in the letters of the seal
    assert all(line.startswith(f"checkpoint {place}: cannot be read: ") and "\n" not in line for line in noticed)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda _: b"text\n"])
def test_damaged_file(tmp_path, model, suffix, damage):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        save_checkpoint(model.state_dict(), path, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"model{suffix}: cannot be read: ."):
        load_checkpoint(path)


def test_missing_file_and_no_tensors(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        load_checkpoint(tmp_path / "nowhere.pt")
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no dict of tensors"):
        load_checkpoint(tmp_path / "x.pt")


def test_load_into_reports_each_kind_of_misfit(model):
    state = dict(model.state_dict())
    state["extra"] = state.pop("linear.bias")
    state["linear.weight"] = torch.zeros(3, 64)
    with pytest.raises(UserError) as caught:
        load_into(model, state, Path("x.safetensors"))
    message = str(caught.value)
    assert "x.safetensors: does not fit DigitsCNN" in message
    assert "1 missing (linear.bias)" in message
    assert "1 unexpected (extra)" in message
    assert "linear.weight (3, 64) instead of (10, 64)" in message


def test_misfit_changes_nothing(model):
    before = state_digest(model.state_dict())
    with pytest.raises(UserError):
        load_into(model, {"linear.bias": torch.ones(10)}, Path("x"))
    assert state_digest(model.state_dict()) == before


def test_batch_counter_may_be_missing(model):
    other = digits_cnn()
    state = {k: v for k, v in other.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_into(model, state, Path("x"))
    assert state_digest(model.state_dict()) == state_digest(other.state_dict())
