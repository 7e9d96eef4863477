"""Hints of error messages."""

from __future__ import annotations

import pytest

from analysis.errors import nearest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("asrr", "did you mean 'asr'?"),
        ("contrasts", "did you mean 'contrast'?"),
        ("zzz", "valid: asr, contrast"),
        ("", "valid: asr, contrast"),
    ],
)
def test_the_nearest_name_or_all_of_them(name, hint):
    assert nearest(name, {"contrast", "asr"}) == hint
