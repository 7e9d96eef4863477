"""Old import paths: which object they give, and the text of the warning."""

from __future__ import annotations

import pytest

from bench.core import errors, identity
from bench.core.deprecated import moved


def test_a_name_is_found_in_the_first_new_module_that_has_it():
    find = moved("bench.old", "bench.core.errors", "bench.core.identity")
    with pytest.warns(DeprecationWarning, match="import UserError .* else from bench.core.errors$"):
        assert find("UserError") is errors.UserError
    with pytest.warns(DeprecationWarning, match="import digest .* else from bench.core.identity$"):
        assert find("digest") is identity.digest


def test_the_warning_points_at_the_line_that_looks_the_name_up():
    with pytest.warns(DeprecationWarning, match="^bench.old is deprecated and will be removed: ") as caught:
        moved("bench.old", "bench.core.errors")("UserError")
    assert [warning.filename for warning in caught] == [__file__]


def test_a_name_that_no_new_module_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'bench\.core\.errors' has no attribute 'absent'"):
        moved("bench.old", "bench.core.errors", "bench.core.identity")("absent")


def test_new_modules_are_imported_when_a_name_is_looked_up():
    find = moved("bench.old", "bench.core.no_such_module")
    with pytest.raises(ModuleNotFoundError):
        find("UserError")
