"""One check of a network before anything is trained: what two images can show is reported in one line."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._python_dispatch import TorchDispatchMode

from bench.core.errors import UserError
from bench.core.identity import digest
from bench.core.registry import Registry
from bench.core.types import OF_ONE_LAYER, DataFacts, Granularity
from bench.data.dataset import Dataset
from bench.models.build import build_model, version_of
from bench.models.checkpoints import state_digest
from bench.models.inventory import take_inventory
from bench.models.modes import evaluating
from bench.models.outputs import describe_output, main_output
from bench.models.products import plain_tensors
from bench.models.units import Examined, examine
from bench.models.weights import Inventory
from bench.store.files import write_file
from bench.store.network import Network
from bench.study.spec import ModelSpec

#: Of what a check finds; raised when that changes.
VERSION = 1
SEED = 0
IMAGES = 2
#: What an untracked BatchNorm means for a row.
UNTRACKED = (
    "BatchNorm without running statistics ({names}): predictions depend on the other images of the batch, and repairs "
    "that need statistics are skipped"
)
#: How to remove a reparametrisation that hides a weight behind a hook.
REMOVALS = {
    WeightNorm: "weight_norm: call torch.nn.utils.remove_weight_norm(layer, {name!r}) at the end of __init__",
    SpectralNorm: "spectral_norm: call torch.nn.utils.remove_spectral_norm(layer, {name!r}) at the end of __init__",
    BasePruningMethod: "torch.nn.utils.prune: call torch.nn.utils.prune.remove(layer, {name!r})",
}


def check_network(
    spec: ModelSpec, registry: Registry, data: Dataset | DataFacts, cache: Path | None = None,
    granularities: Iterable[Granularity] = (),
) -> Network:  # fmt: skip
    """Build a network twice and run it on two images in eval and in training mode.

    Parameters
    ----------
    spec : ModelSpec
        Entry of study.yaml.
    registry : Registry
        Plug-ins of this process.
    data : Dataset or DataFacts
        Gives the sizes of input and output.
    cache : Path, optional
        Folder in which the outcome is kept by the hash of all that it depends on; a failure is not kept.
    granularities : iterable of str
        For which units are found in addition to those of `OF_ONE_LAYER`.

    Raises
    ------
    UserError
        For anything that would make rows wrong or stop a run: one line with the layer, the cause and what to do.
    """
    more = [one for one in dict.fromkeys(granularities) if one not in OF_ONE_LAYER]
    key = digest({
        "model": [spec.name, spec.args, str(version_of(spec, registry))], "exclude": spec.exclude,
        "data": [data.in_chans, list(data.image_size), data.num_classes],
        "versions": [VERSION, *map(version, ("torch", "torchvision", "timm"))],
        **({"granularities": more} if more else {}),
    })  # fmt: skip
    file = cache / f"{key}.json" if cache is not None else None
    if file is not None and (kept := _kept(file)) is not None:
        return kept
    model, again = (build_model(spec, registry, data, SEED) for _ in range(2))
    try:
        network = _examine(model, again, spec, data, more)
    except UserError as error:
        raise UserError(f"model {spec.title!r}: {error}") from error
    except Exception as error:  # what no check foresees is no reason for a traceback before anything is run
        raise UserError(
            f"model {spec.title!r}: cannot be examined: {type(error).__name__}: {_reason(error)}; please report it "
            f"with the network's code"
        ) from error
    if file is not None:
        with suppress(UserError):  # a cache saves time; where it cannot be written nothing else is lost
            write_file(file, network.to_json().encode())
    return network


def _kept(file: Path) -> Network | None:
    """Read a kept outcome; None where there is none, or none that can be read."""
    try:
        return Network.from_json(file.read_bytes())
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _examine(
    model: nn.Module, again: nn.Module, spec: ModelSpec, data: Dataset | DataFacts, more: list[Granularity]
) -> Network:
    _refuse_scripted(model)
    _refuse_hidden_weights(model)
    _refuse_extra_state(model)
    _refuse_unlike(model, again)
    x = torch.randn(IMAGES, data.in_chans, *data.image_size, generator=torch.Generator().manual_seed(SEED))
    _check_evaluation(model, x, data.num_classes)
    inventory = _inventory(model, x)
    notes = [*_check_training(model, x, data.num_classes), *_untracked(model)]
    examined = {one: examine(model, one, spec.exclude, inventory) for one in (*OF_ONE_LAYER, *more)}
    return describe(inventory, examined, notes)


def _inventory(model: nn.Module, x: Tensor) -> Inventory:
    try:
        return take_inventory(model, x)
    except UserError:
        raise
    except Exception as error:  # a user's code may compute with any kind of tensor
        raise UserError(
            f"its forward pass cannot be traced: {_reason_of(error)}; compute with dense tensors and torch's operations"
        ) from error


def _reason_of(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def describe(inventory: Inventory, examined: Mapping[Granularity, Examined], notes: Iterable[str] = ()) -> Network:
    """Put what is known of a network into plain values.

    Parameters
    ----------
    inventory : Inventory
        What it computes with which parameter.
    examined : mapping of str to Examined
        What can be pruned of it at each granularity.
    notes : iterable of str
        What a user should know of it.
    """
    units = {granularity: found.counts() for granularity, found in examined.items()}
    layers = tuple(
        {
            "layer": weight.name, "kind": weight.kind, "shape": list(weight.shape), "calls": weight.calls,
            "parameters": torch.Size(weight.shape).numel(), "macs": weight.macs,
            "units": {granularity: of[weight.name] for granularity, of in units.items() if weight.name in of},
            "dense": {granularity: found.reasons[weight.name] for granularity, found in examined.items()},
        }
        for weight in inventory.weights
    )  # fmt: skip
    held = sum(torch.Size(weight.shape).numel() for weight in inventory.weights)
    return Network(
        layers, inventory.parameters, inventory.parameters - held, inventory.macs, inventory.without_weight,
        inventory.unregistered, tuple(notes),
    )  # fmt: skip


# ---------------------------------------------------------------- what is checked


def _refuse_hidden_weights(model: nn.Module) -> None:
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            for kind, removal in REMOVALS.items():
                if isinstance(hook, kind):
                    weight = getattr(hook, "name", None) or getattr(hook, "_tensor_name", "weight")
                    raise UserError(
                        f"layer {name or 'the model itself'}: its weight is recomputed by a hook of "
                        f"{removal.format(name=weight)}, or use torch.nn.utils.parametrizations, whose weights are "
                        f"found (and left dense)"
                    )


def _refuse_scripted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"layer {name or 'the model itself'}: TorchScript compiled it, so its weights cannot be replaced; "
                f"return the module that was given to torch.jit"
            )


def _refuse_extra_state(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise UserError(
                f"layer {name or 'the model itself'}: {type(module).__name__} has get_extra_state, whose value no "
                f"checkpoint of tensors can hold; keep it in a buffer (register_buffer) instead"
            )


def _refuse_unlike(model: nn.Module, again: nn.Module) -> None:
    first, second = model.state_dict(), again.state_dict()
    if state_digest(first) != state_digest(second):
        odd = [name for name in first if name not in second or not torch.equal(first[name], second[name])]
        raise UserError(
            f"two networks built with one seed differ in {_few(odd or sorted(second))}: its initial weights do not "
            f"come from the generators of torch, NumPy or random, which are seeded; draw them from one of these"
        )


def _check_evaluation(model: nn.Module, x: Tensor, classes: int) -> None:
    before, kept_before = state_digest(model.state_dict()), plain_tensors(model)
    with evaluating(model), torch.no_grad():
        output = _forward(model, x)
        expected = (len(x), classes)
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            raise UserError(
                f"in eval mode its forward returns {describe_output(output)}; it must return the logits alone, a "
                f"tensor of shape (images, {classes}) for the {classes} classes of the data set; check its args"
            )
        if state_digest(model.state_dict()) != before:
            raise UserError("its forward pass changes its own parameters or buffers in eval mode; it must leave them")
        again, found = _watched(model, x)
        if not torch.equal(again, output):
            third, first = _watched(model, x)
            raise UserError(_difference(model, x, found, first, third))
    kept = plain_tensors(model)
    new = {place for place, one in kept.items() if kept_before.get(place) is not one}
    model.train()  # timm's networks drop what they cache in eval mode
    model.eval()
    new &= set(plain_tensors(model))
    if new:
        raise UserError(
            f"its forward pass keeps a tensor on self.{min(new)}: copies of the network and later passes would see it; "
            f"use a local variable, or register a buffer in __init__"
        )


def _forward(model: nn.Module, x: Tensor) -> Any:
    with _located(model) as stack:
        try:
            return model(x)
        except Exception as error:  # a user's code may raise anything
            size = "x".join(str(side) for side in x.shape[2:])
            raise UserError(
                f"it fails on images of shape {tuple(x.shape[1:])}{_place(stack)}: {_reason(error)}; check its args (a "
                f"network for another size of image: `args: {{img_size: {x.shape[-1]}}}`, or data of that size "
                f"instead of {size})"
            ) from error


def _place(stack: list[str]) -> str:
    return f" in layer {stack[-1]}" if stack and stack[-1] else ""


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _check_training(model: nn.Module, x: Tensor, classes: int) -> Iterator[str]:
    """Run a copy once in training mode; yield what to know of its output."""
    try:
        network = copy.deepcopy(model).train()
    except Exception as error:  # a user's class may refuse to be copied
        raise UserError(
            f"copy.deepcopy, which every cell needs, cannot copy it: {' '.join(str(error).split())[:300]}"
        ) from error
    with torch.random.fork_rng(devices=[]), _located(network) as stack:
        try:
            output = network(x)
            logits = main_output(output)
            if logits is not None and tuple(logits.shape) == (len(x), classes):
                torch.autograd.backward(nn.functional.cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64)))
        except Exception as error:  # a user's code may raise anything
            raise UserError(f"it fails in training mode{_place(stack)}: {_reason(error)}") from error
    if logits is None or tuple(logits.shape) != (len(x), classes):
        raise UserError(
            f"in training mode its forward returns {describe_output(output)}; the logits, of shape "
            f"(images, {classes}), must be returned alone or first"
        )
    if not isinstance(output, Tensor):
        yield (
            f"in training mode its forward returns {describe_output(output)}; the main output is trained, auxiliary "
            f"outputs are not"
        )


def _untracked(model: nn.Module) -> Iterator[str]:
    names = [n for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is None]
    if names:
        yield UNTRACKED.format(names=_few(names))


# ---------------------------------------------------------------- how it is found


@contextmanager
def _located(model: nn.Module) -> Iterator[list[str]]:
    """Hold the path of the modules that are running, the innermost last; those that failed stay."""
    stack: list[str] = []
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, _args: Any) -> None:
        stack.append(names[module])

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        stack.pop()

    handles = [hook for m in names for hook in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


#: A module's call: its path, what it was given and what it returned.
_Calls = list[tuple[str, list[Tensor], list[Tensor]]]


def _watched(model: nn.Module, x: Tensor) -> tuple[Any, _Calls]:
    """Run a network and note the tensors that go into and come out of every module, the innermost first."""
    calls: _Calls = []
    handles = []
    for name, module in model.named_modules():

        def note(_module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            calls.append((name, _clones((args, kwargs)), _clones(output)))

        handles.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        return model(x), calls
    finally:
        for handle in handles:
            handle.remove()


def _clones(value: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor)]


def _difference(model: nn.Module, x: Tensor, first: _Calls, second: _Calls, _output: Any) -> str:
    """Name the innermost module whose outputs differ for equal inputs, and what draws random numbers in it."""
    where = ""
    for (name, given, returned), (_, given_again, returned_again) in zip(first, second, strict=False):
        if _equal(given, given_again) and not _equal(returned, returned_again):
            where = f" in {name}" if name else " in its own forward"
            break
    drawn = _RandomOperations()
    with drawn:
        model(x)
    cause = f" ({', '.join(sorted(drawn.names))})" if drawn.names else ""
    return (
        f"two evaluation passes over the same images differ{where}: it draws random numbers{cause} in eval mode too; "
        f"write F.dropout(x, p, training=self.training), or draw only if self.training"
    )


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


class _RandomOperations(TorchDispatchMode):
    """Notes the operations that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.names.add(func._overloadpacket.__name__.strip("_"))
        return func(*args, **(kwargs or {}))


def _few(names: Iterable[str], shown: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")
