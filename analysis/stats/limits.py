"""Numbers of models at which the tests change."""

from __future__ import annotations

#: Models drawn at most in a forecast; beyond it the answer is "more".
MOST_MODELS = 10_000
#: Up to here all 2^n sign patterns are enumerated.
EXACT_MODELS = 20
#: Below it Wilcoxon's smallest two-sided p-value exceeds 0.05.
WILCOXON_MODELS = 6
