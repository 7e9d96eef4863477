"""kappa(S) of every data set, model and search of a study, from the scorers that claim P3 names for its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from analysis.complexity import Complexity, complexity, premium
from analysis.evidence import frames
from analysis.evidence.fusion import search_name

#: Complexity by design -> its scorers, named before the data: those of claim P3.
CLASSES: Mapping[int, tuple[str, ...]] = MappingProxyType({1: ("v1", "v1b_var", "v1d_range"), 2: ("a5", "a5_log6")})
#: Resamples of the models: 500 take 15 s for 24 models, 8 searches and 5 sparsities.
RESAMPLES = 200
#: Margin where the claim has none, as for every claim: half a point or three test images, whichever is larger.
LEAST_MARGIN, MARGIN_IMAGES = 0.005, 3
#: The wiggle premium: the first less the second.
RAW, SMOOTH = "a5", "v1"


@dataclass(frozen=True, eq=False)
class Setting:
    """What the data say of complexity under one search.

    Attributes
    ----------
    dataset, model, search : str
        Where; `search` with its budget where that is small.
    classes : dict
        1 and 2 -> the scorers that the study has.
    found : Complexity
        kappa(S).
    premium : DataFrame
        Wiggle premium, as `analysis.complexity.premium` gives it; empty where the study lacks one of its scorers.
    """

    dataset: str
    model: str
    search: str
    classes: dict[int, tuple[str, ...]]
    found: Complexity
    premium: pd.DataFrame


def study_complexity(rows: pd.DataFrame, margin: float | None = None) -> list[Setting]:
    """Compute kappa(S) wherever a study has both classes: channels, uniform allocation, without repair, as in claim P3.

    Parameters
    ----------
    rows : DataFrame
        The study's rows.
    margin : float, optional
        Largest escape that counts as none, a fraction; by default half a point or three test images.

    Returns
    -------
    list of Setting
        In the order of the study, those of one model together; empty where it has no such cells.
    """
    main = frames.unrepaired(frames.main_rows(rows))
    main = main[main["granularity"].eq("channel") & main["allocation"].eq("uniform")]
    escapes = frames.escape(main)
    settings = []
    for (dataset, model, search), own in escapes.groupby(["dataset", "model", "search"], sort=False):
        there = set(own["scorer"])
        classes = {k: tuple(name for name in names if name in there) for k, names in CLASSES.items()}
        if search == "none" or not all(classes.values()):
            continue
        images = float(main["n_test"][main["dataset"].eq(str(dataset)) & main["model"].eq(str(model))].min())
        least = max(LEAST_MARGIN, MARGIN_IMAGES / images) if margin is None else margin
        found = complexity(own, classes, margin=least, least_sd=1 / (images * math.sqrt(12)), resamples=RESAMPLES)
        wiggle = premium(own, RAW, SMOOTH) if {RAW, SMOOTH} <= there else pd.DataFrame()
        name = search_name(own.iloc[0].to_dict())
        settings.append(Setting(str(dataset), str(model), name, classes, found, wiggle))
    models = list(dict.fromkeys((one.dataset, one.model) for one in settings))
    return sorted(settings, key=lambda one: models.index((one.dataset, one.model)))
