"""Checkpoint files as programs write them, and checks of what is read from them."""

from __future__ import annotations

import io

import torch


def torch_bytes(value):
    """Return what `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def legacy(value):
    """Return what `torch.save` wrote before version 1.6."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    assert not buffer.getvalue().startswith(b"PK")
    return buffer.getvalue()


def assert_equal(found, expected):
    """Two states have the same names in order, types and values."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def check_message(text, *parts):
    """A message is one printable line with these parts, not too long."""
    assert text.isprintable()
    assert len(text) < 1500
    assert text.count("`") % 2 == 0
    for part in parts:
        assert part in text
