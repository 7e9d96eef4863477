"""The CIFAR ResNets of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

A 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, global average pooling, a linear
layer: 6n + 2 layers. Shortcuts are of option A: the identity, subsampled and padded with zero channels.
Modules are named as in published checkpoints of this family (``layer1.0.conv1``, ``linear``).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut without parameters.

    Parameters
    ----------
    in_planes, planes : int
        Channels of input and output.
    stride : int
        Stride of the first convolution and of the shortcut.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride = stride
        self.padding = (planes - in_planes) // 2  # zero channels on either side

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_planes, h, w)`` to ``(n, planes, h / stride, w / stride)``."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.padding:  # padding by zero channels would copy the tensor, in the backward pass too
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(out + shortcut)


class CifarResNet(nn.Module):
    """A ResNet for small images.

    Parameters
    ----------
    blocks : int
        Blocks in each of the three stages; the depth is ``6 * blocks + 2``.
    num_classes, in_chans : int
        Size of output and input.

    Examples
    --------
    >>> net = CifarResNet(blocks=3, num_classes=10)
    >>> sum(p.numel() for p in net.parameters())  # "0.27M" in the paper's table 6
    269722
    """

    def __init__(self, blocks: int, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)  # He et al. 2015, as the paper

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_chans, h, w)`` to logits ``(n, num_classes)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _stage(in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_planes, planes, stride)
    return nn.Sequential(first, *(BasicBlock(planes, planes, 1) for _ in range(blocks - 1)))


def cifar_resnet20(num_classes: int = 10, in_chans: int = 3) -> CifarResNet:
    """ResNet-20 for CIFAR, 0.27 M parameters."""
    return CifarResNet(3, num_classes, in_chans)


def cifar_resnet32(num_classes: int = 10, in_chans: int = 3) -> CifarResNet:
    """ResNet-32 for CIFAR, 0.46 M parameters."""
    return CifarResNet(5, num_classes, in_chans)


def cifar_resnet44(num_classes: int = 10, in_chans: int = 3) -> CifarResNet:
    """ResNet-44 for CIFAR, 0.66 M parameters."""
    return CifarResNet(7, num_classes, in_chans)


def cifar_resnet56(num_classes: int = 10, in_chans: int = 3) -> CifarResNet:
    """ResNet-56 for CIFAR, 0.85 M parameters."""
    return CifarResNet(9, num_classes, in_chans)


def cifar_resnet110(num_classes: int = 10, in_chans: int = 3) -> CifarResNet:
    """ResNet-110 for CIFAR, 1.7 M parameters."""
    return CifarResNet(18, num_classes, in_chans)
