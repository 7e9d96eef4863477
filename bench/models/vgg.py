"""VGG-16 with BatchNorm for small images.

The convolutions of configuration D of Simonyan and Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", ICLR 2015, then global average pooling and one linear layer in place of the
three that hold most of the weights of the original, as usual for CIFAR.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

#: Channels of the convolutions of each stage; a stage ends with a 2x2 maximum pooling.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVgg(nn.Module):
    """VGG-16 features, a global mean, a linear layer; `features` has the names of timm's ``vgg16_bn``.

    Parameters
    ----------
    num_classes, in_chans : int
        Size of output and input. Images are of at least 32 x 32 pixels.
    """

    def __init__(self, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, before in zip(STAGES, (in_chans, *(s[-1] for s in STAGES)), strict=False):
            for inputs, outputs in pairwise((before, *stage)):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(STAGES[-1][-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")  # as timm's
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_chans, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.linear(self.features(x).mean(dim=(2, 3)))
        return logits


def vgg16_bn_cifar(num_classes: int = 10, in_chans: int = 3) -> CifarVgg:
    """VGG-16 with BatchNorm and a single linear layer, 14.7 M parameters.

    Examples
    --------
    >>> sum(p.numel() for p in vgg16_bn_cifar().parameters())
    14728266
    """
    return CifarVgg(num_classes, in_chans)
