"""The sections of a report, in the order in which it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import narrate, tables
from analysis.checklist import checklist
from analysis.claims.records import ClaimResult
from analysis.comparisons import escapes, repair_gains, search_gains, searched_escapes
from analysis.evidence import frames
from analysis.evidence.emp import emp_rows
from analysis.evidence.evidence import Evidence
from analysis.evidence.networks import counts_all_products, granularities, pruned_networks, read_networks, warnings
from analysis.formats import NONE
from analysis.report import plots, search_plots
from analysis.report.across import across_settings, same_images
from analysis.report.compact import physical_removal
from analysis.report.drawing import file_name
from analysis.report.layout import Section, Table
from analysis.report.mechanism import alignment, complexity, kappa_of_sparsity
from analysis.report.robustness import robustness
from analysis.report.verdicts import verdicts
from analysis.report.words import LAYERS, METHODS, NO_LAYERS, SEVERAL, SPEEDUP, SPEEDUP_OF_SCHEMA_1, glossary
from analysis.report.work import work_done
from bench.store.network import Network
from bench.store.registration_level import Level

#: A table of more layers is folded.
LONG = 20


def sections(data: Evidence, results: Sequence[ClaimResult], level: Level) -> tuple[Section, ...]:
    """Return all sections of the report.

    Parameters
    ----------
    data : Evidence
        The evidence.
    results : sequence of ClaimResult
        The decided claims.
    level : Level
        What the study's registration proves.
    """
    rows, methods = data.rows, data.known_methods
    compared, gains = escapes(data), repair_gains(data)
    networks = read_networks(data)
    pruned = pruned_networks(rows, networks)
    settings = tables.settings_table(data.pruned, pruned)
    found = (
        verdicts(data, results, level),
        robustness(results),
        Section(
            "accuracy", "Accuracy against sparsity",
            ("Every mean is over independently trained models; draws of one model are averaged first.",
             *_elsewhere(data)),
            tuple(plots.accuracy(data)),
            (Table("settings", "Every setting, repaired or not", settings, True, _about_speedup(data, settings),
                   tuple(one.summary for one in pruned), tuple(warnings(pruned))),),
            exploratory=True,
        ),
        Section(
            "escape", "Escape over the plateau",
            (
                "The plateau is magnitude's accuracy. Escape is a scorer's accuracy minus magnitude's, on "
                "the same dense model, calibration draw and setting.",
                narrate.escape(compared),
            ),
            tuple(plots.escape(compared)),
            (Table("escape", "Paired tests against magnitude", tables.comparison_table(compared), True),),
            exploratory=True,
        ),
        _searches(data),
        complexity(data),
        kappa_of_sparsity(data),
        Section(
            "repairs", "Repairs compared", (narrate.repairs(gains),), tuple(plots.repairs(data)),
            (Table("repairs", "Paired tests of each correction against none under the same recalibration",
                   tables.comparison_table(gains), True),) if len(gains) else (),
            exploratory=True,
        ),
        Section(
            "overlap", "Overlap with the magnitude mask", (), tuple(plots.overlap(data)),
            (Table("overlap", "Mask overlap", tables.overlap_table(data.unrepaired), True),), exploratory=True,
        ),
        alignment(data),
        physical_removal(data),
        _emp(data),
        across_settings(data),
        same_images(data, compared),
        _dense(data, networks),
        _checks(data),
        _fates(rows),
        Section(
            "checklist", "Checklist of Blalock et al. (2020)",
            ("Requirements of \"What is the state of neural network pruning?\" for a comparison of methods.",), (),
            (Table("checklist", "Checklist", checklist(data)),),
        ),
        Section(
            "methods", "Methods and words", METHODS, (),
            (Table("words", "Words", pd.DataFrame(
                glossary(rows, methods, all_products=counts_all_products(data)), columns=["Word", "Meaning here"]
            )),),
        ),
        _provenance(data),
    )  # fmt: skip
    return tuple(section for section in found if section is not None)


def _about_speedup(data: Evidence, settings: pd.DataFrame) -> str:
    """Return the definition of the speed-up of these rows, and of the entries next to it."""
    if not counts_all_products(data):
        return SPEEDUP_OF_SCHEMA_1
    several = any("(" in text for text in settings["Theoretical speed-up"])
    return f"{SPEEDUP} {SEVERAL}" if several else SPEEDUP


def _dense(data: Evidence, networks: Mapping[tuple[str, str], Network]) -> Section:
    """List the dense models, and the layers of their networks."""
    found = [Table("dense", "Dense models", tables.dense_table(data))]
    for (dataset, model), network in networks.items():
        pruned_at = granularities(data.rows, dataset, model)
        frame = tables.layers_table(network, pruned_at)
        summary = [f"{granularity}: {network.summary(granularity)}." for granularity in pruned_at]
        found.append(
            Table(
                file_name(f"layers-{dataset}-{model}"), f"Layers of {model} on {dataset}", frame, len(frame) > LONG,
                LAYERS, (*(f"{line}." for line in network.explanations(pruned_at)), *summary),
            )
        )  # fmt: skip
    text = [*narrate.dense_warnings(data), *narrate.found_normalisations(data)]
    text += [] if counts_all_products(data) else [NO_LAYERS]
    return Section("dense", "Dense models", tuple(text), (), tuple(found))


def _elsewhere(data: Evidence) -> tuple[str, ...]:
    """Return where the rows are shown that this section's figures leave out."""
    planned = data.pruned
    text = []
    if len(data.searched):
        text.append("Feature scorers have figures of their own under Fusion searches.")
    alone = frames.ordered(planned.loc[planned["sparsity"].isna(), "allocation"])
    if alone:
        text.append(f"Allocations that set the sparsity themselves ({', '.join(alone)}) are in the table alone.")
    return tuple(text)


def _searches(data: Evidence) -> Section | None:
    """Feature scorers and the searches for their fusion weights, where the study has them."""
    if data.searched.empty:
        return None
    found, methods = data.searches, data.known_methods
    scorers = frames.ordered(data.searched["scorer"])
    figures = tuple(search_plots.curves(data.curves, scorers, methods))
    if found.empty:
        return Section("searches", "Fusion searches", ("No search was finished.",), figures, (), exploratory=True)
    above, gained = searched_escapes(data), search_gains(data)
    text = (
        narrate.budgets(found),
        "A feature scorer gives each unit the weighted sum of several features of its rank by magnitude. A search "
        "looks for the weights, each from \N{MINUS SIGN}1 to 1, with the highest accuracy on the search images, which "
        "are neither calibration nor test images; equal uses 1 for all. Test images are used only afterwards.",
        narrate.escape(above),
        f"Against equal weights: {narrate.escape(gained, 'equal weights', 'them')}"
        if gained["p_t"].notna().any()
        else "",
        narrate.overfit(found),
    )
    summary = tables.search_summary(found)
    return Section(
        "searches", "Fusion searches", tuple(sentence for sentence in text if sentence),
        (
            *figures, *search_plots.equal_weights(data), *search_plots.search_escapes(above),
            *search_plots.search_histories(found, methods),
        ),
        (
            *([] if summary.empty else [
                Table("search-summary", "What each search gains, mean over feature scorers and models", summary)
            ]),
            Table("searches", "Every search", tables.search_table(found, above, gained), True),
            Table("searches-magnitude", "Paired tests of each search against magnitude",
                  tables.comparison_table(above), True),
            *([Table("searches-equal", "Paired tests of each search against equal weights",
                     tables.comparison_table(gained, "equal weights"), True)] if len(gained) else []),
        ),
        exploratory=True,
    )  # fmt: skip


def _emp(data: Evidence) -> Section | None:
    """Effective model pruning, where the study has it."""
    kept = emp_rows(data.unrepaired)
    if kept.empty:
        return None
    text = (
        "EMP keeps the K highest scores, K = beta N_eff rounded down, in every layer or in the whole model (its "
        "scope). N_eff is the effective number of scores, 1 / sum of omega squared, where omega is a score's share of "
        "their sum; s_eff is the share of that sum which the kept units hold. The bound is the least share that N_eff "
        "allows (ours; for beta = 1 and scores not below zero).",
        narrate.emp(kept),
    )
    return Section(
        "emp", "Effective model pruning", text, tuple(plots.emp(kept, data.known_methods)),
        (Table("emp", "What EMP kept, without repair", tables.emp_table(kept), True),), exploratory=True,
    )  # fmt: skip


def _checks(data: Evidence) -> Section:
    frame = tables.checks_table(data)
    if frame.empty:
        return Section("checks", "Checks", ("No cell was evaluated a second time.",))
    text = (
        "A seeded sample of the cells that share one evaluation was evaluated again; where the study was "
        "evaluated in bfloat16, a sample was evaluated again in float32."
    )
    return Section("checks", "Checks", (text,), (), (Table("checks", "Checks", frame),))


def _fates(rows: pd.DataFrame) -> Section:
    frame = tables.fates_table(rows)
    progress = narrate.progress(rows)
    if frame.empty:
        return Section("fates", "Failures and skips", (progress,))
    more = "Failed and skipped cells stay in the denominators; `prunebench show STUDY CELL` prints one of them."
    return Section("fates", "Failures and skips", (progress, more), (), (Table("fates", "Not evaluated", frame),))


def _provenance(data: Evidence) -> Section:
    meta = data.meta
    names = ("name", "description", "profile", "study_hash", "claims_hash", "registered", "schema")
    found = _flat({name: meta.get(name) for name in names})
    found += work_done(data)
    for part in ("settings", "provenance"):
        found += _flat(meta.get(part) or {}, part)
    devices = frames.ordered(data.rows["device_class"])
    found.append(("device classes of the rows", ", ".join(devices) or NONE))
    for dataset, own in data.dense.groupby("dataset", sort=False):
        found.append((f"data hash, {dataset}", ", ".join(frames.ordered(own["dataset_hash"]))))
    study = _flat(meta.get("study") or {})
    columns = ["What", "Value"]
    return Section(
        "provenance", "Provenance", (), (),
        (
            Table("provenance", "Cells, work, settings, hardware, versions",
                  pd.DataFrame(found, columns=columns)),
            Table("study", "The study as resolved", pd.DataFrame(study, columns=columns), folded=True),
        ),
    )  # fmt: skip


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Lay out nested values as (path, text)."""
    return list(_walk(values, prefix))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _walk(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, str):
        yield path, value
    elif isinstance(value, (list, tuple)) and not any(isinstance(item, (Mapping, list, tuple)) for item in value):
        yield path, ", ".join(map(str, value)) or NONE
    else:
        yield path, NONE if value is None else json.dumps(value, sort_keys=True)
