"""The fixed texts on claims: how they are decided, and the meaning of the terms in the section on verdicts."""

from __future__ import annotations

from analysis.claims.records import CONFIRMATORY_MODELS
from analysis.claims.robustness import DEPENDS
from analysis.claims.values import KEPT
from analysis.stats.limits import CLAIM_ALPHA

#: How claims are decided; part of the section on methods.
CLAIM_METHODS: tuple[str, ...] = (
    "Claims: a claim consists of parts, each with an estimand, a kind, a margin, a deciding test and a planned effect, "
    "all stated before the data. The primary parts decide the claim. Supporting parts are shown, but do not decide; "
    "scans are exploratory and corrected by Benjamini and Hochberg's procedure. The quantifier of a part is every "
    "setting, at least one setting, or the mean over settings; for the mean, the settings of a model are averaged "
    "within the model and architectures have equal weight (Welch-Satterthwaite degrees of freedom).",
    f"Error control: every claim has one one-sided level of {CLAIM_ALPHA:g} for each direction and for every kind of "
    "test; therefore the 95 % interval decides a single question. All primary parts form one family. p for support of "
    "a part: every setting, the largest p; at least one of K settings, K times the smallest. A claim is supported by "
    "the largest p over its primary parts. p for contradiction of a part: every setting, K times the smallest p; at "
    "least one, the largest; over the primary parts, Holm's correction.",
    "Superiority by a margin m is supported if the lower limit is above m and contradicted if the upper limit is below "
    "m; non-inferiority replaces m by \N{MINUS SIGN}m; equivalence is supported by two one-sided t tests (TOST) if the "
    "interval lies within \N{MINUS SIGN}m and m, and contradicted by p = P(T > (|mean| \N{MINUS SIGN} m) / se) + P(T > "
    "(|mean| + m) / se). No difference is concluded from a test that is not significant.",
    f"Gate: a setting is informative if the lower 97.5 % limit of (accuracy \N{MINUS SIGN} c) \N{MINUS SIGN} {KEPT:g} "
    "(dense accuracy \N{MINUS SIGN} c) of the gate's arm is above 0; c is the share of the largest test class. "
    "Informative settings are taken from a pilot that is named at registration. Without a pilot, the gate is judged on "
    "the study's own models; it can then only turn a setting into inconclusive, and all planned settings stay in the "
    "family and in the mean.",
    "Degenerate data: if all differences are exactly 0 although the masks differ, the result is inconclusive, with the "
    "share of models that may differ: 1 \N{MINUS SIGN} 0.05^(1/n). Equal masks give equal accuracies by construction. "
    "An equivalence needs three differences other than 0. A constant difference is decided by the sign-flip test. The "
    "standard deviation of the differences is at least (100 / test images) / sqrt(12) points, which is the resolution "
    "of the test set.",
    "Identities are counted, not tested: no mismatch beyond the tolerance supports one, any mismatch contradicts it. "
    "The cancellation identity is allowed 0.05 points, or one test image where that is more: float32 rounding may move "
    "an image whose two best logits tie. Cells with a layer outside its scope, or where BatchNorm's eps lets a live "
    "channel change by more than a factor 1.05, are counted and left out.",
    f'Fewer than {CONFIRMATORY_MODELS} models: every statistical verdict is marked "descriptive only". Data without '
    "variance, with one model or with missing values are named as such and not tested.",
)

#: Term -> meaning, in alphabetical order; a table of the section on verdicts.
CLAIM_WORDS: tuple[tuple[str, str], ...] = (
    (
        "basis",
        "Measured, or by construction: the verdict follows from definitions (equal masks, bounds, identities).",
    ),
    ("contradicted", f"The data show the opposite of the claim at a one-sided level of {CLAIM_ALPHA:g}."),
    ("deciding test", "The test that a part names before the data; the others are printed, but do not decide."),
    ("differences above 0", "Settings of the primary parts in which the mean difference is above 0, decided or not."),
    (
        "gate",
        "Whether the reference arm of a setting is clearly above chance, so that the setting can answer the question.",
    ),
    (
        "identical",
        "All models have exactly the same accuracy under both methods although their masks differ: inconclusive.",
    ),
    ("inconclusive", "Neither supported nor contradicted."),
    ("kind", "Superiority, non-inferiority, equivalence, identity, trend, sign change or difference."),
    ("margin", "Difference that is large enough to matter, in percentage points, stated before the data."),
    ("not testable", "This study lacks the cells or the models that the claim needs."),
    (
        "p, adjusted",
        "p-value after the correction for the settings of the part and for the primary parts of the claim; it is "
        f"compared with {CLAIM_ALPHA:g}.",
    ),
    (
        "p for support, p for contradiction",
        "One-sided p-values in favour of the claim and of its opposite; the smaller one is reported.",
    ),
    ("paper's value", "Value of the source, compared with the printed 95 % CI; it does not affect the verdict."),
    (
        "planned effect, power",
        "Difference stated before the data, and the probability of deciding the part if it is true.",
    ),
    ("quantifier", "Every setting, at least one setting (some), or the mean over settings."),
    (
        "reading",
        "One combination of the choices that the source leaves open; the primary reading alone decides the claim.",
    ),
    (
        "robust",
        "No reading contradicts after Holm's correction over readings, and at least half of the readings support.",
    ),
    (
        "depends on",
        "The paired difference between the levels of a choice is not 0 (Holm's correction over the choices, two-sided "
        f"{DEPENDS:g}).",
    ),
    ("role", "Primary parts decide the claim, supporting parts are shown, scans are exploratory."),
    ("scope", "In the paper's setting, or transfer, with the labels in which this study differs from it."),
    ("setting", "Data set, model, granularity, allocation, sparsity and repair in which a question is answered."),
    (
        "skewness",
        "Of the differences over models; over 1, a t test at nominal 0.025 errs in about 0.05 to 0.10 of cases.",
    ),
    ("supported", f"The data show what the claim states at a one-sided level of {CLAIM_ALPHA:g}."),
)
