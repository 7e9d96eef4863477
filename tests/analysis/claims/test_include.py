"""What an entry of `include` names: a paper, a file, a function, an installed package."""

from __future__ import annotations

import sys

import pytest

from analysis.claims.include import find_included, papers
from analysis.errors import AnalysisError


def test_the_papers_that_are_shipped():
    assert papers() == ("asr", "controls", "emp", "sics")
    for name in papers():
        assert find_included(name, "unused").read_text().startswith("#")


@pytest.mark.parametrize("entry", ["./more.yaml", "more.yaml", "{module}:claims", "{module}:as_text"])
def test_a_file_or_a_function_next_to_the_claims(own_claims, tmp_path, entry):
    assert find_included(entry.format(module=own_claims), tmp_path) == tmp_path / "more.yaml"


def test_the_name_that_an_installed_package_offers(offered, tmp_path):
    sys.path.append(str(tmp_path))  # where the module of the entry point lies
    assert find_included("theirs", tmp_path / "elsewhere") == tmp_path / "more.yaml"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no_such_module_here:claims", "cannot import 'no_such_module_here': ModuleNotFoundError: No module"),
        ("broken:claims", "cannot import 'broken': ZeroDivisionError: division by zero"),
        ("{module}:claim", "no function 'claim' in {module}: did you mean 'claims'?"),
        ("{module}:number", "{module}:number returned int instead of the path of a YAML file"),
        ("{module}:raises", "{module}:raises raised ZeroDivisionError: on purpose"),
        ("their", "no claims are named 'their': did you mean 'theirs'?"),
        ("sics", "'sics' names several files of claims ({module}:claims, shipped with prunebench); write package"),
        (
            "broken",
            "the installed package's claims 'broken' (no_such_module_here:claims) cannot be imported: ModuleNotF",
        ),
    ],
)
def test_an_entry_that_names_nothing_is_an_error_of_one_line(offered, tmp_path, entry, message):
    with pytest.raises(AnalysisError) as caught:
        find_included(entry.format(module=offered), tmp_path)
    assert message.format(module=offered) in str(caught.value)
    assert "\n" not in str(caught.value)
