"""Two masks on the same test images: McNemar for one checkpoint, a crossed bootstrap for models and images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.stats.degenerate import Category
from analysis.stats.intervals import Interval

#: Image weights at a time, which bounds the memory of the crossed bootstrap to a few MB.
CHUNK = 2**18


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test for one checkpoint.

    Attributes
    ----------
    only_first, only_second : int
        Images that only the first, or only the second mask gets right.
    difference : float
        Accuracy of the first minus that of the second, a fraction.
    p : float
        Two-sided, exact. NaN where the category is not ``regular``.
    n : int
        Test images.
    category : str
        ``no data``, ``identical`` (no image tells the masks apart), else ``regular``.
    """

    only_first: int
    only_second: int
    difference: float
    p: float
    n: int
    category: Category


def unpack(packed: Sequence[bytes], images: int) -> NDArray[np.bool_]:
    """Decode correctness bits as the store's column ``correct`` holds them: `numpy.packbits`, big-endian.

    Parameters
    ----------
    packed : sequence of bytes
        One entry per model, one bit per image.
    images : int
        Test images; the last byte may hold up to seven bits more, all zero.

    Returns
    -------
    ndarray of bool, shape (models, images)

    Raises
    ------
    ValueError
        If an entry does not hold so many images.

    Examples
    --------
    >>> unpack([bytes([0b10100000])], 3).tolist()
    [[True, False, True]]
    """
    width = -(-images // 8)
    if any(len(entry) != width for entry in packed):
        raise ValueError(f"{images} images take {width} bytes, got {sorted({len(entry) for entry in packed})}")
    table = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), width)
    bits = np.unpackbits(table, axis=1)
    if bits[:, images:].any():
        raise ValueError(f"bits are set beyond the {images} images")
    return bits[:, :images].astype(np.bool_)


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Exact McNemar test that two masks of one model get equally many images right; **this checkpoint only**.

    Source: McNemar (1947), Psychometrika 12, 153; exact by `scipy.stats.binomtest`: of the images on which the
    masks disagree, either gets half. It does not include the variation between training runs.

    Parameters
    ----------
    first, second : array_like of bool, shape (images,)
        Whether each test image was classified correctly, in the same order.

    Raises
    ------
    ValueError
        If they are not two vectors of one length.

    Examples
    --------
    >>> r = mcnemar([True] * 6 + [False], [False] * 6 + [True])
    >>> r.only_first, r.only_second, r.p
    (6, 1, 0.125)
    """
    a, b = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"expected the same images twice, got arrays of shape {a.shape} and {b.shape}")
    n = int(a.size)
    if n == 0:
        return McNemar(0, 0, math.nan, math.nan, 0, "no data")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    disagreeing = only_first + only_second
    if disagreeing == 0:
        return McNemar(0, 0, 0.0, math.nan, n, "identical")
    p = float(stats.binomtest(only_first, disagreeing, 0.5).pvalue)
    return McNemar(only_first, only_second, (only_first - only_second) / n, p, n, "regular")


def crossed_intervals(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> list[Interval]:
    """Percentile intervals of mean accuracy differences over models **and** test images, one per setting.

    Every replicate resamples the models and, once for all of them, the test images (the pigeonhole bootstrap:
    Owen 2007, Ann. Appl. Stat. 1, 386): another training on another test set. The weights w of a replicate are
    counts, and its mean is ``w_models D w_images / (models images)``. The settings share the draw of every replicate,
    so each interval is the one that its setting has alone.

    The images make it conservative, few models the opposite. Simulated coverage of a nominal 95 % at 3, 5, 10, 20
    models with 400 images (4,000 trials): 0.99 or more where the masks differ by a constant on the logit scale;
    0.92, 0.95, 0.97, 0.97 where that difference has a sd of 0.2 over models and 0.3 over images; 0.79, 0.86, 0.92,
    0.94 where it has 0.6 over models, which is what any percentile bootstrap of so few models gives.

    Parameters
    ----------
    first, second : sequences of array_like of bool, shape (models, images)
        Correctness under either mask, one table per setting; the same models and images in the same order.
    level : float
        Confidence level.
    resamples, seed : int
        Number of replicates, and the seed of their draw.

    Returns
    -------
    list of Interval
        Of the mean differences, as fractions; `sd` is that of the models' differences. The category is ``no
        data``, ``one model`` (no bounds), ``identical`` (the masks never disagree), ``constant`` (they
        disagree on every image alike), else ``regular``.

    Raises
    ------
    ValueError
        If tables differ in shape.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> first = rng.random((8, 500)) < 0.8
    >>> second = first & (rng.random((8, 500)) < 0.95)
    >>> better, same = crossed_intervals([first, first], [second, first])
    >>> bool(0 < better.low < better.mean < better.high < 0.1), better.n, same.category
    (True, 8, 'identical')
    """
    a, b = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"expected models x images twice, got arrays of shape {a.shape[1:]} and {b.shape[1:]}")
    settings, models, _ = a.shape
    nan = math.nan
    if a.size == 0:
        return [Interval(nan, nan, nan, nan, level, models, "no data")] * settings
    differences = a.astype(np.int8) - b
    own = differences.mean(axis=2)
    means = own.mean(axis=1).tolist()
    if models == 1:
        return [Interval(mean, nan, nan, nan, level, models, "one model") for mean in means]
    bounds = np.quantile(_replicates(differences, resamples, seed), [(1 - level) / 2, (1 + level) / 2], axis=1)
    constant = (differences == differences[:, :1, :1]).all(axis=(1, 2))
    return [
        Interval(mean, 0.0, mean, mean, level, models, "constant" if mean else "identical")
        if same else Interval(mean, sd, low, high, level, models, "regular")
        for mean, same, sd, low, high in zip(
            means, constant, own.std(axis=1, ddof=1).tolist(), *bounds.tolist(), strict=True
        )
    ]  # fmt: skip


def _replicates(differences: NDArray[np.int8], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the mean differences of all replicates, shape (settings, resamples)."""
    settings, models, images = differences.shape
    rng = np.random.default_rng(seed)
    model_weights = rng.multinomial(models, np.full(models, 1 / models), size=resamples)
    by_image = np.ascontiguousarray(differences.reshape(-1, images).T, dtype=np.float64)
    chunk = max(1, CHUNK // images)
    replicates = np.empty((settings, resamples))
    for start in range(0, resamples, chunk):
        part = model_weights[start : start + chunk]
        model_means = (_image_weights(len(part), images, rng) @ by_image / images).reshape(len(part), settings, models)
        replicates[:, start : start + chunk] = (part[:, None] * model_means).sum(axis=2).T / models
    return replicates


def _image_weights(replicates: int, images: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each image is drawn: counts of draws, which is faster than `multinomial` of so many classes."""
    draws = rng.integers(images, size=(replicates, images)) + images * np.arange(replicates)[:, None]
    return np.bincount(draws.ravel(), minlength=replicates * images).reshape(replicates, images)
