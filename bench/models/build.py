"""From a study's model entry to a network with initial weights."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import timm
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.parameter import is_lazy

from bench.core.errors import UserError, suggest
from bench.core.registry import Registry
from bench.core.types import DataFacts
from bench.data.dataset import Dataset
from bench.models.modes import evaluating
from bench.study.spec import ModelSpec, Recipe

#: Arguments with which timm itself would fetch or unpickle weights.
TIMM_WEIGHTS = ("model_name", "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def check_model_name(name: str, registry: Registry) -> None:
    """Check that a model of this name can be built.

    Raises
    ------
    UserError
        With the nearest name of ours and timm's.
    """
    if registry.find("model", name) is None and not timm.is_model(name):
        names = [*registry.names("model"), *timm.list_models()]
        raise UserError(f"no model named {name!r}: {suggest(name, names)}")


def build_model(spec: ModelSpec, registry: Registry, dataset: Dataset | DataFacts, seed: int) -> nn.Module:
    """Build a network for a data set, with random initial weights.

    The constructor receives ``num_classes``, ``in_chans`` and ``img_size`` of the data set where it takes
    them; the entry's ``args`` come first.

    Parameters
    ----------
    spec : ModelSpec
        Names a model of the registry, a user's own, or else timm's.
    registry : Registry
        Plug-ins of this process.
    dataset : Dataset or DataFacts
        Gives the sizes of input and output.
    seed : int
        Seed of the initial weights; the global random state is left as it was.

    Returns
    -------
    nn.Module
        Float32, eval mode, on the CPU.

    Raises
    ------
    UserError
        For an unknown name or arguments that the constructor refuses. `bench.models.check` looks at what is built.
    """
    constructor, args = constructor_of(spec, registry, dataset)
    try:
        with seeded(seed):
            model = _constructed(constructor, args, (dataset.in_chans, *dataset.image_size))
    except Exception as error:  # a constructor may raise anything
        given = ", ".join(f"{key}={value!r}" for key, value in args.items() if key != "model_name")
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"model {spec.name!r} cannot be built with {given or 'no arguments'}: {reason[:500]}"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model {spec.name!r}: its function gives {type(model).__name__}, not an nn.Module")
    return model.float().eval()


def constructor_of(
    spec: ModelSpec, registry: Registry, dataset: Dataset | DataFacts
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function that builds a network, and all its arguments.

    Parameters
    ----------
    spec, registry, dataset
        As for `build_model`.

    Raises
    ------
    UserError
        For an unknown name, or an argument with which timm would fetch weights.
    """
    check_model_name(spec.name, registry)
    plugin = registry.find("model", spec.name)
    height, width = dataset.image_size
    offered = {
        "num_classes": dataset.num_classes,
        "in_chans": dataset.in_chans,
        "img_size": height if height == width else (height, width),
    }
    if plugin is None:
        for name in TIMM_WEIGHTS:
            if name in spec.args:
                raise UserError(f"model {spec.name!r}: no argument {name!r} here: name its weights as `checkpoint`")
        constructor: Callable[..., Any] = timm.create_model
        accepted = _timm_arguments(spec.name)
        args = {"model_name": spec.name, "pretrained": False}
    else:
        constructor, accepted, args = plugin.function, _arguments(plugin.function), {}
    return constructor, args | {key: value for key, value in offered.items() if key in accepted} | spec.args


def _constructed(constructor: Callable[..., Any], args: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """Call a constructor; lazy modules get their parameters by a pass over one black image."""
    model = constructor(**args)
    if isinstance(model, nn.Module) and any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        with torch.no_grad(), evaluating(model):
            model(torch.zeros(1, *shape))
    return model


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and `random` inside a ``with`` block and restore them after it.

    Parameters
    ----------
    seed : int
        Seed of the CPU's generator, and of the device's.
    device : torch.device, optional
        A GPU whose generator is used too.

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     first = torch.rand(())
    >>> with seeded(0):
    ...     assert torch.rand(()) == first
    >>> bool(torch.equal(torch.get_rng_state(), before))
    True
    """
    gpu = [device] if device is not None and device.type == "cuda" else []
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=gpu):
            torch.default_generator.manual_seed(seed)
            if gpu:
                torch.cuda.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def version_of(spec: ModelSpec, registry: Registry) -> int | str:
    """Return the version of a model's plug-in: for a user's own, the hash of its source file; 1 for timm's."""
    plugin = registry.find("model", spec.name)
    return plugin.version if plugin is not None else 1


def resolve_recipe(spec: ModelSpec, registry: Registry) -> Recipe:
    """Return the training recipe: the defaults, then the model's own, then the study's overrides.

    Raises
    ------
    UserError
        For an unknown key (with the nearest one) or a value out of range.
    """
    plugin = registry.find("model", spec.name)
    own = plugin.recipe if plugin is not None else {}
    for key in spec.recipe:
        if key not in Recipe.model_fields:
            hint = suggest(key, Recipe.model_fields)
            raise UserError(f"model {spec.name!r}: no recipe key {key!r}: {hint}; `prunebench list recipes` lists them")
    try:
        return Recipe.model_validate({**own, **spec.recipe})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{first['msg']} (got {first['input']!r})"
        raise UserError(f"model {spec.name!r}: recipe {where}: {reason}") from error


def _arguments(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _timm_arguments(name: str) -> set[str]:
    """Every timm net takes classes and channels; those of a fixed input size take that too."""
    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    return {"num_classes", "in_chans"} | ({"img_size"} if fixed else set())
