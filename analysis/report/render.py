"""Write the report folder: one self-contained page, the files behind it, and a manifest of their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import jinja2

from analysis import narrate
from analysis.claims.decide import decide
from analysis.claims.read import Claims, read_claims
from analysis.claims.records import ClaimResult
from analysis.claims.schema import claims_path
from analysis.errors import AnalysisError
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import ADDITIONAL, load, write_additional, write_parquet
from analysis.report.content import sections
from analysis.report.layout import Section
from analysis.report.markup import latex_table, markdown_table, markdown_text, numeric_columns
from analysis.report.verdicts import by_paper
from analysis.verdict_sentences import EXPLORATORY, part_heading, part_sentences
from bench.store.registration_level import Verify, registration_level

#: Folder of the report inside a study.
REPORT = "report"
_MANIFEST = "manifest.json"
_DATA = "data.parquet"


def render_report(
    folder: Path,
    profile: str | None = None,
    verify: Verify | None = None,
    check: Callable[[Evidence, Claims], None] | None = None,
) -> Path:
    """Make ``folder/report`` from the study's evidence and claims.

    The evidence is read once, from ``results.db`` or else from the ``data.parquet`` of an earlier report: both give
    the same bytes. The claims are decided on it, and the report is drawn from it. A study without claims.yaml gets a
    report without verdicts.

    Parameters
    ----------
    folder : Path
        Study folder.
    profile : str, optional
        Which run, where the store holds several.
    verify : callable, optional
        Verifies a time-stamp (`bench.study.registered.verify_stamp`); without it no study is reported as time-stamped.
    check : callable, optional
        Compares the claims with the cells of the study, and raises for a mistake.

    Returns
    -------
    Path
        The page to open.

    Raises
    ------
    AnalysisError
        If there is nothing to report, or the claims file is wrong.
    """
    data = load(folder, profile)
    claims = read_claims(claims_path(folder)) if claims_path(folder).exists() else None
    if claims is not None and check is not None:
        check(data, claims)
    results = decide(data, claims) if claims is not None else []
    out = folder / REPORT
    try:
        return _make(data, results, folder, out, verify)
    except OSError as error:
        raise AnalysisError(f"{out}: cannot be written: {error.strerror}; make room or check permissions") from error


def _make(
    data: Evidence, results: Sequence[ClaimResult], folder: Path, out: Path, verify: Verify | None
) -> Path:  # fmt: skip
    out.mkdir(exist_ok=True)
    for place in (out, out / "figures", out / "tables"):
        if not place.resolve().is_relative_to(folder.resolve()):
            raise AnalysisError(f"{place}: leads out of the study; remove the link")
    written = BytesIO()
    write_parquet(data, written)
    kept = {_DATA: written.getvalue()}
    for name in ADDITIONAL:
        if not getattr(data, name).empty:
            content = BytesIO()
            write_additional(data, name, content)
            kept[f"{name}.parquet"] = content.getvalue()
    _write(out, render(data, results, verify) | kept)
    return out / "index.html"


def render(data: Evidence, results: Sequence[ClaimResult], verify: Verify | None = None) -> dict[str, bytes]:
    """Return the content of every file of the report but its data.

    Parameters
    ----------
    data : Evidence
        As `analysis.evidence.load.load` returns it.
    results : sequence of ClaimResult
        The decided claims.
    verify : callable, optional
        Verifies a time-stamp.

    Returns
    -------
    dict
        File name, relative to the report folder -> bytes. Equal inputs give equal bytes.
    """
    level = registration_level(data.meta, data.rows, results[0].claims_hash if results else None, verify)
    content = sections(data, results, level)
    files = {
        "index.html": _html(data, results, content),
        "report.md": _markdown(data, results, content),
        "records.json": json.dumps([r.model_dump(mode="json") for r in results], indent=1, sort_keys=True),
    }
    for section in content:
        for plot in section.figures:
            files[f"figures/{plot.name}.svg"] = plot.svg
        for table in section.tables:
            caption = f"{table.title}. {table.caption}" if table.caption else table.title
            files[f"tables/{table.name}.tex"] = latex_table(table.frame, caption, (*table.warnings, *table.notes))
    return {name: text.encode() for name, text in files.items()}


def _html(data: Evidence, results: Sequence[ClaimResult], content: Sequence[Section]) -> str:
    environment = template_environment(autoescape=True)
    environment.filters["numeric"] = numeric_columns
    environment.filters["image"] = _data_uri
    return environment.get_template("index.html.j2").render(meta=data.meta, papers=by_paper(results), sections=content)


def _markdown(data: Evidence, results: Sequence[ClaimResult], content: Sequence[Section]) -> str:
    environment = template_environment(autoescape=False)
    environment.filters["md"] = markdown_text
    environment.filters["md_table"] = markdown_table
    return environment.get_template("report.md.j2").render(meta=data.meta, papers=by_paper(results), sections=content)


def template_environment(*, autoescape: bool) -> jinja2.Environment:
    """Return the environment of the templates, in which an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report"), undefined=jinja2.StrictUndefined,
        autoescape=autoescape, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals |= {
        "zip": zip, "sentences": part_sentences, "heading": part_heading, "number": narrate.number_word,
        "EXPLORATORY": EXPLORATORY,
    }  # fmt: skip
    return environment


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Replace the report file by file; what an earlier report wrote and this one does not is removed.

    Nothing else in the folder is touched, and every file is whole at any time.
    """
    before = _listed(out / _MANIFEST)
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    listing = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    for name, content in [*files.items(), (_MANIFEST, listing.encode())]:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.unlink(missing_ok=True)
        with scratch.open("xb") as stream:  # follows no link
            stream.write(content)
        scratch.replace(path)
    for name in before - set(files):
        path = out / name
        if path.is_file() and path.resolve().is_relative_to(out.resolve()):
            path.unlink()


def _listed(path: Path) -> set[str]:
    if not path.exists():
        return set()
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {str(name) for name in listed} if isinstance(listed, dict) else set()
