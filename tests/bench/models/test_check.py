"""Networks that a run could not compute with, or not rightly, are refused in one line before anything is trained."""

import random
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from bench.core.errors import UserError
from bench.core.registry import Plugin, Registry
from bench.core.types import DataFacts
from bench.models.check import check_network
from bench.study.spec import ModelSpec

FACTS = DataFacts(
    hash="", image_size=(16, 16), in_chans=3, num_classes=4, fit=1, search=1, test=1, calibration_images=1,
    calibration_batch=1, calibration=1,
)  # fmt: skip


def network(build, tmp_path=None, **spec):
    registry = Registry([Plugin("model", "net", build)])
    return check_network(ModelSpec(name="net", **spec), registry, FACTS, tmp_path)


class Net(nn.Module):
    """A convolution, a global mean and a linear layer; `route` says how its forward goes."""

    def __init__(self, route=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 4)
        self.route = route

    def forward(self, x):
        if self.route is not None:
            return self.route(self, x)
        return self.head(self.conv(x).mean(dim=(2, 3)))


def sparse(net, x):
    return (net.head.weight.to_sparse() @ net.conv(x).mean(dim=(2, 3)).T).T


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        return nn.Sequential(nn.Flatten(), torch.jit.script(nn.Linear(768, 4)))


def keeps(net, x):
    net.features = net.conv(x)
    return net.head(net.features.mean(dim=(2, 3)))


def keeps_in_a_list(net, x):
    net.seen = [*getattr(net, "seen", []), net.conv(x)]
    return net.head(net.seen[-1].mean(dim=(2, 3)))


def functional_dropout(net, x):
    return net.head(F.dropout(net.conv(x).mean(dim=(2, 3))))


def counts(net, x):
    net.passes += 1
    return net.head(net.conv(x).mean(dim=(2, 3)))


def with_counter():
    net = Net(counts)
    net.register_buffer("passes", torch.zeros(()))
    return net


def wrapped(wrap, layer="conv"):
    def build():
        net = Net()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch announces the end of the old weight_norm
            wrap(getattr(net, layer))
        return net

    return build


class Stateful(Net):
    def get_extra_state(self):
        return {"epoch": 3}


class System(Net):
    """Its weights come from the operating system's random numbers."""

    def __init__(self):
        super().__init__()
        self.conv.weight.data[0, 0, 0, 0] = random.SystemRandom().random()


class NotCopied(Net):
    def __deepcopy__(self, memo):
        raise TypeError("cannot copy a lock")


class OnlyInTraining(Net):
    def forward(self, x):
        if self.training:
            raise RuntimeError("no loss given")
        return super().forward(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Net(keeps), r"keeps a tensor on self\.features: .*use a local variable"),
        (lambda: Net(keeps_in_a_list), r"keeps a tensor on self\.seen"),
        (
            wrapped(weight_norm),
            r"layer conv: .*weight_norm: call torch\.nn\.utils\.remove_weight_norm\(layer, 'weight'\)",
        ),
        (wrapped(spectral_norm), r"layer conv: .*spectral_norm: call torch\.nn\.utils\.remove_spectral_norm"),
        (
            wrapped(lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "head"),
            r"layer head: .*torch\.nn\.utils\.prune: call torch\.nn\.utils\.prune\.remove\(layer, 'weight'\)",
        ),
        (
            lambda: Net(lambda net, x: [net.head(net.conv(x).mean((2, 3)))]),
            r"in eval mode .* a list of 1; .*\(images, 4\)",
        ),
        (
            lambda: Net(lambda net, x: (net.head(net.conv(x).mean((2, 3))), None)),
            "a tuple of 2; it must return the logits",
        ),
        (lambda: Net(lambda net, x: {"logits": net.head(net.conv(x).mean((2, 3)))}), "a dict with the keys 'logits'"),
        (lambda: Net(lambda net, x: net.conv(x)), r"a tensor of shape \(2, 6, 14, 14\)"),
        (Stateful, "layer the model itself: Stateful has get_extra_state"),
        (
            lambda: Net(functional_dropout),
            r"passes over the same images differ in its own forward: .*dropout.*training=self",
        ),
        (lambda: nn.Sequential(Net(functional_dropout)), r"differ in 0: "),
        (with_counter, "changes its own parameters or buffers in eval mode"),
        (System, r"two networks built with one seed differ in conv\.weight"),
        (NotCopied, "copy.deepcopy, which every cell needs, cannot copy it: cannot copy a lock"),
        (OnlyInTraining, "it fails in training mode: no loss given"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 4)),
            r"fails on images of shape \(3, 16, 16\) in layer 1: .*args",
        ),
        (
            lambda: Net(sparse),
            "its forward pass cannot be traced: Cannot access storage of SparseTensorImpl; compute with",
        ),
        (
            scripted,
            "layer 1: TorchScript compiled it, so its weights cannot be replaced; return the module that was",
        ),
        (lambda: 1 / 0, "cannot be built with no arguments: division by zero"),
    ],
)
def test_refused_in_one_line(build, message):
    with pytest.raises(UserError, match=message) as refused:
        network(build)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count("model 'net'") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"in_chans": 3}, r"model 'digits_cnn': it fails on images of shape \(1, 8, 8\) in layer features.0"),
        ({"num_classes": 7}, r"model 'digits_cnn': .*shape \(2, 7\).* for the 10 classes of the data set"),
    ],
)
def test_arguments_that_do_not_fit_the_data(digits, registry, args, message):
    with pytest.raises(UserError, match=message):
        check_network(ModelSpec(name="digits_cnn", args=args), registry, digits)


def test_a_network_for_another_size_of_image_names_the_argument():
    with pytest.raises(UserError, match=r"model 'net': .*args: \{img_size: 16\}"):
        network(lambda: timm.create_model("vit_tiny_patch16_224", num_classes=4, depth=1))


def test_auxiliary_outputs_of_training_are_named():
    def build(num_classes):
        return torchvision.models.googlenet(num_classes=num_classes, aux_logits=True, init_weights=False)

    facts = DataFacts(**{**vars(FACTS), "image_size": (64, 64)})
    found = check_network(ModelSpec(name="net"), Registry([Plugin("model", "net", build)]), facts)
    assert any(
        "in training mode its forward returns a tuple of 3; the main output is trained" in n for n in found.notes
    )


def test_batchnorm_without_statistics_is_named():
    def build():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveAvgPool2d(1),
                             nn.Flatten(), nn.Linear(4, 4))  # fmt: skip

    assert any(
        "without running statistics (1): predictions depend on the other images" in n for n in network(build).notes
    )


def test_parametrised_weights_are_left_dense_and_named():
    found = network(wrapped(parametrizations.weight_norm))
    (conv,) = [layer for layer in found.layers if layer["layer"].startswith("conv.")]
    assert conv["dense"]["weight"].startswith("computed weight")


class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(4))


class FromNumPy(Net):
    def __init__(self):
        super().__init__()
        weight = torch.from_numpy(np.random.normal(size=(6, 3, 3, 3)) * random.random())
        self.conv.weight.data.copy_(weight)


@pytest.mark.parametrize(
    "build", [Net, Lazy, FromNumPy, lambda: Net(lambda net, x: net.head(input=net.conv(input=x).mean((2, 3))))]
)
def test_usual_networks_pass(build):
    assert network(build, exclude=()).prunable("weight")[0] > 0.9


def test_levits_cache_of_evaluation_is_no_kept_tensor():
    found = network(lambda: timm.create_model("levit_128s", num_classes=4, img_size=16))
    assert not found.notes


def test_outcome_is_kept_by_what_it_depends_on(tmp_path):
    passes = []

    class Counted(Net):
        def forward(self, x):
            passes.append(len(x))
            return super().forward(x)

    first = network(Counted, tmp_path)
    examined = len(passes)
    assert examined > 0
    assert network(Counted, tmp_path) == first
    assert len(passes) == examined
    network(Counted, tmp_path, exclude=("stem",))
    assert len(passes) == 2 * examined
    (kept, _) = sorted(tmp_path.iterdir())
    for file in tmp_path.iterdir():
        file.write_text("{")  # damaged
    assert network(Counted, tmp_path) == first
    assert len(passes) == 3 * examined
    assert kept.exists()
