"""The fixed texts of a report: its methods, and the meaning of its words."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.methods import Methods, plain_name
from analysis.report.claim_words import CLAIM_METHODS

#: arXiv number -> short title of a paper whose claims are shipped.
PAPERS = {
    "2605.09345": "Selection Plateau and SICS",
    "2605.21426": "Adaptive Signal Resuscitation",
    "2509.25606": "Effective Model Pruning",
}

METHODS: tuple[str, ...] = (
    "Unit of inference: an independently trained model, identified by the hash of its checkpoint. Calibration draws "
    "are nested in it and averaged. Architectures are strata; they and data sets are never counted as repetitions. "
    "Rows are compared only at the same dense model, draw, setting, precision and device class.",
    "Intervals: 95 % Student t intervals of the mean over models. The BCa bootstrap interval (bias-corrected and "
    "accelerated, 2,000 resamples, seed 0) is printed next to it with its coverage, simulated on normal data, in the "
    "heading; with few models it is too narrow, and it decides nothing.",
    "Two methods in one setting: paired t test; exact sign-flip test (all 2^n sign patterns up to 20 models, 20,000 "
    "random ones beyond, p = (b + 1)/(B + 1)); Wilcoxon's signed-rank test from 6 models. Disagreement at two-sided "
    "5 % is flagged.",
    "Effect sizes: mean difference in percentage points; d_z, the mean difference divided by the standard deviation of "
    "the differences; P(A > B), the share of models on which A is better, ties counted one half. In records of claims, "
    "d_z is the median-unbiased estimate, and its interval is that of the exact noncentral t distribution; in "
    "exploratory tables, d_z has Hedges' small-sample correction.",
    *CLAIM_METHODS,
    "Exploratory sections: Holm's correction over all settings of a section, two-sided 5 %. They decide no claim.",
    "Our choices where a paper gives none: sizes of the splits and of the calibration draw, limits of the correction "
    "factors (0.001 to 10), and lambda of asr (median of the live channels' pruned variances).",
)

#: Captions of the tables with a speed-up and with layers.
SPEEDUP = (
    "Theoretical speed-up: MACs (multiply-accumulate operations) of the dense network over those that remain when "
    "products with a zero weight, and input channels that are zero for every image, are left out; not a measured "
    "time. MACs left dense: share that belongs to products which are never pruned, and so limits the speed-up. The "
    "lines below the table name what is left dense, in brackets its share of the parameters and of the MACs."
)
SEVERAL = (
    "A cell in which no product remains has no speed-up: the mean is then over the others, whose number stands in "
    "brackets."
)
SPEEDUP_OF_SCHEMA_1 = (
    "Theoretical speed-up: these rows are of store schema 1, which counts the zero weights of Conv2d and Linear "
    "layers alone. Other products, and input channels that become zero, are ignored, and what is left dense is not "
    "known. These speed-ups are not comparable with those of later versions."
)
NO_LAYERS = "These rows are of store schema 1, which holds no table of the networks' layers."
LAYERS = (
    "MACs: multiply-accumulate operations for one image. Units: how many weights or channels can be removed "
    "at this granularity; cut along: the layer has no units of its own, but loses the weights that read removed "
    "channels; dense: never pruned, for the reason given. The lines below the table explain the reasons and sum up "
    "what is left dense, in brackets its share of the parameters and of the MACs."
)

_WORDS: tuple[tuple[str, str], ...] = (
    (
        "allocation",
        "How the budget is spread over layers: uniform (one sparsity for every layer), global (one "
        "ranking over all layers), per_output (one sparsity for every output row).",
    ),
    (
        "block",
        "The rows that may be compared: same dense model, calibration draw and setting.",
    ),
    (
        "calibration draw",
        "Images, never test images, from which data-driven scores and repairs are computed.",
    ),
    (
        "cell",
        "One point of the study's grid: data set, model, train seed, draw, scorer, granularity, "
        "allocation, sparsity and repair.",
    ),
    (
        "channel, weight",
        "Granularity: whole output channels are removed, or single weights.",
    ),
    (
        "correction",
        "Rescaling of layer outputs after pruning: layerwise (one factor per layer), channelwise (one"
        " per channel), asr (per channel, shrunk towards 1), none.",
    ),
    (
        "critical difference",
        "A picture of mean ranks; a bar joins scorers that the pairwise tests do not distinguish.",
    ),
    (
        "crossed interval",
        "Bootstrap interval that resamples trained models and, once for all of them, test images.",
    ),
    (
        "dense model",
        "The trained network before pruning.",
    ),
    (
        "emptied layers",
        "Layers in which pruning left no unit.",
    ),
    (
        "escape",
        "A scorer's accuracy minus magnitude's in the same block.",
    ),
    (
        "exact removal",
        "A removed channel leaves nothing behind, not even a constant from its BatchNorm.",
    ),
    (
        "family",
        "The questions that are corrected together; for a claim, all questions of its primary parts. A scorer "
        "family is a group of scorers that use the same information (weights alone, gradients, curvature, inputs, "
        "synaptic flow; ours).",
    ),
    (
        "Friedman's test, Iman-Davenport F",
        "Whether scorers that are ranked within every model have the same mean rank; F decides, its chi-square form "
        "is too careful with few models.",
    ),
    (
        "identity",
        "An equality that follows from mathematics, checked in every cell.",
    ),
    (
        "IQM, interquartile mean",
        "Mean of the middle half of all runs, a run being one model at one sparsity.",
    ),
    (
        "Jaccard overlap",
        "Units kept by both masks over units kept by either.",
    ),
    (
        "mask",
        "Which units are kept; recorded as a hash, so equal hashes are equal masks.",
    ),
    (
        "max-T test",
        "Sign-flip test of the largest of several t statistics; its p-value accounts for the choice of the best.",
    ),
    (
        "McNemar's test",
        "Whether two masks of one checkpoint get equally many test images right, from the images on which they "
        "differ; it does not include the variation between training runs.",
    ),
    (
        "mixed model",
        "Means over settings with random terms for the trained model, so that its settings do not count as models.",
    ),
    (
        "monotone scorer",
        "A score that rises with the unit's magnitude: log, square root, square, exponential, rank.",
    ),
    (
        "Page's trend",
        "Test that a quantity rises with the sparsity within the models, and its mirror image.",
    ),
    (
        "performance profile",
        "For every share of the dense accuracy, the share of runs that keep more.",
    ),
    (
        "plateau",
        "The one accuracy that all monotone scorers share: magnitude's.",
    ),
    (
        "points",
        "Percentage points of top-1 accuracy.",
    ),
    (
        "recalibration",
        "New BatchNorm statistics after pruning: ema (running average over a few batches), cumulative"
        " (a fresh average over the whole draw), none.",
    ),
    (
        "scorer",
        "A rule that gives each prunable unit a score; the lowest are removed. random, magnitude and "
        "its relatives, l2 (root mean square of a channel), gradient, taylor (gradient times weight),"
        " wanda (weight times input norm).",
    ),
    (
        "sd",
        "Standard deviation over models, n - 1 in the denominator.",
    ),
    (
        "tied units",
        "Units of different magnitude that get one score through rounding; their order is left to the"
        " tie rule (larger magnitude kept first).",
    ),
)

#: Methods that the fixed entries above explain; the records of others do.
_EXPLAINED = frozenset({
    ("allocation", "uniform"), ("allocation", "global"), ("allocation", "per_output"),
    *(("correction", name) for name in ("none", "layerwise", "channelwise", "asr")),
    *(("recalibration", name) for name in ("none", "ema", "cumulative")), ("search", "none"),
    *(("scorer", name) for name in ("random", "magnitude", "log_magnitude", "sqrt_magnitude", "square_magnitude")),
    *(("scorer", name) for name in ("exp_magnitude", "rank", "l2", "gradient", "taylor", "wanda")),
})  # fmt: skip

_SEARCH_WORDS: tuple[tuple[str, str], ...] = (
    (
        "D, D_eps",
        "Least degree of a polynomial that is within eps of a feature at every u (the feature scaled to run from 0 "
        "to 1).",
    ),
    ("drawdown", "How far a feature, scaled to run from 0 to 1, falls at most from what it reached at a smaller u."),
    ("feature", "A function of u: how strongly a unit of this rank should be kept; scaled to run from 0 to 1."),
    ("feature scorer", "A scorer whose score is the weighted sum of several features."),
    (
        "kappa",
        "Complexity of a feature: 0 never falls, 1 falls and is close to a polynomial of low degree, 2 is close to "
        "none. By design: what the paper assigns; measured: computed from the curve.",
    ),
    ("kappa(S)", "The least complexity of features that escapes the plateau at sparsity S, from the accuracies."),
    ("over-fit", "A search's gain over equal weights on its search images, less its gain on the test images."),
    ("raw, smooth", "Features of the logistic map's orbit as they are, or after a Savitzky-Golay filter over u."),
    ("search", "How the weights of a feature scorer's features were found."),
    (
        "search budget",
        "Number of weight vectors that a search may evaluate: 600, and a smaller one is printed with every result.",
    ),
    ("search images", "Images apart from all others, on which a search compares its weights."),
    ("wiggle premium", "Accuracy of the raw features (a5) less that of the same, smoothed (v1)."),
    ("u", "A unit's rank by magnitude within its layer, from 0.1 (the smallest) to 1 (the largest)."),
)

#: What the speed-up counts, and with it the words of the tables of layers; in store schema 1, and later.
_SPEEDUP_OF_SCHEMA_1: tuple[tuple[str, str], ...] = (
    (
        "theoretical speed-up",
        "Multiplications of the dense model over those with non-zero weights, of Conv2d and Linear layers alone (store "
        "schema 1); not a measured time.",
    ),
)
_SPEEDUP: tuple[tuple[str, str], ...] = (
    (
        "theoretical speed-up",
        "MACs of the dense network over those that remain without products with a zero weight and without input "
        "channels that are zero for every image; not a measured time.",
    ),
    ("MACs", "Multiply-accumulate operations of all products of a forward pass, for one image."),
    ("left dense", "What is never pruned: excluded layers, and products that have no units at this granularity."),
    ("unit", "What is kept or removed as a whole: a weight or a channel, by granularity."),
)

#: Granularities that reports explain only where a study has them.
_COUPLED: Mapping[str, tuple[str, str]] = {
    "head": (
        "head",
        "Granularity: whole attention heads are removed: their queries, keys and values, and the weights of the output "
        "projection that read them. A score is the mean over the head's rows.",
    ),
    "group": (
        "group",
        "Granularity: output channels that only leave the network together, as those of a residual stage, are removed "
        "together. A score is the mean over the members.",
    ),
}


def glossary(rows: pd.DataFrame, methods: Methods, *, all_products: bool = True) -> list[tuple[str, str]]:
    """Return the words that a report on these rows uses, with their meaning, in alphabetical order.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store; names and sections that they do not have are not explained.
    methods : Methods
        Records of the study's methods.
    all_products : bool
        Whether their speed-up counts all products; False for store schema 1.
    """
    words = dict(_WORDS + (_SPEEDUP if all_products else _SPEEDUP_OF_SCHEMA_1))
    words |= dict(_COUPLED[name] for name in rows["granularity"].dropna().unique() if name in _COUPLED)
    if len(frames.searched(rows)):
        words |= dict(_SEARCH_WORDS)
    for kind in ("allocation", "correction", "recalibration", "scorer", "search"):
        names = {plain_name(str(label)) for label in rows[kind].dropna().unique()}
        used = [record for record in methods.of_kind(kind) if record.name in names]
        for record in used:
            words |= record.terms
        added = [f"{one.name} ({one.glossary})" for one in used if one.glossary and (kind, one.name) not in _EXPLAINED]
        if added:
            words[kind] += f" Also here: {', '.join(added)}."
    return sorted(words.items(), key=lambda word: word[0].lower())
