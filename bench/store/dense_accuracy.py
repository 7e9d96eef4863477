"""Warnings about dense models whose accuracy shows a mistake: at chance level, or below what the study expects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.core.types import BASELINE, DENSE
from bench.store.database import Store, open_store
from bench.store.tables import PLAN, ROWS, pick_study

#: Largest probability of so high an accuracy by chance at which a model counts as better than chance.
LEVEL = 0.01
#: Largest difference to `expected_accuracy` without a warning, one point, as a fraction; 1e-9 is for rounding.
TOLERANCE = 0.01 + 1e-9
CHECK = "check the recipe or the checkpoint, its `normalisation` and the order of its classes"


def is_chance(accuracy: float, images: int, chance: float) -> bool:
    """Whether an accuracy is not distinguishable from guessing.

    Parameters
    ----------
    accuracy : float
        Top-1, a fraction.
    images : int
        Test images.
    chance : float
        Share of the largest class of the test images.

    Notes
    -----
    A one-sided binomial test at level `LEVEL`: with n images and the share c, k correct ones are at chance level if
    P(X >= k) > 0.01 for X ~ Binomial(n, c). The tail is summed here: SciPy takes longer to import than `status` to run.

    Examples
    --------
    >>> is_chance(0.10, 10_000, 0.1), is_chance(0.108, 10_000, 0.1), is_chance(0.125, 400, 0.1)
    (True, False, True)
    """
    correct = round(accuracy * images)
    if correct == 0 or not 0 < chance < 1:
        return correct == 0 or chance >= 1
    logarithm = math.lgamma(images + 1) + images * math.log1p(-chance)
    odds = math.log(chance) - math.log1p(-chance)
    tail = math.fsum(
        math.exp(logarithm - math.lgamma(k + 1) - math.lgamma(images - k + 1) + k * odds)
        for k in range(correct, images + 1)
    )
    return tail > LEVEL


def dense_warnings(
    rows: Iterable[Mapping[Any, Any]], study: Mapping[str, Any], provenance: Mapping[str, Any]
) -> list[str]:
    """Return a line per data set and model with a dense accuracy that shows a mistake.

    Parameters
    ----------
    rows : iterable of mapping
        Done rows of dense models without recalibration: ``dataset``, ``model``, ``train_seed``, ``accuracy`` (a
        fraction) and ``n_test`` of each.
    study : mapping
        The resolved study; its models may have an ``expected_accuracy`` in percentage points, or in stores of earlier
        versions as a fraction, up to 1.
    provenance : mapping
        Of the run; ``datasets`` has the share of the largest test class of each data set, or in older stores the number
        of classes, which then counts as the inverse. Without it only expected accuracies are compared.

    Examples
    --------
    >>> row = {"dataset": "digits", "model": "net", "train_seed": 3, "accuracy": 0.1, "n_test": 400}
    >>> dense_warnings([row], {"models": []}, {"datasets": {"digits": {"chance": 0.1}}})[0][:79]
    'digits, net: the dense accuracy of 10.0 % (seed 3) is at chance level, 10.0 % ('
    """
    chances = {name: _chance(known) for name, known in (provenance.get("datasets") or {}).items()}
    expected = {
        model.get("label") or model.get("name"): _fraction(model["expected_accuracy"])
        for model in study.get("models", ())
        if model.get("expected_accuracy") is not None
    }
    found: dict[tuple[str, str], dict[Any, tuple[float, int]]] = {}
    for row in rows:
        seed = row["train_seed"]
        found.setdefault((row["dataset"], row["model"]), {})[seed] = (float(row["accuracy"]), int(row["n_test"]))
    lines = []
    for (dataset, model), models in found.items():
        level, goal = chances.get(dataset), expected.get(model)
        chance = {s: a for s, (a, n) in models.items() if level and is_chance(a, n, level)}
        if chance and level:
            lines.append(
                f"{dataset}, {model}: {_accuracies(chance)} at chance level, {100 * level:.1f} % (share of the largest "
                f"test class; binomial test, {100 * LEVEL:g} %); {CHECK}"
            )
        below = {s: a for s, (a, _) in models.items() if goal is not None and goal - a > TOLERANCE and s not in chance}
        if below and goal is not None:
            lines.append(
                f"{dataset}, {model}: {_accuracies(below)} {100 * (goal - min(below.values())):.1f} points below "
                f"`expected_accuracy`, {100 * goal:.1f} %; {CHECK}"
            )
    return lines


def _fraction(expected: float) -> float:
    """Return an expected accuracy as a fraction; study.yaml has it in percentage points, above 1."""
    return expected / 100 if expected > 1 else expected


def _chance(known: Mapping[str, Any]) -> float | None:
    """Return the share of the largest test class of a data set, as far as its stored facts determine it."""
    if known.get("chance"):
        return float(known["chance"])
    return 1 / known["num_classes"] if known.get("num_classes") else None


def _accuracies(found: Mapping[Any, float]) -> str:
    """Return the subject and verb of a warning: one accuracy, or the range of several."""
    seeds = [str(seed) for seed in sorted(seed for seed in found if seed is not None)]
    shown = f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})" if seeds else ""
    low, high = f"{100 * min(found.values()):.1f} %", f"{100 * max(found.values()):.1f} %"
    if len(found) == 1:
        return f"the dense accuracy of {low}{shown} is"
    return f"the dense accuracies of {low if low == high else f'{low} to {high}'}{shown} are"


def stored_dense_warnings(store: Store, connection: sa.Connection, study: Mapping[str, Any]) -> list[str]:
    """Return the warnings of one study in a store.

    Parameters
    ----------
    store : Store
        The store.
    connection : Connection
        To it.
    study : mapping
        The columns of `STUDIES`, as from `pick_study`.
    """
    query = (
        sa.select(PLAN.c.axes, ROWS.c.accuracy, ROWS.c.n_test)
        .select_from(PLAN.join(ROWS, ROWS.c.cell == PLAN.c.cell))
        .where(
            PLAN.c.study_hash == study["study_hash"],
            ROWS.c.state == "done",
            PLAN.c.axes.like(f'%"scorer": "{DENSE.label}"%'),  # as json.dumps writes it; others are not parsed
        )
        .order_by(PLAN.c.position)
    )
    found = [
        {**json.loads(axes), "accuracy": accuracy, "n_test": images}
        for axes, accuracy, images in store.fetch(connection, query)
    ]
    rows = [row for row in found if all(row.get(name, value) == value for name, value in BASELINE.items())]
    return dense_warnings(rows, json.loads(study["study"] or "{}"), json.loads(study["provenance"] or "{}"))


def read_dense_warnings(folder: Path, profile: str | None = None) -> list[str]:
    """Return the warnings of the study that was run last in a folder, or of one of its profiles."""
    with closing(open_store(folder)) as store, store.transaction() as connection:
        return stored_dense_warnings(store, connection, pick_study(connection, folder, profile))
