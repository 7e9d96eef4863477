"""Damaged and malicious checkpoints."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import strategies as st

from bench.data.load import data_facts
from bench.models.build import build_model
from bench.plugins.catalogue import make_registry
from bench.study.spec import DataSpec, ModelSpec
from tests.prunebench.cli.fuzzing import fuzz, shares

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def header(tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("MARK"),))


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, bytes]:
    """Name -> content of files that are no checkpoints of a digits_cnn."""
    state = build_model(
        ModelSpec(name="digits_cnn"), make_registry(), data_facts(DataSpec(name="digits"), Path()), 0
    ).state_dict()
    good = safetensors.torch.save(state)
    first = next(iter(state))
    stream = io.BytesIO()
    torch.save({"state_dict": {first: Malicious()}}, stream)
    old = io.BytesIO()
    torch.save(Malicious(), old, _use_new_zipfile_serialization=False)
    whole = io.BytesIO()
    torch.save(state, whole)
    nan = {name: torch.full_like(t, float("nan")) if t.is_floating_point() else t for name, t in state.items()}
    sparse = io.BytesIO()
    torch.save({name: t.to_sparse() if t.dim() == 4 else t for name, t in state.items()}, sparse)
    return {
        "reduce.pt": stream.getvalue(),
        "pickle.safetensors": pickle.dumps(Malicious()),
        "huge.safetensors": header({"a": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 2**62]}}),
        "nan.safetensors": safetensors.torch.save(nan),
        "empty.safetensors": b"",
        "length.safetensors": (2**62).to_bytes(8, "little") + good[8:],
        "short.safetensors": (7).to_bytes(8, "little") + good[8:],
        "cut.safetensors": good[:-100],
        "overlap.safetensors": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        "deep.safetensors": (20_000).to_bytes(8, "little") + b"[" * 20_000,
        "other.safetensors": safetensors.torch.save({"a": torch.zeros(2)}),
        "shapes.safetensors": safetensors.torch.save({name: tensor[None].clone() for name, tensor in state.items()}),
        "complex.safetensors": safetensors.torch.save({n: t.to(torch.complex64) for n, t in state.items()}),
        "torch.safetensors": whole.getvalue(),
        "pickle.pt": pickle.dumps(Malicious()),
        "reduce.pth": old.getvalue(),
        "cut.pt": whole.getvalue()[:-200],
        "list.pt": whole.getvalue()[:10],
        "sparse.pt": sparse.getvalue(),
        "safe.pt": good,
    }


@shares(4, 99)
def test_checkpoints(ends_well, tmp_path, monkeypatch, checkpoints, examples):
    monkeypatch.chdir(tmp_path)
    for number, (name, content) in enumerate(list(checkpoints.items())[:examples]):
        study = tmp_path / str(number)
        study.mkdir()
        (study / name).write_bytes(content)
        (study / "study.yaml").write_text(
            f"name: c\ndata: [digits]\nmodels: [{{name: digits_cnn, checkpoint: {name}, normalisation: dataset}}]\n"
            f"scorers: [magnitude]\nsparsities: [0.5]\n"
        )
        ends_well("plan", study)
        assert ends_well("run", study) == 2, name
        ends_well("status", study)
    assert not list(tmp_path.rglob("MARK"))


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a file with bytes overwritten, cut out, put in or repeated, or with another header."""
    content = whole
    if draw(st.booleans()):
        dtypes = st.sampled_from(["F32", "F64", "BF16", "I8", "U64", "F99", "", 7])
        sizes = st.integers(-1, 2**33)
        tensor = st.fixed_dictionaries({
            "dtype": dtypes, "shape": st.lists(sizes, max_size=3), "data_offsets": st.lists(sizes, max_size=3),
        })  # fmt: skip
        names = st.sampled_from(["features.0.weight", "__metadata__", "", "a" * 300])
        content = (
            header(draw(st.dictionaries(names, tensor, max_size=3))) + whole[8 + int.from_bytes(whole[:8], "little") :]
        )
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, min(len(content), 4000)) | st.integers(0, len(content)))
        end = min(len(content), place + draw(st.integers(0, 40) | st.integers(0, len(content))))
        middle = draw(st.binary(max_size=20) | st.just(content[place:end] * 2) | st.just(b""))
        content = content[:place] + middle + content[end:]
    return content


@pytest.mark.parametrize("name", ["safe.pt", "torch.safetensors"])
@shares(8, 300)
def test_damaged_checkpoints(ends_well, tmp_path, checkpoints, name, examples):
    study = tmp_path / "study"
    codes = []

    def check(content: bytes) -> None:
        for suffix in (".safetensors", ".pt"):
            shutil.rmtree(study, ignore_errors=True)
            study.mkdir()
            (study / f"net{suffix}").write_bytes(content)
            (study / "study.yaml").write_text(
                f"name: c\ndata: [digits]\n"
                f"models: [{{name: digits_cnn, checkpoint: net{suffix}, normalisation: dataset}}]\n"
                f"scorers: [magnitude]\nsparsities: [0.5]\n"
            )
            codes.append(ends_well("plan", study))
            ends_well("run", study, "--limit", "1")  # some weights are only others
            ends_well("status", study)

    fuzz(damaged(checkpoints[name]), check, examples)
    assert 2 in codes  # some damage is met before anything is computed
