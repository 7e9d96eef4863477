"""Accuracy, loss and correctness bits of models, and the evaluations that equal masks and repairs share."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.core.errors import CellError, Deadline
from bench.core.freed_memory import FreedMemoryTimer
from bench.core.identity import digest
from bench.core.types import Cell, Settings
from bench.data.dataset import ImageSet
from bench.measure.repair import Repair
from bench.measure.shared import SharedValues
from bench.models.tensors import MaskSet
from bench.models.view import MEMORY_FORMATS as MEMORY_FORMATS
from bench.models.view import is_out_of_memory, normalise, set_memory_format
from bench.study.spec import Normalisation

#: Columns that one evaluation gives to every cell that shares it; next to them, in the notes, `CHANNELS`.
EVALUATED = (
    "accuracy", "loss", "n_test", "correct", "identity_covered", "identity_ratio", "batch", "batch_halved",
)  # fmt: skip
CHANNELS = "channels"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

#: Networks with fewer parameters leave a GPU idle, so that many are evaluated at once, their weights stacked. On a CPU
#: that takes 2 to 3.5 times as long as one after the other (digits nets and ResNet-20, one thread).
STACKED_PARAMETERS = 1_000_000
STACKED_MODELS = 32
#: Images that fit in so many bytes are normalised once, not at every evaluation (all of CIFAR-10's test images do).
KEPT_INPUT = 256 * 2**20


@dataclass(frozen=True)
class Evaluation:
    """What a model does on the test split.

    Attributes
    ----------
    accuracy : float
        Top-1, a fraction.
    loss : float
        Mean cross-entropy in nats, computed in float64 from the logits.
    correct : ndarray of bool
        One flag per test image, in order.
    batch : int
        Images in a batch at the end.
    batch_halved : int
        How often the batch of the settings has been halved for memory by then.
    """

    accuracy: float
    loss: float
    correct: NDArray[np.bool_]
    batch: int
    batch_halved: int


class Evaluator:
    """Evaluates models of one architecture, in the precision and memory format of the settings.

    It holds one copy of the network, into which the state of each model is copied, and the test images
    as uint8 on the device. In bfloat16, parameters and statistics of BatchNorm stay in float32.

    Parameters
    ----------
    model : nn.Module
        The architecture; its weights do not matter.
    test : ImageSet
        Test split.
    normalisation : Normalisation
        The model's.
    settings : Settings
        Device, precision, memory format and batch. A batch halved for memory stays halved.
    kept_input : int
        Images are normalised once if they fit in so many bytes, else batch by batch at every evaluation.
    """

    def __init__(
        self,
        model: nn.Module,
        test: ImageSet,
        normalisation: Normalisation,
        settings: Settings,
        kept_input: int = KEPT_INPUT,
    ) -> None:
        self._device = torch.device(settings.device)
        self._network = prepare_network(model, settings)
        self._state = self._network.state_dict()  # shares the network's storage
        self._images = test.images.to(self._device)
        self._labels = test.labels.to(self._device)
        self._prepare = partial(prepare_images, normalisation=normalisation, settings=settings)
        self._full_batch = settings.batch
        self._halved = 0
        self._inputs: Tensor | None = None
        if test.images.numel() * PRECISIONS[settings.precision].itemsize <= kept_input:
            self._inputs = torch.cat([self._prepare(part) for part in torch.split(self._images, self.batch)])
        small = sum(p.numel() for p in model.parameters()) < STACKED_PARAMETERS
        exact = settings.precision == "float32"  # vmap has no rule for BatchNorm in float32 on inputs in bfloat16
        self.stack = STACKED_MODELS if small and exact and self._device.type == "cuda" else 1

    @property
    def batch(self) -> int:
        """Images in a batch."""
        return max(1, self._full_batch >> self._halved)

    def evaluate(self, model: nn.Module, deadline: float | None = None) -> Evaluation:
        """Evaluate `model`, which is left as it is.

        Parameters
        ----------
        model : nn.Module
            Of the evaluator's architecture.
        deadline : float, optional
            Latest value of `time.monotonic`, checked before each batch.

        Raises
        ------
        CellError
            If logits are NaN or infinite, or memory does not suffice for a single image.
        Deadline
            If the deadline has passed.
        """
        self._load(model)
        losses, hits = [], []
        done = 0
        while done < len(self._images):
            _check_deadline(deadline, done, len(self._images))
            logits = self._forward(done)
            labels = self._labels[done : done + len(logits)]
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            hits.append(logits.argmax(dim=1) == labels)
            done += len(logits)
        loss = float(torch.stack(losses).sum()) / done
        if not math.isfinite(loss):
            raise CellError(f"the loss is {loss}: some logits are NaN or infinite")
        correct = torch.cat(hits).cpu().numpy()
        return Evaluation(float(correct.mean()), loss, correct, self.batch, self._halved)

    def accuracies(self, models: Iterable[nn.Module], deadline: float | None = None) -> list[float]:
        """Evaluate several models, `stack` at a time; each is read before the next one is requested.

        Returns
        -------
        list of float
            Top-1 accuracies, fractions.

        Raises
        ------
        CellError, Deadline
            As `evaluate`.
        """
        if self.stack == 1:
            return [self.evaluate(model, deadline).accuracy for model in models]
        copies = ({name: t.clone() for name, t in model.state_dict().items()} for model in models)
        found: list[float] = []
        while states := list(itertools.islice(copies, self.stack)):
            found += self._fitting(states, deadline)
        return found

    def _fitting(self, states: list[dict[str, Tensor]], deadline: float | None) -> list[float]:
        """Evaluate stacked models, half of them at a time or with half the batch where memory does not suffice."""
        try:
            return self._stacked(states, deadline)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(states) == 1 and self.batch == 1:
                raise CellError("out of memory with a batch of one image") from error
        if len(states) == 1:
            self._halve()
            return self._fitting(states, deadline)
        self.stack = half = len(states) // 2
        return self._fitting(states[:half], deadline) + self._fitting(states[half:], deadline)

    @torch.inference_mode()
    def _stacked(self, states: list[dict[str, Tensor]], deadline: float | None) -> list[float]:
        stacked = {n: torch.stack([s[n] for s in states]).to(self._device, t.dtype) for n, t in self._state.items()}
        forward = vmap(lambda state, x: functional_call(self._network, state, (x,)), in_dims=(0, None))
        hits = torch.zeros(len(states), dtype=torch.int64, device=self._device)
        step = max(1, self.batch // len(states))  # as many activations as one model has with a full batch
        for start in range(0, len(self._images), step):
            _check_deadline(deadline, start, len(self._images))
            logits = forward(stacked, self._input(start, step))
            if not bool(logits.isfinite().all()):
                raise CellError("some logits of a candidate are NaN or infinite")
            hits += (logits.argmax(dim=-1) == self._labels[start : start + step]).sum(dim=1)
        return [int(count) / len(self._images) for count in hits]

    @torch.no_grad()
    def _load(self, model: nn.Module) -> None:
        """Copy the state of `model`, converting precision; `load_state_dict` takes several times as long."""
        source = model.state_dict()
        if source.keys() != self._state.keys():
            odd = ", ".join(sorted(source.keys() ^ self._state.keys())[:3])
            raise CellError(f"the model has other parameters or buffers than its architecture: {odd}")
        for name, tensor in self._state.items():
            tensor.copy_(source[name])

    @torch.inference_mode()
    def _forward(self, start: int) -> Tensor:
        """Logits of the batch that begins at image `start`, float64; the batch is halved until it fits."""
        while True:
            try:
                logits: Tensor = self._network(self._input(start, self.batch)).double()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch == 1:
                    raise CellError("out of memory with a batch of one image") from error
            else:
                return logits
            self._halve()  # outside the handler: its traceback would keep the tensors alive

    def _halve(self) -> None:
        self._halved += 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _input(self, start: int, count: int) -> Tensor:
        """Normalised images from `start` on, in the network's precision and memory format."""
        if self._inputs is not None:
            return self._inputs[start : start + count]
        return self._prepare(self._images[start : start + count])


def prepare_network(model: nn.Module, settings: Settings) -> nn.Module:
    """Return a copy in eval mode, on the device, in the precision and memory format of the settings.

    BatchNorm stays in float32.
    """
    network = copy.deepcopy(model).to(settings.device, PRECISIONS[settings.precision])
    set_memory_format(network, settings.memory_format)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.float()
    return network


def prepare_images(images: Tensor, normalisation: Normalisation, settings: Settings) -> Tensor:
    """Return uint8 images normalised, on the device, in the precision and memory format of the settings."""
    x = normalise(images, normalisation, torch.device(settings.device))
    return x.to(PRECISIONS[settings.precision], memory_format=MEMORY_FORMATS[settings.memory_format])


def _check_deadline(deadline: float | None, done: int, images: int) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise Deadline(f"evaluation passed its deadline after {done} of {images} images")


def evaluation_id(cell: Cell, mask: str) -> str:
    """Return the hash of all that an evaluation depends on.

    The draw of a cell without repair has no effect on it and is left out.

    Parameters
    ----------
    cell : Cell
        Its group, repair, draw and precision are used.
    mask : str
        Hash of the mask set; ``dense`` for the dense model.
    """
    repaired = cell.correction.name != "none" or cell.recalibration.name != "none"
    return digest([
        cell.group, mask, cell.correction.identity(), cell.recalibration.identity(), cell.precision,
        [cell.calibration.draw, cell.calibration.images, cell.calibration.batch] if repaired else None,
    ])  # fmt: skip


class Evaluations:
    """The evaluations of a group: cells with equal masks and equal repair share one.

    Parameters
    ----------
    shared : SharedValues
        Of the group.
    repair : Repair
        Makes the model of a cell.

    Attributes
    ----------
    deadline : float or None
        Latest value of `time.monotonic` for the evaluation in progress.
    """

    def __init__(self, shared: SharedValues, repair: Repair) -> None:
        self.deadline: float | None = None
        self._shared, self._repair = shared, repair
        self._known: dict[str, Mapping[str, Any]] = {}
        self._evaluators: dict[tuple[str, str], Evaluator] = {}
        self._freed_memory = FreedMemoryTimer()

    def remember(self, row: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Keep the evaluation of a stored row, so that it is not repeated."""
        if row["evaluation"]:
            self._known[row["evaluation"]] = {name: row[name] for name in EVALUATED} | {CHANNELS: notes.get(CHANNELS)}

    def of(self, cell: Cell, masks: MaskSet | None, evaluation: str) -> Mapping[str, Any]:
        """Return the evaluation of that id, made on the test split unless it is known.

        Returns
        -------
        mapping
            The columns `EVALUATED` and, for the notes, `CHANNELS`.
        """
        counters = self._shared.counters
        if evaluation in self._known:
            counters["shared"] += 1
        else:
            self._known[evaluation] = self.evaluate(cell, masks, cell.precision, compare_channels=True)
            counters["evaluations"] += 1
        return self._known[evaluation]

    def evaluate(
        self, cell: Cell, masks: MaskSet | None, precision: str, *, compare_channels: bool = False
    ) -> Mapping[str, Any]:
        """Repair the working model and evaluate it on the test split, whether or not that is known."""
        repaired = self._repair.apply(cell, masks, compare_channels=compare_channels)
        self._shared.counters["forward_passes"] += len(self._shared.dataset.test)
        self._freed_memory.return_if_due()
        result = self._evaluator("test", precision).evaluate(repaired.model, deadline=self.deadline)
        return {
            "accuracy": result.accuracy, "loss": result.loss, "n_test": len(result.correct),
            "correct": np.packbits(result.correct).tobytes(), "identity_covered": repaired.identity_covered,
            "identity_ratio": repaired.identity_ratio, "batch": result.batch, "batch_halved": result.batch_halved,
            CHANNELS: repaired.channels,
        }  # fmt: skip

    def search_accuracies(self, cell: Cell, candidates: Iterable[MaskSet]) -> list[float]:
        """Return accuracies on the search split, each mask set under the repair of `cell`."""

        def models() -> Iterator[nn.Module]:
            for masks in candidates:
                repaired = self._repair.apply(cell, masks)
                self._shared.counters["search_evaluations"] += 1
                yield repaired.model

        return self._evaluator("search", cell.precision).accuracies(models(), self.deadline)

    def _evaluator(self, split: str, precision: str) -> Evaluator:
        if (split, precision) not in self._evaluators:
            shared = self._shared
            settings = replace(shared.settings, precision=precision)
            images = {"test": shared.dataset.test, "search": shared.dataset.search}[split]
            self._evaluators[split, precision] = Evaluator(
                shared.dense.model, images, shared.dense.normalisation, settings
            )
        return self._evaluators[split, precision]


def zero_share(model: nn.Module) -> float:
    """Return the share of zeros over all parameters of a model; biases and normalisation are parameters, too.

    Examples
    --------
    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    >>> zero_share(layer)
    0.75
    """
    parameters = list(model.parameters())
    left = sum(int(parameter.count_nonzero()) for parameter in parameters)
    return 1 - left / sum(parameter.numel() for parameter in parameters)


def emptied_layers(masks: MaskSet) -> tuple[str, ...]:
    """Names of the layers that keep no unit."""
    return tuple(name for name, mask in masks.items() if not mask.any())
