"""The fixed texts of a report: how things were measured, and what its words mean."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.methods import Methods, plain_name

#: arXiv number -> short title of a paper whose claims are shipped.
PAPERS = {
    "2605.09345": "Selection Plateau and SICS",
    "2605.21426": "Adaptive Signal Resuscitation",
    "2509.25606": "Effective Model Pruning",
}

METHODS: tuple[str, ...] = (
    "Unit of inference: an independently trained model, known by the hash of its checkpoint. "
    "Calibration draws nest in it and are averaged; architectures and data sets are reported apart, "
    "never counted as repetitions. Rows are compared only at the same dense model, draw, setting, "
    "precision and device class.",
    "Intervals: the 95 % Student t interval of the mean decides. The BCa bootstrap interval "
    "(bias-corrected and accelerated, 2,000 resamples, seed 0) stands beside it with its real "
    "coverage, simulated on normal data, in the heading: at few models it is too narrow, and it never"
    " decides.",
    "Two methods in one setting: paired t test; exact sign-flip test (all 2^n sign patterns up to 20 "
    "models, 20,000 random ones beyond, p = (b + 1)/(B + 1)); Wilcoxon's signed-rank test from 6 "
    "models. Each claim names its deciding test (paired t by default); the others are printed, and "
    "disagreement is flagged.",
    "Effect sizes: mean difference in percentage points; d_z, the mean difference over the standard "
    "deviation of the differences with Hedges' small-sample correction; P(A > B), the share of models"
    " on which A is better, ties one half.",
    "No difference is said only by equivalence: two one-sided t tests (TOST) inside a margin fixed "
    "before the data. An undecided difference is never called equality.",
    "Many questions: Holm's correction within a family; Benjamini and Hochberg's for a scan, which "
    "decides nothing. An equivalence over all pairs is an "
    "intersection-union test, so its support needs no correction; a refutation by one of many records"
    " is Holm-corrected.",
    "Identities are counted, not tested: 0 mismatches beyond the tolerance support one, any mismatch "
    "refutes it. The cancellation identity is allowed 0.05 points, or one test image where that is "
    "more: float32 rounding may move an image whose two best logits tie. Cells with a layer outside "
    "its scope, or where BatchNorm's eps lets a live channel change by more than a factor 1.05, are "
    "counted and left out.",
    'Fewer than 6 models: "descriptive only" stands beside every statistical verdict. Data without '
    "variance, with one model or with missing values are named as such and never tested.",
    "Our readings where a paper is silent: sizes of the splits and of the calibration draw, limits of"
    " the correction factors (0.001 to 10), and lambda of asr (median of the live channels' pruned "
    "variances).",
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
        "Here a picture of mean ranks, with a bar over scorers that the pairwise tests do not tell apart.",
    ),
    (
        "crossed interval",
        "Bootstrap interval that resamples trained models and, once for all of them, test images.",
    ),
    (
        "deciding test",
        "The test that a claim names for its verdict; the others stand beside it.",
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
        "The questions that are corrected together for being many. A scorer family is something else: scorers that "
        "know alike of the network (weights alone, gradients, curvature, inputs, synaptic flow; ours).",
    ),
    (
        "Friedman's test, Iman-Davenport F",
        "Whether scorers that are ranked within every model have the same mean rank; F decides, its chi-square form "
        "is too careful with few models.",
    ),
    (
        "identity",
        "A claim of equality that follows from mathematics, checked cell by cell.",
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
        "Sign-flip test of the largest of several t statistics: choosing the best of several costs what it should.",
    ),
    (
        "McNemar's test",
        "Whether two masks of one checkpoint get equally many test images right, from the images on which they "
        "differ; it knows nothing of other trainings.",
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
        "Test that a quantity rises with the sparsity within the models; p against is for its fall.",
    ),
    (
        "paper's number",
        "What the paper measured: inside our 95 % interval (agrees), ours smaller or larger; never a verdict.",
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
        "refuted by, p against",
        "p-value for the opposite of the claim: how surely it is wrong.",
    ),
    (
        "scan",
        "Part of a claim that looks at every setting, to describe; it decides nothing.",
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
    (
        "transfer",
        "The claim was tested in another setting than the paper's.",
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
    ("feature", "A function of u that says how much a unit of this rank should be kept; scaled to run from 0 to 1."),
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
        "How many weight vectors a search may try; 600 is the rule, and a smaller one is said everywhere.",
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
        What the evidence says of the methods.
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
