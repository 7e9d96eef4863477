"""Training a dense model by a recipe; the last epoch is the result, never the best one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.data.dataset import ImageSet
from bench.errors import CellError
from bench.models.build import seeded
from bench.models.view import normalise
from bench.study import Normalisation, Recipe

Progress = Callable[[int, int, float], None]


def train(
    model: nn.Module,
    images: ImageSet,
    normalisation: Normalisation,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    """Train a network in place.

    Cross-entropy with label smoothing under a one-cycle schedule (Smith and Topin 2018); weight decay on
    matrices and filters only. An incomplete last batch of an epoch is left out, other images each time.
    At an equal device and number of threads, equal seeds give bit-identical weights.

    Parameters
    ----------
    model : nn.Module
        Float32; moved to `device`, left there in eval mode.
    images : ImageSet
        The fit split.
    normalisation : Normalisation
        Of the inputs.
    recipe : Recipe
        How.
    seed : int
        Seed of batches, augmentation and dropout; the global random state is left as it was.
    device : torch.device
        Where.
    progress : callable, optional
        Called after every epoch with its number from 1, their count, and the mean loss in nats.

    Returns
    -------
    dict
        ``loss``: mean training loss of every epoch, in nats.

    Raises
    ------
    CellError
        If the loss is NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = images.images.to(device), images.labels.to(device)
    model.to(device).train()
    optimizer = _optimizer(model, recipe)
    batch = min(recipe.batch, len(images))
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.lr, total_steps=steps * recipe.epochs, cycle_momentum=False
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    losses = []
    with seeded(seed, device), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
        for epoch in range(recipe.epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(len(images), generator=generator)[: steps * batch]
            for chosen in order.view(steps, batch):
                chosen = chosen.to(device)
                x = normalise(augment(pixels[chosen], recipe, generator), normalisation, device)
                with autocast:
                    loss = F.cross_entropy(model(x), labels[chosen], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.detach()
            losses.append(float(total) / steps)
            if not math.isfinite(losses[-1]):
                raise CellError(f"training diverged: the loss is {losses[-1]} in epoch {epoch + 1}; lower 'lr'")
            if progress is not None:
                progress(epoch + 1, recipe.epochs, losses[-1])
    optimizer.zero_grad()  # the last step's gradients would stay as long as the model
    model.eval()
    return {"loss": losses}


def augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Shift every image at random over a black border, and mirror half of them under ``crop_flip``.

    Parameters
    ----------
    images : Tensor
        uint8, shape ``(n, channels, height, width)``.
    recipe : Recipe
        Its `augmentation`, and the largest `shift` in pixels in either direction.
    generator : torch.Generator
        On the CPU, so that every device sees the same draws.

    Returns
    -------
    Tensor
        Of the same shape, type and device.
    """
    if recipe.augmentation == "none":
        return images
    n, _, height, width = images.shape
    border = recipe.shift
    corner = torch.randint(0, 2 * border + 1, (2, n, 1), generator=generator).to(images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    if recipe.augmentation == "crop_flip":
        mirrored = (torch.rand((n, 1), generator=generator) < 0.5).to(images.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (border, border, border, border))
    which = torch.arange(n, device=images.device)[:, None, None]
    # advanced indices around a slice come first: (n, height, width, channels)
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, lr=recipe.lr)
