"""Time the candidates of a search one by one and with stacked weights, as a ratio in one run.

``python tests/slow/measure_stacked.py [cpu|cuda]`` prints, for the small networks, milliseconds per candidate and how
many times as fast stacking is; the first run of a study on a GPU measures the same (`bench.run.settings`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from bench.core.types import Settings
from bench.data.dataset import ImageSet
from bench.measure.evaluator import STACKED_MODELS, Evaluator
from bench.models.cifar import cifar_resnet20
from bench.models.digits import digits_cnn, digits_vit
from bench.study.spec import Normalisation

REPEATS = 3


def measure(
    network: nn.Module, channels: int, size: int, images: int, candidates: int, device: str
) -> tuple[float, float]:
    """Return seconds per candidate, one by one and stacked; the best of `REPEATS` after one to warm up."""
    generator = torch.Generator().manual_seed(0)
    shape = (images, channels, size, size)
    split = ImageSet(
        torch.randint(256, shape, generator=generator, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
    )
    scale = Normalisation(mean=(0.5,) * channels, std=(0.25,) * channels)
    settings = Settings("float32", "contiguous", 1024, device, torch.get_num_threads())
    network = network.eval().to(device)

    def best(stack: int) -> float:
        evaluator = Evaluator(network, split, scale, settings)
        evaluator.stack = stack
        run: Callable[[], object] = lambda: evaluator.evaluate_all([network] * candidates)  # noqa: E731
        run()
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times) / candidates

    return best(1), best(STACKED_MODELS)


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    for name, network, channels, size, images, candidates in (
        ("digits_cnn", digits_cnn(), 1, 8, 150, 30),
        ("digits_vit", digits_vit(), 1, 8, 150, 30),
        ("cifar_resnet20", cifar_resnet20(), 3, 32, 500, 4 if device == "cpu" else 30),
    ):
        alone, stacked = measure(network, channels, size, images, candidates, device)
        print(
            f"{name}: {1e3 * alone:.2f} ms alone, {1e3 * stacked:.2f} ms stacked, {alone / stacked:.2f} times as fast"
        )
