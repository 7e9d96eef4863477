"""The explicit list of plug-ins: one line per method, with what a reader should know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.core.registry import Plugin, Registry
from bench.masks import allocation
from bench.masks.emp import emp
from bench.masks.erk import erk
from bench.masks.lamp import lamp as lamp_counts
from bench.masks.n_m import fixed_n_m, n_m
from bench.models import cifar, digits, vgg
from bench.repairs import correction, recalibration
from bench.repairs.reconstruct import reconstruct
from bench.scorers.activation import activation
from bench.scorers.features import classes, controls
from bench.scorers.features.fake import pure_mag4
from bench.scorers.fisher import fisher
from bench.scorers.gradient import gradient, snip, taylor
from bench.scorers.grasp import grasp
from bench.scorers.lamp import lamp
from bench.scorers.magnitude import (
    exp_magnitude,
    l2,
    log_magnitude,
    magnitude,
    sqrt_magnitude,
    square_magnitude,
)  # fmt: skip
from bench.scorers.obs import obs
from bench.scorers.random import random
from bench.scorers.rank import log_rank, rank
from bench.scorers.search.baselines import equal, random_search
from bench.scorers.search.cma_es import cma_es
from bench.scorers.search.dbo import dbo
from bench.scorers.synflow import synflow, synflow_oneshot
from bench.scorers.wanda import wanda

WEIGHTS, CHANNELS = ("weight",), ("channel",)
HE = "He et al. 2016, section 4.2"
HAN = "Han et al. 2015"
LEMMA = "arXiv 2605.09345, Lemma 1"
SICS, SICS_OURS = "arXiv 2605.09345; formula ours", "arXiv 2605.09345 (as a control); formula ours"
ORBIT = "logistic orbit at r = 4u"
GRID_ORBITS, ORBITS = "one sort, 2048 orbits", "one sort, 2000 steps per unit of each layer size"
#: The scorer is a function of u alone, given its generator and the target: `bench.measure.curves` can draw it.
CURVE = {"curve": True}


def _scorer(name: str, function: object, formula: str, cost: str, reference: str, **more: object) -> Plugin:
    return Plugin("scorer", name, function, formula, cost, reference, **more)  # type: ignore[arg-type]


def unsearched() -> None:
    """Keep the scorer's own scores: no fusion weights are searched for."""


SCORERS = (
    _scorer("random", random, "uniform, from a named seed", "none", "-"),
    _scorer("magnitude", magnitude, "abs(w); channel: mean over the filter", "none", HAN),
    _scorer("log_magnitude", log_magnitude, "log abs(w)", "none", LEMMA),
    _scorer("sqrt_magnitude", sqrt_magnitude, "sqrt(abs(w))", "none", LEMMA),
    _scorer("square_magnitude", square_magnitude, "abs(w)^2", "none", LEMMA),
    _scorer("exp_magnitude", exp_magnitude, "exp(abs(w))", "none", LEMMA),
    _scorer("rank", rank, "u = 0.1 + 0.9 (rank - 1)/(n - 1) in the layer", "one sort", LEMMA, details=CURVE),
    _scorer("log_rank", log_rank, "log u", "one sort", LEMMA, details=CURVE),
    _scorer("l2", l2, "root mean square of the filter", "none", "Li et al. 2017", granularities=CHANNELS),
    _scorer("lamp", lamp, "w^2 / sum of w_v^2 over abs(w_v) >= abs(w) in the layer", "one sort", "Lee et al. 2021"),
    _scorer("gradient", gradient, "abs(g), g of the mean loss", "one backward pass", "Mozer and Smolensky 1989"),
    _scorer(
        "taylor", taylor, "abs(g w); channel: mean over batches of 32 of (sum g w)^2", "one backward pass",
        "Molchanov et al. 2017, 2019",
    ),
    _scorer("snip", snip, "abs(g w) / sum abs(g w), g of one mini-batch", "one batch, backward", "Lee et al. 2019"),
    _scorer(
        "grasp", grasp, "w (H g); channel: sum over the filter", "one gradient of the gradient", "Wang et al. 2020",
    ),
    _scorer(
        "fisher", fisher, "1/2 w^2 E[g_i^2], g_i of one image", "one backward pass, image by image",
        "LeCun et al. 1989",
    ),
    _scorer("wanda", wanda, "abs(w_ij) norm2(x_j)", "one forward pass", "Sun et al. 2024"),
    _scorer(
        "obs", obs, "w^2 / (2 [H^-1]_jj), H = 2 X X^T + damping", "one forward pass, an inverse per layer",
        "Hassibi and Stork 1993; Frantar and Alistarh 2023", granularities=WEIGHTS,
    ),
    _scorer(
        "activation", activation, "mean abs activation, before the non-linearity", "one forward pass", "ours",
        granularities=CHANNELS,
    ),
    _scorer(
        "synflow", synflow, "abs(w dR/dw) with abs(w), pruned to (1-S)^(k/100), k = 1..100",
        "100 passes of one image", "Tanaka et al. 2020",
    ),
    _scorer("synflow_oneshot", synflow_oneshot, "abs(w dR/dw) with abs(w)", "one image", "Tanaka et al. 2020"),
    _scorer("v1a_peak", classes.v1a_peak, f"smoothed peak of the {ORBIT}", GRID_ORBITS, SICS, details=CURVE),
    _scorer("v1b_var", classes.v1b_var, f"smoothed variance of the {ORBIT}", GRID_ORBITS, SICS, details=CURVE),
    _scorer("v1d_range", classes.v1d_range, f"smoothed range of the {ORBIT}", GRID_ORBITS, SICS, details=CURVE),
    _scorer(
        "v1", classes.v1, f"smoothed peak, variance, range, mean of the {ORBIT}, fused", GRID_ORBITS, SICS,
        details=CURVE,
    ),
    _scorer("a5", classes.a5, f"peak, variance, range, mean of the {ORBIT}, fused", ORBITS, SICS, details=CURVE),
    _scorer("a5_log6", classes.a5_log6, "a5 with Lyapunov exponent and entropy", ORBITS, SICS, details=CURVE),
    _scorer(
        "a5_log6_smooth", classes.a5_log6_smooth, "the six of a5_log6, smoothed", GRID_ORBITS, SICS, details=CURVE,
    ),
    _scorer(
        "sics_adaptive", classes.sics_adaptive, "u for S < 0.65, v1 to 0.75, a5 above", "that of the class taken",
        "arXiv 2605.09345 (a skeleton there); ours", details=CURVE,
    ),
    _scorer(
        "nl_sin", controls.nl_sin, "sin(k pi u + phase_k), k = 1..4, fused", "one sort", SICS_OURS, details=CURVE,
    ),
    _scorer(
        "weier4", controls.weier4, "4 sums over n < 12 of a^n cos(b^n pi u), fused", "one sort, 48 cosines per unit",
        SICS_OURS, details=CURVE,
    ),
    _scorer(
        "random_spline", controls.random_spline, "4 cubic splines through 8 random knots, fused", "one sort",
        SICS_OURS, details=CURVE,
    ),
    _scorer(
        "gaussian_bump", controls.gaussian_bump, "u and exp(-(u - u_S)^2 / (2 * 0.08^2)), fused", "one sort",
        SICS_OURS, details=CURVE,
    ),
    _scorer(
        "gaussian_bump_only", controls.gaussian_bump_only, "exp(-(u - u_S)^2 / (2 * 0.08^2)); exploratory",
        "one sort", "ours", details=CURVE,
    ),
    _scorer(
        "pure_mag4", pure_mag4, "peak, variance, range, mean deviation of a filter's abs(w), fused", "none",
        SICS_OURS, granularities=CHANNELS,
    ),
)  # fmt: skip

SEARCH_COST = "600 masked evaluations on the search split"
SEARCHES = (
    Plugin("search", "none", unsearched, "the scorer's own scores", "none", "-"),
    Plugin("search", "equal", equal, "W = 1", "1 masked evaluation on the search split", "-"),
    Plugin(
        "search", "random_search", random_search, "the best of uniform W in [-1, 1]^K", SEARCH_COST,
        "Bergstra and Bengio 2012",
    ),
    Plugin(
        "search", "dbo", dbo, "Dung Beetle Optimizer, 30 beetles in 20 generations", SEARCH_COST, "Xue and Shen 2023",
    ),
    Plugin(
        "search", "cma", cma_es, "CMA-ES, the library's default population, restarted", SEARCH_COST,
        "Hansen, Akimoto and Baudis 2019 (pycma)",
    ),
)  # fmt: skip


def _n_m(name: str, function: Callable[..., object], formula: str, **details: object) -> Plugin:
    return Plugin(
        "allocation", name, function, formula, "none", "Mishra et al. 2021", WEIGHTS,
        details={"sets_sparsity": True, **details},
    )  # fmt: skip


ALLOCATIONS = (
    Plugin("allocation", "uniform", allocation.uniform, "the same sparsity in every layer", "none", "-"),
    Plugin("allocation", "global", allocation.global_, "one threshold over all layers", "none", HAN),
    Plugin(
        "allocation", "per_output", allocation.per_output, "the same sparsity in every output row", "none",
        "Sun et al. 2024", WEIGHTS,
    ),
    Plugin(
        "allocation", "erk", erk, "density min(1, e (n_in + n_out + k_h + k_w)/(n_in n_out k_h k_w))", "none",
        "Evci et al. 2020",
    ),
    Plugin("allocation", "lamp", lamp_counts, "one threshold on the LAMP scores", "one sort", "Lee et al. 2021"),
    Plugin(
        "allocation", "emp", emp, "the beta/sum(omega^2) highest scores, omega = abs(s)/sum abs(s)", "none",
        "arXiv 2509.25606", details={"sets_sparsity": True},
    ),
    *(
        _n_m(f"{n}:{m}", fixed_n_m(n, m), f"{n} kept of every {m} consecutive input channels")
        for n, m in ((2, 4), (4, 8), (1, 4))
    ),
    _n_m("n:m", n_m, "n kept of every m consecutive input channels", example={"n": 2, "m": 8}),
)  # fmt: skip

ASR = "arXiv 2605.21426"
ONE_PASS = "one forward pass of the draw"
PASSES = f"{ONE_PASS}; sequential: one per layer"
CORRECTIONS = (
    Plugin("correction", "none", correction.none, "1", "none", "-"),
    Plugin("correction", "layerwise", correction.layerwise, "sqrt(sum v_d / sum v_p)", PASSES, ASR),
    Plugin("correction", "channelwise", correction.channelwise, "sqrt(v_d / v_p)", PASSES, ASR),
    Plugin(
        "correction",
        "asr",
        correction.asr,
        "s sqrt(v_d / v_p) + 1 - s, s = v_p/(v_p + lambda)",
        PASSES,
        ASR,
    ),
    Plugin(
        "correction",
        "asr_soft",
        correction.asr_soft,
        "asr, s times min(1, v_p/(0.05 median))",
        PASSES,
        ASR,
    ),
    Plugin(
        "correction",
        "asr_eb",
        correction.asr_eb,
        "asr, lambda = v_0 sigma^2/tau^2 of log v_p",
        PASSES,
        "ours",
    ),
    Plugin(
        "correction",
        "repair",
        correction.repair,
        "sqrt(v_d / v_p), then mean_d - mean_p added",
        PASSES,
        "Jordan et al. 2023",
    ),
    Plugin(
        "correction",
        "reconstruct",
        reconstruct,
        "min norm(W X_d - W^ X_p)^2 + d norm(W^ - W_kept)^2, bias refitted",
        "one dense pass, a solve per row; sequential: two passes per layer",
        "Luo et al. 2017; Frantar and Alistarh 2023",
    ),
)

RECALIBRATIONS = (
    Plugin("recalibration", "none", recalibration.none, "dense BatchNorm statistics", "none", "-"),
    Plugin(
        "recalibration", "ema", recalibration.ema, "running average, from the dense statistics", "8 batches",
        "Ioffe and Szegedy 2015",
    ),
    Plugin(
        "recalibration", "cumulative", recalibration.cumulative, "reset, then the mean over equal batches", ONE_PASS,
        "Saikumar and Varghese 2025 (REFLOW)",
    ),
    Plugin(
        "recalibration", "exact", recalibration.exact, "pooled mean and variance, layer by layer",
        "half a forward pass of the draw per BatchNorm", "ours",
    ),
)  # fmt: skip


def _model(name: str, function: object, formula: str, reference: str, recipe: Mapping[str, object]) -> Plugin:
    return Plugin("model", name, function, formula, "-", reference, details={"recipe": recipe})  # type: ignore[arg-type]


CIFAR_RECIPE: dict[str, object] = {
    "optimizer": "sgd", "epochs": 60, "lr": 0.2, "weight_decay": 5e-4, "label_smoothing": 0.0,
    "augmentation": "crop_flip", "shift": 4,
}  # fmt: skip
MODELS = (
    _model("digits_cnn", digits.digits_cnn, "4 convolutions with BatchNorm", "ours", digits.CNN_RECIPE),
    _model(
        "digits_vit",
        digits.digits_vit,
        "Vision Transformer, patches of 2 px, 3 blocks",
        "ours",
        digits.VIT_RECIPE,
    ),
    *(
        _model(function.__name__, function, "option-A shortcuts, 16-32-64 channels", HE, CIFAR_RECIPE)
        for function in (
            cifar.cifar_resnet20,
            cifar.cifar_resnet32,
            cifar.cifar_resnet44,
            cifar.cifar_resnet56,
            cifar.cifar_resnet110,
        )
    ),
    _model(
        "vgg16_bn_cifar",
        vgg.vgg16_bn_cifar,
        "VGG-16 with BatchNorm, global mean, one linear layer",
        "Simonyan and Zisserman 2015; one linear layer ours",
        {**CIFAR_RECIPE, "lr": 0.05},
    ),
)


def _no_function() -> None:
    """Stand for a data set, which `bench.data.load` opens; here it is only listed."""


DATASETS = tuple(
    Plugin("dataset", name, _no_function, formula, "-", reference)
    for name, formula, reference in (
        ("digits", "1,797 handwritten digits of 8x8 pixels, embedded", "scikit-learn; UCI"),
        ("cifar10", "60,000 images of 32x32, 10 classes; torchvision or a local copy", "Krizhevsky 2009"),
        (
            "cifar100",
            "60,000 images of 32x32, 100 classes, or 20 with labels: coarse_label; torchvision or a local copy",
            "Krizhevsky 2009",
        ),
        ("parquet:PATH", "a folder of Parquet files in the Hugging Face layout", "docs/DATA.md"),
        ("folder:PATH", "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png", "docs/DATA.md"),
    )
)


def make_registry(folder: Path | None = None) -> Registry:
    """Build the registry of this process: ours, then those of installed packages.

    Parameters
    ----------
    folder : Path, optional
        Study folder, in which ``./file.py:function`` is looked up.

    Examples
    --------
    >>> make_registry().get("scorer", "taylor").reference
    'Molchanov et al. 2017, 2019'
    """
    registry = Registry((*SCORERS, *SEARCHES, *ALLOCATIONS, *CORRECTIONS, *RECALIBRATIONS, *MODELS, *DATASETS), folder)
    registry.add_entry_points()
    return registry
