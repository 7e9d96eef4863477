"""What is known of a network's layers, as it is stored with a study: what is pruned, and why the rest is left dense."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Begins the reason of a layer that loses weights although it has no units of its own.
CUT_ALONG = "cut along"
#: Share of the MACs that may be left dense without a warning.
ALLOWED = 0.05
VECTORS = "biases, normalisation and other vectors"
ACTIVATIONS = "products of activations, as attention scores"
UNREGISTERED = "products with a fixed tensor that is no parameter"


@dataclass(frozen=True)
class LeftDense:
    """What is left dense for one reason.

    Attributes
    ----------
    reason : str
        In a few words.
    layers : int
        Number of layers; 0 for what is no layer.
    parameters, macs : float
        Share of the network's.
    """

    reason: str
    layers: int
    parameters: float
    macs: float


@dataclass(frozen=True)
class Network:
    """What is known of a network.

    Attributes
    ----------
    layers : tuple of dict
        A row per weight in forward order: ``layer``, ``kind``, ``shape``, ``calls``, ``parameters`` (a count), ``macs``
        per image, ``units`` (granularity -> number) and ``dense`` (granularity -> why it has none, or None).
    parameters, vectors : int
        Size of the network; of these, biases, normalisation and other vectors.
    macs : int
        Multiply-accumulate operations (MACs) of all products for one image.
    without_weight, unregistered : int
        Those of products without a weight, as attention scores; of these, with a fixed tensor that is no parameter.
    notes : tuple of str
        What a user should know of it.
    """

    layers: tuple[Mapping[str, Any], ...]
    parameters: int
    vectors: int
    macs: int
    without_weight: int
    unregistered: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the network as JSON; `from_json` undoes it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Network:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            If the text is something else.
        """
        found = json.loads(text)
        return cls(**{**found, "layers": tuple(found["layers"]), "notes": tuple(found["notes"])})

    def describe(self, dataset: str, model: str, granularities: Sequence[str]) -> dict[str, Any]:
        """Return the layers and the summary at some granularities as plain values, with the names of the setting."""
        return {
            "dataset": dataset, "model": model, "parameters": self.parameters, "macs": self.macs,
            "layers": [dict(layer) for layer in self.layers],
            "summary": {granularity: self.summary(granularity) for granularity in granularities},
            "explanations": self.explanations(granularities),
        }  # fmt: skip

    def prunable(self, granularity: str) -> tuple[float, float]:
        """Return the shares of parameters and of MACs that can be pruned at a granularity."""
        pruned = [layer for layer in self.layers if _is_pruned(layer["dense"][granularity])]
        return (
            sum(layer["parameters"] for layer in pruned) / max(1, self.parameters),
            sum(layer["macs"] for layer in pruned) / max(1, self.macs),
        )

    def left_dense(self, granularity: str) -> list[LeftDense]:
        """Group what cannot be pruned at a granularity by its reason, the most MACs first, then the most parameters."""
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for layer in self.layers:
            if not _is_pruned(layer["dense"][granularity]):
                groups.setdefault(str(layer["dense"][granularity]).partition(":")[0], []).append(layer)
        found = [
            LeftDense(
                reason, len(layers), sum(layer["parameters"] for layer in layers) / max(1, self.parameters),
                sum(layer["macs"] for layer in layers) / max(1, self.macs),
            )
            for reason, layers in groups.items()
        ]  # fmt: skip
        found += [
            LeftDense(reason, 0, parameters / max(1, self.parameters), macs / max(1, self.macs))
            for reason, parameters, macs in self.beyond_layers()
        ]
        return sorted(found, key=lambda one: (-one.macs, -one.parameters))

    def has_units(self, granularity: str) -> bool:
        """Whether there is anything to prune at a granularity."""
        return any(granularity in layer["units"] for layer in self.layers)

    def beyond_layers(self) -> list[tuple[str, int, int]]:
        """Return what belongs to no layer and is never pruned: its name, number of parameters and MACs per image."""
        activations = self.without_weight - self.unregistered
        rest = ((VECTORS, self.vectors, 0), (ACTIVATIONS, 0, activations), (UNREGISTERED, 0, self.unregistered))
        return [(name, parameters, macs) for name, parameters, macs in rest if parameters or macs]

    def explanations(self, granularities: Iterable[str]) -> list[str]:
        """Explain every short reason that `units_text` shows at these granularities, a line each.

        Examples
        --------
        >>> head = {"layer": "head", "dense": {"weight": "head: excluded by the study"}}
        >>> Network((head,), 10, 0, 10, 0, 0).explanations(["weight"])
        ['head: excluded by the study']
        """
        found: dict[str, dict[str, str]] = {}
        for granularity in granularities:
            for layer in self.layers:
                short, _, long = (layer["dense"][granularity] or "").partition(": ")
                if long:
                    found.setdefault(short, {}).setdefault(long, layer["layer"])
        lines = []
        for short, places in found.items():
            [(long, first), *others] = places.items()
            more = f" ({first}; other layers likewise)" if others else ""
            lines.append(f"{short}: {long}{more}")
        return lines

    def summary(self, granularity: str) -> str:
        """Say in one line what can be pruned and what is left dense, in shares of the parameters and MACs.

        Examples
        --------
        >>> layer = {"layer": "head", "parameters": 10, "macs": 10, "dense": {"weight": "head: excluded by the study"}}
        >>> other = {"layer": "conv", "parameters": 80, "macs": 90, "dense": {"weight": None}}
        >>> print(Network((layer, other), 100, 10, 100, 0, 0).summary("weight"))
        80 % of parameters and 90 % of MACs prunable; left dense: head (10 %, 10 %), biases, normalisation and other \
vectors (10 %, 0 %)
        """
        parameters, macs = self.prunable(granularity)
        rest = ", ".join(_named(one) for one in self.left_dense(granularity))
        return (
            f"{percent(parameters)} of parameters and {percent(macs)} of MACs prunable; left dense: {rest or 'nothing'}"
        )

    def warnings(self, granularities: Iterable[str]) -> Iterator[str]:
        """Yield a line for each granularity at which more than 5 % of the MACs are left dense, then the notes."""
        for granularity in granularities:
            if not self.has_units(granularity):
                yield f"nothing to prune at granularity {granularity}: its cells are skipped"
                continue
            groups = [one for one in self.left_dense(granularity) if one.macs > 0]
            share = sum(one.macs for one in groups)
            if share > ALLOWED:
                rest = ", ".join(f"{_label(one)} ({percent(one.macs)})" for one in groups)
                yield f"{percent(share)} of the MACs are left dense at granularity {granularity}: {rest}"
        yield from self.notes


def units_text(layer: Mapping[str, Any], granularity: str) -> str:
    """Return the number of units of a layer, or in a few words why it has none.

    Examples
    --------
    >>> units_text({"units": {"weight": 4608}, "dense": {"weight": None}}, "weight")
    '4,608'
    >>> units_text({"units": {}, "dense": {"weight": "head: excluded by the study"}}, "weight")
    'dense: head'
    """
    if granularity in layer["units"]:
        return f"{layer['units'][granularity]:,}"
    short = (layer["dense"][granularity] or "").partition(":")[0]
    return short if short == CUT_ALONG else f"dense: {short}"


def percent(share: float) -> str:
    """Write a share with two significant digits; what is less than all never reads 100 %.

    Examples
    --------
    >>> percent(0.9871), percent(0.042), percent(0.0004), percent(0.0)
    ('99 %', '4.2 %', '0.04 %', '0 %')
    >>> percent(0.9988), percent(1.0), percent(0.00001)
    ('99.88 %', '100 %', '< 0.01 %')
    """
    if 0 < share < 0.00005:
        return "< 0.01 %"
    if 0.995 <= share < 1:
        return f"{min(100 * share, 99.99):.2f} %"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1 if share >= 0.00995 else 2}f} %"


def _is_pruned(reason: str | None) -> bool:
    return reason is None or reason.startswith(CUT_ALONG)


def _label(one: LeftDense) -> str:
    return one.reason if one.layers < 2 else f"{one.reason} in {one.layers} layers"


def _named(one: LeftDense) -> str:
    return f"{_label(one)} ({percent(one.parameters)}, {percent(one.macs)})"
