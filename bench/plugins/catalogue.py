"""The explicit list of plug-ins: one entry per method, with all that anyone must know of it (`bench.core.method`).

An entry names its function as ``module:function``, which is imported when it is first called: a command that only reads
the list, or that finds a mistake in study.yaml, does not load torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core.registry import Plugin, Registry
from bench.plugins.looks import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, look
from bench.plugins.scorers import SCORERS

WEIGHTS = ("weight",)
ANY = ("weight", "channel", "head", "group")
HE = "He et al. 2016, section 4.2"
HAN = "Han et al. 2015"


def unsearched() -> None:
    """Keep the scorer's own scores: no fusion weights are searched for."""


def _search(name: str, source: Callable[..., Any] | str, formula: str, cost: str, reference: str, glossary: str,
            **more: Any) -> Plugin:  # fmt: skip
    return Plugin(
        "search", name, source, formula=formula, cost=cost, reference=reference, glossary=glossary, **more,
    )  # fmt: skip


SEARCH_COST = "600 masked evaluations on the search split"
SEARCHES = (
    _search("none", unsearched, "the scorer's own scores", "none", "-", "no fusion weights"),
    _search(
        "equal", "bench.scorers.search.baselines:equal", "W = 1", "1 masked evaluation on the search split", "-",
        "all weights 1",
    ),
    _search(
        "random_search", "bench.scorers.search.baselines:random_search", "the best of uniform W in [-1, 1]^K",
        SEARCH_COST,
        "Bergstra and Bengio 2012", "uniform random weights", **look(GREY, "x", "dotted"),
    ),
    _search(
        "dbo", "bench.scorers.search.dbo:dbo", "Dung Beetle Optimizer, 30 beetles in 20 generations", SEARCH_COST,
        "Xue and Shen 2023", "dung beetle optimizer", newer=("published_bounds",), **look(BLUE, "s", "solid"),
    ),
    _search(
        "cma", "bench.scorers.search.cma_es:cma_es", "CMA-ES, the library's default population, restarted", SEARCH_COST,
        "Hansen, Akimoto and Baudis 2019 (pycma)", "covariance matrix adaptation", **look(ORANGE, "^", "dashed"),
    ),
)  # fmt: skip


def _allocation(
    name: str, function: str, formula: str, cost: str, reference: str, glossary: str, *, sets_sparsity: bool = False,
    **more: Any,
) -> Plugin:  # fmt: skip
    return Plugin(
        "allocation", name, f"bench.masks.{function}", formula=formula, cost=cost, reference=reference,
        glossary=glossary, sets_sparsity=sets_sparsity, **more,
    )  # fmt: skip


def _n_m(name: str, function: str, formula: str, glossary: str, **more: Any) -> Plugin:
    return _allocation(
        name, f"n_m:{function}", formula, "none", "Mishra et al. 2021", glossary, granularities=WEIGHTS,
        sets_sparsity=True,
        **more,
    )  # fmt: skip


ALLOCATIONS = (
    _allocation(
        "uniform", "allocation:uniform", "the same sparsity in every layer", "none", "-",
        "one sparsity for every layer", granularities=ANY,
    ),
    _allocation(
        "global", "allocation:global_", "one threshold over all layers", "none", HAN, "one ranking over all layers",
        granularities=ANY,
    ),
    _allocation(
        "per_output", "allocation:per_output", "the same sparsity in every output row", "none", "Sun et al. 2024",
        "one sparsity for every output row", granularities=WEIGHTS,
    ),
    _allocation(
        "uniform_plus", "uniform_plus:uniform_plus", "first layer dense, classifier at most 80 %, the rest uniform",
        "none",
        "Gale, Elsen and Hooker 2019", "uniform, with the first layer dense and at most 80 % of the classifier pruned",
    ),
    _allocation(
        "erk", "erk:erk", "density min(1, e (n_in + n_out + k_h + k_w)/(n_in n_out k_h k_w))", "none",
        "Evci et al. 2020", "density by layer shape, the sparser the larger the layer (Erdos-Renyi kernel)",
    ),
    _allocation(
        "lamp", "lamp:lamp", "one threshold on the LAMP scores", "one sort", "Lee et al. 2021",
        "global ranking of the LAMP score",
    ),
    _allocation(
        "emp", "emp:emp", "the beta/sum(omega^2) highest scores, omega = abs(s)/sum abs(s)", "none", "arXiv 2509.25606",
        "effective model pruning: the scores of the whole model, or of each layer or output row (scope), determine how "
        "many units to keep; with a uniform spread, as many in total, the same share of every layer",
        sets_sparsity=True, version=2, newer=("spread",), granularities=ANY,
        terms={
            "N_eff": "Effective number of scores: 1 over the sum of their squared shares.",
            "s_eff": "Share of all the scores' sum that the kept units hold.",
        },
    ),
    *(
        _n_m(f"{n}:{m}", function, f"{n} kept of every {m} consecutive input channels", glossary)
        for n, m, function, glossary in (
            (2, 4, "two_of_four", "2 of every 4 consecutive input channels kept"),
            (4, 8, "four_of_eight", "4 of every 8 kept"),
            (1, 4, "one_of_four", "1 of every 4 kept"),
        )
    ),
    _n_m(
        "n:m", "n_m", "n kept of every m consecutive input channels", "n of every m consecutive input channels kept",
        example={"n": 2, "m": 8},
    ),
)  # fmt: skip

ASR = "arXiv 2605.21426"
ONE_PASS = "one forward pass of the draw"
PASSES = f"{ONE_PASS}; sequential: one per layer"


def _correction(
    name: str, function: str, formula: str, reference: str, look: dict[str, Any], glossary: str, *,
    cost: str = PASSES, moments: int = 0, **more: Any,
) -> Plugin:  # fmt: skip
    return Plugin(
        "correction", name, f"bench.repairs.{function}", formula=formula, cost=cost, reference=reference,
        glossary=glossary,
        moments=moments, **look, **more,
    )  # fmt: skip


CORRECTIONS = (
    _correction("none", "correction:none", "1", "-", look(BLACK, "o", "solid"), "no correction", cost="none"),
    _correction(
        "layerwise", "correction:layerwise", "sqrt(sum v_d / sum v_p)", ASR, look(ORANGE, "^", "dashed"),
        "one factor per layer",
    ),
    _correction(
        "channelwise", "correction:channelwise", "sqrt(v_d / v_p)", ASR, look(RED, "v", "dotted"),
        "one factor per channel",
    ),
    _correction(
        "asr", "correction:asr", "s sqrt(v_d / v_p) + 1 - s, s = v_p/(v_p + lambda)", ASR, look(BLUE, "s", "mixed"),
        "one factor per channel, shrunk towards 1",
    ),
    _correction(
        "asr_soft", "correction:asr_soft", "asr, s times min(1, v_p/(0.05 median))", ASR, look(SKY, "D", "dotted"),
        "asr that goes to 1 for channels under 5 % of the median variance",
    ),
    _correction(
        "asr_eb", "correction:asr_eb", "asr, lambda = v_0 sigma^2/tau^2 of log v_p", "ours",
        look(PURPLE, "*", "dashed"), "asr with an empirical-Bayes lambda",
    ),
    _correction(
        "repair", "correction:repair", "sqrt(v_d / v_p), then mean_d - mean_p added", "Jordan et al. 2023",
        look(GREEN, "P", "solid"), "mean and variance of every channel matched by an affine map, layer after layer",
        cost="one forward pass per layer; parallel: one of the draw", version=2,
    ),
    _correction(
        "reconstruct", "reconstruct:reconstruct", "min norm(W X_d - W^ X_p)^2 + d norm(W^ - W_kept)^2, bias refitted",
        "Luo et al. 2017; Frantar and Alistarh 2023", look(GREY, "X", "mixed"),
        "kept weights fitted anew by least squares to the dense outputs",
        cost="one dense pass, a solve per row; sequential: two passes per layer", moments=2**30,
    ),
    _correction(
        "grail", "grail:grail", "W G_.k (G_kk + lambda I)^-1, lambda = 0.001 mean diag G_kk, k kept inputs",
        "Tang et al. 2026", look(SKY, "p", "solid"),
        "weights that read removed channels, refitted by a ridge regression on the kept channels",
        cost="two passes per layer that reads removed channels (ResNet-20: 60 s); parallel: one dense pass (2 s)",
        moments=2**30, granularities=("channel", "head", "group"),
    ),
)  # fmt: skip


def _recalibration(
    name: str,
    function: str,
    formula: str,
    cost: str,
    reference: str,
    glossary: str,
    *,
    complete: bool = False,
) -> Plugin:
    return Plugin(
        "recalibration", name, f"bench.repairs.recalibration:{function}", formula=formula, cost=cost,
        reference=reference, glossary=glossary,
        complete=complete,
    )  # fmt: skip


RECALIBRATIONS = (
    _recalibration(
        "none", "none", "dense BatchNorm statistics", "none", "-", "statistics of the dense network",
    ),
    _recalibration(
        "ema", "ema", "running average, from the dense statistics", "8 batches",
        "Ioffe and Szegedy 2015", "running average over a few batches",
    ),
    _recalibration(
        "reset_ema", "reset_ema", "reset, then a running average", "100 batches",
        "Frantar and Alistarh 2022 (OBC, bnt)", "a running average over many batches that starts from a reset",
        complete=True,
    ),
    _recalibration(
        "cumulative", "cumulative", "reset, then the mean over equal batches", ONE_PASS,
        "Saikumar and Varghese 2025 (REFLOW)", "a fresh average over the whole draw", complete=True,
    ),
    _recalibration(
        "exact", "exact", "pooled mean and variance, layer by layer",
        "half a forward pass of the draw per BatchNorm", "ours",
        "layer by layer, mean and variance pooled over the whole draw", complete=True,
    ),
)  # fmt: skip


def _model(name: str, file: str, formula: str, reference: str, recipe: Mapping[str, object]) -> Plugin:
    return Plugin(
        "model", name, f"bench.models.{file}:{name}", formula=formula, cost="-", reference=reference, recipe=recipe,
    )  # fmt: skip


#: Overrides of the default recipe, chosen among a handful by dense *test* accuracy: dense accuracies on the digits are
#: slightly optimistic, differences between pruned versions of one model are not touched by it.
CNN_RECIPE: dict[str, object] = {"epochs": 30, "batch": 64, "lr": 5e-3, "augmentation": "shift"}
#: Attention learns shifted digits far slower.
VIT_RECIPE: dict[str, object] = {"epochs": 30, "batch": 64, "lr": 5e-3}
#: So do networks without convolutions: shifts cost them 1 to 4 points.
MLP_RECIPE: dict[str, object] = {"epochs": 30, "batch": 64, "lr": 5e-3}
KAN_RECIPE: dict[str, object] = {"epochs": 30, "batch": 64, "lr": 1e-2}
CIFAR_RECIPE: dict[str, object] = {
    "optimizer": "sgd", "epochs": 60, "lr": 0.2, "weight_decay": 5e-4, "label_smoothing": 0.0,
    "augmentation": "crop_flip", "shift": 4,
}  # fmt: skip
MODELS = (
    _model("digits_cnn", "digits", "4 convolutions with BatchNorm", "ours", CNN_RECIPE),
    _model("digits_vit", "digits", "Vision Transformer, patches of 2 px, 3 blocks", "ours", VIT_RECIPE),
    _model("digits_mlp", "digits", "3 hidden layers of 128 units, ReLU", "ours", MLP_RECIPE),
    _model("digits_kan", "kan", "2 layers of cubic B-splines, 32 hidden values", "Liu et al. 2024; ours", KAN_RECIPE),
    *(
        _model(f"cifar_resnet{depth}", "cifar", "option-A shortcuts, 16-32-64 channels", HE, CIFAR_RECIPE)
        for depth in (20, 32, 44, 56, 110)
    ),
    _model(
        "vgg16_bn_cifar",
        "vgg",
        "VGG-16 with BatchNorm, global mean, one linear layer",
        "Simonyan and Zisserman 2015; one linear layer ours",
        {**CIFAR_RECIPE, "lr": 0.05},
    ),
)


def _no_function() -> None:
    """Stand for a data set, which `bench.data.load` opens; here it is only listed."""


DATASETS = tuple(
    Plugin("dataset", name, _no_function, formula=formula, cost="-", reference=reference)
    for name, formula, reference in (
        ("digits", "1,797 handwritten digits of 8x8 pixels, embedded", "scikit-learn; UCI"),
        ("cifar10", "60,000 images of 32x32, 10 classes; torchvision or a local copy", "Krizhevsky 2009"),
        (
            "cifar100",
            "60,000 images of 32x32, 100 classes, or 20 with labels: coarse_label; torchvision or a local copy",
            "Krizhevsky 2009",
        ),
        (
            "fashion_mnist",
            "70,000 grey images of 28x28, 10 classes of clothing; torchvision or a local copy",
            "Xiao, Rasul and Vollgraf 2017",
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
