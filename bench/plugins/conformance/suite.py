"""Run the rules of a kind on a plug-in, and collect what does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.core.errors import CellError, NotApplicable, UserError, suggest
from bench.core.registry import Plugin, Registry
from bench.plugins.conformance import allocations, corrections, recalibrations, scorers, searches
from bench.plugins.conformance.cases import Bench, BrokenRuleError, make_benches, make_cases
from bench.plugins.conformance.trial import Caller, Rule, Trial

#: Kind -> how its plug-ins are called, and the rules that hold for them.
SUITES: dict[str, tuple[Caller, tuple[Rule, ...]]] = {
    "scorer": (scorers.call_scorer, scorers.RULES), "search": (searches.call_search, searches.RULES),
    "allocation": (allocations.call_allocation, allocations.RULES),
    "correction": (corrections.call_correction, corrections.RULES),
    "recalibration": (recalibrations.call_recalibration, recalibrations.RULES),
}  # fmt: skip
CHECKED_KINDS = tuple(SUITES)


@dataclass(frozen=True)
class Verdict:
    """One check of one plug-in; `problem` is None where it holds."""

    plugin: str
    check: str
    problem: str | None


def check_plugins(registry: Registry, name: str, kind: str | None = None) -> list[Verdict]:
    """Run the conformance suite.

    Parameters
    ----------
    registry : Registry
        Plug-ins of this process.
    name : str
        A plug-in's name or reference, or ``all``.
    kind : str, optional
        Kind of a plug-in whose name is a reference, or that several kinds have; default scorer.

    Raises
    ------
    UserError
        If there is no such plug-in.
    """
    if kind is not None and kind not in CHECKED_KINDS:
        raise UserError(f"no kind {kind!r}: {suggest(kind, (*CHECKED_KINDS, 'model'))}")
    known = [plugin for k in CHECKED_KINDS for plugin in registry.of_kind(k)]
    if kind is not None:
        plugins = [registry.get(kind, name)]
    else:
        plugins = known if name == "all" else [plugin for plugin in known if plugin.name == name]
    if not plugins and ":" in name:
        plugins = [registry.get("scorer", name)]
    if not plugins:
        raise UserError(f"no plug-in named {name!r}: {suggest(name, [plugin.name for plugin in known])}")
    benches = make_benches(registry)
    return [
        verdict
        for plugin in plugins
        if (plugin.kind, plugin.name) != ("search", "none")  # never called
        for verdict in check_plugin(plugin, benches)
    ]


def check_plugin(plugin: Plugin, benches: list[Bench]) -> list[Verdict]:
    """Check one plug-in on every bench (a search on functions); the first problem of each rule is kept."""
    title, (caller, rules) = f"{plugin.kind} {plugin.name}", SUITES[plugin.kind]
    try:
        trials: list[Trial[Any]] = [Trial(plugin, case, caller) for case in make_cases(plugin, benches)]
    except UserError as error:
        return [Verdict(title, "Have options that can be read, each with a default", str(error))]
    return [Verdict(title, str(rule.__doc__).rstrip("."), _problem(rule, trials)) for rule in rules]


def _problem(rule: Rule, trials: list[Trial[Any]]) -> str | None:
    skipped = 0
    for trial in trials:
        try:
            rule(trial)
        except NotApplicable as reason:
            skipped += 1
            if not str(reason):
                return f"{trial.case}: skips without a reason"
        except (BrokenRuleError, CellError) as error:
            return f"{trial.case}: {error}"
        except (Exception, SystemExit) as error:  # a plug-in may raise anything; naming it is this suite's task
            return f"{trial.case}: raises {type(error).__name__}: {' '.join(str(error).split())}"
    if skipped == len(trials):
        return "is not applicable to any of the networks it was tried on: nothing was checked"
    return None
