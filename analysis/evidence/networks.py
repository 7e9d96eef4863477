"""What is known of the networks of a study: their layers, and what is left dense under its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.evidence import frames
from bench.store import schema
from bench.store.network import ALLOWED, Network
from bench.store.reader import StudyData

#: Begins the reason of a layer that an N:M pattern does not fit.
NO_FIT = "pattern does not fit"
#: The label of an N:M allocation.
N_M = re.compile(r"\d+:\d+|n:m")


@dataclass(frozen=True)
class PrunedNetwork:
    """A network at one granularity, or under one allocation that leaves more of its layers dense.

    Attributes
    ----------
    dataset, model, granularity : str
        Where it is pruned.
    allocation : str or None
        The allocation that leaves additional layers dense; None for all others.
    network : Network
        Its layers.
    """

    dataset: str
    model: str
    granularity: str
    allocation: str | None
    network: Network

    @property
    def key(self) -> tuple[str, str, str]:
        """Data set, model and granularity."""
        return self.dataset, self.model, self.granularity

    @property
    def name(self) -> str:
        """Model, data set, granularity and, where it matters, allocation."""
        place = f"{self.model} on {self.dataset}, {self.granularity}"
        return place if self.allocation is None else f"{place}, {self.allocation}"

    @property
    def summary(self) -> str:
        """What can be pruned and what is left dense, in one line."""
        return f"{self.name}: {self.network.summary(self.granularity)}."

    @property
    def dense_macs(self) -> float:
        """Share of the MACs that are left dense."""
        return sum(one.macs for one in self.network.left_dense(self.granularity))


def counts_all_products(data: StudyData) -> bool:
    """Whether the speed-up counts every product and channel; that of schema 1 counts weights of two kinds alone."""
    return int(data.meta.get("schema", schema.SCHEMA_VERSION)) > 1


def read_networks(data: StudyData) -> dict[tuple[str, str], Network]:
    """Return the networks of a study by data set and model; all trained models of one have the same layers."""
    known = data.dense[data.dense["network"].notna()].drop_duplicates(["dataset", "model"])
    columns = (known["dataset"], known["model"], known["network"])
    return {(str(d), str(m)): Network.from_json(text) for d, m, text in zip(*columns, strict=True)}


def granularities(rows: pd.DataFrame, dataset: str, model: str) -> list[str]:
    """Return the granularities at which a study prunes a network, in order."""
    own = frames.pruned(rows)
    return frames.ordered(own.loc[own["dataset"].eq(dataset) & own["model"].eq(model), "granularity"])


def pruned_networks(rows: pd.DataFrame, networks: Mapping[tuple[str, str], Network]) -> list[PrunedNetwork]:
    """Return each network once per granularity, and once per allocation that leaves additional layers dense.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    networks : mapping
        What `read_networks` returned.
    """
    additional = dict(_additional(rows))
    found = []
    for (dataset, model), network in networks.items():
        for granularity in granularities(rows, dataset, model):
            found.append(PrunedNetwork(dataset, model, granularity, None, network))
            found += [
                PrunedNetwork(dataset, model, granularity, key[3], _left(network, granularity, layers, key[3]))
                for key, layers in additional.items()
                if key[:3] == (dataset, model, granularity)
            ]
    return found


def warnings(pruned: Sequence[PrunedNetwork]) -> list[str]:
    """Return a line for each network of which more than 5 % of the MACs are left dense, and the notes on each network.

    An allocation has a line of its own where the layers that it leaves dense make the difference.

    Parameters
    ----------
    pruned : sequence of PrunedNetwork
        What `pruned_networks` returned.
    """
    lines = []
    for one in pruned:
        limit = ALLOWED
        if one.allocation is not None:
            usual = next(o for o in pruned if o.key == one.key and o.allocation is None).dense_macs
            limit += usual if usual > ALLOWED else 0
        if one.dense_macs > limit:
            under = "" if one.allocation is None else f"under allocation {one.allocation} "
            found = replace(one.network, notes=()).warnings([one.granularity])
            lines += [f"{one.model} on {one.dataset}: {under}{line}." for line in found]
    notes = {f"{one.model} on {one.dataset}: {note}." for one in pruned for note in one.network.notes}
    return lines + sorted(notes)


def _additional(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str, str], list[str]]]:
    """Yield (data set, model, granularity, allocation) and the layers that the allocation leaves dense."""
    keys = list(frames.NETWORK)
    noted = rows[rows["notes"].str.contains('"dense_layers"', regex=False, na=False)].drop_duplicates(keys)
    for *key, notes in noted[[*keys, "notes"]].itertuples(index=False, name=None):
        layers = json.loads(notes)["dense_layers"]
        yield (str(key[0]), str(key[1]), str(key[2]), str(key[3])), [str(layer) for layer in layers]


def _left(network: Network, granularity: str, layers: Sequence[str], allocation: str) -> Network:
    """Return the network with additional layers left dense."""
    reason = f"kept dense: the allocation {allocation} does not prune it"
    if N_M.match(allocation):
        reason = f"{NO_FIT}: {allocation} is not applied to the first layer, nor where it does not divide the inputs"
    return replace(
        network,
        layers=tuple(
            {**layer, "dense": {**layer["dense"], granularity: reason}} if layer["layer"] in layers else layer
            for layer in network.layers
        ),
    )
