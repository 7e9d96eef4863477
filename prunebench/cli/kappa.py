"""The command ``kappa``: the complexity of score functions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.core.errors import UserError, suggest
from prunebench.cli.options import AsJson, Profile
from prunebench.cli.output import make_console, print_frame, print_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.kappa.curves import Curves, DrawsInterval
    from bench.store.reader import StudyData

commands = typer.Typer()


@commands.command()
def kappa(
    scorers: Annotated[
        list[str] | None, typer.Argument(metavar="SCORER", help="default: all scorers that are functions of the rank")
    ] = None,
    eps: Annotated[float, typer.Option(help="tolerance of the approximation; curves are scaled to [0, 1]")] = 0.05,
    smooth_degree: Annotated[int, typer.Option(min=1, max=64, help="largest degree that counts as smooth")] = 16,
    basis: Annotated[
        str, typer.Option(help="basis whose degree decides: polynomial, cosine or wavelet")
    ] = "polynomial",
    sparsity: Annotated[
        float,
        typer.Option(min=0, max=1, help="target sparsity of scorers whose curve depends on it; ignored with --study"),
    ] = 0.8,
    study: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="use the curves of this study, and its fused scores at the weights found"),
    ] = None,
    profile: Profile = None,
    figure: Annotated[
        Path | None,
        typer.Option("-o", "--figure", help="draw the curves with their best polynomials (.svg, .png, .pdf)"),
    ] = None,
    heat_map: Annotated[
        Path | None, typer.Option("--map", help="draw kappa over eps and the smooth degree (.svg, .png, .pdf)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the complexity of score functions: kappa computed, next to kappa by design."""
    from analysis.evidence.files import refuse_without_evidence

    if study is not None:
        refuse_without_evidence(study)
    from analysis.evidence.load import load
    from analysis.kappa.approximation import BASES
    from analysis.kappa.curves import kappa_map, measure, random_features
    from analysis.kappa.study import fused, fused_summary
    from analysis.kappa_figures import approximations, kappa_maps
    from analysis.kappa_tables import draws_table, fused_table, kappa_table, plain, scorer_title

    if basis not in BASES:
        raise UserError(f"--basis {basis!r}: {suggest(basis, BASES)}")
    if not eps > 0:
        raise UserError(f"--eps {eps:g}: a tolerance must be above 0; write 0.05")
    for file in (figure, heat_map):
        if file is not None and file.suffix not in (".svg", ".png", ".pdf"):
            raise UserError(f"{file}: unknown image format; use a name that ends with .svg, .png or .pdf")
    summary = None
    draws: dict[str, DrawsInterval] = {}
    if study is None:
        curves, draws = _catalogue_curves(scorers, sparsity, eps)
    else:
        data = load(study, profile)
        curves = _study_curves(study, data, scorers)
        own = data.rows["scorer"].isin({one.scorer for one in curves})
        summary = fused_summary(fused(replace(data, rows=data.rows[own]), eps, smooth_degree, basis))
    results = measure(curves, eps, smooth_degree, basis)
    draws |= random_features(results)
    if figure is not None:
        _save(approximations(results, eps), figure)
    if heat_map is not None:
        maps = {scorer_title(one): kappa_map(one.values, basis=basis) for one in curves}
        _save(kappa_maps(maps, chosen=(eps, smooth_degree)), heat_map)
    if as_json:
        print_json({
            "eps": eps, "smooth_degree": smooth_degree, "basis": basis, "scorers": [plain(one) for one in results],
            "draws": {name: vars(degrees) for name, degrees in draws.items()},
            "fused": None if summary is None else json.loads(summary.to_json(orient="records")),
        })  # fmt: skip
        return
    out = make_console()
    _print_scorers(kappa_table(results), eps, smooth_degree, basis, out)
    if draws:
        print_frame(draws_table(draws).set_index("Scorer"), out)
    if summary is not None and len(summary):
        _print_fused(fused_table(summary), out)


def _print_scorers(table: pd.DataFrame, eps: float, smooth_degree: int, basis: str, out: Console) -> None:
    """Print degrees and kappa: one line per scorer, followed by its features."""
    names = table["Scorer"].where(table["By design"].ne(""), "  " + table["Feature"])
    print_frame(table.drop(columns=["Scorer", "Feature"]).set_axis(names), out)
    out.print(
        f"D: least degree of a polynomial within {eps:g}; interpolation bounds it. kappa: 0 non-decreasing (drawdown "
        f"up to 0.01), else 1 with a {basis} degree up to {smooth_degree}, else 2. The line of a scorer shows the "
        f"largest of its features.",
        style="dim",
    )


def _print_fused(table: pd.DataFrame, out: Console) -> None:
    """Print kappa of the fused scores, one table per data set, model, granularity and allocation."""
    out.print("kappa of the fused score at the weights found: median over models (range)", style="dim")
    for setting, rows in table.groupby(["Data set", "Model", "Granularity", "Allocation"], sort=False):
        out.print(", ".join(map(str, setting)))
        names = "  " + rows["Scorer"] + " + " + rows["Search"]
        print_frame(rows.iloc[:, 6:].set_axis(names), out)


def _catalogue_curves(
    names: list[str] | None, sparsity: float, eps: float
) -> tuple[list[Curves], dict[str, DrawsInterval]]:
    """Return the curves of scorers with default options, and the degrees of random curves over several draws."""
    from analysis.kappa.approximation import interpolation_degrees
    from analysis.kappa.curves import DRAWS, Curves, over_draws, worst
    from bench.measure.curves import default_curve
    from bench.plugins.catalogue import make_registry

    registry = make_registry(Path.cwd())
    known = [plugin.name for plugin in registry.of_kind("scorer") if plugin.curve]
    curves, draws = [], {}
    for name in dict.fromkeys(names or known):
        plugin = registry.get("scorer", name)
        curve = default_curve(plugin, sparsity)
        target = sparsity if plugin.takes_sparsity else None
        curves.append(Curves(name, target, 0, curve.names, curve.u, curve.values, curve.function, plugin.complexity))
        if (default_curve(plugin, sparsity, 1).values != curve.values).any():
            drawn = (default_curve(plugin, sparsity, draw) for draw in range(DRAWS))
            draws[name] = over_draws([worst(interpolation_degrees(one.function, one.u, eps)) for one in drawn])
    return curves, draws


def _study_curves(study: Path, data: StudyData, names: list[str] | None) -> list[Curves]:
    """Return the curves that a study stored, of all scorers or of those named."""
    from analysis.kappa.study import study_curves

    curves = list(study_curves(data))
    if not curves:
        raise UserError(f"{study}: no scorer that is a function of the rank; omit --study to use the catalogue")
    known = list(dict.fromkeys(one.scorer for one in curves))
    for name in names or []:
        if name not in known:
            raise UserError(f"{study}: no curve of a scorer {name!r}: {suggest(name, known)}")
    return [one for one in curves if not names or one.scorer in names]


def _save(figure: Figure, path: Path) -> None:
    """Write a figure in the style of the report, in the format that the name of the file ends with."""
    from analysis.figure_style import styled

    try:
        with styled():
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {path}", err=True)
