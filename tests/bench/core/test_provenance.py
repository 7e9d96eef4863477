"""Tests of `bench.core.provenance`."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, version

from bench.core.provenance import git_revision, package_versions, provenance


def test_versions_are_the_installed_ones():
    versions = package_versions()
    assert versions["torch"] == version("torch")
    assert versions["prunebench"] == version("prunebench")


def test_git_revision_is_that_of_the_folder(tmp_path):
    assert git_revision(tmp_path) is None

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "f").write_text("1")
    git("add", "f")
    git("commit", "-m", "first")
    revision = git_revision(tmp_path)
    assert len(revision["commit"]) == 40
    assert revision["uncommitted_changes"] is False
    (tmp_path / "f").write_text("2")
    assert git_revision(tmp_path)["uncommitted_changes"] is True


def test_provenance_holds_plain_json_values():
    found = provenance("NVIDIA H200")
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "NVIDIA H200"
    assert found["python"] == platform.python_version()
    assert found["packages"] == package_versions()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0


def test_provenance_does_not_load_torch():
    code = "import sys, bench.core.provenance as p; p.provenance('cpu'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_absent_package_is_stored_as_absent(monkeypatch):
    def nothing_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(Distribution, "from_name", nothing_installed)
    assert set(package_versions().values()) == {"absent"}


def test_a_folder_without_git_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision(tmp_path) is None
