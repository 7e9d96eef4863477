"""Training: bit-identical by seed, no trace outside, schedules and augmentation against references."""

import copy

import pytest
import torch
import torch.nn.functional as F

from bench.data.dataset import ImageSet
from bench.errors import CellError
from bench.models.build import seeded
from bench.models.checkpoints import state_digest
from bench.models.digits import digits_cnn, digits_vit
from bench.models.train import augment, train
from bench.study import Normalisation, Recipe

CPU = torch.device("cpu")
PLAIN = Normalisation(mean=(0.0,), std=(1.0,))


def trained(digits, recipe, seed=1, constructor=digits_cnn, progress=None):
    with seeded(0):
        model = constructor()
    images = digits.fit.subset(torch.arange(200))
    history = train(model, images, digits.normalisation, recipe, seed, CPU, progress)
    return model, history


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


def test_loss_falls_and_progress_tells_it(digits):
    seen = []
    _, history = trained(digits, Recipe(epochs=8, batch=32), progress=lambda *args: seen.append(args))
    assert seen == [(i + 1, 8, loss) for i, loss in enumerate(history["loss"])]
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


def test_divergence_is_a_cell_error(digits):
    with pytest.raises(CellError, match="training diverged: the loss is"):
        trained(digits, Recipe(epochs=3, optimizer="sgd", lr=1e30))


def test_fewer_images_than_a_batch(digits):
    with seeded(0):
        model = digits_cnn()
    history = train(model, digits.fit.subset(torch.arange(5)), PLAIN, Recipe(epochs=2), 0, CPU)
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("augmentation", ["shift", "crop_flip"])
def test_augmentation_is_one_of_the_possible_images(digits, augmentation):
    images = digits.fit.images[:40]
    found = augment(images, Recipe(augmentation=augmentation, shift=2), torch.Generator().manual_seed(0))
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
    assert augment(images, Recipe(), torch.Generator()) is images


def test_colour_channels_move_together():
    base = torch.randint(0, 256, (6, 1, 5, 5), dtype=torch.uint8)
    found = augment(base.repeat(1, 3, 1, 1), Recipe(augmentation="shift"), torch.Generator().manual_seed(1))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_training_images_are_left_as_they_were(digits):
    images = ImageSet(digits.fit.images[:64].clone(), digits.fit.labels[:64].clone())
    train(digits_cnn(), images, PLAIN, Recipe(epochs=1, batch=32, augmentation="crop_flip"), 0, CPU)
    assert torch.equal(images.images, digits.fit.images[:64])
    assert torch.equal(images.labels, digits.fit.labels[:64])
