"""Arguments of every kind."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from tests.prunebench.cli.fuzzing import fuzz, shares

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


STUDY = """\
name: theirs
data: [{name: digits}]
models: [{name: digits_cnn, recipe: {epochs: 1}}]
train_seeds: 1
scorers: [magnitude]
sparsities: [0.5]
"""


WORDS = st.sampled_from((
    "", "-", "--", "--json", "--profile", "quick", "--only", "scorer=magnitude", "sparsity=x", "=", "cell=",
    "--limit", "0",
    "-1", "1e9", "nan", "inf", "--cell-timeout", "--merge", "--cache", "--from", "digits", "--model", "--data", "-o",
    "x.txt", "x.safetensors", "--eps", "--basis", "wavelet", "--sd", "--models", "--pilot", "--chance", "--sparsity",
    "--smooth-degree", "--map", "--figure", "--device", "cuda", "tpu", "--engine", "ray9", "--retry-failed", "--kind",
    "scorer", "magnitude", "all!", "./no.py:f", "os:getcwd", "a" * 300, "\x00", "\udcff", "[/red]", "../..", "/",
    "~", ".", "x.pt2", "--compact",
    "--workers", "--address", "127.0.0.1:1", "--gpus-per-worker", "1.5", "--store", "sqlite://x", "postgresql://x",
    "--token", "--certificates", "--cells", "--salt", "--retrain",
    "--artifacts", "memory://x", "a://b::c://d", "~nobody-there/x",
    "/dev/null", "/proc/self/mem", "file", "folder", "study", "study/study.yaml", "absent", "--help", "--version",
))  # fmt: skip


COMMANDS = (
    "new",
    "plan",
    "run",
    "status",
    "show",
    "report",
    "claims",
    "overview",
    "kappa",
    "power",
    "list",
    "check",
    "prune",
    "doctor",
    "timestamp",
    "audit",
    "register",
    "amend",
    "verify",
    "x",
    "",
)


@shares(30, 1500)
def test_arguments(ends_well, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text(STUDY)

    def check(words: tuple[str, list[str]]) -> None:
        first, rest = words
        if first == "run":
            rest = [*rest, "--only", "cell=none"]  # else it would run
        if first == "kappa":
            rest = ["magnitude", *rest]  # else it would measure all scorers
        ends_well(first, *rest)
        if first in ("plan", "run", "status", "show"):
            assert not list(tmp_path.rglob("results.db"))

    fuzz(st.tuples(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=5)), check, examples)
