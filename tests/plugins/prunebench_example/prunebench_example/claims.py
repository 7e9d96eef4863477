"""Where the claims of this package lie; a module of its own, since `prunebench report` does not need torch."""

from __future__ import annotations

from pathlib import Path


def claims() -> Path:
    """Path of the YAML file."""
    return Path(__file__).with_name("claims.yaml")
