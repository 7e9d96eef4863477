"""The checklist of Blalock et al. (2020), "What is the state of neural network pruning?", met or not met."""

from __future__ import annotations

import pandas as pd

from analysis.evidence import frames
from analysis.formats import count
from bench.store.reader import StudyData

PAIRS, POINTS = 3, 5


def checklist(data: StudyData) -> pd.DataFrame:
    """Judge a study against the checklist.

    Returns
    -------
    DataFrame
        ``Asked for``, ``Met`` (met, not met) and ``Here``: what the study has.
    """
    rows = frames.done(frames.pruned(data.rows))
    pairs = len(rows[["dataset", "model"]].drop_duplicates())
    # An allocation that sets the sparsity itself reaches another one with every scorer: it counts as one point.
    points = rows["sparsity"].astype("object").where(rows["sparsity"].notna(), rows["allocation"])
    levels = points.groupby([rows["dataset"], rows["model"]]).nunique()
    fewest = int(levels.min()) if len(levels) else 0
    reference = frames.done(data.rows[data.rows["scorer"].eq("dense")])
    with_dense = len(reference[["dataset", "model"]].drop_duplicates())
    seeds = rows.groupby(["dataset", "model"])["checkpoint"].nunique()
    fewest_models = int(seeds.min()) if len(seeds) else 0
    controls = {frames.RANDOM, frames.MAGNITUDE} & set(rows["scorer"])
    # No product remains of some networks with emptied layers: they have no speed-up, and nothing is missing.
    nothing_left = rows["speedup"].isna() & rows["emptied_layers"].gt(0).fillna(False)
    known = rows["sparsity_parameters"].notna() & (rows["speedup"].notna() | nothing_left)
    both = len(rows) > 0 and bool(known.all()) and not bool(nothing_left.all())
    without = f"; {count(nothing_left.sum())} cells have none, since no product remains" if nothing_left.any() else ""
    asked = (
        (f"At least {PAIRS} pairs of data set and architecture", pairs >= PAIRS, f"{pairs} pairs"),
        (f"At least {POINTS} operating points per pair", fewest >= POINTS, f"{fewest} sparsities at least"),
        (
            "Both compression and theoretical speed-up", both,
            f"every cell: zeros over all parameters, and dense over remaining multiplications{without}"
            if both else "missing for some cells",
        ),
        ("Accuracy of the dense model", 0 < pairs <= with_dense, f"for {with_dense} of {pairs} pairs"),
        (
            "Error bars over independently trained models", fewest_models >= 2,
            f"{count(fewest_models)} models per pair at least",
        ),
        (
            "Random and magnitude pruning as controls", len(controls) == 2,
            " and ".join(sorted(controls)) if controls else "neither",
        ),
    )  # fmt: skip
    return pd.DataFrame(
        [{"Asked for": what, "Met": "met" if met else "not met", "Here": here} for what, met, here in asked]
    )
