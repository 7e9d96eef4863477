"""Accuracy, loss and correctness bits of models of one architecture on one split."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from bench.core.errors import CellError, Deadline
from bench.core.types import Settings
from bench.data.dataset import ImageSet
from bench.measure.cuda_graph import GraphedForward
from bench.models.view import MEMORY_FORMATS as MEMORY_FORMATS
from bench.models.view import is_out_of_memory, normalise, set_memory_format
from bench.study.spec import Normalisation

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_LOG = logging.getLogger(__name__)
#: Only networks with fewer parameters are evaluated with stacked weights: larger ones keep a GPU busy alone.
STACKED_PARAMETERS = 1_000_000
#: Models in a stack.
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
    correct : bytes
        One bit per image, in order, packed as by `numpy.packbits`.
    images : int
        Number of images.
    batch : int
        Images in a batch at the end.
    batch_halved : int
        How often the batch of the settings has been halved for memory by then.
    """

    accuracy: float
    loss: float
    correct: bytes
    images: int
    batch: int
    batch_halved: int

    def refuse_not_finite(self) -> Evaluation:
        """Return the evaluation itself; raise `CellError` if its loss is NaN or infinite."""
        if not math.isfinite(self.loss):
            raise CellError(f"the loss is {self.loss}: some logits are NaN or infinite")
        return self


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
        Device, precision, memory format, batch, and how passes are made. A batch halved for memory stays halved.
    kept_input : int
        Images are normalised once if they fit in so many bytes, else batch by batch at every evaluation.

    Attributes
    ----------
    stack : int
        Models that are evaluated at once.
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
        self.stack = STACKED_MODELS if settings.passes == "stacked" and is_small(model) else 1
        self._graphed = settings.passes == "graph"
        self._call = self._forward_call()

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
        return self._evaluate(model.state_dict(), deadline).refuse_not_finite()

    def evaluate_all(self, models: Iterable[nn.Module], deadline: float | None = None) -> list[Evaluation]:
        """Evaluate several models, `stack` at a time; each is read before the next one is requested.

        A stack with fewer models is filled up, so that the result of a model does not depend on the others. The loss
        of a model with NaN or infinite logits is NaN or infinite.

        Raises
        ------
        CellError
            If memory does not suffice for a single image.
        Deadline
            If the deadline has passed.
        """
        if self.stack == 1:
            return [self._evaluate(model.state_dict(), deadline) for model in models]
        copies = ({name: t.clone() for name, t in model.state_dict().items()} for model in models)
        found: list[Evaluation] = []
        while states := list(itertools.islice(copies, self.stack)):
            found += self._fitting(states, deadline)
        return found

    def _evaluate(self, state: Mapping[str, Tensor], deadline: float | None) -> Evaluation:
        self._load(state)
        losses, hits = [], []
        done = 0
        while done < len(self._images):
            _check_deadline(deadline, done, len(self._images))
            logits = self._forward(done)
            labels = self._labels[done : done + len(logits)]
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            hits.append(logits.argmax(dim=1) == labels)
            done += len(logits)
        return self._evaluation(torch.stack(losses).sum(), torch.cat(hits))

    def _evaluation(self, loss: Tensor, hits: Tensor) -> Evaluation:
        """Read the summed loss and the flags of all images from the device."""
        images = len(hits)
        accuracy = int(hits.count_nonzero()) / images
        correct = pack_bits(hits).cpu().numpy().tobytes()
        return Evaluation(accuracy, float(loss) / images, correct, images, self.batch, self._halved)

    def _fitting(self, states: list[dict[str, Tensor]], deadline: float | None) -> list[Evaluation]:
        """Evaluate the states of models in stacks that fit in memory, one by one where a network cannot be stacked."""
        if self.stack == 1:
            return [self._evaluate(state, deadline) for state in states]
        try:
            return self._stacked(states, deadline)
        except Deadline:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self.stack //= 2
            else:
                self.stack = 1
                _LOG.warning("models are evaluated one by one, since their stack failed: %s", error)
        parts = [states[start : start + self.stack] for start in range(0, len(states), self.stack)]
        return [found for part in parts for found in self._fitting(part, deadline)]

    @torch.inference_mode()
    def _stacked(self, states: list[dict[str, Tensor]], deadline: float | None) -> list[Evaluation]:
        filled = states + states[-1:] * (self.stack - len(states))
        stacked = {n: torch.stack([s[n] for s in filled]).to(self._device, t.dtype) for n, t in self._state.items()}
        forward = vmap(
            lambda state, x: functional_call(self._network, state, (x,), tie_weights=False), in_dims=(0, None)
        )
        losses, hits = torch.zeros(len(filled), dtype=torch.float64, device=self._device), []
        step = max(1, self.batch // len(filled))  # as many activations as one model has with a full batch
        for start in range(0, len(self._images), step):
            _check_deadline(deadline, start, len(self._images))
            with _Float32BatchNorm():
                logits = forward(stacked, self._input(start, step)).double()
            labels = self._labels[start : start + step].expand(len(filled), -1)
            losses += F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none").sum(dim=1)
            hits.append(logits.argmax(dim=-1) == labels)
        found = zip(losses, torch.cat(hits, dim=1), states, strict=False)
        return [self._evaluation(loss, flags) for loss, flags, _ in found]

    @torch.no_grad()
    def _load(self, source: Mapping[str, Tensor]) -> None:
        """Copy the state of a model, converting precision; `load_state_dict` takes several times as long."""
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
                logits = self._call(self._input(start, self.batch)).double()
            except Exception as error:
                if not is_out_of_memory(error):
                    if not self._graphed:
                        raise
                    self._graphed = False
                    _LOG.warning("single passes are used, since no CUDA graph could be captured: %s", error)
                    self._call = self._network
                    continue
                if self.batch == 1:
                    raise CellError("out of memory with a batch of one image") from error
            else:
                return logits
            self._halve()  # outside the handler: its traceback would keep the tensors alive

    def _forward_call(self) -> Callable[[Tensor], Tensor]:
        return GraphedForward(self._network) if self._graphed else self._network

    def _halve(self) -> None:
        self._halved += 1
        self._call = self._forward_call()  # without the memory of the graphs
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _input(self, start: int, count: int) -> Tensor:
        """Normalised images from `start` on, in the network's precision and memory format."""
        if self._inputs is not None:
            return self._inputs[start : start + count]
        return self._prepare(self._images[start : start + count])


def is_small(model: nn.Module) -> bool:
    """Whether a network is small enough for its weights to be stacked (`STACKED_PARAMETERS`)."""
    return sum(parameter.numel() for parameter in model.parameters()) < STACKED_PARAMETERS


def pack_bits(flags: Tensor) -> Tensor:
    """Pack boolean flags into bytes on their device, the first flag in the highest bit, as `numpy.packbits` does.

    Examples
    --------
    >>> pack_bits(torch.tensor([True, False, True, False, False, False, False, True, True]))
    tensor([161, 128], dtype=torch.uint8)
    """
    padded = F.pad(flags.to(torch.uint8), (0, -len(flags) % 8)).view(-1, 8)
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=flags.device)
    return (padded << shifts).sum(dim=1, dtype=torch.uint8)


class _Float32BatchNorm(TorchFunctionMode):
    """Converts the input of a BatchNorm in float32, and its output back: vmap has no rule for two precisions."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm and args[0].dtype == torch.bfloat16:
            return func(args[0].float(), *args[1:], **(kwargs or {})).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


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
