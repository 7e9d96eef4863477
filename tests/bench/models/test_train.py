"""Training: bit-identical by seed, no trace outside, schedules and augmentation against references."""

import copy
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.core.errors import CellError
from bench.data.dataset import ImageSet
from bench.models.build import seeded
from bench.models.checkpoints import state_digest
from bench.models.digits import digits_cnn, digits_vit
from bench.models.train import augment, draw_moves, guessing_loss, guessing_warning, train
from bench.study.spec import Normalisation, Recipe

CPU = torch.device("cpu")
PLAIN = Normalisation(mean=(0.0,), std=(1.0,))


def trained(digits, recipe, seed=1, constructor=digits_cnn, progress=None, memory_format="contiguous"):
    with seeded(0):
        model = constructor()
    images = digits.fit.subset(torch.arange(200))
    history = train(model, images, digits.normalisation, recipe, seed, CPU, progress, memory_format)
    return model, history


def train_as_version_0_1(model, images, normalisation, recipe, seed):
    """The training loop of version 0.1, whose weights studies hold: contiguous, drawing step by step."""
    generator = torch.Generator().manual_seed(seed)
    model.train()
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    steps = len(images) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.lr, total_steps=steps * recipe.epochs, cycle_momentum=False
    )
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (normalisation.mean, normalisation.std))
    with seeded(seed):
        for _ in range(recipe.epochs):
            order = torch.randperm(len(images), generator=generator)[: steps * recipe.batch]
            for chosen in order.view(steps, recipe.batch):
                x = images.images[chosen]
                if recipe.augmentation != "none":
                    n, _, height, width = x.shape
                    corner = torch.randint(0, 2 * recipe.shift + 1, (2, n, 1), generator=generator)
                    rows, columns = corner[0] + torch.arange(height), corner[1] + torch.arange(width)
                    if recipe.augmentation == "crop_flip":
                        mirrored = torch.rand((n, 1), generator=generator) < 0.5
                        columns = torch.where(mirrored, columns.flip(1), columns)
                    padded = F.pad(x, (recipe.shift,) * 4)
                    which = torch.arange(n)[:, None, None]
                    x = padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
                logits = model((x.float() / 255 - mean) / std)
                loss = F.cross_entropy(logits, images.labels[chosen], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()


@pytest.mark.parametrize("augmentation", ["none", "shift", "crop_flip"])
def test_contiguous_weights_are_those_of_version_0_1(digits, augmentation):
    recipe = Recipe(epochs=2, batch=64, augmentation=augmentation, shift=2)
    found, _ = trained(digits, recipe, seed=3)
    with seeded(0):
        expected = digits_cnn()
    train_as_version_0_1(expected, digits.fit.subset(torch.arange(200)), digits.normalisation, recipe, 3)
    assert state_digest(found.state_dict()) == state_digest(expected.state_dict())


@pytest.mark.parametrize(
    ("constructor", "recipe"),
    [
        (digits_cnn, Recipe(epochs=2, batch=64, augmentation="crop_flip")),
        (digits_vit, Recipe(epochs=2, batch=64, optimizer="sgd", lr=0.1)),
        (digits_cnn, Recipe(epochs=1, batch=64, precision="bfloat16")),
    ],
)
def test_equal_seeds_give_equal_bits(digits, constructor, recipe):
    first, history = trained(digits, recipe, 1, constructor)
    torch.rand(7)  # whatever the global state is
    again, _ = trained(digits, recipe, 1, constructor)
    other, _ = trained(digits, recipe, 2, constructor)
    assert state_digest(first.state_dict()) == state_digest(again.state_dict())
    assert state_digest(first.state_dict()) != state_digest(other.state_dict())
    assert all(p.dtype == torch.float32 for p in first.parameters())
    assert len(history["loss"]) == recipe.epochs


def test_nothing_is_left_behind(digits):
    before = torch.get_rng_state()
    flags = (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)
    model, _ = trained(digits, Recipe(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == flags
    assert not any(module.training for module in model.modules())


def test_loss_falls_and_progress_reports_it(digits):
    seen = []
    _, history = trained(digits, Recipe(epochs=8, batch=32), progress=lambda *args: seen.append(args))
    assert seen == [(i + 1, 8, *values) for i, values in enumerate(zip(history["loss"], history["lr"], strict=True))]
    assert history["loss"][-1] < 0.6 * history["loss"][0]


def test_first_step_is_the_textbook_step(digits):
    """The whole set as one batch under SGD: w - lr (g + decay w), OneCycleLR starting at lr / 25."""
    recipe = Recipe(epochs=10, batch=50, optimizer="sgd", lr=0.5, momentum=0.0, weight_decay=0.01)
    with seeded(0):
        model = digits_cnn()
    reference = copy.deepcopy(model).train()
    images = digits.fit.subset(torch.arange(50))
    after_epoch = []
    history = train(
        model, images, PLAIN, recipe, 0, CPU,
        lambda *_: after_epoch.append([p.detach().clone() for p in model.parameters()]),
    )  # fmt: skip
    loss = F.cross_entropy(reference(images.images / 255), images.labels, label_smoothing=0.1)
    loss.backward()
    assert history["loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    for found, start in zip(after_epoch[0], reference.parameters(), strict=True):
        decay = 0.01 if start.ndim > 1 else 0.0
        expected = start - 0.5 / 25 * (start.grad + decay * start)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)


def test_learning_rates_are_those_of_the_schedule_run_alone(digits):
    recipe = Recipe(epochs=5, batch=60, lr=0.02)
    _, history = trained(digits, recipe)
    alone = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(alone, max_lr=0.02, total_steps=5 * 3, cycle_momentum=False)
    rates = []
    for _ in range(5 * 3):  # 200 images are three whole batches
        rates.append(schedule.get_last_lr()[0])
        alone.step()
        schedule.step()
    assert history["lr"] == rates[2::3]


class Watched(nn.Module):
    """A convolutional net that notes how its weights and inputs are stored, and holds a 3-D convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv3d(1, 1, 3, padding=1)
        self.linear = nn.Linear(8, 10)
        self.seen = []

    def forward(self, x):
        tensors = (self.conv.weight, x)
        self.seen.append([t.is_contiguous(memory_format=torch.channels_last) for t in tensors])
        x = self.norm(self.conv(x))
        return self.linear(self.deep(x[:, None])[:, 0].mean(dim=(2, 3)))


@pytest.fixture
def colours():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (40, 3, 12, 12), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(40) % 10)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_every_step_has_the_memory_format_and_the_result_is_contiguous(colours, memory_format, augmentation):
    scale = Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3)
    states = []
    for _ in range(2):
        with seeded(0):
            model = Watched()
        recipe = Recipe(epochs=2, batch=20, augmentation=augmentation)
        train(model, colours, scale, recipe, 0, CPU, memory_format=memory_format)
        assert len(model.seen) == 4
        last = memory_format == "channels_last"
        # augmentation gathers images channels-last, whatever the format
        assert all(seen == [last, last or augmentation != "none"] for seen in model.seen)
        assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
        states.append(state_digest(model.state_dict()))
    assert states[0] == states[1]


def test_memory_formats_agree_up_to_rounding(colours):
    states = []
    for memory_format in ("contiguous", "channels_last"):
        with seeded(0):
            model = Watched()
        train(model, colours, Normalisation(mean=(0.5,) * 3, std=(0.25,) * 3),
              Recipe(epochs=1, batch=40, optimizer="sgd"), 0, CPU, memory_format=memory_format)  # fmt: skip
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-4, atol=1e-6)


class HostReads(TorchDispatchMode):
    """Counts how often a tensor's value is read by the host, which makes it wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [16, 64])
def test_the_host_reads_one_value_per_epoch_for_any_number_of_steps(digits, batch, precision):
    """Of SGD, since AdamW reads its step counters, which lie on the CPU for every device."""
    recipe = Recipe(epochs=3, batch=batch, optimizer="sgd", lr=0.01, augmentation="crop_flip", precision=precision)
    with HostReads() as reads:
        _, history = trained(digits, recipe)
    assert len(history["loss"]) == 3
    assert reads.count == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_is_waited_for_once_per_epoch_not_at_every_step(digits):
    def waits(batch):
        model = digits_cnn()
        recipe = Recipe(epochs=2, batch=batch, augmentation="crop_flip")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                train(model, digits.fit.subset(torch.arange(192)), PLAIN, recipe, 0, torch.device("cuda"))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    waits(64)  # to warm up
    assert waits(16) == waits(64)


def test_divergence_is_a_cell_error_that_names_a_smaller_rate(digits):
    with pytest.raises(CellError, match=r"training diverged: the loss is .* in epoch \d of 3 .*recipe: \{lr: 1e\+29\}"):
        trained(digits, Recipe(epochs=3, optimizer="sgd", lr=1e30))


class Constant(nn.Module):
    """Gives every image the same logits: all that it can learn are the frequencies of the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.logits.expand(len(x), 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_network_that_ignores_its_input_ends_at_the_loss_of_guessing(smoothing):
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    images = ImageSet(torch.zeros(100, 1, 4, 4, dtype=torch.uint8), labels)
    recipe = Recipe(epochs=300, batch=100, optimizer="sgd", lr=1.0, label_smoothing=smoothing)
    history = train(Constant(), images, PLAIN, recipe, 0, CPU)
    assert history["loss"][-1] == pytest.approx(guessing_loss(labels, 3, smoothing), abs=1e-4)
    assert history["loss"][-1] < math.log(3) - 0.02
    warning = guessing_warning(history["loss"][-1], recipe, labels, 3)
    assert "the network has learned almost nothing" in warning
    assert "`prunebench list recipes`" in warning


def test_a_network_that_learns_gives_no_warning(digits):
    recipe = Recipe(epochs=8, batch=32)
    _, history = trained(digits, recipe)
    assert guessing_warning(history["loss"][-1], recipe, digits.fit.labels[:200], 10) is None
    assert guessing_warning(history["loss"][0], recipe, digits.fit.labels[:200], 10) is not None


def test_fewer_images_than_a_batch(digits):
    with seeded(0):
        model = digits_cnn()
    history = train(model, digits.fit.subset(torch.arange(5)), PLAIN, Recipe(epochs=2), 0, CPU)
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("augmentation", ["shift", "crop_flip"])
def test_augmentation_is_one_of_the_possible_images(digits, augmentation):
    images = digits.fit.images[:40]
    recipe = Recipe(augmentation=augmentation, shift=2)
    found = augment(images, recipe, draw_moves(40, recipe, torch.Generator().manual_seed(0)))
    flips = (False, True) if augmentation == "crop_flip" else (False,)
    used = set()
    for original, image in zip(images, found, strict=True):
        padded = F.pad(original, (2, 2, 2, 2))
        windows = {(dy, dx): padded[:, dy : dy + 8, dx : dx + 8] for dy in range(5) for dx in range(5)}
        matches = [
            (*corner, flip)
            for corner, window in windows.items()
            for flip in flips
            if torch.equal(window.flip(-1) if flip else window, image)
        ]
        assert matches
        used.add(matches[0])
    assert len(used) > 12
    assert {flip for _, _, flip in used} == set(flips)


def test_no_augmentation_is_the_image(digits):
    images = digits.fit.images[:3]
    assert augment(images, Recipe(), draw_moves(3, Recipe(), torch.Generator())) is images


def test_colour_channels_move_together():
    base = torch.randint(0, 256, (6, 1, 5, 5), dtype=torch.uint8)
    recipe = Recipe(augmentation="shift")
    found = augment(base.repeat(1, 3, 1, 1), recipe, draw_moves(6, recipe, torch.Generator().manual_seed(1)))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_training_images_are_left_as_they_were(digits):
    images = ImageSet(digits.fit.images[:64].clone(), digits.fit.labels[:64].clone())
    train(digits_cnn(), images, PLAIN, Recipe(epochs=1, batch=32, augmentation="crop_flip"), 0, CPU)
    assert torch.equal(images.images, digits.fit.images[:64])
    assert torch.equal(images.labels, digits.fit.labels[:64])


class Auxiliary(nn.Module):
    """Returns the logits and auxiliary ones in training mode, as GoogLeNet does."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        logits = self.net(x)
        return (logits, torch.full_like(logits, torch.nan)) if self.training else logits


def test_auxiliary_outputs_are_not_trained(digits):
    plain, _ = trained(digits, Recipe(epochs=1))
    with_auxiliary, _ = trained(digits, Recipe(epochs=1), constructor=lambda: Auxiliary(digits_cnn()))
    assert state_digest(with_auxiliary.net.state_dict()) == state_digest(plain.state_dict())
