"""From frames and records to tables of text; numbers are formatted here and nowhere before."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from analysis.comparisons import SAME_MASK
from analysis.evidence import frames
from analysis.evidence.fusion import is_equal, search_name
from analysis.evidence.networks import PrunedNetwork
from analysis.formats import NONE, count, decimal, p_value, percent, points, short, span
from analysis.stats.intervals import bca_coverage
from bench.store.network import Network, units_text
from bench.store.reader import StudyData

#: Columns of a setting that a table has even where they do not vary.
_ALWAYS = frozenset({"dataset", "model", "method"})


def settings_table(rows: pd.DataFrame, pruned: Sequence[PrunedNetwork] = ()) -> pd.DataFrame:
    """Accuracy of every setting: mean, sd and t interval over models, the BCa interval beside it.

    Settings in which every cell was skipped, because a method does not apply, are in `fates_table` alone. The
    simulated coverage of BCa at the study's number of models stands in its heading. Cells that failed,
    were skipped or are still to do stay in the column "Cells done".

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    pruned : sequence of PrunedNetwork
        What is known of the networks: next to the speed-up stands what share of the MACs is left dense.

    Returns
    -------
    DataFrame
        A row of text per setting and method.
    """
    planned = frames.pruned(rows)
    keys = [*frames.SETTING, *frames.METHOD]
    means = frames.summarise(frames.per_model(planned), bca=True)
    grouped = frames.done(planned).groupby(keys, sort=False, dropna=False, observed=True)
    extra = grouped[["sparsity_achieved", "sparsity_parameters", "speedup", "emptied_layers"]].mean()
    extra = extra.assign(cells=grouped.size(), with_speedup=grouped["speedup"].count()).reset_index()
    frame = frames.count_states(planned).merge(means, on=keys, how="left").merge(extra, on=keys, how="left")
    frame = frame[frame["skipped"].lt(frame["planned"])]
    frame = frame.sort_values(
        [c for c in keys if c not in ("sparsity", *frames.METHOD)] + ["method", "sparsity"],
        kind="stable",
        na_position="first",
    )
    table = _axes(frame)
    table["Sparsity (%)"] = [percent(v, 1) for v in frame["sparsity"]]
    table["Cells done"] = [_of(d, p) for d, p in zip(frame["done"], frame["planned"], strict=True)]
    table["Models"] = [count(v) for v in frame["n"].fillna(0)]
    table["Accuracy, mean (%)"] = [percent(v) for v in frame["mean"]]
    table["sd (points)"] = [decimal(100 * v) for v in frame["sd"]]
    table["95 % t interval (%)"] = [span(*v) for v in zip(frame["low"], frame["high"], strict=True)]
    if frame["bca_low"].notna().any():
        heading = f"95 % BCa interval (%; {_coverage(frame['n'])})"
        table[heading] = [span(*v) for v in zip(frame["bca_low"], frame["bca_high"], strict=True)]
    table["Achieved, units (%)"] = [percent(v, 1) for v in frame["sparsity_achieved"]]
    table["Achieved, all parameters (%)"] = [percent(v, 1) for v in frame["sparsity_parameters"]]
    speedups = zip(frame["speedup"], frame["with_speedup"], frame["cells"], strict=True)
    table["Theoretical speed-up"] = [_speedup(*values) for values in speedups]
    if pruned:
        table["MACs left dense (%)"] = _macs_left_dense(frame, pruned)
    table["Emptied layers"] = [decimal(v, 1) for v in frame["emptied_layers"]]
    return table


def _speedup(mean: float, known: int, cells: int) -> str:
    """Show a mean speed-up, and over how many cells where some have none because no product remains."""
    return decimal(mean) if pd.isna(mean) or known == cells else f"{decimal(mean)} ({count(known)} of {count(cells)})"


def _macs_left_dense(frame: pd.DataFrame, pruned: Sequence[PrunedNetwork]) -> list[str]:
    known = {(*one.key, one.allocation): percent(one.dense_macs, 1) for one in pruned}
    keys = frame[list(frames.NETWORK)].itertuples(index=False, name=None)
    return [known.get(key, known.get((*key[:3], None), NONE)) for key in keys]


def layers_table(network: Network, granularities: Sequence[str]) -> pd.DataFrame:
    """List the layers of a network: shape, share of parameters and MACs, and units or why there are none.

    Parameters
    ----------
    network : Network
        Its layers; what belongs to no layer follows them, so that both shares add up to 100 %.
    granularities : sequence of str
        Those of the study; each has a column.
    """
    several = any(layer["calls"] > 1 for layer in network.layers)
    rows = [
        {
            "Layer": layer["layer"], "Kind": layer["kind"],
            "Shape": " \N{MULTIPLICATION SIGN} ".join(map(str, layer["shape"])),
            **({"Calls": count(layer["calls"])} if several else {}),
            **_shares(layer["parameters"], layer["macs"], network),
            **{f"Units ({name})": units_text(layer, name) for name in granularities},
        }
        for layer in network.layers
    ]  # fmt: skip
    rows += [
        {
            "Layer": name[:1].upper() + name[1:], "Kind": NONE, "Shape": NONE, **({"Calls": NONE} if several else {}),
            **_shares(parameters, macs, network), **{f"Units ({name})": "dense" for name in granularities},
        }
        for name, parameters, macs in network.beyond_layers()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _shares(parameters: int, macs: int, network: Network) -> dict[str, str]:
    return {
        "Parameters (%)": percent(parameters / max(1, network.parameters)),
        "MACs (%)": percent(macs / max(1, network.macs)),
    }


def _of(done: int, planned: int) -> str:
    return count(done) if done == planned else f"{count(done)} of {count(planned)}"


def _coverage(sizes: pd.Series) -> str:
    """Say how often a nominal 95 % BCa interval really covers at these numbers of models."""
    known = [(int(n), bca_coverage(int(n))) for n in sorted(sizes.dropna().unique())]
    return ", ".join(f"really covers {percent(c, 0)} % at n = {n}" for n, c in known if c is not None)


def comparison_table(compared: pd.DataFrame, reference: str = frames.MAGNITUDE) -> pd.DataFrame:
    """Paired tests of every setting against `reference`, as `analysis.comparisons.paired_tests` made them."""
    table = _axes(compared)
    table["Sparsity (%)"] = [percent(v, 1) for v in compared["sparsity"]]
    table["Models"] = [count(v) for v in compared["n"]]
    table["Mean difference (points)"] = [points(v) for v in compared["difference"]]
    bounds = zip(compared["low"], compared["high"], strict=True)
    table["95 % t interval (points)"] = [span(low, high, signed=True) for low, high in bounds]
    for column, heading in (
        ("p_t", "p, paired t"), ("p_holm", "p, Holm"), ("p_sign_flip", "p, sign-flip"),
        ("p_wilcoxon", "p, Wilcoxon"),
    ):  # fmt: skip
        table[heading] = [p_value(v) for v in compared[column]]
    table["d_z"] = [decimal(v) for v in compared["d_z"]]
    table["P(A > B)"] = [decimal(v) for v in compared["p_superior"]]
    table["Remark"] = [_remark(c, d, n, reference) for c, d, n in zip(
        compared["category"], compared["disagree"], compared["n"], strict=True
    )]  # fmt: skip
    return table


def _remark(category: str, disagree: bool, n: int, reference: str) -> str:
    if category == SAME_MASK:
        return f"same masks as {reference}"
    said = [] if category == "regular" else [category]
    if n < 6 and category == "regular":
        said.append("descriptive only")
    if disagree:
        said.append("tests disagree")
    return "; ".join(said) or NONE


def search_table(found: pd.DataFrame, escapes: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Every search of fusion weights: test accuracy, escape, gain over equal weights and over-fit.

    Parameters
    ----------
    found : DataFrame
        What `analysis.evidence.fusion.searches` returned.
    escapes, gains : DataFrame
        What `analysis.comparisons.searched_escapes` and `search_gains` returned.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    spent = found.groupby(keys, sort=False, dropna=False)["evaluations"].agg(["min", "max"]).reset_index()
    frame = frames.summarise(frames.per_model(found, "test_accuracy"), "test_accuracy")
    frame = _beside(frame, spent, "", "min", "max")
    frame = _beside(frame, escapes, "escape_", "difference", "low", "high", "p_holm")
    frame = _beside(frame, gains, "gain_", "difference", "low", "high", "p_holm")
    for value in ("search_accuracy", "overfit"):
        frame = _beside(
            frame, frames.summarise(frames.per_model(found, value), value), f"{value}_", "mean", "low", "high"
        )
    frame = frame.sort_values(
        [c for c in keys if c not in ("sparsity", *frames.METHOD)] + ["sparsity", "method"],
        kind="stable", na_position="first",
    )  # fmt: skip
    table = _axes(frame)
    table["Sparsity (%)"] = [percent(v, 1) for v in frame["sparsity"]]
    table["Models"] = [count(v) for v in frame["n"]]
    table["Test accuracy, mean (%)"] = [percent(v) for v in frame["mean"]]
    table["95 % t interval (%)"] = [span(*v) for v in zip(frame["low"], frame["high"], strict=True)]
    for name, heading in (("escape", "Over magnitude"), ("gain", "Over equal weights")):
        table[f"{heading} (points)"] = [points(v) for v in frame[f"{name}_difference"]]
        table[f"{heading}, 95 % t interval (points)"] = _spans(frame, f"{name}_")
        table[f"{heading}, p, Holm"] = [p_value(v) for v in frame[f"{name}_p_holm"]]
    table["Search accuracy, mean (%)"] = [percent(v) for v in frame["search_accuracy_mean"]]
    table["Over-fit (points)"] = [points(v) for v in frame["overfit_mean"]]
    table["Over-fit, 95 % t interval (points)"] = _spans(frame, "overfit_")
    table["Evaluations"] = [
        count(low) if low == high else f"{count(low)} to {count(high)}"
        for low, high in zip(frame["min"], frame["max"], strict=True)
    ]
    return table


def search_summary(found: pd.DataFrame) -> pd.DataFrame:
    """Gains of each search at each sparsity, averaged over feature scorers and models; descriptive.

    Where the allocation sets the sparsity, a search changes that too, so these searches are left out.
    """
    named = found[~is_equal(found["search"]) & found["sparsity"].notna()]
    named = named.assign(
        name=[search_name(row) for row in named.to_dict("records")],
        on_search=named["search_accuracy"] - named["search_accuracy_equal"],
        on_test=named["test_accuracy"] - named["test_accuracy_equal"],
    )
    keys = [*frames.SETTING, "name"]
    grouped = named.groupby(keys, sort=False, dropna=False)
    frame = grouped.agg(
        on_search=("on_search", "mean"), on_test=("on_test", "mean"), overfit=("overfit", "mean"),
        scorers=("scorer", "nunique"), models=("checkpoint", "nunique"),
    ).reset_index().sort_values(list(frames.SETTING), kind="stable", na_position="first")  # fmt: skip
    table = _axes(frame)
    table["Search"] = list(frame["name"])
    table["Sparsity (%)"] = [percent(v, 1) for v in frame["sparsity"]]
    table["Feature scorers"] = [count(v) for v in frame["scorers"]]
    table["Models"] = [count(v) for v in frame["models"]]
    table["Over equal weights, search images (points)"] = [points(v) for v in frame["on_search"]]
    table["Over equal weights, test images (points)"] = [points(v) for v in frame["on_test"]]
    table["Over-fit (points)"] = [points(v) for v in frame["overfit"]]
    return table


def emp_table(kept: pd.DataFrame) -> pd.DataFrame:
    """List what effective model pruning kept, and its accuracy against the dense model.

    Parameters
    ----------
    kept : DataFrame
        What `analysis.evidence.emp.emp_rows` returned.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    frame = frames.summarise(frames.per_model(kept, "change"), "change")
    values = ["n_eff", "k", "s_eff", "bound", "scopes", "sparsity_achieved", "accuracy", "dense_accuracy"]
    grouped = kept.groupby(keys, sort=False, dropna=False)
    means = grouped[values].mean().join(grouped["violations"].sum()).reset_index()
    frame = frame.merge(means, on=keys, how="left").sort_values(list(frames.SETTING), kind="stable")
    table = _axes(frame)
    table["Models"] = [count(v) for v in frame["n"]]
    table["N_eff (units)"] = [decimal(v, 1) for v in frame["n_eff"]]
    table["K, units kept"] = [decimal(v, 1) for v in frame["k"]]
    table["s_eff, least"] = [decimal(v, 3) for v in frame["s_eff"]]
    table["Bound there"] = [decimal(v, 3) for v in frame["bound"]]
    table["Scopes below their bound"] = [count(v) for v in frame["violations"]]
    table["Sparsity achieved (%)"] = [percent(v, 1) for v in frame["sparsity_achieved"]]
    table["Accuracy, mean (%)"] = [percent(v) for v in frame["accuracy"]]
    table["Dense accuracy, mean (%)"] = [percent(v) for v in frame["dense_accuracy"]]
    table["Against dense (points)"] = [points(v) for v in frame["mean"]]
    table["95 % t interval (points)"] = _spans(frame, "")
    return table


def _beside(frame: pd.DataFrame, other: pd.DataFrame, prefix: str, *columns: str) -> pd.DataFrame:
    """Put columns of `other` beside the rows of the same setting and method, their names with `prefix`."""
    keys = [*frames.SETTING, *frames.METHOD]
    names = {column: prefix + column for column in columns}
    return frame.merge(other[[*keys, *columns]].rename(columns=names), on=keys, how="left")


def _spans(frame: pd.DataFrame, prefix: str) -> list[str]:
    return [span(*v, signed=True) for v in zip(frame[f"{prefix}low"], frame[f"{prefix}high"], strict=True)]


def overlap_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Jaccard overlap of each scorer's mask with magnitude's of the same budget, mean over models."""
    finished = frames.done(frames.unrepaired(frames.pruned(rows)))
    keys = [*frames.SETTING, *frames.METHOD]
    grouped = finished.groupby(keys, sort=False, dropna=False, observed=True)["magnitude_overlap"]
    frame = grouped.agg(["mean", "min", "max"]).reset_index()
    table = _axes(frame)
    table["Sparsity (%)"] = [percent(v, 1) for v in frame["sparsity"]]
    for column in ("mean", "min", "max"):
        table[f"Jaccard overlap, {column}"] = [decimal(v, 3) for v in frame[column]]
    return table


def dense_table(data: StudyData) -> pd.DataFrame:
    """List the dense models: accuracy without and with each recalibration, size, checkpoint."""
    rows = data.rows[data.rows["scorer"].eq("dense")]
    accuracy = frames.done(rows).pivot_table(
        index="group", columns="recalibration", values="accuracy", aggfunc="first", sort=False
    )
    table = pd.DataFrame(
        {
            "Data set": data.dense["dataset"],
            "Model": data.dense["model"],
            "Train seed": [count(v) for v in data.dense["train_seed"]],
            "Parameters": [count(v) for v in data.dense["parameters"]],
            "Prunable weights": [count(v) for v in data.dense["prunable"]],
        }
    )
    for name in accuracy.columns:
        heading = "Accuracy (%)" if name == "none" else f"Accuracy after {name} (%)"
        table[heading] = [percent(v) for v in data.dense["group"].map(accuracy[name])]
    table["Saw held-out data"] = list(data.dense["train_overlap"].fillna(NONE))
    table["Outside the cancellation identity"] = [_layers(v) for v in data.dense["uncovered_layers"]]
    table["Checkpoint"] = [short(v) for v in data.dense["checkpoint"]]
    return table


def _layers(text: str | None) -> str:
    """Name up to three layers and count the rest; the verdict's record names them all."""
    names = [str(name) for name in json.loads(text)] if isinstance(text, str) else []
    if not names:
        return NONE
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def checks_table(data: StudyData) -> pd.DataFrame:
    """Second evaluations by kind: how many, images that changed, difference in points."""
    if data.checks.empty:
        return pd.DataFrame()
    joined = data.checks.merge(
        data.rows[["cell", "dataset", "model", "accuracy", "n_test"]], on="cell", suffixes=("", "_row")
    )
    joined["gap"] = joined["accuracy"] - joined["accuracy_row"]
    said = {"shared": "shared evaluation done again", "float32": "evaluated again in float32"}
    rows = []
    for (kind, dataset, model), part in joined.groupby(["kind", "dataset", "model"], sort=False):
        rows.append(
            {
                "Check": said.get(str(kind), str(kind)), "Data set": dataset, "Model": model,
                "Cells": count(len(part)),
                "Cells with a changed image": count(part["mismatches"].gt(0).sum()),
                "Images changed at most": count(part["mismatches"].max()),
                "Test images": count(part["n_test"].max()),
                "Mean difference (points)": points(part["gap"].mean(), 3),
                "Largest difference (points)": decimal(100 * part["gap"].abs().max(), 3),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def fates_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells that were not evaluated, by state and reason, each with one example."""
    state = rows["state"].fillna("to do").replace("running", "to do")
    left = rows.assign(state=state)[state.ne("done")]
    left = left.assign(reason=left["reason"].fillna("not run yet"))
    found = left.groupby(["state", "reason", "dataset", "model"], sort=False, dropna=False)
    return pd.DataFrame(
        [
            {
                "State": state, "Reason": reason, "Data set": dataset, "Model": model,
                "Cells": count(len(part)),
                "Scorers": ", ".join(frames.ordered(part["scorer"])), "Example": short(part["cell"].iloc[0]),
            }
            for (state, reason, dataset, model), part in found
        ]
    )  # fmt: skip


def _axes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the setting that vary, with headings."""
    searched = "search" in frame and frame["search"].ne("none").any()
    headings = frames.HEADINGS | ({"method": "Scorer + search"} if searched else {})
    table = {
        heading: [str(v) for v in frame[column].astype("object").fillna(NONE)]
        for column, heading in headings.items()
        if column in frame and (column in _ALWAYS or frame[column].nunique(dropna=False) > 1)
    }
    return pd.DataFrame(table)
