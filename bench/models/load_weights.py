"""Load a state into a network: names are matched, shapes and kinds are checked, nothing is loaded by half."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.checkpoints import OPTIONAL, shown_name, shown_names, without_parallel


def load_into(model: nn.Module, state: Mapping[str, Tensor], place: str | Path) -> dict[str, Tensor]:
    """Copy weights into a model, converted to its types.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Every tensor of the model, and no other. BatchNorm's batch counter may be missing, and of tied parameters all
        but one. Prefixes are removed if the names fit the model then (see `fit_names`).
    place : str or Path
        Path or URL of `state`, for messages.

    Returns
    -------
    dict of str to Tensor
        `state` under the names of the model, with the types of the file.

    Raises
    ------
    UserError
        Naming the first tensors that are missing, unexpected, of another shape or kind, not finite, or unequal where
        the model ties them. The model is unchanged then.
    """
    own = _tensors(model)
    fitted = fit_names(model, state)
    _refuse_other_kinds(own, fitted, place)
    missing, unexpected = _misfit(own, _aliases(own), fitted)
    shapes = [
        f"{shown_name(name)} {tuple(fitted[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in fitted and fitted[name].shape != own[name].shape
    ]
    found = {
        "missing": [shown_name(name) for name in missing],
        "unexpected": [shown_name(name) for name in unexpected],
        "of another shape": shapes,
    }
    faults = [f"{len(names)} {what} ({shown_names(names)})" for what, names in found.items() if names]
    if faults:
        raise UserError(
            f"checkpoint {place}: does not fit {type(model).__name__}: tensors {'; '.join(faults)}; "
            "check the model's name and args"
        )
    converted = {name: tensor.to(own[name].dtype) for name, tensor in fitted.items()}
    _refuse_not_finite(own, converted, place)
    _refuse_untied(_aliases(own), converted, place)
    model.load_state_dict(converted, strict=False)
    return fitted


def fit_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state under the names of a model.

    Tried in this order: the names as they are; without the first component (``model.``, ``backbone.``, ...) while all
    names share it; both without the components of `PARALLEL`. The first names that fit exactly are taken. If none
    fit, those with the fewest missing and unexpected tensors are returned, for the message.

    Parameters
    ----------
    model : nn.Module
        Its names count.
    state : mapping of str to Tensor
        Names as in a file.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 1))
    >>> wrapped = {f"module.model.{name}": tensor for name, tensor in net.state_dict().items()}
    >>> list(fit_names(net, wrapped))
    ['0.weight', '0.bias']
    """
    own = _tensors(model)
    aliases = _aliases(own)

    def misfits(names: Mapping[str, Tensor]) -> int:
        return sum(len(found) for found in _misfit(own, aliases, names))

    return min(_namings(state), key=misfits)


def _namings(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    for names in (dict(state), without_parallel(state)):
        yield names
        while len({name.partition(".")[0] for name in names}) == 1 and all("." in name for name in names):
            names = {name.partition(".")[2]: tensor for name, tensor in names.items()}
            yield names


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _aliases(own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Name -> all names of the same tensor, for those that have several (tied parameters)."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for name, tensor in own.items():
        if tensor.numel():
            groups[tensor.data_ptr(), tuple(tensor.shape), tensor.stride()].append(name)
    return {name: names for names in groups.values() if len(names) > 1 for name in names}


def _misfit(
    own: Mapping[str, Tensor], aliases: Mapping[str, list[str]], names: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    """Return the names that are missing, and those that the model does not have."""
    missing = [
        name
        for name in own
        if name not in names
        and not name.endswith(OPTIONAL)
        and not any(alias in names for alias in aliases.get(name, ()))
    ]
    return missing, [name for name in names if name not in own]


def _refuse_other_kinds(own: Mapping[str, Tensor], state: Mapping[str, Tensor], place: str | Path) -> None:
    """Refuse integers for floating-point weights, as of quantised networks, and tensors without plain values."""
    for name in own:
        found = state.get(name)
        if found is None:
            continue
        kind = str(found.dtype).removeprefix("torch.")
        if own[name].is_floating_point() and not found.is_floating_point():
            remedy = (
                "save its real part"
                if found.is_complex()
                else "give the checkpoint before quantisation, or dequantise it: multiply each layer's integers by "
                "its scale and save the products as float32"
            )
            raise UserError(
                f"checkpoint {place}: {shown_name(name)} has {kind} values instead of floating-point weights; {remedy}"
            )
        if not own[name].is_floating_point() and found.is_floating_point() and not name.endswith(OPTIONAL):
            raise UserError(
                f"checkpoint {place}: {shown_name(name)} has {kind} values, the model needs {own[name].dtype}; save "
                f"the state_dict of the network without converting its integer buffers"
            )
        if found.layout != torch.strided or found.is_meta:
            what = "is on the meta device, without values" if found.is_meta else "is sparse"
            raise UserError(
                f"checkpoint {place}: {shown_name(name)} {what}; save dense tensors (`tensor.to_dense()`) with values"
            )


def _refuse_not_finite(own: Mapping[str, Tensor], state: Mapping[str, Tensor], place: str | Path) -> None:
    """Refuse NaN and infinities, unless the network itself has one there, as in an attention mask."""
    faults = []
    for name, tensor in state.items():
        bad = int((~tensor.isfinite() & own[name].isfinite().to(tensor.device)).sum())
        if bad:
            faults.append(f"{shown_name(name)}: {bad} of {tensor.numel()}")
    if faults:
        raise UserError(
            f"checkpoint {place}: {len(faults)} {'tensor holds' if len(faults) == 1 else 'tensors hold'} NaN or "
            f"infinite values in float32 ({shown_names(faults)}); the training diverged or the file is damaged: "
            f"give another checkpoint"
        )


def _refuse_untied(aliases: Mapping[str, list[str]], state: Mapping[str, Tensor], place: str | Path) -> None:
    for name, names in aliases.items():
        for other in names:
            if name in state and other in state and not torch.equal(state[name], state[other]):
                raise UserError(
                    f"checkpoint {place}: {shown_name(name)} and {shown_name(other)} differ, but the model ties them "
                    f"(one parameter under two names); build the network without tying, or check its args"
                )
