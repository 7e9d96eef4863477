"""Two masks on the same test images: crossed intervals over models and images, and McNemar's test of one checkpoint.

Scorers without a search against magnitude, without repair, from the correctness bits of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.evidence import frames
from analysis.stats.correction import adjust
from analysis.stats.images import crossed_intervals, mcnemar, unpack

Bits: TypeAlias = NDArray[np.bool_]

#: Replicates of an interval that decides nothing.
RESAMPLES = 500
#: Bits of one mask that are unpacked at a time, 32 MB as bytes.
CHUNK = 2**25

_KEYS = [*frames.SETTING, *frames.METHOD]


def crossed(pairs: pd.DataFrame, chunk: int = CHUNK) -> pd.DataFrame:
    """Crossed interval of the mean difference to magnitude, in every setting with two models or more.

    Parameters
    ----------
    pairs : DataFrame
        From `paired_masks`.
    chunk : int
        Bits of one mask that are unpacked at a time.

    Returns
    -------
    DataFrame
        The setting and method; ``n`` (models), ``images``, ``mean``, ``low``, ``high`` (fractions, 95 %), ``category``.
        A model counts with its first calibration draw. Settings with magnitude's own masks are left out.
    """
    pairs = pairs[pairs["n"].gt(1)]
    found: list[dict[str, Any]] = []
    for images, models, own in _alike(pairs, chunk):
        first, second = (_table(own[column], images, models) for column in ("correct", "reference"))
        for setting, one in zip(
            own[_KEYS].iloc[::models].to_dict("records"),
            crossed_intervals(list(first), list(second), resamples=RESAMPLES), strict=True,
        ):  # fmt: skip
            row: dict[str, Any] = {str(key): value for key, value in setting.items()}
            row |= {"n": models, "images": images, "mean": one.mean, "low": one.low, "high": one.high}
            found.append(row | {"category": one.category})
    columns = [*_KEYS, "n", "images", "mean", "low", "high", "category"]
    return pd.DataFrame(found, columns=columns).astype({key: pairs[key].dtype for key in _KEYS})


def one_checkpoint(pairs: pd.DataFrame) -> pd.DataFrame:
    """Exact McNemar test against magnitude in every setting with a single model: of this checkpoint only.

    Parameters
    ----------
    pairs : DataFrame
        From `paired_masks`.

    Returns
    -------
    DataFrame
        The setting and method; ``images``, ``only_first``, ``only_second`` (images that only the scorer's mask, or only
        magnitude's gets right), ``difference`` (fraction), ``p``, ``p_holm`` (over the whole frame), ``category``.
    """
    pairs = pairs[pairs["n"].eq(1)]
    found: list[dict[str, Any]] = []
    for row in pairs.to_dict("records"):
        images = int(row["n_test"])
        test = mcnemar(*(unpack([row[column]], images)[0] for column in ("correct", "reference")))
        found.append({key: row[key] for key in _KEYS} | {
            "images": images, "only_first": test.only_first, "only_second": test.only_second,
            "difference": test.difference, "p": test.p, "category": test.category,
        })  # fmt: skip
    columns = [*_KEYS, "images", "only_first", "only_second", "difference", "p", "category"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.assign(p_holm=adjust(frame["p"].to_numpy(dtype=np.float64)))


def paired_masks(unrepaired: pd.DataFrame) -> pd.DataFrame:
    """Pair every scorer without a search with magnitude, by their bits.

    Parameters
    ----------
    unrepaired : DataFrame
        Rows without repair, with the correctness bits of each.

    Returns
    -------
    DataFrame
        One row per setting, method and model: the bits of both masks, and ``n``, the models of the setting.
    """
    own = frames.unsearched(unrepaired)
    paired = frames.contrast(own[own["correct"].notna()], "scorer", frames.MAGNITUDE)
    first = paired.sort_values("calibration_draw", kind="stable").drop_duplicates([*_KEYS, "checkpoint"])
    bits = own.set_index("cell")["correct"]
    known = first.assign(reference=first["reference_cell"].map(bits))
    settings = paired.groupby(_KEYS, sort=False, dropna=False, observed=True).ngroup()  # in their order in the study
    known = known.assign(setting=settings, differs=known["mask"].ne(known["reference_mask"]))
    models = known.groupby("setting", sort=False)
    known = known.assign(n=models["checkpoint"].transform("size"))[models["differs"].transform("any")]
    return known.sort_values(["setting", "checkpoint"], kind="stable")


def _alike(pairs: pd.DataFrame, chunk: int) -> Iterator[tuple[int, int, pd.DataFrame]]:
    """Parts of whole settings with as many models and images as one another: (images, models, rows)."""
    for _, own in pairs.groupby(["n_test", "n"], sort=False):
        images, models = (int(own[column].iloc[0]) for column in ("n_test", "n"))
        step = models * max(1, chunk // (images * models))
        for start in range(0, len(own), step):
            yield images, models, own.iloc[start : start + step]


def _table(packed: pd.Series, images: int, models: int) -> Bits:
    return unpack(list(packed), images).reshape(-1, models, images)
