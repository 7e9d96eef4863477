"""Two processes that share one device write the rows of a single one; training is repeated bit for bit on the way."""

from __future__ import annotations

from evidence import assert_same, write_study

from bench.store.reader import read_database


def test_two_workers_on_one_device_give_the_same_rows(device, command, tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder, options in zip(folders, ([], ["--workers", "2"]), strict=True):
        result = command("run", write_study(folder), "--device", device, *options)
        assert result.code == 0, result.err
        assert ", 0 failed" in result.out
    assert read_database(folders[1]).rows["device_class"].nunique() == 1
    assert_same(*folders)
