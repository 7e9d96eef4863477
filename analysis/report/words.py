"""The fixed texts of a report: how things were measured, and what its words mean."""

from __future__ import annotations

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
    "Many questions: Holm's correction within a family. An equivalence over all pairs is an "
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

GLOSSARY: tuple[tuple[str, str], ...] = (
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
        "identity",
        "A claim of equality that follows from mathematics, checked cell by cell.",
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
        "monotone scorer",
        "A score that rises with the unit's magnitude: log, square root, square, exponential, rank.",
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
        "theoretical speed-up",
        "Multiplications of the dense model over those with non-zero weights; not a measured time.",
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
