"""Find the YAML file that an entry of `include` in claims.yaml names.

An entry is the short name of a paper (shipped here, or offered by an installed package under the entry-point group
``prunebench.claims``), ``package.module:function``, or a YAML file next to claims.yaml. The entry point's object and
the function take no arguments and return the path of a YAML file.
"""

from __future__ import annotations

import importlib
import sys
from importlib import resources
from importlib.metadata import entry_points
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError, nearest

GROUP = "prunebench.claims"


def papers() -> tuple[str, ...]:
    """Return the short names of the papers whose claims are shipped."""
    return tuple(sorted(i.name.removesuffix(".yaml") for i in _shipped().iterdir() if i.name.endswith(".yaml")))


def find_included(name: str, folder: Path) -> Traversable:
    """Find an included file, without reading it.

    Parameters
    ----------
    name : str
        An entry of `include`.
    folder : Path
        Where claims.yaml lies.

    Raises
    ------
    AnalysisError
        If the name is unknown (with the nearest one) or has several owners, or if the function that it names cannot
        be imported, raises, or returns something else than a path.

    Examples
    --------
    >>> find_included("sics", Path()).name, str(find_included("./mine.yaml", Path("study")))
    ('sics.yaml', 'study/mine.yaml')
    """
    if name.endswith((".yaml", ".yml")):
        return folder / name
    if ":" in name:
        return _path_from(name, _import_function(name, folder))
    offers = [point for point in entry_points(group=GROUP) if point.name == name]
    owners = [point.value for point in offers] + (["shipped with prunebench"] if name in papers() else [])
    if len(owners) > 1:
        raise AnalysisError(
            f"{name!r} names several files of claims ({', '.join(owners)}); write package.module:function"
        )
    if offers:
        try:
            function = offers[0].load()
        except Exception as error:  # whatever an installed package does at import
            raise AnalysisError(
                f"the installed package's claims {name!r} ({offers[0].value}) cannot be imported: {_words(error)}; "
                f"repair or uninstall that package"
            ) from error
        return _path_from(name, function)
    if name not in papers():
        raise AnalysisError(
            f"no claims are named {name!r}: {nearest(name, {*papers(), *entry_points(group=GROUP).names})}"
        )
    return _shipped() / f"{name}.yaml"


def _shipped() -> Traversable:
    return resources.files("analysis.claims") / "papers"


def _import_function(reference: str, folder: Path) -> Any:
    module_name, _, function_name = reference.rpartition(":")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # as for the plug-ins of a study
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module does at import
        raise AnalysisError(f"cannot import {module_name!r}: {_words(error)}") from error
    if not hasattr(module, function_name):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise AnalysisError(f"no function {function_name!r} in {module_name}: {nearest(function_name, names)}")
    return getattr(module, function_name)


def _path_from(name: str, function: Any) -> Traversable:
    try:
        found = function()
    except Exception as error:  # a user's function may raise anything
        raise AnalysisError(f"{name} raised {_words(error)}") from error
    found = Path(found) if isinstance(found, str) else found
    if not isinstance(found, Traversable):
        raise AnalysisError(f"{name} returned {type(found).__name__} instead of the path of a YAML file")
    return found


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
