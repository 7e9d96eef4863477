"""Plug-ins: options, duplicates, and a user's own."""

from __future__ import annotations

import hashlib
from typing import Annotated

import pytest
from pydantic import Field

from bench.errors import UserError
from bench.registry import Plugin, Registry


def sample(x: int, *, size: Annotated[int, Field(ge=1)] = 3, mode: str = "a") -> int:
    """Return x."""
    return x


PLUGIN = Plugin("scorer", "sample", sample)


def test_defaults_are_filled_in_and_only_changes_are_shown():
    assert PLUGIN.resolve({}).options == {"size": 3, "mode": "a"}
    assert PLUGIN.resolve({}).label == "sample"
    assert PLUGIN.resolve({"size": 4}).label == "sample(size=4)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sise": 1}, "did you mean 'size'"),
        ({"size": 0}, "greater than or equal to 1"),
        ({"size": "x"}, "integer"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(UserError, match=message):
        PLUGIN.resolve(options)


def test_a_duplicate_name_is_an_error():
    with pytest.raises(UserError, match="two scorers are named 'sample'"):
        Registry([PLUGIN, PLUGIN])
    Registry([PLUGIN, Plugin("allocation", "sample", sample)])


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="no scorer named 'smple': did you mean 'sample'"):
        Registry([PLUGIN]).get("scorer", "smple")


def test_a_file_beside_the_study_is_versioned_by_its_content(tmp_path):
    (tmp_path / "mine.py").write_text("def score(view, calibration, generator, *, power: float = 2.0): ...\n")
    plugin = Registry([], tmp_path).get("scorer", "./mine.py:score")
    assert plugin.version == hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert plugin.resolve({}).options == {"power": 2.0}


def test_a_module_beside_the_study_is_found(tmp_path):
    (tmp_path / "prunebench_test_module.py").write_text("def score(view, calibration, generator): ...\n")
    plugin = Registry([], tmp_path).get("scorer", "prunebench_test_module:score")
    assert plugin.name == "prunebench_test_module:score"


def test_annotations_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\ndef score(view: Absent, calibration, generator): ...\n"
    )
    with pytest.raises(UserError, match="'Absent' is not defined"):
        Registry([], tmp_path).get("scorer", "./mine.py:score").resolve({})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./absent.py:score", "there is no file"),
        ("./mine.py:scor", "no function 'scor' there: did you mean 'score'"),
        ("./broken.py:score", "importing .* raised ZeroDivisionError"),
        ("no_such_module_here:score", "cannot import 'no_such_module_here': ModuleNotFoundError"),
        ("analysis:score", "hidden by our package"),
        ("./mine.py:partial", "is a partial, not a function"),
    ],
)
def test_a_users_mistake_is_named(tmp_path, reference, message):
    (tmp_path / "mine.py").write_text("from functools import partial as p\ndef score(): ...\npartial = p(score)\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "analysis.py").write_text("def score(): ...\n")
    with pytest.raises(UserError, match=message):
        Registry([], tmp_path).get("scorer", reference)
