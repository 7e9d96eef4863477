"""Numbers and settings as people read them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.formats import (
    NONE,
    count,
    decimal,
    p_phrase,
    p_value,
    percent,
    points,
    short,
    signed,
    signed_span,
    span,
    where,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize("show", [percent, points, signed, p_value, decimal, count, short])
@pytest.mark.parametrize("absent", [None, math.nan, pd.NA, np.float64("nan")])
def test_no_number_is_a_dash(show, absent):
    assert show(absent) == NONE


def test_differences_have_their_sign_and_zero_has_none():
    assert [points(value) for value in (0.0123, -0.0123, 0.0, -1e-9)] == ["+1.23", f"{MINUS}1.23", "0.00", "0.00"]
    assert [percent(value) for value in (0.5, -0.5)] == ["50.00", f"{MINUS}50.00"]
    assert decimal(-1.5, 1) == f"{MINUS}1.5"


@pytest.mark.parametrize(
    ("p", "shown", "phrase"),
    [(0.5, "0.50", "p = 0.50"), (0.0123, "0.0123", "p = 0.0123"), (9e-4, "< 0.001", "p < 0.001"),
     (1e-3, "0.0010", "p = 0.0010"), (0.0999, "0.0999", "p = 0.0999"), (0.1, "0.10", "p = 0.10")],
)  # fmt: skip
def test_p_values_have_the_digits_that_matter(p, shown, phrase):
    assert (p_value(p), p_phrase(p)) == (shown, phrase)


def test_an_interval_has_both_bounds_or_none():
    assert span(0.5, 0.625) == "50.00 to 62.50"
    assert span(-0.01, 0.02, signed=True) == f"{MINUS}1.00 to +2.00"
    assert span(math.nan, 1.0) == span(0.0, None) == NONE


def test_records_are_in_points_already():
    assert [signed(value) for value in (1.234, -1.234, 0.0)] == ["+1.23", f"{MINUS}1.23", "0.00"]
    assert signed_span(-1, 2) == f"{MINUS}1.00 to +2.00"
    assert signed_span(math.nan, 1.0) == signed_span(0.0, None) == NONE


def test_a_setting_names_only_what_distinguishes_it():
    setting = {
        "dataset": "digits", "model": "cnn", "granularity": "channel", "allocation": "global", "scorer": "l2",
        "sparsity": 0.975, "correction": "none", "recalibration": "exact", "calibration_images": 1024,
    }  # fmt: skip
    plain = "cnn on digits, channel, global, l2, sparsity 97.5 %, recalibration exact"
    assert where(setting) == plain
    assert where(setting, compared=True) == f"{plain}, calibration images 1,024"
    assert where(setting | {"method": "v1 + dbo", "sparsity": math.nan, "recalibration": "none"}) == (
        "cnn on digits, channel, global, v1 + dbo"
    )
    assert where({}) == "all models on all data sets"
