"""The section of the report on compact networks, from which pruned channels were removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.evidence.frames import done
from analysis.formats import count, decimal, percent, where
from analysis.report.layout import Section, Table
from bench.store.compact import CompactNetwork
from bench.store.reader import StudyData

CAPTION = (
    "MACs are those of one image. Ratios: dense over compact network for parameters and MACs, masked over compact "
    "network for the latency, which is the median of repeated forward passes. Theoretical speed-up: the ratio of MACs "
    "if every product with a zero could be left out. Zero channels that stay: their weights are zero, but they are "
    "added to channels that stay or hold a constant that is read."
)


def physical_removal(data: StudyData) -> Section | None:
    """Return the section, None where `prunebench prune --compact` has written no file.

    Parameters
    ----------
    data : StudyData
        The evidence.
    """
    networks = {one["cell"]: CompactNetwork.model_validate(one) for one in data.meta.get("compact", ())}
    rows = done(data.rows)
    rows = rows[rows["cell"].isin(list(networks))]
    if rows.empty:
        return None
    frame = pd.DataFrame([_line(row, networks[row["cell"]]) for row in rows.to_dict("records")])
    machines = sorted({
        f"{one.device}, {count(one.threads)} thread{'s' * (one.threads != 1)}, torch {one.torch}"
        for one in networks.values()
    })  # fmt: skip
    text = (
        "The command prune with --compact wrote these networks without their pruned channels. The outputs of each "
        "equal those of the masked network.",
        f"Latency was measured on: {'; '.join(machines)}.",
    )
    table = Table("compact", "Size and speed of compact networks", frame, caption=CAPTION)
    return Section("compact", "Physical removal", text, (), (table,), exploratory=True)


def _line(row: Mapping[Any, Any], network: CompactNetwork) -> dict[str, str]:
    zero = sum(layer.zero for layer in network.layers)
    return {
        "Cell": network.cell[:12],
        "Setting": where(row),
        "Train seed": count(row["train_seed"]),
        "Accuracy (%)": percent(network.accuracy),
        "Parameters": count(network.parameters),
        "Ratio of parameters": decimal(network.dense_parameters / network.parameters),
        "MACs": count(network.macs),
        "Ratio of MACs": decimal(network.dense_macs / network.macs),
        "Theoretical speed-up": decimal(row["speedup"]),
        **{
            f"Ratio of latency, batch {one.batch}": f"{decimal(one.masked / one.compact)} ({decimal(one.masked)} / "
            f"{decimal(one.compact)} ms)"
            for one in network.latency
        },
        "Zero channels that stay": count(zero),
    }
