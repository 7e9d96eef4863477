"""The checklist of Blalock et al. (2020), "What is the state of neural network pruning?", met or not met."""

from __future__ import annotations

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.formats import count

PAIRS, POINTS = 3, 5


def checklist(data: Evidence) -> pd.DataFrame:
    """Compare a study with the checklist.

    Returns
    -------
    DataFrame
        ``Requirement``, ``Met`` (met, not met) and ``Here``: what the study has.

    Notes
    -----
    An operating point is a requested sparsity. An allocation that determines the sparsity itself, such as EMP, reaches
    another one with every scorer and model, so it is named, but not counted.
    """
    rows = data.evaluated
    pairs = len(rows[["dataset", "model"]].drop_duplicates())
    levels = rows.groupby(["dataset", "model"])["sparsity"].nunique()
    fewest = int(levels.min()) if len(levels) else 0
    own = rows.loc[rows["sparsity"].isna(), "allocation"].nunique()
    not_counted = f"; {count(own)} allocation{'s' * (own != 1)} without a requested sparsity not counted" if own else ""
    reference = data.dense_evaluated
    with_dense = len(reference[["dataset", "model"]].drop_duplicates())
    seeds = rows.groupby(["dataset", "model"])["checkpoint"].nunique()
    fewest_models = int(seeds.min()) if len(seeds) else 0
    controls = {frames.RANDOM, frames.MAGNITUDE} & set(rows["scorer"])
    # No product remains of some networks with emptied layers: they have no speed-up, and nothing is missing.
    nothing_left = rows["speedup"].isna() & rows["emptied_layers"].gt(0).fillna(False)
    known = rows["sparsity_parameters"].notna() & (rows["speedup"].notna() | nothing_left)
    both = len(rows) > 0 and bool(known.all()) and not bool(nothing_left.all())
    without = f"; {count(nothing_left.sum())} cells have none, since no product remains" if nothing_left.any() else ""
    requirements = (
        (f"At least {PAIRS} pairs of data set and architecture", pairs >= PAIRS, f"{pairs} pair{'s' * (pairs != 1)}"),
        (
            f"At least {POINTS} operating points per pair", fewest >= POINTS,
            f"at least {count(fewest)} requested sparsit{'y' if fewest == 1 else 'ies'}{not_counted}",
        ),
        (
            "Both compression and theoretical speed-up", both,
            f"every cell: zeros over all parameters, and dense over remaining multiplications{without}"
            if both else "missing for some cells",
        ),
        ("Accuracy of the dense model", 0 < pairs <= with_dense, f"for {with_dense} of {pairs} pairs"),
        (
            "Error bars over independently trained models", fewest_models >= 2,
            f"at least {count(fewest_models)} model{'s' * (fewest_models != 1)} per pair",
        ),
        (
            "Random and magnitude pruning as controls", len(controls) == 2,
            " and ".join(sorted(controls)) if controls else "neither",
        ),
    )  # fmt: skip
    return pd.DataFrame(
        [{"Requirement": what, "Met": "met" if met else "not met", "Here": here} for what, met, here in requirements]
    )
