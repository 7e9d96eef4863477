"""From rows to one number per model: the sum of arms that a part of a claim is about, paired within each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.cells import chosen_rows
from analysis.claims.parts import Part, Term
from analysis.claims.values import WORDS, with_value
from analysis.errors import AnalysisError
from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.labels import matching_labels

#: Keys of a setting that a part may leave to its arms.
_KEYS: tuple[str, ...] = (*frames.SETTING, *frames.METHOD)
#: What else a sample needs of a row.
_ROW: tuple[str, ...] = (
    "checkpoint", "calibration_draw", "device_class", "state", "accuracy", "n_test", "sparsity_achieved",
    "dense_accuracy", "mask", "identity_covered", "identity_ratio",
)  # fmt: skip
#: Keys that group rows even where they are constant: there must be one, and a null sparsity is treated in its own way.
_GROUPED = ("dataset", "sparsity")
#: Columns that set the mask and nothing else: arms that differ in these alone and share a mask are one network.
_MASK_COLUMNS = {"scorer", "search", "allocation"}
#: Largest ratio (through BatchNorm's eps) at which the cancellation identity is taken to hold.
LARGEST_RATIO = 1.05


@dataclass(frozen=True)
class Arm:
    """One arm, its labels resolved: `weight` times the mean over `labels`."""

    weight: float
    labels: dict[str, list[Any]]

    def among(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this arm."""
        for column, names in self.labels.items():
            rows = rows[rows[column].isin(names)]
        return rows

    def in_words(self) -> str:
        """Name the arm."""
        named = [
            " and ".join(map(str, names)) for column, names in self.labels.items()
            if not (column == "search" and names == ["none"])
        ]  # fmt: skip
        several = any(len(names) > 1 for names in self.labels.values())
        return ("mean of " if several else "") + " + ".join(named)


@dataclass(frozen=True)
class Comparison:
    """Arms that are summed, the labels that they add to the setting, and their name in words."""

    arms: tuple[Arm, ...]
    labelled: dict[str, str]
    words: str


@dataclass(frozen=True)
class Sample:
    """The numbers of one setting.

    Attributes
    ----------
    setting : dict
        Column -> plain value.
    values : Series
        One number per model in percentage points, indexed by checkpoint; draws are averaged. With several points per
        model (see `samples`), indexed by checkpoint and ``point``.
    words : str
        The estimand.
    counts : dict
        Cells that are not used, by reason.
    images : float
        Test images of a model; NaN where nothing was evaluated.
    by_construction : str
        Why all differences are zero by definition; empty where they are measured.
    """

    setting: dict[str, str | float]
    values: pd.Series
    words: str
    counts: dict[str, int] = field(default_factory=dict)
    images: float = float("nan")
    by_construction: str = ""

    def table(self) -> pd.DataFrame:
        """Return models x points, complete models only, points ascending."""
        if self.values.empty:
            return pd.DataFrame()
        return self.values.unstack("point").dropna().sort_index(axis=1)


def samples(
    evidence: Evidence, part: Part, comparisons: Sequence[Comparison], value: str, along: str | None = None
) -> list[Sample]:
    """Compute the sum of arms for every model in every setting.

    Parameters
    ----------
    evidence : Evidence
        Its rows are fractions; the samples are in percentage points.
    part : Part
        Its filters apply.
    comparisons : sequence of Comparison
        Each gives its own samples.
    value : str
        See `analysis.claims.values`.
    along : str, optional
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
    where = tuple(sorted(part.where.items()))
    return [
        sample for one in comparisons
        for sample in evidence.remember(
            ("samples", where, part.limits, repr(one), value, along),
            partial(_samples, evidence, part, one, value, along),
        )
    ]  # fmt: skip


def _samples(evidence: Evidence, part: Part, comparison: Comparison, value: str, along: str | None) -> list[Sample]:
    noted = () if value in ("accuracy", "change") else ("notes", "train_overlap")
    rows = chosen_rows(evidence, part)[[*_KEYS, *_ROW, *noted]]
    complete = {
        label for label in evidence.planned_labels["recalibration"]
        if (record := evidence.known_methods.find("recalibration", label)) is not None and record.complete
    }  # fmt: skip
    return list(_combined(rows, comparison, value, along, complete))


def sum_of_terms(evidence: Evidence, part: Part, terms: Sequence[Term]) -> list[Comparison]:
    """Resolve the arms of a weighted sum; none where the study lacks an arm."""
    rows = chosen_rows(evidence, part)
    arms = [arm for arm in (_resolve(rows, term) for term in terms) if arm is not None]
    return [Comparison(tuple(arms), {}, _sum_in_words(arms))] if len(arms) == len(terms) else []


def pairs_with(evidence: Evidence, part: Part, axis: str, of: Sequence[str], against: str) -> list[Comparison]:
    """Pair every label of `of` (and every search of a scorer) with the reference label."""
    rows = chosen_rows(evidence, part)
    present = list(rows[axis].dropna().unique())
    reference = matching_labels(present, (against,))[:1]
    found: list[Comparison] = []
    for label in matching_labels(present, of) if reference else []:
        if label == reference[0]:
            continue
        if axis != "scorer":
            arms = _difference({axis: [label]}, {axis: reference})
            found.append(Comparison(arms, {}, f"{label} minus {reference[0]}"))
            continue
        own = rows[rows["scorer"].eq(label)]
        partners = set(rows.loc[rows["scorer"].eq(reference[0]), "search"])
        for search in own["search"].unique():
            partner = search if search in partners else "none"
            arms = _difference({"scorer": [label], "search": [search]}, {"scorer": reference, "search": [partner]})
            method = str(own.loc[own["search"].eq(search), "method"].iloc[0])
            labelled = {"scorer": str(label)} | ({} if search == "none" else {"method": method})
            found.append(Comparison(arms, labelled, f"{method} minus {reference[0]}"))
    return found


def _difference(of: dict[str, list[Any]], against: dict[str, list[Any]]) -> tuple[Arm, ...]:
    return Arm(1.0, of), Arm(-1.0, against)


def _resolve(rows: pd.DataFrame, term: Term) -> Arm | None:
    """Resolve the labels of a term among the rows that its earlier columns leave; None where there is none."""
    found: dict[str, list[Any]] = {}
    for column, names in term.of.items():
        found[column] = matching_labels(rows[column].dropna().unique(), names)
        rows = rows[rows[column].isin(found[column])]
        if not found[column]:
            return None
    if "scorer" in found and "search" not in found and rows["search"].nunique() > 1:
        valid = ", ".join(map(str, rows["search"].unique()))
        raise AnalysisError(
            f"a term with the scorer {', '.join(found['scorer'])} matches several searches; add 'search: ...' to it, "
            f"one of: {valid}"
        )
    return Arm(term.weight, found)


def _sum_in_words(arms: Sequence[Arm]) -> str:
    parts = []
    for number, arm in enumerate(arms):
        sign = ("minus " if number else "-") if arm.weight < 0 else ("plus " if number else "")
        times = "" if abs(arm.weight) == 1 else f"{abs(arm.weight):g} x "
        name = arm.in_words()
        parts.append(f"{sign}{times}({name})" if len(arms) > 1 and " " in name else f"{sign}{times}{name}")
    return " ".join(parts)


def setting_of(values: Mapping[str, Any]) -> dict[str, str | float]:
    """Return a setting as plain values; nulls are left out.

    Examples
    --------
    >>> setting_of({"model": "vit", "sparsity": np.float64(0.5), "allocation": None})
    {'model': 'vit', 'sparsity': 0.5}
    """
    plain = {key: value for key, value in values.items() if not pd.isna(value)}
    return {key: value if isinstance(value, str) else float(value) for key, value in plain.items()}


def _combined(
    chosen: pd.DataFrame, comparison: Comparison, value: str, along: str | None, complete: set[str]
) -> Iterator[Sample]:
    """Sum the arms in every setting of the columns that they do not name."""
    arms = comparison.arms
    named = {column for arm in arms for column in arm.labels} | ({along} if along else set())
    if named & {"scorer", "search"}:
        named |= {"search", "method"}  # a scorer comes with its searches, and both make the method
    free = [key for key in _KEYS if key not in named]
    fixed = {key: chosen[key].iloc[0] for key in free if key not in _GROUPED and _is_constant(chosen[key])}
    keys = [key for key in free if key not in fixed]  # grouping costs as much for a constant column as for any other
    block = [*keys, "checkpoint", "calibration_draw", "device_class", *([along] if along else [])]
    parts = [arm.among(chosen) for arm in arms]
    if any(part.empty for part in parts):
        return
    planned = chosen.loc[chosen.index.isin(pd.concat(parts).index)]
    if any(frames.done(part).empty for part in parts):  # grouping nothing takes as long as grouping rows
        totals = pd.DataFrame()
    else:
        totals = _sum_of_arms(parts, arms, keys, block, value)
    states = frames.count_states(planned, keys)
    everywhere = set.intersection(
        *({_key(row) for row in part[keys].drop_duplicates().itertuples(index=False)} for part in parts)
    )
    shown = [key for key in free if key not in ("precision", "search") and not _single_calibration(key, chosen)]
    cells = frames.done(parts[0]).groupby(keys, sort=False, dropna=False, observed=True).size()
    first = {_key(k): int(n) for k, n in cells.items()}
    models = _by_setting(totals, keys, along)
    paired = ", paired by model" if len(arms) > 1 else ""
    words = f"mean {WORDS[value]} of {comparison.words}{paired}"
    for row in states.to_dict("records"):
        key = _key(row[name] for name in keys)
        if key not in everywhere:
            continue  # the study plans no cell of one arm here: no question
        own = models.get(key)
        setting = setting_of({name: (fixed | row)[name] for name in shown}) | comparison.labelled
        if setting.get("method") == setting.get("scorer"):
            setting.pop("method", None)
        counts = {"failed": row["failed"], "skipped": row["skipped"], "to do": row["to_do"]}
        counts["without a partner"] = first.get(key, 0) - (0 if own is None else own.cells)
        counts = {name: int(count) for name, count in counts.items() if count}
        if own is None:
            yield Sample(setting, pd.Series(dtype="float64"), words, counts)
            continue
        reason = ""
        if own.same_mask and value in ("accuracy", "change"):
            reason = "identical masks"
        elif own.cancels and value in ("accuracy", "change") and setting.get("recalibration") in complete:
            reason = "the corrections cancel under complete recalibration"
        yield Sample(setting, own.values, words, counts, own.images, reason)


def _is_constant(column: pd.Series) -> bool:
    """Whether a column that is not empty has one value, a null counting as a value."""
    first = column.iloc[0]
    return bool(column.isna().all() if pd.isna(first) else column.eq(first).fillna(False).all())


def _single_calibration(key: str, rows: pd.DataFrame) -> bool:
    """Whether a column is a calibration size that has one value: it does not distinguish settings."""
    return key.startswith("calibration_") and rows[key].nunique() <= 1


@dataclass(frozen=True)
class _Totals:
    """The sums of one setting: values per model (and point), paired cells, images, and what is equal by definition."""

    values: pd.Series
    cells: int
    images: float
    same_mask: bool
    cancels: bool


def _by_setting(totals: pd.DataFrame, keys: list[str], along: str | None) -> dict[tuple[Any, ...], _Totals]:
    """Average the sums of arms over each model's draws, setting by setting; all at once, since grouping is slow."""
    if totals.empty:
        return {}
    within = {"checkpoint": "checkpoint", **({along: "point"} if along else {})}
    settings = totals.groupby(keys, sort=False, dropna=False, observed=True)
    summary = settings.agg(
        cells=("cells", "sum"), images=("images", "min"), same_mask=("same_mask", "all"), cancels=("cancels", "all")
    ).reset_index()
    points = totals.groupby([*keys, *within], sort=False, dropna=False, observed=True)["total"]
    # a number that is not finite is kept, so that it is named
    means = points.mean().where(points.count().eq(points.size())).reset_index()
    place = means.groupby(keys, sort=False, dropna=False, observed=True).ngroup().to_numpy()
    values = means.rename(columns=within).set_index([*within.values()])["total"]
    order = np.argsort(place, kind="stable")
    stops = np.searchsorted(place[order], np.arange(len(summary) + 1))
    return {
        _key(row[key] for key in keys): _Totals(
            values.iloc[order[start:stop]], int(row["cells"]), float(row["images"]), bool(row["same_mask"]),
            bool(row["cancels"]),
        )
        for row, start, stop in zip(summary.to_dict("records"), stops, stops[1:], strict=False)
    }  # fmt: skip


def _sum_of_arms(
    parts: Sequence[pd.DataFrame], arms: Sequence[Arm], keys: list[str], block: list[str], value: str
) -> pd.DataFrame:
    """Sum the arms in every block that has all of them; a value that is not finite makes the sum so."""
    sums = []
    for part, arm in zip(parts, arms, strict=True):
        own = frames.done(part)
        repaired = own["correction"].ne("none")
        covered = own["identity_covered"].fillna(False).astype(bool) & own["identity_ratio"].le(LARGEST_RATIO)
        own = own.assign(value=with_value(own, value), cancels=~repaired | covered.fillna(False), repaired=repaired)
        own = own[own["value"].notna() | own["accuracy"].isna()]
        frame = _by_block(own, block)
        if all(len(names) == 1 for names in arm.labels.values()):
            frame = frame[frame["cells"].eq(1)]
        else:
            planned = part[[*keys, *arm.labels]].drop_duplicates().groupby(keys, dropna=False, observed=True).size()
            frame = frame.merge(planned.rename("planned").reset_index(), on=keys, how="left")
            frame = frame[frame["cells"].eq(frame["planned"])]
        total = arm.weight * frame["value"].where(frame["known"].eq(frame["cells"]))
        one_mask = frame["mask"].where(frame["masks"].eq(1))
        columns = [*block, "total", "cells", "images", "low", "high", "mask", "cancels", "repaired"]
        sums.append(frame.assign(total=total, mask=one_mask)[columns].assign(same_mask=one_mask.notna()))
    joined = sums[0]
    for more in sums[1:]:
        both = joined.merge(more, on=block, how="inner", suffixes=("", "_more"))
        joined = both[block].assign(
            total=both["total"] + both["total_more"], cells=both["cells"], mask=both["mask"],
            images=both["images"], low=both[["low", "low_more"]].min(axis=1),
            high=both[["high", "high_more"]].max(axis=1),
            same_mask=both["same_mask"] & both["mask"].eq(both["mask_more"]),
            cancels=both["cancels"] & both["cancels_more"], repaired=both["repaired"] | both["repaired_more"],
        )  # fmt: skip
    differences = len(arms) > 1 and sum(arm.weight for arm in arms) == 0
    differ_in = {column for arm in arms for column in arm.labels}
    corrections = differ_in == {"correction"}
    joined = joined.assign(
        same_mask=joined["same_mask"] & differences & (differ_in <= _MASK_COLUMNS),
        cancels=joined["cancels"] & joined["repaired"] & differences & corrections,
    )
    if "sparsity" in block:
        same = (joined["high"] - joined["low"]).abs().le(1e-9) | joined["low"].isna() | (len(arms) == 1)
        joined = joined[joined["sparsity"].notna() | same]
    return joined


def _by_block(own: pd.DataFrame, block: list[str]) -> pd.DataFrame:
    """Average the cells of every block; where each has one cell, as usual, without the slow grouping."""
    if own.duplicated(block).any():
        grouped = own.groupby(block, sort=False, dropna=False, observed=True)
        return grouped.agg(
            value=("value", "mean"), known=("value", "count"), cells=("accuracy", "size"), images=("n_test", "min"),
            low=("sparsity_achieved", "min"), high=("sparsity_achieved", "max"), mask=("mask", "first"),
            masks=("mask", "nunique"), cancels=("cancels", "all"), repaired=("repaired", "any"),
        ).reset_index()  # fmt: skip
    names = {"n_test": "images", "sparsity_achieved": "low"}
    frame = own[[*block, "value", *names, "mask", "cancels", "repaired"]].rename(columns=names)
    known, masks = frame["value"].notna().astype(int), frame["mask"].notna().astype(int)
    return frame.assign(known=known, cells=1, high=frame["low"], masks=masks)


def _key(values: Any) -> tuple[Any, ...]:
    """Return a group's key in which a null equals a null."""
    return tuple(None if pd.isna(value) else value for value in (values if not isinstance(values, str) else [values]))
