"""From scorers across settings, and masks on the same images, to tables of text and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.claims.records import CONFIRMATORY_MODELS
from analysis.evidence import frames
from analysis.formats import NONE, count, decimal, p_phrase, p_value, percent, points, span
from analysis.overview import ALPHA, Common, FamilyModel, Ranking, interquartile_means
from analysis.stats.mixed import CHI_SQUARE_MODELS


def scope_title(common: Common) -> str:
    """Name the models of a table: as in every figure, or all of them."""
    if len(common.places) > 1:
        return "all models together"
    ((dataset, model),) = common.places
    return f"{model} on {dataset}"


def rankings_table(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """One row per table that was ranked: Friedman's test, what its pairs can tell, and what is not in it."""
    rows = []
    for one in rankings:
        found, common = one.friedman, one.common
        order = one.mean_ranks.sort_values(kind="stable")
        told: list[str] = [] if found.category == "regular" else [found.category]
        if found.n < CONFIRMATORY_MODELS:
            told.append("descriptive only")
        if common.excluded:
            told.append(f"{count(common.excluded)} unfinished models left out")
        rows.append({
            **_space(common), "Models ranked over": scope_title(common), "Models": count(found.n),
            "Scorers": count(found.k), "Sparsities (%)": _sparsities(common),
            "Best mean ranks": ", ".join(f"{name} {decimal(rank)}" for name, rank in order.head(3).items()),
            "Friedman chi-square": decimal(found.chi_square), "p, chi-square": p_value(found.p),
            "Iman-Davenport F": decimal(found.f), "p, F": p_value(found.p_f),
            "Pairs told apart": f"{count((one.pairs['p_holm'] <= ALPHA).sum())} of {count(len(one.pairs))}"
            if len(one.pairs) else "none can be",
            "Smallest p a pair can have, Holm": p_value(one.least_p),
            "Without": ", ".join(common.left_out) or NONE, "Remark": "; ".join(told) or NONE,
        })  # fmt: skip
    return pd.DataFrame(rows)


def pairs_table(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """Every pair of scorers where pairs can be told apart."""
    parts = [
        pd.DataFrame({
            "Granularity": one.common.granularity, "Allocation": one.common.allocation,
            "Models ranked over": scope_title(one.common), "First": one.pairs["first"], "Second": one.pairs["second"],
            "Mean difference (points)": [points(v) for v in one.pairs["difference"]],
            "p, Wilcoxon": [p_value(v) for v in one.pairs["p"]], "p, Holm": [p_value(v) for v in one.pairs["p_holm"]],
            "Remark": [NONE if v == "regular" else v for v in one.pairs["category"]],
        })
        for one in rankings if len(one.pairs)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def summary_table(rankings: Sequence[Ranking]) -> pd.DataFrame:
    """One row per scorer of each ranking: mean rank, and interquartile mean of the share of accuracy that it keeps."""
    rows = []
    for one in rankings:
        means = interquartile_means(one.common)
        for name, rank in one.mean_ranks.sort_values(kind="stable").items():
            kept = means[str(name)]
            others = one.common.same if name == one.common.plateau else ()
            rows.append({
                **_space(one.common), "Scorer": str(name),
                "Stands also for": ", ".join(others) or NONE,
                "Models": count(kept.n), "Sparsities": count(kept.k),
                "Mean rank": decimal(rank), "Accuracy kept, interquartile mean (%)": percent(kept.iqm),
                "95 % bootstrap interval (%)": span(kept.low, kept.high),
                "Remark": NONE if kept.category == "regular" else kept.category,
            })  # fmt: skip
    return pd.DataFrame(rows)


def pictured(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Return the rankings that are worth a picture: pairs can be told apart, or the space has no such ranking."""
    told = [one for one in rankings if one.least_p <= ALPHA]
    spaces = {(one.common.granularity, one.common.allocation) for one in told}
    last = {(one.common.granularity, one.common.allocation): one for one in rankings}
    return [
        one for one in rankings
        if one in told or (one in last.values() and (one.common.granularity, one.common.allocation) not in spaces)
    ]  # fmt: skip


def ranking_sentences(rankings: Sequence[Ranking]) -> list[str]:
    """Say for each granularity and allocation whether the scorers differ, and which have the best ranks."""
    sentences = []
    for one in rankings:
        found, common = one.friedman, one.common
        best = one.mean_ranks.sort_values(kind="stable").head(3)
        text = f"Granularity {common.granularity}, allocation {common.allocation}: "
        if found.category != "regular":
            sentences.append(f"{text}not tested ({found.category}).")
            continue
        text += (
            f"{'the scorers differ' if found.p_f <= ALPHA else 'no difference between the scorers is shown'} (F = "
            f"{decimal(found.f)}, {p_phrase(found.p_f)}, {count(found.n)} models); best mean ranks: "
            f"{', '.join(f'{name} {decimal(rank)}' for name, rank in best.items())} of {count(found.k)}"
        )
        sentences.append(text + ("; descriptive only." if found.n < CONFIRMATORY_MODELS else "."))
    return sentences


def attainable_sentence(rankings: Sequence[Ranking]) -> str:
    """Say where no pair can be told apart, whatever the data."""
    none = [one for one in rankings if one.least_p > ALPHA]
    if not none:
        return ""
    fewest, most = (limit(one.friedman.n for one in none) for limit in (min, max))
    models = count(fewest) if fewest == most else f"{count(fewest)} to {count(most)}"
    return (
        f"In {count(len(none))} of {count(len(rankings))} rankings the models ({models}) are too few for any pair of "
        "scorers to be told apart by Wilcoxon's test after Holm's correction over all pairs, whatever the data."
    )


def mixed_table(fitted: Sequence[FamilyModel]) -> pd.DataFrame:
    """One row per fixed term of each mixed model, with its test; one row saying why where there is no fit."""
    rows = []
    for one in fitted:
        base = _space(one.common) | {"Models": count(one.fit.models)}
        if one.fit.category != "regular":
            rows.append(base | dict.fromkeys(_TESTED, NONE) | {"Remark": f"{one.fit.category}: not fitted"})
        for test in one.fit.tests:
            rows.append(base | {
                "Term": test.term, "Chi-square": decimal(test.chi_square), "df": count(test.df),
                "p, bootstrap": p_value(test.p_bootstrap), "p, chi-square": p_value(test.p_chi_square),
                "Remark": "; ".join(one.fit.messages) or NONE,
            })  # fmt: skip
    return pd.DataFrame(rows)


_TESTED = ("Term", "Chi-square", "df", "p, bootstrap", "p, chi-square")


def variances_table(fitted: Sequence[FamilyModel]) -> pd.DataFrame:
    """One row per random term of each mixed model: its standard deviation in points."""
    return pd.DataFrame([
        _space(one.common) | {
            "Random term": term, "sd (points)": decimal(100 * variance**0.5),
            "Remark": "estimated as zero" if term in one.fit.boundary else NONE,
        }
        for one in fitted for term, variance in one.fit.variances.items()
    ] + [
        _space(one.common) | {"Random term": term, "sd (points)": NONE, "Remark": f"not in the model: {reason}"}
        for one in fitted for term, reason in one.fit.dropped.items()
    ])  # fmt: skip


def families_table(fitted: Sequence[FamilyModel]) -> pd.DataFrame:
    """One row per family of each mixed model: its mean escape over sparsities and architectures."""
    return pd.DataFrame([
        _space(one.common) | {
            "Family": family, "Scorers": ", ".join(one.members[family]), "Models": count(one.fit.models),
            "Mean escape (points)": points(effect.estimate),
            "95 % t interval (points)": span(effect.low, effect.high, signed=True), "df": count(effect.df),
            "p, t": p_value(effect.p),
        }
        for one in fitted for family, effect in one.means.items()
    ])  # fmt: skip


def mixed_sentence(fitted: Sequence[FamilyModel]) -> str:
    """Say what the mixed model is, and where it could not be fitted."""
    why = {one.fit.category for one in fitted if one.fit.category != "regular"}
    if len(why) and all(one.fit.category != "regular" for one in fitted):
        return f"The mixed model of scorer families was not fitted: {', '.join(sorted(why))}."
    samples = next((one.fit.repetitions for one in fitted if one.fit.repetitions), None)
    text = (
        "Mixed model: escape by sparsity and scorer family, crossed, with random terms for the trained model, alone "
        "and with either, and a fixed one for the architecture; a family is the mean of its scorers. "
    )
    if samples is None:
        return text + f"From {CHI_SQUARE_MODELS} models on p is from the chi-square distribution."
    return text + (
        f"Under {CHI_SQUARE_MODELS} models p by parametric bootstrap decides ({count(samples)} samples, so none is "
        f"under {1 / (samples + 1):.2f}); the chi-square p beside it is too small with few models."
    )


def crossed_table(joined: pd.DataFrame) -> pd.DataFrame:
    """One row per setting: t interval over models beside the crossed one over models and images.

    Parameters
    ----------
    joined : DataFrame
        What `side_by_side` returned.
    """
    return pd.DataFrame({
        **_setting(joined), "Models": [count(v) for v in joined["n"]], "Images": [count(v) for v in joined["images"]],
        "Mean difference (points)": [points(v) for v in joined["difference"]],
        "95 % t interval (points)": _spans(joined, "low", "high"),
        "95 % crossed interval (points)": _spans(joined, "crossed_low", "crossed_high"),
        "Excludes zero": [_excludes(*v) for v in zip(joined["t_excludes"], joined["crossed_excludes"], strict=True)],
        "Remark": [NONE if v == "regular" else v for v in joined["category"]],
    })  # fmt: skip


def _excludes(by_t: bool, by_crossed: bool) -> str:
    return "both" if by_t and by_crossed else "t only" if by_t else "crossed only" if by_crossed else "neither"


def side_by_side(crossed: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Put the crossed intervals beside the paired comparisons with magnitude.

    Parameters
    ----------
    crossed : DataFrame
        What `analysis.same_images.crossed` returned.
    compared : DataFrame
        What `analysis.comparisons.escapes` returned.

    Returns
    -------
    DataFrame
        The columns of `compared`, ``images``, ``crossed_low``, ``crossed_high``, ``t_excludes`` and
        ``crossed_excludes``: whether each interval leaves zero out.
    """
    keys = [*frames.SETTING, *frames.METHOD]
    own = crossed.rename(columns={"low": "crossed_low", "high": "crossed_high"})
    typed = compared.astype({key: own[key].dtype for key in keys})  # an empty frame has lost its types
    joined = typed.merge(own[[*keys, "images", "crossed_low", "crossed_high"]], on=keys)
    return joined.assign(
        t_excludes=joined["low"].gt(0) | joined["high"].lt(0),
        crossed_excludes=joined["crossed_low"].gt(0) | joined["crossed_high"].lt(0),
    )


def crossed_sentence(joined: pd.DataFrame) -> str:
    """Count the settings by which interval leaves zero out."""
    tally = [
        int((joined["t_excludes"].eq(t) & joined["crossed_excludes"].eq(c)).sum())
        for t, c in ((True, True), (True, False), (False, True))
    ]  # fmt: skip
    both, only_t, only_crossed = tally
    return (
        f"Of {count(len(joined))} settings with other masks than magnitude's, both intervals leave zero out in "
        f"{count(both)}, only the t interval in {count(only_t)}, only the crossed one in {count(only_crossed)}."
    )


def mcnemar_table(tested: pd.DataFrame) -> pd.DataFrame:
    """One row per setting with a single model: McNemar's exact test, of this checkpoint only."""
    return pd.DataFrame({
        **_setting(tested), "Images": [count(v) for v in tested["images"]],
        "Right by the scorer alone": [count(v) for v in tested["only_first"]],
        "Right by magnitude alone": [count(v) for v in tested["only_second"]],
        "Difference (points)": [points(v) for v in tested["difference"]],
        "p, McNemar": [p_value(v) for v in tested["p"]], "p, Holm": [p_value(v) for v in tested["p_holm"]],
        "Remark": ["this checkpoint only" if v == "regular" else v for v in tested["category"]],
    })  # fmt: skip


def mcnemar_sentence(tested: pd.DataFrame) -> str:
    """Count the differences that McNemar's test sees after Holm's correction."""
    clear = tested[tested["p_holm"].le(ALPHA)]
    above = int(clear["difference"].gt(0).sum())
    return (
        f"{count(len(tested))} settings have a single model. There, McNemar's exact test asks whether two masks of "
        "this checkpoint get equally many of these images right (Holm's correction over the table): "
        f"{count(above)} are above magnitude, {count(len(clear) - above)} below. It says nothing of other trainings of "
        "the same network."
    )


def _space(common: Common) -> dict[str, str]:
    return {"Granularity": common.granularity, "Allocation": common.allocation}


def _sparsities(common: Common) -> str:
    return ", ".join(f"{100 * sparsity:g}" for sparsity in common.sparsities)


def _setting(frame: pd.DataFrame) -> dict[str, list[str]]:
    columns = {
        "Data set": "dataset", "Model": "model", "Granularity": "granularity", "Allocation": "allocation",
        "Scorer": "method",
    }  # fmt: skip
    named = {heading: [str(v) for v in frame[column]] for heading, column in columns.items()}
    return named | {"Sparsity (%)": [percent(v, 1) for v in frame["sparsity"]]}


def _spans(frame: pd.DataFrame, low: str, high: str) -> list[str]:
    return [span(*v, signed=True) for v in zip(frame[low], frame[high], strict=True)]
