"""Weights on disk: round trips, damage, and what does not fit."""

import argparse
import collections
import errno
import gzip
import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoint_files import assert_equal, check_message, legacy, torch_bytes
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from bench.core.errors import UserError
from bench.models import cifar
from bench.models.checkpoints import load_checkpoint, parse_checkpoint, read_metadata, save_checkpoint, state_digest
from bench.models.digits import digits_cnn
from bench.models.load_weights import load_into


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


# ---------------------------------------------------------------- formats, wrappers, prefixes


class Tag:
    """An object that scripts keep next to the weights."""


NAMES = ("net.th", "net.pth.tar", "net.ckpt", "net.bin", "net.pt", "net.pth", "net.safetensors", "net", "net.npz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("write", [torch_bytes, legacy, safetensors.torch.save])
def test_the_content_decides_on_the_format(tmp_path, model, name, write):
    state = dict(model.state_dict())
    (tmp_path / name).write_bytes(write(state))
    found = load_checkpoint(tmp_path / name)
    assert_equal({key: found[key] for key in state}, state)
    assert len(found) == len(state)


OTHERS = {
    "epoch": 3, "best": 0.5, "arch": "resnet", "classes": ["a", "b"], "empty": {}, "lr": torch.tensor(0.1),
    "nothing": None, "counts": collections.Counter("ab"),
}  # fmt: skip


@pytest.mark.parametrize("write", [torch_bytes, legacy])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s, _: {"state_dict": s, **OTHERS},
        lambda s, o: {"model": s, "optimizer": o, **OTHERS},
        lambda s, o: {"model_state_dict": s, "optimizer_state_dict": o},
        lambda s, _: {**OTHERS, "net": s, "acc": 91.2},
        lambda s, _: {"state_dict": {"model": s, "step": 1}},
        lambda s, _: {"model": "resnet20", "state_dict": s},
        lambda s, _: {"model": s, "model_ema": {n: t + 1 if t.is_floating_point() else t for n, t in s.items()}},
        lambda s, _: {"state_dict_ema": {n: t + 1 if t.is_floating_point() else t for n, t in s.items()},
                      "state_dict": s},
        lambda s, _: {"ema": s, "epoch": 2},
        lambda s, _: {**s, "_extra_state": {"version": 2}},
    ],
)  # fmt: skip
def test_wrappers(tmp_path, model, wrap, write):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    (tmp_path / "net.pth.tar").write_bytes(write(wrap(model.state_dict(), optimizer.state_dict())))
    assert_equal(load_checkpoint(tmp_path / "net.pth.tar"), model.state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"generator": {"w": torch.zeros(2)}, "discriminator": {}}, r"entries are generator \(dict\), discriminator"),
        ({"state_dict": {}}, r"its entries are state_dict \(dict\)"),
        ({"state_dict": {"a": 3}}, "holds no dict of tensors under state_dict, model,"),
        ([torch.zeros(2)], "holds no dict of tensors but a list"),
        (torch.zeros(2), "holds no dict of tensors but a Tensor"),
        ({}, "holds no dict of tensors: it is empty"),
        (
            {f"k{n}": n for n in range(9)},
            r"k0 \(int\), k1 \(int\), k2 \(int\), k3 \(int\) and 5 more; save the weights",
        ),
    ],
)
def test_no_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=message) as caught:
        load_checkpoint(tmp_path / "x.ckpt")
    assert "torch.save(model.state_dict(), FILE)" in str(caught.value)


# ---------------------------------------------------------------- what is refused, and how


@pytest.mark.parametrize("write", [torch_bytes, legacy])
@pytest.mark.parametrize(
    ("wrap", "needed"),
    [
        (lambda m: {"state_dict": m.state_dict(), "args": argparse.Namespace(lr=0.1)}, "argparse.Namespace"),
        (lambda m: {"state_dict": m.state_dict(), "tag": Tag()}, f"{Tag.__module__}.Tag"),
        (lambda m: {"state_dict": m.state_dict(), "best": np.float64(0.5)}, "numpy._core.multiarray.scalar"),
        (lambda m: {"state_dict": m.state_dict(), "path": Path("x")}, "pathlib.PosixPath"),
        (lambda m: m, "bench.models.digits.DigitsCNN"),
        (lambda m: {"model": m}, "bench.models.digits.DigitsCNN"),
    ],
)
def test_a_refused_pickle_names_the_class_and_two_ways_out(tmp_path, model, wrap, needed, write):
    path = tmp_path / "net.pth.tar"
    path.write_bytes(write(wrap(model)))
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    check_message(
        str(caught.value), f"checkpoint {path}: cannot be read: ", f"the class or function {needed},",
        "`torch.save(model.state_dict(), NEW_FILE)`", f"torch.load('{path}', 'cpu', weights_only=False)",
        f"'{path}.safetensors')",
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("write", [torch_bytes, legacy, pickle.dumps])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"state_dict": m.state_dict(), "tag": argparse.Namespace()}])
def test_the_command_of_the_message_converts_the_file(tmp_path, model, wrap, write):
    (tmp_path / "net.pth").write_bytes(write(wrap(model)))
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "net.pth")
    [line] = re.findall(r"`(python -c .*?)`", str(caught.value))
    words = shlex.split(line)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, *words[1:]], check=True, env=environment)
    assert_equal(
        dict(sorted(load_checkpoint(tmp_path / "net.pth.safetensors").items())),
        dict(sorted(model.state_dict().items())),
    )


def test_hostile_class_names_are_shown_without_control_characters(tmp_path):
    for module in ("a\x1b[31mb", "x" * 5000, "\u202eevil"):
        pickled = b"\x80\x02X" + len(module.encode()).to_bytes(4, "little") + module.encode()
        pickled += b"X\x01\x00\x00\x00c\x93."  # STACK_GLOBAL
        content = torch_bytes({"a": 1})
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(tmp_path / "x.pt", "w") as target:
            for name in source.namelist():
                target.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
        with pytest.raises(UserError) as caught:
            load_checkpoint(tmp_path / "x.pt")
        check_message(str(caught.value), "cannot be read: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer; run `git lfs pull`"),
        (b"<!DOCTYPE html><html>404</html>", "it is an HTML or XML page"),
        (gzip.compress(b"weights", mtime=0), "it is compressed with gzip; decompress it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "it is an HDF5 file"),
        (b"weights of mine\n", "it is neither a file of torch.save nor safetensors"),
        (pickle.dumps({"a": np.zeros(2)}), "it is a pickle that torch.save did not write; save the weights alone"),
        (b"PK\x03\x04" + bytes(100), "damaged or incomplete archive of torch.save"),
    ],
)
def test_files_of_other_kinds(tmp_path, content, message):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(UserError, match=f"net.pth: cannot be read: .*{message}") as caught:
        load_checkpoint(tmp_path / "net.pth")
    check_message(str(caught.value))


def test_other_archives(tmp_path, model):
    np.savez(tmp_path / "net.npz", a=np.zeros(2))
    with pytest.raises(UserError, match=r"net.npz: cannot be read: it is a zip archive that torch.save did not write"):
        load_checkpoint(tmp_path / "net.npz")
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.add(tmp_path / "net.npz", "pickle")
    with pytest.raises(UserError, match=r"net.tar: cannot be read: it is a tar archive"):
        load_checkpoint(tmp_path / "net.tar")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.zeros(1, 1, 8, 8)).save(tmp_path / "net.pt")
        with pytest.raises(UserError, match=r"net.pt: cannot be read: it is a TorchScript archive, .*\.state_dict\(\)"):
            load_checkpoint(tmp_path / "net.pt")
        state = torch.jit.load(tmp_path / "net.pt").state_dict()  # as the message proposes
    torch.save(state, tmp_path / "new.pt")
    assert_equal(load_into(digits_cnn(), load_checkpoint(tmp_path / "new.pt"), "x"), model.state_dict())


def test_metadata_for_other_programs(tmp_path, model):
    plain = {"mean": [0.5], "text": "a\n\u00e9", "nested": {"b": None}}
    for name in ("a", "b"):
        save_checkpoint(model.state_dict(), tmp_path / name, {"own": 1}, plain)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as file:
        assert {key: json.loads(text) for key, text in file.metadata().items() if key != "prunebench"} == plain
        assert_equal({name: file.get_tensor(name) for name in model.state_dict()}, model.state_dict())
    assert read_metadata(content, "a") == {"own": 1, **plain}
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert read_metadata(safetensors.torch.save({"a": torch.zeros(1)}, {"mean": "[0.5]", "format": "pt"}), "b") == {}


@pytest.mark.skipif("PRUNEBENCH_DATA" not in os.environ, reason="PRUNEBENCH_DATA is not set")
@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_published_weights_as_they_were_published(tmp_path, depth):
    """The checkpoints of this family were published as data-parallel `.th` files of the old format."""
    path = Path(os.environ["PRUNEBENCH_DATA"]) / "weights" / f"resnet{depth}-cifar10-akamaster.safetensors"
    state = safetensors.torch.load_file(path)
    (tmp_path / "net.th").write_bytes(
        legacy({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "best_prec1": 91.7})
    )
    models = [build() for build in 2 * [getattr(cifar, f"cifar_resnet{depth}")]]
    for net, place in zip(models, (path, tmp_path / "net.th"), strict=True):
        load_into(net, load_checkpoint(place), place)
        found = net.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
