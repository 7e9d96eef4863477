"""Sections on why features escape: how complex score functions are, kappa(S) from data, alignment with magnitude."""

from __future__ import annotations

from analysis import complexity_tables
from analysis.alignment import alignments
from analysis.alignment_figures import alignment as draw_alignment
from analysis.alignment_tables import alignment_table
from analysis.claims.records import CONFIRMATORY_MODELS
from analysis.complexity_study import study_complexity
from analysis.evidence.methods import Methods
from analysis.kappa.approximation import EPS
from analysis.kappa.curves import DRAWDOWN, SMOOTH_DEGREE, measure
from analysis.kappa.study import fused, fused_summary, study_curves
from analysis.kappa_tables import fused_table, kappa_table
from analysis.report import complexity_plots
from analysis.report.drawing import by_space, facets_of, finish
from analysis.report.layout import Section, Table, known
from bench.store.reader import StudyData


def complexity(data: StudyData) -> Section | None:
    """Measure kappa of the study's score functions, beside kappa by design."""
    scorers = set(data.rows["scorer"])
    curves = [one for one in study_curves(data) if one.scorer in scorers]
    if not curves:
        return None
    first = min(one.draw for one in curves)
    curves = [one for one in curves if one.draw == first]
    results = measure(curves)
    table = kappa_table(results)
    whole = table["By design"].ne("")
    summary = fused_summary(fused(data))
    text = (
        "kappa says how complex a score is as a function of u, a unit's rank by magnitude. It is 0 if the function "
        f"never falls by more than {DRAWDOWN:g} of its height (its drawdown), so that it keeps magnitude's order; 1 if "
        f"it falls and a polynomial of degree {SMOOTH_DEGREE} or less comes within eps = {EPS:g} of it everywhere; 2 "
        "if none does. D is the least such degree (minimax, by linear programming), tried to 64; interpolation at "
        "Chebyshev nodes bounds it from above; cosine and wavelet are the least degrees in these bases.",
        f"The paper gives each feature class its kappa by design and computes none. eps = {EPS:g} and degree "
        f"{SMOOTH_DEGREE} are ours: the paper has no principled choice, so the map shows others.",
        complexity_tables.design_sentence(results),
        complexity_tables.fused_sentence(summary),
    )
    return Section(
        "complexity", "Complexity of score functions", tuple(sentence for sentence in text if sentence),
        (complexity_plots.best_polynomials(results), *complexity_plots.maps(curves, Methods(data.methods))),
        known(
            Table("complexity", "kappa measured and by design, the largest of a scorer's features",
                  table[whole].drop(columns="Feature")),
            Table("complexity-features", "kappa of every feature", table, folded=True),
            Table("complexity-fused", "kappa of the fused score at the weights found, median over models (range)",
                  fused_table(summary), folded=True),
        ),
        exploratory=True,
    )  # fmt: skip


def kappa_of_sparsity(data: StudyData) -> Section | None:
    """Compute kappa(S) from the escapes of the paper's feature classes."""
    settings, methods = [one for one in study_complexity(data.rows) if one.found.points], Methods(data.methods)
    if not settings:
        return None
    models = sorted({one.found.models for one in settings})
    text = (
        "kappa(S) is the least complexity of features whose mean escape from the plateau at sparsity S comes within "
        "the margin of the largest one; magnitude itself has complexity 0 and escape 0. It is reported as a 95 % set: "
        "the values that paired t tests of both classes' escapes do not rule out. Where several values remain, kappa "
        "is undecided. Channels, uniform allocation, no repair.",
        "The bootstrap shares are descriptive, as are the changes of kappa that are computed from them. In each of "
        f"{settings[0].found.resamples} resamples of the models, kappa is the least class that exceeds the plateau at "
        "all, by the max-T test over both classes (sign-flip, one-sided, 5 %), whichever class escapes further.",
        complexity_tables.classes_sentence(settings),
        complexity_tables.agreement_sentence(settings),
        complexity_tables.limits_sentence(settings),
        complexity_tables.premium_sentence(settings),
        f"Fewer than {CONFIRMATORY_MODELS} models somewhere: descriptive only there."
        if min(models) < CONFIRMATORY_MODELS
        else "",
    )
    return Section(
        "kappa", "kappa(S) from data", tuple(sentence for sentence in text if sentence),
        (complexity_plots.probabilities(settings, methods), *complexity_plots.premiums(settings, methods)),
        known(
            Table("kappa-points", "kappa at every sparsity", complexity_tables.points_table(settings),
                  folded=len(settings) > 4),
            Table("kappa-changes", "Where kappa changes by bootstrap shares (descriptive), and the paper's thresholds",
                  complexity_tables.changes_table(settings)),
            Table("kappa-premium", "Wiggle premium", complexity_tables.premium_table(settings), folded=True),
        ),
        exploratory=True,
    )  # fmt: skip


def alignment(data: StudyData) -> Section | None:
    """Say how scorers align with magnitude, where the run kept what that needs."""
    if data.alignment.empty:
        return None
    found = alignments(data)
    plain = found[found["correction"].eq("none") & found["recalibration"].eq("none") & found["sparsity"].notna()]
    plots = []
    for granularity, allocation, own in by_space(plain):
        grid = sorted(own["sparsity"].unique())
        sparsity = float(grid[len(grid) // 2])
        caption = (
            "Spearman's correlation of a scorer's unit scores with magnitude, mean over models and layers: over all "
            f"units of a layer, and over those near the threshold of {100 * sparsity:g} % sparsity; intervals over "
            f"models (Student's t) and over layers (bootstrap). Granularity {granularity}, allocation {allocation}."
        )
        figure = draw_alignment(plain, granularity, allocation, sparsity)
        plots.append(finish(f"alignment-{granularity}-{allocation}", figure, caption, facets_of(own)))
    text = (
        "How far a scorer agrees with magnitude on the order of a layer's units, 1 being the same order: over the "
        "whole layer, near the threshold (u within 0.15 of the rank at which the sparsity cuts), and over a sample of "
        "all layers' units together. Units of one layer are not independent, so that a layer counts once, whatever its "
        "size: one interval is over models, the other over layers."
    )
    return Section(
        "alignment", "Alignment with magnitude", (text,), tuple(plots),
        (Table("alignment", "Rank correlation with magnitude, and overlap of the masks", alignment_table(found),
               folded=True),),
        exploratory=True,
    )  # fmt: skip
