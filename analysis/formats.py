"""How numbers look to people; tables, figures and sentences use it last, so nothing is rounded early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

#: Shown where there is no number.
NONE = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def percent(value: Any, digits: int = 2) -> str:
    """Show a fraction in percent, without the sign.

    Examples
    --------
    >>> percent(0.9137), percent(None) == NONE, percent(0.95, 0)
    ('91.37', True, '95')
    """
    return NONE if _absent(value) else f"{100 * float(value):.{digits}f}".replace("-", _MINUS)


def points(value: Any, digits: int = 2) -> str:
    """Show a difference of fractions in percentage points, always with its sign.

    Examples
    --------
    >>> points(0.0123), points(-0.5, 1).replace(_MINUS, "-"), points(0.0)
    ('+1.23', '-50.0', '0.00')
    """
    if _absent(value):
        return NONE
    text = f"{100 * float(value):+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", _MINUS)


def signed(value: Any, digits: int = 2) -> str:
    """Show a difference that is in percentage points already, always with its sign.

    Examples
    --------
    >>> signed(1.234), signed(0.0), signed(None) == NONE
    ('+1.23', '0.00', True)
    """
    return points(None if _absent(value) else value / 100, digits)


def signed_span(low: Any, high: Any) -> str:
    """Show an interval of differences that are in percentage points already.

    Examples
    --------
    >>> signed_span(1, 2), signed_span(None, 1) == NONE
    ('+1.00 to +2.00', True)
    """
    return NONE if _absent(low) or _absent(high) else f"{signed(low)} to {signed(high)}"


def p_value(value: Any) -> str:
    """Show a p-value.

    Examples
    --------
    >>> p_value(0.01234), p_value(1e-9), p_value(float("nan")) == NONE
    ('0.0123', '< 0.001', True)
    """
    if _absent(value):
        return NONE
    return "< 0.001" if value < 1e-3 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def p_phrase(value: Any) -> str:
    """Show a p-value in a sentence.

    Examples
    --------
    >>> p_phrase(0.01234), p_phrase(1e-9)
    ('p = 0.0123', 'p < 0.001')
    """
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def decimal(value: Any, digits: int = 2) -> str:
    """Show a plain number.

    Examples
    --------
    >>> decimal(1.234), decimal(0.5, 1)
    ('1.23', '0.5')
    """
    return NONE if _absent(value) else f"{float(value):.{digits}f}".replace("-", _MINUS)


def count(value: Any) -> str:
    """Show a whole number.

    Examples
    --------
    >>> count(12345)
    '12,345'
    """
    return NONE if _absent(value) else f"{int(value):,}"


def span(low: Any, high: Any, *, signed: bool = False) -> str:
    """Show an interval of fractions in percent, or of differences in points.

    Examples
    --------
    >>> span(0.5, 0.625), span(0.01, 0.02, signed=True), span(float("nan"), 1.0) == NONE
    ('50.00 to 62.50', '+1.00 to +2.00', True)
    """
    if _absent(low) or _absent(high):
        return NONE
    show = points if signed else percent
    return f"{show(low)} to {show(high)}"


def short(value: Any, length: int = 12) -> str:
    """Show the start of a hash.

    Examples
    --------
    >>> short("0123456789abcdef")
    '0123456789ab'
    """
    return NONE if _absent(value) else str(value)[:length]


def where(setting: Mapping[str, Any], *, compared: bool = False) -> str:
    """Describe a setting in words; repairs that are none are left out, and calibration sizes unless they are compared.

    Examples
    --------
    >>> where({"dataset": "digits", "model": "cnn", "granularity": "channel", "sparsity": 0.5})
    'cnn on digits, channel, sparsity 50 %'
    >>> where({"dataset": "digits", "recalibration": "ema"})
    'all models on digits, recalibration ema'
    """
    text = f"{setting.get('model', 'all models')} on {setting.get('dataset', 'all data sets')}"
    for key in ("granularity", "allocation", "method" if "method" in setting else "scorer"):
        if key in setting:
            text += f", {setting[key]}"
    if not _absent(setting.get("sparsity")):
        text += f", sparsity {percent(setting['sparsity'], 0 if _whole(setting['sparsity']) else 1)} %"
    for key in ("correction", "recalibration"):
        if setting.get(key, "none") != "none":
            text += f", {key} {setting[key]}"
    for key in ("calibration_images", "calibration_batch"):
        if compared and key in setting:
            text += f", {key.replace('_', ' ')} {count(setting[key])}"
    return text


def _whole(fraction: Any) -> bool:
    return math.isclose(100 * float(fraction), round(100 * float(fraction)), abs_tol=1e-9)


def _absent(value: Any) -> bool:
    return value is None or bool(pd.isna(value))
