"""Forward passes as CUDA graphs: all kernels of a pass are launched by one call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Passes before the capture, in which libraries choose their kernels and allocate their workspaces.
WARM_UP = 3


class GraphedForward:
    """Replays the forward pass of a network, captured once for every shape of its input.

    A replay reads the network's parameters and buffers where they are: a state that is copied into them counts.

    Parameters
    ----------
    network : nn.Module
        In eval mode on a CUDA device; its forward pass does not depend on values of its input.

    Raises
    ------
    RuntimeError
        At the first call, if PyTorch cannot capture the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._captured: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch."""
        if images.shape not in self._captured:
            self._captured[images.shape] = self._capture(images)
        graph, inputs, logits = self._captured[images.shape]
        inputs.copy_(images)
        graph.replay()
        return logits.clone()

    def _capture(self, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        inputs = images.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._network(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits: Tensor = self._network(inputs)
        return graph, inputs, logits
