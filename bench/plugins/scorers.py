"""The scorers of the catalogue."""

from __future__ import annotations

from typing import Any

from bench.core.registry import Plugin
from bench.plugins.looks import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, look

WEIGHTS, CHANNELS = ("weight",), ("channel",)
HEADS, ANY = ("head",), ("weight", "channel", "head", "group")
HAN = "Han et al. 2015"
LEMMA = "arXiv 2605.09345, Lemma 1"
SICS, SICS_OURS = "arXiv 2605.09345; formula ours", "arXiv 2605.09345 (as a control); formula ours"
ORBIT = "logistic orbit at r = 4u"
GRID_ORBITS, ORBITS = "one sort, 2048 orbits", "one sort, 2000 steps per unit of each layer size"

#: Families of scorers, by what the scores are computed from.
WEIGHTS_ALONE, GRADIENTS, CURVATURE = "weights alone", "gradients", "curvature"
INPUTS, FLOW = "inputs", "synaptic flow"
#: Families of feature scorers.
SMOOTH, RAW, CONTROLS = "smooth indicators", "raw indicators", "controls"


def _scorer(
    name: str, function: str, formula: str, cost: str, reference: str, *, family: str,
    look: dict[str, Any], glossary: str, gradients: bool = False, **more: Any,
) -> Plugin:  # fmt: skip
    return Plugin(
        "scorer", name, f"bench.scorers.{function}", formula=formula, cost=cost, reference=reference, family=family,
        glossary=glossary,
        gradients=gradients, **look, **more,
    )  # fmt: skip


def _indicator(name: str, function: str, formula: str, cost: str, reference: str = SICS, **more: Any) -> Plugin:
    """Return a scorer that is a function of the rank."""
    return _scorer(name, function, formula, cost, reference, curve=True, **more)


SCORERS = (
    _scorer(
        "random", "random:random", "uniform, from a named seed", "none", "-", family="", look=look(GREY, "x", "dotted"),
        glossary="random numbers", granularities=ANY,
    ),
    _scorer(
        "magnitude", "magnitude:magnitude", "abs(w); channel: mean over the filter", "none", HAN, family="",
        look=look(BLACK, "o", "solid"), glossary="absolute value of the weight; of a channel: their mean",
        granularities=ANY,
    ),
    _scorer(
        "log_magnitude", "magnitude:log_magnitude", "log abs(w)", "none", LEMMA, family=WEIGHTS_ALONE,
        look=look(SKY, "<", "dashed"), glossary="logarithm of the magnitude",
    ),
    _scorer(
        "sqrt_magnitude", "magnitude:sqrt_magnitude", "sqrt(abs(w))", "none", LEMMA, family=WEIGHTS_ALONE,
        look=look(GREEN, ">", "dotted"), glossary="square root of the magnitude",
    ),
    _scorer(
        "square_magnitude", "magnitude:square_magnitude", "abs(w)^2", "none", LEMMA, family=WEIGHTS_ALONE,
        look=look(RED, "p", "mixed"), glossary="square of the magnitude",
    ),
    _scorer(
        "exp_magnitude", "magnitude:exp_magnitude", "exp(abs(w))", "none", LEMMA, family=WEIGHTS_ALONE,
        look=look(PURPLE, "h", "dashed"), glossary="exponential of the magnitude",
    ),
    _indicator(
        "rank", "rank:rank", "u = 0.1 + 0.9 (rank - 1)/(n - 1) in the layer", "one sort", LEMMA, family=WEIGHTS_ALONE,
        look=look(PURPLE, "P", "mixed"), glossary="rank by magnitude in the layer", complexity=0,
    ),
    _indicator(
        "log_rank", "rank:log_rank", "log u", "one sort", LEMMA, family=WEIGHTS_ALONE, look=look(SKY, "3", "mixed"),
        glossary="logarithm of the per-layer rank", complexity=0,
    ),
    _scorer(
        "l2", "magnitude:l2", "root mean square of the filter", "none", "Li et al. 2017", granularities=CHANNELS,
        family=WEIGHTS_ALONE, look=look(GREEN, "D", "dashed"), glossary="root mean square of a channel",
    ),
    _scorer(
        "lamp", "lamp:lamp", "w^2 / sum of w_v^2 over abs(w_v) >= abs(w) in the layer", "one sort", "Lee et al. 2021",
        family=WEIGHTS_ALONE, look=look(SKY, "d", "solid"),
        glossary="square of the weight over the sum of the larger ones' squares",
    ),
    _scorer(
        "gradient", "gradient:gradient", "abs(g), g of the mean loss", "one backward pass", "Mozer and Smolensky 1989",
        family=GRADIENTS, look=look(RED, "v", "dotted"), glossary="absolute gradient of the loss", gradients=True,
        granularities=ANY,
    ),
    _scorer(
        "taylor", "gradient:taylor",
        "abs(g w); channel: mean over batches of 32 of the squared derivative by a gate behind its BatchNorm",
        "one backward pass", "Molchanov et al. 2017, 2019", family=GRADIENTS, look=look(ORANGE, "^", "solid"),
        glossary="gradient times weight; of a channel: squared derivative of the loss by a factor on it",
        gradients=True, version=2, granularities=ANY,
    ),
    _scorer(
        "snip", "gradient:snip", "abs(g w) / sum abs(g w), g of one mini-batch", "one batch, backward",
        "Lee et al. 2019",
        family=GRADIENTS, look=look(PURPLE, "*", "dashed"),
        glossary="gradient times weight on one mini-batch, normalised", gradients=True, granularities=ANY,
    ),
    _scorer(
        "grasp", "grasp:grasp", "w (H g); channel: sum over the filter", "one gradient of the gradient",
        "Wang et al. 2020",
        family=CURVATURE, look=look(GREY, "X", "mixed"), glossary="weight times Hessian-gradient product",
        gradients=True, newer=("temperature",),
    ),
    _scorer(
        "fisher", "fisher:fisher", "1/2 w^2 E[g_i^2], g_i of one image", "one backward pass, image by image",
        "LeCun et al. 1989", family=CURVATURE, look=look(ORANGE, "+", "dashed"),
        glossary="half the square of the weight times the mean square gradient", granularities=ANY,
    ),
    _scorer(
        "wanda", "wanda:wanda", "abs(w_ij) norm2(x_j)", "one forward pass", "Sun et al. 2024", family=INPUTS,
        look=look(BLUE, "s", "mixed"), glossary="weight times input norm", granularities=ANY,
    ),
    _scorer(
        "obs", "obs:obs", "w^2 / (2 [H^-1]_jj), H = 2 X X^T + damping", "one forward pass, an inverse per layer",
        "Hassibi and Stork 1993; Frantar and Alistarh 2023", granularities=WEIGHTS, family=CURVATURE,
        look=look(BLUE, "1", "dotted"), glossary="optimal brain surgeon, layer by layer", moments=2**28,
    ),
    _scorer(
        "obc", "obc:obc",
        "loss increases w_p^2 / (2 [H^-1]_pp) of greedy removal, the rest of the row compensating, sorted in each row",
        "one forward pass; cubic in the weights of an output; half a minute for ResNet-20",
        "Frantar and Alistarh 2022 (ExactOBS)", granularities=WEIGHTS, family=CURVATURE,
        look=look(PURPLE, "4", "solid"), moments=2**28,
        glossary="optimal brain compression: weights of a row removed one by one",
    ),
    _scorer(
        "sparse_swaps", "sparse_swaps:sparse_swaps",
        "a mask per row, its best exchanges of two weights under (w - w_kept)^T G (w - w_kept) until none helps",
        "one forward pass more than its start, at each sparsity; half a minute for ResNet-20",
        "Zimmer et al. 2025 (arXiv 2512.10922)", granularities=WEIGHTS, family=CURVATURE,
        look=look(SKY, "D", "solid"), glossary="a mask refined by the best exchanges of two weights in a row",
        moments=2**28,
    ),
    _scorer(
        "ria", "ria:ria", "(abs(w_ij) / sum_i abs(w_ij) + abs(w_ij) / sum_j abs(w_ij)) norm2(x_j)^(1/2)",
        "one forward pass", "Zhang et al. 2024 (Plug-and-Play)", family=INPUTS, look=look(GREY, "v", "solid"),
        glossary="weight relative to its row and its column, times the square root of the input norm",
    ),
    _scorer(
        "dsnot", "dsnot:dsnot",
        "a mask per row, weights exchanged until the expected change of the row's output is small",
        "one forward pass more than its start, at each sparsity", "Zhang et al. 2024 (Dynamic Sparse No Training)",
        granularities=WEIGHTS, family=INPUTS, look=look(GREEN, "s", "solid"),
        glossary="a mask refined by regrowing and pruning weights to the expected output of each row", moments=2**28,
    ),
    _scorer(
        "activation", "activation:activation", "mean abs activation, before the non-linearity", "one forward pass",
        "ours",
        granularities=CHANNELS, family=INPUTS, look=look(RED, "2", "solid"),
        glossary="mean absolute activation of a channel",
    ),
    _scorer(
        "attention_score", "attention:attention_score", "mean over images and queries of the largest probability",
        "one forward pass", "ours; named as a criterion by Wang et al. 2026 (arXiv 2509.25606)", granularities=HEADS,
        family=INPUTS, look=look(GREEN, "*", "solid"),
        glossary="largest attention probability of a query, its mean for a head",
    ),
    _scorer(
        "synflow", "synflow:synflow", "abs(w dR/dw) with abs(w), pruned to (1-S)^(k/100), k = 1..100",
        "100 passes of one image", "Tanaka et al. 2020", family=FLOW, look=look(GREEN, "H", "solid"),
        glossary="synaptic flow, 100 rounds without data",
    ),
    _scorer(
        "synflow_oneshot", "synflow:synflow_oneshot", "abs(w dR/dw) with abs(w)", "one image", "Tanaka et al. 2020",
        family=FLOW, look=look(GREEN, "8", "dotted"), glossary="synaptic flow, one round",
    ),
    _indicator(
        "v1a_peak", "features.classes:v1a_peak", f"smoothed peak of the {ORBIT}", GRID_ORBITS, family=SMOOTH,
        look=look(SKY, "o", "dashed"), glossary="smoothed peak of the logistic map's orbit", complexity=0,
    ),
    _indicator(
        "v1b_var", "features.classes:v1b_var", f"smoothed variance of the {ORBIT}", GRID_ORBITS, family=SMOOTH,
        look=look(BLUE, "s", "dotted"), glossary="its smoothed variance", complexity=1,
    ),
    _indicator(
        "v1d_range", "features.classes:v1d_range", f"smoothed range of the {ORBIT}", GRID_ORBITS, family=SMOOTH,
        look=look(GREEN, "^", "mixed"), glossary="its smoothed range", complexity=1,
    ),
    _indicator(
        "v1", "features.classes:v1", f"smoothed peak, variance, range, mean of the {ORBIT}, fused", GRID_ORBITS,
        family=SMOOTH,
        look=look(ORANGE, "D", "solid"), glossary="smoothed peak, variance, range and mean", complexity=1,
    ),
    _indicator(
        "a5", "features.classes:a5", f"peak, variance, range, mean of the {ORBIT}, fused", ORBITS, family=RAW,
        look=look(BLUE, "X", "solid"), glossary="the same four, raw", complexity=2,
    ),
    _indicator(
        "a5_log6", "features.classes:a5_log6", "a5 with Lyapunov exponent and entropy", ORBITS, family=RAW,
        look=look(PURPLE, "P", "dashed"), glossary="these, the Lyapunov exponent and the entropy, raw", complexity=2,
    ),
    _indicator(
        "a5_log6_smooth", "features.classes:a5_log6_smooth", "the six of a5_log6, smoothed", GRID_ORBITS, family=SMOOTH,
        look=look(RED, "v", "dashed"), glossary="the same six, smoothed", complexity=1,
    ),
    _indicator(
        "sics_adaptive", "features.classes:sics_adaptive", "u for S < 0.65, v1 to 0.75, a5 above",
        "that of the class taken",
        "arXiv 2605.09345 (a skeleton there); ours", family=RAW, look=look(GREEN, "*", "mixed"),
        glossary="rank, v1 or a5, chosen by the target sparsity",
    ),
    _indicator(
        "nl_sin", "features.controls:nl_sin", "sin(k pi u + phase_k), k = 1..4, fused", "one sort", SICS_OURS,
        family=CONTROLS,
        look=look(SKY, "<", "solid"), glossary="four sines", complexity=1,
    ),
    _indicator(
        "weier4", "features.controls:weier4", "4 sums over n < 12 of a^n cos(b^n pi u), fused",
        "one sort, 48 cosines per unit",
        SICS_OURS, family=CONTROLS, look=look(ORANGE, ">", "dashed"), glossary="four Weierstrass functions",
        complexity=2,
    ),
    _indicator(
        "random_spline", "features.controls:random_spline", "4 cubic splines through 8 random knots, fused", "one sort",
        SICS_OURS, family=CONTROLS, look=look(GREY, "h", "dotted"), glossary="four splines through random values",
        complexity=1,
    ),
    _indicator(
        "gaussian_bump", "features.controls:gaussian_bump", "u and exp(-(u - u_S)^2 / (2 * 0.08^2)), fused", "one sort",
        SICS_OURS, family=CONTROLS, look=look(GREEN, "p", "solid"),
        glossary="rank and a bump at the rank where the target sparsity cuts", complexity=1,
    ),
    _indicator(
        "gaussian_bump_only", "features.controls:gaussian_bump_only", "exp(-(u - u_S)^2 / (2 * 0.08^2)); exploratory",
        "one sort", "ours", family=CONTROLS, look=look(GREEN, "8", "dotted"), glossary="the bump alone",
    ),
    _indicator(
        "a5_shuffled", "features.controls:a5_shuffled", "a5 on 2048 grid points, the points permuted, fused",
        GRID_ORBITS,
        SICS_OURS, family=CONTROLS, look=look(PURPLE, "H", "mixed"), glossary="the values of a5 without their order",
        complexity=2, per_model=True,
    ),
    _indicator(
        "poly4", "features.controls:poly4", "T1 to T4 of (2u - 1.1)/0.9, fused", "one sort", SICS_OURS,
        family=CONTROLS,
        look=look(BLACK, "3", "dashed"), glossary="four Chebyshev polynomials", complexity=1,
    ),
    _indicator(
        "monotone4", "features.controls:monotone4", "u, u^2, sqrt u, log u, fused", "one sort", SICS_OURS,
        family=CONTROLS,
        look=look(BLUE, "1", "mixed"), glossary="four increasing functions of the rank, whose weighted sum may fall",
    ),
    _scorer(
        "pure_mag4", "features.fake:pure_mag4", "peak, variance, range, mean deviation of a filter's abs(w), fused",
        "none",
        SICS_OURS, granularities=CHANNELS, family=CONTROLS, look=look(RED, "d", "mixed"),
        glossary="peak, variance, range and mean absolute deviation of the unit's own weights", complexity="fake",
    ),
)  # fmt: skip
