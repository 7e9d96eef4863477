"""Curves on a grid whose kappa is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from analysis.kappa.approximation import scaled
from analysis.kappa.curves import Curves

U = np.linspace(0.1, 1, 2048)


def made(scorer="v1", draw=0, **features):
    values = scaled(np.stack(list(features.values())))
    return Curves(scorer, None, draw, tuple(features), U, values, by_design={"v1": 1, "a5": 2}.get(scorer))


def with_curves(data, **curves):
    """Give the study's scorers v1 and a5 these two features, on a real grid."""
    u = np.linspace(0.1, 1, 512)
    parts = [
        pd.DataFrame({"scorer": s, "sparsity": np.nan, "draw": 0, "feature": f, "u": u, "value": scaled(function(u))})
        for s in ("v1", "a5") for f, function in curves.items()
    ]  # fmt: skip
    return dataclasses.replace(data, curves=pd.concat(parts, ignore_index=True))
