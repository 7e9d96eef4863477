"""Evidence that has rows and nothing else."""

from __future__ import annotations

import pandas as pd

from analysis.evidence.evidence import Evidence
from bench.store import schema
from bench.store.reader import empty


def evidence_of(rows: pd.DataFrame) -> Evidence:
    """Return the evidence of these rows, without checks, dense models and provenance."""
    return Evidence(rows, empty(schema.CHECKS), empty(schema.DENSE), {"provenance": {}})
