"""The command line. Each command imports what it needs inside, so that reading commands never load torch."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import analysis
from analysis.errors import AnalysisError
from bench.core.errors import UserError, suggest
from bench.store.schema import AXES

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="prunebench",
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Honest measurement of one-shot pruning. A study is a folder: study.yaml says what to run, claims.yaml what "
        "to test.\n\nStart with: prunebench new my-digits --from digits; prunebench run my-digits --profile quick; "
        "prunebench report my-digits"
    ),
)
#: What typer raises for options and arguments that it cannot take; it has no public name.
USAGE_ERROR: Any = typer.BadParameter.__base__
EXIT_USER_ERROR = 2
#: Characters of an error line; a name of any length may stand in it.
LONGEST_ERROR = 1500
EXIT_INTERRUPTED = 130
#: Characters of a line in tables of layers, whose names are long.
TABLE_WIDTH = 150
#: Epochs of a training that `show` prints.
SHOWN_EPOCHS = 10
ENGINES = ("local", "ray")

StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="the study folder")]
Profile = Annotated[str | None, typer.Option(help="a profile of study.yaml, such as quick")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; fixed at the study's first run")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]


def main() -> None:
    """Run the command line: a mendable error is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal's encoding may lack what a name is written in
            stream.reconfigure(errors="backslashreplace")
    try:
        _refuse_shadowed_packages()
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="prunebench", standalone_mode=False))
    except (UserError, AnalysisError) as error:
        message = str(error)
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "prunebench"
        message = f"{error.format_message().rstrip('.')}; see `{command} --help`"
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except json.JSONDecodeError as error:  # of all that is read, only a store's texts are JSON unchecked
        message = f"a text in the store is damaged: {error}; put a copy of results.db in its place, or start anew"
    except OSError as error:
        message = f"{error.filename or 'the system'}: {error.strerror or error}"
    if len(message) > LONGEST_ERROR:  # the place is named at its beginning, how to mend it at its end
        message = f"{message[: LONGEST_ERROR // 2]} ... {message[-LONGEST_ERROR // 2 :]}"
    print("error:", *message.splitlines(), file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def _refuse_shadowed_packages() -> None:
    ours, theirs = Path(__file__).resolve().parents[2], Path(str(analysis.__file__)).resolve().parents[1]
    if ours != theirs:
        raise UserError(
            f"another package named 'analysis' ({theirs}) hides prunebench's ({ours}); rename that one or run elsewhere"
        )


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


def _out() -> Console:
    """Return a console that prints names as they are: ``[red]`` in one is no colour, ``:smile:`` no picture."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


@app.command()
def new(
    study: StudyFolder,
    template: Annotated[str, typer.Option("--from", help="a template; see `list templates`")] = "digits",
    model: Annotated[
        list[str] | None, typer.Option(help="put this model in place of the template's (repeatable)")
    ] = None,
    data: Annotated[str | None, typer.Option(help="put this data set in place of the template's")] = None,
) -> None:
    """Make a study folder with commented study.yaml and claims.yaml."""
    from bench.study.templates import new_study

    for path in new_study(study, template, model or [], data):
        typer.echo(f"wrote {path}")
    typer.echo(f"next: prunebench plan {study}")


@app.command()
def plan(study: StudyFolder, profile: Profile = None, device: Device = "auto", as_json: AsJson = False) -> None:
    """Show what a run would do: cells, shared work, already done, forecast; runs nothing."""
    from analysis.stats.power import least_effect, least_margin
    from bench.run.open_study import open_study
    from bench.run.plan_summary import summarise_plan

    session = open_study(study, profile, device)
    models = len(session.study.file.train_seeds) if any(m.seeded for m in session.study.file.models) else 1
    summary = summarise_plan(session)
    summary["decidable"] = {
        "models_per_setting": models,
        "least_effect_sd": least_effect(models),
        "least_margin_sd": least_margin(models),
    }
    if as_json:
        _print_json(summary)
    else:
        _show_plan(summary)


def _show_plan(summary: dict[str, Any]) -> None:
    out = _out()
    out.print(f"{summary['name']}  study {summary['study_hash'][:12]}", style="bold")
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in summary["lines"].items():
        table.add_row(key, str(value))
    decidable = summary["decidable"]
    effect, margin = decidable["least_effect_sd"], decidable["least_margin_sd"]
    if effect is None:
        table.add_row("decidable", "nothing by a test: one model per setting is descriptive only")
    else:
        table.add_row(
            "decidable",
            f"with {decidable['models_per_setting']} models per setting and 80 % power: a paired difference of "
            f"{effect:.2f} sd, an equivalence margin of {margin:.2f} sd of the differences",
        )
    out.print(table)
    for network in summary["networks"]:
        _show_network(network, out)
    for warning in summary["warnings"]:
        out.print(f"note: {warning}", style="yellow")
    out.print("resolved study:", style="dim")
    typer.echo(json.dumps(summary["study"], indent=1, sort_keys=True))


def _show_network(network: dict[str, Any], out: Console) -> None:
    """Print the layers of a network: how many units each has, or why it is left dense."""
    from bench.store.network import percent, units_text

    granularities = list(network["summary"])
    table = Table(
        "layer", "kind", "shape", "parameters", "MACs", *(f"{name} units" for name in granularities), box=None,
        pad_edge=False, title=f"{network['dataset']}, {network['model']}", title_justify="left", padding=(0, 2, 0, 0),
    )  # fmt: skip
    for layer in network["layers"]:
        cells = [units_text(layer, name) for name in granularities]
        parameters, macs = (percent(layer[key] / max(1, network[key])) for key in ("parameters", "macs"))
        table.add_row(layer["layer"], layer["kind"], " x ".join(map(str, layer["shape"])), parameters, macs, *cells)
    wide = Console(highlight=False, markup=False, emoji=False, width=max(out.width, TABLE_WIDTH))
    wide.print(table, no_wrap=True)
    for line in network["explanations"]:
        out.print(f"  {line}", style="dim")
    for name, line in network["summary"].items():
        out.print(f"{name}: {line}")


@app.command()
def run(
    study: StudyFolder,
    profile: Profile = None,
    device: Device = "auto",
    engine: Annotated[str, typer.Option(help="local: this machine; ray: a Ray cluster")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="groups at a time; default: one, one per GPU, or all that fit on Ray")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="of the Ray cluster; default: the one of this machine, or a new one on it")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0.01, help="GPUs that a group takes on Ray, 1 by default; 0.5: two share one")
    ] = None,
    store_url: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="keep rows there: postgresql+psycopg://user@host:port/database"),
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(metavar="URL", help="keep dense models and curves there: any fsspec URL")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE: only cells with this axis value (repeatable)")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="stop after so many cells; 0: merge alone")] = None,
    retry_failed: Annotated[bool, typer.Option(help="compute failed cells again")] = False,
    merge: Annotated[
        list[Path] | None,
        typer.Option(metavar="OTHER", help="first take over the rows of another folder of the same study (repeatable)"),
    ] = None,
    cell_timeout: Annotated[float | None, typer.Option(min=0.001, help="seconds after which a cell fails")] = None,
    cache: Annotated[
        str | None,
        typer.Option(envvar="PRUNEBENCH_CACHE", help="folder or URL of dense models shared between studies"),
    ] = None,
) -> None:
    """Run what is missing; interrupt it whenever you like and run it again."""
    from analysis.claims.read import claims_hash
    from bench.run.driver import Driver, RunOptions
    from bench.run.forecast import group_work
    from bench.run.local import InProcessEngine, local_engine
    from bench.run.open_study import changed_inputs, open_study
    from bench.run.progress import Reporter
    from bench.store.database import open_store
    from bench.store.dense_accuracy import read_dense_warnings
    from bench.store.files import Artifacts
    from bench.store.merge import merge_study
    from bench.store.places import Places
    from bench.study.plan import cells_asked_for
    from bench.study.registration import register_study

    if engine not in ENGINES:
        raise UserError(f"no engine named {engine!r}: {suggest(engine, ENGINES)}")
    for option, value in (("--address", address), ("--gpus-per-worker", gpus_per_worker)):
        if engine != "ray" and value is not None:
            raise UserError(f"{option} {value}: belongs to --engine ray; add that, or leave it out")
    if gpus_per_worker is not None and not gpus_per_worker < 1 and not gpus_per_worker.is_integer():
        raise UserError(f"--gpus-per-worker {gpus_per_worker:g}: above 1 it must be a whole number")
    ray_engine = _ray_engine() if engine == "ray" else None
    shared = Artifacts.at(cache) if cache else None
    named = _parse_only(only or [])
    session = open_study(study, profile, device, Places(store_url, artifacts))
    claims = study / "claims.yaml"
    registered = claims_hash(claims) if claims.exists() else None
    cells = cells_asked_for(session.plan, named) if named else None
    options = RunOptions(limit, retry_failed, cells, cell_timeout, shared)
    console = _out()
    for other in merge or []:
        open_store(other).close()  # what is not there is told before a store is made
    if shared is not None:
        shared.refuse_unwritable()
    on_ray = None
    if ray_engine is not None:
        on_ray = ray_engine(session.settings, study, address, workers, gpus_per_worker or 1.0)
        on_ray.check_address()
    with _interruptible(study), closing(open_store(study, create=True)) as store, store.lock():
        for note in (*session.notes, *changed_inputs(store, session)):
            console.print(f"note: {note}", style="yellow")
        methods = session.registry.records(session.plan.cells())
        register_study(store, session.plan, session.settings, session.facts, registered, methods)
        for other in merge or []:
            taken = merge_study(study, store, session.plan.study.digest(), other)
            typer.echo(f"{taken} cells taken over from {other}")
        driver = Driver(session.plan, session.registry, session.settings, store, options)
        todo = driver.todo()
        with Reporter(len(todo), console) as reporter:
            chosen = on_ray or local_engine(session.settings, session.registry, study, workers, reporter.stage)
            together = not isinstance(chosen, InProcessEngine)
            work = group_work(session, {cell.id for cell in todo}) if together else None
            summary = driver.run(chosen, reporter, todo, work)
    left = f", {summary.left} left for another run" if summary.left else ""
    console.print(
        f"{summary.done} cells done, {summary.failed} failed, {summary.skipped} skipped, "
        f"{summary.reused} already there{left}"
    )
    for warning in read_dense_warnings(study, profile):
        console.print(f"warning: {warning}", style="yellow")
    if summary.warnings:
        models = "1 dense model" if len(summary.warnings) == 1 else f"{len(summary.warnings)} dense models"
        console.print(f"note: {models} with a warning: {summary.warnings[0]}", style="yellow")
    if summary.stopped:
        raise UserError(f"the run stopped: {summary.stopped}; `prunebench status {study}` lists the failed cells")
    if summary.unchecked:
        raise UserError(
            f"the checks of {len(summary.unchecked)} groups failed ({summary.unchecked[0]}); all cells are kept: run "
            f"again to repeat the checks"
        )
    if summary.failed:
        reason, count = summary.failures.most_common(1)[0]
        raise UserError(
            f"{summary.failed} cells failed ({count} with: {reason}); `prunebench status {study}` lists them, "
            f"`run --retry-failed` computes them again"
        )
    console.print(f"next: prunebench report {study}")


@contextmanager
def _interruptible(study: Path) -> Iterator[None]:
    """End the process at once, with a line, at Ctrl-C (exit code 130) or SIGTERM (143).

    A run loses nothing however it ends. An exception would be taken by any library for a failure of its own: a cell
    would count as failed, a checkpoint as damaged.
    """

    def end(number: int, _frame: object) -> None:
        show_cursor = "\x1b[?25h\n" if sys.stdout.isatty() else ""  # the progress bar hides it
        line = f"{show_cursor}interrupted; all finished cells are kept: `prunebench run {study}` goes on\n"
        os.write(sys.stderr.fileno(), line.encode(errors="backslashreplace"))
        os._exit(128 + number)

    ours = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.getsignal(one) for one in ours}
    for one in ours:
        if before[one] is not signal.SIG_IGN:  # as nohup makes it for Ctrl-C
            signal.signal(one, end)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, before[one])


def _ray_engine() -> Any:
    try:
        from bench.run.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("--engine ray needs Ray, which is not installed: pip install ray") from error
    return RayEngine


def _parse_only(pairs: list[str]) -> dict[str, str]:
    axes = [column.name for column in AXES if column.name != "position"]
    only = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in axes:
            raise UserError(f"--only {pair!r}: expected KEY=VALUE with an axis as KEY: {suggest(key, axes)}")
        only[key] = value
    return only


@app.command()
def status(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Show how far a run is; safe while it goes on."""
    from bench.store.status import read_status

    found = read_status(study, profile)
    if as_json:
        _print_json(found)
        return
    out = _out()
    out.print(
        f"{found['done']} done, {found['failed']} failed, {found['skipped']} skipped, {found['running']} running, "
        f"{found['todo']} to do, of {found['cells']} cells"
    )
    out.print(found["activity"])
    for failure in found["failures"]:
        out.print(f"failed {failure['count']} x: {failure['reason']}")
        out.print(f"  first: prunebench show {study} {failure['cell'][:12]}")
    for skip in found["skips"]:
        out.print(f"skipped {skip['count']} x: {skip['reason']}")
    for warning in found["warnings"]:
        out.print(f"warning: {warning}", style="yellow")


@app.command()
def show(
    study: StudyFolder,
    cell: Annotated[str, typer.Argument(help="beginning of a cell id, or its position in the plan")],
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Show one cell: its spec, row, training, traceback, and the command that reruns it."""
    from bench.store.reader import read_cell, read_history

    found = read_cell(study, cell, profile)
    history = read_history(study, found["group"])
    if as_json:
        _print_json({**found, "history": history})
        return
    traceback = found.pop("traceback")
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in found.items():
        table.add_row(key, "" if value is None else str(value))
    out = _out()
    out.print(table)
    if history.get("loss") and found["scorer"] == "dense":
        _show_history(history, out)
    if traceback:
        out.print(traceback)
    out.print(
        f"rerun: prunebench run {study} --only cell={found['cell']}"
        + (f" --profile {profile}" if profile else "") + " --retry-failed",
    )  # fmt: skip


def _show_history(history: dict[str, list[float]], out: Console) -> None:
    """Print losses and learning rates of about `SHOWN_EPOCHS` epochs, the first and the last among them."""
    epochs = len(history["loss"])
    names = {"loss": "training loss (nats)", "lr": "learning rate"}
    kept = [name for name in names if name in history]  # models of earlier versions have no learning rates
    table = Table("epoch", *(names[name] for name in kept), box=None, pad_edge=False)
    step = max(1, epochs // SHOWN_EPOCHS)
    for epoch in sorted({0, *range(step - 1, epochs, step), epochs - 1}):
        table.add_row(str(epoch + 1), *(f"{history[name][epoch]:.4g}" for name in kept))
    out.print("training of the dense model:")
    out.print(table)


@app.command()
def report(study: StudyFolder, profile: Profile = None) -> None:
    """Decide the claims, draw the figures, write STUDY/report/."""
    from analysis.report.render import render_report

    typer.echo(f"open {render_report(study, profile)}")


@app.command()
def claims(study: StudyFolder, profile: Profile = None, as_json: AsJson = False) -> None:
    """Print the verdict table alone."""
    from analysis.claims.decide import decide_claims
    from analysis.formats import NONE
    from analysis.load import load
    from analysis.tables import verdict_table

    frame = verdict_table(decide_claims(load(study, profile), study / "claims.yaml"))
    if as_json:
        _print_json(frame.to_dict(orient="records"))
        return
    out = _out()
    for claim in frame.to_dict(orient="records"):
        setting = "" if claim["Setting"] == NONE else f"{claim['Setting']}; "
        out.print(f"{claim['Claim']}  {claim['Verdict']}  {setting}"
                  f"registered before data: {claim['Registered before data']}", style="bold")  # fmt: skip
        out.print(f"    {claim['What it says']} ({claim['Source']})")
        if claim["Beside it"] != NONE:
            out.print(f"    beside it: {claim['Beside it']}")


@app.command()
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
        curves = _study_curves(study, data, scorers)
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
        _print_json({
            "eps": eps, "smooth_degree": smooth_degree, "basis": basis, "scorers": [plain(one) for one in results],
            "draws": {name: vars(found) for name, found in draws.items()},
            "fused": None if summary is None else json.loads(summary.to_json(orient="records")),
        })  # fmt: skip
        return
    out = _out()
    table = kappa_table(results)
    names = table["Scorer"].where(table["By design"].ne(""), "  " + table["Feature"])
    _show_frame(table.drop(columns=["Scorer", "Feature"]).set_axis(names), out)
    out.print(
        f"D: least degree of a polynomial within {eps:g}; interpolation bounds it. kappa: 0 non-decreasing (drawdown "
        f"up to 0.01), else 1 with a {basis} degree up to {smooth_degree}, else 2. Beside a scorer: its largest.",
        style="dim",
    )  # fmt: skip
    if draws:
        _show_frame(draws_table(draws).set_index("Scorer"), out)
    if summary is not None and len(summary):
        out.print("kappa of the fused score at the weights found: median over models (range)", style="dim")
        for setting, rows in fused_table(summary).groupby(
            ["Data set", "Model", "Granularity", "Allocation"], sort=False
        ):
            out.print(", ".join(map(str, setting)))
            names = "  " + rows["Scorer"] + " + " + rows["Search"]
            _show_frame(rows.iloc[:, 6:].set_axis(names), out)


def _catalogue_curves(names: list[str] | None, sparsity: float, eps: float) -> tuple[list[Any], dict[str, Any]]:
    """Return the curves of scorers with their default options, and the degrees of random ones over draws."""
    from analysis.kappa.approximation import interpolation_degrees
    from analysis.kappa.curves import DRAWS, Curves, over_draws, worst
    from bench.measure.curves import default_curve
    from bench.plugins.catalogue import make_registry

    registry = make_registry(Path.cwd())
    known = [plugin.name for plugin in registry.of_kind("scorer") if plugin.curve]
    found, draws = [], {}
    for name in dict.fromkeys(names or known):
        plugin = registry.get("scorer", name)
        curve = default_curve(plugin, sparsity)
        target = sparsity if plugin.takes_sparsity else None
        found.append(Curves(name, target, 0, curve.names, curve.u, curve.values, curve.function, plugin.complexity))
        if (default_curve(plugin, sparsity, 1).values != curve.values).any():
            drawn = (default_curve(plugin, sparsity, draw) for draw in range(DRAWS))
            draws[name] = over_draws([worst(interpolation_degrees(one.function, one.u, eps)) for one in drawn])
    return found, draws


def _study_curves(study: Path, data: Any, names: list[str] | None) -> list[Any]:
    from analysis.kappa.study import study_curves

    curves = list(study_curves(data))
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


def _show_frame(frame: Any, out: Console) -> None:
    """Print a frame of text, its index first."""
    table = Table("", *frame.columns, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for row in frame.itertuples():
        table.add_row(*row)
    out.print(table, soft_wrap=False)


@app.command()
def power(
    study: StudyFolder,
    profile: Profile = None,
    pilot: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="take the spread from this study's rows; default: STUDY's own")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(min=1e-6, help="spread of the paired differences over models, in points; goes first")
    ] = None,
    models: Annotated[list[int] | None, typer.Option(min=2, help="numbers of models (repeatable)")] = None,
    chance: Annotated[float, typer.Option(min=0.05, max=0.999, help="the power asked for")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Show what the claims can find with so many models, before any run."""
    from analysis.claims.prospects import MODELS, prospects
    from analysis.claims.read import read_claims
    from analysis.load import has_evidence, load
    from analysis.narrate import power_lines

    claims = read_claims(study / "claims.yaml")
    known = load(study, profile).rows if has_evidence(study) else None
    rows = _planned(study, profile) if known is None else known
    spread = load(pilot).rows if pilot is not None else known
    counts = sorted(set(models or MODELS))
    found = prospects(rows, claims, pilot=spread, sd=None if sd is None else sd / 100, models=counts, power=chance)
    if as_json:
        _print_json([dataclasses.asdict(one) for one in found])
        return
    out = _out()
    for line in power_lines(found):
        out.print(line)
    out.print(
        f"n = models: the least effect over its margin (superiority), or the least margin at no difference (the rest), "
        f"found with {100 * chance:.0f} % power at the first step of Holm's correction.\n"
        f"Spread: {_spread_source(sd, pilot, known is not None)}; without one, effects are in sd of the differences.",
    )


def _spread_source(sd: float | None, pilot: Path | None, own: bool) -> str:
    if sd is not None:
        return f"stated, {sd:g} points"
    if pilot is not None:
        return f"pooled over the settings of {pilot}"
    return "pooled over the settings of this study's own rows" if own else "none; give --sd POINTS or --pilot STUDY"


def _planned(study: Path, profile: str | None) -> pd.DataFrame:
    """Rows of a study that nothing was run of: its plan needs the plug-ins, and so loads torch."""
    from bench.run.open_study import open_study
    from bench.store.reader import planned_rows
    from bench.study.plan import axis_values

    return planned_rows({**axis_values(cell), "cell": cell.id} for cell in open_study(study, profile).plan.cells())


@app.command("list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(help="scorers, searches, repairs, allocations, models, recipes, datasets or templates"),
    ],
    as_json: AsJson = False,
) -> None:
    """List what there is, with formula, cost and reference."""
    from prunebench.cli.listing import list_plugins

    entries = list_plugins(kind)
    if as_json:
        _print_json(entries)
        return
    table = Table(*entries[0])
    for entry in entries:
        table.add_row(*(", ".join(value) if isinstance(value, list) else str(value) for value in entry.values()))
    _out().print(table)


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="a plug-in's name, package.module:function, ./file.py:function, or all; with --kind model a network"
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="scorer, search, allocation, correction, recalibration or model")
    ] = None,
    data: Annotated[
        str, typer.Option(help="with --kind model: the data set whose images the network is for")
    ] = "digits",
    as_json: AsJson = False,
) -> None:
    """Run the conformance suite on a plug-in, or check a network on two images."""
    from bench.plugins.catalogue import make_registry
    from bench.plugins.conformance import check_plugins

    if kind == "model":
        _check_model(name, data, as_json=as_json)
        return
    verdicts = check_plugins(make_registry(Path.cwd()), name, kind)
    if as_json:
        _print_json([{"plugin": v.plugin, "check": v.check, "problem": v.problem} for v in verdicts])
    else:
        for verdict in verdicts:
            typer.echo(f"{'ok    ' if verdict.problem is None else 'BROKEN'} {verdict.plugin}: {verdict.check}"
                       + (f": {verdict.problem}" if verdict.problem else ""))  # fmt: skip
    broken = [v for v in verdicts if v.problem is not None]
    if broken:
        raise UserError(f"{broken[0].plugin} breaks {len(broken)} of {len(verdicts)} checks: {broken[0].problem}")


def _check_model(name: str, data: str, *, as_json: bool) -> None:
    """Check a network and print its layers."""
    from bench.data.load import data_facts
    from bench.models.check import check_network
    from bench.plugins.catalogue import make_registry
    from bench.study.spec import DataSpec, ModelSpec

    folder = Path.cwd()
    network = check_network(ModelSpec(name=name), make_registry(folder), data_facts(DataSpec(name=data), folder))
    described = network.describe(data, name, ("weight", "channel"))
    if as_json:
        _print_json({**described, "notes": network.notes})
        return
    out = _out()
    _show_network(described, out)
    for note in network.notes:
        out.print(f"note: {note}", style="yellow")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine can run: data, GPU, database, versions."""
    from prunebench.cli.doctor import examine

    found = examine()
    if as_json:
        _print_json(found)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in found.items():
        table.add_row(key, str(value))
    _out().print(table)


@app.command("bench-speed")
def bench_speed(
    on: Annotated[str, typer.Option(help="digits, or cifar10: the published ResNet-20 in PRUNEBENCH_DATA")] = "digits",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    repetitions: Annotated[int, typer.Option(min=1, help="how often everything is timed, in turn")] = 3,
    images: Annotated[int | None, typer.Option(min=1, help="so many test images at most")] = None,
    as_json: AsJson = False,
) -> None:
    """Time this engine beside bare forward passes and the loops that people write, on one grid."""
    from bench.speed.measure import measure

    found = measure(on, device, repetitions, images)
    if as_json:
        _print_json(found)
    else:
        _show_speed(found)


def _show_speed(found: dict[str, Any]) -> None:
    from bench.speed.words import goal_rows, lines, second_rows

    out = _out()
    for line in lines(found):
        out.print(line)
    for title, rows in (("seconds", second_rows(found)), ("goals", goal_rows(found))):
        table = Table(*rows[0], title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        out.print(table)


@app.command()
def prune(
    study: StudyFolder,
    cell: Annotated[
        str | None, typer.Argument(metavar="CELL", help="beginning of a cell id, or its position in the plan")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="safetensors file to write")] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="FILE", help="evaluate this exported file again instead of writing one")
    ] = None,
    profile: Profile = None,
) -> None:
    """Write the pruned, repaired network of a cell with a loading example, or verify such a file."""
    from bench.run.export import describe_verification, export_cell, verify_file
    from bench.run.open_study import open_study

    if verify is not None and output is None:
        typer.echo(describe_verification(verify, verify_file(open_study(study, profile), verify, cell)))
    elif verify is None and cell is not None and output is not None:
        found = export_cell(open_study(study, profile), cell, output)
        typer.echo(f"wrote {describe_verification(output, found)}")
    else:
        raise UserError("prune: give CELL and -o FILE to write a file, or --verify FILE to evaluate one again")
