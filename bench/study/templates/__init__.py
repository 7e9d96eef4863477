"""Study templates, shipped as package data; ``prunebench new`` copies one."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from bench.core.errors import UserError, suggest

FILES = ("study.yaml", "claims.yaml")


def template_names() -> list[str]:
    """Names of the shipped templates."""
    return sorted(entry.name for entry in files(__package__).iterdir() if (entry / FILES[0]).is_file())


def describe_template(name: str) -> str:
    """Return the ``description`` of a template's study."""
    tree = YAML(typ="safe", pure=True).load((_template(name) / FILES[0]).read_text(encoding="utf-8"))
    return str(tree["description"]).strip()


def _template(name: str) -> Traversable:
    if name not in template_names():
        raise UserError(f"no template named {name!r}: {suggest(name, template_names())}")
    return files(__package__) / name


def new_study(folder: Path, template: str, models: list[str], data: str | None) -> list[Path]:
    """Copy a template into `folder`, optionally with other models or another data set.

    Raises
    ------
    UserError
        If there is no such template, or the folder already holds a study.
    """
    source = _template(template)
    for path in (folder / name for name in FILES):
        if path.exists():
            raise UserError(f"{path}: exists already; choose another folder or edit that study")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name in FILES:
            text = (source / name).read_text(encoding="utf-8")
            if name == FILES[0]:
                text = _edited(text, folder.resolve().name, models, data)
            path = folder / name
            with path.open("x", encoding="utf-8") as stream:  # follows no link
                stream.write(text)
            paths.append(path)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
    return paths


def _edited(text: str, name: str, models: list[str], data: str | None) -> str:
    """Change values and keep the comments."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)  # as the templates are written
    tree = yaml.load(text)
    tree["name"] = name
    if models:
        tree["models"] = models
    if data is not None:
        tree["data"] = [data]
    out = StringIO()
    yaml.dump(tree, out)
    return out.getvalue()
