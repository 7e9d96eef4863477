"""Print how much smaller and faster channel-pruned networks are without their pruned channels (docs/COMPACT.md).

python -m tests.slow.measure_compact [SPARSITY [THREADS [NETWORK ...]]]

Random weights; a random share of the channels of each layer is pruned. Masked and compact network alternate.
"""

from __future__ import annotations

import sys

import timm
import torch
from torch import nn

from bench.models.cifar import cifar_resnet20
from bench.models.digits import digits_cnn
from bench.models.macs import count_macs
from bench.models.masking import apply_masks
from bench.models.removal import Removal, remove_channels
from bench.models.tensors import MaskSet
from bench.models.units import find_units
from bench.models.vgg import vgg16_bn_cifar
from bench.run.compact import largest_difference, median_latencies

#: Name -> how it is built, channels and pixels of its images.
NETWORKS = {
    "digits_cnn": (digits_cnn, 1, 8),
    "cifar_resnet20": (cifar_resnet20, 3, 32),
    "vgg16_bn_cifar": (vgg16_bn_cifar, 3, 32),
    "resnet18": (lambda: timm.create_model("resnet18"), 3, 224),
    "resnet50": (lambda: timm.create_model("resnet50"), 3, 224),
    "vit_tiny_patch16_224": (lambda: timm.create_model("vit_tiny_patch16_224"), 3, 224),
}


def masked_network(name: str, sparsity: float) -> tuple[nn.Module, torch.Tensor]:
    """Return a network with random weights and statistics, a share of its channels masked, and two images."""
    make, channels, pixels = NETWORKS[name]
    torch.manual_seed(0)
    net, generator = make().eval(), torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.weight.data.uniform_(0.5, 1, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    example = torch.rand(2, channels, pixels, pixels, generator=generator)
    units = find_units(net, "channel", (), example)
    kept = {layer.name: torch.rand(layer.size, generator=generator) >= sparsity for layer in units.layers}
    apply_masks(net, units, MaskSet(units, kept))
    return net, example


def compact_macs(removal: Removal, example: torch.Tensor) -> float:
    """Return the MACs of the compact network."""
    module = removal.compact.module()
    return count_macs(torch.fx.GraphModule(module, module.graph), example).total


def main() -> None:
    """Print a line per network."""
    sparsity = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print("network | dense MACs | theoretical | real | parameters | batch 1 (ms) | batch 128 (ms) | difference | stay")
    for name in sys.argv[3:] or NETWORKS:
        net, example = masked_network(name, sparsity)
        removal = remove_channels(net, example)
        macs = count_macs(net, example)
        masked, compact = removal.masked.module(), removal.compact.module()
        images = torch.rand(128, *example.shape[1:])
        before, after = (sum(p.numel() for p in one.parameters()) for one in (net, compact))
        left = compact_macs(removal, example)
        latency = [median_latencies((masked, compact), images[:batch], rounds=3) for batch in (1, 128)]
        print(
            f"{name} | {macs.total / 1e6:.1f} M | {macs.speedup:.2f} | {macs.total / left:.2f} | "
            f"{before / after:.2f} | " + " | ".join(f"{a / b:.2f} ({a:.2f} / {b:.2f})" for a, b in latency)
            + f" | {largest_difference(net, compact, images[:6]):.1e} | {sum(one.zero for one in removal.layers)}",
            flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
