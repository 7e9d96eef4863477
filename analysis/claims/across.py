"""Questions over several sparsities, methods or settings at once: best of several, trend, change of sign, overall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.claims.contrasts import SEED, Estimate, default_margin, known_classes, open_record
from analysis.claims.records import Record, number
from analysis.claims.samples import Sample, axis_samples, samples
from analysis.claims.schema import (
    AcrossPart,
    AnyOf,
    Association,
    Claim,
    Combination,
    Differs,
    Overall,
    SignChange,
    Term,
    Trend,
)
from analysis.claims.values import WORDS
from analysis.stats.degenerate import at_chance, classify
from analysis.stats.equivalence import tost
from analysis.stats.intervals import t_interval
from analysis.stats.max_t import max_t
from analysis.stats.mixed import contrast as mixed_contrast
from analysis.stats.mixed import mixed
from analysis.stats.paired import paired_t
from analysis.stats.ranks import friedman
from analysis.stats.trend import page
from bench.store.reader import StudyData

#: A trend or a correlation over fewer points says nothing.
LEAST_POINTS = 3


def across_estimates(part: AcrossPart, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    """Estimate a part that looks at several cells of a model together.

    Returns
    -------
    list of Estimate
        With raw p-values and no differences: their verdicts rest on the p-values.
    """
    if isinstance(part, AnyOf):
        return _any_of(part, claim, data, base)
    if isinstance(part, Association):
        return _association(part, claim, data, base)
    if isinstance(part, Overall):
        return _overall(part, claim, data, base)
    if isinstance(part, Differs):
        found = axis_samples(data.rows, part)
        return [_estimate(part, claim, base, s, s.table(), _differs(part, s), known_classes(data)) for s in found]
    classes = known_classes(data)
    if isinstance(part, Trend):
        found = samples(data.rows, part, part.over)
        return [_estimate(part, claim, base, s, s.table(), _trend(part, s), classes) for s in found]
    found = samples(data.rows, part, "sparsity")
    return [_estimate(part, claim, base, s, s.table(), _sign_change(part, s), classes) for s in found]


def _estimate(
    part: AcrossPart, claim: Claim, base: dict[str, Any], sample: Sample, table: pd.DataFrame,
    tested: Mapping[str, Any], classes: Mapping[str, int],
) -> Estimate:  # fmt: skip
    fields = open_record(part, claim, base, sample, len(table)) | dict(tested)
    models = sample.values.index.get_level_values("checkpoint").nunique() if len(sample.values) else 0
    left_out = models - len(table)
    fields["counts"] = sample.counts | ({"models without every point": left_out} if left_out else {})
    dataset = str(sample.setting.get("dataset"))
    told = part.value == "accuracy" and len(table) > 0 and dataset in classes
    if told and at_chance(sample.best, classes[dataset], int(sample.images)):
        fields |= {"category": "chance level", "p": None, "p_against": None}
    return Estimate(Record(**fields), np.empty(0))


def _trend(part: Trend, sample: Sample) -> dict[str, Any]:
    table = sample.table()
    said = {"test": "Page's trend", "details": _means(table)}
    if table.shape[1] < LEAST_POINTS:
        return said | {"category": "too few points" if len(table) else "no data"}
    found = page(table.to_numpy(), part.direction)
    return said | {
        "statistic": number(found.statistic), "p": number(found.p), "p_against": number(found.p_against),
        "category": found.category,
    }  # fmt: skip


def _sign_change(part: SignChange, sample: Sample) -> dict[str, Any]:
    """Both signs by max-T over the sparsities; refuted where one sign, or no difference, holds at every sparsity."""
    table = sample.table()
    said = {"test": "sign-flip max-T, both signs", "seed": SEED, "details": _means(table)}
    if table.shape[1] < 2:
        return said | {"category": "too few points" if len(table) else "no data"}
    if len(table) < 2 or not np.isfinite(table.to_numpy()).all():
        return said | {"category": classify(table.iloc[:, 0])}
    values = table.to_numpy()
    up, down = max_t(values, "greater", seed=SEED), max_t(values, "less", seed=SEED)
    margin = part.margin if part.margin is not None else default_margin(sample.images)
    against = 3 * min(
        _worst(paired_or_value(column, "greater") for column in values.T),
        _worst(paired_or_value(column, "less") for column in values.T),
        _worst(_equal(column, margin) for column in values.T),
    )
    return said | {
        "p": number(max(up.p, down.p)), "p_against": min(1.0, against), "margin": margin,
        "repetitions": up.repetitions, "category": "regular",
        "details": _means(table) | {"p of some positive": number(up.p), "p of some negative": number(down.p)},
    }  # fmt: skip


def _differs(part: Differs, sample: Sample) -> dict[str, Any]:
    """Friedman's test, of two levels the paired t test; refuted where every pair is equal within the margin."""
    table = sample.table()
    said = {"test": "Friedman (Iman-Davenport)", "details": _means(table)}
    if table.shape[1] < 2:
        return said | {"category": "too few points" if len(table) else "no data"}
    if len(table) < 2 or not np.isfinite(table.to_numpy()).all():
        return said | {"category": "one model" if len(table) == 1 else classify(table.iloc[:, 0])}
    values = table.to_numpy()
    margin = part.margin if part.margin is not None else default_margin(sample.images)
    pairs = [values[:, i] - values[:, j] for i in range(values.shape[1]) for j in range(i)]
    if values.shape[1] == 2:
        pair = paired_t(values[:, 0] - values[:, 1])
        tested: dict[str, Any] = {
            "test": pair.name,
            "statistic": number(pair.statistic),
            "df": number(pair.df),
            "p": pair.p,
        }
        if pair.category in ("identical", "constant"):
            tested["p"] = 1.0 if pair.category == "identical" else 0.0
    else:
        found = friedman(values)
        p = found.p_f if found.category == "regular" else 1.0
        tested = {"statistic": number(found.f), "df": number(found.df1), "p": number(p)}
    return said | tested | {
        "p_against": _worst(_equal(pair, margin) for pair in pairs), "margin": margin, "category": "regular",
    }  # fmt: skip


def paired_or_value(values: NDArray[np.float64], alternative: str) -> float:
    """One-sided p of the mean against 0; differences without variance are decided by their value."""
    if classify(values) in ("constant", "identical"):
        mean = float(values.mean())
        return 0.0 if (mean > 0 if alternative == "greater" else mean < 0) and classify(values) == "constant" else 1.0
    return paired_t(values, 0.0, alternative).p  # type: ignore[arg-type]


def _equal(values: NDArray[np.float64], margin: float) -> float:
    if classify(values) in ("constant", "identical"):
        return 0.0 if abs(float(values.mean())) < margin else 1.0
    return tost(values, margin).p


def _worst(p_values: Any) -> float:
    return max((1.0 if math.isnan(p) else p for p in p_values), default=1.0)


def _means(table: pd.DataFrame) -> dict[str, float | int | str | None]:
    return {f"mean at {point}": number(value) for point, value in table.mean().items()}


def _any_of(part: AnyOf, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    grouped: dict[str, list[Sample]] = {}
    for sample in samples(data.rows, part):
        place = {key: value for key, value in sample.setting.items() if key not in ("scorer", "method", part.axis)}
        grouped.setdefault(repr(sorted(place.items())), []).append(sample)
    estimates = []
    for members in grouped.values():
        names = [member.words.partition(" of ")[2].partition(" minus ")[0] for member in members]
        table = pd.concat([m.values for m in members], axis=1, keys=names).dropna()
        place = {k: v for k, v in members[0].setting.items() if k not in ("scorer", "method", part.axis)}
        counts: dict[str, int] = {}
        for member in members:
            for name, count in member.counts.items():
                counts[name] = counts.get(name, 0) + count
        said = f"largest mean {WORDS[part.value]} of {', '.join(names)}, each minus {part.against}"
        sample = Sample(
            place, pd.Series(table.stack()), said, counts, min(m.images for m in members), max(m.best for m in members),
        )  # fmt: skip
        tested: dict[str, Any] = {
            "test": "sign-flip max-T", "seed": SEED, "details": _means(table), "margin": 0.0,
            "effect": number(float(table.mean().max())) if len(table) else None,
        }  # fmt: skip
        if len(table) < 2:
            tested["category"] = classify(table.iloc[:, 0]) if len(table.columns) else "no data"
        else:
            values = table.to_numpy()
            found = max_t(values, "greater", seed=SEED)
            adjusted: dict[str, float | int | str | None] = {
                f"p of {name}": number(p) for name, p in zip(names, found.p_adjusted, strict=True)
            }
            tested |= {
                "p": number(found.p), "p_against": _worst(paired_or_value(c, "less") for c in values.T),
                "repetitions": found.repetitions, "category": found.category, "details": _means(table) | adjusted,
            }  # fmt: skip
        sample.values.index.set_names(["checkpoint", "point"], inplace=True)
        estimates.append(_estimate(part, claim, base, sample, table, tested, known_classes(data)))
    return estimates


def _association(part: Association, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    """Rank correlation over the sparsities within each model, its mean tested against 0."""
    first = Combination(
        id=part.id, text=part.text, estimand="combination", kind="superiority", where=part.where,
        sparsities=part.sparsities, terms=(Term(of=part.terms[0].of),), value=part.along,
    )  # fmt: skip
    along = {repr(sorted(s.setting.items())): s.table() for s in samples(data.rows, first, "sparsity")}
    estimates = []
    for sample in samples(data.rows, part, "sparsity"):
        table, other = sample.table(), along.get(repr(sorted(sample.setting.items())))
        said = (
            f"mean over models of the rank correlation over sparsities between {sample.words} and {WORDS[part.along]}"
        )
        open_sample = Sample(sample.setting, sample.values, said, sample.counts, sample.images, sample.best)
        tested: dict[str, Any] = {"test": "paired t"}
        if other is None or other.empty:
            tested["category"] = "no data"
            table = table.iloc[:0]
        else:
            table, other = table.align(other, join="inner")
            if table.shape[1] < LEAST_POINTS or len(table) < 2:
                tested["category"] = "too few points" if len(table) > 1 else classify(table.mean(axis=1))
            else:
                rho = np.array([_rho(a, b) for a, b in zip(table.to_numpy(), other.to_numpy(), strict=True)])
                tested |= _of_correlations(rho)
        estimates.append(_estimate(part, claim, base, open_sample, table, tested, known_classes(data)))
    return estimates


def _rho(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rho; 0 where one of both does not vary: no association."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def _of_correlations(rho: NDArray[np.float64]) -> dict[str, Any]:
    interval = t_interval(rho)
    above, below = paired_t(rho, 0, "greater"), paired_t(rho, 0, "less")
    told: dict[str, float | int | str | None] = {
        "mean rho": number(interval.mean),
        "rho, low": number(interval.low),
        "rho, high": number(interval.high),
    }
    if interval.category in ("constant", "identical"):
        return {
            "details": told, "category": "regular", "p": 0.0 if interval.mean > 0 else 1.0,
            "p_against": 0.0 if interval.mean < 0 else 1.0,
            "reason": "degenerate: every model has this correlation",
        }  # fmt: skip
    return {
        "statistic": number(above.statistic), "df": number(above.df), "p": number(above.p),
        "p_against": number(below.p), "category": interval.category, "details": told,
    }  # fmt: skip


def _overall(part: Overall, claim: Claim, data: StudyData, base: dict[str, Any]) -> list[Estimate]:
    """Mean over all settings by a mixed model; the settings of one model are no models (STATISTICS rule 9)."""
    found = [sample for sample in samples(data.rows, part) if len(sample.values)]
    if not found:
        return []
    margin = part.margin or 0.0
    frame = pd.concat([_settings_of(sample) for sample in found], ignore_index=True)
    within = [column for column in ("sparsity", "masking") if frame[column].nunique() > 1]
    counts: dict[str, int] = {}
    for sample in found:
        for name, count in sample.counts.items():
            counts[name] = counts.get(name, 0) + count
    everywhere = {
        key: value for key, value in found[0].setting.items() if all(s.setting.get(key) == value for s in found)
    }
    models = int(frame["checkpoint"].nunique())
    sample = Sample(everywhere, found[0].values, f"{found[0].words}, over {len(found)} settings", counts)
    fields = open_record(part, claim, base, sample, models)
    positive = sum(float(s.values.mean()) > 0 for s in found)
    fields |= {"test": "mixed model", "details": {"settings": len(found), "settings with a positive mean": positive}}
    # held against its margin by a shift: the mean plus the margin against 0
    shift = -margin if part.kind == "superiority" else margin
    fit = mixed(frame.assign(difference=frame["difference"] + shift), within=within, seed=SEED)
    fields |= {"category": fit.category, "margin": margin, "effect": number(float(frame["difference"].mean()))}
    if fit.category in ("identical", "constant") and fit.models == fit.architectures:
        fields["category"] = "one model per architecture"
    if fit.category == "regular":
        effect = mixed_contrast(fit, level=1 - 2 * part.level)
        tested = fit.tests[0]
        upper = tested.p / 2 if effect.estimate > 0 else 1 - tested.p / 2
        fields |= {
            "effect": effect.estimate - shift, "low": effect.low - shift, "high": effect.high - shift,
            "level": effect.level, "df": float(effect.df), "statistic": number(tested.chi_square), "p": upper,
            "p_against": 1 - upper, "repetitions": fit.repetitions, "seed": SEED if fit.repetitions else None,
            "details": fields["details"] | {"p, chi-square, two-sided": number(tested.p_chi_square)}
            | {f"sd of {term} (points)": number(100 * variance**0.5) for term, variance in fit.variances.items()}
            | {f"left out: {term}": why for term, why in fit.dropped.items()}
            | ({"variance zero": ", ".join(fit.boundary)} if fit.boundary else {}),
        }  # fmt: skip
    return [Estimate(Record(**fields), np.empty(0))]


def _settings_of(sample: Sample) -> pd.DataFrame:
    """Return the models of one setting with what the mixed model must know of it; it averages over calibrations."""
    setting = sample.setting
    place = [str(setting.get(key)) for key in ("granularity", "allocation", "scorer")]
    return pd.DataFrame({
        "checkpoint": sample.values.index, "difference": sample.values.to_numpy(dtype=np.float64),
        "model": f"{setting.get('dataset')}: {setting.get('model')}", "sparsity": str(setting.get("sparsity")),
        "masking": ", ".join(place),
    })  # fmt: skip
