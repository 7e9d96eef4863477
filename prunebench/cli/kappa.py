"""The command ``kappa``: the complexity of score functions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.core.errors import UserError, suggest
from prunebench.cli.options import AsJson, Profile
from prunebench.cli.output import make_console, print_frame, print_json

commands = typer.Typer()


@commands.command()
def kappa(
    scorers: Annotated[
        list[str] | None, typer.Argument(metavar="SCORER", help="default: all that are functions of the rank")
    ] = None,
    eps: Annotated[float, typer.Option(help="tolerance, of a curve scaled to [0, 1]")] = 0.05,
    smooth_degree: Annotated[int, typer.Option(min=1, max=64, help="largest degree that counts as smooth")] = 16,
    basis: Annotated[str, typer.Option(help="whose degree decides: polynomial, cosine or wavelet")] = "polynomial",
    sparsity: Annotated[
        float, typer.Option(min=0, max=1, help="target of the scorers whose curve depends on it; without --study")
    ] = 0.8,
    study: Annotated[
        Path | None, typer.Option(metavar="STUDY", help="the curves of this study, and its scores at the weights found")
    ] = None,
    profile: Profile = None,
    figure: Annotated[
        Path | None,
        typer.Option("-o", "--figure", help="draw the curves with their best polynomial (.svg, .png, .pdf)"),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option("--map", help="draw kappa over eps and the smooth degree (.svg, .png, .pdf)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how complex score functions are: kappa computed, beside kappa by design."""
    from analysis.kappa.approximation import BASES
    from analysis.kappa.curves import kappa_map, measure, random_features
    from analysis.kappa.study import fused, fused_summary
    from analysis.kappa_figures import approximations, kappa_maps
    from analysis.kappa_tables import draws_table, fused_table, kappa_table, plain, scorer_title
    from analysis.load import load

    if basis not in BASES:
        raise UserError(f"--basis {basis!r}: {suggest(basis, BASES)}")
    if not eps > 0:
        raise UserError(f"--eps {eps:g}: a tolerance is above 0")
    for file in (figure, sweep):
        if file is not None and file.suffix not in (".svg", ".png", ".pdf"):
            raise UserError(f"{file}: the ending says how to draw: .svg, .png or .pdf")
    summary = None
    draws: dict[str, Any] = {}
    if study is None:
        curves, draws = _catalogue_curves(scorers, sparsity, eps)
    else:
        data = load(study, profile)
        curves = _study_curves(study, data.curves, scorers)
        own = data.rows["scorer"].isin({one.scorer for one in curves})
        summary = fused_summary(fused(replace(data, rows=data.rows[own]), eps, smooth_degree, basis))
    results = measure(curves, eps, smooth_degree, basis)
    draws |= random_features(results)
    if figure is not None:
        _save(approximations(results, eps), figure)
    if sweep is not None:
        maps = {scorer_title(one): kappa_map(one.values, basis=basis) for one in curves}
        _save(kappa_maps(maps, chosen=(eps, smooth_degree)), sweep)
    if as_json:
        print_json({
            "eps": eps, "smooth_degree": smooth_degree, "basis": basis, "scorers": [plain(one) for one in results],
            "draws": {name: vars(found) for name, found in draws.items()},
            "fused": None if summary is None else json.loads(summary.to_json(orient="records")),
        })  # fmt: skip
        return
    out = make_console()
    table = kappa_table(results)
    names = table["Scorer"].where(table["By design"].ne(""), "  " + table["Feature"])
    print_frame(table.drop(columns=["Scorer", "Feature"]).set_axis(names), out)
    out.print(
        f"D: least degree of a polynomial within {eps:g}; interpolation bounds it. kappa: 0 non-decreasing (drawdown "
        f"up to 0.01), else 1 with a {basis} degree up to {smooth_degree}, else 2. Beside a scorer: its largest.",
        style="dim",
    )  # fmt: skip
    if draws:
        print_frame(draws_table(draws).set_index("Scorer"), out)
    if summary is not None and len(summary):
        out.print("kappa of the fused score at the weights found: median over models (range)", style="dim")
        for setting, rows in fused_table(summary).groupby(
            ["Data set", "Model", "Granularity", "Allocation"], sort=False
        ):
            out.print(", ".join(map(str, setting)))
            names = "  " + rows["Scorer"] + " + " + rows["Search"]
            print_frame(rows.iloc[:, 6:].set_axis(names), out)


def _catalogue_curves(names: list[str] | None, sparsity: float, eps: float) -> tuple[list[Any], dict[str, Any]]:
    """Return the curves of scorers with their default options, and the degrees of random ones over draws."""
    from analysis.kappa.approximation import interpolation_degrees
    from analysis.kappa.curves import DRAWS, Curves, over_draws, worst
    from bench.measure.curves import default_curve
    from bench.plugins.catalogue import make_registry

    registry = make_registry(Path.cwd())
    known = [plugin.name for plugin in registry.of_kind("scorer") if plugin.details.get("curve", False)]
    found, draws = [], {}
    for name in dict.fromkeys(names or known):
        plugin = registry.get("scorer", name)
        curve = default_curve(plugin, sparsity)
        target = sparsity if plugin.takes_sparsity else None
        found.append(Curves(name, target, 0, curve.names, curve.u, curve.values, curve.function))
        if (default_curve(plugin, sparsity, 1).values != curve.values).any():
            drawn = (default_curve(plugin, sparsity, draw) for draw in range(DRAWS))
            draws[name] = over_draws([worst(interpolation_degrees(one.function, one.u, eps)) for one in drawn])
    return found, draws


def _study_curves(study: Path, table: Any, names: list[str] | None) -> list[Any]:
    from analysis.kappa.study import study_curves

    curves = list(study_curves(table))
    if not curves:
        raise UserError(f"{study}: has no scorer that is a function of the rank; leave --study out for the catalogue's")
    known = list(dict.fromkeys(one.scorer for one in curves))
    for name in names or []:
        if name not in known:
            raise UserError(f"{study}: no curve of a scorer {name!r}: {suggest(name, known)}")
    return [one for one in curves if not names or one.scorer in names]


def _save(figure: Any, path: Path) -> None:
    from analysis.style import styled

    try:
        with styled():
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {path}", err=True)
