"""Sections on scorers across settings, and on masks that are compared on the same test images."""

from __future__ import annotations

import pandas as pd

from analysis.evidence.evidence import Evidence
from analysis.overview import commons, family_model, ranking, widest
from analysis.overview_tables import (
    attainable_sentence,
    crossed_sentence,
    crossed_table,
    families_table,
    mcnemar_sentence,
    mcnemar_table,
    mixed_sentence,
    mixed_table,
    pairs_table,
    pictured,
    ranking_sentences,
    rankings_table,
    side_by_side,
    summary_table,
    variances_table,
)
from analysis.report.layout import Section, Table, known
from analysis.report.overview_plots import critical_differences, performance_profiles
from analysis.same_images import RESAMPLES, crossed, one_checkpoint, paired_masks


def across_settings(data: Evidence) -> Section | None:
    """Rank the scorers without a search over all sparsities and models, without repair."""
    found, methods = commons(data.plain), data.known_methods
    if not found:
        return None
    wide = widest(found)
    rankings = [ranking(one) for one in found]
    overall = [one for one in rankings if any(one.common is common for common in wide)]
    fitted = [one for common in wide if (one := family_model(common, methods)) is not None]
    text = (
        "Scorers without a search, without repair, on what they have in common: the same trained models at the same "
        "sparsities. A trained model is one block, with its mean accuracy over the sparsities; ranks of several "
        'architectures together describe these architectures alone. "magnitude (+ 5)" stands for five more that have '
        "magnitude's accuracy in every run.",
        *ranking_sentences(overall),
        attainable_sentence(rankings),
        "Interquartile means and performance profiles are of the share of the dense model's accuracy that is kept, "
        "over all runs (a model at a sparsity); their bootstrap resamples models within data set and architecture. "
        "Simulated, its nominal 95 % covers 0.86 at 5 models and 0.93 at 20.",
        mixed_sentence(fitted) if fitted else "",
    )
    return Section(
        "across", "Across settings", tuple(sentence for sentence in text if sentence),
        (*critical_differences(pictured(rankings), methods), *performance_profiles(wide, methods)),
        known(
            Table("across-families", "Mixed model: mean escape of scorer families", families_table(fitted)),
            Table("across-mixed", "Mixed model: tests of its terms", mixed_table(fitted)),
            Table("across-variances", "Mixed model: random terms", variances_table(fitted), folded=True),
            Table("across-friedman", "Friedman's test in every ranking", rankings_table(rankings), folded=True),
            Table("across-scorers", "Scorers over all models: mean rank and accuracy kept",
                  summary_table(overall), folded=True),
            Table("across-pairs", "Every pair of scorers", pairs_table(rankings), folded=True),
        ),
        exploratory=True,
    )  # fmt: skip


def same_images(data: Evidence, compared: pd.DataFrame) -> Section | None:
    """Compare scorers with magnitude image by image; `compared` is what `analysis.comparisons.escapes` returned."""
    pairs = paired_masks(data.unrepaired)
    joined, single = side_by_side(crossed(pairs), compared), one_checkpoint(pairs)
    if joined.empty and single.empty:
        return None
    text: list[str] = []
    if len(joined):
        text.append(
            "Both masks of a comparison are evaluated on the same test images. The crossed interval resamples models "
            f"and, once for all of them, images ({RESAMPLES} times): another training on another test set. It decides "
            "nothing: its coverage at a nominal 95 %, simulated with 400 images, is 0.99 at 3 to 20 models where "
            "the difference is the same in all of them, but 0.79, 0.86, 0.92 and 0.94 at 3, 5, 10 and 20 models where "
            "it varies much between them."
        )
        text.append(crossed_sentence(joined))
        draws = data.pruned["calibration_draw"].nunique()
        if draws > 1:
            text.append(f"Of the {draws} calibration draws the crossed interval takes each model's first.")
    if len(single):
        text.append(mcnemar_sentence(single))
    return Section(
        "images", "Same images", tuple(text), (),
        known(
            Table("images-crossed", "Difference from magnitude: interval over models, and over models and images",
                  crossed_table(joined), folded=True),
            Table("images-mcnemar", "McNemar's exact test, one checkpoint each", mcnemar_table(single), folded=True),
        ),
        exploratory=True,
    )  # fmt: skip
