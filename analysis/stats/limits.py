"""Constants and names of options that several tests share."""

from __future__ import annotations

from typing import Literal, TypeAlias

#: Quantifier of a part of a claim over its settings.
Over: TypeAlias = Literal["every", "some", "mean"]
#: Deciding tests whose power follows from one standard deviation.
PowerTest: TypeAlias = Literal["t", "t and bootstrap-t", "sign-flip", "max-t"]

#: One-sided error rate of every claim, in either direction and for every kind.
CLAIM_ALPHA = 0.025

#: Models drawn at most in a forecast; beyond it the answer is "more".
MOST_MODELS = 10_000
#: Up to here all 2^n sign patterns are enumerated.
EXACT_MODELS = 20
#: Below it Wilcoxon's smallest two-sided p-value exceeds 0.05.
WILCOXON_MODELS = 6
