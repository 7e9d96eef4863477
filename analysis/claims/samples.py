"""From rows to one number per model: the sum of arms that a part of a claim is about, paired within each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.schema import AnyOf, Contrast, Differs, Part, Term, Terms
from analysis.claims.select import describe, labels, select
from analysis.claims.values import WORDS, with_value
from analysis.errors import AnalysisError
from analysis.evidence import frames

#: Keys of a setting that a part may leave to its arms.
_KEYS: tuple[str, ...] = (*frames.SETTING, *frames.METHOD)
#: What else a sample needs of a row.
_ROW: tuple[str, ...] = (
    "checkpoint", "calibration_draw", "device_class", "state", "accuracy", "n_test", "sparsity_achieved",
    "dense_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One arm, its labels resolved: `weight` times the mean over `labels`."""

    weight: float
    labels: dict[str, list[Any]]

    def among(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of this arm."""
        for column, wanted in self.labels.items():
            rows = rows[rows[column].isin(wanted)]
        return rows

    def words(self) -> str:
        """Name the arm."""
        said = [
            " and ".join(map(str, wanted)) for column, wanted in self.labels.items()
            if not (column == "search" and wanted == ["none"])
        ]  # fmt: skip
        several = any(len(wanted) > 1 for wanted in self.labels.values())
        return ("mean of " if several else "") + " + ".join(said)


@dataclass(frozen=True)
class Sample:
    """The numbers of one setting.

    Attributes
    ----------
    setting : dict
        What the setting is, in plain values.
    values : Series
        One number per model, indexed by checkpoint; draws are averaged. With several points per model (see
        `samples`) a frame, models x points.
    words : str
        The estimand.
    counts : dict
        Cells that do not take part, by what became of them.
    images : float
        Test images of a model; NaN where nothing was evaluated.
    best : float
        Mean accuracy of the better arm, to tell where all only guess.
    """

    setting: dict[str, str | float]
    values: pd.Series
    words: str
    counts: dict[str, int] = field(default_factory=dict)
    images: float = float("nan")
    best: float = float("nan")

    def table(self) -> pd.DataFrame:
        """Return models x points, complete models only, points ascending."""
        if self.values.empty:
            return pd.DataFrame()
        return self.values.unstack("point").dropna().sort_index(axis=1)


def samples(rows: pd.DataFrame, part: Part, over: str | None = None) -> list[Sample]:
    """Estimate the part's sum of arms for every model in every setting.

    Parameters
    ----------
    rows : DataFrame
        Rows of the store.
    part : part of a claim
        With arms: a contrast gives a sample for every label of `of`.
    over : str, optional
        An axis along which a model has several numbers: the values are then indexed by checkpoint and ``point``.

    Returns
    -------
    list of Sample
        A setting without any model has no values but its counts.

    Notes
    -----
    Arms are paired on dense model, calibration draw, precision and device class. A model that lacks a label of an
    arm is left out. Where the allocation sets the sparsity (EMP), rows of arms that reached different sparsities are
    no pair: the difference would be that of the sparsity.
    """
    chosen = select(rows, part)[list(_needed(part.value))]  # type: ignore[union-attr]
    return [
        sample
        for arms, setting, words in _alternatives(chosen, part)
        for sample in _combined(chosen, arms, setting, words, part.value, over)  # type: ignore[union-attr]
    ]


def _needed(value: str) -> tuple[str, ...]:
    """Columns that a sample is made from: a whole row is wide, and most parts look at a few numbers of it."""
    noted = () if value in ("accuracy", "change") else ("notes", "train_overlap")
    return (*_KEYS, *_ROW, *noted)


def axis_samples(rows: pd.DataFrame, part: Differs) -> list[Sample]:
    """Return the accuracies of every model along an axis, in every setting of the rest; see `samples`."""
    chosen = select(rows, part)[list(_needed(part.value))]
    if part.of is not None:
        chosen = chosen[chosen[part.axis].isin(labels(chosen[part.axis], part.of))]
    names = ", ".join(map(str, chosen[part.axis].dropna().unique()))
    words = f"{part.axis.replace('_', ' ')} {names}"
    return list(_combined(chosen, [Arm(1.0, {})], {}, words, part.value, part.axis))


def _alternatives(rows: pd.DataFrame, part: Part) -> Iterator[tuple[list[Arm], dict[str, str], str]]:
    """Resolve the part's arms; a contrast or `any_of` has one pair of arms per label (and search)."""
    if isinstance(part, Terms):
        arms = [arm for arm in (_resolve(rows, term) for term in part.terms) if arm is not None]
        if len(arms) == len(part.terms):
            yield arms, {}, _sum_in_words(arms)
        return
    assert isinstance(part, Contrast | AnyOf)
    against = labels(rows[part.axis], (part.against,))
    for label in labels(rows[part.axis], part.of):
        if not against or label in against:
            continue
        own = rows[rows[part.axis].eq(label)]
        if part.axis != "scorer":
            yield _pair({part.axis: [label]}, {part.axis: against[:1]}), {}, f"{label} minus {against[0]}"
            continue
        partners = set(rows.loc[rows["scorer"].eq(against[0]), "search"])
        for search in own["search"].unique():
            partner = search if search in partners else "none"
            arms = _pair({"scorer": [label], "search": [search]}, {"scorer": against[:1], "search": [partner]})
            method = str(own.loc[own["search"].eq(search), "method"].iloc[0])
            setting = {"scorer": str(label)} | ({} if search == "none" else {"method": method})
            yield arms, setting, f"{method} minus {against[0]}"


def _pair(of: dict[str, list[Any]], against: dict[str, list[Any]]) -> list[Arm]:
    return [Arm(1.0, of), Arm(-1.0, against)]


def _resolve(rows: pd.DataFrame, term: Term) -> Arm | None:
    """Resolve the labels of a term among the rows that its earlier columns leave; None where there is none."""
    found: dict[str, list[Any]] = {}
    for column, wanted in term.of.items():
        found[column] = labels(rows[column], wanted)
        rows = rows[rows[column].isin(found[column])]
        if not found[column]:
            return None
    if "scorer" in found and "search" not in found and rows["search"].nunique() > 1:
        valid = ", ".join(map(str, rows["search"].unique()))
        raise AnalysisError(f"a term with scorer {', '.join(found['scorer'])} must say which search: valid: {valid}")
    return Arm(term.weight, found)


def _sum_in_words(arms: Sequence[Arm]) -> str:
    said = []
    for number, arm in enumerate(arms):
        sign = ("minus " if number else "-") if arm.weight < 0 else ("plus " if number else "")
        times = "" if abs(arm.weight) == 1 else f"{abs(arm.weight):g} x "
        said.append(
            f"{sign}{times}({arm.words()})" if len(arms) > 1 and " " in arm.words() else f"{sign}{times}{arm.words()}"
        )
    return " ".join(said)


def _combined(
    chosen: pd.DataFrame, arms: Sequence[Arm], labelled: dict[str, str], words: str, value: str, over: str | None
) -> Iterator[Sample]:
    """Sum the arms in every setting of what they do not name."""
    named = {column for arm in arms for column in arm.labels} | ({over} if over else set())
    if named & {"scorer", "search"}:
        named |= {"search", "method"}  # a scorer comes with its searches, and both make the method
    keys = [key for key in _KEYS if key not in named]
    block = [*keys, "checkpoint", "calibration_draw", "device_class", *([over] if over else [])]
    parts = [arm.among(chosen) for arm in arms]
    if any(part.empty for part in parts):
        return
    planned = chosen.loc[chosen.index.isin(pd.concat(parts).index)]
    totals = _sum_of_arms(parts, arms, keys, block, value)
    fates = frames.count_states(planned, keys)
    everywhere = set.intersection(
        *({_key(row) for row in part[keys].drop_duplicates().itertuples(index=False)} for part in parts)
    )
    shown = [key for key in keys if key not in ("precision", "search") and not _one_calibration(key, chosen)]
    asked = frames.done(parts[0]).groupby(keys, sort=False, dropna=False, observed=True).size()
    first = {_key(k): int(n) for k, n in asked.items()}
    models = _by_setting(totals, keys, over)
    for row in fates.to_dict("records"):
        own = models.get(_key(row[key] for key in keys))
        if _key(row[key] for key in keys) not in everywhere:
            continue  # the study plans no cell of one arm here: no question
        setting = describe({key: row[key] for key in shown}) | labelled
        if setting.get("method") == setting.get("scorer"):
            setting.pop("method", None)
        counts = {"failed": row["failed"], "skipped": row["skipped"], "to do": row["to_do"]}
        counts["without a partner"] = first.get(_key(row[key] for key in keys), 0) - (0 if own is None else own.cells)
        counts = {name: int(count) for name, count in counts.items() if count}
        said = f"mean {WORDS[value]} of {words}{', paired by model' if len(arms) > 1 else ''}"
        if own is None:
            yield Sample(setting, pd.Series(dtype="float64"), said, counts)
        else:
            yield Sample(setting, own.values, said, counts, own.images, own.best)


def _one_calibration(key: str, rows: pd.DataFrame) -> bool:
    """Whether a column is a calibration size of which there is one: it tells no setting from another."""
    return key.startswith("calibration_") and rows[key].nunique() <= 1


@dataclass(frozen=True)
class _Totals:
    """What one setting's blocks come to: numbers per model (and point), paired cells, images and best accuracy."""

    values: pd.Series
    cells: int
    images: float
    best: float


def _by_setting(totals: pd.DataFrame, keys: list[str], over: str | None) -> dict[tuple[Any, ...], _Totals]:
    """Average the sums of arms over each model's draws, setting by setting; all at once, since grouping is slow."""
    if totals.empty:
        return {}
    within = {"checkpoint": "checkpoint", **({over: "point"} if over else {})}
    settings = totals.groupby(keys, sort=False, dropna=False, observed=True)
    told = settings.agg(cells=("cells", "sum"), images=("images", "min"), best=("best", "mean")).reset_index()
    points = totals.groupby([*keys, *within], sort=False, dropna=False, observed=True)["total"]
    # a number that is not finite is kept, so that it is named
    means = points.mean().where(points.count().eq(points.size())).reset_index()
    place = means.groupby(keys, sort=False, dropna=False, observed=True).ngroup().to_numpy()
    values = means.rename(columns=within).set_index([*within.values()])["total"]
    order = np.argsort(place, kind="stable")
    stops = np.searchsorted(place[order], np.arange(len(told) + 1))
    return {
        _key(row[key] for key in keys): _Totals(
            values.iloc[order[start:stop]], int(row["cells"]), float(row["images"]), float(row["best"])
        )
        for row, start, stop in zip(told.to_dict("records"), stops, stops[1:], strict=False)
    }


def _sum_of_arms(
    parts: Sequence[pd.DataFrame], arms: Sequence[Arm], keys: list[str], block: list[str], value: str
) -> pd.DataFrame:
    """Sum the arms in every block that has all of them; a value that is not finite makes the sum so."""
    sums = []
    for part, arm in zip(parts, arms, strict=True):
        wanted = part[[*keys, *arm.labels]].drop_duplicates().groupby(keys, dropna=False, observed=True).size()
        own = frames.done(part)
        own = own.assign(value=with_value(own, value))
        own = own[own["value"].notna() | own["accuracy"].isna()]
        grouped = own.groupby(block, sort=False, dropna=False, observed=True)
        frame = grouped.agg(
            value=("value", "mean"), known=("value", "count"), cells=("accuracy", "size"), images=("n_test", "min"),
            best=("accuracy", "mean"), low=("sparsity_achieved", "min"), high=("sparsity_achieved", "max"),
        ).reset_index().merge(wanted.rename("wanted").reset_index(), on=keys, how="left")  # fmt: skip
        frame = frame[frame["cells"].eq(frame["wanted"])]
        total = arm.weight * frame["value"].where(frame["known"].eq(frame["cells"]))
        sums.append(frame.assign(total=total)[[*block, "total", "cells", "images", "best", "low", "high"]])
    joined = sums[0]
    for more in sums[1:]:
        both = joined.merge(more, on=block, how="inner", suffixes=("", "_more"))
        joined = both[block].assign(
            total=both["total"] + both["total_more"], cells=both["cells"], images=both["images"],
            best=both[["best", "best_more"]].max(axis=1), low=both[["low", "low_more"]].min(axis=1),
            high=both[["high", "high_more"]].max(axis=1),
        )  # fmt: skip
    if "sparsity" in block:
        same = (joined["high"] - joined["low"]).abs().le(1e-9) | joined["low"].isna() | (len(arms) == 1)
        joined = joined[joined["sparsity"].notna() | same]
    return joined


def _key(values: Any) -> tuple[Any, ...]:
    """Make a group's key comparable: a null equals a null."""
    return tuple(None if pd.isna(value) else value for value in (values if not isinstance(values, str) else [values]))
