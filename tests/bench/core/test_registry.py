"""Plug-ins: options, duplicates, and a user's own."""

from __future__ import annotations

import hashlib
import sys
from typing import Annotated

import pytest
from pydantic import Field

from bench.core.errors import UserError
from bench.core.registry import Plugin, Registry


def sample(x: int, *, size: Annotated[int, Field(ge=1)] = 3, mode: str = "a") -> int:
    """Return x."""
    return x


PLUGIN = Plugin("scorer", "sample", sample)


def test_defaults_are_filled_in_and_only_changes_are_shown():
    assert PLUGIN.resolve({}).options == {"size": 3, "mode": "a"}
    assert PLUGIN.resolve({}).label == "sample"
    assert PLUGIN.resolve({"size": 4}).label == "sample(size=4)"


def test_a_newer_option_at_its_default_changes_no_identity():
    newer = Plugin("scorer", "sample", sample, newer=("mode",))
    before = {"name": "sample", "options": {"size": 3}, "version": 1}
    assert newer.resolve({}).identity() == newer.resolve({"mode": "a"}).identity() == before
    assert newer.resolve({"mode": "b"}).options == {"size": 3, "mode": "b"}
    assert newer.resolve({"mode": "b"}).label == "sample(mode=b)"


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


def test_a_users_allocation_sets_the_sparsity_where_it_says_so(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from prunebench.plugin import FeatureMap\nimport prunebench.plugin as t\n"
        "def own(units, scores, sparsity: None, view): ...\n"
        "def required(units, scores, sparsity, view): ...\n"
        "def either(units, scores, sparsity: float | None, view): ...\n"
        "def plain(view, calibration, generator): ...\n"
        "def target(view, calibration, generator, sparsity): ...\n"
        "def option(view, calibration, generator, *, sparsity: float = 0.5) -> FeatureMap: ...\n"
        "def features(view, calibration, generator, *, size: int = 1) -> 't.FeatureMap': ...\n"
    )
    registry = Registry([], tmp_path)
    allocations = [registry.get("allocation", f"./mine.py:{name}") for name in ("own", "required", "either")]
    assert [plugin.sets_sparsity for plugin in allocations] == [True, False, False]
    assert Plugin("allocation", "ours", sample, sets_sparsity=True).sets_sparsity
    scorers = [registry.get("scorer", f"./mine.py:{name}") for name in ("plain", "target", "option", "features")]
    assert [plugin.takes_sparsity for plugin in scorers] == [False, True, False, False]
    assert [plugin.fuses_features for plugin in scorers] == [False, False, True, True]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Let this process find an installed package that offers entry points."""

    def _install(points: str) -> None:
        information = tmp_path / "their_package-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(points)
        (tmp_path / "their_package.py").write_text("def mine(x): 'Say what.'\nconstant = 3\n")
        (tmp_path / "their_broken_package.py").write_text("raise RuntimeError('on\\npurpose')\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield _install
    sys.modules.pop("their_package", None)


@pytest.mark.parametrize("kind", ["scorer", "search", "allocation", "correction", "recalibration"])
def test_an_installed_package_offers_plugins(install, kind):
    install(f"[prunebench.{'searches' if kind == 'search' else f'{kind}s'}]\nmine = their_package:mine\n")
    registry = Registry([])
    registry.add_entry_points()
    plugin = registry.get(kind, "mine")
    assert (plugin.kind, plugin.formula, plugin.function(0)) == (kind, "Say what.", None)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "mine = their_broken_package:mine",
            r"the scorer 'mine' of the installed package their-package cannot be imported from "
            r"their_broken_package:mine: RuntimeError: on purpose; repair or uninstall that package$",
        ),
        ("mine = their_package:absent", "cannot be imported from their_package:absent: AttributeError: .*'absent'"),
        (
            "mine = their_package:constant",
            r"scorer 'mine': is a int, not a function; wrap it in one with `def`; "
            r"repair or uninstall the package their-package \(their_package:constant\)$",
        ),
        (
            "sample = their_package:mine",
            r"two scorers are named 'sample'; rename one; repair or uninstall the package their-package",
        ),
        (
            "dense = their_package:mine",
            "'dense' is the name of the unpruned model's rows; give the scorer another; repair",
        ),
    ],
)
def test_a_broken_package_is_named(install, point, message):
    install(f"[prunebench.scorers]\n{point}\n")
    with pytest.raises(UserError, match=message) as caught:
        Registry([PLUGIN]).add_entry_points()
    assert "\n" not in str(caught.value)


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
