"""Training a dense model by a recipe; the result is the last epoch, never the best one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.errors import CellError
from bench.data.dataset import ImageSet
from bench.models.build import seeded
from bench.models.outputs import main_output
from bench.models.view import MEMORY_FORMATS, channel_moments, set_memory_format, standardise
from bench.study.spec import Normalisation, Recipe

#: Called after every epoch with its number from 1, their count, the mean loss in nats and the learning rate.
Progress = Callable[[int, int, float, float], None]

#: A network whose last training loss is above this share of the loss of guessing has learned nothing.
GUESSING_SHARE = 0.95


def train(
    model: nn.Module,
    images: ImageSet,
    normalisation: Normalisation,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
    memory_format: str = "contiguous",
) -> dict[str, list[float]]:
    """Train a network in place.

    Cross-entropy with label smoothing under a one-cycle schedule (Smith and Topin 2018); of several outputs in
    training mode the main one alone is trained. Weight decay on
    matrices and filters only. An incomplete last batch of an epoch is left out, other images each time.
    At an equal device, memory format and number of threads, equal seeds give bit-identical weights.

    Parameters
    ----------
    model : nn.Module
        Float32 and contiguous; moved to `device`, left there contiguous and in eval mode.
    images : ImageSet
        The fit split. It is copied to `device` once.
    normalisation : Normalisation
        Of the inputs.
    recipe : Recipe
        Optimizer, schedule, batch and augmentation.
    seed : int
        Seed of batches, augmentation and dropout; the global random state is restored.
    device : torch.device
        Where the training runs. On a GPU the host waits for it once per epoch.
    progress : callable, optional
        Called after every epoch with its number from 1, their count, the mean loss in nats and the learning rate.
    memory_format : str
        ``contiguous`` or ``channels_last``: how parameters and inputs are stored during training. The weights
        depend on it by rounding.

    Returns
    -------
    dict
        ``loss``: mean training loss of every epoch, in nats; ``lr``: learning rate of its last step.

    Raises
    ------
    CellError
        If the loss is NaN or infinite.

    References
    ----------
    Smith and Topin 2018, "Super-Convergence", arXiv 1708.07120.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = images.images.to(device), images.labels.to(device)
    mean, std = channel_moments(normalisation, device)
    model.to(device).train()
    channels_last = memory_format != "contiguous"
    if channels_last:
        set_memory_format(model, memory_format)
    optimizer = _optimizer(model, recipe)
    batch = min(recipe.batch, len(images))
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.lr, total_steps=steps * recipe.epochs, cycle_momentum=False
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    losses: list[float] = []
    rates: list[float] = []
    with seeded(seed, device), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
        for epoch in range(recipe.epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(len(images), generator=generator)[: steps * batch].view(steps, batch)
            # copied once per epoch: a copy to a GPU at every step would make the host wait for it
            moves = torch.stack([draw_moves(batch, recipe, generator) for _ in range(steps)]).to(device)
            for chosen, move in zip(order.to(device), moves, strict=True):
                x = standardise(augment(pixels[chosen], recipe, move), mean, std)
                if channels_last:
                    x = x.contiguous(memory_format=MEMORY_FORMATS[memory_format])
                with autocast:
                    logits = main_output(model(x))
                    if logits is None:
                        raise CellError("in training mode the network returns no tensor of logits")
                    loss = F.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                rate = float(optimizer.param_groups[0]["lr"])
                schedule.step()
                total += loss.detach()
            losses.append(float(total) / steps)
            rates.append(rate)
            if not math.isfinite(losses[-1]):
                raise CellError(
                    f"training diverged: the loss is {losses[-1]} in epoch {epoch + 1} of {recipe.epochs} at a "
                    f"learning rate of {rate:.3g}; lower its peak: write `recipe: {{lr: {recipe.lr / 10:g}}}` for this "
                    f"model in study.yaml"
                )
            if progress is not None:
                progress(epoch + 1, recipe.epochs, losses[-1], rates[-1])
    optimizer.zero_grad()  # the last step's gradients would stay as long as the model
    if channels_last:
        set_memory_format(model, "contiguous")  # as a stored model is loaded
    model.eval()
    return {"loss": losses, "lr": rates}


def draw_moves(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Draw how far images are shifted and which are mirrored.

    Parameters
    ----------
    count : int
        Images.
    recipe : Recipe
        Its `augmentation` and `shift`.
    generator : torch.Generator
        On the CPU, so that every device gets the same draws.

    Returns
    -------
    Tensor
        int64, shape ``(3, count)``: first row and first column of the window in the padded image, both from 0 to
        ``2 * shift``, and 1 where it is mirrored. Zeros without augmentation.
    """
    moves = torch.zeros((3, count), dtype=torch.int64)
    if recipe.augmentation != "none":
        moves[:2] = torch.randint(0, 2 * recipe.shift + 1, (2, count), generator=generator)
    if recipe.augmentation == "crop_flip":
        moves[2] = torch.rand(count, generator=generator) < 0.5
    return moves


def augment(images: Tensor, recipe: Recipe, moves: Tensor) -> Tensor:
    """Shift every image over a black border, and mirror those that were drawn for it.

    Parameters
    ----------
    images : Tensor
        uint8, shape ``(n, channels, height, width)``.
    recipe : Recipe
        Its `augmentation`, and the largest `shift` in pixels in either direction.
    moves : Tensor
        Of `draw_moves`, on the images' device.

    Returns
    -------
    Tensor
        Of the same shape, type and device.
    """
    if recipe.augmentation == "none":
        return images
    n, _, height, width = images.shape
    border = recipe.shift
    rows = moves[0, :, None] + torch.arange(height, device=images.device)
    columns = moves[1, :, None] + torch.arange(width, device=images.device)
    if recipe.augmentation == "crop_flip":
        columns = torch.where(moves[2, :, None].bool(), columns.flip(1), columns)
    padded = F.pad(images, (border, border, border, border))
    which = torch.arange(n, device=images.device)[:, None, None]
    # advanced indices around a slice come first: (n, height, width, channels)
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def guessing_loss(labels: Tensor, num_classes: int, label_smoothing: float) -> float:
    """Return the least cross-entropy of a network that ignores its input, in nats.

    Parameters
    ----------
    labels : Tensor
        Classes of the fit split, int64, shape ``(n,)``.
    num_classes : int
        Classes of the data set.
    label_smoothing : float
        Of the recipe.

    Notes
    -----
    The entropy of the smoothed class frequencies; the logarithm of the number of classes where these are equal.

    Examples
    --------
    >>> round(guessing_loss(torch.arange(10), 10, 0.1), 4), round(math.log(10), 4)
    (2.3026, 2.3026)
    >>> round(guessing_loss(torch.tensor([0, 0, 0, 1]), 2, 0.0), 4)
    0.5623
    """
    frequencies = torch.bincount(labels.cpu(), minlength=num_classes).double() / len(labels)
    smoothed = (1 - label_smoothing) * frequencies + label_smoothing / num_classes
    return float(torch.special.entr(smoothed).sum())


def guessing_warning(loss: float, recipe: Recipe, labels: Tensor, num_classes: int) -> str | None:
    """Return a warning if the last training loss is not clearly below that of guessing, else None.

    Parameters
    ----------
    loss : float
        Mean training loss of the last epoch, in nats.
    recipe : Recipe
        The model's.
    labels : Tensor
        Classes of the fit split, int64, shape ``(n,)``.
    num_classes : int
        Classes of the data set.
    """
    guessing = guessing_loss(labels, num_classes, recipe.label_smoothing)
    if loss <= GUESSING_SHARE * guessing:
        return None
    return (
        f"the training loss ends at {loss:.3f} nats, and guessing the class gives {guessing:.3f}: the network has "
        f"learned almost nothing, and differences between its pruned versions mean little; change its recipe (epochs "
        f"{recipe.epochs}, lr {recipe.lr:g}; `prunebench list recipes` lists the keys)"
    )


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, lr=recipe.lr)
