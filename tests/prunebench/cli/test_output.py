"""Printing: JSON for programs, tables for people."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from prunebench.cli.output import make_console, print_frame, print_json


def test_json_has_sorted_keys_and_writes_paths_as_text(capsys):
    print_json({"b": Path("x"), "a": [1]})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": [1], "b": "x"}
    assert text.index('"a"') < text.index('"b"')


def test_names_that_look_like_markup_are_printed_literally(capsys):
    make_console().print("[red]x[/red] :smile:")
    assert capsys.readouterr().out == "[red]x[/red] :smile:\n"


def test_a_frame_is_printed_with_its_index_first(capsys):
    print_frame(pd.DataFrame({"D": ["5"]}, index=["peak"]), make_console())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["D"], ["peak", "5"]]
