"""Given checkpoints and the normalisation of their inputs, checked before anything is trained.

A network that is evaluated on inputs of another normalisation than it was trained with loses accuracy without any
error. So a given checkpoint has a normalisation of its own: the study names it, or the file does (those that prunebench
writes), or timm. Otherwise the study is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import timm
from pydantic import ValidationError
from torch import nn

from bench.core.errors import UserError
from bench.core.registry import Registry
from bench.core.types import DataFacts
from bench.models.build import build_model
from bench.models.checkpoints import is_safetensors, parse_checkpoint, read_metadata
from bench.models.dense import checkpoint_place
from bench.models.load_weights import load_into
from bench.store.files import read_file
from bench.study.load import place_of_model
from bench.study.spec import FoundNormalisation, ModelSpec, Normalisation, Study

#: What networks are usually trained with, by the number of channels.
USUAL: Mapping[int, tuple[tuple[str, Normalisation], ...]] = {
    1: (
        ("ImageNet's, averaged over its channels", Normalisation(mean=(0.449,), std=(0.226,))),
        ("inputs in [0, 1]", Normalisation(mean=(0.0,), std=(1.0,))),
        ("inputs in [-1, 1]", Normalisation(mean=(0.5,), std=(0.5,))),
    ),
    3: (
        ("ImageNet's", Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))),
        ("inputs in [0, 1]", Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)),
        ("inputs in [-1, 1]", Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)),
    ),
}
METADATA, TIMM = "the metadata of the checkpoint", "timm's pretrained_cfg"


@dataclass(frozen=True)
class GivenModels:
    """The models of a study, once its given checkpoints were read.

    Attributes
    ----------
    study : Study
        The study; a given checkpoint without normalisation has a `FoundNormalisation` now.
    digests : mapping
        Path or URL of each checkpoint -> SHA-256 of its content.
    notes : tuple of str
        What a user should check.
    """

    study: Study
    digests: Mapping[str, str]
    notes: tuple[str, ...]


def resolve_models(study: Study, registry: Registry, facts: Mapping[str, DataFacts]) -> GivenModels:
    """Read every given checkpoint once: check that it fits its network, and find its normalisation.

    Parameters
    ----------
    study : Study
        The study as it was read.
    registry : Registry
        Plug-ins of this process.
    facts : mapping
        Data set label -> what is known of it.

    Raises
    ------
    UserError
        If a checkpoint cannot be read or does not fit, if its normalisation is neither given nor known, or if a
        normalisation has another number of channels than a data set.
    """
    digests: dict[str, str] = {}
    notes: list[str] = []
    models = []
    for number, spec in enumerate(study.file.models):
        found: list[Normalisation | None] = []
        if spec.checkpoint is not None:
            networks = [build_model(spec, registry, known, seed=0) for known in facts.values()]
            for seed in study.file.train_seeds if spec.seeded else (None,):
                place = checkpoint_place(spec, seed, study.folder)
                digests[place], normalisation = _read(place, networks)
                found.append(normalisation)
            if spec.normalisation is None:
                spec = _with_normalisation(study, number, found, registry, facts, notes)
        _check_channels(study, number, spec, facts)
        models.append(spec)
    return GivenModels(
        replace(study, file=study.file.model_copy(update={"models": tuple(models)})), digests, tuple(notes)
    )


def stored_normalisation(content: bytes, place: str) -> Normalisation | None:
    """Return the mean and standard deviation that a file of ours has in its metadata, or None.

    Parameters
    ----------
    content : bytes
        Content of a checkpoint of any format.
    place : str
        Path or URL, for messages.
    """
    if not is_safetensors(content):
        return None
    metadata = read_metadata(content, place)
    try:
        return Normalisation(mean=metadata["mean"], std=metadata["std"])
    except (KeyError, ValidationError):
        return None


def normalisation_source(spec: ModelSpec) -> str:
    """Return where the normalisation of a model's inputs comes from: the data set, study.yaml, a file or timm."""
    given = spec.given_normalisation
    if given is None:
        return "the data set"
    return given.source if isinstance(given, FoundNormalisation) else "study.yaml"


def describe_normalisations(study: Study) -> str:
    """Return one line with the normalisation of every model and its source, for ``prunebench plan``."""
    titles: dict[str, list[str]] = {}
    for spec in study.file.models:
        given, source = spec.given_normalisation, normalisation_source(spec)
        text = f"that of {source}" if given is None else f"{given.shown} from {source}"
        titles.setdefault(text, []).append(spec.title)
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in titles.items())


def _read(place: str, networks: list[nn.Module]) -> tuple[str, Normalisation | None]:
    content = read_file(place)
    state = parse_checkpoint(content, place)
    for network in networks:
        load_into(network, state, place)
    return hashlib.sha256(content).hexdigest(), stored_normalisation(content, place)


def _with_normalisation(
    study: Study,
    number: int,
    stored: list[Normalisation | None],
    registry: Registry,
    facts: Mapping[str, DataFacts],
    notes: list[str],
) -> ModelSpec:
    spec = study.file.models[number]
    channels = {known.in_chans for known in facts.values()}
    first = stored[0]
    if first is not None and all(one == first for one in stored):
        return _found(spec, first, METADATA)
    config = timm.get_pretrained_cfg(spec.name) if registry.find("model", spec.name) is None else None
    if config is not None and config.has_weights and channels == {len(config.mean)} == {len(config.std)}:
        spec = _found(
            spec, Normalisation(mean=config.mean, std=config.std), f"{TIMM} ({config.architecture}.{config.tag})"
        )
        notes.append(
            f"{spec.title}: study.yaml gives no `normalisation` for the checkpoint, so that of {TIMM} is used, "
            f"{spec.given_normalisation.shown if spec.given_normalisation else ''}; if the checkpoint was trained with "
            f"other inputs, its accuracy here is wrong: write its `normalisation`"
        )
        return spec
    differ = (
        "its files have different ones in their metadata" if any(stored) else "neither its metadata nor timm has it"
    )
    raise UserError(
        f"{place_of_model(study, number)}: model {spec.title!r}: the checkpoint needs the `normalisation` of "
        f"the inputs that it was trained with ({differ}); write one of: {_usual(channels)}"
    )


def _usual(channels: set[int]) -> str:
    values = USUAL.get(min(channels), ()) if len(channels) == 1 else ()
    shown = [("the data set's own", "dataset"), *((what, value.shown) for what, value in values)]
    if not values:
        shown.append(("inputs in [0, 1]; one value per channel", "{mean: [0, ...], std: [1, ...]}"))
    return "; ".join(f"`normalisation: {text}` ({what})" for what, text in shown)


def _found(spec: ModelSpec, values: Normalisation, source: str) -> ModelSpec:
    found = FoundNormalisation(mean=values.mean, std=values.std, source=source)
    return spec.model_copy(update={"normalisation": found})


def _check_channels(study: Study, number: int, spec: ModelSpec, facts: Mapping[str, DataFacts]) -> None:
    given = spec.given_normalisation
    for data, known in facts.items():
        if given is not None and not len(given.mean) == len(given.std) == known.in_chans:
            raise UserError(
                f"{place_of_model(study, number)}: model {spec.title!r}: normalisation has {len(given.mean)} means and "
                f"{len(given.std)} deviations for the {known.in_chans} channels of {data}; write one value per channel"
            )
