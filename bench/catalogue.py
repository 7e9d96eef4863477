"""The explicit list of plug-ins: one line per method, with what a reader should know of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.masks import allocation
from bench.models import cifar, digits
from bench.registry import Plugin, Registry
from bench.repairs import correction, recalibration
from bench.scorers.gradient import gradient, taylor
from bench.scorers.magnitude import (
    exp_magnitude,
    l2,
    log_magnitude,
    magnitude,
    sqrt_magnitude,
    square_magnitude,
)  # fmt: skip
from bench.scorers.random import random
from bench.scorers.rank import rank
from bench.scorers.wanda import wanda

WEIGHTS, CHANNELS = ("weight",), ("channel",)
HE = "He et al. 2016, section 4.2"
HAN = "Han et al. 2015"
LEMMA = "arXiv 2605.09345, Lemma 1"


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
    _scorer("rank", rank, "u = 0.1 + 0.9 (rank - 1)/(n - 1) in the layer", "one sort", LEMMA),
    _scorer("l2", l2, "root mean square of the filter", "none", "Li et al. 2017", granularities=CHANNELS),
    _scorer("gradient", gradient, "abs(g), g of the mean loss", "one backward pass", "Mozer and Smolensky 1989"),
    _scorer(
        "taylor", taylor, "abs(g w); channel: mean over batches of 32 of (sum g w)^2", "one backward pass",
        "Molchanov et al. 2017, 2019",
    ),
    _scorer("wanda", wanda, "abs(w_ij) norm2(x_j)", "one forward pass", "Sun et al. 2024"),
)  # fmt: skip

SEARCHES = (Plugin("search", "none", unsearched, "the scorer's own scores", "none", "-"),)

ALLOCATIONS = (
    Plugin("allocation", "uniform", allocation.uniform, "the same sparsity in every layer", "none", "-"),
    Plugin("allocation", "global", allocation.global_, "one threshold over all layers", "none", HAN),
    Plugin(
        "allocation", "per_output", allocation.per_output, "the same sparsity in every output row", "none",
        "Sun et al. 2024", WEIGHTS,
    ),
)  # fmt: skip

ASR = "arXiv 2605.21426"
ONE_PASS = "one forward pass of the draw"
CORRECTIONS = (
    Plugin("correction", "none", correction.none, "1", "none", "-"),
    Plugin("correction", "layerwise", correction.layerwise, "sqrt(sum v_d / sum v_p)", ONE_PASS, ASR),
    Plugin("correction", "channelwise", correction.channelwise, "sqrt(v_d / v_p)", ONE_PASS, ASR),
    Plugin(
        "correction",
        "asr",
        correction.asr,
        "s sqrt(v_d / v_p) + 1 - s, s = v_p/(v_p + lambda)",
        ONE_PASS,
        ASR,
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
)


def _no_function() -> None:
    """Stand for a data set, which `bench.data.load` opens; here it is only listed."""


DATASETS = tuple(
    Plugin("dataset", name, _no_function, formula, "-", reference)
    for name, formula, reference in (
        ("digits", "1,797 handwritten digits of 8x8 pixels, embedded", "scikit-learn; UCI"),
        ("cifar10", "60,000 images of 32x32, 10 classes; torchvision or a local copy", "Krizhevsky 2009"),
        ("cifar100", "60,000 images of 32x32, 100 classes; torchvision or a local copy", "Krizhevsky 2009"),
        ("parquet:PATH", "a folder of Parquet files in the Hugging Face layout", "-"),
        ("folder:PATH", "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png", "-"),
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
