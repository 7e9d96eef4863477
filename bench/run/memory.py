"""Forecast of the memory that the work on one model needs.

The sizes of the model are measured on a few images (`measure_sizes`); the stages of the work are computed from them
(`memory_stages`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.core.registry import Registry
from bench.core.types import Cell, DataFacts, Settings
from bench.measure.evaluator import KEPT_INPUT, PRECISIONS, prepare_network
from bench.models.outputs import main_output
from bench.models.view import ModelView
from bench.scorers.gradient import stand_ins, summed_loss
from bench.study.spec import Recipe

#: Bytes of a value.
FLOAT64, FLOAT = 8, 4
#: Copies of all images while a data set is decoded and split, including its files.
READING = 5
#: Copies of all images afterwards, including freed memory that the C library retains.
READ = 2
#: Float64 or int64 values per prunable weight that are kept between cells: scores, magnitudes, their orders and ranks.
KEPT = 6
#: Additional values per prunable weight while masks are sorted and built.
SORTING = 9
#: Additional values per prunable weight while ties are broken, if many scores are equal, as zero gradients are.
SETTLING = 8
#: Values per unit for features: the largest number of any built-in scorer, twice, because they are copied when scaled.
FEATURES = 12
#: Buffers of the libraries and tables of rows, in bytes; 8 to 39 MiB were measured with small networks.
BUFFERS = 20 * 2**20
#: Memory of the process in training relative to its tensors, because of fragmentation; 1.5 to 2.3 were measured.
HOLES = 1.8
#: Matrices of the size of a layer's Hessian that are held while it is inverted.
INVERTING = 4


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model in bytes.

    Attributes
    ----------
    state : int
        Parameters and buffers.
    units : int
        Number of prunable weights.
    evaluation, forward, backward : int
        Activations per image: in the precision of the evaluation, in float32, and in float32 with those kept for a
        gradient.
    hessians : tuple of int
        Second moments of the inputs of each prunable layer, float64.
    training : int
        Activations and their gradients per image in a training step; 0 if not measured.
    """

    state: int
    units: int
    evaluation: int
    forward: int
    backward: int
    hessians: tuple[int, ...]
    training: int = 0


def measure_sizes(view: ModelView, image: tuple[int, ...], settings: Settings, trained: bool = False) -> ModelSizes:
    """Measure the bytes of a model, and of its activations on a few images of noise.

    Parameters
    ----------
    view : ModelView
        The model on the CPU, with its prunable weights.
    image : tuple of int
        Channels, height and width.
    settings : Settings
        Settings of the evaluation.
    trained : bool
        Whether to measure a training step, too.
    """
    network = prepare_network(view.model, replace(settings, device="cpu"))
    dtype = PRECISIONS[settings.precision]

    def noise(n: int) -> Tensor:
        return torch.randn(n, *image, generator=torch.Generator().manual_seed(0))

    leaves, frozen = stand_ins(view)

    def graph(x: Tensor) -> Any:
        return summed_loss(view, {**frozen, **leaves}, x, torch.zeros(len(x), dtype=torch.int64))

    return ModelSizes(
        state=sum(t.numel() * t.element_size() for t in view.model.state_dict().values()),
        units=view.units.total,
        evaluation=_per_image(lambda n: _most_alive(lambda x: _forward(network, x), noise(n).to(dtype))),
        forward=_per_image(lambda n: _most_alive(lambda x: _forward(view.model, x), noise(n))),
        backward=_per_image(lambda n: _most_alive(graph, noise(n))),
        hessians=tuple(layer.layout.moment_bytes for layer in view.units.layers if layer.layout is not None),
        training=_per_image(lambda n: _most_alive(_training_step(view.model), noise(n))) if trained else 0,
    )


@torch.no_grad()
def _forward(network: nn.Module, x: Tensor) -> Any:
    return network(x)


def _training_step(model: nn.Module) -> Callable[[Tensor], None]:
    """Return the forward and backward pass of a training step, on a copy of the model."""
    network = copy.deepcopy(model).train()
    for parameter in network.parameters():  # counted with the model: on few images they would dominate
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_free_gradient)  # type: ignore[no-untyped-call]

    def step(x: Tensor) -> None:
        logits = main_output(network(x))
        assert logits is not None  # `bench.models.check` refuses other networks
        torch.autograd.backward(F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64)))

    return step


def _free_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _per_image(measure: Callable[[int], int]) -> int:
    """Return the slope of a measurement over the number of images, which excludes constant parts."""
    return max(0, measure(4) - measure(2)) // 2


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive during a computation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most: int = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
                self._alive[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        self._alive = {key: pair for key, pair in self._alive.items() if not pair[0].expired()}  # type: ignore[no-untyped-call]
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return result


def _most_alive(run: Callable[[Tensor], Any], x: Tensor) -> int:
    alive = _Alive()
    with alive:
        run(x)
    return alive.most


def memory_stages(
    sizes: ModelSizes, facts: DataFacts, settings: Settings, cells: Iterable[Cell], registry: Registry,
    recipe: Recipe | None,
) -> dict[str, dict[str, int]]:  # fmt: skip
    """Compute the memory of each stage of the work on a model; on a GPU that of the device.

    Parameters
    ----------
    sizes : ModelSizes
        Of the model.
    facts : DataFacts
        Sizes of the data set.
    settings : Settings
        Device, precision and batch.
    cells : iterable of Cell
        Cells of the model that will be computed.
    registry : Registry
        Knows what the methods need.
    recipe : Recipe or None
        Training recipe; None if the model is given.

    Returns
    -------
    dict of str to dict
        Stage -> part -> bytes. The forecast is the largest sum.
    """
    cells = [cell for cell in cells if not cell.skip]
    on_cpu = settings.device == "cpu"
    pixels = facts.in_chans * prod(facts.image_size)
    evaluated = facts.test + (facts.search if any(c.search.name != "none" for c in cells) else 0)
    all_images = (facts.fit + facts.calibration + facts.search + facts.test) * pixels
    images = READ * all_images if on_cpu else evaluated * pixels

    precisions = {settings.precision, "float32"}  # a sample of the cells is evaluated again in float32
    itemsizes = [PRECISIONS[name].itemsize for name in precisions]
    models = 2 * sizes.state + sum(
        sizes.state * size // 4 * (2 if evaluated > facts.test and size == min(itemsizes) else 1) for size in itemsizes
    )
    inputs = sum(n * pixels * size for size in itemsizes for n in {facts.test, evaluated - facts.test}
                 if n * pixels * size <= KEPT_INPUT)  # fmt: skip
    draw = max((4 * c.calibration.images * pixels for c in cells), default=0)
    batch = max((min(c.calibration.batch, c.calibration.images) for c in cells), default=0)
    held = {"images": images + inputs + draw, "models": models, "buffers": BUFFERS if on_cpu else 0}

    unit = FLOAT64 * sizes.units
    pruned = [cell for cell in cells if not cell.is_dense]
    scorers = [registry.get("scorer", name) for name in sorted({cell.scorer.name for cell in pruned})]
    corrections = [registry.get("correction", name) for name in sorted({cell.correction.name for cell in cells})]
    fused = any(plugin.fuses_features for plugin in scorers)
    gradients = any(plugin.gradients for plugin in scorers)
    repairs = {cell.correction.name for cell in cells} | {cell.recalibration.name for cell in cells}
    maps = (KEPT + FEATURES * fused) * unit if pruned else 0
    orders = maps + (SORTING + SETTLING * gradients) * unit if pruned else 0

    stages = {
        "evaluating": {
            **held, "scores and orders": maps,
            "activations": min(settings.batch, facts.test) * max(sizes.evaluation, sizes.forward),
        },
        "building masks": {**held, "scores and orders": orders},
        "scoring": {
            **held, "scores and orders": maps,
            "activations": batch * (sizes.backward if gradients else sizes.forward),
        },
    }  # fmt: skip
    if on_cpu:
        stages["reading the images"] = {"images": READING * all_images}
    if recipe is not None:
        moments = 2 if recipe.optimizer == "adamw" else 1
        per_image = sizes.training + (1 + FLOAT) * pixels  # including the image itself
        stages["training"] = {
            "images": images if on_cpu else facts.fit * pixels,
            "models": (3 + moments) * sizes.state,  # weights, gradients, moments and the step
            "activations": round(min(recipe.batch, facts.fit) * per_image * (HOLES if on_cpu else 1)),
            "buffers": BUFFERS if on_cpu else 0,
        }
    if settings.measured:  # only in the first run
        tried = max(int(name.split()[-1]) for name in settings.measured)
        stages["timing settings"] = {
            "images": images, "models": 8 * sizes.state, "activations": tried * sizes.forward,
        }  # fmt: skip
    if repairs - {"none"}:
        stages["repairing"] = {**held, "scores and orders": maps, "activations": batch * sizes.forward}
    for stage, plugins in (("repairing", corrections), ("scoring", scorers)):
        most = max((plugin.moments for plugin in plugins), default=0)
        if most and sizes.hessians:
            largest = max(sizes.hessians)
            stages[stage]["Hessians"] = max(largest, min(sum(sizes.hessians), most)) + INVERTING * largest
    return stages
