"""What can be pruned: the units of a network, in forward order (METHODS section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from bench.core.errors import UserError, suggest
from bench.core.types import Granularity
from bench.models.channel_groups import find_groups
from bench.models.heads import find_heads, head_space
from bench.models.inventory import take_inventory
from bench.models.unit_space import UnitSpace
from bench.models.weights import Inventory, Weight
from bench.store.network import CUT_ALONG

#: Why a prunable weight has no channel units.
ON_STREAM = "residual stream: its channels are those of a stream that attention is added to"
NO_CHANNELS = "no channel units: these are channels of convolutions and of the hidden layer of an MLP"
NO_HEADS = "no heads: only attention layers have heads"
NO_LAYOUT = "irregular use: its uses do not agree on which of its axes are output channels"
EXCLUDED = "{entry}: excluded by the study"


@dataclass(frozen=True)
class Examined:
    """What can be pruned of a network at one granularity.

    Attributes
    ----------
    reasons : dict of str to (str or None)
        For every weight why it has no units, or None if it has.
    units : UnitSpace or None
        The units; None if there are none.
    """

    reasons: dict[str, str | None]
    units: UnitSpace | None

    def counts(self) -> dict[str, int]:
        """Return how many units each weight has; units of several weights are counted at the first of them."""
        if self.units is None:
            return {}
        layers, coupling = self.units.layers, self.units.coupling
        if coupling is None:
            return {layer.name: layer.size for layer in layers}
        counts: dict[str, int] = {}
        for unit in coupling.named(self.units):
            counts[unit[0][0]] = counts.get(unit[0][0], 0) + 1
        return counts


def find_units(
    model: nn.Module, granularity: Granularity, exclude: tuple[str, ...], example: Tensor | Inventory
) -> UnitSpace:
    """Return the prunable units of a network, layers in forward order.

    Parameters
    ----------
    model : nn.Module
        Left as it is. Layers that its forward pass never calls are no part of the function that it
        computes, and so have no units.
    granularity : {"weight", "channel", "head", "group"}
        ``weight``: each weight of a convolution or matrix product. ``channel``: output channels of convolutions and
        hidden channels of MLPs (two layers, the second of which alone reads the first, channel by channel); no
        channels of a residual stream to which attention is added, as those of a ViT's patch embedding. ``head``: heads
        of attention layers (`bench.models.heads`). ``group``: channels that must be removed together
        (`bench.models.channel_groups`).
    exclude : tuple of str
        ``head`` (the classifier), ``stem`` (the first layer) or `fnmatch` patterns of layer names. A tied weight is
        excluded if one of its names is.
    example : Tensor or Inventory
        One or two images, shape ``(n, channels, height, width)``, on the model's device; or the model's inventory.

    Raises
    ------
    UserError
        If a pattern matches no layer, or nothing prunable is left.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 10))
    >>> units = find_units(net, "weight", ("head",), torch.zeros(1, 1, 3, 3))
    >>> units.names, units.total, units.layers[0].batchnorm
    (('0',), 18, '1')
    """
    inventory = example if isinstance(example, Inventory) else take_inventory(model, example)
    units = examine(model, granularity, exclude, inventory).units
    if units is None:
        raise UserError(
            f"{type(model).__name__} has nothing to prune at granularity {granularity!r} with exclude = {list(exclude)}"
        )
    return units


def examine(model: nn.Module, granularity: Granularity, exclude: tuple[str, ...], inventory: Inventory) -> Examined:
    """Find the units of a network, and for every weight without units the reason.

    Raises
    ------
    UserError
        If a pattern of `exclude` matches no layer.
    """
    excluded = {name: EXCLUDED.format(entry=entry) for name, entry in _excluded(model, inventory, exclude).items()}
    fixed = {weight.name: weight.reason or excluded.get(weight.name) for weight in inventory.weights}
    if granularity == "weight":
        return _space("weight", model, inventory, fixed, {})
    if granularity == "head":
        return _heads(model, inventory, fixed)
    partners = _hidden(model, inventory, set(excluded))
    channels = _space("channel", model, inventory, _without_channels(inventory, fixed, partners), partners)
    if granularity == "channel" or channels.units is None:
        return channels
    units, reasons = find_groups(model, inventory, channels.units)
    return Examined(channels.reasons | reasons, units)


def _space(
    granularity: Granularity,
    model: nn.Module,
    inventory: Inventory,
    reasons: dict[str, str | None],
    partners: Mapping[str, str],
) -> Examined:
    by_name = {weight.name: weight for weight in inventory.weights}
    layers = []
    for weight in inventory.weights:
        if reasons[weight.name] is None:
            reader = by_name[partners[weight.name]].by_weights() if weight.name in partners else None
            layers.append(weight.by_weights() if granularity == "weight" else weight.by_channels(reader))
    if not layers:
        return Examined(reasons, None)
    order = _order(inventory)
    classifier = tuple(sorted(_head(model, order)))
    return Examined(reasons, UnitSpace(granularity, tuple(layers), stem=order[0].name, classifier=classifier))


def _without_channels(
    inventory: Inventory, fixed: Mapping[str, str | None], partners: Mapping[str, str]
) -> dict[str, str | None]:
    """Return for every weight why it has no channel units, or None if it has."""
    readers = set(partners.values())
    reasons = dict(fixed)
    for weight in inventory.weights:
        if fixed[weight.name] is None:
            reason = _no_channels(weight, is_hidden=weight.name in partners)
            if reason is not None and weight.name in readers:
                reason = f"{CUT_ALONG}: its weights go with the hidden channels of the layer before it"
            reasons[weight.name] = reason
    return reasons


def _heads(model: nn.Module, inventory: Inventory, fixed: Mapping[str, str | None]) -> Examined:
    found, why_not = find_heads(model, inventory)
    reasons: dict[str, str | None] = {name: reason or why_not.get(name, NO_HEADS) for name, reason in fixed.items()}
    used = [one for one in found if not any(fixed[weight.name] for weight in (*one.weights, one.output))]
    for one in used:
        cut = f"{CUT_ALONG}: its weights go with the heads of {one.name or 'the attention layer'}"
        reasons |= {weight.name: cut for weight in (*one.weights, one.output)}
        reasons[one.weights[0].name] = None
    return Examined(reasons, head_space(used, _order(inventory)[0].name) if used else None)


def _hidden(model: nn.Module, inventory: Inventory, left_out: set[str]) -> dict[str, str]:
    """Return `mlp_partners` without layers that are excluded or have no known channels."""
    known = {weight.name for weight in inventory.prunable if weight.layout is not None} - left_out
    partners = mlp_partners(model, inventory)
    return {name: reader for name, reader in partners.items() if {name, reader} <= known}


def _no_channels(weight: Weight, *, is_hidden: bool) -> str | None:
    if weight.layout is None:
        return NO_LAYOUT
    if is_hidden:
        return None
    if not weight.is_convolution:
        return NO_CHANNELS
    return ON_STREAM if weight.on_attention_stream else None


def _order(inventory: Inventory) -> list[Weight]:
    """Weights that some product uses, in forward order."""
    return [weight for weight in inventory.weights if weight.calls]


def _excluded(model: nn.Module, inventory: Inventory, exclude: tuple[str, ...]) -> dict[str, str]:
    """Return the names of excluded layers, each with the entry of the study that excludes it."""
    order = _order(inventory)
    names = {weight.name: (weight.name, weight.parameter, *weight.aliases) for weight in order}
    left_out: dict[str, str] = {}
    for entry in exclude:
        if entry == "head":
            matching = _head(model, order)
        elif entry == "stem":
            matching = {weight.name for weight in order[:1]}
        else:
            matching = {name for name, all_names in names.items() if _matches(all_names, entry)}
            if not matching:
                raise UserError(
                    f"exclude: the pattern {entry!r} matches no layer of {type(model).__name__}: "
                    f"{suggest(entry, ['head', 'stem', *names])}"
                )
        left_out = {**dict.fromkeys(sorted(matching), entry), **left_out}
    return left_out


def _matches(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(".weight"), pattern) for name in names)


def _head(model: nn.Module, order: list[Weight]) -> set[str]:
    """Names of the classifier's layers: timm's ``get_classifier()``, or else the last matrix product, or layer."""
    get_classifier = getattr(model, "get_classifier", None)
    if callable(get_classifier):
        found = get_classifier()
        roots = found if isinstance(found, tuple | list) else (found,)  # distilled nets have two heads
        members = {id(p) for root in roots if isinstance(root, nn.Module) for p in root.parameters()}
        names = {weight.name for weight in order if id(model.get_parameter(weight.parameter)) in members}
        if names:
            return names
    linear = [weight for weight in order if not weight.is_convolution]
    return {weight.name for weight in (linear or order)[-1:]}


def mlp_partners(model: nn.Module, inventory: Inventory) -> Mapping[str, str]:
    """For each MLP the name of its first layer -> the name of the second, which reads its hidden channels.

    Two matrix products with functions of single values between them, or modules named ``fc1`` and ``fc2`` as in timm:
    linear layers, or the ungrouped convolutions that ConvNeXt and squeeze-excite blocks use instead.
    """
    names = {weight.parameter: weight.name for weight in inventory.prunable}
    partners = {
        weight.name: names[weight.pointwise_reader] for weight in inventory.prunable if weight.pointwise_reader in names
    }
    for name, module in model.named_modules():
        fc1, fc2 = getattr(module, "fc1", None), getattr(module, "fc2", None)
        if isinstance(fc1, nn.Linear) and isinstance(fc2, nn.Linear):
            paired = fc1.out_features == fc2.in_features
        elif isinstance(fc1, nn.Conv2d) and isinstance(fc2, nn.Conv2d):
            paired = fc1.out_channels == fc2.in_channels and fc1.groups == fc2.groups == 1
        else:
            continue
        first, second = (f"{name}.{part}".lstrip(".") for part in ("fc1", "fc2"))
        if paired and {first, second} <= set(names.values()):
            partners.setdefault(first, second)
    return partners
