"""Pure functions from rows to the frames that tests, tables and figures need.

The unit of every comparison is an independently trained model, known by its checkpoint hash. Calibration
draws nest in it: they are averaged, never counted. Rows are compared only inside a *block*: same dense
model, draw, setting, precision and device class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.stats.intervals import bca_bounds, t_half_width
from bench.core.types import AXES, UNREPAIRED

#: The reference scorer: what every score that is monotone in it must equal.
MAGNITUDE = "magnitude"

#: The control that scores at random, and the search that every other one is compared with.
RANDOM, EQUAL = "random", "equal"

#: What is compared in a setting: a scorer, the search of its fusion weights, and the name of both together.
METHOD: tuple[str, ...] = ("scorer", "search", "method")

_COMPARED = [axis for axis in AXES if axis.name not in ("train_seed", "calibration_draw", *METHOD)]

#: What a mean over models is taken within; the method comes on top.
SETTING: tuple[str, ...] = (*(axis.name for axis in _COMPARED), "precision")

#: What the layers that are pruned depend on.
NETWORK: tuple[str, ...] = tuple(
    axis.name for axis in _COMPARED if axis.stage in ("model", "mask") and axis.name != "sparsity"
)

#: What names a mask, whatever repair follows; the group stands for data set, model and train seed.
MASK: tuple[str, ...] = ("group", *(axis.name for axis in AXES if axis.stage in ("calibration", "mask")))

#: Columns of a setting -> their headings in a table, in the order of the columns; the sparsity has a column of its own.
HEADINGS: dict[str, str] = {
    **{axis.name: axis.heading for stage in ("model", "mask", "calibration") for axis in _COMPARED
       if axis.stage == stage and axis.name != "sparsity"},
    "precision": "Precision",
    **{axis.name: axis.heading for axis in _COMPARED if axis.stage == "evaluation"},
    "method": "Scorer",
}  # fmt: skip

#: What must be equal for two rows to be compared.
BLOCK: tuple[str, ...] = (*SETTING, "checkpoint", "calibration_draw", "device_class")


def pruned(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of pruned models, in any state."""
    return rows[rows["scorer"] != "dense"]


def done(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that were evaluated."""
    return rows[rows["state"].eq("done").fillna(False).astype(bool)]


def main_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Pruned rows of the main comparison: first calibration size and batch.

    Sweeps over these axes are in the tables; mixing them in a figure would count a model twice.
    """
    chosen = pruned(rows)
    for axis in ("calibration_images", "calibration_batch"):
        first = chosen.groupby("dataset", sort=False)[axis].transform("first")
        chosen = chosen[chosen[axis].eq(first).fillna(False) | first.isna()]
    return chosen


def unsearched(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of scorers that have no fusion weights to search."""
    return rows[rows["search"].eq("none")]


def searched(rows: pd.DataFrame) -> pd.DataFrame:
    """Pruned rows of feature scorers, whose fusion weights a search found; equal weights count as one."""
    chosen = pruned(rows)
    return chosen[chosen["search"].ne("none")]


def unrepaired(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without correction and recalibration: those at the default of every axis of the evaluation."""
    return rows[rows[list(UNREPAIRED)].eq(pd.Series(UNREPAIRED)).all(axis=1)]


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluated rows without search or repair."""
    return done(unrepaired(unsearched(rows)))


def count_states(rows: pd.DataFrame, by: Sequence[str] = (*SETTING, *METHOD)) -> pd.DataFrame:
    """Count planned cells by state; failures stay in the denominator.

    Returns
    -------
    DataFrame
        `by`, then ``planned``, ``done``, ``failed``, ``skipped``, ``to_do`` (running counts as to do).
    """
    state = rows["state"].fillna("to_do").replace("running", "to_do")
    counts = {name: state.eq(name) for name in ("done", "failed", "skipped", "to_do")}
    frame = rows[list(by)].assign(planned=1, **counts)
    return frame.groupby(list(by), sort=False, dropna=False, observed=True).sum().astype(int).reset_index()


def per_model(rows: pd.DataFrame, value: str = "accuracy") -> pd.DataFrame:
    """Average the calibration draws of each model.

    Returns
    -------
    DataFrame
        One row per setting, method and checkpoint: ``value`` (same unit) and ``draws``.
    """
    keys = [*SETTING, *METHOD, "checkpoint"]
    grouped = done(rows).groupby(keys, sort=False, dropna=False, observed=True)[value]
    return grouped.agg(["mean", "size"]).reset_index().rename(columns={"mean": value, "size": "draws"})


def contrast(rows: pd.DataFrame, axis: str, reference: str, value: str = "accuracy") -> pd.DataFrame:
    """Pair each done row with the row of its block that differs in `axis` only and has `reference` there.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    axis : str
        ``scorer``, ``search``, ``correction``, ``recalibration`` or ``allocation``. Scorers are compared
        under the same search; a reference without one is compared with every search.
    reference : str
        Label of the reference on that axis.
    value : str
        Column to compare.

    Returns
    -------
    DataFrame
        The paired rows with all their columns, ``reference_value``, ``reference_mask``, ``reference_cell``
        and ``difference`` (row minus reference). Rows without a partner are left out; `count_states`
        counts them. So are scorers and searches for which an allocation that sets the sparsity itself (EMP) set
        another one than for the reference: the difference would be that of the sparsity.
    """
    finished = done(rows)
    partners = finished[finished[axis].eq(reference)]
    freed = {axis, "method"} if axis in METHOD else {axis}
    if axis == "scorer" and partners["search"].eq("none").all():
        freed.add("search")
    keys = [key for key in (*BLOCK, *METHOD) if key not in freed]
    names = {
        value: "reference_value", "mask": "reference_mask", "cell": "reference_cell",
        "sparsity_achieved": "reference_sparsity",
    }  # fmt: skip
    partners = partners[[*keys, *names]].rename(columns=names).drop_duplicates(keys)
    others = finished[~finished[axis].eq(reference)]
    paired = others.merge(partners, on=keys, how="inner")
    if axis in METHOD:
        same = np.isclose(paired["sparsity_achieved"], paired["reference_sparsity"], rtol=0, atol=1e-9)
        paired = paired[paired["sparsity"].notna() | same]
    return paired.assign(difference=paired[value] - paired["reference_value"])


def per_model_difference(paired: pd.DataFrame) -> pd.DataFrame:
    """Average the paired differences of each model over its calibration draws.

    Returns
    -------
    DataFrame
        One row per setting, method and checkpoint: ``difference``, ``draws``, and ``same_mask``: whether
        every draw had the mask of its reference.
    """
    keys = [*SETTING, *METHOD, "checkpoint"]
    marked = paired.assign(same_mask=paired["mask"].eq(paired["reference_mask"]))
    grouped = marked.groupby(keys, sort=False, dropna=False, observed=True)
    return grouped.agg(
        difference=("difference", "mean"), draws=("difference", "size"), same_mask=("same_mask", "all")
    ).reset_index()


def escape(rows: pd.DataFrame) -> pd.DataFrame:
    """Escape over the plateau: scorer accuracy minus magnitude accuracy in the same block, per model."""
    return per_model_difference(contrast(rows, "scorer", MAGNITUDE))


def summarise(values: pd.DataFrame, value: str = "accuracy", *, bca: bool = False) -> pd.DataFrame:
    """Mean, sd and t interval over models, per setting and method; BCa bounds on request.

    Parameters
    ----------
    values : DataFrame
        What `per_model` returned.
    value : str
        Column to summarise, a fraction.
    bca : bool
        Whether to add the bootstrap bounds, which cost about a second per thousand settings.

    Returns
    -------
    DataFrame
        `SETTING` and `METHOD`, ``n``, ``mean``, ``sd``, ``low``, ``high`` (95 % t interval) and, with `bca`,
        ``bca_low``, ``bca_high``.
    """
    keys = [*SETTING, *METHOD]
    grouped = values.groupby(keys, sort=False, dropna=False, observed=True)[value]
    frame = grouped.agg(n="size", mean="mean", sd="std").reset_index()
    half = t_half_width(frame["sd"], frame["n"])
    frame = frame.assign(low=frame["mean"] - half, high=frame["mean"] + half)
    if not bca:
        return frame
    place = grouped.ngroup().to_numpy()
    sample = values[value].to_numpy(dtype=np.float64)[np.argsort(place, kind="stable")]
    stops = np.cumsum(frame["n"].to_numpy())
    low = np.full(len(frame), np.nan)
    high = low.copy()
    for size in np.unique(frame["n"]):
        of_size = np.flatnonzero(frame["n"].to_numpy() == size)
        table = np.stack([sample[stops[i] - size : stops[i]] for i in of_size])
        low[of_size], high[of_size] = bca_bounds(table)
    return frame.assign(bca_low=low, bca_high=high)


def ordered(values: pd.Series) -> list[str]:
    """Return the distinct labels of a column in the order of first appearance, nulls left out."""
    return [str(value) for value in values.dropna().unique()]
