"""The plug-in registry: one record per scorer, allocation, correction, recalibration, search, model, data set."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bench.core.errors import UserError, suggest
from bench.core.method import OTHER, OTHER_FEATURES, Method, described
from bench.core.types import Cell, Choice

KINDS = ("scorer", "search", "allocation", "correction", "recalibration", "model", "dataset")
#: Entry-point group of an installed package -> kind of the plug-ins that it offers.
ENTRY_POINT_GROUPS = {
    "prunebench.scorers": "scorer", "prunebench.searches": "search", "prunebench.allocations": "allocation",
    "prunebench.corrections": "correction", "prunebench.recalibrations": "recalibration",
}  # fmt: skip
OWN_PACKAGES = ("bench", "analysis")
#: An allocation's name such as 3:5 is no reference to a module 3.
N_OF_M = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True)
class Plugin(Method):
    """A method with its function; the facts about it are those of `Method`.

    Attributes
    ----------
    source : callable or str
        The function, or ``module:function``, which is imported when the function is first needed: so the catalogue
        can be read without torch. Its keyword-only arguments are the options that a study may set.
    recipe : mapping
        Models: training recipe that differs from the default.
    example : mapping
        Values of the options without a default, with which the conformance suite calls it.
    newer : tuple of str
        Options that were added to the method later. At their default they are no part of a cell's identity, so that
        the rows of earlier versions stay valid.
    per_model : bool
        Feature scorers: whether the seed depends on the dense model alone, so that all its calibration draws share what
        is drawn. By default it depends on scorer and draw alone, and all models share it.
    """

    source: Callable[..., Any] | str
    _: KW_ONLY
    recipe: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)
    newer: tuple[str, ...] = ()
    per_model: bool = False

    def __post_init__(self) -> None:
        """Derive the facts that the function shows where they are None; the catalogue states them."""
        if isinstance(self.source, str):
            return
        if self.kind == "scorer":
            self._derive("family", OTHER_FEATURES if self.fuses_features else OTHER)
            self._derive("gradients", not self.fuses_features)
        if self.kind == "allocation":
            parameter = inspect.signature(self.function).parameters.get("sparsity")
            self._derive("sets_sparsity", parameter is not None and parameter.annotation in (None, "None"))

    def _derive(self, name: str, value: object) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    @property
    def record(self) -> Method:
        """The facts alone; the source file of a user's plug-in without its folder."""
        facts = {each.name: getattr(self, each.name) for each in fields(Method)}
        if isinstance(self.version, str):
            facts["reference"] = Path(self.reference).name
        return Method(**facts)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function that `source` is or names."""
        if not isinstance(self.source, str):
            return self.source
        module, _, name = self.source.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function

    @cached_property
    def takes_sparsity(self) -> bool:
        """Whether a scorer's scores depend on the target: its fourth argument is named ``sparsity``."""
        parameter = inspect.signature(self.function).parameters.get("sparsity")
        return parameter is not None and parameter.kind is not inspect.Parameter.KEYWORD_ONLY

    @cached_property
    def fuses_features(self) -> bool:
        """Whether a scorer returns a `FeatureMap`, as its annotation states; a search then finds the fusion weights."""
        returned = inspect.signature(self.function).return_annotation
        return str(getattr(returned, "__name__", returned)).rpartition(".")[2] == "FeatureMap"

    def options_model(self) -> type[BaseModel]:
        """Pydantic model of the options: the function's keyword-only arguments."""
        fields: dict[str, Any] = {}
        try:
            parameters = inspect.signature(self.function, eval_str=True).parameters.values()
        except NameError as error:
            raise UserError(
                f"{self.kind} {self.name!r}: its annotations cannot be read ({error}); import that name at the top of "
                f"its file, not under TYPE_CHECKING"
            ) from error
        for parameter in parameters:
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
                default = ... if parameter.default is parameter.empty else parameter.default
                fields[parameter.name] = (annotation, default)
        config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
        return create_model(f"{self.name}_options", __config__=config, **fields)

    def resolve(self, options: Mapping[str, Any]) -> Choice:
        """Validate `options`, fill in the defaults and return the axis value.

        Raises
        ------
        UserError
            For an unknown option (with the nearest name) or a value of the wrong type.
        """
        model = self.options_model()
        unknown = set(options) - set(model.model_fields)
        if unknown:
            name = sorted(unknown)[0]
            hint = suggest(name, model.model_fields) if model.model_fields else "it takes no options"
            raise UserError(f"{self.kind} {self.name!r} has no option {name!r}: {hint}")
        try:
            resolved = model(**options).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"option {where!r} of {self.kind} {self.name!r}: {first['msg']}") from error
        defaults = {name: f.default for name, f in model.model_fields.items()}
        shown = [f"{k}={v}" for k, v in resolved.items() if v != defaults.get(k)]
        label = self.name + (f"({', '.join(shown)})" if shown else "")
        kept = {k: v for k, v in resolved.items() if k not in self.newer or v != defaults[k]}
        return Choice(self.name, kept, label, self.version)


class Registry:
    """The plug-ins of this process: ours, those of installed packages, and a study's own files.

    Parameters
    ----------
    plugins : iterable of Plugin
        The catalogue.
    folder : Path, optional
        Study folder, in which ``./file.py:function`` is looked up.

    Raises
    ------
    UserError
        If two plug-ins of one kind have the same name.
    """

    def __init__(self, plugins: Iterable[Plugin], folder: Path | None = None) -> None:
        self._plugins: dict[tuple[str, str], Plugin] = {}
        self._folder = folder
        for plugin in plugins:
            self.add(plugin)

    def add(self, plugin: Plugin) -> None:
        """Add one plug-in; a duplicate name is an error."""
        key = (plugin.kind, plugin.name)
        if key == ("scorer", "dense"):
            raise UserError("'dense' is the name of the unpruned model's rows; give the scorer another")
        if key in self._plugins:
            raise UserError(f"two {plugin.kind}s are named {plugin.name!r}; rename one")
        self._plugins[key] = plugin

    def add_entry_points(self) -> None:
        """Add the plug-ins that installed packages offer under the groups of `ENTRY_POINT_GROUPS`.

        Raises
        ------
        UserError
            If one cannot be imported, is no function, or has a name that is taken; the package is named.
        """
        for group, kind in ENTRY_POINT_GROUPS.items():
            for point in entry_points(group=group):
                package = point.dist.name if point.dist else "?"
                try:
                    self.add(_user_plugin(kind, point.name, point.load()))
                except UserError as error:
                    raise UserError(f"{error}; repair or uninstall the package {package} ({point.value})") from error
                except Exception as error:  # whatever an installed package does at import
                    words = " ".join(f"{type(error).__name__}: {error}".split())
                    raise UserError(
                        f"the {kind} {point.name!r} of the installed package {package} cannot be imported from "
                        f"{point.value}: {words}; repair or uninstall that package"
                    ) from error

    def of_kind(self, kind: str) -> Iterator[Plugin]:
        """Iterate over the plug-ins of one kind, in catalogue order."""
        return (plugin for (k, _), plugin in self._plugins.items() if k == kind)

    def names(self, kind: str) -> list[str]:
        """Names of one kind, in catalogue order."""
        return [plugin.name for plugin in self.of_kind(kind)]

    def find(self, kind: str, name: str) -> Plugin | None:
        """Return the plug-in, or None where the catalogue has none of that name."""
        if (kind, name) not in self._plugins and ":" in name and kind != "dataset":
            if kind == "allocation" and (pattern := N_OF_M.fullmatch(name)):
                n, m = pattern.groups()
                raise UserError(f"no allocation is named {name!r}: write {{name: n:m, n: {n}, m: {m}}}")
            self.add(_import_plugin(kind, name, self._folder))
        return self._plugins.get((kind, name))

    def get(self, kind: str, name: str) -> Plugin:
        """Return the plug-in of that name, importing a user's own where it is a reference.

        Raises
        ------
        UserError
            If there is none; the nearest name is suggested.
        """
        plugin = self.find(kind, name)
        if plugin is None:
            raise UserError(f"no {kind} named {name!r}: {suggest(name, self.names(kind))}")
        return plugin

    def records(self, cells: Iterable[Cell]) -> tuple[Method, ...]:
        """Return the records of all methods that some cells use, in catalogue order."""
        used = {(axis, choice.name) for cell in cells for axis, choice in cell.methods().items() if choice is not None}
        return tuple(plugin.record for key, plugin in self._plugins.items() if key in used)


def _user_plugin(kind: str, name: str, function: Callable[..., Any]) -> Plugin:
    if not inspect.isfunction(function):
        raise UserError(f"{kind} {name!r}: is a {type(function).__name__}, not a function; wrap it in one with `def`")
    source = inspect.getsourcefile(function)
    version = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else "unknown"
    summary = (inspect.getdoc(function) or "").split("\n")[0]
    facts = {"formula": summary, "cost": "user", "reference": str(source), "glossary": summary.rstrip(".")}
    return Plugin(kind, name, function, version=version, **{**facts, **described(function)})


def _import_plugin(kind: str, reference: str, folder: Path | None) -> Plugin:
    module_name, _, function_name = reference.rpartition(":")
    if module_name.endswith(".py"):
        module = _import_file(kind, reference, module_name, folder)
    else:
        module = _import_module(kind, reference, module_name, folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"{kind} {reference!r}: no function {function_name!r} there: {suggest(function_name, names)}")
    return _user_plugin(kind, reference, function)


def _import_file(kind: str, reference: str, path: str, folder: Path | None) -> Any:
    file = ((folder or Path.cwd()) / path).resolve()
    if not file.is_file():
        raise UserError(f"{kind} {reference!r}: there is no file {file}")
    name = f"prunebench_user_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{kind} {reference!r}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look a module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{kind} {reference!r}: importing {file} raised {type(error).__name__}: {error}") from error
    return module


def _import_module(kind: str, reference: str, name: str, folder: Path | None) -> Any:
    if folder is not None:
        hidden = (folder / name.split(".")[0]).with_suffix(".py")
        if name.split(".")[0] in OWN_PACKAGES and hidden.exists():
            raise UserError(f"{kind} {reference!r}: {hidden} is hidden by our package of that name; rename the file")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module does at import
        raise UserError(f"{kind} {reference!r}: cannot import {name!r}: {type(error).__name__}: {error}") from error
