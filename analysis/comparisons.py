"""All paired comparisons of a study: escape over the plateau, search against equal weights, repair against none."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.stats.correction import adjust
from analysis.stats.paired import compare

#: Category of a pair that shares its masks: equal by construction, so nothing is tested.
SAME_MASK = "same mask"


def escapes(data: Evidence) -> pd.DataFrame:
    """Compare every scorer without a search with magnitude, without repair: one family (Holm).

    Returns
    -------
    DataFrame
        As `paired_tests`.
    """
    return paired_tests(frames.unsearched(data.escapes))


def searched_escapes(data: Evidence) -> pd.DataFrame:
    """Compare every feature scorer under every search with magnitude, without repair: one family (Holm).

    Returns
    -------
    DataFrame
        As `paired_tests`.
    """
    return paired_tests(data.escapes[data.escapes["search"].ne("none")])


def search_gains(data: Evidence) -> pd.DataFrame:
    """Compare every search with equal weights of the same features, without repair: one family (Holm).

    Returns
    -------
    DataFrame
        As `paired_tests`; a search that always ends at the masks of equal weights is not tested.
    """
    return paired_tests(frames.per_model_difference(frames.contrast(data.unrepaired, "search", frames.EQUAL)))


def repair_gains(data: Evidence) -> pd.DataFrame:
    """Compare every correction with none under the same recalibration: one family (Holm).

    Returns
    -------
    DataFrame
        As `paired_tests`; masks are the same by construction here, which does not make the accuracies equal.
    """
    gains = frames.per_model_difference(frames.contrast(data.rows, "correction", "none"))
    return paired_tests(gains.assign(same_mask=False))


def paired_tests(differences: pd.DataFrame) -> pd.DataFrame:
    """Run the paired tests in every setting and correct them together.

    Parameters
    ----------
    differences : DataFrame
        What `frames.per_model_difference` returned.

    Returns
    -------
    DataFrame
        The setting and method; ``n``, ``difference``, ``low``, ``high`` (fractions, 95 % t interval),
        ``p_t``, ``p_holm``, ``p_sign_flip``, ``p_wilcoxon`` (two-sided), ``d_z``, ``p_superior``,
        ``disagree``, ``category``. Settings with the reference's own masks are not tested and not counted
        in the family.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    found: list[dict[str, Any]] = []
    for key, models in differences.groupby(keys, sort=False, dropna=False, observed=True):
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        same = bool(models["same_mask"].all())
        found.append(row | _same(len(models)) if same else row | _tested(models))
    columns = [
        *keys, "n", "difference", "low", "high", "p_t", "p_sign_flip", "p_wilcoxon", "d_z", "p_superior",
        "disagree", "category",
    ]  # fmt: skip
    frame = pd.DataFrame(found, columns=columns)
    tested = frame["category"].ne(SAME_MASK).to_numpy(dtype=bool)
    frame["p_holm"] = math.nan
    frame.loc[tested, "p_holm"] = adjust(frame.loc[tested, "p_t"].to_numpy(dtype=float))
    return frame


def _same(n: int) -> dict[str, Any]:
    nan = math.nan
    return {
        "n": n, "difference": 0.0, "low": nan, "high": nan, "p_t": nan, "p_sign_flip": nan, "p_wilcoxon": nan,
        "d_z": nan, "p_superior": 0.5, "disagree": False, "category": SAME_MASK,
    }  # fmt: skip


def _tested(models: pd.DataFrame) -> dict[str, Any]:
    result = compare(models["difference"].to_numpy(dtype=float))
    return {
        "n": result.interval.n,
        "difference": result.interval.mean,
        "low": result.interval.low,
        "high": result.interval.high,
        "p_t": result.t.p,
        "p_sign_flip": result.sign_flip.p,
        "p_wilcoxon": result.wilcoxon.p,
        "d_z": result.d_z,
        "p_superior": result.p_superior,
        "disagree": result.disagree(),
        "category": result.interval.category,
    }
