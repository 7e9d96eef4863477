"""Small networks for the embedded digits: with BatchNorm, with LayerNorm and attention, and of linear layers alone."""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class DigitsCNN(nn.Module):
    """Four 3x3 convolutions with BatchNorm and ReLU, the second and fourth of stride 2.

    Parameters
    ----------
    num_classes, in_chans : int
        Size of output and input.
    """

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        channels, layers = in_chans, []
        for planes, stride in ((16, 1), (32, 2), (64, 1), (64, 2)):
            layers += [
                nn.Conv2d(channels, planes, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(planes),
                nn.ReLU(),
            ]
            channels = planes
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_chans, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.linear(self.features(x).mean(dim=(2, 3)))
        return logits


def digits_cnn(num_classes: int = 10, in_chans: int = 1) -> DigitsCNN:
    """Small convolutional net with BatchNorm, 60,048 prunable weights."""
    return DigitsCNN(num_classes, in_chans)


def digits_mlp(num_classes: int = 10, in_chans: int = 1, img_size: int = 8) -> nn.Sequential:
    """Three hidden layers of 128 units with ReLU on the pixels, 40,960 prunable weights."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = in_chans * img_size**2
    for _ in range(3):
        layers += [nn.Linear(inputs, 128), nn.ReLU()]
        inputs = 128
    return nn.Sequential(*layers, nn.Linear(inputs, num_classes))


def digits_vit(num_classes: int = 10, in_chans: int = 1, img_size: int = 8) -> nn.Module:
    """Small Vision Transformer (timm), patches of 2x2 pixels, width 64, 3 blocks."""
    model: nn.Module = VisionTransformer(
        img_size=img_size, patch_size=2, in_chans=in_chans, num_classes=num_classes,
        embed_dim=64, depth=3, num_heads=4, mlp_ratio=2, class_token=False, global_pool="avg",
    )  # fmt: skip
    return model
