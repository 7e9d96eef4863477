"""Networks for images of 32x32 pixels that the measurement names in a study; their weights are random."""

from __future__ import annotations

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def resnet18(num_classes: int = 10, in_chans: int = 3) -> nn.Module:
    """Build timm's ResNet-18 with a first convolution of 3x3, stride 1, and without the first pooling."""
    model: nn.Module = timm.create_model("resnet18", num_classes=num_classes, in_chans=in_chans)
    model.conv1 = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def vit_small4(num_classes: int = 10, in_chans: int = 3, img_size: int = 32) -> nn.Module:
    """Build ViT-Small with patches of 4x4 pixels."""
    model: nn.Module = VisionTransformer(
        img_size=img_size,
        patch_size=4,
        in_chans=in_chans,
        num_classes=num_classes,
        embed_dim=384,
        depth=12,
        num_heads=6,
    )
    return model
