"""CIFAR-10 and CIFAR-100 as torchvision downloads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from bench.core.errors import UserError, suggest
from bench.core.identity import digest
from bench.data.dataset import Facts, ImageSet, Raw
from bench.data.parquet import CIFAR100_LABELS

#: The superclasses of CIFAR-100, in the order of their published numbers, and the classes in each
#: (Krizhevsky 2009; https://www.cs.toronto.edu/~kriz/cifar.html). torchvision does not return the coarse labels.
SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}


@dataclass(frozen=True)
class TorchvisionSource:
    """CIFAR (Krizhevsky 2009) from torchvision, downloaded at the first use.

    Attributes
    ----------
    name : {"cifar10", "cifar100"}
        Which one.
    root : Path
        Where the download is kept.
    labels : {"fine_label", "coarse_label"}, optional
        Which labels of CIFAR-100: its 100 classes, by default, or its 20 superclasses.
    """

    name: str
    root: Path
    labels: str | None = None

    def facts(self) -> Facts:
        """Return sizes as published, without a download; the numbers of images per class are equal.

        Raises
        ------
        UserError
            If there are no such labels.
        """
        count = 10 if self.name == "cifar10" else 20 if self._coarse() else 100
        classes = tuple(SUPERCLASSES) if self._coarse() else tuple(str(number) for number in range(count))
        return self._facts(classes, torch.arange(50_000) % count, torch.arange(10_000) % count)

    def content_hash(self) -> str:
        """SHA-256 of the published MD5 sums, which torchvision checks before it reads a file."""
        kind = self._class()
        return digest([self.name, *(sum_ for _, sum_ in (*kind.train_list, *kind.test_list))])

    def read(self) -> Raw:
        """Return all images, shape ``(n, 3, 32, 32)``.

        Raises
        ------
        UserError
            If the data are not there and cannot be downloaded, or there are no such labels.
        """
        coarse = self._coarse()
        try:
            train = self._class()(root=str(self.root), train=True, download=True)
            test = self._class()(root=str(self.root), train=False, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data {self.name!r} cannot be downloaded to {self.root}: {' '.join(str(error).split())}; "
                "set the entry's 'path' to a local copy (a Parquet folder)"
            ) from error
        labels = [torch.tensor(part.targets) for part in (train, test)]
        classes = tuple(train.classes)
        if coarse:
            number = {name: k for k, names in enumerate(SUPERCLASSES.values()) for name in names}
            labels = [torch.tensor([number[name] for name in classes])[part] for part in labels]
            classes = tuple(SUPERCLASSES)
        facts = self._facts(classes, *labels)
        images = (_images(part) for part in (train, test))
        return Raw(facts, *(ImageSet(*pair) for pair in zip(images, labels, strict=True)))

    def _coarse(self) -> bool:
        """Return whether the superclasses are chosen."""
        valid = CIFAR100_LABELS if self.name == "cifar100" else ("label",)
        if self.labels is not None and self.labels not in valid:
            raise UserError(f"data {self.name!r}: has no labels {self.labels!r}: {suggest(self.labels, valid)}")
        return self.labels == "coarse_label"

    def _facts(self, classes: tuple[str, ...], train: Tensor, test: Tensor) -> Facts:
        return Facts((32, 32), 3, classes, train, test, {"labels": "coarse_label"} if self._coarse() else {})

    def _class(self) -> Any:
        return datasets.CIFAR10 if self.name == "cifar10" else datasets.CIFAR100


def _images(part: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
