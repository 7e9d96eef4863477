"""Networks of full size without their pruned channels: they load without their class and equal the masked ones."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bench.models.macs import count_macs
from bench.models.removal import remove_channels
from bench.run.compact import TOLERANCE, largest_difference
from tests.slow.measure_compact import NETWORKS, compact_macs, masked_network

pytestmark = pytest.mark.slow

#: Networks without coupled channels: every MAC that the masks save in theory is saved.
UNCOUPLED = {"digits_cnn", "vgg16_bn_cifar", "vit_tiny_patch16_224"}
FOLLOW = """\
import sys, torch
net = torch.export.load("net.pt2").module()
images = torch.load("images.pt")
torch.save([net(images[:batch]) for batch in (1, 3)], "logits.pt")
assert not {name.split(".")[0] for name in sys.modules} & {"bench", "analysis", "prunebench", "timm"}
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_equal(name, tmp_path):
    net, example = masked_network(name, 0.8 if name == "cifar_resnet20" else 0.5)
    removal = remove_channels(net, example)
    images = torch.rand(6, *example.shape[1:])
    assert largest_difference(net, removal.compact.module(), images) <= TOLERANCE
    macs, left = count_macs(net, example), compact_macs(removal, example)
    assert left < macs.total
    assert (left == macs.remaining) == (name in UNCOUPLED)

    torch.export.save(removal.compact, tmp_path / "net.pt2")
    torch.save(images, tmp_path / "images.pt")
    done = subprocess.run([sys.executable, "-c", FOLLOW], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        for batch, logits in zip((1, 3), torch.load(tmp_path / "logits.pt"), strict=True):
            expected = net(images[:batch])
            assert float((logits - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())
