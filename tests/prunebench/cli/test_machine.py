"""The description of this machine."""

from __future__ import annotations

from prunebench.cli.machine import describe_machine


def test_versions_and_the_database_are_described(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    described = describe_machine()
    assert "torch" in described["versions"]
    assert described["database"] == "SQLite with WAL works in this folder"
    assert list(tmp_path.iterdir()) == []


def test_the_data_folder_lists_its_folders_or_names_what_is_wrong(tmp_path, monkeypatch):
    for name in ("weights", "cifar10"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path))
    assert describe_machine()["PRUNEBENCH_DATA"] == f"{tmp_path}: cifar10, weights"
    monkeypatch.setenv("PRUNEBENCH_DATA", str(tmp_path / "absent"))
    assert "there is no such folder" in describe_machine()["PRUNEBENCH_DATA"]
    monkeypatch.delenv("PRUNEBENCH_DATA")
    assert describe_machine()["PRUNEBENCH_DATA"].startswith("not set: ")
